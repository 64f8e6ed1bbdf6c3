//! Frees the batch, and the length of texts, in a graph that was exported with both baked in.
//!
//! Every dimension is followed from the inputs to the output as a product of factors ([`Dim`]); names of nodes mean
//! nothing. Where a baked number meets a free dimension, the graph is changed: targets of reshapes are dealt anew,
//! tables and masks are cut to the length, a class token is repeated for the batch. What is not understood is
//! refused, and the original is used. That the result is right is not believed but proved, see `prepare::proof`.

use std::collections::{HashMap, HashSet};

use super::dims::{Dim, Factor};
use super::onnx::{
    Dimension, Graph, Model, Node, Shape, Tensor, TensorType, Type, ValueInfo, elem,
};

/// Which dimensions are to be free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Freedom {
    /// The first dimension of every input.
    Batch,
    /// Also the second one of every input, which is of texts.
    BatchAndLength,
}

/// One number of a small tensor of integers: known, or known as a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    Number(i64),
    Free(Dim),
}

impl Entry {
    pub(crate) fn of(dim: &Dim) -> Self {
        match dim.fixed() {
            Some(number) => Self::Number(number as i64),
            None => Self::Free(dim.clone()),
        }
    }

    pub(crate) fn dim(&self) -> Option<Dim> {
        match self {
            Self::Number(number) => usize::try_from(*number).ok().map(Dim::number),
            Self::Free(dim) => Some(dim.clone()),
        }
    }
}

/// What is known of a tensor.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub(crate) elem: i32,
    pub(crate) shape: Vec<Dim>,
    /// The numbers, in order, of a small tensor of integers or truths.
    pub(crate) entries: Option<Vec<Entry>>,
}

impl Value {
    pub(crate) fn new(elem: i32, shape: Vec<Dim>) -> Self {
        Self { elem, shape, entries: None }
    }

    /// The numbers, if all of them are known and none is free.
    pub(crate) fn numbers(&self) -> Option<Vec<i64>> {
        let number = |entry: &Entry| match entry {
            Entry::Number(number) => Some(*number),
            Entry::Free(_) => None,
        };
        self.entries.as_ref()?.iter().map(number).collect()
    }
}

/// A prime that no dimension has, as the length of a graph whose length is free.
const NO_LENGTH: usize = 999_983;

/// Tensors of integers up to this size are followed number by number.
pub(crate) const FOLLOWED_MAX: usize = 1024;

/// The state of a rewrite: what is known of every tensor so far, and what was added.
pub(crate) struct Rewriter {
    /// The length that was baked in, or [`NO_LENGTH`].
    pub(super) length: usize,
    /// Whether the published graph had a batch of exactly one.
    pub(super) batch_was_one: bool,
    pub(super) values: HashMap<String, Value>,
    pub(super) nodes: Vec<Node>,
    constants: Vec<Tensor>,
    /// Tensors that were added, by what they hold.
    added: HashMap<String, String>,
    /// The input whose shape says batch and length while running.
    port: String,
}

/// The graph with its free dimensions; only `output` and what it needs are kept.
///
/// `sizes` are the sizes of the dimensions behind the batch, for a graph that leaves them open.
pub(crate) fn free(
    mut model: Model,
    freedom: Freedom,
    sizes: &[usize],
    output: &str,
) -> Result<Model, String> {
    model.refuse_unknown()?;
    let mut graph = model.graph.take().ok_or("it is no ONNX file")?;
    let mut rewriter = Rewriter::new(&mut graph, freedom, sizes)?;
    for node in std::mem::take(&mut graph.node) {
        rewriter.step(node)?;
    }
    rewriter.finish(&mut graph, output)?;
    model.graph = Some(graph);
    Ok(model)
}

impl Rewriter {
    fn new(graph: &mut Graph, freedom: Freedom, sizes: &[usize]) -> Result<Self, String> {
        let weights = graph.initializer.iter().map(|tensor| tensor.name().to_owned());
        let weights = weights.collect::<HashSet<_>>();
        graph.input.retain(|port| !weights.contains(port.name()));
        let port = graph.input.first().ok_or("it has no input")?.name().to_owned();
        let mut rewriter = Self {
            length: NO_LENGTH,
            batch_was_one: false,
            values: HashMap::new(),
            nodes: Vec::new(),
            constants: Vec::new(),
            added: HashMap::new(),
            port,
        };
        for port in &mut graph.input {
            rewriter.open_port(port, freedom, sizes)?;
        }
        for tensor in &graph.initializer {
            rewriter.values.insert(tensor.name().to_owned(), constant(tensor)?);
        }
        Ok(rewriter)
    }

    /// Makes the dimensions of an input free, and remembers what was baked in.
    fn open_port(
        &mut self,
        port: &mut ValueInfo,
        freedom: Freedom,
        sizes: &[usize],
    ) -> Result<(), String> {
        let name = port.name().to_owned();
        let unknown = || format!("nothing is said of the shape of the input {name:?}");
        let tensor = port.ty.as_mut().and_then(|ty| ty.tensor_type.as_mut()).ok_or_else(unknown)?;
        let shape = tensor.shape.as_mut().ok_or_else(unknown)?;
        let mut dims = Vec::with_capacity(shape.dim.len());
        for (axis, dimension) in shape.dim.iter_mut().enumerate() {
            let fixed = dimension.dim_value.and_then(|size| usize::try_from(size).ok());
            let dim = match (axis, fixed) {
                (0, None) => Dim::batch(),
                (0, Some(1)) => {
                    self.batch_was_one = true;
                    Dim::batch()
                }
                (0, Some(size)) => return Err(format!("its batch is baked as {size}")),
                (1, size) if freedom == Freedom::BatchAndLength => {
                    self.length = size.unwrap_or(self.length);
                    Dim::length()
                }
                (_, Some(size)) => Dim::number(size),
                (_, None) => match sizes.get(axis - 1) {
                    Some(&size) => Dim::number(size),
                    None => return Err(format!("nothing is said of dimension {axis} of {name:?}")),
                },
            };
            *dimension = written(&dim);
            dims.push(dim);
        }
        self.values.insert(name, Value::new(tensor.elem_type(), dims));
        Ok(())
    }

    pub(super) fn value(&self, name: &str) -> Result<&Value, String> {
        self.values.get(name).ok_or_else(|| format!("nothing is known of {name:?}"))
    }

    /// Adds a node that was made here.
    pub(super) fn add(&mut self, node: Node, value: Value) -> String {
        let name = node.output[0].clone();
        self.values.insert(name.clone(), value);
        self.nodes.push(node);
        name
    }

    /// A name for something that is made once.
    fn once(&mut self, what: String, make: impl FnOnce(&mut Self, String) -> String) -> String {
        if let Some(name) = self.added.get(&what) {
            return name.clone();
        }
        let name = make(self, format!("prepared/{what}"));
        self.added.insert(what, name.clone());
        name
    }

    /// A constant list of integers.
    pub(super) fn list(&mut self, numbers: &[i64]) -> String {
        let words = numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        self.once(format!("list[{words}]"), |rewriter, name| {
            let tensor = Tensor::of_i64(&name, &[numbers.len() as i64], numbers);
            let entries = numbers.iter().map(|&number| Entry::Number(number)).collect();
            let shape = vec![Dim::number(numbers.len())];
            let value = Value { entries: Some(entries), ..Value::new(elem::I64, shape) };
            rewriter.constants.push(tensor);
            rewriter.values.insert(name.clone(), value);
            name
        })
    }

    /// A constant integer without dimensions.
    fn scalar(&mut self, number: i64) -> String {
        self.once(format!("number[{number}]"), |rewriter, name| {
            rewriter.constants.push(Tensor::of_i64(&name, &[], &[number]));
            rewriter.values.insert(name.clone(), Value::new(elem::I64, Vec::new()));
            name
        })
    }

    /// A list of one integer: the size of a dimension while running.
    fn size(&mut self, dim: &Dim) -> String {
        if let Some(number) = dim.fixed() {
            return self.list(&[number as i64]);
        }
        self.once(format!("size[{dim}]"), |rewriter, name| {
            let value = || Value::new(elem::I64, vec![Dim::number(1)]);
            if let [factor] = dim.factors() {
                let axis = rewriter.list(&[i64::from(*factor == Factor::Length)]);
                let shape = rewriter.port_shape();
                return rewriter.add(Node::new("Gather", &[&shape, &axis], &name), value());
            }
            let (first, rest) = dim.factors().split_at(1);
            let product = |factors: &[Factor]| {
                let mut dim = Dim::default();
                for &factor in factors {
                    dim.push(factor);
                }
                dim
            };
            let (first, rest) = (product(first), product(rest));
            let (first, rest) = (rewriter.size(&first), rewriter.size(&rest));
            rewriter.add(Node::new("Mul", &[&first, &rest], &name), value())
        })
    }

    fn port_shape(&mut self) -> String {
        self.once("shape".into(), |rewriter, name| {
            let port = rewriter.port.clone();
            let rank = rewriter.values.get(&port).map_or(0, |value| value.shape.len());
            let value = Value::new(elem::I64, vec![Dim::number(rank)]);
            rewriter.add(Node::new("Shape", &[&port], &name), value)
        })
    }

    /// A list of sizes, as constants where possible.
    fn sizes(&mut self, words: &[SizeWord]) -> String {
        let constant = |word: &SizeWord| match word {
            SizeWord::Number(number) => Some(*number),
            SizeWord::Free(_) => None,
        };
        if let Some(numbers) = words.iter().map(constant).collect::<Option<Vec<_>>>() {
            return self.list(&numbers);
        }
        let key = words.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        self.once(format!("sizes[{key}]"), |rewriter, name| {
            let parts = words.iter().map(|word| match word {
                SizeWord::Number(number) => rewriter.list(&[*number]),
                SizeWord::Free(dim) => rewriter.size(dim),
            });
            let parts = parts.collect::<Vec<_>>();
            let parts = parts.iter().map(String::as_str).collect::<Vec<_>>();
            let value = Value::new(elem::I64, vec![Dim::number(words.len())]);
            rewriter.add(Node::new("Concat", &parts, &name).with_int("axis", 0), value)
        })
    }

    /// The target of a reshape: numbers, "as the input's", one "what is left", and at worst sizes that are read while
    /// running.
    pub(super) fn reshape_target(&mut self, input: &[Dim], shape: &[Dim]) -> String {
        let is_copy = |index: usize, dim: &Dim| input.get(index) == Some(dim);
        let open =
            shape.iter().enumerate().filter(|(index, dim)| dim.is_free() && !is_copy(*index, dim));
        // the longest product is the one that is cheapest left to the engine
        let left = open.max_by_key(|(_, dim)| dim.factors().len()).map(|(index, _)| index);
        let words = shape.iter().enumerate().map(|(index, dim)| match dim.fixed() {
            Some(number) => SizeWord::Number(number as i64),
            None if Some(index) == left => SizeWord::Number(-1),
            None if is_copy(index, dim) => SizeWord::Number(0),
            None => SizeWord::Free(dim.clone()),
        });
        let words = words.collect::<Vec<_>>();
        self.sizes(&words)
    }

    /// The target of an expansion of `input`; 1 stands for what is wide enough already.
    pub(super) fn expand_target(&mut self, input: &[Dim], shape: &[Dim]) -> String {
        let before = shape.len() - input.len();
        let words = shape.iter().enumerate().map(|(index, dim)| {
            let have = index.checked_sub(before).and_then(|index| input.get(index));
            match dim.fixed() {
                _ if have == Some(dim) => SizeWord::Number(1),
                Some(number) => SizeWord::Number(number as i64),
                None => SizeWord::Free(dim.clone()),
            }
        });
        let words = words.collect::<Vec<_>>();
        self.sizes(&words)
    }

    /// A tensor cut to the length of the texts on some axes: tables by place, masks by place and place.
    pub(super) fn cut(&mut self, name: &str, axes: &[usize]) -> Result<String, String> {
        let mut value = self.value(name)?.clone();
        value.entries = None;
        for &axis in axes {
            value.shape[axis] = Dim::length();
        }
        let words = axes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        Ok(self.once(format!("cut[{words}] {name}"), |rewriter, cut| {
            let starts = rewriter.list(&vec![0; axes.len()]);
            let ends = rewriter.sizes(&vec![SizeWord::Free(Dim::length()); axes.len()]);
            let axes = axes.iter().map(|&axis| axis as i64).collect::<Vec<_>>();
            let axes = rewriter.list(&axes);
            rewriter.add(Node::new("Slice", &[name, &starts, &ends, &axes], &cut), value)
        }))
    }

    /// A tensor with one row, repeated for the batch. A baked row number 0 becomes the number of each row.
    pub(super) fn repeated(&mut self, name: &str, axis: usize) -> Result<String, String> {
        let mut value = self.value(name)?.clone();
        let numbers = value.numbers();
        value.entries = None;
        value.shape[axis] = Dim::batch();
        if value.elem == elem::I64 && numbers.is_some() {
            let is_row_number = numbers.is_some_and(|n| n == [0]);
            if !is_row_number {
                return Err(format!("the numbers {name:?} meet the batch"));
            }
            let rows = self.row_numbers();
            let target = value.shape.iter().map(|dim| if dim.is_free() { -1 } else { 1 });
            let target = self.list(&target.collect::<Vec<_>>());
            return Ok(self.once(
                format!("rows[{axis}/{}]", value.shape.len()),
                |rewriter, output| {
                    rewriter.add(Node::new("Reshape", &[&rows, &target], &output), value)
                },
            ));
        }
        let target = self.expand_target(&self.value(name)?.shape.clone(), &value.shape);
        Ok(self.once(format!("repeated[{axis}] {name}"), |rewriter, output| {
            rewriter.add(Node::new("Expand", &[name, &target], &output), value)
        }))
    }

    /// 0, 1, 2 … for the rows of the batch.
    fn row_numbers(&mut self) -> String {
        self.once("row numbers".into(), |rewriter, name| {
            let batch = rewriter.size(&Dim::batch());
            let axes = rewriter.list(&[0]);
            let squeeze = Node::new("Squeeze", &[&batch, &axes], "prepared/batch");
            let batch = rewriter.add(squeeze, Value::new(elem::I64, Vec::new()));
            let (zero, one) = (rewriter.scalar(0), rewriter.scalar(1));
            let value = Value::new(elem::I64, vec![Dim::batch()]);
            rewriter.add(Node::new("Range", &[&zero, &batch, &one], &name), value)
        })
    }

    /// Indices into rows that stand one behind the other: each row's begin where the row begins.
    pub(super) fn indices_by_row(&mut self, name: &str, places: &Dim) -> String {
        let rows = self.row_numbers();
        let length = self.size(places);
        self.once(format!("by row {name}"), |rewriter, output| {
            let value = || Value::new(elem::I64, vec![Dim::batch()]);
            let starts = Node::new("Mul", &[&rows, &length], &format!("{output} starts"));
            let starts = rewriter.add(starts, value());
            rewriter.add(Node::new("Add", &[name, &starts], &output), value())
        })
    }

    /// The indices of all places of every row, for rows that stand one behind the other: the rows along the first of
    /// `rank` axes, the places along the last.
    pub(super) fn all_indices(&mut self, rank: usize, places: &Dim) -> String {
        self.once(format!("all indices[{rank},{places}]"), |rewriter, output| {
            let shape = |first: Dim, last: Dim| {
                let mut shape = vec![Dim::number(1); rank];
                (shape[rank - 1], shape[0]) = (last, first);
                shape
            };
            let add = |rewriter: &mut Self, op: &str, inputs: &[&str], part: &str, shape| {
                let node = Node::new(op, inputs, &format!("{output}{part}"));
                rewriter.add(node, Value::new(elem::I64, shape))
            };
            let rows = rewriter.row_numbers();
            let target = rewriter.list(&[&[-1][..], &vec![1; rank - 1]].concat());
            let one = Dim::number(1);
            let by_row = || shape(Dim::batch(), one.clone());
            let rows = add(rewriter, "Reshape", &[&rows, &target], " rows", by_row());
            let size = rewriter.size(places);
            let starts = add(rewriter, "Mul", &[&rows, &size], " starts", by_row());
            let axes = rewriter.list(&[0]);
            let count = add(rewriter, "Squeeze", &[&size, &axes], " count", Vec::new());
            let (zero, step) = (rewriter.scalar(0), rewriter.scalar(1));
            let columns = [zero.as_str(), &count, &step];
            let columns = add(rewriter, "Range", &columns, " columns", vec![places.clone()]);
            let all = shape(Dim::batch(), places.clone());
            add(rewriter, "Add", &[&starts, &columns], "", all)
        })
    }

    /// Puts the graph together again: the one output, what it needs, and what is known of every tensor (engines join
    /// more operators when they know the shapes).
    fn finish(mut self, graph: &mut Graph, output: &str) -> Result<(), String> {
        let mut needed = HashSet::from([output.to_owned()]);
        self.nodes.reverse();
        self.nodes.retain(|node| {
            let is_needed = node.output.iter().any(|name| needed.contains(name));
            if is_needed {
                needed.extend(node.input.iter().cloned());
            }
            is_needed
        });
        self.nodes.reverse();
        let embedding = self.value(output)?.shape.clone();
        if embedding.first() != Some(&Dim::batch()) || embedding.iter().skip(1).any(Dim::is_free) {
            return Err("the embedding has no row for each input".into());
        }
        graph.initializer.append(&mut self.constants);
        graph.initializer.retain(|tensor| needed.contains(tensor.name()));
        graph.output.retain(|port| port.name() == output);
        for port in &mut graph.output {
            *port = info(output, self.value(output)?);
        }
        let produced =
            self.nodes.iter().flat_map(|node| &node.output).filter(|name| *name != output);
        let known = produced.filter_map(|name| Some(info(name, self.values.get(name)?)));
        graph.value_info = known.collect();
        graph.node = self.nodes;
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum SizeWord {
    Number(i64),
    Free(Dim),
}

impl std::fmt::Display for SizeWord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Free(dim) => dim.fmt(f),
        }
    }
}

/// What is known of a constant.
pub(super) fn constant(tensor: &Tensor) -> Result<Value, String> {
    let dim = |&dim: &i64| usize::try_from(dim).ok().map(Dim::number);
    let shape = tensor.dims.iter().map(dim).collect::<Option<Vec<_>>>();
    let shape = shape.ok_or_else(|| format!("the constant {:?} has no shape", tensor.name()))?;
    let is_small = tensor.count().is_some_and(|count| count <= FOLLOWED_MAX);
    let numbers = is_small.then(|| tensor.integers()).flatten();
    let entries = numbers.map(|numbers| numbers.into_iter().map(Entry::Number).collect());
    Ok(Value { elem: tensor.data_type(), shape, entries })
}

fn written(dim: &Dim) -> Dimension {
    match dim.fixed() {
        Some(number) => Dimension { dim_value: Some(number as i64), dim_param: None },
        None => Dimension { dim_value: None, dim_param: Some(dim.to_string()) },
    }
}

fn info(name: &str, value: &Value) -> ValueInfo {
    let shape = Shape { dim: value.shape.iter().map(written).collect() };
    let tensor = TensorType { elem_type: Some(value.elem), shape: Some(shape) };
    ValueInfo { name: Some(name.to_owned()), ty: Some(Type { tensor_type: Some(tensor) }) }
}
