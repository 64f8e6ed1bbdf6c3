//! HEIC and HEIF with HEVC inside. The container's crop, rotation and mirroring are applied by the decoder.

use image::{RgbImage, RgbaImage};

use super::iso_boxes::Items;
use super::{DecodeError, Flat, Job, rgb};

/// Working memory per pixel: three planes of 16 bits, and the result beside them.
const BYTES_PER_PIXEL: u64 = 12;

pub(super) fn decode(job: &Job<'_>, bytes: &[u8]) -> Result<Flat, DecodeError> {
    if let Some((width, height)) = Items::open(bytes).and_then(|items| items.primary_size()) {
        let pixels = job.check_size(width, height)?;
        job.check_memory(pixels.saturating_mul(BYTES_PER_PIXEL))?;
    }
    // Pictures are decoded on several threads already, one on each.
    let options = heifer::Options { max_threads: 1, max_pixels: job.limits.max_pixels };
    let picture = heifer::decode_rgba8(bytes, &options).map_err(|error| {
        let reason = error.to_string();
        if reason.contains("unexpected end") {
            job.truncated(&reason)
        } else {
            job.malformed(&reason)
        }
    })?;
    job.check_deadline()?;
    let (width, height) = (picture.width, picture.height);
    let flat = if picture.has_alpha {
        RgbaImage::from_raw(width, height, picture.data).map(|rgba| rgb::over_white(&rgba))
    } else {
        RgbImage::from_raw(width, height, picture.into_rgb8())
    };
    flat.map(Flat::unscaled).ok_or_else(|| job.malformed(&"the picture has the wrong size"))
}
