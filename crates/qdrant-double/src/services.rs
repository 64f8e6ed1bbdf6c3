//! The three services of the protocol: what our store calls, answered; everything else named, so that a new call of the
//! store fails loudly instead of being taken for an answer.

use image_search::vector_store::{CollectionSpec, Effort, FieldKind, SearchQuery, VectorStore};
use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::alias_operations::Action;
use qdrant_client::qdrant::collections_server::Collections;
use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use qdrant_client::qdrant::points_server::Points;
use qdrant_client::qdrant::qdrant_server::Qdrant;
use qdrant_client::qdrant::{query, vector_input, vectors_config};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::State;
use super::messages::{
    filter, id, limit, not_spoken, point, proto_id, proto_payload, retrieved, status,
    wants_payload, wants_vectors,
};

type Answer<T> = Result<Response<T>, Status>;

/// `wait = false` is answered as if it were true: a server may be that quick.
fn completed() -> Response<proto::PointsOperationResponse> {
    let result = proto::UpdateResult {
        operation_id: Some(0),
        status: proto::UpdateStatus::Completed as i32,
    };
    Response::new(proto::PointsOperationResponse {
        result: Some(result),
        ..proto::PointsOperationResponse::default()
    })
}

fn done(result: bool) -> Response<proto::CollectionOperationResponse> {
    Response::new(proto::CollectionOperationResponse { result, time: 0.0 })
}

/// A service of the protocol: what is spoken, then what is not.
macro_rules! service {
    ($service:ident { $($spoken:tt)* } not $($name:ident($request:ident) -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl $service for State {
            $($spoken)*
            $(async fn $name(&self, _: Request<proto::$request>) -> Answer<proto::$response> {
                Err(not_spoken(stringify!($name)))
            })*
        }
    };
}

service! { Qdrant {
    async fn health_check(&self, _: Request<proto::HealthCheckRequest>) -> Answer<proto::HealthCheckReply> {
        let title = "qdrant - vector search engine".to_owned();
        Ok(Response::new(proto::HealthCheckReply { title, version: "1.19.0".to_owned(), commit: None }))
    }
} not }

service! { Collections {
    async fn get(&self, request: Request<proto::GetCollectionInfoRequest>) -> Answer<proto::GetCollectionInfoResponse> {
        let spec = self.spec(&request.into_inner().collection_name).await?;
        let collection = self.collection(&spec.name).await?;
        let params = proto::VectorParams {
            size: spec.dim as u64,
            distance: proto::Distance::Cosine as i32,
            ..proto::VectorParams::default()
        };
        let vectors_config = Some(proto::VectorsConfig { config: Some(vectors_config::Config::Params(params)) });
        let params = Some(proto::CollectionParams { vectors_config, ..proto::CollectionParams::default() });
        let schema = |kind: &FieldKind| proto::PayloadSchemaInfo {
            data_type: match kind {
                FieldKind::Keyword => proto::PayloadSchemaType::Keyword,
                FieldKind::Integer => proto::PayloadSchemaType::Integer,
            } as i32,
            ..proto::PayloadSchemaInfo::default()
        };
        let info = proto::CollectionInfo {
            status: proto::CollectionStatus::Green as i32,
            config: Some(proto::CollectionConfig { params, ..proto::CollectionConfig::default() }),
            payload_schema: spec.indexed_fields.iter().map(|(field, kind)| (field.clone(), schema(kind))).collect(),
            points_count: Some(collection.count(None).await.map_err(status)?),
            ..proto::CollectionInfo::default()
        };
        Ok(Response::new(proto::GetCollectionInfoResponse { result: Some(info), time: 0.0 }))
    }

    async fn list(&self, _: Request<proto::ListCollectionsRequest>) -> Answer<proto::ListCollectionsResponse> {
        let names = self.0.collections.lock().await;
        let collections = names.keys().map(|name| proto::CollectionDescription { name: name.clone() }).collect();
        Ok(Response::new(proto::ListCollectionsResponse { collections, time: 0.0 }))
    }

    async fn create(&self, request: Request<proto::CreateCollection>) -> Answer<proto::CollectionOperationResponse> {
        let request = request.into_inner();
        let Some(vectors_config::Config::Params(params)) = request.vectors_config.and_then(|config| config.config) else {
            return Err(not_spoken("named or missing vectors"));
        };
        if params.distance != proto::Distance::Cosine as i32 {
            return Err(not_spoken("distances other than cosine"));
        }
        self.check_manage()?;
        let name = request.collection_name;
        let mut collections = self.0.collections.lock().await;
        if collections.contains_key(&name) {
            return Err(Status::already_exists(format!("Wrong input: Collection `{name}` already exists!")));
        }
        let spec = CollectionSpec { name: name.clone(), dim: params.size as usize, indexed_fields: Vec::new() };
        self.0.store.open(&spec).await.map_err(status)?;
        collections.insert(name, spec);
        Ok(done(true))
    }

    async fn delete(&self, request: Request<proto::DeleteCollection>) -> Answer<proto::CollectionOperationResponse> {
        self.check_manage()?;
        let name = request.into_inner().collection_name;
        let mut collections = self.0.collections.lock().await;
        self.0.store.drop_collection(&name).await.map_err(status)?;
        self.0.aliases.lock().await.retain(|_, target| *target != name);
        Ok(done(collections.remove(&name).is_some()))
    }

    async fn update_aliases(&self, request: Request<proto::ChangeAliases>) -> Answer<proto::CollectionOperationResponse> {
        self.check_manage()?;
        let collections = self.0.collections.lock().await;
        let mut aliases = self.0.aliases.lock().await;
        for action in request.into_inner().actions {
            let Some(Action::CreateAlias(create)) = action.action else { return Err(not_spoken("this change of aliases")) };
            let (name, alias) = (create.collection_name, create.alias_name);
            if !collections.contains_key(&name) {
                return Err(Status::not_found(format!("Not found: Collection `{name}` doesn't exist!")));
            }
            if collections.contains_key(&alias) {
                return Err(Status::already_exists(format!("Wrong input: Collection `{alias}` already exists!")));
            }
            aliases.insert(alias, name);
        }
        Ok(done(true))
    }

    async fn list_aliases(&self, _: Request<proto::ListAliasesRequest>) -> Answer<proto::ListAliasesResponse> {
        let aliases = self.0.aliases.lock().await;
        let describe = |(alias_name, collection_name): (&String, &String)| proto::AliasDescription {
            alias_name: alias_name.clone(),
            collection_name: collection_name.clone(),
        };
        Ok(Response::new(proto::ListAliasesResponse { aliases: aliases.iter().map(describe).collect(), time: 0.0 }))
    }
} not
    update(UpdateCollection) -> CollectionOperationResponse;
    list_collection_aliases(ListCollectionAliasesRequest) -> ListAliasesResponse;
    collection_cluster_info(CollectionClusterInfoRequest) -> CollectionClusterInfoResponse;
    collection_exists(CollectionExistsRequest) -> CollectionExistsResponse;
    update_collection_cluster_setup(UpdateCollectionClusterSetupRequest) -> UpdateCollectionClusterSetupResponse;
    create_shard_key(CreateShardKeyRequest) -> CreateShardKeyResponse;
    delete_shard_key(DeleteShardKeyRequest) -> DeleteShardKeyResponse;
    list_shard_keys(ListShardKeysRequest) -> ListShardKeysResponse;
}

service! { Points {
    async fn upsert(&self, request: Request<proto::UpsertPoints>) -> Answer<proto::PointsOperationResponse> {
        let request = request.into_inner();
        if request.shard_key_selector.is_some() || request.update_filter.is_some() || request.update_mode.is_some() {
            return Err(not_spoken("conditional writes and shard keys"));
        }
        self.check_write(&request.collection_name)?;
        let collection = self.collection(&request.collection_name).await?;
        let points = request.points.into_iter().map(point).collect::<Result<_, _>>()?;
        collection.upsert(points).await.map_err(status)?;
        Ok(completed())
    }

    async fn delete(&self, request: Request<proto::DeletePoints>) -> Answer<proto::PointsOperationResponse> {
        let request = request.into_inner();
        self.check_write(&request.collection_name)?;
        let collection = self.collection(&request.collection_name).await?;
        let Some(PointsSelectorOneOf::Points(points)) = request.points.and_then(|points| points.points_selector_one_of) else {
            return Err(not_spoken("deleting by filter"));
        };
        let ids = points.ids.into_iter().map(|point| id(Some(point))).collect::<Result<Vec<_>, _>>()?;
        collection.delete(&ids).await.map_err(status)?;
        Ok(completed())
    }

    async fn get(&self, request: Request<proto::GetPoints>) -> Answer<proto::GetResponse> {
        self.check_alive()?;
        let request = request.into_inner();
        let collection = self.collection(&request.collection_name).await?;
        let (payload, vectors) = (wants_payload(request.with_payload)?, wants_vectors(request.with_vectors)?);
        let ids = request.ids.into_iter().map(|point| id(Some(point))).collect::<Result<Vec<_>, _>>()?;
        let points = collection.get(&ids).await.map_err(status)?;
        let result = points.into_iter().map(|point| retrieved(point, payload, vectors)).collect();
        Ok(Response::new(proto::GetResponse { result, ..proto::GetResponse::default() }))
    }

    async fn create_field_index(
        &self,
        request: Request<proto::CreateFieldIndexCollection>,
    ) -> Answer<proto::PointsOperationResponse> {
        let request = request.into_inner();
        let kind = match request.field_type.map(proto::FieldType::try_from) {
            Some(Ok(proto::FieldType::Keyword)) => FieldKind::Keyword,
            Some(Ok(proto::FieldType::Integer)) => FieldKind::Integer,
            _ => return Err(not_spoken("this kind of field index")),
        };
        self.check_write(&request.collection_name)?;
        let mut spec = self.spec(&request.collection_name).await?;
        if !spec.indexed_fields.iter().any(|(field, _)| *field == request.field_name) {
            spec.indexed_fields.push((request.field_name, kind));
            self.0.store.open(&spec).await.map_err(status)?;
            self.0.collections.lock().await.insert(spec.name.clone(), spec);
        }
        Ok(completed())
    }

    async fn scroll(&self, request: Request<proto::ScrollPoints>) -> Answer<proto::ScrollResponse> {
        self.check_alive()?;
        let request = request.into_inner();
        if request.filter.is_some() || request.order_by.is_some() {
            return Err(not_spoken("scrolling with a filter or an order"));
        }
        let collection = self.collection(&request.collection_name).await?;
        let (payload, vectors) = (wants_payload(request.with_payload)?, wants_vectors(request.with_vectors)?);
        let limit = limit(request.limit.map(u64::from))?;
        // The protocol's offset is inclusive, ours is not.
        let from = request.offset.map(|offset| id(Some(offset))).transpose()?;
        let after = from.and_then(|from| from.as_u128().checked_sub(1)).map(Uuid::from_u128);
        let mut points = collection.scroll(after, limit + 1).await.map_err(status)?;
        let next_page_offset = points.get(limit).map(|next| proto_id(next.id));
        points.truncate(limit);
        let result = points.into_iter().map(|point| retrieved(point, payload, vectors)).collect();
        Ok(Response::new(proto::ScrollResponse { next_page_offset, result, ..proto::ScrollResponse::default() }))
    }

    async fn count(&self, request: Request<proto::CountPoints>) -> Answer<proto::CountResponse> {
        self.check_alive()?;
        let request = request.into_inner();
        let collection = self.collection(&request.collection_name).await?;
        // `exact = false` allows an estimate; the exact number is one.
        let count = collection.count(filter(request.filter)?.as_ref()).await.map_err(status)?;
        Ok(Response::new(proto::CountResponse { result: Some(proto::CountResult { count }), ..proto::CountResponse::default() }))
    }

    async fn query(&self, request: Request<proto::QueryPoints>) -> Answer<proto::QueryResponse> {
        self.check_alive()?;
        let request = request.into_inner();
        let foreign = !request.prefetch.is_empty() || request.using.is_some() || request.score_threshold.is_some();
        if foreign || request.offset.is_some() || request.lookup_from.is_some() {
            return Err(not_spoken("these options of a query"));
        }
        let Some(query::Variant::Nearest(nearest)) = request.query.and_then(|query| query.variant) else {
            return Err(not_spoken("queries other than nearest"));
        };
        let Some(vector_input::Variant::Dense(vector)) = nearest.variant else {
            return Err(not_spoken("queries by other things than dense vectors"));
        };
        let collection = self.collection(&request.collection_name).await?;
        let (payload, vectors) = (wants_payload(request.with_payload)?, wants_vectors(request.with_vectors)?);
        if vectors {
            return Err(not_spoken("vectors of hits"));
        }
        let exact = request.params.and_then(|params| params.exact).unwrap_or(false);
        let query = SearchQuery { vector: vector.data, limit: limit(request.limit)?, filter: filter(request.filter)?, effort: if exact { Effort::Exact } else { Effort::Usual } };
        let hits = collection.search(query).await.map_err(status)?.into_iter().map(|hit| proto::ScoredPoint {
            id: Some(proto_id(hit.id)),
            score: hit.score,
            payload: if payload { proto_payload(hit.payload) } else { std::collections::HashMap::default() },
            ..proto::ScoredPoint::default()
        });
        Ok(Response::new(proto::QueryResponse { result: hits.collect(), ..proto::QueryResponse::default() }))
    }
} not
    update_vectors(UpdatePointVectors) -> PointsOperationResponse;
    delete_vectors(DeletePointVectors) -> PointsOperationResponse;
    set_payload(SetPayloadPoints) -> PointsOperationResponse;
    overwrite_payload(SetPayloadPoints) -> PointsOperationResponse;
    delete_payload(DeletePayloadPoints) -> PointsOperationResponse;
    clear_payload(ClearPayloadPoints) -> PointsOperationResponse;
    delete_field_index(DeleteFieldIndexCollection) -> PointsOperationResponse;
    create_vector_name(CreateVectorNameRequest) -> PointsOperationResponse;
    delete_vector_name(DeleteVectorNameRequest) -> PointsOperationResponse;
    search(SearchPoints) -> SearchResponse;
    search_batch(SearchBatchPoints) -> SearchBatchResponse;
    search_groups(SearchPointGroups) -> SearchGroupsResponse;
    recommend(RecommendPoints) -> RecommendResponse;
    recommend_batch(RecommendBatchPoints) -> RecommendBatchResponse;
    recommend_groups(RecommendPointGroups) -> RecommendGroupsResponse;
    discover(DiscoverPoints) -> DiscoverResponse;
    discover_batch(DiscoverBatchPoints) -> DiscoverBatchResponse;
    update_batch(UpdateBatchPoints) -> UpdateBatchResponse;
    query_batch(QueryBatchPoints) -> QueryBatchResponse;
    query_groups(QueryPointGroups) -> QueryGroupsResponse;
    facet(FacetCounts) -> FacetResponse;
    search_matrix_pairs(SearchMatrixPoints) -> SearchMatrixPairsResponse;
    search_matrix_offsets(SearchMatrixPoints) -> SearchMatrixOffsetsResponse;
}
