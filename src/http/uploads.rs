//! Writing over HTTP: upload pictures into the first folder, delete pictures. Off unless configured, and then only with the
//! API key. An upload is checked (size, really a picture) before anything is written, and appears whole or not at all.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use clip::Wanted;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{Problem, ProblemCode};
use super::forms::Form;
use super::images::no_image;
use super::request::ApiPath;
use super::{SharedApp, ingest};
use crate::decoder::Share;
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

/// The pictures that were added.
#[derive(Serialize, ToSchema)]
pub(super) struct UploadResponse {
    /// One entry for each file, in the order of the form.
    images: Vec<UploadedImage>,
}

/// One picture that was added, or was there already.
#[derive(Serialize, ToSchema)]
struct UploadedImage {
    /// The name that it has now.
    #[schema(value_type = String)]
    image_name: ImageName,
    /// An image with the same content that was there before; then nothing was written.
    #[schema(value_type = Option<String>)]
    duplicate_of: Option<ImageName>,
}

/// Add pictures.
///
/// They are put into the first folder. Needs `uploads.enabled` and the API key.
#[utoipa::path(
    post, path = "/api/v1/images", tag = "images", security(("api_key" = [])),
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses(
        (status = 201, body = UploadResponse, description = "All pictures were added, or were there already."),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "The body is no form, or did not arrive completely."),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "The API key is missing or wrong."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "Uploads are switched off."),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "Every name like this one is taken."),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "The body or a file is too large."),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A file is no picture, or has no usable name."),
        (status = 507, body = Problem, content_type = "application/problem+json", description = "The disk is full.")
    )
)]
pub(super) async fn upload_images(
    State(app): State<SharedApp>,
    headers: HeaderMap,
    request: Request,
) -> Result<(StatusCode, axum::Json<UploadResponse>), Problem> {
    let ingest = authorized(&app, &headers)?;
    let config = &app.config.uploads;
    let bytes_max = usize::try_from(config.file_bytes_max).unwrap_or(usize::MAX);
    let mut form = Form::open(&app, request, bytes_max).await?;
    let (room, share) = (form.room(), form.share.clone());
    let mut images = Vec::new();
    while let Some(field) = form.next().await? {
        if field.name() != Some("image") {
            return Err(Problem::invalid("The form has only the file field \"image\"."));
        }
        if images.len() >= config.files_max {
            let files_max = config.files_max;
            return Err(Problem::invalid(format!("At most {files_max} files in one request.")));
        }
        let wanted = ImageName::new(field.file_name().unwrap_or_default().to_owned())?;
        let bytes = room.read(field).await?;
        images.push(add(&app, &ingest, &wanted, bytes, share.clone()).await?);
    }
    if images.is_empty() {
        return Err(Problem::invalid("The form has no file field \"image\"."));
    }
    Ok((StatusCode::CREATED, axum::Json(UploadResponse { images })))
}

async fn add(
    app: &SharedApp,
    ingest: &Ingest,
    wanted: &ImageName,
    bytes: Vec<u8>,
    share: Share,
) -> Result<UploadedImage, Problem> {
    let hash = ContentHash::of(&bytes);
    let known = app.catalog.images_of(&[hash], 1).await?.remove(&hash);
    if let Some(first) = known.and_then(|content| content.names.into_iter().next()) {
        return Ok(UploadedImage { image_name: first.clone(), duplicate_of: Some(first) });
    }
    let bytes = Bytes::from(bytes);
    let checked = app.decoder.decode(bytes.clone(), share, Wanted::Full, |_picture| ()).await;
    checked.map_err(|error| {
        Problem::new(ProblemCode::of_picture(&error), format!("{wanted}: {error}"))
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
            ProblemCode::BadImageName,
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

/// Delete a picture's file.
///
/// Needs `uploads.enabled` and the API key.
#[utoipa::path(
    delete, path = "/api/v1/images/{*image_name}", tag = "images", security(("api_key" = [])),
    params(("image_name" = String, Path, description = "Name of the image. It may have slashes, which may be sent as they are.")),
    responses(
        (status = 204, description = "The file is deleted."),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "The name is not UTF-8."),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "The API key is missing or wrong."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such image, or deletions are switched off."),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "This cannot be the name of an image."),
        (status = 507, body = Problem, content_type = "application/problem+json", description = "The disk is full.")
    )
)]
pub(super) async fn delete_image(
    State(app): State<SharedApp>,
    ApiPath(path): ApiPath,
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
        ProblemCode::UploadsDisabled,
        "Uploads and deletions are switched off here (uploads.enabled).",
    )
}

/// Ingestion, for requests that carry the API key.
fn authorized(app: &SharedApp, headers: &HeaderMap) -> Result<Arc<Ingest>, Problem> {
    if !app.config.uploads.enabled {
        return Err(uploads_disabled());
    }
    if !has_api_key(app, headers) {
        return Err(Problem::new(
            ProblemCode::ApiKeyNeeded,
            "Send the API key as Authorization: Bearer …",
        ));
    }
    ingest(app)
}

/// Whether there is an API key, and the request carries it.
pub(super) fn has_api_key(app: &SharedApp, headers: &HeaderMap) -> bool {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    given.is_some_and(|given| {
        // Equal hashes compare in constant time, whatever the texts' lengths.
        blake3::hash(given.as_bytes()) == blake3::hash(app.api_key.reveal().as_bytes())
            && !given.is_empty()
    })
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
