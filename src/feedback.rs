//! Taking a rating: verify the token, store the impression it carries together with the rating. The same token again
//! changes its own rating and never adds a second. Also the export of all ratings, for people and for learning.

mod training;

use std::io::Write;
use std::sync::Arc;

use serde::Serialize;

use crate::catalog::{
    Catalog, CatalogError, FeedbackRow, ImageRating, RatingChange, SavedRating, Thumb,
};
use crate::metrics::Metrics;
use crate::moment::timestamp;
use crate::search_token::{TokenError, TokenSigner};
use crate::types::{ImageName, now_ms};

/// Ratings of single images in one request.
pub const IMAGE_RATINGS_MAX: usize = 200;
const PAGE: u32 = 500;

/// Outcome of [`take`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Id of the impression.
    pub id: String,
    /// Whether it is the first rating, and the number that is noted now.
    pub saved: SavedRating,
}

/// Why a rating was not taken.
#[derive(Debug, thiserror::Error)]
pub enum FeedbackError {
    /// The token does not count.
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Writing the export failed.
    #[error("cannot write the export: {0}")]
    Write(String),
}

/// Who rates, and which answer.
#[derive(Debug, Clone, Copy)]
pub struct Rater<'a> {
    /// The same for all that one key or address rates.
    pub pseudonym: &'a str,
    pub token: &'a str,
}

/// Stores a rating (1..=10, which the caller checks) under a token.
pub async fn take(
    catalog: &Arc<dyn Catalog>,
    tokens: &TokenSigner,
    metrics: &Metrics,
    from: Rater<'_>,
    change: RatingChange,
) -> Result<Taken, FeedbackError> {
    let impression = tokens.verify(from.token)?;
    let saved = catalog.save_feedback(&impression, &change, now_ms()).await?;
    let thumbs = match &change.images {
        Some(images) => Some(thumbs_of(&**catalog, images).await?),
        None => None,
    };
    catalog.remember_rating(&impression.id, from.pseudonym, thumbs.as_deref()).await?;
    metrics.feedback.inc();
    Ok(Taken { id: impression.id, saved })
}

/// Thumbs are on contents: a picture that is renamed keeps them. What is gone by now, or was never there, has none.
async fn thumbs_of(
    catalog: &dyn Catalog,
    images: &[ImageRating],
) -> Result<Vec<Thumb>, CatalogError> {
    let mut thumbs = Vec::with_capacity(images.len());
    for rated in images {
        let Ok(name) = ImageName::new(rated.image_name.as_str()) else { continue };
        let hash = catalog.image(&name).await?.and_then(|image| image.hash);
        thumbs.extend(hash.map(|hash| Thumb { hash, relevant: rated.relevant }));
    }
    Ok(thumbs)
}

/// Id of the impression whose token this is.
pub fn impression_of(tokens: &TokenSigner, token: &str) -> Result<String, FeedbackError> {
    Ok(tokens.verify(token)?.id)
}

/// File format of [`export`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// One JSON object a line, everything in it.
    JsonLines,
    /// One row a rating, safe to open in a spreadsheet.
    Csv,
    /// Apache Parquet, one row a result, for training.
    Parquet,
}

#[derive(Serialize)]
struct ExportLine<'a> {
    id: &'a str,
    user_feedback: Option<u8>,
    text: &'a str,
    model: &'a str,
    searched_at: String,
    created_at: String,
    updated_at: String,
    results: &'a [crate::types::ImpressionResult],
    image_feedback: &'a [ImageRating],
}

/// Writes all ratings, in order of impression id (which is order of time). Returns how many.
pub async fn export(
    catalog: &Arc<dyn Catalog>,
    format: ExportFormat,
    out: &mut (dyn Write + Send),
) -> Result<u64, FeedbackError> {
    if format == ExportFormat::Parquet {
        return training::export(&**catalog, out).await;
    }
    let failed = |error: &dyn std::fmt::Display| FeedbackError::Write(error.to_string());
    let mut csv = (format == ExportFormat::Csv).then(|| csv::Writer::from_writer(Vec::new()));
    if let Some(csv) = &mut csv {
        let header = [
            "id",
            "user_feedback",
            "text",
            "model",
            "searched_at",
            "created_at",
            "updated_at",
            "results",
            "relevant",
            "irrelevant",
        ];
        csv.write_record(header).map_err(|error| failed(&error))?;
    }
    let (mut after, mut count) = (None, 0);
    loop {
        let rows = catalog.feedback(after.as_deref(), PAGE).await?;
        for row in &rows {
            match &mut csv {
                Some(csv) => csv.write_record(csv_record(row)).map_err(|error| failed(&error))?,
                None => {
                    let line =
                        serde_json::to_string(&export_line(row)).map_err(|error| failed(&error))?;
                    writeln!(out, "{line}").map_err(|error| failed(&error))?;
                }
            }
            count += 1;
        }
        let Some(last) = rows.last() else { break };
        after = Some(last.impression.id.clone());
    }
    if let Some(csv) = csv {
        let bytes = csv.into_inner().map_err(|error| failed(&error))?;
        out.write_all(&bytes).map_err(|error| failed(&error))?;
    }
    Ok(count)
}

fn export_line(row: &FeedbackRow) -> ExportLine<'_> {
    ExportLine {
        id: &row.impression.id,
        user_feedback: row.rating.value,
        text: &row.impression.query,
        model: &row.impression.model,
        searched_at: timestamp(row.impression.searched_ms),
        created_at: timestamp(row.created_ms),
        updated_at: timestamp(row.updated_ms),
        results: &row.impression.results,
        image_feedback: &row.rating.images,
    }
}

fn csv_record(row: &FeedbackRow) -> [String; 10] {
    let names = |relevant: bool| {
        row.rating
            .images
            .iter()
            .filter(|image| image.relevant == relevant)
            .map(|image| image.image_name.as_str())
            .collect::<Vec<_>>()
            .join("\n")
    };
    let results: Vec<String> = row
        .impression
        .results
        .iter()
        .map(|result| format!("{}:{:.4}", result.hash_prefix, result.score))
        .collect();
    [
        row.impression.id.clone(),
        row.rating.value.map(|value| value.to_string()).unwrap_or_default(),
        spreadsheet_safe(&row.impression.query),
        spreadsheet_safe(&row.impression.model),
        timestamp(row.impression.searched_ms),
        timestamp(row.created_ms),
        timestamp(row.updated_ms),
        results.join(" "),
        spreadsheet_safe(&names(true)),
        spreadsheet_safe(&names(false)),
    ]
}

/// A cell that begins like a formula would be run by a spreadsheet; a leading apostrophe makes it text
/// (OWASP, "CSV Injection").
fn spreadsheet_safe(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::sqlite::{SqliteCatalog, SqliteOptions};

    #[tokio::test]
    async fn export_holds_every_rating_and_no_formula() {
        let dir = tempfile::tempdir().expect("temp");
        let opened = SqliteCatalog::open(&dir.path().join("c.db"), SqliteOptions::default()).await;
        let catalog: Arc<dyn Catalog> = Arc::new(opened.expect("open"));
        let tokens = TokenSigner::new(&[1; 32], "a", 60);
        let metrics = Metrics::default();
        let now_s = now_ms() / 1000;
        for query in ["=cmd|'/c calc'!A1", "plain, \"quoted\""] {
            let (token, _) = tokens.sign(query, "clip@1", &[], now_s).expect("signed");
            let from = Rater { pseudonym: "somebody", token: &token };
            let number = RatingChange { value: Some(3), images: None };
            assert!(
                take(&catalog, &tokens, &metrics, from, number).await.expect("taken").saved.first
            );
            let images = Some(vec![ImageRating { image_name: "@x.png".into(), relevant: true }]);
            assert!(
                !take(&catalog, &tokens, &metrics, from, RatingChange { value: Some(7), images })
                    .await
                    .expect("taken")
                    .saved
                    .first
            );
        }
        let (mut lines, mut table) = (Vec::new(), Vec::new());
        assert_eq!(
            export(&catalog, ExportFormat::JsonLines, &mut lines).await.expect("written"),
            2
        );
        assert_eq!(export(&catalog, ExportFormat::Csv, &mut table).await.expect("written"), 2);
        let lines: Vec<serde_json::Value> = String::from_utf8(lines)
            .expect("text")
            .lines()
            .map(|line| serde_json::from_str(line).expect("json"))
            .collect();
        assert_eq!(
            (lines[0]["text"].as_str(), lines[0]["user_feedback"].as_u64()),
            (Some("=cmd|'/c calc'!A1"), Some(7))
        );
        let mut reader = csv::Reader::from_reader(table.as_slice());
        let rows: Vec<csv::StringRecord> =
            reader.records().map(|row| row.expect("a row")).collect();
        assert_eq!(&rows[0][2], "'=cmd|'/c calc'!A1");
        assert_eq!((&rows[1][2], &rows[1][8]), ("plain, \"quoted\"", "'@x.png"));
    }
}
