//! What keeps the index tidy besides indexing: recovery at start, collection of vectors whose last image went,
//! and the store's own maintenance (building its index), which waits while pictures are on their way.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{IngestError, Shared};
use crate::types::{ContentHash, now_ms};

const ROUND_MS: u64 = 1_000;
const PAGE: u32 = 1_000;

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
        if let Err(error) = tidy(&shared, busy).await {
            tracing::warn!(%error, "housekeeping failed; trying again");
        } else if !busy {
            shared.tidy.store(true, Ordering::Relaxed);
        }
    }
}

/// One round. While `busy`, the store does only what cannot wait.
pub(super) async fn tidy(shared: &Shared, busy: bool) -> Result<(), IngestError> {
    if !busy {
        while collect_garbage(shared).await? == PAGE as usize {}
    }
    while shared.parts.collection.maintain(busy).await? {}
    Ok(())
}

/// Deletes vectors that have had no image for longer than the grace. Alone with the store while it does.
async fn collect_garbage(shared: &Shared) -> Result<usize, IngestError> {
    let now = now_ms();
    let before = now - shared.parts.config.orphan_grace_ms as i64;
    let _alone = shared.commit_gate.write().await;
    let hashes = shared.parts.catalog.orphans(&shared.model, now, before, PAGE).await?;
    if !hashes.is_empty() {
        delete_vectors(shared, &hashes).await?;
        tracing::info!(vectors = hashes.len(), "removed vectors of pictures that are gone");
    }
    Ok(hashes.len())
}

/// Store first: if we die between the two, the rows are still there and the deletion is done again.
async fn delete_vectors(shared: &Shared, hashes: &[ContentHash]) -> Result<(), IngestError> {
    let write = shared.begin_write().await?;
    shared.parts.collection.delete(&shared.point_ids(hashes)).await?;
    shared.end_write(write).await?;
    shared.parts.catalog.forget_vectors(&shared.model, hashes).await?;
    Ok(())
}

/// See [`super::Ingest::recover`].
pub(super) async fn recover(shared: &Shared) -> Result<(), IngestError> {
    let catalog = &shared.parts.catalog;
    let interrupted = catalog.reclaim(None).await?;
    if interrupted > 0 {
        tracing::info!(
            images = interrupted,
            "the last run ended in the middle of indexing; going on from there"
        );
    }
    shared.attach().await?;
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
