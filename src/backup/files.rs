//! The files of a backup: listed, hashed while they are copied, made durable, readable by their owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::BackupError;

const BUFFER_BYTES: usize = 1 << 20;

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Below the backup's folder, with `/`.
    pub path: String,
    pub bytes: u64,
    pub blake3: String,
}

pub(super) fn failed(
    action: &'static str,
    path: &Path,
) -> impl Fn(io::Error) -> BackupError + use<> {
    let path = path.display().to_string();
    move |error| BackupError::File { action, path: path.clone(), reason: error.to_string() }
}

/// Makes a folder, with those above it, for this user alone.
pub(super) fn make_folder(path: &Path) -> Result<(), BackupError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(failed("make", path))
}

/// What lies in a folder, of which `ignored` does not count; nothing if there is no such folder.
pub(super) fn entries(folder: &Path, ignored: &[&str]) -> Result<Vec<PathBuf>, BackupError> {
    let listed = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.and_then(Iterator::collect::<io::Result<Vec<_>>>),
    };
    let mut paths: Vec<PathBuf> = listed
        .map_err(failed("read", folder))?
        .into_iter()
        .filter(|entry| !ignored.iter().any(|name| entry.file_name() == *name))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    Ok(paths)
}

/// Regular files anywhere below `root`, as paths relative to it, in order.
pub(super) fn below(root: &Path) -> Result<Vec<String>, BackupError> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in entries(&folder, &[])? {
            let kind = fs::symlink_metadata(&path).map_err(failed("read", &path))?.file_type();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let relative = path.strip_prefix(root).unwrap_or(&path);
                let parts = relative.iter().map(|part| part.to_string_lossy());
                found.push(parts.collect::<Vec<_>>().join("/"));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Reads a file to its end.
pub(super) fn record(root: &Path, path: &str) -> Result<FileRecord, BackupError> {
    let (bytes, blake3) = pass_on(&root.join(path), &mut io::sink())?;
    Ok(FileRecord { path: path.to_owned(), bytes, blake3 })
}

/// Copies one file to the same place below another folder, durably. Returns what was copied.
pub(super) fn copy(from: &Path, to: &Path, path: &str) -> Result<FileRecord, BackupError> {
    let target = to.join(path);
    if let Some(folder) = target.parent() {
        make_folder(folder)?;
    }
    let options = OpenOptions::new().write(true).create_new(true).mode(0o600).clone();
    let mut file = options.open(&target).map_err(failed("write", &target))?;
    let (bytes, blake3) = pass_on(&from.join(path), &mut file)?;
    file.sync_all().map_err(failed("write", &target))?;
    Ok(FileRecord { path: path.to_owned(), bytes, blake3 })
}

fn pass_on(from: &Path, to: &mut dyn Write) -> Result<(u64, String), BackupError> {
    let mut file = File::open(from).map_err(failed("read", from))?;
    let (mut hasher, mut buffer, mut bytes) = (blake3::Hasher::new(), vec![0; BUFFER_BYTES], 0);
    loop {
        let read = file.read(&mut buffer).map_err(failed("read", from))?;
        if read == 0 {
            return Ok((bytes, hasher.finalize().to_string()));
        }
        hasher.update(&buffer[..read]);
        to.write_all(&buffer[..read]).map_err(failed("write a copy of", from))?;
        bytes += read as u64;
    }
}

/// Makes the entries of all folders below `root`, and its own, durable.
pub(super) fn sync_folders(root: &Path) -> Result<(), BackupError> {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let synced = File::open(&folder).and_then(|opened| opened.sync_all());
        synced.map_err(failed("make durable", &folder))?;
        folders.extend(entries(&folder, &[])?.into_iter().filter(|path| path.is_dir()));
    }
    Ok(())
}

/// Lets nobody else read what is below `root`: keys are among it.
pub(super) fn close_to_others(root: &Path) -> Result<(), BackupError> {
    use std::os::unix::fs::PermissionsExt;
    for path in below(root)? {
        let path = root.join(path);
        let closed = fs::set_permissions(&path, fs::Permissions::from_mode(0o600));
        closed.map_err(failed("set the rights of", &path))?;
    }
    Ok(())
}
