//! Our types into the engine's and back: points, payloads, filters, errors, configuration.
//! Together with `shard` the only place that knows what the engine's types look like.

use qdrant_edge as edge;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{EmbeddedOptions, Quantization};
use crate::vector_store::{
    CollectionSpec, Condition, FieldKind, Payload, PayloadValue, Point, PointFilter, ScoredPoint,
    StoreError,
};

pub(super) fn point_id(id: Uuid) -> edge::PointId {
    edge::PointId::Uuid(id)
}

/// Ours are always UUIDs; numbers could only come from a foreign writer.
pub(super) fn uuid(id: edge::PointId) -> Option<Uuid> {
    match id {
        edge::PointId::Uuid(uuid) => Some(uuid),
        edge::PointId::NumId(_) => None,
    }
}

pub(super) fn to_point(point: Point) -> edge::PointStructPersisted {
    edge::PointStructPersisted {
        id: point_id(point.id),
        vector: edge::VectorStructPersisted::Single(point.vector),
        payload: Some(edge::Payload(to_json(point.payload))),
    }
}

pub(super) fn from_record(record: edge::Record) -> Option<Point> {
    let vector = match record.vector? {
        edge::VectorStructInternal::Single(vector) => vector,
        edge::VectorStructInternal::MultiDense(_) | edge::VectorStructInternal::Named(_) => {
            return None;
        }
    };
    Some(Point { id: uuid(record.id)?, vector, payload: from_json(record.payload) })
}

pub(super) fn from_scored(point: edge::ScoredPoint) -> Option<ScoredPoint> {
    Some(ScoredPoint { id: uuid(point.id)?, score: point.score, payload: from_json(point.payload) })
}

fn to_json(payload: Payload) -> Map<String, Value> {
    let value = |value| match value {
        PayloadValue::Keyword(text) => Value::from(text),
        PayloadValue::Keywords(texts) => Value::from(texts),
        PayloadValue::Integer(number) => Value::from(number),
    };
    payload.into_iter().map(|(field, content)| (field, value(content))).collect()
}

/// Values of kinds that we never write are left out.
fn from_json(payload: Option<edge::Payload>) -> Payload {
    let value = |value| match value {
        Value::String(text) => Some(PayloadValue::Keyword(text)),
        Value::Number(number) => number.as_i64().map(PayloadValue::Integer),
        Value::Array(values) => {
            let texts = values.into_iter().map(|value| value.as_str().map(str::to_owned));
            texts.collect::<Option<Vec<String>>>().map(PayloadValue::Keywords)
        }
        Value::Null | Value::Bool(_) | Value::Object(_) => None,
    };
    let fields = payload.map(|payload| payload.0).unwrap_or_default();
    fields.into_iter().filter_map(|(field, content)| Some((field, value(content)?))).collect()
}

/// Field names are checked before, by `CollectionSpec::check_filter`.
pub(super) fn to_filter(filter: &PointFilter) -> Result<edge::Filter, StoreError> {
    let conditions =
        |conditions: &[Condition]| -> Result<Option<Vec<edge::Condition>>, StoreError> {
            let converted = conditions.iter().map(to_condition).collect::<Result<Vec<_>, _>>()?;
            Ok(Some(converted).filter(|converted| !converted.is_empty()))
        };
    Ok(edge::Filter {
        should: None,
        min_should: None,
        must: conditions(&filter.must)?,
        must_not: conditions(&filter.must_not)?,
    })
}

fn to_condition(condition: &Condition) -> Result<edge::Condition, StoreError> {
    Ok(match condition {
        Condition::AnyOf { field, values } => {
            let any = edge::AnyVariants::Strings(values.iter().cloned().collect());
            edge::Condition::Field(edge::FieldCondition::new_match(
                path(field)?,
                edge::Match::new_any(any),
            ))
        }
        Condition::Range { field, min, max } => {
            let bound = |bound: Option<i64>| bound.map(|bound| (bound as f64).into());
            let range = edge::Range { lt: None, gt: None, gte: bound(*min), lte: bound(*max) };
            edge::Condition::Field(edge::FieldCondition::new_range(path(field)?, range))
        }
        Condition::Ids(ids) => edge::Condition::HasId(ids.iter().copied().map(point_id).collect()),
    })
}

fn path(field: &str) -> Result<edge::JsonPath, StoreError> {
    field.parse().map_err(|()| {
        StoreError::Invalid(format!("{field:?} cannot be a payload field in a filter"))
    })
}

pub(super) fn create_index(
    field: &str,
    kind: FieldKind,
) -> Result<edge::UpdateOperation, StoreError> {
    let schema = match kind {
        FieldKind::Keyword => edge::PayloadSchemaType::Keyword,
        FieldKind::Integer => edge::PayloadSchemaType::Integer,
    };
    Ok(edge::UpdateOperation::FieldIndexOperation(edge::FieldIndexOperations::CreateIndex(
        edge::CreateIndex {
            field_name: path(field)?,
            field_schema: Some(edge::PayloadFieldSchema::FieldType(schema)),
        },
    )))
}

pub(super) fn upsert(points: Vec<Point>) -> edge::UpdateOperation {
    let points = points.into_iter().map(to_point).collect();
    edge::UpdateOperation::PointOperation(edge::PointOperations::UpsertPoints(
        edge::PointInsertOperations::PointsList(points),
    ))
}

pub(super) fn delete(ids: &[Uuid]) -> edge::UpdateOperation {
    let ids = ids.iter().copied().map(point_id).collect();
    edge::UpdateOperation::PointOperation(edge::PointOperations::DeletePoints { ids })
}

/// The engine's configuration. Its thresholds count kilobytes of vectors, ours count vectors.
pub(super) fn config(spec: &CollectionSpec, options: &EmbeddedOptions) -> edge::EdgeConfig {
    let kilobytes =
        |vectors: usize| (vectors.saturating_mul(spec.dim).saturating_mul(4) / 1024).max(1);
    let hnsw = edge::HnswIndexConfig {
        m: options.hnsw_m,
        ef_construct: options.hnsw_ef_construct.max(4),
        full_scan_threshold: kilobytes(options.index_from_vectors),
        max_indexing_threads: super::index_threads(options),
        on_disk: Some(options.on_disk_vectors),
        // No links for filters: filtered searches do not walk the index with the filter, see `FilteredSearch`.
        payload_m: Some(0),
        inline_storage: None,
    };
    let optimizers = edge::EdgeOptimizersConfig {
        deleted_threshold: Some(options.compact_deleted_fraction),
        vacuum_min_vector_number: Some(options.compact_from_vectors),
        default_segment_number: Some(options.segments.max(1)),
        max_segment_size: Some(kilobytes(options.segment_vectors_max)),
        indexing_threshold: Some(kilobytes(options.index_from_vectors)),
        prevent_unoptimized: None,
    };
    let vector = edge::EdgeVectorParams::builder(spec.dim, edge::Distance::Cosine)
        .on_disk(options.on_disk_vectors)
        .hnsw_config(hnsw)
        .build();
    let mut config = edge::EdgeConfig::builder()
        .on_disk_payload(true)
        .vector(edge::DEFAULT_VECTOR_NAME, vector)
        .hnsw_config(hnsw)
        .optimizers(optimizers)
        .wal_options(edge::WalOptions {
            segment_capacity: super::wal::SEGMENT_BYTES,
            ..edge::WalOptions::default()
        })
        .build();
    config.quantization_config = quantization(options.quantization);
    config
}

fn quantization(quantization: Quantization) -> Option<edge::QuantizationConfig> {
    let always_ram = Some(true);
    match quantization {
        Quantization::None => None,
        Quantization::Scalar => {
            let quantile = Some(0.99);
            Some(
                edge::ScalarQuantizationConfig {
                    r#type: edge::ScalarType::Int8,
                    quantile,
                    always_ram,
                }
                .into(),
            )
        }
        Quantization::Binary => Some(
            edge::BinaryQuantizationConfig { always_ram, encoding: None, query_encoding: None }
                .into(),
        ),
        Quantization::Product => Some(
            edge::ProductQuantizationConfig {
                compression: edge::CompressionRatio::X16,
                always_ram,
            }
            .into(),
        ),
    }
}

/// How to search. Candidates from quantized vectors are scored again with the original ones.
pub(super) fn search_params(
    exact: bool,
    ef: usize,
    quantization: Quantization,
) -> edge::SearchParams {
    let rescore = edge::QuantizationSearchParams {
        ignore: false,
        rescore: Some(true),
        oversampling: Some(2.0),
    };
    edge::SearchParams {
        hnsw_ef: Some(ef),
        exact,
        quantization: (quantization != Quantization::None).then_some(rescore),
        indexed_only: false,
        acorn: None,
    }
}

/// The engine's errors carry no kind for a full disk, only its words.
pub(super) fn error(error: &edge::OperationError) -> StoreError {
    let words = error.to_string();
    if words.contains("No space left") || words.contains("Not enough space") {
        return StoreError::Refused(format!("{words}; free some space on that disk"));
    }
    match error {
        edge::OperationError::ValidationError { .. } => StoreError::Invalid(words),
        _ => StoreError::Internal(words),
    }
}
