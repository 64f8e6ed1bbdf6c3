//! From PostgreSQL's rows to the catalog's records, and from ours to its arrays. What this program cannot have written is a damaged row, not a panic.

use std::borrow::Cow;
use std::collections::BTreeSet;

use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::catalog::{
    CatalogError, FailedImage, Failure, FeedbackRow, ImageRating, ImageRow, ImageTaken,
    LeasedImage, PictureFacts, Rating, SourceRow, UsedModel,
};
use crate::types::{
    Away, ContentHash, Fingerprint, ImageName, Impression, ImpressionResult, ModelId,
};

/// Hashes as an array, each once and in order, which is the order in which their rows are locked.
pub(super) fn hash_list<'a>(hashes: impl IntoIterator<Item = &'a ContentHash>) -> Vec<Vec<u8>> {
    let once: BTreeSet<&ContentHash> = hashes.into_iter().collect();
    once.into_iter().map(|hash| hash.as_bytes().to_vec()).collect()
}

pub(super) fn name_list(names: &[ImageName]) -> Vec<String> {
    names.iter().map(|name| name.as_str().to_owned()).collect()
}

/// PostgreSQL has no text with a zero in it.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

pub(super) fn optional_text(words: Option<&str>) -> Option<String> {
    words.map(|words| text(words).into_owned())
}

pub(super) fn damaged(what: impl std::fmt::Display) -> CatalogError {
    CatalogError::Damaged(what.to_string())
}

pub(super) fn number_at(row: &PgRow, column: &str) -> Result<u64, CatalogError> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(damaged)
}

/// All numbers are BIGINT there.
pub(super) fn small_at<T>(row: &PgRow, column: &str) -> Result<T, CatalogError>
where
    T: TryFrom<i64>,
    T::Error: std::fmt::Display,
{
    T::try_from(row.try_get::<i64, _>(column)?).map_err(damaged)
}

pub(super) fn name_at(row: &PgRow) -> Result<ImageName, CatalogError> {
    ImageName::new(row.try_get::<String, _>("name")?).map_err(damaged)
}

pub(super) fn hash_at(row: &PgRow) -> Result<ContentHash, CatalogError> {
    ContentHash::from_slice(row.try_get("content_hash")?).map_err(damaged)
}

pub(super) fn optional_hash_at(row: &PgRow) -> Result<Option<ContentHash>, CatalogError> {
    let hash = row.try_get::<Option<Vec<u8>>, _>("content_hash")?;
    hash.map(|bytes| ContentHash::from_slice(&bytes).map_err(damaged)).transpose()
}

pub(super) fn facts_at(row: &PgRow) -> Result<PictureFacts, CatalogError> {
    Ok(PictureFacts {
        format: row.try_get("format")?,
        width: small_at(row, "width")?,
        height: small_at(row, "height")?,
    })
}

pub(super) fn fingerprint_at(row: &PgRow) -> Result<Fingerprint, CatalogError> {
    Ok(Fingerprint {
        size_bytes: number_at(row, "size_bytes")?,
        version: row.try_get("version")?,
        modified_ms: row.try_get("modified_ms")?,
    })
}

pub(super) fn leased_at(row: &PgRow) -> Result<LeasedImage, CatalogError> {
    Ok(LeasedImage {
        id: row.try_get("id")?,
        source: row.try_get("source_id")?,
        name: name_at(row)?,
        fingerprint: fingerprint_at(row)?,
        attempts: small_at(row, "attempts")?,
        interruptions: small_at(row, "interruptions")?,
    })
}

pub(super) fn image_at(row: &PgRow) -> Result<ImageRow, CatalogError> {
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

fn taken_at(row: &PgRow) -> Result<Option<ImageTaken>, CatalogError> {
    let Some(ms) = row.try_get::<Option<i64>, _>("taken_ms")? else { return Ok(None) };
    let offset_minutes = row.try_get::<Option<i64>, _>("taken_offset_minutes")?;
    let offset_minutes = offset_minutes.map(i16::try_from).transpose().map_err(damaged)?;
    Ok(Some(ImageTaken { ms, offset_minutes, from: row.try_get("taken_from")? }))
}

pub(super) fn failed_at(row: &PgRow) -> Result<FailedImage, CatalogError> {
    let text =
        |column: &str| row.try_get::<Option<String>, _>(column).map(Option::unwrap_or_default);
    let failure = Failure { code: text("failure_code")?.into(), reason: text("failure")? };
    Ok(FailedImage { name: name_at(row)?, failure, attempts: small_at(row, "attempts")? })
}

pub(super) fn source_at(row: &PgRow) -> Result<SourceRow, CatalogError> {
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

pub(super) fn used_model_at(row: &PgRow) -> Result<UsedModel, CatalogError> {
    Ok(UsedModel {
        id: ModelId { name: row.try_get("name")?, revision: row.try_get("revision")? },
        display_name: row.try_get("display_name")?,
        banner: row.try_get("banner")?,
    })
}

pub(super) fn rating_at(row: &PgRow) -> Result<Option<u8>, CatalogError> {
    let rating = row.try_get::<Option<i64>, _>("rating")?;
    rating.map(u8::try_from).transpose().map_err(damaged)
}

pub(super) fn feedback_at(row: &PgRow) -> Result<FeedbackRow, CatalogError> {
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
    let rating = Rating { value: rating_at(row)?, images };
    Ok(FeedbackRow {
        impression,
        rating,
        created_ms: row.try_get("created_ms")?,
        updated_ms: row.try_get("updated_ms")?,
    })
}
