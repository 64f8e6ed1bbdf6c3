//! Filters as requests have them: as an object in JSON, or as parameters of an address. Whatever is wrong is said with the field.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::SharedApp;
use super::error::Problem;
use crate::moment::parse_ms;
use crate::search::{ImageFilter, Near, Orientation};
use crate::types::ImageName;

const TEXT_CHARS_MAX: usize = 256;
/// Half of the way around the earth.
const KM_MAX: f64 = 20_040.0;

/// Only pictures of which all of this holds. Of several with the same content, one must fulfil everything.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FilterRequest {
    /// In this folder or one below it.
    #[schema(example = "holidays/2024")]
    folder: Option<String>,
    /// Taken at this moment or later: RFC 3339, or a date, which begins at midnight UTC.
    #[schema(example = "2024-05-01")]
    taken_after: Option<String>,
    /// Taken before this moment.
    taken_before: Option<String>,
    /// First seen at this moment or later.
    added_after: Option<String>,
    /// Of one of these formats, as `/api/v1/image-info` calls them.
    formats: Option<Vec<String>>,
    orientation: Option<OrientationRequest>,
    /// At least so many pixels across.
    #[schema(format = Int64, minimum = 1, maximum = 4_294_967_295_u32)]
    min_width: Option<u32>,
    /// Part of the camera's maker and model, in any case.
    #[schema(example = "eos r5")]
    camera: Option<String>,
    near: Option<NearRequest>,
    /// Part of the name, with its folders, in any case.
    name_contains: Option<String>,
    /// Location of the source, as `/api/v1/status` says it.
    source: Option<String>,
}

/// Which side is the longer one.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum OrientationRequest {
    Landscape,
    Portrait,
    Square,
}

/// Taken within so many kilometres of a place.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NearRequest {
    /// Degrees; north is positive.
    #[schema(minimum = -90, maximum = 90)]
    lat: f64,
    /// Degrees; east is positive.
    #[schema(minimum = -180, maximum = 180)]
    lon: f64,
    /// How far from there at most, along the surface.
    #[schema(minimum = 0, maximum = 20040)]
    km: f64,
}

/// A page of the list, and what it is limited to.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// How many entries the page has at most; 50 if missing.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// How many entries to leave out. To go further than 10000, follow `next`.
    #[param(maximum = 10000)]
    offset: Option<u32>,
    /// The `next` of the page before, in place of an offset.
    after: Option<String>,
    /// In this folder or one below it.
    folder: Option<String>,
    /// Taken at this moment or later: RFC 3339, or a date, which begins at midnight UTC.
    taken_after: Option<String>,
    /// Taken before this moment.
    taken_before: Option<String>,
    /// First seen at this moment or later.
    added_after: Option<String>,
    /// Of one of these formats, with commas between them.
    #[param(example = "jpeg,heif")]
    formats: Option<String>,
    /// `landscape`, `portrait` or `square`.
    #[param(value_type = Option<String>)]
    orientation: Option<OrientationRequest>,
    /// At least so many pixels across.
    #[param(format = Int64, minimum = 1, maximum = 4_294_967_295_u32)]
    min_width: Option<u32>,
    /// Part of the camera's maker and model, in any case.
    camera: Option<String>,
    /// Latitude and longitude in degrees and a distance in kilometres, with commas between them.
    #[param(example = "48.137,11.575,25")]
    near: Option<String>,
    /// Part of the name, with its folders, in any case.
    name_contains: Option<String>,
    /// Location of the source, as `/api/v1/status` says it.
    source: Option<String>,
}

/// As they were sent.
type PageBounds = (Option<u32>, Option<u32>, Option<String>);

impl ListQuery {
    /// Limit, offset and cursor, and the filter.
    pub(super) fn split(self) -> Result<(PageBounds, FilterRequest), Problem> {
        let formats = self.formats.map(|list| list.split(',').map(str::to_owned).collect());
        let near = self.near.map(|text| near_of(&text)).transpose()?;
        let filter = FilterRequest {
            folder: self.folder,
            taken_after: self.taken_after,
            taken_before: self.taken_before,
            added_after: self.added_after,
            formats,
            orientation: self.orientation,
            min_width: self.min_width,
            camera: self.camera,
            near,
            name_contains: self.name_contains,
            source: self.source,
        };
        Ok(((self.limit, self.offset, self.after), filter))
    }
}

fn near_of(text: &str) -> Result<NearRequest, Problem> {
    let numbers: Option<Vec<f64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[lat, lon, km]) => Ok(NearRequest { lat, lon, km }),
        _ => Err(Problem::invalid(
            "near must be latitude, longitude and kilometres, with commas between them.",
        )),
    }
}

impl FilterRequest {
    /// From the text of a form's field.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        serde_json::from_slice(bytes)
            .map_err(|error| Problem::invalid(format!("\"filter\" is no filter as JSON: {error}")))
    }

    /// Checked, and with moments for dates.
    pub(super) fn check(self, app: &SharedApp) -> Result<ImageFilter, Problem> {
        let taken_after_ms = moment("taken_after", self.taken_after)?;
        let taken_before_ms = moment("taken_before", self.taken_before)?;
        if let (Some(after), Some(before)) = (taken_after_ms, taken_before_ms)
            && after >= before
        {
            return Err(Problem::invalid("\"taken_after\" must be earlier than \"taken_before\"."));
        }
        if self.min_width == Some(0) {
            return Err(Problem::invalid("\"min_width\" must be at least 1."));
        }
        let source =
            text("source", self.source)?.map(|source| source_id(app, &source)).transpose()?;
        Ok(ImageFilter {
            folder: text("folder", self.folder)?.map(folder).transpose()?,
            taken_after_ms,
            taken_before_ms,
            added_after_ms: moment("added_after", self.added_after)?,
            formats: formats(self.formats)?,
            orientation: self.orientation.map(Orientation::from),
            min_width: self.min_width,
            camera: text("camera", self.camera)?,
            near: self.near.map(NearRequest::check).transpose()?,
            name_contains: text("name_contains", self.name_contains)?,
            source,
        })
    }
}

impl From<OrientationRequest> for Orientation {
    fn from(orientation: OrientationRequest) -> Self {
        match orientation {
            OrientationRequest::Landscape => Self::Landscape,
            OrientationRequest::Portrait => Self::Portrait,
            OrientationRequest::Square => Self::Square,
        }
    }
}

impl NearRequest {
    fn check(self) -> Result<Near, Problem> {
        let within = |what: &str, value: f64, least: f64, most: f64| {
            (least..=most).contains(&value).then_some(value).ok_or_else(|| {
                Problem::invalid(format!("\"{what}\" of \"near\" must be {least} to {most}."))
            })
        };
        Ok(Near {
            latitude: within("lat", self.lat, -90.0, 90.0)?,
            longitude: within("lon", self.lon, -180.0, 180.0)?,
            km: within("km", self.km, 0.0, KM_MAX)?,
        })
    }
}

/// Sources are known outside by where they are.
fn source_id(app: &SharedApp, location: &str) -> Result<String, Problem> {
    let source = app.sources.iter().find(|source| source.location() == location);
    source.map(|source| source.id().to_owned()).ok_or_else(|| {
        Problem::invalid(format!("There is no source at {location:?}; /api/v1/status lists them."))
    })
}

fn text(field: &str, text: Option<String>) -> Result<Option<String>, Problem> {
    let Some(text) = text else { return Ok(None) };
    // A path may be longer than what anybody types.
    let chars_max = if ["folder", "source"].contains(&field) { usize::MAX } else { TEXT_CHARS_MAX };
    if text.trim().is_empty() || text.chars().count() > chars_max {
        return Err(Problem::invalid(format!(
            "\"{field}\" must have 1 to {TEXT_CHARS_MAX} characters."
        )));
    }
    Ok(Some(text))
}

fn folder(text: String) -> Result<ImageName, Problem> {
    let folder = text.strip_suffix('/').map(str::to_owned).unwrap_or(text);
    ImageName::new(folder).map_err(|_| {
        Problem::invalid(
            "\"folder\" must be a path below the pictures, without empty, \".\" or \"..\" parts.",
        )
    })
}

fn formats(wanted: Option<Vec<String>>) -> Result<Vec<String>, Problem> {
    let wanted = wanted.unwrap_or_default();
    let known = || clip::PictureFormat::ALL.iter().map(|format| format.as_str());
    match wanted.iter().find(|format| known().all(|known| known != format.as_str())) {
        None => Ok(wanted),
        Some(unknown) => Err(Problem::invalid(format!(
            "{unknown:?} is no format; known are {}.",
            known().collect::<Vec<_>>().join(", ")
        ))),
    }
}

/// RFC 3339, or a date or time without an offset, which is taken for UTC.
fn moment(field: &str, text: Option<String>) -> Result<Option<i64>, Problem> {
    let Some(text) = text else { return Ok(None) };
    parse_ms(&text).map(Some).ok_or_else(|| {
        Problem::invalid(format!(
            "\"{field}\" must be a date such as 2024-05-01, or a time such as 2024-05-01T12:00:00Z."
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_addresses_are_three_numbers() {
        assert!(near_of("48.1, 11.5,25").is_ok());
        for wrong in ["", "1,2", "1,2,3,4", "a,b,c"] {
            assert!(near_of(wrong).is_err(), "{wrong}");
        }
        assert!(NearRequest { lat: 91.0, lon: 0.0, km: 1.0 }.check().is_err());
        assert!(NearRequest { lat: f64::NAN, lon: 0.0, km: 1.0 }.check().is_err());
        assert!(NearRequest { lat: 0.0, lon: 0.0, km: -1.0 }.check().is_err());
    }
}
