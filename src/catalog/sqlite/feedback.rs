//! Ratings and the searches they belong to. The only rows that cannot be made again from the pictures: each write is
//! on the disk before it is acknowledged.

use async_trait::async_trait;
use serde_json::json;
use sqlx::Row;

use super::SqliteCatalog;
use super::statements;
use super::writer::Purpose;
use crate::catalog::rows::feedback_at;
use crate::catalog::{CatalogError, Feedback, FeedbackRow, RatingChange, SavedRating};
use crate::types::Impression;

statements! {
    NOTE_IMPRESSION = "INSERT INTO impressions (id, query, model, results, searched_ms) VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT DO NOTHING";
    SAVE_RATING = "INSERT INTO feedback (impression_id, rating, image_ratings, created_ms, updated_ms)
        VALUES (?1, ?2, coalesce(?3, '[]'), ?4, ?4)
        ON CONFLICT (impression_id) DO UPDATE SET rating = coalesce(?2, rating), image_ratings = coalesce(?3, image_ratings),
            updated_ms = max(?4, created_ms + 1)
        RETURNING created_ms = updated_ms AS first, rating";
    PAGE = "SELECT * FROM feedback JOIN impressions ON impressions.id = feedback.impression_id
        WHERE impression_id > ?1 ORDER BY impression_id LIMIT ?2";
}

#[async_trait]
impl Feedback for SqliteCatalog {
    async fn save_feedback(
        &self,
        impression: &Impression,
        change: &RatingChange,
        now_ms: i64,
    ) -> Result<SavedRating, CatalogError> {
        let mut write = self.writer.begin(Purpose::Promise).await?;
        let results = json!(impression.results).to_string();
        let note = sqlx::query(NOTE_IMPRESSION)
            .bind(&impression.id)
            .bind(&impression.query)
            .bind(&impression.model)
            .bind(results)
            .bind(impression.searched_ms);
        write.execute(note).await?;
        let save = sqlx::query(SAVE_RATING)
            .bind(&impression.id)
            .bind(change.value)
            .bind(change.images.as_ref().map(|images| json!(images).to_string()))
            .bind(now_ms);
        let row = write.fetch_one(save).await?;
        let saved = SavedRating { first: row.try_get("first")?, value: row.try_get("rating")? };
        write.commit().await?;
        Ok(saved)
    }

    async fn feedback(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<FeedbackRow>, CatalogError> {
        let rows = sqlx::query(PAGE)
            .bind(after.unwrap_or_default())
            .bind(limit)
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(feedback_at).collect()
    }
}
