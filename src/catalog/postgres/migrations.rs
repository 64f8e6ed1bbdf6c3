//! The steps of the schema, out of `migrations/postgres`. They run under an advisory lock, so that of several processes that
//! start together one makes the tables and the others wait for it.

use std::sync::LazyLock;

use rust_embed::RustEmbed;
use sqlx::migrate::Migrator;

use crate::catalog::migrations::migrator;

#[derive(RustEmbed)]
#[folder = "migrations/postgres"]
struct Files;

pub(super) static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(migrator::<Files>);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::migrations::assert_whole;

    #[test]
    fn every_file_is_a_migration_and_no_number_is_missing() {
        assert_whole::<Files>(&MIGRATIONS);
    }
}
