//! A picture is shown in the file manager of the server's own machine: a program that stands in for it writes down what it gets.

use std::os::unix::fs::PermissionsExt;

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::harness::{Server, World, picture, problem};

const NAMES: [&str; 4] =
    ["-rf.png", "a folder/it's, \"quoted\" $(touch x).png", "-a/--help.png", "bücher/100%41.png"];

/// A world with a desktop, of which the given programs are all there is.
fn desktop(programs: &[(&str, &str)]) -> World {
    let world = World::new();
    let folder = world.path("programs");
    std::fs::create_dir(&folder).expect("mkdir");
    for (name, script) in programs {
        let file = folder.join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("written");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&file, executable).expect("allowed");
    }
    let told = world.path("told").display().to_string();
    let path = folder.display().to_string();
    world.variable("DISPLAY", ":0").variable("PATH", &path).variable("TOLD", &told)
}

/// Writes down each argument in a line of its own, and what it sees of our secrets.
const WRITES_DOWN: &str = "for argument; do echo \"$argument\"; done >>\"$TOLD\"\necho \"secret: $IMAGE_SEARCH_UPLOADS__API_KEY\" >>\"$TOLD\"";

fn show(server: &Server, name: &str) -> RequestBuilder {
    server.post("/api/v1/show-in-folder").json(&json!({"image_name": name}))
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.expect("an answer").status().as_u16()
}

async fn is_offered(server: &Server) -> Value {
    server.get_json("/api/v1/session").await["show_in_folder"].clone()
}

#[tokio::test]
async fn the_file_manager_gets_the_picture_whatever_it_is_called() {
    let world = desktop(&[("dbus-send", WRITES_DOWN)])
        .set("UPLOADS__ENABLED", "true")
        .set("UPLOADS__API_KEY", "not-for-file-managers");
    for (number, name) in (1..).zip(NAMES) {
        world.write(name, &picture(number));
    }
    let server = world.serve().await;
    server.until_counts(NAMES.len() as u64, 0).await;
    assert_eq!(is_offered(&server).await, true);
    for name in NAMES {
        assert_eq!(status(show(&server, name)).await, 204, "{name}");
    }
    let told = std::fs::read_to_string(world.path("told")).expect("it was called");
    let root = world.image("").canonicalize().expect("there");
    let items: Vec<&str> =
        told.lines().filter_map(|line| line.strip_prefix("array:string:file://")).collect();
    let shown: Vec<String> = items
        .iter()
        .map(|item| percent_encoding::percent_decode_str(item).decode_utf8_lossy().into_owned())
        .collect();
    assert_eq!(shown, NAMES.map(|name| root.join(name).display().to_string()));
    assert!(items.iter().all(|item| !item.contains([',', ' ', '\'', '"', '$'])), "{items:?}");
    assert!(told.contains("secret: \n") && !told.contains("not-for-file-managers"), "{told}");
}

#[tokio::test]
async fn the_folder_is_opened_where_nobody_answers_and_failures_are_told_in_words() {
    let world = desktop(&[("dbus-send", "exit 1"), ("xdg-open", WRITES_DOWN)]);
    world.write(NAMES[2], &picture(1));
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    assert_eq!(status(show(&server, NAMES[2])).await, 204);
    let folder = world.image("-a").canonicalize().expect("there").display().to_string();
    let told = std::fs::read_to_string(world.path("told")).expect("it was called");
    assert_eq!(told.lines().next(), Some(folder.as_str()));
    drop(server);

    std::fs::write(world.path("programs/xdg-open"), "#!/bin/sh\nexit 3\n").expect("written");
    let server = world.serve().await;
    let failed = problem(show(&server, NAMES[2]), 503, "file_manager_failed").await;
    let detail = failed["detail"].as_str().expect("words");
    assert!(detail.contains("xdg-open: it ended with 3"), "{detail}");
}

#[tokio::test]
async fn only_who_sits_at_the_machine_is_shown_anything() {
    let world = desktop(&[("dbus-send", WRITES_DOWN)])
        .set("SERVER__TRUSTED_PROXIES", "127.0.0.1")
        .set("SERVER__HOSTS", "photos.example");
    world.write("a.png", &picture(1));
    std::os::unix::fs::symlink("/etc/hostname", world.image("link.png")).expect("linked");
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    for (header, value, code) in [
        ("x-forwarded-for", "192.168.1.7", "not_on_this_machine"),
        ("x-forwarded-for", "127.0.0.1", "not_on_this_machine"),
        ("forwarded", "for=127.0.0.1", "not_on_this_machine"),
        ("via", "1.1 proxy", "not_on_this_machine"),
        ("host", "photos.example", "not_on_this_machine"),
        ("origin", "https://evil.example", "cross_site_request"),
        ("origin", "null", "cross_site_request"),
        ("sec-fetch-site", "cross-site", "cross_site_request"),
        ("sec-fetch-site", "same-site", "cross_site_request"),
    ] {
        problem(show(&server, "a.png").header(header, value), 403, code).await;
    }
    let through = server.get("/api/v1/session").header("x-forwarded-for", "192.168.1.7");
    let through: Value = through.send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(through["show_in_folder"], false);
    problem(show(&server, "../../etc/hostname"), 422, "bad_image_name").await;
    problem(show(&server, "/etc/hostname"), 422, "bad_image_name").await;
    for name in ["link.png", "b.png"] {
        problem(show(&server, name), 404, "not_found").await;
    }
    // It is known, and a link by now.
    std::fs::remove_file(world.image("a.png")).expect("removed");
    std::os::unix::fs::symlink("/etc/hostname", world.image("a.png")).expect("linked");
    assert_eq!(status(show(&server, "a.png")).await, 404);
    assert!(!world.path("told").exists(), "somebody was shown something");
}

#[tokio::test]
async fn without_a_desktop_or_if_it_is_switched_off_nothing_is_offered() {
    let off = desktop(&[("dbus-send", WRITES_DOWN)]).set("SERVER__SHOW_IN_FOLDER", "false");
    let headless = desktop(&[("dbus-send", WRITES_DOWN)]).variable("DISPLAY", "");
    let bare = desktop(&[]);
    for world in [off, headless, bare] {
        let server = world.serve().await;
        assert_eq!(is_offered(&server).await, false);
        problem(show(&server, "a.png"), 404, "no_file_manager").await;
    }
}
