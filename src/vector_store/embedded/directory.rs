//! The embedded store's directory: the exclusive lock, the `active` pointer, names, and crash-safe file changes.
//! Every change here is either complete or absent after a crash: written beside, fsynced, renamed, directory fsynced.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::vector_store::{StoreError, check_name};

const LOCK_FILE: &str = "LOCK";
const ACTIVE_FILE: &str = "active";
/// A collection that was set aside keeps its name and gets this and a Unix time behind it.
const BROKEN_INFIX: &str = ".broken-";
/// A collection that is being deleted; what is left of it goes at the next open.
const DELETED_PREFIX: &str = ".deleted-";

/// How long a lock of our own may outlive its file: a child that is being started has copies of all files that are open, and
/// with them their locks, until it runs its own program.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_POLL: Duration = Duration::from_millis(10);

/// The root directory, locked for this process as long as this lives.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    /// Held, never read: the lock goes when the file is closed, however the process ends.
    _lock: File,
}

impl Directory {
    /// Creates the directory if need be, and locks it.
    pub(super) fn lock(root: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(root).map_err(|error| io_error("create the directory", root, &error))?;
        let path = root.join(LOCK_FILE);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| io_error("open", &path, &error))?;
        let is_held = |error: &TryLockError| matches!(error, TryLockError::WouldBlock);
        match while_held(is_held, || file.try_lock()) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked { path: root.display().to_string() });
            }
            Err(TryLockError::Error(error)) => return Err(io_error("lock", &path, &error)),
        }
        let directory = Self { root: root.to_owned(), _lock: file };
        directory.remove_deleted()?;
        Ok(directory)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where a collection lives.
    pub(super) fn collection(&self, name: &str) -> Result<PathBuf, StoreError> {
        check_name(name)?;
        Ok(self.root.join(name))
    }

    /// Directories whose name can be a collection's, sorted.
    pub(super) fn candidates(&self) -> Result<Vec<String>, StoreError> {
        let mut names = Vec::new();
        for entry in self.entries()? {
            let Ok(name) = entry.file_name().into_string() else { continue };
            if entry.path().is_dir() && self.collection(&name).is_ok() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    pub(super) fn active(&self) -> Result<Option<String>, StoreError> {
        let path = self.root.join(ACTIVE_FILE);
        match fs::read_to_string(&path) {
            Ok(name) => Ok(Some(name.trim().to_owned()).filter(|name| !name.is_empty())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("read", &path, &error)),
        }
    }

    pub(super) fn activate(&self, name: &str) -> Result<(), StoreError> {
        write_atomically(&self.root.join(ACTIVE_FILE), format!("{name}\n").as_bytes())
    }

    /// Renames a collection out of the way and returns where it went.
    pub(super) fn set_aside(&self, name: &str) -> Result<PathBuf, StoreError> {
        let from = self.collection(name)?;
        if !from.is_dir() {
            return Err(StoreError::NoSuchCollection(name.to_owned()));
        }
        let seconds =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let free = |time: &u64| !self.root.join(format!("{name}{BROKEN_INFIX}{time}")).exists();
        let time = (seconds..=seconds + 1000).find(free).unwrap_or(seconds);
        let to = self.root.join(format!("{name}{BROKEN_INFIX}{time}"));
        rename(&from, &to)?;
        Ok(to)
    }

    /// Deletes a collection: gone at once and for good with the rename, its space soon after.
    pub(super) fn delete(&self, name: &str) -> Result<(), StoreError> {
        let from = self.collection(name)?;
        if !from.exists() {
            return Ok(());
        }
        let to = self.root.join(format!("{DELETED_PREFIX}{name}-{}", uuid::Uuid::new_v4()));
        rename(&from, &to)?;
        remove_tree(&to)
    }

    fn remove_deleted(&self) -> Result<(), StoreError> {
        for entry in self.entries()? {
            if entry.file_name().to_string_lossy().starts_with(DELETED_PREFIX) {
                remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }

    fn entries(&self) -> Result<Vec<fs::DirEntry>, StoreError> {
        fs::read_dir(&self.root)
            .and_then(Iterator::collect)
            .map_err(|error| io_error("list", &self.root, &error))
    }
}

/// Tries again, for a while, what fails because a lock is held.
pub(super) fn while_held<T, E>(
    is_held: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let started = Instant::now();
    loop {
        match attempt() {
            Err(error) if is_held(&error) && started.elapsed() < LOCK_PATIENCE => {
                thread::sleep(LOCK_POLL);
            }
            outcome => return outcome,
        }
    }
}

/// Replaces a file: readers, and the next start, see the old content or the new, never a mixture.
pub(super) fn write_atomically(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let beside = path.with_extension("tmp");
    let write = || -> io::Result<()> {
        let mut file = File::create(&beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        sync_directory_of(path)
    };
    write().map_err(|error| io_error("write", path, &error))
}

/// Renames, durably.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to)
        .and_then(|()| sync_directory_of(to))
        .map_err(|error| io_error("rename", from, &error))
}

/// Removes a directory with all that is in it; one that does not exist is no error.
pub(super) fn remove_tree(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("delete", path, &error))
        }
        _ => Ok(()),
    }
}

/// Makes the entries of the directory that holds `path` durable.
pub(super) fn sync_directory_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

/// An operating system error as ours: what cannot get better by itself is `Refused`, with the next step.
pub(super) fn io_error(action: &str, path: &Path, error: &io::Error) -> StoreError {
    let what = format!("cannot {action} {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            StoreError::Refused(format!("{what}; let the user who runs image-search write there"))
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StoreError::Refused(format!("{what}; free some space on that disk"))
        }
        _ => StoreError::Internal(what),
    }
}
