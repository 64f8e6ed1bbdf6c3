//! Downloads a model: one process at a time, several files at once, resumed where it broke off, every file checked against what
//! the hub says of it. Files gather in a folder of their own that becomes the snapshot when the last one is there.

use std::path::Path;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use reqwest::StatusCode;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::cache::{Cache, Manifest, ManifestFile, Snapshot, make_parent};
use super::hub::{Checksum, FileFacts, Hub, Trouble, passing, range_start};
use super::progress::DownloadProgress;
use super::registry::ModelEntry;
use super::{ModelError, io_error};
use crate::config::ModelsConfig;
use crate::disk_space::free_bytes;
use crate::types::hex;

/// How often a process looks whether the other downloader is done.
const LOCK_POLL_MS: u64 = 250;
/// A file that came whole and wrong is fetched once more; then it is the hub's fault.
const WRONG_MAX: u32 = 2;

/// Downloads the model, unless another process did meanwhile.
pub(super) async fn download(
    hub: &Hub,
    cache: &Cache,
    entry: &ModelEntry,
    config: &ModelsConfig,
    progress: &DownloadProgress,
) -> Result<Snapshot, ModelError> {
    let _lock = loop {
        if let Some(lock) = cache.try_lock(entry)? {
            break lock;
        }
        progress.set_waiting(true);
        tokio::time::sleep(Duration::from_millis(LOCK_POLL_MS)).await;
    };
    progress.set_waiting(false);
    if let Some(snapshot) = cache.find(entry) {
        return Ok(snapshot);
    }
    let listing = hub.listing(entry).await?;
    let commit = listing.commit.as_str();
    let wanted = entry.select(&listing.files())?;
    if let Some(missing) =
        entry.layout.required().iter().find(|file| !wanted.iter().any(|there| there == *file))
    {
        return Err(ModelError::NoBundle {
            repository: entry.repository.clone(),
            file: (*missing).to_owned(),
        });
    }
    let facts = facts(hub, entry, commit, wanted, config.files_at_once).await?;
    let total: u64 = facts.iter().map(|file| file.size_bytes).sum();
    if total > config.download_bytes_max {
        return Err(ModelError::TooLarge {
            name: entry.name.clone(),
            bytes: total,
            limit: config.download_bytes_max,
        });
    }
    let partial = cache.partial_dir(entry, commit);
    std::fs::create_dir_all(&partial).map_err(|error| io_error(&partial, &error))?;
    check_space(&partial, total)?;
    progress.start(total);
    let fetch = &Fetch { hub, entry, commit, dir: &partial, progress };
    let fetching = stream::iter(facts).map(|file| async move { fetch.fetch(&file).await });
    let files: Vec<ManifestFile> =
        fetching.buffer_unordered(config.files_at_once).try_collect().await?;
    cache.publish(
        entry,
        &Manifest { repository: entry.repository.clone(), commit: commit.to_owned(), files },
    )
}

/// What the hub says of these files.
pub(super) async fn facts(
    hub: &Hub,
    entry: &ModelEntry,
    commit: &str,
    paths: Vec<String>,
    at_once: usize,
) -> Result<Vec<FileFacts>, ModelError> {
    let asking =
        stream::iter(paths).map(|path| async move { hub.facts(entry, commit, &path).await });
    asking.buffered(at_once).try_collect().await
}

/// Better now than after an hour. What is there of an earlier try counts as free.
fn check_space(dir: &Path, total: u64) -> Result<(), ModelError> {
    let files = walkdir::WalkDir::new(dir)
        .into_iter()
        .filter_map(Result::ok)
        .filter(|file| file.file_type().is_file());
    let here: u64 = files.filter_map(|file| Some(file.metadata().ok()?.len())).sum();
    // A file system that does not say how full it is will say so when it is.
    let Ok(free) = free_bytes(dir) else { return Ok(()) };
    if free.saturating_add(here) < total {
        return Err(ModelError::DiskFull {
            path: dir.display().to_string(),
            reason: format!("{} MB are needed and {} MB free", total / 1_000_000, free / 1_000_000),
        });
    }
    Ok(())
}

struct Fetch<'a> {
    hub: &'a Hub,
    entry: &'a ModelEntry,
    commit: &'a str,
    dir: &'a Path,
    progress: &'a DownloadProgress,
}

impl Fetch<'_> {
    async fn fetch(&self, file: &FileFacts) -> Result<ManifestFile, ModelError> {
        let path = self.dir.join(&file.path);
        let noted =
            |sha256| ManifestFile { path: file.path.clone(), size_bytes: file.size_bytes, sha256 };
        if tokio::fs::metadata(&path).await.is_ok_and(|found| found.len() == file.size_bytes) {
            let sums = Sums::of_file(&path, file.size_bytes).await?;
            self.progress.add(file.size_bytes);
            return Ok(noted(sums.sha256()));
        }
        make_parent(&path)?;
        let part = path.with_file_name(format!(
            "{}.part",
            path.file_name().unwrap_or_default().to_string_lossy()
        ));
        let mut target = Target::open(&part, file.size_bytes).await?;
        self.progress.add(target.length);
        let mut patience = self.hub.patience();
        let mut wrong = 0;
        loop {
            let before = target.length;
            match self.append(file, &mut target).await {
                Ok(()) if target.sums.clone().matches(&file.checksum) => break,
                Ok(()) => {
                    wrong += 1;
                    if wrong == WRONG_MAX {
                        target.restart(self.progress).await?;
                        return Err(ModelError::WrongChecksum {
                            repository: self.entry.repository.clone(),
                            file: file.path.clone(),
                        });
                    }
                    tracing::warn!(
                        file = file.path,
                        "the file that came has another checksum than the hub says; fetching it again"
                    );
                    target.restart(self.progress).await?;
                }
                Err(trouble) => {
                    if target.length > before {
                        patience.reset();
                    }
                    patience.wait(trouble).await?;
                }
            }
        }
        target.finish(&path).await?;
        Ok(noted(target.sums.sha256()))
    }

    /// Reads on from where the file ends, until it is whole.
    async fn append(&self, file: &FileFacts, target: &mut Target) -> Result<(), Trouble> {
        if target.length == file.size_bytes && file.size_bytes > 0 {
            return Ok(());
        }
        let mut response =
            self.hub.read(self.entry, self.commit, &file.path, target.length).await?;
        let continues = response.status() == StatusCode::PARTIAL_CONTENT
            && range_start(&response) == Some(target.length);
        if !continues && target.length > 0 {
            target.restart(self.progress).await?;
            if response.status() != StatusCode::OK {
                return Err(Trouble::Passing {
                    reason: "it cannot go on where the download broke off".into(),
                    pause: None,
                });
            }
        }
        while let Some(chunk) = response.chunk().await.map_err(|error| passing(&error))? {
            if target.length + chunk.len() as u64 > file.size_bytes {
                target.restart(self.progress).await?;
                return Err(Trouble::Passing {
                    reason: format!("{} is longer than the hub says", file.path),
                    pause: None,
                });
            }
            target.write(&chunk).await?;
            self.progress.add(chunk.len() as u64);
        }
        if target.length < file.size_bytes {
            return Err(Trouble::Passing {
                reason: format!("{} ended early", file.path),
                pause: None,
            });
        }
        Ok(())
    }
}

/// A file on its way, with the checksums of what is there of it.
struct Target {
    path: std::path::PathBuf,
    file: File,
    length: u64,
    size_bytes: u64,
    sums: Sums,
}

impl Target {
    /// Goes on with what an earlier try left.
    async fn open(path: &Path, size_bytes: u64) -> Result<Self, ModelError> {
        let failed = |error: std::io::Error| io_error(path, &error);
        let file = File::options().create(true).append(true).open(path).await.map_err(failed)?;
        let mut length = file.metadata().await.map_err(failed)?.len();
        if length > size_bytes {
            file.set_len(0).await.map_err(failed)?;
            length = 0;
        }
        let sums = if length == 0 {
            Sums::new(size_bytes)
        } else {
            Sums::of_file(path, size_bytes).await?
        };
        Ok(Self { path: path.to_owned(), file, length, size_bytes, sums })
    }

    async fn write(&mut self, chunk: &[u8]) -> Result<(), ModelError> {
        let written = async {
            self.file.write_all(chunk).await?;
            // So that the length is that of the file, and a full disk is told here.
            self.file.flush().await
        };
        written.await.map_err(|error| io_error(&self.path, &error))?;
        self.sums.update(chunk);
        self.length += chunk.len() as u64;
        Ok(())
    }

    async fn restart(&mut self, progress: &DownloadProgress) -> Result<(), ModelError> {
        self.file.set_len(0).await.map_err(|error| io_error(&self.path, &error))?;
        progress.take_back(self.length);
        self.length = 0;
        self.sums = Sums::new(self.size_bytes);
        Ok(())
    }

    async fn finish(&mut self, path: &Path) -> Result<(), ModelError> {
        self.file.sync_all().await.map_err(|error| io_error(&self.path, &error))?;
        tokio::fs::rename(&self.path, path).await.map_err(|error| io_error(path, &error))
    }
}

/// Both checksums that the hub may ask for.
#[derive(Clone)]
pub(super) struct Sums {
    sha256: Sha256,
    git: Sha1,
}

impl Sums {
    fn new(size_bytes: u64) -> Self {
        Self { sha256: Sha256::new(), git: Sha1::new_with_prefix(format!("blob {size_bytes}\0")) }
    }

    /// Of a file that has, or shall have, `size_bytes`.
    pub(super) async fn of_file(path: &Path, size_bytes: u64) -> Result<Self, ModelError> {
        let failed = |error: std::io::Error| io_error(path, &error);
        let mut file = File::open(path).await.map_err(failed)?;
        let mut sums = Self::new(size_bytes);
        let mut chunk = vec![0; 1 << 20];
        loop {
            match file.read(&mut chunk).await.map_err(failed)? {
                0 => return Ok(sums),
                length => sums.update(&chunk[..length]),
            }
        }
    }

    fn update(&mut self, chunk: &[u8]) {
        self.sha256.update(chunk);
        self.git.update(chunk);
    }

    pub(super) fn sha256(&self) -> String {
        hex(&self.sha256.clone().finalize())
    }

    pub(super) fn matches(self, checksum: &Checksum) -> bool {
        match checksum {
            Checksum::Sha256(wanted) => hex(&self.sha256.finalize()) == *wanted,
            Checksum::GitBlob(wanted) => hex(&self.git.finalize()) == *wanted,
            Checksum::Unknown => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_checksums_are_those_of_git_and_sha256sum() {
        let dir = tempfile::tempdir().expect("temp");
        let path = dir.path().join("file");
        std::fs::write(&path, "hello\n").expect("written");
        let sums = Sums::of_file(&path, 6).await.expect("read");
        assert_eq!(
            sums.sha256(),
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
        );
        // git hash-object of the same file
        assert!(
            sums.clone()
                .matches(&Checksum::GitBlob("ce013625030ba8dba906f756967f9e9ca394464a".into()))
        );
        assert!(!sums.matches(&Checksum::Sha256("00".repeat(32))));
    }
}
