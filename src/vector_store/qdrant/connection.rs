//! Calls to the server: deadlines, repetitions, and what the server's errors mean for us. The API key stays in here.
//!
//! Every call we make is idempotent (points have ids of their own, deleting twice is deleting once), so repeating is
//! safe; only what may get better by itself is repeated, with exponential pauses and jitter, within one deadline.

use std::error::Error;
use std::time::Duration;

use qdrant_client::{Qdrant, QdrantError};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Code;
use tonic::transport::Uri;

use super::QdrantOptions;
use crate::vector_store::StoreError;

const DEFAULT_PORT: u16 = 6334;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The server's mark that its disk or memory is full, which shares a code with asking too often.
const FULL_MARK: &str = "qdrant-insufficient-storage";

pub(super) struct Connection {
    client: Qdrant,
    pub(super) options: QdrantOptions,
    /// For messages: without user, password and key.
    server: String,
    api_key: Option<String>,
}

impl Connection {
    pub(super) fn new(
        url: &str,
        api_key: Option<&str>,
        options: QdrantOptions,
    ) -> Result<Self, StoreError> {
        let (url, server) = parse_url(url)?;
        if let Some(key) = api_key {
            // The client would quote a key that cannot be sent in its error.
            if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(StoreError::Invalid(
                    "the Qdrant API key is empty or has characters that cannot be sent".to_owned(),
                ));
            }
            if url.starts_with("http://") {
                tracing::warn!(
                    server,
                    "the Qdrant API key is sent unencrypted; use https outside a private network"
                );
            }
        }
        let mut config = Qdrant::from_url(&url);
        config.timeout = options.write_timeout();
        config.connect_timeout = Duration::from_millis(options.connect_timeout_ms);
        config.api_key = api_key.map(str::to_owned);
        config.pool_size = options.connections;
        // Both would connect now, and print to standard output.
        config.check_compatibility = false;
        config.check_connection = false;
        let client = Qdrant::new(config)
            .map_err(|error| StoreError::Invalid(format!("Qdrant server {server}: {error}")))?;
        Ok(Self { client, options, server, api_key: api_key.map(str::to_owned) })
    }

    /// Calls until it succeeds, fails for good, or `limit` has passed. `collection` is for the message.
    pub(super) async fn call<R: Clone, T, F: Future<Output = Result<T, QdrantError>>>(
        &self,
        collection: &str,
        limit: Duration,
        request: R,
        call: impl Fn(Qdrant, R) -> F,
    ) -> Result<T, StoreError> {
        let deadline = Instant::now() + limit;
        let mut pause = FIRST_PAUSE;
        let mut last = None;
        loop {
            let Ok(outcome) =
                timeout_at(deadline, call(self.client.clone(), request.clone())).await
            else {
                return Err(self.late(limit, last));
            };
            let (error, wait) = match outcome {
                Ok(answer) => return Ok(answer),
                Err(error) => (self.meaning(collection, &error), asked_to_wait(&error)),
            };
            let wait = wait.unwrap_or_else(|| jittered(pause));
            if !error.is_transient() || Instant::now() + wait >= deadline {
                return Err(error);
            }
            tracing::debug!(server = self.server, %error, "calling Qdrant again");
            last = Some(error);
            sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn late(&self, limit: Duration, last: Option<StoreError>) -> StoreError {
        let late =
            format!("Qdrant server {} did not answer within {} ms", self.server, limit.as_millis());
        StoreError::Unavailable(match last {
            Some(error) => format!("{late}; before that: {error}"),
            None => late,
        })
    }

    fn meaning(&self, collection: &str, error: &QdrantError) -> StoreError {
        let status = match error {
            QdrantError::ResponseError { status }
            | QdrantError::ResourceExhaustedError { status, .. } => status,
            other => return StoreError::Internal(self.said(&other.to_string())),
        };
        let said = self.said(status.message());
        let full =
            status.metadata().contains_key(FULL_MARK) || status.message().contains("No space left");
        // A status that the client made itself has a cause: the connection. Failing to connect it reports without one.
        let no_answer =
            status.source().is_some() || status.message().starts_with("Failed to connect");
        match status.code() {
            _ if full => {
                StoreError::Refused(format!("{said}; free some space or add some on that server"))
            }
            Code::Unauthenticated => {
                StoreError::Refused(format!("{said}; check the API key for Qdrant"))
            }
            Code::PermissionDenied => {
                StoreError::Refused(format!("{said}; the API key needs read and write access"))
            }
            _ if no_answer => StoreError::Unavailable(said),
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Aborted
            | Code::ResourceExhausted => StoreError::Unavailable(said),
            Code::NotFound => StoreError::NoCollection(collection.to_owned()),
            Code::FailedPrecondition => StoreError::Refused(said),
            Code::InvalidArgument | Code::OutOfRange => StoreError::Invalid(said),
            _ => StoreError::Internal(said),
        }
    }

    fn said(&self, message: &str) -> String {
        let said = format!("Qdrant server {}: {message}", self.server);
        self.api_key.as_ref().map_or(said.clone(), |key| said.replace(key.as_str(), "***"))
    }
}

/// The URL for the client, and the server's name for messages.
fn parse_url(url: &str) -> Result<(String, String), StoreError> {
    let plain = url.strip_prefix("qdrant+").unwrap_or(url);
    let wrong = |why: &str| {
        StoreError::Invalid(format!(
            "the URL of the Qdrant server {why}; it looks like https://host:{DEFAULT_PORT}"
        ))
    };
    let uri: Uri = plain.parse().map_err(|_| wrong("cannot be read"))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(wrong("has no scheme or host"));
    };
    if !["http", "https"].contains(&scheme) {
        return Err(wrong("has another scheme than http or https"));
    }
    if authority.as_str().contains('@') {
        return Err(wrong("contains a user or password, and belongs without"));
    }
    if !["", "/"].contains(&uri.path()) || uri.query().is_some() {
        return Err(wrong("has a path"));
    }
    let server = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(DEFAULT_PORT));
    Ok((format!("{scheme}://{server}"), server))
}

fn asked_to_wait(error: &QdrantError) -> Option<Duration> {
    match error {
        QdrantError::ResourceExhaustedError { retry_after_seconds, .. } => {
            Some(Duration::from_secs(*retry_after_seconds))
        }
        _ => None,
    }
}

/// Half to all of it, so that many clients do not come back at once.
fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    pause.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_with_and_without_our_prefix_and_port() {
        let read = |url| parse_url(url).ok();
        let expected = |url: &str, server: &str| Some((url.to_owned(), server.to_owned()));
        assert_eq!(read("http://a:1"), expected("http://a:1", "a:1"));
        assert_eq!(read("qdrant+https://a.b/"), expected("https://a.b:6334", "a.b:6334"));
        assert_eq!(read("http://[::1]:6334"), expected("http://[::1]:6334", "[::1]:6334"));
        for wrong in
            ["", "a:6334", "ftp://a", "qdrant://a", "http://", "http://a/path", "http://a?x=1"]
        {
            assert!(read(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn secrets_appear_in_no_message() {
        let message = |result: Result<Connection, StoreError>| {
            result.err().map(|error| error.to_string()).unwrap_or_default()
        };
        let options = QdrantOptions::default();
        let with_password = message(Connection::new("http://me:secret@a", None, options.clone()));
        assert!(
            with_password.contains("password") && !with_password.contains("secret"),
            "{with_password}"
        );
        let unsendable = message(Connection::new("http://a", Some("secret\n"), options.clone()));
        assert!(!unsendable.is_empty() && !unsendable.contains("secret"), "{unsendable}");
        let connection = Connection::new("http://a", Some("secret"), options);
        assert_eq!(
            connection.map(|connection| connection.said("wrong key secret!")).ok().as_deref(),
            Some("Qdrant server a:6334: wrong key ***!")
        );
    }

    #[test]
    fn pauses_are_jittered_within_bounds() {
        for _ in 0..100 {
            let pause = jittered(Duration::from_millis(100));
            assert!((50..=100).contains(&pause.as_millis()));
        }
    }
}
