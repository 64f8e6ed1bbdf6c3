//! Reports on ratings that are made up.

use super::*;
use crate::catalog::{FeedbackRow, ImageRating, Rating, Thumb};
use crate::types::{ContentHash, Impression, ImpressionResult};

const DAY_MS: i64 = 86_400_000;

fn rating(
    query: &str,
    model: &str,
    day: i64,
    value: Option<u8>,
    thumbs: &[bool],
) -> RememberedRating {
    let hash = |place: usize| ContentHash::of(&[place as u8]);
    let images = thumbs.iter().enumerate().map(|(place, relevant)| ImageRating {
        image_name: format!("{place}.png"),
        relevant: *relevant,
    });
    let on_contents = thumbs
        .iter()
        .enumerate()
        .map(|(place, relevant)| Thumb { hash: hash(place), relevant: *relevant });
    let results = (0..4).map(|place| ImpressionResult {
        hash_prefix: hash(place).to_string()[..16].to_owned(),
        score: 0.3,
    });
    RememberedRating {
        row: FeedbackRow {
            impression: Impression {
                id: "i".into(),
                query: query.into(),
                model: model.into(),
                results: results.collect(),
                searched_ms: day * DAY_MS,
            },
            rating: Rating { value, images: images.collect() },
            created_ms: 0,
            updated_ms: 0,
        },
        rater: format!("rater of {query}"),
        thumbs: Some(on_contents.collect()),
        change: 1,
    }
}

fn report_of(ratings: &[RememberedRating]) -> Report {
    let mut tally = Tally::default();
    for rating in ratings {
        tally.add(rating);
    }
    tally.report(100)
}

#[test]
fn nothing_rated_is_an_empty_report() {
    let report = report_of(&[]);
    assert_eq!((report.ratings, report.value, report.thumbs), (0, None, None));
    assert!(report.over_time.is_empty() && report.by_model.is_empty() && report.worst.is_empty());
}

#[test]
fn numbers_and_thumbs_are_told_apart_and_by_model_and_version() {
    let report = report_of(&[
        rating("red", "clip@1", 0, Some(8), &[true, false]),
        rating("red", "clip@2", 1, Some(4), &[]),
        rating("blue", "clip@2", 1, None, &[true, true]),
    ]);
    assert_eq!((report.ratings, report.queries, report.raters), (3, 2, 2));
    assert_eq!(report.value.map(|value| (value.mean, value.count)), Some((6.0, 2)));
    assert_eq!(report.thumbs.map(|thumbs| (thumbs.share, thumbs.count)), Some((0.75, 4)));
    let models: Vec<(&str, &str, u64)> = report
        .by_model
        .iter()
        .map(|of| (of.model.as_str(), of.revision.as_str(), of.ratings))
        .collect();
    assert_eq!(models, [("clip", "2", 2), ("clip", "1", 1)]);
    let days: Vec<(&str, u64)> =
        report.over_time.iter().map(|of| (of.from.as_str(), of.ratings)).collect();
    assert_eq!((report.period, days), (Period::Day, vec![("1970-01-01", 1), ("1970-01-02", 2)]));
    assert_eq!(report.coverage, Coverage { images: 100, shown: 4, with_thumbs: 2 });
}

#[test]
fn the_worst_query_is_one_that_is_surely_bad() {
    let mut ratings = vec![rating("unlucky", "m", 0, Some(2), &[])];
    ratings.extend((0..6).map(|_| rating("bad", "m", 0, Some(3), &[])));
    ratings.extend((0..6).map(|_| rating("good", "m", 0, Some(9), &[])));
    ratings.push(rating("never seen", "m", 0, None, &[]));
    let worst: Vec<String> = report_of(&ratings).worst.into_iter().map(|of| of.text).collect();
    assert_eq!(worst, ["bad", "unlucky", "good"]);
}

#[test]
fn periods_grow_with_the_time_they_cover() {
    let of = |days: &[i64]| {
        let ratings: Vec<_> = days.iter().map(|day| rating("q", "m", *day, Some(5), &[])).collect();
        let report = report_of(&ratings);
        let beginnings: Vec<String> = report.over_time.into_iter().map(|of| of.from).collect();
        (report.period, beginnings)
    };
    // 1970-01-01 was a Thursday.
    assert_eq!(of(&[0, 39]).0, Period::Day);
    let (period, beginnings) = of(&[0, 3, 4, 40]);
    let mondays = ["1969-12-29", "1970-01-05", "1970-02-09"];
    assert_eq!((period, beginnings), (Period::Week, mondays.map(String::from).to_vec()));
    let (period, beginnings) = of(&[0, 30, 31, 400]);
    let firsts = ["1970-01-01", "1970-02-01", "1971-02-01"];
    assert_eq!((period, beginnings), (Period::Month, firsts.map(String::from).to_vec()));
}
