//! A bucket of Google's as the source of the whole program, on what stands in for it in `tests/s3/server.py`. Nothing here has
//! ever asked Google itself.

use serde_json::json;

use super::{Bucket, until_info};
use crate::harness::{Server, World, picture};
use crate::uploads::{KEY, upload};

const PICTURES: u32 = 6;

fn world(bucket: &Bucket, secret: &str) -> World {
    World::new()
        .source(&format!("gs://{}/photos", bucket.name))
        .set("SOURCE__S3__GOOGLE_ENDPOINT", &bucket.server)
        .set("INGEST__FORGET_AFTER_DAYS", "0")
        .variable("GS_ACCESS_KEY_ID", "GOOG1EXAMPLE")
        .variable("GS_SECRET_ACCESS_KEY", secret)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an S3 server: make test-s3"]
async fn a_bucket_of_googles_is_indexed_searched_and_written() {
    let bucket = Bucket::make().await;
    bucket.control("google", json!({})).await;
    for number in 0..PICTURES {
        bucket.put(&[format!("photos/{number}.png")], &picture(number)).await;
    }
    let world = world(&bucket, "google-test-secret")
        .set("UPLOADS__ENABLED", "true")
        .set("UPLOADS__API_KEY", KEY)
        .set("THUMBNAILS__STORE", &format!("gs://{}/.small", bucket.name));
    let server = world.serve().await;
    server.until_counts(PICTURES.into(), 0).await;
    assert_eq!(server.names("picture", 100).await.len(), PICTURES as usize);
    let files = [("up.png", &picture(30)[..]), ("up.png", &picture(31)[..])];
    let made = upload(&server, &files).bearer_auth(KEY).send().await.expect("an answer");
    assert_eq!(made.status(), 201);
    let keys = bucket.keys().await;
    for key in ["photos/up.png", "photos/up-2.png"] {
        assert!(keys.contains(&key.to_owned()), "{key} is not among {keys:?}");
    }
    until_info(&server, "up-2.png", |info| info.is_some()).await;
    let gone = server.delete("/api/v1/images/up.png").bearer_auth(KEY).send().await;
    assert_eq!(gone.expect("an answer").status(), 204);
    until_info(&server, "up.png", |info| info.is_none()).await;
    let look = async || {
        let keys = bucket.keys().await;
        let small = keys.iter().filter(|key| key.starts_with(".small/")).count();
        (small > PICTURES as usize).then_some(())
    };
    server.until("thumbnails are there too", look).await;
    let log = server.log_text();
    assert!(!log.contains("google-test-secret") && !log.contains("X-Goog-Signature"), "{log}");
    assert!(server.terminate().await.success());
    wrong_keys(&bucket).await;
}

async fn wrong_keys(bucket: &Bucket) {
    for (secret, advice) in
        [("another", "check GS_SECRET_ACCESS_KEY"), ("", "set GS_ACCESS_KEY_ID and")]
    {
        let world = world(bucket, secret);
        let server: Server = world.serve().await;
        server
            .until(&format!("the status says {advice:?}"), async || {
                let status = server.get_json("/api/v1/status").await;
                let message = status["ingest"]["message"].as_str().unwrap_or_default().to_owned();
                message.contains(advice).then_some(())
            })
            .await;
    }
}
