//! Bytes of unknown origin become an RGB picture or a typed reason why not.
//!
//! Every limit is checked at the earliest moment: bytes before anything, pixels and memory from the header before the
//! picture is allocated, wall-clock time while the decoder reads. Third-party decoders run inside `catch_unwind`, so
//! that a bug in one of them costs one picture and not the process.

#[cfg(feature = "avif")]
mod avif;
mod blocks;
mod color;
mod facts;
mod format;
#[cfg(feature = "heif")]
mod heif;
mod ifd;
mod iso_boxes;
#[cfg(feature = "jp2")]
mod jp2;
mod jpeg_markers;
mod jpeg_scaled;
#[cfg(feature = "jxl")]
mod jxl;
mod raw;
mod rgb;
mod tiff;
mod xmp;

use std::borrow::Cow;
use std::io::{BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use image::codecs::{
    bmp::BmpDecoder, gif::GifDecoder, ico::IcoDecoder, jpeg::JpegDecoder, png::PngDecoder,
    tga::TgaDecoder, tiff::TiffDecoder, webp::WebPDecoder,
};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, Limits, RgbImage};
use serde::{Deserialize, Serialize};

use self::blocks::Blocks;
pub use self::facts::{Facts, Gps, Taken, TakenFrom, read_facts};
pub use self::format::{PictureFormat, SNIFF_BYTES, Sniffed, sniff};
use self::jpeg_scaled::Declined;

/// What one picture may cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecodeLimits {
    /// Largest file, in bytes.
    pub max_bytes: u64,
    /// Largest width x height that the header may announce.
    pub max_pixels: u64,
    /// Largest sum of the buffers for one picture, in bytes.
    pub max_alloc_bytes: u64,
    /// Wall-clock time for one picture, in milliseconds. It is looked at whenever the decoder reads from the file and
    /// between the stages; a stage that computes without reading (a JPEG is read whole before it is decoded) is not
    /// interrupted, only bounded by the other limits, and its result is discarded if it came too late.
    pub timeout_ms: u64,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            max_pixels: 100_000_000,
            max_alloc_bytes: 1 << 30,
            timeout_ms: 20_000,
        }
    }
}

/// How large a picture has to be for its purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Every pixel that there is.
    Full,
    /// A smaller picture does, if it takes less work and its shorter edge has at least this many pixels. For a model
    /// that is twice its own edge, see [`crate::Preprocessor::wanted`].
    ShortEdge(u32),
}

/// A picture, ready for [`crate::Model::preprocess`] or for a thumbnail.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// 8-bit RGB as the viewer sees it: orientation applied, transparency composed over white. The numbers are those
    /// of the file, whatever its colour profile says, because that is what models were trained on.
    pub rgb: RgbImage,
    /// What the bytes were.
    pub format: PictureFormat,
    /// Width in full size, upright. Larger than that of [`Decoded::rgb`] if that one was scaled.
    pub width: u32,
    /// Height in full size, upright.
    pub height: u32,
    /// What the header says.
    pub facts: Facts,
    /// The colour profile, if the file has one.
    profile: Option<Vec<u8>>,
    extent: Extent,
}

/// Which part of a scaled picture is the picture. Where 375 pixels are halved there are 188, and the last half a pixel
/// is padding; a model would see the picture a little narrower than it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Extent {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Decoded {
    pub(crate) fn extent(&self) -> Extent {
        self.extent
    }

    /// Brings this picture, or a smaller one made of it, into the colours of the screen: sRGB. Thumbnails of Display P3
    /// and Adobe RGB look pale without. Cheapest after scaling, and free where there is nothing to do.
    #[must_use]
    pub fn to_srgb(&self, rgb: RgbImage) -> RgbImage {
        match &self.profile {
            Some(profile) => color::to_srgb(rgb, profile),
            None => rgb,
        }
    }
}

/// Why a file gave no picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum DecodeError {
    /// Zero bytes.
    #[error("the file is empty")]
    Empty,
    /// Over [`DecodeLimits::max_bytes`].
    #[error("the file has {bytes} bytes, more than the limit of {limit}")]
    TooManyBytes {
        /// Size of the file.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The first bytes are those of no known picture format.
    #[error("this is not a picture of a known format (docs/formats.md lists them)")]
    UnknownFormat,
    /// Over [`DecodeLimits::max_pixels`].
    #[error("the picture is {width}x{height}, more than the limit of {limit} pixels")]
    TooManyPixels {
        /// Width that the header announces.
        width: u32,
        /// Height that the header announces.
        height: u32,
        /// The limit, in pixels.
        limit: u64,
    },
    /// Over [`DecodeLimits::max_alloc_bytes`].
    #[error("decoding would take more than the limit of {limit} bytes of memory")]
    TooMuchMemory {
        /// The limit, in bytes.
        limit: u64,
    },
    /// Over [`DecodeLimits::timeout_ms`].
    #[error("decoding took longer than {timeout_ms} ms")]
    TimedOut {
        /// The limit, in milliseconds.
        timeout_ms: u64,
    },
    /// The file ends before the picture does.
    #[error("the {} file ends too early: {reason}", format.as_str())]
    Truncated {
        /// What the file claims to be.
        format: PictureFormat,
        /// What the decoder missed.
        reason: String,
    },
    /// The file breaks the rules of its format, or uses a part of it that is not supported.
    #[error("the {} file is damaged or unsupported: {reason}", format.as_str())]
    Malformed {
        /// What the file claims to be.
        format: PictureFormat,
        /// What the decoder disliked.
        reason: String,
    },
}

impl DecodeError {
    /// A stable code for logs, the catalog and API answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty_file",
            Self::TooManyBytes { .. } => "too_many_bytes",
            Self::UnknownFormat => "not_an_image",
            Self::TooManyPixels { .. } => "too_many_pixels",
            Self::TooMuchMemory { .. } => "too_much_memory",
            Self::TimedOut { .. } => "decode_timeout",
            Self::Truncated { .. } => "truncated_image",
            Self::Malformed { .. } => "corrupt_image",
        }
    }
}

/// Decodes one picture in full size. Of animations the first frame. Blocks, and never panics.
pub fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Decoded, DecodeError> {
    decode_wanted(bytes, limits, Wanted::Full)
}

/// Like [`decode`], but where less will do, a JPEG is scaled while it is decoded, which takes a fraction of the time.
pub fn decode_wanted(
    bytes: &[u8],
    limits: &DecodeLimits,
    wanted: Wanted,
) -> Result<Decoded, DecodeError> {
    decode_with(bytes, limits, wanted, None)
}

/// Somebody else who decodes: a process of its own, which a decoder may bring down or keep busy for ever.
pub trait Elsewhere: Sync {
    /// The pixels of a picture that [`PictureFormat::wants_a_process`], as [`flatten`] makes them there.
    fn flatten(
        &self,
        format: PictureFormat,
        bytes: &[u8],
        limits: &DecodeLimits,
    ) -> Result<Flattened, DecodeError>;
}

/// What a decoder made of a picture, before anything is done with it here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flattened {
    /// As the decoder gives it, not turned.
    pub rgb: RgbImage,
    /// Colour profile, where only the decoder can read it.
    pub profile: Option<Vec<u8>>,
}

/// Like [`decode_wanted`], with the formats that want a process of their own decoded `elsewhere`.
pub fn decode_with(
    bytes: &[u8],
    limits: &DecodeLimits,
    wanted: Wanted,
    elsewhere: Option<&dyn Elsewhere>,
) -> Result<Decoded, DecodeError> {
    guarded(bytes, limits, wanted, |job| job.run(bytes, elsewhere))
}

/// Decodes and nothing else: what [`Elsewhere`] calls in its process.
pub fn flatten(bytes: &[u8], limits: &DecodeLimits) -> Result<Flattened, DecodeError> {
    guarded(bytes, limits, Wanted::Full, |job| {
        let mut facts = Facts::default();
        let flat = job.flat(bytes, &mut facts)?;
        Ok(Flattened { rgb: flat.rgb, profile: flat.profile })
    })
}

/// Checks what can be checked at once, and keeps a decoder's panic to its picture.
fn guarded<T>(
    bytes: &[u8],
    limits: &DecodeLimits,
    wanted: Wanted,
    work: impl FnOnce(&Job<'_>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    let size = bytes.len() as u64;
    if size > limits.max_bytes {
        return Err(DecodeError::TooManyBytes { bytes: size, limit: limits.max_bytes });
    }
    let deadline = Instant::now() + Duration::from_millis(limits.timeout_ms);
    let format = PictureFormat::from_magic(bytes).ok_or(DecodeError::UnknownFormat)?;
    let job = Job { format, limits, wanted, deadline };
    catch_unwind(AssertUnwindSafe(|| work(&job))).unwrap_or_else(|_| {
        Err(DecodeError::Malformed { format, reason: "the decoder gave up on it".into() })
    })
}

/// About how many bytes of memory [`decode_wanted`] takes beside the file itself, told from the header: the decoder's buffer,
/// the RGB picture, and a turned copy of it. Formats whose header is not looked into here are judged by the file's size.
/// Never more than [`DecodeLimits::max_alloc_bytes`], beyond which nothing is decoded.
pub fn memory_needed(bytes: &[u8], limits: &DecodeLimits, wanted: Wanted) -> u64 {
    let needed = match PictureFormat::from_magic(bytes) {
        None => 0,
        Some(
            PictureFormat::Heif
            | PictureFormat::Avif
            | PictureFormat::Jxl
            | PictureFormat::Jp2
            | PictureFormat::Raw,
        ) => (bytes.len() as u64).saturating_mul(UNREAD_HEADER_FACTOR).max(UNREAD_HEADER_MIN),
        Some(format) => from_header(bytes, format, wanted).unwrap_or(0),
    };
    needed.min(limits.max_alloc_bytes)
}

/// Decoded pictures of the formats whose header is not looked into are about so many times as large as the file,
const UNREAD_HEADER_FACTOR: u64 = 64;
/// and at least so large.
const UNREAD_HEADER_MIN: u64 = 32 << 20;

/// `None` for a file that will not be decoded either.
fn from_header(bytes: &[u8], format: PictureFormat, wanted: Wanted) -> Option<u64> {
    let reader = image::ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?;
    let decoder = reader.into_decoder().ok()?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if format == PictureFormat::Jpeg && matches!(wanted, Wanted::ShortEdge(_)) {
        // A baseline one is scaled. A progressive one keeps its coefficients, two bytes for each of three colours.
        let is_progressive = bytes.windows(2).any(|marker| marker == [0xff, 0xc2]);
        return Some(pixels * if is_progressive { 9 } else { 3 });
    }
    Some(decoder.total_bytes().saturating_add(pixels * 6))
}

/// One decoding with its limits.
struct Job<'a> {
    format: PictureFormat,
    limits: &'a DecodeLimits,
    wanted: Wanted,
    deadline: Instant,
}

/// What a decoder made: RGB, not turned yet.
struct Flat {
    rgb: RgbImage,
    /// Size before scaling.
    full: (u32, u32),
    /// By how much it was scaled down, at most: the last pixels may be padding in part.
    divisor: u32,
    /// Colour profile, where only the decoder can read it.
    profile: Option<Vec<u8>>,
}

impl Flat {
    fn unscaled(rgb: RgbImage) -> Self {
        let full = rgb.dimensions();
        Self { rgb, full, divisor: 1, profile: None }
    }

    /// Before turning, padding is at the right and at the bottom.
    fn extent(&self, turn: Orientation) -> Extent {
        let exact = |edge: u32| f64::from(edge) / f64::from(self.divisor);
        let (width, height) = (exact(self.full.0), exact(self.full.1));
        let right = f64::from(self.rgb.width()) - width;
        let bottom = f64::from(self.rgb.height()) - height;
        let (left, top) = match turn {
            Orientation::NoTransforms | Orientation::Rotate90FlipH => (0.0, 0.0),
            Orientation::FlipHorizontal => (right, 0.0),
            Orientation::Rotate180 => (right, bottom),
            Orientation::FlipVertical => (0.0, bottom),
            Orientation::Rotate90 => (bottom, 0.0),
            Orientation::Rotate270 => (0.0, right),
            Orientation::Rotate270FlipH => (bottom, right),
        };
        let (width, height) = if is_sideways(turn) { (height, width) } else { (width, height) };
        Extent { left, top, width, height }
    }
}

impl Job<'_> {
    /// The picture as its decoder gives it.
    fn flat(&self, bytes: &[u8], facts: &mut Facts) -> Result<Flat, DecodeError> {
        match self.format {
            PictureFormat::Jpeg => self.jpeg(bytes),
            PictureFormat::Raw => self.raw(bytes, facts),
            #[cfg(feature = "heif")]
            PictureFormat::Heif => heif::decode(self, bytes),
            #[cfg(feature = "avif")]
            PictureFormat::Avif => avif::decode(self, bytes),
            #[cfg(feature = "jxl")]
            PictureFormat::Jxl => jxl::decode(self, bytes),
            #[cfg(feature = "jp2")]
            PictureFormat::Jp2 => jp2::decode(self, bytes),
            PictureFormat::Tiff => self.tiff(bytes),
            PictureFormat::Png => self.png(bytes),
            _ => Ok(Flat::unscaled(self.through_image(bytes)?)),
        }
    }

    fn run(&self, bytes: &[u8], elsewhere: Option<&dyn Elsewhere>) -> Result<Decoded, DecodeError> {
        let blocks = Blocks::find(self.format, bytes);
        let mut facts = Facts::from_blocks(&blocks);
        let flat = match elsewhere.filter(|_| self.format.wants_a_process()) {
            Some(elsewhere) => {
                let Flattened { rgb, profile } =
                    elsewhere.flatten(self.format, bytes, self.limits)?;
                self.check_size(rgb.width(), rgb.height())?;
                Flat { profile, ..Flat::unscaled(rgb) }
            }
            None => self.flat(bytes, &mut facts)?,
        };
        let turn = match self.format {
            // turned by what their container or codestream says; EXIF may repeat it
            PictureFormat::Heif | PictureFormat::Avif | PictureFormat::Jxl => None,
            _ => facts.orientation.and_then(Orientation::from_exif),
        };
        let turn = turn.unwrap_or(Orientation::NoTransforms);
        self.check_deadline()?;
        let extent = flat.extent(turn);
        let profile = flat.profile.or(blocks.profile.map(Cow::into_owned));
        let mut picture = DynamicImage::ImageRgb8(flat.rgb);
        picture.apply_orientation(turn);
        self.check_deadline()?;
        let (width, height) =
            if is_sideways(turn) { (flat.full.1, flat.full.0) } else { flat.full };
        Ok(Decoded {
            rgb: picture.into_rgb8(),
            format: self.format,
            width,
            height,
            facts,
            profile,
            extent,
        })
    }

    fn jpeg(&self, bytes: &[u8]) -> Result<Flat, DecodeError> {
        // The decoder fills what is missing with grey; a copy that is still under way must not pass for a picture.
        jpeg_markers::check(bytes).map_err(|problem| problem.into_error(self.format))?;
        if let Wanted::ShortEdge(edge_min) = self.wanted {
            match jpeg_scaled::decode(bytes, edge_min, self.limits, self.deadline) {
                Ok(scaled) => return Ok(scaled),
                Err(Declined::TimedOut) => return Err(self.timed_out()),
                Err(Declined::FullDecoder) => {}
            }
        }
        let decoder = JpegDecoder::new(self.source(bytes)).map_err(|error| self.error(&error))?;
        Ok(Flat::unscaled(self.finish(decoder)?))
    }

    /// The largest embedded JPEG. It may have an orientation of its own, which then counts.
    fn raw(&self, bytes: &[u8], facts: &mut Facts) -> Result<Flat, DecodeError> {
        let preview =
            raw::preview(bytes).ok_or_else(|| self.malformed(&"it has no embedded JPEG"))?;
        let own = Facts::from_blocks(&Blocks::find(PictureFormat::Jpeg, preview));
        facts.orientation = own.orientation.or(facts.orientation);
        self.jpeg(preview)
    }

    fn png(&self, bytes: &[u8]) -> Result<Flat, DecodeError> {
        let mut decoder = PngDecoder::with_limits(self.source(bytes), self.image_limits())
            .map_err(|error| self.error(&error))?;
        let profile = decoder.icc_profile().ok().flatten();
        Ok(Flat { profile, ..Flat::unscaled(self.finish(decoder)?) })
    }

    fn tiff(&self, bytes: &[u8]) -> Result<Flat, DecodeError> {
        let open = |bytes| TiffDecoder::new(self.source(bytes)).map_err(|error| self.error(&error));
        let rgb = if let Some((copy, meaning)) = tiff::retagged(bytes) {
            meaning.apply(self.pixels(open(&copy)?)?)
        } else {
            self.finish(open(bytes)?)?
        };
        Ok(Flat::unscaled(rgb))
    }

    fn source<'a>(&self, bytes: &'a [u8]) -> BufReader<DeadlineReader<'a>> {
        BufReader::new(DeadlineReader { bytes: Cursor::new(bytes), deadline: self.deadline })
    }

    fn through_image(&self, bytes: &[u8]) -> Result<RgbImage, DecodeError> {
        let source = self.source(bytes);
        let error = |error| self.error(&error);
        match self.format {
            PictureFormat::WebP => self.finish(WebPDecoder::new(source).map_err(error)?),
            PictureFormat::Gif => self.finish(GifDecoder::new(source).map_err(error)?),
            PictureFormat::Bmp => self.finish(BmpDecoder::new(source).map_err(error)?),
            PictureFormat::Tga => self.finish(TgaDecoder::new(source).map_err(error)?),
            PictureFormat::Ico => self.finish(IcoDecoder::new(source).map_err(error)?),
            _ => Err(self.malformed(&"this build of the program does not read the format")),
        }
    }

    /// From a decoder that has read the header to RGB.
    fn finish(&self, decoder: impl ImageDecoder) -> Result<RgbImage, DecodeError> {
        self.pixels(decoder).map(rgb::from_dynamic)
    }

    fn pixels(&self, mut decoder: impl ImageDecoder) -> Result<DynamicImage, DecodeError> {
        let (width, height) = decoder.dimensions();
        let pixels = self.check_size(width, height)?;
        // The decoder's own buffer, and the RGB one beside it while converting.
        self.check_memory(decoder.total_bytes().saturating_add(pixels * 3))?;
        decoder.set_limits(self.image_limits()).map_err(|error| self.error(&error))?;
        let picture = DynamicImage::from_decoder(decoder).map_err(|error| self.error(&error))?;
        self.check_deadline()?;
        Ok(picture)
    }

    /// The number of pixels, if there are some and not too many.
    fn check_size(&self, width: u32, height: u32) -> Result<u64, DecodeError> {
        let pixels = u64::from(width) * u64::from(height);
        let limit = self.limits.max_pixels;
        if pixels > limit {
            return Err(DecodeError::TooManyPixels { width, height, limit });
        }
        if pixels == 0 {
            return Err(self.malformed(&format!("the picture is {width}x{height}")));
        }
        Ok(pixels)
    }

    fn check_memory(&self, bytes: u64) -> Result<(), DecodeError> {
        if bytes > self.limits.max_alloc_bytes { Err(self.too_much_memory()) } else { Ok(()) }
    }

    fn too_much_memory(&self) -> DecodeError {
        DecodeError::TooMuchMemory { limit: self.limits.max_alloc_bytes }
    }

    fn malformed(&self, reason: &dyn std::fmt::Display) -> DecodeError {
        DecodeError::Malformed { format: self.format, reason: reason.to_string() }
    }

    #[cfg(any(feature = "heif", feature = "avif", feature = "jxl"))]
    fn truncated(&self, reason: &str) -> DecodeError {
        DecodeError::Truncated { format: self.format, reason: reason.into() }
    }

    fn image_limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.max_alloc = Some(self.limits.max_alloc_bytes);
        limits
    }

    fn check_deadline(&self) -> Result<(), DecodeError> {
        if Instant::now() >= self.deadline { Err(self.timed_out()) } else { Ok(()) }
    }

    fn timed_out(&self) -> DecodeError {
        DecodeError::TimedOut { timeout_ms: self.limits.timeout_ms }
    }

    fn error(&self, error: &ImageError) -> DecodeError {
        if Instant::now() >= self.deadline {
            return self.timed_out();
        }
        let reason = error.to_string();
        let ended_early =
            |error: &std::io::Error| error.kind() == std::io::ErrorKind::UnexpectedEof;
        match error {
            ImageError::Limits(_) => self.too_much_memory(),
            ImageError::IoError(io) if ended_early(io) => {
                DecodeError::Truncated { format: self.format, reason }
            }
            _ => DecodeError::Malformed { format: self.format, reason },
        }
    }
}

fn is_sideways(turn: Orientation) -> bool {
    matches!(
        turn,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    )
}

/// Fails every read once the deadline has passed: the only handle on a decoder that offers none.
struct DeadlineReader<'a> {
    bytes: Cursor<&'a [u8]>,
    deadline: Instant,
}

impl DeadlineReader<'_> {
    fn check(&self) -> std::io::Result<()> {
        if Instant::now() >= self.deadline {
            Err(std::io::ErrorKind::TimedOut.into())
        } else {
            Ok(())
        }
    }
}

impl Read for DeadlineReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.check()?;
        self.bytes.read(buffer)
    }
}

impl BufRead for DeadlineReader<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.check()?;
        self.bytes.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.bytes.consume(amount);
    }
}

impl Seek for DeadlineReader<'_> {
    fn seek(&mut self, position: SeekFrom) -> std::io::Result<u64> {
        self.check()?;
        self.bytes.seek(position)
    }
}
