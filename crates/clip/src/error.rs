//! Why a bundle cannot be loaded, and why something cannot be encoded.

use std::path::PathBuf;

/// Why a bundle could not be loaded. Every message names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The directory is not there, or holds no bundle.
    #[error("{}: no model bundle here. Expected visual/model.onnx and textual/model.onnx, or onnx/vision_model.onnx and onnx/text_model.onnx", dir.display())]
    NoBundle {
        /// The directory.
        dir: PathBuf,
    },
    /// A file of the bundle is missing or unreadable.
    #[error("{}: cannot read it ({reason}). The bundle is incomplete: download it again", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// A configuration file is not what it should be.
    #[error("{}: {reason}. Download the bundle again, or correct the file", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An engine refused a graph.
    #[error("{}: the {engine} engine cannot load it: {reason}. {advice}", path.display())]
    Engine {
        /// The graph.
        path: PathBuf,
        /// `rten` or `onnxruntime`.
        engine: &'static str,
        /// Its words.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// A graph was loaded but is not one of an image or text encoder.
    #[error("{}: {reason}. This graph is no image or text encoder of the CLIP family that is understood here; export it again or choose another model", path.display())]
    Graph {
        /// The graph.
        path: PathBuf,
        /// What is missing or strange.
        reason: String,
    },
    /// A precision was asked for that this graph cannot be had in.
    #[error("{}: it cannot be had in int8: {reason}. Choose embed.precision = \"f32\"", path.display())]
    Precision {
        /// The graph.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// ONNX Runtime was asked for by name and is not there.
    #[error(
        "the engine onnxruntime was asked for and cannot be used: {reason}. Run `make onnxruntime`, set ORT_DYLIB_PATH to the path of libonnxruntime (1.17 or newer), or choose the engine auto or rten"
    )]
    OnnxRuntimeUnavailable {
        /// Where it was looked for, and what was wrong.
        reason: String,
    },
}

/// Why an encoding failed.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The tokenizer refused the text.
    #[error("the text cannot be tokenized: {0}")]
    Tokenize(String),
    /// The half that reads texts was not loaded.
    #[error(
        "this process reads no texts: only the half of the model that sees pictures was loaded"
    )]
    PicturesOnly,
    /// The pixels were made for another model.
    #[error("the pixels were preprocessed for another model")]
    ForeignPixels,
    /// The engine failed.
    #[error("the {engine} engine failed: {reason}")]
    Engine {
        /// `rten` or `onnxruntime`.
        engine: &'static str,
        /// Its words.
        reason: String,
    },
    /// The graph answered with something that is no embedding.
    #[error("the model gave no usable embedding: {0}")]
    BadOutput(String),
}
