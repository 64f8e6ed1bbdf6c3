//! `migrate`: brings the tables of the catalog to this version's, and ends. `serve` does the same at its start; this is for who
//! wants it done once, before the processes of a new version start.

use std::process::ExitCode;

use super::say;
use crate::catalog;
use crate::config::{Config, is_postgres};
use crate::data_dir::DataDir;

pub(super) async fn run(config: Config) -> anyhow::Result<ExitCode> {
    // A file belongs to one process at a time; who changes its tables must be that one.
    let _data_dir = if is_postgres(&config.catalog.url) {
        None
    } else {
        Some(DataDir::take(&config.data_dir)?)
    };
    let steps = catalog::address::migrate(&config).await?;
    say(format_args!("The catalog has the tables of this version (step {steps})."));
    Ok(ExitCode::SUCCESS)
}
