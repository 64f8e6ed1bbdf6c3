//! The seam to where pictures come from: list them in name order, look at one, read them, and (where allowed) write and
//! delete them. Implementations: `folder` and `bucket`; `address` finds one by its configured address, `notices` reads what stores
//! tell of changes, `presence` remembers whether a source is there, `memory` stands in for one in tests. Whatever implements
//! it passes `conformance`.

pub mod address;
pub mod bucket;
#[cfg(test)]
pub(crate) mod conformance;
mod error;
pub mod folder;
mod listing;
#[cfg(any(test, feature = "test-support"))]
pub mod memory;
pub mod notices;
pub mod presence;

use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::io::AsyncRead;

pub use self::error::SourceError;
pub use self::listing::{Listed, Listing, ListingWriter, Stopped};
use crate::types::{Fingerprint, ImageName, Scope};

/// A place with pictures. `image_name`s are unique over all sources.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// Stable id in the catalog.
    fn id(&self) -> &str;

    /// For messages, for example the folder's path.
    fn location(&self) -> String;

    /// What is at the source's place now. Another answer than before means another disk, share or folder; an error means
    /// that nothing usable is there.
    async fn identity(&self) -> Result<Identity, SourceError>;

    /// What is there within `scope` and behind the name `after`, in the order of the names' bytes.
    fn list(&self, scope: &Scope, after: Option<&ImageName>) -> Listing;

    /// Where to look because something happened, for as long as the stream is kept; `None` if this source cannot tell.
    /// [`Scope::All`] comes when listening begins or begins anew: what happens afterwards is told, what happened before is not.
    /// Hints may be late, doubled or lost; comparing everything now and then makes up for that.
    fn hints(&self) -> Option<Hints>;

    /// Whether hints tell of what anybody changes, wherever they do it. Then comparing everything only makes up for what got
    /// lost, and is done less often.
    fn hears_everything(&self) -> bool {
        false
    }

    /// Fingerprint of a picture now.
    async fn stat(&self, name: &ImageName) -> Result<Fingerprint, SourceError>;

    /// Opens a picture's bytes, together with their fingerprint at that moment.
    async fn open(&self, name: &ImageName) -> Result<Opened, SourceError>;

    /// Whether its pictures are files that programs of this machine reach.
    fn is_folder(&self) -> bool {
        false
    }

    /// Where in this machine's files a picture is that is there now; `None` if this source is no folder.
    async fn path(&self, _name: &ImageName) -> Result<Option<PathBuf>, SourceError> {
        Ok(None)
    }

    /// Fails if no picture of that name could be stored, listed and deleted here.
    fn check_name(&self, name: &ImageName) -> Result<(), SourceError>;

    /// How much room is left for pictures; `None` if nobody can tell.
    async fn free_bytes(&self) -> Option<u64>;

    /// Stores a new picture; fails with [`SourceError::Exists`] rather than overwrite. Visible all at once, or not at all.
    async fn create(&self, name: &ImageName, bytes: &[u8]) -> Result<(), SourceError>;

    async fn delete(&self, name: &ImageName) -> Result<(), SourceError>;

    /// Takes in that a store told a change of an object of that bucket, and hints at it. Whether it is this source's concern.
    fn heed(&self, _bucket: &str, _key: &str) -> Heeded {
        Heeded::NotMine
    }

    /// Why reading and listing is slower than it could be, if the other side asked for that.
    fn slowed_down(&self) -> Option<String> {
        None
    }

    /// An address that browsers may read the picture at for a while, if this source gives any away.
    async fn presigned(&self, _name: &ImageName) -> Option<String> {
        None
    }

    /// Scheme and host that such addresses begin with.
    fn presigned_origin(&self) -> Option<String> {
        None
    }
}

/// What a source makes of a change that a store told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heeded {
    /// It will be looked at.
    Yes,
    /// The bucket is, but there is no picture of that name: it lies elsewhere, is ignored, or cannot be named.
    NoPicture,
    NotMine,
}

/// Parts of a source to look at; several at a time, since changes come in bursts.
pub type Hints = BoxStream<'static, Vec<Scope>>;

/// Tells one disk, share or bucket at a source's place from another. Only compared and shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity(pub String);

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub struct Opened {
    /// The bytes, from the start.
    pub reader: Box<dyn OpenPicture>,
    /// Fingerprint of what was opened.
    pub fingerprint: Fingerprint,
}

/// An open picture.
#[async_trait]
pub trait OpenPicture: AsyncRead + Send + Unpin {
    /// Fingerprint of what is open, now: another one than at opening means that it was written to while it was read.
    async fn fingerprint(&mut self) -> Result<Fingerprint, SourceError>;

    /// Goes on at this byte without reading what lies before it; says whether it can.
    async fn jump(&mut self, _position: u64) -> std::io::Result<bool> {
        Ok(false)
    }
}
