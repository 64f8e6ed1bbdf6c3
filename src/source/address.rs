//! From the configured addresses to the sources: an address is a folder's path. A further kind of source is one new file and
//! one more arm in [`open`].

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use globset::{Glob, GlobSet, GlobSetBuilder};

use super::Source;
use super::folder::FolderSource;

/// Links followed while looking for a folder's real path.
const LINKS_MAX: u32 = 40;

/// Why an address leads to no source.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// A pattern of `ingest.ignore` that is none.
    #[error("ingest.ignore: {0}")]
    Ignore(#[from] globset::Error),
    #[error(
        "images = {address:?}: {scheme} is not built in yet; a source of pictures is a folder's path"
    )]
    NotBuiltIn { address: String, scheme: String },
    #[error(
        "images = {0:?} is the data folder itself, or lies in it; name a folder with pictures, or another --data-dir"
    )]
    IsDataFolder(String),
}

/// Opens every configured source. The first has plain names; the others are told apart by `@` and their folder's name (with a
/// number where two are called the same). A source need not be there yet. What the program writes into its data folder is never
/// taken for pictures.
pub fn open(
    addresses: &[PathBuf],
    data_dir: &Path,
    ignore: &[String],
    images_max: usize,
) -> Result<Vec<Arc<dyn Source>>, AddressError> {
    for address in addresses {
        if let Some(scheme) = scheme_of(address) {
            let address = address.display().to_string();
            return Err(AddressError::NotBuiltIn { address, scheme });
        }
    }
    let data_dir = real_path(data_dir, LINKS_MAX);
    for address in addresses {
        let root = real_path(address, LINKS_MAX);
        if root.starts_with(&data_dir) {
            return Err(AddressError::IsDataFolder(address.display().to_string()));
        }
        if data_dir.starts_with(&root) {
            tracing::warn!(data_dir = %data_dir.display(), folder = %root.display(), "the data folder lies in the folder of pictures; it is left out");
        }
    }
    let folders = folders(addresses, Some(&data_dir), ignore, images_max)?;
    Ok(folders.into_iter().map(|folder| Arc::new(folder) as Arc<dyn Source>).collect())
}

/// `s3` of `s3://bucket/prefix`; `None` for paths.
fn scheme_of(address: &Path) -> Option<String> {
    let (scheme, _) = address.to_str()?.split_once("://")?;
    let is_scheme = scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    (is_scheme && !scheme.is_empty()).then(|| scheme.to_owned())
}

pub(super) fn folders(
    paths: &[PathBuf],
    data_dir: Option<&Path>,
    ignore: &[String],
    images_max: usize,
) -> Result<Vec<FolderSource>, AddressError> {
    let ignore = patterns(ignore)?;
    let mut taken: HashMap<String, usize> = HashMap::new();
    let source = |(index, path): (usize, &PathBuf)| {
        let root = real_path(path, LINKS_MAX);
        let label = root
            .file_name()
            .map_or_else(|| "root".into(), |name| name.to_string_lossy().into_owned());
        let same = taken.entry(label.clone()).or_insert(0);
        *same += 1;
        let unique = if *same == 1 { label } else { format!("{label}-{same}") };
        let prefix = if index == 0 { String::new() } else { format!("@{unique}/") };
        let excluded = data_dir.and_then(|data_dir| data_dir.strip_prefix(&root).ok());
        let excluded = excluded.map(Path::to_path_buf);
        FolderSource::new(root, prefix, ignore.clone(), excluded, images_max)
    };
    Ok(paths.iter().enumerate().map(source).collect())
}

fn patterns(ignore: &[String]) -> Result<GlobSet, AddressError> {
    let mut patterns = GlobSetBuilder::new();
    for pattern in ignore {
        patterns.add(Glob::new(pattern)?);
    }
    Ok(patterns.build()?)
}

/// Absolute and without links, also of a path whose last parts are not there (an unplugged disk): the id made of it must be
/// the same when they come.
fn real_path(path: &Path, links_left: u32) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut real = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => {
                real.pop();
            }
            part => real.push(part),
        }
        if let (Ok(target), 1..) = (real.read_link(), links_left) {
            real.pop();
            real = real_path(&real.join(target), links_left - 1);
        }
    }
    real
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn addresses_of_other_kinds_say_what_there_is() {
        let data = Path::new("/nowhere/data");
        let error =
            open(&["s3://bucket/photos".into()], data, &[], 10).err().expect("not built in");
        let text = error.to_string();
        assert!(text.contains("s3 is not built in yet") && text.contains("folder"), "{text}");
        assert!(open(&["./a:b//c".into()], data, &[], 10).is_ok(), "a path may look odd");
    }

    #[test]
    fn a_folder_has_the_same_id_while_it_is_away() {
        let dir = tempfile::tempdir().expect("temp");
        let (disk, link) = (dir.path().join("disk/photos"), dir.path().join("link"));
        symlink("disk/photos", &link).expect("link");
        let ids = || {
            let spelled = [disk.clone(), link.clone(), dir.path().join("x/../disk/./photos")];
            spelled
                .map(|path| folders(&[path], None, &[], 10).expect("a source")[0].id().to_owned())
        };
        let away = ids();
        std::fs::create_dir_all(&disk).expect("mkdir");
        std::fs::create_dir(dir.path().join("x")).expect("mkdir");
        assert_eq!(away, ids());
        assert!(away.iter().all(|id| *id == away[0]), "{away:?}");
    }

    #[test]
    fn the_data_folder_is_no_folder_of_pictures() {
        let dir = tempfile::tempdir().expect("temp");
        let (data, link) = (dir.path().join("photos/data"), dir.path().join("link"));
        std::fs::create_dir_all(data.join("thumbnails")).expect("mkdir");
        symlink("photos/data", &link).expect("link");
        for refused in [&data, &link, &data.join("thumbnails")] {
            let error = open(std::slice::from_ref(refused), &data, &[], 10).err().expect("refused");
            assert!(matches!(error, AddressError::IsDataFolder(_)), "{error}");
        }
        assert!(open(&[dir.path().join("photos")], &link, &[], 10).is_ok(), "it is left out");
        assert!(open(&[dir.path().join("photos/data-2")], &data, &[], 10).is_ok());
    }
}
