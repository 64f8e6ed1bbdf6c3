//! The command line: flags and their help, one file per command below `cli/`, logs, exit codes.
//! Progress bars and colours are only for terminals; errors end with what to do next.

mod api_client;
mod backup;
mod catalog_copy;
mod config;
mod control;
mod doctor;
mod download;
mod duplicates;
mod embed;
mod errand;
mod errand_runner;
mod errand_work;
mod failures;
mod feedback;
mod forget;
mod health;
mod index;
mod key;
mod learn;
mod logs;
mod manual;
mod mcp;
mod migrate;
mod model;
mod picture_file;
mod picture_paths;
mod progress_bar;
mod quality;
mod remote;
mod results_page;
mod search;
mod search_filter;
mod serve;
mod signs_of_life;
mod status;
mod stop_signal;
mod store;
mod store_errands;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::catalog::{self, Catalog};
use crate::config::{Config, Overrides};
use crate::decoder;
use crate::printable::{printable, printable_json, printable_lines};

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
  image-search duplicates                     list copies and pictures that look nearly the same
  image-search doctor                         check everything and say what to do

Configuration: image-search config shows every key, what it means, and what is in force. Later layers win:
  defaults < --config FILE < IMAGE_SEARCH_* (IMAGE_SEARCH_SERVER__PORT=8080) < flags

Exit codes: 0 all is well, 1 an error, 2 wrong usage, 3 done, but some pictures failed,
130 interrupted";

/// What help calls the options of every command.
const GLOBAL: &str = "Options of every command";
const SEE_GLOBAL: &str = "Options of every command (--config, --images, --data-dir, --model, --vector-store, --log): image-search --help";

/// Drop pictures in a folder, search them by words, rate the result.
#[derive(Parser)]
#[command(name = "image-search", version = env!("IMAGE_SEARCH_VERSION"), about, after_help = EXAMPLES, max_term_width = 110)]
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
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder with pictures; give it several times for several folders [default: images]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "DIR")]
    images: Vec<PathBuf>,
    /// Where the index and everything else is kept [default: data]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Folder with a model bundle, or a name that "image-search model list" shows [default: auto: CLIP if it can be had,
    /// otherwise the small bundled model]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "DIR|NAME")]
    model: Option<String>,
    /// Where embeddings live: "embedded" or the address of a Qdrant server, "qdrant+https://host:6334" [default: embedded]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "URL")]
    vector_store: Option<String>,
    /// How much to log: error, warn, info, debug
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "LEVEL")]
    log: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the page and the API, and keep the index equal to the folders
    Serve(serve::ServeArgs),
    /// Index the folders once, then exit
    Index,
    /// Bring the catalog's tables to this version's, then exit; serve does it, too
    Migrate,
    /// Search from the terminal
    Search(search::SearchArgs),
    /// List pictures with the same content, and pictures that look nearly the same
    Duplicates(duplicates::DuplicatesArgs),
    /// Let an assistant search: a server of the Model Context Protocol over standard input and output
    Mcp,
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
    /// Move the catalog between a file and a PostgreSQL database
    #[command(subcommand)]
    Catalog(catalog_copy::CatalogCommand),
    /// Write the whole state (catalog, vectors, keys) into a folder, also while a server runs
    #[command(after_help = backup::BACKING_UP)]
    Backup(backup::BackupArgs),
    /// Make an empty data folder what it was when a backup was made
    #[command(after_help = backup::RESTORING)]
    Restore(backup::RestoreArgs),
    /// Make and remove API keys, and change the key that tokens are signed with
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Show what the ratings say: over time, by model, and which queries did worst
    Quality(quality::QualityArgs),
    /// Measure on the newest ratings whether learning from others' helps, and switch it on or off
    Learn(learn::LearnArgs),
    /// Work with ratings
    #[command(subcommand)]
    Feedback(feedback::FeedbackCommand),
    /// Exit with 0 if the server on this machine answers (for container health checks)
    Health,
    /// Decode pictures for another process of this program
    #[command(hide = true)]
    DecodePictures { memory_bytes_max: u64 },
    /// Check configuration, folders, model, store and port, and say what to do
    Doctor(doctor::DoctorArgs),
    /// Print every configuration key with what is in force
    Config(config::ConfigArgs),
    /// Print a script that completes commands and options
    Completions(manual::CompletionsArgs),
    /// Print the manual page, for man -l
    Man,
}

/// The description of all commands. Options that every command has are shown once, at the top, and not again in the help of
/// each.
fn description() -> clap::Command {
    let mut command = Cli::command();
    command.build();
    let names: Vec<String> =
        command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        command = command.mut_subcommand(name, without_global);
    }
    command
}

fn without_global(command: clap::Command) -> clap::Command {
    let names: Vec<String> =
        command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let mut command =
        command.mut_args(|arg| if arg.is_global_set() { arg.hide(true) } else { arg });
    for name in names {
        command = command.mut_subcommand(name, without_global);
    }
    let examples = command.get_after_help().map(ToString::to_string);
    match examples {
        Some(examples) => command.after_help(format!("{examples}\n\n{SEE_GLOBAL}")),
        None => command.after_help(SEE_GLOBAL),
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    let matches = description().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if let Command::DecodePictures { memory_bytes_max } = cli.command {
        // Before anything else is there: no thread, no file, no connection.
        return match decoder::child::run(memory_bytes_max) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&anyhow::Error::from(error).context("cannot decode")),
        };
    }
    decoder::can_be_started();
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
    let error = format!("{error:#}");
    let _ = writeln!(std::io::stderr(), "error: {}", printable_lines(&error));
    ExitCode::from(EXIT_ERROR)
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { command, common } = cli;
    match &command {
        Command::Completions(args) => return Ok(manual::completions(Cli::command(), args)),
        Command::Man => return manual::page(&description()),
        Command::Config(config::ConfigArgs { defaults: true }) => return Ok(config::run(None)),
        _ => {}
    }
    let mut flags = common.overrides();
    if let Command::Serve(args) = &command {
        flags.extend(args.overrides());
    }
    let quiet = common.log.is_none() && !matches!(command, Command::Serve(_));
    let (config, in_force) =
        Config::load_with_layers(common.config.as_deref(), std::env::vars(), flags)?;
    logs::start(&config.log, quiet)?;
    match command {
        Command::Serve(_) => Box::pin(serve::run(config)).await,
        Command::Index => index::run(config).await,
        Command::Migrate => migrate::run(config).await,
        Command::Search(args) => Box::pin(search::run(config, args)).await,
        Command::Duplicates(args) => Box::pin(duplicates::run(config, args)).await,
        Command::Mcp => Box::pin(mcp::run(config)).await,
        Command::Embed(args) => embed::run(config, args).await,
        Command::Status(args) => status::run(config, &args).await,
        Command::Failures(args) => failures::run(config, args).await,
        Command::Forget(args) => forget::run(config, args).await,
        Command::Key(command) => key::run(config, command).await,
        Command::Quality(args) => quality::run(config, args).await,
        Command::Learn(args) => learn::run(config, &args).await,
        Command::Feedback(command) => feedback::run(config, command).await,
        Command::Backup(args) => backup::back_up(config, args).await,
        Command::Restore(args) => backup::restore(config, args).await,
        Command::Store(command) => store::run(config, command).await,
        Command::Catalog(command) => catalog_copy::run(config, command).await,
        Command::Model(command) => model::run(config, command).await,
        Command::Health => Ok(health::run(&config).await),
        Command::Doctor(args) => Box::pin(doctor::run(config, &args)).await,
        Command::Config(_) => Ok(config::run(Some(&in_force))),
        // Have no configuration, and were answered in `main`.
        Command::DecodePictures { .. } | Command::Completions(_) | Command::Man => {
            Ok(ExitCode::SUCCESS)
        }
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
