//! The asynchronous face of a shard: engine calls run on the blocking pool, writers one after the other, readers side
//! by side, index building on a thread of its own at low priority.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::RwLock;
use tokio::sync::{Mutex, oneshot};
use uuid::Uuid;

use super::directory::Directory;
use super::shard::{Shard, panic_text};
use crate::priority::lower_priority;
use crate::vector_store::{
    Collection, CollectionSpec, Marker, Point, PointFilter, ScoredPoint, SearchQuery, StoreError,
};

/// Closing waits this long for searches under way; then the process may end without them. Index building is not waited for: it
/// cannot be interrupted, takes up to many minutes, and what is half built is built again.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);

/// An open collection; all handles to one collection share it.
pub(super) struct EmbeddedCollection {
    spec: CollectionSpec,
    inner: Arc<Inner>,
}

struct Inner {
    /// `None` once closed. Operations hold it for reading, writers too; only closing takes it away.
    shard: RwLock<Option<Shard>>,
    /// Held by upsert, delete and flush.
    writer: Mutex<()>,
    maintenance: Mutex<()>,
    /// The store's directory stays locked as long as a shard of it is open.
    _directory: Arc<Directory>,
}

impl Inner {
    fn with<T>(&self, call: impl FnOnce(&Shard) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match self.shard.read().as_ref() {
            Some(shard) => call(shard),
            None => Err(StoreError::Unavailable("the collection is closed".to_owned())),
        }
    }

    fn maintain(&self, busy: bool) -> Result<bool, StoreError> {
        let Ok(_only_one) = self.maintenance.try_lock() else { return Ok(false) };
        if !self.with(|shard| shard.needs_maintenance(busy))? {
            return Ok(false);
        }
        let exclusive = |call: &dyn Fn(&Shard) -> Result<(), StoreError>| {
            let _writer = self.writer.blocking_lock();
            self.with(call)
        };
        exclusive(&|shard| shard.flush().and_then(|()| shard.start_journal()))?;
        let optimized = self.with(Shard::optimize);
        exclusive(&|shard| shard.end_journal(optimized.is_err()))?;
        optimized
    }
}

impl EmbeddedCollection {
    pub(super) fn new(spec: CollectionSpec, shard: Shard, directory: Arc<Directory>) -> Self {
        let shard = RwLock::new(Some(shard));
        let inner = Inner {
            shard,
            writer: Mutex::new(()),
            maintenance: Mutex::new(()),
            _directory: directory,
        };
        Self { spec, inner: Arc::new(inner) }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.inner.shard.try_read().is_some_and(|shard| shard.is_none())
    }

    /// Flushes, then closes the shard for all handles.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        if self.is_closed() {
            return Ok(());
        }
        self.write(Shard::flush).await?;
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let is_building = inner.maintenance.try_lock().is_err();
            let patience = if is_building { Duration::ZERO } else { CLOSE_PATIENCE };
            let Some(mut shard) = inner.shard.try_write_for(patience) else {
                return Err(StoreError::Unavailable(
                    "the collection is still searched, or builds its index".to_owned(),
                ));
            };
            drop(shard.take());
            Ok(())
        })
        .await
    }

    async fn read<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Shard) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.with(call)).await
    }

    /// Waits for its turn here, not on a thread of the blocking pool. A caller that goes away does not stop the write.
    async fn write<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Shard) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.inner);
        let turn = async move {
            let _writer = inner.writer.lock().await;
            let shard = Arc::clone(&inner);
            blocking(move || shard.with(call)).await
        };
        join(tokio::spawn(turn).await)
    }
}

#[async_trait]
impl Collection for EmbeddedCollection {
    fn spec(&self) -> &CollectionSpec {
        &self.spec
    }

    async fn marker(&self) -> Result<Option<Marker>, StoreError> {
        self.read(Shard::marker).await
    }

    async fn set_marker(&self, marker: &Marker) -> Result<(), StoreError> {
        let marker = *marker;
        self.write(move |shard| {
            shard.set_marker(&marker);
            Ok(())
        })
        .await
    }

    async fn upsert(&self, points: Vec<Point>) -> Result<(), StoreError> {
        points.iter().try_for_each(|point| self.spec.check_vector(&point.vector))?;
        if points.is_empty() {
            return Ok(());
        }
        self.write(move |shard| shard.upsert(points)).await
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.write(Shard::flush).await
    }

    async fn delete(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let ids = ids.to_vec();
        self.write(move |shard| shard.delete(&ids)).await
    }

    async fn search(&self, query: SearchQuery) -> Result<Vec<ScoredPoint>, StoreError> {
        self.spec.check_vector(&query.vector)?;
        query.filter.iter().try_for_each(|filter| self.spec.check_filter(filter))?;
        self.read(move |shard| shard.search(&query)).await
    }

    async fn get(&self, ids: &[Uuid]) -> Result<Vec<Point>, StoreError> {
        let ids = ids.to_vec();
        self.read(move |shard| shard.get(&ids)).await
    }

    async fn count(&self, filter: Option<&PointFilter>) -> Result<u64, StoreError> {
        filter.iter().try_for_each(|filter| self.spec.check_filter(filter))?;
        let filter = filter.cloned();
        self.read(move |shard| shard.count(filter.as_ref())).await
    }

    async fn scroll(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<Point>, StoreError> {
        self.read(move |shard| shard.scroll(after, limit)).await
    }

    async fn scroll_ids(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<Uuid>, StoreError> {
        self.read(move |shard| shard.scroll_ids(after, limit)).await
    }

    async fn maintain(&self, busy: bool) -> Result<bool, StoreError> {
        let inner = Arc::clone(&self.inner);
        let (done, result) = oneshot::channel();
        let work = move || {
            lower_priority();
            let outcome = catch_unwind(AssertUnwindSafe(|| inner.maintain(busy)));
            let panicked = |panic: Box<dyn std::any::Any + Send>| {
                Err(StoreError::Internal(format!(
                    "building indexes: {}",
                    panic_text(panic.as_ref())
                )))
            };
            // Before the answer: whoever waits for it may drop the store next and open it again.
            drop(inner);
            // Nobody waits any more if the caller gave up; the work is done all the same.
            let _ = done.send(outcome.unwrap_or_else(panicked));
        };
        thread::Builder::new().name("vector-index".to_owned()).spawn(work).map_err(|error| {
            StoreError::Internal(format!("cannot start a thread to build indexes: {error}"))
        })?;
        result.await.unwrap_or_else(|_| {
            Err(StoreError::Internal("building indexes was cut off".to_owned()))
        })
    }
}

/// Runs engine or file calls where blocking is allowed; a panic in there becomes an error.
pub(super) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    join(tokio::task::spawn_blocking(call).await)
}

fn join<T>(
    outcome: Result<Result<T, StoreError>, tokio::task::JoinError>,
) -> Result<T, StoreError> {
    match outcome.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(result) => result,
        Err(Ok(panic)) => Err(StoreError::Internal(panic_text(panic.as_ref()).to_owned())),
        Err(Err(_)) => Err(StoreError::Unavailable("the program is shutting down".to_owned())),
    }
}
