//! Small JPEG pictures for lists, made while indexing or on first request and kept below the data folder by content hash and
//! width; `shared` with other processes in a bucket, if one is configured. Bounded in widths, in bytes on disk (`room`) and in
//! how many are made at once (`turns`: the newest request first).

pub mod kept;
mod outage;
mod preview;
mod room;
mod shared;
mod turns;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use clip::{Decoded, Wanted};
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::{ImageFormat, RgbImage};
use jpeg_encoder::{ChromaSubsamplingMethod, ColorType, Encoder};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

pub use self::shared::SharedThumbnails;
use crate::config::ThumbnailConfig;
use crate::decoder::{DecodeFailure, Decoder, Whose};
use crate::types::{ContentHash, Preview};
use room::Room;
use turns::Turns;

/// The widths there are; a request is rounded up to the next.
pub const WIDTHS: [u32; 4] = [160, 320, 640, 1280];
/// Longest edge of the large JPEG of a picture that browsers cannot show.
pub const LARGE_EDGE: u32 = 4096;
/// The width that lists ask for first.
const EARLY_WIDTH: u32 = 320;
/// What they ask for then, for large tiles and sharp screens.
const EARLY_WIDE: u32 = 640;
/// With so many pixels down, a lying picture of 4:3 has that many across.
const EARLY_SHORT_EDGE: u32 = EARLY_WIDE * 3 / 4;
/// A thumbnail is at most this many times as high as wide; longer strips are scaled further down.
const HEIGHT_FACTOR_MAX: u32 = 4;

type Key = (ContentHash, u32);
/// Held by the one who makes a thumbnail.
type Alone = Arc<tokio::sync::Mutex<()>>;

/// Makes and keeps thumbnails.
pub struct Thumbnails {
    dir: PathBuf,
    config: ThumbnailConfig,
    decoder: Arc<Decoder>,
    turns: Arc<Turns<Key>>,
    /// One at work for each thumbnail; whoever else wants it waits and then finds it.
    making: Mutex<HashMap<Key, Alone>>,
    room: Room,
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
        let turns = Arc::new(Turns::new(config.concurrent_max));
        let room = Room::new(dir.clone(), config.cache_bytes_max);
        let (making, filling) = (Mutex::default(), Semaphore::new(1));
        Self { dir, config, decoder, turns, making, room, filling, shared: None }
    }

    /// The width that is served for a wanted one, of a picture that has so many pixels across and down: a small picture is
    /// shown whole by a width that is made anyway, and not kept once more for each wider one.
    pub fn width(wanted: u32, across: u32, down: u32) -> u32 {
        if wanted == LARGE_EDGE {
            return LARGE_EDGE;
        }
        let shows_all =
            |width| width >= EARLY_WIDTH && width >= across && width * HEIGHT_FACTOR_MAX >= down;
        let served = WIDTHS.into_iter().find(|width| *width >= wanted || shows_all(*width));
        served.unwrap_or(WIDTHS[WIDTHS.len() - 1])
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
        let wanted = Wanting::new(self, (hash, width));
        let _alone = wanted.alone.lock().await;
        match self.kept_anywhere(&hash, width).await {
            Some(kept) => Ok(kept),
            None => self.make(hash, width, size_bytes, read).await,
        }
    }

    /// Which shorter edge a picture has to be decoded with so that [`Self::make_early`] can use it; 0 if thumbnails are only made when
    /// asked for.
    pub fn early_edge(&self) -> u32 {
        if self.config.while_indexing { EARLY_SHORT_EDGE } else { 0 }
    }

    /// Makes the thumbnails that lists ask for from a picture that was decoded for another purpose, which costs a few
    /// milliseconds now instead of reading and decoding the file again later. Returns the preview of the picture. Blocks.
    pub fn make_early(&self, hash: &ContentHash, decoded: &Decoded) -> Option<Preview> {
        match self.try_make_early(hash, decoded) {
            Ok(narrow) => preview::of(&narrow),
            // Whoever asks for it later is told.
            Err(error) => {
                tracing::debug!(%error, "could not make a thumbnail");
                None
            }
        }
    }

    /// Returns the narrow one, which is scaled from the wide one if there is one: that takes half as long, and looks the same.
    fn try_make_early(
        &self,
        hash: &ContentHash,
        decoded: &Decoded,
    ) -> Result<RgbImage, ThumbnailError> {
        let has_pixels =
            |width| decoded.rgb.width() >= width || decoded.rgb.width() == decoded.width;
        let is_missing = |width| {
            self.config.while_indexing && has_pixels(width) && !self.path(hash, width).is_file()
        };
        // On tiles, upright pictures are never wide enough to want it.
        let is_lying = decoded.width >= decoded.height && decoded.width > EARLY_WIDTH;
        if !(is_lying && is_missing(EARLY_WIDE) && self.room.is_ample()) {
            let narrow = decoded.to_srgb(scale(&decoded.rgb, EARLY_WIDTH)?);
            if is_missing(EARLY_WIDTH) {
                self.keep(hash, EARLY_WIDTH, &encode(&narrow, self.config.quality)?);
            }
            return Ok(narrow);
        }
        let wide = decoded.to_srgb(scale(&decoded.rgb, EARLY_WIDE)?);
        self.keep(hash, EARLY_WIDE, &encode(&wide, self.config.quality)?);
        self.keep_narrow(hash, &wide)
    }

    /// Makes the narrow one from a wider one, if it is not there.
    fn keep_narrow(&self, hash: &ContentHash, wide: &RgbImage) -> Result<RgbImage, ThumbnailError> {
        let narrow = scale(wide, EARLY_WIDTH)?;
        if !self.path(hash, EARLY_WIDTH).is_file() {
            self.keep(hash, EARLY_WIDTH, &encode(&narrow, self.config.quality)?);
        }
        Ok(narrow)
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
                let jpeg = [EARLY_WIDTH, EARLY_WIDE, 160]
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
        let _turn = self.turns.take((hash, width)).await;
        // The large one is itself as large as a picture.
        let own_bytes = if width == LARGE_EDGE { u64::from(width * width) * 3 } else { 0 };
        let share = self.decoder.share_for_file(size_bytes + own_bytes).await;
        let bytes = read().await?;
        let thumbnails = self.clone();
        let shrink = move |decoded: Decoded| {
            let small = decoded.to_srgb(scale(&decoded.rgb, width)?);
            let jpeg = encode(&small, thumbnails.config.quality)?;
            thumbnails.keep(&hash, width, &jpeg);
            // Whoever wants a wide one has shown a narrow one, or will: decoding the picture again takes a hundred times longer.
            if WIDTHS.contains(&width) && width > EARLY_WIDTH {
                thumbnails.keep_narrow(&hash, &small)?;
            }
            Ok(jpeg)
        };
        let made = self
            .decoder
            .decode(Whose::Person, bytes, share, Wanted::ShortEdge(width), shrink)
            .await;
        Ok(made.map_err(ThumbnailError::from)??)
    }

    fn path(&self, hash: &ContentHash, width: u32) -> PathBuf {
        let name = kept::name(hash, width);
        self.dir.join(&name[..2]).join(name)
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
        self.room.note(jpeg.len() as u64);
    }
}

/// Somebody wants this thumbnail now, until it is there or they hang up.
struct Wanting<'a> {
    thumbnails: &'a Thumbnails,
    key: Key,
    alone: Alone,
}

impl<'a> Wanting<'a> {
    fn new(thumbnails: &'a Thumbnails, key: Key) -> Self {
        let alone = thumbnails.making.lock().entry(key).or_default().clone();
        thumbnails.turns.renew(&key);
        Self { thumbnails, key, alone }
    }
}

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        let mut making = self.thumbnails.making.lock();
        // Two: this one and the map's. Whoever else wants it takes it out later.
        if making.get(&self.key).is_some_and(|entry| Arc::strong_count(entry) <= 2) {
            making.remove(&self.key);
        }
    }
}

/// Colours have half the pixels both ways below a quality of 90, which is where the eye does not miss them.
fn encode(small: &RgbImage, quality: u8) -> Result<Vec<u8>, ThumbnailError> {
    let failed = |error: &dyn std::fmt::Display| ThumbnailError::Scale(error.to_string());
    let side = |pixels: u32| u16::try_from(pixels).map_err(|error| failed(&error));
    let (width, height) = (side(small.width())?, side(small.height())?);
    let mut jpeg = Vec::new();
    let mut encoder = Encoder::new(&mut jpeg, quality);
    encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
    let encoded = encoder.encode(small.as_raw(), width, height, ColorType::Rgb);
    encoded.map_err(|error| failed(&error))?;
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
    use std::path::Path;

    use super::*;
    use crate::config::Config;

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
    }

    #[test]
    fn a_small_picture_is_not_kept_in_widths_that_show_no_more_of_it() {
        let of_large = |wanted| Thumbnails::width(wanted, 4000, 3000);
        assert_eq!([1, 321, 640, 9999].map(of_large), [160, 640, 640, 1280]);
        assert_eq!(of_large(LARGE_EDGE), LARGE_EDGE);
        let of_small = |wanted| Thumbnails::width(wanted, 72, 72);
        assert_eq!([160, 320, 640, 1280].map(of_small), [160, 320, 320, 320]);
        assert_eq!(Thumbnails::width(1280, 500, 375), 640);
        // A strip is scaled down to be no higher than four times the width.
        assert_eq!(Thumbnails::width(1280, 100, 9000), 1280);
    }

    fn thumbnails(dir: &Path, cache_bytes_max: u64) -> Thumbnails {
        let mut config = Config::load(None, [], Vec::new()).expect("the defaults");
        config.thumbnails.cache_bytes_max = cache_bytes_max;
        let decoder = Arc::new(Decoder::new(&config.decode, false));
        Thumbnails::new(dir.to_owned(), config.thumbnails, decoder)
    }

    fn picture(width: u32, height: u32) -> Decoded {
        let pixels = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 90]));
        let mut png = Vec::new();
        pixels.write_to(&mut std::io::Cursor::new(&mut png), ImageFormat::Png).expect("a PNG");
        clip::decode(&png, &clip::DecodeLimits::default()).expect("decoded")
    }

    /// Sizes of the thumbnails that are kept of a picture.
    fn kept(thumbnails: &Thumbnails, hash: &ContentHash) -> Vec<(u32, (u32, u32))> {
        let sizes = WIDTHS.into_iter().filter_map(|width| {
            Some((width, image::image_dimensions(thumbnails.path(hash, width)).ok()?))
        });
        sizes.collect()
    }

    #[test]
    fn lying_pictures_get_both_widths_and_upright_or_small_ones_the_narrow_one() {
        let dir = tempfile::tempdir().expect("temp");
        let thumbnails = thumbnails(dir.path(), 1 << 20);
        let early = |width, height| {
            let hash = ContentHash::of(format!("{width} {height}").as_bytes());
            assert!(thumbnails.make_early(&hash, &picture(width, height)).is_some());
            kept(&thumbnails, &hash)
        };
        assert_eq!(early(1000, 750), [(320, (320, 240)), (640, (640, 480))]);
        assert_eq!(early(500, 250), [(320, (320, 160)), (640, (500, 250))]);
        assert_eq!(early(750, 1000), [(320, (320, 427))]);
        assert_eq!(early(300, 200), [(320, (300, 200))]);
    }

    #[test]
    fn where_room_is_short_only_the_narrow_width_is_made_before_it_is_asked_for() {
        let dir = tempfile::tempdir().expect("temp");
        std::fs::write(dir.path().join("other-320.jpg"), vec![0; 60_000]).expect("written");
        let thumbnails = thumbnails(dir.path(), 100_000);
        let hash = ContentHash::of(b"one");
        assert!(thumbnails.make_early(&hash, &picture(1000, 750)).is_some());
        assert_eq!(kept(&thumbnails, &hash), [(320, (320, 240))]);
    }

    #[tokio::test]
    async fn who_asks_for_a_wide_one_gets_the_narrow_one_made_with_it() {
        let dir = tempfile::tempdir().expect("temp");
        let thumbnails = Arc::new(thumbnails(dir.path(), 1 << 20));
        let mut png = Vec::new();
        let pixels = RgbImage::new(2000, 1000);
        pixels.write_to(&mut std::io::Cursor::new(&mut png), ImageFormat::Png).expect("a PNG");
        let hash = ContentHash::of(&png);
        let size_bytes = png.len() as u64;
        let read = async || Ok::<_, ThumbnailError>(png);
        thumbnails.get(hash, 1280, size_bytes, read).await.expect("made");
        assert_eq!(kept(&thumbnails, &hash), [(320, (320, 160)), (1280, (1280, 640))]);
    }

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut png = std::io::Cursor::new(Vec::new());
        RgbImage::new(width, height).write_to(&mut png, ImageFormat::Png).expect("a PNG");
        png.into_inner()
    }

    #[tokio::test]
    async fn the_newest_request_is_served_first_and_one_that_hung_up_never() {
        let dir = tempfile::tempdir().expect("temp");
        let mut made = thumbnails(dir.path(), 1 << 20);
        made.turns = Arc::new(Turns::new(1));
        let thumbnails = Arc::new(made);
        let (go_on, may_go_on) = tokio::sync::oneshot::channel::<()>();
        let order = Arc::new(Mutex::new(Vec::new()));
        let get = |number: u32, before: Option<tokio::sync::oneshot::Receiver<()>>| {
            let (thumbnails, order) = (thumbnails.clone(), order.clone());
            async move {
                let png = png(number, 9);
                let read = async || {
                    order.lock().push(number);
                    if let Some(before) = before {
                        let _ = before.await;
                    }
                    Ok::<_, ThumbnailError>(png.clone())
                };
                let hash = ContentHash::of(&png);
                thumbnails.get(hash, 320, png.len() as u64, read).await.expect("made");
            }
        };
        // The first is held up while it reads; the others come meanwhile, each when the one before stands in the line.
        let mut asked = vec![tokio::spawn(get(1, Some(may_go_on)))];
        let reads = async || {
            while order.lock().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        reads().await;
        for number in 2..=6 {
            asked.push(tokio::spawn(get(number, None)));
            while thumbnails.turns.waiting() + 1 < asked.len() {
                tokio::task::yield_now().await;
            }
        }
        // The second asks for what is waited for already, which then counts as new; the fifth hangs up.
        let again = tokio::spawn(get(2, None));
        while thumbnails.making.lock().values().all(|alone| Arc::strong_count(alone) < 3) {
            tokio::task::yield_now().await;
        }
        let hung_up = asked.remove(4);
        hung_up.abort();
        assert!(hung_up.await.expect_err("aborted").is_cancelled());
        go_on.send(()).expect("it waits");
        for one in asked.into_iter().chain([again]) {
            one.await.expect("made");
        }
        assert_eq!(*order.lock(), [1, 2, 6, 4, 3]);
        assert!(thumbnails.making.lock().is_empty(), "nobody wants any");
    }
}
