//! Keeps the engine's write-ahead log small. `qdrant-edge` 0.7 appends every operation to it, never reads it again, and
//! offers no call to shorten it; only the last file matters, because the numbering of operations goes on from there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::directory::io_error;
use crate::vector_store::StoreError;

/// Size of one file of the log.
pub(super) const SEGMENT_BYTES: usize = 4 << 20;

/// Deletes all full files but the last. That is what the engine's own `prefix_truncate` would do.
pub(super) fn shorten(shard_dir: &Path) -> Result<(), StoreError> {
    let dir = shard_dir.join("wal");
    let shorten = || -> io::Result<()> {
        let mut closed = closed_files(&dir)?;
        closed.sort_unstable();
        closed.pop();
        closed.iter().try_for_each(|(_, path)| delete(path))
    };
    shorten().map_err(|error| io_error("shorten the log in", &dir, &error))
}

fn closed_files(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let number =
            path.file_name().and_then(|name| name.to_str()?.strip_prefix("closed-")?.parse().ok());
        files.extend(number.map(|number| (number, path)));
    }
    Ok(files)
}

/// The running engine keeps a map of the file, and so its space, until it ends: give the space back first. The map
/// then reads as zeros, which nobody does. Elsewhere than on Linux the space comes back when the collection is closed.
fn delete(path: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{FallocateFlags, fallocate};
        let file = fs::OpenOptions::new().write(true).open(path)?;
        let bytes = file.metadata()?.len();
        if bytes > 0 {
            // Not every file system can; then the space comes back when the collection is closed.
            let _ =
                fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, bytes);
        }
    }
    fs::remove_file(path)
}
