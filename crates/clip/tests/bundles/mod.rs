//! The bundles that `tools/golden` wrote, the engines there are, and the comparison with PyTorch.
#![allow(dead_code, clippy::unwrap_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};

use clip::{DecodeLimits, EngineChoice, Family, LoadOptions, Model, Provider, decode};
use serde_json::Value;

pub(crate) const BUNDLES: [(&str, Family, usize); 16] = [
    ("openclip", Family::Clip, 77),
    ("openclip-dynamo", Family::Clip, 77),
    ("openclip-opset23", Family::Clip, 77),
    ("laion-uint8", Family::Clip, 77),
    ("siglip-openclip", Family::SigLip, 64),
    ("siglip-of-one", Family::SigLip, 64),
    ("xlm-roberta", Family::Multilingual, 77),
    ("xlm-roberta-of-one", Family::Multilingual, 77),
    ("nllb", Family::Multilingual, 77),
    ("nllb-of-one", Family::Multilingual, 77),
    ("mobileclip", Family::MobileClip, 77),
    ("fp16", Family::Clip, 77),
    ("fp16-inside", Family::Clip, 77),
    ("hf-clip", Family::Clip, 77),
    ("hf-siglip", Family::SigLip, 64),
    ("hf-siglip2", Family::SigLip, 64),
];

pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Bundles that one engine cannot run, with the other one: none today. Their error has to be tested where they are listed.
pub(crate) const ONE_ENGINE_ONLY: [(&str, EngineChoice); 0] = [];

pub(crate) fn library() -> Option<PathBuf> {
    let named =
        std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from);
    let made = format!("../../target/onnxruntime/libonnxruntime{}", std::env::consts::DLL_SUFFIX);
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join(made);
    named.or_else(|| made.is_file().then_some(made))
}

/// Both engines; rten alone where there is no ONNX Runtime.
pub(crate) fn engines() -> Vec<EngineChoice> {
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

pub(crate) fn runs(name: &str, engine: EngineChoice) -> bool {
    ONE_ENGINE_ONLY.iter().all(|(bundle, only)| *bundle != name || *only == engine)
}

pub(crate) fn options(engine: EngineChoice) -> LoadOptions {
    let providers = providers();
    let library = library();
    LoadOptions {
        engine,
        threads: 2,
        onnxruntime_library: library,
        providers,
        ..LoadOptions::default()
    }
}

/// `CLIP_PROVIDERS=openvino` holds another provider of ONNX Runtime to the same expectations.
fn providers() -> Vec<Provider> {
    let words = std::env::var("CLIP_PROVIDERS").unwrap_or_default();
    words.split(',').filter(|word| !word.is_empty()).map(|word| word.parse().unwrap()).collect()
}

pub(crate) fn load(dir: &Path, engine: EngineChoice) -> Model {
    load_with(dir, &options(engine))
}

pub(crate) fn load_with(dir: &Path, options: &LoadOptions) -> Model {
    Model::load(dir, options)
        .unwrap_or_else(|error| panic!("{} in {}: {error}", dir.display(), options.engine))
}

/// Every directory below `root` that says what its embeddings have to be.
pub(crate) fn with_expectations(root: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut found = folders.filter(|path| path.join("expected.json").is_file()).collect::<Vec<_>>();
    found.sort();
    found
}

pub(crate) fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub(crate) fn picture(path: &Path) -> image::RgbImage {
    decode(&std::fs::read(path).unwrap(), &DecodeLimits::default()).unwrap().rgb
}

pub(crate) fn compare(dir: &Path, model: &Model, engine: EngineChoice) {
    let name = dir.file_name().unwrap().to_string_lossy();
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
