//! Compares two orders of the same pictures by what ratings say of them: nDCG@10 of each on the pictures that are judged, and the
//! difference with its bootstrap interval over queries. Gates decide by it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Places that count.
const DEPTH: usize = 10;
const RESAMPLES: usize = 2000;
/// What is beyond on either side.
const TAIL: f64 = 0.025;
/// How much of a proof is a sign.
const SIGN: f64 = 0.25;
const SEED: u64 = 20_261_126;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Better with a confidence of 95 %.
    Better,
    /// Worse with a confidence of 95 %.
    Worse,
    /// Neither.
    Alike,
    /// Too few queries (`learning.gate_queries_min`) to say anything.
    TooFew,
}

impl Verdict {
    /// Of the interval that a gain lies in.
    pub(super) fn of(low: f64, high: f64) -> Self {
        if low > 0.0 {
            Self::Better
        } else if high < 0.0 {
            Self::Worse
        } else {
            Self::Alike
        }
    }
}

/// Two orders compared, by nDCG@10 of the pictures that are judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Comparison {
    /// `better` or `worse` with a confidence of 95 %, `alike`, or `too_few` queries to say.
    pub verdict: Verdict,
    /// How many queries were replayed that can tell the two apart.
    pub queries: u64,
    /// From how many ratings it is known what is wanted.
    pub ratings: u64,
    /// By how many keys or addresses these are; missing where each query counts once, whoever rated it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<u64>,
    /// nDCG@10 of the first one, from 0 to 1.
    pub before: f64,
    /// That of the second one.
    pub after: f64,
    /// By how much the second one is better.
    pub gain: f64,
    /// The lower end of the interval that the gain lies in with a confidence of 95 %.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// How many queries got better.
    pub improved: u64,
    /// How many queries got worse.
    pub worsened: u64,
    /// Number of the last change of a rating that it knows of.
    pub change: i64,
}

impl Comparison {
    /// Of the nDCG@10 of both orders for each query.
    pub fn of(pairs: &[(f64, f64)], ratings: u64, change: i64, queries_min: usize) -> Self {
        let count = pairs.len().max(1) as f64;
        let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / count;
        let gains: Vec<f64> = pairs.iter().map(|(before, after)| after - before).collect();
        let (low, high) = interval(&gains);
        let verdict =
            if pairs.len() < queries_min.max(1) { Verdict::TooFew } else { Verdict::of(low, high) };
        Self {
            verdict,
            queries: pairs.len() as u64,
            ratings,
            sources: None,
            before: mean(&mut pairs.iter().map(|pair| pair.0)),
            after: mean(&mut pairs.iter().map(|pair| pair.1)),
            gain: mean(&mut gains.iter().copied()),
            low,
            high,
            improved: gains.iter().filter(|gain| **gain > 0.0).count() as u64,
            worsened: gains.iter().filter(|gain| **gain < 0.0).count() as u64,
            change,
        }
    }

    /// As it is kept with what was decided by it; `None` if that was another version's.
    pub fn parse(figures: &str) -> Option<Self> {
        serde_json::from_str(figures).ok()
    }

    /// A sign that the second one is worse, though no proof: a quarter of the way from no gain to a loss with a confidence of 95 %.
    pub fn looks_worse(&self) -> bool {
        self.gain < -SIGN * (self.high - self.gain)
    }

    /// In a few words, for people.
    pub fn in_words(&self) -> String {
        let Self { queries, ratings, before, after, gain, low, high, .. } = self;
        let by = self.sources.map(|sources| format!(" by {sources} keys or addresses"));
        let by = by.unwrap_or_default();
        let figures = format!(
            "nDCG@10 {before:.3} before and {after:.3} after, {gain:+.3} ({low:+.3} to {high:+.3}), on {queries} queries with {ratings} ratings{by}"
        );
        match self.verdict {
            Verdict::Better => format!("better: {figures}"),
            Verdict::Worse => format!("worse: {figures}"),
            Verdict::Alike => format!("no sure difference: {figures}"),
            Verdict::TooFew if self.sources.is_some() => format!(
                "too few ratings to say: {ratings}{by} can be compared (learning.gate_queries_min)"
            ),
            Verdict::TooFew => format!(
                "too few ratings to say: {queries} queries can be compared (learning.gate_queries_min)"
            ),
        }
    }
}

/// nDCG@10 of an order, given how much each of its pictures is wanted (0: not). `None` if none is.
pub fn ndcg(gains: &[f32]) -> Option<f64> {
    let sum = |gains: &[f32]| -> f64 {
        let places = gains.iter().take(DEPTH).enumerate();
        places.map(|(place, gain)| f64::from(*gain) / (place as f64 + 2.0).log2()).sum()
    };
    let mut best = gains.to_vec();
    best.sort_by(|a, b| b.total_cmp(a));
    let ideal = sum(&best);
    (ideal > 0.0).then(|| sum(gains) / ideal)
}

/// By the percentiles of the means of resamples; the same for the same numbers.
fn interval(values: &[f64]) -> (f64, f64) {
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let mut chance = Chance(SEED);
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn = (0..values.len()).filter_map(|_| values.get(chance.below(values.len())));
            drawn.sum::<f64>() / values.len() as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means.get((share * RESAMPLES as f64) as usize).copied();
    (at(TAIL).unwrap_or_default(), at(1.0 - TAIL).unwrap_or_default())
}

/// `SplitMix64`.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // The upper half of the product: as even as one needs here.
        ((u128::from(mixed) * end as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(pairs: &[(f64, f64)], queries_min: usize) -> Comparison {
        Comparison::of(pairs, 7, 9, queries_min)
    }

    #[test]
    fn ndcg_is_that_of_the_textbooks() {
        assert_eq!(ndcg(&[1.0, 0.5, 0.0]), Some(1.0));
        assert_eq!(ndcg(&[0.0, 0.0]), None);
        assert_eq!(ndcg(&[]), None);
        // 1 / log2(3) of what it could be.
        let second = ndcg(&[0.0, 1.0]).expect("one is wanted");
        assert!((second - 0.630_93).abs() < 1e-4, "{second}");
        let mut deep = vec![0.0; 10];
        deep.push(1.0);
        assert_eq!(ndcg(&deep), Some(0.0), "beyond the tenth place nobody looks");
    }

    #[test]
    fn intervals_hold_the_mean_and_shrink_with_more_queries() {
        let pairs = |count: usize| -> Vec<(f64, f64)> {
            (0..count).map(|n| (0.5, if n % 4 == 0 { 0.4 } else { 0.6 })).collect()
        };
        let (few, many) = (compared(&pairs(16), 5), compared(&pairs(400), 5));
        // 0.05 and 1.96 times 0.0866 / 20.
        assert!((many.gain - 0.05).abs() < 1e-9, "{many:?}");
        assert!(
            (many.low - 0.0415).abs() < 0.002 && (many.high - 0.0585).abs() < 0.002,
            "{many:?}"
        );
        assert!(few.low < many.low && few.high > many.high);
        assert_eq!((many.improved, many.worsened, many.queries), (300, 100, 400));
    }

    #[test]
    fn a_verdict_needs_confidence_and_enough_queries() {
        let better: Vec<(f64, f64)> = (0..20).map(|_| (0.4, 0.5)).collect();
        let worse: Vec<(f64, f64)> = better.iter().map(|(a, b)| (*b, *a)).collect();
        let mixed: Vec<(f64, f64)> = better.iter().chain(&worse).copied().collect();
        assert_eq!(compared(&better, 20).verdict, Verdict::Better);
        assert_eq!(compared(&worse, 20).verdict, Verdict::Worse);
        assert_eq!(compared(&mixed, 20).verdict, Verdict::Alike);
        assert_eq!(compared(&worse, 21).verdict, Verdict::TooFew);
        assert_eq!(compared(&[], 0).verdict, Verdict::TooFew);
        assert!(compared(&worse, 20).in_words().starts_with("worse: nDCG@10 0.500 before"));
    }
}
