//! Preprocessing against Pillow, through open_clip and transformers. Written by `tools/golden`.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use image::RgbImage;
use serde_json::Value;

use super::{Layout, Pixels, Plane};
use crate::bundle::{open_clip_recipe, transformers_recipe};

/// Pillow and the resizer round fixed-point sums differently. Measured: single pixels of noise by up to 3 levels of 255,
/// on average well below half a level.
const LEVELS_MAX: u8 = 3;
const LEVELS_MEAN_MAX: f64 = 0.5;

#[test]
fn pixels_equal_pillow() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/preprocess");
    let cases: Value =
        serde_json::from_slice(&std::fs::read(dir.join("cases.json")).unwrap()).unwrap();
    for case in cases.as_array().unwrap() {
        let name = case["expected"].as_str().unwrap();
        let recipe =
            if case["kind"] == "open_clip" { open_clip_recipe } else { transformers_recipe };
        let recipe = recipe(&case["config"]).unwrap();
        let source = image::open(dir.join(case["source"].as_str().unwrap())).unwrap().into_rgb8();
        let want = std::fs::read(dir.join(name)).unwrap();
        let Pixels(Plane::U8(have)) = recipe.apply(&source, Layout::BytePlanes) else {
            panic!("bytes were asked for")
        };
        let worst = have.iter().zip(&want).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert_eq!(have.len(), want.len());
        let sum: u64 = have.iter().zip(&want).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let mean = sum as f64 / want.len() as f64;
        assert!(
            worst <= LEVELS_MAX && mean <= LEVELS_MEAN_MAX,
            "{name}: off by {worst} levels, {mean:.3} on average"
        );
        let Pixels(Plane::F32(floats)) = recipe.apply(&source, Layout::FloatPlanes) else {
            panic!("floats were asked for")
        };
        let plane = want.len() / 3;
        for (index, (float, byte)) in floats.iter().zip(&have).enumerate() {
            let normalised =
                (f32::from(*byte) / 255.0 - recipe.mean[index / plane]) / recipe.std[index / plane];
            assert!((float - normalised).abs() < 1e-5);
        }
    }
}

#[test]
fn extreme_shapes_stay_cheap_and_right_in_size() {
    let config =
        serde_json::json!({"size": [32, 32], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]});
    for (width, height) in [(1, 60_000), (60_000, 1), (1, 1), (2, 3)] {
        for mode in ["shortest", "squash", "longest"] {
            let mut config = config.clone();
            config["resize_mode"] = mode.into();
            let recipe = open_clip_recipe(&config).unwrap();
            let sized =
                recipe.resize(&RgbImage::from_pixel(width, height, image::Rgb([200, 100, 50])));
            assert_eq!(sized.dimensions(), (32, 32));
            assert_eq!(sized.get_pixel(15, 15).0, [200, 100, 50], "{width}x{height} {mode}");
        }
    }
}
