//! What the catalog knows of the vector store besides the vectors: who we are, and how many writes were begun. Compared
//! with the marker of a collection it tells whose that is, and whether it is as we left it.

use std::collections::HashSet;

use async_trait::async_trait;
use sqlx::Row;

use super::CatalogError;
use super::sqlite::{SqliteCatalog, damaged, hash_at, hex_list};
use crate::types::{ContentHash, Installation};

#[async_trait]
pub trait StoreLedger: Send + Sync {
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

#[async_trait]
impl StoreLedger for SqliteCatalog {
    async fn installation(&self) -> Result<Installation, CatalogError> {
        let row = sqlx::query("SELECT id, has_plain_names FROM installation")
            .fetch_one(self.readers())
            .await?;
        let id: String = row.try_get(0)?;
        let id =
            id.parse().map_err(|error| damaged(format_args!("installation {id:?}: {error}")))?;
        Ok(Installation { id, has_plain_names: row.try_get(1)? })
    }

    async fn epoch(&self, model: &str) -> Result<u64, CatalogError> {
        let epoch: Option<i64> =
            sqlx::query_scalar("SELECT epoch FROM store_epochs WHERE model = ?1")
                .bind(model)
                .fetch_optional(self.readers())
                .await?;
        Ok(epoch.unwrap_or(0) as u64)
    }

    async fn next_epoch(&self, model: &str) -> Result<u64, CatalogError> {
        let epoch: i64 = sqlx::query_scalar(
            "INSERT INTO store_epochs (model, epoch) VALUES (?1, 1)
             ON CONFLICT (model) DO UPDATE SET epoch = epoch + 1 RETURNING epoch",
        )
        .bind(model)
        .fetch_one(self.writer())
        .await?;
        Ok(epoch as u64)
    }

    async fn known_vectors(
        &self,
        model: &str,
        hashes: &[ContentHash],
    ) -> Result<HashSet<ContentHash>, CatalogError> {
        let rows = sqlx::query(
            "SELECT content_hash FROM vectors
             WHERE model = ?1 AND content_hash IN (SELECT unhex(value) FROM json_each(?2))",
        )
        .bind(model)
        .bind(hex_list(hashes))
        // Of the writer: what another task noted a moment ago must be seen.
        .fetch_all(self.writer())
        .await?;
        rows.iter().map(hash_at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Catalog, PictureFacts};

    #[tokio::test]
    async fn epochs_count_up_and_the_installation_stays() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("catalog.db");
        let catalog = SqliteCatalog::open(&path).await.expect("opened");
        let installation = catalog.installation().await.expect("made with the catalog");
        assert!(!installation.has_plain_names, "a new one");
        assert_eq!(catalog.epoch("a").await.expect("asked"), 0);
        for wanted in 1..=3 {
            assert_eq!(catalog.next_epoch("a").await.expect("noted"), wanted);
        }
        assert_eq!(catalog.next_epoch("b").await.expect("noted"), 1, "each model has its own");
        catalog.close().await;
        let again = SqliteCatalog::open(&path).await.expect("opened again");
        assert_eq!(again.installation().await.expect("there"), installation);
        assert_eq!(again.epoch("a").await.expect("asked"), 3);
    }

    #[tokio::test]
    async fn vectors_are_known_from_their_intent_on() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let catalog = SqliteCatalog::open(&dir.path().join("catalog.db")).await.expect("opened");
        let (a, b) = (ContentHash::of(b"a"), ContentHash::of(b"b"));
        let facts = PictureFacts { format: "png".to_owned(), width: 1, height: 1 };
        catalog.intend_vectors("m", &[(a, facts)]).await.expect("noted");
        assert_eq!(catalog.known_vectors("m", &[a, b]).await.expect("asked"), HashSet::from([a]));
        assert!(catalog.known_vectors("other", &[a, b]).await.expect("asked").is_empty());
    }
}
