//! `POST /api/v1/create-feedback`: one rating per answer, and only with the token of that answer.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::harness::{Server, World, ok_json, picture, problem};

fn rate(server: &Server, body: &Value) -> RequestBuilder {
    server.post("/api/v1/create-feedback").json(body)
}

async fn token(server: &Server, text: &str) -> String {
    server.search(json!({"text": text})).await["jwt"].as_str().expect("a token").to_owned()
}

#[tokio::test]
async fn a_rating_is_created_changed_and_exported() {
    let world = World::new();
    world.write("a.png", &picture(1));
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    let jwt = token(&server, "tennis").await;
    let first =
        rate(&server, &json!({"user_feedback": 5, "jwt": jwt})).send().await.expect("an answer");
    assert_eq!(first.status(), 201);
    let again = json!({"user_feedback": 9, "jwt": jwt, "image_feedback": [{"image_name": "a.png", "relevant": true}]});
    let second = rate(&server, &again).send().await.expect("an answer");
    assert_eq!(second.status(), 200);
    assert_eq!(ok_json(second).await["user_feedback"], 9);
    // Thumbs alone keep the number, and a number alone keeps the thumbs.
    let thumbs = json!({"jwt": jwt, "image_feedback": [{"image_name": "a.png", "relevant": true}]});
    assert_eq!(
        ok_json(rate(&server, &thumbs).send().await.expect("an answer")).await["user_feedback"],
        9
    );
    assert_eq!(
        ok_json(
            rate(&server, &json!({"user_feedback": 9, "jwt": jwt}))
                .send()
                .await
                .expect("an answer")
        )
        .await["user_feedback"],
        9
    );
    problem(rate(&server, &json!({"jwt": jwt})), 422, "invalid_request").await;
    // Another search of the same words is another impression.
    let other = token(&server, "tennis").await;
    assert_eq!(
        rate(&server, &json!({"user_feedback": 1, "jwt": other}))
            .send()
            .await
            .expect("an answer")
            .status(),
        201
    );
    assert_eq!(server.terminate().await.code(), Some(0));
    let export = world.run("feedback", &["export"]);
    let lines: Vec<Value> = String::from_utf8_lossy(&export.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (lines[0]["text"].as_str(), lines[0]["user_feedback"].as_u64()),
        (Some("tennis"), Some(9))
    );
    assert_eq!(lines[0]["image_feedback"][0]["image_name"], "a.png");
    assert_eq!(lines[0]["results"].as_array().map(Vec::len), Some(1));
    let table = world.run("feedback", &["export", "--format", "csv"]);
    assert_eq!(
        String::from_utf8_lossy(&table.stdout).lines().count(),
        3,
        "a header and two ratings"
    );
}

#[tokio::test]
async fn a_token_outlives_a_restart_and_counts_on_every_replica_with_the_key() {
    let world = World::new();
    world.write("a.png", &picture(1));
    let server = world.serve().await;
    let jwt = token(&server, "tennis").await;
    server.kill_9();
    let server = world.serve().await;
    assert_eq!(
        rate(&server, &json!({"user_feedback": 5, "jwt": jwt}))
            .send()
            .await
            .expect("an answer")
            .status(),
        201
    );
    let replica = World::new();
    std::fs::create_dir_all(replica.path("data")).expect("mkdir");
    std::fs::copy(world.path("data/jwt.key"), replica.path("data/jwt.key")).expect("copied");
    let replica = replica.serve_alone().await;
    assert_eq!(
        rate(&replica.1, &json!({"user_feedback": 5, "jwt": jwt}))
            .send()
            .await
            .expect("an answer")
            .status(),
        201
    );
}

#[tokio::test]
async fn only_whole_numbers_from_1_to_10_count() {
    let (_world, server) = World::new().serve_alone().await;
    let jwt = token(&server, "x").await;
    for value in [
        json!(0),
        json!(11),
        json!(-1),
        json!(300),
        json!(5.5),
        json!("5"),
        json!(null),
        json!(true),
        json!([5]),
        json!(1e30),
    ] {
        problem(
            rate(&server, &json!({"user_feedback": value, "jwt": jwt})),
            422,
            "invalid_request",
        )
        .await;
    }
    problem(rate(&server, &json!({"jwt": jwt})), 422, "invalid_request").await;
    problem(rate(&server, &json!({"user_feedback": 5})), 422, "invalid_request").await;
    problem(
        rate(&server, &json!({"user_feedback": 5, "jwt": jwt, "more": 1})),
        422,
        "invalid_request",
    )
    .await;
    let many: Vec<Value> = (0..201).map(|_| json!({"image_name": "a", "relevant": true})).collect();
    problem(
        rate(&server, &json!({"user_feedback": 5, "jwt": jwt, "image_feedback": many})),
        422,
        "invalid_request",
    )
    .await;
    for value in [1, 10] {
        assert!(
            rate(&server, &json!({"user_feedback": value, "jwt": jwt}))
                .send()
                .await
                .expect("an answer")
                .status()
                .is_success()
        );
    }
}

#[tokio::test]
async fn foreign_and_tampered_tokens_are_refused_without_saying_why() {
    let (_world, server) = World::new().serve_alone().await;
    let (_elsewhere, other_server) = World::new().serve_alone().await;
    let jwt = token(&server, "tennis").await;
    let parts: Vec<&str> = jwt.split('.').collect();
    let claims = String::from_utf8(BASE64.decode(parts[1]).expect("base64")).expect("text");
    let forged = BASE64.encode(claims.replace("tennis", "tennos"));
    let none = BASE64.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let bad = [
        String::new(),
        "x".repeat(10_000),
        "a.b.c".to_owned(),
        token(&other_server, "tennis").await,
        format!("{}.{forged}.{}", parts[0], parts[2]),
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{}.{}", parts[0], parts[1]),
        jwt[..jwt.len() - 4].to_owned(),
    ];
    let mut details = Vec::new();
    for jwt in bad {
        details.push(
            problem(rate(&server, &json!({"user_feedback": 5, "jwt": jwt})), 401, "token_invalid")
                .await["detail"]
                .clone(),
        );
    }
    details.dedup();
    assert_eq!(details.len(), 1, "the reason tells an attacker something: {details:?}");
}

#[tokio::test]
async fn an_old_token_says_that_it_is_old() {
    let (_world, server) = World::new().set("TOKEN__LIFETIME_S", "0").serve_alone().await;
    let jwt = token(&server, "tennis").await;
    server
        .until("the token has expired", async || {
            let response = rate(&server, &json!({"user_feedback": 5, "jwt": jwt}))
                .send()
                .await
                .expect("an answer");
            (response.status() == 401).then_some(())
        })
        .await;
    problem(rate(&server, &json!({"user_feedback": 5, "jwt": jwt})), 401, "token_expired").await;
}
