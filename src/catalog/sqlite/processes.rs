//! Signs of life, and the model that pictures are indexed with.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::SqliteCatalog;
use super::statements;
use super::writer::{Purpose, Write};
use crate::catalog::processes::same_model;
use crate::catalog::rows::process_at;
use crate::catalog::{CatalogError, ProcessRow, Processes};

statements! {
    NOTE = "INSERT OR REPLACE INTO processes
            (instance, role, host, version, started_ms, seen_ms, images_indexed, images_per_second, message)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    /// There are as many rows as processes.
    FORGET_SILENT = "DELETE FROM processes WHERE instance IN (SELECT instance FROM processes WHERE seen_ms < ?1)";
    FORGET = "DELETE FROM processes WHERE instance = ?1";
    ALL = "SELECT * FROM processes ORDER BY instance";
    INDEX_WITH = "UPDATE indexing_model SET model = ?1 WHERE id = 1";
    INDEXING_MODEL = "SELECT model FROM indexing_model WHERE id = 1";
}

/// See [`same_model`].
pub(super) async fn check_model(write: &mut Write<'_>, model: &str) -> Result<(), CatalogError> {
    same_model(model, model_at(&write.fetch_one(sqlx::query(INDEXING_MODEL)).await?)?)
}

fn model_at(row: &SqliteRow) -> Result<Option<String>, CatalogError> {
    Ok(row.try_get("model")?)
}

#[async_trait]
impl Processes for SqliteCatalog {
    async fn note_process(
        &self,
        process: &ProcessRow,
        forget_before_ms: i64,
    ) -> Result<(), CatalogError> {
        let mut write = self.writer.begin(Purpose::Settle).await?;
        write.execute(sqlx::query(FORGET_SILENT).bind(forget_before_ms)).await?;
        let note = sqlx::query(NOTE)
            .bind(&process.instance)
            .bind(&process.role)
            .bind(&process.host)
            .bind(&process.version)
            .bind(process.started_ms)
            .bind(process.seen_ms)
            .bind(process.images_indexed as i64)
            .bind(process.images_per_second)
            .bind(process.message.as_deref());
        write.execute(note).await?;
        write.commit().await
    }

    async fn forget_process(&self, instance: &str) -> Result<(), CatalogError> {
        let mut write = self.writer.begin(Purpose::Settle).await?;
        write.execute(sqlx::query(FORGET).bind(instance)).await?;
        write.commit().await
    }

    async fn processes(&self) -> Result<Vec<ProcessRow>, CatalogError> {
        let rows = sqlx::query(ALL).fetch_all(&self.readers).await?;
        rows.iter().map(process_at).collect()
    }

    async fn index_with(&self, model: &str) -> Result<(), CatalogError> {
        if self.indexing_model().await?.as_deref() == Some(model) {
            return Ok(());
        }
        let mut write = self.writer.begin(Purpose::Settle).await?;
        write.execute(sqlx::query(INDEX_WITH).bind(model)).await?;
        write.commit().await
    }

    async fn indexing_model(&self) -> Result<Option<String>, CatalogError> {
        model_at(&sqlx::query(INDEXING_MODEL).fetch_one(&self.readers).await?)
    }
}
