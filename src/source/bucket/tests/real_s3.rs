//! The conformance suite, and 20,000 objects, against an S3 server that `tests/s3/server.py` runs: `make test-s3`.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::*;
use crate::source::Listing;
use crate::source::conformance::{Subject, conformance_tests, listed};

/// A bucket of its own for each test.
struct RealBucket {
    server: String,
    bucket: String,
    source: Arc<BucketSource>,
}

/// Asks what `server.py` has beside the protocol. Blocks: the suite changes things behind the source's back.
fn control(server: &str, path: &str, body: &Value) -> Value {
    let host = server.strip_prefix("http://").expect("an address");
    let body = body.to_string();
    let mut connection = TcpStream::connect(host).expect("a server");
    let head = format!(
        "POST /_test/{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).expect("sent");
    connection.write_all(body.as_bytes()).expect("sent");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains(" 200 "), "{answer}");
    serde_json::from_str(body).expect("JSON")
}

impl RealBucket {
    fn with(change: impl FnOnce(&mut S3Config)) -> Self {
        Self::of(Store::S3, change)
    }

    /// One of Google's is asked in its own words alone.
    fn of(store: Store, change: impl FnOnce(&mut S3Config)) -> Self {
        let server = std::env::var("S3_TEST_URL").expect("S3_TEST_URL; run make test-s3");
        let bucket = format!("test-{}", uuid::Uuid::new_v4());
        control(&server, &format!("make/{bucket}"), &json!({}));
        let mut settings = settings(&server);
        settings.s3.retry_for_ms = 20_000;
        if store == Store::Google {
            control(&server, &format!("google/{bucket}"), &json!({}));
            settings.s3.google_endpoint = std::mem::take(&mut settings.s3.endpoint);
        }
        change(&mut settings.s3);
        let address = BucketAddress::parse(store, &format!("{bucket}/photos")).expect("an address");
        let source =
            BucketSource::new(address, String::new(), GlobSet::empty(), 1_000_000, &settings);
        Self { server, bucket, source: Arc::new(source.expect("a source")) }
    }

    fn control(&self, what: &str, body: &Value) -> Value {
        control(&self.server, &format!("{what}/{}", self.bucket), body)
    }

    fn requests(&self) -> u64 {
        self.control("state", &json!({}))["requests"].as_u64().expect("a count")
    }
}

fn keys(names: &[ImageName]) -> Vec<String> {
    names.iter().map(|name| format!("photos/{name}")).collect()
}

impl Subject for RealBucket {
    fn start() -> Self {
        Self::with(|_| {})
    }

    fn source(&self) -> Arc<dyn Source> {
        self.source.clone()
    }

    /// As a store that tells what happens.
    fn put(&self, name: &ImageName, bytes: &[u8]) {
        self.put_many(std::slice::from_ref(name), bytes);
        self.source.heed(&self.bucket, &format!("photos/{name}"));
    }

    fn remove(&self, name: &ImageName) {
        self.remove_many(std::slice::from_ref(name));
        self.source.heed(&self.bucket, &format!("photos/{name}"));
    }

    fn put_many(&self, names: &[ImageName], bytes: &[u8]) {
        self.control("put", &json!({ "keys": keys(names), "bytes": bytes }));
    }

    fn remove_many(&self, names: &[ImageName]) {
        self.control("remove", &json!({ "keys": keys(names) }));
    }

    /// This server's router does not see keys with line ends. Amazon's does.
    fn takes(&self, name: &str) -> bool {
        !name.contains(['\n', '\r'])
    }

    const LOCKS_FOLDERS: bool = false;

    fn lock(&self, _folder: &ImageName) {}

    fn unplug(&self) {
        self.control("fault", &json!({"status": 404, "code": "NoSuchBucket", "count": -1}));
    }

    fn plug_in(&self) {
        self.control("fault", &json!({"status": 404, "code": "NoSuchBucket", "count": 0}));
    }
}

mod suite {
    super::conformance_tests!(
        #[ignore = "needs an S3 server: make test-s3"]
        super::RealBucket
    );
}

/// A bucket of Google's, as far as `server.py` knows what that is.
struct GoogleBucket(RealBucket);

impl Subject for GoogleBucket {
    fn start() -> Self {
        Self(RealBucket::of(Store::Google, |_| {}))
    }

    fn source(&self) -> Arc<dyn Source> {
        self.0.source()
    }

    fn put(&self, name: &ImageName, bytes: &[u8]) {
        self.0.put(name, bytes);
    }

    fn remove(&self, name: &ImageName) {
        self.0.remove(name);
    }

    fn put_many(&self, names: &[ImageName], bytes: &[u8]) {
        self.0.put_many(names, bytes);
    }

    fn remove_many(&self, names: &[ImageName]) {
        self.0.remove_many(names);
    }

    fn takes(&self, name: &str) -> bool {
        self.0.takes(name)
    }

    const LOCKS_FOLDERS: bool = RealBucket::LOCKS_FOLDERS;

    fn lock(&self, folder: &ImageName) {
        self.0.lock(folder);
    }

    fn unplug(&self) {
        self.0.unplug();
    }

    fn plug_in(&self) {
        self.0.plug_in();
    }
}

mod google {
    super::conformance_tests!(
        #[ignore = "needs an S3 server: make test-s3"]
        super::GoogleBucket
    );
}

async fn count(mut listing: Listing) -> Result<usize, SourceError> {
    let mut names = 0;
    while let Some(item) = listing.next().await? {
        assert!(matches!(item, Listed::Image(..)), "{item:?}");
        names += 1;
    }
    Ok(names)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server: make test-s3"]
async fn twenty_thousand_objects_come_page_by_page_whatever_the_store_says_between() {
    let bucket = RealBucket::start();
    let mut names: Vec<ImageName> = (0..20_000)
        .map(|number| name(&format!("{}/Größe {}/{number:05} ü+%.jpg", number % 3, number % 70)))
        .collect();
    bucket.put_many(&names, b"the same");
    names.sort_unstable();
    let before = bucket.requests();
    let all = listed(&*bucket.source, Scope::All).await;
    assert!(all.iter().eq(names.iter().map(ImageName::as_str)), "not the names, or not in order");
    assert_eq!(bucket.requests() - before, 20, "a request for each thousand");
    // From the middle on, and asked for less while it lists.
    bucket.control("fault", &json!({"status": 503, "code": "SlowDown", "count": 2, "after": 3}));
    let after = &names[4_999];
    let rest = count(bucket.source.list(&Scope::All, Some(after))).await;
    assert_eq!(rest, Ok(15_000));
    // Credentials that expire in the middle are no end.
    bucket
        .control("fault", &json!({"status": 400, "code": "ExpiredToken", "count": -1, "after": 5}));
    let broken = count(bucket.source.list(&Scope::All, None)).await.expect_err("it broke");
    assert!(
        matches!(&broken, SourceError::Away { reason, .. } if reason.contains("renew")),
        "{broken}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server: make test-s3"]
async fn large_objects_are_read_in_parts() {
    let bucket = RealBucket::start();
    let bytes: Vec<u8> = (0..9_000_000_u32).map(|number| (number % 253) as u8).collect();
    bucket.source.create(&name("large"), &bytes).await.expect("created");
    let before = bucket.requests();
    let mut opened = bucket.source.open(&name("large")).await.expect("open");
    let mut read = Vec::new();
    opened.reader.read_to_end(&mut read).await.expect("read");
    assert!(read == bytes, "the bytes differ");
    assert_eq!(bucket.requests() - before, 2);
    assert_eq!(bucket.source.stat(&name("large")).await, Ok(opened.fingerprint));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server: make test-s3"]
async fn a_signed_address_is_one_that_the_store_takes() {
    for (store, expires) in
        [(Store::S3, "X-Amz-Expires=300"), (Store::Google, "X-Goog-Expires=300")]
    {
        let bucket = RealBucket::of(store, |settings| settings.presigned = true);
        bucket.source.create(&name("a ö+/b.png"), b"bytes").await.expect("created");
        assert_eq!(bucket.source.presigned_origin().as_deref(), Some(bucket.server.as_str()));
        let address = bucket.source.presigned(&name("a ö+/b.png")).await.expect("an address");
        assert!(address.contains(expires) && !address.contains("test-secret"), "{address}");
        let read = reqwest::get(&address).await.expect("an answer");
        assert_eq!(
            (read.status().as_u16(), read.bytes().await.expect("bytes").as_ref()),
            (200, &b"bytes"[..])
        );
    }
}

/// What the stand-in knows of the other kind of store, a source must not do by accident.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server: make test-s3"]
async fn a_bucket_of_googles_refuses_the_words_of_amazon() {
    let bucket = RealBucket::start();
    bucket.control("google", &json!({}));
    let refused = bucket.source.identity().await.expect_err("refused");
    assert!(
        matches!(&refused, SourceError::Away { reason, .. } if reason.contains("AWS_ACCESS_KEY_ID")),
        "{refused}"
    );
}
