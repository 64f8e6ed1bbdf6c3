//! The catalog in PostgreSQL, for several processes on several machines. Every statement is a constant; lists are bound as arrays.
//! Transactions read what is committed when each of their statements begins, so whatever must not change meanwhile is locked
//! first: leases, then images, then vectors, always in this order. Where two still lock crosswise, PostgreSQL ends one of
//! them, which is then done again (see `connections`).

mod api_keys;
mod arguments;
mod claims;
mod connections;
mod counts;
mod decisions;
mod facts;
mod failure;
mod feedback;
mod images;
mod ledger;
mod listener;
mod memory;
mod migrations;
mod previews;
mod processes;
mod queue;
mod reach;
mod sources;
#[cfg(test)]
mod tests;
mod vectors;
mod words;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{Connection, Row};

use self::connections::Connections;
use self::failure::Failed;
use self::listener::Listener;
use self::migrations::{MIGRATIONS, is_ahead, tell_of_migrations};
use super::migrations::newest_step;
use super::{Catalog, CatalogError, Hint, Hints};
use crate::config::{PostgresOptions, Secret, holds_password};

/// The oldest version that has all that the statements use.
const VERSION_MIN: i32 = 130_000;
/// A database that is starting is asked again after this.
const START_PAUSE: Duration = Duration::from_millis(250);

/// See [`Catalog`].
pub struct PostgresCatalog {
    connections: Connections,
    listener: Listener,
    holder: String,
}

impl PostgresCatalog {
    /// Connects, and makes or migrates the tables as needed. `holder` is the name under which leases are held.
    pub async fn open(
        address: &str,
        password: Option<&Secret>,
        holder: String,
        options: &PostgresOptions,
    ) -> Result<Self, CatalogError> {
        let connect = prepared(address, password, options, false).await?;
        let listener = Listener::start(connect.clone());
        let connections = Connections::new(connect, address, options);
        let catalog = Self { connections, listener, holder };
        catalog.fold_counts().await?;
        Ok(catalog)
    }

    async fn fold_counts(&self) -> Result<(), CatalogError> {
        counts::fold(&self.connections).await
    }
}

/// Brings the tables up to date. Returns their last step.
pub(super) async fn migrate(
    address: &str,
    password: Option<&Secret>,
    options: &PostgresOptions,
) -> Result<i64, CatalogError> {
    prepared(address, password, options, false).await?;
    Ok(newest_step(&MIGRATIONS))
}

/// How to connect to a database that is up and has the tables as this version knows them.
async fn prepared(
    address: &str,
    password: Option<&Secret>,
    options: &PostgresOptions,
    may_be_unfinished: bool,
) -> Result<PgConnectOptions, CatalogError> {
    if holds_password(address) {
        return Err(CatalogError::Password);
    }
    let unusable = |reason: String| CatalogError::Database { address: address.into(), reason };
    let mut connect: PgConnectOptions =
        address.parse().map_err(|error: sqlx::Error| unusable(error.to_string()))?;
    if let Some(password) = password {
        connect = connect.password(password.reveal());
    }
    if connect.get_application_name().is_none() {
        connect = connect.application_name("image-search");
    }
    prepare(&connect, options, may_be_unfinished).await.map_err(unusable)?;
    Ok(connect)
}

/// Connections for whoever copies a catalog, of which the tables may be half full.
pub(super) async fn connect_for_copy(
    address: &str,
    password: Option<&Secret>,
    options: &PostgresOptions,
) -> Result<PgPool, CatalogError> {
    let connect = prepared(address, password, options, true).await?;
    let pool = PgPoolOptions::new().max_connections(2).acquire_timeout(options.acquire_timeout());
    Ok(pool.connect_lazy_with(connect))
}

/// For whoever copies a catalog: a failure as the catalog's error.
pub(super) fn told(error: sqlx::Error) -> CatalogError {
    Failed::from(error).into()
}

/// For whoever copies a catalog: the words of an image, as the text of a tsvector.
pub(super) fn words_of(name: &str, camera: Option<&str>) -> String {
    words::vector(name, camera)
}

/// Sees to it that the database can be used, and has the tables as this version knows them. The error says what is wrong.
async fn prepare(
    connect: &PgConnectOptions,
    options: &PostgresOptions,
    may_be_unfinished: bool,
) -> Result<(), String> {
    let mut connection = wait_for(connect, options.start_patience()).await?;
    let asked = "SELECT current_setting('server_version_num')::int AS version, current_setting('server_encoding') AS encoding,
        to_regclass('catalog_copy_unfinished') IS NOT NULL AS is_unfinished";
    let row = sqlx::query(asked).fetch_one(&mut connection).await;
    let found = row.and_then(|row| {
        let version: i32 = row.try_get("version")?;
        Ok((version, row.try_get::<String, _>("encoding")?, row.try_get("is_unfinished")?))
    });
    let (version, encoding, is_unfinished) = found.map_err(|error| error.to_string())?;
    if is_unfinished && !may_be_unfinished {
        let reason = "a copy into it was interrupted; finish that with image-search catalog copy";
        return Err(reason.to_owned());
    }
    if version < VERSION_MIN {
        return Err(format!("it is PostgreSQL {}; 13 or a later one is needed", version / 10_000));
    }
    if encoding != "UTF8" {
        return Err(format!(
            "its encoding is {encoding}, and names of pictures are UTF-8; make the database with ENCODING 'UTF8'"
        ));
    }
    let _ = connection.close().await;
    // Without the time limits of other connections: bringing a large library up to date may take minutes.
    let alone = PgPoolOptions::new().max_connections(1).connect_lazy_with(connect.clone());
    tell_of_migrations(&alone).await;
    let migrated = MIGRATIONS.run(&alone).await;
    alone.close().await;
    migrated.map_err(|error| match is_ahead(&error) {
        Some(step) => format!(
            "a later version of image-search has changed its tables (step {step}), which this one does not know; use that version"
        ),
        None => format!("its tables are not those of this version of image-search ({error})"),
    })
}

/// Connects to a database that may still be starting.
async fn wait_for(connect: &PgConnectOptions, patience: Duration) -> Result<PgConnection, String> {
    let began = Instant::now();
    let mut is_told = false;
    loop {
        let error = match PgConnection::connect_with(connect).await {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        let words = error.to_string();
        let is_away = match Failed::from(error) {
            Failed::Conflict(_) => true,
            Failed::Final(error) => error.is_transient() && !failure::is_refusal(&words),
        };
        if !is_away || began.elapsed() >= patience {
            return Err(words);
        }
        if !is_told {
            tracing::warn!(
                error = words,
                "the database of the catalog is not up yet; waiting for it"
            );
            is_told = true;
        }
        tokio::time::sleep(START_PAUSE).await;
    }
}

#[async_trait]
impl Catalog for PostgresCatalog {
    async fn health(&self) -> Result<(), CatalogError> {
        self.connections.health().await
    }

    async fn close(&self) {
        self.listener.stop();
        self.connections.close().await;
    }

    fn hints(&self) -> Option<Hints> {
        Some(self.listener.hints())
    }

    async fn announce(&self, hint: Hint) -> Result<(), CatalogError> {
        let tell = sqlx::query(listener::TELL).bind(hint.as_str());
        self.connections.execute(tell).await.map(drop)
    }
}
