//! Whether every part of an ONNX file ends where the part around it does. rten's reader (0.27) adds lengths up without a
//! look at overflow: one near 2^64 takes it back in the file, where it reads the same for ever (found by fuzzing).

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

/// Graphs may stand in attributes of nodes of graphs; rten reads them on the stack.
const DEPTH_MAX: usize = 64;
const VARINT_BYTES_MAX: u32 = 10;

/// The messages of onnx.proto whose parts rten reads. All others are skipped as a whole.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    ValueInfo,
    Type,
    TensorType,
    SequenceType,
    Shape,
    /// Its own fields are numbers and strings.
    Flat,
}

impl Message {
    /// What a field with bytes holds, if that is a message.
    fn in_field(self, number: u64) -> Option<Self> {
        Some(match (self, number) {
            (Self::Model, 7) | (Self::Attribute, 6) => Self::Graph,
            (Self::Model, 8 | 14) | (Self::Tensor, 13) | (Self::Shape, 1) => Self::Flat,
            (Self::Graph, 1) => Self::Node,
            (Self::Graph | Self::Attribute, 5) => Self::Tensor,
            (Self::Graph, 11..=13) => Self::ValueInfo,
            (Self::Node, 5) => Self::Attribute,
            (Self::ValueInfo, 2) | (Self::SequenceType, 1) => Self::Type,
            (Self::Type, 1) => Self::TensorType,
            (Self::Type, 4) => Self::SequenceType,
            (Self::TensorType, 2) => Self::Shape,
            _ => return None,
        })
    }
}

/// # Errors
///
/// If the file cannot be read, or is no whole ONNX graph.
pub(super) fn check(path: &Path) -> Result<(), String> {
    let unreadable = |error: std::io::Error| error.to_string();
    let file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    Walk { bytes: BufReader::new(file), at: 0 }.message(Message::Model, length, 0)
}

struct Walk<R> {
    bytes: R,
    at: u64,
}

impl<R: Read + Seek> Walk<R> {
    /// Reads the fields of a message up to its end.
    fn message(&mut self, message: Message, end: u64, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("it has more than {DEPTH_MAX} messages inside each other"));
        }
        while self.at < end {
            let tag = self.varint(end)?;
            let (number, wire_type) = (tag >> 3, tag & 7);
            match wire_type {
                0 => {
                    self.varint(end)?;
                }
                1 => self.skip(8, end)?,
                5 => self.skip(4, end)?,
                2 => {
                    let length = self.varint(end)?;
                    match message.in_field(number) {
                        Some(inner) if length <= end - self.at => {
                            self.message(inner, self.at + length, depth + 1)?;
                        }
                        _ => self.skip(length, end)?,
                    }
                }
                _ => return Err(self.damaged()),
            }
        }
        Ok(())
    }

    fn varint(&mut self, end: u64) -> Result<u64, String> {
        let mut value = 0;
        for place in 0..VARINT_BYTES_MAX {
            if self.at >= end {
                break;
            }
            let mut byte = [0];
            self.bytes.read_exact(&mut byte).map_err(|error| error.to_string())?;
            self.at += 1;
            value |= u64::from(byte[0] & 0x7f).checked_shl(7 * place).unwrap_or_default();
            if byte[0] < 0x80 {
                return Ok(value);
            }
        }
        Err(self.damaged())
    }

    fn skip(&mut self, length: u64, end: u64) -> Result<(), String> {
        let offset = i64::try_from(length).ok().filter(|_| length <= end - self.at);
        let offset = offset.ok_or_else(|| self.damaged())?;
        self.bytes.seek_relative(offset).map_err(|error| error.to_string())?;
        self.at += length;
        Ok(())
    }

    fn damaged(&self) -> String {
        format!("it is damaged, or no ONNX graph (at byte {})", self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn checked(bytes: &[u8]) -> Result<(), String> {
        let mut walk = Walk { bytes: Cursor::new(bytes), at: 0 };
        walk.message(Message::Model, bytes.len() as u64, 0)
    }

    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        let mut length = content.len();
        while length >= 0x80 {
            bytes.push(length as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend(content);
        bytes
    }

    #[test]
    fn a_whole_graph_passes_whatever_is_in_its_weights() {
        let tensor = field(9, &[0xff; 300]);
        let graph = [field(1, &field(4, b"Relu")), field(5, &tensor)].concat();
        let model = [vec![0x08, 0x0a], field(2, b"torch"), field(7, &graph)].concat();
        assert_eq!(checked(&model), Ok(()));
        assert_eq!(checked(&[]), Ok(()));
        for cut in 3..model.len() {
            let is_between_fields = cut == 2 + 7;
            assert_eq!(checked(&model[..cut]).is_ok(), is_between_fields, "{cut}");
        }
    }

    #[test]
    fn no_length_leads_out_of_its_message() {
        // -4 as a length: back to where it stands.
        let back = [0x22, 0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert!(checked(&back).is_err());
        assert!(checked(&field(7, &back)).is_err());
        assert!(checked(&field(7, &field(5, &back))).is_err());
        // Longer than the message, shorter than the file.
        let model = [field(7, &[0x0a, 0x04]), vec![0x08; 10]].concat();
        assert!(checked(&model).is_err());
        assert!(checked(&[0x80; 12]).is_err(), "a number without an end");
    }

    #[test]
    fn graphs_in_graphs_have_an_end() {
        let nested = |levels: usize| {
            (0..levels).fold(Vec::new(), |graph, _| field(1, &field(5, &field(6, &graph))))
        };
        assert_eq!(checked(&field(7, &nested(20))), Ok(()));
        assert!(checked(&field(7, &nested(30))).is_err());
    }
}
