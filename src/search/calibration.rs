//! What scores mean in the collection that answers: a sample of it, and what texts without meaning find in it. Made at the
//! first question that needs it, in under a second or two, and again, beside the searches, when the library has changed much.
//! The sample is not written down: ids of vectors are hashes, so the first ones are a fair sample and always the same. What the
//! model makes of texts without meaning is, since it takes it seconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::asked::{Asked, MadeOf, embed_own_words};
use super::kept_vectors::{KeptVectors, made_of};
use super::strength::{Best, Heights, Sample, Scores, Spread};
use super::{Found, SearchError, Searcher, Wants, nonsense};
use crate::embedder::EmbedError;
use crate::serving::Answering;
use crate::vector_store::{Effort, ScoredPoint, SearchQuery};

/// Texts without meaning that are searched for.
const NONSENSE_TEXTS: usize = 128;
const NONSENSE_SEED: u64 = 2026;
/// How often the size of the library is looked at; sooner while it is too small to say anything.
const LOOK: Duration = Duration::from_secs(10);
const LOOK_WHILE_SMALL: Duration = Duration::from_millis(500);
/// It is made again when so many per cent of the pictures came or went.
const CHANGED_PERCENT: u64 = 20;

/// The calibration of the collection that answers, kept fresh.
#[derive(Clone)]
pub(super) struct Calibrations {
    sample_max: usize,
    kept_vectors: KeptVectors,
    slot: Arc<Slot>,
}

#[derive(Default)]
struct Slot {
    kept: Mutex<Option<Kept>>,
    /// Held by whoever makes one.
    making: tokio::sync::Mutex<()>,
}

struct Kept {
    calibration: Arc<Calibration>,
    looked: Instant,
}

/// What scores mean in one collection.
pub(super) struct Calibration {
    collection: String,
    pictures: u64,
    pub(super) sample: Sample,
    /// Vectors of the texts without meaning; they depend on the model alone.
    nonsense: Arc<Vec<Vec<f32>>>,
    for_texts: Option<Heights>,
    for_pictures: Option<Heights>,
}

impl Calibrations {
    pub(super) fn new(sample_max: usize, kept_vectors: KeptVectors) -> Self {
        Self { sample_max, kept_vectors, slot: Arc::default() }
    }

    /// The calibration of what answers, made if there is none.
    pub(super) async fn of(&self, serving: &Answering) -> Result<Arc<Calibration>, SearchError> {
        if let Some(known) = self.known(serving) {
            return Ok(known);
        }
        // A search that runs out of time must not take what was learnt so far with it.
        let (this, serving) = (self.clone(), serving.clone());
        let making = tokio::spawn(async move {
            let _making = this.slot.making.lock().await;
            match this.known(&serving) {
                Some(known) => Ok(known),
                None => this.look(&serving).await,
            }
        });
        making.await.unwrap_or(Err(SearchError::Embed(EmbedError::Stopped)))
    }

    /// What is kept, if it may be used. If it is time to look whether it is still right, that is done beside the search.
    fn known(&self, serving: &Answering) -> Option<Arc<Calibration>> {
        let mut kept = self.slot.kept.lock();
        let kept = kept.as_mut().filter(|kept| kept.calibration.is_of(serving))?;
        let is_small = kept.calibration.for_texts.is_none();
        let is_due = kept.looked.elapsed() > if is_small { LOOK_WHILE_SMALL } else { LOOK };
        if is_due && is_small {
            return None;
        }
        if is_due {
            kept.looked = Instant::now();
            let (this, serving) = (self.clone(), serving.clone());
            tokio::spawn(async move {
                let Ok(_making) = this.slot.making.try_lock() else { return };
                if let Err(error) = this.look(&serving).await {
                    tracing::debug!(%error, "could not look again what scores mean");
                }
            });
        }
        Some(kept.calibration.clone())
    }

    /// Makes it, unless what is kept is still right.
    async fn look(&self, serving: &Answering) -> Result<Arc<Calibration>, SearchError> {
        let pictures = serving.collection.count(None).await?;
        let former = self.slot.kept.lock().as_ref().map(|kept| kept.calibration.clone());
        let former = former.filter(|former| former.is_of(serving));
        let calibration = match former {
            Some(former) if former.fits(pictures) => former,
            former => {
                let nonsense = former.map(|former| former.nonsense.clone());
                Arc::new(self.make(serving, pictures, nonsense).await?)
            }
        };
        let kept = Kept { calibration: calibration.clone(), looked: Instant::now() };
        *self.slot.kept.lock() = Some(kept);
        Ok(calibration)
    }

    async fn make(
        &self,
        serving: &Answering,
        pictures: u64,
        nonsense: Option<Arc<Vec<Vec<f32>>>>,
    ) -> Result<Calibration, SearchError> {
        let collection = &serving.collection;
        let points = collection.scroll(None, self.sample_max).await?;
        let sample =
            Sample::new(points.into_iter().map(|point| point.vector), collection.spec().dim);
        let mut calibration = Calibration {
            collection: collection.spec().name.clone(),
            pictures,
            sample,
            nonsense: nonsense.unwrap_or_default(),
            for_texts: None,
            for_pictures: None,
        };
        if calibration.sample.is_enough() {
            if calibration.nonsense.is_empty() {
                calibration.nonsense = Arc::new(self.nonsense(serving).await?);
            }
            calibration.for_texts = calibration.beyond_nonsense(serving).await?;
            calibration.for_pictures = calibration.sample.heights_of_pictures();
            tracing::debug!(pictures, "what scores mean is known");
        }
        Ok(calibration)
    }

    /// Vectors of texts without meaning: those that were kept, or else of the model, which takes them one by one, so that no
    /// search waits behind them.
    async fn nonsense(&self, serving: &Answering) -> Result<Vec<Vec<f32>>, SearchError> {
        let texts = nonsense::texts(NONSENSE_SEED, NONSENSE_TEXTS);
        let made_of = made_of(serving, &texts);
        let dim = serving.embedder.info().dim;
        let kept = self.kept_vectors.load(&made_of, texts.len(), dim);
        if let Some(vectors) = kept.filter(|kept| kept.len() == texts.len()) {
            return Ok(vectors);
        }
        let mut vectors = Vec::with_capacity(texts.len());
        for text in &texts {
            vectors.push(embed_own_words(serving, text).await?);
        }
        if let Err(error) = self.kept_vectors.keep(&made_of, &vectors) {
            tracing::debug!(%error, "could not keep what scores mean for the next start");
        }
        Ok(vectors)
    }
}

impl Calibration {
    async fn beyond_nonsense(&self, serving: &Answering) -> Result<Option<Heights>, SearchError> {
        let mut best = Vec::with_capacity(self.nonsense.len());
        for vector in &*self.nonsense {
            let query = SearchQuery {
                vector: vector.clone(),
                limit: 1,
                filter: None,
                effort: Effort::Usual,
            };
            let found = serving.collection.search(query).await?;
            let spread = self.sample.spread(vector);
            let best_of = |(spread, hit): (Spread, &ScoredPoint)| Best {
                height: spread.height(hit.score),
                score: hit.score,
            };
            best.extend(spread.zip(found.first()).map(best_of));
        }
        Ok(Heights::beyond_nonsense(&best))
    }

    fn is_of(&self, serving: &Answering) -> bool {
        self.collection == serving.collection.spec().name
    }

    fn fits(&self, pictures: u64) -> bool {
        let change = self.pictures.abs_diff(pictures);
        change == 0 || (self.for_texts.is_some() && change * 100 < self.pictures * CHANGED_PERCENT)
    }

    /// What the scores of a query are like here; `None` while there are too few pictures to say.
    pub(super) fn spread(&self, vector: &[f32]) -> Option<Spread> {
        self.sample.spread(vector)
    }

    /// From which scores on matches of a query are fair and strong; `best`: its best scores, best first.
    pub(super) fn judge(&self, made_of: MadeOf, vector: &[f32], best: &[f32]) -> Option<Scores> {
        let heights = match made_of {
            MadeOf::Words => self.for_texts,
            MadeOf::Picture => self.for_pictures,
        };
        Some(heights?.judge(self.spread(vector)?, best))
    }
}

impl Searcher {
    /// Says how strong each match is; returns how many there are in all that are strong.
    pub(super) async fn judge(
        &self,
        serving: &Answering,
        asked: &Asked,
        wants: &Wants,
        found: &mut Found,
    ) -> Result<Option<u32>, SearchError> {
        let calibration = self.calibrations.of(serving).await?;
        let judged = |best: &[f32]| calibration.judge(asked.made_of, &asked.vector, best);
        let mut best = found.ranking.best_scores();
        let Some(mut scores) = judged(&best) else { return Ok(None) };
        let most = self.config.strong_total_max;
        let all_strong = best.last().is_some_and(|last| *last >= scores.strong);
        if all_strong && !found.ranking.is_all && best.len() < most {
            best = self.rank(serving, &asked.vector, wants, most).await?.best_scores();
            scores = judged(&best).unwrap_or(scores);
        }
        for found in &mut found.matches {
            found.strength = Some(scores.strength(found.score));
            for near in &mut found.near_duplicates {
                near.strength = Some(scores.strength(near.score));
            }
        }
        let strong = best.iter().filter(|score| **score >= scores.strong).count();
        Ok(Some(strong.min(most) as u32))
    }
}
