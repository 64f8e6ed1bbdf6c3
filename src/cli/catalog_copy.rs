//! `catalog copy`: moves the catalog between SQLite and PostgreSQL; can be repeated until it is done.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{say, tell};
use crate::catalog::address;
use crate::catalog::copy::{Access, copy};
use crate::config::{Config, holds_password};
use crate::data_dir::DataDir;

const ADDRESSES: &str = "\
Addresses:
  sqlite                         the catalog in this data folder (--data-dir)
  sqlite:FILE                    a catalog in a file
  postgres://user@host/database  an empty database; its password comes from catalog.password_file,
                                 IMAGE_SEARCH_CATALOG__PASSWORD, PGPASSWORD or ~/.pgpass

Images, vectors' records, ratings and keys are copied, and compared row by row at the end. After an interruption, run it
again: it goes on where it was. A target that holds something else is refused. Stop servers and workers first. The vectors
themselves stay where they are; image-search store copy moves those.";

#[derive(Subcommand)]
pub(super) enum CatalogCommand {
    /// Copy the catalog from one database to another
    #[command(after_help = ADDRESSES)]
    Copy(CopyArgs),
}

#[derive(Args)]
pub(super) struct CopyArgs {
    /// Where it is
    from: String,
    /// Where it shall be
    to: String,
}

pub(super) async fn run(config: Config, command: CatalogCommand) -> anyhow::Result<ExitCode> {
    let CatalogCommand::Copy(CopyArgs { from, to }) = command;
    for address in [&from, &to] {
        anyhow::ensure!(
            !holds_password(address),
            "an address holds a password; leave that out and use catalog.password_file, PGPASSWORD or ~/.pgpass"
        );
    }
    let (from, to) = (named(&config, from)?, named(&config, to)?);
    // Nobody serves from this data folder meanwhile.
    let _lock = DataDir::take(&config.data_dir)?;
    let password = address::password(&config)?;
    let access = Access { password: password.as_ref(), options: &config.catalog.postgres };
    let mut shown = "";
    let mut progress = |table: &'static str, rows: u64| {
        if shown != table {
            tell(format_args!("copying {table}"));
            shown = table;
        }
        tracing::debug!(table, rows, "copied");
    };
    let copied = copy(&from, &to, access, &mut progress).await?;
    for table in &copied {
        say(format_args!("{:<21}{:>10} rows  {}", table.name, table.rows, &table.checksum[..16]));
    }
    say(format_args!(
        "Both are the same. Serve from it with catalog = \"{to}\", or IMAGE_SEARCH_CATALOG={to}"
    ));
    Ok(ExitCode::SUCCESS)
}

/// The file of the catalog in this data folder has no name of its own in an address.
fn named(config: &Config, address: String) -> anyhow::Result<String> {
    match address.strip_prefix("sqlite:") {
        None if address == "sqlite" => {
            Ok(format!("sqlite:{}", config.data_dir.join("catalog.db").display()))
        }
        Some(file) => Ok(format!("sqlite:{}", std::path::absolute(Path::new(file))?.display())),
        None => Ok(address),
    }
}
