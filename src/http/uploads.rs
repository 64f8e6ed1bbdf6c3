//! Writing over HTTP: upload pictures into the first folder, delete pictures. Off unless configured, and then only with the
//! API key. An upload is checked (size, really a picture) before anything is written, and appears whole or not at all.

use std::sync::Arc;

use axum::extract::multipart::Multipart;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::Problem;
use super::images::no_image;
use super::json::too_large;
use super::search::form_problem;
use super::{Shared, ingest};
use crate::ingest::Ingest;
use crate::source::SourceError;
use crate::types::{ContentHash, ImageName, now_ms};

/// Names tried for a picture whose name is taken: `a.jpg`, `a-2.jpg`, …
const NAMES_TRIED_MAX: u32 = 1000;

/// Pictures to add.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the multipart body in the API document")]
pub(super) struct UploadForm {
    /// One or more picture files, each with its file name.
    #[schema(value_type = Vec<String>, format = Binary)]
    image: Vec<Vec<u8>>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct UploadResponse {
    images: Vec<UploadedImage>,
}

#[derive(Serialize, ToSchema)]
struct UploadedImage {
    /// Where it is now.
    #[schema(value_type = String)]
    image_name: ImageName,
    /// An image with the same content that was there before; then nothing was written.
    #[schema(value_type = Option<String>)]
    duplicate_of: Option<ImageName>,
}

/// Add pictures. Needs `uploads.enabled` and the API key.
#[utoipa::path(
    post, path = "/api/v1/images", tag = "images",
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses(
        (status = 201, body = UploadResponse),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 413, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "Not a picture")
    )
)]
pub(super) async fn upload_images(
    State(app): State<Shared>,
    headers: HeaderMap,
    mut form: Multipart,
) -> Result<(StatusCode, axum::Json<UploadResponse>), Problem> {
    let ingest = authorized(&app, &headers)?;
    let mut images = Vec::new();
    while let Some(mut field) = form.next_field().await.map_err(|error| form_problem(&error))? {
        if field.name() != Some("image") {
            return Err(Problem::invalid("The form has only the file field \"image\"."));
        }
        if images.len() >= app.config.uploads.files_max {
            return Err(Problem::invalid(format!(
                "At most {} files in one request.",
                app.config.uploads.files_max
            )));
        }
        let wanted = ImageName::new(field.file_name().unwrap_or_default().to_owned())?;
        let mut bytes = Vec::new();
        while let Some(chunk) = field.chunk().await.map_err(|error| form_problem(&error))? {
            if (bytes.len() + chunk.len()) as u64 > app.config.uploads.file_bytes_max {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        images.push(add(&app, &ingest, &wanted, bytes).await?);
    }
    if images.is_empty() {
        return Err(Problem::invalid("The form has no file field \"image\"."));
    }
    Ok((StatusCode::CREATED, axum::Json(UploadResponse { images })))
}

async fn add(
    app: &Shared,
    ingest: &Ingest,
    wanted: &ImageName,
    bytes: Vec<u8>,
) -> Result<UploadedImage, Problem> {
    let hash = ContentHash::of(&bytes);
    let known = app.catalog.images_of(&[hash]).await?.remove(&hash);
    if let Some(first) = known.and_then(|content| content.names.into_iter().next()) {
        return Ok(UploadedImage { image_name: first.clone(), duplicate_of: Some(first) });
    }
    let limits = app.config.decode.limits();
    let checking =
        tokio::task::spawn_blocking(move || clip::decode(&bytes, &limits).map(|_| bytes));
    let checked = checking.await.map_err(|_panic| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "corrupt_image",
            "The file cannot be decoded.",
        )
    })?;
    let bytes = checked.map_err(|error| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.code(), format!("{wanted}: {error}"))
    })?;
    let source = &**app.sources.first().ok_or_else(uploads_disabled)?;
    // Written into an empty mount point, it would vanish under the disk that comes back.
    ingest.check_present(source).await?;
    for attempt in 1..=NAMES_TRIED_MAX {
        let name = numbered(wanted, attempt)?;
        match source.create(&name, &bytes).await {
            Ok(()) => {
                ingest.look_at(source, &name).await?;
                return Ok(UploadedImage { image_name: name, duplicate_of: None });
            }
            Err(SourceError::Exists(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(SourceError::Exists(wanted.clone()).into())
}

/// `a/b.jpg` -> `a/b.jpg`, `a/b-2.jpg`, `a/b-3.jpg`, …; hidden parts would never be looked at, so they are refused.
fn numbered(wanted: &ImageName, attempt: u32) -> Result<ImageName, Problem> {
    if wanted.as_str().split('/').any(|part| part.starts_with(['.', '@'])) {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad_image_name",
            "No part of a file name may begin with a dot or an @.",
        ));
    }
    if attempt == 1 {
        return Ok(wanted.clone());
    }
    let (stem, extension) = match wanted.as_str().rsplit_once('.') {
        Some((stem, extension)) if !extension.contains('/') => (stem, format!(".{extension}")),
        _ => (wanted.as_str(), String::new()),
    };
    Ok(ImageName::new(format!("{stem}-{attempt}{extension}"))?)
}

/// Delete a picture's file. Needs `uploads.enabled` and the API key.
#[utoipa::path(
    delete, path = "/api/v1/images/{*image_name}", tag = "images",
    params(("image_name" = String, Path, description = "Name of the image")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn delete_image(
    State(app): State<Shared>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let ingest = authorized(&app, &headers)?;
    let row = app.catalog.image(&ImageName::new(path)?).await?.ok_or_else(no_image)?;
    let source = app.source(&row.source).ok_or_else(no_image)?;
    source.delete(&row.name).await?;
    ingest.look_at(source, &row.name).await?;
    app.catalog.forget(&[row.name], now_ms()).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn uploads_disabled() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "uploads_disabled",
        "Uploads and deletions are switched off here (uploads.enabled).",
    )
}

/// Ingestion, for requests that carry the API key.
fn authorized(app: &Shared, headers: &HeaderMap) -> Result<Arc<Ingest>, Problem> {
    if !app.config.uploads.enabled {
        return Err(uploads_disabled());
    }
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    let matches = given.is_some_and(|given| {
        // Equal hashes compare in constant time, whatever the texts' lengths.
        blake3::hash(given.as_bytes()) == blake3::hash(app.api_key.reveal().as_bytes())
            && !given.is_empty()
    });
    if !matches {
        return Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "api_key_needed",
            "Send the API key as Authorization: Bearer …",
        ));
    }
    ingest(app)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_names_are_numbered_before_the_extension() {
        let name = |text: &str| ImageName::new(text).expect("valid");
        let numbered_name =
            |text: &str, attempt| numbered(&name(text), attempt).map(|name| name.to_string()).ok();
        assert_eq!(numbered_name("a.b/c.jpg", 1).as_deref(), Some("a.b/c.jpg"));
        assert_eq!(numbered_name("a.b/c.jpg", 2).as_deref(), Some("a.b/c-2.jpg"));
        assert_eq!(numbered_name("a.b/c", 3).as_deref(), Some("a.b/c-3"));
        assert_eq!(numbered_name(".hidden.png", 1), None);
    }
}
