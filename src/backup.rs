//! Backing up and restoring the whole state: catalog, vectors, keys and pointer files. Pictures are not part of it.
//!
//! The catalog is copied first, as it is at one moment, and then the vectors that this copy counts on; so both agree,
//! whatever is written meanwhile. A backup is a data folder with a manifest, always with an embedded store, whichever
//! store the vectors come from. It is compared by ids, both ways, and hashed before the manifest makes it whole.

mod files;
pub mod lender;
mod manifest;
pub mod vectors;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::manifest::MANIFEST_FILE;
pub use self::manifest::Manifest;
use self::vectors::{PointSource, Progress};
use crate::catalog::sqlite::{SqliteCatalog, SqliteOptions, snapshot};
use crate::catalog::{self, Catalog, CatalogError};
use crate::config::{Config, EMBEDDED};
use crate::data_dir::{DataDir, DataDirError, LEFT_BY_A_PROCESS};
use crate::store_check::CheckError;
use crate::types::Installation;
use crate::vector_store::address::{FOLDER, open_at};
use crate::vector_store::copy::CopyError;
use crate::vector_store::{StoreError, VectorStore};

const CATALOG_FILE: &str = "catalog.db";
/// Below a data folder: where a restored state gathers until it is whole.
const RESTORING: &str = ".restoring";
/// Where a model lies that is a folder somewhere; the models themselves can be had again.
const POINTERS: &str = "models/folders.json";
const RATINGS_PER_PAGE: u32 = 5_000;

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("cannot {action} {path}: {reason}")]
    File { action: &'static str, path: String, reason: String },
    /// Nothing that is there is written over.
    #[error("{0} is not empty; nothing was written. Name an empty place, or move this one away")]
    Occupied(String),
    #[error("{path} is not a whole backup: {reason}")]
    NotABackup { path: String, reason: String },
    #[error(
        "{path} of the backup is not what was written; use another backup, this one is damaged"
    )]
    Damaged { path: String },
    /// What was written was read again, and is something else.
    #[error("what was written does not agree with itself: {0}; try again, to another disk")]
    Differs(String),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Copy(#[from] CopyError),
}

impl From<CheckError> for BackupError {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Catalog(error) => error.into(),
            CheckError::Store(error) => error.into(),
        }
    }
}

/// Writes a backup of the data folder to `target`, which must be empty or not there. `from` has the vectors.
pub async fn write(
    config: &Config,
    from: &dyn PointSource,
    target: &Path,
    progress: Progress<'_>,
) -> Result<Manifest, BackupError> {
    let catalog = catalog::address::file(config)?;
    if !files::entries(target, &[])?.is_empty() {
        return Err(BackupError::Occupied(target.display().to_string()));
    }
    files::make_folder(target)?;
    snapshot::copy(&catalog, &target.join(CATALOG_FILE)).await?;
    let state = State::open(config, target).await?;
    let collected = vectors::collect(&*state.catalog, from, &*state.store, progress).await;
    state.close(collected).await?;
    for path in further_files(&config.data_dir)? {
        files::copy(&config.data_dir, target, &path)?;
    }
    let mut manifest = verify(config, target).await?;
    files::close_to_others(target)?;
    for path in files::below(target)? {
        manifest.files.push(files::record(target, &path)?);
    }
    manifest.write(target)?;
    Ok(manifest)
}

/// Makes the data folder, which must be empty or not there, and the vector store what they were when the backup was made.
pub async fn restore(
    config: &Config,
    backup: &Path,
    progress: Progress<'_>,
) -> Result<Manifest, BackupError> {
    let manifest = Manifest::read(backup)?;
    let (data_dir, file) = (&config.data_dir, catalog::address::file(config)?);
    let ignored = [&LEFT_BY_A_PROCESS[..], &[RESTORING, "lost+found"]].concat();
    if !files::entries(data_dir, &ignored)?.is_empty() {
        return Err(BackupError::Occupied(format!("the data folder {}", data_dir.display())));
    }
    if file.exists() {
        return Err(BackupError::Occupied(format!("the catalog {}", file.display())));
    }
    manifest.check_files(backup)?;
    files::make_folder(data_dir)?;
    let _lock = DataDir::take(data_dir)?;
    let gathered = gather(&manifest, backup, &data_dir.join(RESTORING))?;
    let is_embedded = config.vector_store.url == EMBEDDED;
    if !is_embedded {
        pour(config, &gathered, manifest.installation, progress).await?;
    }
    settle(&gathered, data_dir, &file, is_embedded)?;
    let restored = verify_at(config, data_dir, &config.vector_store.url).await?;
    let same = (restored.images, restored.ratings, &restored.collections, &restored.active)
        == (manifest.images, manifest.ratings, &manifest.collections, &manifest.active);
    if !same {
        return Err(BackupError::Differs(format!(
            "{} images and {} ratings were to be restored, and {} and {} were",
            manifest.images.indexed, manifest.ratings, restored.images.indexed, restored.ratings
        )));
    }
    Ok(manifest)
}

/// Files of the data folder beside catalog and vectors: keys and pointers. What can be made again (thumbnails, models) is left.
fn further_files(data_dir: &Path) -> Result<Vec<String>, BackupError> {
    let is_wanted = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_elsewhere = name.starts_with(CATALOG_FILE) || name.starts_with('.');
        let is_file = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
        is_file && !is_elsewhere && *name != *MANIFEST_FILE
    };
    let wanted = files::entries(data_dir, &LEFT_BY_A_PROCESS)?.into_iter().filter(is_wanted);
    let names = wanted.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let pointers = data_dir.join(POINTERS).is_file().then(|| POINTERS.to_owned());
    Ok(names.chain(pointers).collect())
}

/// Copies the backup's files beside their place, each compared with its hash on the way.
fn gather(manifest: &Manifest, backup: &Path, to: &Path) -> Result<PathBuf, BackupError> {
    if to.exists() {
        // What an interrupted restore left.
        std::fs::remove_dir_all(to).map_err(files::failed("remove", to))?;
    }
    files::make_folder(to)?;
    for file in &manifest.files {
        manifest.check_file(&files::copy(backup, to, &file.path)?)?;
    }
    Ok(to.to_owned())
}

async fn pour(
    config: &Config,
    gathered: &Path,
    installation: uuid::Uuid,
    progress: Progress<'_>,
) -> Result<(), BackupError> {
    let from = State::open(config, gathered).await?;
    let whole = from.catalog.installation().await?;
    let settings = &config.vector_store;
    let to = open_at(&settings.url, settings, &config.data_dir, &whole).await?;
    let poured = vectors::pour(&*from.store, &*to, installation, progress).await;
    let closed = to.close().await;
    from.close(poured).await?;
    Ok(closed?)
}

/// Moves what was gathered to its place, the catalog last: a data folder without one has nothing.
fn settle(
    gathered: &Path,
    data_dir: &Path,
    catalog: &Path,
    with_vectors: bool,
) -> Result<(), BackupError> {
    let moved = |from: &Path, to: &Path| {
        if let Some(folder) = to.parent() {
            files::make_folder(folder)?;
        }
        std::fs::rename(from, to).map_err(files::failed("move", from))
    };
    for path in files::entries(gathered, &[CATALOG_FILE, FOLDER])? {
        moved(&path, &data_dir.join(path.file_name().unwrap_or_default()))?;
    }
    if with_vectors && gathered.join(FOLDER).exists() {
        moved(&gathered.join(FOLDER), &data_dir.join(FOLDER))?;
    }
    files::sync_folders(data_dir)?;
    match std::fs::rename(gathered.join(CATALOG_FILE), catalog) {
        // The configured catalog is on another disk.
        Err(_) if !catalog.starts_with(data_dir) => {
            let copied = std::fs::copy(gathered.join(CATALOG_FILE), catalog);
            copied.map_err(files::failed("write", catalog))?;
        }
        moved => moved.map_err(files::failed("write", catalog))?,
    }
    std::fs::remove_dir_all(gathered).map_err(files::failed("remove", gathered))?;
    files::sync_folders(data_dir)
}

/// Reads a backup again from the disk: catalog page by page, vectors id by id.
async fn verify(config: &Config, backup: &Path) -> Result<Manifest, BackupError> {
    snapshot::check(&backup.join(CATALOG_FILE)).await?;
    let state = State::open(config, backup).await?;
    let told = state.describe().await;
    state.close(told).await
}

async fn verify_at(config: &Config, data_dir: &Path, store: &str) -> Result<Manifest, BackupError> {
    let file = catalog::address::file(config)?;
    snapshot::check(&file).await?;
    let state = State::open_at(config, data_dir, &file, store).await?;
    let told = state.describe().await;
    state.close(told).await
}

/// The catalog and the vectors of a backup, open.
struct State {
    catalog: Arc<dyn Catalog>,
    store: Arc<dyn VectorStore>,
    installation: Installation,
}

impl State {
    async fn open(config: &Config, folder: &Path) -> Result<Self, BackupError> {
        Self::open_at(config, folder, &folder.join(CATALOG_FILE), EMBEDDED).await
    }

    async fn open_at(
        config: &Config,
        folder: &Path,
        file: &Path,
        store: &str,
    ) -> Result<Self, BackupError> {
        let options =
            SqliteOptions { lock_wait_ms: config.catalog.lock_wait_ms, ..SqliteOptions::default() };
        let catalog: Arc<dyn Catalog> = Arc::new(SqliteCatalog::open(file, options).await?);
        let installation = catalog.installation().await?;
        let store = open_at(store, &config.vector_store, folder, &installation).await?;
        Ok(Self { catalog, store, installation })
    }

    async fn describe(&self) -> Result<Manifest, BackupError> {
        let mut manifest = Manifest::new(self.installation.id);
        manifest.images = self.catalog.counts().await?.into();
        manifest.ratings = count_ratings(&*self.catalog).await?;
        manifest.collections = vectors::compare(&*self.catalog, &*self.store).await?;
        manifest.active = self.store.active().await?;
        Ok(manifest)
    }

    /// Closes both, whatever the outcome of the work was.
    async fn close<T>(self, outcome: Result<T, BackupError>) -> Result<T, BackupError> {
        let closed = self.store.close().await;
        self.catalog.close().await;
        let value = outcome?;
        closed?;
        Ok(value)
    }
}

async fn count_ratings(catalog: &dyn Catalog) -> Result<u64, CatalogError> {
    let (mut count, mut after) = (0, None);
    loop {
        let page = catalog.feedback(after.as_deref(), RATINGS_PER_PAGE).await?;
        let Some(last) = page.last() else { return Ok(count) };
        count += page.len() as u64;
        after = Some(last.impression.id.clone());
    }
}
