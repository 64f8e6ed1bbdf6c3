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

fn world() -> World {
    World::new().set("UPLOADS__ENABLED", "true").set("UPLOADS__API_KEY", KEY)
}

async fn statuses(request: RequestBuilder, wanted: u16) -> (Vec<(String, u64)>, serde_json::Value) {
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    let answer: serde_json::Value = answer.json().await.expect("JSON");
    assert_eq!(status, wanted, "{answer}");
    let one = |image: &serde_json::Value| {
        let file = image["file_name"].as_str().expect("a name").to_owned();
        (file, image["status"].as_u64().expect("a status"))
    };
    (answer["images"].as_array().expect("results").iter().map(one).collect(), answer)
}

#[tokio::test]
async fn every_file_has_its_own_result_also_when_others_fail() {
    let world = world().set("UPLOADS__FILES_MAX", "5");
    let server = world.serve().await;
    let (first, second) = (picture(1), picture(2));
    let half = &picture(3)[..60];
    let files: [(&str, &[u8]); 5] = [
        ("a.png", &first),
        ("half.png", half),
        ("../up.png", &second),
        ("again.png", &first),
        ("b.png", &second),
    ];
    let (results, answer) = statuses(upload(&server, &files).bearer_auth(KEY), 207).await;
    let wanted =
        [("a.png", 201), ("half.png", 422), ("../up.png", 422), ("again.png", 200), ("b.png", 201)];
    let wanted: Vec<(String, u64)> =
        wanted.iter().map(|(name, status)| ((*name).to_owned(), *status)).collect();
    assert_eq!(results, wanted);
    assert_eq!(answer["images"][1]["problem"]["status"], 422);
    assert_eq!(answer["images"][2]["problem"]["code"], "bad_image_name");
    assert_eq!(answer["images"][3]["duplicate_of"], "a.png", "of the same request");
    assert_eq!(answer["images"][4]["image_name"], "b.png");
    server.until_counts(2, 0).await;
    // All failed: the problem of the first, and every result beside it.
    let bad: [(&str, &[u8]); 2] = [("x.png", b"no picture"), (".y.png", &first)];
    let (results, answer) = statuses(upload(&server, &bad).bearer_auth(KEY), 422).await;
    assert_eq!((results.len(), answer["code"].as_str()), (2, Some("not_an_image")));
    // A form that ends early: what was stored before is told.
    let fields: [(&str, Option<&str>, &[u8]); 2] =
        [("image", Some("c.png"), &picture(4)), ("image", Some("d.png"), &picture(5))];
    let mut body = multipart("b", &fields);
    body.truncate(body.len() - 30);
    let early = server.post("/api/v1/images").bearer_auth(KEY).body(body);
    let early = early.header("content-type", "multipart/form-data; boundary=b");
    let (results, answer) = statuses(early, 400).await;
    assert_eq!(answer["code"], "malformed_form");
    assert_eq!(results, [("c.png".to_owned(), 201)]);
    assert!(world.image("c.png").exists() && !world.image("d.png").exists());
    // Too many of them: the first ones are stored, and told.
    let many: Vec<Vec<u8>> = (10..17).map(picture).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|bytes| ("m.png", bytes.as_slice())).collect();
    let (results, answer) = statuses(upload(&server, &many).bearer_auth(KEY), 422).await;
    assert_eq!((results.len(), answer["code"].as_str()), (5, Some("invalid_request")));
}

#[tokio::test]
async fn a_duplicate_of_a_file_that_just_went_is_stored() {
    let world = world();
    world.write("a.png", &picture(1));
    world.write("keep.png", &picture(50));
    let server = world.serve().await;
    for round in 0..20 {
        let name = format!("{round}.png");
        let before = if round == 0 { "a.png".to_owned() } else { format!("{}.png", round - 1) };
        server.until_counts(2, 0).await;
        std::fs::remove_file(world.image(&before)).expect("removed");
        let sent = upload(&server, &[(&name, &picture(1))]).bearer_auth(KEY);
        let answer = ok_json(sent.send().await.expect("an answer")).await;
        assert!(world.image(&name).exists(), "round {round}: {answer}");
        assert_eq!(answer["images"][0]["image_name"], name);
    }
}

#[tokio::test]
async fn names_that_could_not_be_indexed_or_deleted_are_refused() {
    let world = world();
    world.write("file.png", &picture(9));
    let server = world.serve().await;
    let long = format!("{}.png", "x".repeat(296));
    let deep = format!("{}z.png", "0123456789/".repeat(400));
    for name in [
        long.as_str(),
        &deep,
        "a.part",
        "Thumbs.db",
        "folder/desktop.ini",
        "copy.png~",
        ".hidden/a.png",
        "@other/a.png",
        "file.png/a.png",
        "a\tb.png",
        "gpj.\u{202e}a.png",
        "a/../b.png",
        "",
    ] {
        let sent = upload(&server, &[(name, &picture(1))]).bearer_auth(KEY);
        problem(sent, 422, "bad_image_name").await;
    }
    server.until_counts(1, 0).await;
    let found = walkdir::WalkDir::new(world.path("images")).min_depth(1);
    assert_eq!(found.into_iter().count(), 1, "something was left behind");
    // The longest that there is, and a second one of it.
    let longest = format!("{}.png", "ä".repeat(125));
    let files: [(&str, &[u8]); 2] = [(&longest, &picture(1)), (&longest, &picture(2))];
    let answer =
        ok_json(upload(&server, &files).bearer_auth(KEY).send().await.expect("an answer")).await;
    let second = answer["images"][1]["image_name"].as_str().expect("a name").to_owned();
    assert!(second.ends_with("-2.png") && second.len() <= 255, "{second}");
    server.until_counts(3, 0).await;
    for name in [longest, second] {
        let path = format!("/api/v1/images/{name}");
        let deleted = server.delete(&path).bearer_auth(KEY).send().await.expect("an answer");
        assert_eq!(deleted.status(), 204);
    }
}

#[tokio::test]
async fn a_folder_has_only_so_much_room() {
    let world = world().set("INGEST__IMAGES_MAX", "2");
    let server = world.serve().await;
    let files: [(&str, &[u8]); 3] =
        [("a.png", &picture(1)), ("b.png", &picture(2)), ("c.png", &picture(3))];
    let (results, answer) = statuses(upload(&server, &files).bearer_auth(KEY), 207).await;
    assert_eq!(results[2].1, 507, "{answer}");
    let told = answer["images"][2]["problem"]["detail"].as_str().expect("text");
    assert!(told.contains("ingest.images_max"), "{told}");
    server.until_counts(2, 0).await;
    drop(server);
    let world = self::world().set("UPLOADS__DISK_RESERVE_MIB", "1000000000");
    let server = world.serve().await;
    let full = upload(&server, &[("a.png", &picture(1))]).bearer_auth(KEY);
    let full = problem(full, 507, "storage_full").await;
    let told = full["detail"].as_str().expect("text");
    assert!(told.contains("uploads.disk_reserve_mib"), "{told}");
    assert!(!world.image("a.png").exists());
}
