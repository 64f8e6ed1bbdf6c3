//! Planes of brightness and colour difference to RGB, as the file's colour description says.

use image::RgbImage;
use re_rav1d::dav1d::pixel::{MatrixCoefficients, YUVRange};
use re_rav1d::dav1d::{Picture, PixelLayout, PlanarImageComponent, Plane};

/// A decoded frame and how its numbers become colours.
pub(super) struct Frame<'a> {
    picture: &'a Picture,
    bits: u32,
    full_range: bool,
    matrix: Matrix,
}

#[derive(Clone, Copy)]
enum Matrix {
    /// The planes are green, blue and red.
    Identity,
    /// Shares of red and blue in the brightness.
    Shares(f32, f32),
}

const BT601: Matrix = Matrix::Shares(0.299, 0.114);
const BT709: Matrix = Matrix::Shares(0.2126, 0.0722);
const BT2020: Matrix = Matrix::Shares(0.2627, 0.0593);

impl<'a> Frame<'a> {
    /// With the container's colour description, which goes before that of the frame.
    pub(super) fn new(picture: &'a Picture, colour: Option<&[u8]>) -> Option<Self> {
        let bits = picture.bits_per_component()?.0 as u32;
        let (matrix, full_range) = match colour {
            Some([_, _, _, _, high, low, range, ..]) => {
                let matrix = match u16::from_be_bytes([*high, *low]) {
                    0 => Matrix::Identity,
                    1 => BT709,
                    9 => BT2020,
                    _ => BT601,
                };
                (matrix, range & 0x80 != 0)
            }
            _ => {
                let matrix = match picture.matrix_coefficients() {
                    MatrixCoefficients::Identity => Matrix::Identity,
                    MatrixCoefficients::BT709 => BT709,
                    MatrixCoefficients::BT2020NonConstantLuminance => BT2020,
                    _ => BT601,
                };
                (matrix, matches!(picture.color_range(), YUVRange::Full))
            }
        };
        Some(Self { picture, bits, full_range, matrix })
    }

    pub(super) fn to_rgb(&self) -> Option<RgbImage> {
        let (width, height) = (self.picture.width() as usize, self.picture.height() as usize);
        let layout = self.picture.pixel_layout();
        let plane = |component| Samples {
            stride: self.picture.stride(component) as usize,
            plane: self.picture.plane(component),
            wide: self.bits > 8,
        };
        let luma = plane(PlanarImageComponent::Y);
        let grey = layout == PixelLayout::I400;
        let chroma =
            (!grey).then(|| (plane(PlanarImageComponent::U), plane(PlanarImageComponent::V)));
        let halved = match layout {
            PixelLayout::I420 => (1, 1),
            PixelLayout::I422 => (1, 0),
            PixelLayout::I400 | PixelLayout::I444 => (0, 0),
        };
        let mut rgb = vec![0; width * height * 3];
        for (y, line) in rgb.chunks_exact_mut(width * 3).enumerate() {
            let luma = luma.line(y, width)?;
            let chroma = chroma.as_ref().map(|(blue, red)| {
                let width = (width + halved.0) >> halved.0;
                Some((blue.line(y >> halved.1, width)?, red.line(y >> halved.1, width)?))
            });
            match chroma {
                None => self.grey_line(luma, line),
                Some(chroma) => {
                    let (blue, red) = chroma?;
                    self.colour_line(luma, (blue, red), halved.0, line);
                }
            }
        }
        RgbImage::from_raw(width as u32, height as u32, rgb)
    }

    fn grey_line(&self, luma: Line<'_>, line: &mut [u8]) {
        for (x, pixel) in line.chunks_exact_mut(3).enumerate() {
            pixel.fill(byte(self.brightness(luma.at(x))));
        }
    }

    fn colour_line(
        &self,
        luma: Line<'_>,
        (blue, red): (Line<'_>, Line<'_>),
        halved: usize,
        line: &mut [u8],
    ) {
        for (x, pixel) in line.chunks_exact_mut(3).enumerate() {
            let (u, v) = (blue.at(x >> halved), red.at(x >> halved));
            let y = self.brightness(luma.at(x));
            let channels = match self.matrix {
                Matrix::Identity => [self.brightness(v), y, self.brightness(u)],
                Matrix::Shares(red_share, blue_share) => {
                    let (u, v) = (self.difference(u), self.difference(v));
                    let red = y + 2.0 * (1.0 - red_share) * v;
                    let blue = y + 2.0 * (1.0 - blue_share) * u;
                    let green =
                        (y - red_share * red - blue_share * blue) / (1.0 - red_share - blue_share);
                    [red, green, blue]
                }
            };
            pixel.copy_from_slice(&channels.map(byte));
        }
    }

    /// 0 to 1.
    fn brightness(&self, sample: u16) -> f32 {
        let scale = (1_u32 << (self.bits - 8)) as f32;
        if self.full_range {
            f32::from(sample) / ((1_u32 << self.bits) - 1) as f32
        } else {
            (f32::from(sample) - 16.0 * scale) / (219.0 * scale)
        }
    }

    /// -0.5 to 0.5.
    fn difference(&self, sample: u16) -> f32 {
        let scale = (1_u32 << (self.bits - 8)) as f32;
        let centred = f32::from(sample) - 128.0 * scale;
        if self.full_range {
            centred / ((1_u32 << self.bits) - 1) as f32
        } else {
            centred / (224.0 * scale)
        }
    }
}

fn byte(level: f32) -> u8 {
    // saturates at both ends
    (level * 255.0 + 0.5) as u8
}

/// One plane.
struct Samples {
    plane: Plane,
    stride: usize,
    wide: bool,
}

impl Samples {
    fn line(&self, y: usize, width: usize) -> Option<Line<'_>> {
        let bytes = if self.wide { width * 2 } else { width };
        let line = self.plane.get(y * self.stride..)?.get(..bytes)?;
        Some(Line { bytes: line, wide: self.wide })
    }
}

/// One line of a plane.
#[derive(Clone, Copy)]
struct Line<'a> {
    bytes: &'a [u8],
    wide: bool,
}

impl Line<'_> {
    #[inline]
    fn at(&self, x: usize) -> u16 {
        if self.wide {
            u16::from_ne_bytes([self.bytes[2 * x], self.bytes[2 * x + 1]])
        } else {
            u16::from(self.bytes[x])
        }
    }
}
