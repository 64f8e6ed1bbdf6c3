//! A bucket against a store of canned answers (what goes wrong, and what no real store would list), and the conformance suite
//! against real ones: `make test-s3` and `make test-azure`.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config::S3Config;
use crate::source::Listed;
use crate::source::conformance::name;

mod azure;
mod faults;
mod real_azure;
mod real_s3;

/// What the canned store was asked: the first line and the headers of a request.
#[derive(Debug, Clone)]
pub(super) struct Asked(String);

impl Asked {
    pub(super) fn line(&self) -> &str {
        self.0.lines().next().unwrap_or_default()
    }

    pub(super) fn has(&self, text: &str) -> bool {
        self.0.to_lowercase().contains(&text.to_lowercase())
    }
}

/// What it answers: status, further headers, body, and how much longer it says that the body is.
#[derive(Clone)]
pub(super) struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
    missing_bytes: usize,
}

pub(super) fn answer(status: u16, body: impl Into<Vec<u8>>) -> Answer {
    Answer { status, headers: String::new(), body: body.into(), missing_bytes: 0 }
}

impl Answer {
    pub(super) fn with(mut self, header: &str) -> Self {
        self.headers.push_str(header);
        self.headers.push_str("\r\n");
        self
    }

    /// The connection ends so many bytes before the end.
    pub(super) fn breaking_off(mut self, missing_bytes: usize) -> Self {
        self.missing_bytes = missing_bytes;
        self
    }
}

/// The body of an error.
pub(super) fn error(status: u16, code: &str) -> Answer {
    answer(status, format!("<Error><Code>{code}</Code><Message>Said so</Message></Error>"))
}

/// A page of a list; `next`: where it goes on.
pub(super) fn page(objects: &[(&str, u64)], next: Option<&str>) -> Answer {
    let contents = |(key, size): &(&str, u64)| {
        format!("<Contents><Key>{key}</Key><Size>{size}</Size><ETag>\"e\"</ETag></Contents>")
    };
    let contents: String = objects.iter().map(contents).collect();
    let end = next.map_or_else(
        || "<IsTruncated>false</IsTruncated>".to_owned(),
        |next| {
            format!(
                "<IsTruncated>true</IsTruncated><NextContinuationToken>{next}</NextContinuationToken>"
            )
        },
    );
    let list = format!("<EncodingType>url</EncodingType>{contents}{end}");
    answer(200, format!("<ListBucketResult>{list}</ListBucketResult>"))
}

/// Gives its answers one after the other, and the last one for ever.
pub(super) struct CannedStore {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl CannedStore {
    pub(super) async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answers: Arc<Mutex<VecDeque<Answer>>> =
            Arc::new(Mutex::new(answers.into_iter().collect()));
        let told = asked.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, answers.clone(), told.clone()));
            }
        });
        Self { url, asked }
    }

    pub(super) fn source(&self) -> BucketSource {
        self.source_with(|_| {}, usize::MAX)
    }

    pub(super) fn source_with(
        &self,
        change: impl FnOnce(&mut S3Config),
        images_max: usize,
    ) -> BucketSource {
        let mut settings = settings(&self.url);
        settings.s3.anonymous = true;
        change(&mut settings.s3);
        let address = BucketAddress::parse(Store::S3, "bucket/photos").expect("an address");
        let ignore = globset::GlobSetBuilder::new();
        let ignore = { ignore }.add(globset::Glob::new("@eaDir").expect("a pattern")).build();
        BucketSource::new(address, String::new(), ignore.expect("patterns"), images_max, &settings)
            .expect("a source")
    }

    /// A container of Azure's.
    pub(super) fn container(&self) -> BucketSource {
        let mut settings = settings(&self.url);
        settings.azure.anonymous = true;
        let address = BucketAddress::parse(Store::Azure, "bucket/photos").expect("an address");
        let ignore = globset::Glob::new("@eaDir").expect("a pattern");
        let ignore = globset::GlobSetBuilder::new().add(ignore).build().expect("patterns");
        BucketSource::new(address, String::new(), ignore, usize::MAX, &settings).expect("a source")
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }
}

/// Patient enough for a slow machine, and impatient with what is refused for ever.
pub(super) fn settings(url: &str) -> SourceConfig {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut settings = crate::config::built_in().source;
    url.clone_into(&mut settings.s3.endpoint);
    url.clone_into(&mut settings.azure.endpoint);
    settings.s3.retry_for_ms = 2_000;
    settings.azure.retry_for_ms = 2_000;
    settings
}

async fn serve(
    mut connection: TcpStream,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match connection.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let request = Asked(String::from_utf8_lossy(&head).into_owned());
    let is_head = request.line().starts_with("HEAD");
    asked.lock().push(request);
    let answer = {
        let mut answers = answers.lock();
        let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        next.expect("an answer")
    };
    let length = answer.body.len() + answer.missing_bytes;
    let head = format!(
        "HTTP/1.1 {} Canned\r\nConnection: close\r\nContent-Length: {length}\r\n{}\r\n",
        answer.status, answer.headers
    );
    let _ = connection.write_all(head.as_bytes()).await;
    if !is_head {
        let _ = connection.write_all(&answer.body).await;
    }
    let _ = connection.shutdown().await;
}

/// Everything that a listing tells, until it ends or breaks.
pub(super) async fn told(
    source: &BucketSource,
    scope: &Scope,
) -> (Vec<Listed>, Option<SourceError>) {
    let (mut listing, mut items) = (source.list(scope, None), Vec::new());
    loop {
        match listing.next().await {
            Ok(Some(item)) => items.push(item),
            Ok(None) => return (items, None),
            Err(error) => return (items, Some(error)),
        }
    }
}

#[test]
fn addresses_name_a_bucket_and_a_prefix() {
    let of = |text: &str| {
        BucketAddress::parse(Store::S3, text).map(|it| (it.bucket.clone(), it.prefix.clone()))
    };
    assert_eq!(of("bucket"), Ok(("bucket".into(), String::new())));
    assert_eq!(of("bucket/a/b//"), Ok(("bucket".into(), "a/b/".into())));
    for wrong in ["", "/a", "ab", "user:secret@bucket", "b cket", "bucket//a", "bucket/../a"] {
        assert!(of(wrong).is_err(), "{wrong:?}");
    }
    let azure = |text: &str| BucketAddress::parse(Store::Azure, text).is_ok();
    assert!(azure("photos-2/a") && !azure("photos_2") && !azure(&"a".repeat(64)));
    let label = |text: &str| BucketAddress::parse(Store::S3, text).map(|it| it.label().to_owned());
    assert_eq!((label("bucket/a/b"), label("bucket/")), (Ok("b".into()), Ok("bucket".into())));
}

#[tokio::test]
async fn what_stores_tell_becomes_a_hint() {
    let store = CannedStore::start([answer(500, "")]).await;
    let source = store.source();
    let mut hints = source.hints().expect("hints");
    assert_eq!(hints.next().await, Some(vec![Scope::All]));
    assert_eq!(source.heed("another", "photos/a.png"), Heeded::NotMine);
    for nothing in
        ["elsewhere/a.png", "photos/.hidden/a.png", "photos/a//b", "photos/", "photos/@eaDir/x"]
    {
        assert_eq!(source.heed("bucket", nothing), Heeded::NoPicture, "{nothing}");
    }
    assert_eq!(source.heed("bucket", "photos/a/ö.png"), Heeded::Yes);
    assert_eq!(hints.next().await, Some(vec![Scope::Under(name("a/ö.png"))]));
    for number in 0..HINTS_WAITING_MAX * 2 {
        source.heed("bucket", &format!("photos/{number}.png"));
    }
    assert_eq!(hints.next().await, Some(vec![Scope::All]), "too many become a look at everything");
}

#[tokio::test]
async fn addresses_for_browsers_are_signed_and_short_lived() {
    let store = CannedStore::start([answer(500, "")]).await;
    let given = |source: BucketSource| async move { source.presigned(&name("a ö.png")).await };
    assert_eq!(given(store.source()).await, None, "only by configuration");
    let unsigned = store.source_with(|settings| settings.presigned = true, 1);
    assert_eq!(given(unsigned).await, None, "nothing can be signed without credentials");
    assert_eq!(store.source().presigned_origin(), None);
}
