//! `[search]`: how much may be asked for, how many searches wait, and what counts as strong and as nearly the same.

use serde::Deserialize;

use super::{ConfigError, check};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchConfig {
    pub limit_default: u32,
    pub limit_max: u32,
    pub window_max: u32,
    pub rankings_max: usize,
    pub filter_scan_max: usize,
    pub other_names_max: u32,
    pub text_chars_max: usize,
    pub concurrent_max: usize,
    pub waiting_max: usize,
    pub deadline_ms: u64,
    pub queries_max: usize,
    pub sample_pictures: usize,
    pub strong_total_max: usize,
    pub collapse_max: usize,
    pub near_duplicate_cosine: f32,
    pub vocabulary_time_percent: u32,
}

impl SearchConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        // 256 characters of escaped JSON, 50 results and the model's name stay below a token of 4 kB.
        check(
            (1..=256).contains(&self.text_chars_max),
            "search.text_chars_max",
            self.text_chars_max.to_string(),
            "1 to 256, since the token carries the query",
        )?;
        check(
            self.limit_max >= 1 && self.limit_max <= self.window_max,
            "search.limit_max",
            self.limit_max.to_string(),
            "1 to search.window_max",
        )?;
        check(
            (1..=self.limit_max).contains(&self.limit_default),
            "search.limit_default",
            self.limit_default.to_string(),
            "1 to search.limit_max",
        )?;
        check(
            (1..=100_000).contains(&self.filter_scan_max),
            "search.filter_scan_max",
            self.filter_scan_max.to_string(),
            "1 to 100000",
        )?;
        check(
            self.rankings_max >= 1,
            "search.rankings_max",
            self.rankings_max.to_string(),
            "at least 1",
        )?;
        // The token names every part.
        check(
            (1..=16).contains(&self.queries_max),
            "search.queries_max",
            self.queries_max.to_string(),
            "1 to 16",
        )?;
        check(
            (64..=16_384).contains(&self.sample_pictures),
            "search.sample_pictures",
            self.sample_pictures.to_string(),
            "64 to 16384",
        )?;
        check(
            self.vocabulary_time_percent <= 100,
            "search.vocabulary_time_percent",
            self.vocabulary_time_percent.to_string(),
            "0 to 100",
        )?;
        check(
            (0.0..=1.0).contains(&self.near_duplicate_cosine),
            "search.near_duplicate_cosine",
            self.near_duplicate_cosine.to_string(),
            "0 to 1",
        )
    }
}
