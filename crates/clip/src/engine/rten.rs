//! The engine that is always there: `rten`, pure Rust.
//!
//! It keeps integers as `i32` and half floats as `f32`. It cannot map ONNX weights that are embedded in the graph file
//! (they are not aligned there), so the file is streamed in, without a second copy of it in memory and without `unsafe`.

mod lengths;

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rten::{
    DataType, Dimension, Model, NodeId, RunOptions, ThreadPool, Value, ValueOrView, ValueType,
    ValueView,
};
use rten_tensor::{AsView, Layout};

use super::{Data, Element, Engine, Input, Output, Port, guarded};

/// A graph in `rten`.
pub(crate) struct Rten {
    model: Model,
    threads: Arc<ThreadPool>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

/// The threads that all graphs of one model share.
pub(crate) fn thread_pool(threads: usize) -> Arc<ThreadPool> {
    Arc::new(ThreadPool::with_num_threads(threads))
}

impl Rten {
    /// Reads a graph, with external data files beside it if it has any.
    pub(crate) fn load(path: &Path, threads: Arc<ThreadPool>) -> Result<Self, String> {
        refuse_wrong_operators(path)?;
        lengths::check(path)?;
        let model = guarded("rten", || Model::load_file(path).map_err(|error| error.to_string()))?;
        let ports = |ids: &[NodeId]| ids.iter().map(|&id| port(&model, id)).collect::<Vec<_>>();
        let (inputs, outputs) = (ports(model.input_ids()), ports(model.output_ids()));
        Ok(Self { model, threads, inputs, outputs })
    }

    fn node(&self, name: &str) -> Result<NodeId, String> {
        self.model.find_node(name).ok_or_else(|| format!("the graph has no {name:?}"))
    }
}

/// ONNX files begin with their operators; weights come behind.
const OPERATORS_BYTES_MAX: u64 = 16 << 20;
/// Loads and runs, and gives wrong numbers (0.27): pictures of a model whose convolutions are in int8 come out as noise.
const WRONG_OPERATOR: &[u8] = b"ConvInteger";

fn refuse_wrong_operators(path: &Path) -> Result<(), String> {
    let mut head = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(OPERATORS_BYTES_MAX).read_to_end(&mut head).map_err(|error| error.to_string())?;
    if head.windows(WRONG_OPERATOR.len()).any(|bytes| bytes == WRONG_OPERATOR) {
        return Err("it has convolutions in int8 (ConvInteger), which rten computes wrongly".into());
    }
    Ok(())
}

impl Engine for Rten {
    fn name(&self) -> &'static str {
        "rten"
    }

    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn argmax_takes_last(&self) -> bool {
        true // 0.27
    }

    fn run(&self, inputs: &[Input<'_>], output: &str) -> Result<Output, String> {
        let output = self.node(output)?;
        let mut values = Vec::with_capacity(inputs.len());
        for input in inputs {
            values.push((self.node(input.name)?, value(input)?));
        }
        let options = RunOptions::default().with_thread_pool(Some(self.threads.clone()));
        let run =
            || self.model.run_n(values, [output], Some(options)).map_err(|error| error.to_string());
        let [value] = guarded("rten", run)?;
        let Value::FloatTensor(tensor) = value else {
            return Err("the output is not of floats".into());
        };
        let shape = tensor.shape().to_vec();
        Ok(Output { shape, values: tensor.to_vec() })
    }
}

fn value<'a>(input: &Input<'a>) -> Result<ValueOrView<'a>, String> {
    let shape = input.shape.as_slice();
    match input.data {
        Data::F32(values) => {
            ValueView::from_shape(shape, values).map(Into::into).map_err(|error| error.to_string())
        }
        Data::U8(values) => {
            ValueView::from_shape(shape, values).map(Into::into).map_err(|error| error.to_string())
        }
        Data::Ids(ids) => {
            let ids = ids.iter().map(|&id| id as i32).collect::<Vec<_>>();
            Value::from_shape(shape, ids).map(Into::into).map_err(|error| error.to_string())
        }
    }
}

fn port(model: &Model, id: NodeId) -> Port {
    let info = model.node_info(id);
    let element = match info.as_ref().and_then(rten::NodeInfo::dtype) {
        Some(ValueType::Tensor(DataType::Float)) => Element::F32,
        Some(ValueType::Tensor(DataType::Int32)) => Element::I32,
        Some(ValueType::Tensor(DataType::UInt8)) => Element::U8,
        _ => Element::Other,
    };
    let shape = info.as_ref().and_then(rten::NodeInfo::shape).unwrap_or_default();
    let shape = shape.into_iter().map(|dimension| match dimension {
        Dimension::Fixed(size) => Some(size),
        Dimension::Symbolic(_) => None,
    });
    Port {
        name: info.as_ref().and_then(rten::NodeInfo::name).unwrap_or_default().into(),
        element,
        shape: shape.collect(),
    }
}
