//! Turns file system events into hints for the reconciler: "look under this name". Hints may be late, doubled or lost;
//! the periodic scan makes up for that. Too many at once, an overflow or a broken watcher become "look at everything".

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecursiveMode, Watcher as _};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::folder::FolderSource;
use crate::types::Scope;

/// More different paths than this at once are not worth looking at one by one.
const PATHS_MAX: usize = 4096;
/// Events come in bursts: wait until none came for this long, but not longer than the second.
const QUIET_MS: u64 = 100;
const BURST_MS_MAX: u64 = 1000;

/// Watches one folder. Dropping it ends the watching.
pub struct FolderWatcher {
    source: FolderSource,
    hints: Arc<Hints>,
    watcher: Mutex<Option<notify::RecommendedWatcher>>,
}

#[derive(Default)]
struct Hints {
    pending: Mutex<Pending>,
    arrived: Notify,
}

#[derive(Default)]
struct Pending {
    paths: HashSet<PathBuf>,
    everything: bool,
}

impl Hints {
    fn add(&self, event: Result<notify::Event, notify::Error>) {
        let mut pending = self.pending.lock();
        match event {
            // Reading a picture is an event too; ours must not set off another look.
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => return,
            Ok(event) if event.need_rescan() => pending.everything = true,
            Ok(event) => pending.paths.extend(event.paths),
            Err(error) => {
                tracing::warn!(%error, "the folder watcher reports an error; looking at the whole folder");
                pending.everything = true;
            }
        }
        if pending.paths.len() > PATHS_MAX {
            pending.everything = true;
        }
        if pending.everything {
            pending.paths.clear();
        }
        drop(pending);
        self.arrived.notify_one();
    }
}

impl FolderWatcher {
    /// Prepares; [`Self::ensure_watching`] starts.
    pub fn new(source: FolderSource) -> Self {
        Self { source, hints: Arc::default(), watcher: Mutex::new(None) }
    }

    /// Starts watching unless it does already. Called before every full scan, so that a folder that
    /// was not there at first, or went and came back, is watched again.
    pub fn ensure_watching(&self) -> Result<(), notify::Error> {
        let mut watcher = self.watcher.lock();
        if watcher.is_some() && self.source.root().is_dir() {
            return Ok(());
        }
        *watcher = None;
        let hints = self.hints.clone();
        let mut fresh = notify::recommended_watcher(move |event| hints.add(event))?;
        fresh.watch(self.source.root(), RecursiveMode::Recursive)?;
        *watcher = Some(fresh);
        Ok(())
    }

    /// Waits for events to come and settle, then says where to look.
    pub async fn next(&self) -> Vec<Scope> {
        self.hints.arrived.notified().await;
        let burst = async {
            while tokio::time::timeout(
                Duration::from_millis(QUIET_MS),
                self.hints.arrived.notified(),
            )
            .await
            .is_ok()
            {}
        };
        let _ = tokio::time::timeout(Duration::from_millis(BURST_MS_MAX), burst).await;
        let pending = std::mem::take(&mut *self.hints.pending.lock());
        if pending.everything || pending.paths.contains(self.source.root()) {
            // The root itself went or came: the watch on it may be dead.
            if pending.paths.contains(self.source.root()) {
                *self.watcher.lock() = None;
            }
            return vec![Scope::All];
        }
        let scopes: HashSet<Scope> =
            pending.paths.iter().filter_map(|path| self.source.scope_of(path)).collect();
        scopes.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ImageName;

    #[tokio::test]
    async fn events_name_what_changed_and_hidden_files_do_not() {
        let dir = tempfile::tempdir().expect("temp");
        let source =
            FolderSource::all(&[dir.path().to_path_buf()], &[], 10).expect("source").remove(0);
        let watcher = FolderWatcher::new(source);
        watcher.ensure_watching().expect("watching");
        std::fs::write(dir.path().join(".part"), "x").expect("write");
        std::fs::write(dir.path().join("a.png"), "x").expect("write");
        let expected = Scope::Under(ImageName::new("a.png").expect("valid"));
        let seen = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                let scopes = watcher.next().await;
                if !scopes.is_empty() {
                    return scopes;
                }
            }
        });
        assert_eq!(seen.await.expect("an event in time"), [expected]);
    }

    #[test]
    fn an_overflow_or_a_flood_becomes_a_full_look() {
        let hints = Hints::default();
        let flood = |index: usize| {
            notify::Event::new(EventKind::Any).add_path(PathBuf::from(format!("/x/{index}")))
        };
        (0..=PATHS_MAX).for_each(|index| hints.add(Ok(flood(index))));
        assert!(hints.pending.lock().everything);
        let hints = Hints::default();
        hints.add(Ok(notify::Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan)));
        assert!(hints.pending.lock().everything);
    }
}
