//! `model`: what models there are, and those that are downloaded: get, find, check and remove them, and the vectors of former ones.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::errand::Errand;
use super::errand_runner;
use super::{EXIT_ERROR, download, open_catalog, say};
use crate::catalog::{Gate, GateDecision, GateOutcome};
use crate::config::Config;
use crate::models::{BUNDLED, DownloadProgress, Models};

const PREPARE: &str = "\
For a machine without a network: pull on another one, copy the folder that `model path NAME` prints with everything
above it up to models--… into the same place below the cache folder (models.cache_dir, or HF_HOME/hub), then start the
server there with HF_HUB_OFFLINE=1.";

#[derive(Subcommand)]
pub(super) enum ModelCommand {
    /// List the models that can be named, and which of them are here
    List,
    /// Download a model; goes on where an earlier try broke off
    #[command(after_help = PREPARE)]
    Pull(NameArgs),
    /// Print the folder of a downloaded model
    Path(NameArgs),
    /// Read every file of downloaded models and compare it with what the hub said of it
    Verify(VerifyArgs),
    /// Delete a downloaded model; the vectors that were made with it stay
    Remove(NameArgs),
    /// Delete the vectors of every model but the one that answers
    Prune,
    /// Have the model that is being changed to compared with the former once more, on replayed ratings
    Switch(SwitchArgs),
}

#[derive(Args)]
pub(super) struct SwitchArgs {
    /// Let it answer as soon as it can, whatever the ratings say
    #[arg(long)]
    force: bool,
}

#[derive(Args)]
pub(super) struct NameArgs {
    /// A name that `model list` shows
    name: String,
}

#[derive(Args)]
pub(super) struct VerifyArgs {
    /// A name that `model list` shows [default: all that are here]
    name: Option<String>,
}

pub(super) async fn run(config: Config, command: ModelCommand) -> anyhow::Result<ExitCode> {
    let models = Models::open(&config)?;
    match command {
        ModelCommand::List => list(&models, &config),
        ModelCommand::Pull(args) => return pull(&models, &args.name).await,
        ModelCommand::Path(args) => path(&models, &args.name)?,
        ModelCommand::Verify(args) => return verify(&models, args.name.as_deref()).await,
        ModelCommand::Remove(args) => remove(&models, &args.name)?,
        ModelCommand::Prune => return errand_runner::run(config, Errand::Prune).await,
        ModelCommand::Switch(args) => return switch(&config, args.force).await,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(models: &Models, config: &Config) {
    for entry in models.registry().entries() {
        let here = if models.snapshot(entry).is_some() { "here" } else { "-" };
        let preferred =
            if entry.name == config.models.preferred { " (what auto takes)" } else { "" };
        let engines = if entry.engines.iter().any(|engine| engine == "rten") {
            ""
        } else {
            "; needs ONNX Runtime"
        };
        say(format_args!("{here:<5} {}{preferred}", entry.name));
        say(format_args!(
            "      {}, about {} MB, {} dimensions, languages: {}, licence: {}{engines}",
            entry.display_name, entry.megabytes, entry.dim, entry.languages, entry.licence
        ));
        say(format_args!("      {}", entry.good_for));
    }
    say("here  emoji-clip: built in, tiny, knows little more than emoji-like drawings");
    say(format_args!(
        "Downloaded models are in {}. Get one: image-search model pull NAME",
        models.cache_dir().display()
    ));
}

async fn pull(models: &Models, name: &str) -> anyhow::Result<ExitCode> {
    if name == BUNDLED {
        say(format_args!("{BUNDLED} is built in; use it: image-search serve --model {BUNDLED}"));
        return Ok(ExitCode::SUCCESS);
    }
    let entry = models.entry(name)?;
    let progress = DownloadProgress::default();
    let located =
        download::with_bar(|| Some(&progress), models.fetch(entry, false, &progress)).await?;
    say(format_args!("{} is in {}", located.id, located.dir.display()));
    say(format_args!("Use it: image-search serve --model {}", entry.name));
    Ok(ExitCode::SUCCESS)
}

fn path(models: &Models, name: &str) -> anyhow::Result<()> {
    if name == BUNDLED {
        say(models.bundled(String::new())?.dir.display());
        return Ok(());
    }
    let entry = models.entry(name)?;
    let snapshot = models.snapshot(entry);
    let snapshot = snapshot.ok_or_else(|| {
        anyhow::anyhow!(
            "{} is not here; get it with: image-search model pull {}",
            entry.name,
            entry.name
        )
    })?;
    say(snapshot.dir.display());
    Ok(())
}

async fn verify(models: &Models, name: Option<&str>) -> anyhow::Result<ExitCode> {
    let entries = match name {
        Some(name) => vec![models.entry(name)?],
        None => models.registry().entries().iter().collect(),
    };
    let (mut checked, mut bad) = (0, 0);
    for entry in entries {
        let Some(snapshot) = models.snapshot(entry) else {
            anyhow::ensure!(
                name.is_none(),
                "{} is not here, or not whole; get it with: image-search model pull {}",
                entry.name,
                entry.name
            );
            continue;
        };
        let verified = models.verify(entry, &snapshot).await?;
        checked += 1;
        bad += verified.bad.len();
        if verified.bad.is_empty() {
            say(format_args!(
                "ok    {}: {} files are as they were published",
                entry.name, verified.good
            ));
        } else {
            say(format_args!(
                "BAD   {}: {} changed or missing",
                entry.name,
                verified.bad.join(", ")
            ));
            say(format_args!(
                "      Get it again: image-search model remove {0} && image-search model pull {0}",
                entry.name
            ));
        }
    }
    if checked == 0 {
        say("No model is downloaded. Get one: image-search model pull NAME");
    }
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_ERROR) })
}

fn remove(models: &Models, name: &str) -> anyhow::Result<()> {
    let entry = models.entry(name)?;
    match models.remove(entry)? {
        0 => say(format_args!("{} is not here", entry.name)),
        bytes => say(format_args!(
            "{} is removed, {} MB are free again",
            entry.name,
            bytes.div_ceil(1_000_000)
        )),
    }
    Ok(())
}

/// Whoever changes the model reads it in the catalog.
async fn switch(config: &Config, force: bool) -> anyhow::Result<ExitCode> {
    let catalog = open_catalog(config).await?;
    let last = catalog.last_decision(Gate::Switch).await?;
    let held = last.filter(|last| last.outcome == GateOutcome::Held);
    let next = match &held {
        Some(held) => Some(held.model.clone()),
        None => catalog.indexing_model().await?,
    };
    let next = next.context("no model was ever used here; run: image-search serve")?;
    let outcome = if force { GateOutcome::Forced } else { GateOutcome::Again };
    let decision = GateDecision { by_operator: true, ..GateDecision::now(next.clone(), outcome) };
    anyhow::ensure!(
        held.is_some() || force,
        "no model is held back; what was compared: image-search quality"
    );
    catalog.decide(Gate::Switch, &decision).await?;
    catalog.close().await;
    say(if force {
        format!("{next} answers as soon as all its vectors are made, whatever the ratings say.")
    } else {
        format!("{next} is compared once more with the model that answers.")
    });
    say("A running server begins at once; otherwise run image-search serve or index.");
    Ok(ExitCode::SUCCESS)
}
