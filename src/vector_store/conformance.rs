//! What every `VectorStore` must do, as cases that each become a test of their own for each implementation:
//! `conformance_tests!(Subject)` in the implementation's tests. A case that fails tells by its name what is broken.

use std::collections::BTreeSet;
use std::sync::Arc;

use uuid::Uuid;

use super::{
    Collection, CollectionSpec, Condition, FieldKind, Filter, PayloadValue, Point, ScoredPoint, SearchQuery, StoreError, VectorStore,
};

pub(crate) type Outcome = Result<(), StoreError>;

/// A place with an implementation's store in it, empty at first and gone when dropped.
pub(crate) trait Subject: Sized {
    async fn start() -> Result<Self, StoreError>;

    /// Opens the store; every call opens the same place. The one opened before is closed or dropped by then.
    async fn open(&self) -> Result<Box<dyn VectorStore>, StoreError>;
}

/// Makes a test of each case.
macro_rules! conformance_tests {
    ($subject:ty) => {
        $crate::vector_store::conformance::conformance_tests!($subject;
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
        );
    };
    ($subject:ty; $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() -> $crate::vector_store::conformance::Outcome {
                let subject = <$subject as $crate::vector_store::conformance::Subject>::start().await?;
                $crate::vector_store::conformance::$case(&subject).await
            }
        )+
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
        ("tags".to_owned(), PayloadValue::Keywords(vec![format!("mod3-{}", number % 3), format!("mod5-{}", number % 5)])),
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
    let fields = [("parity", FieldKind::Keyword), ("tags", FieldKind::Keyword), ("number", FieldKind::Integer)];
    let indexed_fields = fields.map(|(field, kind)| (field.to_owned(), kind)).to_vec();
    CollectionSpec { name: name.to_owned(), dim, indexed_fields }
}

fn query(vector: Vec<f32>, limit: usize) -> SearchQuery {
    SearchQuery { vector, limit, filter: None, exact: false }
}

fn must(conditions: impl Into<Vec<Condition>>) -> Filter {
    Filter { must: conditions.into(), must_not: Vec::new() }
}

fn must_not(conditions: impl Into<Vec<Condition>>) -> Filter {
    Filter { must: Vec::new(), must_not: conditions.into() }
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
async fn matching(collection: &dyn Collection, filter: Filter) -> Result<Vec<u64>, StoreError> {
    let everything = SearchQuery { filter: Some(filter.clone()), ..query(vector(0, DIM), 1000) };
    let hits = collection.search(everything).await?;
    let numbers: BTreeSet<u64> = hits.iter().map(|hit| hit.id.as_u128() as u64).collect();
    assert_eq!(numbers.len(), hits.len(), "a point was found twice");
    assert_eq!(collection.count(Some(&filter)).await?, hits.len() as u64, "count and search disagree about {filter:?}");
    Ok(numbers.into_iter().collect())
}

pub(crate) async fn scroll_all(collection: &dyn Collection, page: usize) -> Result<Vec<Point>, StoreError> {
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

pub(crate) async fn an_empty_collection_answers_with_nothing(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let empty = store.open(&spec("empty", DIM)).await?;
    assert_eq!(empty.count(None).await?, 0);
    assert_eq!(empty.search(query(vector(1, DIM), 10)).await?, []);
    assert_eq!(empty.get(&[id(1)]).await?, []);
    assert_eq!(empty.scroll(None, 10).await?, []);
    empty.delete(&[id(1)]).await?;
    empty.delete(&[]).await?;
    empty.upsert(Vec::new()).await?;
    empty.flush().await?;
    assert!(!empty.maintain(false).await?, "nothing to maintain");
    store.close().await
}

pub(crate) async fn points_come_back_whole(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("whole", DIM)).await?;
    let wanted = points(0..20);
    collection.upsert(wanted.clone()).await?;
    let mut got = collection.get(&[id(3), id(17), id(999)]).await?;
    got.sort_by_key(|point| point.id);
    assert_eq!(got.len(), 2, "only what exists");
    assert_same(&got[0], &wanted[3]);
    assert_same(&got[1], &wanted[17]);
    let hits = collection.search(query(vector(7, DIM), 1)).await?;
    assert_eq!(hits[0].payload, wanted[7].payload);
    store.close().await
}

pub(crate) async fn upserting_again_overwrites_vector_and_payload(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("overwrite", DIM)).await?;
    collection.upsert(points(0..5)).await?;
    let payload = [("parity".to_owned(), keyword("neither"))].into();
    let changed = Point { id: id(2), vector: vector(77, DIM), payload };
    collection.upsert(vec![changed.clone()]).await?;
    assert_eq!(collection.count(None).await?, 5);
    assert_same(&collection.get(&[id(2)]).await?[0], &changed);
    assert_eq!(ids(&collection.search(query(vector(77, DIM), 1)).await?), [id(2)]);
    assert_eq!(matching(&*collection, must([any_of("parity", &["even"])])).await?, [0, 4]);
    assert_eq!(matching(&*collection, must([range("number", Some(2), Some(2))])).await?, NONE, "fields are not merged");
    store.close().await
}

pub(crate) async fn of_equal_ids_in_one_batch_the_last_counts(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("batch", DIM)).await?;
    let first = Point { id: id(1), ..point(50, DIM) };
    let last = Point { id: id(1), ..point(51, DIM) };
    collection.upsert(vec![first, point(2, DIM), last.clone()]).await?;
    assert_eq!(collection.count(None).await?, 2);
    assert_same(&collection.get(&[id(1)]).await?[0], &last);
    store.close().await
}

pub(crate) async fn deleted_points_are_gone_and_can_come_back(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("delete", DIM)).await?;
    collection.upsert(points(0..10)).await?;
    collection.delete(&[id(4), id(5), id(5), id(12345)]).await?;
    assert_eq!(collection.count(None).await?, 8);
    assert_eq!(collection.get(&[id(4)]).await?, []);
    assert!(!ids(&collection.search(query(vector(4, DIM), 10)).await?).contains(&id(4)));
    collection.upsert(points([4])).await?;
    assert_same(&collection.get(&[id(4)]).await?[0], &point(4, DIM));
    assert_eq!(ids(&collection.search(query(vector(4, DIM), 1)).await?), [id(4)]);
    store.close().await
}

pub(crate) async fn search_ranks_by_cosine_similarity(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("rank", DIM)).await?;
    collection.upsert(points(0..300)).await?;
    let wanted = vector(1_000_000, DIM);
    let hits = collection.search(query(wanted.clone(), 25)).await?;
    assert_eq!(hits.len(), 25);
    assert!(hits.is_sorted_by(|a, b| a.score >= b.score), "best first");
    for hit in &hits {
        let expected = cosine(&wanted, &vector(hit.id.as_u128() as u64, DIM));
        assert!((hit.score - expected).abs() < 1e-5, "{} instead of {expected}", hit.score);
    }
    let opposite = collection.search(query(wanted.iter().map(|value| -value).collect(), 300)).await?;
    assert!(opposite.last().is_some_and(|hit| hit.score < -0.5), "similarities may be negative");
    let own = collection.search(query(vector(42, DIM), 1)).await?;
    assert_eq!(own[0].id, id(42));
    assert!((own[0].score - 1.0).abs() < 1e-5);
    store.close().await
}

pub(crate) async fn equal_scores_come_by_ascending_id_also_at_the_limit(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("ties", DIM)).await?;
    let numbers: Vec<u64> = (0..60).map(|number| (number * 37) % 60).collect();
    let clones = numbers.iter().map(|number| Point { id: id(*number), ..point(500, DIM) });
    collection.upsert(clones.collect()).await?;
    collection.upsert(vec![point(600, DIM)]).await?;
    let hits = collection.search(query(vector(500, DIM), 7)).await?;
    assert_eq!(ids(&hits), (0..7).map(id).collect::<Vec<_>>());
    let hits = collection.search(query(vector(600, DIM), 4)).await?;
    assert_eq!(ids(&hits), [id(600), id(0), id(1), id(2)]);
    store.close().await
}

pub(crate) async fn any_of_matches_keyword_and_keywords(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("anyof", DIM)).await?;
    collection.upsert(points(0..15)).await?;
    assert_eq!(matching(&*collection, must([any_of("parity", &["odd"])])).await?, [1, 3, 5, 7, 9, 11, 13]);
    assert_eq!(matching(&*collection, must([any_of("parity", &["od", "ODD", "odd "])])).await?, NONE, "compared whole");
    assert_eq!(matching(&*collection, must([any_of("tags", &["mod3-0"])])).await?, [0, 3, 6, 9, 12]);
    let either = must([any_of("tags", &["mod3-0", "mod5-0"])]);
    assert_eq!(matching(&*collection, either).await?, [0, 3, 5, 6, 9, 10, 12]);
    let both = must([any_of("tags", &["mod3-0"]), any_of("tags", &["mod5-1"])]);
    assert_eq!(matching(&*collection, both).await?, [6]);
    store.close().await
}

pub(crate) async fn range_is_inclusive_and_open_ended(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("range", DIM)).await?;
    let mut all = points(0..10);
    all.push(Point { payload: [("number".to_owned(), PayloadValue::Integer(-5))].into(), ..point(10, DIM) });
    all.push(Point { payload: [("number".to_owned(), PayloadValue::Integer(1 << 40))].into(), ..point(11, DIM) });
    collection.upsert(all).await?;
    assert_eq!(matching(&*collection, must([range("number", Some(3), Some(5))])).await?, [3, 4, 5]);
    assert_eq!(matching(&*collection, must([range("number", Some(8), None)])).await?, [8, 9, 11]);
    assert_eq!(matching(&*collection, must([range("number", None, Some(0))])).await?, [0, 10]);
    assert_eq!(matching(&*collection, must([range("number", Some(1 << 40), Some(1 << 40))])).await?, [11]);
    assert_eq!(matching(&*collection, must([range("number", Some(5), Some(3))])).await?, NONE);
    assert_eq!(matching(&*collection, must([range("number", None, None)])).await?.len(), 12, "no bound, but a value");
    store.close().await
}

pub(crate) async fn ids_and_must_not_combine(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("combine", DIM)).await?;
    collection.upsert(points(0..12)).await?;
    let chosen = || Condition::Ids([2, 3, 4, 99].map(id).to_vec());
    assert_eq!(matching(&*collection, must([chosen()])).await?, [2, 3, 4]);
    assert_eq!(matching(&*collection, must_not([chosen()])).await?, [0, 1, 5, 6, 7, 8, 9, 10, 11]);
    let odd_without = Filter { must: vec![any_of("parity", &["odd"])], must_not: vec![chosen(), range("number", Some(9), None)] };
    assert_eq!(matching(&*collection, odd_without).await?, [1, 5, 7]);
    let neither = must_not([any_of("parity", &["odd"]), any_of("tags", &["mod3-0"])]);
    assert_eq!(matching(&*collection, neither).await?, [2, 4, 8, 10]);
    store.close().await
}

pub(crate) async fn filters_without_conditions_match_everything_and_without_values_nothing(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("vacuous", DIM)).await?;
    collection.upsert(points(0..4)).await?;
    assert_eq!(matching(&*collection, Filter::default()).await?, [0, 1, 2, 3]);
    assert_eq!(matching(&*collection, must([any_of("parity", &[])])).await?, NONE);
    assert_eq!(matching(&*collection, must_not([any_of("parity", &[])])).await?, [0, 1, 2, 3]);
    assert_eq!(matching(&*collection, must([Condition::Ids(Vec::new())])).await?, NONE);
    assert_eq!(matching(&*collection, must_not([Condition::Ids(Vec::new())])).await?, [0, 1, 2, 3]);
    store.close().await
}

pub(crate) async fn fields_without_an_index_can_be_filtered(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let bare = CollectionSpec { indexed_fields: Vec::new(), ..spec("bare", DIM) };
    let collection = store.open(&bare).await?;
    collection.upsert(points(0..6)).await?;
    assert_eq!(matching(&*collection, must([any_of("parity", &["odd"])])).await?, [1, 3, 5]);
    assert_eq!(matching(&*collection, must([range("number", Some(4), None)])).await?, [4, 5]);
    assert_eq!(matching(&*collection, must([any_of("no_such_field", &["odd"])])).await?, NONE);
    assert_eq!(matching(&*collection, must([any_of("number", &["4"])])).await?, NONE, "an integer is no keyword");
    assert_eq!(matching(&*collection, must([range("parity", None, Some(9))])).await?, NONE, "a keyword is no integer");
    store.close().await
}

pub(crate) async fn bad_field_names_are_refused(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("fields", DIM)).await?;
    for field in ["", "a.b", "a[0]", "a\"", "1a", "ä", "a b"] {
        let filter = must([any_of(field, &["x"])]);
        assert!(matches!(collection.count(Some(&filter)).await, Err(StoreError::Invalid(_))), "{field:?}");
        let search = SearchQuery { filter: Some(filter), ..query(vector(1, DIM), 1) };
        assert!(matches!(collection.search(search).await, Err(StoreError::Invalid(_))), "{field:?}");
        let indexed = CollectionSpec { indexed_fields: vec![(field.to_owned(), FieldKind::Keyword)], ..spec("other", DIM) };
        assert!(matches!(store.open(&indexed).await, Err(StoreError::Invalid(_))), "{field:?}");
    }
    store.close().await
}

pub(crate) async fn exact_search_equals_comparing_with_every_point(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("exact", DIM)).await?;
    collection.upsert(points(0..1000)).await?;
    for seed in 5000..5010 {
        let wanted = vector(seed, DIM);
        let mut expected: Vec<_> = (0..1000).map(|number| (cosine(&wanted, &vector(number, DIM)), number)).collect();
        expected.sort_by(|a, b| b.0.total_cmp(&a.0));
        let hits = collection.search(SearchQuery { exact: true, ..query(wanted, 10) }).await?;
        let expected: Vec<_> = expected.iter().take(10).map(|(_, number)| id(*number)).collect();
        assert_eq!(ids(&hits), expected);
    }
    store.close().await
}

pub(crate) async fn limits_of_zero_and_beyond_the_collection_are_fine(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("limits", DIM)).await?;
    collection.upsert(points(0..7)).await?;
    assert_eq!(collection.search(query(vector(1, DIM), 0)).await?, []);
    assert_eq!(collection.scroll(None, 0).await?, []);
    for exact in [false, true] {
        let all = collection.search(SearchQuery { exact, ..query(vector(1, DIM), 1_000_000) }).await?;
        assert_eq!(all.len(), 7);
    }
    assert_eq!(collection.scroll(None, 1_000_000).await?.len(), 7);
    store.close().await
}

pub(crate) async fn counts_are_exact(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("counts", DIM)).await?;
    collection.upsert(points(0..777)).await?;
    collection.upsert(points(700..800)).await?;
    assert_eq!(collection.count(None).await?, 800);
    collection.delete(&(0..100).map(id).collect::<Vec<_>>()).await?;
    assert_eq!(collection.count(None).await?, 700);
    assert_eq!(collection.count(Some(&must([any_of("parity", &["even"])]))).await?, 350);
    assert_eq!(collection.count(Some(&must([any_of("parity", &["none"])]))).await?, 0);
    store.close().await
}

pub(crate) async fn scroll_walks_every_point_once_in_order(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("scroll", DIM)).await?;
    // Ids spread over the whole range, stored in another order than theirs.
    let spread = |number: u64| Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_be_bytes());
    let mut wanted: Vec<Point> = (0..250).map(|number| Point { id: spread(number), ..point(number, DIM) }).collect();
    collection.upsert(wanted.clone()).await?;
    wanted.sort_by_key(|point| point.id);
    for page in [1, 7, 249, 250, 251] {
        let got = scroll_all(&*collection, page).await?;
        assert_eq!(got.len(), wanted.len(), "in pages of {page}");
        got.iter().zip(&wanted).for_each(|(got, wanted)| assert_same(got, wanted));
    }
    let after_missing = Uuid::from_u128(wanted[99].id.as_u128() + 1);
    assert_eq!(collection.scroll(Some(after_missing), 1).await?[0].id, wanted[100].id, "after an id that is not there");
    assert_eq!(collection.scroll(Some(Uuid::max()), 5).await?, []);
    assert_eq!(collection.scroll(Some(Uuid::nil()), 1).await?[0].id, wanted[0].id);
    store.close().await
}

pub(crate) async fn wrong_dimensions_are_refused_everywhere(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("dim", DIM)).await?;
    let is_wrong = |error: &StoreError, got_dim: usize| match error {
        StoreError::WrongDimension { collection, expected, got } => {
            assert_eq!((collection.as_str(), *expected, *got), ("dim", DIM, got_dim));
            true
        }
        _ => false,
    };
    let batch = vec![point(1, DIM), point(2, DIM + 1)];
    assert!(collection.upsert(batch).await.is_err_and(|error| is_wrong(&error, DIM + 1)));
    assert_eq!(collection.count(None).await?, 0, "none of a refused batch is stored");
    for dim in [0, DIM - 1] {
        assert!(collection.search(query(vec![1.0; dim], 1)).await.is_err_and(|error| is_wrong(&error, dim)));
    }
    assert!(store.open(&spec("dim", DIM * 2)).await.is_err_and(|error| is_wrong(&error, DIM * 2)));
    collection.flush().await?;
    drop(collection);
    store.close().await?;
    drop(store);
    let store = subject.open().await?;
    assert!(store.open(&spec("dim", DIM * 2)).await.is_err_and(|error| is_wrong(&error, DIM * 2)), "after a restart");
    assert!(matches!(store.open(&spec("none", 0)).await, Err(StoreError::Invalid(_))));
    store.close().await
}

pub(crate) async fn vectors_without_direction_are_refused(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("direction", DIM)).await?;
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0] {
        let vector = if bad == 0.0 { vec![0.0; DIM] } else { [vec![bad], vector(1, DIM - 1)].concat() };
        let batch = vec![point(1, DIM), Point { vector: vector.clone(), ..point(2, DIM) }];
        let refused = collection.upsert(batch).await;
        assert!(matches!(&refused, Err(StoreError::Invalid(_))), "{bad} was stored: {refused:?}");
        let refused = collection.search(query(vector, 1)).await;
        assert!(matches!(&refused, Err(StoreError::Invalid(_))), "{bad} was searched: {refused:?}");
    }
    assert_eq!(collection.count(None).await?, 0);
    store.close().await
}

pub(crate) async fn ten_thousand_points(subject: &impl Subject) -> Outcome {
    const COUNT: u64 = 10_000;
    let dim = 32;
    let store = subject.open().await?;
    let collection = store.open(&spec("many", dim)).await?;
    for start in (0..COUNT).step_by(1000) {
        collection.upsert((start..start + 1000).map(|number| point(number, dim)).collect()).await?;
    }
    collection.flush().await?;
    while collection.maintain(false).await? {}
    assert_eq!(collection.count(None).await?, COUNT);
    let scrolled = scroll_all(&*collection, 999).await?;
    assert!(scrolled.iter().map(|point| point.id).eq((0..COUNT).map(id)));
    let mut found = 0;
    for seed in (0..COUNT).step_by(500) {
        found += u64::from(ids(&collection.search(query(vector(seed, dim), 1)).await?) == [id(seed)]);
    }
    assert!(found >= 19, "{found} of 20 points found themselves");
    collection.delete(&(0..COUNT).filter(|number| number % 3 == 0).map(id).collect::<Vec<_>>()).await?;
    while collection.maintain(false).await? {}
    assert_eq!(collection.count(None).await?, 6666);
    store.close().await
}

pub(crate) async fn unicode_payloads_survive(subject: &impl Subject) -> Outcome {
    let texts = ["Größe 1.JPG", "日本/写真.png", "a\u{301}\u{feff}\u{202e}", "🏸🎾", "", "\"quoted\" \\ \n\t", "\u{0}nul"];
    let store = subject.open().await?;
    let collection = store.open(&spec("unicode", DIM)).await?;
    let wanted: Vec<Point> = (0..)
        .zip(texts)
        .map(|(number, text)| {
            let all = texts.iter().map(|text| (*text).to_owned()).collect();
            let payload = [("parity".to_owned(), keyword(text)), ("tags".to_owned(), PayloadValue::Keywords(all))];
            Point { payload: payload.into(), ..point(number, DIM) }
        })
        .collect();
    collection.upsert(wanted.clone()).await?;
    for (wanted, text) in wanted.iter().zip(texts) {
        assert_same(&collection.get(&[wanted.id]).await?[0], wanted);
        let number = wanted.id.as_u128() as u64;
        assert_eq!(matching(&*collection, must([any_of("parity", &[text])])).await?, [number], "{text:?}");
    }
    store.close().await
}

pub(crate) async fn concurrent_writers_and_readers(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("concurrent", DIM)).await?;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..4_u64 {
        let collection = Arc::clone(&collection);
        tasks.spawn(async move {
            for start in (writer * 1000..(writer + 1) * 1000).step_by(50) {
                collection.upsert(points(start..start + 50)).await?;
                if start % 200 == 0 {
                    collection.flush().await?;
                }
                collection.delete(&[id(start)]).await?;
            }
            Ok::<(), StoreError>(())
        });
    }
    for reader in 0..4_u64 {
        let collection = Arc::clone(&collection);
        tasks.spawn(async move {
            for round in 0..50 {
                let hits = collection.search(query(vector(reader * 100 + round, DIM), 20)).await?;
                assert!(hits.is_sorted_by(|a, b| (b.score, a.id) <= (a.score, b.id)), "order under concurrent writes");
                assert!(hits.iter().map(|hit| hit.id).collect::<BTreeSet<_>>().len() == hits.len(), "doubled hits");
                let page = collection.scroll(None, 100).await?;
                assert!(page.is_sorted_by(|a, b| a.id < b.id));
            }
            Ok(())
        });
    }
    while let Some(outcome) = tasks.join_next().await {
        outcome.map_err(|error| StoreError::Internal(error.to_string()))??;
    }
    assert_eq!(collection.count(None).await?, 4 * 1000 - 80);
    assert_eq!(scroll_all(&*collection, 500).await?.len(), 4 * 1000 - 80);
    store.close().await
}

pub(crate) async fn closed_and_reopened_keeps_everything(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("reopen", DIM)).await?;
    collection.upsert(points(0..100)).await?;
    collection.delete(&[id(50)]).await?;
    store.close().await?;
    drop((collection, store));
    let store = subject.open().await?;
    assert_eq!(store.list().await?, ["reopen"]);
    let collection = store.open(&spec("reopen", DIM)).await?;
    let got = scroll_all(&*collection, 40).await?;
    let wanted = points((0..100).filter(|number| *number != 50));
    assert_eq!(got.len(), wanted.len());
    got.iter().zip(&wanted).for_each(|(got, wanted)| assert_same(got, wanted));
    assert_eq!(matching(&*collection, must([range("number", Some(48), Some(51))])).await?, [48, 49, 51]);
    collection.upsert(points([50, 51, 100])).await?;
    assert_eq!(collection.count(None).await?, 101, "and writing goes on");
    store.close().await
}

pub(crate) async fn flushed_and_dropped_keeps_everything(subject: &impl Subject) -> Outcome {
    for round in 0..3_u64 {
        let store = subject.open().await?;
        let collection = store.open(&spec("dropped", DIM)).await?;
        assert_eq!(collection.count(None).await?, round * 90);
        collection.upsert(points(round * 100..(round + 1) * 100)).await?;
        collection.delete(&(round * 100..round * 100 + 10).map(id).collect::<Vec<_>>()).await?;
        collection.flush().await?;
    }
    let store = subject.open().await?;
    let collection = store.open(&spec("dropped", DIM)).await?;
    assert_eq!(collection.count(None).await?, 270);
    store.close().await
}

pub(crate) async fn the_active_pointer_switches_and_survives(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    assert_eq!(store.active().await?, None);
    assert!(matches!(store.activate("nothing").await, Err(StoreError::NoCollection(_))));
    store.open(&spec("first", DIM)).await?;
    store.open(&spec("second", DIM)).await?;
    assert_eq!(store.active().await?, None, "opening activates nothing");
    store.activate("first").await?;
    store.activate("first").await?;
    assert_eq!(store.active().await?.as_deref(), Some("first"));
    store.activate("second").await?;
    assert!(matches!(store.activate("nothing").await, Err(StoreError::NoCollection(_))));
    assert_eq!(store.active().await?.as_deref(), Some("second"));
    store.close().await?;
    drop(store);
    let store = subject.open().await?;
    assert_eq!(store.active().await?.as_deref(), Some("second"));
    store.close().await
}

pub(crate) async fn dropped_collections_are_gone_but_the_active_one_is_refused(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let kept = store.open(&spec("kept", DIM)).await?;
    store.open(&spec("old", DIM)).await?.upsert(points(0..10)).await?;
    store.activate("kept").await?;
    store.drop_collection("old").await?;
    store.drop_collection("old").await?;
    store.drop_collection("never-there").await?;
    assert!(matches!(store.drop_collection("kept").await, Err(StoreError::Refused(_))));
    kept.upsert(points(0..3)).await?;
    assert_eq!(store.list().await?, ["kept"]);
    assert_eq!(store.open(&spec("old", DIM * 2)).await?.count(None).await?, 0, "a new one, of another dimension");
    assert_eq!(kept.count(None).await?, 3);
    store.close().await
}

pub(crate) async fn collections_are_listed_by_name(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    assert_eq!(store.list().await?, Vec::<String>::new());
    for name in ["b--2", "a.1", "C_3"] {
        store.open(&spec(name, DIM)).await?;
    }
    assert_eq!(store.list().await?, ["C_3", "a.1", "b--2"]);
    store.close().await
}

pub(crate) async fn collections_do_not_see_each_other(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let one = store.open(&spec("one", DIM)).await?;
    let two = store.open(&spec("two", DIM + 1)).await?;
    one.upsert(points(0..5)).await?;
    two.upsert((3..6).map(|number| point(number, DIM + 1)).collect()).await?;
    one.delete(&[id(4)]).await?;
    assert_eq!((one.count(None).await?, two.count(None).await?), (4, 3));
    assert_eq!(one.spec(), &spec("one", DIM));
    store.close().await
}

pub(crate) async fn opening_twice_gives_the_same_collection(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let one = store.open(&spec("twice", DIM)).await?;
    let two = store.open(&spec("twice", DIM)).await?;
    one.upsert(points(0..5)).await?;
    assert_eq!(two.count(None).await?, 5);
    two.delete(&[id(0)]).await?;
    assert_eq!(one.count(None).await?, 4);
    store.close().await
}

pub(crate) async fn a_healthy_store_says_so(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    store.health().await?;
    assert!(!store.kind().is_empty());
    store.close().await
}

pub(crate) async fn maintenance_changes_no_answer(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("maintained", DIM)).await?;
    for start in (0..6000).step_by(1000) {
        collection.upsert(points(start..start + 1000)).await?;
        collection.maintain(true).await?;
    }
    collection.delete(&(0..2000).map(id).collect::<Vec<_>>()).await?;
    collection.upsert(points(1990..2010)).await?;
    let exact = SearchQuery { exact: true, ..query(vector(99_999, DIM), 50) };
    let before = (collection.count(None).await?, ids(&collection.search(exact.clone()).await?));
    while collection.maintain(false).await? {}
    let after = (collection.count(None).await?, ids(&collection.search(exact).await?));
    assert_eq!(before, after);
    assert_eq!(after.0, 4010);
    assert!(!collection.maintain(false).await?, "nothing changed since");
    assert_eq!(scroll_all(&*collection, 500).await?.len(), 4010);
    store.close().await
}
