//! `store copy`: moves an index between stores without computing an embedding again; can be repeated until it is done.
//! `store verify`: compares the store with the catalog, id by id, and mends what differs.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::errand::{CopyErrand, Errand, VerifyErrand};
use super::errand_runner;
use crate::config::{Config, EMBEDDED};

const ADDRESSES: &str = "\
Addresses:
  embedded                     the store in this data folder (--data-dir)
  embedded:DIR                 the store in another data folder
  qdrant+https://host:6334     a Qdrant server; its key comes from vector_store.api_key_file
                               or IMAGE_SEARCH_VECTOR_STORE__API_KEY

Only what is missing is sent: after an interruption, run it again. At the end counts, sampled vectors and sampled
searches are compared. Collections of other installations are left alone. A server that has the data folder open does it.";

const VERIFYING: &str = "\
Vectors that the catalog counts on and the store has not are missing; with --repair they are made again, at the next
index or serve. Vectors of the store that the catalog does not know are deleted with --repair.

A server that has the data folder open does it, on the store that it has open.";

#[derive(Subcommand)]
pub(super) enum StoreCommand {
    /// Copy all vectors from one store to another
    #[command(after_help = ADDRESSES)]
    Copy(CopyArgs),
    /// Compare the vector store with the catalog, id by id
    #[command(after_help = VERIFYING)]
    Verify(VerifyArgs),
}

#[derive(Args)]
pub(super) struct CopyArgs {
    /// Where they are
    from: String,
    /// Where they shall be
    to: String,
}

#[derive(Args)]
pub(super) struct VerifyArgs {
    /// Put right what differs
    #[arg(long)]
    repair: bool,
    /// Also make collections ours that are another installation's, or nobody's, and hold what we do not know
    #[arg(long, requires = "repair")]
    take_over: bool,
}

pub(super) async fn run(config: Config, command: StoreCommand) -> anyhow::Result<ExitCode> {
    let errand = match command {
        StoreCommand::Copy(CopyArgs { from, to }) => {
            let api_key = config.vector_store.api_key()?.unwrap_or_default();
            let (from, to) = (absolute(from)?, absolute(to)?);
            anyhow::ensure!(from != to, "both addresses are the same");
            Errand::Copy(CopyErrand { from, to, api_key })
        }
        StoreCommand::Verify(VerifyArgs { repair, take_over }) => {
            Errand::Verify(VerifyErrand { repair, take_over })
        }
    };
    errand_runner::run(config, errand).await
}

/// The server that does it may have another working directory.
fn absolute(address: String) -> anyhow::Result<String> {
    match address.split_once(':') {
        Some((EMBEDDED, dir)) => {
            Ok(format!("{EMBEDDED}:{}", std::path::absolute(Path::new(dir))?.display()))
        }
        _ => Ok(address),
    }
}
