//! The pictures: the newest ones, one picture's bytes, its thumbnail, its facts. Nothing outside the sources is reachable:
//! a name is looked up in the catalog first and then opened beneath its source's root.

use std::str::FromStr;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;
use utoipa::{IntoParams, ToSchema};

use super::error::{Problem, ProblemCode};
use super::filter::ListQuery;
use super::range::Wanted;
use super::request::{ApiPath, ApiQuery};
use super::{SharedApp, image_url, ingest, previews, thumbnail_url, version, viewable_url};
use crate::catalog::{ImageRow, ImageTaken, PageStart, RecentCursor};
use crate::moment::timestamp;
use crate::source::{Opened, Source, SourceError};
use crate::thumbnails::Thumbnails;
use crate::types::{ContentHash, ImageName};

pub(super) const PAGE_MAX: u32 = 500;
/// What an offset skips has to be read.
const OFFSET_MAX: u32 = 10_000;
const THUMBNAIL_SUFFIX: &str = "/thumbnail";
const THUMBNAIL_WIDTH_DEFAULT: u32 = 320;
/// Pictures are read and sent in pieces of this size.
const PIECE_BYTES: usize = 64 * 1024;
/// First bytes that tell the format.
const MAGIC_BYTES: usize = 64;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// How many entries the page has at most; 50 if missing.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// How many entries to leave out. To go further than 10000, follow `next`.
    #[param(maximum = 10000)]
    offset: Option<u32>,
    /// The `next` of the page before, in place of an offset.
    after: Option<String>,
}

impl Page {
    /// Limit and beginning, checked.
    pub(super) fn bounds<Cursor: FromStr>(&self) -> Result<(u32, PageStart<Cursor>), Problem> {
        let limit = self.limit.unwrap_or(50);
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(Problem::invalid(format!("limit must be 1 to {PAGE_MAX}.")));
        }
        let start = match (&self.after, self.offset) {
            (Some(_), Some(_)) => {
                return Err(Problem::invalid("Send after or offset, not both."));
            }
            (Some(after), None) => PageStart::After(
                after
                    .parse()
                    .map_err(|_| Problem::invalid("after must be what a page gave as next."))?,
            ),
            (None, offset) => PageStart::Offset(offset.unwrap_or(0)),
        };
        match start {
            PageStart::Offset(offset) if offset > OFFSET_MAX => Err(Problem::invalid(format!(
                "offset must be at most {OFFSET_MAX}; to go further, send the next of a page as after."
            ))),
            start => Ok((limit, start)),
        }
    }
}

/// A page of the indexed pictures, those taken last first.
#[derive(Serialize, ToSchema)]
pub(super) struct ImageList {
    /// The pictures of this page.
    images: Vec<ListedImage>,
    /// How many there are in all (of those that the filter leaves).
    total: u64,
    /// The `after` of the next page; missing behind the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// One picture of a page.
#[derive(Serialize, ToSchema)]
struct ListedImage {
    /// Path of the picture below its folder.
    #[schema(value_type = String)]
    image_name: ImageName,
    /// Where the picture is; with its version in it, so that what it answers may be kept for ever.
    image_url: String,
    /// Where a small JPEG of it is. Add `&width=160`, `320`, `640` or `1280`.
    thumbnail_url: String,
    /// Width in pixels, as it is shown.
    width: u32,
    /// Height in pixels, as it is shown.
    height: u32,
    /// A ThumbHash of it, as base64: 5 to 30 bytes that paint its colours until it is there. Missing if it was not made yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    preview: Option<String>,
    #[serde(flatten)]
    taken: Taken,
}

/// List pictures, those taken last first.
///
/// When a picture was taken is what its header says, else a date in its name or folder, else when the file was changed.
#[utoipa::path(
    get, path = "/api/v1/images", tag = "images", params(ListQuery),
    responses(
        (status = 200, body = ImageList, description = "A page of indexed pictures."),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A parameter is out of bounds.")
    )
)]
pub(super) async fn list_images(
    State(app): State<SharedApp>,
    ApiQuery(asked): ApiQuery<ListQuery>,
) -> Result<axum::Json<ImageList>, Problem> {
    let ((limit, offset, after), filter) = asked.split()?;
    let (limit, start) = Page { limit, offset, after }.bounds::<RecentCursor>()?;
    let page = app.searcher.list(&filter.check(&app)?, limit, start).await?;
    let hashes: Vec<_> = page.images.iter().filter_map(|row| row.hash).collect();
    let previews = previews::of(&app, &hashes).await?;
    let listed = |row: ImageRow| {
        let (hash, facts) = (row.hash?, row.facts?);
        let (image_url, thumbnail_url) =
            (image_url(&row.name, &hash), thumbnail_url(&row.name, &hash));
        Some(ListedImage {
            image_name: row.name,
            image_url,
            thumbnail_url,
            width: facts.width,
            height: facts.height,
            preview: previews.get(&hash).cloned(),
            taken: row.taken.into(),
        })
    };
    Ok(axum::Json(ImageList {
        images: page.images.into_iter().filter_map(listed).collect(),
        total: page.total,
        next: page.next.map(|next| next.to_string()),
    }))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct WhichImage {
    /// Name of the image, as a match or a list has it.
    #[param(min_length = 1)]
    image_name: String,
}

/// When a picture was taken.
#[derive(Serialize, ToSchema)]
pub(super) struct Taken {
    /// RFC 3339; without an offset it is what the camera's clock showed.
    #[schema(example = "2024-05-06T07:08:09+02:00")]
    #[serde(skip_serializing_if = "Option::is_none")]
    taken: Option<String>,
    /// Who says so: `exif_original`, `exif_digitized`, `xmp`, `name` (a date in name or folder), `exif_modified` or `file`.
    /// Missing while the header of a picture that an older version indexed has not been read.
    #[schema(example = "exif_original")]
    #[serde(skip_serializing_if = "Option::is_none")]
    taken_from: Option<String>,
}

impl From<Option<ImageTaken>> for Taken {
    fn from(known: Option<ImageTaken>) -> Self {
        let taken = known.as_ref().map(ImageTaken::to_text);
        Self { taken, taken_from: known.and_then(|known| known.from) }
    }
}

/// A place on earth.
#[derive(Serialize, ToSchema)]
pub(super) struct Gps {
    /// In degrees; north is positive.
    lat: f64,
    /// In degrees; east is positive.
    lon: f64,
    /// Above the sea.
    #[serde(skip_serializing_if = "Option::is_none")]
    altitude_m: Option<f64>,
}

impl From<clip::Gps> for Gps {
    fn from(gps: clip::Gps) -> Self {
        Self { lat: gps.latitude, lon: gps.longitude, altitude_m: gps.altitude_m }
    }
}

/// What is known of one picture.
#[derive(Serialize, ToSchema)]
pub(super) struct ImageInfo {
    /// Path of the picture below its folder.
    #[schema(value_type = String)]
    image_name: ImageName,
    /// Width in pixels, as it is shown.
    width: u32,
    /// Height in pixels, as it is shown.
    height: u32,
    /// The format of the file, for example `jpeg` or `png`.
    format: String,
    /// Size of the file in bytes.
    size_bytes: u64,
    /// When the file was changed last, as RFC 3339.
    modified: String,
    #[serde(flatten)]
    taken: Taken,
    /// Maker and model of the camera.
    #[serde(skip_serializing_if = "Option::is_none")]
    camera: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lens: Option<String>,
    /// Where it was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    gps: Option<Gps>,
    /// Whether it has no colours; missing if that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    grey: Option<bool>,
    /// Folder it is in; missing for those in none.
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
    /// BLAKE3 of the file's bytes, as 64 hexadecimal digits.
    #[schema(value_type = String)]
    content_hash: ContentHash,
    /// Where the picture is; with its version in it, so that what it answers may be kept for ever.
    image_url: String,
    /// Where a small JPEG of it is. Add `&width=160`, `320`, `640` or `1280`.
    thumbnail_url: String,
    /// Where something is that every browser shows: the picture itself, or a large JPEG of it.
    viewable_url: String,
    /// A ThumbHash of it, as base64: 5 to 30 bytes that paint its colours until it is there. Missing if it was not made yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    preview: Option<String>,
    /// The first further images with the same content, in alphabetical order.
    #[schema(value_type = Vec<String>)]
    other_names: Vec<ImageName>,
    /// How many further images have the same content, counted up to 10000. `/api/v1/other-names` has them all.
    other_names_total: u64,
}

/// Get size, format, dates, camera, place and duplicates of one picture.
#[utoipa::path(
    get, path = "/api/v1/image-info", tag = "images", params(WhichImage),
    responses(
        (status = 200, body = ImageInfo, description = "What is known of the picture."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no indexed image of that name."),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "This cannot be the name of an image.")
    )
)]
pub(super) async fn image_info(
    State(app): State<SharedApp>,
    ApiQuery(wanted): ApiQuery<WhichImage>,
) -> Result<axum::Json<ImageInfo>, Problem> {
    let row = find(&app, ImageName::new(wanted.image_name)?).await?.ok_or_else(no_image)?;
    let (Some(hash), Some(facts)) = (row.hash, row.facts) else { return Err(no_image()) };
    let others_max = app.config.search.other_names_max;
    let content = app.catalog.images_of(&[hash], others_max.saturating_add(1)).await?.remove(&hash);
    let (names, total) =
        content.map_or_else(Default::default, |content| (content.names, content.names_total));
    let others = names.into_iter().filter(|name| *name != row.name);
    let other_names = others.take(others_max as usize).collect();
    let known = app.catalog.content_facts(&hash).await?.unwrap_or_default();
    let folder = row.name.as_str().rsplit_once('/').map(|(folder, _)| folder.to_owned());
    Ok(axum::Json(ImageInfo {
        image_url: image_url(&row.name, &hash),
        thumbnail_url: thumbnail_url(&row.name, &hash),
        viewable_url: viewable_url(&row.name, &hash, &facts.format),
        preview: previews::of(&app, &[hash]).await?.remove(&hash),
        image_name: row.name,
        width: facts.width,
        height: facts.height,
        format: facts.format,
        size_bytes: row.fingerprint.size_bytes,
        modified: timestamp(row.fingerprint.modified_ms),
        taken: row.taken.into(),
        camera: known.camera,
        lens: known.lens,
        gps: known.gps.map(Gps::from),
        grey: known.is_grey,
        folder,
        content_hash: hash,
        other_names,
        other_names_total: total.saturating_sub(1),
    }))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Variant {
    /// The first 16 digits of the content hash: if it is the current one, the answer may be kept for ever.
    v: Option<String>,
    /// Width of a thumbnail in pixels, rounded up to 160, 320, 640 or 1280; 320 if missing. With 4096, neither edge is longer than that.
    #[param(format = Int64, maximum = 4_294_967_295_u32)]
    width: Option<u32>,
}

/// Get one picture, or a small JPEG of it.
///
/// With `/thumbnail` after the name it is the small one. Pictures (not thumbnails) are also given in part: one range of bytes.
#[utoipa::path(
    get, path = "/api/v1/images/{*image_name}", tag = "images",
    params(
        ("image_name" = String, Path, description = "Name of the image. It may have slashes, which may be sent as they are. Add /thumbnail for a small JPEG."),
        Variant
    ),
    responses(
        (status = 200, description = "The picture.", content_type = "image/*"),
        (status = 206, description = "The part of the picture that Range asked for.", content_type = "image/*"),
        (status = 307, description = "The picture is at the address of Location, for a short while (`source.s3.presigned`)."),
        (status = 304, description = "It is still the content that If-None-Match names."),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "The name is not UTF-8."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no indexed image of that name."),
        (status = 416, body = Problem, content_type = "application/problem+json", description = "The range lies behind the end of the picture."),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "This cannot be the name of an image, a parameter is out of bounds, or no thumbnail can be made of the picture.")
    )
)]
pub(super) async fn get_image(
    State(app): State<SharedApp>,
    ApiPath(path): ApiPath,
    ApiQuery(variant): ApiQuery<Variant>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let asked = Asked { variant, method, headers };
    // A picture that is really called "thumbnail" in a folder comes first; the suffix is only understood where there is none.
    if let Some(row) = find(&app, ImageName::new(path.as_str())?).await? {
        return serve_picture(&app, &row, &asked).await;
    }
    let name = path.strip_suffix(THUMBNAIL_SUFFIX).ok_or_else(no_image)?;
    let row = find(&app, ImageName::new(name)?).await?.ok_or_else(no_image)?;
    serve_thumbnail(&app, &row, &asked).await
}

/// A request for a picture, beside its name.
struct Asked {
    variant: Variant,
    method: Method,
    headers: HeaderMap,
}

pub(super) async fn find(app: &SharedApp, name: ImageName) -> Result<Option<ImageRow>, Problem> {
    Ok(app.catalog.image(&name).await?)
}

/// Also for images that are known but not readable: what is not searchable is not served.
pub(super) fn no_image() -> Problem {
    Problem::not_found("There is no such image.")
}

pub(super) async fn open(app: &SharedApp, row: &ImageRow) -> Result<Opened, Problem> {
    let source = app.source(&row.source).ok_or_else(no_image)?;
    let opened = match source.open(&row.name).await {
        Err(SourceError::NotFound(_)) => return Err(missing(app, source).await),
        opened => opened?,
    };
    // The bytes on disk are newer than what the hash in the answer's headers speaks of.
    if row.outdated || opened.fingerprint != row.fingerprint {
        return Err(Problem::new(
            ProblemCode::ImageChanged,
            "The picture has just changed; try again in a moment.",
        ));
    }
    Ok(opened)
}

/// A picture that is not found is not gone if its source is away.
async fn missing(app: &SharedApp, source: &dyn Source) -> Problem {
    let Ok(ingest) = ingest(app) else { return no_image() };
    ingest.check_present(source).await.map_or_else(Problem::from, |()| no_image())
}

async fn serve_picture(
    app: &SharedApp,
    row: &ImageRow,
    asked: &Asked,
) -> Result<Response, Problem> {
    let hash = row.hash.filter(|_| row.facts.is_some()).ok_or_else(no_image)?;
    let etag = format!("\"{hash}\"");
    if let Some(unchanged) = not_modified(asked, &etag, &hash) {
        return Ok(unchanged);
    }
    if let Some(elsewhere) = presigned(app, row).await {
        return Ok(elsewhere);
    }
    let size_bytes = row.fingerprint.size_bytes;
    let wanted = Wanted::of(&asked.method, &asked.headers, &etag, size_bytes);
    let (first, length) = match wanted {
        Wanted::Whole => (0, size_bytes),
        Wanted::Part { first, last } => (first, last - first + 1),
        Wanted::Nothing => return Ok(behind_the_end(size_bytes)),
    };
    let (media_type, body) = read(row, open(app, row).await?, first, length).await?;
    let mut response = body.into_response();
    set_headers(&mut response, media_type, &etag, &asked.variant, &hash);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // An SVG or HTML never gets here by content; this is for whatever a browser may think up.
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox"),
    );
    let disposition = format!(
        "inline; filename*=UTF-8''{}",
        percent_encoding::utf8_percent_encode(row.name.file_name(), super::PATH_ESCAPES)
    );
    if let Ok(disposition) = disposition.parse() {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    if let Wanted::Part { first, last } = wanted {
        set_content_range(&mut response, &format!("bytes {first}-{last}/{size_bytes}"));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// The media type, which the first bytes tell, and a part of the picture.
async fn read(
    row: &ImageRow,
    opened: Opened,
    first: u64,
    length: u64,
) -> Result<(&'static str, Body), Problem> {
    let unreadable = |error| SourceError::of(&row.name, &error);
    let mut reader = opened.reader;
    let mut magic = Vec::with_capacity(MAGIC_BYTES);
    let reading = (&mut reader).take(MAGIC_BYTES as u64).read_to_end(&mut magic).await;
    reading.map_err(unreadable)?;
    let media_type = clip::PictureFormat::from_magic(&magic)
        .map_or("application/octet-stream", |format| format.media_type());
    let far = first > MAGIC_BYTES as u64 && reader.jump(first).await.map_err(unreadable)?;
    if far {
        return Ok((media_type, Body::from_stream(pieces(reader.take(length)))));
    }
    let mut whole = std::io::Cursor::new(magic).chain(reader);
    // Not every source can jump.
    let skipped = tokio::io::copy(&mut (&mut whole).take(first), &mut tokio::io::sink()).await;
    skipped.map_err(unreadable)?;
    Ok((media_type, Body::from_stream(pieces(whole.take(length)))))
}

/// Each piece is a trip to a thread that reads, and back.
fn pieces<R: tokio::io::AsyncRead>(reader: R) -> ReaderStream<R> {
    ReaderStream::with_capacity(reader, PIECE_BYTES)
}

/// Sends the client to where the source itself gives the picture away, if it does. That address works for a short while only.
async fn presigned(app: &SharedApp, row: &ImageRow) -> Option<Response> {
    let address = app.source(&row.source)?.presigned(&row.name).await?;
    let mut response = StatusCode::TEMPORARY_REDIRECT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, address.parse().ok()?);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}

fn behind_the_end(size_bytes: u64) -> Response {
    let detail = format!("The picture has only {size_bytes} bytes.");
    let mut response = Problem::new(ProblemCode::RangeNotSatisfiable, detail).into_response();
    set_content_range(&mut response, &format!("bytes */{size_bytes}"));
    response
}

fn set_content_range(response: &mut Response, range: &str) {
    if let Ok(range) = range.parse() {
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
}

async fn serve_thumbnail(
    app: &SharedApp,
    row: &ImageRow,
    asked: &Asked,
) -> Result<Response, Problem> {
    let variant = &asked.variant;
    let (hash, facts) = row.hash.zip(row.facts.as_ref()).ok_or_else(no_image)?;
    let wanted = variant.width.unwrap_or(THUMBNAIL_WIDTH_DEFAULT);
    let width = Thumbnails::width(wanted, facts.width, facts.height);
    let etag = format!("\"{hash}-{width}\"");
    if let Some(unchanged) = not_modified(asked, &etag, &hash) {
        return Ok(unchanged);
    }
    let size_bytes = row.fingerprint.size_bytes;
    let read = async || {
        let mut bytes = Vec::with_capacity(size_bytes as usize);
        let reader = open(app, row).await?.reader;
        let reading = reader.take(size_bytes).read_to_end(&mut bytes).await;
        reading.map_err(|error| SourceError::of(&row.name, &error))?;
        Ok::<_, Problem>(bytes)
    };
    let jpeg = app.thumbnails.get(hash, width, size_bytes, read).await?;
    let mut response = jpeg.into_response();
    set_headers(&mut response, "image/jpeg", &etag, variant, &hash);
    Ok(response)
}

/// 304 if the client has this very content, or any (`*`), already.
fn not_modified(asked: &Asked, etag: &str, hash: &ContentHash) -> Option<Response> {
    let known = asked.headers.get_all(header::IF_NONE_MATCH).iter();
    let mut known = known.filter_map(|known| known.to_str().ok()).flat_map(|list| list.split(','));
    let is_this = |one: &str| one == "*" || one.trim_start_matches("W/") == etag;
    known.any(|one| is_this(one.trim())).then(|| {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        set_headers(&mut response, "image/*", etag, &asked.variant, hash);
        response.headers_mut().remove(header::CONTENT_TYPE);
        response
    })
}

fn set_headers(
    response: &mut Response,
    media_type: &'static str,
    etag: &str,
    variant: &Variant,
    hash: &ContentHash,
) {
    let is_current = variant.v.as_deref() == Some(version(hash).as_str());
    let caching = if is_current { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    if let Ok(etag) = etag.parse() {
        headers.insert(header::ETAG, etag);
    }
}
