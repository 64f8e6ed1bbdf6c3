//! `POST /api/v1/download-zip`: many pictures as one zip file, streamed. Each picture is read twice, first for its checksum,
//! so that the file is of the plainest kind, which everything can open, and nothing has to be held in memory.

use std::io;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{FromRequest, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use utoipa::ToSchema;

use super::SharedApp;
use super::error::{Problem, ProblemCode};
use super::forms::{Form, is_form};
use super::images::{no_image, open};
use super::request::ApiJson;
use super::zip::{Chunks, Entry, ZipWriter};
use crate::catalog::ImageRow;
use crate::types::{ImageName, now_ms};

/// Most bytes of one name in a request, with what stands around it.
const NAME_BYTES_MAX: usize = 1200;
const CHUNKS_AHEAD: usize = 2;
const READ_BYTES: usize = 64 << 10;
/// Says which pictures are missing, if some are.
const MISSING: &str = "not-included.txt";

/// How many downloads may be under way.
pub(super) struct Downloads(Arc<Semaphore>);

impl Downloads {
    pub(super) fn new(concurrent_max: usize) -> Self {
        Self(Arc::new(Semaphore::new(concurrent_max)))
    }

    fn admit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.0.clone().try_acquire_owned().map_err(|_| {
            Problem::new(
                ProblemCode::Overloaded,
                "Too many downloads are under way; try again when one has ended.",
            )
        })
    }
}

/// Pictures to download.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DownloadRequest {
    /// Names of the images, at most `downloads.pictures_max` of the configuration.
    image_names: Vec<String>,
}

/// The same as a form, for pages.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the multipart body in the API document")]
pub(super) struct DownloadForm {
    /// Names of the images, as a JSON array.
    image_names: String,
}

/// Download pictures as one zip file.
///
/// A picture that can no longer be read is left out, and named in `not-included.txt`.
#[utoipa::path(
    post, path = "/api/v1/download-zip", tag = "images",
    request_body(content((DownloadRequest = "application/json"), (DownloadForm = "multipart/form-data"))),
    responses(
        (status = 200, description = "The zip file.", content_type = "application/zip"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "The body is no JSON or form, or did not arrive completely."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "None of the images is there."),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "The pictures together have more bytes than downloads.bytes_max, or the body is too large."),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "The body is neither JSON nor a form."),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "There are too many names, or none, or one cannot be the name of an image.")
    )
)]
pub(super) async fn download_zip(
    State(app): State<SharedApp>,
    Extension(downloads): Extension<Arc<Downloads>>,
    request: Request,
) -> Result<Response, Problem> {
    let turn = downloads.admit()?;
    let names = names(&app, request).await?;
    let (rows, missing) = find(&app, names).await?;
    let (out, chunks) = mpsc::channel(CHUNKS_AHEAD);
    tokio::spawn(async move {
        let _turn = turn;
        // Ends early when the client is gone, or when the program stops.
        let stop = app.stop.clone();
        let written = stop.run_until_cancelled(write(&app, rows, missing, out.clone())).await;
        let unfinished = match written {
            Some(Ok(())) => return,
            Some(Err(error)) => error,
            None => io::ErrorKind::Interrupted.into(),
        };
        // Breaks the connection: half a zip file must not look like a whole one.
        let _ = out.send(Err(unfinished)).await;
    });
    let stream = futures::stream::unfold(chunks, |mut chunks| async move {
        chunks.recv().await.map(|chunk| (chunk, chunks))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/zip"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"pictures.zip\""),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(stream)).into_response())
}

async fn names(app: &SharedApp, request: Request) -> Result<Vec<ImageName>, Problem> {
    let wanted = if is_form(&request) {
        from_form(app, request).await?
    } else {
        ApiJson::<DownloadRequest>::from_request(request, app).await?.0.image_names
    };
    let pictures_max = app.config.downloads.pictures_max;
    if !(1..=pictures_max).contains(&wanted.len()) {
        return Err(Problem::invalid(format!("image_names must be 1 to {pictures_max} names.")));
    }
    let mut names = wanted.into_iter().map(ImageName::new).collect::<Result<Vec<_>, _>>()?;
    names.sort();
    names.dedup();
    Ok(names)
}

async fn from_form(app: &SharedApp, request: Request) -> Result<Vec<String>, Problem> {
    let bytes_max = body_bytes_max(app.config.downloads.pictures_max);
    let mut form = Form::open(app, request, bytes_max).await?;
    let room = form.room();
    let only = "The form has one field, \"image_names\": a JSON array of names.";
    let Some(field) = form.next().await?.filter(|field| field.name() == Some("image_names")) else {
        return Err(Problem::invalid(only));
    };
    let names = room.read(field).await?;
    serde_json::from_slice(&names).map_err(|_| Problem::invalid(only))
}

/// The images that are there, and the names of those that are not.
async fn find(
    app: &SharedApp,
    names: Vec<ImageName>,
) -> Result<(Vec<ImageRow>, Vec<ImageName>), Problem> {
    let (mut rows, mut missing) = (Vec::with_capacity(names.len()), Vec::new());
    for name in names {
        match app.catalog.image(&name).await?.filter(|row| row.facts.is_some()) {
            Some(row) => rows.push(row),
            None => missing.push(name),
        }
    }
    if rows.is_empty() {
        return Err(no_image());
    }
    let bytes: u64 = rows.iter().map(|row| row.fingerprint.size_bytes).sum();
    let bytes_max = app.config.downloads.bytes_max;
    if bytes > bytes_max {
        return Err(Problem::new(
            ProblemCode::TooLarge,
            format!(
                "These pictures have {bytes} bytes together; the limit downloads.bytes_max is {bytes_max}. Download them in parts."
            ),
        ));
    }
    Ok((rows, missing))
}

async fn write(
    app: &SharedApp,
    rows: Vec<ImageRow>,
    mut missing: Vec<ImageName>,
    out: Chunks,
) -> io::Result<()> {
    let mut zip = ZipWriter::new(out);
    for row in rows {
        let Some(crc) = checksum(app, &row).await else {
            missing.push(row.name);
            continue;
        };
        let entry = Entry {
            name: row.name.to_string(),
            modified_ms: row.fingerprint.modified_ms,
            crc,
            size_bytes: u32::try_from(row.fingerprint.size_bytes).map_err(|_| too_large_entry())?,
        };
        let opened = open(app, &row).await.map_err(|_| io::Error::other("it went meanwhile"))?;
        zip.add(&entry, opened.reader).await?;
    }
    if !missing.is_empty() {
        let mut text = "These pictures could not be read any more:\n".to_owned();
        for name in &missing {
            text.push_str(name.as_str());
            text.push('\n');
        }
        let entry = Entry {
            name: MISSING.to_owned(),
            modified_ms: now_ms(),
            crc: crc32fast::hash(text.as_bytes()),
            size_bytes: u32::try_from(text.len()).map_err(|_| too_large_entry())?,
        };
        zip.add(&entry, text.as_bytes()).await?;
    }
    zip.finish().await
}

fn too_large_entry() -> io::Error {
    io::Error::other("a zip file cannot hold so large a picture")
}

/// `None` if the picture cannot be read as the catalog knows it.
async fn checksum(app: &SharedApp, row: &ImageRow) -> Option<u32> {
    let mut reader = open(app, row).await.ok()?.reader;
    let (mut crc, mut read_bytes) = (crc32fast::Hasher::new(), 0);
    let mut chunk = vec![0; READ_BYTES];
    loop {
        let got = reader.read(&mut chunk).await.ok()?;
        if got == 0 {
            return (read_bytes == row.fingerprint.size_bytes).then(|| crc.finalize());
        }
        crc.update(&chunk[..got]);
        read_bytes += got as u64;
    }
}

/// How large a body may be.
pub(super) fn body_bytes_max(pictures_max: usize) -> usize {
    pictures_max.saturating_mul(NAME_BYTES_MAX)
}
