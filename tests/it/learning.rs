//! What searches learn from ratings, over HTTP: the answer says so, it can be switched off, refined, and forgotten; and the
//! answer is the same to the last byte as long as nothing was learned.

use serde_json::{Value, json};

use crate::harness::{Server, World, ok_json, picture, problem};

const VISITOR: &str = "198.51.100.7";

/// Twelve pictures, and a server that believes this machine for whom it asks.
async fn gallery() -> (World, Server) {
    let world = World::new().set("SERVER__TRUSTED_PROXIES", "127.0.0.0/8");
    for number in 0..12 {
        world.write(&format!("{number:02}.png"), &picture(number));
    }
    let server = world.serve().await;
    server.until_counts(12, 0).await;
    (world, server)
}

async fn search(server: &Server, client: &str, more: Value) -> Value {
    let mut body = json!({"text": "tennis", "limit": 12});
    for (key, value) in more.as_object().expect("an object") {
        body[key] = value.clone();
    }
    let request = server.post("/api/v1/search-image").header("x-forwarded-for", client);
    ok_json(request.json(&body).send().await.expect("an answer")).await
}

async fn like(server: &Server, client: &str, answer: &Value, name: &str) {
    let thumbs = json!([{"image_name": name, "relevant": true}]);
    let body = json!({"jwt": answer["jwt"], "image_feedback": thumbs});
    let request = server.post("/api/v1/create-feedback").header("x-forwarded-for", client);
    let taken = request.json(&body).send().await.expect("an answer");
    assert_eq!(taken.status(), 201);
}

fn names(answer: &Value) -> Vec<&str> {
    let matches = answer["matches"].as_array().expect("matches");
    matches.iter().map(|found| found["image_name"].as_str().expect("a name")).collect()
}

/// What searches learn from, as the status says.
async fn until_learning(server: &Server, wanted: Value) {
    server
        .until("the decision is followed", async || {
            let status = server.get_json("/api/v1/status").await;
            (status["learning"] == wanted).then_some(())
        })
        .await;
}

async fn until_remembered(server: &Server, ratings: usize) {
    let line = format!("image_search_remembered_ratings {ratings}\n");
    server
        .until("the ratings are remembered", async || {
            let metrics = server.get("/metrics").send().await.expect("an answer");
            metrics.text().await.expect("text").contains(&line).then_some(())
        })
        .await;
}

#[tokio::test]
async fn an_answer_says_from_how_many_ratings_it_learned_and_is_as_before_without() {
    let (world, server) = gallery().await;
    let unproven =
        json!({"active": true, "from_others": false, "version": 0, "by_operator": false});
    until_learning(&server, unproven).await;
    let before = search(&server, "192.0.2.1", json!({})).await;
    assert!(before.get("learned_from").is_none());
    let last = names(&before)[11].to_owned();
    like(&server, "192.0.2.1", &before, &last).await;
    until_remembered(&server, 1).await;
    let own = search(&server, "192.0.2.1", json!({})).await;
    assert_eq!(own["learned_from"], 1);
    assert!(names(&own).iter().position(|name| *name == last) < Some(11), "{own}");
    let without = |mut answer: Value| {
        answer["jwt"].take();
        answer
    };
    let others = search(&server, VISITOR, json!({})).await;
    assert_eq!(without(others), without(before.clone()), "one address is not enough for others");
    // A household has many addresses of one network.
    let network = search(&server, "2001:db8::1", json!({})).await;
    like(&server, "2001:db8::1", &network, &last).await;
    until_remembered(&server, 2).await;
    assert_eq!(search(&server, "2001:db8::2:3", json!({})).await["learned_from"], 1);
    let unproven = search(&server, VISITOR, json!({})).await;
    assert_eq!(without(unproven), without(before.clone()), "two agree, and nothing proves it yet");
    let on = world.run("learn", &["--on"]);
    assert!(String::from_utf8_lossy(&on.stdout).contains("Version 1"), "{on:?}");
    let on = json!({"active": true, "from_others": true, "version": 1, "by_operator": true});
    until_learning(&server, on).await;
    let household = search(&server, "2001:db8::2:3", json!({})).await;
    assert_eq!(
        (&household["learned_from"], &household["learning_version"]),
        (&json!(2), &json!(1))
    );
    let all = search(&server, VISITOR, json!({})).await;
    assert_eq!((&all["learned_from"], names(&all).len()), (&json!(2), 12));
    assert!(names(&all).iter().position(|name| *name == last) < Some(11), "{all}");
    let off = search(&server, VISITOR, json!({"learn": false})).await;
    assert_eq!(without(off), without(before));
}

#[tokio::test]
async fn thumbs_rank_again_at_once_by_the_token_of_the_answer_before() {
    let (_world, server) = gallery().await;
    let before = search(&server, VISITOR, json!({})).await;
    let last = names(&before)[11].to_owned();
    like(&server, VISITOR, &before, &last).await;
    let refined = search(&server, VISITOR, json!({"refine": before["jwt"], "learn": false})).await;
    assert_eq!((names(&refined)[0], &refined["learned_from"]), (last.as_str(), &json!(1)));
    let mut expected = names(&before);
    expected.rotate_right(1);
    assert_eq!(names(&refined), expected);
    let request = json!({"text": "tennis", "refine": "a.b.c"});
    let refused = server.post("/api/v1/search-image").json(&request);
    problem(refused, 401, "token_invalid").await;
}

#[tokio::test]
async fn ratings_are_forgotten_by_token_by_query_and_by_time() {
    let (world, server) = gallery().await;
    let forget = |body: Value| server.post("/api/v1/delete-feedback").json(&body);
    for client in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        let answer = search(&server, client, json!({})).await;
        let last = names(&answer)[11].to_owned();
        like(&server, client, &answer, &last).await;
    }
    let one = search(&server, VISITOR, json!({})).await;
    like(&server, VISITOR, &one, "00.png").await;
    until_remembered(&server, 4).await;
    let deleted = ok_json(forget(json!({"jwt": one["jwt"]})).send().await.expect("sent")).await;
    assert_eq!(deleted["deleted"], 1);
    until_remembered(&server, 3).await;
    problem(forget(json!({})), 422, "invalid_request").await;
    problem(forget(json!({"before": "soon"})), 422, "invalid_request").await;
    // Without keys nobody is an operator over HTTP, but whoever has the data folder is one.
    problem(forget(json!({"text": "tennis"})), 401, "api_key_needed").await;
    let early = world.run("feedback", &["delete", "--before", "2020-01-01"]);
    assert!(String::from_utf8_lossy(&early.stdout).contains("0 ratings"), "{early:?}");
    let all = world.run("feedback", &["delete", "--text", "tennis"]);
    assert!(String::from_utf8_lossy(&all.stdout).contains("3 ratings"), "{all:?}");
    until_remembered(&server, 0).await;
    assert!(search(&server, "192.0.2.1", json!({})).await.get("learned_from").is_none());
}

#[tokio::test]
async fn the_report_says_what_was_rated_to_who_may_know() {
    let (world, server) = gallery().await;
    let rate = async |client: &str, value: u8| {
        let answer = search(&server, client, json!({"strength": true})).await;
        let body = json!({"jwt": answer["jwt"], "user_feedback": value});
        let request = server.post("/api/v1/create-feedback").header("x-forwarded-for", client);
        assert_eq!(request.json(&body).send().await.expect("an answer").status(), 201);
    };
    for (client, value) in [("192.0.2.1", 4), ("192.0.2.2", 6), ("192.0.2.2", 8)] {
        rate(client, value).await;
    }
    let liked = search(&server, "192.0.2.1", json!({"text": "whale"})).await;
    like(&server, "192.0.2.1", &liked, names(&liked)[2]).await;
    let report = ok_json(server.get("/api/v1/quality").send().await.expect("an answer")).await;
    let value = &report["value"];
    assert_eq!((&report["ratings"], &report["raters"]), (&json!(4), &json!(2)), "{report}");
    assert_eq!((value["mean"].as_f64(), &value["count"]), (Some(6.0), &json!(3)), "{report}");
    assert!(value["low"].as_f64() < Some(6.0) && value["high"].as_f64() > Some(6.0));
    assert_eq!(report["thumbs"]["share"], 1.0);
    assert_eq!(report["by_model"][0]["model"], "emoji-clip");
    let worst: Vec<&str> = (0..2).filter_map(|n| report["worst"][n]["text"].as_str()).collect();
    assert_eq!(worst, ["tennis", "whale"]);
    let coverage = json!({"images": 12, "shown": 12, "with_thumbs": 1});
    assert_eq!(report["coverage"], coverage);
    // Too small a library to say how strong a match is.
    assert_eq!(report["searches"], json!({"judged": 0, "without_strong_match": 0}));

    let elsewhere = server.get("/api/v1/quality").header("x-forwarded-for", VISITOR);
    problem(elsewhere, 401, "api_key_needed").await;
    let page = server.get("/quality").send().await.expect("an answer");
    assert!(page.text().await.expect("text").contains("<title>image-search"));

    let printed = world.run("quality", &[]);
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(printed.contains("4 ratings of 2 queries by 2 keys or addresses"), "{printed}");
    assert!(printed.contains("6.0 (1.0 to 10.0)"), "{printed}");
    let json = world.run("quality", &["--json"]);
    let mut same: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    same["searches"] = report["searches"].clone();
    assert_eq!(same, report);
    let parquet = world.run("feedback", &["export", "--format", "parquet"]).stdout;
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"), "{}", parquet.len());
}
