//! The models that are here, in the layout of the hub's own cache (`models--owner--name/snapshots/<commit>/…` and `refs/`), so that
//! a model that another program downloaded is found, and the other way round. A snapshot of ours appears whole or not at all.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::registry::ModelEntry;
use super::{ModelError, io_error};

/// What we note of our own snapshots, to verify them later without the hub.
const MANIFEST: &str = ".image-search.json";

#[derive(Debug, Clone)]
pub(super) struct Cache {
    root: PathBuf,
}

/// A model whose files are all here.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Folder with the model bundle.
    pub dir: PathBuf,
    /// Commit of the hub.
    pub commit: String,
}

/// The files of a snapshot as they were downloaded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) repository: String,
    pub(super) commit: String,
    pub(super) files: Vec<ManifestFile>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ManifestFile {
    pub(super) path: String,
    pub(super) size_bytes: u64,
    /// sha256 in hexadecimal digits.
    pub(super) sha256: String,
}

impl Snapshot {
    /// What we noted when we downloaded it.
    pub(super) fn manifest(&self) -> Option<Manifest> {
        serde_json::from_slice(&std::fs::read(self.dir.join(MANIFEST)).ok()?).ok()
    }
}

impl Cache {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Folder of everything of one repository.
    pub(super) fn repository_dir(&self, entry: &ModelEntry) -> PathBuf {
        self.root.join(format!("models--{}", entry.repository.replace('/', "--")))
    }

    pub(super) fn snapshot_dir(&self, entry: &ModelEntry, commit: &str) -> PathBuf {
        self.repository_dir(entry).join("snapshots").join(commit)
    }

    /// Where a download gathers its files; another program that looks for snapshots sees no commit in it.
    pub(super) fn partial_dir(&self, entry: &ModelEntry, commit: &str) -> PathBuf {
        self.repository_dir(entry).join("snapshots").join(format!(".partial-{commit}"))
    }

    /// The model, if all of its files are here.
    pub(super) fn find(&self, entry: &ModelEntry) -> Option<Snapshot> {
        let commit = if is_commit(&entry.revision) {
            entry.revision.clone()
        } else {
            let noted = std::fs::read_to_string(
                self.repository_dir(entry).join("refs").join(&entry.revision),
            )
            .ok()?;
            Some(noted.trim().to_owned()).filter(|commit| is_commit(commit))?
        };
        let dir = self.snapshot_dir(entry, &commit);
        let has = |file: &&str| {
            std::fs::metadata(dir.join(file)).is_ok_and(|found| found.is_file() && found.len() > 0)
        };
        entry.layout.required().iter().all(has).then_some(Snapshot { dir, commit })
    }

    /// Makes a gathered download the snapshot of `commit`, and notes which commit the revision stands for.
    pub(super) fn publish(
        &self,
        entry: &ModelEntry,
        manifest: &Manifest,
    ) -> Result<Snapshot, ModelError> {
        let partial = self.partial_dir(entry, &manifest.commit);
        let dir = self.snapshot_dir(entry, &manifest.commit);
        let text = serde_json::to_string_pretty(manifest).map_err(|error| ModelError::Io {
            path: partial.display().to_string(),
            reason: error.to_string(),
        })?;
        write(&partial.join(MANIFEST), &text)?;
        if dir.exists() {
            // Another program left an incomplete snapshot of the same commit.
            for file in manifest.files.iter().map(|file| file.path.as_str()).chain([MANIFEST]) {
                let to = dir.join(file);
                make_parent(&to)?;
                std::fs::rename(partial.join(file), &to).map_err(|error| io_error(&to, &error))?;
            }
            let _ = std::fs::remove_dir_all(&partial);
        } else {
            std::fs::rename(&partial, &dir).map_err(|error| io_error(&dir, &error))?;
        }
        if !is_commit(&entry.revision) {
            let refs = self.repository_dir(entry).join("refs").join(&entry.revision);
            let new = refs.with_file_name(format!(".{}-{}", entry.revision, uuid::Uuid::new_v4()));
            make_parent(&refs)?;
            write(&new, &manifest.commit)?;
            std::fs::rename(&new, &refs).map_err(|error| io_error(&refs, &error))?;
        }
        Ok(Snapshot { dir, commit: manifest.commit.clone() })
    }

    /// Deletes everything of the repository; returns how many bytes that were.
    pub(super) fn remove(&self, entry: &ModelEntry) -> Result<u64, ModelError> {
        let dir = self.repository_dir(entry);
        let files = walkdir::WalkDir::new(&dir).into_iter().filter_map(Result::ok);
        let bytes = files
            .filter(|file| file.file_type().is_file())
            .filter_map(|file| Some(file.metadata().ok()?.len()))
            .sum();
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(io_error(&dir, &error))
            }
            _ => Ok(bytes),
        }
    }

    /// One downloader of a repository at a time; `None` while another process has it. Dropping the file gives it back.
    pub(super) fn try_lock(&self, entry: &ModelEntry) -> Result<Option<File>, ModelError> {
        let path = self.repository_dir(entry).join(".image-search.lock");
        make_parent(&path)?;
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| io_error(&path, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(io_error(&path, &error)),
        }
    }
}

/// Whether `revision` is a full commit.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.chars().all(|digit| digit.is_ascii_hexdigit())
}

pub(super) fn make_parent(path: &Path) -> Result<(), ModelError> {
    let parent = path.parent().unwrap_or(path);
    std::fs::create_dir_all(parent).map_err(|error| io_error(parent, &error))
}

fn write(path: &Path, text: &str) -> Result<(), ModelError> {
    std::fs::write(path, text).map_err(|error| io_error(path, &error))
}
