//! How it is doing: counts, model, store, rate, and the pictures that failed, with a way to try them again.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::error::Problem;
use super::images::Page;
use super::json::{ApiJson, ApiQuery};
use crate::app::{ModelState, NextModel, Stage};
use crate::catalog::{FailedImage, FailureCode, StateCounts};
use crate::ingest::IngestState;
use crate::types::ImageName;

/// Everything at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct Status {
    /// Of the program.
    version: &'static str,
    model: ModelStatus,
    store: StoreStatus,
    images: ImageCounts,
    ingest: IngestProgress,
    uploads: UploadStatus,
    limits: Limits,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
struct ModelStatus {
    /// `downloading`, `loading`, `waiting` (for the vector store), `ready` or `failed`.
    state: &'static str,
    /// Short name.
    name: Option<String>,
    /// What answers call it.
    model_name: Option<String>,
    revision: Option<String>,
    /// Length of its vectors.
    dim: Option<usize>,
    /// `rten` or `onnxruntime`.
    engine: Option<&'static str>,
    /// What the other engine would give, or why it is not used.
    engine_note: Option<String>,
    /// Per cent downloaded.
    percent: Option<u8>,
    /// The model that will answer when it is ready; the one above answers until then.
    next: Option<NextModelStatus>,
    /// What users should know about this model, or why it failed.
    banner: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct NextModelStatus {
    /// Short name.
    name: String,
    /// `downloading`, or `indexing` while the vectors of the pictures are being made.
    stage: &'static str,
    /// Of that stage.
    percent: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct StoreStatus {
    /// `embedded` or `qdrant`.
    kind: &'static str,
    collection: Option<String>,
    vectors: Option<u64>,
    /// Why it cannot be used, and what to do.
    error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct ImageCounts {
    total: u64,
    pending: u64,
    indexed: u64,
    failed: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct IngestProgress {
    /// `idle`, `indexing` or `paused`.
    #[schema(value_type = String)]
    state: IngestState,
    images_per_second: f64,
    eta_seconds: Option<u64>,
    /// Why it is paused.
    message: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct UploadStatus {
    enabled: bool,
    /// Of one file.
    max_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct Limits {
    text_chars_max: usize,
    limit_max: u32,
    query_picture_bytes_max: usize,
}

/// Counts by state, rate, model, store.
#[utoipa::path(get, path = "/api/v1/status", tag = "operation", responses((status = 200, body = Status)))]
pub(super) async fn get_status(State(app): State<Shared>) -> Result<axum::Json<Status>, Problem> {
    Ok(axum::Json(snapshot(&app).await?))
}

/// The status now.
pub(super) async fn snapshot(app: &Shared) -> Result<Status, Problem> {
    let counts = app.counts().await?;
    let ingest = app.ingest().map(|ingest| ingest.status(counts.pending));
    let images_per_second = ingest.as_ref().map_or(0.0, |ingest| ingest.images_per_second);
    let eta_seconds = (counts.pending > 0 && images_per_second > 0.0)
        .then(|| (counts.pending as f64 / images_per_second).ceil() as u64);
    let config = &app.config;
    Ok(Status {
        version: env!("CARGO_PKG_VERSION"),
        model: model_status(app, counts),
        store: store_status(app).await,
        images: ImageCounts {
            total: counts.pending + counts.indexed + counts.failed,
            pending: counts.pending,
            indexed: counts.indexed,
            failed: counts.failed,
        },
        ingest: IngestProgress {
            state: ingest.as_ref().map_or(IngestState::Paused, |ingest| ingest.state),
            images_per_second: (images_per_second * 10.0).round() / 10.0,
            eta_seconds,
            message: ingest.and_then(|ingest| ingest.message),
        },
        uploads: UploadStatus {
            enabled: config.uploads.enabled,
            max_bytes: config.uploads.file_bytes_max,
        },
        limits: Limits {
            text_chars_max: config.search.text_chars_max,
            limit_max: config.search.limit_max,
            query_picture_bytes_max: config.server.query_picture_bytes_max,
        },
    })
}

fn model_status(app: &Shared, counts: StateCounts) -> ModelStatus {
    match (app.model(), app.searcher.serving()) {
        (ModelState::Ready(located), Some(serving)) => {
            let info = serving.embedder.info();
            ModelStatus {
                state: "ready",
                name: Some(located.id.name),
                model_name: Some(located.display_name),
                revision: Some(located.id.revision),
                dim: Some(info.dim),
                engine: Some(info.engine),
                engine_note: info.engine_note.clone(),
                percent: None,
                next: app.next().map(|next| next_status(next, counts)),
                banner: located.banner,
            }
        }
        (ModelState::Downloading { name, progress }, _) => ModelStatus {
            state: "downloading",
            name: Some(name),
            percent: progress.percent(),
            ..ModelStatus::default()
        },
        (ModelState::Waiting { .. }, _) => {
            ModelStatus { state: "waiting", ..ModelStatus::default() }
        }
        (ModelState::Failed, _) => {
            let banner =
                Some("The model could not be loaded; the server's log says why.".to_owned());
            ModelStatus { state: "failed", banner, ..ModelStatus::default() }
        }
        _ => ModelStatus { state: "loading", ..ModelStatus::default() },
    }
}

fn next_status(next: NextModel, counts: StateCounts) -> NextModelStatus {
    let (stage, percent) = match next.stage {
        Stage::Downloading(progress) => ("downloading", progress.percent()),
        Stage::Indexing(_) => {
            let (done, total) =
                (counts.indexed + counts.failed, counts.indexed + counts.failed + counts.pending);
            ("indexing", (total > 0).then(|| (done * 100 / total) as u8))
        }
    };
    NextModelStatus { name: next.name, stage, percent }
}

async fn store_status(app: &Shared) -> StoreStatus {
    let serving = app.searcher.serving();
    let mut status =
        StoreStatus { kind: app.store.kind(), collection: None, vectors: None, error: None };
    if let Some(serving) = serving {
        status.collection = Some(serving.collection.spec().name.clone());
        match serving.collection.count(None).await {
            Ok(vectors) => status.vectors = Some(vectors),
            Err(error) => status.error = Some(error.to_string()),
        }
    } else if let ModelState::Waiting { reason } = app.model() {
        status.error = Some(reason);
    }
    status
}

/// Pictures that cannot be indexed.
#[derive(Serialize, ToSchema)]
pub(super) struct FailureList {
    failures: Vec<FailureEntry>,
    /// How many there are in all.
    total: u64,
    /// The `after` of the next page; missing behind the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    next: Option<ImageName>,
}

#[derive(Serialize, ToSchema)]
struct FailureEntry {
    #[schema(value_type = String)]
    image_name: ImageName,
    /// Stable, for programs.
    #[schema(value_type = String)]
    code: FailureCode,
    /// For people.
    reason: String,
    /// Tries so far.
    attempts: u32,
}

impl From<FailedImage> for FailureEntry {
    fn from(failed: FailedImage) -> Self {
        Self {
            image_name: failed.name,
            code: failed.failure.code,
            reason: failed.failure.reason,
            attempts: failed.attempts,
        }
    }
}

/// List pictures that could not be indexed, with the reason.
#[utoipa::path(get, path = "/api/v1/failures", tag = "operation", params(Page), responses((status = 200, body = FailureList)))]
pub(super) async fn list_failures(
    State(app): State<Shared>,
    ApiQuery(page): ApiQuery<Page>,
) -> Result<axum::Json<FailureList>, Problem> {
    let (limit, start) = page.bounds::<ImageName>()?;
    let page = app.catalog.failures(limit, start).await?;
    Ok(axum::Json(FailureList {
        failures: page.failures.into_iter().map(FailureEntry::from).collect(),
        total: page.total,
        next: page.next,
    }))
}

/// Which pictures to try again; all if missing.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryRequest {
    image_names: Option<Vec<String>>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct RetryResponse {
    /// How many were failed and are pending now.
    retried: u64,
}

/// Try failed pictures again.
#[utoipa::path(
    post, path = "/api/v1/failures/retry", tag = "operation", request_body = RetryRequest,
    responses((status = 200, body = RetryResponse), (status = 422, body = Problem, content_type = "application/problem+json"))
)]
pub(super) async fn retry_failures(
    State(app): State<Shared>,
    ApiJson(wanted): ApiJson<RetryRequest>,
) -> Result<axum::Json<RetryResponse>, Problem> {
    let names = wanted
        .image_names
        .map(|names| names.into_iter().map(ImageName::new).collect::<Result<Vec<_>, _>>())
        .transpose()?;
    let retried = app.catalog.retry(names.as_deref()).await?;
    if let Some(ingest) = app.ingest() {
        ingest.wake();
    }
    Ok(axum::Json(RetryResponse { retried }))
}
