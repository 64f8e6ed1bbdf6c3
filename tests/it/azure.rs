//! A container of Azure's as the source of the whole program, on the Azurite that `tests/azure/server.py` runs: `make test-azure`.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;

use crate::harness::{Server, World, client, picture};
use crate::s3::until_info;
use crate::uploads::{KEY, upload};

const PICTURES: u32 = 6;

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; run make test-azure"))
}

/// A container of its own, changed behind the program's back by a token that `server.py` made.
struct Container(String);

impl Container {
    async fn make() -> Self {
        let container = Self(format!("test-{}", uuid::Uuid::new_v4()));
        container.ask(Method::PUT, "?restype=container&", Vec::new()).await;
        container
    }

    async fn ask(&self, method: Method, rest: &str, body: Vec<u8>) -> String {
        let (url, sas) = (variable("AZURE_TEST_URL"), variable("AZURE_TEST_SAS"));
        let request = client().request(method, format!("{url}/{}{rest}{sas}", self.0));
        let request = request.header("x-ms-version", "2026-02-06");
        let request = request.header("content-length", body.len());
        let answer = request.header("x-ms-blob-type", "BlockBlob").body(body).send().await;
        let answer = answer.expect("an answer");
        let is_success = answer.status().is_success();
        let text = answer.text().await.expect("a text");
        assert!(is_success, "{rest}: {text}");
        text
    }

    async fn put(&self, key: &str, bytes: &[u8]) {
        let key = utf8_percent_encode(key, NON_ALPHANUMERIC);
        self.ask(Method::PUT, &format!("/{key}?"), bytes.to_vec()).await;
    }

    async fn has(&self, key: &str) -> bool {
        let listed = self.ask(Method::GET, "?restype=container&comp=list&", Vec::new()).await;
        listed.contains(&format!("<Name>{key}</Name>"))
    }

    async fn thumbnails(&self) -> usize {
        let list = "?restype=container&comp=list&prefix=.small%2F&";
        self.ask(Method::GET, list, Vec::new()).await.matches("<Name>.small/").count()
    }

    fn world(&self) -> World {
        World::new()
            .source(&format!("az://{}/photos", self.0))
            .set("SOURCE__AZURE__ENDPOINT", &variable("AZURE_TEST_URL"))
            .set("INGEST__FORGET_AFTER_DAYS", "0")
            .set("INGEST__SCAN_INTERVAL_MS", "300")
            .set("INGEST__SCAN_SHARE_MAX_PERCENT", "100")
    }
}

async fn until_said(server: &Server, part: &str) {
    let look = async || {
        let status = server.get_json("/api/v1/status").await;
        let message = status["ingest"]["message"].as_str().unwrap_or_default().to_owned();
        message.contains(part).then_some(())
    };
    server.until(&format!("the status says {part:?}"), look).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Azurite: make test-azure"]
async fn a_container_is_indexed_searched_followed_and_written_and_holds_thumbnails() {
    let container = Container::make().await;
    for number in 0..PICTURES {
        container.put(&format!("photos/{number} ü.png"), &picture(number)).await;
    }
    container.put("photos/.hidden/x.png", b"").await;
    let key = variable("AZURE_STORAGE_KEY");
    let world = container
        .world()
        .set("UPLOADS__ENABLED", "true")
        .set("UPLOADS__API_KEY", KEY)
        .set("SOURCE__AZURE__PRESIGNED", "true")
        .set("THUMBNAILS__STORE", &format!("az://{}/.small", container.0))
        .variable("AZURE_STORAGE_KEY", &key);
    let server = world.serve().await;
    server.until_counts(PICTURES.into(), 0).await;
    assert_eq!(server.names("picture", 100).await.len(), PICTURES as usize);
    let answer = server.get("/api/v1/images/3%20%C3%BC.png").send().await.expect("an answer");
    assert!(answer.url().query().is_some_and(|query| query.contains("sp=r&")), "no address");
    assert!(answer.bytes().await.expect("bytes") == picture(3), "other bytes");
    let files = [("up.png", &picture(30)[..]), ("up.png", &picture(31)[..])];
    let made = upload(&server, &files).bearer_auth(KEY).send().await.expect("an answer");
    assert_eq!(made.status(), 201);
    assert!(container.has("photos/up.png").await && container.has("photos/up-2.png").await);
    until_info(&server, "up-2.png", |info| info.is_some()).await;
    let gone = server.delete("/api/v1/images/up.png").bearer_auth(KEY).send().await;
    assert_eq!(gone.expect("an answer").status(), 204);
    until_info(&server, "up.png", |info| info.is_none()).await;
    container.put("photos/later.png", &picture(40)).await;
    until_info(&server, "later.png", |info| info.is_some()).await;
    container.ask(Method::DELETE, "/photos/later.png?", Vec::new()).await;
    until_info(&server, "later.png", |info| info.is_none()).await;
    let look = async || (container.thumbnails().await > PICTURES as usize).then_some(());
    server.until("thumbnails are there too", look).await;
    // A container that is gone takes nothing with it.
    container.ask(Method::DELETE, "?restype=container&", Vec::new()).await;
    until_said(&server, "there is no container").await;
    assert_eq!(server.names("picture", 100).await.len(), PICTURES as usize + 1);
    let log = server.log_text();
    assert!(!log.contains(&key) && !log.contains("sig=") && !log.contains("SharedKey"), "{log}");
    assert!(server.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Azurite: make test-azure"]
async fn credentials_that_are_wrong_are_named_and_not_shown() {
    let container = Container::make().await;
    container.put("photos/0.png", &picture(0)).await;
    let (token, expired) = (variable("AZURE_TEST_SAS"), variable("AZURE_TEST_SAS_EXPIRED"));
    for (name, value, advice) in [
        ("AZURE_STORAGE_KEY", "c2VjcmV0", "check AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY"),
        ("AZURE_STORAGE_SAS_TOKEN", expired.as_str(), "put a new one into AZURE_STORAGE_SAS_TOKEN"),
    ] {
        let world = container.world().variable(name, value);
        let server = world.serve().await;
        until_said(&server, advice).await;
        let log = server.log_text();
        assert!(!log.contains(value) && !log.contains("sig="), "{log}");
    }
    let world = container.world().set("LOG__LEVEL", "debug");
    let world = world.variable("AZURE_STORAGE_SAS_TOKEN", &token);
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    let log = server.log_text();
    assert!(!log.contains("sig="), "{log}");
}
