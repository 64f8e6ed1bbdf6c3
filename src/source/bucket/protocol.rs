//! The seam between a bucket and the kind of its store: how requests are signed, lists asked for and read, and what errors mean.
//! Implementations: `s3` (also Google's) and `azure`. Everything else about a bucket is the same for all.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName};

use super::fault::Fault;
use super::request::{Base, Request};
use crate::types::Fingerprint;

/// What one kind of store understands and says, for one bucket.
#[async_trait]
pub(super) trait Protocol: Send + Sync {
    fn base(&self) -> &Base;

    /// The store's address, for messages.
    fn endpoint(&self) -> &str;

    fn words(&self) -> &'static Words;

    /// What is to be sent beside the request, whose path this is as it is sent.
    async fn sign(&self, request: &Request<'_>, path: &str) -> Result<Signed, Fault>;

    /// What an answer means that is no success. Answers to HEAD have no body.
    fn fault(&self, status: StatusCode, headers: &HeaderMap, body: &str) -> Fault;

    /// What asks for a page of at most so many objects whose keys begin with `prefix`.
    fn list_query(&self, prefix: &str, from: &Begin, keys_max: usize) -> Vec<(String, String)>;

    /// Reads the answer; the error says why it is no list.
    fn page(&self, answer: &str) -> Result<Page, String>;

    /// The order in which it lists.
    fn order(&self) -> Order;

    /// The condition of a PUT that there is no such object yet.
    fn if_absent(&self) -> (HeaderName, String);

    /// Why no object can have this key, or not under this name.
    fn refuses_key(&self, _key: &str) -> Option<&'static str> {
        None
    }

    /// Whether these headers are of a folder, which is no object.
    fn is_folder(&self, _headers: &HeaderMap) -> bool {
        false
    }

    /// An address at which anyone can read this object for so many seconds. The error says why there is none.
    async fn presigned(&self, key: &str, lifetime_s: u64) -> Result<String, String>;
}

/// What people know the store's permissions and keys of configuration by.
pub(super) struct Words {
    pub(super) endpoint_key: &'static str,
    pub(super) list: &'static str,
    pub(super) list_and_read: &'static str,
    pub(super) put: &'static str,
    pub(super) delete: &'static str,
}

/// What a signature adds to a request.
#[derive(Default)]
pub(super) struct Signed {
    pub(super) headers: Vec<(&'static str, String)>,
    /// Behind the query; empty, or escaped. It is a secret.
    pub(super) query: String,
}

/// Where a page of a list begins.
#[derive(Debug, Clone)]
pub(super) enum Begin {
    Start,
    /// Behind this key. A store that cannot begins earlier.
    After(String),
    /// Behind all keys of this folder, which ends with a slash. A store may list some of them again.
    Behind(String),
    /// Where the page before said.
    Token(String),
}

/// The order in which a store lists keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Of their bytes in UTF-8, which is that of names.
    Bytes,
    /// Of their units in UTF-16 (so that U+1F600 comes before U+FF01) or, where pages say that folders are real, of paths (so that
    /// `a/b` comes before `a-b`).
    Azures,
}

/// A page of a list.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) objects: Vec<Object>,
    /// Where the next page begins, if there is one.
    pub(super) next: Option<String>,
    /// Folders are things of their own, and listed with what is in them at once.
    pub(super) has_real_folders: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) key: String,
    pub(super) fingerprint: Fingerprint,
}

/// The limits of `source.s3` or `source.azure`.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub(super) requests_max: usize,
    pub(super) page_keys: usize,
    /// Names that wait for their turn when a list comes in another order.
    pub(super) reordered_max: usize,
    pub(super) connect_timeout: Duration,
    pub(super) timeout: Duration,
    pub(super) retry_for: Duration,
    /// If browsers are sent to the bucket: how long an address works.
    pub(super) presigned_lifetime_s: Option<u64>,
}

/// What tells one version of an object from another; a store without etags leaves the time.
pub(super) fn version(etag: &str, modified_ms: i64) -> String {
    let etag = etag.trim_matches('"');
    if etag.is_empty() { modified_ms.to_string() } else { etag.to_owned() }
}

/// Whole seconds: some stores list fractions, and no header has them.
pub(super) fn http_date_ms(text: &str) -> Option<i64> {
    let time = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(time.timestamp().as_second() * 1000)
}
