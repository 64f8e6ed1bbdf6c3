//! Scaled pictures against the full decoder's, averaged over the pixels that each one covers.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;

fn far() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

fn scaled(bytes: &[u8], edge: u32) -> Result<RgbImage, Declined> {
    decode(bytes, edge, &DecodeLimits::default(), far()).map(|flat| flat.rgb)
}

/// Waves of several lengths, so that neighbouring blocks and both chroma planes differ.
fn sample(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = (f64::from(x), f64::from(y));
        let wave = |a: f64, b: f64| (128.0 + 100.0 * (x / a).sin() * (y / b).cos()) as u8;
        image::Rgb([wave(17.0, 29.0), wave(23.0, 41.0), wave(47.0, 13.0)])
    })
}

fn jpeg(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95);
    picture.write_with_encoder(encoder).unwrap();
    bytes
}

fn averaged(picture: &RgbImage, by: u32) -> RgbImage {
    RgbImage::from_fn(picture.width().div_ceil(by), picture.height().div_ceil(by), |x, y| {
        let (mut sums, mut count) = ([0_u32; 3], 0);
        for (x, y) in
            (0..by).flat_map(|row| (0..by).map(move |column| (x * by + column, y * by + row)))
        {
            if let Some(pixel) = picture.get_pixel_checked(x, y) {
                (0..3).for_each(|channel| sums[channel] += u32::from(pixel.0[channel]));
                count += 1;
            }
        }
        image::Rgb(sums.map(|sum| (sum / count) as u8))
    })
}

fn mean_difference(a: &RgbImage, b: &RgbImage) -> f64 {
    assert_eq!(a.dimensions(), b.dimensions());
    let sum: u64 = a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.as_raw().len() as f64
}

#[test]
fn each_scale_shows_the_same_picture() {
    // odd sizes: the last blocks hang over
    let picture = sample(403, 307);
    let bytes = jpeg(&picture);
    for (edge, by) in [(154, 2), (77, 4), (39, 8)] {
        let small = scaled(&bytes, edge).unwrap();
        let difference = mean_difference(&small, &averaged(&picture, by));
        assert!(difference < 2.0, "by {by}: {difference}");
    }
    assert_eq!(scaled(&bytes, 155).unwrap_err(), Declined::FullDecoder);
}

#[test]
fn grey_is_one_component() {
    let grey = image::GrayImage::from_fn(160, 96, |x, y| image::Luma([(x + y) as u8]));
    let mut bytes = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95)
        .encode(grey.as_raw(), 160, 96, image::ExtendedColorType::L8)
        .unwrap();
    let small = scaled(&bytes, 48).unwrap();
    let pixel = small.get_pixel(20, 10).0;
    assert!(pixel.iter().all(|level| level.abs_diff(61) <= 2), "{pixel:?}");
}

#[test]
fn damage_is_left_to_the_full_decoder_and_time_is_kept() {
    let bytes = jpeg(&sample(256, 256));
    let start = bytes.windows(2).position(|pair| pair == [0xFF, 0xDA]).unwrap() + 14;
    let cut = [&bytes[..start + 200], &[0xFF, 0xD9]].concat();
    assert_eq!(scaled(&cut, 32).unwrap_err(), Declined::FullDecoder);
    let late = decode(&bytes, 32, &DecodeLimits::default(), Instant::now());
    assert_eq!(late.map(|flat| flat.full).unwrap_err(), Declined::TimedOut);
}

#[test]
fn damaged_bytes_never_panic() {
    let bytes = jpeg(&sample(120, 88));
    for place in 2..bytes.len() {
        for change in [0xFF, 0x01, 0x80] {
            let mut damaged = bytes.clone();
            damaged[place] ^= change;
            let _ = scaled(&damaged, 11);
        }
    }
}
