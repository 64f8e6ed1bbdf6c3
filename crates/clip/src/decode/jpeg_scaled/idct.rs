//! Inverse cosine transforms from the slowest waves of an 8x8 block to a smaller block of pixels.

/// A block of coefficients has 64 places and one where unneeded ones are put; 256, so that a byte is always an index.
pub(super) const BLOCK_SLOTS: usize = 256;
/// Where coefficients go that the transform does not look at.
pub(super) const TRASH: u8 = 255;

/// Writes a block's pixels; the second number is the distance between rows.
pub(super) type Transform = fn(&[f32; BLOCK_SLOTS], &mut [u8], usize);

/// The transform to `width` x `height` pixels.
pub(super) fn transform(width: usize, height: usize) -> Option<Transform> {
    Some(match (width, height) {
        (1, 1) => inverse::<1, 1>,
        (1, 2) => inverse::<1, 2>,
        (2, 1) => inverse::<2, 1>,
        (2, 2) => inverse::<2, 2>,
        (2, 4) => inverse::<2, 4>,
        (4, 2) => inverse::<4, 2>,
        (4, 4) => inverse::<4, 4>,
        (4, 8) => inverse::<4, 8>,
        (8, 4) => inverse::<8, 4>,
        (8, 8) => inverse::<8, 8>,
        _ => return None,
    })
}

/// For each coefficient in file order: where it goes in the block, and its quantiser.
pub(super) fn places(width: usize, height: usize, quantisers: &[u16; 64]) -> [(u8, f32); 64] {
    std::array::from_fn(|index| {
        let natural = usize::from(ZIGZAG[index]);
        let (column, row) = (natural % 8, natural / 8);
        let slot =
            if column < width && row < height { (row * width + column) as u8 } else { TRASH };
        (slot, f32::from(quantisers[index]))
    })
}

/// File order to row order.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// cos(i * pi / 16) for a quarter turn.
const COSINES: [f32; 9] = [
    1.0,
    0.980_785_25,
    0.923_879_5,
    0.831_469_6,
    std::f32::consts::FRAC_1_SQRT_2,
    0.555_570_25,
    0.382_683_43,
    0.195_090_32,
    0.0,
];

const fn cosine(sixteenths: usize) -> f32 {
    match sixteenths % 32 {
        turn @ 0..=8 => COSINES[turn],
        turn @ 9..=16 => -COSINES[16 - turn],
        turn @ 17..=24 => -COSINES[turn - 16],
        turn => COSINES[32 - turn],
    }
}

/// Wave `k` at pixel `n` of `N`. Scaled so that the mean stays what it is, whatever `N`.
const fn basis<const N: usize>() -> [[f32; N]; N] {
    let mut waves = [[0.0; N]; N];
    let mut k = 0;
    while k < N {
        let mut n = 0;
        while n < N {
            let scale = if k == 0 { std::f32::consts::FRAC_1_SQRT_2 / 2.0 } else { 0.5 };
            waves[k][n] = scale * cosine((2 * n + 1) * k * (8 / N));
            n += 1;
        }
        k += 1;
    }
    waves
}

struct Basis<const N: usize>;

impl<const N: usize> Basis<N> {
    const WAVES: [[f32; N]; N] = basis::<N>();
}

fn inverse<const W: usize, const H: usize>(
    block: &[f32; BLOCK_SLOTS],
    pixels: &mut [u8],
    stride: usize,
) {
    let mut across = [[0.0_f32; W]; H];
    for (row, line) in across.iter_mut().enumerate() {
        for column in 0..W {
            let coefficient = block[row * W + column];
            for (sum, wave) in line.iter_mut().zip(Basis::<W>::WAVES[column]) {
                *sum += coefficient * wave;
            }
        }
    }
    for y in 0..H {
        let mut line = [128.5_f32; W];
        for (row, waves) in across.iter().zip(Basis::<H>::WAVES) {
            for (sum, part) in line.iter_mut().zip(row) {
                *sum += part * waves[y];
            }
        }
        let Some(target) = pixels.get_mut(y * stride..y * stride + W) else { return };
        for (pixel, value) in target.iter_mut().zip(line) {
            // saturates at both ends
            *pixel = value as u8;
        }
    }
}
