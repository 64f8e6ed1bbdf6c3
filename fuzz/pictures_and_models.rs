//! What the crate `clip` does with bytes of unknown origin: pictures, what their headers say, descriptions of models.
//! Also replayed by a normal test (tests/it/corpus.rs). A target fails by a panic, or by taking more than its limits.
#![allow(dead_code, reason = "each target is a program of its own and calls one of these")]

use std::path::Path;

use clip::{DecodeLimits, EngineChoice, LoadOptions, Model, Wanted};

/// Small, so that no input takes long by being large.
fn limits() -> DecodeLimits {
    DecodeLimits {
        max_bytes: 1 << 20,
        max_pixels: 1 << 20,
        max_alloc_bytes: 64 << 20,
        timeout_ms: 5_000,
    }
}

/// Decodes a picture, whole and scaled. What comes out is as large as it says.
pub fn decode(data: &[u8]) {
    let limits = limits();
    for wanted in [Wanted::Full, Wanted::ShortEdge(64)] {
        let needed = clip::memory_needed(data, &limits, wanted);
        assert!(needed <= limits.max_alloc_bytes, "it would set {needed} bytes aside");
        let Ok(decoded) = clip::decode_wanted(data, &limits, wanted) else { continue };
        let pixels = u64::from(decoded.width) * u64::from(decoded.height);
        assert!(pixels <= limits.max_pixels, "{} x {}", decoded.width, decoded.height);
        assert!(decoded.rgb.width() <= decoded.width && decoded.rgb.height() <= decoded.height);
        if wanted == Wanted::Full {
            assert_eq!(decoded.rgb.dimensions(), (decoded.width, decoded.height));
        }
        let _ = decoded.to_srgb(decoded.rgb.clone());
    }
}

/// Reads what a header says, as for a picture that is only looked at.
pub fn facts(data: &[u8]) {
    let _ = clip::sniff(data);
    let facts = clip::read_facts(data);
    if let Some(gps) = &facts.gps {
        assert!(gps.latitude.abs() <= 90.0 && gps.longitude.abs() <= 180.0, "{gps:?}");
    }
}

/// The files of a model that describe it, split at the lines `--- `; the graphs are no graphs, so loading must fail.
pub fn bundle(data: &[u8]) {
    const FILES: [&str; 5] = [
        "config.json",
        "visual/preprocess_cfg.json",
        "textual/tokenizer.json",
        "textual/tokenizer_config.json",
        "visual/model.onnx",
    ];
    let dir = scratch();
    for (file, content) in FILES.iter().zip(split(data)) {
        let path = dir.join(file);
        let _ = std::fs::create_dir_all(path.parent().unwrap_or(&dir));
        let _ = std::fs::write(path, content);
    }
    let _ = std::fs::write(dir.join("textual/model.onnx"), b"");
    let options = LoadOptions { engine: EngineChoice::Rten, ..LoadOptions::default() };
    let loaded = Model::load(&dir, &options);
    assert!(loaded.is_err(), "a model without a graph was loaded");
}

fn split(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(data);
    std::iter::from_fn(move || {
        let part = rest?;
        let at = part.windows(5).position(|window| window == b"\n--- ");
        rest = at.map(|at| &part[at + 5..]);
        Some(at.map_or(part, |at| &part[..at]))
    })
}

/// In memory where there is a place for that; one for each process.
fn scratch() -> std::path::PathBuf {
    let memory = Path::new("/dev/shm");
    let root = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    root.join(format!("image-search-fuzz-{}", std::process::id()))
}
