//! The conformance suite over the double, always, and over a real server when `QDRANT_URL` (and `QDRANT_API_KEY`) is set;
//! and what only a store on a server promises: errors that say what is wrong, no secrets, repetitions that are safe.

use std::net::{Ipv4Addr, SocketAddr};

use qdrant_double::{Double, State};
use tempfile::TempDir;
use uuid::Uuid;

use super::{QdrantOptions, QdrantStore};
use crate::config::built_in;
use crate::vector_store::conformance::{Outcome, Subject, id, point, scroll_all, spec, vector};
use crate::vector_store::{Effort, Point, SearchQuery, StoreError, VectorStore};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const DIM: usize = 8;

pub(crate) struct OverDouble {
    double: Double,
    _dir: TempDir,
}

async fn start(api_key: Option<&str>) -> Result<OverDouble, StoreError> {
    let dir = tempfile::tempdir().map_err(failed)?;
    let state = State::new(dir.path(), api_key).map_err(failed)?;
    let double = Double::start(ANY_PORT, state).await.map_err(failed)?;
    Ok(OverDouble { double, _dir: dir })
}

fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError::Internal(error.to_string())
}

/// Small batches, so that every case sends several; and a scan limit that makes filtered searches take the other way.
fn options() -> QdrantOptions {
    QdrantOptions {
        collection_prefix: "image-search-".to_owned(),
        upsert_batch_points: 64,
        full_scan_vectors: 5,
        read_timeout_ms: 20_000,
        ..built_in().vector_store.qdrant
    }
}

impl Subject for OverDouble {
    async fn start() -> Result<Option<Self>, StoreError> {
        start(Some("key-of-the-double")).await.map(Some)
    }

    async fn open(&self) -> Result<Box<dyn VectorStore>, StoreError> {
        Ok(Box::new(QdrantStore::new(&self.double.url(), Some("key-of-the-double"), options())?))
    }
}

mod conformance {
    crate::vector_store::conformance::conformance_tests!(super::OverDouble);
}

#[tokio::test]
async fn a_wrong_or_missing_key_is_refused_with_advice_and_not_repeated() -> Outcome {
    let server = start(Some("right")).await?;
    for key in [Some("wrong-and-secret"), None] {
        let store = QdrantStore::new(&server.double.url(), key, options())?;
        let refused = store.health().await;
        assert!(
            matches!(&refused, Err(StoreError::Refused(text)) if text.contains("API key") && !text.contains("secret")),
            "{refused:?}"
        );
        assert!(matches!(store.open(&spec("keyed", DIM)).await, Err(StoreError::Refused(_))));
    }
    QdrantStore::new(&server.double.url(), Some("right"), options())?.health().await
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable_within_the_deadline_and_found_when_it_is_back()
-> Outcome {
    let server = start(None).await?;
    let address = server.double.address;
    let brief = QdrantOptions { read_timeout_ms: 2_000, write_timeout_ms: 2_000, ..options() };
    let store = QdrantStore::new(&server.double.url(), None, brief)?;
    let collection = store.open(&spec("away", DIM)).await?;
    collection.upsert(vec![point(1, DIM)]).await?;
    let state = server.double.stop().await;
    let query =
        SearchQuery { vector: vector(1, DIM), limit: 1, filter: None, effort: Effort::Usual };
    for outcome in [
        store.health().await,
        collection.search(query.clone()).await.map(drop),
        collection.upsert(vec![point(2, DIM)]).await,
        store.open(&spec("away", DIM)).await.map(drop),
    ] {
        assert!(matches!(&outcome, Err(error) if error.is_transient()), "{outcome:?}");
        let text = outcome.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains(&address.to_string()), "says which server: {text}");
    }
    let again = Double::start(address, state).await.map_err(failed)?;
    collection.upsert(vec![point(2, DIM)]).await?;
    assert_eq!(collection.count(None).await?, 2, "the same handle goes on");
    assert_eq!(collection.search(query).await?[0].id, id(1));
    again.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_server_that_comes_back_in_time_is_not_noticed() -> Outcome {
    let server = start(None).await?;
    let address = server.double.address;
    let store = QdrantStore::new(&server.double.url(), None, options())?;
    let collection = store.open(&spec("back", DIM)).await?;
    let state = server.double.stop().await;
    let writing = tokio::spawn(async move {
        collection.upsert((0..200).map(|number| point(number, DIM)).collect()).await?;
        collection.count(None).await
    });
    // Whether an attempt fails before the server is back is left open; none may be lost.
    tokio::task::yield_now().await;
    let again = Double::start(address, state).await.map_err(failed)?;
    let count = writing.await.map_err(|error| StoreError::Internal(error.to_string()))??;
    assert_eq!(count, 200);
    again.stop().await;
    Ok(())
}

#[tokio::test]
async fn nothing_connects_before_it_has_to() -> Outcome {
    let nowhere = QdrantStore::new(
        "qdrant+http://127.0.0.1:1",
        None,
        QdrantOptions { read_timeout_ms: 200, ..options() },
    )?;
    assert!(nowhere.health().await.is_err_and(|error| error.is_transient()));
    assert!(QdrantStore::new("nonsense", None, options()).is_err());
    Ok(())
}

#[tokio::test]
async fn what_is_not_ours_on_a_shared_server_is_left_alone() -> Outcome {
    let server = start(None).await?;
    let other = QdrantOptions { collection_prefix: "other-".to_owned(), ..options() };
    let (ours, others) = (
        QdrantStore::new(&server.double.url(), None, options())?,
        QdrantStore::new(&server.double.url(), None, other)?,
    );
    ours.open(&spec("a", DIM)).await?.upsert(vec![point(1, DIM)]).await?;
    others.open(&spec("a", DIM)).await?;
    others.open(&spec("b", DIM)).await?;
    others.activate("b").await?;
    assert_eq!(
        (ours.list().await?, others.list().await?),
        (vec!["a".to_owned()], vec!["a".to_owned(), "b".to_owned()])
    );
    assert_eq!((ours.active().await?, others.active().await?), (None, Some("b".to_owned())));
    others.drop_collection("a").await?;
    assert_eq!(ours.open(&spec("a", DIM)).await?.count(None).await?, 1);
    assert!(matches!(ours.set_aside("a").await, Err(StoreError::Refused(_))));
    Ok(())
}

#[tokio::test]
async fn calls_that_the_double_does_not_speak_say_so() -> Outcome {
    let server = start(None).await?;
    let client =
        qdrant_client::Qdrant::from_url(&server.double.url()).skip_compatibility_check().build();
    let client = client.map_err(|error| StoreError::Internal(error.to_string()))?;
    let error = client
        .collection_exists("a")
        .await
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    assert!(error.contains("does not speak"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_page_is_filled_up_to_the_limit() -> Outcome {
    let server = start(None).await?;
    let store = QdrantStore::new(&server.double.url(), None, options())?;
    let collection = store.open(&spec("pages", 1)).await?;
    let points = (0..10_100).map(|number| Point { vector: vec![1.0], ..point(number, 1) });
    collection.upsert(points.collect()).await?;
    assert_eq!(collection.scroll(None, 10_050).await?.len(), 10_050);
    assert_eq!(scroll_all(&*collection, 20_000).await?.len(), 10_100);
    Ok(())
}

/// A real server, with a prefix of its own for every test.
struct RealServer {
    url: String,
    api_key: Option<String>,
    options: QdrantOptions,
}

impl Subject for RealServer {
    async fn start() -> Result<Option<Self>, StoreError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let missing =
            || StoreError::Invalid("set QDRANT_URL, for example http://localhost:6334".to_owned());
        let collection_prefix = format!("image-search-test-{}-", Uuid::new_v4());
        Ok(Some(Self {
            url: variable("QDRANT_URL").ok_or_else(missing)?,
            api_key: variable("QDRANT_API_KEY"),
            options: QdrantOptions { collection_prefix, ..options() },
        }))
    }

    async fn open(&self) -> Result<Box<dyn VectorStore>, StoreError> {
        Ok(Box::new(QdrantStore::new(&self.url, self.api_key.as_deref(), self.options.clone())?))
    }

    /// A test that fails leaves its collections, `image-search-test-…`, for a look at them.
    async fn finish(self) -> Outcome {
        let client = qdrant_client::Qdrant::from_url(&self.url)
            .api_key(self.api_key)
            .skip_compatibility_check()
            .build();
        let failed = |error: qdrant_client::QdrantError| StoreError::Internal(error.to_string());
        let client = client.map_err(failed)?;
        for collection in client.list_collections().await.map_err(failed)?.collections {
            if collection.name.starts_with(&self.options.collection_prefix) {
                client.delete_collection(collection.name).await.map_err(failed)?;
            }
        }
        Ok(())
    }
}

mod real_server {
    crate::vector_store::conformance::conformance_tests!(
        #[ignore = "needs a Qdrant server: QDRANT_URL"]
        super::RealServer
    );
}
