//! The application: every handle there is, built once. Commands and HTTP handlers get what they need from here.
//! Opening is quick; the model is brought up afterwards, so that a server answers while it loads.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clip::{EngineChoice, LoadOptions, Model};
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use crate::catalog::sqlite::SqliteCatalog;
use crate::catalog::{Catalog, CatalogError, StateCounts, UsedModel};
use crate::config::{Config, KeyFileError, Secret};
use crate::embedder::{EmbedError, Embedder, StartError};
use crate::ingest::{Ingest, IngestError, IngestParts};
use crate::metrics::{Metrics, StateLabel};
use crate::models::{self, Choice, LocatedModel, ModelError, Models, Progress};
use crate::search::{Searcher, Serving};
use crate::search_token::{TokenError, TokenSigner};
use crate::source::folder::{FolderSource, IgnoreError};
use crate::store_check::{self, CheckError};
use crate::thumbnails::Thumbnails;
use crate::types::ModelId;
use crate::vector_store::{
    Collection, CollectionSpec, StoreError, VectorStore, address,
};

/// Pauses between tries to reach a vector store at start.
const STORE_RETRY_FIRST: Duration = Duration::from_millis(250);
const STORE_RETRY_LONGEST: Duration = Duration::from_secs(5);

pub struct App {
    pub config: Config,
    pub catalog: Arc<dyn Catalog>,
    pub store: Arc<dyn VectorStore>,
    pub searcher: Arc<Searcher>,
    pub thumbnails: Arc<Thumbnails>,
    pub metrics: Arc<Metrics>,
    /// Set when the program is to end; endless answers (events) end then.
    pub stop: CancellationToken,
    api_key: Secret,
    models: Models,
    model: RwLock<ModelState>,
    next: RwLock<Option<NextModel>>,
    ingest: RwLock<Option<Arc<Ingest>>>,
    lock: DataDirLock,
}

/// How far the model is.
#[derive(Debug, Clone)]
pub enum ModelState {
    /// Being located and loaded.
    Loading,
    /// Being fetched; nothing answers meanwhile.
    Downloading {
        name: String,
        /// How far it is.
        progress: Arc<Progress>,
    },
    /// It is loaded, but the vector store cannot be used.
    Waiting {
        /// Why, and what to do.
        reason: String,
    },
    Ready(Box<LocatedModel>),
    /// It cannot be used; [`App::bring_up`] returned why.
    Failed,
}

/// The model that will answer when it is ready; another one answers until then.
#[derive(Clone)]
pub struct NextModel {
    pub name: String,
    /// What is being done.
    pub stage: Stage,
}

/// What keeps the next model from answering.
#[derive(Clone)]
pub enum Stage {
    /// It is being fetched.
    Downloading(Arc<Progress>),
    /// The vectors of the pictures are being made.
    Indexing(Box<(LocatedModel, Serving)>),
}

/// Why the application cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The data folder cannot be used.
    #[error("cannot use the data folder {path}: {reason}")]
    DataDir {
        path: String,
        /// The system's words and what to do.
        reason: String,
    },
    /// Another process works with this data folder.
    #[error(
        "the data folder {path} is in use by another image-search process{whom}; stop it, or give this one its own --data-dir"
    )]
    InUse {
        path: String,
        /// Address of the other process's server, as ` (http://…)`, if it is one.
        whom: String,
    },
    #[error(transparent)]
    ApiKey(#[from] KeyFileError),
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
    /// See [`CheckError`].
    #[error(transparent)]
    Check(#[from] CheckError),
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
        let catalog: Arc<dyn Catalog> =
            Arc::new(SqliteCatalog::open(&catalog_path(&config)).await?);
        let store =
            address::open_at(&config.vector_store.url, &config.vector_store, &config.data_dir, &catalog.installation().await?)
                .await?;
        let metrics = Arc::new(Metrics::default());
        let limits = config.decode.limits();
        let tokens = TokenSigner::from_file(
            &key_path(&config),
            &config.token.audience,
            config.token.lifetime_s,
        )?;
        let searcher = Arc::new(Searcher::new(
            catalog.clone(),
            tokens,
            metrics.clone(),
            config.search.clone(),
            limits.clone(),
        ));
        let thumbnails = Arc::new(Thumbnails::new(
            config.data_dir.join("thumbnails"),
            config.thumbnails.clone(),
            limits,
        ));
        let api_key = api_key(&config)?;
        let models = Models::open(&config)?;
        let model = RwLock::new(ModelState::Loading);
        let (next, ingest) = (RwLock::default(), RwLock::default());
        let stop = CancellationToken::new();
        Ok(Arc::new(Self {
            config,
            catalog,
            store,
            searcher,
            thumbnails,
            metrics,
            stop,
            api_key,
            models,
            model,
            next,
            ingest,
            lock,
        }))
    }

    /// Finds (or downloads) and loads the model, opens its collection and puts ingestion together. Searches are answered from then
    /// on: by this model, or, while its vectors are still being made, by the one that answered before.
    pub async fn bring_up(&self) -> Result<Arc<Ingest>, AppError> {
        self.bring_up_with(false).await
    }

    /// The same for a server: a vector store that is away, or refuses, is waited for; [`ModelState::Waiting`] says why meanwhile.
    pub async fn bring_up_patiently(&self) -> Result<Arc<Ingest>, AppError> {
        self.bring_up_with(true).await
    }

    async fn bring_up_with(&self, patient: bool) -> Result<Arc<Ingest>, AppError> {
        let brought_up = async {
            let located = self.obtain().await?;
            let embedder = Arc::new(load(&self.config, located.clone()).await?);
            let mut failures = 0;
            loop {
                match self.adopt(located.clone(), embedder.clone()).await {
                    Err(error) if patient && may_pass(&error) => {
                        self.wait_for_store(&error, &mut failures).await
                    }
                    adopted => return adopted,
                }
            }
        };
        let brought_up = brought_up.await;
        if brought_up.is_err() {
            *self.model.write() = ModelState::Failed;
        }
        brought_up
    }

    /// Waits before the next try, ever longer.
    async fn wait_for_store(&self, error: &AppError, failures: &mut u32) {
        let pause =
            STORE_RETRY_FIRST.saturating_mul(1 << (*failures).min(8)).min(STORE_RETRY_LONGEST);
        *failures += 1;
        tracing::warn!(%error, again_in_ms = pause.as_millis() as u64, "the vector store cannot be used; trying again");
        *self.model.write() = ModelState::Waiting { reason: error.to_string() };
        tokio::time::sleep(pause).await;
    }

    /// The configured model, downloaded if need be. Only `auto` has a substitute.
    async fn obtain(&self) -> Result<LocatedModel, AppError> {
        let wanted = self.config.model.as_str();
        let entry = match self.models.find(wanted)? {
            Choice::Here(located) => return Ok(*located),
            Choice::Elsewhere(entry) => entry,
        };
        let progress = Arc::new(Progress::default());
        *self.model.write() =
            ModelState::Downloading { name: entry.name.clone(), progress: progress.clone() };
        let fetched = self.models.fetch(&entry, wanted == models::AUTO, &progress).await;
        *self.model.write() = ModelState::Loading;
        match fetched {
            Err(error) if wanted == models::AUTO => Ok(self.models.stand_in(&error)?),
            fetched => Ok(fetched?),
        }
    }

    /// Whether the files of the preferred model are here by now.
    pub fn preferred_is_here(&self) -> bool {
        matches!(self.models.find(models::AUTO), Ok(Choice::Here(_)))
    }

    /// Whether `auto` had to take the bundled model, so that the preferred one is still wanted.
    pub fn wants_preferred(&self) -> bool {
        let is_bundled = |located: &LocatedModel| located.id.name == models::BUNDLED;
        self.config.model == models::AUTO
            && matches!(&*self.model.read(), ModelState::Ready(located) if is_bundled(located))
            && self.next().is_none()
    }

    /// Downloads the preferred model while another one answers, then makes its vectors. Returns the ingestion that does so; the
    /// former one has ended. Searches change over in [`Self::finish_switch`].
    pub async fn fetch_preferred(&self) -> Result<Arc<Ingest>, AppError> {
        let located = match self.models.find(models::AUTO)? {
            Choice::Here(located) => *located,
            Choice::Elsewhere(entry) => {
                let progress = Arc::new(Progress::default());
                *self.next.write() = Some(NextModel {
                    name: entry.name.clone(),
                    stage: Stage::Downloading(progress.clone()),
                });
                let fetched = self.models.fetch(&entry, true, &progress).await;
                *self.next.write() = None;
                fetched?
            }
        };
        let embedder = Arc::new(load(&self.config, located.clone()).await?);
        self.adopt(located, embedder).await
    }

    /// Makes `located` the model that pictures are indexed with, and that answers as soon as it can.
    async fn adopt(
        &self,
        located: LocatedModel,
        embedder: Arc<Embedder>,
    ) -> Result<Arc<Ingest>, AppError> {
        let spec = collection_spec(embedder.id(), embedder.info().dim);
        let collection = self.open_collection(&spec).await?;
        let serving = Serving { embedder: embedder.clone(), collection: collection.clone() };
        let former = self.ingest.write().take();
        if let Some(former) = former {
            former.shut_down().await;
        }
        let used = UsedModel {
            id: located.id.clone(),
            dir: located.dir.clone(),
            display_name: located.display_name.clone(),
            banner: located.banner.clone(),
        };
        self.catalog.remember_model(&used).await?;
        let ingest = Arc::new(Ingest::new(IngestParts {
            sources: FolderSource::all(
                &self.config.images,
                &self.config.ingest.ignore,
                self.config.ingest.images_max,
            )?,
            catalog: self.catalog.clone(),
            store: self.store.clone(),
            check_interval_ms: self.config.vector_store.check_interval_ms,
            collection,
            embedder,
            metrics: self.metrics.clone(),
            config: self.config.ingest.clone(),
            decode: self.config.decode.clone(),
            batch_max: self.config.embed.batch_max,
        }));
        ingest.recover().await?;
        match self.former_model(&spec.name).await? {
            Some((answering, former)) if self.catalog.awaiting().await? > 0 => {
                tracing::info!(now = %answering.id, next = %located.id, "the vectors of another model are made in the background; until then the former one answers");
                *self.next.write() = Some(NextModel {
                    name: located.id.name.clone(),
                    stage: Stage::Indexing(Box::new((located, serving))),
                });
                self.searcher.serve(former);
                *self.model.write() = ModelState::Ready(Box::new(answering));
            }
            _ => self.switch_to(located, serving).await?,
        }
        *self.ingest.write() = Some(ingest.clone());
        Ok(ingest)
    }

    /// The model that answered before, if it is another one that still can.
    async fn former_model(&self, next: &str) -> Result<Option<(LocatedModel, Serving)>, AppError> {
        if let (ModelState::Ready(located), Some(serving)) = (self.model(), self.searcher.serving())
        {
            return Ok((serving.collection.spec().name != next).then_some((*located, serving)));
        }
        let Some(active) = self.store.active().await?.filter(|active| active != next) else {
            return Ok(None);
        };
        let used = self
            .catalog
            .used_models()
            .await?
            .into_iter()
            .find(|used| used.id.collection_name() == active);
        let Some(used) = used else { return Ok(None) };
        let Some(located) = models::at_folder(&used.dir, used.id, used.display_name, used.banner)
        else {
            return Ok(None);
        };
        let opened = async {
            let embedder = Arc::new(load(&self.config, located.clone()).await?);
            let collection =
                self.store.open(&collection_spec(embedder.id(), embedder.info().dim)).await?;
            Ok::<_, AppError>(Serving { embedder, collection })
        };
        match opened.await {
            Ok(serving) => Ok(Some((located, serving))),
            Err(error) => {
                tracing::warn!(%error, model = %located.id, "the model that answered before cannot be used any more; the new one answers at once, with what it has");
                Ok(None)
            }
        }
    }

    /// Lets the next model answer if all its vectors are made. Returns whether none is next any more.
    pub async fn finish_switch(&self) -> Result<bool, AppError> {
        let Some(NextModel { stage: Stage::Indexing(next), .. }) = self.next() else {
            return Ok(true);
        };
        if self.catalog.awaiting().await? > 0 {
            return Ok(false);
        }
        let (located, serving) = *next;
        self.switch_to(located, serving).await?;
        Ok(true)
    }

    /// From the store's pointer on, a restart finds the same model; so that comes first.
    async fn switch_to(&self, located: LocatedModel, serving: Serving) -> Result<(), AppError> {
        let name = serving.collection.spec().name.clone();
        self.store.activate(&name).await?;
        self.searcher.serve(serving);
        tracing::debug!(collection = name, "answering");
        *self.model.write() = ModelState::Ready(Box::new(located));
        *self.next.write() = None;
        Ok(())
    }

    /// Deletes the vectors of every model of ours but the one that answers and the one that is being prepared; returns the
    /// names of the collections.
    pub async fn prune(&self) -> Result<Vec<String>, AppError> {
        let being_built = match self.models.find(&self.config.model) {
            Ok(Choice::Here(located)) => vec![located.id.collection_name()],
            _ => Vec::new(),
        };
        Ok(store_check::prune(&*self.catalog, &*self.store, &being_built).await?)
    }

    /// Opens the collection. A damaged one is moved out of the way and made again from the pictures.
    async fn open_collection(
        &self,
        spec: &CollectionSpec,
    ) -> Result<Arc<dyn Collection>, StoreError> {
        match self.store.open(spec).await {
            Err(damage @ StoreError::Damaged { .. }) => {
                let kept_as = self.store.set_aside(&spec.name).await?;
                tracing::error!(%damage, kept_as, "the vectors are computed again from the pictures; the damaged files can be deleted");
                self.store.open(spec).await
            }
            opened => opened,
        }
    }

    /// Asks the store, and the collections in it that we answer from and write to. The error says what to do.
    pub async fn check_store(&self) -> Result<(), String> {
        self.store.health().await.map_err(|error| error.to_string())?;
        if let Some(serving) = self.searcher.serving() {
            serving.collection.marker().await.map_err(|error| error.to_string())?;
        }
        self.ingest().and_then(|ingest| ingest.store_trouble()).map_or(Ok(()), Err)
    }

    /// What uploads and deletions are protected by.
    pub fn api_key(&self) -> &Secret {
        &self.api_key
    }

    /// How far the model is.
    pub fn model(&self) -> ModelState {
        self.model.read().clone()
    }

    /// The model that is being prepared while another answers.
    pub fn next(&self) -> Option<NextModel> {
        self.next.read().clone()
    }

    /// Ingestion, once the model is up.
    pub fn ingest(&self) -> Option<Arc<Ingest>> {
        self.ingest.read().clone()
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

    /// Tells other processes where this one's server is.
    pub fn announce(&self, url: &str) {
        self.lock.announce(url);
    }

    /// Stops ingestion and closes store and catalog.
    pub async fn shut_down(&self) {
        let ingest = self.ingest.write().take();
        if let Some(ingest) = ingest {
            ingest.shut_down().await;
        }
        if let Err(error) = self.store.close().await {
            tracing::warn!(%error, "the vector store did not close cleanly");
        }
        self.catalog.close().await;
    }
}

/// Loads the configured model and starts its threads. One that is not here is downloaded only with somewhere to tell the progress.
pub async fn load_embedder(
    config: &Config,
    download: Option<&Progress>,
) -> Result<(LocatedModel, Embedder), AppError> {
    let models = Models::open(config)?;
    let located = match models.find(&config.model)? {
        Choice::Here(located) => *located,
        Choice::Elsewhere(entry) => {
            let fetched = match download {
                Some(progress) => {
                    models.fetch(&entry, config.model == models::AUTO, progress).await
                }
                None => Err(ModelError::NotHere {
                    name: entry.name.clone(),
                    megabytes: entry.megabytes,
                }),
            };
            match fetched {
                Err(error) if config.model == models::AUTO => models.stand_in(&error)?,
                fetched => fetched?,
            }
        }
    };
    let embedder = load(config, located.clone()).await?;
    Ok((located, embedder))
}

async fn load(config: &Config, located: LocatedModel) -> Result<Embedder, AppError> {
    let mut engine: EngineChoice = config.embed.engine.parse().map_err(|_| {
        AppError::Engine(format!("{:?} is none of auto, rten, onnxruntime", config.embed.engine))
    })?;
    if engine == EngineChoice::Auto && !located.runs_on_rten {
        // Its error says how to get the library; that of rten would only name an operator.
        engine = EngineChoice::OnnxRuntime;
    }
    let library =
        Some(config.embed.onnxruntime_library.clone()).filter(|path| *path != Path::new(""));
    let options =
        LoadOptions { engine, threads: config.embed.threads, onnxruntime_library: library };
    let embed = config.embed.clone();
    let loading = tokio::task::spawn_blocking(move || {
        let load = move || Model::load(&located.dir, &options);
        Embedder::start(load, located.id, located.display_name, &embed).map_err(|error| match error
        {
            StartError::Load(error) => error.into(),
            StartError::Thread(error) => error.into(),
        })
    });
    loading.await.map_err(|error| EmbedError::Model(error.to_string()))?
}

fn collection_spec(id: &ModelId, dim: usize) -> CollectionSpec {
    CollectionSpec::of_pictures(id.collection_name(), dim)
}

/// Whether a vector store that fails so may be there later: it is away, or someone has to act (key, disk, rights).
fn may_pass(error: &AppError) -> bool {
    let (AppError::Store(error) | AppError::Ingest(IngestError::Store(error))) = error else {
        return false;
    };
    matches!(error, StoreError::Unavailable(_) | StoreError::Refused(_))
}

/// Where the SQLite catalog is.
pub fn catalog_path(config: &Config) -> PathBuf {
    config.data_dir.join("catalog.db")
}

fn key_path(config: &Config) -> PathBuf {
    if config.token.key_file == Path::new("") {
        config.data_dir.join("jwt.key")
    } else {
        config.token.key_file.clone()
    }
}

fn api_key(config: &Config) -> Result<Secret, AppError> {
    let uploads = &config.uploads;
    let named = Secret::from_file("uploads.api_key_file", &uploads.api_key_file)?;
    Ok(named.unwrap_or_else(|| uploads.api_key.clone()))
}

/// One process per data folder: two would work on the same rows. The file names the server of who has it.
struct DataDirLock {
    file: File,
}

impl DataDirLock {
    fn take(data_dir: &Path) -> Result<Self, AppError> {
        let failed = |error: std::io::Error| {
            let reason = format!(
                "{error}; check that it is a folder this user may write to, or choose another --data-dir"
            );
            AppError::DataDir { path: data_dir.display().to_string(), reason }
        };
        std::fs::create_dir_all(data_dir).map_err(failed)?;
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(data_dir.join("LOCK"))
            .map_err(failed)?;
        if file.try_lock().is_err() {
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
        let _ = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(url.as_bytes()));
    }
}

/// Address of the server that works with this data folder, if one does.
pub fn running_server(data_dir: &Path) -> Option<String> {
    let mut file = File::open(data_dir.join("LOCK")).ok()?;
    if file.try_lock_shared().is_ok() {
        return None;
    }
    let mut url = String::new();
    file.read_to_string(&mut url).ok()?;
    Some(url.trim().to_owned()).filter(|url| !url.is_empty())
}
