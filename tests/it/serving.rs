//! Serving pictures and thumbnails, health, metrics, documentation, headers, and shutdown.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{BROKEN_PICTURE, World, picture, problem};

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
    world.write("b.png", BROKEN_PICTURE);
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
    let early = page.headers()["link"].to_str().expect("text");
    assert!(early.starts_with("</api/v1/images?limit=60&offset=0>; rel=preload;"), "{early}");
    let asks = server.get("/?q=tennis").send().await.expect("an answer");
    assert!(asks.status().is_success() && !asks.headers().contains_key("link"));
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

#[tokio::test]
async fn pictures_are_given_in_part_and_by_head_and_only_when_changed() {
    let world = World::new();
    world.write("a.png", &picture(1));
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    let (whole, size) = (picture(1), picture(1).len());
    let url = "/api/v1/images/a.png";
    let range = |range: &str| server.get(url).header("range", range);
    for (asked, first, last) in [
        ("bytes=0-9", 0, 9),
        ("bytes=70-", 70, size - 1),
        ("bytes=-5", size - 5, size - 1),
        ("bytes=10-999999", 10, size - 1),
    ] {
        let part = range(asked).send().await.expect("an answer");
        assert_eq!(part.status(), 206, "{asked}");
        assert_eq!(part.headers()["content-range"], format!("bytes {first}-{last}/{size}"));
        assert_eq!(part.headers()["content-type"], "image/png");
        assert_eq!(part.bytes().await.expect("bytes"), whole[first..=last], "{asked}");
    }
    for ignored in ["bytes=0-1,5-6", "bytes=9-2", "lines=1-2"] {
        let answer = range(ignored).send().await.expect("an answer");
        assert_eq!((answer.status().as_u16(), answer.content_length()), (200, Some(size as u64)));
        assert_eq!(answer.headers()["accept-ranges"], "bytes");
    }
    let behind = range("bytes=999999-").send().await.expect("an answer");
    assert_eq!(behind.headers()["content-range"], format!("bytes */{size}"));
    problem(range("bytes=999999-"), 416, "range_not_satisfiable").await;
    let other = range("bytes=0-9").header("if-range", "\"other\"").send().await.expect("an answer");
    assert_eq!(other.status(), 200, "the beginning of another picture is of no use");
    let head = |path: &str| server.request(Method::HEAD, path);
    let answer = head(url).send().await.expect("an answer");
    assert_eq!(answer.headers()["content-length"], size.to_string());
    assert_eq!((answer.status().as_u16(), answer.bytes().await.expect("none").len()), (200, 0));
    assert_eq!(head("/api/v1/images/b.png").send().await.expect("an answer").status(), 404);
    for condition in ["*", "\"other\", *"] {
        for path in [url, "/api/v1/images/a.png/thumbnail"] {
            let answer = server.get(path).header("if-none-match", condition).send().await;
            assert_eq!(answer.expect("an answer").status(), 304, "{path}");
        }
    }
    let missing = server.get("/api/v1/images/b.png").header("if-none-match", "*");
    problem(missing, 404, "not_found").await;
}

#[tokio::test]
async fn what_axum_would_refuse_in_plain_text_is_a_problem_too() {
    let world = World::new().set("UPLOADS__ENABLED", "true").set("UPLOADS__API_KEY", "k");
    let server = world.serve().await;
    for path in ["/api/v1/images/%ff", "/assets/%ff", "/docs/%ff"] {
        problem(server.get(path), 400, "malformed_path").await;
    }
    problem(server.delete("/api/v1/images/%ff").bearer_auth("k"), 400, "malformed_path").await;
    problem(server.get("/api/v1/images?limit=x"), 422, "invalid_request").await;
    problem(server.get("/api/v1/images?limit=1&limit=2"), 422, "invalid_request").await;
    let upload = server.post("/api/v1/images").bearer_auth("k");
    problem(upload.body("x"), 400, "malformed_form").await;
    problem(server.request(Method::PUT, "/api/v1/status"), 405, "method_not_allowed").await;
}

/// What in a part of the API document has no description.
fn undescribed(schemas: &Value) -> Vec<String> {
    let mut missing = Vec::new();
    for (name, schema) in schemas.as_object().expect("schemas") {
        let properties = schema["properties"].as_object().into_iter().flatten();
        let with_names =
            properties.map(|(property, schema)| (format!("{name}.{property}"), schema));
        for (name, schema) in with_names.chain([(name.clone(), schema)]) {
            // One that is nothing but another schema is described there.
            let says =
                |schema: &Value| schema["description"].is_string() || schema["$ref"].is_string();
            let described =
                says(schema) || schema["oneOf"].as_array().is_some_and(|any| any.iter().any(says));
            if !described {
                missing.push(name);
            }
        }
    }
    missing
}

#[tokio::test]
async fn the_api_document_is_whole() {
    let (_world, server) = World::new().serve_alone().await;
    let document = server.get_json("/openapi.json").await;
    assert_eq!(undescribed(&document["components"]["schemas"]), Vec::<String>::new());
    assert_eq!(document["components"]["securitySchemes"]["api_key"]["scheme"], "bearer");
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        assert!(!path.contains('*'), "{path} is no path of OpenAPI");
        for (method, operation) in item.as_object().expect("operations") {
            let name = format!("{method} {path}");
            assert!(operation["summary"].is_string(), "{name}");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(parameter["description"].is_string(), "{name}: {}", parameter["name"]);
            }
            let answers = operation["responses"].as_object().expect("answers");
            for (status, answer) in answers {
                let text = answer["description"].as_str().unwrap_or_default();
                assert!(text.ends_with('.'), "{name} {status}: {text:?}");
            }
            for common in ["403", "421", "500", "503"] {
                assert!(answers.contains_key(common), "{name} never answers {common}");
            }
            if operation["requestBody"].is_object() {
                for refusal in ["400", "413", "422"] {
                    assert!(answers.contains_key(refusal), "{name} never answers {refusal}");
                }
            }
            operations += 1;
        }
    }
    assert!(operations > 10, "only {operations} operations were seen");
}
