//! The API, for commands that ask what a client would ask: of the server that works with the data folder, or, if there is
//! none, of the same routes in this process, without a port. So both give the same answers in the same form.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, header};
use serde_json::Value;
use tower::ServiceExt;

use super::remote::{self, proof};
use crate::app::App;
use crate::catalog::address;
use crate::config::Config;
use crate::data_dir::running_server;
use crate::http;

/// Longer than any answer that these commands ask for.
const ANSWER_BYTES_MAX: usize = 64 << 20;
const JSON: &str = "application/json";

/// Who answers.
pub(super) enum Api {
    Server { url: String, client: reqwest::Client, proof: Option<String> },
    Here { app: Arc<App>, routes: Router, proof: Option<String> },
}

/// What was answered.
pub(super) struct Reply {
    is_success: bool,
    pub(super) media_type: String,
    pub(super) bytes: Vec<u8>,
}

impl Api {
    /// Without a server it reads what is indexed and changes nothing; no model is downloaded.
    pub(super) async fn open(config: Config) -> anyhow::Result<Self> {
        if let Some(url) = running_server(&config.data_dir) {
            let proof = proof(&config);
            return Ok(Self::Server { url, client: remote::client()?, proof });
        }
        anyhow::ensure!(
            address::exists(&config)?,
            "there is no index in {} yet; run: image-search index --images DIR",
            config.data_dir.display()
        );
        let app = App::open(config).await?;
        if let Err(error) = app.serving.only_answer().await {
            app.shut_down().await;
            return Err(error.into());
        }
        if let Err(error) = app.searcher.recall_ratings().await {
            tracing::debug!(%error, "what was learned from ratings does not count now");
        }
        let routes = http::router(app.clone(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let proof = proof(&app.config);
        Ok(Self::Here { app, routes, proof })
    }

    pub(super) async fn close(self) {
        if let Self::Here { app, .. } = self {
            app.shut_down().await;
        }
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Reply> {
        self.send(Method::GET, path, None).await?.checked()
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let body = (JSON.to_owned(), serde_json::to_vec(body)?);
        self.send(Method::POST, path, Some(body)).await?.checked()?.json()
    }

    pub(super) async fn post_form(&self, path: &str, form: Form) -> anyhow::Result<Value> {
        let body = (form.media_type(), form.finish());
        self.send(Method::POST, path, Some(body)).await?.checked()?.json()
    }

    /// The folders that pictures come from.
    pub(super) async fn folders(&self) -> anyhow::Result<Vec<PathBuf>> {
        if let Self::Here { app, .. } = self {
            return Ok(app.config.images.clone());
        }
        let status = self.get("/api/v1/status").await?.json()?;
        let sources = status["sources"].as_array().into_iter().flatten();
        let locations = sources.filter_map(|source| source["location"].as_str());
        Ok(locations.map(PathBuf::from).collect())
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(String, Vec<u8>)>,
    ) -> anyhow::Result<Reply> {
        match self {
            Self::Server { url, client, proof } => {
                let proof = proof.as_deref();
                let response = remote::send(client, url, method, path, body, proof).await?;
                let is_success = response.status().is_success();
                let media_type = media_type_of(response.headers());
                Ok(Reply { is_success, media_type, bytes: response.bytes().await?.to_vec() })
            }
            Self::Here { routes, proof, .. } => {
                let mut request =
                    Request::builder().method(method).uri(path).header(header::HOST, "localhost");
                if let Some(proof) = proof {
                    request = request.header(header::AUTHORIZATION, format!("Bearer {proof}"));
                }
                let mut bytes = Vec::new();
                if let Some((media_type, body)) = body {
                    request = request.header(header::CONTENT_TYPE, media_type);
                    bytes = body;
                }
                let response = routes.clone().oneshot(request.body(Body::from(bytes))?).await?;
                let is_success = response.status().is_success();
                let media_type = media_type_of(response.headers());
                let bytes = to_bytes(response.into_body(), ANSWER_BYTES_MAX).await?.to_vec();
                Ok(Reply { is_success, media_type, bytes })
            }
        }
    }
}

fn media_type_of(headers: &axum::http::HeaderMap) -> String {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.unwrap_or_default().to_owned()
}

impl Reply {
    fn checked(self) -> anyhow::Result<Self> {
        if self.is_success {
            return Ok(self);
        }
        let problem = self.json().unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or("the server refused without a reason");
        // Sentences of the API end with a full stop, messages of commands do not.
        bail!("{}", detail.trim_end_matches('.'));
    }

    pub(super) fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.bytes).context("the answer is no JSON")
    }
}

/// A multipart form.
pub(super) struct Form {
    boundary: String,
    body: Vec<u8>,
}

impl Form {
    pub(super) fn new() -> Self {
        Self {
            boundary: format!("image-search-{}", uuid::Uuid::new_v4().simple()),
            body: Vec::new(),
        }
    }

    pub(super) fn field(mut self, name: &str, value: &[u8]) -> Self {
        let head = format!(
            "--{}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n",
            self.boundary
        );
        self.body.extend_from_slice(head.as_bytes());
        self.body.extend_from_slice(value);
        self.body.extend_from_slice(b"\r\n");
        self
    }

    fn media_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    fn finish(mut self) -> Vec<u8> {
        self.body.extend_from_slice(format!("--{}--\r\n", self.boundary).as_bytes());
        self.body
    }
}
