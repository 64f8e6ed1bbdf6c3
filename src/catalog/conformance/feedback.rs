//! Ratings.

use super::*;
use crate::types::ImpressionResult;

pub(crate) async fn feedback_is_stored_once_per_impression(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    let results = vec![ImpressionResult { hash_prefix: "00ff".into(), score: 0.25 }];
    let impression = Impression {
        id: "i1".into(),
        query: "tennis".into(),
        model: MODEL.into(),
        results,
        searched_ms: 7,
    };
    let images = vec![ImageRating { image_name: "a".into(), relevant: true }];
    let save = async |value, images| {
        catalog.save_feedback(&impression, &RatingChange { value, images }, 10).await.expect("save")
    };
    assert_eq!(save(None, Some(images.clone())).await, SavedRating { first: true, value: None });
    assert_eq!(save(Some(5), None).await, SavedRating { first: false, value: Some(5) });
    assert_eq!(
        save(Some(9), Some(images.clone())).await,
        SavedRating { first: false, value: Some(9) }
    );
    let rows = catalog.feedback(None, 10).await.expect("feedback");
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].rating.value, &rows[0].impression, &rows[0].rating.images),
        (Some(9), &impression, &images)
    );
    assert!(catalog.feedback(Some("i1"), 10).await.expect("feedback").is_empty());
}
