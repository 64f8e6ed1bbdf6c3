//! A folder of pictures on a local disk or a mounted share, with all folders below it. Symbolic links are never followed, neither
//! while walking nor while opening: `beneath` resolves every path below the root, so no name and no race leads out of it.
//! `walk` lists it in name order, `hints` watches it.

mod beneath;
mod hints;
mod walk;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use async_trait::async_trait;
use globset::GlobSet;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Stat};
use tokio::io::{AsyncRead, AsyncSeekExt, ReadBuf};

use self::beneath::Way;
use super::{Hints, Identity, Listing, OpenPicture, Opened, Source, SourceError};
use crate::disk_space::free_bytes;
use crate::types::{Fingerprint, ImageName, Scope};

/// What file systems take as one part of a path.
const FILE_NAME_BYTES_MAX: usize = 255;
/// What the system takes as a path.
const PATH_BYTES_MAX: usize = if cfg!(target_os = "macos") { 1023 } else { 4095 };

/// File systems that others write to without this kernel: NFS, SMB (under three names), Ceph, AFS, 9P, FUSE; from statfs(2).
#[cfg(target_os = "linux")]
const FOREIGN: [u32; 8] =
    [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x00c3_6400, 0x5346_414f, 0x0102_1997, 0x6573_5546];

/// See the head of this file.
pub struct FolderSource {
    folder: Arc<Folder>,
}

struct Folder {
    id: String,
    root: PathBuf,
    /// `@name/` in front of every image name of a further folder; empty for the first.
    prefix: String,
    ignore: GlobSet,
    /// Below the root, and no place of pictures: the data folder, if it lies here.
    excluded: Option<PathBuf>,
    images_max: usize,
    way: Way,
    /// Whether somebody listens to all of it.
    is_watched: AtomicBool,
    /// Folders that tests declare unreadable, since nothing is unreadable to root.
    #[cfg(test)]
    locked: parking_lot::Mutex<std::collections::HashSet<PathBuf>>,
}

impl FolderSource {
    /// `root` is the folder's real path, so that the id stays the same however it was spelled.
    pub(super) fn new(
        root: PathBuf,
        prefix: String,
        ignore: GlobSet,
        excluded: Option<PathBuf>,
        images_max: usize,
    ) -> Self {
        let folder = Folder {
            id: format!("folder:{}", root.display()),
            root,
            prefix,
            ignore,
            excluded,
            images_max,
            way: Way::of_this_system(),
            is_watched: AtomicBool::new(false),
            #[cfg(test)]
            locked: parking_lot::Mutex::default(),
        };
        Self { folder: Arc::new(folder) }
    }

    /// As on systems that cannot resolve a whole path beneath a folder.
    #[cfg(test)]
    fn by_steps(mut self) -> Self {
        Arc::get_mut(&mut self.folder).expect("nobody else has it yet").way = Way::Steps;
        self
    }

    /// Has `work` done on a thread that may wait.
    async fn blocking<T: Send + 'static>(
        &self,
        name: &ImageName,
        work: impl FnOnce(&Folder, &ImageName) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let (folder, wanted) = (self.folder.clone(), name.clone());
        tokio::task::spawn_blocking(move || work(&folder, &wanted))
            .await
            .map_err(|error| SourceError::of(name, &io::Error::other(error)))?
    }
}

impl Folder {
    /// `None` when the path is not UTF-8 (or not a valid name for another reason).
    fn name_of(&self, relative: &Path) -> Option<ImageName> {
        ImageName::new(format!("{}{}", self.prefix, relative.to_str()?)).ok()
    }

    /// `None` for names of other sources, and for those that are never listed.
    fn path_of<'a>(&self, name: &'a ImageName) -> Option<&'a Path> {
        let relative = Path::new(name.as_str().strip_prefix(self.prefix.as_str())?);
        (!self.is_ignored(relative)).then_some(relative)
    }

    /// The data folder, hidden files and folders, and those that match a pattern of `ingest.ignore`, at any depth.
    fn is_ignored(&self, relative: &Path) -> bool {
        self.is_excluded(relative) || self.has_ignored_part(relative)
    }

    fn is_excluded(&self, relative: &Path) -> bool {
        self.excluded.as_ref().is_some_and(|excluded| relative.starts_with(excluded))
    }

    fn has_ignored_part(&self, relative: &Path) -> bool {
        relative.iter().any(|part| {
            part.as_encoded_bytes().starts_with(b".") || self.ignore.is_match(Path::new(part))
        })
    }

    /// The part of the source that a file event at `path` is about; `None` for paths that are no concern of ours.
    fn scope_of(&self, path: &Path) -> Option<Scope> {
        let relative = path.strip_prefix(&self.root).ok()?;
        if relative.as_os_str().is_empty() {
            return Some(Scope::All);
        }
        if self.is_ignored(relative) {
            return None;
        }
        self.name_of(relative).map(Scope::Under)
    }

    fn away(&self, reason: &io::Error) -> SourceError {
        SourceError::Away {
            location: self.root.display().to_string(),
            reason: match reason.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                    "there is no such folder".to_owned()
                }
                io::ErrorKind::PermissionDenied => "this user may not read it".to_owned(),
                _ => reason.to_string(),
            },
        }
    }

    /// Another disk or share has another device or file system; another folder has another inode.
    fn identity(&self) -> io::Result<Identity> {
        let root = self.open_root()?;
        let (stat, volume) = (rustix::fs::fstat(&root)?, rustix::fs::fstatvfs(&root)?);
        // Opening says little on a share; reading has to go and ask.
        if let Some(entry) = rustix::fs::Dir::read_from(&root)?.next() {
            entry?;
        }
        let (major, minor) = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
        Ok(Identity(format!(
            "device {major}:{minor}, file system {:x}, inode {}",
            volume.f_fsid, stat.st_ino
        )))
    }

    /// What others do on a share, or behind a file system in user space, is not told to us.
    fn is_on_this_machine(&self) -> bool {
        #[cfg(target_os = "linux")]
        let is_local =
            |file_system: rustix::fs::StatFs| !FOREIGN.contains(&(file_system.f_type as u32));
        #[cfg(target_os = "macos")]
        let is_local =
            |file_system: rustix::fs::StatFs| file_system.f_flags & libc::MNT_LOCAL as u32 != 0;
        self.open_root().and_then(|root| Ok(rustix::fs::fstatfs(&root)?)).is_ok_and(is_local)
    }

    fn stat(&self, name: &ImageName) -> Result<Fingerprint, SourceError> {
        let relative = self.path_of(name).ok_or_else(|| SourceError::NotFound(name.clone()))?;
        let stat = self
            .open_root()
            .and_then(|root| self.way.stat(&root, relative))
            .map_err(|error| SourceError::of(name, &error))?;
        let is_file = FileType::from_raw_mode(stat.st_mode).is_file();
        is_file.then(|| fingerprint(&stat)).ok_or_else(|| SourceError::NotAFile(name.clone()))
    }

    fn open(&self, name: &ImageName) -> Result<(File, Fingerprint), SourceError> {
        let relative = self.path_of(name).ok_or_else(|| SourceError::NotFound(name.clone()))?;
        // NONBLOCK: opening a pipe must not hang. It means nothing for regular files.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let opened = || {
            let file = self.way.open(&self.open_root()?, relative, flags, Mode::empty())?;
            let stat = rustix::fs::fstat(&file)?;
            Ok((file, stat))
        };
        // What cannot be opened at all, such as a socket, gives errors that look like trouble with the disk.
        let (file, stat) = opened().map_err(|error| match self.stat(name) {
            Err(SourceError::NotAFile(name)) => SourceError::NotAFile(name),
            _ => SourceError::of(name, &error),
        })?;
        if FileType::from_raw_mode(stat.st_mode).is_file() {
            Ok((file, fingerprint(&stat)))
        } else {
            Err(SourceError::NotAFile(name.clone()))
        }
    }

    fn open_root(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(&self.root, flags, Mode::empty())?.into())
    }

    /// A folder below the open root, to list it or to work in it.
    fn open_folder(&self, root: &File, relative: &Path) -> io::Result<File> {
        self.way.open(root, relative, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
    }

    fn check_name(&self, name: &ImageName) -> Result<(), SourceError> {
        let refused = |reason: &str| {
            Err(SourceError::BadName { name: name.clone(), reason: reason.to_owned() })
        };
        if self.path_of(name).is_none() {
            return refused("files of such names are ignored here (ingest.ignore)");
        }
        if name.as_str().len() - self.prefix.len() > PATH_BYTES_MAX {
            return refused(&format!("it is longer than {PATH_BYTES_MAX} bytes"));
        }
        if name.as_str().split('/').any(|part| part.len() > FILE_NAME_BYTES_MAX) {
            return refused("a part of it is longer than 255 bytes");
        }
        Ok(())
    }

    fn create(&self, name: &ImageName, bytes: &[u8]) -> Result<(), SourceError> {
        self.check_name(name)?;
        let mut made = Vec::new();
        let created = self.try_create(name, bytes, &mut made);
        if created.is_err() {
            self.remove_folders(&made);
        }
        created.map_err(|error| match SourceError::of_writing(name, &error) {
            // A file where a folder has to be, or a link, which is not followed.
            SourceError::NotFound(_) | SourceError::NotAFile(_)
                if error.kind() != io::ErrorKind::NotFound =>
            {
                let reason = "a part of it is no folder".to_owned();
                SourceError::BadName { name: name.clone(), reason }
            }
            other => other,
        })
    }

    /// Takes back folders that were made for nothing; one that got something meanwhile stays.
    fn remove_folders(&self, made: &[PathBuf]) {
        let Ok(root) = self.open_root() else { return };
        for folder in made.iter().rev() {
            let above = folder.parent().unwrap_or(Path::new("."));
            let (Ok(above), Some(part)) = (self.open_folder(&root, above), folder.file_name())
            else {
                return;
            };
            let _ = rustix::fs::unlinkat(&above, part, AtFlags::REMOVEDIR);
        }
    }

    /// `folders`: those that were made on the way.
    fn try_create(
        &self,
        name: &ImageName,
        bytes: &[u8],
        folders: &mut Vec<PathBuf>,
    ) -> io::Result<()> {
        let not_ours = || io::Error::from(io::ErrorKind::NotFound);
        let root = self.open_root()?;
        let relative = self.path_of(name).ok_or_else(not_ours)?;
        let parent = relative.parent().filter(|parent| !parent.as_os_str().is_empty());
        let target = relative.file_name().ok_or_else(not_ours)?;
        // Folder by folder, each opened beneath the last: a link on the way ends it before anything is made behind it.
        let mut made = PathBuf::from(".");
        for part in parent.into_iter().flatten() {
            let above = self.open_folder(&root, &made)?;
            let is_new = match rustix::fs::mkdirat(&above, part, Mode::from_raw_mode(0o755)) {
                Ok(()) => true,
                Err(rustix::io::Errno::EXIST) => false,
                Err(error) => return Err(error.into()),
            };
            made.push(part);
            if is_new {
                folders.push(made.clone());
            }
        }
        let folder = self.open_folder(&root, parent.unwrap_or(Path::new(".")))?;
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
        // Its name has to be on the disk, too.
        renamed.and_then(|()| Ok(rustix::fs::fsync(&folder)?))
    }

    fn delete(&self, name: &ImageName) -> io::Result<()> {
        let relative =
            self.path_of(name).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let parent = relative
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let folder = self.open_folder(&self.open_root()?, parent)?;
        let target =
            relative.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(rustix::fs::unlinkat(&folder, target, AtFlags::empty())?)
    }
}

#[async_trait]
impl Source for FolderSource {
    fn id(&self) -> &str {
        &self.folder.id
    }

    fn location(&self) -> String {
        self.folder.root.display().to_string()
    }

    async fn identity(&self) -> Result<Identity, SourceError> {
        let folder = self.folder.clone();
        let asked = tokio::task::spawn_blocking(move || {
            folder.identity().map_err(|error| folder.away(&error))
        });
        asked.await.map_err(|error| self.folder.away(&io::Error::other(error)))?
    }

    fn list(&self, scope: &Scope, after: Option<&ImageName>) -> Listing {
        let (writer, listing) = Listing::new(self.location());
        let (folder, scope, after) = (self.folder.clone(), scope.clone(), after.cloned());
        tokio::task::spawn_blocking(move || walk::list(&folder, &scope, after.as_ref(), writer));
        listing
    }

    fn hints(&self) -> Option<Hints> {
        Some(hints::of(self.folder.clone()))
    }

    fn hears_everything(&self) -> bool {
        self.folder.is_watched.load(Ordering::Relaxed) && self.folder.is_on_this_machine()
    }

    async fn stat(&self, name: &ImageName) -> Result<Fingerprint, SourceError> {
        self.blocking(name, Folder::stat).await
    }

    async fn open(&self, name: &ImageName) -> Result<Opened, SourceError> {
        let (file, fingerprint) = self.blocking(name, Folder::open).await?;
        let picture = OpenFile { file: tokio::fs::File::from_std(file), name: name.clone() };
        Ok(Opened { reader: Box::new(picture), fingerprint })
    }

    fn is_folder(&self) -> bool {
        true
    }

    async fn path(&self, name: &ImageName) -> Result<Option<PathBuf>, SourceError> {
        self.stat(name).await?;
        Ok(self.folder.path_of(name).map(|relative| self.folder.root.join(relative)))
    }

    fn check_name(&self, name: &ImageName) -> Result<(), SourceError> {
        self.folder.check_name(name)
    }

    async fn free_bytes(&self) -> Option<u64> {
        let folder = self.folder.clone();
        let asked = tokio::task::spawn_blocking(move || free_bytes(&folder.root).ok());
        asked.await.ok()?
    }

    async fn create(&self, name: &ImageName, bytes: &[u8]) -> Result<(), SourceError> {
        let bytes = bytes.to_vec();
        self.blocking(name, move |folder, name| folder.create(name, &bytes)).await
    }

    async fn delete(&self, name: &ImageName) -> Result<(), SourceError> {
        self.blocking(name, |folder, name| {
            folder.delete(name).map_err(|error| SourceError::of_writing(name, &error))
        })
        .await
    }
}

struct OpenFile {
    file: tokio::fs::File,
    name: ImageName,
}

impl AsyncRead for OpenFile {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_read(context, buffer)
    }
}

#[async_trait]
impl OpenPicture for OpenFile {
    async fn fingerprint(&mut self) -> Result<Fingerprint, SourceError> {
        // A copy of the handle, since asking must not be interrupted half-way; it is the same open file.
        let asked = async {
            let file = self.file.try_clone().await?.into_std().await;
            tokio::task::spawn_blocking(move || rustix::fs::fstat(&file))
                .await
                .map_err(io::Error::other)?
                .map_err(io::Error::from)
        };
        let stat = asked.await.map_err(|error| SourceError::of(&self.name, &error))?;
        Ok(fingerprint(&stat))
    }

    async fn jump(&mut self, position: u64) -> io::Result<bool> {
        self.file.seek(io::SeekFrom::Start(position)).await?;
        Ok(true)
    }
}

/// Times before 1970 count as 1970.
fn fingerprint(stat: &Stat) -> Fingerprint {
    let nanoseconds = i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
    let nanoseconds = nanoseconds.max(0);
    Fingerprint {
        size_bytes: stat.st_size as u64,
        version: nanoseconds.to_string(),
        modified_ms: (nanoseconds / 1_000_000) as i64,
    }
}

#[cfg(test)]
mod tests;
