//! Reads the headers of pictures that were indexed before headers were read, or before something more was kept of them: the
//! beginning of each file, no decoding, no model. It goes slowly, one file at a time, and on from where it was after a restart;
//! a source in trouble is left alone, and what could not be read is looked at again later.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clip::PictureFormat;
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

use super::followed::Followed;
use super::{IngestError, Shared};
use crate::catalog::{Header, ReadHeader, UnreadImage};
use crate::source::{Source, SourceError};

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
        match stop.run_until_cancelled(read_all(&shared, 100.0 / rest - 1.0)).await {
            None => return,
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::warn!(%error, "reading headers failed; trying again"),
        }
        if stop.run_until_cancelled(tokio::time::sleep(ROUND)).await.is_none() {
            return;
        }
    }
}

/// One round over all sources that can be read. After each page it rests for `rest` times as long as that took.
pub(super) async fn read_all(shared: &Shared, rest: f64) -> Result<(), IngestError> {
    for followed in &shared.followed {
        let (mut after, mut noted) = (0, 0);
        while followed.problem().is_none() {
            let started = Instant::now();
            let catalog = &shared.parts.catalog;
            let unread = catalog.without_facts(followed.source.id(), after, PAGE).await?;
            let Some(last) = unread.last() else { break };
            after = last.id;
            let read = read_page(followed, &unread).await;
            if !read.is_empty() {
                noted += catalog.note_headers(&read).await?;
            }
            tokio::time::sleep(started.elapsed().mul_f64(rest)).await;
        }
        if noted > 0 {
            tracing::info!(source = %followed.source.location(), images = noted, "read when and where pictures were taken");
        }
    }
    Ok(())
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
