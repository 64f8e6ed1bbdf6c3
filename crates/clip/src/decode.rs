//! Bytes of unknown origin become an RGB picture or a typed reason why not.
//!
//! Every limit is checked at the earliest moment: bytes before anything, pixels and memory from the header before the
//! picture is allocated, wall-clock time while the decoder reads. Third-party decoders run inside `catch_unwind`, so
//! that a bug in one of them costs one picture and not the process.

mod jpeg_markers;

use std::io::{BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use image::codecs::{
    bmp::BmpDecoder, gif::GifDecoder, jpeg::JpegDecoder, png::PngDecoder, tiff::TiffDecoder,
    webp::WebPDecoder,
};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, Limits, RgbImage};

/// What one picture may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// The picture formats that are understood. Told by content, never by file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PictureFormat {
    /// Baseline and progressive; grayscale, YCbCr, RGB, CMYK, YCCK.
    Jpeg,
    /// 1 to 16 bit, palette, alpha; of an animated one the default image.
    Png,
    /// Lossy and lossless; of an animated one the first frame.
    WebP,
    /// The first frame.
    Gif,
    /// Windows bitmap.
    Bmp,
    /// The first page.
    Tiff,
}

impl PictureFormat {
    /// The lower-case name, such as `"jpeg"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::WebP => "webp",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
            Self::Tiff => "tiff",
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
        }
    }

    /// Tells the format from the first bytes of a file; 16 are enough.
    pub fn from_magic(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0xFF, 0xD8, 0xFF, ..] => Some(Self::Jpeg),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Some(Self::Png),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Self::WebP),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Self::Gif),
            // "BM" alone begins many a text; the reserved bytes are zero in every bitmap that is one
            [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => Some(Self::Bmp),
            [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Some(Self::Tiff),
            _ => None,
        }
    }
}

/// A picture, ready for [`crate::Model::preprocess`] or for a thumbnail.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// 8-bit sRGB as the viewer sees it: EXIF orientation applied, transparency composed over white.
    pub rgb: RgbImage,
    /// What the bytes were.
    pub format: PictureFormat,
}

/// Why a file gave no picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
    #[error("this is not a picture (JPEG, PNG, WebP, GIF, BMP and TIFF are understood)")]
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

/// Decodes one picture. Of animations the first frame. Blocks, and never panics.
pub fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Decoded, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    let size = bytes.len() as u64;
    if size > limits.max_bytes {
        return Err(DecodeError::TooManyBytes { bytes: size, limit: limits.max_bytes });
    }
    let format = PictureFormat::from_magic(bytes).ok_or(DecodeError::UnknownFormat)?;
    let job =
        Job { format, limits, deadline: Instant::now() + Duration::from_millis(limits.timeout_ms) };
    let decoded = catch_unwind(AssertUnwindSafe(|| job.run(bytes)));
    let rgb = decoded.unwrap_or_else(|_| {
        Err(DecodeError::Malformed { format, reason: "the decoder gave up on it".into() })
    })?;
    Ok(Decoded { rgb, format })
}

/// One decoding with its limits.
struct Job<'a> {
    format: PictureFormat,
    limits: &'a DecodeLimits,
    deadline: Instant,
}

impl Job<'_> {
    fn run(&self, bytes: &[u8]) -> Result<RgbImage, DecodeError> {
        let source =
            BufReader::new(DeadlineReader { bytes: Cursor::new(bytes), deadline: self.deadline });
        let error = |error| self.error(&error);
        match self.format {
            PictureFormat::Jpeg => {
                // The decoder fills what is missing with grey; a copy that is still under way must not pass for a picture.
                jpeg_markers::check(bytes).map_err(|problem| problem.into_error(self.format))?;
                self.finish(JpegDecoder::new(source).map_err(error)?)
            }
            PictureFormat::Png => {
                self.finish(PngDecoder::with_limits(source, self.image_limits()).map_err(error)?)
            }
            PictureFormat::WebP => self.finish(WebPDecoder::new(source).map_err(error)?),
            PictureFormat::Gif => self.finish(GifDecoder::new(source).map_err(error)?),
            PictureFormat::Bmp => self.finish(BmpDecoder::new(source).map_err(error)?),
            PictureFormat::Tiff => self.finish(TiffDecoder::new(source).map_err(error)?),
        }
    }

    /// From a decoder that has read the header to upright RGB.
    fn finish(&self, mut decoder: impl ImageDecoder) -> Result<RgbImage, DecodeError> {
        let (width, height) = decoder.dimensions();
        let pixels = u64::from(width) * u64::from(height);
        if pixels > self.limits.max_pixels {
            return Err(DecodeError::TooManyPixels {
                width,
                height,
                limit: self.limits.max_pixels,
            });
        }
        if pixels == 0 {
            return Err(DecodeError::Malformed {
                format: self.format,
                reason: format!("the picture is {width}x{height}"),
            });
        }
        // The decoder's own buffer, and the RGB one beside it while converting.
        if decoder.total_bytes().saturating_add(pixels * 3) > self.limits.max_alloc_bytes {
            return Err(DecodeError::TooMuchMemory { limit: self.limits.max_alloc_bytes });
        }
        decoder.set_limits(self.image_limits()).map_err(|error| self.error(&error))?;
        // A damaged EXIF block says nothing about the pixels.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut picture =
            DynamicImage::from_decoder(decoder).map_err(|error| self.error(&error))?;
        self.check_deadline()?;
        if picture.color().has_alpha() {
            picture = DynamicImage::ImageRgb8(over_white(&picture.into_rgba8()));
        } else {
            picture = DynamicImage::ImageRgb8(picture.into_rgb8());
        }
        picture.apply_orientation(orientation);
        self.check_deadline()?;
        Ok(picture.into_rgb8())
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
            ImageError::Limits(_) => {
                DecodeError::TooMuchMemory { limit: self.limits.max_alloc_bytes }
            }
            ImageError::IoError(io) if ended_early(io) => {
                DecodeError::Truncated { format: self.format, reason }
            }
            _ => DecodeError::Malformed { format: self.format, reason },
        }
    }
}

/// Composes over white, which is what a page or a viewer shows behind a picture.
fn over_white(rgba: &image::RgbaImage) -> RgbImage {
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [red, green, blue, alpha] = rgba.get_pixel(x, y).0;
        let alpha = u32::from(alpha);
        let blend =
            |channel: u8| ((u32::from(channel) * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        image::Rgb([blend(red), blend(green), blend(blue)])
    })
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
