//! What went wrong with a request to a bucket, told apart by what it says: something about this object, about the bucket as a
//! whole (credentials, region, name), or nothing at all because it passes. Each text says what to do.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::printable::is_harmful;
use crate::source::SourceError;
use crate::types::ImageName;

/// As much of a store's own words as is passed on.
const WORDS_CHARS_MAX: usize = 200;
/// A store that asks for a longer pause is asked again before, and then asks again.
const PAUSE_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// There is no such object.
    NotFound,
    /// A condition does not hold: the object is there already, or is another one than asked for.
    Condition,
    /// The range lies behind the end.
    Range,
    /// This object, or this action, is not allowed.
    Denied(String),
    /// The bucket cannot be used until somebody does something.
    Refused(String),
    /// The store wants fewer requests, perhaps after a pause of its choice.
    SlowDown {
        words: String,
        pause: Option<Duration>,
    },
    /// The store or the network has trouble.
    Passing(String),
    /// There is no room.
    Full(String),
    /// The store does not know this kind of request.
    Unsupported(String),
    Other(String),
}

impl Fault {
    /// What the status alone says.
    pub(super) fn of_status(status: StatusCode, headers: &HeaderMap, words: String) -> Self {
        match status.as_u16() {
            403 => Self::Denied(words),
            404 => Self::NotFound,
            412 => Self::Condition,
            416 => Self::Range,
            429 | 503 => Self::SlowDown { words, pause: pause(headers) },
            501 => Self::Unsupported(words),
            507 => Self::Full(words),
            // Of two who create the same object, one is told to come again.
            408 | 409 | 500..=599 => Self::Passing(words),
            _ => Self::Other(words),
        }
    }

    /// Whether trying again may help.
    pub(super) fn passes(&self) -> bool {
        matches!(self, Self::SlowDown { .. } | Self::Passing(_))
    }

    /// What it means for the whole source, when it was asked to list.
    pub(super) fn of_source(self, location: String, permission: &str) -> SourceError {
        let waits = if matches!(self, Self::SlowDown { .. }) { "; waiting" } else { "" };
        let reason = self.in_words("to list it", permission);
        SourceError::Away { location, reason: format!("{reason}{waits}") }
    }

    /// For people, after the bucket was asked for `what`, which takes the `permission`.
    pub(super) fn in_words(self, what: &str, permission: &str) -> String {
        match self {
            Self::NotFound => "there is no such bucket or container".to_owned(),
            Self::Denied(words) => {
                format!(
                    "the store refuses {what} ({words}); allow {permission} for these credentials"
                )
            }
            Self::SlowDown { words, .. } => format!("the store asks for fewer requests ({words})"),
            Self::Refused(words)
            | Self::Passing(words)
            | Self::Full(words)
            | Self::Unsupported(words)
            | Self::Other(words) => words,
            Self::Condition | Self::Range => "the store's answer makes no sense".to_owned(),
        }
    }

    /// What it means for one picture that is read.
    pub(super) fn of_picture(self, name: &ImageName, location: String) -> SourceError {
        let name = name.clone();
        match self {
            Self::NotFound => SourceError::NotFound(name),
            Self::Denied(reason) => SourceError::Denied { name, reason },
            Self::Refused(reason) => SourceError::Away { location, reason },
            Self::SlowDown { words, .. } => {
                let reason = format!("the store asks for fewer requests ({words})");
                SourceError::Unavailable { name, reason }
            }
            Self::Passing(reason) => SourceError::Unavailable { name, reason },
            Self::Condition => {
                SourceError::Unavailable { name, reason: "it was changed meanwhile".into() }
            }
            Self::Range => SourceError::Io { name, reason: "it has no such part".into() },
            Self::Full(reason) | Self::Unsupported(reason) | Self::Other(reason) => {
                SourceError::Io { name, reason }
            }
        }
    }

    /// The same when it is written or deleted.
    pub(super) fn of_writing(self, name: &ImageName, location: String) -> SourceError {
        match self {
            Self::Condition => SourceError::Exists(name.clone()),
            Self::Denied(reason) => SourceError::ReadOnly { name: name.clone(), reason },
            Self::Full(reason) => SourceError::Full { name: name.clone(), reason },
            other => other.of_picture(name, location),
        }
    }
}

/// The store's own words, short and without anything that moves a cursor.
pub(super) fn words(status: StatusCode, code: &str, message: &str) -> String {
    // Some stores write more below the first line: when it was, and what number the request had.
    let message = message.lines().next().unwrap_or_default().trim();
    let text = match (code, message) {
        ("", _) => status.to_string(),
        (code, "") => format!("{} {code}", status.as_u16()),
        (code, message) => format!("{} {code}: {message}", status.as_u16()),
    };
    text.trim_end_matches('.').chars().filter(|c| !is_harmful(*c)).take(WORDS_CHARS_MAX).collect()
}

pub(super) fn pause(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(PAUSE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_says_how_long_to_wait() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "3".parse().expect("a header"));
        assert_eq!(pause(&headers), Some(Duration::from_secs(3)));
        headers.insert(RETRY_AFTER, "86400".parse().expect("a header"));
        assert_eq!(pause(&headers), Some(PAUSE_MAX));
    }

    #[test]
    fn a_stores_words_are_short_and_harmless() {
        let long = "x".repeat(10_000);
        let words = words(StatusCode::BAD_REQUEST, "Odd\u{1b}[31m", &long);
        assert!(words.chars().count() <= WORDS_CHARS_MAX && !words.contains('\u{1b}'), "{words}");
        let words = super::words(StatusCode::FORBIDDEN, "No", "Because.\nRequestId:1\nTime:2");
        assert_eq!(words, "403 No: Because");
    }
}
