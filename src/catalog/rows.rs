//! From rows of any database to the catalog's records. What this program cannot have written is a damaged row, not a panic.

use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

pub(super) use super::error::damaged;
use super::memory::thumbs_of;
use super::{
    CatalogError, FailedImage, Failure, FeedbackRow, GateDecision, GateOutcome, ImageRating,
    ImageRow, ImageTaken, LeasedImage, PictureFacts, ProcessRow, Rating, RememberedRating,
    SourceRow, UsedModel,
};
use crate::types::{
    Away, ContentHash, Fingerprint, ImageName, Impression, ImpressionResult, ModelId,
};

/// A row, whichever database gave it. Integers have 64 bits in all of them.
pub(super) trait Columns {
    fn integer(&self, column: &str) -> Result<Option<i64>, CatalogError>;
    fn boolean(&self, column: &str) -> Result<Option<bool>, CatalogError>;
    fn real(&self, column: &str) -> Result<Option<f64>, CatalogError>;
    fn text(&self, column: &str) -> Result<Option<String>, CatalogError>;
    fn bytes(&self, column: &str) -> Result<Option<Vec<u8>>, CatalogError>;
}

macro_rules! columns_of {
    ($($row:ty),*) => {$(
        impl Columns for $row {
            fn integer(&self, column: &str) -> Result<Option<i64>, CatalogError> {
                Ok(self.try_get(column)?)
            }
            fn boolean(&self, column: &str) -> Result<Option<bool>, CatalogError> {
                Ok(self.try_get(column)?)
            }
            fn real(&self, column: &str) -> Result<Option<f64>, CatalogError> {
                Ok(self.try_get(column)?)
            }
            fn text(&self, column: &str) -> Result<Option<String>, CatalogError> {
                Ok(self.try_get(column)?)
            }
            fn bytes(&self, column: &str) -> Result<Option<Vec<u8>>, CatalogError> {
                Ok(self.try_get(column)?)
            }
        }
    )*};
}

columns_of!(SqliteRow, PgRow);

fn there<T>(value: Option<T>, column: &str) -> Result<T, CatalogError> {
    value.ok_or_else(|| damaged(format_args!("there is no {column}")))
}

pub(super) fn text_at(row: &impl Columns, column: &str) -> Result<String, CatalogError> {
    there(row.text(column)?, column)
}

pub(super) fn boolean_at(row: &impl Columns, column: &str) -> Result<bool, CatalogError> {
    there(row.boolean(column)?, column)
}

fn integer_at(row: &impl Columns, column: &str) -> Result<i64, CatalogError> {
    there(row.integer(column)?, column)
}

/// An integer as one of another type.
pub(super) fn number_at<T>(row: &impl Columns, column: &str) -> Result<T, CatalogError>
where
    T: TryFrom<i64, Error: std::fmt::Display>,
{
    T::try_from(integer_at(row, column)?).map_err(damaged)
}

fn optional_number_at<T>(row: &impl Columns, column: &str) -> Result<Option<T>, CatalogError>
where
    T: TryFrom<i64, Error: std::fmt::Display>,
{
    row.integer(column)?.map(T::try_from).transpose().map_err(damaged)
}

pub(super) fn name_at(row: &impl Columns) -> Result<ImageName, CatalogError> {
    ImageName::new(text_at(row, "name")?).map_err(damaged)
}

pub(super) fn hash_at(row: &impl Columns) -> Result<ContentHash, CatalogError> {
    there(optional_hash_at(row)?, "content_hash")
}

pub(super) fn optional_hash_at(row: &impl Columns) -> Result<Option<ContentHash>, CatalogError> {
    let hash = row.bytes("content_hash")?;
    hash.map(|bytes| ContentHash::from_slice(&bytes).map_err(damaged)).transpose()
}

pub(super) fn facts_at(row: &impl Columns) -> Result<PictureFacts, CatalogError> {
    Ok(PictureFacts {
        format: text_at(row, "format")?,
        width: number_at(row, "width")?,
        height: number_at(row, "height")?,
    })
}

pub(super) fn fingerprint_at(row: &impl Columns) -> Result<Fingerprint, CatalogError> {
    Ok(Fingerprint {
        size_bytes: number_at(row, "size_bytes")?,
        version: text_at(row, "version")?,
        modified_ms: integer_at(row, "modified_ms")?,
    })
}

pub(super) fn leased_at(row: &impl Columns) -> Result<LeasedImage, CatalogError> {
    Ok(LeasedImage {
        id: integer_at(row, "id")?,
        source: text_at(row, "source_id")?,
        name: name_at(row)?,
        fingerprint: fingerprint_at(row)?,
        attempts: number_at(row, "attempts")?,
        interruptions: number_at(row, "interruptions")?,
    })
}

pub(super) fn image_at(row: &impl Columns) -> Result<ImageRow, CatalogError> {
    let has_facts = row.text("format")?.is_some();
    Ok(ImageRow {
        source: text_at(row, "source_id")?,
        name: name_at(row)?,
        state: text_at(row, "state")?.parse().map_err(damaged)?,
        hash: optional_hash_at(row)?,
        facts: has_facts.then(|| facts_at(row)).transpose()?,
        outdated: boolean_at(row, "outdated")?,
        fingerprint: fingerprint_at(row)?,
        taken: taken_at(row)?,
    })
}

fn taken_at(row: &impl Columns) -> Result<Option<ImageTaken>, CatalogError> {
    let Some(ms) = row.integer("taken_ms")? else { return Ok(None) };
    let offset_minutes = optional_number_at(row, "taken_offset_minutes")?;
    Ok(Some(ImageTaken { ms, offset_minutes, from: row.text("taken_from")? }))
}

pub(super) fn failed_at(row: &impl Columns) -> Result<FailedImage, CatalogError> {
    let text = |column: &str| row.text(column).map(Option::unwrap_or_default);
    let failure = Failure { code: text("failure_code")?.into(), reason: text("failure")? };
    Ok(FailedImage { name: name_at(row)?, failure, attempts: number_at(row, "attempts")? })
}

pub(super) fn source_at(row: &impl Columns) -> Result<SourceRow, CatalogError> {
    let reason = row.text("away_reason")?.unwrap_or_default();
    Ok(SourceRow {
        id: text_at(row, "id")?,
        location: text_at(row, "location")?,
        identity: row.text("identity")?,
        away: row.integer("away_since_ms")?.map(|since_ms| Away { reason, since_ms }),
        unconfigured_since_ms: row.integer("unconfigured_since_ms")?,
        last_listed_ms: row.integer("last_listed_ms")?,
        images: number_at(row, "images")?,
    })
}

pub(super) fn used_model_at(row: &impl Columns) -> Result<UsedModel, CatalogError> {
    Ok(UsedModel {
        id: ModelId { name: text_at(row, "name")?, revision: text_at(row, "revision")? },
        display_name: text_at(row, "display_name")?,
        banner: row.text("banner")?,
    })
}

pub(super) fn rating_at(row: &impl Columns) -> Result<Option<u8>, CatalogError> {
    optional_number_at(row, "rating")
}

pub(super) fn feedback_at(row: &impl Columns) -> Result<FeedbackRow, CatalogError> {
    let results: Vec<ImpressionResult> =
        serde_json::from_str(&text_at(row, "results")?).map_err(damaged)?;
    let images: Vec<ImageRating> =
        serde_json::from_str(&text_at(row, "image_ratings")?).map_err(damaged)?;
    let impression = Impression {
        id: text_at(row, "id")?,
        query: text_at(row, "query")?,
        model: text_at(row, "model")?,
        results,
        searched_ms: integer_at(row, "searched_ms")?,
    };
    let rating = Rating { value: rating_at(row)?, images };
    Ok(FeedbackRow {
        impression,
        rating,
        created_ms: integer_at(row, "created_ms")?,
        updated_ms: integer_at(row, "updated_ms")?,
    })
}

pub(super) fn remembered_at(row: &impl Columns) -> Result<RememberedRating, CatalogError> {
    Ok(RememberedRating {
        row: feedback_at(row)?,
        rater: text_at(row, "rater")?,
        thumbs: row.text("thumbs")?.map(|text| thumbs_of(&text)).transpose()?,
        change: integer_at(row, "change")?,
    })
}

pub(super) fn process_at(row: &impl Columns) -> Result<ProcessRow, CatalogError> {
    Ok(ProcessRow {
        instance: text_at(row, "instance")?,
        role: text_at(row, "role")?,
        host: text_at(row, "host")?,
        version: text_at(row, "version")?,
        started_ms: number_at(row, "started_ms")?,
        seen_ms: number_at(row, "seen_ms")?,
        images_indexed: number_at(row, "images_indexed")?,
        images_per_second: there(row.real("images_per_second")?, "images_per_second")?,
        message: row.text("message")?,
    })
}

pub(super) fn decision_at(row: &impl Columns) -> Result<GateDecision, CatalogError> {
    let outcome = text_at(row, "outcome")?;
    let unknown = || damaged(format_args!("no gate decides {outcome:?}"));
    Ok(GateDecision {
        number: integer_at(row, "number")?,
        model: text_at(row, "model")?,
        former: text_at(row, "former")?,
        outcome: GateOutcome::parse(&outcome).ok_or_else(unknown)?,
        figures: row.text("figures")?,
        by_operator: boolean_at(row, "by_operator")?,
        decided_ms: integer_at(row, "decided_ms")?,
    })
}
