//! Runs the model: one thread for queries, so that a search never waits behind the indexing of pictures, and one for
//! pictures. Queries that arrive together are encoded together; recent ones are remembered. Both queues are bounded.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clip::{LoadError, Model, ModelInfo, Pixels, Preprocessor};
use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::config::EmbedConfig;
use crate::types::ModelId;

/// Most queries taken at once and (if texts) encoded in one call of the model.
const QUERY_BATCH_MAX: usize = 16;
/// Batches of pictures waiting: one being encoded, one ready.
const PICTURE_QUEUE_MAX: usize = 1;
/// Idleness is looked at at least this often.
const IDLE_LOOK_MAX: Duration = Duration::from_secs(1);

/// Handle to the threads that run the model. Dropping the last one ends them.
pub struct Embedder {
    info: ModelInfo,
    preprocessor: Preprocessor,
    id: ModelId,
    display_name: String,
    queries: mpsc::Sender<QueryJob>,
    pictures: mpsc::Sender<PictureJob>,
    cache: Mutex<LruCache<String, Arc<Vec<f32>>>>,
}

/// The model, which is put away after a while without work if so configured.
struct ModelSlot {
    loaded: Mutex<Option<Arc<Model>>>,
    load: Box<LoadModel>,
    last_used: Mutex<Instant>,
}

type LoadModel = dyn Fn() -> Result<Model, LoadError> + Send + Sync;

impl ModelSlot {
    /// The model, loaded again if it was put away.
    fn get(&self) -> Result<Arc<Model>, EmbedError> {
        *self.last_used.lock() = Instant::now();
        let mut loaded = self.loaded.lock();
        if let Some(model) = &*loaded {
            return Ok(model.clone());
        }
        let model = Arc::new((self.load)().map_err(|error| EmbedError::Model(error.to_string()))?);
        tracing::info!("the model is loaded again");
        Ok(loaded.insert(model).clone())
    }

    fn put_away_when_idle(&self, idle: Duration) {
        if self.last_used.lock().elapsed() >= idle && self.loaded.lock().take().is_some() {
            tracing::info!(
                idle_s = idle.as_secs(),
                "nothing to do for the model: its memory is given back"
            );
        }
    }
}

type Answer<T> = oneshot::Sender<Result<T, EmbedError>>;

struct QueryJob {
    query: QueryInput,
    answer: Answer<Vec<f32>>,
}

enum QueryInput {
    Text(String),
    Picture(Pixels),
}

struct PictureJob {
    batch: Vec<Pixels>,
    answer: Answer<Vec<Vec<f32>>>,
}

/// Why there is no embedding.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EmbedError {
    /// The queue of queries is full.
    #[error("too many queries are waiting for the model")]
    Overloaded,
    /// The model failed on this input.
    #[error("the model failed: {0}")]
    Model(String),
    /// The threads are gone: the program is shutting down, or the model crashed.
    #[error("the model has stopped")]
    Stopped,
}

/// Why there is no embedder.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The model's files are unusable.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Its threads cannot be started.
    #[error(transparent)]
    Thread(#[from] EmbedError),
}

impl Embedder {
    /// Loads the model and starts the threads. Loading runs both graphs once, so the first query is as quick as the tenth.
    pub fn start(
        load: impl Fn() -> Result<Model, LoadError> + Send + Sync + 'static,
        id: ModelId,
        display_name: String,
        config: &EmbedConfig,
    ) -> Result<Self, StartError> {
        let model = load()?;
        let (info, preprocessor) = (model.info().clone(), model.preprocessor());
        let slot = ModelSlot {
            loaded: Mutex::new(Some(Arc::new(model))),
            load: Box::new(load),
            last_used: Mutex::new(Instant::now()),
        };
        let model = Arc::new(slot);
        if config.unload_after_idle_ms > 0 {
            watch_idleness(&model, Duration::from_millis(config.unload_after_idle_ms))?;
        }
        let (queries, query_jobs) = mpsc::channel(config.query_queue_max);
        let (pictures, picture_jobs) = mpsc::channel(PICTURE_QUEUE_MAX);
        spawn("embed-query", model.clone(), query_jobs, run_queries)?;
        spawn("embed-picture", model, picture_jobs, run_pictures)?;
        let entries = NonZeroUsize::new(config.query_cache_entries).unwrap_or(NonZeroUsize::MIN);
        Ok(Self {
            info,
            preprocessor,
            id,
            display_name,
            queries,
            pictures,
            cache: Mutex::new(LruCache::new(entries)),
        })
    }

    /// Which model and revision this is.
    pub fn id(&self) -> &ModelId {
        &self.id
    }

    /// What answers call it, for example `CLIP`.
    pub fn display_name(&self) -> &str {
        &self.display_name
    }

    /// Dimension, engine and so on.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Scales and normalises a decoded picture for this model. Takes milliseconds of CPU: call it where blocking is fine.
    pub fn preprocess(&self, rgb: &image::RgbImage) -> Pixels {
        self.preprocessor.apply(rgb)
    }

    /// Embedding of a query text, L2-normalised.
    pub async fn embed_text(&self, text: &str) -> Result<Arc<Vec<f32>>, EmbedError> {
        if let Some(known) = self.cache.lock().get(text) {
            return Ok(known.clone());
        }
        let embedding = Arc::new(self.ask(QueryInput::Text(text.to_owned())).await?);
        self.cache.lock().put(text.to_owned(), embedding.clone());
        Ok(embedding)
    }

    /// Embedding of a picture to search by, L2-normalised. Does not wait behind pictures that are being indexed.
    pub async fn embed_query_picture(&self, pixels: Pixels) -> Result<Vec<f32>, EmbedError> {
        self.ask(QueryInput::Picture(pixels)).await
    }

    async fn ask(&self, query: QueryInput) -> Result<Vec<f32>, EmbedError> {
        let (answer, answered) = oneshot::channel();
        self.queries.try_send(QueryJob { query, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => EmbedError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => EmbedError::Stopped,
        })?;
        answered.await.map_err(|_| EmbedError::Stopped)?
    }

    /// Embeddings of pictures, in their order. Waits while another batch is ready to run.
    pub async fn embed_pictures(&self, batch: Vec<Pixels>) -> Result<Vec<Vec<f32>>, EmbedError> {
        let (answer, answered) = oneshot::channel();
        self.pictures.send(PictureJob { batch, answer }).await.map_err(|_| EmbedError::Stopped)?;
        answered.await.map_err(|_| EmbedError::Stopped)?
    }
}

/// Looks after the model from a thread of its own, for as long as there is one.
fn watch_idleness(model: &Arc<ModelSlot>, idle: Duration) -> Result<(), EmbedError> {
    let watched = Arc::downgrade(model);
    let watch = move || {
        while let Some(model) = watched.upgrade() {
            model.put_away_when_idle(idle);
            drop(model);
            std::thread::sleep(idle.min(IDLE_LOOK_MAX));
        }
    };
    std::thread::Builder::new()
        .name("model-idle".into())
        .spawn(watch)
        .map(drop)
        .map_err(|error| EmbedError::Model(error.to_string()))
}

fn spawn<Job: Send + 'static>(
    name: &str,
    model: Arc<ModelSlot>,
    jobs: mpsc::Receiver<Job>,
    run: fn(&ModelSlot, mpsc::Receiver<Job>),
) -> Result<(), EmbedError> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread
        .spawn(move || run(&model, jobs))
        .map(drop)
        .map_err(|error| EmbedError::Model(error.to_string()))
}

fn run_queries(slot: &ModelSlot, mut jobs: mpsc::Receiver<QueryJob>) {
    let mut batch = Vec::with_capacity(QUERY_BATCH_MAX);
    while jobs.blocking_recv_many(&mut batch, QUERY_BATCH_MAX) > 0 {
        let model = match slot.get() {
            Ok(model) => model,
            Err(error) => {
                batch.drain(..).for_each(|job| drop(job.answer.send(Err(error.clone()))));
                continue;
            }
        };
        let (mut texts, mut answers) = (Vec::new(), Vec::new());
        for QueryJob { query, answer } in batch.drain(..) {
            match query {
                // Who stopped waiting needs no embedding.
                _ if answer.is_closed() => {}
                QueryInput::Text(text) => {
                    texts.push(text);
                    answers.push(answer);
                }
                QueryInput::Picture(pixels) => {
                    drop(answer.send(only(model.encode_images(&[pixels]))))
                }
            }
        }
        answer_texts(&model, &texts, answers);
    }
}

fn answer_texts(model: &Model, texts: &[String], answers: Vec<Answer<Vec<f32>>>) {
    if texts.is_empty() {
        return;
    }
    let together: Vec<&str> = texts.iter().map(String::as_str).collect();
    match model.encode_texts(&together) {
        Ok(embeddings) => answers
            .into_iter()
            .zip(embeddings)
            .for_each(|(answer, embedding)| drop(answer.send(Ok(embedding)))),
        // One bad text must not fail its neighbours.
        Err(_) => answers
            .into_iter()
            .zip(together)
            .for_each(|(answer, text)| drop(answer.send(only(model.encode_texts(&[text]))))),
    }
}

fn only(rows: Result<Vec<Vec<f32>>, clip::EncodeError>) -> Result<Vec<f32>, EmbedError> {
    let row = rows.map_err(|error| EmbedError::Model(error.to_string()))?.pop();
    row.ok_or_else(|| EmbedError::Model("it returned nothing".into()))
}

fn run_pictures(slot: &ModelSlot, mut jobs: mpsc::Receiver<PictureJob>) {
    while let Some(job) = jobs.blocking_recv() {
        let encode = |model: Arc<Model>| {
            model.encode_images(&job.batch).map_err(|error| EmbedError::Model(error.to_string()))
        };
        let embeddings = slot.get().and_then(encode);
        drop(job.answer.send(embeddings));
    }
}
