//! The program on a Qdrant server that misbehaves: a stand-in server behind a proxy with faults. Nothing is lost, nothing is
//! doubled, users get a clear answer in time, and operators are told which part is wrong and what to do.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use qdrant_double::{Double, Mode, State};
use serde_json::{Value, json};

use crate::fault_proxy::{FaultProxy, Weather};
use crate::harness::{Server, World, picture, problem};

pub(crate) const KEY: &str = "the-key-of-these-tests";
pub(crate) const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
pub(crate) const PICTURES: u32 = 120;

/// A stand-in server behind a proxy, and a world that uses it.
pub(crate) struct OnQdrant {
    pub(crate) state: State,
    pub(crate) double: Double,
    pub(crate) proxy: FaultProxy,
    pub(crate) world: World,
    _dir: tempfile::TempDir,
}

pub(crate) async fn on_qdrant() -> OnQdrant {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let state = State::new(dir.path(), Some(KEY)).expect("a stand-in");
    let double = Double::start(ANY_PORT, state.clone()).await.expect("it listens");
    let proxy = FaultProxy::start(double.address).await;
    let world = World::new()
        .set("VECTOR_STORE", &proxy.url())
        .set("VECTOR_STORE__API_KEY", KEY)
        .set("VECTOR_STORE__QDRANT__READ_TIMEOUT_MS", "1500")
        .set("VECTOR_STORE__QDRANT__WRITE_TIMEOUT_MS", "3000")
        .set("VECTOR_STORE__QDRANT__CONNECT_TIMEOUT_MS", "500")
        .set("EMBED__BATCH_MAX", "4")
        .set("INGEST__IN_FLIGHT_MAX", "8");
    OnQdrant { state, double, proxy, world, _dir: dir }
}

impl OnQdrant {
    pub(crate) fn add_pictures(&self) {
        for number in 0..PICTURES {
            self.world.write(&format!("{number}.png"), &picture(number));
        }
    }

    /// Every picture exactly once: in the catalog, in the store, in the answers.
    pub(crate) async fn assert_complete(&self, server: &Server) {
        self.assert_complete_beside(server, 0).await;
    }

    /// The same on a server that also holds so many pictures of others.
    pub(crate) async fn assert_complete_beside(&self, server: &Server, others: usize) {
        let status = server.until_counts(u64::from(PICTURES), 0).await;
        assert_eq!(
            (&status["store"]["kind"], &status["store"]["vectors"]),
            (&json!("qdrant"), &json!(PICTURES))
        );
        assert_eq!(self.state.points().await.expect("it counts"), PICTURES as usize + others);
        let mut names = server.names("a dog", 200).await;
        names.sort();
        names.dedup();
        assert_eq!(names.len(), PICTURES as usize);
    }
}

pub(crate) async fn readiness(server: &Server) -> Value {
    server.get("/readyz").send().await.expect("an answer").json().await.expect("JSON")
}

pub(crate) async fn until_store_is_wrong(server: &Server, words: &str) {
    server
        .until(&format!("readyz says {words}"), async || {
            let store = readiness(server).await["store"].clone();
            (store["ok"] == false && store["detail"].as_str()?.contains(words)).then_some(())
        })
        .await;
}

pub(crate) async fn until_some_are_indexed(server: &Server) {
    server
        .until("some pictures", async || {
            (server.get_json("/api/v1/status").await["images"]["indexed"].as_u64()? > 10)
                .then_some(())
        })
        .await;
}

pub(crate) async fn assert_search_is_refused_in_time(server: &Server) {
    // The search deadline is 10 s; the store's own 1.5 s. A test runner may be slow, but not that slow.
    let query = server
        .post("/api/v1/search-image")
        .json(&json!({"text": "a dog"}))
        .timeout(Duration::from_secs(20));
    let refused = problem(query, 503, "store_unavailable").await;
    assert!(!refused.to_string().contains("127.0.0.1"), "internals leak: {refused}");
}

pub(crate) fn told(world: &World, command: &str) -> String {
    let output = tokio::task::block_in_place(|| world.run(command, &[]));
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_at_start_is_waited_for() {
    let site = on_qdrant().await;
    site.add_pictures();
    site.proxy.set(Weather::Reset);
    let server = site.world.start();
    until_store_is_wrong(&server, &site.proxy.address.to_string()).await;
    assert!(server.get("/healthz").send().await.expect("an answer").status().is_success());
    let waits = async || {
        (server.get_json("/api/v1/status").await["model"]["state"] == "waiting").then_some(())
    };
    server.until("the model is loaded and waits", waits).await;
    assert_search_is_refused_in_time(&server).await;
    assert!(
        told(&site.world, "status").contains("cannot be used (qdrant)"),
        "{}",
        told(&site.world, "status")
    );
    let doctor = told(&site.world, "doctor");
    assert!(
        doctor.contains("store:") && doctor.contains(&site.proxy.address.to_string()),
        "{doctor}"
    );
    site.proxy.set(Weather::Fair);
    server.until_ready().await;
    site.assert_complete(&server).await;
    assert!(!server.log_text().contains(KEY));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_when_connections_fail_during_indexing() {
    let site = on_qdrant().await;
    site.add_pictures();
    let server = site.world.serve().await;
    until_some_are_indexed(&server).await;
    for weather in [Weather::Reset, Weather::HalfClosed, Weather::Silent] {
        site.proxy.set(weather);
        assert_search_is_refused_in_time(&server).await;
        until_store_is_wrong(&server, "Qdrant server").await;
        site.proxy.set(Weather::Fair);
        server.until_ready().await;
    }
    site.proxy.set(Weather::Slow(Duration::from_millis(40)));
    assert_eq!(server.names("a dog", 3).await.len(), 3, "slow is not away");
    site.proxy.set(Weather::Fair);
    site.assert_complete(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_restarted_is_found_again() {
    let mut site = on_qdrant().await;
    site.add_pictures();
    let server = site.world.serve().await;
    until_some_are_indexed(&server).await;
    let address = site.double.address;
    let state = site.double.stop().await;
    until_store_is_wrong(&server, "Qdrant server").await;
    site.double = Double::start(address, state).await.expect("it listens again");
    server.until_ready().await;
    site.assert_complete(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_no_writes_pauses_indexing_and_still_answers() {
    for (mode, words) in
        [(Mode::ReadOnly, "read and write access"), (Mode::DiskFull, "free some space")]
    {
        let site = on_qdrant().await;
        site.add_pictures();
        let server = site.world.serve().await;
        until_some_are_indexed(&server).await;
        site.state.set_mode(mode);
        server
            .until("indexing pauses with the reason", async || {
                let ingest = server.get_json("/api/v1/status").await["ingest"].clone();
                (ingest["state"] == "paused" && ingest["message"].as_str()?.contains(words))
                    .then_some(())
            })
            .await;
        assert!(!server.names("a dog", 3).await.is_empty(), "what is there is still found");
        assert!(told(&site.world, "status").contains(words), "{}", told(&site.world, "status"));
        site.state.set_mode(Mode::Normal);
        site.assert_complete(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_and_a_foreign_collection_say_what_to_do() {
    let site = on_qdrant().await;
    site.add_pictures();
    let wrong = World::new()
        .set("VECTOR_STORE", &site.proxy.url())
        .set("VECTOR_STORE__API_KEY", "wrong-and-secret");
    let server = wrong.start();
    until_store_is_wrong(&server, "check the API key").await;
    assert!(told(&wrong, "doctor").contains("check the API key"));
    assert!(!server.log_text().contains("wrong-and-secret"));
    drop(server);

    let server = site.world.serve().await;
    site.assert_complete(&server).await;
    let name = server.get_json("/api/v1/status").await["store"]["collection"]
        .as_str()
        .expect("a name")
        .to_owned();
    assert!(server.terminate().await.success());
    let other = tempfile::tempdir().expect("a temporary folder");
    let double = Double::start(ANY_PORT, State::new(other.path(), None).expect("a stand-in"))
        .await
        .expect("it listens");
    let client = qdrant_client::Qdrant::from_url(&double.url())
        .skip_compatibility_check()
        .build()
        .expect("a client");
    let params =
        qdrant_client::qdrant::VectorParamsBuilder::new(7, qdrant_client::qdrant::Distance::Cosine);
    let request =
        qdrant_client::qdrant::CreateCollectionBuilder::new(format!("image-search-{name}"))
            .vectors_config(params);
    client.create_collection(request).await.expect("created");
    let foreign = World::new()
        .set("VECTOR_STORE__URL", &format!("qdrant+{}", double.url()))
        .set("VECTOR_STORE__QDRANT__COLLECTION_PREFIX", "image-search-");
    let mut command = foreign.command("serve");
    command.args(["--port", "0"]);
    let ended = tokio::task::spawn_blocking(move || command.output().expect("it starts"))
        .await
        .expect("it ends");
    let message = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(
        !ended.status.success()
            && message.contains("7 dimensions")
            && message.contains("collection_prefix"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_moves_to_a_server_and_back_without_a_new_embedding() {
    let site = on_qdrant().await;
    let world = World::new();
    for number in 0..PICTURES {
        world.write(&format!("{number}.png"), &picture(number));
    }
    let server = world.serve().await;
    server.until_counts(u64::from(PICTURES), 0).await;
    let before = server.search(json!({"text": "a dog", "limit": 50})).await["matches"].clone();
    let busy = tokio::task::block_in_place(|| {
        world.run("store", &["copy", "embedded", &site.proxy.url()])
    });
    assert!(
        !busy.status.success() && String::from_utf8_lossy(&busy.stderr).contains("API key"),
        "{busy:?}"
    );
    assert!(server.terminate().await.success());

    let world = world.set("VECTOR_STORE__API_KEY", KEY);
    // The first try is cut short; the second goes on.
    site.state.set_mode(Mode::DiskFull);
    let failed = tokio::task::block_in_place(|| {
        world.run("store", &["copy", "embedded", &site.proxy.url()])
    });
    let message = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success() && message.contains("run it again"), "{message}");
    site.state.set_mode(Mode::Normal);
    let copied = tokio::task::block_in_place(|| {
        world.run("store", &["copy", "embedded", &site.proxy.url()])
    });
    let message = String::from_utf8_lossy(&copied.stdout).into_owned();
    assert!(
        copied.status.success() && message.contains(&format!("{PICTURES} vectors")),
        "{copied:?}"
    );

    let world = world.set("VECTOR_STORE__URL", &site.proxy.url());
    let server = world.serve().await;
    let status = server.until_counts(u64::from(PICTURES), 0).await;
    assert_eq!(
        (&status["store"]["kind"], &status["store"]["vectors"]),
        (&json!("qdrant"), &json!(PICTURES))
    );
    let after = server.search(json!({"text": "a dog", "limit": 50})).await["matches"].clone();
    let names = |matches: &Value| {
        matches
            .as_array()
            .expect("a list")
            .iter()
            .map(|found| found["image_name"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&before), names(&after));
    let metrics =
        server.get("/metrics").send().await.expect("an answer").text().await.expect("a text");
    assert!(
        metrics.contains("image_search_images_indexed_total 0\n"),
        "pictures were indexed again: {metrics}"
    );
    assert!(server.terminate().await.success());

    let empty = world.path("elsewhere").display().to_string();
    let back = tokio::task::block_in_place(|| {
        world.run("store", &["copy", &site.proxy.url(), &format!("embedded:{empty}")])
    });
    assert!(
        back.status.success()
            && String::from_utf8_lossy(&back.stdout).contains(&format!("{PICTURES} sent now")),
        "{back:?}"
    );
}
