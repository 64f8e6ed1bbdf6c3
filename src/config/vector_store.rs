//! `[vector_store]`: where embeddings live, and how each kind of store indexes and searches.
//! An address alone (`vector_store = "qdrant+https://host:6334"`) stands for `vector_store.url`.

use std::path::PathBuf;
use std::time::Duration;

use config::{ConfigError, Map, Source, Value, ValueKind};
use serde::{Deserialize, Serialize};

use super::{KeyFileError, Secret};
use crate::types::Installation;

/// The store in this process, below the data folder.
pub const EMBEDDED: &str = "embedded";
/// Begins the address of a Qdrant server.
pub const QDRANT_PREFIX: &str = "qdrant+";

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VectorStoreConfig {
    pub url: String,
    pub api_key: Secret,
    pub api_key_file: PathBuf,
    pub check_interval_ms: u64,
    pub embedded: EmbeddedOptions,
    pub qdrant: QdrantOptions,
}

impl VectorStoreConfig {
    /// The key for a Qdrant server, from the file if one is named.
    pub fn api_key(&self) -> Result<Option<Secret>, KeyFileError> {
        let given = || Some(self.api_key.clone()).filter(|key| !key.reveal().is_empty());
        let named = Secret::from_file("vector_store.api_key_file", &self.api_key_file)?;
        Ok(named.or_else(given))
    }

    /// What is wrong with the address, without repeating it: it may hold a password by mistake.
    pub(super) fn wrong_url(&self) -> Option<&'static str> {
        let address = self.url.strip_prefix(QDRANT_PREFIX);
        let is_http =
            |address: &str| address.starts_with("http://") || address.starts_with("https://");
        match address {
            _ if self.url == EMBEDDED => None,
            None if self.url.strip_prefix("embedded:").is_some_and(|dir| !dir.is_empty()) => None,
            Some(address) if is_http(address) && address.contains('@') => Some(
                "it holds a user or password; leave these out and use vector_store.api_key_file",
            ),
            Some(address) if is_http(address) => None,
            _ => Some(
                "use \"embedded\", \"embedded:DIR\" (another data folder) or an address such as \"qdrant+https://host:6334\"",
            ),
        }
    }
}

/// How the embedded store indexes and searches. The defaults (in `config/default.toml` alone) suit up to about a million pictures on one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedOptions {
    /// A segment gets an index (HNSW) from this many vectors on; below it is scanned, which is exact and fast enough.
    pub index_from_vectors: usize,
    /// With a filter that leaves fewer vectors than this, these are scanned instead of walking the index.
    pub full_scan_vectors: usize,
    /// Links of each vector in the index: more means better recall, more memory, slower building.
    pub hnsw_m: usize,
    /// Candidates looked at when a vector is linked: more means a better index, slower building.
    pub hnsw_ef_construct: usize,
    /// Candidates looked at by a search: more means better recall, slower.
    pub ef_search: usize,
    /// The same for a search with a filter, which needs more for the same recall.
    pub ef_search_filtered: usize,
    /// So many more of either for each million vectors, in proportion.
    pub ef_search_per_million: usize,
    /// Threads that build indexes, at low priority; 0 = half of the processors.
    pub index_threads: usize,
    /// Smaller copies of the vectors for the index.
    pub quantization: Quantization,
    /// Leave vectors and index on disk and let the operating system cache them: less memory, slower.
    pub on_disk_vectors: bool,
    /// With `on_disk_vectors`: read them once when the collection is opened, in the background, if they fit into half of the
    /// memory that is free.
    pub read_ahead: bool,
    /// Segments that merging aims at. Fewer: faster searches, more rebuilding.
    pub segments: usize,
    /// Largest segment that merging makes.
    pub segment_vectors_max: usize,
    /// A segment is compacted when more than this fraction of it is deleted
    pub compact_deleted_fraction: f64,
    /// and it has at least this many vectors.
    pub compact_from_vectors: usize,
    /// Writes are refused when less than this would stay free on the disk.
    pub disk_reserve_mib: u64,
}

/// How to talk to the server, and how it stores new collections. Options of storage are used when a collection is
/// created; changing them later changes new collections only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QdrantOptions {
    /// Before the name of every collection, and of the alias, so that a server can be shared. Empty: `image-search-` and
    /// the first digits of the installation's id.
    pub collection_prefix: String,
    /// Connecting takes no longer than this.
    pub connect_timeout_ms: u64,
    /// A search, with its repetitions, takes no longer than this.
    pub read_timeout_ms: u64,
    /// A write of one batch, with its repetitions, takes no longer than this.
    pub write_timeout_ms: u64,
    /// A connection on which nothing came for this long is asked for a sign of life
    pub keep_alive_interval_ms: u64,
    /// and given up when none comes within this time.
    pub keep_alive_timeout_ms: u64,
    /// Connections to the server.
    pub connections: usize,
    /// Points sent in one request.
    pub upsert_batch_points: usize,
    /// Requests with points under way at the same time.
    pub upsert_concurrency: usize,
    /// Shards of a collection; 0 = as the server is configured. More than one only helps on several nodes.
    pub shards: u32,
    /// Copies of every shard on different nodes; 0 = as the server is configured.
    pub replication_factor: u32,
    /// Copies that must confirm a write; 0 = as the server is configured.
    pub write_consistency_factor: u32,
    /// Links of each vector in the index: more means better recall, more memory, slower building.
    pub hnsw_m: u64,
    /// Candidates looked at when a vector is linked: more means a better index, slower building.
    pub hnsw_ef_construct: u64,
    /// Candidates looked at by a search: more means better recall, slower.
    pub ef_search: usize,
    /// The same for a search with a filter, which needs more for the same recall.
    pub ef_search_filtered: usize,
    /// So many more of either for each million vectors, in proportion.
    pub ef_search_per_million: usize,
    /// With a filter that leaves fewer vectors than this, these are scanned instead of walking the index.
    pub full_scan_vectors: usize,
    /// Smaller copies of the vectors, kept in memory; results are scored again with the originals.
    pub quantization: Quantization,
    /// Leave the vectors on disk: less memory, slower. Goes well with quantization.
    pub on_disk_vectors: bool,
    /// Leave the index on disk.
    pub on_disk_index: bool,
    /// Leave the payload on disk.
    pub on_disk_payload: bool,
}

impl QdrantOptions {
    /// With the prefix of the installation, if none is configured.
    #[must_use]
    pub fn for_installation(&self, installation: &Installation) -> Self {
        let mut options = self.clone();
        if options.collection_prefix.is_empty() {
            options.collection_prefix = installation.collection_prefix();
        }
        options
    }

    /// [`Self::read_timeout_ms`].
    pub fn read_timeout(&self) -> Duration {
        Duration::from_millis(self.read_timeout_ms)
    }

    /// [`Self::write_timeout_ms`].
    pub fn write_timeout(&self) -> Duration {
        Duration::from_millis(self.write_timeout_ms)
    }
}

/// Smaller copies of the vectors that the index works with; the results are scored again with the originals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantization {
    /// No copies: best recall, 4 bytes a dimension.
    #[default]
    None,
    /// 1 byte a dimension.
    Scalar,
    /// 1 bit a dimension; only for long vectors of models known to bear it.
    Binary,
    /// A quarter of a byte a dimension; slow to build.
    Product,
}

/// A layer in which `vector_store` and `catalog` may be plain addresses.
#[derive(Debug, Clone)]
pub(super) struct WithPlainAddress<S>(pub(super) S);

impl<S: Source + Clone + Send + Sync + 'static> Source for WithPlainAddress<S> {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let mut layer = self.0.collect()?;
        for section in ["vector_store", "catalog"] {
            let address =
                layer.get(section).filter(|value| matches!(value.kind, ValueKind::String(_)));
            if let Some(address) = address.cloned() {
                layer.remove(section);
                layer.insert(format!("{section}.url"), address);
            }
        }
        Ok(layer)
    }
}
