//! `doctor`: checks everything a user may have to put right, one line each, with what to do; with `--repair` it first mends
//! whatever files, catalog, vectors and thumbnails disagree in.

use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::{EXIT_ERROR, say};
use crate::app::{App, AppError};
use crate::catalog;
use crate::catalog::sqlite::snapshot;
use crate::config::Config;
use crate::data_dir::{self, running_server};
use crate::moment::timestamp;
use crate::repair;
use crate::serving::load_embedder;
use crate::source::address::is_remote;
use crate::thumbnails::SharedThumbnails;

/// What one check found: something to tell, or what is wrong and what to do.
type Finding = Result<String, String>;

#[derive(Args)]
pub(super) struct DoctorArgs {
    /// First mend what files, catalog, vectors and thumbnails disagree in; not while a server runs
    #[arg(long)]
    repair: bool,
}

pub(super) async fn run(config: Config, args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let server = running_server(&config.data_dir);
    if args.repair {
        if let Some(server) = &server {
            anyhow::bail!(
                "the server at {server} has these files open and mends them by itself; stop it for a repair"
            );
        }
        mend(&config).await?;
    }
    let mut all_well = true;
    let mut report = |what: &str, finding: Finding| {
        let (mark, text) = match finding {
            Ok(text) => ("ok  ", text),
            Err(text) => {
                all_well = false;
                ("FAIL", text)
            }
        };
        say(format_args!("{mark}  {what:<9}{text}"));
    };
    // Buckets are asked by whoever follows them; how that went stands below "sources".
    for folder in config.images.iter().filter(|address| !is_remote(address)) {
        report("folder", check_folder(folder));
    }
    report("data", check_data_dir(&config.data_dir));
    if !config.thumbnails.store.is_empty() {
        report("thumbs", check_shared_thumbnails(&config).await);
    }
    report("port", check_port(&config, server.as_deref()));
    report("model", check_model(&config).await);
    report("engine", Ok(other_engine(&config)));
    report("sources", check_sources(&config).await);
    report("index", check_index(config, server.as_deref()).await);
    if all_well {
        say("All is well.");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(EXIT_ERROR))
}

/// Says what was done. A damaged catalog cannot be mended: nothing else knows what was in it.
async fn mend(config: &Config) -> anyhow::Result<()> {
    if !catalog::address::exists(config)? {
        return Ok(());
    }
    let file = catalog::address::file(config)?;
    snapshot::check(&file).await.context(
        "the catalog cannot be mended; bring a backup back (image-search restore), or move the file away and index again, which loses the ratings",
    )?;
    let app = App::open(config.clone()).await?;
    let mended = repair::repair(&app).await;
    app.shut_down().await;
    let mended = mended?;
    for done in &mended {
        say(format_args!("mend  {:<9}{}", done.part, done.words));
    }
    if mended.is_empty() {
        say("mend  nothing disagrees");
    }
    Ok(())
}

fn check_folder(folder: &Path) -> Finding {
    let entries = std::fs::read_dir(folder).map_err(|error| {
        format!(
            "{}: {error}; make it (mkdir -p {}), or name another with --images",
            folder.display(),
            folder.display()
        )
    })?;
    let count = entries.take(1000).count();
    Ok(format!(
        "{} is readable, {count}{} entries",
        folder.display(),
        if count == 1000 { "+" } else { "" }
    ))
}

fn check_data_dir(data_dir: &Path) -> Finding {
    let probe = data_dir.join(format!(".doctor-{}", uuid::Uuid::new_v4()));
    let written = data_dir::make(data_dir)
        .map_err(std::io::Error::other)
        .and_then(|()| std::fs::write(&probe, b"x"))
        .and_then(|()| std::fs::remove_file(&probe));
    written.map_err(|error| {
        format!(
            "{}: {error}; make it writable, or choose another with --data-dir",
            data_dir.display()
        )
    })?;
    Ok(format!("{} is writable", data_dir.display()))
}

async fn check_shared_thumbnails(config: &Config) -> Finding {
    let shared = SharedThumbnails::open(config).map_err(|error| error.to_string())?;
    let Some(shared) = shared else { return Ok("they are not shared".to_owned()) };
    let location = shared
        .check()
        .await
        .map_err(|error| format!("{error}; until then each process makes its own thumbnails"))?;
    Ok(format!("{location} can be read and written"))
}

fn check_port(config: &Config, server: Option<&str>) -> Finding {
    let (host, port) = (config.server.host.as_str(), config.server.port);
    match (TcpListener::bind((host, port)), server) {
        (Ok(_), _) => Ok(format!("{host}:{port} is free")),
        (Err(_), Some(server)) => Ok(format!("image-search is serving at {server}")),
        (Err(error), None) => Err(format!(
            "{host}:{port}: {error}; stop the other program, or choose another with --port"
        )),
    }
}

async fn check_model(config: &Config) -> Finding {
    let (located, embedder) =
        load_embedder(config, None).await.map_err(|error| error.to_string())?;
    let info = embedder.info();
    let notes = located.banner.iter().chain(&info.preparation_notes).chain(&info.engine_note);
    let notes: Vec<&str> = notes.map(String::as_str).collect();
    let provider = info.provider.map(|provider| format!(" ({provider})")).unwrap_or_default();
    let runs = format!(
        "{} loads and runs on {}{provider}, {} dimensions",
        located.id, info.engine, info.dim
    );
    Ok([&[runs.as_str()], notes.as_slice()].concat().join(". "))
}

fn other_engine(config: &Config) -> String {
    let library =
        Some(config.embed.onnxruntime_library.as_path()).filter(|path| *path != Path::new(""));
    match clip::onnxruntime_available(library) {
        Ok(found) => format!("ONNX Runtime is here ({found}); set embed.engine to choose"),
        Err(reason) => {
            format!(
                "rten (built in); ONNX Runtime would index about 1.2 to 1.4 times as fast ({reason}; make onnxruntime gets it)"
            )
        }
    }
}

/// What the catalog remembers of the sources: those that are away, and those that nobody names any more.
async fn check_sources(config: &Config) -> Finding {
    if !catalog::address::exists(config).map_err(|error| error.to_string())? {
        return Ok("nothing is indexed yet".into());
    }
    let catalog = catalog::address::open(config).await.map_err(|error| error.to_string())?;
    let sources = catalog.sources().await.map_err(|error| error.to_string());
    catalog.close().await;
    let sources = sources?;
    let away = sources.iter().filter_map(|source| {
        let away = source.away.as_ref()?;
        Some(format!(
            "{} is away since {} ({}); its {} pictures are kept until it is back",
            source.location,
            timestamp(away.since_ms),
            away.reason,
            source.images
        ))
    });
    let away: Vec<String> = away.collect();
    if !away.is_empty() {
        return Err(away.join("; "));
    }
    let unconfigured = sources.iter().filter(|source| source.unconfigured_since_ms.is_some());
    let unconfigured: Vec<String> = unconfigured
        .map(|source| {
            format!(
                "{} is not configured any more: its {} pictures are hidden, and forgotten {} days after that (name it with --images to have them back)",
                source.location, source.images, config.ingest.forget_after_days
            )
        })
        .collect();
    if unconfigured.is_empty() {
        return Ok("every source is there".into());
    }
    Ok(unconfigured.join("; "))
}

/// Opens catalog and store, unless a running server has them: then its word counts.
async fn check_index(config: Config, server: Option<&str>) -> Finding {
    if let Some(server) = server {
        return check_server(server).await;
    }
    let app = App::open(config).await.map_err(|error: AppError| error.to_string())?;
    let checked = check_open(&app).await;
    app.shut_down().await;
    checked
}

/// What the running server says of its parts.
async fn check_server(server: &str) -> Finding {
    let ready =
        super::remote::readiness(server).await.map_err(|error| format!("{server}: {error:#}"))?;
    let told =
        |part: &str| format!("{part}: {}", ready[part]["detail"].as_str().unwrap_or("not ready"));
    let wrong = ["model", "store", "catalog", "signing_key"]
        .into_iter()
        .filter(|part| ready[*part]["ok"] == false);
    let parts: Vec<String> = wrong.map(told).collect();
    if parts.is_empty() {
        Ok(format!("the server at {server} is ready"))
    } else {
        Err(format!("the server at {server} is not ready: {}", parts.join("; ")))
    }
}

async fn check_open(app: &App) -> Finding {
    app.store.health().await.map_err(|error| error.to_string())?;
    app.catalog.health().await.map_err(|error| error.to_string())?;
    let counts = app.counts().await.map_err(|error| error.to_string())?;
    let active = app.store.active().await.map_err(|error| error.to_string())?;
    if let Some(name) = &active {
        // The pointer alone says nothing: the collection may be gone.
        app.store.marker(name).await.map_err(|error| error.to_string())?;
    }
    let active = active.map_or_else(String::new, |name| format!(", answering from {name}"));
    Ok(format!(
        "{} indexed, {} pending, {} failed{active}",
        counts.indexed, counts.pending, counts.failed
    ))
}
