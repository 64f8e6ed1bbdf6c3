//! The seam to the SQL tables: images and their state, known vectors, impressions and feedback.
//! The image row is the work queue: a worker leases pending rows with a token and completes them under that token.
//! Implementation: `sqlite`; whatever implements it passes `conformance`.

#[cfg(test)]
pub(crate) mod conformance;
pub mod sqlite;

use std::collections::HashMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::types::{ContentHash, Fingerprint, ImageName, Impression, ModelId, Scope};

/// The tables, as the rest of the program sees them. Times are milliseconds since 1970.
#[async_trait]
pub trait Catalog: Send + Sync + 'static {
    // --- what the reconciler needs ---

    /// A page of the images of a source whose name is in `scope`, in name order, after the name `after`.
    async fn known(
        &self,
        source: &str,
        scope: &Scope,
        after: Option<&ImageName>,
        limit: u32,
    ) -> Result<Vec<KnownImage>, CatalogError>;

    /// Records what the source has now: new and changed images become pending (losing lease, hash and failure),
    /// gone ones lose their row. One transaction.
    async fn record(
        &self,
        source: &str,
        seen: &[SeenImage],
        gone: &[ImageName],
        now_ms: i64,
    ) -> Result<(), CatalogError>;

    // --- what the worker needs ---

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

    /// Prolongs the leases of `token`.
    async fn renew(&self, token: &str, until_ms: i64) -> Result<(), CatalogError>;

    /// Gives back the images of `token` untouched (shutdown, or the store is away).
    async fn release(&self, token: &str) -> Result<u64, CatalogError>;

    /// Frees leases that ran out before `now_ms` (all of them when `now_ms` is `None`: a fresh start of the only process) and
    /// counts one interruption for each.
    async fn reclaim(&self, now_ms: Option<i64>) -> Result<u64, CatalogError>;

    /// The facts of those contents that have a stored vector under `model`, and marks them as in use.
    async fn stored_contents(
        &self,
        model: &str,
        hashes: &[ContentHash],
    ) -> Result<HashMap<ContentHash, PictureFacts>, CatalogError>;

    /// Notes that vectors of these contents are about to be written.
    async fn intend_vectors(
        &self,
        model: &str,
        contents: &[(ContentHash, PictureFacts)],
    ) -> Result<(), CatalogError>;

    /// Marks vectors as stored and images as indexed, each only while `token` still holds it and its vector is known
    /// (it may have been collected as garbage meanwhile). Returns how many images were; the rest is leased again later.
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
    ) -> Result<(), CatalogError>;

    /// Puts an image that is still being written back, with its newer fingerprint, due at `due_ms`; no try is counted.
    async fn defer(
        &self,
        token: &str,
        image_id: i64,
        fingerprint: &Fingerprint,
        due_ms: i64,
    ) -> Result<(), CatalogError>;

    /// When the earliest pending image becomes due or its lease runs out; `None` if nothing is pending.
    async fn next_due_ms(&self) -> Result<Option<i64>, CatalogError>;

    // --- vectors that nobody needs, or that are missing ---

    /// Makes every indexed image pending that has no stored vector under `model` (a new model, or a lost store).
    async fn require_vectors(&self, model: &str) -> Result<u64, CatalogError>;

    /// Notes which vectors lost their last image, and returns up to `limit` that lost it before `before_ms`.
    async fn orphans(
        &self,
        model: &str,
        now_ms: i64,
        before_ms: i64,
        limit: u32,
    ) -> Result<Vec<ContentHash>, CatalogError>;

    /// Forgets vectors that were deleted from, or are missing in, the store.
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
    async fn models(&self) -> Result<Vec<(String, u64)>, CatalogError>;

    // --- from one model to another ---

    /// How many images that were indexed before are pending again: while it is not 0, another model answers better.
    async fn awaiting(&self) -> Result<u64, CatalogError>;

    /// Notes a model that is used.
    async fn remember_model(&self, used: &UsedModel) -> Result<(), CatalogError>;

    /// Models that were noted, by name and revision.
    async fn used_models(&self) -> Result<Vec<UsedModel>, CatalogError>;

    /// Forgets a model and all that is known of its vectors.
    async fn forget_model(&self, id: &ModelId) -> Result<(), CatalogError>;

    // --- what search and the API need ---

    /// Images by content, names in order; contents without an image are absent.
    async fn images_of(
        &self,
        hashes: &[ContentHash],
    ) -> Result<HashMap<ContentHash, NamedContent>, CatalogError>;

    /// One image by name.
    async fn image(&self, name: &ImageName) -> Result<Option<ImageRow>, CatalogError>;

    /// Images with known content, newest first, and how many there are.
    async fn recent(&self, limit: u32, offset: u32) -> Result<(Vec<ImageRow>, u64), CatalogError>;

    async fn counts(&self) -> Result<StateCounts, CatalogError>;

    /// Failed images by name, and how many there are.
    async fn failures(
        &self,
        limit: u32,
        offset: u32,
    ) -> Result<(Vec<FailedImage>, u64), CatalogError>;

    /// Makes failed images pending again: the named ones, or all.
    async fn retry(&self, names: Option<&[ImageName]>) -> Result<u64, CatalogError>;

    // --- feedback ---

    /// Stores the rating of an impression, or changes what the change names.
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

    /// Really asks the database.
    async fn health(&self) -> Result<(), CatalogError>;

    /// Finishes writing and closes; called once, last.
    async fn close(&self);
}

/// From how many interruptions on an image is handled alone, because it may be what kills the process.
pub const SUSPECT_INTERRUPTIONS: i64 = 3;

/// An image as the reconciler remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownImage {
    pub name: ImageName,
    /// Fingerprint when last seen.
    pub fingerprint: Fingerprint,
}

/// A new or changed image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenImage {
    pub name: ImageName,
    pub fingerprint: Fingerprint,
    /// Not to be read before, so that a copy under way can finish.
    pub due_ms: i64,
}

/// An image claimed by a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeasedImage {
    pub id: i64,
    /// Source it belongs to.
    pub source: String,
    pub name: ImageName,
    /// Fingerprint when it was recorded.
    pub fingerprint: Fingerprint,
    /// Failed tries so far.
    pub attempts: u32,
    /// Tries cut short by a crash so far.
    pub interruptions: u32,
}

/// A model that was used. Where its files are, each machine knows for itself (see `models`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedModel {
    pub id: ModelId,
    /// What answers call it.
    pub display_name: String,
    /// What users should know about it.
    pub banner: Option<String>,
}

/// What is known of a picture's content besides its vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureFacts {
    /// `jpeg`, `png`, …
    pub format: String,
    /// Pixels across, after EXIF orientation.
    pub width: u32,
    pub height: u32,
}

/// An image whose vector is durably stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedImage {
    pub image_id: i64,
    pub hash: ContentHash,
    /// Facts of the content.
    pub facts: PictureFacts,
}

/// Why a try failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Stable code, for example `corrupt_image`.
    pub code: String,
    /// One sentence for people.
    pub reason: String,
}

/// A failed image, to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedImage {
    pub name: ImageName,
    pub failure: Failure,
    pub attempts: u32,
}

/// All images of one content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedContent {
    /// At least one, in name order.
    pub names: Vec<ImageName>,
    /// Facts of the content.
    pub facts: PictureFacts,
}

/// An image row, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// Source it belongs to.
    pub source: String,
    pub name: ImageName,
    /// Content, once it was read.
    pub hash: Option<ContentHash>,
    /// Facts, once it was decoded.
    pub facts: Option<PictureFacts>,
    pub fingerprint: Fingerprint,
}

/// Number of images by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct StateCounts {
    pub pending: u64,
    pub indexed: u64,
    /// Given up, with a reason.
    pub failed: u64,
}

/// What a user said of an impression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rating {
    /// 1..=10; none if only single images were rated.
    pub value: Option<u8>,
    /// Ratings of single images.
    pub images: Vec<ImageRating>,
}

/// What a request says of an impression; what it does not name stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RatingChange {
    pub value: Option<u8>,
    /// Ratings of single images, in place of all earlier ones.
    pub images: Option<Vec<ImageRating>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedRating {
    /// Whether it is the impression's first.
    pub first: bool,
    /// The number, if there is one by now.
    pub value: Option<u8>,
}

/// Rating of one image of an impression.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRating {
    pub image_name: String,
    /// Whether it fits the query.
    pub relevant: bool,
}

/// A rating with its impression, for export.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedbackRow {
    pub impression: Impression,
    pub rating: Rating,
    /// First rated, in milliseconds since 1970.
    pub created_ms: i64,
    /// Last changed, in milliseconds since 1970.
    pub updated_ms: i64,
}

/// What can go wrong in the catalog.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The file cannot be opened or created.
    #[error(
        "cannot open the catalog {path}: {reason}; check that the folder exists and is writable, or choose another --data-dir"
    )]
    Open {
        /// Path of the database.
        path: String,
        reason: String,
    },
    /// The database was written by a newer program.
    #[error(
        "the catalog {path} was written by another version of image-search ({reason}); use that version, or another --data-dir"
    )]
    Schema {
        /// Path of the database.
        path: String,
        /// What does not fit.
        reason: String,
    },
    #[error("the catalog failed: {0}")]
    Query(#[from] sqlx::Error),
    /// A row holds something that this program did not write.
    #[error("the catalog holds a damaged row: {0}")]
    Damaged(String),
}
