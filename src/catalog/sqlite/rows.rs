//! From SQLite rows to the catalog's records. What this program cannot have written is a damaged row, not a panic.

use serde_json::json;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::catalog::{
    CatalogError, FailedImage, Failure, FeedbackRow, ImageRating, ImageRow, ImageTaken,
    LeasedImage, PictureFacts, Rating, SourceRow, UsedModel,
};
use crate::types::{
    Away, ContentHash, Fingerprint, ImageName, Impression, ImpressionResult, ModelId,
};

pub(super) fn hex_list(hashes: &[ContentHash]) -> String {
    json!(hashes).to_string()
}

pub(super) fn name_list(names: &[ImageName]) -> String {
    json!(names).to_string()
}

pub(super) fn damaged(what: impl std::fmt::Display) -> CatalogError {
    CatalogError::Damaged(what.to_string())
}

pub(super) fn number_at(row: &SqliteRow, column: &str) -> Result<u64, CatalogError> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(damaged)
}

pub(super) fn name_at(row: &SqliteRow) -> Result<ImageName, CatalogError> {
    ImageName::new(row.try_get::<String, _>("name")?).map_err(damaged)
}

pub(super) fn hash_at(row: &SqliteRow) -> Result<ContentHash, CatalogError> {
    ContentHash::from_slice(row.try_get("content_hash")?).map_err(damaged)
}

pub(super) fn optional_hash_at(row: &SqliteRow) -> Result<Option<ContentHash>, CatalogError> {
    let hash = row.try_get::<Option<Vec<u8>>, _>("content_hash")?;
    hash.map(|bytes| ContentHash::from_slice(&bytes).map_err(damaged)).transpose()
}

pub(super) fn facts_at(row: &SqliteRow) -> Result<PictureFacts, CatalogError> {
    Ok(PictureFacts {
        format: row.try_get("format")?,
        width: row.try_get("width")?,
        height: row.try_get("height")?,
    })
}

pub(super) fn fingerprint_at(row: &SqliteRow) -> Result<Fingerprint, CatalogError> {
    Ok(Fingerprint {
        size_bytes: number_at(row, "size_bytes")?,
        version: row.try_get("version")?,
        modified_ms: row.try_get("modified_ms")?,
    })
}

pub(super) fn leased_at(row: &SqliteRow) -> Result<LeasedImage, CatalogError> {
    Ok(LeasedImage {
        id: row.try_get("id")?,
        source: row.try_get("source_id")?,
        name: name_at(row)?,
        fingerprint: fingerprint_at(row)?,
        attempts: row.try_get("attempts")?,
        interruptions: row.try_get("interruptions")?,
    })
}

pub(super) fn image_at(row: &SqliteRow) -> Result<ImageRow, CatalogError> {
    let has_facts = row.try_get::<Option<String>, _>("format")?.is_some();
    Ok(ImageRow {
        source: row.try_get("source_id")?,
        name: name_at(row)?,
        state: row.try_get::<String, _>("state")?.parse().map_err(damaged)?,
        hash: optional_hash_at(row)?,
        facts: has_facts.then(|| facts_at(row)).transpose()?,
        outdated: row.try_get("outdated")?,
        fingerprint: fingerprint_at(row)?,
        taken: taken_at(row)?,
    })
}

fn taken_at(row: &SqliteRow) -> Result<Option<ImageTaken>, CatalogError> {
    let Some(ms) = row.try_get::<Option<i64>, _>("taken_ms")? else { return Ok(None) };
    let offset_minutes = row.try_get("taken_offset_minutes")?;
    Ok(Some(ImageTaken { ms, offset_minutes, from: row.try_get("taken_from")? }))
}

pub(super) fn failed_at(row: &SqliteRow) -> Result<FailedImage, CatalogError> {
    let text =
        |column: &str| row.try_get::<Option<String>, _>(column).map(Option::unwrap_or_default);
    let failure = Failure { code: text("failure_code")?.into(), reason: text("failure")? };
    Ok(FailedImage { name: name_at(row)?, failure, attempts: row.try_get("attempts")? })
}

pub(super) fn source_at(row: &SqliteRow) -> Result<SourceRow, CatalogError> {
    let away_since_ms: Option<i64> = row.try_get("away_since_ms")?;
    let reason = row.try_get::<Option<String>, _>("away_reason")?.unwrap_or_default();
    Ok(SourceRow {
        id: row.try_get("id")?,
        location: row.try_get("location")?,
        identity: row.try_get("identity")?,
        away: away_since_ms.map(|since_ms| Away { reason, since_ms }),
        unconfigured_since_ms: row.try_get("unconfigured_since_ms")?,
        last_listed_ms: row.try_get("last_listed_ms")?,
        images: number_at(row, "images")?,
    })
}

pub(super) fn used_model_at(row: &SqliteRow) -> Result<UsedModel, CatalogError> {
    Ok(UsedModel {
        id: ModelId { name: row.try_get("name")?, revision: row.try_get("revision")? },
        display_name: row.try_get("display_name")?,
        banner: row.try_get("banner")?,
    })
}

pub(super) fn feedback_at(row: &SqliteRow) -> Result<FeedbackRow, CatalogError> {
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
