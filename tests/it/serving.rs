//! Serving pictures and thumbnails, health, metrics, documentation, headers, and shutdown.

use serde_json::json;

use crate::harness::{World, picture, problem};

#[tokio::test]
async fn pictures_are_served_by_content_and_cached_by_hash() {
    let world = World::new();
    world.write("a.txt", &picture(1));
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    let found = server.search(json!({"text": "x"})).await["matches"][0].clone();
    let url = found["image_url"].as_str().expect("a url");
    let response = server.get(url).send().await.expect("an answer");
    let header = |name: &str| {
        response
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(header("content-type"), "image/png", "told by content, not by name");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert!(header("cache-control").contains("immutable"));
    let etag = header("etag");
    assert_eq!(
        server.get(url).header("if-none-match", &etag).send().await.expect("an answer").status(),
        304
    );
    assert_eq!(response.bytes().await.expect("bytes"), picture(1));
    let plain = server.get("/api/v1/images/a.txt").send().await.expect("an answer");
    assert_eq!(plain.headers()["cache-control"], "no-cache", "without its version it may change");
    let thumbnail = format!("{}&width=100", found["thumbnail_url"].as_str().expect("a url"));
    for _ in 0..2 {
        let response = server.get(&thumbnail).send().await.expect("an answer");
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"image/jpeg".parse().expect("a header"))
        );
        let small =
            image::load_from_memory(&response.bytes().await.expect("bytes")).expect("a JPEG");
        assert_eq!((small.width(), small.height()), (48, 40), "never larger than the picture");
    }
}

#[tokio::test]
async fn nothing_outside_the_folder_is_served() {
    let world = World::new();
    std::fs::write(world.path("secret.png"), picture(1)).expect("write");
    world.write("a.png", &picture(2));
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    for path in ["..%2Fsecret.png", "a.png/..%2f..%2fsecret.png", "%2Fetc%2Fpasswd"] {
        problem(server.get(&format!("/api/v1/images/{path}")), 422, "bad_image_name").await;
    }
    problem(server.get("/api/v1/images/b.png"), 404, "not_found").await;
    problem(server.get("/api/v1/images/b.png/thumbnail"), 404, "not_found").await;
    // Swapped for a link after it was indexed: the open itself refuses.
    std::fs::remove_file(world.image("a.png")).expect("removed");
    std::os::unix::fs::symlink(world.path("secret.png"), world.image("a.png")).expect("link");
    let response = server.get("/api/v1/images/a.png").send().await.expect("an answer");
    assert_ne!(response.status(), 200);
}

#[tokio::test]
async fn operators_find_what_they_need() {
    let world = World::new();
    world.write("a.png", &picture(1));
    world.write("b.png", b"no picture");
    let server = world.serve().await;
    server.until_counts(1, 1).await;
    server.search(json!({"text": "x"})).await;
    assert_eq!(
        server.get("/healthz").send().await.expect("an answer").text().await.expect("text"),
        "ok"
    );
    let ready = server.get_json("/readyz").await;
    assert_eq!(
        (&ready["model"]["ok"], &ready["store"]["ok"], &ready["catalog"]["ok"]),
        (&json!(true), &json!(true), &json!(true))
    );
    let metrics =
        server.get("/metrics").send().await.expect("an answer").text().await.expect("text");
    for line in [
        "image_search_images{state=\"indexed\"} 1",
        "image_search_images{state=\"failed\"} 1",
        "image_search_images_indexed_total 1",
        "image_search_ingest_stage_seconds_count{stage=\"Decode\"}",
        "image_search_search_seconds_bucket",
        "image_search_searches_waiting 0",
    ] {
        assert!(metrics.contains(line), "no {line} in\n{metrics}");
    }
    let document = server.get_json("/openapi.json").await;
    for path in ["/api/v1/search-image", "/api/v1/create-feedback", "/api/v1/status", "/readyz"] {
        assert!(document["paths"].get(path).is_some(), "{path} is not documented");
    }
    let docs = server.get("/docs").send().await.expect("an answer");
    assert!(docs.status().is_success());
    let docs = docs.text().await.expect("text");
    assert!(
        docs.contains("swagger") && !docs.contains("https://"),
        "the documentation needs nothing from elsewhere"
    );
    let page = server.get("/").send().await.expect("an answer");
    assert!(
        page.headers()["content-security-policy"]
            .to_str()
            .expect("text")
            .contains("script-src 'self'")
    );
    assert!(page.headers()["content-type"].to_str().expect("text").starts_with("text/html"));
    let status = server.get_json("/api/v1/status").await;
    assert_eq!(
        (&status["model"]["state"], &status["model"]["name"]),
        (&json!("ready"), &json!("emoji-clip"))
    );
    assert!(status["model"]["banner"].is_string());
}

#[tokio::test]
async fn the_committed_api_document_is_the_served_one() {
    let (_world, server) = World::new().serve_alone().await;
    let served =
        server.get("/openapi.json").send().await.expect("an answer").text().await.expect("text");
    let path = crate::harness::repository().join("web/openapi.json");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &served).expect("write");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == served,
        "web/openapi.json is not what the server says; run UPDATE_SNAPSHOTS=1 cargo test --test it api_document"
    );
}

#[tokio::test]
async fn events_tell_of_changes_and_end_with_the_server() {
    let world = World::new();
    let server = world.serve().await;
    let mut events = server.get("/api/v1/events").send().await.expect("an answer");
    let mut text = String::new();
    world.write("a.png", &picture(1));
    while !text.contains("\"indexed\":1") {
        let chunk = tokio::time::timeout(std::time::Duration::from_mins(1), events.chunk())
            .await
            .expect("an event in time");
        text.push_str(&String::from_utf8_lossy(&chunk.expect("a chunk").expect("not the end")));
    }
    assert!(text.starts_with("event: status\ndata: {"), "{text}");
    assert_eq!(server.terminate().await.code(), Some(0), "an open stream must not hold up the end");
}

#[tokio::test]
async fn sigterm_gives_leases_back_and_keeps_everything() {
    let world = World::new();
    for number in 0..200 {
        world.write(&format!("{number}.png"), &picture(number));
    }
    let server = world.serve().await;
    server
        .until("some pictures are indexed", async || {
            (server.get_json("/api/v1/status").await["images"]["indexed"].as_u64() > Some(0))
                .then_some(())
        })
        .await;
    assert_eq!(server.terminate().await.code(), Some(0));
    let output = world.run("index", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("200 are searchable"), "{text}");
    assert!(
        !String::from_utf8_lossy(&output.stderr).contains("ended in the middle"),
        "leases were not given back"
    );
}

#[tokio::test]
async fn pictures_are_paged_by_what_the_page_before_says() {
    let world = World::new();
    for number in 0..5 {
        world.write(&format!("{number}.png"), &picture(number));
    }
    let server = world.serve().await;
    server.until_counts(5, 0).await;
    let all = server.get_json("/api/v1/images").await;
    assert!(all["next"].is_null(), "{all}");
    let (mut walked, mut query) = (Vec::new(), String::new());
    loop {
        let page = server.get_json(&format!("/api/v1/images?limit=2{query}")).await;
        walked.extend(page["images"].as_array().expect("images").clone());
        assert_eq!(page["total"], 5);
        let Some(next) = page["next"].as_str() else { break };
        query = format!("&after={next}");
    }
    assert_eq!(&walked, all["images"].as_array().expect("images"));
    for bad in ["after=x", "offset=10001", "offset=1&after=1.1"] {
        let request = server.get(&format!("/api/v1/images?{bad}"));
        problem(request, 422, "invalid_request").await;
    }
}
