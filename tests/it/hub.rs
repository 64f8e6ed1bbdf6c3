//! A stand-in for the model hub: the layout, headers and redirects of the public one, over the small models of the golden tests,
//! with faults to order. Large files are redirected to another host name, as the public hub does; ranges are honoured.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, StreamExt};
use image_search::config::Config;
use prometheus_client::metrics::gauge::Gauge;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The commit of every repository here.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const CHUNK_BYTES: usize = 8 * 1024;

/// What goes wrong with one answer.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// This status, with these headers.
    Status(u16, Vec<(&'static str, String)>),
    /// The connection breaks after so many bytes.
    Cut(usize),
    /// Nothing more comes after so many bytes.
    Stall(usize),
    /// The bytes are others than they should be.
    Garble,
    /// A range is answered with the whole file.
    IgnoreRange,
}

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) authorization: Option<String>,
}

struct Hub {
    files: HashMap<String, Bytes>,
    repository: String,
    port: u16,
    faults: Mutex<Vec<(String, Fault)>>,
    asked: Mutex<Vec<Asked>>,
    /// While `false`, large files stop half-way.
    open: watch::Sender<bool>,
}

/// Handle of a running hub.
#[derive(Clone)]
pub(crate) struct StandInHub {
    hub: Arc<Hub>,
    pub(crate) url: String,
}

impl StandInHub {
    /// Serves the files of `folder` as `repository`.
    pub(crate) async fn start(repository: &str, folder: &Path) -> Self {
        let mut files = HashMap::from([("README.md".to_owned(), Bytes::from_static(b"# A model"))]);
        for entry in walkdir::WalkDir::new(folder).into_iter().map(|entry| entry.expect("an entry"))
        {
            if entry.file_type().is_file() {
                let name = entry.path().strip_prefix(folder).expect("below").display().to_string();
                files.insert(name, std::fs::read(entry.path()).expect("read").into());
            }
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (faults, asked) = (Mutex::default(), Mutex::default());
        let hub = Arc::new(Hub {
            files,
            repository: repository.to_owned(),
            port,
            faults,
            asked,
            open: watch::Sender::new(true),
        });
        let router = Router::new().fallback(answer).with_state(hub.clone());
        let config = Config::load(None, [], vec![]).expect("the defaults").server;
        tokio::spawn(async move {
            image_search::http::server::serve(
                listener,
                router,
                &config,
                Gauge::default(),
                CancellationToken::new(),
            )
            .await
        });
        Self { hub, url: format!("http://127.0.0.1:{port}") }
    }

    /// The next request whose path ends so goes wrong; each call is for one request.
    pub(crate) fn fault(&self, path_end: &str, fault: Fault) {
        self.hub.faults.lock().expect("a lock").push((path_end.to_owned(), fault));
    }

    /// Lets large files stop half-way, or go on.
    pub(crate) fn let_through(&self, open: bool) {
        self.hub.open.send_replace(open);
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.hub.asked.lock().expect("a lock").clone()
    }

    /// The requests for bytes of large files.
    pub(crate) fn reads(&self) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.path.starts_with("/cdn/")).collect()
    }

    pub(crate) fn forget_asked(&self) {
        self.hub.asked.lock().expect("a lock").clear();
    }

    /// Names and bytes.
    pub(crate) fn files(&self) -> &HashMap<String, Bytes> {
        &self.hub.files
    }
}

async fn answer(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let text =
        |name| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let asked = Asked {
        path: path.clone(),
        range: text(header::RANGE),
        authorization: text(header::AUTHORIZATION),
    };
    hub.asked.lock().expect("a lock").push(asked.clone());
    let fault = {
        let mut faults = hub.faults.lock().expect("a lock");
        let place = faults.iter().position(|(end, _)| path.ends_with(end.as_str()));
        place.map(|place| faults.remove(place).1)
    };
    if let Some(Fault::Status(status, headers)) = &fault {
        let mut response = StatusCode::from_u16(*status).expect("a status").into_response();
        for (name, value) in headers {
            response.headers_mut().insert(*name, value.parse().expect("a header"));
        }
        return response;
    }
    if path == format!("/api/models/{}/revision/main", hub.repository)
        || path == format!("/api/models/{}/revision/{COMMIT}", hub.repository)
    {
        let siblings: Vec<_> =
            hub.files.keys().map(|name| serde_json::json!({"rfilename": name})).collect();
        return axum::Json(serde_json::json!({"sha": COMMIT, "siblings": siblings}))
            .into_response();
    }
    if let Some(name) = path.strip_prefix(&format!("/{}/resolve/{COMMIT}/", hub.repository)) {
        return match hub.files.get(name) {
            Some(bytes) if Path::new(name).extension().is_some_and(|kind| kind == "onnx") => {
                to_large_file(&hub, name, bytes)
            }
            Some(bytes) => {
                let etag = format!(
                    "\"{}\"",
                    hex(&Sha1::new_with_prefix(format!("blob {}\0", bytes.len()))
                        .chain_update(bytes)
                        .finalize())
                );
                ([(header::ETAG, etag)], bytes.clone()).into_response()
            }
            None => StatusCode::NOT_FOUND.into_response(),
        };
    }
    match path.strip_prefix("/cdn/").and_then(|name| hub.files.get(name)) {
        Some(bytes) => large_file(&hub, bytes, asked.range.as_deref(), fault.as_ref()),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn to_large_file(hub: &Hub, name: &str, bytes: &Bytes) -> Response {
    let headers = [
        ("location", format!("http://localhost:{}/cdn/{name}", hub.port)),
        ("x-repo-commit", COMMIT.to_owned()),
        ("x-linked-size", bytes.len().to_string()),
        ("x-linked-etag", format!("\"{}\"", hex(&Sha256::digest(bytes)))),
        ("etag", "\"of-the-redirect\"".to_owned()),
    ];
    (StatusCode::FOUND, axum::response::AppendHeaders(headers)).into_response()
}

fn large_file(hub: &Hub, bytes: &Bytes, range: Option<&str>, fault: Option<&Fault>) -> Response {
    let from = range
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let from = from.filter(|_| !matches!(fault, Some(Fault::IgnoreRange)));
    if from.is_some_and(|from| from >= bytes.len()) {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let start = from.unwrap_or(0);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_LENGTH, (bytes.len() - start).into());
    if from.is_some() {
        let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
        headers.insert(header::CONTENT_RANGE, range.parse().expect("a header"));
    }
    let rest = match fault {
        Some(Fault::Garble) => {
            bytes[start..].iter().map(|byte| byte ^ 0x55).collect::<Vec<u8>>().into()
        }
        _ => bytes.slice(start..),
    };
    let status = if from.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    (status, headers, body(rest, fault, hub.open.subscribe(), bytes.len() / 2)).into_response()
}

/// The bytes in chunks, until the fault or the closed gate.
fn body(bytes: Bytes, fault: Option<&Fault>, gate: watch::Receiver<bool>, gate_at: usize) -> Body {
    let (cut, stall) = match fault {
        Some(Fault::Cut(at)) => (Some(*at), None),
        Some(Fault::Stall(at)) => (None, Some(*at)),
        _ => (None, None),
    };
    let steps = stream::unfold((bytes, 0, gate), move |(mut bytes, sent, mut gate)| async move {
        if bytes.is_empty() {
            return None;
        }
        if cut.is_some_and(|at| sent >= at) {
            return Some((
                Err(io::Error::from(io::ErrorKind::ConnectionReset)),
                (Bytes::new(), sent, gate),
            ));
        }
        if stall.is_some_and(|at| sent >= at) {
            std::future::pending::<()>().await;
        }
        if sent >= gate_at {
            gate.wait_for(|open| *open).await.ok()?;
        }
        let chunk = bytes.split_to(bytes.len().min(CHUNK_BYTES));
        let sent = sent + chunk.len();
        Some((Ok(chunk), (bytes, sent, gate)))
    });
    Body::from_stream(steps.boxed())
}

fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
