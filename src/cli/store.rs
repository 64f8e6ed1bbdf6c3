//! `store copy`: moves an index between stores without computing an embedding again. Can be repeated until it is done.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use super::say;
use crate::config::Config;
use crate::serving::named_collection;
use crate::vector_store::address::open_at;
use crate::vector_store::copy::{CopyProgress, CopyReport, copy};
use crate::vector_store::{StoreError, VectorStore};

const ADDRESSES: &str = "\
Addresses:
  embedded                     the store in this data folder (--data-dir); stop the server that uses it
  embedded:DIR                 the store in another data folder
  qdrant+https://host:6334     a Qdrant server; its key comes from vector_store.api_key_file
                               or IMAGE_SEARCH_VECTOR_STORE__API_KEY

Only what is missing is sent: after an interruption, run it again. At the end counts, sampled vectors and sampled
searches are compared.";

#[derive(Subcommand)]
pub(super) enum StoreCommand {
    /// Copy all vectors from one store to another
    #[command(after_help = ADDRESSES)]
    Copy(CopyArgs),
}

#[derive(Args)]
pub(super) struct CopyArgs {
    /// Where they are
    from: String,
    /// Where they shall be
    to: String,
}

pub(super) async fn run(config: Config, command: StoreCommand) -> anyhow::Result<ExitCode> {
    let StoreCommand::Copy(args) = command;
    anyhow::ensure!(args.from != args.to, "both addresses are the same");
    let open = async |address: &str| {
        open_at(address, &config.vector_store, &config.data_dir)
            .await
            .context("cannot open a store")
    };
    let (from, to) = (open(&args.from).await?, open(&args.to).await?);
    let copied = copy_all(&*from, &*to).await;
    let closed = (from.close().await, to.close().await);
    copied.context("the copy is not complete; run it again, it goes on from there")?;
    closed.0?;
    closed.1?;
    say(format_args!(
        "Use it: image-search serve --vector-store {}   (or vector_store = \"{0}\" in the configuration)",
        args.to
    ));
    Ok(ExitCode::SUCCESS)
}

async fn copy_all(from: &dyn VectorStore, to: &dyn VectorStore) -> anyhow::Result<()> {
    let names = from.list().await?;
    if names.is_empty() {
        say("There are no vectors to copy.");
    }
    for name in names {
        let dim = from.dim(&name).await?.ok_or_else(|| StoreError::NoCollection(name.clone()))?;
        let spec = named_collection(name.clone(), dim);
        let (source, target) = (from.open(&spec).await?, to.open(&spec).await?);
        let bar = progress_bar(&name);
        let mut show = |progress: CopyProgress| {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
        };
        let report = copy(&*source, &*target, &mut show).await;
        bar.finish_and_clear();
        let CopyReport { total, copied, extra, sampled } = report?;
        let more =
            if extra == 0 { String::new() } else { format!("; {extra} others were there already") };
        say(format_args!("{name}: {total} vectors, {copied} sent now, {sampled} compared{more}"));
    }
    if let Some(active) = from.active().await? {
        to.activate(&active).await?;
    }
    Ok(())
}

fn progress_bar(name: &str) -> ProgressBar {
    let bar =
        if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    if let Ok(style) =
        ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} vectors, {per_sec}, {eta} left")
    {
        bar.set_style(style);
    }
    bar.set_message(name.to_owned());
    bar
}
