//! The states of a model's life, as everybody who watches sees them.

use std::sync::Arc;

use crate::embedder::Embedder;
use crate::ingest::Ingest;
use crate::models::{DownloadProgress, LocatedModel};
use crate::vector_store::Collection;

/// A model and the vectors that were made with it. They are switched together, so a query is never compared with vectors
/// of another model.
#[derive(Clone)]
pub struct Answering {
    pub located: LocatedModel,
    pub embedder: Arc<Embedder>,
    pub collection: Arc<dyn Collection>,
}

/// How far the model is.
#[derive(Clone)]
pub enum ServingState {
    /// Being located and loaded.
    Loading,
    /// Being fetched; nothing answers meanwhile.
    Downloading {
        /// Short name of the model.
        name: String,
        progress: Arc<DownloadProgress>,
    },
    /// It is loaded, but the vector store cannot be used.
    Waiting {
        /// Why, and what to do.
        reason: String,
    },
    /// Searches are answered.
    Answering {
        now: Box<Answering>,
        /// The model that will answer when it is ready.
        next: Option<Box<NextModel>>,
        /// Keeps the index equal to the sources, with the next model if there is one. None where a command only searches.
        ingest: Option<Arc<Ingest>>,
    },
    /// It cannot be used, for the reason that whoever brought it up was told, too.
    Failed {
        /// For people.
        reason: String,
    },
}

/// The model that is being prepared while another one answers.
#[derive(Clone)]
pub enum NextModel {
    /// It is being fetched.
    Downloading {
        /// Short name of the model.
        name: String,
        progress: Arc<DownloadProgress>,
    },
    /// The vectors of the pictures are being made.
    Indexing(Answering),
}

impl NextModel {
    /// Short name of the model.
    pub fn name(&self) -> &str {
        match self {
            Self::Downloading { name, .. } => name,
            Self::Indexing(next) => &next.located.id.name,
        }
    }
}

impl ServingState {
    /// What answers searches now.
    pub fn answering(&self) -> Option<&Answering> {
        match self {
            Self::Answering { now, .. } => Some(now),
            _ => None,
        }
    }

    /// The model that is being prepared while another answers.
    pub fn next(&self) -> Option<&NextModel> {
        match self {
            Self::Answering { next, .. } => next.as_deref(),
            _ => None,
        }
    }

    /// The model that pictures are indexed with.
    pub fn indexing(&self) -> Option<&Answering> {
        match self.next() {
            Some(NextModel::Indexing(next)) => Some(next),
            _ => self.answering(),
        }
    }

    /// What keeps the index equal to the sources, once the model is up.
    pub fn ingest(&self) -> Option<&Arc<Ingest>> {
        match self {
            Self::Answering { ingest, .. } => ingest.as_ref(),
            _ => None,
        }
    }
}
