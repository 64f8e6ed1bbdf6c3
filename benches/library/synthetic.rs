//! Pictures and a model that cost nothing: a picture is a few pixels that spell a number, its vector is made from that number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clip::{Decoded, EncodeError, Family, ModelInfo, Pixels, Precision, Wanted};
use image_search::embedder::{Encoder, Preprocess};

use crate::vectors::{DIM, picture_vector, query_vector};

/// Bytes of every [`picture`].
pub(crate) const PICTURE_BYTES: usize = 54 + 4 * 3;

/// A bitmap of four grey pixels that spell the number.
pub(crate) fn picture(number: u32) -> Vec<u8> {
    let (width, height, bits): (i32, i32, u16) = (4, 1, 24);
    let mut bytes = b"BM".to_vec();
    for field in [PICTURE_BYTES as u32, 0, 54, 40] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend(width.to_le_bytes());
    bytes.extend(height.to_le_bytes());
    bytes.extend(1_u16.to_le_bytes());
    bytes.extend(bits.to_le_bytes());
    bytes.extend([0; 24]);
    bytes.extend(number.to_le_bytes().into_iter().flat_map(|grey| [grey; 3]));
    bytes
}

/// The model.
pub(crate) struct Synthetic {
    info: ModelInfo,
    pub(crate) pictures_encoded: Arc<AtomicU64>,
}

impl Default for Synthetic {
    fn default() -> Self {
        let info = ModelInfo {
            dim: DIM,
            image_width: 4,
            image_height: 1,
            context_length: 77,
            engine: "synthetic",
            provider: None,
            lanes: 1,
            engine_note: None,
            preparation_notes: Vec::new(),
            precision: Precision::F32,
            family: Family::Clip,
        };
        Self { info, pictures_encoded: Arc::default() }
    }
}

struct Grey;

impl Preprocess for Grey {
    fn wanted(&self) -> Wanted {
        Wanted::Full
    }

    fn pixels(&self, decoded: &Decoded) -> Pixels {
        Pixels::from_f32(decoded.rgb.pixels().map(|pixel| f32::from(pixel.0[0])).collect())
    }
}

fn number_of(pixels: &Pixels) -> Result<u64, EncodeError> {
    let greys = pixels.as_f32().unwrap_or_default();
    let bytes: Vec<u8> = greys.iter().map(|grey| *grey as u8).collect();
    let bytes = bytes.try_into().map_err(|_| EncodeError::BadOutput("no number".into()))?;
    Ok(u64::from(u32::from_le_bytes(bytes)))
}

impl Encoder for Synthetic {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn preprocess(&self) -> Arc<dyn Preprocess> {
        Arc::new(Grey)
    }

    fn encode_images(&self, batch: &[Pixels]) -> Result<Vec<Vec<f32>>, EncodeError> {
        self.pictures_encoded.fetch_add(batch.len() as u64, Ordering::Relaxed);
        batch.iter().map(|pixels| Ok(picture_vector(number_of(pixels)?, false))).collect()
    }

    /// A text is the number of a query.
    fn encode_texts(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EncodeError> {
        let number =
            |text: &&str| text.parse().map_err(|_| EncodeError::BadOutput("no number".into()));
        texts.iter().map(|text| Ok(query_vector(number(text)?, false))).collect()
    }
}
