//! `/api/v1/suggestions`: what a half-typed text may become, for a field that helps while words are typed, and words to try.
//! Where it is looked for stands in `search/suggestions.rs`.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::SharedApp;
use super::error::Problem;
use super::request::ApiQuery;
use crate::search::{Language, Suggestion, SuggestionKind};

const LIMIT_DEFAULT: u32 = 8;
const LIMIT_MAX: u32 = 20;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct HalfTyped {
    /// What was typed so far. Missing: words to try, that find something in this library.
    #[param(example = "hol", max_length = 256)]
    text: Option<String>,
    /// At most so many; 8 if missing.
    #[param(minimum = 1, maximum = 20)]
    limit: Option<u32>,
    /// In which language words to try are called, as far as the model understands it; English if missing.
    #[param(inline)]
    language: Option<Language>,
}

/// Where the words of a text stand in this library.
#[derive(Serialize, ToSchema)]
pub(super) struct Suggestions {
    /// Words first, then folders, then cameras, then names of files.
    suggestions: Vec<SuggestionEntry>,
}

/// One thing that the text may become.
#[derive(Serialize, ToSchema)]
struct SuggestionEntry {
    kind: SuggestionKindEntry,
    /// A word that finds something here; a folder with those above it, as the filter takes it; a camera; or the words that a file is called by.
    #[schema(example = "holidays/2024")]
    text: String,
}

/// What a suggestion is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum SuggestionKindEntry {
    /// Of a built-in list of what people look for; it has a strong match here.
    Word,
    Folder,
    Camera,
    Name,
}

impl From<Suggestion> for SuggestionEntry {
    fn from(Suggestion { kind, text }: Suggestion) -> Self {
        let kind = match kind {
            SuggestionKind::Word => SuggestionKindEntry::Word,
            SuggestionKind::Folder => SuggestionKindEntry::Folder,
            SuggestionKind::Camera => SuggestionKindEntry::Camera,
            SuggestionKind::Name => SuggestionKindEntry::Name,
        };
        Self { kind, text }
    }
}

/// Suggest words that find something, and folders, cameras and names that have the words of a half-typed text.
#[utoipa::path(
    get, path = "/api/v1/suggestions", tag = "search", params(HalfTyped),
    responses(
        (status = 200, body = Suggestions, description = "What the text may become; nothing for texts of less than two letters."),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A parameter is out of bounds.")
    )
)]
pub(super) async fn suggest(
    State(app): State<SharedApp>,
    ApiQuery(typed): ApiQuery<HalfTyped>,
) -> Result<axum::Json<Suggestions>, Problem> {
    let limit = typed.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::invalid(format!("limit must be 1 to {LIMIT_MAX}.")));
    }
    let found = match typed.text {
        Some(text) => {
            let chars_max = app.config.search.text_chars_max;
            if text.chars().count() > chars_max {
                return Err(Problem::invalid(format!(
                    "text must have at most {chars_max} characters."
                )));
            }
            app.searcher.suggestions(&text, limit as usize).await?
        }
        None => {
            let language = typed.language.unwrap_or(Language::En);
            app.searcher.words_to_try(language, limit as usize).await?
        }
    };
    let suggestions = found.into_iter().map(SuggestionEntry::from).collect();
    Ok(axum::Json(Suggestions { suggestions }))
}
