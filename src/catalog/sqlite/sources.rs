//! Where images come from. A source gets its row, and with it its place in the queue, when it is first configured or seen.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::SqliteCatalog;
use super::statements;
use super::writer::{Purpose, Write};
use crate::catalog::rows::source_at;
use crate::catalog::{CatalogError, ConfiguredSource, SourceRow, Sources, UnnameableFile};

statements! {
    ALL = "SELECT sources.*, coalesce((SELECT sum(images) FROM image_counts WHERE source = key AND missing = 0), 0) AS images
        FROM sources ORDER BY key";
    KNOW = "INSERT INTO sources (id) VALUES (?1) ON CONFLICT DO NOTHING";
    KEY = "SELECT key FROM sources WHERE id = ?1";
    CONFIGURE = "INSERT INTO sources (id, location) VALUES (?1, ?2)
        ON CONFLICT (id) DO UPDATE SET location = ?2, unconfigured_since_ms = NULL";
    UNCONFIGURE = "UPDATE sources SET unconfigured_since_ms = ?2
        WHERE unconfigured_since_ms IS NULL AND id NOT IN (SELECT value FROM json_each(?1))";
    AWAY = "UPDATE sources SET away_since_ms = coalesce(away_since_ms, ?3), away_reason = ?2 WHERE id = ?1";
    BACK = "UPDATE sources SET away_since_ms = NULL, away_reason = NULL WHERE id = ?1 AND away_since_ms IS NOT NULL";
    UNNAMEABLE = "SELECT shown, reason FROM sources JOIN unnameable_files ON source = key
        WHERE unconfigured_since_ms IS NULL ORDER BY key, shown";
    UNNAMEABLE_OF = "SELECT shown, reason FROM sources JOIN unnameable_files ON source = key WHERE id = ?1 ORDER BY shown";
    FORGET_UNNAMEABLE = "DELETE FROM unnameable_files WHERE source = ?1 OR source NOT IN (SELECT key FROM sources)";
    NOTE_UNNAMEABLE = "INSERT OR IGNORE INTO unnameable_files (source, shown, reason)
        SELECT ?1, value ->> 'shown', value ->> 'reason' FROM json_each(?2)";
    LISTED = "UPDATE sources SET last_listed_ms = ?3, identity = coalesce(?2, identity) WHERE id = ?1";
}

/// The number of a source, which has one from now on.
pub(super) async fn source_key(write: &mut Write<'_>, id: &str) -> Result<i64, CatalogError> {
    write.execute(sqlx::query(KNOW).bind(id)).await?;
    Ok(write.fetch_one(sqlx::query(KEY).bind(id)).await?.try_get("key")?)
}

#[async_trait]
impl Sources for SqliteCatalog {
    async fn sources(&self) -> Result<Vec<SourceRow>, CatalogError> {
        let rows = sqlx::query(ALL).fetch_all(&self.readers).await?;
        rows.iter().map(source_at).collect()
    }

    async fn configure_sources(
        &self,
        configured: &[ConfiguredSource],
        now_ms: i64,
    ) -> Result<(), CatalogError> {
        let ids: Vec<&str> = configured.iter().map(|source| source.id.as_str()).collect();
        let mut write = self.writer.begin(Purpose::Settle).await?;
        for source in configured {
            write.execute(sqlx::query(CONFIGURE).bind(&source.id).bind(&source.location)).await?;
        }
        let ids = serde_json::json!(ids).to_string();
        write.execute(sqlx::query(UNCONFIGURE).bind(ids).bind(now_ms)).await?;
        write.commit().await
    }

    async fn mark_away(
        &self,
        source: &str,
        reason: Option<&str>,
        now_ms: i64,
    ) -> Result<(), CatalogError> {
        let mut write = self.writer.begin(Purpose::Settle).await?;
        match reason {
            Some(reason) => {
                source_key(&mut write, source).await?;
                write.execute(sqlx::query(AWAY).bind(source).bind(reason).bind(now_ms)).await?
            }
            None => write.execute(sqlx::query(BACK).bind(source)).await?,
        };
        write.commit().await
    }

    async fn mark_listed(
        &self,
        source: &str,
        identity: Option<&str>,
        now_ms: i64,
    ) -> Result<(), CatalogError> {
        let mut write = self.writer.begin(Purpose::Settle).await?;
        source_key(&mut write, source).await?;
        write.execute(sqlx::query(LISTED).bind(source).bind(identity).bind(now_ms)).await?;
        write.commit().await
    }

    async fn note_unnameable(
        &self,
        source: &str,
        files: &[UnnameableFile],
    ) -> Result<(), CatalogError> {
        let known = sqlx::query(UNNAMEABLE_OF).bind(source).fetch_all(&self.readers).await?;
        let known = known.iter().map(unnameable_at).collect::<Result<Vec<_>, _>>()?;
        let mut wanted = files.to_vec();
        wanted.sort();
        wanted.dedup();
        if known == wanted {
            return Ok(());
        }
        let mut write = self.writer.begin(Purpose::Settle).await?;
        let key = source_key(&mut write, source).await?;
        write.execute(sqlx::query(FORGET_UNNAMEABLE).bind(key)).await?;
        let wanted = serde_json::json!(wanted).to_string();
        write.execute(sqlx::query(NOTE_UNNAMEABLE).bind(key).bind(wanted)).await?;
        write.commit().await
    }

    async fn unnameable(&self) -> Result<Vec<UnnameableFile>, CatalogError> {
        let rows = sqlx::query(UNNAMEABLE).fetch_all(&self.readers).await?;
        rows.iter().map(unnameable_at).collect()
    }
}

fn unnameable_at(row: &SqliteRow) -> Result<UnnameableFile, CatalogError> {
    Ok(UnnameableFile { shown: row.try_get("shown")?, reason: row.try_get("reason")? })
}
