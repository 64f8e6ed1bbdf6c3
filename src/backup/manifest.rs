//! What a backup holds, written last: without its manifest a backup is not whole.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::BackupError;
use super::files::{self, FileRecord, failed};
use crate::catalog::StateCounts;

pub(super) const MANIFEST_FILE: &str = "manifest.json";
const FORMAT: u32 = 1;

/// See [`super::write`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of the backup, not of what is in it.
    pub format: u32,
    /// Version of the program that wrote it.
    pub program: String,
    /// RFC 3339.
    pub made_at: String,
    pub installation: Uuid,
    pub images: ImageCounts,
    /// Searches that were rated.
    pub ratings: u64,
    pub collections: Vec<CollectionRecord>,
    /// Name of the collection that answers searches.
    pub active: Option<String>,
    pub files: Vec<FileRecord>,
}

/// Images of the catalog by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageCounts {
    pub indexed: u64,
    pub pending: u64,
    pub failed: u64,
}

impl From<StateCounts> for ImageCounts {
    fn from(counts: StateCounts) -> Self {
        Self { indexed: counts.indexed, pending: counts.pending, failed: counts.failed }
    }
}

/// The vectors of one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionRecord {
    pub name: String,
    pub dim: usize,
    pub vectors: u64,
}

impl Manifest {
    pub(super) fn new(installation: Uuid) -> Self {
        Self {
            format: FORMAT,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            made_at: jiff::Timestamp::now().to_string(),
            installation,
            images: ImageCounts { indexed: 0, pending: 0, failed: 0 },
            ratings: 0,
            collections: Vec::new(),
            active: None,
            files: Vec::new(),
        }
    }

    pub(super) fn read(backup: &Path) -> Result<Self, BackupError> {
        let path = backup.join(MANIFEST_FILE);
        let not_whole =
            |reason: String| BackupError::NotABackup { path: backup.display().to_string(), reason };
        let json = std::fs::read(&path)
            .map_err(|error| not_whole(format!("{}: {error}", path.display())))?;
        let manifest: Self =
            serde_json::from_slice(&json).map_err(|error| not_whole(error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(not_whole(format!(
                "it has format {}, and this program knows {FORMAT}",
                manifest.format
            )));
        }
        Ok(manifest)
    }

    pub(super) fn write(&self, backup: &Path) -> Result<(), BackupError> {
        let path = backup.join(MANIFEST_FILE);
        let beside = backup.join(".manifest.tmp");
        let json = serde_json::to_vec_pretty(self).map_err(std::io::Error::from);
        let written = json.and_then(|json| {
            let mut options = std::fs::OpenOptions::new();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            file.write_all(&json)?;
            file.sync_all()?;
            std::fs::rename(&beside, &path)
        });
        written.map_err(failed("write", &path))?;
        files::sync_folders(backup)
    }

    /// Reads every file of the backup and compares it with what was noted. Files beside those are no matter.
    pub(super) fn check_files(&self, backup: &Path) -> Result<(), BackupError> {
        for noted in &self.files {
            let found = files::record(backup, &noted.path)?;
            self.check_file(&found)?;
        }
        Ok(())
    }

    pub(super) fn check_file(&self, found: &FileRecord) -> Result<(), BackupError> {
        if self.files.contains(found) {
            return Ok(());
        }
        Err(BackupError::Damaged { path: found.path.clone() })
    }
}
