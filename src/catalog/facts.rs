//! What is known of pictures besides their vectors: what headers say, what filters ask for, and the words of names.

use std::collections::HashMap;

use async_trait::async_trait;

use super::{CatalogError, ImageRow};
use crate::types::{ContentHash, Fingerprint, ImageName};

/// What the header of a content says, as far as it is kept. When it was taken belongs to the image, see [`super::ImageTaken`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ContentFacts {
    /// Maker and model.
    pub camera: Option<String>,
    pub lens: Option<String>,
    /// Where it was taken.
    pub gps: Option<clip::Gps>,
    /// Whether no pixel has a colour; `None` if nobody has looked.
    pub is_grey: Option<bool>,
}

/// What was found out about a content while it was read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Header {
    pub facts: clip::Facts,
    /// See [`ContentFacts::is_grey`].
    pub is_grey: Option<bool>,
}

impl Header {
    /// Model with its maker, which many models begin with.
    pub(super) fn camera(&self) -> Option<String> {
        let (make, model) = (self.facts.camera_make.as_deref(), self.facts.camera_model.as_deref());
        match (make, model) {
            (Some(make), Some(model)) => {
                let brand = make.split(' ').next().unwrap_or(make).to_lowercase();
                let is_named = model.to_lowercase().starts_with(&brand);
                Some(if is_named { model.to_owned() } else { format!("{make} {model}") })
            }
            (make, model) => model.or(make).map(str::to_owned),
        }
    }
}

/// An indexed image whose header has not been read for its facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadImage {
    pub id: i64,
    pub name: ImageName,
    pub fingerprint: Fingerprint,
    pub hash: ContentHash,
}

/// What was read of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadHeader {
    pub image_id: i64,
    /// What the image was of when it was read; if that changed meanwhile, what was read does not count.
    pub hash: ContentHash,
    pub header: Header,
}

/// What a filter may ask of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageFacets {
    pub image_id: i64,
    pub hash: ContentHash,
    /// Source it belongs to.
    pub source: String,
    pub name: ImageName,
    pub taken_ms: i64,
    /// When it was first seen.
    pub added_ms: i64,
    pub format: String,
    pub width: u32,
    pub height: u32,
    pub camera: Option<String>,
    /// Latitude and longitude in degrees.
    pub place: Option<(f64, f64)>,
}

/// Changes of what filters ask for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FacetChanges {
    /// Images as they are now.
    pub now: Vec<ImageFacets>,
    /// Images that answer no more.
    pub gone: Vec<i64>,
    /// Up to which change this goes.
    pub last: i64,
    /// Whether there are further ones.
    pub more: bool,
    /// Ids of the configured sources; images of others are hidden.
    pub sources: Vec<String>,
}

/// An image whose words were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedImage {
    pub name: ImageName,
    pub hash: ContentHash,
}

/// Facts of pictures.
#[async_trait]
pub trait Facts: Send + Sync + 'static {
    /// A page of the images of a source whose header has not been read, by id, behind the id `after`.
    async fn without_facts(
        &self,
        source: &str,
        after: i64,
        limit: u32,
    ) -> Result<Vec<UnreadImage>, CatalogError>;

    /// Notes what headers say. Returns for how many images that counted.
    async fn note_headers(&self, read: &[ReadHeader]) -> Result<u64, CatalogError>;

    async fn content_facts(&self, hash: &ContentHash)
    -> Result<Option<ContentFacts>, CatalogError>;

    /// What changed after the change `after`, at most `limit` images, in the order of their changes. From 0 on it is everything.
    async fn facets_since(&self, after: i64, limit: u32) -> Result<FacetChanges, CatalogError>;

    /// Facets of the images of these contents, names in order.
    async fn facets_of(
        &self,
        hashes: &[ContentHash],
    ) -> Result<HashMap<ContentHash, Vec<ImageFacets>>, CatalogError>;

    /// Facets of those of these images that are there.
    async fn facets_named(&self, names: &[ImageName]) -> Result<Vec<ImageFacets>, CatalogError>;

    /// Images that are there, by id.
    async fn images_by_id(&self, ids: &[i64]) -> Result<HashMap<i64, ImageRow>, CatalogError>;

    /// At most `limit` images whose name, folders or camera have all these words, of the last one (if `prefix`) at least the beginning.
    async fn images_with_words(
        &self,
        words: &[String],
        prefix: bool,
        limit: u32,
    ) -> Result<Vec<NamedImage>, CatalogError>;
}
