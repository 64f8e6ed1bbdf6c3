//! The one kind of progress bar that commands show: on a terminal only, on standard error, gone when it is done.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar whose line is `template`, in indicatif's words; its length is set when it is known.
pub(super) fn progress_bar(template: &str) -> ProgressBar {
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::no_length()
    } else {
        ProgressBar::hidden()
    };
    // Templates are constants of ours: the test below reads every one, so the plain style is never seen.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// `model` while it is downloaded.
pub(super) const BYTES: &str = "{msg} {bar:30} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
/// Pictures on their way into the index.
pub(super) const PICTURES: &str = "{bar:30} {pos}/{len} pictures, {msg}";
/// Vectors that are copied or compared.
pub(super) const VECTORS: &str = "{msg} {bar:30} {pos}/{len} vectors, {per_sec}, {eta} left";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_understood() {
        for template in [BYTES, PICTURES, VECTORS] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
