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
