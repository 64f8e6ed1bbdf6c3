//! From the name of an image to its path on this machine, and back.

use std::path::{Path, PathBuf};

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

/// What the names of the pictures in a folder on this machine begin with; empty for all of the first source. `None` if the
/// folder is in no source, or in one that is not the only one with its label.
pub(super) fn name_of(sources: &[PathBuf], folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let sources: Vec<PathBuf> =
        sources.iter().filter_map(|source| source.canonicalize().ok()).collect();
    let (at, below) = sources
        .iter()
        .enumerate()
        .find_map(|(at, source)| Some((at, folder.strip_prefix(source).ok()?)))?;
    let parts = below.components().map(|part| part.as_os_str().to_str());
    let below = parts.collect::<Option<Vec<_>>>()?.join("/");
    if at == 0 {
        return Some(below);
    }
    let label = sources[at].file_name()?;
    let same = sources[1..].iter().filter(|source| source.file_name() == Some(label)).count();
    let label = format!("@{}/{below}", label.to_str()?);
    (same == 1).then(|| label.trim_end_matches('/').to_owned())
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

    #[test]
    fn folders_are_called_as_their_pictures_begin() {
        let dir = tempfile::tempdir().expect("temp");
        let folder = |name: &str| dir.path().join(name);
        for name in ["plain/2024/rome", "more/x", "y/more", "elsewhere"] {
            std::fs::create_dir_all(folder(name)).expect("mkdir");
        }
        let name = |sources: &[&str], path: &str| {
            let sources: Vec<PathBuf> = sources.iter().map(|source| folder(source)).collect();
            name_of(&sources, &folder(path))
        };
        let sources = ["plain", "more"];
        assert_eq!(name(&sources, "plain/2024/../2024/rome").as_deref(), Some("2024/rome"));
        assert_eq!(name(&sources, "plain").as_deref(), Some(""));
        assert_eq!(name(&sources, "more/x").as_deref(), Some("@more/x"));
        assert_eq!(name(&sources, "more").as_deref(), Some("@more"));
        assert_eq!(name(&sources, "elsewhere"), None);
        assert_eq!(name(&sources, "not there"), None);
        assert_eq!(name(&["plain", "more", "y/more"], "more/x"), None, "two are called so");
    }
}
