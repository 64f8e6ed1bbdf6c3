//! Several queries in one, near-duplicates as one match, and that a request that asks for none of it gets the answer it always got.

use std::collections::BTreeSet;
use std::io::Cursor;

use image::ImageFormat;
use serde_json::{Value, json};

use crate::harness::{Server, World, ok_json, problem, repository};
use crate::search::multipart;

const SEARCH: &str = "/api/v1/search-image";
const BOUNDARY: &str = "----boundary";

pub(crate) fn demo_picture(name: &str) -> Vec<u8> {
    std::fs::read(repository().join("demo/pictures").join(name)).expect("a picture")
}

const COLOURS: [&str; 7] = ["red", "orange", "yellow", "green", "blue", "purple", "brown"];

/// Hearts, circles and squares in seven colours, and enough others for scores to mean something.
async fn shapes() -> (World, Server) {
    let world = World::new();
    let folder = repository().join("demo/pictures");
    let mut names: BTreeSet<String> = COLOURS
        .iter()
        .flat_map(|colour| {
            ["heart", "circle", "square"].map(|shape| format!("{colour}-{shape}.png"))
        })
        .collect();
    names.retain(|name| folder.join(name).is_file());
    let all = std::fs::read_dir(folder).expect("a folder").filter_map(Result::ok);
    let mut others: Vec<String> =
        all.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    others.sort();
    names.extend(others.into_iter().filter(|name| name.contains(".png")).step_by(10));
    for name in &names {
        world.write(name, &demo_picture(name));
    }
    let server = world.serve().await;
    server.until_counts(names.len() as u64, 0).await;
    (world, server)
}

fn names(answer: &Value) -> Vec<&str> {
    let matches = answer["matches"].as_array().expect("matches").iter();
    matches.filter_map(|found| found["image_name"].as_str()).collect()
}

async fn form(server: &Server, fields: &[(&str, Option<&str>, &[u8])]) -> Value {
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let request = server.post(SEARCH).header("content-type", kind);
    ok_json(request.body(multipart(BOUNDARY, fields)).send().await.expect("an answer")).await
}

#[tokio::test]
async fn words_and_a_picture_find_what_has_both() {
    let (_world, server) = shapes().await;
    for (seen, wanted) in
        [("red-heart.png", "blue"), ("green-circle.png", "orange"), ("brown-square.png", "purple")]
    {
        let shape = seen.split_once('-').expect("a shape").1;
        let expected = format!("{wanted}-{shape}");
        let parts = json!([{"image_name": seen}, {"text": wanted}]);
        let by_name = server.search(json!({"queries": parts, "limit": 2})).await;
        assert!(names(&by_name).contains(&expected.as_str()), "{seen} and {wanted}: {by_name}");
        let picture = demo_picture(seen);
        let fields = [
            ("image", Some("x.png"), picture.as_slice()),
            ("text", None, wanted.as_bytes()),
            ("limit", None, b"2"),
        ];
        let by_picture = form(&server, &fields).await;
        assert_eq!(names(&by_picture), names(&by_name), "{seen} and {wanted}");
        assert_eq!(by_picture["text"], wanted);
    }
    // Weights shift it: hardly any words, and the picture itself is first again.
    let little = json!([{"image_name": "red-heart.png"}, {"text": "blue", "weight": 0.01}]);
    assert_eq!(
        names(&server.search(json!({"queries": little, "limit": 1})).await),
        ["red-heart.png"]
    );
    let picture = demo_picture("red-heart.png");
    let parts = json!([{"picture": true, "weight": 0.01}, {"text": "blue circle"}]).to_string();
    let fields = [
        ("image", Some("x.png"), picture.as_slice()),
        ("queries", None, parts.as_bytes()),
        ("limit", None, b"1"),
    ];
    assert_eq!(names(&form(&server, &fields).await), ["blue-circle.png"]);
}

#[tokio::test]
async fn unwanted_words_leave_and_the_token_of_such_an_answer_can_be_rated() {
    let (_world, server) = shapes().await;
    let plain = server.search(json!({"text": "heart", "limit": 5})).await;
    assert!(names(&plain).contains(&"red-heart.png"), "{plain}");
    let without = server.search(json!({"text": "heart -red", "limit": 5})).await;
    assert!(!names(&without).contains(&"red-heart.png"), "{without}");
    assert_eq!(without["text"], "heart -red");
    let same = server.search(json!({"text": "heart not:red", "limit": 5})).await;
    assert_eq!(names(&same), names(&without));
    let weighted = json!([{"text": "heart"}, {"text": "red", "weight": -0.8}]);
    let weighted = server.search(json!({"queries": weighted, "limit": 5})).await;
    assert_eq!(names(&weighted), names(&without));
    let literally = server.search(json!({"text": "\"heart -red\"", "limit": 5})).await;
    assert_ne!(literally["matches"], without["matches"]);
    for answer in [&without, &weighted] {
        let rating = json!({"user_feedback": 8, "jwt": answer["jwt"]});
        let rated = server.post("/api/v1/create-feedback").json(&rating).send().await;
        assert_eq!(rated.expect("an answer").status(), 201);
    }
}

#[tokio::test]
async fn what_is_not_asked_for_is_not_in_the_answer() {
    let (_world, server) = shapes().await;
    let keys = |value: &Value| -> BTreeSet<String> {
        value.as_object().expect("an object").keys().cloned().collect()
    };
    let set = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>();
    for body in [
        json!({"text": "heart"}),
        json!({"text": "heart", "limit": 20, "offset": 1}),
        json!({"text": "heart -red"}),
    ] {
        let answer = server.search(body.clone()).await;
        assert_eq!(keys(&answer), set(&["jwt", "matches", "model_name", "text"]), "{body}");
        for found in answer["matches"].as_array().expect("matches") {
            let names = keys(found);
            for asked_for in ["strength", "near_duplicates"] {
                assert!(!names.contains(asked_for), "{body}: {names:?}");
            }
        }
    }
    let asked = server.search(json!({"text": "blue heart", "strength": true})).await;
    assert_eq!(asked["matches"][0]["strength"], "strong", "{asked}");
    assert!(asked["strong_total"].as_u64() >= Some(1));
    let like = server.search(json!({"image_name": "blue-heart.png", "strength": true})).await;
    assert_eq!(like["matches"][0]["strength"], "strong", "{like}");
    let parts = json!([{"text": "blue"}, {"text": "heart"}]);
    let combined = server.search(json!({"queries": parts})).await;
    assert!(
        combined["matches"][0]["strength"].is_string(),
        "parts are new, and so is their answer"
    );
    let plain = server.search(json!({"queries": parts, "strength": false})).await;
    assert!(plain["matches"][0].get("strength").is_none() && plain.get("strong_total").is_none());
    let status = server.get_json("/api/v1/status").await;
    assert_eq!(status["limits"]["queries_max"], 8);
}

#[tokio::test]
async fn a_small_library_says_nothing_of_strength() {
    let world = World::new();
    for colour in COLOURS {
        let name = format!("{colour}-heart.png");
        world.write(&name, &demo_picture(&name));
    }
    let server = world.serve().await;
    server.until_counts(COLOURS.len() as u64, 0).await;
    let answer = server.search(json!({"queries": [{"text": "heart"}, {"text": "red", "weight": -1}], "strength": true})).await;
    assert_eq!(names(&answer).len(), COLOURS.len());
    assert!(
        answer.get("strong_total").is_none() && answer["matches"][0].get("strength").is_none(),
        "{answer}"
    );
}

#[tokio::test]
async fn wrong_parts_get_a_clear_answer() {
    let (_world, server) = World::new().serve_alone().await;
    let many = vec![json!({"text": "a"}); 9];
    let long = vec![json!({"text": "x".repeat(200)}); 2];
    for queries in [
        json!([]),
        json!([{}]),
        json!([{"text": ""}]),
        json!([{"text": "a", "image_name": "b"}]),
        json!([{"text": "a", "weight": 1.5}]),
        json!([{"text": "a", "weight": -2}]),
        json!([{"text": "a", "colour": 1}]),
        json!([{"picture": true}]),
        json!([{"text": "a"}, {"text": "a", "weight": -1}]),
        json!([{"text": "a", "weight": 0}]),
        json!(many),
        json!(long),
        json!("a"),
    ] {
        problem(server.post(SEARCH).json(&json!({"queries": queries})), 422, "invalid_request")
            .await;
    }
    let both = json!({"text": "a", "queries": [{"text": "b"}]});
    problem(server.post(SEARCH).json(&both), 422, "invalid_request").await;
    let words = ["-cat"; 9].join(" ");
    problem(server.post(SEARCH).json(&json!({"text": words})), 422, "invalid_request").await;
    let gone = json!({"queries": [{"text": "a"}, {"image_name": "nowhere.png"}]});
    problem(server.post(SEARCH).json(&gone), 404, "not_found").await;
    let picture = demo_picture("red-heart.png");
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    for wrong in [
        ("queries", "no JSON"),
        ("queries", "[{\"picture\":true},{\"picture\":true}]"),
        ("strength", "perhaps"),
        ("text", " "),
    ] {
        let fields =
            [("image", Some("x.png"), picture.as_slice()), (wrong.0, None, wrong.1.as_bytes())];
        let sent =
            server.post(SEARCH).header("content-type", &kind).body(multipart(BOUNDARY, &fields));
        problem(sent, 422, "invalid_request").await;
    }
}

/// As a phone or a messenger would send it on.
fn encoded_again(png: &[u8], edge: u32, quality: u8) -> Vec<u8> {
    let picture =
        image::load_from_memory_with_format(png, ImageFormat::Png).expect("a PNG").to_rgb8();
    let picture = image::imageops::thumbnail(&picture, edge, edge);
    let mut jpeg = Cursor::new(Vec::new());
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, quality);
    picture.write_with_encoder(encoder).expect("a JPEG");
    jpeg.into_inner()
}

#[tokio::test]
async fn copies_that_were_encoded_again_are_one_match_and_one_group() {
    let world = World::new();
    let pictures = ["pizza", "guitar", "snowman", "rainbow", "bicycle", "tennis", "banana", "dog"];
    for name in pictures {
        let png = demo_picture(&format!("{name}.png"));
        world.write(&format!("{name}.png"), &png);
        world.write(&format!("sent/{name}.jpg"), &encoded_again(&png, 112, 80));
        world.write(&format!("sent/{name} small.jpg"), &encoded_again(&png, 96, 75));
    }
    world.write("copy of pizza.png", &demo_picture("pizza.png"));
    let server = world.serve().await;
    server.until_counts(3 * pictures.len() as u64 + 1, 0).await;
    let plain = server.search(json!({"text": "pizza", "limit": 30})).await;
    assert_eq!(
        names(&plain).len(),
        24,
        "exact copies share a match, near ones do not unless asked"
    );
    let collapsed = server.search(json!({"text": "pizza", "limit": 30, "collapse": true})).await;
    let matches = collapsed["matches"].as_array().expect("matches");
    assert_eq!(matches.len(), pictures.len(), "{collapsed}");
    assert!(
        matches.iter().all(|found| found["near_duplicates"].as_array().map(Vec::len) == Some(2))
    );
    assert_eq!(matches[0]["image_name"].as_str().map(|name| name.contains("pizza")), Some(true));
    // Pages follow each other without gaps or repetitions.
    let mut seen = Vec::new();
    for offset in [0, 3, 6] {
        let page = server
            .search(json!({"text": "pizza", "limit": 3, "offset": offset, "collapse": true}))
            .await;
        seen.extend(names(&page).into_iter().map(str::to_owned));
    }
    assert_eq!(seen, names(&collapsed));
    let refused = world.run("duplicates", &[]);
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("stop it first"),
        "a server works with it"
    );
    assert!(server.terminate().await.success());
    let told = world.run("duplicates", &["--json"]);
    let lines = String::from_utf8_lossy(&told.stdout).into_owned();
    let groups: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of_kind =
        |kind: &str| groups.iter().filter(|group| group["kind"] == kind).collect::<Vec<_>>();
    assert_eq!(
        of_kind("near").len(),
        pictures.len(),
        "{lines}{}",
        String::from_utf8_lossy(&told.stderr)
    );
    assert!(
        of_kind("near").iter().all(|group| group["contents"].as_array().map(Vec::len) == Some(3))
    );
    assert_eq!(of_kind("exact").len(), 1);
    assert_eq!(of_kind("exact")[0]["contents"], json!([["copy of pizza.png", "pizza.png"]]));
    let told = String::from_utf8_lossy(&world.run("duplicates", &[]).stdout).into_owned();
    assert!(told.ends_with("1 groups of exact copies, 8 groups of near ones\n"), "{told}");
}
