//! CLIP-family models in process: decode a picture, preprocess it, tokenize a text, encode both into one vector space.
//!
//! Pure and synchronous: no tokio, no SQL, no HTTP, no printing. Everything here may block for as long as the work
//! takes; the application decides on which thread. A model is a directory (a "bundle"), see [`Model::load`].

#![warn(missing_docs)]

mod bundle;
mod decode;
mod engine;
mod error;
mod model;
mod precision;
mod prepare;
mod preprocess;
mod tokenize;
mod towers;

pub use bundle::Family;
pub use decode::{
    DecodeError, DecodeLimits, Decoded, Elsewhere, Facts, Flattened, Gps, PictureFormat,
    SNIFF_BYTES, Sniffed, Taken, TakenFrom, Wanted, decode, decode_wanted, decode_with, flatten,
    memory_needed, read_facts, sniff,
};
pub use engine::onnxruntime::onnxruntime_available;
pub use engine::provider::{Provider, UnknownProvider};
pub use error::{EncodeError, LoadError};
pub use model::{EngineChoice, LoadOptions, Model, ModelInfo, UnknownEngine};
pub use precision::{Precision, UnknownPrecision};
pub use preprocess::{Pixels, Preprocessor};
