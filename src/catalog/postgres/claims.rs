//! Claims on work: rows of leases whose token is the name of the work.

use async_trait::async_trait;

use super::PostgresCatalog;
use super::connections::settled;
use super::failure::Failed;
use crate::catalog::{CatalogError, Claims};

const CLAIM: &str = "INSERT INTO leases (token, holder, until_ms) VALUES ('work/' || $1, $2, $4)
    ON CONFLICT (token) DO UPDATE SET holder = $2, until_ms = $4 WHERE leases.holder = $2 OR leases.until_ms < $3
    RETURNING token";
const END_CLAIM: &str = "DELETE FROM leases WHERE token = 'work/' || $1 AND holder = $2";

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
}
