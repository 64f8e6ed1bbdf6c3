//! From an upright RGB picture to the numbers a vision model was trained on.
//!
//! Sizes, rounding and filters follow torchvision/open_clip and transformers to the pixel, because a model sees a
//! shifted or differently smoothed picture as a slightly different one. The golden tests hold this against Pillow.

use fast_image_resize as fir;
use fir::images::{TypedImage, TypedImageRef};
use fir::pixels::U8x3;
use image::RgbImage;

use crate::decode::{Decoded, Extent, Wanted};

/// One preprocessed picture: 3 planes (R, G, B) of `height` x `width` normalised `f32`, or, for a graph that normalises
/// by itself, the resized bytes. Belongs to the model that made it.
#[derive(Debug, Clone, PartialEq)]
pub struct Pixels(pub(crate) Plane);

/// What a graph takes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Plane {
    /// CHW, normalised.
    F32(Vec<f32>),
    /// Raw bytes, HWC or CHW as the graph wants them.
    U8(Vec<u8>),
}

impl Pixels {
    /// Of a model of one's own, for example a stand-in in tests.
    pub fn from_f32(values: Vec<f32>) -> Self {
        Self(Plane::F32(values))
    }

    /// The CHW values, if the graph takes floats: `3 * height * width` of them.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.0 {
            Plane::F32(values) => Some(values),
            Plane::U8(_) => None,
        }
    }
}

/// How the pixels are laid out in the graph's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    FloatPlanes,
    BytePlanes,
    ByteInterleaved,
}

/// How the picture is brought to the model's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResizeMode {
    /// Shortest edge to this length, keeping the ratio, then a centre crop.
    Shortest { edge: u32 },
    /// Shortest edge fills a box that is not square, then a centre crop.
    Cover,
    /// Both edges to the model's size, whatever the ratio.
    Squash,
    /// Longest edge to the model's size, the rest filled with one grey value.
    Longest { fill: u8 },
    /// Centre crop only.
    Keep,
}

/// How an odd margin is halved when cropping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CropRounding {
    /// torchvision: half to even.
    HalfToEven,
    /// transformers: down.
    Down,
}

/// Largest picture that resizing may make before cropping.
const RESIZED_PIXELS_MAX: u64 = 4_000_000;

/// How many times the model's edge a scaled picture has to have, so that the model's own filter still does most of the
/// smoothing. Measured with 63 photos and their enlargements to 12 megapixels.
const EDGE_FACTOR: u32 = 3;

/// Brings pictures to a model's size and range.
#[derive(Debug, Clone)]
pub struct Preprocessor {
    pub(crate) recipe: Recipe,
    pub(crate) layout: Layout,
}

impl Preprocessor {
    /// See [`crate::Model::preprocess`].
    pub fn apply(&self, rgb: &RgbImage) -> Pixels {
        self.recipe.apply(rgb, self.layout)
    }

    /// Like [`Preprocessor::apply`], and exact to a part of a pixel where the picture was scaled while it was decoded.
    pub fn apply_decoded(&self, decoded: &Decoded) -> Pixels {
        self.recipe.apply_view(&View::of_decoded(decoded), self.layout)
    }

    /// How large a picture has to be to look the same to the model as in full size.
    pub fn wanted(&self) -> Wanted {
        match self.recipe.mode {
            // a part is cut out of the picture as it is
            ResizeMode::Keep => Wanted::Full,
            ResizeMode::Shortest { edge } => Wanted::ShortEdge(edge * EDGE_FACTOR),
            ResizeMode::Cover | ResizeMode::Squash | ResizeMode::Longest { .. } => {
                Wanted::ShortEdge(self.recipe.width.max(self.recipe.height) * EDGE_FACTOR)
            }
        }
    }
}

/// The recipe, read from the bundle.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Recipe {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) mode: ResizeMode,
    pub(crate) filter: Filter,
    pub(crate) crop_rounding: CropRounding,
    /// One multiplier for raw bytes, 1/255 almost always.
    pub(crate) rescale: f32,
    pub(crate) mean: [f32; 3],
    pub(crate) std: [f32; 3],
}

/// Pillow's filters, all with antialiasing when shrinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    Nearest,
    Bilinear,
    Bicubic,
    Lanczos,
}

impl Filter {
    fn algorithm(self) -> fir::ResizeAlg {
        match self {
            Self::Nearest => fir::ResizeAlg::Nearest,
            Self::Bilinear => fir::ResizeAlg::Convolution(fir::FilterType::Bilinear),
            // a = -0.5, as in Pillow's BICUBIC
            Self::Bicubic => fir::ResizeAlg::Convolution(fir::FilterType::CatmullRom),
            Self::Lanczos => fir::ResizeAlg::Convolution(fir::FilterType::Lanczos3),
        }
    }
}

/// A picture, perhaps scaled, and what it stands for.
struct View<'a> {
    rgb: &'a RgbImage,
    /// Size in full.
    full: (u32, u32),
    extent: Extent,
}

impl<'a> View<'a> {
    fn whole(rgb: &'a RgbImage) -> Self {
        let (width, height) = (f64::from(rgb.width()), f64::from(rgb.height()));
        Self { rgb, full: rgb.dimensions(), extent: Extent { left: 0.0, top: 0.0, width, height } }
    }

    fn of_decoded(decoded: &'a Decoded) -> Self {
        let full = (decoded.width, decoded.height);
        Self { rgb: &decoded.rgb, full, extent: decoded.extent() }
    }
}

impl Recipe {
    /// Resizes, crops or pads, and normalises.
    pub(crate) fn apply(&self, rgb: &RgbImage, layout: Layout) -> Pixels {
        self.apply_view(&View::whole(rgb), layout)
    }

    fn apply_view(&self, view: &View<'_>, layout: Layout) -> Pixels {
        let sized = self.resize_view(view);
        Pixels(match layout {
            Layout::FloatPlanes => Plane::F32(self.normalise(sized.as_raw())),
            Layout::BytePlanes => Plane::U8(planes(sized.as_raw(), |_, byte| byte)),
            Layout::ByteInterleaved => Plane::U8(sized.into_raw()),
        })
    }

    /// The picture at the model's size, 8-bit RGB.
    #[cfg(test)]
    pub(crate) fn resize(&self, rgb: &RgbImage) -> RgbImage {
        self.resize_view(&View::whole(rgb))
    }

    fn resize_view(&self, view: &View<'_>) -> RgbImage {
        if view.rgb.width() == 0 || view.rgb.height() == 0 {
            return RgbImage::new(self.width, self.height);
        }
        let (width, height) = self.resized(view.full.0, view.full.1);
        let across = Window::centred(width, self.width, self.crop_rounding);
        let down = Window::centred(height, self.height, self.crop_rounding);
        let part = self.resize_part(view, (width, across), (height, down));
        if (part.width(), part.height()) == (self.width, self.height) {
            return part;
        }
        let fill = if let ResizeMode::Longest { fill } = self.mode { fill } else { 0 };
        let mut canvas = RgbImage::from_pixel(self.width, self.height, image::Rgb([fill; 3]));
        image::imageops::replace(&mut canvas, &part, i64::from(across.pad), i64::from(down.pad));
        canvas
    }

    /// Size of the whole picture after resizing, before cropping or padding.
    fn resized(&self, width: u32, height: u32) -> (u32, u32) {
        match self.mode {
            ResizeMode::Keep => (width, height),
            ResizeMode::Squash => (self.width, self.height),
            ResizeMode::Shortest { edge } => {
                let (short, long) = (width.min(height), width.max(height));
                // torchvision and transformers truncate the long edge
                let new_long = (f64::from(edge) * f64::from(long) / f64::from(short)) as u32;
                if width <= height { (edge, new_long) } else { (new_long, edge) }
            }
            ResizeMode::Cover => self.keep_ratio(width, height, f64::min),
            ResizeMode::Longest { .. } => self.keep_ratio(width, height, f64::max),
        }
    }

    fn keep_ratio(&self, width: u32, height: u32, choose: fn(f64, f64) -> f64) -> (u32, u32) {
        let across = f64::from(width) / f64::from(self.width);
        let down = f64::from(height) / f64::from(self.height);
        let ratio = choose(down, across);
        let scale = |edge: u32| ((f64::from(edge) / ratio).round_ties_even() as u32).max(1);
        (scale(width), scale(height))
    }

    /// Resizes the whole picture and crops, as Pillow does. Only where that would make a giant of a thin strip
    /// (1 x 60000), the crop happens inside the resizer, whose filter then does not see beyond the crop's edges.
    fn resize_part(
        &self,
        &View { rgb, extent, .. }: &View<'_>,
        (width, across): (u32, Window),
        (height, down): (u32, Window),
    ) -> RgbImage {
        let options =
            fir::ResizeOptions::new().use_alpha(false).resize_alg(self.filter.algorithm());
        if u64::from(width) * u64::from(height) <= RESIZED_PIXELS_MAX {
            // Across first, then down, each rounded to bytes: Pillow's order, which shows where noise overshoots.
            let rows = f64::from(rgb.height());
            let wide = options.crop(extent.left, 0.0, extent.width, rows);
            let wide = resample(rgb, width, rgb.height(), &wide);
            let whole = options.crop(0.0, extent.top, f64::from(width), extent.height);
            let whole = resample(&wide, width, height, &whole);
            return image::imageops::crop_imm(
                &whole,
                across.start,
                down.start,
                across.length,
                down.length,
            )
            .to_image();
        }
        let scale_x = extent.width / f64::from(width);
        let scale_y = extent.height / f64::from(height);
        let options = options.crop(
            extent.left + f64::from(across.start) * scale_x,
            extent.top + f64::from(down.start) * scale_y,
            (f64::from(across.length) * scale_x).min(extent.width),
            (f64::from(down.length) * scale_y).min(extent.height),
        );
        resample(rgb, across.length, down.length, &options)
    }

    fn normalise(&self, interleaved: &[u8]) -> Vec<f32> {
        planes(interleaved, |channel, byte| {
            (f32::from(byte) * self.rescale - self.mean[channel]) / self.std[channel]
        })
    }
}

/// By the type of a pixel that is known here: asked at run time, the resizer brings its code for thirteen types along.
fn resample(rgb: &RgbImage, width: u32, height: u32, options: &fir::ResizeOptions) -> RgbImage {
    let mut small = RgbImage::new(width, height);
    let source = TypedImageRef::<U8x3>::from_buffer(rgb.width(), rgb.height(), rgb.as_raw());
    let target = TypedImage::<U8x3>::from_buffer(width, height, &mut small);
    let resized = source.ok().zip(target.ok()).and_then(|(source, mut target)| {
        fir::Resizer::new().resize_typed(&source, &mut target, options).ok()
    });
    // Both sizes are above zero and the window lies inside the picture, which is all that can be refused.
    debug_assert!(resized.is_some(), "a window inside the picture is always resizable");
    small
}

/// HWC to CHW.
fn planes<T>(interleaved: &[u8], value: impl Fn(usize, u8) -> T) -> Vec<T> {
    let mut out = Vec::with_capacity(interleaved.len());
    for channel in 0..3 {
        out.extend(interleaved.iter().skip(channel).step_by(3).map(|&byte| value(channel, byte)));
    }
    out
}

/// Along one edge: which part of the resized picture is kept, and how far in the canvas it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    start: u32,
    length: u32,
    pad: u32,
}

impl Window {
    fn centred(have: u32, want: u32, rounding: CropRounding) -> Self {
        if have <= want {
            return Self { start: 0, length: have, pad: (want - have) / 2 };
        }
        let margin = f64::from(have - want) / 2.0;
        let start = match rounding {
            CropRounding::HalfToEven => margin.round_ties_even(),
            CropRounding::Down => margin.floor(),
        };
        Self { start: start as u32, length: want, pad: 0 }
    }
}

#[cfg(test)]
mod tests;
