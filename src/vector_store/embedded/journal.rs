//! Which points changed while indexes were being built, kept on disk so that a crash in between loses none of it.
//! The engine notes deletions of that time in memory only, and `qdrant-edge` 0.7 never replays its own log.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::directory::{io_error, sync_directory_of};
use crate::vector_store::StoreError;

/// One byte for the change, sixteen for the id. A torn last record was never acknowledged and is ignored.
const RECORD_BYTES: usize = 17;

/// What last happened to a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Change {
    Upserted = b'u',
    Deleted = b'd',
}

/// The open journal. It exists exactly while indexes are being built, or after a crash at that time.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens the journal for appending, durably there before the first index is touched.
    pub(super) fn start(path: &Path) -> Result<Self, StoreError> {
        let open = || -> io::Result<File> {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            file.sync_all()?;
            sync_directory_of(path)?;
            Ok(file)
        };
        let file = open().map_err(|error| io_error("start the journal", path, &error))?;
        Ok(Self { path: path.to_owned(), file })
    }

    pub(super) fn append(&mut self, change: Change, ids: &[Uuid]) -> Result<(), StoreError> {
        let mut records = Vec::with_capacity(ids.len() * RECORD_BYTES);
        for id in ids {
            records.push(change as u8);
            records.extend_from_slice(id.as_bytes());
        }
        self.file.write_all(&records).map_err(|error| io_error("append to", &self.path, &error))
    }

    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(|error| io_error("sync", &self.path, &error))
    }

    /// The last change of each point.
    pub(super) fn read(path: &Path) -> Result<BTreeMap<Uuid, Change>, StoreError> {
        let bytes = fs::read(path).map_err(|error| io_error("read", path, &error))?;
        let mut changes = BTreeMap::new();
        for record in bytes.chunks_exact(RECORD_BYTES) {
            let Ok(id) = Uuid::from_slice(&record[1..]) else { continue };
            let change =
                if record[0] == Change::Deleted as u8 { Change::Deleted } else { Change::Upserted };
            changes.insert(id, change);
        }
        Ok(changes)
    }

    /// Removes it, when all that it names is durable in the engine.
    pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
        match fs::remove_file(path).and_then(|()| sync_directory_of(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove", path, &error))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_change_counts_and_a_torn_record_does_not() -> Result<(), Box<dyn std::error::Error>>
    {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("journal");
        let (a, b, c) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        let mut journal = Journal::start(&path)?;
        journal.append(Change::Upserted, &[a, b])?;
        journal.append(Change::Deleted, &[a, c])?;
        journal.append(Change::Upserted, &[c])?;
        journal.sync()?;
        OpenOptions::new().append(true).open(&path)?.write_all(&[b'd', 0, 0])?;
        let expected =
            BTreeMap::from([(a, Change::Deleted), (b, Change::Upserted), (c, Change::Upserted)]);
        assert_eq!(Journal::read(&path)?, expected);
        Journal::remove(&path)?;
        assert!(!path.exists());
        Ok(())
    }
}
