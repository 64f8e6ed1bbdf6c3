//! `feedback`: `export` writes all ratings, as JSON Lines, CSV or Parquet; `delete` forgets some.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Subcommand, ValueEnum};

use super::say;
use crate::app::token_key_file;
use crate::catalog::{Forgotten, address};
use crate::config::Config;
use crate::feedback::{ExportFormat, export, impression_of};
use crate::moment::parse_ms;
use crate::search_token::TokenSigner;

#[derive(Subcommand)]
pub(super) enum FeedbackCommand {
    /// Write all ratings with the searches they belong to
    Export {
        /// jsonl has everything, csv opens in a spreadsheet, parquet has a row for each result, for training
        #[arg(long, value_enum, default_value_t = Format::Jsonl)]
        format: Format,
        /// File to write instead of standard output
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Forget ratings, their searches, and what was learned from them
    #[command(group = clap::ArgGroup::new("which").required(true))]
    Delete {
        /// The one of the answer with this token
        #[arg(long, group = "which")]
        jwt: Option<String>,
        /// The one with this id, as the export has it
        #[arg(long, group = "which")]
        id: Option<String>,
        /// All of searches for these very words
        #[arg(long, group = "which", value_name = "WORDS")]
        text: Option<String>,
        /// All that were last changed before this: 2026-01-31, or a time as in RFC 3339
        #[arg(long, group = "which", value_name = "TIME")]
        before: Option<String>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Format {
    Jsonl,
    Csv,
    Parquet,
}

pub(super) async fn run(config: Config, command: FeedbackCommand) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        address::exists(&config)?,
        "there are no ratings in {} yet",
        config.data_dir.display()
    );
    match command {
        FeedbackCommand::Export { format, output } => export_all(&config, format, output).await,
        FeedbackCommand::Delete { jwt, id, text, before } => {
            let which = match (jwt, id, text, before) {
                (Some(jwt), ..) => Forgotten::Impression(impression_of(&signer(&config)?, &jwt)?),
                (_, Some(id), ..) => Forgotten::Impression(id),
                (_, _, Some(text), _) => Forgotten::Query(text),
                (.., before) => Forgotten::Before(before.as_deref().and_then(parse_ms).context(
                    "--before wants a date, such as 2026-01-31, or a time as in RFC 3339",
                )?),
            };
            delete(&config, &which).await
        }
    }
}

async fn delete(config: &Config, which: &Forgotten) -> anyhow::Result<ExitCode> {
    let catalog = address::open(config).await?;
    let deleted = catalog.forget_ratings(which).await?;
    catalog.close().await;
    say(format_args!("{deleted} ratings deleted"));
    Ok(ExitCode::SUCCESS)
}

fn signer(config: &Config) -> anyhow::Result<TokenSigner> {
    let (key_file, token) = (token_key_file(config), &config.token);
    Ok(TokenSigner::from_file(&key_file, &token.audience, token.lifetime_s)?)
}

async fn export_all(
    config: &Config,
    format: Format,
    output: Option<PathBuf>,
) -> anyhow::Result<ExitCode> {
    let catalog = address::open(config).await?;
    let mut out: Box<dyn Write + Send> = match &output {
        Some(path) => Box::new(BufWriter::new(
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?,
        )),
        None => Box::new(std::io::stdout()),
    };
    let format = match format {
        Format::Jsonl => ExportFormat::JsonLines,
        Format::Csv => ExportFormat::Csv,
        Format::Parquet => ExportFormat::Parquet,
    };
    let count = export(&catalog, format, &mut *out).await?;
    out.flush()?;
    catalog.close().await;
    if let Some(path) = output {
        say(format_args!("{count} ratings written to {}", path.display()));
    }
    Ok(ExitCode::SUCCESS)
}
