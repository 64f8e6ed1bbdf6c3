//! Whether the next model may answer: rated queries are replayed with the former and with the next one, by one process for all
//! that share the catalog. How it went is told; with `learning.switch_gate = "veto"` a next model that is worse is held back: pictures
//! are indexed with the former one again, until an operator forces the switch or has it measured once more. See decision 30.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::{Answering, NextModel, Serving, ServingError, loading};
use crate::catalog::{CatalogError, Gate, GateDecision, GateOutcome};
use crate::config::SwitchGate;
use crate::ingest::Ingest;
use crate::models::{Choice, LocatedModel};
use crate::quality::{Comparison, Verdict};
use crate::types::now_ms;

/// What is claimed by who replays.
const CLAIM: &str = "switch-gate";
/// Longer than a replay takes; a start frees what its predecessor claimed.
const CLAIM_TERM: Duration = Duration::from_mins(5);
/// Until it is tried again to replay what could not be replayed.
const RETRY: Duration = Duration::from_secs(30);

/// Compares two models by what is known from ratings.
#[async_trait]
pub trait SwitchJudge: Send + Sync + 'static {
    async fn compare_models(
        &self,
        former: &Answering,
        next: &Answering,
    ) -> Result<Comparison, ReplayError>;
}

#[derive(Debug, thiserror::Error)]
#[error("rated queries cannot be replayed: {0}")]
pub struct ReplayError(pub String);

/// How far a switch is.
pub enum Switching {
    /// No model is being changed to any more.
    Done,
    /// It is not the next model's turn yet.
    Waiting,
    /// The next model was worse. The former one is indexed with again, by this, which does not run yet.
    Held(Arc<Ingest>),
}

/// What the gate says of the next model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Granted,
    /// It is being found out, here later or by another process.
    Later,
    Held,
}

impl Serving {
    /// From now on no model answers in the place of another without having been compared.
    pub fn judge_with(&self, judge: Arc<dyn SwitchJudge>) {
        // Set once, when the application is put together.
        let _ = self.judge.set(judge);
    }

    /// Whether nothing is known by which models could be compared.
    pub(super) async fn has_nothing_to_judge_by(&self) -> Result<bool, ServingError> {
        Ok(self.judge.get().is_none() || self.parts.catalog.memory_state().await?.change == 0)
    }

    fn may_veto(&self) -> bool {
        self.parts.config.learning.switch_gate == SwitchGate::Veto
    }

    async fn last_decision(&self) -> Result<Option<GateDecision>, CatalogError> {
        self.parts.catalog.last_decision(Gate::Switch).await
    }

    /// What was decided of the model that is held back, if one is.
    pub async fn held(&self) -> Result<Option<GateDecision>, CatalogError> {
        if self.judge.get().is_none() || !self.may_veto() {
            return Ok(None);
        }
        Ok(self.last_decision().await?.filter(|last| last.outcome == GateOutcome::Held))
    }

    /// What was decided already of a switch from one model to another.
    async fn decided(&self, next: &str, former: &str) -> Result<Option<Admission>, ServingError> {
        let last = self
            .last_decision()
            .await?
            .filter(|last| last.model == next && (last.former.is_empty() || last.former == former));
        Ok(last.and_then(|last| match last.outcome {
            GateOutcome::Held if self.may_veto() => Some(Admission::Held),
            GateOutcome::Passed | GateOutcome::Forced | GateOutcome::Held => {
                Some(Admission::Granted)
            }
            _ => None,
        }))
    }

    /// Whether a model is held back, as it was decided before.
    pub(super) async fn is_held(&self, next: &Answering) -> Result<bool, ServingError> {
        let next = next.located.id.to_string();
        Ok(self.held().await?.is_some_and(|held| held.model == next))
    }

    /// Finds out whether the next model, all of whose vectors are made, may answer.
    pub(super) async fn admission(&self, next: &Answering) -> Result<Admission, ServingError> {
        let Some(judge) = self.judge.get() else { return Ok(Admission::Granted) };
        let name = &next.collection.spec().name;
        let active = self.parts.store.active().await?.filter(|active| active != name);
        let Some(active) = active else { return Ok(Admission::Granted) };
        let Some(former) = self.used_as(&active).await? else { return Ok(Admission::Granted) };
        let (model, former) = (next.located.id.to_string(), former.id.to_string());
        if let Some(decided) = self.decided(&model, &former).await? {
            return Ok(decided);
        }
        if self.has_nothing_to_judge_by().await? {
            return Ok(Admission::Granted);
        }
        let is_early = self.next_replay.lock().is_some_and(|due| Instant::now() < due);
        let now = now_ms();
        let until = now + CLAIM_TERM.as_millis() as i64;
        if is_early || !self.parts.catalog.claim(CLAIM, now, until).await? {
            return Ok(Admission::Later);
        }
        let admission = match self.decided(&model, &former).await {
            Ok(None) => self.replay(&**judge, next, &active, (&model, &former)).await,
            Ok(Some(decided)) => Ok(decided),
            Err(error) => Err(error),
        };
        self.parts.catalog.end_claim(CLAIM).await?;
        admission
    }

    async fn replay(
        &self,
        judge: &dyn SwitchJudge,
        next: &Answering,
        active: &str,
        (model, former): (&str, &str),
    ) -> Result<Admission, ServingError> {
        tracing::info!(
            next = model,
            former,
            "all vectors are made: rated queries are replayed with both models"
        );
        let compared = match self.both_whole(active, next).await {
            Ok((former, next)) => {
                judge.compare_models(&former, &next).await.map_err(ServingError::from)
            }
            Err(error) => Err(error),
        };
        let comparison = match compared {
            Ok(comparison) => Some(comparison),
            Err(error) if self.may_veto() => {
                tracing::warn!(%error, again_in_s = RETRY.as_secs(), "the next model cannot be compared with the former, which goes on; image-search model switch --force lets it answer all the same");
                *self.next_replay.lock() = Some(Instant::now() + RETRY);
                return Ok(Admission::Later);
            }
            Err(error) => {
                tracing::warn!(%error, "the next model answers without having been compared with the former");
                None
            }
        };
        let is_worse = comparison.as_ref().is_some_and(|found| found.verdict == Verdict::Worse);
        let is_held = is_worse && self.may_veto();
        let outcome = if is_held { GateOutcome::Held } else { GateOutcome::Passed };
        let figures = comparison.as_ref().and_then(|found| serde_json::to_string(found).ok());
        self.note_switch(model, former, outcome, figures).await?;
        if let Some(comparison) = &comparison {
            tell(model, former, comparison, is_held);
        }
        Ok(if is_held { Admission::Held } else { Admission::Granted })
    }

    async fn note_switch(
        &self,
        model: &str,
        former: &str,
        outcome: GateOutcome,
        figures: Option<String>,
    ) -> Result<(), ServingError> {
        let former = former.to_owned();
        let made = GateDecision::now(model.to_owned(), outcome);
        let decision = GateDecision { former, figures, ..made };
        self.parts.catalog.decide(Gate::Switch, &decision).await?;
        Ok(())
    }

    /// The model of a collection: the one that answers here, or else loaded for as long as it is needed.
    async fn answering_as(&self, collection: &str) -> Result<Answering, ServingError> {
        let now = self.state().answering().cloned();
        if let Some(now) = now.filter(|now| now.collection.spec().name == collection) {
            return Ok(now);
        }
        let opened = self.open_anywhere(collection).await?;
        opened.ok_or_else(|| ServingError::NotHere(collection.to_owned()))
    }

    /// Both models, also with the half that reads texts, which a process that only indexes has not loaded.
    async fn both_whole(
        &self,
        active: &str,
        next: &Answering,
    ) -> Result<(Answering, Answering), ServingError> {
        if !self.only_indexes.load(Ordering::Relaxed) {
            return Ok((self.answering_as(active).await?, next.clone()));
        }
        let former = self.locate_anywhere(active).await?;
        let former = former.ok_or_else(|| ServingError::NotHere(active.to_owned()))?;
        let whole = async |located: LocatedModel| {
            let embedder = loading::load(&self.parts.config, located.clone(), false).await?;
            self.open_with(located, embedder).await
        };
        Ok((whole(former).await?, whole(next.located.clone()).await?))
    }

    /// Indexes with the model that answers, instead of with the one that was to follow it.
    pub(super) async fn return_to_former(&self) -> Result<Arc<Ingest>, ServingError> {
        let active = self.parts.store.active().await?.ok_or(ServingError::NothingIndexed)?;
        let former = self.answering_as(&active).await?;
        let ingest = self.adopt(former.located, former.embedder).await?;
        self.is_held_back.store(true, Ordering::Relaxed);
        Ok(ingest)
    }

    /// A switch is done: what was decided of it by hand, or under another configuration, counts no more.
    async fn settle(&self, next: &Answering) -> Result<(), ServingError> {
        let model = next.located.id.to_string();
        let open = self.last_decision().await?.filter(|last| last.outcome != GateOutcome::Passed);
        // A process that only indexes comes back to the former model in this way, too: the other one is still held back.
        if open.as_ref().is_some_and(|last| last.model != model) {
            return Ok(());
        }
        self.is_held_back.store(false, Ordering::Relaxed);
        if open.is_some() {
            self.note_switch(&model, "", GateOutcome::Passed, None).await?;
        }
        Ok(())
    }

    /// Instead of a model that is held back: the one that answers meanwhile.
    pub(super) async fn in_place_of(
        &self,
        located: LocatedModel,
    ) -> Result<LocatedModel, ServingError> {
        let model = located.id.to_string();
        let held = self.held().await?.filter(|held| held.model == model);
        let Some(held) = held else { return Ok(located) };
        let used = self.parts.catalog.used_models().await?;
        let Some(former) = used.into_iter().find(|used| used.id.to_string() == held.former) else {
            return Ok(located);
        };
        let former = self.obtain_used(&former).await?;
        tracing::warn!(model, former = %former.id, "the model was worse on rated queries and is held back; image-search model switch --force lets it answer");
        self.is_held_back.store(true, Ordering::Relaxed);
        Ok(former)
    }

    /// Takes on the configured model again after an operator said so.
    pub(super) async fn follow_gate(&self) -> Result<(), ServingError> {
        if !self.is_held_back.load(Ordering::Relaxed) || self.state().next().is_some() {
            return Ok(());
        }
        let wanted =
            |last: &GateDecision| matches!(last.outcome, GateOutcome::Forced | GateOutcome::Again);
        let Some(last) = self.last_decision().await?.filter(wanted) else { return Ok(()) };
        let Ok(Choice::Here(located)) = self.models.find(&self.parts.config.model) else {
            return Ok(());
        };
        if located.id.to_string() != last.model {
            return Ok(());
        }
        let embedder = Arc::new(self.load(&located).await?);
        let ingest = self.adopt(*located, embedder).await?;
        self.is_held_back.store(false, Ordering::Relaxed);
        ingest.spawn();
        Ok(())
    }

    /// Lets the next model answer if all its vectors are made and it is not worse.
    pub async fn finish_switch(&self) -> Result<Switching, ServingError> {
        let state = self.state();
        let Some(NextModel::Indexing(next)) = state.next() else { return Ok(Switching::Done) };
        let catalog = &self.parts.catalog;
        let model = next.located.id.to_string();
        if self.is_held(next).await? {
            return Ok(Switching::Held(self.return_to_former().await?));
        }
        // Somebody else has begun with yet another one.
        if catalog.indexing_model().await?.is_some_and(|wanted| wanted != model) {
            return Ok(Switching::Waiting);
        }
        // Another process may have indexed with the former model until it heard of this one.
        if catalog.awaiting().await? > 0 || catalog.require_vectors(&model).await? > 0 {
            return Ok(Switching::Waiting);
        }
        match self.admission(next).await? {
            Admission::Granted => {}
            Admission::Later => return Ok(Switching::Waiting),
            Admission::Held => return Ok(Switching::Held(self.return_to_former().await?)),
        }
        self.switch_to(next.clone(), state.ingest().cloned()).await?;
        self.settle(next).await?;
        tracing::info!(%model, "this model answers now");
        Ok(Switching::Done)
    }
}

fn tell(model: &str, former: &str, comparison: &Comparison, is_held: bool) {
    let found = comparison.in_words();
    match (comparison.verdict, is_held) {
        (_, true) => {
            tracing::warn!(
                next = model,
                former,
                found,
                "the next model is held back, and the former one goes on; to change all the same: image-search model switch --force"
            );
        }
        (Verdict::Worse, false) => {
            tracing::warn!(
                next = model,
                former,
                found,
                "the next model is worse on rated queries, and answers all the same; learning.switch_gate = \"veto\" would hold it back"
            );
        }
        _ => tracing::info!(
            next = model,
            former,
            found,
            "the next model was compared with the former"
        ),
    }
}
