//! The API document around the endpoints: what it is, what every endpoint may answer, and how the API key is sent.

use utoipa::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, PathItem, Ref, RefOr, Response, ResponseBuilder,
};

/// What every endpoint answers to some requests, wherever it does not say more itself.
const COMMON_ANSWERS: &[(&str, &str)] = &[
    ("403", "A page of another site made the request."),
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
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        for (status, description) in COMMON_ANSWERS {
            let answers = &mut operation.responses.responses;
            answers.entry((*status).to_owned()).or_insert_with(|| refusal(description));
        }
    }
    give_examples(&mut document);
    let key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The API key of uploads.api_key or uploads.api_key_file."))
        .build();
    let components = document.components.get_or_insert_with(Components::new);
    components.add_security_scheme("api_key", SecurityScheme::Http(key));
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

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.delete].into_iter().flatten()
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
