//! Dimensions as products in order: of the batch, of the length of a text, and of numbers. Only the order tells where
//! the batch went when it was a baked 1, so it is kept.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Factor {
    Batch,
    Length,
    Number(usize),
}

/// A dimension. No factor is 1, and no two numbers stand side by side; so equal dimensions are equal values.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Dim(Vec<Factor>);

impl Dim {
    pub(crate) fn batch() -> Self {
        Self(vec![Factor::Batch])
    }

    pub(crate) fn length() -> Self {
        Self(vec![Factor::Length])
    }

    pub(crate) fn number(number: usize) -> Self {
        let mut dim = Self::default();
        dim.push(Factor::Number(number));
        dim
    }

    pub(crate) fn factors(&self) -> &[Factor] {
        &self.0
    }

    pub(crate) fn push(&mut self, factor: Factor) {
        match (self.0.last_mut(), factor) {
            (_, Factor::Number(1)) => {}
            (Some(Factor::Number(last)), Factor::Number(number)) => *last *= number,
            _ => self.0.push(factor),
        }
    }

    pub(crate) fn times(&self, other: &Self) -> Self {
        let mut product = self.clone();
        other.0.iter().for_each(|&factor| product.push(factor));
        product
    }

    /// The number, when nothing is free in it.
    pub(crate) fn fixed(&self) -> Option<usize> {
        match self.0.as_slice() {
            [] => Some(1),
            [Factor::Number(number)] => Some(*number),
            _ => None,
        }
    }

    pub(crate) fn is_one(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn is_free(&self) -> bool {
        self.fixed().is_none()
    }

    pub(crate) fn without_batch(&self) -> Self {
        Self(self.0.iter().copied().filter(|factor| *factor != Factor::Batch).collect())
    }

    pub(crate) fn has(&self, factor: Factor) -> bool {
        self.0.contains(&factor)
    }

    /// What stands in the published graph: a batch of one, and the whole length.
    pub(crate) fn baked(&self, length: usize) -> usize {
        let number = |factor: &Factor| match factor {
            Factor::Batch => 1,
            Factor::Length => length,
            Factor::Number(number) => *number,
        };
        self.0.iter().map(number).product()
    }

    /// Divides by a number that is one of the factors or divides one.
    pub(crate) fn divided(&self, by: usize) -> Option<Self> {
        let place = self.0.iter().rposition(
            |factor| matches!(factor, Factor::Number(number) if number.is_multiple_of(by)),
        )?;
        let mut quotient = Self::default();
        for (index, &factor) in self.0.iter().enumerate() {
            match factor {
                Factor::Number(number) if index == place => {
                    quotient.push(Factor::Number(number / by));
                }
                factor => quotient.push(factor),
            }
        }
        Some(quotient)
    }
}

/// As it is written into a graph, for example `batch*8`.
impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |factor: &Factor| match factor {
            Factor::Batch => "batch".to_owned(),
            Factor::Length => "length".to_owned(),
            Factor::Number(number) => number.to_string(),
        };
        match self.0.as_slice() {
            [] => f.write_str("1"),
            factors => f.write_str(&factors.iter().map(word).collect::<Vec<_>>().join("*")),
        }
    }
}

/// What is known of a dimension that a reshape asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Its size with a batch of one.
    pub(crate) baked: usize,
    /// Whether the batch is in it, where that is known.
    pub(crate) batch: Option<bool>,
}

/// Deals the factors of `input`, in order, to the dimensions that a reshape asks for.
///
/// Where the batch was baked it is 1 and fits everywhere. It goes to a target of 1 if one is next; else into the
/// dimension that begins where it stands, unless that is the last one: the last dimension is that of the features, and
/// never holds it.
pub(crate) fn deal(input: &[Dim], target: &[Wanted], length: usize) -> Option<Vec<Dim>> {
    let mut factors =
        input.iter().flat_map(|dim| dim.factors().iter().copied()).collect::<Vec<_>>();
    factors.reverse();
    let mut dealt = Vec::with_capacity(target.len());
    for (index, want) in target.iter().enumerate() {
        let mut dim = Dim::default();
        while dim.baked(length) != want.baked {
            let missing = want.baked / dim.baked(length);
            match factors.pop()? {
                Factor::Batch if want.batch == Some(false) => return None,
                Factor::Number(number) if missing > 0 && number > missing => {
                    number.is_multiple_of(missing).then_some(())?;
                    dim.push(Factor::Number(missing));
                    factors.push(Factor::Number(number / missing));
                }
                factor => dim.push(factor),
            }
            want.baked.is_multiple_of(dim.baked(length)).then_some(())?;
        }
        if factors.last() == Some(&Factor::Batch) && takes_batch(target, index) {
            factors.pop();
            dim.push(Factor::Batch);
        }
        dealt.push(dim);
    }
    factors.is_empty().then_some(dealt)
}

/// Whether a dimension that is complete without the batch takes it all the same.
fn takes_batch(target: &[Wanted], index: usize) -> bool {
    let Wanted { baked, batch } = target[index];
    batch.unwrap_or_else(|| {
        let Some(next) = target.get(index + 1) else { return true };
        let next_is_last = index + 2 == target.len();
        let next_may = next.batch.unwrap_or(next.baked == 1 || !next_is_last);
        baked == 1 || !next_may
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims(words: &str) -> Vec<Dim> {
        words
            .split(' ')
            .map(|word| {
                let mut dim = Dim::default();
                for factor in word.split('*') {
                    dim.push(match factor {
                        "B" => Factor::Batch,
                        "S" => Factor::Length,
                        number => Factor::Number(number.parse().expect("a number")),
                    });
                }
                dim
            })
            .collect()
    }

    #[test]
    fn the_reshapes_of_attention_are_dealt_by_order() {
        for (input, target, want) in [
            ("S B 1536", &[77, 1, 3, 512][..], "S B 3 512"),
            ("S B 512", &[77, 8, 64], "S B*8 64"),
            ("B*8 S 64", &[1, 8, 77, 64], "B 8 S 64"),
            ("S B 8 64", &[77, 512], "S*B 512"),
            ("S*B 512", &[77, 1, 512], "S B 512"),
            ("B S 512", &[77, 512], "B*S 512"),
            ("B 768 7 7", &[1, 768, 49], "B 768 49"),
            ("B 8 S 64", &[8, 77, 64], "B*8 S 64"),
            ("B S 512", &[1, 77, 8, 64], "B S 8 64"),
        ] {
            assert_eq!(baked(input, target), Some(dims(want)), "{input} to {target:?}");
        }
        assert_eq!(baked("S B 512", &[7, 11, 512]), None, "a length is not split");
        assert_eq!(baked("B 512", &[1, 500]), None);
    }

    fn baked(input: &str, target: &[usize]) -> Option<Vec<Dim>> {
        let wanted = target.iter().map(|&baked| Wanted { baked, batch: None }).collect::<Vec<_>>();
        deal(&dims(input), &wanted, 77)
    }

    #[test]
    fn what_is_known_of_the_batch_is_kept_to() {
        let wanted = [(1, false), (4, true), (8, false)];
        let wanted = wanted.map(|(baked, batch)| Wanted { baked, batch: Some(batch) });
        assert_eq!(deal(&dims("1 B 32"), &wanted, 77), Some(dims("1 B*4 8")));
        assert_eq!(baked("1 B 32", &[1, 4, 8]), Some(dims("B 4 8")), "not known");
    }

    #[test]
    fn products_have_one_form() {
        assert_eq!(dims("8*64"), dims("512"));
        assert_eq!(dims("B*1"), dims("B"));
        assert_eq!(dims("B*512")[0].divided(8), Some(dims("B*64")[0].clone()));
        assert_eq!(dims("B*512")[0].to_string(), "batch*512");
    }
}
