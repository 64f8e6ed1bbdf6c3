//! The seam between a model and the library that computes it: named, typed tensors in, one named `f32` tensor out.
//!
//! Two implementations, held to the same golden tests: `rten` (pure Rust, always there) and ONNX Runtime (faster, used
//! when its shared library is found). Everything model-specific stays outside.

pub(crate) mod onnxruntime;
pub(crate) mod opener;
pub(crate) mod own_thread;
pub(crate) mod provider;
pub(crate) mod rten;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Element types that occur in the inputs and outputs of published graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    F16,
    U8,
    I32,
    I64,
    Other,
}

/// One input or output of a graph. A dimension is `None` when it is free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) element: Element,
    pub(crate) shape: Vec<Option<usize>>,
}

/// Input values. Integers are converted to what the port wants.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Data<'a> {
    F32(&'a [f32]),
    U8(&'a [u8]),
    Ids(&'a [i64]),
}

/// One named input.
#[derive(Debug, Clone)]
pub(crate) struct Input<'a> {
    pub(crate) name: &'a str,
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Data<'a>,
}

/// The output: shape and row-major values.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// A loaded graph. Failures are sentences: nothing above can tell them apart anyway.
pub(crate) trait Engine: Send + Sync {
    /// What it is called in the configuration.
    fn name(&self) -> &'static str;
    /// Inputs that the caller has to give.
    fn inputs(&self) -> &[Port];
    /// Outputs that can be asked for.
    fn outputs(&self) -> &[Port];
    /// Whether `ArgMax` answers the last of equal maxima. ONNX wants the first.
    fn argmax_takes_last(&self) -> bool;
    /// Computes one output. Blocks.
    fn run(&self, inputs: &[Input<'_>], output: &str) -> Result<Output, String>;
}

/// Runs third-party code that should not panic but might, and turns a panic into a sentence.
pub(crate) fn guarded<T>(
    what: &str,
    work: impl FnOnce() -> Result<T, String>,
) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words
            .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
            .unwrap_or_default();
        Err(format!("{what} panicked: {words}"))
    })
}
