//! Looks after the collection that is written to: whether it is still there, still ours, and as we left it. Every write is
//! numbered in the catalog before it is made, and in the collection's marker with it; a server that was restored from a
//! snapshot, or lost its volume, is noticed within a few seconds, and what is missing there is made again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{IngestError, Shared};
use crate::backoff::Backoff;
use crate::store_check::{Differences, StoreCheck};
use crate::vector_store::{Marker, StoreError};

/// After a comparison that failed or found nothing, the next one waits about so many intervals (a minute, as configured by
/// default), doubling up to the second: processes that write at the same time may leave markers out of order, which only looks
/// like a restored snapshot.
const REST_FIRST_INTERVALS: u32 = 12;
const REST_LONGEST_INTERVALS: u32 = 720;

/// What writers and the guard tell each other.
#[derive(Default)]
pub(super) struct GuardState {
    /// Number of our last write.
    last_epoch: AtomicU64,
    /// A writer saw a marker that is older than our last write, or none.
    doubt: AtomicBool,
    /// Writes of this process that were begun and have not ended: meanwhile the numbers differ.
    under_way: AtomicUsize,
    /// What is wrong with the store, if anything.
    trouble: Mutex<Option<String>>,
}

/// A write under way, from its number on until it ended or failed.
pub(super) struct Write<'a> {
    epoch: u64,
    guard: &'a GuardState,
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        self.guard.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    fn check(&self) -> StoreCheck<'_> {
        StoreCheck {
            catalog: &*self.parts.catalog,
            collection: &*self.parts.collection,
            model: self.parts.embedder.id(),
        }
    }

    /// At start: makes sure that the collection is ours, and brings it and the catalog together.
    pub(super) async fn attach(&self) -> Result<(), IngestError> {
        let found = self.check().attach().await?;
        self.make_again(found).await
    }

    /// Numbers a write that is about to be made. Refuses to write into what is not ours.
    pub(super) async fn begin_write(&self) -> Result<Write<'_>, IngestError> {
        if let Some(marker) = self.look_at_marker().await? {
            self.check().check_owner(&marker).await?;
        }
        self.guard.under_way.fetch_add(1, Ordering::Relaxed);
        let mut write = Write { epoch: 0, guard: &self.guard };
        write.epoch = self.parts.catalog.next_epoch(&self.model).await?;
        Ok(write)
    }

    /// The marker as it is. An older one than we left, or none, means that the collection is not what it was.
    async fn look_at_marker(&self) -> Result<Option<Marker>, StoreError> {
        let marker = self.parts.collection.marker().await?;
        let last_epoch = self.guard.last_epoch.load(Ordering::Relaxed);
        if marker.as_ref().is_none_or(|marker| marker.epoch < last_epoch) {
            self.guard.doubt.store(true, Ordering::Relaxed);
        }
        Ok(marker)
    }

    /// Marks the collection with the number of a write that was made, and flushes.
    pub(super) async fn end_write(&self, write: Write<'_>) -> Result<(), IngestError> {
        let epoch = write.epoch;
        let installation = self.parts.catalog.installation().await?.id;
        // A snapshot that was restored since the write began must not be marked as what we wrote.
        self.look_at_marker().await?;
        self.parts.collection.set_marker(&Marker { installation, epoch }).await?;
        self.parts.collection.flush().await?;
        self.guard.last_epoch.fetch_max(epoch, Ordering::Relaxed);
        Ok(())
    }

    /// What is wrong with the store, if anything.
    pub(super) fn store_trouble(&self) -> Option<String> {
        self.guard.trouble.lock().clone()
    }

    /// Makes pending whose vectors the catalog had to forget.
    async fn make_again(&self, found: Differences) -> Result<(), IngestError> {
        if found.missing > 0 {
            let images = self.parts.catalog.require_vectors(&self.model).await?;
            tracing::warn!(
                vectors = found.missing,
                images,
                "the vector store has lost vectors; making them again"
            );
            self.is_clean.store(false, Ordering::Relaxed);
            self.work.notify_one();
        }
        Ok(())
    }
}

/// Looks every so often, until stopped.
pub(super) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let interval = Duration::from_millis(shared.parts.check_interval_ms.max(50));
    let mut guard = Guard::new(&shared, interval);
    while stop.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
        let trouble = match stop.run_until_cancelled(guard.look()).await {
            None => return,
            Some(Ok(())) => None,
            Some(Err(error)) => Some(error.to_string()),
        };
        let mut told = shared.guard.trouble.lock();
        if *told != trouble {
            match &trouble {
                Some(trouble) => tracing::warn!("the vector store: {trouble}"),
                None => tracing::info!("the vector store is in order again"),
            }
            *told = trouble;
        }
    }
}

struct Guard<'a> {
    shared: &'a Shared,
    /// Numbers of collection and catalog that differed when we looked last: a write under way looks like that, too.
    differed: Option<(u64, u64)>,
    rests: Backoff,
    rest_until: Instant,
}

impl<'a> Guard<'a> {
    fn new(shared: &'a Shared, interval: Duration) -> Self {
        let rests =
            Backoff::new(interval * REST_FIRST_INTERVALS, interval * REST_LONGEST_INTERVALS);
        Self { shared, differed: None, rests, rest_until: Instant::now() }
    }

    async fn look(&mut self) -> Result<(), IngestError> {
        let shared = self.shared;
        let marker = match shared.parts.collection.marker().await {
            Err(StoreError::NoSuchCollection(name)) => return self.refill(&name).await,
            marker => marker?,
        };
        let is_certain = match &marker {
            None => true,
            Some(marker) => {
                shared.check().check_owner(marker).await?;
                let epoch = shared.parts.catalog.epoch(&shared.model).await?;
                let pair = (marker.epoch != epoch).then_some((marker.epoch, epoch));
                let is_still = pair.is_some()
                    && pair == self.differed
                    && shared.guard.under_way.load(Ordering::Relaxed) == 0;
                self.differed = pair;
                is_still || shared.guard.doubt.load(Ordering::Relaxed)
            }
        };
        if !is_certain || Instant::now() < self.rest_until {
            return Ok(());
        }
        self.rest_until = Instant::now() + self.rests.next_pause();
        shared.guard.doubt.store(false, Ordering::Relaxed);
        tracing::info!(
            ?marker,
            "the collection is not as we left it; comparing it with the catalog"
        );
        let check = shared.check();
        let found = if marker.is_some() { check.mend().await? } else { check.attach().await? };
        if !found.none() {
            self.rests.reset();
            self.rest_until = Instant::now();
        }
        self.differed = None;
        shared.make_again(found).await
    }

    /// The collection was deleted under us, or the server's volume is a new one.
    async fn refill(&self, name: &str) -> Result<(), IngestError> {
        let (store, collection) = (&self.shared.parts.store, &self.shared.parts.collection);
        tracing::warn!(collection = name, "the collection is gone; making it again");
        // Before it is there again and empty, which alone would look like all is well.
        let gone = StoreError::NoSuchCollection(name.to_owned());
        *self.shared.guard.trouble.lock() = Some(gone.to_string());
        store.open(collection.spec()).await?;
        self.shared.attach().await?;
        if store.active().await?.is_none() {
            store.activate(name).await?;
        }
        Ok(())
    }
}
