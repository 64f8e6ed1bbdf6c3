//! Compares two orders by ratings of many people. Ratings of one source resemble each other, and so do those of one query, so the
//! interval is that of leaving out each source, and each query, in turn (jackknife): nobody alone, and no query alone, decides.

use std::collections::BTreeMap;

use super::comparison::{Comparison, Verdict};
use super::statistics::student;

/// One rating, and nDCG@10 of the pictures that it judged, in both orders.
#[derive(Debug, Clone)]
pub struct Replayed<'a> {
    /// Who rated.
    pub source: &'a str,
    pub query: &'a str,
    pub before: f64,
    pub after: f64,
}

/// Sums over some ratings; each source has the same weight, however often it rated.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    weight: f64,
    before: f64,
    after: f64,
    count: u64,
}

impl Sums {
    fn add(&mut self, weight: f64, replayed: &Replayed<'_>) {
        self.weight += weight;
        self.before += weight * replayed.before;
        self.after += weight * replayed.after;
        self.count += 1;
    }

    fn gain(&self) -> f64 {
        self.after - self.before
    }
}

impl Comparison {
    /// Of ratings; fewer than `ratings_min`, or those of one source or one query alone, say nothing.
    pub fn of_ratings(replayed: &[Replayed<'_>], change: i64, ratings_min: usize) -> Self {
        let mut counts: BTreeMap<&str, f64> = BTreeMap::new();
        for one in replayed {
            *counts.entry(one.source).or_default() += 1.0;
        }
        let (mut all, mut sources, mut queries) =
            (Sums::default(), BTreeMap::new(), BTreeMap::new());
        for one in replayed {
            let weight = counts.get(one.source).map_or(0.0, |count| 1.0 / count);
            all.add(weight, one);
            sources.entry(one.source).or_insert_with(Sums::default).add(weight, one);
            queries.entry(one.query).or_insert_with(Sums::default).add(weight, one);
        }
        let reach = reach(all, sources.values()).zip(reach(all, queries.values()));
        let reach = reach.map(|(of_sources, of_queries)| of_sources.max(of_queries));
        let mean = |sum: f64| if all.weight > 0.0 { sum / all.weight } else { 0.0 };
        let gain = mean(all.gain());
        // Without an interval the gain may be anything.
        let (low, high) = reach.map_or((-1.0, 1.0), |reach| (gain - reach, gain + reach));
        let verdict = if reach.is_none() || replayed.len() < ratings_min {
            Verdict::TooFew
        } else {
            Verdict::of(low, high)
        };
        let share = |is_so: fn(f64) -> bool| queries.values().filter(|of| is_so(of.gain())).count();
        Self {
            verdict,
            queries: queries.len() as u64,
            ratings: replayed.len() as u64,
            sources: Some(sources.len() as u64),
            before: mean(all.before),
            after: mean(all.after),
            gain,
            low,
            high,
            improved: share(|gain| gain > 0.0) as u64,
            worsened: share(|gain| gain < 0.0) as u64,
            change,
        }
    }
}

/// How far the interval reaches on either side of the gain; `None` if there are not two of those that are left out in turn.
fn reach<'a>(all: Sums, clusters: impl ExactSizeIterator<Item = &'a Sums> + Clone) -> Option<f64> {
    let count = clusters.len();
    let degrees = count.checked_sub(1).filter(|degrees| *degrees > 0)?;
    let mean = all.gain() / all.weight;
    let without = clusters.map(|left_out| {
        let mean_without = (all.gain() - left_out.gain()) / (all.weight - left_out.weight);
        (mean_without - mean).powi(2)
    });
    let variance = without.sum::<f64>() * degrees as f64 / count as f64;
    Some(student(degrees as u64) * variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source, query, and what was gained.
    fn compared(rows: &[(String, String, f64)], ratings_min: usize) -> Comparison {
        let replayed: Vec<Replayed<'_>> = rows
            .iter()
            .map(|(source, query, gain)| Replayed { source, query, before: 0.5, after: 0.5 + gain })
            .collect();
        Comparison::of_ratings(&replayed, 9, ratings_min)
    }

    fn row(source: usize, query: usize, gain: f64) -> (String, String, f64) {
        (format!("source {source}"), format!("query {query}"), gain)
    }

    #[test]
    fn of_independent_ratings_it_is_the_interval_of_the_textbooks() {
        // Each by its own source and for its own query. R: t.test(c(0.1, 0.2, 0.0, 0.1, 0.3))
        let gains = [0.1, 0.2, 0.0, 0.1, 0.3];
        let rows: Vec<_> = gains.iter().enumerate().map(|(n, gain)| row(n, n, *gain)).collect();
        let found = compared(&rows, 5);
        assert!((found.gain - 0.14).abs() < 1e-9, "{found:?}");
        assert!((found.low - -0.0016).abs() < 1e-3 && (found.high - 0.2816).abs() < 1e-3);
        assert_eq!((found.verdict, found.sources, found.queries), (Verdict::Alike, Some(5), 5));
        assert_eq!((found.improved, found.worsened, found.ratings), (4, 0, 5));
        assert_eq!(compared(&rows, 6).verdict, Verdict::TooFew);
    }

    #[test]
    fn a_loud_source_decides_nothing_and_neither_does_a_popular_query() {
        let mut rows: Vec<_> = (0..200).map(|n| row(0, n % 20, -0.2)).collect();
        rows.extend((1..8).map(|source| row(source, source, 0.01 * (1.0 + source as f64))));
        let loud = compared(&rows, 20);
        assert_eq!(loud.verdict, Verdict::Alike, "{loud:?}");
        let mut rows: Vec<_> = (0..200).map(|n| row(n % 20, 0, 0.2)).collect();
        rows.extend((1..8).map(|query| row(query, query, -0.1)));
        let popular = compared(&rows, 20);
        assert_eq!(popular.verdict, Verdict::Alike, "{popular:?}");
        // As many of many sources and queries are believed.
        let many: Vec<_> = (0..200).map(|n| row(n % 20, n % 19, 0.2)).collect();
        assert_eq!(compared(&many, 20).verdict, Verdict::Better);
    }

    #[test]
    fn one_source_or_one_query_alone_says_nothing() {
        let alone: Vec<_> = (0..50).map(|n| row(0, n, 0.2)).collect();
        let found = compared(&alone, 20);
        assert_eq!((found.verdict, found.low, found.high), (Verdict::TooFew, -1.0, 1.0));
        let one_query: Vec<_> = (0..50).map(|n| row(n, 0, 0.2)).collect();
        assert_eq!(compared(&one_query, 20).verdict, Verdict::TooFew);
        let nothing = compared(&[], 0);
        assert_eq!((nothing.verdict, nothing.gain, nothing.ratings), (Verdict::TooFew, 0.0, 0));
    }
}
