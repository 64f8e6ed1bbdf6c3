//! Camera raw files, by the largest JPEG inside: what the camera itself made of the picture.

use super::ifd::Tiff;
use super::iso_boxes;
use super::jpeg_markers::segments;

/// Previews smaller than this are thumbnails: a better one is looked for in the whole file.
const PREVIEW_EDGE_MIN: u32 = 400;
/// Directories that are looked at.
const DIRECTORIES_MAX: usize = 64;
/// Places that look like a JPEG when the whole file is searched.
const CANDIDATES_MAX: usize = 4096;

const SUB_DIRECTORIES: u16 = 330;
const PHOTOMETRIC: u16 = 262;
const DNG_VERSION: u16 = 50706;

/// Whether the bytes begin a raw file. One that is a TIFF is known by directories that may lie further behind.
pub(super) fn is_raw(bytes: &[u8]) -> bool {
    match bytes {
        // Canon, Olympus, Panasonic
        [b'I', b'I', 42, 0, _, _, _, _, b'C', b'R', ..]
        | [b'I', b'I', b'R', b'O' | b'S', ..]
        | [b'M', b'M', b'O', b'R', ..]
        | [b'I', b'I', 0x55, 0, ..] => true,
        [b'I' | b'M', b'I' | b'M', ..] => Tiff::open(bytes).is_some_and(has_sensor_data),
        _ => bytes.starts_with(b"FUJIFILMCCD-RAW"),
    }
}

/// A DNG, or a directory whose pixels are those of a sensor.
fn has_sensor_data(tiff: Tiff<'_>) -> bool {
    tiff.find_first(DNG_VERSION).is_some()
        || directories(tiff).into_iter().any(|place| {
            let photometric = tiff.find(place, PHOTOMETRIC).and_then(|entry| entry.integer(0));
            // colour filter array, linear raw
            matches!(photometric, Some(32803 | 34892))
        })
}

/// The directories of the chain and those below them.
fn directories(tiff: Tiff<'_>) -> Vec<usize> {
    let mut places = Vec::new();
    for place in tiff.chain() {
        places.push(place);
        let below = tiff.find(place, SUB_DIRECTORIES);
        places.extend((0..16).map_while(|index| below?.offset(index)));
    }
    places.truncate(DIRECTORIES_MAX);
    places
}

/// The largest embedded JPEG; it may be followed by more bytes.
pub(super) fn preview(bytes: &[u8]) -> Option<&[u8]> {
    let known = named_previews(bytes);
    let best = largest(known.into_iter());
    if best.is_some_and(|(edge, _)| edge.0.min(edge.1) >= PREVIEW_EDGE_MIN) {
        return best.map(|(_, preview)| preview);
    }
    // Olympus and older cameras keep theirs in notes of their own; the newer Canons in a film's track.
    let found = memchr::memmem::find_iter(bytes, b"\xFF\xD8\xFF")
        .take(CANDIDATES_MAX)
        .filter_map(|place| bytes.get(place..));
    largest(found.chain(best.map(|(_, preview)| preview))).map(|(_, preview)| preview)
}

fn largest<'a>(candidates: impl Iterator<Item = &'a [u8]>) -> Option<((u32, u32), &'a [u8])> {
    candidates
        .filter_map(|candidate| Some((jpeg_size(candidate)?, candidate)))
        .max_by_key(|((width, height), _)| u64::from(*width) * u64::from(*height))
}

/// Width and height of a JPEG that has pixels for the eye: sensor data is kept as lossless JPEG.
pub(super) fn jpeg_size(bytes: &[u8]) -> Option<(u32, u32)> {
    if !bytes.starts_with(&[0xFF, 0xD8, 0xFF]) {
        return None;
    }
    let (_, frame) = segments(bytes).find(|(marker, _)| matches!(marker, 0xC0..=0xC2))?;
    let edge = |place: usize| {
        frame.get(place..)?.first_chunk().map(|&pair| u32::from(u16::from_be_bytes(pair)))
    };
    edge(3).zip(edge(1)).filter(|(width, height)| *width > 0 && *height > 0)
}

/// The previews that the directories name.
fn named_previews(bytes: &[u8]) -> Vec<&[u8]> {
    if bytes.starts_with(b"FUJIFILMCCD-RAW") {
        return fuji_preview(bytes).into_iter().collect();
    }
    let Some(tiff) = Tiff::open(bytes) else {
        return canon_preview(bytes).into_iter().collect();
    };
    let mut previews = Vec::new();
    for place in directories(tiff) {
        let at = |tag: u16| tiff.find(place, tag).and_then(|entry| entry.offset(0));
        // a JPEG as EXIF keeps its thumbnail, and one as the only strip
        for (start, length) in [(at(513), at(514)), (at(273), at(279))] {
            let range =
                start.zip(length).map(|(start, length)| start..start.saturating_add(length));
            previews.extend(range.and_then(|range| bytes.get(range)));
        }
        // Panasonic's is the value of an entry
        previews.extend(tiff.find(place, 0x2E).map(|entry| entry.value));
    }
    previews
}

/// RAF says where its JPEG is in a header of fixed layout.
pub(super) fn fuji_preview(bytes: &[u8]) -> Option<&[u8]> {
    let at = |place: usize| {
        bytes.get(place..)?.first_chunk().map(|&word| u32::from_be_bytes(word) as usize)
    };
    let (start, length) = (at(84)?, at(88)?);
    // the beginning of a file is enough for its facts
    bytes.get(start..start.saturating_add(length).min(bytes.len()))
}

/// CR3 is a film without motion; the preview is in a box after it, the picture in full size in the film's data.
fn canon_preview(bytes: &[u8]) -> Option<&[u8]> {
    let data = iso_boxes::find(bytes, *b"mdat")?;
    data.starts_with(&[0xFF, 0xD8, 0xFF]).then_some(data)
}
