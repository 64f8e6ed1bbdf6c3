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
    let change = |config: &mut crate::config::Config| {
        (config.search.concurrent_max, config.search.deadline_ms) = (3, 20);
    };
    let test = TestApp::start(change).await;
    let held = test.model.hold_texts();
    assert!(matches!(test.search("red").await, Err(SearchError::Deadline(20))));
    drop(held);
    let searcher = &test.app.searcher;
    assert_eq!(searcher.turns.available_permits(), 3);
    test.finish().await;
}

fn named(matches: &[Match]) -> Vec<String> {
    matches.iter().map(|found| found.image_name.to_string()).collect()
}

async fn search_with(test: &TestApp, text: &str, limit: u32, options: SearchOptions) -> Answer {
    let (query, window) = (Query::Text(text.into()), Window { limit, offset: 0 });
    test.app.searcher.search_with(query, window, options).await.expect("answered")
}

#[tokio::test]
async fn names_come_first_or_beside_unless_they_are_switched_off() {
    let test = TestApp::start(|_| {}).await;
    for (number, name) in
        ["red.png", "a/crimson.png", "IMG_2041.png", "trips/blue lagoon/1.png"].iter().enumerate()
    {
        test.put(name, BLUE, 4 + number as u32);
    }
    for number in 0..6 {
        test.put(&format!("{number}.png"), RED, 20 + number);
    }
    test.until_counts(10, 0).await;
    let search = async |text: &str, names| {
        let options = SearchOptions { names, ..SearchOptions::default() };
        named(&search_with(&test, text, 10, options).await.matches)
    };
    assert_eq!(search("red", true).await[0], "red.png", "called so");
    assert!(search("red", false).await[0].starts_with(|c: char| c.is_ascii_digit()));
    let beside = search("red lagoon", true).await;
    assert_eq!(beside, search("red lagoon", false).await, "not all words");
    assert!(search("lagoon", true).await[..3].contains(&"trips/blue lagoon/1.png".to_owned()));
    assert!(search("img_2041", true).await[0] == "IMG_2041.png");
    assert!(search("IMG_20", true).await[..9].contains(&"IMG_2041.png".to_owned()));
    let all = search("red", true).await;
    assert_eq!(all.len(), 10, "each once: {all:?}");
    test.finish().await;
}

#[tokio::test]
async fn a_filter_is_obeyed_by_one_image_of_a_content_and_within_a_move() {
    let test = TestApp::start(|_| {}).await;
    test.put("a/red.png", RED, 4);
    test.put("b/same red.png", RED, 4);
    test.put("b/2020-01-01.png", RED, 5);
    test.put("b/blue.png", BLUE, 4);
    test.until_counts(4, 0).await;
    let folder =
        |folder: &str| ImageFilter { folder: Some(name_of(folder)), ..ImageFilter::default() };
    let search = async |filter: ImageFilter| {
        let options =
            SearchOptions { filter: Some(filter), names: false, ..SearchOptions::default() };
        search_with(&test, "red", 10, options).await.matches
    };
    let in_a = search(folder("a")).await;
    assert_eq!(named(&in_a), ["a/red.png"]);
    assert_eq!(in_a[0].other_names, [name_of("b/same red.png")]);
    let in_b = search(folder("b")).await;
    assert_eq!(in_b.len(), 3);
    assert!(in_b.iter().any(|found| found.image_name == name_of("b/same red.png")), "{in_b:?}");
    let old = ImageFilter {
        taken_after_ms: Some(1_500_000_000_000),
        taken_before_ms: Some(1_600_000_000_000),
        ..folder("b")
    };
    assert_eq!(named(&search(old.clone()).await), ["b/2020-01-01.png"]);
    assert!(search(ImageFilter { folder: Some(name_of("a")), ..old }).await.is_empty());
    // A move is a gone and a new name.
    test.source.remove(&name_of("b/blue.png"));
    test.put("c/blue.png", BLUE, 4);
    test.until("the picture is found where it is now", async || {
        named(&search(folder("c")).await) == ["c/blue.png"]
    })
    .await;
    assert_eq!(search(folder("b")).await.len(), 2);
    let list = test.app.searcher.list(&folder("b"), 1, crate::catalog::PageStart::Offset(0)).await;
    let list = list.expect("listed");
    assert_eq!((list.total, list.images.len(), list.next.is_some()), (2, 1, true));
    test.finish().await;
}

#[tokio::test]
async fn pages_go_on_where_they_ended_while_pictures_come_and_go() {
    let test = TestApp::start(|_| {}).await;
    let shade = |number: u8| [200 - number, number, number];
    for number in 0..40 {
        test.put(&format!("{number:02}.png"), shade(number), 4);
    }
    test.until_counts(40, 0).await;
    let first =
        SearchOptions { names: false, paging: Paging::FirstPage, ..SearchOptions::default() };
    let page = search_with(&test, "red", 7, first.clone()).await;
    let (mut seen, mut next) = (named(&page.matches), page.next);
    let mut rounds: u8 = 0;
    while let Some(cursor) = next {
        // One that was shown goes, one that will be shown stays, one comes that is better than all.
        test.source.remove(&name_of(&seen[usize::from(rounds)]));
        test.put(&format!("new {rounds}.png"), [255, 0, rounds], 5);
        let (gone, new) =
            (name_of(&seen[usize::from(rounds)]), name_of(&format!("new {rounds}.png")));
        test.until("one went and one came", async || {
            let catalog = &test.app.catalog;
            let image = async |name| catalog.image(name).await.expect("asked");
            image(&gone).await.is_none() && image(&new).await.is_some_and(|new| new.facts.is_some())
        })
        .await;
        if rounds == 2 {
            // As after a restart, or on another replica: the ranking is made again.
            test.app.searcher.rankings.clear();
        }
        let options = SearchOptions { paging: Paging::After(cursor), ..first.clone() };
        let page = search_with(&test, "red", 7, options).await;
        seen.extend(named(&page.matches));
        (next, rounds) = (page.next, rounds + 1);
    }
    let old: Vec<String> = seen.iter().filter(|name| !name.starts_with("new")).cloned().collect();
    let mut sorted = old.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!((old.len(), sorted.len()), (40, 40), "shown twice or left out: {seen:?}");
    assert_eq!(rounds, 5);
    let cursor = search_with(&test, "red", 7, first.clone()).await.next.expect("more");
    let other = SearchOptions { paging: Paging::After(cursor), ..first };
    let query = Query::Text("blue".into());
    let refused = test.app.searcher.search_with(query, Window { limit: 7, offset: 0 }, other).await;
    assert!(matches!(refused, Err(SearchError::Cursor(_))), "of another search");
    test.finish().await;
}

#[tokio::test]
async fn what_scores_mean_costs_the_model_nothing_after_a_restart() {
    let test = TestApp::start(|_| {}).await;
    for edge in 1..=70_u8 {
        test.put(&format!("{edge}.png"), [edge * 3, 250 - edge, 0], u32::from(edge));
    }
    test.until_counts(70, 0).await;
    let strength = async |test: &TestApp| {
        let options = SearchOptions { strength: true, ..SearchOptions::default() };
        let window = Window { limit: 3, offset: 0 };
        let query = Query::Text("red".into());
        let answer = test.app.searcher.search_with(query, window, options).await.expect("answered");
        answer.matches.iter().map(|found| found.strength.expect("known")).collect::<Vec<_>>()
    };
    let before = strength(&test).await;
    assert!(test.model.texts_encoded() > 100, "texts without meaning");
    let test = test.restart().await;
    test.until_counts(70, 0).await;
    assert_eq!(strength(&test).await, before);
    assert_eq!(test.model.texts_encoded(), 1, "only the query");
    test.finish().await;
}
