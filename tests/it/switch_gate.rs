//! Before another model answers, rated queries are replayed with both: what is worse is told, and held back where the operator
//! wants that, also through kills and restarts, until it is forced.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::{Server, World, picture, repository};
use crate::models::until_answering;

const PICTURES: u32 = 40;
/// None is in the name of a picture.
const TEXTS: [&str; 12] = [
    "a dog",
    "a cat",
    "a house",
    "a tree",
    "a boat",
    "a star",
    "a flower",
    "a car",
    "a bird",
    "a mountain",
    "a face",
    "a cake",
];
const QUERIES: usize = TEXTS.len();

/// Two small models whose vectors have nothing to do with each other.
fn golden(name: &str) -> String {
    let folder: PathBuf = repository().join("crates/clip/tests/golden").join(name);
    folder.display().to_string()
}

fn world(gate: &str) -> World {
    let world = World::new()
        .model(&golden("openclip"))
        .set("LEARNING__SWITCH_GATE", gate)
        .set("LEARNING__GATE_QUERIES_MIN", "8");
    for number in 0..PICTURES {
        world.write(&format!("{number}.png"), &picture(number));
    }
    world
}

/// Rates so many queries: what the model puts first is wanted, and what it puts last is not, or the other way round.
pub(crate) async fn rate(server: &Server, queries: usize, is_first_wanted: bool) {
    for text in &TEXTS[..queries] {
        let answer = server.search(json!({"text": text, "limit": PICTURES, "learn": false})).await;
        let names: Vec<&str> = answer["matches"]
            .as_array()
            .expect("matches")
            .iter()
            .filter_map(|found| found["image_name"].as_str())
            .collect();
        let thumb = |name: &&str, relevant: bool| json!({"image_name": name, "relevant": relevant});
        let first = names.iter().take(12).map(|name| thumb(name, is_first_wanted));
        let last = names.iter().rev().take(12).map(|name| thumb(name, !is_first_wanted));
        let thumbs: Vec<Value> = first.chain(last).collect();
        let rating = json!({"jwt": answer["jwt"], "image_feedback": thumbs});
        let sent = server.post("/api/v1/create-feedback").json(&rating).send().await;
        assert_eq!(sent.expect("an answer").status(), 201);
    }
}

async fn rated(gate: &str, queries: usize, is_first_wanted: bool) -> World {
    let world = world(gate);
    let server = world.serve().await;
    server.until_counts(u64::from(PICTURES), 0).await;
    rate(&server, queries, is_first_wanted).await;
    assert!(server.terminate().await.success());
    world.model(&golden("hf-clip"))
}

/// What was decided of models, newest first.
fn switches(world: &World) -> Vec<Value> {
    let printed = world.run("quality", &["--json"]);
    let report: Value = serde_json::from_slice(&printed.stdout).expect("JSON");
    report["decided"]["switches"].as_array().expect("a list").clone()
}

pub(crate) async fn until_held(server: &Server) -> Value {
    server
        .until("the next model is held back", async || {
            let model = server.get_json("/api/v1/status").await["model"].clone();
            (model["held"]["model"].is_string() && model["next"].is_null()).then_some(model)
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worse_model_is_held_back_through_kills_until_it_is_forced() {
    let world = rated("veto", QUERIES, true).await;
    let server = world.serve().await;
    // In the middle of it, wherever that is.
    server.kill_9();
    let server = world.serve().await;
    let model = until_held(&server).await;
    assert_eq!(model["name"], "openclip");
    let held = &model["held"];
    assert!(held["model"].as_str().expect("a name").starts_with("hf-clip@"), "{held}");
    assert_eq!(held["comparison"]["verdict"], "worse", "{held}");
    assert_eq!(held["comparison"]["queries"], QUERIES);
    assert!(held["comparison"]["high"].as_f64() < Some(0.0), "{held}");
    // Pictures that come now are found by the model that answers.
    world.write("new.png", &picture(9_999));
    server.until_counts(u64::from(PICTURES) + 1, 0).await;
    let found = server.names("a photo of a dog", 100).await;
    assert!(found.contains(&"new.png".to_owned()) && found.len() == PICTURES as usize + 1);
    assert!(server.log_text().contains("is held back"), "{}", server.log_text());
    server.kill_9();

    let server = world.serve().await;
    let again = until_held(&server).await;
    assert_eq!((&again["name"], &again["held"]), (&model["name"], held), "decided once");
    let told = world.run("status", &[]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("model switch --force"), "{told}");
    // Once more it is as bad.
    assert!(world.run("model", &["switch"]).status.success());
    server
        .until("it was compared once more", async || {
            let outcomes = switches(&world);
            (outcomes.first()?["outcome"] == "held" && outcomes.len() == 3).then_some(())
        })
        .await;
    until_held(&server).await;
    let forced = world.run("model", &["switch", "--force"]);
    assert!(forced.status.success(), "{forced:?}");
    until_answering(&server, "hf-clip").await;
    let status = server.until_counts(u64::from(PICTURES) + 1, 0).await;
    assert_eq!((&status["model"]["held"], &status["store"]["vectors"]), (&Value::Null, &json!(41)));
    server
        .until("what was forced is settled", async || {
            (switches(&world).first()?["outcome"] == "passed").then_some(())
        })
        .await;
    assert!(server.terminate().await.success());
    let outcomes: Vec<Value> =
        switches(&world).iter().map(|decision| decision["outcome"].clone()).collect();
    assert_eq!(outcomes, ["passed", "forced", "held", "again", "held"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_only_to_be_told_a_worse_model_answers_and_a_better_one_passes_a_veto() {
    let world = rated("report", QUERIES, true).await;
    let server = world.serve().await;
    until_answering(&server, "hf-clip").await;
    assert!(server.log_text().contains("worse on rated queries"), "{}", server.log_text());
    assert!(server.terminate().await.success());
    let decided = switches(&world);
    assert_eq!(
        (&decided[0]["outcome"], &decided[0]["comparison"]["verdict"]),
        (&json!("passed"), &json!("worse"))
    );
    let printed = world.run("quality", &[]);
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(printed.contains("worse: nDCG@10"), "{printed}");

    let world = rated("veto", QUERIES, false).await;
    let indexed = world.run("index", &[]);
    assert!(indexed.status.success(), "{indexed:?}");
    let decided = switches(&world);
    assert_eq!(
        (&decided[0]["outcome"], &decided[0]["comparison"]["verdict"]),
        (&json!("passed"), &json!("better"))
    );
    let server = world.serve().await;
    until_answering(&server, "hf-clip").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_few_ratings_the_next_model_passes_and_a_command_holds_back_too() {
    let world = rated("veto", 3, true).await;
    let server = world.serve().await;
    until_answering(&server, "hf-clip").await;
    assert!(server.log_text().contains("too few ratings to say"), "{}", server.log_text());
    assert!(server.terminate().await.success());
    assert_eq!(switches(&world)[0]["comparison"]["verdict"], "too_few");

    let world = rated("veto", QUERIES, true).await;
    world.write("new.png", &picture(9_999));
    let indexed = world.run("index", &[]);
    assert!(indexed.status.success(), "{indexed:?}");
    assert_eq!(switches(&world)[0]["outcome"], "held");
    let found = world.model("auto").run("search", &["--names", "--limit", "100", "a dog"]);
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    assert_eq!(found.lines().filter(|name| *name == "new.png").count(), 1, "{found}");
}
