//! Texts that mean nothing, always the same ones: what they find shows what a score is worth.

const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
const CONSONANTS: &[u8] = b"bcdfghjklmnpqrstvwxz";
const VOWELS: &[u8] = b"aeiou";

/// Half of them are letters in a row ("zxqv"), half can be pronounced ("blorfi").
pub(super) fn texts(seed: u64, count: usize) -> Vec<String> {
    let mut numbers = Numbers(seed);
    let text = |number| {
        let words = 1 + numbers.below(3);
        let word =
            |_| if number % 2 == 0 { letters(&mut numbers) } else { syllables(&mut numbers) };
        (0..words).map(word).collect::<Vec<_>>().join(" ")
    };
    (0..count).map(text).collect()
}

fn letters(numbers: &mut Numbers) -> String {
    (0..3 + numbers.below(6)).map(|_| numbers.of(LETTERS)).collect()
}

fn syllables(numbers: &mut Numbers) -> String {
    let mut word = String::new();
    for _ in 0..=numbers.below(3) {
        word.push(numbers.of(CONSONANTS));
        word.push(numbers.of(VOWELS));
        if numbers.below(5) < 3 {
            word.push(numbers.of(CONSONANTS));
        }
    }
    word
}

/// SplitMix64: the same numbers on every machine, for ever.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 33) as usize % end.max(1)
    }

    fn of(&mut self, letters: &[u8]) -> char {
        char::from(letters[self.below(letters.len())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_always_the_same_and_differ_by_seed() {
        assert_eq!(texts(1, 40), texts(1, 40));
        assert_ne!(texts(1, 40), texts(2, 40));
        assert!(texts(3, 200).iter().all(|text| !text.is_empty() && text.len() < 60));
    }
}
