//! Configuration: one struct per concern, filled from layers (built-in defaults < file < environment < flags).
//! `config/default.toml` is the reference of every key; a key that no struct here has is an error.

mod access;
mod catalog;
mod downloads;
mod in_force;
mod learning;
mod role;
mod search;
mod source;
mod thumbnails;
mod vector_store;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use clip::Precision;
use serde::Deserialize;

pub use self::access::{AccessConfig, AddressRange};
pub use self::catalog::{CatalogConfig, PostgresOptions, holds_password, is_postgres};
pub use self::downloads::DownloadConfig;
pub use self::in_force::InForce;
pub use self::learning::{LearningConfig, SwitchGate};
pub use self::role::Role;
pub use self::search::SearchConfig;
pub use self::source::{Addressing, AzureConfig, S3Config, SourceConfig};
pub use self::thumbnails::ThumbnailConfig;
use self::vector_store::WithPlainAddress;
pub use self::vector_store::{
    EMBEDDED, EmbeddedOptions, QDRANT_PREFIX, QdrantOptions, Quantization, VectorStoreConfig,
};

/// The built-in layer, with every key.
pub const DEFAULTS: &str = include_str!("../config/default.toml");

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folders with pictures; the first is the one with plain names.
    pub images: Vec<PathBuf>,
    /// Reaching pictures that do not lie in a folder.
    pub source: SourceConfig,
    /// Where everything is written.
    pub data_dir: PathBuf,
    /// Folder, short name, or `auto`.
    pub model: String,
    /// What `serve` does.
    pub role: Role,
    pub server: ServerConfig,
    /// Keys, sessions, and how often one client may ask.
    pub access: AccessConfig,
    pub search: SearchConfig,
    /// Learning from ratings.
    pub learning: LearningConfig,
    /// Tokens that allow feedback.
    pub token: TokenConfig,
    /// Noticing and indexing pictures.
    pub ingest: IngestConfig,
    pub decode: DecodeConfig,
    pub embed: EmbedConfig,
    pub models: ModelsConfig,
    pub catalog: CatalogConfig,
    pub vector_store: VectorStoreConfig,
    /// Small pictures for lists.
    pub thumbnails: ThumbnailConfig,
    pub downloads: DownloadConfig,
    /// Writing pictures over HTTP.
    pub uploads: UploadConfig,
    pub log: LogConfig,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    pub host: String,
    pub port: u16,
    pub json_bytes_max: usize,
    pub query_picture_bytes_max: usize,
    pub hosts: Vec<String>,
    pub show_in_folder: bool,
    pub trusted_proxies: Vec<AddressRange>,
    pub connections_max: usize,
    pub connections_per_address_max: usize,
    pub event_streams_max: usize,
    pub write_timeout_ms: u64,
    pub send_buffer_bytes: u32,
    pub body_wait_ms: u64,
    pub request_timeout_ms: u64,
    pub shutdown_timeout_ms: u64,
}

impl ServerConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        for (key, value) in [
            ("server.connections_max", self.connections_max),
            ("server.connections_per_address_max", self.connections_per_address_max),
            ("server.event_streams_max", self.event_streams_max),
        ] {
            check(value >= 1, key, value.to_string(), "at least 1")?;
        }
        let buffer = self.send_buffer_bytes;
        check(buffer >= 16384, "server.send_buffer_bytes", buffer.to_string(), "at least 16384")?;
        let is_name = |name: &String| !name.is_empty() && !name.contains(['/', ':', '*', ' ']);
        check(
            self.hosts.iter().all(is_name),
            "server.hosts",
            self.hosts.join(","),
            "names or IPv4 addresses alone, without scheme and port",
        )
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    pub lifetime_s: u64,
    pub audience: String,
    pub key_file: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestConfig {
    pub scan_interval_ms: u64,
    pub scan_share_max_percent: f64,
    pub scan_share_watched_max_percent: f64,
    pub headers_share_max_percent: u32,
    pub away_when_emptied: bool,
    pub settle_ms: u64,
    pub images_max: usize,
    pub attempts_max: u32,
    pub retry_delay_ms: u64,
    pub lease_ms: u64,
    pub takeover_ms: u64,
    pub in_flight_max: usize,
    pub low_priority: bool,
    pub index_patience_ms: u64,
    pub orphan_grace_ms: u64,
    pub forget_after_days: u32,
    pub ignore: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecodeConfig {
    pub threads: usize,
    pub file_bytes_max: u64,
    pub pixels_max: u64,
    pub alloc_bytes_max: u64,
    pub memory_bytes_max: u64,
    pub scaled: bool,
    pub timeout_ms: u64,
    pub in_process: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbedConfig {
    pub engine: String,
    pub onnxruntime_library: PathBuf,
    pub providers: Vec<String>,
    pub threads: usize,
    pub lanes: usize,
    pub batch_max: usize,
    pub query_queue_max: usize,
    pub query_cache_entries: usize,
    pub unload_after_idle_ms: u64,
    pub prepare: bool,
    pub precision: String,
}

impl EmbedConfig {
    /// What matrix products are computed in; the word was checked when the configuration was read.
    pub fn precision(&self) -> Precision {
        self.precision.parse().unwrap_or_default()
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelsConfig {
    pub preferred: String,
    pub registry_file: PathBuf,
    pub cache_dir: PathBuf,
    pub hub: String,
    pub token_file: PathBuf,
    /// From `HF_TOKEN`; no key, so that it stands in no file.
    #[serde(skip)]
    pub token: Secret,
    pub offline: bool,
    pub download_bytes_max: u64,
    pub files_at_once: usize,
    pub attempts_max: u32,
    pub retry_delay_ms: u64,
    pub retry_delay_max_ms: u64,
    pub connect_timeout_ms: u64,
    pub stall_timeout_ms: u64,
    pub auto_retry_interval_ms: u64,
}

impl ModelsConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        check(
            (1..=16).contains(&self.files_at_once),
            "models.files_at_once",
            self.files_at_once.to_string(),
            "1 to 16",
        )?;
        check(
            self.attempts_max >= 1,
            "models.attempts_max",
            self.attempts_max.to_string(),
            "at least 1",
        )?;
        check(
            self.hub.starts_with("https://") || self.hub.starts_with("http://"),
            "models.hub",
            self.hub.clone(),
            "an address that begins with https:// (from models.hub or HF_ENDPOINT)",
        )
    }

    /// Fills what no key says from the variables that other programs of the hub read too.
    fn fill_from(&mut self, environment: &HashMap<String, String>) {
        let variable = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        let hub_home = || {
            let cache = variable("XDG_CACHE_HOME")
                .map(PathBuf::from)
                .or_else(|| Some(Path::new(variable("HOME")?).join(".cache")));
            variable("HF_HOME").map(PathBuf::from).or_else(|| Some(cache?.join("huggingface")))
        };
        if self.cache_dir == Path::new("") {
            let cache = variable("HF_HUB_CACHE")
                .map(PathBuf::from)
                .or_else(|| Some(hub_home()?.join("hub")));
            self.cache_dir = cache.unwrap_or_default();
        }
        if self.hub.is_empty() {
            variable("HF_ENDPOINT")
                .map_or("https://huggingface.co", String::as_str)
                .clone_into(&mut self.hub);
        }
        if self.token_file == Path::new("") {
            self.token = Secret(
                variable("HF_TOKEN").map(|token| token.trim().to_owned()).unwrap_or_default(),
            );
            let file = variable("HF_TOKEN_PATH")
                .map(PathBuf::from)
                .or_else(|| Some(hub_home()?.join("token")));
            // One that others left empty is as good as none.
            let holds = |file: &PathBuf| {
                std::fs::metadata(file).is_ok_and(|found| found.is_file() && found.len() > 0)
            };
            self.token_file = file.filter(holds).unwrap_or_default();
        }
        let says_yes =
            |value: &String| ["1", "true", "yes", "on"].contains(&value.to_lowercase().as_str());
        self.offline |= variable("HF_HUB_OFFLINE").is_some_and(says_yes);
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UploadConfig {
    pub enabled: bool,
    pub api_key: Secret,
    pub api_key_file: PathBuf,
    pub file_bytes_max: u64,
    pub files_max: usize,
    pub disk_reserve_mib: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    pub level: String,
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, JSON otherwise.
    Auto,
    Pretty,
    /// One JSON object a line.
    Json,
}

/// A text that is never printed.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the one place that compares it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the file holds that the configuration key `key` names, without spaces and the line's end. `None` if it names none.
    pub fn from_file(key: &'static str, path: &Path) -> Result<Option<Self>, KeyFileError> {
        if path == Path::new("") {
            return Ok(None);
        }
        let failed =
            |reason: String| KeyFileError { key, path: path.display().to_string(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        match text.trim() {
            "" => Err(failed("it is empty".to_owned())),
            secret => Ok(Some(Self(secret.to_owned()))),
        }
    }
}

/// Why the file of a key or token cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} {path} cannot be used: {reason}; name another file, or put the key into it")]
pub struct KeyFileError {
    /// The configuration key that names the file.
    pub key: &'static str,
    pub path: String,
    pub reason: String,
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "Secret(none)" } else { "Secret(…)" })
    }
}

/// Why there is no valid configuration. Says which key and which layer.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A layer cannot be read, or has an unknown key or a value of the wrong type.
    #[error("configuration: {0}; every key is explained in config/default.toml")]
    Layer(#[from] config::ConfigError),
    /// A value is out of its bounds.
    #[error("configuration: {key} = {value}: {reason}")]
    Value {
        /// Key with its section.
        key: &'static str,
        value: String,
        reason: &'static str,
    },
}

fn check(
    holds: bool,
    key: &'static str,
    value: String,
    reason: &'static str,
) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError::Value { key, value, reason }) }
}

/// The defaults alone, for tests that change a few.
#[cfg(test)]
pub(crate) fn built_in() -> Config {
    Config::load(None, [], Overrides::new()).expect("the built-in defaults are valid")
}

/// Flags that override keys: (key, value).
pub type Overrides = Vec<(&'static str, config::Value)>;

impl Config {
    /// Reads all layers. `environment` is given as pairs so that tests need not change the process's own.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: Overrides,
    ) -> Result<Self, ConfigError> {
        Ok(Self::load_with_layers(file, environment, flags)?.0)
    }

    /// The same, with the merged layers, to be printed.
    pub fn load_with_layers(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: Overrides,
    ) -> Result<(Self, InForce), ConfigError> {
        let (variables, others): (HashMap<_, _>, HashMap<_, _>) =
            environment.into_iter().partition(|(key, _)| key.starts_with("IMAGE_SEARCH_"));
        let environment = config::Environment::with_prefix("IMAGE_SEARCH")
            .prefix_separator("_")
            .separator("__")
            .try_parsing(true)
            .list_separator(",")
            .with_list_parse_key("images")
            .with_list_parse_key("ingest.ignore")
            .with_list_parse_key("server.hosts")
            .with_list_parse_key("server.trusted_proxies")
            .source(Some(variables));
        let mut layers = config::Config::builder()
            .add_source(config::File::from_str(DEFAULTS, config::FileFormat::Toml));
        if let Some(file) = file {
            layers = layers.add_source(WithPlainAddress(
                config::File::from(file).format(config::FileFormat::Toml),
            ));
        }
        layers = layers.add_source(WithPlainAddress(environment));
        for (key, value) in flags {
            layers = layers.set_override(key, value)?;
        }
        let merged = layers.build()?;
        let mut config: Self = merged.clone().try_deserialize()?;
        config.models.fill_from(&others);
        if config.models.cache_dir == Path::new("") {
            config.models.cache_dir = config.data_dir.join("models");
        }
        config.validate()?;
        Ok((config, InForce(merged)))
    }

    fn validate(&self) -> Result<(), ConfigError> {
        check(!self.images.is_empty(), "images", "[]".into(), "name at least one folder")?;
        self.search.validate()?;
        self.learning.validate()?;
        self.server.validate()?;
        if let Some((key, value, reason)) = self.access.wrong() {
            return Err(ConfigError::Value { key, value, reason });
        }
        check(
            (1..=512).contains(&self.embed.batch_max),
            "embed.batch_max",
            self.embed.batch_max.to_string(),
            "1 to 512",
        )?;
        let precision = self.embed.precision.parse::<Precision>();
        check(
            precision.is_ok_and(|precision| precision == Precision::F32 || self.embed.prepare),
            "embed.precision",
            self.embed.precision.clone(),
            "f32, or int8 together with embed.prepare = true",
        )?;
        check(
            self.embed.query_queue_max >= 1,
            "embed.query_queue_max",
            self.embed.query_queue_max.to_string(),
            "at least 1",
        )?;
        check(
            self.ingest.in_flight_max >= 1,
            "ingest.in_flight_max",
            self.ingest.in_flight_max.to_string(),
            "at least 1",
        )?;
        for (key, percent) in [
            ("ingest.scan_share_max_percent", self.ingest.scan_share_max_percent),
            ("ingest.scan_share_watched_max_percent", self.ingest.scan_share_watched_max_percent),
        ] {
            check((0.1..=100.0).contains(&percent), key, percent.to_string(), "0.1 to 100")?;
        }
        check(
            (1..=100).contains(&self.ingest.headers_share_max_percent),
            "ingest.headers_share_max_percent",
            self.ingest.headers_share_max_percent.to_string(),
            "1 to 100",
        )?;
        check(
            self.ingest.takeover_ms >= 300,
            "ingest.takeover_ms",
            self.ingest.takeover_ms.to_string(),
            "at least 300",
        )?;
        check(
            self.ingest.lease_ms >= 1000,
            "ingest.lease_ms",
            self.ingest.lease_ms.to_string(),
            "at least 1000",
        )?;
        check(
            self.ingest.attempts_max >= 1,
            "ingest.attempts_max",
            self.ingest.attempts_max.to_string(),
            "at least 1",
        )?;
        if let Some((key, value, reason)) = self.catalog.wrong() {
            return Err(ConfigError::Value { key, value, reason });
        }
        if let Some(reason) = self.vector_store.wrong_url() {
            return Err(ConfigError::Value {
                key: "vector_store.url", value: "…".into(), reason
            });
        }
        self.models.validate()?;
        self.source.validate()?;
        self.downloads.validate()?;
        self.thumbnails.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, environment: &[(&str, &str)], flags: Overrides) -> Result<Config, String> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("config.toml");
        std::fs::write(&path, file).expect("written");
        let environment =
            environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Config::load(Some(&path), environment, flags).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_stand_alone() {
        let config = Config::load(None, [], vec![]).expect("the defaults are valid");
        assert_eq!((config.server.port, config.search.limit_default), (3000, 10));
    }

    #[test]
    fn later_layers_win() {
        let file = "[server]\nport = 1\nhost = \"::1\"\n";
        let environment =
            [("IMAGE_SEARCH_SERVER__PORT", "2"), ("IMAGE_SEARCH_IMAGES", "a,b"), ("PATH", "x")];
        let config = load(file, &environment, vec![]).expect("valid");
        assert_eq!((config.server.port, config.server.host.as_str()), (2, "::1"));
        assert_eq!(config.images, [PathBuf::from("a"), PathBuf::from("b")]);
        let config = load(file, &environment, vec![("server.port", 3.into())]).expect("valid");
        assert_eq!(config.server.port, 3);
    }

    #[test]
    fn unknown_keys_are_errors_in_every_layer() {
        assert!(load("[server]\nprot = 1\n", &[], vec![]).expect_err("unknown").contains("prot"));
        assert!(
            load("", &[("IMAGE_SEARCH_SERVER__PROT", "1")], vec![])
                .expect_err("unknown")
                .contains("prot")
        );
        assert!(
            load("", &[("IMAGE_SEARCH_PROT", "1")], vec![]).expect_err("unknown").contains("prot")
        );
    }

    #[test]
    fn values_out_of_bounds_name_their_key() {
        assert!(
            load("[search]\nlimit_max = 0\n", &[], vec![])
                .expect_err("bound")
                .contains("search.limit_max")
        );
        for (file, key) in [
            ("[access]\nkey_requests_per_s = -1\n", "access.key_requests_per_s"),
            ("[access]\naddress_burst_requests = 0\n", "access.address_burst_requests"),
            ("[server]\ntrusted_proxies = [\"proxy.example\"]\n", "proxy.example"),
        ] {
            let error = load(file, &[], vec![]).expect_err("bound");
            assert!(error.contains(key), "{error}");
        }
        assert!(load("[server]\nport = 70000\n", &[], vec![]).is_err());
    }

    #[test]
    fn the_hubs_own_variables_fill_what_no_key_says() {
        let environment = [
            ("HF_HOME", "/hf"),
            ("HF_ENDPOINT", "https://mirror.example"),
            ("HF_TOKEN", "hf_secret\n"),
            ("HF_HUB_OFFLINE", "1"),
        ];
        let models = load("", &environment, vec![]).expect("valid").models;
        assert_eq!(
            (models.cache_dir.as_path(), models.hub.as_str()),
            (Path::new("/hf/hub"), "https://mirror.example")
        );
        assert_eq!((models.token.reveal(), models.offline), ("hf_secret", true));
        assert!(!format!("{models:?}").contains("hf_secret"));
        let models =
            load("[models]\ncache_dir = \"/own\"\nhub = \"http://own\"\n", &environment, vec![])
                .expect("valid")
                .models;
        assert_eq!(
            (models.cache_dir.as_path(), models.hub.as_str()),
            (Path::new("/own"), "http://own")
        );
        let models = load("", &[("HOME", "/home/me")], vec![]).expect("valid").models;
        assert_eq!(
            (models.cache_dir.as_path(), models.offline),
            (Path::new("/home/me/.cache/huggingface/hub"), false)
        );
        assert_eq!(
            load("", &[], vec![]).expect("valid").models.cache_dir,
            Path::new("data/models")
        );
        assert!(
            load("", &[("HF_ENDPOINT", "mirror.example")], vec![])
                .expect_err("bound")
                .contains("models.hub")
        );
    }

    #[test]
    fn the_vector_store_is_a_section_or_an_address() {
        let url = |file: &str, environment: &[(&str, &str)]| {
            load(file, environment, vec![]).map(|config| config.vector_store.url)
        };
        assert_eq!(url("", &[]).as_deref(), Ok("embedded"));
        let address = "qdrant+https://a.example:6334";
        assert_eq!(url(&format!("vector_store = \"{address}\"\n"), &[]).as_deref(), Ok(address));
        assert_eq!(
            url(&format!("[vector_store]\nurl = \"{address}\"\n"), &[]).as_deref(),
            Ok(address)
        );
        assert_eq!(url("", &[("IMAGE_SEARCH_VECTOR_STORE", address)]).as_deref(), Ok(address));
        let both = [
            ("IMAGE_SEARCH_VECTOR_STORE__URL", address),
            ("IMAGE_SEARCH_VECTOR_STORE__QDRANT__SHARDS", "3"),
        ];
        let config =
            load("vector_store = \"embedded\"\n", &both, vec![]).expect("valid").vector_store;
        assert_eq!((config.url.as_str(), config.qdrant.shards), (address, 3));
        for wrong in ["qdrant://a", "https://a", "elsewhere", "qdrant+https://me:hunter2@a"] {
            let error = url("", &[("IMAGE_SEARCH_VECTOR_STORE__URL", wrong)]).expect_err("refused");
            assert!(error.contains("vector_store.url") && !error.contains("hunter2"), "{error}");
        }
        let error = url("[vector_store.qdrant]\nshads = 1\n", &[]).expect_err("unknown");
        assert!(error.contains("shads"), "{error}");
    }

    #[test]
    fn the_catalog_is_a_section_or_an_address_without_a_password() {
        let address = "postgres://me@db.example/pictures";
        let environment =
            [("IMAGE_SEARCH_CATALOG", address), ("IMAGE_SEARCH_CATALOG__PASSWORD", "hunter2")];
        let catalog = load("", &environment, vec![]).expect("valid").catalog;
        assert_eq!(catalog.url, address);
        let password = catalog.password().expect("no file").expect("given");
        assert_eq!(password.reveal(), "hunter2");
        assert!(!format!("{catalog:?}").contains("hunter2"));
        let file = format!("catalog = \"{address}\"\n");
        assert_eq!(load(&file, &[], vec![]).expect("valid").catalog.url, address);
        for wrong in ["postgres://me:hunter2@db/p", "postgres://me@db/p?password=hunter2"] {
            let error = load("", &[("IMAGE_SEARCH_CATALOG", wrong)], vec![]).expect_err("refused");
            assert!(error.contains("catalog.url") && !error.contains("hunter2"), "{error}");
        }
        let error = load("[catalog.postgres]\nconnections_max = 1\n", &[], vec![]);
        assert!(error.expect_err("bound").contains("catalog.postgres.connections_max"));
    }

    #[test]
    fn a_key_comes_from_its_file_without_the_end_of_the_line() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("key");
        let read = || Secret::from_file("a.key_file", &path);
        assert_eq!(Secret::from_file("a.key_file", Path::new("")), Ok(None));
        for text in ["", " \n"] {
            std::fs::write(&path, text).expect("written");
            let error = read().expect_err("empty").to_string();
            assert!(
                error.contains("a.key_file") && error.contains("key cannot be used"),
                "{error}"
            );
        }
        std::fs::write(&path, "hunter2\r\n").expect("written");
        assert_eq!(read().expect("read").expect("a key").reveal(), "hunter2");
        std::fs::remove_file(&path).expect("removed");
        assert!(read().is_err());
    }

    #[test]
    fn secrets_are_not_printed() {
        let config =
            load("", &[("IMAGE_SEARCH_UPLOADS__API_KEY", "hunter2")], vec![]).expect("valid");
        assert_eq!(config.uploads.api_key.reveal(), "hunter2");
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
