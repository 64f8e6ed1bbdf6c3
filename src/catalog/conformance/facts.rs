//! What headers say, how lists go by it, and what filters and names are told.

use clip::{Gps, TakenFrom};

use super::*;

fn header(year: u16, camera: &str) -> Header {
    let (month, day, hour, minute, second, millisecond) = (5, 6, 7, 8, 9, 0);
    let (offset_minutes, from) = (Some(120), TakenFrom::ExifOriginal);
    let taken =
        clip::Taken { year, month, day, hour, minute, second, millisecond, offset_minutes, from };
    let gps = Gps { latitude: 48.1, longitude: 11.5, altitude_m: None };
    let facts = clip::Facts {
        taken: Some(taken),
        camera_make: Some("Canon".to_owned()),
        camera_model: Some(camera.to_owned()),
        gps: Some(gps),
        ..clip::Facts::default()
    };
    Header { facts, is_grey: Some(false) }
}

/// Completes what is due, each image with a content of its own name.
async fn index_each(catalog: &dyn Catalog, header: impl Fn(&str) -> Header) {
    for image in lease_all(catalog, "each").await {
        let hash = ContentHash::of(image.name.as_str().as_bytes());
        catalog.intend_vectors(MODEL, &[(hash, facts())], 10).await.expect("intend");
        let header = header(image.name.as_str());
        let done = CompletedImage { image_id: image.id, hash, facts: facts(), header };
        catalog.complete(MODEL, "each", &[done], 11).await.expect("complete");
    }
}

async fn taken(catalog: &dyn Catalog, text: &str) -> (String, Option<String>) {
    let row = catalog.image(&name(text)).await.expect("image").expect("a row");
    let taken = row.taken.expect("known");
    (taken.to_text(), taken.from)
}

async fn changes(catalog: &dyn Catalog, after: i64) -> (Vec<String>, Vec<i64>, i64) {
    let changes = catalog.facets_since(after, 100).await.expect("facets");
    let names = changes.now.iter().map(|image| image.name.to_string()).collect();
    (names, changes.gone, changes.last)
}

pub(crate) async fn images_are_listed_by_when_they_were_taken(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    record(&*catalog, &["old.jpg", "new.jpg", "2022-01-02.png", "none.png"]).await;
    index_each(&*catalog, |name| match name {
        "old.jpg" => header(2020, "EOS R5"),
        "new.jpg" => header(2024, "Canon EOS R6"),
        _ => Header::default(),
    })
    .await;
    let recent = catalog.recent(9, PageStart::Offset(0)).await.expect("recent").images;
    let names: Vec<_> = recent.iter().map(|image| image.name.as_str()).collect();
    assert_eq!(names, ["new.jpg", "2022-01-02.png", "old.jpg", "none.png"]);
    let (text, from) = taken(&*catalog, "new.jpg").await;
    assert_eq!(
        (text.as_str(), from.as_deref()),
        ("2024-05-06T07:08:09+02:00", Some("exif_original"))
    );
    assert_eq!(taken(&*catalog, "2022-01-02.png").await.1.as_deref(), Some("name"));
    assert_eq!(taken(&*catalog, "none.png").await.1.as_deref(), Some("file"));
    let known = catalog.content_facts(&ContentHash::of(b"old.jpg")).await.expect("facts");
    let known = known.expect("kept");
    assert_eq!((known.camera.as_deref(), known.is_grey), (Some("Canon EOS R5"), Some(false)));
    let known = catalog.content_facts(&ContentHash::of(b"new.jpg")).await.expect("facts");
    assert_eq!(known.and_then(|facts| facts.camera).as_deref(), Some("Canon EOS R6"), "named once");
    catalog.forget(&[name("old.jpg")], 20).await.expect("forget");
    let forgotten = catalog.content_facts(&ContentHash::of(b"old.jpg")).await.expect("facts");
    assert_eq!(forgotten, None);
}

pub(crate) async fn headers_count_only_for_the_content_that_they_were_read_of(
    fixture: &dyn Fixture,
) {
    let catalog = fixture.open().await;
    record(&*catalog, &["a", "b"]).await;
    index_each(&*catalog, |_| Header::default()).await;
    assert_eq!(catalog.without_facts(SOURCE, 0, 9).await.expect("unread"), []);
    let row = catalog.facets_of(&[ContentHash::of(b"a")]).await.expect("facets");
    let image_id = row[&ContentHash::of(b"a")][0].image_id;
    let read = |hash| ReadHeader { image_id, hash, header: header(1999, "F") };
    let other = [read(ContentHash::of(b"b"))];
    assert_eq!(catalog.note_headers(&other).await.expect("noted"), 0);
    let own = [read(ContentHash::of(b"a"))];
    assert_eq!(catalog.note_headers(&own).await.expect("noted"), 1);
    assert!(taken(&*catalog, "a").await.0.starts_with("1999"));
}

pub(crate) async fn changes_of_facets_are_told_once_each(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    record(&*catalog, &["a", "b", "c", "never read"]).await;
    lose(&*catalog, "never read", 2).await;
    index_each(&*catalog, |_| header(2020, "EOS R5")).await;
    let (names, gone, last) = changes(&*catalog, 0).await;
    assert_eq!((names, gone), (vec!["a".to_owned(), "b".to_owned(), "c".to_owned()], vec![]));
    assert_eq!(changes(&*catalog, last).await, (vec![], vec![], last), "nothing happened");
    let a = catalog.facets_of(&[ContentHash::of(b"a")]).await.expect("facets");
    let [ref a] = a[&ContentHash::of(b"a")][..] else { panic!("one image") };
    assert_eq!((a.camera.as_deref(), a.place), (Some("Canon EOS R5"), Some((48.1, 11.5))));
    assert_eq!((a.source.as_str(), a.added_ms, a.width, a.height), (SOURCE, 1, 3, 2));
    // A move is a gone and a new name.
    lose(&*catalog, "a", 20).await;
    record(&*catalog, &["folder/a"]).await;
    index_each(&*catalog, |_| Header::default()).await;
    catalog.forget(&[name("b")], 21).await.expect("forget");
    let (names, gone, last) = changes(&*catalog, last).await;
    assert_eq!((names, gone.len()), (vec!["folder/a".to_owned()], 2));
    record(&*catalog, &["a"]).await;
    let (names, gone, last) = changes(&*catalog, last).await;
    assert_eq!((names, gone), (vec!["a".to_owned()], vec![]), "it came back");
    // What was forgotten after it was hidden is not told again.
    lose(&*catalog, "c", 22).await;
    let (_, gone, last) = changes(&*catalog, last).await;
    assert_eq!(gone.len(), 1);
    catalog.forget_missing(100, 9, 101).await.expect("forget");
    assert_eq!(changes(&*catalog, last).await.1, [] as [i64; 0]);
    let named = catalog.facets_named(&["a", "c", "never read"].map(name)).await.expect("facets");
    let [ref named] = named[..] else { panic!("only a is there: {named:?}") };
    assert_eq!((named.name.as_str(), named.hash), ("a", a.hash));
    let rows = catalog.images_by_id(&[a.image_id, 999]).await.expect("rows");
    assert_eq!(rows.len(), 1);
}

pub(crate) async fn words_find_names_folders_and_cameras(fixture: &dyn Fixture) {
    let catalog = fixture.open().await;
    record(
        &*catalog,
        &["Größe Urlaub/IMG_1234.JPG", "tennis.png", "tennis-ball.png", "\"or\".png"],
    )
    .await;
    index_each(&*catalog, |name| match name {
        "tennis.png" => header(2020, "EOS R5"),
        _ => Header::default(),
    })
    .await;
    let find = async |words: &[&str], prefix| {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let found = catalog.images_with_words(&words, prefix, 9).await.expect("words");
        let mut names: Vec<String> = found.iter().map(|image| image.name.to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(find(&["tennis"], false).await, ["tennis-ball.png", "tennis.png"]);
    assert_eq!(find(&["grosse"], false).await, [""; 0], "ß is a letter of its own");
    for word in ["größe", "große", "GRÖßE"] {
        assert_eq!(find(&[word, "img"], false).await, ["Größe Urlaub/IMG_1234.JPG"], "{word}");
    }
    assert_eq!(find(&["urlaub", "img", "12"], true).await, ["Größe Urlaub/IMG_1234.JPG"]);
    assert_eq!(find(&["urlaub", "12"], false).await, [""; 0]);
    assert_eq!(find(&["canon", "r5"], false).await, ["tennis.png"]);
    assert_eq!(find(&["or"], false).await, ["\"or\".png"], "no operator");
    assert_eq!(find(&["\"", "*"], true).await, [""; 0]);
    assert_eq!(find(&[], true).await, [""; 0]);
    catalog.forget(&[name("tennis.png")], 20).await.expect("forget");
    lose(&*catalog, "tennis-ball.png", 21).await;
    assert_eq!(find(&["tennis"], false).await, [""; 0]);
}
