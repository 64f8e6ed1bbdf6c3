//! Data folders of earlier versions, kept in tests/fixtures by `tools/keep-data-folder.sh`, are opened by this one: pictures are
//! found again, and the ratings, which nothing else can give back, are all there.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{World, repository};

fn kept() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(repository().join("tests/fixtures")).expect("fixtures");
    let files = folder.map(|entry| entry.expect("read").path());
    let is_kept = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "gz");
    let mut kept: Vec<PathBuf> = files.filter(is_kept).collect();
    kept.sort();
    kept
}

#[tokio::test]
async fn data_folders_of_earlier_versions_are_opened_and_nothing_is_lost() {
    let kept = kept();
    assert!(!kept.is_empty());
    for archive in kept {
        let world = World::new();
        let mut tar = Command::new("tar");
        let unpacked = tar.arg("-xzf").arg(&archive).arg("-C").arg(world.path("."));
        assert!(unpacked.status().expect("tar runs").success(), "{}", archive.display());

        let export = world.run("feedback", &["export"]);
        let ratings: Vec<Value> = String::from_utf8_lossy(&export.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line of JSON"))
            .collect();
        assert_eq!(ratings.len(), 1, "{}: {export:?}", archive.display());
        assert_eq!(
            (ratings[0]["text"].as_str(), ratings[0]["user_feedback"].as_u64()),
            (Some("a tennis ball"), Some(9))
        );

        let server = world.serve().await;
        server.until_counts(3, 0).await;
        let found = server.search(json!({"text": "tennis"})).await;
        assert_eq!(found["matches"][0]["image_name"], "tennis.png", "{}", archive.display());
        assert!(server.terminate().await.success());
        let verified = world.run("store", &["verify"]);
        assert!(verified.status.success(), "{}: {verified:?}", archive.display());
    }
}
