//! Vectors of our own texts, those without meaning and those of the vocabulary, kept in the data folder. They depend on the model
//! alone, and computing them takes seconds to a minute, which a restart need not pay again. Whatever is wrong with a file, it is
//! made anew.

use std::borrow::Borrow;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::serving::Answering;

/// Files that are kept: of the models that were used last, two each.
const FILES_MAX: usize = 8;
const DIGEST_BYTES: usize = 32;

#[derive(Debug, Clone)]
pub(super) struct KeptVectors {
    dir: PathBuf,
}

impl KeptVectors {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// `made_of`: everything that the vectors depend on.
    fn path(&self, made_of: &str) -> PathBuf {
        let mut name = blake3::hash(made_of.as_bytes()).to_hex().to_string();
        name.truncate(32);
        self.dir.join(name + ".f32")
    }

    /// What was kept of this, if it is whole: the first vectors, at most so many, of so many numbers.
    pub(super) fn load(&self, made_of: &str, most: usize, dim: usize) -> Option<Vec<Vec<f32>>> {
        let file = fs::read(self.path(made_of)).ok()?;
        let (bytes, digest) = file.split_last_chunk::<DIGEST_BYTES>()?;
        let is_of_dim = dim > 0 && bytes.len().is_multiple_of(dim * 4);
        if !is_of_dim || bytes.len() > most * dim * 4 || blake3::hash(bytes) != *digest {
            return None;
        }
        let (numbers, _) = bytes.as_chunks::<4>();
        let numbers: Vec<f32> = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        Some(numbers.chunks_exact(dim).map(<[f32]>::to_vec).collect())
    }

    pub(super) fn keep(&self, made_of: &str, vectors: &[impl AsRef<[f32]>]) -> io::Result<()> {
        let numbers = vectors.iter().flat_map(AsRef::as_ref);
        let mut bytes: Vec<u8> = numbers.flat_map(|number| number.to_le_bytes()).collect();
        let digest = blake3::hash(&bytes);
        bytes.extend(digest.as_bytes());
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let path = self.path(made_of);
        let part = path.with_extension("part");
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(&bytes)?;
        fs::rename(&part, &path)?;
        remove_old(&self.dir)
    }
}

/// Everything that vectors of texts depend on.
pub(super) fn made_of(serving: &Answering, texts: &[impl Borrow<str>]) -> String {
    let templates = serving.located.traits.templates.join("\n");
    format!("{}\n{templates}\n{}", serving.embedder.id(), texts.join("\n"))
}

fn remove_old(dir: &Path) -> io::Result<()> {
    let dated = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.ok()?;
        let modified = entry.metadata().and_then(|found| found.modified());
        Some((modified.unwrap_or(SystemTime::UNIX_EPOCH), entry.path()))
    };
    let mut files: Vec<_> = fs::read_dir(dir)?.filter_map(dated).collect();
    files.sort();
    let too_many = files.len().saturating_sub(FILES_MAX);
    files.iter().take(too_many).try_for_each(|(_, path)| fs::remove_file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_whole_and_of_the_same_is_found_again() {
        let dir = tempfile::tempdir().expect("temp");
        let kept = KeptVectors::new(dir.path().join("calibration"));
        let vectors = vec![vec![0.25, -1.5], vec![f32::MIN_POSITIVE, 3.0], vec![0.0, 7.0]];
        assert_eq!(kept.load("a", 3, 2), None);
        kept.keep("a", &vectors).expect("kept");
        assert_eq!(kept.load("a", 3, 2), Some(vectors.clone()));
        assert_eq!(kept.load("b", 3, 2), None, "another model's");
        assert_eq!(kept.load("a", 9, 2), Some(vectors.clone()), "the first ones of more");
        assert_eq!([kept.load("a", 2, 2), kept.load("a", 3, 4)], [None, None]);
        let mut damaged = fs::read(kept.path("a")).expect("read");
        damaged[5] ^= 1;
        fs::write(kept.path("a"), damaged).expect("written");
        assert_eq!(kept.load("a", 3, 2), None, "a bit is another one");
        fs::write(kept.path("a"), b"short").expect("written");
        assert_eq!(kept.load("a", 3, 2), None);
        for model in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "f"] {
            kept.keep(model, &vectors).expect("kept");
        }
        assert_eq!(fs::read_dir(&kept.dir).expect("listed").count(), FILES_MAX);
        assert_eq!(kept.load("f", 3, 2), Some(vectors));
    }
}
