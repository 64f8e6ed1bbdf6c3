//! From one model to another: the former one answers until the vectors of the next are all made, then searches change over at
//! once; a kill -9 in between costs nothing; vectors of two models never meet.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::{Server, World, picture, repository};
use crate::models::until_answering;

const PICTURES: u32 = 240;
const KILLS: usize = 4;

/// Two small models of other families, with other dimensions of other meaning.
fn golden(name: &str) -> PathBuf {
    repository().join("crates/clip/tests/golden").join(name)
}

fn world() -> World {
    // Small batches, so that a switch takes long enough to be seen.
    let world = World::new()
        .model(&golden("openclip").display().to_string())
        .set("EMBED__BATCH_MAX", "1")
        .set("INGEST__IN_FLIGHT_MAX", "2");
    for number in 0..PICTURES {
        world.write(&format!("{number}.png"), &picture(number));
    }
    world
}

/// All pictures with their scores for a query.
async fn ranking(server: &Server) -> BTreeMap<String, String> {
    let answer = server.search(json!({"text": "a photo of a dog", "limit": 200})).await;
    let rest =
        server.search(json!({"text": "a photo of a dog", "limit": 200, "offset": 200})).await;
    let matches = [&answer, &rest]
        .map(|answer| answer["matches"].as_array().expect("matches").clone())
        .concat();
    let entry = |found: &Value| {
        (
            found["image_name"].as_str().expect("a name").to_owned(),
            format!("{:.4}", found["score"].as_f64().expect("a score")),
        )
    };
    let ranking: BTreeMap<_, _> = matches.iter().map(entry).collect();
    assert_eq!(ranking.len(), matches.len(), "a picture is listed twice");
    ranking
}

async fn fresh(model: &str) -> BTreeMap<String, String> {
    let world = world().model(&golden(model).display().to_string());
    let server = world.serve().await;
    server.until_counts(u64::from(PICTURES), 0).await;
    ranking(&server).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_former_model_answers_until_the_next_is_complete_whatever_is_killed_meanwhile() {
    let world = world();
    let server = world.serve().await;
    server.until_counts(u64::from(PICTURES), 0).await;
    let former = ranking(&server).await;
    assert!(server.terminate().await.success());

    let world = world.model(&golden("hf-clip").display().to_string());
    let mut seen_indexing = 0;
    for kill in 1..=KILLS {
        let server = world.serve().await;
        let wanted = u64::from(PICTURES) * kill as u64 / (KILLS as u64 + 2);
        let status = server
            .until("some vectors of the next model", async || {
                let status = server.get_json("/api/v1/status").await;
                (status["model"]["next"].is_null()
                    || status["images"]["indexed"].as_u64()? >= wanted)
                    .then_some(status)
            })
            .await;
        if status["model"]["next"]["stage"] == "indexing" {
            seen_indexing += 1;
            assert_eq!(
                (&status["model"]["name"], &status["model"]["next"]["name"]),
                (&json!("openclip"), &json!("hf-clip"))
            );
            assert!(status["model"]["next"]["percent"].as_u64().expect("a number") <= 100);
            let now = ranking(&server).await;
            // The change may have come between the two questions; then all answers are of the next model.
            if server.get_json("/api/v1/status").await["model"]["name"] == "openclip" {
                assert_eq!(now, former, "the former model no longer answers as it did");
            }
        }
        server.kill_9();
    }
    assert!(seen_indexing >= 2, "the switch was over before it was seen");

    let server = world.serve().await;
    until_answering(&server, "hf-clip").await;
    let status = server.until_counts(u64::from(PICTURES), 0).await;
    assert_eq!(status["store"]["vectors"], PICTURES);
    let next = ranking(&server).await;
    assert_eq!(next, fresh("hf-clip").await);
    assert_ne!(next, former);
    assert!(server.terminate().await.success());

    // The way back finds the vectors that are still there: nothing is embedded again.
    let world = world.model(&golden("openclip").display().to_string());
    let server = world.serve().await;
    until_answering(&server, "openclip").await;
    server.until_counts(u64::from(PICTURES), 0).await;
    assert_eq!(ranking(&server).await, former);
    let metrics =
        server.get("/metrics").send().await.expect("an answer").text().await.expect("a text");
    assert!(
        metrics.contains("image_search_images_indexed_total 0\n")
            && !metrics.contains("stage=\"Embed\""),
        "{metrics}"
    );
    assert!(server.terminate().await.success());

    let pruned = world.run("model", &["prune"]);
    let told = String::from_utf8_lossy(&pruned.stdout).into_owned();
    assert!(
        pruned.status.success() && told.contains("hf-clip--") && !told.contains("openclip--"),
        "{told}"
    );
    let server = world.serve().await;
    server.until_counts(u64::from(PICTURES), 0).await;
    assert_eq!(ranking(&server).await, former);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_pictures_during_a_switch_is_not_lost() {
    let world = world();
    let server = world.serve().await;
    server.until_counts(u64::from(PICTURES), 0).await;
    assert!(server.terminate().await.success());
    let world = world.model(&golden("hf-clip").display().to_string());
    let server = world.serve().await;
    world.write("new.png", &picture(9_999));
    std::fs::remove_file(world.image("0.png")).expect("removed");
    world.write("1.png", &picture(8_888));
    until_answering(&server, "hf-clip").await;
    server.until_counts(u64::from(PICTURES), 0).await;
    let ranking = ranking(&server).await;
    assert!(
        ranking.contains_key("new.png")
            && ranking.contains_key("1.png")
            && !ranking.contains_key("0.png")
    );
}
