//! The command line: flags and their help, one file per command below `cli/`, logs, exit codes.
//! Progress bars and colours are only for terminals; errors end with what to do next.

mod control;
mod doctor;
mod download;
mod embed;
mod errand;
mod failures;
mod feedback;
mod forget;
mod health;
mod index;
mod model;
mod progress_bar;
mod remote;
mod search;
mod serve;
mod status;
mod stop_signal;
mod store;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::catalog::{self, Catalog};
use crate::config::{Config, LogConfig, LogFormat, Overrides};
use crate::vector_store::embedded::ENGINE_LOG_TARGET;

/// Something went wrong; the message says what.
const EXIT_ERROR: u8 = 1;
/// The command did its work, and some pictures could not be indexed (2 is clap's own for wrong usage).
const EXIT_SOME_FAILED: u8 = 3;
/// Ended by Ctrl-C or SIGTERM before it was done, as shells say it.
const EXIT_INTERRUPTED: u8 = 130;
/// Decoders that cannot be interrupted must not hold up the end.
const STRAGGLERS_PATIENCE: Duration = Duration::from_millis(500);

const EXAMPLES: &str = "\
First steps:
  image-search serve --images ~/Pictures      then open http://localhost:3000
  image-search index --images ~/Pictures      index once, with a progress bar
  image-search search a dog on the beach      search from the terminal
  image-search doctor                         check everything and say what to do

Configuration: every key with its default is in config/default.toml. Later layers win:
  defaults < --config FILE < IMAGE_SEARCH_* (IMAGE_SEARCH_SERVER__PORT=8080) < flags

Exit codes: 0 all is well, 1 an error, 2 wrong usage, 3 done, but some pictures failed,
130 interrupted";

/// Drop pictures in a folder, search them by words, rate the result.
#[derive(Parser)]
#[command(name = "image-search", version, about, after_help = EXAMPLES, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: CommonArgs,
}

/// Flags of every command.
#[derive(Args)]
struct CommonArgs {
    /// Configuration file (TOML)
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder with pictures; give it several times for several folders [default: images]
    #[arg(long, global = true, value_name = "DIR")]
    images: Vec<PathBuf>,
    /// Where the index and everything else is kept [default: data]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Folder with a model bundle, or a name that "image-search model list" shows [default: auto: CLIP if it can be had,
    /// otherwise the small bundled model]
    #[arg(long, global = true, value_name = "DIR|NAME")]
    model: Option<String>,
    /// Where embeddings live: "embedded" or the address of a Qdrant server, "qdrant+https://host:6334" [default: embedded]
    #[arg(long, global = true, value_name = "URL")]
    vector_store: Option<String>,
    /// How much to log: error, warn, info, debug
    #[arg(long, global = true, value_name = "LEVEL")]
    log: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the page and the API, and keep the index equal to the folders
    Serve(serve::ServeArgs),
    /// Index the folders once, then exit
    Index,
    /// Search from the terminal
    Search(search::SearchArgs),
    /// Print embeddings of texts and pictures, one JSON object a line
    Embed(embed::EmbedArgs),
    /// Show how many images are indexed, pending and failed
    Status(status::StatusArgs),
    /// List the pictures that could not be indexed, with the reason
    Failures(failures::FailuresArgs),
    /// Forget pictures that are gone, at once instead of after a while
    Forget(forget::ForgetArgs),
    /// Download, check and remove models
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Move the index between the embedded store and a Qdrant server
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Work with ratings
    #[command(subcommand)]
    Feedback(feedback::FeedbackCommand),
    /// Exit with 0 if the server on this machine answers (for container health checks)
    Health,
    /// Check configuration, folders, model, store and port, and say what to do
    Doctor,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Fails only if it was done before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&anyhow::Error::from(error).context("cannot start")),
    };
    let outcome = runtime.block_on(run(cli));
    runtime.shutdown_timeout(STRAGGLERS_PATIENCE);
    outcome.unwrap_or_else(|error| complain(&error))
}

fn complain(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
    ExitCode::from(EXIT_ERROR)
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { command, common } = cli;
    let mut flags = common.overrides();
    if let Command::Serve(args) = &command {
        flags.extend(args.overrides());
    }
    let quiet = common.log.is_none() && !matches!(command, Command::Serve(_));
    let config = Config::load(common.config.as_deref(), std::env::vars(), flags)?;
    start_logging(&config.log, quiet)?;
    match command {
        Command::Serve(_) => serve::run(config).await,
        Command::Index => index::run(config).await,
        Command::Search(args) => search::run(config, args).await,
        Command::Embed(args) => embed::run(config, args).await,
        Command::Status(args) => status::run(config, &args).await,
        Command::Failures(args) => failures::run(config, args).await,
        Command::Forget(args) => forget::run(config, args).await,
        Command::Feedback(command) => feedback::run(config, command).await,
        Command::Store(command) => store::run(config, command).await,
        Command::Model(command) => model::run(config, command).await,
        Command::Health => Ok(health::run(&config).await),
        Command::Doctor => doctor::run(config).await,
    }
}

impl CommonArgs {
    fn overrides(&self) -> Overrides {
        let mut flags = Overrides::new();
        if !self.images.is_empty() {
            let folders: Vec<String> =
                self.images.iter().map(|folder| folder.display().to_string()).collect();
            flags.push(("images", folders.into()));
        }
        if let Some(data_dir) = &self.data_dir {
            flags.push(("data_dir", data_dir.display().to_string().into()));
        }
        if let Some(model) = &self.model {
            flags.push(("model", model.clone().into()));
        }
        if let Some(url) = &self.vector_store {
            flags.push(("vector_store.url", url.clone().into()));
        }
        if let Some(level) = &self.log {
            flags.push(("log.level", level.clone().into()));
        }
        flags
    }
}

/// Logs go to standard error, so that output can be piped. Commands other than `serve` only warn, unless told otherwise.
fn start_logging(config: &LogConfig, quiet: bool) -> anyhow::Result<()> {
    // Their summaries list what could not be indexed; the pipeline need not say it as well.
    let level = if quiet && config.level == "info" {
        "warn,image_search::ingest::pipeline=error"
    } else {
        &config.level
    };
    // The engine warns of its own internals at every start; what matters of it comes back as an error.
    let filter = EnvFilter::builder()
        .parse(format!("{ENGINE_LOG_TARGET}=error,{level}"))
        .map_err(|error| anyhow::anyhow!("log.level: {error}"))?;
    let pretty = match config.format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call (in tests) keeps the first one's logger.
    let _ = if pretty {
        logs.with_target(false).try_init()
    } else {
        logs.json().flatten_event(true).try_init()
    };
    Ok(())
}

/// The catalog alone, for commands that may run beside a server.
async fn open_catalog(config: &Config) -> anyhow::Result<Arc<dyn Catalog>> {
    anyhow::ensure!(
        catalog::address::exists(config)?,
        "there is no index in {} yet; run image-search index or serve first",
        config.data_dir.display()
    );
    Ok(catalog::address::open(config).await?)
}

/// Writes a text for the user as it is.
fn write_out(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Writes a line for the user. A closed pipe (`| head`) is no error worth telling.
fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
