//! Learning in the whole application, with a stand-in model: a text finds pictures of the colour that it names.

use super::*;
use crate::catalog::{Gate, GateOutcome, ImageRating, RatingChange};
use crate::feedback::{self, Rater};
use crate::quality::{Comparison, Verdict};
use crate::search::{Answer, Paging, SearchOptions, Window};
use crate::test_app::{TestApp, name_of};

const FAR: Window = Window { limit: 40, offset: 0 };

/// Twelve shades, the reddest first.
async fn shades(change: impl FnOnce(&mut crate::config::Config)) -> TestApp {
    let test = TestApp::start(change).await;
    for number in 0..12 {
        let paler = 10 * number;
        test.put(&format!("{number:02}.png"), [250 - paler, paler, paler], 4);
    }
    test.until_counts(12, 0).await;
    test
}

fn options(learning: Learning) -> SearchOptions {
    SearchOptions { names: false, learning, ..SearchOptions::default() }
}

fn seen_by(viewer: &str) -> Learning {
    Learning { viewer: Some(viewer.to_owned()), ..Learning::default() }
}

async fn ask(test: &TestApp, text: &str, learning: Learning) -> Answer {
    let query = Query::Text(text.to_owned());
    test.app.searcher.search_with(query, FAR, options(learning)).await.expect("answered")
}

fn order(answer: &Answer) -> Vec<String> {
    answer.matches.iter().map(|found| found.image_name.to_string()).collect()
}

/// Rates an answer and waits until it is remembered.
async fn rate(test: &TestApp, rater: &str, token: &str, thumbs: &[(&str, bool)]) {
    let rated = |(name, relevant): &(&str, bool)| ImageRating {
        image_name: (*name).to_owned(),
        relevant: *relevant,
    };
    let images = Some(thumbs.iter().map(rated).collect());
    let change = RatingChange { value: None, images };
    let from = Rater { pseudonym: rater, token };
    let tokens = test.app.searcher.tokens();
    feedback::take(&test.app.catalog, tokens, &test.app.metrics, from, change)
        .await
        .expect("taken");
    test.app.searcher.recall_ratings().await.expect("recalled");
}

#[tokio::test]
async fn what_was_liked_moves_up_for_who_said_so_and_for_all_when_two_agree() {
    let test = shades(|_| {}).await;
    let before = ask(&test, "red", Learning::default()).await;
    assert_eq!((order(&before)[0].as_str(), before.learned_from), ("00.png", 0));
    let thumbs = [("05.png", true), ("00.png", false)];
    rate(&test, "anna", &before.jwt, &thumbs).await;
    let own = ask(&test, "red", seen_by("anna")).await;
    assert_eq!((order(&own)[0].as_str(), own.learned_from), ("05.png", 1));
    let refined = Learning { refine: Some(before.jwt.clone()), ..seen_by("anna") };
    assert_eq!(ask(&test, "red", refined).await.learned_from, 1, "one rating is not two");
    let of = |answer: &Answer, name: &str| {
        answer.matches.iter().find(|found| found.image_name == name_of(name)).map(|it| it.score)
    };
    assert_eq!(of(&own, "05.png"), of(&before, "05.png"), "scores stay what they are");
    let others = ask(&test, "red", seen_by("bert")).await;
    assert_eq!((order(&others), others.learned_from), (order(&before), 0));
    rate(&test, "bert", &others.jwt, &thumbs).await;
    let third = ask(&test, "red", seen_by("carl")).await;
    assert_eq!((order(&third)[0].as_str(), third.learned_from), ("05.png", 2));
    let plain = Learning { enabled: false, ..seen_by("anna") };
    let plain = ask(&test, "red", plain).await;
    assert_eq!((order(&plain), plain.learned_from), (order(&before), 0));
    let elsewhere = ask(&test, "blue", seen_by("anna")).await;
    assert_eq!(elsewhere.learned_from, 0);
    test.finish().await;
}

#[tokio::test]
async fn the_last_rating_of_a_token_counts_and_a_renamed_picture_keeps_its_thumbs() {
    let test = shades(|_| {}).await;
    let before = ask(&test, "red", Learning::default()).await;
    rate(&test, "anna", &before.jwt, &[("07.png", true)]).await;
    rate(&test, "anna", &before.jwt, &[("05.png", true)]).await;
    assert_eq!(order(&ask(&test, "red", seen_by("anna")).await)[0], "05.png");
    // A move is a gone and a new name.
    test.source.remove(&name_of("05.png"));
    test.put("moved.png", [200, 50, 50], 4);
    test.until("it is found under its new name", async || {
        order(&ask(&test, "red", seen_by("anna")).await).contains(&"moved.png".to_owned())
    })
    .await;
    assert_eq!(order(&ask(&test, "red", seen_by("anna")).await)[0], "moved.png");
    test.finish().await;
}

#[tokio::test]
async fn a_session_refines_at_once_and_only_with_a_token_of_ours() {
    let test = shades(|config| config.learning.enabled = false).await;
    let before = ask(&test, "red", Learning::default()).await;
    rate(&test, "anna", &before.jwt, &[("09.png", true), ("00.png", false)]).await;
    let plain = ask(&test, "red", seen_by("anna")).await;
    assert_eq!(order(&plain), order(&before), "learning is off");
    let refine = |token: &str| Learning { refine: Some(token.to_owned()), ..Learning::default() };
    let refined = ask(&test, "red", refine(&before.jwt)).await;
    let (names, learned_from) = (order(&refined), refined.learned_from);
    assert_eq!((names[0].as_str(), names[11].as_str(), learned_from), ("09.png", "00.png", 1));
    let unrated = ask(&test, "red", refine(&plain.jwt)).await;
    assert_eq!(order(&unrated), order(&before));
    let query = Query::Text("red".into());
    let refused = test.app.searcher.search_with(query, FAR, options(refine("x.y.z"))).await;
    assert!(matches!(refused, Err(SearchError::Refine(_))));
    test.finish().await;
}

#[tokio::test]
async fn what_was_learned_survives_a_restart_and_is_gone_when_it_is_forgotten() {
    let test = shades(|config| config.learning.sources_min = 1).await;
    let before = ask(&test, "red", Learning::default()).await;
    rate(&test, "anna", &before.jwt, &[("05.png", true)]).await;
    let test = test.restart().await;
    test.app.searcher.recall_ratings().await.expect("recalled");
    assert_eq!(order(&ask(&test, "red", Learning::default()).await)[0], "05.png");
    // Half of the two on a page each: the order of pages is that of the whole.
    let half = SearchOptions { paging: Paging::FirstPage, ..options(Learning::default()) };
    let window = Window { limit: 6, offset: 0 };
    let page = async |options: SearchOptions| {
        let query = Query::Text("red".to_owned());
        test.app.searcher.search_with(query, window, options).await.expect("answered")
    };
    let first = page(half.clone()).await;
    let paging = Paging::After(first.next.clone().expect("more"));
    let second = page(SearchOptions { paging, ..half }).await;
    let whole = order(&ask(&test, "red", Learning::default()).await);
    assert_eq!([order(&first), order(&second)].concat(), whole);
    let forgotten = test.app.catalog.forget_ratings(&Forgotten::Query("red".into())).await;
    assert_eq!(forgotten.expect("forgotten"), 1);
    test.app.searcher.recall_ratings().await.expect("recalled");
    assert_eq!(order(&ask(&test, "red", Learning::default()).await), order(&before));
    test.finish().await;
}

#[tokio::test]
async fn memory_is_bounded_by_its_newest_ratings() {
    let test = shades(|config| {
        (config.learning.ratings_max, config.learning.sources_min) = (1, 1);
    })
    .await;
    let first = ask(&test, "red", Learning::default()).await;
    let second = ask(&test, "red", Learning::default()).await;
    rate(&test, "anna", &first.jwt, &[("04.png", true)]).await;
    rate(&test, "anna", &second.jwt, &[("05.png", true)]).await;
    let names = order(&ask(&test, "red", Learning::default()).await);
    assert_eq!((names[0].as_str(), names[1].as_str()), ("05.png", "00.png"));
    assert!(test.app.metrics.encode().contains("remembered_ratings 1"));
    test.finish().await;
}

#[test]
fn a_list_says_little_and_less_the_further_down() {
    let results = (0..3)
        .map(|number: u8| crate::types::ImpressionResult {
            hash_prefix: ContentHash::of(&[number]).to_string()[..16].to_owned(),
            score: 0.5,
        })
        .collect();
    let impression = crate::types::Impression {
        id: "i".into(),
        query: "red".into(),
        model: "m".into(),
        results,
        searched_ms: 0,
    };
    let rating = crate::catalog::Rating { value: Some(10), images: Vec::new() };
    let row = crate::catalog::FeedbackRow { impression, rating, created_ms: 0, updated_ms: 0 };
    let rating = RememberedRating { row, rater: "a".into(), thumbs: None, change: 1 };
    let elsewhere = Thumb { hash: ContentHash::of(b"not among the results"), relevant: true };
    let down = Thumb { hash: ContentHash::of(&[1]), relevant: false };
    let said: Vec<f32> =
        says(&rating, &[down, elsewhere]).iter().map(|(_, value)| *value).collect();
    assert_eq!(said.len(), 3);
    assert!((said[0] - LIST_WEIGHT).abs() < 1e-6 && (said[1] + 1.0).abs() < 1e-6);
    assert!(0.0 < said[2] && said[2] < said[0]);
}

/// So many rated once each, by somebody else each time: this one is wanted, and that one is not.
async fn rate_often(test: &TestApp, from: usize, times: usize, wanted: &str, unwanted: &str) {
    for number in from..from + times {
        let answer = ask(test, "red", Learning::default()).await;
        let thumbs = [(wanted, true), (unwanted, false)];
        rate(test, &format!("somebody {number}"), &answer.jwt, &thumbs).await;
    }
}

fn gated(config: &mut crate::config::Config) {
    let learning = &mut config.learning;
    (learning.sources_min, learning.gate_queries_min, learning.gate_every_ratings) = (1, 4, 20);
}

#[tokio::test]
async fn learning_that_does_harm_switches_itself_off_and_on_again_when_it_helps() {
    let test = shades(gated).await;
    let searcher = &test.app.searcher;
    rate_often(&test, 0, 16, "05.png", "00.png").await;
    searcher.follow_learning_gate().await.expect("nothing is due");
    assert_eq!(searcher.learning_version(), LearningVersion::default());
    // The newest find that the order without was better.
    rate_often(&test, 16, 4, "00.png", "05.png").await;
    assert_eq!(order(&ask(&test, "red", Learning::default()).await)[0], "05.png");
    searcher.follow_learning_gate().await.expect("measured");
    let off = LearningVersion { number: 1, is_active: false, is_fixed: false };
    assert_eq!(searcher.learning_version(), off);
    let plain = ask(&test, "red", seen_by("somebody 1")).await;
    assert_eq!((order(&plain)[0].as_str(), plain.learned_from), ("00.png", 0));
    assert!(test.app.metrics.encode().contains("learning_active 0"));
    // Whoever refines says so for this search alone.
    let refine = Learning { refine: Some(plain.jwt.clone()), ..Learning::default() };
    rate(&test, "anna", &plain.jwt, &[("07.png", true)]).await;
    assert_eq!(order(&ask(&test, "red", refine).await)[0], "07.png");

    let test = test.restart().await;
    let searcher = &test.app.searcher;
    searcher.recall_ratings().await.expect("recalled");
    searcher.follow_learning_gate().await.expect("read");
    assert_eq!(searcher.learning_version(), off, "it is kept");
    rate_often(&test, 20, 40, "05.png", "00.png").await;
    searcher.follow_learning_gate().await.expect("measured");
    let on = LearningVersion { number: 2, is_active: true, is_fixed: false };
    assert_eq!(searcher.learning_version(), on);
    assert_eq!(order(&ask(&test, "red", Learning::default()).await)[0], "05.png");
    let kept = test.app.catalog.decisions(Gate::Learning, 9).await.expect("asked");
    let figures: Vec<Comparison> = kept
        .iter()
        .map(|row| serde_json::from_str(row.figures.as_deref().expect("measured")).expect("JSON"))
        .collect();
    assert_eq!((figures[0].verdict, figures[1].verdict), (Verdict::Better, Verdict::Worse));
    assert_eq!((figures[1].queries, figures[1].worsened, figures[1].change), (4, 4, 20));
    test.finish().await;
}

#[tokio::test]
async fn an_operator_switches_learning_off_and_on_whatever_is_measured() {
    let test = shades(gated).await;
    let (searcher, catalog) = (&test.app.searcher, &test.app.catalog);
    rate_often(&test, 0, 19, "05.png", "00.png").await;
    decide_by_hand(&**catalog, GateOutcome::Off).await.expect("decided");
    searcher.follow_learning_gate().await.expect("read");
    assert_eq!(ask(&test, "red", Learning::default()).await.learned_from, 0);
    let judged = searcher.judge_learning().await.expect("measured");
    assert_eq!(judged.comparison.verdict, Verdict::TooFew, "19 / 5 is 3");
    rate_often(&test, 19, 6, "05.png", "00.png").await;
    let judged = searcher.judge_learning().await.expect("measured");
    let off = LearningVersion { number: 3, is_active: false, is_fixed: true };
    assert_eq!((judged.comparison.verdict, judged.version), (Verdict::Better, off));
    decide_by_hand(&**catalog, GateOutcome::Auto).await.expect("decided");
    searcher.follow_learning_gate().await.expect("read");
    assert!(searcher.learning_version().is_active && !searcher.learning_version().is_fixed);
    assert!(ask(&test, "red", Learning::default()).await.learned_from > 0);
    test.finish().await;
}
