//! What a page of another site tries through somebody's browser: a name of its own that leads here (DNS rebinding), and
//! requests across sites that cost or change something.

use reqwest::RequestBuilder;
use serde_json::json;

use crate::harness::{Server, World, ok_json, picture, problem};
use crate::search::multipart;
use crate::uploads::{KEY, upload};

fn picture_search(server: &Server) -> RequestBuilder {
    server
        .post("/api/v1/search-image")
        .header("content-type", "multipart/form-data; boundary=b")
        .body(multipart("b", &[("image", Some("a.png"), &picture(1))]))
}

fn retry(server: &Server) -> RequestBuilder {
    server.post("/api/v1/failures/retry").json(&json!({}))
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.expect("an answer").status().as_u16()
}

#[tokio::test]
async fn a_name_that_somebody_else_made_up_leads_nowhere() {
    let world = World::new().set("SERVER__HOSTS", "Photos.example,nas");
    world.write("a.png", &picture(1));
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    for host in ["evil.example", "localhost.evil.example", "192.168.1.7:3000", "a@localhost"] {
        for path in ["/", "/docs/", "/openapi.json", "/api/v1/status", "/api/v1/images/a.png"] {
            problem(server.get(path).header("host", host), 421, "misdirected_request").await;
        }
        let search = picture_search(&server).header("host", host);
        problem(search, 421, "misdirected_request").await;
        // The attack itself: to the browser, the page is of the same origin.
        let origin = format!("http://{host}");
        let search = server.post("/api/v1/search-image").json(&json!({"text": "tennis"}));
        let search = search.header("host", host).header("origin", origin);
        problem(search.header("sec-fetch-site", "same-origin"), 421, "misdirected_request").await;
    }
    for host in ["localhost", "127.0.0.1:3000", "[::1]:80", "photos.example", "NAS:3000"] {
        let search = server.post("/api/v1/search-image").json(&json!({"text": "tennis"}));
        assert_eq!(status(search.header("host", host)).await, 200, "{host}");
    }
}

#[tokio::test]
async fn a_server_for_others_goes_by_its_addresses_and_says_how_to_name_it() {
    let world = World::new().set("SERVER__HOST", "0.0.0.0");
    let server = world.serve().await;
    for host in ["192.168.1.7:3000", "[fd00::7]:3000", "localhost:3000"] {
        assert_eq!(status(server.get("/api/v1/status").header("host", host)).await, 200, "{host}");
    }
    let named = server.get("/api/v1/status").header("host", "nas.local:3000");
    let told = problem(named, 421, "misdirected_request").await;
    assert!(told["detail"].as_str().is_some_and(|text| text.contains("server.hosts")), "{told}");
    assert!(server.log_text().contains("server.hosts"), "{}", server.log_text());
}

#[tokio::test]
async fn other_sites_cannot_search_rate_upload_delete_or_retry() {
    let world = World::new().set("UPLOADS__ENABLED", "true").set("UPLOADS__API_KEY", KEY);
    world.write("a.png", &picture(1));
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    let jwt = server.search(json!({"text": "x"})).await["jwt"].clone();
    let attacks = || {
        let rating = json!({"user_feedback": 1, "jwt": jwt});
        [
            picture_search(&server),
            server.post("/api/v1/search-image").json(&json!({"text": "x"})),
            server.post("/api/v1/create-feedback").json(&rating),
            upload(&server, &[("b.png", &picture(2))]).bearer_auth(KEY),
            server.delete("/api/v1/images/a.png").bearer_auth(KEY),
            retry(&server).bearer_auth(KEY),
        ]
    };
    for (header, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "http://localhost:1"),
        ("origin", "null"),
    ] {
        for attack in attacks() {
            problem(attack.header(header, value), 403, "cross_site_request").await;
        }
    }
    assert!(world.image("a.png").exists() && !world.image("b.png").exists());
    // The same requests from its own page, and from programs, which send neither header.
    let own = [("sec-fetch-site", "same-origin"), ("origin", server.url.as_str())];
    for (header, value) in own {
        assert_eq!(status(picture_search(&server).header(header, value)).await, 200, "{header}");
    }
    let answers: Vec<u16> = futures::future::join_all(attacks().map(status)).await;
    assert_eq!(answers, [200, 200, 201, 201, 204, 200]);
}

#[tokio::test]
async fn failures_are_retried_for_its_own_page_or_with_the_key() {
    let world = World::new().set("UPLOADS__ENABLED", "true").set("UPLOADS__API_KEY", KEY);
    world.write("a.png", &picture(1)[..50]);
    let server = world.serve().await;
    server.until_counts(0, 1).await;
    for (refused, why) in [
        (retry(&server), "nobody"),
        (retry(&server).bearer_auth("wrong"), "a wrong key"),
        (retry(&server).header("sec-fetch-site", "none"), "an address that was typed"),
    ] {
        assert_eq!(status(refused).await, 403, "{why}");
    }
    for allowed in [
        retry(&server).bearer_auth(KEY),
        retry(&server).header("origin", &server.url),
        retry(&server).header("sec-fetch-site", "same-origin"),
    ] {
        let retried = ok_json(allowed.send().await.expect("an answer")).await;
        assert_eq!(retried["retried"], 1);
        server.until_counts(0, 1).await;
    }
    let output = world.run("failures", &["--retry"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    // An empty key is none, whatever a request sends.
    let (_world, server) = World::new().serve_alone().await;
    problem(retry(&server).bearer_auth(""), 403, "cross_site_request").await;
}

#[tokio::test]
async fn other_sites_may_link_to_pictures_but_not_show_them() {
    let world = World::new();
    world.write("a.png", &picture(1));
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    for path in ["/", "/api/v1/images/a.png", "/api/v1/status", "/nothing"] {
        let answer = server.get(path).send().await.expect("an answer");
        let header = |name: &str| answer.headers().get(name).map(|value| value.as_bytes().to_vec());
        assert_eq!(header("cross-origin-resource-policy"), Some(b"same-origin".to_vec()), "{path}");
        assert_eq!(header("cross-origin-opener-policy"), Some(b"same-origin".to_vec()), "{path}");
        assert_eq!(header("access-control-allow-origin"), None, "{path}");
    }
    let shown = |path: &str, mode: &str| {
        server.get(path).header("sec-fetch-site", "cross-site").header("sec-fetch-mode", mode)
    };
    for path in ["/api/v1/images/a.png", "/api/v1/images/a.png/thumbnail", "/api/v1/events"] {
        problem(shown(path, "no-cors"), 403, "cross_site_request").await;
    }
    assert_eq!(status(shown("/api/v1/images/a.png", "navigate")).await, 200, "a link");
    assert_eq!(status(shown("/", "navigate")).await, 200, "a link");
}
