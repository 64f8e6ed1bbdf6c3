//! What this process takes of the machine: memory (with the most it took), processor time, and disk.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);
/// In which Linux tells processor times.
const TICKS_PER_SECOND: f64 = 100.0;

/// The value of a line of `/proc/self/status`, in kB.
fn status_kb(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// Resident and anonymous memory.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) resident_mb: u64,
    pub(crate) anonymous_mb: u64,
}

impl Memory {
    pub(crate) fn now() -> Self {
        Self { resident_mb: status_kb("VmRSS") / 1024, anonymous_mb: status_kb("RssAnon") / 1024 }
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} MB resident, {} MB anonymous", self.resident_mb, self.anonymous_mb)
    }
}

/// Remembers the most memory that was seen.
#[derive(Default)]
pub(crate) struct Peak {
    resident_mb: Arc<AtomicU64>,
    anonymous_mb: Arc<AtomicU64>,
}

impl Peak {
    /// Looks from now on, from a thread of its own.
    pub(crate) fn watch() -> Self {
        let peak = Self::default();
        let (resident, anonymous) =
            (Arc::downgrade(&peak.resident_mb), Arc::downgrade(&peak.anonymous_mb));
        std::thread::spawn(move || {
            while let (Some(resident), Some(anonymous)) = (resident.upgrade(), anonymous.upgrade())
            {
                let now = Memory::now();
                resident.fetch_max(now.resident_mb, Ordering::Relaxed);
                anonymous.fetch_max(now.anonymous_mb, Ordering::Relaxed);
                std::thread::sleep(SAMPLE_INTERVAL);
            }
        });
        peak
    }

    /// The most since it was last asked.
    pub(crate) fn take(&self) -> Memory {
        let now = Memory::now();
        Memory {
            resident_mb: self.resident_mb.swap(0, Ordering::Relaxed).max(now.resident_mb),
            anonymous_mb: self.anonymous_mb.swap(0, Ordering::Relaxed).max(now.anonymous_mb),
        }
    }
}

/// Processor time that this process has used, in seconds of one core.
pub(crate) fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name in parentheses, which may hold anything: user and system time are the 12th and 13th.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

/// Bytes really taken, not the length of sparse files, in MB.
pub(crate) fn disk_mb(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let files = walkdir::WalkDir::new(dir).into_iter().flatten();
    let blocks = files.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.blocks());
    blocks.sum::<u64>() * 512 / 1_000_000
}
