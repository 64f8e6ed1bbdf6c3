//! Cases of the conformance suite about collections: creating, reopening, the active one, dropping, maintaining.

use super::{
    DIM, Outcome, Subject, assert_same, id, ids, matching, must, point, points, query, range,
    scroll_all, spec, vector,
};
use crate::vector_store::{Effort, SearchQuery, StoreError};

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
        assert!(
            collection
                .search(query(vec![1.0; dim], 1))
                .await
                .is_err_and(|error| is_wrong(&error, dim))
        );
    }
    assert!(store.open(&spec("dim", DIM * 2)).await.is_err_and(|error| is_wrong(&error, DIM * 2)));
    collection.flush().await?;
    drop(collection);
    store.close().await?;
    drop(store);
    let store = subject.open().await?;
    assert!(
        store.open(&spec("dim", DIM * 2)).await.is_err_and(|error| is_wrong(&error, DIM * 2)),
        "after a restart"
    );
    assert!(matches!(store.open(&spec("none", 0)).await, Err(StoreError::Invalid(_))));
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
    assert_eq!(
        matching(&*collection, must([range("number", Some(48), Some(51))])).await?,
        [48, 49, 51]
    );
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
    assert!(matches!(store.activate("nothing").await, Err(StoreError::NoSuchCollection(_))));
    store.open(&spec("first", DIM)).await?;
    store.open(&spec("second", DIM)).await?;
    assert_eq!(store.active().await?, None, "opening activates nothing");
    store.activate("first").await?;
    store.activate("first").await?;
    assert_eq!(store.active().await?.as_deref(), Some("first"));
    store.activate("second").await?;
    assert!(matches!(store.activate("nothing").await, Err(StoreError::NoSuchCollection(_))));
    assert_eq!(store.active().await?.as_deref(), Some("second"));
    store.close().await?;
    drop(store);
    let store = subject.open().await?;
    assert_eq!(store.active().await?.as_deref(), Some("second"));
    store.close().await
}

pub(crate) async fn dropped_collections_are_gone_but_the_active_one_is_refused(
    subject: &impl Subject,
) -> Outcome {
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
    assert_eq!(
        store.open(&spec("old", DIM * 2)).await?.count(None).await?,
        0,
        "a new one, of another dimension"
    );
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
    let exact = SearchQuery { effort: Effort::Exact, ..query(vector(99_999, DIM), 50) };
    let before = (collection.count(None).await?, ids(&collection.search(exact.clone()).await?));
    while collection.maintain(false).await? {}
    let after = (collection.count(None).await?, ids(&collection.search(exact).await?));
    assert_eq!(before, after);
    assert_eq!(after.0, 4010);
    assert!(!collection.maintain(false).await?, "nothing changed since");
    assert_eq!(scroll_all(&*collection, 500).await?.len(), 4010);
    store.close().await
}

pub(crate) async fn unsafe_names_are_refused(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    for name in [
        "",
        ".",
        "..",
        "a/b",
        "../a",
        "LOCK",
        "active",
        "a.broken-1",
        ".deleted-a",
        "ä",
        "a b",
        &"x".repeat(201),
    ] {
        assert!(
            matches!(store.open(&spec(name, DIM)).await, Err(StoreError::Invalid(_))),
            "{name:?}"
        );
        assert!(
            matches!(store.drop_collection(name).await, Err(StoreError::Invalid(_))),
            "{name:?}"
        );
        assert!(matches!(store.activate(name).await, Err(StoreError::Invalid(_))), "{name:?}");
    }
    assert_eq!(store.list().await?, Vec::<String>::new());
    store.close().await
}
