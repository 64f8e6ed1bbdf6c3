//! Runs the model: one thread for queries, so that a search never waits behind the indexing of pictures, and one for
//! pictures. Queries that arrive together are encoded together; recent ones are remembered. Both queues are bounded.

use std::num::NonZeroUsize;
use std::sync::Arc;

use clip::{Model, ModelInfo, Pixels};
use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::config::EmbedConfig;
use crate::types::ModelId;

/// Most queries taken at once and (if texts) encoded in one call of the model.
const QUERY_BATCH_MAX: usize = 16;
/// Batches of pictures waiting: one being encoded, one ready.
const PICTURE_QUEUE_MAX: usize = 1;

/// Handle to the threads that run the model. Dropping the last one ends them.
pub struct Embedder {
    model: Arc<Model>,
    id: ModelId,
    display_name: String,
    queries: mpsc::Sender<QueryJob>,
    pictures: mpsc::Sender<PictureJob>,
    cache: Mutex<LruCache<String, Arc<Vec<f32>>>>,
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

impl Embedder {
    /// Starts the threads. Loading has run both graphs once, so the first query is as quick as the tenth.
    pub fn start(model: Model, id: ModelId, display_name: String, config: &EmbedConfig) -> Result<Self, EmbedError> {
        let model = Arc::new(model);
        let (queries, query_jobs) = mpsc::channel(config.query_queue_max);
        let (pictures, picture_jobs) = mpsc::channel(PICTURE_QUEUE_MAX);
        spawn("embed-query", model.clone(), query_jobs, run_queries)?;
        spawn("embed-picture", model.clone(), picture_jobs, run_pictures)?;
        let entries = NonZeroUsize::new(config.query_cache_entries).unwrap_or(NonZeroUsize::MIN);
        Ok(Self { model, id, display_name, queries, pictures, cache: Mutex::new(LruCache::new(entries)) })
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
        self.model.info()
    }

    /// Scales and normalises a decoded picture for this model. Takes milliseconds of CPU: call it where blocking is fine.
    pub fn preprocess(&self, rgb: &image::RgbImage) -> Pixels {
        self.model.preprocess(rgb)
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

fn spawn<Job: Send + 'static>(
    name: &str,
    model: Arc<Model>,
    jobs: mpsc::Receiver<Job>,
    run: fn(&Model, mpsc::Receiver<Job>),
) -> Result<(), EmbedError> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(move || run(&model, jobs)).map(drop).map_err(|error| EmbedError::Model(error.to_string()))
}

fn run_queries(model: &Model, mut jobs: mpsc::Receiver<QueryJob>) {
    let mut batch = Vec::with_capacity(QUERY_BATCH_MAX);
    while jobs.blocking_recv_many(&mut batch, QUERY_BATCH_MAX) > 0 {
        let (mut texts, mut answers) = (Vec::new(), Vec::new());
        for QueryJob { query, answer } in batch.drain(..) {
            match query {
                // Who stopped waiting needs no embedding.
                _ if answer.is_closed() => {}
                QueryInput::Text(text) => {
                    texts.push(text);
                    answers.push(answer);
                }
                QueryInput::Picture(pixels) => drop(answer.send(only(model.encode_images(&[pixels])))),
            }
        }
        answer_texts(model, &texts, answers);
    }
}

fn answer_texts(model: &Model, texts: &[String], answers: Vec<Answer<Vec<f32>>>) {
    if texts.is_empty() {
        return;
    }
    let together: Vec<&str> = texts.iter().map(String::as_str).collect();
    match model.encode_texts(&together) {
        Ok(embeddings) => answers.into_iter().zip(embeddings).for_each(|(answer, embedding)| drop(answer.send(Ok(embedding)))),
        // One bad text must not fail its neighbours.
        Err(_) => answers.into_iter().zip(together).for_each(|(answer, text)| drop(answer.send(only(model.encode_texts(&[text]))))),
    }
}

fn only(rows: Result<Vec<Vec<f32>>, clip::EncodeError>) -> Result<Vec<f32>, EmbedError> {
    let row = rows.map_err(|error| EmbedError::Model(error.to_string()))?.pop();
    row.ok_or_else(|| EmbedError::Model("it returned nothing".into()))
}

fn run_pictures(model: &Model, mut jobs: mpsc::Receiver<PictureJob>) {
    while let Some(job) = jobs.blocking_recv() {
        let embeddings = model.encode_images(&job.batch).map_err(|error| EmbedError::Model(error.to_string()));
        drop(job.answer.send(embeddings));
    }
}
