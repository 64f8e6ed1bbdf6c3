//! What searches learn from, beside the ratings themselves. Numbers of changes come from one row that the one writer counts up.

use std::collections::HashMap;

use async_trait::async_trait;
use serde_json::json;
use sqlx::Row;

use super::SqliteCatalog;
use super::statements;
use super::writer::Purpose;
use crate::catalog::memory::{vector_bytes, vector_of, written};
use crate::catalog::rows::remembered_at;
use crate::catalog::{CatalogError, Forgotten, Memory, MemoryState, RememberedRating, Thumb};

/// Ratings that are forgotten in one transaction.
const FORGOTTEN_AT_ONCE: u32 = 500;

statements! {
    NEXT_CHANGE = "UPDATE memory_state SET change = change + 1 WHERE id = 1 RETURNING change";
    REMEMBER = "INSERT INTO remembered_ratings (impression_id, rater, thumbs, change) VALUES (?1, ?2, coalesce(?3, '[]'), ?4)
        ON CONFLICT (impression_id) DO UPDATE SET rater = ?2, thumbs = coalesce(?3, thumbs), change = ?4";
    STATE = "SELECT change, forgotten FROM memory_state WHERE id = 1";
    REMEMBERED = "SELECT * FROM remembered_ratings CROSS JOIN feedback USING (impression_id)
        CROSS JOIN impressions ON impressions.id = impression_id
        WHERE change > ?1 ORDER BY change LIMIT ?2";
    REMEMBERED_ONE = "SELECT * FROM remembered_ratings CROSS JOIN feedback USING (impression_id)
        CROSS JOIN impressions ON impressions.id = impression_id
        WHERE impression_id = ?1";
    KEEP_VECTOR = "INSERT INTO query_vectors (query, model, vector) VALUES (?1, ?2, ?3)
        ON CONFLICT (query, model) DO UPDATE SET vector = ?3";
    VECTORS = "SELECT query, vector FROM json_each(?1) CROSS JOIN query_vectors ON query = json_each.value AND model = ?2";
    OF_IMPRESSION = "SELECT id, query FROM impressions WHERE id = ?1 AND ?2 > 0";
    OF_QUERY = "SELECT id, query FROM impressions WHERE query = ?1 LIMIT ?2";
    OF_TIME = "SELECT id, query FROM feedback CROSS JOIN impressions ON impressions.id = impression_id
        WHERE updated_ms < ?1 LIMIT ?2";
    FORGET_MEMORY = "DELETE FROM remembered_ratings WHERE impression_id IN (SELECT value FROM json_each(?1))";
    FORGET_FEEDBACK = "DELETE FROM feedback WHERE impression_id IN (SELECT value FROM json_each(?1))";
    FORGET_IMPRESSIONS = "DELETE FROM impressions WHERE id IN (SELECT value FROM json_each(?1))";
    FORGET_VECTORS = "DELETE FROM query_vectors WHERE query IN (SELECT value FROM json_each(?1))
        AND NOT EXISTS (SELECT 1 FROM impressions WHERE impressions.query = query_vectors.query)";
    COUNT_FORGOTTEN = "UPDATE memory_state SET forgotten = forgotten + 1 WHERE id = 1";
}

#[async_trait]
impl Memory for SqliteCatalog {
    async fn remember_rating(
        &self,
        impression_id: &str,
        rater: &str,
        thumbs: Option<&[Thumb]>,
    ) -> Result<(), CatalogError> {
        let mut write = self.writer.begin(Purpose::Promise).await?;
        let change: i64 = write.fetch_one(sqlx::query(NEXT_CHANGE)).await?.try_get("change")?;
        let remember = sqlx::query(REMEMBER)
            .bind(impression_id)
            .bind(rater)
            .bind(thumbs.map(written))
            .bind(change);
        write.execute(remember).await?;
        write.commit().await
    }

    async fn memory_state(&self) -> Result<MemoryState, CatalogError> {
        let row = sqlx::query(STATE).fetch_one(&self.readers).await?;
        Ok(MemoryState { change: row.try_get("change")?, forgotten: row.try_get("forgotten")? })
    }

    async fn remembered(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<Vec<RememberedRating>, CatalogError> {
        let rows = sqlx::query(REMEMBERED).bind(after).bind(limit).fetch_all(&self.readers).await?;
        rows.iter().map(remembered_at).collect()
    }

    async fn remembered_rating(
        &self,
        impression_id: &str,
    ) -> Result<Option<RememberedRating>, CatalogError> {
        let row =
            sqlx::query(REMEMBERED_ONE).bind(impression_id).fetch_optional(&self.readers).await?;
        row.as_ref().map(remembered_at).transpose()
    }

    async fn keep_query_vectors(
        &self,
        model: &str,
        vectors: &[(String, Vec<f32>)],
    ) -> Result<(), CatalogError> {
        let mut write = self.writer.begin(Purpose::Grow).await?;
        for (query, vector) in vectors {
            let bytes = vector_bytes(vector);
            write.execute(sqlx::query(KEEP_VECTOR).bind(query).bind(model).bind(bytes)).await?;
        }
        write.commit().await
    }

    async fn query_vectors(
        &self,
        model: &str,
        queries: &[String],
    ) -> Result<HashMap<String, Vec<f32>>, CatalogError> {
        let rows = sqlx::query(VECTORS)
            .bind(json!(queries).to_string())
            .bind(model)
            .fetch_all(&self.readers)
            .await?;
        rows.iter()
            .map(|row| Ok((row.try_get("query")?, vector_of(row.try_get("vector")?)?)))
            .collect()
    }

    async fn forget_ratings(&self, which: &Forgotten) -> Result<u64, CatalogError> {
        let mut forgotten = 0;
        loop {
            let found = match which {
                Forgotten::Impression(id) => sqlx::query(OF_IMPRESSION).bind(id),
                Forgotten::Query(query) => sqlx::query(OF_QUERY).bind(query),
                Forgotten::Before(time_ms) => sqlx::query(OF_TIME).bind(*time_ms),
            };
            let mut write = self.writer.begin(Purpose::Settle).await?;
            let found = write.fetch(found.bind(FORGOTTEN_AT_ONCE)).await?;
            if found.is_empty() {
                write.commit().await?;
                return Ok(forgotten);
            }
            let texts = |column: &str| {
                let texts: Result<Vec<String>, _> =
                    found.iter().map(|row| row.try_get(column)).collect();
                texts.map(|texts| json!(texts).to_string())
            };
            let (ids, queries) = (texts("id")?, texts("query")?);
            for (statement, list) in [
                (FORGET_MEMORY, &ids),
                (FORGET_FEEDBACK, &ids),
                (FORGET_IMPRESSIONS, &ids),
                (FORGET_VECTORS, &queries),
            ] {
                write.execute(sqlx::query(statement).bind(list)).await?;
            }
            write.execute(sqlx::query(COUNT_FORGOTTEN)).await?;
            write.commit().await?;
            forgotten += found.len() as u64;
        }
    }
}
