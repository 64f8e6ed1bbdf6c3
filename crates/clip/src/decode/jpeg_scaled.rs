//! Decodes a JPEG at a half, a quarter or an eighth of its size, in the DCT domain.
//!
//! A block of 8x8 pixels is a sum of 64 waves; the picture at half size is the sum of the 4x4 slowest of them, over 4x4
//! pixels. So most of the arithmetic, memory and page faults of a full decoding never happen, and what remains is
//! reading the entropy-coded bits. Subsampled chroma gets a larger transform instead of being enlarged afterwards.
//!
//! Only what cameras and phones write is read here: 8-bit Huffman-coded baseline, grey or YCbCr, in one scan. For
//! everything else, damage included, the answer is `None`, and the full decoder has the last word.

mod bits;
mod header;
mod idct;

use std::time::Instant;

use image::RgbImage;

use super::{DecodeLimits, Flat};

use self::bits::Bits;
use self::header::{Component, Header};
use self::idct::{BLOCK_SLOTS, Transform};

/// Why there is no scaled picture.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Declined {
    /// Not a kind that is read here, or damaged.
    FullDecoder,
    /// The time is over.
    TimedOut,
}

/// Decodes to the smallest size whose shorter edge is at least `edge_min`. The file has been found whole by
/// [`super::jpeg_markers::check`]. The limits are asked of the header's size, as for a full decoding.
pub(super) fn decode(
    bytes: &[u8],
    edge_min: u32,
    limits: &DecodeLimits,
    deadline: Instant,
) -> Result<Flat, Declined> {
    let header = Header::read(bytes).ok_or(Declined::FullDecoder)?;
    let pixels = u64::from(header.width) * u64::from(header.height);
    if pixels > limits.max_pixels || pixels * 3 > limits.max_alloc_bytes {
        return Err(Declined::FullDecoder);
    }
    let short = header.width.min(header.height);
    let size = [1, 2, 4]
        .into_iter()
        .find(|size| (short * size).div_ceil(8) >= edge_min)
        .ok_or(Declined::FullDecoder)?;
    let mut scan = Scan::new(&header, size).ok_or(Declined::FullDecoder)?;
    let rgb = scan.picture(deadline)?;
    Ok(Flat { rgb, full: (header.width, header.height), profile: None })
}

/// The one scan of the file while it is decoded.
struct Scan<'a> {
    header: &'a Header<'a>,
    bits: Bits<'a>,
    planes: Vec<Plane<'a>>,
    block: Box<[f32; BLOCK_SLOTS]>,
    /// Output pixels per MCU, across and down.
    mcu: (usize, usize),
    /// MCUs across and down.
    mcus: (usize, usize),
    /// Size of the output.
    width: u32,
    height: u32,
}

/// One component: how its blocks become pixels, and one row of MCUs of them.
struct Plane<'a> {
    component: &'a Component,
    transform: Transform,
    /// For each coefficient in file order: where it goes in the block, and its quantiser.
    places: [(u8, f32); 64],
    /// Pixels that one block covers.
    block: (usize, usize),
    predictor: i32,
    stride: usize,
    pixels: Vec<u8>,
}

impl<'a> Scan<'a> {
    /// `size` is how many output pixels stand for 8 of the file.
    fn new(header: &'a Header<'a>, size: u32) -> Option<Self> {
        let size_px = size as usize;
        let (across_max, down_max) = header.sampling_max();
        let mcu = (across_max * size_px, down_max * size_px);
        let mcus = (
            (header.width as usize).div_ceil(across_max * 8),
            (header.height as usize).div_ceil(down_max * 8),
        );
        let stride = mcus.0 * mcu.0;
        let plane = |component: &'a Component| {
            let (across, down) = component.sampling;
            if across_max % across != 0 || down_max % down != 0 {
                return None;
            }
            let block = (mcu.0 / across, mcu.1 / down);
            let transform = idct::transform(block.0, block.1)?;
            let places = idct::places(block.0, block.1, &component.quantisers);
            let pixels = vec![0; stride * mcu.1];
            Some(Plane { component, transform, places, block, predictor: 0, stride, pixels })
        };
        let planes = header.components.iter().map(plane).collect::<Option<Vec<_>>>()?;
        let (width, height) =
            ((header.width * size).div_ceil(8), (header.height * size).div_ceil(8));
        let (bits, block) = (Bits::new(header.data), Box::new([0.0; BLOCK_SLOTS]));
        Some(Self { header, bits, planes, block, mcu, mcus, width, height })
    }

    fn picture(&mut self, deadline: Instant) -> Result<RgbImage, Declined> {
        let mut rgb = Vec::with_capacity(self.width as usize * self.height as usize * 3);
        let mut until_restart = self.header.restart_interval;
        for row in 0..self.mcus.1 {
            if Instant::now() >= deadline {
                return Err(Declined::TimedOut);
            }
            for column in 0..self.mcus.0 {
                if self.header.restart_interval > 0 {
                    if until_restart == 0 {
                        self.restart().ok_or(Declined::FullDecoder)?;
                        until_restart = self.header.restart_interval;
                    }
                    until_restart -= 1;
                }
                self.mcu(column).ok_or(Declined::FullDecoder)?;
            }
            if self.bits.overrun() {
                return Err(Declined::FullDecoder);
            }
            self.append_rows(row, &mut rgb);
        }
        RgbImage::from_raw(self.width, self.height, rgb).ok_or(Declined::FullDecoder)
    }

    fn restart(&mut self) -> Option<()> {
        for plane in &mut self.planes {
            plane.predictor = 0;
        }
        self.bits.restart()
    }

    /// Decodes the blocks of one MCU into the planes.
    fn mcu(&mut self, column: usize) -> Option<()> {
        let Self { planes, bits, block, .. } = self;
        for plane in planes {
            let (across, down) = plane.component.sampling;
            for place in 0..across * down {
                let (x, y) = (place % across, place / across);
                plane.read_block(bits, block)?;
                let start =
                    y * plane.block.1 * plane.stride + (column * across + x) * plane.block.0;
                (plane.transform)(block, &mut plane.pixels[start..], plane.stride);
            }
        }
        Some(())
    }

    /// Converts one row of MCUs to RGB.
    fn append_rows(&self, row: usize, rgb: &mut Vec<u8>) {
        let (width, height) = (self.width as usize, self.height as usize);
        for y in 0..self.mcu.1.min(height - row * self.mcu.1) {
            match self.planes.as_slice() {
                [luma, blue, red] => {
                    append_ycc(luma.line(y, width), blue.line(y, width), red.line(y, width), rgb);
                }
                [luma, ..] => rgb.extend(luma.line(y, width).iter().flat_map(|&grey| [grey; 3])),
                [] => {}
            }
        }
    }
}

impl Plane<'_> {
    fn line(&self, y: usize, width: usize) -> &[u8] {
        &self.pixels[y * self.stride..][..width]
    }

    /// Reads one block's coefficients; those that the transform does not need are read over.
    fn read_block(&mut self, bits: &mut Bits<'_>, block: &mut [f32; BLOCK_SLOTS]) -> Option<()> {
        block[..self.block.0 * self.block.1].fill(0.0);
        bits.refill();
        let size = bits.symbol(&self.component.dc)?;
        if size > 15 {
            return None;
        }
        self.predictor = self.predictor.wrapping_add(bits.signed(u32::from(size)));
        block[0] = self.predictor as f32 * self.places[0].1;
        let mut index = 1;
        while index < 64 {
            bits.refill();
            let (run, value) = bits.run_and_value(&self.component.ac)?;
            if value == 0 {
                if run != 15 {
                    break;
                }
                index += 16;
                continue;
            }
            index += run;
            let (slot, quantiser) = *self.places.get(index)?;
            block[usize::from(slot)] = value as f32 * quantiser;
            index += 1;
        }
        Some(())
    }
}

/// JFIF's conversion, in 16-bit fixed point.
fn append_ycc(luma: &[u8], blue: &[u8], red: &[u8], rgb: &mut Vec<u8>) {
    let clamp = |value: i32| (value >> 16).clamp(0, 255) as u8;
    let start = rgb.len();
    rgb.resize(start + luma.len() * 3, 0);
    let pixels = rgb[start..].chunks_exact_mut(3);
    for (((pixel, &y), &cb), &cr) in pixels.zip(luma).zip(blue).zip(red) {
        let y = (i32::from(y) << 16) + (1 << 15);
        let (cb, cr) = (i32::from(cb) - 128, i32::from(cr) - 128);
        pixel[0] = clamp(y + 91_881 * cr);
        pixel[1] = clamp(y - 22_554 * cb - 46_802 * cr);
        pixel[2] = clamp(y + 116_130 * cb);
    }
}

#[cfg(test)]
mod tests;
