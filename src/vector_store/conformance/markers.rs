//! Cases of the conformance suite about markers: they are kept with the collection, and nothing but a marker.

use uuid::Uuid;

use super::{
    DIM, Outcome, Subject, id, ids, matching, must_not, point, points, query, range, scroll_all,
    spec, vector,
};
use crate::vector_store::{Condition, Effort, Marker, SearchQuery, StoreError};

fn marker(epoch: u64) -> Marker {
    Marker { installation: Uuid::from_u128(7), epoch }
}

pub(crate) async fn markers_are_kept_and_replaced(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("marked", DIM)).await?;
    assert_eq!(collection.marker().await?, None, "a new collection is nobody's");
    assert_eq!(store.marker("marked").await?, None);
    for epoch in [1, 1 << 40] {
        collection.upsert(points(0..3)).await?;
        collection.set_marker(&marker(epoch)).await?;
        collection.flush().await?;
        assert_eq!(collection.marker().await?, Some(marker(epoch)));
        assert_eq!(store.marker("marked").await?, Some(marker(epoch)));
    }
    drop(collection);
    store.close().await?;
    drop(store);
    let store = subject.open().await?;
    assert_eq!(store.marker("marked").await?, Some(marker(1 << 40)), "without opening it");
    let collection = store.open(&spec("marked", DIM)).await?;
    assert_eq!(collection.marker().await?, Some(marker(1 << 40)));
    assert_eq!(collection.count(None).await?, 3);
    store.close().await
}

pub(crate) async fn a_marker_is_no_point(subject: &impl Subject) -> Outcome {
    let store = subject.open().await?;
    let collection = store.open(&spec("hidden", DIM)).await?;
    collection.set_marker(&marker(1)).await?;
    assert_eq!(collection.count(None).await?, 0);
    assert_eq!(scroll_all(&*collection, 10).await?, []);
    assert_eq!(collection.search(query(vector(1, DIM), 10)).await?, []);
    collection.upsert(points(0..30)).await?;
    assert_eq!(collection.count(None).await?, 30);
    for page in [7, 10, 30, 31, 100] {
        assert_eq!(scroll_all(&*collection, page).await?.len(), 30, "pages of {page}");
        assert!(collection.scroll_ids(Some(id(29)), page).await?.is_empty());
    }
    assert_eq!(collection.get(&[Uuid::max(), id(1)]).await?.len(), 1);
    let mut like_the_marker = vec![0.0; DIM];
    like_the_marker[0] = 1.0;
    for effort in [Effort::Usual, Effort::Exact] {
        for limit in [1, 30, 31, 1000] {
            let nearest = SearchQuery { effort, ..query(like_the_marker.clone(), limit) };
            let found = ids(&collection.search(nearest).await?);
            assert_eq!(found.len(), limit.min(30));
            assert!(!found.contains(&Uuid::max()), "{found:?}");
        }
    }
    let not_small = must_not([range("number", None, Some(27))]);
    assert_eq!(matching(&*collection, not_small).await?, [28, 29]);
    let others = must_not([Condition::Ids((0..29).map(id).collect())]);
    assert_eq!(matching(&*collection, others).await?, [29]);
    collection.delete(&(0..30).map(id).collect::<Vec<_>>()).await?;
    assert_eq!(collection.count(None).await?, 0);
    assert_eq!(collection.marker().await?, Some(marker(1)), "it stays");
    let other = store.open(&spec("hidden-not", DIM)).await?;
    other.upsert(vec![point(1, DIM)]).await?;
    assert_eq!(other.count(None).await?, 1, "nothing is taken off where there is none");
    store.close().await
}

pub(crate) async fn a_collection_that_is_not_there_has_no_marker(
    subject: &impl Subject,
) -> Outcome {
    let store = subject.open().await?;
    let missing = store.marker("nowhere").await;
    assert!(matches!(missing, Err(StoreError::NoSuchCollection(_))), "{missing:?}");
    store.open(&spec("here", DIM)).await?.set_marker(&marker(1)).await?;
    store.drop_collection("here").await?;
    let dropped = store.marker("here").await;
    assert!(matches!(dropped, Err(StoreError::NoSuchCollection(_))), "{dropped:?}");
    assert_eq!(store.open(&spec("here", DIM)).await?.marker().await?, None, "a new one");
    store.close().await
}
