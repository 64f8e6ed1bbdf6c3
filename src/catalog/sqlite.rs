//! The catalog in SQLite: WAL, one writer connection (so writers queue instead of failing as busy) and a few readers.
//! `synchronous = NORMAL`: a kill -9 loses nothing; a power cut may lose the last commits, which are then simply done again.
//! Lists are bound as one JSON text and unpacked with `json_each`, so every statement is a constant.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{Row, Sqlite, Transaction};

use super::{
    Catalog, CatalogError, CompletedImage, FailedImage, Failure, FeedbackRow, ImageRating,
    ImageRow, KnownImage, LeasedImage, NamedContent, PictureFacts, Rating, RatingChange,
    SUSPECT_INTERRUPTIONS, SavedRating, SeenImage, StateCounts, UsedModel,
};
use crate::types::{
    ContentHash, Fingerprint, ImageName, Impression, ImpressionResult, ModelId, Scope,
};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

/// Readers besides the one writer.
const READERS_MAX: u32 = 4;
const BUSY_TIMEOUT_MS: u64 = 10_000;

/// See [`Catalog`].
pub struct SqliteCatalog {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteCatalog {
    /// Opens the database file, creating and migrating it as needed.
    pub async fn open(path: &Path) -> Result<Self, CatalogError> {
        let opening = |error: sqlx::Error| CatalogError::Open {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS));
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.clone())
            .await
            .map_err(opening)?;
        MIGRATIONS.run(&writer).await.map_err(|error| CatalogError::Schema {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .connect_with(options.read_only(true))
            .await
            .map_err(opening)?;
        Ok(Self { writer, readers })
    }
}

#[async_trait]
impl Catalog for SqliteCatalog {
    async fn known(
        &self,
        source: &str,
        scope: &Scope,
        after: Option<&ImageName>,
        limit: u32,
    ) -> Result<Vec<KnownImage>, CatalogError> {
        // Under "a" are "a" itself and everything from "a/" up to, but not including, "a0" ('0' follows '/').
        let (exact, low, high) = match scope {
            Scope::All => (String::new(), String::new(), "\u{10FFFF}".to_owned()),
            Scope::Under(name) => (name.to_string(), format!("{name}/"), format!("{name}0")),
        };
        let rows = sqlx::query(
            "SELECT name, size_bytes, version, modified_ms FROM images
             WHERE source = ?1 AND name > ?2 AND (name = ?3 OR (name >= ?4 AND name < ?5)) ORDER BY name LIMIT ?6",
        )
        .bind(source)
        .bind(after.map_or("", ImageName::as_str))
        .bind(exact)
        .bind(low)
        .bind(high)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| Ok(KnownImage { name: name_at(row)?, fingerprint: fingerprint_at(row)? }))
            .collect()
    }

    async fn record(
        &self,
        source: &str,
        seen: &[SeenImage],
        gone: &[ImageName],
        now_ms: i64,
    ) -> Result<(), CatalogError> {
        let mut transaction = self.writer.begin().await?;
        for name in gone {
            sqlx::query("DELETE FROM images WHERE source = ?1 AND name = ?2")
                .bind(source)
                .bind(name.as_str())
                .execute(&mut *transaction)
                .await?;
        }
        for image in seen {
            sqlx::query(
                "INSERT INTO images (source, name, size_bytes, version, modified_ms, state, due_ms, discovered_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, 'pending', ?6, ?7)
                 ON CONFLICT (name) DO UPDATE SET source = ?1, size_bytes = ?3, version = ?4, modified_ms = ?5, state = 'pending', due_ms = ?6,
                     content_hash = NULL, format = NULL, width = NULL, height = NULL, attempts = 0, interruptions = 0,
                     failure_code = NULL, failure = NULL, lease_token = NULL, lease_until_ms = NULL, indexed_ms = NULL",
            )
            .bind(source)
            .bind(image.name.as_str())
            .bind(image.fingerprint.size_bytes as i64)
            .bind(&image.fingerprint.version)
            .bind(image.fingerprint.modified_ms)
            .bind(image.due_ms)
            .bind(now_ms)
            .execute(&mut *transaction)
            .await?;
        }
        Ok(transaction.commit().await?)
    }

    async fn lease(
        &self,
        limit: u32,
        token: &str,
        now_ms: i64,
        until_ms: i64,
        suspects: bool,
    ) -> Result<Vec<LeasedImage>, CatalogError> {
        let (low, high, limit) = if suspects {
            (SUSPECT_INTERRUPTIONS, i64::MAX, 1)
        } else {
            (0, SUSPECT_INTERRUPTIONS - 1, limit)
        };
        let rows = sqlx::query(
            "UPDATE images SET lease_token = ?1, lease_until_ms = ?2 WHERE id IN (
                 SELECT id FROM images WHERE state = 'pending' AND interruptions BETWEEN ?3 AND ?4 AND due_ms <= ?5 AND lease_token IS NULL
                 ORDER BY interruptions, id LIMIT ?6)
             RETURNING id, source, name, size_bytes, version, modified_ms, attempts, interruptions",
        )
        .bind(token)
        .bind(until_ms)
        .bind(low)
        .bind(high)
        .bind(now_ms)
        .bind(limit)
        .fetch_all(&self.writer)
        .await?;
        rows.iter().map(leased_at).collect()
    }

    async fn renew(&self, token: &str, until_ms: i64) -> Result<(), CatalogError> {
        sqlx::query(
            "UPDATE images SET lease_until_ms = ?2 WHERE state = 'pending' AND lease_token = ?1",
        )
        .bind(token)
        .bind(until_ms)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    async fn release(&self, token: &str) -> Result<u64, CatalogError> {
        let done = sqlx::query("UPDATE images SET lease_token = NULL, lease_until_ms = NULL WHERE state = 'pending' AND lease_token = ?1")
            .bind(token)
            .execute(&self.writer)
            .await?;
        Ok(done.rows_affected())
    }

    async fn reclaim(&self, now_ms: Option<i64>) -> Result<u64, CatalogError> {
        let done = sqlx::query(
            "UPDATE images SET lease_token = NULL, lease_until_ms = NULL, interruptions = interruptions + 1
             WHERE state = 'pending' AND lease_token IS NOT NULL AND lease_until_ms < ?1",
        )
        .bind(now_ms.unwrap_or(i64::MAX))
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected())
    }

    async fn stored_contents(
        &self,
        model: &str,
        hashes: &[ContentHash],
    ) -> Result<HashMap<ContentHash, PictureFacts>, CatalogError> {
        let hashes = hex_list(hashes);
        let rows = sqlx::query(
            "SELECT content_hash, format, width, height, orphaned_ms FROM vectors
             WHERE model = ?1 AND stored = 1 AND content_hash IN (SELECT unhex(value) FROM json_each(?2))",
        )
        .bind(model)
        .bind(&hashes)
        .fetch_all(&self.readers)
        .await?;
        let is_orphan = |row: &SqliteRow| {
            row.try_get::<Option<i64>, _>("orphaned_ms").is_ok_and(|orphaned| orphaned.is_some())
        };
        if rows.iter().any(is_orphan) {
            sqlx::query(
                "UPDATE vectors SET orphaned_ms = NULL WHERE model = ?1 AND content_hash IN (SELECT unhex(value) FROM json_each(?2))",
            )
            .bind(model)
            .bind(&hashes)
            .execute(&self.writer)
            .await?;
        }
        rows.iter().map(|row| Ok((hash_at(row)?, facts_at(row)?))).collect()
    }

    async fn intend_vectors(
        &self,
        model: &str,
        contents: &[(ContentHash, PictureFacts)],
    ) -> Result<(), CatalogError> {
        let mut transaction = self.writer.begin().await?;
        for (hash, facts) in contents {
            sqlx::query(
                "INSERT INTO vectors (model, content_hash, format, width, height) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET orphaned_ms = NULL",
            )
            .bind(model)
            .bind(hash.as_bytes().as_slice())
            .bind(&facts.format)
            .bind(facts.width)
            .bind(facts.height)
            .execute(&mut *transaction)
            .await?;
        }
        Ok(transaction.commit().await?)
    }

    async fn complete(
        &self,
        model: &str,
        token: &str,
        done: &[CompletedImage],
        now_ms: i64,
    ) -> Result<u64, CatalogError> {
        let mut transaction = self.writer.begin().await?;
        let mut indexed = 0;
        for image in done {
            sqlx::query("UPDATE vectors SET stored = 1 WHERE model = ?1 AND content_hash = ?2")
                .bind(model)
                .bind(image.hash.as_bytes().as_slice())
                .execute(&mut *transaction)
                .await?;
            let row = sqlx::query(
                "UPDATE images SET state = 'indexed', content_hash = ?3, format = ?4, width = ?5, height = ?6, indexed_ms = ?7, attempts = 0,
                     interruptions = 0, failure_code = NULL, failure = NULL, lease_token = NULL, lease_until_ms = NULL
                 WHERE id = ?1 AND lease_token = ?2 AND state = 'pending'
                     AND EXISTS (SELECT 1 FROM vectors WHERE model = ?8 AND content_hash = ?3)",
            )
            .bind(image.image_id)
            .bind(token)
            .bind(image.hash.as_bytes().as_slice())
            .bind(&image.facts.format)
            .bind(image.facts.width)
            .bind(image.facts.height)
            .bind(now_ms)
            .bind(model)
            .execute(&mut *transaction)
            .await?;
            indexed += row.rows_affected();
        }
        transaction.commit().await?;
        Ok(indexed)
    }

    async fn fail(
        &self,
        token: &str,
        image_id: i64,
        failure: &Failure,
        retry_ms: Option<i64>,
    ) -> Result<(), CatalogError> {
        sqlx::query(
            "UPDATE images SET state = iif(?3 IS NULL, 'failed', 'pending'), due_ms = coalesce(?3, 0), attempts = attempts + 1,
                 failure_code = ?4, failure = ?5, lease_token = NULL, lease_until_ms = NULL
             WHERE id = ?1 AND lease_token = ?2 AND state = 'pending'",
        )
        .bind(image_id)
        .bind(token)
        .bind(retry_ms)
        .bind(&failure.code)
        .bind(&failure.reason)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    async fn defer(
        &self,
        token: &str,
        image_id: i64,
        fingerprint: &Fingerprint,
        due_ms: i64,
    ) -> Result<(), CatalogError> {
        sqlx::query(
            "UPDATE images SET size_bytes = ?3, version = ?4, modified_ms = ?5, due_ms = ?6, lease_token = NULL, lease_until_ms = NULL
             WHERE id = ?1 AND lease_token = ?2 AND state = 'pending'",
        )
        .bind(image_id)
        .bind(token)
        .bind(fingerprint.size_bytes as i64)
        .bind(&fingerprint.version)
        .bind(fingerprint.modified_ms)
        .bind(due_ms)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    async fn next_due_ms(&self) -> Result<Option<i64>, CatalogError> {
        let row = sqlx::query("SELECT min(coalesce(lease_until_ms, due_ms)) AS due FROM images WHERE state = 'pending'")
            .fetch_one(&self.readers)
            .await?;
        Ok(row.try_get("due")?)
    }

    async fn require_vectors(&self, model: &str) -> Result<u64, CatalogError> {
        let done = sqlx::query(
            "UPDATE images SET state = 'pending', due_ms = 0 WHERE state = 'indexed' AND NOT EXISTS (
                 SELECT 1 FROM vectors WHERE model = ?1 AND vectors.content_hash = images.content_hash AND stored = 1)",
        )
        .bind(model)
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected())
    }

    async fn orphans(
        &self,
        model: &str,
        now_ms: i64,
        before_ms: i64,
        limit: u32,
    ) -> Result<Vec<ContentHash>, CatalogError> {
        let mut transaction = self.writer.begin().await?;
        sqlx::query(
            "UPDATE vectors SET orphaned_ms = ?2 WHERE model = ?1 AND orphaned_ms IS NULL
             AND NOT EXISTS (SELECT 1 FROM images WHERE images.content_hash = vectors.content_hash)",
        )
        .bind(model)
        .bind(now_ms)
        .execute(&mut *transaction)
        .await?;
        // A content that came back under another name is no orphan any more.
        sqlx::query(
            "UPDATE vectors SET orphaned_ms = NULL WHERE model = ?1 AND orphaned_ms IS NOT NULL
             AND EXISTS (SELECT 1 FROM images WHERE images.content_hash = vectors.content_hash)",
        )
        .bind(model)
        .execute(&mut *transaction)
        .await?;
        let rows = sqlx::query(
            "SELECT content_hash FROM vectors WHERE model = ?1 AND orphaned_ms <= ?2 LIMIT ?3",
        )
        .bind(model)
        .bind(before_ms)
        .bind(limit)
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        rows.iter().map(hash_at).collect()
    }

    async fn forget_vectors(
        &self,
        model: &str,
        hashes: &[ContentHash],
    ) -> Result<(), CatalogError> {
        sqlx::query("DELETE FROM vectors WHERE model = ?1 AND content_hash IN (SELECT unhex(value) FROM json_each(?2))")
            .bind(model)
            .bind(hex_list(hashes))
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    async fn stored_hashes(
        &self,
        model: &str,
        after: Option<&ContentHash>,
        limit: u32,
    ) -> Result<Vec<ContentHash>, CatalogError> {
        let rows = sqlx::query(
            "SELECT content_hash FROM vectors WHERE model = ?1 AND stored = 1 AND content_hash > ?2 ORDER BY content_hash LIMIT ?3",
        )
        .bind(model)
        .bind(after.map_or(&[][..], |hash| hash.as_bytes().as_slice()))
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(hash_at).collect()
    }

    async fn models(&self) -> Result<Vec<(String, u64)>, CatalogError> {
        let rows = sqlx::query(
            "SELECT model, sum(stored) AS stored FROM vectors GROUP BY model ORDER BY model",
        )
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| Ok((row.try_get("model")?, row.try_get::<i64, _>("stored")? as u64)))
            .collect()
    }

    async fn awaiting(&self) -> Result<u64, CatalogError> {
        let row = sqlx::query(
            "SELECT count(*) AS images FROM images WHERE state = 'pending' AND format IS NOT NULL",
        )
        .fetch_one(&self.readers)
        .await?;
        Ok(row.try_get::<i64, _>("images")? as u64)
    }

    async fn remember_model(&self, used: &UsedModel) -> Result<(), CatalogError> {
        sqlx::query(
            "INSERT INTO used_models (name, revision, display_name, banner) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET display_name = ?3, banner = ?4",
        )
        .bind(&used.id.name)
        .bind(&used.id.revision)
        .bind(&used.display_name)
        .bind(&used.banner)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    async fn used_models(&self) -> Result<Vec<UsedModel>, CatalogError> {
        let rows = sqlx::query("SELECT * FROM used_models ORDER BY name, revision")
            .fetch_all(&self.readers)
            .await?;
        let used = |row: &SqliteRow| -> Result<UsedModel, CatalogError> {
            Ok(UsedModel {
                id: ModelId { name: row.try_get("name")?, revision: row.try_get("revision")? },
                display_name: row.try_get("display_name")?,
                banner: row.try_get("banner")?,
            })
        };
        rows.iter().map(used).collect()
    }

    async fn forget_model(&self, id: &ModelId) -> Result<(), CatalogError> {
        let mut transaction = self.writer.begin().await?;
        sqlx::query("DELETE FROM vectors WHERE model = ?1")
            .bind(id.to_string())
            .execute(&mut *transaction)
            .await?;
        sqlx::query("DELETE FROM used_models WHERE name = ?1 AND revision = ?2")
            .bind(&id.name)
            .bind(&id.revision)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    async fn images_of(
        &self,
        hashes: &[ContentHash],
    ) -> Result<HashMap<ContentHash, NamedContent>, CatalogError> {
        let rows = sqlx::query(
            "SELECT content_hash, name, format, width, height FROM images
             WHERE content_hash IN (SELECT unhex(value) FROM json_each(?1)) AND format IS NOT NULL ORDER BY name",
        )
        .bind(hex_list(hashes))
        .fetch_all(&self.readers)
        .await?;
        let mut contents: HashMap<ContentHash, NamedContent> = HashMap::with_capacity(hashes.len());
        for row in &rows {
            let facts = facts_at(row)?;
            contents
                .entry(hash_at(row)?)
                .or_insert_with(|| NamedContent { names: Vec::new(), facts })
                .names
                .push(name_at(row)?);
        }
        Ok(contents)
    }

    async fn image(&self, name: &ImageName) -> Result<Option<ImageRow>, CatalogError> {
        let row = sqlx::query("SELECT * FROM images WHERE name = ?1")
            .bind(name.as_str())
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(image_at).transpose()
    }

    async fn recent(&self, limit: u32, offset: u32) -> Result<(Vec<ImageRow>, u64), CatalogError> {
        let rows = sqlx::query("SELECT * FROM images WHERE format IS NOT NULL ORDER BY discovered_ms DESC, id DESC LIMIT ?1 OFFSET ?2")
            .bind(limit)
            .bind(offset)
            .fetch_all(&self.readers)
            .await?;
        let total: i64 =
            sqlx::query("SELECT count(*) AS total FROM images WHERE format IS NOT NULL")
                .fetch_one(&self.readers)
                .await?
                .try_get("total")?;
        Ok((rows.iter().map(image_at).collect::<Result<_, _>>()?, total as u64))
    }

    async fn counts(&self) -> Result<StateCounts, CatalogError> {
        let rows = sqlx::query("SELECT state, count(*) AS images FROM images GROUP BY state")
            .fetch_all(&self.readers)
            .await?;
        let mut counts = StateCounts::default();
        for row in rows {
            let images = row.try_get::<i64, _>("images")? as u64;
            match row.try_get::<String, _>("state")?.as_str() {
                "pending" => counts.pending = images,
                "indexed" => counts.indexed = images,
                _ => counts.failed = images,
            }
        }
        Ok(counts)
    }

    async fn failures(
        &self,
        limit: u32,
        offset: u32,
    ) -> Result<(Vec<FailedImage>, u64), CatalogError> {
        let rows =
            sqlx::query("SELECT name, failure_code, failure, attempts FROM images WHERE state = 'failed' ORDER BY name LIMIT ?1 OFFSET ?2")
                .bind(limit)
                .bind(offset)
                .fetch_all(&self.readers)
                .await?;
        let failed = |row: &SqliteRow| -> Result<FailedImage, CatalogError> {
            let text = |column: &str| {
                row.try_get::<Option<String>, _>(column).map(Option::unwrap_or_default)
            };
            let failure = Failure { code: text("failure_code")?, reason: text("failure")? };
            Ok(FailedImage { name: name_at(row)?, failure, attempts: row.try_get("attempts")? })
        };
        let failures = rows.iter().map(failed).collect::<Result<_, _>>()?;
        Ok((failures, self.counts().await?.failed))
    }

    async fn retry(&self, names: Option<&[ImageName]>) -> Result<u64, CatalogError> {
        let names = names.map(|names| json!(names).to_string());
        let done = sqlx::query(
            "UPDATE images SET state = 'pending', due_ms = 0, attempts = 0, interruptions = 0, failure_code = NULL, failure = NULL
             WHERE state = 'failed' AND (?1 IS NULL OR name IN (SELECT value FROM json_each(?1)))",
        )
        .bind(names)
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected())
    }

    async fn save_feedback(
        &self,
        impression: &Impression,
        change: &RatingChange,
        now_ms: i64,
    ) -> Result<SavedRating, CatalogError> {
        let mut transaction = self.writer.begin().await?;
        insert_impression(&mut transaction, impression).await?;
        let row = sqlx::query(
            "INSERT INTO feedback (impression_id, rating, image_ratings, created_ms, updated_ms) VALUES (?1, ?2, coalesce(?3, '[]'), ?4, ?4)
             ON CONFLICT (impression_id) DO UPDATE SET rating = coalesce(?2, rating), image_ratings = coalesce(?3, image_ratings),
                 updated_ms = max(?4, created_ms + 1)
             RETURNING created_ms = updated_ms AS first, rating",
        )
        .bind(&impression.id)
        .bind(change.value)
        .bind(change.images.as_ref().map(|images| json!(images).to_string()))
        .bind(now_ms)
        .fetch_one(&mut *transaction)
        .await?;
        let saved = SavedRating { first: row.try_get("first")?, value: row.try_get("rating")? };
        transaction.commit().await?;
        Ok(saved)
    }

    async fn feedback(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<FeedbackRow>, CatalogError> {
        let rows = sqlx::query(
            "SELECT * FROM feedback JOIN impressions ON impressions.id = feedback.impression_id WHERE impression_id > ?1 ORDER BY impression_id LIMIT ?2",
        )
        .bind(after.unwrap_or_default())
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(feedback_at).collect()
    }

    async fn health(&self) -> Result<(), CatalogError> {
        sqlx::query("SELECT 1 FROM images LIMIT 1").fetch_optional(&self.readers).await?;
        Ok(())
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

async fn insert_impression(
    transaction: &mut Transaction<'_, Sqlite>,
    impression: &Impression,
) -> Result<(), CatalogError> {
    sqlx::query("INSERT INTO impressions (id, query, model, results, searched_ms) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING")
        .bind(&impression.id)
        .bind(&impression.query)
        .bind(&impression.model)
        .bind(json!(impression.results).to_string())
        .bind(impression.searched_ms)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

fn hex_list(hashes: &[ContentHash]) -> String {
    json!(hashes).to_string()
}

fn damaged(what: impl std::fmt::Display) -> CatalogError {
    CatalogError::Damaged(what.to_string())
}

fn name_at(row: &SqliteRow) -> Result<ImageName, CatalogError> {
    ImageName::new(row.try_get::<String, _>("name")?).map_err(damaged)
}

fn hash_at(row: &SqliteRow) -> Result<ContentHash, CatalogError> {
    ContentHash::from_slice(row.try_get("content_hash")?).map_err(damaged)
}

fn facts_at(row: &SqliteRow) -> Result<PictureFacts, CatalogError> {
    Ok(PictureFacts {
        format: row.try_get("format")?,
        width: row.try_get("width")?,
        height: row.try_get("height")?,
    })
}

fn fingerprint_at(row: &SqliteRow) -> Result<Fingerprint, CatalogError> {
    let size_bytes = row.try_get::<i64, _>("size_bytes")? as u64;
    Ok(Fingerprint {
        size_bytes,
        version: row.try_get("version")?,
        modified_ms: row.try_get("modified_ms")?,
    })
}

fn leased_at(row: &SqliteRow) -> Result<LeasedImage, CatalogError> {
    Ok(LeasedImage {
        id: row.try_get("id")?,
        source: row.try_get("source")?,
        name: name_at(row)?,
        fingerprint: fingerprint_at(row)?,
        attempts: row.try_get("attempts")?,
        interruptions: row.try_get("interruptions")?,
    })
}

fn image_at(row: &SqliteRow) -> Result<ImageRow, CatalogError> {
    let hash = row.try_get::<Option<Vec<u8>>, _>("content_hash")?;
    let has_facts = row.try_get::<Option<String>, _>("format")?.is_some();
    Ok(ImageRow {
        source: row.try_get("source")?,
        name: name_at(row)?,
        hash: hash.map(|bytes| ContentHash::from_slice(&bytes).map_err(damaged)).transpose()?,
        facts: has_facts.then(|| facts_at(row)).transpose()?,
        fingerprint: fingerprint_at(row)?,
    })
}

fn feedback_at(row: &SqliteRow) -> Result<FeedbackRow, CatalogError> {
    let results: Vec<ImpressionResult> =
        serde_json::from_str(row.try_get("results")?).map_err(damaged)?;
    let images: Vec<ImageRating> =
        serde_json::from_str(row.try_get("image_ratings")?).map_err(damaged)?;
    let impression = Impression {
        id: row.try_get("id")?,
        query: row.try_get("query")?,
        model: row.try_get("model")?,
        results,
        searched_ms: row.try_get("searched_ms")?,
    };
    let rating = Rating { value: row.try_get("rating")?, images };
    Ok(FeedbackRow {
        impression,
        rating,
        created_ms: row.try_get("created_ms")?,
        updated_ms: row.try_get("updated_ms")?,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalog::conformance;

    #[tokio::test]
    async fn conforms() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let next = std::sync::atomic::AtomicU32::new(0);
        conformance::run(|| {
            let path = dir.path().join(format!("{}.db", next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)));
            async move { Arc::new(SqliteCatalog::open(&path).await.expect("open")) as Arc<dyn Catalog> }
        })
        .await;
    }

    #[tokio::test]
    async fn a_missing_folder_is_named_with_what_to_do() {
        let Err(error) = SqliteCatalog::open(Path::new("/nonexistent/catalog.db")).await else {
            panic!("it opened")
        };
        assert!(error.to_string().contains("/nonexistent/catalog.db"), "{error}");
        assert!(error.to_string().contains("--data-dir"), "{error}");
    }
}
