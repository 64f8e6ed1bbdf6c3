//! The protocol of Azure Blob Storage. A container is the bucket, and a blob an object.
//!
//! `signing` signs requests for whom `credentials` finds, `errors` knows what errors mean. Blobs that were deleted, older versions
//! and snapshots are never asked for.

mod credentials;
mod errors;
mod signing;

use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::{HeaderMap, HeaderName, IF_NONE_MATCH};
use reqwest::{Method, StatusCode};
use serde::Deserialize;

use self::credentials::{Credential, Credentials, Found};
use self::errors::{Place, SignedBy};
use self::signing::ToSign;
use super::fault::Fault;
use super::protocol::{
    Begin, Limits, Object, Order, Page, Protocol, Signed, Words, http_date_ms, version,
};
use super::request::{Base, ClientError, Request, owned};
use crate::config::AzureConfig;
use crate::types::Fingerprint;

/// The first one whose lists can begin somewhere.
const VERSION: &str = "2026-02-06";
/// No name in a folder begins with anything that Azure lists behind this, which all XML may hold.
const LAST_CHARACTER: char = '\u{FFFD}';

static WORDS: Words = Words {
    endpoint_key: "source.azure.endpoint",
    list: "List on the container (sp=l in a SAS token, the role Storage Blob Data Reader)",
    list_and_read: "List and Read on the container (sp=rl in a SAS token, the role Storage Blob Data Reader)",
    put: "Create and Write on the container (sp=cw in a SAS token, the role Storage Blob Data Contributor)",
    delete: "Delete on the container (sp=d in a SAS token, the role Storage Blob Data Contributor)",
};

/// See the head of this file.
pub(super) struct Azure {
    container: String,
    base: Base,
    endpoint: String,
    credentials: Credentials,
    anonymous: bool,
}

impl Azure {
    pub(super) fn new(
        container: &str,
        settings: &AzureConfig,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ClientError> {
        let Found { endpoint, credentials } = Found::find(settings, variable)?;
        let base = Base::new(&endpoint, container, true)?;
        let (container, anonymous) = (container.to_owned(), settings.anonymous);
        Ok(Self { container, base, endpoint, credentials, anonymous })
    }

    /// What `[source.azure]` allows. Only an account's key signs addresses for others.
    pub(super) fn limits(&self, settings: &AzureConfig) -> Limits {
        let can_sign = self.credentials.key().is_some() && !self.anonymous;
        if settings.presigned && !can_sign {
            tracing::warn!(
                container = self.container,
                "source.azure.presigned needs the key of the account; pictures pass through the server instead"
            );
        }
        Limits {
            requests_max: settings.requests_max,
            page_keys: settings.page_keys,
            reordered_max: settings.reordered_max,
            connect_timeout: Duration::from_millis(settings.connect_timeout_ms),
            timeout: Duration::from_millis(settings.timeout_ms),
            retry_for: Duration::from_millis(settings.retry_for_ms),
            presigned_lifetime_s: (settings.presigned && can_sign)
                .then_some(settings.presigned_lifetime_s),
        }
    }

    fn signed_by(&self) -> SignedBy {
        match (self.anonymous, self.credentials.key(), self.credentials.sas()) {
            (true, ..) => SignedBy::Nobody,
            (_, Some(_), _) => SignedBy::Key,
            (_, _, Some(token)) => SignedBy::Sas { ended: token.ended() },
            _ => SignedBy::Identity,
        }
    }
}

#[async_trait]
impl Protocol for Azure {
    fn base(&self) -> &Base {
        &self.base
    }

    fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn words(&self) -> &'static Words {
        &WORDS
    }

    async fn sign(&self, request: &Request<'_>, path: &str) -> Result<Signed, Fault> {
        let mut signed = Signed::default();
        signed.headers.push(("x-ms-version", VERSION.to_owned()));
        match request.method {
            Method::PUT => {
                signed.headers.push(("x-ms-blob-type", "BlockBlob".to_owned()));
                // Nobody else says so of an empty body, and Azure asks for it.
                if request.body.as_ref().is_none_or(|body| body.is_empty()) {
                    signed.headers.push(("content-length", "0".to_owned()));
                }
            }
            // A blob with snapshots cannot go without them.
            Method::DELETE => {
                signed.headers.push(("x-ms-delete-snapshots", "include".to_owned()));
            }
            _ => {}
        }
        if self.anonymous {
            return Ok(signed);
        }
        let credential = self.credentials.get().await.map_err(|reason| no_credentials(&reason))?;
        let now = Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let proof = match credential {
            Credential::Sas(token) => {
                signed.query = token.query;
                return Ok(signed);
            }
            Credential::Bearer(token) => {
                signed.headers.push(("x-ms-date", now));
                format!("Bearer {token}")
            }
            Credential::Key(key) => {
                signed.headers.push(("x-ms-date", now));
                let sent =
                    request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                let ours = signed.headers.iter().map(|(name, value)| (*name, value.as_str()));
                key.authorization(&ToSign {
                    method: request.method.as_str(),
                    path,
                    query: &request.query,
                    headers: sent.chain(ours).collect(),
                    body_bytes: request.body.as_ref().map_or(0, |body| body.len()),
                })
            }
        };
        signed.headers.push(("authorization", proof));
        Ok(signed)
    }

    /// A store or something before it may repeat the address, which may hold a token.
    fn fault(&self, status: StatusCode, headers: &HeaderMap, body: &str) -> Fault {
        let secret = self.credentials.sas().map_or("", |token| token.signature());
        let body = if secret.is_empty() { body.to_owned() } else { body.replace(secret, "…") };
        let Self { container, endpoint, .. } = self;
        errors::fault(
            status,
            headers,
            &body,
            &Place { container, endpoint, signed: self.signed_by() },
        )
    }

    fn list_query(&self, prefix: &str, from: &Begin, keys_max: usize) -> Vec<(String, String)> {
        let begin = match from {
            // It could not be told in which order that is.
            Begin::Start | Begin::After(_) => None,
            Begin::Behind(folder) => Some(("startFrom", format!("{folder}{LAST_CHARACTER}"))),
            Begin::Token(token) => Some(("marker", token.clone())),
        };
        let keys_max = keys_max.to_string();
        // Metadata tell what stands for a folder.
        let mut query = owned([
            ("comp", "list"),
            ("include", "metadata"),
            ("maxresults", &keys_max),
            ("prefix", prefix),
            ("restype", "container"),
        ]);
        query.extend(begin.map(|(name, value)| (name.to_owned(), value)));
        query
    }

    fn page(&self, answer: &str) -> Result<Page, String> {
        page(answer)
    }

    fn order(&self) -> Order {
        Order::Azures
    }

    fn if_absent(&self) -> (HeaderName, String) {
        (IF_NONE_MATCH, "*".to_owned())
    }

    fn refuses_key(&self, key: &str) -> Option<&'static str> {
        // It becomes a slash, and the blob another one.
        key.contains('\\').then_some("Azure takes no backslash in names")
    }

    fn is_folder(&self, headers: &HeaderMap) -> bool {
        let says = |name: &str, wanted: &str| {
            headers
                .get(name)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(wanted.as_bytes()))
        };
        says("x-ms-resource-type", "directory") || says("x-ms-meta-hdi_isfolder", "true")
    }

    async fn presigned(&self, key: &str, lifetime_s: u64) -> Result<String, String> {
        let signing =
            self.credentials.key().ok_or("only the key of the account signs addresses")?;
        let lifetime = SignedDuration::from_secs(i64::try_from(lifetime_s).unwrap_or(i64::MAX));
        let until = Timestamp::now().checked_add(lifetime).map_err(|error| error.to_string())?;
        let protocol = self.endpoint.starts_with("https:").then_some("https");
        let query = signing.read_token(&self.container, key, until, protocol);
        Ok(format!("{}{}?{query}", self.base.origin(), self.base.path(Some(key))))
    }
}

fn no_credentials(reason: &str) -> Fault {
    Fault::Refused(format!(
        "no credentials were found; set AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_CONNECTION_STRING, or source.azure.anonymous for a public container ({reason})"
    ))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EnumerationResults {
    blobs: Blobs,
    #[serde(default)]
    next_marker: String,
}

#[derive(Debug, Default, Deserialize)]
struct Blobs {
    #[serde(rename = "Blob", default)]
    blobs: Vec<Blob>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Blob {
    name: Name,
    #[serde(default)]
    snapshot: String,
    #[serde(default)]
    deleted: String,
    properties: Properties,
    #[serde(default)]
    metadata: Metadata,
}

/// What XML cannot hold comes escaped.
#[derive(Debug, Deserialize)]
struct Name {
    #[serde(rename = "@Encoded", default)]
    encoded: String,
    #[serde(rename = "$text", default)]
    text: String,
}

#[derive(Debug, Deserialize)]
struct Properties {
    #[serde(rename = "Content-Length", default)]
    content_length: u64,
    #[serde(rename = "Etag", default)]
    etag: String,
    #[serde(rename = "Last-Modified", default)]
    last_modified: String,
    /// Only where folders are real.
    #[serde(rename = "ResourceType", default)]
    resource_type: String,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    #[serde(rename = "hdi_isfolder", alias = "Hdi_isfolder", default)]
    is_folder: String,
}

impl Blob {
    fn is_object(&self) -> bool {
        let is_folder = self.properties.resource_type.eq_ignore_ascii_case("directory")
            || self.metadata.is_folder.eq_ignore_ascii_case("true");
        !is_folder && self.snapshot.is_empty() && !self.deleted.eq_ignore_ascii_case("true")
    }

    fn object(self) -> Object {
        let Properties { content_length: size_bytes, etag, last_modified, .. } = self.properties;
        let modified_ms = http_date_ms(&last_modified).unwrap_or_default();
        let version = version(&etag, modified_ms);
        let Name { encoded, text } = self.name;
        let key = if encoded.eq_ignore_ascii_case("true") {
            percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
        } else {
            text
        };
        Object { key, fingerprint: Fingerprint { size_bytes, version, modified_ms } }
    }
}

fn page(answer: &str) -> Result<Page, String> {
    let answer = answer.trim_start_matches('\u{FEFF}');
    let list: EnumerationResults =
        quick_xml::de::from_str(answer).map_err(|error| error.to_string())?;
    let blobs = list.blobs.blobs;
    let has_real_folders = blobs.iter().any(|blob| !blob.properties.resource_type.is_empty());
    let objects = blobs.into_iter().filter(Blob::is_object).map(Blob::object).collect();
    let next = Some(list.next_marker).filter(|marker| !marker.is_empty());
    Ok(Page { objects, next, has_real_folders })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_read_as_azure_writes_them() {
        let blob = |name: &str, properties: &str, more: &str| {
            format!(
                "<Blob>{name}<Properties><Last-Modified>Wed, 21 Oct 2015 07:28:00 GMT</Last-Modified><Etag>0x8D1</Etag><Content-Length>5</Content-Length>{properties}</Properties>{more}</Blob>"
            )
        };
        let blobs = [
            blob(
                "<Name> a&amp;b </Name>",
                "<BlobType>BlockBlob</BlobType>",
                "<Metadata><x>1</x></Metadata><OrMetadata />",
            ),
            blob("<Name Encoded=\"true\">b%EF%BF%BE%2Fc</Name>", "", "<Metadata />"),
            blob("<Name>stub</Name>", "", "<Metadata><hdi_isfolder>true</hdi_isfolder></Metadata>"),
            blob("<Name>old</Name>", "", "<Snapshot>2015-10-21T07:28:00.0000000Z</Snapshot>"),
            blob("<Name>gone</Name>", "", "<Deleted>true</Deleted>"),
            blob("<Name>kept</Name>", "", "<Deleted>false</Deleted>"),
        ]
        .concat();
        let text = format!(
            "\u{FEFF}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"https://a.example/\" ContainerName=\"c\"><Prefix>p</Prefix><MaxResults>5</MaxResults><Blobs>{blobs}</Blobs><NextMarker>2!n=</NextMarker></EnumerationResults>"
        );
        let page = super::page(&text).expect("a page");
        let keys: Vec<_> = page.objects.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(keys, [" a&b ", "b\u{FFFE}/c", "kept"]);
        let expected =
            Fingerprint { size_bytes: 5, version: "0x8D1".into(), modified_ms: 1_445_412_480_000 };
        assert_eq!(page.objects[0].fingerprint, expected);
        assert_eq!(page.next.as_deref(), Some("2!n="));
        assert!(!page.has_real_folders);
        let folders =
            text.replace("<BlobType>", "<ResourceType>directory</ResourceType><BlobType>");
        let folders = super::page(&folders).expect("a page");
        assert!(folders.has_real_folders && folders.objects.len() == 2, "{folders:?}");
        let empty = super::page("<EnumerationResults><Blobs /><NextMarker /></EnumerationResults>");
        let empty = empty.expect("a page");
        assert!(empty.objects.is_empty() && empty.next.is_none());
        assert!(super::page("<html><body>Welcome</body></html>").is_err());
    }
}
