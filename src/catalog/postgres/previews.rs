//! Previews by content. A trigger takes them away with the content's last vector.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use sqlx::Row;

use super::PostgresCatalog;
use super::arguments::hash_list;
use super::connections::settled;
use super::failure::Failed;
use crate::catalog::rows::hash_at;
use crate::catalog::{CatalogError, Previews};
use crate::types::{ContentHash, Preview};

const KEEP_PREVIEWS: &str =
    "INSERT INTO previews (content_hash, thumbhash) SELECT * FROM unnest($1::bytea[], $2::bytea[])
    ON CONFLICT (content_hash) DO UPDATE SET thumbhash = excluded.thumbhash";
const PREVIEWS: &str = "SELECT content_hash, thumbhash FROM previews WHERE content_hash = ANY ($1)";

#[async_trait]
impl Previews for PostgresCatalog {
    async fn keep_previews(&self, previews: &[(ContentHash, Preview)]) -> Result<(), CatalogError> {
        if previews.is_empty() {
            return Ok(());
        }
        let once: BTreeMap<&ContentHash, &Preview> =
            previews.iter().map(|(hash, preview)| (hash, preview)).collect();
        let hashes: Vec<Vec<u8>> = once.keys().map(|hash| hash.as_bytes().to_vec()).collect();
        let bytes: Vec<Vec<u8>> =
            once.values().map(|preview| preview.as_bytes().to_vec()).collect();
        let keep = || sqlx::query(KEEP_PREVIEWS).bind(&hashes).bind(&bytes);
        settled!(self.connections.try_fetch(keep())).map(drop)
    }

    async fn previews(
        &self,
        hashes: &[ContentHash],
    ) -> Result<HashMap<ContentHash, Preview>, CatalogError> {
        let rows = self.connections.fetch(sqlx::query(PREVIEWS).bind(hash_list(hashes))).await?;
        rows.iter()
            .map(|row| Ok((hash_at(row)?, Preview::new(row.try_get::<Vec<u8>, _>("thumbhash")?))))
            .collect()
    }
}
