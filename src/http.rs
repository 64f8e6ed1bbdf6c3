//! The HTTP API and the page. Routes stand beside their documentation: each endpoint's file declares both.
//! `error` is the only place that knows statuses of domain errors, `server` the only one that accepts connections.

mod access;
mod client_address;
mod connections;
mod document;
mod downloads;
mod error;
mod events;
mod facets;
mod feedback;
mod filter;
mod forms;
mod gates;
mod hints;
mod images;
mod operations;
mod other_names;
mod other_pages;
mod page;
mod previews;
mod problem_code;
mod quality;
mod query_parts;
mod range;
mod rate_limits;
mod request;
mod search;
pub mod server;
mod session;
mod show_in_folder;
mod status;
mod suggestions;
mod uploads;
pub mod worker;
mod zip;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::trace::TraceLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::ingest::Ingest;
use crate::serving::ServingState;
use crate::types::{ContentHash, ImageName};
use error::{Problem, ProblemCode};
use other_pages::OwnHosts;

/// What handlers share.
type SharedApp = Arc<App>;

/// Only what the page itself brings: no inline script or style, nothing from elsewhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; \
     object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Room beside the files of a multipart body, for its boundaries and other fields.
const MULTIPART_OVERHEAD_BYTES: usize = 65_536;

fn api(app: &SharedApp) -> OpenApiRouter<SharedApp> {
    let config = &app.config;
    let json_body = DefaultBodyLimit::max(config.server.json_bytes_max);
    let hint_body = DefaultBodyLimit::max(config.source.s3.hint_bytes_max);
    let query_body = DefaultBodyLimit::max(
        config.server.query_picture_bytes_max.saturating_add(MULTIPART_OVERHEAD_BYTES),
    );
    let names_body = DefaultBodyLimit::max(
        downloads::body_bytes_max(config.downloads.pictures_max)
            .saturating_add(MULTIPART_OVERHEAD_BYTES),
    );
    let upload_bytes = usize::try_from(config.uploads.file_bytes_max).unwrap_or(usize::MAX);
    let upload_body = DefaultBodyLimit::max(
        upload_bytes
            .saturating_mul(config.uploads.files_max)
            .saturating_add(MULTIPART_OVERHEAD_BYTES),
    );
    OpenApiRouter::with_openapi(document::beginning())
        .merge(OpenApiRouter::new().routes(routes!(search::search_image)).layer(query_body))
        .merge(
            OpenApiRouter::new()
                .routes(routes!(feedback::create_feedback))
                .routes(routes!(feedback::delete_feedback))
                .routes(routes!(status::retry_failures))
                .routes(routes!(facets::facets))
                .routes(routes!(show_in_folder::show_in_folder))
                .routes(routes!(
                    session::get_session,
                    session::create_session,
                    session::delete_session
                ))
                .layer(json_body),
        )
        .merge(OpenApiRouter::new().routes(routes!(hints::post_hints)).layer(hint_body))
        .merge(OpenApiRouter::new().routes(routes!(uploads::upload_images)).layer(upload_body))
        .merge(OpenApiRouter::new().routes(routes!(downloads::download_zip)).layer(names_body))
        .routes(routes!(images::list_images))
        .routes(routes!(images::image_info))
        .routes(routes!(other_names::other_names))
        .routes(routes!(suggestions::suggest))
        .routes(routes!(images::get_image))
        .routes(routes!(uploads::delete_image))
        .routes(routes!(status::get_status))
        .routes(routes!(status::download_model))
        .routes(routes!(events::get_events))
        .routes(routes!(status::list_failures))
        .routes(routes!(quality::quality))
        .routes(routes!(operations::healthz))
        .routes(routes!(operations::readyz))
        .routes(routes!(operations::metrics))
}

/// Everything that is served, on the address that is listened on.
pub fn router(app: Arc<App>, bound: IpAddr) -> Router {
    let (routes, document) = api(&app).split_for_parts();
    let document = document::finished(document).to_pretty_json().unwrap_or_default();
    let own_hosts = Arc::new(OwnHosts::new(&app.config.server, bound));
    let guard = Arc::new(access::Guard::new(&app));
    let listeners = Arc::new(events::Listeners::new(&app));
    let downloads = Arc::new(downloads::Downloads::new(app.config.downloads.concurrent_max));
    let desktop = Arc::new(show_in_folder::Desktop::new(&app));
    let timeout = Duration::from_millis(app.config.server.request_timeout_ms);
    let policy = content_security_policy(&app);
    let compress = SizeAbove::new(1024)
        .and(NotForContentType::const_new("image/"))
        .and(NotForContentType::const_new("application/zip"))
        .and(NotForContentType::SSE);
    routes
        .merge(page::routes(document))
        .fallback(|| async {
            Problem::not_found("There is nothing at this address. The API is described at /docs.")
        })
        .method_not_allowed_fallback(|| async {
            Problem::new(
                ProblemCode::MethodNotAllowed,
                "This address takes another method; see /docs.",
            )
        })
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            with_deadline(timeout, request, next)
        }))
        .layer(middleware::from_fn_with_state(guard, access::guard))
        .layer(middleware::from_fn_with_state(own_hosts, other_pages::refuse))
        .layer(CompressionLayer::new().compress_when(compress))
        .layer(SetResponseHeaderLayer::if_not_present(header::CONTENT_SECURITY_POLICY, policy))
        .layer(set(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(set(header::REFERRER_POLICY, "no-referrer"))
        .layer(set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin"))
        .layer(set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin"))
        .layer(CatchPanicLayer::custom(|_panic: Box<dyn std::any::Any + Send>| {
            Problem::unexplained().into_response()
        }))
        .layer(axum::Extension(listeners))
        .layer(axum::Extension(downloads))
        .layer(axum::Extension(desktop))
        // What went wrong is logged where it is known why; a 503 while the model loads is nothing to shout about.
        .layer(TraceLayer::new_for_http().on_failure(()))
        .with_state(app)
}

/// Pictures come from here, and from where sources send browsers to.
fn content_security_policy(app: &App) -> HeaderValue {
    let origins: Vec<String> =
        app.sources.iter().filter_map(|source| source.presigned_origin()).collect();
    let plain = HeaderValue::from_static(CONTENT_SECURITY_POLICY);
    if origins.is_empty() {
        return plain;
    }
    let images = format!("img-src 'self' {}", origins.join(" "));
    CONTENT_SECURITY_POLICY.replace("img-src 'self'", &images).parse().unwrap_or(plain)
}

fn set(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}

/// Ingestion, which there is once the model is up.
fn ingest(app: &SharedApp) -> Result<Arc<Ingest>, Problem> {
    app.serving.state().ingest().cloned().ok_or_else(|| model_not_ready(app))
}

/// 503, with how far it is.
fn model_not_ready(app: &SharedApp) -> Problem {
    let detail = match app.serving.state() {
        ServingState::Downloading { name, progress } => {
            format!(
                "{}. Searches are answered when it is here; /api/v1/status says how far it is.",
                operations::downloading(&name, progress.percent())
            )
        }
        ServingState::Waiting { .. } => return error::store_unavailable(),
        _ => "The model is not ready yet; try again in a moment.".to_owned(),
    };
    Problem::new(ProblemCode::ModelNotReady, detail)
}

/// Limits the time until an answer begins; a stream that has begun (events, a large picture) may go on.
async fn with_deadline(timeout: Duration, request: Request, next: Next) -> Response {
    match tokio::time::timeout(timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            ProblemCode::DeadlineExceeded,
            format!("The request took longer than {} ms.", timeout.as_millis()),
        )
        .into_response(),
    }
}

/// Everything but unreserved characters and the slash between parts is escaped.
const PATH_ESCAPES: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Address of the picture; with the version in it, the answer may be kept for ever.
fn image_url(name: &ImageName, hash: &ContentHash) -> String {
    format!(
        "/api/v1/images/{}?v={}",
        utf8_percent_encode(name.as_str(), PATH_ESCAPES),
        version(hash)
    )
}

fn thumbnail_url(name: &ImageName, hash: &ContentHash) -> String {
    format!(
        "/api/v1/images/{}/thumbnail?v={}",
        utf8_percent_encode(name.as_str(), PATH_ESCAPES),
        version(hash)
    )
}

/// Address of something that every browser shows: the picture itself, or a large JPEG of it.
fn viewable_url(name: &ImageName, hash: &ContentHash, format: &str) -> String {
    let format = clip::PictureFormat::ALL.into_iter().find(|known| known.as_str() == format);
    if format.is_none_or(clip::PictureFormat::shown_by_browsers) {
        return image_url(name, hash);
    }
    format!("{}&width={}", thumbnail_url(name, hash), crate::thumbnails::LARGE_EDGE)
}

fn version(hash: &ContentHash) -> String {
    let mut hex = hash.to_string();
    hex.truncate(16);
    hex
}
