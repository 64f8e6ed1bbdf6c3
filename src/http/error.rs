//! Every error answer: RFC 9457 problem documents with a stable `code`. This file is the only place where errors of the
//! domain become HTTP statuses. Internal texts are logged and never sent.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

pub(super) use super::problem_code::ProblemCode;
use crate::catalog::CatalogError;
use crate::feedback::FeedbackError;
use crate::file_manager::FileManagerError;
use crate::ingest::IngestError;
use crate::search::SearchError;
use crate::search_token::TokenError;
use crate::source::SourceError;
use crate::thumbnails::ThumbnailError;
use crate::types::ImageNameError;
use crate::vector_store::StoreError;

/// Seconds after which to try again when something is away or full.
const RETRY_AFTER_S: u32 = 2;

/// What every request that is not answered is answered with instead: a problem document (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Problem {
    /// Always `about:blank`: the title says what the status says, and the code tells problems apart.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The HTTP status in words.
    title: &'static str,
    /// The HTTP status as a number.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    code: ProblemCode,
    /// One or two sentences that tell people what is wrong and what to do.
    detail: String,
}

impl Problem {
    pub(super) fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        let status = code.status();
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code,
            detail: detail.into(),
        }
    }

    pub(super) fn is(&self, code: ProblemCode) -> bool {
        self.code == code
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// Well-formed, but not what is allowed.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(ProblemCode::InvalidRequest, detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(ProblemCode::NotFound, detail)
    }

    /// What happened goes to the log.
    pub(super) fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        Self::unexplained()
    }

    /// For what is in the log already.
    pub(super) fn unexplained() -> Self {
        Self::new(ProblemCode::Internal, "Something went wrong here. The server's log says what.")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let mut response = (status, axum::Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_S.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<SearchError> for Problem {
    fn from(error: SearchError) -> Self {
        let detail = error.to_string();
        match error {
            SearchError::Overloaded => Self::new(ProblemCode::Overloaded, detail),
            SearchError::Deadline(_) => Self::new(ProblemCode::DeadlineExceeded, detail),
            SearchError::ModelNotReady => Self::new(ProblemCode::ModelNotReady, detail),
            SearchError::Picture(error) => Self::new(ProblemCode::of_picture(&error), detail),
            SearchError::NoSuchImage(_) => Self::not_found(detail),
            SearchError::CancelsOut | SearchError::TooManyParts { .. } => Self::invalid(detail),
            SearchError::Cursor(_) => Self::invalid(format!("{detail}.")),
            SearchError::Refine(error) => FeedbackError::Token(error).into(),
            SearchError::Store(error) => error.into(),
            SearchError::Catalog(error) => error.into(),
            SearchError::Embed(error) => Self::internal(&error),
            SearchError::Token(error) => Self::internal(&error),
        }
    }
}

/// What users are told when the vector store is away; operators find the reason at `/readyz` and in the log.
pub(super) fn store_unavailable() -> Problem {
    Problem::new(
        ProblemCode::StoreUnavailable,
        "The vector store does not answer. Nothing is lost; try again in a moment.",
    )
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_)
            | StoreError::Refused(_)
            | StoreError::NoSuchCollection(_)
            | StoreError::NotOurs { .. } => {
                tracing::error!(%error, "the vector store does not answer");
                store_unavailable()
            }
            other => Self::internal(&other),
        }
    }
}

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::StorageFull(_) => {
                tracing::error!(%error, "no room to write");
                let detail = "The server's disk is full, so nothing was stored. Its operator has to free some space; then send it again.";
                Self::new(ProblemCode::StorageFull, detail)
            }
            CatalogError::ReadOnly(_) => {
                tracing::error!(%error, "the catalog may not be written to");
                let detail = "The server may not write to its data folder, so nothing was stored. Its operator has to allow it; then send it again.";
                Self::new(ProblemCode::StorageReadOnly, detail)
            }
            CatalogError::Unavailable(_) => {
                tracing::warn!(%error, "the catalog does not answer");
                let detail =
                    "The catalog is busy or away, so nothing was stored. Try again in a moment.";
                Self::new(ProblemCode::CatalogUnavailable, detail)
            }
            other => Self::internal(&other),
        }
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Store(error) => error.into(),
            IngestError::Catalog(error) => error.into(),
            IngestError::Source(error) => error.into(),
            IngestError::Embed(_) | IngestError::GaveUp { .. } => Self::internal(&error),
        }
    }
}

impl From<FeedbackError> for Problem {
    fn from(error: FeedbackError) -> Self {
        match error {
            FeedbackError::Token(error @ TokenError::Expired) => {
                Self::new(ProblemCode::TokenExpired, error.to_string())
            }
            FeedbackError::Token(_) => Self::new(
                ProblemCode::TokenInvalid,
                "The jwt is not one that a search here returned. Search again and use the jwt of that answer.",
            ),
            FeedbackError::Catalog(error) => error.into(),
            FeedbackError::Write(_) => Self::internal(&error),
        }
    }
}

impl From<SourceError> for Problem {
    fn from(error: SourceError) -> Self {
        let detail = error.to_string();
        match error {
            SourceError::NotFound(_) | SourceError::NotAFile(_) => Self::not_found(detail),
            SourceError::Exists(_) => Self::new(ProblemCode::ImageExists, detail),
            SourceError::Unavailable { .. } => {
                tracing::warn!(reason = detail, "a picture cannot be read at the moment");
                Self::new(ProblemCode::ImageUnreadable, "The picture cannot be read at the moment.")
            }
            SourceError::Away { .. } => Self::new(
                ProblemCode::SourceAway,
                "The disk or folder with the pictures is away; try again when it is back.",
            ),
            SourceError::BadName { .. } => Self::new(ProblemCode::BadImageName, detail),
            SourceError::Full { .. } => {
                tracing::error!(reason = detail, "no room for a picture");
                Self::new(
                    ProblemCode::StorageFull,
                    "The disk with the pictures is full, so nothing was stored. Its operator has to free some space; then send it again.",
                )
            }
            SourceError::ReadOnly { .. } => {
                tracing::error!(reason = detail, "a picture may not be written or deleted");
                Self::new(
                    ProblemCode::StorageReadOnly,
                    "The server may not write to the folder with the pictures, so nothing was changed. Its operator has to allow it; then send it again.",
                )
            }
            SourceError::Denied { .. } | SourceError::Io { .. } => Self::internal(&detail),
        }
    }
}

impl From<ThumbnailError> for Problem {
    fn from(error: ThumbnailError) -> Self {
        match error {
            ThumbnailError::Decode(error) => {
                Self::new(ProblemCode::of_picture(&error), error.to_string())
            }
            ThumbnailError::Scale(_) => Self::internal(&error),
        }
    }
}

impl From<FileManagerError> for Problem {
    fn from(error: FileManagerError) -> Self {
        let code = match &error {
            FileManagerError::Busy => ProblemCode::Overloaded,
            FileManagerError::Failed(_) => ProblemCode::FileManagerFailed,
        };
        tracing::warn!(%error, "a picture is not shown in its folder");
        Self::new(code, error.to_string())
    }
}

impl From<ImageNameError> for Problem {
    fn from(error: ImageNameError) -> Self {
        Self::new(ProblemCode::BadImageName, error.to_string())
    }
}
