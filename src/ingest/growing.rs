//! Files that were found changed when they were read: being written, perhaps without end. They are tried again and again; who waits
//! for the end of indexing need not wait for them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Files that are remembered; a folder of growing files is no library.
const REMEMBERED_MAX: usize = 10_000;

/// By the id of the image, since when it was found changed every time.
#[derive(Default)]
pub(super) struct Growing {
    since: Mutex<HashMap<i64, Instant>>,
}

impl Growing {
    pub(super) fn note(&self, image: i64) {
        let mut since = self.since.lock();
        if since.len() < REMEMBERED_MAX {
            since.entry(image).or_insert_with(Instant::now);
        }
    }

    /// It was read whole, or is not to be tried any more.
    pub(super) fn forget(&self, image: i64) {
        self.since.lock().remove(&image);
    }

    /// How many have been growing for so long.
    pub(super) fn for_longer_than(&self, patience: Duration) -> u64 {
        self.since.lock().values().filter(|since| since.elapsed() > patience).count() as u64
    }
}
