//! What is asked of the model hub: which commit a revision is, which files it has, how large they are and what their checksums
//! are, and the bytes from an offset on. Says of every failure whether trying again may help.

use std::time::Duration;

use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url, redirect};
use serde::Deserialize;

use super::ModelError;
use super::registry::ModelEntry;
use crate::backoff::Backoff;
use crate::config::{ModelsConfig, Secret};
use crate::outgoing::{USER_AGENT, root_cause};

/// Redirects within the hub that are followed when asking for a file's facts.
const MOVES_MAX: usize = 5;
/// Largest listing of a repository.
const LISTING_BYTES_MAX: usize = 16 << 20;

pub(super) enum Trouble {
    /// Trying again may help, after the pause that the hub asks for.
    Passing {
        reason: String,
        pause: Option<Duration>,
    },
    Final(ModelError),
}

impl From<ModelError> for Trouble {
    fn from(error: ModelError) -> Self {
        Self::Final(error)
    }
}

/// A file of a repository before it is downloaded.
#[derive(Debug, Clone)]
pub(super) struct FileFacts {
    pub(super) path: String,
    pub(super) size_bytes: u64,
    pub(super) checksum: Checksum,
}

/// What the hub names a file by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Checksum {
    Sha256(String),
    /// Small files: the name of git's blob.
    GitBlob(String),
    /// Mirrors that say neither; then only the size is checked.
    Unknown,
}

/// A repository at a commit.
#[derive(Debug, Deserialize)]
pub(super) struct Listing {
    #[serde(rename = "sha")]
    pub(super) commit: String,
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Listing {
    pub(super) fn files(&self) -> Vec<String> {
        self.siblings.iter().map(|file| file.rfilename.clone()).collect()
    }
}

/// Client of one hub. Proxies are taken from the usual variables.
pub(super) struct Hub {
    /// Follows no redirects: they carry the facts of a file.
    asking: Client,
    /// Follows them to wherever the bytes are; the token does not go along to other hosts.
    reading: Client,
    base: Url,
    token: Secret,
    config: ModelsConfig,
    /// Tries of the first request, before anything is known to work.
    first_tries: u32,
}

impl Hub {
    /// `first_tries` is how patient the first contact is: who has a substitute need not wait long for a network that is not there.
    pub(super) fn new(config: &ModelsConfig, first_tries: u32) -> Result<Self, ModelError> {
        let bad = |reason: String| ModelError::Hub { hub: config.hub.clone(), reason };
        let client = |policy: redirect::Policy| {
            Client::builder()
                .user_agent(USER_AGENT)
                .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
                .read_timeout(Duration::from_millis(config.stall_timeout_ms))
                .redirect(policy)
                .build()
                .map_err(|error| bad(error.to_string()))
        };
        let base = Url::parse(&config.hub).map_err(|error| bad(error.to_string()))?;
        Ok(Self {
            asking: client(redirect::Policy::none())?,
            reading: client(redirect::Policy::limited(10))?,
            base,
            token: token(config)?,
            config: config.clone(),
            first_tries: first_tries.min(config.attempts_max),
        })
    }

    pub(super) fn patience(&self) -> Patience<'_> {
        self.patience_for(self.config.attempts_max)
    }

    fn patience_for(&self, tries: u32) -> Patience<'_> {
        let first = Duration::from_millis(self.config.retry_delay_ms);
        let longest = Duration::from_millis(self.config.retry_delay_max_ms);
        Patience { hub: self, tries, backoff: Backoff::new(first, longest) }
    }

    /// The commit that the entry's revision is now, and its files.
    pub(super) async fn listing(&self, entry: &ModelEntry) -> Result<Listing, ModelError> {
        let mut patience = self.patience_for(self.first_tries);
        loop {
            match self.try_listing(entry).await {
                Ok(listing) => return Ok(listing),
                Err(trouble) => patience.wait(trouble).await?,
            }
        }
    }

    async fn try_listing(&self, entry: &ModelEntry) -> Result<Listing, Trouble> {
        let url = self.url(&["api", "models"], &entry.repository, &["revision", &entry.revision]);
        let response = self.send(self.request(&self.reading, Method::GET, url), entry).await?;
        let mut body = Vec::new();
        let mut response = response;
        while let Some(chunk) = response.chunk().await.map_err(|error| passing(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > LISTING_BYTES_MAX {
                return Err(self.strange("the list of files is too long").into());
            }
        }
        let listing: Listing = serde_json::from_slice(&body).map_err(|error| {
            self.strange(&format!("the list of files is not what it should be: {error}"))
        })?;
        if !super::cache::is_commit(&listing.commit) {
            return Err(self.strange("the list of files names no commit").into());
        }
        Ok(listing)
    }

    /// Size and checksum of a file.
    pub(super) async fn facts(
        &self,
        entry: &ModelEntry,
        commit: &str,
        path: &str,
    ) -> Result<FileFacts, ModelError> {
        let mut patience = self.patience();
        loop {
            match self.try_facts(entry, commit, path).await {
                Ok(facts) => return Ok(facts),
                Err(trouble) => patience.wait(trouble).await?,
            }
        }
    }

    async fn try_facts(
        &self,
        entry: &ModelEntry,
        commit: &str,
        path: &str,
    ) -> Result<FileFacts, Trouble> {
        let mut url = self.file_url(entry, commit, path);
        for _ in 0..MOVES_MAX {
            let response =
                self.send(self.request(&self.asking, Method::HEAD, url.clone()), entry).await?;
            let headers = response.headers();
            let is_redirect = response.status().is_redirection();
            // A redirect to another host ends the questions: the hub itself has said what is to be known.
            let moved_to = text(headers, LOCATION.as_str())
                .and_then(|to| url.join(to).ok())
                .filter(|_| is_redirect);
            match moved_to {
                Some(next) if headers.get("x-linked-size").is_none() && same_host(&next, &url) => {
                    url = next;
                }
                Some(_) if headers.get("x-linked-size").is_none() => {
                    return Err(self.strange(&format!("it says no size for {path}")).into());
                }
                _ => return self.facts_in(headers, path).map_err(Trouble::Final),
            }
        }
        Err(self.strange(&format!("it redirects {path} in circles")).into())
    }

    fn facts_in(&self, headers: &HeaderMap, path: &str) -> Result<FileFacts, ModelError> {
        let size =
            text(headers, "x-linked-size").or_else(|| text(headers, CONTENT_LENGTH.as_str()));
        let size_bytes = size
            .and_then(|size| size.parse().ok())
            .ok_or_else(|| self.strange(&format!("it says no size for {path}")))?;
        let etag = text(headers, "x-linked-etag")
            .or_else(|| text(headers, ETAG.as_str()))
            .unwrap_or_default();
        Ok(FileFacts { path: path.to_owned(), size_bytes, checksum: checksum(etag) })
    }

    /// The bytes of a file from `offset` on: a 206, or a 200 with all of them.
    pub(super) async fn read(
        &self,
        entry: &ModelEntry,
        commit: &str,
        path: &str,
        offset: u64,
    ) -> Result<Response, Trouble> {
        let mut request =
            self.request(&self.reading, Method::GET, self.file_url(entry, commit, path));
        if offset > 0 {
            request = request.header(RANGE, format!("bytes={offset}-"));
        }
        self.send(request, entry).await
    }

    fn file_url(&self, entry: &ModelEntry, commit: &str, path: &str) -> Url {
        let parts: Vec<&str> = ["resolve", commit].into_iter().chain(path.split('/')).collect();
        self.url(&[], &entry.repository, &parts)
    }

    fn url(&self, before: &[&str], repository: &str, after: &[&str]) -> Url {
        let mut url = self.base.clone();
        // Only addresses such as mailto: have no path; the configuration refuses them.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(before).extend(repository.split('/')).extend(after);
        }
        url
    }

    fn request(&self, client: &Client, method: Method, url: Url) -> RequestBuilder {
        let request = client.request(method, url).header(ACCEPT_ENCODING, "identity");
        if self.token.reveal().is_empty() {
            request
        } else {
            request.bearer_auth(self.token.reveal())
        }
    }

    async fn send(&self, request: RequestBuilder, entry: &ModelEntry) -> Result<Response, Trouble> {
        let response = request.send().await.map_err(|error| passing(&error))?;
        let status = response.status();
        if status.is_success()
            || status.is_redirection()
            || status == StatusCode::RANGE_NOT_SATISFIABLE
        {
            return Ok(response);
        }
        if status.is_server_error()
            || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status)
        {
            let pause = text(response.headers(), RETRY_AFTER.as_str()).and_then(pause);
            return Err(Trouble::Passing { reason: format!("it answers {status}"), pause });
        }
        let (hub, repository) = (self.config.hub.clone(), entry.repository.clone());
        Err(Trouble::Final(match status {
            StatusCode::UNAUTHORIZED => ModelError::NeedsToken { hub, repository },
            StatusCode::FORBIDDEN => ModelError::Forbidden { hub, repository },
            StatusCode::NOT_FOUND => {
                ModelError::NotOnHub { hub, repository, revision: entry.revision.clone() }
            }
            other => self.strange(&format!("it answers {other}")),
        }))
    }

    pub(super) fn strange(&self, reason: &str) -> ModelError {
        ModelError::Hub { hub: self.config.hub.clone(), reason: reason.to_owned() }
    }
}

/// How often, and after which pauses, the hub is asked again; the hub itself may ask for a longer one.
pub(super) struct Patience<'a> {
    hub: &'a Hub,
    tries: u32,
    backoff: Backoff,
}

impl Patience<'_> {
    /// Something moved, so the next failure is the first again.
    pub(super) fn reset(&mut self) {
        self.backoff.reset();
    }

    /// Waits before the next try, or says that there is none.
    pub(super) async fn wait(&mut self, trouble: Trouble) -> Result<(), ModelError> {
        let (reason, pause) = match trouble {
            Trouble::Final(error) => return Err(error),
            Trouble::Passing { reason, pause } => (reason, pause),
        };
        let config = &self.hub.config;
        let own_pause = self.backoff.next_pause();
        if self.backoff.failures() >= self.tries {
            return Err(ModelError::Unreachable {
                hub: config.hub.clone(),
                reason,
                attempts: self.backoff.failures(),
            });
        }
        let longest = Duration::from_millis(config.retry_delay_max_ms);
        let wait = pause.unwrap_or(own_pause).min(longest);
        tracing::warn!(
            hub = config.hub,
            reason,
            wait_ms = wait.as_millis() as u64,
            "the model hub fails; trying again"
        );
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

fn token(config: &ModelsConfig) -> Result<Secret, ModelError> {
    if !config.token.reveal().is_empty() {
        return Ok(config.token.clone());
    }
    Ok(Secret::from_file("models.token_file", &config.token_file)?.unwrap_or_default())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Where the body of a 206 begins.
pub(super) fn range_start(response: &Response) -> Option<u64> {
    let range = text(response.headers(), CONTENT_RANGE.as_str())?.strip_prefix("bytes ")?;
    range.split('-').next()?.parse().ok()
}

fn same_host(a: &Url, b: &Url) -> bool {
    (a.scheme(), a.host_str(), a.port_or_known_default())
        == (b.scheme(), b.host_str(), b.port_or_known_default())
}

/// `"<digits>"`, perhaps weak.
fn checksum(etag: &str) -> Checksum {
    let digits = etag.trim_start_matches("W/").trim_matches('"').to_ascii_lowercase();
    match digits.len() {
        _ if !digits.chars().all(|digit| digit.is_ascii_hexdigit()) => Checksum::Unknown,
        64 => Checksum::Sha256(digits),
        40 => Checksum::GitBlob(digits),
        _ => Checksum::Unknown,
    }
}

/// `Retry-After`: seconds or a date.
fn pause(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    Some(Duration::try_from(date.duration_since(jiff::Timestamp::now())).unwrap_or_default())
}

pub(super) fn passing(error: &reqwest::Error) -> Trouble {
    let reason = if error.is_timeout() {
        "it does not answer in time".to_owned()
    } else if error.is_connect() {
        format!("cannot connect: {}", root_cause(error))
    } else {
        format!("the connection broke: {}", root_cause(error))
    };
    Trouble::Passing { reason, pause: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_of_all_kinds_are_understood() {
        let (long, short) = ("a".repeat(64), "B".repeat(40));
        assert_eq!(checksum(&format!("\"{long}\"")), Checksum::Sha256(long));
        assert_eq!(checksum(&format!("W/\"{short}\"")), Checksum::GitBlob("b".repeat(40)));
        for other in ["", "\"abc\"", &"z".repeat(64)] {
            assert_eq!(checksum(other), Checksum::Unknown);
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(pause("7"), Some(Duration::from_secs(7)));
        assert_eq!(pause("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(pause("soon"), None);
    }
}
