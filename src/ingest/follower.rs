//! Follows a source until stopped: compares everything at start, periodically and when asked to, and looks at once where
//! hints point to, also while a comparison of everything runs. How often everything is compared depends on what it costs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::followed::Followed;
use super::reconciler::Reconciler;
use super::{IngestError, Shared};
use crate::backoff::doubled;
use crate::source::{Hints, SourceError};
use crate::types::Scope;

/// The first comparison waits so long for the hints to begin; what happens before they do is then seen by a second one.
const HINTS_BEGIN_WITHIN: Duration = Duration::from_secs(2);
/// Pauses before the next look at a source that is away, or a catalog that failed.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(30);
/// Between the end of a comparison and one that was asked for meanwhile.
const RESCAN_GAP_MIN: Duration = Duration::from_millis(250);
const SHARE_MIN_PERCENT: f64 = 0.1;

pub(super) async fn follow(shared: Arc<Shared>, followed: Arc<Followed>, stop: CancellationToken) {
    let hints = followed.source.hints();
    let first_wait = if hints.is_some() { HINTS_BEGIN_WITHIN } else { Duration::ZERO };
    let following = async {
        tokio::join!(
            compare_again_and_again(&shared, &followed, first_wait),
            heed(&shared, &followed, hints)
        )
    };
    // Where it stands does not matter: what is not recorded yet is found again.
    let _ = stop.run_until_cancelled(following).await;
}

async fn compare_again_and_again(shared: &Shared, followed: &Followed, first_wait: Duration) {
    let config = &shared.parts.config;
    let interval = Duration::from_millis(config.scan_interval_ms.max(100));
    let _ = tokio::time::timeout(first_wait, followed.rescan.notified()).await;
    let mut failures_in_a_row = 0;
    loop {
        let started = Instant::now();
        let compared = reconciler(shared, followed).compare_all().await;
        let took = started.elapsed();
        shared.parts.metrics.scan_seconds.set(took.as_secs_f64());
        shared.count_away();
        shared.scanned_once.store(true, Ordering::Relaxed);
        shared.work.notify_one();
        failures_in_a_row = if compared.is_ok() { 0 } else { failures_in_a_row + 1 };
        let share_percent = if followed.source.hears_everything() {
            config.scan_share_watched_max_percent
        } else {
            config.scan_share_max_percent
        };
        let pause = pause_after(took, interval, share_percent, failures_in_a_row);
        match compared {
            Ok(()) => {
                tracing::debug!(source = %followed.source.location(), took_ms = took.as_millis() as u64, again_in_s = pause.as_secs(), "compared with the catalog");
            }
            // Said when it was noted.
            Err(IngestError::Source(SourceError::Away { .. })) => {}
            Err(error) => {
                tracing::warn!(source = %followed.source.location(), %error, again_in_s = pause.as_secs(), "could not compare the source with the catalog");
            }
        }
        let gap = took.max(RESCAN_GAP_MIN).min(pause);
        tokio::time::sleep(gap).await;
        let _ = tokio::time::timeout(pause.saturating_sub(gap), followed.rescan.notified()).await;
    }
}

/// One that records only while this process is the one that compares this source.
fn reconciler<'a>(shared: &'a Shared, followed: &'a Followed) -> Reconciler<'a> {
    Reconciler { claim: Some(followed.listing_claim()), ..shared.reconciler(followed) }
}

/// So that at most the given share of the time is spent with comparing; sooner after a failure.
fn pause_after(
    took: Duration,
    interval: Duration,
    share_percent: f64,
    failures_in_a_row: u32,
) -> Duration {
    let share = share_percent.clamp(SHARE_MIN_PERCENT, 100.0) / 100.0;
    let affordable = took.mul_f64((1.0 - share) / share);
    let regular = interval.max(affordable);
    if failures_in_a_row == 0 {
        return regular;
    }
    let retry = doubled(RETRY_FIRST, failures_in_a_row - 1, RETRY_LONGEST);
    retry.max(took).min(regular)
}

/// Looks where hints point to.
async fn heed(shared: &Shared, followed: &Followed, hints: Option<Hints>) {
    let Some(mut hints) = hints else { return };
    while let Some(scopes) = hints.next().await {
        if scopes.contains(&Scope::All) {
            followed.rescan.notify_one();
            continue;
        }
        if let Err(error) = reconciler(shared, followed).compare(&scopes).await {
            tracing::debug!(source = %followed.source.location(), %error, "a hint could not be followed; everything is compared instead");
            followed.rescan.notify_one();
        }
        shared.count_away();
        shared.work.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_costs_much_is_done_seldom_and_what_failed_is_tried_soon() {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        assert_eq!(pause_after(ms(20), s(60), 5.0, 0), s(60));
        assert_eq!(pause_after(s(10), s(60), 5.0, 0), s(190), "10 of 200 seconds are 5 %");
        assert_eq!(pause_after(ms(1), s(60), 5.0, 1), s(1));
        assert_eq!(pause_after(ms(1), s(60), 5.0, 3), s(4));
        assert_eq!(pause_after(ms(1), s(60), 5.0, 99), s(30));
        assert_eq!(pause_after(ms(1), ms(200), 5.0, 99), ms(200), "never later than regularly");
        assert_eq!(pause_after(s(45), s(60), 5.0, 1), s(45), "a slow failure is not hurried");
        assert_eq!(
            pause_after(s(4), s(60), 0.5, 0),
            s(796),
            "4 of 800 seconds are half a per cent"
        );
        assert_eq!(
            pause_after(s(1), s(60), 0.0, 0),
            s(999),
            "a share of nothing is one in a thousand"
        );
    }
}
