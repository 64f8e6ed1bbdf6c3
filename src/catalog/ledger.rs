//! What the catalog knows of the vector store besides the vectors: who we are, and how many writes were begun. Compared
//! with the marker of a collection it tells whose that is, and whether it is as we left it.

use std::collections::HashSet;

use super::CatalogError;
use crate::types::{ContentHash, Installation};
use async_trait::async_trait;

#[async_trait]
pub trait StoreLedger: Send + Sync + 'static {
    /// Who we are. Made with the catalog, and as long-lived.
    async fn installation(&self) -> Result<Installation, CatalogError>;

    /// Number of the last write to the collection of `model` that was begun; 0 if none ever was.
    async fn epoch(&self, model: &str) -> Result<u64, CatalogError>;

    /// Notes that another write begins, and returns its number. No two get the same.
    async fn next_epoch(&self, model: &str) -> Result<u64, CatalogError>;

    /// Of these contents, those whose vector under `model` is stored or about to be.
    async fn known_vectors(
        &self,
        model: &str,
        hashes: &[ContentHash],
    ) -> Result<HashSet<ContentHash>, CatalogError>;
}
