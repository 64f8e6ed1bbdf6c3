//! Cases of the conformance suite about searching: order, ties, filters, limits.

use super::{
    DIM, NONE, Outcome, Subject, any_of, cosine, id, ids, matching, must, must_not, point, points,
    query, range, spec, vector,
};
use crate::vector_store::{
    CollectionSpec, Condition, Effort, FieldKind, PayloadValue, Point, PointFilter, SearchQuery,
    StoreError,
};

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
    let opposite =
        collection.search(query(wanted.iter().map(|value| -value).collect(), 300)).await?;
    assert!(opposite.last().is_some_and(|hit| hit.score < -0.5), "similarities may be negative");
    let own = collection.search(query(vector(42, DIM), 1)).await?;
    assert_eq!(own[0].id, id(42));
    assert!((own[0].score - 1.0).abs() < 1e-5);
    store.close().await
}

pub(crate) async fn equal_scores_come_by_ascending_id_also_at_the_limit(
    subject: &impl Subject,
) -> Outcome {
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
    assert_eq!(
        matching(&*collection, must([any_of("parity", &["odd"])])).await?,
        [1, 3, 5, 7, 9, 11, 13]
    );
    assert_eq!(
        matching(&*collection, must([any_of("parity", &["od", "ODD", "odd "])])).await?,
        NONE,
        "compared whole"
    );
    assert_eq!(
        matching(&*collection, must([any_of("tags", &["mod3-0"])])).await?,
        [0, 3, 6, 9, 12]
    );
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
    all.push(Point {
        payload: [("number".to_owned(), PayloadValue::Integer(-5))].into(),
        ..point(10, DIM)
    });
    all.push(Point {
        payload: [("number".to_owned(), PayloadValue::Integer(1 << 40))].into(),
        ..point(11, DIM)
    });
    collection.upsert(all).await?;
    assert_eq!(matching(&*collection, must([range("number", Some(3), Some(5))])).await?, [3, 4, 5]);
    assert_eq!(matching(&*collection, must([range("number", Some(8), None)])).await?, [8, 9, 11]);
    assert_eq!(matching(&*collection, must([range("number", None, Some(0))])).await?, [0, 10]);
    assert_eq!(
        matching(&*collection, must([range("number", Some(1 << 40), Some(1 << 40))])).await?,
        [11]
    );
    assert_eq!(matching(&*collection, must([range("number", Some(5), Some(3))])).await?, NONE);
    assert_eq!(
        matching(&*collection, must([range("number", None, None)])).await?.len(),
        12,
        "no bound, but a value"
    );
    store.close().await
}

pub(crate) async fn ids_and_must_not_combine(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("combine", DIM)).await?;
    collection.upsert(points(0..12)).await?;
    let chosen = || Condition::Ids([2, 3, 4, 99].map(id).to_vec());
    assert_eq!(matching(&*collection, must([chosen()])).await?, [2, 3, 4]);
    assert_eq!(matching(&*collection, must_not([chosen()])).await?, [0, 1, 5, 6, 7, 8, 9, 10, 11]);
    let odd_without = PointFilter {
        must: vec![any_of("parity", &["odd"])],
        must_not: vec![chosen(), range("number", Some(9), None)],
    };
    assert_eq!(matching(&*collection, odd_without).await?, [1, 5, 7]);
    let neither = must_not([any_of("parity", &["odd"]), any_of("tags", &["mod3-0"])]);
    assert_eq!(matching(&*collection, neither).await?, [2, 4, 8, 10]);
    store.close().await
}

pub(crate) async fn filters_without_conditions_match_everything_and_without_values_nothing(
    subject: &impl Subject,
) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("vacuous", DIM)).await?;
    collection.upsert(points(0..4)).await?;
    assert_eq!(matching(&*collection, PointFilter::default()).await?, [0, 1, 2, 3]);
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
    assert_eq!(
        matching(&*collection, must([any_of("number", &["4"])])).await?,
        NONE,
        "an integer is no keyword"
    );
    assert_eq!(
        matching(&*collection, must([range("parity", None, Some(9))])).await?,
        NONE,
        "a keyword is no integer"
    );
    store.close().await
}

pub(crate) async fn bad_field_names_are_refused(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("fields", DIM)).await?;
    for field in ["", "a.b", "a[0]", "a\"", "1a", "ä", "a b"] {
        let filter = must([any_of(field, &["x"])]);
        assert!(
            matches!(collection.count(Some(&filter)).await, Err(StoreError::Invalid(_))),
            "{field:?}"
        );
        let search = SearchQuery { filter: Some(filter), ..query(vector(1, DIM), 1) };
        assert!(
            matches!(collection.search(search).await, Err(StoreError::Invalid(_))),
            "{field:?}"
        );
        let indexed = CollectionSpec {
            indexed_fields: vec![(field.to_owned(), FieldKind::Keyword)],
            ..spec("other", DIM)
        };
        assert!(matches!(store.open(&indexed).await, Err(StoreError::Invalid(_))), "{field:?}");
    }
    store.close().await
}

pub(crate) async fn exact_search_equals_comparing_with_every_point(
    subject: &impl Subject,
) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("exact", DIM)).await?;
    collection.upsert(points(0..1000)).await?;
    for seed in 5000..5010 {
        let wanted = vector(seed, DIM);
        let mut expected: Vec<_> =
            (0..1000).map(|number| (cosine(&wanted, &vector(number, DIM)), number)).collect();
        expected.sort_by(|a, b| b.0.total_cmp(&a.0));
        let hits =
            collection.search(SearchQuery { effort: Effort::Exact, ..query(wanted, 10) }).await?;
        let expected: Vec<_> = expected.iter().take(10).map(|(_, number)| id(*number)).collect();
        assert_eq!(ids(&hits), expected);
    }
    store.close().await
}

pub(crate) async fn limits_of_zero_and_beyond_the_collection_are_fine(
    subject: &impl Subject,
) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("limits", DIM)).await?;
    collection.upsert(points(0..7)).await?;
    assert_eq!(collection.search(query(vector(1, DIM), 0)).await?, []);
    assert_eq!(collection.scroll(None, 0).await?, []);
    for effort in [Effort::Usual, Effort::Exact] {
        let all =
            collection.search(SearchQuery { effort, ..query(vector(1, DIM), 1_000_000) }).await?;
        assert_eq!(all.len(), 7);
    }
    assert_eq!(collection.scroll(None, 1_000_000).await?.len(), 7);
    store.close().await
}
