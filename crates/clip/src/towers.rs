//! The two halves of a model: pictures in, texts in, rows of one vector space out.

use std::path::PathBuf;

use image::RgbImage;

use crate::bundle::Bundle;
use crate::engine::{Data, Element, Engine, Input, Output, Port};
use crate::error::{EncodeError, LoadError};
use crate::preprocess::{Layout, Pixels, Plane, Recipe};
use crate::tokenize::{Places, TextTokenizer, Tokens};

/// Graphs with a free batch size get at most this many rows at once, to bound the memory of one run.
const MAX_BATCH: usize = 64;

/// What inputs and outputs are called: the first name that is there counts.
pub(crate) const PICTURE_OUTPUTS: [&str; 4] =
    ["embedding", "image_embeds", "image_features", "pooler_output"];
pub(crate) const TEXT_OUTPUTS: [&str; 4] =
    ["embedding", "text_embeds", "text_features", "pooler_output"];
const PICTURE_INPUTS: [&str; 2] = ["image", "pixel_values"];
const TEXT_INPUTS: [&str; 2] = ["text", "input_ids"];

/// The half that sees.
pub(crate) struct PictureTower {
    graph: Graph,
    pub(crate) recipe: Recipe,
    pub(crate) layout: Layout,
}

impl PictureTower {
    pub(crate) fn new(bundle: &Bundle, engine: Box<dyn Engine>) -> Result<Self, LoadError> {
        let path = bundle.vision_graph.clone();
        let graph = Graph::new(path, engine, &PICTURE_INPUTS, &PICTURE_OUTPUTS)?;
        graph.refuse_unknown(&[])?;
        let recipe = bundle.recipe.clone();
        let layout = picture_layout(&graph, bundle)?;
        Ok(Self { graph, recipe, layout })
    }

    /// Where the graph is, for messages.
    pub(crate) fn path(&self) -> PathBuf {
        self.graph.path.clone()
    }

    /// Name of the output that is read.
    pub(crate) fn output(&self) -> &str {
        &self.graph.output
    }

    pub(crate) fn preprocess(&self, rgb: &RgbImage) -> Pixels {
        self.recipe.apply(rgb, self.layout)
    }

    /// The sizes of one picture in the graph.
    pub(crate) fn sizes(&self) -> [usize; 3] {
        let (width, height) = (self.recipe.width as usize, self.recipe.height as usize);
        match self.layout {
            Layout::ByteInterleaved => [height, width, 3],
            Layout::FloatPlanes | Layout::BytePlanes => [3, height, width],
        }
    }

    pub(crate) fn encode(&self, batch: &[Pixels]) -> Result<Vec<Vec<f32>>, EncodeError> {
        let mut rows = Vec::with_capacity(batch.len());
        for part in batch.chunks(self.graph.batch_size()) {
            rows.extend(self.run(part)?);
        }
        Ok(rows)
    }

    fn run(&self, batch: &[Pixels]) -> Result<Vec<Vec<f32>>, EncodeError> {
        let (mut floats, mut bytes) = (Vec::new(), Vec::new());
        for pixels in batch {
            match &pixels.0 {
                Plane::F32(values) => floats.extend_from_slice(values),
                Plane::U8(values) => bytes.extend_from_slice(values),
            }
        }
        let sizes = self.sizes();
        let want = batch.len() * sizes.iter().product::<usize>();
        let (data, have) = match self.layout {
            Layout::FloatPlanes => (Data::F32(&floats), floats.len()),
            Layout::BytePlanes | Layout::ByteInterleaved => (Data::U8(&bytes), bytes.len()),
        };
        if have != want {
            return Err(EncodeError::ForeignPixels);
        }
        let shape = [&[batch.len()], sizes.as_slice()].concat();
        self.graph.rows(&[Input { name: &self.graph.input, shape, data }], batch.len())
    }
}

/// The half that reads.
pub(crate) struct TextTower {
    graph: Graph,
    tokenizer: TextTokenizer,
    places: Places,
    mask: Option<String>,
    token_types: Option<String>,
    pub(crate) context_length: usize,
    /// Whether places that do not count may be left out.
    is_cut: bool,
}

impl TextTower {
    pub(crate) fn new(bundle: &Bundle, engine: Box<dyn Engine>) -> Result<Self, LoadError> {
        let path = bundle.text_graph.clone();
        let graph = Graph::new(path, engine, &TEXT_INPUTS, &TEXT_OUTPUTS)?;
        graph.refuse_unknown(&["attention_mask", "token_type_ids"])?;
        let fixed = graph.input()?.shape.get(1).copied().flatten();
        let context_length = fixed.unwrap_or(bundle.tokenizer.context_length);
        let tokenizer = TextTokenizer::load(&bundle.tokenizer, context_length)?;
        let port = |name: &str| {
            graph.engine.inputs().iter().any(|port| port.name == name).then(|| name.to_owned())
        };
        let (mask, token_types) = (port("attention_mask"), port("token_type_ids"));
        let places = bundle.tokenizer.places;
        Ok(Self { graph, tokenizer, places, mask, token_types, context_length, is_cut: false })
    }

    /// The same in a graph of free length, which has to run places that count only.
    pub(crate) fn new_cut(
        bundle: &Bundle,
        engine: Box<dyn Engine>,
        context_length: usize,
    ) -> Result<Self, LoadError> {
        let mut tower = Self::new(bundle, engine)?;
        tower.tokenizer = TextTokenizer::load(&bundle.tokenizer, context_length)?;
        (tower.context_length, tower.is_cut) = (context_length, true);
        Ok(tower)
    }

    /// Where the graph is, for messages.
    pub(crate) fn path(&self) -> PathBuf {
        self.graph.path.clone()
    }

    /// Name of the output that is read.
    pub(crate) fn output(&self) -> &str {
        &self.graph.output
    }

    pub(crate) fn tokens(&self, text: &str) -> Result<Tokens, EncodeError> {
        self.tokenizer.tokens(text)
    }

    pub(crate) fn encode(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EncodeError> {
        let tokens = texts.iter().map(|text| self.tokens(text)).collect::<Result<Vec<_>, _>>()?;
        let mut rows = Vec::with_capacity(tokens.len());
        for part in tokens.chunks(self.graph.batch_size()) {
            rows.extend(self.run(part)?);
        }
        Ok(rows)
    }

    fn run(&self, batch: &[Tokens]) -> Result<Vec<Vec<f32>>, EncodeError> {
        let length = if self.is_cut {
            let count = |tokens: &Tokens| match self.places {
                Places::UpToEnd => tokens.up_to_end(),
                Places::Unmasked => tokens.unmasked(),
                Places::All | Places::AllWithZerosBehindEnd => self.context_length,
            };
            batch.iter().map(count).max().unwrap_or(self.context_length)
        } else {
            self.context_length
        };
        let ids = batch.iter().flat_map(|tokens| self.graph_ids(tokens).take(length));
        let ids = ids.collect::<Vec<_>>();
        let mask = batch.iter().flat_map(|tokens| tokens.mask.iter().copied().take(length));
        let mask = mask.collect::<Vec<_>>();
        let types = vec![0; ids.len()];
        let shape = vec![batch.len(), length];
        let input = |name, data| Input { name, shape: shape.clone(), data };
        let mut inputs = vec![input(&self.graph.input, Data::Ids(&ids))];
        if let Some(name) = &self.mask {
            inputs.push(input(name, Data::Ids(&mask)));
        }
        if let Some(name) = &self.token_types {
            inputs.push(input(name, Data::Ids(&types)));
        }
        self.graph.rows(&inputs, batch.len())
    }

    /// The ids as the graph gets them. A graph that reads at the end token finds it as the greatest id, and behind it
    /// stand more of the same; an engine whose `ArgMax` takes the last of them gets zeros there, which change nothing.
    fn graph_ids<'a>(&self, tokens: &'a Tokens) -> impl Iterator<Item = i64> + 'a {
        let zeros = match self.places {
            Places::UpToEnd => self.graph.engine.argmax_takes_last(),
            Places::AllWithZerosBehindEnd => true,
            Places::Unmasked | Places::All => false,
        };
        let shown = if zeros { tokens.up_to_end() } else { tokens.ids.len() };
        tokens.ids.iter().enumerate().map(move |(place, &id)| if place < shown { id } else { 0 })
    }
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

    fn rows(&self, inputs: &[Input<'_>], rows: usize) -> Result<Vec<Vec<f32>>, EncodeError> {
        let failed = |reason| EncodeError::Engine { engine: self.engine.name(), reason };
        normalised_rows(&self.engine.run(inputs, &self.output).map_err(failed)?, rows)
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

/// The first of the known names, or the only port there is.
fn choose(ports: &[Port], known: &[&str]) -> Option<String> {
    let named = known
        .iter()
        .find(|name| ports.iter().any(|port| port.name == **name))
        .map(ToString::to_string);
    named.or_else(|| if let [only] = ports { Some(only.name.clone()) } else { None })
}

/// How the graph wants its pixels. A size that the graph fixes has to be the configuration's.
fn picture_layout(graph: &Graph, bundle: &Bundle) -> Result<Layout, LoadError> {
    let (port, recipe) = (graph.input()?, &bundle.recipe);
    let dimension = |index: usize| port.shape.get(index).copied().flatten();
    let layout = match port.element {
        Element::U8 if dimension(3) == Some(3) => Layout::ByteInterleaved,
        Element::U8 => Layout::BytePlanes,
        Element::F32 | Element::F16 | Element::Other => Layout::FloatPlanes,
        Element::I32 | Element::I64 => {
            let reason = format!("its input {:?} takes integers", port.name);
            return Err(LoadError::Graph { path: graph.path.clone(), reason });
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
        return Err(LoadError::Invalid { path: bundle.preprocess_file.clone(), reason });
    }
    Ok(layout)
}
