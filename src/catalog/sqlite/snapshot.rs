//! A copy of the catalog as it is at one moment, also while others write to it, and the question whether a file is whole.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Row};

use super::explain;
use crate::catalog::CatalogError;

/// How long it waits while somebody else has the file for himself (a migration, the end of a process).
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// Writes a copy of `from` to `to`, which must not exist: everything that was committed before, and nothing by half.
/// Nobody who writes has to wait.
pub async fn copy(from: &Path, to: &Path) -> Result<(), CatalogError> {
    let mut connection = connect(from).await?;
    let copied = sqlx::query("VACUUM INTO ?1").bind(to.display().to_string());
    let copied = copied.execute(&mut connection).await;
    // What is full is the disk of the copy.
    copied.map_err(|error| explain(error, to))?;
    let _ = connection.close().await;
    let synced = std::fs::File::open(to).and_then(|file| file.sync_all());
    synced.map_err(|error| CatalogError::Query(format!("{}: {error}", to.display())))
}

/// Reads the whole file and compares all indexes with their tables. Fails with [`CatalogError::Damaged`].
pub async fn check(file: &Path) -> Result<(), CatalogError> {
    let mut connection = connect(file).await?;
    let told = sqlx::query("PRAGMA integrity_check(10)").fetch_all(&mut connection).await;
    let broken = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut connection).await;
    let _ = connection.close().await;
    let words = told.and_then(|rows| rows.iter().map(|row| row.try_get(0)).collect());
    let words: Vec<String> = words.map_err(|error| explain(error, file))?;
    if words != ["ok"] {
        return Err(CatalogError::Damaged(format!("{}: {}", file.display(), words.join("; "))));
    }
    match broken.map_err(|error| explain(error, file))?.len() {
        0 => Ok(()),
        rows => Err(CatalogError::Damaged(format!(
            "{}: {rows} rows refer to rows that are not there",
            file.display()
        ))),
    }
}

async fn connect(file: &Path) -> Result<SqliteConnection, CatalogError> {
    let options = SqliteConnectOptions::new().filename(file).busy_timeout(LOCK_WAIT);
    options.connect().await.map_err(|error| explain(error, file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::sqlite::{SqliteCatalog, SqliteOptions};
    use crate::catalog::{Catalog, StoreLedger};

    #[tokio::test]
    async fn a_copy_beside_a_writer_has_what_was_committed_and_is_whole() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (file, target) = (dir.path().join("catalog.db"), dir.path().join("copy.db"));
        let catalog = SqliteCatalog::open(&file, SqliteOptions::default()).await.expect("opened");
        for _ in 0..3 {
            catalog.next_epoch("m").await.expect("noted");
        }
        copy(&file, &target).await.expect("copied");
        catalog.next_epoch("m").await.expect("noted after the copy");
        assert!(copy(&file, &target).await.is_err(), "what is there is not written over");
        check(&target).await.expect("whole");
        let again = SqliteCatalog::open(&target, SqliteOptions::default()).await.expect("opened");
        assert_eq!(again.epoch("m").await.expect("asked"), 3);
        assert_eq!(
            again.installation().await.expect("asked"),
            catalog.installation().await.expect("asked")
        );
        again.close().await;
        catalog.close().await;
    }

    #[tokio::test]
    async fn a_damaged_file_is_noticed() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("catalog.db");
        let catalog = SqliteCatalog::open(&file, SqliteOptions::default()).await.expect("opened");
        catalog.close().await;
        check(&file).await.expect("whole");
        let mut bytes = std::fs::read(&file).expect("read");
        let middle = bytes.len() / 2;
        bytes[4096..middle].fill(0x5a);
        std::fs::write(&file, bytes).expect("written");
        assert!(check(&file).await.is_err(), "half of it is rubbish");
    }
}
