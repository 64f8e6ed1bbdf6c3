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
    pub azure: AzureConfig,
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

/// Containers of Azure Blob Storage. Here too, secrets come from the environment or the machine alone.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureConfig {
    pub account: String,
    pub endpoint: String,
    pub anonymous: bool,
    pub requests_max: usize,
    pub page_keys: usize,
    pub reordered_max: usize,
    pub connect_timeout_ms: u64,
    pub timeout_ms: u64,
    pub retry_for_ms: u64,
    pub presigned: bool,
    pub presigned_lifetime_s: u64,
}

impl SourceConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        self.s3.validate()?;
        self.azure.validate()
    }
}

impl S3Config {
    fn validate(&self) -> Result<(), ConfigError> {
        check_endpoint("source.s3.endpoint", &self.endpoint, true)?;
        check_endpoint("source.s3.google_endpoint", &self.google_endpoint, false)?;
        check(
            self.region.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'),
            "source.s3.region",
            self.region.clone(),
            "letters, digits and hyphens, for example eu-central-1",
        )?;
        check_count("source.s3.requests_max", self.requests_max, 1024)?;
        check_count("source.s3.page_keys", self.page_keys, 1000)?;
        check(
            is_patience(self.timeout_ms, self.retry_for_ms),
            "source.s3.timeout_ms",
            self.timeout_ms.to_string(),
            "at least 1, and at most 50000 together with source.s3.retry_for_ms",
        )?;
        check_lifetime("source.s3.presigned_lifetime_s", self.presigned_lifetime_s)
    }
}

impl AzureConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        check_endpoint("source.azure.endpoint", &self.endpoint, true)?;
        check(
            self.account.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()),
            "source.azure.account",
            self.account.clone(),
            "the name of a storage account: small letters and digits",
        )?;
        check_count("source.azure.requests_max", self.requests_max, 1024)?;
        check_count("source.azure.page_keys", self.page_keys, 5000)?;
        check_count("source.azure.reordered_max", self.reordered_max, 10_000_000)?;
        check(
            is_patience(self.timeout_ms, self.retry_for_ms),
            "source.azure.timeout_ms",
            self.timeout_ms.to_string(),
            "at least 1, and at most 50000 together with source.azure.retry_for_ms",
        )?;
        check_lifetime("source.azure.presigned_lifetime_s", self.presigned_lifetime_s)
    }
}

fn check_endpoint(
    key: &'static str,
    endpoint: &str,
    may_be_empty: bool,
) -> Result<(), ConfigError> {
    let is_address = endpoint.starts_with("https://") || endpoint.starts_with("http://");
    // What may be a password or a token is not repeated.
    check(
        !endpoint.contains(['@', '?', '#']),
        key,
        "…".into(),
        "an address without credentials; they come from the environment, a profile or the machine",
    )?;
    check(
        is_address || (endpoint.is_empty() && may_be_empty),
        key,
        endpoint.to_owned(),
        "an address that begins with https:// or http://",
    )
}

fn check_count(key: &'static str, value: usize, most: usize) -> Result<(), ConfigError> {
    check(
        (1..=most).contains(&value),
        key,
        value.to_string(),
        "at least 1, and not beyond the limit that config/default.toml names",
    )
}

fn is_patience(timeout_ms: u64, retry_for_ms: u64) -> bool {
    timeout_ms >= 1 && timeout_ms.saturating_add(retry_for_ms) <= PATIENCE_MAX_MS
}

fn check_lifetime(key: &'static str, lifetime_s: u64) -> Result<(), ConfigError> {
    check(
        (1..=PRESIGNED_LIFETIME_MAX_S).contains(&lifetime_s),
        key,
        lifetime_s.to_string(),
        "1 to 604800",
    )
}
