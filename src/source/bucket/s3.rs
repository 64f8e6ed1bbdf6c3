//! The protocol of Amazon S3 and of whatever speaks it (MinIO, Garage, Ceph, Cloudflare R2), and that of Google Cloud Storage, whose
//! XML interface is the same in other words.
//!
//! `signing` signs requests for whom `credentials` finds, `errors` knows what errors mean. Why no library of stores:
//! docs/decisions/0024.

mod credentials;
mod errors;
mod signing;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, IF_NONE_MATCH};
use serde::Deserialize;

use self::credentials::Credentials;
use self::errors::Place;
use self::signing::{Credential, Dialect, Signer, ToSign};
use super::fault::Fault;
use super::protocol::{Begin, Limits, Object, Order, Page, Protocol, Signed, Words, version};
use super::request::{Base, ClientError, Request, normal_endpoint, owned};
use crate::config::{Addressing, S3Config};
use crate::types::Fingerprint;

/// No key of a folder lies behind this.
const LAST_CHARACTER: char = '\u{10FFFF}';

static AMAZONS_WORDS: Words = Words {
    endpoint_key: "source.s3.endpoint",
    list: "s3:ListBucket",
    list_and_read: "s3:ListBucket on the bucket and s3:GetObject on its objects",
    put: "s3:PutObject",
    delete: "s3:DeleteObject",
};
static GOOGLES_WORDS: Words = Words { endpoint_key: "source.s3.google_endpoint", ..AMAZONS_WORDS };

/// Whose words a store understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Brand {
    Amazon,
    Google,
}

impl Brand {
    fn dialect(self) -> &'static Dialect {
        match self {
            Self::Amazon => &signing::AMAZON,
            Self::Google => &signing::GOOGLE,
        }
    }

    fn words(self) -> &'static Words {
        match self {
            Self::Amazon => &AMAZONS_WORDS,
            Self::Google => &GOOGLES_WORDS,
        }
    }
}

/// See the head of this file.
pub(super) struct S3 {
    brand: Brand,
    bucket: String,
    base: Base,
    endpoint: String,
    region: String,
    credentials: Credentials,
    anonymous: bool,
    requester_pays: bool,
}

impl S3 {
    pub(super) fn of_amazon(
        bucket: &str,
        settings: &S3Config,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ClientError> {
        let region = or_else(&settings.region, || variable("AWS_REGION"));
        let region = region.or_else(|| variable("AWS_DEFAULT_REGION"));
        let region = region.unwrap_or_else(|| "us-east-1".to_owned());
        let own = or_else(&settings.endpoint, || variable("AWS_ENDPOINT_URL_S3"));
        let own = own.or_else(|| variable("AWS_ENDPOINT_URL"));
        let in_path = match settings.addressing {
            Addressing::Path => true,
            Addressing::Virtual => false,
            // Names with dots are no part of what a certificate covers.
            Addressing::Auto => own.is_some() || bucket.contains('.'),
        };
        let endpoint = own.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let endpoint = normal_endpoint(&endpoint)?;
        let credentials = Credentials::find(&settings.profile, &region, variable)
            .map_err(|error| ClientError(error.to_string()))?;
        Ok(Self {
            brand: Brand::Amazon,
            bucket: bucket.to_owned(),
            base: Base::new(&endpoint, bucket, in_path)?,
            endpoint,
            region,
            credentials,
            anonymous: settings.anonymous,
            requester_pays: settings.requester_pays,
        })
    }

    /// Google knows where a bucket is.
    pub(super) fn of_google(
        bucket: &str,
        settings: &S3Config,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ClientError> {
        if settings.requester_pays {
            return Err(ClientError(
                "source.s3.requester_pays is for addresses s3://…; Google wants a project for that, which cannot be named here".to_owned(),
            ));
        }
        let endpoint = normal_endpoint(&settings.google_endpoint)?;
        let credentials =
            Credentials::of_google(variable).map_err(|error| ClientError(error.to_string()))?;
        Ok(Self {
            brand: Brand::Google,
            bucket: bucket.to_owned(),
            base: Base::new(&endpoint, bucket, true)?,
            endpoint,
            region: "auto".to_owned(),
            credentials,
            anonymous: settings.anonymous,
            requester_pays: false,
        })
    }

    fn signer<'a>(&'a self, credential: &'a Credential) -> Signer<'a> {
        let dialect = self.brand.dialect();
        Signer { dialect, credential, region: &self.region, now: Timestamp::now() }
    }

    fn no_credentials(&self, reason: &str) -> Fault {
        let place = match self.brand {
            Brand::Amazon => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws/credentials"
            }
            Brand::Google => {
                "set GS_ACCESS_KEY_ID and GS_SECRET_ACCESS_KEY to an HMAC key of Google's"
            }
        };
        Fault::Refused(format!(
            "no credentials were found; {place}, or source.s3.anonymous for a public bucket ({reason})"
        ))
    }
}

/// What `[source.s3]` allows.
pub(super) fn limits(settings: &S3Config) -> Limits {
    let gives_away = settings.presigned && !settings.anonymous;
    Limits {
        requests_max: settings.requests_max,
        page_keys: settings.page_keys,
        reordered_max: 0,
        connect_timeout: std::time::Duration::from_millis(settings.connect_timeout_ms),
        timeout: std::time::Duration::from_millis(settings.timeout_ms),
        retry_for: std::time::Duration::from_millis(settings.retry_for_ms),
        presigned_lifetime_s: gives_away.then_some(settings.presigned_lifetime_s),
    }
}

#[async_trait]
impl Protocol for S3 {
    fn base(&self) -> &Base {
        &self.base
    }

    fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn words(&self) -> &'static Words {
        self.brand.words()
    }

    async fn sign(&self, request: &Request<'_>, path: &str) -> Result<Signed, Fault> {
        let pays = self.requester_pays.then(|| ("x-amz-request-payer", "requester".to_owned()));
        let mut signed = Signed { headers: pays.into_iter().collect(), query: String::new() };
        if self.anonymous {
            return Ok(signed);
        }
        let credential = self.credentials.get().await;
        let credential = credential.map_err(|reason| self.no_credentials(&reason))?;
        let of_request =
            request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let ours = signed.headers.iter().map(|(name, value)| (*name, value.as_str()));
        let headers: Vec<(&str, &str)> = of_request.chain(ours).collect();
        let method = request.method.as_str();
        let to_sign = ToSign { method, host: self.base.host(), path, query: &request.query };
        let body = request.body.as_deref().unwrap_or_default();
        let proof = self.signer(&credential).headers(&to_sign, &headers, body);
        signed.headers.extend(proof);
        Ok(signed)
    }

    fn fault(&self, status: StatusCode, headers: &HeaderMap, body: &str) -> Fault {
        let Self { brand, bucket, endpoint, region, .. } = self;
        errors::fault(status, headers, body, &Place { brand: *brand, bucket, endpoint, region })
    }

    fn list_query(&self, prefix: &str, from: &Begin, keys_max: usize) -> Vec<(String, String)> {
        let keys_max = keys_max.to_string();
        let begin = match from {
            Begin::Start => None,
            Begin::After(key) => Some(("start-after", key.clone())),
            Begin::Behind(folder) => Some(("start-after", format!("{folder}{LAST_CHARACTER}"))),
            Begin::Token(token) => Some(("continuation-token", token.clone())),
        };
        let mut query = owned([
            ("encoding-type", "url"),
            ("list-type", "2"),
            ("max-keys", &keys_max),
            ("prefix", prefix),
        ]);
        query.extend(begin.map(|(name, value)| (name.to_owned(), value)));
        query
    }

    fn page(&self, answer: &str) -> Result<Page, String> {
        page(answer)
    }

    fn order(&self) -> Order {
        Order::Bytes
    }

    /// Google takes only its own for writing, and ignores the other.
    fn if_absent(&self) -> (HeaderName, String) {
        match self.brand {
            Brand::Amazon => (IF_NONE_MATCH, "*".to_owned()),
            Brand::Google => {
                (HeaderName::from_static("x-goog-if-generation-match"), "0".to_owned())
            }
        }
    }

    async fn presigned(&self, key: &str, lifetime_s: u64) -> Result<String, String> {
        let credential = self.credentials.get().await?;
        let path = self.base.path(Some(key));
        let to_sign = ToSign { method: "GET", host: self.base.host(), path: &path, query: &[] };
        let query = self.signer(&credential).presigned_query(&to_sign, lifetime_s);
        Ok(format!("{}{path}?{query}", self.base.origin()))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListBucketResult {
    #[serde(default)]
    contents: Vec<Contents>,
    is_truncated: bool,
    #[serde(default)]
    next_continuation_token: Option<String>,
    #[serde(default)]
    encoding_type: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Contents {
    key: String,
    size: u64,
    #[serde(default)]
    last_modified: String,
    #[serde(rename = "ETag", default)]
    e_tag: String,
}

fn page(answer: &str) -> Result<Page, String> {
    let list: ListBucketResult =
        quick_xml::de::from_str(answer).map_err(|error| error.to_string())?;
    let is_escaped = list.encoding_type.as_deref() == Some("url");
    let objects = list.contents.into_iter().map(|object| {
        let modified = object.last_modified.parse::<Timestamp>();
        let modified_ms = modified.map_or(0, |time| time.as_second() * 1000);
        let version = version(&object.e_tag, modified_ms);
        let key = if is_escaped { unescaped(&object.key) } else { object.key };
        let fingerprint = Fingerprint { size_bytes: object.size, version, modified_ms };
        Object { key, fingerprint }
    });
    let next = list.next_continuation_token.filter(|_| list.is_truncated);
    if list.is_truncated && next.is_none() {
        return Err("it is cut off and does not say where it goes on".to_owned());
    }
    Ok(Page { objects: objects.collect(), next, has_real_folders: false })
}

/// Spaces come as `+` from some stores, and as `%20` from others. What is not UTF-8 then cannot be a name.
fn unescaped(key: &str) -> String {
    let spaced = key.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

fn or_else(configured: &str, otherwise: impl FnOnce() -> Option<String>) -> Option<String> {
    if configured.is_empty() { otherwise() } else { Some(configured.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing of this may reach a log.
    #[test]
    fn secrets_are_in_no_text() {
        let credential = Credential {
            key_id: "AKIA".into(),
            secret_key: "hunter2".into(),
            token: Some("hunter3".into()),
        };
        assert_eq!(format!("{credential:?}"), "Credential(…)");
    }

    #[test]
    fn keys_are_unescaped_as_stores_escape_them() {
        assert_eq!(unescaped("a+b%2Bc%20d/%C3%A4%07.jpg"), "a b+c d/ä\u{7}.jpg");
        assert_eq!(unescaped("100%"), "100%");
        assert_eq!(unescaped("%FF"), "\u{FFFD}");
    }

    #[test]
    fn pages_are_read_as_stores_write_them() {
        let text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name><Prefix/><KeyCount>2</KeyCount><MaxKeys>2</MaxKeys>
<IsTruncated>true</IsTruncated><Contents><Key>a&amp;b</Key><LastModified>2009-10-12T17:50:30.123Z</LastModified><ETag>&quot;f00&quot;</ETag>
<Size>434234</Size><StorageClass>STANDARD</StorageClass><Owner><ID>1</ID></Owner></Contents><CommonPrefixes><Prefix>x/</Prefix></CommonPrefixes>
<Contents><Key>b</Key><Size>0</Size></Contents><NextContinuationToken>t=</NextContinuationToken></ListBucketResult>";
        let page = super::page(text).expect("a page");
        let keys: Vec<_> = page.objects.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(keys, ["a&b", "b"]);
        let first = &page.objects[0].fingerprint;
        assert_eq!((first.size_bytes, first.version.as_str()), (434_234, "f00"));
        assert_eq!(page.next.as_deref(), Some("t="));
        let empty = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
        let empty = super::page(empty).expect("a page");
        assert!(empty.objects.is_empty() && empty.next.is_none());
    }
}
