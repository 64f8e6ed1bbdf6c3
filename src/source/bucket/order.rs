//! Puts the keys of a list into the order of their bytes, where a store lists them in another one. Azure compares units of UTF-16,
//! and containers with real folders list a folder with all that is in it before names that go on with a character below the slash.
//! Only what may still have to wait for another key is held, and that is bounded.

use std::collections::BTreeMap;

use super::protocol::{Object, Order};
use crate::types::Fingerprint;

pub(super) struct Reordered {
    order: Order,
    /// Length in bytes of what all keys begin with.
    prefix_length: usize,
    has_real_folders: bool,
    held_max: usize,
    held: BTreeMap<String, Fingerprint>,
}

/// More keys would have to be held than there may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooManyHeld(pub(super) usize);

impl Reordered {
    pub(super) fn new(order: Order, prefix: &str, held_max: usize) -> Self {
        let (prefix_length, has_real_folders) = (prefix.len(), false);
        Self { order, prefix_length, has_real_folders, held_max, held: BTreeMap::new() }
    }

    /// From now on folders are listed at once with what is in them.
    pub(super) fn note_real_folders(&mut self) {
        self.has_real_folders = true;
    }

    /// Takes the next key of the list, and gives those whose turn it is.
    pub(super) fn take(&mut self, object: Object) -> Result<Vec<Object>, TooManyHeld> {
        if self.order == Order::Bytes {
            return Ok(vec![object]);
        }
        let (now, mut ready) = (object.key.clone(), Vec::new());
        self.held.insert(object.key, object.fingerprint);
        while let Some(first) = self.held.first_entry() {
            if may_wait(first.key(), &now, self.prefix_length, self.has_real_folders) {
                break;
            }
            let (key, fingerprint) = first.remove_entry();
            ready.push(Object { key, fingerprint });
        }
        if self.held.len() > self.held_max {
            return Err(TooManyHeld(self.held_max));
        }
        Ok(ready)
    }

    /// What is left when the list is over.
    pub(super) fn rest(self) -> impl Iterator<Item = Object> {
        self.held.into_iter().map(|(key, fingerprint)| Object { key, fingerprint })
    }
}

/// Whether behind `now` a key may be listed that belongs before `held`. The first character at which the orders differ decides: what
/// begins otherwise before it is over and done with.
fn may_wait(held: &str, now: &str, prefix_length: usize, has_real_folders: bool) -> bool {
    let Some(relative) = held.get(prefix_length..) else { return false };
    let differs = |c: char| c > '\u{FFFF}' || (c == '/' && has_real_folders);
    let Some((at, character)) = relative.char_indices().find(|(_, c)| differs(*c)) else {
        return false;
    };
    let Some(rest) = now.strip_prefix(&held[..prefix_length + at]) else { return false };
    // Behind a folder come names with characters below the slash, and then those above.
    character != '/' || rest.chars().next().is_some_and(|next| next <= '/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(listed: &[&str], has_real_folders: bool) -> Result<Vec<String>, TooManyHeld> {
        let mut reordered = Reordered::new(Order::Azures, "p/", 8);
        if has_real_folders {
            reordered.note_real_folders();
        }
        let mut keys = Vec::new();
        for key in listed {
            let fingerprint =
                Fingerprint { size_bytes: 1, version: (*key).to_owned(), modified_ms: 1 };
            let ready = reordered.take(Object { key: format!("p/{key}"), fingerprint })?;
            keys.extend(ready.into_iter().map(|object| object.key));
        }
        keys.extend(reordered.rest().map(|object| object.key));
        Ok(keys.into_iter().map(|key| key["p/".len()..].to_owned()).collect())
    }

    /// All orders of a few pieces: whatever is listed as Azure does comes out in the order of its bytes.
    fn pieces() -> Vec<String> {
        let pieces = ["a", "-", "/", "b", "\u{E000}", "\u{FF01}", "😀", "\u{10FFFF}"];
        let mut names: Vec<String> = pieces.iter().map(|piece| (*piece).to_owned()).collect();
        for _ in 0..2 {
            let longer = names
                .iter()
                .flat_map(|name| pieces.iter().map(move |piece| format!("{name}{piece}")));
            let longer: Vec<String> = longer.collect();
            names.extend(longer);
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    fn all_told(
        mut listed: Vec<String>,
        key: impl Fn(&String) -> Vec<u16>,
        has_real_folders: bool,
    ) -> Vec<String> {
        listed.sort_by_key(key);
        let mut reordered = Reordered::new(Order::Azures, "", usize::MAX);
        if has_real_folders {
            reordered.note_real_folders();
        }
        let mut keys = Vec::new();
        for key in listed {
            let fingerprint = Fingerprint { size_bytes: 1, version: String::new(), modified_ms: 1 };
            keys.extend(reordered.take(Object { key, fingerprint }).expect("room"));
        }
        keys.into_iter().chain(reordered.rest()).map(|object| object.key).collect()
    }

    #[test]
    fn units_of_utf16_become_bytes() {
        let names = pieces();
        let listed = all_told(names.clone(), |name| name.encode_utf16().collect(), false);
        assert_eq!(listed, names);
        assert_eq!(all_told(names.clone(), |_| Vec::new(), false), names, "or stay as they are");
    }

    #[test]
    fn paths_become_bytes() {
        let names = pieces();
        let of_path = |name: &String| name.replace('/', "\u{0}").encode_utf16().collect();
        assert_eq!(all_told(names.clone(), of_path, true), names);
    }

    #[test]
    fn only_what_may_have_to_wait_is_held() {
        let many: Vec<String> = (10..99).map(|number| format!("folder/{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(told(&many, false).expect("nothing is held").len(), many.len());
        assert_eq!(told(&many, true), Err(TooManyHeld(8)));
        assert_eq!(
            told(&["2024/a", "2024/b", "2024-01/a", "2024.png", "2025"], true),
            Ok(["2024-01/a", "2024.png", "2024/a", "2024/b", "2025"].map(str::to_owned).to_vec())
        );
    }
}
