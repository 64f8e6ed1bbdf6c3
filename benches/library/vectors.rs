//! Synthetic vectors, in clusters as those of pictures are, and queries far from all of them, as those of texts are; or without
//! any structure, which is as hard as it gets and like no model's output. The same numbers give the same vectors.

use std::sync::OnceLock;

pub(crate) const DIM: usize = 512;
const CLUSTERS: u64 = 500;
/// Of pictures around the centre of their cluster, and of queries, in lengths of the centre.
const PICTURE_SPREAD: f32 = 1.0;
const QUERY_SPREAD: f32 = 3.0;
/// Queries are numbered from here on, beyond all pictures.
const QUERIES_FROM: u64 = 1_000_000_000;
/// A prime, so that queries come near clusters in no order.
const QUERY_STRIDE: u64 = 31;

/// How many there are; `CLUSTERS` in the environment says otherwise.
pub(crate) fn clusters() -> u64 {
    static COUNT: OnceLock<u64> = OnceLock::new();
    let wanted = || std::env::var("CLUSTERS").ok()?.parse().ok();
    *COUNT.get_or_init(|| wanted().unwrap_or(CLUSTERS))
}

/// Random numbers (SplitMix64), the same ones for the same seed.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    /// Roughly normal: the sum of four uniform numbers.
    fn next(&mut self) -> f32 {
        (0..4).map(|_| self.uniform() - 0.5).sum::<f32>() * 1.73
    }

    pub(crate) fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1_u32 << 24) as f32
    }
}

fn normalised(mut values: Vec<f32>) -> Vec<f32> {
    let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    for value in &mut values {
        *value /= norm;
    }
    values
}

/// The centre of the seed's cluster with noise around it; nothing but noise if `uniform`.
fn vector(seed: u64, spread: f32, uniform: bool) -> Vec<f32> {
    let mut noise = Numbers(seed.wrapping_mul(0x2545_F491_4F6C_DD1D));
    let mut centre = Numbers((seed % clusters()).wrapping_mul(0x1357_9BDF_0246_8ACE) ^ 0xABCD);
    let weight = if uniform { 0.0 } else { 1.0 };
    normalised((0..DIM).map(|_| weight * centre.next() + spread * noise.next()).collect())
}

pub(crate) fn picture_vector(number: u64, uniform: bool) -> Vec<f32> {
    vector(number, PICTURE_SPREAD, uniform)
}

pub(crate) fn query_vector(number: u64, uniform: bool) -> Vec<f32> {
    vector(QUERIES_FROM + number * QUERY_STRIDE, QUERY_SPREAD, uniform)
}
