//! What a search costs with a real model over a library of synthetic vectors, asked over HTTP: new words and known ones, one
//! at a time and by the clock, while nothing else happens and while pictures are encoded as fast as the machine can.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clip::{
    DecodeLimits, EncodeError, EngineChoice, LoadOptions, Model, ModelInfo, Pixels, Precision,
};
use image_search::config::Config;
use image_search::embedder::{Encoder, Preprocess};
use image_search::priority::lower_priority;
use image_search::source::memory::MemorySource;
use image_search::types::ModelId;
use reqwest::Client;
use serde_json::json;
use tokio::task::JoinSet;

use crate::process::Memory;
use crate::synthetic::{PICTURE_BYTES, Synthetic, picture};
use crate::vectors::DIM;
use crate::whole::{Report, Running, Times, bytes_of, name, per_second};

const ONE_AT_A_TIME: usize = 300;
const A_SECOND: u32 = 50;
const LASTING: Duration = Duration::from_secs(20);
/// So many pictures wait while searches are timed that none of the runs sees the end.
const WAITING: u64 = 50_000;
const WORDS_IN_A_QUERY: u64 = 6;
/// Each is one token of CLIP's; with the two that every text has, a query has eight.
const WORDS: [&str; 24] = [
    "dog", "beach", "red", "night", "city", "snow", "old", "car", "tree", "happy", "child", "boat",
    "green", "house", "street", "cat", "water", "sky", "small", "flower", "man", "woman", "music",
    "food",
];

/// Words as the model reads them; pictures have the vectors of their numbers, which is how a large library is made in
/// minutes. Once it is `thorough` they are encoded for their cost, too.
struct Mixed {
    model: Model,
    synthetic: Synthetic,
    blank: Pixels,
    thorough: Arc<AtomicBool>,
}

impl Encoder for Mixed {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    fn preprocess(&self) -> Arc<dyn Preprocess> {
        self.synthetic.preprocess()
    }

    fn encode_images(&self, batch: &[Pixels]) -> Result<Vec<Vec<f32>>, EncodeError> {
        if self.thorough.load(Ordering::Relaxed) {
            self.model.encode_images(&vec![self.blank.clone(); batch.len()])?;
        }
        self.synthetic.encode_images(batch)
    }

    fn encode_texts(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EncodeError> {
        self.model.encode_texts(texts)
    }
}

fn load(bundle: &Path, work: &Path, config: &Config) -> Result<Mixed> {
    let library = config.embed.onnxruntime_library.clone();
    let options = LoadOptions {
        engine: config.embed.engine.parse::<EngineChoice>().ok().context("embed.engine")?,
        threads: config.embed.threads,
        onnxruntime_library: Some(library).filter(|path| path != Path::new("")),
        prepared_dir: Some(work.join("prepared")),
        precision: if std::env::var_os("INT8").is_some() {
            Precision::Int8
        } else {
            Precision::F32
        },
        before_picture_threads: config.ingest.low_priority.then_some(lower_priority as fn()),
        ..LoadOptions::default()
    };
    let model = Model::load(bundle, &options)?;
    ensure!(model.info().dim == DIM, "a model of {DIM} dimensions");
    let decoded = clip::decode(&picture(0), &DecodeLimits::default())?;
    let blank = model.preprocessor().apply_decoded(&decoded);
    let (synthetic, thorough) = (Synthetic::default(), Arc::default());
    Ok(Mixed { model, synthetic, blank, thorough })
}

/// The same number gives the same words, and up to 24^6 of them others.
fn words(number: u64) -> String {
    let place = |digit: u32| number.wrapping_mul(31) / (WORDS.len() as u64).pow(digit);
    let word = |digit| WORDS[(place(digit) % WORDS.len() as u64) as usize];
    (0..WORDS_IN_A_QUERY as u32).map(word).collect::<Vec<_>>().join(" ")
}

struct Asking {
    client: Client,
    url: String,
    next: u64,
}

impl Asking {
    fn new_words(&mut self) -> String {
        self.next += 1;
        words(self.next)
    }

    async fn ask(client: Client, url: String, text: String) -> Result<Duration> {
        let started = Instant::now();
        let answer = client.post(url).json(&json!({ "text": text })).send().await?;
        let status = answer.status();
        answer.bytes().await?;
        ensure!(status.is_success(), "a search was answered {status}");
        Ok(started.elapsed())
    }

    async fn one_at_a_time(&mut self, is_new: bool) -> Result<Times> {
        let known = self.new_words();
        let mut times = Vec::new();
        for _ in 0..ONE_AT_A_TIME {
            let text = if is_new { self.new_words() } else { known.clone() };
            times.push(Self::ask(self.client.clone(), self.url.clone(), text).await?);
        }
        Ok(times.into())
    }

    /// Sent by the clock, whether or not the ones before were answered.
    async fn by_the_clock(&mut self) -> Result<Times> {
        let (started, mut sent) = (Instant::now(), JoinSet::new());
        for number in 0..LASTING.as_secs() as u32 * A_SECOND {
            let due = started + Duration::from_secs(1) * number / A_SECOND;
            tokio::time::sleep_until(due.into()).await;
            sent.spawn(Self::ask(self.client.clone(), self.url.clone(), self.new_words()));
        }
        let times = sent.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(times.into())
    }

    async fn measure(&mut self, when: &str, report: &mut Report) -> Result<()> {
        let new = self.one_at_a_time(true).await?;
        report.add(&format!("{when}: new words, one search at a time"), new.to_string());
        let known = self.one_at_a_time(false).await?;
        report.add(&format!("{when}: the same words again and again"), known.to_string());
        let clocked = self.by_the_clock().await?;
        report.add(&format!("{when}: new words, {A_SECOND} a second"), clocked.to_string());
        Ok(())
    }
}

pub(crate) async fn measure(bundle: &Path, rows: u64) -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let work = tempfile::tempdir()?;
    let mut report = Report::new();
    let source = MemorySource::new("memory", bytes_of);
    source.fill(
        (0..rows).map(|number| name("", number)).collect::<Result<Vec<_>>>()?,
        PICTURE_BYTES as u64,
    );
    let config = Config::load(None, std::env::vars(), Vec::new())?;
    let mixed = load(bundle, work.path(), &config)?;
    let thorough = mixed.thorough.clone();
    report.add("engine", format!("{}, {:?}", mixed.info().engine, mixed.info().precision));

    let mut times = Vec::new();
    for number in 0..ONE_AT_A_TIME as u64 {
        let started = Instant::now();
        mixed.encode_texts(&[&words(u64::from(u32::MAX) + number)])?;
        times.push(started.elapsed());
    }
    report.add("the model alone, one text at a time", Times::from(times).to_string());

    let id = ModelId { name: "mixed".into(), revision: "1".into() };
    let running = Running::open_with(work.path(), &source, Arc::new(mixed), id).await?;
    running.ingest.run_once().await?;
    report.add("indexed", running.counts().await?.indexed.to_string());
    let served = running.serve().await?;
    let url = format!("http://{}/api/v1/search-image", served.address);
    let mut asking = Asking { client: Client::builder().no_proxy().build()?, url, next: 0 };
    asking.measure("idle", &mut report).await?;
    report.add("memory", Memory::now().to_string());

    thorough.store(true, Ordering::Relaxed);
    let more =
        (rows..rows + WAITING).map(|number| name("new-", number)).collect::<Result<Vec<_>>>()?;
    source.fill(more, PICTURE_BYTES as u64);
    running.ingest.spawn();
    running.until(|counts| counts.pending > 0 && counts.indexed > rows).await?;
    let (started, before) = (Instant::now(), running.counts().await?.indexed);
    asking.measure("while indexing", &mut report).await?;
    let now = running.counts().await?;
    ensure!(now.pending > 0, "indexing ended while it was measured");
    let rate = per_second(now.indexed - before, started.elapsed());
    report.add("indexed meanwhile", format!("{rate:.1} pictures/s"));
    report.add("memory then", Memory::now().to_string());
    served.stop().await?;
    running.close().await?;
    report.print_table(rows);
    Ok(())
}
