//! Rows of leases, whatever is held under them: images that are worked on, or vectors that are being deleted.

use super::statements;
use super::writer::Write;
use crate::catalog::CatalogError;

statements! {
    NOTE_LEASE = "INSERT INTO leases (token, holder, until_ms) VALUES (?1, ?2, ?3)
        ON CONFLICT (token) DO UPDATE SET until_ms = ?3";
    END_LEASE = "DELETE FROM leases WHERE token = ?1";
    END_EMPTY_LEASE = "DELETE FROM leases WHERE token = ?1 AND NOT EXISTS (SELECT 1 FROM images WHERE lease_token = ?1)";
}

pub(super) async fn note_lease(
    write: &mut Write<'_>,
    token: &str,
    holder: &str,
    until_ms: i64,
) -> Result<(), CatalogError> {
    let lease = sqlx::query(NOTE_LEASE).bind(token).bind(holder).bind(until_ms);
    write.execute(lease).await.map(drop)
}

pub(super) async fn end_lease(write: &mut Write<'_>, token: &str) -> Result<(), CatalogError> {
    write.execute(sqlx::query(END_LEASE).bind(token)).await.map(drop)
}

/// A lease lasts as long as it holds something.
pub(super) async fn end_empty_lease(
    write: &mut Write<'_>,
    token: &str,
) -> Result<(), CatalogError> {
    write.execute(sqlx::query(END_EMPTY_LEASE).bind(token)).await.map(drop)
}
