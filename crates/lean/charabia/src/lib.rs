//! Splits a text into words where Unicode's rules say, in lower case; languages are not told apart. The names are those of
//! the crate that this one replaces; see the README of the folder above.

use std::borrow::Cow;

use unicode_segmentation::{UnicodeSegmentation, UnicodeWordIndices};

use self::normalizer::{NormalizedTokenIter, NormalizerOption};

/// Languages that the engine names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Ara,
    Cmn,
    Dan,
    Deu,
    Ell,
    Eng,
    Fin,
    Hun,
    Ita,
    Jpn,
    Nld,
    Por,
    Ron,
    Rus,
    Swe,
    Tam,
    Tur,
}

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    Latin,
    Other,
}

/// What can be said of a text.
#[derive(Debug)]
pub struct StrDetection<'o> {
    text: &'o str,
}

impl<'o> StrDetection<'o> {
    /// Looks at `text`.
    pub fn new(text: &'o str, _allowed: Option<&[Language]>) -> Self {
        Self { text }
    }

    /// Latin, if it has no letters beyond the Latin blocks of Unicode.
    pub fn script(&self) -> Script {
        let beyond = |letter: char| letter.is_alphabetic() && letter > '\u{24f}';
        if self.text.chars().any(beyond) { Script::Other } else { Script::Latin }
    }

    /// Unknown: that takes a detector.
    pub fn language(&self) -> Option<Language> {
        None
    }
}

/// A word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token<'o> {
    /// In lower case.
    pub lemma: Cow<'o, str>,
}

/// Texts that can be split.
pub trait Segment<'o> {
    /// Begins to split.
    fn segment(self) -> Words<'o>;
}

impl<'o> Segment<'o> for &'o str {
    fn segment(self) -> Words<'o> {
        Words { words: self.unicode_word_indices() }
    }
}

/// A text that is being split.
pub struct Words<'o> {
    words: UnicodeWordIndices<'o>,
}

impl<'o> Words<'o> {
    /// With the words as they are compared.
    pub fn normalize<'aho, 'lang, 'tb>(
        self,
        _options: &'tb NormalizerOption<'tb>,
    ) -> NormalizedTokenIter<'o, 'aho, 'lang, 'tb> {
        NormalizedTokenIter::new(self)
    }
}

/// How words are made equal.
pub mod normalizer {
    use std::marker::PhantomData;

    use super::{Cow, Token, Words};

    /// The engine's wishes. Words are made lower case, whatever they are.
    #[derive(Debug, Clone, Default)]
    pub struct NormalizerOption<'tb> {
        pub create_char_map: bool,
        pub classifier: ClassifierOption<'tb>,
        pub lossy: bool,
    }

    /// Words that are left out; the engine names none here.
    #[derive(Debug, Clone, Default)]
    pub struct ClassifierOption<'tb> {
        pub stop_words: Option<&'tb [&'tb str]>,
        pub separators: Option<&'tb [&'tb str]>,
    }

    /// The words of a text.
    pub struct NormalizedTokenIter<'o, 'aho, 'lang, 'tb> {
        words: Words<'o>,
        lifetimes: PhantomData<(&'aho (), &'lang (), &'tb ())>,
    }

    impl<'o> NormalizedTokenIter<'o, '_, '_, '_> {
        pub(super) fn new(words: Words<'o>) -> Self {
            Self { words, lifetimes: PhantomData }
        }
    }

    impl<'o> Iterator for NormalizedTokenIter<'o, '_, '_, '_> {
        type Item = Token<'o>;

        fn next(&mut self) -> Option<Self::Item> {
            let (_, word) = self.words.words.next()?;
            let is_lower = !word.chars().any(char::is_uppercase);
            let lemma = if is_lower { word.into() } else { Cow::Owned(word.to_lowercase()) };
            Some(Token { lemma })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::normalizer::NormalizerOption;
    use super::*;

    #[test]
    fn a_text_becomes_its_words_in_lower_case() {
        let options = NormalizerOption::default();
        let words: Vec<String> = "A red Ball, twice."
            .segment()
            .normalize(&options)
            .map(|token| token.lemma.into())
            .collect();
        assert_eq!(words, ["a", "red", "ball", "twice"]);
        assert_eq!(StrDetection::new("ein Käse", None).script(), Script::Latin);
        assert_eq!(StrDetection::new("мяч", None).script(), Script::Other);
    }
}
