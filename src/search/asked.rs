//! A query as it is searched for: its vector, and what it is made of.

use super::SearchError;
use crate::serving::Answering;

/// A sum shorter than this is nothing: the parts cancel each other out.
const LENGTH_MIN: f32 = 1e-3;

/// What a query is made of, which decides what its scores are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MadeOf {
    Words,
    /// A picture, perhaps with words.
    Picture,
}

/// A query as it is searched for.
pub(super) struct Asked {
    /// What the token calls it.
    pub(super) words: String,
    pub(super) vector: Vec<f32>,
    pub(super) made_of: MadeOf,
}

pub(super) fn normalise(mut vector: Vec<f32>) -> Option<Vec<f32>> {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length.is_nan() || length < LENGTH_MIN {
        return None;
    }
    for value in &mut vector {
        *value /= length;
    }
    Some(vector)
}

/// The vector of words, as the model's templates want them put ("a photo of …"); of several templates the mean.
pub(super) async fn embed_words(serving: &Answering, text: &str) -> Result<Vec<f32>, SearchError> {
    embed_put(serving, text, false).await
}

/// The same of words that nobody typed: they take no place among what is remembered of searches.
pub(super) async fn embed_own_words(
    serving: &Answering,
    text: &str,
) -> Result<Vec<f32>, SearchError> {
    embed_put(serving, text, true).await
}

async fn embed_put(serving: &Answering, text: &str, is_own: bool) -> Result<Vec<f32>, SearchError> {
    let embed = async |text: String| {
        if is_own {
            return serving.embedder.embed_own_text(&text).await;
        }
        serving.embedder.embed_text(&text).await.map(|vector| vector.to_vec())
    };
    let templates = &serving.located.traits.templates;
    if templates.is_empty() {
        return Ok(embed(text.to_owned()).await?);
    }
    let put: Vec<String> = templates.iter().map(|template| template.replace("{}", text)).collect();
    let mut sum = vec![0.0_f32; serving.embedder.info().dim];
    for vector in futures::future::try_join_all(put.into_iter().map(embed)).await? {
        for (sum, value) in sum.iter_mut().zip(&vector) {
            *sum += value;
        }
    }
    normalise(sum).ok_or(SearchError::CancelsOut)
}
