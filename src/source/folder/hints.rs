//! Turns file system events below a folder into hints. Too many at once, an overflow or a broken watcher become "look at
//! everything". A folder that is not there, or was exchanged for another (a disk unplugged, mounted again), is watched as soon
//! as it can be, without anybody's help.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use notify::{EventKind, RecursiveMode, Watcher as _};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Folder;
use crate::source::{Hints, Identity};
use crate::types::Scope;

/// More different paths than this at once are not worth looking at one by one.
const PATHS_MAX: usize = 16_384;
/// Events come in bursts: wait until none came for this long, but not longer than the second.
const QUIET: Duration = Duration::from_millis(100);
const BURST_MAX: Duration = Duration::from_secs(1);
/// How often we look whether the folder that we watch is still the one at its place.
const CHECK_EVERY: Duration = Duration::from_secs(2);
/// A folder that is there and cannot be watched (a limit of the system): trying costs a walk through all of it.
const WATCH_AGAIN_AFTER: Duration = Duration::from_mins(5);

/// The hints of a folder; nobody watches before the first is asked for, or after the stream is dropped.
pub(super) fn of(folder: Arc<Folder>) -> Hints {
    let watch = Watch {
        folder,
        arrivals: Arc::default(),
        watcher: None,
        checked: Instant::now(),
        complained: None,
    };
    stream::unfold(watch, |mut watch| async move {
        let scopes = watch.next().await;
        Some((scopes, watch))
    })
    .boxed()
}

struct Watch {
    folder: Arc<Folder>,
    arrivals: Arc<Arrivals>,
    watcher: Option<(notify::RecommendedWatcher, Identity)>,
    checked: Instant,
    /// When it last could not be watched although it was there.
    complained: Option<Instant>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.folder.is_watched.store(false, Ordering::Relaxed);
    }
}

impl Watch {
    async fn next(&mut self) -> Vec<Scope> {
        loop {
            if self.watcher.is_none() {
                if self.begin().await {
                    return vec![Scope::All];
                }
                tokio::time::sleep(CHECK_EVERY).await;
                continue;
            }
            let _ = tokio::time::timeout(CHECK_EVERY, self.arrivals.arrived.notified()).await;
            // Also while events keep coming: they may come from a folder that is somewhere else by now.
            if self.checked.elapsed() >= CHECK_EVERY && !self.is_still_there().await {
                self.watcher = None;
                self.folder.is_watched.store(false, Ordering::Relaxed);
                return vec![Scope::All];
            }
            let scopes = self.gather().await;
            if !scopes.is_empty() {
                return scopes;
            }
        }
    }

    /// Starts watching what is there now.
    async fn begin(&mut self) -> bool {
        let is_too_soon = self.complained.is_some_and(|at| at.elapsed() < WATCH_AGAIN_AFTER);
        let Some(identity) = self.identity().await.filter(|_| !is_too_soon) else { return false };
        let (folder, arrivals) = (self.folder.clone(), Arc::new(Arrivals::default()));
        let heard = arrivals.clone();
        let watching = tokio::task::spawn_blocking(move || {
            let mut watcher = notify::recommended_watcher(move |event| heard.add(event))?;
            watcher.watch(&folder.root, RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        let watching =
            watching.await.unwrap_or_else(|error| Err(notify::Error::generic(&error.to_string())));
        match watching {
            Ok(watcher) => {
                self.watcher = Some((watcher, identity));
                (self.arrivals, self.checked, self.complained) = (arrivals, Instant::now(), None);
                self.folder.is_watched.store(true, Ordering::Relaxed);
                true
            }
            Err(error) => {
                tracing::warn!(folder = %self.folder.root.display(), %error, "cannot watch the folder; changes are noticed by the periodic comparison only (Linux: raise fs.inotify.max_user_watches)");
                self.complained = Some(Instant::now());
                false
            }
        }
    }

    async fn identity(&self) -> Option<Identity> {
        let folder = self.folder.clone();
        tokio::task::spawn_blocking(move || folder.identity().ok()).await.ok().flatten()
    }

    async fn is_still_there(&mut self) -> bool {
        self.checked = Instant::now();
        let there = self.identity().await;
        self.watcher.as_ref().is_some_and(|(_, watched)| there.as_ref() == Some(watched))
    }

    /// Waits for a burst to settle, then says where to look.
    async fn gather(&self) -> Vec<Scope> {
        if self.arrivals.is_empty() {
            return Vec::new();
        }
        let burst = async {
            while tokio::time::timeout(QUIET, self.arrivals.arrived.notified()).await.is_ok() {}
        };
        let _ = tokio::time::timeout(BURST_MAX, burst).await;
        let Pending { paths, everything } = std::mem::take(&mut *self.arrivals.pending.lock());
        if everything || paths.contains(&self.folder.root) {
            return vec![Scope::All];
        }
        let scopes: HashSet<Scope> =
            paths.iter().filter_map(|path| self.folder.scope_of(path)).collect();
        scopes.into_iter().collect()
    }
}

#[derive(Default)]
struct Arrivals {
    pending: Mutex<Pending>,
    arrived: Notify,
}

#[derive(Default)]
struct Pending {
    paths: HashSet<PathBuf>,
    everything: bool,
}

impl Arrivals {
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

    fn is_empty(&self) -> bool {
        let pending = self.pending.lock();
        pending.paths.is_empty() && !pending.everything
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::source::address::folders;
    use crate::source::{Source, folder::FolderSource};
    use crate::types::ImageName;

    fn source(root: &Path) -> FolderSource {
        folders(&[root.to_path_buf()], None, &[], 10).expect("a source").remove(0)
    }

    async fn next(hints: &mut Hints) -> Vec<Scope> {
        let next = tokio::time::timeout(Duration::from_secs(20), hints.next()).await;
        next.expect("a hint in time").expect("hints do not end")
    }

    fn under(name: &str) -> Scope {
        Scope::Under(ImageName::new(name).expect("valid"))
    }

    #[tokio::test]
    async fn events_name_what_changed_and_hidden_files_do_not() {
        let dir = tempfile::tempdir().expect("temp");
        let mut hints = source(dir.path()).hints().expect("a folder is watched");
        assert_eq!(next(&mut hints).await, [Scope::All], "listening begins");
        std::fs::write(dir.path().join(".part"), "x").expect("write");
        std::fs::write(dir.path().join("a.png"), "x").expect("write");
        assert_eq!(next(&mut hints).await, [under("a.png")]);
    }

    #[tokio::test]
    async fn a_folder_that_comes_late_goes_and_comes_back_is_watched_again() {
        let dir = tempfile::tempdir().expect("temp");
        let root = dir.path().join("disk");
        let mut hints = source(&root).hints().expect("a folder is watched");
        for round in 0..2 {
            std::fs::create_dir(&root).expect("mkdir");
            // "Everything" means that the old one went, or that listening to the new one begins.
            let name = format!("{round}.png");
            loop {
                std::fs::write(root.join(&name), "x").expect("write");
                if next(&mut hints).await == [under(&name)] {
                    break;
                }
            }
            std::fs::rename(&root, dir.path().join(format!("away-{round}"))).expect("unplugged");
        }
    }

    #[test]
    fn an_overflow_or_a_flood_becomes_a_full_look() {
        let arrivals = Arrivals::default();
        let flood = |index: usize| {
            notify::Event::new(EventKind::Any).add_path(PathBuf::from(format!("/x/{index}")))
        };
        (0..=PATHS_MAX).for_each(|index| arrivals.add(Ok(flood(index))));
        assert!(arrivals.pending.lock().everything);
        let arrivals = Arrivals::default();
        arrivals
            .add(Ok(notify::Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan)));
        assert!(arrivals.pending.lock().everything);
    }
}
