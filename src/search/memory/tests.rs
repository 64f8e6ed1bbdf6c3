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
    let undecided = ask(&test, "red", seen_by("carl")).await;
    assert_eq!((order(&undecided), undecided.learned_from), (order(&before), 0), "not proven");
    let own = ask(&test, "red", seen_by("bert")).await;
    assert_eq!((order(&own)[0].as_str(), own.learned_from), ("05.png", 1), "their own counts");
    decide_by_hand(&*test.app.catalog, GateOutcome::On).await.expect("decided");
    test.app.searcher.follow_learning_gate().await.expect("read");
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

/// Rates once: this one is wanted, and that one is not.
async fn rate_as(test: &TestApp, rater: &str, text: &str, wanted: &str, unwanted: &str) {
    let answer = ask(test, text, Learning::default()).await;
    rate(test, rater, &answer.jwt, &[(wanted, true), (unwanted, false)]).await;
}

/// "red" finds 00.png first and "blue" finds 11.png first. With a changed mind the one after the first is wanted, and otherwise not.
async fn rate_often(test: &TestApp, numbers: std::ops::Range<usize>, changed_mind: bool) {
    for number in numbers {
        let (text, first, other) = if number % 2 == 0 {
            ("red", "00.png", "05.png")
        } else {
            ("blue", "11.png", "06.png")
        };
        let (wanted, unwanted) = if changed_mind { (first, other) } else { (other, first) };
        rate_as(test, &format!("somebody {number}"), text, wanted, unwanted).await;
    }
}

fn gated(config: &mut crate::config::Config) {
    let learning = &mut config.learning;
    (learning.gate_queries_min, learning.gate_every_ratings) = (4, 20);
}

async fn follow(test: &TestApp) -> LearningVersion {
    test.app.searcher.follow_learning_gate().await.expect("followed");
    test.app.searcher.learning_version()
}

async fn first_of(test: &TestApp, text: &str, learning: Learning) -> (String, u32) {
    let answer = ask(test, text, learning).await;
    (order(&answer).swap_remove(0), answer.learned_from)
}

fn version(number: i64, from: LearnsFrom) -> LearningVersion {
    LearningVersion { number, from, is_fixed: false }
}

async fn figures(test: &TestApp) -> Vec<Comparison> {
    let kept = test.app.catalog.decisions(Gate::Learning, 9).await.expect("asked");
    let of = |row: &crate::catalog::GateDecision| {
        serde_json::from_str(row.figures.as_deref().expect("measured")).expect("JSON")
    };
    kept.iter().map(of).collect()
}

/// As the report tells them, newest first.
async fn outcomes(test: &TestApp) -> Vec<&'static str> {
    let decided = crate::quality::decided(&*test.app.catalog).await.expect("asked");
    decided.learning.iter().map(|decision| decision.outcome).collect()
}

#[tokio::test]
async fn what_others_said_counts_once_it_is_proven_and_is_taken_back_when_it_gets_worse() {
    let test = shades(gated).await;
    let plain = ("00.png".to_owned(), 0);
    rate_often(&test, 0..19, false).await;
    assert_eq!(follow(&test).await, LearningVersion::default(), "nothing is due");
    assert_eq!(first_of(&test, "red", Learning::default()).await, plain);
    assert_eq!(first_of(&test, "red", seen_by("somebody 0")).await, ("05.png".to_owned(), 1));
    rate_often(&test, 19..20, false).await;
    assert_eq!(follow(&test).await, version(1, LearnsFrom::All));
    assert_eq!(first_of(&test, "red", Learning::default()).await, ("05.png".to_owned(), 10));
    assert!(test.app.metrics.encode().contains("learning_from_others 1"));

    // Wishes change.
    rate_often(&test, 20..40, true).await;
    assert_eq!(follow(&test).await, version(2, LearnsFrom::Own));
    assert_eq!(first_of(&test, "red", Learning::default()).await, plain);
    assert_eq!(outcomes(&test).await, ["own", "on"]);
    let metrics = test.app.metrics.encode();
    assert!(metrics.contains("learning_from_others 0") && metrics.contains("learning_active 1"));
    assert_eq!(first_of(&test, "red", seen_by("somebody 0")).await, ("05.png".to_owned(), 1));
    let answer = ask(&test, "red", Learning::default()).await;
    let refine = Learning { refine: Some(answer.jwt.clone()), ..Learning::default() };
    rate(&test, "anna", &answer.jwt, &[("07.png", true)]).await;
    assert_eq!(first_of(&test, "red", refine).await, ("07.png".to_owned(), 1));

    let test = test.restart().await;
    test.app.searcher.recall_ratings().await.expect("recalled");
    assert_eq!(follow(&test).await, version(2, LearnsFrom::Own), "it is kept");
    rate_often(&test, 40..100, false).await;
    assert_eq!(follow(&test).await, version(3, LearnsFrom::All));
    let found = figures(&test).await;
    assert_eq!((found[0].verdict, found[2].verdict), (Verdict::Better, Verdict::Better));
    assert!(found[1].gain < 0.0 && found[1].verdict != Verdict::Better, "{:?}", found[1]);
    let first = &found[2];
    assert_eq!((first.queries, first.improved, first.change), (2, 2, 20));
    // The first two of each query have nobody before them that agrees.
    assert_eq!((first.ratings, first.sources), (16, Some(16)));
    test.finish().await;
}

#[tokio::test]
async fn ratings_that_contradict_each_other_leave_what_others_see_alone() {
    let test = shades(gated).await;
    for number in 0..40 {
        rate_often(&test, number..number + 1, number / 2 % 2 == 0).await;
    }
    assert_eq!(follow(&test).await, version(1, LearnsFrom::Own));
    assert_ne!(figures(&test).await[0].verdict, Verdict::Better);
    assert_eq!(first_of(&test, "red", Learning::default()).await, ("00.png".to_owned(), 0));
    test.finish().await;
}

#[tokio::test]
async fn a_loud_source_proves_nothing_by_its_own_votes() {
    let test = shades(gated).await;
    for number in 0..60 {
        let (text, wanted, unwanted) = if number % 2 == 0 {
            ("red", "05.png", "00.png")
        } else {
            ("blue", "06.png", "11.png")
        };
        rate_as(&test, if number < 56 { "loud" } else { "friend" }, text, wanted, unwanted).await;
    }
    assert_eq!(follow(&test).await, version(1, LearnsFrom::Own));
    let found = &figures(&test).await[0];
    assert_eq!((found.verdict, found.ratings), (Verdict::TooFew, 0), "two are no third");
    test.finish().await;
}

#[tokio::test]
async fn for_one_person_every_vote_counts_until_it_is_found_worse() {
    let one_person = |config: &mut crate::config::Config| {
        gated(config);
        config.learning.sources_min = 1;
    };
    let test = shades(one_person).await;
    rate_as(&test, "phone", "red", "05.png", "00.png").await;
    assert_eq!(first_of(&test, "red", Learning::default()).await, ("05.png".to_owned(), 1));
    rate_often(&test, 0..20, false).await;
    rate_often(&test, 20..21, true).await;
    assert_eq!(follow(&test).await, version(1, LearnsFrom::All));
    rate_often(&test, 21..41, true).await;
    assert_eq!(follow(&test).await, version(2, LearnsFrom::All), "no sign is enough");
    assert_eq!(figures(&test).await[0].verdict, Verdict::Alike);
    test.finish().await;
}

#[tokio::test]
async fn an_operator_switches_learning_off_and_on_whatever_is_measured() {
    let test = shades(gated).await;
    let (searcher, catalog) = (&test.app.searcher, &test.app.catalog);
    rate_often(&test, 0..4, false).await;
    decide_by_hand(&**catalog, GateOutcome::Off).await.expect("decided");
    follow(&test).await;
    assert_eq!(first_of(&test, "red", seen_by("somebody 0")).await, ("00.png".to_owned(), 0));
    assert!(test.app.metrics.encode().contains("learning_active 0"));
    assert_eq!(outcomes(&test).await, ["off"]);
    let judged = searcher.judge_learning().await.expect("measured");
    assert_eq!(judged.comparison.verdict, Verdict::TooFew);
    rate_often(&test, 4..24, false).await;
    let judged = searcher.judge_learning().await.expect("measured");
    let off = LearningVersion { number: 3, from: LearnsFrom::Nothing, is_fixed: true };
    assert_eq!((judged.comparison.verdict, judged.version), (Verdict::Better, off));
    decide_by_hand(&**catalog, GateOutcome::Auto).await.expect("decided");
    // It is left to what is measured, and so it is measured.
    assert_eq!(follow(&test).await, version(5, LearnsFrom::All));
    assert_eq!(first_of(&test, "red", Learning::default()).await.0, "05.png");
    assert_eq!(follow(&test).await, version(5, LearnsFrom::All), "once");
    test.finish().await;
}
