//! The steps of a schema, out of the files of a folder. sqlx has a macro for it, which needs all of sqlx and SQLite a second
//! time, built for the compiler: a tenth of the whole build.

use rust_embed::RustEmbed;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr};

pub(super) fn migrator<Files: RustEmbed>() -> Migrator {
    Migrator::with_migrations(Files::iter().filter_map(|name| migration::<Files>(&name)).collect())
}

/// Number of the last step.
pub(super) fn newest_step(migrator: &Migrator) -> i64 {
    migrator.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// The file `0003_some_words.sql`. Tests say that every file is named so and is a text.
fn migration<Files: RustEmbed>(name: &str) -> Option<Migration> {
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

/// Whether every file is a step, and no number is missing.
#[cfg(test)]
pub(super) fn assert_whole<Files: RustEmbed>(migrator: &Migrator) {
    let versions: Vec<i64> = migrator.iter().map(|migration| migration.version).collect();
    assert_eq!(versions.len(), Files::iter().count());
    assert_eq!(versions, (1..=versions.len() as i64).collect::<Vec<_>>());
}
