//! The catalog in SQLite: WAL, one writer connection (so writers queue instead of failing as busy) and a few readers.
//! Writes go through `writer`, which is also what makes a full disk harmless. A kill -9 loses nothing; a power cut may lose
//! the last commits, which are then simply done again, except where `writer` is asked for more.
//! Lists are bound as one JSON text and unpacked with `json_each`, so every statement is a constant, and a test looks at
//! the plan of each.

mod api_keys;
mod arguments;
mod claims;
mod decisions;
mod facts;
mod feedback;
mod images;
mod leases;
mod ledger;
mod memory;
mod migrations;
mod previews;
mod processes;
mod queue;
pub mod snapshot;
mod sources;
#[cfg(test)]
mod tests;
mod vectors;
mod writer;

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use self::migrations::MIGRATIONS;
use self::writer::{Writer, explain};
use super::migrations::newest_step;
use super::{Catalog, CatalogError};

/// Readers besides the one writer.
const READERS_MAX: u32 = 4;
/// The log of writes is cut back to this after a checkpoint; a burst of writes must not keep its size for ever.
const WAL_BYTES_KEPT: &str = "16777216";
/// In KiB. Contents lie in the order of their hashes, so every new one is somewhere else.
const WRITER_CACHE: &str = "-32768";

/// Declares statements, and in tests the list of them.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)*) => {
        $($(#[$doc])* const $name: &str = $sql;)*
        #[cfg(test)]
        pub(super) const STATEMENTS: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}
use statements;

/// How a catalog is opened.
#[derive(Debug, Clone, Default)]
pub struct SqliteOptions {
    /// Under which name leases are held; that of the process before, after a restart.
    pub holder: String,
    /// New images are refused when less than this is free on the disk.
    pub disk_reserve_mib: u64,
    /// How long a writer waits for another process's.
    pub lock_wait_ms: u64,
}

/// See [`Catalog`].
pub struct SqliteCatalog {
    writer: Writer,
    readers: SqlitePool,
    holder: String,
}

impl SqliteCatalog {
    /// Opens the database file, creating and migrating it as needed.
    pub async fn open(path: &Path, options: SqliteOptions) -> Result<Self, CatalogError> {
        let opening = |error: sqlx::Error| match explain(error, path) {
            CatalogError::Query(reason) => {
                CatalogError::Open { path: path.display().to_string(), reason }
            }
            known => known,
        };
        // SQLite gives the files beside it the same mode.
        let _ = File::options().write(true).create_new(true).mode(0o600).open(path);
        let lock_wait = Duration::from_millis(options.lock_wait_ms);
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .pragma("journal_size_limit", WAL_BYTES_KEPT)
            .foreign_keys(true)
            .busy_timeout(lock_wait);
        let patience = lock_wait + Duration::from_secs(5);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(patience)
            .connect_with(connect.clone().pragma("cache_size", WRITER_CACHE))
            .await
            .map_err(opening)?;
        tell_of_migrations(&writer, path).await;
        MIGRATIONS.run(&writer).await.map_err(|error| match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                opening(error)
            }
            other => {
                CatalogError::Schema { path: path.display().to_string(), reason: other.to_string() }
            }
        })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .acquire_timeout(patience)
            .connect_with(connect.read_only(true))
            .await
            .map_err(opening)?;
        let writer = Writer::new(writer, path.to_owned(), options.disk_reserve_mib);
        Ok(Self { writer, readers, holder: options.holder })
    }
}

/// Number of the last step of the tables, as this version knows them.
pub(super) fn last_step() -> i64 {
    newest_step(&MIGRATIONS)
}

/// Says what a start waits for, if it has to wait. A catalog that is just being made has nothing to migrate.
async fn tell_of_migrations(pool: &SqlitePool, path: &Path) {
    let applied = sqlx::query("SELECT max(version) AS version FROM _sqlx_migrations")
        .fetch_one(pool)
        .await
        .and_then(|row| row.try_get::<i64, _>("version"));
    if applied.is_ok_and(|applied| applied < newest_step(&MIGRATIONS)) {
        tracing::info!(path = %path.display(), "bringing the catalog of an earlier version up to date; with a million pictures this takes about a minute");
    }
}

#[async_trait]
impl Catalog for SqliteCatalog {
    async fn health(&self) -> Result<(), CatalogError> {
        sqlx::query("SELECT 1 FROM sources LIMIT 1").fetch_optional(&self.readers).await?;
        self.writer.health().await
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}
