//! Times the encoders of a bundle, as published and prepared: `cargo run -p clip --example encoder_speed -- BUNDLE DIR`.
//! DIR is where prepared graphs are kept. ONNX Runtime is measured, too, when `ORT_DYLIB_PATH` names it, with the provider
//! that `CLIP_PROVIDER` names.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Instant;

use clip::{EngineChoice, LoadOptions, Model, Precision};

const ROUNDS: usize = 9;

type Rows = Vec<Vec<f32>>;

fn main() {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (bundle, prepared) = (arguments.next().unwrap(), arguments.next().unwrap());
    let library = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
    let provider = std::env::var("CLIP_PROVIDER").ok().map(|word| word.parse().unwrap());
    let engines = [EngineChoice::OnnxRuntime, EngineChoice::Rten];
    let ways = [
        (None, Precision::F32),
        (Some(&prepared), Precision::F32),
        (Some(&prepared), Precision::Int8),
    ];
    println!(
        "engine       graph      load s  picture alone, of 8 | query alone, of 8 | 77 tokens, of 8 (ms each, medians)"
    );
    let mut exact: Option<(Rows, Rows)> = None;
    for engine in
        engines.into_iter().filter(|engine| library.is_some() || *engine == EngineChoice::Rten)
    {
        for (dir, precision) in ways {
            let options = LoadOptions {
                engine,
                onnxruntime_library: library.clone(),
                prepared_dir: dir.cloned(),
                precision,
                providers: provider.into_iter().collect(),
                ..LoadOptions::default()
            };
            // once to prepare, once to time
            drop(Model::load(&bundle, &options));
            let start = Instant::now();
            let model = match Model::load(&bundle, &options) {
                Ok(model) => model,
                Err(error) => {
                    println!("{engine} {precision}: {error}");
                    continue;
                }
            };
            let loading = start.elapsed().as_secs_f64();
            for note in &model.info().preparation_notes {
                println!("{note}");
            }
            let way = if dir.is_none() {
                "published".to_owned()
            } else {
                format!("prepared {precision}")
            };
            let (pixels, texts) = (pixels(&model), texts());
            let texts = texts.iter().map(String::as_str).collect::<Vec<_>>();
            let long = vec!["a red apple on a wooden table in the garden ".repeat(12); 8];
            let long = long.iter().map(String::as_str).collect::<Vec<_>>();
            let picture =
                [1, 8].map(|n| time(n, || drop(model.encode_images(&pixels[..n]).unwrap())));
            let query = [1, 8].map(|n| time(n, || drop(model.encode_texts(&texts[..n]).unwrap())));
            let whole = [1, 8].map(|n| time(n, || drop(model.encode_texts(&long[..n]).unwrap())));
            println!(
                "{:12} {way:14} {loading:5.2}  {:6.1} {:6.1} | {:6.1} {:6.1} | {:6.1} {:6.1}",
                engine.to_string(),
                picture[0],
                picture[1],
                query[0],
                query[1],
                whole[0],
                whole[1]
            );
            let rows = (model.encode_images(&pixels).unwrap(), model.encode_texts(&texts).unwrap());
            let exact = exact.get_or_insert_with(|| rows.clone());
            println!(
                "{:12} least cosine to the first line: pictures {:.6}, texts {:.6}",
                "",
                least(&exact.0, &rows.0),
                least(&exact.1, &rows.1)
            );
        }
    }
}

fn least(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    let cosine = |(a, b): (&Vec<f32>, &Vec<f32>)| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    a.iter().zip(b).map(cosine).fold(1.0, f32::min)
}

/// Milliseconds for one of `count`, the median of some rounds.
fn time(count: usize, run: impl Fn()) -> f64 {
    run();
    let mut times = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3 / count as f64
        })
        .collect::<Vec<_>>();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

fn pixels(model: &Model) -> Vec<clip::Pixels> {
    let picture = |seed: u32| {
        image::RgbImage::from_fn(320, 240, |x, y| {
            image::Rgb([(x * (seed + 1)) as u8, (y * 3 + seed * 40) as u8, (x * y / 7) as u8])
        })
    };
    (0..8).map(|seed| model.preprocess(&picture(seed))).collect()
}

fn texts() -> Vec<String> {
    let words = ["dog", "cat", "apple", "tree", "car", "house", "boat", "bird"];
    words.map(|word| format!("a {word} on red")).to_vec()
}
