//! Work on all images that one process at a time does for all who share a catalog. A claim is a lease of nothing but a name: it
//! runs out if its holder dies, and a start frees what its predecessor held.

use async_trait::async_trait;

use super::{CatalogError, SeenImage};
use crate::types::ImageName;

/// Claims on work.
#[async_trait]
pub trait Claims: Send + Sync + 'static {
    /// Claims `work` until `until_ms`, or prolongs the own claim. `false`: somebody else has it.
    async fn claim(&self, work: &str, now_ms: i64, until_ms: i64) -> Result<bool, CatalogError>;

    /// Ends the own claim, if there is one.
    async fn end_claim(&self, work: &str) -> Result<(), CatalogError>;

    /// [`super::Images::record`], as long as the own claim on `work` lasts. `false`: it does not any more, and nothing was
    /// recorded; what a process says that was stopped for a while must not count against what its successor saw.
    async fn record_while_claimed(
        &self,
        work: &str,
        source: &str,
        seen: &[SeenImage],
        gone: &[ImageName],
        now_ms: i64,
    ) -> Result<bool, CatalogError>;
}
