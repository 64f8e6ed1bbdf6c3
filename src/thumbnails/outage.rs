//! Whether something that can be done without is worth asking: after a failure it is left alone for a while, then asked once, and
//! left alone for longer. What went wrong is logged when it begins and when it is over, and not in between.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::backoff::Backoff;

const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LONGEST: Duration = Duration::from_secs(30);
/// Of failures that come and go, one in so long is told.
const TOLD_AGAIN_AFTER: Duration = Duration::from_mins(1);

pub(super) struct Outage {
    /// For the log, for example "read".
    what: &'static str,
    state: Mutex<State>,
}

struct State {
    /// It failed last, and may be asked again then.
    again: Option<Instant>,
    /// Somebody asks to find out whether it still fails.
    is_probed: bool,
    pauses: Backoff,
    last_told: Option<Instant>,
    /// That it fails now is in the log.
    is_told: bool,
}

impl Outage {
    pub(super) fn new(what: &'static str) -> Self {
        let state = State {
            again: None,
            is_probed: false,
            pauses: Backoff::new(PAUSE_FIRST, PAUSE_LONGEST),
            last_told: None,
            is_told: false,
        };
        Self { what, state: Mutex::new(state) }
    }

    /// While it fails, one at a time may try, which takes at most `patience`.
    pub(super) fn may_ask(&self, now: Instant, patience: Duration) -> bool {
        let mut state = self.state.lock();
        match state.again {
            None => true,
            Some(again) if again > now => false,
            Some(_) => {
                (state.again, state.is_probed) = (Some(now + patience), true);
                true
            }
        }
    }

    pub(super) fn note_served(&self, location: &str) {
        let mut state = self.state.lock();
        (state.again, state.is_probed) = (None, false);
        state.pauses.reset();
        if std::mem::take(&mut state.is_told) {
            tracing::info!(location, "thumbnails can be {} there again", self.what);
        }
    }

    pub(super) fn note_failed(&self, now: Instant, location: &str, error: &dyn std::fmt::Display) {
        let mut state = self.state.lock();
        // Of many that fail together, the first one makes the pause.
        if state.again.is_some() && !state.is_probed {
            return;
        }
        (state.again, state.is_probed) = (Some(now + state.pauses.next_pause()), false);
        let was_told_just_now =
            state.last_told.is_some_and(|told| now.duration_since(told) < TOLD_AGAIN_AFTER);
        if state.is_told || was_told_just_now {
            tracing::debug!(location, %error, "thumbnails can still not be {} there", self.what);
            return;
        }
        (state.last_told, state.is_told) = (Some(now), true);
        tracing::warn!(
            location,
            %error,
            "thumbnails cannot be {} there; until they can, each process makes its own",
            self.what
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_finds_out_whether_it_still_fails() {
        let (outage, began) = (Outage::new("read"), Instant::now());
        let after = |seconds: u64| began + Duration::from_secs(seconds);
        let may_ask = |seconds: u64| outage.may_ask(after(seconds), Duration::from_secs(2));
        assert!(may_ask(0) && may_ask(0), "nothing failed yet");
        outage.note_failed(after(0), "there", &"gone");
        outage.note_failed(after(0), "there", &"gone");
        assert_eq!(outage.state.lock().pauses.failures(), 1, "they failed together");
        assert!(!outage.may_ask(began, Duration::ZERO), "it is left alone");
        assert!(may_ask(1) && !may_ask(1), "one asks");
        outage.note_failed(after(2), "there", &"gone");
        assert_eq!(outage.state.lock().pauses.failures(), 2);
        assert!(may_ask(4), "the pause is over");
        // Whoever asked never came back.
        assert!(!may_ask(5) && may_ask(6));
        outage.note_served("there");
        assert!(may_ask(6) && may_ask(6), "all is well again");
    }
}
