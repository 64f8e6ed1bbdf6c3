//! Rated queries by their vectors, and what was said of which content under each. A query finds its rated neighbours; each
//! source (a key, or an address) has one vote on a content, and a vote counts as far as its source agrees with the others.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::super::strength::dot;
use super::learned::{ContentKey, Learned, Opinion};

/// Queries nearer than this are about the same. Of words it is the cosine after the middle of all words is taken away, since
/// models put all texts into one corner; unrelated ones then lie around 0, and the same in other words near 1.
const NEAR_WORDS: f32 = 0.72;
/// Here a query of words would count for nothing, and at 1 it counts whole.
const FAR_WORDS: f32 = 0.65;
/// Of pictures as queries: only what is nearly the same picture.
const NEAR_PICTURES: f32 = 0.95;
/// Contents move as if so much of a vote said that they are neither wanted nor unwanted.
const DOUBT: f32 = 1.0;
/// Votes smaller than this say nothing.
const VOTE_MIN: f32 = 0.01;
/// A source that nobody can be compared with counts for so much.
const TRUST_OF_STRANGERS: f32 = 0.8;
/// … as if it had agreed with others so often, out of so many times.
const PRIOR_AGREED: f32 = 1.8;
const PRIOR_COMPARED: f32 = 2.0;
const TRUST_ROUNDS: usize = 2;
const MS_PER_DAY: f32 = 86_400_000.0;

/// A rating as it counts.
#[derive(Debug, Clone)]
pub(in crate::search) struct Rated {
    pub(super) impression: Arc<str>,
    pub(in crate::search) query: Arc<str>,
    /// Pseudonym of who rated.
    pub(in crate::search) source: Arc<str>,
    /// What it says of each content, from -1 to 1.
    pub(in crate::search) says: Vec<(ContentKey, f32)>,
    pub(super) at_ms: i64,
}

impl Rated {
    /// The contents that got a thumb, and whether it was up. What a number says of a list's contents is less than a thumb.
    pub(super) fn thumbs(&self) -> impl Iterator<Item = (ContentKey, bool)> {
        let thumbs = self.says.iter().filter(|(_, value)| value.abs() >= 1.0);
        thumbs.map(|(content, value)| (*content, *value > 0.0))
    }
}

/// What a query looks like.
#[derive(Debug, Clone)]
pub(super) struct RatedQuery {
    pub(super) vector: Arc<[f32]>,
    pub(super) is_picture: bool,
}

#[derive(Debug, Clone, Copy)]
struct Vote {
    content: ContentKey,
    source: u32,
    rating: u32,
    value: f32,
    at_ms: i64,
}

/// The votes under one query.
struct Entry {
    is_picture: bool,
    votes: Vec<Vote>,
}

/// See the head of this file.
pub(super) struct Index {
    entries: Vec<Entry>,
    /// One row for each entry, of length 1.
    vectors: Vec<f32>,
    middle_of_words: Vec<f32>,
    sources: HashMap<Arc<str>, u32>,
    /// The numbers of ratings by their impressions.
    ratings: HashMap<Arc<str>, u32>,
    trust: Vec<f32>,
    half_life_days: f32,
}

/// Who asks, and how many must agree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) viewer: Option<&'a str>,
    /// The rating of this impression counts elsewhere.
    pub(super) besides: Option<&'a str>,
    /// As if this source had never rated.
    pub(super) without: Option<&'a str>,
    /// Whether what others agree on counts, too.
    pub(super) others: bool,
    pub(super) sources_min: usize,
    pub(super) now_ms: i64,
}

/// What one source says of a content, over several ratings.
#[derive(Default)]
struct Tally {
    weighted: f32,
    weight: f32,
    weight_max: f32,
    ratings: Vec<u32>,
}

impl Index {
    /// Of those ratings whose query has a vector.
    pub(super) fn new(
        ratings: &[Arc<Rated>],
        queries: &HashMap<Arc<str>, RatedQuery>,
        middle_of_words: Vec<f32>,
        half_life_days: u32,
    ) -> Self {
        let mut index = Self {
            entries: Vec::new(),
            vectors: Vec::new(),
            middle_of_words,
            sources: HashMap::new(),
            ratings: HashMap::new(),
            trust: Vec::new(),
            half_life_days: half_life_days as f32,
        };
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (number, rated) in ratings.iter().enumerate() {
            let Some(query) = queries.get(&rated.query) else { continue };
            let place = match places.get(&*rated.query) {
                Some(place) => *place,
                None => {
                    let Some(row) = index.row(&query.vector, query.is_picture) else { continue };
                    index.vectors.extend(row);
                    index.entries.push(Entry { is_picture: query.is_picture, votes: Vec::new() });
                    places.insert(&rated.query, index.entries.len() - 1);
                    index.entries.len() - 1
                }
            };
            index.ratings.insert(rated.impression.clone(), number as u32);
            let next = index.sources.len() as u32;
            let source = *index.sources.entry(rated.source.clone()).or_insert(next);
            let vote = |(content, value): &(ContentKey, f32)| Vote {
                content: *content,
                source,
                rating: number as u32,
                value: *value,
                at_ms: rated.at_ms,
            };
            if let Some(entry) = index.entries.get_mut(place) {
                entry.votes.extend(rated.says.iter().map(vote));
            }
        }
        index.trust = trust(&index.entries, index.sources.len());
        index
    }

    /// As queries are compared; `None` if nothing is left of it.
    fn row(&self, vector: &[f32], is_picture: bool) -> Option<Vec<f32>> {
        if is_picture {
            return Some(vector.to_vec());
        }
        let mut row = vector.to_vec();
        for (value, middle) in row.iter_mut().zip(&self.middle_of_words) {
            *value -= middle;
        }
        let length = row.iter().map(|value| value * value).sum::<f32>().sqrt();
        for value in &mut row {
            *value /= length;
        }
        (length > f32::EPSILON).then_some(row)
    }

    /// Rated queries near this one, each with how much it counts, from 0 to 1.
    fn neighbours(&self, vector: &[f32], is_picture: bool) -> Vec<(&Entry, f32)> {
        let Some(row) = self.row(vector, is_picture) else { return Vec::new() };
        let (near, far) =
            if is_picture { (NEAR_PICTURES, NEAR_PICTURES) } else { (NEAR_WORDS, FAR_WORDS) };
        let entries = self.entries.iter().zip(self.vectors.chunks_exact(row.len().max(1)));
        entries
            .filter(|(entry, _)| entry.is_picture == is_picture)
            .map(|(entry, other)| (entry, dot(&row, other)))
            .filter(|(_, similarity)| *similarity > near)
            .map(|(entry, similarity)| (entry, ((similarity - far) / (1.0 - far)).min(1.0)))
            .collect()
    }

    /// What this query may learn.
    pub(super) fn learn(&self, vector: &[f32], is_picture: bool, asker: Asker<'_>) -> Learned {
        let mut tallies: HashMap<ContentKey, BTreeMap<u32, Tally>> = HashMap::new();
        let besides = asker.besides.and_then(|id| self.ratings.get(id)).copied();
        let without = asker.without.and_then(|source| self.sources.get(source)).copied();
        let counts = |vote: &&Vote| Some(vote.rating) != besides && Some(vote.source) != without;
        for (entry, nearness) in self.neighbours(vector, is_picture) {
            for vote in entry.votes.iter().filter(counts) {
                let age_days = (asker.now_ms - vote.at_ms).max(0) as f32 / MS_PER_DAY;
                let weight = nearness * (-age_days / self.half_life_days).exp2();
                let tally =
                    tallies.entry(vote.content).or_default().entry(vote.source).or_default();
                tally.weighted += weight * vote.value;
                tally.weight += weight;
                tally.weight_max = tally.weight_max.max(weight);
                tally.ratings.push(vote.rating);
            }
        }
        let own = asker.viewer.and_then(|viewer| self.sources.get(viewer)).copied();
        let opinions = tallies
            .into_iter()
            .filter_map(|(content, tallies)| Some((content, self.opinion(&tallies, own, asker)?)));
        Learned { remembered: opinions.collect(), ..Learned::default() }
    }

    /// What enough sources agree on, or else what the asker said.
    fn opinion(
        &self,
        tallies: &BTreeMap<u32, Tally>,
        own: Option<u32>,
        asker: Asker<'_>,
    ) -> Option<Opinion> {
        let votes: Vec<(u32, f32)> = tallies
            .iter()
            .filter(|(_, tally)| tally.weight > 0.0)
            .map(|(source, tally)| {
                let trust = self.trust.get(*source as usize).copied().unwrap_or_default();
                let trust = if Some(*source) == own { 1.0 } else { trust };
                (*source, trust * tally.weight_max * tally.weighted / tally.weight)
            })
            .filter(|(_, vote)| vote.abs() >= VOTE_MIN)
            .collect();
        let total: f32 = votes.iter().map(|(_, vote)| vote).sum();
        let agreeing = votes.iter().filter(|(_, vote)| vote * total > 0.0).count();
        let counting: Vec<(u32, f32)> = if asker.others && agreeing >= asker.sources_min {
            votes
        } else {
            votes.into_iter().filter(|(source, _)| Some(*source) == own).collect()
        };
        let total: f32 = counting.iter().map(|(_, vote)| vote).sum();
        let weight: f32 = counting.iter().map(|(_, vote)| vote.abs()).sum();
        let ratings = counting.iter().filter_map(|(source, _)| tallies.get(source));
        let ratings = ratings.flat_map(|tally| tally.ratings.iter().copied()).collect();
        (total != 0.0).then(|| Opinion { value: total / (weight + DOUBT), ratings })
    }
}

/// How far each source agrees with the others, from 0 to 1. Who says the contrary of all others counts for nothing.
fn trust(entries: &[Entry], sources: usize) -> Vec<f32> {
    let mut trust = vec![TRUST_OF_STRANGERS; sources];
    for _ in 0..TRUST_ROUNDS {
        let mut compared = vec![(0.0_f32, 0.0_f32); sources];
        for entry in entries {
            for votes in votes_by_content(entry).values().filter(|votes| votes.len() > 1) {
                compare(votes, &trust, &mut compared);
            }
        }
        for (trust, (agreed, compared)) in trust.iter_mut().zip(compared) {
            let share = (agreed + PRIOR_AGREED) / (compared + PRIOR_COMPARED);
            *trust = (2.0 * share - 1.0).max(0.0);
        }
    }
    trust
}

/// The mean of what each source says of each content.
fn votes_by_content(entry: &Entry) -> BTreeMap<ContentKey, Vec<(u32, f32)>> {
    let mut sums: BTreeMap<(ContentKey, u32), (f32, f32)> = BTreeMap::new();
    for vote in &entry.votes {
        let (sum, count) = sums.entry((vote.content, vote.source)).or_default();
        *sum += vote.value;
        *count += 1.0;
    }
    let mut by_content: BTreeMap<ContentKey, Vec<(u32, f32)>> = BTreeMap::new();
    for ((content, source), (sum, count)) in sums {
        by_content.entry(content).or_default().push((source, sum / count));
    }
    by_content
}

/// Each source with all others.
fn compare(votes: &[(u32, f32)], trust: &[f32], compared: &mut [(f32, f32)]) {
    let trusted =
        |(source, vote): &(u32, f32)| trust.get(*source as usize).copied().unwrap_or(0.0) * vote;
    let total: f32 = votes.iter().map(trusted).sum();
    for vote in votes {
        let others = total - trusted(vote);
        let weight = others.abs().min(1.0) * vote.1.abs();
        if let Some((agreed, all)) = compared.get_mut(vote.0 as usize) {
            *all += weight;
            *agreed += if others * vote.1 > 0.0 { weight } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ContentHash;

    const DAY_MS: i64 = 86_400_000;
    const ASKER: Asker<'_> = Asker {
        viewer: None,
        besides: None,
        without: None,
        others: true,
        sources_min: 1,
        now_ms: 0,
    };

    fn key(number: u32) -> ContentKey {
        ContentKey::of(&ContentHash::of(&number.to_le_bytes()))
    }

    fn rated(query: &str, source: &str, says: &[(u32, f32)]) -> Arc<Rated> {
        let says = says.iter().map(|(number, value)| (key(*number), *value)).collect();
        let impression = format!("{query} by {source}").into();
        Arc::new(Rated { impression, query: query.into(), source: source.into(), says, at_ms: 0 })
    }

    /// "red" and "crimson" lie near each other; "orange" is not near enough, and "blue" is something else.
    fn index(ratings: &[Arc<Rated>]) -> Index {
        let words = [
            ("red", [1.0, 0.0, 0.0]),
            ("crimson", [0.95, 0.312, 0.0]),
            ("orange", [0.70, 0.714, 0.0]),
            ("blue", [0.0, 0.0, 1.0]),
        ];
        let query = |vector: [f32; 3], is_picture| RatedQuery { vector: vector.into(), is_picture };
        let mut queries: HashMap<Arc<str>, RatedQuery> =
            words.iter().map(|(word, vector)| (Arc::from(*word), query(*vector, false))).collect();
        queries.insert("picture:red".into(), query([1.0, 0.0, 0.0], true));
        Index::new(ratings, &queries, vec![0.0; 3], 100)
    }

    fn values(index: &Index, viewer: Option<&str>, sources_min: usize) -> HashMap<ContentKey, f32> {
        let asker = Asker { viewer, sources_min, ..ASKER };
        let learned = index.learn(&[1.0, 0.0, 0.0], false, asker).remembered;
        learned.into_iter().map(|(content, opinion)| (content, opinion.value)).collect()
    }

    #[test]
    fn one_source_counts_for_itself_and_two_that_agree_for_all() {
        let one = index(&[rated("red", "a", &[(1, 1.0), (2, -1.0)])]);
        assert!(values(&one, None, 2).is_empty() && values(&one, Some("b"), 2).is_empty());
        let own = values(&one, Some("a"), 2);
        assert!(own[&key(1)] > 0.4 && own[&key(2)] < -0.4, "{own:?}");
        assert_eq!(values(&one, None, 1).len(), 2, "the operator lets one be enough");
        let two =
            [rated("red", "a", &[(1, 1.0), (2, 1.0)]), rated("red", "b", &[(1, 1.0), (2, -1.0)])];
        let all = values(&index(&two), None, 2);
        assert_eq!(all.keys().collect::<Vec<_>>(), [&key(1)], "they do not agree on the other");
    }

    #[test]
    fn what_others_said_can_be_left_out_and_so_can_one_source() {
        let index =
            index(&[rated("red", "a", &[(1, 1.0)]), rated("red", "b", &[(1, 1.0), (2, 1.0)])]);
        let contents = |asker: Asker<'_>| {
            let learned = index.learn(&[1.0, 0.0, 0.0], false, asker).remembered;
            learned.into_keys().collect::<Vec<_>>()
        };
        let two = Asker { sources_min: 2, ..ASKER };
        assert_eq!(contents(two), [key(1)]);
        assert!(contents(Asker { without: Some("a"), ..two }).is_empty(), "b is alone then");
        assert!(contents(Asker { without: Some("a"), ..ASKER }).contains(&key(1)), "and enough");
        let own = Asker { others: false, ..two };
        assert!(contents(own).is_empty());
        assert_eq!(contents(Asker { viewer: Some("a"), ..own }), [key(1)]);
        assert_eq!(contents(Asker { viewer: Some("a"), others: false, ..ASKER }), [key(1)]);
    }

    #[test]
    fn many_ratings_of_one_source_are_one_vote() {
        let many: Vec<Arc<Rated>> = (0..50).map(|_| rated("red", "a", &[(1, 1.0)])).collect();
        assert!(values(&index(&many), None, 2).is_empty());
        let once = values(&index(&many[..1]), None, 1)[&key(1)];
        let often = values(&index(&many), None, 1)[&key(1)];
        assert!((once - often).abs() < 1e-6, "{once} {often}");
    }

    #[test]
    fn neighbours_count_by_how_near_they_are_and_others_do_not() {
        let near = values(&index(&[rated("crimson", "a", &[(1, 1.0)])]), None, 1)[&key(1)];
        let same = values(&index(&[rated("red", "a", &[(1, 1.0)])]), None, 1)[&key(1)];
        assert!(0.0 < near && near < same, "{near} {same}");
        for other in ["orange", "blue"] {
            assert!(values(&index(&[rated(other, "a", &[(1, 1.0)])]), None, 1).is_empty());
        }
        let picture = index(&[rated("picture:red", "a", &[(1, 1.0)])]);
        assert!(values(&picture, None, 1).is_empty(), "pictures teach pictures");
        let unknown = index(&[rated("never embedded", "a", &[(1, 1.0)])]);
        assert!(values(&unknown, None, 1).is_empty());
    }

    #[test]
    fn ratings_age() {
        let index = index(&[rated("red", "a", &[(1, 1.0)])]);
        let after = |days: i64| {
            let asker = Asker { now_ms: days * DAY_MS, ..ASKER };
            index.learn(&[1.0, 0.0, 0.0], false, asker).remembered[&key(1)].value
        };
        let (now, later) = (after(0), after(100));
        // Half of a vote against the same doubt.
        let vote = TRUST_OF_STRANGERS;
        assert!((now - vote / (vote + DOUBT)).abs() < 1e-5, "{now}");
        assert!((later - vote / 2.0 / (vote / 2.0 + DOUBT)).abs() < 1e-5, "{later}");
    }

    #[test]
    fn who_contradicts_everybody_is_not_believed() {
        let truth = [(1, 1.0), (2, 1.0), (3, -1.0), (4, -1.0)];
        let lies: Vec<(u32, f32)> = truth.iter().map(|(number, value)| (*number, -value)).collect();
        let mut ratings: Vec<Arc<Rated>> =
            ["a", "b", "c"].iter().map(|source| rated("red", source, &truth)).collect();
        ratings.push(rated("red", "liar", &lies));
        // The liar is alone with one that agrees about something else.
        ratings.push(rated("red", "liar", &[(9, 1.0)]));
        ratings.push(rated("red", "a", &[(9, -1.0)]));
        ratings.push(rated("red", "b", &[(9, -1.0)]));
        let index = index(&ratings);
        let liar = index.trust[index.sources["liar"] as usize];
        let honest = index.trust[index.sources["a"] as usize];
        assert!(liar < 0.35 && honest > 0.9, "{liar} {honest}");
        let all = values(&index, None, 2);
        assert!(all[&key(1)] > 0.6 && all[&key(3)] < -0.6 && all[&key(9)] < 0.0, "{all:?}");
    }

    #[test]
    fn scores_are_the_same_in_lanes() {
        let a: Vec<f32> = (0..19).map(|n| n as f32).collect();
        let plain: f32 = a.iter().map(|value| value * value).sum();
        assert!((dot(&a, &a) - plain).abs() < 1e-3);
    }
}
