//! The conformance suite over the embedded store, and what only the embedded store promises: one process, crash safety
//! (the test starts itself as a child and kills it), bounded logs, damaged collections that can be set aside.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::directory::{Directory, while_held};
use super::journal::{Change, Journal};
use super::shard::{FLUSH_DEADLINE, JOURNAL_FILE, SHARD_DIR};
use super::{EmbeddedOptions, EmbeddedStore};
use crate::config::built_in;
use crate::vector_store::conformance::{
    Outcome, Subject, assert_same, id, point, scroll_all, spec, vector,
};
use crate::vector_store::{Collection, Effort, Point, SearchQuery, StoreError, VectorStore};

pub(crate) struct Embedded(TempDir);

/// Small thresholds, so that a few hundred points already make the engine build, merge and compact.
fn eager() -> EmbeddedOptions {
    EmbeddedOptions {
        index_from_vectors: 200,
        full_scan_vectors: 100,
        compact_from_vectors: 100,
        disk_reserve_mib: 0,
        ..built_in().vector_store.embedded
    }
}

fn temp_dir() -> Result<TempDir, StoreError> {
    tempfile::tempdir().map_err(|error| StoreError::Internal(error.to_string()))
}

impl Subject for Embedded {
    async fn start() -> Result<Option<Self>, StoreError> {
        Ok(Some(Self(temp_dir()?)))
    }

    async fn open(&self) -> Result<Box<dyn VectorStore>, StoreError> {
        Ok(Box::new(EmbeddedStore::open(
            &self.0.path().join("vectors"),
            built_in().vector_store.embedded,
        )?))
    }
}

/// The same with index building from the first few hundred points on.
struct Eager(TempDir);

impl Subject for Eager {
    async fn start() -> Result<Option<Self>, StoreError> {
        Ok(Some(Self(temp_dir()?)))
    }

    async fn open(&self) -> Result<Box<dyn VectorStore>, StoreError> {
        Ok(Box::new(EmbeddedStore::open(self.0.path(), eager())?))
    }
}

mod conformance {
    crate::vector_store::conformance::conformance_tests!(super::Embedded);
}

mod conformance_with_early_indexes {
    crate::vector_store::conformance::conformance_tests!(super::Eager);
}

const DIM: usize = 16;

fn tree(dir: &Path) -> Result<Vec<(PathBuf, u64)>, StoreError> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(dir) {
        let entry = entry.map_err(|error| StoreError::Internal(error.to_string()))?;
        let metadata = entry.metadata().map_err(|error| StoreError::Internal(error.to_string()))?;
        files.push((entry.into_path(), metadata.len()));
    }
    Ok(files)
}

#[tokio::test]
async fn a_second_store_on_the_same_directory_is_refused_until_the_first_is_gone() -> Outcome {
    let dir = temp_dir()?;
    let first = EmbeddedStore::open(dir.path(), eager())?;
    let collection = first.open(&spec("one", DIM)).await?;
    let refused = EmbeddedStore::open(dir.path(), eager()).err();
    assert!(
        matches!(&refused, Some(StoreError::Locked { path }) if Path::new(path) == dir.path()),
        "{refused:?}"
    );
    drop(first);
    assert!(EmbeddedStore::open(dir.path(), eager()).is_err(), "a collection of it is still open");
    drop(collection);
    EmbeddedStore::open(dir.path(), eager())?;
    Ok(())
}

/// One cluster, as crowded as that of a large library.
#[tokio::test]
async fn a_larger_collection_is_searched_with_more_candidates() -> Outcome {
    let recall = async |per_million: usize| -> Result<usize, StoreError> {
        let dir = temp_dir()?;
        let options = EmbeddedOptions {
            hnsw_ef_construct: 32,
            ef_search: 1,
            ef_search_per_million: per_million,
            ..eager()
        };
        let store = EmbeddedStore::open(dir.path(), options)?;
        let collection = store.open(&spec("crowded", 64)).await?;
        for first in (0..4000).step_by(500) {
            let points = (first..first + 500).map(|number| point(number, 64)).collect();
            collection.upsert(points).await?;
        }
        while collection.maintain(false).await? {}
        let mut found = 0;
        for number in 0..50 {
            let vector = vector(1_000_000 + number, 64);
            let query = SearchQuery { vector, limit: 10, filter: None, effort: Effort::Usual };
            let hits = collection.search(query.clone()).await?;
            let truth = collection.search(SearchQuery { effort: Effort::Exact, ..query }).await?;
            found += hits.iter().filter(|hit| truth.iter().any(|best| best.id == hit.id)).count();
        }
        store.close().await?;
        Ok(found)
    };
    let (same, more) = (recall(0).await?, recall(100_000).await?);
    assert!(more > 490 && same < 450, "{same} and {more} of 500 were found");
    Ok(())
}

#[tokio::test]
async fn other_indexed_fields_reopen_the_collection() -> Outcome {
    let dir = temp_dir()?;
    let store = EmbeddedStore::open(dir.path(), eager())?;
    let mut fields = spec("fields", DIM);
    fields.indexed_fields.truncate(1);
    let before = store.open(&fields).await?;
    before.upsert(vec![point(1, DIM)]).await?;
    let after = store.open(&spec("fields", DIM)).await?;
    assert_eq!(after.count(None).await?, 1);
    assert_eq!(after.spec(), &spec("fields", DIM));
    assert!(
        matches!(before.count(None).await, Err(StoreError::Unavailable(_))),
        "the old handle says that it is closed"
    );
    store.close().await
}

/// Locks it for 50 ms, as a child does that was started just before it was closed: it has a copy of the open file.
fn hold_for_a_moment(path: &Path) -> Result<thread::JoinHandle<()>, StoreError> {
    let failed = |error: std::io::Error| StoreError::Internal(error.to_string());
    let file = fs::File::open(path).map_err(failed)?;
    while_held(|_: &std::io::Error| true, || Ok(file.try_lock()?)).map_err(failed)?;
    Ok(thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        drop(file);
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_a_starting_child_still_holds_is_waited_for() -> Outcome {
    let dir = temp_dir()?;
    let store = EmbeddedStore::open(dir.path(), eager())?;
    let collection = store.open(&spec("held", DIM)).await?;
    collection.upsert(vec![point(1, DIM)]).await?;
    store.close().await?;
    drop((collection, store));
    let directory = hold_for_a_moment(&dir.path().join("LOCK"))?;
    let store = EmbeddedStore::open(dir.path(), eager())?;
    let log = hold_for_a_moment(&dir.path().join("held").join(SHARD_DIR).join("wal"))?;
    assert_eq!(store.open(&spec("held", DIM)).await?.count(None).await?, 1);
    for holder in [directory, log] {
        holder.join().map_err(|_| StoreError::Internal("a holder failed".to_owned()))?;
    }
    store.close().await
}

#[tokio::test]
async fn a_half_created_collection_is_created_anew() -> Outcome {
    let dir = temp_dir()?;
    let store = EmbeddedStore::open(dir.path(), eager())?;
    let half = dir.path().join("half").join(SHARD_DIR);
    fs::create_dir_all(half.join("segments").join("rubbish"))
        .map_err(|error| StoreError::Internal(error.to_string()))?;
    assert_eq!(store.list().await?, Vec::<String>::new());
    let collection = store.open(&spec("half", DIM)).await?;
    collection.upsert(vec![point(1, DIM)]).await?;
    assert_eq!(store.list().await?, ["half"]);
    store.close().await
}

#[tokio::test]
async fn who_asks_for_a_collection_may_go_away_while_it_is_opened() -> Outcome {
    let dir = temp_dir()?;
    let store = EmbeddedStore::open(dir.path(), eager())?;
    let spec = spec("c", DIM);
    for _ in 0..20 {
        let gone = tokio::time::timeout(Duration::ZERO, store.open(&spec)).await;
        assert!(gone.is_err(), "opening takes longer than nothing");
        store.open(&spec).await?;
        store.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn leftovers_of_index_building_are_removed() -> Outcome {
    let dir = temp_dir()?;
    let name = "leftovers";
    let shard = dir.path().join(name).join(SHARD_DIR);
    {
        let store = EmbeddedStore::open(dir.path(), eager())?;
        store.open(&spec(name, DIM)).await?.upsert(vec![point(1, DIM)]).await?;
        store.close().await?;
    }
    let segment = "5345474d-454e-54f0-9f98-ba206e616d65";
    for leftover in
        [shard.join("temp_segments").join(segment), shard.join("segments").join(segment)]
    {
        let write = fs::create_dir_all(&leftover)
            .and_then(|()| fs::write(leftover.join("vectors"), "half"));
        write.map_err(|error| StoreError::Internal(error.to_string()))?;
    }
    let store = EmbeddedStore::open(dir.path(), eager())?;
    let collection = store.open(&spec(name, DIM)).await?;
    assert_eq!(collection.count(None).await?, 1);
    assert!(!tree(&shard)?.iter().any(|(path, _)| path.to_string_lossy().contains(segment)));
    store.close().await
}

#[tokio::test]
async fn a_damaged_collection_names_its_directory_and_can_be_set_aside() -> Outcome {
    let dir = temp_dir()?;
    let name = "broken";
    {
        let store = EmbeddedStore::open(dir.path(), eager())?;
        let collection = store.open(&spec(name, DIM)).await?;
        collection.upsert((0..10).map(|number| point(number, DIM)).collect()).await?;
        store.close().await?;
    }
    for (path, _) in tree(&dir.path().join(name).join(SHARD_DIR))? {
        if path.file_name().is_some_and(|file| file == "segment.json") {
            fs::write(path, "{").map_err(|error| StoreError::Internal(error.to_string()))?;
        }
    }
    let store = EmbeddedStore::open(dir.path(), eager())?;
    store.activate(name).await?;
    let error = store.open(&spec(name, DIM)).await.err();
    let path = dir.path().join(name).display().to_string();
    assert!(
        matches!(&error, Some(StoreError::Damaged { path: named, .. }) if *named == path),
        "{error:?}"
    );
    let aside = store.set_aside(name).await?;
    assert!(aside.starts_with(&format!("{path}.broken-")) && Path::new(&aside).is_dir(), "{aside}");
    assert_eq!(store.list().await?, Vec::<String>::new());
    let collection = store.open(&spec(name, DIM)).await?;
    assert_eq!(collection.count(None).await?, 0);
    assert_eq!(store.active().await?.as_deref(), Some(name), "the rebuilt one takes its place");
    store.close().await
}

#[tokio::test]
async fn a_full_disk_is_refused_before_anything_is_written() -> Outcome {
    let dir = temp_dir()?;
    let options = EmbeddedOptions { disk_reserve_mib: 1 << 40, ..eager() };
    let store = EmbeddedStore::open(dir.path(), options)?;
    let collection = store.open(&spec("full", DIM)).await?;
    let refused = collection.upsert(vec![point(1, DIM)]).await;
    assert!(
        matches!(&refused, Err(StoreError::Refused(text)) if text.contains("free")),
        "{refused:?}"
    );
    assert_eq!(collection.count(None).await?, 0, "reading goes on");
    assert!(store.health().await.is_err());
    store.close().await
}

#[tokio::test]
async fn the_engines_log_stays_small() -> Outcome {
    let dir = temp_dir()?;
    let (dim, batch) = (256, 500);
    let store = EmbeddedStore::open(dir.path(), eager())?;
    let collection = store.open(&spec("log", dim)).await?;
    let wal = dir.path().join("log").join(SHARD_DIR).join("wal");
    for start in (0..10_000).step_by(batch as usize) {
        collection
            .upsert((start..start + batch).map(|number| point(number, dim)).collect())
            .await?;
        collection.flush().await?;
        let bytes: u64 = tree(&wal)?.iter().map(|(_, bytes)| bytes).sum();
        assert!(bytes <= 16 << 20, "the log has {bytes} bytes after {start} points");
    }
    store.close().await?;
    drop((collection, store));
    let store = EmbeddedStore::open(dir.path(), eager())?;
    let collection = store.open(&spec("log", dim)).await?;
    assert_eq!(collection.count(None).await?, 10_000);
    // Operations are numbered on from the shortened log: a lower number than the points have would be ignored.
    let changed = Point { id: id(7), ..point(20_007, dim) };
    collection.upsert(vec![changed.clone()]).await?;
    assert_same(&collection.get(&[id(7)]).await?[0], &changed);
    store.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_flushes_and_searches_go_on_while_indexes_are_built() -> Outcome {
    let dir = temp_dir()?;
    let store = EmbeddedStore::open(dir.path(), eager())?;
    let collection = store.open(&spec("busy", DIM)).await?;
    collection.upsert((0..3000).map(|number| point(number, DIM)).collect()).await?;
    let building = {
        let collection = Arc::clone(&collection);
        tokio::spawn(async move {
            // Not until there is nothing to do: with a writer beside it, that may never be.
            let mut rounds = 0;
            while rounds < 3 && collection.maintain(false).await? {
                rounds += 1;
            }
            Ok::<i32, StoreError>(rounds)
        })
    };
    let mut number = 3000;
    while !building.is_finished() || number < 3500 {
        collection.upsert(vec![point(number, DIM)]).await?;
        collection.delete(&[id(number - 3000)]).await?;
        collection.flush().await?;
        let hits = collection
            .search(SearchQuery {
                vector: vector(number, DIM),
                limit: 1,
                filter: None,
                effort: Effort::Exact,
            })
            .await?;
        assert_eq!(hits[0].id, id(number), "found at once");
        number += 1;
    }
    let rounds = building.await.map_err(|error| StoreError::Internal(error.to_string()))??;
    assert!(rounds >= 1);
    while collection.maintain(false).await? {}
    assert_eq!(collection.count(None).await?, 3000);
    assert!(
        !dir.path().join("busy").join(JOURNAL_FILE).exists(),
        "the journal ends with the building"
    );
    store.close().await
}

const CHILD_DIR: &str = "IMAGE_SEARCH_TEST_STORE_DIR";
const CHILD_FROM: &str = "IMAGE_SEARCH_TEST_FIRST_BATCH";
const CHILD_TEST: &str = "vector_store::embedded::tests::child_that_writes_until_it_is_killed";
const CHILD_BATCH: u64 = 40;

/// Not a test by itself: the process that the test below kills. Writes batch after batch, each with deletions and
/// overwrites, with indexes being built all the time, and says which batch is durable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_writes_until_it_is_killed() -> Outcome {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return Ok(()) };
    let store = EmbeddedStore::open(Path::new(&dir), eager())?;
    let collection = store.open(&spec("killed", DIM)).await?;
    let building = Arc::clone(&collection);
    tokio::spawn(async move { while building.maintain(false).await.is_ok() {} });
    let mut batch = std::env::var(CHILD_FROM).ok().and_then(|from| from.parse().ok()).unwrap_or(0);
    loop {
        write_batch(&*collection, batch).await?;
        collection.flush().await?;
        let mut stdout = std::io::stdout();
        let said = writeln!(stdout, "durable {batch}").and_then(|()| stdout.flush());
        said.map_err(|error| StoreError::Internal(error.to_string()))?;
        batch += 1;
    }
}

/// Adds points, stores some old ones again, deletes the first of its own and the second of an old batch, which the
/// engine has put into another segment by then.
async fn write_batch(collection: &dyn Collection, batch: u64) -> Outcome {
    let start = batch * CHILD_BATCH;
    collection
        .upsert((start..start + CHILD_BATCH).map(|number| point(number, DIM)).collect())
        .await?;
    let again =
        (start / 3..start / 3 + 10).filter(|number| *number < start && number % CHILD_BATCH > 1);
    collection.upsert(again.map(|number| point(number, DIM)).collect()).await?;
    collection.delete(&[id(start), id(batch / 2 * CHILD_BATCH + 1)]).await
}

/// Whether the point is there when batch `last` is the last durable one; `None`: the next batch may have deleted it.
fn is_there(number: u64, last: u64) -> Option<bool> {
    let batch = number / CHILD_BATCH;
    match number % CHILD_BATCH {
        0 => Some(false),
        1 if batch <= last / 2 => Some(false),
        1 if batch == last.div_ceil(2) => None,
        _ => Some(true),
    }
}

struct Killed {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Killed {
    fn start(dir: &Path, from: u64) -> std::io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--exact", CHILD_TEST, "--nocapture", "--test-threads=1"])
            .env(CHILD_DIR, dir)
            .env(CHILD_FROM, from.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| std::io::Error::other("no stdout"))?;
        Ok(Self { child, lines: BufReader::new(stdout).lines() })
    }

    /// Lets it make `batches` more batches durable, kills it, and returns the last batch that it called durable.
    fn kill_after(mut self, batches: usize) -> std::io::Result<Option<u64>> {
        let durable = |line: String| line.rsplit_once("durable ")?.1.parse::<u64>().ok();
        let mut last = None;
        let mut lines = self.lines.by_ref().map_while(Result::ok).filter_map(durable);
        for _ in 0..batches {
            last = lines.next().or(last);
        }
        self.child.kill()?;
        last = lines.last().or(last);
        self.child.wait()?;
        Ok(last)
    }
}

/// Every batch up to `last` is there as written; the next one may be there in part.
async fn assert_durable(collection: &dyn Collection, last: u64) -> Outcome {
    let all = scroll_all(collection, 1000).await?;
    assert_eq!(
        collection.count(None).await?,
        all.len() as u64,
        "points are counted as often as they are found"
    );
    let found: BTreeMap<u64, Point> =
        all.into_iter().map(|point| (point.id.as_u128() as u64, point)).collect();
    for number in 0..(last + 1) * CHILD_BATCH {
        let Some(expected) = is_there(number, last) else { continue };
        assert_eq!(found.contains_key(&number), expected, "point {number} after batch {last}");
    }
    for (number, found) in &found {
        assert_same(found, &point(*number, DIM));
    }
    Ok(())
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_was_flushed() -> Outcome {
    let dir = temp_dir()?;
    let failed = |error: std::io::Error| StoreError::Internal(error.to_string());
    let mut from = 0;
    for round in 0..8 {
        // The number of batches differs, so that the kill comes at different moments of index building.
        let last = Killed::start(dir.path(), from)
            .and_then(|child| child.kill_after(3 + round * 4))
            .map_err(failed)?;
        let last =
            last.ok_or_else(|| StoreError::Internal("the child made nothing durable".to_owned()))?;
        let store = EmbeddedStore::open(dir.path(), eager())?;
        let collection = store.open(&spec("killed", DIM)).await?;
        assert_durable(&*collection, last).await?;
        store.close().await?;
        from = last + 1;
    }
    Ok(())
}

async fn filled(dir: &Path, name: &str, count: u64) -> Outcome {
    let store = EmbeddedStore::open(dir, eager())?;
    let collection = store.open(&spec(name, DIM)).await?;
    collection.upsert((0..count).map(|number| point(number, DIM)).collect()).await?;
    while collection.maintain(false).await? {}
    store.close().await
}

#[tokio::test]
async fn the_journal_of_interrupted_index_building_is_replayed() -> Outcome {
    let dir = temp_dir()?;
    filled(dir.path(), "journal", 500).await?;
    let path = dir.path().join("journal").join(JOURNAL_FILE);
    let mut journal = Journal::start(&path)?;
    journal.append(Change::Deleted, &[id(1), id(2), id(3), id(999)])?;
    journal.append(Change::Upserted, &[id(3), id(4), id(998)])?;
    drop(journal);
    let store = EmbeddedStore::open(dir.path(), eager())?;
    let collection = store.open(&spec("journal", DIM)).await?;
    assert_eq!(collection.count(None).await?, 498);
    assert_eq!(collection.get(&[id(1), id(2)]).await?, []);
    assert_same(&collection.get(&[id(3)]).await?[0], &point(3, DIM));
    assert!(!path.exists());
    store.close().await
}

/// As a crash leaves it between adding the new segment and removing the old one.
#[tokio::test]
async fn points_in_an_old_and_a_new_segment_are_rewritten_once() -> Outcome {
    let dir = temp_dir()?;
    filled(dir.path(), "doubled", 500).await?;
    let collection = dir.path().join("doubled");
    let segments = collection.join(SHARD_DIR).join("segments");
    let failed = |error: std::io::Error| StoreError::Internal(error.to_string());
    for entry in fs::read_dir(&segments).map_err(failed)? {
        let from = entry.map_err(failed)?.path();
        let to = segments.join(uuid::Uuid::new_v4().to_string());
        for (file, _) in tree(&from)? {
            let target = to.join(file.strip_prefix(&from).unwrap_or(&file));
            if file.is_dir() {
                fs::create_dir_all(target).map_err(failed)?;
            } else {
                fs::copy(&file, target).map_err(failed)?;
            }
        }
    }
    drop(Journal::start(&collection.join(JOURNAL_FILE))?);
    for _ in 0..2 {
        let store = EmbeddedStore::open(dir.path(), eager())?;
        let collection = store.open(&spec("doubled", DIM)).await?;
        assert_eq!(collection.count(None).await?, 500);
        assert_eq!(scroll_all(&*collection, 99).await?.len(), 500);
        collection.upsert(vec![point(7, DIM)]).await?;
        collection.delete(&[id(8)]).await?;
        assert_eq!(collection.count(None).await?, 499);
        collection.upsert(vec![point(8, DIM)]).await?;
        store.close().await?;
    }
    assert!(
        !collection.join("rewritten").exists() && !collection.join("rewritten.complete").exists()
    );
    Ok(())
}

#[tokio::test]
async fn a_rewriting_goes_on_where_a_crash_left_it() -> Outcome {
    let dir = temp_dir()?;
    let failed = |error: std::io::Error| StoreError::Internal(error.to_string());
    for (name, complete) in [("before", false), ("after", true)] {
        filled(dir.path(), name, 50).await?;
        let collection = dir.path().join(name);
        let (shard, rewritten) = (collection.join(SHARD_DIR), collection.join("rewritten"));
        if complete {
            fs::rename(&shard, &rewritten).map_err(failed)?;
            fs::write(collection.join("rewritten.complete"), "").map_err(failed)?;
        } else {
            fs::create_dir_all(rewritten.join("segments")).map_err(failed)?;
        }
        let store = EmbeddedStore::open(dir.path(), eager())?;
        assert_eq!(store.open(&spec(name, DIM)).await?.count(None).await?, 50);
        assert!(!rewritten.exists());
        store.close().await?;
    }
    Ok(())
}

#[test]
fn the_lock_file_does_not_outlive_its_owner() -> Outcome {
    let dir = temp_dir()?;
    drop(Directory::lock(dir.path())?);
    drop(Directory::lock(dir.path())?);
    Ok(())
}

/// What the disk refuses is not asked of it again and again, with the writers waiting; and it passes with its cause.
#[tokio::test]
async fn a_flush_that_the_disk_refuses_fails_at_once_and_works_again_later() -> Outcome {
    let dir = temp_dir()?;
    let store = EmbeddedStore::open(dir.path(), eager())?;
    let collection = store.open(&spec("a", 8)).await?;
    collection.upsert(vec![point(1, 8)]).await?;
    let segments = dir.path().join("a").join(SHARD_DIR).join("segments");
    let states: Vec<PathBuf> = fs::read_dir(&segments)
        .expect("segments")
        .map(|segment| segment.expect("a segment").path().join("segment.json"))
        .collect();
    // A folder that is not empty cannot be replaced by a file.
    for state in &states {
        fs::rename(state, state.with_extension("kept")).expect("renamed");
        fs::create_dir_all(state.join("in the way")).expect("mkdir");
    }
    let begin = Instant::now();
    let refused = collection.flush().await.expect_err("there is no way to write");
    assert!(begin.elapsed() < FLUSH_DEADLINE, "it was tried until the deadline");
    let said = refused.to_string();
    assert!(said.contains("cannot be flushed") && !said.contains("backtrace"), "{said}");
    for state in &states {
        fs::remove_dir_all(state).expect("removed");
        fs::rename(state.with_extension("kept"), state).expect("renamed");
    }
    collection.flush().await?;
    assert_eq!(collection.count(None).await?, 1);
    Ok(())
}
