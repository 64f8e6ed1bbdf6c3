//! `[source]`: how pictures are reached that do not lie in a folder of this machine.

use serde::Deserialize;

use super::{ConfigError, check};

/// A listing that says nothing for a minute is given up; one request with all its tries must end before.
const PATIENCE_MAX_MS: u64 = 50_000;
/// What a signature of Amazon's kind may last.
const PRESIGNED_LIFETIME_MAX_S: u64 = 7 * 24 * 3600;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    pub s3: S3Config,
}

/// Buckets. There is no key for a secret: credentials come from the environment, a profile or the machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    pub endpoint: String,
    pub google_endpoint: String,
    pub region: String,
    pub addressing: Addressing,
    pub profile: String,
    pub anonymous: bool,
    pub requester_pays: bool,
    pub requests_max: usize,
    pub page_keys: usize,
    pub connect_timeout_ms: u64,
    pub timeout_ms: u64,
    pub retry_for_ms: u64,
    pub presigned: bool,
    pub presigned_lifetime_s: u64,
    pub hint_bytes_max: usize,
}

/// Where the bucket's name stands in an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Addressing {
    /// In the host at Amazon, in the path at an endpoint of one's own.
    Auto,
    Path,
    Virtual,
}

impl S3Config {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        for (key, endpoint, may_be_empty) in [
            ("source.s3.endpoint", self.endpoint.as_str(), true),
            ("source.s3.google_endpoint", self.google_endpoint.as_str(), false),
        ] {
            let is_address = endpoint.starts_with("https://") || endpoint.starts_with("http://");
            // What may be a password is not repeated.
            check(
                !endpoint.contains('@'),
                key,
                "…".into(),
                "an address without credentials; they come from the environment or a profile",
            )?;
            check(
                (endpoint.is_empty() && may_be_empty)
                    || (is_address && !endpoint.contains(['?', '#'])),
                key,
                endpoint.to_owned(),
                "an address that begins with https:// or http://",
            )?;
        }
        check(
            self.region.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'),
            "source.s3.region",
            self.region.clone(),
            "letters, digits and hyphens, for example eu-central-1",
        )?;
        for (key, value, most) in [
            ("source.s3.requests_max", self.requests_max, 1024),
            ("source.s3.page_keys", self.page_keys, 1000),
        ] {
            check(
                (1..=most).contains(&value),
                key,
                value.to_string(),
                "at least 1, and not beyond the limit that config/default.toml names",
            )?;
        }
        check(
            self.timeout_ms >= 1
                && self.timeout_ms.saturating_add(self.retry_for_ms) <= PATIENCE_MAX_MS,
            "source.s3.timeout_ms",
            self.timeout_ms.to_string(),
            "at least 1, and at most 50000 together with source.s3.retry_for_ms",
        )?;
        check(
            (1..=PRESIGNED_LIFETIME_MAX_S).contains(&self.presigned_lifetime_s),
            "source.s3.presigned_lifetime_s",
            self.presigned_lifetime_s.to_string(),
            "1 to 604800",
        )
    }
}
