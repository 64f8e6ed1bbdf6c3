//! The application: every handle there is, each opened by its address. Commands and HTTP handlers get what they need from
//! here. Opening is quick; the model is brought up afterwards (see `serving`), so that a server answers while it loads.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::catalog::sqlite::SqliteCatalog;
use crate::catalog::{Catalog, CatalogError, StateCounts};
use crate::config::{Config, Secret};
use crate::data_dir::{DataDir, DataDirError, catalog_file};
use crate::metrics::{Metrics, StateLabel};
use crate::models::ModelError;
use crate::search::Searcher;
use crate::search_token::{TokenError, TokenSigner};
use crate::serving::{Serving, ServingParts};
use crate::source::Source;
use crate::source::address::{self as source_address, AddressError};
use crate::thumbnails::Thumbnails;
use crate::vector_store::{StoreError, VectorStore, address};

/// Every handle.
pub struct App {
    pub config: Config,
    pub catalog: Arc<dyn Catalog>,
    pub store: Arc<dyn VectorStore>,
    /// Where pictures come from, whether or not a model is up.
    pub sources: Vec<Arc<dyn Source>>,
    pub serving: Arc<Serving>,
    pub searcher: Arc<Searcher>,
    pub thumbnails: Arc<Thumbnails>,
    pub metrics: Arc<Metrics>,
    /// Set when the program is to end; endless answers (events) end then.
    pub stop: CancellationToken,
    /// What uploads and deletions are protected by.
    pub api_key: Secret,
    pub data_dir: DataDir,
}

/// Why the application cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The file with the API key is unusable.
    #[error("cannot use uploads.api_key_file {path}: {reason}")]
    ApiKey { path: String, reason: String },
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    SourceAddress(#[from] AddressError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl App {
    /// Opens data folder, catalog, store and key; makes what is not there yet.
    pub async fn open(config: Config) -> Result<Arc<Self>, AppError> {
        let data_dir = DataDir::take(&config.data_dir)?;
        let catalog: Arc<dyn Catalog> =
            Arc::new(SqliteCatalog::open(&catalog_file(data_dir.path())).await?);
        let store =
            address::open_at(&config.vector_store.url, &config.vector_store, data_dir.path())
                .await?;
        let sources =
            source_address::open(&config.images, &config.ingest.ignore, config.ingest.images_max)?;
        let metrics = Arc::new(Metrics::default());
        let serving = Arc::new(Serving::new(ServingParts {
            config: config.clone(),
            catalog: catalog.clone(),
            store: store.clone(),
            sources: sources.clone(),
            metrics: metrics.clone(),
        })?);
        let limits = config.decode.limits();
        let searcher = Arc::new(Searcher::new(
            serving.subscribe(),
            catalog.clone(),
            signer(&config, &data_dir)?,
            metrics.clone(),
            config.search.clone(),
            limits.clone(),
        ));
        let thumbnails =
            Arc::new(Thumbnails::new(data_dir.thumbnails(), config.thumbnails.clone(), limits));
        let (api_key, stop) = (api_key(&config)?, CancellationToken::new());
        Ok(Arc::new(Self {
            config,
            catalog,
            store,
            sources,
            serving,
            searcher,
            thumbnails,
            metrics,
            stop,
            api_key,
            data_dir,
        }))
    }

    /// The source with this id.
    pub fn source(&self, id: &str) -> Option<&dyn Source> {
        self.sources.iter().find(|source| source.id() == id).map(Arc::as_ref)
    }

    /// Images by state, also put into the metrics.
    pub async fn counts(&self) -> Result<StateCounts, CatalogError> {
        let counts = self.catalog.counts().await?;
        for (state, images) in
            [("pending", counts.pending), ("indexed", counts.indexed), ("failed", counts.failed)]
        {
            self.metrics.images.get_or_create(&StateLabel { state }).set(images as i64);
        }
        Ok(counts)
    }

    /// Stops ingestion and closes store and catalog.
    pub async fn shut_down(&self) {
        self.serving.shut_down().await;
        if let Err(error) = self.store.close().await {
            tracing::warn!(%error, "the vector store did not close cleanly");
        }
        self.catalog.close().await;
    }
}

fn signer(config: &Config, data_dir: &DataDir) -> Result<TokenSigner, TokenError> {
    let configured = &config.token.key_file;
    let key_file: PathBuf =
        if *configured == Path::new("") { data_dir.token_key() } else { configured.clone() };
    TokenSigner::from_file(&key_file, &config.token.audience, config.token.lifetime_s)
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
