//! What decoding one picture costs: time, and the largest memory that the process ever had. One picture for each run, since
//! a process never gives its peak back.
//!
//!     cargo run --release -p clip --example decode_cost -- picture.jxl [short edge wanted]

use std::io::Write;
use std::time::Instant;

use clip::{DecodeLimits, Wanted};

fn peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 =
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0.0);
    kib / 1024.0
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("name a picture")?;
    let wanted = match arguments.next() {
        Some(edge) => Wanted::ShortEdge(edge.parse()?),
        None => Wanted::Full,
    };
    // The program's own defaults.
    let limits = DecodeLimits {
        max_bytes: 104_857_600,
        max_pixels: 150_000_000,
        max_alloc_bytes: 402_653_184,
        timeout_ms: 20_000,
    };
    let bytes = std::fs::read(&file)?;
    let needed = clip::memory_needed(&bytes, &limits, wanted);
    let (before, started) = (peak_mb(), Instant::now());
    let outcome = match clip::decode_wanted(&bytes, &limits, wanted) {
        Ok(decoded) => format!("{}x{}", decoded.width, decoded.height),
        Err(error) => format!("{}: {error}", error.code()),
    };
    let (ms, peak) = (started.elapsed().as_millis(), peak_mb() - before);
    let set_aside = needed as f64 / f64::from(1 << 20);
    writeln!(
        std::io::stdout(),
        "{file}: {} kB, {ms} ms, {peak:.0} MB more at the peak ({set_aside:.0} set aside), {outcome}",
        bytes.len() / 1000
    )?;
    Ok(())
}
