//! What keeps the index tidy besides indexing: recovery at start, collection of vectors whose last image went,
//! and the store's own maintenance (building its index), which waits while pictures are on their way.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{IngestError, Shared};
use crate::types::now_ms;

const ROUND_MS: u64 = 1_000;
const PAGE: u32 = 1_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Tidies up every so often until stopped.
pub(super) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let pause = tokio::time::sleep(Duration::from_millis(ROUND_MS));
        if stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
        let busy = match shared.parts.catalog.counts().await {
            Ok(counts) => counts.pending > 0,
            Err(_) => true,
        };
        if let Err(error) = clean_up(&shared, busy, &stop).await {
            tracing::warn!(%error, "housekeeping failed; trying again");
        } else if !busy {
            shared.is_clean.store(true, Ordering::Relaxed);
        }
    }
}

/// One round. While `busy`, the store does only what cannot wait: a deletion that was begun holds up whoever wants to
/// store the same content again. Ends soon after `stop`: between two pages, or in the middle of building an index, which is
/// then begun again after the next start.
pub(super) async fn clean_up(
    shared: &Shared,
    busy: bool,
    stop: &CancellationToken,
) -> Result<(), IngestError> {
    let mut before_ms = i64::MIN;
    if !busy {
        forget_missing(shared, stop).await?;
        before_ms = now_ms() - shared.parts.config.orphan_grace_ms as i64;
    }
    while !stop.is_cancelled() && collect_garbage(shared, before_ms).await? == PAGE as usize {}
    let collection = &shared.parts.collection;
    while let Some(true) = stop.run_until_cancelled(collection.maintain(busy)).await.transpose()? {}
    Ok(())
}

/// Forgets pictures that are gone for longer than `ingest.forget_after_days`; their vectors become orphans with that.
async fn forget_missing(shared: &Shared, stop: &CancellationToken) -> Result<(), IngestError> {
    let now = now_ms();
    let before = now - i64::from(shared.parts.config.forget_after_days) * DAY_MS;
    let catalog = &shared.parts.catalog;
    while !stop.is_cancelled()
        && catalog.forget_missing(before, PAGE, now).await? == u64::from(PAGE)
    {}
    Ok(())
}

/// Deletes vectors that have had no image since `before_ms`, and those whose deletion somebody else did not finish.
/// They are claimed first, so that nobody counts on them any more. Store before catalog: if we die between the two, the
/// claim is still there and the deletion is done again.
async fn collect_garbage(shared: &Shared, before_ms: i64) -> Result<usize, IngestError> {
    let (catalog, collection) = (&shared.parts.catalog, &shared.parts.collection);
    let (token, now) = (Uuid::new_v4().to_string(), now_ms());
    let until = now + shared.parts.config.lease_ms as i64;
    let hashes = catalog.claim_orphans(&shared.model, before_ms, PAGE, &token, now, until).await?;
    if hashes.is_empty() {
        return Ok(0);
    }
    let write = shared.begin_write().await?;
    collection.delete(&shared.point_ids(&hashes)).await?;
    shared.end_write(write).await?;
    // As long as they are claimed, no picture comes back to these contents.
    shared.parts.thumbnails.forget(&hashes).await;
    catalog.forget_orphans(&shared.model, &token).await?;
    tracing::info!(vectors = hashes.len(), "removed vectors of pictures that are gone");
    Ok(hashes.len())
}

/// See [`super::Ingest::recover`].
pub(super) async fn recover(shared: &Shared) -> Result<(), IngestError> {
    let catalog = &shared.parts.catalog;
    let interrupted = catalog.reclaim_own(now_ms()).await?;
    if interrupted > 0 {
        tracing::info!(
            images = interrupted,
            "the last run ended in the middle of indexing; going on from there"
        );
    }
    shared.attach().await?;
    while collect_garbage(shared, i64::MIN).await? == PAGE as usize {}
    let pending = catalog.require_vectors(&shared.model).await?;
    if pending > 0 {
        tracing::info!(
            images = pending,
            model = shared.model,
            "indexing again what has no vector of this model"
        );
    }
    Ok(())
}
