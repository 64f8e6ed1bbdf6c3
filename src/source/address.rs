//! From the configured addresses to the sources: an address is a folder's path, `s3://bucket/prefix`, `gs://bucket/prefix` or
//! `az://container/prefix`. A further kind of source is one new file and one more arm in [`open`].

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use globset::{Glob, GlobSet, GlobSetBuilder};

use super::Source;
use super::bucket::{BucketAddress, BucketSource, ClientError, Objects, Store};
use super::folder::FolderSource;
use crate::config::SourceConfig;

/// Links followed while looking for a folder's real path.
const LINKS_MAX: u32 = 40;

/// Why an address leads to no source.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// A pattern of `ingest.ignore` that is none.
    #[error("ingest.ignore: {0}")]
    Ignore(#[from] globset::Error),
    #[error(
        "{key} has an address of the kind {scheme}://, which is not built in; there are folders, s3://bucket/prefix, gs://bucket/prefix and az://container/prefix"
    )]
    NotBuiltIn { key: &'static str, scheme: String },
    /// The address is not repeated: it may hold a secret.
    #[error("{key} has an address of a bucket (s3://…, gs://… or az://…), and {reason}")]
    Bucket { key: &'static str, reason: &'static str },
    #[error(
        "{key} = {address:?} is no address of a bucket; write s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
    )]
    NoBucket { key: &'static str, address: String },
    #[error(
        "{key} = {address:?} overlaps with the pictures in {images:?}: what is kept there would be taken for pictures; name another prefix, or one that begins with a dot"
    )]
    AmongPictures { key: &'static str, address: String, images: String },
    #[error(
        "{key} needs credentials, and anonymous = true in [source.s3] or [source.azure] signs nothing; one of the two has to go"
    )]
    Anonymous { key: &'static str },
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(
        "images = {0:?} is the data folder itself, or lies in it; name a folder with pictures, or another --data-dir"
    )]
    IsDataFolder(String),
}

/// Opens every configured source. The first has plain names; the others are told apart by `@` and the name of their folder (with
/// a number where two are called the same). A source need not be there yet. What the program writes into its data folder is never
/// taken for pictures.
pub fn open(
    addresses: &[PathBuf],
    data_dir: &Path,
    ignore: &[String],
    images_max: usize,
    settings: &SourceConfig,
) -> Result<Vec<Arc<dyn Source>>, AddressError> {
    let data_dir = real_path(data_dir, LINKS_MAX);
    let ignore = patterns(ignore)?;
    let mut prefixes = Prefixes::default();
    let mut sources: Vec<Arc<dyn Source>> = Vec::new();
    for address in addresses {
        let source: Arc<dyn Source> = match scheme_of(address) {
            None => {
                let root = real_path(address, LINKS_MAX);
                check_data_folder(&root, &data_dir, address)?;
                let prefix = prefixes.next(&label(&root));
                Arc::new(folder(root, prefix, Some(&data_dir), ignore.clone(), images_max))
            }
            Some((scheme, rest)) => {
                let address = bucket("images", scheme, rest)?;
                let prefix = prefixes.next(address.label());
                Arc::new(BucketSource::new(address, prefix, ignore.clone(), images_max, settings)?)
            }
        };
        sources.push(source);
    }
    Ok(sources)
}

/// A place in a bucket for what this program makes itself, by the address that the configuration key `key` names. It must not
/// lie where pictures are taken from.
pub fn objects(
    key: &'static str,
    address: &str,
    images: &[PathBuf],
    ignore: &[String],
    settings: &SourceConfig,
) -> Result<Objects, AddressError> {
    let Some((scheme, rest)) = scheme_of(Path::new(address)) else {
        return Err(AddressError::NoBucket { key, address: address.to_owned() });
    };
    let ours = bucket(key, scheme, rest)?;
    if ours.is_anonymous(settings) {
        return Err(AddressError::Anonymous { key });
    }
    let ignore = patterns(ignore)?;
    for (scheme, rest) in images.iter().filter_map(|images| scheme_of(images)) {
        if ours.overlaps(&bucket("images", scheme, rest)?, &ignore) {
            let (address, images) = (address.to_owned(), format!("{scheme}://{rest}"));
            return Err(AddressError::AmongPictures { key, address, images });
        }
    }
    Ok(Objects::new(&ours, settings)?)
}

fn bucket(key: &'static str, scheme: &str, rest: &str) -> Result<BucketAddress, AddressError> {
    let Some(store) = Store::of_scheme(scheme) else {
        return Err(AddressError::NotBuiltIn { key, scheme: scheme.to_owned() });
    };
    BucketAddress::parse(store, rest).map_err(|reason| AddressError::Bucket { key, reason })
}

/// Whether it is the address of something else than a folder.
pub fn is_remote(address: &Path) -> bool {
    scheme_of(address).is_some()
}

fn check_data_folder(root: &Path, data_dir: &Path, address: &Path) -> Result<(), AddressError> {
    if root.starts_with(data_dir) {
        return Err(AddressError::IsDataFolder(address.display().to_string()));
    }
    if data_dir.starts_with(root) {
        tracing::warn!(data_dir = %data_dir.display(), folder = %root.display(), "the data folder lies in the folder of pictures; it is left out");
    }
    Ok(())
}

/// `s3` of `s3://bucket/prefix`, and what stands behind it; `None` for paths.
fn scheme_of(address: &Path) -> Option<(&str, &str)> {
    let (scheme, rest) = address.to_str()?.split_once("://")?;
    let is_scheme = scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    (is_scheme && !scheme.is_empty()).then_some((scheme, rest))
}

/// What stands before the names of each source.
#[derive(Default)]
struct Prefixes {
    taken: HashMap<String, usize>,
    sources: usize,
}

impl Prefixes {
    fn next(&mut self, label: &str) -> String {
        let same = self.taken.entry(label.to_owned()).or_insert(0);
        *same += 1;
        let unique = if *same == 1 { label.to_owned() } else { format!("{label}-{same}") };
        self.sources += 1;
        if self.sources == 1 { String::new() } else { format!("@{unique}/") }
    }
}

fn label(root: &Path) -> String {
    root.file_name().map_or_else(|| "root".into(), |name| name.to_string_lossy().into_owned())
}

fn folder(
    root: PathBuf,
    prefix: String,
    data_dir: Option<&Path>,
    ignore: GlobSet,
    images_max: usize,
) -> FolderSource {
    let excluded = data_dir.and_then(|data_dir| data_dir.strip_prefix(&root).ok());
    let excluded = excluded.map(Path::to_path_buf);
    FolderSource::new(root, prefix, ignore, excluded, images_max)
}

/// Folders alone, for tests.
#[cfg(test)]
pub(super) fn folders(
    paths: &[PathBuf],
    data_dir: Option<&Path>,
    ignore: &[String],
    images_max: usize,
) -> Result<Vec<FolderSource>, AddressError> {
    let ignore = patterns(ignore)?;
    let mut prefixes = Prefixes::default();
    let source = |path: &PathBuf| {
        let root = real_path(path, LINKS_MAX);
        let prefix = prefixes.next(&label(&root));
        folder(root, prefix, data_dir, ignore.clone(), images_max)
    };
    Ok(paths.iter().map(source).collect())
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

    fn opened(addresses: &[&str]) -> Result<Vec<Arc<dyn Source>>, String> {
        let addresses: Vec<PathBuf> = addresses.iter().map(PathBuf::from).collect();
        let mut settings = crate::config::built_in().source;
        settings.azure.account = "account".to_owned();
        let _ = rustls::crypto::ring::default_provider().install_default();
        open(&addresses, Path::new("/nowhere/data"), &[], 10, &settings)
            .map_err(|it| it.to_string())
    }

    #[test]
    fn addresses_of_other_kinds_say_what_there_is() {
        let error = opened(&["ftp://host/photos"]).err().expect("not built in");
        assert!(error.contains("ftp://") && error.contains("az://container/prefix"), "{error}");
        assert!(opened(&["./a:b//c"]).is_ok(), "a path may look odd");
    }

    #[test]
    fn buckets_stand_beside_folders_and_have_names_of_their_own() {
        let addresses = [
            "/nowhere/photos",
            "s3://pictures/photos/",
            "s3://pictures",
            "gs://pictures/photos",
            "az://pictures/photos",
        ];
        let sources = opened(&addresses).expect("opened");
        let ids: Vec<&str> = sources.iter().map(|source| source.id()).collect();
        let expected = [
            "folder:/nowhere/photos",
            "s3://pictures/photos",
            "s3://pictures",
            "gs://pictures/photos",
            "az://pictures/photos",
        ];
        assert_eq!(ids, expected);
        let name = |text: &str| crate::types::ImageName::new(text).expect("valid");
        assert!(sources[1].check_name(&name("@photos-2/a.png")).is_ok());
        assert!(sources[2].check_name(&name("@pictures/a.png")).is_ok());
        assert!(sources[1].check_name(&name("a.png")).is_err(), "that is the folder's");
        assert!(sources[1].check_name(&name("@photos-2/.thumbs/a.png")).is_err(), "hidden");
    }

    #[test]
    fn addresses_of_buckets_hold_no_secrets_and_are_not_repeated() {
        for wrong in [
            "s3://AKIA:hunter2@bucket/x",
            "s3://hunter2:9000/x",
            "s3:///x",
            "s3://bucket/a//hunter2",
            "az://hunter2:key@container/x",
            "az://UPPER_hunter2/x",
        ] {
            let error = opened(&[wrong]).err().expect("refused");
            assert!(error.contains("s3://") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_we_make_ourselves_does_not_lie_among_the_pictures() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let settings = crate::config::built_in().source;
        let images = ["photos", "s3://pictures/2024", "gs://pictures"].map(PathBuf::from);
        let ignore = ["@thumbs".to_owned()];
        let open = |address: &str| {
            let opened = objects("thumbnails.store", address, &images, &ignore, &settings);
            opened.map(|objects| objects.location().to_owned()).map_err(|error| error.to_string())
        };
        for apart in [
            "s3://pictures/thumbs",
            "s3://pictures/2024/.thumbs",
            "gs://other",
            "gs://pictures/@thumbs/a",
        ] {
            assert_eq!(open(apart).as_deref(), Ok(apart));
        }
        for among in
            ["s3://pictures/2024", "s3://pictures/2024/thumbs", "s3://pictures", "gs://pictures/t"]
        {
            let error = open(among).expect_err("refused");
            assert!(error.contains("thumbnails.store") && error.contains("overlaps"), "{error}");
        }
        for wrong in ["thumbs", "/srv/thumbs", "ftp://thumbs", "s3://hunter2:9000/x"] {
            let error = open(wrong).expect_err("refused");
            assert!(error.contains("s3://") && !error.contains("hunter2"), "{error}");
        }
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
        let settings = crate::config::built_in().source;
        for refused in [&data, &link, &data.join("thumbnails")] {
            let error = open(std::slice::from_ref(refused), &data, &[], 10, &settings)
                .err()
                .expect("refused");
            assert!(matches!(error, AddressError::IsDataFolder(_)), "{error}");
        }
        assert!(
            open(&[dir.path().join("photos")], &link, &[], 10, &settings).is_ok(),
            "it is left out"
        );
        assert!(open(&[dir.path().join("photos/data-2")], &data, &[], 10, &settings).is_ok());
    }
}
