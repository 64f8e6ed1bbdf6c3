//! The seam to where pictures come from: list them, read them, and (where allowed) write and delete them.
//! Implementation: `folder`; `watcher` turns file events into hints for the reconciler.

pub mod folder;
pub mod watcher;

use async_trait::async_trait;
use tokio::io::AsyncRead;

use crate::types::{Fingerprint, ImageName, Scope};

/// A place with pictures. `image_name`s are unique over all sources.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// Stable id in the catalog.
    fn id(&self) -> &str;

    /// For messages, for example the folder's path.
    fn location(&self) -> String;

    /// What is there now, within `scope`.
    async fn list(&self, scope: &Scope) -> Result<Listing, SourceError>;

    /// Opens a picture's bytes, together with its fingerprint at that moment.
    async fn open(&self, name: &ImageName) -> Result<Opened, SourceError>;

    /// Stores a new picture; fails with [`SourceError::Exists`] rather than overwrite. Visible all at once, or not at all.
    async fn create(&self, name: &ImageName, bytes: &[u8]) -> Result<(), SourceError>;

    async fn delete(&self, name: &ImageName) -> Result<(), SourceError>;
}

/// Answer of [`Source::list`].
#[derive(Debug, Default)]
pub struct Listing {
    /// Every candidate, in no particular order.
    pub files: Vec<(ImageName, Fingerprint)>,
    /// Parts that could not be looked into; nothing below them may be taken for gone.
    pub unreadable: Vec<Unreadable>,
    /// Whether the limit of files cut the listing short; nothing may be taken for gone then.
    pub truncated: bool,
}

/// A folder or file that could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Name as far as known; `None` is the root itself.
    pub name: Option<ImageName>,
    pub reason: String,
}

pub struct Opened {
    /// Its bytes, from the start.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// Fingerprint of what was opened.
    pub fingerprint: Fingerprint,
}

/// What can go wrong in a source.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{0} is not there any more")]
    NotFound(ImageName),
    /// A picture of that name exists.
    #[error("{0} exists already")]
    Exists(ImageName),
    /// A folder, device, pipe, or a link that is not followed.
    #[error("{0} is not a regular file; symbolic links are not followed")]
    NotAFile(ImageName),
    /// The operating system refuses.
    #[error("cannot read {name}: {reason}")]
    Io {
        name: ImageName,
        reason: String,
        /// Whether it is a matter of permissions.
        denied: bool,
    },
    /// The root itself cannot be used.
    #[error(
        "cannot look into {location}: {reason}; check that the folder exists and that this user may read it"
    )]
    Root { location: String, reason: String },
}
