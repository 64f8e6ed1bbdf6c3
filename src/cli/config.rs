//! `config`: every key with the value that is in force, or with its default. Both are configuration files.

use std::process::ExitCode;

use clap::Args;

use super::write_out;
use crate::config::{DEFAULTS, InForce};

#[derive(Args)]
pub(super) struct ConfigArgs {
    /// Print the defaults instead of what is in force
    #[arg(long)]
    pub(super) defaults: bool,
}

pub(super) fn run(in_force: Option<&InForce>) -> ExitCode {
    match in_force {
        Some(in_force) => write_out(&in_force.to_toml()),
        None => write_out(DEFAULTS),
    }
    ExitCode::SUCCESS
}
