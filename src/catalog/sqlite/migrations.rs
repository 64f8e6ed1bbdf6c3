//! The steps of the schema, out of `migrations/sqlite`. sqlx has a macro for it, which needs all of sqlx and SQLite a second
//! time, built for the compiler: a tenth of the whole build.

use std::sync::LazyLock;

use rust_embed::RustEmbed;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr};

#[derive(RustEmbed)]
#[folder = "migrations/sqlite"]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_a_migration_and_no_number_is_missing() {
        let versions: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        assert_eq!(versions.len(), Files::iter().count());
        assert_eq!(versions, (1..=versions.len() as i64).collect::<Vec<_>>());
    }

    /// What sqlx's macro wrote into catalogs of 2026: those must still be known.
    #[test]
    fn names_and_checksums_are_those_of_catalogs_in_use() {
        let first = MIGRATIONS.iter().next().expect("a migration");
        assert_eq!((first.version, first.description.as_ref(), first.no_tx), (1, "catalog", false));
        assert_eq!(crate::types::hex(&first.checksum), FIRST_CHECKSUM);
    }

    const FIRST_CHECKSUM: &str = "1fa0ca8fb97374aa079f6e8b13dcb94552d5f54a85a9eb0dcd10fc7089320f67fe4dec34ce05a080dd7bc709ecfcef02";
}
