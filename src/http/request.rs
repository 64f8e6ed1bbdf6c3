//! Reading JSON bodies, query strings and names in paths: whatever is wrong with them becomes a problem that says what.

use std::fmt;
use std::marker::PhantomData;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};

use super::error::{Problem, ProblemCode};

/// A JSON body of type `T`.
pub(super) struct ApiJson<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for ApiJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match axum::Json::<Object<T>>::from_request(request, state).await {
            Ok(axum::Json(Object(body))) => Ok(Self(body)),
            Err(rejection) => Err(problem(&rejection)),
        }
    }
}

/// A JSON object. Of itself, serde takes a list of the fields' values as well.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(fields)).map(Object)
            }
        }

        deserializer.deserialize_map(Fields(PhantomData))
    }
}

fn problem(rejection: &JsonRejection) -> Problem {
    match rejection {
        JsonRejection::JsonDataError(error) => Problem::invalid(deepest(error)),
        JsonRejection::JsonSyntaxError(error) => Problem::new(
            ProblemCode::MalformedJson,
            format!("The body is no JSON: {}", deepest(error)),
        ),
        JsonRejection::MissingJsonContentType(_) => Problem::new(
            ProblemCode::UnsupportedMediaType,
            "Send the body as Content-Type: application/json.",
        ),
        other if other.status() == StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        _ => Problem::new(ProblemCode::UnreadableBody, "The body did not arrive completely."),
    }
}

pub(super) fn too_large() -> Problem {
    Problem::new(
        ProblemCode::TooLarge,
        "The body is larger than this address accepts; /api/v1/status names the limits.",
    )
}

/// The innermost message: serde's own words, without the layers around them.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// A query string of type `T`.
pub(super) struct ApiQuery<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        let problem = |rejection: QueryRejection| Problem::invalid(deepest(&rejection));
        query.map(|Query(query)| Self(query)).map_err(problem)
    }
}

/// The part of the path that is a name.
pub(super) struct ApiPath(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for ApiPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(_) => Err(Problem::new(
                ProblemCode::MalformedPath,
                "A name in a path must be UTF-8, with every byte that is not allowed in a path as % and two digits.",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Point {
        x: u32,
        y: Option<u32>,
    }

    #[test]
    fn fields_need_their_names() {
        let read = |text: &str| serde_json::from_str::<Object<Point>>(text).map(|Object(it)| it);
        let point = read(r#"{"x": 1}"#).expect("an object");
        assert_eq!((point.x, point.y), (1, None));
        for (wrong, why) in [
            (json!([1, 2]), "invalid type: sequence, expected an object"),
            (json!(null), "invalid type: null, expected an object"),
            (json!({"x": "1"}), "invalid type: string"),
            (json!({"x": 1, "z": 2}), "unknown field `z`"),
        ] {
            let error = read(&wrong.to_string()).expect_err("refused").to_string();
            assert!(error.contains(why) && error.contains("line 1"), "{wrong}: {error}");
        }
    }
}
