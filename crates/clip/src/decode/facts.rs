//! What a picture's header says about it: when it was taken, with what, and where. Nothing is decoded.

use super::PictureFormat;
use super::blocks::Blocks;
use super::ifd::{Entry, Tiff};
use super::xmp;

/// The longest text that is kept of a header.
const TEXT_CHARS_MAX: usize = 120;

const MAKE: u16 = 0x010F;
const MODEL: u16 = 0x0110;
const ORIENTATION: u16 = 0x0112;
const MODIFIED: u16 = 0x0132;
const EXIF_DIRECTORY: u16 = 0x8769;
const GPS_DIRECTORY: u16 = 0x8825;
const TAKEN: u16 = 0x9003;
const DIGITIZED: u16 = 0x9004;
const LENS_MAKE: u16 = 0xA433;
const LENS_MODEL: u16 = 0xA434;

/// What the header of a picture says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    /// When the picture was taken.
    pub taken: Option<Taken>,
    /// Maker of the camera.
    pub camera_make: Option<String>,
    /// Model of the camera.
    pub camera_model: Option<String>,
    /// The lens.
    pub lens: Option<String>,
    /// Where the picture was taken.
    pub gps: Option<Gps>,
    /// EXIF's number, 1 to 8. HEIF, AVIF and JPEG XL keep the turning in their container instead.
    pub orientation: Option<u8>,
}

/// A time as the camera's clock showed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Year, 1 to 9999.
    pub year: u16,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day, 1 to 31.
    pub day: u8,
    /// Hour, 0 to 23.
    pub hour: u8,
    /// Minute, 0 to 59.
    pub minute: u8,
    /// Second, 0 to 59.
    pub second: u8,
    /// Millisecond, 0 to 999.
    pub millisecond: u16,
    /// Minutes that the clock was ahead of UTC, if the header says so.
    pub offset_minutes: Option<i16>,
    /// Which field it is from.
    pub from: TakenFrom,
}

/// Which field of the header a time is from, the most trusted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenFrom {
    /// EXIF's `DateTimeOriginal`.
    ExifOriginal,
    /// EXIF's `DateTimeDigitized`.
    ExifDigitized,
    /// XMP, written by programs and by some phones.
    Xmp,
    /// EXIF's `DateTime`: when the file was last changed by camera or program.
    ExifModified,
}

/// A place on earth, in degrees and metres.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gps {
    /// North is positive.
    pub latitude: f64,
    /// East is positive.
    pub longitude: f64,
    /// Above the sea.
    pub altitude_m: Option<f64>,
}

impl TakenFrom {
    /// A stable code for the catalog.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ExifOriginal => "exif_original",
            Self::ExifDigitized => "exif_digitized",
            Self::Xmp => "xmp",
            Self::ExifModified => "exif_modified",
        }
    }
}

impl Taken {
    /// Milliseconds since 1970 in UTC; without an offset of its own, with this one.
    pub fn unix_ms(&self, offset_minutes_otherwise: i16) -> i64 {
        let (year, month) = (i64::from(self.year), i64::from(self.month));
        // March is the first month here, so that the leap day is the last of a year
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let days = year * 365 + year / 4 - year / 100
            + year / 400
            + (month * 153 + 2) / 5
            + i64::from(self.day)
            - 719_469;
        let offset = self.offset_minutes.unwrap_or(offset_minutes_otherwise);
        let minutes =
            (days * 24 + i64::from(self.hour)) * 60 + i64::from(self.minute) - i64::from(offset);
        (minutes * 60 + i64::from(self.second)) * 1000 + i64::from(self.millisecond)
    }

    /// Reads `2024:05:06 07:08:09`, also with dashes, a `T`, a fraction and an offset.
    pub(super) fn parse(text: &str, from: TakenFrom) -> Option<Self> {
        let text = text.trim();
        let number = |range: std::ops::Range<usize>| {
            let digits = text.get(range)?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
        };
        let small = |range| number(range).and_then(|number: u16| u8::try_from(number).ok());
        let optional = |range: std::ops::Range<usize>| {
            if text.len() <= range.start { Some(0) } else { small(range) }
        };
        let taken = Self {
            year: number(0..4)?,
            month: small(5..7)?,
            day: small(8..10)?,
            hour: optional(11..13)?,
            minute: optional(14..16)?,
            second: optional(17..19)?,
            millisecond: text.get(19..).and_then(|rest| rest.strip_prefix('.')).map_or(0, fraction),
            offset_minutes: text.get(16..).and_then(trailing_offset),
            from,
        };
        taken.is_possible().then_some(taken)
    }

    fn is_leap_year(&self) -> bool {
        let by = |years: u16| self.year.is_multiple_of(years);
        by(4) && (!by(100) || by(400))
    }

    /// Cameras whose clock was never set write zeros, or the day they were made for.
    fn is_possible(&self) -> bool {
        let days = match self.month {
            2 if self.is_leap_year() => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return false,
        };
        (1800..=9999).contains(&self.year)
            && (1..=days).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60
    }
}

/// Milliseconds out of the digits behind a point.
fn fraction(text: &str) -> u16 {
    let mut digits = text.bytes().take_while(u8::is_ascii_digit).map(|digit| digit - b'0');
    (0..3).fold(0, |sum, _| sum * 10 + u16::from(digits.next().unwrap_or(0)))
}

/// Minutes out of an offset such as `+02:00` or `Z` at the end of a text.
fn trailing_offset(text: &str) -> Option<i16> {
    if text.ends_with('Z') {
        return Some(0);
    }
    let start = text.len().checked_sub(6)?;
    let (sign, rest) = (text.get(start..=start)?, text.get(start + 1..)?);
    let (hours, minutes) = rest.split_once(':')?;
    let offset =
        i16::from(hours.parse::<u8>().ok()?.min(24)) * 60 + i16::from(minutes.parse::<u8>().ok()?);
    match sign {
        "+" => Some(offset),
        "-" => Some(-offset),
        _ => None,
    }
}

/// Reads the facts of a picture from its bytes. The beginning of a file is enough for most formats (256 kB for JPEG,
/// HEIF, AVIF and raw files); what is missing or damaged is left out. Never fails, never panics.
pub fn read_facts(bytes: &[u8]) -> Facts {
    PictureFormat::from_magic(bytes)
        .map(|format| Facts::from_blocks(&Blocks::find(format, bytes)))
        .unwrap_or_default()
}

impl Facts {
    pub(super) fn from_blocks(blocks: &Blocks<'_>) -> Self {
        let mut facts = Self::default();
        for block in &blocks.exif {
            if let Some(tiff) = Tiff::open_exif(block) {
                facts.read_exif(tiff);
            }
        }
        if let Some(xmp) = blocks.xmp {
            facts.read_xmp(xmp);
        }
        facts
    }

    fn read_exif(&mut self, tiff: Tiff<'_>) {
        let Some(first) = tiff.chain().next() else { return };
        let below = |tag: u16| tiff.find(first, tag).and_then(|entry| entry.offset(0));
        // The newer Canons give each directory a block of its own, where it comes first.
        self.read_directory(tiff, first);
        if let Some(place) = below(EXIF_DIRECTORY) {
            self.read_directory(tiff, place);
        }
        let gps = below(GPS_DIRECTORY).unwrap_or(first);
        self.gps = self.gps.or_else(|| read_gps(tiff, gps));
    }

    fn read_directory(&mut self, tiff: Tiff<'_>, place: usize) {
        let mut lens_make = None;
        for entry in tiff.entries(place) {
            match entry.tag {
                MAKE => keep(&mut self.camera_make, entry),
                MODEL => keep(&mut self.camera_model, entry),
                LENS_MAKE => lens_make = entry.text().and_then(clean),
                LENS_MODEL => keep(&mut self.lens, entry),
                ORIENTATION => {
                    let turn = entry.integer(0).and_then(|turn| u8::try_from(turn).ok());
                    self.orientation =
                        self.orientation.or(turn.filter(|turn| (1..=8).contains(turn)));
                }
                TAKEN => self.keep_time(tiff, place, entry, TakenFrom::ExifOriginal),
                DIGITIZED => self.keep_time(tiff, place, entry, TakenFrom::ExifDigitized),
                MODIFIED => self.keep_time(tiff, place, entry, TakenFrom::ExifModified),
                _ => {}
            }
        }
        // Some lenses are named without their maker, but a maker alone names no lens.
        if let (Some(make), Some(lens)) = (lens_make, &mut self.lens)
            && !lens.to_lowercase().starts_with(&make.to_lowercase())
        {
            *lens = format!("{make} {lens}");
        }
    }

    fn keep_time(&mut self, tiff: Tiff<'_>, place: usize, entry: Entry<'_>, from: TakenFrom) {
        let Some(mut taken) = entry.text().and_then(|text| Taken::parse(text, from)) else {
            return;
        };
        // fraction and offset have tags of their own, which for `DateTime` stand in the directory below
        let (fraction_tag, offset_tag) = match from {
            TakenFrom::ExifOriginal => (0x9291, 0x9011),
            TakenFrom::ExifDigitized => (0x9292, 0x9012),
            TakenFrom::ExifModified | TakenFrom::Xmp => (0x9290, 0x9010),
        };
        let below = tiff.find(place, EXIF_DIRECTORY).and_then(|entry| entry.offset(0));
        let directory = below.filter(|_| from == TakenFrom::ExifModified).unwrap_or(place);
        if let Some(digits) = tiff.find(directory, fraction_tag) {
            taken.millisecond = digits.text().map_or(0, |text| fraction(text.trim()));
        }
        if let Some(offset) = tiff.find(directory, offset_tag) {
            taken.offset_minutes = offset.text().and_then(|text| trailing_offset(text.trim()));
        }
        self.take_time(taken);
    }

    fn take_time(&mut self, taken: Taken) {
        if self.taken.is_none_or(|kept| (taken.from as u8) < (kept.from as u8)) {
            self.taken = Some(taken);
        }
    }

    fn read_xmp(&mut self, packet: &[u8]) {
        let value = |names: &[&str]| names.iter().find_map(|name| xmp::value(packet, name));
        let dates = ["exif:DateTimeOriginal", "photoshop:DateCreated", "xmp:CreateDate"];
        if let Some(taken) = value(&dates).and_then(|text| Taken::parse(text, TakenFrom::Xmp)) {
            self.take_time(taken);
        }
        let text = |name: &str| xmp::value(packet, name).and_then(clean);
        self.camera_make = self.camera_make.take().or_else(|| text("tiff:Make"));
        self.camera_model = self.camera_model.take().or_else(|| text("tiff:Model"));
        self.lens = self.lens.take().or_else(|| text("aux:Lens"));
        let turn = || xmp::value(packet, "tiff:Orientation")?.parse().ok();
        self.orientation = self.orientation.or_else(turn).filter(|turn| (1..=8).contains(turn));
    }
}

fn keep(field: &mut Option<String>, entry: Entry<'_>) {
    if field.is_none() {
        *field = entry.text().and_then(clean);
    }
}

/// Without control characters and outer spaces, and not longer than a header field has to be.
fn clean(text: &str) -> Option<String> {
    let printable = text.chars().filter(|char| !char.is_control());
    let text: String = printable.take(TEXT_CHARS_MAX).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn read_gps(tiff: Tiff<'_>, place: usize) -> Option<Gps> {
    let degrees = |reference: u16, value: u16, negative: &str, most: f64| {
        let parts = tiff.find(place, value)?;
        let whole = parts.fraction(0)?;
        let degrees = whole
            + parts.fraction(1).unwrap_or(0.0) / 60.0
            + parts.fraction(2).unwrap_or(0.0) / 3600.0;
        let side = tiff.find(place, reference)?;
        let sign = if side.text()?.trim().eq_ignore_ascii_case(negative) { -1.0 } else { 1.0 };
        (0.0..=most).contains(&degrees).then_some(sign * degrees)
    };
    let latitude = degrees(1, 2, "S", 90.0)?;
    let longitude = degrees(3, 4, "W", 180.0)?;
    let below_sea = tiff.find(place, 5).and_then(|entry| entry.integer(0)) == Some(1);
    let altitude = tiff.find(place, 6).and_then(|entry| entry.fraction(0));
    let altitude_m = altitude.map(|metres| if below_sea { -metres } else { metres });
    // what receivers write that have no fix
    (latitude != 0.0 || longitude != 0.0).then_some(Gps { latitude, longitude, altitude_m })
}

#[cfg(test)]
mod tests;
