//! A loaded model: a tower for pictures, a tower for texts, and vectors that can be compared.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use image::RgbImage;

use crate::bundle::{Bundle, Family};
use crate::engine::onnxruntime::onnxruntime_available;
use crate::engine::opener::Opener;
use crate::engine::own_thread::on_own_thread;
use crate::engine::provider::Provider;
use crate::error::{EncodeError, LoadError};
use crate::precision::Precision;
use crate::prepare::Preparation;
use crate::preprocess::{Pixels, Preprocessor};
use crate::towers::{PictureTower, TextTower};

/// Lanes that are made without a wish.
const LANES_MAX: usize = 4;

/// Which library computes the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineChoice {
    /// ONNX Runtime if it is found and takes the model, else rten with a note.
    #[default]
    Auto,
    /// The pure Rust engine.
    Rten,
    /// ONNX Runtime or an error.
    OnnxRuntime,
}

/// A word that is no [`EngineChoice`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no engine; choose auto, rten or onnxruntime")]
pub struct UnknownEngine(pub String);

impl FromStr for EngineChoice {
    type Err = UnknownEngine;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "auto" => Ok(Self::Auto),
            "rten" => Ok(Self::Rten),
            "onnxruntime" => Ok(Self::OnnxRuntime),
            other => Err(UnknownEngine(other.into())),
        }
    }
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Rten => "rten",
            Self::OnnxRuntime => "onnxruntime",
        })
    }
}

/// How to load a model.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Which engine.
    pub engine: EngineChoice,
    /// Threads for one encoding; 0 = all cores.
    pub threads: usize,
    /// Path of ONNX Runtime's shared library; without it `ORT_DYLIB_PATH` and the usual places are tried.
    pub onnxruntime_library: Option<PathBuf>,
    /// What computes inside ONNX Runtime, the best first; the first that the library and the model can use. Empty is
    /// the processor.
    pub providers: Vec<Provider>,
    /// Batches of pictures that are computed side by side, each with its part of the threads; 0 = see
    /// [`ModelInfo::lanes`]. More lanes keep more processors busy, and each has its own copy of the picture weights.
    pub lanes: usize,
    /// Folder for prepared graphs: published ones often have a batch of one and texts of full length baked in, which a
    /// rewrite takes out. It is made and proved at the first load, which takes some seconds, and kept here. Without a
    /// folder the graphs are run as they are.
    pub prepared_dir: Option<PathBuf>,
    /// What matrix products are computed in.
    pub precision: Precision,
    /// Called on each thread that starts the threads which compute pictures, before it does: what it changes about itself,
    /// such as its priority, they inherit. Texts then have threads of their own.
    pub before_picture_threads: Option<fn()>,
    /// Leaves the half that reads texts, and its memory, away.
    pub pictures_only: bool,
}

/// What a loaded model is.
#[derive(Debug, Clone)]
pub struct ModelInfo {
    /// Length of an embedding.
    pub dim: usize,
    /// Width of the pictures the model sees, in pixels.
    pub image_width: u32,
    /// Height of the pictures the model sees, in pixels.
    pub image_height: u32,
    /// Tokens of a text, start and end included; longer texts are cut.
    pub context_length: usize,
    /// `"rten"` or `"onnxruntime"`.
    pub engine: &'static str,
    /// What computes inside ONNX Runtime, as it is called in the configuration.
    pub provider: Option<&'static str>,
    /// Why the automatic choice fell back, and what the other engine would give.
    pub engine_note: Option<String>,
    /// What could not be prepared and why: those graphs are run as they were published, which is slower. Empty when
    /// all went well, or when no folder was given for it.
    pub preparation_notes: Vec<String>,
    /// What matrix products are computed in.
    pub precision: Precision,
    /// Batches of pictures that are computed side by side. Without a wish: in int8, whose small steps leave a second
    /// processor waiting (measured: 17 ms a picture with both processors on one batch, 10 with a batch on each) and whose
    /// weights are small, one for each processor up to four; otherwise one.
    pub lanes: usize,
    /// Kind of the model.
    pub family: Family,
}

/// Both graphs, opened.
struct Towers {
    pictures: PictureTower,
    texts: Option<TextTower>,
    /// Of pictures.
    lanes: usize,
    /// What could not be prepared.
    notes: Vec<String>,
}

/// A loaded model. Can be shared between threads; every call blocks until it is done.
pub struct Model {
    info: ModelInfo,
    pictures: PictureTower,
    texts: Option<TextTower>,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Model {
    /// Loads a bundle: a directory with `config.json`, `visual/{model.onnx,preprocess_cfg.json}` and
    /// `textual/{model.onnx,tokenizer.json,tokenizer_config.json}`, or with `onnx/{vision_model,text_model}.onnx`,
    /// `tokenizer.json`, `preprocessor_config.json` and `config.json`. Every error names the file and what to do.
    pub fn load(dir: &Path, options: &LoadOptions) -> Result<Self, LoadError> {
        let bundle = Bundle::read(dir)?;
        let library = options.onnxruntime_library.as_deref();
        let threads = threads(options);
        let rten = |note| Self::open(&bundle, &Opener::rten(threads), options, note);
        if options.engine == EngineChoice::Rten {
            return rten(None);
        }
        let is_strict = options.engine == EngineChoice::OnnxRuntime;
        if let Err(reason) = onnxruntime_available(library) {
            if is_strict {
                return Err(LoadError::OnnxRuntimeUnavailable { reason });
            }
            return rten(Some(without_onnxruntime(library, &reason)));
        }
        match Self::open_in_onnxruntime(&bundle, options) {
            Err(error) if !is_strict => {
                rten(Some(format!("ONNX Runtime is there but could not be used: {error}")))
            }
            opened => opened,
        }
    }

    /// With the first provider that works; a note says why the ones before did not.
    fn open_in_onnxruntime(bundle: &Bundle, options: &LoadOptions) -> Result<Self, LoadError> {
        let library = options.onnxruntime_library.as_deref();
        let providers = match options.providers.as_slice() {
            [] => &[Provider::Cpu],
            providers => providers,
        };
        let mut notes = Vec::new();
        let mut last = None;
        for &provider in providers {
            let note = (!notes.is_empty()).then(|| notes.join("; "));
            let opened = Opener::onnxruntime(threads(options), library, provider)
                .map_err(|reason| LoadError::OnnxRuntimeUnavailable {
                    reason: format!("{provider}: {reason}"),
                })
                .and_then(|opener| Self::open(bundle, &opener, options, note));
            match opened {
                Ok(model) => return Ok(model),
                Err(error) => {
                    notes.push(format!("{provider} could not be used: {error}"));
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| LoadError::OnnxRuntimeUnavailable {
            reason: "no provider was named".to_owned(),
        }))
    }

    fn open(
        bundle: &Bundle,
        opener: &Opener,
        options: &LoadOptions,
        engine_note: Option<String>,
    ) -> Result<Self, LoadError> {
        let towers = || Self::open_towers(bundle, opener, options);
        let Towers { pictures, texts, lanes, notes } = match options.before_picture_threads {
            // What it does to a thread is not undone, so not to the caller's.
            Some(_) => on_own_thread(towers),
            None => towers(),
        }?;
        let info = ModelInfo {
            dim: 0,
            image_width: pictures.recipe.width,
            image_height: pictures.recipe.height,
            context_length: texts
                .as_ref()
                .map_or(bundle.tokenizer.context_length, |texts| texts.context_length),
            engine: opener.name(),
            provider: opener.provider().map(Provider::name),
            engine_note,
            preparation_notes: notes,
            precision: options.precision,
            lanes,
            family: bundle.family,
        };
        let mut model = Self { info, pictures, texts };
        model.info.dim = model.measure_dim()?;
        Ok(model)
    }

    /// Both on one thread: what one of the graphs took to open, hundreds of megabytes, serves the other one then. Pictures
    /// come last, so that only their threads inherit what is done before.
    fn open_towers(
        bundle: &Bundle,
        opener: &Opener,
        options: &LoadOptions,
    ) -> Result<Towers, LoadError> {
        let dir = options.prepared_dir.as_deref();
        let preparation = Preparation { bundle, opener, dir, precision: options.precision };
        let texts = (!options.pictures_only).then(|| preparation.tower::<TextTower>());
        let (texts, text_note) = texts.transpose()?.unzip();
        if let Some(before) = options.before_picture_threads {
            before();
        }
        let opener = &opener.for_pictures(lanes(options), options.before_picture_threads);
        let (pictures, picture_note) =
            Preparation { opener, ..preparation }.tower::<PictureTower>()?;
        let notes = [picture_note, text_note.flatten()].into_iter().flatten().collect();
        Ok(Towers { pictures, texts, lanes: opener.lanes(), notes })
    }

    /// Runs the graphs once: what the files promise and what the graphs give have to agree before anything is stored.
    fn measure_dim(&self) -> Result<usize, LoadError> {
        let refused = |path: PathBuf, reason: String| LoadError::Graph { path, reason };
        let dim = |rows: &[Vec<f32>]| rows.first().map_or(0, Vec::len);
        let black = RgbImage::new(self.info.image_width, self.info.image_height);
        let pictures = self.encode_images(&[self.preprocess(&black)]);
        let pictures =
            pictures.map_err(|error| refused(self.pictures.path(), error.to_string()))?;
        let pictures = dim(&pictures);
        let Some(texts) = &self.texts else { return Ok(pictures) };
        let path = texts.path();
        let texts = texts.encode(&["a photo"]);
        let texts = dim(&texts.map_err(|error| refused(path.clone(), error.to_string()))?);
        if pictures != texts {
            let reason = format!(
                "its embedding has {texts} numbers, that of {} has {pictures}",
                self.pictures.path().display()
            );
            return Err(refused(path, reason));
        }
        Ok(pictures)
    }

    /// What was loaded.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// What brings pictures to the model's size and range, for use without the model itself.
    pub fn preprocessor(&self) -> Preprocessor {
        Preprocessor { recipe: self.pictures.recipe.clone(), layout: self.pictures.layout }
    }

    /// Brings a picture to the model's size and range. Cheap beside the encoding, and independent of it: may run on
    /// any thread.
    pub fn preprocess(&self, rgb: &RgbImage) -> Pixels {
        self.pictures.preprocess(rgb)
    }

    /// One L2-normalised row of `dim` numbers per picture, in order.
    pub fn encode_images(&self, batch: &[Pixels]) -> Result<Vec<Vec<f32>>, EncodeError> {
        self.pictures.encode(batch)
    }

    /// One L2-normalised row of `dim` numbers per text, in order.
    pub fn encode_texts(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EncodeError> {
        self.texts.as_ref().ok_or(EncodeError::PicturesOnly)?.encode(texts)
    }

    /// The ids of a text: cleaned up, cut and padded to the context length.
    pub fn tokenize(&self, text: &str) -> Result<Vec<i64>, EncodeError> {
        Ok(self.texts.as_ref().ok_or(EncodeError::PicturesOnly)?.tokens(text)?.ids)
    }
}

/// Who named a library wants to know why it is not used; for all others it is only an offer.
fn without_onnxruntime(library: Option<&Path>, reason: &str) -> String {
    let was_named = library.is_some()
        || std::env::var_os("ORT_DYLIB_PATH").is_some_and(|path| !path.is_empty());
    if was_named {
        format!("ONNX Runtime was asked for and cannot be used: {reason}")
    } else {
        "The built-in engine. ONNX Runtime is up to 1.4 times as fast and was not found; `make onnxruntime` gets it"
            .to_owned()
    }
}

fn lanes(options: &LoadOptions) -> usize {
    match (options.lanes, options.precision) {
        (0, Precision::F32) => 1,
        (0, Precision::Int8) => threads(options).min(LANES_MAX),
        (lanes, _) => lanes.min(threads(options)),
    }
}

fn threads(options: &LoadOptions) -> usize {
    match options.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    }
}
