//! What the application does with bytes of unknown origin: tokens, configuration files, bodies of searches, the latter
//! through the real router. Also replayed by a normal test (tests/it/corpus.rs). A target fails by a panic, by a 500, or
//! by an answer that is no problem document.
#![allow(dead_code, reason = "each target is a program of its own and calls one of these")]

use std::sync::OnceLock;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use image_search::app::App;
use image_search::config::Config;
use image_search::http;
use image_search::search_token::TokenSigner;
use tower::ServiceExt;

/// Only what was signed with the key is a token; nothing that a fuzzer finds is.
pub fn token(data: &[u8]) {
    static SIGNER: OnceLock<TokenSigner> = OnceLock::new();
    let signer = SIGNER.get_or_init(|| TokenSigner::new(&[7; 32], "image-search/feedback", 60));
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(signer.verify(text).is_err(), "a forged token was accepted: {text}");
    }
}

/// A configuration file. One that is taken keeps the bounds that the program relies on.
pub fn config(data: &[u8]) {
    let file = std::env::temp_dir().join(format!("image-search-fuzz-{}.toml", std::process::id()));
    if std::fs::write(&file, data).is_err() {
        return;
    }
    if let Ok(config) = Config::load(Some(&file), [], Vec::new()) {
        assert!(config.search.limit_max > 0 && config.embed.batch_max > 0, "{config:?}");
    }
}

/// A JSON body of a search.
pub fn search_body(data: &[u8]) {
    ask("application/json", data);
}

/// A form with a picture to search by. The boundary is `x`.
pub fn multipart(data: &[u8]) {
    ask("multipart/form-data; boundary=x", data);
}

struct Site {
    runtime: tokio::runtime::Runtime,
    router: Router,
    _dir: tempfile::TempDir,
}

/// The application without a model: whatever is right about a body ends with "not ready".
fn site() -> &'static Site {
    static SITE: OnceLock<Site> = OnceLock::new();
    SITE.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(dir.path().join("images")).expect("mkdir");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let flags = vec![
            ("images", vec![path("images")].into()),
            ("data_dir", path("data").into()),
            ("models.offline", true.into()),
        ];
        let config = Config::load(None, [], flags).expect("valid");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let router = runtime.block_on(async {
            let app = App::open(config).await.expect("opened");
            http::router(app, std::net::Ipv4Addr::LOCALHOST.into())
        });
        Site { runtime, router, _dir: dir }
    })
}

fn ask(kind: &str, body: &[u8]) {
    let site = site();
    let request = Request::post("/api/v1/search-image")
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, kind)
        .body(Body::from(body.to_vec()))
        .expect("a request");
    let answer = site.runtime.block_on(site.router.clone().oneshot(request)).expect("an answer");
    let told = answer.headers().get(header::CONTENT_TYPE).map(axum::http::HeaderValue::as_bytes);
    assert_ne!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(told, Some(&b"application/problem+json"[..]), "{}", answer.status());
}
