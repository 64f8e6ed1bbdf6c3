//! Models by name: `config/models.toml`, built in, and the user's own file of the same form.
//! What stands here is known without asking anybody; sizes and checksums come from the hub.

use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::Deserialize;

use super::ModelError;

const BUILT_IN: &str = include_str!("../../config/models.toml");

/// What is known of a model that can be downloaded.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    pub name: String,
    /// `owner/name` on the hub.
    pub repository: String,
    /// Branch, tag or commit.
    #[serde(default = "main_branch")]
    pub revision: String,
    /// Which files there are.
    pub layout: Layout,
    /// Patterns of what is downloaded; empty: what the layout needs.
    #[serde(default)]
    pub files: Vec<String>,
    /// What answers call it.
    pub display_name: String,
    /// Length of its vectors.
    pub dim: usize,
    /// About what is downloaded.
    pub megabytes: u64,
    /// Licence of the weights.
    pub licence: String,
    pub languages: String,
    /// One line for who chooses.
    pub good_for: String,
    /// Engines that run it.
    #[serde(default = "all_engines")]
    pub engines: Vec<String>,
    /// How the words of a search are put to it; see [`super::SearchTraits`].
    #[serde(default)]
    pub templates: Vec<String>,
    #[serde(default = "near_duplicate_cosine")]
    pub near_duplicate_cosine: f32,
}

/// For a model that nobody has measured.
pub(super) const NEAR_DUPLICATE_COSINE: f32 = 0.97;

fn near_duplicate_cosine() -> f32 {
    NEAR_DUPLICATE_COSINE
}

/// How the files of a model are arranged; see the crate `clip`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// `visual/` and `textual/`.
    OpenClip,
    /// `onnx/`.
    Transformers,
}

fn main_branch() -> String {
    "main".into()
}

fn all_engines() -> Vec<String> {
    vec!["rten".into(), "onnxruntime".into()]
}

impl Layout {
    /// Files without which there is no model.
    pub(super) fn required(self) -> &'static [&'static str] {
        match self {
            Self::OpenClip => &[
                "config.json",
                "visual/model.onnx",
                "visual/preprocess_cfg.json",
                "textual/model.onnx",
                "textual/tokenizer.json",
            ],
            Self::Transformers => &[
                "config.json",
                "preprocessor_config.json",
                "tokenizer.json",
                "onnx/vision_model.onnx",
                "onnx/text_model.onnx",
            ],
        }
    }

    /// Graphs may keep their weights in further files beside them, whose names differ by exporter.
    fn patterns(self) -> &'static [&'static str] {
        match self {
            Self::OpenClip => &["config.json", "visual/*", "textual/*"],
            Self::Transformers => &[
                "config.json",
                "preprocessor_config.json",
                "tokenizer.json",
                "tokenizer_config.json",
                "special_tokens_map.json",
                "onnx/vision_model.onnx*",
                "onnx/text_model.onnx*",
            ],
        }
    }
}

/// Graphs for other engines that published repositories hold beside the ONNX files.
const NEVER: &[&str] = &["armnn", "rknn", "md"];

impl ModelEntry {
    /// The files of a repository that are downloaded.
    pub(super) fn select(&self, listing: &[String]) -> Result<Vec<String>, ModelError> {
        let patterns: Vec<&str> = if self.files.is_empty() {
            self.layout.patterns().to_vec()
        } else {
            self.files.iter().map(String::as_str).collect()
        };
        let wanted = globs(&patterns)
            .map_err(|reason| ModelError::Registry { path: self.name.clone(), reason })?;
        let is_for_others = |file: &str| {
            Path::new(file)
                .extension()
                .is_some_and(|kind| NEVER.iter().any(|never| kind.eq_ignore_ascii_case(never)))
        };
        let selected = listing.iter().filter(|file| {
            wanted.is_match(file.as_str()) && !is_for_others(file) && stays_below(file)
        });
        Ok(selected.cloned().collect())
    }
}

fn globs(patterns: &[&str]) -> Result<GlobSet, String> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(
            GlobBuilder::new(pattern)
                .literal_separator(true)
                .build()
                .map_err(|error| error.to_string())?,
        );
    }
    set.build().map_err(|error| error.to_string())
}

/// Names come from the hub; none of them may lead out of the model's own folder.
fn stays_below(file: &str) -> bool {
    !file.contains('\\')
        && Path::new(file).components().all(|part| matches!(part, std::path::Component::Normal(_)))
}

/// All models that are known by name.
#[derive(Debug, Clone)]
pub struct Registry {
    entries: Vec<ModelEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistryFile {
    #[serde(default)]
    model: Vec<ModelEntry>,
}

impl Registry {
    /// The built-in models and those of `user_file`, which win over built-in ones of the same name.
    pub fn load(user_file: Option<&Path>) -> Result<Self, ModelError> {
        let mut entries = parse(BUILT_IN, "config/models.toml")?;
        if let Some(path) = user_file {
            let shown = path.display().to_string();
            let text =
                std::fs::read_to_string(path).map_err(|error| super::io_error(path, &error))?;
            for entry in parse(&text, &shown)? {
                entries.retain(|known| known.name != entry.name);
                entries.push(entry);
            }
        }
        Ok(Self { entries })
    }

    /// The model of that name; upper and lower case are the same.
    pub fn get(&self, name: &str) -> Option<&ModelEntry> {
        self.entries.iter().find(|entry| entry.name.eq_ignore_ascii_case(name))
    }

    /// All of them, in the order of the files.
    pub fn entries(&self) -> &[ModelEntry] {
        &self.entries
    }
}

fn parse(text: &str, path: &str) -> Result<Vec<ModelEntry>, ModelError> {
    let failed = |reason: String| ModelError::Registry { path: path.to_owned(), reason };
    let file = config::File::from_str(text, config::FileFormat::Toml);
    let parsed = config::Config::builder()
        .add_source(file)
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let file: RegistryFile = parsed.try_deserialize().map_err(|error| failed(error.to_string()))?;
    for entry in &file.model {
        let safe = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let repository_is_safe =
            entry.repository.split_once('/').is_some_and(|(owner, name)| safe(owner) && safe(name));
        if !repository_is_safe
            || !safe(&entry.name)
            || !safe(&entry.revision)
            || entry.revision.starts_with('.')
        {
            let reason = "name, repository (owner/name) and revision may hold letters, digits, '-', '_' and '.' only".to_owned();
            return Err(failed(format!("model {:?}: {reason}", entry.name)));
        }
        if !entry.templates.iter().all(|template| template.contains("{}")) {
            let reason = "each of its templates needs a {} where the words belong";
            return Err(failed(format!("model {:?}: {reason}", entry.name)));
        }
        if !(0.0..=1.0).contains(&entry.near_duplicate_cosine) {
            let reason = "near_duplicate_cosine must be 0 to 1";
            return Err(failed(format!("model {:?}: {reason}", entry.name)));
        }
    }
    Ok(file.model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_that_is_promised_is_there_and_says_what_it_is() {
        let registry = Registry::load(None).expect("the built-in file is valid");
        for name in [
            "ViT-B-32__openai",
            "ViT-B-16__openai",
            "ViT-L-14__openai",
            "ViT-B-32__laion2b-s34b-b79k",
            "mobileclip_s0",
        ] {
            assert!(registry.get(name).is_some(), "{name} is missing");
        }
        for part in ["SigLIP__", "SigLIP-256", "SigLIP2__", "SigLIP2-256", "XLM-Roberta", "nllb"] {
            assert!(registry.entries().iter().any(|entry| entry.name.contains(part)), "no {part}");
        }
        let mut names: Vec<String> =
            registry.entries().iter().map(|entry| entry.name.to_lowercase()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), registry.entries().len(), "two models of one name");
        for entry in registry.entries() {
            assert!(
                entry.dim >= 128
                    && entry.megabytes > 50
                    && !entry.licence.is_empty()
                    && !entry.good_for.is_empty(),
                "{entry:?}"
            );
        }
        assert!(registry.get("vit-b-32__OPENAI").is_some(), "case matters");
    }

    #[test]
    fn only_what_the_layout_needs_is_downloaded() {
        let registry = Registry::load(None).expect("valid");
        let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let clip = registry.get("ViT-B-32__openai").expect("known");
        let listing = [
            ".gitattributes",
            "README.md",
            "config.json",
            "visual/model.onnx",
            "visual/model.armnn",
            "visual/rknpu/rk3588/model.rknn",
        ];
        let more = [
            "textual/model.onnx",
            "textual/model.onnx_data",
            "textual/tokenizer.json",
            "../../etc/passwd",
            "visual/..",
            "/visual/x",
        ];
        let selected = clip.select(&all(&[&listing[..], &more[..]].concat())).expect("selected");
        assert_eq!(
            selected,
            [
                "config.json",
                "visual/model.onnx",
                "textual/model.onnx",
                "textual/model.onnx_data",
                "textual/tokenizer.json"
            ]
        );
        let mobile = registry.get("mobileclip_s0").expect("known");
        let listing = [
            "onnx/model.onnx",
            "onnx/vision_model.onnx",
            "onnx/vision_model_fp16.onnx",
            "onnx/text_model.onnx",
            "vocab.json",
        ];
        assert_eq!(
            mobile.select(&all(&listing)).expect("selected"),
            ["onnx/vision_model.onnx", "onnx/text_model.onnx"]
        );
    }

    #[test]
    fn a_users_file_adds_and_replaces() {
        let dir = tempfile::tempdir().expect("temp");
        let path = dir.path().join("models.toml");
        let entry = |name: &str, extra: &str| {
            format!(
                "[[model]]\nname = \"{name}\"\nrepository = \"me/mine\"\nlayout = \"open_clip\"\ndisplay_name = \"Mine\"\ndim = 8\n\
                 megabytes = 1\nlicence = \"MIT\"\nlanguages = \"English\"\ngood_for = \"tests\"\n{extra}"
            )
        };
        std::fs::write(
            &path,
            format!("{}{}", entry("mine", ""), entry("ViT-B-32__openai", "revision = \"abc\"\n")),
        )
        .expect("written");
        let registry = Registry::load(Some(&path)).expect("valid");
        assert_eq!(registry.get("mine").expect("added").repository, "me/mine");
        assert_eq!(registry.get("ViT-B-32__openai").expect("replaced").revision, "abc");
        for (bad, word) in [
            ("sizes = 3\n", "sizes"),
            ("revision = \"../x\"\n", "revision"),
            ("templates = [\"a photo\"]\n", "templates"),
            ("near_duplicate_cosine = 2.0\n", "near_duplicate_cosine"),
        ] {
            std::fs::write(&path, entry("mine", bad)).expect("written");
            let error = Registry::load(Some(&path)).expect_err("refused").to_string();
            assert!(error.contains(word) && error.contains("models.toml"), "{error}");
        }
    }
}
