//! Which model: finds the directory of a model bundle for what the configuration says, and names its revision.
//! The small bundled model is inside the program, so a first run needs neither files nor a network.

use std::path::{Path, PathBuf};

use rust_embed::RustEmbed;

use crate::types::ModelId;

/// Name of the bundled model.
pub const BUNDLED: &str = "emoji-clip";

const BUNDLED_BANNER: &str =
    "This is the small bundled model. It knows little more than emoji-like drawings; use --model DIR with a CLIP model bundle for photos.";

#[derive(RustEmbed)]
#[folder = "models/emoji-clip"]
#[exclude = "eval/*"]
struct BundledModel;

/// A model whose files are here.
#[derive(Debug, Clone)]
pub struct LocatedModel {
    /// Directory of the bundle.
    pub dir: PathBuf,
    /// Name and revision.
    pub id: ModelId,
    /// What answers call it.
    pub display_name: String,
    /// What users should know about it.
    pub banner: Option<String>,
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Neither a directory nor a known name.
    #[error(
        "there is no model {0:?}: give a folder with a model bundle (config.json, visual/, textual/), or \"emoji-clip\" for the bundled one"
    )]
    Unknown(String),
    /// A file cannot be read or written.
    #[error("cannot use {path}: {reason}")]
    Io {
        /// Which file.
        path: String,
        /// The system's words.
        reason: String,
    },
}

/// Finds the model that `wanted` names: a directory, or a short name.
pub fn locate(wanted: &str, data_dir: &Path) -> Result<LocatedModel, ModelError> {
    let dir = Path::new(wanted);
    if dir.is_dir() {
        return from_directory(dir);
    }
    match wanted {
        "auto" | BUNDLED => unpack_bundled(data_dir),
        _ => Err(ModelError::Unknown(wanted.to_owned())),
    }
}

fn from_directory(dir: &Path) -> Result<LocatedModel, ModelError> {
    let dir = dir.canonicalize().map_err(|error| io_error(dir, &error))?;
    let name = dir.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned());
    let revision = digest(&dir)?;
    let banner = (name == BUNDLED).then(|| BUNDLED_BANNER.to_owned());
    Ok(LocatedModel { dir, display_name: display_name(&name), id: ModelId { name, revision }, banner })
}

/// `CLIP` for everything of that family; its own name for others.
fn display_name(name: &str) -> String {
    if name.to_lowercase().contains("siglip") { "SigLIP".into() } else { "CLIP".into() }
}

/// BLAKE3 over names and bytes of the bundle's files, so that a changed file is another revision.
fn digest(dir: &Path) -> Result<String, ModelError> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in walkdir::WalkDir::new(dir).max_depth(2).sort_by_file_name() {
        let entry = entry.map_err(|error| ModelError::Io { path: dir.display().to_string(), reason: error.to_string() })?;
        let is_model_file =
            entry.path().extension().is_some_and(|kind| ["onnx", "json", "data", "rten"].iter().any(|known| kind == *known));
        if entry.file_type().is_file() && is_model_file {
            files.push(entry.into_path());
        }
    }
    let mut hasher = blake3::Hasher::new();
    for path in files {
        hasher.update(path.strip_prefix(dir).unwrap_or(&path).as_os_str().as_encoded_bytes());
        let file = std::fs::File::open(&path).map_err(|error| io_error(&path, &error))?;
        hasher.update_reader(file).map_err(|error| io_error(&path, &error))?;
    }
    Ok(hasher.finalize().to_hex()[..16].to_owned())
}

/// Writes the bundled files below the data folder, once per version of them.
fn unpack_bundled(data_dir: &Path) -> Result<LocatedModel, ModelError> {
    let mut hasher = blake3::Hasher::new();
    let mut names: Vec<_> = BundledModel::iter().collect();
    names.sort();
    for name in &names {
        hasher.update(name.as_bytes());
        hasher.update(&BundledModel::get(name).map(|file| file.data).unwrap_or_default());
    }
    let version = hasher.finalize().to_hex();
    let target = data_dir.join("models").join(format!("bundled-{}", &version[..16])).join(BUNDLED);
    if !target.is_dir() {
        let partial = data_dir.join("models").join(format!(".bundled-{}", uuid::Uuid::new_v4()));
        for name in &names {
            let path = partial.join(BUNDLED).join(name.as_ref());
            let folder = path.parent().unwrap_or(&partial);
            std::fs::create_dir_all(folder).map_err(|error| io_error(folder, &error))?;
            let data = BundledModel::get(name).map(|file| file.data).unwrap_or_default();
            std::fs::write(&path, data).map_err(|error| io_error(&path, &error))?;
        }
        let parent = target.parent().unwrap_or(data_dir);
        // Whoever renames first wins; both have written the same.
        if let Err(error) = std::fs::rename(&partial, parent) {
            let _ = std::fs::remove_dir_all(&partial);
            if !target.is_dir() {
                return Err(io_error(&target, &error));
            }
        }
    }
    from_directory(&target)
}

fn io_error(path: &Path, error: &std::io::Error) -> ModelError {
    ModelError::Io { path: path.display().to_string(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_model_is_unpacked_once_and_named_by_its_files() {
        let dir = tempfile::tempdir().expect("temp");
        let first = locate(BUNDLED, dir.path()).expect("located");
        assert!(first.dir.join("visual/model.onnx").is_file() && first.banner.is_some());
        let again = locate("auto", dir.path()).expect("located");
        assert_eq!((first.dir, first.id), (again.dir, again.id));
    }

    #[test]
    fn another_file_is_another_revision() {
        let dir = tempfile::tempdir().expect("temp");
        let wanted = dir.path().display().to_string();
        std::fs::write(dir.path().join("config.json"), "{}").expect("write");
        let before = locate(&wanted, dir.path()).expect("located").id;
        std::fs::write(dir.path().join("config.json"), "{ }").expect("write");
        let after = locate(&wanted, dir.path()).expect("located").id;
        assert_eq!(before.name, after.name);
        assert_ne!(before.revision, after.revision);
    }

    #[test]
    fn an_unknown_name_says_what_is_possible() {
        let error = locate("no-such-model", Path::new("/tmp")).expect_err("unknown");
        assert!(error.to_string().contains("emoji-clip"), "{error}");
    }
}
