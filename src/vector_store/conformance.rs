//! What every `VectorStore` must do, as cases that each become a test of their own for each implementation:
//! `conformance_tests!(Subject)` in the implementation's tests. A case that fails tells by its name what is broken.

mod collections;
mod markers;
mod points;
mod searches;

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{
    Collection, CollectionSpec, Condition, Effort, FieldKind, PayloadValue, Point, PointFilter,
    ScoredPoint, SearchQuery, StoreError, VectorStore,
};

pub(crate) use self::collections::*;
pub(crate) use self::markers::*;
pub(crate) use self::points::*;
pub(crate) use self::searches::*;

pub(crate) type Outcome = Result<(), StoreError>;

/// A place with an implementation's store in it, empty at first and gone when dropped.
pub(crate) trait Subject: Sized {
    /// `None`: this implementation cannot be tested here.
    async fn start() -> Result<Option<Self>, StoreError>;

    /// Opens the store; every call opens the same place. The one opened before is closed or dropped by then.
    async fn open(&self) -> Result<Box<dyn VectorStore>, StoreError>;

    /// Cleans up what would outlive the test.
    async fn finish(self) -> Outcome {
        Ok(())
    }
}

/// Makes a test of each case.
macro_rules! conformance_tests {
    ($(#[$attribute:meta])* $subject:ty) => {
        $crate::vector_store::conformance::conformance_tests!($(#[$attribute])* $subject;
            an_empty_collection_answers_with_nothing,
            points_come_back_whole,
            upserting_again_overwrites_vector_and_payload,
            of_equal_ids_in_one_batch_the_last_counts,
            deleted_points_are_gone_and_can_come_back,
            search_ranks_by_cosine_similarity,
            equal_scores_come_by_ascending_id_also_at_the_limit,
            any_of_matches_keyword_and_keywords,
            range_is_inclusive_and_open_ended,
            ids_and_must_not_combine,
            filters_without_conditions_match_everything_and_without_values_nothing,
            fields_without_an_index_can_be_filtered,
            bad_field_names_are_refused,
            exact_search_equals_comparing_with_every_point,
            limits_of_zero_and_beyond_the_collection_are_fine,
            counts_are_exact,
            scroll_walks_every_point_once_in_order,
            wrong_dimensions_are_refused_everywhere,
            vectors_without_direction_are_refused,
            ten_thousand_points,
            unicode_payloads_survive,
            concurrent_writers_and_readers,
            closed_and_reopened_keeps_everything,
            flushed_and_dropped_keeps_everything,
            the_active_pointer_switches_and_survives,
            dropped_collections_are_gone_but_the_active_one_is_refused,
            collections_are_listed_by_name,
            collections_do_not_see_each_other,
            opening_twice_gives_the_same_collection,
            a_healthy_store_says_so,
            maintenance_changes_no_answer,
            unsafe_names_are_refused,
            markers_are_kept_and_replaced,
            a_marker_is_no_point,
            a_collection_that_is_not_there_has_no_marker,
        );
    };
    ($(#[$attribute:meta])* $subject:ty; $($case:ident),+ $(,)?) => {
        $crate::vector_store::conformance::conformance_tests!(@each [$(#[$attribute])*] $subject; $($case),+);
    };
    (@each $attributes:tt $subject:ty; $($case:ident),+) => {
        $($crate::vector_store::conformance::conformance_tests!(@one $attributes $subject; $case);)+
    };
    (@one [$(#[$attribute:meta])*] $subject:ty; $case:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $(#[$attribute])*
        async fn $case() -> $crate::vector_store::conformance::Outcome {
            use $crate::vector_store::conformance::{self, Subject};
            let Some(subject) = <$subject as Subject>::start().await? else { return Ok(()) };
            let outcome = conformance::$case(&subject).await;
            outcome.and(subject.finish().await)
        }
    };
}
pub(crate) use conformance_tests;

const DIM: usize = 8;
const NONE: [u64; 0] = [];

/// Pseudo-random, L2-normalised, the same for the same seed everywhere.
pub(crate) fn vector(seed: u64, dim: usize) -> Vec<f32> {
    let mut state = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    };
    let values: Vec<f32> = (0..dim).map(|_| next()).collect();
    let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    values.into_iter().map(|value| value / norm).collect()
}

pub(crate) fn id(number: u64) -> Uuid {
    Uuid::from_u128(u128::from(number))
}

/// Point `number` with a payload that the filter cases use.
pub(crate) fn point(number: u64, dim: usize) -> Point {
    let payload = [
        ("parity".to_owned(), keyword(if number.is_multiple_of(2) { "even" } else { "odd" })),
        ("number".to_owned(), PayloadValue::Integer(number as i64)),
        (
            "tags".to_owned(),
            PayloadValue::Keywords(vec![
                format!("mod3-{}", number % 3),
                format!("mod5-{}", number % 5),
            ]),
        ),
    ];
    Point { id: id(number), vector: vector(number, dim), payload: payload.into() }
}

fn points(numbers: impl IntoIterator<Item = u64>) -> Vec<Point> {
    numbers.into_iter().map(|number| point(number, DIM)).collect()
}

fn keyword(text: &str) -> PayloadValue {
    PayloadValue::Keyword(text.to_owned())
}

pub(crate) fn spec(name: &str, dim: usize) -> CollectionSpec {
    let fields = [
        ("parity", FieldKind::Keyword),
        ("tags", FieldKind::Keyword),
        ("number", FieldKind::Integer),
    ];
    let indexed_fields = fields.map(|(field, kind)| (field.to_owned(), kind)).to_vec();
    CollectionSpec { name: name.to_owned(), dim, indexed_fields }
}

fn query(vector: Vec<f32>, limit: usize) -> SearchQuery {
    SearchQuery { vector, limit, filter: None, effort: Effort::Usual }
}

fn must(conditions: impl Into<Vec<Condition>>) -> PointFilter {
    PointFilter { must: conditions.into(), must_not: Vec::new() }
}

fn must_not(conditions: impl Into<Vec<Condition>>) -> PointFilter {
    PointFilter { must: Vec::new(), must_not: conditions.into() }
}

fn any_of(field: &str, values: &[&str]) -> Condition {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    Condition::AnyOf { field: field.to_owned(), values }
}

fn range(field: &str, min: Option<i64>, max: Option<i64>) -> Condition {
    Condition::Range { field: field.to_owned(), min, max }
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Numbers of the points that match, by search and by count; both must agree.
async fn matching(
    collection: &dyn Collection,
    filter: PointFilter,
) -> Result<Vec<u64>, StoreError> {
    let everything = SearchQuery { filter: Some(filter.clone()), ..query(vector(0, DIM), 1000) };
    let hits = collection.search(everything).await?;
    let numbers: BTreeSet<u64> = hits.iter().map(|hit| hit.id.as_u128() as u64).collect();
    assert_eq!(numbers.len(), hits.len(), "a point was found twice");
    assert_eq!(
        collection.count(Some(&filter)).await?,
        hits.len() as u64,
        "count and search disagree about {filter:?}"
    );
    let ours = scroll_all(collection, 1000)
        .await?
        .into_iter()
        .filter(|point| filter.matches(point.id, &point.payload));
    assert!(
        ours.map(|point| point.id).eq(numbers.iter().copied().map(id)),
        "the store reads {filter:?} as we do not"
    );
    Ok(numbers.into_iter().collect())
}

pub(crate) async fn scroll_all(
    collection: &dyn Collection,
    page: usize,
) -> Result<Vec<Point>, StoreError> {
    let mut all: Vec<Point> = Vec::new();
    loop {
        let points = collection.scroll(all.last().map(|point| point.id), page).await?;
        assert!(points.len() <= page, "a page of {} points, asked for {page}", points.len());
        if points.is_empty() {
            return Ok(all);
        }
        all.extend(points);
    }
}

/// Stores return vectors as they keep them, which for cosine may mean normalised once more.
pub(crate) fn assert_same(got: &Point, wanted: &Point) {
    assert_eq!((got.id, &got.payload), (wanted.id, &wanted.payload));
    assert_eq!(got.vector.len(), wanted.vector.len());
    let near = got.vector.iter().zip(&wanted.vector).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(near, "point {} came back with another vector", got.id);
}

fn ids(hits: &[ScoredPoint]) -> Vec<Uuid> {
    hits.iter().map(|hit| hit.id).collect()
}
