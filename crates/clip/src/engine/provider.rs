//! What computes a graph inside ONNX Runtime: the processor, or an accelerator whose part of the library is beside it.
//! Which of them a library can use shows only when one is asked for, so they are tried in the order of the configuration.

use std::fmt;
use std::str::FromStr;

use ort::ep::{CUDA, CoreML, ExecutionProviderDispatch, OpenVINO};

/// An execution provider of ONNX Runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Provider {
    /// ONNX Runtime's own kernels. Every library has them.
    #[default]
    Cpu,
    /// Intel's library, on its processors and graphics.
    OpenVino,
    /// NVIDIA's graphics cards.
    Cuda,
    /// Apple's frameworks.
    CoreMl,
}

/// A word that is no [`Provider`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no execution provider; choose of cpu, openvino, cuda and coreml")]
pub struct UnknownProvider(pub String);

impl FromStr for Provider {
    type Err = UnknownProvider;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let all = [Self::Cpu, Self::OpenVino, Self::Cuda, Self::CoreMl];
        let found = all.into_iter().find(|provider| provider.name() == word);
        found.ok_or_else(|| UnknownProvider(word.to_owned()))
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Provider {
    /// What it is called in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::OpenVino => "openvino",
            Self::Cuda => "cuda",
            Self::CoreMl => "coreml",
        }
    }

    /// For a session; asking for it fails if the library has no part for it. `None`: every session has it.
    pub(super) fn dispatch(self, threads: usize) -> Option<ExecutionProviderDispatch> {
        let dispatch = match self {
            Self::Cpu => return None,
            // Vectors of all providers are compared with each other: not in half floats.
            Self::OpenVino => {
                OpenVINO::default().with_num_threads(threads).with_precision("FP32").build()
            }
            Self::Cuda => CUDA::default().with_tf32(false).build(),
            Self::CoreMl => CoreML::default().build(),
        };
        Some(dispatch.error_on_failure())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_providers_and_back() {
        for word in ["cpu", "openvino", "cuda", "coreml"] {
            assert_eq!(word.parse::<Provider>().map(Provider::name), Ok(word));
        }
        let error = "gpu".parse::<Provider>().expect_err("no provider").to_string();
        assert!(error.contains("\"gpu\"") && error.contains("openvino"), "{error}");
    }
}
