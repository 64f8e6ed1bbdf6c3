//! The parts of a combined query, as requests name them: checked against the limits, and made what searches take.

use serde::Deserialize;
use utoipa::ToSchema;

use super::SharedApp;
use super::error::Problem;
use crate::search::{Part, Query, parts_of};
use crate::types::ImageName;

/// One part of a query: exactly one of `text`, `image_name` and `picture`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QueryPart {
    /// Words, taken as they are.
    #[schema(example = "dog")]
    text: Option<String>,
    /// Name of an indexed image.
    image_name: Option<String>,
    /// `true` stands for the picture of the form.
    picture: Option<bool>,
    /// How much it counts, from -1 to 1; below 0 it is not wanted. 1 if missing.
    #[schema(minimum = -1, maximum = 1)]
    weight: Option<f32>,
}

impl From<Part> for QueryPart {
    fn from(part: Part) -> Self {
        let text = if let Query::Text(words) = part.query { Some(words) } else { None };
        Self { text, weight: Some(part.weight), ..Self::default() }
    }
}

pub(super) fn check_text(app: &SharedApp, text: &str) -> Result<(), Problem> {
    let chars_max = app.config.search.text_chars_max;
    if text.trim().is_empty() {
        return Err(Problem::invalid("\"text\" must not be empty."));
    }
    if text.chars().count() > chars_max {
        return Err(Problem::invalid(format!("\"text\" has more than {chars_max} characters.")));
    }
    Ok(())
}

/// The words beside a picture, of which some may not be wanted.
pub(super) fn words_beside(app: &SharedApp, text: &str) -> Result<Vec<QueryPart>, Problem> {
    check_text(app, text)?;
    Ok(parts_of(text).into_iter().map(QueryPart::from).collect())
}

/// A query of these parts, and of the picture of the form, if there is one.
pub(super) fn combined(
    app: &SharedApp,
    wanted: Vec<QueryPart>,
    mut picture: Option<Query>,
) -> Result<Query, Problem> {
    let config = &app.config.search;
    if wanted.is_empty() && picture.is_none() {
        return Err(Problem::invalid("\"queries\" must not be empty."));
    }
    let chars =
        wanted.iter().filter_map(|part| part.text.as_ref()).map(|text| text.chars().count());
    if chars.sum::<usize>() > config.text_chars_max {
        return Err(Problem::invalid(format!(
            "The texts of \"queries\" have more than {} characters together.",
            config.text_chars_max
        )));
    }
    let mut parts = Vec::with_capacity(wanted.len() + 1);
    for part in wanted {
        parts.push(read(app, part, &mut picture)?);
    }
    // A picture that no part gives a weight counts fully.
    parts.extend(picture.map(|query| Part { query, weight: 1.0 }));
    if parts.len() > config.queries_max {
        return Err(Problem::invalid(format!(
            "A query has at most {} parts, not {}.",
            config.queries_max,
            parts.len()
        )));
    }
    Ok(Query::Combined(parts))
}

fn read(app: &SharedApp, part: QueryPart, picture: &mut Option<Query>) -> Result<Part, Problem> {
    let weight = part.weight.unwrap_or(1.0);
    if !(-1.0..=1.0).contains(&weight) {
        return Err(Problem::invalid("\"weight\" must be -1 to 1."));
    }
    let query = match (part.text, part.image_name, part.picture) {
        (Some(text), None, None) => {
            check_text(app, &text)?;
            Query::Text(text)
        }
        (None, Some(name), None) => Query::Like(ImageName::new(name)?),
        (None, None, Some(true)) => picture.take().ok_or_else(|| {
            Problem::invalid("\"picture\" stands for the file field \"image\" of a form, once.")
        })?,
        _ => {
            return Err(Problem::invalid(
                "Each part of \"queries\" is one of \"text\", \"image_name\" and \"picture\".",
            ));
        }
    };
    Ok(Part { query, weight })
}
