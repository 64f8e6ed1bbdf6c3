//! Moments as people and programs write them, in requests and on the command line: dates, times, and times with an offset.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Milliseconds since 1970 of an RFC 3339 time, or of a date (its beginning) or time without an offset, which are taken for
/// UTC. `None` for anything else.
pub fn parse_ms(text: &str) -> Option<i64> {
    let utc = || TimeZone::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok();
    let moment = text.parse::<jiff::Timestamp>().ok().or_else(utc)?;
    Some(moment.as_millisecond())
}

/// RFC 3339, UTC; empty for what is no moment that can be written.
pub fn timestamp(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_or_times() {
        assert_eq!(parse_ms("1970-01-02"), Some(86_400_000));
        assert_eq!(parse_ms("1970-01-01T00:00:01"), Some(1_000));
        assert_eq!(parse_ms("1970-01-01T02:00:01+02:00"), Some(1_000));
        assert_eq!(parse_ms("1969-12-31T23:59:59Z"), Some(-1_000));
        for wrong in ["", "yesterday", "2024", "2024-13-01", "1e9", "2024-05-01T25:00:00Z"] {
            assert_eq!(parse_ms(wrong), None, "{wrong}");
        }
    }
}
