//! The vector store is the truth about the store: what was lost, restored from a snapshot, is written by somebody else, or
//! may only be read, is noticed while the program runs and when it starts, and is mended or refused with advice.

use std::time::Duration;

use qdrant_double::{Double, Mode};
use serde_json::{Value, json};

use crate::fault_proxy::Weather;
use crate::harness::{Server, World, copy_folder, picture, problem, run};
use crate::qdrant::{
    KEY, PICTURES, assert_search_is_refused_in_time, on_qdrant, told, until_some_are_indexed,
    until_store_is_wrong,
};

async fn status(server: &Server) -> Value {
    server.get_json("/api/v1/status").await
}

/// Each of these is found, and nothing else.
async fn assert_found(server: &Server, numbers: impl Iterator<Item = u32>) {
    let mut wanted: Vec<String> = numbers.map(|number| format!("{number}.png")).collect();
    wanted.sort();
    server
        .until("every picture is found, and nothing else", async || {
            let mut names = server.names("a dog", 200).await;
            names.sort();
            (names == wanted).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_is_deleted_while_serving_is_told_made_again_and_filled() {
    let site = on_qdrant().await;
    site.add_pictures();
    let server = site.world.serve().await;
    site.assert_complete(&server).await;
    // So that it cannot be made again before it is missed.
    site.state.set_mode(Mode::ReadOnly);
    site.state.lose_everything().await.expect("lost");
    until_store_is_wrong(&server, "collection").await;
    assert_search_is_refused_in_time(&server).await;
    let doctor = told(&site.world, "doctor");
    assert!(!doctor.contains("All is well") && doctor.contains("collection"), "{doctor}");
    site.state.set_mode(Mode::Normal);
    server.until_ready().await;
    site.assert_complete(&server).await;
    drop(server);
    let server = site.world.serve().await;
    site.assert_complete(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_with_an_empty_volume_is_filled_again() {
    let mut site = on_qdrant().await;
    site.add_pictures();
    let server = site.world.serve().await;
    site.assert_complete(&server).await;
    let address = site.double.address;
    let state = site.double.stop().await;
    until_store_is_wrong(&server, "Qdrant server").await;
    state.lose_everything().await.expect("lost");
    site.double = Double::start(address, state).await.expect("it listens again");
    server.until_ready().await;
    site.assert_complete(&server).await;
}

/// How many vectors the log says were removed, which it says at the end of such a write.
fn removed(server: &Server) -> u64 {
    let log = server.log_text();
    let lines = log.lines().filter(|line| line.contains("removed vectors of pictures"));
    let counts =
        lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()?["vectors"].as_u64());
    counts.sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_with_as_many_vectors_is_noticed_while_serving_and_at_the_start() {
    const CHANGED: u32 = 20;
    let site = on_qdrant().await;
    let world =
        site.world.set("INGEST__ORPHAN_GRACE_MS", "0").set("INGEST__FORGET_AFTER_DAYS", "0");
    for number in 0..PICTURES {
        world.write(&format!("{number}.png"), &picture(number));
    }
    let server = world.serve().await;
    server.until_counts(u64::from(PICTURES), 0).await;
    let snapshot = site.state.snapshot().await.expect("taken");
    for number in 0..CHANGED {
        std::fs::remove_file(world.image(&format!("{number}.png"))).expect("removed");
        world.write(&format!("{}.png", PICTURES + number), &picture(PICTURES + number));
    }
    let now = || CHANGED..PICTURES + CHANGED;
    assert_found(&server, now()).await;
    server
        .until("the vectors of removed pictures are gone, and marked as gone", async || {
            let points = site.state.points().await.ok()?;
            (points == PICTURES as usize && removed(&server) == u64::from(CHANGED)).then_some(())
        })
        .await;

    site.state.restore(&snapshot).await.expect("restored");
    assert_found(&server, now()).await;
    server.until_counts(u64::from(PICTURES), 0).await;
    assert_eq!(status(&server).await["store"]["vectors"], json!(PICTURES));
    assert!(server.terminate().await.success());

    site.state.restore(&snapshot).await.expect("restored once more");
    let (output, text) = run(&world, "store", &["verify"]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains(&format!("{CHANGED} are missing, {CHANGED} others are unknown"))
            && text.contains("store verify --repair"),
        "{text}"
    );
    let server = world.serve().await;
    assert_found(&server, now()).await;
    server.until_counts(u64::from(PICTURES), 0).await;
    assert!(server.terminate().await.success());
    let (output, text) = run(&world, "store", &["verify"]);
    assert!(output.status.success() && text.contains("as they shall be"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_repairs_an_embedded_store_too() {
    let world = World::new();
    for number in 0..8 {
        world.write(&format!("{number}.png"), &picture(number));
    }
    assert!(run(&world, "index", &[]).0.status.success());
    let (vectors, copy) = (world.path("data/vectors"), world.path("copy"));
    copy_folder(&vectors, &copy);
    for number in 0..3 {
        std::fs::remove_file(world.image(&format!("{number}.png"))).expect("removed");
        world.write(&format!("{}.png", 8 + number), &picture(8 + number));
    }
    let world = world.set("INGEST__ORPHAN_GRACE_MS", "0").set("INGEST__FORGET_AFTER_DAYS", "0");
    assert!(run(&world, "index", &[]).0.status.success());
    std::fs::remove_dir_all(&vectors).expect("removed");
    copy_folder(&copy, &vectors);
    let (output, text) = run(&world, "store", &["verify"]);
    assert!(
        output.status.code() == Some(1) && text.contains("3 are missing, 3 others are unknown"),
        "{text}"
    );
    let (output, text) = run(&world, "store", &["verify", "--repair"]);
    assert!(output.status.success() && text.contains("3 others were deleted"), "{text}");
    assert!(run(&world, "index", &[]).0.status.success());
    let (output, text) = run(&world, "store", &["verify"]);
    assert!(output.status.success() && text.contains("8 vectors, as they shall be"), "{text}");
    let (_, text) = run(&world, "search", &["a dog", "--limit", "20"]);
    assert_eq!(text.matches(".png").count(), 8, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_installations_share_a_server_and_are_kept_apart() {
    let site = on_qdrant().await;
    site.add_pictures();
    let second = || {
        World::new().set("VECTOR_STORE__URL", &site.proxy.url()).set("VECTOR_STORE__API_KEY", KEY)
    };
    let server = site.world.serve().await;
    site.assert_complete(&server).await;
    let ours = site.state.collections().await;

    // By default they never meet.
    let apart = second();
    apart.write("a.png", &picture(1));
    let other = apart.serve().await;
    other.until_counts(1, 0).await;
    assert!(other.terminate().await.success());
    assert_eq!(other_collections(&site.state.collections().await, &ours).len(), 1);

    // One that is told to use our collection is refused, and told what to do.
    let name = status(&server).await["store"]["collection"].as_str().expect("a name").to_owned();
    let prefix = ours[0].strip_suffix(&name).expect("it begins with the prefix").to_owned();
    let intruder = second().set("VECTOR_STORE__QDRANT__COLLECTION_PREFIX", &prefix);
    intruder.write("b.png", &picture(2));
    let (output, text) = run(&intruder, "index", &[]);
    assert!(
        !output.status.success()
            && text.contains("another installation")
            && text.contains("collection_prefix"),
        "{text}"
    );
    site.assert_complete_beside(&server, 1).await;

    // And pruning takes nobody else's collections, although their names begin with the prefix.
    let wide = second().set("VECTOR_STORE__QDRANT__COLLECTION_PREFIX", "image-search-");
    wide.write("c.png", &picture(3));
    assert!(run(&wide, "index", &[]).0.status.success());
    let before = site.state.collections().await;
    assert_eq!(before.len(), 3);
    let (output, text) = run(&wide, "model", &["prune"]);
    assert!(output.status.success() && text.contains("no vectors of other models"), "{text}");
    assert_eq!(site.state.collections().await, before);
    site.assert_complete_beside(&server, 2).await;
}

fn other_collections(all: &[String], ours: &[String]) -> Vec<String> {
    all.iter().filter(|name| !ours.contains(name)).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_only_read_answers_searches_also_after_a_restart() {
    let site = on_qdrant().await;
    site.add_pictures();
    let server = site.world.serve().await;
    site.assert_complete(&server).await;
    assert!(server.terminate().await.success());
    site.state.set_mode(Mode::ReadOnly);
    let server = site.world.serve().await;
    site.assert_complete(&server).await;
    site.world.write("new.png", &picture(9_999));
    server
        .until("indexing pauses with the reason", async || {
            let ingest = status(&server).await["ingest"].clone();
            ingest["message"].as_str()?.contains("read and write access").then_some(())
        })
        .await;
    assert_eq!(server.names("a dog", 3).await.len(), 3, "what is there is still found");
    site.state.set_mode(Mode::Normal);
    server.until_counts(u64::from(PICTURES) + 1, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cancels_what_it_does_is_away_and_not_broken() {
    let site = on_qdrant().await;
    site.add_pictures();
    let server = site.world.serve().await;
    site.assert_complete(&server).await;
    site.state.set_mode(Mode::Cancelling);
    let query = server.post("/api/v1/search-image").json(&json!({"text": "a dog"}));
    problem(query, 503, "store_unavailable").await;
    until_store_is_wrong(&server, "cancelled").await;
    site.state.set_mode(Mode::Normal);
    server.until_ready().await;
    site.assert_complete(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_moved_is_found_at_its_new_place() {
    let site = on_qdrant().await;
    site.add_pictures();
    let server = site.world.serve().await;
    site.assert_complete(&server).await;
    site.proxy.set(Weather::Moved);
    // Open connections say nothing any more and are not closed either; only new ones lead somewhere.
    server
        .until("searches are answered again", async || {
            let query = server
                .post("/api/v1/search-image")
                .json(&json!({"text": "a cat"}))
                .timeout(Duration::from_secs(20));
            query.send().await.ok()?.status().is_success().then_some(())
        })
        .await;
    server.until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_is_given_as_the_reason_while_the_write_still_waits() {
    let site = on_qdrant().await;
    // With the default of a minute for a write, it used to say nothing for as long.
    let world = site.world.set("VECTOR_STORE__QDRANT__WRITE_TIMEOUT_MS", "600000");
    for number in 0..PICTURES {
        world.write(&format!("{number}.png"), &picture(number));
    }
    let server = world.serve().await;
    until_some_are_indexed(&server).await;
    site.proxy.set(Weather::Silent);
    server
        .until("indexing says why it pauses", async || {
            let ingest = status(&server).await["ingest"].clone();
            let told = ingest["message"].as_str()?.contains("Qdrant server");
            (told && ingest["state"] == "paused").then_some(())
        })
        .await;
    site.proxy.set(Weather::Fair);
    server.until_counts(u64::from(PICTURES), 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_that_a_copy_prints_works() {
    let world = World::new();
    for number in 0..5 {
        world.write(&format!("{number}.png"), &picture(number));
    }
    assert!(run(&world, "index", &[]).0.status.success());
    let elsewhere = world.path("elsewhere").display().to_string();
    let (output, text) =
        run(&world, "store", &["copy", "embedded", &format!("embedded:{elsewhere}")]);
    assert!(output.status.success(), "{text}");
    let advice = text.split("Use it: image-search serve ").nth(1).expect("a command");
    let flags: Vec<&str> = advice.split_whitespace().take(4).collect();
    assert_eq!((flags[0], flags[2]), ("--data-dir", "--vector-store"), "{advice}");
    std::fs::remove_dir_all(world.path("data/vectors")).expect("removed");
    let (output, text) = run(&world, "index", &flags[2..]);
    assert!(output.status.success() && text.contains("0 pictures indexed"), "{text}");
    let (_, text) = run(&world, "search", &["a dog", flags[2], flags[3]]);
    assert_eq!(text.matches(".png").count(), 5, "{text}");
}
