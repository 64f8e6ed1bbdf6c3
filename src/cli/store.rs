//! `store copy`: moves an index between stores without computing an embedding again; can be repeated until it is done.
//! `store verify`: compares the store with the catalog, id by id, and mends what differs.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::EXIT_ERROR;
use super::errand::{self, CopyErrand, Errand, Handles, Tell, VerifyErrand};
use crate::catalog::Catalog;
use crate::config::{Config, EMBEDDED};
use crate::store_check::{Differences, StoreCheck};
use crate::types::Installation;
use crate::vector_store::copy::{CopyProgress, CopyReport, copy};
use crate::vector_store::{Collection, CollectionSpec, StoreError, VectorStore};

const ADDRESSES: &str = "\
Addresses:
  embedded                     the store in this data folder (--data-dir)
  embedded:DIR                 the store in another data folder
  qdrant+https://host:6334     a Qdrant server; its key comes from vector_store.api_key_file
                               or IMAGE_SEARCH_VECTOR_STORE__API_KEY

Only what is missing is sent: after an interruption, run it again. At the end counts, sampled vectors and sampled
searches are compared. Collections of other installations are left alone. A server that has the data folder open does it.";

const VERIFYING: &str = "\
Vectors that the catalog counts on and the store has not are missing; with --repair they are made again, at the next
index or serve. Vectors of the store that the catalog does not know are deleted with --repair.

A server that has the data folder open does it, on the store that it has open.";

#[derive(Subcommand)]
pub(super) enum StoreCommand {
    /// Copy all vectors from one store to another
    #[command(after_help = ADDRESSES)]
    Copy(CopyArgs),
    /// Compare the vector store with the catalog, id by id
    #[command(after_help = VERIFYING)]
    Verify(VerifyArgs),
}

#[derive(Args)]
pub(super) struct CopyArgs {
    /// Where they are
    from: String,
    /// Where they shall be
    to: String,
}

#[derive(Args)]
pub(super) struct VerifyArgs {
    /// Put right what differs
    #[arg(long)]
    repair: bool,
    /// Also make collections ours that are another installation's, or nobody's, and hold what we do not know
    #[arg(long, requires = "repair")]
    take_over: bool,
}

pub(super) async fn run(config: Config, command: StoreCommand) -> anyhow::Result<ExitCode> {
    let errand = match command {
        StoreCommand::Copy(CopyArgs { from, to }) => {
            let api_key = config.vector_store.api_key()?.unwrap_or_default();
            let (from, to) = (absolute(from)?, absolute(to)?);
            anyhow::ensure!(from != to, "both addresses are the same");
            Errand::Copy(CopyErrand { from, to, api_key })
        }
        StoreCommand::Verify(VerifyArgs { repair, take_over }) => {
            Errand::Verify(VerifyErrand { repair, take_over })
        }
    };
    errand::run(config, errand).await
}

/// The server that does it may have another working directory.
fn absolute(address: String) -> anyhow::Result<String> {
    match address.split_once(':') {
        Some((EMBEDDED, dir)) => {
            Ok(format!("{EMBEDDED}:{}", std::path::absolute(Path::new(dir))?.display()))
        }
        _ => Ok(address),
    }
}

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
