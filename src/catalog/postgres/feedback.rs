//! Ratings and the searches they belong to. The only rows that cannot be made again from the pictures; they are on the database's
//! disk before they are acknowledged, unless its operator switched that off (`synchronous_commit`).

use async_trait::async_trait;
use serde_json::json;
use sqlx::Row;

use super::PostgresCatalog;
use super::arguments::text;
use super::connections::settled;
use super::failure::Failed;
use crate::catalog::rows::{feedback_at, rating_at};
use crate::catalog::{CatalogError, Feedback, FeedbackRow, RatingChange, SavedRating};
use crate::types::Impression;

const NOTE_IMPRESSION: &str =
    "INSERT INTO impressions (id, query, model, results, searched_ms) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT DO NOTHING";
const SAVE_RATING: &str = "INSERT INTO feedback (impression_id, rating, image_ratings, created_ms, updated_ms)
    VALUES ($1, $2, coalesce($3, '[]'), $4, $4)
    ON CONFLICT (impression_id) DO UPDATE SET rating = coalesce($2, feedback.rating),
        image_ratings = coalesce($3, feedback.image_ratings), updated_ms = greatest($4, feedback.created_ms + 1)
    RETURNING created_ms = updated_ms AS first, rating";
const PAGE: &str =
    "SELECT * FROM feedback JOIN impressions ON impressions.id = feedback.impression_id
    WHERE impression_id > $1 ORDER BY impression_id LIMIT $2";

impl PostgresCatalog {
    async fn try_save(
        &self,
        impression: &Impression,
        change: &RatingChange,
        now_ms: i64,
    ) -> Result<SavedRating, Failed> {
        let mut write = self.connections.begin().await?;
        let note = sqlx::query(NOTE_IMPRESSION)
            .bind(&impression.id)
            .bind(text(&impression.query))
            .bind(text(&impression.model))
            .bind(json!(impression.results).to_string())
            .bind(impression.searched_ms);
        write.execute(note).await?;
        let save = sqlx::query(SAVE_RATING)
            .bind(&impression.id)
            .bind(change.value.map(i64::from))
            .bind(change.images.as_ref().map(|images| json!(images).to_string()))
            .bind(now_ms);
        let row = write.fetch_one(save).await?;
        let saved = SavedRating { first: row.try_get("first")?, value: rating_at(&row)? };
        write.commit().await?;
        Ok(saved)
    }
}

#[async_trait]
impl Feedback for PostgresCatalog {
    async fn save_feedback(
        &self,
        impression: &Impression,
        change: &RatingChange,
        now_ms: i64,
    ) -> Result<SavedRating, CatalogError> {
        settled!(self.try_save(impression, change, now_ms))
    }

    async fn feedback(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<FeedbackRow>, CatalogError> {
        let page = sqlx::query(PAGE).bind(after.unwrap_or_default()).bind(i64::from(limit));
        self.connections.fetch(page).await?.iter().map(feedback_at).collect()
    }
}
