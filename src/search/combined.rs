//! Queries of several parts: words, pictures and indexed images, each wanted (weight above 0) or unwanted (below).
//! Models hardly understand "no" (NegBench, arXiv 2501.09425), so what is unwanted is subtracted. Scores of words and of
//! pictures differ in size; each part is divided by the width of its scores in the library, so that equal weights count alike.

use super::asked::{Asked, MadeOf, embed_words, normalise};
use super::strength::Sample;
use super::{Query, SearchError, Searcher};
use crate::serving::Answering;
use crate::types::ContentHash;

/// Weight of what "-word" says. Measured on the demonstration pictures: less leaves too much of what is unwanted, more takes
/// too much of what is wanted (docs/benchmarks.md).
const UNWANTED_WEIGHT: f32 = -0.8;
/// `picture:` and 16 digits.
const PICTURE_NAME_CHARS: usize = 24;

/// One part of a query.
#[derive(Debug, Clone)]
pub struct Part {
    pub query: Query,
    /// -1 to 1.
    pub weight: f32,
}

impl Part {
    pub fn words(text: String, weight: f32) -> Self {
        Self { query: Query::Text(text), weight }
    }
}

/// What a token calls a part. The first digits of a picture's hash are enough: a token must not grow with the parts.
fn name_of_part(asked: &Asked, weight: f32) -> String {
    let words = match (asked.made_of, asked.words.char_indices().nth(PICTURE_NAME_CHARS)) {
        (MadeOf::Picture, Some((end, _))) => &asked.words[..end],
        _ => asked.words.as_str(),
    };
    let hundredths = (weight * 100.0).round() as i32;
    if hundredths == 100 {
        return words.to_owned();
    }
    format!("{}*{words}", f64::from(hundredths) / 100.0)
}

/// The parts of a text like `dog -cat not:"red car"`. `None` if it has neither unwanted words nor quotation marks that keep
/// some from being read as such: then it is taken as it is.
fn parse(text: &str) -> Option<Vec<Part>> {
    let (mut wanted, mut unwanted) = (Vec::new(), Vec::new());
    let (mut rest, mut keeps_literally) = (text.trim_start(), false);
    while !rest.is_empty() {
        let after_sign = unwanted_after(rest);
        let (word, after) = next_word(after_sign.unwrap_or(rest));
        if after_sign.is_some() {
            unwanted.push(word.trim().to_owned());
        } else {
            keeps_literally |= rest.starts_with('"') && holds_unwanted(word);
            wanted.push(word.trim());
        }
        rest = after.trim_start();
    }
    unwanted.retain(|words| !words.is_empty());
    if unwanted.is_empty() && !keeps_literally {
        return None;
    }
    let wanted = wanted.join(" ");
    let wanted = Some(wanted).filter(|words| !words.trim().is_empty());
    let parts = wanted.into_iter().map(|words| Part::words(words, 1.0));
    Some(
        parts
            .chain(unwanted.into_iter().map(|words| Part::words(words, UNWANTED_WEIGHT)))
            .collect(),
    )
}

/// Whether a text is taken as it is: nothing in it is unwanted, or kept literally.
pub(super) fn is_one_query(text: &str) -> bool {
    parse(text).is_none()
}

/// The parts of a text; the text alone if nothing in it is unwanted.
pub fn parts_of(text: &str) -> Vec<Part> {
    parse(text).unwrap_or_else(|| vec![Part::words(text.to_owned(), 1.0)])
}

/// What follows `-` or `not:`. A minus before a number or a space is one, and a hyphen inside a word is a hyphen.
fn unwanted_after(text: &str) -> Option<&str> {
    let begins_word = |rest: &&str| rest.starts_with(|c: char| c.is_alphabetic() || c == '"');
    let minus = text.strip_prefix('-').filter(begins_word);
    let not =
        || text.strip_prefix("not:").filter(|rest| rest.starts_with(|c: char| !c.is_whitespace()));
    minus.or_else(not)
}

/// The next word, or what stands in quotation marks, and what comes after it. A mark without its counterpart is a letter.
fn next_word(text: &str) -> (&str, &str) {
    if let Some((quoted, after)) = text.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
        return (quoted, after);
    }
    text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()))
}

fn holds_unwanted(text: &str) -> bool {
    text.split_whitespace().any(|word| unwanted_after(word).is_some())
}

impl Searcher {
    /// The query as it is searched for.
    pub(super) async fn ask(
        &self,
        serving: &Answering,
        query: Query,
    ) -> Result<Asked, SearchError> {
        let (parts, words) = match query {
            Query::Text(text) => match parse(&text) {
                Some(parts) => (parts, Some(text)),
                None => return self.ask_one(serving, Query::Text(text)).await,
            },
            Query::Combined(parts) => (parts, None),
            one => return self.ask_one(serving, one).await,
        };
        let limit = self.config.queries_max;
        if parts.len() > limit {
            return Err(SearchError::TooManyParts { parts: parts.len(), limit });
        }
        let calibration = self.calibrations.of(serving).await?;
        let (weights, queries): (Vec<f32>, Vec<Query>) =
            parts.into_iter().map(|part| (part.weight, part.query)).unzip();
        let asked = queries.into_iter().map(|query| self.ask_one(serving, query));
        let asked = futures::future::try_join_all(asked).await?;
        let has_picture = asked.iter().any(|asked| asked.made_of == MadeOf::Picture);
        let name = |(asked, weight): (&Asked, &f32)| name_of_part(asked, *weight);
        let names: Vec<String> = asked.iter().zip(&weights).map(name).collect();
        let weighted: Vec<(Vec<f32>, f32)> =
            asked.into_iter().map(|asked| asked.vector).zip(weights).collect();
        Ok(Asked {
            words: words.unwrap_or_else(|| names.join("; ")),
            vector: combine(&weighted, &calibration.sample)?,
            made_of: if has_picture { MadeOf::Picture } else { MadeOf::Words },
        })
    }

    async fn ask_one(&self, serving: &Answering, query: Query) -> Result<Asked, SearchError> {
        match query {
            Query::Text(text) => {
                let vector = embed_words(serving, &text).await?;
                Ok(Asked { words: text, vector, made_of: MadeOf::Words })
            }
            Query::Picture(bytes, share) => {
                let words = format!("picture:{}", ContentHash::of(&bytes));
                let pixels = self.decode(serving, bytes, share).await?;
                let vector = serving.embedder.embed_query_picture(pixels).await?;
                Ok(Asked { words, vector, made_of: MadeOf::Picture })
            }
            Query::Like(name) => {
                let image = self.catalog.image(&name).await?;
                let hash = image
                    .and_then(|image| image.hash)
                    .ok_or_else(|| SearchError::NoSuchImage(name.clone()))?;
                let found =
                    serving.collection.get(&[serving.embedder.id().point_id(&hash)]).await?.pop();
                let vector = found.ok_or(SearchError::NoSuchImage(name))?.vector;
                Ok(Asked { words: format!("picture:{hash}"), vector, made_of: MadeOf::Picture })
            }
            // No caller makes one, and what adds nothing is nothing.
            Query::Combined(_) => Err(SearchError::CancelsOut),
        }
    }
}

/// The sum of the parts, each with its weight, of length 1.
fn combine(parts: &[(Vec<f32>, f32)], sample: &Sample) -> Result<Vec<f32>, SearchError> {
    let dim = parts.first().map_or(0, |(vector, _)| vector.len());
    // In a library that is too small to compare with, the parts count as they are.
    let widths: Option<Vec<f32>> =
        parts.iter().map(|(vector, _)| sample.spread(vector).map(|spread| spread.width)).collect();
    let widths = widths.unwrap_or_else(|| vec![1.0; parts.len()]);
    let widest = widths.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let mut sum = vec![0.0_f32; dim];
    for ((vector, weight), width) in parts.iter().zip(widths) {
        let factor = weight * widest / width;
        for (sum, value) in sum.iter_mut().zip(vector) {
            *sum += factor * value;
        }
    }
    normalise(sum).ok_or(SearchError::CancelsOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words with their weights; none if the text is taken as it is.
    fn parts(text: &str) -> Vec<(String, f32)> {
        let told = |part: Part| match part.query {
            Query::Text(words) => (words, part.weight),
            other => panic!("{other:?}"),
        };
        parse(text).unwrap_or_default().into_iter().map(told).collect()
    }

    #[test]
    fn unwanted_words_are_read_out_of_a_text() {
        let (one, less) = (1.0, UNWANTED_WEIGHT);
        let part = |words: &str, weight: f32| (words.to_owned(), weight);
        assert_eq!(parts("dog -cat"), [part("dog", one), part("cat", less)]);
        assert_eq!(parts("-cat dog  house"), [part("dog house", one), part("cat", less)]);
        assert_eq!(
            parts("dog not:cat -\"red car\""),
            [part("dog", one), part("cat", less), part("red car", less)]
        );
        assert_eq!(parts("-cat"), [part("cat", less)]);
        assert_eq!(parts("Obst -Äpfel"), [part("Obst", one), part("Äpfel", less)]);
    }

    #[test]
    fn quotation_marks_keep_words_literally() {
        assert_eq!(parts("\"dog -cat\""), [("dog -cat".to_owned(), 1.0)]);
        let both = parts("sign \"not:here\" -tree");
        assert_eq!(both, [("sign not:here".to_owned(), 1.0), ("tree".to_owned(), UNWANTED_WEIGHT)]);
    }

    #[test]
    fn other_texts_are_taken_as_they_are() {
        for text in [
            "t-shirt",
            "a - b",
            "-5 degrees",
            "1990 -2000",
            "dog -",
            "not: cat",
            "\"red car\"",
            "\"half",
            "--",
            "",
            "not",
        ] {
            assert!(parse(text).is_none(), "{text:?} was taken apart: {:?}", parse(text));
        }
    }

    #[test]
    fn equal_parts_of_opposite_weight_are_no_query() {
        let part = |weight| (vec![0.6, 0.8], weight);
        let nothing = combine(&[part(1.0), part(-1.0)], &Sample::default());
        assert!(matches!(nothing, Err(SearchError::CancelsOut)));
        let half = combine(&[part(0.5)], &Sample::default()).expect("a query");
        assert!((half[1] - 0.8).abs() < 1e-6, "its length is 1 again");
    }

    #[test]
    fn parts_count_by_the_width_of_their_scores() {
        // Along the first axis the library is three times as wide as along the second.
        let unit = |x: f32, y: f32| vec![x, y, (1.0 - x * x - y * y).sqrt()];
        let pictures = (0..100).map(|n| unit((n % 10) as f32 * 0.03, (n / 10) as f32 * 0.01));
        let sample = Sample::new(pictures, 3);
        let both = [(vec![1.0, 0.0, 0.0], 1.0), (vec![0.0, 1.0, 0.0], 1.0)];
        let query = combine(&both, &sample).expect("a query");
        assert!((query[1] / query[0] - 3.0).abs() < 0.2, "{query:?}");
    }
}
