//! Which contents have vectors. Whoever decides something about a content by what images it has locks the rows of its vectors
//! first, and looks in a later statement: so whatever was decided before is seen, and what comes after waits.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::PostgresCatalog;
use super::arguments::{hash_list, optional_text, text};
use super::connections::{Write, settled};
use super::facts::forget_contents;
use super::failure::Failed;
use super::listener::TELL;
use crate::catalog::rows::{facts_at, hash_at, number_at, used_model_at};
use crate::catalog::{CatalogError, Hint, PictureFacts, UsedModel, Vectors};
use crate::types::{ContentHash, ModelId};

/// Rows that one transaction of a pass over all of them touches.
const PIECE_ROWS: i64 = 10_000;

/// Nobody counts on it, and nobody deletes it.
macro_rules! imageless {
    () => {
        "NOT EXISTS (SELECT 1 FROM images WHERE images.content_hash = vectors.content_hash)"
    };
}
/// The lease under which it was being deleted is over.
macro_rules! abandoned {
    ($now:literal) => {
        concat!(
            "deleting_token IS NOT NULL AND NOT EXISTS (SELECT 1 FROM leases WHERE token = deleting_token AND until_ms >= ",
            $now,
            ")"
        )
    };
}

const LOCK_VECTORS: &str =
    "SELECT 1 FROM vectors WHERE content_hash = ANY ($1) ORDER BY content_hash, model FOR UPDATE";
const STORED: &str = "SELECT content_hash, format, width, height, orphaned_ms FROM vectors
    WHERE model = $1 AND stored AND content_hash = ANY ($2)";
const ASK_AGAIN_LATER: &str = "UPDATE vectors SET orphaned_ms = $3
    WHERE model = $1 AND content_hash = ANY ($2) AND orphaned_ms IS NOT NULL AND deleting_token IS NULL";
const INTEND: &str = "INSERT INTO vectors (model, content_hash, format, width, height, orphaned_ms)
    SELECT $1, content_hash, format, width, height, $6
    FROM unnest($2::bytea[], $3::text[], $4::bigint[], $5::bigint[]) AS intended (content_hash, format, width, height)
    ORDER BY content_hash
    ON CONFLICT (model, content_hash) DO UPDATE
        SET orphaned_ms = CASE WHEN vectors.orphaned_ms IS NULL THEN NULL ELSE excluded.orphaned_ms END
    WHERE vectors.deleting_token IS NULL";
/// An image may have come back to the content without its vector's being written again.
const ORPHANS: &str = concat!(
    "SELECT content_hash FROM vectors WHERE model = $1 AND orphaned_ms <= $2 AND deleting_token IS NULL AND ",
    imageless!(),
    " ORDER BY orphaned_ms LIMIT $3 FOR UPDATE SKIP LOCKED"
);
const ABANDONED: &str = concat!(
    "SELECT content_hash FROM vectors WHERE model = $1 AND ",
    abandoned!("$2"),
    " LIMIT $3 FOR UPDATE SKIP LOCKED"
);
/// What was found is locked by now; what happened in between is seen only here.
const CLAIM: &str = concat!(
    "UPDATE vectors SET deleting_token = $3, stored = FALSE, orphaned_ms = NULL
    WHERE model = $1 AND content_hash = ANY ($2)
        AND ((",
    abandoned!("$4"),
    ") OR (deleting_token IS NULL AND orphaned_ms IS NOT NULL AND ",
    imageless!(),
    "))
    RETURNING content_hash"
);
const NOTE_LEASE: &str = "INSERT INTO leases (token, holder, until_ms) VALUES ($1, $2, $3)
    ON CONFLICT (token) DO UPDATE SET until_ms = $3";
const END_LEASE: &str = "DELETE FROM leases WHERE token = $1";
const FORGET_CLAIMED: &str = "DELETE FROM vectors WHERE model = $1 AND deleting_token = $2";
const NOTE_ORPHANS: &str = concat!(
    "UPDATE vectors SET orphaned_ms = $2
    WHERE content_hash = ANY ($1) AND orphaned_ms IS NULL AND deleting_token IS NULL AND ",
    imageless!()
);
const COMPLETE_FOR: &str = "SELECT model FROM vectors_complete_for";
const SET_COMPLETE_FOR: &str = "UPDATE vectors_complete_for SET model = $1";
const LAST_IMAGE: &str = "SELECT coalesce(max(id), 0) AS id FROM images";
const REQUIRE_PIECE: &str = "UPDATE images SET state = 'pending', due_ms = 0 WHERE id > $2 AND id <= $3 AND state = 'indexed'
    AND NOT EXISTS (SELECT 1 FROM vectors WHERE model = $1 AND vectors.content_hash = images.content_hash AND stored)";
const FORGET_VECTORS: &str = "DELETE FROM vectors WHERE model = $1 AND content_hash = ANY ($2)";
const REQUIRE_AGAIN: &str = "UPDATE images SET state = 'pending', due_ms = 0
    WHERE content_hash = ANY ($2) AND state = 'indexed' AND EXISTS (SELECT 1 FROM vectors_complete_for WHERE model = $1)";
const STORED_PAGE: &str =
    "SELECT content_hash FROM vectors WHERE model = $1 AND content_hash > $2 AND stored
    ORDER BY content_hash LIMIT $3";
const MODELS: &str = "SELECT model, sum(stored)::bigint AS stored FROM vector_counts
    GROUP BY model HAVING sum(known) > 0 ORDER BY model";
const REMEMBER_MODEL: &str =
    "INSERT INTO used_models (name, revision, display_name, banner) VALUES ($1, $2, $3, $4)
    ON CONFLICT (name, revision) DO UPDATE SET display_name = $3, banner = $4";
const USED_MODELS: &str = "SELECT * FROM used_models ORDER BY name, revision";
const FORGET_PIECE: &str = "DELETE FROM vectors WHERE model = $1 AND content_hash IN (
    SELECT content_hash FROM vectors WHERE model = $1 LIMIT $2)";
const FORGET_MODEL: &str = "DELETE FROM used_models WHERE name = $1 AND revision = $2";

/// Nobody else says anything of these contents until the transaction ends.
pub(super) async fn lock_vectors(write: &mut Write<'_>, hashes: &[Vec<u8>]) -> Result<(), Failed> {
    write.fetch(sqlx::query(LOCK_VECTORS).bind(hashes)).await.map(drop)
}

/// Notes which of these contents have no image any more: the grace of their vectors begins, their facts are forgotten.
pub(super) async fn note_orphans(
    write: &mut Write<'_>,
    hashes: &[ContentHash],
    now_ms: i64,
) -> Result<(), Failed> {
    if hashes.is_empty() {
        return Ok(());
    }
    let hashes = hash_list(hashes);
    lock_vectors(write, &hashes).await?;
    write.execute(sqlx::query(NOTE_ORPHANS).bind(&hashes).bind(now_ms)).await?;
    forget_contents(write, &hashes).await
}

impl PostgresCatalog {
    async fn try_intend(
        &self,
        model: &str,
        contents: &HashMap<ContentHash, &PictureFacts>,
        now_ms: i64,
    ) -> Result<(), Failed> {
        let (hashes, facts): (Vec<&ContentHash>, Vec<&&PictureFacts>) = contents.iter().unzip();
        let formats: Vec<&str> = facts.iter().map(|facts| facts.format.as_str()).collect();
        let bytes: Vec<Vec<u8>> = hashes.iter().map(|hash| hash.as_bytes().to_vec()).collect();
        let mut write = self.connections.begin().await?;
        let intend = sqlx::query(INTEND)
            .bind(model)
            .bind(&bytes)
            .bind(formats)
            .bind(facts.iter().map(|facts| i64::from(facts.width)).collect::<Vec<_>>())
            .bind(facts.iter().map(|facts| i64::from(facts.height)).collect::<Vec<_>>())
            .bind(now_ms);
        if write.execute(intend).await? == hashes.len() as u64 {
            return write.commit().await;
        }
        write.give_up().await?;
        let reason = "the vector of a content is being deleted; waiting for the end of that";
        Err(CatalogError::Unavailable(reason.to_owned()).into())
    }

    async fn try_claim(
        &self,
        model: &str,
        before_ms: i64,
        limit: u32,
        token: &str,
        (now_ms, until_ms): (i64, i64),
    ) -> Result<Vec<ContentHash>, Failed> {
        let mut write = self.connections.begin().await?;
        let abandoned = sqlx::query(ABANDONED).bind(model).bind(now_ms).bind(i64::from(limit));
        let mut found = write.fetch(abandoned).await?;
        let rest = i64::from(limit.saturating_sub(found.len() as u32));
        found.extend(
            write.fetch(sqlx::query(ORPHANS).bind(model).bind(before_ms).bind(rest)).await?,
        );
        let hashes = found.iter().map(hash_at).collect::<Result<Vec<_>, _>>()?;
        if hashes.is_empty() {
            write.give_up().await?;
            return Ok(hashes);
        }
        let claim =
            sqlx::query(CLAIM).bind(model).bind(hash_list(&hashes)).bind(token).bind(now_ms);
        let claimed = write.fetch(claim).await?;
        if !claimed.is_empty() {
            let lease = sqlx::query(NOTE_LEASE).bind(token).bind(&self.holder).bind(until_ms);
            write.execute(lease).await?;
        }
        write.commit().await?;
        Ok(claimed.iter().map(hash_at).collect::<Result<_, _>>()?)
    }

    async fn try_forget_orphans(&self, model: &str, token: &str) -> Result<u64, Failed> {
        let mut write = self.connections.begin().await?;
        write.execute(sqlx::query(END_LEASE).bind(token)).await?;
        let forgotten = write.execute(sqlx::query(FORGET_CLAIMED).bind(model).bind(token)).await?;
        write.commit().await?;
        Ok(forgotten)
    }

    async fn try_forget_vectors(&self, model: &str, hashes: &[Vec<u8>]) -> Result<(), Failed> {
        let mut write = self.connections.begin().await?;
        lock_vectors(&mut write, hashes).await?;
        write.execute(sqlx::query(FORGET_VECTORS).bind(model).bind(hashes)).await?;
        if write.execute(sqlx::query(REQUIRE_AGAIN).bind(model).bind(hashes)).await? > 0 {
            write.fetch(sqlx::query(TELL).bind(Hint::Work.as_str())).await?;
        }
        write.commit().await
    }

    async fn try_require_piece(&self, model: &str, from: i64) -> Result<u64, Failed> {
        let mut write = self.connections.begin().await?;
        let piece =
            sqlx::query(REQUIRE_PIECE).bind(model).bind(from).bind(from.saturating_add(PIECE_ROWS));
        let images = write.execute(piece).await?;
        write.commit().await?;
        Ok(images)
    }
}

#[async_trait]
impl Vectors for PostgresCatalog {
    async fn stored_contents(
        &self,
        model: &str,
        hashes: &[ContentHash],
        now_ms: i64,
    ) -> Result<HashMap<ContentHash, PictureFacts>, CatalogError> {
        let hashes = hash_list(hashes);
        let stored = sqlx::query(STORED).bind(model).bind(&hashes);
        let rows = self.connections.fetch(stored).await?;
        let is_orphan = |row: &PgRow| {
            row.try_get::<Option<i64>, _>("orphaned_ms").is_ok_and(|orphaned| orphaned.is_some())
        };
        if rows.iter().any(is_orphan) {
            let later = || sqlx::query(ASK_AGAIN_LATER).bind(model).bind(&hashes).bind(now_ms);
            settled!(self.connections.try_fetch(later()))?;
        }
        rows.iter().map(|row| Ok((hash_at(row)?, facts_at(row)?))).collect()
    }

    async fn intend_vectors(
        &self,
        model: &str,
        contents: &[(ContentHash, PictureFacts)],
        now_ms: i64,
    ) -> Result<(), CatalogError> {
        let contents = contents.iter().map(|(hash, facts)| (*hash, facts)).collect();
        settled!(self.try_intend(model, &contents, now_ms))
    }

    async fn require_vectors(&self, model: &str) -> Result<u64, CatalogError> {
        let row = self.connections.fetch_one(sqlx::query(COMPLETE_FOR)).await?;
        if row.try_get::<Option<&str>, _>("model")? == Some(model) {
            return Ok(0);
        }
        self.connections.execute(sqlx::query(SET_COMPLETE_FOR).bind(None::<&str>)).await?;
        let last = self.connections.fetch_one(sqlx::query(LAST_IMAGE)).await?;
        let last: i64 = last.try_get("id")?;
        let (mut from, mut images) = (0, 0);
        while from < last {
            images += settled!(self.try_require_piece(model, from))?;
            from += PIECE_ROWS;
        }
        self.connections.execute(sqlx::query(SET_COMPLETE_FOR).bind(model)).await?;
        if images > 0 {
            self.connections.fetch(sqlx::query(TELL).bind(Hint::Work.as_str())).await?;
        }
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
        settled!(self.try_claim(model, before_ms, limit, token, (now_ms, until_ms)))
    }

    async fn forget_orphans(&self, model: &str, token: &str) -> Result<u64, CatalogError> {
        settled!(self.try_forget_orphans(model, token))
    }

    async fn forget_vectors(
        &self,
        model: &str,
        hashes: &[ContentHash],
    ) -> Result<(), CatalogError> {
        let hashes = hash_list(hashes);
        settled!(self.try_forget_vectors(model, &hashes))
    }

    async fn stored_hashes(
        &self,
        model: &str,
        after: Option<&ContentHash>,
        limit: u32,
    ) -> Result<Vec<ContentHash>, CatalogError> {
        let page = sqlx::query(STORED_PAGE)
            .bind(model)
            .bind(after.map_or(&[][..], |hash| hash.as_bytes().as_slice()))
            .bind(i64::from(limit));
        self.connections.fetch(page).await?.iter().map(hash_at).collect()
    }

    async fn stored_by_model(&self) -> Result<Vec<(String, u64)>, CatalogError> {
        let rows = self.connections.fetch(sqlx::query(MODELS)).await?;
        rows.iter().map(|row| Ok((row.try_get("model")?, number_at(row, "stored")?))).collect()
    }

    async fn remember_model(&self, used: &UsedModel) -> Result<(), CatalogError> {
        let remember = sqlx::query(REMEMBER_MODEL)
            .bind(&used.id.name)
            .bind(&used.id.revision)
            .bind(text(&used.display_name))
            .bind(optional_text(used.banner.as_deref()));
        self.connections.execute(remember).await.map(drop)
    }

    async fn used_models(&self) -> Result<Vec<UsedModel>, CatalogError> {
        let rows = self.connections.fetch(sqlx::query(USED_MODELS)).await?;
        rows.iter().map(used_model_at).collect()
    }

    async fn forget_model(&self, id: &ModelId) -> Result<(), CatalogError> {
        let model = id.to_string();
        loop {
            let piece = || sqlx::query(FORGET_PIECE).bind(&model).bind(PIECE_ROWS);
            if self.connections.execute(piece()).await? < PIECE_ROWS as u64 {
                break;
            }
        }
        let forget = sqlx::query(FORGET_MODEL).bind(&id.name).bind(&id.revision);
        self.connections.execute(forget).await?;
        self.fold_counts().await
    }
}
