//! From an address to a store: `embedded` (below the data folder), `embedded:DIR` (below another one), or `qdrant+https://host:6334`.

use std::path::Path;
use std::sync::Arc;

use super::embedded::EmbeddedStore;
use super::qdrant::QdrantStore;
use super::{StoreError, VectorStore};
use crate::config::{EMBEDDED, QDRANT_PREFIX, VectorStoreConfig};
use crate::types::Installation;

/// Folder of the embedded store below the data folder.
pub const FOLDER: &str = "vectors";

/// Opens the store at `address` for `installation`. A Qdrant server need not be there: the connection is made when it is first needed.
pub async fn open_at(
    address: &str,
    config: &VectorStoreConfig,
    data_dir: &Path,
    installation: &Installation,
) -> Result<Arc<dyn VectorStore>, StoreError> {
    if address.starts_with(QDRANT_PREFIX) {
        let key = config.api_key().map_err(|error| StoreError::Invalid(error.to_string()))?;
        let store = QdrantStore::new(
            address,
            key.as_ref().map(crate::config::Secret::reveal),
            config.qdrant.for_installation(installation),
        )?;
        return Ok(Arc::new(store));
    }
    let dir = match address.split_once(':') {
        None if address == EMBEDDED => data_dir,
        Some((EMBEDDED, dir)) if !dir.is_empty() => Path::new(dir),
        _ => {
            let forms =
                "\"embedded\", \"embedded:DIR\" (a data folder) or \"qdrant+https://host:6334\"";
            return Err(StoreError::Invalid(format!("a vector store is {forms}")));
        }
    };
    let (dir, options) = (dir.join(FOLDER), config.embedded.clone());
    let opened = tokio::task::spawn_blocking(move || EmbeddedStore::open(&dir, options)).await;
    Ok(Arc::new(opened.map_err(|error| StoreError::Internal(error.to_string()))??))
}
