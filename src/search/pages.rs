//! Paging along a ranking with a cursor. A page says where it ended: which content was last, with which score. The next one goes
//! on behind that, whatever came or went meanwhile: nothing is shown twice, and nothing is left out that was there all the time.
//! Rankings are kept for a while, so that a page costs the same at any depth; whoever has not kept it makes it again.

use std::cmp::Ordering;
use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use lru::LruCache;
use parking_lot::Mutex;

use super::{Found, Match, SPARE_HITS, SearchError, Searcher, Wants};
use crate::serving::Answering;
use crate::types::{ContentHash, ModelId};

/// How deep the first ranking of a search is; each further one is four times as deep.
const FIRST_DEPTH: usize = 256;
const IDENTITY_BYTES: usize = 8;
const CURSOR_BYTES: usize = 1 + IDENTITY_BYTES + 4 + 4 + 32;
const CURSOR_VERSION: u8 = 1;

/// Tells searches apart.
type SearchIdentity = [u8; IDENTITY_BYTES];

/// Where a page ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Cursor {
    search: SearchIdentity,
    /// Its place in the ranking of then.
    place: u32,
    score: f32,
    hash: ContentHash,
}

/// A text that no page of this search gave as its `next`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"after\" must be empty, or what a page of this very search gave as \"next\"")]
pub struct BadCursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(CURSOR_BYTES);
        bytes.push(CURSOR_VERSION);
        bytes.extend_from_slice(&self.search);
        bytes.extend_from_slice(&self.place.to_le_bytes());
        bytes.extend_from_slice(&self.score.to_le_bytes());
        bytes.extend_from_slice(self.hash.as_bytes());
        f.write_str(&BASE64.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = BASE64.decode(text).map_err(|_| BadCursor)?;
        let [CURSOR_VERSION, rest @ ..] = bytes.as_slice() else { return Err(BadCursor) };
        let (search, rest) = rest.split_first_chunk().ok_or(BadCursor)?;
        let (place, rest) = rest.split_first_chunk().ok_or(BadCursor)?;
        let (score, rest) = rest.split_first_chunk().ok_or(BadCursor)?;
        let hash = ContentHash::from_slice(rest).map_err(|_| BadCursor)?;
        let score = f32::from_le_bytes(*score);
        Ok(Self { search: *search, place: u32::from_le_bytes(*place), score, hash })
    }
}

/// Contents in their order.
#[derive(Debug, Default)]
pub(super) struct Ranking {
    pub(super) hits: Vec<(ContentHash, f32)>,
    /// So many at the beginning are not in the order of their scores, since names count too.
    pub(super) fused: usize,
    /// Whether there is nothing behind them.
    pub(super) is_all: bool,
    /// How many were asked for.
    pub(super) depth: usize,
    /// How many ratings its order comes from.
    pub(super) learned_from: u32,
}

impl Ranking {
    /// Best first, whatever names made of the order.
    pub(super) fn best_scores(&self) -> Vec<f32> {
        let mut scores: Vec<f32> = self.hits.iter().map(|(_, score)| *score).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        scores
    }

    /// Where to go on behind the cursor.
    fn behind(&self, cursor: &Cursor, model: &ModelId) -> usize {
        let is_it = |(hash, _): &(ContentHash, f32)| *hash == cursor.hash;
        let guess = cursor.place as usize;
        if self.hits.get(guess).is_some_and(is_it) {
            return guess + 1;
        }
        if let Some(place) = self.hits.iter().position(is_it) {
            return place + 1;
        }
        // It went: behind where it was.
        if guess < self.fused {
            return guess;
        }
        let id = model.point_id(&cursor.hash);
        let comes_before = |(hash, score): &(ContentHash, f32)| {
            let by_score = cursor.score.total_cmp(score);
            by_score.then_with(|| model.point_id(hash).cmp(&id)) == Ordering::Less
        };
        self.fused
            + self.hits.get(self.fused..).map_or(0, |rest| rest.partition_point(comes_before))
    }
}

/// The rankings of the last searches that were paged.
pub(super) struct Rankings {
    kept: Mutex<LruCache<SearchIdentity, Arc<Ranking>>>,
    /// How many were made.
    #[cfg(test)]
    pub(super) made: std::sync::atomic::AtomicUsize,
}

impl Rankings {
    pub(super) fn new(rankings_max: usize) -> Self {
        let most = NonZeroUsize::new(rankings_max).unwrap_or(NonZeroUsize::MIN);
        Self {
            kept: Mutex::new(LruCache::new(most)),
            #[cfg(test)]
            made: std::sync::atomic::AtomicUsize::default(),
        }
    }

    fn keep(&self, search: SearchIdentity, ranking: Arc<Ranking>) {
        #[cfg(test)]
        self.made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.kept.lock().put(search, ranking);
    }

    #[cfg(test)]
    pub(super) fn clear(&self) {
        self.kept.lock().clear();
    }
}

impl Searcher {
    /// The page behind `after`, or the first.
    pub(super) async fn page(
        &self,
        serving: &Answering,
        (words, vector): (&str, &[f32]),
        wants: &Wants,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Found, SearchError> {
        let model = serving.embedder.id();
        let search = identity(model, words, wants);
        if after.is_some_and(|after| after.search != search) {
            return Err(SearchError::Cursor(BadCursor));
        }
        let place = kept_as(search, wants);
        let mut ranking = match after {
            None => {
                self.rank_and_keep(place, serving, vector, wants, FIRST_DEPTH.max(limit)).await?
            }
            Some(after) => {
                let kept = self.rankings.kept.lock().get(&place).cloned();
                let depth = (after.place as usize + limit).saturating_mul(2).max(FIRST_DEPTH);
                match kept {
                    Some(ranking) => ranking,
                    None => self.rank_and_keep(place, serving, vector, wants, depth).await?,
                }
            }
        };
        loop {
            let from = after.map_or(0, |after| ranking.behind(after, model));
            let found = self.name_from(&ranking, from, wants, limit + 1).await?;
            let window_max = self.config.window_max as usize;
            if found.len() > limit || ranking.is_all || ranking.depth >= window_max {
                let (matches, next) = cut(search, found, limit);
                return Ok(Found { matches, ranking, next });
            }
            let depth = ranking.depth.saturating_mul(4).min(window_max);
            ranking = self.rank_and_keep(place, serving, vector, wants, depth).await?;
        }
    }

    async fn rank_and_keep(
        &self,
        search: SearchIdentity,
        serving: &Answering,
        vector: &[f32],
        wants: &Wants,
        depth: usize,
    ) -> Result<Arc<Ranking>, SearchError> {
        let window_max = self.config.window_max as usize;
        let mut ranking = self.rank(serving, vector, wants, depth.min(window_max)).await?;
        ranking.hits.truncate(window_max);
        let ranking = Arc::new(ranking);
        self.rankings.keep(search, ranking.clone());
        Ok(ranking)
    }

    /// Matches from a place on, each with its place, until there are enough or no more.
    async fn name_from(
        &self,
        ranking: &Ranking,
        from: usize,
        wants: &Wants,
        wanted: usize,
    ) -> Result<Vec<(usize, Match)>, SearchError> {
        let (mut found, mut at) = (Vec::new(), from);
        while found.len() < wanted && at < ranking.hits.len() {
            let to = (at + wanted + SPARE_HITS).min(ranking.hits.len());
            let piece = ranking.hits.get(at..to).unwrap_or_default();
            let mut places = (at..to).zip(piece);
            for named in self.name(piece, wants).await? {
                // In the same order, with gaps.
                let place = places.find(|(_, (hash, _))| *hash == named.hash);
                found.extend(place.map(|(place, _)| (place, named)));
            }
            at = to;
        }
        Ok(found)
    }
}

/// Leaves out what was only asked for to know whether there is more.
fn cut(
    search: SearchIdentity,
    mut found: Vec<(usize, Match)>,
    limit: usize,
) -> (Vec<Match>, Option<Cursor>) {
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|(place, last)| Cursor {
        search,
        place: *place as u32,
        score: last.score,
        hash: last.hash,
    });
    (found.into_iter().map(|(_, found)| found).collect(), next)
}

fn identity(model: &ModelId, words: &str, wants: &Wants) -> SearchIdentity {
    let Wants { filter, by_name, learning, .. } = wants;
    let text = format!("{model}\0{words}\0{filter:?}\0{by_name}");
    if learning.refine.is_none() && learning.enabled {
        return digest(&text);
    }
    digest(&format!("{text}\0{}\0{:?}", learning.enabled, learning.refine))
}

/// Whose own ratings count has a ranking of their own.
fn kept_as(search: SearchIdentity, wants: &Wants) -> SearchIdentity {
    match &wants.learning.viewer {
        Some(viewer) if !wants.learned.is_empty() => digest(&format!("{search:?}\0{viewer}")),
        _ => search,
    }
}

fn digest(text: &str) -> SearchIdentity {
    let mut identity = SearchIdentity::default();
    identity.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..IDENTITY_BYTES]);
    identity
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u32) -> ContentHash {
        ContentHash::of(&number.to_le_bytes())
    }

    #[test]
    fn cursors_are_read_back_and_nothing_else_is() {
        let cursor = Cursor { search: [7; 8], place: 9_999, score: 0.25, hash: hash(1) };
        let text = cursor.to_string();
        assert_eq!(text.parse(), Ok(cursor));
        for bad in ["", "x", "AAAA", &text[1..], &text[..60], &format!("{text}AAAA"), "ä", "===="]
        {
            assert_eq!(bad.parse::<Cursor>(), Err(BadCursor), "{bad}");
        }
    }

    #[test]
    fn a_page_goes_on_where_the_last_one_ended_whatever_came_or_went() {
        let model = ModelId { name: "m".into(), revision: "1".into() };
        let ranking = |numbers: &[u32], fused| Ranking {
            hits: numbers
                .iter()
                .map(|number| (hash(*number), 1.0 - *number as f32 / 100.0))
                .collect(),
            fused,
            is_all: true,
            depth: 10,
            learned_from: 0,
        };
        let cursor = Cursor { search: [0; 8], place: 2, score: 1.0 - 0.05, hash: hash(5) };
        let behind = |numbers: &[u32], fused| ranking(numbers, fused).behind(&cursor, &model);
        assert_eq!(behind(&[1, 3, 5, 7], 0), 3);
        assert_eq!(behind(&[0, 1, 2, 3, 5, 7], 0), 5, "some came before it");
        assert_eq!(behind(&[1, 5, 7], 0), 2, "one before it went");
        assert_eq!(behind(&[1, 3, 7, 9], 0), 2, "it went itself");
        assert_eq!(behind(&[9, 3, 1, 7], 3), 2, "it went from among those that names count for");
        assert_eq!(behind(&[9, 3, 5, 7], 3), 3);
        assert_eq!(behind(&[], 0), 0);
    }
}
