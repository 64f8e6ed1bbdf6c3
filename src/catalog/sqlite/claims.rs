//! Claims on work: rows of leases whose token is the name of the work.

use async_trait::async_trait;

use super::SqliteCatalog;
use super::images::record;
use super::statements;
use super::writer::Purpose;
use crate::catalog::{CatalogError, Claims, SeenImage};
use crate::types::ImageName;

statements! {
    CLAIM = "INSERT INTO leases (token, holder, until_ms) VALUES ('work/' || ?1, ?2, ?4)
        ON CONFLICT (token) DO UPDATE SET holder = ?2, until_ms = ?4 WHERE holder = ?2 OR until_ms < ?3";
    HOLDS = "SELECT 1 FROM leases WHERE token = 'work/' || ?1 AND holder = ?2 AND until_ms >= ?3";
    END_CLAIM = "DELETE FROM leases WHERE token = 'work/' || ?1 AND holder = ?2";
}

#[async_trait]
impl Claims for SqliteCatalog {
    async fn claim(&self, work: &str, now_ms: i64, until_ms: i64) -> Result<bool, CatalogError> {
        let mut write = self.writer.begin(Purpose::Settle).await?;
        let claim = sqlx::query(CLAIM).bind(work).bind(&self.holder).bind(now_ms).bind(until_ms);
        let claimed = write.execute(claim).await? == 1;
        write.commit().await?;
        Ok(claimed)
    }

    async fn end_claim(&self, work: &str) -> Result<(), CatalogError> {
        let mut write = self.writer.begin(Purpose::Settle).await?;
        write.execute(sqlx::query(END_CLAIM).bind(work).bind(&self.holder)).await?;
        write.commit().await
    }

    async fn record_while_claimed(
        &self,
        work: &str,
        source: &str,
        seen: &[SeenImage],
        gone: &[ImageName],
        now_ms: i64,
    ) -> Result<bool, CatalogError> {
        let purpose = if seen.is_empty() { Purpose::Settle } else { Purpose::Grow };
        let mut write = self.writer.begin(purpose).await?;
        let holds = sqlx::query(HOLDS).bind(work).bind(&self.holder).bind(now_ms);
        let is_held = !write.fetch(holds).await?.is_empty();
        if is_held {
            record(&mut write, source, seen, gone, now_ms).await?;
        }
        write.commit().await?;
        Ok(is_held)
    }
}
