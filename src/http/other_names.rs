//! All copies of a picture, page by page: answers of searches have only the first ones, since a picture may have thousands.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::SharedApp;
use super::error::Problem;
use super::images::{PAGE_MAX, find, no_image};
use super::request::ApiQuery;
use crate::types::ImageName;

const LIMIT_DEFAULT: u32 = 50;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct WhichCopies {
    /// Name of the image, as a match or a list has it.
    #[param(min_length = 1)]
    image_name: String,
    /// How many names the page has at most; 50 if missing.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A page of the names of a picture's copies.
#[derive(Serialize, ToSchema)]
pub(super) struct OtherNames {
    /// The names of this page, in alphabetical order.
    #[schema(value_type = Vec<String>)]
    other_names: Vec<ImageName>,
    /// The `after` of the next page; missing behind the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    next: Option<ImageName>,
}

/// List the other images with the content of one.
#[utoipa::path(
    get, path = "/api/v1/other-names", tag = "images", params(WhichCopies),
    responses(
        (status = 200, body = OtherNames, description = "A page of names."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no indexed image of that name."),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A parameter is out of bounds, or cannot be the name of an image.")
    )
)]
pub(super) async fn other_names(
    State(app): State<SharedApp>,
    ApiQuery(wanted): ApiQuery<WhichCopies>,
) -> Result<axum::Json<OtherNames>, Problem> {
    let limit = wanted.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::invalid(format!("limit must be 1 to {PAGE_MAX}.")));
    }
    let after = wanted.after.map(ImageName::new).transpose()?;
    let row = find(&app, ImageName::new(wanted.image_name)?).await?.ok_or_else(no_image)?;
    let hash = row.hash.ok_or_else(no_image)?;
    // The image itself may be among them, and one more tells whether there is a next page.
    let mut names = app.catalog.names_of(&hash, after.as_ref(), limit + 2).await?;
    names.retain(|name| *name != row.name);
    let more = names.len() > limit as usize;
    names.truncate(limit as usize);
    let next = names.last().filter(|_| more).cloned();
    Ok(axum::Json(OtherNames { other_names: names, next }))
}
