//! Keeps the index equal to the sources. A `follower` per source has the `reconciler` compare it with the catalog, the `worker`
//! brings pending images through the `pipeline` (read, decode, embed, store), `housekeeping` removes what nobody needs and lets
//! the store maintain itself.

mod followed;
mod follower;
mod housekeeping;
mod pipeline;
mod reconciler;
mod worker;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clip::DecodeLimits;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{Notify, RwLock};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use self::followed::Followed;
use self::reconciler::Reconciler;
use crate::catalog::{Catalog, CatalogError};
use crate::config::{DecodeConfig, IngestConfig};
use crate::embedder::{EmbedError, Embedder};
use crate::metrics::Metrics;
use crate::source::presence::Away;
use crate::source::{Source, SourceError};
use crate::types::{ContentHash, ImageName, Scope};
use crate::vector_store::{Collection, StoreError};

/// Everything ingestion works with.
pub struct IngestParts {
    /// Where pictures come from.
    pub sources: Vec<Arc<dyn Source>>,
    /// Images and their state.
    pub catalog: Arc<dyn Catalog>,
    /// Vectors of the model below.
    pub collection: Arc<dyn Collection>,
    pub embedder: Arc<Embedder>,
    pub metrics: Arc<Metrics>,
    /// Keys of `[ingest]`.
    pub config: IngestConfig,
    /// Keys of `[decode]`.
    pub decode: DecodeConfig,
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
    decode_limits: DecodeLimits,
    /// Rung when something may be pending.
    work: Notify,
    /// Storing holds it shared, garbage collection alone: a vector is never deleted between being stored and being counted on.
    commit_gate: RwLock<()>,
    progress: Mutex<Progress>,
    scanned_once: AtomicBool,
    tidy: AtomicBool,
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
}

impl Ingest {
    /// Puts the parts together; nothing runs yet.
    pub fn new(parts: IngestParts) -> Self {
        let model = parts.embedder.id().to_string();
        let decode_limits = parts.decode.limits();
        let followed = parts.sources.iter().cloned().map(Followed::new).map(Arc::new).collect();
        let shared = Shared {
            parts,
            followed,
            model,
            decode_limits,
            work: Notify::new(),
            commit_gate: RwLock::new(()),
            progress: Mutex::default(),
            scanned_once: AtomicBool::new(false),
            tidy: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared), tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// Frees what a crash left, makes pending what lost its vector, and brings store and catalog together.
    pub async fn recover(&self) -> Result<(), IngestError> {
        housekeeping::recover(&self.shared).await
    }

    /// Starts watching, scanning, indexing and housekeeping, until [`Self::shut_down`].
    pub fn spawn(&self) {
        for followed in &self.shared.followed {
            self.tasks.spawn(follower::follow(
                self.shared.clone(),
                followed.clone(),
                self.stop.clone(),
            ));
        }
        self.tasks.spawn(worker::run(self.shared.clone(), self.stop.clone()));
        self.tasks.spawn(housekeeping::run(self.shared.clone(), self.stop.clone()));
        self.tasks.close();
    }

    /// One pass: looks at every source once, indexes until nothing is pending, tidies up.
    pub async fn run_once(&self) -> Result<(), IngestError> {
        for followed in &self.shared.followed {
            let comparing = self.shared.reconciler(followed);
            match self.stop.run_until_cancelled(comparing.compare_all()).await {
                Some(compared) => compared?,
                None => break,
            }
        }
        self.shared.scanned_once.store(true, Ordering::Relaxed);
        let worker = tokio::spawn(worker::run(self.shared.clone(), self.stop.clone()));
        while self.shared.parts.catalog.counts().await?.pending > 0 && !self.stop.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.stop.cancel();
        let _ = worker.await;
        housekeeping::tidy(&self.shared, false).await
    }

    /// Ends a [`Self::run_once`] early (Ctrl-C).
    pub fn interrupt(&self) {
        self.stop.cancel();
    }

    /// What is going on. `pending` is the number of pending images.
    pub fn status(&self, pending: u64) -> IngestStatus {
        let mut progress = self.shared.progress.lock();
        let images_per_second = progress.rate();
        let settled = self.shared.scanned_once.load(Ordering::Relaxed)
            && self.shared.tidy.load(Ordering::Relaxed);
        // A source that is away stops only its own pictures.
        let of_sources = self.shared.followed.iter().find_map(|followed| followed.problem());
        let is_stuck =
            progress.message.is_some() || (of_sources.is_some() && images_per_second == 0.0);
        let state = match (is_stuck, pending > 0 || progress.busy || !settled) {
            (true, true) => IngestState::Paused,
            (false, true) => IngestState::Indexing,
            (_, false) => IngestState::Idle,
        };
        IngestStatus { state, images_per_second, message: progress.message.clone().or(of_sources) }
    }

    /// Tells the worker that images became pending (a retry, an upload).
    pub fn wake(&self) {
        self.shared.tidy.store(false, Ordering::Relaxed);
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

    /// Where pictures come from.
    pub fn sources(&self) -> &[Arc<dyn Source>] {
        &self.shared.parts.sources
    }

    /// The source with this id.
    pub fn source(&self, id: &str) -> Option<&dyn Source> {
        self.shared.followed(id).map(|followed| &*followed.source)
    }

    /// Fails if a source is away, or another one is in its place.
    pub async fn check_present(&self, source: &dyn Source) -> Result<(), SourceError> {
        match self.shared.followed(source.id()) {
            Some(followed) => followed.presence.confirm(source).await,
            None => Ok(()),
        }
    }

    /// Sources that are away: their location, why, and since when.
    pub fn away(&self) -> Vec<(String, Away)> {
        let away = |followed: &Arc<Followed>| {
            followed.presence.away().map(|away| (followed.source.location(), away))
        };
        self.shared.followed.iter().filter_map(away).collect()
    }

    /// Stops the tasks; what they hold is given back.
    pub async fn shut_down(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
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
            tidy: &self.tidy,
        }
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

/// Waits for a while, growing with each failure in a row up to half a minute; `false` when stopped meanwhile.
async fn back_off(failures_in_a_row: &mut u32, stop: &CancellationToken) -> bool {
    let wait = Duration::from_millis(250u64.saturating_mul(1 << (*failures_in_a_row).min(7)));
    *failures_in_a_row = failures_in_a_row.saturating_add(1);
    stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some()
}
