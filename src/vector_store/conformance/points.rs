//! Cases of the conformance suite about points: storing, deleting, reading back, counting, walking, many at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use uuid::Uuid;

use super::{
    DIM, NONE, Outcome, Subject, any_of, assert_same, id, ids, keyword, matching, must, point,
    points, query, range, scroll_all, spec, vector,
};
use crate::vector_store::{PayloadValue, Point, StoreError};

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

pub(crate) async fn upserting_again_overwrites_vector_and_payload(
    subject: &impl Subject,
) -> Outcome {
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
    assert_eq!(
        matching(&*collection, must([range("number", Some(2), Some(2))])).await?,
        NONE,
        "fields are not merged"
    );
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
    let mut wanted: Vec<Point> =
        (0..250).map(|number| Point { id: spread(number), ..point(number, DIM) }).collect();
    collection.upsert(wanted.clone()).await?;
    wanted.sort_by_key(|point| point.id);
    for page in [1, 7, 249, 250, 251] {
        let got = scroll_all(&*collection, page).await?;
        assert_eq!(got.len(), wanted.len(), "in pages of {page}");
        got.iter().zip(&wanted).for_each(|(got, wanted)| assert_same(got, wanted));
    }
    let ids = collection.scroll_ids(Some(wanted[9].id), 100).await?;
    assert!(ids.iter().eq(wanted[10..110].iter().map(|point| &point.id)), "ids alone walk alike");
    let after_missing = Uuid::from_u128(wanted[99].id.as_u128() + 1);
    assert_eq!(
        collection.scroll(Some(after_missing), 1).await?[0].id,
        wanted[100].id,
        "after an id that is not there"
    );
    assert_eq!(collection.scroll(Some(Uuid::max()), 5).await?, []);
    assert_eq!(collection.scroll(Some(Uuid::nil()), 1).await?[0].id, wanted[0].id);
    store.close().await
}

pub(crate) async fn vectors_without_direction_are_refused(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("direction", DIM)).await?;
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0] {
        let vector =
            if bad == 0.0 { vec![0.0; DIM] } else { [vec![bad], vector(1, DIM - 1)].concat() };
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
        found +=
            u64::from(ids(&collection.search(query(vector(seed, dim), 1)).await?) == [id(seed)]);
    }
    assert!(found >= 19, "{found} of 20 points found themselves");
    collection
        .delete(&(0..COUNT).filter(|number| number % 3 == 0).map(id).collect::<Vec<_>>())
        .await?;
    while collection.maintain(false).await? {}
    assert_eq!(collection.count(None).await?, 6666);
    store.close().await
}

pub(crate) async fn unicode_payloads_survive(subject: &impl Subject) -> Outcome {
    let texts = [
        "Größe 1.JPG",
        "日本/写真.png",
        "a\u{301}\u{feff}\u{202e}",
        "🏸🎾",
        "",
        "\"quoted\" \\ \n\t",
        "\u{0}nul",
    ];
    let store = subject.open().await?;
    let collection = store.open(&spec("unicode", DIM)).await?;
    let wanted: Vec<Point> = (0..)
        .zip(texts)
        .map(|(number, text)| {
            let all = texts.iter().map(|text| (*text).to_owned()).collect();
            let payload = [
                ("parity".to_owned(), keyword(text)),
                ("tags".to_owned(), PayloadValue::Keywords(all)),
            ];
            Point { payload: payload.into(), ..point(number, DIM) }
        })
        .collect();
    collection.upsert(wanted.clone()).await?;
    for (wanted, text) in wanted.iter().zip(texts) {
        assert_same(&collection.get(&[wanted.id]).await?[0], wanted);
        let number = wanted.id.as_u128() as u64;
        assert_eq!(
            matching(&*collection, must([any_of("parity", &[text])])).await?,
            [number],
            "{text:?}"
        );
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
                assert!(
                    hits.is_sorted_by(|a, b| (b.score, a.id) <= (a.score, b.id)),
                    "order under concurrent writes"
                );
                assert!(
                    hits.iter().map(|hit| hit.id).collect::<BTreeSet<_>>().len() == hits.len(),
                    "doubled hits"
                );
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
