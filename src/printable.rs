//! Text that others chose (names of files, what a library says of a broken one), made harmless for terminals and logs: what
//! would move the cursor, change colours, begin a new line or turn the direction of the text is written as an escape.

use std::fmt::{self, Write};

/// Whether a character does something else than being shown.
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Shows a text with everything harmful escaped.
pub fn printable(text: &str) -> Printable<'_> {
    Printable { text, keeps_lines: false }
}

/// The same for a text of several lines of our own.
pub fn printable_lines(text: &str) -> Printable<'_> {
    Printable { text, keeps_lines: true }
}

pub struct Printable<'a> {
    text: &'a str,
    keeps_lines: bool,
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.text.chars() {
            match c {
                '\n' if self.keeps_lines => f.write_char(c)?,
                '\n' | '\r' | '\t' => write!(f, "{}", c.escape_default())?,
                c if is_harmful(c) => write!(f, "{}", c.escape_unicode())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// JSON that means the same, with everything harmful escaped as JSON does it. Line ends between its parts stay.
pub fn printable_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && is_harmful(c) {
            // All of them are in the plane that has four digits.
            let _ = write!(shown, "\\u{:04x}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_more_than_show_is_escaped() {
        let shown = |text: &str| printable(text).to_string();
        assert_eq!(shown("Größe 日本 👩‍👩‍👧 \"x\""), "Größe 日本 👩‍👩‍👧 \"x\"");
        assert_eq!(shown("a\u{1b}[2J\nb\tc"), "a\\u{1b}[2J\\nb\\tc");
        assert_eq!(
            shown("gnp.\u{202e}x\u{9b}\u{7f}\u{2028}"),
            "gnp.\\u{202e}x\\u{9b}\\u{7f}\\u{2028}"
        );
        assert_eq!(printable_lines("a\nb\r").to_string(), "a\nb\\r");
    }

    #[test]
    fn json_keeps_its_meaning() {
        let text = "a\u{1b}\n\u{202e}\u{9b}é\"\\";
        let json = serde_json::to_string_pretty(&serde_json::json!({"text": text})).expect("JSON");
        let shown = printable_json(&json);
        assert!(!shown.chars().any(|c| c != '\n' && is_harmful(c)), "{shown}");
        let read: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(read["text"], text);
    }
}
