//! Searches in an application with a stand-in model: a text finds pictures of the colour that it names.

use super::*;
use crate::test_app::{TestApp, name_of};

const RED: [u8; 3] = [250, 0, 0];
const BLUE: [u8; 3] = [0, 0, 250];

async fn gallery() -> TestApp {
    let test = TestApp::start(|_| {}).await;
    test.put("red.png", RED, 4);
    test.put("copy of red.png", RED, 4);
    test.put("larger red.png", RED, 6);
    test.put("blue.png", BLUE, 4);
    test.until_counts(4, 0).await;
    test
}

#[tokio::test]
async fn copies_are_one_match_and_the_window_moves_along_the_ranking() {
    let test = gallery().await;
    let window = |limit, offset| Window { limit, offset };
    let search = async |window| {
        let query = Query::Text("red".into());
        test.app.searcher.search(query, window).await.expect("answered").matches
    };
    let all = search(window(10, 0)).await;
    assert_eq!(all.len(), 3);
    assert_eq!(all[2].image_name, name_of("blue.png"));
    let copied = all.iter().find(|found| !found.other_names.is_empty()).expect("the copy");
    assert_eq!(copied.image_name, name_of("copy of red.png"));
    assert_eq!(copied.other_names, [name_of("red.png")]);
    assert_eq!(search(window(1, 1)).await, all[1..2]);
    assert_eq!(search(window(10, 3)).await, []);
    test.finish().await;
}

#[tokio::test]
async fn an_indexed_image_and_a_picture_find_what_looks_like_them() {
    let test = gallery().await;
    let window = Window { limit: 1, offset: 0 };
    let like = Query::Like(name_of("blue.png"));
    let answer = test.app.searcher.search(like, window).await.expect("answered");
    assert_eq!(answer.matches[0].image_name, name_of("blue.png"));
    assert!(answer.matches[0].score > 0.999);
    let unknown = Query::Like(name_of("no such.png"));
    let refused = test.app.searcher.search(unknown, window).await;
    assert!(matches!(refused, Err(SearchError::NoSuchImage(_))));
    let share = test.app.decoder.share_for_file(5).await;
    let nonsense = Query::Picture(b"words".to_vec(), share);
    let nonsense = test.app.searcher.search(nonsense, window).await;
    assert!(matches!(nonsense, Err(SearchError::Picture(_))));
    test.finish().await;
}

#[tokio::test]
async fn without_a_model_nothing_is_answered_and_with_one_it_is() {
    let test = TestApp::without_model(|_| {}).await;
    assert!(matches!(test.search("red").await, Err(SearchError::ModelNotReady)));
    test.finish().await;
}

#[tokio::test]
async fn more_searches_than_may_wait_are_refused_at_once() {
    let change = |config: &mut crate::config::Config| {
        (config.search.concurrent_max, config.search.waiting_max) = (1, 1);
    };
    let test = TestApp::start(change).await;
    let held = test.model.hold_texts();
    let searches = async {
        let (first, second) = (test.search("red"), test.search("blue"));
        let third = async {
            test.until("two searches are under way", async || {
                test.app.searcher.places.available_permits() == 0
            })
            .await;
            let refused = test.search("green").await;
            drop(held);
            refused
        };
        tokio::join!(first, second, third)
    };
    let (first, second, third) = searches.await;
    assert!(matches!(third, Err(SearchError::Overloaded)));
    first.expect("answered");
    second.expect("answered");
    assert_eq!(test.app.searcher.places.available_permits(), 2);
    test.finish().await;
}

#[tokio::test]
async fn the_deadline_ends_a_search_and_gives_its_place_back() {
    let change = |config: &mut crate::config::Config| config.search.deadline_ms = 20;
    let test = TestApp::start(change).await;
    let held = test.model.hold_texts();
    assert!(matches!(test.search("red").await, Err(SearchError::Deadline(20))));
    drop(held);
    let searcher = &test.app.searcher;
    assert_eq!(searcher.turns.available_permits(), test.app.config.search.concurrent_max);
    test.finish().await;
}
