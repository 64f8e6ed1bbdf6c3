//! See `targets`.
#![no_main]

#[path = "../pictures_and_models.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::facts(data));
