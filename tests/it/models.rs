//! Models by name, against a stand-in hub with faults: download, resume, verify, cache, and what users are told meanwhile.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::harness::{Server, World, picture, problem, repository};
use crate::hub::{COMMIT, Fault, StandInHub};

/// The model under test, and where the hub has it.
pub(crate) const MODEL: &str = "ViT-B-32__openai";
const REPOSITORY: &str = "immich-app/ViT-B-32__openai";
const VISUAL: &str = "/cdn/visual/model.onnx";

/// A small model in the layout of the full-size one.
pub(crate) fn small_model() -> PathBuf {
    repository().join("crates/clip/tests/golden/openclip")
}

pub(crate) async fn hub() -> StandInHub {
    StandInHub::start(REPOSITORY, &small_model()).await
}

/// A world that knows the hub, with short pauses.
pub(crate) fn world_with(hub: &StandInHub) -> World {
    let world = World::new();
    let home = world.path("hf").display().to_string();
    world
        .variable("HF_ENDPOINT", &hub.url)
        .variable("HF_HOME", &home)
        .set("MODELS__RETRY_DELAY_MS", "10")
        .set("MODELS__STALL_TIMEOUT_MS", "700")
        .set("MODELS__FILES_AT_ONCE", "2")
}

/// Runs `model …` without holding up the hub, which lives on this thread's runtime.
pub(crate) async fn model(world: &World, arguments: &[&str]) -> Output {
    let mut command = world.command("model");
    command.args(arguments);
    finished(command).await
}

async fn finished(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().expect("the program starts"))
        .await
        .expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn snapshot(world: &World) -> PathBuf {
    world.path("hf/hub/models--immich-app--ViT-B-32__openai/snapshots").join(COMMIT)
}

fn assert_whole(world: &World, hub: &StandInHub) {
    for (name, bytes) in hub.files() {
        let path = snapshot(world).join(name);
        if !["config.json", "visual/", "textual/"].iter().any(|needed| name.starts_with(needed)) {
            continue;
        }
        assert!(
            std::fs::read(&path).is_ok_and(|there| there == *bytes),
            "{} is not as on the hub",
            path.display()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_pulled_found_verified_and_removed() {
    let hub = hub().await;
    let world = world_with(&hub).variable("HF_TOKEN", "hf_sesame");
    let listed = model(&world, &["list"]).await;
    assert!(text(&listed.stdout).contains("-     ViT-B-32__openai"), "{}", text(&listed.stdout));
    let absent = model(&world, &["path", MODEL]).await;
    assert!(
        !absent.status.success() && text(&absent.stderr).contains("model pull"),
        "{}",
        text(&absent.stderr)
    );

    let pulled = model(&world, &["pull", MODEL]).await;
    assert!(pulled.status.success(), "{}", text(&pulled.stderr));
    assert!(text(&pulled.stdout).contains(COMMIT) && !text(&pulled.stderr).contains("hf_sesame"));
    assert_whole(&world, &hub);
    let path = model(&world, &["path", MODEL]).await;
    assert_eq!(text(&path.stdout).trim(), snapshot(&world).display().to_string());
    let listed = model(&world, &["list"]).await;
    assert!(text(&listed.stdout).contains("here  ViT-B-32__openai"), "{}", text(&listed.stdout));

    // The token goes to the hub alone, and nothing that is not needed is asked for.
    let asked = hub.asked();
    let token = Some("Bearer hf_sesame");
    assert!(
        asked
            .iter()
            .all(|asked| (asked.authorization.as_deref() == token)
                != asked.path.starts_with("/cdn/")),
        "{asked:?}"
    );
    assert!(!asked.iter().any(|asked| asked.path.contains("README")));
    hub.forget_asked();
    assert!(model(&world, &["pull", MODEL]).await.status.success());
    assert!(hub.asked().is_empty(), "a model that is here was asked for: {:?}", hub.asked());

    assert!(model(&world, &["verify"]).await.status.success());
    let damaged = snapshot(&world).join("visual/model.onnx");
    let mut bytes = std::fs::read(&damaged).expect("read");
    bytes[1000] ^= 1;
    std::fs::write(&damaged, bytes).expect("written");
    let verified = model(&world, &["verify", MODEL]).await;
    assert!(
        !verified.status.success() && text(&verified.stdout).contains("visual/model.onnx"),
        "{}",
        text(&verified.stdout)
    );

    assert!(model(&world, &["remove", MODEL]).await.status.success());
    assert!(!snapshot(&world).exists());
    assert!(!model(&world, &["path", MODEL]).await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_another_program_is_used_and_verified_with_the_hub() {
    let hub = hub().await;
    let world = world_with(&hub);
    // Others keep the bytes in blobs/ and link to them.
    let (blobs, refs) = (
        world.path("hf/hub/models--immich-app--ViT-B-32__openai/blobs"),
        world.path("hf/hub/models--immich-app--ViT-B-32__openai/refs"),
    );
    for folder in [&blobs, &refs] {
        std::fs::create_dir_all(folder).expect("mkdir");
    }
    for (number, (name, bytes)) in hub.files().iter().enumerate() {
        let (blob, link) = (blobs.join(number.to_string()), snapshot(&world).join(name));
        std::fs::write(&blob, bytes).expect("written");
        std::fs::create_dir_all(link.parent().expect("a parent")).expect("mkdir");
        std::os::unix::fs::symlink(blob, link).expect("linked");
    }
    std::fs::write(refs.join("main"), COMMIT).expect("written");
    assert!(model(&world, &["pull", MODEL]).await.status.success());
    assert!(hub.asked().is_empty(), "{:?}", hub.asked());
    let verified = model(&world, &["verify", MODEL]).await;
    assert!(verified.status.success(), "{}{}", text(&verified.stdout), text(&verified.stderr));
    assert!(hub.reads().is_empty(), "verifying needs the facts, not the bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn passing_faults_are_outlived_and_nothing_is_read_twice() {
    let hub = hub().await;
    let world = world_with(&hub);
    hub.fault("/revision/main", Fault::Status(500, vec![]));
    hub.fault("/revision/main", Fault::Status(429, vec![("retry-after", "1".to_owned())]));
    hub.fault("/config.json", Fault::Status(503, vec![]));
    hub.fault(VISUAL, Fault::Stall(20_000));
    hub.fault(VISUAL, Fault::Cut(10_000));
    hub.fault(VISUAL, Fault::Status(502, vec![]));
    let pulled = model(&world, &["pull", MODEL]).await;
    assert!(pulled.status.success(), "{}", text(&pulled.stderr));
    assert_whole(&world, &hub);
    let reads: Vec<_> = hub.reads().into_iter().filter(|read| read.path == VISUAL).collect();
    assert_eq!(reads.len(), 4, "{reads:?}");
    let starts: Vec<u64> = reads.iter().map(|read| start_of(read.range.as_deref())).collect();
    // How much of what was sent before a cut arrives is up to the network; what arrived is never asked for again.
    assert!(
        starts[0] == 0 && starts[1] >= 20_000 && starts[2] >= starts[1] && starts[3] == starts[2],
        "{starts:?}"
    );
}

fn start_of(range: Option<&str>) -> u64 {
    range.map_or(0, |range| {
        range.trim_start_matches("bytes=").trim_end_matches('-').parse().expect("a number")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_ignores_ranges_only_costs_time() {
    let hub = hub().await;
    let world = world_with(&hub);
    hub.fault(VISUAL, Fault::Cut(30_000));
    hub.fault(VISUAL, Fault::IgnoreRange);
    assert!(model(&world, &["pull", MODEL]).await.status.success());
    assert_whole(&world, &hub);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_are_fetched_again_and_never_kept() {
    let hub = hub().await;
    let world = world_with(&hub);
    hub.fault(VISUAL, Fault::Garble);
    assert!(model(&world, &["pull", MODEL]).await.status.success(), "once is outlived");
    assert_whole(&world, &hub);
    model(&world, &["remove", MODEL]).await;
    hub.fault(VISUAL, Fault::Garble);
    hub.fault(VISUAL, Fault::Garble);
    let refused = model(&world, &["pull", MODEL]).await;
    let told = text(&refused.stderr);
    assert!(
        !refused.status.success()
            && told.contains("checksum")
            && told.contains("visual/model.onnx"),
        "{told}"
    );
    assert!(!snapshot(&world).exists());
    assert!(model(&world, &["pull", MODEL]).await.status.success());
    assert_whole(&world, &hub);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_pass_says_what_to_do() {
    let hub = hub().await;
    let world = world_with(&hub);
    for (status, words) in [
        (401, "HF_TOKEN"),
        (403, "Accept its conditions"),
        (404, "revision main"),
        (418, "answered strangely"),
    ] {
        hub.fault("/revision/main", Fault::Status(status, vec![]));
        let refused = model(&world, &["pull", MODEL]).await;
        let told = text(&refused.stderr);
        assert!(
            !refused.status.success() && told.contains(words) && told.contains(&hub.url),
            "{status}: {told}"
        );
    }
    for _ in 0..5 {
        hub.fault("/revision/main", Fault::Status(503, vec![]));
    }
    let refused = model(&world, &["pull", MODEL]).await;
    assert!(
        !refused.status.success() && text(&refused.stderr).contains("503"),
        "{}",
        text(&refused.stderr)
    );
    let unknown = model(&world, &["pull", "ViT-Z-99"]).await;
    assert!(
        !unknown.status.success() && text(&unknown.stderr).contains("model list"),
        "{}",
        text(&unknown.stderr)
    );
    let world = world_with(&hub).set("MODELS__DOWNLOAD_BYTES_MAX", "1000");
    let refused = model(&world, &["pull", MODEL]).await;
    assert!(
        !refused.status.success() && text(&refused.stderr).contains("models.download_bytes_max"),
        "{}",
        text(&refused.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_variables_are_used() {
    let hub = hub().await;
    // The stand-in answers what is asked of a proxy as well: the name of the hub is known to nobody else.
    let world = world_with(&hub)
        .variable("HF_ENDPOINT", "http://hub.invalid")
        .variable("http_proxy", &hub.url);
    let pulled = model(&world, &["pull", MODEL]).await;
    assert!(pulled.status.success(), "{}", text(&pulled.stderr));
    assert_whole(&world, &hub);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_cannot_be_written_is_named() {
    let hub = hub().await;
    // Nobody can make folders there, not even root.
    let world = world_with(&hub).set("MODELS__CACHE_DIR", "/sys/models-of-image-search");
    let refused = model(&world, &["pull", MODEL]).await;
    let told = text(&refused.stderr);
    assert!(
        !refused.status.success()
            && told.contains("/sys/models-of-image-search")
            && told.contains("models.cache_dir"),
        "{told}"
    );
    // With a substitute it is no reason not to start.
    let (_world, server) = world_with(&hub)
        .set("MODELS__CACHE_DIR", "/sys/models-of-image-search")
        .model("auto")
        .serve_alone()
        .await;
    let banner = server.get_json("/api/v1/status").await["model"]["banner"].clone();
    assert!(banner.as_str().is_some_and(|banner| banner.contains("cannot be written")), "{banner}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_keeps_what_is_there() {
    let hub = hub().await;
    let world = world_with(&hub);
    // A quota on the size of files, in units of 512 or 1024 bytes; its signal is ignored, so that writing fails instead.
    let program = world.command("model");
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\""])
        .arg(program.get_program())
        .args(program.get_args())
        .args(["pull", MODEL]);
    limited.env_clear().envs(program.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let refused = finished(limited).await;
    let told = text(&refused.stderr);
    assert!(
        !refused.status.success()
            && told.contains("not enough space")
            && told.contains("models.cache_dir"),
        "{told}"
    );
    hub.forget_asked();
    assert!(model(&world, &["pull", MODEL]).await.status.success());
    assert_whole(&world, &hub);
    assert!(
        hub.reads().iter().any(|read| start_of(read.range.as_deref()) > 0),
        "it began anew: {:?}",
        hub.reads()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_downloaders_are_one_and_a_killed_one_is_continued() {
    let hub = hub().await;
    let world = world_with(&hub).set("MODELS__STALL_TIMEOUT_MS", "60000");
    hub.let_through(false);
    let mut pull = world.command("model");
    let mut child = pull
        .args(["pull", MODEL])
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("started");
    let half = hub.files()["visual/model.onnx"].len() as u64 / 2;
    let part = snapshot(&world)
        .with_file_name(format!(".partial-{COMMIT}"))
        .join("visual/model.onnx.part");
    wait_until("half of the file", || {
        std::fs::metadata(&part).is_ok_and(|part| part.len() >= half)
    })
    .await;
    child.kill().expect("killed");
    child.wait().expect("waited");
    hub.forget_asked();
    hub.let_through(true);
    let (one, two) = tokio::join!(model(&world, &["pull", MODEL]), model(&world, &["pull", MODEL]));
    assert!(
        one.status.success() && two.status.success(),
        "{}{}",
        text(&one.stderr),
        text(&two.stderr)
    );
    assert_whole(&world, &hub);
    let reads: Vec<_> = hub.reads().into_iter().filter(|read| read.path == VISUAL).collect();
    assert_eq!(reads.len(), 1, "both downloaded: {reads:?}");
    assert!(start_of(reads[0].range.as_deref()) >= half, "it began anew: {reads:?}");
}

async fn wait_until(what: &str, look: impl Fn() -> bool) {
    let waiting = async {
        while !look() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), waiting)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_answers_while_it_downloads_and_says_how_far_it_is() {
    let hub = hub().await;
    let world = world_with(&hub).model(MODEL).set("MODELS__STALL_TIMEOUT_MS", "60000");
    world.write("a.png", &picture(1));
    hub.let_through(false);
    let server = world.start();
    let status = server
        .until("a download under way", async || {
            let status = server.get_json("/api/v1/status").await;
            (status["model"]["state"] == "downloading" && status["model"]["percent"].as_u64()? > 10)
                .then_some(status)
        })
        .await;
    assert!(
        status["model"]["percent"].as_u64().expect("a number") < 100
            && status["model"]["name"] == MODEL
    );
    for path in ["/healthz", "/"] {
        assert!(server.get(path).send().await.expect("an answer").status().is_success(), "{path}");
    }
    let refused = problem(
        server.post("/api/v1/search-image").json(&json!({"text": "tennis"})),
        503,
        "model_not_ready",
    )
    .await;
    assert!(refused["detail"].as_str().expect("a text").contains('%'), "{refused}");
    let ready = server.get("/readyz").send().await.expect("an answer");
    assert_eq!(ready.status().as_u16(), 503);
    let ready: Value = ready.json().await.expect("JSON");
    assert!(ready["model"]["detail"].as_str().expect("a text").contains(MODEL), "{ready}");
    hub.let_through(true);
    server.until_ready().await;
    let status = server.until_counts(1, 0).await;
    assert_eq!(
        (&status["model"]["name"], &status["model"]["revision"]),
        (&json!(MODEL), &json!(COMMIT))
    );
    let answer = server.search(json!({"text": "tennis"})).await;
    assert_eq!(
        (&answer["model_name"], &answer["matches"][0]["image_name"]),
        (&json!("CLIP"), &json!("a.png"))
    );
    assert!(!server.log_text().contains("panicked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_model_is_strict() {
    let hub = hub().await;
    let world = world_with(&hub).model(MODEL).variable("HF_HUB_OFFLINE", "1");
    let ended = finished_server(&world).await;
    assert!(
        !ended.status.success() && text(&ended.stderr).contains("downloads are off"),
        "{}",
        text(&ended.stderr)
    );
    for _ in 0..5 {
        hub.fault("/revision/main", Fault::Status(503, vec![]));
    }
    let ended = finished_server(&world_with(&hub).model(MODEL)).await;
    assert!(
        !ended.status.success() && text(&ended.stderr).contains("cannot be used"),
        "{}",
        text(&ended.stderr)
    );
    // Once it is here, no network is needed.
    let world = world_with(&hub).model(MODEL);
    assert!(model(&world, &["pull", MODEL]).await.status.success());
    let world = world.variable("HF_HUB_OFFLINE", "1");
    let server = world.serve().await;
    assert_eq!(server.get_json("/api/v1/status").await["model"]["name"], MODEL);
}

async fn finished_server(world: &World) -> Output {
    let mut command = world.command("serve");
    command.args(["--port", "0"]);
    finished(command).await
}

const NO_NOTE: &str = r#"<html data-note="none" lang="#;

async fn page(server: &Server) -> String {
    server.get("/").send().await.expect("an answer").text().await.expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_without_a_network_works_and_says_why_it_is_not_clip_until_clip_arrives() {
    let hub = hub().await;
    let world = world_with(&hub).model("auto").variable("HF_HUB_OFFLINE", "1");
    for number in 0..20 {
        world.write(&format!("{number}.png"), &picture(number));
    }
    let server = world.serve().await;
    let status = server.until_counts(20, 0).await;
    let banner = status["model"]["banner"].as_str().expect("a banner");
    assert!(banner.contains("not CLIP") && banner.contains("model pull"), "{banner}");
    assert!(!page(&server).await.contains(NO_NOTE), "a place is kept for the note");
    assert!(server.log_text().contains("This is not CLIP"), "the log is silent");
    assert_eq!(
        (&status["model"]["name"], server.names("a dog", 20).await.len()),
        (&json!("emoji-clip"), 20)
    );
    let doctor = tokio::task::block_in_place(|| world.run("doctor", &[]));
    assert!(text(&doctor.stdout).contains("not CLIP"), "{}", text(&doctor.stdout));

    // Somebody brings the model.
    let bringing = world_with(&hub).variable("HF_HOME", &world.path("hf").display().to_string());
    assert!(model(&bringing, &["pull", MODEL]).await.status.success());
    until_answering(&server, MODEL).await;
    let status = server.until_counts(20, 0).await;
    assert!(status["model"]["banner"].is_null() && status["model"]["next"].is_null(), "{status}");
    assert!(page(&server).await.contains(NO_NOTE), "no place is kept for a note that never comes");
    assert_eq!(
        (&status["store"]["vectors"], server.names("a dog", 20).await.len()),
        (&json!(20), 20)
    );
    assert!(server.terminate().await.success());
    let server = world.serve().await;
    assert_eq!(
        server.get_json("/api/v1/status").await["model"]["name"],
        MODEL,
        "a restart forgot it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_downloads_in_the_background_when_the_hub_comes_back() {
    let hub = hub().await;
    for _ in 0..3 {
        hub.fault("/revision/main", Fault::Status(503, vec![]));
    }
    let world = world_with(&hub)
        .model("auto")
        .set("MODELS__ATTEMPTS_MAX", "3")
        .set("MODELS__AUTO_RETRY_INTERVAL_MS", "600");
    world.write("a.png", &picture(1));
    let server = world.serve().await;
    until_answering(&server, MODEL).await;
    server.until_counts(1, 0).await;
    assert!(server.log_text().contains("This is not CLIP"), "it never stood in");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_model_is_put_away_only_when_configured_and_comes_back_by_itself() {
    let world = World::new()
        .set("EMBED__UNLOAD_AFTER_IDLE_MS", "300")
        .set("EMBED__QUERY_CACHE_ENTRIES", "1");
    world.write("a.png", &picture(1));
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    let before = server.search(json!({"text": "tennis"})).await;
    server
        .until("the model is put away", async || {
            server.log_text().contains("its memory is given back").then_some(())
        })
        .await;
    // Another query in between, so that the answer is no remembered one.
    server.search(json!({"text": "a dog"})).await;
    assert!(server.log_text().contains("the model is loaded again"));
    let after = server.search(json!({"text": "tennis"})).await;
    assert_eq!(before["matches"], after["matches"]);
}

/// Waits until this model answers and no other is on its way.
pub(crate) async fn until_answering(server: &Server, name: &str) {
    server
        .until(&format!("{name} answers"), async || {
            let model = server.get_json("/api/v1/status").await["model"].clone();
            (model["name"] == name && model["next"].is_null()).then_some(())
        })
        .await;
}
