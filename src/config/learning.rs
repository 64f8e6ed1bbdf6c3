//! `[learning]`: whether searches learn from ratings, from how many, and for how long.

use serde::{Deserialize, Serialize};

use super::{ConfigError, check};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearningConfig {
    pub enabled: bool,
    pub sources_min: usize,
    pub half_life_days: u32,
    pub ratings_max: usize,
    pub queries_max: usize,
    pub refresh_interval_ms: u64,
    pub forget_after_days: u32,
    pub switch_gate: SwitchGate,
    pub gate_queries_min: usize,
    pub gate_queries_max: usize,
    pub gate_every_ratings: u32,
}

/// What happens to a next model that is worse on replayed ratings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SwitchGate {
    /// It is told, and the model answers all the same.
    Report,
    /// The former model goes on, until an operator forces the switch.
    Veto,
}

impl LearningConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        check(
            (1..=1000).contains(&self.sources_min),
            "learning.sources_min",
            self.sources_min.to_string(),
            "1 to 1000",
        )?;
        check(
            self.half_life_days >= 1,
            "learning.half_life_days",
            self.half_life_days.to_string(),
            "at least 1",
        )?;
        check(
            (1..=1_000_000).contains(&self.ratings_max),
            "learning.ratings_max",
            self.ratings_max.to_string(),
            "1 to 1000000",
        )?;
        check(
            (1..=100_000).contains(&self.queries_max),
            "learning.queries_max",
            self.queries_max.to_string(),
            "1 to 100000",
        )?;
        check(
            self.refresh_interval_ms >= 100,
            "learning.refresh_interval_ms",
            self.refresh_interval_ms.to_string(),
            "at least 100",
        )?;
        check(
            (1..=100_000).contains(&self.gate_queries_min),
            "learning.gate_queries_min",
            self.gate_queries_min.to_string(),
            "1 to 100000",
        )?;
        check(
            (self.gate_queries_min..=100_000).contains(&self.gate_queries_max),
            "learning.gate_queries_max",
            self.gate_queries_max.to_string(),
            "learning.gate_queries_min to 100000",
        )
    }
}
