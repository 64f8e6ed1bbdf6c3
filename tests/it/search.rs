//! `POST /api/v1/search-image`: the contract, its limits, and every way to ask wrongly.

use serde_json::{Value, json};

use crate::harness::{World, ok_json, picture, problem};

const SEARCH: &str = "/api/v1/search-image";

#[tokio::test]
async fn the_contract_holds_and_matches_come_sorted() {
    let world = World::new();
    for number in 0..15 {
        world.write(&format!("folder {}/{number}.png", number % 3), &picture(number));
    }
    let server = world.serve().await;
    server.until_counts(15, 0).await;
    let answer = server.search(json!({"text": "tennis"})).await;
    assert_eq!(
        (answer["text"].as_str(), answer["model_name"].as_str()),
        (Some("tennis"), Some("CLIP"))
    );
    assert!(
        answer["jwt"].as_str().is_some_and(|jwt| jwt.split('.').count() == 3 && jwt.len() < 4096)
    );
    let matches = answer["matches"].as_array().expect("matches");
    assert_eq!(matches.len(), 10, "the default limit");
    let scores: Vec<f64> =
        matches.iter().map(|found| found["score"].as_f64().expect("a score")).collect();
    assert!(
        scores.is_sorted_by(|a, b| a >= b) && scores.iter().all(|score| score.abs() <= 1.0),
        "{scores:?}"
    );
    assert_eq!((matches[0]["width"].as_u64(), matches[0]["height"].as_u64()), (Some(48), Some(40)));
    let url = matches[0]["image_url"].as_str().expect("a url");
    assert!(url.contains("folder%20"), "{url}");
    assert_eq!(server.get(url).send().await.expect("an answer").status(), 200);
    // The next page goes on where the first one ended.
    let first = server.names("tennis", 15).await;
    let second = server.search(json!({"text": "tennis", "limit": 5, "offset": 10})).await;
    let second: Vec<&str> = second["matches"]
        .as_array()
        .expect("matches")
        .iter()
        .filter_map(|found| found["image_name"].as_str())
        .collect();
    assert_eq!(second, first[10..]);
    assert!(
        server.search(json!({"text": "tennis", "offset": 100})).await["matches"]
            .as_array()
            .expect("matches")
            .is_empty()
    );
}

#[tokio::test]
async fn duplicates_are_collapsed_and_named() {
    let world = World::new();
    for name in ["b.png", "a.png", "copies/c.png"] {
        world.write(name, &picture(1));
    }
    world.write("other.png", &picture(2));
    let server = world.serve().await;
    let status = server.until_counts(4, 0).await;
    assert_eq!(status["store"]["vectors"], 2, "copies share a vector");
    let answer = server.search(json!({"text": "anything"})).await;
    let matches = answer["matches"].as_array().expect("matches");
    assert_eq!(matches.len(), 2);
    let collapsed = matches
        .iter()
        .find(|found| found["image_name"] == "a.png")
        .expect("the first name stands for all");
    assert_eq!(collapsed["other_names"], json!(["b.png", "copies/c.png"]));
    assert_eq!(collapsed["other_names_total"], 2);
}

#[tokio::test]
async fn of_many_copies_a_match_has_the_first_names_and_a_route_all_of_them() {
    let world = World::new();
    for number in 0..30 {
        world.write(&format!("{number:02}.png"), &picture(1));
    }
    let server = world.serve().await;
    server.until_counts(30, 0).await;
    let answer = server.search(json!({"text": "anything"})).await;
    let found = &answer["matches"][0];
    assert_eq!((&found["image_name"], &found["other_names_total"]), (&json!("00.png"), &json!(29)));
    assert_eq!(found["other_names"].as_array().map(Vec::len), Some(10));
    let info = server.get_json("/api/v1/image-info?image_name=05.png").await;
    assert_eq!(info["other_names_total"], 29);
    assert_eq!(info["other_names"].as_array().map(Vec::len), Some(10));
    let (mut names, mut query) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/other-names?image_name=05.png&limit=7{query}");
        let page = server.get_json(&path).await;
        names.extend(page["other_names"].as_array().expect("names").clone());
        let Some(next) = page["next"].as_str() else { break };
        query = format!("&after={next}");
    }
    let all: Vec<String> =
        (0..30).filter(|number| *number != 5).map(|number| format!("{number:02}.png")).collect();
    assert_eq!(json!(names), json!(all));
    for (query, code) in [("image_name=none.png", 404), ("image_name=05.png&limit=0", 422)] {
        let kind = if code == 404 { "not_found" } else { "invalid_request" };
        problem(server.get(&format!("/api/v1/other-names?{query}")), code, kind).await;
    }
}

#[tokio::test]
async fn a_picture_finds_itself() {
    let world = World::new();
    for number in 0..6 {
        world.write(&format!("{number}.png"), &picture(number));
    }
    let server = world.serve().await;
    server.until_counts(6, 0).await;
    let like = server.search(json!({"image_name": "3.png", "limit": 2})).await;
    assert_eq!(like["matches"][0]["image_name"], "3.png");
    assert!(like.get("text").is_none());
    let boundary = "----boundary";
    let body =
        multipart(boundary, &[("image", Some("query.png"), &picture(4)), ("limit", None, b"1")]);
    let request = server
        .post(SEARCH)
        .header("content-type", format!("multipart/form-data; boundary={boundary}"));
    let answer = ok_json(request.body(body).send().await.expect("an answer")).await;
    assert_eq!(answer["matches"].as_array().expect("matches").len(), 1);
    assert_eq!(answer["matches"][0]["image_name"], "4.png");
    assert!(answer["matches"][0]["score"].as_f64().expect("a score") > 0.999);
    let form = |field: &str, bytes: &[u8]| {
        let body = multipart(boundary, &[(field, Some("x"), bytes)]);
        server
            .post(SEARCH)
            .header("content-type", format!("multipart/form-data; boundary={boundary}"))
            .body(body)
    };
    problem(form("image", b"no picture at all"), 422, "not_an_image").await;
    problem(form("image", b""), 422, "empty_file").await;
    problem(form("picture", &picture(1)), 422, "invalid_request").await;
    problem(
        server
            .post(SEARCH)
            .header("content-type", "multipart/form-data; boundary=x")
            .body("rubbish"),
        400,
        "malformed_form",
    )
    .await;
    let sent = |body: Vec<u8>| {
        let kind = format!("multipart/form-data; boundary={boundary}");
        server.post(SEARCH).header("content-type", kind).body(body)
    };
    let image: (&str, Option<&str>, &[u8]) = ("image", Some("x"), &picture(4));
    let number: (&str, Option<&str>, &[u8]) = ("limit", None, b"1");
    for twice in [[image, image, number], [image, number, number]] {
        problem(sent(multipart(boundary, &twice)), 422, "invalid_request").await;
    }
    let mut half = multipart(boundary, &[image]);
    half.truncate(half.len() / 2);
    problem(sent(half), 400, "malformed_form").await;
    problem(server.post(SEARCH).json(&json!({"image_name": "nowhere.png"})), 404, "not_found")
        .await;
    problem(
        server.post(SEARCH).json(&json!({"image_name": "../etc/passwd"})),
        422,
        "bad_image_name",
    )
    .await;
}

pub(crate) fn multipart(boundary: &str, fields: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file_name, bytes) in fields {
        let file = file_name.map_or_else(String::new, |file| format!("; filename=\"{file}\""));
        body.extend_from_slice(
            format!(
                "--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n"
            )
            .as_bytes(),
        );
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    body
}

#[tokio::test]
async fn every_wrong_request_gets_its_own_clear_answer() {
    let server = World::new().set("SERVER__JSON_BYTES_MAX", "4096").serve_alone().await;
    let server = &server.1;
    let unprocessable = [
        json!({}),
        json!({"text": ""}),
        json!({"text": " \n"}),
        json!({"text": 5}),
        json!({"text": null}),
        json!({"text": "x".repeat(257)}),
        json!({"text": "x", "unknown": 1}),
        json!({"text": "x", "image_name": "y"}),
        json!({"text": "x", "limit": 0}),
        json!({"text": "x", "limit": -1}),
        json!({"text": "x", "limit": 201}),
        json!({"text": "x", "limit": 1.5}),
        json!({"text": "x", "limit": "10"}),
        json!({"text": "x", "offset": 9_999}),
        json!([]),
        json!("tennis"),
    ];
    for body in unprocessable {
        let told = problem(server.post(SEARCH).json(&body), 422, "invalid_request").await;
        assert!(told["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body}");
    }
    let json = |text: &str| {
        server.post(SEARCH).header("content-type", "application/json").body(text.to_owned())
    };
    problem(json("{\"text\":"), 400, "malformed_json").await;
    problem(json(""), 400, "malformed_json").await;
    problem(json("{\"text\":\"\\ud800\"}"), 400, "malformed_json").await;
    problem(
        server
            .post(SEARCH)
            .header("content-type", "application/json")
            .body(b"{\"text\":\"\xff\"}".to_vec()),
        400,
        "malformed_json",
    )
    .await;
    problem(
        server.post(SEARCH).header("content-type", "text/plain").body("{\"text\":\"x\"}"),
        415,
        "unsupported_media_type",
    )
    .await;
    problem(server.post(SEARCH).body("{\"text\":\"x\"}"), 415, "unsupported_media_type").await;
    problem(json(&format!("{{\"text\":\"{}\"}}", "x".repeat(5000))), 413, "too_large").await;
    problem(server.get(SEARCH), 405, "method_not_allowed").await;
    problem(server.get("/api/v1/nothing"), 404, "not_found").await;
    let long_enough = "x".repeat(256);
    assert_eq!(server.search(json!({"text": long_enough})).await["text"], Value::from(long_enough));
}

#[tokio::test]
async fn more_searches_than_places_are_refused_at_once_and_the_rest_is_answered() {
    let world = World::new().set("SEARCH__CONCURRENT_MAX", "1").set("SEARCH__WAITING_MAX", "1");
    world.write("a.png", &picture(1));
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    let ask = |number: usize| {
        server.post(SEARCH).json(&json!({"text": format!("query {number}")})).send()
    };
    let answers = futures::future::join_all((0..60).map(ask)).await;
    let (mut answered, mut refused) = (0, 0);
    for answer in answers {
        let answer = answer.expect("an answer");
        match answer.status().as_u16() {
            200 => answered += 1,
            503 => {
                assert!(answer.headers().contains_key("retry-after"));
                refused += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert!(answered >= 1 && answered + refused == 60, "{answered} answered, {refused} refused");
    assert_eq!(server.search(json!({"text": "afterwards"})).await["text"], "afterwards");
}
