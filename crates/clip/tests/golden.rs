//! Every family of models, in both engines, against PyTorch: ids equal, cosine >= 0.9999 from the same pixels and
//! >= 0.999 from a JPEG. The bundles are tiny, with random weights, written by `tools/golden`.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

use std::path::{Path, PathBuf};

use clip::{DecodeLimits, EngineChoice, Family, LoadOptions, Model, decode};
use serde_json::Value;

const BUNDLES: [(&str, Family, usize); 11] = [
    ("openclip", Family::Clip, 77),
    ("laion-uint8", Family::Clip, 77),
    ("siglip-openclip", Family::SigLip, 64),
    ("xlm-roberta", Family::Multilingual, 77),
    ("nllb", Family::Multilingual, 77),
    ("mobileclip", Family::MobileClip, 77),
    ("fp16", Family::Clip, 77),
    ("fp16-inside", Family::Clip, 77),
    ("hf-clip", Family::Clip, 77),
    ("hf-siglip", Family::SigLip, 64),
    ("hf-siglip2", Family::SigLip, 64),
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Both engines; ONNX Runtime only where `ORT_DYLIB_PATH` says where it is.
fn engines() -> Vec<EngineChoice> {
    if std::env::var_os("ORT_DYLIB_PATH").is_some() {
        return vec![EngineChoice::Rten, EngineChoice::OnnxRuntime];
    }
    eprintln!("SKIPPED: the half of this test that needs ONNX Runtime; set ORT_DYLIB_PATH to run it");
    vec![EngineChoice::Rten]
}

fn load(dir: &Path, engine: EngineChoice) -> Model {
    Model::load(dir, &LoadOptions { engine, threads: 2, onnxruntime_library: None }).unwrap_or_else(|error| panic!("{error}"))
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn picture(path: &Path) -> image::RgbImage {
    decode(&std::fs::read(path).unwrap(), &DecodeLimits::default()).unwrap().rgb
}

fn compare(name: &str, engine: EngineChoice) {
    let dir = golden(name);
    let model = load(&dir, engine);
    let expected: Value = serde_json::from_slice(&std::fs::read(dir.join("expected.json")).unwrap()).unwrap();
    let texts = expected["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect::<Vec<_>>();
    for (text, ids) in texts.iter().zip(expected["ids"].as_array().unwrap()) {
        let ids = ids.as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect::<Vec<_>>();
        assert_eq!(model.tokenize(text).unwrap(), ids, "{name}: ids of {text:?}");
    }
    let rows = model.encode_texts(&texts).unwrap();
    for ((text, row), want) in texts.iter().zip(&rows).zip(expected["text_embeddings"].as_array().unwrap()) {
        let cosine = cosine(row, &floats(want));
        assert!(cosine >= 0.9999, "{name} in {engine}: the text {text:?} has cosine {cosine}");
    }
    let want = floats(&expected["image_embedding"]);
    let pixels = ["picture.png", "picture.jpg"].map(|file| model.preprocess(&picture(&dir.join(file))));
    let rows = model.encode_images(&pixels).unwrap();
    for (row, (file, least)) in rows.iter().zip([("picture.png", 0.9999), ("picture.jpg", 0.999)]) {
        let cosine = cosine(row, &want);
        assert!(cosine >= least, "{name} in {engine}: {file} has cosine {cosine}");
        assert!((self::cosine(row, row) - 1.0).abs() < 1e-5, "rows have length 1");
    }
}

#[test]
fn embeddings_and_ids_equal_pytorch() {
    for engine in engines() {
        for (name, ..) in BUNDLES {
            compare(name, engine);
        }
    }
}

#[test]
fn info_says_what_was_loaded() {
    for (name, family, context_length) in BUNDLES {
        let model = load(&golden(name), EngineChoice::Rten);
        let info = model.info();
        assert_eq!((info.family, info.context_length, info.engine), (family, context_length, "rten"), "{name}");
        let edge = if family == Family::MobileClip { 64 } else { 32 };
        assert_eq!((info.image_width, info.image_height), (edge, edge));
    }
}

#[test]
fn batches_equal_single_encodings() {
    for engine in engines() {
        for name in ["openclip", "laion-uint8"] {
            let model = load(&golden(name), engine);
            let pixels = [1, 2, 3]
                .map(|seed| model.preprocess(&image::RgbImage::from_fn(40, 50, |x, y| image::Rgb([(x * seed) as u8, (y * 3) as u8, 7]))));
            let together = model.encode_images(&pixels).unwrap();
            for (pixels, row) in pixels.iter().zip(&together) {
                let alone = model.encode_images(std::slice::from_ref(pixels)).unwrap();
                assert!(cosine(&alone[0], row) > 0.99999);
            }
            assert!(model.encode_images(&[]).unwrap().is_empty());
            assert!(model.encode_texts(&[]).unwrap().is_empty());
        }
    }
}

#[test]
fn the_bundled_model_encodes_in_both_engines() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/emoji-clip");
    if !dir.join("visual/model.onnx").is_file() {
        eprintln!("SKIPPED: {} is not there", dir.display());
        return;
    }
    let red = image::RgbImage::from_fn(90, 70, |x, y| image::Rgb([255, (x * 2) as u8, (y * 3) as u8]));
    let rows = engines().into_iter().map(|engine| {
        let model = load(&dir, engine);
        let picture = model.encode_images(&[model.preprocess(&red)]).unwrap().remove(0);
        let text = model.encode_texts(&["tennis"]).unwrap().remove(0);
        assert_eq!((picture.len(), text.len()), (model.info().dim, model.info().dim));
        (picture, text)
    });
    let rows = rows.collect::<Vec<_>>();
    for (picture, text) in &rows {
        assert!(cosine(picture, &rows[0].0) >= 0.9999, "the engines agree on the picture");
        assert!(cosine(text, &rows[0].1) >= 0.9999, "the engines agree on the text");
    }
}
