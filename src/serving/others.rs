//! Agreeing with other processes that share catalog and vectors. The catalog says which model pictures are indexed with, the
//! store which one answers. Workers take on what the catalog says; replicas that only answer have the next model ready before
//! it is its turn, and change over when the store does.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::{
    Answering, FOLLOW, NextModel, STORE_RETRY_FIRST, STORE_RETRY_LONGEST, Serving, ServingError,
    ServingState, look_or_told,
};
use crate::backoff::Backoff;
use crate::catalog::UsedModel;
use crate::ingest::Ingest;
use crate::models::{self, Choice, DownloadProgress, LocatedModel};

const NOTHING_YET: &str =
    "no worker has begun to index yet; start one with: image-search serve --role worker";

impl Serving {
    /// The whole life of the model where nothing is indexed: answers with the one that is active, until `stop`.
    pub(super) async fn run_replica(&self, stop: &CancellationToken) -> Result<(), ServingError> {
        let answering = stop.run_until_cancelled(self.answer_patiently()).await;
        let Some(ingest) = self.note_failure(answering.transpose())? else { return Ok(()) };
        ingest.observe();
        stop.run_until_cancelled(self.follow_others()).await;
        Ok(())
    }

    /// Waits for what workers, networks and stores may still bring.
    async fn answer_patiently(&self) -> Result<Arc<Ingest>, ServingError> {
        let mut backoff = Backoff::new(STORE_RETRY_FIRST, STORE_RETRY_LONGEST);
        loop {
            let reason = match self.active_model().await {
                Ok(Some(now)) => {
                    let ingest = self.ingest_with(&now);
                    let (now, shown) = (Box::new(now), Some(ingest.clone()));
                    self.set(ServingState::Answering { now, next: None, ingest: shown });
                    return Ok(ingest);
                }
                Ok(None) => NOTHING_YET.to_owned(),
                Err(error) if error.may_pass() || matches!(error, ServingError::Model(_)) => {
                    tracing::warn!(%error, "searches cannot be answered yet; trying again");
                    error.to_string()
                }
                Err(error) => return Err(error),
            };
            self.set(ServingState::Waiting { reason });
            tokio::time::sleep(backoff.next_pause()).await;
        }
    }

    async fn active_model(&self) -> Result<Option<Answering>, ServingError> {
        match self.parts.store.active().await? {
            Some(active) => self.open_anywhere(&active).await,
            None => Ok(None),
        }
    }

    /// The model whose collection has this name, also if its files have to be fetched. `None`: nobody here knows it.
    pub(super) async fn open_anywhere(
        &self,
        collection: &str,
    ) -> Result<Option<Answering>, ServingError> {
        match self.locate_anywhere(collection).await? {
            Some(located) => Ok(Some(self.open(located).await?)),
            None => Ok(None),
        }
    }

    /// The same without loading it.
    pub(super) async fn locate_anywhere(
        &self,
        collection: &str,
    ) -> Result<Option<LocatedModel>, ServingError> {
        let Some(used) = self.used_as(collection).await? else { return Ok(None) };
        let located = self.obtain_used(&used).await?;
        // A folder that the configuration names now is found again when it does not any more.
        self.models.note(&located);
        Ok(Some(located))
    }

    /// Whether other processes answer with another model than that of this collection, whether or not this one can.
    pub(super) async fn another_answers_elsewhere(&self, name: &str) -> Result<bool, ServingError> {
        if !self.parts.catalog.is_shared() {
            return Ok(false);
        }
        Ok(self.parts.store.active().await?.is_some_and(|active| active != name))
    }

    /// The model that others index with, if this process has no opinion of its own.
    pub(super) async fn agreed_model(&self) -> Result<Option<UsedModel>, ServingError> {
        let catalog = &self.parts.catalog;
        if !catalog.is_shared() || self.parts.config.model != models::AUTO {
            return Ok(None);
        }
        self.indexing_model().await
    }

    async fn indexing_model(&self) -> Result<Option<UsedModel>, ServingError> {
        let catalog = &self.parts.catalog;
        let Some(wanted) = catalog.indexing_model().await? else { return Ok(None) };
        let used = catalog.used_models().await?;
        Ok(used.into_iter().find(|used| used.id.to_string() == wanted))
    }

    /// Files of exactly this model: those that are here, or the published ones.
    pub(super) async fn obtain_used(&self, used: &UsedModel) -> Result<LocatedModel, ServingError> {
        let is_it = |located: &LocatedModel| located.id == used.id;
        if let Some(located) = self.models.find_again(used) {
            return Ok(located);
        }
        if let Ok(Choice::Here(located)) = self.models.find(&self.parts.config.model)
            && is_it(&located)
        {
            return Ok(*located);
        }
        if used.id.name == models::BUNDLED
            && let Ok(Choice::Here(located)) = self.models.find(models::BUNDLED)
            && is_it(&located)
        {
            return Ok(LocatedModel { banner: used.banner.clone(), ..*located });
        }
        let not_here = || ServingError::NotHere(used.id.to_string());
        let entry = self.models.entry(&used.id.name).map_err(|_| not_here())?.clone();
        let progress = Arc::new(DownloadProgress::default());
        let (name, shown) = (entry.name.clone(), progress.clone());
        let is_answering = self.state().answering().is_some();
        if is_answering {
            self.set_next(Some(NextModel::Downloading { name, progress: shown }));
        } else {
            self.set(ServingState::Downloading { name, progress: shown });
        }
        let fetched = self.models.fetch(&entry, false, &progress).await;
        if is_answering {
            self.set_next(None);
        } else {
            self.set(ServingState::Loading);
        }
        Some(fetched?).filter(is_it).ok_or_else(not_here)
    }

    /// Until dropped: what workers prepare is prepared here too, and what they changed to answers.
    async fn follow_others(&self) {
        let (mut hints, mut next_look) = (self.parts.catalog.hints(), Instant::now());
        loop {
            if look_or_told(hints.as_mut()).await {
                next_look = Instant::now();
            }
            if Instant::now() < next_look {
                continue;
            }
            if let Err(error) = self.follow_active().await {
                tracing::debug!(%error, "could not follow the model that answers elsewhere");
            }
            if let Err(error) = self.prepare_next().await {
                tracing::warn!(%error, "the next model cannot be prepared; trying again");
            }
            next_look = Instant::now() + FOLLOW;
        }
    }

    /// Loads the model that workers index with, so that it can answer as soon as it is its turn.
    async fn prepare_next(&self) -> Result<(), ServingError> {
        let Some(wanted) = self.indexing_model().await? else { return Ok(()) };
        let state = self.state();
        if state.indexing().is_none_or(|model| model.located.id == wanted.id) {
            return Ok(());
        }
        if state.answering().is_some_and(|now| now.located.id == wanted.id) {
            self.set_next(None);
            return Ok(());
        }
        // Opening a collection makes it, which is for those who write to it.
        if self.parts.store.dim(&wanted.id.collection_name()).await?.is_none() {
            return Ok(());
        }
        let located = self.obtain_used(&wanted).await?;
        let next = self.open(located).await?;
        tracing::info!(model = %next.located.id, "workers index with another model; it is loaded and answers when they are done");
        self.set_next(Some(NextModel::Indexing(next)));
        Ok(())
    }

    /// Indexes with the model that somebody else has begun to index with.
    pub(super) async fn follow_indexing(&self) -> Result<(), ServingError> {
        if !self.parts.catalog.is_shared() {
            return Ok(());
        }
        let Some(wanted) = self.indexing_model().await? else { return Ok(()) };
        if self.state().indexing().is_none_or(|model| model.located.id == wanted.id) {
            return Ok(());
        }
        let located = self.obtain_used(&wanted).await?;
        let embedder = Arc::new(self.load(&located).await?);
        tracing::info!(model = %located.id, "another process changed the model: indexing with it");
        self.take_on(located, embedder, false).await?.spawn();
        Ok(())
    }
}
