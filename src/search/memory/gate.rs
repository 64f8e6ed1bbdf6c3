//! Whether what others said counts. What somebody said themselves counts for them at once; of others, only after replayed ratings
//! found it better with confidence (`trial`), and it is taken back as soon as it looks worse. Each decision is
//! a version, kept in the catalog, which all processes go by; an operator's stays until it is taken back. See decision 32.

use std::time::Duration;

use super::{SearchError, Searcher};
use crate::catalog::{Decisions, Gate, GateDecision, GateOutcome};
use crate::quality::{Comparison, Verdict};
use crate::types::now_ms;

const CLAIM: &str = "learning-gate";
const CLAIM_TERM: Duration = Duration::from_mins(5);
/// Those of operators and of other models are among them; the newest that holds is looked for.
const LOOKED_AT: u32 = 20;

/// What searches learn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LearnsFrom {
    Nothing,
    /// What who searches said themselves.
    #[default]
    Own,
    /// What others agree on, too.
    All,
}

/// What was decided last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LearningVersion {
    /// 0 as long as nothing was decided.
    pub number: i64,
    pub from: LearnsFrom,
    /// An operator decided, and the gate does not.
    pub is_fixed: bool,
}

impl LearningVersion {
    /// By what was decided, newest first, for this model. With `is_one_person` others are oneself (`learning.sources_min` is 1), and
    /// count until that was found worse.
    pub(super) fn of(decisions: &[GateDecision], model: &str, is_one_person: bool) -> Self {
        let unproven = if is_one_person { LearnsFrom::All } else { LearnsFrom::Own };
        let holds = |decision: &&GateDecision| decision.by_operator || decision.model == model;
        let Some(last) = decisions.iter().find(holds) else {
            return Self { from: unproven, ..Self::default() };
        };
        let from = match (last.outcome, last.by_operator) {
            (GateOutcome::Off, true) => LearnsFrom::Nothing,
            (GateOutcome::On, true) => LearnsFrom::All,
            (GateOutcome::On, false) if measured(last).is_some() => LearnsFrom::All,
            (GateOutcome::Off, false) => LearnsFrom::Own,
            _ => unproven,
        };
        let is_fixed = last.by_operator && last.outcome != GateOutcome::Auto;
        Self { number: last.number, from, is_fixed }
    }

    /// After it was measured what others' ratings are worth.
    fn after(self, found: &Comparison, is_one_person: bool) -> LearnsFrom {
        let is_on = self.from == LearnsFrom::All;
        let is_on = match found.verdict {
            _ if self.is_fixed => return self.from,
            Verdict::Better => true,
            Verdict::Worse => false,
            // On needs proof, off only a sign; of one person it is the other way around.
            Verdict::Alike => is_on && (is_one_person || !found.looks_worse()),
            // Where all are content, thumbs tell nothing any more.
            Verdict::TooFew => is_on,
        };
        if is_on { LearnsFrom::All } else { LearnsFrom::Own }
    }
}

/// What was measured, if it was measured as it is now: former versions let own ratings count, and learning was on unless it did harm.
fn measured(decision: &GateDecision) -> Option<Comparison> {
    let found = Comparison::parse(decision.figures.as_deref()?)?;
    found.sources.is_some().then_some(found)
}

/// Whether it is to be measured (again): an operator leaves it to that, or so many ratings came or changed since.
fn is_due(decisions: &[GateDecision], model: &str, change: i64, every: i64) -> bool {
    let known = decisions.iter().filter(|decision| decision.model == model).find_map(measured);
    let is_left_to_it = decisions.first().is_some_and(|last| last.outcome == GateOutcome::Auto);
    is_left_to_it || change - known.map_or(0, |known| known.change) >= every
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
        let answering = self.serving.borrow().answering().cloned();
        let model = answering.map(|serving| serving.embedder.id().to_string());
        let decisions = self.catalog.decisions(Gate::Learning, LOOKED_AT).await?;
        let of_model = model.as_deref().unwrap_or_default();
        self.go_by(LearningVersion::of(&decisions, of_model, self.is_one_person()));
        let every = i64::from(self.memory.config.gate_every_ratings);
        let Some(model) = model.filter(|_| every > 0 && self.memory.config.enabled) else {
            return Ok(());
        };
        let change = self.catalog.memory_state().await?.change;
        if !is_due(&decisions, &model, change, every) {
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

    /// What searches learn from, by the configuration and by what was decided.
    pub fn learns_from(&self) -> LearnsFrom {
        if self.memory.config.enabled { self.learning_version().from } else { LearnsFrom::Nothing }
    }

    /// Whether all who rate are the same one, as the operator says.
    fn is_one_person(&self) -> bool {
        self.memory.config.sources_min == 1
    }

    fn go_by(&self, version: LearningVersion) {
        *self.memory.version.write() = version;
        let from = self.learns_from();
        self.metrics.learning_active.set(i64::from(from != LearnsFrom::Nothing));
        self.metrics.learning_from_others.set(i64::from(from == LearnsFrom::All));
        self.metrics.learning_version.set(version.number);
    }

    /// Measures now whether what others said helps, and decides by it.
    pub async fn judge_learning(&self) -> Result<JudgedLearning, SearchError> {
        let answering = self.serving.borrow().answering().cloned();
        let serving = answering.ok_or(SearchError::ModelNotReady)?;
        let model = serving.embedder.id().to_string();
        let comparison = self.measure_learning(&serving).await?;
        let decisions = self.catalog.decisions(Gate::Learning, LOOKED_AT).await?;
        let former = LearningVersion::of(&decisions, &model, self.is_one_person());
        let from = former.after(&comparison, self.is_one_person());
        let outcome = if from == LearnsFrom::All { GateOutcome::On } else { GateOutcome::Off };
        let decision = GateDecision {
            figures: serde_json::to_string(&comparison).ok(),
            by_operator: former.is_fixed,
            ..GateDecision::now(model, outcome)
        };
        let number = self.catalog.decide(Gate::Learning, &decision).await?;
        let version = LearningVersion { number, from, is_fixed: former.is_fixed };
        self.go_by(version);
        let (found, others_count) = (comparison.in_words(), from == LearnsFrom::All);
        match from {
            _ if from == former.from => tracing::info!(
                version = number,
                others_count,
                found,
                "what others' ratings are worth was measured on the newest"
            ),
            LearnsFrom::All => {
                tracing::info!(
                    version = number,
                    found,
                    "what others' ratings say counts from now on"
                );
            }
            _ => tracing::warn!(
                version = number,
                found,
                "what others' ratings say does not count any more, since it does not help; one's own go on to"
            ),
        }
        Ok(JudgedLearning { comparison, version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = "clip@1";

    fn decision(outcome: GateOutcome, by_operator: bool, figures: Option<&str>) -> GateDecision {
        GateDecision {
            number: 3,
            figures: figures.map(str::to_owned),
            by_operator,
            ..GateDecision::now(MODEL.to_owned(), outcome)
        }
    }

    fn found(verdict: Verdict, gain: f64, change: i64) -> Comparison {
        let (low, high) = (gain - 0.08, gain + 0.08);
        Comparison { verdict, gain, low, high, ..Comparison::of_ratings(&[], change, 0) }
    }

    fn figures(change: i64) -> String {
        serde_json::to_string(&found(Verdict::Better, 0.1, change)).expect("JSON")
    }

    fn of(decisions: &[GateDecision]) -> (i64, LearnsFrom, bool) {
        let version = LearningVersion::of(decisions, MODEL, false);
        (version.number, version.from, version.is_fixed)
    }

    #[test]
    fn others_count_after_a_proof_and_as_an_operator_says() {
        use GateOutcome::{Auto, Off, On};
        assert_eq!(of(&[]), (0, LearnsFrom::Own, false));
        assert_eq!(of(&[decision(On, false, Some(&figures(9)))]), (3, LearnsFrom::All, false));
        assert_eq!(of(&[decision(Off, false, Some(&figures(9)))]), (3, LearnsFrom::Own, false));
        assert_eq!(of(&[decision(Off, true, None)]), (3, LearnsFrom::Nothing, true));
        assert_eq!(of(&[decision(On, true, None)]), (3, LearnsFrom::All, true));
        assert_eq!(of(&[decision(Auto, true, None)]), (3, LearnsFrom::Own, false));
        let one_person =
            |decisions: &[GateDecision]| LearningVersion::of(decisions, MODEL, true).from;
        assert_eq!(one_person(&[]), LearnsFrom::All);
        assert_eq!(one_person(&[decision(Auto, true, None)]), LearnsFrom::All);
        assert_eq!(one_person(&[decision(Off, false, Some(&figures(9)))]), LearnsFrom::Own);
    }

    #[test]
    fn what_former_versions_decided_is_no_proof_and_neither_is_another_models() {
        // As version 0.1 kept it: on by doubt, and measured with one's own ratings.
        let old = r#"{"verdict":"alike","queries":40,"ratings":40,"before":0.6,"after":0.61,"gain":0.01,"low":-0.01,"high":0.03,"improved":9,"worsened":8,"change":200}"#;
        let on = decision(GateOutcome::On, false, Some(old));
        assert_eq!(of(std::slice::from_ref(&on)), (3, LearnsFrom::Own, false));
        assert!(is_due(&[on], MODEL, 200, 50), "it is measured at once");
        let off = decision(GateOutcome::Off, true, Some(old));
        assert_eq!(of(&[off]), (3, LearnsFrom::Nothing, true), "by hand is by hand");
        let known = figures(200);
        let proven = decision(GateOutcome::On, false, Some(&known));
        let other = GateDecision { number: 4, model: "next@1".to_owned(), ..proven.clone() };
        assert_eq!(of(std::slice::from_ref(&other)), (0, LearnsFrom::Own, false));
        assert!(is_due(std::slice::from_ref(&other), MODEL, 200, 50));
        assert_eq!(of(&[other.clone(), proven.clone()]), (3, LearnsFrom::All, false));
        assert!(!is_due(&[other, proven.clone()], MODEL, 249, 50), "each goes by its own");
        assert!(is_due(std::slice::from_ref(&proven), MODEL, 250, 50));
        assert!(is_due(&[decision(GateOutcome::Auto, true, None), proven], MODEL, 201, 50));
    }

    #[test]
    fn on_needs_proof_and_off_only_a_sign_unless_all_are_one_person() {
        let after = |from, verdict, gain, is_one_person| {
            let version = LearningVersion { number: 1, from, is_fixed: false };
            version.after(&found(verdict, gain, 0), is_one_person) == LearnsFrom::All
        };
        let (own, all) = (LearnsFrom::Own, LearnsFrom::All);
        assert!(after(own, Verdict::Better, 0.1, false) && after(all, Verdict::Better, 0.1, false));
        assert!(!after(own, Verdict::Alike, 0.1, false) && after(all, Verdict::Alike, 0.1, false));
        assert!(after(all, Verdict::Alike, -0.019, false), "within chance");
        assert!(!after(all, Verdict::Alike, -0.021, false), "a sign");
        assert!(after(all, Verdict::Alike, -0.021, true) && !after(own, Verdict::Alike, 0.1, true));
        assert!(
            !after(all, Verdict::Worse, -0.1, false) && !after(all, Verdict::Worse, -0.1, true)
        );
        assert!(
            !after(own, Verdict::TooFew, 0.9, false) && after(all, Verdict::TooFew, -0.9, false)
        );
        let fixed = LearningVersion { number: 1, from: LearnsFrom::Nothing, is_fixed: true };
        assert_eq!(fixed.after(&found(Verdict::Better, 0.1, 0), false), LearnsFrom::Nothing);
    }
}
