//! Good pictures of every kind, and every kind of bad one.
#![allow(clippy::unwrap_used)]

use std::io::Cursor;
use std::path::Path;

use clip::{DecodeError, DecodeLimits, PictureFormat, decode};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};

const FORMATS: [(PictureFormat, ImageFormat); 6] = [
    (PictureFormat::Jpeg, ImageFormat::Jpeg),
    (PictureFormat::Png, ImageFormat::Png),
    (PictureFormat::WebP, ImageFormat::WebP),
    (PictureFormat::Gif, ImageFormat::Gif),
    (PictureFormat::Bmp, ImageFormat::Bmp),
    (PictureFormat::Tiff, ImageFormat::Tiff),
];

fn limits() -> DecodeLimits {
    DecodeLimits::default()
}

fn sample() -> RgbImage {
    RgbImage::from_fn(64, 48, |x, y| {
        Rgb([(x * 4) as u8, (y * 5) as u8, if x < 32 { 20 } else { 230 }])
    })
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn sample_as(format: ImageFormat) -> Vec<u8> {
    encoded(&sample().into(), format)
}

/// Mean of the absolute differences, in levels of 255.
fn difference(a: &RgbImage, b: &RgbImage) -> f64 {
    assert_eq!(a.dimensions(), b.dimensions());
    let sum =
        a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>();
    sum / a.as_raw().len() as f64
}

#[test]
fn every_format_is_told_by_content_and_decoded() {
    for (format, encoder) in FORMATS {
        let bytes = sample_as(encoder);
        assert_eq!(PictureFormat::from_magic(&bytes), Some(format));
        let decoded = decode(&bytes, &limits())
            .unwrap_or_else(|error| panic!("{}: {error}", format.as_str()));
        assert_eq!(decoded.format, format);
        // GIF has 256 colours, JPEG rounds
        let most = match format {
            PictureFormat::Gif => 8.0,
            PictureFormat::Jpeg => 4.0,
            _ => 0.0,
        };
        assert!(difference(&decoded.rgb, &sample()) <= most, "{}", format.as_str());
        assert!(format.media_type().ends_with(format.as_str()));
    }
}

#[test]
fn truncated_files_fail() {
    for (format, encoder) in FORMATS {
        let bytes = sample_as(encoder);
        for share in [5, 25, 50, 75, 90] {
            let cut = &bytes[..bytes.len() * share / 100];
            let error = decode(cut, &limits())
                .err()
                .unwrap_or_else(|| panic!("{} cut to {share} %", format.as_str()));
            assert!(
                ["truncated_image", "corrupt_image", "not_an_image"].contains(&error.code()),
                "{} at {share} %: {error}",
                format.as_str()
            );
        }
    }
    let jpeg = sample_as(ImageFormat::Jpeg);
    assert_eq!(decode(&jpeg[..jpeg.len() - 1], &limits()).unwrap_err().code(), "truncated_image");
}

#[test]
fn what_follows_a_jpeg_is_ignored() {
    let mut bytes = sample_as(ImageFormat::Jpeg);
    bytes.extend_from_slice(&[0; 1000]);
    assert!(decode(&bytes, &limits()).is_ok());
}

#[test]
fn jpegs_of_other_kinds_equal_pillow() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/decode");
    for name in ["progressive", "cmyk"] {
        let read = |ending: &str| {
            decode(&std::fs::read(dir.join(format!("{name}.{ending}"))).unwrap(), &limits())
                .unwrap()
                .rgb
        };
        let difference = difference(&read("jpg"), &read("png"));
        assert!(difference < 2.0, "{name}: {difference}");
    }
}

#[test]
fn grayscale_deep_and_transparent_pictures_become_rgb8() {
    let gray = DynamicImage::ImageLuma8(image::GrayImage::from_pixel(8, 8, image::Luma([77])));
    for format in [ImageFormat::Jpeg, ImageFormat::Png] {
        let rgb = decode(&encoded(&gray, format), &limits()).unwrap().rgb;
        assert!(rgb.get_pixel(3, 3).0.iter().all(|level| level.abs_diff(77) <= 1));
    }
    let deep =
        DynamicImage::ImageRgb16(image::ImageBuffer::from_pixel(8, 8, Rgb([65535, 257 * 100, 0])));
    for format in [ImageFormat::Png, ImageFormat::Tiff] {
        assert_eq!(
            decode(&encoded(&deep, format), &limits()).unwrap().rgb.get_pixel(0, 0).0,
            [255, 100, 0]
        );
    }
    let clear = DynamicImage::ImageRgba8(RgbaImage::from_fn(8, 8, |x, _| {
        Rgba([200, 0, 0, [0, 128, 255][x.min(2) as usize]])
    }));
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Tiff] {
        let rgb = decode(&encoded(&clear, format), &limits()).unwrap().rgb;
        assert_eq!(
            [0, 1, 2].map(|x| rgb.get_pixel(x, 0).0),
            [[255, 255, 255], [227, 127, 127], [200, 0, 0]]
        );
    }
}

/// An EXIF block that says nothing but the orientation, put after the start of a JPEG.
fn oriented(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend_from_slice(&[orientation, 0, 0, 0, 0, 0, 0]);
    let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xFF, 0xE1], &length, &exif, &jpeg[2..]].concat()
}

#[test]
fn exif_orientation_is_applied() {
    use image::imageops::{flip_horizontal, flip_vertical, rotate90, rotate180, rotate270};
    let jpeg = sample_as(ImageFormat::Jpeg);
    let flat = decode(&jpeg, &limits()).unwrap().rgb;
    let turned = [
        flat.clone(),
        flip_horizontal(&flat),
        rotate180(&flat),
        flip_vertical(&flat),
        rotate90(&flip_vertical(&flat)),
        rotate90(&flat),
        rotate270(&flip_vertical(&flat)),
        rotate270(&flat),
    ];
    for (orientation, want) in (1..).zip(&turned) {
        assert_eq!(
            &decode(&oriented(&jpeg, orientation), &limits()).unwrap().rgb,
            want,
            "orientation {orientation}"
        );
    }
    assert_eq!(decode(&oriented(&jpeg, 99), &limits()).unwrap().rgb, flat);
}

#[test]
fn of_an_animated_gif_the_first_frame_is_taken() {
    let mut bytes = Vec::new();
    let mut encoder = image::codecs::gif::GifEncoder::new(&mut bytes);
    for color in [[255, 0, 0, 255], [0, 0, 255, 255]] {
        encoder
            .encode_frame(image::Frame::new(RgbaImage::from_pixel(10, 10, Rgba(color))))
            .unwrap();
    }
    drop(encoder);
    assert_eq!(decode(&bytes, &limits()).unwrap().rgb.get_pixel(5, 5).0, [255, 0, 0]);
}

#[test]
fn limits_are_kept() {
    let png = sample_as(ImageFormat::Png);
    let with = |change: fn(&mut DecodeLimits)| {
        let mut limits = limits();
        change(&mut limits);
        decode(&png, &limits).unwrap_err().code()
    };
    assert_eq!(with(|limits| limits.max_bytes = 10), "too_many_bytes");
    assert_eq!(with(|limits| limits.max_pixels = 100), "too_many_pixels");
    assert_eq!(with(|limits| limits.max_alloc_bytes = 1000), "too_much_memory");
    assert_eq!(with(|limits| limits.timeout_ms = 0), "decode_timeout");
    assert_eq!(decode(&[], &limits()).unwrap_err(), DecodeError::Empty);
    assert_eq!(
        decode(b"<html>not a picture</html>", &limits()).unwrap_err().code(),
        "not_an_image"
    );
}

#[test]
fn bombs_are_refused_by_their_headers() {
    let mut bmp = sample_as(ImageFormat::Bmp);
    bmp[18..22].copy_from_slice(&60_000_u32.to_le_bytes());
    bmp[22..26].copy_from_slice(&60_000_u32.to_le_bytes());
    let mut gif = sample_as(ImageFormat::Gif);
    gif[6..10].copy_from_slice(&[0x60, 0xEA, 0x60, 0xEA]);
    let mut jpeg = sample_as(ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xEA, 0x60, 0xEA, 0x60]);
    for bomb in [bmp, gif, jpeg, png_header(60_000, 60_000)] {
        let error = decode(&bomb, &limits()).unwrap_err();
        assert!(["too_many_pixels", "too_much_memory"].contains(&error.code()), "{error}");
    }
}

/// A PNG of a header and an empty data chunk.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend_from_slice(&width.to_be_bytes());
    header.extend_from_slice(&height.to_be_bytes());
    header.extend_from_slice(&[8, 2, 0, 0, 0]);
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    for chunk in [header, b"IDAT".to_vec(), b"IEND".to_vec()] {
        png.extend_from_slice(&u32::try_from(chunk.len() - 4).unwrap().to_be_bytes());
        png.extend_from_slice(&chunk);
        png.extend_from_slice(&crc(&chunk).to_be_bytes());
    }
    png
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 }
        })
    })
}

#[test]
fn damaged_bytes_never_panic() {
    // xorshift: the same damage in every run
    let mut state = 0x2545_F491_u32;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as usize
    };
    let limits = DecodeLimits { max_pixels: 1 << 20, max_alloc_bytes: 1 << 24, ..limits() };
    for (_, encoder) in FORMATS {
        let whole = sample_as(encoder);
        for _ in 0..150 {
            let mut bytes = whole.clone();
            for _ in 0..=random() % 8 {
                let place = random() % bytes.len();
                bytes[place] = random() as u8;
            }
            bytes.truncate(bytes.len() - random() % 40);
            let _ = decode(&bytes, &limits);
        }
        for _ in 0..50 {
            let mut bytes = whole[..16.min(whole.len())].to_vec();
            bytes.extend((0..random() % 500).map(|_| random() as u8));
            let _ = decode(&bytes, &limits);
        }
    }
}
