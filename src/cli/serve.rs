//! `serve`: the API, the page and the worker in one process, or in one each. The server answers while the model loads.

use std::io;
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket, lookup_host};

use super::{control, signs_of_life, stop_signal};
use crate::app::App;
use crate::backup::lender::Lender;
use crate::config::{Config, Overrides, Role, ServerConfig};
use crate::http;
use crate::models::DownloadProgress;
use crate::serving::{Answering, ServingError, ServingState};

/// Files that may be open beside connections: pictures, catalog, the vector store's segments.
const FILES_RESERVED: usize = 512;
/// Of macOS, which calls it so.
const OPEN_MAX: u64 = 10_240;
/// Connections that the system holds for us until they are taken.
const BACKLOG: u32 = 1024;
/// How often it is looked how far a download is.
const DOWNLOAD_POLL: Duration = Duration::from_millis(500);

#[derive(Args)]
pub(super) struct ServeArgs {
    /// Address to listen on; 0.0.0.0 makes it reachable from other machines [default: 127.0.0.1]
    #[arg(long)]
    host: Option<String>,
    /// Port to listen on [default: 3000]
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// What this process does: "api" answers, "worker" indexes, "all" does both [default: all]
    #[arg(long, value_name = "ROLE", value_parser = Role::ALL.map(Role::as_str))]
    role: Option<String>,
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
        if let Some(role) = &self.role {
            flags.push(("role", role.clone().into()));
        }
        flags
    }
}

pub(super) async fn run(mut config: Config) -> anyhow::Result<ExitCode> {
    config.check_role()?;
    fit_connections(&mut config, raise_files_max());
    let (host, port) = (config.server.host.clone(), config.server.port);
    let listener = listen(&config.server).await;
    let listener =
        listener.with_context(|| format!("cannot listen on {host}:{port}; is another program using it? Choose another with --port"))?;
    let address = listener.local_addr()?;
    let app = App::open(config).await?;
    let url = if address.ip().is_unspecified() || address.ip().is_loopback() {
        format!("http://localhost:{}", address.port())
    } else {
        format!("http://{address}")
    };
    if !address.ip().is_loopback() && app.config.server.hosts.is_empty() {
        tracing::info!(
            "others reach this server by its address; for a name, such as photos.example.org, set server.hosts"
        );
    }
    let role = app.config.role;
    if role.answers() {
        warn_of_openness(&app, address).await?;
    }
    app.data_dir.announce(&url);
    lend_to_backups(&app);
    control::listen(app.clone());
    tokio::spawn(log_states(app.clone(), url));
    if role.answers() {
        tokio::spawn(warm_up(app.clone()));
        tokio::spawn(follow_ratings(app.clone()));
    }
    let living = tokio::spawn(signs_of_life::give(app.clone()));
    let stop = app.stop.clone();
    stop_signal::on_signal(move || {
        tracing::info!("stopping: finishing what is under way");
        stop.cancel();
    });
    let serving = tokio::spawn(run_model(app.clone()));
    let finished = http::server::serve(
        listener,
        routes(&app, address.ip()),
        &app.config.server,
        app.metrics.connections.clone(),
        app.stop.clone(),
    )
    .await;
    if !finished {
        tracing::warn!("some requests were still unanswered at the shutdown deadline");
    }
    let deadline = Duration::from_millis(app.config.server.shutdown_timeout_ms);
    let _ = tokio::time::timeout(deadline, living).await;
    if tokio::time::timeout(deadline, app.shut_down()).await.is_err() {
        tracing::warn!(
            "indexing did not stop in time; what was under way is done again at the next start"
        );
    }
    serving.await??;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// At the first address of the host that is free. Connections inherit the size of the buffer: left to itself, the system keeps
/// up to 4 MB of an answer for a client that does not take it.
async fn listen(config: &ServerConfig) -> io::Result<TcpListener> {
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in lookup_host((config.host.as_str(), config.port)).await? {
        let attempt = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // A port is free again at once after a restart.
            socket.set_reuseaddr(cfg!(unix))?;
            socket.set_send_buffer_size(config.send_buffer_bytes)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        };
        match attempt() {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn routes(app: &Arc<App>, bound: IpAddr) -> axum::Router {
    if app.config.role.answers() {
        http::router(app.clone(), bound)
    } else {
        http::worker::worker_router(app.clone(), bound)
    }
}

/// Without its socket the server works all the same; backups then need it stopped.
fn lend_to_backups(app: &App) {
    match Lender::open(app.data_dir.path(), app.store.clone()) {
        Ok(lender) => drop(tokio::spawn(lender.run(app.stop.clone()))),
        Err(error) => {
            tracing::warn!(%error, "cannot open the socket for backups; image-search backup works while this server is stopped");
        }
    }
}

/// Says what anybody may do, if others can reach this server.
async fn warn_of_openness(app: &App, address: std::net::SocketAddr) -> anyhow::Result<()> {
    let (keys, uploads) = (app.access.keys().await?, &app.config.uploads);
    if keys.is_open() && !address.ip().is_loopback() {
        tracing::warn!(
            %address,
            "everybody who reaches this address may see all pictures, search, rate and read the status and the metrics, since there is no API key; image-search key add makes one, and a proxy with a login in front is another way"
        );
    }
    if keys.is_open() && uploads.enabled && !keys.has_configured() {
        tracing::warn!(
            "uploads are switched on, but there is no key that allows them: image-search key add --name NAME --scopes upload"
        );
    }
    Ok(())
}

/// As many files and connections may be open as the system lets this program have. Returns how many; `None` is no limit.
fn raise_files_max() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let most = if cfg!(target_os = "macos") {
        // It says that there is no limit, and takes no higher one than this.
        let most = limit.maximum.map_or(OPEN_MAX, |maximum| maximum.min(OPEN_MAX));
        limit.current.map(|current| current.max(most))
    } else {
        limit.maximum
    };
    match setrlimit(Resource::Nofile, Rlimit { current: most, maximum: limit.maximum }) {
        Ok(()) => most,
        Err(_) => limit.current,
    }
}

/// Connections must leave enough files for pictures, catalog and vectors.
fn fit_connections(config: &mut Config, files_max: Option<u64>) {
    let Some(files_max) = files_max.and_then(|files_max| usize::try_from(files_max).ok()) else {
        return;
    };
    let room = files_max - FILES_RESERVED.min(files_max / 2);
    let wanted = config.server.connections_max;
    if wanted > room {
        tracing::warn!(
            "only {room} connections are taken instead of {wanted} (server.connections_max): the system lets this program open no more than {files_max} files; ulimit -n or LimitNOFILE raises that"
        );
        config.server.connections_max = room.max(1);
    }
}

/// If the model cannot be brought up, the server ends with the reason instead of answering 503 for ever.
async fn run_model(app: Arc<App>) -> Result<(), ServingError> {
    let outcome = app.serving.run(&app.stop).await;
    if outcome.is_err() {
        app.stop.cancel();
    }
    outcome
}

async fn warm_up(app: Arc<App>) {
    app.stop.run_until_cancelled(app.searcher.warm_up()).await;
}

async fn follow_ratings(app: Arc<App>) {
    app.stop.run_until_cancelled(app.searcher.follow_ratings()).await;
}

/// Says in the log how far the model is, and once that all is ready.
async fn log_states(app: Arc<App>, url: String) {
    let mut states = app.serving.subscribe();
    loop {
        let state = states.borrow_and_update().clone();
        match state {
            ServingState::Downloading { name, progress } => {
                tokio::select! {
                    () = log_download(&name, &progress) => {}
                    _ = states.changed() => continue,
                }
            }
            ServingState::Answering { now, .. } => return log_ready(&app, &now, &url),
            ServingState::Failed { .. } => return,
            ServingState::Loading | ServingState::Waiting { .. } => {}
        }
        if states.changed().await.is_err() {
            return;
        }
    }
}

fn log_ready(app: &App, now: &Answering, url: &str) {
    if let Some(banner) = &now.located.banner {
        tracing::warn!("{banner}");
    }
    let folders: Vec<String> =
        app.config.images.iter().map(|folder| folder.display().to_string()).collect();
    let model = &now.located.id;
    if !app.config.role.answers() {
        return tracing::info!(url, %model, folders = folders.join(", "), "ready: this process indexes");
    }
    tracing::info!(url, %model, folders = folders.join(", "), "ready: copy pictures into the folder, then open the address or try: curl {url}/api/v1/search-image --json '{{\"text\":\"tennis\"}}'");
}

/// Says how far a download is, every tenth of it; ends with it.
async fn log_download(name: &str, progress: &DownloadProgress) {
    let mut told = None;
    while told < Some(10) {
        tokio::time::sleep(DOWNLOAD_POLL).await;
        let tenth = progress.percent().map(|percent| percent / 10);
        if tenth > told {
            told = tenth;
            let (megabytes, percent) =
                (progress.total_bytes() / 1_000_000, tenth.unwrap_or(0) * 10);
            tracing::info!(model = name, megabytes, "downloaded: {percent} %");
        }
    }
}
