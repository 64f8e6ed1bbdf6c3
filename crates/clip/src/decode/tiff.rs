//! TIFFs that the decoder refuses although it reads all of their pixels: palettes and Lab.
//!
//! In a copy of the file the tag that says what the numbers mean is changed to grey or RGB; what they mean after all is
//! applied here.

use image::{DynamicImage, RgbImage};

use super::ifd::Tiff;

const PHOTOMETRIC: u16 = 262;
const COLOR_MAP: u16 = 320;
const BITS_PER_SAMPLE: u16 = 258;
const SAMPLES_PER_PIXEL: u16 = 277;

/// What the numbers of a retagged file mean.
pub(super) enum Meaning {
    /// Indices, of so many bits.
    Palette { bits: u32, colours: Vec<[u8; 3]> },
    /// Lightness, and two signed colour differences.
    Lab,
}

/// The copy, and what its numbers mean; nothing if this is no such file.
pub(super) fn retagged(bytes: &[u8]) -> Option<(Vec<u8>, Meaning)> {
    let tiff = Tiff::open(bytes)?;
    let one = |tag: u16| tiff.find_first(tag).and_then(|entry| entry.integer(0));
    let (bits, samples) = (one(BITS_PER_SAMPLE)?, one(SAMPLES_PER_PIXEL).unwrap_or(1));
    let (photometric, meaning) = match (one(PHOTOMETRIC)?, bits, samples) {
        // grey, where 0 is black
        (3, 1 | 2 | 4 | 8, 1) => (1, Meaning::Palette { bits, colours: palette(tiff, 1 << bits)? }),
        (8, 8, 3) => (2, Meaning::Lab),
        _ => return None,
    };
    let mut copy = bytes.to_vec();
    tiff.overwrite(&mut copy, PHOTOMETRIC, photometric)?;
    Some((copy, meaning))
}

/// All reds, then all greens, then all blues, in 16 bits.
fn palette(tiff: Tiff<'_>, count: usize) -> Option<Vec<[u8; 3]>> {
    let map = tiff.find_first(COLOR_MAP)?;
    let level = |index| map.integer(index).map(|level| (level >> 8) as u8);
    (0..count)
        .map(|index| Some([level(index)?, level(count + index)?, level(2 * count + index)?]))
        .collect()
}

impl Meaning {
    pub(super) fn apply(&self, picture: DynamicImage) -> RgbImage {
        match self {
            Self::Palette { bits, colours } => {
                let grey = picture.into_luma8();
                // the decoder has spread the indices over all levels
                let last = (1_u32 << bits) - 1;
                let pixels = grey.as_raw().iter().flat_map(|&level| {
                    let index = (u32::from(level) * last + 127) / 255;
                    colours.get(index as usize).copied().unwrap_or_default()
                });
                RgbImage::from_raw(grey.width(), grey.height(), pixels.collect())
                    .unwrap_or_default()
            }
            Self::Lab => {
                let mut rgb = picture.into_rgb8();
                for pixel in rgb.pixels_mut() {
                    pixel.0 = from_lab(pixel.0);
                }
                rgb
            }
        }
    }
}

/// CIE L*a*b* under D50 to sRGB.
fn from_lab([lightness, green_red, blue_yellow]: [u8; 3]) -> [u8; 3] {
    let level = |byte: u8| f32::from(byte as i8);
    let y = (f32::from(lightness) * 100.0 / 255.0 + 16.0) / 116.0;
    let cube = |value: f32| {
        if value > 6.0 / 29.0 { value.powi(3) } else { (value - 4.0 / 29.0) * 108.0 / 841.0 }
    };
    let x = 0.964_2 * cube(y + level(green_red) / 500.0);
    let z = 0.824_9 * cube(y - level(blue_yellow) / 200.0);
    let y = cube(y);
    let linear = [
        3.133_9 * x - 1.616_9 * y - 0.490_6 * z,
        -0.978_8 * x + 1.916_1 * y + 0.033_5 * z,
        0.071_9 * x - 0.229_0 * y + 1.405_2 * z,
    ];
    linear.map(|level| {
        let level = level.clamp(0.0, 1.0);
        let curved = if level <= 0.003_130_8 {
            level * 12.92
        } else {
            1.055 * level.powf(1.0 / 2.4) - 0.055
        };
        (curved * 255.0 + 0.5) as u8
    })
}
