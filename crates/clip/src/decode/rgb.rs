//! From what decoders give to 8-bit RGB: transparency over white, deep colours by their upper byte.

use image::{DynamicImage, ImageBuffer, Pixel, RgbImage, RgbaImage};

/// 16-bit values lose their lower byte, as in Pillow, instead of being rounded.
pub(super) fn from_dynamic(picture: DynamicImage) -> RgbImage {
    let picture = match picture {
        DynamicImage::ImageLuma16(deep) => upper_bytes::<_, image::Luma<u8>>(&deep).into(),
        DynamicImage::ImageLumaA16(deep) => upper_bytes::<_, image::LumaA<u8>>(&deep).into(),
        DynamicImage::ImageRgb16(deep) => upper_bytes::<_, image::Rgb<u8>>(&deep).into(),
        DynamicImage::ImageRgba16(deep) => upper_bytes::<_, image::Rgba<u8>>(&deep).into(),
        shallow => shallow,
    };
    if picture.color().has_alpha() {
        over_white(&picture.into_rgba8())
    } else {
        picture.into_rgb8()
    }
}

/// From interleaved bytes of one to four channels: grey or RGB, each with or without transparency.
#[cfg(any(feature = "jxl", feature = "jp2"))]
pub(super) fn from_samples(width: u32, height: u32, samples: Vec<u8>) -> Option<RgbImage> {
    let pixels = width as usize * height as usize;
    let picture: DynamicImage = match samples.len().checked_div(pixels)? {
        1 => image::GrayImage::from_raw(width, height, samples)?.into(),
        2 => image::GrayAlphaImage::from_raw(width, height, samples)?.into(),
        3 => return RgbImage::from_raw(width, height, samples),
        4 => RgbaImage::from_raw(width, height, samples)?.into(),
        _ => return None,
    };
    Some(from_dynamic(picture))
}

fn upper_bytes<P, Q>(deep: &ImageBuffer<P, Vec<u16>>) -> ImageBuffer<Q, Vec<u8>>
where
    P: Pixel<Subpixel = u16>,
    Q: Pixel<Subpixel = u8>,
{
    let bytes = deep.as_raw().iter().map(|value| (value >> 8) as u8).collect();
    ImageBuffer::from_raw(deep.width(), deep.height(), bytes)
        .unwrap_or_else(|| ImageBuffer::new(deep.width(), deep.height()))
}

/// Composes over white, which is what a page or a viewer shows behind a picture.
pub(super) fn over_white(rgba: &RgbaImage) -> RgbImage {
    let mut rgb = RgbImage::new(rgba.width(), rgba.height());
    for (target, source) in rgb.chunks_exact_mut(3).zip(rgba.chunks_exact(4)) {
        let alpha = u32::from(source[3]);
        for (channel, &level) in target.iter_mut().zip(source) {
            *channel = ((u32::from(level) * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        }
    }
    rgb
}
