//! `failures`: which pictures could not be indexed and why; `--retry` has them tried again.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::errand::Errand;
use super::errand_runner;
use super::{open_catalog, say, say_json};
use crate::catalog::PageStart;
use crate::config::Config;

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
        return errand_runner::run(config, Errand::Retry).await;
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
