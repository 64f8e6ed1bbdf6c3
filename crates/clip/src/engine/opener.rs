//! Opens graphs in the engine that was chosen.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Engine;
use super::onnxruntime::{OnnxRuntime, SessionRecipe, onnxruntime_available, provider_available};
use super::provider::Provider;
use super::rten::{Rten, thread_pool};
use crate::error::LoadError;

/// An engine, with all that it takes to open a graph in it.
#[derive(Clone)]
pub(crate) struct Opener {
    kind: Kind,
    threads: usize,
    /// Requests that one graph computes side by side, each with its part of the threads.
    lanes: usize,
    /// Called on a thread that starts others to compute with later, before it does.
    before_threads: Option<fn()>,
}

#[derive(Clone)]
enum Kind {
    Rten(Arc<::rten::ThreadPool>),
    OnnxRuntime { library: Option<PathBuf>, version: String, provider: Provider },
}

impl Opener {
    pub(crate) fn rten(threads: usize) -> Self {
        let kind = Kind::Rten(thread_pool(threads));
        Self { kind, threads, lanes: 1, before_threads: None }
    }

    /// ONNX Runtime with `provider`, or why it cannot be used.
    pub(crate) fn onnxruntime(
        threads: usize,
        library: Option<&Path>,
        provider: Provider,
    ) -> Result<Self, String> {
        let version = onnxruntime_available(library)?;
        provider_available(provider, library)?;
        // without the path
        let version =
            version.rsplit_once(" (").map_or(version.as_str(), |(version, _)| version).to_owned();
        let library = library.map(Path::to_owned);
        let kind = Kind::OnnxRuntime { library, version, provider };
        Ok(Self { kind, threads, lanes: 1, before_threads: None })
    }

    /// The same with `lanes`, where the engine can do that: rten runs one request at a time on all threads. If threads for
    /// pictures differ, they are not those for texts; what has to be done before the first ones are started was done.
    pub(crate) fn for_pictures(&self, lanes: usize, before_threads: Option<fn()>) -> Self {
        let (kind, lanes) = match (&self.kind, before_threads) {
            (Kind::Rten(_), Some(_)) => (Kind::Rten(thread_pool(self.threads)), 1),
            (Kind::Rten(_), None) => (self.kind.clone(), 1),
            (Kind::OnnxRuntime { .. }, _) => (self.kind.clone(), lanes.max(1)),
        };
        Self { kind, threads: self.threads, lanes, before_threads }
    }

    /// How many requests one graph computes side by side.
    pub(crate) fn lanes(&self) -> usize {
        self.lanes
    }

    /// What it is called in the configuration.
    pub(crate) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Rten(_) => "rten",
            Kind::OnnxRuntime { .. } => "onnxruntime",
        }
    }

    /// Name and version: what was proved for one may not hold for another.
    pub(crate) fn description(&self) -> String {
        match &self.kind {
            Kind::Rten(_) => "rten 0.27".to_owned(),
            Kind::OnnxRuntime { version, provider: Provider::Cpu, .. } => {
                format!("onnxruntime {version}")
            }
            Kind::OnnxRuntime { version, provider, .. } => {
                format!("onnxruntime {version} {provider}")
            }
        }
    }

    /// What computes inside ONNX Runtime.
    pub(crate) fn provider(&self) -> Option<Provider> {
        match self.kind {
            Kind::Rten(_) => None,
            Kind::OnnxRuntime { provider, .. } => Some(provider),
        }
    }

    /// Whether a graph in a file may have its weights in files of other folders.
    pub(crate) fn finds_weights_elsewhere(&self) -> bool {
        matches!(self.kind, Kind::OnnxRuntime { .. })
    }

    /// Opens a graph as it was published.
    pub(crate) fn open(&self, path: &Path) -> Result<Box<dyn Engine>, LoadError> {
        std::fs::File::open(path).map_err(|error| LoadError::Unreadable {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        let advice = match self.kind {
            Kind::Rten(_) => {
                "If the file is whole, it uses what rten does not know: run `make onnxruntime` and choose the engine onnxruntime"
            }
            Kind::OnnxRuntime { .. } => {
                "The file is damaged, or it needs a newer ONNX Runtime: download it again, or choose the engine rten"
            }
        };
        self.open_with_weights(path, None).map_err(|reason| LoadError::Engine {
            path: path.to_owned(),
            engine: self.name(),
            reason,
            advice,
        })
    }

    /// Opens a graph whose weights are in files of the folder `weights`, or beside it.
    pub(crate) fn open_with_weights(
        &self,
        path: &Path,
        weights: Option<&Path>,
    ) -> Result<Box<dyn Engine>, String> {
        match &self.kind {
            Kind::Rten(pool) => Ok(Box::new(Rten::load(path, pool.clone())?)),
            Kind::OnnxRuntime { library, provider, .. } => {
                Ok(Box::new(OnnxRuntime::load(SessionRecipe {
                    path: path.to_owned(),
                    weights: weights.map(Path::to_owned),
                    library: library.clone(),
                    provider: *provider,
                    threads: (self.threads / self.lanes).max(1),
                    // with lanes, one more: a picture to search by does not wait behind those that are indexed
                    sessions_max: if self.lanes > 1 { self.lanes + 1 } else { 1 },
                    before_threads: self.before_threads,
                })?))
            }
        }
    }
}
