//! The words of the domain as types: image names, content hashes, model and point ids.
//! Everything else in the crate may import this file; it imports nothing of ours.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Longest image name in bytes; a path longer than this cannot be opened on Linux either.
pub const IMAGE_NAME_BYTES_MAX: usize = 4096;

/// Path of an image relative to the root of its source, with `/` between the parts.
///
/// Never absolute, never empty, never with a `.` or `..` part or a NUL: joining it to a root cannot leave the root by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ImageName(String);

/// Why a text is no [`ImageName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageNameError {
    /// Nothing between the slashes.
    #[error("an image name must not be empty")]
    Empty,
    /// Longer than [`IMAGE_NAME_BYTES_MAX`].
    #[error("an image name has at most {IMAGE_NAME_BYTES_MAX} bytes")]
    TooLong,
    /// Absolute, or with an empty, `.` or `..` part, or with a NUL.
    #[error("an image name is a relative path without empty, '.' or '..' parts")]
    NotRelative,
}

impl ImageName {
    /// Checks and wraps a name.
    pub fn new(name: impl Into<String>) -> Result<Self, ImageNameError> {
        let name = name.into();
        if name.is_empty() {
            return Err(ImageNameError::Empty);
        }
        if name.len() > IMAGE_NAME_BYTES_MAX {
            return Err(ImageNameError::TooLong);
        }
        let part_is_bad = |part: &str| part.is_empty() || part == "." || part == "..";
        if name.contains('\0') || name.split('/').any(part_is_bad) {
            return Err(ImageNameError::NotRelative);
        }
        Ok(Self(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is `part`, or lies below it if that is a folder.
    pub fn is_at_or_below(&self, part: &Self) -> bool {
        let below = self.0.strip_prefix(part.as_str());
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The last part, for a download's file name.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl FromStr for ImageName {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names a reconciliation looks at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Every image of the source.
    All,
    /// The image of that name, and all images below it if it is a folder.
    Under(ImageName),
}

/// What tells one version of a file from another without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    pub size_bytes: u64,
    /// Modification time in nanoseconds, or an etag.
    pub version: String,
    /// Modification time in milliseconds since 1970, to show.
    pub modified_ms: i64,
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Since when a source cannot be used as a whole, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Away {
    pub reason: String,
    /// In milliseconds since 1970.
    pub since_ms: i64,
}

/// Lower-case hexadecimal digits of bytes.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// Of a content's hash, in tokens and impressions.
pub const HASH_PREFIX_BYTES: usize = 8;

/// BLAKE3 of a picture's bytes. Two images with one hash are duplicates and share one vector.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash([u8; 32]);

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a content hash has 64 hexadecimal digits")]
pub struct ContentHashError;

impl ContentHash {
    /// Hashes a picture's bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its beginning, as an [`ImpressionResult`] has it.
    pub fn prefix(&self) -> String {
        hex(&self.0[..HASH_PREFIX_BYTES])
    }

    /// From the 32 raw bytes that the catalog keeps.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, ContentHashError> {
        bytes.try_into().map(Self).map_err(|_| ContentHashError)
    }
}

/// A ThumbHash: 5 to 30 bytes that paint a picture's colours where the picture is not there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview(Vec<u8>);

impl Preview {
    pub fn new(thumbhash: Vec<u8>) -> Self {
        Self(thumbhash)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

impl FromStr for ContentHash {
    type Err = ContentHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        blake3::Hash::from_hex(text)
            .map(|hash| Self(*hash.as_bytes()))
            .map_err(|_| ContentHashError)
    }
}

impl Serialize for ContentHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Which model made an embedding: vectors of different models or revisions are never compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelId {
    /// Short name, for example `ViT-B-32__openai` or `emoji-clip`.
    pub name: String,
    /// Pinned revision of the hub, or a digest of the files of a local directory.
    pub revision: String,
}

/// What a revision ends with whose vectors are computed in 8-bit integers: they are not comparable with the others.
const INT8: &str = "+int8";

impl ModelId {
    /// The same model, computed in 8-bit integers.
    #[must_use]
    pub fn in_int8(mut self) -> Self {
        if !self.is_int8() {
            self.revision.push_str(INT8);
        }
        self
    }

    pub fn is_int8(&self) -> bool {
        self.revision.ends_with(INT8)
    }

    /// The revision of the files, whatever they are computed in.
    pub fn published_revision(&self) -> &str {
        self.revision.strip_suffix(INT8).unwrap_or(&self.revision)
    }

    /// Name of the vector collection: letters, digits, `-`, `_` and `.` only, so that it is a safe file and collection name.
    pub fn collection_name(&self) -> String {
        let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
        let short_revision: String = self.published_revision().chars().take(12).collect();
        let precision = if self.is_int8() { "-int8" } else { "" };
        format!("{}--{short_revision}{precision}", self.name).chars().map(safe).collect()
    }

    /// Id of the vector of a picture under this model: UUIDv5, so that storing it again overwrites instead of doubling.
    pub fn point_id(&self, hash: &ContentHash) -> Uuid {
        Uuid::new_v5(&self.namespace(), hash.as_bytes())
    }

    /// The same of many.
    pub fn point_ids(&self, hashes: &[ContentHash]) -> Vec<Uuid> {
        let namespace = self.namespace();
        hashes.iter().map(|hash| Uuid::new_v5(&namespace, hash.as_bytes())).collect()
    }

    fn namespace(&self) -> Uuid {
        Uuid::new_v5(&Uuid::NAMESPACE_OID, self.to_string().as_bytes())
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.revision)
    }
}

/// This installation, as its catalog knows it and the collections of its vector store name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Installation {
    pub id: Uuid,
    /// It had vectors before collections on a server were named after the installation, and goes on with those names.
    pub has_plain_names: bool,
}

impl Installation {
    /// What the names of its collections on a server begin with, unless the configuration says something else.
    pub fn collection_prefix(&self) -> String {
        if self.has_plain_names {
            return "image-search-".to_owned();
        }
        let (first, ..) = self.id.as_fields();
        format!("image-search-{first:08x}-")
    }
}

/// One answered search, as the token carries it.
#[derive(Debug, Clone, PartialEq)]
pub struct Impression {
    /// The token's `jti`.
    pub id: String,
    pub query: String,
    /// Model and revision that answered.
    pub model: String,
    /// The first results in order.
    pub results: Vec<ImpressionResult>,
    /// When, in milliseconds since 1970.
    pub searched_ms: i64,
}

/// One result of an impression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImpressionResult {
    /// See [`ContentHash::prefix`]: 16 hexadecimal digits.
    pub hash_prefix: String,
    pub score: f32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn int8_is_a_revision_and_a_collection_of_its_own() {
        let model = ModelId { name: "clip".into(), revision: "c0ffee0123456789".into() };
        let int8 = model.clone().in_int8();
        assert_eq!(int8.published_revision(), model.revision);
        assert_eq!(int8.collection_name(), "clip--c0ffee012345-int8");
        assert_ne!(int8.collection_name(), model.collection_name());
        assert!(int8.is_int8() && !model.is_int8() && int8.clone().in_int8() == int8);
    }

    #[test]
    fn image_names_cannot_leave_the_root() {
        for bad in ["", "/etc/passwd", "a/../b", "..", "a//b", "./a", "a/", "a\0b"] {
            assert!(ImageName::new(bad).is_err(), "{bad:?} was accepted");
        }
        for good in ["tennis.png", "Urlaub/Größe 1.JPG", "a..b/...", "日本/写真.png"] {
            assert_eq!(ImageName::new(good).map(|name| name.to_string()), Ok(good.to_owned()));
        }
        assert_eq!(
            ImageName::new("x".repeat(IMAGE_NAME_BYTES_MAX + 1)),
            Err(ImageNameError::TooLong)
        );
    }

    #[test]
    fn names_lie_below_folders_and_not_below_names_that_begin_alike() {
        let name = |text: &str| ImageName::new(text).expect("valid");
        assert!(name("locked/a.png").is_at_or_below(&name("locked")));
        assert!(name("locked").is_at_or_below(&name("locked")));
        assert!(!name("lockedout/a.png").is_at_or_below(&name("locked")));
    }

    #[test]
    fn content_hash_round_trips_as_hex() {
        let hash = ContentHash::of(b"picture");
        assert_eq!(hash.to_string().parse::<ContentHash>(), Ok(hash));
        assert!("xyz".parse::<ContentHash>().is_err());
        assert!(ContentHash::from_slice(&[0; 31]).is_err());
    }

    #[test]
    fn point_ids_differ_by_model_and_by_picture_and_are_stable() {
        let (a, b) = (ContentHash::of(b"a"), ContentHash::of(b"b"));
        let clip = ModelId { name: "clip".into(), revision: "1".into() };
        let newer = ModelId { name: "clip".into(), revision: "2".into() };
        assert_eq!(clip.point_id(&a), clip.point_id(&a));
        assert_ne!(clip.point_id(&a), clip.point_id(&b));
        assert_ne!(clip.point_id(&a), newer.point_id(&a));
        assert_eq!(clip.point_ids(&[a, b]), [clip.point_id(&a), clip.point_id(&b)]);
    }

    #[test]
    fn installations_name_their_collections_apart_but_older_ones_keep_their_names() {
        let id = Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        let prefix = |has_plain_names| Installation { id, has_plain_names }.collection_prefix();
        assert_eq!(prefix(false), "image-search-01234567-");
        assert_eq!(prefix(true), "image-search-");
    }

    #[test]
    fn collection_names_are_safe_file_names() {
        let model = ModelId { name: "../ViT B/32".into(), revision: "0123456789abcdef".into() };
        assert_eq!(model.collection_name(), "..-ViT-B-32--0123456789ab");
    }
}
