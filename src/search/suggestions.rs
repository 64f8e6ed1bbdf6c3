//! What a half-typed text may become: words of a built-in list that find something here, and folders, cameras and names of
//! pictures that have all its words, of the last one at least the beginning. Only the first pictures that have them are looked
//! at, so it costs the same in every library.

use std::collections::HashSet;

use super::names::words;
use super::{SearchError, Searcher};
use crate::catalog::CatalogError;
use crate::types::{ContentHash, ImageName};

/// Longer texts are no beginning of a name.
const WORDS_MAX: usize = 8;
/// Shorter ones begin everything.
const CHARS_MIN: usize = 2;
/// Pictures that are looked at.
const LOOKED_AT: u32 = 256;
/// Pictures whose camera is looked at.
const CAMERAS_OF: usize = 32;
const HELD_MAX: usize = 3;
const FOLDERS_MAX: usize = 3;
const CAMERAS_MAX: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuggestionKind {
    Word,
    Folder,
    Camera,
    Name,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    pub kind: SuggestionKind,
    /// A word of the list, the whole folder, the camera, or the words that a file is called by.
    pub text: String,
}

impl Searcher {
    /// At most `limit`: words first, then folders, cameras, and names.
    pub async fn suggestions(
        &self,
        text: &str,
        limit: usize,
    ) -> Result<Vec<Suggestion>, SearchError> {
        let words = words(text);
        let chars: usize = words.iter().map(|word| word.chars().count()).sum();
        let is_short = chars < CHARS_MIN;
        if is_short || words.len() > WORDS_MAX {
            return Ok(Vec::new());
        }
        let found = self.catalog.images_with_words(&words, true, LOOKED_AT).await?;
        let mut folders = Texts::new(FOLDERS_MAX);
        let mut names = Texts::new(limit);
        let mut of_cameras: Vec<ContentHash> = Vec::new();
        for image in &found {
            let folder = folder_with(&image.name, &words);
            let own = own_words(&image.name).filter(|name| begins(name, &words));
            if folder.is_none() && own.is_none() && of_cameras.len() < CAMERAS_OF {
                of_cameras.push(image.hash);
            }
            folders.add(folder);
            names.add(own);
        }
        let cameras = self.cameras(&of_cameras, &words).await?;
        let answering = self.serving.borrow().answering().cloned();
        let held = match answering {
            Some(serving) => self.held_words(&serving, &words, HELD_MAX).await?,
            None => Vec::new(),
        };
        let held: Vec<String> = held.into_iter().map(str::to_owned).collect();
        let is_word =
            |name: &String| held.iter().any(|word| word.to_lowercase() == name.to_lowercase());
        names.texts.retain(|name| !is_word(name));
        let all = [
            (SuggestionKind::Word, held),
            (SuggestionKind::Folder, folders.texts),
            (SuggestionKind::Camera, cameras),
            (SuggestionKind::Name, names.texts),
        ];
        let all = all
            .into_iter()
            .flat_map(|(kind, texts)| texts.into_iter().map(move |text| Suggestion { kind, text }));
        Ok(all.take(limit).collect())
    }

    async fn cameras(
        &self,
        of: &[ContentHash],
        words: &[String],
    ) -> Result<Vec<String>, CatalogError> {
        let mut cameras = Texts::new(CAMERAS_MAX);
        if !of.is_empty() {
            let facets = self.catalog.facets_of(of).await?;
            for hash in of {
                let images = facets.get(hash).into_iter().flatten();
                for camera in images.filter_map(|image| image.camera.as_ref()) {
                    cameras.add(Some(camera.clone()).filter(|camera| begins(camera, words)));
                }
            }
        }
        Ok(cameras.texts)
    }
}

/// Texts in the order in which they came, each once, however it is written.
struct Texts {
    texts: Vec<String>,
    seen: HashSet<String>,
    most: usize,
}

impl Texts {
    fn new(most: usize) -> Self {
        Self { texts: Vec::new(), seen: HashSet::new(), most }
    }

    fn add(&mut self, text: Option<String>) {
        let Some(text) = text.filter(|_| self.texts.len() < self.most) else { return };
        if self.seen.insert(text.to_lowercase()) {
            self.texts.push(text);
        }
    }
}

/// Whether `text` has all these words, of the last one at least the beginning.
pub(super) fn begins(text: &str, wanted: &[String]) -> bool {
    let Some((last, whole)) = wanted.split_last() else { return false };
    let own = words(text);
    whole.iter().all(|word| own.contains(word)) && own.iter().any(|word| word.starts_with(last))
}

/// The outermost folder of the picture that has the words.
fn folder_with(name: &ImageName, words: &[String]) -> Option<String> {
    let folders = name.as_str().rsplit_once('/')?.0;
    let ends = folders.match_indices('/').map(|(at, _)| at).chain([folders.len()]);
    ends.map(|end| &folders[..end]).find(|folder| begins(folder, words)).map(str::to_owned)
}

/// What the file is called, without what names end with; as words, if it is made of words.
fn own_words(name: &ImageName) -> Option<String> {
    let file = name.file_name();
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let is_number = stem.contains(|c: char| c.is_ascii_digit());
    let text = if is_number { stem.to_owned() } else { stem.replace(['_', '-'], " ") };
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ImageName {
        ImageName::new(text).expect("valid")
    }

    #[test]
    fn the_outermost_folder_with_the_words_is_meant() {
        let folder = |image: &str, text: &str| folder_with(&name(image), &words(text));
        assert_eq!(folder("trips/rome/old/a.png", "ro").as_deref(), Some("trips/rome"));
        assert_eq!(folder("trips/rome/old/a.png", "trips ro").as_deref(), Some("trips/rome"));
        assert_eq!(
            folder("trips/rome/old/a.png", "rom trips"),
            None,
            "only the last is unfinished"
        );
        assert_eq!(folder("rome.png", "ro"), None);
    }

    #[test]
    fn files_are_suggested_as_words_unless_they_are_numbered() {
        let own = |image: &str| own_words(&name(image)).expect("a name");
        assert_eq!(own("a/red-apple.png"), "red apple");
        assert_eq!(own("IMG_1234.jpg"), "IMG_1234");
        assert!(begins("red apple", &words("appl")) && begins("Red Apple", &words("apple re")));
        assert!(!begins("red apple", &words("pple")) && !begins("red apple", &words("re blue")));
    }

    #[test]
    fn each_text_is_said_once() {
        let mut texts = Texts::new(2);
        for text in ["Rome", "rome", "Oslo", "Bern"] {
            texts.add(Some(text.to_owned()));
        }
        texts.add(None);
        assert_eq!(texts.texts, ["Rome", "Oslo"]);
    }
}
