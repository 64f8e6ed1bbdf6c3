//! Searches learn from ratings: what was rated under a query, and under others near it, moves up or down. The ratings are kept
//! in memory as an index of rated queries, which follows the catalog, so that other processes' ratings count here too. See
//! docs/learning.md for what was tried and measured, and decision 25.

mod gate;
mod index;
mod learned;
mod trial;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

pub use self::gate::{JudgedLearning, LearningVersion, LearnsFrom, decide_by_hand};
pub(super) use self::index::Rated;
use self::index::{Asker, Index, RatedQuery};
pub(super) use self::learned::{ContentKey, Learned, REORDERED_MAX};
use super::asked::{Asked, MadeOf, embed_words};
use super::{Query, SearchError, Searcher, nonsense};
use crate::catalog::{Catalog, Forgotten, MemoryState, RememberedRating, Thumb};
use crate::config::LearningConfig;
use crate::serving::Answering;
use crate::types::{ContentHash, ImageName, ModelId, now_ms};

/// A rating of the whole list says so much of its first picture, against a thumb, …
const LIST_WEIGHT: f32 = 0.5;
/// … and of the others as likely as they were looked at: place to the power of this (position bias, arXiv 1608.04468).
const ATTENTION: f32 = -0.6;
/// The middle of 1 to 10, and how far the ends are from it.
const RATING_MIDDLE: f32 = 5.5;
const RATING_REACH: f32 = 4.5;
const PAGE: u32 = 500;
/// Ratings come in bursts; they are taken in together.
const GATHER: Duration = Duration::from_millis(200);
/// How often it is looked whether something is too old to be kept.
const RETENTION_LOOK: Duration = Duration::from_hours(1);
/// Texts whose middle is the middle of all texts.
const MIDDLE_TEXTS: usize = 64;
const MIDDLE_SEED: u64 = 7;
const PICTURE: &str = "picture:";

/// See the head of this file.
pub(super) struct Memory {
    config: LearningConfig,
    /// What answers learn from; of one model.
    index: RwLock<Option<Arc<Indexed>>>,
    /// Somebody rated here.
    rated: Notify,
    /// What was decided of it last.
    version: RwLock<LearningVersion>,
    /// What was read of the catalog so far.
    kept: tokio::sync::Mutex<Kept>,
    /// When old ratings were last looked for.
    last_look: Mutex<Option<std::time::Instant>>,
}

struct Indexed {
    model: ModelId,
    index: Index,
}

/// Who asks, and after which answer.
#[derive(Clone, Copy)]
struct Viewer<'a> {
    pseudonym: Option<&'a str>,
    /// Id of the impression whose thumbs count as those of this session.
    refines: Option<&'a str>,
    /// Whether what others said counts.
    others: bool,
}

#[derive(Default)]
struct Kept {
    state: MemoryState,
    model: Option<ModelId>,
    /// By the number of their change, so that the oldest can be dropped.
    ratings: BTreeMap<i64, Arc<Rated>>,
    /// Where an impression's rating is.
    changes: HashMap<String, i64>,
    queries: HashMap<Arc<str>, RatedQuery>,
    /// Queries that this model has no vector for.
    hopeless: HashSet<Arc<str>>,
    middle_of_words: Vec<f32>,
}

/// Whether a search learns, for whom, and from which answer before.
#[derive(Debug, Clone, PartialEq)]
pub struct Learning {
    pub enabled: bool,
    /// Pseudonym of who asks: what they said themselves counts for them at once.
    pub viewer: Option<String>,
    /// The token of the answer before, whose thumbs count first of all.
    pub refine: Option<String>,
}

impl Default for Learning {
    fn default() -> Self {
        Self { enabled: true, viewer: None, refine: None }
    }
}

impl Memory {
    pub(super) fn new(config: LearningConfig) -> Self {
        Self {
            version: RwLock::new(LearningVersion::of(&[], "", config.sources_min == 1)),
            config,
            index: RwLock::default(),
            rated: Notify::new(),
            kept: tokio::sync::Mutex::default(),
            last_look: Mutex::default(),
        }
    }

    pub(super) fn config(&self) -> &LearningConfig {
        &self.config
    }

    /// What a query learns of what is remembered, besides the rating of the answer that is refined.
    fn recall(&self, model: &ModelId, asked: &Asked, who: Viewer<'_>) -> Learned {
        let indexed = self.index.read().clone();
        let Some(indexed) = indexed.filter(|indexed| indexed.model == *model) else {
            return Learned::default();
        };
        let asker = Asker {
            viewer: who.pseudonym,
            besides: who.refines,
            without: None,
            others: who.others,
            sources_min: self.config.sources_min,
            now_ms: now_ms(),
        };
        indexed.index.learn(&asked.vector, asked.made_of == MadeOf::Picture, asker)
    }
}

impl Searcher {
    /// What this search may learn; nothing if it is not to, or if there is nothing.
    pub(super) async fn learn(
        &self,
        serving: &Answering,
        asked: &Asked,
        learning: &Learning,
    ) -> Result<Learned, SearchError> {
        let mut learned = Learned::default();
        let verify = |token: &String| self.tokens.verify(token).map_err(SearchError::Refine);
        let refined = learning.refine.as_ref().map(verify).transpose()?;
        let from = self.learns_from();
        if learning.enabled && from != LearnsFrom::Nothing {
            let refines = refined.as_ref().map(|impression| impression.id.as_str());
            let pseudonym = learning.viewer.as_deref();
            let who = Viewer { pseudonym, refines, others: from == LearnsFrom::All };
            learned = self.memory.recall(serving.embedder.id(), asked, who);
        }
        if let Some(impression) = refined {
            let rating = self.catalog.remembered_rating(&impression.id).await?;
            let thumbs = rating.and_then(|rating| rating.thumbs).unwrap_or_default();
            let of_session = |thumb: &Thumb| (ContentKey::of(&thumb.hash), thumb.relevant);
            learned.session = thumbs.iter().map(of_session).collect();
        }
        Ok(learned)
    }

    /// Somebody rated: what is remembered is brought up to date soon.
    pub fn note_rating(&self) {
        self.memory.rated.notify_one();
    }

    /// Keeps what is remembered up to date, and forgets what is too old; for as long as it is polled.
    pub async fn follow_ratings(&self) {
        let interval = Duration::from_millis(self.memory.config.refresh_interval_ms);
        let mut states = self.serving.clone();
        loop {
            states.mark_unchanged();
            if let Err(error) = self.forget_old_ratings().await {
                tracing::warn!(%error, "cannot forget ratings that are older than learning.forget_after_days");
            }
            if let Err(error) = self.recall_ratings().await {
                tracing::debug!(%error, "cannot bring up to date what was learned from ratings");
            }
            if let Err(error) = self.follow_learning_gate().await {
                tracing::debug!(%error, "cannot measure whether learning from ratings helps");
            }
            tokio::select! {
                () = self.memory.rated.notified() => tokio::time::sleep(GATHER).await,
                () = tokio::time::sleep(interval) => {}
                changed = states.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn forget_old_ratings(&self) -> Result<(), SearchError> {
        let days = self.memory.config.forget_after_days;
        let is_due = |last: &Option<std::time::Instant>| {
            last.is_none_or(|last| last.elapsed() >= RETENTION_LOOK)
        };
        if days == 0 || !is_due(&self.memory.last_look.lock()) {
            return Ok(());
        }
        let before_ms = now_ms() - i64::from(days) * 86_400_000;
        let forgotten = self.catalog.forget_ratings(&Forgotten::Before(before_ms)).await?;
        if forgotten > 0 {
            tracing::info!(forgotten, days, "ratings were forgotten for their age");
        }
        *self.memory.last_look.lock() = Some(std::time::Instant::now());
        Ok(())
    }

    /// Brings what is remembered up to date, if a model answers.
    pub async fn recall_ratings(&self) -> Result<(), SearchError> {
        let answering = self.serving.borrow().answering().cloned();
        let Some(serving) = answering.filter(|_| self.memory.config.enabled) else {
            return Ok(());
        };
        let model = serving.embedder.id();
        let mut kept = self.memory.kept.lock().await;
        let state = self.catalog.memory_state().await?;
        let is_same_model = kept.model.as_ref() == Some(model);
        if kept.state == state && is_same_model {
            return Ok(());
        }
        if !is_same_model {
            let fresh = Kept { model: Some(model.clone()), ..Kept::default() };
            *kept = fresh;
        }
        if kept.state.forgotten != state.forgotten {
            kept.ratings.clear();
            kept.changes.clear();
            kept.state = MemoryState { change: 0, forgotten: state.forgotten };
        }
        self.read_ratings(&mut kept, state).await?;
        self.find_vectors(&serving, &mut kept).await?;
        kept.state = state;
        let ratings: Vec<Arc<Rated>> = kept.ratings.values().cloned().collect();
        let (queries, middle) = (kept.queries.clone(), kept.middle_of_words.clone());
        let half_life_days = self.memory.config.half_life_days;
        let count = ratings.len();
        let index = tokio::task::spawn_blocking(move || {
            Index::new(&ratings, &queries, middle, half_life_days)
        });
        // It only fails if the program is about to end.
        let Ok(index) = index.await else { return Ok(()) };
        let indexed = (count > 0).then(|| Arc::new(Indexed { model: model.clone(), index }));
        *self.memory.index.write() = indexed;
        self.metrics.remembered_ratings.set(count as i64);
        Ok(())
    }

    /// The newest `learning.ratings_max`.
    async fn read_ratings(&self, kept: &mut Kept, state: MemoryState) -> Result<(), SearchError> {
        let most = self.memory.config.ratings_max;
        // Every rating has its own number, so no more than that many lie behind it.
        let mut after = kept.state.change.max(state.change.saturating_sub(most as i64));
        loop {
            let page = self.catalog.remembered(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.change;
            for rating in page {
                let rated = self.as_rated(&rating).await?;
                let id = rating.row.impression.id;
                if let Some(before) = kept.changes.insert(id, rating.change) {
                    kept.ratings.remove(&before);
                }
                kept.ratings.insert(rating.change, Arc::new(rated));
            }
            while kept.ratings.len() > most {
                kept.ratings.pop_first();
            }
            if kept.changes.len() > 2 * most {
                let oldest = kept.ratings.first_key_value().map_or(0, |(change, _)| *change);
                kept.changes.retain(|_, change| *change >= oldest);
            }
        }
    }

    async fn as_rated(&self, rating: &RememberedRating) -> Result<Rated, SearchError> {
        let thumbs = match &rating.thumbs {
            Some(thumbs) => thumbs.clone(),
            // Rated before contents were noted: whatever has those names now, if it was among the results.
            None => contents_of(&*self.catalog, rating).await?,
        };
        Ok(Rated {
            impression: rating.row.impression.id.as_str().into(),
            query: rating.row.impression.query.as_str().into(),
            source: rating.rater.as_str().into(),
            says: says(rating, &thumbs),
            at_ms: rating.row.updated_ms,
        })
    }

    /// Vectors of the queries that were rated last; those that are not known yet are computed and kept.
    async fn find_vectors(&self, serving: &Answering, kept: &mut Kept) -> Result<(), SearchError> {
        let most = self.memory.config.queries_max;
        let mut wanted: HashSet<Arc<str>> = HashSet::new();
        for rated in kept.ratings.values().rev() {
            if wanted.len() >= most {
                break;
            }
            if !kept.hopeless.contains(&rated.query) {
                wanted.insert(rated.query.clone());
            }
        }
        kept.queries.retain(|query, _| wanted.contains(query));
        if kept.hopeless.len() > most {
            kept.hopeless.clear();
        }
        wanted.retain(|query| !kept.queries.contains_key(query));
        if wanted.is_empty() {
            return Ok(());
        }
        if kept.middle_of_words.is_empty() {
            kept.middle_of_words = middle_of_words(serving).await?;
        }
        let wanted: Vec<Arc<str>> = wanted.into_iter().collect();
        for piece in wanted.chunks(PAGE as usize) {
            self.find_some_vectors(serving, kept, piece).await?;
        }
        Ok(())
    }

    async fn find_some_vectors(
        &self,
        serving: &Answering,
        kept: &mut Kept,
        queries: &[Arc<str>],
    ) -> Result<(), SearchError> {
        let mut found = self.query_vectors(serving, queries).await?;
        for query in queries {
            match found.remove(query) {
                Some(vector) => {
                    let is_picture = query.starts_with(PICTURE);
                    kept.queries
                        .insert(query.clone(), RatedQuery { vector: vector.into(), is_picture });
                }
                None => {
                    kept.hopeless.insert(query.clone());
                }
            }
        }
        Ok(())
    }

    /// Vectors of queries in a model, as far as tokens name enough of them; those that are not known yet are computed and kept.
    pub(super) async fn query_vectors(
        &self,
        serving: &Answering,
        queries: &[Arc<str>],
    ) -> Result<HashMap<Arc<str>, Vec<f32>>, SearchError> {
        let model = serving.embedder.id().to_string();
        let texts: Vec<String> = queries.iter().map(ToString::to_string).collect();
        let mut known = self.catalog.query_vectors(&model, &texts).await?;
        let (mut computed, mut found) = (Vec::new(), HashMap::new());
        for query in queries {
            let vector = match known.remove(&**query) {
                Some(vector) => Some(vector),
                None => {
                    let vector = self.vector_of(serving, query).await?;
                    computed.extend(vector.clone().map(|vector| (query.to_string(), vector)));
                    vector
                }
            };
            let is_ours = |vector: &Vec<f32>| vector.len() == serving.embedder.info().dim;
            found.extend(vector.filter(is_ours).map(|vector| (query.clone(), vector)));
        }
        if !computed.is_empty() {
            self.catalog.keep_query_vectors(&model, &computed).await?;
        }
        Ok(found)
    }

    /// The newest ratings, oldest first, and the number of the last change.
    pub(super) async fn newest_ratings(&self) -> Result<(Vec<Arc<Rated>>, i64), SearchError> {
        let (state, mut kept) = (self.catalog.memory_state().await?, Kept::default());
        self.read_ratings(&mut kept, state).await?;
        Ok((kept.ratings.into_values().collect(), state.change))
    }

    /// The vector of a query that a token names; `None` if it names too little of it.
    async fn vector_of(
        &self,
        serving: &Answering,
        query: &str,
    ) -> Result<Option<Vec<f32>>, SearchError> {
        if let Some(hash) = query.strip_prefix(PICTURE) {
            let Ok(hash) = hash.parse::<ContentHash>() else { return Ok(None) };
            let found = serving.collection.get(&[serving.embedder.id().point_id(&hash)]).await?;
            return Ok(found.into_iter().next().map(|point| point.vector));
        }
        // Of several parts the token has names, but not all that they were.
        if query.contains(PICTURE) || query.contains("; ") {
            return Ok(None);
        }
        match self.ask(serving, Query::Text(query.to_owned())).await {
            Ok(asked) => Ok(Some(asked.vector)),
            Err(SearchError::CancelsOut | SearchError::TooManyParts { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What a rating says of each content: thumbs where there are any, and otherwise a little of what was said of the whole list.
fn says(rating: &RememberedRating, thumbs: &[Thumb]) -> Vec<(ContentKey, f32)> {
    let thumbs: HashMap<ContentKey, bool> =
        thumbs.iter().map(|thumb| (ContentKey::of(&thumb.hash), thumb.relevant)).collect();
    let of_list = rating
        .row
        .rating
        .value
        .map(|value| LIST_WEIGHT * (f32::from(value) - RATING_MIDDLE) / RATING_REACH);
    let results = rating.row.impression.results.iter().enumerate();
    let said = results.filter_map(|(place, result)| {
        let content = ContentKey::parse(&result.hash_prefix)?;
        let thumb = thumbs.get(&content).map(|relevant| if *relevant { 1.0 } else { -1.0 });
        let listed = || of_list.map(|value| value * ((place + 1) as f32).powf(ATTENTION));
        Some((content, thumb.or_else(listed)?))
    });
    said.collect()
}

/// The contents that the names of a rating stand for now.
async fn contents_of(
    catalog: &dyn Catalog,
    rating: &RememberedRating,
) -> Result<Vec<Thumb>, SearchError> {
    let mut thumbs = Vec::new();
    for rated in &rating.row.rating.images {
        let Ok(name) = ImageName::new(rated.image_name.clone()) else { continue };
        let image = catalog.image(&name).await?;
        let hash = image.and_then(|image| image.hash);
        thumbs.extend(hash.map(|hash| Thumb { hash, relevant: rated.relevant }));
    }
    Ok(thumbs)
}

/// Models put all texts into one corner; this is where.
async fn middle_of_words(serving: &Answering) -> Result<Vec<f32>, SearchError> {
    let mut middle = vec![0.0_f32; serving.embedder.info().dim];
    for text in nonsense::texts(MIDDLE_SEED, MIDDLE_TEXTS) {
        for (sum, value) in middle.iter_mut().zip(embed_words(serving, &text).await?) {
            *sum += value / MIDDLE_TEXTS as f32;
        }
    }
    Ok(middle)
}

#[cfg(test)]
mod tests;
