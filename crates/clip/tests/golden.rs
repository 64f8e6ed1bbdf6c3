//! Every family of models, in both engines, against PyTorch: ids equal, cosine >= 0.9999 from the same pixels and
//! >= 0.999 from a JPEG. The bundles are tiny, with random weights, written by `tools/golden`.
//!
//! ONNX Runtime is found at `ORT_DYLIB_PATH` or where `make onnxruntime` puts it. Without it that half is skipped, aloud;
//! with `CLIP_BOTH_ENGINES=1` that is a failure.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod bundles;

use std::collections::BTreeSet;
use std::path::Path;

use bundles::{BUNDLES, compare, cosine, engines, golden, load, options, runs, with_expectations};
use clip::{EngineChoice, Family, LoadError, LoadOptions, Model, Provider};

#[test]
fn embeddings_and_ids_equal_pytorch() {
    let mut done = BTreeSet::new();
    for engine in engines() {
        for (name, ..) in BUNDLES.into_iter().filter(|(name, ..)| runs(name, engine)) {
            compare(&golden(name), &load(&golden(name), engine), engine);
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
            compare(&dir, &load(&dir, engine), engine);
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

#[test]
fn a_provider_that_the_library_lacks_is_passed_over_and_named() {
    if !engines().contains(&EngineChoice::OnnxRuntime) {
        return;
    }
    let dir = golden("openclip");
    let wanted = |providers: &[Provider], engine| LoadOptions {
        providers: providers.to_vec(),
        ..options(engine)
    };
    let cuda_or_cpu = wanted(&[Provider::Cuda, Provider::Cpu], EngineChoice::OnnxRuntime);
    let model = Model::load(&dir, &cuda_or_cpu).unwrap();
    assert_eq!((model.info().engine, model.info().provider), ("onnxruntime", Some("cpu")));
    let note = model.info().engine_note.clone().unwrap();
    assert!(note.starts_with("cuda could not be used"), "{note}");
    let only_cuda = wanted(&[Provider::Cuda], EngineChoice::OnnxRuntime);
    let error = Model::load(&dir, &only_cuda).unwrap_err();
    assert!(matches!(error, LoadError::OnnxRuntimeUnavailable { .. }), "{error}");
    let automatic = wanted(&[Provider::Cuda], EngineChoice::Auto);
    let model = Model::load(&dir, &automatic).unwrap();
    assert_eq!((model.info().engine, model.info().provider), ("rten", None));
    assert!(model.info().engine_note.as_ref().unwrap().contains("cuda"), "and says why");
}
