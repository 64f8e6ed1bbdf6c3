//! `serve`: the API, the page and the worker in one process. The server answers while the model loads.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{App, AppError, ModelState};
use crate::config::{Config, Overrides};
use crate::http;

/// How often it is looked whether a model is ready, or has arrived.
const MODELS_POLL_MS: u64 = 500;

#[derive(Args)]
pub(super) struct ServeArgs {
    /// Address to listen on; 0.0.0.0 makes it reachable from other machines [default: 127.0.0.1]
    #[arg(long)]
    host: Option<String>,
    /// Port to listen on [default: 3000]
    #[arg(long, value_name = "N")]
    port: Option<u16>,
}

impl ServeArgs {
    pub(super) fn overrides(&self) -> Overrides {
        let mut flags = Overrides::new();
        if let Some(host) = &self.host {
            flags.push(("server.host", host.clone().into()));
        }
        if let Some(port) = self.port {
            flags.push(("server.port", port.into()));
        }
        flags
    }
}

pub(super) async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let (host, port) = (config.server.host.clone(), config.server.port);
    let listener = TcpListener::bind((host.as_str(), port)).await;
    let listener =
        listener.with_context(|| format!("cannot listen on {host}:{port}; is another program using it? Choose another with --port"))?;
    let address = listener.local_addr()?;
    let app = App::open(config).await?;
    let shown_host = if address.ip().is_unspecified() || address.ip().is_loopback() {
        "localhost".to_owned()
    } else {
        address.ip().to_string()
    };
    let url = format!("http://{shown_host}:{}", address.port());
    app.announce(&url);
    tokio::spawn(log_download(app.clone()));
    let bringing_up = tokio::spawn(bring_up(app.clone(), url));
    tokio::spawn(stop_on_signal(app.clone()));
    let failed = tokio::spawn(watch_bring_up(app.clone(), bringing_up));
    let finished = http::server::serve(
        listener,
        http::router(app.clone()),
        &app.config.server,
        app.stop.clone(),
    )
    .await;
    if !finished {
        tracing::warn!("some requests were still unanswered at the shutdown deadline");
    }
    let deadline = Duration::from_millis(app.config.server.shutdown_timeout_ms);
    if tokio::time::timeout(deadline, app.shut_down()).await.is_err() {
        tracing::warn!(
            "indexing did not stop in time; what was under way is done again at the next start"
        );
    }
    match failed.await? {
        Some(error) => Err(error.into()),
        None => {
            tracing::info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn bring_up(app: Arc<App>, url: String) -> Result<(), AppError> {
    let ingest = app.bring_up_patiently().await?;
    ingest.spawn();
    if let ModelState::Ready(located) = app.model() {
        if let Some(banner) = &located.banner {
            tracing::warn!("{banner}");
        }
        let folders: Vec<String> =
            app.config.images.iter().map(|folder| folder.display().to_string()).collect();
        tracing::info!(url, model = %located.id, folders = folders.join(", "), "ready: copy pictures into the folder, then open the address or try: curl {url}/api/v1/search-image --json '{{\"text\":\"tennis\"}}'");
    }
    tokio::spawn(follow_models(app));
    Ok(())
}

/// Lets a model that is being prepared answer when it can, and for `auto` looks for the preferred model until it is here.
async fn follow_models(app: Arc<App>) {
    let stop = app.stop.clone();
    let following = async {
        let interval = Duration::from_millis(app.config.models.auto_retry_interval_ms);
        let mut next_try = Instant::now() + interval;
        loop {
            tokio::time::sleep(Duration::from_millis(MODELS_POLL_MS)).await;
            let was_next = app.next();
            match app.finish_switch().await {
                Ok(true) if was_next.is_some() => {
                    tracing::info!(
                        model = was_next.map(|next| next.name),
                        "all vectors are made: this model answers now"
                    );
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "could not change over to the next model; trying again")
                }
            }
            let due = Instant::now() >= next_try && !app.config.models.offline;
            if (app.wants_preferred() && (due || app.preferred_is_here())) || app.ingest().is_none()
            {
                match app.fetch_preferred().await {
                    Ok(ingest) => ingest.spawn(),
                    Err(error) => {
                        tracing::warn!(%error, again_in_s = interval.as_secs(), "the preferred model cannot be had yet")
                    }
                }
                next_try = Instant::now() + interval;
            }
        }
    };
    stop.run_until_cancelled(following).await;
}

/// Says in the log how far the download is, every tenth of it.
async fn log_download(app: Arc<App>) {
    let mut told = None;
    loop {
        tokio::time::sleep(Duration::from_millis(MODELS_POLL_MS)).await;
        match app.model() {
            ModelState::Downloading { name, progress } => {
                let tenth = progress.percent().map(|percent| percent / 10);
                if tenth != told && tenth.is_some() {
                    told = tenth;
                    tracing::info!(
                        model = name,
                        megabytes = progress.total_bytes() / 1_000_000,
                        "downloaded: {} %",
                        tenth.unwrap_or(0) * 10
                    );
                }
            }
            ModelState::Loading => {}
            ModelState::Waiting { .. } | ModelState::Ready(_) | ModelState::Failed => return,
        }
    }
}

/// If the model cannot be brought up, the server ends with the reason instead of answering 503 for ever.
async fn watch_bring_up(
    app: Arc<App>,
    bringing_up: tokio::task::JoinHandle<Result<(), AppError>>,
) -> Option<AppError> {
    let abort = bringing_up.abort_handle();
    let outcome = app.stop.run_until_cancelled(bringing_up).await;
    if outcome.is_none() {
        abort.abort();
    }
    let error = outcome.and_then(Result::ok).and_then(Result::err);
    if error.is_some() {
        app.stop.cancel();
    }
    error
}

async fn stop_on_signal(app: Arc<App>) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: finishing what is under way");
    app.stop.cancel();
}
