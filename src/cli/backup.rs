//! `backup` and `restore`: the whole state into a folder and back, also while a server runs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::progress_bar::{VECTORS, progress_bar};
use super::say;
use crate::backup::lender::Borrowed;
use crate::backup::vectors::StoreSource;
use crate::backup::{self, Manifest};
use crate::catalog;
use crate::config::Config;
use crate::data_dir::{DataDir, running_server};
use crate::vector_store::address::open_at;

pub(super) const BACKING_UP: &str = "\
A backup is a data folder of its own with a manifest: the catalog (images, ratings, searches), the vectors, and the keys.
Pictures, thumbnails and models are not in it. Keep it where only you can read it.

While a server runs it goes on as usual; what it acknowledged before the backup began is in the backup. Vectors of a
Qdrant server are in the backup too; whoever prefers Qdrant's own snapshots finds the way in docs/deployment.md.";

pub(super) const RESTORING: &str = "\
The data folder (--data-dir) must be empty or not there yet: nothing is written over. With --vector-store
qdrant+https://host:6334 the vectors go to that server. Start the server afterwards with the same flags as before.";

#[derive(Args)]
pub(super) struct BackupArgs {
    /// Folder for the backup; must be empty or not there yet
    #[arg(value_name = "DIR")]
    to: PathBuf,
}

#[derive(Args)]
pub(super) struct RestoreArgs {
    /// Folder with a backup
    #[arg(value_name = "DIR")]
    from: PathBuf,
}

pub(super) async fn back_up(config: Config, args: BackupArgs) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        catalog::address::exists(&config)?,
        "there is no index in {} yet; there is nothing to back up",
        config.data_dir.display()
    );
    let bar = progress_bar(VECTORS);
    let mut show = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let written = if running_server(&config.data_dir).is_some() {
        let server = Borrowed::from(&config.data_dir).await.context(
            "the running server does not lend its vectors to this user; run backup as the user who runs the server, or stop it first",
        )?;
        backup::write(&config, &server, &args.to, &mut show).await
    } else {
        let _lock = DataDir::take(&config.data_dir)?;
        let catalog = catalog::address::open(&config).await?;
        let installation = catalog.installation().await?;
        catalog.close().await;
        let settings = &config.vector_store;
        let store = open_at(&settings.url, settings, &config.data_dir, &installation).await?;
        let written =
            backup::write(&config, &StoreSource::new(store.clone()), &args.to, &mut show).await;
        let closed = store.close().await;
        let written = written.context("there is no backup");
        closed?;
        bar.finish_and_clear();
        tell_of_backup(&config, &args.to, &written?);
        return Ok(ExitCode::SUCCESS);
    };
    bar.finish_and_clear();
    tell_of_backup(&config, &args.to, &written.context("there is no backup")?);
    Ok(ExitCode::SUCCESS)
}

fn tell_of_backup(config: &Config, to: &Path, manifest: &Manifest) {
    say(format_args!("{} is a backup of {}", to.display(), contents(manifest)));
    let key = &config.token.key_file;
    if *key != Path::new("") {
        say(format_args!("Not in it: the key of tokens, {} (token.key_file).", key.display()));
    }
    say(format_args!("Bring it back: image-search restore {} --data-dir NEW_FOLDER", to.display()));
}

pub(super) async fn restore(config: Config, args: RestoreArgs) -> anyhow::Result<ExitCode> {
    let bar = progress_bar(VECTORS);
    let mut show = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let restored = backup::restore(&config, &args.from, &mut show).await;
    bar.finish_and_clear();
    let manifest = restored.context("nothing was restored")?;
    say(format_args!(
        "{} holds again, as of {}: {}",
        config.data_dir.display(),
        manifest.made_at,
        contents(&manifest)
    ));
    say("Start it: image-search serve, with the same flags.");
    Ok(ExitCode::SUCCESS)
}

fn contents(manifest: &Manifest) -> String {
    let vectors: u64 = manifest.collections.iter().map(|collection| collection.vectors).sum();
    let images = &manifest.images;
    format!(
        "{} indexed pictures ({} pending, {} failed), {} ratings, {vectors} vectors; compared id by id.",
        images.indexed, images.pending, images.failed, manifest.ratings
    )
}
