//! `quality`: what the ratings say of the searches, as a table or as JSON.

use std::process::ExitCode;

use clap::Args;

use super::{open_catalog, say, say_json};
use crate::config::Config;
use crate::quality::{Decided, Mean, Report, Share, report};

const QUERY_CHARS_MAX: usize = 40;

#[derive(Args)]
pub(super) struct QualityArgs {
    /// Print the whole report as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(config: Config, args: QualityArgs) -> anyhow::Result<ExitCode> {
    let catalog = open_catalog(&config).await?;
    let report = report(&*catalog, config.learning.ratings_max).await?;
    catalog.close().await;
    if args.json {
        say_json(&serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(report: &Report) {
    let Report { ratings, queries, raters, coverage, .. } = report;
    if *ratings == 0 {
        say("Nothing was rated yet.");
        return print_decided(&report.decided);
    }
    say(format_args!("{ratings} ratings of {queries} queries by {raters} keys or addresses"));
    say(row("", *ratings, report.value, report.thumbs));
    say("");
    say("Over time (UTC)");
    for of in &report.over_time {
        say(row(&of.from, of.ratings, of.value, of.thumbs));
    }
    say("");
    say("By model");
    for of in &report.by_model {
        say(row(&format!("{} {}", of.model, of.revision), of.ratings, of.value, of.thumbs));
    }
    say("");
    say("Queries that did worst");
    for of in &report.worst {
        say(row(&of.text, of.ratings, of.value, of.thumbs));
    }
    say("");
    say(format_args!(
        "Of {} pictures, {} stood in rated answers and {} got a thumb.",
        coverage.images, coverage.shown, coverage.with_thumbs
    ));
    print_decided(&report.decided);
}

fn print_decided(decided: &Decided) {
    let gates = [
        (
            "Whether searches learn from others' ratings, measured on the newest (image-search learn)",
            &decided.learning,
        ),
        ("Models that were to answer next, compared with the former", &decided.switches),
    ];
    for (title, decisions) in gates.into_iter().filter(|(_, decisions)| !decisions.is_empty()) {
        say("");
        say(title);
        for decision in decisions {
            let hand = if decision.by_operator { "by hand, " } else { "" };
            let former = decision.former.as_ref().map(|former| format!(" after {former}"));
            let found = decision.comparison.as_ref().map(|found| format!(": {}", found.in_words()));
            say(format_args!(
                "  {:>4}  {}  {hand}{} {}{}{}",
                decision.number,
                decision.decided,
                decision.outcome,
                decision.model,
                former.unwrap_or_default(),
                found.unwrap_or_default()
            ));
        }
    }
}

fn row(title: &str, ratings: u64, value: Option<Mean>, thumbs: Option<Share>) -> String {
    let title: String = title.chars().take(QUERY_CHARS_MAX).collect();
    let value = value.map(mean).unwrap_or_default();
    let thumbs = thumbs.map(share).unwrap_or_default();
    format!("  {title:QUERY_CHARS_MAX$} {ratings:>6}  {value:20} {thumbs}").trim_end().to_owned()
}

fn mean(value: Mean) -> String {
    match (value.low, value.high) {
        (Some(low), Some(high)) => format!("{:.1} ({low:.1} to {high:.1})", value.mean),
        _ => format!("{:.1}", value.mean),
    }
}

fn share(thumbs: Share) -> String {
    let Share { share, low, high, count } = thumbs;
    let percent = |share: f64| 100.0 * share;
    format!(
        "{:.0} % ({:.0} to {:.0}) of {count} thumbs up",
        percent(share),
        percent(low),
        percent(high)
    )
}
