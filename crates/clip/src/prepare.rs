//! Makes graphs ready to be run: a published graph with a batch of one and texts of full length baked in becomes one
//! that takes any batch and runs only the tokens that are there.
//!
//! It is done once: rewritten, proved against the published graph in the same engine, and kept. What cannot be
//! rewritten or proved is run as it was published, and a note says why.

mod dims;
mod infer;
mod onnx;
mod proof;
mod quantize;
mod rewrite;
mod store;

use std::path::Path;

use crate::bundle::Bundle;
use crate::engine::Engine;
use crate::engine::opener::Opener;
use crate::error::LoadError;
use crate::precision::Precision;
use crate::tokenize::Places;
use crate::towers::{PictureTower, TextTower};

use rewrite::Freedom;
use store::{Place, Verdict};

/// How the towers of one bundle are opened.
pub(crate) struct Preparation<'a> {
    pub(crate) bundle: &'a Bundle,
    pub(crate) opener: &'a Opener,
    /// Where prepared graphs are kept; without one, graphs are run as they were published.
    pub(crate) dir: Option<&'a Path>,
    pub(crate) precision: Precision,
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
    fn prove_int8(&self, prepared: &Self) -> Result<(), String>;
}

impl Preparation<'_> {
    /// A tower, and why it is not as quick as it might be.
    pub(crate) fn tower<T: Prepare>(&self) -> Result<(T, Option<String>), LoadError> {
        let Some(dir) = self.dir else {
            return self.as_published(None, "no folder for prepared graphs was given");
        };
        let place = Place::new(dir, T::graph(self.bundle), self.opener, self.precision);
        match place.remembered() {
            Some(Verdict::AsPublished { reason }) => return self.as_published(None, &reason),
            Some(Verdict::Prepared { freedom, context_length, reason, .. }) => {
                let opened = self.opened::<T>(&place, &place.graph(), freedom, context_length);
                if let Ok(tower) = opened {
                    return Ok((tower, reason));
                }
            }
            None => {}
        }
        let published = self.published::<T>()?;
        let prepared = self.prepare(&place, &published);
        prepared.or_else(|reason| self.as_published(Some(published), &reason))
    }

    /// What is left when there is no prepared graph. Another precision than the one that was asked for is none.
    fn as_published<T: Prepare>(
        &self,
        tower: Option<T>,
        reason: &str,
    ) -> Result<(T, Option<String>), LoadError> {
        let path = T::graph(self.bundle);
        if self.precision == Precision::Int8 {
            return Err(LoadError::Precision { path: path.to_owned(), reason: reason.to_owned() });
        }
        let note = format!("{} is run as it was published: {reason}", path.display());
        let tower = tower.map_or_else(|| self.published(), Ok)?;
        Ok((tower, self.dir.map(|_| note)))
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
        let weights = place.weights_folder(graph);
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
            let proved = rewrite::free(read.model.clone(), freedom, &sizes, published.output());
            let proved = proved.and_then(|model| {
                draft.write(&read, model.clone())?;
                let tower = self.opened::<T>(place, &draft.graph(), freedom, context_length)?;
                published.prove(&tower)?;
                if self.precision == Precision::F32 {
                    return Ok(tower);
                }
                drop(tower);
                draft.write(&read, quantize::quantize(model)?)?;
                let tower = self.opened::<T>(place, &draft.graph(), freedom, context_length)?;
                published.prove_int8(&tower)?;
                Ok(tower)
            });
            match proved {
                Ok(tower) => {
                    let reason = reasons.first().map(|reason| {
                        format!(
                            "{} runs every place of a text: {reason}",
                            place.published().display()
                        )
                    });
                    // What was proved lies where it was written first; it is opened anew where it is kept.
                    drop(tower);
                    let kept = reason.clone();
                    draft.keep(|checksum| Verdict::Prepared {
                        freedom,
                        context_length,
                        reason: kept,
                        checksum,
                    })?;
                    let tower = self.opened(place, &place.graph(), freedom, context_length)?;
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

    fn prove_int8(&self, int8: &Self) -> Result<(), String> {
        proof::of_int8(&proof::pixels(self), |one| self.encode(one), |one| int8.encode(one))
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

    fn prove_int8(&self, int8: &Self) -> Result<(), String> {
        let texts = proof::texts(self.context_length);
        let texts = texts.iter().map(String::as_str).collect::<Vec<_>>();
        proof::of_int8(&texts, |one| self.encode(one), |one| int8.encode(one))
    }
}
