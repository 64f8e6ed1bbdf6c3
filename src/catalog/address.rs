//! From the configuration to a catalog: `sqlite` (a file in the data folder) or `sqlite:FILE`.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::sqlite::{SqliteCatalog, SqliteOptions};
use super::{Catalog, CatalogError};
use crate::config::Config;

const SQLITE: &str = "sqlite";
/// In the data folder: the name under which leases are held, from one start to the next.
const HOLDER_FILE: &str = "instance";

/// Opens the configured catalog, making it if it is not there yet.
pub async fn open(config: &Config) -> Result<Arc<dyn Catalog>, CatalogError> {
    let options = SqliteOptions {
        holder: holder(&config.data_dir),
        disk_reserve_mib: config.catalog.disk_reserve_mib,
        lock_wait_ms: config.catalog.lock_wait_ms,
    };
    Ok(Arc::new(SqliteCatalog::open(&file(config)?, options).await?))
}

/// Whether there is a catalog already; commands that only look make none.
pub fn exists(config: &Config) -> Result<bool, CatalogError> {
    Ok(file(config)?.is_file())
}

fn file(config: &Config) -> Result<PathBuf, CatalogError> {
    match config.catalog.url.split_once(':') {
        None if config.catalog.url == SQLITE => Ok(config.data_dir.join("catalog.db")),
        Some((SQLITE, file)) if !file.is_empty() => Ok(file.into()),
        _ => Err(CatalogError::Address(config.catalog.url.clone())),
    }
}

/// The data folder's name among the holders of leases. Without one that lasts, what a crash leaves leased is free only
/// when the lease runs out.
fn holder(data_dir: &Path) -> String {
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
        assert_eq!(holder(one.path()), holder(one.path()));
        assert_ne!(holder(one.path()), holder(other.path()));
    }
}
