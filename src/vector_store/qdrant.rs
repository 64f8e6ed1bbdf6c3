//! The vector store on a Qdrant server or cluster, over gRPC. Nothing home-made is distributed here.
//! One collection per model and revision, named with a prefix of ours; the alias `<prefix>active` names the one that
//! answers searches. The connection is made when it is first needed, so a server that is away is no error at start.

mod collection;
mod connection;
mod convert;
#[cfg(test)]
mod double;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use qdrant_client::qdrant as proto;
use serde::{Deserialize, Serialize};

use self::collection::QdrantCollection;
use self::connection::Connection;
use super::{Collection, CollectionSpec, Quantization, StoreError, VectorStore, check_field, check_name};

/// How to talk to the server, and how it stores new collections. Options of storage are used when a collection is
/// created; changing them later changes new collections only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QdrantOptions {
    /// Before the name of every collection, and of the alias, so that a server can be shared with other applications.
    pub collection_prefix: String,
    /// Connecting takes no longer than this.
    pub connect_timeout_ms: u64,
    /// A search, with its repetitions, takes no longer than this.
    pub read_timeout_ms: u64,
    /// A write of one batch, with its repetitions, takes no longer than this.
    pub write_timeout_ms: u64,
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
    pub ef_search: u64,
    /// The same for a search with a filter, which needs more for the same recall.
    pub ef_search_filtered: u64,
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

impl Default for QdrantOptions {
    fn default() -> Self {
        Self {
            collection_prefix: "image-search-".to_owned(),
            connect_timeout_ms: 2_000,
            read_timeout_ms: 3_000,
            write_timeout_ms: 60_000,
            connections: 2,
            upsert_batch_points: 256,
            upsert_concurrency: 2,
            shards: 0,
            replication_factor: 0,
            write_consistency_factor: 0,
            hnsw_m: 16,
            hnsw_ef_construct: 100,
            ef_search: 128,
            ef_search_filtered: 256,
            full_scan_vectors: 10_000,
            quantization: Quantization::None,
            on_disk_vectors: false,
            on_disk_index: false,
            on_disk_payload: true,
        }
    }
}

impl QdrantOptions {
    fn read_timeout(&self) -> Duration {
        Duration::from_millis(self.read_timeout_ms)
    }

    fn write_timeout(&self) -> Duration {
        Duration::from_millis(self.write_timeout_ms)
    }
}

/// The store on one server or cluster.
pub struct QdrantStore {
    connection: Arc<Connection>,
}

impl QdrantStore {
    /// Prepares the connection without making it. `url` is `http://host:6334` or `https://host:6334`, also with
    /// `qdrant+` in front; the key appears in no message.
    pub fn new(url: &str, api_key: Option<&str>, options: QdrantOptions) -> Result<Self, StoreError> {
        Ok(Self { connection: Arc::new(Connection::new(url, api_key, options)?) })
    }

    fn full_name(&self, name: &str) -> Result<String, StoreError> {
        check_name(name)?;
        Ok(format!("{}{name}", self.connection.options.collection_prefix))
    }

    fn alias(&self) -> String {
        format!("{}active", self.connection.options.collection_prefix)
    }

    /// Dimension and payload indexes of a collection, `None` if there is none.
    async fn existing(&self, name: &str) -> Result<Option<proto::CollectionInfo>, StoreError> {
        let timeout = self.connection.options.read_timeout();
        match self.connection.call(name, timeout, name.to_owned(), |client, name| async move { client.collection_info(name).await }).await {
            Ok(response) => Ok(response.result),
            Err(StoreError::NoCollection(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn create(&self, full_name: &str, dim: usize) -> Result<proto::CollectionInfo, StoreError> {
        let request = convert::create_collection(full_name, dim, &self.connection.options);
        let timeout = self.connection.options.write_timeout();
        let created = self
            .connection
            .call(full_name, timeout, request, |client, request| async move { client.create_collection(request).await })
            .await;
        // Whoever loses a race, or repeats a creation whose answer got lost, finds it there.
        match (self.existing(full_name).await?, created) {
            (Some(info), _) => Ok(info),
            (None, Err(error)) => Err(error),
            (None, Ok(_)) => Err(StoreError::NoCollection(full_name.to_owned())),
        }
    }

    /// Before there are vectors, so that the index of these is built for filters too.
    async fn create_indexes(&self, full_name: &str, spec: &CollectionSpec, info: &proto::CollectionInfo) -> Result<(), StoreError> {
        let missing = spec.indexed_fields.iter().filter(|(field, _)| !info.payload_schema.contains_key(field));
        for (field, kind) in missing {
            let request = convert::create_field_index(full_name, field, *kind);
            let timeout = self.connection.options.write_timeout();
            self.connection
                .call(full_name, timeout, request, |client, request| async move { client.create_field_index(request).await })
                .await?;
        }
        Ok(())
    }
}

#[async_trait]
impl VectorStore for QdrantStore {
    fn kind(&self) -> &'static str {
        "qdrant"
    }

    async fn open(&self, spec: &CollectionSpec) -> Result<Arc<dyn Collection>, StoreError> {
        if spec.dim == 0 {
            return Err(StoreError::Invalid("a vector needs at least one dimension".to_owned()));
        }
        spec.indexed_fields.iter().try_for_each(|(field, _)| check_field(field))?;
        let full_name = self.full_name(&spec.name)?;
        let info = match self.existing(&full_name).await? {
            Some(info) => info,
            None => self.create(&full_name, spec.dim).await?,
        };
        let dim = convert::dimension(&full_name, &info)?;
        if dim != spec.dim {
            return Err(StoreError::WrongDimension { collection: spec.name.clone(), expected: dim, got: spec.dim });
        }
        self.create_indexes(&full_name, spec, &info).await?;
        Ok(Arc::new(QdrantCollection::new(spec.clone(), full_name, Arc::clone(&self.connection))))
    }

    async fn list(&self) -> Result<Vec<String>, StoreError> {
        let timeout = self.connection.options.read_timeout();
        let response = self.connection.call("", timeout, (), |client, ()| async move { client.list_collections().await }).await?;
        let prefix = &self.connection.options.collection_prefix;
        let ours = |full: &str| full.strip_prefix(prefix).filter(|name| check_name(name).is_ok()).map(str::to_owned);
        let mut names: Vec<_> = response.collections.iter().filter_map(|collection| ours(&collection.name)).collect();
        names.sort();
        Ok(names)
    }

    async fn drop_collection(&self, name: &str) -> Result<(), StoreError> {
        let full_name = self.full_name(name)?;
        if self.active().await?.as_deref() == Some(name) {
            return Err(StoreError::Refused(format!("{name} answers the searches; activate another collection first")));
        }
        let timeout = self.connection.options.write_timeout();
        let dropped = self
            .connection
            .call(&full_name, timeout, full_name.clone(), |client, name| async move { client.delete_collection(name).await })
            .await;
        match dropped {
            Ok(_) | Err(StoreError::NoCollection(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn active(&self) -> Result<Option<String>, StoreError> {
        let timeout = self.connection.options.read_timeout();
        let response = self.connection.call("", timeout, (), |client, ()| async move { client.list_aliases().await }).await?;
        let alias = self.alias();
        let target = response.aliases.into_iter().find(|description| description.alias_name == alias);
        let prefix = &self.connection.options.collection_prefix;
        Ok(target.and_then(|target| target.collection_name.strip_prefix(prefix).map(str::to_owned)))
    }

    async fn activate(&self, name: &str) -> Result<(), StoreError> {
        let collection_name = self.full_name(name)?;
        // The server replaces an alias that exists, in one step under its lock.
        let request = proto::CreateAlias { collection_name, alias_name: self.alias() };
        let timeout = self.connection.options.write_timeout();
        self.connection.call(name, timeout, request, |client, request| async move { client.create_alias(request).await }).await.map(drop)
    }

    async fn health(&self) -> Result<(), StoreError> {
        // The server's own health check needs no key, so it would call a wrong one healthy: ask something that does.
        self.active().await.map(drop)
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
