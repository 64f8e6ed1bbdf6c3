//! What goes into the catalog and comes out of it: rows, pages, counts, and the words for states and failures.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

use super::facts::Header;
use super::taken::ImageTaken;
use crate::types::{Away, ContentHash, Fingerprint, ImageName, Impression, ModelId};

/// Where an image is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageState {
    /// To be read, and its vector made.
    Pending,
    Indexed,
    /// Given up, with a reason.
    Failed,
    /// No picture, which is no fault.
    Skipped,
}

impl ImageState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Indexed => "indexed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

impl FromStr for ImageState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Pending, Self::Indexed, Self::Failed, Self::Skipped];
        all.into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownState(text.to_owned()))
    }
}

/// A word that is no [`ImageState`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no state of an image")]
pub struct UnknownState(String);

/// Declares the codes with their words in one place.
macro_rules! failure_codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Why a try to index an image failed, for programs.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum FailureCode {
            $($(#[$doc])* $variant,)*
            /// Written by another version of the program.
            Other(String),
        }

        impl FailureCode {
            /// Every code that this version writes.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(text) => text,
                }
            }
        }

        impl From<&str> for FailureCode {
            fn from(text: &str) -> Self {
                match text {
                    $($text => Self::$variant,)*
                    other => Self::Other(other.to_owned()),
                }
            }
        }
    };
}

failure_codes! {
    EmptyFile = "empty_file",
    TooManyBytes = "too_many_bytes",
    NotAnImage = "not_an_image",
    TooManyPixels = "too_many_pixels",
    TooMuchMemory = "too_much_memory",
    DecodeTimeout = "decode_timeout",
    TruncatedImage = "truncated_image",
    CorruptImage = "corrupt_image",
    /// A folder, device, pipe, or a link that is not followed.
    NotAFile = "not_a_file",
    ReadError = "read_error",
    PermissionDenied = "permission_denied",
    ModelFailed = "model_failed",
    /// The program ended too often while it worked on this image alone.
    CrashesIndexing = "crashes_indexing",
}

impl FailureCode {
    /// Whether it is the file that is wrong, so that what it was before answers no more.
    pub fn is_of_content(&self) -> bool {
        !matches!(self, Self::ReadError | Self::PermissionDenied | Self::ModelFailed)
    }

    /// Whether trying again can help though the file stays as it is: what was in the way, or a limit, may have changed.
    pub fn is_retryable(&self) -> bool {
        !matches!(
            self,
            Self::EmptyFile
                | Self::NotAnImage
                | Self::TruncatedImage
                | Self::CorruptImage
                | Self::NotAFile
        )
    }
}

impl From<String> for FailureCode {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl FromStr for FailureCode {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::from(text))
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for FailureCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// An image as the reconciler remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownImage {
    pub name: ImageName,
    /// Fingerprint when last seen.
    pub fingerprint: Fingerprint,
}

/// A new, changed or returned image.
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

/// A source of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredSource {
    pub id: String,
    /// For messages, for example the folder's path.
    pub location: String,
}

/// What is known of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRow {
    pub id: String,
    pub location: String,
    /// What it was when last compared as a whole (device, file system, bucket).
    pub identity: Option<String>,
    /// Set while it cannot be looked at as a whole.
    pub away: Option<Away>,
    /// Since when it is not in the configuration any more.
    pub unconfigured_since_ms: Option<i64>,
    /// When it was last compared as a whole.
    pub last_listed_ms: Option<i64>,
    /// Images that are there, or were when it went.
    pub images: u64,
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
#[derive(Debug, Clone, PartialEq)]
pub struct CompletedImage {
    pub image_id: i64,
    pub hash: ContentHash,
    /// Facts of the content.
    pub facts: PictureFacts,
    /// What else was found out about it.
    pub header: Header,
}

/// Why a try failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub code: FailureCode,
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

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageStart<Cursor> {
    /// So many entries from the beginning; each of them is walked over.
    Offset(u32),
    /// Behind the entry of the page before that its `next` named.
    After(Cursor),
}

/// Place in the list of images by when they were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecentCursor {
    pub taken_ms: i64,
    pub id: i64,
}

impl fmt::Display for RecentCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.taken_ms, self.id)
    }
}

/// A text that no page gave as its `next`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"after\" is not what a page gave as \"next\"")]
pub struct BadCursor;

impl FromStr for RecentCursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| text.parse::<i64>().map_err(|_| BadCursor);
        let (taken_ms, id) = text.split_once('.').ok_or(BadCursor)?;
        Ok(Self { taken_ms: number(taken_ms)?, id: number(id)? })
    }
}

/// A page of the newest images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentPage {
    pub images: Vec<ImageRow>,
    /// How many there are in all.
    pub total: u64,
    /// Where the next page begins; `None` behind the last.
    pub next: Option<RecentCursor>,
}

/// A page of failed images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailurePage {
    pub failures: Vec<FailedImage>,
    /// How many there are in all.
    pub total: u64,
    /// Where the next page begins; `None` behind the last.
    pub next: Option<ImageName>,
}

/// Copies of one picture are counted up to here.
pub const COPIES_COUNTED_MAX: u32 = 10_000;

/// All images of one content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedContent {
    /// The first ones, in name order; at least one.
    pub names: Vec<ImageName>,
    /// How many there are in all, counted up to [`COPIES_COUNTED_MAX`].
    pub names_total: u64,
    /// Facts of the content.
    pub facts: PictureFacts,
}

/// An image row, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// Source it belongs to.
    pub source: String,
    pub name: ImageName,
    pub state: ImageState,
    /// Content, once it was read.
    pub hash: Option<ContentHash>,
    /// Facts, once it was decoded.
    pub facts: Option<PictureFacts>,
    /// Content and facts are those of an earlier version of the file; the new one has not been read yet.
    pub outdated: bool,
    pub fingerprint: Fingerprint,
    /// When it was taken, once that was found out.
    pub taken: Option<ImageTaken>,
}

/// Number of images by state. Those that are missing, or hidden with their source, count only as that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct StateCounts {
    pub pending: u64,
    pub indexed: u64,
    /// Given up, with a reason.
    pub failed: u64,
    /// Files that are no pictures.
    pub skipped: u64,
    /// Gone from their source, and not forgotten yet.
    pub missing: u64,
    /// Of sources that are not in the configuration any more.
    pub unconfigured: u64,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_codes_keep_their_words_and_those_of_other_versions() {
        for code in FailureCode::ALL {
            assert_eq!(FailureCode::from(code.as_str()), *code);
        }
        assert_eq!(FailureCode::from("of_tomorrow").as_str(), "of_tomorrow");
        assert!(!FailureCode::ALL.contains(&FailureCode::from("of_tomorrow")));
    }

    #[test]
    fn every_code_of_the_decoder_has_a_name_here() {
        let limits =
            clip::DecodeLimits { max_bytes: 10, max_pixels: 1, max_alloc_bytes: 1, timeout_ms: 1 };
        for bytes in [&b""[..], b"more than ten bytes", b"no image"] {
            let error = clip::decode(bytes, &limits).expect_err("no picture");
            assert!(FailureCode::ALL.contains(&FailureCode::from(error.code())), "{error}");
        }
    }

    #[test]
    fn states_and_cursors_are_read_back_and_nothing_else_is() {
        assert_eq!("failed".parse(), Ok(ImageState::Failed));
        assert!("lost".parse::<ImageState>().is_err());
        let cursor = RecentCursor { taken_ms: 1_700_000_000_000, id: 42 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "1", "1.", "x.y", "1.2.3"] {
            assert_eq!(bad.parse::<RecentCursor>(), Err(BadCursor), "{bad}");
        }
    }
}

/// A file that cannot be an image because of its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct UnnameableFile {
    /// Its path below the root of its source, as far as it can be shown.
    pub shown: String,
    pub reason: String,
}
