//! The comparison on the embedded store and on a Qdrant server's stand-in: what it finds, mends, adopts and refuses.

use std::ops::Range;

use uuid::Uuid;

use super::*;
use crate::catalog::sqlite::{SqliteCatalog, SqliteOptions};
use crate::catalog::{CompletedImage, Header, PictureFacts, SeenImage, StoreLedger, UsedModel};
use crate::catalog::{Images, Queue, Vectors};
use crate::types::{Fingerprint, ImageName};
use crate::vector_store::conformance::{Subject, vector};
use crate::vector_store::embedded::tests::Embedded;
use crate::vector_store::qdrant::tests::OverDouble;
use crate::vector_store::{Point, VectorStore};

const DIM: usize = 8;
const UNTIL_MS: i64 = i64::MAX;

/// An installation with its own catalog, on a store that others may use too.
struct Site {
    catalog: SqliteCatalog,
    model: ModelId,
    _dir: tempfile::TempDir,
}

fn hash(number: u32) -> ContentHash {
    ContentHash::of(&number.to_be_bytes())
}

fn facts() -> PictureFacts {
    PictureFacts { format: "png".to_owned(), width: 4, height: 3 }
}

impl Site {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let catalog = SqliteCatalog::open(&dir.path().join("catalog.db"), SqliteOptions::default())
            .await
            .expect("opened");
        let model = ModelId { name: "clip".to_owned(), revision: "1".to_owned() };
        let used = UsedModel { id: model.clone(), display_name: "CLIP".to_owned(), banner: None };
        catalog.remember_model(&used).await.expect("noted");
        Self { catalog, model, _dir: dir }
    }

    fn name(&self) -> String {
        self.model.collection_name()
    }

    async fn collection(&self, store: &dyn VectorStore) -> std::sync::Arc<dyn Collection> {
        store.open(&CollectionSpec::of_pictures(self.name(), DIM)).await.expect("opened")
    }

    fn check<'a>(&'a self, collection: &'a dyn Collection) -> StoreCheck<'a> {
        StoreCheck { catalog: &self.catalog, collection, model: &self.model }
    }

    fn points(&self, numbers: Range<u32>) -> Vec<Point> {
        numbers
            .map(|number| Point {
                id: self.model.point_id(&hash(number)),
                vector: vector(u64::from(number), DIM),
                payload: payload::of_picture(&hash(number), "png", 4, 3),
            })
            .collect()
    }

    /// As the pipeline does it: intent, vectors, marker, rows.
    async fn index(&self, collection: &dyn Collection, numbers: Range<u32>) {
        let model = self.model.to_string();
        let seen: Vec<SeenImage> = numbers
            .clone()
            .map(|number| SeenImage {
                name: ImageName::new(format!("{number}.png")).expect("valid"),
                fingerprint: Fingerprint {
                    size_bytes: 1,
                    version: number.to_string(),
                    modified_ms: 0,
                },
                due_ms: 0,
            })
            .collect();
        self.catalog.record("pictures", &seen, &[], 0).await.expect("recorded");
        let leased = self.catalog.lease(10_000, "token", 1, UNTIL_MS, false).await.expect("leased");
        let contents: Vec<_> = numbers.clone().map(|number| (hash(number), facts())).collect();
        self.catalog.intend_vectors(&model, &contents, 1).await.expect("intended");
        let epoch = self.catalog.next_epoch(&model).await.expect("numbered");
        collection.upsert(self.points(numbers)).await.expect("stored");
        self.mark(collection, epoch).await;
        let done: Vec<CompletedImage> = leased
            .iter()
            .map(|image| {
                let number = image.name.as_str().trim_end_matches(".png");
                let number = number.parse().expect("a number");
                CompletedImage {
                    image_id: image.id,
                    hash: hash(number),
                    facts: facts(),
                    header: Header::default(),
                }
            })
            .collect();
        let indexed = self.catalog.complete(&model, "token", &done, 2).await.expect("completed");
        assert_eq!(indexed, done.len() as u64);
    }

    /// As housekeeping does it.
    async fn remove(&self, collection: &dyn Collection, numbers: Range<u32>) {
        let model = self.model.to_string();
        let hashes: Vec<ContentHash> = numbers.map(hash).collect();
        let ids: Vec<Uuid> = hashes.iter().map(|hash| self.model.point_id(hash)).collect();
        let epoch = self.catalog.next_epoch(&model).await.expect("numbered");
        collection.delete(&ids).await.expect("deleted");
        self.mark(collection, epoch).await;
        self.catalog.forget_vectors(&model, &hashes).await.expect("forgotten");
    }

    async fn mark(&self, collection: &dyn Collection, epoch: u64) {
        let installation = self.catalog.installation().await.expect("known").id;
        collection.set_marker(&Marker { installation, epoch }).await.expect("marked");
        collection.flush().await.expect("flushed");
    }

    async fn believed(&self) -> u64 {
        self.catalog.stored_by_model().await.expect("asked").iter().map(|(_, stored)| stored).sum()
    }
}

fn differences(known: u64, missing: u64, strangers: u64) -> Differences {
    Differences { known, missing, strangers }
}

fn is_refused(outcome: &Result<Differences, CheckError>) -> bool {
    matches!(outcome, Err(CheckError::Store(StoreError::NotOurs { .. })))
}

async fn a_new_collection_becomes_ours_and_is_not_compared_again(subject: &impl Subject) {
    let store = subject.open().await.expect("a store");
    let site = Site::new().await;
    let collection = site.collection(&*store).await;
    assert_eq!(site.check(&*collection).attach().await.expect("ours"), Differences::default());
    site.index(&*collection, 0..20).await;
    let marker = collection.marker().await.expect("asked");
    assert_eq!(marker.map(|marker| marker.epoch), Some(2));
    assert_eq!(site.check(&*collection).attach().await.expect("ours"), Differences::default());
    assert_eq!(collection.marker().await.expect("asked"), marker, "no write when all is as it was");
}

async fn an_older_snapshot_with_as_many_vectors_is_noticed_and_mended(subject: &impl Subject) {
    let store = subject.open().await.expect("a store");
    let site = Site::new().await;
    let collection = site.collection(&*store).await;
    site.index(&*collection, 0..200).await;
    let (snapshot, marker) = (
        collection.scroll(None, 1000).await.expect("read"),
        collection.marker().await.expect("asked").expect("marked"),
    );
    site.index(&*collection, 200..300).await;
    site.remove(&*collection, 0..100).await;
    // Back to the snapshot: the same count, another content.
    let now: Vec<Uuid> = collection.scroll_ids(None, 1000).await.expect("read");
    collection.delete(&now).await.expect("deleted");
    collection.upsert(snapshot).await.expect("restored");
    collection.set_marker(&marker).await.expect("restored");
    assert_eq!(collection.count(None).await.expect("counted"), site.believed().await);

    let check = site.check(&*collection);
    assert_eq!(
        check.compare(false, &mut |_, _| ()).await.expect("compared"),
        differences(200, 100, 100)
    );
    assert_eq!(check.attach().await.expect("ours"), differences(200, 100, 100));
    assert_eq!(site.believed().await, 100, "the missing ones are made again");
    assert_eq!(collection.count(None).await.expect("counted"), 100, "the strangers are gone");
    assert_eq!(check.attach().await.expect("ours"), Differences::default());
    let mut told = Vec::new();
    let whole = check.compare(false, &mut |seen, total| told.push((seen, total))).await;
    assert_eq!(whole.expect("compared"), differences(100, 0, 0));
    assert_eq!((told.first(), told.last()), (Some(&(0, 100)), Some(&(100, 100))));
}

async fn an_unmarked_collection_is_adopted_when_we_know_all_of_it(subject: &impl Subject) {
    let store = subject.open().await.expect("a store");
    let site = Site::new().await;
    let collection = site.collection(&*store).await;
    site.index(&*collection, 0..30).await;
    // As an older version left it: without a marker, and five vectors short.
    store.drop_collection(&site.name()).await.expect("dropped");
    let collection = site.collection(&*store).await;
    collection.upsert(site.points(5..30)).await.expect("stored");
    assert_eq!(site.check(&*collection).attach().await.expect("adopted"), differences(30, 5, 0));
    assert!(collection.marker().await.expect("asked").is_some());
    assert_eq!(site.believed().await, 25);
}

async fn what_holds_unknown_vectors_is_refused_unless_taken_over(subject: &impl Subject) {
    let store = subject.open().await.expect("a store");
    let site = Site::new().await;
    let collection = site.collection(&*store).await;
    site.index(&*collection, 0..10).await;
    store.drop_collection(&site.name()).await.expect("dropped");
    let collection = site.collection(&*store).await;
    collection.upsert(site.points(0..12)).await.expect("stored");
    let check = site.check(&*collection);
    assert!(is_refused(&check.attach().await));
    assert!(is_refused(&check.repair(false, &mut |_, _| ()).await));
    assert_eq!(collection.count(None).await.expect("counted"), 12, "nothing was touched");
    assert_eq!(collection.marker().await.expect("asked"), None);
    assert_eq!(
        check.repair(true, &mut |_, _| ()).await.expect("taken over"),
        differences(10, 0, 2)
    );
    assert_eq!(collection.count(None).await.expect("counted"), 10);
    assert_eq!(check.attach().await.expect("ours"), Differences::default());
}

async fn another_installations_collection_is_refused_also_with_the_same_pictures(
    subject: &impl Subject,
) {
    let store = subject.open().await.expect("a store");
    let (first, second) = (Site::new().await, Site::new().await);
    let collection = first.collection(&*store).await;
    first.index(&*collection, 0..10).await;
    let refused = second.check(&*collection).attach().await;
    let text = refused.as_ref().err().map(ToString::to_string).unwrap_or_default();
    assert!(text.contains("another installation") && text.contains("collection_prefix"), "{text}");
    assert!(is_refused(&refused));
    assert_eq!(first.check(&*collection).attach().await.expect("still"), Differences::default());
}

async fn what_a_crash_left_between_intent_and_completion_is_no_stranger(subject: &impl Subject) {
    let store = subject.open().await.expect("a store");
    let site = Site::new().await;
    let collection = site.collection(&*store).await;
    site.index(&*collection, 0..10).await;
    let model = site.model.to_string();
    site.catalog.intend_vectors(&model, &[(hash(10), facts())], 1).await.expect("intended");
    site.catalog.next_epoch(&model).await.expect("numbered");
    collection.upsert(site.points(10..11)).await.expect("stored");
    let found = site.check(&*collection).attach().await.expect("ours");
    assert_eq!(found, differences(10, 0, 0));
    assert_eq!(collection.count(None).await.expect("counted"), 11);
}

async fn pruning_takes_what_is_marked_as_ours_and_nothing_else(subject: &impl Subject) {
    let store = subject.open().await.expect("a store");
    let (ours, other) = (Site::new().await, Site::new().await);
    let open = async |name: &str| {
        let spec = CollectionSpec::of_pictures(name.to_owned(), DIM);
        store.open(&spec).await.expect("opened")
    };
    let answering = open("answering").await;
    ours.mark(&*answering, 1).await;
    store.activate("answering").await.expect("activated");
    ours.mark(&*open("being-built").await, 1).await;
    ours.mark(&*open("former").await, 1).await;
    other.mark(&*open("b-others").await, 1).await;
    open("nobodys").await;
    // Unmarked, of a model that we used, and known entirely: an older version's.
    let old = ours.collection(&*store).await;
    ours.index(&*old, 0..5).await;
    store.drop_collection(&ours.name()).await.expect("dropped");
    ours.collection(&*store).await.upsert(ours.points(0..5)).await.expect("stored");

    let keep = ["being-built".to_owned()];
    let pruned = prune(&ours.catalog, &*store, &keep).await.expect("pruned");
    assert_eq!(pruned, [ours.name(), "former".to_owned()]);
    let left = ["answering", "b-others", "being-built", "nobodys"];
    assert_eq!(store.list().await.expect("listed"), left);
    assert!(ours.catalog.used_models().await.expect("asked").is_empty());
}

async fn an_unmarked_collection_that_we_do_not_know_entirely_is_not_pruned(subject: &impl Subject) {
    let store = subject.open().await.expect("a store");
    let site = Site::new().await;
    store.open(&CollectionSpec::of_pictures("answering".to_owned(), DIM)).await.expect("opened");
    store.activate("answering").await.expect("activated");
    let collection = site.collection(&*store).await;
    collection.upsert(site.points(0..5)).await.expect("stored");
    assert_eq!(prune(&site.catalog, &*store, &[]).await.expect("pruned"), Vec::<String>::new());
    assert_eq!(collection.count(None).await.expect("counted"), 5);
}

/// Each case on both stores.
macro_rules! on_both_stores {
    ($($case:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                use super::Subject;
                let subject = super::Embedded::start().await.expect("a folder").expect("one");
                super::$case(&subject).await;
            })+
        }
        mod qdrant {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                use super::Subject;
                let subject = super::OverDouble::start().await.expect("a server").expect("one");
                super::$case(&subject).await;
            })+
        }
    };
}

on_both_stores!(
    a_new_collection_becomes_ours_and_is_not_compared_again,
    an_older_snapshot_with_as_many_vectors_is_noticed_and_mended,
    an_unmarked_collection_is_adopted_when_we_know_all_of_it,
    what_holds_unknown_vectors_is_refused_unless_taken_over,
    another_installations_collection_is_refused_also_with_the_same_pictures,
    what_a_crash_left_between_intent_and_completion_is_no_stranger,
    pruning_takes_what_is_marked_as_ours_and_nothing_else,
    an_unmarked_collection_that_we_do_not_know_entirely_is_not_pruned,
);
