//! How far a download is: written by the downloader, read by status, page and progress bars.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bytes that are here, of all.
#[derive(Debug, Default)]
pub struct DownloadProgress {
    total: AtomicU64,
    done: AtomicU64,
    waiting: AtomicBool,
}

impl DownloadProgress {
    /// Bytes of all files; 0 while that is not known.
    pub fn total_bytes(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Bytes that are here.
    pub fn done_bytes(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Another process downloads the model.
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Per cent, once the size is known.
    pub fn percent(&self) -> Option<u8> {
        let total = self.total_bytes();
        (total > 0).then(|| (self.done_bytes().min(total).saturating_mul(100) / total) as u8)
    }

    pub(super) fn start(&self, total: u64) {
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    pub(super) fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that have to be downloaded again.
    pub(super) fn take_back(&self, bytes: u64) {
        let _ = self.done.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |done| {
            Some(done.saturating_sub(bytes))
        });
    }

    pub(super) fn set_waiting(&self, waiting: bool) {
        self.waiting.store(waiting, Ordering::Relaxed);
    }
}
