//! Near-duplicates: copies that were resized or encoded again, and pictures taken in a row. Two contents are near if the
//! cosine of their vectors is at least what the model's description says (measured for the bundled one, docs/benchmarks.md).

mod sketch;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;
use uuid::Uuid;

use self::sketch::{Sketch, Sketcher};
use super::strength::dot;
use super::{Match, SearchError, Searcher};
use crate::serving::Answering;
use crate::types::ContentHash;
use crate::vector_store::{Collection, Point, StoreError, payload};

/// Contents read at a time.
const PAGE: usize = 1_000;
/// Pairs that may be near, compared at a time.
const PAIRS: usize = 8_192;
/// Coordinates that are added up before it is looked whether two vectors are too far apart already.
const STRIDE: usize = 32;

/// Which contents are near each other.
#[derive(Debug, Clone, Copy)]
pub struct Nearness {
    /// Longest squared distance of two vectors of length 1.
    distance_max: f32,
    cosine_min: f32,
}

impl Nearness {
    pub fn from_cosine(cosine_min: f32) -> Self {
        Self { distance_max: 2.0 - 2.0 * cosine_min, cosine_min }
    }

    /// Most vectors are far apart after a few coordinates.
    fn holds(self, a: &[f32], b: &[f32]) -> bool {
        let mut distance = 0.0;
        for (a, b) in a.chunks(STRIDE).zip(b.chunks(STRIDE)) {
            distance += a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
            if distance > self.distance_max {
                return false;
            }
        }
        // Near the bound the cosine decides, as everywhere else.
        dot(a, b) >= self.cosine_min
    }
}

impl Searcher {
    /// What counts as nearly the same picture for the model that answers.
    pub fn nearness(&self, serving: &Answering) -> Nearness {
        let configured = self.config.near_duplicate_cosine;
        let of_model = serving.located.traits.near_duplicate_cosine;
        Nearness::from_cosine(if configured > 0.0 { configured } else { of_model })
    }

    pub(super) async fn collapse(
        &self,
        serving: &Answering,
        matches: Vec<Match>,
    ) -> Result<Vec<Match>, SearchError> {
        collapse(serving, matches, self.nearness(serving), self.config.collapse_max).await
    }
}

/// Puts each of the first `most` matches behind the best one that it is near to.
async fn collapse(
    serving: &Answering,
    matches: Vec<Match>,
    nearness: Nearness,
    most: usize,
) -> Result<Vec<Match>, SearchError> {
    let id_of = |found: &Match| serving.embedder.id().point_id(&found.hash);
    let ids: Vec<Uuid> = matches.iter().take(most).map(id_of).collect();
    let points = serving.collection.get(&ids).await?;
    let vectors: HashMap<Uuid, Vec<f32>> =
        points.into_iter().map(|point| (point.id, point.vector)).collect();
    let mut kept: Vec<Match> = Vec::with_capacity(matches.len());
    let mut heads: Vec<(usize, &[f32])> = Vec::new();
    for found in matches {
        let vector = vectors.get(&id_of(&found)).map(Vec::as_slice);
        let is_near =
            |head: &&(usize, &[f32])| vector.is_some_and(|vector| nearness.holds(head.1, vector));
        match heads.iter().find(is_near) {
            Some((head, _)) => kept[*head].near_duplicates.push(found),
            None => {
                heads.extend(vector.map(|vector| (kept.len(), vector)));
                kept.push(found);
            }
        }
    }
    Ok(kept)
}

/// How far a walk over all contents is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupProgress {
    pub total: u64,
    pub done: u64,
}

/// All groups of contents that are near each other. Within a group every content is near another one, not necessarily all
/// others. Reads every vector once, and those that may be near once more, `at_once` pages side by side; takes about 90 bytes of
/// memory for each content.
pub async fn groups(
    collection: &dyn Collection,
    nearness: Nearness,
    at_once: usize,
    progress: &mut (dyn FnMut(GroupProgress) + Send),
) -> Result<Vec<Vec<ContentHash>>, StoreError> {
    let all = Arc::new(read_all(collection, nearness, progress).await?);
    let mut groups = Groups::of(all.ids.len());
    let (pairs, mut found) = mpsc::channel(1);
    let sketches = all.clone();
    let looking = tokio::task::spawn_blocking(move || look_for_pairs(&sketches, &pairs));
    while let Some(mut pairs) = found.recv().await {
        pairs.retain(|(a, b)| groups.root(*a) != groups.root(*b));
        for (a, b) in near(collection, &all.ids, pairs, nearness, at_once).await? {
            groups.join(a, b);
        }
    }
    looking.await.map_err(|error| StoreError::Internal(error.to_string()))?;
    Ok(groups.into_sorted(&all.hashes))
}

/// What is kept of all contents, in the order of their ids.
#[derive(Default)]
struct Contents {
    ids: Vec<Uuid>,
    hashes: Vec<ContentHash>,
    sketches: Vec<Sketch>,
}

async fn read_all(
    collection: &dyn Collection,
    nearness: Nearness,
    progress: &mut (dyn FnMut(GroupProgress) + Send),
) -> Result<Contents, StoreError> {
    let mut state = GroupProgress { total: collection.count(None).await?, done: 0 };
    let (mut all, mut after, mut sketcher) = (Contents::default(), None, None);
    loop {
        progress(state);
        let page = collection.scroll(after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(all) };
        (after, state.done) = (Some(last.id), state.done + page.len() as u64);
        let known = page.into_iter().filter_map(|point| {
            Some((payload::content_hash(&point.payload)?, point.id, point.vector))
        });
        let mut vectors = Vec::with_capacity(PAGE);
        for (hash, id, vector) in known {
            all.hashes.push(hash);
            all.ids.push(id);
            vectors.push(vector);
        }
        // Ids come from hashes, so any page is a random sample.
        let make = sketcher
            .get_or_insert_with(|| Arc::new(Sketcher::new(&vectors, nearness.distance_max)))
            .clone();
        let sketches = tokio::task::spawn_blocking(move || {
            vectors.iter().map(|vector| make.sketch(vector)).collect::<Vec<_>>()
        });
        all.sketches
            .extend(sketches.await.map_err(|error| StoreError::Internal(error.to_string()))?);
    }
}

type Pair = (u32, u32);

/// Sends pairs that may be near, until nobody takes them any more.
fn look_for_pairs(all: &Contents, to: &mpsc::Sender<Vec<Pair>>) {
    let mut pairs = Vec::with_capacity(PAIRS);
    let ended = sketch::candidates(&all.sketches, |a, b| {
        pairs.push((a, b));
        if pairs.len() < PAIRS {
            return ControlFlow::Continue(());
        }
        match to.blocking_send(std::mem::replace(&mut pairs, Vec::with_capacity(PAIRS))) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
    if ended.is_continue() {
        let _ = to.blocking_send(pairs);
    }
}

/// Those of the pairs that really are near. Vectors that went meanwhile are near to nothing.
async fn near(
    collection: &dyn Collection,
    ids: &[Uuid],
    mut pairs: Vec<Pair>,
    nearness: Nearness,
    at_once: usize,
) -> Result<Vec<Pair>, StoreError> {
    let mut places: Vec<u32> = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
    places.sort_unstable();
    places.dedup();
    let wanted: Vec<Uuid> = places.iter().map(|place| ids[*place as usize]).collect();
    let pages = stream::iter(wanted.chunks(PAGE).map(|page| collection.get(page)));
    let pages: Vec<Vec<Point>> = pages.buffer_unordered(at_once.max(1)).try_collect().await?;
    let vectors: HashMap<Uuid, Vec<f32>> =
        pages.into_iter().flatten().map(|point| (point.id, point.vector)).collect();
    let vector = |place: u32| vectors.get(&ids[place as usize]);
    pairs.retain(|(a, b)| vector(*a).zip(vector(*b)).is_some_and(|(a, b)| nearness.holds(a, b)));
    Ok(pairs)
}

/// Contents that hang together.
struct Groups {
    /// Each content's predecessor towards the one that stands for its group, which is its own.
    parents: Vec<u32>,
}

impl Groups {
    fn of(count: usize) -> Self {
        Self { parents: (0..count as u32).collect() }
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        self.parents[a.max(b) as usize] = a.min(b);
    }

    fn root(&mut self, mut place: u32) -> u32 {
        while self.parents[place as usize] != place {
            let parent = self.parents[place as usize];
            self.parents[place as usize] = self.parents[parent as usize];
            place = self.parents[place as usize];
        }
        place
    }

    /// Those of more than one, in an order that depends on the contents alone.
    fn into_sorted(mut self, hashes: &[ContentHash]) -> Vec<Vec<ContentHash>> {
        let mut groups: HashMap<u32, Vec<ContentHash>> = HashMap::new();
        for place in 0..self.parents.len() as u32 {
            let root = self.root(place);
            if root != place {
                let first = hashes[root as usize];
                groups.entry(root).or_insert_with(|| vec![first]).push(hashes[place as usize]);
            }
        }
        let mut groups: Vec<Vec<ContentHash>> = groups.into_values().collect();
        for group in &mut groups {
            group.sort_unstable_by_key(|hash| *hash.as_bytes());
        }
        groups.sort_unstable_by_key(|group| group.first().map(|hash| *hash.as_bytes()));
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ModelId;
    use crate::vector_store::embedded::EmbeddedStore;
    use crate::vector_store::{CollectionSpec, VectorStore};

    #[test]
    fn near_is_what_the_cosine_says_whatever_the_length() {
        let nearness = Nearness::from_cosine(0.97);
        for length in [2_usize, 31, 32, 33, 512] {
            let vector = |angle: f32| {
                let mut vector = vec![0.0; length];
                (vector[0], vector[length - 1]) = (angle.cos(), angle.sin());
                vector
            };
            let bound = 0.97_f32.acos();
            assert!(nearness.holds(&vector(0.3), &vector(0.3 + bound * 0.99)), "{length}");
            assert!(!nearness.holds(&vector(0.3), &vector(0.3 + bound * 1.01)), "{length}");
        }
    }

    #[test]
    fn groups_hang_together_through_their_members() {
        let hash = |number: u8| ContentHash::of(&[number]);
        let hashes: Vec<ContentHash> = (0..10).map(hash).collect();
        let mut groups = Groups::of(hashes.len());
        for (a, b) in [(1, 2), (3, 4), (2, 3), (7, 8), (4, 1)] {
            groups.join(a, b);
        }
        let groups = groups.into_sorted(&hashes);
        let expected = [vec![1, 2, 3, 4], vec![7, 8]]
            .map(|group| group.into_iter().map(hash).collect::<std::collections::BTreeSet<_>>());
        assert_eq!(groups.len(), 2);
        for group in groups {
            assert!(expected.contains(&group.into_iter().collect()));
        }
    }

    /// Vectors around 500 centres; every tenth one has a copy that differs a little.
    fn point(number: u64, model: &ModelId) -> Point {
        let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let noise = |seed: &mut u64| {
            *seed ^= *seed << 13;
            *seed ^= *seed >> 7;
            *seed ^= *seed << 17;
            (*seed >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
        };
        let is_copy = number % 10 == 1;
        let original = if is_copy { number - 1 } else { number };
        let mut centre = (original % 500 + 1).wrapping_mul(0x2545_F491_4F6C_DD1D);
        let mut own = (original + 1).wrapping_mul(0xD134_2543_DE82_EF95);
        let spread = if is_copy { 0.1 } else { 0.0 };
        let mut vector: Vec<f32> = (0..512)
            .map(|_| noise(&mut centre) + noise(&mut own) + spread * noise(&mut state))
            .collect();
        let length = dot(&vector, &vector).sqrt();
        for value in &mut vector {
            *value /= length;
        }
        let hash = ContentHash::of(&number.to_le_bytes());
        Point {
            id: model.point_id(&hash),
            vector,
            payload: payload::of_picture(&hash, "png", 1, 1),
        }
    }

    /// `COUNT=100000 cargo test --lib groups_of_a_large_library -- --ignored --nocapture`
    #[tokio::test(flavor = "multi_thread")]
    #[expect(clippy::print_stdout, reason = "it prints its figures")]
    #[ignore = "takes minutes, and prints how many"]
    async fn groups_of_a_large_library() {
        let count: u64 =
            std::env::var("COUNT").map_or(100_000, |count| count.parse().expect("a number"));
        let dir = tempfile::tempdir().expect("temp");
        let options = crate::config::built_in().vector_store.embedded;
        let store = EmbeddedStore::open(dir.path(), options).expect("opened");
        let spec = CollectionSpec::of_pictures("many".to_owned(), 512);
        let collection = store.open(&spec).await.expect("opened");
        let model = ModelId { name: "many".into(), revision: "1".into() };
        for start in (0..count).step_by(1000) {
            let points = (start..(start + 1000).min(count)).map(|number| point(number, &model));
            collection.upsert(points.collect()).await.expect("stored");
        }
        let started = std::time::Instant::now();
        let found = groups(&*collection, Nearness::from_cosine(0.97), 2, &mut |_| {}).await;
        let found = found.expect("found");
        let (expected, seconds) = (count / 10, started.elapsed().as_secs_f64());
        println!("{count} vectors: {} of {expected} groups in {seconds:.1} s", found.len());
        assert!(
            found.len() as u64 >= expected * 97 / 100 && found.iter().all(|group| group.len() == 2)
        );
    }
}
