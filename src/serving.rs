//! The life of the model, as one state that everybody watches: found or downloaded, loaded, answering, and perhaps another
//! one prepared meanwhile. Search, status, page and readiness subscribe to it; nothing else knows how far the model is.
//! It also follows the store's active collection, so that a switch made by another process is seen here.

mod gate;
mod loading;
mod others;
mod state;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::gate::{ReplayError, SwitchJudge, Switching};
pub use self::loading::load_embedder;
pub use self::state::{Answering, NextModel, ServingState};
use crate::backoff::Backoff;
use crate::catalog::{Catalog, CatalogError, Hint, Hints, UsedModel};
use crate::config::{Config, Role};
use crate::decoder::Decoder;
use crate::embedder::{EmbedError, Embedder};
use crate::ingest::{Ingest, IngestError, IngestParts};
use crate::metrics::Metrics;
use crate::models::{self, Choice, DownloadProgress, LocatedModel, ModelError, Models};
use crate::source::Source;
use crate::thumbnails::Thumbnails;
use crate::types::ModelId;
use crate::vector_store::{Collection, CollectionSpec, StoreError, VectorStore};

/// Pauses between tries to reach a vector store at start.
const STORE_RETRY_FIRST: Duration = Duration::from_millis(250);
const STORE_RETRY_LONGEST: Duration = Duration::from_secs(5);
/// How often it is looked whether the next model can answer, or has arrived.
const LOOK: Duration = Duration::from_millis(500);
/// How often the store is asked which collection is active.
const FOLLOW: Duration = Duration::from_secs(5);

/// Why no model can answer.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// `embed.engine` is no engine.
    #[error("embed.engine: {0}")]
    Engine(String),
    /// `embed.providers` names what is none.
    #[error("embed.providers: {0}")]
    Providers(String),
    /// A command that changes nothing was asked for a model without vectors.
    #[error(
        "there are no vectors of {0} here; index with it first (image-search index --model {0}), or leave --model away"
    )]
    NotIndexed(String),
    #[error(
        "the pictures are indexed with {0}, whose files are not here and cannot be downloaded; name its folder as model, or pull it (image-search model pull)"
    )]
    NotHere(String),
    #[error("nothing is indexed yet; run: image-search index --images DIR")]
    NothingIndexed,
    #[error(transparent)]
    Load(#[from] clip::LoadError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Embed(#[from] EmbedError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Ingest(#[from] IngestError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

impl ServingError {
    /// Whether it may pass by itself: vector store or database is away, or someone has to act there (key, disk, rights).
    fn may_pass(&self) -> bool {
        if let Self::Catalog(error) | Self::Ingest(IngestError::Catalog(error)) = self {
            return matches!(error, CatalogError::Unavailable(_));
        }
        let (Self::Store(error) | Self::Ingest(IngestError::Store(error))) = self else {
            return false;
        };
        matches!(error, StoreError::Unavailable(_) | StoreError::Refused(_))
    }
}

/// The handles that a model works with.
pub struct ServingParts {
    pub config: Config,
    pub catalog: Arc<dyn Catalog>,
    pub store: Arc<dyn VectorStore>,
    pub sources: Vec<Arc<dyn Source>>,
    pub metrics: Arc<Metrics>,
    pub decoder: Arc<Decoder>,
    pub thumbnails: Arc<Thumbnails>,
}

/// See the head of this file.
pub struct Serving {
    parts: ServingParts,
    models: Models,
    state: watch::Sender<ServingState>,
    /// Somebody wants the preferred model at once.
    wanted_now: AtomicBool,
    /// This process indexes and never answers, so texts need not be read.
    only_indexes: AtomicBool,
    /// Compares models before one takes the place of another.
    judge: OnceLock<Arc<dyn SwitchJudge>>,
    /// The configured model was worse than the one that answers.
    is_held_back: AtomicBool,
    /// When a replay that failed is tried again.
    next_replay: Mutex<Option<Instant>>,
}

impl Serving {
    /// In the state [`ServingState::Loading`], until [`Self::run`] or [`Self::bring_up`].
    pub fn new(parts: ServingParts) -> Result<Self, ModelError> {
        let models = Models::open(&parts.config)?;
        let state = watch::Sender::new(ServingState::Loading);
        let [wanted_now, only_indexes, is_held_back] = [(); 3].map(|()| AtomicBool::new(false));
        Ok(Self {
            parts,
            models,
            state,
            wanted_now,
            only_indexes,
            judge: OnceLock::new(),
            is_held_back,
            next_replay: Mutex::default(),
        })
    }

    /// How far the model is, now.
    pub fn state(&self) -> ServingState {
        self.state.borrow().clone()
    }

    /// How far the model is, from now on.
    pub fn subscribe(&self) -> watch::Receiver<ServingState> {
        self.state.subscribe()
    }

    /// The whole life of a server's model, until `stop`. Returns early only if no model can ever answer.
    pub async fn run(&self, stop: &CancellationToken) -> Result<(), ServingError> {
        if self.parts.config.role == Role::Api {
            return self.run_replica(stop).await;
        }
        self.only_indexes.store(!self.parts.config.role.answers(), Ordering::Relaxed);
        let brought_up = stop.run_until_cancelled(self.bring_up_patiently()).await;
        let Some(ingest) = brought_up.transpose()? else { return Ok(()) };
        ingest.spawn();
        stop.run_until_cancelled(self.follow()).await;
        Ok(())
    }

    /// For a command: finds (or downloads) and loads the model, opens its collection and puts ingestion together, which
    /// the command runs. Searches are answered from then on: by this model, or, while its vectors are still being made, by
    /// the one that answered before.
    pub async fn bring_up(&self) -> Result<Arc<Ingest>, ServingError> {
        let brought_up = async {
            let (located, embedder) = self.obtain().await?;
            self.adopt(located, embedder).await
        };
        self.note_failure(brought_up.await)
    }

    /// For a command that changes nothing: answers with the model whose vectors are active, or with the named one if it
    /// has vectors.
    pub async fn only_answer(&self) -> Result<(), ServingError> {
        let answering = self.note_failure(self.indexed_model().await)?;
        self.set(ServingState::Answering { now: Box::new(answering), next: None, ingest: None });
        Ok(())
    }

    /// A vector store that is away, or refuses, is waited for.
    async fn bring_up_patiently(&self) -> Result<Arc<Ingest>, ServingError> {
        let brought_up = async {
            let mut backoff = Backoff::new(STORE_RETRY_FIRST, STORE_RETRY_LONGEST);
            let mut obtained = None;
            loop {
                match self.obtain_and_adopt(&mut obtained).await {
                    Err(error) if error.may_pass() => {
                        let pause = backoff.next_pause();
                        tracing::warn!(%error, again_in_ms = pause.as_millis() as u64, "what is stored cannot be used; trying again");
                        self.set(ServingState::Waiting { reason: error.to_string() });
                        tokio::time::sleep(pause).await;
                    }
                    adopted => return adopted,
                }
            }
        };
        self.note_failure(brought_up.await)
    }

    /// What was loaded once is kept for the next try.
    async fn obtain_and_adopt(
        &self,
        obtained: &mut Option<(LocatedModel, Arc<Embedder>)>,
    ) -> Result<Arc<Ingest>, ServingError> {
        let (located, embedder) = match obtained {
            Some(model) => model.clone(),
            None => obtained.insert(self.obtain().await?).clone(),
        };
        self.adopt(located, embedder).await
    }

    fn note_failure<T>(&self, outcome: Result<T, ServingError>) -> Result<T, ServingError> {
        if let Err(error) = &outcome {
            self.set(ServingState::Failed { reason: error.to_string() });
        }
        outcome
    }

    fn set(&self, state: ServingState) {
        self.state.send_replace(state);
    }

    /// The configured model, downloaded if need be, and loaded. Only `auto` has a substitute.
    async fn obtain(&self) -> Result<(LocatedModel, Arc<Embedder>), ServingError> {
        if let Some(agreed) = self.agreed_model().await? {
            let located = self.obtain_used(&agreed).await?;
            let embedder = Arc::new(self.load(&located).await?);
            return Ok((located, embedder));
        }
        let wanted = self.parts.config.model.as_str();
        let located = match self.models.find(wanted)? {
            Choice::Here(located) => *located,
            Choice::Elsewhere(entry) => {
                let progress = Arc::new(DownloadProgress::default());
                let name = entry.name.clone();
                self.set(ServingState::Downloading { name, progress: progress.clone() });
                let fetched = self.models.fetch(&entry, wanted == models::AUTO, &progress).await;
                self.set(ServingState::Loading);
                match fetched {
                    Err(error) if wanted == models::AUTO => self.models.stand_in(&error)?,
                    fetched => fetched?,
                }
            }
        };
        let located = self.in_place_of(located).await?;
        let embedder = Arc::new(self.load(&located).await?);
        Ok((located, embedder))
    }

    async fn load(&self, located: &LocatedModel) -> Result<Embedder, ServingError> {
        let pictures_only = self.only_indexes.load(Ordering::Relaxed);
        loading::load(&self.parts.config, located.clone(), pictures_only).await
    }

    /// Makes `located` the model that pictures are indexed with, by all processes, and that answers as soon as it can. What
    /// indexed before has ended; what is returned does not run yet.
    pub async fn adopt(
        &self,
        located: LocatedModel,
        embedder: Arc<Embedder>,
    ) -> Result<Arc<Ingest>, ServingError> {
        self.take_on(located, embedder, true).await
    }

    /// The same, perhaps after another process decided it.
    async fn take_on(
        &self,
        located: LocatedModel,
        embedder: Arc<Embedder>,
        decides: bool,
    ) -> Result<Arc<Ingest>, ServingError> {
        let spec = collection_spec(embedder.id(), embedder.info().dim);
        let collection = self.open_collection(&spec).await?;
        let adopted = Answering { located, embedder, collection };
        let former = self.state().ingest().cloned();
        if let Some(former) = &former {
            former.shut_down().await;
        }
        let started = self.index_with(&adopted, decides).await;
        if started.is_err() && former.is_some() {
            self.go_back(decides).await;
        }
        started
    }

    /// The former model goes on indexing after another one could not begin.
    async fn go_back(&self, decides: bool) {
        let ServingState::Answering { now, .. } = self.state() else { return };
        if decides
            && let Err(error) = self.parts.catalog.index_with(&now.located.id.to_string()).await
        {
            tracing::warn!(%error, "could not say that pictures are indexed with the former model again");
        }
        let ingest = self.ingest_with(&now);
        ingest.spawn();
        self.set(ServingState::Answering { now, next: None, ingest: Some(ingest) });
    }

    async fn index_with(
        &self,
        adopted: &Answering,
        decides: bool,
    ) -> Result<Arc<Ingest>, ServingError> {
        let LocatedModel { id, display_name, banner, .. } = &adopted.located;
        let used = UsedModel {
            id: id.clone(),
            display_name: display_name.clone(),
            banner: banner.clone(),
        };
        self.models.note(&adopted.located);
        self.parts.catalog.remember_model(&used).await?;
        if decides {
            self.parts.catalog.index_with(&id.to_string()).await?;
        }
        let ingest = self.ingest_with(adopted);
        ingest.recover().await?;
        let name = &adopted.collection.spec().name;
        let (former, is_elsewhere) =
            (self.former(name).await?, self.another_answers_elsewhere(name).await?);
        let is_first = former.is_none() && !is_elsewhere;
        if is_first
            || (self.parts.catalog.awaiting().await? == 0 && self.has_nothing_to_judge_by().await?)
        {
            self.switch_to(adopted.clone(), Some(ingest.clone())).await?;
            return Ok(ingest);
        }
        let now = former.unwrap_or_else(|| adopted.clone());
        tracing::info!(next = %id, "the vectors of another model are made in the background; until then the former one answers");
        let next = Some(Box::new(NextModel::Indexing(adopted.clone())));
        let shown = Some(ingest.clone());
        self.set(ServingState::Answering { now: Box::new(now), next, ingest: shown });
        Ok(ingest)
    }

    fn ingest_with(&self, model: &Answering) -> Arc<Ingest> {
        let ServingParts { config, catalog, store, sources, metrics, decoder, thumbnails } =
            &self.parts;
        Arc::new(Ingest::new(IngestParts {
            sources: sources.clone(),
            catalog: catalog.clone(),
            store: store.clone(),
            check_interval_ms: config.vector_store.check_interval_ms,
            collection: model.collection.clone(),
            embedder: model.embedder.clone(),
            metrics: metrics.clone(),
            config: config.ingest.clone(),
            decoder: decoder.clone(),
            thumbnails: thumbnails.clone(),
            batch_max: config.embed.batch_max,
        }))
    }

    /// The model that answered before `next`, if it is another one that still can.
    async fn former(&self, next: &str) -> Result<Option<Answering>, ServingError> {
        if let Some(now) = self.state().answering() {
            return Ok((now.collection.spec().name != next).then(|| now.clone()));
        }
        if !self.parts.config.role.answers() {
            return Ok(None);
        }
        match self.parts.store.active().await?.filter(|active| active != next) {
            Some(active) => self.open_used(&active).await,
            None => Ok(None),
        }
    }

    /// The model whose collection has this name, if it was ever used here.
    async fn used_as(&self, collection: &str) -> Result<Option<UsedModel>, ServingError> {
        let used = self.parts.catalog.used_models().await?;
        Ok(used.into_iter().find(|used| used.id.collection_name() == collection))
    }

    /// The model whose collection has this name, if it was used here and its files can still be found and loaded.
    async fn open_used(&self, collection: &str) -> Result<Option<Answering>, ServingError> {
        let used = self.used_as(collection).await?;
        let Some(located) = used.and_then(|used| self.models.find_again(&used)) else {
            return Ok(None);
        };
        match self.open(located.clone()).await {
            Ok(answering) => Ok(Some(answering)),
            Err(error) => {
                tracing::warn!(%error, model = %located.id, "a model that answered before cannot be used any more");
                Ok(None)
            }
        }
    }

    async fn open(&self, located: LocatedModel) -> Result<Answering, ServingError> {
        let embedder = self.load(&located).await?;
        self.open_with(located, embedder).await
    }

    async fn open_with(
        &self,
        located: LocatedModel,
        embedder: Embedder,
    ) -> Result<Answering, ServingError> {
        let spec = collection_spec(embedder.id(), embedder.info().dim);
        let collection = self.parts.store.open(&spec).await?;
        Ok(Answering { located, embedder: Arc::new(embedder), collection })
    }

    /// See [`Self::only_answer`].
    async fn indexed_model(&self) -> Result<Answering, ServingError> {
        let wanted = self.parts.config.model.as_str();
        if wanted == models::AUTO {
            let active = self.parts.store.active().await?.ok_or(ServingError::NothingIndexed)?;
            let opened = self.open_used(&active).await?;
            return opened.ok_or(ServingError::NotIndexed(active));
        }
        let located = match self.models.find(wanted)? {
            Choice::Here(located) => *located,
            Choice::Elsewhere(entry) => {
                let (name, megabytes) = (entry.name.clone(), entry.megabytes);
                return Err(ModelError::NotHere { name, megabytes }.into());
            }
        };
        // Opening a collection makes it; who only searches must not.
        let name = located.id.collection_name();
        if self.parts.store.dim(&name).await?.is_none() {
            return Err(ServingError::NotIndexed(wanted.to_owned()));
        }
        self.open(located).await
    }

    /// From the store's pointer on, a restart finds the same model; so that comes first.
    async fn switch_to(
        &self,
        model: Answering,
        ingest: Option<Arc<Ingest>>,
    ) -> Result<(), ServingError> {
        let name = model.collection.spec().name.clone();
        self.parts.store.activate(&name).await?;
        if let Err(error) = self.parts.catalog.announce(Hint::Model).await {
            tracing::debug!(%error, "other processes find out by themselves which model answers");
        }
        tracing::debug!(collection = name, "answering");
        self.set(ServingState::Answering { now: Box::new(model), next: None, ingest });
        Ok(())
    }

    /// Opens the collection. A damaged one is moved out of the way and made again from the pictures.
    async fn open_collection(
        &self,
        spec: &CollectionSpec,
    ) -> Result<Arc<dyn Collection>, StoreError> {
        let store = &self.parts.store;
        match store.open(spec).await {
            Err(damage @ StoreError::Damaged { .. }) => {
                let kept_as = store.set_aside(&spec.name).await?;
                tracing::error!(%damage, kept_as, "the vectors are computed again from the pictures; the damaged files can be deleted");
                store.open(spec).await
            }
            opened => opened,
        }
    }

    /// Lets a model that is being prepared answer when it can, looks for the preferred model of `auto` until it is here, and
    /// sees what other processes switched to.
    async fn follow(&self) {
        let interval = Duration::from_millis(self.parts.config.models.auto_retry_interval_ms);
        let (mut next_try, mut next_look_at_store) = (Instant::now() + interval, Instant::now());
        let mut hints = self.parts.catalog.hints();
        loop {
            if look_or_told(hints.as_mut()).await {
                next_look_at_store = Instant::now();
            }
            match self.finish_switch().await {
                Ok(Switching::Held(ingest)) => ingest.spawn(),
                Ok(Switching::Done | Switching::Waiting) => {}
                Err(error) => {
                    tracing::warn!(%error, "could not change over to the next model; trying again");
                }
            }
            if let Err(error) = self.follow_gate().await {
                tracing::warn!(%error, "could not begin with the model that was held back; trying again");
            }
            let is_wanted = self.wanted_now.swap(false, Ordering::Relaxed);
            let due =
                (is_wanted || Instant::now() >= next_try) && !self.parts.config.models.offline;
            if self.wants_preferred() && (due || self.preferred_is_here()) {
                match self.fetch_preferred().await {
                    Ok(ingest) => ingest.spawn(),
                    Err(error) => {
                        tracing::warn!(%error, again_in_s = interval.as_secs(), "the preferred model cannot be had yet");
                    }
                }
                next_try = Instant::now() + interval;
            }
            if Instant::now() >= next_look_at_store {
                if let Err(error) = self.follow_active().await {
                    tracing::debug!(%error, "could not ask the store which collection is active");
                }
                if let Err(error) = self.follow_indexing().await {
                    tracing::warn!(%error, "could not take on the model that another process indexes with; trying again");
                }
                next_look_at_store = Instant::now() + FOLLOW;
            }
        }
    }

    /// Answers from the store's active collection, if another process made another one active. What indexes goes on.
    async fn follow_active(&self) -> Result<(), ServingError> {
        if !self.parts.config.role.answers() {
            return Ok(());
        }
        let state = self.state();
        let ServingState::Answering { now, next, ingest } = &state else { return Ok(()) };
        let Some(active) = self.parts.store.active().await? else { return Ok(()) };
        let is_ours = |model: &Answering| model.collection.spec().name == active;
        if is_ours(now) {
            return Ok(());
        }
        let (other, next) = match next.as_deref() {
            Some(NextModel::Indexing(model)) if is_ours(model) => (Some(model.clone()), None),
            _ => (self.open_anywhere(&active).await?, next.clone()),
        };
        let Some(other) = other else { return Ok(()) };
        tracing::info!(model = %other.located.id, "another process changed the model: answering with it");
        self.set(ServingState::Answering { now: Box::new(other), next, ingest: ingest.clone() });
        Ok(())
    }

    fn preferred_is_here(&self) -> bool {
        matches!(self.models.find(models::AUTO), Ok(Choice::Here(_)))
    }

    /// Whether `auto` had to take the bundled model, so that the preferred one is still wanted.
    fn wants_preferred(&self) -> bool {
        let state = self.state.borrow();
        let is_bundled = |answering: &Answering| answering.located.id.name == models::BUNDLED;
        self.parts.config.model == models::AUTO
            && state.answering().is_some_and(is_bundled)
            && state.next().is_none()
            && !self.is_held_back.load(Ordering::Relaxed)
    }

    /// Name and megabytes of the model that the bundled one stands in for, if it can be downloaded.
    pub fn available(&self) -> Option<(String, u64)> {
        let models = &self.parts.config.models;
        if models.offline || !self.wants_preferred() {
            return None;
        }
        let entry = self.models.entry(&models.preferred).ok()?;
        Some((entry.name.clone(), entry.megabytes))
    }

    /// Tries at once to get it, instead of when it is time for the next try.
    pub fn fetch_now(&self) {
        self.wanted_now.store(true, Ordering::Relaxed);
    }

    /// Downloads the preferred model while another one answers, then makes its vectors.
    async fn fetch_preferred(&self) -> Result<Arc<Ingest>, ServingError> {
        let located = match self.models.find(models::AUTO)? {
            Choice::Here(located) => *located,
            Choice::Elsewhere(entry) => {
                let progress = Arc::new(DownloadProgress::default());
                let (name, downloading) = (entry.name.clone(), progress.clone());
                self.set_next(Some(NextModel::Downloading { name, progress: downloading }));
                let fetched = self.models.fetch(&entry, true, &progress).await;
                self.set_next(None);
                fetched?
            }
        };
        let embedder = Arc::new(self.load(&located).await?);
        self.adopt(located, embedder).await
    }

    fn set_next(&self, model: Option<NextModel>) {
        self.state.send_modify(|state| {
            if let ServingState::Answering { next, .. } = state {
                *next = model.map(Box::new);
            }
        });
    }

    /// Names of collections that are, or may be, being filled: that of the configured model if it is here, and of the next.
    pub fn being_built(&self) -> Vec<String> {
        let configured = match self.models.find(&self.parts.config.model) {
            Ok(Choice::Here(located)) => Some(located.id.collection_name()),
            _ => None,
        };
        let next = match self.state().next() {
            Some(NextModel::Indexing(next)) => Some(next.collection.spec().name.clone()),
            _ => None,
        };
        configured.into_iter().chain(next).collect()
    }

    /// Stops what indexes.
    pub async fn shut_down(&self) {
        if let Some(ingest) = self.state().ingest() {
            ingest.shut_down().await;
        }
    }
}

/// Waits until it is time to look. Says whether another process made another model answer.
async fn look_or_told(hints: Option<&mut Hints>) -> bool {
    let told = async {
        let is_told = match hints {
            Some(hints) => hints.model.changed().await.is_ok(),
            None => false,
        };
        if !is_told {
            std::future::pending::<()>().await;
        }
    };
    tokio::time::timeout(LOOK, told).await.is_ok()
}

fn collection_spec(id: &ModelId, dim: usize) -> CollectionSpec {
    CollectionSpec::of_pictures(id.collection_name(), dim)
}

#[cfg(test)]
mod tests;
