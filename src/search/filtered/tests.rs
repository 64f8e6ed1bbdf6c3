//! Filtered searches over a library of some size, against comparing every picture. The vectors lie in clusters, as pictures do,
//! and queries far from all of them, as texts do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::catalog::sqlite::{SqliteCatalog, SqliteOptions};
use crate::catalog::{CompletedImage, Header, Images, Queue, SeenImage, Vectors};
use crate::config::built_in;
use crate::search::Orientation;
use crate::types::{Fingerprint, ImageName};
use crate::vector_store::embedded::EmbeddedStore;
use crate::vector_store::{CollectionSpec, Effort, Point, VectorStore};

const DIM: usize = 64;
const CLUSTERS: u64 = 100;
const QUERIES: u64 = 50;
const WANTED: usize = 10;
const BATCH: u64 = 1000;

/// A centre, and noise of `spread` times its length around it.
fn vector(seed: u64, spread: f32, dim: usize) -> Vec<f32> {
    let centre = crate::vector_store::conformance::vector(seed % CLUSTERS, dim);
    let noise = crate::vector_store::conformance::vector(1_000_000 + seed, dim);
    let mixed: Vec<f32> = centre.iter().zip(noise).map(|(c, n)| c + spread * n).collect();
    let norm = mixed.iter().map(|value| value * value).sum::<f32>().sqrt();
    mixed.into_iter().map(|value| value / norm).collect()
}

fn content(number: u64) -> ContentHash {
    ContentHash::of(&number.to_le_bytes())
}

struct Library {
    facets: Facets,
    collection: Arc<dyn Collection>,
    model: ModelId,
    scan_max: usize,
    count: u64,
    dim: usize,
    _dir: tempfile::TempDir,
}

impl Library {
    async fn make(count: u64, dim: usize) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let options = SqliteOptions { lock_wait_ms: 60_000, ..SqliteOptions::default() };
        let catalog = SqliteCatalog::open(&dir.path().join("catalog.db"), options).await;
        let catalog = Arc::new(catalog.expect("opened"));
        let config = built_in();
        let store = EmbeddedStore::open(dir.path(), config.vector_store.embedded).expect("opened");
        let model = ModelId { name: "m".into(), revision: "1".into() };
        let spec = CollectionSpec::of_pictures(model.collection_name(), dim);
        let collection = store.open(&spec).await.expect("opened");
        for first in (0..count).step_by(BATCH as usize) {
            fill(&catalog, &model, first..(first + BATCH).min(count)).await;
            let point = |number| {
                let payload = payload::of_picture(&content(number), "png", 3, 2);
                let vector = vector(number, 0.9, dim);
                Point { id: model.point_id(&content(number)), vector, payload }
            };
            let points = (first..(first + BATCH).min(count)).map(point).collect();
            collection.upsert(points).await.expect("stored");
        }
        collection.flush().await.expect("flushed");
        while collection.maintain(false).await.expect("indexed") {}
        let facets = Facets::new(catalog);
        Self {
            facets,
            collection,
            model,
            scan_max: config.search.filter_scan_max,
            count,
            dim,
            _dir: dir,
        }
    }

    async fn best(&self, vector: &[f32], filter: &ImageFilter) -> Vec<ContentHash> {
        let space = Space { collection: &*self.collection, model: &self.model };
        let hits = best_matching(&self.facets, space, vector, filter, WANTED, self.scan_max).await;
        let hits = hits.expect("answered");
        hits.iter().filter_map(|hit| payload::content_hash(&hit.payload)).collect()
    }

    /// All pictures, best first, by comparing every vector.
    fn ranked(&self, wanted: &[f32], vectors: &[Vec<f32>]) -> Vec<u64> {
        let score = |vector: &[f32]| -> f32 { vector.iter().zip(wanted).map(|(a, b)| a * b).sum() };
        let mut all: Vec<(f32, u64)> =
            vectors.iter().map(|vector| score(vector)).zip(0..self.count).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        all.into_iter().map(|(_, number)| number).collect()
    }
}

/// Folder: one of 200. Taken: one of 2000 hours. Width: wide for half of the clusters.
async fn fill(catalog: &SqliteCatalog, model: &ModelId, numbers: std::ops::Range<u64>) {
    let (model, token) = (model.to_string(), numbers.start.to_string());
    let seen = |number: u64| SeenImage {
        name: ImageName::new(format!("{:03}/{number}.png", number * 7 % 200)).expect("valid"),
        fingerprint: Fingerprint {
            size_bytes: number,
            version: "1".into(),
            modified_ms: (number * 13 % 2000) as i64,
        },
        due_ms: 0,
    };
    let images: Vec<_> = numbers.map(seen).collect();
    catalog.record("source", &images, &[], 1).await.expect("recorded");
    let leased = catalog.lease(BATCH as u32, &token, 1, 1_000_000, false).await.expect("leased");
    let of = |number: u64| {
        let width = if number % CLUSTERS < CLUSTERS / 2 { 3 } else { 2 };
        PictureFacts { format: "png".into(), width, height: 2 }
    };
    let numbered: Vec<_> =
        leased.iter().map(|image| (image.id, image.fingerprint.size_bytes)).collect();
    let contents: Vec<_> =
        numbered.iter().map(|(_, number)| (content(*number), of(*number))).collect();
    catalog.intend_vectors(&model, &contents, 1).await.expect("intended");
    let done: Vec<_> = numbered
        .iter()
        .map(|(image_id, number)| CompletedImage {
            image_id: *image_id,
            hash: content(*number),
            facts: of(*number),
            header: Header::default(),
        })
        .collect();
    assert_eq!(
        catalog.complete(&model, &token, &done, 1).await.expect("completed"),
        images.len() as u64
    );
}

type Keeps = Box<dyn Fn(u64) -> bool>;

/// Filters, and the same as a test of a picture's number.
fn filters(count: u64) -> Vec<(&'static str, ImageFilter, Keeps)> {
    let taken = |share: u64| ImageFilter {
        taken_before_ms: Some((2000 * share / 1000) as i64),
        ..ImageFilter::default()
    };
    let is_taken =
        |share: u64| -> Keeps { Box::new(move |number| number * 13 % 2000 < 2000 * share / 1000) };
    let folder = ImageFilter {
        folder: Some(ImageName::new("014").expect("valid")),
        ..ImageFilter::default()
    };
    let wide = ImageFilter { orientation: Some(Orientation::Landscape), ..ImageFilter::default() };
    let ten = ImageFilter {
        folder: folder.folder.clone(),
        taken_before_ms: Some((2000 * 2000 / count) as i64),
        ..ImageFilter::default()
    };
    let few = move |number: u64| number * 7 % 200 == 14 && number * 13 % 2000 < 2000 * 2000 / count;
    vec![
        ("50 %", taken(500), is_taken(500)),
        ("half of the clusters", wide, Box::new(|number| number % CLUSTERS < CLUSTERS / 2)),
        ("5 %", taken(50), is_taken(50)),
        ("0.5 %", folder, Box::new(|number| number * 7 % 200 == 14)),
        ("about ten", ten, Box::new(few)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_filters_leave_is_found_as_well_as_by_comparing_everything() {
    let library = Library::make(25_000, DIM).await;
    let vectors: Vec<_> = (0..library.count).map(|number| vector(number, 0.9, DIM)).collect();
    let queries: Vec<_> =
        (0..QUERIES).map(|seed| vector(1_000_000_000 + seed * 31, 2.0, DIM)).collect();
    let rankings: Vec<_> = queries.iter().map(|query| library.ranked(query, &vectors)).collect();
    for (name, filter, keeps) in filters(library.count) {
        let left = (0..library.count).filter(|number| keeps(*number)).count();
        let selection = library.facets.select(&filter, usize::MAX).await.expect("selected");
        assert_eq!(selection.matching, left, "{name}");
        let (mut found, mut wanted) = (0, 0);
        for (query, ranking) in queries.iter().zip(&rankings) {
            let matching = ranking.iter().filter(|number| keeps(**number));
            let truth: Vec<_> = matching.take(WANTED).map(|number| content(*number)).collect();
            let hits = library.best(query, &filter).await;
            assert_eq!(hits.len(), left.min(WANTED), "{name}");
            wanted += truth.len();
            found += hits.iter().filter(|hash| truth.contains(hash)).count();
        }
        assert!(
            left >= 5 && found * 100 >= wanted * 99,
            "{name}: {found} of {wanted}, {left} left"
        );
    }
}

/// Prints; asserts nothing. `FILTER_COUNT=100000 cargo test --lib filters_take -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
#[expect(clippy::print_stdout, reason = "prints what it measures")]
async fn how_long_filters_take() {
    let count =
        std::env::var("FILTER_COUNT").ok().and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let started = Instant::now();
    let library = Library::make(count, 512).await;
    println!("{count} pictures made in {:.0?}", started.elapsed());
    let started = Instant::now();
    library.facets.select(&ImageFilter::default(), 1).await.expect("selected");
    println!("facets read in {:.0?}", started.elapsed());
    let plain = |vector: Vec<f32>| SearchQuery {
        vector,
        limit: WANTED + 16,
        filter: None,
        effort: Effort::Usual,
    };
    for round in ["no filter, for the first time", "no filter"] {
        let mut times = Vec::new();
        for seed in 0..400 {
            let query = vector(1_000_000_000 + seed * 31, 2.0, library.dim);
            let started = Instant::now();
            library.collection.search(plain(query)).await.expect("answered");
            times.push(started.elapsed());
        }
        println!("{round}: {}", percentiles(&mut times));
    }
    for (name, filter, _) in filters(library.count) {
        let mut times = Vec::new();
        for seed in 0..400 {
            let query = vector(1_000_000_000 + seed * 31, 2.0, library.dim);
            let started = Instant::now();
            library.best(&query, &filter).await;
            times.push(started.elapsed());
        }
        println!("{name}: {}", percentiles(&mut times));
    }
}

fn percentiles(times: &mut [Duration]) -> String {
    times.sort();
    let at = |percent: usize| times[times.len() * percent / 100];
    format!("p50 {:.2?}, p95 {:.2?}", at(50), at(95))
}
