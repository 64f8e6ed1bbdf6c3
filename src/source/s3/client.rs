//! Requests to one bucket: addressed, signed, sent, tried again. A store that asks for fewer requests (503 SlowDown) slows all
//! of them down together, not only the one that was told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use reqwest::header::{HeaderName, IF_NONE_MATCH};
use reqwest::{Method, RequestBuilder, Response, Url, redirect};
use tokio::sync::Semaphore;

use super::credentials::Credentials;
use super::fault::{Fault, Place};
use super::signing::{self, Credential, Signer, ToSign};
use super::{S3Address, Store};
use crate::backoff::Backoff;
use crate::config::{Addressing, S3Config};
use crate::outgoing::{USER_AGENT, root_cause};

/// As much of an error's body as is read.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// Pauses between the tries of one request.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(5);
/// Pauses of all requests when the store asks for fewer.
const SLOW_FIRST: Duration = Duration::from_millis(250);
const SLOW_LONGEST: Duration = Duration::from_secs(10);
/// A body that is sent has this long for each of its bytes, beside the time that any request has.
const SENT_BYTES_PER_MS: u64 = 64;

/// Why there is no client for a bucket.
#[derive(Debug, thiserror::Error)]
#[error("no requests can be made: {0}")]
pub struct ClientError(String);

pub(super) struct Client {
    store: Store,
    http: reqwest::Client,
    credentials: Credentials,
    bucket: String,
    /// Scheme and host, and the bucket's name where it stands in the path.
    base: String,
    endpoint: String,
    region: String,
    settings: S3Config,
    turns: Semaphore,
    slow: Mutex<Slow>,
}

/// Until when no request is to be made.
struct Slow {
    until: Option<Instant>,
    pauses: Backoff,
    /// What the store said; until it serves again.
    words: Option<String>,
}

/// One request, as it is tried again and again.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    /// `None`: the bucket itself.
    pub(super) key: Option<&'a str>,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) body: Option<Arc<[u8]>>,
    /// How long it is tried again at most, if not as long as the configuration says.
    pub(super) retry_for: Option<Duration>,
}

impl<'a> Request<'a> {
    pub(super) fn new(method: Method, key: Option<&'a str>) -> Self {
        Self { method, key, query: Vec::new(), headers: Vec::new(), body: None, retry_for: None }
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl Client {
    /// Asks nobody yet.
    pub(super) fn new(address: &S3Address, settings: &S3Config) -> Result<Self, ClientError> {
        let failed = |error: &dyn std::fmt::Display| ClientError(error.to_string());
        let http = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(Duration::from_millis(settings.connect_timeout_ms))
            .read_timeout(Duration::from_millis(settings.timeout_ms))
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| failed(&error))?;
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let Reached { endpoint, base, region, credentials } = match address.store {
            Store::S3 => Reached::s3(&address.bucket, settings, &variable)?,
            Store::Google => Reached::google(&address.bucket, settings, &variable)?,
        };
        Ok(Self {
            store: address.store,
            http,
            credentials,
            bucket: address.bucket.clone(),
            base,
            endpoint,
            region,
            turns: Semaphore::new(settings.requests_max),
            settings: settings.clone(),
            slow: Mutex::new(Slow {
                until: None,
                pauses: Backoff::new(SLOW_FIRST, SLOW_LONGEST),
                words: None,
            }),
        })
    }

    /// Where the bucket is, in words that tell it from one of the same name elsewhere.
    pub(super) fn place(&self) -> String {
        format!("bucket {} at {}", self.bucket, self.endpoint)
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.settings.timeout_ms)
    }

    pub(super) fn settings(&self) -> &S3Config {
        &self.settings
    }

    /// The answer, if it is a success, with its body still to come. What passes is tried again.
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<Response, Fault> {
        let retry_for = Duration::from_millis(self.settings.retry_for_ms);
        let deadline = Instant::now() + request.retry_for.unwrap_or(retry_for).min(retry_for);
        let mut pauses = Backoff::new(RETRY_FIRST, RETRY_LONGEST);
        loop {
            self.wait_while_slow(deadline).await;
            let fault = match self.try_once(request).await {
                Ok(response) => {
                    self.note_served();
                    return Ok(response);
                }
                Err(fault) if fault.passes() => fault,
                Err(fault) => return Err(fault),
            };
            let pause = match &fault {
                Fault::SlowDown { words, pause } => self.note_slow(words, *pause),
                _ => pauses.next_pause(),
            };
            if Instant::now() + pause >= deadline {
                return Err(fault);
            }
            tracing::debug!(bucket = self.bucket, ?fault, "a request is tried again");
            tokio::time::sleep(pause).await;
        }
    }

    /// A whole answer of at most so many bytes.
    pub(super) async fn fetch(
        &self,
        request: &Request<'_>,
        bytes_max: usize,
    ) -> Result<Vec<u8>, Fault> {
        let mut left = 2;
        loop {
            left -= 1;
            match read(self.send(request).await?, bytes_max, self.timeout()).await {
                Err(fault) if fault.passes() && left > 0 => {}
                ended => return ended,
            }
        }
    }

    /// An address that anyone can read this object at for a while.
    pub(super) async fn presigned(&self, key: &str) -> Option<String> {
        let credential = match self.credentials.get().await {
            Ok(credential) => credential,
            Err(reason) => {
                tracing::warn!(
                    reason,
                    "no address could be signed; the picture is passed on instead"
                );
                return None;
            }
        };
        let path = self.path(Some(key));
        let to_sign = ToSign { method: "GET", host: self.host(), path: &path, query: &[] };
        let lifetime_s = self.settings.presigned_lifetime_s;
        let query = self.signer(&credential).presigned_query(&to_sign, lifetime_s);
        Some(format!("{}{path}?{query}", self.origin()))
    }

    /// Scheme and host that browsers are sent to.
    pub(super) fn origin(&self) -> &str {
        &self.base[..self.base.len() - self.base_path().len()]
    }

    fn host(&self) -> &str {
        self.origin().split_once("://").map_or("", |(_, host)| host)
    }

    /// What stands before every key: nothing, or the bucket's name.
    fn base_path(&self) -> &str {
        let host_at = self.base.find("://").map_or(0, |at| at + 3);
        self.base[host_at..].find('/').map_or("", |at| &self.base[host_at + at..])
    }

    fn path(&self, key: Option<&str>) -> String {
        let key = signing::escaped_path(key.unwrap_or_default());
        match (self.base_path(), key.as_str()) {
            // Some stores take a slash behind the bucket's name for an object.
            (base, "") if !base.is_empty() => base.to_owned(),
            (base, key) => format!("{base}/{key}"),
        }
    }

    /// The condition of a PUT that there is no such object yet. Google takes only its own for writing, and ignores the other.
    pub(super) fn if_absent(&self) -> (HeaderName, String) {
        match self.store {
            Store::S3 => (IF_NONE_MATCH, "*".to_owned()),
            Store::Google => {
                (HeaderName::from_static("x-goog-if-generation-match"), "0".to_owned())
            }
        }
    }

    fn signer<'a>(&'a self, credential: &'a Credential) -> Signer<'a> {
        let dialect = self.store.dialect();
        Signer { dialect, credential, region: &self.region, now: Timestamp::now() }
    }

    async fn try_once(&self, request: &Request<'_>) -> Result<Response, Fault> {
        let Ok(_turn) = self.turns.acquire().await else {
            return Err(Fault::Passing("the program stops".to_owned()));
        };
        let mut sending = self.prepared(request).await?;
        let sent_bytes = request.body.as_ref().map_or(0, |body| body.len() as u64);
        if let Some(body) = &request.body {
            sending = sending.body(body.to_vec());
        }
        let patience = self.timeout() + Duration::from_millis(sent_bytes / SENT_BYTES_PER_MS);
        let answered = tokio::time::timeout(patience, sending.send()).await;
        let response = answered
            .map_err(|_| Fault::Passing(format!("{} does not answer", self.endpoint)))?
            .map_err(|error| {
                Fault::Passing(format!("{}: {}", self.endpoint, root_cause(&error)))
            })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read(response, ERROR_BYTES_MAX, self.timeout()).await.unwrap_or_default();
        let Self { store, bucket, endpoint, region, .. } = self;
        Err(Fault::of(
            status,
            &headers,
            &String::from_utf8_lossy(&body),
            &Place { store: *store, bucket, endpoint, region },
        ))
    }

    /// Addressed and signed, without its body.
    async fn prepared(&self, request: &Request<'_>) -> Result<RequestBuilder, Fault> {
        let path = self.path(request.key);
        let query = signing::canonical_query(&request.query);
        let mark = if query.is_empty() { "" } else { "?" };
        let address = format!("{}{path}{mark}{query}", self.origin());
        let mut headers: Vec<(String, String)> =
            request.headers.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        if self.settings.requester_pays {
            headers.push(("x-amz-request-payer".to_owned(), "requester".to_owned()));
        }
        let mut prepared = self.http.request(request.method.clone(), address);
        for (name, value) in &headers {
            prepared = prepared.header(name, value);
        }
        if self.settings.anonymous {
            return Ok(prepared);
        }
        let credential = self.credentials.get().await;
        let credential = credential.map_err(|reason| no_credentials(self.store, &reason))?;
        let method = request.method.as_str();
        let to_sign = ToSign { method, host: self.host(), path: &path, query: &request.query };
        let body = request.body.as_deref().unwrap_or_default();
        for (name, value) in self.signer(&credential).headers(&to_sign, &headers, body) {
            prepared = prepared.header(name, value);
        }
        Ok(prepared)
    }

    /// Waits while the store wants peace, but not beyond the deadline.
    async fn wait_while_slow(&self, deadline: Instant) {
        loop {
            let until = self.slow.lock().until.map(|until| until.min(deadline));
            let left = until.and_then(|until| until.checked_duration_since(Instant::now()));
            match left.filter(|left| !left.is_zero()) {
                Some(left) => tokio::time::sleep(left).await,
                None => return,
            }
        }
    }

    /// Of many that are refused together, the first one makes the pause of all.
    fn note_slow(&self, words: &str, asked: Option<Duration>) -> Duration {
        let now = Instant::now();
        let mut slow = self.slow.lock();
        if let Some(left) = slow.until.and_then(|until| until.checked_duration_since(now)) {
            return left;
        }
        let pause = slow.pauses.next_pause().max(asked.unwrap_or_default());
        if slow.pauses.failures() == 1 {
            tracing::warn!(
                bucket = self.bucket,
                words,
                "the store asks for fewer requests; they are made more slowly"
            );
        }
        slow.until = Some(now + pause);
        slow.words = Some(words.to_owned());
        pause
    }

    /// What the store said when it asked for fewer requests, until it serves again.
    pub(super) fn slowed_down(&self) -> Option<String> {
        self.slow.lock().words.clone()
    }

    fn note_served(&self) {
        let mut slow = self.slow.lock();
        // Answers to what was asked before the pause began do not end it.
        if slow.until.is_none_or(|until| until <= Instant::now()) {
            (slow.until, slow.words) = (None, None);
            slow.pauses.reset();
        }
    }
}

/// Where requests go, and in whose name.
struct Reached {
    endpoint: String,
    base: String,
    region: String,
    credentials: Credentials,
}

impl Reached {
    fn s3(
        bucket: &str,
        settings: &S3Config,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ClientError> {
        let region = or_else(&settings.region, || variable("AWS_REGION"));
        let region = region.or_else(|| variable("AWS_DEFAULT_REGION"));
        let region = region.unwrap_or_else(|| "us-east-1".to_owned());
        let own = or_else(&settings.endpoint, || variable("AWS_ENDPOINT_URL_S3"));
        let own = own.or_else(|| variable("AWS_ENDPOINT_URL"));
        let in_path = match settings.addressing {
            Addressing::Path => true,
            Addressing::Virtual => false,
            // Names with dots are no part of what a certificate covers.
            Addressing::Auto => own.is_some() || bucket.contains('.'),
        };
        let endpoint = own.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let endpoint = normal(&endpoint)?;
        let base = base(&endpoint, bucket, in_path)?;
        let credentials = Credentials::find(&settings.profile, &region, variable)
            .map_err(|error| ClientError(error.to_string()))?;
        Ok(Self { endpoint, base, region, credentials })
    }

    /// Google knows where a bucket is.
    fn google(
        bucket: &str,
        settings: &S3Config,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ClientError> {
        if settings.requester_pays {
            return Err(ClientError(
                "source.s3.requester_pays is for addresses s3://…; Google wants a project for that, which cannot be named here".to_owned(),
            ));
        }
        let endpoint = normal(&settings.google_endpoint)?;
        let base = base(&endpoint, bucket, true)?;
        let credentials =
            Credentials::of_google(variable).map_err(|error| ClientError(error.to_string()))?;
        Ok(Self { endpoint, base, region: "auto".to_owned(), credentials })
    }
}

fn or_else(configured: &str, otherwise: impl FnOnce() -> Option<String>) -> Option<String> {
    if configured.is_empty() { otherwise() } else { Some(configured.to_owned()) }
}

/// As requests will name the host: in lower case, without the port that the scheme has anyway.
fn normal(endpoint: &str) -> Result<String, ClientError> {
    let wrong = |what: &str| ClientError(format!("the endpoint of the store {what}"));
    let url = Url::parse(endpoint).map_err(|error| wrong(&format!("is no address: {error}")))?;
    if !matches!(url.scheme(), "https" | "http") || !url.username().is_empty() {
        return Err(wrong("does not begin with https:// or http://, or has credentials in it"));
    }
    Ok(format!("{}{}", url.origin().ascii_serialization(), url.path().trim_end_matches('/')))
}

fn base(endpoint: &str, bucket: &str, in_path: bool) -> Result<String, ClientError> {
    if in_path {
        return Ok(format!("{endpoint}/{bucket}"));
    }
    let (scheme, host) = endpoint.split_once("://").ok_or_else(|| {
        ClientError(format!("{endpoint} is no address; it begins with https:// or http://"))
    })?;
    Ok(format!("{scheme}://{bucket}.{host}"))
}

pub(super) async fn read(
    mut response: Response,
    bytes_max: usize,
    patience: Duration,
) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    loop {
        let piece = tokio::time::timeout(patience, response.chunk()).await;
        let piece = piece
            .map_err(|_| Fault::Passing("the store stopped in the middle of an answer".to_owned()))?
            .map_err(|error| Fault::Passing(root_cause(&error)))?;
        let Some(piece) = piece else { return Ok(bytes) };
        if bytes.len() + piece.len() > bytes_max {
            return Err(Fault::Other(format!(
                "the store's answer has more than {bytes_max} bytes"
            )));
        }
        bytes.extend_from_slice(&piece);
    }
}

fn no_credentials(store: Store, reason: &str) -> Fault {
    let place = match store {
        Store::S3 => {
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws/credentials"
        }
        Store::Google => "set GS_ACCESS_KEY_ID and GS_SECRET_ACCESS_KEY to an HMAC key of Google's",
    };
    Fault::Refused(format!(
        "no credentials were found; {place}, or source.s3.anonymous for a public bucket ({reason})"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(bucket: &str, change: impl FnOnce(&mut S3Config)) -> Client {
        let mut settings = crate::config::built_in().source.s3;
        settings.anonymous = true;
        settings.region = "eu-central-1".into();
        settings.endpoint = "https://s3.example:9000/".into();
        change(&mut settings);
        let _ = rustls::crypto::ring::default_provider().install_default();
        let address = S3Address::parse(Store::S3, bucket).expect("an address");
        Client::new(&address, &settings).expect("a client")
    }

    #[tokio::test]
    async fn buckets_stand_in_the_path_or_in_the_host() {
        let path = client("photos", |_| {});
        assert_eq!(
            (path.base.as_str(), path.origin()),
            ("https://s3.example:9000/photos", "https://s3.example:9000")
        );
        let host = client("photos", |settings| settings.addressing = Addressing::Virtual);
        assert_eq!(
            (host.base.as_str(), host.origin()),
            ("https://photos.s3.example:9000", "https://photos.s3.example:9000")
        );
    }

    #[tokio::test]
    async fn keys_are_sent_as_they_are_called() {
        let client = client("bbb", |_| {});
        let key = "Größe 1/a+b&c=d?e#f%2F/\u{7}~.jpg";
        let mut request = Request::new(Method::GET, Some(key));
        request.query.push(("start-after".into(), "a b/+ü".into()));
        let prepared = client.prepared(&request).await.expect("prepared").build();
        assert_eq!(
            prepared.expect("a request").url().as_str(),
            "https://s3.example:9000/bbb/Gr%C3%B6%C3%9Fe%201/a%2Bb%26c%3Dd%3Fe%23f%252F/%07~.jpg?start-after=a%20b%2F%2B%C3%BC"
        );
    }

    #[tokio::test]
    async fn one_refusal_slows_all_down_and_an_old_answer_does_not_end_that() {
        let client = client("bbb", |_| {});
        let pause = client.note_slow("503 SlowDown", Some(Duration::from_hours(1)));
        assert!(pause >= Duration::from_hours(1));
        client.note_served();
        assert!(
            client.note_slow("503 SlowDown", None) > Duration::from_mins(50),
            "still the first pause"
        );
        let soon = Instant::now() + Duration::from_millis(1);
        client.wait_while_slow(soon).await;
        assert!(Instant::now() >= soon, "but no longer than the request has time");
    }
}
