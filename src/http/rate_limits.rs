//! How often one client may ask: a bucket that fills steadily, for each address and each key; and how long wrong keys wait for
//! their answer. Both remember only so many clients.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::client_address::network;
use crate::config::AccessConfig;

const WRONG_KEY_DELAY_FIRST_MS: u64 = 100;
/// Wrong keys of longer ago are forgiven.
const WRONG_KEYS_FORGOTTEN_AFTER: Duration = Duration::from_mins(10);
/// Answers that wait at once; who tries more keys is answered 429 at once.
const WAITING_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    Network(IpAddr),
    Key(String),
}

/// A bucket of requests.
struct Bucket {
    left: f64,
    at: Instant,
}

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy)]
struct Rate {
    per_s: f64,
    burst: f64,
}

pub(super) struct RateLimits {
    of_address: Rate,
    of_key: Rate,
    buckets: Mutex<LruCache<Who, Bucket>>,
    delay_max: Duration,
    wrong_keys: Mutex<LruCache<IpAddr, (u32, Instant)>>,
    waiting: Semaphore,
}

impl RateLimits {
    pub(super) fn new(config: &AccessConfig) -> Self {
        let clients_max = NonZeroUsize::new(config.clients_max).unwrap_or(NonZeroUsize::MIN);
        let rate = |per_s, burst| Rate { per_s, burst: f64::from(burst) };
        let limits = Self {
            of_address: rate(config.address_requests_per_s, config.address_burst_requests),
            of_key: rate(config.key_requests_per_s, config.key_burst_requests),
            // Not made as large as they may become.
            buckets: Mutex::new(LruCache::unbounded()),
            delay_max: Duration::from_millis(config.wrong_key_delay_max_ms),
            wrong_keys: Mutex::new(LruCache::unbounded()),
            waiting: Semaphore::new(WAITING_MAX),
        };
        limits.buckets.lock().resize(clients_max);
        limits.wrong_keys.lock().resize(clients_max);
        limits
    }

    /// Counts a request of an address, or says how long to wait. This machine's own are not counted: they are those of
    /// commands, or of a proxy that was not named.
    pub(super) fn count_address(&self, address: IpAddr) -> Result<(), Duration> {
        if address.is_loopback() {
            return Ok(());
        }
        self.count(Who::Network(network(address)), self.of_address, Instant::now())
    }

    /// Counts a request with a key.
    pub(super) fn count_key(&self, id: &str) -> Result<(), Duration> {
        self.count(Who::Key(id.to_owned()), self.of_key, Instant::now())
    }

    fn count(&self, who: Who, rate: Rate, now: Instant) -> Result<(), Duration> {
        if rate.per_s == 0.0 {
            return Ok(());
        }
        let mut buckets = self.buckets.lock();
        let bucket = buckets.get_or_insert_mut(who, || Bucket { left: rate.burst, at: now });
        let filled = now.duration_since(bucket.at).as_secs_f64() * rate.per_s;
        (bucket.left, bucket.at) = ((bucket.left + filled).min(rate.burst), now);
        if bucket.left >= 1.0 {
            bucket.left -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64(((1.0 - bucket.left) / rate.per_s).min(3600.0)))
    }

    /// Waits before a wrong key is answered, longer each time. Right keys never come here, so nobody is locked out. Fails with
    /// how long to wait if too many wait already.
    pub(super) async fn slow_down(&self, address: IpAddr) -> Result<(), Duration> {
        let delay = self.next_delay(network(address), Instant::now());
        let _place = self.waiting.try_acquire().map_err(|_| self.delay_max)?;
        tokio::time::sleep(delay).await;
        Ok(())
    }

    fn next_delay(&self, client: IpAddr, now: Instant) -> Duration {
        let mut wrong_keys = self.wrong_keys.lock();
        let (count, last) = wrong_keys.get_or_insert_mut(client, || (0, now));
        if now.duration_since(*last) >= WRONG_KEYS_FORGOTTEN_AFTER {
            *count = 0;
        }
        let delay = Duration::from_millis(WRONG_KEY_DELAY_FIRST_MS << (*count).min(16));
        (*count, *last) = (count.saturating_add(1), now);
        delay.min(self.delay_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::built_in;

    fn limits(change: impl FnOnce(&mut AccessConfig)) -> RateLimits {
        let mut config = built_in().access;
        config.address_requests_per_s = 2.0;
        config.address_burst_requests = 3;
        config.wrong_key_delay_max_ms = 1000;
        change(&mut config);
        RateLimits::new(&config)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let limits = limits(|_| {});
        let start = Instant::now();
        let ask = |text: &str, after_ms: u64| {
            let who = Who::Network(network(address(text)));
            limits.count(who, limits.of_address, start + Duration::from_millis(after_ms))
        };
        for _ in 0..3 {
            assert_eq!(ask("10.0.0.1", 0), Ok(()));
        }
        assert_eq!(ask("10.0.0.1", 0), Err(Duration::from_millis(500)));
        assert_eq!(ask("10.0.0.2", 0), Ok(()), "another one has a bucket of its own");
        assert_eq!(ask("10.0.0.1", 500), Ok(()));
        assert!(ask("10.0.0.1", 500).is_err());
        for _ in 0..3 {
            assert_eq!(ask("10.0.0.1", 60_000), Ok(()));
        }
        assert!(ask("10.0.0.1", 60_000).is_err(), "it never holds more than the burst");
        for text in ["fd00::1", "fd00::2", "fd00::3"] {
            assert_eq!(ask(text, 0), Ok(()));
        }
        assert!(ask("fd00::4", 0).is_err(), "the same network");
    }

    #[test]
    fn only_so_many_are_remembered_and_this_machine_is_not_counted() {
        let limits = limits(|config| config.clients_max = 10);
        for number in 0..1000_u32 {
            let _ = limits.count_address(IpAddr::V4((0x0a00_0000 + number).into()));
        }
        assert_eq!(limits.buckets.lock().len(), 10);
        for _ in 0..100 {
            assert_eq!(limits.count_address(address("127.0.0.1")), Ok(()));
        }
        let without = super::tests::limits(|config| config.key_requests_per_s = 0.0);
        assert!((0..100_000).all(|_| without.count_key("k").is_ok()));
    }

    #[tokio::test]
    async fn wrong_keys_wait_longer_each_time_up_to_a_limit_and_only_some_wait() {
        let limits = limits(|_| {});
        let now = Instant::now();
        let delays: Vec<u128> =
            (0..6).map(|_| limits.next_delay(address("10.0.0.1"), now).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(limits.next_delay(address("10.0.0.2"), now).as_millis(), 100);
        let later = now + WRONG_KEYS_FORGOTTEN_AFTER;
        assert_eq!(limits.next_delay(address("10.0.0.1"), later).as_millis(), 100);
        let limits = super::tests::limits(|config| config.wrong_key_delay_max_ms = 20);
        let tries = (0..100).map(|_| limits.slow_down(address("10.0.0.3")));
        let outcomes = futures::future::join_all(tries).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), WAITING_MAX);
    }
}
