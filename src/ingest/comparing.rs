//! Sources against the catalog without a model and without indexing anything: for repairs, while no server runs.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::Notify;

use super::followed::Followed;
use super::reconciler::Reconciler;
use super::{IngestError, recall};
use crate::catalog::Catalog;
use crate::config::IngestConfig;
use crate::source::{Source, SourceError};

/// Records once what every source has now. Returns the trouble of those that could not be looked at; of these, nothing is
/// concluded.
pub async fn compare_sources(
    catalog: &dyn Catalog,
    sources: &[Arc<dyn Source>],
    config: &IngestConfig,
) -> Result<Vec<SourceError>, IngestError> {
    let followed: Vec<_> = sources.iter().cloned().map(Followed::new).map(Arc::new).collect();
    recall(catalog, &followed).await?;
    let (work, is_clean) = (Notify::new(), AtomicBool::new(false));
    let mut trouble = Vec::new();
    for followed in &followed {
        let comparing = Reconciler {
            catalog,
            followed,
            settle_ms: config.settle_ms as i64,
            away_when_emptied: config.away_when_emptied,
            work: &work,
            is_clean: &is_clean,
            claim: None,
        };
        match comparing.compare_all().await {
            Err(IngestError::Source(error)) => trouble.push(error),
            compared => compared?,
        }
    }
    Ok(trouble)
}
