//! The conformance suite, and what Azurite can be made to do, against the one that `tests/azure/server.py` runs: `make test-azure`.

use futures::StreamExt;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

use super::*;
use crate::source::bucket::azure::Azure;
use crate::source::conformance::{Subject, conformance_tests, listed};

/// Smaller than what the suite puts, so that lists have pages.
const PAGE_KEYS: usize = 700;
const PUTS_AT_ONCE: usize = 16;

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; run make test-azure"))
}

/// A container of its own for each test.
struct RealContainer {
    container: String,
    source: Arc<BucketSource>,
    /// What comes back with the container.
    put: Mutex<Vec<(ImageName, Vec<u8>)>>,
}

/// One request behind the source's back.
struct Change {
    method: Method,
    /// What stands behind the container in the address.
    rest: String,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
}

impl Change {
    fn new(method: Method, key: &str) -> Self {
        let key = percent_encode(key.as_bytes(), NON_ALPHANUMERIC).to_string();
        let rest = format!("/{}?", key.replace("%2F", "/"));
        Self { method, rest, headers: vec![("x-ms-blob-type", "BlockBlob")], body: Vec::new() }
    }

    fn put(key: &str, bytes: &[u8]) -> Self {
        Self { body: bytes.to_vec(), ..Self::new(Method::PUT, key) }
    }

    fn of_container(method: Method) -> Self {
        let rest = "?restype=container&".to_owned();
        Self { method, rest, headers: Vec::new(), body: Vec::new() }
    }
}

/// Blocks: the suite changes things behind the source's back. Signed by a token that `server.py` made.
fn change(container: &str, changes: Vec<Change>) {
    let (url, sas) = (variable("AZURE_TEST_URL"), variable("AZURE_TEST_SAS"));
    let (url, sas) = (&url, &sas);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let all = async move {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let sent = changes.into_iter().map(|change| {
            let address = format!("{url}/{container}{}{sas}", change.rest);
            let mut request =
                client.request(change.method, address).header("x-ms-version", "2026-02-06");
            for (name, value) in change.headers {
                request = request.header(name, value);
            }
            if change.body.is_empty() {
                request = request.header("content-length", "0");
            }
            request.body(change.body).send()
        });
        let mut answers = futures::stream::iter(sent).buffer_unordered(PUTS_AT_ONCE);
        while let Some(answer) = answers.next().await {
            let answer = answer.expect("an answer");
            let status = answer.status();
            assert!(status.is_success(), "{status}: {}", answer.text().await.unwrap_or_default());
        }
    };
    std::thread::scope(|scope| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        scope.spawn(move || runtime.block_on(all)).join().expect("changed");
    });
}

/// With these variables of the environment, and no others.
fn source_with(
    container: &str,
    variables: &[(&str, &str)],
    change: impl FnOnce(&mut SourceConfig),
) -> BucketSource {
    let mut settings = settings(&variable("AZURE_TEST_URL"));
    (settings.azure.page_keys, settings.azure.retry_for_ms) = (PAGE_KEYS, 20_000);
    change(&mut settings);
    let variable = |name: &str| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    let azure = Azure::new(container, &settings.azure, &variable).expect("a container");
    let limits = azure.limits(&settings.azure);
    let client = Client::new(Box::new(azure), container, limits).expect("a client");
    let address = format!("{container}/photos");
    let address = BucketAddress::parse(Store::Azure, &address).expect("an address");
    let ignore = globset::Glob::new("@eaDir").expect("a pattern");
    let ignore = globset::GlobSetBuilder::new().add(ignore).build().expect("patterns");
    BucketSource::over(client, address, String::new(), ignore, 1_000_000)
}

fn key_of_account() -> String {
    variable("AZURE_STORAGE_KEY")
}

impl RealContainer {
    fn with(change_settings: impl FnOnce(&mut SourceConfig)) -> Self {
        let container = format!("test-{}", uuid::Uuid::new_v4());
        change(&container, vec![Change::of_container(Method::PUT)]);
        let key = key_of_account();
        let source = source_with(&container, &[("AZURE_STORAGE_KEY", &key)], change_settings);
        Self { container, source: Arc::new(source), put: Mutex::default() }
    }

    fn change(&self, changes: impl IntoIterator<Item = Change>) {
        change(&self.container, changes.into_iter().collect());
    }
}

fn key(name: &ImageName) -> String {
    format!("photos/{name}")
}

impl Subject for RealContainer {
    fn start() -> Self {
        Self::with(|_| {})
    }

    fn source(&self) -> Arc<dyn Source> {
        self.source.clone()
    }

    /// As a store that tells what happens.
    fn put(&self, name: &ImageName, bytes: &[u8]) {
        self.put.lock().push((name.clone(), bytes.to_vec()));
        self.put_many(std::slice::from_ref(name), bytes);
        self.source.heed(&self.container, &key(name));
    }

    fn remove(&self, name: &ImageName) {
        self.remove_many(std::slice::from_ref(name));
        self.source.heed(&self.container, &key(name));
    }

    fn put_many(&self, names: &[ImageName], bytes: &[u8]) {
        self.change(names.iter().map(|name| Change::put(&key(name), bytes)));
    }

    fn remove_many(&self, names: &[ImageName]) {
        self.change(names.iter().map(|name| Change::new(Method::DELETE, &key(name))));
    }

    /// A backslash becomes a slash, and Azurite does not write what XML cannot hold.
    fn takes(&self, name: &str) -> bool {
        !name.contains(|c: char| c == '\\' || (c.is_ascii_control() && c != '\t'))
    }

    /// Azurite looks at all blobs of the account for each that is put or deleted.
    const LONG: usize = 2_000;

    const LOCKS_FOLDERS: bool = false;

    fn lock(&self, _folder: &ImageName) {}

    fn unplug(&self) {
        self.change([Change::of_container(Method::DELETE)]);
    }

    fn plug_in(&self) {
        self.change([Change::of_container(Method::PUT)]);
        let put = self.put.lock();
        self.change(put.iter().map(|(name, bytes)| Change::put(&key(name), bytes)));
    }
}

mod suite {
    super::conformance_tests!(
        #[ignore = "needs Azurite: make test-azure"]
        super::RealContainer
    );
}

/// Names at which the order of Azure differs from that of bytes, with others between, in pages of two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Azurite: make test-azure"]
async fn names_of_all_planes_come_in_the_order_of_their_bytes() {
    let container = RealContainer::with(|settings| settings.azure.page_keys = 2);
    let texts = [
        "！/a",
        "😀/b",
        "😀/！",
        "😀/😀",
        "a/b c+d%20e",
        "a/！",
        "a/😀",
        "a/😀😀",
        "ü/ß&=?#.png",
        "\u{E000}",
        "z😀",
        "z！",
        "zz",
        "a-b/x",
        "a.png",
    ];
    let mut names: Vec<ImageName> = texts.into_iter().map(name).collect();
    container.put_many(&names, b"x");
    names.sort_unstable();
    let told = listed(&*container.source, Scope::All).await;
    assert!(told.iter().eq(names.iter().map(ImageName::as_str)), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Azurite: make test-azure"]
async fn what_is_no_picture_is_left_out_or_told() {
    let container = RealContainer::with(|settings| settings.azure.page_keys = 2);
    let stub = Change {
        headers: vec![("x-ms-blob-type", "BlockBlob"), ("x-ms-meta-hdi_isfolder", "true")],
        ..Change::put("photos/folder", b"")
    };
    let snapshot = Change { rest: "/photos/a?comp=snapshot&".to_owned(), ..Change::put("", b"") };
    container.change([Change::put("photos/a", b"1")]);
    container.change([
        snapshot,
        stub,
        Change::put("photos/folder/b", b"2"),
        Change::put("photos/slash/", b""),
        Change::put("photos/a//odd", b"3"),
        Change::put("elsewhere", b"4"),
        Change::put("photos/.hidden/x", b"5"),
    ]);
    container.change((0..20).map(|number| Change::put(&format!("photos/@eaDir/{number}"), b"x")));
    container.change([Change::put("photos/z", b"6")]);
    let (items, broken) = told(&container.source, &Scope::All).await;
    assert_eq!(broken, None);
    let shown = |item: &Listed| match item {
        Listed::Image(name, _) => name.to_string(),
        Listed::Unnameable { shown, .. } => format!("odd: {shown}"),
        other => panic!("unexpected: {other:?}"),
    };
    let shown: Vec<String> = items.iter().map(shown).collect();
    assert_eq!(shown, ["a", "odd: a//odd", "folder/b", "z"]);
    let folder = container.source.stat(&name("folder")).await;
    assert_eq!(folder, Err(SourceError::NotFound(name("folder"))));
    // One with a snapshot goes all the same.
    container.source.delete(&name("a")).await.expect("deleted");
    let gone = container.source.open(&name("a")).await.err();
    assert_eq!(gone, Some(SourceError::NotFound(name("a"))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Azurite: make test-azure"]
async fn what_is_wrong_with_credentials_and_container_is_said() {
    let container = RealContainer::start();
    container.put(&name("a"), b"x");
    let (sas, expired) = (variable("AZURE_TEST_SAS"), variable("AZURE_TEST_SAS_EXPIRED"));
    let wrong = sas.replace("sig=", "sig=A");
    for (given, advice) in [
        (("AZURE_STORAGE_KEY", "c2VjcmV0"), "check AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY"),
        (("AZURE_STORAGE_SAS_TOKEN", expired.as_str()), "has expired on 2020-01-01"),
        (("AZURE_STORAGE_SAS_TOKEN", wrong.as_str()), "does not take the SAS token"),
    ] {
        let source = source_with(&container.container, &[given], |_| {});
        let errors = [
            source.identity().await.expect_err("away"),
            source.open(&name("a")).await.err().expect("away"),
            source.stat(&name("a")).await.expect_err("away"),
            source.create(&name("b"), b"x").await.expect_err("away"),
            told(&source, &Scope::All).await.1.expect("it broke"),
        ];
        for error in errors {
            let text = error.to_string();
            assert!(matches!(error, SourceError::Away { .. }) && text.contains(advice), "{text}");
            assert!(!text.contains("sig=") && !text.contains("c2VjcmV0"), "{text}");
        }
    }
    // Nobody reads a container that is not public.
    let anonymous =
        source_with(&container.container, &[], |settings| settings.azure.anonymous = true);
    assert!(matches!(anonymous.identity().await, Err(SourceError::Away { .. })));
    // A token does what a key does, but for addresses for browsers.
    let with_token = [("AZURE_STORAGE_SAS_TOKEN", sas.as_str())];
    let source =
        source_with(&container.container, &with_token, |settings| settings.azure.presigned = true);
    assert_eq!(listed(&source, Scope::All).await, ["a"]);
    source.create(&name("b"), b"x").await.expect("created");
    source.delete(&name("b")).await.expect("deleted");
    assert_eq!((source.presigned(&name("a")).await, source.presigned_origin()), (None, None));
    let key = key_of_account();
    let missing = source_with("there-is-none", &[("AZURE_STORAGE_KEY", &key)], |_| {});
    for error in [
        missing.identity().await.expect_err("away"),
        missing.open(&name("a")).await.err().expect("away"),
        missing.create(&name("a"), b"").await.expect_err("away"),
    ] {
        let text = error.to_string();
        assert!(text.contains("no container there-is-none") && error.is_trouble(), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Azurite: make test-azure"]
async fn large_blobs_are_read_in_parts_of_one_version() {
    let container = RealContainer::start();
    let bytes: Vec<u8> = (0..9_000_000_u32).map(|number| (number % 253) as u8).collect();
    container.source.create(&name("large"), &bytes).await.expect("created");
    container.source.create(&name("empty"), b"").await.expect("created");
    let mut empty = container.source.open(&name("empty")).await.expect("open");
    assert_eq!(empty.fingerprint.size_bytes, 0);
    assert_eq!(empty.reader.read_to_end(&mut Vec::new()).await.expect("read"), 0);
    let mut opened = container.source.open(&name("large")).await.expect("open");
    let mut read = Vec::new();
    opened.reader.read_to_end(&mut read).await.expect("read");
    assert!(read == bytes, "the bytes differ");
    assert_eq!(container.source.stat(&name("large")).await, Ok(opened.fingerprint));
    // Behind the first part there is another version now.
    let mut opened = container.source.open(&name("large")).await.expect("open");
    container.change([Change::put("photos/large", &bytes[1..])]);
    let error = opened.reader.read_to_end(&mut Vec::new()).await.expect_err("it changed");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Azurite: make test-azure"]
async fn a_signed_address_is_one_that_the_store_takes() {
    let container = RealContainer::with(|settings| settings.azure.presigned = true);
    container.source.create(&name("a ö+/b.png"), b"bytes").await.expect("created");
    let origin = container.source.presigned_origin().expect("an origin");
    let address = container.source.presigned(&name("a ö+/b.png")).await.expect("an address");
    assert!(address.starts_with(&origin) && address.contains("sp=r&"), "{address}");
    let read = reqwest::get(&address).await.expect("an answer");
    assert_eq!(
        (read.status().as_u16(), read.bytes().await.expect("bytes").as_ref()),
        (200, &b"bytes"[..])
    );
    let written = reqwest::Client::new().delete(&address).send().await.expect("an answer");
    assert_eq!(written.status(), 403, "it is for reading alone");
}
