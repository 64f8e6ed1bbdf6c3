//! Leases pending images and feeds them to the pipeline, as many at once as `ingest.in_flight_max` allows.
//! Leases are renewed while work goes on, given back on shutdown, and reclaimed when whoever held them died.
//! Images that were in flight in several crashes may be what crashes us: they are handled alone, after all others.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::pipeline::{Item, Lease, Pipeline};
use super::{IngestError, Shared, pauses};
use crate::catalog::{Failure, FailureCode, Hints, LeasedImage, SUSPECT_INTERRUPTIONS};
use crate::types::now_ms;

/// Most images leased in one statement.
const LEASE_BATCH: usize = 32;
/// How many crashes an image may be in alone before it is given up.
const LONE_INTERRUPTIONS_MAX: i64 = 2;
/// Looks for due images at least this often, whatever the notifications say.
const IDLE_WAIT_MS_MAX: i64 = 5_000;
/// Between two looks whether pictures are indexed with the own model again.
const OTHER_MODEL_WAIT_MS: u64 = 1_000;

/// Leases until stopped, then waits for what is in flight to be given up and gives it back.
pub(super) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(shared.parts.config.in_flight_max));
    let book = Arc::new(LeaseBook::default());
    let pipeline = Pipeline::start(shared.clone(), stop.clone());
    let renewal = tokio::spawn(renew(shared.clone(), book.clone()));
    let mut pauses = pauses();
    while !stop.is_cancelled() {
        match feed(&shared, &slots, &book, &pipeline, &stop).await {
            Ok(()) => pauses.reset(),
            Err(error) => {
                shared.set_message(Some(error.to_string()));
                if stop.run_until_cancelled(pauses.wait()).await.is_none() {
                    break;
                }
            }
        }
    }
    pipeline.finish().await;
    renewal.abort();
    for token in book.issued() {
        if let Err(error) = shared.parts.catalog.release(&token).await {
            tracing::warn!(%error, "could not give leases back; they run out by themselves");
        }
    }
}

/// One round: leases what fits, or waits until there is something.
async fn feed(
    shared: &Arc<Shared>,
    slots: &Arc<Semaphore>,
    book: &LeaseBook,
    pipeline: &Pipeline,
    stop: &CancellationToken,
) -> Result<(), IngestError> {
    if shared.is_outdated() {
        return wait_for_own_model(shared, stop).await;
    }
    let Some(Ok(first_slot)) = stop.run_until_cancelled(slots.clone().acquire_owned()).await else {
        return Ok(());
    };
    let wanted = (slots.available_permits() + 1).min(LEASE_BATCH);
    let (lease, images) = book.lease(shared, wanted, false, stop).await?;
    if !images.is_empty() {
        shared.set_busy(true);
        let mut free = Some(first_slot);
        for image in images {
            let slot = match free.take() {
                Some(slot) => slot,
                // Only this task takes slots, and it leased no more than were free.
                None => slots
                    .clone()
                    .acquire_owned()
                    .await
                    .map_err(|_| crate::embedder::EmbedError::Stopped)?,
            };
            pipeline.push(Item { image, lease: lease.clone(), _slot: slot });
        }
        shared
            .parts
            .metrics
            .in_flight
            .set((shared.parts.config.in_flight_max - slots.available_permits()) as i64);
        return Ok(());
    }
    drop(first_slot);
    let all_slots = shared.parts.config.in_flight_max;
    if slots.available_permits() == all_slots
        && feed_suspect(shared, slots, book, pipeline, stop).await?
    {
        return Ok(());
    }
    shared.set_busy(slots.available_permits() < all_slots);
    shared.parts.metrics.in_flight.set((all_slots - slots.available_permits()) as i64);
    wait_for_work(shared, stop).await
}

/// Handles one suspect with nothing else in flight. Returns whether there was one.
async fn feed_suspect(
    shared: &Arc<Shared>,
    slots: &Arc<Semaphore>,
    book: &LeaseBook,
    pipeline: &Pipeline,
    stop: &CancellationToken,
) -> Result<bool, IngestError> {
    let (lease, images) = book.lease(shared, 1, true, stop).await?;
    let Some(image) = images.into_iter().next() else { return Ok(false) };
    if i64::from(image.interruptions) > SUSPECT_INTERRUPTIONS + LONE_INTERRUPTIONS_MAX {
        let reason = format!(
            "the program ended {} times while it worked on this picture",
            image.interruptions
        );
        let failure = Failure { code: FailureCode::CrashesIndexing, reason };
        shared.parts.catalog.fail(&lease.token, image.id, &failure, None, now_ms()).await?;
        return Ok(true);
    }
    shared.set_busy(true);
    let Ok(slot) = slots.clone().acquire_owned().await else { return Ok(false) };
    pipeline.push(Item { image, lease, _slot: slot });
    let everything = u32::try_from(shared.parts.config.in_flight_max).unwrap_or(u32::MAX);
    let _ = slots.acquire_many(everything).await;
    Ok(true)
}

/// Nothing is leased meanwhile. Whoever follows the model replaces all of this.
async fn wait_for_own_model(shared: &Shared, stop: &CancellationToken) -> Result<(), IngestError> {
    let wait = tokio::time::sleep(Duration::from_millis(OTHER_MODEL_WAIT_MS));
    if stop.run_until_cancelled(wait).await.is_some() {
        let wanted = shared.parts.catalog.indexing_model().await?;
        let is_other = wanted.is_some_and(|wanted| wanted != shared.model);
        shared.is_outdated.store(is_other, Ordering::Relaxed);
        if !is_other {
            shared.set_message(None);
        }
    }
    Ok(())
}

async fn wait_for_work(shared: &Shared, stop: &CancellationToken) -> Result<(), IngestError> {
    // From here on, so that what is told while we look is not missed.
    let mut hints = shared.parts.catalog.hints();
    let reclaimed = shared.parts.catalog.reclaim_expired(now_ms()).await?;
    if reclaimed > 0 {
        return Ok(());
    }
    let due_ms = shared.parts.catalog.next_due_ms().await?;
    if due_ms.is_none() {
        shared.set_message(None);
    }
    let wait_ms = due_ms.map_or(IDLE_WAIT_MS_MAX, |due| due - now_ms()).clamp(5, IDLE_WAIT_MS_MAX);
    tokio::select! {
        () = stop.cancelled() => {}
        () = shared.work.notified() => {}
        () = told(hints.as_mut()) => {}
        () = tokio::time::sleep(Duration::from_millis(wait_ms as u64)) => {}
    }
    Ok(())
}

/// Ends when another process has made work; never, if nobody tells.
async fn told(hints: Option<&mut Hints>) {
    let is_told = match hints {
        Some(hints) => hints.work.changed().await.is_ok(),
        None => false,
    };
    if !is_told {
        std::future::pending::<()>().await;
    }
}

async fn renew(shared: Arc<Shared>, book: Arc<LeaseBook>) {
    let lease_ms = shared.parts.config.lease_ms;
    loop {
        tokio::time::sleep(Duration::from_millis(lease_ms / 3)).await;
        for token in book.alive() {
            if let Err(error) = shared.parts.catalog.renew(&token, now_ms() + lease_ms as i64).await
            {
                tracing::warn!(%error, "could not renew a lease");
            }
        }
    }
}

/// The leases that were issued and may still be held.
#[derive(Default)]
struct LeaseBook {
    leases: Mutex<Vec<(String, Weak<Lease>)>>,
}

impl LeaseBook {
    async fn lease(
        &self,
        shared: &Shared,
        limit: usize,
        suspects: bool,
        stop: &CancellationToken,
    ) -> Result<(Arc<Lease>, Vec<LeasedImage>), IngestError> {
        let lease = Arc::new(Lease { token: Uuid::new_v4().to_string() });
        let now = now_ms();
        let until = now + shared.parts.config.lease_ms as i64;
        let images =
            shared.parts.catalog.lease(limit as u32, &lease.token, now, until, suspects).await?;
        if !images.is_empty() {
            self.note(&lease, stop);
        }
        Ok((lease, images))
    }

    /// Notes a lease, and forgets those of which nothing is in flight any more. Once we are to stop that says nothing: what was
    /// in flight is dropped, done or not.
    fn note(&self, lease: &Arc<Lease>, stop: &CancellationToken) {
        let mut leases = self.leases.lock();
        // Looked for before it is asked whether we are to stop: what ended before that was done.
        let ended: Vec<_> = leases.extract_if(.., |(_, it)| it.strong_count() == 0).collect();
        if stop.is_cancelled() {
            leases.extend(ended);
        }
        leases.push((lease.token.clone(), Arc::downgrade(lease)));
    }

    fn alive(&self) -> Vec<String> {
        self.leases
            .lock()
            .iter()
            .filter(|(_, lease)| lease.strong_count() > 0)
            .map(|(token, _)| token.clone())
            .collect()
    }

    fn issued(&self) -> Vec<String> {
        self.leases.lock().iter().map(|(token, _)| token.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_because_we_stop_is_still_given_back() {
        let (book, stop) = (LeaseBook::default(), CancellationToken::new());
        let [done, dropped, last] =
            ["done", "dropped", "last"].map(|token| Arc::new(Lease { token: token.to_owned() }));
        book.note(&done, &stop);
        drop(done);
        book.note(&dropped, &stop);
        assert_eq!(book.issued(), ["dropped"]);
        stop.cancel();
        drop(dropped);
        // This one was asked for before, and comes now.
        book.note(&last, &stop);
        assert_eq!(book.issued(), ["dropped", "last"]);
    }
}
