//! Who we are, and the numbers of our writes to the vector store.

use std::collections::HashSet;

use async_trait::async_trait;
use sqlx::Row;

use super::PostgresCatalog;
use super::arguments::hash_list;
use crate::catalog::rows::{damaged, hash_at};
use crate::catalog::{CatalogError, StoreLedger};
use crate::types::{ContentHash, Installation};

const INSTALLATION: &str = "SELECT id, has_plain_names FROM installation";
const EPOCH: &str = "SELECT coalesce(max(epoch), 0) AS epoch FROM store_epochs WHERE model = $1";
const NEXT_EPOCH: &str = "INSERT INTO store_epochs (model, epoch) VALUES ($1, 1)
    ON CONFLICT (model) DO UPDATE SET epoch = store_epochs.epoch + 1 RETURNING epoch";
const KNOWN_VECTORS: &str =
    "SELECT content_hash FROM vectors WHERE model = $1 AND content_hash = ANY ($2)";

#[async_trait]
impl StoreLedger for PostgresCatalog {
    async fn installation(&self) -> Result<Installation, CatalogError> {
        let row = self.connections.fetch_one(sqlx::query(INSTALLATION)).await?;
        let id: String = row.try_get("id")?;
        let id =
            id.parse().map_err(|error| damaged(format_args!("installation {id:?}: {error}")))?;
        Ok(Installation { id, has_plain_names: row.try_get("has_plain_names")? })
    }

    async fn epoch(&self, model: &str) -> Result<u64, CatalogError> {
        let row = self.connections.fetch_one(sqlx::query(EPOCH).bind(model)).await?;
        Ok(row.try_get::<i64, _>("epoch")? as u64)
    }

    async fn next_epoch(&self, model: &str) -> Result<u64, CatalogError> {
        let row = self.connections.fetch_one(sqlx::query(NEXT_EPOCH).bind(model)).await?;
        Ok(row.try_get::<i64, _>("epoch")? as u64)
    }

    async fn known_vectors(
        &self,
        model: &str,
        hashes: &[ContentHash],
    ) -> Result<HashSet<ContentHash>, CatalogError> {
        let known = sqlx::query(KNOWN_VECTORS).bind(model).bind(hash_list(hashes));
        self.connections.fetch(known).await?.iter().map(hash_at).collect()
    }
}
