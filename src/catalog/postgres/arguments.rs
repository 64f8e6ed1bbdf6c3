//! Lists and texts as PostgreSQL's statements take them.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::types::{ContentHash, ImageName};

/// Hashes as an array, each once and in order, which is the order in which their rows are locked.
pub(super) fn hash_list<'a>(hashes: impl IntoIterator<Item = &'a ContentHash>) -> Vec<Vec<u8>> {
    let once: BTreeSet<&ContentHash> = hashes.into_iter().collect();
    once.into_iter().map(|hash| hash.as_bytes().to_vec()).collect()
}

pub(super) fn name_list(names: &[ImageName]) -> Vec<String> {
    names.iter().map(|name| name.as_str().to_owned()).collect()
}

/// PostgreSQL has no text with a zero in it.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

pub(super) fn optional_text(words: Option<&str>) -> Option<String> {
    words.map(|words| text(words).into_owned())
}
