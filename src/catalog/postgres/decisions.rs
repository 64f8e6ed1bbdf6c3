//! What gates decided.

use async_trait::async_trait;
use sqlx::Row;

use super::PostgresCatalog;
use super::arguments::{optional_text, text};
use super::connections::settled;
use super::failure::Failed;
use crate::catalog::decisions::DECISIONS_KEPT;
use crate::catalog::rows::decision_at;
use crate::catalog::{CatalogError, Decisions, Gate, GateDecision};

/// Numbers come one after the other.
const LOCK: &str = "LOCK TABLE gate_decisions IN EXCLUSIVE MODE";
const DECIDE: &str = "INSERT INTO gate_decisions (gate, number, model, former, outcome, figures, by_operator, decided_ms)
    SELECT $1, coalesce(max(number), 0) + 1, $2, $3, $4, $5, $6, $7 FROM gate_decisions WHERE gate = $1
    RETURNING number";
const FORGET_OLD: &str = "DELETE FROM gate_decisions WHERE gate = $1 AND number <= $2";
const DECISIONS: &str =
    "SELECT * FROM gate_decisions WHERE gate = $1 ORDER BY number DESC LIMIT $2";

impl PostgresCatalog {
    async fn try_decide(&self, gate: Gate, decision: &GateDecision) -> Result<i64, Failed> {
        let mut write = self.connections.begin().await?;
        write.execute(sqlx::query(LOCK)).await?;
        let decide = sqlx::query(DECIDE)
            .bind(gate.as_str())
            .bind(text(&decision.model))
            .bind(text(&decision.former))
            .bind(decision.outcome.as_str())
            .bind(optional_text(decision.figures.as_deref()))
            .bind(decision.by_operator)
            .bind(decision.decided_ms);
        let number: i64 = write.fetch_one(decide).await?.try_get("number")?;
        let forget = sqlx::query(FORGET_OLD).bind(gate.as_str()).bind(number - DECISIONS_KEPT);
        write.execute(forget).await?;
        write.commit().await?;
        Ok(number)
    }
}

#[async_trait]
impl Decisions for PostgresCatalog {
    async fn decide(&self, gate: Gate, decision: &GateDecision) -> Result<i64, CatalogError> {
        settled!(self.try_decide(gate, decision))
    }

    async fn decisions(&self, gate: Gate, limit: u32) -> Result<Vec<GateDecision>, CatalogError> {
        let asked = sqlx::query(DECISIONS).bind(gate.as_str()).bind(i64::from(limit));
        self.connections.fetch(asked).await?.iter().map(decision_at).collect()
    }
}
