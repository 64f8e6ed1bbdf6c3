//! Several workers with handles of their own on one catalog, as several processes have them, some of which just stop.
//! The vector store is a set in memory, so that a vector that is deleted too early is noticed.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::*;

const IMAGES: u32 = 120;
const KILLS_MAX: u64 = 20;
const LEASE_MS: i64 = 40;
const PAGE: u32 = 16;
const CHURN_ROUNDS: u64 = 200;

/// What all workers see: the time, the store, and who completed what.
#[derive(Default)]
struct Outside {
    clock_ms: AtomicI64,
    kills: AtomicU64,
    deleted: AtomicU64,
    churning: AtomicBool,
    store: Mutex<HashSet<ContentHash>>,
    completed: Mutex<HashMap<i64, u32>>,
}

impl Outside {
    /// Every look at the clock moves it, so that leases do run out.
    fn now_ms(&self) -> i64 {
        self.clock_ms.fetch_add(1, Ordering::Relaxed)
    }
}

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Works until nothing is pending, or until it "is killed": it forgets everything between any two steps, which is told by
/// `false`.
async fn work(catalog: &dyn Catalog, outside: &Outside, random: &mut Random) -> bool {
    let mut killed = || {
        let now = outside.kills.load(Ordering::Relaxed) < KILLS_MAX && random.below(6) == 0;
        outside.kills.fetch_add(u64::from(now), Ordering::Relaxed);
        now
    };
    let mut batch = 0;
    while outside.churning.load(Ordering::Relaxed) || counts(catalog).await.0 > 0 {
        batch += 1;
        let now = outside.now_ms();
        catalog.reclaim_expired(now).await.expect("reclaim");
        let token = format!("{batch}-{now}");
        let mut leased = catalog.lease(7, &token, now, now + LEASE_MS, false).await.expect("lease");
        if leased.is_empty() {
            // Left behind by the killed: alone, as the real worker takes them.
            leased = catalog.lease(1, &token, now, now + LEASE_MS, true).await.expect("lease");
        }
        if killed() {
            return false;
        }
        for image in leased {
            // Every third image has the content of another.
            let hash = ContentHash::of(&(image.id / 3).to_le_bytes());
            let known = catalog.stored_contents(MODEL, &[hash], outside.now_ms()).await;
            if known.expect("stored").is_empty() {
                let intended =
                    catalog.intend_vectors(MODEL, &[(hash, facts())], outside.now_ms()).await;
                match intended {
                    Ok(()) => {}
                    Err(CatalogError::Unavailable(_)) => continue,
                    Err(error) => panic!("{error}"),
                }
                if killed() {
                    return false;
                }
                outside.store.lock().insert(hash);
            }
            if killed() {
                return false;
            }
            let done = [CompletedImage {
                image_id: image.id,
                hash,
                facts: facts(),
                header: Header::default(),
            }];
            let indexed =
                catalog.complete(MODEL, &token, &done, outside.now_ms()).await.expect("complete");
            *outside.completed.lock().entry(image.id).or_default() += indexed as u32;
        }
        catalog.release(&token).await.expect("release");
    }
    true
}

/// Deletes orphans without any grace, as fast as it can.
async fn collect(catalog: &dyn Catalog, outside: &Outside, round: u64) {
    let token = format!("gc-{round}");
    let now = outside.now_ms();
    let claimed =
        catalog.claim_orphans(MODEL, now, PAGE, &token, now, now + LEASE_MS).await.expect("claim");
    tokio::task::yield_now().await;
    for hash in &claimed {
        outside.store.lock().remove(hash);
    }
    let deleted = catalog.forget_orphans(MODEL, &token).await.expect("forget");
    outside.deleted.fetch_add(deleted, Ordering::Relaxed);
}

async fn record_all(catalog: &dyn Catalog) {
    let images: Vec<SeenImage> = (0..IMAGES).map(|number| seen(&number.to_string())).collect();
    catalog.record(SOURCE, &images, &[], 0).await.expect("record");
}

/// Each thread of this case starts a worker again and again under its own name, as a supervisor would a process.
async fn supervise(fixture: &dyn Fixture, holder: &str, outside: &Outside, seed: u64) {
    let mut random = Random(seed);
    loop {
        let catalog = fixture.open_as(holder).await;
        catalog.reclaim_own(outside.now_ms()).await.expect("reclaim");
        if work(&*catalog, outside, &mut random).await {
            return;
        }
    }
}

pub(crate) async fn two_workers_complete_every_image_once_through_kills(fixture: &dyn Fixture) {
    let outside = Outside::default();
    record_all(&*fixture.open().await).await;
    tokio::join!(supervise(fixture, "one", &outside, 1), supervise(fixture, "two", &outside, 2));
    assert_eq!(outside.kills.load(Ordering::Relaxed), KILLS_MAX, "too few kills to prove anything");
    let catalog = fixture.open().await;
    assert_eq!(counts(&*catalog).await, (0, u64::from(IMAGES), 0, 0, 0));
    let completed = outside.completed.lock();
    assert_eq!(completed.len(), IMAGES as usize);
    assert!(completed.values().all(|times| *times == 1), "completed twice: {completed:?}");
}

pub(crate) async fn a_vector_is_never_deleted_under_an_image(fixture: &dyn Fixture) {
    let outside = Outside { churning: AtomicBool::new(true), ..Outside::default() };
    record_all(&*fixture.open().await).await;
    let catalog = fixture.open_as("housekeeper").await;
    let churn = async {
        let mut random = Random(5);
        for round in 0..CHURN_ROUNDS {
            collect(&*catalog, &outside, round).await;
            // Images go and come under the workers' hands, so that contents are orphaned and wanted again.
            let lost = name(&random.below(u64::from(IMAGES)).to_string());
            let names = std::slice::from_ref(&lost);
            catalog.forget(names, outside.now_ms()).await.expect("forget");
            let back = SeenImage { name: lost, ..seen("x") };
            catalog.record(SOURCE, &[back], &[], outside.now_ms()).await.expect("record");
        }
        outside.churning.store(false, Ordering::Relaxed);
    };
    tokio::join!(
        churn,
        supervise(fixture, "one", &outside, 3),
        supervise(fixture, "two", &outside, 4)
    );
    let stored = catalog.stored_hashes(MODEL, None, 1000).await.expect("hashes");
    let contents = catalog.images_of(&stored, 1000).await.expect("images_of");
    let images: usize = contents.values().map(|content| content.names.len()).sum();
    assert_eq!(images, IMAGES as usize, "an image counts on a vector that is not known");
    let store = outside.store.lock();
    let lost: Vec<_> = contents.keys().filter(|hash| !store.contains(hash)).collect();
    assert!(lost.is_empty(), "deleted under an image: {lost:?}");
    assert!(outside.deleted.load(Ordering::Relaxed) > 10, "too few deletions to prove anything");
}
