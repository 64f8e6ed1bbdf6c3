//! For whoever runs it: alive, ready, metrics.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::SharedApp;
use crate::serving::ServingState;

/// Ask whether the process answers.
#[utoipa::path(get, path = "/healthz", tag = "operation", responses((status = 200, description = "The process answers.", body = String)))]
pub(super) async fn healthz() -> &'static str {
    "ok"
}

/// What is ready and what is not.
#[derive(Serialize, ToSchema)]
pub(super) struct Readiness {
    /// Whether all parts are, so that searches are answered.
    ready: bool,
    /// The model that turns words and pictures into vectors.
    model: Check,
    /// The vector store.
    store: Check,
    /// The catalog of images and ratings.
    catalog: Check,
    /// The key that tokens are signed with.
    signing_key: Check,
}

/// How one part is.
#[derive(Serialize, ToSchema)]
struct Check {
    /// Whether it can be used.
    ok: bool,
    /// What is wrong, if something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl Check {
    fn new(ok: bool, otherwise: impl Into<String>) -> Self {
        Self { ok, detail: (!ok).then(|| otherwise.into()) }
    }
}

/// Ask whether searches are answered.
///
/// Model, store and catalog are asked for it.
#[utoipa::path(
    get, path = "/readyz", tag = "operation",
    responses(
        (status = 200, body = Readiness, description = "Searches are answered."),
        (status = 503, body = Readiness, description = "A part is not ready; the body says which, and why.")
    )
)]
pub(super) async fn readyz(State(app): State<SharedApp>) -> (StatusCode, axum::Json<Readiness>) {
    let state = app.serving.state();
    let model = match &state {
        ServingState::Answering { .. } | ServingState::Waiting { .. } => Check::new(true, ""),
        ServingState::Downloading { name, progress } => {
            Check::new(false, downloading(name, progress.percent()))
        }
        ServingState::Loading => Check::new(false, "the model is still loading"),
        ServingState::Failed { .. } => Check::new(
            false,
            "the model could not be loaded; see the log, or run image-search doctor",
        ),
    };
    let (store, catalog) = tokio::join!(app.check_store(), app.catalog.health());
    let store = match (store, state) {
        (Err(reason), _) | (Ok(()), ServingState::Waiting { reason }) => Check::new(false, reason),
        (Ok(()), _) => Check::new(true, ""),
    };
    let catalog = match catalog {
        Ok(()) => Check::new(true, ""),
        Err(error) if error.is_transient() => Check::new(false, error.to_string()),
        Err(_) => Check::new(
            false,
            "the catalog does not answer; see the log, or run image-search doctor",
        ),
    };
    let signing_key = match app.searcher.tokens().check_key() {
        Ok(()) => Check::new(true, ""),
        Err(error) => Check::new(false, error.to_string()),
    };
    let ready = model.ok && store.ok && catalog.ok && signing_key.ok;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(Readiness { ready, model, store, catalog, signing_key }))
}

/// What a download is told to users as.
pub(super) fn downloading(name: &str, percent: Option<u8>) -> String {
    let far =
        percent.map_or_else(|| "has begun".to_owned(), |percent| format!("is at {percent} %"));
    format!("The model {name} is being downloaded, which {far}")
}

/// Read the metrics.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses((status = 200, description = "The metrics in the OpenMetrics text format, which Prometheus reads.", content_type = "application/openmetrics-text", body = String)))]
pub(super) async fn metrics(State(app): State<SharedApp>) -> Response {
    // Refreshes the counts by state; if that fails, the last ones are shown.
    let _ = app.counts().await;
    (
        [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
        app.metrics.encode(),
    )
        .into_response()
}
