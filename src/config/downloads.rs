//! `[downloads]`: many pictures at once, as one zip file.

use serde::Deserialize;

use super::{ConfigError, check};

/// A zip file without the extensions of Zip64 has at most so many entries and so many bytes, with room for its directory.
const PICTURES_LIMIT: usize = 50_000;
const BYTES_LIMIT: u64 = 4_000_000_000;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DownloadConfig {
    pub pictures_max: usize,
    pub bytes_max: u64,
    pub concurrent_max: usize,
}

impl DownloadConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        check(
            (1..=PICTURES_LIMIT).contains(&self.pictures_max),
            "downloads.pictures_max",
            self.pictures_max.to_string(),
            "1 to 50000",
        )?;
        check(
            (1..=BYTES_LIMIT).contains(&self.bytes_max),
            "downloads.bytes_max",
            self.bytes_max.to_string(),
            "1 to 4000000000, which is what a zip file can hold",
        )?;
        check(
            self.concurrent_max >= 1,
            "downloads.concurrent_max",
            self.concurrent_max.to_string(),
            "at least 1",
        )
    }
}
