//! A bucket of pictures (Amazon S3 and whatever speaks its protocol: MinIO, Garage, Ceph, Cloudflare R2; Google Cloud Storage,
//! whose XML interface is that protocol in other words), or what lies below a prefix of one.
//!
//! `client` makes the few requests that this takes, `signing` signs them for whom `credentials` finds, `listing` lists, `reading`
//! reads, `objects` keeps what we make ourselves, and `fault` knows what errors mean. Why no library of stores:
//! docs/decisions/0024.

mod client;
mod credentials;
mod fault;
mod listing;
mod objects;
mod reading;
mod signing;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use globset::GlobSet;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use tokio::sync::broadcast;

pub use self::client::ClientError;
use self::client::{Client, Request};
use self::fault::Fault;
pub use self::objects::{Objects, ObjectsError, ObjectsPage};
use self::reading::OpenObject;
use self::signing::Dialect;
use super::{Heeded, Hints, Identity, Listing, Opened, Source, SourceError};
use crate::config::S3Config;
use crate::types::{Fingerprint, ImageName, Scope};

/// Longest key in bytes.
const KEY_BYTES_MAX: usize = 1024;
/// Hints that wait to be followed; when there are more, everything is looked at.
const HINTS_WAITING_MAX: usize = 4096;

/// Whose words a store understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    S3,
    Google,
}

impl Store {
    pub(super) fn of_scheme(scheme: &str) -> Option<Self> {
        [Self::S3, Self::Google].into_iter().find(|store| store.scheme() == scheme)
    }

    fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Google => "gs",
        }
    }

    fn dialect(self) -> &'static Dialect {
        match self {
            Self::S3 => &signing::AMAZON,
            Self::Google => &signing::GOOGLE,
        }
    }

    /// The configuration key that says where it is.
    fn endpoint_key(self) -> &'static str {
        match self {
            Self::S3 => "source.s3.endpoint",
            Self::Google => "source.s3.google_endpoint",
        }
    }
}

/// What an address `s3://bucket/prefix` or `gs://bucket/prefix` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Address {
    store: Store,
    bucket: String,
    /// Empty, or with a slash at its end.
    prefix: String,
}

/// See the head of this file.
pub struct S3Source {
    bucket: Arc<Bucket>,
    id: String,
    hints: broadcast::Sender<Scope>,
}

struct Bucket {
    client: Arc<Client>,
    address: S3Address,
    /// In front of every key: that of the address.
    prefix: String,
    /// `@name/` in front of every image name of a further source; empty for the first.
    names: String,
    ignore: GlobSet,
    images_max: usize,
}

impl S3Address {
    /// `rest`: what stands behind `://`. The error says what is wrong, and repeats nothing that may be a secret.
    pub(super) fn parse(store: Store, rest: &str) -> Result<Self, &'static str> {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.contains(['@', ':']) {
            return Err(
                "it has credentials or a port in it; credentials come from the environment or a profile, and source.s3.endpoint says where the store is",
            );
        }
        let is_name = bucket.len() >= 3
            && bucket.len() <= 255
            && bucket.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if !is_name {
            return Err(
                "that cannot be the name of a bucket; write s3://bucket or s3://bucket/prefix",
            );
        }
        let prefix = prefix.trim_end_matches('/');
        if !prefix.is_empty() && ImageName::new(prefix).is_err() {
            return Err("the prefix has empty, '.' or '..' parts");
        }
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self { store, bucket: bucket.to_owned(), prefix })
    }

    /// Whether something below one of the two addresses lies below the other as well, and would be found there.
    pub(super) fn overlaps(&self, sources: &Self, ignore: &GlobSet) -> bool {
        if (self.store, &self.bucket) != (sources.store, &sources.bucket) {
            return false;
        }
        match self.prefix.strip_prefix(sources.prefix.as_str()) {
            Some(relative) => ignored_part(relative, ignore).is_none(),
            None => sources.prefix.starts_with(self.prefix.as_str()),
        }
    }

    /// What its pictures are told apart by, beside other sources.
    pub(super) fn label(&self) -> &str {
        let last = self.prefix.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        if last.is_empty() { &self.bucket } else { last }
    }

    fn to_text(&self) -> String {
        let Self { store, bucket, prefix } = self;
        format!("{}://{bucket}/{prefix}", store.scheme()).trim_end_matches('/').to_owned()
    }
}

impl S3Source {
    /// Asks nobody yet: the bucket need not be there.
    pub(super) fn new(
        address: S3Address,
        names: String,
        ignore: GlobSet,
        images_max: usize,
        settings: &S3Config,
    ) -> Result<Self, ClientError> {
        let client = Arc::new(Client::new(&address, settings)?);
        let id = address.to_text();
        let prefix = address.prefix.clone();
        let bucket = Arc::new(Bucket { client, address, prefix, names, ignore, images_max });
        Ok(Self { bucket, id, hints: broadcast::Sender::new(HINTS_WAITING_MAX) })
    }

    fn key(&self, name: &ImageName) -> Result<String, SourceError> {
        self.bucket.key_of(name).ok_or_else(|| SourceError::NotFound(name.clone()))
    }

    /// A refusal of one object may be one of the whole bucket, or an answer without a body that would have said why: then the
    /// bucket is away, and the picture is not to blame.
    async fn fault_of(&self, fault: Fault) -> Fault {
        match fault {
            Fault::Denied(_) | Fault::Other(_) => match listing::probe(&self.bucket).await {
                Ok(()) | Err(Fault::Other(_)) => fault,
                Err(Fault::Denied(words)) => Fault::Refused(format!(
                    "the store refuses to list and to read it ({words}); check what these credentials may do"
                )),
                Err(of_bucket) => of_bucket,
            },
            fault => fault,
        }
    }

    fn hint(&self, name: &ImageName) {
        let _ = self.hints.send(Scope::Under(name.clone()));
    }
}

impl Bucket {
    fn location(&self) -> String {
        self.address.to_text()
    }

    /// `None` for names of other sources, and for those that are never listed.
    fn key_of(&self, name: &ImageName) -> Option<String> {
        let relative = name.as_str().strip_prefix(self.names.as_str())?;
        self.ignored_part(relative).is_none().then(|| format!("{}{relative}", self.prefix))
    }

    /// The key that such a name would have, ignored or not: only to begin behind it.
    fn key_behind(&self, name: &ImageName) -> Option<String> {
        let relative = name.as_str().strip_prefix(self.names.as_str())?;
        Some(format!("{}{relative}", self.prefix))
    }

    fn ignored_part(&self, relative: &str) -> Option<usize> {
        ignored_part(relative, &self.ignore)
    }
}

/// Where the first part ends that is hidden or matches a pattern of `ingest.ignore`, if one does.
fn ignored_part(relative: &str, ignore: &GlobSet) -> Option<usize> {
    let mut start = 0;
    for part in relative.split('/') {
        let is_hidden = part.starts_with('.') && part != "." && part != "..";
        if is_hidden || (!part.is_empty() && ignore.is_match(Path::new(part))) {
            return Some(start + part.len());
        }
        start += part.len() + 1;
    }
    None
}

#[async_trait]
impl Source for S3Source {
    fn id(&self) -> &str {
        &self.id
    }

    fn location(&self) -> String {
        self.bucket.location()
    }

    /// A bucket has no number of its own: what it is, is where it is. An emptied one is noticed by what it lists.
    async fn identity(&self) -> Result<Identity, SourceError> {
        let probed = listing::probe(&self.bucket).await;
        probed.map_err(|fault| fault.of_source(self.location()))?;
        Ok(Identity(self.bucket.client.place()))
    }

    fn list(&self, scope: &Scope, after: Option<&ImageName>) -> Listing {
        let (writer, listing) = Listing::new(self.location());
        let (bucket, scope, after) = (self.bucket.clone(), scope.clone(), after.cloned());
        tokio::task::spawn_blocking(move || listing::list(&bucket, &scope, after.as_ref(), writer));
        listing
    }

    /// What stores tell (`heed`), and what we change ourselves.
    fn hints(&self) -> Option<Hints> {
        let arrivals = stream::unfold(self.hints.subscribe(), |mut arrivals| async move {
            match arrivals.recv().await {
                Ok(scope) => {
                    let mut scopes = vec![scope];
                    // Those that came together are followed together.
                    while let Ok(scope) = arrivals.try_recv() {
                        scopes.push(scope);
                    }
                    Some((scopes, arrivals))
                }
                Err(broadcast::error::RecvError::Lagged(_)) => Some((vec![Scope::All], arrivals)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        });
        Some(stream::iter([vec![Scope::All]]).chain(arrivals).boxed())
    }

    async fn stat(&self, name: &ImageName) -> Result<Fingerprint, SourceError> {
        match reading::head(&self.bucket.client, &self.key(name)?).await {
            Ok(headers) => Ok(reading::fingerprint(&headers)),
            Err(fault) => Err(self.fault_of(fault).await.of_picture(name, self.location())),
        }
    }

    async fn open(&self, name: &ImageName) -> Result<Opened, SourceError> {
        let opened = OpenObject::open(self.bucket.client.clone(), self.key(name)?).await;
        match opened {
            Ok(object) => {
                let fingerprint = object.fingerprint_at_opening();
                Ok(Opened { reader: Box::new(object), fingerprint })
            }
            Err(fault) => Err(self.fault_of(fault).await.of_picture(name, self.location())),
        }
    }

    fn check_name(&self, name: &ImageName) -> Result<(), SourceError> {
        let refused = |reason: &str| {
            Err(SourceError::BadName { name: name.clone(), reason: reason.to_owned() })
        };
        match self.bucket.key_of(name) {
            None => refused("objects of such names are ignored here (ingest.ignore)"),
            Some(key) if key.len() > KEY_BYTES_MAX => refused("its key is longer than 1024 bytes"),
            Some(_) => Ok(()),
        }
    }

    async fn free_bytes(&self) -> Option<u64> {
        None
    }

    async fn create(&self, name: &ImageName, bytes: &[u8]) -> Result<(), SourceError> {
        self.check_name(name)?;
        let key = self.key(name)?;
        let failed = |fault: Fault| fault.of_writing(name, self.location());
        // Stores that do not know the condition below ignore it.
        match reading::head(&self.bucket.client, &key).await {
            Ok(_) => return Err(SourceError::Exists(name.clone())),
            Err(Fault::NotFound | Fault::Denied(_)) => {}
            Err(fault) => return Err(failed(fault)),
        }
        let media_type = mime_guess::from_path(name.as_str()).first_or_octet_stream();
        let put = || {
            let put = Request::new(Method::PUT, Some(&key));
            let put = put.with_header(CONTENT_TYPE, media_type.to_string());
            Request { body: Some(bytes.into()), ..put }
        };
        let (condition, value) = self.bucket.client.if_absent();
        let conditional = put().with_header(condition, value);
        let written = match self.bucket.client.send(&conditional).await {
            Err(Fault::Unsupported(_)) => self.bucket.client.send(&put()).await,
            written => written,
        };
        match written {
            Ok(_) => {
                self.hint(name);
                Ok(())
            }
            Err(fault) => Err(failed(self.fault_of_writing(fault).await)),
        }
    }

    /// Deleting what is not there is no error to a store, and one here. In a bucket with versions the older ones stay.
    async fn delete(&self, name: &ImageName) -> Result<(), SourceError> {
        let key = self.key(name)?;
        let failed = |fault: Fault| fault.of_writing(name, self.location());
        reading::head(&self.bucket.client, &key).await.map_err(failed)?;
        let deleted = self.bucket.client.send(&Request::new(Method::DELETE, Some(&key))).await;
        match deleted {
            Ok(_) => {
                self.hint(name);
                Ok(())
            }
            Err(fault) => Err(failed(self.fault_of_writing(fault).await)),
        }
    }

    fn heed(&self, bucket: &str, key: &str) -> Heeded {
        if bucket != self.bucket.address.bucket {
            return Heeded::NotMine;
        }
        let relative = key.strip_prefix(self.bucket.prefix.as_str());
        let name = relative
            .filter(|relative| self.bucket.ignored_part(relative).is_none())
            .and_then(|relative| ImageName::new(format!("{}{relative}", self.bucket.names)).ok());
        match name {
            Some(name) => {
                self.hint(&name);
                Heeded::Yes
            }
            None => Heeded::NoPicture,
        }
    }

    fn slowed_down(&self) -> Option<String> {
        let words = self.bucket.client.slowed_down()?;
        Some(format!(
            "{} asks for fewer requests ({words}); they are made more slowly",
            self.location()
        ))
    }

    async fn presigned(&self, name: &ImageName) -> Option<String> {
        let settings = self.bucket.client.settings();
        if !settings.presigned || settings.anonymous {
            return None;
        }
        self.bucket.client.presigned(&self.bucket.key_of(name)?).await
    }

    fn presigned_origin(&self) -> Option<String> {
        let settings = self.bucket.client.settings();
        let gives_away = settings.presigned && !settings.anonymous;
        gives_away.then(|| self.bucket.client.origin().to_owned())
    }
}

impl S3Source {
    /// Who may not write may still read; only what concerns the bucket as a whole makes it away.
    async fn fault_of_writing(&self, fault: Fault) -> Fault {
        match fault {
            Fault::Denied(_) => fault,
            fault => self.fault_of(fault).await,
        }
    }
}
