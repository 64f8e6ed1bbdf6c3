//! The small model that is inside the program, so that a first run needs neither files nor a network.
//! The engines read files, so it is written below the data folder, once per version of it.

use std::path::{Path, PathBuf};

use rust_embed::RustEmbed;

use super::{ModelError, io_error};

/// Name of the bundled model.
pub const BUNDLED: &str = "emoji-clip";

#[derive(RustEmbed)]
#[folder = "models/emoji-clip"]
#[exclude = "eval/*"]
struct BundledModel;

/// Its folder, written if it is not there yet.
pub(super) fn unpack(data_dir: &Path) -> Result<PathBuf, ModelError> {
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
    Ok(target)
}
