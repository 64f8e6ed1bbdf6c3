//! `feedback export`: all ratings, as JSON Lines or CSV.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Subcommand, ValueEnum};

use super::say;
use crate::catalog::address;
use crate::config::Config;
use crate::feedback::{ExportFormat, export};

#[derive(Subcommand)]
pub(super) enum FeedbackCommand {
    /// Write all ratings with the searches they belong to
    Export {
        /// jsonl has everything, csv opens in a spreadsheet
        #[arg(long, value_enum, default_value_t = Format::Jsonl)]
        format: Format,
        /// File to write instead of standard output
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Format {
    Jsonl,
    Csv,
}

pub(super) async fn run(config: Config, command: FeedbackCommand) -> anyhow::Result<ExitCode> {
    let FeedbackCommand::Export { format, output } = command;
    anyhow::ensure!(
        address::exists(&config)?,
        "there are no ratings in {} yet",
        config.data_dir.display()
    );
    let catalog = address::open(&config).await?;
    let mut out: Box<dyn Write + Send> = match &output {
        Some(path) => Box::new(BufWriter::new(
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?,
        )),
        None => Box::new(std::io::stdout()),
    };
    let format = match format {
        Format::Jsonl => ExportFormat::JsonLines,
        Format::Csv => ExportFormat::Csv,
    };
    let count = export(&catalog, format, &mut *out).await?;
    out.flush()?;
    catalog.close().await;
    if let Some(path) = output {
        say(format_args!("{count} ratings written to {}", path.display()));
    }
    Ok(ExitCode::SUCCESS)
}
