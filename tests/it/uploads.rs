//! Uploading and deleting over HTTP: off by default, protected by the API key, checked before anything is written.

use reqwest::RequestBuilder;

use crate::harness::{Server, World, ok_json, picture, problem};
use crate::search::multipart;

pub(crate) const KEY: &str = "correct horse";

pub(crate) fn upload(server: &Server, files: &[(&str, &[u8])]) -> RequestBuilder {
    let fields: Vec<(&str, Option<&str>, &[u8])> =
        files.iter().map(|(name, bytes)| ("image", Some(*name), *bytes)).collect();
    server
        .post("/api/v1/images")
        .header("content-type", "multipart/form-data; boundary=b")
        .body(multipart("b", &fields))
}

#[tokio::test]
async fn uploads_are_off_unless_configured() {
    let (world, server) = World::new().serve_alone().await;
    problem(upload(&server, &[("a.png", &picture(1))]).bearer_auth(KEY), 404, "uploads_disabled")
        .await;
    problem(server.delete("/api/v1/images/a.png").bearer_auth(KEY), 404, "uploads_disabled").await;
    assert_eq!(std::fs::read_dir(world.path("images")).expect("a folder").count(), 0);
}

#[tokio::test]
async fn an_upload_appears_and_can_be_deleted() {
    let world = World::new()
        .set("UPLOADS__ENABLED", "true")
        .set("UPLOADS__API_KEY", KEY)
        .set("UPLOADS__FILE_BYTES_MAX", "20000");
    let server = world.serve().await;
    for request in [
        upload(&server, &[("a.png", &picture(1))]),
        upload(&server, &[("a.png", &picture(1))]).bearer_auth("wrong"),
    ] {
        problem(request, 401, "api_key_needed").await;
    }
    let made = upload(&server, &[("a.png", &picture(1)), ("a.png", &picture(2))])
        .bearer_auth(KEY)
        .send()
        .await
        .expect("an answer");
    assert_eq!(made.status(), 201);
    let made = ok_json(made).await;
    assert_eq!(
        (&made["images"][0]["image_name"], &made["images"][1]["image_name"]),
        (&"a.png".into(), &"a-2.png".into())
    );
    server.until_counts(2, 0).await;
    let again = ok_json(
        upload(&server, &[("copy.png", &picture(1))])
            .bearer_auth(KEY)
            .send()
            .await
            .expect("an answer"),
    )
    .await;
    assert_eq!(again["images"][0]["duplicate_of"], "a.png");
    problem(upload(&server, &[("b.png", b"no picture")]).bearer_auth(KEY), 422, "not_an_image")
        .await;
    problem(upload(&server, &[("../b.png", &picture(3))]).bearer_auth(KEY), 422, "bad_image_name")
        .await;
    problem(upload(&server, &[(".b.png", &picture(3))]).bearer_auth(KEY), 422, "bad_image_name")
        .await;
    problem(upload(&server, &[("b.png", &vec![0; 20_001])]).bearer_auth(KEY), 413, "too_large")
        .await;
    problem(server.delete("/api/v1/images/a.png"), 401, "api_key_needed").await;
    assert_eq!(
        server
            .delete("/api/v1/images/a.png")
            .bearer_auth(KEY)
            .send()
            .await
            .expect("an answer")
            .status(),
        204
    );
    server.until_counts(1, 0).await;
    assert!(
        !world.image("a.png").exists() && !server.log_text().contains(KEY),
        "the key was logged"
    );
}
