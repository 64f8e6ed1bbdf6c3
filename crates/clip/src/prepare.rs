//! Makes graphs ready to be run: a published graph with a batch of one and texts of full length baked in becomes one
//! that takes any batch and runs only the tokens that are there.
//!
//! It is done once: rewritten, proved against the published graph in the same engine, and kept. What cannot be
//! rewritten or proved is run as it was published, and a note says why.

mod dims;
mod infer;
mod onnx;
mod proof;
mod rewrite;
mod store;

use std::path::Path;

use crate::bundle::Bundle;
use crate::engine::Engine;
use crate::engine::opener::Opener;
use crate::error::LoadError;
use crate::model::towers::{PictureTower, TextTower};
use crate::tokenize::Places;

use rewrite::Freedom;
use store::{Place, Verdict};

/// How the towers of one bundle are opened.
pub(crate) struct Preparation<'a> {
    bundle: &'a Bundle,
    opener: &'a Opener,
    dir: Option<&'a Path>,
}

/// What a tower has to offer to be prepared.
pub(crate) trait Prepare: Sized {
    fn graph(bundle: &Bundle) -> &Path;
    /// As published.
    fn published(bundle: &Bundle, engine: Box<dyn Engine>) -> Result<Self, LoadError>;
    /// In a graph that was freed.
    fn prepared(
        bundle: &Bundle,
        engine: Box<dyn Engine>,
        freedom: Freedom,
        context_length: usize,
    ) -> Result<Self, LoadError>;
    /// What would be good to have, the best first.
    fn wishes(bundle: &Bundle) -> &'static [Freedom];
    /// Sizes of an input behind the batch.
    fn sizes(&self) -> Vec<usize>;
    fn context_length(&self) -> usize;
    fn output(&self) -> &str;
    fn prove(&self, prepared: &Self) -> Result<(), String>;
}

impl<'a> Preparation<'a> {
    /// `dir` is where prepared graphs are kept; without one, graphs are run as they were published.
    pub(crate) fn new(bundle: &'a Bundle, opener: &'a Opener, dir: Option<&'a Path>) -> Self {
        Self { bundle, opener, dir }
    }

    /// A tower, and why it is not as quick as it might be.
    pub(crate) fn tower<T: Prepare>(&self) -> Result<(T, Option<String>), LoadError> {
        let Some(dir) = self.dir else { return Ok((self.published()?, None)) };
        let place = Place::new(dir, T::graph(self.bundle), self.opener);
        let note = |reason: &str| {
            format!("{} is run as it was published: {reason}", T::graph(self.bundle).display())
        };
        match place.remembered() {
            Some(Verdict::AsPublished { reason }) => {
                return Ok((self.published()?, Some(note(&reason))));
            }
            Some(Verdict::Prepared { freedom, context_length, reason, .. }) => {
                let opened = self.opened::<T>(&place, &place.graph(), freedom, context_length);
                if let Ok(tower) = opened {
                    return Ok((tower, reason));
                }
            }
            None => {}
        }
        let published = self.published::<T>()?;
        Ok(match self.prepare(&place, &published) {
            Ok((tower, reason)) => (tower, reason),
            Err(reason) => {
                let reason = reason.clone();
                (published, Some(note(&reason)))
            }
        })
    }

    fn published<T: Prepare>(&self) -> Result<T, LoadError> {
        T::published(self.bundle, self.opener.open(T::graph(self.bundle))?)
    }

    fn opened<T: Prepare>(
        &self,
        place: &Place<'_>,
        graph: &Path,
        freedom: Freedom,
        context_length: usize,
    ) -> Result<T, String> {
        let weights = place.weights_folder();
        let engine = self.opener.open_with_weights(graph, weights.as_deref())?;
        let tower = T::prepared(self.bundle, engine, freedom, context_length);
        tower.map_err(|error| error.to_string())
    }

    /// Rewrites, proves and keeps; the best wish that comes true.
    fn prepare<T: Prepare>(
        &self,
        place: &Place<'_>,
        published: &T,
    ) -> Result<(T, Option<String>), String> {
        let read = place.read()?;
        let mut draft = place.draft(&read)?;
        let context_length = published.context_length();
        let mut reasons = Vec::new();
        for &freedom in T::wishes(self.bundle) {
            let sizes = published.sizes();
            let proved = rewrite::free(read.model.clone(), freedom, &sizes, published.output())
                .and_then(|model| draft.write(&read, model))
                .and_then(|()| self.opened::<T>(place, &draft.graph(), freedom, context_length))
                .and_then(|tower| published.prove(&tower).map(|()| tower));
            match proved {
                Ok(tower) => {
                    let reason = reasons.first().map(|reason| {
                        format!("{} runs every place of a text: {reason}", place.published().display())
                    });
                    let kept = reason.clone();
                    draft.keep(|checksum| Verdict::Prepared {
                        freedom,
                        context_length,
                        reason: kept,
                        checksum,
                    })?;
                    return Ok((tower, reason));
                }
                Err(reason) => reasons.push(reason),
            }
        }
        let reason = reasons.join("; ");
        draft.keep(|_| Verdict::AsPublished { reason: reason.clone() })?;
        Err(reason)
    }
}

impl Prepare for PictureTower {
    fn graph(bundle: &Bundle) -> &Path {
        &bundle.vision_graph
    }

    fn published(bundle: &Bundle, engine: Box<dyn Engine>) -> Result<Self, LoadError> {
        Self::new(bundle, engine)
    }

    fn prepared(
        bundle: &Bundle,
        engine: Box<dyn Engine>,
        _: Freedom,
        _: usize,
    ) -> Result<Self, LoadError> {
        Self::new(bundle, engine)
    }

    fn wishes(_: &Bundle) -> &'static [Freedom] {
        &[Freedom::Batch]
    }

    fn sizes(&self) -> Vec<usize> {
        self.sizes().to_vec()
    }

    fn context_length(&self) -> usize {
        0
    }

    fn output(&self) -> &str {
        self.output()
    }

    fn prove(&self, prepared: &Self) -> Result<(), String> {
        proof::of_pictures(self, prepared)
    }
}

impl Prepare for TextTower {
    fn graph(bundle: &Bundle) -> &Path {
        &bundle.text_graph
    }

    fn published(bundle: &Bundle, engine: Box<dyn Engine>) -> Result<Self, LoadError> {
        Self::new(bundle, engine)
    }

    fn prepared(
        bundle: &Bundle,
        engine: Box<dyn Engine>,
        freedom: Freedom,
        context_length: usize,
    ) -> Result<Self, LoadError> {
        match freedom {
            Freedom::BatchAndLength => Self::new_cut(bundle, engine, context_length),
            Freedom::Batch => Self::new(bundle, engine),
        }
    }

    fn wishes(bundle: &Bundle) -> &'static [Freedom] {
        match bundle.tokenizer.places {
            Places::UpToEnd | Places::Unmasked if !bundle.tokenizer.pad_left => {
                &[Freedom::BatchAndLength, Freedom::Batch]
            }
            _ => &[Freedom::Batch],
        }
    }

    fn sizes(&self) -> Vec<usize> {
        vec![self.context_length]
    }

    fn context_length(&self) -> usize {
        self.context_length
    }

    fn output(&self) -> &str {
        self.output()
    }

    fn prove(&self, prepared: &Self) -> Result<(), String> {
        proof::of_texts(self, prepared)
    }
}
