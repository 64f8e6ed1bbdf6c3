//! Which of many vectors may be near each other, without comparing all with all: of each one 256 bits are kept, the sides of
//! 256 random hyperplanes it lies on. Near vectors differ in few of them (Charikar 2002), so those that agree in all or all but
//! one bit of any piece of them are looked at (Lv et al. 2007, multi-probe). Hyperplanes are rows of a random rotation by signs
//! and Hadamard transforms (Ailon and Chazelle 2009), after the mean is taken off: embeddings lie in a narrow cone.

use std::ops::ControlFlow;

const WORDS: usize = 4;
const BITS: usize = WORDS * 64;
/// Contents that a piece's value has in common, in the mean.
const BUCKET: usize = 16;
const PIECE_BITS_MIN: u32 = 4;
const PIECE_BITS_MAX: u32 = 16;
/// Of a value that more contents have in common, each is only looked at beside this many that follow it. Groups hang
/// together through their members.
const BUCKET_MAX: usize = 4096;
const WINDOW: usize = 256;
/// Near vectors are missed if they differ in more bits than expected by this many standard deviations.
const DEVIATIONS: f64 = 4.0;

/// What is kept of a vector.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sketch {
    bits: [u64; WORDS],
    /// In so many bits a vector may differ that is near.
    reach: u32,
}

impl Sketch {
    fn may_be_near(&self, other: &Self) -> bool {
        let differing: u32 =
            self.bits.iter().zip(other.bits).map(|(a, b)| (a ^ b).count_ones()).sum();
        differing <= self.reach.max(other.reach)
    }

    fn piece(&self, piece: Piece) -> usize {
        let (word, shift) = (piece.first / 64, piece.first % 64);
        let mut bits = self.bits[word] >> shift;
        if shift + piece.bits > 64 {
            bits |= self.bits[word + 1] << (64 - shift);
        }
        bits as usize & ((1 << piece.bits) - 1)
    }
}

/// Some bits of a sketch, side by side.
#[derive(Debug, Clone, Copy)]
struct Piece {
    first: usize,
    bits: usize,
}

/// Makes sketches that can be compared with each other.
pub(super) struct Sketcher {
    mean: Vec<f32>,
    /// Of the two rounds of the rotation.
    signs: [Vec<f32>; 2],
    distance_max: f64,
}

impl Sketcher {
    /// For vectors like those of the sample; near are those of at most `distance_squared_max`.
    pub(super) fn new(sample: &[Vec<f32>], distance_squared_max: f32) -> Self {
        let dim = sample.first().map_or(0, Vec::len);
        let mut mean = vec![0.0; dim];
        for vector in sample {
            for (sum, value) in mean.iter_mut().zip(vector) {
                *sum += value / sample.len() as f32;
            }
        }
        let width = dim.next_power_of_two().max(BITS);
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut sign = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if state >> 63 == 0 { 1.0 } else { -1.0 }
        };
        let signs = [0, 1].map(|_| (0..width).map(|_| sign()).collect());
        Self { mean, signs, distance_max: f64::from(distance_squared_max.max(0.0)).sqrt() }
    }

    pub(super) fn sketch(&self, vector: &[f32]) -> Sketch {
        let mut rotated: Vec<f32> = vector.iter().zip(&self.mean).map(|(a, b)| a - b).collect();
        let length = rotated.iter().map(|value| value * value).sum::<f32>().sqrt();
        rotated.resize(self.signs[0].len(), 0.0);
        for signs in &self.signs {
            for (value, sign) in rotated.iter_mut().zip(signs) {
                *value *= sign;
            }
            hadamard(&mut rotated);
        }
        let mut bits = [0; WORDS];
        for (place, value) in rotated.iter().take(BITS).enumerate() {
            bits[place / 64] |= u64::from(*value > 0.0) << (place % 64);
        }
        Sketch { bits, reach: self.reach(f64::from(length)) }
    }

    /// Seen from the mean, near vectors are at most at the angle under which a ball of that radius appears; each hyperplane
    /// comes between two at an angle with a probability of angle / pi.
    fn reach(&self, length: f64) -> u32 {
        if length <= self.distance_max {
            return BITS as u32;
        }
        let between = (self.distance_max / length).asin() / std::f64::consts::PI;
        let expected = BITS as f64 * between;
        (expected + DEVIATIONS * (expected * (1.0 - between)).sqrt()).ceil() as u32
    }
}

/// In place, without the factor, which changes no sign. The length is a power of two.
fn hadamard(values: &mut [f32]) {
    let mut half = 1;
    while half < values.len() {
        for both in values.chunks_exact_mut(2 * half) {
            let (left, right) = both.split_at_mut(half);
            for (a, b) in left.iter_mut().zip(right) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
}

/// Gives pairs of places of sketches that may be near to `found`, most of them once, until it breaks.
pub(super) fn candidates(
    sketches: &[Sketch],
    mut found: impl FnMut(u32, u32) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut earlier: Vec<Sizes> = Vec::new();
    for piece in pieces(sketches.len()) {
        let mut look = |a: u32, b: u32| {
            let (one, other) = (&sketches[a as usize], &sketches[b as usize]);
            // Who met by an earlier piece was told of then.
            if one.may_be_near(other) && !earlier.iter().any(|sizes| sizes.met(one, other)) {
                return found(a, b);
            }
            ControlFlow::Continue(())
        };
        let buckets = Buckets::new(sketches, piece);
        for value in 0..buckets.sizes.len() {
            within(buckets.of(value), &mut look)?;
            for bit in (0..piece.bits).map(|bit| 1 << bit).filter(|bit| value & bit == 0) {
                between(buckets.of(value), buckets.of(value | bit), &mut look)?;
            }
        }
        earlier.push(buckets.sizes);
    }
    ControlFlow::Continue(())
}

fn pieces(count: usize) -> Vec<Piece> {
    let wanted = (count / BUCKET).max(1).ilog2();
    let bits = wanted.clamp(PIECE_BITS_MIN, PIECE_BITS_MAX) as usize;
    (0..BITS / bits).map(|number| Piece { first: number * bits, bits }).collect()
}

type Look<'a> = &'a mut dyn FnMut(u32, u32) -> ControlFlow<()>;

fn within(bucket: &[u32], look: Look<'_>) -> ControlFlow<()> {
    let most = if bucket.len() > BUCKET_MAX { WINDOW } else { bucket.len() };
    for (place, a) in bucket.iter().enumerate() {
        for b in bucket[place + 1..].iter().take(most) {
            look(*a, *b)?;
        }
    }
    ControlFlow::Continue(())
}

fn between(bucket: &[u32], other: &[u32], look: Look<'_>) -> ControlFlow<()> {
    let is_large = bucket.len().max(other.len()) > BUCKET_MAX;
    for (place, a) in bucket.iter().enumerate() {
        let others = if is_large {
            let start = place.min(other.len().saturating_sub(WINDOW));
            &other[start..other.len().min(start + WINDOW)]
        } else {
            other
        };
        for b in others {
            look(*a, *b)?;
        }
    }
    ControlFlow::Continue(())
}

/// How many sketches have each value of a piece.
struct Sizes {
    piece: Piece,
    /// Where each value's places begin, and where the last one's end.
    starts: Vec<u32>,
}

impl Sizes {
    fn new(sketches: &[Sketch], piece: Piece) -> Self {
        let mut starts = vec![0_u32; (1 << piece.bits) + 1];
        for sketch in sketches {
            starts[sketch.piece(piece) + 1] += 1;
        }
        for value in 1..starts.len() {
            starts[value] += starts[value - 1];
        }
        Self { piece, starts }
    }

    /// How many values there are.
    fn len(&self) -> usize {
        self.starts.len() - 1
    }

    fn range(&self, value: usize) -> std::ops::Range<usize> {
        self.starts[value] as usize..self.starts[value + 1] as usize
    }

    /// Whether two were looked at side by side because of this piece.
    fn met(&self, one: &Sketch, other: &Sketch) -> bool {
        let [a, b] = [one, other].map(|sketch| sketch.piece(self.piece));
        (a ^ b).count_ones() <= 1 && self.range(a).len().max(self.range(b).len()) <= BUCKET_MAX
    }
}

/// Places of sketches by the value of one piece.
struct Buckets {
    places: Vec<u32>,
    sizes: Sizes,
}

impl Buckets {
    fn new(sketches: &[Sketch], piece: Piece) -> Self {
        let sizes = Sizes::new(sketches, piece);
        let (mut next, mut places) = (sizes.starts.clone(), vec![0; sketches.len()]);
        for (place, sketch) in sketches.iter().enumerate() {
            let at = &mut next[sketch.piece(piece)];
            places[*at as usize] = place as u32;
            *at += 1;
        }
        for range in (0..sizes.len()).map(|value| sizes.range(value)) {
            if range.len() > BUCKET_MAX {
                // Those that are most alike come to stand side by side.
                places[range].sort_by_key(|place| sketches[*place as usize].bits);
            }
        }
        Self { places, sizes }
    }

    fn of(&self, value: usize) -> &[u32] {
        &self.places[self.sizes.range(value)]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    struct Noise(u64);

    impl Noise {
        /// Roughly a normal distribution.
        fn next(&mut self) -> f32 {
            let mut sum = 0.0;
            for _ in 0..4 {
                self.0 ^= self.0 << 13;
                self.0 ^= self.0 >> 7;
                self.0 ^= self.0 << 17;
                sum += (self.0 >> 40) as f32 / (1_u32 << 23) as f32 - 1.0;
            }
            sum
        }

        fn vector(&mut self, dim: usize) -> Vec<f32> {
            (0..dim).map(|_| self.next()).collect()
        }
    }

    fn unit(mut vector: Vec<f32>) -> Vec<f32> {
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        for value in &mut vector {
            *value /= length;
        }
        vector
    }

    /// Vectors in a cone, as those of CLIP are: unrelated ones have a cosine of about 0.5.
    fn cone(noise: &mut Noise, axis: &[f32]) -> Vec<f32> {
        unit(axis.iter().map(|value| value + noise.next()).collect())
    }

    /// A vector whose cosine with the given one is `cosine`.
    fn beside(noise: &mut Noise, vector: &[f32], cosine: f32) -> Vec<f32> {
        let other = noise.vector(vector.len());
        let along: f32 = vector.iter().zip(&other).map(|(a, b)| a * b).sum();
        let across = unit(vector.iter().zip(&other).map(|(a, b)| b - along * a).collect());
        let sine = (1.0 - cosine * cosine).sqrt();
        vector.iter().zip(across).map(|(a, b)| cosine * a + sine * b).collect()
    }

    /// All that are told of.
    fn pairs(vectors: &[Vec<f32>]) -> Vec<(u32, u32)> {
        let sketcher = Sketcher::new(vectors, 2.0 - 2.0 * 0.97);
        let sketches: Vec<Sketch> = vectors.iter().map(|vector| sketcher.sketch(vector)).collect();
        let mut all = Vec::new();
        let _ = candidates(&sketches, |a, b| {
            all.push((a.min(b), a.max(b)));
            ControlFlow::Continue(())
        });
        all
    }

    #[test]
    fn near_vectors_are_among_the_candidates_and_few_others_are() {
        for (dim, count) in [(64, 300), (512, 4_000), (768, 1_000)] {
            let mut noise = Noise(7 + dim as u64);
            let axis = noise.vector(dim);
            let mut vectors: Vec<Vec<f32>> = (0..count).map(|_| cone(&mut noise, &axis)).collect();
            // From the bound to a copy that was encoded again.
            for (place, cosine) in [0.972, 0.98, 0.99, 0.999].into_iter().cycle().enumerate() {
                if place == 200 {
                    break;
                }
                let near = beside(&mut noise, &vectors[place], cosine);
                vectors.push(near);
            }
            let all = pairs(&vectors);
            let once: HashSet<(u32, u32)> = all.iter().copied().collect();
            assert_eq!(all.len(), once.len(), "a pair was told of twice");
            let missed = (0..200).filter(|place| !once.contains(&(*place, count + place))).count();
            assert!(missed <= 2, "{missed} of 200 were missed among {count} of {dim} dimensions");
            let others = once.len() - (200 - missed);
            assert!(others < vectors.len() * 20, "{others} others among {}", vectors.len());
        }
    }

    #[test]
    fn many_that_are_the_same_are_not_all_compared_and_hang_together() {
        let count = BUCKET_MAX as u32 + 1000;
        let mut noise = Noise(3);
        let axis = noise.vector(64);
        let one = cone(&mut noise, &axis);
        let mut vectors: Vec<Vec<f32>> =
            (0..count).map(|_| beside(&mut noise, &one, 0.9999)).collect();
        vectors.extend((0..count).map(|_| cone(&mut noise, &axis)));
        let all = pairs(&vectors);
        let met: HashSet<u32> = all.iter().flat_map(|(a, b)| [*a, *b]).collect();
        assert!((0..count).all(|place| met.contains(&place)));
        assert!(all.len() < count as usize * WINDOW * 20, "{} pairs", all.len());
    }

    #[test]
    fn nothing_and_little_is_no_trouble() {
        let sketcher = Sketcher::new(&[], 0.06);
        assert!(candidates(&[], |_, _| ControlFlow::Continue(())).is_continue());
        let one = sketcher.sketch(&[1.0, 0.0]);
        assert!(candidates(&[one], |_, _| ControlFlow::Break(())).is_continue());
        assert!(candidates(&[one, one], |_, _| ControlFlow::Break(())).is_break());
    }
}
