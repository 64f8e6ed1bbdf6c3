//! How close indexing comes to the bare encoder, and how long a search takes, on real files with a real model.
//! `cargo bench --bench indexing -- MODEL_DIR PICTURE_DIR [PICTURES]`: every picture is used as often as needed, each copy
//! with bytes of its own behind the end, so that no copy is recognised as a duplicate. Prints the figures; asserts nothing.
#![expect(clippy::print_stdout, reason = "a benchmark's output is its figures")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use image_search::app::App;
use image_search::config::Config;
use image_search::decoder::Decoder;
use image_search::search::{Query, Window};
use image_search::serving::load_embedder;

const SEARCHES: usize = 400;
const ROUNDS: usize = 3;

fn main() -> Result<()> {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let [model, pictures, ..] = arguments.as_slice() else {
        println!("usage: cargo bench --bench indexing -- MODEL_DIR PICTURE_DIR [PICTURES]");
        return Ok(());
    };
    let count = arguments.get(2).map_or(Ok(400), |count| count.parse())?;
    let work = tempfile::tempdir()?;
    let images = work.path().join("images");
    copy_pictures(Path::new(pictures), &images, count)?;
    let runtime = tokio::runtime::Runtime::new()?;
    for round in 1..=ROUNDS {
        let config = config(model, &images, &work.path().join(format!("data-{round}")))?;
        runtime.block_on(one_round(config, count))?;
    }
    Ok(())
}

fn copy_pictures(from: &Path, to: &Path, count: usize) -> Result<()> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(from)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    anyhow::ensure!(!files.is_empty(), "no files in {}", from.display());
    std::fs::create_dir_all(to)?;
    for number in 0..count {
        let file = &files[number % files.len()];
        let mut bytes = std::fs::read(file)?;
        bytes.extend_from_slice(&number.to_le_bytes());
        let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or("jpg");
        std::fs::write(to.join(format!("{number}.{extension}")), bytes)?;
    }
    Ok(())
}

fn config(model: &str, images: &Path, data_dir: &Path) -> Result<Config> {
    let flags = vec![
        ("model", model.into()),
        ("images", vec![images.display().to_string()].into()),
        ("data_dir", data_dir.display().to_string().into()),
        ("ingest.settle_ms", 0.into()),
    ];
    Ok(Config::load(None, std::env::vars(), flags)?)
}

async fn one_round(config: Config, count: usize) -> Result<()> {
    let bare = bare_encoder(&config, count).await?;
    let app = App::open(config).await?;
    let ingest = app.serving.bring_up().await?;
    let started = Instant::now();
    ingest.run_once().await?;
    let indexing = app.metrics.indexed.get() as f64 / started.elapsed().as_secs_f64();
    println!(
        "bare encoder {bare:.1} pictures/s, indexing {indexing:.1} pictures/s, ratio {:.2}",
        indexing / bare
    );
    let mut times = Vec::with_capacity(SEARCHES);
    for number in 0..SEARCHES {
        let started = Instant::now();
        app.searcher
            .search(
                Query::Text(format!("a picture of number {number}")),
                Window { limit: 10, offset: 0 },
            )
            .await?;
        times.push(started.elapsed());
    }
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    println!(
        "search over {count} pictures: p50 {:.2} ms, p95 {:.2} ms ({SEARCHES} different queries, one at a time)",
        at(0.5),
        at(0.95)
    );
    app.shut_down().await;
    Ok(())
}

/// Pictures a second that the model alone encodes, from pixels that are ready, in batches as indexing uses them.
async fn bare_encoder(config: &Config, count: usize) -> Result<f64> {
    let (located, embedder) = load_embedder(config, None).await?;
    let decoder = Decoder::new(&config.decode, config.ingest.low_priority);
    let mut pixels = Vec::with_capacity(count);
    for entry in std::fs::read_dir(&config.images[0])? {
        let path = entry?.path();
        let decoded =
            clip::decode_wanted(&std::fs::read(&path)?, decoder.limits(), embedder.wanted(0))
                .with_context(|| path.display().to_string())?;
        pixels.push(embedder.preprocess(&decoded));
    }
    println!("model {} on {}, {} pictures", located.id, embedder.info().engine, pixels.len());
    let mut spent = Duration::ZERO;
    while !pixels.is_empty() {
        let rest = pixels.split_off(pixels.len().min(config.embed.batch_max));
        let batch = std::mem::replace(&mut pixels, rest);
        let started = Instant::now();
        embedder.embed_pictures(batch).await?;
        spent += started.elapsed();
    }
    Ok(count as f64 / spent.as_secs_f64())
}
