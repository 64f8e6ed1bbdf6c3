//! What PostgreSQL says went wrong, as the catalog's errors.

use crate::catalog::CatalogError;

/// Why a try did not succeed.
#[derive(Debug)]
pub(super) enum Failed {
    /// PostgreSQL ended this transaction in favour of another one: the same again may succeed at once.
    Conflict(String),
    Final(CatalogError),
}

impl From<CatalogError> for Failed {
    fn from(error: CatalogError) -> Self {
        Self::Final(error)
    }
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        explain(&error)
    }
}

impl From<Failed> for CatalogError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Conflict(words) => Self::Unavailable(words),
            Failed::Final(error) => error,
        }
    }
}

/// By the classes of SQLSTATE (PostgreSQL's manual, appendix A).
fn explain(error: &sqlx::Error) -> Failed {
    let words = error.to_string();
    let database = error.as_database_error();
    let code = database.and_then(|error| error.code().map(std::borrow::Cow::into_owned));
    let is_away = matches!(
        error,
        sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_)
    );
    let failed = match code.as_deref() {
        // Serialization failure, deadlock.
        Some("40001" | "40P01") => return Failed::Conflict(words),
        Some("53100") => CatalogError::StorageFull(words),
        Some("25006") => CatalogError::Unavailable(format!(
            "{words}; the database is a standby or may only be read"
        )),
        // No connection, no resources, an operator or a timeout stepped in, no access, no lock in time.
        Some(code)
            if ["08", "28", "3D", "53", "57", "25P", "55P03"]
                .iter()
                .any(|class| code.starts_with(class)) =>
        {
            CatalogError::Unavailable(words)
        }
        None if is_away => CatalogError::Unavailable(words),
        _ => CatalogError::Query(words),
    };
    Failed::Final(failed)
}

/// Whether waiting does not help: the database answers, and says no.
pub(super) fn is_refusal(words: &str) -> bool {
    ["authentication", "does not exist", "pg_hba.conf", "permission denied", "certificate"]
        .iter()
        .any(|refusal| words.contains(refusal))
}
