//! One request to a bucket, and where it goes: the address of the bucket, and the escaping that all stores and their signatures agree on.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::HeaderName;
use reqwest::{Method, Url};

/// Everything is escaped but these and, in paths, the slash.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const ESCAPED_IN_PATHS: &AsciiSet = &ESCAPED.remove(b'/');

/// Why there is no client for a bucket.
#[derive(Debug, thiserror::Error)]
#[error("no requests can be made: {0}")]
pub struct ClientError(pub(super) String);

/// One request, as it is tried again and again.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    /// `None`: the bucket itself.
    pub(super) key: Option<&'a str>,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) body: Option<Arc<[u8]>>,
    /// How long it is tried again at most, if not as long as the configuration says.
    pub(super) retry_for: Option<Duration>,
}

impl<'a> Request<'a> {
    pub(super) fn new(method: Method, key: Option<&'a str>) -> Self {
        Self { method, key, query: Vec::new(), headers: Vec::new(), body: None, retry_for: None }
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// Where a bucket is.
pub(super) struct Base {
    /// Scheme and host.
    origin: String,
    /// What stands before every key: nothing, or names that begin with a slash.
    path: String,
}

impl Base {
    /// The bucket's name stands in the path of the endpoint, or in front of its host.
    pub(super) fn new(endpoint: &str, bucket: &str, in_path: bool) -> Result<Self, ClientError> {
        let (scheme, rest) = endpoint.split_once("://").ok_or_else(|| {
            ClientError(format!("{endpoint} is no address; it begins with https:// or http://"))
        })?;
        let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        Ok(if in_path {
            Self { origin: format!("{scheme}://{host}"), path: format!("{path}/{bucket}") }
        } else {
            Self { origin: format!("{scheme}://{bucket}.{host}"), path: path.to_owned() }
        })
    }

    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    pub(super) fn host(&self) -> &str {
        self.origin.split_once("://").map_or("", |(_, host)| host)
    }

    /// Escaped, as it is sent and signed.
    pub(super) fn path(&self, key: Option<&str>) -> String {
        let key = utf8_percent_encode(key.unwrap_or_default(), ESCAPED_IN_PATHS).to_string();
        match (self.path.as_str(), key.as_str()) {
            // Some stores take a slash behind the bucket's name for an object.
            (base, "") if !base.is_empty() => base.to_owned(),
            (base, key) => format!("{base}/{key}"),
        }
    }
}

/// As requests will name the host: in lower case, without the port that the scheme has anyway.
pub(super) fn normal_endpoint(endpoint: &str) -> Result<String, ClientError> {
    let wrong = |what: &str| ClientError(format!("the endpoint of the store {what}"));
    let url = Url::parse(endpoint).map_err(|error| wrong(&format!("is no address: {error}")))?;
    if !matches!(url.scheme(), "https" | "http") || !url.username().is_empty() {
        return Err(wrong("does not begin with https:// or http://, or has credentials in it"));
    }
    Ok(format!("{}{}", url.origin().ascii_serialization(), url.path().trim_end_matches('/')))
}

/// Names and values as [`Request::query`] has them.
pub(super) fn owned<'a>(
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Vec<(String, String)> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// In the order and the encoding that signatures want, which is also how it is sent.
pub(super) fn canonical_query(query: &[(String, String)]) -> String {
    let escaped = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
    let pairs = query.iter().map(|(name, value)| (escaped(name), escaped(value)));
    let mut pairs: Vec<(String, String)> = pairs.collect();
    pairs.sort_unstable();
    let mut text = String::new();
    for (name, value) in &pairs {
        let between = if text.is_empty() { "" } else { "&" };
        let _ = write!(text, "{between}{name}={value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_stand_in_the_path_or_in_the_host() {
        for (endpoint, in_path, origin, path) in [
            ("https://s3.example:9000", true, "https://s3.example:9000", "/photos"),
            ("https://s3.example:9000", false, "https://photos.s3.example:9000", ""),
            ("http://127.0.0.1:10000/account", true, "http://127.0.0.1:10000", "/account/photos"),
        ] {
            let base = Base::new(endpoint, "photos", in_path).expect("an address");
            assert_eq!((base.origin(), base.path.as_str()), (origin, path), "{endpoint}");
        }
        let endpoint = normal_endpoint("HTTPS://S3.Example:443/").expect("an address");
        assert_eq!(endpoint, "https://s3.example");
        for wrong in ["s3.example", "ftp://s3.example", "https://user:secret@s3.example"] {
            let error = normal_endpoint(wrong).expect_err("refused").to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn keys_are_sent_as_they_are_called() {
        let base = Base::new("https://s3.example:9000", "bbb", true).expect("an address");
        let key = "Größe 1/a+b&c=d?e#f%2F/\u{7}~.jpg";
        assert_eq!(
            base.path(Some(key)),
            "/bbb/Gr%C3%B6%C3%9Fe%201/a%2Bb%26c%3Dd%3Fe%23f%252F/%07~.jpg"
        );
        assert_eq!(base.path(None), "/bbb");
        let query = [("start-after".to_owned(), "a b/+ü".to_owned())];
        assert_eq!(canonical_query(&query), "start-after=a%20b%2F%2B%C3%BC");
    }
}
