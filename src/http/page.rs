//! What a browser shows: the page at `/` (built from web/, embedded in the program) and the API's documentation at `/docs`.

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use rust_embed::RustEmbed;

use super::SharedApp;
use super::error::Problem;
use super::request::ApiPath;

const INDEX: &str = "index.html";
/// `EARLY_ADDRESS` in web/src/api/client.ts.
const EARLY: &str =
    "</api/v1/images?limit=60&offset=0>; rel=preload; as=fetch; crossorigin=anonymous";

#[derive(RustEmbed)]
#[folder = "web/dist"]
struct Page;

/// Routes of the page and of the documentation of `document`.
pub(super) fn routes(document: String) -> Router<SharedApp> {
    Router::new()
        .route("/", get(home))
        .route("/quality", get(|State(app): State<SharedApp>| async move { index(&app) }))
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

/// The page. Where it asks for nothing, its first pictures are fetched beside its script, not after it: on a slow line that is a
/// whole way there and back (`early` in web/src/api/client.ts takes them).
async fn home(State(app): State<SharedApp>, RawQuery(query): RawQuery) -> Response {
    let page = index(&app);
    if query.is_some_and(|query| !query.is_empty()) {
        return page;
    }
    ([(header::LINK, HeaderValue::from_static(EARLY))], page).into_response()
}

/// The page says at once whether there will be a note on a small model, so that it need not keep a place for it.
fn index(app: &SharedApp) -> Response {
    let state = app.serving.subscribe();
    let has_none = state.borrow().answering().is_some_and(|now| now.located.banner.is_none());
    let Some(page) = Page::get(INDEX).filter(|_| has_none) else { return file(INDEX) };
    let page = String::from_utf8_lossy(&page.data);
    sent(INDEX, page.replacen("<html ", r#"<html data-note="none" "#, 1).into_bytes())
}

fn file(path: &str) -> Response {
    match Page::get(path) {
        Some(file) => sent(path, file.data.into_owned()),
        None => Problem::not_found("There is no such file.").into_response(),
    }
}

fn sent(path: &str, bytes: Vec<u8>) -> Response {
    // Names below assets/ carry a hash of their content.
    let caching = if path.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let media_type = mime_guess::from_path(path).first_or_octet_stream();
    let headers = [(header::CONTENT_TYPE, media_type.as_ref()), (header::CACHE_CONTROL, caching)];
    (headers, bytes).into_response()
}

fn documentation(path: &str) -> Response {
    // Swagger UI sets styles, draws icons from data addresses and pictures from blobs; scripts still come from here only.
    let policy = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; object-src 'none'; frame-ancestors 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], file(&format!("docs/{path}"))).into_response()
}
