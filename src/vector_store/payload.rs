//! What stands beside a picture's vector: the names of the payload fields, and the only functions that write and read them.
//! A new field is added here, and nowhere else.

use super::{CollectionSpec, FieldKind, Payload, PayloadValue};
use crate::types::ContentHash;

/// The content that the vector is of, in hexadecimal digits: what the catalog names pictures by.
pub const CONTENT_HASH: &str = "content_hash";
/// `jpeg`, `png`, …
pub const FORMAT: &str = "format";
/// Pixels, after the orientation that the file asks for.
pub const WIDTH: &str = "width";
pub const HEIGHT: &str = "height";

/// Fields that searches may filter by, with an index each.
const INDEXED: [(&str, FieldKind); 3] =
    [(FORMAT, FieldKind::Keyword), (WIDTH, FieldKind::Integer), (HEIGHT, FieldKind::Integer)];

impl CollectionSpec {
    /// A collection for the vectors of pictures.
    pub fn of_pictures(name: String, dim: usize) -> Self {
        let indexed_fields = INDEXED.map(|(field, kind)| (field.to_owned(), kind)).to_vec();
        Self { name, dim, indexed_fields }
    }
}

/// The payload of a picture's vector.
pub fn of_picture(hash: &ContentHash, format: &str, width: u32, height: u32) -> Payload {
    Payload::from([
        (CONTENT_HASH.to_owned(), PayloadValue::Keyword(hash.to_string())),
        (FORMAT.to_owned(), PayloadValue::Keyword(format.to_owned())),
        (WIDTH.to_owned(), PayloadValue::Integer(width.into())),
        (HEIGHT.to_owned(), PayloadValue::Integer(height.into())),
    ])
}

/// The content that a point is of; `None` for a point that is not ours.
pub fn content_hash(payload: &Payload) -> Option<ContentHash> {
    match payload.get(CONTENT_HASH) {
        Some(PayloadValue::Keyword(hex)) => hex.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_every_indexed_field_is_written() {
        let hash = ContentHash::of(b"a picture");
        let payload = of_picture(&hash, "png", 48, 40);
        assert_eq!(content_hash(&payload), Some(hash));
        assert_eq!(content_hash(&Payload::new()), None);
        for (field, kind) in CollectionSpec::of_pictures("c".to_owned(), 8).indexed_fields {
            let fits = match payload.get(&field) {
                Some(PayloadValue::Keyword(_) | PayloadValue::Keywords(_)) => {
                    kind == FieldKind::Keyword
                }
                Some(PayloadValue::Integer(_)) => kind == FieldKind::Integer,
                None => false,
            };
            assert!(fits, "{field} is indexed as {kind:?}");
        }
    }
}
