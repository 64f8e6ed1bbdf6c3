//! The messages of Qdrant's protocol into the embedded store's types and back. What is not spoken says so.

use image_search::vector_store::{
    Condition, Payload, PayloadValue, Point, PointFilter, StoreError,
};
use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::condition::ConditionOneOf;
use qdrant_client::qdrant::r#match::MatchValue;
use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::{
    vector, vector_output, vectors, vectors_output, with_payload_selector, with_vectors_selector,
};
use tonic::Status;
use uuid::Uuid;

/// As the server says it.
pub(super) fn status(error: StoreError) -> Status {
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

pub(super) fn not_spoken(what: &str) -> Status {
    Status::unimplemented(format!("the double does not speak {what}"))
}

pub(super) fn id(id: Option<proto::PointId>) -> Result<Uuid, Status> {
    match id.and_then(|id| id.point_id_options) {
        Some(PointIdOptions::Uuid(text)) => Uuid::parse_str(&text)
            .map_err(|_| Status::invalid_argument(format!("Unable to parse UUID: {text}"))),
        Some(PointIdOptions::Num(_)) => Err(not_spoken("numeric ids")),
        None => Err(Status::invalid_argument("Empty ID is not allowed")),
    }
}

pub(super) fn proto_id(id: Uuid) -> proto::PointId {
    proto::PointId { point_id_options: Some(PointIdOptions::Uuid(id.to_string())) }
}

pub(super) fn point(point: proto::PointStruct) -> Result<Point, Status> {
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

pub(super) fn payload_value(value: proto::Value) -> Result<PayloadValue, Status> {
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

pub(super) fn proto_payload(payload: Payload) -> std::collections::HashMap<String, proto::Value> {
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

pub(super) fn retrieved(
    point: Point,
    with_payload: bool,
    with_vectors: bool,
) -> proto::RetrievedPoint {
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

pub(super) fn filter(filter: Option<proto::Filter>) -> Result<Option<PointFilter>, Status> {
    let Some(filter) = filter else { return Ok(None) };
    if !filter.should.is_empty() || filter.min_should.is_some() {
        return Err(not_spoken("should"));
    }
    let all = |conditions: Vec<proto::Condition>| {
        conditions.into_iter().map(condition).collect::<Result<_, _>>()
    };
    Ok(Some(PointFilter { must: all(filter.must)?, must_not: all(filter.must_not)? }))
}

pub(super) fn condition(condition: proto::Condition) -> Result<Condition, Status> {
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

pub(super) fn wants_payload(selector: Option<proto::WithPayloadSelector>) -> Result<bool, Status> {
    match selector.and_then(|selector| selector.selector_options) {
        None => Ok(false),
        Some(with_payload_selector::SelectorOptions::Enable(wanted)) => Ok(wanted),
        Some(_) => Err(not_spoken("a choice of payload fields")),
    }
}

pub(super) fn wants_vectors(selector: Option<proto::WithVectorsSelector>) -> Result<bool, Status> {
    match selector.and_then(|selector| selector.selector_options) {
        None => Ok(false),
        Some(with_vectors_selector::SelectorOptions::Enable(wanted)) => Ok(wanted),
        Some(_) => Err(not_spoken("a choice of vectors")),
    }
}

pub(super) fn limit(limit: Option<u64>) -> Result<usize, Status> {
    match limit.unwrap_or(10) {
        0 => Err(Status::invalid_argument(
            "Validation error in body: [limit: value 0 invalid, must be 1 or larger]",
        )),
        limit => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
    }
}
