//! `POST /api/v1/create-feedback`: rates an answer, authenticated by the token that came with it.

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::SharedApp;
use super::access::Caller;
use super::error::{Problem, ProblemCode};
use super::request::ApiJson;
use crate::catalog::{Forgotten, ImageRating, KeyScope, RatingChange};
use crate::feedback::{self, IMAGE_RATINGS_MAX, Rater};
use crate::moment::parse_ms;
use crate::types::IMAGE_NAME_BYTES_MAX;

/// A rating of one answer, as a number, by single images, or both.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FeedbackRequest {
    /// From 1 (useless) to 10 (perfect). May be missing if single images are rated; an earlier number then stays.
    #[schema(minimum = 1, maximum = 10, example = 5)]
    user_feedback: Option<i64>,
    /// The `jwt` of the answer that is rated.
    jwt: String,
    /// Ratings of single images of that answer, in place of all earlier ones; if missing, those stay.
    #[schema(max_items = 200)]
    image_feedback: Option<Vec<ImageFeedback>>,
}

/// Rating of one image of the answer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ImageFeedback {
    /// The `image_name` of the match.
    image_name: String,
    /// Whether the image fits the query.
    relevant: bool,
}

/// A rating that was taken.
#[derive(Serialize, ToSchema)]
pub(super) struct FeedbackResponse {
    /// Id of the rated answer.
    id: String,
    /// The number that is noted now, if there is one.
    user_feedback: Option<u8>,
}

/// Rate an answer.
///
/// The same jwt again changes the rating.
#[utoipa::path(
    post, path = "/api/v1/create-feedback", tag = "search",
    request_body = FeedbackRequest,
    responses(
        (status = 201, body = FeedbackResponse, description = "This was the first rating of this answer."),
        (status = 200, body = FeedbackResponse, description = "The rating was changed."),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "The body is no JSON, or did not arrive completely."),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "The jwt is not valid, or too old."),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "The body is too large."),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "The body is not sent as JSON."),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A field is missing or out of bounds."),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The catalog is busy, away, or may not be written to; Retry-After says when to try again."),
        (status = 507, body = Problem, content_type = "application/problem+json", description = "The disk is full; nothing was stored.")
    )
)]
pub(super) async fn create_feedback(
    State(app): State<SharedApp>,
    Extension(caller): Extension<Caller>,
    ApiJson(rating): ApiJson<FeedbackRequest>,
) -> Result<(StatusCode, axum::Json<FeedbackResponse>), Problem> {
    let in_range = |value: i64| u8::try_from(value).ok().filter(|value| (1..=10).contains(value));
    let value =
        rating.user_feedback.map(|value| in_range(value).ok_or_else(wrong_number)).transpose()?;
    if value.is_none() && rating.image_feedback.is_none() {
        return Err(wrong_number());
    }
    let rated = rating.image_feedback.as_deref().unwrap_or_default();
    if rated.len() > IMAGE_RATINGS_MAX
        || rated.iter().any(|image| image.image_name.len() > IMAGE_NAME_BYTES_MAX)
    {
        return Err(Problem::invalid(format!(
            "\"image_feedback\" has at most {IMAGE_RATINGS_MAX} entries."
        )));
    }
    let one = |image: ImageFeedback| ImageRating {
        image_name: image.image_name,
        relevant: image.relevant,
    };
    let change = RatingChange {
        value,
        images: rating.image_feedback.map(|images| images.into_iter().map(one).collect()),
    };
    let from = Rater { pseudonym: &caller.pseudonym, token: &rating.jwt };
    let taken =
        feedback::take(&app.catalog, app.searcher.tokens(), &app.metrics, from, change).await?;
    app.searcher.note_rating();
    let status = if taken.saved.first { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, axum::Json(FeedbackResponse { id: taken.id, user_feedback: taken.saved.value })))
}

fn wrong_number() -> Problem {
    Problem::invalid(
        "\"user_feedback\" must be a whole number from 1 to 10; it may be missing only beside \"image_feedback\".",
    )
}

/// Which ratings to forget: exactly one of these.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteFeedbackRequest {
    /// The one of this answer, as long as its `jwt` is valid.
    jwt: Option<String>,
    /// The one with this id, as `create-feedback` and the export tell it.
    id: Option<String>,
    /// All of searches for these very words.
    text: Option<String>,
    /// All that were last changed before this: a date, or a time as in RFC 3339.
    #[schema(example = "2026-01-31")]
    before: Option<String>,
}

/// What was forgotten.
#[derive(Serialize, ToSchema)]
pub(super) struct DeleteFeedbackResponse {
    /// How many ratings there were, with their searches.
    deleted: u64,
}

/// Forget ratings.
///
/// With them go their searches, and what was learned from them. As long as there are no API keys, only single ratings can be
/// forgotten here, by their jwt; `image-search feedback delete` forgets all kinds.
#[utoipa::path(
    post, path = "/api/v1/delete-feedback", tag = "search",
    request_body = DeleteFeedbackRequest,
    responses(
        (status = 200, body = DeleteFeedbackResponse, description = "They are forgotten."),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "The body is no JSON, or did not arrive completely."),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "The body is too large."),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "The body is not sent as JSON."),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "Not exactly one field, or no such time."),
    )
)]
pub(super) async fn delete_feedback(
    State(app): State<SharedApp>,
    Extension(caller): Extension<Caller>,
    ApiJson(wanted): ApiJson<DeleteFeedbackRequest>,
) -> Result<axum::Json<DeleteFeedbackResponse>, Problem> {
    let DeleteFeedbackRequest { jwt, id, text, before } = wanted;
    let is_single = jwt.is_some();
    let which = match (jwt, id, text, before) {
        (Some(jwt), None, None, None) => {
            Forgotten::Impression(feedback::impression_of(app.searcher.tokens(), &jwt)?)
        }
        (None, Some(id), None, None) => Forgotten::Impression(id),
        (None, None, Some(text), None) => Forgotten::Query(text),
        (None, None, None, Some(before)) => {
            let time_ms = parse_ms(&before).ok_or_else(|| {
                Problem::invalid("\"before\" must be a date, or a time as in RFC 3339.")
            })?;
            Forgotten::Before(time_ms)
        }
        _ => {
            return Err(Problem::invalid(
                "Give exactly one of \"jwt\", \"id\", \"text\" and \"before\".",
            ));
        }
    };
    if caller.is_open && !is_single && !caller.may(KeyScope::Admin) {
        return Err(Problem::new(
            ProblemCode::ApiKeyNeeded,
            "Without API keys anybody could do this. Use image-search feedback delete, or make a key with the scope admin.",
        ));
    }
    let deleted = app.catalog.forget_ratings(&which).await?;
    tracing::info!(target: "audit", action = "delete_feedback", by = caller.name(), address = %caller.address, deleted, "ratings were deleted");
    app.searcher.note_rating();
    Ok(axum::Json(DeleteFeedbackResponse { deleted }))
}
