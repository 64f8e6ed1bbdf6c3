//! The API document around the endpoints: what it is, what every endpoint may answer, and how the API key is sent.

use axum::http::Method;
use utoipa::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    Components, ContentBuilder, PathItem, Ref, RefOr, Response, ResponseBuilder,
};

use super::gates::documented;
use crate::catalog::KeyScope;

/// What endpoints answer that ask for a key, or may.
const ANSWERS_OF_GATES: &[(&str, &str)] = &[
    ("401", "The server asks for an API key, and none came or a wrong one."),
    ("429", "Too many requests of this address or key; Retry-After says when to try again."),
];

/// The ways to send a key.
const KEY_SCHEMES: [&str; 3] = ["api_key", "api_key_header", "session"];

/// What every endpoint answers to some requests, wherever it does not say more itself.
const COMMON_ANSWERS: &[(&str, &str)] = &[
    ("403", "A page of another site made the request, or the API key does not allow it."),
    ("421", "The server does not go by the name in Host; server.hosts lists its names."),
    ("500", "Something went wrong; the server's log says what."),
    (
        "503",
        "Overloaded, not ready, or something it needs is away; Retry-After says when to try again.",
    ),
];

/// What stands in the reader's boxes: bodies that can be sent as they are. Without one, every field would be filled in, also
/// those that exclude each other.
const EXAMPLES: &[(&str, &str)] = &[
    ("/api/v1/search-image", r#"{"text": "tennis", "limit": 10}"#),
    ("/api/v1/create-feedback", r#"{"user_feedback": 5, "jwt": "the jwt of an answer"}"#),
    ("/api/v1/delete-feedback", r#"{"text": "tennis"}"#),
    ("/api/v1/download-zip", r#"{"image_names": ["tennis.png"]}"#),
    ("/api/v1/failures/retry", "{}"),
];

#[derive(OpenApi)]
#[openapi(
    info(title = "image-search", description = "Drop pictures in a folder, search them by words, rate the result."),
    tags(
        (name = "search", description = "Search by words or by picture, and rate what came."),
        (name = "images", description = "The pictures themselves."),
        (name = "operation", description = "How the server is doing.")
    )
)]
struct ApiDoc;

pub(super) fn beginning() -> utoipa::openapi::OpenApi {
    ApiDoc::openapi()
}

/// The document with what concerns all endpoints.
pub(super) fn finished(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths
        .into_iter()
        // A name may have slashes. The router has a sign for that; OpenAPI has none.
        .map(|(path, item)| (path.replace("{*", "{"), item))
        .collect();
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            add_answers(operation, COMMON_ANSWERS);
            if let Some(scope) = documented(&method, path) {
                add_answers(operation, ANSWERS_OF_GATES);
                operation.security = Some(requirements(scope));
            }
        }
    }
    give_examples(&mut document);
    add_schemes(document.components.get_or_insert_with(Components::new));
    document
}

fn give_examples(document: &mut utoipa::openapi::OpenApi) {
    for (path, example) in EXAMPLES {
        let operation = document.paths.paths.get_mut(*path).and_then(|item| item.post.as_mut());
        let Some(RefOr::T(body)) = operation.and_then(|post| post.request_body.as_mut()) else {
            continue;
        };
        let json = body.content.get_mut("application/json");
        if let (Some(RefOr::T(json)), Ok(example)) = (json, serde_json::from_str(example)) {
            json.example = Some(example);
        }
    }
}

/// A key with the scope, sent in any way; or none, as long as the server has no keys.
fn requirements(scope: KeyScope) -> Vec<SecurityRequirement> {
    let with_key = KEY_SCHEMES.map(|scheme| SecurityRequirement::new(scheme, [scope.as_str()]));
    let without = (scope != KeyScope::Upload).then(SecurityRequirement::default);
    without.into_iter().chain(with_key).collect()
}

fn add_schemes(components: &mut Components) {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API key with the scope that is named; image-search key add makes one. Only asked for when there are keys, and always for uploads."))
        .build();
    let header =
        ApiKeyValue::with_description("X-API-Key", "The same key, where Authorization is taken.");
    let cookie = ApiKeyValue::with_description(
        "image_search_session",
        "What POST /api/v1/session sets, for browsers.",
    );
    components.add_security_scheme("api_key", SecurityScheme::Http(bearer));
    components
        .add_security_scheme("api_key_header", SecurityScheme::ApiKey(ApiKey::Header(header)));
    components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let all = [
        (Method::GET, &mut item.get),
        (Method::POST, &mut item.post),
        (Method::DELETE, &mut item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn add_answers(operation: &mut Operation, answers: &[(&str, &str)]) {
    for (status, description) in answers {
        let known = &mut operation.responses.responses;
        known.entry((*status).to_owned()).or_insert_with(|| refusal(description));
    }
}

fn refusal(description: &str) -> RefOr<Response> {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let answer = ResponseBuilder::new().description(description);
    answer.content("application/problem+json", problem).build().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_json_and_belongs_to_an_address() {
        for (path, example) in EXAMPLES {
            assert!(path.starts_with("/api/v1/"), "{path}");
            let example: serde_json::Value = serde_json::from_str(example).expect("JSON");
            assert!(example.is_object(), "{path}");
        }
    }
}
