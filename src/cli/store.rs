//! `store copy`: moves an index between stores without computing an embedding again; can be repeated until it is done.
//! `store verify`: compares the store with the catalog, id by id, and mends what differs.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::progress_bar::{VECTORS, progress_bar};
use super::{EXIT_ERROR, open_catalog, say};
use crate::catalog::Catalog;
use crate::config::Config;
use crate::store_check::{Differences, StoreCheck};
use crate::types::Installation;
use crate::vector_store::address::open_at;
use crate::vector_store::copy::{CopyProgress, CopyReport, copy};
use crate::vector_store::{Collection, CollectionSpec, StoreError, VectorStore};

const ADDRESSES: &str = "\
Addresses:
  embedded                     the store in this data folder (--data-dir); stop the server that uses it
  embedded:DIR                 the store in another data folder
  qdrant+https://host:6334     a Qdrant server; its key comes from vector_store.api_key_file
                               or IMAGE_SEARCH_VECTOR_STORE__API_KEY

Only what is missing is sent: after an interruption, run it again. At the end counts, sampled vectors and sampled
searches are compared. Collections of other installations are left alone.";

const VERIFYING: &str = "\
Vectors that the catalog counts on and the store has not are missing; with --repair they are made again, at the next
index or serve. Vectors of the store that the catalog does not know are deleted with --repair.

An embedded store is compared while no server runs; on a Qdrant server also beside one.";

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
    match command {
        StoreCommand::Copy(args) => copy_stores(&config, &args).await,
        StoreCommand::Verify(args) => verify(&config, &args).await,
    }
}

async fn copy_stores(config: &Config, args: &CopyArgs) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(args.from != args.to, "both addresses are the same");
    let catalog = open_catalog(config).await?;
    let installation = catalog.installation().await?;
    let open = async |address: &str| {
        open_at(address, &config.vector_store, &config.data_dir, &installation)
            .await
            .context("cannot open a store")
    };
    let (from, to) = (open(&args.from).await?, open(&args.to).await?);
    let copied = copy_all(&*from, &*to, &installation).await;
    let closed = (from.close().await, to.close().await);
    catalog.close().await;
    copied.context("the copy is not complete; run it again, it goes on from there")?;
    closed.0?;
    closed.1?;
    say(format_args!(
        "Use it: image-search serve --data-dir {} --vector-store {}   (or vector_store = \"{1}\" in the configuration)",
        config.data_dir.display(),
        args.to
    ));
    Ok(ExitCode::SUCCESS)
}

async fn copy_all(
    from: &dyn VectorStore,
    to: &dyn VectorStore,
    installation: &Installation,
) -> anyhow::Result<()> {
    let names = from.list().await?;
    if names.is_empty() {
        say("There are no vectors to copy.");
    }
    let mut ours = Vec::new();
    for name in names {
        let marker = from.marker(&name).await?;
        if marker.is_some_and(|marker| marker.installation != installation.id) {
            say(format_args!("{name}: belongs to another installation; left alone"));
            continue;
        }
        let dim =
            from.dim(&name).await?.ok_or_else(|| StoreError::NoSuchCollection(name.clone()))?;
        let spec = CollectionSpec::of_pictures(name.clone(), dim);
        let (source, target) = (from.open(&spec).await?, to.open(&spec).await?);
        check_target(&*target, installation).await?;
        let bar = progress_bar(VECTORS);
        bar.set_message(name.clone());
        let mut show = |progress: CopyProgress| {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
        };
        let report = copy(&*source, &*target, &mut show).await;
        bar.finish_and_clear();
        if let (Ok(_), Some(marker)) = (&report, marker) {
            target.set_marker(&marker).await?;
            target.flush().await?;
        }
        let CopyReport { total, copied, extra, sampled } = report?;
        let more =
            if extra == 0 { String::new() } else { format!("; {extra} others were there already") };
        ours.push(name.clone());
        say(format_args!("{name}: {total} vectors, {copied} sent now, {sampled} compared{more}"));
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

async fn verify(config: &Config, args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let catalog = open_catalog(config).await?;
    let installation = catalog.installation().await?;
    let settings = &config.vector_store;
    let store = open_at(&settings.url, settings, &config.data_dir, &installation)
        .await
        .context("cannot open the store")?;
    let verified = verify_all(&*catalog, &*store, args).await;
    let closed = store.close().await;
    catalog.close().await;
    let in_order = verified?;
    closed?;
    if in_order {
        return Ok(ExitCode::SUCCESS);
    }
    say("Put it right: image-search store verify --repair");
    Ok(ExitCode::from(EXIT_ERROR))
}

/// Returns whether all is in order, or was put in order.
async fn verify_all(
    catalog: &dyn Catalog,
    store: &dyn VectorStore,
    args: &VerifyArgs,
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
        let found = verify_one(&check, args).await?;
        if args.repair && found.missing > 0 && active.as_ref() == Some(&name) {
            catalog.require_vectors(&used.id.to_string()).await?;
        }
        say(format_args!("{name}: {}", in_words(&found, args.repair)));
        in_order &= found.none() || args.repair;
        compared += 1;
    }
    if compared == 0 {
        say("There are no vectors yet.");
    }
    Ok(in_order)
}

async fn verify_one(check: &StoreCheck<'_>, args: &VerifyArgs) -> anyhow::Result<Differences> {
    let bar = progress_bar(VECTORS);
    bar.set_message(check.collection.spec().name.clone());
    let mut show = |seen, total| {
        bar.set_length(total);
        bar.set_position(seen);
    };
    let is_ours = match check.collection.marker().await? {
        Some(marker) => check.check_owner(&marker).await,
        None => Ok(()),
    };
    let outcome = match is_ours {
        Err(error) if !args.take_over => Err(error),
        _ if !args.repair => check.compare(false, &mut show).await,
        _ => check.repair(args.take_over, &mut show).await,
    };
    bar.finish_and_clear();
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
