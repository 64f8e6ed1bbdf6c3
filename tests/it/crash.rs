//! Kill -9 at random moments of indexing, over and over, and the disk with the pictures pulled and brought back in between: at
//! the end everything is indexed exactly once and search answers as if nothing had happened.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Server, World, picture};

const PICTURES: u32 = 1000;
const KILLS: u32 = 20;

fn fill(world: &World) {
    for number in 0..PICTURES {
        world.write(&format!("{}/{number}.png", number % 10), &picture(number));
    }
}

async fn ranking(server: &Server, text: &str) -> Vec<(String, f64)> {
    let mut all = Vec::new();
    for offset in (0..PICTURES).step_by(200) {
        let answer = server.search(json!({"text": text, "limit": 200, "offset": offset})).await;
        let matches = answer["matches"].as_array().expect("matches").clone();
        let pair = |found: &Value| {
            (
                found["image_name"].as_str().expect("a name").to_owned(),
                found["score"].as_f64().expect("a score"),
            )
        };
        all.extend(matches.iter().map(pair));
    }
    all
}

/// The folder with the pictures goes away, as a disk does that is pulled: nothing is left, or an empty folder where it was.
fn pull(world: &World, leaves_empty: bool) {
    std::fs::rename(world.path("images"), world.path("away")).expect("pulled");
    if leaves_empty {
        std::fs::create_dir(world.path("images")).expect("mkdir");
    }
}

fn plug_in(world: &World) {
    if world.path("away").exists() {
        let _ = std::fs::remove_dir(world.path("images"));
        std::fs::rename(world.path("away"), world.path("images")).expect("plugged in");
    }
}

#[tokio::test]
async fn twenty_kills_and_a_disk_that_comes_and_goes_lose_nothing_and_double_nothing() {
    let untouched = World::new();
    fill(&untouched);
    let reference = untouched.serve().await;
    reference.until_counts(u64::from(PICTURES), 0).await;
    let world = World::new();
    fill(&world);
    // Numbers that look random and are the same in every run.
    let mut state = 0x9e37_79b9_u32;
    let (mut interrupted, mut pulls) = (0, 0);
    for kill in 0..KILLS {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let server = world.serve().await;
        // Pulled before the last kill, brought back while it runs.
        plug_in(&world);
        // Spread over the progress and not over the clock: a fast machine is hit as often as a slow one.
        let step = PICTURES / (KILLS + 1);
        let reached = u64::from(kill * step + state % step);
        let counts = server.until("indexing has come that far", async || {
            let images = server.get_json("/api/v1/status").await["images"].clone();
            (images["indexed"].as_u64() >= Some(reached)).then_some(images)
        });
        interrupted += u32::from(counts.await["pending"].as_u64() > Some(0));
        if state >> 20 & 1 == 1 {
            pull(&world, state >> 21 & 1 == 1);
            pulls += 1;
        }
        // The rest of the moment is chance; nothing is waited for by it.
        tokio::time::sleep(Duration::from_millis(u64::from(state >> 28))).await;
        server.kill_9();
    }
    assert!(
        interrupted >= KILLS / 2,
        "indexing was over too soon: only {interrupted} kills hit it"
    );
    assert!(pulls > KILLS / 4, "the disk was pulled only {pulls} times");
    let server = world.serve().await;
    plug_in(&world);
    let status = server.until_counts(u64::from(PICTURES), 0).await;
    assert_eq!(status["store"]["vectors"], u64::from(PICTURES), "a vector is missing or doubled");
    for text in ["tennis", "a red apple", "blue"] {
        let (after_kills, expected) =
            (ranking(&server, text).await, ranking(&reference, text).await);
        let names: HashSet<&String> = after_kills.iter().map(|(name, _)| name).collect();
        assert_eq!(
            (after_kills.len(), names.len()),
            (PICTURES as usize, PICTURES as usize),
            "{text}: listed twice or missing"
        );
        let scores: std::collections::HashMap<&String, f64> =
            expected.iter().map(|(name, score)| (name, *score)).collect();
        for (name, score) in &after_kills {
            assert!(
                (scores[name] - score).abs() < 1e-5,
                "{text}: {name} scores {score} instead of {}",
                scores[name]
            );
        }
    }
}

#[tokio::test]
async fn a_lost_vector_store_is_made_again_from_the_pictures() {
    let world = World::new();
    for number in 0..10 {
        world.write(&format!("{number}.png"), &picture(number));
    }
    let server = world.serve().await;
    server.until_counts(10, 0).await;
    server.kill_9();
    std::fs::remove_dir_all(world.path("data/vectors")).expect("removed");
    let server = world.serve().await;
    server.until_counts(10, 0).await;
    assert_eq!(server.names("x", 20).await.len(), 10);
}
