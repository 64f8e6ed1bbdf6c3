//! What can go wrong in the catalog, sorted by what there is to do about it: wait, free some space, or look closer.

/// Why the catalog did not do what was asked. Nothing of a write that failed is kept.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error(
        "{0:?} is no address of a catalog; \"sqlite\" (in the data folder), \"sqlite:FILE\" and \"postgres://user@host/database\" are"
    )]
    Address(String),
    #[error(
        "the address of the catalog holds a password; leave that out and use catalog.password_file, PGPASSWORD or ~/.pgpass"
    )]
    Password,
    #[error(
        "cannot use {address} as the catalog: {reason}; check that the database is up and that its user may connect and make tables"
    )]
    Database { address: String, reason: String },
    /// What was asked for reads or copies a file, and the catalog is none.
    #[error(
        "the catalog is in PostgreSQL ({0}), and this works on a file; use pg_dump for a backup, or image-search catalog copy"
    )]
    NotAFile(String),
    #[error(
        "cannot open the catalog {path}: {reason}; check that the folder exists and is writable, or choose another --data-dir"
    )]
    Open { path: String, reason: String },
    /// The database was written by a newer program.
    #[error(
        "the catalog {path} was written by another version of image-search ({reason}); use that version, or another --data-dir"
    )]
    Schema {
        path: String,
        /// What does not fit.
        reason: String,
    },
    /// No room to write. It goes on by itself once there is.
    #[error("the catalog has no room: {0}; free some space on that disk")]
    StorageFull(String),
    /// The disk or the file may not be written to. It goes on by itself once it may.
    #[error(
        "the catalog may not be written to: {0}; make the data folder writable for the user who runs image-search"
    )]
    ReadOnly(String),
    /// Somebody else has it locked, or it is away. Worth trying again.
    #[error("the catalog is unavailable: {0}")]
    Unavailable(String),
    /// A worker's model is not, or no longer, the one that all index with.
    #[error("pictures are indexed with {wanted} by now, and no longer with {own}")]
    OtherModel { own: String, wanted: String },
    #[error("the catalog failed: {0}")]
    Query(String),
    /// A row holds something that this program did not write.
    #[error("the catalog holds a damaged row: {0}")]
    Damaged(String),
}

impl CatalogError {
    /// Whether the same call may succeed later: at once, or when somebody has made room.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::StorageFull(_)
                | Self::ReadOnly(_)
                | Self::Unavailable(_)
                | Self::OtherModel { .. }
        )
    }
}

/// What cannot be read out of a row.
pub(super) fn damaged(what: impl std::fmt::Display) -> CatalogError {
    CatalogError::Damaged(what.to_string())
}
