//! Our types into the messages of Qdrant's protocol and back.

use std::collections::HashMap;

use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::condition::ConditionOneOf;
use qdrant_client::qdrant::r#match::MatchValue;
use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::quantization_config::Quantization as ProtoQuantization;
use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::{vector_output, vectors_config, vectors_output};
use uuid::Uuid;

use super::QdrantOptions;
use crate::vector_store::{
    Condition, FieldKind, Payload, PayloadValue, Point, PointFilter, Quantization, ScoredPoint,
    StoreError,
};

/// What deprecated fields say is understood by servers of every version, what replaces them only by the newest.
#[expect(deprecated, reason = "see above")]
pub(super) fn create_collection(
    full_name: &str,
    dim: usize,
    options: &QdrantOptions,
) -> proto::CreateCollection {
    let given = |number: u32| Some(number).filter(|number| *number > 0);
    let kilobytes = (options.full_scan_vectors as u64).saturating_mul(dim as u64 * 4) / 1024;
    let hnsw = proto::HnswConfigDiff {
        m: Some(options.hnsw_m),
        ef_construct: Some(options.hnsw_ef_construct.max(4)),
        full_scan_threshold: Some(kilobytes.max(10)),
        on_disk: Some(options.on_disk_index),
        ..proto::HnswConfigDiff::default()
    };
    let vectors = proto::VectorParams {
        size: dim as u64,
        distance: proto::Distance::Cosine as i32,
        on_disk: Some(options.on_disk_vectors),
        ..proto::VectorParams::default()
    };
    proto::CreateCollection {
        collection_name: full_name.to_owned(),
        vectors_config: Some(proto::VectorsConfig {
            config: Some(vectors_config::Config::Params(vectors)),
        }),
        hnsw_config: Some(hnsw),
        quantization_config: quantization(options.quantization),
        on_disk_payload: Some(options.on_disk_payload),
        shard_number: given(options.shards),
        replication_factor: given(options.replication_factor),
        write_consistency_factor: given(options.write_consistency_factor),
        ..proto::CreateCollection::default()
    }
}

#[expect(deprecated, reason = "see above")]
fn quantization(quantization: Quantization) -> Option<proto::QuantizationConfig> {
    let always_ram = Some(true);
    let quantization = match quantization {
        Quantization::None => return None,
        Quantization::Scalar => ProtoQuantization::Scalar(proto::ScalarQuantization {
            r#type: proto::QuantizationType::Int8 as i32,
            quantile: Some(0.99),
            always_ram,
            ..proto::ScalarQuantization::default()
        }),
        Quantization::Binary => ProtoQuantization::Binary(proto::BinaryQuantization {
            always_ram,
            ..proto::BinaryQuantization::default()
        }),
        Quantization::Product => ProtoQuantization::Product(proto::ProductQuantization {
            compression: proto::CompressionRatio::X16 as i32,
            always_ram,
            ..proto::ProductQuantization::default()
        }),
    };
    Some(proto::QuantizationConfig { quantization: Some(quantization) })
}

pub(super) fn create_field_index(
    full_name: &str,
    field: &str,
    kind: FieldKind,
) -> proto::CreateFieldIndexCollection {
    let field_type = match kind {
        FieldKind::Keyword => proto::FieldType::Keyword,
        FieldKind::Integer => proto::FieldType::Integer,
    };
    proto::CreateFieldIndexCollection {
        collection_name: full_name.to_owned(),
        wait: Some(true),
        field_name: field.to_owned(),
        field_type: Some(field_type as i32),
        ..proto::CreateFieldIndexCollection::default()
    }
}

/// Dimension of a collection that we can use.
pub(super) fn dimension(
    full_name: &str,
    info: &proto::CollectionInfo,
) -> Result<usize, StoreError> {
    let foreign = |what: &str| {
        StoreError::Refused(format!(
            "collection {full_name} on the Qdrant server {what}, so it is none of ours; choose another collection_prefix"
        ))
    };
    let params = info
        .config
        .as_ref()
        .and_then(|config| config.params.as_ref()?.vectors_config.as_ref()?.config.as_ref());
    let Some(vectors_config::Config::Params(params)) = params else {
        return Err(foreign("has several named vectors"));
    };
    if params.distance != proto::Distance::Cosine as i32 {
        return Err(foreign("does not compare by cosine"));
    }
    usize::try_from(params.size).map_err(|_| foreign("has vectors that are too long"))
}

pub(super) fn point_id(id: Uuid) -> proto::PointId {
    proto::PointId { point_id_options: Some(PointIdOptions::Uuid(id.to_string())) }
}

/// Ours are always UUIDs; numbers could only come from a foreign writer.
pub(super) fn uuid(id: Option<proto::PointId>) -> Option<Uuid> {
    match id?.point_id_options? {
        PointIdOptions::Uuid(text) => Uuid::parse_str(&text).ok(),
        PointIdOptions::Num(_) => None,
    }
}

pub(super) fn to_point(point: &Point) -> proto::PointStruct {
    proto::PointStruct {
        id: Some(point_id(point.id)),
        vectors: Some(proto::Vectors::from(point.vector.clone())),
        payload: point
            .payload
            .iter()
            .map(|(field, value)| (field.clone(), to_value(value)))
            .collect(),
    }
}

pub(super) fn from_retrieved(point: proto::RetrievedPoint) -> Option<Point> {
    let vectors_output::VectorsOptions::Vector(vector) = point.vectors?.vectors_options? else {
        return None;
    };
    let vector_output::Vector::Dense(vector) = vector.into_vector() else { return None };
    Some(Point { id: uuid(point.id)?, vector: vector.data, payload: from_payload(point.payload) })
}

pub(super) fn from_scored(point: proto::ScoredPoint) -> Option<ScoredPoint> {
    Some(ScoredPoint {
        id: uuid(point.id)?,
        score: point.score,
        payload: from_payload(point.payload),
    })
}

fn to_value(value: &PayloadValue) -> proto::Value {
    let text = |text: &String| proto::Value { kind: Some(Kind::StringValue(text.clone())) };
    match value {
        PayloadValue::Keyword(keyword) => text(keyword),
        PayloadValue::Keywords(keywords) => {
            let values = keywords.iter().map(text).collect();
            proto::Value { kind: Some(Kind::ListValue(proto::ListValue { values })) }
        }
        PayloadValue::Integer(number) => proto::Value { kind: Some(Kind::IntegerValue(*number)) },
    }
}

/// Values of kinds that we never write are left out.
pub(super) fn from_payload(payload: HashMap<String, proto::Value>) -> Payload {
    let value = |value: proto::Value| match value.kind? {
        Kind::StringValue(text) => Some(PayloadValue::Keyword(text)),
        Kind::IntegerValue(number) => Some(PayloadValue::Integer(number)),
        Kind::ListValue(list) => {
            let texts = list.values.into_iter().map(|value| match value.kind {
                Some(Kind::StringValue(text)) => Some(text),
                _ => None,
            });
            texts.collect::<Option<Vec<String>>>().map(PayloadValue::Keywords)
        }
        Kind::NullValue(_) | Kind::DoubleValue(_) | Kind::BoolValue(_) | Kind::StructValue(_) => {
            None
        }
    };
    payload.into_iter().filter_map(|(field, content)| Some((field, value(content)?))).collect()
}

/// Field names are checked before, by `CollectionSpec::check_filter`.
pub(super) fn to_filter(filter: &PointFilter) -> proto::Filter {
    proto::Filter {
        must: filter.must.iter().map(to_condition).collect(),
        must_not: filter.must_not.iter().map(to_condition).collect(),
        ..proto::Filter::default()
    }
}

fn to_condition(condition: &Condition) -> proto::Condition {
    let field = |key: &String| proto::FieldCondition {
        key: key.clone(),
        ..proto::FieldCondition::default()
    };
    let condition = match condition {
        Condition::AnyOf { field: key, values } => {
            let any = MatchValue::Keywords(proto::RepeatedStrings { strings: values.clone() });
            let r#match = Some(proto::Match { match_value: Some(any) });
            ConditionOneOf::Field(proto::FieldCondition { r#match, ..field(key) })
        }
        Condition::Range { field: key, min, max } => {
            let bound = |bound: Option<i64>| bound.map(|bound| bound as f64);
            let range =
                Some(proto::Range { lt: None, gt: None, gte: bound(*min), lte: bound(*max) });
            ConditionOneOf::Field(proto::FieldCondition { range, ..field(key) })
        }
        Condition::Ids(ids) => ConditionOneOf::HasId(proto::HasIdCondition {
            has_id: ids.iter().copied().map(point_id).collect(),
        }),
    };
    proto::Condition { condition_one_of: Some(condition) }
}

/// How to search. Candidates from quantized vectors are scored again with the original ones.
pub(super) fn search_params(
    exact: bool,
    ef: u64,
    quantization: Quantization,
) -> proto::SearchParams {
    let rescore = proto::QuantizationSearchParams {
        ignore: None,
        rescore: Some(true),
        oversampling: Some(2.0),
    };
    proto::SearchParams {
        hnsw_ef: Some(ef),
        exact: Some(exact),
        quantization: (quantization != Quantization::None).then_some(rescore),
        ..proto::SearchParams::default()
    }
}
