//! A bucket as the source of the whole program, on the S3 server that `tests/s3/server.py` runs: `make test-s3`.

mod google;
mod thumbnails;

use serde_json::{Value, json};

use crate::harness::{Server, World, client, ok_json, picture, problem};
use crate::uploads::{KEY, upload};

/// Small ones with few different contents: what is tested is the way, not the model.
const OBJECTS: u32 = 300;
const CONTENTS: u32 = 6;

/// A bucket of its own.
struct Bucket {
    server: String,
    name: String,
}

impl Bucket {
    async fn make() -> Self {
        let server = std::env::var("S3_TEST_URL").expect("S3_TEST_URL; run make test-s3");
        let bucket = Self { server, name: format!("test-{}", uuid::Uuid::new_v4()) };
        bucket.control("make", json!({})).await;
        bucket
    }

    async fn control(&self, what: &str, body: Value) -> Value {
        let address = format!("{}/_test/{what}/{}", self.server, self.name);
        let answer = client().post(address).json(&body).send().await;
        ok_json(answer.expect("an answer")).await
    }

    async fn put(&self, keys: &[String], bytes: &[u8]) {
        self.control("put", json!({ "keys": keys, "bytes": bytes })).await;
    }

    async fn remove(&self, key: &str) {
        self.control("remove", json!({ "keys": [key] })).await;
    }

    async fn keys(&self) -> Vec<String> {
        let state = self.control("state", json!({})).await;
        let keys = state["keys"].as_array().expect("a list").iter();
        keys.map(|key| key.as_str().expect("a text").to_owned()).collect()
    }

    async fn fault(&self, status: u16, code: &str, count: i64) {
        let fault = json!({ "status": status, "code": code, "count": count });
        self.control("fault", fault).await;
    }

    fn world(&self) -> World {
        World::new()
            .source(&format!("s3://{}/photos", self.name))
            .set("SOURCE__S3__ENDPOINT", &self.server)
            .set("INGEST__FORGET_AFTER_DAYS", "0")
            .variable("AWS_ACCESS_KEY_ID", "test")
            .variable("AWS_SECRET_ACCESS_KEY", "test-secret")
    }

    /// As the store tells a change of an object.
    async fn tell(&self, server: &Server, event: &str, key: &str) -> Value {
        let key = percent_encoding::utf8_percent_encode(key, percent_encoding::NON_ALPHANUMERIC);
        let record = json!({
            "eventName": event,
            "s3": { "bucket": { "name": self.name }, "object": { "key": key.to_string() } },
        });
        let message = json!({ "Records": [record] });
        ok_json(server.post("/api/v1/hints").json(&message).send().await.expect("an answer")).await
    }

    async fn fill(&self) {
        for content in 0..CONTENTS {
            let of_content = (0..OBJECTS).filter(|number| number % CONTENTS == content);
            let keys: Vec<String> =
                of_content.map(|number| format!("photos/{}/{number} ü.png", number % 7)).collect();
            self.put(&keys, &picture(content)).await;
        }
    }
}

/// What is known of a picture, if it is.
async fn info(server: &Server, name: &str) -> Option<Value> {
    let name = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    let asked = server.get(&format!("/api/v1/image-info?image_name={name}")).send().await;
    let answer = asked.expect("an answer");
    if answer.status() == 404 { None } else { Some(ok_json(answer).await) }
}

pub(crate) async fn until_info(
    server: &Server,
    name: &str,
    wanted: impl Fn(Option<&Value>) -> bool,
) {
    let look = async || wanted(info(server, name).await.as_ref()).then_some(());
    server.until(&format!("{name} is as it should be"), look).await;
}

async fn bytes_of(server: &Server, name: &str) -> Vec<u8> {
    let answer = server.get(&format!("/api/v1/images/{name}")).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    answer.bytes().await.expect("bytes").to_vec()
}

#[tokio::test]
#[ignore = "needs an S3 server: make test-s3"]
async fn a_bucket_is_indexed_searched_followed_written_and_kept_while_it_is_away() {
    let bucket = Bucket::make().await;
    bucket.fill().await;
    let odd = ["photos//odd.png", "photos/folder/", "photos/.hidden/x.png", "elsewhere/x.png"];
    bucket.put(&odd.map(str::to_owned), b"").await;
    let world = bucket
        .world()
        .set("UPLOADS__ENABLED", "true")
        .set("UPLOADS__API_KEY", KEY)
        .set("SOURCE__S3__HINT_BYTES_MAX", "5000");
    let server = world.serve().await;
    server.until_counts(OBJECTS.into(), 0).await;
    assert_eq!(server.names("picture", 100).await.len(), CONTENTS as usize);
    let failures = server.get_json("/api/v1/failures").await.to_string();
    assert!(failures.contains("odd.png"), "{failures}");

    followed_by_hints(&bucket, &server).await;
    served_in_parts(&server).await;
    written_through_the_api(&bucket, &server).await;
    refused_hints(&server).await;
    kept_while_away(&bucket, &server).await;
    assert!(server.terminate().await.success());

    // Without hints, by comparing; and with addresses of the bucket for browsers.
    bucket.put(&["photos/offline.png".into()], &picture(40)).await;
    let world = world
        .set("INGEST__SCAN_INTERVAL_MS", "300")
        .set("INGEST__SCAN_SHARE_MAX_PERCENT", "100")
        .set("SOURCE__S3__PRESIGNED", "true");
    let server = world.serve().await;
    until_info(&server, "offline.png", |info| info.is_some()).await;
    bucket.put(&["photos/later.png".into()], &picture(41)).await;
    until_info(&server, "later.png", |info| info.is_some()).await;
    bucket.remove("photos/offline.png").await;
    until_info(&server, "offline.png", |info| info.is_none()).await;
    let answer = server.get("/api/v1/images/later.png").send().await.expect("an answer");
    assert!(answer.url().as_str().starts_with(&bucket.server), "{}", answer.url());
    assert!(answer.bytes().await.expect("bytes") == picture(41), "other bytes");
    let page = server.get("/").send().await.expect("an answer");
    let policy = page.headers()["content-security-policy"].to_str().expect("a text");
    assert!(policy.contains(&format!("img-src 'self' {}", bucket.server)), "{policy}");
    let log = server.log_text();
    assert!(!log.contains("test-secret") && !log.contains("X-Amz-Signature"), "{log}");
}

async fn followed_by_hints(bucket: &Bucket, server: &Server) {
    let (key, name) = ("photos/neu ö/a+b.png", "neu ö/a+b.png");
    bucket.put(&[key.into()], &picture(20)).await;
    let told = bucket.tell(server, "ObjectCreated:Put", key).await;
    assert_eq!((&told["heeded"], &told["ignored"]), (&json!(1), &json!(0)));
    until_info(server, name, |info| info.is_some()).await;
    let before = info(server, name).await.expect("there")["content_hash"].clone();
    bucket.put(&[key.into()], &picture(21)).await;
    bucket.tell(server, "ObjectCreated:Put", key).await;
    until_info(server, name, |info| info.is_some_and(|info| info["content_hash"] != before)).await;
    bucket.remove(key).await;
    bucket.tell(server, "ObjectRemoved:Delete", key).await;
    until_info(server, name, |info| info.is_none()).await;
}

async fn served_in_parts(server: &Server) {
    let whole = bytes_of(server, "0/0%20%C3%BC.png").await;
    assert!(whole == picture(0), "other bytes");
    let asked = server.get("/api/v1/images/0/0%20%C3%BC.png").header("range", "bytes=70-90");
    let part = asked.send().await.expect("an answer");
    assert_eq!(part.status(), 206);
    assert!(part.headers().contains_key("etag"));
    assert_eq!(part.bytes().await.expect("bytes"), whole[70..=90]);
    let thumbnail = server.get("/api/v1/images/0/0%20%C3%BC.png/thumbnail").send().await;
    assert_eq!(thumbnail.expect("an answer").headers()["content-type"], "image/jpeg");
}

async fn written_through_the_api(bucket: &Bucket, server: &Server) {
    let files = [("up/ß 1.png", &picture(30)[..]), ("up/ß 1.png", &picture(31)[..])];
    let made = upload(server, &files).bearer_auth(KEY).send().await.expect("an answer");
    assert_eq!(made.status(), 201);
    let keys = bucket.keys().await;
    for key in ["photos/up/ß 1.png", "photos/up/ß 1-2.png"] {
        assert!(keys.contains(&key.to_owned()), "{key} is not among {keys:?}");
    }
    until_info(server, "up/ß 1-2.png", |info| info.is_some()).await;
    let gone = server.delete("/api/v1/images/up/%C3%9F%201.png").bearer_auth(KEY).send().await;
    assert_eq!(gone.expect("an answer").status(), 204);
    let keys = bucket.keys().await;
    assert!(!keys.contains(&"photos/up/ß 1.png".to_owned()), "{keys:?}");
    until_info(server, "up/ß 1.png", |info| info.is_none()).await;
}

async fn refused_hints(server: &Server) {
    let record = json!({ "s3": { "bucket": { "name": "not-ours" }, "object": { "key": "a" } } });
    let sent = server.post("/api/v1/hints").json(&json!({ "Records": [record] })).send().await;
    let told = ok_json(sent.expect("an answer")).await;
    assert_eq!(told, json!({"heeded": 0, "ignored": 1, "unknown_buckets": ["not-ours"]}));
    problem(server.post("/api/v1/hints").body("no JSON"), 422, "invalid_request").await;
    problem(server.post("/api/v1/hints").body(vec![b' '; 5_001]), 413, "too_large").await;
}

async fn kept_while_away(bucket: &Bucket, server: &Server) {
    let message = async |part: &str| {
        server
            .until(&format!("the status says {part:?}"), async || {
                let status = server.get_json("/api/v1/status").await;
                let message = status["ingest"]["message"].as_str().unwrap_or_default().to_owned();
                message.contains(part).then_some(status)
            })
            .await
    };
    let total = server.get_json("/api/v1/status").await["images"]["total"].clone();
    bucket.fault(400, "ExpiredToken", -1).await;
    bucket.tell(server, "ObjectCreated:Put", "photos/x.png").await;
    let status = message("renew").await;
    assert_eq!(status["images"]["total"], total);
    assert_eq!(server.names("picture", 100).await.len(), CONTENTS as usize + 1);
    bucket.fault(503, "SlowDown", 2).await;
    server
        .until("it is back", async || {
            let status = server.get_json("/api/v1/status").await;
            (status["sources"][0]["away"] == false && status["images"]["total"] == total)
                .then_some(())
        })
        .await;
}
