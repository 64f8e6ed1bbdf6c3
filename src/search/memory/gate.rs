//! Whether learning helps: what is learned from all but the newest ratings is tried on those, which it does not know. Where it does
//! harm with confidence it is switched off, and on again where it helps. Each decision is a version, kept in the catalog, which all
//! processes go by; an operator's decision stays until it is taken back. See decision 31.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::index::{Asker, Index, Rated, RatedQuery};
use super::learned::{ContentKey, REORDERED_MAX};
use super::{SearchError, Searcher};
use crate::catalog::{Decisions, Gate, GateDecision, GateOutcome};
use crate::quality::{Comparison, Verdict, ndcg};
use crate::serving::Answering;
use crate::types::{ContentHash, now_ms};
use crate::vector_store::{Effort, SearchQuery, payload};

/// One in so many ratings is held back, the newest.
const HELD_BACK: usize = 5;
/// If there are so many sources, none has more than its share of what is held back.
const SOURCES: usize = 4;
const CLAIM: &str = "learning-gate";
const CLAIM_TERM: Duration = Duration::from_mins(5);
/// Decisions of operators have no figures; among so many the last one with some is looked for.
const LOOKED_AT: u32 = 20;

/// What was decided last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LearningVersion {
    /// 0 as long as nothing was decided.
    pub number: i64,
    pub is_active: bool,
    /// An operator decided, and the gate does not.
    pub is_fixed: bool,
}

impl Default for LearningVersion {
    fn default() -> Self {
        Self { number: 0, is_active: true, is_fixed: false }
    }
}

impl LearningVersion {
    /// Of the decision that was made last.
    pub fn of(last: Option<&GateDecision>) -> Self {
        last.map_or_else(Self::default, |last| Self {
            number: last.number,
            is_active: last.outcome != GateOutcome::Off,
            is_fixed: last.by_operator && last.outcome != GateOutcome::Auto,
        })
    }
}

/// How it was measured, and what follows.
#[derive(Debug, Clone)]
pub struct JudgedLearning {
    pub comparison: Comparison,
    pub version: LearningVersion,
}

/// What an operator wants.
pub async fn decide_by_hand(
    catalog: &dyn Decisions,
    outcome: GateOutcome,
) -> Result<i64, crate::catalog::CatalogError> {
    let last = catalog.last_decision(Gate::Learning).await?;
    let model = last.map(|last| last.model).unwrap_or_default();
    let decision = GateDecision { by_operator: true, ..GateDecision::now(model, outcome) };
    catalog.decide(Gate::Learning, &decision).await
}

impl Searcher {
    /// What was decided last, as far as this process knows.
    pub fn learning_version(&self) -> LearningVersion {
        *self.memory.version.read()
    }

    /// Goes by what was decided, and decides anew if many ratings came since.
    pub(super) async fn follow_learning_gate(&self) -> Result<(), SearchError> {
        let decisions = self.catalog.decisions(Gate::Learning, LOOKED_AT).await?;
        self.go_by(LearningVersion::of(decisions.first()));
        let every = i64::from(self.memory.config.gate_every_ratings);
        if every == 0 || !self.memory.config.enabled {
            return Ok(());
        }
        let figures = decisions.iter().find_map(|decision| decision.figures.as_deref());
        let known = figures.and_then(Comparison::parse).map_or(0, |known| known.change);
        if self.catalog.memory_state().await?.change - known < every {
            return Ok(());
        }
        let now = now_ms();
        if !self.catalog.claim(CLAIM, now, now + CLAIM_TERM.as_millis() as i64).await? {
            return Ok(());
        }
        let judged = self.judge_learning().await;
        self.catalog.end_claim(CLAIM).await?;
        judged.map(drop)
    }

    /// Whether searches learn, by the configuration and by what was decided.
    pub fn learns(&self) -> bool {
        self.memory.config.enabled && self.learning_version().is_active
    }

    fn go_by(&self, version: LearningVersion) {
        *self.memory.version.write() = version;
        self.metrics.learning_active.set(i64::from(version.is_active));
        self.metrics.learning_version.set(version.number);
    }

    /// Measures now whether learning helps, and decides by it.
    pub async fn judge_learning(&self) -> Result<JudgedLearning, SearchError> {
        let answering = self.serving.borrow().answering().cloned();
        let serving = answering.ok_or(SearchError::ModelNotReady)?;
        let comparison = self.measure_learning(&serving).await?;
        let last = self.catalog.last_decision(Gate::Learning).await?;
        let former = LearningVersion::of(last.as_ref());
        let is_active = match comparison.verdict {
            _ if former.is_fixed => former.is_active,
            Verdict::Better => true,
            Verdict::Worse => false,
            Verdict::Alike | Verdict::TooFew => former.is_active,
        };
        let outcome = if is_active { GateOutcome::On } else { GateOutcome::Off };
        let decision = GateDecision {
            figures: serde_json::to_string(&comparison).ok(),
            by_operator: former.is_fixed,
            ..GateDecision::now(serving.embedder.id().to_string(), outcome)
        };
        let number = self.catalog.decide(Gate::Learning, &decision).await?;
        let version = LearningVersion { number, is_active, is_fixed: former.is_fixed };
        self.go_by(version);
        let found = comparison.in_words();
        if former.is_active == is_active {
            tracing::info!(
                version = number,
                is_active,
                found,
                "learning from ratings was measured on the newest ratings"
            );
        } else if is_active {
            tracing::info!(version = number, found, "searches learn from ratings again");
        } else {
            tracing::warn!(
                version = number,
                found,
                "searches do not learn from ratings any more, since it does harm"
            );
        }
        Ok(JudgedLearning { comparison, version })
    }

    async fn measure_learning(&self, serving: &Answering) -> Result<Comparison, SearchError> {
        let config = &self.memory.config;
        let (ratings, queries, middle, change) = {
            let kept = self.memory.kept.lock().await;
            let ratings: Vec<Arc<Rated>> = kept.ratings.values().cloned().collect();
            (ratings, kept.queries.clone(), kept.middle_of_words.clone(), kept.state.change)
        };
        let (older, held_back) = split(&ratings, config.gate_queries_max);
        let half_life_days = config.half_life_days;
        let known = queries.clone();
        let index =
            tokio::task::spawn_blocking(move || Index::new(&older, &known, middle, half_life_days));
        // It only fails if the program is about to end.
        let Ok(index) = index.await else { return Err(SearchError::ModelNotReady) };
        let mut pairs = Vec::new();
        for rated in &held_back {
            let Some(query) = queries.get(&rated.query) else { continue };
            if let Some(pair) = self.with_and_without(serving, &index, rated, query).await? {
                pairs.push(pair);
            }
        }
        // Each pair is of one rating.
        Ok(Comparison::of(&pairs, pairs.len() as u64, change, config.gate_queries_min))
    }

    /// nDCG@10 of the pictures that a rating judged, in the order without and with what was learned before it; `None` if it cannot
    /// tell them apart.
    async fn with_and_without(
        &self,
        serving: &Answering,
        index: &Index,
        rated: &Rated,
        query: &RatedQuery,
    ) -> Result<Option<(f64, f64)>, SearchError> {
        let asker = Asker {
            viewer: Some(&rated.source),
            besides: None,
            sources_min: self.memory.config.sources_min,
            now_ms: now_ms(),
        };
        let learned = index.learn(&query.vector, query.is_picture, asker);
        if learned.is_empty() {
            return Ok(None);
        }
        let vector = query.vector.to_vec();
        let search =
            SearchQuery { vector, limit: REORDERED_MAX, filter: None, effort: Effort::Usual };
        let found = serving.collection.search(search).await?;
        let mut hits: Vec<(ContentHash, f32)> = found
            .iter()
            .filter_map(|hit| Some((payload::content_hash(&hit.payload)?, hit.score)))
            .collect();
        let gains: HashMap<ContentKey, f32> =
            rated.says.iter().map(|(content, value)| (*content, value.max(0.0))).collect();
        let judged = |hits: &[(ContentHash, f32)]| {
            let gains = hits.iter().filter_map(|(hash, _)| gains.get(&ContentKey::of(hash)));
            ndcg(&gains.copied().collect::<Vec<f32>>())
        };
        let without = judged(&hits);
        learned.reorder(&mut hits);
        Ok(without.zip(judged(&hits)))
    }
}

/// What is learned from, and what it is tried on: the newest, of no source too many.
fn split(ratings: &[Arc<Rated>], most: usize) -> (Vec<Arc<Rated>>, Vec<Arc<Rated>>) {
    let newest = (ratings.len() / HELD_BACK).min(most);
    let (older, newer) = ratings.split_at(ratings.len() - newest);
    let mut of_source: BTreeMap<&str, usize> = BTreeMap::new();
    for rated in newer {
        *of_source.entry(&rated.source).or_default() += 1;
    }
    let share = newer.len().div_ceil(of_source.len().clamp(1, SOURCES));
    let mut taken: HashMap<&str, usize> = HashMap::new();
    let held_back = newer.iter().rev().filter(|rated| {
        let taken = taken.entry(&rated.source).or_default();
        *taken += 1;
        *taken <= share
    });
    let held_back: Vec<Arc<Rated>> = held_back.cloned().collect();
    (older.to_vec(), held_back)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rated(number: usize, source: &str) -> Arc<Rated> {
        Arc::new(Rated {
            impression: number.to_string().into(),
            query: "q".into(),
            source: source.into(),
            says: Vec::new(),
            at_ms: 0,
        })
    }

    #[test]
    fn the_newest_are_held_back_and_nobody_has_more_than_a_share_of_them() {
        let loud = |number: usize| if number < 140 { "many" } else { "loud" };
        let mut ratings: Vec<Arc<Rated>> = (0..190).map(|n| rated(n, loud(n))).collect();
        for number in 190..200 {
            ratings.push(rated(number, ["a", "b", "c"][number % 3]));
        }
        let (older, held_back) = split(&ratings, 300);
        assert_eq!(older.len(), 160);
        let of = |source: &str| held_back.iter().filter(|rated| &*rated.source == source).count();
        assert_eq!((of("loud"), of("many"), held_back.len()), (10, 0, 20));
        assert_eq!(&*held_back[0].impression, "199");
        let alone: Vec<Arc<Rated>> = (0..100).map(|n| rated(n, "alone")).collect();
        assert_eq!(split(&alone, 300).1.len(), 20, "one person alone has them all");
        assert_eq!(split(&alone, 5).1.len(), 5);
        assert!(split(&[], 5).1.is_empty());
    }

    #[test]
    fn what_an_operator_decided_stays_until_it_is_taken_back() {
        let decision = |outcome, by_operator| GateDecision {
            number: 3,
            model: String::new(),
            former: String::new(),
            outcome,
            figures: None,
            by_operator,
            decided_ms: 0,
        };
        let of = |outcome, by_operator| {
            let version = LearningVersion::of(Some(&decision(outcome, by_operator)));
            (version.number, version.is_active, version.is_fixed)
        };
        assert_eq!(LearningVersion::of(None), LearningVersion::default());
        assert_eq!(of(GateOutcome::Off, false), (3, false, false));
        assert_eq!(of(GateOutcome::Off, true), (3, false, true));
        assert_eq!(of(GateOutcome::On, true), (3, true, true));
        assert_eq!(of(GateOutcome::Auto, true), (3, true, false));
    }
}
