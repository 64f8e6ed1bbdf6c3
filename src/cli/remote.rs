//! Asks the server that already works with the data folder, for commands that cannot open it a second time.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::access::OPERATOR;
use crate::app::token_key_file;
use crate::config::Config;
use crate::search_token::TokenSigner;
use crate::types::now_ms;

const TIMEOUT_MS: u64 = 30_000;
const ALIVE_TIMEOUT_MS: u64 = 2_000;
/// As long as a request may take, and a clock be wrong.
const PROOF_LIFETIME_S: u64 = 120;

/// A request to the running server; `body` makes it a POST.
pub(super) async fn ask(
    config: &Config,
    server: &str,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Value> {
    let (success, answer) = send(server, path, body, proof(config)).await?;
    if !success {
        bail!("{}", answer["detail"].as_str().unwrap_or("the server refused"));
    }
    Ok(answer)
}

/// What the running server says of its parts, ready or not.
pub(super) async fn readiness(server: &str) -> anyhow::Result<Value> {
    Ok(send(server, "/readyz", None, None).await?.1)
}

/// Whether it answers at all.
pub(super) async fn is_alive(server: &str) -> anyhow::Result<()> {
    let client = reqwest::Client::builder()
        .timeout(Duration::from_millis(ALIVE_TIMEOUT_MS))
        .no_proxy()
        .build()?;
    let response = client
        .get(format!("{server}/healthz"))
        .send()
        .await
        .with_context(|| format!("the server at {server} does not answer"))?;
    response.error_for_status()?;
    Ok(())
}

/// Who can read the key that the server signs with may ask for everything. `None` if this user cannot.
pub(super) fn proof(config: &Config) -> Option<String> {
    let path = token_key_file(config);
    // Looked for first, since opening makes one.
    std::fs::File::open(&path).ok()?;
    let tokens = TokenSigner::from_file(&path, &config.token.audience, 0).ok()?;
    tokens.sign_session(OPERATOR, PROOF_LIFETIME_S, now_ms() / 1000).ok()
}

async fn send(
    server: &str,
    path: &str,
    body: Option<&Value>,
    proof: Option<String>,
) -> anyhow::Result<(bool, Value)> {
    let client =
        reqwest::Client::builder().timeout(Duration::from_millis(TIMEOUT_MS)).no_proxy().build()?;
    let url = format!("{server}{path}");
    let request = match body {
        // As the server's own page would ask.
        Some(body) => client.post(&url).header("origin", server).json(body),
        None => client.get(&url),
    };
    let request = match proof {
        Some(proof) => request.bearer_auth(proof),
        None => request,
    };
    let response =
        request.send().await.with_context(|| format!("the server at {server} does not answer"))?;
    let success = response.status().is_success();
    let answer: Value =
        response.json().await.with_context(|| format!("{url} did not answer with JSON"))?;
    Ok((success, answer))
}
