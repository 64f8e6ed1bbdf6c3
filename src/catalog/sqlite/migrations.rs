//! The steps of the schema, out of `migrations/sqlite`.

use std::sync::LazyLock;

use rust_embed::RustEmbed;
use sqlx::migrate::Migrator;

use crate::catalog::migrations::migrator;

#[derive(RustEmbed)]
#[folder = "migrations/sqlite"]
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

    /// What sqlx's macro wrote into catalogs of 2026: those must still be known.
    #[test]
    fn names_and_checksums_are_those_of_catalogs_in_use() {
        let first = MIGRATIONS.iter().next().expect("a migration");
        assert_eq!((first.version, first.description.as_ref(), first.no_tx), (1, "catalog", false));
        assert_eq!(crate::types::hex(&first.checksum), FIRST_CHECKSUM);
    }

    const FIRST_CHECKSUM: &str = "1fa0ca8fb97374aa079f6e8b13dcb94552d5f54a85a9eb0dcd10fc7089320f67fe4dec34ce05a080dd7bc709ecfcef02";
}
