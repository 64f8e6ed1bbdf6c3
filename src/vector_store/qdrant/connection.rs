//! Calls to the server: deadlines, repetitions, and what the server's errors mean for us. The API key stays in here.
//!
//! Every call we make is idempotent (points have ids of their own, deleting twice is deleting once), so repeating is
//! safe; only what may get better by itself is repeated, with exponential pauses and jitter, within one deadline.
//!
//! The channels are ours and not those of `qdrant_client::Qdrant`: that one sends no keep-alive pings and keeps a
//! connection on which nothing comes back any more until the system gives it up, which was seen to take a quarter of an hour.

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use qdrant_client::qdrant::collections_client::CollectionsClient;
use qdrant_client::qdrant::points_client::PointsClient;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, Uri};
use tonic::{Code, Request, Response, Status};

use super::QdrantOptions;
use crate::backoff::Backoff;
use crate::vector_store::StoreError;

const DEFAULT_PORT: u16 = 6334;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Largest answer: a page of 10,000 points of 4,096 dimensions has 164 MB.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// The server's mark that its disk or memory is full, which shares a code with asking too often.
const FULL_MARK: &str = "qdrant-insufficient-storage";

pub(super) struct Connection {
    endpoint: Endpoint,
    channels: Mutex<Vec<Option<Channel>>>,
    next: AtomicUsize,
    key: ApiKey,
    pub(super) options: QdrantOptions,
    /// For messages: without user, password and key.
    server: String,
    api_key: Option<String>,
}

/// The calls of the server that we use.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) collections: CollectionsClient<InterceptedService<Channel, ApiKey>>,
    pub(super) points: PointsClient<InterceptedService<Channel, ApiKey>>,
}

/// Puts the key into every request.
#[derive(Clone)]
pub(super) struct ApiKey(Option<MetadataValue<Ascii>>);

impl Interceptor for ApiKey {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = &self.0 {
            request.metadata_mut().insert("api-key", key.clone());
        }
        Ok(request)
    }
}

impl Connection {
    pub(super) fn new(
        url: &str,
        api_key: Option<&str>,
        options: QdrantOptions,
    ) -> Result<Self, StoreError> {
        let (url, server) = parse_url(url)?;
        let key = sendable(api_key)?;
        if key.is_some() && url.starts_with("http://") {
            tracing::warn!(
                server,
                "the Qdrant API key is sent unencrypted; use https outside a private network"
            );
        }
        let endpoint = endpoint(&url, &options)
            .map_err(|error| StoreError::Invalid(format!("Qdrant server {server}: {error}")))?;
        Ok(Self {
            endpoint,
            channels: Mutex::new(vec![None; options.connections.max(1)]),
            next: AtomicUsize::new(0),
            key: ApiKey(key),
            options,
            server,
            api_key: api_key.map(str::to_owned),
        })
    }

    /// One of the channels, made (and later connected) when it is first needed; and its place, for [`Self::drop_channel`].
    fn client(&self) -> (usize, Client) {
        let mut channels = self.channels.lock();
        let place = self.next.fetch_add(1, Ordering::Relaxed) % channels.len();
        let channel = channels[place].get_or_insert_with(|| self.endpoint.connect_lazy()).clone();
        let service = InterceptedService::new(channel, self.key.clone());
        let client = Client {
            collections: CollectionsClient::new(service.clone())
                .max_decoding_message_size(ANSWER_BYTES_MAX),
            points: PointsClient::new(service).max_decoding_message_size(ANSWER_BYTES_MAX),
        };
        (place, client)
    }

    /// After a time-out: the server may be at another address by now, and the old one silent for ever.
    fn drop_channel(&self, place: usize) {
        self.channels.lock()[place] = None;
    }

    /// Calls until it succeeds, fails for good, or `limit` has passed. `collection` is for the message.
    pub(super) async fn call<R: Clone, T, F: Future<Output = Result<Response<T>, Status>>>(
        &self,
        collection: &str,
        limit: Duration,
        request: R,
        call: impl Fn(Client, R) -> F,
    ) -> Result<T, StoreError> {
        let deadline = Instant::now() + limit;
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut last = None;
        loop {
            let (place, client) = self.client();
            let Ok(outcome) = timeout_at(deadline, call(client, request.clone())).await else {
                self.drop_channel(place);
                return Err(self.late(limit, last));
            };
            let (error, wait) = match outcome {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => (self.meaning(collection, &status), asked_to_wait(&status)),
            };
            let wait = wait.unwrap_or_else(|| backoff.next_pause());
            if !error.is_transient() || Instant::now() + wait >= deadline {
                return Err(error);
            }
            tracing::debug!(server = self.server, %error, "calling Qdrant again");
            last = Some(error);
            sleep(wait).await;
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

    fn meaning(&self, collection: &str, status: &Status) -> StoreError {
        let said = self.said(&with_cause(status));
        let full =
            status.metadata().contains_key(FULL_MARK) || status.message().contains("No space left");
        // A status that the client made itself has a cause: the connection.
        let no_answer = status.source().is_some();
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
            // Its own and its nodes' shutting down, which the server calls an error of its own.
            Code::Internal if is_going_away(status.message()) => StoreError::Unavailable(said),
            Code::NotFound => StoreError::NoSuchCollection(collection.to_owned()),
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

/// Connects when it is first used; afterwards pings say whether someone is still there.
fn endpoint(url: &str, options: &QdrantOptions) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(url.to_owned())?
        .user_agent(concat!("image-search/", env!("CARGO_PKG_VERSION")))?
        .connect_timeout(Duration::from_millis(options.connect_timeout_ms))
        .http2_keep_alive_interval(Duration::from_millis(options.keep_alive_interval_ms.max(1)))
        .keep_alive_timeout(Duration::from_millis(options.keep_alive_timeout_ms.max(1)))
        .keep_alive_while_idle(true);
    if url.starts_with("https://") {
        return endpoint.tls_config(ClientTlsConfig::new().with_native_roots());
    }
    Ok(endpoint)
}

fn sendable(api_key: Option<&str>) -> Result<Option<MetadataValue<Ascii>>, StoreError> {
    let Some(key) = api_key else { return Ok(None) };
    let wrong = || {
        StoreError::Invalid(
            "the Qdrant API key is empty or has characters that cannot be sent".to_owned(),
        )
    };
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong());
    }
    let mut value: MetadataValue<Ascii> = key.parse().map_err(|_| wrong())?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// What the status says, and below it what the system says: "transport error" alone helps nobody.
fn with_cause(status: &Status) -> String {
    let mut cause = status.source();
    let mut innermost = None;
    while let Some(error) = cause {
        innermost = Some(error.to_string());
        cause = error.source();
    }
    match innermost {
        Some(cause) if !status.message().contains(&cause) => {
            format!("{}: {cause}", status.message())
        }
        _ => status.message().to_owned(),
    }
}

fn is_going_away(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["operation cancelled", "operation was cancelled", "status: unavailable"]
        .iter()
        .any(|sign| message.contains(sign))
}

fn asked_to_wait(status: &Status) -> Option<Duration> {
    let seconds = status.metadata().get("retry-after")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::built_in;

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
        let options = built_in().vector_store.qdrant;
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
    fn a_server_that_shuts_down_is_away_and_other_errors_of_its_own_are_errors() {
        let connection = Connection::new("http://a", None, built_in().vector_store.qdrant);
        let connection = connection.expect("a connection that is not made yet");
        let meaning = |text| connection.meaning("c", &Status::internal(text));
        for text in [
            "Service internal error: Operation cancelled: task was cancelled",
            "Service internal error: Tonic status error: The operation was cancelled",
            "1 of 1 read operations failed: Tonic status error: status: Unavailable, message: \"x\"",
        ] {
            assert!(meaning(text).is_transient(), "{text}");
        }
        assert!(matches!(meaning("Service internal error: a panic"), StoreError::Internal(_)));
    }
}
