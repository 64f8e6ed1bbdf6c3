//! What every `Catalog` must do, as one list of cases. An implementation's tests call [`run`] with a way to make an empty one.

use std::future::Future;
use std::sync::Arc;

use super::*;
use crate::types::ImpressionResult;

const MODEL: &str = "clip@1";

/// Runs every case on a fresh catalog each.
pub(crate) async fn run<F, Made>(make: F)
where
    F: Fn() -> Made,
    Made: Future<Output = Arc<dyn Catalog>>,
{
    recorded_images_are_known_by_scope(make().await).await;
    changed_images_lose_lease_and_content(make().await).await;
    gone_images_lose_their_row(make().await).await;
    leases_are_exclusive_and_fenced(make().await).await;
    images_not_yet_due_are_not_leased(make().await).await;
    interrupted_images_become_suspects_and_come_alone(make().await).await;
    failures_are_counted_shown_and_retried(make().await).await;
    duplicates_share_one_content(make().await).await;
    orphans_are_returned_after_their_grace_and_can_be_taken_back(make().await).await;
    a_new_model_makes_indexed_images_pending_but_keeps_them_findable(make().await).await;
    used_models_are_noted_and_forgotten_with_their_vectors(make().await).await;
    feedback_is_stored_once_per_impression(make().await).await;
    odd_names_survive(make().await).await;
}

fn name(text: &str) -> ImageName {
    ImageName::new(text).expect("a valid name")
}

fn fingerprint(version: &str) -> Fingerprint {
    Fingerprint { size_bytes: 10, version: version.into(), modified_ms: 5 }
}

fn seen(text: &str) -> SeenImage {
    SeenImage { name: name(text), fingerprint: fingerprint("1"), due_ms: 0 }
}

fn facts() -> PictureFacts {
    PictureFacts { format: "png".into(), width: 3, height: 2 }
}

async fn record(catalog: &dyn Catalog, names: &[&str]) {
    let images: Vec<SeenImage> = names.iter().map(|text| seen(text)).collect();
    catalog.record("images", &images, &[], 1).await.expect("record");
}

/// Leases everything due and completes it, all with the content `content`.
async fn index_all(catalog: &dyn Catalog, model: &str, content: &[u8]) {
    let hash = ContentHash::of(content);
    let leased = catalog.lease(100, "t", 10, 100, false).await.expect("lease");
    catalog.intend_vectors(model, &[(hash, facts())]).await.expect("intend");
    let done: Vec<CompletedImage> = leased
        .iter()
        .map(|image| CompletedImage { image_id: image.id, hash, facts: facts() })
        .collect();
    assert_eq!(catalog.complete(model, "t", &done, 11).await.expect("complete"), done.len() as u64);
}

async fn recorded_images_are_known_by_scope(catalog: Arc<dyn Catalog>) {
    record(&*catalog, &["a/1", "a/2", "a.txt", "a0", "b", "a"]).await;
    let names = |images: Vec<KnownImage>| {
        images.into_iter().map(|image| image.name.to_string()).collect::<Vec<_>>()
    };
    let all = catalog.known("images", &Scope::All, None, 100).await.expect("known");
    assert_eq!(names(all), ["a", "a.txt", "a/1", "a/2", "a0", "b"]);
    let under = catalog.known("images", &Scope::Under(name("a")), None, 100).await.expect("known");
    assert_eq!(names(under), ["a", "a/1", "a/2"]);
    let page = catalog.known("images", &Scope::All, Some(&name("a/1")), 2).await.expect("known");
    assert_eq!(names(page), ["a/2", "a0"]);
    assert!(catalog.known("other", &Scope::All, None, 100).await.expect("known").is_empty());
}

async fn changed_images_lose_lease_and_content(catalog: Arc<dyn Catalog>) {
    record(&*catalog, &["a"]).await;
    index_all(&*catalog, MODEL, b"old").await;
    let newer = SeenImage { fingerprint: fingerprint("2"), ..seen("a") };
    catalog.record("images", &[newer], &[], 20).await.expect("record");
    assert_eq!(catalog.image(&name("a")).await.expect("image").expect("a row").hash, None);
    assert_eq!(
        catalog.counts().await.expect("counts"),
        StateCounts { pending: 1, indexed: 0, failed: 0 }
    );
    // Changed again while a worker holds it: its completion must not count.
    let leased = catalog.lease(1, "slow", 30, 99, false).await.expect("lease");
    catalog
        .record("images", &[SeenImage { fingerprint: fingerprint("3"), ..seen("a") }], &[], 31)
        .await
        .expect("record");
    let late =
        CompletedImage { image_id: leased[0].id, hash: ContentHash::of(b"2"), facts: facts() };
    assert_eq!(catalog.complete(MODEL, "slow", &[late], 32).await.expect("complete"), 0);
}

async fn gone_images_lose_their_row(catalog: Arc<dyn Catalog>) {
    record(&*catalog, &["a", "b"]).await;
    catalog.record("images", &[], &[name("a")], 2).await.expect("record");
    assert!(catalog.image(&name("a")).await.expect("image").is_none());
    assert!(catalog.image(&name("b")).await.expect("image").is_some());
    catalog.record("other", &[], &[name("b")], 2).await.expect("record");
    assert!(catalog.image(&name("b")).await.expect("image").is_some(), "another source removed it");
}

async fn leases_are_exclusive_and_fenced(catalog: Arc<dyn Catalog>) {
    record(&*catalog, &["a", "b", "c"]).await;
    let first = catalog.lease(2, "one", 1, 50, false).await.expect("lease");
    let second = catalog.lease(9, "two", 1, 50, false).await.expect("lease");
    assert_eq!((first.len(), second.len()), (2, 1));
    let stolen =
        CompletedImage { image_id: first[0].id, hash: ContentHash::of(b"x"), facts: facts() };
    assert_eq!(
        catalog.complete(MODEL, "two", &[stolen], 2).await.expect("complete"),
        0,
        "a foreign token completed it"
    );
    catalog.renew("one", 500).await.expect("renew");
    assert_eq!(
        catalog.reclaim(Some(100)).await.expect("reclaim"),
        1,
        "only the lease that ran out is freed"
    );
    assert_eq!(catalog.release("one").await.expect("release"), 2);
    assert_eq!(catalog.lease(9, "three", 1, 50, false).await.expect("lease").len(), 3);
    assert_eq!(catalog.next_due_ms().await.expect("due"), Some(50));
}

async fn images_not_yet_due_are_not_leased(catalog: Arc<dyn Catalog>) {
    let settling = SeenImage { due_ms: 100, ..seen("copying") };
    catalog.record("images", &[settling], &[], 1).await.expect("record");
    assert!(catalog.lease(9, "t", 99, 200, false).await.expect("lease").is_empty());
    assert_eq!(catalog.next_due_ms().await.expect("due"), Some(100));
    let leased = catalog.lease(9, "t", 100, 200, false).await.expect("lease");
    catalog.defer("t", leased[0].id, &fingerprint("2"), 300).await.expect("defer");
    assert!(catalog.lease(9, "t", 299, 400, false).await.expect("lease").is_empty());
    let again = catalog.lease(9, "t", 300, 400, false).await.expect("lease");
    assert_eq!((again[0].fingerprint.version.as_str(), again[0].attempts), ("2", 0));
}

async fn interrupted_images_become_suspects_and_come_alone(catalog: Arc<dyn Catalog>) {
    record(&*catalog, &["a", "b"]).await;
    for _ in 0..SUSPECT_INTERRUPTIONS {
        assert_eq!(catalog.lease(9, "t", 1, 50, false).await.expect("lease").len(), 2);
        assert_eq!(catalog.reclaim(None).await.expect("reclaim"), 2);
    }
    assert!(catalog.lease(9, "t", 1, 50, false).await.expect("lease").is_empty());
    let alone = catalog.lease(9, "t", 1, 50, true).await.expect("lease");
    assert_eq!(alone.len(), 1);
    assert_eq!(i64::from(alone[0].interruptions), SUSPECT_INTERRUPTIONS);
}

async fn failures_are_counted_shown_and_retried(catalog: Arc<dyn Catalog>) {
    record(&*catalog, &["bad", "worse"]).await;
    let failure = Failure { code: "corrupt_image".into(), reason: "it ends early".into() };
    let leased = catalog.lease(2, "t", 1, 50, false).await.expect("lease");
    catalog.fail("t", leased[0].id, &failure, Some(40)).await.expect("fail");
    catalog.fail("t", leased[1].id, &failure, None).await.expect("fail");
    catalog.fail("t", leased[1].id, &failure, None).await.expect("a lost lease is no error");
    assert_eq!(
        catalog.counts().await.expect("counts"),
        StateCounts { pending: 1, indexed: 0, failed: 1 }
    );
    let (failures, total) = catalog.failures(10, 0).await.expect("failures");
    assert_eq!((failures[0].name.as_str(), failures[0].attempts, total), ("worse", 1, 1));
    assert_eq!(failures[0].failure, failure);
    assert_eq!(
        catalog.retry(Some(&[name("bad")])).await.expect("retry"),
        0,
        "only failed images are retried"
    );
    assert_eq!(catalog.retry(None).await.expect("retry"), 1);
    assert_eq!(
        catalog.counts().await.expect("counts"),
        StateCounts { pending: 2, indexed: 0, failed: 0 }
    );
}

async fn duplicates_share_one_content(catalog: Arc<dyn Catalog>) {
    record(&*catalog, &["b", "a"]).await;
    index_all(&*catalog, MODEL, b"same").await;
    let hash = ContentHash::of(b"same");
    let contents = catalog.images_of(&[hash, ContentHash::of(b"none")]).await.expect("images_of");
    assert_eq!(contents.len(), 1);
    assert_eq!(contents[&hash].names, [name("a"), name("b")]);
    assert_eq!(catalog.stored_contents(MODEL, &[hash]).await.expect("stored")[&hash], facts());
    assert_eq!(catalog.stored_hashes(MODEL, None, 10).await.expect("hashes"), [hash]);
    assert!(catalog.stored_hashes(MODEL, Some(&hash), 10).await.expect("hashes").is_empty());
    assert_eq!(catalog.models().await.expect("models"), [(MODEL.to_owned(), 1)]);
    assert_eq!(catalog.recent(1, 0).await.expect("recent").1, 2);
}

async fn orphans_are_returned_after_their_grace_and_can_be_taken_back(catalog: Arc<dyn Catalog>) {
    record(&*catalog, &["a"]).await;
    index_all(&*catalog, MODEL, b"x").await;
    let hash = ContentHash::of(b"x");
    assert!(catalog.orphans(MODEL, 100, 100, 10).await.expect("orphans").is_empty());
    catalog.record("images", &[], &[name("a")], 100).await.expect("record");
    assert!(
        catalog.orphans(MODEL, 100, 50, 10).await.expect("orphans").is_empty(),
        "its grace was ignored"
    );
    assert_eq!(catalog.orphans(MODEL, 150, 100, 10).await.expect("orphans"), [hash]);
    // It comes back under another name: the vector is in use again.
    assert_eq!(catalog.stored_contents(MODEL, &[hash]).await.expect("stored").len(), 1);
    assert!(catalog.orphans(MODEL, 160, 100, 10).await.expect("orphans").is_empty());
    catalog.forget_vectors(MODEL, &[hash]).await.expect("forget");
    assert!(catalog.stored_contents(MODEL, &[hash]).await.expect("stored").is_empty());
    // A vector that was only intended when the process died is found as an orphan too.
    catalog.intend_vectors(MODEL, &[(hash, facts())]).await.expect("intend");
    assert!(catalog.stored_contents(MODEL, &[hash]).await.expect("stored").is_empty());
    assert_eq!(catalog.orphans(MODEL, 200, 200, 10).await.expect("orphans"), [hash]);
}

async fn a_new_model_makes_indexed_images_pending_but_keeps_them_findable(
    catalog: Arc<dyn Catalog>,
) {
    record(&*catalog, &["a"]).await;
    index_all(&*catalog, MODEL, b"x").await;
    assert_eq!(catalog.require_vectors(MODEL).await.expect("require"), 0);
    assert_eq!(catalog.require_vectors("clip@2").await.expect("require"), 1);
    assert_eq!(catalog.counts().await.expect("counts").pending, 1);
    assert_eq!(catalog.images_of(&[ContentHash::of(b"x")]).await.expect("images_of").len(), 1);
}

async fn used_models_are_noted_and_forgotten_with_their_vectors(catalog: Arc<dyn Catalog>) {
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
    assert_eq!(catalog.awaiting().await.expect("count"), 0, "a new image waits for no other model");
    index_all(&*catalog, "clip@1", b"a").await;
    assert_eq!(catalog.require_vectors("clip@2").await.expect("require"), 1);
    assert_eq!(catalog.awaiting().await.expect("count"), 1);
    index_all(&*catalog, "clip@2", b"a").await;
    assert_eq!(catalog.awaiting().await.expect("count"), 0);
    catalog.forget_model(&used("1", "").id).await.expect("forget");
    assert_eq!(catalog.used_models().await.expect("used"), [used("2", "CLIP")]);
    assert_eq!(catalog.models().await.expect("models"), [("clip@2".to_owned(), 1)]);
}

async fn feedback_is_stored_once_per_impression(catalog: Arc<dyn Catalog>) {
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

async fn odd_names_survive(catalog: Arc<dyn Catalog>) {
    let odd =
        ["日本/写真 1.png", "a'b\"c;--.jpg", "%_\\.png", " leading", "new\nline", "😀/🎾.png"];
    record(&*catalog, &odd).await;
    for text in odd {
        assert!(catalog.image(&name(text)).await.expect("image").is_some(), "{text:?} was lost");
    }
    assert_eq!(
        catalog.known("images", &Scope::Under(name("😀")), None, 9).await.expect("known").len(),
        1
    );
}
