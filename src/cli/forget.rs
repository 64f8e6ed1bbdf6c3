//! `forget`: drops what is known of pictures that are gone, at once instead of after `ingest.forget_after_days`. Never deletes a
//! file: a picture that is still there is found again and indexed anew.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::{open_catalog, say};
use crate::config::Config;
use crate::types::{ImageName, now_ms};

const PAGE: u32 = 1000;

#[derive(Args)]
pub(super) struct ForgetArgs {
    /// Names of images, as searches show them
    #[arg(value_name = "NAME", required_unless_present = "missing")]
    names: Vec<String>,
    /// Everything that is gone from its folder, or belongs to a folder that is not configured any more
    #[arg(long, conflicts_with = "names")]
    missing: bool,
}

pub(super) async fn run(config: Config, args: ForgetArgs) -> anyhow::Result<ExitCode> {
    let names = args.names.iter().map(|name| {
        ImageName::new(name.as_str()).with_context(|| format!("{name:?} is no name of an image"))
    });
    let names = names.collect::<anyhow::Result<Vec<_>>>()?;
    let catalog = open_catalog(&config).await?;
    let now = now_ms();
    let mut forgotten = 0;
    if args.missing {
        loop {
            let some = catalog.forget_missing(now, PAGE, now).await?;
            forgotten += some;
            if some < u64::from(PAGE) {
                break;
            }
        }
    } else {
        forgotten = catalog.forget(&names, now).await?;
    }
    catalog.close().await;
    say(format_args!(
        "{forgotten} pictures are forgotten; their vectors go when a server runs or image-search index does."
    ));
    Ok(ExitCode::SUCCESS)
}
