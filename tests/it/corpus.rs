//! The fuzz targets as a normal test: every seed, and some thousand changes of seeds, through the same functions that
//! `cargo fuzz` calls. With `FUZZ_SECONDS` each target goes on for so long, on any toolchain; without coverage it is blind,
//! and finds what is near the seeds.

#[path = "../../fuzz/application.rs"]
#[allow(unreachable_pub, reason = "the targets are programs of their own, too")]
mod application;
#[path = "../../fuzz/pictures_and_models.rs"]
#[allow(unreachable_pub, reason = "the same")]
mod pictures_and_models;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::harness::repository;

/// Changed inputs of each target in a normal run.
const CHANGES: u32 = 1_500;
const INPUT_BYTES_MAX: usize = 256 << 10;

fn seeds(folders: &[&str]) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for folder in folders {
        let entries = std::fs::read_dir(repository().join(folder)).expect("a corpus");
        for entry in entries {
            let path = entry.expect("an entry").path();
            let bytes = std::fs::read(&path).expect("read");
            if bytes.len() <= INPUT_BYTES_MAX {
                found.push((path, bytes));
            }
        }
    }
    found.sort();
    assert!(found.len() > 2, "no seeds in {folders:?}");
    found
}

/// Numbers that look random and are the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end.max(1)
    }

    /// What fuzzers do to an input: bits, edge values, pieces doubled, taken out or from another input.
    fn change(&mut self, seeds: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
        const EDGES: [&[u8]; 8] = [
            &[0],
            &[0xff],
            &[0xff; 4],
            &[0x7f, 0xff, 0xff, 0xff],
            &[0, 0, 0, 0],
            b"99999999999999999999",
            b"\"",
            &[0x80, 0, 0, 0],
        ];
        let mut input = seeds[self.below(seeds.len())].1.clone();
        for _ in 0..=self.below(6) {
            let at = self.below(input.len() + 1);
            match self.below(5) {
                0 if at < input.len() => input[at] ^= 1 << self.below(8),
                1 => {
                    let edge = EDGES[self.below(EDGES.len())];
                    let end = (at + edge.len()).min(input.len());
                    input.splice(at..end, edge.iter().copied());
                }
                2 => input.truncate(at),
                3 => {
                    let end = (at + self.below(64)).min(input.len());
                    let piece = input[at..end].to_vec();
                    input.splice(at..at, piece);
                }
                _ => {
                    let other = &seeds[self.below(seeds.len())].1;
                    let from = self.below(other.len() + 1);
                    let piece = &other[from..(from + self.below(256)).min(other.len())];
                    let end = (at + piece.len()).min(input.len());
                    input.splice(at..end, piece.iter().copied());
                }
            }
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }
}

/// Runs a target; keeps the input that it fails with.
fn try_input(name: &str, target: fn(&[u8]), input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
        let kept = std::env::temp_dir().join(format!("{name}-{}", blake3::hash(input).to_hex()));
        std::fs::write(&kept, input).expect("kept");
        panic!("{name} fails with {}", kept.display());
    }
}

#[expect(clippy::print_stderr, reason = "a long run tells how far it came")]
fn replay(name: &str, target: fn(&[u8]), folders: &[&str]) {
    let seeds = seeds(folders);
    for (_, input) in &seeds {
        try_input(name, target, input);
    }
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let deadline = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    // A long run is another one each time.
    let start = deadline.map_or(0, |_| u64::from(std::process::id()) << 20);
    let (mut chance, mut tried) = (Chance(0x9e37_79b9_7f4a_7c15 ^ start), 0);
    while deadline.map_or(tried < CHANGES, |deadline| Instant::now() < deadline) {
        try_input(name, target, &chance.change(&seeds));
        tried += 1;
    }
    if deadline.is_some() {
        eprintln!("{name}: {tried} changed inputs");
    }
}

#[test]
fn decode() {
    let folders = ["crates/clip/tests/golden/formats", "crates/clip/tests/golden/decode"];
    replay("decode", pictures_and_models::decode, &folders);
}

#[test]
fn facts() {
    let folders = ["fuzz/corpus/facts", "crates/clip/tests/golden/formats"];
    replay("facts", pictures_and_models::facts, &folders);
}

#[test]
fn bundle() {
    replay("bundle", pictures_and_models::bundle, &["fuzz/corpus/bundle"]);
}

#[test]
fn token() {
    replay("token", application::token, &["fuzz/corpus/token"]);
}

#[test]
fn config() {
    replay("config", application::config, &["fuzz/corpus/config"]);
}

#[test]
fn search_body() {
    replay("search_body", application::search_body, &["fuzz/corpus/search_body"]);
}

#[test]
fn multipart() {
    replay("multipart", application::multipart, &["fuzz/corpus/multipart"]);
}
