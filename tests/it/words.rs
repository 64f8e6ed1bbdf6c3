//! Words that are suggested because they find something: of a built-in list, by the bundled model, in this library.

use serde_json::Value;

use crate::combined::demo_picture;
use crate::demo::{pictures_in, serve_pictures};
use crate::harness::{Server, World, repository};

async fn words(server: &Server, query: &str) -> Vec<String> {
    let found = server.get_json(&format!("/api/v1/suggestions{query}")).await;
    let suggestions = found["suggestions"].as_array().expect("suggestions");
    let is_word = |suggestion: &&Value| suggestion["kind"] == "word";
    let text = |suggestion: &Value| suggestion["text"].as_str().expect("a text").to_owned();
    suggestions.iter().filter(is_word).map(text).collect()
}

/// The vectors of the list are made beside everything else, and searches go first.
async fn until_word(server: &Server, query: &str, wanted: &str) {
    let look = async || words(server, query).await.contains(&wanted.to_owned()).then_some(());
    server.until(&format!("{query} suggests {wanted}"), look).await;
}

#[tokio::test]
async fn a_library_suggests_what_it_holds_in_the_language_that_its_model_knows() {
    let demo = repository().join("demo/pictures");
    let count = pictures_in(&demo);
    let (world, server) = serve_pictures(World::new(), demo, count).await;
    for (typed, wanted) in [("do", "dog"), ("cak", "birthday cake"), ("Umb", "umbrella")] {
        until_word(&server, &format!("?text={typed}"), wanted).await;
    }
    // It stands at the end of the list.
    until_word(&server, "?text=glass%20of%20w", "glass of wine").await;
    // This model reads English: who types German is led to the word that finds something.
    until_word(&server, "?text=regensch", "umbrella").await;
    for typed in ["um%20brella", "xq", "u"] {
        assert_eq!(words(&server, &format!("?text={typed}")).await, [""; 0], "{typed}");
    }
    assert!(!words(&server, "?text=reg").await.contains(&"umbrella".to_owned()), "too little");
    // A picture is called so, too.
    let twice = server.get_json("/api/v1/suggestions?text=umbrel").await;
    let word = serde_json::json!({"kind": "word", "text": "umbrella"});
    assert_eq!(twice["suggestions"][0], word, "{twice}");
    let called = |entry: &&Value| entry["text"] == "umbrella";
    assert_eq!(twice["suggestions"].as_array().expect("all").iter().filter(called).count(), 1);
    for language in ["", "&language=de"] {
        let query = format!("?limit=6{language}");
        let six = async || Some(words(&server, &query).await).filter(|words| words.len() == 6);
        for word in server.until("there is something to try", six).await {
            let search = serde_json::json!({"text": word, "strength": true, "names": false});
            let answer = server.search(search).await;
            assert!(answer["strong_total"].as_u64() >= Some(1), "{word}: {answer}");
        }
    }
    let kept = std::fs::read_dir(world.path("data/calibration")).expect("a folder").count();
    assert_eq!(kept, 2, "vectors of texts without meaning, and of the words");
}

#[tokio::test]
async fn a_small_library_suggests_what_its_pictures_are_nearest_to() {
    let world = World::new();
    for name in ["dog.png", "red-apple.png", "umbrella.png"] {
        world.write(name, &demo_picture(name));
    }
    // Names would answer, too.
    for (place, name) in ["dog.png", "red-apple.png", "umbrella.png"].iter().enumerate() {
        let images = world.path("images");
        std::fs::rename(images.join(name), images.join(format!("{place}.png"))).expect("renamed");
    }
    let server = world.serve().await;
    server.until_counts(3, 0).await;
    until_word(&server, "?text=umb", "umbrella").await;
    until_word(&server, "", "umbrella").await;
    assert_eq!(words(&server, "?text=tenn").await, [""; 0]);
}
