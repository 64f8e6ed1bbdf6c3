//! `POST /api/v1/hints`: stores tell what changed in a bucket, so that nobody has to wait for the next comparison.

use std::collections::BTreeSet;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::SharedApp;
use super::error::{Problem, ProblemCode};
use super::request::too_large;
use crate::source::Heeded;
use crate::source::notices::{self, Notice};

/// Buckets that an answer names.
const BUCKETS_NAMED_MAX: usize = 10;

/// What is done with the changes that were told.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct HintsResponse {
    /// How many objects are looked at.
    heeded: u64,
    /// How many are of no concern: they lie outside of the prefix, are ignored, or cannot be named; or their bucket is no source.
    ignored: u64,
    /// Buckets that are no source here, the first ten of them.
    unknown_buckets: Vec<String>,
}

/// Tell that objects of a bucket came, changed or went.
///
/// Takes the event messages of Amazon S3 (and of stores that send the same), MinIO's webhook, and Amazon EventBridge's events.
/// They are hints: what is there now is looked up, at once. `source.s3.hint_bytes_max` limits the body.
#[utoipa::path(
    post, path = "/api/v1/hints", tag = "operation",
    request_body(content = serde_json::Value, content_type = "application/json", description = "A message of a store."),
    responses(
        (status = 202, body = HintsResponse, description = "What is done with it."),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "The body did not arrive completely."),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "The body is too large."),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "This is no message of a store.")
    )
)]
pub(super) async fn post_hints(
    State(app): State<SharedApp>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, axum::Json<HintsResponse>), Problem> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        _ => Problem::new(ProblemCode::UnreadableBody, "The body did not arrive completely."),
    })?;
    let notices =
        notices::parse(&body).map_err(|error| Problem::invalid(sentence(&error.to_string())))?;
    let mut response = HintsResponse::default();
    let mut unknown = BTreeSet::new();
    for notice in &notices {
        match heed(&app, notice) {
            Heeded::Yes => response.heeded += 1,
            Heeded::NoPicture => response.ignored += 1,
            Heeded::NotMine => {
                response.ignored += 1;
                if unknown.len() < BUCKETS_NAMED_MAX {
                    unknown.insert(notice.bucket.clone());
                }
            }
        }
    }
    response.unknown_buckets = unknown.into_iter().collect();
    Ok((StatusCode::ACCEPTED, axum::Json(response)))
}

/// A bucket may be several sources, by prefix.
fn heed(app: &SharedApp, notice: &Notice) -> Heeded {
    let mut outcome = Heeded::NotMine;
    for source in &app.sources {
        match source.heed(&notice.bucket, &notice.key) {
            Heeded::Yes => outcome = Heeded::Yes,
            Heeded::NoPicture if outcome == Heeded::NotMine => outcome = Heeded::NoPicture,
            Heeded::NoPicture | Heeded::NotMine => {}
        }
    }
    outcome
}

fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        format!("{}{}.", first.to_uppercase(), characters.as_str())
    })
}
