//! `key`: API keys, and the key that tokens are signed with. Works beside a running server, which notices within a second.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{open_catalog, say, say_json, tell};
use crate::access::{new_key, words};
use crate::app::token_key_file;
use crate::catalog::{self, KeyScope};
use crate::config::Config;
use crate::data_dir;
use crate::moment::timestamp;
use crate::search_token::TokenSigner;
use crate::types::now_ms;

#[derive(Subcommand)]
pub(super) enum KeyCommand {
    /// Make an API key and print it, once. From the first one on, every request needs a key
    Add(AddArgs),
    /// List the API keys, without the keys
    List {
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Make an API key useless; who is signed in with it is signed out
    Remove {
        /// A name that `key list` shows
        name: String,
    },
    /// Sign tokens with a new key from now on; answers of before can still be rated
    Rotate {
        /// Forget the old keys at once: answers of before cannot be rated any more, and everybody is signed out
        #[arg(long)]
        forget_old: bool,
    },
}

#[derive(Args)]
pub(super) struct AddArgs {
    /// What the key is for, as the list and the log show it
    #[arg(long)]
    name: String,
    /// What it may do: search (and see pictures), feedback, upload (and delete), admin (retry, metrics)
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "search,feedback")]
    scopes: Vec<KeyScope>,
}

pub(super) async fn run(config: Config, command: KeyCommand) -> anyhow::Result<ExitCode> {
    match command {
        KeyCommand::Add(args) => add(&config, args).await?,
        KeyCommand::List { json } => list(&config, json).await?,
        KeyCommand::Remove { name } => remove(&config, &name).await?,
        KeyCommand::Rotate { forget_old } => rotate(&config, forget_old)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(config: &Config, args: AddArgs) -> anyhow::Result<()> {
    data_dir::make(&config.data_dir)?;
    let catalog = catalog::address::open(config).await?;
    let is_first = catalog.api_keys().await?.is_empty();
    let scopes: BTreeSet<KeyScope> = args.scopes.into_iter().collect();
    let (key, secret) = new_key(&args.name, scopes, now_ms())?;
    let added = catalog.add_api_key(&key).await?;
    catalog.close().await;
    anyhow::ensure!(
        added,
        "there is a key {:?} already; choose another name, or remove it first",
        args.name
    );
    // The key alone on standard output, so that it can be piped into a secret store.
    say(&secret);
    tell(format_args!(
        "This is the key {:?} ({}). It is shown only now; send it as Authorization: Bearer … or X-API-Key.",
        args.name,
        words(&key.scopes)
    ));
    if is_first {
        tell(
            "It is the first key: from now on every request needs one. Remove all keys to open the server again.",
        );
    }
    Ok(())
}

async fn list(config: &Config, as_json: bool) -> anyhow::Result<()> {
    let catalog = open_catalog(config).await?;
    let keys = catalog.api_keys().await?;
    catalog.close().await;
    for key in &keys {
        let (scopes, made) = (words(&key.scopes), timestamp(key.created_ms));
        if as_json {
            let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
            let key = json!({"name": key.name, "beginning": key.beginning, "scopes": scopes, "created_at": made});
            say_json(&key.to_string());
        } else {
            say(format_args!("{}…  {scopes}  since {made}  {}", key.beginning, key.name));
        }
    }
    if keys.is_empty() && !as_json {
        say("There is no key: everybody who reaches the server may search and rate.");
    }
    Ok(())
}

async fn remove(config: &Config, name: &str) -> anyhow::Result<()> {
    let catalog = open_catalog(config).await?;
    let removed = catalog.remove_api_key(name).await?;
    let is_open = catalog.api_keys().await?.is_empty();
    catalog.close().await;
    anyhow::ensure!(
        removed,
        "there is no key {name:?}; image-search key list shows those there are"
    );
    say(format_args!("The key {name:?} is removed."));
    if is_open {
        say("It was the last one: everybody who reaches the server may search and rate now.");
    }
    Ok(())
}

fn rotate(config: &Config, forget_old: bool) -> anyhow::Result<()> {
    let path = token_key_file(config);
    let keep_s = config.token.lifetime_s.max(config.access.session_lifetime_s);
    let keep_s = (!forget_old).then_some(keep_s);
    let kid = TokenSigner::rotate(&path, keep_s, now_ms() / 1000)
        .with_context(|| "nothing was changed; a server makes the first key when it starts")?;
    say(format_args!("Tokens are signed with the key {kid} from now on."));
    if forget_old {
        say("Answers of before cannot be rated any more, and everybody is signed out.");
    }
    Ok(())
}
