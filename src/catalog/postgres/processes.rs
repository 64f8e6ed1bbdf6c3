//! Signs of life, and the model that pictures are indexed with.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::PostgresCatalog;
use super::arguments::{optional_text, text};
use super::connections::{Write, settled};
use super::failure::Failed;
use super::listener::TELL;
use crate::catalog::processes::same_model;
use crate::catalog::rows::process_at;
use crate::catalog::{CatalogError, Hint, ProcessRow, Processes};

const NOTE: &str = "WITH silent AS (DELETE FROM processes WHERE seen_ms < $10 AND instance <> $1)
    INSERT INTO processes (instance, role, host, version, started_ms, seen_ms, images_indexed, images_per_second, message)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (instance) DO UPDATE SET role = $2, host = $3, version = $4, started_ms = $5, seen_ms = $6,
        images_indexed = $7, images_per_second = $8, message = $9";
const FORGET: &str = "DELETE FROM processes WHERE instance = $1";
const ALL: &str = "SELECT * FROM processes ORDER BY instance";
const INDEX_WITH: &str = "UPDATE indexing_model SET model = $1 WHERE model IS DISTINCT FROM $1";
const INDEXING_MODEL: &str = "SELECT model FROM indexing_model";
/// Stays what it is until the transaction ends.
const HOLD_MODEL: &str = "SELECT model FROM indexing_model FOR SHARE";

/// See [`same_model`].
pub(super) async fn check_model(write: &mut Write<'_>, model: &str) -> Result<(), Failed> {
    Ok(same_model(model, model_at(&write.fetch_one(sqlx::query(HOLD_MODEL)).await?)?)?)
}

fn model_at(row: &PgRow) -> Result<Option<String>, CatalogError> {
    Ok(row.try_get("model")?)
}

impl PostgresCatalog {
    async fn try_index_with(&self, model: &str) -> Result<(), Failed> {
        let mut write = self.connections.begin().await?;
        if write.execute(sqlx::query(INDEX_WITH).bind(model)).await? > 0 {
            write.fetch(sqlx::query(TELL).bind(Hint::Model.as_str())).await?;
        }
        write.commit().await
    }
}

#[async_trait]
impl Processes for PostgresCatalog {
    fn is_shared(&self) -> bool {
        true
    }

    async fn note_process(
        &self,
        process: &ProcessRow,
        forget_before_ms: i64,
    ) -> Result<(), CatalogError> {
        let note = || {
            sqlx::query(NOTE)
                .bind(&process.instance)
                .bind(&process.role)
                .bind(text(&process.host))
                .bind(&process.version)
                .bind(process.started_ms)
                .bind(process.seen_ms)
                .bind(process.images_indexed as i64)
                .bind(process.images_per_second)
                .bind(optional_text(process.message.as_deref()))
                .bind(forget_before_ms)
        };
        settled!(self.connections.try_fetch(note())).map(drop)
    }

    async fn forget_process(&self, instance: &str) -> Result<(), CatalogError> {
        self.connections.execute(sqlx::query(FORGET).bind(instance)).await.map(drop)
    }

    async fn processes(&self) -> Result<Vec<ProcessRow>, CatalogError> {
        self.connections.fetch(sqlx::query(ALL)).await?.iter().map(process_at).collect()
    }

    async fn index_with(&self, model: &str) -> Result<(), CatalogError> {
        settled!(self.try_index_with(model))
    }

    async fn indexing_model(&self) -> Result<Option<String>, CatalogError> {
        model_at(&self.connections.fetch_one(sqlx::query(INDEXING_MODEL)).await?)
    }
}
