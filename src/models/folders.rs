//! Where the files of models were that were used from a folder of their own. Only this machine knows its paths, so they
//! are noted in the data folder and not in the catalog, which several machines may share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::types::ModelId;

/// `name@revision` to folder.
pub(super) struct NotedFolders {
    file: PathBuf,
}

impl NotedFolders {
    pub(super) fn new(data_dir: &Path) -> Self {
        Self { file: data_dir.join("models").join("folders.json") }
    }

    pub(super) fn get(&self, id: &ModelId) -> Option<PathBuf> {
        self.read().remove(&id.to_string())
    }

    /// Failing to note one costs computing vectors again after a change of models, and nothing else.
    pub(super) fn note(&self, id: &ModelId, folder: &Path) {
        let mut folders = self.read();
        if folders.get(&id.to_string()).is_some_and(|known| known == folder) {
            return;
        }
        folders.insert(id.to_string(), folder.to_owned());
        if let Err(error) = self.write(&folders) {
            tracing::warn!(%error, path = %self.file.display(), "could not note where the model is");
        }
    }

    fn read(&self) -> BTreeMap<String, PathBuf> {
        let text = std::fs::read(&self.file).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn write(&self, folders: &BTreeMap<String, PathBuf>) -> std::io::Result<()> {
        let partial = self.file.with_extension("json.part");
        std::fs::create_dir_all(self.file.parent().unwrap_or(Path::new(".")))?;
        std::fs::write(&partial, serde_json::to_vec_pretty(folders)?)?;
        std::fs::rename(&partial, &self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noted_folder_is_found_again_and_a_damaged_note_is_no_obstacle() {
        let dir = tempfile::tempdir().expect("temp");
        let id = ModelId { name: "clip".into(), revision: "1".into() };
        let folders = NotedFolders::new(dir.path());
        assert_eq!(folders.get(&id), None);
        folders.note(&id, Path::new("/models/clip"));
        assert_eq!(folders.get(&id), Some("/models/clip".into()));
        std::fs::write(dir.path().join("models/folders.json"), "{").expect("write");
        assert_eq!(folders.get(&id), None);
        folders.note(&id, Path::new("/elsewhere"));
        assert_eq!(folders.get(&id), Some("/elsewhere".into()));
    }
}
