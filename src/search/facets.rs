//! What filters ask for, of all images, in memory: a copy of the catalog's columns, about 240 bytes an image, made when the
//! first filter is used and brought up to date before each further one by what changed since. It proposes and counts; what is
//! answered is looked up in the catalog, so a copy that is behind by a moment costs a match and never shows a wrong one.

mod counts;
mod places;

use std::collections::HashMap;
use std::sync::Arc;

use memchr::memmem::Finder;
use parking_lot::RwLock;
use tokio::sync::Mutex;

pub use self::counts::FacetCounts;
pub use self::places::PlaceCount;
use super::filter::{ImageFilter, lower};
use crate::catalog::{Catalog, CatalogError, FacetChanges, ImageFacets, RecentCursor};
use crate::types::ContentHash;

/// Changes that are read at once.
const PAGE: u32 = 10_000;
const NO_ROW: u32 = u32::MAX;

/// The copy, and what it is a copy of.
pub(super) struct Facets {
    catalog: Arc<dyn Catalog>,
    table: Arc<RwLock<Table>>,
    refreshing: Mutex<()>,
}

/// What a filter leaves.
pub(super) struct Selection {
    /// Images that match.
    pub(super) matching: usize,
    /// All images.
    pub(super) total: usize,
    /// Contents of the matching ones, if they are not too many.
    pub(super) contents: Option<Vec<ContentHash>>,
}

impl Facets {
    pub(super) fn new(catalog: Arc<dyn Catalog>) -> Self {
        Self { catalog, table: Arc::default(), refreshing: Mutex::new(()) }
    }

    /// Counts what matches, and names the contents unless they are more than `contents_max`.
    pub(super) async fn select(
        &self,
        filter: &ImageFilter,
        contents_max: usize,
    ) -> Result<Selection, CatalogError> {
        let filter = filter.clone();
        self.look(move |table| table.select(&filter, contents_max)).await
    }

    /// The matching images in the order of lists, behind `after`: at most `limit` of them, and how many there are in all.
    pub(super) async fn newest(
        &self,
        filter: &ImageFilter,
        after: RecentCursor,
        limit: usize,
    ) -> Result<(Vec<RecentCursor>, u64), CatalogError> {
        let filter = filter.clone();
        self.look(move |table| table.newest(&filter, after, limit)).await
    }

    /// How many there are of what the filter can be narrowed down to.
    pub(super) async fn count(&self, filter: &ImageFilter) -> Result<FacetCounts, CatalogError> {
        let filter = filter.clone();
        self.look(move |table| table.count(&filter)).await
    }

    /// The same of just these images.
    pub(super) fn count_of(images: Vec<ImageFacets>, filter: &ImageFilter) -> FacetCounts {
        Table::of(images).count(filter)
    }

    /// Keeps the contents of which an image matches. Of what it does not know it keeps nothing.
    pub(super) fn keep<T>(
        &self,
        filter: &ImageFilter,
        hits: Vec<T>,
        hash: impl Fn(&T) -> Option<ContentHash>,
    ) -> Vec<T> {
        let table = self.table.read();
        let test = Test::new(&table, filter);
        hits.into_iter()
            .filter(|hit| hash(hit).is_some_and(|hash| table.has(&test, &hash)))
            .collect()
    }

    /// Brings the copy up to date; walking over it may take milliseconds, so that happens elsewhere.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Table) -> T + Send + 'static,
    ) -> Result<T, CatalogError> {
        self.refresh().await?;
        let table = self.table.clone();
        tokio::task::spawn_blocking(move || look(&table.read()))
            .await
            .map_err(|_| CatalogError::Unavailable("the program is shutting down".to_owned()))
    }

    /// If the caller gives up, what was read so far is kept.
    async fn refresh(&self) -> Result<(), CatalogError> {
        let _alone = self.refreshing.lock().await;
        loop {
            let last = self.table.read().last;
            let changes = self.catalog.facets_since(last, PAGE).await?;
            let more = changes.more;
            self.table.write().apply(changes);
            if !more {
                return Ok(());
            }
        }
    }
}

/// An image as filters see it. Texts that many images share are numbers.
struct Row {
    image_id: i64,
    hash: ContentHash,
    taken_ms: i64,
    added_ms: i64,
    width: u32,
    height: u32,
    source: u32,
    folder: u32,
    format: u32,
    camera: u32,
    place: Option<(f64, f64)>,
    /// File name in lower case.
    file: Box<str>,
    /// The next image of the same content.
    next: u32,
}

#[derive(Default)]
struct Table {
    rows: Vec<Row>,
    by_image: HashMap<i64, u32>,
    /// First row of a content, by the first bytes of its hash.
    by_content: HashMap<u64, u32>,
    sources: Texts,
    folders: Texts,
    formats: Texts,
    cameras: Texts,
    /// The configured ones; images of others are hidden.
    shown_sources: Vec<String>,
    last: i64,
}

/// Texts by number.
#[derive(Default)]
struct Texts {
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl Texts {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let (text, number) = (Arc::<str>::from(text), self.texts.len() as u32);
        self.texts.push(text.clone());
        self.numbers.insert(text, number);
        number
    }

    /// What holds of each.
    fn test(&self, holds: impl Fn(&str) -> bool) -> Vec<bool> {
        self.texts.iter().map(|text| holds(text)).collect()
    }
}

/// A filter, with its answer for each shared text.
struct Test<'a> {
    filter: &'a ImageFilter,
    sources: Vec<bool>,
    folders: Vec<bool>,
    formats: Vec<bool>,
    cameras: Vec<bool>,
    name: Option<NameTest>,
}

/// Part of a name.
struct NameTest {
    part: Finder<'static>,
    folders: Vec<bool>,
    /// Folders in lower case, if the part reaches over the border of a folder.
    borders: Option<Vec<String>>,
}

impl<'a> Test<'a> {
    fn new(table: &Table, filter: &'a ImageFilter) -> Self {
        let is_shown = |source: &str| table.shown_sources.iter().any(|shown| shown == source);
        let name = lower(filter.name_contains.as_deref()).map(|part| NameTest {
            folders: table.folders.test(|folder| folder.to_lowercase().contains(&part)),
            borders: part
                .contains('/')
                .then(|| table.folders.texts.iter().map(|folder| folder.to_lowercase()).collect()),
            part: Finder::new(part.as_bytes()).into_owned(),
        });
        let is_wanted = |source: &str| filter.source.as_ref().is_none_or(|wanted| wanted == source);
        Self {
            filter,
            sources: table.sources.test(|source| is_shown(source) && is_wanted(source)),
            folders: table.folders.test(|folder| filter.has_folder(folder)),
            formats: table.formats.test(|format| filter.has_format(format)),
            cameras: table.cameras.test(|camera| filter.has_camera(camera)),
            name,
        }
    }

    fn matches(&self, row: &Row) -> bool {
        let of =
            |answers: &[bool], number: u32| answers.get(number as usize).copied() == Some(true);
        of(&self.sources, row.source)
            && of(&self.folders, row.folder)
            && of(&self.formats, row.format)
            && of(&self.cameras, row.camera)
            && self.filter.matches_numbers(row.taken_ms, row.added_ms, (row.width, row.height))
            && self.filter.has_place(row.place)
            && self.name.as_ref().is_none_or(|name| name.matches(row))
    }
}

impl NameTest {
    fn matches(&self, row: &Row) -> bool {
        let folder = row.folder as usize;
        if self.folders.get(folder) == Some(&true) || self.is_in(&row.file) {
            return true;
        }
        let joined = self.borders.as_ref().and_then(|folders| folders.get(folder));
        joined.is_some_and(|folder| {
            !folder.is_empty() && self.is_in(&format!("{folder}/{}", row.file))
        })
    }

    fn is_in(&self, name: &str) -> bool {
        self.part.find(name.as_bytes()).is_some()
    }
}

fn content_key(hash: &ContentHash) -> u64 {
    hash.as_bytes().first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

impl Table {
    fn apply(&mut self, changes: FacetChanges) {
        for image_id in changes.gone.iter().chain(changes.now.iter().map(|image| &image.image_id)) {
            self.remove(*image_id);
        }
        for image in &changes.now {
            self.insert(image);
        }
        self.shown_sources = changes.sources;
        self.last = changes.last;
    }

    fn insert(&mut self, image: &ImageFacets) {
        let name = image.name.as_str();
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
        let (number, key) = (self.rows.len() as u32, content_key(&image.hash));
        let next = self.by_content.insert(key, number).unwrap_or(NO_ROW);
        self.by_image.insert(image.image_id, number);
        self.rows.push(Row {
            image_id: image.image_id,
            hash: image.hash,
            taken_ms: image.taken_ms,
            added_ms: image.added_ms,
            width: image.width,
            height: image.height,
            source: self.sources.number(&image.source),
            folder: self.folders.number(folder),
            format: self.formats.number(&image.format),
            camera: self.cameras.number(image.camera.as_deref().unwrap_or_default()),
            place: image.place,
            file: file.to_lowercase().into(),
            next,
        });
    }

    /// The last row takes its place.
    fn remove(&mut self, image_id: i64) {
        let Some(number) = self.by_image.remove(&image_id) else { return };
        self.unlink(number);
        self.rows.swap_remove(number as usize);
        let moved_from = self.rows.len() as u32;
        if let Some(moved) = self.rows.get(number as usize) {
            self.by_image.insert(moved.image_id, number);
            self.relink_moved(moved_from, number);
        }
    }

    /// Whatever leads to row `number` leads to where it leads.
    fn unlink(&mut self, number: u32) {
        let Some(row) = self.rows.get(number as usize) else { return };
        self.redirect(content_key(&row.hash), number, row.next);
    }

    fn relink_moved(&mut self, from: u32, to: u32) {
        let Some(row) = self.rows.get(to as usize) else { return };
        self.redirect(content_key(&row.hash), from, to);
    }

    fn redirect(&mut self, key: u64, from: u32, to: u32) {
        let Some(first) = self.by_content.get_mut(&key) else { return };
        if *first == from {
            if to == NO_ROW {
                self.by_content.remove(&key);
            } else {
                *first = to;
            }
            return;
        }
        let mut at = *first;
        while let Some(row) = self.rows.get_mut(at as usize) {
            if row.next == from {
                row.next = to;
                return;
            }
            at = row.next;
        }
    }

    fn has(&self, test: &Test<'_>, hash: &ContentHash) -> bool {
        let mut at = self.by_content.get(&content_key(hash)).copied().unwrap_or(NO_ROW);
        while let Some(row) = self.rows.get(at as usize) {
            if row.hash == *hash && test.matches(row) {
                return true;
            }
            at = row.next;
        }
        false
    }

    fn select(&self, filter: &ImageFilter, contents_max: usize) -> Selection {
        let test = Test::new(self, filter);
        let (mut matching, mut contents) = (0, Vec::new());
        for row in self.rows.iter().filter(|row| test.matches(row)) {
            matching += 1;
            if matching <= contents_max {
                contents.push(row.hash);
            }
        }
        contents.sort_unstable();
        contents.dedup();
        let contents = (matching <= contents_max).then_some(contents);
        Selection { matching, total: self.rows.len(), contents }
    }

    fn newest(
        &self,
        filter: &ImageFilter,
        after: RecentCursor,
        limit: usize,
    ) -> (Vec<RecentCursor>, u64) {
        let test = Test::new(self, filter);
        let (mut total, mut found) = (0, Vec::new());
        for row in self.rows.iter().filter(|row| test.matches(row)) {
            total += 1;
            if (row.taken_ms, row.image_id) < (after.taken_ms, after.id) {
                found.push((row.taken_ms, row.image_id));
            }
        }
        let newest_first = |a: &(i64, i64), b: &(i64, i64)| b.cmp(a);
        if found.len() > limit && limit > 0 {
            found.select_nth_unstable_by(limit - 1, newest_first);
        }
        found.truncate(limit);
        found.sort_unstable_by(newest_first);
        (found.into_iter().map(|(taken_ms, id)| RecentCursor { taken_ms, id }).collect(), total)
    }
}

#[cfg(test)]
mod tests;
