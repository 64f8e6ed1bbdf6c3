//! The life of a model with the real catalog, the embedded store and copies of the bundled model.

use std::path::{Path, PathBuf};

use sqlx::Connection;

use super::*;
use crate::catalog::address as catalog_address;
use crate::source::address as source_address;
use crate::vector_store::address;

const DEADLINE: Duration = Duration::from_mins(1);

/// Folders with models, pictures and data.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temp");
        std::fs::create_dir(dir.path().join("images")).expect("mkdir");
        image::RgbImage::new(8, 8).save(dir.path().join("images/black.png")).expect("a picture");
        Self { dir }
    }

    /// A copy of the bundled model under another name, which makes it another model.
    fn model(&self, name: &str) -> PathBuf {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/emoji-clip");
        let to = self.dir.path().join(name);
        for entry in walkdir::WalkDir::new(&from) {
            let entry = entry.expect("listed");
            let target = to.join(entry.path().strip_prefix(&from).expect("below"));
            if entry.file_type().is_dir() {
                std::fs::create_dir_all(target).expect("mkdir");
            } else {
                std::fs::copy(entry.path(), target).expect("copied");
            }
        }
        to
    }

    async fn serving(&self, model: &str) -> Serving {
        let data = self.dir.path().join("data");
        std::fs::create_dir_all(&data).expect("mkdir");
        let flags = vec![
            ("model", model.into()),
            ("models.offline", true.into()),
            ("images", vec![self.dir.path().join("images").display().to_string()].into()),
            ("data_dir", data.display().to_string().into()),
            ("ingest.settle_ms", 0.into()),
        ];
        let config = Config::load(None, [], flags).expect("valid");
        let catalog = catalog_address::open(&config).await.expect("a catalog");
        let installation = catalog.installation().await.expect("made with the catalog");
        let store = address::open_at("embedded", &config.vector_store, &data, &installation).await;
        let sources = source_address::open(
            &config.images,
            &config.data_dir,
            &config.ingest.ignore,
            config.ingest.images_max,
            &config.source,
        );
        let decoder = Arc::new(Decoder::new(&config.decode, config.ingest.low_priority));
        let thumbnails = Arc::new(Thumbnails::new(
            data.join("thumbnails"),
            config.thumbnails.clone(),
            decoder.clone(),
        ));
        let parts = ServingParts {
            config,
            catalog,
            store: store.expect("a store"),
            sources: sources.expect("a folder"),
            metrics: Arc::default(),
            decoder,
            thumbnails,
        };
        Serving::new(parts).expect("models")
    }

    /// Indexes with a model, as the command does, and ends.
    async fn index(&self, model: &str) {
        let serving = self.serving(model).await;
        serving.bring_up().await.expect("up").run_once().await.expect("indexed");
        serving.finish_switch().await.expect("finished");
        self.close(serving).await;
    }

    async fn close(&self, serving: Serving) {
        serving.shut_down().await;
        serving.parts.store.close().await.expect("closed");
        serving.parts.catalog.close().await;
    }
}

fn name_of(state: &ServingState) -> Option<&str> {
    state.answering().map(|now| now.located.id.name.as_str())
}

#[tokio::test]
async fn a_model_that_is_not_there_fails_with_the_reason() {
    let world = World::new();
    let serving = world.serving("no-such-model").await;
    let mut states = serving.subscribe();
    assert!(matches!(*states.borrow_and_update(), ServingState::Loading));
    let error = serving.bring_up().await.err().expect("it does not exist");
    assert!(states.has_changed().expect("open"));
    let ServingState::Failed { reason } = serving.state() else { panic!("not failed") };
    assert_eq!(reason, error.to_string());
}

#[tokio::test]
async fn who_only_searches_makes_nothing_and_changes_nothing() {
    let world = World::new();
    let (a, b) = (world.model("model-a"), world.model("model-b"));
    let serving = world.serving(models::AUTO).await;
    let nothing = serving.only_answer().await.expect_err("nothing is indexed");
    assert!(matches!(nothing, ServingError::NothingIndexed), "{nothing}");
    assert_eq!(serving.parts.store.list().await.expect("listed"), [""; 0]);
    world.close(serving).await;

    world.index(&a.display().to_string()).await;
    let serving = world.serving(&b.display().to_string()).await;
    let other = serving.only_answer().await.expect_err("b has no vectors");
    assert!(other.to_string().contains("index --model"), "{other}");
    let counts = serving.parts.catalog.counts().await.expect("counted");
    assert_eq!((counts.pending, counts.indexed), (0, 1), "asking made pictures pending");
    assert_eq!(serving.parts.store.list().await.expect("listed").len(), 1);
    world.close(serving).await;

    // Whatever `auto` would prefer: the model whose vectors are here answers.
    let serving = world.serving(models::AUTO).await;
    serving.only_answer().await.expect("answers");
    assert_eq!(name_of(&serving.state()), Some("model-a"));
    assert!(serving.state().ingest().is_none());
    world.close(serving).await;
}

#[tokio::test]
async fn the_former_model_answers_until_the_vectors_of_the_next_are_made() {
    let world = World::new();
    let (a, b) = (world.model("model-a"), world.model("model-b"));
    world.index(&a.display().to_string()).await;
    let serving = world.serving(&b.display().to_string()).await;
    let ingest = serving.bring_up().await.expect("up");
    let state = serving.state();
    assert_eq!(name_of(&state), Some("model-a"));
    assert_eq!(state.next().map(NextModel::name), Some("model-b"));
    assert!(
        !matches!(serving.finish_switch().await.expect("asked"), Switching::Done),
        "nothing is indexed yet"
    );
    ingest.run_once().await.expect("indexed");
    assert!(matches!(serving.finish_switch().await.expect("switched"), Switching::Done));
    assert_eq!(name_of(&serving.state()), Some("model-b"));
    assert!(serving.state().next().is_none());
    world.close(serving).await;
}

#[tokio::test]
async fn a_switch_by_another_process_is_followed() {
    let world = World::new();
    let (a, b) = (world.model("model-a"), world.model("model-b"));
    world.index(&a.display().to_string()).await;
    world.index(&b.display().to_string()).await;
    let serving = world.serving(&b.display().to_string()).await;
    let stop = CancellationToken::new();
    let following = async {
        let mut states = serving.subscribe();
        let until =
            |wanted: &'static str| move |state: &ServingState| name_of(state) == Some(wanted);
        states.wait_for(until("model-b")).await.expect("open");
        // What another process does when it is done with its own model.
        let names = serving.parts.store.list().await.expect("listed");
        let of_a = names.iter().find(|name| name.contains("model-a")).expect("a collection");
        serving.parts.store.activate(of_a).await.expect("activated");
        states.wait_for(until("model-a")).await.expect("open");
        stop.cancel();
    };
    let both = async { tokio::join!(serving.run(&stop), following).0 };
    tokio::time::timeout(DEADLINE, both).await.expect("in time").expect("it ran");
    world.close(serving).await;
}

#[tokio::test]
async fn the_former_model_goes_on_when_the_next_cannot_begin() {
    let world = World::new();
    let (a, b) = (world.model("model-a"), world.model("model-b"));
    let serving = world.serving(&a.display().to_string()).await;
    serving.bring_up().await.expect("up").spawn();
    let database = world.dir.path().join("data/catalog.db").display().to_string();
    let mut damage = sqlx::SqliteConnection::connect(&database).await.expect("opened");
    sqlx::query("DROP TABLE used_models").execute(&mut damage).await.expect("dropped");
    damage.close().await.expect("closed");

    let Choice::Here(next) = serving.models.find(&b.display().to_string()).expect("found") else {
        panic!("it is a folder")
    };
    let embedder = Arc::new(serving.load(&next).await.expect("loads"));
    assert!(serving.adopt(*next, embedder).await.is_err());
    assert_eq!(name_of(&serving.state()), Some("model-a"));
    let indexed = async {
        while serving.parts.catalog.counts().await.expect("counted").indexed == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, indexed).await.expect("the former one indexes again");
    world.close(serving).await;
}
