//! The connections to the database, and the transactions on them. A connection is used again only after what was asked of it
//! succeeded; in every other case, also when the caller just went away, it is closed, and PostgreSQL takes back what was begun.
//! Beyond the server's own limit of time for a statement there is one here, for a network that swallows everything.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Executor};

use super::CatalogError;
use super::failure::Failed;
use super::reach::Reach;
use crate::config::PostgresOptions;

/// How often a transaction is begun anew that PostgreSQL ended in favour of another one.
pub(super) const CONFLICTS_MAX: u32 = 8;
/// Counts are folded after so many transactions of this process.
const FOLD_AFTER: u32 = 256;
/// The server gets this much longer than its own limit to say that a statement took too long.
const ANSWER_GRACE: Duration = Duration::from_secs(5);

/// Does it again while PostgreSQL ends it in favour of another transaction.
macro_rules! settled {
    ($attempt:expr) => {{
        let mut conflicts = 0;
        loop {
            match $attempt.await {
                Err(Failed::Conflict(words))
                    if conflicts < $crate::catalog::postgres::connections::CONFLICTS_MAX =>
                {
                    tracing::debug!(words, "a transaction of the catalog is begun anew");
                    tokio::time::sleep(std::time::Duration::from_millis(2 << conflicts)).await;
                    conflicts += 1;
                }
                done => break done.map_err(CatalogError::from),
            }
        }
    }};
}
pub(super) use settled;

/// A statement with its parameters bound.
pub(super) type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// All connections of this process but the one that listens.
pub(super) struct Connections {
    pool: PgPool,
    reach: Reach,
    answer_timeout: Duration,
    /// Whether the last write failed for want of room.
    blocked: Mutex<bool>,
    writes: AtomicU32,
}

/// A transaction under way. Dropped without [`Self::commit`], it never was.
pub(super) struct Write<'a> {
    connections: &'a Connections,
    connection: PoolConnection<Postgres>,
}

impl Connections {
    pub(super) fn new(connect: PgConnectOptions, address: &str, options: &PostgresOptions) -> Self {
        let limit_ms = options.statement_timeout_ms;
        // Plans are short here; compiling them would take longer than running them.
        let session = format!(
            "SET statement_timeout = {limit_ms}; SET idle_in_transaction_session_timeout = {limit_ms}; SET jit = off"
        );
        let reach = Reach::new(connect.clone(), options.acquire_timeout());
        let pool = PgPoolOptions::new()
            .max_connections(options.connections_max)
            .acquire_timeout(options.acquire_timeout())
            .idle_timeout(Duration::from_millis(options.idle_timeout_ms))
            .max_lifetime(Duration::from_millis(options.lifetime_max_ms))
            .after_connect(move |connection, _| {
                let session = session.clone();
                Box::pin(async move { connection.execute(AssertSqlSafe(session)).await.map(drop) })
            })
            .connect_lazy_with(connect);
        tracing::debug!(address, "the catalog is in PostgreSQL");
        let answer_timeout = Duration::from_millis(limit_ms) + ANSWER_GRACE;
        Self { pool, reach, answer_timeout, blocked: Mutex::new(false), writes: AtomicU32::new(0) }
    }

    async fn connection(&self) -> Result<PoolConnection<Postgres>, Failed> {
        let mut connection = self.reach.unless_away(self.pool.acquire()).await??;
        connection.close_on_drop();
        Ok(connection)
    }

    async fn answer<T>(
        &self,
        asked: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, Failed> {
        let asked = self.reach.unless_away(asked);
        let answered = tokio::time::timeout(self.answer_timeout, asked).await;
        let answered = answered.map_err(|_| {
            CatalogError::Unavailable("the database does not answer any more".to_owned())
        })?;
        answered?.map_err(|error| {
            if matches!(error, sqlx::Error::Io(_) | sqlx::Error::Protocol(_)) {
                self.reach.suspect();
            }
            let failed = Failed::from(error);
            if matches!(failed, Failed::Final(CatalogError::StorageFull(_))) {
                *self.blocked.lock() = true;
            }
            failed
        })
    }

    pub(super) async fn begin(&self) -> Result<Write<'_>, Failed> {
        let mut write = Write { connections: self, connection: self.connection().await? };
        write.execute(sqlx::query("BEGIN")).await?;
        Ok(write)
    }

    /// Runs one statement that needs no other; returns how many rows it wrote.
    pub(super) async fn execute(&self, statement: Statement<'_>) -> Result<u64, CatalogError> {
        let mut connection = self.connection().await?;
        let done = self.answer(statement.execute(&mut *connection)).await?;
        give_back(connection);
        Ok(done.rows_affected())
    }

    /// Asks one question, or runs one statement that tells something.
    pub(super) async fn fetch(&self, statement: Statement<'_>) -> Result<Vec<PgRow>, CatalogError> {
        Ok(self.try_fetch(statement).await?)
    }

    /// The same, where it may be ended in favour of another transaction.
    pub(super) async fn try_fetch(&self, statement: Statement<'_>) -> Result<Vec<PgRow>, Failed> {
        let mut connection = self.connection().await?;
        let rows = self.answer(statement.fetch_all(&mut *connection)).await?;
        give_back(connection);
        Ok(rows)
    }

    pub(super) async fn fetch_one(&self, statement: Statement<'_>) -> Result<PgRow, CatalogError> {
        only(self.fetch(statement).await?)
    }

    /// Whether the database answers and can be written to.
    pub(super) async fn health(&self) -> Result<(), CatalogError> {
        const READ_ONLY: &str = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only
            FROM write_probe";
        let row = self.fetch_one(sqlx::query(READ_ONLY)).await?;
        if sqlx::Row::try_get::<bool, _>(&row, "read_only")? {
            let words = "the database is a standby, or may only be read";
            return Err(CatalogError::Unavailable(words.to_owned()));
        }
        if *self.blocked.lock() {
            self.execute(sqlx::query("UPDATE write_probe SET at_ms = at_ms + 1")).await?;
            *self.blocked.lock() = false;
        }
        Ok(())
    }

    /// Whether it is time to fold the counts.
    pub(super) fn is_fold_due(&self) -> bool {
        self.writes.load(Ordering::Relaxed) >= FOLD_AFTER
            && self.writes.swap(0, Ordering::Relaxed) >= FOLD_AFTER
    }

    pub(super) async fn close(&self) {
        self.reach.stop();
        self.pool.close().await;
    }
}

impl Write<'_> {
    /// Runs a statement; returns how many rows it wrote.
    pub(super) async fn execute(&mut self, statement: Statement<'_>) -> Result<u64, Failed> {
        let done = self.connections.answer(statement.execute(&mut *self.connection)).await?;
        Ok(done.rows_affected())
    }

    pub(super) async fn fetch(&mut self, statement: Statement<'_>) -> Result<Vec<PgRow>, Failed> {
        self.connections.answer(statement.fetch_all(&mut *self.connection)).await
    }

    pub(super) async fn fetch_one(&mut self, statement: Statement<'_>) -> Result<PgRow, Failed> {
        Ok(only(self.fetch(statement).await?)?)
    }

    /// From here on it is kept. An error means that nothing of it is, or that the connection broke before anybody knew.
    pub(super) async fn commit(mut self) -> Result<(), Failed> {
        self.execute(sqlx::query("COMMIT")).await?;
        *self.connections.blocked.lock() = false;
        self.connections.writes.fetch_add(1, Ordering::Relaxed);
        give_back(self.connection);
        Ok(())
    }

    /// Nothing of it is kept.
    pub(super) async fn give_up(mut self) -> Result<(), Failed> {
        self.execute(sqlx::query("ROLLBACK")).await?;
        give_back(self.connection);
        Ok(())
    }
}

/// It is asked for a sign of life on its way into the pool, which nobody has to wait for.
fn give_back(mut connection: PoolConnection<Postgres>) {
    tokio::spawn(connection.return_to_pool());
}

fn only(mut rows: Vec<PgRow>) -> Result<PgRow, CatalogError> {
    rows.pop().ok_or_else(|| CatalogError::Damaged("a row that is always there is not".to_owned()))
}
