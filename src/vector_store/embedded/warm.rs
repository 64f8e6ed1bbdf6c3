//! Reads vectors and indexes once after a collection was opened, so that they are in the system's cache before somebody
//! searches: a walk through an index reads a thousand places, each a trip to the disk otherwise. In the background, and
//! only if they fit into the memory that is free.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Of a segment: what every search reads. The small one first.
const FOLDERS: [&str; 2] = ["vector_index", "vector_storage"];
const PIECE_BYTES: usize = 1 << 20;

/// Reads until all is read or `goes_on` says otherwise; returns the bytes. What cannot be read is left out: a search will
/// say why.
pub(super) fn read_all(segments: &Path, goes_on: impl Fn() -> bool) -> u64 {
    let files = files(segments);
    let needed: u64 = files.iter().map(|(_, bytes)| bytes).sum();
    if available_bytes().is_some_and(|available| needed > available / 2) {
        tracing::info!(
            megabytes = needed >> 20,
            "vectors are not read ahead: they would take more than half of the memory that is free"
        );
        return 0;
    }
    let (mut piece, mut read) = (vec![0; PIECE_BYTES], 0);
    for (path, _) in files {
        let Ok(mut file) = File::open(path) else { continue };
        while goes_on() {
            match file.read(&mut piece) {
                Ok(0) | Err(_) => break,
                Ok(bytes) => read += bytes as u64,
            }
        }
    }
    read
}

fn files(segments: &Path) -> Vec<(PathBuf, u64)> {
    let entries = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten();
    let segments: Vec<PathBuf> = entries(segments).map(|entry| entry.path()).collect();
    let folders = FOLDERS.iter().flat_map(|folder| segments.iter().map(move |at| at.join(folder)));
    let files = folders.flat_map(|folder| entries(&folder).collect::<Vec<_>>());
    files
        .filter_map(|entry| {
            Some((entry.path(), entry.metadata().ok().filter(std::fs::Metadata::is_file)?.len()))
        })
        .collect()
}

/// What the system could give away without swapping; `None` where it does not say.
#[cfg(not(target_os = "linux"))]
fn available_bytes() -> Option<u64> {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    Some(system.available_memory()).filter(|bytes| *bytes > 0)
}

#[cfg(target_os = "linux")]
fn available_bytes() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn index_and_vectors_of_all_segments_are_read_and_nothing_else() {
        let dir = tempfile::tempdir().expect("temp");
        for (segment, bytes) in [("a", 3 << 20), ("b", 10)] {
            for folder in ["vector_index", "vector_storage", "payload_storage"] {
                let folder = dir.path().join(segment).join(folder);
                std::fs::create_dir_all(folder.join("inner")).expect("made");
                std::fs::write(folder.join("file"), vec![1; bytes]).expect("written");
            }
        }
        assert_eq!(read_all(dir.path(), || true), 2 * ((3 << 20) + 10));
        let pieces = Cell::new(0);
        let twice = || pieces.replace(pieces.get() + 1) < 2;
        assert!(read_all(dir.path(), twice) <= 2 << 20, "it is told to stop");
        assert_eq!(read_all(&dir.path().join("none"), || true), 0);
    }

    #[test]
    fn the_system_says_what_is_free() {
        assert!(available_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
