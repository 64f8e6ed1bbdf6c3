//! Lists a bucket in the order of its keys' bytes, which is the order that stores list in and that the catalog has. Keys that
//! cannot be names are told as such; folders that are ignored are jumped over, however much lies in them.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use tokio::runtime::Handle;

use super::Bucket;
use super::client::Client;
use super::fault::Fault;
use super::order::{Reordered, TooManyHeld};
use super::protocol::{Begin, Object, Page};
use super::request::Request;
use crate::printable::printable;
use crate::source::{Listed, ListingWriter, Stopped};
use crate::types::{ImageName, Scope};

/// The longest keys, all escaped, and all the metadata that objects can have, on the longest page.
const PAGE_BYTES_MAX: usize = 64 << 20;
/// Who asks whether the bucket is there waits twenty seconds for the answer, or for the reason why there is none.
const PROBED_WITHIN: Duration = Duration::from_secs(4);
/// As much of a key as is shown.
const SHOWN_CHARS_MAX: usize = 300;
/// What a key is to us.
enum Kind {
    Name(ImageName),
    /// A folder's marker, or something ignored.
    Nothing,
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
        Err(Ended::Broken(fault)) => lister.writer.broken(bucket.of_source(fault)),
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
        if after.as_ref().is_none_or(|after| *after < key)
            && let Some(object) = self.first(&key)?.filter(|first| first.key == key)
        {
            self.tell(&object)?;
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
        let protocol = self.bucket.client.protocol();
        let limits = self.bucket.client.limits();
        let mut reordered = Reordered::new(protocol.order(), prefix, limits.reordered_max);
        let after = if let Begin::After(after) = &from { Some(after.clone()) } else { None };
        // The folder that was jumped over last, and where the list would have gone on in it.
        let mut jumped: Option<(String, String)> = None;
        loop {
            let page = self.page(prefix, &from, limits.page_keys)?;
            if let (Begin::Behind(folder), Some((_, token))) = (&from, &jumped)
                && page.objects.first().is_some_and(|first| first.key < *folder)
            {
                // The store does not know how to jump, and began anew.
                from = Begin::Token(token.clone());
                continue;
            }
            if page.has_real_folders {
                reordered.note_real_folders();
            }
            let mut ignored: Option<String> = None;
            for object in page.objects {
                if ignored.as_ref().is_some_and(|folder| object.key.starts_with(folder.as_str())) {
                    continue;
                }
                ignored = self.bucket.ignored_folder(&object.key);
                // A store that cannot begin behind a key begins before it.
                let is_before = after.as_ref().is_some_and(|after| object.key <= *after);
                if ignored.is_none() && !is_before {
                    self.tell_in_order(&mut reordered, object)?;
                }
            }
            from = match (page.next, ignored) {
                (None, _) => break,
                // The rest of it need not be listed, unless the store goes on there all the same.
                (Some(token), Some(folder))
                    if jumped.as_ref().is_none_or(|(before, _)| *before != folder) =>
                {
                    jumped = Some((folder.clone(), token));
                    Begin::Behind(folder)
                }
                (Some(token), _) => Begin::Token(token),
            };
            self.writer.working()?;
        }
        for object in reordered.rest() {
            self.tell(&object)?;
        }
        Ok(())
    }

    fn tell_in_order(&mut self, reordered: &mut Reordered, object: Object) -> Result<(), Ended> {
        let ready = reordered.take(object).map_err(|TooManyHeld(held_max)| {
            Ended::Broken(Fault::Refused(format!(
                "it lists names in another order (folders first, or characters beyond U+FFFF), and more than {held_max} would have to wait; name its folders as sources of their own, or raise source.azure.reordered_max"
            )))
        })?;
        for object in ready {
            self.tell(&object)?;
        }
        Ok(())
    }

    /// Tells what an object is.
    fn tell(&mut self, Object { key, fingerprint }: &Object) -> Result<(), Ended> {
        match self.bucket.kind(key, fingerprint.size_bytes) {
            Kind::Name(_) if self.told >= self.bucket.images_max => {
                self.writer.push(Listed::Truncated)?;
                return Err(Ended::Full);
            }
            Kind::Name(name) => {
                self.told += 1;
                self.writer.push(Listed::Image(name, fingerprint.clone()))?;
            }
            Kind::Unnameable(reason) => {
                let shown = key.strip_prefix(self.bucket.prefix.as_str()).unwrap_or(key);
                let shown = printable(shown).to_string().chars().take(SHOWN_CHARS_MAX).collect();
                self.writer.push(Listed::Unnameable { shown, reason })?;
            }
            Kind::Nothing => {}
        }
        Ok(())
    }

    /// The first object of all whose keys begin so. A store may answer empty pages before.
    fn first(&mut self, prefix: &str) -> Result<Option<Object>, Ended> {
        let mut from = Begin::Start;
        loop {
            let Page { objects, next, .. } = self.page(prefix, &from, 1)?;
            match (objects.into_iter().next(), next) {
                (None, Some(token)) => from = Begin::Token(token),
                (first, _) => return Ok(first),
            }
            self.writer.working()?;
        }
    }

    fn page(&mut self, prefix: &str, from: &Begin, keys_max: usize) -> Result<Page, Ended> {
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
) -> Result<Page, Fault> {
    let protocol = client.protocol();
    let query = protocol.list_query(prefix, from, keys_max);
    let request = Request { query, retry_for, ..Request::new(Method::GET, None) };
    let body = client.fetch(&request, PAGE_BYTES_MAX).await?;
    let not_a_list = |what: String| {
        let key = protocol.words().endpoint_key;
        Fault::Passing(format!("the store answers no list ({what}); check {key}"))
    };
    let text = std::str::from_utf8(&body).map_err(|error| not_a_list(error.to_string()))?;
    protocol.page(text).map_err(not_a_list)
}

impl Bucket {
    /// The folder that is ignored as a whole, if the key lies in one.
    fn ignored_folder(&self, key: &str) -> Option<String> {
        let relative = key.strip_prefix(self.prefix.as_str())?;
        let end = self.ignored_part(relative)?;
        let folder = relative[end..].starts_with('/');
        folder.then(|| format!("{}{}/", self.prefix, &relative[..end]))
    }

    /// What an object of that key is to us.
    fn kind(&self, key: &str, size_bytes: u64) -> Kind {
        let Some(relative) = key.strip_prefix(self.prefix.as_str()) else {
            return Kind::Nothing;
        };
        if self.ignored_part(relative).is_some() {
            return Kind::Nothing;
        }
        // Consoles mark folders that way.
        if size_bytes == 0 && (relative.is_empty() || relative.ends_with('/')) {
            return Kind::Nothing;
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
