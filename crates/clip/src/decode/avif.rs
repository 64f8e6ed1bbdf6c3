//! AVIF: the container by our own walk through its boxes, the AV1 frame by a port of dav1d.
//!
//! Single images and grids of tiles, 8 to 12 bits, with transparency; crop, rotation and mirroring are applied.

mod yuv;

use image::{DynamicImage, GenericImage, GrayImage, RgbImage};
use re_rav1d::dav1d::{Decoder, Picture, Settings};

use self::yuv::Frame;
use super::iso_boxes::Items;
use super::{DecodeError, Flat, Job};

/// Working memory per pixel: planes of 16 bits with their padding, the result and the tile beside it.
const BYTES_PER_PIXEL: u64 = 12;
const TILES_MAX: usize = 256;

pub(super) fn decode(job: &Job<'_>, bytes: &[u8]) -> Result<Flat, DecodeError> {
    let lacking = |what: &str| job.malformed(&format!("it has no {what}"));
    let items = Items::open(bytes).ok_or_else(|| lacking("meta box"))?;
    let primary = items.primary().ok_or_else(|| lacking("primary image"))?;
    let (width, height) = items.primary_size().ok_or_else(|| lacking("size"))?;
    let pixels = job.check_size(width, height)?;
    job.check_memory(pixels.saturating_mul(BYTES_PER_PIXEL))?;
    let source = Source { job, items: &items };
    let mut rgb = source.colours(primary, (width, height))?;
    if let Some(alpha) = source.alpha_of(primary) {
        // A damaged mask says nothing about the picture.
        if let Ok(mask) = source.colours(alpha, (width, height)) {
            apply_mask(&mut rgb, &mask);
        }
    }
    let mut picture = DynamicImage::ImageRgb8(rgb);
    for (kind, value) in items.properties(primary) {
        picture = transformed(picture, kind, value);
    }
    Ok(Flat::unscaled(picture.into_rgb8()))
}

/// The items of one file while they are decoded.
struct Source<'a> {
    job: &'a Job<'a>,
    items: &'a Items<'a>,
}

impl Source<'_> {
    /// The colours of an item: one frame, or a grid of them.
    fn colours(&self, id: u32, size: (u32, u32)) -> Result<RgbImage, DecodeError> {
        if self.items.kind(id) != Some(*b"grid") {
            return self.frame(id, size);
        }
        let wrong = |reason: &str| self.job.malformed(&reason);
        let layout = self.items.data(id).ok_or_else(|| wrong("its grid is not in the file"))?;
        let [_, flags, rows, columns, sizes @ ..] = layout else {
            return Err(wrong("its grid has no layout"));
        };
        let (rows, columns) = (usize::from(*rows) + 1, usize::from(*columns) + 1);
        let edge = |index: usize| {
            if flags & 1 == 0 {
                let pair = sizes.get(index * 2..)?.first_chunk()?;
                return Some(u32::from(u16::from_be_bytes(*pair)));
            }
            sizes.get(index * 4..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
        };
        let whole = edge(0).zip(edge(1)).filter(|whole| *whole == size);
        let (width, height) = whole.ok_or_else(|| wrong("its grid has another size"))?;
        let tiles = self.items.references(*b"dimg", id);
        if tiles.len() != rows * columns || tiles.len() > TILES_MAX {
            return Err(wrong("its grid lacks tiles"));
        }
        let mut canvas = RgbImage::new(width, height);
        for (index, &tile) in tiles.iter().enumerate() {
            let picture = self.frame(tile, (0, 0))?;
            let (x, y) = (index % columns, index / columns);
            let (x, y) = (picture.width() * x as u32, picture.height() * y as u32);
            if x >= width || y >= height {
                return Err(wrong("its tiles do not fit into the grid"));
            }
            let (across, down) = (picture.width().min(width - x), picture.height().min(height - y));
            let part = image::imageops::crop_imm(&picture, 0, 0, across, down).to_image();
            canvas.copy_from(&part, x, y).map_err(|error| self.job.malformed(&error))?;
        }
        Ok(canvas)
    }

    /// One AV1 frame. Its size has to be the announced one, unless that is 0.
    fn frame(&self, id: u32, size: (u32, u32)) -> Result<RgbImage, DecodeError> {
        self.job.check_deadline()?;
        if self.items.kind(id) != Some(*b"av01") {
            return Err(self.job.malformed(&"the picture is not coded as AV1"));
        }
        let data = self
            .items
            .data(id)
            .filter(|data| !data.is_empty())
            .ok_or_else(|| self.job.truncated("its data is not in the file"))?;
        let picture = self.decoded(data.to_vec()).map_err(|error| self.job.malformed(&error))?;
        self.job.check_deadline()?;
        let found = (picture.width(), picture.height());
        if size != (0, 0) && found != size {
            return Err(self.job.malformed(&"the frame has another size than the header says"));
        }
        let colour = self.items.properties(id).into_iter().find_map(|(kind, value)| {
            (&kind == b"colr").then(|| value.strip_prefix(b"nclx")).flatten()
        });
        Frame::new(&picture, colour)
            .and_then(|frame| frame.to_rgb())
            .ok_or_else(|| self.job.malformed(&"the frame has no planes"))
    }

    fn decoded(&self, data: Vec<u8>) -> Result<Picture, re_rav1d::dav1d::Error> {
        let mut settings = Settings::new();
        settings.set_n_threads(1);
        settings.set_max_frame_delay(1);
        settings
            .set_frame_size_limit(u32::try_from(self.job.limits.max_pixels).unwrap_or(u32::MAX));
        let mut decoder = Decoder::with_settings(&settings)?;
        match decoder.send_data(data, None, None, None) {
            Err(error) if !error.is_again() => return Err(error),
            _ => {}
        }
        decoder.get_picture()
    }

    /// The item that is the mask of another one.
    fn alpha_of(&self, id: u32) -> Option<u32> {
        self.items.list().map(|(candidate, _)| candidate).find(|candidate| {
            self.items.references(*b"auxl", *candidate).contains(&id)
                && self.items.properties(*candidate).iter().any(|(kind, value)| {
                    kind == b"auxC" && memchr::memmem::find(value, b"alpha").is_some()
                })
        })
    }
}

/// Composes over white.
fn apply_mask(rgb: &mut RgbImage, mask: &RgbImage) {
    let mask: GrayImage = DynamicImage::ImageRgb8(mask.clone()).into_luma8();
    for (pixel, alpha) in rgb.pixels_mut().zip(mask.pixels()) {
        let alpha = u32::from(alpha.0[0]);
        for channel in &mut pixel.0 {
            *channel = ((u32::from(*channel) * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        }
    }
}

/// One of the container's transforming properties.
fn transformed(picture: DynamicImage, kind: [u8; 4], value: &[u8]) -> DynamicImage {
    match (&kind, value.first()) {
        // quarters of a turn against the clock
        (b"irot", Some(turn)) => match turn & 3 {
            1 => picture.rotate270(),
            2 => picture.rotate180(),
            3 => picture.rotate90(),
            _ => picture,
        },
        (b"imir", Some(axis)) if axis & 1 == 0 => picture.flipv(),
        (b"imir", Some(_)) => picture.fliph(),
        (b"clap", _) => cropped(&picture, value).unwrap_or(picture),
        _ => picture,
    }
}

/// The clean aperture: width, height and the offsets of its centre, all as fractions.
fn cropped(picture: &DynamicImage, value: &[u8]) -> Option<DynamicImage> {
    let word =
        |index: usize| value.get(index * 4..)?.first_chunk().map(|&word| u32::from_be_bytes(word));
    let fraction = |index: usize| {
        let (above, below) = (word(index)? as i32, word(index + 1)? as i32);
        (below != 0).then(|| f64::from(above) / f64::from(below))
    };
    let (width, height) = (fraction(0)?, fraction(2)?);
    let left = (f64::from(picture.width()) - width) / 2.0 + fraction(4)?;
    let top = (f64::from(picture.height()) - height) / 2.0 + fraction(6)?;
    let inside = left >= 0.0
        && top >= 0.0
        && width >= 1.0
        && height >= 1.0
        && left + width <= f64::from(picture.width())
        && top + height <= f64::from(picture.height());
    inside.then(|| {
        let round = |value: f64| value.round() as u32;
        picture.crop_imm(round(left), round(top), round(width), round(height))
    })
}
