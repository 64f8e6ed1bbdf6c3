//! The vectors of a backup: exactly those that the copied catalog counts on, whatever came and went meanwhile, taken from
//! whoever has them and kept in an embedded store, whichever store they come from.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::BackupError;
use super::manifest::CollectionRecord;
use crate::catalog::Catalog;
use crate::store_check::StoreCheck;
use crate::types::ModelId;
use crate::vector_store::copy::copy;
use crate::vector_store::{Collection, CollectionSpec, Point, StoreError, VectorStore};

/// Points asked for at a time.
pub(super) const POINTS_PER_BATCH: usize = 500;

/// Called now and then with how many vectors of how many are copied.
pub type Progress<'a> = &'a mut (dyn FnMut(u64, u64) + Send);

/// Which collections somebody has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// By name, with the length of their vectors.
    pub collections: Vec<(String, usize)>,
    /// The one that answers searches.
    pub active: Option<String>,
}

/// Somebody who has vectors: a store, or the server that has it open.
#[async_trait]
pub trait PointSource: Send + Sync {
    async fn held(&self) -> Result<Held, StoreError>;

    /// Those of the points that exist, in no particular order.
    async fn points(
        &self,
        collection: &str,
        dim: usize,
        ids: &[Uuid],
    ) -> Result<Vec<Point>, StoreError>;
}

/// A store that this process has open.
pub struct StoreSource {
    store: Arc<dyn VectorStore>,
    opened: tokio::sync::Mutex<Option<Arc<dyn Collection>>>,
}

impl StoreSource {
    pub fn new(store: Arc<dyn VectorStore>) -> Self {
        Self { store, opened: tokio::sync::Mutex::default() }
    }
}

#[async_trait]
impl PointSource for StoreSource {
    async fn held(&self) -> Result<Held, StoreError> {
        let mut collections = Vec::new();
        for name in self.store.list().await? {
            let dim = self.store.dim(&name).await?;
            collections.extend(dim.map(|dim| (name, dim)));
        }
        Ok(Held { collections, active: self.store.active().await? })
    }

    async fn points(
        &self,
        collection: &str,
        dim: usize,
        ids: &[Uuid],
    ) -> Result<Vec<Point>, StoreError> {
        let mut opened = self.opened.lock().await;
        let open = match opened.take().filter(|open| open.spec().name == collection) {
            Some(open) => open,
            // Opening makes what is not there; a name that came from elsewhere must not.
            None if self.store.dim(collection).await? == Some(dim) => {
                self.store.open(&CollectionSpec::of_pictures(collection.to_owned(), dim)).await?
            }
            None => return Err(StoreError::NoSuchCollection(collection.to_owned())),
        };
        *opened = Some(open.clone());
        open.get(ids).await
    }
}

/// Fills `to` with the vectors that `catalog` counts on, and brings the two together: what was deleted since the catalog
/// was copied is forgotten there as well.
pub(super) async fn collect(
    catalog: &dyn Catalog,
    from: &dyn PointSource,
    to: &dyn VectorStore,
    progress: Progress<'_>,
) -> Result<(), BackupError> {
    let held = from.held().await?;
    for used in catalog.used_models().await? {
        let name = used.id.collection_name();
        let Some((_, dim)) = held.collections.iter().find(|(held, _)| *held == name) else {
            continue;
        };
        let collection = to.open(&CollectionSpec::of_pictures(name.clone(), *dim)).await?;
        fetch(catalog, from, &*collection, &used.id, progress).await?;
        let check = StoreCheck { catalog, collection: &*collection, model: &used.id };
        let found = check.mend().await?;
        if found.missing > 0 {
            tracing::info!(vectors = found.missing, "went while the backup was made");
            catalog.require_vectors(&used.id.to_string()).await?;
        }
        if held.active.as_ref() == Some(&name) {
            to.activate(&name).await?;
        }
    }
    Ok(())
}

async fn fetch(
    catalog: &dyn Catalog,
    from: &dyn PointSource,
    to: &dyn Collection,
    model: &ModelId,
    progress: Progress<'_>,
) -> Result<(), BackupError> {
    let key = model.to_string();
    let stored = catalog.stored_by_model().await?;
    let total = stored.iter().find(|(model, _)| *model == key).map_or(0, |(_, stored)| *stored);
    let (mut after, mut done) = (None, 0);
    loop {
        progress(done, total);
        let page = catalog.stored_hashes(&key, after.as_ref(), POINTS_PER_BATCH as u32).await?;
        let Some(last) = page.last() else { break };
        let ids: Vec<Uuid> = page.iter().map(|hash| model.point_id(hash)).collect();
        to.upsert(from.points(&to.spec().name, to.spec().dim, &ids).await?).await?;
        (after, done) = (Some(*last), done + page.len() as u64);
    }
    to.flush().await?;
    Ok(())
}

/// Compares every collection with the catalog by ids, both ways. Fails unless they agree.
pub(super) async fn compare(
    catalog: &dyn Catalog,
    store: &dyn VectorStore,
) -> Result<Vec<CollectionRecord>, BackupError> {
    let mut compared = Vec::new();
    for used in catalog.used_models().await? {
        let name = used.id.collection_name();
        let Some(dim) = store.dim(&name).await? else { continue };
        let collection = store.open(&CollectionSpec::of_pictures(name.clone(), dim)).await?;
        let check = StoreCheck { catalog, collection: &*collection, model: &used.id };
        let found = check.compare(false, &mut |_, _| ()).await?;
        let vectors = collection.count(None).await?;
        if !found.none() || vectors != found.known {
            return Err(BackupError::Differs(format!(
                "{name} has {vectors} vectors, the catalog counts on {}; {} are missing, {} unknown",
                found.known, found.missing, found.strangers
            )));
        }
        compared.push(CollectionRecord { name, dim, vectors });
    }
    Ok(compared)
}

/// Pours a restored store into another one (a Qdrant server), with the markers that say whose it is and how far it was written.
pub(super) async fn pour(
    from: &dyn VectorStore,
    to: &dyn VectorStore,
    installation: Uuid,
    progress: Progress<'_>,
) -> Result<(), BackupError> {
    for name in from.list().await? {
        let Some(dim) = from.dim(&name).await? else { continue };
        let spec = CollectionSpec::of_pictures(name.clone(), dim);
        let (source, target) = (from.open(&spec).await?, to.open(&spec).await?);
        match target.marker().await? {
            Some(marker) if marker.installation != installation => {
                let why = format!(
                    "belongs to another installation of image-search ({})",
                    marker.installation
                );
                return Err(StoreError::NotOurs { collection: name, why }.into());
            }
            _ if target.count(None).await? > 0 => {
                return Err(BackupError::Occupied(format!(
                    "collection {name} of the vector store"
                )));
            }
            _ => {}
        }
        let mut show = |shown: crate::vector_store::copy::CopyProgress| {
            progress(shown.done, shown.total);
        };
        copy(&*source, &*target, &mut show).await?;
        if let Some(marker) = source.marker().await? {
            target.set_marker(&marker).await?;
        }
        target.flush().await?;
    }
    if let Some(active) = from.active().await? {
        to.activate(&active).await?;
    }
    Ok(())
}
