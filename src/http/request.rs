//! Reading JSON bodies, query strings and names in paths: whatever is wrong with them becomes a problem that says what.

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::error::{Problem, ProblemCode};

/// A JSON body of type `T`.
pub(super) struct ApiJson<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for ApiJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match axum::Json::<T>::from_request(request, state).await {
            Ok(axum::Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(problem(&rejection)),
        }
    }
}

fn problem(rejection: &JsonRejection) -> Problem {
    match rejection {
        JsonRejection::JsonDataError(error) => Problem::invalid(deepest(error)),
        JsonRejection::JsonSyntaxError(error) => Problem::new(
            ProblemCode::MalformedJson,
            format!("The body is no JSON: {}", deepest(error)),
        ),
        JsonRejection::MissingJsonContentType(_) => Problem::new(
            ProblemCode::UnsupportedMediaType,
            "Send the body as Content-Type: application/json.",
        ),
        other if other.status() == StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        _ => Problem::new(ProblemCode::UnreadableBody, "The body did not arrive completely."),
    }
}

pub(super) fn too_large() -> Problem {
    Problem::new(
        ProblemCode::TooLarge,
        "The body is larger than this address accepts; /api/v1/status names the limits.",
    )
}

/// The innermost message: serde's own words, without the layers around them.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// A query string of type `T`.
pub(super) struct ApiQuery<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        let problem = |rejection: QueryRejection| Problem::invalid(deepest(&rejection));
        query.map(|Query(query)| Self(query)).map_err(problem)
    }
}

/// The part of the path that is a name.
pub(super) struct ApiPath(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for ApiPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(_) => Err(Problem::new(
                ProblemCode::MalformedPath,
                "A name in a path must be UTF-8, with every byte that is not allowed in a path as % and two digits.",
            )),
        }
    }
}
