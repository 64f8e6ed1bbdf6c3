//! The conformance suite on SQLite, and what only SQLite has: full disks, locked files, older files, query plans.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Row};

use super::*;
use crate::catalog::conformance::{self, Fixture, MODEL, conformance};
use crate::catalog::{
    FailureCode, Feedback, ImageState, Images, PageStart, Queue, RatingChange, Sources, Vectors,
};
use crate::types::{ContentHash, ImageName, Impression, Scope};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("catalog.db")
    }

    async fn catalog(&self, options: SqliteOptions) -> SqliteCatalog {
        SqliteCatalog::open(&self.file(), options).await.expect("open")
    }
}

#[async_trait]
impl Fixture for Folder {
    async fn open_as(&self, holder: &str) -> Arc<dyn Catalog> {
        let options = SqliteOptions {
            holder: holder.to_owned(),
            lock_wait_ms: 60_000,
            ..SqliteOptions::default()
        };
        Arc::new(self.catalog(options).await)
    }
}

conformance!(crate::catalog::sqlite::tests::Folder::new);

fn impression(number: usize, query: &str) -> Impression {
    Impression {
        id: format!("{number:08}"),
        query: query.to_owned(),
        model: MODEL.to_owned(),
        results: Vec::new(),
        searched_ms: 1,
    }
}

async fn rate(catalog: &SqliteCatalog, number: usize, query: &str) -> Result<(), CatalogError> {
    let change = RatingChange { value: Some(5), images: None };
    catalog.save_feedback(&impression(number, query), &change, 2).await.map(drop)
}

async fn rated(catalog: &SqliteCatalog) -> Vec<usize> {
    let rows = catalog.feedback(None, 100_000).await.expect("feedback");
    rows.iter().map(|row| row.impression.id.parse().expect("a number")).collect()
}

#[tokio::test]
async fn a_missing_folder_is_named_with_what_to_do() {
    let path = Path::new("/nonexistent/catalog.db");
    let Err(error) = SqliteCatalog::open(path, SqliteOptions::default()).await else {
        panic!("it opened")
    };
    assert!(error.to_string().contains("/nonexistent/catalog.db"), "{error}");
    assert!(error.to_string().contains("--data-dir"), "{error}");
}

/// SQLite's own limit of pages fails like a full disk does, and is gone with the connection, like space that is freed.
#[tokio::test]
async fn a_full_disk_refuses_and_what_was_taken_stays() {
    let folder = Folder::new();
    let catalog = folder.catalog(SqliteOptions::default()).await;
    let mut taken = Vec::new();
    for round in 0..3 {
        sqlx::query("PRAGMA max_page_count = 1").execute(catalog.writer.pool()).await.expect("set");
        let mut refused = None;
        for number in round * 1000..round * 1000 + 500 {
            match rate(&catalog, number, &"long query ".repeat(500)).await {
                Ok(()) => taken.push(number),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        assert!(matches!(refused, Some(CatalogError::StorageFull(_))), "{refused:?}");
        let after = round * 1000 + 900;
        rate(&catalog, after, "short").await.expect("there is room again");
        taken.push(after);
        catalog.health().await.expect("it recovered");
    }
    assert_eq!(rated(&catalog).await, taken);
    catalog.close().await;
    let reopened = folder.catalog(SqliteOptions::default()).await;
    assert_eq!(rated(&reopened).await, taken, "acknowledged ratings are gone");
}

#[tokio::test]
async fn a_connection_that_was_left_in_a_transaction_is_not_trusted() {
    let folder = Folder::new();
    let catalog = folder.catalog(SqliteOptions::default()).await;
    sqlx::query("BEGIN").execute(catalog.writer.pool()).await.expect("begun");
    rate(&catalog, 1, "x").await.expect("on a fresh connection");
    catalog.close().await;
    assert_eq!(rated(&folder.catalog(SqliteOptions::default()).await).await, [1]);
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_leaves_no_trace() {
    let folder = Folder::new();
    let catalog = folder.catalog(SqliteOptions::default()).await;
    for number in 0..50 {
        let write = rate(&catalog, number, "x");
        let given_up = std::time::Duration::from_micros(50 * number as u64);
        let _ = tokio::time::timeout(given_up, write).await;
    }
    rate(&catalog, 99, "x").await.expect("the writer is free");
    let before = rated(&catalog).await;
    catalog.close().await;
    let reopened = folder.catalog(SqliteOptions::default()).await;
    assert_eq!(rated(&reopened).await, before);
}

#[tokio::test]
async fn the_reserve_is_kept_for_ratings() {
    let folder = Folder::new();
    let options = SqliteOptions { disk_reserve_mib: 1 << 40, ..SqliteOptions::default() };
    let catalog = folder.catalog(options).await;
    let refused = catalog.record("s", &[conformance::seen("a")], &[], 1).await;
    let Err(CatalogError::StorageFull(text)) = refused else { panic!("{refused:?}") };
    assert!(text.contains("disk_reserve_mib"), "{text}");
    assert!(matches!(catalog.health().await, Err(CatalogError::StorageFull(_))));
    rate(&catalog, 1, "x").await.expect("a rating may use the reserve");
    catalog.record("s", &[], &[conformance::name("a")], 1).await.expect("so may what makes room");
}

#[tokio::test]
async fn a_locked_catalog_is_unavailable_and_no_more_than_that() {
    let folder = Folder::new();
    let catalog = folder.catalog(SqliteOptions { lock_wait_ms: 20, ..Default::default() }).await;
    let other = folder.catalog(SqliteOptions::default()).await;
    let write = other.writer.begin(writer::Purpose::Settle).await.expect("begun");
    let refused = rate(&catalog, 1, "x").await;
    assert!(matches!(refused, Err(CatalogError::Unavailable(_))), "{refused:?}");
    catalog.health().await.expect("reading goes on");
    write.commit().await.expect("committed");
    rate(&catalog, 1, "x").await.expect("free again");
}

#[tokio::test]
async fn ratings_wait_for_the_disk_and_nothing_else_does() {
    let folder = Folder::new();
    let catalog = folder.catalog(SqliteOptions::default()).await;
    let synchronous = async || {
        let row = sqlx::query("PRAGMA synchronous").fetch_one(catalog.writer.pool()).await;
        row.expect("a row").get::<i64, _>(0)
    };
    assert_eq!(synchronous().await, 1, "NORMAL");
    rate(&catalog, 1, "x").await.expect("taken");
    assert_eq!(synchronous().await, 1, "NORMAL again");
    let mut write = catalog.writer.begin(writer::Purpose::Promise).await.expect("begun");
    let row = write.fetch_one(sqlx::query("PRAGMA synchronous")).await.expect("a row");
    assert_eq!(row.get::<i64, _>(0), 2, "FULL");
}

/// A catalog as the first three migrations made it, with a row of every kind.
async fn old_catalog(file: &Path) {
    let connect = SqliteConnectOptions::new().filename(file).create_if_missing(true);
    let pool = SqlitePoolOptions::new().connect_with(connect).await.expect("open");
    MIGRATIONS.run_to(3, &pool).await.expect("the old schema");
    let rows = "
        INSERT INTO images (id, source, name, size_bytes, version, modified_ms, state, content_hash, format, width, height,
                            attempts, failure_code, failure, lease_token, lease_until_ms, discovered_ms) VALUES
            (1, 'folder:/p', 'indexed', 10, '1', 5, 'indexed', zeroblob(32), 'png', 3, 2, 0, NULL, NULL, NULL, NULL, 7),
            (2, 'folder:/p', 'pending', 10, '1', 5, 'pending', NULL, NULL, NULL, NULL, 0, NULL, NULL, 't', 99, 8),
            (3, 'folder:/q', 'failed', 10, '1', 5, 'failed', NULL, NULL, NULL, NULL, 4, 'odd_code', 'so be it', NULL, NULL, 9);
        INSERT INTO vectors (model, content_hash, stored, format, width, height) VALUES
            ('clip@1', zeroblob(32), 1, 'png', 3, 2),
            ('clip@1', CAST('00000000000000000000000000000000' AS BLOB), 1, 'png', 3, 2);
        INSERT INTO impressions VALUES ('i', 'tennis', 'clip@1', '[]', 1);
        INSERT INTO feedback VALUES ('i', 5, '[]', 1, 1);
        INSERT INTO used_models VALUES ('clip', '1', '/m', 'CLIP', NULL);";
    sqlx::raw_sql(rows).execute(&pool).await.expect("rows");
    pool.close().await;
}

#[tokio::test]
async fn a_catalog_of_the_first_release_opens_with_all_that_is_in_it() {
    let folder = Folder::new();
    old_catalog(&folder.file()).await;
    let catalog = folder.catalog(SqliteOptions::default()).await;
    assert_eq!(conformance::counts(&catalog).await, (1, 1, 1, 0, 0));
    let image = catalog.image(&conformance::name("indexed")).await.expect("image").expect("a row");
    assert_eq!((image.state, image.source.as_str()), (ImageState::Indexed, "folder:/p"));
    assert_eq!(catalog.recent(9, PageStart::Offset(0)).await.expect("recent").images, [image]);
    let leased = catalog.lease(9, "new", 1, 99, false).await.expect("lease");
    assert_eq!((leased.len(), leased[0].interruptions), (1, 1), "the old lease is over");
    let failures = catalog.failures(9, PageStart::Offset(0)).await.expect("failures").failures;
    assert_eq!(failures[0].failure.code, FailureCode::Other("odd_code".into()));
    assert_eq!(catalog.stored_by_model().await.expect("models"), [(MODEL.to_owned(), 2)]);
    let orphan = ContentHash::from_slice(&[b'0'; 32]).expect("a hash");
    let claimed = catalog.claim_orphans(MODEL, i64::MAX, 9, "gc", 1, 2).await.expect("claim");
    assert_eq!(claimed, [orphan]);
    assert_eq!(catalog.require_vectors(MODEL).await.expect("require"), 0);
    assert_eq!(catalog.used_models().await.expect("models").len(), 1);
    assert_eq!(catalog.feedback(None, 9).await.expect("feedback").len(), 1);
    assert_eq!(catalog.sources().await.expect("sources").len(), 2);
    let known = catalog.known("folder:/p", &Scope::All, None, 9).await.expect("known");
    assert_eq!(known.len(), 2);
    let same = conformance::SOURCE;
    catalog.record(same, &[conformance::seen("new")], &[], 1).await.expect("it can be written");
    assert!(ImageName::new("new").is_ok());
}

/// What grows with the library must be found through an index, and come out of it in order.
#[tokio::test]
async fn no_statement_walks_over_the_library() {
    let folder = Folder::new();
    let catalog = folder.catalog(SqliteOptions::default()).await;
    let all = [
        super::facts::STATEMENTS,
        super::api_keys::STATEMENTS,
        super::claims::STATEMENTS,
        super::decisions::STATEMENTS,
        super::feedback::STATEMENTS,
        super::images::STATEMENTS,
        super::leases::STATEMENTS,
        super::ledger::STATEMENTS,
        super::memory::STATEMENTS,
        super::previews::STATEMENTS,
        super::processes::STATEMENTS,
        super::queue::STATEMENTS,
        super::sources::STATEMENTS,
        super::vectors::STATEMENTS,
    ]
    .concat();
    // Sorts the few rows of what was asked for.
    let may_sort = ["API_KEYS", "COUNTS", "FACETS_OF"];
    let mut wrong = Vec::new();
    for (name, sql) in &all {
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let plan = sqlx::query(explain).fetch_all(&catalog.readers).await;
        for step in plan.unwrap_or_else(|error| panic!("{name}: {error}")) {
            let step: String = step.get("detail");
            let tables = [
                "images",
                "vectors",
                "previews",
                "impressions",
                "feedback",
                "image_changes",
                "content_facts",
            ];
            let walks = tables.iter().any(|table| {
                step == format!("SCAN {table}") || step.starts_with(&format!("SCAN {table} "))
            });
            if walks || (step.contains("TEMP B-TREE") && !may_sort.contains(name)) {
                wrong.push(format!("{name}: {step}"));
            }
        }
    }
    assert!(all.len() > 60, "only {} statements were looked at", all.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
