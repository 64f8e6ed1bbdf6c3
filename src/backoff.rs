//! Pauses between tries: doubling from a first one up to a longest one, with jitter, and short again after a success.
//!
//! Our own and not the crate `backon`: that one repeats a closure, and all callers here have more to do between two tries
//! than to wait (tell the status why, keep what came of a download, obey a Retry-After, count what is left of a deadline).
//! Of it only the iterator of pauses would be used, which is the twenty lines below.

use std::time::Duration;

/// Doubling stops here, whatever the longest pause is.
const DOUBLINGS_MAX: u32 = 20;

#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// Failures in a row so far, each of which was followed by a pause.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Something moved, so the next failure is the first again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Notes a failure; returns how long to wait before the next try. Half to all of the doubled pause, so that many
    /// who failed together do not come back together.
    pub fn next_pause(&mut self) -> Duration {
        let pause = doubled(self.first, self.failures, self.longest);
        self.failures = self.failures.saturating_add(1);
        let random = getrandom::u32().unwrap_or(u32::MAX / 2);
        pause.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
    }

    /// Notes a failure and waits. To be stopped meanwhile, drop the future.
    pub async fn wait(&mut self) {
        let pause = self.next_pause();
        tokio::time::sleep(pause).await;
    }
}

/// `first`, doubled so many times, but not beyond `longest`.
pub fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << times.min(DOUBLINGS_MAX)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_jittered_within_bounds() {
        for _ in 0..100 {
            let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(500));
            for whole in [100, 200, 400, 500, 500] {
                let pause = backoff.next_pause().as_millis();
                assert!((whole / 2..=whole).contains(&pause), "{pause} of {whole}");
            }
            assert_eq!(backoff.failures(), 5);
            backoff.reset();
            assert!(backoff.next_pause() <= Duration::from_millis(100));
        }
    }

    #[test]
    fn very_many_failures_do_not_overflow() {
        let mut backoff = Backoff::new(Duration::from_hours(1), Duration::MAX);
        backoff.failures = u32::MAX;
        assert!(backoff.next_pause() > Duration::from_hours(1));
    }
}
