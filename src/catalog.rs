//! The seam to the SQL tables: images and their state, sources, known vectors, impressions and feedback.
//! The image row is the work queue: workers, of one process or many, lease pending rows under a token and complete them
//! under that token. Implementations: `sqlite` and `postgres`, found by `address`; whatever implements it passes `conformance`.

pub mod address;
mod api_keys;
mod claims;
#[cfg(test)]
pub(crate) mod conformance;
pub mod copy;
mod decisions;
mod error;
mod facts;
mod hints;
mod ledger;
mod lists;
mod memory;
mod migrations;
pub mod postgres;
mod processes;
mod records;
mod rows;
pub mod sqlite;
mod taken;

use std::collections::HashMap;

use async_trait::async_trait;

pub use self::api_keys::{ApiKey, ApiKeys, KeyScope, NoSuchScope};
pub use self::claims::Claims;
pub use self::decisions::{Decisions, Gate, GateDecision, GateOutcome};
pub use self::error::CatalogError;
pub use self::facts::{
    ContentFacts, FacetChanges, Facts, Header, ImageFacets, NamedImage, ReadHeader, UnreadImage,
};
pub use self::hints::{Hint, Hints};
pub use self::ledger::StoreLedger;
pub use self::memory::{Forgotten, Memory, MemoryState, RememberedRating, Thumb};
pub use self::processes::{ProcessRow, Processes, SIGN_OF_LIFE};
pub use self::records::{
    COPIES_COUNTED_MAX, CompletedImage, ConfiguredSource, FailedImage, Failure, FailureCode,
    FailurePage, FeedbackRow, ImageRating, ImageRow, ImageState, KnownImage, LeasedImage,
    NamedContent, PageStart, PictureFacts, Rating, RatingChange, RecentCursor, RecentPage,
    SavedRating, SeenImage, SourceRow, StateCounts, UnnameableFile, UsedModel,
};
pub use self::taken::ImageTaken;
use crate::types::{ContentHash, Fingerprint, ImageName, Impression, ModelId, Preview, Scope};

/// From how many interruptions on an image is handled alone, because it may be what kills the process.
pub const SUSPECT_INTERRUPTIONS: i64 = 3;

/// The tables, as the rest of the program sees them. Times are milliseconds since 1970.
#[async_trait]
pub trait Catalog:
    Images
    + Previews
    + Sources
    + Queue
    + Claims
    + Vectors
    + Facts
    + Feedback
    + Memory
    + Decisions
    + StoreLedger
    + Processes
    + ApiKeys
{
    /// Really asks the database, and says so if it cannot be written to.
    async fn health(&self) -> Result<(), CatalogError>;

    /// Finishes writing and closes; called once, last.
    async fn close(&self);

    /// Where it is heard at once what other processes do; `None` if nobody tells, and everybody looks now and then.
    fn hints(&self) -> Option<Hints> {
        None
    }

    /// Tells other processes, where that is possible. [`Hint::Work`] is told by what makes images pending.
    async fn announce(&self, _hint: Hint) -> Result<(), CatalogError> {
        Ok(())
    }
}

/// Which images there are. One that went is hidden and kept for a while, with its content and vector: if it comes back,
/// nothing has to be read. Hidden too are the images of sources that are no longer configured.
#[async_trait]
pub trait Images: Send + Sync + 'static {
    /// A page of the images of a source that are there and whose name is in `scope`, in name order, after the name `after`.
    async fn known(
        &self,
        source: &str,
        scope: &Scope,
        after: Option<&ImageName>,
        limit: u32,
    ) -> Result<Vec<KnownImage>, CatalogError>;

    /// Records what the source has now, in one transaction. New images become pending. Changed ones too, losing lease and
    /// failure; content and facts of before go on answering until [`Queue::complete`] replaces them. One that comes
    /// back as it was is there again, in its former state. What is gone is missing from `now_ms` on, or forgotten at once
    /// if it was never read.
    async fn record(
        &self,
        source: &str,
        seen: &[SeenImage],
        gone: &[ImageName],
        now_ms: i64,
    ) -> Result<(), CatalogError>;

    /// Forgets images at once (somebody deleted them here). Returns how many there were.
    async fn forget(&self, names: &[ImageName], now_ms: i64) -> Result<u64, CatalogError>;

    /// Forgets up to `limit` images that are missing since `before_ms` or earlier, or whose source is no longer configured
    /// since then. Returns how many; fewer than `limit` means that none is left.
    async fn forget_missing(
        &self,
        before_ms: i64,
        limit: u32,
        now_ms: i64,
    ) -> Result<u64, CatalogError>;

    /// Images by content, of each the first `names_max` names; contents without an image are absent.
    async fn images_of(
        &self,
        hashes: &[ContentHash],
        names_max: u32,
    ) -> Result<HashMap<ContentHash, NamedContent>, CatalogError>;

    /// Names of the images with this content, in order, after the name `after`.
    async fn names_of(
        &self,
        hash: &ContentHash,
        after: Option<&ImageName>,
        limit: u32,
    ) -> Result<Vec<ImageName>, CatalogError>;

    /// One image by name, if it is there.
    async fn image(&self, name: &ImageName) -> Result<Option<ImageRow>, CatalogError>;

    /// Images with known content, those taken last first. An offset costs as much as it skips, a cursor nothing.
    async fn recent(
        &self,
        limit: u32,
        start: PageStart<RecentCursor>,
    ) -> Result<RecentPage, CatalogError>;

    async fn counts(&self) -> Result<StateCounts, CatalogError>;

    /// What files are that are no pictures, and how many of each kind.
    async fn skipped(&self) -> Result<Vec<(String, u64)>, CatalogError>;

    /// Failed images by name.
    async fn failures(
        &self,
        limit: u32,
        start: PageStart<ImageName>,
    ) -> Result<FailurePage, CatalogError>;
}

/// A few bytes for each content, with which a picture's place is painted before the picture is there.
#[async_trait]
pub trait Previews: Send + Sync + 'static {
    /// Keeps them, in place of earlier ones.
    async fn keep_previews(&self, previews: &[(ContentHash, Preview)]) -> Result<(), CatalogError>;

    /// Those that there are.
    async fn previews(
        &self,
        hashes: &[ContentHash],
    ) -> Result<HashMap<ContentHash, Preview>, CatalogError>;
}

/// Where images come from, as the catalog remembers it.
#[async_trait]
pub trait Sources: Send + Sync + 'static {
    /// All that are known, in the order in which they are worked on.
    async fn sources(&self) -> Result<Vec<SourceRow>, CatalogError>;

    /// These are the configured ones. All others are hidden from `now_ms` on.
    async fn configure_sources(
        &self,
        configured: &[ConfiguredSource],
        now_ms: i64,
    ) -> Result<(), CatalogError>;

    /// Notes that a source cannot be looked at as a whole, and why, or (`None`) that it can again. Images of one that is
    /// away are not leased, and answer searches as before.
    async fn mark_away(
        &self,
        source: &str,
        reason: Option<&str>,
        now_ms: i64,
    ) -> Result<(), CatalogError>;

    /// Notes that a source was compared as a whole, and what it was then.
    async fn mark_listed(
        &self,
        source: &str,
        identity: Option<&str>,
        now_ms: i64,
    ) -> Result<(), CatalogError>;

    /// Notes which files of a source cannot be images because of their names, in place of those that were noted before.
    async fn note_unnameable(
        &self,
        source: &str,
        files: &[UnnameableFile],
    ) -> Result<(), CatalogError>;

    /// Those of all configured sources.
    async fn unnameable(&self) -> Result<Vec<UnnameableFile>, CatalogError>;
}

/// The images as a queue. Any number of workers and processes may share it: whoever leases an image holds it until the
/// lease ends, and what a worker says of an image counts only under the token under which it holds it.
#[async_trait]
pub trait Queue: Send + Sync + 'static {
    /// Claims up to `limit` due pending images under `token` until `until_ms`. Images that a crash interrupted at least
    /// [`SUSPECT_INTERRUPTIONS`] times are suspects: they are only handed out one at a time, when `suspects` is set.
    async fn lease(
        &self,
        limit: u32,
        token: &str,
        now_ms: i64,
        until_ms: i64,
        suspects: bool,
    ) -> Result<Vec<LeasedImage>, CatalogError>;

    /// Prolongs the lease `token`.
    async fn renew(&self, token: &str, until_ms: i64) -> Result<(), CatalogError>;

    /// Gives back the images of `token` untouched (shutdown, or the store is away).
    async fn release(&self, token: &str) -> Result<u64, CatalogError>;

    /// Frees what leases held that ran out before `now_ms`, whoever had them, and counts one interruption for each image.
    async fn reclaim_expired(&self, now_ms: i64) -> Result<u64, CatalogError>;

    /// Frees what the holder of this handle held when it ended, and counts one interruption for each image. Only at a start:
    /// nobody else works under that name (the lock of the data folder sees to it). Leases of others are left alone.
    async fn reclaim_own(&self, now_ms: i64) -> Result<u64, CatalogError>;

    /// Marks vectors as stored and images as indexed, each only while `token` still holds it. An image whose vector is
    /// being deleted, or was, goes back into the queue. Returns how many were indexed.
    async fn complete(
        &self,
        model: &str,
        token: &str,
        done: &[CompletedImage],
        now_ms: i64,
    ) -> Result<u64, CatalogError>;

    /// Counts a failed try: the image is pending again from `retry_ms` on, or failed when that is `None`.
    async fn fail(
        &self,
        token: &str,
        image_id: i64,
        failure: &Failure,
        retry_ms: Option<i64>,
        now_ms: i64,
    ) -> Result<(), CatalogError>;

    /// The file is no picture but `what` (`video`, `document`, …): it is left alone until it changes. If it was one before,
    /// that answers no more.
    async fn skip(
        &self,
        token: &str,
        image_id: i64,
        what: &str,
        now_ms: i64,
    ) -> Result<(), CatalogError>;

    /// Puts an image back, with the fingerprint it has now, due at `due_ms`; no try is counted.
    async fn defer(
        &self,
        token: &str,
        image_id: i64,
        fingerprint: &Fingerprint,
        due_ms: i64,
    ) -> Result<(), CatalogError>;

    /// An image turned out to be gone: like a gone one of [`Images::record`], but only while `token` holds it.
    async fn gone(&self, token: &str, image_id: i64, now_ms: i64) -> Result<(), CatalogError>;

    /// When the earliest pending image becomes due or the earliest lease runs out; `None` if there is neither.
    async fn next_due_ms(&self) -> Result<Option<i64>, CatalogError>;

    /// How many images that answered before are pending again: while it is not 0, another model answers better.
    async fn awaiting(&self) -> Result<u64, CatalogError>;

    /// Makes failed images pending again: the named ones, or all.
    async fn retry(&self, names: Option<&[ImageName]>) -> Result<u64, CatalogError>;
}

/// Which contents have a vector in which model's collection, and which models were used.
///
/// A vector is noted before it is written, so that whatever a crash leaves in the store is known. It is an orphan until an
/// image counts on it ([`Queue::complete`]), and again when its last image is forgotten. Orphans are deleted under a claim.
/// Claimed is final: until the deletion is done, the content can be neither intended nor completed, so no image ever
/// counts on a vector that somebody is about to delete.
#[async_trait]
pub trait Vectors: Send + Sync + 'static {
    /// The facts of those contents that have a stored vector under `model`; for orphans among them the grace begins anew.
    async fn stored_contents(
        &self,
        model: &str,
        hashes: &[ContentHash],
        now_ms: i64,
    ) -> Result<HashMap<ContentHash, PictureFacts>, CatalogError>;

    /// Notes that vectors of these contents are about to be written; all of them, or none and
    /// [`CatalogError::Unavailable`] while one of them is being deleted.
    async fn intend_vectors(
        &self,
        model: &str,
        contents: &[(ContentHash, PictureFacts)],
        now_ms: i64,
    ) -> Result<(), CatalogError>;

    /// Makes every indexed image pending that has no stored vector under `model` (a new model).
    async fn require_vectors(&self, model: &str) -> Result<u64, CatalogError>;

    /// Claims up to `limit` orphans under `token` until `until_ms`, to be deleted from the store and then given to
    /// [`Self::forget_orphans`]: those that lost their last image at `before_ms` or earlier, and first of all those that
    /// somebody else claimed whose lease ended.
    async fn claim_orphans(
        &self,
        model: &str,
        before_ms: i64,
        limit: u32,
        token: &str,
        now_ms: i64,
        until_ms: i64,
    ) -> Result<Vec<ContentHash>, CatalogError>;

    /// Forgets the orphans claimed under `token`, which are deleted from the store by now. Returns how many.
    async fn forget_orphans(&self, model: &str, token: &str) -> Result<u64, CatalogError>;

    /// Forgets vectors that are missing in the store, and makes the images pending that counted on them.
    async fn forget_vectors(&self, model: &str, hashes: &[ContentHash])
    -> Result<(), CatalogError>;

    /// A page of the contents with a stored vector under `model`, in hash order.
    async fn stored_hashes(
        &self,
        model: &str,
        after: Option<&ContentHash>,
        limit: u32,
    ) -> Result<Vec<ContentHash>, CatalogError>;

    /// Models with vectors, and how many each has stored.
    async fn stored_by_model(&self) -> Result<Vec<(String, u64)>, CatalogError>;

    /// Notes a model that is used.
    async fn remember_model(&self, used: &UsedModel) -> Result<(), CatalogError>;

    /// Models that were noted, by name and revision.
    async fn used_models(&self) -> Result<Vec<UsedModel>, CatalogError>;

    /// Forgets a model and all that is known of its vectors.
    async fn forget_model(&self, id: &ModelId) -> Result<(), CatalogError>;
}

/// Searches that were rated, and how.
#[async_trait]
pub trait Feedback: Send + Sync + 'static {
    /// Stores the rating of an impression, or changes what the change names. Once it returns, a power cut loses nothing.
    async fn save_feedback(
        &self,
        impression: &Impression,
        change: &RatingChange,
        now_ms: i64,
    ) -> Result<SavedRating, CatalogError>;

    /// A page of feedback in order of impression id.
    async fn feedback(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<FeedbackRow>, CatalogError>;
}
