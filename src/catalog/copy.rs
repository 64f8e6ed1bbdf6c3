//! The whole catalog from one database to another, through pages in the order of their keys. Who was interrupted goes on behind the
//! last row that is there; at the end every table is read again on both sides and compared. What can be made from the rest
//! (counts, words, the order of changes) is made anew, and leases end: nobody works while a catalog moves.

mod postgres;
mod sqlite;
mod tables;

use std::path::PathBuf;

use self::postgres::PostgresSide;
use self::sqlite::SqliteSide;
use self::tables::{Row, TABLES, Table};
use super::CatalogError;
use crate::config::{PostgresOptions, Secret, is_postgres};
use crate::types::now_ms;

/// Rows that are held in memory at once.
const PAGE_ROWS: u32 = 2000;
const SQLITE_PREFIX: &str = "sqlite:";

/// Why a catalog was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("both addresses are the same")]
    Same,
    #[error("there is no catalog at {0}")]
    Nothing(String),
    #[error(
        "{0} is being worked on; stop whoever uses it first (what a process that was killed held is free after ingest.lease_ms)"
    )]
    InUse(String),
    #[error(
        "{0} holds something already; copy to a file that is not there, or to an empty database"
    )]
    Occupied(String),
    #[error(
        "{target} is not what {from} is: the table {table} differs ({rows} rows here, {copied} there); was it changed meanwhile? Empty the target and copy again"
    )]
    Differs { from: String, target: String, table: &'static str, rows: u64, copied: u64 },
}

/// What both ends need to be reached.
#[derive(Debug, Clone, Copy)]
pub struct Access<'a> {
    pub password: Option<&'a Secret>,
    pub options: &'a PostgresOptions,
}

/// One table that was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedTable {
    pub name: &'static str,
    pub rows: u64,
    /// Of all its rows.
    pub checksum: String,
}

/// Told after each page: the table, and how many rows of it are there by now.
pub type Progress<'a> = &'a mut (dyn FnMut(&'static str, u64) + Send);

/// One end.
enum Side {
    Sqlite(SqliteSide),
    Postgres(PostgresSide),
}

/// Does the same on either side.
macro_rules! on {
    ($side:expr, $inner:ident => $call:expr) => {
        match $side {
            Side::Sqlite($inner) => $call,
            Side::Postgres($inner) => $call,
        }
    };
}

/// Copies everything, and compares both at the end.
pub async fn copy(
    from_address: &str,
    to_address: &str,
    access: Access<'_>,
    progress: Progress<'_>,
) -> Result<Vec<CopiedTable>, CopyError> {
    if from_address == to_address {
        return Err(CopyError::Same);
    }
    let from = match file(from_address)? {
        Some(file) if !file.is_file() => return Err(CopyError::Nothing(from_address.to_owned())),
        Some(file) => Side::Sqlite(SqliteSide::source(&file).await?),
        None => Side::Postgres(PostgresSide::open(from_address, access).await?),
    };
    if on!(&from, side => side.is_worked_on(now_ms()).await)? {
        return Err(CopyError::InUse(from_address.to_owned()));
    }
    let installation = on!(&from, side => side.installation().await)?;
    let to = match file(to_address)? {
        Some(file) if file.exists() => return Err(CopyError::Occupied(to_address.to_owned())),
        Some(file) => Side::Sqlite(SqliteSide::target(&file).await?),
        None => Side::Postgres(PostgresSide::open(to_address, access).await?),
    };
    if !on!(&to, side => side.begin(&installation).await)? {
        return Err(CopyError::Occupied(to_address.to_owned()));
    }
    for table in TABLES {
        copy_table(&from, &to, table, progress).await?;
    }
    let mut copied = Vec::with_capacity(TABLES.len());
    for table in TABLES {
        let (rows, checksum) = digest(&from, table).await?;
        let (there, copied_checksum) = digest(&to, table).await?;
        if (rows, checksum) != (there, copied_checksum) {
            return Err(CopyError::Differs {
                from: from_address.to_owned(),
                target: to_address.to_owned(),
                table: table.name,
                rows,
                copied: there,
            });
        }
        copied.push(CopiedTable {
            name: table.name,
            rows,
            checksum: checksum.to_hex().to_string(),
        });
    }
    on!(to, side => side.finish().await)?;
    on!(from, side => side.close().await);
    Ok(copied)
}

/// The file of an address; `None` for a database.
fn file(address: &str) -> Result<Option<PathBuf>, CatalogError> {
    if is_postgres(address) {
        return Ok(None);
    }
    match address.strip_prefix(SQLITE_PREFIX) {
        Some(file) if !file.is_empty() => Ok(Some(file.into())),
        _ => Err(CatalogError::Address(address.to_owned())),
    }
}

async fn copy_table(
    from: &Side,
    to: &Side,
    table: &'static Table,
    progress: Progress<'_>,
) -> Result<(), CatalogError> {
    let (mut after, mut rows) = on!(to, side => side.last(table).await)?;
    loop {
        let page: Vec<Row> = on!(from, side => side.page(table, after.as_ref(), PAGE_ROWS).await)?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(table.key_of(last));
        on!(to, side => side.put(table, &page).await)?;
        rows += page.len() as u64;
        progress(table.name, rows);
        if table.is_one_row() {
            return Ok(());
        }
    }
}

/// How many rows there are, and a checksum of all of them in the order of their keys.
async fn digest(side: &Side, table: &Table) -> Result<(u64, blake3::Hash), CatalogError> {
    let (mut rows, mut after, mut hasher) = (0, None, blake3::Hasher::new());
    loop {
        let page: Vec<Row> = on!(side, side => side.page(table, after.as_ref(), PAGE_ROWS).await)?;
        let Some(last) = page.last() else { break };
        after = Some(table.key_of(last));
        for row in &page {
            for value in row {
                value.digest(&mut hasher);
            }
        }
        rows += page.len() as u64;
        if table.is_one_row() {
            break;
        }
    }
    Ok((rows, hasher.finalize()))
}

#[cfg(test)]
mod tests;
