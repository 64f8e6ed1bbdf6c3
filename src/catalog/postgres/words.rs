//! Words of names and cameras, as SQLite's full-text index sees them (`unicode61 remove_diacritics 2`): runs of letters and digits,
//! in lower case and without accents. PostgreSQL's own parser would take "tennis-ball.png" for the name of a host.

use std::fmt::Write;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// A word of a tsvector has at most 2046 bytes; what is longer is no word.
const WORD_CHARS_MAX: usize = 200;
/// The greatest place in a tsvector.
const PLACE_MAX: usize = 16_383;
/// Between name and camera, so that no phrase goes across.
const GAP: usize = 100;

fn words(text: &str) -> Vec<String> {
    let plain: String = text.nfd().filter(|c| !is_combining_mark(*c)).collect();
    let lower: String = plain.to_lowercase().nfd().filter(|c| !is_combining_mark(*c)).collect();
    let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(|word| word.chars().take(WORD_CHARS_MAX).collect()).collect()
}

/// As the text of a tsvector. Words are letters and digits, so nothing needs to be escaped.
pub(super) fn vector(name: &str, camera: Option<&str>) -> String {
    let (named, camera) = (words(name), words(camera.unwrap_or_default()));
    let behind = named.len() + GAP;
    let places = (1..=named.len()).chain(behind..);
    let mut text = String::new();
    for (word, place) in named.iter().chain(&camera).zip(places) {
        let _ = write!(text, "'{word}':{} ", place.min(PLACE_MAX));
    }
    text
}

/// As the text of a tsquery that all of `asked` must fit, each as a phrase if it is several words; `None` if nothing fits.
pub(super) fn query(asked: &[String], prefix: bool) -> Option<String> {
    let mut phrases = Vec::with_capacity(asked.len());
    for (place, text) in asked.iter().enumerate() {
        let mut quoted: Vec<String> = words(text).iter().map(|word| format!("'{word}'")).collect();
        let last = quoted.last_mut()?;
        if prefix && place + 1 == asked.len() {
            last.push_str(":*");
        }
        phrases.push(format!("({})", quoted.join(" <-> ")));
    }
    (!phrases.is_empty()).then(|| phrases.join(" & "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_and_folded() {
        assert_eq!(words("Größe Urlaub/IMG_1234.JPG"), ["große", "urlaub", "img", "1234", "jpg"]);
        assert_eq!(words("日本/写真 1.png"), ["日本", "写真", "1", "png"]);
        assert_eq!(words("GRÖSSE İ"), ["grosse", "i"]);
        assert_eq!(vector("a'b.png", Some("R5")), "'a':1 'b':2 'png':3 'r5':103 ");
    }

    #[test]
    fn queries_ask_for_all_words_and_hold_no_operators() {
        let asked = |words: &[&str], prefix| {
            query(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), prefix)
        };
        assert_eq!(asked(&["Ténnis", "b"], true).as_deref(), Some("('tennis') & ('b':*)"));
        assert_eq!(asked(&["img_12"], true).as_deref(), Some("('img' <-> '12':*)"));
        assert_eq!(asked(&["a", "&"], false), None);
        assert_eq!(asked(&[], true), None);
    }
}
