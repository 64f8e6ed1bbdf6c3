//! `[catalog]`: where the tables are, and how to talk to a database server.
//! An address alone (`catalog = "postgres://user@host/database"`) stands for `catalog.url`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{KeyFileError, Secret};

/// How the address of a PostgreSQL database begins.
const POSTGRES_PREFIXES: [&str; 2] = ["postgres://", "postgresql://"];

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogConfig {
    pub url: String,
    pub password: Secret,
    pub password_file: PathBuf,
    pub disk_reserve_mib: u64,
    pub lock_wait_ms: u64,
    pub postgres: PostgresOptions,
}

/// How many connections there are, and how long each thing may take.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresOptions {
    /// Connections of this process; one more listens for news.
    pub connections_max: u32,
    /// Waiting for a free connection, or making one, takes no longer than this.
    pub acquire_timeout_ms: u64,
    /// The server ends a statement that takes longer; a few seconds later the connection is given up.
    pub statement_timeout_ms: u64,
    /// A connection that nobody used for so long is closed.
    pub idle_timeout_ms: u64,
    /// A connection is made anew after this, also if it works.
    pub lifetime_max_ms: u64,
    /// How long a start waits for a database that is not up yet.
    pub start_patience_ms: u64,
}

impl PostgresOptions {
    /// [`Self::acquire_timeout_ms`].
    pub fn acquire_timeout(&self) -> Duration {
        Duration::from_millis(self.acquire_timeout_ms)
    }

    /// [`Self::start_patience_ms`].
    pub fn start_patience(&self) -> Duration {
        Duration::from_millis(self.start_patience_ms)
    }
}

/// Whether this is the address of a PostgreSQL database.
pub fn is_postgres(address: &str) -> bool {
    POSTGRES_PREFIXES.iter().any(|prefix| address.starts_with(prefix))
}

/// Whether an address holds a password. It would be seen in lists of processes, in files and in messages.
pub fn holds_password(address: &str) -> bool {
    let Some((_, rest)) = address.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // A password may hold an "@" or a "/" that nobody escaped.
    let user = authority.rsplit_once('@').or_else(|| rest.rsplit_once('@'));
    let in_user = user.is_some_and(|(user, _)| user.contains(':'));
    let parameters = address.split_once('?').map_or("", |(_, parameters)| parameters);
    in_user || parameters.split('&').any(|parameter| parameter.starts_with("password="))
}

impl CatalogConfig {
    /// The password for the database, from the file if one is named. PGPASSWORD and ~/.pgpass count where there is none.
    pub fn password(&self) -> Result<Option<Secret>, KeyFileError> {
        let given = || Some(self.password.clone()).filter(|password| !password.reveal().is_empty());
        let named = Secret::from_file("catalog.password_file", &self.password_file)?;
        Ok(named.or_else(given))
    }

    /// What is wrong: key, value and reason. A password is not repeated.
    pub(super) fn wrong(&self) -> Option<(&'static str, String, &'static str)> {
        if holds_password(&self.url) {
            let reason = "it holds a password; leave that out and use catalog.password_file, PGPASSWORD or ~/.pgpass";
            return Some(("catalog.url", "…".into(), reason));
        }
        let options = &self.postgres;
        let bounds = [
            ("catalog.postgres.connections_max", u64::from(options.connections_max), 2),
            ("catalog.postgres.acquire_timeout_ms", options.acquire_timeout_ms, 1),
            ("catalog.postgres.statement_timeout_ms", options.statement_timeout_ms, 100),
            ("catalog.postgres.idle_timeout_ms", options.idle_timeout_ms, 1000),
            ("catalog.postgres.lifetime_max_ms", options.lifetime_max_ms, 1000),
        ];
        let (key, value, least) = bounds.into_iter().find(|(_, value, least)| value < least)?;
        let reason = match least {
            1 => "at least 1",
            2 => "at least 2",
            100 => "at least 100",
            _ => "at least 1000",
        };
        Some((key, value.to_string(), reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_addresses_are_noticed() {
        for with in [
            "postgres://me:hunter2@host/db",
            "postgres://me:hun/ter2@host/db",
            "postgres://me:p@ss@host/db",
            "postgresql://host/db?sslmode=require&password=hunter2",
        ] {
            assert!(holds_password(with), "{with}");
        }
        for without in [
            "postgres://me@host:5432/db",
            "postgres://host:5432/db?sslmode=verify-full",
            "postgres:///db?host=/run/postgresql&port=5433",
            "sqlite",
            "sqlite:/a:b@c",
        ] {
            assert!(!holds_password(without), "{without}");
        }
    }
}
