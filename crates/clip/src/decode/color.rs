//! Colours of wide-gamut pictures for the screen. Models get the file's numbers; eyes get sRGB.

use image::RgbImage;
use moxcms::{ColorProfile, DataColorSpace, Layout, TransformOptions};

/// Converts from the colours of an ICC profile. The picture comes back as it was if the profile is damaged, is not one
/// for RGB, or is sRGB itself.
pub(super) fn to_srgb(rgb: RgbImage, profile: &[u8]) -> RgbImage {
    converted(&rgb, profile).unwrap_or(rgb)
}

fn converted(rgb: &RgbImage, profile: &[u8]) -> Option<RgbImage> {
    let source = ColorProfile::new_from_slice(profile).ok()?;
    if source.color_space != DataColorSpace::Rgb {
        return None;
    }
    let transform = source.create_transform_8bit(
        Layout::Rgb,
        &ColorProfile::new_srgb(),
        Layout::Rgb,
        TransformOptions::default(),
    );
    let mut target = RgbImage::new(rgb.width(), rgb.height());
    transform.ok()?.transform(rgb, &mut target).ok()?;
    Some(target)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn display_p3_becomes_srgb_and_nonsense_changes_nothing() {
        let profile = ColorProfile::new_display_p3().encode().unwrap();
        let picture = RgbImage::from_pixel(4, 3, image::Rgb([200, 100, 50]));
        let shown = to_srgb(picture.clone(), &profile).get_pixel(2, 1).0;
        // by the matrix between the two spaces: 0.679, 0.108 and 0.014 of the light
        assert!(shown.iter().zip([215, 93, 31]).all(|(a, b)| a.abs_diff(b) <= 1), "{shown:?}");
        let srgb = ColorProfile::new_srgb().encode().unwrap();
        let same = to_srgb(picture.clone(), &srgb);
        assert!(same.as_raw().iter().zip(picture.as_raw()).all(|(a, b)| a.abs_diff(*b) <= 1));
        for length in 0..profile.len() {
            to_srgb(picture.clone(), &profile[..length]);
        }
    }
}
