//! From the configuration to a catalog: `sqlite` (a file in the data folder), `sqlite:FILE`, or `postgres://user@host/database`.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::postgres::PostgresCatalog;
use super::sqlite::{SqliteCatalog, SqliteOptions};
use super::{Catalog, CatalogError, postgres, sqlite};
use crate::config::{Config, Secret, is_postgres};

const SQLITE: &str = "sqlite";
/// In the data folder: the name under which leases are held, from one start to the next.
const HOLDER_FILE: &str = "instance";

/// Opens the configured catalog, making it if it is not there yet.
pub async fn open(config: &Config) -> Result<Arc<dyn Catalog>, CatalogError> {
    let url = &config.catalog.url;
    if is_postgres(url) {
        let (password, options) = (password(config)?, &config.catalog.postgres);
        let holder = instance(&config.data_dir);
        let catalog = PostgresCatalog::open(url, password.as_ref(), holder, options).await?;
        return Ok(Arc::new(catalog));
    }
    let options = SqliteOptions {
        holder: instance(&config.data_dir),
        disk_reserve_mib: config.catalog.disk_reserve_mib,
        lock_wait_ms: config.catalog.lock_wait_ms,
    };
    Ok(Arc::new(SqliteCatalog::open(&file(config)?, options).await?))
}

/// Brings the tables to this version's, making them if there are none. Returns the number of their last step.
pub async fn migrate(config: &Config) -> Result<i64, CatalogError> {
    if is_postgres(&config.catalog.url) {
        let (password, options) = (password(config)?, &config.catalog.postgres);
        return postgres::migrate(&config.catalog.url, password.as_ref(), options).await;
    }
    open(config).await?.close().await;
    Ok(sqlite::last_step())
}

/// Whether there is a catalog already; commands that only look make none. A database is taken to have one.
pub fn exists(config: &Config) -> Result<bool, CatalogError> {
    Ok(is_postgres(&config.catalog.url) || file(config)?.is_file())
}

/// Where the catalog is, or will be, if it is a file.
pub fn file(config: &Config) -> Result<PathBuf, CatalogError> {
    match config.catalog.url.split_once(':') {
        _ if is_postgres(&config.catalog.url) => {
            Err(CatalogError::NotAFile(config.catalog.url.clone()))
        }
        None if config.catalog.url == SQLITE => Ok(config.data_dir.join("catalog.db")),
        Some((SQLITE, file)) if !file.is_empty() => Ok(file.into()),
        _ => Err(CatalogError::Address(config.catalog.url.clone())),
    }
}

/// The configured password for the database.
pub fn password(config: &Config) -> Result<Option<Secret>, CatalogError> {
    config.catalog.password().map_err(|error| CatalogError::Database {
        address: config.catalog.url.clone(),
        reason: error.to_string(),
    })
}

/// The data folder's name among the processes that share a catalog, under which leases are held. Without one that lasts, what a crash leaves leased is free only
/// when the lease runs out.
pub fn instance(data_dir: &Path) -> String {
    let path = data_dir.join(HOLDER_FILE);
    let named = std::fs::read_to_string(&path).map(|text| text.trim().to_owned());
    if let Some(name) = named.ok().filter(|name| !name.is_empty()) {
        return name;
    }
    let name = uuid::Uuid::new_v4().to_string();
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path);
    if let Err(error) = file.and_then(|mut file| file.write_all(format!("{name}\n").as_bytes())) {
        tracing::warn!(path = %path.display(), %error, "cannot note the name of this data folder");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_folder_keeps_its_name() {
        let (one, other) = (tempfile::tempdir().expect("temp"), tempfile::tempdir().expect("temp"));
        assert_eq!(instance(one.path()), instance(one.path()));
        assert_ne!(instance(one.path()), instance(other.path()));
    }
}
