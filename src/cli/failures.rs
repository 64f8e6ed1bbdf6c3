//! `failures`: which pictures could not be indexed and why; `--retry` has them tried again.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{open_catalog, remote, say, say_json};
use crate::catalog::PageStart;
use crate::config::Config;
use crate::data_dir::running_server;

const PAGE: u32 = 500;

#[derive(Args)]
pub(super) struct FailuresArgs {
    /// Try all failed pictures again
    #[arg(long)]
    retry: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(config: Config, args: FailuresArgs) -> anyhow::Result<ExitCode> {
    if args.retry {
        return retry(&config).await;
    }
    let catalog = open_catalog(&config).await?;
    let (mut start, mut total) = (PageStart::Offset(0), 0);
    loop {
        let page = catalog.failures(PAGE, start).await?;
        total = page.total.max(total);
        for failed in &page.failures {
            if args.json {
                let failed = json!({"image_name": failed.name, "code": failed.failure.code, "reason": failed.failure.reason, "attempts": failed.attempts});
                say_json(&failed.to_string());
            } else {
                say(format_args!(
                    "{}: {} ({}, attempts: {})",
                    failed.name, failed.failure.reason, failed.failure.code, failed.attempts
                ));
            }
        }
        match page.next {
            Some(next) => start = PageStart::After(next),
            None => break,
        }
    }
    let unnameable = catalog.unnameable().await?;
    catalog.close().await;
    for file in &unnameable {
        if args.json {
            say_json(&json!({"shown": file.shown, "reason": file.reason}).to_string());
        } else {
            say(format_args!("{}: {}", file.shown, file.reason));
        }
    }
    if total == 0 && unnameable.is_empty() && !args.json {
        say("No failures.");
    }
    Ok(ExitCode::SUCCESS)
}

async fn retry(config: &Config) -> anyhow::Result<ExitCode> {
    if let Some(server) = running_server(&config.data_dir) {
        let answer =
            remote::ask(config, &server, "/api/v1/failures/retry", Some(&json!({}))).await?;
        say(format_args!("Pictures being tried again: {}", answer["retried"]));
        return Ok(ExitCode::SUCCESS);
    }
    let catalog = open_catalog(config).await?;
    let retried = catalog.retry(None).await?;
    catalog.close().await;
    say(format_args!(
        "Pictures to be tried again by the next image-search index or serve: {retried}"
    ));
    Ok(ExitCode::SUCCESS)
}
