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
    let key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The API key of uploads.api_key or uploads.api_key_file."))
        .build();
    let components = document.components.get_or_insert_with(Components::new);
    components.add_security_scheme("api_key", SecurityScheme::Http(key));
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.delete].into_iter().flatten()
}

fn refusal(description: &str) -> RefOr<Response> {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let answer = ResponseBuilder::new().description(description);
    answer.content("application/problem+json", problem).build().into()
}
