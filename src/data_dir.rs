//! The folder with everything the program writes: where each thing is in it, and the lock that keeps a second process out.
//! The lock file names the server that has the folder, so that other commands find it.

use std::fs::{File, Permissions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Held by the process that works with the folder.
pub const LOCK: &str = "LOCK";
/// Through which a running server lends its vectors to a backup.
pub const BACKUP_SOCKET: &str = "backup.sock";

/// A data folder that this process has to itself, until dropped.
pub struct DataDir {
    path: PathBuf,
    lock: File,
}

/// Why the folder cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error(
        "cannot use the data folder {path}: {reason}; check that it is a folder this user may write to, or choose another --data-dir"
    )]
    Unusable { path: String, reason: String },
    /// Another process works with it.
    #[error(
        "the data folder {path} is in use by another image-search process{whom}; stop it, or give this one its own --data-dir"
    )]
    InUse {
        path: String,
        /// Address of the other process's server, as ` (http://…)`, if it is one.
        whom: String,
    },
}

impl DataDir {
    /// Makes the folder if need be, and locks it: two processes would work on the same rows.
    pub fn take(path: &Path) -> Result<Self, DataDirError> {
        let failed = |error: std::io::Error| DataDirError::Unusable {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        make(path)?;
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut url = String::new();
                let _ = lock.read_to_string(&mut url);
                let whom =
                    if url.is_empty() { String::new() } else { format!(" ({})", url.trim()) };
                return Err(DataDirError::InUse { path: path.display().to_string(), whom });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let taken = Self { path: path.to_owned(), lock };
        taken.announce("");
        Ok(taken)
    }

    /// Tells other processes where this one's server is. Failing only makes their messages less helpful.
    pub fn announce(&self, url: &str) {
        let mut lock = &self.lock;
        let _ = lock
            .set_len(0)
            .and_then(|()| lock.seek(SeekFrom::Start(0)))
            .and_then(|_| lock.write_all(url.as_bytes()));
    }

    /// The folder itself, below which the vector store finds its place.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Small pictures, kept by content.
    pub fn thumbnails(&self) -> PathBuf {
        self.path.join("thumbnails")
    }

    /// What was learnt of models, and can be learnt again.
    pub fn calibration(&self) -> PathBuf {
        self.path.join("calibration")
    }
}

/// Makes the folder, for its owner alone, unless it is there.
pub fn make(path: &Path) -> Result<(), DataDirError> {
    let failed = |error: std::io::Error| DataDirError::Unusable {
        path: path.display().to_string(),
        reason: error.to_string(),
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    if let Err(error) = close_to_others(path) {
        tracing::warn!(path = %path.display(), %error, "other users may read the data folder; its owner can run chmod -R go= on it");
    }
    Ok(())
}

/// Nobody else may enter the folder, nor read what lies directly in it. What lies deeper is behind that door.
fn close_to_others(path: &Path) -> std::io::Result<()> {
    let close = |path: &Path| {
        let found = std::fs::symlink_metadata(path)?;
        let mode = found.permissions().mode() & 0o7777;
        let closed = mode & !0o077;
        if found.is_symlink() || closed == mode {
            return Ok(());
        }
        std::fs::set_permissions(path, Permissions::from_mode(closed))
    };
    // Of a link, the folder that it leads to.
    close(&path.canonicalize()?)?;
    for entry in std::fs::read_dir(path)? {
        close(&entry?.path())?;
    }
    Ok(())
}

/// Key that tokens are signed with, unless another file is configured.
pub fn token_key(data_dir: &Path) -> PathBuf {
    data_dir.join("jwt.key")
}

/// Address of the server that works with this data folder, if one does.
pub fn running_server(data_dir: &Path) -> Option<String> {
    let mut lock = File::open(data_dir.join(LOCK)).ok()?;
    if lock.try_lock_shared().is_ok() {
        return None;
    }
    let mut url = String::new();
    lock.read_to_string(&mut url).ok()?;
    Some(url.trim().to_owned()).filter(|url| !url.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_told_who_has_the_folder() {
        let dir = tempfile::tempdir().expect("temp");
        let first = DataDir::take(dir.path()).expect("free");
        assert_eq!(running_server(dir.path()), None, "it has no server yet");
        first.announce("http://localhost:3000");
        assert_eq!(running_server(dir.path()).as_deref(), Some("http://localhost:3000"));
        let Err(refused) = DataDir::take(dir.path()) else { panic!("two at once") };
        assert!(refused.to_string().contains("(http://localhost:3000)"), "{refused}");
        drop(first);
        assert_eq!(running_server(dir.path()), None, "an old address must not count");
        DataDir::take(dir.path()).expect("free again");
    }

    #[test]
    fn an_open_folder_of_before_is_closed_to_others() {
        let dir = tempfile::tempdir().expect("temp");
        let path = dir.path().join("data");
        std::fs::create_dir(&path).expect("mkdir");
        std::fs::create_dir(path.join("thumbnails")).expect("mkdir");
        std::fs::write(path.join("catalog.db"), "x").expect("write");
        for (path, mode) in [("", 0o755), ("thumbnails", 0o775), ("catalog.db", 0o644)] {
            let (path, mode) = (dir.path().join("data").join(path), Permissions::from_mode(mode));
            std::fs::set_permissions(path, mode).expect("opened to others");
        }
        let _taken = DataDir::take(&path).expect("free");
        for (path, wanted) in
            [("", 0o700), ("thumbnails", 0o700), ("catalog.db", 0o600), (LOCK, 0o600)]
        {
            let path = dir.path().join("data").join(path);
            let mode = std::fs::metadata(&path).expect("there").permissions().mode() & 0o777;
            assert_eq!(mode, wanted, "{}", path.display());
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named_with_what_to_do() {
        let Err(refused) = DataDir::take(Path::new("/proc/no-such-folder")) else { panic!() };
        let text = refused.to_string();
        assert!(text.contains("/proc/no-such-folder") && text.contains("--data-dir"), "{text}");
    }
}
