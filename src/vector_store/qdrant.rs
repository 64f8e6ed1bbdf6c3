//! The vector store on a Qdrant server or cluster, over gRPC. Nothing home-made is distributed here.
//! One collection per model and revision, named with a prefix of ours; the alias `<prefix>active` names the one that
//! answers searches. The connection is made when it is first needed, so a server that is away is no error at start.

mod collection;
mod connection;
mod convert;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::alias_operations;

use self::collection::QdrantCollection;
use self::connection::Connection;
use super::{Collection, CollectionSpec, Marker, StoreError, VectorStore, check_field, check_name};
pub use crate::config::QdrantOptions;

/// The store on one server or cluster.
pub struct QdrantStore {
    connection: Arc<Connection>,
}

impl QdrantStore {
    /// Prepares the connection without making it. `url` is `http://host:6334` or `https://host:6334`, also with
    /// `qdrant+` in front; the key appears in no message.
    pub fn new(
        url: &str,
        api_key: Option<&str>,
        options: QdrantOptions,
    ) -> Result<Self, StoreError> {
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
        match self
            .connection
            .call(name, timeout, name.to_owned(), |mut client, collection_name| async move {
                client.collections.get(proto::GetCollectionInfoRequest { collection_name }).await
            })
            .await
        {
            Ok(response) => Ok(response.result),
            Err(StoreError::NoSuchCollection(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn create(
        &self,
        full_name: &str,
        dim: usize,
    ) -> Result<proto::CollectionInfo, StoreError> {
        let request = convert::create_collection(full_name, dim, &self.connection.options);
        let timeout = self.connection.options.write_timeout();
        let created = self
            .connection
            .call(full_name, timeout, request, |mut client, request| async move {
                client.collections.create(request).await
            })
            .await;
        // Whoever loses a race, or repeats a creation whose answer got lost, finds it there.
        match (self.existing(full_name).await?, created) {
            (Some(info), _) => Ok(info),
            (None, Err(error)) => Err(error),
            (None, Ok(_)) => Err(StoreError::NoSuchCollection(full_name.to_owned())),
        }
    }

    /// Before there are vectors, so that the index of these is built for filters too.
    async fn create_indexes(
        &self,
        full_name: &str,
        spec: &CollectionSpec,
        info: &proto::CollectionInfo,
    ) -> Result<(), StoreError> {
        let missing = spec
            .indexed_fields
            .iter()
            .filter(|(field, _)| !info.payload_schema.contains_key(field));
        for (field, kind) in missing {
            let request = convert::create_field_index(full_name, field, *kind);
            let timeout = self.connection.options.write_timeout();
            self.connection
                .call(full_name, timeout, request, |mut client, request| async move {
                    client.points.create_field_index(request).await
                })
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
            return Err(StoreError::WrongDimension {
                collection: spec.name.clone(),
                expected: dim,
                got: spec.dim,
            });
        }
        self.create_indexes(&full_name, spec, &info).await?;
        Ok(Arc::new(QdrantCollection::new(spec.clone(), full_name, Arc::clone(&self.connection))))
    }

    async fn dim(&self, name: &str) -> Result<Option<usize>, StoreError> {
        let full_name = self.full_name(name)?;
        self.existing(&full_name)
            .await?
            .map(|info| convert::dimension(&full_name, &info))
            .transpose()
    }

    async fn marker(&self, name: &str) -> Result<Option<Marker>, StoreError> {
        collection::read_marker(&self.connection, name, &self.full_name(name)?).await
    }

    async fn list(&self) -> Result<Vec<String>, StoreError> {
        let timeout = self.connection.options.read_timeout();
        let response = self
            .connection
            .call("", timeout, (), |mut client, ()| async move {
                client.collections.list(proto::ListCollectionsRequest {}).await
            })
            .await?;
        let prefix = &self.connection.options.collection_prefix;
        let ours = |full: &str| {
            full.strip_prefix(prefix).filter(|name| check_name(name).is_ok()).map(str::to_owned)
        };
        let mut names: Vec<_> =
            response.collections.iter().filter_map(|collection| ours(&collection.name)).collect();
        names.sort();
        Ok(names)
    }

    async fn drop_collection(&self, name: &str) -> Result<(), StoreError> {
        let full_name = self.full_name(name)?;
        if self.active().await?.as_deref() == Some(name) {
            return Err(StoreError::Refused(format!(
                "{name} answers the searches; activate another collection first"
            )));
        }
        let timeout = self.connection.options.write_timeout();
        let request = proto::DeleteCollection {
            collection_name: full_name.clone(),
            ..proto::DeleteCollection::default()
        };
        let dropped = self
            .connection
            .call(&full_name, timeout, request, |mut client, request| async move {
                client.collections.delete(request).await
            })
            .await;
        match dropped {
            Ok(_) | Err(StoreError::NoSuchCollection(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn active(&self) -> Result<Option<String>, StoreError> {
        let timeout = self.connection.options.read_timeout();
        let response = self
            .connection
            .call("", timeout, (), |mut client, ()| async move {
                client.collections.list_aliases(proto::ListAliasesRequest {}).await
            })
            .await?;
        let alias = self.alias();
        let target =
            response.aliases.into_iter().find(|description| description.alias_name == alias);
        let prefix = &self.connection.options.collection_prefix;
        Ok(target.and_then(|target| target.collection_name.strip_prefix(prefix).map(str::to_owned)))
    }

    async fn activate(&self, name: &str) -> Result<(), StoreError> {
        let collection_name = self.full_name(name)?;
        if self.active().await?.as_deref() == Some(name) {
            return Ok(());
        }
        // The server replaces an alias that exists, in one step under its lock.
        let create = proto::CreateAlias { collection_name, alias_name: self.alias() };
        let action =
            proto::AliasOperations { action: Some(alias_operations::Action::CreateAlias(create)) };
        let request =
            proto::ChangeAliases { actions: vec![action], ..proto::ChangeAliases::default() };
        let timeout = self.connection.options.write_timeout();
        self.connection
            .call(name, timeout, request, |mut client, request| async move {
                client.collections.update_aliases(request).await
            })
            .await
            .map(drop)
    }

    async fn health(&self) -> Result<(), StoreError> {
        // The server's own health check needs no key, so it would call a wrong one healthy: ask something that does.
        self.active().await.map(drop)
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
