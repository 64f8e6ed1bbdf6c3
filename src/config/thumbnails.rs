//! `[thumbnails]`: small pictures for lists, and the bucket that they may be shared in.

use serde::Deserialize;

use super::{ConfigError, check};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThumbnailConfig {
    pub quality: u8,
    pub cache_bytes_max: u64,
    pub concurrent_max: usize,
    pub while_indexing: bool,
    pub store: String,
    pub store_timeout_ms: u64,
    pub store_waiting_bytes_max: u64,
}

impl ThumbnailConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        check(
            self.concurrent_max >= 1,
            "thumbnails.concurrent_max",
            self.concurrent_max.to_string(),
            "at least 1",
        )?;
        check(
            (1..=100).contains(&self.quality),
            "thumbnails.quality",
            self.quality.to_string(),
            "1 to 100",
        )?;
        check(
            (1..=60_000).contains(&self.store_timeout_ms),
            "thumbnails.store_timeout_ms",
            self.store_timeout_ms.to_string(),
            "1 to 60000",
        )?;
        check(
            self.store_waiting_bytes_max >= 1 << 20,
            "thumbnails.store_waiting_bytes_max",
            self.store_waiting_bytes_max.to_string(),
            "at least 1048576",
        )
    }
}
