//! Every write of the SQLite catalog, as a transaction that is either committed or leaves no trace.
//!
//! When a commit fails (the disk is full), SQLite rolls back by itself, and a driver that keeps count of nested
//! transactions can be left believing that one is still open; what it "commits" later is lost. So transactions are begun and
//! ended with SQLite's own words here, which it refuses when they do not fit, and a connection is used again only after a
//! commit that succeeded. In every other case, also when the caller just went away, it is closed.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqlitePool, SqliteRow};

use super::CatalogError;
use crate::disk_space;

/// Below this a disk counts as full, whatever the system's words for the failure were.
const FULL_BELOW_BYTES: u64 = 1 << 20;

/// A statement with its parameters bound.
pub(super) type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Brings new work in. Refused before the disk is full, so that the rest of it is left for what matters more.
    Grow,
    /// Finishes, marks, or makes room. May use the reserve.
    Settle,
    /// Is acknowledged to somebody who will not ask again: on the disk before it returns, also through a power cut.
    Promise,
}

/// The one writer.
pub(super) struct Writer {
    pool: SqlitePool,
    file: PathBuf,
    disk_reserve_mib: u64,
    /// Which file it was that was opened; `None` if nobody can tell.
    opened: Option<(u64, u64)>,
    /// Whether the last write failed for want of room or rights.
    blocked: Mutex<bool>,
}

/// A transaction under way. Dropped without [`Self::commit`], it never was.
pub(super) struct Write<'a> {
    writer: &'a Writer,
    connection: PoolConnection<Sqlite>,
    purpose: Purpose,
}

impl Writer {
    pub(super) fn new(pool: SqlitePool, file: PathBuf, disk_reserve_mib: u64) -> Self {
        let opened = which(&file);
        Self { pool, file, disk_reserve_mib, opened, blocked: Mutex::new(false) }
    }

    pub(super) async fn begin(&self, purpose: Purpose) -> Result<Write<'_>, CatalogError> {
        self.check_file()?;
        if purpose == Purpose::Grow {
            self.check_reserve()?;
        }
        match self.try_begin(purpose).await {
            // SQLite says so if a transaction is still open; a fresh connection has none.
            Err(CatalogError::Query(reason)) => {
                tracing::warn!(reason, "a connection to the catalog was discarded");
                self.try_begin(purpose).await
            }
            begun => begun,
        }
    }

    async fn try_begin(&self, purpose: Purpose) -> Result<Write<'_>, CatalogError> {
        let mut connection = self.pool.acquire().await.map_err(|error| self.failed(error))?;
        connection.close_on_drop();
        let mut write = Write { writer: self, connection, purpose };
        if purpose == Purpose::Promise {
            write.run("PRAGMA synchronous = FULL").await?;
        }
        write.run("BEGIN IMMEDIATE").await?;
        Ok(write)
    }

    /// Whether there is room for new images, and whether writing works.
    pub(super) async fn health(&self) -> Result<(), CatalogError> {
        self.check_file()?;
        self.check_reserve()?;
        if *self.blocked.lock() {
            let mut write = self.begin(Purpose::Settle).await?;
            write.run("UPDATE write_probe SET at_ms = at_ms + 1").await?;
            write.commit().await?;
        }
        Ok(())
    }

    /// Into a file that was deleted or replaced, everything would be written for nobody.
    fn check_file(&self) -> Result<(), CatalogError> {
        if self.opened.is_none() || which(&self.file) == self.opened {
            return Ok(());
        }
        Err(CatalogError::Unavailable(format!(
            "{} vanished, or another file is in its place, while the program runs; stop it, put the file back from a backup, and start again",
            self.file.display()
        )))
    }

    fn check_reserve(&self) -> Result<(), CatalogError> {
        let reserve_mib = self.disk_reserve_mib;
        match free_bytes(&self.file) {
            Some(free) if free < reserve_mib << 20 => Err(CatalogError::StorageFull(format!(
                "{} MiB are left on the disk of {}, and catalog.disk_reserve_mib = {reserve_mib} are kept for ratings",
                free >> 20,
                self.file.display()
            ))),
            _ => Ok(()),
        }
    }

    fn failed(&self, error: sqlx::Error) -> CatalogError {
        let error = explain(error, &self.file);
        if matches!(error, CatalogError::StorageFull(_) | CatalogError::ReadOnly(_)) {
            *self.blocked.lock() = true;
        }
        error
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    #[cfg(test)]
    pub(super) fn pool(&self) -> &SqlitePool {
        &self.pool
    }
}

impl Write<'_> {
    async fn run(&mut self, statement: &'static str) -> Result<(), CatalogError> {
        self.execute(sqlx::query(statement)).await.map(drop)
    }

    /// Runs a statement; returns how many rows it wrote.
    pub(super) async fn execute(&mut self, statement: Statement<'_>) -> Result<u64, CatalogError> {
        let done = statement.execute(&mut *self.connection).await;
        done.map(|done| done.rows_affected()).map_err(|error| self.writer.failed(error))
    }

    pub(super) async fn fetch(
        &mut self,
        statement: Statement<'_>,
    ) -> Result<Vec<SqliteRow>, CatalogError> {
        let rows = statement.fetch_all(&mut *self.connection).await;
        rows.map_err(|error| self.writer.failed(error))
    }

    pub(super) async fn fetch_one(
        &mut self,
        statement: Statement<'_>,
    ) -> Result<SqliteRow, CatalogError> {
        let row = statement.fetch_one(&mut *self.connection).await;
        row.map_err(|error| self.writer.failed(error))
    }

    /// From here on it is kept. An error means that nothing of it is.
    pub(super) async fn commit(mut self) -> Result<(), CatalogError> {
        self.run("COMMIT").await?;
        *self.writer.blocked.lock() = false;
        // Without this the connection is closed, which is right but slow; so neither may fail the commit that was.
        if self.purpose != Purpose::Promise || self.run("PRAGMA synchronous = NORMAL").await.is_ok()
        {
            self.connection.return_to_pool().await;
        }
        Ok(())
    }
}

/// Tells one file from another.
fn which(file: &Path) -> Option<(u64, u64)> {
    let found = std::fs::metadata(file).ok()?;
    Some((found.dev(), found.ino()))
}

fn free_bytes(file: &Path) -> Option<u64> {
    disk_space::free_bytes(file.parent()?).ok()
}

/// The same for a file whose disk can be asked: SQLite has several words for "no room".
pub(super) fn explain(error: sqlx::Error, file: &Path) -> CatalogError {
    match CatalogError::from(error) {
        CatalogError::Query(reason)
            if free_bytes(file).is_some_and(|free| free < FULL_BELOW_BYTES) =>
        {
            CatalogError::StorageFull(format!("{}: {reason}", file.display()))
        }
        error => error,
    }
}

impl From<sqlx::Error> for CatalogError {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        // The low byte of an extended code is the kind: busy, locked, full, read-only.
        let kind = code.and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff);
        let words = error.to_string();
        match (kind, error) {
            (Some(5 | 6), _)
            | (
                _,
                sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed,
            ) => Self::Unavailable(words),
            (Some(13), _) => Self::StorageFull(words),
            (Some(8), _) => Self::ReadOnly(words),
            _ => Self::Query(words),
        }
    }
}
