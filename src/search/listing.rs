//! The list of pictures, those taken last first, limited by a filter. Without one the catalog's own order is all there is to it.
//! And how many there are of what it can be limited to.

use super::Searcher;
use super::facets::{FacetCounts, Facets};
use super::filter::ImageFilter;
use crate::catalog::{CatalogError, ImageRow, PageStart, RecentCursor, RecentPage};
use crate::types::ImageName;

impl Searcher {
    /// A page of the images that match.
    pub async fn list(
        &self,
        filter: &ImageFilter,
        limit: u32,
        start: PageStart<RecentCursor>,
    ) -> Result<RecentPage, CatalogError> {
        if filter.is_empty() {
            return self.catalog.recent(limit, start).await;
        }
        let newest = RecentCursor { taken_ms: i64::MAX, id: i64::MAX };
        let (after, offset) = match start {
            PageStart::Offset(offset) => (newest, offset as usize),
            PageStart::After(cursor) => (cursor, 0),
        };
        // One more than asked for tells whether there is a next page.
        let wanted = offset + limit as usize + 1;
        let (mut places, total) = self.facets.newest(filter, after, wanted).await?;
        places.drain(..offset.min(places.len()));
        let more = places.len() > limit as usize;
        places.truncate(limit as usize);
        let ids: Vec<i64> = places.iter().map(|place| place.id).collect();
        let mut by_id = self.catalog.images_by_id(&ids).await?;
        // What changed since the copy was brought up to date is left out.
        let images: Vec<ImageRow> = ids.iter().filter_map(|id| by_id.remove(id)).collect();
        Ok(RecentPage { images, total, next: places.last().filter(|_| more).copied() })
    }

    /// How many images there are of what the filter can be narrowed down to.
    pub async fn facets(&self, filter: &ImageFilter) -> Result<FacetCounts, CatalogError> {
        self.facets.count(filter).await
    }

    /// The same among these images, for example the matches of a search. Those that are not there (any more) do not count.
    pub async fn facets_among(
        &self,
        filter: &ImageFilter,
        names: &[ImageName],
    ) -> Result<FacetCounts, CatalogError> {
        let images = self.catalog.facets_named(names).await?;
        Ok(Facets::count_of(images, filter))
    }
}
