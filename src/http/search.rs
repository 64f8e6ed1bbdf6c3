//! `POST /api/v1/search-image`: by words (`text`), by an indexed image (`image_name`), or by a picture (multipart `image`).

use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::header;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::Problem;
use super::forms::Form;
use super::request::ApiJson;
use super::{SharedApp, image_url, model_not_ready, thumbnail_url};
use crate::search::{self, Query, SearchError, Window};
use crate::types::ImageName;

/// What to search for: exactly one of `text` and `image_name`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchRequest {
    /// Words that say what is on the pictures; at most `limits.text_chars_max` of `/api/v1/status` characters.
    #[schema(example = "tennis")]
    text: Option<String>,
    /// Name of an indexed image, to find others like it.
    image_name: Option<String>,
    /// How many matches to answer with at most; `search.limit_default` of the configuration if missing.
    #[schema(minimum = 1)]
    limit: Option<u32>,
    /// How many of the best matches to leave out, for further pages.
    offset: Option<u32>,
}

/// A picture to search by, as a form. Each field may be there only once.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the multipart body in the API document")]
pub(super) struct SearchByPicture {
    /// The picture's bytes, in any format that is indexed too.
    #[schema(value_type = String, format = Binary)]
    image: Vec<u8>,
    /// How many matches to answer with at most; `search.limit_default` of the configuration if missing.
    #[schema(minimum = 1)]
    limit: Option<u32>,
    /// How many of the best matches to leave out, for further pages.
    offset: Option<u32>,
}

/// The ranking, and the token that allows to rate it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SearchResponse {
    /// The words of the request; missing when it was a picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Display name of the model that compared words and pictures.
    #[schema(example = "CLIP")]
    model_name: String,
    /// The pictures found, best first.
    matches: Vec<Match>,
    /// To be sent with the rating of this very answer.
    jwt: String,
}

/// One picture found.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Match {
    /// Name of the image; of several with the same content, the first one in alphabetical order.
    #[schema(value_type = String)]
    image_name: ImageName,
    /// Cosine similarity of query and picture, from -1 to 1.
    score: f32,
    /// Where the picture is; with its version in it, so that what it answers may be kept for ever.
    image_url: String,
    /// Where a small JPEG of it is. Add `&width=160`, `320`, `640` or `1280`.
    thumbnail_url: String,
    /// Width in pixels, as it is shown.
    width: u32,
    /// Height in pixels, as it is shown.
    height: u32,
    /// The first further images with the same content, in alphabetical order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    other_names: Vec<ImageName>,
    /// How many further images have the same content, counted up to 10000. `/api/v1/other-names` has them all.
    other_names_total: u64,
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
            other_names_total: found.other_names_total,
        }
    }
}

/// Search pictures by words, by an indexed image, or by a picture.
///
/// Send words or the name of an indexed image as JSON, or a picture as a form.
#[utoipa::path(
    post, path = "/api/v1/search-image", tag = "search",
    request_body(content((SearchRequest = "application/json"), (SearchByPicture = "multipart/form-data"))),
    responses(
        (status = 200, body = SearchResponse, description = "The best matches, and the token to rate them with."),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "The body is no JSON or form, or did not arrive completely."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no indexed image of that name."),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "The body is too large."),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "The body is neither JSON nor a form."),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A field is missing or out of bounds, or the picture cannot be read."),
    )
)]
pub(super) async fn search_image(
    State(app): State<SharedApp>,
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
    app: &SharedApp,
    mut request: Request,
) -> Result<(Option<String>, Query, Window), Problem> {
    // The route's body limit is that of pictures; JSON has its own.
    DefaultBodyLimit::max(app.config.server.json_bytes_max).apply(&mut request);
    let ApiJson(wanted) = ApiJson::<SearchRequest>::from_request(request, app).await?;
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

fn check_text(app: &SharedApp, text: &str) -> Result<(), Problem> {
    let chars_max = app.config.search.text_chars_max;
    if text.trim().is_empty() {
        return Err(Problem::invalid("\"text\" must not be empty."));
    }
    if text.chars().count() > chars_max {
        return Err(Problem::invalid(format!("\"text\" has more than {chars_max} characters.")));
    }
    Ok(())
}

fn window(app: &SharedApp, limit: Option<u32>, offset: Option<u32>) -> Result<Window, Problem> {
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
    app: &SharedApp,
    request: Request,
) -> Result<(Option<String>, Query, Window), Problem> {
    let mut form = Form::open(app, request, app.config.server.query_picture_bytes_max).await?;
    let room = form.room();
    let (mut picture, mut limit, mut offset) = (None, None, None);
    while let Some(field) = form.next().await? {
        let name = field.name().unwrap_or_default().to_owned();
        let taken = match name.as_str() {
            "image" => picture.is_some(),
            "limit" => limit.is_some(),
            "offset" => offset.is_some(),
            _ => {
                return Err(Problem::invalid(
                    "The form has the fields image, limit and offset, and no others.",
                ));
            }
        };
        if taken {
            return Err(Problem::invalid(format!("The form has the field \"{name}\" twice.")));
        }
        let bytes = room.read(field).await?;
        match name.as_str() {
            "limit" => limit = Some(number(&name, &bytes)?),
            "offset" => offset = Some(number(&name, &bytes)?),
            _ => picture = Some(bytes),
        }
    }
    let picture =
        picture.ok_or_else(|| Problem::invalid("The form has no file field \"image\"."))?;
    Ok((None, Query::Picture(picture, form.share), window(app, limit, offset)?))
}

fn number(name: &str, bytes: &[u8]) -> Result<u32, Problem> {
    let text = std::str::from_utf8(bytes).ok();
    text.and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| Problem::invalid(format!("\"{name}\" must be a whole number.")))
}
