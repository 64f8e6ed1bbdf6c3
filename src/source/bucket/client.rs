//! Requests to one bucket: addressed, signed, sent, tried again. A store that asks for fewer requests (503 SlowDown) slows all
//! of them down together, not only the one that was told.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reqwest::{RequestBuilder, Response, redirect};
use tokio::sync::Semaphore;

use super::fault::Fault;
use super::protocol::{Limits, Protocol};
use super::request::{ClientError, Request, canonical_query};
use crate::backoff::Backoff;
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

pub(super) struct Client {
    protocol: Box<dyn Protocol>,
    http: reqwest::Client,
    bucket: String,
    limits: Limits,
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

impl Client {
    /// Asks nobody yet.
    pub(super) fn new(
        protocol: Box<dyn Protocol>,
        bucket: &str,
        limits: Limits,
    ) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(limits.connect_timeout)
            .read_timeout(limits.timeout)
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| ClientError(error.to_string()))?;
        Ok(Self {
            protocol,
            http,
            bucket: bucket.to_owned(),
            turns: Semaphore::new(limits.requests_max),
            limits,
            slow: Mutex::new(Slow {
                until: None,
                pauses: Backoff::new(SLOW_FIRST, SLOW_LONGEST),
                words: None,
            }),
        })
    }

    /// Where the bucket is, in words that tell it from one of the same name elsewhere.
    pub(super) fn place(&self) -> String {
        format!("bucket {} at {}", self.bucket, self.protocol.endpoint())
    }

    pub(super) fn protocol(&self) -> &dyn Protocol {
        &*self.protocol
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The answer, if it is a success, with its body still to come. What passes is tried again.
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<Response, Fault> {
        let retry_for = self.limits.retry_for;
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
            match read(self.send(request).await?, bytes_max, self.limits.timeout).await {
                Err(fault) if fault.passes() && left > 0 => {}
                ended => return ended,
            }
        }
    }

    /// An address that anyone can read this object at for a while, if any are given away.
    pub(super) async fn presigned(&self, key: &str) -> Option<String> {
        match self.protocol.presigned(key, self.limits.presigned_lifetime_s?).await {
            Ok(address) => Some(address),
            Err(reason) => {
                tracing::warn!(
                    reason,
                    "no address could be signed; the picture is passed on instead"
                );
                None
            }
        }
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
        let patience = self.limits.timeout + Duration::from_millis(sent_bytes / SENT_BYTES_PER_MS);
        let answered = tokio::time::timeout(patience, sending.send()).await;
        let endpoint = self.protocol.endpoint();
        let response = answered
            .map_err(|_| Fault::Passing(format!("{endpoint} does not answer")))?
            .map_err(|error| Fault::Passing(format!("{endpoint}: {}", root_cause(&error))))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read(response, ERROR_BYTES_MAX, self.limits.timeout).await.unwrap_or_default();
        Err(self.protocol.fault(status, &headers, &String::from_utf8_lossy(&body)))
    }

    /// Addressed and signed, without its body.
    async fn prepared(&self, request: &Request<'_>) -> Result<RequestBuilder, Fault> {
        let base = self.protocol.base();
        let path = base.path(request.key);
        let signed = self.protocol.sign(request, &path).await?;
        let queries = [canonical_query(&request.query), signed.query];
        let mut address = format!("{}{path}", base.origin());
        for (query, mark) in queries.iter().filter(|query| !query.is_empty()).zip(['?', '&']) {
            address.push(mark);
            address.push_str(query);
        }
        let mut prepared = self.http.request(request.method.clone(), address);
        for (name, value) in &request.headers {
            prepared = prepared.header(name, value);
        }
        for (name, value) in signed.headers {
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
