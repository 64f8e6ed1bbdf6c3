//! Pictures in every format against Pillow and its plug-ins. Written by `tools/golden/make_formats.py`.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};

use clip::{DecodeLimits, LoadOptions, Model, PictureFormat, Wanted, decode, decode_wanted};
use image::RgbImage;
use serde_json::Value;

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/formats")
}

struct Case {
    name: String,
    bytes: Vec<u8>,
    expected: RgbImage,
    tolerance: f64,
}

/// Those that this build reads.
fn cases() -> Vec<Case> {
    let read = |name: &str| std::fs::read(dir().join(name)).unwrap();
    let cases: Value = serde_json::from_slice(&read("cases.json")).unwrap();
    let cases = cases.as_array().unwrap().iter().map(|case| {
        let text = |key: &str| case[key].as_str().unwrap();
        let expected = image::load_from_memory(&read(text("expected"))).unwrap().into_rgb8();
        let tolerance = case["tolerance"].as_f64().unwrap();
        Case { name: text("file").into(), bytes: read(text("file")), expected, tolerance }
    });
    let format = |case: &Case| PictureFormat::from_magic(&case.bytes);
    cases.filter(|case| format(case).is_none_or(PictureFormat::is_read)).collect()
}

fn mean_difference(a: &RgbImage, b: &RgbImage) -> f64 {
    let sum: u64 = a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.as_raw().len() as f64
}

#[test]
fn pictures_equal_pillow() {
    let problems: Vec<String> = cases()
        .iter()
        .filter_map(|case| {
            let decoded = match decode(&case.bytes, &DecodeLimits::default()) {
                Ok(decoded) => decoded,
                Err(error) => return Some(format!("{}: {error}", case.name)),
            };
            assert_eq!((decoded.width, decoded.height), decoded.rgb.dimensions());
            if decoded.rgb.dimensions() != case.expected.dimensions() {
                let (have, want) = (decoded.rgb.dimensions(), case.expected.dimensions());
                return Some(format!("{}: {have:?} instead of {want:?}", case.name));
            }
            let difference = mean_difference(&decoded.rgb, &case.expected);
            (difference > case.tolerance).then(|| format!("{}: off by {difference:.2}", case.name))
        })
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn a_smaller_picture_has_the_same_shape_and_full_size() {
    for case in cases() {
        let Ok(full) = decode(&case.bytes, &DecodeLimits::default()) else { continue };
        let wanted = Wanted::ShortEdge(10);
        let small = decode_wanted(&case.bytes, &DecodeLimits::default(), wanted).unwrap();
        assert_eq!((small.width, small.height), (full.width, full.height), "{}", case.name);
        let (width, height) = small.rgb.dimensions();
        assert!(width.min(height) >= 10 && width <= full.width, "{}", case.name);
        let shapes =
            [(full.width, full.height), (width, height)].map(|(w, h)| f64::from(w) / f64::from(h));
        assert!((shapes[0] - shapes[1]).abs() < 0.15, "{}: {shapes:?}", case.name);
    }
}

#[test]
fn limits_hold_for_every_format() {
    for case in cases() {
        let code = |limits: &DecodeLimits| {
            decode(&case.bytes, limits).err().map_or("none", |error| error.code())
        };
        let pixels = DecodeLimits { max_pixels: 100, ..DecodeLimits::default() };
        assert_eq!(code(&pixels), "too_many_pixels", "{}", case.name);
        let time = DecodeLimits { timeout_ms: 0, ..DecodeLimits::default() };
        assert_eq!(code(&time), "decode_timeout", "{}", case.name);
        let memory = DecodeLimits { max_alloc_bytes: 2000, ..DecodeLimits::default() };
        assert_eq!(code(&memory), "too_much_memory", "{}", case.name);
    }
}

#[test]
fn cut_and_damaged_files_never_panic_and_seldom_pass() {
    let limits =
        DecodeLimits { max_pixels: 1 << 20, max_alloc_bytes: 1 << 26, ..DecodeLimits::default() };
    for case in cases() {
        let length = case.bytes.len();
        assert!(decode(&case.bytes[..length / 2], &limits).is_err(), "{}: a half", case.name);
        for step in 0..60 {
            let mut damaged = case.bytes.clone();
            damaged[step * length / 60] ^= 1 << (step % 8);
            let _ = decode(&damaged, &limits);
            damaged[(step * 31 + 7) % length] = 0xFF;
            let _ = decode(&damaged[..length - step % 7], &limits);
        }
    }
}

/// `CLIP_PAIRS=FOLDER cargo test -p clip --test formats -- --ignored --nocapture`: for each `NAME.heic` (or another
/// format) in the folder, `NAME.heic.png` is what Pillow made of it.
#[test]
#[ignore = "needs a folder with photos and what Pillow made of them"]
fn photos_embed_like_those_of_pillow() {
    let folder = PathBuf::from(std::env::var_os("CLIP_PAIRS").expect("CLIP_PAIRS"));
    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/emoji-clip");
    let model = Model::load(&bundle, &LoadOptions::default()).unwrap();
    let embed = |path: &Path| {
        let decoded = decode(&std::fs::read(path).unwrap(), &DecodeLimits::default()).unwrap();
        let pixels = model.preprocessor().apply_decoded(&decoded);
        model.encode_images(&[pixels]).unwrap().remove(0)
    };
    let mut worst = std::collections::BTreeMap::<String, (f32, usize)>::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let pillow = PathBuf::from(format!("{}.png", path.display()));
        if !pillow.exists() {
            continue;
        }
        let cosine: f32 = embed(&path).iter().zip(embed(&pillow)).map(|(a, b)| a * b).sum();
        let format = path.extension().unwrap().to_string_lossy().into_owned();
        let (lowest, count) = worst.entry(format).or_insert((1.0, 0));
        (*lowest, *count) = (lowest.min(cosine), *count + 1);
    }
    eprintln!("lowest cosine and number of photos, by format: {worst:?}");
    assert!(!worst.is_empty() && worst.values().all(|(cosine, _)| *cosine >= 0.999));
}
