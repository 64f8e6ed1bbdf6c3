//! The seam to where embeddings live: the traits `VectorStore` and `Collection`, and the small types they speak in.
//! Implementations: `embedded` (in process, the default) and `qdrant` (a server or cluster); both pass `conformance`.
//! One collection per model and revision; which one answers searches is a pointer that is switched atomically.

pub mod address;
#[cfg(test)]
pub(crate) mod conformance;
pub mod copy;
pub mod embedded;
mod marker;
pub mod payload;
pub mod qdrant;
mod ranking;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::marker::Marker;
pub use crate::config::Quantization;

/// A store of vector collections.
#[async_trait]
pub trait VectorStore: Send + Sync + 'static {
    /// `embedded` or `qdrant`, for status and logs.
    fn kind(&self) -> &'static str;

    /// Opens the collection, creating it if there is none. Fails with [`StoreError::WrongDimension`] when it
    /// exists with another dimension.
    async fn open(&self, spec: &CollectionSpec) -> Result<Arc<dyn Collection>, StoreError>;

    /// Length of the vectors of a collection; `None` if there is no such collection.
    async fn dim(&self, name: &str) -> Result<Option<usize>, StoreError>;

    /// Whose a collection is, without changing anything; `None` if it was never marked. Fails with
    /// [`StoreError::NoSuchCollection`] if there is none.
    async fn marker(&self, name: &str) -> Result<Option<Marker>, StoreError>;

    /// All collections, by name. On a shared server others' may be among them: only the marker says whose one is.
    async fn list(&self) -> Result<Vec<String>, StoreError>;

    /// Deletes a collection and its vectors; one that does not exist is no error. The active one is refused.
    async fn drop_collection(&self, name: &str) -> Result<(), StoreError>;

    /// Name of the collection that answers searches, if one was ever activated.
    async fn active(&self) -> Result<Option<String>, StoreError>;

    /// Makes `name` the collection that answers searches: atomically, and still so after a crash. Writes nothing if it
    /// is that already, so that a key that may only read is enough then.
    async fn activate(&self, name: &str) -> Result<(), StoreError>;

    /// Moves a collection that reports [`StoreError::Damaged`] out of the way and returns where it is now, so that
    /// opening it again creates an empty one. Only a store that keeps its own files can do that.
    async fn set_aside(&self, name: &str) -> Result<String, StoreError> {
        Err(StoreError::Refused(format!(
            "the {} vector store cannot set aside collection {name}",
            self.kind()
        )))
    }

    /// Really asks the store, within its own deadline.
    async fn health(&self) -> Result<(), StoreError>;

    /// Flushes and closes; called once, last.
    async fn close(&self) -> Result<(), StoreError>;
}

/// The vectors of one model and revision. Cosine similarity; vectors come in L2-normalised.
#[async_trait]
pub trait Collection: Send + Sync + 'static {
    /// What it was opened with.
    fn spec(&self) -> &CollectionSpec;

    /// Asks the store itself whose the collection is now; `None` if it was never marked. Fails with
    /// [`StoreError::NoSuchCollection`] once it is gone, so this is also what tells whether it is there.
    async fn marker(&self) -> Result<Option<Marker>, StoreError>;

    /// Replaces the marker; durable after [`Self::flush`].
    async fn set_marker(&self, marker: &Marker) -> Result<(), StoreError>;

    /// Stores points, overwriting those with the same id; of several with one id the last counts. If one vector is
    /// refused ([`CollectionSpec::check_vector`]), none is stored. Visible to searches when it returns; durable after [`Self::flush`].
    async fn upsert(&self, points: Vec<Point>) -> Result<(), StoreError>;

    /// Makes everything stored so far survive a kill -9 at any later instruction.
    async fn flush(&self) -> Result<(), StoreError>;

    /// Deletes points; ids that are not there are no error.
    async fn delete(&self, ids: &[Uuid]) -> Result<(), StoreError>;

    /// The best points by cosine similarity, best first; equal scores by ascending id.
    async fn search(&self, query: SearchQuery) -> Result<Vec<ScoredPoint>, StoreError>;

    /// The points with these ids that exist, in no particular order, with vectors.
    async fn get(&self, ids: &[Uuid]) -> Result<Vec<Point>, StoreError>;

    /// Exact number of points (that match the filter).
    async fn count(&self, filter: Option<&PointFilter>) -> Result<u64, StoreError>;

    /// Walks all points in ascending id order: at most `limit` points with an id greater than `after`.
    async fn scroll(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<Point>, StoreError>;

    /// Walks the ids alone, like [`Self::scroll`].
    async fn scroll_ids(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<Uuid>, StoreError> {
        Ok(self.scroll(after, limit).await?.into_iter().map(|point| point.id).collect())
    }

    /// Builds or improves indexes when thresholds say so. Never called inside a request. `busy` = pictures are waiting,
    /// so only what cannot wait is done. Returns whether anything was done.
    async fn maintain(&self, busy: bool) -> Result<bool, StoreError>;
}

/// Which collection: its name, vector length, and the payload fields that filters may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectionSpec {
    /// See [`crate::types::ModelId::collection_name`].
    pub name: String,
    /// Length of every vector.
    pub dim: usize,
    /// Payload fields with an index.
    pub indexed_fields: Vec<(String, FieldKind)>,
}

impl CollectionSpec {
    /// Refuses what has no cosine similarity to anything: wrong length, NaN, infinity, nothing but zeros.
    pub fn check_vector(&self, vector: &[f32]) -> Result<(), StoreError> {
        if vector.len() != self.dim {
            return Err(StoreError::WrongDimension {
                collection: self.name.clone(),
                expected: self.dim,
                got: vector.len(),
            });
        }
        if vector.iter().any(|value| !value.is_finite()) {
            return Err(StoreError::Invalid("a vector contains NaN or infinity".to_owned()));
        }
        if vector.iter().all(|value| *value == 0.0) {
            return Err(StoreError::Invalid(
                "a vector of zeros has no direction to compare".to_owned(),
            ));
        }
        Ok(())
    }

    /// Refuses field names that stores would read as a path. Fields without an index may be asked for; that is slower.
    pub fn check_filter(&self, filter: &PointFilter) -> Result<(), StoreError> {
        let field = |condition: &'_ Condition| match condition {
            Condition::AnyOf { field, .. } | Condition::Range { field, .. } => Some(field.clone()),
            Condition::Ids(_) => None,
        };
        filter
            .must
            .iter()
            .chain(&filter.must_not)
            .filter_map(field)
            .try_for_each(|field| check_field(&field))
    }
}

const NAME_BYTES_MAX: usize = 200;

/// A name of a collection that is safe everywhere: as a directory, in a URL, beside the names that stores use themselves.
pub(crate) fn check_name(name: &str) -> Result<(), StoreError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let reserved = [".", "..", "LOCK", "active"].contains(&name)
        || name.starts_with(".deleted-")
        || name.contains(".broken-");
    if name.is_empty() || name.len() > NAME_BYTES_MAX || reserved || !name.chars().all(plain) {
        return Err(StoreError::Invalid(format!(
            "{name:?} cannot be the name of a collection: at most {NAME_BYTES_MAX} letters, digits, '-', '_' and '.'"
        )));
    }
    Ok(())
}

/// A payload field that can be indexed and filtered: a letter or `_`, then letters, digits or `_`.
pub(crate) fn check_field(field: &str) -> Result<(), StoreError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if field.is_empty()
        || field.starts_with(|c: char| c.is_ascii_digit())
        || !field.chars().all(plain)
    {
        return Err(StoreError::Invalid(format!(
            "{field:?} cannot be a payload field: only letters, digits and '_'"
        )));
    }
    Ok(())
}

/// What an indexed payload field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    Keyword,
    Integer,
}

/// A vector with its id and payload.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// See [`crate::types::ModelId::point_id`].
    pub id: Uuid,
    /// `dim` long, L2-normalised.
    pub vector: Vec<f32>,
    /// Small facts kept beside the vector.
    pub payload: Payload,
}

/// Payload fields by name.
pub type Payload = BTreeMap<String, PayloadValue>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PayloadValue {
    Keyword(String),
    /// Several texts; a filter matches if any of them does.
    Keywords(Vec<String>),
    Integer(i64),
}

/// All of `must` and none of `must_not`. Empty = everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PointFilter {
    /// Every one of these holds.
    pub must: Vec<Condition>,
    /// None of these holds.
    pub must_not: Vec<Condition>,
}

impl PointFilter {
    /// Whether a point with this id and payload matches.
    pub fn matches(&self, id: Uuid, payload: &Payload) -> bool {
        let holds = |condition: &Condition| condition.holds(id, payload);
        self.must.iter().all(holds) && !self.must_not.iter().any(holds)
    }
}

impl Condition {
    fn holds(&self, id: Uuid, payload: &Payload) -> bool {
        match self {
            Self::AnyOf { field, values } => match payload.get(field) {
                Some(PayloadValue::Keyword(text)) => values.contains(text),
                Some(PayloadValue::Keywords(texts)) => {
                    texts.iter().any(|text| values.contains(text))
                }
                Some(PayloadValue::Integer(_)) | None => false,
            },
            Self::Range { field, min, max } => match payload.get(field) {
                Some(PayloadValue::Integer(number)) => {
                    min.is_none_or(|min| *number >= min) && max.is_none_or(|max| *number <= max)
                }
                Some(PayloadValue::Keyword(_) | PayloadValue::Keywords(_)) | None => false,
            },
            Self::Ids(ids) => ids.contains(&id),
        }
    }
}

/// One test of a point.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// The keyword field has one of these values.
    AnyOf { field: String, values: Vec<String> },
    /// The integer field lies within the bounds, both inclusive. Exact up to 2^53: stores compare as f64.
    Range { field: String, min: Option<i64>, max: Option<i64> },
    /// The point has one of these ids.
    Ids(Vec<Uuid>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct SearchQuery {
    /// L2-normalised, `dim` long.
    pub vector: Vec<f32>,
    /// Most points to return.
    pub limit: usize,
    /// Only points that match.
    pub filter: Option<PointFilter>,
    /// How hard to look.
    pub effort: Effort,
}

/// How hard a search looks for its points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Through the index, with so many candidates that few are missed in a store of this size.
    Usual,
    /// Compares every point.
    Exact,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ScoredPoint {
    pub id: Uuid,
    /// Cosine similarity, -1..=1.
    pub score: f32,
    /// Payload of the point.
    pub payload: Payload,
}

/// What can go wrong in a vector store. The texts name the place and the next step; none carries a secret.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A vector of another length than the collection's.
    #[error(
        "collection {collection} holds vectors of {expected} dimensions, not {got}; delete that collection, or use another store or prefix (vector_store.qdrant.collection_prefix)"
    )]
    WrongDimension {
        collection: String,
        /// Dimension of the collection.
        expected: usize,
        /// Dimension of what was given.
        got: usize,
    },
    /// Another process has the embedded store open.
    #[error(
        "{path} is in use by another image-search process; stop it, or give this one its own --data-dir"
    )]
    Locked {
        /// Directory of the store.
        path: String,
    },
    /// The store cannot be reached, or did not answer in time. Worth trying again.
    #[error("the vector store is unavailable: {0}")]
    Unavailable(String),
    /// The store refuses: wrong key, read-only, out of disk. Trying again does not help before someone acts.
    #[error("the vector store refused: {0}")]
    Refused(String),
    /// The request itself is wrong.
    #[error("invalid request to the vector store: {0}")]
    Invalid(String),
    /// Files of an embedded collection cannot be read. Nothing is lost that cannot be computed again from the pictures.
    #[error("the vector collection in {path} is damaged ({reason}); set it aside and index again")]
    Damaged {
        /// Directory of the collection.
        path: String,
        /// What the engine says.
        reason: String,
    },
    #[error(
        "the vector store has no collection {0}; a running server makes it again and fills it from the pictures"
    )]
    NoSuchCollection(String),
    /// Its marker names another installation, or it has none and holds what we do not know.
    #[error(
        "collection {collection} {why}; give this installation collections of its own (vector_store.qdrant.collection_prefix, or another --data-dir), or, if the other one is gone, take it over: image-search store verify --repair --take-over"
    )]
    NotOurs { collection: String, why: String },
    /// Anything else, with the engine's own words.
    #[error("the vector store failed: {0}")]
    Internal(String),
}

impl StoreError {
    /// Whether the same call may succeed later without anyone doing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
