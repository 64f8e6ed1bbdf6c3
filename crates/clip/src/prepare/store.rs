//! Where prepared graphs are kept: a folder for each, with the graph, a note of what it was made from, and links to
//! the published files that hold its weights.
//!
//! A folder appears by one rename, so it is whole or not there. What does not fit to its note is not used.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::onnx::{EXTERNAL, Entry, Model, Tensor, elem};
use super::rewrite::Freedom;
use crate::engine::opener::Opener;
use crate::precision::Precision;

/// Goes up when the rewrite changes, so that what an older program prepared is prepared again.
const REWRITE: u32 = 1;
const GRAPH: &str = "model.onnx";
const NOTE: &str = "prepared.json";
/// Weights from this size on stay in the published file.
const LINKED_MIN: usize = 1024;

/// What a folder says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Note {
    made_by: String,
    published: Vec<Published>,
    pub(crate) verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    Prepared {
        freedom: Freedom,
        context_length: usize,
        /// Why not more.
        reason: Option<String>,
        checksum: String,
    },
    /// The published graph is used.
    AsPublished { reason: String },
}

/// A published file, by its content; size and time tell whether it has to be read again to know that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Published {
    path: PathBuf,
    bytes: u64,
    modified_ns: u128,
    hash: String,
}

impl Published {
    fn of(path: &Path, content: Option<&[u8]>) -> io::Result<Self> {
        let path = path.canonicalize()?;
        let metadata = fs::metadata(&path)?;
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let hash = match content {
            Some(content) => blake3::hash(content),
            None => blake3::Hasher::new().update_reader(fs::File::open(&path)?)?.finalize(),
        };
        let hash = hash.to_hex().to_string();
        Ok(Self { path, bytes: metadata.len(), modified_ns: modified.as_nanos(), hash })
    }

    fn is_as_it_was(&self) -> bool {
        let Ok(metadata) = fs::metadata(&self.path) else { return false };
        let modified =
            metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let same_time = modified.is_some_and(|time| time.as_nanos() == self.modified_ns);
        metadata.len() == self.bytes
            && (same_time || Self::of(&self.path, None).is_ok_and(|now| now.hash == self.hash))
    }
}

/// The place of one prepared graph.
pub(crate) struct Place<'a> {
    dir: PathBuf,
    name: String,
    graph: &'a Path,
    opener: &'a Opener,
}

/// A graph that was read, with the bytes that it points into.
pub(crate) struct Read {
    pub(crate) model: Model,
    bytes: Bytes,
}

/// A folder under construction; gone when dropped before it is kept.
pub(crate) struct Draft<'a> {
    place: &'a Place<'a>,
    folder: PathBuf,
    published: Vec<Published>,
}

impl<'a> Place<'a> {
    pub(crate) fn new(
        dir: &Path,
        graph: &'a Path,
        opener: &'a Opener,
        precision: Precision,
    ) -> Self {
        let real = graph.canonicalize().unwrap_or_else(|_| graph.to_owned());
        let key = format!("{}\n{}\n{precision}", real.display(), opener.name());
        let name = blake3::hash(key.as_bytes()).to_hex()[..16].to_owned();
        Self { dir: dir.to_owned(), name, graph, opener }
    }

    fn folder(&self) -> PathBuf {
        self.dir.join(&self.name)
    }

    pub(crate) fn published(&self) -> &Path {
        self.graph
    }

    /// Where the prepared graph is.
    pub(crate) fn graph(&self) -> PathBuf {
        self.folder().join(GRAPH)
    }

    /// The folder that weights of a prepared graph are in, where it is not its own. `None` if it has all of them itself, as
    /// those in int8 of a picture tower: opened as a file it takes half the memory of one that is given as bytes.
    pub(crate) fn weights_folder(&self, prepared: &Path) -> Option<PathBuf> {
        if !self.opener.finds_weights_elsewhere() {
            return None;
        }
        let model = Model::decode(Bytes::from(fs::read(prepared).ok()?)).ok()?;
        let is_elsewhere = model.graph?.initializer.iter().any(Tensor::is_external);
        is_elsewhere.then(|| Some(self.graph.canonicalize().ok()?.parent()?.to_owned())).flatten()
    }

    fn made_by(&self) -> String {
        format!("{}, rewrite {REWRITE}, {}", env!("CARGO_PKG_VERSION"), self.opener.description())
    }

    /// What was found out before, unless a file is damaged or changed since.
    pub(crate) fn remembered(&self) -> Option<Verdict> {
        let note = fs::read(self.folder().join(NOTE)).ok()?;
        let note = serde_json::from_slice::<Note>(&note).ok()?;
        if note.made_by != self.made_by() || !note.published.iter().all(Published::is_as_it_was) {
            return None;
        }
        if let Verdict::Prepared { checksum, .. } = &note.verdict {
            let graph = fs::read(self.graph()).ok()?;
            (*blake3::hash(&graph).to_hex() == **checksum).then_some(())?;
        }
        Some(note.verdict)
    }

    /// Reads the published graph.
    pub(crate) fn read(&self) -> Result<Read, String> {
        let bytes = Bytes::from(fs::read(self.graph).map_err(|error| error.to_string())?);
        let model = Model::decode(bytes.clone()).map_err(|error| error.to_string())?;
        Ok(Read { model, bytes })
    }

    pub(crate) fn draft(&self, read: &Read) -> Result<Draft<'_>, String> {
        let folder = self.dir.join(format!(".{}-{}", self.name, std::process::id()));
        let made = fs::remove_dir_all(&folder).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        });
        let made = made.and_then(|()| fs::create_dir_all(&folder));
        made.map_err(|error| format!("{}: {error}", folder.display()))?;
        let graph =
            Published::of(self.graph, Some(&read.bytes)).map_err(|error| error.to_string())?;
        Ok(Draft { place: self, folder, published: vec![graph] })
    }
}

impl Draft<'_> {
    pub(crate) fn graph(&self) -> PathBuf {
        self.folder.join(GRAPH)
    }

    /// Writes a rewritten graph. Large weights that are as they were published stay where they are.
    pub(crate) fn write(&mut self, read: &Read, mut model: Model) -> Result<(), String> {
        self.published.truncate(1);
        let mut links = HashMap::new();
        let graph = model.graph.as_mut().ok_or("it is no ONNX file")?;
        for tensor in &mut graph.initializer {
            let Some((file, offset, bytes)) = self.whereabouts(read, tensor)? else { continue };
            let known = self.published.iter().position(|published| published.path == file);
            let index = match known {
                Some(index) => index,
                None => {
                    let published = Published::of(&file, None);
                    self.published.push(published.map_err(|error| error.to_string())?);
                    self.published.len() - 1
                }
            };
            let link = links.entry(index).or_insert_with(|| self.link(index));
            point(tensor, link.as_ref().map_err(Clone::clone)?, offset, bytes);
        }
        fs::write(self.graph(), model.encode_to_vec()).map_err(|error| error.to_string())
    }

    /// The file, offset and size of a tensor that is left where it was published.
    fn whereabouts(
        &self,
        read: &Read,
        tensor: &Tensor,
    ) -> Result<Option<(PathBuf, usize, usize)>, String> {
        if tensor.is_external() {
            let beside = self.place.graph.parent().unwrap_or(Path::new("."));
            return external(tensor, beside).map(Some);
        }
        let Some(raw) = tensor.raw_data.as_ref().filter(|raw| raw.len() >= LINKED_MIN) else {
            return Ok(None);
        };
        // a slice of what was read tells its place by its address
        let offset = (raw.as_ptr() as usize).wrapping_sub(read.bytes.as_ptr() as usize);
        let is_slice = offset.checked_add(raw.len()).is_some_and(|end| end <= read.bytes.len());
        Ok(is_slice.then(|| (self.published[0].path.clone(), offset, raw.len())))
    }

    /// What a graph in this folder has to call a published file.
    fn link(&self, index: usize) -> Result<String, String> {
        let file = &self.published[index].path;
        if self.place.opener.finds_weights_elsewhere() {
            let name = file.file_name().and_then(|name| name.to_str());
            return match (file.parent() == self.published[0].path.parent(), name) {
                (true, Some(name)) => Ok(name.to_owned()),
                _ => Err("its weights are in more than one folder".into()),
            };
        }
        let name = format!("weights{index}.data");
        symlink(file, &self.folder.join(&name)).map_err(|error| error.to_string())?;
        Ok(name)
    }

    /// Puts the folder in its place, for good.
    pub(crate) fn keep(self, verdict: impl FnOnce(String) -> Verdict) -> Result<(), String> {
        let graph = fs::read(self.graph()).unwrap_or_default();
        let verdict = verdict(blake3::hash(&graph).to_hex().to_string());
        let note =
            Note { made_by: self.place.made_by(), published: self.published.clone(), verdict };
        let note = serde_json::to_vec_pretty(&note).map_err(|error| error.to_string())?;
        let target = self.place.folder();
        let kept = fs::write(self.folder.join(NOTE), note).and_then(|()| {
            // a folder that another process put there meanwhile says the same
            drop(fs::remove_dir_all(&target));
            fs::rename(&self.folder, &target)
        });
        kept.map_err(|error| format!("{}: {error}", target.display()))
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn point(tensor: &mut Tensor, file: &str, offset: usize, bytes: usize) {
    let entry = |key: &str, value: String| Entry { key: Some(key.to_owned()), value: Some(value) };
    tensor.raw_data = None;
    tensor.data_location = Some(EXTERNAL);
    tensor.external_data = vec![
        entry("location", file.to_owned()),
        entry("offset", offset.to_string()),
        entry("length", bytes.to_string()),
    ];
}

/// Where a tensor is that the publisher put into a file of its own.
fn external(tensor: &Tensor, beside: &Path) -> Result<(PathBuf, usize, usize), String> {
    let entry =
        |key: &str| tensor.external_data.iter().find(|entry| entry.key() == key).map(Entry::value);
    let number = |key: &str| entry(key).map(str::parse::<usize>).transpose();
    let wrong = || format!("the weight {:?} is in a file that cannot be used", tensor.name());
    let size = match tensor.data_type() {
        elem::F32 | elem::I32 => 4,
        elem::F16 => 2,
        elem::I64 => 8,
        elem::U8 | elem::I8 | elem::BOOL => 1,
        _ => return Err(wrong()),
    };
    let location = entry("location").ok_or_else(wrong)?;
    let path = beside.join(location).canonicalize().map_err(|_| wrong())?;
    let whole = tensor.count().and_then(|count| count.checked_mul(size)).ok_or_else(wrong)?;
    let offset = number("offset").map_err(|_| wrong())?.unwrap_or(0);
    let bytes = number("length").map_err(|_| wrong())?.unwrap_or(whole);
    Ok((path, offset, bytes))
}

#[cfg(unix)]
fn symlink(file: &Path, link: &Path) -> io::Result<()> {
    match std::os::unix::fs::symlink(file, link) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

#[cfg(not(unix))]
fn symlink(file: &Path, link: &Path) -> io::Result<()> {
    fs::copy(file, link).map(drop)
}
