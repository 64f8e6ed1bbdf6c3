//! What one query learned: what others who asked alike, or this one just now, said of some contents. It moves those up and
//! down among the candidates, in units of how far the candidates' scores lie apart, so it means the same for every model.
//! The scores themselves stay what they are.

use std::collections::{HashMap, HashSet};

use crate::types::ContentHash;

/// The best of a ranking are ordered again; the rest follows as it is.
pub(in crate::search) const REORDERED_MAX: usize = 128;
/// How far a content moves at most that everybody likes, or dislikes: this share of the way from the last candidate to the first.
/// Less and more were worse on the demonstration pictures (tools/simulate-users).
const BOOST_SHARE: f32 = 1.2;
/// The same for what was said in this session: liked comes first, disliked last.
const SESSION_SHARE: f32 = 3.0;

/// Tells contents apart: the first 8 bytes of the hash, which is what tokens carry of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::search) struct ContentKey(u64);

impl ContentKey {
    pub(in crate::search) fn of(hash: &ContentHash) -> Self {
        let mut first = [0; 8];
        first.copy_from_slice(&hash.as_bytes()[..8]);
        Self(u64::from_be_bytes(first))
    }

    /// What comes right before all hashes that begin so.
    pub(in crate::search) fn first(self) -> ContentHash {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.0.to_be_bytes());
        ContentHash::from_bytes(bytes)
    }

    /// From 16 hexadecimal digits.
    pub(in crate::search) fn parse(digits: &str) -> Option<Self> {
        u64::from_str_radix(digits, 16).ok().map(Self)
    }
}

/// What is thought of a content.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::search) struct Opinion {
    /// From -1 (unwanted) to 1.
    pub(in crate::search) value: f32,
    /// Which ratings it is made of.
    pub(in crate::search) ratings: Vec<u32>,
}

/// See the head of this file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::search) struct Learned {
    pub(in crate::search) remembered: HashMap<ContentKey, Opinion>,
    /// The thumbs of this session.
    pub(in crate::search) session: HashMap<ContentKey, bool>,
}

impl Learned {
    pub(in crate::search) fn is_empty(&self) -> bool {
        self.remembered.is_empty() && self.session.is_empty()
    }

    /// Puts candidates, best first, into their new order. Returns how many at the beginning are not in the order of their
    /// scores any more, and from how many ratings that comes.
    pub(in crate::search) fn reorder(&self, hits: &mut [(ContentHash, f32)]) -> (usize, u32) {
        let end = hits.len().min(REORDERED_MAX);
        let Some(best) = hits.get_mut(..end) else { return (0, 0) };
        let (Some((_, first)), Some((_, last))) = (best.first(), best.last()) else {
            return (0, 0);
        };
        let reach = (first - last).max(f32::EPSILON);
        let mut ratings: HashSet<u32> = HashSet::new();
        let mut is_session = false;
        let mut placed: Vec<(f32, (ContentHash, f32))> = best
            .iter()
            .map(|hit| {
                let key = ContentKey::of(&hit.0);
                let mut place = hit.1;
                if let Some(opinion) = self.remembered.get(&key) {
                    place += BOOST_SHARE * reach * opinion.value;
                    ratings.extend(&opinion.ratings);
                }
                if let Some(liked) = self.session.get(&key) {
                    is_session = true;
                    place += SESSION_SHARE * reach * if *liked { 1.0 } else { -1.0 };
                }
                (place, *hit)
            })
            .collect();
        let learned_from = ratings.len() as u32 + u32::from(is_session);
        if learned_from == 0 {
            return (0, 0);
        }
        // Stable, so equals stay in the order of the store.
        placed.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (hit, (_, moved)) in best.iter_mut().zip(placed) {
            *hit = moved;
        }
        (end, learned_from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u32) -> ContentHash {
        ContentHash::of(&number.to_le_bytes())
    }

    fn order(learned: &Learned) -> (Vec<u32>, u32) {
        let mut hits: Vec<_> =
            (0..5).map(|number| (hash(number), 1.0 - number as f32 / 10.0)).collect();
        let (_, learned_from) = learned.reorder(&mut hits);
        let number = |found: &ContentHash| (0..5).find(|n| hash(*n) == *found).expect("ours");
        let is_kept = |(hash, score): &(ContentHash, f32)| {
            (score + number(hash) as f32 / 10.0 - 1.0).abs() < 1e-6
        };
        assert!(hits.iter().all(is_kept));
        (hits.iter().map(|(hash, _)| number(hash)).collect(), learned_from)
    }

    fn opinion(number: u32, value: f32, ratings: &[u32]) -> (ContentKey, Opinion) {
        (ContentKey::of(&hash(number)), Opinion { value, ratings: ratings.to_vec() })
    }

    #[test]
    fn liked_contents_move_up_and_disliked_ones_down_with_their_scores() {
        assert_eq!(order(&Learned::default()), (vec![0, 1, 2, 3, 4], 0));
        let elsewhere =
            Learned { remembered: [opinion(99, 1.0, &[1])].into(), ..Learned::default() };
        assert_eq!(order(&elsewhere), (vec![0, 1, 2, 3, 4], 0), "it is not among the candidates");
        let remembered = [opinion(3, 0.7, &[1, 2]), opinion(0, -0.5, &[2, 3])].into();
        let learned = Learned { remembered, ..Learned::default() };
        assert_eq!(order(&learned), (vec![3, 1, 2, 0, 4], 3));
    }

    #[test]
    fn what_was_said_in_this_session_comes_first_or_last() {
        let session = [(ContentKey::of(&hash(4)), true), (ContentKey::of(&hash(0)), false)].into();
        let remembered = [opinion(4, -0.9, &[1])].into();
        assert_eq!(order(&Learned { remembered, session }), (vec![4, 1, 2, 3, 0], 2));
    }

    #[test]
    fn keys_of_tokens_are_those_of_contents() {
        let digits = &hash(7).to_string()[..16];
        assert_eq!(ContentKey::parse(digits), Some(ContentKey::of(&hash(7))));
        assert_eq!(ContentKey::parse("x"), None);
    }
}
