//! Backups: of a server that is being written to, restored into an empty folder, and refused where something would be
//! written over or is not what was written.

use std::collections::BTreeSet;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::harness::{Server, World, picture, run};
use crate::qdrant::on_qdrant;

const PICTURES: u32 = 60;

fn fill(world: &World, numbers: std::ops::Range<u32>) {
    for number in numbers {
        world.write(&format!("{}/{number}.png", number % 7), &picture(number));
    }
}

/// Rates a search; returns the id of the rating, once it is acknowledged.
async fn rate(server: &Server, number: usize) -> Option<String> {
    let answer = server.search(json!({"text": format!("rated {number}")})).await;
    let body = json!({"user_feedback": 1 + number % 10, "jwt": answer["jwt"]});
    let response = server.post("/api/v1/create-feedback").json(&body).send().await.ok()?;
    let is_taken = response.status().is_success();
    let taken: Value = response.json().await.ok()?;
    is_taken.then(|| taken["id"].as_str().expect("an id").to_owned())
}

fn exported(world: &World) -> BTreeSet<String> {
    let export = world.run("feedback", &["export"]);
    assert!(export.status.success(), "{}", String::from_utf8_lossy(&export.stderr));
    let lines = String::from_utf8_lossy(&export.stdout).into_owned();
    let id = |line: &str| {
        let row: Value = serde_json::from_str(line).expect("JSON");
        row["id"].as_str().expect("an id").to_owned()
    };
    lines.lines().map(id).collect()
}

async fn ranking(server: &Server, text: &str) -> Vec<(String, f64)> {
    let answer = server.search(json!({"text": text, "limit": 200})).await;
    let pair = |found: &Value| {
        (
            found["image_name"].as_str().expect("a name").to_owned(),
            found["score"].as_f64().expect("a score"),
        )
    };
    answer["matches"].as_array().expect("matches").iter().map(pair).collect()
}

fn assert_alike(one: &[(String, f64)], other: &[(String, f64)]) {
    let score = |name: &str| other.iter().find(|(other, _)| other == name).map(|found| found.1);
    for (name, wanted) in one {
        let got = score(name).unwrap_or_else(|| panic!("{name} is not found any more"));
        assert!((got - wanted).abs() < 1e-5, "{name} scores {got} instead of {wanted}");
    }
    assert_eq!(one.len(), other.len());
}

/// How many pictures this process has indexed since it started.
async fn indexed(server: &Server) -> u64 {
    let metrics = server.get("/metrics").send().await.expect("an answer");
    let text = metrics.text().await.expect("a body");
    let line = text.lines().find(|line| line.starts_with("image_search_images_indexed_total"));
    line.and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_server_under_writes_has_all_that_was_acknowledged_and_searches_alike() {
    let world = World::new().set("INGEST__SCAN_INTERVAL_MS", "200");
    fill(&world, 0..PICTURES);
    let server = Arc::new(world.serve().await);
    server.until_counts(u64::from(PICTURES), 0).await;
    let wanted = ranking(&server, "a red apple").await;
    let mut acknowledged = BTreeSet::new();
    for number in 0..20 {
        acknowledged.insert(rate(&server, number).await.expect("taken"));
    }
    // From here on ratings and pictures come all the time; some of them come too late for the backup.
    let is_over = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn({
        let (server, is_over) = (server.clone(), is_over.clone());
        async move {
            let mut later = BTreeSet::new();
            for number in 20.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                later.extend(rate(&server, number).await);
            }
            later
        }
    });
    let target = world.path("backup");
    let place = target.display().to_string();
    let (output, text) = run(&world, "backup", &[&place]);
    assert!(output.status.success() && text.contains("compared id by id"), "{text}");
    // A second one, while pictures come and go.
    fill(&world, PICTURES..2 * PICTURES);
    std::fs::rename(world.image("3"), world.path("three")).expect("moved away");
    let second = world.path("second").display().to_string();
    let (output, text) = run(&world, "backup", &[&second]);
    assert!(output.status.success(), "{text}");
    is_over.store(true, Ordering::Relaxed);
    let later = writing.await.expect("it writes to the end");
    assert!(!later.is_empty(), "nothing was written while the backups were made");

    // What is there is not written over.
    let (output, text) = run(&world, "backup", &[&place]);
    assert!(!output.status.success() && text.contains("is not empty"), "{text}");
    let (output, text) = run(&world, "restore", &[&place]);
    assert!(!output.status.success() && text.contains("is not empty"), "{text}");
    drop(server);

    // The disk with the data folder is lost; the pictures are those of the time of the first backup.
    std::fs::rename(world.path("data"), world.path("lost")).expect("renamed");
    // The folder is made again, with what a killed server leaves in one.
    std::fs::create_dir(world.path("data")).expect("mkdir");
    drop(UnixListener::bind(world.path("data/control.sock")).expect("bound"));
    std::fs::rename(world.path("three"), world.image("3")).expect("moved back");
    for number in PICTURES..2 * PICTURES {
        let _ = std::fs::remove_file(world.image(&format!("{}/{number}.png", number % 7)));
    }
    let (output, text) = run(&world, "restore", &[&place]);
    assert!(output.status.success() && text.contains("60 indexed pictures"), "{text}");
    let restored = exported(&world);
    assert!(acknowledged.is_subset(&restored), "acknowledged ratings are not in the backup");
    let known: BTreeSet<String> = acknowledged.union(&later).cloned().collect();
    assert!(restored.is_subset(&known), "it has ratings that nobody gave");
    let server = world.serve().await;
    server.until_counts(u64::from(PICTURES), 0).await;
    assert_alike(&wanted, &ranking(&server, "a red apple").await);
    assert_eq!(indexed(&server).await, 0, "something was indexed again");
    assert!(server.terminate().await.success());
    let (output, text) = run(&world, "store", &["verify"]);
    assert!(output.status.success() && text.contains("as they shall be"), "{text}");

    let other = World::new();
    let (output, text) = run(&other, "restore", &[&second]);
    assert!(output.status.success(), "{text}");
    let (output, text) = run(&other, "store", &["verify"]);
    assert!(output.status.success() && text.contains("as they shall be"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_unfinished_backup_is_refused_and_leaves_nothing() {
    let world = World::new();
    fill(&world, 0..5);
    assert!(run(&world, "index", &[]).0.status.success());
    let target = world.path("backup");
    let place = target.display().to_string();
    let (output, text) = run(&world, "backup", &[&place]);
    assert!(output.status.success(), "{text}");
    assert_private(&target);
    let other = World::new();
    let catalog = target.join("catalog.db");
    let bytes = std::fs::read(&catalog).expect("read");
    let mut flipped = bytes.clone();
    flipped[5000] ^= 1;
    std::fs::write(&catalog, &flipped).expect("written");
    let (output, text) = run(&other, "restore", &[&place]);
    assert!(!output.status.success() && text.contains("catalog.db of the backup"), "{text}");
    assert!(!other.path("data/catalog.db").exists());
    std::fs::write(&catalog, &bytes).expect("written");
    let manifest = target.join("manifest.json");
    let kept = target.join("elsewhere");
    std::fs::rename(&manifest, &kept).expect("renamed");
    let (output, text) = run(&other, "restore", &[&place]);
    assert!(!output.status.success() && text.contains("not a whole backup"), "{text}");
    std::fs::rename(&kept, &manifest).expect("renamed");
    let (output, text) = run(&other, "restore", &[&place]);
    assert!(output.status.success(), "{text}");
    // Keys are part of the state: what was signed before counts after.
    let key = |world: &World| std::fs::read(world.path("data/jwt.key")).expect("a key");
    assert_eq!(key(&world), key(&other));
    let (_, text) = run(&other, "status", &[]);
    assert!(text.contains("5 indexed"), "{text}");
}

/// Keys are in it: nobody else may look.
fn assert_private(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(folder), 0o700);
    for entry in walkdir::WalkDir::new(folder).into_iter().filter_map(Result::ok) {
        let others = mode(entry.path()) & 0o077;
        assert!(!entry.file_type().is_file() || others == 0, "{}", entry.path().display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vectors_of_a_qdrant_server_are_backed_up_and_go_back_to_one() {
    let site = on_qdrant().await;
    site.add_pictures();
    let server = site.world.serve().await;
    site.assert_complete(&server).await;
    let wanted = ranking(&server, "a dog").await;
    let place = site.world.path("backup").display().to_string();
    let (output, text) = run(&site.world, "backup", &[&place]);
    assert!(output.status.success(), "{text}");
    assert!(server.terminate().await.success());

    // The server has lost its volume, and the data folder is gone.
    site.state.lose_everything().await.expect("lost");
    std::fs::remove_dir_all(site.world.path("data")).expect("removed");
    let (output, text) = run(&site.world, "restore", &[&place]);
    assert!(output.status.success(), "{text}");
    let server = site.world.serve().await;
    site.assert_complete(&server).await;
    assert_alike(&wanted, &ranking(&server, "a dog").await);
    assert_eq!(indexed(&server).await, 0, "something was indexed again");
    drop(server);
    std::fs::remove_dir_all(site.world.path("data")).expect("removed");
    let (output, text) = run(&site.world, "restore", &[&place]);
    assert!(!output.status.success() && text.contains("is not empty"), "{text}");
}
