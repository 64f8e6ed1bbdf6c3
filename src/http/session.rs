//! `/api/v1/session`: a browser gives its key once and gets a cookie for it, which also its `<img>` and event streams send. The
//! cookie names the key, so that it ends with it; no script can read it, and no other site can have it sent.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::SharedApp;
use super::access::{Caller, Guard, SESSION_COOKIE};
use super::client_address::came_over_tls;
use super::error::Problem;
use super::request::ApiJson;
use super::show_in_folder::Desktop;
use crate::catalog::KeyScope;
use crate::types::now_ms;

/// The key to sign in with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionRequest {
    /// An API key, as `image-search key add` printed it.
    key: String,
}

/// Who asks, and what that allows.
#[derive(Serialize, ToSchema)]
pub(super) struct Session {
    /// Whether this server asks for keys at all.
    key_needed: bool,
    /// Name of the key that was sent or signed in with; missing if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_name: Option<String>,
    /// What may be done: `search`, `feedback`, `upload`, `admin`.
    scopes: Vec<&'static str>,
    /// Whether `/api/v1/show-in-folder` would be done for who asks: the request came from the machine that the server runs on,
    /// and that has a desktop.
    show_in_folder: bool,
}

impl Session {
    fn of(caller: &Caller, show_in_folder: bool) -> Self {
        Self {
            key_needed: !caller.is_open,
            key_name: caller.key.clone(),
            scopes: caller.scopes.iter().map(|scope| scope.as_str()).collect(),
            show_in_folder,
        }
    }
}

/// Ask who one is, and what that allows.
#[utoipa::path(
    get, path = "/api/v1/session", tag = "operation",
    responses((status = 200, body = Session, description = "What may be done with what the request brought."))
)]
pub(super) async fn get_session(
    Extension(caller): Extension<Caller>,
    Extension(desktop): Extension<Arc<Desktop>>,
    request: Request,
) -> axum::Json<Session> {
    let (parts, _) = request.into_parts();
    axum::Json(Session::of(&caller, desktop.is_offered(&parts)))
}

/// Sign in with an API key.
///
/// Sets a cookie that no script can read. It counts until the key is removed, at most `access.session_lifetime_s`.
#[utoipa::path(
    post, path = "/api/v1/session", tag = "operation", request_body = SessionRequest,
    responses(
        (status = 201, body = Session, description = "The cookie is set; what it allows."),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "The body is no JSON, or did not arrive completely."),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "The key is not known here."),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "The body is too large."),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "The body is not sent as JSON."),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A field is missing.")
    )
)]
pub(super) async fn create_session(
    State(app): State<SharedApp>,
    Extension(guard): Extension<Arc<Guard>>,
    Extension(caller): Extension<Caller>,
    Extension(desktop): Extension<Arc<Desktop>>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let show_in_folder = desktop.is_offered(&parts);
    let request = Request::from_parts(parts, body);
    let is_secure =
        came_over_tls(request.extensions(), &headers, &app.config.server.trusted_proxies);
    let ApiJson(wanted) =
        <ApiJson<SessionRequest> as axum::extract::FromRequest<_>>::from_request(request, &app)
            .await?;
    let keys = app.access.keys().await?;
    let Some(key) = keys.find(wanted.key.trim()) else {
        return Ok(guard.refuse_wrong_key(caller.address).await);
    };
    let lifetime_s = app.config.access.session_lifetime_s;
    let token = app.searcher.tokens().sign_session(&key.id, lifetime_s, now_ms() / 1000);
    let token = token.map_err(|error| Problem::internal(&error))?;
    tracing::info!(target: "audit", action = "session_made", key = key.name, address = %caller.address, "somebody signed in");
    let mut scopes = caller.scopes.clone();
    scopes.retain(|scope| matches!(scope, KeyScope::Search | KeyScope::Feedback) && caller.is_open);
    scopes.extend(&key.scopes);
    let caller = Caller { key: Some(key.name.clone()), scopes, ..caller };
    let mut response =
        (StatusCode::CREATED, axum::Json(Session::of(&caller, show_in_folder))).into_response();
    set_cookie(&mut response, &token, lifetime_s, is_secure);
    Ok(response)
}

/// Sign out.
#[utoipa::path(
    delete, path = "/api/v1/session", tag = "operation",
    responses((status = 204, description = "The cookie is gone."))
)]
pub(super) async fn delete_session() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    set_cookie(&mut response, "", 0, false);
    response
}

fn set_cookie(response: &mut Response, token: &str, lifetime_s: u64, is_secure: bool) {
    let secure = if is_secure { "; Secure" } else { "" };
    let cookie = format!(
        "{SESSION_COOKIE}={token}; Path=/; Max-Age={lifetime_s}; HttpOnly; SameSite=Strict{secure}"
    );
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(cookie) = cookie.parse() {
        headers.insert(header::SET_COOKIE, cookie);
    }
}
