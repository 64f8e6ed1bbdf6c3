//! Claims on work that one process does for all.

use super::*;

pub(crate) async fn work_is_claimed_by_one_at_a_time(fixture: &dyn Fixture) {
    let (one, two) = (fixture.open_as("one").await, fixture.open_as("two").await);
    let claim = async |catalog: &Arc<dyn Catalog>, work: &str, now_ms| {
        catalog.claim(work, now_ms, now_ms + 10).await.expect("claim")
    };
    assert!(claim(&one, "a", 0).await);
    assert!(!claim(&two, "a", 5).await, "somebody has it");
    assert!(claim(&two, "b", 5).await, "other work");
    assert!(claim(&one, "a", 9).await, "the own claim is prolonged");
    assert!(!claim(&two, "a", 15).await);
    two.end_claim("a").await.expect("asked");
    assert!(!claim(&two, "a", 15).await, "nobody ends what is another's");
    assert_eq!(one.next_due_ms().await.expect("due"), None, "no image waits for its end");
    assert!(claim(&two, "a", 20).await, "it ran out");
    two.end_claim("a").await.expect("ended");
    assert!(claim(&one, "a", 21).await);
    drop(one);
    let again = fixture.open_as("one").await;
    again.reclaim_own(22).await.expect("reclaim");
    assert!(claim(&two, "a", 22).await, "a start frees what its predecessor had");
}

pub(crate) async fn what_a_process_records_that_lost_its_claim_does_not_count(
    fixture: &dyn Fixture,
) {
    let (one, two) = (fixture.open_as("one").await, fixture.open_as("two").await);
    let record = async |catalog: &Arc<dyn Catalog>, seen: &[SeenImage], gone: &[ImageName], at| {
        let recorded = catalog.record_while_claimed("listing", SOURCE, seen, gone, at).await;
        recorded.expect("recorded")
    };
    assert!(!record(&one, &[seen("a")], &[], 0).await, "nobody has it");
    assert!(one.claim("listing", 0, 10).await.expect("claim"));
    assert!(!record(&two, &[seen("a")], &[], 5).await, "another one has it");
    assert!(record(&one, &[seen("a"), seen("b")], &[], 10).await);
    assert!(!record(&one, &[], &[name("a")], 11).await, "it ran out");
    assert!(two.claim("listing", 11, 20).await.expect("claim"));
    assert!(!record(&one, &[], &[name("b")], 12).await, "it was taken over");
    assert!(record(&two, &[seen("c")], &[name("a")], 12).await);
    let known = two.known(SOURCE, &Scope::All, None, 9).await.expect("known");
    let names: Vec<&str> = known.iter().map(|known| known.name.as_str()).collect();
    assert_eq!(names, ["b", "c"]);
}
