//! What gates decided: whether the next model may answer, and whose ratings count. Numbered for each gate, so that all processes
//! that share a catalog go by the same decision, and kept for a while, so that one can see how it came to it.

use async_trait::async_trait;

use super::CatalogError;
use crate::types::now_ms;

/// Older decisions of a gate are forgotten.
pub(super) const DECISIONS_KEPT: i64 = 100;

/// What is decided about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Whether the next model may answer in the place of the former.
    Switch,
    /// Whose ratings searches learn from.
    Learning,
}

impl Gate {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Switch => "switch",
            Self::Learning => "learning",
        }
    }
}

/// How it was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateOutcome {
    /// The next model may answer.
    Passed,
    /// The former model goes on.
    Held,
    /// The next model may answer, whatever is measured.
    Forced,
    /// Whatever was decided before, the next model is to be measured once more.
    Again,
    /// Searches learn from what others said, too.
    On,
    /// They learn from what who searches said, if the gate decided, and from nothing, if an operator did.
    Off,
    /// The gate is to decide anew: what an operator decided counts no more.
    Auto,
}

const OUTCOMES: [(GateOutcome, &str); 7] = [
    (GateOutcome::Passed, "passed"),
    (GateOutcome::Held, "held"),
    (GateOutcome::Forced, "forced"),
    (GateOutcome::Again, "again"),
    (GateOutcome::On, "on"),
    (GateOutcome::Off, "off"),
    (GateOutcome::Auto, "auto"),
];

impl GateOutcome {
    pub fn as_str(self) -> &'static str {
        OUTCOMES.iter().find(|(outcome, _)| *outcome == self).map_or("", |(_, word)| word)
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        OUTCOMES.iter().find(|(_, known)| *known == word).map(|(outcome, _)| *outcome)
    }
}

/// One decision.
#[derive(Debug, Clone, PartialEq)]
pub struct GateDecision {
    /// Given by the catalog when it is noted.
    pub number: i64,
    /// The model (with its revision) that is let in, or that answers.
    pub model: String,
    /// The one that it would follow; empty for any, or none.
    pub former: String,
    pub outcome: GateOutcome,
    /// What was measured, as JSON.
    pub figures: Option<String>,
    pub by_operator: bool,
    pub decided_ms: i64,
}

impl GateDecision {
    /// One that is made now by a gate, from nothing that was measured.
    pub fn now(model: String, outcome: GateOutcome) -> Self {
        let (number, former, figures, by_operator) = (0, String::new(), None, false);
        Self { number, model, former, outcome, figures, by_operator, decided_ms: now_ms() }
    }
}

/// See the head of this file.
#[async_trait]
pub trait Decisions: Send + Sync + 'static {
    /// Notes a decision under the next number of its gate, which is returned.
    async fn decide(&self, gate: Gate, decision: &GateDecision) -> Result<i64, CatalogError>;

    /// The last ones, newest first.
    async fn decisions(&self, gate: Gate, limit: u32) -> Result<Vec<GateDecision>, CatalogError>;

    /// The last one.
    async fn last_decision(&self, gate: Gate) -> Result<Option<GateDecision>, CatalogError> {
        Ok(self.decisions(gate, 1).await?.into_iter().next())
    }
}
