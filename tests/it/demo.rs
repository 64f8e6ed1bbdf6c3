//! The bundled model on the bundled pictures: true meaning, offline. The model card's figures are held to.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::{Server, World, repository};

/// Fewer names than this would prove little.
const NAMES_MIN: usize = 300;
/// The committed sample of the unseen vendor.
const UNSEEN_MIN: usize = 100;
/// Points by which a figure may differ from the card's.
const TOLERANCE: f64 = 0.02;
/// The same for the int8 variant, which is only there because it costs no more than that.
const INT8_TOLERANCE: f64 = 0.01;

pub(crate) fn read(path: &str) -> Value {
    let path = repository().join("models/emoji-clip/eval").join(path);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

/// Indexes a folder of the repository.
pub(crate) async fn serve_pictures(world: World, folder: PathBuf, count: usize) -> (World, Server) {
    std::fs::remove_dir(world.path("images")).expect("empty");
    std::os::unix::fs::symlink(folder, world.path("images")).expect("link");
    let server = world.serve().await;
    server.until_counts(count as u64, 0).await;
    (world, server)
}

async fn ranked(server: &Server, search: Value) -> Vec<String> {
    let answer = server.search(search).await;
    let name = |found: &Value| found["image_name"].as_str().expect("a name").to_owned();
    answer["matches"].as_array().expect("matches").iter().map(name).collect()
}

/// Share of names whose picture is first, and among the first five.
async fn recall(server: &Server, entries: &[Value]) -> (f64, f64) {
    let (mut first, mut five) = (0, 0);
    for entry in entries {
        let text = entry["name"].as_str().expect("a name");
        // The pictures are called what is on them; here it is the model that is to find them.
        let names = ranked(server, json!({"text": text, "limit": 5, "names": false})).await;
        let place = names.iter().position(|name| name == entry["file"].as_str().expect("a file"));
        first += usize::from(place == Some(0));
        five += usize::from(place.is_some());
    }
    (first as f64 / entries.len() as f64, five as f64 / entries.len() as f64)
}

pub(crate) fn pictures_in(folder: &std::path::Path) -> usize {
    std::fs::read_dir(folder)
        .expect("a folder")
        .filter_map(Result::ok)
        .filter(|entry| entry.path().extension().is_some_and(|kind| kind == "png"))
        .count()
}

fn assert_close(what: &str, got: f64, card: &Value) {
    let card = card.as_f64().expect("a figure");
    assert!((got - card).abs() <= TOLERANCE, "{what}: {got:.3} here, {card:.3} on the model card");
}

/// Searches every name of `entries_file` and compares with the card's figures for that set of pictures.
async fn assert_recall_is_the_cards(
    server: &Server,
    entries_file: &str,
    names_min: usize,
    set: &str,
) {
    let entries = read(entries_file);
    let entries = entries.as_array().expect("entries");
    assert!(entries.len() >= names_min, "only {} names", entries.len());
    let (first, five) = recall(server, entries).await;
    let figures = &read("figures.json")[set];
    assert_close(&format!("{set} recall@1"), first, &figures["recall_at_1"]);
    assert_close(&format!("{set} recall@5"), five, &figures["recall_at_5"]);
}

#[tokio::test]
async fn the_demo_pictures_are_found_by_their_names() {
    let folder = repository().join("demo/pictures");
    let count = pictures_in(&folder);
    let (_world, server) =
        serve_pictures(World::new().set("INGEST__IGNORE", "LICENSE*,NOTICE*"), folder, count).await;
    let everyday = [
        ("tennis", "tennis"),
        ("red apple", "red-apple"),
        ("pizza", "pizza"),
        ("snowman", "snowman"),
        ("guitar", "guitar"),
        ("cat", "cat"),
        ("dog", "dog"),
        ("birthday cake", "birthday-cake"),
        ("rainbow", "rainbow"),
        ("airplane", "airplane"),
        ("banana", "banana"),
        ("bicycle", "bicycle"),
    ];
    for (text, expected) in everyday {
        let best = server.names(text, 3).await;
        assert!(best[0].contains(expected), "{text}: {best:?}");
    }
    let kin = server.search(json!({"image_name": "pizza.png", "limit": 1})).await;
    assert_eq!(kin["matches"][0]["image_name"], "pizza.png");
    assert_recall_is_the_cards(&server, "demo.json", NAMES_MIN, "demo").await;
}

#[tokio::test]
async fn the_int8_variant_finds_what_the_other_finds() {
    let folder = repository().join("demo/pictures");
    let count = pictures_in(&folder);
    let model = repository().join("models/emoji-clip-int8").display().to_string();
    let world = World::new()
        .model(&model)
        .set("INGEST__IGNORE", "LICENSE*,NOTICE*")
        .set("EMBED__ENGINE", "rten");
    let (_world, server) = serve_pictures(world, folder, count).await;
    let (entries, figures) = (read("demo.json"), read("int8.json"));
    let (first, five) = recall(&server, entries.as_array().expect("entries")).await;
    // Measured with ONNX Runtime; the built-in engine must give the same.
    for (what, got) in [("demo recall_at_1", first), ("demo recall_at_5", five)] {
        let (float, int8) =
            (&figures[what]["float32"], figures[what]["int8"].as_f64().expect("a figure"));
        assert!(
            (got - int8).abs() <= INT8_TOLERANCE,
            "{what}: {got:.4} here, {int8:.4} on the model card"
        );
        assert!(
            got >= float.as_f64().expect("a figure") - INT8_TOLERANCE,
            "{what}: {got:.4} is more than a point below {float}"
        );
    }
}

#[tokio::test]
async fn pictures_of_an_unseen_vendor_score_as_honestly_as_the_card_says() {
    let folder = repository().join("models/emoji-clip/eval/unseen");
    let count = pictures_in(&folder);
    let (_world, server) = serve_pictures(
        World::new().set("INGEST__IGNORE", "LICENSE*,NOTICE*,*.json,*.md"),
        folder,
        count,
    )
    .await;
    assert!(count >= UNSEEN_MIN, "only {count} pictures");
    assert_recall_is_the_cards(&server, "unseen.json", UNSEEN_MIN, "unseen_sample").await;
}
