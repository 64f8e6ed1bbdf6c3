//! Replays rated queries with two models, before one takes the place of the other. What is wanted is known of the pictures that
//! somebody rated; all others would count against a model that finds what nobody saw yet. So each model orders the same pictures:
//! those that were judged under the query, among a fixed sample of the library, which counts as unwanted. See decision 30.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;

use super::memory::{ContentKey, Rated};
use super::strength::dot;
use super::{SearchError, Searcher};
use crate::quality::{Comparison, ndcg};
use crate::serving::{Answering, ReplayError, SwitchJudge};
use crate::types::ContentHash;
use crate::vector_store::payload;

/// Pictures that judged ones are compared with.
const BACKGROUND: usize = 200;

/// Contents and their vectors in both models.
type Pairs = Vec<(ContentHash, Vec<f32>, Vec<f32>)>;

#[async_trait]
impl SwitchJudge for Searcher {
    async fn compare_models(
        &self,
        former: &Answering,
        next: &Answering,
    ) -> Result<Comparison, ReplayError> {
        self.replay(former, next).await.map_err(|error| ReplayError(error.to_string()))
    }
}

impl Searcher {
    async fn replay(
        &self,
        former: &Answering,
        next: &Answering,
    ) -> Result<Comparison, SearchError> {
        let config = self.memory.config();
        let (rated, change) = self.newest_ratings().await?;
        let queries = by_query(&rated, config.gate_queries_max);
        let names: Vec<Arc<str>> = queries.iter().map(|(query, _)| query.clone()).collect();
        let of_former = self.query_vectors(former, &names).await?;
        let of_next = self.query_vectors(next, &names).await?;
        let background = background(former, next).await?;
        let mut known = HashMap::new();
        let (mut pairs, mut ratings) = (Vec::new(), 0);
        for (query, rated) in &queries {
            let (Some(of_former), Some(of_next)) = (of_former.get(query), of_next.get(query))
            else {
                continue;
            };
            let wanted = wanted(rated);
            let judged = self.contents(next, &wanted, &mut known).await?;
            let judged = vectors_of(former, next, &judged).await?;
            let others =
                background.iter().filter(|(hash, ..)| !wanted.contains_key(&ContentKey::of(hash)));
            let (mut before, mut after) = (Vec::new(), Vec::new());
            for (hash, in_former, in_next) in judged.iter().chain(others) {
                let gain = wanted.get(&ContentKey::of(hash)).copied().unwrap_or(0.0);
                before.push((dot(of_former, in_former), gain));
                after.push((dot(of_next, in_next), gain));
            }
            if let (Some(before), Some(after)) = (ordered_ndcg(before), ordered_ndcg(after)) {
                pairs.push((before, after));
                ratings += rated.len() as u64;
            }
        }
        Ok(Comparison::of(&pairs, ratings, change, config.gate_queries_min))
    }

    /// The contents of these beginnings of hashes that have a vector.
    async fn contents(
        &self,
        model: &Answering,
        wanted: &HashMap<ContentKey, f32>,
        known: &mut HashMap<ContentKey, Option<ContentHash>>,
    ) -> Result<Vec<ContentHash>, SearchError> {
        let id = model.embedder.id().to_string();
        let mut found = Vec::with_capacity(wanted.len());
        for key in wanted.keys() {
            let content = match known.get(key) {
                Some(content) => *content,
                None => {
                    let next = self.catalog.stored_hashes(&id, Some(&key.first()), 1).await?;
                    let content = next.first().filter(|hash| ContentKey::of(hash) == *key).copied();
                    known.insert(*key, content);
                    content
                }
            };
            found.extend(content);
        }
        Ok(found)
    }
}

/// The queries that were rated last, each with its ratings.
fn by_query(rated: &[Arc<Rated>], most: usize) -> Vec<(Arc<str>, Vec<&Rated>)> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut queries: Vec<(Arc<str>, Vec<&Rated>)> = Vec::new();
    // Newest first.
    for rated in rated.iter().rev() {
        let place = places.get(&*rated.query).copied();
        if let Some((_, ratings)) = place.and_then(|place| queries.get_mut(place)) {
            ratings.push(rated);
        } else if queries.len() < most {
            places.insert(&rated.query, queries.len());
            queries.push((rated.query.clone(), vec![rated]));
        }
    }
    queries
}

/// How much each judged content is wanted, from 0 to 1: the mean of what its sources say, each of which says one thing.
fn wanted(rated: &[&Rated]) -> HashMap<ContentKey, f32> {
    let mut sources: HashMap<(ContentKey, &str), (f32, f32)> = HashMap::new();
    for rated in rated {
        for (content, value) in &rated.says {
            let (sum, count) = sources.entry((*content, &*rated.source)).or_default();
            *sum += value;
            *count += 1.0;
        }
    }
    let mut contents: HashMap<ContentKey, (f32, f32)> = HashMap::new();
    for ((content, _), (sum, count)) in sources {
        let (all, sources) = contents.entry(content).or_default();
        *all += sum / count;
        *sources += 1.0;
    }
    let mean =
        |(content, (sum, count)): (ContentKey, (f32, f32))| (content, (sum / count).max(0.0));
    contents.into_iter().map(mean).collect()
}

/// Pictures of the library that both models know; ids are hashes, so the first ones are a fair sample and always the same.
async fn background(former: &Answering, next: &Answering) -> Result<Pairs, SearchError> {
    let points = next.collection.scroll(None, BACKGROUND).await?;
    let hashes: Vec<ContentHash> =
        points.iter().filter_map(|point| payload::content_hash(&point.payload)).collect();
    vectors_of(former, next, &hashes).await
}

async fn vectors_of(
    former: &Answering,
    next: &Answering,
    hashes: &[ContentHash],
) -> Result<Pairs, SearchError> {
    let in_former = vectors_in(former, hashes).await?;
    let mut in_next = vectors_in(next, hashes).await?;
    let both = in_former.into_iter().filter_map(|(hash, vector)| {
        let other = in_next.remove(&hash)?;
        Some((hash, vector, other))
    });
    let mut both: Pairs = both.collect();
    // Equal scores stay in this order.
    both.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
    Ok(both)
}

async fn vectors_in(
    model: &Answering,
    hashes: &[ContentHash],
) -> Result<HashMap<ContentHash, Vec<f32>>, SearchError> {
    let id = model.embedder.id();
    let once: HashSet<&ContentHash> = hashes.iter().collect();
    let mut of_id: HashMap<_, _> =
        once.into_iter().map(|hash| (id.point_id(hash), *hash)).collect();
    let ids: Vec<_> = of_id.keys().copied().collect();
    let points = model.collection.get(&ids).await?;
    Ok(points
        .into_iter()
        .filter_map(|point| Some((of_id.remove(&point.id)?, point.vector)))
        .collect())
}

/// Of pictures with their scores, and how much each is wanted.
fn ordered_ndcg(mut scored: Vec<(f32, f32)>) -> Option<f64> {
    scored.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal));
    ndcg(&scored.into_iter().map(|(_, gain)| gain).collect::<Vec<f32>>())
}
