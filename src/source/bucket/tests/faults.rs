//! What goes wrong with buckets, by canned answers: nothing of it may look like pictures that are gone.

use std::io;

use super::*;

fn reason(error: &SourceError) -> String {
    match error {
        SourceError::Away { reason, .. } => reason.clone(),
        other => panic!("not away: {other:?}"),
    }
}

#[tokio::test]
async fn a_listing_that_breaks_in_the_middle_is_no_end() {
    let first = page(&[("photos/a", 1), ("photos/b", 1)], Some("t"));
    let store = CannedStore::start([first, error(403, "AccessDenied")]).await;
    let (items, broken) = told(&store.source(), &Scope::All).await;
    assert_eq!(items.len(), 2, "{items:?}");
    assert!(reason(&broken.expect("it broke")).contains("s3:ListBucket"));
    assert!(store.asked()[1].line().contains("continuation-token=t"));
}

#[tokio::test]
async fn an_answer_that_is_no_list_is_no_empty_list() {
    for nonsense in [
        answer(200, "<html>Welcome to the captive portal</html"),
        answer(200, ""),
        answer(200, "<html><body>Welcome</body></html>"),
        error(200, "SlowDown"),
        answer(200, "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"),
    ] {
        let store = CannedStore::start([nonsense]).await;
        let (items, broken) = told(&store.source(), &Scope::All).await;
        assert!(items.is_empty());
        assert!(reason(&broken.expect("it broke")).contains("source.s3.endpoint"));
    }
}

#[tokio::test]
async fn a_bucket_that_cannot_be_used_is_away_and_says_what_to_do() {
    for (status, code, advice) in [
        (404, "NoSuchBucket", "no bucket bucket"),
        (400, "ExpiredToken", "renew"),
        (403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        (403, "AccessDenied", "s3:ListBucket"),
        (301, "PermanentRedirect", "source.s3.region"),
    ] {
        let store = CannedStore::start([error(status, code)]).await;
        let source = store.source();
        let away = source.identity().await.expect_err("away");
        assert!(reason(&away).contains(advice), "{code}: {away}");
        // Answers to HEAD have no body; the reason is asked for.
        for error in [
            source.stat(&name("a")).await.expect_err("away"),
            source.open(&name("a")).await.err().expect("away"),
        ] {
            if code == "NoSuchBucket" {
                assert!(error.is_trouble() || matches!(error, SourceError::NotFound(_)), "{error}");
            } else {
                assert!(error.is_trouble(), "{code}: {error:?}");
            }
        }
        for (_, broken) in
            [told(&source, &Scope::All).await, told(&source, &Scope::Under(name("a"))).await]
        {
            reason(&broken.expect("it broke"));
        }
    }
}

#[tokio::test]
async fn the_region_that_a_store_names_is_passed_on() {
    let moved = answer(301, "").with("x-amz-bucket-region: eu-west-3");
    let store = CannedStore::start([moved]).await;
    let away = store.source().identity().await.expect_err("away");
    assert!(reason(&away).contains("set source.s3.region = \"eu-west-3\""), "{away}");
}

#[tokio::test]
async fn one_object_that_is_refused_is_that_objects_fault() {
    let store = CannedStore::start([error(403, "AccessDenied"), page(&[], None)]).await;
    let denied = store.source().open(&name("a")).await.err();
    assert!(matches!(denied, Some(SourceError::Denied { .. })), "{denied:?}");
}

#[tokio::test]
async fn a_store_that_asks_for_peace_gets_it_and_is_asked_again() {
    let slow = || error(503, "SlowDown");
    let store = CannedStore::start([slow(), slow(), page(&[("photos/a", 1)], None)]).await;
    let source = store.source_with(|settings| settings.retry_for_ms = 30_000, usize::MAX);
    assert_eq!(source.slowed_down(), None);
    let (items, broken) = told(&source, &Scope::All).await;
    assert_eq!((items.len(), broken), (1, None));
    assert_eq!(store.asked().len(), 3);
    assert_eq!(source.slowed_down(), None, "it serves again");
}

#[tokio::test]
async fn a_store_that_goes_on_asking_for_peace_is_said_to() {
    let store = CannedStore::start([error(503, "SlowDown")]).await;
    let source = store.source_with(|settings| settings.retry_for_ms = 1, usize::MAX);
    let away = source.identity().await.expect_err("away");
    assert!(reason(&away).contains("fewer requests"), "{away}");
    assert!(source.slowed_down().expect("it says so").contains("SlowDown"));
    let error = source.open(&name("a")).await.err().expect("trouble");
    assert!(matches!(error, SourceError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn odd_keys_are_told_and_hurt_nothing() {
    let long = format!("photos/{}", "x".repeat(5000));
    let keys = [
        ("elsewhere", 1),
        ("photos/", 0),
        ("photos/%00", 1),
        ("photos/%07bell", 1),
        ("photos/%FF", 1),
        ("photos//double", 1),
        ("photos/.hidden/x", 1),
        ("photos/../up", 1),
        ("photos/./here", 1),
        ("photos/@eaDir/x", 1),
        ("photos/a+b%2B", 1),
        ("photos/folder/", 0),
        ("photos/full-folder/", 5),
        (long.as_str(), 1),
        ("photos/%F0%9F%98%80", 1),
    ];
    let store = CannedStore::start([page(&keys, None)]).await;
    let (items, broken) = told(&store.source(), &Scope::All).await;
    assert_eq!(broken, None);
    let mut names = Vec::new();
    let mut unnameable = Vec::new();
    for item in items {
        match item {
            Listed::Image(name, _) => names.push(name.to_string()),
            Listed::Unnameable { shown, reason } => {
                assert!(!reason.is_empty() && shown.chars().count() <= 300);
                assert!(!shown.contains('\0'), "{shown:?}");
                unnameable.push(shown.chars().take(12).collect::<String>());
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
    assert_eq!(names, ["\u{7}bell", "a b+", "😀"]);
    assert_eq!(unnameable.len(), 7, "{unnameable:?}");
}

#[tokio::test]
async fn the_rest_of_an_ignored_folder_is_jumped_over() {
    let first = page(&[("photos/.trash/1", 1), ("photos/.trash/a/2", 1)], Some("t"));
    let store = CannedStore::start([first, page(&[("photos/a", 1)], None)]).await;
    let (items, broken) = told(&store.source(), &Scope::All).await;
    assert_eq!((items.len(), broken), (1, None));
    let second = &store.asked()[1];
    assert!(second.line().contains("start-after=photos%2F.trash%2F%F4%8F%BF%BF"), "{second:?}");
    assert!(!second.line().contains("continuation-token"));
}

#[tokio::test]
async fn a_limit_of_pictures_is_told() {
    let keys = [("photos/a", 1), ("photos/b", 1), ("photos/c", 1)];
    let store = CannedStore::start([page(&keys, Some("t"))]).await;
    let (items, broken) = told(&store.source_with(|_| {}, 2), &Scope::All).await;
    assert_eq!(broken, None);
    assert!(
        matches!(items[..], [Listed::Image(..), Listed::Image(..), Listed::Truncated]),
        "{items:?}"
    );
}

fn part(bytes: &[u8], first: usize, whole: usize) -> Answer {
    let last = first + bytes.len() - 1;
    answer(206, bytes)
        .with(&format!("Content-Range: bytes {first}-{last}/{whole}"))
        .with("ETag: \"one\"")
}

#[tokio::test]
async fn a_connection_that_breaks_is_taken_up_where_it_was_at_the_same_version() {
    let answers = [
        part(b"0123", 0, 10).breaking_off(6),
        part(b"456", 4, 10).breaking_off(3),
        part(b"789", 7, 10),
    ];
    let store = CannedStore::start(answers).await;
    let mut opened = store.source().open(&name("a")).await.expect("open");
    let mut bytes = Vec::new();
    opened.reader.read_to_end(&mut bytes).await.expect("read");
    assert_eq!(bytes, b"0123456789");
    let asked = store.asked();
    assert!(asked[1].has("range: bytes=4-") && asked[1].has("if-match: \"one\""), "{asked:?}");
    assert!(asked[2].has("range: bytes=7-"), "{asked:?}");
}

#[tokio::test]
async fn an_object_that_was_replaced_meanwhile_is_not_mixed() {
    let answers = [part(b"0123", 0, 10).breaking_off(6), error(412, "PreconditionFailed")];
    let store = CannedStore::start(answers).await;
    let mut opened = store.source().open(&name("a")).await.expect("open");
    let error = opened.reader.read_to_end(&mut Vec::new()).await.expect_err("it changed");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted, "{error}");
    assert!(SourceError::of(&name("a"), &error).is_trouble());
}

#[tokio::test]
async fn a_connection_that_breaks_for_ever_is_given_up() {
    let store = CannedStore::start([part(b"0123", 0, 10).breaking_off(6), answer(206, "")]).await;
    let mut opened = store.source().open(&name("a")).await.expect("open");
    let error = opened.reader.read_to_end(&mut Vec::new()).await.expect_err("no end");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
}

/// A film of gigabytes costs its beginning only.
#[tokio::test]
async fn at_first_only_a_beginning_is_asked_for() {
    let store = CannedStore::start([part(b"0123", 0, 5_000_000_000)]).await;
    let opened = store.source().open(&name("film.mp4")).await.expect("open");
    assert_eq!(opened.fingerprint.size_bytes, 5_000_000_000);
    assert!(store.asked()[0].has("range: bytes=0-8388607"));
}

#[tokio::test]
async fn a_store_without_conditions_is_still_not_overwritten() {
    let answers = [answer(404, ""), error(501, "NotImplemented"), answer(200, "")];
    let store = CannedStore::start(answers).await;
    store.source().create(&name("a.png"), b"").await.expect("created");
    let asked = store.asked();
    let lines: Vec<&str> = asked.iter().map(|asked| &asked.line()[..4]).collect();
    assert_eq!(lines, ["HEAD", "PUT ", "PUT "]);
    assert!(asked[1].has("if-none-match: *") && !asked[2].has("if-none-match"), "{asked:?}");
    let taken = CannedStore::start([answer(200, "")]).await.source().create(&name("a"), b"").await;
    assert_eq!(taken, Err(SourceError::Exists(name("a"))));
}

#[tokio::test]
async fn what_may_not_be_written_says_so_and_nothing_is_away() {
    let answers = [answer(404, ""), error(403, "AccessDenied")];
    let store = CannedStore::start(answers).await;
    let error = store.source().create(&name("a.png"), b"").await.expect_err("refused");
    assert!(matches!(error, SourceError::ReadOnly { .. }), "{error:?}");
}

#[tokio::test]
async fn nobody_there_is_away() {
    let port = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr();
    let mut settings = settings(&format!("http://{}", port.expect("an address")));
    (settings.s3.anonymous, settings.s3.retry_for_ms) = (true, 1);
    let address = BucketAddress::parse(Store::S3, "bucket").expect("an address");
    let source = BucketSource::new(address, String::new(), GlobSet::empty(), 1, &settings)
        .expect("a source");
    let away = source.identity().await.expect_err("away");
    assert!(reason(&away).contains("refused"), "{away}");
}
