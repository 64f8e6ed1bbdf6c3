//! Names count: pictures whose file, folders or camera are called like the query. Words must fit whole; only where none does, or
//! where the query looks like a piece of a name, the beginning of its last word is enough. What too many pictures are called tells
//! none apart, and counts for nothing. Fused with the ranking by reciprocal rank: what is called exactly so comes first, what
//! else has the words beside the best.

use std::collections::HashMap;

use super::SearchError;
use super::filtered::{Space, best_of};
use crate::catalog::{Catalog, NamedImage};
use crate::serving::Answering;
use crate::types::{ContentHash, ImageName};
use crate::vector_store::payload;

/// More words than this are no name.
const WORDS_MAX: usize = 8;
/// A name that more pictures have counts for nothing.
const NAMED_MAX: usize = 200;
/// The same for beginnings of words, which fit by accident more often.
const BEGUN_MAX: usize = 20;
/// A plain word's beginning has at least so many letters.
const BEGINNING_CHARS_MIN: usize = 4;
/// The best of the ranking are fused with the names; the rest follows as it is.
pub(super) const FUSED_MAX: usize = 256;
/// The usual 60 would put what stands low in both lists above the best of one.
const RANK_OFFSET: f64 = 10.0;

/// How well a name fits, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// The file is called so.
    Exact,
    Words,
    Beginning,
}

impl Fit {
    /// What a place among the names counts, against the same place in the ranking.
    fn weight(self) -> f64 {
        match self {
            Self::Exact => 100.0,
            Self::Words => 0.9,
            Self::Beginning => 0.6,
        }
    }
}

/// A content one of whose images is called like the query.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Named {
    hash: ContentHash,
    fit: Fit,
    score: f32,
}

/// Contents that are called like the query, and how well that fits.
pub(super) type Called = HashMap<ContentHash, Fit>;

/// What is called like `text`.
pub(super) async fn called(catalog: &dyn Catalog, text: &str) -> Result<Called, SearchError> {
    let words = words(text);
    if words.is_empty() || words.len() > WORDS_MAX {
        return Ok(Called::new());
    }
    let found = catalog.images_with_words(&words, false, NAMED_MAX as u32 + 1).await?;
    let (found, fit) = if found.is_empty() && may_begin(text, &words) {
        let begun = catalog.images_with_words(&words, true, BEGUN_MAX as u32 + 1).await?;
        (if begun.len() > BEGUN_MAX { Vec::new() } else { begun }, Fit::Beginning)
    } else {
        (if found.len() > NAMED_MAX { Vec::new() } else { found }, Fit::Words)
    };
    Ok(fits(&found, &words, fit))
}

/// The same, best first.
pub(super) async fn scored(
    called: Called,
    serving: &Answering,
    vector: &[f32],
) -> Result<Vec<Named>, SearchError> {
    if called.is_empty() {
        return Ok(Vec::new());
    }
    let hashes: Vec<ContentHash> = called.keys().copied().collect();
    let scored = best_of(Space::of(serving), vector, &hashes, hashes.len()).await?;
    let named = scored.iter().filter_map(|hit| {
        let hash = payload::content_hash(&hit.payload)?;
        Some(Named { hash, fit: *called.get(&hash)?, score: hit.score })
    });
    let mut named: Vec<Named> = named.collect();
    named.sort_by(|a, b| {
        a.fit.cmp(&b.fit).then(b.score.total_cmp(&a.score)).then(a.hash.cmp(&b.hash))
    });
    Ok(named)
}

/// The best fit of each content.
fn fits(found: &[NamedImage], words: &[String], otherwise: Fit) -> Called {
    let mut fits = Called::new();
    for NamedImage { name, hash } in found {
        let fit = if is_called(name, words) { Fit::Exact } else { otherwise };
        let best = fits.entry(*hash).or_insert(fit);
        *best = fit.min(*best);
    }
    fits
}

/// Whether the file is called so, with or without what its name ends with.
fn is_called(name: &ImageName, wanted: &[String]) -> bool {
    let file = name.file_name();
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    words(stem) == wanted || words(file) == wanted || words(name.as_str()) == wanted
}

/// A word that is whole says more as a word, so only unfinished ones may be beginnings: part of a number or name, or long enough.
fn may_begin(text: &str, words: &[String]) -> bool {
    let is_piece = text.contains(|c: char| c.is_ascii_digit() || "_-./".contains(c));
    let chars = words.last().map_or(0, |word| word.chars().count());
    chars >= if is_piece { 2 } else { BEGINNING_CHARS_MIN }
}

fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

/// One ranking of both, and how far its order is not that of the scores.
pub(super) fn fuse(
    ranked: Vec<(ContentHash, f32)>,
    named: &[Named],
) -> (Vec<(ContentHash, f32)>, usize) {
    if named.is_empty() {
        return (ranked, 0);
    }
    let place = |place: usize| 1.0 / (RANK_OFFSET + 1.0 + place as f64);
    let mut fused: HashMap<ContentHash, (f64, f32)> = HashMap::new();
    for (at, (hash, score)) in ranked.iter().take(FUSED_MAX).enumerate() {
        fused.insert(*hash, (place(at), *score));
    }
    for (at, named) in named.iter().enumerate() {
        let (sum, _) = fused.entry(named.hash).or_insert((0.0, named.score));
        *sum += named.fit.weight() * place(at);
    }
    let rest: Vec<_> =
        ranked.into_iter().skip(FUSED_MAX).filter(|(hash, _)| !fused.contains_key(hash)).collect();
    let mut best: Vec<_> = fused.into_iter().collect();
    best.sort_by(|(a, (sum_a, _)), (b, (sum_b, _))| sum_b.total_cmp(sum_a).then_with(|| a.cmp(b)));
    let fused = best.len();
    let best = best.into_iter().map(|(hash, (_, score))| (hash, score));
    (best.chain(rest).collect(), fused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u32) -> ContentHash {
        ContentHash::of(&number.to_le_bytes())
    }

    fn order(ranked: u32, named: &[(u32, Fit)]) -> Vec<u32> {
        let ranked: Vec<_> =
            (0..ranked).map(|number| (hash(number), 1.0 - number as f32 / 1000.0)).collect();
        let named: Vec<_> = named
            .iter()
            .map(|(number, fit)| Named { hash: hash(*number), fit: *fit, score: 0.0 })
            .collect();
        let (fused, _) = fuse(ranked, &named);
        let number =
            |found: &ContentHash| (0..2000).find(|number| hash(*number) == *found).expect("ours");
        fused.iter().map(|(hash, _)| number(hash)).collect()
    }

    #[test]
    fn what_is_called_so_is_first_and_what_has_the_words_is_beside_the_best() {
        assert_eq!(order(4, &[]), [0, 1, 2, 3]);
        assert_eq!(order(4, &[(900, Fit::Exact)]), [900, 0, 1, 2, 3]);
        assert_eq!(order(4, &[(900, Fit::Words)]), [0, 1, 900, 2, 3]);
        assert_eq!(order(9, &[(900, Fit::Beginning)])[..7], [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(order(4, &[(3, Fit::Words)])[0], 3, "in both lists");
        let long = order(300, &[(280, Fit::Exact), (290, Fit::Words)]);
        assert_eq!((long.len(), long[0]), (300, 280), "each once");
        assert!(long.iter().position(|number| *number == 290).expect("there") < 6);
        assert_eq!(long[long.len() - 1], 299);
    }

    #[test]
    fn files_are_called_by_their_words() {
        let called =
            |name: &str, text: &str| is_called(&ImageName::new(name).expect("valid"), &words(text));
        assert!(called("demo/Tennis.PNG", "tennis") && called("a/IMG_1234.jpg", "img 1234"));
        assert!(called("a/IMG_1234.jpg", "IMG_1234.jpg") && called("a/b.jpg", "a/b.jpg"));
        assert!(!called("tennis-ball.png", "tennis") && !called("tennis/1.png", "tennis"));
    }

    #[test]
    fn only_pieces_of_names_and_longer_words_may_be_beginnings() {
        let may = |text: &str| may_begin(text, &words(text));
        assert!(may("IMG_12") && may("holi") && may("2024-05"));
        assert!(!may("cat") && !may("2024-0"));
    }
}
