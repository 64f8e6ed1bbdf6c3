//! Prepared graphs: every family goes through the rewrite and its proof, in both engines, and gives what PyTorch gives.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod bundles;

use bundles::*;
use clip::{EngineChoice, LoadOptions, Model};

#[test]
fn every_family_is_prepared_and_equals_pytorch() {
    for engine in engines() {
        for (name, ..) in BUNDLES {
            let dir = tempfile::tempdir().unwrap();
            let options = LoadOptions { prepared_dir: Some(dir.path().into()), ..options(engine) };
            for round in ["made", "kept"] {
                let model = load_with(&golden(name), &options);
                eprintln!("{name} {engine} {round}: {:?}", model.info().preparation_notes);
                compare(&golden(name), &model, engine);
            }
        }
    }
}
