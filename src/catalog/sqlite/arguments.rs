//! Lists as SQLite's statements take them: as JSON.

use serde_json::json;

use crate::types::{ContentHash, ImageName};

pub(super) fn hex_list(hashes: &[ContentHash]) -> String {
    json!(hashes).to_string()
}

pub(super) fn name_list(names: &[ImageName]) -> String {
    json!(names).to_string()
}
