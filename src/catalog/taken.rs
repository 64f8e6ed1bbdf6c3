//! When an image was taken: what its header says counts most, then a date in its name or folder, then the file's own time.
//! A header that says only when the file was last changed is believed less than a name.

use clip::TakenFrom;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use crate::types::ImageName;

/// Years that a date in a name can have.
const YEARS: std::ops::RangeInclusive<i16> = 1826..=2100;
/// Milliseconds since 1970 as names have them: 13 digits, from 2001 to 2033.
const UNIX_MS_DIGITS: usize = 13;
/// Characters between a date and the time behind it.
const GAP_MAX: usize = 4;

/// When an image was taken, as well as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageTaken {
    /// Since 1970. Without an offset it is what the camera's clock showed, as if that had been UTC.
    pub ms: i64,
    /// How far the clock was ahead of UTC, if that is known.
    pub offset_minutes: Option<i16>,
    /// `exif_original`, `exif_digitized`, `xmp`, `name`, `exif_modified` or `file`; `None` while the header has not been read.
    pub from: Option<String>,
}

impl ImageTaken {
    /// From what there is.
    pub(super) fn best(header: Option<&clip::Taken>, name: &ImageName, modified_ms: i64) -> Self {
        let of_header = |taken: &clip::Taken| Self {
            ms: taken.unix_ms(0),
            offset_minutes: taken.offset_minutes,
            from: Some(taken.from.as_str().to_owned()),
        };
        let trusted = header.filter(|taken| taken.from != TakenFrom::ExifModified);
        let named = || {
            let (ms, offset_minutes) = in_name(name)?;
            Some(Self { ms, offset_minutes, from: Some("name".to_owned()) })
        };
        trusted.map(of_header).or_else(named).or_else(|| header.map(of_header)).unwrap_or_else(
            || Self { ms: modified_ms, offset_minutes: Some(0), from: Some("file".to_owned()) },
        )
    }

    /// RFC 3339; without an offset if there is none.
    pub fn to_text(&self) -> String {
        let Ok(time) = jiff::Timestamp::from_millisecond(self.ms) else { return String::new() };
        match self
            .offset_minutes
            .map(|minutes| jiff::tz::Offset::from_seconds(i32::from(minutes) * 60))
        {
            None => TimeZone::UTC.to_datetime(time).to_string(),
            Some(Ok(offset)) if offset != jiff::tz::Offset::UTC => {
                time.display_with_offset(offset).to_string()
            }
            Some(_) => time.to_string(),
        }
    }
}

/// The file's own name says more than the folders above it; of those the innermost.
fn in_name(name: &ImageName) -> Option<(i64, Option<i16>)> {
    let (folders, file) = name.as_str().rsplit_once('/').unwrap_or(("", name.as_str()));
    let runs = Runs::of(file);
    let in_file = (0..runs.0.len()).find_map(|index| runs.moment(index));
    in_file.or_else(|| {
        let runs = Runs::of(folders);
        let date = (0..runs.0.len()).rev().find_map(|index| Some(runs.date(index)?.0));
        date.and_then(|date| Some((ms(date.to_datetime(Time::midnight()))?, None)))
    })
}

fn ms(moment: DateTime) -> Option<i64> {
    TimeZone::UTC.to_timestamp(moment).ok().map(jiff::Timestamp::as_millisecond)
}

/// A run of digits, and what stands between it and the one before.
struct Run<'a> {
    digits: &'a str,
    gap: &'a str,
}

/// The runs of digits of a text.
struct Runs<'a>(Vec<Run<'a>>);

impl<'a> Runs<'a> {
    fn of(text: &'a str) -> Self {
        let (mut runs, mut rest) = (Vec::new(), text);
        while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
            let (gap, digits) = rest.split_at(start);
            let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            let (digits, behind) = digits.split_at(end);
            runs.push(Run { digits, gap });
            rest = behind;
        }
        Self(runs)
    }

    /// A date with or without a time, or milliseconds since 1970, that begins with this run.
    fn moment(&self, index: usize) -> Option<(i64, Option<i16>)> {
        let digits = self.0.get(index)?.digits;
        if digits.len() == UNIX_MS_DIGITS && digits.starts_with('1') {
            return Some((digits.parse().ok()?, Some(0)));
        }
        if digits.len() == 14 {
            let (date, time) = (date(digits.get(..8)?)?, time(digits.get(8..)?)?);
            return Some((ms(date.to_datetime(time))?, None));
        }
        let (date, next) = self.date(index)?;
        let time = self.time(next).unwrap_or(Time::midnight());
        Some((ms(date.to_datetime(time))?, None))
    }

    /// `20240506`, or `2024-05-06` with any one character between. Also which run comes next.
    fn date(&self, index: usize) -> Option<(Date, usize)> {
        let run = |at: usize| self.0.get(at).map(|run| run.digits);
        let year = run(index)?;
        if year.len() == 8 {
            return Some((date(year)?, index + 1));
        }
        let is_joined = |at: usize| self.0.get(at).is_some_and(|run| run.gap.chars().count() == 1);
        let (month, day) = (run(index + 1)?, run(index + 2)?);
        let is_date = year.len() == 4 && month.len() == 2 && day.len() == 2;
        (is_date && is_joined(index + 1) && is_joined(index + 2))
            .then(|| Some((date(&format!("{year}{month}{day}"))?, index + 3)))?
    }

    /// `070809`, with or without a fraction, or `07.08.09`.
    fn time(&self, index: usize) -> Option<Time> {
        let run = |at: usize| self.0.get(at).map(|run| run.digits);
        let first = self.0.get(index).filter(|run| run.gap.chars().count() <= GAP_MAX)?;
        match first.digits.len() {
            6 | 9 => time(first.digits),
            2 => {
                let (minute, second) = (run(index + 1)?, run(index + 2)?);
                let is_time = minute.len() == 2 && second.len() == 2;
                is_time.then(|| time(&format!("{}{minute}{second}", first.digits)))?
            }
            _ => None,
        }
    }
}

fn date(digits: &str) -> Option<Date> {
    let year = digits.get(..4)?.parse().ok().filter(|year| YEARS.contains(year))?;
    Date::new(year, digits.get(4..6)?.parse().ok()?, digits.get(6..8)?.parse().ok()?).ok()
}

fn time(digits: &str) -> Option<Time> {
    let part = |range: std::ops::Range<usize>| digits.get(range)?.parse::<i8>().ok();
    let fraction: i32 = digits
        .get(6..)
        .filter(|rest| !rest.is_empty())
        .map_or(Some(0), |rest| rest.parse().ok())?;
    Time::new(part(0..2)?, part(2..4)?, part(4..6)?, fraction * 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(name: &str, header: Option<clip::Taken>) -> (String, String) {
        let name = ImageName::new(name).expect("a valid name");
        let taken = ImageTaken::best(header.as_ref(), &name, 1_000);
        (taken.to_text(), taken.from.expect("always known"))
    }

    fn header(from: TakenFrom, offset_minutes: Option<i16>) -> clip::Taken {
        let (year, month, day, hour, minute, second) = (2020, 1, 2, 3, 4, 5);
        clip::Taken { year, month, day, hour, minute, second, millisecond: 0, offset_minutes, from }
    }

    #[test]
    fn names_of_phones_cameras_and_messengers_tell_their_time() {
        for (name, wanted) in [
            ("IMG_20240506_070809.jpg", "2024-05-06T07:08:09"),
            ("PXL_20240506_070809123.jpg", "2024-05-06T07:08:09.123"),
            ("20240506070809.png", "2024-05-06T07:08:09"),
            ("2024-05-06 07.08.09.jpg", "2024-05-06T07:08:09"),
            ("Screenshot_2024-05-06-07-08-09.png", "2024-05-06T07:08:09"),
            ("Screenshot 2024-05-06 at 07.08.09.png", "2024-05-06T07:08:09"),
            ("IMG-20240506-WA0001.jpg", "2024-05-06T00:00:00"),
            ("1965_07_04 wedding.tif", "1965-07-04T00:00:00"),
            ("20240506_999999.jpg", "2024-05-06T00:00:00"),
            ("2019/2020/2021-03-04 Rom/one.jpg", "2021-03-04T00:00:00"),
            ("2021/03/04/IMG_0001.jpg", "2021-03-04T00:00:00"),
            ("FB_IMG_1554033322000.jpg", "2019-03-31T11:55:22Z"),
        ] {
            assert_eq!(taken(name, None), (wanted.to_owned(), "name".to_owned()), "{name}");
        }
    }

    #[test]
    fn numbers_that_are_no_date_are_none() {
        for name in [
            "IMG_1234.jpg",
            "12345678.jpg",
            "20241350.jpg",
            "2024-02-30.jpg",
            "DSC02024-05.jpg",
            "99999999999999.png",
            "2024 05  06.jpg",
            "1920x1080/1.png",
        ] {
            assert_eq!(
                taken(name, None),
                ("1970-01-01T00:00:01Z".to_owned(), "file".to_owned()),
                "{name}"
            );
        }
    }

    #[test]
    fn the_header_comes_first_but_a_name_before_the_time_of_a_change() {
        let name = "IMG_20240506_070809.jpg";
        let from = |header| taken(name, Some(header));
        let (text, source) = from(header(TakenFrom::ExifOriginal, Some(120)));
        assert_eq!(
            (text.as_str(), source.as_str()),
            ("2020-01-02T03:04:05+02:00", "exif_original")
        );
        assert_eq!(from(header(TakenFrom::Xmp, None)).0, "2020-01-02T03:04:05");
        assert_eq!(from(header(TakenFrom::ExifModified, None)).1, "name");
        let (_, source) = taken("a.jpg", Some(header(TakenFrom::ExifModified, None)));
        assert_eq!(source, "exif_modified");
    }
}
