//! What the page reads beside the contract: colours before pictures, what any browser can show, what can be tried again, the
//! model that can be fetched, many pictures as one file.

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::harness::{BROKEN_PICTURE, Server, World, ok_json, picture, problem, repository};
use crate::hub::Fault;
use crate::models::{MODEL, hub, until_answering, world_with};
use crate::search::multipart;

fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().expect("a list");
    list.iter().map(|one| one["image_name"].as_str().expect("a name")).collect()
}

#[tokio::test]
async fn a_preview_comes_with_every_picture_and_is_made_up_for_where_it_is_missing() {
    let world = World::new();
    world.write("a.png", &picture(1));
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    let found = server.search(json!({"text": "x"})).await["matches"][0].clone();
    let preview = found["preview"].as_str().expect("a preview").to_owned();
    assert!((8..=40).contains(&preview.len()), "{preview}");
    let listed = server.get_json("/api/v1/images").await["images"][0].clone();
    let info = server.get_json("/api/v1/image-info?image_name=a.png").await;
    assert_eq!((&listed["preview"], &info["preview"]), (&json!(preview), &json!(preview)));
    assert!(server.terminate().await.success());

    // As it is after an update from a version that made none.
    let catalog = world.path("data").join("catalog.db");
    let forget = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\nc.execute('DELETE FROM previews')\nc.commit()";
    let forgotten =
        std::process::Command::new("python3").args(["-c", forget]).arg(&catalog).status();
    assert!(forgotten.expect("python3 is here").success());
    let server = world.serve().await;
    server
        .until("the preview is made of the thumbnail", async || {
            let listed = server.get_json("/api/v1/images").await["images"][0].clone();
            listed["preview"].as_str().map(str::len).filter(|length| *length >= 8)
        })
        .await;
}

#[tokio::test]
async fn what_browsers_cannot_show_is_viewed_as_a_jpeg() {
    let world = World::new();
    world.write("a.png", &picture(1));
    let heic = repository().join("crates/clip/tests/golden/formats/turned-3.heic");
    world.write("b.heic", &std::fs::read(heic).expect("read"));
    let server = world.serve().await;
    server.until_counts(2, 0).await;
    let info = server.get_json("/api/v1/image-info?image_name=a.png").await;
    assert_eq!(info["viewable_url"], info["image_url"]);
    let info = server.get_json("/api/v1/image-info?image_name=b.heic").await;
    assert_eq!(info["format"], "heif");
    let url = info["viewable_url"].as_str().expect("a url");
    for _ in 0..2 {
        let answer = server.get(url).send().await.expect("an answer");
        assert_eq!(answer.headers()["content-type"], "image/jpeg");
        assert!(
            answer.headers()["cache-control"].to_str().is_ok_and(|how| how.contains("immutable"))
        );
        let jpeg =
            image::load_from_memory(&answer.bytes().await.expect("bytes")).expect("a picture");
        let (width, height) = (info["width"].as_u64(), info["height"].as_u64());
        assert_eq!(
            (Some(u64::from(jpeg.width())), Some(u64::from(jpeg.height()))),
            (width, height),
            "in full size"
        );
    }
    let kept = walkdir::WalkDir::new(world.path("data").join("thumbnails")).into_iter();
    let is_large = |name: &str| name.ends_with("-4096.jpg");
    let kept = kept.filter_map(Result::ok);
    assert_eq!(kept.filter(|file| file.file_name().to_str().is_some_and(is_large)).count(), 1);
}

#[tokio::test]
async fn only_what_may_change_by_itself_can_be_tried_again() {
    let world = World::new().set("DECODE__PIXELS_MAX", "100");
    world.write("broken.png", BROKEN_PICTURE);
    world.write("large.png", &picture(1));
    let server = world.serve().await;
    server.until_counts(0, 2).await;
    let failures = server.get_json("/api/v1/failures").await["failures"].clone();
    assert_eq!(names(&failures), ["broken.png", "large.png"]);
    assert_eq!(
        (&failures[0]["retryable"], &failures[1]["retryable"]),
        (&json!(false), &json!(true))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_that_is_missing_is_fetched_when_somebody_asks_for_it() {
    let hub = hub().await;
    for _ in 0..3 {
        hub.fault("/revision/main", Fault::Status(503, vec![]));
    }
    let world = world_with(&hub).model("auto").set("MODELS__ATTEMPTS_MAX", "3");
    world.write("a.png", &picture(1));
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    let model = server.get_json("/api/v1/status").await["model"].clone();
    assert_eq!(
        (&model["name"], &model["available"]["name"]),
        (&json!("emoji-clip"), &json!(MODEL))
    );
    let path = "/api/v1/model/download";
    problem(server.post(path), 403, "cross_site_request").await;
    let asked = server.post(path).header("origin", &server.url).send().await.expect("an answer");
    assert_eq!(asked.status(), 202);
    // Its own next try would come in ten minutes.
    until_answering(&server, MODEL).await;
    let model = server.get_json("/api/v1/status").await["model"].clone();
    assert!(model["available"].is_null(), "{model}");
    problem(server.post(path).header("origin", &server.url), 404, "not_found").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chosen_pictures_come_as_one_zip_file() {
    let world = World::new();
    for (name, number) in [("a.png", 1), ("below/größe.png", 2), ("gone.png", 3)] {
        world.write(name, &picture(number));
    }
    let server = world.serve().await;
    server.until_counts(3, 0).await;
    let wanted = json!({"image_names": ["below/größe.png", "a.png", "a.png", "no such.png"]});
    let answer = server.post("/api/v1/download-zip").json(&wanted).send().await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "application/zip");
    assert_eq!(answer.headers()["content-disposition"], "attachment; filename=\"pictures.zip\"");
    let path = world.path("it.zip");
    std::fs::write(&path, answer.bytes().await.expect("bytes")).expect("kept");
    let script = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nassert z.testzip() is None\nprint(*z.namelist(), sep='\\n')\nprint(z.read('not-included.txt').decode())\nz.extractall(sys.argv[2])";
    let read = std::process::Command::new("python3")
        .args(["-c", script])
        .args([&path, &world.path("unpacked")])
        .output()
        .expect("python3 is here");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let said = String::from_utf8_lossy(&read.stdout).into_owned();
    assert!(said.starts_with("a.png\nbelow/größe.png\nnot-included.txt\n"), "{said}");
    assert!(said.contains("no such.png"), "{said}");
    let unpacked = std::fs::read(world.path("unpacked/below/größe.png")).expect("unpacked");
    assert_eq!(unpacked, picture(2));

    // The page sends a form, so that the browser itself saves what comes.
    let answer = form(&server, "image_names", b"[\"a.png\"]").send().await;
    assert_eq!(answer.expect("an answer").status(), 200);
}

fn form(server: &Server, field: &str, names: &[u8]) -> RequestBuilder {
    let request = server.post("/api/v1/download-zip");
    let kind = "multipart/form-data; boundary=b";
    request.header("content-type", kind).body(multipart("b", &[(field, None, names)]))
}

#[tokio::test]
async fn downloads_have_limits() {
    let world = World::new().set("DOWNLOADS__BYTES_MAX", "200").set("DOWNLOADS__PICTURES_MAX", "3");
    for number in 0..3 {
        world.write(&format!("{number}.png"), &picture(number));
    }
    let server = world.serve().await;
    server.until_counts(3, 0).await;
    let ask =
        |names: Value| server.post("/api/v1/download-zip").json(&json!({"image_names": names}));
    problem(ask(json!(["0.png", "1.png", "2.png"])), 413, "too_large").await;
    problem(ask(json!([])), 422, "invalid_request").await;
    problem(ask(json!(["0", "1", "2", "3"])), 422, "invalid_request").await;
    problem(ask(json!(["../x"])), 422, "bad_image_name").await;
    problem(ask(json!(["no such.png"])), 404, "not_found").await;
    problem(form(&server, "names", b"[]"), 422, "invalid_request").await;
    let status = ok_json(server.get("/api/v1/status").send().await.expect("an answer")).await;
    assert_eq!(status["images"]["indexed"], 3);
}
