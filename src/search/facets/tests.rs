//! The copy says what the catalog says: compared after many changes with a plain test of every image.

use std::collections::BTreeMap;

use super::super::filter::{Near, Orientation};
use super::*;
use crate::types::ImageName;

/// Numbers that look random and are the same in every run.
struct Random(u32);

impl Random {
    fn below(&mut self, below: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 12) % below
    }

    fn of<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.below(texts.len() as u32) as usize]
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(4) == 0).then(|| make(self))
    }
}

const FOLDERS: &[&str] = &["", "a/", "a/b/", "ab/", "Ärger/Bilder/"];

fn image(random: &mut Random, image_id: i64) -> ImageFacets {
    let name = format!("{}IMG_{image_id}.JPG", random.of(FOLDERS));
    ImageFacets {
        image_id,
        hash: ContentHash::of(&[random.below(20) as u8]),
        source: random.of(&["one", "two", "hidden"]).to_owned(),
        name: ImageName::new(name).expect("valid"),
        taken_ms: random.below(10).into(),
        added_ms: random.below(10).into(),
        format: random.of(&["png", "jpeg", "heif"]).to_owned(),
        width: random.below(5) + 1,
        height: random.below(5) + 1,
        camera: random.maybe(|random| random.of(&["Canon EOS R5", "NIKON D750"]).to_owned()),
        place: random.maybe(|random| (random.below(90).into(), random.below(180).into())),
    }
}

fn filter(random: &mut Random) -> ImageFilter {
    ImageFilter {
        folder: random
            .maybe(|random| ImageName::new(random.of(&["a", "a/b", "ab", "none"])).expect("valid")),
        taken_after_ms: random.maybe(|random| random.below(10).into()),
        taken_before_ms: random.maybe(|random| random.below(10).into()),
        added_after_ms: random.maybe(|random| random.below(10).into()),
        formats: random
            .maybe(|random| vec![random.of(&["png", "jpeg"]).to_owned()])
            .unwrap_or_default(),
        orientation: random.maybe(|_| Orientation::Landscape),
        min_width: random.maybe(|random| random.below(5)),
        camera: random.maybe(|random| random.of(&["canon", "r5", "750", "x"]).to_owned()),
        near: random.maybe(|random| Near {
            latitude: 45.0,
            longitude: random.below(180).into(),
            km: f64::from(random.below(9000)),
        }),
        name_contains: random
            .maybe(|random| random.of(&["img_1", "ÄRGER", "b/img", "r/b", ".jpg", "7"]).to_owned()),
        source: random.maybe(|random| random.of(&["one", "two", "three"]).to_owned()),
    }
}

/// What a walk over all images finds.
fn matching<'a>(
    images: &'a BTreeMap<i64, ImageFacets>,
    filter: &ImageFilter,
) -> Vec<&'a ImageFacets> {
    images.values().filter(|image| image.source != "hidden" && filter.matches(image)).collect()
}

#[test]
fn after_many_changes_it_answers_every_filter_as_a_walk_over_all_images_does() {
    let (mut random, mut table, mut images) = (Random(1), Table::default(), BTreeMap::new());
    let (mut some, mut most) = (0, 0);
    for round in 0..400 {
        let mut changes = FacetChanges {
            sources: vec!["one".to_owned(), "two".to_owned()],
            last: round,
            ..FacetChanges::default()
        };
        for _ in 0..random.below(6) {
            let image_id = i64::from(random.below(60));
            if random.below(3) == 0 {
                changes.gone.push(image_id);
            } else if changes.now.iter().all(|image| image.image_id != image_id) {
                changes.now.push(image(&mut random, image_id));
            }
        }
        changes.gone.iter().for_each(|image_id| drop(images.remove(image_id)));
        images.extend(changes.now.iter().map(|image| (image.image_id, image.clone())));
        table.apply(changes);
        assert_eq!(table.rows.len(), images.len());
        let filter = filter(&mut random);
        let wanted = matching(&images, &filter);
        let selected = table.select(&filter, 1000);
        assert_eq!((selected.matching, selected.total), (wanted.len(), images.len()), "{filter:?}");
        let mut hashes: Vec<_> = wanted.iter().map(|image| image.hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(selected.contents.as_ref(), Some(&hashes));
        let test = Test::new(&table, &filter);
        for number in 0..20 {
            let hash = ContentHash::of(&[number]);
            assert_eq!(table.has(&test, &hash), hashes.contains(&hash), "round {round}");
        }
        let mut places: Vec<_> =
            wanted.iter().map(|image| (image.taken_ms, image.image_id)).collect();
        places.sort_unstable_by(|a, b| b.cmp(a));
        let after = RecentCursor { taken_ms: 5, id: 30 };
        let (found, total) = table.newest(&filter, after, 3);
        let found: Vec<_> = found.iter().map(|place| (place.taken_ms, place.id)).collect();
        let behind: Vec<_> =
            places.iter().copied().filter(|place| *place < (5, 30)).take(3).collect();
        assert_eq!((found, total), (behind, wanted.len() as u64));
        some += usize::from(!wanted.is_empty());
        most = most.max(wanted.len());
    }
    assert!(some > 100 && most > 10, "hardly any filter left something: {some}, {most}");
}

#[test]
fn more_than_wanted_are_counted_and_not_named() {
    let (mut random, mut table) = (Random(1), Table::default());
    let now = (0..50).map(|image_id| image(&mut random, image_id)).collect();
    let sources = vec!["one".to_owned(), "two".to_owned(), "hidden".to_owned()];
    table.apply(FacetChanges { now, sources, ..FacetChanges::default() });
    let all = table.select(&ImageFilter::default(), 49);
    assert_eq!((all.matching, all.contents), (50, None));
    assert!(table.select(&ImageFilter::default(), 50).contents.is_some());
}
