//! A loaded model: two graphs, one recipe for pictures, one tokenizer, and vectors that can be compared.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use image::RgbImage;

use crate::bundle::{Bundle, Family, LoadError};
use crate::engine::onnxruntime::{OnnxRuntime, onnxruntime_available};
use crate::engine::rten::{Rten, thread_pool};
use crate::engine::{Data, Element, EncodeError, Engine, Input, Output, Port};
use crate::preprocess::{Layout, Pixels, Plane, Preprocessor, Recipe};
use crate::tokenize::{TextTokenizer, Tokens};

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
    /// Why the automatic choice fell back, and what the other engine would give.
    pub engine_note: Option<String>,
    /// Kind of the model.
    pub family: Family,
}

const RTEN: &str = "rten";
const ONNXRUNTIME: &str = "onnxruntime";

/// Graphs with a free batch size get at most this many rows at once, to bound the memory of one run.
const MAX_BATCH: usize = 64;

/// A loaded model. Can be shared between threads; every call blocks until it is done.
pub struct Model {
    info: ModelInfo,
    recipe: Recipe,
    layout: Layout,
    tokenizer: TextTokenizer,
    vision: Graph,
    text: Graph,
    ids: String,
    mask: Option<String>,
    token_types: Option<String>,
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
        let engines = Engines::load(&bundle, options)?;
        Self::assemble(bundle, engines)
    }

    fn assemble(bundle: Bundle, engines: Engines) -> Result<Self, LoadError> {
        let mut recipe = bundle.recipe;
        let vision = Graph::new(
            bundle.vision_graph,
            engines.vision,
            &["image", "pixel_values"],
            &["embedding", "image_embeds", "image_features", "pooler_output"],
        )?;
        let text = Graph::new(
            bundle.text_graph,
            engines.text,
            &["text", "input_ids"],
            &["embedding", "text_embeds", "text_features", "pooler_output"],
        )?;
        let layout = picture_input(&vision, &mut recipe, &bundle.preprocess_file)?;
        let ids = text.input()?;
        let context_length =
            ids.shape.get(1).copied().flatten().unwrap_or(bundle.tokenizer.context_length);
        let tokenizer = TextTokenizer::load(&bundle.tokenizer, context_length)?;
        text.refuse_unknown(&["attention_mask", "token_type_ids"])?;
        vision.refuse_unknown(&[])?;
        let ids = ids.name.clone();
        let port = |name: &str| {
            text.engine.inputs().iter().any(|port| port.name == name).then(|| name.to_owned())
        };
        let (mask, token_types) = (port("attention_mask"), port("token_type_ids"));
        let info = ModelInfo {
            dim: 0,
            image_width: recipe.width,
            image_height: recipe.height,
            context_length,
            engine: engines.name,
            engine_note: engines.note,
            family: bundle.family,
        };
        let mut model =
            Self { info, recipe, layout, tokenizer, vision, text, ids, mask, token_types };
        model.info.dim = model.measure_dim()?;
        Ok(model)
    }

    /// Runs both graphs once: what the files promise and what the graphs give have to agree before anything is stored.
    fn measure_dim(&self) -> Result<usize, LoadError> {
        let refused =
            |graph: &Graph, reason: String| LoadError::Graph { path: graph.path.clone(), reason };
        let black = self.preprocess(&RgbImage::new(self.recipe.width, self.recipe.height));
        let pictures =
            self.run_images(&[black]).map_err(|error| refused(&self.vision, error.to_string()))?;
        let tokens = self
            .tokenizer
            .tokens("a photo")
            .map_err(|error| refused(&self.text, error.to_string()))?;
        let texts =
            self.run_texts(&[tokens]).map_err(|error| refused(&self.text, error.to_string()))?;
        let dim = |rows: &[Vec<f32>]| rows.first().map_or(0, Vec::len);
        let (pictures, texts) = (dim(&pictures), dim(&texts));
        if pictures != texts {
            let reason = format!(
                "its embedding has {texts} numbers, that of {} has {pictures}",
                self.vision.path.display()
            );
            return Err(refused(&self.text, reason));
        }
        Ok(pictures)
    }

    /// What was loaded.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// What brings pictures to the model's size and range, for use without the model itself.
    pub fn preprocessor(&self) -> Preprocessor {
        Preprocessor { recipe: self.recipe.clone(), layout: self.layout }
    }

    /// Brings a picture to the model's size and range. Cheap beside the encoding, and independent of it: may run on
    /// any thread.
    pub fn preprocess(&self, rgb: &RgbImage) -> Pixels {
        self.recipe.apply(rgb, self.layout)
    }

    /// One L2-normalised row of `dim` numbers per picture, in order.
    pub fn encode_images(&self, batch: &[Pixels]) -> Result<Vec<Vec<f32>>, EncodeError> {
        let mut rows = Vec::with_capacity(batch.len());
        for part in batch.chunks(self.vision.batch_size()) {
            rows.extend(self.run_images(part)?);
        }
        Ok(rows)
    }

    /// One L2-normalised row of `dim` numbers per text, in order.
    pub fn encode_texts(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EncodeError> {
        let tokens =
            texts.iter().map(|text| self.tokenizer.tokens(text)).collect::<Result<Vec<_>, _>>()?;
        let mut rows = Vec::with_capacity(tokens.len());
        for part in tokens.chunks(self.text.batch_size()) {
            rows.extend(self.run_texts(part)?);
        }
        Ok(rows)
    }

    /// The ids of a text as the text graph gets them: cleaned up, cut and padded to the context length.
    pub fn tokenize(&self, text: &str) -> Result<Vec<i64>, EncodeError> {
        Ok(self.tokenizer.tokens(text)?.ids)
    }

    fn run_images(&self, batch: &[Pixels]) -> Result<Vec<Vec<f32>>, EncodeError> {
        let (width, height) = (self.recipe.width as usize, self.recipe.height as usize);
        let shape = match self.layout {
            Layout::ByteInterleaved => vec![batch.len(), height, width, 3],
            Layout::FloatPlanes | Layout::BytePlanes => vec![batch.len(), 3, height, width],
        };
        let (mut floats, mut bytes) = (Vec::new(), Vec::new());
        for pixels in batch {
            match &pixels.0 {
                Plane::F32(values) => floats.extend_from_slice(values),
                Plane::U8(values) => bytes.extend_from_slice(values),
            }
        }
        let want = batch.len() * 3 * width * height;
        let (data, have) = match self.layout {
            Layout::FloatPlanes => (Data::F32(&floats), floats.len()),
            Layout::BytePlanes | Layout::ByteInterleaved => (Data::U8(&bytes), bytes.len()),
        };
        if have != want {
            return Err(EncodeError::ForeignPixels);
        }
        let name = self.vision.input.as_str();
        self.rows(&self.vision, &[Input { name, shape, data }], batch.len())
    }

    /// CLIP's text tower takes the row of the end token, found by ArgMax; CLIP tokenizers pad with that very token (and stand
    /// it in for unknown ones). ONNX's ArgMax answers the first of equal maxima, rten's (0.27) the last; so for rten everything
    /// behind the first end token becomes id 0. The attention is causal: what stands there changes nothing. `MobileCLIP`'s is
    /// not, and it was trained with zeros there, so they stand there in every engine.
    fn graph_ids<'a>(&self, tokens: &'a Tokens) -> impl Iterator<Item = i64> + 'a {
        let mut ended = false;
        let blanks = match self.info.family {
            Family::Clip => self.info.engine == "rten",
            Family::MobileClip => true,
            Family::SigLip | Family::Multilingual => false,
        };
        let end = blanks.then(|| tokens.end()).flatten();
        tokens.ids.iter().map(move |&id| {
            let shown = if ended { 0 } else { id };
            ended |= Some(id) == end;
            shown
        })
    }

    fn run_texts(&self, batch: &[Tokens]) -> Result<Vec<Vec<f32>>, EncodeError> {
        let ids = batch.iter().flat_map(|tokens| self.graph_ids(tokens)).collect::<Vec<_>>();
        let mask = batch.iter().flat_map(|tokens| tokens.mask.iter().copied()).collect::<Vec<_>>();
        let types = vec![0; ids.len()];
        let shape = vec![batch.len(), self.info.context_length];
        let mut inputs =
            vec![Input { name: &self.ids, shape: shape.clone(), data: Data::Ids(&ids) }];
        if let Some(name) = &self.mask {
            inputs.push(Input { name, shape: shape.clone(), data: Data::Ids(&mask) });
        }
        if let Some(name) = &self.token_types {
            inputs.push(Input { name, shape, data: Data::Ids(&types) });
        }
        self.rows(&self.text, &inputs, batch.len())
    }

    fn rows(
        &self,
        graph: &Graph,
        inputs: &[Input<'_>],
        rows: usize,
    ) -> Result<Vec<Vec<f32>>, EncodeError> {
        let failed = |reason| EncodeError::Engine { engine: self.info.engine, reason };
        let output = graph.engine.run(inputs, &graph.output).map_err(failed)?;
        normalised_rows(&output, rows)
    }
}

/// Splits the output into rows of length 1. A row without direction is an error: it would match everything equally.
fn normalised_rows(output: &Output, rows: usize) -> Result<Vec<Vec<f32>>, EncodeError> {
    let bad = |reason: String| Err(EncodeError::BadOutput(reason));
    let dim = output.shape.last().copied().unwrap_or(0);
    if dim == 0 || output.shape.first() != Some(&rows) || output.values.len() != rows * dim {
        return bad(format!("expected {rows} rows, got the shape {:?}", output.shape));
    }
    let mut normalised = Vec::with_capacity(rows);
    for row in output.values.chunks_exact(dim) {
        let length = row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        if !length.is_finite() || length <= f64::from(f32::MIN_POSITIVE) {
            return bad(format!("a row has the length {length}"));
        }
        normalised.push(row.iter().map(|&value| (f64::from(value) / length) as f32).collect());
    }
    Ok(normalised)
}

/// One graph with the names that matter.
struct Graph {
    path: PathBuf,
    engine: Box<dyn Engine>,
    input: String,
    output: String,
}

impl Graph {
    fn new(
        path: PathBuf,
        engine: Box<dyn Engine>,
        inputs: &[&str],
        outputs: &[&str],
    ) -> Result<Self, LoadError> {
        let input = choose(engine.inputs(), inputs);
        let output = choose(engine.outputs(), outputs);
        let names = |ports: &[Port]| {
            ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        let (Some(input), Some(output)) = (input, output) else {
            let reason = format!(
                "its inputs are [{}] and its outputs [{}], expected an input of {inputs:?} and an output of {outputs:?}",
                names(engine.inputs()),
                names(engine.outputs())
            );
            return Err(LoadError::Graph { path, reason });
        };
        Ok(Self { path, engine, input, output })
    }

    fn input(&self) -> Result<&Port, LoadError> {
        let found = self.engine.inputs().iter().find(|port| port.name == self.input);
        found.ok_or_else(|| LoadError::Graph {
            path: self.path.clone(),
            reason: format!("its input {:?} vanished", self.input),
        })
    }

    /// A graph that wants more than can be given would fail at the first search; say so at once.
    fn refuse_unknown(&self, known: &[&str]) -> Result<(), LoadError> {
        let unknown = self
            .engine
            .inputs()
            .iter()
            .find(|port| port.name != self.input && !known.contains(&port.name.as_str()));
        match unknown {
            None => Ok(()),
            Some(port) => Err(LoadError::Graph {
                path: self.path.clone(),
                reason: format!("it wants an input {:?}, which is not known here", port.name),
            }),
        }
    }

    fn batch_size(&self) -> usize {
        let port = self.engine.inputs().iter().find(|port| port.name == self.input);
        port.and_then(|port| port.shape.first().copied().flatten())
            .map_or(MAX_BATCH, |size| size.clamp(1, MAX_BATCH))
    }
}

/// The first of the known names, or the only port there is.
fn choose(ports: &[Port], known: &[&str]) -> Option<String> {
    let named = known
        .iter()
        .find(|name| ports.iter().any(|port| port.name == **name))
        .map(ToString::to_string);
    named.or_else(|| if let [only] = ports { Some(only.name.clone()) } else { None })
}

/// How the vision graph wants its pixels. A size that the graph fixes has to be the configuration's.
fn picture_input(
    vision: &Graph,
    recipe: &mut Recipe,
    preprocess_file: &Path,
) -> Result<Layout, LoadError> {
    let port = vision.input()?;
    let dimension = |index: usize| port.shape.get(index).copied().flatten();
    let layout = match port.element {
        Element::U8 if dimension(3) == Some(3) => Layout::ByteInterleaved,
        Element::U8 => Layout::BytePlanes,
        Element::F32 | Element::F16 | Element::Other => Layout::FloatPlanes,
        Element::I32 | Element::I64 => {
            let reason = format!("its input {:?} takes integers", port.name);
            return Err(LoadError::Graph { path: vision.path.clone(), reason });
        }
    };
    let first_edge = if layout == Layout::ByteInterleaved { 1 } else { 2 };
    let (height, width) = (dimension(first_edge), dimension(first_edge + 1));
    let differs = |size: Option<usize>, edge: u32| size.is_some_and(|size| size != edge as usize);
    if differs(height, recipe.height) || differs(width, recipe.width) {
        let reason = format!(
            "it says {}x{}, but the graph takes {width:?}x{height:?}",
            recipe.width, recipe.height
        );
        return Err(LoadError::Invalid { path: preprocess_file.to_owned(), reason });
    }
    Ok(layout)
}

/// Both graphs in one engine.
struct Engines {
    vision: Box<dyn Engine>,
    text: Box<dyn Engine>,
    name: &'static str,
    note: Option<String>,
}

impl Engines {
    fn load(bundle: &Bundle, options: &LoadOptions) -> Result<Self, LoadError> {
        for path in [&bundle.vision_graph, &bundle.text_graph] {
            std::fs::File::open(path).map_err(|error| LoadError::Unreadable {
                path: path.clone(),
                reason: error.to_string(),
            })?;
        }
        let library = options.onnxruntime_library.as_deref();
        match options.engine {
            EngineChoice::Rten => Self::rten(bundle, options, None),
            EngineChoice::OnnxRuntime => {
                onnxruntime_available(library)
                    .map_err(|reason| LoadError::OnnxRuntimeUnavailable { reason })?;
                Self::onnxruntime(bundle, options)
            }
            EngineChoice::Auto => match onnxruntime_available(library) {
                Err(reason) => {
                    // Who named a library wants to know why it is not used; for all others it is only an offer.
                    let was_named = library.is_some()
                        || std::env::var_os("ORT_DYLIB_PATH").is_some_and(|path| !path.is_empty());
                    let note = if was_named {
                        format!("ONNX Runtime was asked for and cannot be used: {reason}")
                    } else {
                        "The built-in engine. ONNX Runtime is up to 1.4 times as fast and was not found; `make onnxruntime` gets it"
                            .to_owned()
                    };
                    Self::rten(bundle, options, Some(note))
                }
                Ok(_) => Self::onnxruntime(bundle, options).or_else(|error| {
                    Self::rten(
                        bundle,
                        options,
                        Some(format!("ONNX Runtime is there but could not be used: {error}")),
                    )
                }),
            },
        }
    }

    fn rten(
        bundle: &Bundle,
        options: &LoadOptions,
        note: Option<String>,
    ) -> Result<Self, LoadError> {
        let pool = thread_pool(threads(options));
        let load = |path: &Path| match Rten::load(path, pool.clone()) {
            Ok(engine) => Ok(Box::new(engine) as Box<dyn Engine>),
            Err(reason) => {
                let advice = "If the file is whole, it uses what rten does not know: run `make onnxruntime` and choose the engine onnxruntime";
                Err(LoadError::Engine { path: path.to_owned(), engine: RTEN, reason, advice })
            }
        };
        Ok(Self {
            vision: load(&bundle.vision_graph)?,
            text: load(&bundle.text_graph)?,
            name: RTEN,
            note,
        })
    }

    fn onnxruntime(bundle: &Bundle, options: &LoadOptions) -> Result<Self, LoadError> {
        let library = options.onnxruntime_library.as_deref();
        let load = |path: &Path| match OnnxRuntime::load(path, threads(options), library) {
            Ok(engine) => Ok(Box::new(engine) as Box<dyn Engine>),
            Err(reason) => {
                let advice = "The file is damaged, or it needs a newer ONNX Runtime: download it again, or choose the engine rten";
                Err(LoadError::Engine {
                    path: path.to_owned(),
                    engine: ONNXRUNTIME,
                    reason,
                    advice,
                })
            }
        };
        Ok(Self {
            vision: load(&bundle.vision_graph)?,
            text: load(&bundle.text_graph)?,
            name: ONNXRUNTIME,
            note: None,
        })
    }
}

fn threads(options: &LoadOptions) -> usize {
    match options.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    }
}
