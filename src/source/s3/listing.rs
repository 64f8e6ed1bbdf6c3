//! Lists a bucket in the order of its keys' bytes, which is the order that stores list in and that the catalog has. Keys that
//! cannot be names are told as such; folders that are ignored are jumped over, however much lies in them.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use tokio::runtime::Handle;

use super::Bucket;
use super::client::{Client, Request};
use super::fault::Fault;
use super::reading::version;
use crate::printable::printable;
use crate::source::{Listed, ListingWriter, Stopped};
use crate::types::{Fingerprint, ImageName, Scope};

/// A page of a thousand keys, each of 1024 bytes that are all escaped, is a third of that.
const PAGE_BYTES_MAX: usize = 16 << 20;
/// Who asks whether the bucket is there waits twenty seconds for the answer, or for the reason why there is none.
const PROBED_WITHIN: Duration = Duration::from_secs(4);
/// As much of a key as is shown.
const SHOWN_CHARS_MAX: usize = 300;
/// No key of that folder lies behind this.
const LAST_CHARACTER: char = '\u{10FFFF}';

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    contents: Vec<Object>,
    is_truncated: bool,
    #[serde(default)]
    next_continuation_token: Option<String>,
    #[serde(default)]
    encoding_type: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Object {
    key: String,
    size: u64,
    #[serde(default)]
    last_modified: String,
    #[serde(rename = "ETag", default)]
    e_tag: String,
}

/// Keys and what is known of them, and where the next page begins, if there is one.
pub(super) type Objects = (Vec<(String, Fingerprint)>, Option<String>);

/// Where a page begins.
#[derive(Debug, Clone)]
pub(super) enum Begin {
    Start,
    After(String),
    Token(String),
}

/// What a key is to us.
enum Kind {
    Name(ImageName),
    /// A folder's marker, something ignored; with the folder that is ignored as a whole.
    Nothing(Option<String>),
    Unnameable(String),
}

/// Lists until the end, or until nobody listens. To be called on a thread that may wait.
pub(super) fn list(
    bucket: &Arc<Bucket>,
    scope: &Scope,
    after: Option<&ImageName>,
    writer: ListingWriter,
) {
    let mut lister = Lister { bucket, runtime: Handle::current(), writer, told: 0 };
    match lister.list(scope, after) {
        Ok(()) | Err(Ended::Full) => lister.writer.end(),
        Err(Ended::Stopped) => {}
        Err(Ended::Broken(fault)) => lister.writer.broken(fault.of_source(bucket.location())),
    }
}

/// One request for one key at most: whether the bucket can be listed.
pub(super) async fn probe(bucket: &Bucket) -> Result<(), Fault> {
    page(&bucket.client, &bucket.prefix, &Begin::Start, 1, Some(PROBED_WITHIN)).await.map(drop)
}

enum Ended {
    Stopped,
    /// The limit of pictures is reached.
    Full,
    Broken(Fault),
}

impl From<Stopped> for Ended {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

struct Lister<'a> {
    bucket: &'a Bucket,
    runtime: Handle,
    writer: ListingWriter,
    told: usize,
}

impl Lister<'_> {
    fn list(&mut self, scope: &Scope, after: Option<&ImageName>) -> Result<(), Ended> {
        let after = match after.map(|name| self.bucket.key_behind(name)) {
            // Every name of this source comes before, or behind.
            Some(None) if after.is_some_and(|name| name.as_str() > self.bucket.names.as_str()) => {
                return Ok(());
            }
            Some(after) => after,
            None => None,
        };
        let Scope::Under(name) = scope else {
            let prefix = self.bucket.prefix.clone();
            return self.walk(&prefix, after.map_or(Begin::Start, Begin::After));
        };
        let Some(key) = self.bucket.key_of(name) else { return Ok(()) };
        // The object of that very name comes first of all that begin alike.
        if after.as_ref().is_none_or(|after| *after < key) {
            let first = self.page(&key, &Begin::Start, 1)?;
            let first = first.0.into_iter().next().filter(|(found, ..)| *found == key);
            if let Some((key, fingerprint)) = first {
                self.tell(&key, fingerprint)?;
            }
        }
        let below = format!("{key}/");
        self.walk(&below, after.map_or(Begin::Start, Begin::After))
    }

    /// All pages behind `from`.
    fn walk(&mut self, prefix: &str, mut from: Begin) -> Result<(), Ended> {
        if let Begin::After(after) = &from
            && !after.starts_with(prefix)
        {
            if after.as_str() > prefix {
                return Ok(());
            }
            from = Begin::Start;
        }
        loop {
            let (objects, next) =
                self.page(prefix, &from, self.bucket.client.settings().page_keys)?;
            let mut ignored: Option<String> = None;
            for (key, fingerprint) in objects {
                if ignored.as_ref().is_some_and(|folder| key.starts_with(folder.as_str())) {
                    continue;
                }
                ignored = self.tell(&key, fingerprint)?;
            }
            from = match (next, ignored) {
                (None, _) => return Ok(()),
                // The rest of it need not be listed.
                (Some(_), Some(folder)) => Begin::After(format!("{folder}{LAST_CHARACTER}")),
                (Some(token), None) => Begin::Token(token),
            };
            self.writer.working()?;
        }
    }

    /// Tells what an object is. Returns the folder that is ignored, if it lies in one.
    fn tell(&mut self, key: &str, fingerprint: Fingerprint) -> Result<Option<String>, Ended> {
        match self.bucket.kind(key, fingerprint.size_bytes) {
            Kind::Name(_) if self.told >= self.bucket.images_max => {
                self.writer.push(Listed::Truncated)?;
                return Err(Ended::Full);
            }
            Kind::Name(name) => {
                self.told += 1;
                self.writer.push(Listed::Image(name, fingerprint))?;
            }
            Kind::Unnameable(reason) => {
                let shown = key.strip_prefix(self.bucket.prefix.as_str()).unwrap_or(key);
                let shown = printable(shown).to_string().chars().take(SHOWN_CHARS_MAX).collect();
                self.writer.push(Listed::Unnameable { shown, reason })?;
            }
            Kind::Nothing(folder) => return Ok(folder),
        }
        Ok(None)
    }

    fn page(&mut self, prefix: &str, from: &Begin, keys_max: usize) -> Result<Objects, Ended> {
        let asked = self.runtime.block_on(page(&self.bucket.client, prefix, from, keys_max, None));
        asked.map_err(Ended::Broken)
    }
}

pub(super) async fn page(
    client: &Client,
    prefix: &str,
    from: &Begin,
    keys_max: usize,
    retry_for: Option<Duration>,
) -> Result<Objects, Fault> {
    let mut request = Request { retry_for, ..Request::new(Method::GET, None) };
    let mut add = |name: &str, value: &str| request.query.push((name.to_owned(), value.to_owned()));
    add("encoding-type", "url");
    add("list-type", "2");
    add("max-keys", &keys_max.to_string());
    add("prefix", prefix);
    match from {
        Begin::Start => {}
        Begin::After(key) => add("start-after", key),
        Begin::Token(token) => add("continuation-token", token),
    }
    let body = client.fetch(&request, PAGE_BYTES_MAX).await?;
    let not_a_list = |what: &dyn std::fmt::Display| {
        Fault::Passing(format!("the store answers no list ({what}); check source.s3.endpoint"))
    };
    let text = std::str::from_utf8(&body).map_err(|error| not_a_list(&error))?;
    let page: Page = quick_xml::de::from_str(text).map_err(|error| not_a_list(&error))?;
    let is_escaped = page.encoding_type.as_deref() == Some("url");
    let objects = page.contents.into_iter().map(|object| {
        let modified = object.last_modified.parse::<jiff::Timestamp>();
        let modified_ms = modified.map_or(0, |time| time.as_second() * 1000);
        let version = version(&object.e_tag, modified_ms);
        let key = if is_escaped { unescaped(&object.key) } else { object.key };
        (key, Fingerprint { size_bytes: object.size, version, modified_ms })
    });
    let next = page.next_continuation_token.filter(|_| page.is_truncated);
    if page.is_truncated && next.is_none() {
        return Err(not_a_list(&"it is cut off and does not say where it goes on"));
    }
    Ok((objects.collect(), next))
}

/// Spaces come as `+` from some stores, and as `%20` from others. What is not UTF-8 then cannot be a name.
fn unescaped(key: &str) -> String {
    let spaced = key.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

impl Bucket {
    /// What an object of that key is to us.
    fn kind(&self, key: &str, size_bytes: u64) -> Kind {
        let Some(relative) = key.strip_prefix(self.prefix.as_str()) else {
            return Kind::Nothing(None);
        };
        if let Some(end) = self.ignored_part(relative) {
            let folder = relative[end..].starts_with('/');
            let folder = folder.then(|| format!("{}{}/", self.prefix, &relative[..end]));
            return Kind::Nothing(folder);
        }
        // Consoles mark folders that way.
        if size_bytes == 0 && (relative.is_empty() || relative.ends_with('/')) {
            return Kind::Nothing(None);
        }
        if key.contains('\u{FFFD}') {
            return Kind::Unnameable("its key is not UTF-8".to_owned());
        }
        match ImageName::new(format!("{}{relative}", self.names)) {
            Ok(name) => Kind::Name(name),
            Err(error) => Kind::Unnameable(format!("{error}; rename the object")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let page: Page = quick_xml::de::from_str(text).expect("a page");
        let keys: Vec<_> = page.contents.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(keys, ["a&b", "b"]);
        assert_eq!((page.contents[0].size, page.contents[0].e_tag.as_str()), (434_234, "\"f00\""));
        assert_eq!(page.next_continuation_token.as_deref(), Some("t="));
        let empty = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
        let empty: Page = quick_xml::de::from_str(empty).expect("a page");
        assert!(empty.contents.is_empty() && !empty.is_truncated);
    }
}
