//! Previews: kept by content, and gone with the content's last vector.

use super::*;
use crate::types::Preview;

pub(crate) async fn previews_are_kept_by_content_and_go_with_the_last_vector(
    fixture: &dyn Fixture,
) {
    let catalog = fixture.open().await;
    let (x, y) = (ContentHash::of(b"x"), ContentHash::of(b"y"));
    record(&*catalog, &["a"]).await;
    index_all(&*catalog, MODEL, b"x").await;
    assert!(catalog.previews(&[x, y]).await.expect("asked").is_empty());
    let preview = Preview::new(vec![1, 2, 3, 4, 5]);
    catalog.keep_previews(&[(x, Preview::new(vec![9]))]).await.expect("kept");
    catalog.keep_previews(&[(x, preview.clone())]).await.expect("kept again");
    let found = catalog.previews(&[x, y, x]).await.expect("asked");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [(x, preview)]);
    // Another model has a vector of it too: one of both goes, then the other.
    let other = "other@1";
    catalog.intend_vectors(other, &[(x, facts())], 100).await.expect("intended");
    catalog.forget_vectors(MODEL, &[x]).await.expect("forgotten");
    assert_eq!(catalog.previews(&[x]).await.expect("asked").len(), 1);
    catalog.forget_vectors(other, &[x]).await.expect("forgotten");
    assert!(catalog.previews(&[x]).await.expect("asked").is_empty(), "it outlives its content");
}
