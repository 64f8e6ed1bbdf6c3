//! `status`: counts by state; with a running server also model, rate and what it waits for.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::{open_catalog, remote, say, say_json};
use crate::catalog::SourceRow;
use crate::config::Config;
use crate::data_dir::running_server;
use crate::moment::timestamp;

#[derive(Args)]
pub(super) struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(config: Config, args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let server = running_server(&config.data_dir);
    let status = match &server {
        Some(server) => remote::ask(&config, server, "/api/v1/status").await?,
        None => from_catalog(&config).await?,
    };
    if args.json {
        say_json(&serde_json::to_string_pretty(&status)?);
        return Ok(ExitCode::SUCCESS);
    }
    let count = |state: &str| status["images"][state].as_u64().unwrap_or_default();
    say(format_args!(
        "images   {} indexed, {} pending, {} failed",
        count("indexed"),
        count("pending"),
        count("failed")
    ));
    let further = [
        ("skipped", "no pictures, left alone"),
        ("missing", "gone, and kept for a while in case they come back"),
        ("unconfigured", "of folders that are not configured any more"),
    ];
    for (state, words) in further.into_iter().filter(|(state, _)| count(state) > 0) {
        say(format_args!("         {} {words}", count(state)));
    }
    for source in status["sources"].as_array().into_iter().flatten() {
        if source["away"] == true {
            let text = |key: &str| source[key].as_str().unwrap_or("-").to_owned();
            say(format_args!(
                "away     {} since {}: {} ({} pictures, which are found as before)",
                text("location"),
                text("away_since"),
                text("reason"),
                source["images"]
            ));
        }
    }
    match &server {
        Some(server) => print_server(server, &status),
        None => say("server   not running; start it with: image-search serve"),
    }
    for process in status["processes"].as_array().into_iter().flatten() {
        let text = |key: &str| process[key].as_str().unwrap_or("-").to_owned();
        say(format_args!(
            "process  {} {} on {}, {} pictures/s, {} {}",
            text("role"),
            text("instance"),
            text("host"),
            process["images_per_second"],
            if process["alive"] == true { "seen" } else { "SILENT since" },
            text("last_seen")
        ));
    }
    if count("failed") > 0 {
        say("Why pictures failed: image-search failures");
    }
    Ok(ExitCode::SUCCESS)
}

fn print_server(server: &str, status: &Value) {
    let (model, ingest) = (&status["model"], &status["ingest"]);
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    say(format_args!("server   {server}"));
    let provider = model["provider"].as_str();
    say(format_args!(
        "model    {} ({}), engine {}{}",
        text(&model["name"]),
        text(&model["state"]),
        text(&model["engine"]),
        provider.map(|provider| format!(" ({provider})")).unwrap_or_default()
    ));
    if let Some(note) = model["engine_note"].as_str() {
        say(format_args!("         {note}"));
    }
    if let Some(held) = model["held"]["model"].as_str() {
        say(format_args!(
            "         {held} was worse on rated queries and is held back; image-search model switch --force lets it answer"
        ));
    }
    print_learning(&status["learning"]);
    let store = &status["store"];
    match store["error"].as_str() {
        Some(error) => {
            say(format_args!("vectors  cannot be used ({}): {error}", text(&store["kind"])));
        }
        None => say(format_args!(
            "vectors  {} in {} ({})",
            store["vectors"],
            text(&store["collection"]),
            text(&store["kind"])
        )),
    }
    say(format_args!(
        "ingest   {}, {} pictures/s",
        text(&ingest["state"]),
        ingest["images_per_second"]
    ));
    if let Some(message) = ingest["message"].as_str() {
        say(format_args!("         {message}"));
    }
}

async fn from_catalog(config: &Config) -> anyhow::Result<Value> {
    let catalog = open_catalog(config).await?;
    let (counts, sources) = (catalog.counts().await?, catalog.sources().await?);
    catalog.close().await;
    let told = |source: SourceRow| {
        json!({
            "location": source.location,
            "away": source.away.is_some(),
            "away_since": source.away.as_ref().map(|away| timestamp(away.since_ms)),
            "reason": source.away.as_ref().map(|away| &away.reason),
            "configured": source.unconfigured_since_ms.is_none(),
            "images": source.images,
        })
    };
    let sources: Vec<Value> = sources.into_iter().map(told).collect();
    Ok(json!({"images": counts, "sources": sources}))
}

fn print_learning(learning: &Value) {
    let by_hand = learning["by_operator"] == true;
    let (from, why) = match (&learning["active"], &learning["from_others"]) {
        (Value::Bool(true), Value::Bool(true)) if by_hand => ("others' ratings, too", "by hand"),
        (Value::Bool(true), Value::Bool(true)) => ("others' ratings, too", "measured to help"),
        (Value::Bool(true), _) => ("one's own ratings", "others' are not shown to help yet"),
        _ if by_hand => ("nothing", "by hand"),
        _ => ("nothing", "learning.enabled"),
    };
    say(format_args!("learning from {from} ({why}; image-search learn --history)"));
}
