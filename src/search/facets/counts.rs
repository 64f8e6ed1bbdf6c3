//! How many images there are of each month, folder, camera, format and shape: what a filter can be narrowed down to next.

use std::collections::HashMap;
use std::hash::Hash;

use jiff::tz::TimeZone;

use super::super::filter::{ImageFilter, Orientation};
use super::{PlaceCount, Row, Table, Test};
use crate::catalog::{FacetChanges, ImageFacets};

/// Most folders, and most cameras: those with the most images.
const TEXTS_MAX: usize = 500;

/// Of each part of the filter what is left by all others, so that another choice can be made instead.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FacetCounts {
    /// Images that match the whole filter.
    pub total: u64,
    /// By month, as `2024-05` in UTC, in their order; those without images are missing.
    pub months: Vec<(String, u64)>,
    /// With their images and those of the folders below.
    pub folders: Vec<(String, u64)>,
    pub cameras: Vec<(String, u64)>,
    pub formats: Vec<(String, u64)>,
    pub orientations: Vec<(Orientation, u64)>,
    /// Where they were taken, those with the most images first.
    pub places: Vec<PlaceCount>,
}

impl Table {
    /// One of just these images.
    pub(super) fn of(images: Vec<ImageFacets>) -> Self {
        let sources = images.iter().map(|image| image.source.clone()).collect();
        let mut table = Self::default();
        table.apply(FacetChanges { now: images, sources, ..FacetChanges::default() });
        table
    }

    pub(super) fn count(&self, filter: &ImageFilter) -> FacetCounts {
        let other = |change: fn(&mut ImageFilter)| {
            let mut other = filter.clone();
            change(&mut other);
            other
        };
        let any_time =
            other(|filter| (filter.taken_after_ms, filter.taken_before_ms) = (None, None));
        let months = self.by(&any_time, |row| month_of(row.taken_ms));
        let folders = self.by(&other(|filter| filter.folder = None), |row| Some(row.folder));
        let cameras = self.by(&other(|filter| filter.camera = None), |row| Some(row.camera));
        let formats = self.by(&other(|filter| filter.formats.clear()), |row| Some(row.format));
        let orientations = self.by(&other(|filter| filter.orientation = None), |row| {
            Some(Orientation::of(row.width, row.height))
        });
        let text = |texts: &super::Texts, number: u32| {
            texts.texts.get(number as usize).map(ToString::to_string)
        };
        let named = |texts: &super::Texts, counts: HashMap<u32, u64>| {
            let named = counts.into_iter();
            named.filter_map(|(number, count)| Some((text(texts, number)?, count))).collect()
        };
        let mut months: Vec<_> = months.into_iter().collect();
        months.sort_unstable();
        let mut orientations: Vec<_> = orientations.into_iter().collect();
        orientations.sort_by_key(|(orientation, _)| *orientation as u8);
        FacetCounts {
            total: self.by(filter, |_| Some(())).values().sum(),
            months: months
                .into_iter()
                .map(|((year, month), count)| (format!("{year:04}-{month:02}"), count))
                .collect(),
            folders: largest(with_those_above(named(&self.folders, folders))),
            cameras: largest(named(&self.cameras, cameras)),
            formats: largest(named(&self.formats, formats)),
            orientations,
            places: self.places(filter),
        }
    }

    fn by<Key: Eq + Hash>(
        &self,
        filter: &ImageFilter,
        key: impl Fn(&Row) -> Option<Key>,
    ) -> HashMap<Key, u64> {
        let test = Test::new(self, filter);
        let mut counts = HashMap::new();
        for key in self.rows.iter().filter(|row| test.matches(row)).filter_map(key) {
            *counts.entry(key).or_default() += 1;
        }
        counts
    }
}

fn month_of(taken_ms: i64) -> Option<(i16, i8)> {
    let moment = jiff::Timestamp::from_millisecond(taken_ms).ok()?;
    let date = TimeZone::UTC.to_datetime(moment).date();
    Some((date.year(), date.month()))
}

/// Images of a folder are images of each folder that it is in.
fn with_those_above(folders: Vec<(String, u64)>) -> Vec<(String, u64)> {
    let mut all: HashMap<String, u64> = HashMap::new();
    for (folder, count) in folders {
        for (end, _) in folder.match_indices('/') {
            *all.entry(folder[..end].to_owned()).or_default() += count;
        }
        *all.entry(folder).or_default() += count;
    }
    all.into_iter().collect()
}

/// In the order of their texts; no text is none.
fn largest(mut texts: Vec<(String, u64)>) -> Vec<(String, u64)> {
    texts.retain(|(text, _)| !text.is_empty());
    texts.sort_unstable_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
    texts.truncate(TEXTS_MAX);
    texts.sort_unstable();
    texts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ContentHash, ImageName};

    fn image(image_id: i64, name: &str, taken: &str, camera: &str, height: u32) -> ImageFacets {
        ImageFacets {
            image_id,
            hash: ContentHash::of(name.as_bytes()),
            source: "one".to_owned(),
            name: ImageName::new(name).expect("valid"),
            taken_ms: crate::moment::parse_ms(taken).expect("a moment"),
            added_ms: 0,
            format: name.rsplit('.').next().expect("a suffix").to_owned(),
            width: 2,
            height,
            camera: (!camera.is_empty()).then(|| camera.to_owned()),
            place: None,
        }
    }

    fn of(texts: &[(&str, u64)]) -> Vec<(String, u64)> {
        texts.iter().map(|(text, count)| ((*text).to_owned(), *count)).collect()
    }

    #[test]
    fn each_part_is_counted_under_all_others() {
        let table = Table::of(vec![
            image(1, "a/b/one.jpeg", "2024-05-31T23:59:59Z", "Canon", 1),
            image(2, "a/two.jpeg", "2024-06-01", "Canon", 2),
            image(3, "three.png", "2023-01-02", "", 3),
        ]);
        let all = table.count(&ImageFilter::default());
        assert_eq!(all.total, 3);
        assert_eq!(all.months, of(&[("2023-01", 1), ("2024-05", 1), ("2024-06", 1)]));
        assert_eq!(all.folders, of(&[("a", 2), ("a/b", 1)]));
        assert_eq!(all.cameras, of(&[("Canon", 2)]));
        assert_eq!(all.formats, of(&[("jpeg", 2), ("png", 1)]));
        let one_each = [Orientation::Landscape, Orientation::Portrait, Orientation::Square];
        assert_eq!(all.orientations, one_each.map(|one| (one, 1)));

        let folder = ImageName::new("a/b").expect("valid");
        let narrowed = table.count(&ImageFilter { folder: Some(folder), ..ImageFilter::default() });
        assert_eq!(narrowed.total, 1);
        assert_eq!(narrowed.folders, all.folders);
        assert_eq!(narrowed.months, of(&[("2024-05", 1)]));
    }

    #[test]
    fn the_largest_are_named_in_their_order() {
        let many = (0..=TEXTS_MAX as u64).map(|n| (format!("{n:04}"), n + 1)).collect();
        let named = largest(many);
        assert_eq!(named.len(), TEXTS_MAX);
        assert_eq!(named.first(), Some(&("0001".to_owned(), 2)));
    }
}
