//! The life of a library in the real application, with synthetic pictures from a source in memory and a model that takes no time:
//! indexed once, restarted, served, searched while idle and while indexing, changed, and scanned again.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use image_search::app::App;
use image_search::catalog::{self, StateCounts};
use image_search::config::Config;
use image_search::data_dir::DataDir;
use image_search::embedder::{Embedder, Encoder};
use image_search::http;
use image_search::ingest::{Ingest, IngestState};
use image_search::models::LocatedModel;
use image_search::search::duplicates::groups;
use image_search::search::{Paging, Query, SearchOptions, Window};
use image_search::source::Source;
use image_search::source::memory::MemorySource;
use image_search::types::{ContentHash, ImageName, ModelId, Scope};
use image_search::vector_store::{Effort, SearchQuery, address, payload};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::process::{Memory, Peak, cpu_seconds, disk_mb};
use crate::synthetic::{PICTURE_BYTES, Synthetic, picture};

const PER_FOLDER: u64 = 1000;
const RENAMES: u64 = 10_000;
const DELETES: u64 = 1_000;
const SEARCHES: u64 = 200;
const LIMIT: u32 = 10;
const PAGE: u32 = 100;
/// Of the library comes anew while searches are timed, but at least so many pictures.
const NEW_FRACTION: u64 = 50;
const NEW_MIN: u64 = 5_000;
const IDLE_MEASURED: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);
/// Searches timed while the index is built, and the pause between them, so that they do not slow it down.
const SEARCHES_WHILE_BUILDING: usize = 30;
const SEARCH_PAUSE: Duration = Duration::from_secs(1);

/// Prints as it goes, and keeps everything for the table.
pub(crate) struct Report {
    started: Instant,
    rows: Vec<(String, String)>,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, what: &str, value: impl Into<String>) {
        let value = value.into();
        println!("[{:7.1} s] {what}: {value}", self.started.elapsed().as_secs_f64());
        let _ = std::io::stdout().flush();
        self.rows.push((what.to_owned(), value));
    }

    pub(crate) fn print_table(&self, rows: u64) {
        println!("\n| | {rows} pictures |\n|---|---|");
        for (what, value) in &self.rows {
            println!("| {what} | {value} |");
        }
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

pub(crate) fn per_second(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// Durations in order, for their percentiles.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    fn percentile(&self, percent: usize) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get(last * percent / 100).copied().map_or(0.0, ms)
    }
}

impl From<Vec<Duration>> for Times {
    fn from(mut times: Vec<Duration>) -> Self {
        times.sort();
        Self(times)
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (p50, p95) = (self.percentile(50), self.percentile(95));
        let (p99, count) = (self.percentile(99), self.0.len());
        write!(f, "p50 {p50:.1} ms, p95 {p95:.1} ms, p99 {p99:.1} ms ({count} times)")
    }
}

fn folder(prefix: &str, number: u64) -> Result<ImageName> {
    Ok(ImageName::new(format!("{prefix}{number:04}"))?)
}

/// `PREFIX0012/0012345.bmp`: the last part tells which picture it is, wherever it lies.
pub(crate) fn name(prefix: &str, number: u64) -> Result<ImageName> {
    Ok(ImageName::new(format!("{prefix}{:04}/{number:07}.bmp", number / PER_FOLDER))?)
}

pub(crate) fn bytes_of(name: &ImageName) -> Vec<u8> {
    let file = name.as_str().rsplit('/').next().unwrap_or_default();
    let number = file.trim_end_matches(".bmp").parse().unwrap_or_default();
    picture(number)
}

/// The application with its model up.
pub(crate) struct Running {
    app: Arc<App>,
    pub(crate) ingest: Arc<Ingest>,
    pictures_encoded: Arc<AtomicU64>,
    next_query: AtomicU64,
}

impl Running {
    async fn open(dir: &Path, source: &MemorySource) -> Result<Self> {
        let model = Synthetic::default();
        let pictures_encoded = model.pictures_encoded.clone();
        let id = ModelId { name: "synthetic".into(), revision: "1".into() };
        let running = Self::open_with(dir, source, Arc::new(model), id).await?;
        Ok(Self { pictures_encoded, ..running })
    }

    pub(crate) async fn open_with(
        dir: &Path,
        source: &MemorySource,
        model: Arc<dyn Encoder>,
        id: ModelId,
    ) -> Result<Self> {
        let flags = vec![
            ("data_dir", dir.display().to_string().into()),
            ("ingest.settle_ms", 0.into()),
            ("models.offline", true.into()),
            // A file for each of a million pictures of four pixels would measure the file system.
            ("thumbnails.while_indexing", false.into()),
            // The model takes no time, so what bounds the queue is how much is stored at once.
            ("ingest.in_flight_max", 256.into()),
            ("embed.batch_max", 32.into()),
        ];
        let config = Config::load(None, std::env::vars(), flags)?;
        let data_dir = DataDir::take(dir)?;
        let catalog = catalog::address::open(&config).await?;
        let (settings, installation) = (&config.vector_store, catalog.installation().await?);
        let store = address::open_at(&settings.url, settings, dir, &installation).await?;
        let sources: Vec<Arc<dyn Source>> = vec![Arc::new(source.clone())];
        let app = App::assemble(config, data_dir, catalog, store, sources)?;
        let load = move || Ok(model.clone());
        let config = &app.config;
        let low_priority = config.ingest.low_priority;
        let embedder =
            Embedder::start(load, id.clone(), "CLIP".into(), &config.embed, low_priority)?;
        let located = LocatedModel {
            dir: dir.to_owned(),
            id,
            display_name: "CLIP".into(),
            banner: None,
            runs_on_rten: true,
            traits: image_search::models::SearchTraits::default(),
        };
        let ingest = app.serving.adopt(located, Arc::new(embedder)).await?;
        Ok(Self { app, ingest, pictures_encoded: Arc::default(), next_query: AtomicU64::new(0) })
    }

    /// Over HTTP, on a port that the system chooses.
    pub(crate) async fn serve(&self) -> Result<Served> {
        let app = self.app.clone();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let stop = app.stop.child_token();
        let router = http::router(app.clone(), address.ip());
        let (config, connections) = (app.config.server.clone(), app.metrics.connections.clone());
        let stopped = stop.clone();
        let server = tokio::spawn(async move {
            http::server::serve(listener, router, &config, connections, stopped).await
        });
        Ok(Served { address, stop, server })
    }

    pub(crate) async fn counts(&self) -> Result<StateCounts> {
        Ok(self.app.catalog.counts().await?)
    }

    pub(crate) async fn until(&self, holds: impl Fn(&StateCounts) -> bool) -> Result<Duration> {
        let started = Instant::now();
        while !holds(&self.counts().await?) {
            tokio::time::sleep(POLL).await;
        }
        Ok(started.elapsed())
    }

    /// Until everything is scanned, indexed and tidied up.
    async fn until_idle(&self) -> Result<()> {
        while self.ingest.status(self.counts().await?.pending).state != IngestState::Idle {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// A search that was not made before, and what it found.
    async fn search(&self) -> Result<(Duration, u64, BTreeSet<ContentHash>)> {
        let query = self.next_query.fetch_add(1, Ordering::Relaxed);
        let window = Window { limit: LIMIT, offset: 0 };
        let started = Instant::now();
        let answer = self.app.searcher.search(Query::Text(query.to_string()), window).await?;
        let took = started.elapsed();
        Ok((took, query, answer.matches.into_iter().map(|found| found.hash).collect()))
    }

    /// What an exact search for a query finds.
    async fn truth(&self, query: u64) -> Result<(Duration, BTreeSet<ContentHash>)> {
        let state = self.app.serving.state();
        let now = state.answering().context("a model answers")?;
        let vector = now.embedder.embed_text(&query.to_string()).await?.to_vec();
        let wanted =
            SearchQuery { vector, limit: LIMIT as usize, filter: None, effort: Effort::Exact };
        let started = Instant::now();
        let hits = now.collection.search(wanted).await?;
        let took = started.elapsed();
        Ok((took, hits.iter().filter_map(|hit| payload::content_hash(&hit.payload)).collect()))
    }

    /// Time per picture (read, decode) and per batch (embed, store), on average.
    fn stages(&self) -> String {
        let metrics = self.app.metrics.encode();
        let value = |line: &str| {
            let line = metrics.lines().find_map(|known| known.strip_prefix(line));
            line.and_then(|value| value.trim().parse::<f64>().ok()).unwrap_or_default()
        };
        let mean = |stage: &str| {
            let of = |what: &str| {
                value(&format!("image_search_ingest_stage_seconds_{what}{{stage=\"{stage}\"}}"))
            };
            format!("{} {:.1}", stage.to_lowercase(), of("sum") * 1000.0 / of("count"))
        };
        ["Read", "Decode", "Embed", "Store"].map(mean).join(", ")
    }

    pub(crate) async fn close(self) -> Result<()> {
        self.app.stop.cancel();
        self.app.shut_down().await;
        let Self { app, ingest, .. } = self;
        drop(ingest);
        // Requests that were under way let go of it within a moment; the folder is free with the last handle.
        while Arc::strong_count(&app) > 1 {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

/// The running server of a library.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    server: JoinHandle<bool>,
}

impl Served {
    pub(crate) async fn stop(self) -> Result<()> {
        self.stop.cancel();
        anyhow::ensure!(self.server.await?, "connections had to be cut");
        Ok(())
    }
}

pub(crate) async fn measure(rows: u64) -> Result<()> {
    anyhow::ensure!(rows >= 4 * PER_FOLDER, "at least {} pictures", 4 * PER_FOLDER);
    // The same for every client in this process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let temporary = tempfile::tempdir()?;
    let kept = std::env::var_os("BENCH_DIR").map(std::path::PathBuf::from);
    let dir = kept.as_deref().unwrap_or(temporary.path());
    let (mut report, peak) = (Report::new(), Peak::watch());
    let source = MemorySource::new("memory", bytes_of);
    let before = Memory::now();
    let names = (0..rows).map(|number| name("", number)).collect::<Result<Vec<_>>>()?;
    source.fill(names, PICTURE_BYTES as u64);
    let own_mb = Memory::now().anonymous_mb.saturating_sub(before.anonymous_mb);
    report.add("of the memory below, the benchmark's own list of pictures", format!("{own_mb} MB"));

    let indexed = dir.with_extension(format!("{rows}-indexed"));
    if !indexed.exists() {
        let running = Running::open(dir, &source).await?;
        first_pass(&running, rows, &mut report, &peak).await?;
        running.close().await?;
        if kept.is_some() {
            std::fs::write(&indexed, "")?;
        }
    }
    report.add("on disk: catalog", format!("{} MB", disk_mb(dir) - disk_mb(&dir.join("vectors"))));
    report.add("on disk: vectors and index", format!("{} MB", disk_mb(&dir.join("vectors"))));

    let started = Instant::now();
    let running = Running::open(dir, &source).await?;
    running.search().await?;
    report.add(
        "restart, from opening to the first answer",
        format!("{:.0} ms", ms(started.elapsed())),
    );
    running.ingest.spawn();
    running.until_idle().await?;
    report.add("second scan", format!("{:.1} s", running.app.metrics.scan_seconds.get()));
    report.add("memory after the restart", Memory::now().to_string());

    let idle = searches(&running, &mut report).await?;
    deep_pages(&running, &mut report).await?;
    idle_cost(&running, &mut report).await?;
    near_duplicates(&running, &mut report).await?;
    if kept.is_some() {
        return running.close().await;
    }
    while_indexing(&running, &source, rows, &idle, &mut report).await?;
    changes(&running, &source, rows, &mut report).await?;
    report.add("most memory while serving", peak.take().to_string());
    running.close().await?;
    report.print_table(rows);
    Ok(())
}

/// What `image-search index` does: scan, index, build the index of the vectors.
async fn first_pass(running: &Running, rows: u64, report: &mut Report, peak: &Peak) -> Result<()> {
    let ingest = running.ingest.clone();
    let pass = tokio::spawn(async move { ingest.run_once().await });
    let scan = running.until(|counts| counts.pending + counts.indexed == rows).await?;
    let rate = per_second(rows, scan);
    report.add("first scan", format!("{:.1} s ({rate:.0} pictures/s)", scan.as_secs_f64()));

    let (started, mut samples) = (Instant::now(), Vec::new());
    loop {
        let counts = running.counts().await?;
        samples.push((started.elapsed(), counts.indexed));
        if counts.pending == 0 || pass.is_finished() {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    let took = started.elapsed();
    let rate = |from: u64, to: u64| rate_between(&samples, rows * from / 100, rows * to / 100);
    report.add("queue, the first 5 % of it", format!("{:.0} pictures/s", rate(1, 6)));
    report.add("queue, the last 5 % of it", format!("{:.0} pictures/s", rate(94, 99)));
    let all = per_second(rows, took);
    report.add("indexed", format!("{:.1} s ({all:.0} pictures/s)", took.as_secs_f64()));
    report.add(
        "mean milliseconds (read, decode: of a picture; embed, store: of a batch)",
        running.stages(),
    );
    report.add("most memory while indexing", peak.take().to_string());

    let (started, mut times) = (Instant::now(), Vec::new());
    while !pass.is_finished() {
        if times.len() < SEARCHES_WHILE_BUILDING {
            times.push(running.search().await?.0);
        }
        let next = tokio::time::sleep(SEARCH_PAUSE);
        tokio::pin!(next);
        while !pass.is_finished() && !next.is_elapsed() {
            tokio::time::sleep(POLL).await;
        }
    }
    pass.await??;
    report.add("index of the vectors built", format!("{:.1} s", started.elapsed().as_secs_f64()));
    report.add("search while it is built, no vector indexed yet", Times::from(times).to_string());
    report.add("most memory while it is built", peak.take().to_string());
    Ok(())
}

/// Pictures a second between two numbers of indexed ones.
fn rate_between(samples: &[(Duration, u64)], from: u64, to: u64) -> f64 {
    let at = |count: u64| samples.iter().find(|(_, indexed)| *indexed >= count).copied();
    match (at(from), at(to)) {
        (Some((start, first)), Some((end, last))) if end > start => {
            per_second(last - first, end.saturating_sub(start))
        }
        _ => 0.0,
    }
}

/// Searches one after the other, each for something new, and compares them with exact ones.
async fn searches(running: &Running, report: &mut Report) -> Result<Times> {
    let (mut times, mut found) = (Vec::new(), Vec::new());
    for _ in 0..SEARCHES {
        let (took, query, hashes) = running.search().await?;
        times.push(took);
        found.push((query, hashes));
    }
    let (mut right, mut wanted, mut exact_times) = (0, 0, Vec::new());
    for (query, hashes) in found {
        let (took, truth) = running.truth(query).await?;
        exact_times.push(took);
        right += hashes.intersection(&truth).count();
        wanted += truth.len();
    }
    let idle = Times::from(times);
    report.add("search, without the model's time", idle.to_string());
    report.add("recall@10", format!("{:.4}", right as f64 / wanted as f64));
    report.add("exact search of the same, in the store", Times::from(exact_times).to_string());
    Ok(idle)
}

/// Pages of one search, along its cursor to the end.
async fn deep_pages(running: &Running, report: &mut Report) -> Result<()> {
    let window = Window { limit: PAGE, offset: 0 };
    let mut options = SearchOptions { paging: Paging::FirstPage, ..SearchOptions::default() };
    let mut times = Vec::new();
    loop {
        let query = Query::Text("0".to_owned());
        let started = Instant::now();
        let answer = running.app.searcher.search_with(query, window, options.clone()).await?;
        times.push(started.elapsed());
        let Some(next) = answer.next else { break };
        options.paging = Paging::After(next);
    }
    let last = times.split_off(times.len().saturating_sub(10));
    times.truncate(10);
    let what = |which: &str| format!("{which} ten pages of {PAGE} matches, along a cursor");
    report.add(&what("first"), Times::from(times).to_string());
    report.add(&what("last"), Times::from(last).to_string());
    Ok(())
}

/// What `image-search duplicates` does with the vectors.
async fn near_duplicates(running: &Running, report: &mut Report) -> Result<()> {
    let state = running.app.serving.state();
    let now = state.answering().context("a model answers")?;
    let nearness = running.app.searcher.nearness(now);
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    let started = Instant::now();
    let found = groups(&*now.collection, nearness, at_once, &mut |_| {}).await?;
    let seconds = started.elapsed().as_secs_f64();
    report.add("near-duplicates of all", format!("{} groups in {seconds:.0} s", found.len()));
    Ok(())
}

/// Processor time while nothing happens and one page is open.
async fn idle_cost(running: &Running, report: &mut Report) -> Result<()> {
    let served = running.serve().await?;
    let mut events = reqwest::get(format!("http://{}/api/v1/events", served.address)).await?;
    events.chunk().await?.context("a first event")?;
    let listening = tokio::spawn(async move { while let Ok(Some(_)) = events.chunk().await {} });
    running.until_idle().await?;
    let (started, before) = (Instant::now(), cpu_seconds());
    tokio::time::sleep(IDLE_MEASURED).await;
    let percent = (cpu_seconds() - before) / started.elapsed().as_secs_f64() * 100.0;
    report.add("idle, one page open", format!("{percent:.2} % of a core"));
    listening.abort();
    served.stop().await
}

/// Searches while new pictures are indexed as fast as they can be.
async fn while_indexing(
    running: &Running,
    source: &MemorySource,
    rows: u64,
    idle: &Times,
    report: &mut Report,
) -> Result<()> {
    let new = (rows / NEW_FRACTION).max(NEW_MIN);
    let goal = running.counts().await?.indexed + new;
    let names =
        (rows..rows + new).map(|number| name("new-", number)).collect::<Result<Vec<_>>>()?;
    source.fill(names, PICTURE_BYTES as u64);
    let started = Instant::now();
    for number in rows / PER_FOLDER..(rows + new).div_ceil(PER_FOLDER) {
        source.hint(Scope::Under(folder("new-", number)?));
    }
    let noticed = running.until(|counts| counts.pending > 0).await?;
    let mut times = Vec::new();
    loop {
        let (took, ..) = running.search().await?;
        if running.counts().await?.indexed >= goal {
            break;
        }
        times.push(took);
    }
    let rate = per_second(new, started.elapsed());
    report.add(&format!("{new} new pictures: noticed"), format!("within {:.0} ms", ms(noticed)));
    let times = Times::from(times);
    let ratio = times.percentile(95) / idle.percentile(95);
    let value =
        format!("{times}, p95 {ratio:.2} times the idle one; indexed at {rate:.0} pictures/s");
    report.add("search while they are indexed", value);
    running.until_idle().await
}

/// Renames and deletes, as a watcher tells them.
async fn changes(
    running: &Running,
    source: &MemorySource,
    rows: u64,
    report: &mut Report,
) -> Result<()> {
    let folders = (RENAMES.min(rows / 2)) / PER_FOLDER;
    let encoded = running.pictures_encoded.load(Ordering::Relaxed);
    let indexed = running.counts().await?.indexed;
    let moved = folders * PER_FOLDER;
    for number in 0..folders {
        source.move_folder(&folder("", number)?, &folder("moved-", number)?);
    }
    let is_moved = |counts: &StateCounts| {
        (counts.pending, counts.missing, counts.indexed) == (0, moved, indexed)
    };
    let took = running.until(is_moved).await?;
    let again = running.pictures_encoded.load(Ordering::Relaxed) - encoded;
    let value = format!("{:.1} s, {again} of them embedded again", took.as_secs_f64());
    report.add(&format!("{moved} renames"), value);

    let (deletes, before) = (DELETES / PER_FOLDER, running.counts().await?);
    for number in folders..folders + deletes {
        source.remove_folder(&folder("", number)?);
    }
    let gone = deletes * PER_FOLDER;
    let took = running.until(|counts| counts.missing == before.missing + gone).await?;
    report.add(&format!("{gone} deletes"), format!("hidden within {:.0} ms", ms(took)));
    running.until_idle().await
}
