//! Which model: a folder, a name from the registry, or the bundled one. Finds what is here, downloads what is not, and names
//! the revision, so that vectors of different models are never mixed.

mod bundled;
mod cache;
mod download;
mod folders;
mod hub;
mod progress;
mod registry;

use std::path::{Path, PathBuf};

use clip::Precision;

pub use self::bundled::BUNDLED;
use self::cache::Cache;
pub use self::cache::Snapshot;
use self::download::Sums;
use self::folders::NotedFolders;
use self::hub::Hub;
pub use self::progress::DownloadProgress;
pub use self::registry::{ModelEntry, Registry};
use crate::catalog::UsedModel;
use crate::config::{Config, KeyFileError, ModelsConfig};
use crate::types::ModelId;

/// Stands for the preferred model if it can be had, and the bundled one otherwise.
pub const AUTO: &str = "auto";

/// First requests to the hub in vain before `auto` takes the bundled model.
const TRIES_WITH_SUBSTITUTE: u32 = 2;

/// Measured (docs/benchmarks.md): 99 of 100 copies that were resized or encoded again are nearer, and next to no two drawings.
const BUNDLED_NEAR_DUPLICATE_COSINE: f32 = 0.99;

const BUNDLED_BANNER: &str = "This is the small bundled model: it knows little more than emoji-like drawings. For photos leave --model away, or name a CLIP model.";

/// A model whose files are here.
#[derive(Debug, Clone)]
pub struct LocatedModel {
    /// Directory of the bundle.
    pub dir: PathBuf,
    pub id: ModelId,
    /// What answers call it.
    pub display_name: String,
    /// What users should know about it.
    pub banner: Option<String>,
    /// Whether the built-in engine runs it; otherwise it takes ONNX Runtime.
    pub runs_on_rten: bool,
    pub traits: SearchTraits,
}

/// How searches use a model.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchTraits {
    /// How words are put to it, with `{}` where they belong; of several the mean is taken. Empty: as they are.
    pub templates: Vec<String>,
    /// From which cosine on two pictures are nearly the same.
    pub near_duplicate_cosine: f32,
}

impl Default for SearchTraits {
    fn default() -> Self {
        Self { templates: Vec::new(), near_duplicate_cosine: registry::NEAR_DUPLICATE_COSINE }
    }
}

impl SearchTraits {
    /// Of a model by its name alone, where there is no description.
    fn of(name: &str) -> Self {
        let cosine = if name == BUNDLED {
            BUNDLED_NEAR_DUPLICATE_COSINE
        } else {
            registry::NEAR_DUPLICATE_COSINE
        };
        Self { near_duplicate_cosine: cosine, ..Self::default() }
    }
}

/// What a name stands for.
#[derive(Debug, Clone)]
pub enum Choice {
    /// Its files are here.
    Here(Box<LocatedModel>),
    /// It is known and has to be downloaded first.
    Elsewhere(Box<ModelEntry>),
}

/// What a check of a downloaded model found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Files that are as they were published.
    pub good: usize,
    /// Files that are missing or changed.
    pub bad: Vec<String>,
}

/// Why there is no model. The texts name the place and the next step; none carries a token.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error(transparent)]
    Token(#[from] KeyFileError),
    /// Neither a directory nor a known name.
    #[error(
        "there is no model {0:?}: give a folder with a model bundle (config.json, visual/, textual/), \"emoji-clip\" for the bundled one, or a name that `image-search model list` shows"
    )]
    Unknown(String),
    /// A list of models is not what it should be.
    #[error("{path}: {reason}; config/models.toml shows the form")]
    Registry {
        /// Which file or model.
        path: String,
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("cannot use {path}: {reason}")]
    Io { path: String, reason: String },
    /// No space, or a quota is used up.
    #[error(
        "there is not enough space at {path}: {reason}. Make space, or choose another place with models.cache_dir; what is downloaded is kept, and the next try goes on from there"
    )]
    DiskFull {
        /// Which file or folder.
        path: String,
        reason: String,
    },
    /// The cache cannot be written.
    #[error(
        "cannot write to {path}: {reason}. Make the cache folder writable for this user, or choose another with models.cache_dir (or HF_HOME)"
    )]
    ReadOnly {
        /// Which file or folder.
        path: String,
        reason: String,
    },
    /// Not downloaded yet, and whoever asks does not download.
    #[error(
        "the model {name} is not here yet (about {megabytes} MB): get it with `image-search model pull {name}`, or start the server, which does so by itself"
    )]
    NotHere { name: String, megabytes: u64 },
    /// Downloads are switched off.
    #[error(
        "the model {name} is not in {cache}, and downloads are off (models.offline or HF_HUB_OFFLINE). On a machine with a network run `image-search model pull {name}`, then copy its cache folder here"
    )]
    Offline {
        name: String,
        /// Where it was looked for.
        cache: String,
    },
    /// The hub was asked several times in vain.
    #[error(
        "the model hub {hub} cannot be used: {reason} ({attempts} tries in a row). Check the network, the proxy variables and HF_ENDPOINT; the next try goes on from where it broke off"
    )]
    Unreachable { hub: String, reason: String, attempts: u32 },
    /// 401: the hub also says so of repositories that do not exist.
    #[error(
        "{hub} shows {repository} to nobody without a token (401). Check its name, or set HF_TOKEN if it is private"
    )]
    NeedsToken {
        hub: String,
        /// `owner/name`.
        repository: String,
    },
    #[error(
        "{hub} refuses {repository} (403). Accept its conditions at {hub}/{repository} and check that HF_TOKEN may read it"
    )]
    Forbidden {
        hub: String,
        /// `owner/name`.
        repository: String,
    },
    #[error(
        "{hub} has no {repository} at revision {revision} (404). Check repository and revision in the list of models"
    )]
    NotOnHub {
        hub: String,
        /// `owner/name`.
        repository: String,
        /// Branch, tag or commit.
        revision: String,
    },
    /// The repository holds something else.
    #[error(
        "{repository} is no model bundle of the layout that the list of models says: it has no {file}"
    )]
    NoBundle {
        /// `owner/name`.
        repository: String,
        file: String,
    },
    /// Came whole and wrong, twice.
    #[error(
        "{file} of {repository} came with another checksum than the hub says, twice. Nothing of it was kept; a proxy or mirror in between may change files: try again, or another HF_ENDPOINT"
    )]
    WrongChecksum {
        /// `owner/name`.
        repository: String,
        file: String,
    },
    #[error("the model {name} has {bytes} bytes; the limit models.download_bytes_max is {limit}")]
    TooLarge { name: String, bytes: u64, limit: u64 },
    /// An answer that makes no sense.
    #[error(
        "the model hub {hub} answered strangely: {reason}. Is it a hub, or a login page of the network? Check HF_ENDPOINT"
    )]
    Hub { hub: String, reason: String },
}

/// Finds and fetches models.
pub struct Models {
    registry: Registry,
    cache: Cache,
    config: ModelsConfig,
    data_dir: PathBuf,
    precision: Precision,
}

impl Models {
    /// Reads the registry; asks nobody.
    pub fn open(config: &Config) -> Result<Self, ModelError> {
        let user_file =
            Some(config.models.registry_file.as_path()).filter(|path| *path != Path::new(""));
        let registry = Registry::load(user_file)?;
        let cache = Cache::new(config.models.cache_dir.clone());
        Ok(Self {
            registry,
            cache,
            config: config.models.clone(),
            data_dir: config.data_dir.clone(),
            precision: config.embed.precision(),
        })
    }

    /// A model as it is to be computed from now on.
    fn in_precision(&self, located: LocatedModel) -> LocatedModel {
        match self.precision {
            Precision::F32 => located,
            Precision::Int8 => LocatedModel { id: located.id.in_int8(), ..located },
        }
    }

    /// All models that are known by name.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Where downloaded models are.
    pub fn cache_dir(&self) -> &Path {
        self.cache.root()
    }

    /// The entry of that name.
    pub fn entry(&self, name: &str) -> Result<&ModelEntry, ModelError> {
        self.registry.get(name).ok_or_else(|| ModelError::Unknown(name.to_owned()))
    }

    /// What `wanted` stands for: a directory, the bundled model, a name of the registry, or (`auto`) the preferred name.
    pub fn find(&self, wanted: &str) -> Result<Choice, ModelError> {
        let here = |located| Ok(Choice::Here(Box::new(self.in_precision(located))));
        let dir = Path::new(wanted);
        if dir.is_dir() {
            return here(from_directory(dir)?);
        }
        if wanted == BUNDLED {
            return here(self.bundled(BUNDLED_BANNER.to_owned())?);
        }
        let entry = self.entry(if wanted == AUTO { &self.config.preferred } else { wanted })?;
        match self.cache.find(entry) {
            Some(snapshot) => here(from_snapshot(entry, snapshot)),
            None => Ok(Choice::Elsewhere(Box::new(entry.clone()))),
        }
    }

    /// Notes where a model's files are on this machine, so that [`Self::find_again`] finds them.
    pub fn note(&self, located: &LocatedModel) {
        NotedFolders::new(&self.data_dir).note(&located.id, &located.dir);
    }

    /// A model that was used earlier, if its files are still here and still the same: in the cache, or where they were noted.
    pub fn find_again(&self, used: &UsedModel) -> Option<LocatedModel> {
        let UsedModel { id, display_name, banner } = used;
        let noted = || at_folder(&NotedFolders::new(&self.data_dir).get(id)?, id);
        let in_cache = || {
            let entry = self.registry.get(&id.name)?;
            let is_it = |found: &Snapshot| found.commit == id.published_revision();
            let snapshot = self.cache.find(entry).filter(is_it)?;
            Some(LocatedModel { id: id.clone(), ..from_snapshot(entry, snapshot) })
        };
        let (display_name, banner) = (display_name.clone(), banner.clone());
        Some(LocatedModel { display_name, banner, ..in_cache().or_else(noted)? })
    }

    /// The bundled model, with what users should know.
    pub fn bundled(&self, banner: String) -> Result<LocatedModel, ModelError> {
        Ok(self.in_precision(LocatedModel {
            banner: Some(banner),
            ..from_directory(&bundled::unpack(&self.data_dir)?)?
        }))
    }

    /// The bundled model in place of one that cannot be had now: says which, why, and what to do.
    pub fn stand_in(&self, why: &ModelError) -> Result<LocatedModel, ModelError> {
        let (wanted, minutes) =
            (&self.config.preferred, self.config.auto_retry_interval_ms.div_ceil(60_000));
        let next = if self.config.offline {
            format!(
                "On a machine with a network run `image-search model pull {wanted}` and copy its cache folder to {}.",
                self.cache.root().display()
            )
        } else {
            format!(
                "It is tried again every {minutes} min; `image-search model pull {wanted}` tries at once and says what is wrong."
            )
        };
        tracing::warn!(error = %why, model = *wanted, "the model cannot be downloaded");
        let reason = match why {
            ModelError::Offline { .. } => "downloads are off",
            ModelError::NotHere { .. } => "was not downloaded yet",
            ModelError::Unreachable { .. } => "the model hub cannot be reached",
            ModelError::DiskFull { .. } => "there is not enough space for it",
            ModelError::ReadOnly { .. } => "its cache folder cannot be written",
            _ => "its download failed",
        };
        self.bundled(format!(
            "This is not CLIP: {wanted} is not here and {reason}. The small bundled model answers instead; it knows little more than emoji-like drawings, not photos. {next}"
        ))
    }

    /// Downloads a model, or finds that it is here. With a `substitute` it is given up soon if there is no network.
    pub async fn fetch(
        &self,
        entry: &ModelEntry,
        substitute: bool,
        progress: &DownloadProgress,
    ) -> Result<LocatedModel, ModelError> {
        if let Some(snapshot) = self.cache.find(entry) {
            return Ok(self.in_precision(from_snapshot(entry, snapshot)));
        }
        if self.config.offline {
            return Err(ModelError::Offline {
                name: entry.name.clone(),
                cache: self.cache.root().display().to_string(),
            });
        }
        let hub =
            Hub::new(&self.config, if substitute { TRIES_WITH_SUBSTITUTE } else { u32::MAX })?;
        tracing::info!(model = entry.name, hub = self.config.hub, megabytes = entry.megabytes, cache = %self.cache.root().display(), "downloading the model");
        let snapshot = download::download(&hub, &self.cache, entry, &self.config, progress).await?;
        Ok(self.in_precision(from_snapshot(entry, snapshot)))
    }

    /// The model's files, if they are here.
    pub fn snapshot(&self, entry: &ModelEntry) -> Option<Snapshot> {
        self.cache.find(entry)
    }

    /// Reads every file of a model that is here and compares it with what was noted when it was downloaded, or, if another
    /// program downloaded it, with what the hub says.
    pub async fn verify(
        &self,
        entry: &ModelEntry,
        snapshot: &Snapshot,
    ) -> Result<Verified, ModelError> {
        let mut verified = Verified { good: 0, bad: Vec::new() };
        let mut judge = |path: String, holds: bool| {
            if holds { verified.good += 1 } else { verified.bad.push(path) }
        };
        if let Some(manifest) = snapshot.manifest() {
            for file in manifest.files {
                let sums = Sums::of_file(&snapshot.dir.join(&file.path), file.size_bytes).await;
                judge(file.path, sums.is_ok_and(|sums| sums.sha256() == file.sha256));
            }
            return Ok(verified);
        }
        if self.config.offline {
            return Err(ModelError::Offline {
                name: entry.name.clone(),
                cache: self.cache.root().display().to_string(),
            });
        }
        let hub = Hub::new(&self.config, u32::MAX)?;
        let pinned = ModelEntry { revision: snapshot.commit.clone(), ..entry.clone() };
        let wanted = pinned.select(&hub.listing(&pinned).await?.files())?;
        for file in
            download::facts(&hub, &pinned, &snapshot.commit, wanted, self.config.files_at_once)
                .await?
        {
            let sums = Sums::of_file(&snapshot.dir.join(&file.path), file.size_bytes).await;
            judge(file.path, sums.is_ok_and(|sums| sums.matches(&file.checksum)));
        }
        Ok(verified)
    }

    /// Deletes a downloaded model; returns how many bytes that freed. Refused while a process downloads it.
    pub fn remove(&self, entry: &ModelEntry) -> Result<u64, ModelError> {
        let path = self.cache.repository_dir(entry);
        if !path.is_dir() {
            return Ok(0);
        }
        let Some(_lock) = self.cache.try_lock(entry)? else {
            return Err(ModelError::Io {
                path: path.display().to_string(),
                reason: "another process is downloading it; stop that first".into(),
            });
        };
        self.cache.remove(entry)
    }
}

/// A model at a folder that was noted earlier, if it is still that very model. Reads the files of a folder that is no snapshot of
/// the hub.
fn at_folder(dir: &Path, id: &ModelId) -> Option<LocatedModel> {
    let is_snapshot = dir.file_name().is_some_and(|name| name == id.published_revision());
    let is_unchanged = || digest(dir).is_ok_and(|revision| revision == id.published_revision());
    (dir.is_dir() && (is_snapshot || is_unchanged())).then(|| LocatedModel {
        dir: dir.to_owned(),
        id: id.clone(),
        display_name: display_name(&id.name),
        banner: (id.name == BUNDLED).then(|| BUNDLED_BANNER.to_owned()),
        runs_on_rten: true,
        traits: SearchTraits::of(&id.name),
    })
}

fn from_snapshot(entry: &ModelEntry, snapshot: Snapshot) -> LocatedModel {
    LocatedModel {
        dir: snapshot.dir,
        id: ModelId { name: entry.name.clone(), revision: snapshot.commit },
        display_name: entry.display_name.clone(),
        banner: None,
        runs_on_rten: entry.engines.iter().any(|engine| engine == "rten"),
        traits: SearchTraits {
            templates: entry.templates.clone(),
            near_duplicate_cosine: entry.near_duplicate_cosine,
        },
    }
}

fn from_directory(dir: &Path) -> Result<LocatedModel, ModelError> {
    let dir = dir.canonicalize().map_err(|error| io_error(dir, &error))?;
    let name =
        dir.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned());
    let revision = digest(&dir)?;
    let banner = (name == BUNDLED).then(|| BUNDLED_BANNER.to_owned());
    Ok(LocatedModel {
        dir,
        display_name: display_name(&name),
        traits: SearchTraits::of(&name),
        id: ModelId { name, revision },
        banner,
        runs_on_rten: true,
    })
}

/// `CLIP` for everything of that family; its own name for others.
fn display_name(name: &str) -> String {
    if name.to_lowercase().contains("siglip") { "SigLIP".into() } else { "CLIP".into() }
}

/// BLAKE3 over names and bytes of the bundle's files, so that a changed file is another revision.
fn digest(dir: &Path) -> Result<String, ModelError> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in walkdir::WalkDir::new(dir).max_depth(2).sort_by_file_name() {
        let entry = entry.map_err(|error| ModelError::Io {
            path: dir.display().to_string(),
            reason: error.to_string(),
        })?;
        let is_model_file = entry.path().extension().is_some_and(|kind| {
            ["onnx", "json", "data", "rten"].iter().any(|known| kind == *known)
        });
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

/// The system's words with what to do about them.
fn io_error(path: &Path, error: &std::io::Error) -> ModelError {
    use std::io::ErrorKind;
    let (path, reason) = (path.display().to_string(), error.to_string());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            ModelError::DiskFull { path, reason }
        }
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
            ModelError::ReadOnly { path, reason }
        }
        _ => ModelError::Io { path, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing is downloaded here: the hub's answers are tested against a stand-in in tests/it/models.rs.
    fn models(data_dir: &Path) -> Models {
        let flags = vec![
            ("data_dir", data_dir.display().to_string().into()),
            ("models.offline", true.into()),
        ];
        Models::open(&Config::load(None, [], flags).expect("valid")).expect("opened")
    }

    fn locate(wanted: &str, data_dir: &Path) -> Result<LocatedModel, ModelError> {
        match models(data_dir).find(wanted)? {
            Choice::Here(located) => Ok(*located),
            Choice::Elsewhere(entry) => panic!("{} is not here", entry.name),
        }
    }

    #[test]
    fn the_bundled_model_is_unpacked_once_and_named_by_its_files() {
        let dir = tempfile::tempdir().expect("temp");
        let first = locate(BUNDLED, dir.path()).expect("located");
        assert!(first.dir.join("visual/model.onnx").is_file() && first.banner.is_some());
        let again = locate(BUNDLED, dir.path()).expect("located");
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
    fn a_noted_folder_counts_only_while_it_holds_the_same_model() {
        let dir = tempfile::tempdir().expect("temp");
        let (data, model) = (dir.path().join("data"), dir.path().join("some-clip"));
        std::fs::create_dir(&model).expect("mkdir");
        let config = model.join("config.json");
        std::fs::write(&config, "{}").expect("write");
        let located = locate(&model.display().to_string(), &data).expect("located");
        let models = models(&data);
        let used = UsedModel { id: located.id.clone(), display_name: "CLIP".into(), banner: None };
        assert!(models.find_again(&used).is_none(), "nobody said where it is");
        models.note(&located);
        assert_eq!(models.find_again(&used).expect("found").dir, located.dir);
        std::fs::write(&config, "{\"other\": 1}").expect("write");
        assert!(
            models.find_again(&used).is_none(),
            "other files would be compared with the vectors of the former ones"
        );
        std::fs::remove_dir_all(&model).expect("rmdir");
        assert!(models.find_again(&used).is_none());
    }

    #[test]
    fn a_noted_snapshot_is_known_by_its_commit() {
        let dir = tempfile::tempdir().expect("temp");
        let id = ModelId { name: "clip".into(), revision: "c0ffee".into() };
        assert!(at_folder(&dir.path().join("c0ffee"), &id).is_none(), "it is gone");
        std::fs::create_dir(dir.path().join("c0ffee")).expect("mkdir");
        assert!(at_folder(&dir.path().join("c0ffee"), &id).is_some());
    }

    #[test]
    fn an_unknown_name_says_what_is_possible() {
        let error = locate("no-such-model", Path::new("/tmp")).expect_err("unknown");
        assert!(error.to_string().contains("emoji-clip"), "{error}");
    }

    #[tokio::test]
    async fn offline_names_are_strict_and_auto_has_a_stand_in_that_says_why() {
        let dir = tempfile::tempdir().expect("temp");
        let models = models(dir.path());
        let Choice::Elsewhere(entry) = models.find(AUTO).expect("known") else {
            panic!("nothing was downloaded")
        };
        let error =
            models.fetch(&entry, true, &DownloadProgress::default()).await.expect_err("offline");
        assert!(error.to_string().contains("model pull ViT-B-32__openai"), "{error}");
        let stand_in = models.stand_in(&error).expect("bundled");
        assert_eq!(stand_in.id.name, BUNDLED);
        let banner = stand_in.banner.expect("a banner");
        assert!(banner.contains("not CLIP") && banner.contains("model pull"), "{banner}");
    }
}
