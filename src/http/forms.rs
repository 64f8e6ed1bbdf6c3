//! Reading multipart bodies: memory is set aside before anything of one is read, each field may be only so long, and whatever
//! is wrong becomes a problem that says what.

use std::time::Duration;

use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};

use super::SharedApp;
use super::error::{Problem, ProblemCode};
use super::request::too_large;
use crate::decoder::Share;

/// Whether a request says that its body is one.
pub(super) fn is_form(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("multipart/form-data"))
}

/// A multipart body whose fields have at most so many bytes, and the memory for one of them.
pub(super) struct Form {
    fields: Multipart,
    field_bytes_max: usize,
    /// What the client announced, if that is less.
    expected_bytes: usize,
    pub(super) share: Share,
}

impl Form {
    /// Waits a moment for memory, as much as the body says it has, or as much as a field may have.
    pub(super) async fn open(
        app: &SharedApp,
        request: Request,
        field_bytes_max: usize,
    ) -> Result<Self, Problem> {
        let announced = request.headers().get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        let expected_bytes = announced.unwrap_or(field_bytes_max).min(field_bytes_max);
        let fields = Multipart::from_request(request, app).await.map_err(|_| malformed())?;
        let wait = Duration::from_millis(app.config.server.body_wait_ms);
        let share = app.decoder.share_for_body(expected_bytes as u64, wait).await;
        let share = share.ok_or_else(|| {
            Problem::new(
                ProblemCode::Overloaded,
                "Too many pictures are being sent at once; try again in a moment.",
            )
        })?;
        Ok(Self { fields, field_bytes_max, expected_bytes, share })
    }

    pub(super) async fn next(&mut self) -> Result<Option<Field<'_>>, Problem> {
        self.fields.next_field().await.map_err(|error| problem(&error))
    }

    /// A field's bytes, in one piece of memory that is as large as it has to be.
    pub(super) fn room(&self) -> FieldRoom {
        FieldRoom { bytes_max: self.field_bytes_max, expected_bytes: self.expected_bytes }
    }
}

/// How much of a field is read.
#[derive(Clone, Copy)]
pub(super) struct FieldRoom {
    bytes_max: usize,
    expected_bytes: usize,
}

impl FieldRoom {
    pub(super) async fn read(self, mut field: Field<'_>) -> Result<Vec<u8>, Problem> {
        let mut bytes = Vec::new();
        while let Some(chunk) = field.chunk().await.map_err(|error| problem(&error))? {
            if bytes.len() + chunk.len() > self.bytes_max {
                return Err(too_large());
            }
            if bytes.is_empty() {
                bytes.reserve_exact(self.expected_bytes.max(chunk.len()));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

fn malformed() -> Problem {
    Problem::new(ProblemCode::MalformedForm, "The body is no complete multipart form.")
}

fn problem(error: &MultipartError) -> Problem {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE { too_large() } else { malformed() }
}
