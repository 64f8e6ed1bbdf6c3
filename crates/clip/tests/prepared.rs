//! Prepared graphs: every family goes through the rewrite and its proof, in both engines, and gives what PyTorch gives;
//! and what is kept of it is used when it is whole and only then.
#![allow(clippy::unwrap_used)]

mod bundles;

use std::path::{Path, PathBuf};

use bundles::{BUNDLES, compare, cosine, engines, golden, load, load_with, options};
use clip::{EngineChoice, LoadError, LoadOptions, Model, Precision};

/// Graphs whose random weights give nearly the same row for every picture, so that nothing can be proved.
const PROVES_NOTHING: &str = "mobileclip";

fn prepared(dir: &Path, engine: EngineChoice) -> LoadOptions {
    LoadOptions { prepared_dir: Some(dir.into()), ..options(engine) }
}

#[test]
fn every_family_is_prepared_and_equals_pytorch() {
    for engine in engines() {
        let dir = tempfile::tempdir().unwrap();
        for (name, ..) in BUNDLES {
            for round in ["made", "kept"] {
                let model = load_with(&golden(name), &prepared(dir.path(), engine));
                let notes = model.info().preparation_notes.join("; ");
                if name == PROVES_NOTHING {
                    assert!(
                        notes.contains("visual") && notes.contains("proves nothing"),
                        "{notes}"
                    );
                    assert!(!notes.contains("textual"), "{notes}");
                } else {
                    assert_eq!(notes, "", "{name} in {engine}, {round}");
                }
                compare(&golden(name), &model, engine);
            }
        }
    }
}

#[test]
fn unlike_texts_in_one_batch_equal_the_published_graph() {
    let texts =
        ["", "tennis", "a photo of two dogs on a beach at night", &"word ".repeat(100), "a"];
    for engine in engines() {
        for name in ["laion-uint8", "xlm-roberta-of-one", "nllb", "hf-clip", "siglip-of-one"] {
            let dir = tempfile::tempdir().unwrap();
            let want = load(&golden(name), engine).encode_texts(&texts).unwrap();
            let model = load_with(&golden(name), &prepared(dir.path(), engine));
            for (text, (want, row)) in
                texts.iter().zip(want.iter().zip(model.encode_texts(&texts).unwrap()))
            {
                assert!(cosine(want, &row) > 0.999_999, "{name} in {engine}: {text:?}");
            }
        }
    }
}

/// The prepared graphs in a folder, with what they were prepared from.
fn graphs(dir: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut graphs = folders.map(|folder| folder.join("model.onnx")).collect::<Vec<_>>();
    graphs.sort();
    graphs
}

#[test]
fn what_is_kept_is_small_and_is_not_made_again() {
    for engine in engines() {
        let dir = tempfile::tempdir().unwrap();
        let options = prepared(dir.path(), engine);
        load_with(&golden("openclip"), &options);
        let made = graphs(dir.path());
        assert_eq!(made.len(), 2, "a folder for each graph, and none that is unfinished: {made:?}");
        let modified = |graph: &PathBuf| std::fs::metadata(graph).unwrap().modified().unwrap();
        let times = made.iter().map(modified).collect::<Vec<_>>();
        load_with(&golden("openclip"), &options);
        assert_eq!(made.iter().map(modified).collect::<Vec<_>>(), times, "{engine}");
        let published = std::fs::metadata(golden("openclip/visual/model.onnx")).unwrap().len();
        let kept = made.iter().map(|graph| std::fs::metadata(graph).unwrap().len());
        assert!(kept.min().unwrap() < published / 2, "weights stay in the published file");
    }
}

#[test]
fn damaged_or_stale_files_are_made_again() {
    for engine in engines() {
        let (dir, bundle) = (tempfile::tempdir().unwrap(), copy(&golden("openclip")));
        let options = prepared(dir.path(), engine);
        load_with(bundle.path(), &options);
        for damage in [&b"damaged"[..], b""] {
            for graph in graphs(dir.path()) {
                let whole = std::fs::read(&graph).unwrap();
                std::fs::write(&graph, damage).unwrap();
                let model = load_with(bundle.path(), &options);
                assert_eq!(model.info().preparation_notes, Vec::<String>::new());
                compare(&golden("openclip"), &model, engine);
                assert_eq!(std::fs::read(&graph).unwrap().len(), whole.len(), "made again");
            }
        }
        for graph in graphs(dir.path()) {
            std::fs::write(graph.with_file_name("prepared.json"), "{").unwrap();
        }
        compare(&golden("openclip"), &load_with(bundle.path(), &options), engine);
        // another model in the same place
        for file in ["visual/model.onnx", "textual/model.onnx", "textual/tokenizer.json"] {
            let other = golden("laion-uint8").join(file);
            std::fs::copy(other, bundle.path().join(file)).unwrap();
        }
        compare(&golden("laion-uint8"), &load_with(bundle.path(), &options), engine);
    }
}

#[test]
fn a_folder_that_cannot_be_written_costs_speed_only() {
    let dir = tempfile::tempdir().unwrap();
    let unwritable = dir.path().join("file");
    std::fs::write(&unwritable, "no folder").unwrap();
    let model = load_with(&golden("openclip"), &prepared(&unwritable, EngineChoice::Rten));
    let notes = model.info().preparation_notes.join("; ");
    assert!(notes.contains("as it was published") && notes.contains("file"), "{notes}");
    compare(&golden("openclip"), &model, EngineChoice::Rten);
}

#[test]
fn rows_in_int8_do_not_depend_on_their_neighbours() {
    for engine in engines() {
        for name in ["openclip", "openclip-opset23", "hf-siglip", "xlm-roberta-of-one"] {
            let dir = tempfile::tempdir().unwrap();
            let exact = load(&golden(name), engine);
            let int8 = LoadOptions { precision: Precision::Int8, ..prepared(dir.path(), engine) };
            let model = load_with(&golden(name), &int8);
            assert_eq!(model.info().precision, Precision::Int8);
            let texts = ["tennis", "a photo of a cat", &"word ".repeat(100)];
            let together = model.encode_texts(&texts).unwrap();
            for (text, row) in texts.iter().zip(&together) {
                let alone = model.encode_texts(&[text]).unwrap().remove(0);
                assert!(cosine(&alone, row) > 0.999_999, "{name} in {engine}: {text:?}");
                let want = exact.encode_texts(&[text]).unwrap().remove(0);
                let cosine = cosine(&want, row);
                assert!(cosine > 0.98, "{name} in {engine}: {text:?} {cosine}");
                assert!(*row != want, "{name} in {engine}: nothing is in int8");
            }
            let bright = |light: u32| {
                image::RgbImage::from_fn(64, 64, |x, y| {
                    image::Rgb([(x * light) as u8, (y * light) as u8, (light * 40) as u8])
                })
            };
            let pixels = [1, 2, 4].map(|light| model.preprocess(&bright(light)));
            for (pixels, row) in pixels.iter().zip(model.encode_images(&pixels).unwrap()) {
                let alone = model.encode_images(std::slice::from_ref(pixels)).unwrap().remove(0);
                assert!(cosine(&alone, &row) > 0.999_999, "{name} in {engine}");
            }
        }
    }
}

#[test]
fn batches_side_by_side_give_what_one_after_the_other_gives() {
    for engine in engines() {
        let lanes = if engine == EngineChoice::OnnxRuntime { 2 } else { 1 };
        for precision in [Precision::F32, Precision::Int8] {
            let dir = tempfile::tempdir().unwrap();
            let wanted = LoadOptions { precision, lanes: 2, ..prepared(dir.path(), engine) };
            let model = load_with(&golden("openclip"), &wanted);
            assert_eq!(model.info().lanes, lanes, "{engine}");
            let picture = |light: u8| {
                model.preprocess(&image::RgbImage::from_pixel(9, 9, image::Rgb([light, 0, 99])))
            };
            let batches: Vec<_> = (0..24).map(|n| vec![picture(n), picture(200 - n)]).collect();
            let alone: Vec<_> =
                batches.iter().map(|batch| model.encode_images(batch).unwrap()).collect();
            let together: Vec<_> = std::thread::scope(|scope| {
                let started: Vec<_> = batches
                    .iter()
                    .map(|batch| scope.spawn(|| model.encode_images(batch).unwrap()))
                    .collect();
                started.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            for (alone, together) in alone.iter().flatten().zip(together.iter().flatten()) {
                assert!(cosine(alone, together) > 0.999_999, "{engine}, {precision}");
            }
        }
    }
}

#[test]
fn int8_that_cannot_be_had_is_an_error_and_never_something_else() {
    let int8 = LoadOptions { precision: Precision::Int8, ..options(EngineChoice::Rten) };
    let error = Model::load(&golden("openclip"), &int8).unwrap_err();
    assert!(matches!(error, LoadError::Precision { .. }), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let int8 = LoadOptions { prepared_dir: Some(dir.path().into()), ..int8 };
    let error = Model::load(&golden("fp16"), &int8).unwrap_err();
    assert!(error.to_string().contains("embed.precision"), "{error}");
}

fn copy(bundle: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in ["visual", "textual"] {
        std::fs::create_dir(dir.path().join(entry)).unwrap();
        for file in std::fs::read_dir(bundle.join(entry)).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), dir.path().join(entry).join(file.file_name())).unwrap();
        }
    }
    std::fs::copy(bundle.join("config.json"), dir.path().join("config.json")).unwrap();
    dir
}
