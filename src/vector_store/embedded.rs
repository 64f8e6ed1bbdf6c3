//! The embedded vector store: Qdrant's own engine (`qdrant-edge`) in this process, one directory, nothing to install.
//! Only files under `embedded` may name the engine, so that a newer one can follow when the toolchain does.
//!
//! Layout: `LOCK` (one process at a time), `active` (the collection that answers searches), and a directory for each
//! collection with `collection.json`, `marker.json` (whose it is), `shard/` (the engine's files) and, while indexes are
//! built, a journal.
//! To back up: pause writes, [`Collection::flush`], copy the directory.

mod collection;
mod convert;
mod directory;
mod journal;
mod recovery;
mod shard;
#[cfg(test)]
pub(crate) mod tests;
mod wal;
mod warm;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use async_trait::async_trait;
use tokio::sync::{Mutex, OwnedMutexGuard};

use self::collection::{EmbeddedCollection, blocking};
use self::directory::Directory;
use self::shard::{Manifest, Shard, check_space};
use super::{
    Collection, CollectionSpec, Marker, Quantization, StoreError, VectorStore, check_field,
};
pub use crate::config::EmbeddedOptions;

fn index_threads(options: &EmbeddedOptions) -> usize {
    let half = || thread::available_parallelism().map_or(1, |threads| threads.get() / 2);
    if options.index_threads == 0 { half().max(1) } else { options.index_threads }
}

/// What must be free for a collection to be opened; less than for writing, so that searches go on below the reserve.
const OPENING_TAKES_MIB: u64 = 16;

/// Under which the engine logs.
pub const ENGINE_LOG_TARGET: &str = "qdrant_edge";

type Collections = HashMap<String, Arc<EmbeddedCollection>>;

/// The store in one directory, which no other process can open at the same time.
pub struct EmbeddedStore {
    directory: Arc<Directory>,
    options: EmbeddedOptions,
    /// Opened collections by name. The lock is also what keeps opening, dropping and setting aside apart.
    collections: Arc<Mutex<Collections>>,
}

impl EmbeddedStore {
    /// Locks the directory, creating it if need be. It is the store's own: `<data-dir>/vectors`.
    /// Fails with [`StoreError::Locked`] while another process, or another store of this one, has it, after two seconds of waiting.
    pub fn open(dir: &Path, options: EmbeddedOptions) -> Result<Self, StoreError> {
        let directory = Arc::new(Directory::lock(dir)?);
        Ok(Self { directory, options, collections: Arc::default() })
    }

    /// Opens a collection that is not open, and notes it, all under the lock and to the end: whoever asked may go away
    /// meanwhile (a request that took too long), and a second opening beside the first would look like damage.
    async fn load(
        &self,
        mut collections: OwnedMutexGuard<Collections>,
        spec: &CollectionSpec,
    ) -> Result<Arc<EmbeddedCollection>, StoreError> {
        let (directory, wanted, options) =
            (Arc::clone(&self.directory), spec.clone(), self.options.clone());
        blocking(move || {
            let dir = directory.collection(&wanted.name)?;
            // Opening writes a little. On a full disk that looks like damage, or ends the process.
            let takes_mib = options.disk_reserve_mib.min(OPENING_TAKES_MIB);
            check_space(directory.root(), 0, takes_mib)?;
            let shard = match Manifest::read(&dir)? {
                None => Shard::create(&dir, &wanted, &options)?,
                Some(manifest) if manifest.dim != wanted.dim => {
                    return Err(StoreError::WrongDimension {
                        collection: wanted.name,
                        expected: manifest.dim,
                        got: wanted.dim,
                    });
                }
                Some(_) => recovery::open(&dir, &wanted, &options)?,
            };
            shard.read_ahead();
            let collection = EmbeddedCollection::new(wanted.clone(), shard, directory);
            let collection = Arc::new(collection);
            collections.insert(wanted.name, Arc::clone(&collection));
            Ok(collection)
        })
        .await
    }
}

#[async_trait]
impl VectorStore for EmbeddedStore {
    fn kind(&self) -> &'static str {
        "embedded"
    }

    async fn open(&self, spec: &CollectionSpec) -> Result<Arc<dyn Collection>, StoreError> {
        if spec.dim == 0 {
            return Err(StoreError::Invalid("a vector needs at least one dimension".to_owned()));
        }
        spec.indexed_fields.iter().try_for_each(|(field, _)| check_field(field))?;
        let collections = Arc::clone(&self.collections).lock_owned().await;
        if let Some(open) = collections.get(&spec.name).filter(|open| !open.is_closed()) {
            let opened = open.spec();
            if opened.dim != spec.dim {
                return Err(StoreError::WrongDimension {
                    collection: spec.name.clone(),
                    expected: opened.dim,
                    got: spec.dim,
                });
            }
            if opened == spec {
                return Ok(Arc::clone(open) as Arc<dyn Collection>);
            }
            // Other indexed fields than before: they are created when the shard is opened.
            open.close().await?;
        }
        Ok(self.load(collections, spec).await?)
    }

    async fn dim(&self, name: &str) -> Result<Option<usize>, StoreError> {
        let dir = self.directory.collection(name)?;
        blocking(move || Ok(Manifest::read(&dir)?.map(|manifest| manifest.dim))).await
    }

    async fn marker(&self, name: &str) -> Result<Option<Marker>, StoreError> {
        let dir = self.directory.collection(name)?;
        blocking(move || shard::read_marker(&dir)).await
    }

    async fn list(&self) -> Result<Vec<String>, StoreError> {
        let directory = Arc::clone(&self.directory);
        blocking(move || {
            let mut names = directory.candidates()?;
            names.retain(|name| directory.root().join(name).join(shard::MANIFEST_FILE).is_file());
            Ok(names)
        })
        .await
    }

    async fn drop_collection(&self, name: &str) -> Result<(), StoreError> {
        let mut collections = self.collections.lock().await;
        if self.active().await?.as_deref() == Some(name) {
            return Err(StoreError::Refused(format!(
                "{name} answers the searches; activate another collection first"
            )));
        }
        if let Some(open) = collections.remove(name) {
            open.close().await?;
        }
        let (directory, name) = (Arc::clone(&self.directory), name.to_owned());
        blocking(move || directory.delete(&name)).await
    }

    async fn active(&self) -> Result<Option<String>, StoreError> {
        let directory = Arc::clone(&self.directory);
        blocking(move || directory.active()).await
    }

    async fn activate(&self, name: &str) -> Result<(), StoreError> {
        // Under the same lock as dropping, so that the active collection exists.
        let _collections = self.collections.lock().await;
        let (directory, name) = (Arc::clone(&self.directory), name.to_owned());
        blocking(move || {
            if Manifest::read(&directory.collection(&name)?)?.is_none() {
                return Err(StoreError::NoSuchCollection(name));
            }
            directory.activate(&name)
        })
        .await
    }

    async fn set_aside(&self, name: &str) -> Result<String, StoreError> {
        let mut collections = self.collections.lock().await;
        if let Some(open) = collections.remove(name) {
            open.close().await?;
        }
        let (directory, name) = (Arc::clone(&self.directory), name.to_owned());
        blocking(move || Ok(directory.set_aside(&name)?.display().to_string())).await
    }

    async fn health(&self) -> Result<(), StoreError> {
        let (directory, reserve_mib) = (Arc::clone(&self.directory), self.options.disk_reserve_mib);
        blocking(move || {
            directory.active()?;
            check_space(directory.root(), 0, reserve_mib)
        })
        .await
    }

    async fn close(&self) -> Result<(), StoreError> {
        let collections: Vec<_> = self.collections.lock().await.drain().collect();
        let mut result = Ok(());
        for (name, collection) in collections {
            match collection.close().await {
                // Flushed it is; the rest of the building is done after the next start.
                Err(StoreError::Unavailable(reason)) => {
                    tracing::info!(name, reason, "left a vector collection open");
                }
                outcome => result = result.and(outcome),
            }
        }
        result
    }
}
