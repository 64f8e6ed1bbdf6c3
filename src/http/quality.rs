//! `GET /api/v1/quality`: what the ratings say of the searches. It tells what others searched for, so it is for the operator.

use axum::Extension;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::SharedApp;
use super::access::Caller;
use super::error::{Problem, ProblemCode};
use crate::catalog::KeyScope;
use crate::quality::{self, Report};

/// What the ratings say, and what searches found since this server started.
#[derive(Serialize, ToSchema)]
pub(super) struct Quality {
    #[serde(flatten)]
    report: Report,
    /// What this server did since it started.
    searches: JudgedSearches,
}

/// Searches of which was said how strong their matches are.
#[derive(Serialize, ToSchema)]
pub(super) struct JudgedSearches {
    /// How many there were since the server started.
    judged: u64,
    /// How many of them had no strong match.
    without_strong_match: u64,
}

/// Ask what the ratings say: over time, by model, and which queries did worst.
///
/// As long as there are no API keys, only who sits at the machine itself may ask.
#[utoipa::path(
    get, path = "/api/v1/quality", tag = "operation",
    responses(
        (status = 200, body = Quality, description = "The report."),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "There are no API keys, and the request comes from elsewhere."),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The catalog is busy or away; Retry-After says when to try again.")
    )
)]
pub(super) async fn quality(
    State(app): State<SharedApp>,
    Extension(caller): Extension<Caller>,
) -> Result<axum::Json<Quality>, Problem> {
    if caller.is_open && !caller.may(KeyScope::Admin) && !caller.address.is_loopback() {
        return Err(Problem::new(
            ProblemCode::ApiKeyNeeded,
            "Without API keys anybody could read here what others searched for. Ask on the machine itself, or make a key with the scope admin.",
        ));
    }
    let report = quality::report(&*app.catalog, app.config.learning.ratings_max).await?;
    let searches = JudgedSearches {
        judged: app.metrics.searches_judged.get(),
        without_strong_match: app.metrics.searches_without_strong_match.get(),
    };
    Ok(axum::Json(Quality { report, searches }))
}
