//! The proof that a prepared graph computes what the published one computes.
//!
//! Inputs of unlike length and look are run alone and together, so that a row that reads from its neighbour, a place
//! that is off by one, or a lost mask shows. It also demands that the rows differ: of a model that gives the same row
//! for everything nothing can be learned.

use image::{Rgb, RgbImage};

use crate::error::EncodeError;
use crate::preprocess::Pixels;
use crate::towers::{PictureTower, TextTower};

/// Most that rows may differ, as 1 - cosine. Rewritten graphs differ by less than 1e-12 and broken ones by 1e-3 and more.
const DIFFERENCE_MAX: f64 = 1e-6;
/// Least that unlike inputs have to differ.
const UNLIKE_MIN: f64 = 1e-4;
const TEXTS: usize = 30;
const PICTURES: u32 = 8;

/// Most that a row of int8 may differ from the published one. A broken graph differs by 0.1 and more.
const INT8_DIFFERENCE_MAX: f64 = 0.03;

type Rows = Vec<Vec<f32>>;

/// That int8 gives nearly the same rows, and the same alone and in a batch.
pub(crate) fn of_int8<T>(
    inputs: &[T],
    published: impl Fn(&[T]) -> Result<Rows, EncodeError>,
    int8: impl Fn(&[T]) -> Result<Rows, EncodeError>,
) -> Result<(), String> {
    let rows = alone(inputs, &int8)?;
    compare(&rows, &int8(inputs).map_err(words)?, "all in one batch")?;
    let want = alone(inputs, published)?;
    let worst =
        want.iter().zip(&rows).map(|(want, have)| difference(want, have)).fold(0.0, f64::max);
    if worst < INT8_DIFFERENCE_MAX {
        return Ok(());
    }
    Err(format!("its rows are too far from the published ones (1 - cosine is {worst:.1e})"))
}

pub(crate) fn of_texts(published: &TextTower, prepared: &TextTower) -> Result<(), String> {
    let texts = texts(published.context_length);
    let texts = texts.iter().map(String::as_str).collect::<Vec<_>>();
    let want = alone(&texts, |one| published.encode(one))?;
    let unlike = [(0, TEXTS / 2), (TEXTS / 2, TEXTS - 1), (0, TEXTS - 1)];
    differ(&want, &unlike)?;
    compare(&want, &prepared.encode(&texts).map_err(words)?, "all in one batch")?;
    compare(&want, &alone(&texts, |one| prepared.encode(one))?, "one by one")?;
    // the shortest with the longest, and so on inwards
    for (front, back) in (0..TEXTS / 2).map(|index| (index, TEXTS - 1 - index)) {
        let rows = prepared.encode(&[texts[back], texts[front]]).map_err(words)?;
        compare(&[want[back].clone(), want[front].clone()], &rows, "two by two")?;
    }
    Ok(())
}

pub(crate) fn of_pictures(published: &PictureTower, prepared: &PictureTower) -> Result<(), String> {
    let pixels = pixels(published);
    let want = alone(&pixels, |one| published.encode(one))?;
    let neighbours = (1..want.len()).map(|index| (index - 1, index)).collect::<Vec<_>>();
    differ(&want, &neighbours)?;
    compare(&want, &prepared.encode(&pixels).map_err(words)?, "all in one batch")?;
    compare(&want, &alone(&pixels, |one| prepared.encode(one))?, "one by one")
}

fn alone<T>(
    inputs: &[T],
    encode: impl Fn(&[T]) -> Result<Rows, EncodeError>,
) -> Result<Rows, String> {
    let rows = inputs.chunks(1).map(encode).collect::<Result<Vec<_>, _>>();
    Ok(rows.map_err(words)?.concat())
}

#[allow(clippy::needless_pass_by_value)] // it stands in map_err
fn words(error: EncodeError) -> String {
    error.to_string()
}

fn compare(want: &[Vec<f32>], have: &[Vec<f32>], how: &str) -> Result<(), String> {
    let worst =
        want.iter().zip(have).map(|(want, have)| difference(want, have)).fold(0.0, f64::max);
    if want.len() == have.len() && worst < DIFFERENCE_MAX {
        return Ok(());
    }
    Err(format!("the prepared graph gives other rows ({how}, 1 - cosine is {worst:.1e})"))
}

fn differ(rows: &[Vec<f32>], pairs: &[(usize, usize)]) -> Result<(), String> {
    let differences = pairs.iter().map(|&(a, b)| difference(&rows[a], &rows[b]));
    let least = differences.fold(f64::INFINITY, f64::min);
    if least > UNLIKE_MIN {
        return Ok(());
    }
    Err(format!(
        "it gives nearly the same row for unlike inputs (1 - cosine is {least:.1e}), which proves nothing"
    ))
}

/// 1 - cosine; not a number is the greatest difference.
fn difference(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>()
    };
    let difference = 1.0 - dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    if difference.is_finite() { difference.abs() } else { f64::INFINITY }
}

/// From no word to more than fit.
pub(crate) fn texts(context_length: usize) -> Vec<String> {
    const WORDS: [&str; 20] = [
        "tennis", "a", "photo", "of", "two", "dogs", "running", "on", "the", "red", "beach", "at",
        "night", "with", "green", "apples", "under", "an", "old", "tree",
    ];
    let text = |index: usize| {
        let count = index * context_length / (TEXTS - 1);
        let words = (0..count).map(|place| WORDS[(place * 7 + index) % WORDS.len()]);
        words.collect::<Vec<_>>().join(" ")
    };
    (0..TEXTS).map(text).collect()
}

/// Pictures as the tower takes them.
pub(crate) fn pixels(tower: &PictureTower) -> Vec<Pixels> {
    (0..PICTURES).map(|index| tower.preprocess(&picture(index))).collect()
}

/// Pictures that have little in common: colours, stripes, a gradient, noise.
fn picture(index: u32) -> RgbImage {
    const COLOURS: [[u32; 3]; 4] = [[255, 30, 20], [20, 40, 250], [240, 240, 230], [10, 120, 30]];
    let colour = COLOURS[index as usize % COLOURS.len()];
    let mut seed = index.wrapping_mul(0x9E37_79B9) | 1;
    RgbImage::from_fn(320, 240, |x, y| {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        let light = match index {
            0 | 1 => 255,
            2 => 255 * ((x / 16) % 2),
            3 => 255 * ((y / 11) % 2),
            4 => x * 255 / 320,
            5 => seed & 255,
            6 => 255 * (((x / 40) + (y / 40)) % 2),
            _ => (seed & 63) + 255 * u32::from((x * x + y * y) % 9000 < 4500) / 2,
        };
        Rgb(colour.map(|channel| (channel * light.min(255) / 255) as u8))
    })
}
