//! Vectors: noted before they are written, deleted only under a claim, and never under an image that counts on them.

use super::*;

fn x() -> ContentHash {
    ContentHash::of(b"x")
}

async fn is_stored(catalog: &dyn Catalog) -> bool {
    catalog.stored_contents(MODEL, &[x()], 900).await.expect("stored").contains_key(&x())
}

/// One image with the content x, indexed and then deleted at 100.
async fn with_an_orphan(fixture: &dyn Fixture) -> Arc<dyn Catalog> {
    let catalog = fixture.open().await;
    record(&*catalog, &["a"]).await;
    index_all(&*catalog, MODEL, b"x").await;
    assert!(claim(&*catalog, "gc", i64::MAX).await.is_empty());
    catalog.forget(&[name("a")], 100).await.expect("forget");
    catalog
}

pub(crate) async fn orphans_are_claimed_after_their_grace(fixture: &dyn Fixture) {
    let catalog = with_an_orphan(fixture).await;
    assert!(claim(&*catalog, "gc", 99).await.is_empty(), "its grace was ignored");
    assert_eq!(claim(&*catalog, "gc", 100).await, [x()]);
    assert!(claim(&*catalog, "other", 100).await.is_empty(), "claimed twice");
    assert!(!is_stored(&*catalog).await);
    assert_eq!(catalog.stored_by_model().await.expect("models"), [(MODEL.to_owned(), 0)]);
    assert_eq!(catalog.forget_orphans(MODEL, "other").await.expect("forget"), 0);
    assert_eq!(catalog.forget_orphans(MODEL, "gc").await.expect("forget"), 1);
    assert!(catalog.stored_by_model().await.expect("models").is_empty());
    assert_eq!(catalog.next_due_ms().await.expect("due"), None, "a lease is left");
}

pub(crate) async fn an_orphan_that_is_wanted_again_is_kept(fixture: &dyn Fixture) {
    let catalog = with_an_orphan(fixture).await;
    // Somebody found the content under another name: the grace begins anew at 900 …
    assert!(is_stored(&*catalog).await);
    assert!(claim(&*catalog, "gc", 899).await.is_empty());
    record(&*catalog, &["b"]).await;
    let leased = lease_all(&*catalog, "t").await;
    let done = CompletedImage {
        image_id: leased[0].id,
        hash: x(),
        facts: facts(),
        header: Header::default(),
    };
    assert_eq!(catalog.complete(MODEL, "t", &[done], 901).await.expect("complete"), 1);
    // … and is over when an image counts on it.
    assert!(claim(&*catalog, "gc", i64::MAX).await.is_empty());
}

pub(crate) async fn a_vector_that_was_only_intended_is_an_orphan(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    catalog.intend_vectors(MODEL, &[(x(), facts())], 200).await.expect("intend");
    assert!(!is_stored(&*catalog).await);
    assert!(claim(&*catalog, "gc", 199).await.is_empty());
    assert_eq!(claim(&*catalog, "gc", 200).await, [x()]);
}

pub(crate) async fn what_is_being_deleted_cannot_be_counted_on(fixture: &dyn Fixture) {
    let catalog = with_an_orphan(fixture).await;
    record(&*catalog, &["b", "c"]).await;
    // One worker believes that it is stored; then it is claimed.
    let leased = lease_all(&*catalog, "t").await;
    assert!(is_stored(&*catalog).await);
    assert_eq!(claim(&*catalog, "gc", 900).await, [x()]);
    let done = |image: &LeasedImage| CompletedImage {
        image_id: image.id,
        hash: x(),
        facts: facts(),
        header: Header::default(),
    };
    assert_eq!(catalog.complete(MODEL, "t", &[done(&leased[0])], 901).await.expect("complete"), 0);
    assert_eq!(lease_all(&*catalog, "t2").await.len(), 1, "it did not go back into the queue");
    // Another one wants to write it anew, together with something else: neither is noted.
    let contents = [(ContentHash::of(b"y"), facts()), (x(), facts())];
    let refused = catalog.intend_vectors(MODEL, &contents, 902).await;
    assert!(matches!(refused, Err(CatalogError::Unavailable(_))), "{refused:?}");
    catalog.forget_orphans(MODEL, "gc").await.expect("forget");
    assert!(catalog.stored_by_model().await.expect("models").is_empty(), "half of it was noted");
    // A completion that comes after all that finds no vector.
    assert_eq!(catalog.complete(MODEL, "t", &[done(&leased[1])], 903).await.expect("complete"), 0);
    catalog.intend_vectors(MODEL, &contents, 904).await.expect("intend");
    let leased = lease_all(&*catalog, "t3").await;
    assert_eq!(catalog.complete(MODEL, "t3", &[done(&leased[0])], 905).await.expect("complete"), 1);
}

pub(crate) async fn an_abandoned_deletion_is_taken_over(fixture: &dyn Fixture) {
    let one = with_an_orphan(fixture).await;
    let two = fixture.open_as("two").await;
    assert_eq!(one.claim_orphans(MODEL, 100, 9, "1", 200, 300).await.expect("claim"), [x()]);
    let take_over = async |now_ms| {
        two.claim_orphans(MODEL, i64::MIN, 9, "2", now_ms, now_ms + 100).await.expect("claim")
    };
    assert!(take_over(300).await.is_empty(), "the first still works on it");
    assert_eq!(take_over(301).await, [x()]);
    assert_eq!(one.forget_orphans(MODEL, "1").await.expect("forget"), 0, "it lost its claim");
    // A start takes over at once what it had itself.
    two.reclaim_own(302).await.expect("reclaim");
    assert_eq!(take_over(303).await, [x()]);
    assert_eq!(two.forget_orphans(MODEL, "2").await.expect("forget"), 1);
}

pub(crate) async fn a_new_model_makes_indexed_images_pending_but_keeps_them_findable(
    fixture: &dyn Fixture,
) {
    let catalog = fixture.open().await;
    record(&*catalog, &["a"]).await;
    assert_eq!(catalog.awaiting().await.expect("count"), 0, "a new image waits for no other model");
    index_all(&*catalog, MODEL, b"x").await;
    let require = async |model| catalog.require_vectors(model).await.expect("require");
    assert_eq!(require(MODEL).await, 0);
    assert_eq!(require("clip@2").await, 1);
    assert_eq!(catalog.awaiting().await.expect("count"), 1);
    assert_eq!(counts(&*catalog).await.0, 1);
    assert_eq!(found(&*catalog, b"x").await, ["a"]);
    index_all(&*catalog, "clip@2", b"x").await;
    assert_eq!(catalog.awaiting().await.expect("count"), 0);
    assert_eq!((require("clip@2").await, require(MODEL).await), (0, 0), "both are there");
    // Indexed under the second only: the first does not know it.
    record(&*catalog, &["b"]).await;
    index_all(&*catalog, "clip@2", b"y").await;
    assert_eq!((require("clip@2").await, require(MODEL).await), (0, 1));
}

pub(crate) async fn lost_vectors_make_their_images_pending(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    record(&*catalog, &["a"]).await;
    index_all(&*catalog, MODEL, b"x").await;
    catalog.require_vectors(MODEL).await.expect("require");
    record(&*catalog, &["b"]).await;
    index_all(&*catalog, MODEL, b"y").await;
    catalog.forget_vectors(MODEL, &[x()]).await.expect("forget");
    catalog.require_vectors(MODEL).await.expect("require");
    assert_eq!(counts(&*catalog).await, (1, 1, 0, 0, 0));
    assert!(!is_stored(&*catalog).await);
    assert_eq!(found(&*catalog, b"x").await, ["a"]);
}

pub(crate) async fn used_models_are_noted_and_forgotten_with_their_vectors(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    let used = |revision: &str, display_name: &str| UsedModel {
        id: ModelId { name: "clip".into(), revision: revision.into() },
        display_name: display_name.into(),
        banner: None,
    };
    for (revision, display_name) in [("1", "old"), ("2", "CLIP"), ("1", "new")] {
        catalog.remember_model(&used(revision, display_name)).await.expect("remember");
    }
    assert_eq!(catalog.used_models().await.expect("used"), [used("1", "new"), used("2", "CLIP")]);
    record(&*catalog, &["a.png"]).await;
    index_all(&*catalog, "clip@1", b"a").await;
    catalog.require_vectors("clip@2").await.expect("require");
    index_all(&*catalog, "clip@2", b"a").await;
    catalog.forget_model(&used("1", "").id).await.expect("forget");
    assert_eq!(catalog.used_models().await.expect("used"), [used("2", "CLIP")]);
    assert_eq!(catalog.stored_by_model().await.expect("models"), [("clip@2".to_owned(), 1)]);
}
