//! What every operator makes of the shapes of its inputs, and what has to change when a dimension is free.

mod arrange;

use super::dims::{Dim, Factor};
use super::onnx::{Node, elem};
use super::rewrite::{Entry, FOLLOWED_MAX, Rewriter, Value, constant};

impl Rewriter {
    /// Takes over one node: says what its outputs are, and changes its inputs where it must.
    pub(super) fn step(&mut self, mut node: Node) -> Result<(), String> {
        if !matches!(node.domain(), "" | "ai.onnx") {
            return Err(format!(
                "the operator {} of {} is not known",
                node.op_type(),
                node.domain()
            ));
        }
        let outputs = self.outputs(&mut node).map_err(|reason| {
            format!(
                "{} ({}): {reason}",
                node.op_type(),
                node.output.first().map_or("", String::as_str)
            )
        })?;
        for (name, value) in node.output.iter().zip(outputs) {
            self.values.insert(name.clone(), value);
        }
        self.nodes.push(node);
        Ok(())
    }

    fn outputs(&mut self, node: &mut Node) -> Result<Vec<Value>, String> {
        let value = match node.op_type() {
            "Relu" | "Sigmoid" | "Tanh" | "Erf" | "Sqrt" | "Exp" | "Log" | "Neg" | "Abs"
            | "Gelu" | "Softmax" | "LayerNormalization" | "BatchNormalization" | "Clip"
            | "CumSum" | "Floor" | "Reciprocal" | "HardSigmoid" | "HardSwish" | "LeakyRelu"
            | "Elu" | "Softplus" | "Not" | "Trilu" | "RMSNormalization" => {
                let value = self.input(node, 0)?;
                Value::new(value.elem, value.shape.clone())
            }
            "Identity" => self.input(node, 0)?.clone(),
            "Cast" => {
                let mut value =
                    Value { elem: node.int("to", 0) as i32, ..self.input(node, 0)?.clone() };
                // what is reckoned with floats is no size any more
                let is_whole = matches!(value.elem, elem::I32 | elem::I64 | elem::BOOL);
                value.entries = value.entries.filter(|_| is_whole);
                value
            }
            "IsNaN" => Value::new(elem::BOOL, self.input(node, 0)?.shape.clone()),
            "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Pow" | "Min" | "Max" | "And" | "Or"
            | "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "Where" => {
                self.elementwise(node)?
            }
            "Constant" => constant_node(node)?,
            "ConstantOfShape" => self.constant_of_shape(node)?,
            "Range" => self.range(node)?,
            "Shape" => self.shape_of(node)?,
            "Reshape" => self.reshape(node)?,
            "Flatten" => self.flatten(node)?,
            "Squeeze" | "Unsqueeze" => self.squeeze(node)?,
            "Transpose" => self.transpose(node)?,
            "Expand" => self.expand(node)?,
            "Tile" => self.tile(node)?,
            "Concat" => self.concat(node)?,
            "Split" => return self.split(node),
            "Slice" => self.slice(node)?,
            "Gather" => self.gather(node)?,
            "GatherND" => self.gather_nd(node)?,
            "GatherElements" => self.gather_elements(node)?,
            "MatMul" => self.matmul(node)?,
            "MatMulInteger" => Value { elem: elem::I32, ..self.matmul(node)? },
            "Gemm" => self.gemm(node)?,
            "Attention" => self.attention(node)?,
            "Conv" | "ConvInteger" | "MaxPool" | "AveragePool" => self.window(node)?,
            "GlobalAveragePool" | "GlobalMaxPool" => {
                let value = self.input(node, 0)?;
                let axis = |(axis, dim): (usize, &Dim)| {
                    if axis < 2 { dim.clone() } else { Dim::number(1) }
                };
                Value::new(value.elem, value.shape.iter().enumerate().map(axis).collect())
            }
            "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceL2" => {
                self.reduce(node)?
            }
            "ArgMax" | "ArgMin" => self.argmax(node)?,
            "DequantizeLinear" => {
                Value::new(self.input(node, 1)?.elem, self.input(node, 0)?.shape.clone())
            }
            "DynamicQuantizeLinear" => {
                let shape = self.input(node, 0)?.shape.clone();
                let scale = Value::new(elem::F32, Vec::new());
                return Ok(vec![
                    Value::new(elem::U8, shape),
                    scale,
                    Value::new(elem::U8, Vec::new()),
                ]);
            }
            _ => return Err("this operator is not known here".into()),
        };
        Ok(vec![value])
    }

    fn input(&self, node: &Node, index: usize) -> Result<&Value, String> {
        self.value(node.given(index).ok_or_else(|| format!("it has no input {index}"))?)
    }

    /// The numbers of an input that has to be constant.
    fn numbers(&self, node: &Node, index: usize) -> Result<Vec<i64>, String> {
        let numbers = self.input(node, index)?.numbers();
        numbers.ok_or_else(|| format!("its input {index} is not constant"))
    }

    /// Axes from an attribute (older operators) or an input, all of them counted from the front.
    fn axes(&self, node: &Node, index: usize, rank: usize) -> Result<Option<Vec<usize>>, String> {
        let axes = match (node.ints("axes"), node.given(index)) {
            (Some(axes), _) => axes.to_vec(),
            (None, Some(_)) => self.numbers(node, index)?,
            (None, None) => return Ok(None),
        };
        axes.into_iter().map(|axis| counted(axis, rank)).collect::<Result<_, _>>().map(Some)
    }

    /// Shapes that are stretched to each other. Where a baked length meets the free one, the tensor is cut.
    fn broadcast(
        &mut self,
        node: &mut Node,
        inputs: &[usize],
        leave: usize,
    ) -> Result<Vec<Dim>, String> {
        let shapes = inputs.iter().map(|&index| Ok(self.input(node, index)?.shape.clone()));
        let shapes = shapes.collect::<Result<Vec<_>, String>>()?;
        let leading = |shape: &Vec<Dim>| shape.len().saturating_sub(leave);
        let rank = shapes.iter().map(leading).max().unwrap_or(0);
        let mut cuts = vec![Vec::new(); inputs.len()];
        let mut out = Vec::with_capacity(rank);
        for axis in 0..rank {
            let mut dim = Dim::number(1);
            let at = |shape: &Vec<Dim>| (axis + leading(shape)).checked_sub(rank);
            let free_length = shapes
                .iter()
                .any(|shape| at(shape).is_some_and(|axis| shape[axis] == Dim::length()));
            for (index, shape) in shapes.iter().enumerate() {
                let Some(axis) = at(shape) else { continue };
                let mut this = shape[axis].clone();
                if free_length && this == Dim::number(self.length) {
                    cuts[index].push(axis);
                    this = Dim::length();
                }
                if dim.is_one() {
                    dim = this;
                } else if !this.is_one() && this != dim {
                    return Err(format!("{dim} meets {this}"));
                }
            }
            out.push(dim);
        }
        for (&index, axes) in inputs.iter().zip(cuts).filter(|(_, axes)| !axes.is_empty()) {
            node.input[index] = self.cut(&node.input[index].clone(), &axes)?;
        }
        Ok(out)
    }

    fn elementwise(&mut self, node: &mut Node) -> Result<Value, String> {
        let inputs = (0..node.input.len()).collect::<Vec<_>>();
        let shape = self.broadcast(node, &inputs, 0)?;
        let elem = match node.op_type() {
            "And" | "Or" | "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" => {
                elem::BOOL
            }
            "Where" => self.input(node, 1)?.elem,
            _ => self.input(node, 0)?.elem,
        };
        let mut value = Value::new(elem, shape);
        value.entries = self.elementwise_entries(node);
        Ok(value)
    }

    /// The numbers, entry by entry, where all of them are known.
    fn elementwise_entries(&self, node: &Node) -> Option<Vec<Entry>> {
        let inputs = node.input.iter().map(|name| self.values.get(name)?.entries.as_ref());
        let inputs = inputs.collect::<Option<Vec<_>>>()?;
        let count = inputs.iter().map(|entries| entries.len()).max()?;
        let fits = inputs.iter().all(|entries| entries.len() == 1 || entries.len() == count);
        let at = |input: usize, index: usize| {
            inputs.get(input).and_then(|entries| entries.get(index.min(entries.len().max(1) - 1)))
        };
        let entry = |index: usize| match node.op_type() {
            "Where" => match at(0, index)? {
                Entry::Number(0) => at(2, index).cloned(),
                _ => at(1, index).cloned(),
            },
            op => computed(op, at(0, index)?, at(1, index)?),
        };
        fits.then(|| (0..count).map(entry).collect()).flatten()
    }

    fn constant_of_shape(&mut self, node: &mut Node) -> Result<Value, String> {
        let tensor = node.attribute("value").and_then(|attribute| attribute.t.as_ref());
        let fill = tensor.map(constant).transpose()?;
        let shape = self.dims(node, 0)?;
        let mut value =
            Value::new(fill.as_ref().map_or(elem::F32, |fill| fill.elem), shape.clone());
        let count = value.shape.iter().map(Dim::fixed).product::<Option<usize>>();
        if let (Some(fill), Some(count)) = (fill, count.filter(|&count| count <= FOLLOWED_MAX)) {
            let entry = fill.entries.and_then(|entries| entries.first().cloned());
            value.entries = entry.map(|entry| vec![entry; count]);
        }
        if value.shape.iter().any(Dim::is_free) {
            node.input[0] = self.expand_target(&[], &shape);
        }
        Ok(value)
    }

    /// A shape that is given as a tensor of integers.
    fn dims(&self, node: &Node, index: usize) -> Result<Vec<Dim>, String> {
        let entries = self.input(node, index)?.entries.as_ref();
        let dims = entries.and_then(|entries| entries.iter().map(Entry::dim).collect());
        dims.ok_or_else(|| "its sizes are not known".into())
    }

    fn range(&mut self, node: &mut Node) -> Result<Value, String> {
        let single = |index: usize| {
            let entries = self.input(node, index)?.entries.as_ref();
            let entry = entries.and_then(|entries| entries.first().cloned());
            entry.ok_or_else(|| format!("its input {index} is not known"))
        };
        let elem = self.input(node, 0)?.elem;
        match (single(0)?, single(1)?, single(2)?) {
            (Entry::Number(start), Entry::Number(end), Entry::Number(step @ 1..)) => {
                let numbers = (start..end).step_by(usize::try_from(step).unwrap_or(1));
                let numbers = numbers.take(1 << 16).map(Entry::Number).collect::<Vec<_>>();
                let mut value = Value::new(elem, vec![Dim::number(numbers.len())]);
                value.entries = (numbers.len() <= FOLLOWED_MAX).then_some(numbers);
                Ok(value)
            }
            (Entry::Number(0), Entry::Free(dim), Entry::Number(1)) => {
                Ok(Value::new(elem, vec![dim]))
            }
            _ => Err("its bounds are not known".into()),
        }
    }

    fn shape_of(&self, node: &Node) -> Result<Value, String> {
        let shape = &self.input(node, 0)?.shape;
        let bound = |name: &str, default: usize| match node.attribute(name) {
            Some(attribute) => counted_to(attribute.i(), shape.len()),
            None => default,
        };
        let (start, end) = (bound("start", 0), bound("end", shape.len()));
        let entries = shape.get(start..end).unwrap_or_default().iter().map(Entry::of);
        let entries = entries.collect::<Vec<_>>();
        let value = Value::new(elem::I64, vec![Dim::number(entries.len())]);
        Ok(Value { entries: Some(entries), ..value })
    }

    fn gather(&mut self, node: &mut Node) -> Result<Value, String> {
        let (data, mut indices) = (self.input(node, 0)?.clone(), self.input(node, 1)?.clone());
        let axis = counted(node.int("axis", 0), data.shape.len())?;
        let dim = &data.shape[axis];
        if dim.is_free() {
            let is_first = indices.numbers().is_some_and(|n| n.iter().all(|&n| n == 0));
            let factors = dim.factors();
            let is_rows =
                axis == 0 && factors.first() == Some(&Factor::Batch) && factors.len() == 2;
            let is_by_row = indices.shape == [Dim::batch()] && indices.elem == elem::I64;
            if is_rows && is_by_row && self.batch_was_one {
                let places = dim.without_batch();
                node.input[1] = self.indices_by_row(&node.input[1].clone(), &places);
            } else if is_rows
                && self.batch_was_one
                && is_whole_row(&indices, dim.baked(self.length))
            {
                // a mask, picked place by place: the one row there was is now each row
                let places = dim.without_batch();
                node.input[1] = self.all_indices(indices.shape.len(), &places);
                indices = self.value(&node.input[1])?.clone();
            } else if *dim == Dim::length() {
                if indices.numbers().is_some() && !is_first {
                    return Err("it picks a place behind the first".into());
                }
            } else if self.batch_was_one || indices.numbers().is_some() {
                return Err(format!("it picks from {dim}"));
            }
        }
        let entries = data.entries.filter(|_| data.shape.len() == 1).and_then(|entries| {
            let pick = |index: i64| entries.get(counted(index, entries.len()).ok()?).cloned();
            indices.numbers()?.into_iter().map(pick).collect()
        });
        let (front, back) = (&data.shape[..axis], &data.shape[axis + 1..]);
        Ok(Value { elem: data.elem, shape: [front, &indices.shape, back].concat(), entries })
    }

    fn gather_nd(&self, node: &Node) -> Result<Value, String> {
        let (data, indices) = (self.input(node, 0)?, self.input(node, 1)?);
        let (last, front) = indices.shape.split_last().ok_or("its indices have no dimension")?;
        let picked = usize::try_from(node.int("batch_dims", 0)).map_err(|_| "batch_dims")?;
        let picked = picked + last.fixed().ok_or("its indices are of a free length")?;
        let back = data.shape.get(picked..).ok_or("its indices are too long")?;
        Ok(Value::new(data.elem, [front, back].concat()))
    }

    fn gather_elements(&mut self, node: &mut Node) -> Result<Value, String> {
        let axis = counted(node.int("axis", 0), self.input(node, 0)?.shape.len())?;
        self.fit_other_axes(node, axis)?;
        Ok(Value::new(self.input(node, 0)?.elem, self.input(node, 1)?.shape.clone()))
    }

    fn matmul(&mut self, node: &mut Node) -> Result<Value, String> {
        let mut shape = self.broadcast(node, &[0, 1], 2)?;
        let (a, b) = (self.input(node, 0)?, self.input(node, 1)?);
        let ([.., rows, inner], [.., depth, columns]) = (a.shape.as_slice(), b.shape.as_slice())
        else {
            return Err("it multiplies by a single row".into());
        };
        if inner != depth {
            return Err(format!("{inner} meets {depth}"));
        }
        if columns.has(Factor::Batch) || inner.has(Factor::Batch) {
            return Err("the rows of the batch would meet".into());
        }
        shape.extend([rows.clone(), columns.clone()]);
        Ok(Value::new(a.elem, shape))
    }

    fn gemm(&self, node: &Node) -> Result<Value, String> {
        let (a, b) = (self.input(node, 0)?, self.input(node, 1)?);
        let side = |value: &Value, name: &str| match value.shape.as_slice() {
            [rows, columns] if node.int(name, 0) != 0 => Ok((columns.clone(), rows.clone())),
            [rows, columns] => Ok((rows.clone(), columns.clone())),
            _ => Err("it is of no matrix"),
        };
        let ((rows, inner), (depth, columns)) = (side(a, "transA")?, side(b, "transB")?);
        if inner != depth || inner.is_free() {
            return Err(format!("{inner} meets {depth}"));
        }
        Ok(Value::new(a.elem, vec![rows, columns]))
    }

    /// The operator of opset 23, without a cache.
    fn attention(&mut self, node: &mut Node) -> Result<Value, String> {
        if node.output.len() > 1 || (4..node.input.len()).any(|index| node.given(index).is_some()) {
            return Err("it has a cache".into());
        }
        let (q, k, v) = (self.input(node, 0)?.clone(), self.input(node, 1)?, self.input(node, 2)?);
        let (keys, shape) = match (q.shape.as_slice(), k.shape.as_slice(), v.shape.as_slice()) {
            ([batch, heads, queries, _], [_, _, keys, _], [_, _, _, size]) => {
                let shape = vec![batch.clone(), heads.clone(), queries.clone(), size.clone()];
                (keys.clone(), shape)
            }
            ([batch, queries, _], [_, keys, _], [_, _, width]) => {
                let heads = |name: &str| {
                    usize::try_from(node.int(name, 0))
                        .ok()
                        .filter(|&heads| heads > 0)
                        .ok_or("it has no heads")
                };
                let size = width.fixed().ok_or("its width is free")? / heads("kv_num_heads")?;
                let width = Dim::number(size * heads("q_num_heads")?);
                (keys.clone(), vec![batch.clone(), queries.clone(), width])
            }
            _ => return Err("its inputs have strange shapes".into()),
        };
        if let Some(name) = node.given(3).map(str::to_owned) {
            let mask = self.value(&name)?.shape.clone();
            let queries = shape[shape.len() - 2].clone();
            let wanted = [(2, queries), (1, keys)];
            let axes = wanted.iter().filter_map(|(from_back, want)| {
                let axis = mask.len().checked_sub(*from_back)?;
                (*want == Dim::length() && mask[axis] == Dim::number(self.length)).then_some(axis)
            });
            let axes = axes.collect::<Vec<_>>();
            if !axes.is_empty() {
                node.input[3] = self.cut(&name, &axes)?;
            }
        }
        Ok(Value::new(q.elem, shape))
    }

    /// Convolutions and pooling: windows that move over the last two axes.
    fn window(&self, node: &Node) -> Result<Value, String> {
        let input = self.input(node, 0)?;
        let auto = node.attribute("auto_pad").and_then(|attribute| attribute.s.as_deref());
        if !matches!(auto, None | Some(b"NOTSET" | b"VALID")) || node.int("ceil_mode", 0) != 0 {
            return Err("it pads by itself".into());
        }
        let is_conv = node.op_type().starts_with("Conv");
        let weight = is_conv.then(|| self.input(node, 1)).transpose()?;
        let kernel = match (node.ints("kernel_shape"), weight) {
            (Some(kernel), _) => kernel.to_vec(),
            (None, Some(weight)) => {
                weight.shape.iter().skip(2).filter_map(Dim::fixed).map(|n| n as i64).collect()
            }
            (None, None) => return Err("it has no window".into()),
        };
        let spatial = kernel.len();
        let (strides, dilations, pads) =
            (node.ints("strides"), node.ints("dilations"), node.ints("pads"));
        let at = |list: Option<&[i64]>, index: usize, default: i64| {
            list.and_then(|list| list.get(index)).copied().unwrap_or(default)
        };
        let [batch, channels, sizes @ ..] = input.shape.as_slice() else {
            return Err("it has no pictures".into());
        };
        let channels = weight.map_or_else(|| channels.clone(), |weight| weight.shape[0].clone());
        let mut shape = vec![batch.clone(), channels];
        for (axis, size) in sizes.iter().enumerate() {
            let size = size.fixed().ok_or("its pictures are of a free size")? as i64;
            let padded = size + at(pads, axis, 0) + at(pads, axis + spatial, 0);
            let reach = at(dilations, axis, 1) * (at(Some(&kernel), axis, 1) - 1) + 1;
            let count = (padded - reach).div_euclid(at(strides, axis, 1).max(1)) + 1;
            shape.push(Dim::number(usize::try_from(count).map_err(|_| "its window is too large")?));
        }
        let elem = if node.op_type() == "ConvInteger" { elem::I32 } else { input.elem };
        Ok(Value::new(elem, shape))
    }

    fn reduce(&self, node: &Node) -> Result<Value, String> {
        let input = self.input(node, 0)?;
        let axes = self.axes(node, 1, input.shape.len())?;
        let axes = axes.unwrap_or_else(|| (0..input.shape.len()).collect());
        Self::reduced(node, input.elem, &input.shape, &axes)
    }

    fn argmax(&self, node: &Node) -> Result<Value, String> {
        let input = self.input(node, 0)?;
        let axis = counted(node.int("axis", 0), input.shape.len())?;
        Self::reduced(node, elem::I64, &input.shape, &[axis])
    }

    fn reduced(node: &Node, elem: i32, shape: &[Dim], axes: &[usize]) -> Result<Value, String> {
        if axes.iter().any(|&axis| shape[axis].has(Factor::Batch)) {
            return Err("the rows of the batch would meet".into());
        }
        let keep = node.int("keepdims", 1) != 0;
        let dim = |(axis, dim): (usize, &Dim)| {
            if axes.contains(&axis) { keep.then(|| Dim::number(1)) } else { Some(dim.clone()) }
        };
        Ok(Value::new(elem, shape.iter().enumerate().filter_map(dim).collect()))
    }
}

/// Whether indices are 0, 1, 2 … to the end along their last axis, and their first one is free for the batch.
fn is_whole_row(indices: &Value, places: usize) -> bool {
    let Some((last, front)) = indices.shape.split_last() else { return false };
    let numbers = indices.numbers().unwrap_or_default();
    indices.elem == elem::I64
        && last.baked(places) == places
        && !front.is_empty()
        && front.iter().all(Dim::is_one)
        && numbers.len() == places
        && numbers.iter().zip(0..).all(|(number, place)| *number == place)
}

fn constant_node(node: &Node) -> Result<Value, String> {
    if let Some(tensor) = node.attribute("value").and_then(|attribute| attribute.t.as_ref()) {
        return constant(tensor);
    }
    let entries =
        |numbers: &[i64]| Some(numbers.iter().map(|&number| Entry::Number(number)).collect());
    if let Some(attribute) = node.attribute("value_int") {
        return Ok(Value {
            entries: entries(&[attribute.i()]),
            ..Value::new(elem::I64, Vec::new())
        });
    }
    if let Some(attribute) = node.attribute("value_ints") {
        let value = Value::new(elem::I64, vec![Dim::number(attribute.ints.len())]);
        return Ok(Value { entries: entries(&attribute.ints), ..value });
    }
    if node.attribute("value_float").is_some() {
        return Ok(Value::new(elem::F32, Vec::new()));
    }
    Err("it holds neither numbers nor a tensor".into())
}

/// One number of an elementwise operator on integers; `None` when it is not known.
fn computed(op: &str, a: &Entry, b: &Entry) -> Option<Entry> {
    use Entry::{Free, Number};
    let truth = |truth: bool| Some(Number(i64::from(truth)));
    match (op, a, b) {
        ("Add", Number(a), Number(b)) => a.checked_add(*b).map(Number),
        ("Sub", Number(a), Number(b)) => a.checked_sub(*b).map(Number),
        ("Mul", Number(a), Number(b)) => a.checked_mul(*b).map(Number),
        ("Mul", Number(0), _) | ("Mul", _, Number(0)) => Some(Number(0)),
        ("Mul", a, b) => Some(Entry::of(&a.dim()?.times(&b.dim()?))),
        // towards zero, as the operator divides
        ("Div", Number(a), Number(b)) => a.checked_div(*b).map(Number),
        ("Div", Free(a), Number(b)) => Some(Entry::of(&a.divided(usize::try_from(*b).ok()?)?)),
        ("Mod", Number(a), Number(b)) => a.checked_rem_euclid(*b).map(Number),
        ("Equal", Number(a), Number(b)) => truth(a == b),
        ("Equal", Free(_), Number(..=0)) | ("Equal", Number(..=0), Free(_)) => truth(false),
        ("Equal", Free(a), Free(b)) if a == b => truth(true),
        ("Add", Number(0), x) | ("Add", x, Number(0)) => Some(x.clone()),
        _ => None,
    }
}

/// An axis or index from the back is counted from the front.
fn counted(index: i64, size: usize) -> Result<usize, String> {
    let from_front = if index < 0 { index + size as i64 } else { index };
    let counted = usize::try_from(from_front).ok().filter(|&index| index < size);
    counted.ok_or_else(|| format!("{index} is outside of {size}"))
}

/// The same for a bound, which may be one behind the end and is clamped there.
fn counted_to(bound: i64, size: usize) -> usize {
    let from_front = if bound < 0 { bound.saturating_add(size as i64) } else { bound };
    usize::try_from(from_front).unwrap_or(0).min(size)
}
