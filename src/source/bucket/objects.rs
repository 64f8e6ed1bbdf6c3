//! A place in a bucket for what this program makes itself (thumbnails): objects below a prefix are put, got, deleted and listed.
//! Every call has a time limit, and what goes wrong is one sentence, since nobody but a person can do something about it.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;

use super::BucketAddress;
use super::client::{Client, read};
use super::fault::Fault;
use super::listing::page;
use super::protocol::{Begin, Page, Words};
use super::request::{ClientError, Request};
use crate::config::SourceConfig;

/// Keys of ours, and where the list goes on, if it does.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ObjectsPage {
    pub keys: Vec<String>,
    pub next: Option<String>,
}

/// What is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{location}: {reason}")]
pub struct ObjectsError {
    location: String,
    reason: String,
}

pub struct Objects {
    client: Client,
    /// Empty, or with a slash at its end.
    prefix: String,
    location: String,
}

impl Objects {
    /// Asks nobody yet: the bucket need not be there.
    pub(in crate::source) fn new(
        address: &BucketAddress,
        settings: &SourceConfig,
    ) -> Result<Self, ClientError> {
        let client = address.client(settings)?;
        Ok(Self { client, prefix: address.prefix.clone(), location: address.to_text() })
    }

    /// For messages.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// `None` if there is no such object.
    pub async fn get(
        &self,
        key: &str,
        bytes_max: usize,
        within: Duration,
    ) -> Result<Option<Vec<u8>>, ObjectsError> {
        let key = format!("{}{key}", self.prefix);
        let get = request(Method::GET, &key, within);
        let got = async {
            match self.client.send(&get).await {
                Ok(response) => read(response, bytes_max, within).await.map(Some),
                Err(Fault::NotFound) => Ok(None),
                Err(fault) => Err(fault),
            }
        };
        self.timed(within, self.words().list_and_read, got).await
    }

    /// Overwrites what is there.
    pub async fn put(
        &self,
        key: &str,
        bytes: Arc<[u8]>,
        media_type: &str,
        within: Duration,
    ) -> Result<(), ObjectsError> {
        let key = format!("{}{key}", self.prefix);
        let put = request(Method::PUT, &key, within);
        let put = put.with_header(CONTENT_TYPE, media_type.to_owned());
        let put = Request { body: Some(bytes), ..put };
        let sent = async { self.client.send(&put).await.map(drop) };
        self.timed(within, self.words().put, sent).await
    }

    /// To delete what is not there is no error.
    pub async fn delete(&self, key: &str, within: Duration) -> Result<(), ObjectsError> {
        let key = format!("{}{key}", self.prefix);
        let delete = request(Method::DELETE, &key, within);
        let sent = async {
            match self.client.send(&delete).await {
                Ok(_) | Err(Fault::NotFound) => Ok(()),
                Err(fault) => Err(fault),
            }
        };
        self.timed(within, self.words().delete, sent).await
    }

    /// A page of the keys there are, in order; `from` is where the page before said that it goes on.
    pub async fn list(
        &self,
        from: Option<&str>,
        within: Duration,
    ) -> Result<ObjectsPage, ObjectsError> {
        let begin = from.map_or(Begin::Start, |token| Begin::Token(token.to_owned()));
        let keys_max = self.client.limits().page_keys;
        let listed = page(&self.client, &self.prefix, &begin, keys_max, Some(within));
        let Page { objects, next, .. } = self.timed(within, self.words().list, listed).await?;
        let keys =
            objects.iter().filter_map(|object| object.key.strip_prefix(self.prefix.as_str()));
        Ok(ObjectsPage { keys: keys.map(str::to_owned).collect(), next })
    }

    fn words(&self) -> &'static Words {
        self.client.protocol().words()
    }

    async fn timed<T>(
        &self,
        within: Duration,
        permission: &str,
        asking: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, ObjectsError> {
        let failed = |reason: String| ObjectsError { location: self.location.clone(), reason };
        match tokio::time::timeout(within, asking).await {
            Ok(answered) => answered.map_err(|fault| failed(fault.in_words("that", permission))),
            Err(_) => {
                let reason = format!("no answer within {} ms", within.as_millis());
                Err(failed(reason))
            }
        }
    }
}

fn request(method: Method, key: &str, within: Duration) -> Request<'_> {
    Request { retry_for: Some(within), ..Request::new(method, Some(key)) }
}
