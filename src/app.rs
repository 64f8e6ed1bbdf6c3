//! The application: every handle there is, built once. Commands and HTTP handlers get what they need from here.
//! Opening is quick; the model is brought up afterwards, so that a server answers while it loads.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use clip::{EngineChoice, LoadOptions, Model};
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use crate::catalog::sqlite::SqliteCatalog;
use crate::catalog::{Catalog, CatalogError, StateCounts};
use crate::config::{Config, Secret};
use crate::embedder::{EmbedError, Embedder};
use crate::ingest::{Ingest, IngestError, IngestParts};
use crate::metrics::{Metrics, StateLabel};
use crate::models::{self, LocatedModel, ModelError};
use crate::search::{Searcher, Serving};
use crate::search_token::{TokenError, TokenSigner};
use crate::source::folder::{FolderSource, IgnoreError};
use crate::thumbnails::Thumbnails;
use crate::vector_store::embedded::EmbeddedStore;
use crate::vector_store::{Collection, CollectionSpec, FieldKind, StoreError, VectorStore};

/// All handles.
pub struct App {
    /// Configuration.
    pub config: Config,
    /// SQL tables.
    pub catalog: Arc<dyn Catalog>,
    /// Vectors.
    pub store: Arc<dyn VectorStore>,
    /// Answers searches.
    pub searcher: Arc<Searcher>,
    /// Small pictures.
    pub thumbnails: Arc<Thumbnails>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Set when the program is to end; endless answers (events) end then.
    pub stop: CancellationToken,
    api_key: Secret,
    model: RwLock<ModelState>,
    ingest: OnceLock<Arc<Ingest>>,
    lock: DataDirLock,
}

/// How far the model is.
#[derive(Debug, Clone)]
pub enum ModelState {
    /// Being located and loaded.
    Loading,
    /// Answering.
    Ready(Box<LocatedModel>),
    /// It cannot be used; [`App::bring_up`] returned why.
    Failed,
}

/// Why the application cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The data folder cannot be used.
    #[error("cannot use the data folder {path}: {reason}")]
    DataDir {
        /// Which folder.
        path: String,
        /// The system's words and what to do.
        reason: String,
    },
    /// Another process works with this data folder.
    #[error("the data folder {path} is in use by another image-search process{whom}; stop it, or give this one its own --data-dir")]
    InUse {
        /// Which folder.
        path: String,
        /// Address of the other process's server, as ` (http://…)`, if it is one.
        whom: String,
    },
    /// The file with the API key is unusable.
    #[error("cannot use uploads.api_key_file {path}: {reason}")]
    ApiKey {
        /// Which file.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// `embed.engine` is no engine.
    #[error("embed.engine: {0}")]
    Engine(String),
    /// The model's files are unusable.
    #[error(transparent)]
    Load(#[from] clip::LoadError),
    /// See [`ModelError`].
    #[error(transparent)]
    Model(#[from] ModelError),
    /// See [`EmbedError`].
    #[error(transparent)]
    Embed(#[from] EmbedError),
    /// See [`CatalogError`].
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// See [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
    /// See [`TokenError`].
    #[error(transparent)]
    Token(#[from] TokenError),
    /// See [`IgnoreError`].
    #[error(transparent)]
    Ignore(#[from] IgnoreError),
    /// See [`IngestError`].
    #[error(transparent)]
    Ingest(#[from] IngestError),
}

impl App {
    /// Opens data folder, catalog, store and key; makes what is not there yet.
    pub async fn open(config: Config) -> Result<Arc<Self>, AppError> {
        let lock = DataDirLock::take(&config.data_dir)?;
        let catalog: Arc<dyn Catalog> = Arc::new(SqliteCatalog::open(&catalog_path(&config)).await?);
        let store: Arc<dyn VectorStore> = Arc::new(open_store(&config).await?);
        let metrics = Arc::new(Metrics::default());
        let limits = config.decode.limits();
        let tokens = TokenSigner::from_file(&key_path(&config), &config.token.audience, config.token.lifetime_s)?;
        let searcher = Arc::new(Searcher::new(catalog.clone(), tokens, metrics.clone(), config.search.clone(), limits.clone()));
        let thumbnails = Arc::new(Thumbnails::new(config.data_dir.join("thumbnails"), config.thumbnails.clone(), limits));
        let api_key = api_key(&config)?;
        let model = RwLock::new(ModelState::Loading);
        let stop = CancellationToken::new();
        Ok(Arc::new(Self { stop, api_key, config, catalog, store, searcher, thumbnails, metrics, model, ingest: OnceLock::new(), lock }))
    }

    /// Finds and loads the model, opens its collection and puts ingestion together. Searches are answered from then on.
    pub async fn bring_up(&self) -> Result<Arc<Ingest>, AppError> {
        let brought_up = self.load_and_connect().await;
        if brought_up.is_err() {
            *self.model.write() = ModelState::Failed;
        }
        brought_up
    }

    async fn load_and_connect(&self) -> Result<Arc<Ingest>, AppError> {
        let (located, embedder) = load_embedder(&self.config).await?;
        let embedder = Arc::new(embedder);
        let spec = collection_spec(&embedder);
        let collection = self.open_collection(&spec).await?;
        self.store.activate(&spec.name).await?;
        let ingest = Arc::new(Ingest::new(IngestParts {
            sources: FolderSource::all(&self.config.images, &self.config.ingest.ignore, self.config.ingest.images_max)?,
            catalog: self.catalog.clone(),
            collection: collection.clone(),
            embedder: embedder.clone(),
            metrics: self.metrics.clone(),
            config: self.config.ingest.clone(),
            decode: self.config.decode.clone(),
            batch_max: self.config.embed.batch_max,
        }));
        ingest.recover().await?;
        self.searcher.serve(Serving { embedder, collection });
        *self.model.write() = ModelState::Ready(Box::new(located));
        Ok(self.ingest.get_or_init(|| ingest).clone())
    }

    /// Opens the collection. A damaged one is moved out of the way and made again from the pictures.
    async fn open_collection(&self, spec: &CollectionSpec) -> Result<Arc<dyn Collection>, StoreError> {
        match self.store.open(spec).await {
            Err(damage @ StoreError::Damaged { .. }) => {
                let kept_as = self.store.set_aside(&spec.name).await?;
                tracing::error!(%damage, kept_as, "the vectors are computed again from the pictures; the damaged files can be deleted");
                self.store.open(spec).await
            }
            opened => opened,
        }
    }

    /// What uploads and deletions are protected by.
    pub fn api_key(&self) -> &Secret {
        &self.api_key
    }

    /// How far the model is.
    pub fn model(&self) -> ModelState {
        self.model.read().clone()
    }

    /// Ingestion, once the model is up.
    pub fn ingest(&self) -> Option<&Arc<Ingest>> {
        self.ingest.get()
    }

    /// Images by state, also put into the metrics.
    pub async fn counts(&self) -> Result<StateCounts, CatalogError> {
        let counts = self.catalog.counts().await?;
        for (state, images) in [("pending", counts.pending), ("indexed", counts.indexed), ("failed", counts.failed)] {
            self.metrics.images.get_or_create(&StateLabel { state }).set(images as i64);
        }
        Ok(counts)
    }

    /// Tells other processes where this one's server is.
    pub fn announce(&self, url: &str) {
        self.lock.announce(url);
    }

    /// Stops ingestion and closes store and catalog.
    pub async fn shut_down(&self) {
        if let Some(ingest) = self.ingest.get() {
            ingest.shut_down().await;
        }
        if let Err(error) = self.store.close().await {
            tracing::warn!(%error, "the vector store did not close cleanly");
        }
        self.catalog.close().await;
    }
}

/// Loads the configured model and starts its threads.
pub async fn load_embedder(config: &Config) -> Result<(LocatedModel, Embedder), AppError> {
    let engine: EngineChoice = config
        .embed
        .engine
        .parse()
        .map_err(|_| AppError::Engine(format!("{:?} is none of auto, rten, onnxruntime", config.embed.engine)))?;
    let library = Some(config.embed.onnxruntime_library.clone()).filter(|path| *path != Path::new(""));
    let options = LoadOptions { engine, threads: config.embed.threads, onnxruntime_library: library };
    let (wanted, data_dir, embed) = (config.model.clone(), config.data_dir.clone(), config.embed.clone());
    let loading = tokio::task::spawn_blocking(move || {
        let located = models::locate(&wanted, &data_dir)?;
        let model = Model::load(&located.dir, &options)?;
        let embedder = Embedder::start(model, located.id.clone(), located.display_name.clone(), &embed)?;
        Ok((located, embedder))
    });
    loading.await.map_err(|error| EmbedError::Model(error.to_string()))?
}

fn collection_spec(embedder: &Embedder) -> CollectionSpec {
    let indexed_fields = vec![
        ("format".to_owned(), FieldKind::Keyword),
        ("width".to_owned(), FieldKind::Integer),
        ("height".to_owned(), FieldKind::Integer),
    ];
    CollectionSpec { name: embedder.id().collection_name(), dim: embedder.info().dim, indexed_fields }
}

/// Where the SQLite catalog is.
pub fn catalog_path(config: &Config) -> PathBuf {
    config.data_dir.join("catalog.db")
}

fn key_path(config: &Config) -> PathBuf {
    if config.token.key_file == Path::new("") { config.data_dir.join("jwt.key") } else { config.token.key_file.clone() }
}

fn api_key(config: &Config) -> Result<Secret, AppError> {
    let path = &config.uploads.api_key_file;
    if *path == Path::new("") {
        return Ok(config.uploads.api_key.clone());
    }
    let failed = |reason: String| AppError::ApiKey { path: path.display().to_string(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    match text.trim() {
        "" => Err(failed("it is empty".into())),
        key => Ok(Secret::from(key.to_owned())),
    }
}

async fn open_store(config: &Config) -> Result<EmbeddedStore, StoreError> {
    let options =
        crate::vector_store::embedded::EmbeddedOptions { index_from_vectors: config.vector_store.index_from_vectors, ..Default::default() };
    let dir = config.data_dir.join("vectors");
    tokio::task::spawn_blocking(move || EmbeddedStore::open(&dir, options))
        .await
        .map_err(|error| StoreError::Internal(error.to_string()))?
}

/// One process per data folder: two would work on the same rows. The file names the server of who has it.
struct DataDirLock {
    file: File,
}

impl DataDirLock {
    fn take(data_dir: &Path) -> Result<Self, AppError> {
        let failed = |error: std::io::Error| {
            let reason = format!("{error}; check that it is a folder this user may write to, or choose another --data-dir");
            AppError::DataDir { path: data_dir.display().to_string(), reason }
        };
        std::fs::create_dir_all(data_dir).map_err(failed)?;
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(data_dir.join("LOCK")).map_err(failed)?;
        if fs4::FileExt::try_lock(&file).is_err() {
            let mut url = String::new();
            let _ = file.read_to_string(&mut url);
            let whom = if url.is_empty() { String::new() } else { format!(" ({})", url.trim()) };
            return Err(AppError::InUse { path: data_dir.display().to_string(), whom });
        }
        let lock = Self { file };
        lock.announce("");
        Ok(lock)
    }

    /// Failing to announce only makes the other process's message less helpful.
    fn announce(&self, url: &str) {
        let mut file = &self.file;
        let _ = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).and_then(|_| file.write_all(url.as_bytes()));
    }
}

/// Address of the server that works with this data folder, if one does.
pub fn running_server(data_dir: &Path) -> Option<String> {
    let mut file = File::open(data_dir.join("LOCK")).ok()?;
    if fs4::FileExt::try_lock_shared(&file).is_ok() {
        return None;
    }
    let mut url = String::new();
    file.read_to_string(&mut url).ok()?;
    Some(url.trim().to_owned()).filter(|url| !url.is_empty())
}
