//! A bucket of pictures, or what lies below a prefix of one: of Amazon S3 and whatever speaks its protocol (MinIO, Garage, Ceph,
//! Cloudflare R2), of Google Cloud Storage, or a container of Azure Blob Storage.
//!
//! `protocol` is the seam to the kind of store; `s3` and `azure` implement it. All the rest is the same for all: `client` makes
//! the few requests that this takes, `listing` lists (in our order: `order`), `reading` reads, `objects` keeps what we make
//! ourselves, `fault` knows what goes wrong. Why no library of stores: docs/decisions/0024.

mod azure;
mod client;
mod fault;
mod lent;
mod listing;
mod objects;
mod order;
mod protocol;
mod reading;
mod request;
mod s3;
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

use self::azure::Azure;
use self::client::Client;
use self::fault::Fault;
pub use self::objects::{Objects, ObjectsError, ObjectsPage};
use self::protocol::{Limits, Protocol};
use self::reading::OpenObject;
pub use self::request::ClientError;
use self::request::Request;
use self::s3::S3;
use super::{Heeded, Hints, Identity, Listing, Opened, Source, SourceError};
use crate::config::SourceConfig;
use crate::types::{Fingerprint, ImageName, Scope};

/// Longest key in bytes.
const KEY_BYTES_MAX: usize = 1024;
/// Hints that wait to be followed; when there are more, everything is looked at.
const HINTS_WAITING_MAX: usize = 4096;

/// The kinds of store, each with a scheme of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    S3,
    Google,
    Azure,
}

impl Store {
    pub(super) fn of_scheme(scheme: &str) -> Option<Self> {
        [Self::S3, Self::Google, Self::Azure].into_iter().find(|store| store.scheme() == scheme)
    }

    fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Google => "gs",
            Self::Azure => "az",
        }
    }

    fn is_bucket_name(self, name: &str) -> bool {
        let (longest, others) = match self {
            Self::S3 | Self::Google => (255, "-_."),
            Self::Azure => (63, "-"),
        };
        let is_character = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
        (3..=longest).contains(&name.len()) && name.chars().all(is_character)
    }
}

/// What an address `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketAddress {
    store: Store,
    bucket: String,
    /// Empty, or with a slash at its end.
    prefix: String,
}

/// See the head of this file.
pub struct BucketSource {
    bucket: Arc<Bucket>,
    id: String,
    hints: broadcast::Sender<Scope>,
}

struct Bucket {
    client: Arc<Client>,
    address: BucketAddress,
    /// In front of every key: that of the address.
    prefix: String,
    /// `@name/` in front of every image name of a further source; empty for the first.
    names: String,
    ignore: GlobSet,
    images_max: usize,
}

impl BucketAddress {
    /// `rest`: what stands behind `://`. The error says what is wrong, and repeats nothing that may be a secret.
    pub(super) fn parse(store: Store, rest: &str) -> Result<Self, &'static str> {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.contains(['@', ':']) {
            return Err(match store {
                Store::S3 | Store::Google => {
                    "it has credentials or a port in it; credentials come from the environment or a profile, and source.s3.endpoint says where the store is"
                }
                Store::Azure => {
                    "it has credentials or a port in it; credentials come from the environment, and source.azure.endpoint says where the store is"
                }
            });
        }
        if !store.is_bucket_name(bucket) {
            return Err(match store {
                Store::S3 | Store::Google => {
                    "that cannot be the name of a bucket; write s3://bucket or s3://bucket/prefix"
                }
                Store::Azure => {
                    "that cannot be the name of a container; write az://container or az://container/prefix"
                }
            });
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

    /// Whether requests are signed. What cannot be is only read.
    pub(super) fn is_anonymous(&self, settings: &SourceConfig) -> bool {
        match self.store {
            Store::S3 | Store::Google => settings.s3.anonymous,
            Store::Azure => settings.azure.anonymous,
        }
    }

    /// Asks nobody yet.
    fn client(&self, settings: &SourceConfig) -> Result<Client, ClientError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let bucket = self.bucket.as_str();
        let (protocol, limits): (Box<dyn Protocol>, Limits) = match self.store {
            Store::S3 => (
                Box::new(S3::of_amazon(bucket, &settings.s3, &variable)?),
                s3::limits(&settings.s3),
            ),
            Store::Google => (
                Box::new(S3::of_google(bucket, &settings.s3, &variable)?),
                s3::limits(&settings.s3),
            ),
            Store::Azure => {
                let azure = Azure::new(bucket, &settings.azure, &variable)?;
                let limits = azure.limits(&settings.azure);
                (Box::new(azure), limits)
            }
        };
        Client::new(protocol, bucket, limits)
    }

    fn to_text(&self) -> String {
        let Self { store, bucket, prefix } = self;
        format!("{}://{bucket}/{prefix}", store.scheme()).trim_end_matches('/').to_owned()
    }
}

impl BucketSource {
    /// Asks nobody yet: the bucket need not be there.
    pub(super) fn new(
        address: BucketAddress,
        names: String,
        ignore: GlobSet,
        images_max: usize,
        settings: &SourceConfig,
    ) -> Result<Self, ClientError> {
        let client = address.client(settings)?;
        Ok(Self::over(client, address, names, ignore, images_max))
    }

    fn over(
        client: Client,
        address: BucketAddress,
        names: String,
        ignore: GlobSet,
        images_max: usize,
    ) -> Self {
        let (client, id, prefix) = (Arc::new(client), address.to_text(), address.prefix.clone());
        let bucket = Arc::new(Bucket { client, address, prefix, names, ignore, images_max });
        Self { bucket, id, hints: broadcast::Sender::new(HINTS_WAITING_MAX) }
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

    /// What a fault means for the whole source, when it was listed.
    fn of_source(&self, fault: Fault) -> SourceError {
        fault.of_source(self.location(), self.client.protocol().words().list_and_read)
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
impl Source for BucketSource {
    fn id(&self) -> &str {
        &self.id
    }

    fn location(&self) -> String {
        self.bucket.location()
    }

    /// A bucket has no number of its own: what it is, is where it is. An emptied one is noticed by what it lists.
    async fn identity(&self) -> Result<Identity, SourceError> {
        let probed = listing::probe(&self.bucket).await;
        probed.map_err(|fault| self.bucket.of_source(fault))?;
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
            Some(key) => self.bucket.client.protocol().refuses_key(&key).map_or(Ok(()), refused),
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
        let (condition, value) = self.bucket.client.protocol().if_absent();
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
        self.bucket.client.presigned(&self.bucket.key_of(name)?).await
    }

    fn presigned_origin(&self) -> Option<String> {
        let gives_away = self.bucket.client.limits().presigned_lifetime_s.is_some();
        gives_away.then(|| self.bucket.client.protocol().base().origin().to_owned())
    }
}

impl BucketSource {
    /// Who may not write may still read; only what concerns the bucket as a whole makes it away.
    async fn fault_of_writing(&self, fault: Fault) -> Fault {
        match fault {
            Fault::Denied(_) => fault,
            fault => self.fault_of(fault).await,
        }
    }
}
