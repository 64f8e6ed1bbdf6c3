//! Runs the model: a thread each for texts, for pictures to search by, and for each lane of pictures to index, so that no
//! search waits behind indexing and no words behind pictures. Texts that arrive together are encoded together; recent ones are
//! remembered. All queues are bounded.

pub(crate) mod encoder;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clip::{Decoded, EncodeError, LoadError, ModelInfo, Pixels, Wanted};
use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

pub use self::encoder::{Encoder, Preprocess};
use crate::config::EmbedConfig;
use crate::priority::lower_priority;
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
    preprocess: Arc<dyn Preprocess>,
    id: ModelId,
    display_name: String,
    texts: mpsc::Sender<Job<String>>,
    query_pictures: mpsc::Sender<Job<Pixels>>,
    pictures: mpsc::Sender<BatchJob>,
    cache: Mutex<LruCache<String, Arc<Vec<f32>>>>,
}

/// The model, which is put away after a while without work if so configured.
struct ModelSlot {
    loaded: Mutex<Option<Arc<dyn Encoder>>>,
    load: Box<LoadEncoder>,
    last_used: Mutex<Instant>,
}

type LoadEncoder = dyn Fn() -> Result<Arc<dyn Encoder>, LoadError> + Send + Sync;

impl ModelSlot {
    /// The model, loaded again if it was put away.
    fn get(&self) -> Result<Arc<dyn Encoder>, EmbedError> {
        *self.last_used.lock() = Instant::now();
        let mut loaded = self.loaded.lock();
        if let Some(model) = &*loaded {
            return Ok(model.clone());
        }
        let model = (self.load)().map_err(|error| EmbedError::Model(error.to_string()))?;
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

/// An embedding, `dim` long and L2-normalised.
type Embedding = Result<Vec<f32>, EmbedError>;

/// One query, and where its embedding goes.
struct Job<Input> {
    input: Input,
    answer: oneshot::Sender<Embedding>,
}

struct BatchJob {
    batch: Vec<Pixels>,
    answer: oneshot::Sender<Vec<Embedding>>,
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
    /// At `low_priority`, the threads that encode pictures for the index stand back behind those of queries.
    pub fn start(
        load: impl Fn() -> Result<Arc<dyn Encoder>, LoadError> + Send + Sync + 'static,
        id: ModelId,
        display_name: String,
        config: &EmbedConfig,
        low_priority: bool,
    ) -> Result<Self, StartError> {
        let model = load()?;
        let (info, preprocess) = (model.info().clone(), model.preprocess());
        let slot = Arc::new(ModelSlot {
            loaded: Mutex::new(Some(model)),
            load: Box::new(load),
            last_used: Mutex::new(Instant::now()),
        });
        if config.unload_after_idle_ms > 0 {
            watch_idleness(&slot, Duration::from_millis(config.unload_after_idle_ms))?;
        }
        let (texts, text_jobs) = mpsc::channel(config.query_queue_max);
        let (query_pictures, query_picture_jobs) = mpsc::channel(config.query_queue_max);
        let (pictures, picture_jobs) = mpsc::channel(PICTURE_QUEUE_MAX);
        spawn("embed-text", slot.clone(), |slot| run_texts(slot, text_jobs))?;
        spawn("embed-query", slot.clone(), |slot| run_query_pictures(slot, query_picture_jobs))?;
        let picture_jobs = Arc::new(Mutex::new(picture_jobs));
        for _ in 0..info.lanes.max(1) {
            let jobs = picture_jobs.clone();
            spawn("embed-picture", slot.clone(), move |slot| {
                if low_priority {
                    lower_priority();
                }
                run_pictures(slot, &jobs);
            })?;
        }
        let entries = NonZeroUsize::new(config.query_cache_entries).unwrap_or(NonZeroUsize::MIN);
        let cache = Mutex::new(LruCache::new(entries));
        Ok(Self { info, preprocess, id, display_name, texts, query_pictures, pictures, cache })
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

    /// How large a picture has to be decoded for this model, and for a purpose that needs at least `edge` pixels.
    pub fn wanted(&self, edge: u32) -> Wanted {
        match self.preprocess.wanted() {
            Wanted::Full => Wanted::Full,
            Wanted::ShortEdge(own) => Wanted::ShortEdge(own.max(edge)),
        }
    }

    /// Scales and normalises a decoded picture for this model. Takes milliseconds of CPU: call it where blocking is fine.
    pub fn preprocess(&self, decoded: &Decoded) -> Pixels {
        self.preprocess.pixels(decoded)
    }

    /// Embedding of a query text, L2-normalised. How words are spaced makes no difference.
    pub async fn embed_text(&self, text: &str) -> Result<Arc<Vec<f32>>, EmbedError> {
        let text = in_one_line(text);
        if let Some(known) = self.cache.lock().get(&text) {
            return Ok(known.clone());
        }
        let embedding = Arc::new(ask(&self.texts, text.clone()).await?);
        self.cache.lock().put(text, embedding.clone());
        Ok(embedding)
    }

    /// The same of a text that nobody typed: it takes no place among those that are remembered.
    pub async fn embed_own_text(&self, text: &str) -> Result<Vec<f32>, EmbedError> {
        ask(&self.texts, in_one_line(text)).await
    }

    /// Embedding of a picture to search by, L2-normalised. Does not wait behind pictures that are being indexed.
    pub async fn embed_query_picture(&self, pixels: Pixels) -> Result<Vec<f32>, EmbedError> {
        ask(&self.query_pictures, pixels).await
    }

    /// Embeddings of pictures, in their order. One picture that the model fails on does not cost its neighbours theirs.
    /// Waits while another batch is ready to run.
    pub async fn embed_pictures(
        &self,
        batch: Vec<Pixels>,
    ) -> Result<Vec<Result<Vec<f32>, EmbedError>>, EmbedError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.pictures.send(BatchJob { batch, answer }).await;
        sent.map_err(|_| EmbedError::Stopped)?;
        answered.await.map_err(|_| EmbedError::Stopped)
    }
}

fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

async fn ask<Input>(jobs: &mpsc::Sender<Job<Input>>, input: Input) -> Embedding {
    let (answer, answered) = oneshot::channel();
    jobs.try_send(Job { input, answer }).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => EmbedError::Overloaded,
        mpsc::error::TrySendError::Closed(_) => EmbedError::Stopped,
    })?;
    answered.await.map_err(|_| EmbedError::Stopped)?
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

fn spawn(
    name: &str,
    model: Arc<ModelSlot>,
    run: impl FnOnce(&ModelSlot) + Send + 'static,
) -> Result<(), EmbedError> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread
        .spawn(move || run(&model))
        .map(drop)
        .map_err(|error| EmbedError::Model(error.to_string()))
}

fn run_texts(slot: &ModelSlot, mut jobs: mpsc::Receiver<Job<String>>) {
    let mut batch = Vec::with_capacity(QUERY_BATCH_MAX);
    while jobs.blocking_recv_many(&mut batch, QUERY_BATCH_MAX) > 0 {
        // Who stopped waiting needs no embedding.
        batch.retain(|job| !job.answer.is_closed());
        let texts: Vec<&str> = batch.iter().map(|job| job.input.as_str()).collect();
        let embeddings = match slot.get() {
            Ok(model) => encode_apart(&texts, |texts| model.encode_texts(texts)),
            Err(error) => vec![Err(error); texts.len()],
        };
        for (job, embedding) in batch.drain(..).zip(embeddings) {
            drop(job.answer.send(embedding));
        }
    }
}

fn run_query_pictures(slot: &ModelSlot, mut jobs: mpsc::Receiver<Job<Pixels>>) {
    while let Some(Job { input, answer }) = jobs.blocking_recv() {
        if !answer.is_closed() {
            let encode = |model: Arc<dyn Encoder>| only(model.encode_images(&[input]));
            drop(answer.send(slot.get().and_then(encode)));
        }
    }
}

/// One lane: takes the next batch, and lets another lane wait for the one after it.
fn run_pictures(slot: &ModelSlot, jobs: &Mutex<mpsc::Receiver<BatchJob>>) {
    let next = || jobs.lock().blocking_recv();
    while let Some(BatchJob { batch, answer }) = next() {
        let embeddings = match slot.get() {
            Ok(model) => encode_apart(&batch, |batch| model.encode_images(batch)),
            Err(error) => vec![Err(error); batch.len()],
        };
        drop(answer.send(embeddings));
    }
}

/// Encodes a batch at once, and one by one if that fails: a bad input must not fail its neighbours.
fn encode_apart<Input>(
    batch: &[Input],
    encode: impl Fn(&[Input]) -> Result<Vec<Vec<f32>>, EncodeError>,
) -> Vec<Embedding> {
    if batch.is_empty() {
        return Vec::new();
    }
    match encode(batch) {
        Ok(rows) if rows.len() == batch.len() => rows.into_iter().map(Ok).collect(),
        _ => batch.iter().map(|one| only(encode(std::slice::from_ref(one)))).collect(),
    }
}

fn only(rows: Result<Vec<Vec<f32>>, EncodeError>) -> Embedding {
    let row = rows.map_err(|error| EmbedError::Model(error.to_string()))?.pop();
    row.ok_or_else(|| EmbedError::Model("it returned nothing".into()))
}

#[cfg(test)]
mod tests {
    use super::encoder::stand_in::StandIn;
    use super::*;
    use crate::config::Config;

    fn embedder(model: StandIn, change: impl FnOnce(&mut EmbedConfig)) -> Embedder {
        let mut config = Config::load(None, [], Vec::new()).expect("defaults").embed;
        change(&mut config);
        let id = ModelId { name: "stand-in".into(), revision: "1".into() };
        let load = move || Ok(Arc::new(model.clone()) as Arc<dyn Encoder>);
        Embedder::start(load, id, "CLIP".into(), &config, false).expect("started")
    }

    #[tokio::test]
    async fn words_are_remembered_however_they_are_spaced() {
        let model = StandIn::default();
        let embedder = embedder(model.clone(), |_| {});
        let first = embedder.embed_text(" red  boat").await.expect("embedded");
        let again = embedder.embed_text("red boat ").await.expect("embedded");
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!(model.texts_encoded(), 1);
    }

    #[tokio::test]
    async fn one_bad_picture_does_not_cost_its_neighbours_their_vectors() {
        let model = StandIn::default();
        let embedder = embedder(model.clone(), |_| {});
        let picture = StandIn::picture;
        let batch = vec![picture([250, 0, 0]), StandIn::bad_picture(), picture([0, 0, 250])];
        let embeddings = embedder.embed_pictures(batch).await.expect("the thread runs");
        assert!(embeddings[0].is_ok() && embeddings[2].is_ok());
        assert!(matches!(embeddings[1], Err(EmbedError::Model(_))));
    }

    #[tokio::test]
    async fn words_do_not_wait_behind_pictures() {
        let model = StandIn::default();
        let embedder = Arc::new(embedder(model.clone(), |_| {}));
        let gate = model.hold_pictures();
        let pictures = tokio::spawn({
            let embedder = embedder.clone();
            async move { embedder.embed_pictures(vec![StandIn::any_picture()]).await }
        });
        let query = tokio::spawn({
            let embedder = embedder.clone();
            async move { embedder.embed_query_picture(StandIn::any_picture()).await }
        });
        embedder.embed_text("red").await.expect("answered while pictures are held");
        drop(gate);
        pictures.await.expect("joined").expect("embedded");
        query.await.expect("joined").expect("embedded");
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let model = StandIn::default();
        let embedder = Arc::new(embedder(model.clone(), |config| config.query_queue_max = 1));
        let gate = model.hold_texts();
        let ask = |text: &'static str| {
            let embedder = embedder.clone();
            tokio::spawn(async move { embedder.embed_text(text).await })
        };
        // One is at work, one waits; then there is no place.
        let first = ask("one");
        model.until_held().await;
        let second = ask("two");
        while embedder.texts.capacity() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(embedder.embed_text("three").await, Err(EmbedError::Overloaded)));
        drop(gate);
        first.await.expect("joined").expect("embedded");
        second.await.expect("joined").expect("embedded");
    }

    #[tokio::test]
    async fn an_idle_model_is_put_away_and_loaded_again() {
        let model = StandIn::default();
        let embedder = embedder(model.clone(), |config| config.unload_after_idle_ms = 1);
        embedder.embed_text("red").await.expect("embedded");
        // Handles left: the test's, the one in `load`, and none of a loaded model.
        while model.handles() > 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        embedder.embed_text("blue").await.expect("loaded again");
    }
}
