//! What a broken bundle or library says. Alone in its process: a process can load one ONNX Runtime only, and here none
//! may be loaded.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use clip::{EngineChoice, LoadError, LoadOptions, Model, onnxruntime_available};

fn copy_of_openclip() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/openclip");
    for folder in ["visual", "textual"] {
        std::fs::create_dir(dir.path().join(folder)).unwrap();
    }
    let files = [
        "config.json",
        "visual/model.onnx",
        "visual/preprocess_cfg.json",
        "textual/model.onnx",
        "textual/tokenizer.json",
        "textual/tokenizer_config.json",
    ];
    for file in files {
        std::fs::copy(source.join(file), dir.path().join(file)).unwrap();
    }
    dir
}

fn rten() -> LoadOptions {
    LoadOptions { engine: EngineChoice::Rten, ..LoadOptions::default() }
}

#[test]
fn a_missing_or_damaged_file_is_named() {
    for file in [
        "config.json",
        "visual/model.onnx",
        "visual/preprocess_cfg.json",
        "textual/model.onnx",
        "textual/tokenizer.json",
    ] {
        let dir = copy_of_openclip();
        std::fs::remove_file(dir.path().join(file)).unwrap();
        let message = Model::load(dir.path(), &rten()).unwrap_err().to_string();
        assert!(message.contains(file), "{message}");
        for damage in [&b"damaged"[..], b""] {
            std::fs::write(dir.path().join(file), damage).unwrap();
            let message = Model::load(dir.path(), &rten()).unwrap_err().to_string();
            assert!(message.contains(file), "{message}");
        }
    }
}

/// The bundle with the text graph of another.
fn with_text_graph(other: &str) -> LoadError {
    let dir = copy_of_openclip();
    std::fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join(other),
        dir.path().join("textual/model.onnx"),
    )
    .unwrap();
    Model::load(dir.path(), &rten()).unwrap_err()
}

#[test]
fn towers_of_different_length_are_refused() {
    let error = with_text_graph("../../models/emoji-clip/textual/model.onnx");
    assert!(matches!(error, LoadError::Graph { .. }), "{error}");
    let message = error.to_string();
    for part in ["textual/model.onnx", "visual/model.onnx", "192 numbers", "has 24"] {
        assert!(message.contains(part), "{part:?} in {message}");
    }
}

#[test]
fn a_text_graph_that_knows_fewer_words_than_the_tokenizer_is_refused() {
    let error = with_text_graph("tests/golden/hf-siglip/onnx/text_model.onnx");
    assert!(matches!(error, LoadError::Graph { .. }), "{error}");
    assert!(error.to_string().contains("textual/model.onnx"), "{error}");
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let dir = copy_of_openclip();
    let other = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/xlm-roberta/textual/tokenizer.json");
    std::fs::copy(other, dir.path().join("textual/tokenizer.json")).unwrap();
    let error = Model::load(dir.path(), &rten()).unwrap_err();
    assert!(matches!(error, LoadError::Invalid { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("tokenizer.json") && message.contains("<|endoftext|>"), "{message}");
}

#[test]
fn what_an_engine_is_known_to_compute_wrongly_is_refused() {
    let dir = copy_of_openclip();
    let graph = dir.path().join("visual/model.onnx");
    let bytes = std::fs::read(&graph).unwrap();
    let place = bytes.windows(4).position(|bytes| bytes == b"Conv").expect("a convolution");
    let changed = [&bytes[..place], b"ConvInteger", &bytes[place + 4..]].concat();
    std::fs::write(&graph, changed).unwrap();
    let message = Model::load(dir.path(), &rten()).unwrap_err().to_string();
    assert!(message.contains("ConvInteger") && message.contains("make onnxruntime"), "{message}");
}

#[test]
fn a_directory_without_a_bundle_says_what_is_expected() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Model::load(dir.path(), &rten()), Err(LoadError::NoBundle { .. })));
    assert!(matches!(
        Model::load(Path::new("/no/such/place"), &rten()),
        Err(LoadError::NoBundle { .. })
    ));
}

#[test]
fn a_missing_or_wrong_library_is_an_error_when_strict_and_a_note_when_automatic() {
    let dir = copy_of_openclip();
    let text = dir.path().join("libtext.so");
    std::fs::write(&text, "no library").unwrap();
    // a true shared library that is not ONNX Runtime
    let libc =
        ["/lib/x86_64-linux-gnu/libm.so.6", "/lib64/libm.so.6", "/lib/aarch64-linux-gnu/libm.so.6"]
            .map(PathBuf::from);
    let other = libc.into_iter().find(|path| path.is_file());
    for library in [Some(dir.path().join("missing.so")), Some(text), other].into_iter().flatten() {
        assert!(
            onnxruntime_available(Some(&library))
                .unwrap_err()
                .contains(&*library.to_string_lossy())
        );
        let strict = LoadOptions {
            engine: EngineChoice::OnnxRuntime,
            threads: 1,
            onnxruntime_library: Some(library.clone()),
            ..LoadOptions::default()
        };
        let error = Model::load(dir.path(), &strict).unwrap_err();
        assert!(matches!(error, LoadError::OnnxRuntimeUnavailable { .. }), "{error}");
        let automatic = LoadOptions { engine: EngineChoice::Auto, ..strict };
        let model = Model::load(dir.path(), &automatic).unwrap();
        assert_eq!(model.info().engine, "rten");
        assert!(model.info().engine_note.as_ref().unwrap().contains(&*library.to_string_lossy()));
    }
}

#[test]
fn engines_have_names() {
    for choice in [EngineChoice::Auto, EngineChoice::Rten, EngineChoice::OnnxRuntime] {
        assert_eq!(choice.to_string().parse(), Ok(choice));
    }
    assert!("gpu".parse::<EngineChoice>().is_err());
}
