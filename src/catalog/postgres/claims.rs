//! Claims on work: rows of leases whose token is the name of the work.

use async_trait::async_trait;

use super::PostgresCatalog;
use super::connections::{Write, settled};
use super::failure::Failed;
use crate::catalog::{CatalogError, Claims, SeenImage};
use crate::types::ImageName;

const CLAIM: &str = "INSERT INTO leases (token, holder, until_ms) VALUES ('work/' || $1, $2, $4)
    ON CONFLICT (token) DO UPDATE SET holder = $2, until_ms = $4 WHERE leases.holder = $2 OR leases.until_ms < $3
    RETURNING token";
const HOLDS: &str =
    "SELECT 1 FROM leases WHERE token = 'work/' || $1 AND holder = $2 AND until_ms >= $3 FOR SHARE";
const END_CLAIM: &str = "DELETE FROM leases WHERE token = 'work/' || $1 AND holder = $2";

/// If so, nobody else gets it until the transaction ends.
pub(super) async fn holds_claim(
    write: &mut Write<'_>,
    work: &str,
    holder: &str,
    now_ms: i64,
) -> Result<bool, Failed> {
    let holds = sqlx::query(HOLDS).bind(work).bind(holder).bind(now_ms);
    Ok(!write.fetch(holds).await?.is_empty())
}

#[async_trait]
impl Claims for PostgresCatalog {
    async fn claim(&self, work: &str, now_ms: i64, until_ms: i64) -> Result<bool, CatalogError> {
        let claim = || sqlx::query(CLAIM).bind(work).bind(&self.holder).bind(now_ms).bind(until_ms);
        let claimed = settled!(self.connections.try_fetch(claim()))?;
        Ok(!claimed.is_empty())
    }

    async fn end_claim(&self, work: &str) -> Result<(), CatalogError> {
        let end = sqlx::query(END_CLAIM).bind(work).bind(&self.holder);
        self.connections.execute(end).await.map(drop)
    }

    async fn record_while_claimed(
        &self,
        work: &str,
        source: &str,
        seen: &[SeenImage],
        gone: &[ImageName],
        now_ms: i64,
    ) -> Result<bool, CatalogError> {
        self.record_all(Some(work), source, seen, gone, now_ms).await
    }
}
