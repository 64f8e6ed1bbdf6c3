//! The conformance suite on a real PostgreSQL, and what only PostgreSQL has: passwords, restarts, many writers at once, news.
//! `make test-postgres` runs these; without the server's binaries they are left out.

mod plans;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use test_postgres::{PASSWORD, Server};

use super::*;
use crate::catalog::conformance::{self, Fixture, MODEL, conformance};
use crate::catalog::{
    CompletedImage, Facts, Feedback, Header, Images, Queue, RatingChange, Sources, StoreLedger,
    Vectors,
};
use crate::config::built_in;
use crate::types::{ContentHash, Impression};

/// One for all; it ends with this process.
static SERVER: LazyLock<Server> =
    LazyLock::new(|| Server::start().expect("a PostgreSQL server for tests"));
/// How long a condition is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

struct Database(String);

impl Database {
    fn new() -> Self {
        Self(SERVER.database().expect("an empty database"))
    }

    async fn catalog(&self) -> PostgresCatalog {
        open(&SERVER.address(&self.0), PASSWORD).await.expect("open")
    }

    fn sql(&self, sql: &str) -> String {
        SERVER.sql(&self.0, sql).expect("run")
    }
}

#[async_trait]
impl Fixture for Database {
    async fn open_as(&self, holder: &str) -> Arc<dyn Catalog> {
        Arc::new(open_as(&SERVER.address(&self.0), PASSWORD, holder).await.expect("open"))
    }
}

async fn open(address: &str, password: &str) -> Result<PostgresCatalog, CatalogError> {
    open_as(address, password, "one").await
}

async fn open_as(
    address: &str,
    password: &str,
    holder: &str,
) -> Result<PostgresCatalog, CatalogError> {
    let options = PostgresOptions {
        connections_max: 4,
        acquire_timeout_ms: 20_000,
        ..built_in().catalog.postgres
    };
    PostgresCatalog::open(
        address,
        Some(&Secret::from(password.to_owned())),
        holder.to_owned(),
        &options,
    )
    .await
}

conformance!(
    #[ignore = "needs PostgreSQL: make test-postgres"]
    crate::catalog::postgres::tests::Database::new
);

fn impression(id: &str, query: &str) -> Impression {
    Impression {
        id: id.to_owned(),
        query: query.to_owned(),
        model: MODEL.to_owned(),
        results: Vec::new(),
        searched_ms: 1,
    }
}

#[tokio::test]
async fn a_password_in_the_address_is_refused_and_not_repeated() {
    let refused = open("postgres://me:hunter2@127.0.0.1:1/x", "").await.map(drop);
    let words = refused.expect_err("refused").to_string();
    assert!(words.contains("password_file") && !words.contains("hunter2"), "{words}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-postgres"]
async fn a_wrong_password_is_told_at_once_and_not_repeated() {
    let database = Database::new();
    let refused = open(&SERVER.address(&database.0), "hunter2").await.map(drop);
    let words = refused.expect_err("refused").to_string();
    assert!(words.contains("password authentication failed") && !words.contains("hunter2"));
    let refused = open(&SERVER.address("no_such_database"), PASSWORD).await.map(drop);
    let words = refused.expect_err("refused").to_string();
    assert!(words.contains("no_such_database") && words.contains("does not exist"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: make test-postgres"]
async fn that_a_database_is_away_is_told_before_the_time_is_out() {
    let mut server = Server::start().expect("a PostgreSQL server of its own");
    let database = server.database().expect("an empty database");
    let (address, password) = (server.address(&database), Secret::from(PASSWORD.to_owned()));
    let patient = PostgresOptions { acquire_timeout_ms: 3_600_000, ..built_in().catalog.postgres };
    let catalog = PostgresCatalog::open(&address, Some(&password), "one".into(), &patient).await;
    let catalog = catalog.expect("open");
    let counts = async || {
        tokio::time::timeout(PATIENCE, catalog.counts()).await.expect("long before the time is out")
    };
    tokio::task::block_in_place(|| server.stop());
    for _ in 0..3 {
        let told = counts().await.expect_err("it is away");
        assert!(matches!(told, CatalogError::Unavailable(_)), "{told}");
    }
    tokio::task::block_in_place(|| server.start_again()).expect("up again");
    let began = Instant::now();
    while counts().await.is_err() {
        assert!(began.elapsed() < PATIENCE, "it does not come back");
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-postgres"]
async fn processes_that_start_together_make_the_tables_once() {
    let database = Database::new();
    let opened = futures::future::join_all((0..6).map(|_| database.catalog())).await;
    let mut installations = Vec::new();
    for catalog in &opened {
        installations.push(catalog.installation().await.expect("made"));
    }
    installations.dedup();
    assert_eq!(installations.len(), 1);
    assert!(!installations[0].has_plain_names);
    let steps = super::migrations::MIGRATIONS.iter().count().to_string();
    assert_eq!(database.sql("SELECT count(*) FROM _sqlx_migrations"), steps);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-postgres"]
async fn zeros_in_texts_are_no_error() {
    let catalog = Database::new().catalog().await;
    let change = RatingChange { value: Some(5), images: None };
    catalog.save_feedback(&impression("i", "a\0b"), &change, 2).await.expect("taken");
    let rows = catalog.feedback(None, 9).await.expect("feedback");
    assert_eq!(rows[0].impression.query, "a\u{fffd}b");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-postgres"]
async fn a_name_that_no_index_can_hold_is_left_out_and_the_others_are_recorded() {
    let catalog = Database::new().catalog().await;
    // Nothing that could be packed.
    let long: String = (0..200u32).map(|n| ContentHash::of(&n.to_le_bytes()).to_string()).collect();
    let long: String = long.chars().take(4000).collect();
    let seen = [conformance::seen("a"), conformance::seen(&long), conformance::seen("b")];
    catalog.record("s", &seen, &[], 1).await.expect("recorded");
    assert_eq!(conformance::counts(&catalog).await.0, 2);
}

/// What a slow transaction changed must be told by whoever reads on, though a faster one was told before.
#[tokio::test]
#[ignore = "needs PostgreSQL: make test-postgres"]
async fn a_change_that_is_committed_late_is_not_missed() {
    let catalog = Database::new().catalog().await;
    conformance::record(&catalog, &["early", "late"]).await;
    conformance::index_all(&catalog, MODEL, b"x").await;
    let last = catalog.facets_since(0, 9).await.expect("facets").last;
    let change = |name: &'static str| {
        sqlx::query("UPDATE images SET taken_ms = taken_ms + 1 WHERE name = $1").bind(name)
    };
    let mut slow = catalog.connections.begin().await.expect("begun");
    slow.execute(change("late")).await.expect("changed");
    catalog.connections.execute(change("early")).await.expect("changed");
    let told = catalog.facets_since(last, 9).await.expect("facets");
    assert_eq!(told.now.len(), 1);
    slow.commit().await.expect("committed");
    let told = catalog.facets_since(told.last, 9).await.expect("facets");
    assert_eq!(told.now.iter().map(|image| image.name.as_str()).collect::<Vec<_>>(), ["late"]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-postgres"]
async fn counts_are_exact_while_many_write_and_others_fold() {
    let catalog = Arc::new(Database::new().catalog().await);
    let writers = (0..4).map(|writer| {
        let catalog = catalog.clone();
        tokio::spawn(async move {
            for round in 0..20 {
                let name = format!("{writer}/{round}");
                conformance::record(&*catalog, &[&name]).await;
                catalog.fold_counts().await.expect("folded");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("it wrote");
    }
    assert_eq!(conformance::counts(&*catalog).await.0, 80);
    catalog.fold_counts().await.expect("folded");
    let kept = sqlx::query("SELECT count(*) AS rows FROM image_counts");
    let kept = catalog.connections.fetch_one(kept).await.expect("counted");
    assert_eq!(sqlx::Row::get::<i64, _>(&kept, "rows"), 1);
    assert_eq!(conformance::counts(&*catalog).await.0, 80);
}

/// Two transactions that lock crosswise: one is ended by the database, begun anew, and both are done.
#[tokio::test]
#[ignore = "needs PostgreSQL: make test-postgres"]
async fn a_deadlock_is_begun_anew() {
    const ONE_WAITS: &str = "SELECT count(*) = 1 AS holds FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let catalog = Arc::new(Database::new().catalog().await);
    conformance::record(&*catalog, &["a", "b"]).await;
    let touch = |name: &'static str| {
        sqlx::query("UPDATE images SET version = 'x' WHERE name = $1").bind(name)
    };
    let mut one = catalog.connections.begin().await.expect("begun");
    one.execute(touch("b")).await.expect("changed");
    let mut other = catalog.connections.begin().await.expect("begun");
    other.execute(touch("a")).await.expect("changed");
    let forgetting = {
        let catalog = catalog.clone();
        tokio::spawn(async move {
            catalog.forget(&[conformance::name("a"), conformance::name("b")], 5).await
        })
    };
    // It waits for "a" first; then whoever has "b" wants "a" too. Other tests have databases of their own.
    until(&catalog, ONE_WAITS).await;
    other.commit().await.expect("committed");
    until(&catalog, ONE_WAITS).await;
    let crosswise = one.execute(touch("a")).await;
    match crosswise {
        Ok(_) => one.commit().await.expect("committed"),
        Err(Failed::Conflict(_)) => drop(one),
        Err(Failed::Final(error)) => panic!("{error}"),
    }
    assert_eq!(forgetting.await.expect("it ended").expect("forgotten"), 2);
}

async fn until(catalog: &PostgresCatalog, condition: &'static str) {
    let holds = async {
        loop {
            let row = catalog.connections.fetch_one(sqlx::query(condition)).await.expect("asked");
            if sqlx::Row::get::<bool, _>(&row, "holds") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, holds).await.expect("it came to hold");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-postgres"]
async fn new_work_and_other_models_are_told_to_other_processes() {
    let database = Database::new();
    let (here, there) = (database.catalog().await, database.catalog().await);
    let mut hints = there.hints().expect("it listens");
    // Only once it listens; until then whatever is said is said again.
    let heard = async {
        loop {
            conformance::record(&here, &["a"]).await;
            let heard = tokio::time::timeout(Duration::from_millis(200), hints.work.changed());
            if heard.await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.expect("work was told");
    hints.model.mark_unchanged();
    here.announce(Hint::Model).await.expect("told");
    let heard = tokio::time::timeout(PATIENCE, hints.model.changed()).await;
    heard.expect("in time").expect("another model was told");
    here.close().await;
    there.close().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-postgres"]
async fn a_database_that_restarts_is_unavailable_meanwhile_and_nothing_is_lost() {
    let mut server = Server::start().expect("a server of its own");
    let database = server.database().expect("an empty database");
    let options = PostgresOptions { acquire_timeout_ms: 20_000, ..built_in().catalog.postgres };
    let (address, password) = (server.address(&database), Secret::from(PASSWORD.to_owned()));
    let open = || PostgresCatalog::open(&address, Some(&password), "one".to_owned(), &options);
    let catalog = open().await.expect("open");
    conformance::record(&catalog, &["a", "b"]).await;
    assert_eq!(catalog.lease(1, "t", 1, 99, false).await.expect("leased").len(), 1);
    catalog.health().await.expect("well");
    server.stop();
    let away = catalog.health().await;
    assert!(matches!(away, Err(CatalogError::Unavailable(_))), "{away:?}");
    let away = catalog.record("s", &[conformance::seen("c")], &[], 1).await;
    assert!(away.expect_err("away").is_transient());
    // A start waits for a database that is just coming up.
    let (again, up) = tokio::join!(
        open(),
        tokio::task::spawn_blocking(move || {
            server.start_again().expect("up again");
            server
        })
    );
    let _server = up.expect("it runs");
    again.expect("it waited").close().await;
    let well = async {
        while catalog.health().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, well).await.expect("it goes on by itself");
    assert_eq!(conformance::counts(&catalog).await.0, 2);
    let rest = catalog.lease(9, "u", 1, 99, false).await.expect("leased");
    assert_eq!(rest.len(), 1, "the lease from before still holds");
    catalog.close().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-postgres"]
async fn a_database_that_may_only_be_read_is_told_by_its_health() {
    let database = Database::new();
    database.catalog().await.close().await;
    database.sql(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", database.0));
    let address =
        format!("{}?options=-c%20default_transaction_read_only%3Doff", SERVER.address(&database.0));
    open(&address, PASSWORD).await.expect("its session may write").health().await.expect("well");
    let opened = open(&SERVER.address(&database.0), PASSWORD).await.map(drop);
    assert!(opened.is_err(), "nothing can be written");
}

/// One million rows, and eight workers that lease and complete. Prints what it measured.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: cargo test --release --lib a_million_rows -- --ignored --nocapture"]
async fn a_million_rows_are_leased_by_eight_workers() {
    const ROWS: u64 = 1_000_000;
    const WORKERS: usize = 8;
    const BATCHES: usize = 100;
    let database = Database::new();
    let catalog = Arc::new(database.catalog().await);
    catalog.mark_listed("s", None, 1).await.expect("a source");
    database.sql(&format!(
        "INSERT INTO images (source, name, size_bytes, version, modified_ms, state, discovered_ms)
        SELECT (SELECT key FROM sources), 'folder/' || n % 1000 || '/' || n, n, '1', n, 'pending', 1
        FROM generate_series(1, {ROWS}) AS n"
    ));
    database.sql("ANALYZE");
    let began = std::time::Instant::now();
    let workers = (0..WORKERS).map(|worker| {
        let address = SERVER.address(&database.0);
        tokio::spawn(async move {
            let catalog = open_as(&address, PASSWORD, &worker.to_string()).await.expect("open");
            let (mut leasing, mut completing) = (Vec::new(), Vec::new());
            for batch in 0..BATCHES {
                let token = format!("{worker}-{batch}");
                let began = std::time::Instant::now();
                let leased = catalog.lease(32, &token, 10, 1_000, false).await.expect("leased");
                leasing.push(began.elapsed());
                assert_eq!(leased.len(), 32);
                let done: Vec<CompletedImage> = leased
                    .iter()
                    .map(|image| CompletedImage {
                        image_id: image.id,
                        hash: ContentHash::of(&image.id.to_le_bytes()),
                        facts: conformance::facts(),
                        header: Header::default(),
                    })
                    .collect();
                let contents: Vec<_> =
                    done.iter().map(|image| (image.hash, conformance::facts())).collect();
                let began = std::time::Instant::now();
                catalog.intend_vectors(MODEL, &contents, 10).await.expect("intended");
                let indexed = catalog.complete(MODEL, &token, &done, 11).await.expect("completed");
                completing.push(began.elapsed());
                assert_eq!(indexed, 32);
            }
            (leasing, completing)
        })
    });
    let (mut leasing, mut completing) = (Vec::new(), Vec::new());
    for worker in workers.collect::<Vec<_>>() {
        let (leased, completed) = worker.await.expect("it worked");
        leasing.extend(leased);
        completing.extend(completed);
    }
    let seconds = began.elapsed().as_secs_f64();
    assert_eq!(conformance::counts(&*catalog).await.1, (WORKERS * BATCHES * 32) as u64);
    let report = |what: &str, mut took: Vec<Duration>| {
        took.sort();
        let at = |part: usize| took[took.len() * part / 100].as_secs_f64() * 1e3;
        format!("{what}: p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms", at(50), at(95), at(99))
    };
    let images = WORKERS * BATCHES * 32;
    #[expect(clippy::print_stdout, reason = "this is what it is for")]
    {
        println!(
            "{ROWS} rows, {WORKERS} workers: {:.0} images/s leased and completed",
            images as f64 / seconds
        );
        println!("{}", report("lease of 32", leasing));
        println!("{}", report("intend and complete of 32", completing));
    }
}
