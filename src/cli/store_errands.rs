//! What `store copy` and `store verify` ask for, done on whatever handles there are: a server's or the command's own.

use anyhow::Context;

use super::EXIT_ERROR;
use super::errand::{CopyErrand, Handles, Tell, VerifyErrand};
use crate::catalog::Catalog;
use crate::store_check::{Differences, StoreCheck};
use crate::types::Installation;
use crate::vector_store::copy::{CopyProgress, CopyReport, copy};
use crate::vector_store::{Collection, CollectionSpec, StoreError, VectorStore};

pub(super) async fn copy_stores(
    handles: &Handles,
    errand: &CopyErrand,
    tell: &mut dyn Tell,
) -> anyhow::Result<u8> {
    let installation = handles.catalog.installation().await?;
    let (from, close_from) = handles.store(Some(&errand.from), Some(&errand.api_key)).await?;
    let (to, close_to) = handles.store(Some(&errand.to), Some(&errand.api_key)).await?;
    let copied = copy_all(&*from, &*to, &installation, tell).await;
    let closed = (
        if close_from { from.close().await } else { Ok(()) },
        if close_to { to.close().await } else { Ok(()) },
    );
    copied.context("the copy is not complete; run it again, it goes on from there")?;
    closed.0?;
    closed.1?;
    tell.say(&format!(
        "Use it: image-search serve --data-dir {} --vector-store {}   (or vector_store = \"{1}\" in the configuration)",
        handles.config.data_dir.display(),
        errand.to
    ));
    Ok(0)
}

async fn copy_all(
    from: &dyn VectorStore,
    to: &dyn VectorStore,
    installation: &Installation,
    tell: &mut dyn Tell,
) -> anyhow::Result<()> {
    let names = from.list().await?;
    if names.is_empty() {
        tell.say("There are no vectors to copy.");
    }
    let mut ours = Vec::new();
    for name in names {
        let marker = from.marker(&name).await?;
        if marker.is_some_and(|marker| marker.installation != installation.id) {
            tell.say(&format!("{name}: belongs to another installation; left alone"));
            continue;
        }
        let dim =
            from.dim(&name).await?.ok_or_else(|| StoreError::NoSuchCollection(name.clone()))?;
        let spec = CollectionSpec::of_pictures(name.clone(), dim);
        let (source, target) = (from.open(&spec).await?, to.open(&spec).await?);
        check_target(&*target, installation).await?;
        let mut show = |progress: CopyProgress| {
            tell.progress(&name, Some((progress.done, progress.total)));
        };
        let report = copy(&*source, &*target, &mut show).await;
        tell.progress(&name, None);
        if let (Ok(_), Some(marker)) = (&report, marker) {
            target.set_marker(&marker).await?;
            target.flush().await?;
        }
        let CopyReport { total, copied, extra, sampled } = report?;
        let more =
            if extra == 0 { String::new() } else { format!("; {extra} others were there already") };
        tell.say(&format!("{name}: {total} vectors, {copied} sent now, {sampled} compared{more}"));
        ours.push(name);
    }
    let active = from.active().await?.filter(|active| ours.contains(active));
    if let Some(active) = active {
        to.activate(&active).await?;
    }
    Ok(())
}

/// Nobody wants to pour their vectors into somebody else's.
async fn check_target(target: &dyn Collection, installation: &Installation) -> anyhow::Result<()> {
    match target.marker().await? {
        Some(marker) if marker.installation != installation.id => Err(StoreError::NotOurs {
            collection: target.spec().name.clone(),
            why: format!(
                "belongs to another installation of image-search ({})",
                marker.installation
            ),
        }
        .into()),
        _ => Ok(()),
    }
}

pub(super) async fn verify(
    handles: &Handles,
    errand: &VerifyErrand,
    tell: &mut dyn Tell,
) -> anyhow::Result<u8> {
    let (store, close) = handles.store(None, None).await?;
    let verified = verify_all(&*handles.catalog, &*store, errand, tell).await;
    let closed = if close { store.close().await } else { Ok(()) };
    handles.wake();
    let in_order = verified?;
    closed?;
    if in_order {
        return Ok(0);
    }
    tell.say("Put it right: image-search store verify --repair");
    Ok(EXIT_ERROR)
}

/// Returns whether all is in order, or was put in order.
async fn verify_all(
    catalog: &dyn Catalog,
    store: &dyn VectorStore,
    errand: &VerifyErrand,
    tell: &mut dyn Tell,
) -> anyhow::Result<bool> {
    let mut in_order = true;
    let (mut compared, active) = (0, store.active().await?);
    for used in catalog.used_models().await? {
        let name = used.id.collection_name();
        let Some(dim) = store.dim(&name).await? else {
            if active.as_ref() == Some(&name) {
                return Err(StoreError::NoSuchCollection(name).into());
            }
            continue;
        };
        let collection = store.open(&CollectionSpec::of_pictures(name.clone(), dim)).await?;
        let check = StoreCheck { catalog, collection: &*collection, model: &used.id };
        let found = verify_one(&check, errand, tell).await?;
        if errand.repair && found.missing > 0 && active.as_ref() == Some(&name) {
            catalog.require_vectors(&used.id.to_string()).await?;
        }
        tell.say(&format!("{name}: {}", in_words(&found, errand.repair)));
        in_order &= found.none() || errand.repair;
        compared += 1;
    }
    if compared == 0 {
        tell.say("There are no vectors yet.");
    }
    Ok(in_order)
}

async fn verify_one(
    check: &StoreCheck<'_>,
    errand: &VerifyErrand,
    tell: &mut dyn Tell,
) -> anyhow::Result<Differences> {
    let name = check.collection.spec().name.clone();
    let mut show = |seen, total| tell.progress(&name, Some((seen, total)));
    let is_ours = match check.collection.marker().await? {
        Some(marker) => check.check_owner(&marker).await,
        None => Ok(()),
    };
    let outcome = match is_ours {
        Err(error) if !errand.take_over => Err(error),
        _ if !errand.repair => check.compare(false, &mut show).await,
        _ => check.repair(errand.take_over, &mut show).await,
    };
    tell.progress(&name, None);
    Ok(outcome?)
}

fn in_words(found: &Differences, repaired: bool) -> String {
    let Differences { known, missing, strangers } = found;
    if found.none() {
        return format!("{known} vectors, as they shall be");
    }
    let (missing_are, strangers_are) = if repaired {
        ("are made again at the next index or serve", "were deleted")
    } else {
        ("are missing", "are unknown")
    };
    format!("{known} vectors; {missing} {missing_are}, {strangers} others {strangers_are}")
}
