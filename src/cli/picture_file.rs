//! Pictures that a command is given as files: their limit is checked before they are read.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, ensure};

/// All of a file, unless it has more than `bytes_max`, which `key` is the name of. What does not say its size (a pipe) is read
/// up to there.
pub(super) fn read(path: &Path, bytes_max: u64, key: &str) -> anyhow::Result<Vec<u8>> {
    let unreadable = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(unreadable)?;
    let size = file.metadata().with_context(unreadable)?.len();
    let fits = |bytes: u64| bytes <= bytes_max;
    let mut bytes = Vec::new();
    if fits(size) {
        let begun = file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes);
        begun.with_context(unreadable)?;
    }
    ensure!(
        fits(size) && fits(bytes.len() as u64),
        "{} has more than {bytes_max} bytes ({key}); raise that, or make the picture smaller",
        path.display()
    );
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_much_is_read() {
        let dir = tempfile::tempdir().expect("temp");
        let path = dir.path().join("a.png");
        std::fs::write(&path, [7; 10]).expect("written");
        assert_eq!(read(&path, 10, "k").expect("fits"), [7; 10]);
        let refused = read(&path, 9, "the.key").expect_err("too large").to_string();
        assert!(refused.contains("a.png") && refused.contains("9 bytes (the.key)"), "{refused}");
        // It never ends, and has no size.
        let endless = read(Path::new("/dev/zero"), 1000, "k").expect_err("endless").to_string();
        assert!(endless.contains("more than 1000 bytes"), "{endless}");
        let absent = read(&dir.path().join("b.png"), 9, "k").expect_err("absent").to_string();
        assert!(absent.contains("cannot read") && absent.contains("b.png"), "{absent}");
        // More than there is memory.
        File::options().write(true).open(&path).expect("open").set_len(1 << 42).expect("sparse");
        assert!(read(&path, 1 << 20, "k").is_err());
    }
}
