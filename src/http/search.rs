//! `POST /api/v1/search-image`: by words (`text`), by an indexed image (`image_name`), or by a picture (multipart `image`).

use axum::extract::multipart::{Multipart, MultipartError};
use axum::extract::{FromRequest, Request, State};
use axum::http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::Problem;
use super::json::{ApiJson, too_large};
use super::{Shared, image_url, model_not_ready, thumbnail_url};
use crate::search::{self, Query, SearchError, Window};
use crate::types::ImageName;

/// What to search for: exactly one of `text` and `image_name`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchRequest {
    /// Words.
    #[schema(example = "tennis")]
    text: Option<String>,
    /// Name of an indexed image to find others like it.
    image_name: Option<String>,
    /// Most matches; `search.limit_default` if missing.
    #[schema(minimum = 1)]
    limit: Option<u32>,
    /// Matches to leave out at the top, for further pages.
    offset: Option<u32>,
}

/// A picture to search by.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the multipart body in the API document")]
pub(super) struct SearchByPicture {
    /// The picture's bytes.
    #[schema(value_type = String, format = Binary)]
    image: Vec<u8>,
    limit: Option<u32>,
    offset: Option<u32>,
}

/// The ranking, and the token that allows to rate it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SearchResponse {
    /// The words of the request; missing when it was a picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Which model compared.
    #[schema(example = "CLIP")]
    model_name: String,
    /// Best first.
    matches: Vec<Match>,
    /// To be sent with the rating of this very answer.
    jwt: String,
}

/// One picture found.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Match {
    #[schema(value_type = String)]
    image_name: ImageName,
    /// Cosine similarity, -1 to 1.
    score: f32,
    image_url: String,
    /// Add `&width=160`, `320`, `640` or `1280`.
    thumbnail_url: String,
    width: u32,
    height: u32,
    /// Further images with the same content.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    other_names: Vec<ImageName>,
}

impl From<search::Match> for Match {
    fn from(found: search::Match) -> Self {
        Self {
            image_url: image_url(&found.image_name, &found.hash),
            thumbnail_url: thumbnail_url(&found.image_name, &found.hash),
            image_name: found.image_name,
            score: found.score,
            width: found.width,
            height: found.height,
            other_names: found.other_names,
        }
    }
}

/// Search pictures by words, by an indexed image, or by a picture.
#[utoipa::path(
    post, path = "/api/v1/search-image", tag = "search",
    request_body(content((SearchRequest = "application/json"), (SearchByPicture = "multipart/form-data"))),
    responses(
        (status = 200, body = SearchResponse),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Not ready or overloaded; see Retry-After")
    )
)]
pub(super) async fn search_image(
    State(app): State<Shared>,
    request: Request,
) -> Result<axum::Json<SearchResponse>, Problem> {
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    let (text, query, window) = if kind.starts_with("multipart/form-data") {
        picture_query(&app, request).await?
    } else {
        json_query(&app, request).await?
    };
    let answer = app.searcher.search(query, window).await.map_err(|error| match error {
        SearchError::ModelNotReady => model_not_ready(&app),
        other => other.into(),
    })?;
    let matches = answer.matches.into_iter().map(Match::from).collect();
    Ok(axum::Json(SearchResponse { text, model_name: answer.model_name, matches, jwt: answer.jwt }))
}

async fn json_query(
    app: &Shared,
    request: Request,
) -> Result<(Option<String>, Query, Window), Problem> {
    // The route's body limit is that of pictures; JSON has its own.
    let bytes_max = app.config.server.json_bytes_max;
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, bytes_max).await.map_err(|_| too_large())?;
    let ApiJson(wanted) =
        ApiJson::<SearchRequest>::from_request(Request::from_parts(parts, body.into()), app)
            .await?;
    let window = window(app, wanted.limit, wanted.offset)?;
    match (wanted.text, wanted.image_name) {
        (Some(text), None) => {
            check_text(app, &text)?;
            Ok((Some(text.clone()), Query::Text(text), window))
        }
        (None, Some(name)) => Ok((None, Query::Like(ImageName::new(name)?), window)),
        (None, None) => {
            Err(Problem::invalid("Say what to search for: \"text\", or \"image_name\"."))
        }
        (Some(_), Some(_)) => {
            Err(Problem::invalid("Give either \"text\" or \"image_name\", not both."))
        }
    }
}

fn check_text(app: &Shared, text: &str) -> Result<(), Problem> {
    let chars_max = app.config.search.text_chars_max;
    if text.trim().is_empty() {
        return Err(Problem::invalid("\"text\" must not be empty."));
    }
    if text.chars().count() > chars_max {
        return Err(Problem::invalid(format!("\"text\" has more than {chars_max} characters.")));
    }
    Ok(())
}

fn window(app: &Shared, limit: Option<u32>, offset: Option<u32>) -> Result<Window, Problem> {
    let config = &app.config.search;
    let (limit, offset) = (limit.unwrap_or(config.limit_default), offset.unwrap_or(0));
    if limit == 0 || limit > config.limit_max {
        return Err(Problem::invalid(format!("\"limit\" must be 1 to {}.", config.limit_max)));
    }
    if offset.saturating_add(limit) > config.window_max {
        return Err(Problem::invalid(format!(
            "\"offset\" plus \"limit\" must be at most {}.",
            config.window_max
        )));
    }
    Ok(Window { limit, offset })
}

async fn picture_query(
    app: &Shared,
    request: Request,
) -> Result<(Option<String>, Query, Window), Problem> {
    let mut form = Multipart::from_request(request, app).await.map_err(|_| bad_form())?;
    let (mut picture, mut limit, mut offset) = (None, None, None);
    while let Some(field) = form.next_field().await.map_err(|error| form_problem(&error))? {
        let name = field.name().unwrap_or_default().to_owned();
        let bytes = field.bytes().await.map_err(|error| form_problem(&error))?;
        match name.as_str() {
            "image" => picture = Some(bytes.to_vec()),
            "limit" => limit = Some(number(&name, &bytes)?),
            "offset" => offset = Some(number(&name, &bytes)?),
            _ => {
                return Err(Problem::invalid(
                    "The form has the fields image, limit and offset, and no others.",
                ));
            }
        }
    }
    let picture =
        picture.ok_or_else(|| Problem::invalid("The form has no file field \"image\"."))?;
    if picture.len() > app.config.server.query_picture_bytes_max {
        return Err(too_large());
    }
    Ok((None, Query::Picture(picture), window(app, limit, offset)?))
}

fn number(name: &str, bytes: &[u8]) -> Result<u32, Problem> {
    let text = std::str::from_utf8(bytes).ok();
    text.and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| Problem::invalid(format!("\"{name}\" must be a whole number.")))
}

fn bad_form() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed_form", "The body is no multipart form.")
}

/// What is wrong with a multipart body.
pub(super) fn form_problem(error: &MultipartError) -> Problem {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE { too_large() } else { bad_form() }
}
