//! How much a score means. A cosine alone says little: it depends on the model and on the query. So a score is compared with
//! those that a fixed sample of the library has for the same query (their middle and width), and with what texts without
//! any meaning, or unrelated pictures, reach in this library.

use serde::Serialize;

/// How surely a match is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Strength {
    /// Hardly any query without meaning finds something like it.
    Strong,
    /// Better than what a query without meaning usually finds.
    Fair,
    Weak,
}

/// Matches lose this share of their height at the place where one thing ends and the next begins: "red apple" and then all
/// other fruit. Strong matches end at the first such step. Measured on the demonstration pictures (docs/benchmarks.md).
const STEP_SHARE: f32 = 0.07;
/// Fewer pictures than this have no usual score.
pub(super) const SAMPLE_MIN: usize = 64;
/// Where the lower edge of the middle is taken: one standard deviation below it, if scores were normal.
const LOWER_EDGE: f64 = 0.16;
/// Of a library of equal pictures, so that nothing is divided by zero.
const WIDTH_MIN: f32 = 1e-4;
/// How far beyond the usual best of texts without meaning a strong match lies, in distances from their median to their upper
/// edge. About one in a hundred such texts gets there.
const BEYOND_NONSENSE: f32 = 3.5;
const UPPER_EDGE: f64 = 0.84;
/// Pictures of the sample that are compared with all others of it.
const PROBES: usize = 128;
/// Shares of pairs of pictures that are further apart than what is a fair and a strong match for a picture.
const FAIR_PAIRS: f64 = 0.99;
const STRONG_PAIRS: f64 = 0.999;

/// Vectors of some pictures of a collection, one after the other.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    vectors: Vec<f32>,
    dim: usize,
}

/// What the scores of a query in the sample are like. The middle and its lower edge, not mean and deviation, so that the
/// pictures that are looked for do not count as usual.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    middle: f32,
    pub(super) width: f32,
}

/// From which height on a match is fair and strong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Heights {
    fair: f32,
    strong: f32,
    /// A score that is strong whatever the height: words that the model knows well have wide scores.
    strong_score: f32,
}

/// The best that a text without meaning finds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Best {
    pub(super) height: f32,
    pub(super) score: f32,
}

/// From which score on a match of one query is fair and strong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scores {
    fair: f32,
    pub(super) strong: f32,
}

impl Sample {
    pub(super) fn new(vectors: impl IntoIterator<Item = Vec<f32>>, dim: usize) -> Self {
        Self { vectors: vectors.into_iter().flatten().collect(), dim: dim.max(1) }
    }

    fn len(&self) -> usize {
        self.vectors.len() / self.dim.max(1)
    }

    /// Whether it says anything.
    pub(super) fn is_enough(&self) -> bool {
        self.len() >= SAMPLE_MIN
    }

    /// `None` if there are too few pictures.
    pub(super) fn spread(&self, vector: &[f32]) -> Option<Spread> {
        if !self.is_enough() {
            return None;
        }
        let mut scores: Vec<f32> =
            self.vectors.chunks_exact(self.dim).map(|other| dot(vector, other)).collect();
        let middle = quantile(&mut scores, 0.5);
        let width = (middle - quantile(&mut scores, LOWER_EDGE)).max(WIDTH_MIN);
        Some(Spread { middle, width })
    }

    /// What counts for a picture as query: how near each other the pictures of this library are.
    pub(super) fn heights_of_pictures(&self) -> Option<Heights> {
        let mut heights = Vec::with_capacity(PROBES * self.len());
        for (place, probe) in self.vectors.chunks_exact(self.dim).take(PROBES).enumerate() {
            let spread = self.spread(probe)?;
            let others = self.vectors.chunks_exact(self.dim).enumerate();
            let others = others.filter(|(other, _)| *other != place);
            heights.extend(others.map(|(_, other)| spread.height(dot(probe, other))));
        }
        let fair = quantile(&mut heights, FAIR_PAIRS);
        let strong = quantile(&mut heights, STRONG_PAIRS);
        Some(Heights { fair, strong, strong_score: f32::INFINITY })
    }
}

impl Spread {
    /// How far a score is above the middle, in widths.
    pub(super) fn height(self, score: f32) -> f32 {
        (score - self.middle) / self.width
    }

    fn score(self, height: f32) -> f32 {
        self.middle + height * self.width
    }
}

impl Heights {
    /// From the best that texts without meaning find.
    pub(super) fn beyond_nonsense(best: &[Best]) -> Option<Self> {
        if best.is_empty() {
            return None;
        }
        let beyond = |mut values: Vec<f32>| {
            let middle = quantile(&mut values, 0.5);
            let edge = quantile(&mut values, UPPER_EDGE) - middle;
            (middle, middle + BEYOND_NONSENSE * edge)
        };
        let (fair, strong) = beyond(best.iter().map(|best| best.height).collect());
        let (_, strong_score) = beyond(best.iter().map(|best| best.score).collect());
        Some(Self { fair, strong, strong_score })
    }

    /// For one query, from its best scores, best first.
    pub(super) fn judge(&self, spread: Spread, best: &[f32]) -> Scores {
        let floor = spread.score(self.strong).min(self.strong_score);
        let above = best.iter().take_while(|score| **score >= floor).count();
        let heights: Vec<f32> = best.iter().map(|score| spread.height(*score)).collect();
        let step = |pair: &[f32]| pair[0] - pair[1] > STEP_SHARE * pair[0];
        let end = heights.windows(2).take(above).position(step).map_or(above, |last| last + 1);
        let strong = match end.checked_sub(1).and_then(|last| best.get(last)) {
            Some(last) if end < heights.len() => *last,
            // All that is known is strong, or nothing is: what follows is judged by the bound alone.
            _ => floor,
        };
        Scores { fair: spread.score(self.fair).min(strong), strong }
    }
}

impl Scores {
    pub(super) fn strength(self, score: f32) -> Strength {
        if score >= self.strong {
            Strength::Strong
        } else if score >= self.fair {
            Strength::Fair
        } else {
            Strength::Weak
        }
    }
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    // Eight sums side by side, which the compiler makes one instruction of.
    let mut sums = [0.0_f32; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// Reorders the values; 0 of none.
fn quantile(values: &mut [f32], share: f64) -> f32 {
    let Some(last) = values.len().checked_sub(1) else { return 0.0 };
    let place = (share * last as f64).round() as usize;
    *values.select_nth_unstable_by(place, f32::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A library on a half circle: 90 pictures far from the query, spread a little, and those at the given cosines.
    fn sample(near: &[f32]) -> Sample {
        let far = (0..90).map(|number| 0.1 + 0.002 * (number % 11) as f32);
        let unit = |cosine: f32| vec![cosine, (1.0 - cosine * cosine).sqrt()];
        Sample::new(far.chain(near.iter().copied()).map(unit), 2)
    }

    const QUERY: [f32; 2] = [1.0, 0.0];

    #[test]
    fn too_few_pictures_have_no_usual_score() {
        let few = Sample::new((0..SAMPLE_MIN - 1).map(|_| vec![1.0, 0.0]), 2);
        assert!(few.spread(&QUERY).is_none() && few.heights_of_pictures().is_none());
    }

    #[test]
    fn strong_matches_end_at_the_first_step_down() {
        let best = [0.8, 0.79, 0.5, 0.49, 0.12];
        let spread = sample(&best).spread(&QUERY).expect("enough");
        let heights = Heights { fair: 3.0, strong: 6.0, strong_score: 0.95 };
        let scores = heights.judge(spread, &best);
        let told: Vec<Strength> = best.iter().map(|score| scores.strength(*score)).collect();
        let (strong, fair, weak) = (Strength::Strong, Strength::Fair, Strength::Weak);
        assert_eq!(told, [strong, strong, fair, fair, weak]);
    }

    #[test]
    fn without_a_step_the_height_decides_also_for_what_was_not_fetched() {
        let best = [0.8, 0.79, 0.78];
        let spread = sample(&best).spread(&QUERY).expect("enough");
        let heights = Heights { fair: 3.0, strong: 6.0, strong_score: 0.95 };
        let scores = heights.judge(spread, &best);
        assert!((scores.strong - spread.score(6.0)).abs() < 1e-6, "there may be more below");
        let wide = Heights { strong: 1000.0, strong_score: 0.785, ..heights };
        let told = best.map(|score| wide.judge(spread, &best).strength(score));
        assert_eq!(
            told,
            [Strength::Strong, Strength::Strong, Strength::Fair],
            "by the score alone"
        );
        let none = heights.judge(spread, &[0.12, 0.11]);
        assert_eq!(none.strength(0.12), Strength::Weak);
        assert_eq!(heights.judge(spread, &[]).strength(0.9), Strength::Strong);
    }

    #[test]
    fn equal_pictures_divide_nothing_by_zero() {
        let equal = Sample::new((0..SAMPLE_MIN).map(|_| vec![0.6, 0.8]), 2);
        let spread = equal.spread(&QUERY).expect("enough");
        assert!(spread.height(0.6).abs() < 1e-3 && spread.height(0.7).is_finite());
    }

    #[test]
    fn products_of_any_length_are_right() {
        for length in [0, 1, 7, 8, 9, 192] {
            let values: Vec<f32> = (0..length).map(|number| number as f32 * 0.5 - 3.0).collect();
            let plain: f32 = values.iter().map(|value| value * value).sum();
            assert!((dot(&values, &values) - plain).abs() <= plain * 1e-5, "{length}");
        }
    }
}
