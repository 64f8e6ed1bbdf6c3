//! Asks the server that already works with the data folder, for commands that cannot open it a second time.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::header::{CONTENT_TYPE, ORIGIN};
use reqwest::{Client, Method, Response};
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

/// What the running server answers to a GET.
pub(super) async fn ask(config: &Config, server: &str, path: &str) -> anyhow::Result<Value> {
    let proof = proof(config);
    let response = send(&client()?, server, Method::GET, path, None, proof.as_deref()).await?;
    let is_success = response.status().is_success();
    let answer = json(response).await?;
    if !is_success {
        bail!("{}", answer["detail"].as_str().unwrap_or("the server refused"));
    }
    Ok(answer)
}

/// What the running server says of its parts, ready or not.
pub(super) async fn readiness(server: &str) -> anyhow::Result<Value> {
    json(send(&client()?, server, Method::GET, "/readyz", None, None).await?).await
}

/// Whether it answers at all.
pub(super) async fn is_alive(server: &str) -> anyhow::Result<()> {
    let client =
        Client::builder().timeout(Duration::from_millis(ALIVE_TIMEOUT_MS)).no_proxy().build()?;
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

/// For requests to the server on this machine.
pub(super) fn client() -> reqwest::Result<Client> {
    Client::builder().timeout(Duration::from_millis(TIMEOUT_MS)).no_proxy().build()
}

/// Sends a request, as the server's own page would. `body`: its media type and bytes.
pub(super) async fn send(
    client: &Client,
    server: &str,
    method: Method,
    path: &str,
    body: Option<(String, Vec<u8>)>,
    proof: Option<&str>,
) -> anyhow::Result<Response> {
    let mut request = client.request(method, format!("{server}{path}"));
    if let Some(proof) = proof {
        request = request.bearer_auth(proof);
    }
    if let Some((media_type, bytes)) = body {
        request = request.header(ORIGIN, server).header(CONTENT_TYPE, media_type).body(bytes);
    }
    request.send().await.with_context(|| format!("the server at {server} does not answer"))
}

async fn json(response: Response) -> anyhow::Result<Value> {
    let url = response.url().clone();
    response.json().await.with_context(|| format!("{url} did not answer with JSON"))
}
