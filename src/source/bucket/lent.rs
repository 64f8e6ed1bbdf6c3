//! Credentials that a service beside us (a cloud's metadata, a pod's token exchange) lends for a while: asked for, kept, and asked for
//! again before they end. Nothing of what such a service says gets into an error.

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::RequestBuilder;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use crate::outgoing::root_cause;

/// Files of credentials have a few hundred bytes, tokens a few thousand.
const FILE_BYTES_MAX: u64 = 1 << 20;
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// They are renewed so long before they end.
const RENEWED_BEFORE: SignedDuration = SignedDuration::from_mins(5);
/// On a machine that is no cloud's, nobody answers.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(8);

/// What was lent, until when.
pub(super) struct Lent<T>(Mutex<Option<(T, Timestamp)>>);

impl<T: Clone> Lent<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// What is kept, or else what `renewed` gives. If that fails, what is kept counts until it ends.
    pub(super) async fn get(
        &self,
        renewed: impl Future<Output = Result<(T, Timestamp), String>>,
    ) -> Result<T, String> {
        let mut kept = self.0.lock().await;
        let now = Timestamp::now();
        if let Some((lent, until)) = kept.as_ref()
            && *until > now.saturating_add(RENEWED_BEFORE).unwrap_or(now)
        {
            return Ok(lent.clone());
        }
        match renewed.await {
            Ok((lent, until)) => {
                *kept = Some((lent.clone(), until));
                Ok(lent)
            }
            Err(reason) => match kept.as_ref() {
                Some((lent, until)) if *until > now => Ok(lent.clone()),
                _ => Err(reason),
            },
        }
    }
}

/// Asks services beside us: never through a proxy.
pub(super) fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .connect_timeout(CONNECT_WITHIN)
        .timeout(ANSWER_WITHIN)
        .build()
}

pub(super) async fn json<T: DeserializeOwned>(asking: RequestBuilder) -> Result<T, String> {
    serde_json::from_str(&text(asking).await?).map_err(|error| error.to_string())
}

/// What a service answers. No error repeats any of it.
pub(super) async fn text(asking: RequestBuilder) -> Result<String, String> {
    let failed = |error: reqwest::Error| root_cause(&error);
    let mut answer = asking.send().await.map_err(failed)?;
    if !answer.status().is_success() {
        return Err(format!("the service that gives credentials answers {}", answer.status()));
    }
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(failed)? {
        if bytes.len() + piece.len() > ANSWER_BYTES_MAX {
            return Err("the service that gives credentials does not stop".to_owned());
        }
        bytes.extend_from_slice(&piece);
    }
    String::from_utf8(bytes).map_err(|_| "the service that gives credentials sends no text".into())
}

pub(super) async fn read_token(file: &Path) -> Result<String, String> {
    let file = file.to_owned();
    let read = tokio::task::spawn_blocking(move || read_small(&file)).await;
    Ok(read.map_err(|error| error.to_string())??.trim().to_owned())
}

pub(super) fn read_small(file: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", file.display());
    if std::fs::metadata(file).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(format!("{} is too large for a file of credentials", file.display()));
    }
    std::fs::read_to_string(file).map_err(failed)
}
