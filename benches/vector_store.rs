//! Figures of the embedded vector store: storing, indexing, reopening, latency, recall, memory and disk.
//! `cargo bench --bench vector_store -- [COUNT…]` (default 20000 100000). Synthetic vectors of 512 dimensions in clusters,
//! as pictures are, and queries far from all of them, as texts are; `--uniform` takes vectors without any structure,
//! which is as hard as it gets and like no model's output. Fewer clusters (`CLUSTERS=50`) crowd as a larger library does.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(missing_docs, reason = "no library")]

#[path = "library/vectors.rs"]
mod vectors;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use image_search::config::Config;
use image_search::vector_store::embedded::{EmbeddedOptions, EmbeddedStore};
use image_search::vector_store::{
    Collection, CollectionSpec, Condition, Effort, FieldKind, PayloadValue, Point, PointFilter,
    SearchQuery, VectorStore,
};
use uuid::Uuid;

use vectors::{DIM, Numbers, clusters, picture_vector, query_vector};

const QUERIES: u64 = 200;
const BATCH: usize = 1000;
const LIMIT: usize = 10;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn point(number: u64, uniform: bool) -> Point {
    let percent = (Numbers(number).uniform() * 100.0) as i64;
    let payload = [
        ("half".to_owned(), PayloadValue::Keyword((percent % 2).to_string())),
        ("percent".to_owned(), PayloadValue::Integer(percent)),
        ("cluster".to_owned(), PayloadValue::Integer((number % clusters()) as i64)),
    ];
    Point { id: id(number), vector: picture_vector(number, uniform), payload: payload.into() }
}

fn id(number: u64) -> Uuid {
    Uuid::from_u128(u128::from(number))
}

fn filters(count: u64) -> Vec<(&'static str, Option<PointFilter>)> {
    let range =
        |field: &str, max| Condition::Range { field: field.to_owned(), min: None, max: Some(max) };
    let below = |max| range("percent", max);
    let half = Condition::AnyOf { field: "half".to_owned(), values: vec!["1".to_owned()] };
    let must = |condition| Some(PointFilter { must: vec![condition], must_not: Vec::new() });
    // As the program filters: by the ids of what the catalog says.
    let ids = |number: u64| {
        let step = count / number;
        must(Condition::Ids((0..number).map(|at| id(at * step)).collect()))
    };
    vec![
        ("no filter", None),
        ("90 % kept", must(below(89))),
        ("50 % kept", must(half)),
        ("20 % kept", must(below(19))),
        ("5 % kept", must(below(4))),
        ("1 % kept", must(below(0))),
        ("5 % by id", ids(count / 20)),
        ("0.5 % by id", ids(count / 200)),
        ("10 by id", ids(10)),
        ("half of the clusters kept", must(range("cluster", clusters() as i64 / 2))),
    ]
}

fn memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines =
        status.lines().filter(|line| line.starts_with("RssAnon") || line.starts_with("RssFile"));
    lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Bytes really taken, not the length of sparse files.
fn disk_mib(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let files = walkdir::WalkDir::new(dir).into_iter().flatten();
    files
        .filter_map(|entry| entry.metadata().ok())
        .map(|metadata| metadata.blocks() * 512)
        .sum::<u64>()
        >> 20
}

async fn recall_and_latency(
    collection: &dyn Collection,
    filter: Option<&PointFilter>,
    uniform: bool,
) -> Outcome<String> {
    let (mut found, mut wanted, mut times, mut exact_times) = (0, 0, Vec::new(), Vec::new());
    for seed in 0..QUERIES {
        let vector = query_vector(seed, uniform);
        let query =
            SearchQuery { vector, limit: LIMIT, filter: filter.cloned(), effort: Effort::Usual };
        let begin = Instant::now();
        let hits = collection.search(query.clone()).await?;
        times.push(begin.elapsed());
        let begin = Instant::now();
        let exact = collection.search(SearchQuery { effort: Effort::Exact, ..query }).await?;
        exact_times.push(begin.elapsed());
        let truth: BTreeSet<_> = exact.iter().map(|hit| hit.id).collect();
        wanted += truth.len();
        found += hits.iter().filter(|hit| truth.contains(&hit.id)).count();
    }
    let percentile = |times: &mut Vec<Duration>, percent: usize| {
        times.sort();
        times[times.len() * percent / 100].as_secs_f64() * 1000.0
    };
    Ok(format!(
        "recall@{LIMIT} {:.4}  p50 {:6.2} ms  p95 {:6.2} ms  (exact p50 {:6.2} ms)",
        found as f64 / wanted as f64,
        percentile(&mut times, 50),
        percentile(&mut times, 95),
        percentile(&mut exact_times, 50)
    ))
}

fn options() -> Outcome<EmbeddedOptions> {
    let number = |name: &str, default: usize| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let defaults = Config::load(None, [], Vec::new())?.vector_store.embedded;
    Ok(EmbeddedOptions {
        ef_search: number("EF_SEARCH", defaults.ef_search),
        ef_search_filtered: number("EF_SEARCH_FILTERED", defaults.ef_search_filtered),
        ef_search_per_million: number("EF_SEARCH_PER_MILLION", defaults.ef_search_per_million),
        full_scan_vectors: number("FULL_SCAN_VECTORS", defaults.full_scan_vectors),
        hnsw_ef_construct: number("HNSW_EF_CONSTRUCT", defaults.hnsw_ef_construct),
        hnsw_m: number("HNSW_M", defaults.hnsw_m),
        index_threads: number("INDEX_THREADS", defaults.index_threads),
        on_disk_vectors: number("ON_DISK_VECTORS", usize::from(defaults.on_disk_vectors)) != 0,
        ..defaults
    })
}

async fn measure(count: u64, uniform: bool, dir: &Path) -> Outcome<()> {
    let fields = vec![
        ("half".to_owned(), FieldKind::Keyword),
        ("percent".to_owned(), FieldKind::Integer),
        ("cluster".to_owned(), FieldKind::Integer),
    ];
    let spec = CollectionSpec {
        name: format!("bench-{count}-{}-{uniform}", clusters()),
        dim: DIM,
        indexed_fields: fields,
    };
    println!(
        "{count} vectors of {DIM} dimensions, {}",
        if uniform { "without structure" } else { "in clusters" }
    );
    let store = EmbeddedStore::open(dir, options()?)?;
    let collection = store.open(&spec).await?;
    if collection.count(None).await? == 0 {
        store_and_index(&collection, count, uniform).await?;
    }
    println!("  {}, disk {} MiB", memory(), disk_mib(dir));
    store.close().await?;
    drop((collection, store));
    let begin = Instant::now();
    let store = EmbeddedStore::open(dir, options()?)?;
    let collection = store.open(&spec).await?;
    println!("  reopened in {:.2} s", begin.elapsed().as_secs_f64());
    let begin = Instant::now();
    while collection.maintain(false).await? {}
    println!("  nothing to build, said after {:.2} s", begin.elapsed().as_secs_f64());
    for (name, filter) in filters(count) {
        println!("  {name}: {}", recall_and_latency(&*collection, filter.as_ref(), uniform).await?);
    }
    println!("  {}", memory());
    store.close().await?;
    Ok(())
}

async fn store_and_index(
    collection: &Arc<dyn Collection>,
    count: u64,
    uniform: bool,
) -> Outcome<()> {
    let mut storing = Duration::ZERO;
    for start in (0..count).step_by(BATCH) {
        let points = (start..(start + BATCH as u64).min(count))
            .map(|number| point(number, uniform))
            .collect();
        let begin = Instant::now();
        collection.upsert(points).await?;
        collection.flush().await?;
        storing += begin.elapsed();
    }
    println!(
        "  stored and flushed in batches of {BATCH}: {:.0} vectors/s",
        count as f64 / storing.as_secs_f64()
    );
    let begin = Instant::now();
    while collection.maintain(false).await? {}
    println!("  indexed in {:.1} s", begin.elapsed().as_secs_f64());
    Ok(())
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let uniform = arguments.iter().any(|argument| argument == "--uniform");
    let counts: Vec<u64> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    let temporary = tempfile::tempdir()?;
    // Kept between runs, to compare options without storing and indexing again.
    let kept = std::env::var_os("BENCH_DIR").map(std::path::PathBuf::from);
    let dir = kept.as_deref().unwrap_or(temporary.path());
    for count in if counts.is_empty() { vec![20_000, 100_000] } else { counts } {
        runtime.block_on(measure(count, uniform, dir))?;
    }
    Ok(())
}
