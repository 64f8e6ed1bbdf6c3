//! From a text to the ids a text model was trained on: clean-up, tokenizer, truncation that keeps the end token, padding.

use std::path::PathBuf;

use tokenizers::{PaddingDirection, PaddingParams, PaddingStrategy, Tokenizer, TruncationParams};
use unicode_normalization::UnicodeNormalization as _;

use crate::error::{EncodeError, LoadError};

/// What the training code did to a text before the tokenizer saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CleanUp {
    /// Runs of white space become one space.
    Whitespace,
    /// That, and lower case.
    Lower,
    /// That, and no ASCII punctuation (underscores become spaces): the big_vision way.
    Canonicalize,
}

impl CleanUp {
    fn apply(self, text: &str) -> String {
        // composed and decomposed accents look alike and are typed alike
        let text = text.nfc().collect::<String>();
        let text = match self {
            Self::Whitespace => text,
            Self::Lower => text.to_lowercase(),
            Self::Canonicalize => {
                let kept = text
                    .chars()
                    .map(|c| if c == '_' { ' ' } else { c })
                    .filter(|c| !c.is_ascii_punctuation());
                kept.collect::<String>().to_lowercase()
            }
        };
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Which places of a text change its embedding, and so what has to stand in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Places {
    /// Those up to the end token: the attention is causal, and the embedding is read at the end token.
    UpToEnd,
    /// Those of the mask, which the graph is given or finds by the padding id.
    Unmasked,
    /// All; the padding is part of what the model was trained on.
    All,
    /// All, with the id 0 behind the end token, whatever the tokenizer pads with: so MobileCLIP was trained.
    AllWithZerosBehindEnd,
}

/// What the bundle says about its texts.
#[derive(Debug, Clone)]
pub(crate) struct TokenizerSettings {
    pub(crate) file: PathBuf,
    pub(crate) context_length: usize,
    pub(crate) clean_up: CleanUp,
    pub(crate) pad_token: Option<String>,
    pub(crate) pad_id: Option<u32>,
    pub(crate) pad_left: bool,
    pub(crate) places: Places,
}

/// Ids and mask of one text, both `context_length` long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) ids: Vec<i64>,
    pub(crate) mask: Vec<i64>,
}

impl Tokens {
    /// How many places there are up to the end token: the last that is no padding, or the same one further in front.
    /// Tokenizers of CLIP pad with that token and let it stand for unknown ones, and the first is where CLIP looks.
    pub(crate) fn up_to_end(&self) -> usize {
        let end = self.ids.iter().zip(&self.mask).rev().find(|(_, mask)| **mask != 0);
        let first = end.and_then(|(end, _)| self.ids.iter().position(|id| id == end));
        first.map_or(self.ids.len(), |first| first + 1)
    }

    /// How many places there are up to the last that is no padding.
    pub(crate) fn unmasked(&self) -> usize {
        self.mask.iter().rposition(|&mask| mask != 0).map_or(self.mask.len(), |last| last + 1)
    }
}

/// A tokenizer with the settings of its bundle.
pub(crate) struct TextTokenizer {
    tokenizer: Tokenizer,
    clean_up: CleanUp,
}

impl TextTokenizer {
    /// `context_length` is the graph's, where the graph fixes one, else the configuration's.
    pub(crate) fn load(
        settings: &TokenizerSettings,
        context_length: usize,
    ) -> Result<Self, LoadError> {
        let invalid = |reason: String| LoadError::Invalid { path: settings.file.clone(), reason };
        if !settings.file.is_file() {
            return Err(LoadError::Unreadable {
                path: settings.file.clone(),
                reason: "no such file".into(),
            });
        }
        let mut tokenizer = Tokenizer::from_file(&settings.file)
            .map_err(|error| invalid(format!("not a tokenizer: {error}")))?;
        let (pad_id, pad_token) = padding(&tokenizer, settings).map_err(invalid)?;
        let direction =
            if settings.pad_left { PaddingDirection::Left } else { PaddingDirection::Right };
        let strategy = PaddingStrategy::Fixed(context_length);
        tokenizer.with_padding(Some(PaddingParams {
            strategy,
            direction,
            pad_id,
            pad_token,
            ..PaddingParams::default()
        }));
        let truncation =
            TruncationParams { max_length: context_length, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(|error| invalid(error.to_string()))?;
        Ok(Self { tokenizer, clean_up: settings.clean_up })
    }

    pub(crate) fn tokens(&self, text: &str) -> Result<Tokens, EncodeError> {
        let text = self.clean_up.apply(text);
        let encoding = crate::engine::guarded("the tokenizer", || {
            self.tokenizer.encode_fast(text.as_str(), true).map_err(|error| error.to_string())
        });
        let encoding = encoding.map_err(EncodeError::Tokenize)?;
        let widen = |values: &[u32]| values.iter().map(|&value| i64::from(value)).collect();
        Ok(Tokens { ids: widen(encoding.get_ids()), mask: widen(encoding.get_attention_mask()) })
    }
}

/// The padding id and token: the named token, else the configured id, else what `tokenizer.json` pads with, else 0.
fn padding(tokenizer: &Tokenizer, settings: &TokenizerSettings) -> Result<(u32, String), String> {
    if let Some(token) = &settings.pad_token {
        let id = tokenizer
            .token_to_id(token)
            .ok_or_else(|| format!("the padding token {token:?} is not in the vocabulary"))?;
        return Ok((id, token.clone()));
    }
    let own = tokenizer.get_padding().map(|padding| padding.pad_id);
    let id = settings.pad_id.or(own).unwrap_or(0);
    Ok((id, tokenizer.id_to_token(id).unwrap_or_default()))
}
