//! One quantity over the rounds of a benchmark.

use serde::{Deserialize, Serialize};

/// A value per round, in the order of the rounds.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Series(Vec<f64>);

impl Series {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(super) fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(super) fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// The upper one of the two in the middle.
    pub(super) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// How far the rounds are apart: the range in per cent of the median.
    pub(super) fn spread(&self) -> f64 {
        (self.max() - self.min()) / self.median() * 100.0
    }

    /// Round by round, this to another.
    pub(super) fn per(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(one, other)| one / other).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rounds_in_numbers() {
        let series = Series(vec![4.0, 5.0, 3.0]);
        assert_eq!((series.min(), series.median(), series.max()), (3.0, 4.0, 5.0));
        assert_eq!(series.spread(), 50.0);
        let ratios = series.per(&Series(vec![2.0, 5.0, 1.0]));
        assert_eq!((ratios.min(), ratios.median(), ratios.max()), (1.0, 2.0, 3.0));
    }
}
