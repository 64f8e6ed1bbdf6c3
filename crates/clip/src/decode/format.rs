//! Tells from the first bytes of a file what it is: a picture of which format, clearly something else, or unknown.

use serde::{Deserialize, Serialize};

use super::raw;

/// The picture formats that are understood. Told by content, never by file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PictureFormat {
    /// Baseline and progressive; grayscale, YCbCr, RGB, CMYK, YCCK. Of a motion photo the still.
    Jpeg,
    /// 1 to 16 bit, palette, alpha; of an animated one the default image.
    Png,
    /// Lossy and lossless; of an animated one the first frame.
    WebP,
    /// The first frame.
    Gif,
    /// Windows and OS/2 bitmap.
    Bmp,
    /// The first page.
    Tiff,
    /// HEIC and HEIF with HEVC inside, as phones write it: the primary image.
    Heif,
    /// The primary image.
    Avif,
    /// JPEG XL, bare or in a container: the first frame.
    Jxl,
    /// JPEG 2000, a file or a bare codestream.
    Jp2,
    /// A camera's raw file, by its largest embedded JPEG: CR2, CR3, NEF, ARW, DNG, RAF, ORF, RW2, PEF, SRW.
    Raw,
    /// Truevision TGA.
    Tga,
    /// Windows icon: its largest picture.
    Ico,
}

/// What the first bytes of a file say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sniffed {
    /// A picture, so far.
    Picture(PictureFormat),
    /// Clearly no picture that is read here; in a word what it is, such as `"video"`.
    Other(&'static str),
    /// Neither; the file may be damaged.
    Unknown,
}

/// How many bytes [`sniff`] and [`PictureFormat::from_magic`] look at.
pub const SNIFF_BYTES: usize = 512;

impl PictureFormat {
    /// Whether its decoder is one whose faults may cost more than a picture: much `unsafe` code, or panics that cannot be
    /// caught, as in functions that C could call. docs/decisions/0017 has the measurements.
    pub fn wants_a_process(self) -> bool {
        matches!(self, Self::Avif | Self::Jxl)
    }

    /// Every format.
    pub const ALL: [Self; 13] = [
        Self::Jpeg,
        Self::Png,
        Self::WebP,
        Self::Gif,
        Self::Bmp,
        Self::Tiff,
        Self::Heif,
        Self::Avif,
        Self::Jxl,
        Self::Jp2,
        Self::Raw,
        Self::Tga,
        Self::Ico,
    ];

    /// The lower-case name, such as `"jpeg"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::WebP => "webp",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
            Self::Tiff => "tiff",
            Self::Heif => "heif",
            Self::Avif => "avif",
            Self::Jxl => "jxl",
            Self::Jp2 => "jp2",
            Self::Raw => "raw",
            Self::Tga => "tga",
            Self::Ico => "ico",
        }
    }

    /// The media type, such as `"image/jpeg"`.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::WebP => "image/webp",
            Self::Gif => "image/gif",
            Self::Bmp => "image/bmp",
            Self::Tiff => "image/tiff",
            Self::Heif => "image/heif",
            Self::Avif => "image/avif",
            Self::Jxl => "image/jxl",
            Self::Jp2 => "image/jp2",
            Self::Raw => "image/x-raw",
            Self::Tga => "image/x-tga",
            Self::Ico => "image/vnd.microsoft.icon",
        }
    }

    /// Whether this build of the program reads it: some decoders are features of the crate.
    pub fn is_read(self) -> bool {
        let optional = [
            (Self::Heif, cfg!(feature = "heif")),
            (Self::Avif, cfg!(feature = "avif")),
            (Self::Jxl, cfg!(feature = "jxl")),
            (Self::Jp2, cfg!(feature = "jp2")),
        ];
        optional.iter().all(|(format, built)| *format != self || *built)
    }

    /// Whether every browser of today shows it. The others need a thumbnail also where the picture itself is asked for.
    pub fn shown_by_browsers(self) -> bool {
        matches!(
            self,
            Self::Jpeg | Self::Png | Self::WebP | Self::Gif | Self::Bmp | Self::Avif | Self::Ico
        )
    }

    /// Tells the format from the first [`SNIFF_BYTES`] of a file; for most, 16 are enough. A raw file that is a TIFF is
    /// told from other TIFFs only when more of it is there.
    pub fn from_magic(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0xFF, 0xD8, 0xFF, ..] => Some(Self::Jpeg),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Some(Self::Png),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Self::WebP),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Self::Gif),
            // "BM" alone begins many a text; the reserved bytes are zero in every bitmap that is one
            [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => Some(Self::Bmp),
            _ if raw::is_raw(bytes) => Some(Self::Raw),
            // classic and BigTIFF, in both byte orders
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Some(Self::Tiff),
            [_, _, _, _, b'f', b't', b'y', b'p', ..] => from_brands(bytes),
            [0xFF, 0x0A, ..]
            | [0, 0, 0, 12, b'J', b'X', b'L', b' ', b'\r', b'\n', 0x87, b'\n', ..] => {
                Some(Self::Jxl)
            }
            [0, 0, 0, 12, b'j', b'P', b' ', b' ', b'\r', b'\n', 0x87, b'\n', ..]
            | [0xFF, 0x4F, 0xFF, 0x51, ..] => Some(Self::Jp2),
            [0, 0, 1, 0, count, 0, _, _, _, 0, ..] if *count > 0 => Some(Self::Ico),
            _ if is_tga(bytes) => Some(Self::Tga),
            _ => None,
        }
    }
}

/// Tells what a file is from its first [`SNIFF_BYTES`]. Fewer tell less.
pub fn sniff(bytes: &[u8]) -> Sniffed {
    if let Some(format) = PictureFormat::from_magic(bytes) {
        return Sniffed::Picture(format);
    }
    let found = OTHERS
        .iter()
        .find(|(place, magic, _)| bytes.get(*place..).is_some_and(|rest| rest.starts_with(magic)));
    if let Some((_, _, kind)) = found {
        return Sniffed::Other(kind);
    }
    match bytes {
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' ', ..] => Sniffed::Other("video"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Sniffed::Other("audio"),
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => Sniffed::Other(media(brand)),
        // QuickTime of before there were brands
        [_, _, _, _, b'm', b'o', b'o', b'v', ..] | [_, _, _, _, b'm', b'd', b'a', b't', ..] => {
            Sniffed::Other("video")
        }
        // MPEG audio without a tag
        [0xFF, 0xE2..=0xE7 | 0xF2..=0xF7 | 0xFA | 0xFB, ..] => Sniffed::Other("audio"),
        // a transport stream repeats its sync byte every 188 bytes
        [0x47, ..] if bytes.get(188) == Some(&0x47) && bytes.get(376) == Some(&0x47) => {
            Sniffed::Other("video")
        }
        _ if is_text(bytes) => Sniffed::Other("text"),
        _ => Sniffed::Unknown,
    }
}

/// Where which bytes stand, and what begins so.
const OTHERS: &[(usize, &[u8], &str)] = &[
    (0, b"\x1A\x45\xDF\xA3", "video"), // Matroska, WebM
    (0, b"\0\0\x01\xBA", "video"),     // MPEG
    (0, b"\0\0\x01\xB3", "video"),
    (0, b"FLV\x01", "video"),
    (0, b"\x30\x26\xB2\x75\x8E\x66\xCF\x11", "video"), // Windows media
    (0, b"OggS", "audio"),
    (0, b"ID3", "audio"),
    (0, b"fLaC", "audio"),
    (0, b"MThd", "audio"),
    (0, b"#!AMR", "audio"),
    (0, b"FORM", "audio"), // AIFF
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"8BPS", "Photoshop document"),
    (0, b"gimp xcf", "GIMP document"),
    (0, b"PK\x03\x04", "archive or office document"),
    (0, b"PK\x05\x06", "archive"),
    (0, b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", "office document"),
    (0, b"\x1F\x8B", "archive"),
    (0, b"BZh", "archive"),
    (0, b"\xFD7zXZ\0", "archive"),
    (0, b"7z\xBC\xAF\x27\x1C", "archive"),
    (0, b"\x28\xB5\x2F\xFD", "archive"),
    (0, b"Rar!\x1A\x07", "archive"),
    (257, b"ustar", "archive"),
    (0, b"\x7FELF", "program"),
    (0, b"MZ\x90\0", "program"),
    (0, b"\xCA\xFE\xBA\xBE", "program"),
    (0, b"\xCF\xFA\xED\xFE", "program"),
    (0, b"\0asm", "program"),
    (0, b"SQLite format 3\0", "database"),
    (0, b"wOFF", "font"),
    (0, b"wOF2", "font"),
    (0, b"OTTO", "font"),
    (0, b"\0\x05\x16\x07", "companion file of macOS"),
    (0, b"\0\0\0\x01Bud1", "companion file of macOS"),
    (0, b"\xFF\xFE", "text"), // UTF-16
    (0, b"\xFE\xFF", "text"),
];

/// The brands of an ISO media file, the major one first.
fn brands(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let size = bytes.first_chunk().map_or(0, |&size| u32::from_be_bytes(size)) as usize;
    let all = &bytes[..bytes.len().min(size)];
    let minor = all.get(16..).unwrap_or_default();
    all.get(8..12).into_iter().chain(minor.chunks_exact(4)).take(32)
}

fn from_brands(bytes: &[u8]) -> Option<PictureFormat> {
    let one = |brand: &[u8]| match brand {
        b"avif" | b"avis" => Some(PictureFormat::Avif),
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"hevm" | b"hevs" => {
            Some(PictureFormat::Heif)
        }
        b"crx " => Some(PictureFormat::Raw),
        b"jp2 " | b"jpx " | b"jph " => Some(PictureFormat::Jp2),
        b"jxl " => Some(PictureFormat::Jxl),
        _ => None,
    };
    let generic = || {
        let mut brands = brands(bytes);
        brands.any(|brand| brand == b"mif1" || brand == b"msf1").then_some(PictureFormat::Heif)
    };
    brands(bytes).find_map(one).or_else(generic)
}

/// What an ISO media file holds that is no picture.
fn media(brand: &[u8]) -> &'static str {
    if brand.starts_with(b"M4A") || brand.starts_with(b"M4B") { "audio" } else { "video" }
}

/// TGA has no magic; its header has so many impossible values that few other files pass.
fn is_tga(bytes: &[u8]) -> bool {
    let Some(header) = bytes.first_chunk::<18>() else { return false };
    let [_, mapped, kind, ..] = *header;
    let map = &header[3..8];
    let size = &header[12..16];
    let depth = header[16];
    let mapped_right = match (mapped, kind) {
        (1, 1 | 9) => matches!(map[4], 15 | 16 | 24 | 32) && depth == 8,
        (0, 2 | 10) => map == [0; 5] && matches!(depth, 15 | 16 | 24 | 32),
        (0, 3 | 11) => map == [0; 5] && matches!(depth, 8 | 16),
        _ => false,
    };
    // no interleaving, which nobody writes
    mapped_right && size[..2] != [0; 2] && size[2..] != [0; 2] && header[17] & 0xC0 == 0
}

/// Printable characters, and nothing that is none.
fn is_text(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(SNIFF_BYTES)];
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // a character may be cut at the end
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty()
        && text
            .chars()
            .all(|char| !char.is_control() || matches!(char, '\n' | '\r' | '\t' | '\x0C'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_picture_is_told_by_its_first_bytes() {
        let transport = [&[0x47; 1][..], &[0; 187], &[0x47], &[0; 187], &[0x47], &[0; 50]].concat();
        let tar = [&[b'a'; 257][..], b"ustar\0"].concat();
        let cases: &[(&[u8], &str)] = &[
            (b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41", "video"),
            (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "video"),
            (b"\0\0\0\x1cftypM4A \0\0\0\0M4A mp42isom", "audio"),
            (b"RIFF\x10\0\0\0AVI LIST", "video"),
            (b"RIFF\x10\0\0\0WAVEfmt ", "audio"),
            (&transport, "video"),
            (&tar, "archive"),
            (b"{\"title\": \"IMG_0001.jpg\"}", "text"),
            ("<?xml version=\"1.0\"?><x>größe</x>".as_bytes(), "text"),
            (b"PK\x03\x04\x14\0", "archive or office document"),
            (b"%PDF-1.7\n", "PDF"),
            (b"ID3\x04\0\0", "audio"),
        ];
        for (bytes, kind) in cases {
            assert_eq!(sniff(bytes), Sniffed::Other(kind), "{}", bytes.escape_ascii());
        }
        assert_eq!(sniff(&[0; 64]), Sniffed::Unknown);
        assert_eq!(sniff(&[]), Sniffed::Unknown);
    }

    #[test]
    fn brands_tell_the_formats_of_the_iso_family() {
        let file = |major: &str, minor: &str| {
            let mut bytes = (16 + minor.len() as u32).to_be_bytes().to_vec();
            bytes.extend(b"ftyp");
            bytes.extend(major.as_bytes());
            bytes.extend([0; 4]);
            bytes.extend(minor.as_bytes());
            bytes
        };
        let format = |major, minor| PictureFormat::from_magic(&file(major, minor));
        assert_eq!(format("heic", "mif1heic"), Some(PictureFormat::Heif));
        assert_eq!(format("mif1", "mif1heic"), Some(PictureFormat::Heif));
        assert_eq!(format("mif1", "mif1avifmiaf"), Some(PictureFormat::Avif));
        assert_eq!(format("avif", "avifmif1"), Some(PictureFormat::Avif));
        assert_eq!(format("crx ", "crx isom"), Some(PictureFormat::Raw));
        assert_eq!(format("isom", "isommp42"), None);
    }
}
