//! A source in memory, for tests and benchmarks: a million pictures whose bytes are made when they are opened, and failures and
//! delays on demand. It behaves as a folder does; the conformance suite sees to that.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::ops::Bound;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::broadcast;

use super::{
    Hints, Identity, Listed, Listing, ListingWriter, OpenPicture, Opened, Source, SourceError,
    Stopped,
};
use crate::types::{Fingerprint, ImageName, Scope};

/// Names taken from the map at a time while listing.
const STRIDE: usize = 1000;
const HINTS_WAITING_MAX: usize = 1024;
/// How often a listing that is held looks whether it may go on.
const HELD_LOOK: Duration = Duration::from_millis(2);

/// Makes the bytes of a picture from its name.
pub type MakeBytes = dyn Fn(&ImageName) -> Vec<u8> + Send + Sync;

#[derive(Clone)]
pub struct MemorySource {
    inner: Arc<Inner>,
}

struct Inner {
    id: String,
    state: Mutex<State>,
    make: Box<MakeBytes>,
    hints: broadcast::Sender<Scope>,
}

#[derive(Default)]
struct State {
    pictures: BTreeMap<ImageName, Picture>,
    clock: i64,
    faults: Faults,
}

struct Picture {
    /// `None`: made when needed.
    bytes: Option<Arc<[u8]>>,
    size_bytes: u64,
    modified_ms: i64,
}

/// What goes wrong, until it is changed.
#[derive(Debug, Clone)]
pub struct Faults {
    pub identity: String,
    /// The whole source is away, for this reason.
    pub away: Option<String>,
    /// Parts that cannot be looked at.
    pub unreadable: HashSet<ImageName>,
    /// Listings break off after so many images.
    pub breaks_after: Option<usize>,
    /// Listings are cut short after so many images.
    pub images_max: usize,
    /// Each page of a listing takes so long.
    pub page_delay: Duration,
    /// Listings of everything wait before this name until it is taken back.
    pub held_at: Option<ImageName>,
    /// Opening and reading fails as on a share that is gone.
    pub reads_fail: Option<io::ErrorKind>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            identity: "memory".into(),
            away: None,
            unreadable: HashSet::new(),
            breaks_after: None,
            images_max: usize::MAX,
            page_delay: Duration::ZERO,
            held_at: None,
            reads_fail: None,
        }
    }
}

impl Default for MemorySource {
    fn default() -> Self {
        Self::new("memory", |name| name.as_str().as_bytes().to_vec())
    }
}

impl MemorySource {
    /// An empty one. `make` has the bytes of pictures that were added without any.
    pub fn new(id: &str, make: impl Fn(&ImageName) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let inner = Inner {
            id: id.to_owned(),
            state: Mutex::default(),
            make: Box::new(make),
            hints: broadcast::Sender::new(HINTS_WAITING_MAX),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Adds names whose bytes are made when they are opened; `size_bytes` is what listings say of each.
    pub fn fill(&self, names: impl IntoIterator<Item = ImageName>, size_bytes: u64) {
        let mut state = self.inner.state.lock();
        let picture = |name| (name, Picture { bytes: None, size_bytes, modified_ms: 1 });
        state.pictures.extend(names.into_iter().map(picture));
    }

    /// Adds or replaces a picture, as someone with the folder at hand would.
    pub fn put(&self, name: &ImageName, bytes: &[u8]) {
        self.inner.state.lock().put(name, bytes);
        self.hint(Scope::Under(name.clone()));
    }

    pub fn remove(&self, name: &ImageName) {
        self.inner.state.lock().pictures.remove(name);
        self.hint(Scope::Under(name.clone()));
    }

    /// Gives every picture below the folder `from` the same name below the folder `to`, and its bytes with it.
    pub fn move_folder(&self, from: &ImageName, to: &ImageName) {
        let mut state = self.inner.state.lock();
        for name in state.below(from) {
            let moved = format!("{to}{}", &name.as_str()[from.as_str().len()..]);
            if let (Some(picture), Ok(moved)) =
                (state.pictures.remove(&name), ImageName::new(moved))
            {
                state.pictures.insert(moved, picture);
            }
        }
        drop(state);
        self.hint(Scope::Under(from.clone()));
        self.hint(Scope::Under(to.clone()));
    }

    /// Removes every picture below the folder.
    pub fn remove_folder(&self, folder: &ImageName) {
        let mut state = self.inner.state.lock();
        for name in state.below(folder) {
            state.pictures.remove(&name);
        }
        drop(state);
        self.hint(Scope::Under(folder.clone()));
    }

    /// Tells those who listen where to look.
    pub fn hint(&self, scope: Scope) {
        let _ = self.inner.hints.send(scope);
    }

    /// Changes what goes wrong.
    pub fn fail(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.inner.state.lock().faults);
    }

    /// How many pictures it has.
    pub fn len(&self) -> usize {
        self.inner.state.lock().pictures.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl State {
    fn put(&mut self, name: &ImageName, bytes: &[u8]) {
        self.clock += 1;
        let picture = Picture {
            bytes: Some(bytes.into()),
            size_bytes: bytes.len() as u64,
            modified_ms: self.clock,
        };
        self.pictures.insert(name.clone(), picture);
    }

    fn below(&self, folder: &ImageName) -> Vec<ImageName> {
        let names = self.pictures.range(folder.clone()..).map(|(name, _)| name);
        names
            .take_while(|name| name.as_str().starts_with(folder.as_str()))
            .filter(|name| name.is_at_or_below(folder))
            .cloned()
            .collect()
    }

    fn fingerprint(&self, name: &ImageName) -> Result<Fingerprint, SourceError> {
        let picture = self.pictures.get(name).ok_or_else(|| SourceError::NotFound(name.clone()))?;
        Ok(picture.fingerprint())
    }

    /// The part of `faults.unreadable` that hides `name`.
    fn hides(&self, name: &ImageName) -> Option<ImageName> {
        let hidden = self.faults.unreadable.iter();
        hidden.into_iter().find(|part| name.is_at_or_below(part)).cloned()
    }
}

impl Picture {
    fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            size_bytes: self.size_bytes,
            version: self.modified_ms.to_string(),
            modified_ms: self.modified_ms,
        }
    }
}

impl Inner {
    fn check(&self) -> Result<(), SourceError> {
        let away = self.state.lock().faults.away.clone();
        away.map_or(Ok(()), |reason| Err(self.away(reason)))
    }

    fn away(&self, reason: String) -> SourceError {
        SourceError::Away { location: self.id.clone(), reason }
    }

    fn list(
        &self,
        scope: &Scope,
        after: Option<ImageName>,
        mut writer: ListingWriter,
    ) -> Result<(), Stopped> {
        if let Err(error) = self.check() {
            writer.broken(error);
            return Ok(());
        }
        let (mut told, mut after) = (0, after);
        let mut told_unreadable: HashSet<ImageName> = HashSet::new();
        loop {
            let delay = self.state.lock().faults.page_delay;
            if !delay.is_zero() {
                std::thread::sleep(delay);
            }
            let (items, last) = self.stride(scope, after.as_ref());
            for item in items {
                while *scope == Scope::All && self.holds(&item) {
                    std::thread::sleep(HELD_LOOK);
                    writer.working()?;
                }
                let (breaks_after, images_max) = {
                    let faults = &self.state.lock().faults;
                    (faults.breaks_after, faults.images_max)
                };
                match &item {
                    Listed::Image(..) if breaks_after == Some(told) => {
                        writer.broken(self.away("listing it broke off".into()));
                        return Ok(());
                    }
                    Listed::Image(..) if told >= images_max => {
                        writer.push(Listed::Truncated)?;
                        writer.end();
                        return Ok(());
                    }
                    Listed::Image(..) => told += 1,
                    Listed::Unreadable { part, .. } if !told_unreadable.insert(part.clone()) => {
                        continue;
                    }
                    _ => {}
                }
                writer.push(item)?;
            }
            match last {
                Some(last) => after = Some(last),
                None => break,
            }
            writer.working()?;
        }
        writer.end();
        Ok(())
    }

    fn holds(&self, item: &Listed) -> bool {
        let state = self.state.lock();
        let held_at = state.faults.held_at.as_ref();
        matches!((item, held_at), (Listed::Image(name, _), Some(held_at)) if name >= held_at)
    }

    /// What there is in `scope` among the next names behind `after`, and the last name looked at; `None` at the end.
    fn stride(&self, scope: &Scope, after: Option<&ImageName>) -> (Vec<Listed>, Option<ImageName>) {
        let state = self.state.lock();
        let start = match (after, scope) {
            (Some(after), _) => Bound::Excluded(after),
            (None, Scope::All) => Bound::Unbounded,
            (None, Scope::Under(name)) => Bound::Included(name),
        };
        let (mut items, mut last) = (Vec::new(), None);
        for (name, picture) in state.pictures.range((start, Bound::Unbounded)).take(STRIDE) {
            last = Some(name.clone());
            let is_wanted = match scope {
                Scope::All => true,
                Scope::Under(part) if !name.as_str().starts_with(part.as_str()) => {
                    if name > part {
                        return (items, None);
                    }
                    false
                }
                Scope::Under(part) => name.is_at_or_below(part),
            };
            if is_wanted {
                items.push(match state.hides(name) {
                    None => Listed::Image(name.clone(), picture.fingerprint()),
                    Some(part) => Listed::Unreadable { part, reason: "locked".into() },
                });
            }
        }
        (items, last)
    }
}

#[async_trait]
impl Source for MemorySource {
    fn id(&self) -> &str {
        &self.inner.id
    }

    fn location(&self) -> String {
        self.inner.id.clone()
    }

    async fn identity(&self) -> Result<Identity, SourceError> {
        self.inner.check()?;
        Ok(Identity(self.inner.state.lock().faults.identity.clone()))
    }

    fn list(&self, scope: &Scope, after: Option<&ImageName>) -> Listing {
        let (writer, listing) = Listing::new(self.location());
        let (inner, scope, after) = (self.inner.clone(), scope.clone(), after.cloned());
        tokio::task::spawn_blocking(move || inner.list(&scope, after, writer));
        listing
    }

    fn hints(&self) -> Option<Hints> {
        let arrivals = stream::unfold(self.inner.hints.subscribe(), |mut arrivals| async move {
            match arrivals.recv().await {
                Ok(scope) => Some((vec![scope], arrivals)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((vec![Scope::All], arrivals)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        });
        Some(stream::iter([vec![Scope::All]]).chain(arrivals).boxed())
    }

    fn hears_everything(&self) -> bool {
        true
    }

    async fn stat(&self, name: &ImageName) -> Result<Fingerprint, SourceError> {
        self.inner.check()?;
        self.inner.state.lock().fingerprint(name)
    }

    async fn open(&self, name: &ImageName) -> Result<Opened, SourceError> {
        self.inner.check()?;
        let state = self.inner.state.lock();
        if let Some(kind) = state.faults.reads_fail {
            return Err(SourceError::of(name, &kind.into()));
        }
        let fingerprint = state.fingerprint(name)?;
        let stored = state.pictures.get(name).and_then(|picture| picture.bytes.clone());
        drop(state);
        let bytes = stored.unwrap_or_else(|| (self.inner.make)(name).into());
        let reader = OpenMemory {
            inner: self.inner.clone(),
            name: name.clone(),
            bytes: io::Cursor::new(bytes),
        };
        Ok(Opened { reader: Box::new(reader), fingerprint })
    }

    fn check_name(&self, _name: &ImageName) -> Result<(), SourceError> {
        Ok(())
    }

    async fn free_bytes(&self) -> Option<u64> {
        None
    }

    async fn create(&self, name: &ImageName, bytes: &[u8]) -> Result<(), SourceError> {
        self.inner.check()?;
        let mut state = self.inner.state.lock();
        if state.pictures.contains_key(name) {
            return Err(SourceError::Exists(name.clone()));
        }
        state.put(name, bytes);
        drop(state);
        self.hint(Scope::Under(name.clone()));
        Ok(())
    }

    async fn delete(&self, name: &ImageName) -> Result<(), SourceError> {
        self.inner.check()?;
        let removed = self.inner.state.lock().pictures.remove(name);
        removed.ok_or_else(|| SourceError::NotFound(name.clone()))?;
        self.hint(Scope::Under(name.clone()));
        Ok(())
    }
}

struct OpenMemory {
    inner: Arc<Inner>,
    name: ImageName,
    bytes: io::Cursor<Arc<[u8]>>,
}

impl AsyncRead for OpenMemory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let fails = self.inner.state.lock().faults.reads_fail;
        match fails {
            Some(kind) => Poll::Ready(Err(kind.into())),
            None => Pin::new(&mut self.bytes).poll_read(context, buffer),
        }
    }
}

#[async_trait]
impl OpenPicture for OpenMemory {
    async fn fingerprint(&mut self) -> Result<Fingerprint, SourceError> {
        self.inner.state.lock().fingerprint(&self.name)
    }
}
