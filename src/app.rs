//! The application: every handle there is, each opened by its address. Commands and HTTP handlers get what they need from
//! here. Opening is quick; the model is brought up afterwards (see `serving`), so that a server answers while it loads.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::catalog::{self, Catalog, CatalogError, ProcessRow, StateCounts};
use crate::config::{Config, KeyFileError, Secret};
use crate::data_dir::{self, DataDir, DataDirError};
use crate::decoder::Decoder;
use crate::metrics::{Metrics, StateLabel};
use crate::models::ModelError;
use crate::search::Searcher;
use crate::search_token::{TokenError, TokenSigner};
use crate::serving::{Serving, ServingParts};
use crate::source::Source;
use crate::source::address::{self as source_address, AddressError};
use crate::thumbnails::{SharedThumbnails, Thumbnails};
use crate::types::now_ms;
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
    pub decoder: Arc<Decoder>,
    pub thumbnails: Arc<Thumbnails>,
    pub metrics: Arc<Metrics>,
    /// Set when the program is to end; endless answers (events) end then.
    pub stop: CancellationToken,
    /// Whose a key is.
    pub access: Access,
    pub data_dir: DataDir,
    /// Among the processes that share a catalog.
    instance: String,
    started_ms: i64,
}

/// Why the application cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    ApiKey(#[from] KeyFileError),
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
        let catalog = catalog::address::open(&config).await?;
        let (settings, installation) = (&config.vector_store, catalog.installation().await?);
        let store =
            address::open_at(&settings.url, settings, data_dir.path(), &installation).await?;
        let sources = source_address::open(
            &config.images,
            &config.data_dir,
            &config.ingest.ignore,
            config.ingest.images_max,
            &config.source,
        )?;
        Self::assemble(config, data_dir, catalog, store, sources)
    }

    /// The application around handles that are open already.
    pub fn assemble(
        config: Config,
        data_dir: DataDir,
        catalog: Arc<dyn Catalog>,
        store: Arc<dyn VectorStore>,
        sources: Vec<Arc<dyn Source>>,
    ) -> Result<Arc<Self>, AppError> {
        let metrics = Arc::new(Metrics::default());
        let decoder = Arc::new(Decoder::new(&config.decode, config.ingest.low_priority));
        let thumbnails =
            Thumbnails::new(data_dir.thumbnails(), config.thumbnails.clone(), decoder.clone());
        let thumbnails = Arc::new(thumbnails.shared_in(SharedThumbnails::open(&config)?));
        let serving = Arc::new(Serving::new(ServingParts {
            config: config.clone(),
            catalog: catalog.clone(),
            store: store.clone(),
            sources: sources.clone(),
            metrics: metrics.clone(),
            decoder: decoder.clone(),
            thumbnails: thumbnails.clone(),
        })?);
        let searcher = Arc::new(Searcher::new(
            serving.subscribe(),
            catalog.clone(),
            signer(&config)?,
            metrics.clone(),
            (config.search.clone(), config.learning.clone()),
            decoder.clone(),
            data_dir.calibration(),
        ));
        serving.judge_with(searcher.clone());
        let access = Access::new(catalog.clone(), &api_key(&config)?);
        let instance = catalog::address::instance(data_dir.path());
        metrics.note_process(config.role.as_str(), &instance);
        Ok(Arc::new(Self {
            config,
            catalog,
            store,
            sources,
            serving,
            searcher,
            decoder,
            thumbnails,
            metrics,
            stop: CancellationToken::new(),
            access,
            data_dir,
            instance,
            started_ms: now_ms(),
        }))
    }

    /// The source with this id.
    pub fn source(&self, id: &str) -> Option<&dyn Source> {
        self.sources.iter().find(|source| source.id() == id).map(Arc::as_ref)
    }

    /// What this process tells others of itself.
    pub fn sign_of_life(&self) -> ProcessRow {
        let state = self.serving.state();
        let ingest = state.ingest().map(|ingest| ingest.status(0));
        let system = rustix::system::uname();
        ProcessRow {
            instance: self.instance.clone(),
            role: self.config.role.to_string(),
            host: system.nodename().to_string_lossy().into_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms: self.started_ms,
            seen_ms: now_ms(),
            images_indexed: self.metrics.indexed.get(),
            images_per_second: ingest.as_ref().map_or(0.0, |ingest| ingest.images_per_second),
            message: ingest.and_then(|ingest| ingest.message),
        }
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

    /// Asks the store, and the collections in it that we answer from and write to. The error says what to do.
    pub async fn check_store(&self) -> Result<(), String> {
        self.store.health().await.map_err(|error| error.to_string())?;
        let state = self.serving.state();
        if let Some(answering) = state.answering() {
            answering.collection.marker().await.map_err(|error| error.to_string())?;
        }
        state.ingest().and_then(|ingest| ingest.store_trouble()).map_or(Ok(()), Err)
    }

    /// Stops ingestion and closes store and catalog.
    pub async fn shut_down(&self) {
        self.serving.shut_down().await;
        self.thumbnails.flush().await;
        if let Err(error) = self.store.close().await {
            tracing::warn!(%error, "the vector store did not close cleanly");
        }
        self.catalog.close().await;
    }
}

fn signer(config: &Config) -> Result<TokenSigner, TokenError> {
    TokenSigner::from_file(&token_key_file(config), &config.token.audience, config.token.lifetime_s)
}

/// Where the key is that tokens are signed with.
pub fn token_key_file(config: &Config) -> PathBuf {
    let configured = &config.token.key_file;
    if *configured == Path::new("") {
        data_dir::token_key(&config.data_dir)
    } else {
        configured.clone()
    }
}

fn api_key(config: &Config) -> Result<Secret, AppError> {
    let uploads = &config.uploads;
    let named = Secret::from_file("uploads.api_key_file", &uploads.api_key_file)?;
    Ok(named.unwrap_or_else(|| uploads.api_key.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_app::TestApp;

    fn config(dir: &std::path::Path, change: impl FnOnce(&mut Config)) -> Config {
        let flags = vec![
            ("data_dir", dir.join("data").display().to_string().into()),
            ("images", vec![dir.join("images").display().to_string()].into()),
        ];
        let mut config = Config::load(None, [], flags).expect("valid");
        change(&mut config);
        config
    }

    #[tokio::test]
    async fn every_handle_is_opened_by_its_address_and_the_folder_is_free_afterwards() {
        let dir = tempfile::tempdir().expect("temp");
        let app = App::open(config(dir.path(), |_| {})).await.expect("opened");
        assert_eq!((app.store.kind(), app.sources.len()), ("embedded", 1));
        let Err(second) = App::open(config(dir.path(), |_| {})).await else {
            panic!("two at once")
        };
        assert!(matches!(second, AppError::DataDir(DataDirError::InUse { .. })), "{second}");
        app.shut_down().await;
        drop(app);
        App::open(config(dir.path(), |_| {})).await.expect("free again").shut_down().await;
    }

    #[tokio::test]
    async fn addresses_that_lead_nowhere_are_refused_before_anything_is_written_there() {
        let dir = tempfile::tempdir().expect("temp");
        let bucket = config(dir.path(), |config| config.images = vec!["ftp://bucket".into()]);
        let Err(refused) = App::open(bucket).await else { panic!("there is no such source yet") };
        assert!(matches!(refused, AppError::SourceAddress(_)), "{refused}");
        let key = config(dir.path(), |config| {
            config.uploads.api_key_file = dir.path().join("no-such-file");
        });
        let Err(refused) = App::open(key).await else { panic!("there is no key") };
        assert!(refused.to_string().contains("no-such-file"), "{refused}");
    }

    #[tokio::test]
    async fn counts_are_put_into_the_metrics() {
        let test = TestApp::start(|_| {}).await;
        test.put("red.png", [250, 0, 0], 4);
        test.until_counts(1, 0).await;
        test.app.counts().await.expect("counted");
        let told = test.app.metrics.encode();
        assert!(told.contains("images{state=\"indexed\"} 1"), "{told}");
        test.finish().await;
    }
}
