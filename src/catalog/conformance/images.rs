//! Images that come, change, go, come back, and are shown.

use super::*;

pub(crate) async fn recorded_images_are_known_by_scope(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    record(&*catalog, &["a/1", "a/2", "a.txt", "a0", "b", "a"]).await;
    let known = async |scope: Scope, after: Option<ImageName>, limit| {
        let page = catalog.known(SOURCE, &scope, after.as_ref(), limit).await.expect("known");
        page.into_iter().map(|image| image.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(known(Scope::All, None, 100).await, ["a", "a.txt", "a/1", "a/2", "a0", "b"]);
    assert_eq!(known(Scope::All, Some(name("a/1")), 2).await, ["a/2", "a0"]);
    let under = || Scope::Under(name("a"));
    assert_eq!(known(under(), None, 100).await, ["a", "a/1", "a/2"]);
    assert_eq!(known(under(), None, 1).await, ["a"]);
    assert_eq!(known(under(), Some(name("a")), 1).await, ["a/1"]);
    assert_eq!(known(under(), Some(name("a/1")), 9).await, ["a/2"]);
    assert!(known(Scope::Under(name("a/1/x")), None, 9).await.is_empty());
    assert!(catalog.known("other", &Scope::All, None, 100).await.expect("known").is_empty());
    lose(&*catalog, "a/1", 2).await;
    assert_eq!(known(under(), None, 100).await, ["a", "a/2"], "what is missing is not there");
}

pub(crate) async fn changed_images_answer_as_before_until_they_are_read(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    record(&*catalog, &["a"]).await;
    index_all(&*catalog, MODEL, b"old").await;
    catalog.record(SOURCE, &[changed("a", "2")], &[], 20).await.expect("record");
    assert_eq!(counts(&*catalog).await, (1, 0, 0, 0, 0));
    assert_eq!(found(&*catalog, b"old").await, ["a"], "it stopped answering");
    let row = catalog.image(&name("a")).await.expect("image").expect("a row");
    assert!(row.outdated && row.hash == Some(ContentHash::of(b"old")));
    // Changed again while a worker holds it: its completion must not count.
    let leased = lease_all(&*catalog, "slow").await;
    catalog.record(SOURCE, &[changed("a", "3")], &[], 31).await.expect("record");
    let late = CompletedImage {
        image_id: leased[0].id,
        hash: ContentHash::of(b"2"),
        facts: facts(),
        header: Header::default(),
    };
    assert_eq!(catalog.complete(MODEL, "slow", &[late], 32).await.expect("complete"), 0);
    assert_eq!(index_all(&*catalog, MODEL, b"new").await, 1);
    assert_eq!(found(&*catalog, b"new").await, ["a"]);
    assert!(found(&*catalog, b"old").await.is_empty());
    let row = catalog.image(&name("a")).await.expect("image").expect("a row");
    assert!(!row.outdated && row.state == ImageState::Indexed);
    // The same content again (a restore without times): nothing is lost, nothing is new.
    catalog.record(SOURCE, &[changed("a", "4")], &[], 40).await.expect("record");
    index_all(&*catalog, MODEL, b"new").await;
    assert_eq!(claim(&*catalog, "gc", 500).await, [ContentHash::of(b"old")]);
}

pub(crate) async fn an_image_that_changed_to_something_else_answers_no_more(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    record(&*catalog, &["a", "b"]).await;
    index_all(&*catalog, MODEL, b"x").await;
    let both = [changed("a", "2"), changed("b", "2")];
    catalog.record(SOURCE, &both, &[], 20).await.expect("record");
    let leased = lease_all(&*catalog, "t").await;
    // What cannot be read may be what it was; what is no picture is not.
    let unread = Failure { code: FailureCode::ReadError, reason: "no cable".into() };
    catalog.fail("t", leased[0].id, &unread, None, 21).await.expect("fail");
    catalog.fail("t", leased[1].id, &corrupt(), None, 22).await.expect("fail");
    assert_eq!(found(&*catalog, b"x").await, ["a"]);
    lose(&*catalog, "a", 30).await;
    catalog.forget_missing(30, 10, 31).await.expect("forget");
    assert_eq!(claim(&*catalog, "gc", 31).await, [ContentHash::of(b"x")]);
}

pub(crate) async fn gone_images_are_missing_and_come_back_at_no_cost(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    record(&*catalog, &["a", "b", "bad"]).await;
    let leased = lease_all(&*catalog, "t").await;
    catalog.fail("t", leased[2].id, &corrupt(), None, 11).await.expect("fail");
    catalog.release("t").await.expect("release");
    index_all(&*catalog, MODEL, b"x").await;
    lose(&*catalog, "a", 20).await;
    assert_eq!(counts(&*catalog).await, (0, 1, 1, 1, 0));
    assert_eq!(found(&*catalog, b"x").await, ["b"]);
    assert!(catalog.image(&name("a")).await.expect("image").is_none(), "it is still shown");
    let recent = catalog.recent(9, PageStart::Offset(0)).await.expect("recent");
    assert_eq!((recent.images.len(), recent.total), (1, 1));
    assert!(claim(&*catalog, "gc", 500).await.is_empty(), "its vector was given up");
    catalog.record("other", &[], &[name("b")], 21).await.expect("record");
    assert_eq!(found(&*catalog, b"x").await, ["b"], "another source removed it");
    record(&*catalog, &["a"]).await;
    assert_eq!(counts(&*catalog).await, (0, 2, 1, 0, 0), "it did not come back as it was");
    assert_eq!(found(&*catalog, b"x").await, ["a", "b"]);
    // Gone while it waited to be read anew, and back: it still waits.
    catalog.record(SOURCE, &[changed("b", "2")], &[], 30).await.expect("record");
    lose(&*catalog, "b", 31).await;
    assert!(lease_all(&*catalog, "t").await.is_empty(), "what is missing was leased");
    catalog.record(SOURCE, &[changed("b", "2")], &[], 32).await.expect("record");
    assert_eq!(lease_all(&*catalog, "t").await.len(), 1);
}

pub(crate) async fn images_that_were_never_read_are_forgotten_at_once(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    record(&*catalog, &["a"]).await;
    lose(&*catalog, "a", 2).await;
    assert_eq!(counts(&*catalog).await, (0, 0, 0, 0, 0));
    assert_eq!(catalog.forget_missing(i64::MAX, 10, 3).await.expect("forget"), 0);
}

pub(crate) async fn missing_images_are_forgotten_after_a_while(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    record(&*catalog, &["a", "b", "c"]).await;
    index_all(&*catalog, MODEL, b"x").await;
    for (text, at) in [("a", 20), ("b", 30)] {
        lose(&*catalog, text, at).await;
        lose(&*catalog, text, at + 100).await;
    }
    let forget = async |before, now| catalog.forget_missing(before, 10, now).await.expect("forget");
    assert_eq!(forget(19, 50).await, 0);
    assert_eq!(forget(20, 50).await, 1);
    assert_eq!(counts(&*catalog).await, (0, 1, 0, 1, 0));
    assert_eq!(forget(30, 51).await, 1);
    assert!(claim(&*catalog, "gc", 500).await.is_empty(), "c still counts on the vector");
    lose(&*catalog, "c", 60).await;
    assert_eq!(forget(60, 61).await, 1);
    assert!(claim(&*catalog, "gc", 60).await.is_empty(), "its grace was ignored");
    assert_eq!(claim(&*catalog, "gc", 61).await, [ContentHash::of(b"x")]);
}

pub(crate) async fn deleted_images_are_forgotten_at_once(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    record(&*catalog, &["a", "b"]).await;
    index_all(&*catalog, MODEL, b"x").await;
    assert_eq!(catalog.forget(&[name("a"), name("never")], 20).await.expect("forget"), 1);
    assert!(claim(&*catalog, "gc", 500).await.is_empty());
    lose(&*catalog, "b", 21).await;
    assert_eq!(catalog.forget(&[name("b")], 22).await.expect("forget"), 1, "missing is no excuse");
    assert_eq!(counts(&*catalog).await, (0, 0, 0, 0, 0));
    assert_eq!(claim(&*catalog, "gc", 22).await, [ContentHash::of(b"x")]);
}

pub(crate) async fn duplicates_share_one_content(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    record(&*catalog, &["b", "a"]).await;
    index_all(&*catalog, MODEL, b"same").await;
    let hash = ContentHash::of(b"same");
    let asked = [hash, ContentHash::of(b"none"), hash];
    let contents = catalog.images_of(&asked, 10).await.expect("images_of");
    assert_eq!(contents.len(), 1);
    assert_eq!(contents[&hash].names, [name("a"), name("b")]);
    assert_eq!(contents[&hash].facts, facts());
    assert_eq!(catalog.stored_contents(MODEL, &[hash], 12).await.expect("stored")[&hash], facts());
    assert_eq!(catalog.stored_hashes(MODEL, None, 10).await.expect("hashes"), [hash]);
    assert!(catalog.stored_hashes(MODEL, Some(&hash), 10).await.expect("hashes").is_empty());
    assert_eq!(catalog.stored_by_model().await.expect("models"), [(MODEL.to_owned(), 1)]);
}

pub(crate) async fn of_many_copies_the_first_names_are_told_and_the_rest_is_paged(
    fixture: &dyn Fixture,
) {
    let catalog = fixture.open().await;
    // The names' order is another one than that of their discovery.
    let names: Vec<String> = (0..25).rev().map(|number| format!("{number:02}")).collect();
    record(&*catalog, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    index_all(&*catalog, MODEL, b"same").await;
    let hash = ContentHash::of(b"same");
    let of = async |names_max| {
        let mut contents = catalog.images_of(&[hash], names_max).await.expect("images_of");
        let content = contents.remove(&hash).expect("it has images");
        (content.names, content.names_total)
    };
    assert_eq!(of(3).await, (vec![name("00"), name("01"), name("02")], 25));
    assert_eq!(of(25).await.0.len(), 25);
    assert_eq!(of(25).await.1, 25);
    lose(&*catalog, "00", 20).await;
    assert_eq!(of(1).await, (vec![name("01")], 24), "what is gone is no copy");
    let page = async |after: Option<&str>, limit| {
        let after = after.map(name);
        catalog.names_of(&hash, after.as_ref(), limit).await.expect("names_of")
    };
    assert_eq!(page(None, 2).await, [name("01"), name("02")]);
    assert_eq!(page(Some("02"), 100).await.len(), 22);
    assert!(page(Some("24"), 100).await.is_empty());
}

pub(crate) async fn the_newest_are_paged_by_offset_and_by_cursor(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    // Two sources whose images come alternately, four of them in the same millisecond.
    for (at, source, text) in [
        (1, SOURCE, "a"),
        (2, "other", "b"),
        (3, SOURCE, "c"),
        (3, SOURCE, "d"),
        (3, "other", "e"),
        (3, SOURCE, "f"),
        (4, "other", "g"),
    ] {
        let fingerprint = Fingerprint { modified_ms: at, ..fingerprint("1") };
        let image = SeenImage { fingerprint, ..seen(text) };
        catalog.record(source, &[image], &[], 10 - at).await.expect("record");
    }
    index_all(&*catalog, MODEL, b"x").await;
    record(&*catalog, &["not read yet"]).await;
    let names = |page: &RecentPage| {
        page.images.iter().map(|image| image.name.to_string()).collect::<Vec<_>>()
    };
    let all = catalog.recent(100, PageStart::Offset(0)).await.expect("recent");
    assert_eq!(names(&all), ["g", "f", "e", "d", "c", "b", "a"]);
    assert_eq!((all.total, all.next), (7, None));
    for limit in 1..=8 {
        let (mut walked, mut start) = (Vec::new(), PageStart::Offset(0));
        loop {
            let page = catalog.recent(limit, start).await.expect("recent");
            let place = walked.len() as u32;
            let skipped = catalog.recent(limit, PageStart::Offset(place)).await.expect("recent");
            assert_eq!(page, skipped, "offset and cursor disagree at {place}");
            walked.extend(names(&page));
            let Some(next) = page.next else { break };
            start = PageStart::After(next);
        }
        assert_eq!(walked, names(&all), "in pages of {limit}");
    }
}

pub(crate) async fn failures_are_paged(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    record(&*catalog, &["d", "b", "a"]).await;
    catalog.record("other", &[seen("c"), seen("e")], &[], 1).await.expect("record");
    for image in lease_all(&*catalog, "t").await {
        catalog.fail("t", image.id, &corrupt(), None, 2).await.expect("fail");
    }
    let names = |page: &FailurePage| {
        page.failures.iter().map(|failed| failed.name.to_string()).collect::<Vec<_>>()
    };
    let first = catalog.failures(2, PageStart::Offset(0)).await.expect("failures");
    assert_eq!((names(&first), first.total), (vec!["a".to_owned(), "b".to_owned()], 5));
    let next = first.next.expect("there are more");
    let second = catalog.failures(2, PageStart::After(next)).await.expect("failures");
    assert_eq!(names(&second), ["c", "d"]);
    let last = catalog.failures(2, PageStart::Offset(4)).await.expect("failures");
    assert_eq!((names(&last), last.next), (vec!["e".to_owned()], None));
}

/// Counters that are kept instead of counted must agree with what a walk over everything finds, whatever happened.
pub(crate) async fn counts_stay_exact(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    let all: Vec<String> = (0..20).map(|number| format!("{number}")).collect();
    // Numbers that look random and are the same in every run.
    let mut state = 1_u32;
    let mut random = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as usize % below
    };
    for step in 0..300 {
        let text = &all[random(all.len())];
        match random(7) {
            0 => lose(&*catalog, text, step).await,
            1 => drop(catalog.forget(&[name(text)], step).await.expect("forget")),
            2 => drop(catalog.forget_missing(step - 40, 2, step).await.expect("forget")),
            3 => {
                let version = random(3).to_string();
                catalog
                    .record(SOURCE, &[changed(text, &version)], &[], step)
                    .await
                    .expect("record");
            }
            4 => {
                for image in catalog.lease(2, "f", step, 999, false).await.expect("lease") {
                    catalog.fail("f", image.id, &corrupt(), None, step).await.expect("fail");
                }
            }
            5 => drop(catalog.retry(None).await.expect("retry")),
            _ => drop(index_all(&*catalog, MODEL, &[random(5) as u8]).await),
        }
        let known = catalog.known(SOURCE, &Scope::All, None, 100).await.expect("known");
        let mut walked = (0, 0, 0);
        for image in &known {
            match catalog.image(&image.name).await.expect("image").expect("a row").state {
                ImageState::Pending => walked.0 += 1,
                ImageState::Indexed => walked.1 += 1,
                ImageState::Failed => walked.2 += 1,
                ImageState::Skipped => unreachable!("nothing is skipped here"),
            }
        }
        let (pending, indexed, failed, ..) = counts(&*catalog).await;
        assert_eq!((pending, indexed, failed), walked, "after step {step}");
        let recent = catalog.recent(100, PageStart::Offset(0)).await.expect("recent");
        assert_eq!(recent.images.len() as u64, recent.total, "after step {step}");
        let stored = catalog.stored_hashes(MODEL, None, 100).await.expect("hashes").len() as u64;
        let counted = catalog
            .stored_by_model()
            .await
            .expect("models")
            .first()
            .map_or(0, |(_, stored)| *stored);
        assert_eq!(counted, stored, "after step {step}");
    }
}

pub(crate) async fn odd_names_survive(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    let odd =
        ["日本/写真 1.png", "a'b\"c;--.jpg", "%_\\.png", " leading", "new\nline", "😀/🎾.png"];
    record(&*catalog, &odd).await;
    for text in odd {
        assert!(catalog.image(&name(text)).await.expect("image").is_some(), "{text:?} was lost");
    }
    let under = catalog.known(SOURCE, &Scope::Under(name("😀")), None, 9).await.expect("known");
    assert_eq!(under.len(), 1);
}
