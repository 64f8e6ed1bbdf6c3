//! See `targets`.
#![no_main]

#[path = "../application.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::token(data));
