//! `learn`: measures whether what others' ratings say helps, and switches learning on and off.

use std::process::ExitCode;

use clap::Args;

use super::errand::Errand;
use super::{errand_runner, open_catalog, say};
use crate::catalog::{Gate, GateOutcome};
use crate::config::Config;
use crate::quality::Decision;
use crate::search::decide_by_hand;

const HISTORY_MAX: u32 = 100;

#[derive(Args)]
pub(super) struct LearnArgs {
    #[command(flatten)]
    by_hand: ByHand,
    /// List what was decided, newest first
    #[arg(long, conflicts_with_all = ["on", "off", "auto"])]
    history: bool,
}

#[derive(Args)]
#[group(multiple = false)]
struct ByHand {
    /// Learn from others' ratings, too, whatever is measured
    #[arg(long)]
    on: bool,
    /// Do not learn, not even from one's own ratings; they are kept all the same
    #[arg(long)]
    off: bool,
    /// Learn from others' ratings as long as it is measured to help (the default)
    #[arg(long)]
    auto: bool,
}

impl ByHand {
    fn wanted(&self) -> Option<GateOutcome> {
        match self {
            Self { on: true, .. } => Some(GateOutcome::On),
            Self { off: true, .. } => Some(GateOutcome::Off),
            Self { auto: true, .. } => Some(GateOutcome::Auto),
            _ => None,
        }
    }
}

pub(super) async fn run(config: Config, args: &LearnArgs) -> anyhow::Result<ExitCode> {
    if args.history {
        return history(&config).await;
    }
    let Some(outcome) = args.by_hand.wanted() else {
        return Box::pin(errand_runner::run(config, Errand::Learn)).await;
    };
    let catalog = open_catalog(&config).await?;
    let number = decide_by_hand(&*catalog, outcome).await?;
    catalog.close().await;
    say(format_args!(
        "Version {number}: {}. Running servers go by it within {} s.",
        match outcome {
            GateOutcome::On => "searches learn from others' ratings, whatever is measured",
            GateOutcome::Off => "searches do not learn from ratings",
            _ => "searches learn from others' ratings as long as that is measured to help",
        },
        config.learning.refresh_interval_ms.div_ceil(1000)
    ));
    Ok(ExitCode::SUCCESS)
}

async fn history(config: &Config) -> anyhow::Result<ExitCode> {
    let catalog = open_catalog(config).await?;
    let decisions = catalog.decisions(Gate::Learning, HISTORY_MAX).await?;
    catalog.close().await;
    if decisions.is_empty() {
        say("Nothing was decided yet.");
    }
    for decision in decisions.into_iter().map(Decision::from) {
        say(format_args!(
            "{:>5}  {}  {:<4}  {}{}",
            decision.number,
            decision.decided,
            decision.outcome,
            if decision.by_operator { "by hand  " } else { "" },
            decision.comparison.map(|found| found.in_words()).unwrap_or_default()
        ));
    }
    Ok(ExitCode::SUCCESS)
}
