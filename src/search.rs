//! One search: take a turn, embed the query, ask the vector store, name the contents through the catalog, sign the token.
//! Turns are bounded: beyond `search.concurrent_max` searches wait, beyond `search.waiting_max` they are refused at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clip::{Decoded, Pixels};
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use crate::catalog::{Catalog, CatalogError};
use crate::config::SearchConfig;
use crate::decoder::{DecodeFailure, Decoder, Share};
use crate::embedder::EmbedError;
use crate::metrics::{Metrics, Outcome};
use crate::search_token::{TokenError, TokenSigner};
use crate::serving::{Answering, ServingState};
use crate::types::{ContentHash, ImageName, now_ms};
use crate::vector_store::{ScoredPoint, SearchQuery, StoreError, payload};

/// Hits asked for beyond what is wanted, since some may belong to pictures that went a moment ago.
const SPARE_HITS: usize = 16;
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
}

/// What is searched for.
#[derive(Debug, Clone)]
pub enum Query {
    Text(String),
    /// The bytes of a picture, and the memory that was set aside for them.
    Picture(Vec<u8>, Share),
    Like(ImageName),
}

/// Which part of the ranking.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub limit: u32,
    /// Matches to leave out at the top.
    pub offset: u32,
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
}

#[derive(Debug, Clone)]
pub struct Answer {
    /// Display name of the model.
    pub model_name: String,
    /// Best first.
    pub matches: Vec<Match>,
    /// Allows one rating of this answer.
    pub jwt: String,
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
    /// No indexed image of that name.
    #[error("there is no indexed image {0}")]
    NoSuchImage(ImageName),
    #[error(transparent)]
    Embed(EmbedError),
    /// The vector store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The token could not be signed.
    #[error(transparent)]
    Token(#[from] TokenError),
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
    /// Answers with whatever model `serving` says, and [`SearchError::ModelNotReady`] while there is none.
    pub fn new(
        serving: watch::Receiver<ServingState>,
        catalog: Arc<dyn Catalog>,
        tokens: TokenSigner,
        metrics: Arc<Metrics>,
        config: SearchConfig,
        decoder: Arc<Decoder>,
    ) -> Self {
        let turns = Semaphore::new(config.concurrent_max);
        let places = Semaphore::new(config.concurrent_max + config.waiting_max);
        Self { serving, catalog, tokens, metrics, config, turns, places, decoder }
    }

    /// The signer of the tokens, which also verifies them.
    pub fn tokens(&self) -> &TokenSigner {
        &self.tokens
    }

    /// Searches, within the deadline.
    pub async fn search(&self, query: Query, window: Window) -> Result<Answer, SearchError> {
        let started = Instant::now();
        let deadline = Duration::from_millis(self.config.deadline_ms);
        let answer = tokio::time::timeout(deadline, self.search_in_turn(query, window)).await;
        let answer = answer.unwrap_or(Err(SearchError::Deadline(self.config.deadline_ms)));
        self.metrics.count_search(match &answer {
            Ok(_) => Outcome::Ok,
            Err(SearchError::Overloaded | SearchError::Deadline(_)) => Outcome::Overloaded,
            Err(SearchError::Picture(_) | SearchError::NoSuchImage(_)) => Outcome::Refused,
            Err(_) => Outcome::Failed,
        });
        if answer.is_ok() {
            self.metrics.search_seconds.observe(started.elapsed().as_secs_f64());
        }
        answer
    }

    async fn search_in_turn(&self, query: Query, window: Window) -> Result<Answer, SearchError> {
        let answering = self.serving.borrow().answering().cloned();
        let serving = answering.ok_or(SearchError::ModelNotReady)?;
        let (_place, _turn) = self.take_turn().await?;
        let (words, vector) = self.vector_of(&serving, query).await?;
        let matches = self.find(&serving, vector, window).await?;
        let results: Vec<(ContentHash, f32)> =
            matches.iter().map(|found| (found.hash, found.score)).collect();
        let (jwt, _) = self.tokens.sign(
            &words,
            &serving.embedder.id().to_string(),
            &results,
            now_ms() / 1000,
        )?;
        Ok(Answer { model_name: serving.embedder.display_name().to_owned(), matches, jwt })
    }

    /// A permit is a turn; dropped = given back.
    async fn take_turn(&self) -> Result<(SemaphorePermit<'_>, SemaphorePermit<'_>), SearchError> {
        let place = self.places.try_acquire().map_err(|_| SearchError::Overloaded)?;
        self.metrics.searches_waiting.inc();
        let turn = self.turns.acquire().await;
        self.metrics.searches_waiting.dec();
        Ok((place, turn.map_err(|_| SearchError::Overloaded)?))
    }

    /// What the token calls the query, and its vector.
    async fn vector_of(
        &self,
        serving: &Answering,
        query: Query,
    ) -> Result<(String, Vec<f32>), SearchError> {
        match query {
            Query::Text(text) => {
                let vector = serving.embedder.embed_text(&text).await?;
                Ok((text, vector.to_vec()))
            }
            Query::Picture(bytes, share) => {
                let words = format!("picture:{}", ContentHash::of(&bytes));
                let pixels = self.decode(serving, bytes, share).await?;
                Ok((words, serving.embedder.embed_query_picture(pixels).await?))
            }
            Query::Like(name) => {
                let image = self.catalog.image(&name).await?;
                let hash = image
                    .and_then(|image| image.hash)
                    .ok_or_else(|| SearchError::NoSuchImage(name.clone()))?;
                let found =
                    serving.collection.get(&[serving.embedder.id().point_id(&hash)]).await?.pop();
                let point = found.ok_or(SearchError::NoSuchImage(name))?;
                Ok((format!("picture:{hash}"), point.vector))
            }
        }
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
        Ok(self.decoder.decode(bytes, share, wanted, preprocess).await?)
    }

    async fn find(
        &self,
        serving: &Answering,
        vector: Vec<f32>,
        window: Window,
    ) -> Result<Vec<Match>, SearchError> {
        let (limit, offset) = (window.limit as usize, window.offset as usize);
        let wanted = limit + offset;
        let (mut ask, mut widenings) = (wanted + SPARE_HITS, 0);
        loop {
            let query =
                SearchQuery { vector: vector.clone(), limit: ask, filter: None, exact: false };
            let hits = serving.collection.search(query).await?;
            let matches = self.name(&hits).await?;
            if matches.len() >= wanted || hits.len() < ask || widenings == WIDENINGS_MAX {
                return Ok(matches.into_iter().skip(offset).take(limit).collect());
            }
            ask *= 4;
            widenings += 1;
        }
    }

    /// Hits whose content still has an image, in their order.
    async fn name(&self, hits: &[ScoredPoint]) -> Result<Vec<Match>, SearchError> {
        let hashes: Vec<(ContentHash, f32)> = hits
            .iter()
            .filter_map(|hit| Some((payload::content_hash(&hit.payload)?, hit.score)))
            .collect();
        let mut contents = self
            .catalog
            .images_of(
                &hashes.iter().map(|(hash, _)| *hash).collect::<Vec<_>>(),
                self.config.other_names_max.saturating_add(1),
            )
            .await?;
        let named = |(hash, score): (ContentHash, f32)| {
            let content = contents.remove(&hash)?;
            let mut names = content.names.into_iter();
            let image_name = names.next()?;
            Some(Match {
                hash,
                image_name,
                other_names: names.collect(),
                other_names_total: content.names_total.saturating_sub(1),
                score,
                width: content.facts.width,
                height: content.facts.height,
            })
        };
        Ok(hashes.into_iter().filter_map(named).collect())
    }
}

#[cfg(test)]
mod tests;
