//! What searches learn from, beside the ratings themselves. Whoever counts a change up holds that row until it commits, so
//! nobody reads a number before all smaller ones.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use sqlx::Row;

use super::PostgresCatalog;
use super::arguments::text;
use super::connections::settled;
use super::failure::Failed;
use crate::catalog::memory::{vector_bytes, vector_of, written};
use crate::catalog::rows::remembered_at;
use crate::catalog::{CatalogError, Forgotten, Memory, MemoryState, RememberedRating, Thumb};

/// Ratings that are forgotten in one transaction.
const FORGOTTEN_AT_ONCE: i64 = 500;

const NEXT_CHANGE: &str = "UPDATE memory_state SET change = change + 1 RETURNING change";
const REMEMBER: &str = "INSERT INTO remembered_ratings (impression_id, rater, thumbs, change)
    VALUES ($1, $2, coalesce($3, '[]'), $4)
    ON CONFLICT (impression_id) DO UPDATE SET rater = $2, thumbs = coalesce($3, remembered_ratings.thumbs), change = $4";
const STATE: &str = "SELECT change, forgotten FROM memory_state";
const REMEMBERED: &str = "SELECT * FROM remembered_ratings JOIN feedback USING (impression_id)
    JOIN impressions ON impressions.id = impression_id
    WHERE change > $1 ORDER BY change LIMIT $2";
const REMEMBERED_ONE: &str = "SELECT * FROM remembered_ratings JOIN feedback USING (impression_id)
    JOIN impressions ON impressions.id = impression_id
    WHERE impression_id = $1";
const KEEP_VECTORS: &str = "INSERT INTO query_vectors (query, model, vector)
    SELECT query, $2, vector FROM unnest($1::text[], $3::bytea[]) AS kept (query, vector)
    ON CONFLICT (query, model) DO UPDATE SET vector = excluded.vector";
const VECTORS: &str =
    "SELECT query, vector FROM query_vectors WHERE query = ANY ($1) AND model = $2";
const OF_IMPRESSION: &str = "SELECT id, query FROM impressions WHERE id = $1 LIMIT $2";
const OF_QUERY: &str = "SELECT id, query FROM impressions WHERE query = $1 LIMIT $2";
const OF_TIME: &str =
    "SELECT id, query FROM feedback JOIN impressions ON impressions.id = impression_id
    WHERE updated_ms < $1 LIMIT $2";
const FORGET_MEMORY: &str = "DELETE FROM remembered_ratings WHERE impression_id = ANY ($1)";
const FORGET_FEEDBACK: &str = "DELETE FROM feedback WHERE impression_id = ANY ($1)";
const FORGET_IMPRESSIONS: &str = "DELETE FROM impressions WHERE id = ANY ($1)";
/// Compared as the index of impressions does; with the column's own collation it would be of no use.
const FORGET_VECTORS: &str = "DELETE FROM query_vectors WHERE query = ANY ($1)
    AND NOT EXISTS (SELECT 1 FROM impressions WHERE impressions.query = query_vectors.query COLLATE \"default\")";
const COUNT_FORGOTTEN: &str = "UPDATE memory_state SET forgotten = forgotten + 1";

impl PostgresCatalog {
    async fn try_remember(
        &self,
        impression_id: &str,
        rater: &str,
        thumbs: Option<&[Thumb]>,
    ) -> Result<(), Failed> {
        let mut write = self.connections.begin().await?;
        let change: i64 = write.fetch_one(sqlx::query(NEXT_CHANGE)).await?.try_get("change")?;
        let remember = sqlx::query(REMEMBER)
            .bind(impression_id)
            .bind(text(rater))
            .bind(thumbs.map(written))
            .bind(change);
        write.execute(remember).await?;
        write.commit().await
    }

    async fn try_forget_some(&self, which: &Forgotten) -> Result<u64, Failed> {
        let found = match which {
            Forgotten::Impression(id) => sqlx::query(OF_IMPRESSION).bind(id),
            Forgotten::Query(query) => sqlx::query(OF_QUERY).bind(text(query)),
            Forgotten::Before(time_ms) => sqlx::query(OF_TIME).bind(*time_ms),
        };
        let mut write = self.connections.begin().await?;
        let found = write.fetch(found.bind(FORGOTTEN_AT_ONCE)).await?;
        if found.is_empty() {
            write.commit().await?;
            return Ok(0);
        }
        // First, as a rating does: whoever rates now waits here.
        write.execute(sqlx::query(COUNT_FORGOTTEN)).await?;
        let texts = |column: &str| {
            found.iter().map(|row| row.try_get(column)).collect::<Result<Vec<String>, _>>()
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
        write.commit().await?;
        Ok(found.len() as u64)
    }
}

#[async_trait]
impl Memory for PostgresCatalog {
    async fn remember_rating(
        &self,
        impression_id: &str,
        rater: &str,
        thumbs: Option<&[Thumb]>,
    ) -> Result<(), CatalogError> {
        settled!(self.try_remember(impression_id, rater, thumbs))
    }

    async fn memory_state(&self) -> Result<MemoryState, CatalogError> {
        let row = self.connections.fetch_one(sqlx::query(STATE)).await?;
        Ok(MemoryState { change: row.try_get("change")?, forgotten: row.try_get("forgotten")? })
    }

    async fn remembered(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<Vec<RememberedRating>, CatalogError> {
        let asked = sqlx::query(REMEMBERED).bind(after).bind(i64::from(limit));
        self.connections.fetch(asked).await?.iter().map(remembered_at).collect()
    }

    async fn remembered_rating(
        &self,
        impression_id: &str,
    ) -> Result<Option<RememberedRating>, CatalogError> {
        let rows = self.connections.fetch(sqlx::query(REMEMBERED_ONE).bind(impression_id)).await?;
        rows.first().map(remembered_at).transpose()
    }

    async fn keep_query_vectors(
        &self,
        model: &str,
        vectors: &[(String, Vec<f32>)],
    ) -> Result<(), CatalogError> {
        // Each once and in order, which is the order in which rows are locked.
        let once: BTreeMap<String, Vec<u8>> = vectors
            .iter()
            .map(|(query, vector)| (text(query).into_owned(), vector_bytes(vector)))
            .collect();
        let (queries, bytes): (Vec<String>, Vec<Vec<u8>>) = once.into_iter().unzip();
        let keep = || sqlx::query(KEEP_VECTORS).bind(&queries).bind(model).bind(&bytes);
        settled!(self.connections.try_fetch(keep())).map(drop)
    }

    async fn query_vectors(
        &self,
        model: &str,
        queries: &[String],
    ) -> Result<HashMap<String, Vec<f32>>, CatalogError> {
        let queries: Vec<String> = queries.iter().map(|query| text(query).into_owned()).collect();
        let rows = self.connections.fetch(sqlx::query(VECTORS).bind(queries).bind(model)).await?;
        rows.iter()
            .map(|row| Ok((row.try_get("query")?, vector_of(row.try_get("vector")?)?)))
            .collect()
    }

    async fn forget_ratings(&self, which: &Forgotten) -> Result<u64, CatalogError> {
        let mut forgotten = 0;
        loop {
            match settled!(self.try_forget_some(which))? {
                0 => return Ok(forgotten),
                more => forgotten += more,
            }
        }
    }
}
