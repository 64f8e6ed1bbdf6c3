//! Decoding, for everybody who does it: indexing, thumbnails, pictures to search by, uploads. All share one budget of memory,
//! taken before a file is read and before its pixels are made, and a number of threads. So however many pictures come at
//! once, and however large they are, the program's memory stays where it was said to stay. Indexing has threads of its own, at
//! low priority: who waits for a picture does not wait behind thousands that are indexed.

pub mod child;
mod messages;
mod process;
mod sandbox;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clip::{DecodeError, DecodeLimits, Decoded, Elsewhere, Wanted};
use tokio::runtime::{self, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::process::Processes;
use crate::config::DecodeConfig;
use crate::priority::lower_priority;

/// Of the budget, this part is for files as they are read; the rest is for pixels. Whoever waits for pixels holds its file, and
/// whoever holds pixels waits for nothing, so nobody waits in a circle.
const FILES_SHARE: u64 = 4;
/// Of the part for files, at most this share in hundredths goes to bodies that clients send: they may take their time, and
/// indexing must go on meanwhile.
const BODIES_PERCENT: u64 = 75;
/// Grace beyond the decoder's own deadline before its thread is given up.
const GRACE_MS: u64 = 5_000;

/// This program, if it can be started once more to decode ([`child::run`]).
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Says that the running program understands [`child::COMMAND`]. Programs that do not, such as tests, decode in process.
pub fn can_be_started() {
    // The name may be another program's by now, after an update; this is the one that runs.
    let own = PathBuf::from("/proc/self/exe");
    let program = if own.exists() { Some(own) } else { std::env::current_exe().ok() };
    if let Some(program) = program {
        let _ = PROGRAM.set(program);
    }
}

pub struct Decoder {
    limits: DecodeLimits,
    scaled: bool,
    files: Budget,
    bodies: Budget,
    pixels: Budget,
    people: Lane,
    index: Lane,
    /// Where formats are decoded that want a process of their own; none in tests of the library, which are no such program.
    processes: Option<Arc<Processes>>,
}

/// A part of the budget, given back when the last copy is dropped.
#[derive(Debug, Clone)]
pub struct Share(#[expect(dead_code, reason = "held for its effect")] Arc<Permits>);

type Permits = Vec<OwnedSemaphorePermit>;

/// For whom a picture is decoded: who waits for one does not wait behind those for the index, for which nobody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    Person,
    Index,
}

/// Why a picture was not decoded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DecodeFailure {
    #[error(transparent)]
    Picture(#[from] DecodeError),
    #[error("the decoder gave up on this file")]
    Crashed,
    #[error("decoding took longer than {0} ms and could not be interrupted")]
    Stuck(u64),
}

impl DecodeFailure {
    /// A stable code for logs, the catalog and API answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Picture(error) => error.code(),
            Self::Crashed => "corrupt_image",
            Self::Stuck(_) => "decode_timeout",
        }
    }
}

impl Decoder {
    pub fn new(config: &DecodeConfig, low_priority: bool) -> Self {
        let files_bytes = config.memory_bytes_max / FILES_SHARE;
        let pixels_bytes = config.memory_bytes_max - files_bytes;
        let threads = match config.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads,
        };
        let limits = DecodeLimits {
            max_bytes: config.file_bytes_max,
            max_pixels: config.pixels_max,
            max_alloc_bytes: config.alloc_bytes_max.min(pixels_bytes),
            timeout_ms: config.timeout_ms,
        };
        let program = PROGRAM.get().filter(|_| !config.in_process);
        let memory = limits.max_alloc_bytes.to_string();
        let processes = program.map(|program| {
            sandbox::tell_what_is_missing();
            Processes::new(program.clone(), vec![child::COMMAND.to_owned(), memory])
        });
        Self {
            limits,
            scaled: config.scaled,
            files: Budget::new(files_bytes),
            bodies: Budget::new(files_bytes * BODIES_PERCENT / 100),
            pixels: Budget::new(pixels_bytes),
            people: Lane::new(threads, false),
            index: Lane::new(threads, low_priority),
            processes: processes.map(Arc::new),
        }
    }

    /// What one picture may cost.
    pub fn limits(&self) -> &DecodeLimits {
        &self.limits
    }

    /// Waits until so many bytes of files may be in memory. Taken before they are read.
    pub async fn share_for_file(&self, bytes: u64) -> Share {
        Share(Arc::new(self.files.take(bytes).await.into_iter().collect()))
    }

    /// The same for a body that a client sends: `None` if there is no room within `wait`.
    pub async fn share_for_body(&self, bytes: u64, wait: Duration) -> Option<Share> {
        // One that announces more than all bodies may have takes what they may have, and leaves the files theirs.
        let bytes = bytes.min(self.bodies.bytes());
        let both = async { [self.bodies.take(bytes).await, self.files.take(bytes).await] };
        let permits = tokio::time::timeout(wait, both).await.ok()?;
        Some(Share(Arc::new(permits.into_iter().flatten().collect())))
    }

    /// Decodes a file whose bytes were paid for with `share`, and does `then` with the picture on the same thread. The picture
    /// may be scaled down, unless [`Wanted::Full`] is wanted.
    pub async fn decode<T: Send + 'static>(
        &self,
        whose: Whose,
        bytes: impl AsRef<[u8]> + Send + 'static,
        share: Share,
        wanted: Wanted,
        then: impl FnOnce(Decoded) -> T + Send + 'static,
    ) -> Result<T, DecodeFailure> {
        let lane = match whose {
            Whose::Person => &self.people,
            Whose::Index => &self.index,
        };
        let wanted = if self.scaled { wanted } else { Wanted::Full };
        let needed = clip::memory_needed(bytes.as_ref(), &self.limits, wanted);
        // The turn first: whoever waits for one keeps no memory from others.
        let turn = lane.turns.clone().acquire_owned().await;
        let pixels = self.pixels.take(needed).await;
        let (limits, processes) = (self.limits.clone(), self.processes.clone());
        let work = lane.runtime().spawn_blocking(move || {
            // A decoder that is late keeps thread and memory until it ends, and then gives them back, once.
            let _held = (share, pixels, turn);
            let elsewhere = processes.as_deref().map(|processes| processes as &dyn Elsewhere);
            clip::decode_with(bytes.as_ref(), &limits, wanted, elsewhere).map(then)
        });
        let deadline_ms = self.limits.timeout_ms + GRACE_MS;
        match tokio::time::timeout(Duration::from_millis(deadline_ms), work).await {
            Ok(Ok(decoded)) => Ok(decoded?),
            Ok(Err(_panic)) => Err(DecodeFailure::Crashed),
            Err(_late) => Err(DecodeFailure::Stuck(deadline_ms)),
        }
    }
}

/// A number of threads that decode, and what runs them.
struct Lane {
    turns: Arc<Semaphore>,
    /// Of threads at low priority; without one, those of whoever asks.
    own: Option<Runtime>,
}

impl Lane {
    fn new(threads: usize, low_priority: bool) -> Self {
        let own = low_priority.then(|| {
            // Only its threads for blocking work are used; they inherit nothing from elsewhere, and change themselves.
            let mut own = runtime::Builder::new_current_thread();
            own.max_blocking_threads(threads).thread_name("decode-index");
            own.on_thread_start(lower_priority).build()
        });
        let own = own.transpose().unwrap_or_else(|error| {
            tracing::warn!(%error, "pictures are decoded at ordinary priority");
            None
        });
        Self { turns: Arc::new(Semaphore::new(threads)), own }
    }

    fn runtime(&self) -> runtime::Handle {
        self.own.as_ref().map_or_else(runtime::Handle::current, |own| own.handle().clone())
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some(own) = self.own.take() {
            own.shutdown_background();
        }
    }
}

/// Bytes that may be used at once, counted in KiB. Who asks first is served first.
struct Budget {
    free: Arc<Semaphore>,
    all: u32,
}

impl Budget {
    fn new(bytes: u64) -> Self {
        let most = u64::from(u32::MAX).min(Semaphore::MAX_PERMITS as u64);
        let all = (bytes / 1024).clamp(1, most) as u32;
        Self { free: Arc::new(Semaphore::new(all as usize)), all }
    }

    fn bytes(&self) -> u64 {
        u64::from(self.all) * 1024
    }

    /// One that wants more than there is takes all of it, alone.
    fn kib(&self, bytes: u64) -> u32 {
        u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX).min(self.all)
    }

    async fn take(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        // Fails only when the semaphore is closed, which this one never is.
        self.free.clone().acquire_many_owned(self.kib(bytes)).await.ok()
    }

    /// The same at once, or not at all.
    #[cfg(test)]
    fn try_take(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        self.free.clone().try_acquire_many_owned(self.kib(bytes)).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::config::Config;

    fn decoder(change: impl FnOnce(&mut DecodeConfig)) -> Decoder {
        let mut config = Config::load(None, [], Vec::new()).expect("defaults").decode;
        change(&mut config);
        Decoder::new(&config, true)
    }

    fn png(edge: u32) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image::RgbImage::new(edge, edge)
            .write_to(&mut bytes, image::ImageFormat::Png)
            .expect("a PNG");
        bytes.into_inner()
    }

    #[tokio::test]
    async fn who_asks_for_more_than_there_is_gets_all_of_it_alone() {
        let decoder = decoder(|config| config.memory_bytes_max = 4 << 20);
        let half = decoder.files.try_take(512 << 10).expect("free");
        assert!(decoder.files.try_take(u64::MAX).is_none(), "somebody has a part");
        drop(half);
        let all = decoder.files.try_take(u64::MAX).expect("free");
        assert!(decoder.files.try_take(1).is_none());
        drop(all);
        assert!(decoder.files.try_take(1).is_some());
    }

    #[tokio::test]
    async fn a_body_of_any_size_leaves_room_for_files() {
        let decoder = decoder(|config| config.memory_bytes_max = 8 << 20);
        let wait = Duration::from_millis(1);
        let body = decoder.share_for_body(u64::MAX, wait).await.expect("nobody else is there");
        assert!(decoder.share_for_body(1 << 20, wait).await.is_none(), "bodies have their part");
        assert!(decoder.files.try_take(256 << 10).is_some(), "files have theirs");
        drop(body);
    }

    #[tokio::test]
    async fn pixels_wait_for_their_part_of_the_budget() {
        // Three quarters of it are for pixels; one of these pictures takes about nine bytes for each of them.
        let decoder = Arc::new(decoder(|config| config.memory_bytes_max = 1 << 20));
        let (started, has_started) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let first = {
            let (decoder, share) = (decoder.clone(), decoder.share_for_file(1).await);
            tokio::spawn(async move {
                let hold = move |_: Decoded| {
                    let _ = started.send(());
                    let _ = may_go_on.recv();
                };
                decoder.decode(Whose::Person, png(256), share, Wanted::Full, hold).await
            })
        };
        tokio::task::spawn_blocking(move || has_started.recv()).await.expect("ran").expect("sent");
        assert!(decoder.pixels.try_take(512 << 10).is_none(), "its pixels are in memory");
        drop(go_on);
        first.await.expect("joined").expect("decoded");
        let share = decoder.share_for_file(1).await;
        decoder
            .decode(Whose::Person, png(256), share, Wanted::Full, |_| ())
            .await
            .expect("there is room again");
    }

    #[tokio::test]
    async fn a_late_decoder_keeps_its_place_and_gives_it_back_once() {
        let decoder = decoder(|config| (config.threads, config.timeout_ms) = (1, 500));
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let share = decoder.share_for_file(1).await;
        let stuck = move |_: Decoded| {
            let _ = may_go_on.recv();
        };
        let late = decoder.decode(Whose::Person, png(8), share, Wanted::Full, stuck).await;
        assert!(matches!(late, Err(DecodeFailure::Stuck(_))), "{late:?}");
        assert_eq!(decoder.people.turns.available_permits(), 0, "it is still at work");
        drop(go_on);
        let _turn = decoder.people.turns.acquire().await.expect("open");
        assert_eq!(decoder.people.turns.available_permits(), 0, "one place became two");
    }

    #[tokio::test]
    async fn what_would_take_more_than_the_budget_is_refused_by_its_header() {
        let decoder = decoder(|config| config.memory_bytes_max = 1 << 20);
        let share = decoder.share_for_file(1).await;
        let refused = decoder.decode(Whose::Person, png(1024), share, Wanted::Full, |_| ()).await;
        let error = refused.expect_err("it needs six times as much");
        assert_eq!(error.code(), "too_much_memory");
    }
}
