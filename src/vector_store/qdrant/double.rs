//! A stand-in for a Qdrant server in tests: a small gRPC server that speaks the part of Qdrant's protocol that our
//! store uses, with the messages of `qdrant-client`, over the engine that Qdrant itself is made of.
//!
//! What it answers, a real server answers (codes and texts are those of Qdrant 1.19's source). It does not do, and says
//! `UNIMPLEMENTED` to: every call but those below, named and sparse vectors, distances other than cosine, prefetches,
//! conditions other than match-any, range and has-id, conditional writes, shard keys, JWTs. It accepts and ignores: index,
//! quantization and storage parameters, shard and replica numbers, read consistency and timeouts. It is more orderly than a
//! real server: equal scores come by ascending id. It has no replication, no rate limits and no optimiser.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use image_search::vector_store::embedded::{EmbeddedOptions, EmbeddedStore};
use image_search::vector_store::{
    Collection, CollectionSpec, Condition, FieldKind, Filter, Payload, PayloadValue, Point,
    SearchQuery, StoreError, VectorStore,
};
use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::alias_operations::Action;
use qdrant_client::qdrant::collections_server::{Collections, CollectionsServer};
use qdrant_client::qdrant::condition::ConditionOneOf;
use qdrant_client::qdrant::r#match::MatchValue;
use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use qdrant_client::qdrant::points_server::{Points, PointsServer};
use qdrant_client::qdrant::qdrant_server::{Qdrant, QdrantServer};
use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::{
    query, vector, vector_input, vector_output, vectors, vectors_config, vectors_output,
    with_payload_selector, with_vectors_selector,
};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use uuid::Uuid;

type Answer<T> = Result<Response<T>, Status>;

/// A running stand-in. Its data outlives [`Self::stop`] and is there again after [`Self::start`] on the same state.
pub(crate) struct Double {
    pub(crate) address: SocketAddr,
    state: State,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

/// What a server keeps on its disk.
#[derive(Clone)]
pub(crate) struct State(Arc<Inner>);

struct Inner {
    store: EmbeddedStore,
    collections: Mutex<BTreeMap<String, CollectionSpec>>,
    aliases: Mutex<BTreeMap<String, String>>,
    api_key: Option<String>,
    writes: std::sync::Mutex<Writes>,
}

/// What a server does with writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "this file is part of two test programs, of which one needs them all")]
pub(crate) enum Writes {
    Taken,
    /// As with a key that may only read.
    Forbidden,
    /// As with a disk that is full.
    DiskFull,
}

impl State {
    #[allow(dead_code, reason = "this file is part of two test programs, of which one needs it")]
    pub(crate) fn set_writes(&self, writes: Writes) {
        *self.0.writes.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = writes;
    }

    /// Points of all collections.
    #[allow(dead_code, reason = "this file is part of two test programs, of which one needs it")]
    pub(crate) async fn points(&self) -> u64 {
        let specs: Vec<CollectionSpec> =
            self.0.collections.lock().await.values().cloned().collect();
        let mut points = 0;
        for spec in specs {
            let collection = self.0.store.open(&spec).await.expect("it was created");
            points += collection.count(None).await.expect("it counts");
        }
        points
    }

    fn check_write(&self, collection: &str) -> Result<(), Status> {
        match *self.0.writes.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Writes::Taken => Ok(()),
            Writes::Forbidden => Err(Status::permission_denied(format!(
                "Forbidden: Write access to collection {collection} is required"
            ))),
            Writes::DiskFull => Err(Status::internal(
                "Service internal error: No space left on device: WAL buffer size exceeds available disk space",
            )),
        }
    }

    pub(crate) fn new(dir: &Path, api_key: Option<&str>) -> Result<Self, StoreError> {
        let options = EmbeddedOptions { disk_reserve_mib: 0, ..EmbeddedOptions::default() };
        Ok(Self(Arc::new(Inner {
            store: EmbeddedStore::open(dir, options)?,
            collections: Mutex::default(),
            aliases: Mutex::default(),
            api_key: api_key.map(str::to_owned),
            writes: std::sync::Mutex::new(Writes::Taken),
        })))
    }
}

impl Double {
    /// Listens on `address`; port 0 for any free one.
    pub(crate) async fn start(address: SocketAddr, state: State) -> Result<Self, StoreError> {
        let failed = |error: std::io::Error| {
            StoreError::Internal(format!("the double cannot listen: {error}"))
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let key = state.clone();
        let check = move |request: Request<()>| key.check(request);
        let (points, collections) =
            (PointsServer::new(state.clone()), CollectionsServer::new(state.clone()));
        let points = points.max_decoding_message_size(usize::MAX);
        let server = Server::builder()
            // The server's health check needs no key, the rest does.
            .add_service(QdrantServer::new(state.clone()))
            .add_service(tonic::service::interceptor::InterceptedService::new(
                points,
                check.clone(),
            ))
            .add_service(tonic::service::interceptor::InterceptedService::new(collections, check))
            .serve_with_incoming_shutdown(TcpIncoming::from(listener), async move {
                let _ = stopped.await;
            });
        Ok(Self { address, state, stop, server: tokio::spawn(server) })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers what is under way, closes all connections, and returns the state to start with again.
    pub(crate) async fn stop(mut self) -> State {
        let _ = self.stop.send(());
        if tokio::time::timeout(Duration::from_secs(5), &mut self.server).await.is_err() {
            self.server.abort();
        }
        self.state
    }
}

impl State {
    fn check(&self, request: Request<()>) -> Result<Request<()>, Status> {
        let given = request.metadata().get("api-key").and_then(|key| key.to_str().ok());
        match (&self.0.api_key, given) {
            (None, _) => Ok(request),
            (Some(key), Some(given)) if key == given => Ok(request),
            (Some(_), Some(_)) => Err(Status::unauthenticated("Invalid API key or JWT")),
            (Some(_), None) => Err(Status::unauthenticated(
                "Must provide an API key or an Authorization bearer token",
            )),
        }
    }

    /// By name or alias.
    async fn spec(&self, name: &str) -> Result<CollectionSpec, Status> {
        let target = self.0.aliases.lock().await.get(name).cloned();
        let name = target.as_deref().unwrap_or(name);
        let missing =
            || Status::not_found(format!("Not found: Collection `{name}` doesn't exist!"));
        self.0.collections.lock().await.get(name).cloned().ok_or_else(missing)
    }

    async fn collection(&self, name: &str) -> Result<Arc<dyn Collection>, Status> {
        self.0.store.open(&self.spec(name).await?).await.map_err(status)
    }
}

/// As the server says it.
fn status(error: StoreError) -> Status {
    match error {
        StoreError::WrongDimension { expected, got, .. } => Status::invalid_argument(format!(
            "Wrong input: Vector dimension error: expected dim: {expected}, got {got}"
        )),
        StoreError::Invalid(text) => Status::invalid_argument(format!("Wrong input: {text}")),
        StoreError::Unavailable(text) => Status::unavailable(text),
        StoreError::Refused(text) => Status::failed_precondition(text),
        error => Status::internal(format!("Service internal error: {error}")),
    }
}

fn not_spoken(what: &str) -> Status {
    Status::unimplemented(format!("the double does not speak {what}"))
}

fn id(id: Option<proto::PointId>) -> Result<Uuid, Status> {
    match id.and_then(|id| id.point_id_options) {
        Some(PointIdOptions::Uuid(text)) => Uuid::parse_str(&text)
            .map_err(|_| Status::invalid_argument(format!("Unable to parse UUID: {text}"))),
        Some(PointIdOptions::Num(_)) => Err(not_spoken("numeric ids")),
        None => Err(Status::invalid_argument("Empty ID is not allowed")),
    }
}

fn proto_id(id: Uuid) -> proto::PointId {
    proto::PointId { point_id_options: Some(PointIdOptions::Uuid(id.to_string())) }
}

fn point(point: proto::PointStruct) -> Result<Point, Status> {
    let Some(vectors::VectorsOptions::Vector(vector)) =
        point.vectors.and_then(|vectors| vectors.vectors_options)
    else {
        return Err(not_spoken("named or missing vectors"));
    };
    let vector = match vector.vector {
        Some(vector::Vector::Dense(dense)) => dense.data,
        #[expect(deprecated, reason = "older clients send it there")]
        None if vector.indices.is_none() => vector.data,
        _ => return Err(not_spoken("vectors that are not dense")),
    };
    let payload =
        point.payload.into_iter().map(|(field, value)| Ok((field, payload_value(value)?)));
    Ok(Point { id: id(point.id)?, vector, payload: payload.collect::<Result<Payload, Status>>()? })
}

fn payload_value(value: proto::Value) -> Result<PayloadValue, Status> {
    match value.kind {
        Some(Kind::StringValue(text)) => Ok(PayloadValue::Keyword(text)),
        Some(Kind::IntegerValue(number)) => Ok(PayloadValue::Integer(number)),
        Some(Kind::ListValue(list)) => {
            let texts = list.values.into_iter().map(|value| match value.kind {
                Some(Kind::StringValue(text)) => Ok(text),
                _ => Err(not_spoken("lists of other things than texts")),
            });
            texts.collect::<Result<_, _>>().map(PayloadValue::Keywords)
        }
        _ => Err(not_spoken("payload other than texts, lists of texts and integers")),
    }
}

fn proto_payload(payload: Payload) -> std::collections::HashMap<String, proto::Value> {
    let text = |text: String| proto::Value { kind: Some(Kind::StringValue(text)) };
    let value = |value| match value {
        PayloadValue::Keyword(keyword) => text(keyword),
        PayloadValue::Integer(number) => proto::Value { kind: Some(Kind::IntegerValue(number)) },
        PayloadValue::Keywords(keywords) => {
            let values = keywords.into_iter().map(text).collect();
            proto::Value { kind: Some(Kind::ListValue(proto::ListValue { values })) }
        }
    };
    payload.into_iter().map(|(field, content)| (field, value(content))).collect()
}

fn retrieved(point: Point, with_payload: bool, with_vectors: bool) -> proto::RetrievedPoint {
    let dense = vector_output::Vector::Dense(proto::DenseVector { data: point.vector });
    let vector = proto::VectorOutput { vector: Some(dense), ..proto::VectorOutput::default() };
    let vectors = proto::VectorsOutput {
        vectors_options: Some(vectors_output::VectorsOptions::Vector(vector)),
    };
    proto::RetrievedPoint {
        id: Some(proto_id(point.id)),
        payload: if with_payload {
            proto_payload(point.payload)
        } else {
            std::collections::HashMap::default()
        },
        vectors: with_vectors.then_some(vectors),
        ..proto::RetrievedPoint::default()
    }
}

fn filter(filter: Option<proto::Filter>) -> Result<Option<Filter>, Status> {
    let Some(filter) = filter else { return Ok(None) };
    if !filter.should.is_empty() || filter.min_should.is_some() {
        return Err(not_spoken("should"));
    }
    let all = |conditions: Vec<proto::Condition>| {
        conditions.into_iter().map(condition).collect::<Result<_, _>>()
    };
    Ok(Some(Filter { must: all(filter.must)?, must_not: all(filter.must_not)? }))
}

fn condition(condition: proto::Condition) -> Result<Condition, Status> {
    match condition.condition_one_of {
        Some(ConditionOneOf::HasId(ids)) => Ok(Condition::Ids(
            ids.has_id.into_iter().map(|point| id(Some(point))).collect::<Result<_, _>>()?,
        )),
        Some(ConditionOneOf::Field(field)) => {
            let r#match = field.r#match.and_then(|value| value.match_value);
            match (r#match, field.range) {
                (Some(MatchValue::Keywords(any)), None) => {
                    Ok(Condition::AnyOf { field: field.key, values: any.strings })
                }
                (None, Some(proto::Range { lt: None, gt: None, gte, lte })) => {
                    let bound = |bound: Option<f64>| bound.map(|bound| bound as i64);
                    Ok(Condition::Range { field: field.key, min: bound(gte), max: bound(lte) })
                }
                _ => Err(not_spoken("this condition on a field")),
            }
        }
        _ => Err(not_spoken("this condition")),
    }
}

fn wants_payload(selector: Option<proto::WithPayloadSelector>) -> Result<bool, Status> {
    match selector.and_then(|selector| selector.selector_options) {
        None => Ok(false),
        Some(with_payload_selector::SelectorOptions::Enable(wanted)) => Ok(wanted),
        Some(_) => Err(not_spoken("a choice of payload fields")),
    }
}

fn wants_vectors(selector: Option<proto::WithVectorsSelector>) -> Result<bool, Status> {
    match selector.and_then(|selector| selector.selector_options) {
        None => Ok(false),
        Some(with_vectors_selector::SelectorOptions::Enable(wanted)) => Ok(wanted),
        Some(_) => Err(not_spoken("a choice of vectors")),
    }
}

fn limit(limit: Option<u64>) -> Result<usize, Status> {
    match limit.unwrap_or(10) {
        0 => Err(Status::invalid_argument(
            "Validation error in body: [limit: value 0 invalid, must be 1 or larger]",
        )),
        limit => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
    }
}

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
        let name = request.into_inner().collection_name;
        let mut collections = self.0.collections.lock().await;
        self.0.store.drop_collection(&name).await.map_err(status)?;
        self.0.aliases.lock().await.retain(|_, target| *target != name);
        Ok(done(collections.remove(&name).is_some()))
    }

    async fn update_aliases(&self, request: Request<proto::ChangeAliases>) -> Answer<proto::CollectionOperationResponse> {
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
        let mut spec = self.spec(&request.collection_name).await?;
        if !spec.indexed_fields.iter().any(|(field, _)| *field == request.field_name) {
            spec.indexed_fields.push((request.field_name, kind));
            self.0.store.open(&spec).await.map_err(status)?;
            self.0.collections.lock().await.insert(spec.name.clone(), spec);
        }
        Ok(completed())
    }

    async fn scroll(&self, request: Request<proto::ScrollPoints>) -> Answer<proto::ScrollResponse> {
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
        let request = request.into_inner();
        let collection = self.collection(&request.collection_name).await?;
        // `exact = false` allows an estimate; the exact number is one.
        let count = collection.count(filter(request.filter)?.as_ref()).await.map_err(status)?;
        Ok(Response::new(proto::CountResponse { result: Some(proto::CountResult { count }), ..proto::CountResponse::default() }))
    }

    async fn query(&self, request: Request<proto::QueryPoints>) -> Answer<proto::QueryResponse> {
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
        let query = SearchQuery { vector: vector.data, limit: limit(request.limit)?, filter: filter(request.filter)?, exact };
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
