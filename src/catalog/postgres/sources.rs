//! Where images come from. A source gets its row, and with it its place in the queue, when it is first configured or seen.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::PostgresCatalog;
use super::arguments::text;
use super::connections::{Write, settled};
use super::failure::Failed;
use crate::catalog::rows::source_at;
use crate::catalog::{CatalogError, ConfiguredSource, SourceRow, Sources, UnnameableFile};

const ALL: &str = "SELECT sources.*, coalesce((SELECT sum(images) FROM image_counts WHERE source = key AND NOT missing), 0)::bigint AS images
    FROM sources ORDER BY key";
const KNOW: &str = "INSERT INTO sources (id) VALUES ($1) ON CONFLICT DO NOTHING";
/// Until the transaction ends, nobody forgets it.
const KEY: &str = "SELECT key FROM sources WHERE id = $1 FOR KEY SHARE";
const CONFIGURE: &str = "INSERT INTO sources (id, location) VALUES ($1, $2)
    ON CONFLICT (id) DO UPDATE SET location = $2, unconfigured_since_ms = NULL";
const UNCONFIGURE: &str = "UPDATE sources SET unconfigured_since_ms = $2 WHERE unconfigured_since_ms IS NULL AND id <> ALL ($1)";
const AWAY: &str = "UPDATE sources SET away_since_ms = coalesce(away_since_ms, $3), away_reason = $2 WHERE id = $1";
const BACK: &str = "UPDATE sources SET away_since_ms = NULL, away_reason = NULL WHERE id = $1 AND away_since_ms IS NOT NULL";
const UNNAMEABLE: &str = "SELECT shown, reason FROM sources JOIN unnameable_files ON source = key
    WHERE unconfigured_since_ms IS NULL ORDER BY key, place";
const UNNAMEABLE_OF: &str = "SELECT shown, reason FROM sources JOIN unnameable_files ON source = key WHERE id = $1 ORDER BY place";
const FORGET_UNNAMEABLE: &str =
    "DELETE FROM unnameable_files WHERE source = $1 OR source NOT IN (SELECT key FROM sources)";
const NOTE_UNNAMEABLE: &str = "INSERT INTO unnameable_files (source, place, shown, reason)
    SELECT $1, place, shown, reason FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS files (shown, reason, place)";
const LISTED: &str =
    "UPDATE sources SET last_listed_ms = $3, identity = coalesce($2, identity) WHERE id = $1";

/// The number of a source, which has one from now on.
pub(super) async fn source_key(write: &mut Write<'_>, id: &str) -> Result<i64, Failed> {
    if let Some(row) = write.fetch(sqlx::query(KEY).bind(id)).await?.pop() {
        return Ok(row.try_get("key")?);
    }
    write.execute(sqlx::query(KNOW).bind(id)).await?;
    Ok(write.fetch_one(sqlx::query(KEY).bind(id)).await?.try_get("key")?)
}

impl PostgresCatalog {
    async fn try_configure(
        &self,
        configured: &[ConfiguredSource],
        now_ms: i64,
    ) -> Result<(), Failed> {
        let ids: Vec<&str> = configured.iter().map(|source| source.id.as_str()).collect();
        let mut write = self.connections.begin().await?;
        for source in configured {
            let configure = sqlx::query(CONFIGURE).bind(&source.id).bind(text(&source.location));
            write.execute(configure).await?;
        }
        write.execute(sqlx::query(UNCONFIGURE).bind(ids).bind(now_ms)).await?;
        write.commit().await
    }

    async fn try_mark(
        &self,
        source: &str,
        statement: &'static str,
        words: Option<&str>,
        now_ms: i64,
    ) -> Result<(), Failed> {
        let mut write = self.connections.begin().await?;
        source_key(&mut write, source).await?;
        let mark = sqlx::query(statement).bind(source).bind(words.map(text)).bind(now_ms);
        write.execute(mark).await?;
        write.commit().await
    }

    async fn try_note_unnameable(
        &self,
        source: &str,
        files: &[UnnameableFile],
    ) -> Result<(), Failed> {
        let mut write = self.connections.begin().await?;
        let key = source_key(&mut write, source).await?;
        write.execute(sqlx::query(FORGET_UNNAMEABLE).bind(key)).await?;
        let shown: Vec<&str> = files.iter().map(|file| file.shown.as_str()).collect();
        let reasons: Vec<&str> = files.iter().map(|file| file.reason.as_str()).collect();
        write.execute(sqlx::query(NOTE_UNNAMEABLE).bind(key).bind(shown).bind(reasons)).await?;
        write.commit().await
    }
}

#[async_trait]
impl Sources for PostgresCatalog {
    async fn sources(&self) -> Result<Vec<SourceRow>, CatalogError> {
        self.connections.fetch(sqlx::query(ALL)).await?.iter().map(source_at).collect()
    }

    async fn configure_sources(
        &self,
        configured: &[ConfiguredSource],
        now_ms: i64,
    ) -> Result<(), CatalogError> {
        settled!(self.try_configure(configured, now_ms))
    }

    async fn mark_away(
        &self,
        source: &str,
        reason: Option<&str>,
        now_ms: i64,
    ) -> Result<(), CatalogError> {
        match reason {
            Some(reason) => settled!(self.try_mark(source, AWAY, Some(reason), now_ms)),
            None => self.connections.execute(sqlx::query(BACK).bind(source)).await.map(drop),
        }
    }

    async fn mark_listed(
        &self,
        source: &str,
        identity: Option<&str>,
        now_ms: i64,
    ) -> Result<(), CatalogError> {
        settled!(self.try_mark(source, LISTED, identity, now_ms))
    }

    async fn note_unnameable(
        &self,
        source: &str,
        files: &[UnnameableFile],
    ) -> Result<(), CatalogError> {
        let known = self.connections.fetch(sqlx::query(UNNAMEABLE_OF).bind(source)).await?;
        let known = known.iter().map(unnameable_at).collect::<Result<Vec<_>, _>>()?;
        let mut wanted: Vec<UnnameableFile> = files
            .iter()
            .map(|file| UnnameableFile {
                shown: text(&file.shown).into_owned(),
                reason: text(&file.reason).into_owned(),
            })
            .collect();
        wanted.sort();
        wanted.dedup_by(|a, b| a.shown == b.shown);
        if known == wanted {
            return Ok(());
        }
        settled!(self.try_note_unnameable(source, &wanted))
    }

    async fn unnameable(&self) -> Result<Vec<UnnameableFile>, CatalogError> {
        self.connections.fetch(sqlx::query(UNNAMEABLE)).await?.iter().map(unnameable_at).collect()
    }
}

fn unnameable_at(row: &PgRow) -> Result<UnnameableFile, CatalogError> {
    Ok(UnnameableFile { shown: row.try_get("shown")?, reason: row.try_get("reason")? })
}
