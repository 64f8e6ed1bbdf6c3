//! What a browser shows: the page at `/` (built from web/, embedded in the program) and the API's documentation at `/docs`.

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use rust_embed::RustEmbed;

use super::SharedApp;
use super::error::Problem;
use super::request::ApiPath;

#[derive(RustEmbed)]
#[folder = "web/dist"]
struct Page;

/// Routes of the page and of the documentation of `document`.
pub(super) fn routes(document: String) -> Router<SharedApp> {
    Router::new()
        .route("/", get(|| async { file("index.html") }))
        .route("/quality", get(|| async { file("index.html") }))
        .route(
            "/assets/{*path}",
            get(|ApiPath(path): ApiPath| async move { file(&format!("assets/{path}")) }),
        )
        .route("/favicon.svg", get(|| async { file("favicon.svg") }))
        // At the root, because a service worker may only look after what is below its own address.
        .route("/sw.js", get(|| async { file("sw.js") }))
        .route(
            "/openapi.json",
            get(move || async move { ([(header::CONTENT_TYPE, "application/json")], document) }),
        )
        .route("/docs", get(|| async { Redirect::permanent("/docs/") }))
        .route("/docs/", get(|| async { documentation("index.html") }))
        .route("/docs/{*path}", get(|ApiPath(path): ApiPath| async move { documentation(&path) }))
}

fn file(path: &str) -> Response {
    let Some(file) = Page::get(path) else {
        return Problem::not_found("There is no such file.").into_response();
    };
    // Names below assets/ carry a hash of their content.
    let caching = if path.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let media_type = mime_guess::from_path(path).first_or_octet_stream();
    let headers = [(header::CONTENT_TYPE, media_type.as_ref()), (header::CACHE_CONTROL, caching)];
    (headers, file.data.into_owned()).into_response()
}

fn documentation(path: &str) -> Response {
    // Swagger UI sets styles, draws icons from data addresses and pictures from blobs; scripts still come from here only.
    let policy = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; object-src 'none'; frame-ancestors 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], file(&format!("docs/{path}"))).into_response()
}
