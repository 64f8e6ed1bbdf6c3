//! Writing over HTTP: upload pictures into the first folder, delete pictures. Off unless configured, and then only with a key
//! that allows it. A file is checked (name, size, room, really a picture) before anything is written; it appears whole or not
//! at all, and the answer says what became of each.

use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use clip::Wanted;
use serde::Serialize;
use utoipa::ToSchema;

use super::access::Caller;
use super::error::{Problem, ProblemCode};
use super::forms::Form;
use super::images::no_image;
use super::request::ApiPath;
use super::{SharedApp, ingest};
use crate::decoder::{Share, Whose};
use crate::ingest::Ingest;
use crate::printable::is_harmful;
use crate::source::{Source, SourceError};
use crate::types::{ContentHash, ImageName, now_ms};

/// Names tried for a picture whose name is taken: `a.jpg`, `a-2.jpg`, …
const NAMES_TRIED_MAX: u32 = 1000;
/// What file systems take.
const FILE_NAME_BYTES_MAX: usize = 255;

/// Pictures to add.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the multipart body in the API document")]
pub(super) struct UploadForm {
    /// One or more picture files, each with its file name.
    #[schema(value_type = Vec<String>, format = Binary)]
    image: Vec<Vec<u8>>,
}

/// What became of the files.
#[derive(Serialize, ToSchema)]
pub(super) struct UploadResponse {
    /// One entry for each file, in the order of the form.
    images: Vec<UploadedImage>,
}

/// What became of one file.
#[derive(Serialize, ToSchema)]
struct UploadedImage {
    /// The file's name, as it was sent.
    file_name: String,
    /// 201 if it was added, 200 if its content was there already, otherwise the status of the problem.
    status: u16,
    /// The name that the picture has now; of a file that was not added, the name that was sent.
    image_name: String,
    /// An image with the same content that was there before; then nothing was written.
    #[schema(value_type = Option<String>)]
    duplicate_of: Option<ImageName>,
    /// Why it was not added. Nothing of it is left then.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

impl UploadedImage {
    fn of(file_name: String, outcome: Result<Added, Problem>) -> Self {
        match outcome {
            Ok(Added::New(name)) => Self {
                file_name,
                status: StatusCode::CREATED.as_u16(),
                image_name: name.to_string(),
                duplicate_of: None,
                problem: None,
            },
            Ok(Added::Known(name)) => Self {
                file_name,
                status: StatusCode::OK.as_u16(),
                image_name: name.to_string(),
                duplicate_of: Some(name),
                problem: None,
            },
            Err(problem) => Self {
                image_name: file_name.clone(),
                file_name,
                status: problem.status(),
                duplicate_of: None,
                problem: Some(problem),
            },
        }
    }
}

/// A picture that is there now.
enum Added {
    New(ImageName),
    Known(ImageName),
}

/// Add pictures.
///
/// They are put into the first folder, each on its own: some may be added although others are not. Needs `uploads.enabled` and a
/// key. If none was added, or the form breaks off, the answer is a problem, with `images` beside it as in the other answers.
#[utoipa::path(
    post, path = "/api/v1/images", tag = "images",
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses(
        (status = 201, body = UploadResponse, description = "All pictures were added, or were there already."),
        (status = 207, body = UploadResponse, description = "Some pictures were added and some not; each entry says which, and why."),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "The body is no form, or did not arrive completely."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "Uploads are switched off."),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "Every name like this one is taken."),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "The body or a file is too large."),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A file is no picture, or has no usable name."),
        (status = 507, body = Problem, content_type = "application/problem+json", description = "The disk is full, or the folder has as many pictures as it may.")
    )
)]
pub(super) async fn upload_images(
    State(app): State<SharedApp>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let mut upload = match Upload::new(&app, caller) {
        Ok(upload) => upload,
        Err(problem) => return problem.into_response(),
    };
    let ended = upload.take(request).await;
    answer(ended, upload.images)
}

/// Of a content that is known, so many names are looked at, for one whose file is there.
const COPIES_LOOKED_AT_MAX: u32 = 64;

/// One request's files.
struct Upload<'a> {
    app: &'a SharedApp,
    ingest: Arc<Ingest>,
    source: &'a dyn Source,
    caller: Caller,
    images: Vec<UploadedImage>,
    /// Contents that this request added: the catalog learns of them later.
    added: Vec<(ContentHash, ImageName)>,
}

impl<'a> Upload<'a> {
    fn new(app: &'a SharedApp, caller: Caller) -> Result<Self, Problem> {
        let ingest = enabled(app)?;
        let source = &**app.sources.first().ok_or_else(uploads_disabled)?;
        Ok(Self { app, ingest, source, caller, images: Vec::new(), added: Vec::new() })
    }

    /// Takes one file after the other. Fails when the form as a whole goes no further.
    async fn take(&mut self, request: Request) -> Result<(), Problem> {
        let config = &self.app.config.uploads;
        // Before anything is read, if there is no room in any case.
        self.check_room(0).await?;
        let bytes_max = usize::try_from(config.file_bytes_max).unwrap_or(usize::MAX);
        let mut form = Form::open(self.app, request, bytes_max).await?;
        let (room, share) = (form.room(), form.share.clone());
        while let Some(field) = form.next().await? {
            if field.name() != Some("image") {
                return Err(Problem::invalid("The form has only the file field \"image\"."));
            }
            if self.images.len() >= config.files_max {
                let files_max = config.files_max;
                return Err(Problem::invalid(format!("At most {files_max} files in one request.")));
            }
            let file_name = field.file_name().unwrap_or_default().to_owned();
            let outcome = match self.name_of(&file_name) {
                Ok(wanted) => match room.read(field).await {
                    Ok(bytes) => self.add(&wanted, bytes, share.clone()).await,
                    Err(problem) if problem.is(ProblemCode::TooLarge) => Err(problem),
                    Err(problem) => return Err(problem),
                },
                Err(problem) => Err(problem),
            };
            self.images.push(UploadedImage::of(file_name, outcome));
        }
        if self.images.is_empty() {
            return Err(Problem::invalid("The form has no file field \"image\"."));
        }
        Ok(())
    }

    /// The name, if a picture of that name could be indexed, found and deleted.
    fn name_of(&self, file_name: &str) -> Result<ImageName, Problem> {
        let name = ImageName::new(file_name)?;
        if file_name.split('/').any(|part| part.starts_with(['.', '@'])) {
            return Err(bad_name("No part of a file name may begin with a dot or an @."));
        }
        if file_name.chars().any(is_harmful) {
            return Err(bad_name(
                "A file name must not have control characters, or marks that turn the direction of the text.",
            ));
        }
        self.source.check_name(&name)?;
        Ok(name)
    }

    async fn add(
        &mut self,
        wanted: &ImageName,
        bytes: Vec<u8>,
        share: Share,
    ) -> Result<Added, Problem> {
        let hash = ContentHash::of(&bytes);
        if let Some(known) = self.known(&hash).await? {
            return Ok(Added::Known(known));
        }
        let bytes = Bytes::from(bytes);
        let decoder = &self.app.decoder;
        let checked =
            decoder.decode(Whose::Person, bytes.clone(), share, Wanted::Full, |_picture| ()).await;
        checked.map_err(|error| {
            Problem::new(ProblemCode::of_picture(&error), format!("{wanted}: {error}"))
        })?;
        self.check_room(bytes.len() as u64).await?;
        // Written into an empty mount point, it would vanish under the disk that comes back.
        self.ingest.check_present(self.source).await?;
        let name = self.create(wanted, &bytes).await?;
        self.added.push((hash, name.clone()));
        tracing::info!(target: "audit", action = "image_uploaded", key = self.caller.name(), address = %self.caller.address, image = %name, "a picture was uploaded");
        if let Err(error) = self.ingest.look_at(self.source, &name).await {
            tracing::warn!(%error, image = %name, "an uploaded picture is only noticed later");
        }
        Ok(Added::New(name))
    }

    async fn create(&self, wanted: &ImageName, bytes: &[u8]) -> Result<ImageName, Problem> {
        for attempt in 1..=NAMES_TRIED_MAX {
            let name = numbered(wanted, attempt)?;
            match self.source.create(&name, bytes).await {
                Ok(()) => return Ok(name),
                Err(SourceError::Exists(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(SourceError::Exists(wanted.clone()).into())
    }

    /// An image with this content whose file really is there, as it was when it was read: the catalog may not have noticed yet
    /// that it went.
    async fn known(&self, hash: &ContentHash) -> Result<Option<ImageName>, Problem> {
        let catalog = &self.app.catalog;
        let of_catalog = catalog.images_of(&[*hash], COPIES_LOOKED_AT_MAX).await?.remove(hash);
        let of_catalog = of_catalog.map(|content| content.names).unwrap_or_default();
        let of_request = self.added.iter().filter(|(added, _)| added == hash);
        let of_request = of_request.map(|(_, name)| name.clone());
        for name in of_catalog {
            let Some(row) = catalog.image(&name).await? else { continue };
            let Some(source) = self.app.source(&row.source) else { continue };
            match source.stat(&name).await {
                Ok(fingerprint) if fingerprint == row.fingerprint => return Ok(Some(name)),
                // It says nothing about the picture.
                Err(error) if error.is_trouble() => return Ok(Some(name)),
                Ok(_) | Err(_) => {}
            }
        }
        for name in of_request {
            if self.source.stat(&name).await.is_ok() {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Whether the folder may take so many bytes more.
    async fn check_room(&self, bytes: u64) -> Result<(), Problem> {
        let config = &self.app.config;
        let reserve_mib = config.uploads.disk_reserve_mib;
        let needed = (reserve_mib << 20).saturating_add(bytes);
        if self.source.free_bytes().await.is_some_and(|free| free < needed) {
            return Err(Problem::new(
                ProblemCode::StorageFull,
                format!(
                    "The disk with the pictures is full up to the {reserve_mib} MiB that are kept free (uploads.disk_reserve_mib). Its operator has to free some space; then send it again."
                ),
            ));
        }
        let sources = self.app.catalog.sources().await?;
        let images =
            sources.iter().find(|row| row.id == self.source.id()).map_or(0, |row| row.images);
        let images_max = config.ingest.images_max;
        if images >= images_max as u64 {
            return Err(Problem::new(
                ProblemCode::StorageFull,
                format!(
                    "The folder has {images} pictures already, and further ones would not be indexed (ingest.images_max = {images_max})."
                ),
            ));
        }
        Ok(())
    }
}

/// A problem, and what became of the files before it.
#[derive(Serialize)]
struct ProblemWithResults {
    #[serde(flatten)]
    problem: Problem,
    images: Vec<UploadedImage>,
}

/// 201 if all went well, 207 if some did; otherwise the problem, with the results beside it.
fn answer(ended: Result<(), Problem>, images: Vec<UploadedImage>) -> Response {
    let added = images.iter().filter(|image| image.problem.is_none()).count();
    let first_problem = images.iter().find_map(|image| image.problem.clone());
    let problem = match (ended, first_problem) {
        (Err(problem), _) => problem,
        (Ok(()), Some(problem)) if added == 0 => problem,
        (Ok(()), first_problem) => {
            let status = if first_problem.is_none() {
                StatusCode::CREATED
            } else {
                StatusCode::MULTI_STATUS
            };
            return (status, axum::Json(UploadResponse { images })).into_response();
        }
    };
    let (head, _) = problem.clone().into_response().into_parts();
    let body = serde_json::to_vec(&ProblemWithResults { problem, images }).unwrap_or_default();
    Response::from_parts(head, Body::from(body))
}

fn bad_name(detail: &str) -> Problem {
    Problem::new(ProblemCode::BadImageName, detail)
}

/// `a/b.jpg` -> `a/b.jpg`, `a/b-2.jpg`, `a/b-3.jpg`, …; a name that gets too long by that loses the end of its stem.
fn numbered(wanted: &ImageName, attempt: u32) -> Result<ImageName, Problem> {
    if attempt == 1 {
        return Ok(wanted.clone());
    }
    let (folder, file) = match wanted.as_str().rsplit_once('/') {
        Some((folder, file)) => (format!("{folder}/"), file),
        None => (String::new(), wanted.as_str()),
    };
    let (stem, extension) = match file.rsplit_once('.') {
        Some((stem, extension)) => (stem, format!(".{extension}")),
        None => (file, String::new()),
    };
    let ending = format!("-{attempt}{extension}");
    let room = FILE_NAME_BYTES_MAX.saturating_sub(ending.len());
    let stem = &stem[..stem.floor_char_boundary(room)];
    Ok(ImageName::new(format!("{folder}{stem}{ending}"))?)
}

/// Delete a picture's file.
///
/// Needs `uploads.enabled` and a key.
#[utoipa::path(
    delete, path = "/api/v1/images/{*image_name}", tag = "images",
    params(("image_name" = String, Path, description = "Name of the image. It may have slashes, which may be sent as they are.")),
    responses(
        (status = 204, description = "The file is deleted."),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "The name is not UTF-8."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such image, or deletions are switched off."),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "This cannot be the name of an image."),
        (status = 507, body = Problem, content_type = "application/problem+json", description = "The disk is full.")
    )
)]
pub(super) async fn delete_image(
    State(app): State<SharedApp>,
    Extension(caller): Extension<Caller>,
    ApiPath(path): ApiPath,
) -> Result<StatusCode, Problem> {
    let ingest = enabled(&app)?;
    let row = app.catalog.image(&ImageName::new(path)?).await?.ok_or_else(no_image)?;
    let source = app.source(&row.source).ok_or_else(no_image)?;
    source.delete(&row.name).await?;
    tracing::info!(target: "audit", action = "image_deleted", key = caller.name(), address = %caller.address, image = %row.name, "a picture was deleted");
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

/// Ingestion, if uploads are switched on. That the request has a key was seen to before.
fn enabled(app: &SharedApp) -> Result<Arc<Ingest>, Problem> {
    if app.config.uploads.enabled { ingest(app) } else { Err(uploads_disabled()) }
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
        let long = format!("f/{}.jpg", "ä".repeat(125));
        let numbered = numbered_name(&long, 12).expect("a name");
        assert!(numbered.ends_with("ä-12.jpg") && numbered.len() <= 2 + 255, "{numbered}");
    }
}
