//! `index`: one pass over the folders with a progress bar, a summary, and an exit code that tells.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use parking_lot::Mutex;

use super::progress_bar::{PICTURES, progress_bar};
use super::{EXIT_INTERRUPTED, EXIT_SOME_FAILED, download, say, stop_signal};
use crate::app::App;
use crate::catalog::PageStart;
use crate::config::Config;
use crate::printable::printable;
use crate::serving::Switching;

const FAILURES_SHOWN_MAX: u32 = 10;

pub(super) async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let app = App::open(config).await?;
    let ingest = download::bring_up(&app).await?;
    let indexed_before = app.metrics.indexed.get();
    let started = Instant::now();
    let bar = progress_bar(PICTURES);
    let showing = tokio::spawn(show(app.clone(), bar.clone()));
    let running = Arc::new(Mutex::new(ingest.clone()));
    let interrupting = running.clone();
    stop_signal::on_signal(move || interrupting.lock().interrupt());
    let outcome = ingest.run_once().await;
    // Who is replaced by the former model is stopped, too.
    let mut is_interrupted = ingest.is_interrupted();
    if let Switching::Held(former) = app.serving.finish_switch().await? {
        running.lock().clone_from(&former);
        // What was added meanwhile is to be found, too.
        former.run_once().await?;
        is_interrupted |= former.is_interrupted();
        say(
            "This model is worse on rated queries than the one before, which goes on: image-search quality",
        );
        say("Let it answer all the same: image-search model switch --force");
    }
    showing.abort();
    bar.finish_and_clear();
    let summary =
        summarize(&app, app.metrics.indexed.get() - indexed_before, started.elapsed()).await;
    app.shut_down().await;
    if is_interrupted {
        summary?;
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    }
    outcome?;
    summary
}

async fn show(app: Arc<App>, bar: ProgressBar) {
    loop {
        if let (Ok(counts), Some(ingest)) = (app.counts().await, app.serving.state().ingest()) {
            let status = ingest.status(counts.pending);
            bar.set_length(counts.pending + counts.indexed + counts.failed);
            bar.set_position(counts.indexed + counts.failed);
            let rate = status.images_per_second;
            let left = if rate > 0.0 {
                format!(", {} left", minutes((counts.pending as f64 / rate) as u64))
            } else {
                String::new()
            };
            let message = status.message.map(|message| printable(&message).to_string());
            bar.set_message(message.unwrap_or_else(|| format!("{rate:.1} pictures/s{left}")));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn minutes(seconds: u64) -> String {
    if seconds < 60 { format!("{seconds} s") } else { format!("{} min", seconds.div_ceil(60)) }
}

async fn summarize(app: &App, indexed: u64, took: Duration) -> anyhow::Result<ExitCode> {
    let counts = app.counts().await?;
    let rate = indexed as f64 / took.as_secs_f64().max(0.001);
    say(format_args!(
        "{indexed} pictures indexed in {:.1} s ({rate:.1} pictures/s); {} are searchable.",
        took.as_secs_f64(),
        counts.indexed
    ));
    if counts.pending > 0 {
        say(format_args!(
            "{} pictures are still pending; run index again to go on.",
            counts.pending
        ));
    }
    for (what, files) in app.catalog.skipped().await? {
        say(format_args!("Left alone, since it is no picture: {files} x {what}"));
    }
    for source in app.catalog.sources().await? {
        if let Some(away) = source.away {
            say(format_args!(
                "Away: {} ({}). What is known of its {} pictures is kept.",
                source.location, away.reason, source.images
            ));
        }
    }
    if counts.failed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let page = app.catalog.failures(FAILURES_SHOWN_MAX, PageStart::Offset(0)).await?;
    say(format_args!("Could not be indexed: {}", page.total));
    for failed in page.failures {
        say(format_args!("  {}: {}", failed.name, failed.failure.reason));
    }
    say("All of them: image-search failures. Try again: image-search failures --retry");
    Ok(ExitCode::from(EXIT_SOME_FAILED))
}
