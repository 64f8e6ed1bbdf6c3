//! Compares a source with the catalog and records the difference: new, changed, gone. Both tell their names in the same order, so
//! one pass over the two, page by page, is enough, whatever their number. A move is a gone and a new name; its vector is kept
//! meanwhile and found again by content, so nothing is embedded twice. Gone is only what a source that is there, and is what it
//! was, does not list where its list really came to an end.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use super::IngestError;
use super::followed::Followed;
use crate::catalog::{Catalog, CatalogError, KnownImage, SeenImage, UnnameableFile};
use crate::source::presence::Found;
use crate::source::{Identity, Listed, SourceError};
use crate::types::{Fingerprint, ImageName, Scope, now_ms};

/// Rows per page and per transaction.
const PAGE: u32 = 1000;
/// Gone names are held back until the listing has ended, or there are so many.
const GONE_HELD_MAX: usize = 10_000;
/// Files with impossible names that are remembered of one source.
const UNNAMEABLE_MAX: usize = 1000;
/// Warnings about single parts in one comparison; further ones are counted.
const WARNINGS_MAX: u64 = 10;

/// Compares one source with the catalog.
pub(super) struct Reconciler<'a> {
    pub(super) catalog: &'a dyn Catalog,
    pub(super) followed: &'a Followed,
    pub(super) settle_ms: i64,
    /// Whether an emptied source, or another one in its place, is taken for one that is away.
    pub(super) away_when_emptied: bool,
    /// Rung when something was recorded.
    pub(super) work: &'a Notify,
    /// Cleared when something was recorded: housekeeping may have something to do.
    pub(super) is_clean: &'a AtomicBool,
    /// What this process has to hold a claim on while it records, if others might take over.
    pub(super) claim: Option<String>,
}

/// What is to be recorded.
struct Changes {
    /// Whether they come from a comparison of everything. It takes a while; what was looked at meanwhile, hints know better.
    of_everything: bool,
    seen: Vec<SeenImage>,
    gone: Vec<ImageName>,
    unnameable: Vec<UnnameableFile>,
}

impl Reconciler<'_> {
    /// Compares everything. Notes whether the source is there, and what it is.
    pub(super) async fn compare_all(&self) -> Result<(), IngestError> {
        let (source, presence) = (&*self.followed.source, &self.followed.presence);
        match self.try_compare_all().await {
            Ok(identity) => {
                let text = Some(identity.0.as_str());
                self.catalog.mark_listed(source.id(), text, now_ms()).await?;
                if presence.away().is_some() {
                    self.catalog.mark_away(source.id(), None, now_ms()).await?;
                    self.followed.forget_trouble();
                    self.work.notify_one();
                }
                presence.note_present(source, identity);
                Ok(())
            }
            Err(IngestError::Source(SourceError::Away { location, reason })) => {
                presence.note_away(source, &reason);
                self.catalog.mark_away(source.id(), Some(&reason), now_ms()).await?;
                Err(SourceError::Away { location, reason }.into())
            }
            Err(error) => Err(error),
        }
    }

    async fn try_compare_all(&self) -> Result<Identity, IngestError> {
        let (source, presence) = (&*self.followed.source, &self.followed.presence);
        let identity = match presence.ask(source).await? {
            Found::Same(identity) => identity,
            Found::Other(identity) => {
                let is_known = presence.known().identity.is_some();
                if is_known && self.away_when_emptied && !self.recognises().await? {
                    return Err(self.away(format!("another one is in its place ({identity}) and has none of its pictures; if that is meant, set ingest.away_when_emptied = false")));
                }
                identity
            }
        };
        presence.note_identity(identity.clone());
        let _remembering = self.followed.remember_touched();
        let mut changes = Changes::new(true);
        self.merge(&Scope::All, &identity, &mut changes).await?;
        self.record_gone(&identity, &mut changes).await?;
        self.record_seen(&mut changes).await?;
        self.catalog.note_unnameable(source.id(), &changes.unnameable).await?;
        Ok(identity)
    }

    /// Compares what lies in these scopes. Of a source that is away or was exchanged, nothing is concluded.
    pub(super) async fn compare(&self, scopes: &[Scope]) -> Result<(), IngestError> {
        let compared = self.try_compare(scopes).await;
        if let Err(IngestError::Source(SourceError::Away { reason, .. })) = &compared {
            self.followed.presence.note_away(&*self.followed.source, reason);
            self.followed.rescan.notify_one();
        }
        compared
    }

    async fn try_compare(&self, scopes: &[Scope]) -> Result<(), IngestError> {
        let (source, presence) = (&*self.followed.source, &self.followed.presence);
        presence.confirm(source).await?;
        let (Found::Same(identity) | Found::Other(identity)) = presence.ask(source).await?;
        self.followed.touch(scopes);
        let mut changes = Changes::new(false);
        for scope in scopes {
            self.merge(scope, &identity, &mut changes).await?;
        }
        self.record_gone(&identity, &mut changes).await?;
        self.record_seen(&mut changes).await
    }

    fn away(&self, reason: impl Into<String>) -> IngestError {
        let location = self.followed.source.location();
        SourceError::Away { location, reason: reason.into() }.into()
    }

    /// Walks along both lists.
    async fn merge(
        &self,
        scope: &Scope,
        identity: &Identity,
        changes: &mut Changes,
    ) -> Result<(), IngestError> {
        let mut listing = self.followed.source.list(scope, None);
        let mut known = KnownNames::new(self.catalog, self.followed.source.id(), scope);
        let mut hidden = Hidden::default();
        let mut warnings = Warnings::new(self.followed);
        let mut last: Option<ImageName> = None;
        let mut is_empty = true;
        while let Some(item) = listing.next().await? {
            is_empty = false;
            match item {
                Listed::Image(name, fingerprint) => {
                    if last.as_ref().is_some_and(|last| *last >= name) {
                        return Err(self.away(format!("it lists {name} out of order")));
                    }
                    while let Some(missing) = known.next_if(|known| known.name < name).await? {
                        changes.add_missing(missing.name, &mut hidden);
                    }
                    let before = known.next_if(|known| known.name == name).await?;
                    if before.is_none_or(|before| before.fingerprint != fingerprint) {
                        changes.add_seen(name.clone(), fingerprint, self.settle_ms);
                    }
                    last = Some(name);
                    self.record_full(identity, changes).await?;
                }
                Listed::Unreadable { part, reason } => {
                    warnings.add(
                        &reason,
                        "cannot look at a part of the source; what is known of it is kept",
                    );
                    hidden.parts.push(part);
                }
                Listed::Unnameable { shown, reason } => {
                    warnings.add(&format!("{shown}: {reason}"), "a file is left out");
                    if changes.unnameable.len() < UNNAMEABLE_MAX {
                        changes.unnameable.push(UnnameableFile { shown, reason });
                    }
                }
                Listed::Truncated => {
                    warnings.add(
                        "ingest.images_max",
                        "more files than the limit; the rest is left out",
                    );
                    return Ok(());
                }
            }
        }
        while let Some(missing) = known.next_if(|_| true).await? {
            if is_empty && *scope == Scope::All && self.away_when_emptied {
                return Err(self.away("no picture is left in it, as if it were not mounted; if they were deleted, set ingest.away_when_emptied = false"));
            }
            changes.add_missing(missing.name, &mut hidden);
            self.record_full(identity, changes).await?;
        }
        Ok(())
    }

    /// Whether the pictures of another disk or folder are those that we know: at least a tenth of some thousand.
    async fn recognises(&self) -> Result<bool, IngestError> {
        let mut listing = self.followed.source.list(&Scope::All, None);
        let mut known = KnownNames::new(self.catalog, self.followed.source.id(), &Scope::All);
        let (mut looked_for, mut found) = (0, 0);
        while let Some(item) = listing.next().await? {
            let Listed::Image(name, fingerprint) = item else { continue };
            while known.next_if(|known| known.name < name).await?.is_some() {
                looked_for += 1;
            }
            if let Some(before) = known.next_if(|known| known.name == name).await? {
                looked_for += 1;
                found += u32::from(before.fingerprint.size_bytes == fingerprint.size_bytes);
            }
            if looked_for >= PAGE {
                if found * 10 >= looked_for {
                    return Ok(true);
                }
                (looked_for, found) = (0, 0);
            }
        }
        while looked_for < PAGE && known.next_if(|_| true).await?.is_some() {
            looked_for += 1;
        }
        Ok(found * 10 >= looked_for)
    }

    async fn record_full(
        &self,
        identity: &Identity,
        changes: &mut Changes,
    ) -> Result<(), IngestError> {
        if changes.gone.len() >= GONE_HELD_MAX {
            self.record_gone(identity, changes).await?;
        }
        if changes.seen.len() >= PAGE as usize {
            self.record_seen(changes).await?;
        }
        Ok(())
    }

    /// Records what is not there any more, if the source still is what it was when the comparison began.
    async fn record_gone(
        &self,
        identity: &Identity,
        changes: &mut Changes,
    ) -> Result<(), IngestError> {
        if changes.gone.is_empty() {
            return Ok(());
        }
        let source = &*self.followed.source;
        let (Found::Same(now) | Found::Other(now)) = self.followed.presence.ask(source).await?;
        if now != *identity {
            return Err(self.away("it was exchanged while it was compared"));
        }
        let mut gone = std::mem::take(&mut changes.gone);
        while !gone.is_empty() {
            let mut page = gone.split_off(gone.len().saturating_sub(PAGE as usize));
            page.retain(|name| !self.is_outdated(changes, name));
            tracing::debug!(source = source.id(), gone = page.len(), "pictures are gone");
            self.record(&[], &page).await?;
            self.ring();
        }
        Ok(())
    }

    async fn record_seen(&self, changes: &mut Changes) -> Result<(), IngestError> {
        let mut seen = std::mem::take(&mut changes.seen);
        seen.retain(|image| !self.is_outdated(changes, &image.name));
        if seen.is_empty() {
            return Ok(());
        }
        let source = self.followed.source.id();
        tracing::debug!(source, new_or_changed = seen.len(), "pictures came or changed");
        self.record(&seen, &[]).await?;
        self.ring();
        Ok(())
    }

    async fn record(&self, seen: &[SeenImage], gone: &[ImageName]) -> Result<(), CatalogError> {
        let (source, now) = (self.followed.source.id(), now_ms());
        let Some(claim) = &self.claim else {
            return self.catalog.record(source, seen, gone, now).await;
        };
        if self.catalog.record_while_claimed(claim, source, seen, gone, now).await? {
            return Ok(());
        }
        let lost = "another process compares this source by now; what this one saw does not count";
        Err(CatalogError::Unavailable(lost.to_owned()))
    }

    fn ring(&self) {
        self.is_clean.store(false, Ordering::Relaxed);
        self.work.notify_one();
    }

    fn is_outdated(&self, changes: &Changes, name: &ImageName) -> bool {
        changes.of_everything && self.followed.was_touched(name)
    }
}

impl Changes {
    fn new(of_everything: bool) -> Self {
        Self { of_everything, seen: Vec::new(), gone: Vec::new(), unnameable: Vec::new() }
    }

    fn add_seen(&mut self, name: ImageName, fingerprint: Fingerprint, settle_ms: i64) {
        let due_ms = due_ms(&fingerprint, now_ms(), settle_ms);
        self.seen.push(SeenImage { name, fingerprint, due_ms });
    }

    fn add_missing(&mut self, name: ImageName, hidden: &mut Hidden) {
        if !hidden.has(&name) {
            self.gone.push(name);
        }
    }
}

/// Parts of the source that could not be looked at; those that the walk has left behind are forgotten.
#[derive(Default)]
struct Hidden {
    parts: Vec<ImageName>,
}

impl Hidden {
    /// Names are asked for in their order.
    fn has(&mut self, name: &ImageName) -> bool {
        // Everything below "a" comes before "a0".
        self.parts.retain(|part| {
            let rest = name.as_str().strip_prefix(part.as_str());
            rest.map_or(name < part, |rest| rest < "0")
        });
        self.parts.iter().any(|part| name.is_at_or_below(part))
    }
}

/// The catalog's names in a scope, in order, a page at a time.
struct KnownNames<'a> {
    catalog: &'a dyn Catalog,
    source: &'a str,
    scope: &'a Scope,
    page: VecDeque<KnownImage>,
    after: Option<ImageName>,
    ended: bool,
}

impl<'a> KnownNames<'a> {
    fn new(catalog: &'a dyn Catalog, source: &'a str, scope: &'a Scope) -> Self {
        Self { catalog, source, scope, page: VecDeque::new(), after: None, ended: false }
    }

    /// Takes the next one if it is `wanted`.
    async fn next_if(
        &mut self,
        wanted: impl Fn(&KnownImage) -> bool,
    ) -> Result<Option<KnownImage>, IngestError> {
        if self.page.is_empty() && !self.ended {
            let page =
                self.catalog.known(self.source, self.scope, self.after.as_ref(), PAGE).await?;
            self.ended = page.len() < PAGE as usize;
            if let Some(last) = page.last() {
                self.after = Some(last.name.clone());
            }
            self.page = page.into();
        }
        Ok(self.page.pop_front_if(|known| wanted(known)))
    }
}

/// Says the first few things that are wrong, and how many more there are.
struct Warnings<'a> {
    followed: &'a Followed,
    count: u64,
}

impl<'a> Warnings<'a> {
    fn new(followed: &'a Followed) -> Self {
        Self { followed, count: 0 }
    }

    fn add(&mut self, reason: &str, what: &str) {
        self.count += 1;
        if self.count <= WARNINGS_MAX {
            tracing::warn!(source = %self.followed.source.location(), reason, "{what}");
        }
    }
}

impl Drop for Warnings<'_> {
    fn drop(&mut self) {
        if self.count > WARNINGS_MAX {
            let further = self.count - WARNINGS_MAX;
            tracing::warn!(source = %self.followed.source.location(), further, "and further parts or files like these");
        }
    }
}

/// A file that was touched just now may still be being written: look again after a while. One with a time in the future says nothing.
fn due_ms(fingerprint: &Fingerprint, now_ms: i64, settle_ms: i64) -> i64 {
    let age_ms = now_ms - fingerprint.modified_ms;
    if age_ms >= settle_ms { now_ms } else { now_ms + settle_ms }
}
