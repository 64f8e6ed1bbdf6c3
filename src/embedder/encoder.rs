//! What the embedder needs of a model. The real one is in `crates/clip`; tests use a stand-in whose vectors are colours and
//! which can be held, slowed down and made to fail.

use std::sync::Arc;

use clip::{Decoded, EncodeError, Model, ModelInfo, Pixels, Preprocessor, Wanted};

/// Brings a picture to the model's size and range; works without the model.
pub trait Preprocess: Send + Sync {
    /// How large a picture has to be decoded to look the same to the model as in full size.
    fn wanted(&self) -> Wanted;

    fn pixels(&self, decoded: &Decoded) -> Pixels;
}

impl Preprocess for Preprocessor {
    fn wanted(&self) -> Wanted {
        self.wanted()
    }

    fn pixels(&self, decoded: &Decoded) -> Pixels {
        self.apply_decoded(decoded)
    }
}

/// Turns pictures and texts into vectors of one space. Every call blocks until it is done.
pub trait Encoder: Send + Sync {
    fn info(&self) -> &ModelInfo;

    fn preprocess(&self) -> Arc<dyn Preprocess>;

    /// One L2-normalised row of `dim` numbers per picture, in order.
    fn encode_images(&self, batch: &[Pixels]) -> Result<Vec<Vec<f32>>, EncodeError>;

    /// One L2-normalised row of `dim` numbers per text, in order.
    fn encode_texts(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EncodeError>;
}

impl Encoder for Model {
    fn info(&self) -> &ModelInfo {
        self.info()
    }

    fn preprocess(&self) -> Arc<dyn Preprocess> {
        Arc::new(self.preprocessor())
    }

    fn encode_images(&self, batch: &[Pixels]) -> Result<Vec<Vec<f32>>, EncodeError> {
        self.encode_images(batch)
    }

    fn encode_texts(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EncodeError> {
        self.encode_texts(texts)
    }
}

#[cfg(test)]
pub(crate) mod stand_in {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use clip::Family;
    use image::{Rgb, RgbImage};
    use parking_lot::{Mutex, MutexGuard};
    use tokio::sync::Notify;

    use super::*;

    /// A picture's vector is its mean colour, a text's that of its first word that names one (any other word is grey).
    #[derive(Clone, Default)]
    pub(crate) struct StandIn {
        inner: Arc<Inner>,
    }

    #[derive(Default)]
    struct Inner {
        info: std::sync::OnceLock<ModelInfo>,
        texts_encoded: AtomicUsize,
        pictures_encoded: AtomicUsize,
        pictures: Mutex<()>,
        texts: Mutex<()>,
        held: Notify,
    }

    /// Keeps the model from encoding until it is dropped.
    pub(crate) struct Gate<'a>(
        #[expect(dead_code, reason = "held for its effect")] MutexGuard<'a, ()>,
    );

    impl StandIn {
        /// The vector of a picture in this colour is not finite.
        pub(crate) const POISON: [u8; 3] = [13, 37, 13];

        pub(crate) fn picture(colour: [u8; 3]) -> Pixels {
            let mut png = std::io::Cursor::new(Vec::new());
            let picture = RgbImage::from_pixel(4, 4, Rgb(colour));
            picture.write_to(&mut png, image::ImageFormat::Png).expect("a PNG");
            let decoded = clip::decode(&png.into_inner(), &clip::DecodeLimits::default());
            MeanColour.pixels(&decoded.expect("a picture"))
        }

        pub(crate) fn any_picture() -> Pixels {
            Pixels::from_f32(vec![0.5, 0.25, 0.0])
        }

        /// Pixels that this model fails on, alone and in company.
        pub(crate) fn bad_picture() -> Pixels {
            Pixels::from_f32(vec![f32::NAN; 3])
        }

        /// Until the guard is dropped, no picture is encoded.
        pub(crate) fn hold_pictures(&self) -> Gate<'_> {
            Gate(self.inner.pictures.lock())
        }

        /// Until the guard is dropped, no text is encoded.
        pub(crate) fn hold_texts(&self) -> Gate<'_> {
            Gate(self.inner.texts.lock())
        }

        /// Waits until an encoding of texts has begun.
        pub(crate) async fn until_held(&self) {
            self.inner.held.notified().await;
        }

        pub(crate) fn pictures_encoded(&self) -> usize {
            self.inner.pictures_encoded.load(Ordering::Relaxed)
        }

        pub(crate) fn texts_encoded(&self) -> usize {
            self.inner.texts_encoded.load(Ordering::Relaxed)
        }

        pub(crate) fn handles(&self) -> usize {
            Arc::strong_count(&self.inner)
        }
    }

    fn unit(colour: &[f32]) -> Result<Vec<f32>, EncodeError> {
        let mut row = colour.to_vec();
        row.push(0.1);
        let length = row.iter().map(|value| value * value).sum::<f32>().sqrt();
        if !length.is_finite() {
            return Err(EncodeError::BadOutput("not finite".into()));
        }
        Ok(row.into_iter().map(|value| value / length).collect())
    }

    fn colour_of(text: &str) -> [f32; 3] {
        let named = text.split_whitespace().find_map(|word| match word {
            "red" => Some([1.0, 0.0, 0.0]),
            "green" => Some([0.0, 1.0, 0.0]),
            "blue" => Some([0.0, 0.0, 1.0]),
            _ => None,
        });
        named.unwrap_or([0.5; 3])
    }

    struct MeanColour;

    impl Preprocess for MeanColour {
        fn wanted(&self) -> Wanted {
            Wanted::ShortEdge(1)
        }

        fn pixels(&self, decoded: &Decoded) -> Pixels {
            let rgb = &decoded.rgb;
            if rgb.get_pixel(0, 0).0 == StandIn::POISON {
                return StandIn::bad_picture();
            }
            let count = (rgb.width() * rgb.height()) as f32;
            let mean = |channel: usize| {
                let sum = rgb.pixels().map(|pixel| f32::from(pixel.0[channel])).sum::<f32>();
                sum / (255.0 * count)
            };
            Pixels::from_f32((0..3).map(mean).collect())
        }
    }

    impl Encoder for StandIn {
        fn info(&self) -> &ModelInfo {
            self.inner.info.get_or_init(|| ModelInfo {
                dim: 4,
                image_width: 1,
                image_height: 1,
                context_length: 8,
                engine: "stand-in",
                provider: None,
                lanes: 1,
                engine_note: None,
                preparation_notes: Vec::new(),
                precision: clip::Precision::F32,
                family: Family::Clip,
            })
        }

        fn preprocess(&self) -> Arc<dyn Preprocess> {
            Arc::new(MeanColour)
        }

        fn encode_images(&self, batch: &[Pixels]) -> Result<Vec<Vec<f32>>, EncodeError> {
            let _held = self.inner.pictures.lock();
            self.inner.pictures_encoded.fetch_add(batch.len(), Ordering::Relaxed);
            batch.iter().map(|pixels| unit(pixels.as_f32().unwrap_or_default())).collect()
        }

        fn encode_texts(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EncodeError> {
            self.inner.held.notify_one();
            let _held = self.inner.texts.lock();
            self.inner.texts_encoded.fetch_add(texts.len(), Ordering::Relaxed);
            texts.iter().map(|text| unit(&colour_of(text))).collect()
        }
    }
}
