//! The best contents of which an image matches a filter. Few are compared one by one. Of many, so much of the whole ranking is
//! fetched that enough of it matches; where that is not enough, because the filter leaves out the very pictures that the query
//! is about, everything is compared. So every way is exact, or as exact as a search without a filter. See decision 18.

use std::collections::HashMap;

use super::SearchError;
use super::facets::Facets;
use super::filter::ImageFilter;
use crate::catalog::{Catalog, ImageFacets, NamedContent, PictureFacts};
use crate::serving::Answering;
use crate::types::{ContentHash, ModelId};
use crate::vector_store::{
    Collection, Condition, Effort, PointFilter, ScoredPoint, SearchQuery, payload,
};

/// Fetched beyond what the filter should let through, as its matches are never spread evenly.
const FETCH_SPARE: usize = 32;
const FETCH_MAX: usize = 4096;
/// How well an index is searched goes with how much is asked of it, and among what is left the best lie deeper.
const FETCH_MIN: usize = 256;

/// Vectors, and the model that they are of.
#[derive(Clone, Copy)]
pub(super) struct Space<'a> {
    pub(super) collection: &'a dyn Collection,
    pub(super) model: &'a ModelId,
}

impl<'a> Space<'a> {
    pub(super) fn of(serving: &'a Answering) -> Self {
        Self { collection: &*serving.collection, model: serving.embedder.id() }
    }
}

/// At most `wanted` hits, best first.
pub(super) async fn best_matching(
    facets: &Facets,
    space: Space<'_>,
    vector: &[f32],
    filter: &ImageFilter,
    wanted: usize,
    scan_max: usize,
) -> Result<Vec<ScoredPoint>, SearchError> {
    let selection = facets.select(filter, scan_max).await?;
    if let Some(contents) = selection.contents {
        return best_of(space, vector, &contents, wanted).await;
    }
    let (matching, total) = (selection.matching, selection.total);
    let kept = async |limit: usize, effort: Effort| {
        let query = SearchQuery { vector: vector.to_vec(), limit, filter: None, effort };
        let hits = space.collection.search(query).await?;
        let fetched = hits.len();
        let kept = facets.keep(filter, hits, |hit| payload::content_hash(&hit.payload));
        Ok::<_, SearchError>((kept, fetched))
    };
    let expected = (wanted as f64 * total as f64 / matching as f64 * 1.5).ceil() as usize;
    let fetch = expected.saturating_add(FETCH_SPARE).max(FETCH_MIN);
    if fetch <= FETCH_MAX {
        let (mut hits, fetched) = kept(fetch, Effort::Usual).await?;
        // Far fewer than expected: the index has hardly seen what lies around this region.
        let is_usual = 2 * hits.len() * total >= fetched * matching;
        if is_usual && hits.len() >= wanted {
            hits.truncate(wanted);
            return Ok(hits);
        }
    }
    let fetch_max = FETCH_MAX.max(wanted.saturating_mul(4));
    if fetch <= fetch_max {
        let (mut hits, _) = kept(fetch_max, Effort::Exact).await?;
        if hits.len() >= wanted {
            hits.truncate(wanted);
            return Ok(hits);
        }
    }
    let all = facets.select(filter, usize::MAX).await?.contents.unwrap_or_default();
    let mut best: Vec<ScoredPoint> = Vec::new();
    for piece in all.chunks(scan_max.max(1)) {
        best.extend(best_of(space, vector, piece, wanted).await?);
        best.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
        best.truncate(wanted);
    }
    Ok(best)
}

/// The best of these contents, each compared.
pub(super) async fn best_of(
    space: Space<'_>,
    vector: &[f32],
    contents: &[ContentHash],
    wanted: usize,
) -> Result<Vec<ScoredPoint>, SearchError> {
    if contents.is_empty() {
        return Ok(Vec::new());
    }
    let ids = space.model.point_ids(contents);
    let filter = PointFilter { must: vec![Condition::Ids(ids)], must_not: Vec::new() };
    let (vector, limit) = (vector.to_vec(), wanted.min(contents.len()));
    let query = SearchQuery { vector, limit, filter: Some(filter), effort: Effort::Exact };
    Ok(space.collection.search(query).await?)
}

/// Images of those contents of which one matches: the matching names first, then the others.
pub(super) async fn matching_images(
    catalog: &dyn Catalog,
    filter: &ImageFilter,
    hashes: &[ContentHash],
    names_max: u32,
) -> Result<HashMap<ContentHash, NamedContent>, SearchError> {
    let contents = catalog.facets_of(hashes).await?.into_iter();
    let named = |(hash, images): (ContentHash, Vec<ImageFacets>)| {
        let first = images.first()?;
        let facts =
            PictureFacts { format: first.format.clone(), width: first.width, height: first.height };
        let names_total = images.len() as u64;
        let (matching, others): (Vec<_>, Vec<_>) =
            images.into_iter().partition(|image| filter.matches(image));
        let names = |images: Vec<ImageFacets>| images.into_iter().map(|image| image.name);
        let any = !matching.is_empty();
        any.then(|| {
            let names = names(matching).chain(names(others)).take(names_max as usize).collect();
            (hash, NamedContent { names, names_total, facts })
        })
    };
    Ok(contents.filter_map(named).collect())
}

#[cfg(test)]
mod tests;
