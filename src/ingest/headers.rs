//! Reads the headers of pictures that were indexed before headers were read, or before something more was kept of them: the
//! beginning of each file, no decoding, no model. It goes slowly, one file at a time, and on from where it was after a restart;
//! a source in trouble is left alone, and what could not be read is looked at again later. Of several processes that share a
//! catalog one reads, under a claim.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clip::PictureFormat;
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

use super::followed::Followed;
use super::{IngestError, Shared};
use crate::catalog::{Catalog, Header, ReadHeader, UnreadImage};
use crate::source::{Source, SourceError};
use crate::types::now_ms;

/// Headers that are noted by one transaction.
const PAGE: u32 = 64;
/// Enough of most formats.
const HEAD_BYTES: u64 = 256 << 10;
/// Of those that may say it all at their end, files up to this are read whole.
const WHOLE_BYTES_MAX: u64 = 16 << 20;
/// From one round to the next.
const ROUND: Duration = Duration::from_mins(1);

/// Looks every so often whether there is something to read, until stopped.
pub(super) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let rest = f64::from(shared.parts.config.headers_share_max_percent);
        if let Err(error) = read_all(&shared, 100.0 / rest - 1.0, &stop).await {
            tracing::warn!(%error, "reading headers failed; trying again");
        }
        if stop.run_until_cancelled(tokio::time::sleep(ROUND)).await.is_none() {
            return;
        }
    }
}

/// One round over all sources that can be read, until `stop`. After each page it rests for `rest` times as long as that took.
pub(super) async fn read_all(
    shared: &Shared,
    rest: f64,
    stop: &CancellationToken,
) -> Result<(), IngestError> {
    let (catalog, lease_ms) = (&*shared.parts.catalog, shared.parts.config.lease_ms);
    for followed in &shared.followed {
        read_source(catalog, followed, lease_ms, rest, stop).await?;
    }
    Ok(())
}

async fn read_source(
    catalog: &dyn Catalog,
    followed: &Followed,
    lease_ms: u64,
    rest: f64,
    stop: &CancellationToken,
) -> Result<(), IngestError> {
    let source = &followed.source;
    // Nothing is written when there is nothing to do, which is nearly always.
    if catalog.without_facts(source.id(), 0, 1).await?.is_empty() {
        return Ok(());
    }
    let claim = format!("headers of {}", source.id());
    let pages = read_pages(catalog, followed, &claim, lease_ms, rest);
    let read = stop.run_until_cancelled(pages).await;
    // However that ended: nobody is to wait until the claim runs out.
    let ended = catalog.end_claim(&claim).await;
    if let Some(noted @ 1..) = read.transpose()? {
        tracing::info!(source = %source.location(), images = noted, "read when and where pictures were taken");
    }
    Ok(ended?)
}

/// Returns of how many something was noted. Ends when another process reads, or the source is in trouble.
async fn read_pages(
    catalog: &dyn Catalog,
    followed: &Followed,
    claim: &str,
    lease_ms: u64,
    rest: f64,
) -> Result<u64, IngestError> {
    let (mut after, mut noted) = (0, 0);
    while followed.problem().is_none() {
        let (started, now) = (Instant::now(), now_ms());
        if !catalog.claim(claim, now, now + lease_ms as i64).await? {
            break;
        }
        let unread = catalog.without_facts(followed.source.id(), after, PAGE).await?;
        let Some(last) = unread.last() else { break };
        after = last.id;
        let read = read_page(followed, &unread).await;
        if !read.is_empty() {
            noted += catalog.note_headers(&read).await?;
        }
        tokio::time::sleep(started.elapsed().mul_f64(rest)).await;
    }
    Ok(noted)
}

/// Reads until the source is in trouble. A picture that alone cannot be read is left for the next round.
async fn read_page(followed: &Followed, unread: &[UnreadImage]) -> Vec<ReadHeader> {
    let mut read = Vec::with_capacity(unread.len());
    for image in unread {
        match read_header(&*followed.source, image).await {
            Ok(Some(header)) => {
                followed.note_read(image.id);
                read.push(ReadHeader { image_id: image.id, hash: image.hash, header });
            }
            // Whoever watches the source knows, or will.
            Ok(None) | Err(SourceError::NotFound(_)) => {}
            Err(error) if error.is_trouble() => {
                followed.note_trouble(image.id, &error);
                if followed.problem().is_some() {
                    break;
                }
            }
            Err(error) => tracing::debug!(image = %image.name, %error, "cannot read a header"),
        }
    }
    read
}

/// `None`: it is not the file any more that was indexed.
async fn read_header(
    source: &dyn Source,
    image: &UnreadImage,
) -> Result<Option<Header>, SourceError> {
    let failed = |error: std::io::Error| SourceError::of(&image.name, &error);
    let mut opened = source.open(&image.name).await?;
    if opened.fingerprint != image.fingerprint {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    (&mut opened.reader).take(HEAD_BYTES).read_to_end(&mut bytes).await.map_err(failed)?;
    let format = PictureFormat::from_magic(&bytes);
    let ends_with_it =
        matches!(format, Some(PictureFormat::Png | PictureFormat::WebP | PictureFormat::Tiff));
    if ends_with_it && image.fingerprint.size_bytes <= WHOLE_BYTES_MAX {
        let rest = WHOLE_BYTES_MAX.saturating_sub(HEAD_BYTES);
        (&mut opened.reader).take(rest).read_to_end(&mut bytes).await.map_err(failed)?;
    }
    let is_same = opened.reader.fingerprint().await? == image.fingerprint;
    Ok(is_same.then(|| Header { facts: clip::read_facts(&bytes), is_grey: None }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::sqlite::{SqliteCatalog, SqliteOptions};
    use crate::catalog::{Claims, CompletedImage, Facts, PictureFacts, Queue, Vectors};
    use crate::ingest::Reconciler;
    use crate::source::memory::MemorySource;
    use crate::types::{ContentHash, ImageName};

    const LEASE_MS: u64 = 600_000;

    /// A catalog of an older version, with these images.
    async fn catalog(dir: &std::path::Path, followed: &Followed, count: usize) -> SqliteCatalog {
        let file = dir.join("catalog.db");
        let options = SqliteOptions { holder: "one".into(), ..SqliteOptions::default() };
        let catalog = SqliteCatalog::open(&file, options).await.expect("a catalog");
        Reconciler {
            catalog: &catalog,
            followed,
            settle_ms: 0,
            away_when_emptied: true,
            work: &tokio::sync::Notify::new(),
            is_clean: &std::sync::atomic::AtomicBool::new(true),
            claim: None,
        }
        .compare_all()
        .await
        .expect("compared");
        let hash = ContentHash::of(b"x");
        let facts = PictureFacts { format: "png".into(), width: 1, height: 1 };
        catalog.intend_vectors("m", &[(hash, facts.clone())], 1).await.expect("intended");
        let leased =
            catalog.lease(1000, "t", now_ms(), now_ms() + 1000, false).await.expect("leased");
        assert_eq!(leased.len(), count);
        let done: Vec<_> = leased
            .iter()
            .map(|image| CompletedImage {
                image_id: image.id,
                hash,
                facts: facts.clone(),
                header: Header::default(),
            })
            .collect();
        catalog.complete("m", "t", &done, 2).await.expect("completed");
        let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}", file.display())).await;
        let pool = pool.expect("opened");
        sqlx::query("UPDATE images SET taken_from = NULL").execute(&pool).await.expect("forgotten");
        pool.close().await;
        catalog
    }

    #[tokio::test]
    async fn of_several_processes_one_reads() {
        let dir = tempfile::tempdir().expect("temp");
        let source = MemorySource::default();
        let count = PAGE as usize + 5;
        for number in 0..count {
            source.put(&ImageName::new(format!("{number}.png")).expect("a name"), b"x");
        }
        let followed = Followed::new(Arc::new(source.clone()));
        let one = catalog(dir.path(), &followed, count).await;
        let options = SqliteOptions { holder: "two".into(), ..SqliteOptions::default() };
        let two = SqliteCatalog::open(&dir.path().join("catalog.db"), options).await.expect("two");
        let unread = async || one.without_facts(source.id(), 0, 1000).await.expect("listed").len();
        let (claim, stop) = (format!("headers of {}", source.id()), CancellationToken::new());
        assert!(two.claim(&claim, now_ms(), now_ms() + 600_000).await.expect("claimed"));
        read_source(&one, &followed, LEASE_MS, 0.0, &stop).await.expect("left alone");
        assert_eq!(unread().await, count, "the other process reads");
        two.end_claim(&claim).await.expect("ended");
        // Stopped while it rests after its first page.
        let stopping = async {
            while unread().await == count {
                tokio::task::yield_now().await;
            }
            stop.cancel();
        };
        let (read, ()) = tokio::join!(read_source(&one, &followed, LEASE_MS, 1e9, &stop), stopping);
        read.expect("stopped");
        assert_eq!(unread().await, count - PAGE as usize);
        let again = CancellationToken::new();
        read_source(&two, &followed, LEASE_MS, 0.0, &again).await.expect("read");
        assert_eq!(unread().await, 0);
        assert!(
            one.claim(&claim, now_ms(), now_ms() + 1).await.expect("asked"),
            "it is given back"
        );
    }
}
