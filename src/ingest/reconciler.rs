//! Compares a source with the catalog and records the difference: new, changed, gone. A move is a gone and a new name;
//! its vector is kept meanwhile and found again by content, so nothing is embedded twice.
//! Runs over everything at start and periodically, and over single names when the watcher hints at them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{IngestError, Shared};
use crate::catalog::SeenImage;
use crate::source::folder::FolderSource;
use crate::source::watcher::FolderWatcher;
use crate::source::{Listing, Source, Unreadable};
use crate::types::{Fingerprint, ImageName, Scope, now_ms};

/// Rows per page and per transaction.
const PAGE: u32 = 1000;

/// Follows one folder until stopped.
pub(super) async fn follow(
    shared: Arc<Shared>,
    source: FolderSource,
    watcher: FolderWatcher,
    stop: CancellationToken,
) {
    let interval = Duration::from_millis(shared.parts.config.scan_interval_ms.max(100));
    loop {
        // Watching starts before the scan, so that nothing falls between the two.
        if let Err(error) = watcher.ensure_watching() {
            tracing::warn!(folder = %source.location(), %error, interval_s = interval.as_secs(), "cannot watch the folder; relying on the periodic scan");
        }
        look(&shared, &source, &Scope::All).await;
        shared.scanned_once.store(true, Ordering::Relaxed);
        shared.work.notify_one();
        let due = tokio::time::sleep(interval);
        tokio::pin!(due);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = &mut due => break,
                scopes = watcher.next() => {
                    if scopes.contains(&Scope::All) {
                        break;
                    }
                    for scope in &scopes {
                        look(&shared, &source, scope).await;
                    }
                }
            }
        }
    }
}

async fn look(shared: &Shared, source: &FolderSource, scope: &Scope) {
    if let Err(error) = reconcile(shared, source, scope).await {
        tracing::warn!(%error, "could not compare the folder with the catalog; trying again at the next scan");
    }
}

/// Compares once and records the difference.
pub(super) async fn reconcile(
    shared: &Shared,
    source: &FolderSource,
    scope: &Scope,
) -> Result<(), IngestError> {
    let listing = source.list(scope).await?;
    warn_of(&listing, source);
    let Listing { files, unreadable, truncated } = listing;
    let mut there: HashMap<ImageName, Fingerprint> = files.into_iter().collect();
    let (mut seen, mut gone) = (Vec::new(), Vec::new());
    let mut after: Option<ImageName> = None;
    loop {
        let page = shared.parts.catalog.known(source.id(), scope, after.as_ref(), PAGE).await?;
        let last_page = page.len() < PAGE as usize;
        after = page.last().map(|image| image.name.clone());
        for known in page {
            match there.remove(&known.name) {
                Some(fingerprint) if fingerprint == known.fingerprint => {}
                Some(fingerprint) => seen.push((known.name, fingerprint)),
                None if truncated || is_hidden_from_us(&known.name, &unreadable) => {}
                None => gone.push(known.name),
            }
        }
        if last_page {
            break;
        }
    }
    seen.extend(there);
    // In name order, so that a first run indexes a folder in the order in which people look at it.
    seen.sort_by(|(a, _), (b, _)| a.cmp(b));
    record(shared, source, seen, &gone).await
}

async fn record(
    shared: &Shared,
    source: &FolderSource,
    seen: Vec<(ImageName, Fingerprint)>,
    gone: &[ImageName],
) -> Result<(), IngestError> {
    if seen.is_empty() && gone.is_empty() {
        return Ok(());
    }
    tracing::debug!(
        source = source.id(),
        new_or_changed = seen.len(),
        gone = gone.len(),
        "the folder changed"
    );
    let now = now_ms();
    let settle_ms = shared.parts.config.settle_ms as i64;
    let seen: Vec<SeenImage> = seen
        .into_iter()
        .map(|(name, fingerprint)| SeenImage {
            due_ms: due_ms(&fingerprint, now, settle_ms),
            name,
            fingerprint,
        })
        .collect();
    shared.tidy.store(false, Ordering::Relaxed);
    // Gone first: a name that was a file and is a folder now frees its place.
    for names in gone.chunks(PAGE as usize) {
        shared.parts.catalog.record(source.id(), &[], names, now).await?;
    }
    for images in seen.chunks(PAGE as usize) {
        shared.parts.catalog.record(source.id(), images, &[], now).await?;
        shared.work.notify_one();
    }
    Ok(())
}

/// A file that was touched just now may still be being written: look again after a while. One with a time in the future says nothing.
fn due_ms(fingerprint: &Fingerprint, now_ms: i64, settle_ms: i64) -> i64 {
    let age_ms = now_ms - fingerprint.modified_ms;
    if age_ms >= settle_ms { now_ms } else { now_ms + settle_ms }
}

/// Whether `name` lies below a part that could not be looked into.
fn is_hidden_from_us(name: &ImageName, unreadable: &[Unreadable]) -> bool {
    unreadable.iter().filter_map(|part| part.name.as_ref()).any(|part| {
        let below = name.as_str().strip_prefix(part.as_str());
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

fn warn_of(listing: &Listing, source: &FolderSource) {
    for part in &listing.unreadable {
        tracing::warn!(folder = %source.location(), reason = %part.reason, "cannot look at a part of the folder; what is known of it is kept");
    }
    if listing.truncated {
        tracing::warn!(folder = %source.location(), "more files than ingest.images_max; the rest is left out");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_an_unreadable_folder_is_kept() {
        let name = |text: &str| ImageName::new(text).expect("valid");
        let unreadable = [Unreadable { name: Some(name("locked")), reason: String::new() }];
        assert!(is_hidden_from_us(&name("locked/a.png"), &unreadable));
        assert!(is_hidden_from_us(&name("locked"), &unreadable));
        assert!(!is_hidden_from_us(&name("lockedout/a.png"), &unreadable));
    }

    #[test]
    fn fresh_and_future_files_settle_first() {
        let at = |modified_ms| Fingerprint { size_bytes: 1, version: String::new(), modified_ms };
        assert_eq!(due_ms(&at(0), 10_000, 500), 10_000);
        assert_eq!(due_ms(&at(9_900), 10_000, 500), 10_500);
        assert_eq!(due_ms(&at(99_000), 10_000, 500), 10_500);
    }
}
