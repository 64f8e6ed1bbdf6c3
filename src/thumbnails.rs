//! Small JPEG pictures for lists, made on first request and kept below the data folder by content hash and width; `shared` with
//! other processes in a bucket, if one is configured. Bounded in widths, in bytes on disk (the oldest go first) and in how many
//! are made at once.

pub mod kept;
mod outage;
mod preview;
mod shared;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use clip::{Decoded, Wanted};
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageFormat, RgbImage};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

pub use self::shared::SharedThumbnails;
use crate::config::ThumbnailConfig;
use crate::decoder::{DecodeFailure, Decoder};
use crate::types::{ContentHash, Preview};

/// The widths there are; a request is rounded up to the next.
pub const WIDTHS: [u32; 4] = [160, 320, 640, 1280];
/// Longest edge of the large JPEG of a picture that browsers cannot show.
pub const LARGE_EDGE: u32 = 4096;
/// The width that the page asks for first.
const EARLY_WIDTH: u32 = 320;
/// A thumbnail is at most this many times as high as wide; longer strips are scaled further down.
const HEIGHT_FACTOR_MAX: u32 = 4;

/// Held by the one who makes a thumbnail.
type Turn = Arc<tokio::sync::Mutex<()>>;

/// Makes and keeps thumbnails.
pub struct Thumbnails {
    dir: PathBuf,
    config: ThumbnailConfig,
    decoder: Arc<Decoder>,
    turns: Semaphore,
    /// One at work for each thumbnail; whoever else wants it waits and then finds it.
    making: Mutex<HashMap<(ContentHash, u32), Turn>>,
    written_bytes: AtomicU64,
    filling: Semaphore,
    shared: Option<Arc<SharedThumbnails>>,
}

/// Why there is no thumbnail.
#[derive(Debug, thiserror::Error)]
pub enum ThumbnailError {
    /// The picture cannot be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeFailure),
    /// Scaling or encoding failed.
    #[error("cannot scale the picture: {0}")]
    Scale(String),
}

impl Thumbnails {
    /// With its files in `dir`, which is made when needed.
    pub fn new(dir: PathBuf, config: ThumbnailConfig, decoder: Arc<Decoder>) -> Self {
        let turns = Semaphore::new(config.concurrent_max);
        // As if full: the first write measures the folder.
        let written_bytes = AtomicU64::new(config.cache_bytes_max);
        let (making, filling) = (Mutex::default(), Semaphore::new(1));
        Self { dir, config, decoder, turns, making, written_bytes, filling, shared: None }
    }

    /// The width that is served for a wanted one.
    pub fn width(wanted: u32) -> u32 {
        if wanted == LARGE_EDGE {
            return LARGE_EDGE;
        }
        WIDTHS.into_iter().find(|width| *width >= wanted).unwrap_or(WIDTHS[WIDTHS.len() - 1])
    }

    async fn cached(&self, hash: &ContentHash, width: u32) -> Option<Vec<u8>> {
        tokio::fs::read(self.path(hash, width)).await.ok()
    }

    async fn kept_anywhere(self: &Arc<Self>, hash: &ContentHash, width: u32) -> Option<Vec<u8>> {
        match self.cached(hash, width).await {
            Some(kept) => Some(kept),
            None => self.from_others(hash, width).await,
        }
    }

    /// The thumbnail of a picture, kept or made: `read` gets the picture's bytes, of which there are `size_bytes`. However many
    /// ask for one at once, it is made once.
    pub async fn get<E: From<ThumbnailError>>(
        self: &Arc<Self>,
        hash: ContentHash,
        width: u32,
        size_bytes: u64,
        read: impl AsyncFnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        if let Some(kept) = self.cached(&hash, width).await {
            return Ok(kept);
        }
        let key = (hash, width);
        let mine = self.making.lock().entry(key).or_default().clone();
        let made = {
            let _alone = mine.lock().await;
            match self.kept_anywhere(&hash, width).await {
                Some(kept) => Ok(kept),
                None => self.make(hash, width, size_bytes, read).await,
            }
        };
        let mut making = self.making.lock();
        // Two: this one and the map's. Whoever else waits for it takes it out later.
        if making.get(&key).is_some_and(|entry| Arc::strong_count(entry) <= 2) {
            making.remove(&key);
        }
        made
    }

    /// How large a picture has to be decoded so that [`Self::make_early`] can use it; 0 if thumbnails are only made when asked for.
    pub fn early_width(&self) -> u32 {
        if self.config.while_indexing { EARLY_WIDTH } else { 0 }
    }

    /// Makes the thumbnail that lists ask for from a picture that was decoded for another purpose, which costs a few
    /// milliseconds now instead of reading and decoding the file again later. Returns the preview of the picture. Blocks.
    pub fn make_early(&self, hash: &ContentHash, decoded: &Decoded) -> Option<Preview> {
        let small = match scale(&decoded.rgb, EARLY_WIDTH) {
            Ok(small) => decoded.to_srgb(small),
            // Whoever asks for it later is told.
            Err(error) => {
                tracing::debug!(%error, "could not make a thumbnail");
                return None;
            }
        };
        let is_large_enough =
            decoded.rgb.width() >= EARLY_WIDTH || decoded.rgb.width() == decoded.width;
        let is_wanted = self.config.while_indexing && is_large_enough;
        if is_wanted && !self.path(hash, EARLY_WIDTH).is_file() {
            match encode(&small, self.config.quality) {
                Ok(jpeg) => self.keep(hash, EARLY_WIDTH, &jpeg),
                Err(error) => tracing::debug!(%error, "could not make a thumbnail"),
            }
        }
        preview::of(&small)
    }

    /// The previews of those contents that have a thumbnail here: of pictures that were indexed before there were previews.
    /// One at a time does this; whoever comes meanwhile gets none.
    pub async fn previews_of_kept(
        self: &Arc<Self>,
        hashes: Vec<ContentHash>,
    ) -> Vec<(ContentHash, Preview)> {
        let Ok(_alone) = self.filling.try_acquire() else { return Vec::new() };
        let thumbnails = self.clone();
        let made = tokio::task::spawn_blocking(move || {
            let of_kept = |hash: ContentHash| {
                let jpeg = [EARLY_WIDTH, 640, 160]
                    .into_iter()
                    .find_map(|width| std::fs::read(thumbnails.path(&hash, width)).ok())?;
                let small = image::load_from_memory_with_format(&jpeg, ImageFormat::Jpeg).ok()?;
                Some((hash, preview::of(&small.into_rgb8())?))
            };
            hashes.into_iter().filter_map(of_kept).collect()
        });
        made.await.unwrap_or_default()
    }

    async fn make<E: From<ThumbnailError>>(
        self: &Arc<Self>,
        hash: ContentHash,
        width: u32,
        size_bytes: u64,
        read: impl AsyncFnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        let _turn = self.turns.acquire().await;
        // The large one is itself as large as a picture.
        let own_bytes = if width == LARGE_EDGE { u64::from(width * width) * 3 } else { 0 };
        let share = self.decoder.share_for_file(size_bytes + own_bytes).await;
        let bytes = read().await?;
        let thumbnails = self.clone();
        let shrink = move |decoded: Decoded| {
            let jpeg = shrink(&decoded, width, thumbnails.config.quality)?;
            thumbnails.keep(&hash, width, &jpeg);
            Ok(jpeg)
        };
        let made = self.decoder.decode(bytes, share, Wanted::ShortEdge(width), shrink).await;
        Ok(made.map_err(ThumbnailError::from)??)
    }

    fn path(&self, hash: &ContentHash, width: u32) -> PathBuf {
        let hex = hash.to_string();
        self.dir.join(&hex[..2]).join(format!("{hex}-{width}.jpg"))
    }

    fn keep(&self, hash: &ContentHash, width: u32, jpeg: &[u8]) {
        self.give_to_others(hash, width, jpeg);
        self.keep_here(hash, width, jpeg);
    }

    /// Failing to keep one costs time later and nothing else.
    fn keep_here(&self, hash: &ContentHash, width: u32, jpeg: &[u8]) {
        let path = self.path(hash, width);
        let partial = path.with_extension(format!("{}.part", uuid::Uuid::new_v4()));
        let folder = path.parent().unwrap_or(&self.dir);
        let kept = std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&partial, jpeg))
            .and_then(|()| std::fs::rename(&partial, &path));
        if let Err(error) = kept {
            tracing::debug!(%error, path = %path.display(), "could not keep a thumbnail");
        }
        let written =
            self.written_bytes.fetch_add(jpeg.len() as u64, Ordering::Relaxed) + jpeg.len() as u64;
        if written > self.config.cache_bytes_max {
            self.written_bytes
                .store(drop_oldest(&self.dir, self.config.cache_bytes_max), Ordering::Relaxed);
        }
    }
}

/// Deletes the oldest files until at most nine tenths of the limit are used; returns what is used then.
fn drop_oldest(dir: &Path, bytes_max: u64) -> u64 {
    let files = walkdir::WalkDir::new(dir)
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file());
    let mut files: Vec<(SystemTime, u64, PathBuf)> = files
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            Some((metadata.modified().ok()?, metadata.len(), entry.into_path()))
        })
        .collect();
    let mut used: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    if used > bytes_max {
        files.sort();
        for (_, bytes, path) in files {
            if used <= bytes_max / 10 * 9 {
                break;
            }
            if std::fs::remove_file(path).is_ok() {
                used -= bytes;
            }
        }
    }
    used
}

/// A JPEG of the picture in the colours of the screen.
fn shrink(decoded: &Decoded, width: u32, quality: u8) -> Result<Vec<u8>, ThumbnailError> {
    encode(&decoded.to_srgb(scale(&decoded.rgb, width)?), quality)
}

fn encode(small: &RgbImage, quality: u8) -> Result<Vec<u8>, ThumbnailError> {
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, quality)
        .encode(small.as_raw(), small.width(), small.height(), ExtendedColorType::Rgb8)
        .map_err(|error| ThumbnailError::Scale(error.to_string()))?;
    Ok(jpeg)
}

fn scale(rgb: &RgbImage, width: u32) -> Result<RgbImage, ThumbnailError> {
    let failed = |error: &dyn std::fmt::Display| ThumbnailError::Scale(error.to_string());
    let by_width = f64::from(width) / f64::from(rgb.width());
    let height_factor = if width == LARGE_EDGE { 1 } else { HEIGHT_FACTOR_MAX };
    let by_height = f64::from(width * height_factor) / f64::from(rgb.height());
    let scale = by_width.min(by_height).min(1.0);
    let side = |pixels: u32| ((f64::from(pixels) * scale).round() as u32).max(1);
    let (to_width, to_height) = (side(rgb.width()), side(rgb.height()));
    // By the type of a pixel that is known here: asked at run time, the resizer brings its code for thirteen types along.
    let source = TypedImageRef::<U8x3>::from_buffer(rgb.width(), rgb.height(), rgb.as_raw())
        .map_err(|error| failed(&error))?;
    let mut small = RgbImage::new(to_width, to_height);
    let mut target = TypedImage::<U8x3>::from_buffer(to_width, to_height, &mut small)
        .map_err(|error| failed(&error))?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom));
    Resizer::new().resize_typed(&source, &mut target, &options).map_err(|error| failed(&error))?;
    Ok(small)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbnails_keep_the_shape_and_are_never_larger_than_the_picture() {
        let size = |width, height, wanted| {
            scale(&RgbImage::new(width, height), wanted).expect("made").dimensions()
        };
        assert_eq!(size(1000, 500, 320), (320, 160));
        assert_eq!(size(100, 50, 320), (100, 50));
        assert_eq!(size(10, 9000, 320), (1, 1280));
        assert_eq!(size(3000, 6000, LARGE_EDGE), (2048, 4096));
        assert_eq!(size(4032, 3024, LARGE_EDGE), (4032, 3024));
        assert_eq!(
            (Thumbnails::width(1), Thumbnails::width(321), Thumbnails::width(9999)),
            (160, 640, 1280)
        );
    }

    #[test]
    fn the_oldest_thumbnails_go_first() {
        let dir = tempfile::tempdir().expect("temp");
        for (index, name) in ["old", "middle", "new"].iter().enumerate() {
            let path = dir.path().join(name);
            std::fs::write(&path, [0; 100]).expect("write");
            let file = std::fs::File::options().write(true).open(&path).expect("open");
            file.set_modified(
                SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(index as u64),
            )
            .expect("time");
        }
        assert_eq!(drop_oldest(dir.path(), 300), 300);
        assert_eq!(drop_oldest(dir.path(), 250), 200);
        assert!(!dir.path().join("old").exists() && dir.path().join("new").exists());
    }
}
