//! The messages of the ONNX format that a rewrite reads and writes, and small builders for them.
//!
//! Written by hand after ONNX's own schema (proto2 forms: explicit zeros are kept, lists are unpacked, tensors stay as
//! they are), so that the build needs no protobuf compiler. What is not listed here does not survive reading and
//! writing; [`Model::refuse_unknown`] names the parts for which that would change a result.

use bytes::Bytes;
use prost::Message;

/// Element types, by their numbers in the format.
pub(crate) mod elem {
    pub(crate) const F32: i32 = 1;
    pub(crate) const U8: i32 = 2;
    pub(crate) const I8: i32 = 3;
    pub(crate) const I32: i32 = 6;
    pub(crate) const I64: i32 = 7;
    pub(crate) const BOOL: i32 = 9;
    pub(crate) const F16: i32 = 10;
}

/// `data_location` of a tensor whose bytes are in another file.
pub(crate) const EXTERNAL: i32 = 1;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Model {
    #[prost(int64, optional, tag = "1")]
    pub(crate) ir_version: Option<i64>,
    #[prost(string, optional, tag = "2")]
    pub(crate) producer_name: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub(crate) producer_version: Option<String>,
    #[prost(message, optional, tag = "7")]
    pub(crate) graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    pub(crate) opset_import: Vec<OperatorSet>,
    /// Read only to be refused.
    #[prost(bytes = "bytes", repeated, tag = "25")]
    pub(crate) functions: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct OperatorSet {
    #[prost(string, optional, tag = "1")]
    pub(crate) domain: Option<String>,
    #[prost(int64, optional, tag = "2")]
    pub(crate) version: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub(crate) node: Vec<Node>,
    #[prost(string, optional, tag = "2")]
    pub(crate) name: Option<String>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    pub(crate) input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    pub(crate) output: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "13")]
    pub(crate) value_info: Vec<ValueInfo>,
    /// Read only to be refused.
    #[prost(bytes = "bytes", repeated, tag = "15")]
    pub(crate) sparse_initializer: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Node {
    #[prost(string, repeated, tag = "1")]
    pub(crate) input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(crate) output: Vec<String>,
    #[prost(string, optional, tag = "3")]
    pub(crate) name: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub(crate) op_type: Option<String>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) attribute: Vec<Attribute>,
    #[prost(string, optional, tag = "7")]
    pub(crate) domain: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Attribute {
    #[prost(string, optional, tag = "1")]
    pub(crate) name: Option<String>,
    #[prost(float, optional, tag = "2")]
    pub(crate) f: Option<f32>,
    #[prost(int64, optional, tag = "3")]
    pub(crate) i: Option<i64>,
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub(crate) s: Option<Bytes>,
    #[prost(message, optional, tag = "5")]
    pub(crate) t: Option<Tensor>,
    /// A subgraph. Read only to be refused.
    #[prost(bytes = "bytes", optional, tag = "6")]
    pub(crate) g: Option<Bytes>,
    #[prost(float, repeated, packed = "false", tag = "7")]
    pub(crate) floats: Vec<f32>,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub(crate) ints: Vec<i64>,
    #[prost(bytes = "bytes", repeated, tag = "9")]
    pub(crate) strings: Vec<Bytes>,
    #[prost(int32, optional, tag = "20")]
    pub(crate) kind: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Tensor {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub(crate) dims: Vec<i64>,
    #[prost(int32, optional, tag = "2")]
    pub(crate) data_type: Option<i32>,
    #[prost(float, repeated, tag = "4")]
    pub(crate) float_data: Vec<f32>,
    #[prost(int32, repeated, tag = "5")]
    pub(crate) int32_data: Vec<i32>,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub(crate) string_data: Vec<Bytes>,
    #[prost(int64, repeated, tag = "7")]
    pub(crate) int64_data: Vec<i64>,
    #[prost(string, optional, tag = "8")]
    pub(crate) name: Option<String>,
    /// A slice of the file that was read, so that its place in the file is known.
    #[prost(bytes = "bytes", optional, tag = "9")]
    pub(crate) raw_data: Option<Bytes>,
    #[prost(double, repeated, tag = "10")]
    pub(crate) double_data: Vec<f64>,
    #[prost(uint64, repeated, tag = "11")]
    pub(crate) uint64_data: Vec<u64>,
    #[prost(message, repeated, tag = "13")]
    pub(crate) external_data: Vec<Entry>,
    #[prost(int32, optional, tag = "14")]
    pub(crate) data_location: Option<i32>,
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct Entry {
    #[prost(string, optional, tag = "1")]
    pub(crate) key: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(crate) value: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct ValueInfo {
    #[prost(string, optional, tag = "1")]
    pub(crate) name: Option<String>,
    #[prost(message, optional, tag = "2")]
    pub(crate) ty: Option<Type>,
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct Type {
    #[prost(message, optional, tag = "1")]
    pub(crate) tensor_type: Option<TensorType>,
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct TensorType {
    #[prost(int32, optional, tag = "1")]
    pub(crate) elem_type: Option<i32>,
    #[prost(message, optional, tag = "2")]
    pub(crate) shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct Shape {
    #[prost(message, repeated, tag = "1")]
    pub(crate) dim: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct Dimension {
    #[prost(int64, optional, tag = "1")]
    pub(crate) dim_value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    pub(crate) dim_param: Option<String>,
}

impl Model {
    /// The version of the standard operators.
    pub(crate) fn opset(&self) -> i64 {
        let standard = self.opset_import.iter().find(|set| set.domain().is_empty());
        standard.map_or(0, OperatorSet::version)
    }

    /// What this reader would lose, or what no rewrite understands.
    pub(crate) fn refuse_unknown(&self) -> Result<&Graph, String> {
        let graph = self.graph.as_ref().ok_or("it is no ONNX file")?;
        let subgraph = graph.node.iter().find(|node| node.attribute.iter().any(|a| a.g.is_some()));
        if let Some(node) = subgraph {
            return Err(format!("{} holds a graph of its own", node.op_type()));
        }
        if !self.functions.is_empty() || !graph.sparse_initializer.is_empty() {
            return Err("it has functions or sparse weights".into());
        }
        if self.opset() < 13 {
            return Err(format!("its operators are of version {}, older than 13", self.opset()));
        }
        Ok(graph)
    }
}

/// Kinds of attributes, by their numbers in the format.
const KIND_INT: i32 = 2;
const KIND_INTS: i32 = 7;

impl Node {
    pub(crate) fn new(op_type: &str, input: &[&str], output: &str) -> Self {
        Self {
            input: input.iter().map(ToString::to_string).collect(),
            output: vec![output.to_owned()],
            name: Some(output.to_owned()),
            op_type: Some(op_type.to_owned()),
            ..Self::default()
        }
    }

    pub(crate) fn with_int(mut self, name: &str, value: i64) -> Self {
        self.set_int(name, value);
        self
    }

    pub(crate) fn with_ints(mut self, name: &str, values: &[i64]) -> Self {
        self.attribute.push(Attribute {
            name: Some(name.to_owned()),
            ints: values.to_vec(),
            kind: Some(KIND_INTS),
            ..Attribute::default()
        });
        self
    }

    pub(crate) fn set_int(&mut self, name: &str, value: i64) {
        self.attribute.retain(|attribute| attribute.name() != name);
        self.attribute.push(Attribute {
            name: Some(name.to_owned()),
            i: Some(value),
            kind: Some(KIND_INT),
            ..Attribute::default()
        });
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attribute.iter().find(|attribute| attribute.name() == name)
    }

    pub(crate) fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).and_then(|attribute| attribute.i).unwrap_or(default)
    }

    pub(crate) fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|attribute| attribute.ints.as_slice())
    }

    /// The name of an input that is there; optional ones may be empty.
    pub(crate) fn given(&self, index: usize) -> Option<&str> {
        self.input.get(index).map(String::as_str).filter(|name| !name.is_empty())
    }
}

impl Tensor {
    pub(crate) fn of_i64(name: &str, dims: &[i64], values: &[i64]) -> Self {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
        Self::of_bytes(name, elem::I64, dims, raw)
    }

    pub(crate) fn of_f32(name: &str, dims: &[i64], values: &[f32]) -> Self {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
        Self::of_bytes(name, elem::F32, dims, raw)
    }

    pub(crate) fn of_bytes(name: &str, data_type: i32, dims: &[i64], raw: Vec<u8>) -> Self {
        Self {
            dims: dims.to_vec(),
            data_type: Some(data_type),
            name: Some(name.to_owned()),
            raw_data: Some(raw.into()),
            ..Self::default()
        }
    }

    pub(crate) fn count(&self) -> Option<usize> {
        let product = |product: usize, &dim: &i64| product.checked_mul(usize::try_from(dim).ok()?);
        self.dims.iter().try_fold(1, product)
    }

    pub(crate) fn is_external(&self) -> bool {
        self.data_location == Some(EXTERNAL)
    }

    /// The values of a tensor of integers that is kept in this file.
    pub(crate) fn integers(&self) -> Option<Vec<i64>> {
        let values = match (&self.raw_data, self.data_type()) {
            (Some(raw), elem::I64) => numbers(raw, i64::from_le_bytes),
            (Some(raw), elem::I32) => numbers(raw, |bytes| i64::from(i32::from_le_bytes(bytes))),
            (Some(raw), elem::BOOL) => numbers(raw, |bytes: [u8; 1]| i64::from(bytes[0])),
            (None, elem::I64) => self.int64_data.clone(),
            (None, elem::I32 | elem::BOOL) => {
                self.int32_data.iter().copied().map(Into::into).collect()
            }
            _ => return None,
        };
        (!self.is_external() && Some(values.len()) == self.count()).then_some(values)
    }

    /// The values of a tensor of 32-bit floats that is kept in this file.
    pub(crate) fn floats(&self) -> Option<Vec<f32>> {
        let values = match (&self.raw_data, self.data_type()) {
            (Some(raw), elem::F32) => numbers(raw, f32::from_le_bytes),
            (None, elem::F32) => self.float_data.clone(),
            _ => return None,
        };
        (!self.is_external() && Some(values.len()) == self.count()).then_some(values)
    }
}

fn numbers<const N: usize, T>(raw: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    raw.as_chunks::<N>().0.iter().map(|bytes| number(*bytes)).collect()
}
