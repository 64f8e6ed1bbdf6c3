//! Whether a source is there, and what it was when it last was: the memory that tells an unplugged disk from deleted pictures.
//! Who compares a source with the catalog asks here first; while it is away, nothing that is known of it changes.

use std::time::Duration;

use tokio::sync::watch;

use super::{Identity, Source, SourceError};
use crate::types::{Away, now_ms};

/// A source that does not say what it is for so long does not answer.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// What is known of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// What it was when it was last compared with the catalog.
    pub identity: Option<Identity>,
    pub away: Option<Away>,
}

/// What a source turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// What it was before.
    Same(Identity),
    /// Something else, or nothing was noted yet.
    Other(Identity),
}

#[derive(Default)]
pub struct Presence {
    known: watch::Sender<Known>,
}

impl Presence {
    /// Takes over what an earlier run noted.
    pub fn restore(&self, known: Known) {
        self.known.send_replace(known);
    }

    pub fn known(&self) -> Known {
        self.known.borrow().clone()
    }

    pub fn away(&self) -> Option<Away> {
        self.known.borrow().away.clone()
    }

    /// Asks the source what it is. An error means that it is away.
    pub async fn ask(&self, source: &dyn Source) -> Result<Found, SourceError> {
        let asked = tokio::time::timeout(ANSWER_MAX, source.identity()).await;
        let identity = asked.unwrap_or_else(|_| {
            let reason = format!("it does not answer within {} s", ANSWER_MAX.as_secs());
            Err(SourceError::Away { location: source.location(), reason })
        })?;
        let is_same = self.known.borrow().identity.as_ref() == Some(&identity);
        Ok(if is_same { Found::Same(identity) } else { Found::Other(identity) })
    }

    /// Whether a name that was not found there is really gone: only if the source is there, and what it was.
    pub async fn confirm(&self, source: &dyn Source) -> Result<(), SourceError> {
        let away = |reason: String| SourceError::Away { location: source.location(), reason };
        if let Some(known) = self.away() {
            return Err(away(known.reason));
        }
        match self.ask(source).await? {
            Found::Same(_) => Ok(()),
            // Before the first comparison, nothing is known of it and nothing to be mistaken about.
            Found::Other(_) if self.known.borrow().identity.is_none() => Ok(()),
            Found::Other(identity) => {
                Err(away(format!("another one is in its place ({identity})")))
            }
        }
    }

    /// Notes what is about to be compared, so that what happens meanwhile is judged by it. Whether it is away stays open.
    pub fn note_identity(&self, identity: Identity) {
        self.known.send_if_modified(|known| {
            let is_news = known.identity.as_ref() != Some(&identity);
            known.identity = Some(identity);
            is_news
        });
    }

    /// Notes that it is there and was compared.
    pub fn note_present(&self, source: &dyn Source, identity: Identity) {
        self.known.send_if_modified(|known| {
            let now = Known { identity: Some(identity), away: None };
            if known.away.is_some() {
                tracing::info!(source = %source.location(), "the source is back");
            }
            let changed = *known != now;
            *known = now;
            changed
        });
    }

    /// Notes that it cannot be used; what it was is kept.
    pub fn note_away(&self, source: &dyn Source, reason: &str) {
        self.known.send_if_modified(|known| {
            let is_news = known.away.as_ref().is_none_or(|away| away.reason != reason);
            if is_news {
                tracing::warn!(source = %source.location(), reason, "the source is away; what is known of it is kept, and it is picked up again by itself");
                let since_ms = known.away.as_ref().map_or_else(now_ms, |away| away.since_ms);
                known.away = Some(Away { reason: reason.to_owned(), since_ms });
            }
            is_news
        });
    }

    /// Waits until it is not away.
    pub async fn returned(&self) {
        let mut changes = self.known.subscribe();
        // The sender is ours, so that it cannot end meanwhile.
        let _ = changes.wait_for(|known| known.away.is_none()).await;
    }
}
