//! A source as ingestion follows it: whether it is there, whether reading from it makes trouble at the moment, and which names
//! were looked at while a comparison of everything is under way.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::backoff::doubled;
use crate::source::presence::Presence;
use crate::source::{Source, SourceError};
use crate::types::{ImageName, Scope};

/// Reads that fail one after the other before it is taken for trouble with the source.
const FAILURES_MIN: u32 = 3;
/// Pauses of a source in trouble.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LONGEST: Duration = Duration::from_mins(1);
/// Waits of one picture that cannot be read while others can.
const PICTURE_WAIT_FIRST: Duration = Duration::from_secs(2);
const PICTURE_WAIT_LONGEST: Duration = Duration::from_mins(10);
/// Pictures whose waits are remembered.
const PICTURES_REMEMBERED_MAX: usize = 10_000;
/// A picture keeps its place in the pipeline for so long while its source is unusable: that is what slows leasing down.
const HOLD: Duration = Duration::from_secs(5);
/// Names remembered while everything is compared.
const TOUCHED_MAX: usize = 65_536;

pub(super) struct Followed {
    pub(super) source: Arc<dyn Source>,
    pub(super) presence: Presence,
    /// Rung when everything should be compared soon.
    pub(super) rescan: Notify,
    trouble: Mutex<Trouble>,
    touched: Mutex<Option<HashSet<ImageName>>>,
}

#[derive(Default)]
struct Trouble {
    failures_in_a_row: u32,
    pauses_in_a_row: u32,
    paused: Option<Paused>,
    /// How often each picture could not be read while others could.
    waits: HashMap<i64, u32>,
}

struct Paused {
    until: Instant,
    error: SourceError,
}

impl Followed {
    pub(super) fn new(source: Arc<dyn Source>) -> Self {
        Self {
            source,
            presence: Presence::default(),
            rescan: Notify::new(),
            trouble: Mutex::default(),
            touched: Mutex::new(None),
        }
    }

    /// What is claimed by the process that compares it with the catalog.
    pub(super) fn listing_claim(&self) -> String {
        format!("listing of {}", self.source.id())
    }

    /// Why nothing can be read from it at the moment.
    pub(super) fn problem(&self) -> Option<SourceError> {
        if let Some(away) = self.presence.away() {
            let (location, reason) = (self.source.location(), away.reason);
            return Some(SourceError::Away { location, reason });
        }
        self.trouble.lock().paused.as_ref().map(|paused| paused.error.clone())
    }

    /// Waits a while for it to be usable; says whether it is.
    pub(super) async fn usable(&self) -> bool {
        let waiting = async {
            self.presence.returned().await;
            while let Some(pause) = self.pause_left() {
                tokio::time::sleep(pause).await;
            }
        };
        tokio::time::timeout(HOLD, waiting).await.is_ok()
    }

    /// How long the pause that is under way lasts.
    pub(super) fn pause_left(&self) -> Option<Duration> {
        let until = self.trouble.lock().paused.as_ref()?.until;
        until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// A picture was read: whatever was wrong is over.
    pub(super) fn note_read(&self, image_id: i64) {
        let mut trouble = self.trouble.lock();
        if trouble.paused.is_some() {
            tracing::info!(source = %self.source.location(), "pictures can be read again");
        }
        trouble.waits.remove(&image_id);
        (trouble.failures_in_a_row, trouble.pauses_in_a_row, trouble.paused) = (0, 0, None);
    }

    /// It was away and is back: what was wrong before says nothing any more.
    pub(super) fn forget_trouble(&self) {
        *self.trouble.lock() = Trouble::default();
    }

    /// A picture could not be read through no fault of its own. Returns how long it waits for its next turn.
    pub(super) fn note_trouble(&self, image_id: i64, error: &SourceError) -> Duration {
        let mut trouble = self.trouble.lock();
        trouble.failures_in_a_row = trouble.failures_in_a_row.saturating_add(1);
        if trouble.failures_in_a_row < FAILURES_MIN {
            return trouble.wait_of(image_id);
        }
        let now = Instant::now();
        // Of many that fail together, the first one makes the pause.
        if let Some(left) =
            trouble.paused.as_ref().and_then(|paused| paused.until.checked_duration_since(now))
        {
            return left;
        }
        let pause = doubled(PAUSE_FIRST, trouble.pauses_in_a_row, PAUSE_LONGEST);
        trouble.pauses_in_a_row = trouble.pauses_in_a_row.saturating_add(1);
        tracing::warn!(source = %self.source.location(), %error, pause_ms = pause.as_millis() as u64, "reading pictures pauses");
        trouble.paused = Some(Paused { until: now + pause, error: error.clone() });
        pause
    }

    /// Begins to remember what is looked at while everything is compared; the answer ends it when dropped.
    pub(super) fn remember_touched(&self) -> Remembering<'_> {
        *self.touched.lock() = Some(HashSet::new());
        Remembering(self)
    }

    /// What lies in these scopes is looked at now; a comparison of everything that began before knows less.
    pub(super) fn touch(&self, scopes: &[Scope]) {
        if let Some(touched) = self.touched.lock().as_mut() {
            let names = scopes.iter().filter_map(|scope| match scope {
                Scope::All => None,
                Scope::Under(name) => Some(name.clone()),
            });
            // Beyond the limit the next comparison puts right what this one may get wrong.
            touched.extend(names.take(TOUCHED_MAX.saturating_sub(touched.len())));
        }
    }

    /// Whether `name` was looked at since the comparison of everything began.
    pub(super) fn was_touched(&self, name: &ImageName) -> bool {
        let touched = self.touched.lock();
        let Some(touched) = touched.as_ref().filter(|touched| !touched.is_empty()) else {
            return false;
        };
        let text = name.as_str();
        let mut ancestors =
            text.match_indices('/').filter_map(|(end, _)| ImageName::new(&text[..end]).ok());
        touched.contains(name) || ancestors.any(|folder| touched.contains(&folder))
    }
}

pub(super) struct Remembering<'a>(&'a Followed);

impl Drop for Remembering<'_> {
    fn drop(&mut self) {
        *self.0.touched.lock() = None;
    }
}

impl Trouble {
    fn wait_of(&mut self, image_id: i64) -> Duration {
        if self.waits.len() >= PICTURES_REMEMBERED_MAX {
            self.waits.clear();
        }
        let waits = self.waits.entry(image_id).or_insert(0);
        *waits = waits.saturating_add(1);
        doubled(PICTURE_WAIT_FIRST, *waits - 1, PICTURE_WAIT_LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::memory::MemorySource;

    fn followed() -> Followed {
        Followed::new(Arc::new(MemorySource::default()))
    }

    fn name(text: &str) -> ImageName {
        ImageName::new(text).expect("valid")
    }

    fn trouble() -> SourceError {
        SourceError::Unavailable { name: name("a"), reason: "stale handle".into() }
    }

    #[tokio::test]
    async fn one_sick_picture_waits_ever_longer_and_stops_nobody() {
        let followed = followed();
        let waits: Vec<u64> = (0..4)
            .map(|_| {
                let wait = followed.note_trouble(1, &trouble());
                followed.note_read(2);
                wait.as_secs()
            })
            .collect();
        assert_eq!(waits, [2, 4, 8, 16]);
        assert_eq!(followed.problem(), None);
        assert!(followed.usable().await);
    }

    #[tokio::test]
    async fn many_failures_in_a_row_pause_the_source_until_one_is_read() {
        let followed = followed();
        for image_id in 0..64 {
            followed.note_trouble(image_id, &trouble());
        }
        assert!(
            followed.problem().is_some_and(|problem| problem.to_string().contains("stale handle"))
        );
        let left = followed.pause_left().expect("a pause");
        assert!(left <= PAUSE_FIRST, "failing together is one failure");
        followed.note_read(1);
        assert_eq!((followed.problem(), followed.pause_left()), (None, None));
    }

    #[tokio::test]
    async fn an_away_source_is_waited_for() {
        let followed = followed();
        followed.presence.note_away(&*followed.source, "unplugged");
        assert!(
            followed.problem().is_some_and(|problem| problem.to_string().contains("unplugged"))
        );
        let identity = followed.source.identity().await.expect("there");
        let back = async { followed.presence.note_present(&*followed.source, identity) };
        let (usable, ()) = tokio::join!(followed.usable(), back);
        assert!(usable);
    }

    #[test]
    fn what_was_touched_is_known_with_what_lies_below() {
        let followed = followed();
        followed.touch(&[Scope::Under(name("before"))]);
        let remembering = followed.remember_touched();
        followed.touch(&[Scope::Under(name("a/b")), Scope::Under(name("c.png"))]);
        for (text, touched) in
            [("a/b", true), ("a/b/c/d", true), ("a/bc", false), ("c.png", true), ("before", false)]
        {
            assert_eq!(followed.was_touched(&name(text)), touched, "{text}");
        }
        drop(remembering);
        assert!(!followed.was_touched(&name("c.png")));
    }
}
