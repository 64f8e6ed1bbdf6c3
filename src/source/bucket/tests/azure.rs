//! What goes wrong with containers of Azure's, and what Azurite does not list: by canned answers.

use super::*;
use crate::source::bucket::azure::Azure;

/// A page of a list; each blob is its name, and what else stands in its properties.
fn list(blobs: &[(&str, &str)], next: &str) -> Answer {
    let blob = |(name, properties): &(&str, &str)| {
        format!(
            "<Blob><Name>{name}</Name><Properties><Etag>0x1</Etag><Content-Length>5</Content-Length>{properties}</Properties></Blob>"
        )
    };
    let blobs: String = blobs.iter().map(blob).collect();
    answer(
        200,
        format!(
            "\u{FEFF}<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>"
        ),
    )
}

const FILE: &str = "<ResourceType>file</ResourceType>";
const FOLDER: &str = "<ResourceType>directory</ResourceType>";

async fn names(source: &BucketSource, scope: &Scope) -> Vec<String> {
    let (items, broken) = told(source, scope).await;
    assert_eq!(broken, None);
    let name = |item: &Listed| match item {
        Listed::Image(name, _) => name.to_string(),
        other => panic!("unexpected: {other:?}"),
    };
    items.iter().map(name).collect()
}

/// An account with a hierarchical namespace lists `2024/b.jpg` before `2024-01/a.jpg`, and its folders as blobs.
#[tokio::test]
async fn real_folders_are_no_pictures_and_their_order_becomes_ours() {
    let pages = [
        list(&[("photos/2024", FOLDER), ("photos/2024/b.jpg", FILE)], "m1"),
        list(&[], "m2"),
        list(&[("photos/2024-01", FOLDER), ("photos/2024-01/a.jpg", FILE)], "m3"),
        list(&[("photos/2024.jpg", FILE), ("photos/3.jpg", FILE)], ""),
    ];
    let store = CannedStore::start(pages).await;
    let listed = names(&store.container(), &Scope::All).await;
    assert_eq!(listed, ["2024-01/a.jpg", "2024.jpg", "2024/b.jpg", "3.jpg"]);
    let asked = store.asked();
    let begin = "GET /bucket?comp=list&include=metadata&maxresults=5000&prefix=photos%2F&restype=container ";
    assert!(asked[0].line().starts_with(begin), "{asked:?}");
    assert!(asked[2].line().contains("&marker=m2&"), "{asked:?}");
    assert!(asked.len() == 4 && asked[0].has("x-ms-version: 20"), "{asked:?}");
}

#[tokio::test]
async fn a_page_without_blobs_is_no_end_and_a_folder_is_no_blob() {
    let pages =
        [list(&[], "m1"), list(&[("photos/a", FOLDER)], "m2"), list(&[("photos/a/b", FILE)], "")];
    let store = CannedStore::start(pages).await;
    assert_eq!(names(&store.container(), &Scope::Under(name("a"))).await, ["a/b"]);
    let folder = answer(200, "").with("x-ms-meta-hdi_isfolder: true");
    let source = CannedStore::start([folder]).await.container();
    assert_eq!(source.stat(&name("a")).await, Err(SourceError::NotFound(name("a"))));
    let opened = source.open(&name("a")).await.err();
    assert_eq!(opened, Some(SourceError::NotFound(name("a"))));
}

#[tokio::test]
async fn an_ignored_folder_is_jumped_over_even_if_the_store_cannot() {
    let ignored = [("photos/@eaDir/1", ""), ("photos/@eaDir/2", "")];
    let first = || list(&[&[("photos/!", "")], &ignored[..]].concat(), "m1");
    let last = || list(&[("photos/a", "")], "");
    let jump = "startFrom=photos%2F%40eaDir%2F%EF%BF%BD";
    // It goes on behind the folder.
    let store = CannedStore::start([first(), last()]).await;
    assert_eq!(names(&store.container(), &Scope::All).await, ["!", "a"]);
    assert!(store.asked()[1].line().contains(jump), "{:?}", store.asked());
    // It begins anew, since it does not know how to jump.
    let store = CannedStore::start([first(), first(), last()]).await;
    assert_eq!(names(&store.container(), &Scope::All).await, ["!", "a"]);
    let asked = store.asked();
    assert!(asked[1].line().contains(jump) && asked[2].line().contains("marker=m1"), "{asked:?}");
    // It goes on in the folder.
    let rest = list(&[("photos/@eaDir/\u{FFFD}", "")], "m2");
    let store = CannedStore::start([first(), rest, last()]).await;
    assert_eq!(names(&store.container(), &Scope::All).await, ["!", "a"]);
    assert!(store.asked()[2].line().contains("marker=m2"), "{:?}", store.asked());
}

#[tokio::test]
async fn names_that_would_have_to_wait_are_bounded() {
    let blobs: Vec<String> = (0..9).map(|number| format!("photos/a/{number}")).collect();
    let blobs: Vec<_> = blobs.iter().map(|name| (name.as_str(), FILE)).collect();
    let store = CannedStore::start([list(&blobs, "")]).await;
    let mut settings = settings(store.url());
    (settings.azure.anonymous, settings.azure.reordered_max) = (true, 5);
    let address = BucketAddress::parse(Store::Azure, "bucket/photos").expect("an address");
    let source = BucketSource::new(address, String::new(), GlobSet::empty(), 99, &settings);
    let (items, broken) = told(&source.expect("a source"), &Scope::All).await;
    let broken = broken.expect("it broke").to_string();
    assert!(items.is_empty() && broken.contains("source.azure.reordered_max"), "{broken}");
}

#[tokio::test]
async fn a_store_that_asks_for_peace_gets_it() {
    let busy = || error(503, "ServerBusy").with("Retry-After: 1");
    let store = CannedStore::start([busy(), list(&[("photos/a", "")], "")]).await;
    let mut settings = settings(store.url());
    (settings.azure.anonymous, settings.azure.retry_for_ms) = (true, 30_000);
    let address = BucketAddress::parse(Store::Azure, "bucket/photos").expect("an address");
    let source = BucketSource::new(address, String::new(), GlobSet::empty(), 99, &settings);
    let began = std::time::Instant::now();
    assert_eq!(names(&source.expect("a source"), &Scope::All).await, ["a"]);
    assert!(began.elapsed().as_millis() >= 1000, "as long as it asked for");
}

/// A token stands in the address of every request. Whoever answers may repeat it; we do not.
#[tokio::test]
async fn a_token_is_sent_and_gets_into_no_text() {
    let echo = "<Error><Code>Odd</Code><Message>GET /?sig=hunter2%3D</Message></Error>";
    let store = CannedStore::start([answer(400, echo)]).await;
    let settings = settings(store.url()).azure;
    let variable =
        |name: &str| (name == "AZURE_STORAGE_SAS_TOKEN").then(|| "sp=rl&sig=hunter2%3D".to_owned());
    let azure = Azure::new("bucket", &settings, &variable).expect("a container");
    let limits = azure.limits(&settings);
    let client = Client::new(Box::new(azure), "bucket", limits).expect("a client");
    let address = BucketAddress::parse(Store::Azure, "bucket/photos").expect("an address");
    let source = BucketSource::over(client, address, String::new(), GlobSet::empty(), 9);
    let away = source.identity().await.expect_err("odd").to_string();
    assert!(away.contains("sig=…") && !away.contains("hunter2"), "{away}");
    let line = "restype=container&sp=rl&sig=hunter2%3D HTTP/1.1";
    assert!(store.asked()[0].line().ends_with(line), "{:?}", store.asked());
    assert_eq!(source.presigned(&name("a")).await, None);
    drop(store);
    let away = source.identity().await.expect_err("nobody there").to_string();
    assert!(!away.contains("hunter2"), "{away}");
}

#[tokio::test]
async fn a_name_that_would_become_another_is_refused() {
    let store = CannedStore::start([answer(500, "")]).await;
    let refused = store.container().check_name(&name("a\\b.png")).expect_err("refused");
    assert!(refused.to_string().contains("backslash"), "{refused}");
}

/// Two who create the same blob: the second is told so, and nothing is tried again.
#[tokio::test]
async fn blobs_are_made_and_deleted_in_azures_words() {
    let answers = [answer(404, "").with("x-ms-error-code: BlobNotFound"), answer(201, "")];
    let store = CannedStore::start(answers).await;
    store.container().create(&name("a.png"), b"12345").await.expect("created");
    let put = &store.asked()[1];
    for header in ["x-ms-blob-type: BlockBlob", "if-none-match: *", "content-length: 5"] {
        assert!(put.has(header), "{put:?}");
    }
    let taken = [answer(404, ""), error(409, "BlobAlreadyExists")];
    let taken = CannedStore::start(taken).await.container().create(&name("a"), b"1").await;
    assert_eq!(taken, Err(SourceError::Exists(name("a"))));
    let store = CannedStore::start([answer(200, ""), answer(202, "")]).await;
    store.container().delete(&name("a")).await.expect("deleted");
    assert!(store.asked()[1].has("x-ms-delete-snapshots: include"), "{:?}", store.asked());
    let denied = [answer(404, ""), error(403, "AuthorizationPermissionMismatch")];
    let denied = CannedStore::start(denied).await.container().create(&name("a"), b"1").await;
    assert!(matches!(denied, Err(SourceError::ReadOnly { .. })), "{denied:?}");
}
