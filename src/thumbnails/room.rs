//! How much room the kept thumbnails take, and which go when there is none left: wide ones before narrow ones, which lists
//! show first of every picture; of each kind the oldest.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use parking_lot::Mutex;

use super::EARLY_WIDTH;

/// Bounds what is kept.
pub(super) struct Room {
    dir: PathBuf,
    bytes_max: u64,
    /// What is used; not known until it is measured for the first time.
    used: Mutex<Option<u64>>,
}

struct File {
    is_narrow: bool,
    modified: SystemTime,
    bytes: u64,
    path: PathBuf,
}

impl Room {
    pub(super) fn new(dir: PathBuf, bytes_max: u64) -> Self {
        Self { dir, bytes_max, used: Mutex::new(None) }
    }

    /// Whether half of it is free: enough for what nobody asked for yet and the next narrow ones would push out again. Blocks.
    pub(super) fn is_ample(&self) -> bool {
        let mut used = self.used.lock();
        *used.get_or_insert_with(|| total(&files(&self.dir))) < self.bytes_max / 2
    }

    /// Notes what was written, and makes room when it was too much: down to nine tenths, so that this is rare. Blocks.
    pub(super) fn note(&self, written: u64) {
        let mut used = self.used.lock();
        let now = used.map(|used| used + written);
        *used = match now {
            Some(now) if now <= self.bytes_max => Some(now),
            _ => Some(tidy(files(&self.dir), self.bytes_max)),
        };
    }
}

fn files(dir: &Path) -> Vec<File> {
    let entries = walkdir::WalkDir::new(dir).into_iter().filter_map(Result::ok);
    let entries = entries.filter(|entry| entry.file_type().is_file());
    let files = entries.filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        let (modified, bytes) = (metadata.modified().ok()?, metadata.len());
        let path = entry.into_path();
        Some(File { is_narrow: is_narrow(&path), modified, bytes, path })
    });
    files.collect()
}

fn is_narrow(path: &Path) -> bool {
    let width = path.file_stem().and_then(|stem| stem.to_str()?.rsplit_once('-')?.1.parse().ok());
    width.is_some_and(|width: u32| width <= EARLY_WIDTH)
}

fn total(files: &[File]) -> u64 {
    files.iter().map(|file| file.bytes).sum()
}

/// Returns what is used then.
fn tidy(mut files: Vec<File>, bytes_max: u64) -> u64 {
    let mut used = total(&files);
    if used <= bytes_max {
        return used;
    }
    files.sort_by_key(|file| (file.is_narrow, file.modified));
    for file in files {
        if used <= bytes_max / 10 * 9 {
            break;
        }
        if std::fs::remove_file(file.path).is_ok() {
            used -= file.bytes;
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn write(dir: &Path, name: &str, age: u64) {
        let path = dir.join(name);
        std::fs::write(&path, [0; 100]).expect("written");
        let file = std::fs::File::options().write(true).open(&path).expect("opened");
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 - age);
        file.set_modified(modified).expect("aged");
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).expect("read").map(|entry| entry.expect("entry"));
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn wide_ones_go_first_and_of_each_kind_the_oldest() {
        let dir = tempfile::tempdir().expect("temp");
        let all = [("a-160", 6), ("b-320", 5), ("c-640", 4), ("d-640", 1), ("e-4096", 3)];
        for (name, age) in all {
            write(dir.path(), &format!("{name}.jpg"), age);
        }
        assert_eq!(tidy(files(dir.path()), 500), 500);
        assert_eq!(tidy(files(dir.path()), 450), 400);
        assert_eq!(names(dir.path()), ["a-160.jpg", "b-320.jpg", "d-640.jpg", "e-4096.jpg"]);
        assert_eq!(tidy(files(dir.path()), 250), 200);
        assert_eq!(names(dir.path()), ["a-160.jpg", "b-320.jpg"]);
        assert_eq!(tidy(files(dir.path()), 150), 100);
        assert_eq!(names(dir.path()), ["b-320.jpg"]);
    }

    #[test]
    fn what_is_there_already_counts_and_is_ample_up_to_half() {
        let dir = tempfile::tempdir().expect("temp");
        write(dir.path(), "a-320.jpg", 2);
        write(dir.path(), "b-320.jpg", 1);
        let room = |bytes_max| Room::new(dir.path().to_owned(), bytes_max);
        assert!(!room(400).is_ample());
        let room = room(402);
        assert!(room.is_ample());
        room.note(1);
        assert!(!room.is_ample());
        // Too much: measured anew, and there is only what there is.
        room.note(400);
        assert!(room.is_ample());
    }
}
