//! The steps of the schema, out of `migrations/postgres`. They run under an advisory lock, so that of several processes that
//! start together one makes the tables and the others wait for it.

use std::sync::LazyLock;

use rust_embed::RustEmbed;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr};

#[derive(RustEmbed)]
#[folder = "migrations/postgres"]
struct Files;

pub(super) static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    Migrator::with_migrations(Files::iter().filter_map(|name| migration(&name)).collect())
});

/// The file `0003_some_words.sql`. A test says that every file is named so and is a text.
fn migration(name: &str) -> Option<Migration> {
    let (version, words) = name.strip_suffix(".sql")?.split_once('_')?;
    let sql = String::from_utf8(Files::get(name)?.data.into_owned()).ok()?;
    Some(Migration::new(
        version.parse().ok()?,
        words.replace('_', " ").into(),
        MigrationType::Simple,
        AssertSqlSafe(sql).into_sql_str(),
        false,
    ))
}
