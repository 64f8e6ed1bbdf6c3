//! The folder with everything that is written: never taken for pictures, nobody else's business, and missed when it goes.

use std::os::unix::fs::{MetadataExt, symlink};

use serde_json::json;

use crate::harness::{World, picture, problem};

#[tokio::test]
async fn a_data_folder_among_the_pictures_is_not_indexed() {
    let world = World::new().set("INGEST__SCAN_INTERVAL_MS", "200");
    // As it happens with --images . and the default data folder, here under another name as well.
    std::fs::create_dir(world.image("state")).expect("mkdir");
    symlink(world.image("state"), world.path("data")).expect("linked");
    for number in 0..3 {
        world.write(&format!("{number}.png"), &picture(number));
    }
    let server = world.serve().await;
    server.until_counts(3, 0).await;
    for number in 0..3 {
        let thumbnail = format!("/api/v1/images/{number}.png/thumbnail");
        assert_eq!(server.get(&thumbnail).send().await.expect("an answer").status(), 200);
    }
    // A picture that comes later, by an event and by listings, with the thumbnails that were made meanwhile.
    world.write("later.png", &picture(7));
    server.until_counts(4, 0).await;
    let scans = server.get_json("/api/v1/status").await;
    assert_eq!(scans["images"]["skipped"], 0, "{scans}");
    assert_eq!(server.names("x", 100).await.len(), 4);
    assert!(server.log_text().contains("lies in the folder of pictures"), "{}", server.log_text());
    assert_eq!(server.terminate().await.code(), Some(0));
    let again = world.run("index", &[]);
    let told = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(told.contains("4 are searchable"), "{told}");
}

#[tokio::test]
async fn nobody_else_can_read_what_is_in_it() {
    let world = World::new();
    world.write("a.png", &picture(1));
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    server.search(json!({"text": "x"})).await;
    let thumbnail = server.get("/api/v1/images/a.png/thumbnail?width=640").send().await;
    assert_eq!(thumbnail.expect("an answer").status(), 200);
    let data = world.path("data").metadata().expect("there");
    assert_eq!(data.mode() & 0o777, 0o700);
    // Folders in it are behind that door.
    let mut seen = 0;
    for entry in std::fs::read_dir(world.path("data")).expect("read") {
        let entry = entry.expect("an entry");
        let Ok(found) = entry.metadata() else { continue };
        if found.is_file() {
            seen += 1;
            assert_eq!(found.mode() & 0o777, 0o600, "{}", entry.path().display());
        }
    }
    assert!(seen >= 5, "only {seen} were seen");
}

#[tokio::test]
async fn a_catalog_or_key_that_vanishes_is_noticed() {
    let world = World::new();
    world.write("a.png", &picture(1));
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    let jwt = server.search(json!({"text": "x"})).await["jwt"].clone();
    let (key, kept) = (world.path("data/jwt.key"), world.path("kept.key"));
    std::fs::rename(&key, &kept).expect("moved");
    let not_ready = async |part: &str, word: &str| {
        let answer = server.get("/readyz").send().await.expect("an answer");
        assert_eq!(answer.status(), 503);
        let ready: serde_json::Value = answer.json().await.expect("JSON");
        let detail = ready[part]["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(word) && detail.contains("backup"), "{ready}");
    };
    not_ready("signing_key", "jwt.key").await;
    std::fs::rename(&kept, &key).expect("moved");
    assert_eq!(server.get("/readyz").send().await.expect("an answer").status(), 200);
    for file in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        let _ = std::fs::remove_file(world.path("data").join(file));
    }
    not_ready("catalog", "catalog.db").await;
    let rate = server.post("/api/v1/create-feedback");
    let rate = rate.json(&json!({"user_feedback": 5, "jwt": jwt}));
    problem(rate, 503, "catalog_unavailable").await;
}
