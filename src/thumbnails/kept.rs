//! The thumbnails that are kept, looked through for what does not belong there: of no content we know, or cut off.

use std::path::{Path, PathBuf};

use crate::types::ContentHash;

/// A file in the folder of thumbnails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub path: PathBuf,
    /// The content that it is of; `None` if its name says none, or it is no whole JPEG.
    pub hash: Option<ContentHash>,
}

/// All files in the folder of thumbnails.
pub fn all(dir: &Path) -> Vec<Kept> {
    let files = walkdir::WalkDir::new(dir).into_iter().filter_map(Result::ok);
    let files = files.filter(|entry| entry.file_type().is_file());
    files
        .map(|entry| {
            let path = entry.into_path();
            let name = path.file_name().and_then(|name| name.to_str());
            let hash = name.and_then(content_of);
            let hash = hash.filter(|_| std::fs::read(&path).is_ok_and(|jpeg| is_whole(&jpeg)));
            Kept { path, hash }
        })
        .collect()
}

/// Deletes what `is_known` does not know. Returns how many files went.
pub fn remove_others(
    files: &[Kept],
    is_known: impl Fn(&ContentHash) -> bool,
) -> std::io::Result<u64> {
    let mut removed = 0;
    for file in files {
        if !file.hash.as_ref().is_some_and(&is_known) {
            std::fs::remove_file(&file.path)?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// What a thumbnail is called, on the disk and in a bucket.
pub(super) fn name(hash: &ContentHash, width: u32) -> String {
    format!("{hash}-{width}.jpg")
}

/// Of which content a thumbnail of this name is.
pub(super) fn content_of(name: &str) -> Option<ContentHash> {
    let (hash, width) = name.strip_suffix(".jpg")?.split_once('-')?;
    hash.parse().ok().filter(|_| width.parse::<u32>().is_ok())
}

/// It begins and ends as a JPEG does: a crash or a full disk leaves the beginning.
pub(super) fn is_whole(jpeg: &[u8]) -> bool {
    jpeg.starts_with(&[0xff, 0xd8]) && jpeg.ends_with(&[0xff, 0xd9])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_or_cut_off_goes_and_the_rest_stays() {
        let dir = tempfile::tempdir().expect("temp");
        let (known, unknown, cut) =
            (ContentHash::of(b"known"), ContentHash::of(b"unknown"), ContentHash::of(b"cut"));
        let whole = [0xff, 0xd8, 1, 2, 0xff, 0xd9];
        for (hash, bytes) in [(known, &whole[..]), (unknown, &whole[..]), (cut, &whole[..3])] {
            std::fs::write(dir.path().join(format!("{hash}-320.jpg")), bytes).expect("written");
        }
        std::fs::write(dir.path().join(format!("{known}-320.xyz.part")), whole).expect("written");
        let files = all(dir.path());
        assert_eq!(files.len(), 4);
        let removed = remove_others(&files, |hash| [known, cut].contains(hash)).expect("removed");
        assert_eq!(removed, 3);
        assert!(dir.path().join(format!("{known}-320.jpg")).exists());
    }
}
