//! Previews by content. A trigger takes them away with the content's last vector.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::Row;

use super::SqliteCatalog;
use super::arguments::hex_list;
use super::statements;
use super::writer::Purpose;
use crate::catalog::rows::hash_at;
use crate::catalog::{CatalogError, Previews};
use crate::types::{ContentHash, Preview};

statements! {
    KEEP_PREVIEW = "INSERT INTO previews (content_hash, thumbhash) VALUES (?1, ?2)
        ON CONFLICT (content_hash) DO UPDATE SET thumbhash = ?2";
    PREVIEWS = "SELECT content_hash, thumbhash
        FROM json_each(?1) CROSS JOIN previews ON content_hash = unhex(json_each.value)";
}

#[async_trait]
impl Previews for SqliteCatalog {
    async fn keep_previews(&self, previews: &[(ContentHash, Preview)]) -> Result<(), CatalogError> {
        if previews.is_empty() {
            return Ok(());
        }
        let mut write = self.writer.begin(Purpose::Grow).await?;
        for (hash, preview) in previews {
            let keep =
                sqlx::query(KEEP_PREVIEW).bind(hash.as_bytes().as_slice()).bind(preview.as_bytes());
            write.execute(keep).await?;
        }
        write.commit().await
    }

    async fn previews(
        &self,
        hashes: &[ContentHash],
    ) -> Result<HashMap<ContentHash, Preview>, CatalogError> {
        let rows = sqlx::query(PREVIEWS).bind(hex_list(hashes)).fetch_all(&self.readers).await?;
        rows.iter()
            .map(|row| Ok((hash_at(row)?, Preview::new(row.try_get::<Vec<u8>, _>("thumbhash")?))))
            .collect()
    }
}
