//! Means and shares with their 95 % intervals, from sums that can be added up in any order.

use serde::Serialize;
use utoipa::ToSchema;

/// Quantile of the normal distribution, for 95 % on both sides.
const NORMAL: f64 = 1.959_964;
/// The same of Student's t with 1, 2, … degrees of freedom; beyond, `NORMAL + 2.5 / degrees` is right to 0.02.
const STUDENT: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];

/// A mean, and where it lies with a confidence of 95 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct Mean {
    /// The mean itself.
    pub mean: f64,
    /// Of how many numbers.
    pub count: u64,
    /// The lower end of the interval; missing if there is only one number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// The upper end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
}

/// A share from 0 to 1, and where it lies with a confidence of 95 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct Share {
    /// The share itself.
    pub share: f64,
    /// Of how many.
    pub count: u64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// Numbers, summed up.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum {
    count: u64,
    total: f64,
    squares: f64,
}

impl Sum {
    pub(super) fn add(&mut self, value: f64) {
        self.count += 1;
        self.total += value;
        self.squares += value * value;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.total += other.total;
        self.squares += other.squares;
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn total(&self) -> f64 {
        self.total
    }

    /// By Student's t, and never beyond what such numbers can be.
    pub(super) fn mean(&self, least: f64, most: f64) -> Option<Mean> {
        let count = self.count as f64;
        let mean = (self.count > 0).then(|| self.total / count)?;
        let reach = (self.count > 1).then(|| {
            let variance = ((self.squares - mean * self.total) / (count - 1.0)).max(0.0);
            student(self.count - 1) * (variance / count).sqrt()
        });
        Some(Mean {
            mean,
            count: self.count,
            low: reach.map(|reach| (mean - reach).max(least)),
            high: reach.map(|reach| (mean + reach).min(most)),
        })
    }
}

/// Quantile of Student's t, for 95 % on both sides.
pub(super) fn student(degrees: u64) -> f64 {
    let listed =
        usize::try_from(degrees).ok().and_then(|degrees| STUDENT.get(degrees.checked_sub(1)?));
    listed.copied().unwrap_or(NORMAL + 2.5 / degrees as f64)
}

/// Votes for and against.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Votes {
    up: u64,
    count: u64,
}

impl Votes {
    pub(super) fn add(&mut self, is_up: bool) {
        self.count += 1;
        self.up += u64::from(is_up);
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.up += other.up;
        self.count += other.count;
    }

    /// By Wilson's score, which is right for few votes, too.
    pub(super) fn share(self) -> Option<Share> {
        let count = self.count as f64;
        let share = (self.count > 0).then(|| self.up as f64 / count)?;
        let squared = NORMAL * NORMAL;
        let middle = (share + squared / (2.0 * count)) / (1.0 + squared / count);
        let spread = (share * (1.0 - share) / count + squared / (4.0 * count * count)).sqrt();
        let reach = NORMAL * spread / (1.0 + squared / count);
        let (low, high) = ((middle - reach).max(0.0), (middle + reach).min(1.0));
        Some(Share { share, count: self.count, low, high })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 0.005
    }

    #[test]
    fn intervals_are_those_of_the_textbooks() {
        let mut sum = Sum::default();
        for value in [4.0, 7.0, 6.0, 7.0] {
            sum.add(value);
        }
        // R: t.test(c(4, 7, 6, 7))
        let mean = sum.mean(1.0, 10.0).expect("four");
        let (low, high) = (mean.low.expect("several"), mean.high.expect("several"));
        assert!(near(mean.mean, 6.0) && near(low, 3.75) && near(high, 8.25), "{mean:?}");
        assert_eq!(sum.mean(4.0, 7.0).and_then(|mean| mean.low.zip(mean.high)), Some((4.0, 7.0)));
        let mut votes = Votes::default();
        for number in 0..10 {
            votes.add(number < 8);
        }
        // R: binom.confint(8, 10, methods = "wilson")
        let share = votes.share().expect("ten");
        assert!(near(share.low, 0.4902) && near(share.high, 0.9433), "{share:?}");
    }

    #[test]
    fn one_number_has_no_interval_and_none_has_no_mean() {
        let mut sum = Sum::default();
        assert_eq!(sum.mean(1.0, 10.0), None);
        assert_eq!(Votes::default().share(), None);
        sum.add(5.0);
        let mean = sum.mean(1.0, 10.0);
        assert_eq!(mean, Some(Mean { mean: 5.0, count: 1, low: None, high: None }));
    }
}
