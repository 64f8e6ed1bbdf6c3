//! What a search or a list can be limited to. Everything asked must hold of one and the same image: of two copies of a picture,
//! one in the folder and one taken in the year do not make a match together.

use std::cmp::Ordering;

use crate::catalog::ImageFacets;
use crate::types::ImageName;

const EARTH_RADIUS_KM: f64 = 6371.0;

/// What is asked of an image; what is `None` (or empty) is not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImageFilter {
    /// In this folder or one below it.
    pub folder: Option<ImageName>,
    /// At this moment or later.
    pub taken_after_ms: Option<i64>,
    /// Before this moment.
    pub taken_before_ms: Option<i64>,
    /// First seen at this moment or later.
    pub added_after_ms: Option<i64>,
    /// One of these.
    pub formats: Vec<String>,
    pub orientation: Option<Orientation>,
    pub min_width: Option<u32>,
    /// Part of maker and model, in whatever case.
    pub camera: Option<String>,
    pub near: Option<Near>,
    /// Part of the name, folders included, in whatever case.
    pub name_contains: Option<String>,
    /// Id of the source.
    pub source: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Orientation {
    Landscape,
    Portrait,
    Square,
}

/// A circle on earth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Near {
    pub latitude: f64,
    pub longitude: f64,
    pub km: f64,
}

impl ImageFilter {
    /// Whether it leaves everything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn matches(&self, image: &ImageFacets) -> bool {
        let name = image.name.as_str();
        let (folder, _) = name.rsplit_once('/').unwrap_or(("", name));
        let contained = lower(self.name_contains.as_deref());
        self.matches_numbers(image.taken_ms, image.added_ms, (image.width, image.height))
            && self.has_folder(folder)
            && self.has_format(&image.format)
            && self.has_camera(image.camera.as_deref().unwrap_or_default())
            && self.source.as_ref().is_none_or(|source| *source == image.source)
            && self.has_place(image.place)
            && contained.is_none_or(|part| name.to_lowercase().contains(&part))
    }

    pub(super) fn matches_numbers(
        &self,
        taken_ms: i64,
        added_ms: i64,
        (width, height): (u32, u32),
    ) -> bool {
        self.taken_after_ms.is_none_or(|after| taken_ms >= after)
            && self.taken_before_ms.is_none_or(|before| taken_ms < before)
            && self.added_after_ms.is_none_or(|after| added_ms >= after)
            && self.min_width.is_none_or(|least| width >= least)
            && self.orientation.is_none_or(|orientation| orientation.is_of(width, height))
    }

    pub(super) fn has_folder(&self, folder: &str) -> bool {
        self.folder.as_ref().is_none_or(|wanted| {
            let below = folder.strip_prefix(wanted.as_str());
            below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    pub(super) fn has_format(&self, format: &str) -> bool {
        self.formats.is_empty() || self.formats.iter().any(|wanted| wanted == format)
    }

    pub(super) fn has_camera(&self, camera: &str) -> bool {
        lower(self.camera.as_deref()).is_none_or(|part| camera.to_lowercase().contains(&part))
    }

    pub(super) fn has_place(&self, place: Option<(f64, f64)>) -> bool {
        self.near.is_none_or(|near| {
            place.is_some_and(|(latitude, longitude)| near.km_to(latitude, longitude) <= near.km)
        })
    }
}

pub(super) fn lower(text: Option<&str>) -> Option<String> {
    text.map(str::to_lowercase)
}

impl Orientation {
    pub(super) fn of(width: u32, height: u32) -> Self {
        match width.cmp(&height) {
            Ordering::Greater => Self::Landscape,
            Ordering::Less => Self::Portrait,
            Ordering::Equal => Self::Square,
        }
    }

    fn is_of(self, width: u32, height: u32) -> bool {
        self == Self::of(width, height)
    }
}

impl Near {
    /// Along the surface.
    pub(super) fn km_to(&self, latitude: f64, longitude: f64) -> f64 {
        let (own, other) = (self.latitude.to_radians(), latitude.to_radians());
        let north = ((other - own) / 2.0).sin();
        let east = ((longitude - self.longitude).to_radians() / 2.0).sin();
        let chord = north * north + own.cos() * other.cos() * east * east;
        2.0 * EARTH_RADIUS_KM * chord.sqrt().min(1.0).asin()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_globe() {
        let munich = Near { latitude: 48.137, longitude: 11.575, km: 0.0 };
        let berlin = munich.km_to(52.52, 13.405);
        assert!((berlin - 504.0).abs() < 2.0, "{berlin}");
        let over_the_date_line = Near { latitude: 0.0, longitude: 179.9, km: 0.0 };
        assert!(over_the_date_line.km_to(0.0, -179.9) < 30.0);
        assert!(munich.km_to(-48.137, -168.425) > 20_000.0, "the other side");
    }

    #[test]
    fn folders_are_whole_and_orientations_exclude_each_other() {
        let folder = |text: &str| ImageFilter {
            folder: Some(ImageName::new(text).expect("valid")),
            ..ImageFilter::default()
        };
        assert!(folder("a").has_folder("a") && folder("a").has_folder("a/b"));
        assert!(
            !folder("a").has_folder("ab")
                && !folder("a").has_folder("")
                && !folder("a/b").has_folder("a")
        );
        for (width, height) in [(2, 1), (1, 2), (1, 1)] {
            let all = [Orientation::Landscape, Orientation::Portrait, Orientation::Square];
            assert_eq!(all.iter().filter(|one| one.is_of(width, height)).count(), 1);
        }
    }
}
