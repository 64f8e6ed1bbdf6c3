//! How it is doing: counts, model, store, rate, and the pictures that failed, with a way to try them again.

use std::borrow::Cow;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::SharedApp;
use super::access::Caller;
use super::error::{Problem, ProblemCode};
use super::images::Page;
use super::other_pages::is_from_own_page;
use super::request::{ApiJson, ApiQuery};
use crate::catalog::{
    FailedImage, FailureCode, KeyScope, ProcessRow, SourceRow, StateCounts, UnnameableFile,
};
use crate::ingest::IngestState;
use crate::moment::timestamp;
use crate::quality::{Comparison, Decision};
use crate::search::LearnsFrom;
use crate::serving::{Answering, NextModel, ServingState};
use crate::types::{ImageName, now_ms};

/// Everything at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct Status {
    /// Version of the program.
    version: &'static str,
    /// The model that turns words and pictures into vectors.
    model: ModelStatus,
    /// The vector store.
    store: StoreStatus,
    /// How many images there are, by state.
    images: ImageCounts,
    /// Where pictures come from.
    sources: Vec<SourceStatus>,
    /// What indexing is doing.
    ingest: IngestProgress,
    /// What searches learn from.
    learning: LearningStatus,
    /// The processes that share the catalog; empty where one has it for itself.
    processes: Vec<ProcessStatus>,
    /// Whether pictures may be added over HTTP.
    uploads: UploadStatus,
    /// What requests may ask for.
    limits: Limits,
}

/// Which model answers, and how far it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
struct ModelStatus {
    /// How far the model is.
    state: ModelStateName,
    /// Short name of the model.
    name: Option<String>,
    /// What answers of searches call it.
    model_name: Option<String>,
    /// Version of the model, or a digest of its files.
    revision: Option<String>,
    /// Length of its vectors.
    dim: Option<usize>,
    /// What computes: `rten` or `onnxruntime`.
    engine: Option<&'static str>,
    /// What computes inside ONNX Runtime, as in `embed.providers`.
    provider: Option<&'static str>,
    /// What the other engine would give, or why it is not used.
    engine_note: Option<String>,
    /// How much of it is downloaded, in per cent.
    percent: Option<u8>,
    /// The model that will answer when it is ready; the one above answers until then.
    next: Option<NextModelStatus>,
    /// A model that was to answer next, and is held back since it was worse on rated queries.
    held: Option<HeldModelStatus>,
    /// What users should know about this model, or why it failed.
    banner: Option<String>,
    /// The model that `POST /api/v1/model/download` fetches, while the small bundled one stands in for it.
    available: Option<AvailableModel>,
}

/// A model that is held back; `image-search model switch --force` lets it answer all the same.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct HeldModelStatus {
    /// Its name and version.
    model: String,
    /// Since when, as RFC 3339.
    since: String,
    /// How it was compared with the model that answers.
    comparison: Option<Comparison>,
}

/// What searches learn from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
struct LearningStatus {
    /// Whether they learn from the ratings of who searches.
    active: bool,
    /// Whether they learn from what others agree on, too: after it was measured to help, or as an operator says.
    from_others: bool,
    /// Number of the decision that it goes by; 0 as long as nothing was decided.
    version: i64,
    /// Whether an operator decided, whatever is measured.
    by_operator: bool,
}

/// A model that can be downloaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct AvailableModel {
    /// Short name of the model.
    name: String,
    /// About how large the download is.
    megabytes: u64,
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

/// The model that is to answer next.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct NextModelStatus {
    /// Short name of the model.
    name: String,
    /// What is being done with it.
    stage: NextModelStage,
    /// How much of that stage is done, in per cent.
    percent: Option<u8>,
}

/// The vector store and the collection that answers.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct StoreStatus {
    /// What it is: `embedded` or `qdrant`.
    kind: &'static str,
    /// Name of the collection that answers searches.
    collection: Option<String>,
    /// How many vectors that collection has.
    vectors: Option<u64>,
    /// Why it cannot be used, and what to do.
    error: Option<String>,
}

/// How many images there are, by state.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct ImageCounts {
    /// All that are pending, indexed or failed.
    total: u64,
    /// Those that are still to be indexed.
    pending: u64,
    /// Those that searches find.
    indexed: u64,
    /// Those that cannot be indexed; `/api/v1/failures` says why.
    failed: u64,
    /// Files that are no pictures; `/api/v1/failures` says of what kinds.
    skipped: u64,
    /// Gone from their source. They are kept for `ingest.forget_after_days`, in case they come back.
    missing: u64,
    /// Of sources that are away now. They are found as before.
    away: u64,
    /// Of sources that are not in the configuration any more. They are hidden, and kept for as long.
    unconfigured: u64,
}

/// Where pictures come from.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct SourceStatus {
    /// Where it is, for example the folder's path.
    location: String,
    /// Whether it cannot be looked at as a whole, for example because a disk is not plugged in. What is known of its pictures
    /// is kept, and it is picked up again by itself.
    away: bool,
    /// Why it is away.
    reason: Option<String>,
    /// Since when it is away, as RFC 3339.
    away_since: Option<String>,
    /// Whether it is in the configuration.
    configured: bool,
    /// How many images of it are known and not missing.
    images: u64,
}

impl From<SourceRow> for SourceStatus {
    fn from(row: SourceRow) -> Self {
        Self {
            location: if row.location.is_empty() { row.id } else { row.location },
            away: row.away.is_some(),
            away_since: row.away.as_ref().map(|away| timestamp(away.since_ms)),
            reason: row.away.map(|away| away.reason),
            configured: row.unconfigured_since_ms.is_none(),
            images: row.images,
        }
    }
}

/// What indexing is doing.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct IngestProgress {
    /// Whether it works, waits, or has nothing to do.
    state: IngestStateName,
    /// How many images it indexed a second, lately.
    images_per_second: f64,
    /// In how many seconds it will be done, at that rate.
    eta_seconds: Option<u64>,
    /// Why it is paused.
    message: Option<String>,
}

/// One of the processes that share a catalog.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct ProcessStatus {
    /// Name of its data folder in the catalog.
    instance: String,
    /// What it does: `api`, `worker` or `all`.
    role: String,
    /// Name of its machine.
    host: String,
    /// Version of its program.
    version: String,
    /// Since when it runs, as RFC 3339.
    started: String,
    /// Its last sign of life, as RFC 3339; there is one every 5 seconds.
    last_seen: String,
    /// Whether that is not long ago.
    alive: bool,
    /// How many images it indexed since its start.
    images_indexed: u64,
    /// How many images it indexed a second, lately.
    images_per_second: f64,
    /// Why it pauses.
    message: Option<String>,
}

impl ProcessStatus {
    fn new(row: ProcessRow, now_ms: i64) -> Self {
        Self {
            alive: row.is_alive(now_ms),
            started: timestamp(row.started_ms),
            last_seen: timestamp(row.seen_ms),
            images_per_second: to_tenths(row.images_per_second),
            instance: row.instance,
            role: row.role,
            host: row.host,
            version: row.version,
            images_indexed: row.images_indexed,
            message: row.message,
        }
    }
}

/// Whether pictures may be added over HTTP.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct UploadStatus {
    /// Whether uploads and deletions are switched on.
    enabled: bool,
    /// How large one file may be, in bytes.
    max_bytes: u64,
}

/// What requests may ask for.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct Limits {
    /// How many characters the text of a search may have.
    text_chars_max: usize,
    /// How many matches a search may ask for.
    limit_max: u32,
    /// How large a picture to search by may be, in bytes.
    query_picture_bytes_max: usize,
    /// How many parts one query may have (`queries`).
    queries_max: usize,
}

/// Get the status: counts by state, rate, model, store.
#[utoipa::path(get, path = "/api/v1/status", tag = "operation", responses((status = 200, body = Status, description = "The status now.")))]
pub(super) async fn get_status(
    State(app): State<SharedApp>,
) -> Result<axum::Json<Status>, Problem> {
    Ok(axum::Json(snapshot(&app).await?))
}

/// The status now.
pub(super) async fn snapshot(app: &SharedApp) -> Result<Status, Problem> {
    let counts = app.counts().await?;
    let serving = app.serving.state();
    let ingest = serving.ingest().map(|ingest| ingest.status(counts.pending));
    let now = now_ms();
    let (processes, images_per_second) = if app.catalog.is_shared() {
        let processes = app.catalog.processes().await?;
        let alive = processes.iter().filter(|process| process.is_alive(now));
        let rate = alive.map(|process| process.images_per_second).sum();
        (processes, rate)
    } else {
        (Vec::new(), ingest.as_ref().map_or(0.0, |ingest| ingest.images_per_second))
    };
    let eta_seconds = (counts.pending > 0 && images_per_second > 0.0)
        .then(|| (counts.pending as f64 / images_per_second).ceil() as u64);
    let config = &app.config;
    let sources = app.catalog.sources().await?;
    let away = sources.iter().filter(|source| source.away.is_some()).map(|source| source.images);
    Ok(Status {
        version: env!("CARGO_PKG_VERSION"),
        model: ModelStatus {
            available: available(app),
            held: held(app).await?,
            ..model_status(&serving, counts)
        },
        store: store_status(app, &serving).await,
        images: ImageCounts {
            total: counts.pending + counts.indexed + counts.failed,
            pending: counts.pending,
            indexed: counts.indexed,
            failed: counts.failed,
            skipped: counts.skipped,
            missing: counts.missing,
            away: away.sum(),
            unconfigured: counts.unconfigured,
        },
        sources: sources.into_iter().map(SourceStatus::from).collect(),
        ingest: IngestProgress {
            state: ingest.as_ref().map_or(IngestStateName::Paused, |ingest| ingest.state.into()),
            images_per_second: to_tenths(images_per_second),
            eta_seconds,
            message: ingest.and_then(|ingest| ingest.message),
        },
        learning: learning_status(app),
        processes: processes.into_iter().map(|row| ProcessStatus::new(row, now)).collect(),
        uploads: UploadStatus {
            enabled: config.uploads.enabled,
            max_bytes: config.uploads.file_bytes_max,
        },
        limits: Limits {
            text_chars_max: config.search.text_chars_max,
            limit_max: config.search.limit_max,
            query_picture_bytes_max: config.server.query_picture_bytes_max,
            queries_max: config.search.queries_max,
        },
    })
}

async fn held(app: &SharedApp) -> Result<Option<HeldModelStatus>, Problem> {
    Ok(app.serving.held().await?.map(Decision::from).map(|held| HeldModelStatus {
        model: held.model,
        since: held.decided,
        comparison: held.comparison,
    }))
}

fn learning_status(app: &SharedApp) -> LearningStatus {
    let version = app.searcher.learning_version();
    let from = app.searcher.learns_from();
    LearningStatus {
        active: from != LearnsFrom::Nothing,
        from_others: from == LearnsFrom::All,
        version: version.number,
        by_operator: version.is_fixed,
    }
}

fn available(app: &SharedApp) -> Option<AvailableModel> {
    let (name, megabytes) = app.serving.available()?;
    Some(AvailableModel { name, megabytes })
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
        provider: info.provider,
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

fn to_tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

async fn store_status(app: &SharedApp, serving: &ServingState) -> StoreStatus {
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

/// A page of the pictures that cannot be indexed.
#[derive(Serialize, ToSchema)]
pub(super) struct FailureList {
    /// The pictures of this page, in order of their names.
    failures: Vec<FailureEntry>,
    /// How many there are in all.
    total: u64,
    /// The `after` of the next page; missing behind the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    next: Option<ImageName>,
    /// Files that are no pictures, which is no failure: what they are, and how many.
    skipped: Vec<SkippedKind>,
    /// Files whose names are no names of images, for example because they are not UTF-8; up to 1000 of each folder.
    unnameable: Vec<UnnameableEntry>,
}

/// A file that is left out because of its name.
#[derive(Serialize, ToSchema)]
struct UnnameableEntry {
    /// Its path below its folder; what cannot be shown is replaced.
    shown: String,
    /// What is wrong with the name, for people.
    reason: String,
}

/// Files of one kind that are no pictures.
#[derive(Serialize, ToSchema)]
struct SkippedKind {
    /// The kind of files, for example `video` or `document`.
    what: String,
    /// How many files there are of that kind.
    files: u64,
}

/// One picture that cannot be indexed.
#[derive(Serialize, ToSchema)]
struct FailureEntry {
    /// Path of the picture below its folder.
    #[schema(value_type = String)]
    image_name: ImageName,
    code: FailureCode,
    /// Why it cannot be indexed, for people.
    reason: String,
    /// How often it was tried.
    attempts: u32,
    /// Whether trying again can help while the file stays as it is.
    retryable: bool,
}

impl PartialSchema for FailureCode {
    fn schema() -> RefOr<Schema> {
        let words = FailureCode::ALL.iter().map(FailureCode::as_str);
        let description = "Tells why a picture cannot be indexed, for programs. Codes are never renamed; later versions may add some.";
        let words = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words));
        words.description(Some(description)).into()
    }
}

impl ToSchema for FailureCode {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("FailureCode")
    }
}

impl From<FailedImage> for FailureEntry {
    fn from(failed: FailedImage) -> Self {
        Self {
            image_name: failed.name,
            retryable: failed.failure.code.is_retryable(),
            code: failed.failure.code,
            reason: failed.failure.reason,
            attempts: failed.attempts,
        }
    }
}

/// List pictures that could not be indexed, with the reason.
#[utoipa::path(
    get, path = "/api/v1/failures", tag = "operation", params(Page),
    responses(
        (status = 200, body = FailureList, description = "A page of failures."),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A parameter is out of bounds.")
    )
)]
pub(super) async fn list_failures(
    State(app): State<SharedApp>,
    ApiQuery(page): ApiQuery<Page>,
) -> Result<axum::Json<FailureList>, Problem> {
    let (limit, start) = page.bounds::<ImageName>()?;
    let page = app.catalog.failures(limit, start).await?;
    let (skipped, unnameable) = (app.catalog.skipped().await?, app.catalog.unnameable().await?);
    let entry = |file: UnnameableFile| UnnameableEntry { shown: file.shown, reason: file.reason };
    Ok(axum::Json(FailureList {
        failures: page.failures.into_iter().map(FailureEntry::from).collect(),
        total: page.total,
        next: page.next,
        skipped: skipped.into_iter().map(|(what, files)| SkippedKind { what, files }).collect(),
        unnameable: unnameable.into_iter().map(entry).collect(),
    }))
}

/// Which pictures to try again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryRequest {
    /// Names of failed pictures; all of them if missing.
    image_names: Option<Vec<String>>,
}

/// What is tried again.
#[derive(Serialize, ToSchema)]
pub(super) struct RetryResponse {
    /// How many pictures were failed and are pending now.
    retried: u64,
}

/// Try failed pictures again.
///
/// Only for the server's own page, and for programs with the API key or with the server's own address as `Origin`.
#[utoipa::path(
    post, path = "/api/v1/failures/retry", tag = "operation", request_body = RetryRequest,
    responses(
        (status = 200, body = RetryResponse, description = "They are tried again, as soon as it is their turn."),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "The body is no JSON, or did not arrive completely."),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "The request comes neither from the server's own page nor with the API key."),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "The body is too large."),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "The body is not sent as JSON."),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "This cannot be the name of an image."),
        (status = 507, body = Problem, content_type = "application/problem+json", description = "The disk is full.")
    )
)]
pub(super) async fn retry_failures(
    State(app): State<SharedApp>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    ApiJson(wanted): ApiJson<RetryRequest>,
) -> Result<axum::Json<RetryResponse>, Problem> {
    check_asker(&caller, &headers)?;
    let names = wanted
        .image_names
        .map(|names| names.into_iter().map(ImageName::new).collect::<Result<Vec<_>, _>>())
        .transpose()?;
    let retried = app.catalog.retry(names.as_deref()).await?;
    tracing::info!(target: "audit", action = "failures_retried", key = caller.name(), address = %caller.address, retried, "failed pictures are tried again");
    if let Some(ingest) = app.serving.state().ingest() {
        ingest.wake();
    }
    Ok(axum::Json(RetryResponse { retried }))
}

fn check_asker(caller: &Caller, headers: &HeaderMap) -> Result<(), Problem> {
    if is_from_own_page(headers) || caller.may(KeyScope::Admin) {
        return Ok(());
    }
    Err(Problem::new(
        ProblemCode::CrossSiteRequest,
        "Only the server's own page may ask for this. Programs send the API key as Authorization: Bearer …, or the server's address as Origin.",
    ))
}

/// Download the preferred model now.
///
/// While the small bundled model stands in for it: `model.available` of the status says so. The status shows how far it is. Only for
/// the server's own page, and for programs with the API key or with the server's own address as `Origin`.
#[utoipa::path(
    post, path = "/api/v1/model/download", tag = "operation", security((), ("api_key" = [])),
    responses(
        (status = 202, body = AvailableModel, description = "It is being downloaded."),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "The request comes neither from the server's own page nor with the API key."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no model to download.")
    )
)]
pub(super) async fn download_model(
    State(app): State<SharedApp>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<(StatusCode, axum::Json<AvailableModel>), Problem> {
    check_asker(&caller, &headers)?;
    let model = available(&app).ok_or_else(|| {
        Problem::not_found(
            "There is no model to download: the configured one answers already or is on its way, or downloads are off (models.offline).",
        )
    })?;
    app.serving.fetch_now();
    Ok((StatusCode::ACCEPTED, axum::Json(model)))
}
