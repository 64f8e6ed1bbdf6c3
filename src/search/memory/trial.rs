//! What somebody who never rated would have gained from what others said: each of the newest ratings is replayed with what was
//! learned from those before it, without what its own source said, and its thumbs say which order was better. A number for a whole
//! list says nothing about the order within it, and neither do thumbs that are all up or all down.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::index::{Asker, Index, Rated, RatedQuery};
use super::learned::{ContentKey, REORDERED_MAX};
use super::{SearchError, Searcher};
use crate::quality::{Comparison, Replayed, ndcg};
use crate::serving::Answering;
use crate::types::ContentHash;
use crate::vector_store::{Effort, SearchQuery, payload};

/// What was learned is made anew so often on the way through the newest ratings; in between it is a few ratings behind.
const BLOCKS: usize = 20;

type Candidates = Vec<(ContentHash, f32)>;

/// What is learned from, by the queries that are known.
struct Material {
    ratings: Vec<Arc<Rated>>,
    queries: HashMap<Arc<str>, RatedQuery>,
    middle_of_words: Vec<f32>,
    half_life_days: u32,
}

impl Searcher {
    /// The order without what others said, compared with the order with it.
    pub(super) async fn measure_learning(
        &self,
        serving: &Answering,
    ) -> Result<Comparison, SearchError> {
        let config = &self.memory.config;
        let (material, change) = {
            let kept = self.memory.kept.lock().await;
            if kept.model.as_ref() != Some(serving.embedder.id()) {
                // Another model answers since; its vectors of the queries are being made.
                return Err(SearchError::ModelNotReady);
            }
            let material = Material {
                ratings: kept.ratings.values().cloned().collect(),
                queries: kept.queries.clone(),
                middle_of_words: kept.middle_of_words.clone(),
                half_life_days: config.half_life_days,
            };
            (Arc::new(material), kept.state.change)
        };
        let mut replayed = Vec::new();
        let mut candidates: HashMap<&str, Candidates> = HashMap::new();
        for block in blocks(material.ratings.len(), config.gate_queries_max) {
            let tried = material.ratings.get(block.clone()).unwrap_or_default();
            let tried: Vec<&Arc<Rated>> = tried.iter().filter(|rated| tells(rated)).collect();
            if tried.is_empty() {
                continue;
            }
            let known = material.clone();
            let index = tokio::task::spawn_blocking(move || known.index(block.start));
            // It only fails if the program is about to end.
            let Ok(index) = index.await else { return Err(SearchError::ModelNotReady) };
            for rated in tried {
                let Some(query) = material.queries.get(&rated.query) else { continue };
                let name = &*rated.query;
                if !candidates.contains_key(name) {
                    candidates.insert(name, find_candidates(serving, query).await?);
                }
                let Some(before) = candidates.get(name) else { continue };
                let compared = replay(&index, rated, query, before, config.sources_min);
                replayed.extend(compared.map(|(before, after)| Replayed {
                    source: &rated.source,
                    query: name,
                    before,
                    after,
                }));
            }
        }
        Ok(Comparison::of_ratings(&replayed, change, config.gate_queries_min))
    }
}

impl Material {
    /// Of the first ratings.
    fn index(&self, count: usize) -> Index {
        let ratings = self.ratings.get(..count).unwrap_or_default();
        Index::new(ratings, &self.queries, self.middle_of_words.clone(), self.half_life_days)
    }
}

/// The newest so many of all, oldest first, in pieces. Before the first rating nothing was learned.
fn blocks(count: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let newest = count.min(most);
    let size = newest.div_ceil(BLOCKS).max(1);
    let starts = (count - newest..count).step_by(size);
    starts.map(move |start| start..(start + size).min(count)).filter(|block| block.start > 0)
}

/// Whether its thumbs can tell one order from another.
fn tells(rated: &Rated) -> bool {
    let is = |wanted: bool| rated.thumbs().any(|(_, is_up)| is_up == wanted);
    is(true) && is(false)
}

async fn find_candidates(
    serving: &Answering,
    query: &RatedQuery,
) -> Result<Candidates, SearchError> {
    let vector = query.vector.to_vec();
    let search = SearchQuery { vector, limit: REORDERED_MAX, filter: None, effort: Effort::Usual };
    let found = serving.collection.search(search).await?;
    let hit =
        found.iter().filter_map(|hit| Some((payload::content_hash(&hit.payload)?, hit.score)));
    Ok(hit.collect())
}

/// nDCG@10 of the pictures that got a thumb, in the order without and with what others said; `None` if they said nothing.
fn replay(
    index: &Index,
    rated: &Rated,
    query: &RatedQuery,
    before: &[(ContentHash, f32)],
    sources_min: usize,
) -> Option<(f64, f64)> {
    let asker = Asker {
        viewer: None,
        besides: None,
        without: Some(&rated.source),
        others: true,
        sources_min,
        now_ms: rated.at_ms,
    };
    let learned = index.learn(&query.vector, query.is_picture, asker);
    let mut after = before.to_vec();
    let (_, learned_from) = learned.reorder(&mut after);
    if learned_from == 0 {
        return None;
    }
    let wanted: HashMap<ContentKey, bool> = rated.thumbs().collect();
    let judged = |hits: &[(ContentHash, f32)]| {
        let thumbs = hits.iter().filter_map(|(hash, _)| wanted.get(&ContentKey::of(hash)));
        ndcg(&thumbs.map(|is_up| f32::from(u8::from(*is_up))).collect::<Vec<f32>>())
    };
    judged(before).zip(judged(&after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_the_newest_is_tried_once_with_what_came_before_it() {
        let tried = |count, most| blocks(count, most).collect::<Vec<_>>();
        assert!(tried(0, 300).is_empty() && tried(1, 300).is_empty());
        assert_eq!(tried(4, 300), [1..2, 2..3, 3..4]);
        let many = tried(1000, 300);
        assert_eq!((many.len(), many[0].clone(), many[19].clone()), (20, 700..715, 985..1000));
        let uneven = tried(50, 45);
        assert_eq!((uneven[0].clone(), uneven.last().cloned()), (5..8, Some(47..50)));
        assert!(uneven.windows(2).all(|pair| pair[0].end == pair[1].start));
    }

    #[test]
    fn only_thumbs_up_and_down_can_tell_one_order_from_another() {
        let says = |values: &[f32]| {
            let content = |number: usize| ContentKey::of(&ContentHash::of(&[number as u8]));
            let says = values.iter().enumerate().map(|(n, value)| (content(n), *value)).collect();
            let (impression, query, source) = ("i".into(), "q".into(), "s".into());
            tells(&Rated { impression, query, source, says, at_ms: 0 })
        };
        assert!(says(&[1.0, 0.3, -1.0]));
        assert!(!says(&[1.0, 1.0]) && !says(&[-1.0]) && !says(&[]));
        assert!(!says(&[0.5, -0.4, 1.0]), "a number for the list is no thumb");
    }
}
