//! `POST /api/v1/search-image`: by words (`text`), by an indexed image (`image_name`), or by a picture (multipart `image`).

use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::header;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::Problem;
use super::filter::FilterRequest;
use super::forms::Form;
use super::request::ApiJson;
use super::{SharedApp, image_url, model_not_ready, thumbnail_url};
use crate::search::{self, Paging, Query, SearchError, SearchOptions, Window};
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
    /// Only pictures of which all of this holds.
    filter: Option<FilterRequest>,
    /// Whether pictures whose file, folders or camera are called like the words come first or beside the best; they do if missing.
    names: Option<bool>,
    /// Pages that stay stable while pictures come and go, to any depth at the same speed: empty for the first one, then the
    /// `next` of the page before, with the same search again. In place of an offset.
    after: Option<String>,
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
    /// A filter as JSON, see the JSON request.
    #[schema(value_type = Option<String>)]
    filter: Option<String>,
    /// Empty for the first page, then the `next` of the page before; in place of an offset.
    after: Option<String>,
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
    /// The `after` of the next page, if `after` was sent and there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
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
    let (text, query, window, options) = if kind.starts_with("multipart/form-data") {
        picture_query(&app, request).await?
    } else {
        json_query(&app, request).await?
    };
    let answer =
        app.searcher.search_with(query, window, options).await.map_err(|error| match error {
            SearchError::ModelNotReady => model_not_ready(&app),
            other => other.into(),
        })?;
    let matches = answer.matches.into_iter().map(Match::from).collect();
    Ok(axum::Json(SearchResponse {
        text,
        model_name: answer.model_name,
        matches,
        jwt: answer.jwt,
        next: answer.next.map(|next| next.to_string()),
    }))
}

async fn json_query(
    app: &SharedApp,
    mut request: Request,
) -> Result<(Option<String>, Query, Window, SearchOptions), Problem> {
    // The route's body limit is that of pictures; JSON has its own.
    DefaultBodyLimit::max(app.config.server.json_bytes_max).apply(&mut request);
    let ApiJson(wanted) = ApiJson::<SearchRequest>::from_request(request, app).await?;
    let window = window(app, wanted.limit, wanted.offset)?;
    let paging = paging(wanted.after, wanted.offset)?;
    let filter = wanted.filter.map(|filter| filter.check(app)).transpose()?;
    let options = SearchOptions { filter, names: wanted.names.unwrap_or(true), paging };
    match (wanted.text, wanted.image_name) {
        (Some(text), None) => {
            check_text(app, &text)?;
            Ok((Some(text.clone()), Query::Text(text), window, options))
        }
        (None, Some(name)) => Ok((None, Query::Like(ImageName::new(name)?), window, options)),
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

/// Empty: the first page.
fn paging(after: Option<String>, offset: Option<u32>) -> Result<Paging, Problem> {
    match (after, offset) {
        (None, _) => Ok(Paging::Offset),
        (Some(_), Some(_)) => Err(Problem::invalid("Send \"after\" or \"offset\", not both.")),
        (Some(after), None) if after.is_empty() => Ok(Paging::FirstPage),
        (Some(after), None) => {
            after.parse().map(Paging::After).map_err(|error| SearchError::Cursor(error).into())
        }
    }
}

async fn picture_query(
    app: &SharedApp,
    request: Request,
) -> Result<(Option<String>, Query, Window, SearchOptions), Problem> {
    let mut form = Form::open(app, request, app.config.server.query_picture_bytes_max).await?;
    let room = form.room();
    let (mut picture, mut limit, mut offset) = (None, None, None);
    let (mut filter, mut after) = (None, None);
    while let Some(field) = form.next().await? {
        let name = field.name().unwrap_or_default().to_owned();
        let taken = match name.as_str() {
            "image" => picture.is_some(),
            "limit" => limit.is_some(),
            "offset" => offset.is_some(),
            "filter" => filter.is_some(),
            "after" => after.is_some(),
            _ => {
                return Err(Problem::invalid(
                    "The form has the fields image, limit, offset, filter and after, and no others.",
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
            "filter" => filter = Some(FilterRequest::parse(&bytes)?.check(app)?),
            "after" => after = Some(String::from_utf8_lossy(&bytes).into_owned()),
            _ => picture = Some(bytes),
        }
    }
    let picture =
        picture.ok_or_else(|| Problem::invalid("The form has no file field \"image\"."))?;
    let options =
        SearchOptions { filter, paging: paging(after, offset)?, ..SearchOptions::default() };
    Ok((None, Query::Picture(picture, form.share), window(app, limit, offset)?, options))
}

fn number(name: &str, bytes: &[u8]) -> Result<u32, Problem> {
    let text = std::str::from_utf8(bytes).ok();
    text.and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| Problem::invalid(format!("\"{name}\" must be a whole number.")))
}
