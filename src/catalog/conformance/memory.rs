//! What searches learn from.

use super::*;
use crate::types::ImpressionResult;

async fn rate(catalog: &dyn Catalog, id: &str, query: &str, now_ms: i64) {
    let impression = Impression {
        id: id.to_owned(),
        query: query.to_owned(),
        model: MODEL.to_owned(),
        results: vec![ImpressionResult { hash_prefix: "00ff".into(), score: 0.25 }],
        searched_ms: 7,
    };
    let images = vec![ImageRating { image_name: "a".into(), relevant: true }];
    let change = RatingChange { value: Some(5), images: Some(images) };
    catalog.save_feedback(&impression, &change, now_ms).await.expect("saved");
}

fn thumb(content: &[u8], relevant: bool) -> Thumb {
    Thumb { hash: ContentHash::of(content), relevant }
}

async fn ids_after(catalog: &dyn Catalog, after: i64) -> Vec<String> {
    let ratings = catalog.remembered(after, 100).await.expect("remembered");
    ratings.into_iter().map(|rating| rating.row.impression.id).collect()
}

pub(crate) async fn ratings_are_followed_in_the_order_of_their_changes(fixture: &dyn Fixture) {
    let (catalog, other) = (fixture.open().await, fixture.open_as("two").await);
    assert_eq!(catalog.memory_state().await.expect("asked"), MemoryState::default());
    for (id, query) in [("a", "red"), ("b", "blue")] {
        rate(&*catalog, id, query, 10).await;
        catalog.remember_rating(id, "somebody", None).await.expect("remembered");
    }
    let before = other.memory_state().await.expect("asked");
    assert_eq!(ids_after(&*other, 0).await, ["a", "b"]);
    assert_eq!(ids_after(&*other, before.change).await, [""; 0]);
    let thumbs = [thumb(b"1", true), thumb(b"2", false)];
    catalog.remember_rating("a", "somebody else", Some(&thumbs)).await.expect("remembered");
    assert_eq!(ids_after(&*other, before.change).await, ["a"], "only what changed");
    assert_eq!(ids_after(&*other, 0).await, ["b", "a"], "each once, by its last change");
    // Who says nothing of thumbs keeps them.
    catalog.remember_rating("a", "somebody", None).await.expect("remembered");
    let rating = other.remembered_rating("a").await.expect("asked").expect("there");
    assert_eq!((rating.rater.as_str(), rating.thumbs), ("somebody", Some(thumbs.to_vec())));
    assert_eq!((rating.row.rating.value, rating.row.impression.query.as_str()), (Some(5), "red"));
    assert_eq!(rating.change, other.memory_state().await.expect("asked").change);
    assert_eq!(other.remembered_rating("c").await.expect("asked"), None);
}

pub(crate) async fn vectors_of_queries_are_kept_for_each_model(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    let kept = [("red".to_owned(), vec![0.25, -1.5]), ("blue \"x\"".to_owned(), vec![1.0, 2.0])];
    catalog.keep_query_vectors(MODEL, &kept).await.expect("kept");
    catalog.keep_query_vectors(MODEL, &[("red".into(), vec![0.5])]).await.expect("kept");
    let asked = ["red".to_owned(), "blue \"x\"".to_owned(), "green".to_owned()];
    let found = catalog.query_vectors(MODEL, &asked).await.expect("asked");
    assert_eq!(found.len(), 2);
    assert_eq!(found["red"], [0.5]);
    assert_eq!(found["blue \"x\""], [1.0, 2.0]);
    assert!(catalog.query_vectors("other@1", &asked).await.expect("asked").is_empty());
}

pub(crate) async fn ratings_are_forgotten_with_all_that_belongs_to_them(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    for (id, query, now_ms) in
        [("a", "red", 10), ("b", "red", 20), ("c", "blue", 30), ("d", "green", 40)]
    {
        rate(&*catalog, id, query, now_ms).await;
        catalog.remember_rating(id, "somebody", None).await.expect("remembered");
        catalog.keep_query_vectors(MODEL, &[(query.into(), vec![1.0])]).await.expect("kept");
    }
    let before = catalog.memory_state().await.expect("asked");
    let forget = async |which: Forgotten| catalog.forget_ratings(&which).await.expect("forgotten");
    let has_vector = async |query: &str| {
        let found = catalog.query_vectors(MODEL, &[query.to_owned()]).await.expect("asked");
        !found.is_empty()
    };
    assert_eq!(forget(Forgotten::Impression("x".into())).await, 0);
    assert_eq!(catalog.memory_state().await.expect("asked"), before, "nothing was forgotten");
    assert_eq!(forget(Forgotten::Impression("a".into())).await, 1);
    assert!(has_vector("red").await, "another rating has the same query");
    assert_eq!(forget(Forgotten::Before(30)).await, 1, "what was rated later stays");
    assert!(!has_vector("red").await && has_vector("blue").await);
    assert_eq!(forget(Forgotten::Query("blue".into())).await, 1);
    assert_eq!(ids_after(&*catalog, 0).await, ["d"]);
    let left = catalog.feedback(None, 10).await.expect("feedback");
    assert_eq!(left.iter().map(|row| row.impression.id.as_str()).collect::<Vec<_>>(), ["d"]);
    assert!(catalog.memory_state().await.expect("asked").forgotten > before.forgotten);
    // The token may still be used: then it is a new rating.
    rate(&*catalog, "a", "red", 50).await;
    catalog.remember_rating("a", "somebody", None).await.expect("remembered");
    assert_eq!(ids_after(&*catalog, before.change).await, ["a"]);
}
