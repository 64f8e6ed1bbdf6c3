//! Where the images were taken, as a few places to choose from. Without a map there are no names for them: a place is a point
//! among its images, with the folder that most of them are in, if there is one.

use std::collections::HashMap;

use super::super::filter::{ImageFilter, Near};
use super::{Row, Table, Test};

/// Most places: those with the most images.
const PLACES_MAX: usize = 24;
/// A town and what surrounds it.
const RADIUS_KM: f64 = 25.0;
/// Degrees; at most 8 km from corner to corner.
const CELL: f64 = 0.05;
/// Places are at least so far from each other. This and a cell are less than the radius, so that no image is left out between.
const APART_KM: f64 = 15.0;
/// A degree of latitude, a little less than it is.
const DEGREE_KM: f64 = 110.0;

/// Images around a point.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaceCount {
    pub near: Near,
    /// All within its radius; of places side by side some are in both.
    pub images: u64,
    /// The folder of more than half of them.
    pub folder: Option<String>,
}

#[derive(Default)]
struct Cell {
    images: u64,
    latitudes: f64,
    longitudes: f64,
}

impl Table {
    /// Of the images that all of the filter but its place leaves.
    pub(super) fn places(&self, filter: &ImageFilter) -> Vec<PlaceCount> {
        let anywhere = ImageFilter { near: None, ..filter.clone() };
        let test = Test::new(self, &anywhere);
        let matching = self.rows.iter().filter(|row| row.place.is_some() && test.matches(row));
        let found: Vec<(&Row, (f64, f64))> =
            matching.filter_map(|row| Some((row, row.place?))).collect();
        let mut places: Vec<_> =
            centres(&found).into_iter().map(|near| self.place(near, &found)).collect();
        places.sort_by_key(|place| std::cmp::Reverse(place.images));
        places
    }

    fn place(&self, near: Near, found: &[(&Row, (f64, f64))]) -> PlaceCount {
        let mut folders: HashMap<u32, u64> = HashMap::new();
        let is_there = |(latitude, longitude): (f64, f64)| {
            (latitude - near.latitude).abs() * DEGREE_KM <= near.km
                && near.km_to(latitude, longitude) <= near.km
        };
        for (row, _) in found.iter().filter(|(_, place)| is_there(*place)) {
            *folders.entry(row.folder).or_default() += 1;
        }
        let images = folders.values().sum();
        let main = folders.into_iter().find(|(_, count)| count * 2 > images);
        let folder = main.and_then(|(folder, _)| self.folders.texts.get(folder as usize));
        let folder = folder.filter(|folder| !folder.is_empty()).map(ToString::to_string);
        PlaceCount { near, images, folder }
    }
}

/// The means of the cells with the most images, each apart from those before.
fn centres(found: &[(&Row, (f64, f64))]) -> Vec<Near> {
    let mut cells: HashMap<(i32, i32), Cell> = HashMap::new();
    for (_, (latitude, longitude)) in found {
        let at = ((latitude / CELL).floor() as i32, (longitude / CELL).floor() as i32);
        let cell = cells.entry(at).or_default();
        cell.images += 1;
        cell.latitudes += latitude;
        cell.longitudes += longitude;
    }
    let mut cells: Vec<_> = cells.into_iter().collect();
    cells.sort_unstable_by_key(|(at, cell)| (std::cmp::Reverse(cell.images), *at));
    let mut centres: Vec<Near> = Vec::new();
    for (_, cell) in cells {
        // Two digits are a kilometre, and no more than anybody wants to read.
        let mean = |sum: f64| (sum / cell.images as f64 * 100.0).round() / 100.0;
        let (latitude, longitude) = (mean(cell.latitudes), mean(cell.longitudes));
        if centres.iter().all(|other| other.km_to(latitude, longitude) >= APART_KM) {
            centres.push(Near { latitude, longitude, km: RADIUS_KM });
        }
        if centres.len() == PLACES_MAX {
            break;
        }
    }
    centres
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::ImageFacets;
    use crate::types::{ContentHash, ImageName};

    fn image(image_id: i64, folder: &str, place: Option<(f64, f64)>) -> ImageFacets {
        let name = format!("{folder}{image_id}.png");
        ImageFacets {
            image_id,
            hash: ContentHash::of(name.as_bytes()),
            source: "one".to_owned(),
            name: ImageName::new(name).expect("valid"),
            taken_ms: 0,
            added_ms: 0,
            format: "png".to_owned(),
            width: 2,
            height: 1,
            camera: None,
            place,
        }
    }

    fn told(places: &[PlaceCount]) -> Vec<(f64, f64, u64, Option<&str>)> {
        let told = places.iter().map(|place| {
            (place.near.latitude, place.near.longitude, place.images, place.folder.as_deref())
        });
        told.collect()
    }

    #[test]
    fn images_near_each_other_are_one_place_with_their_folder() {
        let table = Table::of(vec![
            image(1, "rome/", Some((41.892, 12.481))),
            image(2, "rome/", Some((41.902, 12.453))),
            image(3, "phone/", Some((41.888, 12.492))),
            image(4, "", Some((-33.92, 18.42))),
            image(5, "rome/", None),
        ]);
        let places = table.places(&ImageFilter::default());
        assert_eq!(told(&places), [(41.89, 12.49, 3, Some("rome")), (-33.92, 18.42, 1, None)]);
        // Another place can be chosen instead of one, and each leaves what it says.
        let near = Some(places[1].near);
        let chosen = ImageFilter { near, ..ImageFilter::default() };
        assert_eq!(table.places(&chosen), places);
        assert_eq!(table.count(&chosen).total, places[1].images);
        let folder = Some(ImageName::new("phone").expect("valid"));
        let narrowed = table.places(&ImageFilter { folder, ..ImageFilter::default() });
        assert_eq!(told(&narrowed), [(41.89, 12.49, 1, Some("phone"))]);
    }

    #[test]
    fn every_image_is_at_a_place_and_there_are_not_too_many() {
        // A walk of 60 km without a stop.
        let walk = (0..600).map(|n| image(n, "", Some((50.0 + n as f64 / 1110.0, 8.0))));
        let places = Table::of(walk.collect()).places(&ImageFilter::default());
        assert!(places.len() <= 5, "{places:?}");
        let is_at = |latitude: f64| {
            places.iter().any(|place| place.near.km_to(latitude, 8.0) <= place.near.km)
        };
        assert!((0..600).all(|n| is_at(50.0 + f64::from(n) / 1110.0)), "{places:?}");
        let world = (0..100).map(|n| image(n, "", Some((n as f64 - 50.0, n as f64))));
        let places = Table::of(world.collect()).places(&ImageFilter::default());
        assert_eq!(places.len(), PLACES_MAX);
    }
}
