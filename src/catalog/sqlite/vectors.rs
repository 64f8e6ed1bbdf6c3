//! Which contents have vectors. Orphans are noted by whatever takes a content its last image, so nobody has to look for
//! them; passes over all images or vectors happen only for a new model, in pieces that let other writers in between.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::SqliteCatalog;
use super::arguments::hex_list;
use super::facts::forget_contents;
use super::leases::{end_lease, note_lease};
use super::statements;
use super::writer::{Purpose, Write};
use crate::catalog::rows::{facts_at, hash_at, number_at, used_model_at};
use crate::catalog::{CatalogError, PictureFacts, UsedModel, Vectors};
use crate::types::{ContentHash, ModelId};

/// Rows that one transaction of a pass over all of them touches.
const PIECE_ROWS: i64 = 10_000;

statements! {
    STORED = "SELECT content_hash, format, width, height, orphaned_ms FROM vectors
        WHERE model = ?1 AND stored = 1 AND content_hash IN (SELECT unhex(value) FROM json_each(?2))";
    ASK_AGAIN_LATER = "UPDATE vectors SET orphaned_ms = ?3
        WHERE model = ?1 AND content_hash IN (SELECT unhex(value) FROM json_each(?2))
            AND orphaned_ms IS NOT NULL AND deleting_token IS NULL";
    INTEND = "INSERT INTO vectors (model, content_hash, format, width, height, orphaned_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT (model, content_hash) DO UPDATE SET orphaned_ms = iif(orphaned_ms IS NULL, NULL, ?6)
        WHERE deleting_token IS NULL";
    /// An image may have come back to the content without its vector's being written again.
    ORPHANS = "SELECT content_hash FROM vectors WHERE model = ?1 AND orphaned_ms <= ?2 AND deleting_token IS NULL
        AND NOT EXISTS (SELECT 1 FROM images WHERE images.content_hash = vectors.content_hash)
        ORDER BY orphaned_ms LIMIT ?3";
    ABANDONED = "SELECT content_hash FROM vectors WHERE model = ?1 AND deleting_token IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM leases WHERE token = deleting_token AND until_ms >= ?2) LIMIT ?3";
    CLAIM = "UPDATE vectors SET deleting_token = ?3, stored = 0, orphaned_ms = NULL
        WHERE model = ?1 AND content_hash IN (SELECT unhex(value) FROM json_each(?2))";
    FORGET_CLAIMED = "DELETE FROM vectors WHERE model = ?1 AND deleting_token = ?2";
    NOTE_ORPHANS = "UPDATE vectors SET orphaned_ms = ?2
        WHERE model IN (SELECT model FROM vector_counts) AND content_hash IN (SELECT unhex(value) FROM json_each(?1))
            AND orphaned_ms IS NULL AND deleting_token IS NULL
            AND NOT EXISTS (SELECT 1 FROM images WHERE images.content_hash = vectors.content_hash)";
    COMPLETE_FOR = "SELECT model FROM vectors_complete_for";
    SET_COMPLETE_FOR = "UPDATE vectors_complete_for SET model = ?1";
    LAST_IMAGE = "SELECT coalesce(max(id), 0) AS id FROM images";
    REQUIRE_PIECE = "UPDATE images SET state = 'pending', due_ms = 0 WHERE id > ?2 AND id <= ?3 AND state = 'indexed'
        AND NOT EXISTS (SELECT 1 FROM vectors WHERE model = ?1 AND vectors.content_hash = images.content_hash AND stored = 1)";
    FORGET_VECTORS = "DELETE FROM vectors WHERE model = ?1 AND content_hash IN (SELECT unhex(value) FROM json_each(?2))";
    REQUIRE_AGAIN = "UPDATE images SET state = 'pending', due_ms = 0
        WHERE content_hash IN (SELECT unhex(value) FROM json_each(?2)) AND state = 'indexed'
            AND EXISTS (SELECT 1 FROM vectors_complete_for WHERE model = ?1)";
    STORED_PAGE = "SELECT content_hash FROM vectors WHERE model = ?1 AND content_hash > ?2 AND stored = 1
        ORDER BY content_hash LIMIT ?3";
    MODELS = "SELECT model, stored FROM vector_counts WHERE known > 0 ORDER BY model";
    REMEMBER_MODEL = "INSERT INTO used_models (name, revision, display_name, banner) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT DO UPDATE SET display_name = ?3, banner = ?4";
    USED_MODELS = "SELECT * FROM used_models ORDER BY name, revision";
    FORGET_PIECE = "DELETE FROM vectors WHERE model = ?1 AND content_hash IN (
        SELECT content_hash FROM vectors WHERE model = ?1 LIMIT ?2)";
    FORGET_MODEL = "DELETE FROM used_models WHERE name = ?1 AND revision = ?2";
    FORGET_COUNT = "DELETE FROM vector_counts WHERE model = ?1 AND known = 0";
}

/// Notes which of these contents have no image any more: the grace of their vectors begins, their facts are forgotten.
pub(super) async fn note_orphans(
    write: &mut Write<'_>,
    hashes: &[ContentHash],
    now_ms: i64,
) -> Result<(), CatalogError> {
    if hashes.is_empty() {
        return Ok(());
    }
    let note = sqlx::query(NOTE_ORPHANS).bind(hex_list(hashes)).bind(now_ms);
    write.execute(note).await?;
    forget_contents(write, hashes).await
}

#[async_trait]
impl Vectors for SqliteCatalog {
    async fn stored_contents(
        &self,
        model: &str,
        hashes: &[ContentHash],
        now_ms: i64,
    ) -> Result<HashMap<ContentHash, PictureFacts>, CatalogError> {
        let hashes = hex_list(hashes);
        let rows = sqlx::query(STORED).bind(model).bind(&hashes).fetch_all(&self.readers).await?;
        let is_orphan = |row: &SqliteRow| {
            row.try_get::<Option<i64>, _>("orphaned_ms").is_ok_and(|orphaned| orphaned.is_some())
        };
        if rows.iter().any(is_orphan) {
            let mut write = self.writer.begin(Purpose::Settle).await?;
            let later = sqlx::query(ASK_AGAIN_LATER).bind(model).bind(&hashes).bind(now_ms);
            write.execute(later).await?;
            write.commit().await?;
        }
        rows.iter().map(|row| Ok((hash_at(row)?, facts_at(row)?))).collect()
    }

    async fn intend_vectors(
        &self,
        model: &str,
        contents: &[(ContentHash, PictureFacts)],
        now_ms: i64,
    ) -> Result<(), CatalogError> {
        let mut write = self.writer.begin(Purpose::Grow).await?;
        for (hash, facts) in contents {
            let intend = sqlx::query(INTEND)
                .bind(model)
                .bind(hash.as_bytes().as_slice())
                .bind(&facts.format)
                .bind(facts.width)
                .bind(facts.height)
                .bind(now_ms);
            if write.execute(intend).await? == 0 {
                return Err(CatalogError::Unavailable(format!(
                    "the vector of content {hash} is being deleted; waiting for the end of that"
                )));
            }
        }
        write.commit().await
    }

    async fn require_vectors(&self, model: &str) -> Result<u64, CatalogError> {
        let row = sqlx::query(COMPLETE_FOR).fetch_one(&self.readers).await?;
        if row.try_get::<Option<&str>, _>("model")? == Some(model) {
            return Ok(0);
        }
        let mut write = self.writer.begin(Purpose::Settle).await?;
        write.execute(sqlx::query(SET_COMPLETE_FOR).bind(None::<&str>)).await?;
        let last: i64 = write.fetch_one(sqlx::query(LAST_IMAGE)).await?.try_get("id")?;
        write.commit().await?;
        let (mut from, mut images) = (0, 0);
        while from < last {
            let to = from + PIECE_ROWS;
            let mut write = self.writer.begin(Purpose::Settle).await?;
            let piece = sqlx::query(REQUIRE_PIECE).bind(model).bind(from).bind(to);
            images += write.execute(piece).await?;
            write.commit().await?;
            from = to;
        }
        let mut write = self.writer.begin(Purpose::Settle).await?;
        write.execute(sqlx::query(SET_COMPLETE_FOR).bind(model)).await?;
        write.commit().await?;
        Ok(images)
    }

    async fn claim_orphans(
        &self,
        model: &str,
        before_ms: i64,
        limit: u32,
        token: &str,
        now_ms: i64,
        until_ms: i64,
    ) -> Result<Vec<ContentHash>, CatalogError> {
        // The deletion that follows cannot be taken back, so after a power cut the claim has to be there.
        let mut write = self.writer.begin(Purpose::Promise).await?;
        let abandoned = sqlx::query(ABANDONED).bind(model).bind(now_ms).bind(limit);
        let mut rows = write.fetch(abandoned).await?;
        let rest = limit.saturating_sub(rows.len() as u32);
        rows.extend(
            write.fetch(sqlx::query(ORPHANS).bind(model).bind(before_ms).bind(rest)).await?,
        );
        let hashes = rows.iter().map(hash_at).collect::<Result<Vec<_>, _>>()?;
        if !hashes.is_empty() {
            let claim = sqlx::query(CLAIM).bind(model).bind(hex_list(&hashes)).bind(token);
            write.execute(claim).await?;
            note_lease(&mut write, token, &self.holder, until_ms).await?;
        }
        write.commit().await?;
        Ok(hashes)
    }

    async fn forget_orphans(&self, model: &str, token: &str) -> Result<u64, CatalogError> {
        let mut write = self.writer.begin(Purpose::Settle).await?;
        let forgotten = write.execute(sqlx::query(FORGET_CLAIMED).bind(model).bind(token)).await?;
        end_lease(&mut write, token).await?;
        write.commit().await?;
        Ok(forgotten)
    }

    async fn forget_vectors(
        &self,
        model: &str,
        hashes: &[ContentHash],
    ) -> Result<(), CatalogError> {
        let hashes = hex_list(hashes);
        let mut write = self.writer.begin(Purpose::Settle).await?;
        write.execute(sqlx::query(FORGET_VECTORS).bind(model).bind(&hashes)).await?;
        write.execute(sqlx::query(REQUIRE_AGAIN).bind(model).bind(&hashes)).await?;
        write.commit().await
    }

    async fn stored_hashes(
        &self,
        model: &str,
        after: Option<&ContentHash>,
        limit: u32,
    ) -> Result<Vec<ContentHash>, CatalogError> {
        let rows = sqlx::query(STORED_PAGE)
            .bind(model)
            .bind(after.map_or(&[][..], |hash| hash.as_bytes().as_slice()))
            .bind(limit)
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(hash_at).collect()
    }

    async fn stored_by_model(&self) -> Result<Vec<(String, u64)>, CatalogError> {
        let rows = sqlx::query(MODELS).fetch_all(&self.readers).await?;
        rows.iter().map(|row| Ok((row.try_get("model")?, number_at(row, "stored")?))).collect()
    }

    async fn remember_model(&self, used: &UsedModel) -> Result<(), CatalogError> {
        let mut write = self.writer.begin(Purpose::Settle).await?;
        let remember = sqlx::query(REMEMBER_MODEL)
            .bind(&used.id.name)
            .bind(&used.id.revision)
            .bind(&used.display_name)
            .bind(&used.banner);
        write.execute(remember).await?;
        write.commit().await
    }

    async fn used_models(&self) -> Result<Vec<UsedModel>, CatalogError> {
        let rows = sqlx::query(USED_MODELS).fetch_all(&self.readers).await?;
        rows.iter().map(used_model_at).collect()
    }

    async fn forget_model(&self, id: &ModelId) -> Result<(), CatalogError> {
        let model = id.to_string();
        loop {
            let mut write = self.writer.begin(Purpose::Settle).await?;
            let piece = sqlx::query(FORGET_PIECE).bind(&model).bind(PIECE_ROWS);
            let forgotten = write.execute(piece).await?;
            write.commit().await?;
            if forgotten < PIECE_ROWS as u64 {
                break;
            }
        }
        let mut write = self.writer.begin(Purpose::Settle).await?;
        write.execute(sqlx::query(FORGET_COUNT).bind(&model)).await?;
        let forget = sqlx::query(FORGET_MODEL).bind(&id.name).bind(&id.revision);
        write.execute(forget).await?;
        write.commit().await
    }
}
