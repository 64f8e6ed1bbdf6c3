//! Thumbnails in a bucket, so that processes share them: who needs one looks there before it makes one, and whoever made one puts it
//! there, in the background. The bucket can be done without: while it is away, each process makes its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{TryStreamExt, stream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::kept::{content_of, is_whole, name};
use super::outage::Outage;
use super::{LARGE_EDGE, Thumbnails, WIDTHS};
use crate::config::Config;
use crate::source::address::{AddressError, objects};
use crate::source::bucket::{Objects, ObjectsError};
use crate::types::ContentHash;

const KEY: &str = "thumbnails.store";
const MEDIA_TYPE: &str = "image/jpeg";
/// More than any thumbnail has, also the largest.
const JPEG_BYTES_MAX: usize = 64 << 20;
/// Nobody waits for what is put; it is tried for so long.
const PUT_WITHIN: Duration = Duration::from_secs(20);
const PUT_AT_ONCE: usize = 16;
const DELETED_AT_ONCE: usize = 16;
/// How long the end of the program waits for what is still to be put.
const LAST_PUTS_WITHIN: Duration = Duration::from_secs(5);

/// See the head of this file.
pub struct SharedThumbnails {
    objects: Objects,
    timeout: Duration,
    /// A permit for each KiB that waits to be put.
    waiting: Arc<Semaphore>,
    waiting_kib_max: u32,
    putting: Semaphore,
    reading: Outage,
    writing: Outage,
    /// Thumbnails are made on threads that are no runtime's.
    runtime: Handle,
}

impl SharedThumbnails {
    /// `None` if none is configured. Asks nobody yet: the bucket need not be there. To be called within a runtime.
    pub fn open(config: &Config) -> Result<Option<Arc<Self>>, AddressError> {
        let settings = &config.thumbnails;
        if settings.store.is_empty() {
            return Ok(None);
        }
        let (images, ignore) = (&config.images, &config.ingest.ignore);
        let objects = objects(KEY, &settings.store, images, ignore, &config.source)?;
        let kib = settings.store_waiting_bytes_max / 1024;
        let waiting_kib_max = u32::try_from(kib).unwrap_or(u32::MAX).min(1 << 28);
        Ok(Some(Arc::new(Self {
            objects,
            timeout: Duration::from_millis(settings.store_timeout_ms),
            waiting: Arc::new(Semaphore::new(waiting_kib_max as usize)),
            waiting_kib_max,
            putting: Semaphore::new(PUT_AT_ONCE),
            reading: Outage::new("read"),
            writing: Outage::new("written"),
            runtime: Handle::current(),
        })))
    }

    /// Where it is, if it can be written, read and deleted there. The error says what to do.
    pub async fn check(&self) -> Result<&str, ObjectsError> {
        let (key, bytes) = (format!("check-{}", uuid::Uuid::new_v4()), b"image-search".as_slice());
        self.objects.put(&key, bytes.into(), "text/plain", PUT_WITHIN).await?;
        self.objects.get(&key, JPEG_BYTES_MAX, PUT_WITHIN).await?;
        self.objects.delete(&key, PUT_WITHIN).await?;
        Ok(self.objects.location())
    }

    /// For messages.
    pub fn location(&self) -> &str {
        self.objects.location()
    }

    async fn get(&self, hash: &ContentHash, width: u32) -> Option<Vec<u8>> {
        if !self.reading.may_ask(Instant::now(), self.timeout) {
            return None;
        }
        let location = self.objects.location();
        match self.objects.get(&name(hash, width), JPEG_BYTES_MAX, self.timeout).await {
            Ok(found) => {
                self.reading.note_served(location);
                found.filter(|jpeg| is_whole(jpeg))
            }
            Err(error) => {
                self.reading.note_failed(Instant::now(), location, &error);
                None
            }
        }
    }

    /// Puts it there soon. What there is no room for is left out, and made by who needs it.
    fn put(self: &Arc<Self>, hash: &ContentHash, width: u32, jpeg: &[u8]) {
        let kib = u32::try_from(jpeg.len().div_ceil(1024)).unwrap_or(u32::MAX);
        let Ok(room) = self.waiting.clone().try_acquire_many_owned(kib) else {
            tracing::debug!(width, "too many thumbnails wait to be put into their bucket");
            return;
        };
        let (shared, key, jpeg) = (self.clone(), name(hash, width), Arc::<[u8]>::from(jpeg));
        self.runtime.spawn(async move {
            let _turn = shared.putting.acquire().await;
            if shared.writing.may_ask(Instant::now(), PUT_WITHIN) {
                let put = shared.objects.put(&key, jpeg, MEDIA_TYPE, PUT_WITHIN).await;
                shared.note_written(put.err().as_ref());
            }
            drop(room);
        });
    }

    fn note_written(&self, error: Option<&ObjectsError>) {
        let location = self.objects.location();
        match error {
            None => self.writing.note_served(location),
            Some(error) => self.writing.note_failed(Instant::now(), location, error),
        }
    }

    /// Waits, not for long, until everything is there.
    async fn flush(&self) {
        let all = self.waiting.acquire_many(self.waiting_kib_max);
        if tokio::time::timeout(LAST_PUTS_WITHIN, all).await.is_err() {
            tracing::debug!("some thumbnails did not get into their bucket; they are made again");
        }
    }

    /// While the bucket is away they stay, until `doctor --repair` finds them.
    async fn delete(&self, hashes: &[ContentHash]) {
        let keys = hashes.iter().flat_map(|hash| widths().map(|width| name(hash, width)));
        let deleted = stream::iter(keys.map(Ok))
            .try_for_each_concurrent(DELETED_AT_ONCE, async |key: String| {
                self.objects.delete(&key, PUT_WITHIN).await
            });
        if let Err(error) = deleted.await {
            tracing::warn!(
                %error,
                "thumbnails of pictures that are gone stay there; image-search doctor --repair deletes them"
            );
        }
    }

    /// Keys of a page of thumbnails, each with the content that it is of, and where the next page begins.
    pub async fn page(
        &self,
        from: Option<&str>,
    ) -> Result<(Vec<(String, ContentHash)>, Option<String>), ObjectsError> {
        let page = self.objects.list(from, PUT_WITHIN).await?;
        // What has another name is not ours.
        let ours = page.keys.into_iter().filter_map(|key| {
            let hash = content_of(&key)?;
            Some((key, hash))
        });
        Ok((ours.collect(), page.next))
    }

    pub async fn delete_key(&self, key: &str) -> Result<(), ObjectsError> {
        self.objects.delete(key, PUT_WITHIN).await
    }
}

fn widths() -> impl Iterator<Item = u32> {
    WIDTHS.into_iter().chain([LARGE_EDGE])
}

impl Thumbnails {
    /// The same, in company with the processes that use that bucket.
    #[must_use]
    pub fn shared_in(mut self, bucket: Option<Arc<SharedThumbnails>>) -> Self {
        self.shared = bucket;
        self
    }

    /// The bucket that they are shared in, if they are.
    pub fn shared(&self) -> Option<&SharedThumbnails> {
        self.shared.as_deref()
    }

    /// A thumbnail that another process made, which is then kept here too.
    pub(super) async fn from_others(
        self: &Arc<Self>,
        hash: &ContentHash,
        width: u32,
    ) -> Option<Vec<u8>> {
        let jpeg = self.shared.as_ref()?.get(hash, width).await?;
        let (thumbnails, hash) = (self.clone(), *hash);
        let kept = tokio::task::spawn_blocking(move || {
            thumbnails.keep_here(&hash, width, &jpeg);
            jpeg
        });
        kept.await.ok()
    }

    pub(super) fn give_to_others(&self, hash: &ContentHash, width: u32, jpeg: &[u8]) {
        if let Some(shared) = &self.shared {
            shared.put(hash, width, jpeg);
        }
    }

    /// Deletes the thumbnails of contents that no picture has any more, here and in the bucket.
    pub async fn forget(self: &Arc<Self>, hashes: &[ContentHash]) {
        let (thumbnails, contents) = (self.clone(), hashes.to_vec());
        let here = tokio::task::spawn_blocking(move || {
            for hash in &contents {
                for width in widths() {
                    let _ = std::fs::remove_file(thumbnails.path(hash, width));
                }
            }
        });
        if let Some(shared) = &self.shared {
            shared.delete(hashes).await;
        }
        let _ = here.await;
    }

    /// Before the program ends: waits, not for long, for what is on its way to other processes.
    pub async fn flush(&self) {
        if let Some(shared) = &self.shared {
            shared.flush().await;
        }
    }
}
