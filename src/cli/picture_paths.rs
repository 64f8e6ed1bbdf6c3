//! From the name of an image to its path on this machine.

use std::path::PathBuf;

/// Where an image is: below the first folder, or, if its name begins with `@folder/`, below the folder that is called so.
/// Where several could be meant, it is the one that has it.
pub(super) fn path_of(folders: &[PathBuf], name: &str) -> PathBuf {
    let labelled = name.strip_prefix('@').and_then(|rest| rest.split_once('/'));
    let is_called = |folder: &PathBuf, label: &str| {
        let own = folder.canonicalize().unwrap_or_else(|_| folder.clone());
        let own = own.file_name().map(|own| own.to_string_lossy().into_owned()).unwrap_or_default();
        label == own || label.strip_prefix(&own).is_some_and(|rest| rest.starts_with('-'))
    };
    let below_named = labelled.into_iter().flat_map(|(label, rest)| {
        folders
            .iter()
            .filter(move |folder| is_called(folder, label))
            .map(move |folder| folder.join(rest))
    });
    let candidates: Vec<PathBuf> =
        below_named.chain(folders.iter().map(|folder| folder.join(name))).collect();
    let there = candidates.iter().find(|path| path.exists()).or(candidates.first());
    there.cloned().unwrap_or_else(|| PathBuf::from(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_below_the_folder_that_their_name_says() {
        let dir = tempfile::tempdir().expect("temp");
        let folder = |name: &str| dir.path().join(name);
        for file in ["plain/@odd/a.png", "more/a.png", "x/more/b.png"] {
            let path = folder(file);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
            std::fs::write(path, b"").expect("written");
        }
        let folders = [folder("plain"), folder("more"), folder("x/more")];
        for (name, file) in [
            ("@odd/a.png", "plain/@odd/a.png"),
            ("@more/a.png", "more/a.png"),
            ("@more-2/b.png", "x/more/b.png"),
            ("gone.png", "plain/gone.png"),
        ] {
            assert_eq!(path_of(&folders, name), folder(file), "{name}");
        }
    }
}
