//! How it is doing: counts, model, store, rate, and the pictures that failed, with a way to try them again.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::error::Problem;
use super::images::Page;
use super::json::{ApiJson, ApiQuery};
use crate::catalog::{FailedImage, FailureCode, StateCounts};
use crate::ingest::IngestState;
use crate::serving::{Answering, NextModel, ServingState};
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
    state: ModelStateName,
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

/// How far the model is: it is looked for and loaded, downloaded first if it is not here, waits for the vector store, answers,
/// or cannot be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ModelStateName {
    #[default]
    Loading,
    Downloading,
    Waiting,
    Ready,
    Failed,
}

/// What is done with the next model: its files are fetched, or the vectors of the pictures are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum NextModelStage {
    Downloading,
    Indexing,
}

/// What indexing does: nothing is pending, pictures are on their way, or something is away and it goes on by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum IngestStateName {
    Idle,
    Indexing,
    Paused,
}

impl From<IngestState> for IngestStateName {
    fn from(state: IngestState) -> Self {
        match state {
            IngestState::Idle => Self::Idle,
            IngestState::Indexing => Self::Indexing,
            IngestState::Paused => Self::Paused,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct NextModelStatus {
    /// Short name.
    name: String,
    stage: NextModelStage,
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
    state: IngestStateName,
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
    let serving = app.serving.state();
    let ingest = serving.ingest().map(|ingest| ingest.status(counts.pending));
    let images_per_second = ingest.as_ref().map_or(0.0, |ingest| ingest.images_per_second);
    let eta_seconds = (counts.pending > 0 && images_per_second > 0.0)
        .then(|| (counts.pending as f64 / images_per_second).ceil() as u64);
    let config = &app.config;
    Ok(Status {
        version: env!("CARGO_PKG_VERSION"),
        model: model_status(&serving, counts),
        store: store_status(app, &serving).await,
        images: ImageCounts {
            total: counts.pending + counts.indexed + counts.failed,
            pending: counts.pending,
            indexed: counts.indexed,
            failed: counts.failed,
        },
        ingest: IngestProgress {
            state: ingest.as_ref().map_or(IngestStateName::Paused, |ingest| ingest.state.into()),
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

fn model_status(serving: &ServingState, counts: StateCounts) -> ModelStatus {
    match serving {
        ServingState::Answering { now, next, .. } => ModelStatus {
            next: next.as_deref().map(|next| next_status(next, counts)),
            ..answering_status(now)
        },
        ServingState::Downloading { name, progress } => ModelStatus {
            state: ModelStateName::Downloading,
            name: Some(name.clone()),
            percent: progress.percent(),
            ..ModelStatus::default()
        },
        ServingState::Waiting { .. } => {
            ModelStatus { state: ModelStateName::Waiting, ..ModelStatus::default() }
        }
        ServingState::Failed { .. } => {
            let banner =
                Some("The model could not be loaded; the server's log says why.".to_owned());
            ModelStatus { state: ModelStateName::Failed, banner, ..ModelStatus::default() }
        }
        ServingState::Loading => ModelStatus { ..ModelStatus::default() },
    }
}

fn answering_status(answering: &Answering) -> ModelStatus {
    let (located, info) = (&answering.located, answering.embedder.info());
    ModelStatus {
        state: ModelStateName::Ready,
        name: Some(located.id.name.clone()),
        model_name: Some(located.display_name.clone()),
        revision: Some(located.id.revision.clone()),
        dim: Some(info.dim),
        engine: Some(info.engine),
        engine_note: info.engine_note.clone(),
        banner: located.banner.clone(),
        ..ModelStatus::default()
    }
}

fn next_status(next: &NextModel, counts: StateCounts) -> NextModelStatus {
    let (stage, percent) = match next {
        NextModel::Downloading { progress, .. } => {
            (NextModelStage::Downloading, progress.percent())
        }
        NextModel::Indexing(_) => {
            let (done, total) =
                (counts.indexed + counts.failed, counts.indexed + counts.failed + counts.pending);
            (NextModelStage::Indexing, (total > 0).then(|| (done * 100 / total) as u8))
        }
    };
    NextModelStatus { name: next.name().to_owned(), stage, percent }
}

async fn store_status(app: &Shared, serving: &ServingState) -> StoreStatus {
    let mut status =
        StoreStatus { kind: app.store.kind(), collection: None, vectors: None, error: None };
    match serving {
        ServingState::Answering { now, .. } => {
            status.collection = Some(now.collection.spec().name.clone());
            match now.collection.count(None).await {
                Ok(vectors) => status.vectors = Some(vectors),
                Err(error) => status.error = Some(error.to_string()),
            }
        }
        ServingState::Waiting { reason } => status.error = Some(reason.clone()),
        _ => {}
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
    if let Some(ingest) = app.serving.state().ingest() {
        ingest.wake();
    }
    Ok(axum::Json(RetryResponse { retried }))
}
