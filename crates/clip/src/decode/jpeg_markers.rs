//! Walks the markers of a JPEG without decoding it: is it whole, and is it sane?
//!
//! The decoder is lenient (it paints missing parts grey), so a cut file has to be told here: it has no end marker. A
//! progressive file may also ask for thousands of passes over one picture; that is where its time bombs are.

use super::{DecodeError, PictureFormat};

/// Encoders write about 10 scans; the decoder's work grows with scans x pixels.
const MAX_SCANS: usize = 128;

/// Segments that are looked at.
const SEGMENTS_MAX: usize = 10_000;

/// Marker and content of a JPEG's segments before its first scan.
pub(super) fn segments(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = bytes.get(2..).unwrap_or_default();
    std::iter::from_fn(move || {
        while rest.get(1) == Some(&0xFF) {
            rest = &rest[1..];
        }
        let [0xFF, marker, high, low, ..] = *rest else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let segment = rest.get(4..length + 2)?;
        rest = &rest[length + 2..];
        (marker != 0xDA).then_some((marker, segment))
    })
    .take(SEGMENTS_MAX)
}

/// What is wrong with the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// No end-of-image marker.
    Truncated(&'static str),
    /// Broken structure.
    Malformed(&'static str),
}

impl Problem {
    pub(super) fn into_error(self, format: PictureFormat) -> DecodeError {
        match self {
            Self::Truncated(reason) => DecodeError::Truncated { format, reason: reason.into() },
            Self::Malformed(reason) => DecodeError::Malformed { format, reason: reason.into() },
        }
    }
}

/// Passes when the file has at least one scan and an end-of-image marker. What follows that marker is not looked at:
/// cameras append previews and films there.
pub(super) fn check(bytes: &[u8]) -> Result<(), Problem> {
    let mut rest = bytes.get(2..).unwrap_or_default();
    let mut scans = 0;
    loop {
        let (marker, after) = next_marker(rest)?;
        match marker {
            0xD9 if scans == 0 => return Err(Problem::Malformed("it has no image data")),
            0xD9 => return Ok(()),
            // start of image again, restart and TEM markers carry no length
            0xD8 | 0xD0..=0xD7 | 0x01 => rest = after,
            _ => {
                rest = after_segment(after)?;
                if marker == 0xDA {
                    scans += 1;
                    if scans > MAX_SCANS {
                        return Err(Problem::Malformed("it has too many scans"));
                    }
                }
            }
        }
    }
}

/// The next marker's code and what follows it. Entropy-coded data and stray bytes before it are skipped.
fn next_marker(mut rest: &[u8]) -> Result<(u8, &[u8]), Problem> {
    const CUT: Problem = Problem::Truncated("the end-of-image marker is missing");
    loop {
        let start = memchr::memchr(0xFF, rest).ok_or(CUT)?;
        rest = &rest[start + 1..];
        match rest.first() {
            None => return Err(CUT),
            // 0xFF00 is a data byte, 0xFFFF is fill
            Some(0x00) => rest = &rest[1..],
            Some(0xFF) => {}
            Some(&marker) => return Ok((marker, &rest[1..])),
        }
    }
}

fn after_segment(rest: &[u8]) -> Result<&[u8], Problem> {
    let [high, low, ..] = rest else {
        return Err(Problem::Truncated("it ends inside a segment header"));
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length < 2 {
        return Err(Problem::Malformed("a segment has an impossible length"));
    }
    rest.get(length..).ok_or(Problem::Truncated("it ends inside a segment"))
}
