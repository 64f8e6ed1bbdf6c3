//! Sources that are away, leave the configuration, or move.

use super::*;

fn configured(ids: &[&str]) -> Vec<ConfiguredSource> {
    ids.iter()
        .map(|id| ConfiguredSource { id: (*id).to_owned(), location: format!("/{id}") })
        .collect()
}

async fn configure(catalog: &dyn Catalog, ids: &[&str], now_ms: i64) {
    catalog.configure_sources(&configured(ids), now_ms).await.expect("configure");
}

pub(crate) async fn images_of_unconfigured_sources_are_hidden_and_dropped(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    configure(&*catalog, &["one", "two"], 1).await;
    catalog.record("one", &[seen("a")], &[], 2).await.expect("record");
    catalog.record("two", &[seen("b"), seen("c")], &[], 2).await.expect("record");
    index_all(&*catalog, MODEL, b"x").await;
    catalog.record("two", &[changed("c", "2"), seen("d")], &[], 12).await.expect("record");
    configure(&*catalog, &["one"], 20).await;
    configure(&*catalog, &["one"], 25).await;
    assert_eq!(counts(&*catalog).await, (0, 1, 0, 0, 3));
    assert_eq!(found(&*catalog, b"x").await, ["a"]);
    assert!(catalog.image(&name("b")).await.expect("image").is_none());
    assert!(lease_all(&*catalog, "t").await.is_empty(), "a hidden image was leased");
    assert_eq!(catalog.next_due_ms().await.expect("due"), None);
    assert_eq!(catalog.awaiting().await.expect("awaiting"), 0);
    assert_eq!(catalog.recent(9, PageStart::Offset(0)).await.expect("recent").images.len(), 1);
    // In the configuration again: everything is as it was.
    configure(&*catalog, &["one", "two"], 30).await;
    assert_eq!(counts(&*catalog).await, (2, 2, 0, 0, 0));
    assert_eq!(found(&*catalog, b"x").await, ["a", "b", "c"]);
    configure(&*catalog, &["one"], 40).await;
    assert_eq!(catalog.forget_missing(39, 10, 50).await.expect("forget"), 0);
    assert_eq!(catalog.forget_missing(40, 2, 50).await.expect("forget"), 2);
    assert_eq!(catalog.forget_missing(40, 2, 50).await.expect("forget"), 1);
    assert_eq!(counts(&*catalog).await, (0, 1, 0, 0, 0));
    let left = catalog.sources().await.expect("sources");
    assert_eq!(left.iter().map(|source| source.id.as_str()).collect::<Vec<_>>(), ["one"]);
}

pub(crate) async fn images_of_a_source_that_is_away_answer_but_are_not_leased(
    fixture: &dyn Fixture,
) {
    let catalog = fixture.open().await;
    record(&*catalog, &["a", "b"]).await;
    index_all(&*catalog, MODEL, b"x").await;
    catalog.record(SOURCE, &[changed("b", "2")], &[], 20).await.expect("record");
    catalog.mark_away(SOURCE, Some("unplugged"), 30).await.expect("away");
    catalog.mark_away(SOURCE, Some("still unplugged"), 40).await.expect("away");
    assert_eq!(found(&*catalog, b"x").await, ["a", "b"]);
    assert!(lease_all(&*catalog, "t").await.is_empty());
    assert_eq!(catalog.next_due_ms().await.expect("due"), None, "it would be polled for");
    let away = catalog.sources().await.expect("sources")[0].away.clone();
    assert_eq!(away, Some(crate::types::Away { reason: "still unplugged".into(), since_ms: 30 }));
    catalog.mark_away(SOURCE, None, 50).await.expect("back");
    assert_eq!(lease_all(&*catalog, "t").await.len(), 1);
    assert_eq!(catalog.sources().await.expect("sources")[0].away, None);
}

pub(crate) async fn a_moved_library_keeps_its_images(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    configure(&*catalog, &["/old"], 1).await;
    catalog.record("/old", &[seen("a"), seen("b")], &[], 2).await.expect("record");
    index_all(&*catalog, MODEL, b"x").await;
    configure(&*catalog, &["/new"], 20).await;
    assert_eq!(counts(&*catalog).await, (0, 0, 0, 0, 2));
    // Same names, sizes and times below another root.
    catalog.record("/new", &[seen("a"), seen("b")], &[], 21).await.expect("record");
    assert_eq!(counts(&*catalog).await, (0, 2, 0, 0, 0), "they have to be read again");
    let row = catalog.image(&name("a")).await.expect("image").expect("a row");
    assert_eq!(row.source, "/new");
    assert_eq!(catalog.forget_missing(20, 10, 22).await.expect("forget"), 0);
}

pub(crate) async fn sources_are_remembered(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    configure(&*catalog, &["one"], 1).await;
    record(&*catalog, &["a"]).await;
    catalog.mark_listed("one", Some("device 7"), 5).await.expect("listed");
    catalog.mark_listed("one", None, 6).await.expect("listed");
    let sources = catalog.sources().await.expect("sources");
    let one = SourceRow {
        id: "one".into(),
        location: "/one".into(),
        identity: Some("device 7".into()),
        away: None,
        unconfigured_since_ms: None,
        last_listed_ms: Some(6),
        images: 0,
    };
    assert_eq!(sources[0], one);
    assert_eq!((sources[1].id.as_str(), sources[1].images), (SOURCE, 1));
}

pub(crate) async fn unnameable_files_are_noted_anew_each_time(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    let file = |shown: &str| UnnameableFile { shown: shown.to_owned(), reason: "odd".to_owned() };
    let noted = async || catalog.unnameable().await.expect("asked");
    let source = |id: &str| ConfiguredSource { id: id.to_owned(), location: String::new() };
    catalog.configure_sources(&[source("a"), source("b")], 1).await.expect("configured");
    assert_eq!(noted().await, []);
    catalog.note_unnameable("a", &[file("y"), file("x"), file("x")]).await.expect("noted");
    catalog.note_unnameable("b", &[file("x")]).await.expect("noted");
    assert_eq!(noted().await, [file("x"), file("y"), file("x")]);
    catalog.note_unnameable("a", &[file("z")]).await.expect("noted");
    assert_eq!(noted().await, [file("z"), file("x")]);
    catalog.configure_sources(&[source("a")], 2).await.expect("configured");
    assert_eq!(noted().await, [file("z")], "nobody asks for the other source any more");
    catalog.note_unnameable("a", &[]).await.expect("noted");
    assert_eq!(noted().await, []);
}
