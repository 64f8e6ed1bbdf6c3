//! `POST /api/v1/search-image`: by words (`text`), by an indexed image (`image_name`), by a picture (multipart `image`), or by
//! several of them together (`queries`).

use std::collections::HashMap;

use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::Caller;
use super::error::Problem;
use super::filter::FilterRequest;
use super::forms::{Form, is_form};
use super::query_parts::{QueryPart, check_text, combined, words_beside};
use super::request::ApiJson;
use super::{SharedApp, image_url, model_not_ready, previews, thumbnail_url};
use crate::search::{
    self, ImageFilter, Learning, Paging, Query, SearchError, SearchOptions, Strength, Window,
};
use crate::types::{ContentHash, ImageName};

/// What to search for: exactly one of `text`, `image_name` and `queries`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchRequest {
    /// Words that say what is on the pictures; at most `limits.text_chars_max` of `/api/v1/status` characters. `-word`,
    /// `-"two words"` and `not:word` are not wanted; quotation marks keep words literally.
    #[schema(example = "tennis", min_length = 1)]
    text: Option<String>,
    /// Name of an indexed image, to find others like it.
    image_name: Option<String>,
    /// Words and indexed images that are searched for together; at most `limits.queries_max` of `/api/v1/status`.
    queries: Option<Vec<QueryPart>>,
    /// How many matches to answer with at most; `search.limit_default` of the configuration if missing.
    #[schema(minimum = 1)]
    limit: Option<u32>,
    /// How many of the best matches to leave out, for further pages.
    offset: Option<u32>,
    /// Whether to say how surely each match is one, and how many are strong. On if missing and there are `queries`.
    strength: Option<bool>,
    /// Whether to show near-duplicates as one match, with the others behind it. On if missing and there are `queries`.
    collapse: Option<bool>,
    /// Only pictures of which all of this holds.
    filter: Option<FilterRequest>,
    /// Whether pictures whose file, folders or camera are called like the words come first or beside the best; they do if missing.
    names: Option<bool>,
    /// Pages that stay stable while pictures come and go, to any depth at the same speed: empty for the first one, then the
    /// `next` of the page before, with the same search again. In place of an offset.
    after: Option<String>,
    /// Whether what was rated before moves pictures up and down; it does if missing.
    learn: Option<bool>,
    /// The `jwt` of the answer before: the images that were rated under it come first, or last.
    refine: Option<String>,
}

/// A picture to search by, as a form. Each field may be there only once.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the multipart body in the API document")]
pub(super) struct SearchByPicture {
    /// The picture's bytes, in any format that is indexed too.
    #[schema(value_type = String, format = Binary)]
    image: Vec<u8>,
    /// Words beside the picture, with the same weight.
    text: Option<String>,
    /// Further parts, as a JSON list. The one with `picture` gives the weight of `image`, which is 1 if there is none.
    #[schema(value_type = Option<Vec<QueryPart>>)]
    queries: Option<String>,
    /// How many matches to answer with at most; `search.limit_default` of the configuration if missing.
    #[schema(minimum = 1, nullable = false)]
    limit: Option<u32>,
    /// How many of the best matches to leave out, for further pages.
    #[schema(nullable = false)]
    offset: Option<u32>,
    /// Whether to say how surely each match is one, and how many are strong. On if missing and there is more than the picture.
    strength: Option<bool>,
    /// Whether to show near-duplicates as one match. On if missing and there is more than the picture.
    collapse: Option<bool>,
    /// A filter as JSON, see the JSON request.
    #[schema(value_type = Option<String>)]
    filter: Option<String>,
    /// Empty for the first page, then the `next` of the page before; in place of an offset.
    after: Option<String>,
    /// Whether what was rated before moves pictures up and down; it does if missing.
    #[schema(nullable = false)]
    learn: Option<bool>,
    /// The `jwt` of the answer before: the images that were rated under it come first, or last.
    refine: Option<String>,
}

/// The ranking, and the token that allows to rate it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SearchResponse {
    /// The `text` of the request, if it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Display name of the model that compared words and pictures.
    #[schema(example = "CLIP")]
    model_name: String,
    /// The pictures found, best first.
    matches: Vec<Match>,
    /// How many pictures are strong matches, also beyond these; no more than `search.strong_total_max` are counted. Only if
    /// `strength` is on and the library is large enough to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    strong_total: Option<u32>,
    /// To be sent with the rating of this very answer.
    jwt: String,
    /// The `after` of the next page, if `after` was sent and there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// How many ratings the order comes from; missing if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    learned_from: Option<u32>,
    /// Number of the decision that learning goes by (`decided.learning` of the report on quality); missing where nothing was learned, or
    /// decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    learning_version: Option<i64>,
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
    /// A ThumbHash of it, as base64: 5 to 30 bytes that paint its colours until it is there. Missing if it was not made yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    preview: Option<String>,
    /// The first further images with the same content, in alphabetical order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    other_names: Vec<ImageName>,
    /// How many further images have the same content, counted up to 10000. `/api/v1/other-names` has them all.
    other_names_total: u64,
    /// How surely it is a match. Only if `strength` is on and the library is large enough to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    strength: Option<MatchStrength>,
    /// Further matches that look nearly the same, best first. Only if `collapse` is on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(no_recursion)]
    near_duplicates: Vec<Match>,
}

/// How surely a match is one, compared with what the query finds in a sample of the library, and with what words without
/// meaning find: hardly any of those find a `strong` one, and half of them find no `fair` one.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum MatchStrength {
    Strong,
    Fair,
    Weak,
}

impl From<Strength> for MatchStrength {
    fn from(strength: Strength) -> Self {
        match strength {
            Strength::Strong => Self::Strong,
            Strength::Fair => Self::Fair,
            Strength::Weak => Self::Weak,
        }
    }
}

impl Match {
    fn of(found: search::Match, previews: &HashMap<ContentHash, String>) -> Self {
        let near = found.near_duplicates.into_iter();
        Self {
            image_url: image_url(&found.image_name, &found.hash),
            thumbnail_url: thumbnail_url(&found.image_name, &found.hash),
            image_name: found.image_name,
            score: found.score,
            width: found.width,
            height: found.height,
            preview: previews.get(&found.hash).cloned(),
            other_names: found.other_names,
            other_names_total: found.other_names_total,
            strength: found.strength.map(MatchStrength::from),
            near_duplicates: near.map(|near| Self::of(near, previews)).collect(),
        }
    }
}

/// What a request is, read and checked.
struct Wanted {
    /// What the answer repeats.
    text: Option<String>,
    query: Query,
    window: Window,
    options: SearchOptions,
}

/// Search pictures by words, by an indexed image, by a picture, or by several of them together.
///
/// Send words, the name of an indexed image or `queries` as JSON, or a picture as a form, perhaps with words beside it.
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
    let viewer = request.extensions().get::<Caller>().map(|caller| caller.pseudonym.clone());
    let Wanted { text, query, window, mut options } = if is_form(&request) {
        picture_query(&app, request).await?
    } else {
        json_query(&app, request).await?
    };
    options.learning.viewer = viewer;
    let answer =
        app.searcher.search_with(query, window, options).await.map_err(|error| match error {
            SearchError::ModelNotReady => model_not_ready(&app),
            other => other.into(),
        })?;
    let search::Answer { model_name, matches, strong_total, jwt, next, learned_from } = answer;
    let learned_from = Some(learned_from).filter(|ratings| *ratings > 0);
    let version = app.searcher.learning_version().number;
    let learning_version = learned_from.and(Some(version)).filter(|number| *number > 0);
    let hashes: Vec<_> = matches
        .iter()
        .flat_map(|found| std::iter::once(found).chain(&found.near_duplicates))
        .map(|found| found.hash)
        .collect();
    let previews = previews::of(&app, &hashes).await?;
    let matches = matches.into_iter().map(|found| Match::of(found, &previews)).collect();
    let next = next.map(|next| next.to_string());
    Ok(axum::Json(SearchResponse {
        text,
        model_name,
        matches,
        strong_total,
        jwt,
        next,
        learned_from,
        learning_version,
    }))
}

async fn json_query(app: &SharedApp, mut request: Request) -> Result<Wanted, Problem> {
    // The route's body limit is that of pictures; JSON has its own.
    DefaultBodyLimit::max(app.config.server.json_bytes_max).apply(&mut request);
    let ApiJson(wanted) = ApiJson::<SearchRequest>::from_request(request, app).await?;
    let window = window(app, wanted.limit, wanted.offset)?;
    let options = SearchOptions {
        filter: wanted.filter.map(|filter| filter.check(app)).transpose()?,
        names: wanted.names.unwrap_or(true),
        learning: learning(wanted.learn, wanted.refine),
        ..options(
            (wanted.strength, wanted.collapse),
            wanted.queries.is_some(),
            paging(wanted.after, wanted.offset)?,
        )?
    };
    let (text, query) = match (wanted.text, wanted.image_name, wanted.queries) {
        (Some(text), None, None) => {
            check_text(app, &text)?;
            (Some(text.clone()), Query::Text(text))
        }
        (None, Some(name), None) => (None, Query::Like(ImageName::new(name)?)),
        (None, None, Some(parts)) => (None, combined(app, parts, None)?),
        (None, None, None) => {
            return Err(Problem::invalid(
                "Say what to search for: \"text\", \"image_name\", or \"queries\".",
            ));
        }
        _ => {
            return Err(Problem::invalid(
                "Give one of \"text\", \"image_name\" and \"queries\", not several.",
            ));
        }
    };
    Ok(Wanted { text, query, window, options })
}

fn learning(learn: Option<bool>, refine: Option<String>) -> Learning {
    Learning { enabled: learn.unwrap_or(true), refine, ..Learning::default() }
}

/// What goes beyond the first contract is on if the request does, too, or if it is asked for.
fn options(
    (strength, collapse): (Option<bool>, Option<bool>),
    is_combined: bool,
    paging: Paging,
) -> Result<SearchOptions, Problem> {
    let is_paged = paging != Paging::Offset;
    if is_paged && collapse == Some(true) {
        return Err(Problem::invalid("\"collapse\" goes with \"offset\", not with \"after\"."));
    }
    Ok(SearchOptions {
        strength: strength.unwrap_or(is_combined),
        collapse: collapse.unwrap_or(is_combined && !is_paged),
        paging,
        ..SearchOptions::default()
    })
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

/// The fields of a form, each at most once.
#[derive(Default)]
struct Fields {
    picture: Option<Vec<u8>>,
    text: Option<String>,
    queries: Option<Vec<QueryPart>>,
    limit: Option<u32>,
    offset: Option<u32>,
    strength: Option<bool>,
    collapse: Option<bool>,
    filter: Option<ImageFilter>,
    after: Option<String>,
    learn: Option<bool>,
    refine: Option<String>,
}

impl Fields {
    fn take(&mut self, app: &SharedApp, name: &str, bytes: Vec<u8>) -> Result<(), Problem> {
        let is_twice = match name {
            "image" => self.picture.replace(bytes).is_some(),
            "text" => self.text.replace(value(name, &bytes, "text in UTF-8")?).is_some(),
            "queries" => self.queries.replace(json_value(name, &bytes)?).is_some(),
            "limit" => self.limit.replace(value(name, &bytes, "a whole number")?).is_some(),
            "offset" => self.offset.replace(value(name, &bytes, "a whole number")?).is_some(),
            "strength" => self.strength.replace(value(name, &bytes, "true or false")?).is_some(),
            "learn" => self.learn.replace(value(name, &bytes, "true or false")?).is_some(),
            "refine" => self.refine.replace(value(name, &bytes, "a jwt")?).is_some(),
            "after" => self.after.replace(value(name, &bytes, "text in UTF-8")?).is_some(),
            "filter" => self.filter.replace(FilterRequest::parse(&bytes)?.check(app)?).is_some(),
            "collapse" => self.collapse.replace(value(name, &bytes, "true or false")?).is_some(),
            _ => {
                return Err(Problem::invalid(
                    "The form has the fields image, text, queries, limit, offset, after, filter, strength, collapse, learn and refine, and no others.",
                ));
            }
        };
        if is_twice {
            return Err(Problem::invalid(format!("The form has the field \"{name}\" twice.")));
        }
        Ok(())
    }
}

async fn picture_query(app: &SharedApp, request: Request) -> Result<Wanted, Problem> {
    let mut form = Form::open(app, request, app.config.server.query_picture_bytes_max).await?;
    let room = form.room();
    let mut fields = Fields::default();
    while let Some(field) = form.next().await? {
        let name = field.name().unwrap_or_default().to_owned();
        // A second picture would be held beside the first, for which alone there is memory.
        if name == "image" && fields.picture.is_some() {
            return Err(Problem::invalid("The form has the field \"image\" twice."));
        }
        let bytes = room.read(field).await?;
        fields.take(app, &name, bytes)?;
    }
    let Fields { picture, text, queries, limit, offset, filter, after, .. } = fields;
    let picture =
        picture.ok_or_else(|| Problem::invalid("The form has no file field \"image\"."))?;
    let picture = Query::Picture(picture, form.share);
    let is_combined = text.is_some() || queries.is_some();
    let query = if is_combined {
        let words = text.as_deref().map(|text| words_beside(app, text)).transpose()?;
        let parts = words.into_iter().flatten().chain(queries.into_iter().flatten()).collect();
        combined(app, parts, Some(picture))?
    } else {
        picture
    };
    let options = SearchOptions {
        filter,
        learning: learning(fields.learn, fields.refine),
        ..options((fields.strength, fields.collapse), is_combined, paging(after, offset)?)?
    };
    Ok(Wanted { text, query, window: window(app, limit, offset)?, options })
}

fn value<T: std::str::FromStr>(name: &str, bytes: &[u8], what: &str) -> Result<T, Problem> {
    let text = std::str::from_utf8(bytes).ok();
    text.and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| Problem::invalid(format!("\"{name}\" must be {what}.")))
}

fn json_value(name: &str, bytes: &[u8]) -> Result<Vec<QueryPart>, Problem> {
    serde_json::from_slice(bytes)
        .map_err(|error| Problem::invalid(format!("\"{name}\" is no list of parts: {error}.")))
}
