//! What gates decided, as the report shows it: whose ratings searches learn from, and which models were let in.

use serde::Serialize;
use utoipa::ToSchema;

use super::Comparison;
use crate::catalog::{Catalog, CatalogError, Gate, GateDecision, GateOutcome};
use crate::moment::timestamp;

/// Decisions of each gate in one report.
const SHOWN: u32 = 10;

/// What was decided from replayed ratings, or by an operator; newest first, at most ten of each.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct Decided {
    /// Whose ratings searches learn from.
    pub learning: Vec<Decision>,
    /// Whether another model may answer in the place of the former.
    pub switches: Vec<Decision>,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Decision {
    /// Its number; of learning, the version.
    pub number: i64,
    /// When, as in RFC 3339.
    pub decided: String,
    /// Of learning `on` (what others said counts), `own` (only what who searches said themselves), `off` (nothing does) or `auto` (it is
    /// measured anew); of another model `passed`, `held` (the former goes on), `forced`, or
    /// `again` (it is to be compared once more).
    pub outcome: &'static str,
    /// Whether an operator decided.
    pub by_operator: bool,
    /// The model that answered, or that was to answer, with its version.
    pub model: String,
    /// The model that it was compared with; missing if with none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub former: Option<String>,
    /// What was measured; missing if nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
}

impl From<GateDecision> for Decision {
    fn from(row: GateDecision) -> Self {
        Self {
            number: row.number,
            decided: timestamp(row.decided_ms),
            outcome: match row.outcome {
                // Only operators switch all of it off.
                GateOutcome::Off if !row.by_operator => "own",
                outcome => outcome.as_str(),
            },
            by_operator: row.by_operator,
            model: row.model,
            former: Some(row.former).filter(|former| !former.is_empty()),
            comparison: row.figures.as_deref().and_then(Comparison::parse),
        }
    }
}

/// What was decided last.
pub async fn decided(catalog: &dyn Catalog) -> Result<Decided, CatalogError> {
    let of = async |gate| {
        let rows = catalog.decisions(gate, SHOWN).await?;
        Ok::<_, CatalogError>(rows.into_iter().map(Decision::from).collect())
    };
    Ok(Decided { learning: of(Gate::Learning).await?, switches: of(Gate::Switch).await? })
}
