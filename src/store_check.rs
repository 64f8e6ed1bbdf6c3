//! Compares a collection of the vector store with the catalog, by ids and both ways, and says whose the collection is.
//!
//! Counts cannot do that: a snapshot of last week may have as many vectors as today's collection, and two installations on
//! one collection count each other's. At start the marker and the count are compared, which is cheap; only when these
//! leave a doubt, all ids are. What is missing is forgotten by the catalog, and so made again; what the catalog does not
//! know is deleted, if the collection is ours.

use std::collections::HashSet;

use uuid::Uuid;

use crate::catalog::{Catalog, CatalogError};
use crate::types::{ContentHash, ModelId};
use crate::vector_store::{Collection, CollectionSpec, Marker, StoreError, VectorStore, payload};

/// Contents asked of the catalog at a time.
const HASHES_PER_PAGE: u32 = 5_000;
/// Ids read from the store at a time.
const IDS_PER_PAGE: usize = 10_000;
/// Points looked at more closely at a time; they come with their vectors.
const POINTS_PER_LOOK: usize = 500;

/// One collection beside what the catalog knows of it. The ids of a million vectors take 16 MB while they are compared.
pub struct StoreCheck<'a> {
    pub catalog: &'a dyn Catalog,
    pub collection: &'a dyn Collection,
    /// The model whose vectors it holds.
    pub model: &'a ModelId,
}

/// What a comparison found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Differences {
    /// Vectors that the catalog holds for stored.
    pub known: u64,
    /// Of these, those that the collection has not.
    pub missing: u64,
    /// Vectors of the collection that the catalog does not know.
    pub strangers: u64,
}

impl Differences {
    pub fn none(&self) -> bool {
        self.missing == 0 && self.strangers == 0
    }
}

/// Why collection and catalog could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl StoreCheck<'_> {
    /// At start: makes sure that the collection is ours and holds what the catalog believes. Cheap unless in doubt.
    /// Fails with [`StoreError::NotOurs`] if another installation's vectors are in it.
    pub async fn attach(&self) -> Result<Differences, CheckError> {
        let Some(marker) = self.collection.marker().await? else { return self.adopt().await };
        self.check_owner(&marker).await?;
        let is_as_left = marker.epoch == self.catalog.epoch(&self.model.to_string()).await?
            && self.collection.count(None).await? == self.believed().await?;
        if is_as_left {
            return Ok(Differences::default());
        }
        tracing::info!(
            collection = self.collection.spec().name,
            "the vector store is not as it was left; comparing it with the catalog"
        );
        match self.mend().await {
            // Searches need no write. What is wrong is mended when the store takes writes again.
            Err(CheckError::Store(StoreError::Refused(reason))) => {
                tracing::warn!(reason, "the vector store cannot be mended yet");
                Ok(Differences::default())
            }
            mended => mended,
        }
    }

    /// Compares, puts right what differs, and notes that this is now how we left it.
    pub async fn mend(&self) -> Result<Differences, CheckError> {
        self.take(&mut |_, _| ()).await
    }

    /// The same for an operator: a collection that nobody has marked is only taken, and what we do not know in it only
    /// deleted, with `take_over`.
    pub async fn repair(
        &self,
        take_over: bool,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Differences, CheckError> {
        if !take_over && self.collection.marker().await?.is_none() {
            return self.adopt().await;
        }
        self.take(progress).await
    }

    async fn take(
        &self,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Differences, CheckError> {
        let found = self.compare(true, progress).await?;
        self.mark().await?;
        Ok(found)
    }

    /// A collection without a marker is that of an older version, or new. It is ours if we know all that is in it.
    async fn adopt(&self) -> Result<Differences, CheckError> {
        let found = self.compare(false, &mut |_, _| ()).await?;
        if found.strangers > 0 {
            let why = format!(
                "holds {} vectors that this installation does not know, so another one may be using it",
                found.strangers
            );
            return Err(self.not_ours(why).into());
        }
        match self.mend().await {
            Err(CheckError::Store(StoreError::Refused(reason))) => {
                tracing::warn!(reason, "the collection cannot be marked as ours yet");
                Ok(found)
            }
            mended => mended,
        }
    }

    /// Fails with [`StoreError::NotOurs`] if the marker is another installation's.
    pub async fn check_owner(&self, marker: &Marker) -> Result<(), CheckError> {
        if marker.installation == self.catalog.installation().await?.id {
            return Ok(());
        }
        let why =
            format!("belongs to another installation of image-search ({})", marker.installation);
        Err(self.not_ours(why).into())
    }

    fn not_ours(&self, why: String) -> StoreError {
        StoreError::NotOurs { collection: self.collection.spec().name.clone(), why }
    }

    /// Notes in catalog and collection that the collection is ours and as it shall be.
    async fn mark(&self) -> Result<(), CheckError> {
        let installation = self.catalog.installation().await?.id;
        let epoch = self.catalog.next_epoch(&self.model.to_string()).await?;
        self.collection.set_marker(&Marker { installation, epoch }).await?;
        self.collection.flush().await?;
        Ok(())
    }

    /// How many vectors the catalog holds for stored.
    async fn believed(&self) -> Result<u64, CatalogError> {
        let model = self.model.to_string();
        let models = self.catalog.stored_by_model().await?;
        Ok(models.into_iter().find(|(name, _)| *name == model).map_or(0, |(_, stored)| stored))
    }

    /// Compares all ids; with `mend`, also puts right what differs. `progress` gets how many vectors of how many were seen.
    pub async fn compare(
        &self,
        mend: bool,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Differences, CheckError> {
        let known = self.known_ids().await?;
        let (missing, strangers) = self.walk(&known, progress).await?;
        let missing = self.really_missing(missing).await?;
        let strangers = self.really_strangers(strangers).await?;
        let found = Differences {
            known: known.len() as u64,
            missing: missing.len() as u64,
            strangers: strangers.len() as u64,
        };
        if !found.none() {
            let Differences { known, missing, strangers } = found;
            let collection = &self.collection.spec().name;
            tracing::warn!(
                collection,
                known,
                missing,
                strangers,
                mend,
                "vector store and catalog differ"
            );
        }
        if mend {
            self.forget(&missing).await?;
            self.delete(&strangers).await?;
        }
        Ok(found)
    }

    /// Ids of the vectors that the catalog holds for stored, in ascending order.
    async fn known_ids(&self) -> Result<Vec<Uuid>, CatalogError> {
        let mut ids = Vec::new();
        let mut pages = self.known_hashes();
        while let Some(page) = pages.next().await? {
            ids.extend(page.iter().map(|hash| self.model.point_id(hash)));
        }
        ids.sort_unstable();
        Ok(ids)
    }

    fn known_hashes(&self) -> KnownHashes<'_> {
        KnownHashes { catalog: self.catalog, model: self.model.to_string(), after: None }
    }

    /// Walks the collection beside the sorted `known`: which of these it has not, and which ids it has besides.
    async fn walk(
        &self,
        known: &[Uuid],
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<(Vec<Uuid>, Vec<Uuid>), StoreError> {
        let total = self.collection.count(None).await?;
        let (mut missing, mut strangers) = (Vec::new(), Vec::new());
        let mut known = known.iter().copied().peekable();
        let (mut after, mut seen) = (None, 0);
        loop {
            progress(seen, total);
            let page = self.collection.scroll_ids(after, IDS_PER_PAGE).await?;
            let Some(last) = page.last().copied() else { break };
            for id in &page {
                while let Some(absent) = known.next_if(|known| known < id) {
                    missing.push(absent);
                }
                if known.next_if_eq(id).is_none() {
                    strangers.push(*id);
                }
            }
            seen += page.len() as u64;
            after = Some(last);
        }
        missing.extend(known);
        Ok((missing, strangers))
    }

    /// What came while we walked is not missing.
    async fn really_missing(&self, ids: Vec<Uuid>) -> Result<Vec<Uuid>, StoreError> {
        let mut missing = Vec::new();
        for ids in ids.chunks(POINTS_PER_LOOK) {
            let there: HashSet<Uuid> =
                self.collection.get(ids).await?.into_iter().map(|point| point.id).collect();
            missing.extend(ids.iter().filter(|id| !there.contains(id)));
        }
        Ok(missing)
    }

    /// What is about to be stored is known, though not yet as stored.
    async fn really_strangers(
        &self,
        ids: Vec<Uuid>,
    ) -> Result<Vec<(Uuid, Option<ContentHash>)>, CheckError> {
        let model = self.model.to_string();
        let mut strangers = Vec::new();
        for ids in ids.chunks(POINTS_PER_LOOK) {
            let points = self.collection.get(ids).await?;
            let contents: Vec<(Uuid, Option<ContentHash>)> = points
                .iter()
                .map(|point| {
                    let hash = payload::content_hash(&point.payload);
                    (point.id, hash.filter(|hash| self.model.point_id(hash) == point.id))
                })
                .collect();
            let hashes: Vec<ContentHash> = contents.iter().filter_map(|(_, hash)| *hash).collect();
            let known = self.catalog.known_vectors(&model, &hashes).await?;
            strangers.extend(
                contents
                    .into_iter()
                    .filter(|(_, hash)| hash.is_none_or(|hash| !known.contains(&hash))),
            );
        }
        Ok(strangers)
    }

    /// So that they are made again. `missing` is in ascending order.
    async fn forget(&self, missing: &[Uuid]) -> Result<(), CatalogError> {
        if missing.is_empty() {
            return Ok(());
        }
        let model = self.model.to_string();
        let mut pages = self.known_hashes();
        while let Some(mut page) = pages.next().await? {
            page.retain(|hash| missing.binary_search(&self.model.point_id(hash)).is_ok());
            if !page.is_empty() {
                self.catalog.forget_vectors(&model, &page).await?;
            }
        }
        Ok(())
    }

    async fn delete(&self, strangers: &[(Uuid, Option<ContentHash>)]) -> Result<(), CheckError> {
        let model = self.model.to_string();
        for strangers in strangers.chunks(POINTS_PER_LOOK) {
            let ids: Vec<Uuid> = strangers.iter().map(|(id, _)| *id).collect();
            self.collection.delete(&ids).await?;
            self.collection.flush().await?;
            // A picture with that content may have come meanwhile: then its vector is made again.
            let hashes: Vec<ContentHash> = strangers.iter().filter_map(|(_, hash)| *hash).collect();
            let known: Vec<ContentHash> =
                self.catalog.known_vectors(&model, &hashes).await?.into_iter().collect();
            if !known.is_empty() {
                self.catalog.forget_vectors(&model, &known).await?;
            }
        }
        Ok(())
    }
}

/// Pages of the contents that the catalog holds for stored.
struct KnownHashes<'a> {
    catalog: &'a dyn Catalog,
    model: String,
    after: Option<ContentHash>,
}

impl KnownHashes<'_> {
    async fn next(&mut self) -> Result<Option<Vec<ContentHash>>, CatalogError> {
        let page =
            self.catalog.stored_hashes(&self.model, self.after.as_ref(), HASHES_PER_PAGE).await?;
        if let Some(last) = page.last() {
            self.after = Some(*last);
        }
        Ok(Some(page).filter(|page| !page.is_empty()))
    }
}

/// Deletes the collections of models that no longer answer; returns their names. Ours is what our marker says, or, without
/// one, what `used_models` names and the catalog knows entirely. The active one and those in `keep` stay.
pub async fn prune(
    catalog: &dyn Catalog,
    store: &dyn VectorStore,
    keep: &[String],
) -> Result<Vec<String>, CheckError> {
    let Some(active) = store.active().await? else { return Ok(Vec::new()) };
    let installation = catalog.installation().await?.id;
    let used = catalog.used_models().await?;
    let mut pruned = Vec::new();
    for name in store.list().await? {
        if name == active || keep.contains(&name) {
            continue;
        }
        let model = used.iter().map(|used| &used.id).find(|id| id.collection_name() == name);
        let is_ours = match (store.marker(&name).await, model) {
            (Ok(Some(marker)), _) => marker.installation == installation,
            (Ok(None), Some(model)) => knows_all(catalog, store, model, &name).await?,
            (Ok(None), None) | (Err(StoreError::NoSuchCollection(_)), _) => false,
            (Err(error), _) => return Err(error.into()),
        };
        if !is_ours {
            tracing::warn!(collection = name, "not known to be ours; left alone");
            continue;
        }
        store.drop_collection(&name).await?;
        if let Some(model) = model {
            catalog.forget_model(model).await?;
        }
        pruned.push(name);
    }
    Ok(pruned)
}

async fn knows_all(
    catalog: &dyn Catalog,
    store: &dyn VectorStore,
    model: &ModelId,
    name: &str,
) -> Result<bool, CheckError> {
    let Some(dim) = store.dim(name).await? else { return Ok(false) };
    let collection = store.open(&CollectionSpec::of_pictures(name.to_owned(), dim)).await?;
    let check = StoreCheck { catalog, collection: &*collection, model };
    let found = check.compare(false, &mut |_, _| ()).await?;
    Ok(found.strangers == 0 && found.known > 0)
}

#[cfg(test)]
mod tests;
