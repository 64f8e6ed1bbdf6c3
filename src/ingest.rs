//! Keeps the index equal to the sources. A `follower` per source has the `reconciler` compare it with the catalog, the `worker`
//! brings pending images through the `pipeline` (read, decode, embed, store), `headers` reads what older versions did not,
//! `housekeeping` removes what nobody needs and lets the store maintain itself, and `lead` sees to it that of several processes
//! one compares and tidies up.

mod comparing;
mod followed;
mod follower;
mod growing;
mod headers;
mod housekeeping;
mod lead;
mod pipeline;
mod reading;
mod reconciler;
mod store_guard;
mod worker;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use self::comparing::compare_sources;
use self::followed::Followed;
use self::lead::Work;
use self::reconciler::Reconciler;
use crate::backoff::Backoff;
use crate::catalog::{Catalog, CatalogError, ConfiguredSource};
use crate::config::IngestConfig;
use crate::decoder::Decoder;
use crate::embedder::{EmbedError, Embedder};
use crate::metrics::Metrics;
use crate::source::presence::Known;
use crate::source::{Identity, Source, SourceError};
use crate::store_check::CheckError;
use crate::thumbnails::Thumbnails;
use crate::types::{ContentHash, ImageName, Scope, now_ms};
use crate::vector_store::{Collection, StoreError, VectorStore};

/// Everything ingestion works with.
pub struct IngestParts {
    /// Where pictures come from.
    pub sources: Vec<Arc<dyn Source>>,
    /// Images and their state.
    pub catalog: Arc<dyn Catalog>,
    /// Where the collection below is made again if it is lost.
    pub store: Arc<dyn VectorStore>,
    /// `vector_store.check_interval_ms`.
    pub check_interval_ms: u64,
    /// Vectors of the model below.
    pub collection: Arc<dyn Collection>,
    pub embedder: Arc<Embedder>,
    pub metrics: Arc<Metrics>,
    /// Keys of `[ingest]`.
    pub config: IngestConfig,
    pub decoder: Arc<Decoder>,
    /// Get their pictures while they are decoded anyway.
    pub thumbnails: Arc<Thumbnails>,
    /// Pictures per call of the model.
    pub batch_max: usize,
}

/// Handle to the running tasks.
pub struct Ingest {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What the tasks share.
struct Shared {
    parts: IngestParts,
    followed: Vec<Arc<Followed>>,
    model: String,
    /// Rung when something may be pending.
    work: Notify,
    progress: Mutex<Progress>,
    scanned_once: AtomicBool,
    is_clean: AtomicBool,
    /// Pictures are indexed with another model by now.
    is_outdated: AtomicBool,
    guard: store_guard::GuardState,
    growing: growing::Growing,
}

#[derive(Default)]
struct Progress {
    /// (when, how many) of the last seconds.
    recent: VecDeque<(Instant, u64)>,
    busy: bool,
    message: Option<String>,
}

/// Rates look this far back.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// One pass ends when the next try is farther away than this.
const WORTH_WAITING_FOR: Duration = Duration::from_mins(3);

/// What ingestion is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IngestState {
    /// Nothing pending, everything in order.
    Idle,
    /// Pictures are on their way.
    Indexing,
    /// Something is away (store, disk); it goes on by itself.
    Paused,
}

/// Snapshot for status and progress bars.
#[derive(Debug, Clone)]
pub struct IngestStatus {
    /// What it is doing.
    pub state: IngestState,
    /// Over the last seconds.
    pub images_per_second: f64,
    /// Why it is paused, or what it warns of.
    pub message: Option<String>,
}

/// What can stop ingestion for a while. None of it is a picture's fault.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The vector store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Embed(#[from] EmbedError),
    /// One pass ended early.
    #[error(
        "{reason}; gave up after {waited_s} s without progress (ingest.index_patience_ms): {pending} pictures are still pending, run index again"
    )]
    GaveUp { reason: String, waited_s: u64, pending: u64 },
}

impl From<CheckError> for IngestError {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Catalog(error) => error.into(),
            CheckError::Store(error) => error.into(),
        }
    }
}

impl Ingest {
    /// Puts the parts together; nothing runs yet.
    pub fn new(parts: IngestParts) -> Self {
        let model = parts.embedder.id().to_string();
        let followed = parts.sources.iter().cloned().map(Followed::new).map(Arc::new).collect();
        let shared = Shared {
            parts,
            followed,
            model,
            work: Notify::new(),
            progress: Mutex::default(),
            scanned_once: AtomicBool::new(false),
            is_clean: AtomicBool::new(false),
            is_outdated: AtomicBool::new(false),
            guard: store_guard::GuardState::default(),
            growing: growing::Growing::default(),
        };
        Self { shared: Arc::new(shared), tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// Frees what a crash left, makes pending what lost its vector, and brings store and catalog together.
    pub async fn recover(&self) -> Result<(), IngestError> {
        recall(&*self.shared.parts.catalog, &self.shared.followed).await?;
        housekeeping::recover(&self.shared).await
    }

    /// Starts watching, scanning, indexing and housekeeping, until [`Self::shut_down`].
    pub fn spawn(&self) {
        let listings = self.shared.followed.iter().cloned().map(Work::Listing);
        for work in listings.chain([Work::Housekeeping]) {
            self.tasks.spawn(lead::lead(self.shared.clone(), work, self.stop.clone()));
        }
        self.tasks.spawn(worker::run(self.shared.clone(), self.stop.clone()));
        self.tasks.spawn(store_guard::run(self.shared.clone(), self.stop.clone()));
        self.tasks.spawn(headers::run(self.shared.clone(), self.stop.clone()));
        self.tasks.close();
    }

    /// For a process that leaves all of it to others: only learns how sources are, until [`Self::shut_down`].
    pub fn observe(&self) {
        self.tasks.spawn(lead::observe(self.shared.clone(), self.stop.clone()));
        self.tasks.close();
    }

    /// One pass: looks at every source once, indexes until nothing more can be done, tidies up. Fails in the end if a source
    /// is away, after doing what can be done without it; and if the store or the disk lets nothing through for
    /// `ingest.index_patience_ms`. A file that keeps growing is left pending after as long.
    pub async fn run_once(&self) -> Result<(), IngestError> {
        for followed in &self.shared.followed {
            let comparing = self.shared.reconciler(followed);
            match self.stop.run_until_cancelled(comparing.compare_all()).await {
                // Told at the end.
                Some(Err(IngestError::Source(SourceError::Away { .. }))) => {}
                Some(compared) => compared?,
                None => break,
            }
        }
        self.shared.scanned_once.store(true, Ordering::Relaxed);
        let work_stop = self.stop.child_token();
        let worker = tokio::spawn(worker::run(self.shared.clone(), work_stop.clone()));
        let done = self.until_nothing_can_be_done().await;
        if done.is_ok() {
            headers::read_all(&self.shared, 0.0, &work_stop).await?;
        }
        work_stop.cancel();
        let _ = worker.await;
        done?;
        housekeeping::clean_up(&self.shared, false, &self.stop).await?;
        let problem = self.shared.followed.iter().find_map(|followed| followed.problem());
        problem.map_or(Ok(()), |problem| Err(problem.into()))
    }

    /// Pictures of a source that is away, wait for the next try, or keep growing, stay pending; nobody waits for them here.
    async fn until_nothing_can_be_done(&self) -> Result<(), IngestError> {
        let catalog = &self.shared.parts.catalog;
        // What is being worked on is due when its lease ends.
        let worth_waiting_ms =
            self.shared.parts.config.lease_ms as i64 + WORTH_WAITING_FOR.as_millis() as i64;
        let patience = Duration::from_millis(self.shared.parts.config.index_patience_ms);
        let (mut left, mut since) = (u64::MAX, Instant::now());
        while !self.stop.is_cancelled() {
            let pending = catalog.counts().await?.pending;
            if pending == 0 {
                break;
            }
            if pending != left {
                (left, since) = (pending, Instant::now());
            }
            if since.elapsed() > patience {
                if let Some(reason) = self.of_store() {
                    let waited_s = since.elapsed().as_secs();
                    return Err(IngestError::GaveUp { reason, waited_s, pending });
                }
                let is_stuck = self.shared.followed.iter().any(|source| source.problem().is_some());
                if is_stuck || pending <= self.shared.growing.for_longer_than(patience) {
                    break;
                }
            }
            let due_ms = catalog.next_due_ms().await?.unwrap_or(i64::MAX);
            if due_ms > now_ms() + worth_waiting_ms {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Ends a [`Self::run_once`] early (Ctrl-C).
    pub fn interrupt(&self) {
        self.stop.cancel();
    }

    pub fn is_interrupted(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Why nothing can be stored, if that is so: store, catalog, disk.
    fn of_store(&self) -> Option<String> {
        let message = self.shared.progress.lock().message.clone();
        message.or_else(|| self.shared.store_trouble())
    }

    /// What is going on. `pending` is the number of pending images.
    pub fn status(&self, pending: u64) -> IngestStatus {
        let mut progress = self.shared.progress.lock();
        let images_per_second = progress.rate();
        let settled = self.shared.scanned_once.load(Ordering::Relaxed)
            && self.shared.is_clean.load(Ordering::Relaxed);
        // A source that is away stops only its own pictures.
        let of_sources = self.shared.followed.iter().find_map(|followed| followed.problem());
        let of_sources = of_sources.map(|problem| problem.to_string());
        let mut followed = self.shared.followed.iter();
        let of_sources =
            of_sources.or_else(|| followed.find_map(|followed| followed.source.slowed_down()));
        let of_store = progress.message.clone().or_else(|| self.shared.store_trouble());
        let is_stuck = of_store.is_some() || (of_sources.is_some() && images_per_second == 0.0);
        let state = match (is_stuck, pending > 0 || progress.busy || !settled) {
            (true, true) => IngestState::Paused,
            (false, true) => IngestState::Indexing,
            (_, false) => IngestState::Idle,
        };
        IngestStatus { state, images_per_second, message: of_store.or(of_sources) }
    }

    /// What is wrong with the collection that is written to, if anything: away, lost, another installation's.
    pub fn store_trouble(&self) -> Option<String> {
        self.shared.store_trouble()
    }

    /// Tells the worker that images became pending (a retry, an upload).
    pub fn wake(&self) {
        self.shared.is_clean.store(false, Ordering::Relaxed);
        self.shared.work.notify_one();
    }

    /// Has one image of a source looked at now (an upload, a deletion).
    pub async fn look_at(&self, source: &dyn Source, name: &ImageName) -> Result<(), IngestError> {
        let Some(followed) = self.shared.followed(source.id()) else { return Ok(()) };
        let scopes = [Scope::Under(name.clone())];
        self.shared.reconciler(followed).compare(&scopes).await?;
        self.shared.work.notify_one();
        Ok(())
    }

    /// Fails if a source is away, or another one is in its place.
    pub async fn check_present(&self, source: &dyn Source) -> Result<(), SourceError> {
        match self.shared.followed(source.id()) {
            Some(followed) => followed.presence.confirm(source).await,
            None => Ok(()),
        }
    }

    /// Stops the tasks; what they hold is given back.
    pub async fn shut_down(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Says which sources there are, and remembers what they were when they were last compared.
async fn recall(catalog: &dyn Catalog, followed: &[Arc<Followed>]) -> Result<(), IngestError> {
    let configured = |followed: &Arc<Followed>| ConfiguredSource {
        id: followed.source.id().to_owned(),
        location: followed.source.location(),
    };
    let configured: Vec<_> = followed.iter().map(configured).collect();
    catalog.configure_sources(&configured, now_ms()).await?;
    for row in catalog.sources().await? {
        if let Some(followed) = followed.iter().find(|followed| followed.source.id() == row.id) {
            let known = Known { identity: row.identity.map(Identity), away: row.away };
            followed.presence.restore(known);
        }
    }
    Ok(())
}

impl Shared {
    fn followed(&self, id: &str) -> Option<&Followed> {
        self.followed.iter().find(|followed| followed.source.id() == id).map(Arc::as_ref)
    }

    fn reconciler<'a>(&'a self, followed: &'a Followed) -> Reconciler<'a> {
        Reconciler {
            catalog: &*self.parts.catalog,
            followed,
            settle_ms: self.parts.config.settle_ms as i64,
            away_when_emptied: self.parts.config.away_when_emptied,
            work: &self.work,
            is_clean: &self.is_clean,
            claim: None,
        }
    }

    fn is_outdated(&self) -> bool {
        self.is_outdated.load(Ordering::Relaxed)
    }

    fn count_away(&self) {
        let away = self.followed.iter().filter(|followed| followed.presence.away().is_some());
        self.parts.metrics.sources_away.set(away.count() as i64);
    }

    fn point_ids(&self, hashes: &[ContentHash]) -> Vec<Uuid> {
        let model = self.parts.embedder.id();
        hashes.iter().map(|hash| model.point_id(hash)).collect()
    }

    fn count_indexed(&self, images: u64) {
        self.parts.metrics.indexed.inc_by(images);
        let mut progress = self.progress.lock();
        progress.recent.push_back((Instant::now(), images));
        self.parts.metrics.images_per_second.set(progress.rate());
    }

    fn set_busy(&self, busy: bool) {
        self.progress.lock().busy = busy;
    }

    /// Says why nothing moves, or (with `None`) that it moves again. Logged when it changes.
    fn set_message(&self, message: Option<String>) {
        let mut progress = self.progress.lock();
        if progress.message != message {
            match &message {
                Some(message) => tracing::warn!("indexing pauses: {message}"),
                None => tracing::info!("indexing goes on"),
            }
            progress.message = message;
        }
    }
}

impl Progress {
    fn rate(&mut self) -> f64 {
        let now = Instant::now();
        while self.recent.front().is_some_and(|(at, _)| now.duration_since(*at) > RATE_WINDOW) {
            self.recent.pop_front();
        }
        let Some((first, _)) = self.recent.front() else { return 0.0 };
        let images: u64 = self.recent.iter().map(|(_, images)| images).sum();
        images as f64 / now.duration_since(*first).as_secs_f64().max(1.0)
    }
}

/// Pauses while store or catalog is away.
fn pauses() -> Backoff {
    Backoff::new(Duration::from_millis(250), Duration::from_secs(30))
}

#[cfg(test)]
mod tests;
