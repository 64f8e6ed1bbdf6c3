//! Puts a collection right after a crash. Everything acknowledged by `flush` is there; what can be wrong is the rest:
//! leftovers of index building, deletions that the engine had only in memory, points in an old and a new segment.

use std::fs;
use std::path::Path;

use super::directory::{io_error, remove_tree, rename, sync_directory_of, write_atomically};
use super::journal::Journal;
use super::shard::{JOURNAL_FILE, SHARD_DIR, Shard, create_edge};
use super::{EmbeddedOptions, convert, wal};
use crate::vector_store::{CollectionSpec, StoreError};

/// A rewritten shard before it takes the place of the old one.
const REWRITTEN_DIR: &str = "rewritten";
/// There once the rewritten shard is complete; from then on it is the collection.
const REWRITTEN_MARK: &str = "rewritten.complete";
const POINTS_PER_PAGE: usize = 1000;

/// Opens an existing collection, and puts right what a crash may have left.
pub(super) fn open(
    dir: &Path,
    spec: &CollectionSpec,
    options: &EmbeddedOptions,
) -> Result<Shard, StoreError> {
    before_open(dir)?;
    after_open(Shard::load(dir, spec, options)?, spec, options)
}

/// What can be put right without the engine.
fn before_open(dir: &Path) -> Result<(), StoreError> {
    finish_rewrite(dir)?;
    remove_tree(&dir.join(SHARD_DIR).join("temp_segments"))?;
    if dir.join(SHARD_DIR).join("wal").is_dir() {
        wal::shorten(&dir.join(SHARD_DIR))?;
    }
    Ok(())
}

/// What takes the engine: only if index building was interrupted, of which the journal is the sign.
fn after_open(
    shard: Shard,
    spec: &CollectionSpec,
    options: &EmbeddedOptions,
) -> Result<Shard, StoreError> {
    let path = shard.dir.join(JOURNAL_FILE);
    if !path.exists() {
        return Ok(shard);
    }
    let changes = Journal::read(&path)?;
    tracing::warn!(path = %shard.dir.display(), changes = changes.len(), "index building was interrupted; putting the collection right");
    shard.replay(&changes)?;
    shard.flush()?;
    let doubled = shard.count(None)? != distinct(&shard)?;
    let shard = if doubled { rewrite(shard, spec, options)? } else { shard };
    Journal::remove(&path)?;
    Ok(shard)
}

fn distinct(shard: &Shard) -> Result<u64, StoreError> {
    let mut count = 0;
    let mut after = None;
    loop {
        let ids = shard.scroll_ids(after, 10 * POINTS_PER_PAGE)?;
        let Some(last) = ids.last() else { return Ok(count) };
        count += ids.len() as u64;
        after = Some(*last);
    }
}

/// Copies the newest version of every point into a new shard, which then takes the old one's place.
fn rewrite(
    old: Shard,
    spec: &CollectionSpec,
    options: &EmbeddedOptions,
) -> Result<Shard, StoreError> {
    let dir = old.dir.clone();
    tracing::warn!(path = %dir.display(), "points are in two segments; rewriting the collection");
    let path = dir.join(REWRITTEN_DIR);
    remove_tree(&path)?;
    let new = create_edge(&path, spec, options)?;
    let mut after = None;
    loop {
        let points = old.scroll(after, POINTS_PER_PAGE)?;
        let Some(last) = points.last() else { break };
        after = Some(last.id);
        new.update(convert::upsert(points)).map_err(|error| convert::error(&error))?;
    }
    new.flush();
    drop(new);
    drop(old);
    write_atomically(&dir.join(REWRITTEN_MARK), b"")?;
    open(&dir, spec, options)
}

/// Takes up a rewriting where a crash left it.
fn finish_rewrite(dir: &Path) -> Result<(), StoreError> {
    let (mark, rewritten, shard) =
        (dir.join(REWRITTEN_MARK), dir.join(REWRITTEN_DIR), dir.join(SHARD_DIR));
    if !mark.exists() {
        return remove_tree(&rewritten);
    }
    if rewritten.exists() {
        remove_tree(&shard)?;
        rename(&rewritten, &shard)?;
    }
    // The journal speaks of the old shard; what it names is in the new one already.
    for path in [dir.join(JOURNAL_FILE), mark] {
        if path.exists() {
            fs::remove_file(&path)
                .and_then(|()| sync_directory_of(&path))
                .map_err(|error| io_error("remove", &path, &error))?;
        }
    }
    Ok(())
}
