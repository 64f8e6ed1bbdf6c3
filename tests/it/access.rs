//! API keys: none, and everybody may search; some, and each route asks for its scope. Sessions of browsers, limits of addresses
//! and keys, what is said at start, and the change of the key that tokens are signed with.

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::harness::{Server, World, ok_json, picture, problem};
use crate::uploads::upload;

fn key(world: &World, name: &str, scopes: &str) -> String {
    let output = world.run("key", &["add", "--name", name, "--scopes", scopes]);
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.starts_with("ims_") && !text.contains('\n'), "{text}");
    text
}

fn search(server: &Server) -> RequestBuilder {
    server.post("/api/v1/search-image").json(&json!({"text": "tennis"}))
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.expect("an answer").status().as_u16()
}

/// Every route of the API, with the scope that it asks for.
fn guarded(server: &Server) -> Vec<(RequestBuilder, &'static str)> {
    let rating = json!({"user_feedback": 5, "jwt": "x"});
    vec![
        (search(server), "search"),
        (server.get("/api/v1/images"), "search"),
        (server.get("/api/v1/images/a.png"), "search"),
        (server.get("/api/v1/images/a.png/thumbnail"), "search"),
        (server.request(reqwest::Method::HEAD, "/api/v1/images/a.png"), "search"),
        (server.get("/api/v1/image-info?image_name=a.png"), "search"),
        (server.get("/api/v1/status"), "search"),
        (server.get("/api/v1/events"), "search"),
        (server.get("/api/v1/failures"), "search"),
        (server.post("/api/v1/create-feedback").json(&rating), "feedback"),
        (upload(server, &[("b.png", &picture(2))]), "upload"),
        (server.delete("/api/v1/images/b.png"), "upload"),
        (server.post("/api/v1/failures/retry").json(&json!({})), "admin"),
        (server.get("/metrics"), "admin"),
    ]
}

async fn until_guarded(server: &Server) {
    server
        .until("it asks for a key", async || {
            (status(server.get("/api/v1/status")).await == 401).then_some(())
        })
        .await;
}

#[tokio::test]
async fn from_the_first_key_on_each_route_asks_for_its_scope() {
    let world = World::new().set("UPLOADS__ENABLED", "true");
    world.write("a.png", &picture(1));
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    assert_eq!(status(search(&server)).await, 200, "no key, no question");
    problem(upload(&server, &[("b.png", &picture(2))]), 401, "api_key_needed").await;
    // Made beside the running server.
    let keys =
        ["search", "feedback", "upload", "admin"].map(|scope| (scope, key(&world, scope, scope)));
    until_guarded(&server).await;
    for (request, scope) in guarded(&server) {
        let refused = request.try_clone().expect("a copy").send().await.expect("an answer");
        assert_eq!(refused.status(), 401, "{refused:?}");
        let challenge = refused.headers()["www-authenticate"].to_str().expect("text").to_owned();
        assert!(challenge.starts_with("Bearer"), "{challenge}");
        for (other, key) in &keys {
            let request = request.try_clone().expect("a copy").bearer_auth(key);
            let answer = request.send().await.expect("an answer");
            if *other == scope {
                assert!(
                    ![401, 403].contains(&answer.status().as_u16()) || scope == "feedback",
                    "{answer:?}"
                );
            } else {
                assert_eq!(answer.status(), 403, "{other} is not {scope}: {answer:?}");
            }
        }
    }
    // The contract of ratings stays: the token in the body.
    let [(_, searching), (_, rating), ..] = &keys;
    let answer =
        ok_json(search(&server).header("x-api-key", searching).send().await.expect("an answer"))
            .await;
    let body = json!({"user_feedback": 5, "jwt": answer["jwt"]});
    let rate = server.post("/api/v1/create-feedback").json(&body);
    assert_eq!(status(rate.bearer_auth(rating)).await, 201);
    for path in ["/", "/favicon.svg", "/sw.js", "/docs/", "/openapi.json", "/healthz", "/readyz"] {
        assert_eq!(status(server.get(path)).await, 200, "{path} is open");
    }
    assert_eq!(status(server.get("/api/v1/session")).await, 200);
    problem(server.get("/api/v1/of-tomorrow"), 404, "not_found").await;
    // What only some may see must not stay in a cache of many.
    let url = answer["matches"][0]["image_url"].as_str().expect("an address");
    let answer = server.get(url).bearer_auth(searching).send().await.expect("an answer");
    assert_eq!(answer.headers()["cache-control"], "private, max-age=31536000, immutable");
    // Neither catalog nor log has a key.
    let mut kept = std::fs::read(world.path("data/catalog.db")).expect("read");
    kept.extend(std::fs::read(world.path("data/catalog.db-wal")).unwrap_or_default());
    kept.extend(server.log_text().into_bytes());
    for (scope, key) in &keys {
        assert!(!kept.windows(20).any(|part| part == &key.as_bytes()[..20]), "{scope} is kept");
    }
}

#[tokio::test]
async fn keys_are_listed_removed_and_the_last_one_opens_the_server_again() {
    let world = World::new();
    let (page, robot) = (key(&world, "page", "search,feedback"), key(&world, "robot", "search"));
    let server = world.serve().await;
    let taken = world.run("key", &["add", "--name", "page"]);
    assert_eq!(taken.status.code(), Some(1), "the name is taken");
    assert_eq!(world.run("key", &["add", "--name", "x", "--scopes", "all"]).status.code(), Some(2));
    let list = world.run("key", &["list"]);
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.contains(&page[..8]) && list.contains("search,feedback"), "{list}");
    assert!(list.contains("robot") && !list.contains(&page) && !list.contains(&robot), "{list}");
    problem(server.get("/api/v1/status"), 401, "api_key_needed").await;
    // Commands of this machine need no key: who can read the data folder has them all.
    for command in [&["status"][..], &["failures", "--retry"], &["search", "tennis"]] {
        let output = world.run(command[0], &command[1..]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{command:?}: {told}");
    }
    assert_eq!(world.run("key", &["remove", "nobody"]).status.code(), Some(1));
    assert_eq!(world.run("key", &["remove", "robot"]).status.code(), Some(0));
    server
        .until("the key is useless", async || {
            (status(search(&server).bearer_auth(&robot)).await == 401).then_some(())
        })
        .await;
    assert_eq!(status(search(&server).bearer_auth(&page)).await, 200);
    assert_eq!(world.run("key", &["remove", "page"]).status.code(), Some(0));
    server
        .until("it is open again", async || (status(search(&server)).await == 200).then_some(()))
        .await;
    let log = server.log_text();
    for line in ["key_removed", "wrong_key", "\"errand\":\"Retry\""] {
        assert!(log.contains(line), "no {line} in {log}");
    }
}

#[tokio::test]
async fn a_browser_gives_its_key_once() {
    let world = World::new().set("ACCESS__WRONG_KEY_DELAY_MAX_MS", "10");
    world.write("a.png", &picture(1));
    let key = key(&world, "page", "search");
    let server = world.serve().await;
    let sign_in = |key: &str| server.post("/api/v1/session").json(&json!({"key": key}));
    problem(sign_in("ims_wrong"), 401, "api_key_needed").await;
    problem(server.post("/api/v1/session").json(&json!({})), 422, "invalid_request").await;
    let open = server.get_json("/api/v1/session").await;
    assert_eq!(open, json!({"key_needed": true, "scopes": [], "show_in_folder": false}));
    let answer = sign_in(&key).send().await.expect("an answer");
    assert_eq!(answer.status(), 201);
    let cookie = answer.headers()["set-cookie"].to_str().expect("text").to_owned();
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=2592000"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Secure") && !cookie.contains(&key), "{cookie}");
    let cookie = cookie.split(';').next().expect("a pair").to_owned();
    let with_cookie = |path: &str| server.get(path).header("cookie", &cookie);
    server
        .until("its pictures are shown", async || {
            (status(with_cookie("/api/v1/images/a.png")).await == 200).then_some(())
        })
        .await;
    for path in ["/api/v1/events", "/api/v1/status", "/api/v1/images/a.png/thumbnail"] {
        assert_eq!(status(with_cookie(path)).await, 200, "{path}");
    }
    assert_eq!(status(with_cookie("/metrics")).await, 403, "no more than the key allows");
    let session = ok_json(with_cookie("/api/v1/session").send().await.expect("an answer")).await;
    let nobody_sits_here = json!({"key_needed": true, "key_name": "page", "scopes": ["search"], "show_in_folder": false});
    assert_eq!(session, nobody_sits_here);
    // Another site's page cannot use it.
    let foreign = with_cookie("/api/v1/images/a.png").header("sec-fetch-site", "cross-site");
    problem(foreign, 403, "cross_site_request").await;
    let forged = format!("{cookie}x");
    assert_eq!(status(server.get("/api/v1/status").header("cookie", forged)).await, 401);
    let out = server.delete("/api/v1/session").send().await.expect("an answer");
    assert!(out.headers()["set-cookie"].to_str().expect("text").contains("Max-Age=0"));
    // It ends with its key, also when there is another one.
    world.run("key", &["add", "--name", "other"]);
    assert_eq!(world.run("key", &["remove", "page"]).status.code(), Some(0));
    server
        .until("the session ended", async || {
            (status(with_cookie("/api/v1/status")).await == 401).then_some(())
        })
        .await;
    let log = server.log_text();
    assert!(log.contains("session_made") && !log.contains(&key), "{log}");
}

#[tokio::test]
async fn an_address_and_a_key_have_their_limits() {
    let world = World::new()
        .set("SERVER__TRUSTED_PROXIES", "127.0.0.0/8,10.0.0.0/8")
        .set("ACCESS__ADDRESS_REQUESTS_PER_S", "0.001")
        .set("ACCESS__ADDRESS_BURST_REQUESTS", "3")
        .set("ACCESS__KEY_REQUESTS_PER_S", "0.001")
        .set("ACCESS__KEY_BURST_REQUESTS", "6");
    let server = world.serve().await;
    let from = |forwarded: &str| server.get("/api/v1/status").header("x-forwarded-for", forwarded);
    for _ in 0..3 {
        assert_eq!(status(from("198.51.100.1")).await, 200);
    }
    let refused = from("198.51.100.1").send().await.expect("an answer");
    let wait = refused.headers()["retry-after"].to_str().expect("text").parse::<u64>();
    assert!((900..=1000).contains(&wait.expect("seconds")), "{refused:?}");
    problem(from("198.51.100.1"), 429, "too_many_requests").await;
    // What the client says of itself does not count, what our proxies say of each other does.
    problem(from("203.0.113.9, 198.51.100.1"), 429, "too_many_requests").await;
    problem(from("198.51.100.1, 10.1.2.3"), 429, "too_many_requests").await;
    assert_eq!(status(from("198.51.100.2")).await, 200);
    assert_eq!(status(server.get("/healthz").header("x-forwarded-for", "198.51.100.1")).await, 200);
    // This machine itself is not limited, but a key is, wherever it is used.
    for _ in 0..20 {
        assert_eq!(status(server.get("/api/v1/status")).await, 200);
    }
    let key = key(&world, "robot", "search");
    until_guarded(&server).await;
    let mut answers = Vec::new();
    for _ in 0..8 {
        answers.push(status(server.get("/api/v1/status").bearer_auth(&key)).await);
    }
    assert_eq!(answers, [200, 200, 200, 200, 200, 200, 429, 429]);
}

#[tokio::test]
async fn wrong_keys_slow_down_nobody_but_themselves() {
    let world = World::new().set("ACCESS__WRONG_KEY_DELAY_MAX_MS", "60000");
    let key = key(&world, "page", "search");
    let server = world.serve().await;
    // The first few double their wait; then some hang and further ones are sent away.
    let wrong = |number: usize| search(&server).bearer_auth(format!("ims_{number}"));
    let attack = futures::future::join_all((0..200).map(|number| async move {
        tokio::time::timeout(std::time::Duration::from_millis(1500), status(wrong(number))).await
    }));
    let honest = async {
        for _ in 0..20 {
            assert_eq!(status(search(&server).bearer_auth(&key)).await, 200);
        }
    };
    let (attacked, ()) = tokio::join!(attack, honest);
    let count = |wanted: u16| attacked.iter().filter(|one| **one == Ok(wanted)).count();
    assert!(count(401) <= 10, "{} were told at once that they are wrong", count(401));
    assert!(count(429) > 100 && count(200) == 0, "{} were sent away", count(429));
}

#[tokio::test]
async fn a_server_for_others_says_what_is_open() {
    let world = World::new().set("SERVER__HOST", "0.0.0.0");
    let server = world.serve().await;
    let log = server.log_text();
    assert!(log.contains("image-search key add") && log.contains("WARN"), "{log}");
    assert_eq!(server.terminate().await.code(), Some(0));
    std::fs::remove_file(world.path("log.txt")).expect("removed");
    key(&world, "page", "search");
    let server = world.serve().await;
    assert!(!server.log_text().contains("image-search key add"), "{}", server.log_text());
}

fn kid(jwt: &Value) -> String {
    use base64::Engine;
    let header = jwt.as_str().expect("a token").split('.').next().expect("a header").to_owned();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).expect("base64");
    let header: Value = serde_json::from_slice(&header).expect("JSON");
    header["kid"].as_str().expect("a name").to_owned()
}

#[tokio::test]
async fn the_signing_key_changes_and_what_is_out_still_counts() {
    let world = World::new();
    world.write("a.png", &picture(1));
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    let before = server.search(json!({"text": "tennis"})).await["jwt"].clone();
    let rotated = world.run("key", &["rotate"]);
    assert_eq!(rotated.status.code(), Some(0), "{}", String::from_utf8_lossy(&rotated.stderr));
    let after = server
        .until("the new key signs", async || {
            let jwt = server.search(json!({"text": "tennis"})).await["jwt"].clone();
            (kid(&jwt) != kid(&before)).then_some(jwt)
        })
        .await;
    let told = String::from_utf8_lossy(&rotated.stdout).into_owned();
    assert!(told.contains(&kid(&after)), "{told}");
    let rate = |jwt: &Value| {
        server.post("/api/v1/create-feedback").json(&json!({"user_feedback": 7, "jwt": jwt}))
    };
    assert_eq!([status(rate(&before)).await, status(rate(&after)).await], [201, 201]);
    assert_eq!(server.terminate().await.code(), Some(0));
    let server = world.serve().await;
    let rate = |jwt: &Value| {
        server.post("/api/v1/create-feedback").json(&json!({"user_feedback": 8, "jwt": jwt}))
    };
    assert_eq!([status(rate(&before)).await, status(rate(&after)).await], [200, 200]);
    assert_eq!(world.run("key", &["rotate", "--forget-old"]).status.code(), Some(0));
    server
        .until("old tokens do not count", async || {
            (status(rate(&after)).await == 401).then_some(())
        })
        .await;
    assert_eq!(status(rate(&before)).await, 401);
}
