//! A picture that was scaled while it was decoded has to mean the same to a model as the full one.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};

use clip::{DecodeLimits, EngineChoice, LoadOptions, Model, Wanted, decode_wanted};
use image::{Rgb, RgbImage};

const COSINE_MIN: f32 = 0.999;

fn bundled_model() -> Model {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/emoji-clip");
    Model::load(&dir, &LoadOptions { engine: EngineChoice::Rten, ..LoadOptions::default() })
        .unwrap()
}

/// Cosine of the embeddings of the scaled and the full picture, how much smaller the scaled one is, and the time on the
/// processor for decoding and preprocessing: full, scaled.
fn compare(model: &Model, jpeg: &[u8]) -> (f32, u32, [f64; 2]) {
    let limits = DecodeLimits { max_pixels: 200_000_000, ..DecodeLimits::default() };
    let preprocessor = model.preprocessor();
    let embed = |wanted| {
        let started = processor_ms();
        let decoded = decode_wanted(jpeg, &limits, wanted).unwrap();
        let pixels = preprocessor.apply_decoded(&decoded);
        let spent = processor_ms() - started;
        let embedding = model.encode_images(&[pixels]).unwrap().remove(0);
        (embedding, (decoded.width + decoded.rgb.width() / 2) / decoded.rgb.width(), spent)
    };
    let (full, _, full_ms) = embed(Wanted::Full);
    let (small, factor, small_ms) = embed(preprocessor.wanted());
    let cosine = full.iter().zip(&small).map(|(a, b)| a * b).sum();
    (cosine, factor, [full_ms, small_ms])
}

/// Time that this thread has run, as the kernel counts it; 0 where it does not.
fn processor_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split(' ').next().and_then(|field| field.parse::<f64>().ok());
    nanoseconds.unwrap_or_default() / 1e6
}

#[test]
fn synthetic_pictures_embed_alike() {
    let model = bundled_model();
    let discs = RgbImage::from_fn(1801, 1351, |x, y| {
        let (x, y) = (f64::from(x), f64::from(y));
        let inside = |cx: f64, cy: f64, r: f64| (x - cx).hypot(y - cy) < r;
        if inside(900.0, 675.0, 450.0)
            && !inside(750.0, 570.0, 60.0)
            && !inside(1050.0, 570.0, 60.0)
        {
            Rgb([250, 200, 40])
        } else {
            Rgb([(x / 8.0) as u8, (y / 6.0) as u8, 200])
        }
    });
    let waves = RgbImage::from_fn(1083, 1603, |x, y| {
        let wave =
            |a: f64, b: f64| 128.0 + 90.0 * (f64::from(x) / a).sin() * (f64::from(y) / b).cos();
        Rgb([wave(90.0, 70.0) as u8, wave(40.0, 110.0) as u8, wave(150.0, 60.0) as u8])
    });
    for picture in [discs, waves] {
        let mut jpeg = Vec::new();
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 90);
        picture.write_with_encoder(encoder).unwrap();
        let (cosine, factor, _) = compare(&model, &jpeg);
        assert_eq!(factor, 4);
        assert!(cosine >= COSINE_MIN, "{cosine}");
    }
}

/// An EXIF block that says nothing but the orientation, put after the start of a JPEG.
fn turned(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend_from_slice(&[orientation, 0, 0, 0, 0, 0, 0]);
    let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xFF, 0xE1], &length, &exif, &jpeg[2..]].concat()
}

#[test]
fn the_part_of_a_pixel_at_the_edge_is_turned_along() {
    let model = bundled_model();
    // stripes of different widths, which shift by a third of the model's pixel if the edge is taken for whole
    let stripes = RgbImage::from_fn(393, 401, |x, y| {
        let light =
            |place: u32, width: u32| if (place / width).is_multiple_of(2) { 230 } else { 25 };
        Rgb([light(x, 31), light(y, 47), light(x + y, 83)])
    });
    let mut jpeg = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 90);
    stripes.write_with_encoder(encoder).unwrap();
    for orientation in 1..=8 {
        let (cosine, factor, _) = compare(&model, &turned(&jpeg, orientation));
        assert_eq!(factor, 2);
        assert!(cosine >= COSINE_MIN, "orientation {orientation}: {cosine}");
    }
}

/// `CLIP_PHOTOS=FOLDER cargo test -p clip --test scaled -- --ignored --nocapture`; with `CLIP_MODEL` for another model.
#[test]
#[ignore = "needs a folder with photos"]
fn photos_embed_alike() {
    let folder = PathBuf::from(std::env::var_os("CLIP_PHOTOS").expect("CLIP_PHOTOS"));
    let model = std::env::var_os("CLIP_MODEL").map_or_else(bundled_model, |dir| {
        Model::load(Path::new(&dir), &LoadOptions::default()).unwrap()
    });
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let (mut worst, mut scaled, mut full_ms, mut scaled_ms) = (1.0_f32, 0, 0.0, 0.0);
    for name in &names {
        let (cosine, factor, [full, small]) = compare(&model, &std::fs::read(name).unwrap());
        eprintln!("{:.5} 1/{factor} {full:.1} {small:.1} ms {}", cosine, name.display());
        worst = worst.min(cosine);
        scaled += usize::from(factor > 1);
        full_ms += full;
        scaled_ms += small;
    }
    let count = names.len() as f64;
    eprintln!(
        "{} photos, {scaled} of them scaled, lowest cosine {worst:.5}, per photo {:.1} ms full and {:.1} ms scaled",
        names.len(),
        full_ms / count,
        scaled_ms / count
    );
    assert!(worst >= COSINE_MIN);
}
