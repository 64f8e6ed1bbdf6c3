//! What `search` can be limited to: options of the command line, and the filter of the API that they become. Whether a value
//! makes sense is for the API to say, in the same words for everybody.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::api_client::Api;
use super::picture_paths::name_of;

#[derive(Args)]
#[command(next_help_heading = "Only pictures")]
pub(super) struct FilterArgs {
    /// in this folder or one below it: as names begin, or a path on this machine
    #[arg(long, value_name = "FOLDER")]
    folder: Option<String>,
    /// taken on this day or later: 2024-05-01, or a moment, 2024-05-01T18:00:00+02:00
    #[arg(long, value_name = "DATE")]
    after: Option<String>,
    /// taken before this day or moment
    #[arg(long, value_name = "DATE")]
    before: Option<String>,
    /// taken with this camera: part of its maker and model
    #[arg(long)]
    camera: Option<String>,
    /// of these formats, with commas between them: jpeg,heif
    #[arg(long, value_name = "FORMATS", value_delimiter = ',')]
    format: Vec<String>,
    /// of this shape
    #[arg(long)]
    orientation: Option<OrientationArg>,
    /// taken near this place: degrees north and east, and a distance, 48.137,11.575,25
    #[arg(long, value_name = "LAT,LON,KM", value_parser = near, allow_hyphen_values = true)]
    near: Option<Near>,
}

#[derive(Clone, Copy, ValueEnum)]
enum OrientationArg {
    Landscape,
    Portrait,
    Square,
}

#[derive(Clone, Copy)]
struct Near {
    lat: f64,
    lon: f64,
    km: f64,
}

fn near(text: &str) -> Result<Near, String> {
    let numbers: Option<Vec<f64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[lat, lon, km]) => Ok(Near { lat, lon, km }),
        _ => {
            Err("give latitude, longitude and kilometres, for example 48.137,11.575,25".to_owned())
        }
    }
}

impl FilterArgs {
    /// As the API takes it; `None` if nothing is asked.
    pub(super) async fn of(&self, api: &Api) -> anyhow::Result<Option<Value>> {
        let folder = match &self.folder {
            Some(folder) => folder_name(folder, &api.folders().await?),
            None => None,
        };
        Ok(self.with_folder(folder))
    }

    fn with_folder(&self, folder: Option<String>) -> Option<Value> {
        let orientation =
            self.orientation.and_then(|one| Some(one.to_possible_value()?.get_name().to_owned()));
        let near = self.near.map(|Near { lat, lon, km }| json!({"lat": lat, "lon": lon, "km": km}));
        let formats = (!self.format.is_empty()).then(|| {
            let formats = self.format.iter().map(|format| format.trim().to_lowercase());
            json!(formats.map(|format| known_as(&format).to_owned()).collect::<Vec<_>>())
        });
        let asked = [
            ("folder", folder.map(Value::from)),
            ("taken_after", self.after.clone().map(Value::from)),
            ("taken_before", self.before.clone().map(Value::from)),
            ("camera", self.camera.clone().map(Value::from)),
            ("formats", formats),
            ("orientation", orientation.map(Value::from)),
            ("near", near),
        ];
        let asked: serde_json::Map<String, Value> =
            asked.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
        (!asked.is_empty()).then_some(Value::Object(asked))
    }
}

/// What files are called after is not always the format's name.
fn known_as(format: &str) -> &str {
    match format {
        "jpg" => "jpeg",
        "heic" => "heif",
        "tif" => "tiff",
        other => other,
    }
}

/// A path on this machine becomes the name that pictures there begin with; `None` is all of them.
fn folder_name(folder: &str, sources: &[PathBuf]) -> Option<String> {
    match name_of(sources, Path::new(folder)) {
        Some(name) if name.is_empty() => None,
        Some(name) => Some(name),
        None => Some(folder.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        filter: FilterArgs,
    }

    fn asked(line: &[&str]) -> Option<Value> {
        let line = Line::try_parse_from([&["search"], line].concat()).expect("a command line");
        line.filter.with_folder(line.filter.folder.clone())
    }

    #[test]
    fn options_become_the_filter_of_the_api() {
        assert_eq!(asked(&[]), None);
        let dates = ["--folder", "2024/rome", "--after", "2024-05-01", "--before", "2024-06-01"];
        assert_eq!(
            asked(&dates),
            Some(json!({
                "folder": "2024/rome", "taken_after": "2024-05-01", "taken_before": "2024-06-01"
            }))
        );
        let others = ["--camera", "eos", "--format", "JPG,heic", "--format", "png"];
        assert_eq!(
            asked(
                &[&others[..], &["--orientation", "portrait", "--near", "-33.9,18.4,5"]].concat()
            ),
            Some(json!({
                "camera": "eos", "formats": ["jpeg", "heif", "png"], "orientation": "portrait",
                "near": {"lat": -33.9, "lon": 18.4, "km": 5.0}
            }))
        );
        for wrong in ["48", "48,11", "a,b,c", "1,2,3,4"] {
            assert!(Line::try_parse_from(["search", "--near", wrong]).is_err(), "{wrong}");
        }
    }
}
