//! Where each format keeps what describes a picture: EXIF, XMP and the colour profile. Reads headers only, and finds
//! nothing where a file is damaged.

use std::borrow::Cow;

use super::PictureFormat;
use super::ifd::Tiff;
use super::iso_boxes::{self, Items};
use super::jpeg_markers::segments;

/// The longest colour profile that is kept; those of printers have one or two megabytes.
const PROFILE_BYTES_MAX: usize = 8 << 20;
/// Chunks that are looked at.
const CHUNKS_MAX: usize = 10_000;

/// What was found.
#[derive(Default)]
pub(super) struct Blocks<'a> {
    /// TIFF data. A raw file of the newer kind has one block for each of its directories.
    pub(super) exif: Vec<&'a [u8]>,
    pub(super) xmp: Option<&'a [u8]>,
    /// An ICC profile. PNG's is compressed and not read here.
    pub(super) profile: Option<Cow<'a, [u8]>>,
}

impl<'a> Blocks<'a> {
    /// Of a file, or of as much of it as there is.
    pub(super) fn find(format: PictureFormat, bytes: &'a [u8]) -> Self {
        let mut blocks = Self::default();
        match format {
            PictureFormat::Jpeg => blocks.jpeg(bytes),
            PictureFormat::Png => blocks.png(bytes),
            PictureFormat::WebP => blocks.webp(bytes),
            PictureFormat::Tiff => blocks.tiff(bytes),
            PictureFormat::Heif | PictureFormat::Avif => {
                blocks.items(bytes);
            }
            PictureFormat::Jxl => blocks.jxl(bytes),
            PictureFormat::Raw => blocks.raw(bytes),
            PictureFormat::Gif
            | PictureFormat::Bmp
            | PictureFormat::Jp2
            | PictureFormat::Tga
            | PictureFormat::Ico => {}
        }
        blocks
    }

    fn jpeg(&mut self, bytes: &'a [u8]) {
        let mut profile = Vec::new();
        for (marker, segment) in segments(bytes) {
            match marker {
                0xE1 if segment.starts_with(b"Exif\0") && self.exif.is_empty() => {
                    self.exif.push(segment);
                }
                0xE1 if self.xmp.is_none() => {
                    self.xmp = segment.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0");
                }
                // twelve bytes of name, then which part of how many
                0xE2 if segment.starts_with(b"ICC_PROFILE\0") && segment.len() > 14 => {
                    profile.push((segment[12], &segment[14..]));
                }
                _ => {}
            }
        }
        profile.sort_by_key(|(number, _)| *number);
        let profile: Vec<u8> = profile.iter().flat_map(|(_, part)| *part).copied().collect();
        self.profile = (!profile.is_empty()).then_some(profile.into());
    }

    fn png(&mut self, bytes: &'a [u8]) {
        let mut rest = bytes.get(8..).unwrap_or_default();
        for _ in 0..CHUNKS_MAX {
            let (Some(&length), Some(kind)) = (rest.first_chunk(), rest.get(4..8)) else { return };
            let end = (u32::from_be_bytes(length) as usize).saturating_add(8);
            let Some(data) = rest.get(8..end) else { return };
            match kind {
                b"eXIf" => self.exif.push(data),
                // keyword, no compression, two empty texts
                b"iTXt" => {
                    self.xmp = data.strip_prefix(b"XML:com.adobe.xmp\0\0\0\0\0").or(self.xmp);
                }
                _ => {}
            }
            rest = rest.get(end + 4..).unwrap_or_default();
        }
    }

    fn webp(&mut self, bytes: &'a [u8]) {
        let mut rest = bytes.get(12..).unwrap_or_default();
        for _ in 0..CHUNKS_MAX {
            let (Some(kind), Some(&length)) =
                (rest.first_chunk::<4>(), rest.get(4..).and_then(|rest| rest.first_chunk()))
            else {
                return;
            };
            let end = (u32::from_le_bytes(length) as usize).saturating_add(8);
            let Some(data) = rest.get(8..end) else { return };
            match kind {
                b"EXIF" => self.exif.push(data),
                b"XMP " => self.xmp = Some(data),
                b"ICCP" if data.len() <= PROFILE_BYTES_MAX => self.profile = Some(data.into()),
                _ => {}
            }
            rest = rest.get(end + (end & 1)..).unwrap_or_default();
        }
    }

    fn tiff(&mut self, bytes: &'a [u8]) {
        self.exif.push(bytes);
        let Some(tiff) = Tiff::open(bytes) else { return };
        self.xmp = tiff.find_first(700).map(|entry| entry.value);
        self.profile = tiff
            .find_first(34675)
            .map(|entry| entry.value)
            .filter(|profile| profile.len() <= PROFILE_BYTES_MAX)
            .map(Cow::Borrowed);
    }

    fn items(&mut self, bytes: &'a [u8]) -> Option<()> {
        let items = Items::open(bytes)?;
        // four bytes say how far into the item the TIFF data begins
        let exif = items.data_of(*b"Exif").and_then(|item| {
            let skipped = u32::from_be_bytes(*item.first_chunk()?) as usize;
            item.get(skipped.checked_add(4)?..)
        });
        self.exif.extend(exif);
        self.xmp = items.data_of(*b"mime").filter(|item| contains(item, b"<x:xmpmeta"));
        let colour = items.properties(items.primary()?).into_iter().find_map(|(kind, data)| {
            let profile = data.strip_prefix(b"prof").or_else(|| data.strip_prefix(b"rICC"))?;
            (&kind == b"colr" && profile.len() <= PROFILE_BYTES_MAX).then_some(profile)
        });
        self.profile = colour.map(Cow::Borrowed);
        Some(())
    }

    fn jxl(&mut self, bytes: &'a [u8]) {
        if !bytes.starts_with(b"\0\0\0\x0cJXL ") {
            return;
        }
        for (kind, data) in iso_boxes::boxes(bytes) {
            match &kind {
                b"Exif" => self.exif.extend(data.get(4..)),
                b"xml " => self.xmp = Some(data),
                _ => {}
            }
        }
    }

    fn raw(&mut self, bytes: &'a [u8]) {
        if bytes.starts_with(b"FUJIFILMCCD-RAW") {
            if let Some(preview) = super::raw::fuji_preview(bytes) {
                self.jpeg(preview);
                self.profile = None;
            }
        } else if let Some(movie) = iso_boxes::find(bytes, *b"moov") {
            let canon = iso_boxes::boxes(movie).filter(|(kind, _)| kind == b"uuid");
            for (kind, data) in
                canon.flat_map(|(_, data)| iso_boxes::boxes(data.get(16..).unwrap_or_default()))
            {
                if matches!(&kind, b"CMT1" | b"CMT2" | b"CMT4") {
                    self.exif.push(data);
                }
            }
        } else {
            self.exif.push(bytes);
            self.xmp =
                Tiff::open(bytes).and_then(|tiff| tiff.find_first(700)).map(|entry| entry.value);
        }
    }
}

/// Whether a text is somewhere in the first kilobytes.
fn contains(bytes: &[u8], text: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(4096)];
    memchr::memmem::find(start, text).is_some()
}
