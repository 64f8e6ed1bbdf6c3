//! Counts and lists over several sources, made of the rows that any database gave: no index has the order of all sources, so
//! each is read for itself and they are merged here.

use super::rows::{Columns, boolean_at, damaged, number_at, text_at};
use super::{
    CatalogError, FailedImage, FailurePage, ImageRow, ImageState, PageStart, RecentCursor,
    RecentPage, StateCounts,
};
use crate::types::ImageName;

/// Counts by state, and how many images answer searches.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) by_state: StateCounts,
    pub(super) answering: u64,
}

impl Counts {
    /// Each row: how many `images` of a `state` there are, whether they are `missing`, of sources that are `unconfigured`,
    /// and whether they `answers`.
    pub(super) fn of(rows: &[impl Columns]) -> Result<Self, CatalogError> {
        let mut counts = Self::default();
        for row in rows {
            let images: u64 = number_at(row, "images")?;
            let by_state = &mut counts.by_state;
            if boolean_at(row, "unconfigured")? {
                by_state.unconfigured += images;
                continue;
            }
            if boolean_at(row, "missing")? {
                by_state.missing += images;
                continue;
            }
            match text_at(row, "state")?.parse().map_err(damaged)? {
                ImageState::Pending => by_state.pending += images,
                ImageState::Indexed => by_state.indexed += images,
                ImageState::Failed => by_state.failed += images,
                ImageState::Skipped => by_state.skipped += images,
            }
            if boolean_at(row, "answers")? {
                counts.answering += images;
            }
        }
        Ok(counts)
    }
}

/// A page of a merged list.
pub(super) struct Page {
    limit: usize,
    offset: usize,
}

impl Page {
    pub(super) fn new<Cursor>(limit: u32, start: &PageStart<Cursor>) -> Self {
        let offset = match start {
            PageStart::Offset(offset) => *offset,
            PageStart::After(_) => 0,
        };
        Self { limit: limit as usize, offset: offset as usize }
    }

    /// How many entries of each source may be needed. One more than the page has tells whether there is a next one.
    pub(super) fn wanted(&self) -> u32 {
        let wanted = self.limit.saturating_add(self.offset).saturating_add(1);
        u32::try_from(wanted).unwrap_or(u32::MAX)
    }

    /// Its entries out of all in their order, and whether there are more.
    fn of<T>(&self, all: Vec<T>) -> (Vec<T>, bool) {
        let mut page: Vec<T> = all.into_iter().skip(self.offset).take(self.limit + 1).collect();
        let more = page.len() > self.limit;
        page.truncate(self.limit);
        (page, more)
    }

    pub(super) fn recent(
        &self,
        mut found: Vec<(RecentCursor, ImageRow)>,
        total: u64,
    ) -> RecentPage {
        found.sort_by_key(|(place, _)| std::cmp::Reverse((place.taken_ms, place.id)));
        let (page, more) = self.of(found);
        let next = page.last().filter(|_| more).map(|(place, _)| *place);
        RecentPage { images: page.into_iter().map(|(_, image)| image).collect(), total, next }
    }

    pub(super) fn failures(&self, mut found: Vec<FailedImage>, total: u64) -> FailurePage {
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let (failures, more) = self.of(found);
        let next = failures.last().filter(|_| more).map(|failed| failed.name.clone());
        FailurePage { failures, total, next }
    }
}

impl PageStart<RecentCursor> {
    /// The place behind which the list is read.
    pub(super) fn place(&self) -> RecentCursor {
        match self {
            Self::Offset(_) => RecentCursor { taken_ms: i64::MAX, id: i64::MAX },
            Self::After(cursor) => *cursor,
        }
    }
}

impl PageStart<ImageName> {
    /// The name behind which the list is read.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Offset(_) => "",
            Self::After(name) => name.as_str(),
        }
    }
}
