//! A picture of a bucket while it is read: one request for its beginning, a second for the rest if it is large, further ones
//! where the connection breaks or the reader jumps. Each asks for the very version that was opened, so that nothing mixes.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use reqwest::header::{ETAG, HeaderMap, IF_MATCH, LAST_MODIFIED, RANGE};
use reqwest::{Method, Response, StatusCode};
use tokio::io::{AsyncRead, ReadBuf};

use super::client::Client;
use super::fault::Fault;
use super::protocol::{http_date_ms, version};
use super::request::Request;
use crate::outgoing::root_cause;
use crate::source::{OpenPicture, SourceError};
use crate::types::Fingerprint;

/// The first request asks for so much: nearly every picture whole, and of a film not more than this.
const BEGINNING_BYTES: u64 = 8 << 20;
/// Connections that break in the middle of one picture.
const BREAKS_MAX: u32 = 4;

type Pieces = BoxStream<'static, io::Result<Piece>>;
type Piece = Vec<u8>;
type Asking = Pin<Box<dyn Future<Output = io::Result<Pieces>> + Send>>;

pub(super) struct OpenObject {
    client: Arc<Client>,
    key: String,
    /// As the store wrote it, quotes included.
    etag: Option<String>,
    fingerprint: Fingerprint,
    position: u64,
    /// Where the request began that is being answered.
    asked_at: u64,
    breaks: u32,
    state: State,
}

enum State {
    /// Nothing is asked for.
    Idle,
    Asking(Asking),
    Reading {
        pieces: Pieces,
        piece: Piece,
        taken: usize,
    },
}

impl OpenObject {
    /// Asks for the beginning. The body belongs to the fingerprint, whatever is written to that name meanwhile.
    pub(super) async fn open(client: Arc<Client>, key: String) -> Result<Self, Fault> {
        let range = format!("bytes=0-{}", BEGINNING_BYTES - 1);
        let request = Request::new(Method::GET, Some(&key)).with_header(RANGE, range);
        let (headers, state) = match client.send(&request).await {
            Ok(response) => {
                let headers = object_headers(&client, response.headers())?;
                let (pieces, piece) = (pieces(response, client.limits().timeout), Piece::new());
                (headers, State::Reading { pieces, piece, taken: 0 })
            }
            // No byte can be asked for of an object without any.
            Err(Fault::Range) => (head(&client, &key).await?, State::Idle),
            Err(fault) => return Err(fault),
        };
        let fingerprint = fingerprint(&headers);
        let etag = text(&headers, ETAG.as_str()).map(str::to_owned);
        Ok(Self { client, key, etag, fingerprint, position: 0, asked_at: 0, breaks: 0, state })
    }

    pub(super) fn fingerprint_at_opening(&self) -> Fingerprint {
        self.fingerprint.clone()
    }

    fn ask_on(&self) -> Asking {
        let (client, key, etag) = (self.client.clone(), self.key.clone(), self.etag.clone());
        let position = self.position;
        Box::pin(async move {
            let range = format!("bytes={position}-");
            let mut request = Request::new(Method::GET, Some(&key)).with_header(RANGE, range);
            if let Some(etag) = etag {
                request = request.with_header(IF_MATCH, etag);
            }
            let response = client.send(&request).await.map_err(broken)?;
            if response.status() != StatusCode::PARTIAL_CONTENT && position > 0 {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "the store does not give parts of objects",
                ));
            }
            Ok(pieces(response, client.limits().timeout))
        })
    }

    /// Whether it goes on after this error.
    fn may_go_on(&mut self, error: &io::Error) -> bool {
        self.breaks += 1;
        tracing::debug!(%error, breaks = self.breaks, "an object's connection broke");
        self.breaks <= BREAKS_MAX
    }
}

impl AsyncRead for OpenObject {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let left = this.fingerprint.size_bytes.saturating_sub(this.position);
            if left == 0 || buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            match &mut this.state {
                State::Idle => {
                    this.asked_at = this.position;
                    this.state = State::Asking(this.ask_on());
                }
                State::Asking(asking) => {
                    let pieces = match ready!(asking.as_mut().poll(context)) {
                        Ok(pieces) => pieces,
                        Err(error) => {
                            this.state = State::Idle;
                            return Poll::Ready(Err(error));
                        }
                    };
                    this.state = State::Reading { pieces, piece: Piece::new(), taken: 0 };
                }
                State::Reading { pieces, piece, taken } => {
                    if *taken < piece.len() {
                        let length =
                            buffer.remaining().min(piece.len() - *taken).min(left as usize);
                        buffer.put_slice(&piece[*taken..*taken + length]);
                        *taken += length;
                        this.position += length as u64;
                        return Poll::Ready(Ok(()));
                    }
                    match ready!(pieces.poll_next_unpin(context)) {
                        Some(Ok(next)) => (*piece, *taken) = (next, 0),
                        // The part that was asked for is over.
                        None => {
                            this.state = State::Idle;
                            let nothing = io::Error::from(io::ErrorKind::UnexpectedEof);
                            if this.position == this.asked_at && !this.may_go_on(&nothing) {
                                return Poll::Ready(Err(nothing));
                            }
                        }
                        Some(Err(error)) => {
                            this.state = State::Idle;
                            if !this.may_go_on(&error) {
                                return Poll::Ready(Err(error));
                            }
                        }
                    }
                }
            }
        }
    }
}

#[async_trait]
impl OpenPicture for OpenObject {
    /// What is open never changes: parts of another version are refused.
    async fn fingerprint(&mut self) -> Result<Fingerprint, SourceError> {
        Ok(self.fingerprint.clone())
    }

    async fn jump(&mut self, position: u64) -> io::Result<bool> {
        if position != self.position {
            (self.position, self.state) = (position, State::Idle);
        }
        Ok(true)
    }
}

pub(super) async fn head(client: &Client, key: &str) -> Result<HeaderMap, Fault> {
    let response = client.send(&Request::new(Method::HEAD, Some(key))).await?;
    object_headers(client, response.headers())
}

/// A folder is none, and has no bytes.
fn object_headers(client: &Client, headers: &HeaderMap) -> Result<HeaderMap, Fault> {
    if client.protocol().is_folder(headers) { Err(Fault::NotFound) } else { Ok(headers.clone()) }
}

/// Of the headers of HEAD or GET. The size is that of the whole object, also if a part was asked for.
pub(super) fn fingerprint(headers: &HeaderMap) -> Fingerprint {
    let whole = text(headers, "content-range").and_then(|range| range.rsplit('/').next());
    let size = whole.or_else(|| text(headers, "content-length"));
    let modified = text(headers, LAST_MODIFIED.as_str());
    let modified_ms = modified.and_then(http_date_ms).unwrap_or_default();
    let etag = text(headers, ETAG.as_str()).unwrap_or_default();
    let size_bytes = size.and_then(|size| size.parse().ok()).unwrap_or_default();
    Fingerprint { size_bytes, version: version(etag, modified_ms), modified_ms }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn pieces(response: Response, patience: std::time::Duration) -> Pieces {
    let next = move |mut response: Response| async move {
        let piece = match tokio::time::timeout(patience, response.chunk()).await {
            Ok(Ok(Some(piece))) => Ok(piece.to_vec()),
            Ok(Ok(None)) => return None,
            Ok(Err(error)) => {
                Err(io::Error::new(io::ErrorKind::ConnectionReset, root_cause(&error)))
            }
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the store sends nothing more")),
        };
        Some((piece, response))
    };
    futures::stream::unfold(response, next).boxed()
}

/// What a fault is to a reader; the kinds are those that callers take for trouble, or not.
fn broken(fault: Fault) -> io::Error {
    let (kind, words) = match fault {
        Fault::NotFound => (io::ErrorKind::NotFound, "it is not there any more".to_owned()),
        Fault::Condition => {
            (io::ErrorKind::ConnectionAborted, "it was changed while it was read".to_owned())
        }
        Fault::Denied(words) => (io::ErrorKind::PermissionDenied, words),
        Fault::SlowDown { words, .. } | Fault::Passing(words) | Fault::Refused(words) => {
            (io::ErrorKind::ConnectionReset, words)
        }
        Fault::Range => (io::ErrorKind::InvalidInput, "it has no such part".to_owned()),
        Fault::Full(words) | Fault::Unsupported(words) | Fault::Other(words) => {
            (io::ErrorKind::Other, words)
        }
    };
    io::Error::new(kind, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_those_of_the_whole_object() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("etag", "\"0123abcd-2\""),
            ("last-modified", "Wed, 21 Oct 2015 07:28:00 GMT"),
            ("content-length", "10"),
        ] {
            headers.insert(name, value.parse().expect("a header"));
        }
        let whole = fingerprint(&headers);
        let expected = Fingerprint {
            size_bytes: 10,
            version: "0123abcd-2".into(),
            modified_ms: 1_445_412_480_000,
        };
        assert_eq!(whole, expected);
        headers.insert("content-range", "bytes 0-9/5000".parse().expect("a header"));
        assert_eq!(fingerprint(&headers).size_bytes, 5000);
        assert_eq!(version("", 17), "17");
    }
}
