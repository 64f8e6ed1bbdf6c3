//! What the catalog costs as a library grows: each statement at several sizes, in milliseconds, while half of the rows wait to
//! be indexed.

use std::time::{Duration, Instant};

use anyhow::Result;
use image_search::catalog::sqlite::{SqliteCatalog, SqliteOptions};
use image_search::catalog::{
    Catalog, CompletedImage, Header, Images, PageStart, PictureFacts, Queue, SeenImage, Vectors,
};
use image_search::types::{ContentHash, Fingerprint, ImageName, Scope, now_ms};

const SOURCE: &str = "folder:/pictures";
const MODEL: &str = "clip@1";
const PAGE: u32 = 1000;
const ROUNDS: usize = 50;

fn name(number: u64) -> Result<ImageName> {
    Ok(ImageName::new(format!("{:04}/{number:07}.jpg", number / 1000))?)
}

fn seen(number: u64, version: &str) -> Result<SeenImage> {
    let fingerprint =
        Fingerprint { size_bytes: 3_000_000, version: version.to_owned(), modified_ms: 1 };
    Ok(SeenImage { name: name(number)?, fingerprint, due_ms: 1 })
}

fn facts() -> PictureFacts {
    PictureFacts { format: "jpeg".into(), width: 4000, height: 3000 }
}

fn content(number: i64) -> ContentHash {
    ContentHash::of(&number.to_le_bytes())
}

/// Leases and completes `images` images; returns how long that took.
async fn index(catalog: &SqliteCatalog, images: u64) -> Result<Duration> {
    let (started, mut left) = (Instant::now(), images);
    while left > 0 {
        let token = left.to_string();
        let now = now_ms();
        let leased = catalog.lease(left.min(128) as u32, &token, now, now + 60_000, false).await?;
        let contents: Vec<_> = leased.iter().map(|image| (content(image.id), facts())).collect();
        catalog.intend_vectors(MODEL, &contents, now).await?;
        let done: Vec<_> = leased
            .iter()
            .map(|image| CompletedImage {
                image_id: image.id,
                hash: content(image.id),
                facts: facts(),
                header: Header::default(),
            })
            .collect();
        left = left.saturating_sub(catalog.complete(MODEL, &token, &done, now).await?);
    }
    Ok(started.elapsed())
}

/// Median and worst of some rounds.
async fn time<T, E>(what: &str, mut work: impl AsyncFnMut(u64) -> Result<T, E>) -> Result<()>
where
    anyhow::Error: From<E>,
{
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS as u64 {
        let started = Instant::now();
        work(round).await?;
        times.push(started.elapsed());
    }
    times.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    println!("  {what:<44}{:>9.3}{:>9.3}", ms(times[ROUNDS / 2]), ms(times[ROUNDS - 1]));
    Ok(())
}

pub(crate) async fn measure(rows: u64) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("catalog.db");
    let options = SqliteOptions { lock_wait_ms: 5000, ..SqliteOptions::default() };
    let catalog = SqliteCatalog::open(&file, options.clone()).await?;
    let started = Instant::now();
    for first in (0..rows).step_by(PAGE as usize) {
        let page = (first..rows.min(first + u64::from(PAGE)))
            .map(|number| seen(number, "1"))
            .collect::<Result<Vec<_>>>()?;
        catalog.record(SOURCE, &page, &[], 1).await?;
    }
    let recorded = started.elapsed();
    println!("{rows} rows");
    let rate = |images: u64, took: Duration| images as f64 / took.as_secs_f64();
    println!("  recorded at {:.0} images/s", rate(rows, recorded));
    let piece = (rows / 2).min(2000);
    let first = index(&catalog, piece).await?;
    index(&catalog, rows / 2 - piece).await?;
    println!("  queue at {:.0} images/s while it is full", rate(piece, first));
    println!("  {:<44}{:>9}{:>9}", "milliseconds", "median", "worst");
    read(&catalog, rows).await?;
    write(&catalog, rows).await?;
    catalog.close().await;
    let started = Instant::now();
    let catalog = SqliteCatalog::open(&file, options).await?;
    catalog.require_vectors(MODEL).await?;
    println!("  opened again in {:.1} ms", started.elapsed().as_secs_f64() * 1000.0);
    catalog.close().await;
    println!("  {:.0} bytes a row on disk\n", std::fs::metadata(&file)?.len() as f64 / rows as f64);
    Ok(())
}

async fn read(catalog: &SqliteCatalog, rows: u64) -> Result<()> {
    time("counts", async |_| catalog.counts().await).await?;
    time("next due", async |_| catalog.next_due_ms().await).await?;
    time("awaiting", async |_| catalog.awaiting().await).await?;
    time("vectors by model", async |_| catalog.stored_by_model().await).await?;
    time("newest 50", async |_| catalog.recent(50, PageStart::Offset(0)).await).await?;
    let middle = catalog.recent(1, PageStart::Offset(10_000.min((rows / 4) as u32))).await?;
    let mut start = middle.next.map_or(PageStart::Offset(0), PageStart::After);
    time("50 from the middle, by cursor", async |_| {
        let page = catalog.recent(50, start.clone()).await?;
        start = page.next.map_or(PageStart::Offset(0), PageStart::After);
        anyhow::Ok(())
    })
    .await?;
    time("failures, first page", async |_| catalog.failures(50, PageStart::Offset(0)).await)
        .await?;
    time("known, a page of 1000", async |round| {
        let after = name(round)?;
        anyhow::Ok(catalog.known(SOURCE, &Scope::All, Some(&after), PAGE).await?)
    })
    .await?;
    time("known, one name (a watcher's hint)", async |round| {
        let scope = Scope::Under(name(round * rows / ROUNDS as u64)?);
        anyhow::Ok(catalog.known(SOURCE, &scope, None, PAGE).await?)
    })
    .await?;
    time("images of 26 contents (a search)", async |round| {
        let hashes: Vec<_> = (1..=26).map(|number| content(round as i64 * 26 + number)).collect();
        catalog.images_of(&hashes, 11).await
    })
    .await
}

async fn write(catalog: &SqliteCatalog, rows: u64) -> Result<()> {
    let now = now_ms();
    let token = |round: u64| format!("w{round}");
    time("lease 32", async |round| {
        catalog.lease(32, &token(round), now, now + 60_000, false).await
    })
    .await?;
    time("renew", async |round| catalog.renew(&token(round), now + 70_000).await).await?;
    time("release 32", async |round| catalog.release(&token(round)).await).await?;
    time("reclaim, nothing ran out", async |_| catalog.reclaim_expired(now).await).await?;
    time("lease, intend, complete 32", async |_| index(catalog, 32).await).await?;
    time("claim orphans, none there", async |_| {
        catalog.claim_orphans(MODEL, now, PAGE, "gc", now, now).await
    })
    .await?;
    time("record one changed", async |round| {
        anyhow::Ok(catalog.record(SOURCE, &[seen(round, "2")?], &[], now).await?)
    })
    .await?;
    time("record one gone", async |round| {
        anyhow::Ok(catalog.record(SOURCE, &[], &[name(rows / 4 + round)?], now).await?)
    })
    .await?;
    time("forget what is missing", async |_| catalog.forget_missing(now, 1, now).await).await?;
    time("require vectors, nothing new", async |_| catalog.require_vectors(MODEL).await).await
}
