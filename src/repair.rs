//! Mends every disagreement between files, catalog, vectors and thumbnails, while no server runs. Nothing of it embeds
//! anything: what has to be made again is put into the queue, and the next `serve` or `index` does it.

use std::collections::HashSet;
use std::path::Path;

use crate::app::App;
use crate::catalog::CatalogError;
use crate::ingest::{IngestError, compare_sources};
use crate::source::bucket::ObjectsError;
use crate::store_check::{CheckError, StoreCheck};
use crate::thumbnails::kept;
use crate::types::{ContentHash, ModelId};
use crate::vector_store::{CollectionSpec, StoreError};

/// Contents asked of the catalog at a time.
const HASHES_PER_PAGE: u32 = 5_000;

/// What was looked at, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// One word, for the beginning of a line.
    pub part: &'static str,
    pub words: String,
}

/// Why something could not be mended.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Ingest(#[from] IngestError),
    #[error(transparent)]
    Check(#[from] CheckError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot tidy up the thumbnails in {path}: {reason}")]
    Thumbnails { path: String, reason: String },
    #[error("cannot tidy up the thumbnails in {0}")]
    SharedThumbnails(#[from] ObjectsError),
}

/// Brings everything together: files first, since they are what all the rest is about.
pub async fn repair(app: &App) -> Result<Vec<Mended>, RepairError> {
    let mut done = mend_sources(app).await?;
    for used in app.catalog.used_models().await? {
        done.extend(mend_vectors(app, &used.id).await?);
    }
    done.extend(mend_thumbnails(app).await?);
    done.extend(mend_shared_thumbnails(app).await?);
    Ok(done)
}

/// Rows without a file, files without a row, files that changed.
async fn mend_sources(app: &App) -> Result<Vec<Mended>, RepairError> {
    let before = app.catalog.counts().await?;
    let trouble = compare_sources(&*app.catalog, &app.sources, &app.config.ingest).await?;
    let after = app.catalog.counts().await?;
    let part = "files";
    let mut done: Vec<Mended> =
        trouble.into_iter().map(|error| Mended { part, words: error.to_string() }).collect();
    let (gone, pending) = (
        after.missing.saturating_sub(before.missing),
        after.pending.saturating_sub(before.pending),
    );
    if gone > 0 {
        let words = format!("{gone} pictures without a file are hidden");
        done.push(Mended { part, words });
    }
    if pending > 0 {
        let words = format!("{pending} pictures are new or changed, and are indexed next");
        done.push(Mended { part, words });
    }
    Ok(done)
}

/// Vectors that are missing, unknown or unreadable; a collection that is gone or has lost its marker.
async fn mend_vectors(app: &App, model: &ModelId) -> Result<Option<Mended>, RepairError> {
    let (name, part) = (model.collection_name(), "vectors");
    let Some(dim) = app.store.dim(&name).await? else {
        let forgotten = forget_all(app, model).await?;
        let words = format!(
            "collection {name} is gone; its {forgotten} vectors are made again when they are needed"
        );
        return Ok((forgotten > 0).then_some(Mended { part, words }));
    };
    let spec = CollectionSpec::of_pictures(name.clone(), dim);
    let (collection, aside) = match app.store.open(&spec).await {
        Err(StoreError::Damaged { .. }) => {
            let kept_as = app.store.set_aside(&name).await?;
            (app.store.open(&spec).await?, Some(kept_as))
        }
        opened => (opened?, None),
    };
    let check = StoreCheck { catalog: &*app.catalog, collection: &*collection, model };
    let marker = collection.marker().await?;
    if let Some(marker) = &marker {
        check.check_owner(marker).await?;
    }
    let found = check.repair(false, &mut |_, _| ()).await?;
    if found.missing > 0 {
        require(app, model).await?;
    }
    let mut words = Vec::new();
    words.extend(aside.map(|kept_as| format!("{name} was damaged and lies in {kept_as} now")));
    if marker.is_none() && found.known > 0 {
        words.push(format!("{name} did not say whose it is, and does again"));
    }
    if found.missing > 0 {
        words.push(format!("{} vectors are missing, and are made again", found.missing));
    }
    if found.strangers > 0 {
        words.push(format!("{} vectors of no known picture were deleted", found.strangers));
    }
    Ok((!words.is_empty()).then(|| Mended { part, words: words.join("; ") }))
}

/// All vectors of a model whose collection is not there.
async fn forget_all(app: &App, model: &ModelId) -> Result<u64, RepairError> {
    let (key, mut forgotten) = (model.to_string(), 0);
    loop {
        let page = app.catalog.stored_hashes(&key, None, HASHES_PER_PAGE).await?;
        if page.is_empty() {
            break;
        }
        app.catalog.forget_vectors(&key, &page).await?;
        forgotten += page.len() as u64;
    }
    if forgotten > 0 {
        require(app, model).await?;
    }
    Ok(forgotten)
}

/// Only the model that answers needs a vector of every picture.
async fn require(app: &App, model: &ModelId) -> Result<(), RepairError> {
    if app.store.active().await?.is_none_or(|active| active == model.collection_name()) {
        app.catalog.require_vectors(&model.to_string()).await?;
    }
    Ok(())
}

/// Thumbnails of pictures that nobody knows any more, and those that are cut off.
async fn mend_thumbnails(app: &App) -> Result<Option<Mended>, RepairError> {
    let dir = app.data_dir.thumbnails();
    let files = kept::all(&dir);
    let hashes: Vec<ContentHash> = files.iter().filter_map(|file| file.hash).collect();
    let known = known_contents(app, &hashes).await?;
    let removed = kept::remove_others(&files, |hash| known.contains(hash))
        .map_err(|error| failed(&dir, &error))?;
    let words = format!("{removed} of no known picture, or cut off, were deleted");
    Ok((removed > 0).then_some(Mended { part: "thumbs", words }))
}

/// The same in the bucket, whose objects are whole.
async fn mend_shared_thumbnails(app: &App) -> Result<Option<Mended>, RepairError> {
    let Some(shared) = app.thumbnails.shared() else { return Ok(None) };
    let (mut from, mut removed) = (None, 0);
    loop {
        let (page, next) = shared.page(from.as_deref()).await?;
        let hashes: Vec<ContentHash> = page.iter().map(|(_, hash)| *hash).collect();
        let known = known_contents(app, &hashes).await?;
        for (key, _) in page.iter().filter(|(_, hash)| !known.contains(hash)) {
            shared.delete_key(key).await?;
            removed += 1;
        }
        if next.is_none() {
            break;
        }
        from = next;
    }
    let words = format!("{removed} of no known picture were deleted from {}", shared.location());
    Ok((removed > 0).then_some(Mended { part: "thumbs", words }))
}

/// Those that have a vector of any model, or are about to.
async fn known_contents(
    app: &App,
    hashes: &[ContentHash],
) -> Result<HashSet<ContentHash>, RepairError> {
    let mut known = HashSet::new();
    for used in app.catalog.used_models().await? {
        for hashes in hashes.chunks(HASHES_PER_PAGE as usize) {
            known.extend(app.catalog.known_vectors(&used.id.to_string(), hashes).await?);
        }
    }
    Ok(known)
}

fn failed(dir: &Path, error: &std::io::Error) -> RepairError {
    RepairError::Thumbnails { path: dir.display().to_string(), reason: error.to_string() }
}
