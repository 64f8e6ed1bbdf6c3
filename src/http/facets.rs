//! `/api/v1/facets`: how many images there are of what a filter can be narrowed down to, for the bar of filters of a page.
//! Counted in `search/facets/counts.rs`.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::SharedApp;
use super::error::Problem;
use super::filter::FilterRequest;
use super::request::ApiJson;
use crate::search::{FacetCounts, ImageFilter, Orientation, PlaceCount};
use crate::types::ImageName;

const NAMES_MAX: usize = 200;

/// Which images are counted: all, if nothing is asked.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"filter": {"taken_after": "2024-01-01"}}))]
pub(super) struct FacetsRequest {
    /// What the images are limited to already. Each part of it is counted as if it were not asked, so that another can be chosen.
    filter: Option<FilterRequest>,
    /// Count only among these, for example the matches of a search. Those that are not there do not count.
    #[schema(max_items = 200)]
    image_names: Option<Vec<String>>,
}

/// How many images there are of what the filter can be narrowed down to.
#[derive(Serialize, ToSchema)]
pub(super) struct ImageFacetCounts {
    /// Images that match the filter.
    total: u64,
    /// By the month in which they were taken, for example `2024-05` (UTC), in their order; those without images are missing.
    months: Vec<FacetCount>,
    /// Folders, each with the images of those below it: the 500 with the most images, in alphabetical order.
    folders: Vec<FacetCount>,
    /// Makers and models of cameras: the 500 with the most images, in alphabetical order.
    cameras: Vec<FacetCount>,
    /// Formats of files, in alphabetical order.
    formats: Vec<FacetCount>,
    /// `landscape`, `portrait` and `square`, as far as there are any.
    orientations: Vec<FacetCount>,
    /// Where they were taken: the 24 places with the most images, those first. Images whose place is not known are at none.
    places: Vec<PlaceEntry>,
}

/// A place to choose. Near each other, some images are at both.
#[derive(Serialize, ToSchema)]
struct PlaceEntry {
    /// Degrees to the north.
    lat: f64,
    /// Degrees to the east.
    lon: f64,
    /// How far around, in kilometres; with both above it is `near` of a filter.
    km: f64,
    /// So many images it leaves.
    images: u64,
    /// The folder that more than half of them are in; missing if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
}

impl From<PlaceCount> for PlaceEntry {
    fn from(PlaceCount { near, images, folder }: PlaceCount) -> Self {
        Self { lat: near.latitude, lon: near.longitude, km: near.km, images, folder }
    }
}

/// One choice.
#[derive(Serialize, ToSchema)]
struct FacetCount {
    /// As the filter takes it; of a month, as its days begin.
    #[schema(example = "holidays/2024")]
    value: String,
    /// So many images it leaves.
    images: u64,
}

impl From<FacetCounts> for ImageFacetCounts {
    fn from(counts: FacetCounts) -> Self {
        let list = |counts: Vec<(String, u64)>| {
            counts.into_iter().map(|(value, images)| FacetCount { value, images }).collect()
        };
        let orientations = counts.orientations.into_iter();
        let orientations =
            orientations.map(|(orientation, images)| (name(orientation).to_owned(), images));
        Self {
            total: counts.total,
            months: list(counts.months),
            folders: list(counts.folders),
            cameras: list(counts.cameras),
            formats: list(counts.formats),
            orientations: list(orientations.collect()),
            places: counts.places.into_iter().map(PlaceEntry::from).collect(),
        }
    }
}

fn name(orientation: Orientation) -> &'static str {
    match orientation {
        Orientation::Landscape => "landscape",
        Orientation::Portrait => "portrait",
        Orientation::Square => "square",
    }
}

/// Count what a filter can be narrowed down to.
#[utoipa::path(
    post, path = "/api/v1/facets", tag = "images", request_body = FacetsRequest,
    responses(
        (status = 200, body = ImageFacetCounts, description = "Counts of images by month, folder, camera, format, shape and place."),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "The body is no JSON, or did not arrive completely."),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "The body is too large."),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "The body is not sent as JSON."),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "The filter is wrong, or a name cannot be that of an image.")
    )
)]
pub(super) async fn facets(
    State(app): State<SharedApp>,
    ApiJson(asked): ApiJson<FacetsRequest>,
) -> Result<axum::Json<ImageFacetCounts>, Problem> {
    let filter = match asked.filter {
        Some(filter) => filter.check(&app)?,
        None => ImageFilter::default(),
    };
    let counts = match asked.image_names {
        Some(names) if names.len() > NAMES_MAX => {
            return Err(Problem::invalid(format!(
                "\"image_names\" may have at most {NAMES_MAX} names."
            )));
        }
        Some(names) => {
            let names = names.into_iter().map(ImageName::new).collect::<Result<Vec<_>, _>>()?;
            app.searcher.facets_among(&filter, &names).await?
        }
        None => app.searcher.facets(&filter).await?,
    };
    Ok(axum::Json(counts.into()))
}
