//! The steps of the schema, out of `migrations/postgres`. They run under an advisory lock, so that of several processes that
//! start together one makes the tables and the others wait for it.

use std::sync::LazyLock;

use rust_embed::RustEmbed;
use sqlx::Row;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgPool;

use crate::catalog::migrations::{migrator, newest_step};

#[derive(RustEmbed)]
#[folder = "migrations/postgres"]
struct Files;

pub(super) static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(migrator::<Files>);

/// Says what a start waits for, if it has to wait. Tables that are just being made have nothing to migrate.
pub(super) async fn tell_of_migrations(pool: &PgPool) {
    let asked = sqlx::query("SELECT max(version) AS step FROM _sqlx_migrations");
    let applied = asked.fetch_one(pool).await.and_then(|row| row.try_get::<i64, _>("step"));
    let newest = newest_step(&MIGRATIONS);
    if let Ok(applied) = applied
        && applied < newest
    {
        tracing::info!(from = applied, to = newest, "bringing the catalog's tables up to date");
    }
}

/// The step that this version does not know, if that is what is wrong.
pub(super) fn is_ahead(error: &MigrateError) -> Option<i64> {
    match error {
        MigrateError::VersionMissing(step) if *step > newest_step(&MIGRATIONS) => Some(*step),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::migrations::assert_whole;

    #[test]
    fn every_file_is_a_migration_and_no_number_is_missing() {
        assert_whole::<Files>(&MIGRATIONS);
    }
}
