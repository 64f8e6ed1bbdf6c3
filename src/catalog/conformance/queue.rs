//! Leases: who holds what, until when, and what becomes of it.

use super::*;

pub(crate) async fn leases_are_exclusive_and_fenced(fixture: &dyn Fixture) {
    let (one, two) = (fixture.open_as("one").await, fixture.open_as("two").await);
    record(&*one, &["a", "b", "c"]).await;
    let first = one.lease(2, "1", 1, 50, false).await.expect("lease");
    let second = two.lease(9, "2", 1, 50, false).await.expect("lease");
    assert_eq!((first.len(), second.len()), (2, 1));
    let stolen = CompletedImage {
        image_id: first[0].id,
        hash: ContentHash::of(b"x"),
        facts: facts(),
        header: Header::default(),
    };
    two.intend_vectors(MODEL, &[(stolen.hash, facts())], 1).await.expect("intend");
    let indexed = two.complete(MODEL, "2", &[stolen], 2).await.expect("complete");
    assert_eq!(indexed, 0, "a foreign token completed it");
    two.fail("2", first[0].id, &corrupt(), None, 2).await.expect("fail");
    two.gone("2", first[0].id, 2).await.expect("gone");
    two.defer("2", first[0].id, &fingerprint("9"), 9).await.expect("defer");
    assert_eq!(counts(&*one).await, (3, 0, 0, 0, 0), "a foreign token changed it");
    one.renew("1", 500).await.expect("renew");
    assert_eq!(one.next_due_ms().await.expect("due"), Some(50));
    assert_eq!(one.reclaim_expired(100).await.expect("reclaim"), 1, "only what ran out is freed");
    assert_eq!(one.release("1").await.expect("release"), 2);
    assert_eq!(one.lease(9, "3", 100, 150, false).await.expect("lease").len(), 3);
    assert_eq!(one.next_due_ms().await.expect("due"), Some(150));
}

pub(crate) async fn a_start_reclaims_what_its_predecessor_held_and_nothing_else(
    fixture: &dyn Fixture,
) {
    let (one, two) = (fixture.open_as("one").await, fixture.open_as("two").await);
    record(&*one, &["a", "b", "c"]).await;
    let mine = one.lease(2, "1", 1, 1_000_000, false).await.expect("lease");
    assert_eq!(two.lease(9, "2", 1, 1_000_000, false).await.expect("lease").len(), 1);
    drop(one);
    let again = fixture.open_as("one").await;
    assert_eq!(again.reclaim_own(5).await.expect("reclaim"), 2);
    assert_eq!(again.reclaim_own(5).await.expect("reclaim"), 0);
    let leased = again.lease(9, "3", 5, 1_000_000, false).await.expect("lease");
    let ids = |images: &[LeasedImage]| images.iter().map(|image| image.id).collect::<Vec<_>>();
    assert_eq!(ids(&leased), ids(&mine), "the other's lease was stolen");
    assert!(leased.iter().all(|image| image.interruptions == 1));
}

pub(crate) async fn images_not_yet_due_are_not_leased(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    let settling = SeenImage { due_ms: 100, ..seen("copying") };
    catalog.record(SOURCE, &[settling], &[], 1).await.expect("record");
    assert!(catalog.lease(9, "t", 99, 200, false).await.expect("lease").is_empty());
    assert_eq!(catalog.next_due_ms().await.expect("due"), Some(100));
    let leased = catalog.lease(9, "t", 100, 200, false).await.expect("lease");
    catalog.defer("t", leased[0].id, &fingerprint("2"), 300).await.expect("defer");
    assert_eq!(catalog.next_due_ms().await.expect("due"), Some(300), "an empty lease is left");
    assert!(catalog.lease(9, "t", 299, 400, false).await.expect("lease").is_empty());
    let again = catalog.lease(9, "t", 300, 400, false).await.expect("lease");
    assert_eq!((again[0].fingerprint.version.as_str(), again[0].attempts), ("2", 0));
}

pub(crate) async fn interrupted_images_become_suspects_and_come_alone(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    record(&*catalog, &["a", "b"]).await;
    for round in 0..SUSPECT_INTERRUPTIONS {
        let leased = catalog.lease(9, "t", 10 + round, 50, false).await.expect("lease");
        assert_eq!(leased.len(), 2);
        assert_eq!(catalog.reclaim_own(11 + round).await.expect("reclaim"), 2);
    }
    assert!(catalog.lease(9, "t", 20, 50, false).await.expect("lease").is_empty());
    assert!(catalog.next_due_ms().await.expect("due").is_some_and(|due| due <= 20));
    let alone = catalog.lease(9, "t", 20, 50, true).await.expect("lease");
    assert_eq!(alone.len(), 1);
    assert_eq!(i64::from(alone[0].interruptions), SUSPECT_INTERRUPTIONS);
}

pub(crate) async fn failures_are_counted_shown_and_retried(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    record(&*catalog, &["bad", "worse"]).await;
    let other = Failure { code: "of_another_version".into(), ..corrupt() };
    let leased = catalog.lease(2, "t", 1, 50, false).await.expect("lease");
    catalog.fail("t", leased[0].id, &corrupt(), Some(40), 2).await.expect("fail");
    catalog.fail("t", leased[1].id, &other, None, 2).await.expect("fail");
    catalog.fail("t", leased[1].id, &other, None, 2).await.expect("a lost lease is no error");
    assert_eq!(counts(&*catalog).await, (1, 0, 1, 0, 0));
    let page = catalog.failures(10, PageStart::Offset(0)).await.expect("failures");
    assert_eq!((page.failures[0].name.as_str(), page.failures[0].attempts), ("worse", 1));
    assert_eq!((&page.failures[0].failure, page.total), (&other, 1));
    let retry = async |names: Option<&[ImageName]>| catalog.retry(names).await.expect("retry");
    assert_eq!(retry(Some(&[name("bad")])).await, 0, "only failed images are retried");
    assert_eq!(retry(Some(&[name("worse")])).await, 1);
    assert_eq!(retry(None).await, 0);
    assert_eq!(counts(&*catalog).await, (2, 0, 0, 0, 0));
}

pub(crate) async fn what_is_no_picture_is_skipped_until_it_changes(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    record(&*catalog, &["clip.mp4", "film.mp4", "notes.txt", "was a picture"]).await;
    let leased = catalog.lease(9, "t", 1, 50, false).await.expect("lease");
    for (image, what) in leased.iter().zip(["video", "video", "text"]) {
        catalog.skip("t", image.id, what, 2).await.expect("skip");
        catalog.skip("other", image.id, "audio", 2).await.expect("a lost lease is no error");
    }
    let kinds = catalog.skipped().await.expect("skipped");
    assert_eq!(kinds, [("text".to_owned(), 1), ("video".to_owned(), 2)]);
    assert_eq!(catalog.counts().await.expect("counts").skipped, 3);
    assert_eq!(counts(&*catalog).await, (1, 0, 0, 0, 0), "no failures");
    catalog.release("t").await.expect("release");
    index_all(&*catalog, MODEL, b"x").await;
    let overwritten = [changed("was a picture", "2"), changed("clip.mp4", "2")];
    catalog.record(SOURCE, &overwritten, &[], 20).await.expect("record");
    assert_eq!(catalog.counts().await.expect("counts").skipped, 2, "it may be one now");
    for image in lease_all(&*catalog, "u").await {
        catalog.skip("u", image.id, "text", 21).await.expect("skip");
    }
    assert!(found(&*catalog, b"x").await.is_empty(), "what it was is still found");
    catalog.record(SOURCE, &[], &[name("notes.txt")], 30).await.expect("record");
    assert_eq!(catalog.counts().await.expect("counts").skipped, 3);
    assert_eq!(counts(&*catalog).await, (0, 0, 0, 0, 0), "nothing of it is worth keeping");
}

pub(crate) async fn a_vanished_image_counts_only_under_its_lease(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    record(&*catalog, &["a", "b"]).await;
    let leased = lease_all(&*catalog, "slow").await;
    // Recorded anew meanwhile: the worker's "not found" is about what was before.
    catalog.record(SOURCE, &[changed("a", "2")], &[], 20).await.expect("record");
    for image in &leased {
        catalog.gone("slow", image.id, 21).await.expect("gone");
    }
    assert_eq!(counts(&*catalog).await, (1, 0, 0, 0, 0), "only b went");
    index_all(&*catalog, MODEL, b"x").await;
    catalog.record(SOURCE, &[changed("a", "3")], &[], 30).await.expect("record");
    let leased = lease_all(&*catalog, "t").await;
    catalog.gone("t", leased[0].id, 31).await.expect("gone");
    assert_eq!(counts(&*catalog).await, (0, 0, 0, 1, 0), "it was read once, so it is kept");
}

pub(crate) async fn a_lease_ends_with_the_last_image_that_was_taken_from_it(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    for (number, told) in ["fail", "skip", "gone", "defer", "complete"].into_iter().enumerate() {
        record(&*catalog, &[told]).await;
        let leased = catalog.lease(9, told, 1, 500, false).await.expect("lease");
        let id = leased[0].id;
        // Whoever lists the source sees that it went, while another still works on it.
        catalog.record(SOURCE, &[], &[name(told)], 2).await.expect("record");
        match number {
            0 => catalog.fail(told, id, &corrupt(), None, 3).await.expect("fail"),
            1 => catalog.skip(told, id, "a document", 3).await.expect("skip"),
            2 => catalog.gone(told, id, 3).await.expect("gone"),
            3 => catalog.defer(told, id, &fingerprint("2"), 3).await.expect("defer"),
            _ => {
                let (hash, header) = (ContentHash::of(b"x"), Header::default());
                let done = CompletedImage { image_id: id, hash, facts: facts(), header };
                assert_eq!(catalog.complete(MODEL, told, &[done], 3).await.expect("complete"), 0);
            }
        }
        assert_eq!(catalog.next_due_ms().await.expect("due"), None, "after {told}");
    }
}
