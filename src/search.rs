//! One search: take a turn, embed the query, ask the vector store, name the contents through the catalog, sign the token.
//! A filter, names and pages along a cursor have files of their own.
//! Turns are bounded: beyond `search.concurrent_max` searches wait, beyond `search.waiting_max` they are refused at once.

mod asked;
mod calibration;
mod combined;
pub mod duplicates;
mod facets;
mod filter;
mod filtered;
mod kept_vectors;
mod listing;
mod memory;
mod names;
mod nonsense;
mod pages;
mod replay;
mod strength;
mod suggestions;
mod vocabulary;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clip::{Decoded, Pixels};
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use self::calibration::Calibrations;
pub use self::combined::{Part, parts_of};
use self::facets::Facets;
pub use self::facets::{FacetCounts, PlaceCount};
pub use self::filter::{ImageFilter, Near, Orientation};
use self::filtered::Space;
use self::kept_vectors::KeptVectors;
pub use self::memory::{JudgedLearning, Learning, LearningVersion, LearnsFrom, decide_by_hand};
use self::memory::{Learned, Memory, REORDERED_MAX};
use self::names::{Called, FUSED_MAX, Named};
pub use self::pages::{BadCursor, Cursor};
use self::pages::{Ranking, Rankings};
pub use self::strength::Strength;
pub use self::suggestions::{Suggestion, SuggestionKind};
pub use self::vocabulary::Language;
use self::vocabulary::Vocabulary;
use crate::catalog::{Catalog, CatalogError};
use crate::config::{LearningConfig, SearchConfig};
use crate::decoder::{DecodeFailure, Decoder, Share, Whose};
use crate::embedder::EmbedError;
use crate::metrics::{Metrics, Outcome};
use crate::search_token::{TokenError, TokenSigner};
use crate::serving::{Answering, ServingState};
use crate::types::{ContentHash, ImageName, now_ms};
use crate::vector_store::{Effort, ScoredPoint, SearchQuery, StoreError, payload};

/// Hits asked for beyond what is wanted, since some may belong to pictures that went a moment ago.
const SPARE_HITS: usize = 16;
/// See [`at_once`].
const TURNS_PER_CORE: usize = 4;
const TURNS_MIN: usize = 8;
/// How often the window is widened when too many hits had no picture.
const WIDENINGS_MAX: usize = 4;

pub struct Searcher {
    serving: watch::Receiver<ServingState>,
    catalog: Arc<dyn Catalog>,
    tokens: TokenSigner,
    metrics: Arc<Metrics>,
    config: SearchConfig,
    turns: Semaphore,
    places: Semaphore,
    decoder: Arc<Decoder>,
    calibrations: Calibrations,
    vocabulary: Vocabulary,
    facets: Facets,
    rankings: Rankings,
    memory: Memory,
}

/// What is searched for.
#[derive(Debug, Clone)]
pub enum Query {
    /// Words; of which `-word` and `not:word` are not wanted, unless they stand in quotation marks.
    Text(String),
    /// The bytes of a picture, and the memory that was set aside for them.
    Picture(Vec<u8>, Share),
    Like(ImageName),
    /// Several parts, none of which has parts of its own.
    Combined(Vec<Part>),
}

/// Which part of the ranking.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub limit: u32,
    /// Matches to leave out at the top.
    pub offset: u32,
}

/// What else is asked of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchOptions {
    /// Say how surely each match is one, and how many are strong.
    pub strength: bool,
    /// Show near-duplicates as one match, with the others behind it.
    pub collapse: bool,
    /// Only these.
    pub filter: Option<ImageFilter>,
    /// Whether pictures that are called like the words count.
    pub names: bool,
    pub paging: Paging,
    /// What it learns from ratings.
    pub learning: Learning,
}

/// How the parts of a ranking are asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Paging {
    /// By the window's offset.
    #[default]
    Offset,
    /// The beginning; the answer says where the next page begins.
    FirstPage,
    /// Behind the page that gave this.
    After(Cursor),
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self {
            strength: false,
            collapse: false,
            filter: None,
            names: true,
            paging: Paging::Offset,
            learning: Learning::default(),
        }
    }
}

/// What a ranking is made of besides the query's vector.
struct Wants {
    filter: Option<ImageFilter>,
    /// What is called like the query; empty if names do not count.
    named: Vec<Named>,
    by_name: bool,
    /// Near-duplicates are one match.
    collapse: bool,
    learned: Learned,
    learning: Learning,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Match {
    /// Content of the picture.
    pub hash: ContentHash,
    /// First name of the content, in name order.
    pub image_name: ImageName,
    /// The first further names.
    pub other_names: Vec<ImageName>,
    /// How many further names there are in all.
    pub other_names_total: u64,
    pub score: f32,
    pub width: u32,
    pub height: u32,
    /// Only if asked for, and if the library is large enough to say.
    pub strength: Option<Strength>,
    /// Matches that look nearly the same, best first; only if asked for.
    pub near_duplicates: Vec<Match>,
}

#[derive(Debug, Clone)]
pub struct Answer {
    /// Display name of the model.
    pub model_name: String,
    /// Best first.
    pub matches: Vec<Match>,
    /// How many contents are strong matches, at most `search.strong_total_max`; only if asked for.
    pub strong_total: Option<u32>,
    /// Allows one rating of this answer.
    pub jwt: String,
    /// Where the next page begins, if there is one and this was asked for as a page.
    pub next: Option<Cursor>,
    /// How many ratings its order comes from.
    pub learned_from: u32,
}

/// What a search found.
struct Found {
    matches: Vec<Match>,
    /// What they are taken from.
    ranking: Arc<Ranking>,
    /// Where the next page begins.
    next: Option<Cursor>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// Too many searches at once.
    #[error("too many searches are waiting; try again in a moment")]
    Overloaded,
    /// It took longer than `search.deadline_ms`.
    #[error("the search took longer than {0} ms; try again in a moment")]
    Deadline(u64),
    /// There is no model yet.
    #[error("the model is not ready yet; try again in a moment")]
    ModelNotReady,
    /// The picture to search by cannot be decoded.
    #[error("cannot search by this picture: {0}")]
    Picture(#[from] DecodeFailure),
    /// The cursor is of another search.
    #[error(transparent)]
    Cursor(#[from] BadCursor),
    /// No indexed image of that name.
    #[error("there is no indexed image {0}")]
    NoSuchImage(ImageName),
    #[error("the parts of the query cancel each other out; change a weight, or leave a part away")]
    CancelsOut,
    #[error("the query has {parts} parts; at most {limit} are allowed (search.queries_max)")]
    TooManyParts { parts: usize, limit: usize },
    #[error(transparent)]
    Embed(EmbedError),
    /// The vector store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The token to refine by does not count.
    #[error("refine: {0}")]
    Refine(TokenError),
    /// The token could not be signed.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// Searches at work at once. As many as the model takes in one call, and enough to keep all cores busy: with more, every
/// search waits longer for its part of them, and so does who is refused.
fn at_once(config: &SearchConfig) -> usize {
    match config.concurrent_max {
        0 => {
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            (TURNS_PER_CORE * cores).max(TURNS_MIN)
        }
        turns => turns,
    }
}

impl From<EmbedError> for SearchError {
    fn from(error: EmbedError) -> Self {
        match error {
            EmbedError::Overloaded => Self::Overloaded,
            other => Self::Embed(other),
        }
    }
}

impl Searcher {
    /// Answers with whatever model `serving` says, and [`SearchError::ModelNotReady`] while there is none. In the folder
    /// `calibration` it keeps what it learnt of a model.
    pub fn new(
        serving: watch::Receiver<ServingState>,
        catalog: Arc<dyn Catalog>,
        tokens: TokenSigner,
        metrics: Arc<Metrics>,
        config: (SearchConfig, LearningConfig),
        decoder: Arc<Decoder>,
        calibration: PathBuf,
    ) -> Self {
        let (config, learning) = config;
        let at_once = at_once(&config);
        let turns = Semaphore::new(at_once);
        let places = Semaphore::new(at_once + config.waiting_max);
        let kept_vectors = KeptVectors::new(calibration);
        let calibrations = Calibrations::new(config.sample_pictures, kept_vectors.clone());
        let vocabulary = Vocabulary::new(config.vocabulary_time_percent, kept_vectors);
        let facets = Facets::new(catalog.clone());
        let rankings = Rankings::new(config.rankings_max);
        Self {
            serving,
            catalog,
            tokens,
            metrics,
            config,
            turns,
            places,
            decoder,
            calibrations,
            vocabulary,
            facets,
            rankings,
            memory: Memory::new(learning),
        }
    }

    /// The signer of the tokens, which also verifies them.
    pub fn tokens(&self) -> &TokenSigner {
        &self.tokens
    }

    /// Searches all pictures for nothing but the ranking, within the deadline.
    pub async fn search(&self, query: Query, window: Window) -> Result<Answer, SearchError> {
        self.search_with(query, window, SearchOptions::default()).await
    }

    /// Searches, within the deadline.
    pub async fn search_with(
        &self,
        query: Query,
        window: Window,
        options: SearchOptions,
    ) -> Result<Answer, SearchError> {
        let started = Instant::now();
        let deadline = Duration::from_millis(self.config.deadline_ms);
        let answer =
            tokio::time::timeout(deadline, self.search_in_turn(query, window, options)).await;
        let answer = answer.unwrap_or(Err(SearchError::Deadline(self.config.deadline_ms)));
        self.metrics.count_search(match &answer {
            Ok(_) => Outcome::Ok,
            Err(SearchError::Overloaded | SearchError::Deadline(_)) => Outcome::Overloaded,
            Err(
                SearchError::Picture(_)
                | SearchError::NoSuchImage(_)
                | SearchError::Cursor(_)
                | SearchError::Refine(_)
                | SearchError::CancelsOut
                | SearchError::TooManyParts { .. },
            ) => Outcome::Refused,
            Err(_) => Outcome::Failed,
        });
        if answer.is_ok() {
            self.metrics.search_seconds.observe(started.elapsed().as_secs_f64());
        }
        answer
    }

    async fn search_in_turn(
        &self,
        query: Query,
        window: Window,
        options: SearchOptions,
    ) -> Result<Answer, SearchError> {
        let answering = self.serving.borrow().answering().cloned();
        let serving = answering.ok_or(SearchError::ModelNotReady)?;
        let (_place, _turn) = self.take_turn().await?;
        let name = match &query {
            Query::Text(text) if options.names && combined::is_one_query(text) => {
                Some(text.clone())
            }
            _ => None,
        };
        let by_name = name.is_some();
        // The catalog looks for names while the model is at work.
        let called = async {
            match &name {
                Some(name) => names::called(&*self.catalog, name).await,
                None => Ok(Called::default()),
            }
        };
        let (asked, called) = futures::try_join!(self.ask(&serving, query), called)?;
        let named = names::scored(called, &serving, &asked.vector).await?;
        let filter = options.filter.filter(|filter| !filter.is_empty());
        let learning = options.learning;
        let learned = self.learn(&serving, &asked, &learning).await?;
        let wants = Wants { filter, named, by_name, collapse: options.collapse, learned, learning };
        let limit = window.limit as usize;
        let query = (asked.words.as_str(), asked.vector.as_slice());
        let mut found = match &options.paging {
            Paging::Offset => self.find(&serving, &asked.vector, &wants, window).await?,
            Paging::FirstPage => self.page(&serving, query, &wants, None, limit).await?,
            Paging::After(cursor) => {
                self.page(&serving, query, &wants, Some(cursor), limit).await?
            }
        };
        let strong_total = if options.strength {
            self.judge(&serving, &asked, &wants, &mut found).await?
        } else {
            None
        };
        // A later page is no further search.
        let is_first = window.offset == 0 && !matches!(options.paging, Paging::After(_));
        if let (Some(strong), true) = (strong_total, is_first) {
            self.metrics.count_judged(strong > 0);
        }
        let results: Vec<(ContentHash, f32)> =
            found.matches.iter().map(|found| (found.hash, found.score)).collect();
        let (jwt, _) = self.tokens.sign(
            &asked.words,
            &serving.embedder.id().to_string(),
            &results,
            now_ms() / 1000,
        )?;
        let model_name = serving.embedder.display_name().to_owned();
        let Found { matches, next, ranking } = found;
        let learned_from = ranking.learned_from;
        Ok(Answer { model_name, matches, strong_total, jwt, next, learned_from })
    }

    /// A permit is a turn; dropped = given back.
    async fn take_turn(&self) -> Result<(SemaphorePermit<'_>, SemaphorePermit<'_>), SearchError> {
        let place = self.places.try_acquire().map_err(|_| SearchError::Overloaded)?;
        self.metrics.searches_waiting.inc();
        let turn = self.turns.acquire().await;
        self.metrics.searches_waiting.dec();
        Ok((place, turn.map_err(|_| SearchError::Overloaded)?))
    }

    async fn decode(
        &self,
        serving: &Answering,
        bytes: Vec<u8>,
        share: Share,
    ) -> Result<Pixels, SearchError> {
        let embedder = serving.embedder.clone();
        let wanted = embedder.wanted(0);
        let preprocess = move |decoded: Decoded| embedder.preprocess(&decoded);
        Ok(self.decoder.decode(Whose::Person, bytes, share, wanted, preprocess).await?)
    }

    async fn find(
        &self,
        serving: &Answering,
        vector: &[f32],
        wants: &Wants,
        window: Window,
    ) -> Result<Found, SearchError> {
        let (limit, offset) = (window.limit as usize, window.offset as usize);
        let wanted = limit + offset;
        let (mut ask, mut widenings) = (wanted + SPARE_HITS, 0);
        loop {
            let ranking = self.rank(serving, vector, wants, ask).await?;
            let mut matches = self.name(&ranking.hits, wants).await?;
            if wants.collapse {
                matches = self.collapse(serving, matches).await?;
            }
            if matches.len() >= wanted || ranking.is_all || widenings == WIDENINGS_MAX {
                let matches = matches.into_iter().skip(offset).take(limit).collect();
                return Ok(Found { matches, ranking: Arc::new(ranking), next: None });
            }
            ask *= 4;
            widenings += 1;
        }
    }

    /// The best `depth` contents.
    async fn rank(
        &self,
        serving: &Answering,
        vector: &[f32],
        wants: &Wants,
        depth: usize,
    ) -> Result<Ranking, SearchError> {
        let depth = if wants.named.is_empty() { depth } else { depth.max(FUSED_MAX) };
        let depth = if wants.learned.is_empty() { depth } else { depth.max(REORDERED_MAX) };
        let hits = match &wants.filter {
            None => {
                let vector = vector.to_vec();
                let query =
                    SearchQuery { vector, limit: depth, filter: None, effort: Effort::Usual };
                serving.collection.search(query).await?
            }
            Some(filter) => {
                let scan_max = self.config.filter_scan_max;
                filtered::best_matching(
                    &self.facets,
                    Space::of(serving),
                    vector,
                    filter,
                    depth,
                    scan_max,
                )
                .await?
            }
        };
        let is_all = hits.len() < depth;
        let hit = |hit: &ScoredPoint| Some((payload::content_hash(&hit.payload)?, hit.score));
        let mut hits: Vec<_> = hits.iter().filter_map(hit).collect();
        let (reordered, learned_from) = wants.learned.reorder(&mut hits);
        let (hits, fused) = names::fuse(hits, &wants.named);
        Ok(Ranking { hits, fused: fused.max(reordered), is_all, depth, learned_from })
    }

    /// Hits whose content still has an image (that matches the filter), in their order.
    async fn name(
        &self,
        hits: &[(ContentHash, f32)],
        wants: &Wants,
    ) -> Result<Vec<Match>, SearchError> {
        let hashes: Vec<ContentHash> = hits.iter().map(|(hash, _)| *hash).collect();
        let names_max = self.config.other_names_max.saturating_add(1);
        let mut contents = match &wants.filter {
            None => self.catalog.images_of(&hashes, names_max).await?,
            Some(filter) => {
                filtered::matching_images(&*self.catalog, filter, &hashes, names_max).await?
            }
        };
        let named = |(hash, score): &(ContentHash, f32)| {
            let content = contents.remove(hash)?;
            let mut names = content.names.into_iter();
            let image_name = names.next()?;
            Some(Match {
                hash: *hash,
                image_name,
                other_names: names.collect(),
                other_names_total: content.names_total.saturating_sub(1),
                score: *score,
                width: content.facts.width,
                height: content.facts.height,
                strength: None,
                near_duplicates: Vec::new(),
            })
        };
        Ok(hits.iter().filter_map(named).collect())
    }
}

#[cfg(test)]
mod tests;
