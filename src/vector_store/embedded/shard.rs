//! One collection on disk: a shard of Qdrant's engine and what the engine leaves to us. All of it is synchronous.
//! `qdrant-edge` 0.7 writes a log but never replays or shortens it, keeps deletions of the time of index building in
//! memory only, and panics in `flush` where it could wait; the answers to that are in this file and in `recovery`.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use qdrant_edge as edge;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::directory::{io_error, remove_tree, sync_directory_of, while_held, write_atomically};
use super::journal::{Change, Journal};
use super::{EmbeddedOptions, convert, wal, warm};
use crate::disk_space::free_bytes;
use crate::priority::lower_priority;
use crate::vector_store::ranking::{Candidates, FilteredSearch, TIES_MAX, cuts_a_tie, ranked};
use crate::vector_store::{
    CollectionSpec, Effort, Marker, Point, PointFilter, ScoredPoint, SearchQuery, StoreError,
};

/// What makes a directory a collection; written last, so that half-created ones are recognised.
pub(super) const MANIFEST_FILE: &str = "collection.json";
/// Whose it is and how far it was written, beside what makes it a collection.
const MARKER_FILE: &str = "marker.json";
pub(super) const JOURNAL_FILE: &str = "maintenance.journal";
pub(super) const SHARD_DIR: &str = "shard";
/// Points in one engine operation, and so in one record of its log.
const POINTS_PER_OPERATION: usize = 256;
pub(super) const FLUSH_DEADLINE: Duration = Duration::from_secs(30);
/// How the engine's panic begins when it could not have a lock at once: the only one that passes by itself.
const SEGMENTS_BEING_SWAPPED: &str = "segment holder lock acquired";

/// In the engine's error when another has its log open.
const LOG_IS_LOCKED: &str = "WouldBlock";

/// What is known of a collection without opening it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Of the directory, not of the engine's files.
    pub(super) format: u32,
    pub(super) engine: String,
    pub(super) dim: usize,
}

impl Manifest {
    /// `None` if the directory is no (completely created) collection.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = dir.join(MANIFEST_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("read", &path, &error)),
        };
        let damaged = |error: serde_json::Error| StoreError::Damaged {
            path: dir.display().to_string(),
            reason: format!("{MANIFEST_FILE}: {error}"),
        };
        serde_json::from_str(&text).map(Some).map_err(damaged)
    }
}

/// The marker of the collection in `dir`.
pub(super) fn read_marker(dir: &Path) -> Result<Option<Marker>, StoreError> {
    let path = dir.join(MARKER_FILE);
    match fs::read(&path) {
        // One that cannot be read is no marker: the ids are compared then, as for a collection of an older version.
        Ok(json) => Ok(serde_json::from_slice(&json).ok()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io_error("read", &path, &error))
        }
        Err(_) if Manifest::read(dir)?.is_some() => Ok(None),
        Err(_) => {
            let name = dir.file_name().unwrap_or_default().to_string_lossy();
            Err(StoreError::NoSuchCollection(name.into_owned()))
        }
    }
}

/// An open shard. Dropping it flushes.
pub(super) struct Shard {
    /// Always `Some` until dropped: the engine's own drop can panic and has to be caught.
    edge: Option<edge::EdgeShard>,
    pub(super) dir: PathBuf,
    options: EmbeddedOptions,
    dim: usize,
    /// Open while indexes are being built.
    journal: Mutex<Option<Journal>>,
    /// A marker that is not written yet.
    new_marker: Mutex<Option<Marker>>,
    upserted_since_attempt: AtomicUsize,
    deleted_since_attempt: AtomicUsize,
    /// Whether this process has asked the engine for optimisations yet: what the last one left is unknown.
    attempted: AtomicBool,
    /// Whoever reads ahead looks whether it is still there.
    is_open: Arc<()>,
}

impl Shard {
    /// Creates the collection in `dir`, complete or, after a crash, not at all.
    pub(super) fn create(
        dir: &Path,
        spec: &CollectionSpec,
        options: &EmbeddedOptions,
    ) -> Result<Self, StoreError> {
        remove_tree(dir)?;
        let edge = create_edge(&dir.join(SHARD_DIR), spec, options)?;
        let shard = Self::wrap(edge, dir, spec, options);
        shard.flush()?;
        let manifest = Manifest { format: 1, engine: "qdrant-edge 0.7".to_owned(), dim: spec.dim };
        let json = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| StoreError::Internal(error.to_string()))?;
        write_atomically(&dir.join(MANIFEST_FILE), &json)?;
        sync_directory_of(dir).map_err(|error| io_error("sync the directory of", dir, &error))?;
        Ok(shard)
    }

    /// Opens an existing collection as it is; `recovery` puts right what a crash may have left.
    pub(super) fn load(
        dir: &Path,
        spec: &CollectionSpec,
        options: &EmbeddedOptions,
    ) -> Result<Self, StoreError> {
        let edge = load_edge(dir, spec, options)?;
        let shard = Self::wrap(edge, dir, spec, options);
        create_indexes(shard.edge()?, spec)?;
        Ok(shard)
    }

    /// Brings what searches read into the system's cache, in the background.
    pub(super) fn read_ahead(&self) {
        if !self.options.read_ahead || !self.options.on_disk_vectors {
            return;
        }
        let (dir, is_open) =
            (self.dir.join(SHARD_DIR).join("segments"), Arc::downgrade(&self.is_open));
        let work = move || {
            lower_priority();
            let started = Instant::now();
            let bytes = warm::read_all(&dir, || is_open.strong_count() > 0);
            let (megabytes, took_ms) = (bytes >> 20, started.elapsed().as_millis() as u64);
            tracing::debug!(megabytes, took_ms, "read vectors and indexes ahead");
        };
        // Without it searches are slower for a while.
        let _ = thread::Builder::new().name("vector-ahead".to_owned()).spawn(work);
    }

    fn wrap(
        edge: edge::EdgeShard,
        dir: &Path,
        spec: &CollectionSpec,
        options: &EmbeddedOptions,
    ) -> Self {
        Self {
            edge: Some(edge),
            dir: dir.to_owned(),
            options: options.clone(),
            dim: spec.dim,
            journal: Mutex::new(None),
            new_marker: Mutex::new(None),
            upserted_since_attempt: AtomicUsize::new(0),
            deleted_since_attempt: AtomicUsize::new(0),
            attempted: AtomicBool::new(false),
            is_open: Arc::default(),
        }
    }

    pub(super) fn edge(&self) -> Result<&edge::EdgeShard, StoreError> {
        self.edge
            .as_ref()
            .ok_or_else(|| StoreError::Unavailable("the collection is closed".to_owned()))
    }

    fn run(&self, operation: edge::UpdateOperation) -> Result<(), StoreError> {
        self.edge()?.update(operation).map_err(|error| convert::error(&error))
    }

    /// Callers hold the collection's writer lock, here and in `delete`, `flush` and `start_journal`.
    pub(super) fn upsert(&self, points: Vec<Point>) -> Result<(), StoreError> {
        // The engine writes through memory maps: on a full disk that is no error but the end of the process.
        let needed = points.len() as u64 * (self.dim as u64 * 16 + 4096);
        check_space(&self.dir, needed, self.options.disk_reserve_mib)?;
        self.note(Change::Upserted, &points.iter().map(|point| point.id).collect::<Vec<_>>())?;
        self.upserted_since_attempt.fetch_add(points.len(), Ordering::Relaxed);
        let mut points = points.into_iter().peekable();
        while points.peek().is_some() {
            self.run(convert::upsert(points.by_ref().take(POINTS_PER_OPERATION).collect()))?;
        }
        Ok(())
    }

    /// Goes to the disk with the next flush, after the points that it stands for.
    pub(super) fn set_marker(&self, marker: &Marker) {
        *self.new_marker.lock() = Some(*marker);
    }

    pub(super) fn marker(&self) -> Result<Option<Marker>, StoreError> {
        let written = read_marker(&self.dir)?;
        Ok(self.new_marker.lock().or(written))
    }

    fn write_marker(&self) -> Result<(), StoreError> {
        let mut new = self.new_marker.lock();
        let Some(marker) = *new else { return Ok(()) };
        let json =
            serde_json::to_vec(&marker).map_err(|error| StoreError::Internal(error.to_string()))?;
        write_atomically(&self.dir.join(MARKER_FILE), &json)?;
        *new = None;
        Ok(())
    }

    pub(super) fn delete(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        self.note(Change::Deleted, ids)?;
        self.deleted_since_attempt.fetch_add(ids.len(), Ordering::Relaxed);
        ids.chunks(POINTS_PER_OPERATION).try_for_each(|ids| self.run(convert::delete(ids)))
    }

    fn note(&self, change: Change, ids: &[Uuid]) -> Result<(), StoreError> {
        self.journal.lock().as_mut().map_or(Ok(()), |journal| journal.append(change, ids))
    }

    /// Makes everything so far durable, then shortens the engine's log.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        if let Some(journal) = self.journal.lock().as_ref() {
            journal.sync()?;
        }
        let edge = self.edge()?;
        let deadline = Instant::now() + FLUSH_DEADLINE;
        loop {
            // The engine's flush panics instead of waiting while index building swaps segments, which takes
            // milliseconds. `info` does wait for that; if it begins again in between, we try again.
            edge.info();
            let Err(panic) = catch_unwind(AssertUnwindSafe(|| edge.flush())) else { break };
            let why = panic_text(panic.as_ref());
            if !why.starts_with(SEGMENTS_BEING_SWAPPED) || Instant::now() > deadline {
                return Err(flush_failed(&self.dir, why));
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.write_marker()?;
        wal::shorten(&self.dir.join(SHARD_DIR))
    }

    pub(super) fn search(&self, query: &SearchQuery) -> Result<Vec<ScoredPoint>, StoreError> {
        let total = self.count(None)? as usize;
        let limit = query.limit.min(total);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let Some(filter) = &query.filter else {
            return self.nearest(&query.vector, None, limit, query.effort, total);
        };
        let engine_filter = convert::to_filter(filter)?;
        if query.effort != Effort::Exact {
            let estimate = edge::CountRequest { filter: Some(engine_filter.clone()), exact: false };
            let matching = self.edge()?.count(estimate).map_err(|error| convert::error(&error))?;
            let search = FilteredSearch {
                limit,
                matching,
                total,
                full_scan: self.options.full_scan_vectors,
            };
            if let Some(fetch) = search.fetch() {
                let ef = self.candidates(self.options.ef_search_filtered, total);
                let hits = self.query(&query.vector, None, fetch, false, ef)?;
                if let Some(hits) = search.kept(hits, filter) {
                    return Ok(hits);
                }
            }
        }
        self.nearest(&query.vector, Some(&engine_filter), limit, Effort::Exact, total)
    }

    fn candidates(&self, at_least: usize, total: usize) -> usize {
        Candidates { at_least, per_million: self.options.ef_search_per_million }.among(total)
    }

    /// Among equal scores the engine's choice is arbitrary; ours is the smallest ids, so all of them must be seen.
    fn nearest(
        &self,
        vector: &[f32],
        filter: Option<&edge::Filter>,
        limit: usize,
        effort: Effort,
        total: usize,
    ) -> Result<Vec<ScoredPoint>, StoreError> {
        let exact = effort == Effort::Exact;
        let ef = self.candidates(self.options.ef_search, total);
        let mut fetch = limit + 1;
        loop {
            let hits = self.query(vector, filter, fetch, exact, ef)?;
            if fetch >= limit + TIES_MAX || !cuts_a_tie(&hits, limit, fetch) {
                return Ok(ranked(hits, limit));
            }
            fetch = (fetch * 2 + 16).min(limit + TIES_MAX);
        }
    }

    fn query(
        &self,
        vector: &[f32],
        filter: Option<&edge::Filter>,
        limit: usize,
        exact: bool,
        ef: usize,
    ) -> Result<Vec<ScoredPoint>, StoreError> {
        let nearest = edge::QueryEnum::Nearest(edge::NamedQuery::default_dense(vector.to_owned()));
        let request = edge::QueryRequest {
            prefetches: Vec::new(),
            query: Some(edge::ScoringQuery::Vector(nearest)),
            filter: filter.cloned(),
            score_threshold: None,
            limit,
            offset: 0,
            params: Some(convert::search_params(
                exact,
                ef.max(2 * limit),
                self.options.quantization,
            )),
            with_vector: edge::WithVector::Bool(false),
            with_payload: edge::WithPayloadInterface::Bool(true),
        };
        let hits = self.edge()?.query(request).map_err(|error| convert::error(&error))?;
        Ok(hits.into_iter().filter_map(convert::from_scored).collect())
    }

    pub(super) fn get(&self, ids: &[Uuid]) -> Result<Vec<Point>, StoreError> {
        let ids: Vec<_> = ids.iter().copied().map(convert::point_id).collect();
        let records = self
            .edge()?
            .retrieve(
                &ids,
                Some(edge::WithPayloadInterface::Bool(true)),
                Some(edge::WithVector::Bool(true)),
            )
            .map_err(|error| convert::error(&error))?;
        Ok(records.into_iter().filter_map(convert::from_record).collect())
    }

    pub(super) fn count(&self, filter: Option<&PointFilter>) -> Result<u64, StoreError> {
        // Of all points each segment knows the number; counting them one by one takes 10 ms at a million.
        let exact = filter.is_some();
        let filter = filter.map(convert::to_filter).transpose()?;
        let count = self.edge()?.count(edge::CountRequest { filter, exact });
        count.map(|count| count as u64).map_err(|error| convert::error(&error))
    }

    pub(super) fn scroll(
        &self,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<Point>, StoreError> {
        let records = self.scroll_records(after, limit, true)?;
        Ok(records.into_iter().filter_map(convert::from_record).collect())
    }

    /// Each id once, also where a crash left a point in two segments.
    pub(super) fn scroll_ids(
        &self,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<Uuid>, StoreError> {
        let records = self.scroll_records(after, limit, false)?;
        Ok(records.into_iter().filter_map(|record| convert::uuid(record.id)).collect())
    }

    fn scroll_records(
        &self,
        after: Option<Uuid>,
        limit: usize,
        whole: bool,
    ) -> Result<Vec<edge::Record>, StoreError> {
        let edge = self.edge()?;
        // The engine's offset is inclusive: take one more, and leave it out.
        let limit = limit.min(self.count(None)? as usize);
        let request = edge::ScrollRequest {
            offset: after.map(convert::point_id),
            limit: Some(limit + usize::from(after.is_some())),
            filter: None,
            with_payload: Some(edge::WithPayloadInterface::Bool(whole)),
            with_vector: edge::WithVector::Bool(whole),
            order_by: None,
        };
        let (mut records, _) = edge.scroll(request).map_err(|error| convert::error(&error))?;
        if let Some(after) = after.map(convert::point_id) {
            records.retain(|record| record.id != after);
        }
        records.truncate(limit);
        Ok(records)
    }

    /// Whether asking the engine for optimisations is worth it. Each bound has some distance to the state right after
    /// an optimisation, so that a trickle of changes does not rebuild indexes again and again.
    pub(super) fn needs_maintenance(&self, busy: bool) -> Result<bool, StoreError> {
        let upserted = self.upserted_since_attempt.load(Ordering::Relaxed);
        let deleted = self.deleted_since_attempt.load(Ordering::Relaxed);
        let untried = !busy && !self.attempted.load(Ordering::Relaxed);
        if upserted + deleted == 0 && !untried {
            return Ok(false);
        }
        let info = self.edge()?.info();
        let unknown = untried && info.points_count > 0;
        if upserted + deleted == 0 {
            return Ok(unknown);
        }
        let from = self.options.index_from_vectors;
        let unindexed = info.points_count.saturating_sub(info.indexed_vectors_count);
        let unindexed_max = if busy {
            (4 * from).max(info.indexed_vectors_count / 2)
        } else {
            from.max(info.indexed_vectors_count / 20)
        };
        let grown = unindexed >= unindexed_max && upserted >= if busy { from } else { from / 20 };
        let shrunk =
            !busy && deleted >= (self.options.compact_from_vectors / 5).max(info.points_count / 20);
        Ok(grown || shrunk || unknown)
    }

    /// Brings the noted points to their noted state: deletes what was deleted, and stores again what was stored, with
    /// which the engine deletes the older versions of it in other segments.
    pub(super) fn replay(&self, changes: &BTreeMap<Uuid, Change>) -> Result<(), StoreError> {
        let ids = |wanted| {
            changes.iter().filter(move |(_, change)| **change == wanted).map(|(id, _)| *id)
        };
        self.delete(&ids(Change::Deleted).collect::<Vec<_>>())?;
        for page in ids(Change::Upserted).collect::<Vec<_>>().chunks(POINTS_PER_OPERATION) {
            self.upsert(self.get(page)?)?;
        }
        Ok(())
    }

    /// Begins to note changes on disk; see `journal`.
    pub(super) fn start_journal(&self) -> Result<(), StoreError> {
        *self.journal.lock() = Some(Journal::start(&self.dir.join(JOURNAL_FILE))?);
        Ok(())
    }

    /// Builds, merges and compacts until the engine finds nothing more to do. Readers and writers go on meanwhile.
    pub(super) fn optimize(&self) -> Result<bool, StoreError> {
        self.attempted.store(true, Ordering::Relaxed);
        self.upserted_since_attempt.store(0, Ordering::Relaxed);
        self.deleted_since_attempt.store(0, Ordering::Relaxed);
        self.edge()?.optimize().map_err(|error| convert::error(&error))
    }

    /// Ends the noting: first makes durable what the journal stands for. `failed`: the engine gave up midway, and
    /// with that forgot the deletions of that time.
    pub(super) fn end_journal(&self, failed: bool) -> Result<(), StoreError> {
        let path = self.dir.join(JOURNAL_FILE);
        if failed {
            self.replay(&Journal::read(&path)?)?;
        }
        self.flush()?;
        *self.journal.lock() = None;
        Journal::remove(&path)
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        let edge = self.edge.take();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(edge))) {
            // Nothing acknowledged is lost: that was flushed before.
            let reason = panic_text(panic.as_ref());
            tracing::error!(path = %self.dir.display(), reason, "could not flush a vector collection when closing it");
        }
    }
}

/// A new, empty shard with its payload indexes.
pub(super) fn create_edge(
    path: &Path,
    spec: &CollectionSpec,
    options: &EmbeddedOptions,
) -> Result<edge::EdgeShard, StoreError> {
    fs::create_dir_all(path).map_err(|error| io_error("create the directory", path, &error))?;
    let edge = edge::EdgeShard::new(path, convert::config(spec, options))
        .map_err(|error| convert::error(&error))?;
    create_indexes(&edge, spec)?;
    Ok(edge)
}

/// Does nothing for a field that has its index. Before any index of vectors is built, so that those are built for filters too.
fn create_indexes(edge: &edge::EdgeShard, spec: &CollectionSpec) -> Result<(), StoreError> {
    for (field, kind) in &spec.indexed_fields {
        edge.update(convert::create_index(field, *kind)?)
            .map_err(|error| convert::error(&error))?;
    }
    Ok(())
}

fn load_edge(
    dir: &Path,
    spec: &CollectionSpec,
    options: &EmbeddedOptions,
) -> Result<edge::EdgeShard, StoreError> {
    let path = dir.join(SHARD_DIR);
    let damaged = |reason: String| StoreError::Damaged { path: dir.display().to_string(), reason };
    if !path.is_dir() {
        return Err(damaged(format!("the directory {SHARD_DIR} is missing")));
    }
    let config = convert::config(spec, options);
    let load = || {
        let config = Some(config.clone());
        match catch_unwind(AssertUnwindSafe(|| edge::EdgeShard::load(&path, config))) {
            Ok(Ok(edge)) => Ok(edge),
            Ok(Err(error)) => Err(error.to_string()),
            Err(panic) => Err(panic_text(panic.as_ref()).to_owned()),
        }
    };
    // The directory is locked for this process, so it can only be a lock of our own that is about to go.
    while_held(|why: &String| why.contains(LOG_IS_LOCKED), load).map_err(damaged)
}

pub(super) fn check_space(dir: &Path, needed: u64, reserve_mib: u64) -> Result<(), StoreError> {
    let available =
        free_bytes(dir).map_err(|error| io_error("ask for the free space of", dir, &error))?;
    if available < needed.saturating_add(reserve_mib << 20) {
        return Err(StoreError::Refused(format!(
            "the disk of {} has {} MiB left and {reserve_mib} MiB must stay free; free some space there",
            dir.display(),
            available >> 20
        )));
    }
    Ok(())
}

/// `why` is the engine's own text, with its backtrace: that much of it is not for people.
fn flush_failed(dir: &Path, why: &str) -> StoreError {
    let dir = dir.display();
    if why.contains("No space left on device") || why.contains("Disk quota exceeded") {
        return StoreError::Refused(format!("the disk of {dir} is full; free some space there"));
    }
    let why = why.split(", backtrace: ").next().unwrap_or_default();
    StoreError::Internal(format!("{dir} cannot be flushed: {why}"))
}

pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("the engine panicked")
}
