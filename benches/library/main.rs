//! What a large library costs. `cargo bench --bench library [-- ROWS]` makes one of so many synthetic pictures (default
//! 1,000,000) and prints what every step takes as it goes, and all of it as a table at the end. `-- catalog [ROWS…]` prints the
//! milliseconds of each statement of the catalog (default at 10 thousand, 100 thousand and 1 million rows).
//! `-- queries MODEL_DIR [ROWS]` prints what searches take over HTTP with a real model (default over 100,000 pictures; `INT8=1`).
//! Keys of the configuration can be set in the environment (`IMAGE_SEARCH_…`). With `BENCH_DIR` the library is made there and
//! kept, and what would change it is left out, so that keys can be compared on the same one. Prints; asserts nothing.
#![expect(clippy::print_stdout, reason = "a benchmark's output is its figures")]

mod catalog;
mod process;
mod queries;
mod synthetic;
mod vectors;
mod whole;

use std::path::Path;

use anyhow::{Context, Result};

const ROWS: u64 = 1_000_000;
const ROWS_ASKED: u64 = 100_000;
const CATALOG_ROWS: &[u64] = &[10_000, 100_000, 1_000_000];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rows: Vec<u64> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let runtime = tokio::runtime::Runtime::new()?;
    if arguments.iter().any(|argument| argument == "catalog") {
        for rows in if rows.is_empty() { CATALOG_ROWS } else { &rows } {
            runtime.block_on(catalog::measure(*rows))?;
        }
        return Ok(());
    }
    if let Some(at) = arguments.iter().position(|argument| argument == "queries") {
        let model = arguments.get(at + 1).context("queries MODEL_DIR [ROWS]")?;
        let rows = rows.first().copied().unwrap_or(ROWS_ASKED);
        return runtime.block_on(queries::measure(Path::new(model), rows));
    }
    runtime.block_on(whole::measure(rows.first().copied().unwrap_or(ROWS)))
}
