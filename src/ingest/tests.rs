//! Indexing in an application with a source in memory and a stand-in model: what fails fails alone, what is interrupted is
//! given back, what is not needed goes.

use std::io::ErrorKind;

use crate::catalog::PageStart;
use crate::test_app::{TestApp, name_of};

const RED: [u8; 3] = [250, 0, 0];
const BLUE: [u8; 3] = [0, 0, 250];

#[tokio::test]
async fn copies_are_embedded_once_and_a_broken_picture_fails_alone() {
    let test = TestApp::start(|_| {}).await;
    for copy in 0..5 {
        test.put(&format!("red {copy}.png"), RED, 4);
    }
    test.put("blue.png", BLUE, 4);
    test.source.put(&name_of("broken.png"), b"\x89PNG\r\n\x1a\nand nothing more");
    test.until_counts(6, 1).await;
    assert_eq!(test.model.pictures_encoded(), 2);
    let page = test.app.catalog.failures(10, PageStart::Offset(0)).await.expect("listed");
    assert_eq!(page.failures[0].name, name_of("broken.png"));
    test.finish().await;
}

#[tokio::test]
async fn a_picture_without_a_usable_vector_fails_alone() {
    let change = |config: &mut crate::config::Config| {
        (config.ingest.attempts_max, config.ingest.retry_delay_ms) = (2, 1);
    };
    let test = TestApp::start(change).await;
    test.put("poison.png", crate::embedder::encoder::stand_in::StandIn::POISON, 4);
    test.put("red.png", RED, 4);
    test.put("blue.png", BLUE, 4);
    test.until_counts(2, 1).await;
    test.finish().await;
}

#[tokio::test]
async fn trouble_with_the_source_counts_against_no_picture() {
    let test = TestApp::start(|config| config.ingest.attempts_max = 1).await;
    test.source.fail(|faults| faults.reads_fail = Some(ErrorKind::TimedOut));
    for edge in 1..=10 {
        test.put(&format!("{edge}.png"), RED, edge);
    }
    test.until("indexing says that it cannot read", async || {
        let state = test.app.serving.state();
        state.ingest().is_some_and(|ingest| ingest.status(1).message.is_some())
    })
    .await;
    test.source.fail(|faults| faults.reads_fail = None);
    test.until_counts(10, 0).await;
    test.finish().await;
}

#[tokio::test]
async fn what_is_under_way_is_given_back_at_the_end_and_done_after_a_restart() {
    let test = TestApp::start(|_| {}).await;
    let model = test.model.clone();
    let held = model.hold_pictures();
    for edge in 1..=20 {
        test.put(&format!("{edge}.png"), RED, edge);
    }
    test.until("pictures are under way", async || test.app.metrics.in_flight.get() > 0).await;
    let restarted = tokio::spawn(test.restart());
    // The model lets go only when everything else has stopped.
    tokio::task::yield_now().await;
    drop(held);
    let test = restarted.await.expect("joined");
    test.until_counts(20, 0).await;
    assert_eq!(test.search("red").await.expect("answered").len(), 10);
    test.finish().await;
}

#[tokio::test]
async fn vectors_that_the_store_lost_are_made_again() {
    let test = TestApp::start(|_| {}).await;
    test.put("red.png", RED, 4);
    test.put("blue.png", BLUE, 4);
    test.until_counts(2, 0).await;
    let state = test.app.serving.state();
    let now = state.answering().expect("up");
    let image = test.app.catalog.image(&name_of("red.png")).await.expect("asked");
    let hash = image.and_then(|image| image.hash).expect("indexed");
    now.collection.delete(&[now.embedder.id().point_id(&hash)]).await.expect("deleted");
    now.collection.flush().await.expect("flushed");
    drop(state);
    let test = test.restart().await;
    test.until_counts(2, 0).await;
    test.until("it is found again", async || {
        test.search("red").await.is_ok_and(|names| names == ["red.png", "blue.png"])
    })
    .await;
    test.finish().await;
}

#[tokio::test]
async fn the_end_does_not_wait_for_an_index_that_is_being_built() {
    let change = |config: &mut crate::config::Config| {
        let embedded = &mut config.vector_store.embedded;
        // Takes many minutes, so that whoever waits for it runs into the deadline.
        (embedded.index_from_vectors, embedded.hnsw_m, embedded.hnsw_ef_construct) =
            (10_000, 64, 20_000);
    };
    let test = TestApp::start(change).await;
    let state = test.app.serving.state();
    let collection = state.answering().expect("up").collection.clone();
    let mut angle = 0.0_f32;
    for page in 0..30_u128 {
        let point = |number: u128| {
            angle += 0.7;
            let id = uuid::Uuid::from_u128(page * 1000 + number);
            let vector = vec![angle.sin(), angle.cos(), (angle * 1.3).sin(), (angle * 1.7).cos()];
            crate::vector_store::Point { id, vector, payload: crate::vector_store::Payload::new() }
        };
        collection.upsert((0..1000).map(point).collect()).await.expect("stored");
    }
    let building = test
        .app
        .data_dir
        .path()
        .join("vectors")
        .join(&collection.spec().name)
        .join("maintenance.journal");
    test.until("the index is being built", async || building.exists()).await;
    drop((state, collection));
    test.finish().await;
}
