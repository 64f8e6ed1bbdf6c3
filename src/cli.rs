//! The command line: flags and their help, one file per command below `cli/`, logs, exit codes.
//! Progress bars and colours are only for terminals; errors end with what to do next.

mod doctor;
mod download;
mod embed;
mod failures;
mod feedback;
mod forget;
mod health;
mod index;
mod key;
mod logs;
mod model;
mod progress_bar;
mod remote;
mod search;
mod serve;
mod status;
mod store;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

use crate::catalog::{self, Catalog};
use crate::config::{Config, Overrides};
use crate::printable::{printable, printable_json, printable_lines};

/// Something went wrong; the message says what.
const EXIT_ERROR: u8 = 1;
/// The command did its work, and some pictures could not be indexed (2 is clap's own for wrong usage).
const EXIT_SOME_FAILED: u8 = 3;

const EXAMPLES: &str = "\
First steps:
  image-search serve --images ~/Pictures      then open http://localhost:3000
  image-search index --images ~/Pictures      index once, with a progress bar
  image-search search a dog on the beach      search from the terminal
  image-search doctor                         check everything and say what to do

Configuration: every key with its default is in config/default.toml. Later layers win:
  defaults < --config FILE < IMAGE_SEARCH_* (IMAGE_SEARCH_SERVER__PORT=8080) < flags

Exit codes: 0 all is well, 1 an error, 2 wrong usage, 3 done, but some pictures failed";

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
    /// Make and remove API keys, and change the key that tokens are signed with
    #[command(subcommand)]
    Key(key::KeyCommand),
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
    // Decoders that could not be interrupted must not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    outcome.unwrap_or_else(|error| complain(&error))
}

fn complain(error: &anyhow::Error) -> ExitCode {
    let error = format!("{error:#}");
    let _ = writeln!(std::io::stderr(), "error: {}", printable_lines(&error));
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
    logs::start(&config.log, quiet)?;
    match command {
        Command::Serve(_) => serve::run(config).await,
        Command::Index => index::run(config).await,
        Command::Search(args) => search::run(config, args).await,
        Command::Embed(args) => embed::run(config, args).await,
        Command::Status(args) => status::run(config, &args).await,
        Command::Failures(args) => failures::run(config, args).await,
        Command::Forget(args) => forget::run(config, args).await,
        Command::Key(command) => key::run(config, command).await,
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

/// Writes a line for the user, in which no name can do more than be shown. A closed pipe (`| head`) is no error worth telling.
fn say(line: impl std::fmt::Display) {
    let line = line.to_string();
    let _ = writeln!(std::io::stdout(), "{}", printable(&line));
}

/// The same beside what is piped on.
fn tell(line: impl std::fmt::Display) {
    let line = line.to_string();
    let _ = writeln!(std::io::stderr(), "{}", printable(&line));
}

/// Writes JSON, on one line or on several.
fn say_json(json: &str) {
    let _ = writeln!(std::io::stdout(), "{}", printable_json(json));
}
