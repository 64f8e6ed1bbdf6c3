//! The processes that work with one catalog: their signs of life, and the model that all of them index with. A worker with
//! another model is told by [`super::Queue::complete`], so that no picture counts as indexed without a vector of that model.

use std::time::Duration;

use async_trait::async_trait;

use super::CatalogError;

/// How often a process gives a sign of life.
pub const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// Signs that have to be missing before a process counts as dead.
const MISSING_SIGNS: u32 = 3;

/// A process and its last sign of life.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessRow {
    /// The data folder's name, which outlives a restart.
    pub instance: String,
    /// `api`, `worker` or `all`.
    pub role: String,
    /// Name of the machine.
    pub host: String,
    /// Version of the program.
    pub version: String,
    pub started_ms: i64,
    pub seen_ms: i64,
    /// Since its start.
    pub images_indexed: u64,
    /// Over the last seconds.
    pub images_per_second: f64,
    /// Why indexing pauses.
    pub message: Option<String>,
}

impl ProcessRow {
    /// Whether it gave a sign of life lately.
    pub fn is_alive(&self, now_ms: i64) -> bool {
        now_ms - self.seen_ms <= (SIGN_OF_LIFE * MISSING_SIGNS).as_millis() as i64
    }
}

/// Who works with the catalog.
#[async_trait]
pub trait Processes: Send + Sync + 'static {
    /// Whether other processes may work with this catalog at the same time, so that signs of life are worth writing.
    fn is_shared(&self) -> bool {
        false
    }

    /// Notes a sign of life, and forgets processes that gave none since `forget_before_ms`.
    async fn note_process(
        &self,
        process: &ProcessRow,
        forget_before_ms: i64,
    ) -> Result<(), CatalogError>;

    /// Forgets a process, which ends.
    async fn forget_process(&self, instance: &str) -> Result<(), CatalogError>;

    /// All that are noted, by instance.
    async fn processes(&self) -> Result<Vec<ProcessRow>, CatalogError>;

    /// From now on pictures are indexed with this model, by everybody.
    async fn index_with(&self, model: &str) -> Result<(), CatalogError>;

    /// The model that pictures are indexed with, once somebody has said.
    async fn indexing_model(&self) -> Result<Option<String>, CatalogError>;
}

/// Refuses what is done for another model than the one that pictures are indexed with, once somebody has said.
pub(super) fn same_model(own: &str, wanted: Option<String>) -> Result<(), CatalogError> {
    match wanted {
        Some(wanted) if wanted != own => {
            Err(CatalogError::OtherModel { own: own.to_owned(), wanted })
        }
        _ => Ok(()),
    }
}
