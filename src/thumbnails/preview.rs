//! The few bytes of colour that come with a picture: a ThumbHash, which the page paints until the picture is there.

use image::RgbImage;

use super::scale;
use crate::types::Preview;

/// Longest edge of what it is made of. A ThumbHash holds a few waves of colour; more pixels say nothing more.
const EDGE: u32 = 64;

/// `None` if the picture cannot be scaled, which is reported where its thumbnail is made.
pub(super) fn of(rgb: &RgbImage) -> Option<Preview> {
    let (width, height) = rgb.dimensions();
    let wanted = u64::from(EDGE) * u64::from(width) / u64::from(width.max(height).max(1));
    let small = scale(rgb, (wanted as u32).max(1)).ok()?;
    let rgba: Vec<u8> =
        small.pixels().flat_map(|image::Rgb([r, g, b])| [*r, *g, *b, 255]).collect();
    let (width, height) = (small.width() as usize, small.height() as usize);
    Some(Preview::new(thumbhash::rgba_to_thumb_hash(width, height, &rgba)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_short_and_has_the_colours_and_the_shape_of_the_picture() {
        let halves = RgbImage::from_fn(600, 300, |x, _| {
            image::Rgb(if x < 300 { [220, 30, 30] } else { [30, 30, 220] })
        });
        let preview = of(&halves).expect("made");
        assert!((5..=30).contains(&preview.as_bytes().len()), "{preview:?}");
        let (width, height, rgba) =
            thumbhash::thumb_hash_to_rgba(preview.as_bytes()).expect("a ThumbHash");
        let shape = width as f64 / height as f64;
        assert!((1.6..2.5).contains(&shape), "{shape}");
        let row = height / 2 * width;
        let (left, right) = (&rgba[(row + 2) * 4..][..3], &rgba[(row + width - 3) * 4..][..3]);
        assert!(left[0] > 150 && left[2] < 110, "{left:?} is not red");
        assert!(right[2] > 150 && right[0] < 110, "{right:?} is not blue");
    }

    #[test]
    fn strips_and_single_pixels_have_one_too() {
        for (width, height) in [(1, 1), (10, 9000), (9000, 10), (101, 1), (65, 64)] {
            assert!(of(&RgbImage::new(width, height)).is_some(), "{width}x{height}");
        }
    }
}
