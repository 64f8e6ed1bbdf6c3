//! What searches learn from: ratings with who gave them and which contents their thumbs are on, and the vectors of rated queries.
//! It is kept beside [`super::Feedback`], is read in the order of changes, and is forgotten together with the rating.

use std::collections::HashMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::damaged;
use super::{CatalogError, FeedbackRow};
use crate::types::ContentHash;

/// A thumb on a content, whatever its images are called by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thumb {
    pub hash: ContentHash,
    /// Whether it fits the query.
    pub relevant: bool,
}

/// A rating, as searches learn from it.
#[derive(Debug, Clone, PartialEq)]
pub struct RememberedRating {
    pub row: FeedbackRow,
    /// Pseudonym of who rated; empty if nobody noted it.
    pub rater: String,
    /// `None`: only the names of the rated images are known, as in the row.
    pub thumbs: Option<Vec<Thumb>>,
    /// Grows with every change of any rating.
    pub change: i64,
}

/// How far the memory is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryState {
    /// Number of the last change; 0 if there was none.
    pub change: i64,
    /// How many deletions there were: after one, what was read before may be gone.
    pub forgotten: i64,
}

/// Which ratings are to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forgotten {
    /// That of this impression.
    Impression(String),
    /// Those of this very query.
    Query(String),
    /// Those last changed before this time.
    Before(i64),
}

/// See the head of this file.
#[async_trait]
pub trait Memory: Send + Sync + 'static {
    /// Notes who rated an impression that [`super::Feedback::save_feedback`] has stored, and which contents the thumbs are on
    /// (`None`: those of before stay). It gets the next number of a change.
    async fn remember_rating(
        &self,
        impression_id: &str,
        rater: &str,
        thumbs: Option<&[Thumb]>,
    ) -> Result<(), CatalogError>;

    async fn memory_state(&self) -> Result<MemoryState, CatalogError>;

    /// Ratings whose last change has a number above `after`, in that order.
    async fn remembered(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<Vec<RememberedRating>, CatalogError>;

    /// The rating of one impression.
    async fn remembered_rating(
        &self,
        impression_id: &str,
    ) -> Result<Option<RememberedRating>, CatalogError>;

    /// Keeps what a model makes of rated queries.
    async fn keep_query_vectors(
        &self,
        model: &str,
        vectors: &[(String, Vec<f32>)],
    ) -> Result<(), CatalogError>;

    /// Those that are kept.
    async fn query_vectors(
        &self,
        model: &str,
        queries: &[String],
    ) -> Result<HashMap<String, Vec<f32>>, CatalogError>;

    /// Forgets ratings with their impressions, thumbs, raters and the vectors of queries that nobody else rated. Returns how many.
    async fn forget_ratings(&self, which: &Forgotten) -> Result<u64, CatalogError>;
}

/// Thumbs as JSON, as all catalogs keep them.
pub(super) fn written(thumbs: &[Thumb]) -> String {
    json!(thumbs).to_string()
}

pub(super) fn thumbs_of(text: &str) -> Result<Vec<Thumb>, CatalogError> {
    serde_json::from_str(text).map_err(damaged)
}

/// The vector of a query as bytes, little-endian.
pub(super) fn vector_bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(super) fn vector_of(bytes: &[u8]) -> Result<Vec<f32>, CatalogError> {
    let (values, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(damaged("the vector of a query ends early"));
    }
    Ok(values.iter().map(|value| f32::from_le_bytes(*value)).collect())
}
