//! Which words of the list find something in this library. It is asked when somebody types or looks for something to try: a
//! search each, for some dozens of words at most, and what they found is remembered for minutes. In a library that is too
//! small to say what a score is worth, a word is held if it is among the nearest to some picture.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::super::asked::MadeOf;
use super::super::calibration::Calibration;
use super::super::nonsense::Numbers;
use super::super::strength::{SAMPLE_MIN, dot};
use super::super::suggestions::begins;
use super::super::{SearchError, Searcher, Suggestion, SuggestionKind};
use super::{ENTRIES, Entry, Language};
use crate::serving::Answering;
use crate::types::now_ms;
use crate::vector_store::{Effort, Point, SearchQuery};

/// Matches of a word that are looked at.
const LOOKED_AT: usize = 24;
/// Words that begin with what was typed and are searched for.
const TYPED_MAX: usize = 24;
/// Words that are searched for to find some worth trying, so many for each that is wanted.
const TRIED_FOR_EACH: usize = 8;
/// Who types so much of a German word may be led to the English one; less begins too many others.
const LED_CHARS_MIN: usize = 4;
/// In a small library a picture holds the words that are nearest to it, so many.
const NEAREST: usize = 5;
/// After this no further word is begun with; the next letter goes on from there.
const TYPED_TIME: Duration = Duration::from_millis(200);
const TRYING_TIME: Duration = Duration::from_millis(600);
/// What a word found is true for so long.
const TRUE_FOR: Duration = Duration::from_mins(5);
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// What a text of the list finds here.
pub(super) struct Finds {
    /// The best, best first.
    best: Vec<Uuid>,
    /// How many of them are strong.
    strong: usize,
    /// How far the best is above the weakest strong one.
    merit: f32,
}

/// A word that finds something here.
struct Held {
    text: &'static str,
    strong: usize,
    merit: f32,
}

/// By what it is said whether a word is held.
enum By {
    Strength(Arc<Calibration>),
    Nearest(Small),
}

/// A library that is too small to say what a score is worth.
struct Small {
    /// All its pictures.
    points: Vec<Point>,
    /// By English word the pictures that few others are nearer to.
    nearest: HashMap<&'static str, Vec<Uuid>>,
}

impl Searcher {
    /// At most `limit` words of the list that begin like this and find something here, those that find most first.
    pub(in super::super) async fn held_words(
        &self,
        serving: &Answering,
        typed: &[String],
        limit: usize,
    ) -> Result<Vec<&'static str>, SearchError> {
        let chars: usize = typed.iter().map(|word| word.chars().count()).sum();
        let begun = |entry: &'static Entry| {
            let language = [Language::En, Language::De]
                .into_iter()
                .find(|language| begins(entry.in_language(*language), typed))?;
            Some((entry, language))
        };
        let begun: Vec<_> = ENTRIES.iter().filter_map(begun).collect();
        let held = self.held(serving, &begun, TYPED_MAX, TYPED_TIME).await?;
        let is_led = |held: &Held| !begins(held.text, typed);
        let mut held: Vec<_> =
            held.into_iter().filter(|held| chars >= LED_CHARS_MIN || !is_led(held)).collect();
        held.sort_by_key(|held| (is_led(held), std::cmp::Reverse(held.strong)));
        Ok(held.into_iter().map(|held| held.text).take(limit).collect())
    }

    /// At most `limit` words of the list that find something here, those that stand out most first. Every day others are tried.
    pub async fn words_to_try(
        &self,
        language: Language,
        limit: usize,
    ) -> Result<Vec<Suggestion>, SearchError> {
        let Some(serving) = self.serving.borrow().answering().cloned() else {
            return Ok(Vec::new());
        };
        let mut numbers = Numbers((now_ms() / DAY_MS) as u64);
        let mut entries: Vec<_> = ENTRIES.iter().map(|entry| (entry, language)).collect();
        for place in (1..entries.len()).rev() {
            entries.swap(place, numbers.below(place + 1));
        }
        let mut held = self.held(&serving, &entries, limit * TRIED_FOR_EACH, TRYING_TIME).await?;
        held.sort_by(|a, b| b.merit.total_cmp(&a.merit));
        let suggestion =
            |held: Held| Suggestion { kind: SuggestionKind::Word, text: held.text.to_owned() };
        Ok(held.into_iter().map(suggestion).take(limit).collect())
    }

    /// Those of the entries that find something here, called as in the language if the model understands that. At most `most`
    /// are searched for.
    async fn held(
        &self,
        serving: &Answering,
        entries: &[(&'static Entry, Language)],
        most: usize,
        time: Duration,
    ) -> Result<Vec<Held>, SearchError> {
        // A help must not make those wait who search.
        let Ok(_turn) = self.turns.try_acquire() else { return Ok(Vec::new()) };
        let started = Instant::now();
        let by = self.by(serving).await?;
        let mut held = Vec::new();
        let most = if matches!(by, By::Nearest(_)) { entries.len() } else { most };
        for (entry, language) in entries.iter().take(most) {
            if started.elapsed() > time {
                break;
            }
            held.extend(self.is_held(serving, &by, entry, *language).await?);
        }
        Ok(held)
    }

    async fn by(&self, serving: &Answering) -> Result<By, SearchError> {
        let calibration = self.calibrations.of(serving).await?;
        if calibration.sample.is_enough() {
            return Ok(By::Strength(calibration));
        }
        let points = serving.collection.scroll(None, SAMPLE_MIN).await?;
        let model = serving.embedder.id();
        let vector = |entry: &Entry| self.vocabulary.vector(model, entry.english);
        let words: Vec<_> =
            ENTRIES.iter().filter_map(|entry| Some((entry.english, vector(entry)?))).collect();
        let mut nearest: HashMap<&'static str, Vec<Uuid>> = HashMap::new();
        for point in &points {
            for word in nearest_words(&words, point) {
                nearest.entry(word).or_default().push(point.id);
            }
        }
        Ok(By::Nearest(Small { points, nearest }))
    }

    async fn is_held(
        &self,
        serving: &Answering,
        by: &By,
        entry: &'static Entry,
        language: Language,
    ) -> Result<Option<Held>, SearchError> {
        let Some(english) = self.finds(serving, by, entry.english).await? else { return Ok(None) };
        if english.strong == 0 {
            return Ok(None);
        }
        let mut text = entry.english;
        // A model without German finds something by German words, too: what looks like them.
        if language == Language::De
            && let Some(german) = self.finds(serving, by, entry.german).await?
            && let Some(best) = german.best.first()
            && english.best[..english.strong].contains(best)
        {
            text = entry.german;
        }
        Ok(Some(Held { text, strong: english.strong, merit: english.merit }))
    }

    /// What a text of the list finds here; `None` while the model has not made its vector.
    async fn finds(
        &self,
        serving: &Answering,
        by: &By,
        text: &'static str,
    ) -> Result<Option<Arc<Finds>>, SearchError> {
        let model = serving.embedder.id();
        let Some(vector) = self.vocabulary.vector(model, text) else { return Ok(None) };
        let calibration = match by {
            By::Strength(calibration) => calibration,
            By::Nearest(small) => return Ok(Some(Arc::new(small.finds(text, &vector)))),
        };
        if let Some((at, finds)) = self.vocabulary.known.lock().finds.get(text)
            && at.elapsed() < TRUE_FOR
        {
            return Ok(Some(finds.clone()));
        }
        let query = SearchQuery {
            vector: vector.to_vec(),
            limit: LOOKED_AT,
            filter: None,
            effort: Effort::Usual,
        };
        let found = serving.collection.search(query).await?;
        let scores: Vec<f32> = found.iter().map(|hit| hit.score).collect();
        let judged = calibration.judge(MadeOf::Words, &vector, &scores);
        let floor = judged.map_or(f32::INFINITY, |judged| judged.strong);
        let finds = Finds {
            best: found.iter().map(|hit| hit.id).collect(),
            strong: scores.iter().filter(|score| **score >= floor).count(),
            merit: scores.first().map_or(0.0, |best| best - floor),
        };
        let finds = Arc::new(finds);
        let mut known = self.vocabulary.known.lock();
        if known.model.as_ref() == Some(model) {
            known.finds.insert(text, (Instant::now(), finds.clone()));
        }
        Ok(Some(finds))
    }
}

fn nearest_words(
    words: &[(&'static str, Arc<[f32]>)],
    point: &Point,
) -> impl Iterator<Item = &'static str> + use<> {
    let score = |(word, vector): &(&'static str, Arc<[f32]>)| (dot(vector, &point.vector), *word);
    let mut scores: Vec<_> = words.iter().map(score).collect();
    scores.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    scores.into_iter().map(|(_, word)| word).take(NEAREST)
}

impl Small {
    fn finds(&self, text: &str, vector: &[f32]) -> Finds {
        let scored = self.points.iter().map(|point| (dot(vector, &point.vector), point.id));
        let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b));
        let merit = best.map_or(0.0, |(score, _)| score);
        match self.nearest.get(text) {
            Some(pictures) => Finds { best: pictures.clone(), strong: pictures.len(), merit },
            None => Finds { best: best.map(|(_, id)| id).into_iter().collect(), strong: 0, merit },
        }
    }
}
