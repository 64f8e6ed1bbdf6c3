//! A built-in list of what people look for in their pictures, in English and German, as vectors of the model that answers. They
//! are made beside everything else, in a small share of the time, once for each model, and kept in the data folder. Which of
//! these words find something in this library is said in `vocabulary/held.rs`.

mod held;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Deserialize;
use utoipa::ToSchema;

use self::held::Finds;
use super::asked::embed_own_words;
use super::kept_vectors::{KeptVectors, made_of};
use super::{SearchError, Searcher};
use crate::embedder::EmbedError;
use crate::serving::Answering;
use crate::types::ModelId;

const WORDS: &str = include_str!("vocabulary/words.txt");
/// What was made is kept after so many texts, so that a restart loses little.
const KEPT_EVERY: usize = 128;
/// When the model has no time for a text, it is asked again later.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// The languages of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    En,
    De,
}

/// One thing that is looked for, as it is called in each language; both are the same where the words are.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    english: &'static str,
    german: &'static str,
}

impl Entry {
    fn in_language(&self, language: Language) -> &'static str {
        match language {
            Language::En => self.english,
            Language::De => self.german,
        }
    }
}

static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let lines = WORDS.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('|'));
    let entry = |(english, german): (&'static str, &'static str)| {
        let (english, german) = (english.trim(), german.trim());
        let is_same = english.to_lowercase() == german.to_lowercase();
        Entry { english, german: if is_same { english } else { german } }
    };
    pairs.map(entry).collect()
});

/// Every text of the list once, in the order in which the model is asked.
static TEXTS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let mut seen = std::collections::HashSet::new();
    let texts = ENTRIES.iter().flat_map(|entry| [entry.english, entry.german]);
    texts.filter(|text| seen.insert(*text)).collect()
});

/// The vectors of the list, as far as they are made.
pub(super) struct Vocabulary {
    kept_vectors: KeptVectors,
    /// Share of the time in which the model is asked, in per cent; 0: never.
    time_percent: u32,
    known: Mutex<Known>,
}

/// Of one model; the vectors are those of the first texts.
#[derive(Default)]
struct Known {
    model: Option<ModelId>,
    vectors: HashMap<&'static str, Arc<[f32]>>,
    finds: HashMap<&'static str, (Instant, Arc<Finds>)>,
}

impl Vocabulary {
    pub(super) fn new(time_percent: u32, kept_vectors: KeptVectors) -> Self {
        Self { kept_vectors, time_percent, known: Mutex::default() }
    }

    /// The vector of a text of the list, if it is made.
    fn vector(&self, model: &ModelId, text: &str) -> Option<Arc<[f32]>> {
        let known = self.known.lock();
        known.vectors.get(text).filter(|_| known.model.as_ref() == Some(model)).cloned()
    }

    /// Makes what is missing of this model. May be ended at any time.
    async fn make(&self, serving: &Answering) -> Result<(), SearchError> {
        if self.time_percent == 0 {
            return Ok(());
        }
        let made_of = made_of(serving, &TEXTS);
        let mut made = self.begin(serving, &made_of);
        while let Some(text) = TEXTS.get(made) {
            let started = Instant::now();
            match embed_own_words(serving, text).await {
                Ok(vector) => self.known.lock().vectors.insert(text, vector.into()),
                Err(SearchError::Overloaded | SearchError::Embed(EmbedError::Overloaded)) => {
                    tokio::time::sleep(BUSY_PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            made += 1;
            if made.is_multiple_of(KEPT_EVERY) || made == TEXTS.len() {
                self.keep(&made_of);
            }
            tokio::time::sleep(pause_after(started.elapsed(), self.time_percent)).await;
        }
        Ok(())
    }

    /// Goes on where it was ended, or begins with what was kept of another start. Returns how many are made.
    fn begin(&self, serving: &Answering, made_of: &str) -> usize {
        let model = serving.embedder.id();
        if self.known.lock().model.as_ref() != Some(model) {
            // Read before the lock is taken: suggestions wait for it.
            let dim = serving.embedder.info().dim;
            let kept = self.kept_vectors.load(made_of, TEXTS.len(), dim).unwrap_or_default();
            let vectors = TEXTS.iter().copied().zip(kept.into_iter().map(Arc::from)).collect();
            *self.known.lock() =
                Known { model: Some(model.clone()), vectors, finds: HashMap::new() };
        }
        self.known.lock().vectors.len()
    }

    fn keep(&self, made_of: &str) {
        let vectors: Vec<Arc<[f32]>> = {
            let known = self.known.lock();
            TEXTS.iter().map_while(|text| known.vectors.get(text).cloned()).collect()
        };
        if let Err(error) = self.kept_vectors.keep(made_of, &vectors) {
            tracing::debug!(%error, "could not keep the vectors of words to suggest");
        }
    }
}

/// How long to leave the model alone, so that it was asked in `percent` of the time.
fn pause_after(worked: Duration, percent: u32) -> Duration {
    worked * (100 - percent.clamp(1, 100)) / percent.clamp(1, 100)
}

impl Searcher {
    /// Learns what scores mean as soon as a model answers, so that the first search need not wait for it; then what its words are.
    pub async fn warm_up(&self) {
        let mut states = self.serving.clone();
        loop {
            let answering = states.borrow_and_update().answering().cloned();
            let learning = async {
                if let Some(answering) = answering
                    && let Err(error) = self.learn_words(&answering).await
                {
                    tracing::debug!(%error, "could not learn yet what scores and words mean");
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = learning => {}
                changed = states.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn learn_words(&self, answering: &Answering) -> Result<(), SearchError> {
        self.calibrations.of(answering).await?;
        self.vocabulary.make(answering).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_list_says_everything_once_and_in_both_languages() {
        let lines = WORDS.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(ENTRIES.len(), lines, "each line has two languages");
        let mut english = HashSet::new();
        for entry in ENTRIES.iter() {
            assert!(english.insert(entry.english.to_lowercase()), "twice: {}", entry.english);
            for text in [entry.english, entry.german] {
                assert!(!text.is_empty() && text.len() < 40 && text == text.trim(), "{text:?}");
            }
        }
        assert!(ENTRIES.len() >= 500);
        assert!(TEXTS.len() < 2 * ENTRIES.len() && TEXTS.len() > ENTRIES.len());
    }

    #[test]
    fn the_model_is_asked_in_a_share_of_the_time() {
        let worked = Duration::from_millis(50);
        assert_eq!(pause_after(worked, 10), Duration::from_millis(450));
        assert_eq!(pause_after(worked, 50), worked);
        assert_eq!(pause_after(worked, 100), Duration::ZERO);
    }
}
