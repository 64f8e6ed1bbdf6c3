//! Every family of models, in both engines, against PyTorch: ids equal, cosine >= 0.9999 from the same pixels and
//! >= 0.999 from a JPEG. The bundles are tiny, with random weights, written by `tools/golden`.
//!
//! ONNX Runtime is found at `ORT_DYLIB_PATH` or where `make onnxruntime` puts it. Without it that half is skipped, aloud;
//! with `CLIP_BOTH_ENGINES=1` that is a failure.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeSet;
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

/// Bundles that one engine cannot run, with the other one: none today. Their error has to be tested where they are listed.
const ONE_ENGINE_ONLY: [(&str, EngineChoice); 0] = [];

fn library() -> Option<PathBuf> {
    let named =
        std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from);
    let made =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/onnxruntime/libonnxruntime.so");
    named.or_else(|| made.is_file().then_some(made))
}

/// Both engines; rten alone where there is no ONNX Runtime.
fn engines() -> Vec<EngineChoice> {
    if library().is_some() {
        return vec![EngineChoice::Rten, EngineChoice::OnnxRuntime];
    }
    assert!(
        std::env::var_os("CLIP_BOTH_ENGINES").is_none(),
        "CLIP_BOTH_ENGINES is set and there is no ONNX Runtime: run `make onnxruntime`"
    );
    eprintln!(
        "SKIPPED: the half of this test that needs ONNX Runtime; run `make onnxruntime` or set ORT_DYLIB_PATH"
    );
    vec![EngineChoice::Rten]
}

fn runs(name: &str, engine: EngineChoice) -> bool {
    ONE_ENGINE_ONLY.iter().all(|(bundle, only)| *bundle != name || *only == engine)
}

fn load(dir: &Path, engine: EngineChoice) -> Model {
    Model::load(dir, &LoadOptions { engine, threads: 2, onnxruntime_library: library() })
        .unwrap_or_else(|error| panic!("{} in {engine}: {error}", dir.display()))
}

/// Every directory below `root` that says what its embeddings have to be.
fn with_expectations(root: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut found = folders.filter(|path| path.join("expected.json").is_file()).collect::<Vec<_>>();
    found.sort();
    found
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

fn compare(dir: &Path, engine: EngineChoice) {
    let name = dir.file_name().unwrap().to_string_lossy();
    let model = load(dir, engine);
    assert_eq!(model.info().engine, engine.to_string(), "{name}: no engine stands in for another");
    let expected: Value =
        serde_json::from_slice(&std::fs::read(dir.join("expected.json")).unwrap()).unwrap();
    let texts = expected["texts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap())
        .collect::<Vec<_>>();
    for (text, ids) in texts.iter().zip(expected["ids"].as_array().unwrap()) {
        let ids = ids.as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect::<Vec<_>>();
        assert_eq!(model.tokenize(text).unwrap(), ids, "{name}: ids of {text:?}");
    }
    let rows = model.encode_texts(&texts).unwrap();
    for ((text, row), want) in
        texts.iter().zip(&rows).zip(expected["text_embeddings"].as_array().unwrap())
    {
        let cosine = cosine(row, &floats(want));
        assert!(cosine >= 0.9999, "{name} in {engine}: the text {text:?} has cosine {cosine}");
    }
    let want = floats(&expected["image_embedding"]);
    let pixels =
        ["picture.png", "picture.jpg"].map(|file| model.preprocess(&picture(&dir.join(file))));
    let rows = model.encode_images(&pixels).unwrap();
    for (row, (file, least)) in rows.iter().zip([("picture.png", 0.9999), ("picture.jpg", 0.999)]) {
        let cosine = cosine(row, &want);
        assert!(cosine >= least, "{name} in {engine}: {file} has cosine {cosine}");
        assert!((self::cosine(row, row) - 1.0).abs() < 1e-5, "rows have length 1");
    }
}

#[test]
fn embeddings_and_ids_equal_pytorch() {
    let mut done = BTreeSet::new();
    for engine in engines() {
        for (name, ..) in BUNDLES.into_iter().filter(|(name, ..)| runs(name, engine)) {
            compare(&golden(name), engine);
            done.insert((golden(name), engine.to_string()));
        }
    }
    // what lies on the disk counts: a bundle that nobody listed above is no proof of anything
    for dir in with_expectations(&golden("")) {
        for engine in engines() {
            let name = dir.file_name().unwrap().to_string_lossy();
            let compared = done.contains(&(dir.clone(), engine.to_string()));
            assert_eq!(
                compared,
                runs(&name, engine),
                "{name} in {engine}: list it in BUNDLES, or in ONE_ENGINE_ONLY if that engine cannot run it"
            );
        }
    }
}

#[test]
#[ignore = "needs bundles of full size: tools/golden/make_full.py, then CLIP_BUNDLES=their folder"]
fn bundles_of_full_size_equal_pytorch() {
    let bundles = with_expectations(Path::new(&std::env::var_os("CLIP_BUNDLES").unwrap()));
    assert!(!bundles.is_empty(), "CLIP_BUNDLES has no bundle with an expected.json");
    for dir in bundles {
        for engine in engines() {
            let start = std::time::Instant::now();
            compare(&dir, engine);
            eprintln!(
                "{} in {engine}: equal, {:.1} s",
                dir.display(),
                start.elapsed().as_secs_f32()
            );
        }
    }
}

#[test]
fn info_says_what_was_loaded() {
    for (name, family, context_length) in
        BUNDLES.into_iter().filter(|(name, ..)| runs(name, EngineChoice::Rten))
    {
        let model = load(&golden(name), EngineChoice::Rten);
        let info = model.info();
        assert_eq!(
            (info.family, info.context_length, info.engine),
            (family, context_length, "rten"),
            "{name}"
        );
        let edge = if family == Family::MobileClip { 64 } else { 32 };
        assert_eq!((info.image_width, info.image_height), (edge, edge));
    }
}

#[test]
fn batches_equal_single_encodings() {
    for engine in engines() {
        for name in ["openclip", "laion-uint8"] {
            let model = load(&golden(name), engine);
            let pixels = [1, 2, 3].map(|seed| {
                model.preprocess(&image::RgbImage::from_fn(40, 50, |x, y| {
                    image::Rgb([(x * seed) as u8, (y * 3) as u8, 7])
                }))
            });
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
    let red =
        image::RgbImage::from_fn(90, 70, |x, y| image::Rgb([255, (x * 2) as u8, (y * 3) as u8]));
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
