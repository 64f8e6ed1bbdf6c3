//! `duplicates`: groups of pictures with the same content, and of pictures that look nearly the same.

use std::process::ExitCode;
use std::thread::available_parallelism;

use clap::Args;
use serde::Serialize;

use super::progress_bar::{VECTORS, progress_bar};
use super::say;
use crate::app::App;
use crate::catalog::address;
use crate::config::Config;
use crate::data_dir::running_server;
use crate::search::duplicates::{GroupProgress, groups};
use crate::types::{ContentHash, ImageName};

const WHAT: &str = "\
Exact copies have the same bytes. Near ones were resized or encoded again, or taken in a row: their vectors are at least as
near as the model's description says (search.near_duplicate_cosine overrides it). Nothing is deleted.

An embedded store is looked through while no server runs; on a Qdrant server also beside one.";

/// Contents named at a time.
const PAGE: u32 = 1_000;

#[derive(Args)]
#[command(after_help = WHAT)]
pub(super) struct DuplicatesArgs {
    /// Print JSON: one group a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Group {
    kind: Kind,
    /// The names of each content; of one content, if it is an exact group.
    contents: Vec<Vec<ImageName>>,
}

#[derive(Serialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Exact,
    Near,
}

pub(super) async fn run(config: Config, args: DuplicatesArgs) -> anyhow::Result<ExitCode> {
    if let Some(server) = running_server(&config.data_dir) {
        anyhow::bail!(
            "the server at {server} works with {}; stop it first (make down), or look through a copy with --data-dir",
            config.data_dir.display()
        );
    }
    anyhow::ensure!(
        address::exists(&config)?,
        "there is no index in {} yet; run: image-search index --images DIR",
        config.data_dir.display()
    );
    let app = App::open(config).await?;
    let found = find(&app).await;
    app.shut_down().await;
    print(&found?, args.json)?;
    Ok(ExitCode::SUCCESS)
}

async fn find(app: &App) -> anyhow::Result<Vec<Group>> {
    app.serving.only_answer().await?;
    let state = app.serving.state();
    let Some(answering) = state.answering() else { return Ok(Vec::new()) };
    let bar = progress_bar(VECTORS);
    let mut show = |progress: GroupProgress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    };
    let at_once = available_parallelism().map_or(1, usize::from);
    let nearness = app.searcher.nearness(answering);
    let near = groups(&*answering.collection, nearness, at_once, &mut show).await;
    bar.finish_and_clear();
    let mut found = Vec::new();
    for hashes in near? {
        let contents = names(app, &hashes).await?;
        if contents.len() > 1 {
            found.push(Group { kind: Kind::Near, contents });
        }
    }
    found.extend(exact(app, &answering.embedder.id().to_string()).await?);
    Ok(found)
}

/// Contents with several names.
async fn exact(app: &App, model: &str) -> anyhow::Result<Vec<Group>> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let hashes = app.catalog.stored_hashes(model, after.as_ref(), PAGE).await?;
        let contents = names(app, &hashes).await?.into_iter().filter(|names| names.len() > 1);
        found.extend(contents.map(|names| Group { kind: Kind::Exact, contents: vec![names] }));
        after = hashes.last().copied();
        if after.is_none() {
            return Ok(found);
        }
    }
}

/// The names of those contents that have any, in the order of the hashes.
async fn names(app: &App, hashes: &[ContentHash]) -> anyhow::Result<Vec<Vec<ImageName>>> {
    let mut named = app.catalog.images_of(hashes, u32::MAX).await?;
    Ok(hashes.iter().filter_map(|hash| Some(named.remove(hash)?.names)).collect())
}

fn print(groups: &[Group], as_json: bool) -> anyhow::Result<()> {
    for group in groups {
        if as_json {
            say(serde_json::to_string(group)?);
            continue;
        }
        say(if group.kind == Kind::Exact { "the same content:" } else { "nearly the same:" });
        for name in group.contents.iter().flatten() {
            say(format_args!("  {name}"));
        }
    }
    if !as_json {
        let count = |kind| groups.iter().filter(|group| group.kind == kind).count();
        say(format_args!(
            "{} groups of exact copies, {} groups of near ones",
            count(Kind::Exact),
            count(Kind::Near)
        ));
    }
    Ok(())
}
