//! Who we are, and the numbers of our writes to the vector store.

use std::collections::HashSet;

use async_trait::async_trait;
use sqlx::Row;

use super::SqliteCatalog;
use super::arguments::hex_list;
use super::statements;
use super::writer::Purpose;
use crate::catalog::rows::{damaged, hash_at};
use crate::catalog::{CatalogError, StoreLedger};
use crate::types::{ContentHash, Installation};

statements! {
    INSTALLATION = "SELECT id, has_plain_names FROM installation";
    EPOCH = "SELECT epoch FROM store_epochs WHERE model = ?1";
    NEXT_EPOCH = "INSERT INTO store_epochs (model, epoch) VALUES (?1, 1)
        ON CONFLICT (model) DO UPDATE SET epoch = epoch + 1 RETURNING epoch";
    KNOWN_VECTORS = "SELECT content_hash FROM vectors
        WHERE model = ?1 AND content_hash IN (SELECT unhex(value) FROM json_each(?2))";
}

#[async_trait]
impl StoreLedger for SqliteCatalog {
    async fn installation(&self) -> Result<Installation, CatalogError> {
        let row = sqlx::query(INSTALLATION).fetch_one(&self.readers).await?;
        let id: String = row.try_get("id")?;
        let id =
            id.parse().map_err(|error| damaged(format_args!("installation {id:?}: {error}")))?;
        Ok(Installation { id, has_plain_names: row.try_get("has_plain_names")? })
    }

    async fn epoch(&self, model: &str) -> Result<u64, CatalogError> {
        let epoch: Option<i64> =
            sqlx::query_scalar(EPOCH).bind(model).fetch_optional(&self.readers).await?;
        Ok(epoch.unwrap_or(0) as u64)
    }

    async fn next_epoch(&self, model: &str) -> Result<u64, CatalogError> {
        let mut write = self.writer.begin(Purpose::Settle).await?;
        let row = write.fetch_one(sqlx::query(NEXT_EPOCH).bind(model)).await?;
        let epoch: i64 = row.try_get("epoch")?;
        write.commit().await?;
        Ok(epoch as u64)
    }

    async fn known_vectors(
        &self,
        model: &str,
        hashes: &[ContentHash],
    ) -> Result<HashSet<ContentHash>, CatalogError> {
        let known = sqlx::query(KNOWN_VECTORS).bind(model).bind(hex_list(hashes));
        known.fetch_all(&self.readers).await?.iter().map(hash_at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::sqlite::SqliteOptions;
    use crate::catalog::{Catalog, PictureFacts, Vectors};

    #[tokio::test]
    async fn epochs_count_up_and_the_installation_stays() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("catalog.db");
        let catalog = SqliteCatalog::open(&path, SqliteOptions::default()).await.expect("opened");
        let installation = catalog.installation().await.expect("made with the catalog");
        assert!(!installation.has_plain_names, "a new one");
        assert_eq!(catalog.epoch("a").await.expect("asked"), 0);
        for wanted in 1..=3 {
            assert_eq!(catalog.next_epoch("a").await.expect("noted"), wanted);
        }
        assert_eq!(catalog.next_epoch("b").await.expect("noted"), 1, "each model has its own");
        catalog.close().await;
        let again =
            SqliteCatalog::open(&path, SqliteOptions::default()).await.expect("opened again");
        assert_eq!(again.installation().await.expect("there"), installation);
        assert_eq!(again.epoch("a").await.expect("asked"), 3);
    }

    #[tokio::test]
    async fn vectors_are_known_from_their_intent_on() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let catalog = SqliteCatalog::open(&dir.path().join("catalog.db"), SqliteOptions::default())
            .await
            .expect("opened");
        let (a, b) = (ContentHash::of(b"a"), ContentHash::of(b"b"));
        let facts = PictureFacts { format: "png".to_owned(), width: 1, height: 1 };
        catalog.intend_vectors("m", &[(a, facts)], 1).await.expect("noted");
        assert_eq!(catalog.known_vectors("m", &[a, b]).await.expect("asked"), HashSet::from([a]));
        assert!(catalog.known_vectors("other", &[a, b]).await.expect("asked").is_empty());
    }
}
