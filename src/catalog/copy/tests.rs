//! From SQLite to SQLite always, and through PostgreSQL and back where there is one.

use std::path::Path;

use test_postgres::{PASSWORD, Server};

use super::*;
use crate::catalog::conformance::{self, MODEL};
use crate::catalog::postgres::PostgresCatalog;
use crate::catalog::sqlite::{SqliteCatalog, SqliteOptions};
use crate::catalog::{Catalog, Feedback, PageStart, Previews, Queue, RatingChange, StoreLedger};
use crate::config::built_in;
use crate::types::{ContentHash, Impression, Preview};

async fn open(file: &Path) -> SqliteCatalog {
    let options = SqliteOptions { lock_wait_ms: 60_000, ..SqliteOptions::default() };
    SqliteCatalog::open(file, options).await.expect("open")
}

/// A catalog with a row of every kind, of images more than fit on one page.
async fn fill(file: &Path) {
    let catalog = open(file).await;
    conformance::record(&catalog, &["a/tennis.png", "b.png", "lost.png"]).await;
    assert_eq!(conformance::index_all(&catalog, MODEL, b"x").await, 3);
    conformance::lose(&catalog, "lost.png", 5).await;
    let names: Vec<String> = (0..PAGE_ROWS + 10).map(|number| format!("p/{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    conformance::record(&catalog, &names).await;
    let preview = Preview::new(vec![1, 2, 3]);
    catalog.keep_previews(&[(ContentHash::of(b"x"), preview)]).await.expect("kept");
    for number in 0..3 {
        let impression = Impression {
            id: format!("i{number}"),
            query: "a\0b".to_owned(),
            model: MODEL.to_owned(),
            results: Vec::new(),
            searched_ms: 1,
        };
        let change = RatingChange { value: Some(number + 1), images: None };
        catalog.save_feedback(&impression, &change, 2).await.expect("rated");
    }
    assert_eq!(catalog.next_epoch(MODEL).await.expect("noted"), 1);
    catalog.close().await;
}

fn access<'a>(password: &'a Secret, options: &'a PostgresOptions) -> Access<'a> {
    Access { password: Some(password), options }
}

async fn copy_quietly(from: &str, to: &str) -> Result<Vec<CopiedTable>, CopyError> {
    let (password, options) = (Secret::from(PASSWORD.to_owned()), built_in().catalog.postgres);
    copy(from, to, access(&password, &options), &mut |_, _| {}).await
}

async fn assert_same(catalog: &dyn Catalog, original: &dyn Catalog) {
    assert_eq!(
        catalog.installation().await.expect("asked"),
        original.installation().await.expect("asked")
    );
    assert_eq!(catalog.counts().await.expect("counts"), original.counts().await.expect("counts"));
    let recent = catalog.recent(9, PageStart::Offset(0)).await.expect("recent");
    assert_eq!(recent, original.recent(9, PageStart::Offset(0)).await.expect("recent"));
    assert_eq!(recent.images.len(), 2);
    let ratings = catalog.feedback(None, 9).await.expect("feedback");
    assert_eq!(
        ratings.iter().map(|row| row.rating.value).collect::<Vec<_>>(),
        [Some(1), Some(2), Some(3)]
    );
    let words = ["tennis".to_owned()];
    assert_eq!(catalog.images_with_words(&words, false, 9).await.expect("words").len(), 1);
    assert_eq!(catalog.facets_since(0, 99).await.expect("facets").now.len(), 2);
    let stored = catalog.stored_by_model().await.expect("models");
    assert_eq!(stored, original.stored_by_model().await.expect("models"));
    assert_eq!(catalog.epoch(MODEL).await.expect("epoch"), 1);
    assert_eq!(catalog.require_vectors(MODEL).await.expect("complete"), 0);
    // It goes on: new rows get new numbers.
    conformance::record(catalog, &["new.png"]).await;
    assert!(catalog.image(&conformance::name("new.png")).await.expect("image").is_some());
}

#[tokio::test]
async fn a_copy_between_files_is_the_same_and_a_target_that_holds_something_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| format!("sqlite:{}", dir.path().join(name).display());
    fill(&dir.path().join("a.db")).await;
    let copied = copy_quietly(&at("a.db"), &at("b.db")).await.expect("copied");
    let images = copied.iter().find(|table| table.name == "images").expect("a table");
    assert_eq!(images.rows, u64::from(PAGE_ROWS) + 13);
    let again = copy_quietly(&at("a.db"), &at("b.db")).await;
    assert!(matches!(again, Err(CopyError::Occupied(_))), "{again:?}");
    let nothing = copy_quietly(&at("none.db"), &at("c.db")).await;
    assert!(matches!(nothing, Err(CopyError::Nothing(_))), "{nothing:?}");
    assert!(!dir.path().join("none.db").exists(), "looking makes nothing");
    let (a, b) = (open(&dir.path().join("a.db")).await, open(&dir.path().join("b.db")).await);
    assert_same(&b, &a).await;
    let leased = a.lease(1, "t", 1, now_ms() + 60_000, false).await.expect("leased");
    assert_eq!(leased.len(), 1);
    let worked_on = copy_quietly(&at("a.db"), &at("c.db")).await;
    assert!(matches!(worked_on, Err(CopyError::InUse(_))), "{worked_on:?}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-postgres"]
async fn through_postgres_and_back_everything_is_the_same_also_after_an_interruption() {
    let server = Server::start().expect("a server");
    let database = server.database().expect("an empty database");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| format!("sqlite:{}", dir.path().join(name).display());
    fill(&dir.path().join("a.db")).await;
    let (source, address) = (at("a.db"), server.address(&database));
    let (password, options) = (Secret::from(PASSWORD.to_owned()), built_in().catalog.postgres);

    // Somebody pulls the plug after the first page of images.
    let (pulled, is_pulled) = tokio::sync::oneshot::channel();
    let mut pulled = Some(pulled);
    let mut pull = |table: &'static str, _| {
        if table == "images"
            && let Some(pulled) = pulled.take()
        {
            let _ = pulled.send(());
        }
    };
    tokio::select! {
        biased;
        _ = is_pulled => {}
        _ = copy(&source, &address, access(&password, &options), &mut pull) => panic!("it ended first"),
    }
    let serve = || PostgresCatalog::open(&address, Some(&password), "one".to_owned(), &options);
    let refused = serve().await.map(drop).expect_err("half a catalog").to_string();
    assert!(refused.contains("catalog copy"), "{refused}");
    fill(&dir.path().join("other.db")).await;
    let other = copy_quietly(&at("other.db"), &address).await;
    assert!(matches!(other, Err(CopyError::Occupied(_))), "another catalog: {other:?}");
    let copied = copy_quietly(&at("a.db"), &address).await.expect("it goes on");
    let again = copy_quietly(&at("a.db"), &address).await;
    assert!(matches!(again, Err(CopyError::Occupied(_))), "{again:?}");

    let back = copy_quietly(&address, &at("b.db")).await.expect("copied back");
    assert_eq!(back, copied);
    let a = open(&dir.path().join("a.db")).await;
    let there = serve().await.expect("whole");
    assert_same(&there, &a).await;
    there.close().await;
    assert_same(&open(&dir.path().join("b.db")).await, &a).await;
}
