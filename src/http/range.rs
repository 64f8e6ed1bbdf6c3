//! Which part of a picture a request wants: one range of bytes (RFC 9110, 14.2). Several ranges at once are answered with the
//! whole picture, which is always allowed.

use axum::http::{HeaderMap, Method, header};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Whole,
    Part {
        first: u64,
        last: u64,
    },
    /// A range that lies behind the end.
    Nothing,
}

impl Wanted {
    /// Of a picture of `size` bytes whose content goes by `etag`.
    pub(super) fn of(method: &Method, headers: &HeaderMap, etag: &str, size: u64) -> Self {
        // A range under a condition is for who has the beginning of that very content.
        let other_content = headers.get(header::IF_RANGE).is_some_and(|known| known != etag);
        if method != Method::GET || other_content {
            return Self::Whole;
        }
        let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
        range.and_then(|range| Self::parse(range, size)).unwrap_or(Self::Whole)
    }

    /// `None` for what is no single range: it is to be ignored.
    fn parse(range: &str, size: u64) -> Option<Self> {
        let (unit, range) = range.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = range.trim().split_once('-')?;
        let number = |digits: &str| {
            let is_number =
                !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
            is_number.then(|| digits.parse().unwrap_or(u64::MAX))
        };
        let (first, last) = match (first, last) {
            ("", length) => match number(length)? {
                0 => return Some(Self::Nothing),
                length => (size.saturating_sub(length), u64::MAX),
            },
            (first, "") => (number(first)?, u64::MAX),
            (first, last) => (number(first)?, number(last)?),
        };
        if first > last {
            return None;
        }
        let behind = first >= size;
        Some(if behind { Self::Nothing } else { Self::Part { first, last: last.min(size - 1) } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_understood_and_all_else_ignored() {
        let part = |first, last| Some(Wanted::Part { first, last });
        for (range, wanted) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=2-", part(2, 9)),
            ("Bytes=3-99999999999999999999999", part(3, 9)),
            ("bytes=-4", part(6, 9)),
            ("bytes=-40", part(0, 9)),
            ("bytes=10-", Some(Wanted::Nothing)),
            ("bytes=-0", Some(Wanted::Nothing)),
            ("bytes=5-4", None),
            ("bytes=0-1,3-4", None),
            ("bytes=-", None),
            ("bytes=+1-2", None),
            ("lines=0-1", None),
            ("bytes", None),
        ] {
            assert_eq!(Wanted::parse(range, 10), wanted, "{range}");
        }
        assert_eq!(Wanted::parse("bytes=0-", 0), Some(Wanted::Nothing));
    }

    #[test]
    fn a_condition_that_does_not_hold_asks_for_the_whole() {
        let of = |method, if_range: &'static str| {
            let headers = [(header::RANGE, "bytes=0-1"), (header::IF_RANGE, if_range)];
            let headers = headers.map(|(name, value)| (name, value.parse().expect("a value")));
            Wanted::of(&method, &headers.into_iter().collect(), "\"a\"", 10)
        };
        assert_eq!(of(Method::GET, "\"a\""), Wanted::Part { first: 0, last: 1 });
        assert_eq!(of(Method::GET, "W/\"a\""), Wanted::Whole);
        assert_eq!(of(Method::GET, "Sat, 29 Oct 1994 19:43:31 GMT"), Wanted::Whole);
        assert_eq!(of(Method::HEAD, "\"a\""), Wanted::Whole);
    }
}
