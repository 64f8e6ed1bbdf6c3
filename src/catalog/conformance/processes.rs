//! Processes that share a catalog.

use super::*;

fn process(instance: &str, seen_ms: i64) -> ProcessRow {
    ProcessRow {
        instance: instance.to_owned(),
        role: "worker".to_owned(),
        host: "a machine".to_owned(),
        version: "1.2.3".to_owned(),
        started_ms: 1,
        seen_ms,
        images_indexed: 7,
        images_per_second: 1.5,
        message: Some("it waits".to_owned()),
    }
}

pub(crate) async fn processes_are_seen_until_they_end_or_fall_silent(fixture: &dyn Fixture) {
    let (one, two) = (fixture.open_as("one").await, fixture.open_as("two").await);
    let noted = async |catalog: &Arc<dyn Catalog>, process: &ProcessRow, forget_before_ms| {
        catalog.note_process(process, forget_before_ms).await.expect("noted");
    };
    let seen = async || two.processes().await.expect("processes");
    noted(&two, &process("two", 10), 0).await;
    noted(&one, &process("one", 11), 0).await;
    assert_eq!(seen().await, [process("one", 11), process("two", 10)]);
    let changed =
        ProcessRow { images_indexed: 9, message: None, role: "all".into(), ..process("one", 12) };
    noted(&one, &changed, 10).await;
    assert_eq!(seen().await, [changed.clone(), process("two", 10)]);
    noted(&one, &changed, 11).await;
    assert_eq!(seen().await, std::slice::from_ref(&changed), "the other one fell silent");
    two.forget_process("two").await.expect("it is gone already");
    one.forget_process("one").await.expect("forgotten");
    assert_eq!(seen().await, []);
}

pub(crate) async fn pictures_are_indexed_with_one_model_by_all(fixture: &dyn Fixture) {
    let (one, two) = (fixture.open_as("one").await, fixture.open_as("two").await);
    assert_eq!(one.indexing_model().await.expect("asked"), None);
    record(&*one, &["a", "b"]).await;
    assert_eq!(index_all(&*one, MODEL, b"before anybody said").await, 2);
    one.index_with(MODEL).await.expect("said");
    record(&*one, &["c"]).await;
    let hash = ContentHash::of(b"c");
    let image_id = lease_all(&*one, "t").await.first().map(|image| image.id);
    let image_id = image_id.expect("leased");
    one.intend_vectors(MODEL, &[(hash, facts())], 10).await.expect("intended");
    two.index_with("other@2").await.expect("said");
    assert_eq!(one.indexing_model().await.expect("asked").as_deref(), Some("other@2"));
    let done = CompletedImage { image_id, hash, facts: facts(), header: Header::default() };
    let refused = one.complete(MODEL, "t", std::slice::from_ref(&done), 11).await;
    let words = refused.expect_err("refused").to_string();
    assert!(words.contains("other@2") && words.contains(MODEL), "{words}");
    assert_eq!(counts(&*one).await, (1, 2, 0, 0, 0), "nothing of it counts");
    two.intend_vectors("other@2", &[(hash, facts())], 12).await.expect("intended");
    let completed = two.complete("other@2", "t", &[done], 13).await;
    assert_eq!(completed.expect("completed"), 1);
}
