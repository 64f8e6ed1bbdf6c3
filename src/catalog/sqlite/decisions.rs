//! What gates decided.

use async_trait::async_trait;
use sqlx::Row;

use super::SqliteCatalog;
use super::statements;
use super::writer::Purpose;
use crate::catalog::decisions::DECISIONS_KEPT;
use crate::catalog::rows::decision_at;
use crate::catalog::{CatalogError, Decisions, Gate, GateDecision};

statements! {
    DECIDE = "INSERT INTO gate_decisions (gate, number, model, former, outcome, figures, by_operator, decided_ms)
        SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, ?4, ?5, ?6, ?7 FROM gate_decisions WHERE gate = ?1
        RETURNING number";
    FORGET_OLD = "DELETE FROM gate_decisions WHERE gate = ?1 AND number <= ?2";
    DECISIONS = "SELECT * FROM gate_decisions WHERE gate = ?1 ORDER BY number DESC LIMIT ?2";
}

#[async_trait]
impl Decisions for SqliteCatalog {
    async fn decide(&self, gate: Gate, decision: &GateDecision) -> Result<i64, CatalogError> {
        let mut write = self.writer.begin(Purpose::Settle).await?;
        let decide = sqlx::query(DECIDE)
            .bind(gate.as_str())
            .bind(&decision.model)
            .bind(&decision.former)
            .bind(decision.outcome.as_str())
            .bind(decision.figures.as_deref())
            .bind(decision.by_operator)
            .bind(decision.decided_ms);
        let number: i64 = write.fetch_one(decide).await?.try_get("number")?;
        let forget = sqlx::query(FORGET_OLD).bind(gate.as_str()).bind(number - DECISIONS_KEPT);
        write.execute(forget).await?;
        write.commit().await?;
        Ok(number)
    }

    async fn decisions(&self, gate: Gate, limit: u32) -> Result<Vec<GateDecision>, CatalogError> {
        let asked = sqlx::query(DECISIONS).bind(gate.as_str()).bind(limit);
        asked.fetch_all(&self.readers).await?.iter().map(decision_at).collect()
    }
}
