//! A folder of pictures on a local disk, with all folders below it. Symbolic links are never followed, neither while
//! walking nor while opening: the kernel resolves every path beneath the root, so no name and no race leads out of it.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use globset::{Glob, GlobSet, GlobSetBuilder};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, ResolveFlags};
use walkdir::WalkDir;

use super::{Listing, Opened, Source, SourceError, Unreadable};
use crate::types::{Fingerprint, ImageName, Scope};

/// See the head of this file.
#[derive(Clone)]
pub struct FolderSource {
    inner: Arc<Folder>,
}

struct Folder {
    id: String,
    root: PathBuf,
    /// `@name/` in front of every image name of a further folder; empty for the first.
    prefix: String,
    ignore: GlobSet,
    images_max: usize,
}

/// A pattern of `ingest.ignore` that is none.
#[derive(Debug, thiserror::Error)]
#[error("ingest.ignore: {0}")]
pub struct IgnoreError(#[from] globset::Error);

impl FolderSource {
    /// One source per folder. The first has plain names; the others are told apart by `@` and their folder's name
    /// (with a number where two are called the same).
    pub fn all(
        folders: &[PathBuf],
        ignore: &[String],
        images_max: usize,
    ) -> Result<Vec<Self>, IgnoreError> {
        let mut patterns = GlobSetBuilder::new();
        for pattern in ignore {
            patterns.add(Glob::new(pattern)?);
        }
        let ignore = patterns.build()?;
        let mut taken: Vec<String> = Vec::new();
        let source = |(index, folder): (usize, &PathBuf)| {
            // The real path, so that the id stays the same however the folder is spelled, and events can be told apart.
            let root = folder.canonicalize().unwrap_or_else(|_| folder.clone());
            let label = root
                .file_name()
                .map_or_else(|| "root".into(), |name| name.to_string_lossy().into_owned());
            let same = taken.iter().filter(|other| **other == label).count();
            let unique = if same == 0 { label.clone() } else { format!("{label}-{}", same + 1) };
            taken.push(label);
            let prefix = if index == 0 { String::new() } else { format!("@{unique}/") };
            let id = format!("folder:{}", root.display());
            Self {
                inner: Arc::new(Folder { id, root, prefix, ignore: ignore.clone(), images_max }),
            }
        };
        Ok(folders.iter().enumerate().map(source).collect())
    }

    /// The folder's real path.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// The part of the source that a file event at `path` is about; `None` for paths that are no concern of ours.
    pub fn scope_of(&self, path: &Path) -> Option<Scope> {
        let relative = path.strip_prefix(&self.inner.root).ok()?;
        if relative.as_os_str().is_empty() {
            return Some(Scope::All);
        }
        if self.inner.is_ignored(relative) {
            return None;
        }
        self.inner.name_of(relative).map(Scope::Under)
    }
}

impl Folder {
    /// `None` when the path is not UTF-8 (or not a valid name for another reason).
    fn name_of(&self, relative: &Path) -> Option<ImageName> {
        ImageName::new(format!("{}{}", self.prefix, relative.to_str()?)).ok()
    }

    fn path_of<'a>(&self, name: &'a ImageName) -> Option<&'a Path> {
        name.as_str().strip_prefix(self.prefix.as_str()).map(Path::new)
    }

    /// Hidden files and folders, and those that match a pattern of `ingest.ignore`, at any depth.
    fn is_ignored(&self, relative: &Path) -> bool {
        relative.iter().any(|part| {
            part.as_encoded_bytes().starts_with(b".") || self.ignore.is_match(Path::new(part))
        })
    }

    fn list(&self, scope: &Scope) -> Result<Listing, SourceError> {
        let failed = |error: io::Error| SourceError::Root {
            location: self.root.display().to_string(),
            reason: error.to_string(),
        };
        // A root that is not there (an unplugged disk) must not look like one without pictures.
        std::fs::read_dir(&self.root).map_err(failed)?;
        let start = match scope {
            Scope::All => self.root.clone(),
            Scope::Under(name) => match self.path_of(name) {
                Some(relative) => self.root.join(relative),
                None => return Ok(Listing::default()),
            },
        };
        if matches!(scope, Scope::Under(_)) && !self.is_reached_without_links(&start) {
            return Ok(Listing::default());
        }
        let mut listing = Listing::default();
        let walk = WalkDir::new(&start).follow_links(false).into_iter();
        let keep = |entry: &walkdir::DirEntry| {
            entry.path().strip_prefix(&self.root).is_ok_and(|relative| !self.is_ignored(relative))
        };
        for entry in walk.filter_entry(keep) {
            if listing.files.len() >= self.images_max {
                listing.truncated = true;
                break;
            }
            match entry {
                Ok(entry) if entry.file_type().is_file() => self.add(&mut listing, &entry),
                Ok(_) => {}
                Err(error) => self.add_unreadable(&mut listing, &error),
            }
        }
        Ok(listing)
    }

    /// Whether `start` exists below the root and no part of the way there is a symbolic link.
    fn is_reached_without_links(&self, start: &Path) -> bool {
        let Ok(relative) = start.strip_prefix(&self.root) else { return false };
        let mut path = self.root.clone();
        relative.iter().all(|part| {
            path.push(part);
            path.symlink_metadata().is_ok_and(|metadata| !metadata.is_symlink())
        })
    }

    fn add(&self, listing: &mut Listing, entry: &walkdir::DirEntry) {
        let Ok(relative) = entry.path().strip_prefix(&self.root) else { return };
        let Some(name) = self.name_of(relative) else {
            listing.unreadable.push(Unreadable {
                name: None,
                reason: format!("{} is not a UTF-8 name; rename it", relative.display()),
            });
            return;
        };
        match entry.metadata() {
            Ok(metadata) => listing.files.push((name, fingerprint(&metadata))),
            Err(error) => self.add_unreadable(listing, &error),
        }
    }

    fn add_unreadable(&self, listing: &mut Listing, error: &walkdir::Error) {
        // What vanished while we walked is simply gone.
        if error.io_error().is_some_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return;
        }
        let relative = error.path().and_then(|path| path.strip_prefix(&self.root).ok());
        let name = relative.and_then(|relative| self.name_of(relative));
        listing.unreadable.push(Unreadable { name, reason: error.to_string() });
    }

    fn open(&self, name: &ImageName) -> Result<File, SourceError> {
        let relative = self.path_of(name).ok_or_else(|| SourceError::NotFound(name.clone()))?;
        // NONBLOCK: opening a pipe must not hang. It means nothing for regular files.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = self
            .open_beneath(relative, flags, Mode::empty())
            .map_err(|error| source_error(name, &error))?;
        let is_file = file.metadata().map_err(|error| source_error(name, &error))?.is_file();
        if is_file { Ok(file) } else { Err(SourceError::NotAFile(name.clone())) }
    }

    fn open_root(&self) -> io::Result<File> {
        File::open(&self.root)
    }

    #[cfg(target_os = "linux")]
    fn open_beneath(&self, relative: &Path, flags: OFlags, mode: Mode) -> io::Result<File> {
        let root = self.open_root()?;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        Ok(rustix::fs::openat2(&root, relative, flags, mode, resolve)?.into())
    }

    fn create(&self, name: &ImageName, bytes: &[u8]) -> io::Result<()> {
        let not_ours = || io::Error::from(io::ErrorKind::NotFound);
        let relative = self.path_of(name).ok_or_else(not_ours)?;
        let parent = relative.parent().filter(|parent| !parent.as_os_str().is_empty());
        let target = relative.file_name().ok_or_else(not_ours)?;
        // Folder by folder, each opened beneath the last: a link on the way ends it before anything is made behind it.
        let mut made = PathBuf::from(".");
        for part in parent.into_iter().flatten() {
            let above = self.open_beneath(
                &made,
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            match rustix::fs::mkdirat(&above, part, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => made.push(part),
                Err(error) => return Err(error.into()),
            }
        }
        let folder = self.open_beneath(
            parent.unwrap_or(Path::new(".")),
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        // Hidden while it is written: the walk and the watcher ignore names with a leading dot.
        let partial = format!(".upload-{}.part", uuid::Uuid::new_v4());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(
            &folder,
            partial.as_str(),
            flags,
            Mode::from_raw_mode(0o644),
        )?);
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        let renamed = written.and_then(|()| {
            Ok(rustix::fs::renameat_with(
                &folder,
                partial.as_str(),
                &folder,
                target,
                RenameFlags::NOREPLACE,
            )?)
        });
        if renamed.is_err() {
            let _ = rustix::fs::unlinkat(&folder, partial.as_str(), AtFlags::empty());
        }
        renamed
    }

    fn delete(&self, name: &ImageName) -> io::Result<()> {
        let relative =
            self.path_of(name).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let parent = relative
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let folder = self.open_beneath(
            parent,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let target =
            relative.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(rustix::fs::unlinkat(&folder, target, AtFlags::empty())?)
    }
}

#[async_trait]
impl Source for FolderSource {
    fn id(&self) -> &str {
        &self.inner.id
    }

    fn location(&self) -> String {
        self.inner.root.display().to_string()
    }

    async fn list(&self, scope: &Scope) -> Result<Listing, SourceError> {
        let (folder, scope) = (self.inner.clone(), scope.clone());
        let location = self.location();
        let walk = tokio::task::spawn_blocking(move || folder.list(&scope)).await;
        walk.map_err(|error| SourceError::Root { location, reason: error.to_string() })?
    }

    async fn open(&self, name: &ImageName) -> Result<Opened, SourceError> {
        let (folder, wanted) = (self.inner.clone(), name.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let file = folder.open(&wanted)?;
            let metadata = file.metadata().map_err(|error| source_error(&wanted, &error))?;
            Ok((file, fingerprint(&metadata)))
        });
        let (file, fingerprint) =
            opened.await.map_err(|error| source_error(name, &io::Error::other(error)))??;
        Ok(Opened { reader: Box::new(tokio::fs::File::from_std(file)), fingerprint })
    }

    async fn create(&self, name: &ImageName, bytes: &[u8]) -> Result<(), SourceError> {
        let (folder, wanted, bytes) = (self.inner.clone(), name.clone(), bytes.to_vec());
        let created = tokio::task::spawn_blocking(move || folder.create(&wanted, &bytes)).await;
        created.map_err(io::Error::other).flatten().map_err(|error| source_error(name, &error))
    }

    async fn delete(&self, name: &ImageName) -> Result<(), SourceError> {
        let (folder, wanted) = (self.inner.clone(), name.clone());
        let deleted = tokio::task::spawn_blocking(move || folder.delete(&wanted)).await;
        deleted.map_err(io::Error::other).flatten().map_err(|error| source_error(name, &error))
    }
}

fn fingerprint(metadata: &std::fs::Metadata) -> Fingerprint {
    let modified = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .unwrap_or_default();
    Fingerprint {
        size_bytes: metadata.len(),
        version: modified.as_nanos().to_string(),
        modified_ms: modified.as_millis() as i64,
    }
}

fn source_error(name: &ImageName, error: &io::Error) -> SourceError {
    let is_link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
        || error.raw_os_error() == Some(rustix::io::Errno::XDEV.raw_os_error());
    match error.kind() {
        _ if is_link => SourceError::NotAFile(name.clone()),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            SourceError::NotFound(name.clone())
        }
        io::ErrorKind::AlreadyExists => SourceError::Exists(name.clone()),
        kind => SourceError::Io {
            name: name.clone(),
            reason: error.to_string(),
            denied: kind == io::ErrorKind::PermissionDenied,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tokio::io::AsyncReadExt;

    use super::*;

    fn source(root: &Path) -> FolderSource {
        let ignore = ["*.part".to_owned(), "Thumbs.db".to_owned()];
        FolderSource::all(&[root.to_path_buf()], &ignore, 100).expect("valid patterns").remove(0)
    }

    fn name(text: &str) -> ImageName {
        ImageName::new(text).expect("valid")
    }

    async fn names(source: &FolderSource, scope: Scope) -> Vec<String> {
        let mut names: Vec<_> = source
            .list(&scope)
            .await
            .expect("listed")
            .files
            .into_iter()
            .map(|(name, _)| name.to_string())
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn lists_nested_and_odd_names_but_neither_hidden_ones_nor_links() {
        let dir = tempfile::tempdir().expect("temp");
        let outside = tempfile::tempdir().expect("temp");
        std::fs::write(outside.path().join("secret.png"), "x").expect("write");
        std::fs::create_dir_all(dir.path().join("Größe/日本")).expect("mkdir");
        std::fs::create_dir_all(dir.path().join(".hidden")).expect("mkdir");
        for file in [
            "a.png",
            "Größe/日本/😀.png",
            ".DS_Store",
            ".hidden/b.png",
            "copy.png.part",
            "Thumbs.db",
        ] {
            std::fs::write(dir.path().join(file), "x").expect("write");
        }
        symlink(outside.path(), dir.path().join("link")).expect("link");
        symlink(outside.path().join("secret.png"), dir.path().join("secret.png")).expect("link");
        let source = source(dir.path());
        assert_eq!(names(&source, Scope::All).await, ["Größe/日本/😀.png", "a.png"]);
        assert_eq!(names(&source, Scope::Under(name("Größe"))).await, ["Größe/日本/😀.png"]);
        assert!(names(&source, Scope::Under(name("link"))).await.is_empty());
        assert!(names(&source, Scope::Under(name("link/secret.png"))).await.is_empty());
        assert!(names(&source, Scope::Under(name("gone"))).await.is_empty());
        for leading_out in ["link/secret.png", "secret.png"] {
            let error = source.open(&name(leading_out)).await.err().expect("not followed");
            assert!(matches!(error, SourceError::NotAFile(_)), "{error}");
        }
    }

    #[tokio::test]
    async fn a_missing_root_is_an_error_and_not_an_empty_list() {
        let dir = tempfile::tempdir().expect("temp");
        let source = source(&dir.path().join("unplugged"));
        let error = source.list(&Scope::All).await.expect_err("no root");
        assert!(error.to_string().contains("unplugged"), "{error}");
    }

    #[tokio::test]
    async fn creates_without_overwriting_and_deletes() {
        let dir = tempfile::tempdir().expect("temp");
        let source = source(dir.path());
        source.create(&name("new/a.png"), b"bytes").await.expect("created");
        assert!(matches!(
            source.create(&name("new/a.png"), b"other").await,
            Err(SourceError::Exists(_))
        ));
        let mut text = String::new();
        source
            .open(&name("new/a.png"))
            .await
            .expect("open")
            .reader
            .read_to_string(&mut text)
            .await
            .expect("read");
        assert_eq!(text, "bytes");
        assert_eq!(
            std::fs::read_dir(dir.path().join("new")).expect("dir").count(),
            1,
            "a partial file was left"
        );
        source.delete(&name("new/a.png")).await.expect("deleted");
        assert!(matches!(source.open(&name("new/a.png")).await, Err(SourceError::NotFound(_))));
    }

    #[test]
    fn further_folders_are_told_apart_by_name() {
        let dir = tempfile::tempdir().expect("temp");
        let folders: Vec<PathBuf> = ["one/photos", "two/photos", "three"]
            .iter()
            .map(|path| dir.path().join(path))
            .collect();
        for folder in &folders {
            std::fs::create_dir_all(folder).expect("mkdir");
        }
        let sources = FolderSource::all(&folders, &[], 10).expect("sources");
        let named = |index: usize| sources[index].scope_of(&folders[index].join("x.png"));
        assert_eq!(named(0), Some(Scope::Under(name("x.png"))));
        assert_eq!(named(1), Some(Scope::Under(name("@photos-2/x.png"))));
        assert_eq!(named(2), Some(Scope::Under(name("@three/x.png"))));
        assert_eq!(sources[0].scope_of(Path::new("/elsewhere")), None);
        assert_eq!(sources[0].scope_of(&folders[0].join(".hidden/x")), None);
    }
}
