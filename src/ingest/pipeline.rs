//! The way of an image from its file to its vector: read and hash, decode, embed in batches, store. The stages overlap and
//! every queue between them is bounded. A picture that fails fails alone; if the store fails, everything waits and is kept.
//! Order of storing: note the intent, write the vectors, flush, then complete the rows. So whatever a crash interrupts is
//! either not visible yet and done again, or complete.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clip::Pixels;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::reading::{self, Read};
use super::{IngestError, IngestParts, Shared, pauses};
use crate::catalog::{
    CatalogError, CompletedImage, Failure, FailureCode, Header, LeasedImage, PictureFacts,
};
use crate::decoder::{Share, Whose};
use crate::metrics::Stage;
use crate::source::SourceError;
use crate::types::{ContentHash, Fingerprint, Preview, now_ms};
use crate::vector_store::{Point, payload};

/// How long a batch that is not full waits for one more picture.
const BATCH_LINGER_MS: u64 = 10;
/// Most images stored by one flush.
const STORE_BATCH_MAX: usize = 128;

/// Pixels that are looked at, to tell whether a picture has colours, and how far apart the three numbers of a grey one are.
const GREY_SAMPLES_MAX: usize = 65_536;
const GREY_SPREAD_MAX: u8 = 8;

/// The token under which a batch was leased; alive as long as an item of the batch is.
pub(super) struct Lease {
    pub(super) token: String,
}

/// An image on its way.
pub(super) struct Item {
    pub(super) image: LeasedImage,
    pub(super) lease: Arc<Lease>,
    /// Held for its effect: it is free again when the item is dropped.
    pub(super) _slot: OwnedSemaphorePermit,
}

/// What an image is of.
#[derive(Clone)]
struct Content {
    hash: ContentHash,
    facts: PictureFacts,
    header: Header,
    /// The colours to paint in its place; `None` for a content that was known before.
    preview: Option<Preview>,
}

struct Decoded {
    item: Item,
    content: Content,
    pixels: Pixels,
}

struct Embedded {
    item: Item,
    content: Content,
    /// `None`: this content has a vector already.
    vector: Option<Vec<f32>>,
}

/// How a try ended that did not lead to a vector.
enum Setback {
    /// The picture's fault; trying again is pointless.
    Permanent(Failure),
    /// May go away by itself.
    Transient(Failure),
    /// Being written, or changed since it was listed.
    Unsettled(Fingerprint),
    /// Its source is in trouble or away, so that nothing can be said of the picture: to be tried again after a while.
    Later(Duration),
    Gone,
    /// No picture but this.
    Skipped(&'static str),
    /// Not the picture's fault; it goes back into the queue, and no try is counted.
    Trouble(IngestError),
}

pub(super) struct Pipeline {
    stages: Arc<Stages>,
    tasks: TaskTracker,
}

struct Stages {
    shared: Arc<Shared>,
    stop: CancellationToken,
    decoded: mpsc::Sender<Decoded>,
    embedded: mpsc::Sender<Embedded>,
}

impl Pipeline {
    pub(super) fn start(shared: Arc<Shared>, stop: CancellationToken) -> Self {
        let in_flight_max = shared.parts.config.in_flight_max;
        let (decoded, to_embed) = mpsc::channel(in_flight_max);
        let (embedded, to_store) = mpsc::channel(in_flight_max);
        let tasks = TaskTracker::new();
        tasks.spawn(embed_all(shared.clone(), to_embed, embedded.clone(), stop.clone()));
        tasks.spawn(store_all(shared.clone(), to_store, stop.clone()));
        let stages = Stages { shared, stop, decoded, embedded };
        Self { stages: Arc::new(stages), tasks }
    }

    pub(super) fn push(&self, item: Item) {
        let stages = self.stages.clone();
        self.tasks.spawn(async move {
            let stop = stages.stop.clone();
            let _ = stop.run_until_cancelled(stages.prepare(item)).await;
        });
    }

    /// Waits for all stages to end; called once `stop` is set.
    pub(super) async fn finish(self) {
        drop(self.stages);
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Stages {
    /// Read, hash, decode; then hand over.
    async fn prepare(&self, item: Item) {
        let prepared = self.read_and_decode(&item.image).await;
        match prepared {
            Ok((content, Some(pixels))) => {
                drop(self.decoded.send(Decoded { item, content, pixels }).await);
            }
            Ok((content, None)) => {
                drop(self.embedded.send(Embedded { item, content, vector: None }).await);
            }
            Err(setback) => note_setback(&self.shared, &item, &setback, &self.stop).await,
        }
    }

    async fn read_and_decode(
        &self,
        image: &LeasedImage,
    ) -> Result<(Content, Option<Pixels>), Setback> {
        let decoder = &self.shared.parts.decoder;
        let size_bytes = image.fingerprint.size_bytes.min(decoder.limits().max_bytes);
        let share = decoder.share_for_file(size_bytes).await;
        let started = Instant::now();
        let (bytes, hash) = self.read(image).await?;
        self.shared.parts.metrics.observe(Stage::Read, started.elapsed());
        let known = self
            .shared
            .parts
            .catalog
            .stored_contents(&self.shared.model, &[hash], now_ms())
            .await
            .map_err(|error| Setback::Trouble(error.into()))?;
        if let Some(facts) = known.get(&hash) {
            let header = Header { facts: clip::read_facts(&bytes), is_grey: None };
            return Ok((Content { hash, facts: facts.clone(), header, preview: None }, None));
        }
        let started = Instant::now();
        let (content, pixels) = self.decode(bytes, hash, share).await?;
        self.shared.parts.metrics.observe(Stage::Decode, started.elapsed());
        Ok((content, Some(pixels)))
    }

    async fn read(&self, image: &LeasedImage) -> Result<(Vec<u8>, ContentHash), Setback> {
        let bytes = match self.shared.followed(&image.source) {
            Some(followed) => {
                let bytes_max = self.shared.parts.decoder.limits().max_bytes;
                reading::read(followed, image, bytes_max).await
            }
            // Nobody says where it would have to be read from.
            None => Read::Later(reading::UNCONFIGURED_WAIT),
        };
        match bytes {
            Read::Whole(bytes) => {
                let hash = ContentHash::of(&bytes);
                Ok((bytes, hash))
            }
            Read::Changed(fingerprint) => Err(Setback::Unsettled(fingerprint)),
            Read::NotAPicture(what) => Err(Setback::Skipped(what)),
            Read::TooLarge => {
                let (bytes, limit) =
                    (image.fingerprint.size_bytes, self.shared.parts.decoder.limits().max_bytes);
                let reason = format!(
                    "the file has {bytes} bytes; the limit decode.file_bytes_max is {limit}"
                );
                Err(Setback::Permanent(Failure { code: FailureCode::TooManyBytes, reason }))
            }
            Read::Gone => Err(Setback::Gone),
            Read::Later(wait) => Err(Setback::Later(wait)),
            Read::Failed(error) => Err(read_setback(&error)),
        }
    }

    async fn decode(
        &self,
        bytes: Vec<u8>,
        hash: ContentHash,
        share: Share,
    ) -> Result<(Content, Pixels), Setback> {
        let IngestParts { decoder, embedder, thumbnails, .. } = &self.shared.parts;
        let wanted = embedder.wanted(thumbnails.early_edge());
        let (embedder, thumbnails) = (embedder.clone(), thumbnails.clone());
        let preprocess = move |decoded: clip::Decoded| {
            let preview = thumbnails.make_early(&hash, &decoded);
            let format = decoded.format.as_str().to_owned();
            let facts = PictureFacts { format, width: decoded.width, height: decoded.height };
            let pixels = embedder.preprocess(&decoded);
            let header = Header { is_grey: Some(is_grey(&decoded)), facts: decoded.facts };
            (Content { hash, facts, header, preview }, pixels)
        };
        decoder.decode(Whose::Index, bytes, share, wanted, preprocess).await.map_err(|error| {
            Setback::Permanent(Failure { code: error.code().into(), reason: error.to_string() })
        })
    }
}

/// Whether no pixel has a colour, by a good number of them. What JPEG makes of grey is never quite grey.
fn is_grey(decoded: &clip::Decoded) -> bool {
    let pixels = decoded.rgb.pixels();
    let step = pixels.len() / GREY_SAMPLES_MAX + 1;
    pixels.step_by(step).all(|pixel| {
        let [red, green, blue] = pixel.0;
        red.max(green).max(blue) - red.min(green).min(blue) <= GREY_SPREAD_MAX
    })
}

fn read_setback(error: &SourceError) -> Setback {
    let failure = |code| Failure { code, reason: error.to_string() };
    match error {
        SourceError::NotAFile(_) => Setback::Permanent(failure(FailureCode::NotAFile)),
        SourceError::Denied { .. } => Setback::Transient(failure(FailureCode::PermissionDenied)),
        _ => Setback::Transient(failure(FailureCode::ReadError)),
    }
}

/// Writes down what became of an image that did not get as far as a vector. It keeps its place among those in flight until
/// that is possible: when the catalog has no room, nothing more is taken up.
async fn note_setback(shared: &Shared, item: &Item, setback: &Setback, stop: &CancellationToken) {
    let mut pauses = pauses();
    while let Err(error) = try_note_setback(shared, item, setback).await {
        shared.set_message(Some(error.to_string()));
        let lasting = matches!(&error, IngestError::Catalog(error) if !error.is_transient());
        if lasting || stop.run_until_cancelled(pauses.wait()).await.is_none() {
            // The row stays leased; it is reclaimed when the lease runs out.
            tracing::warn!(image = %item.image.name, %error, "could not note what became of an image");
            return;
        }
    }
    shared.work.notify_one();
}

async fn try_note_setback(
    shared: &Shared,
    item: &Item,
    setback: &Setback,
) -> Result<(), IngestError> {
    let (catalog, image, token) = (&shared.parts.catalog, &item.image, &item.lease.token);
    let config = &shared.parts.config;
    if !matches!(setback, Setback::Unsettled(_)) {
        shared.growing.forget(image.id);
    }
    match setback {
        Setback::Permanent(failure) => {
            tracing::warn!(image = %image.name, code = %failure.code, reason = failure.reason, "cannot index an image");
            shared.parts.metrics.failed.inc();
            catalog.fail(token, image.id, failure, None, now_ms()).await?;
        }
        Setback::Transient(failure) => {
            let attempts = image.attempts + 1;
            let delay_ms = config.retry_delay_ms.saturating_mul(1 << image.attempts.min(16)) as i64;
            let retry_ms =
                (attempts < config.attempts_max).then(|| now_ms().saturating_add(delay_ms));
            tracing::warn!(image = %image.name, code = %failure.code, reason = failure.reason, attempts, again = retry_ms.is_some(), "cannot read an image");
            shared.parts.metrics.failed.inc();
            catalog.fail(token, image.id, failure, retry_ms, now_ms()).await?;
        }
        Setback::Unsettled(fingerprint) => {
            shared.growing.note(image.id);
            catalog.defer(token, image.id, fingerprint, now_ms() + config.settle_ms as i64).await?;
        }
        Setback::Later(wait) => {
            let due_ms = now_ms() + wait.as_millis() as i64;
            catalog.defer(token, image.id, &image.fingerprint, due_ms).await?;
        }
        Setback::Gone => catalog.gone(token, image.id, now_ms()).await?,
        Setback::Skipped(what) => {
            tracing::debug!(image = %image.name, what, "this is no picture");
            catalog.skip(token, image.id, what, now_ms()).await?;
        }
        Setback::Trouble(error) => {
            shared.set_message(Some(error.to_string()));
            let due_ms = now_ms() + config.retry_delay_ms as i64;
            catalog.defer(token, image.id, &image.fingerprint, due_ms).await?;
        }
    }
    Ok(())
}

/// Gathers decoded pictures into batches and has them embedded.
async fn embed_all(
    shared: Arc<Shared>,
    mut decoded: mpsc::Receiver<Decoded>,
    embedded: mpsc::Sender<Embedded>,
    stop: CancellationToken,
) {
    // One at work in each lane of the model, and one ready.
    let at_once = Arc::new(Semaphore::new(shared.parts.embedder.info().lanes + 1));
    let batches = TaskTracker::new();
    loop {
        let Some(Ok(turn)) = stop.run_until_cancelled(at_once.clone().acquire_owned()).await else {
            break;
        };
        let Some(Some(batch)) =
            stop.run_until_cancelled(gather(&mut decoded, shared.parts.batch_max)).await
        else {
            break;
        };
        let (shared, embedded, stop) = (shared.clone(), embedded.clone(), stop.clone());
        batches.spawn(async move {
            let _turn = turn;
            let _ = stop.run_until_cancelled(embed(&shared, batch, &embedded, &stop)).await;
        });
    }
    batches.close();
    batches.wait().await;
}

async fn gather(decoded: &mut mpsc::Receiver<Decoded>, batch_max: usize) -> Option<Vec<Decoded>> {
    let mut batch = vec![decoded.recv().await?];
    while batch.len() < batch_max {
        match tokio::time::timeout(Duration::from_millis(BATCH_LINGER_MS), decoded.recv()).await {
            Ok(Some(one_more)) => batch.push(one_more),
            Ok(None) | Err(_) => break,
        }
    }
    Some(batch)
}

async fn embed(
    shared: &Shared,
    batch: Vec<Decoded>,
    embedded: &mpsc::Sender<Embedded>,
    stop: &CancellationToken,
) {
    // Copies of one picture that arrive together are embedded once.
    let mut pixels = Vec::with_capacity(batch.len());
    let mut place: HashMap<ContentHash, usize> = HashMap::with_capacity(batch.len());
    let mut waiting = Vec::with_capacity(batch.len());
    for Decoded { item, content, pixels: picture } in batch {
        let index = *place.entry(content.hash).or_insert_with(|| {
            pixels.push(picture);
            pixels.len() - 1
        });
        waiting.push((item, content, index));
    }
    let started = Instant::now();
    let count = pixels.len();
    let vectors = match shared.parts.embedder.embed_pictures(pixels).await {
        Ok(vectors) => vectors,
        Err(error) => vec![Err(error); count],
    };
    shared.parts.metrics.observe(Stage::Embed, started.elapsed());
    for (item, content, index) in waiting {
        match vectors.get(index) {
            Some(Ok(vector)) => {
                let vector = Some(vector.clone());
                let _ = embedded.send(Embedded { item, content, vector }).await;
            }
            failed => {
                let reason = match failed {
                    Some(Err(error)) => error.to_string(),
                    _ => "it returned nothing".into(),
                };
                let failure = Failure { code: FailureCode::ModelFailed, reason };
                note_setback(shared, &item, &Setback::Transient(failure), stop).await;
            }
        }
    }
}

/// Stores what is embedded, as much at a time as there is. When the store or the catalog is away, tries until it is back.
async fn store_all(
    shared: Arc<Shared>,
    mut embedded: mpsc::Receiver<Embedded>,
    stop: CancellationToken,
) {
    let mut batch = Vec::new();
    while let Some(1..) =
        stop.run_until_cancelled(embedded.recv_many(&mut batch, STORE_BATCH_MAX)).await
    {
        let mut pauses = pauses();
        // Not cancelled half-way: a shutdown lets a write that is under way come to its end.
        while let Err(error) = store(&shared, &batch).await {
            shared.set_message(Some(error.to_string()));
            if let IngestError::Catalog(CatalogError::OtherModel { .. }) = error {
                leave_to_others(&shared, &batch).await;
                break;
            }
            if stop.run_until_cancelled(pauses.wait()).await.is_none() {
                return;
            }
        }
        if !shared.is_outdated() {
            shared.set_message(None);
        }
        batch.clear();
    }
}

/// Others index these pictures, with a model that is not ours.
async fn leave_to_others(shared: &Shared, batch: &[Embedded]) {
    shared.is_outdated.store(true, Ordering::Relaxed);
    let tokens: HashSet<&str> = batch.iter().map(|image| image.item.lease.token.as_str()).collect();
    for token in tokens {
        if let Err(error) = shared.parts.catalog.release(token).await {
            tracing::debug!(%error, "could not give a lease back; it runs out by itself");
        }
    }
}

async fn store(shared: &Shared, batch: &[Embedded]) -> Result<(), IngestError> {
    let started = Instant::now();
    let (catalog, model) = (&shared.parts.catalog, &shared.model);
    let fresh: HashMap<ContentHash, &Embedded> = batch
        .iter()
        .filter(|image| image.vector.is_some())
        .map(|image| (image.content.hash, image))
        .collect();
    if !fresh.is_empty() {
        let contents: Vec<_> =
            fresh.iter().map(|(hash, image)| (*hash, image.content.facts.clone())).collect();
        catalog.intend_vectors(model, &contents, now_ms()).await?;
        let previews: Vec<_> = fresh
            .values()
            .filter_map(|image| Some((image.content.hash, image.content.preview.clone()?)))
            .collect();
        catalog.keep_previews(&previews).await?;
        let points = fresh.values().filter_map(|image| point(shared, image)).collect();
        let write = shared.begin_write().await?;
        shared.parts.collection.upsert(points).await?;
        shared.end_write(write).await?;
    }
    let mut by_lease: HashMap<&str, Vec<CompletedImage>> = HashMap::new();
    for Embedded { item, content, .. } in batch {
        let Content { hash, facts, header, .. } = content.clone();
        let done = CompletedImage { image_id: item.image.id, hash, facts, header };
        shared.growing.forget(item.image.id);
        by_lease.entry(&item.lease.token).or_default().push(done);
    }
    for (token, done) in by_lease {
        let indexed = catalog.complete(model, token, &done, now_ms()).await?;
        shared.count_indexed(indexed);
    }
    shared.parts.metrics.observe(Stage::Store, started.elapsed());
    Ok(())
}

fn point(shared: &Shared, image: &Embedded) -> Option<Point> {
    let Content { hash, facts: PictureFacts { format, width, height }, .. } = &image.content;
    let payload = payload::of_picture(hash, format, *width, *height);
    let id = shared.parts.embedder.id().point_id(hash);
    Some(Point { id, vector: image.vector.clone()?, payload })
}
