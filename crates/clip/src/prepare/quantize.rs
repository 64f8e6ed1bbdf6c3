//! Matrix products in 8-bit integers: weights with one scale per column, activations with one scale per row, found
//! while running. A row's scale is its own, so it never depends on what else is in the batch. Convolutions stay as
//! they are.
//!
//! Activations take 7 of the 8 bits: processors without VNNI add two products in 16 bits, and saturate beyond that.
//! So every machine computes the same integers.

use std::collections::HashMap;

use super::onnx::{Graph, Model, Node, Tensor, elem};

/// Greatest magnitude of an activation, and the integer that stands for 0.
const ACTIVATION_MAX: f32 = 63.0;
const ACTIVATION_ZERO: u8 = 64;
const WEIGHT_MAX: f32 = 127.0;
/// Smaller matrices gain nothing.
const WEIGHTS_MIN: usize = 1 << 8;

/// The product of one node: what is multiplied with which weights, and what is added.
struct Product {
    activations: String,
    weights: String,
    is_transposed: bool,
    bias: Option<String>,
}

/// Turns the products of a freed graph, or says why that gains nothing.
pub(crate) fn quantize(mut model: Model) -> Result<Model, String> {
    let opset = model.opset();
    let graph = model.graph.as_mut().ok_or("it is no ONNX file")?;
    let weights = graph.initializer.iter().enumerate();
    let weights = weights.map(|(index, tensor)| (tensor.name().to_owned(), index));
    let weights = weights.collect::<HashMap<_, _>>();
    let mut quantizer = Quantizer { opset, ..Quantizer::default() };
    for node in std::mem::take(&mut graph.node) {
        let product = product(&node).and_then(|product| {
            let weights =
                matrix(&graph.initializer[*weights.get(&product.weights)?], product.is_transposed)?;
            Some((product, weights))
        });
        match product {
            Some((product, weights)) => quantizer.replace(&node, &product, &weights),
            None => quantizer.nodes.push(node),
        }
    }
    if quantizer.scales.is_empty() {
        return Err(
            "it has no matrix product of 32-bit floats that could be one of integers".into()
        );
    }
    graph.node = quantizer.nodes;
    graph.initializer.append(&mut quantizer.constants);
    drop_unused(graph);
    Ok(model)
}

/// A node that multiplies activations by constant weights.
fn product(node: &Node) -> Option<Product> {
    let is_plain = |name: &str| {
        node.attribute(name).is_none_or(|attribute| {
            attribute.f.is_none_or(|factor| factor.to_bits() == 1.0_f32.to_bits())
        })
    };
    let is_gemm = match node.op_type() {
        "MatMul" => false,
        "Gemm" if node.int("transA", 0) == 0 && is_plain("alpha") && is_plain("beta") => true,
        _ => return None,
    };
    Some(Product {
        activations: node.given(0)?.to_owned(),
        weights: node.given(1)?.to_owned(),
        is_transposed: is_gemm && node.int("transB", 0) != 0,
        bias: node.given(2).map(str::to_owned),
    })
}

/// Weights in 8 bits, a row per input, with the scale of each column.
struct Weights {
    rows: usize,
    columns: usize,
    values: Vec<u8>,
    scales: Vec<f32>,
}

fn matrix(tensor: &Tensor, is_transposed: bool) -> Option<Weights> {
    let (&[a, b], Some(values)) = (tensor.dims.as_slice(), tensor.floats()) else { return None };
    let (a, b) = (usize::try_from(a).ok()?, usize::try_from(b).ok()?);
    let (rows, columns) = if is_transposed { (b, a) } else { (a, b) };
    let at = |row: usize, column: usize| {
        values[if is_transposed { column * rows + row } else { row * columns + column }]
    };
    (values.len() >= WEIGHTS_MIN).then_some(())?;
    let mut scales = vec![0_f32; columns];
    for row in 0..rows {
        for (column, scale) in scales.iter_mut().enumerate() {
            *scale = scale.max(at(row, column).abs());
        }
    }
    // a column of zeros keeps its zeros
    let scales =
        scales.into_iter().map(|most| most.max(f32::MIN_POSITIVE * WEIGHT_MAX) / WEIGHT_MAX);
    let scales = scales.collect::<Vec<_>>();
    let mut integers = Vec::with_capacity(values.len());
    for row in 0..rows {
        integers.extend(scales.iter().enumerate().map(|(column, scale)| {
            let integer = (at(row, column) / scale).round().clamp(-WEIGHT_MAX, WEIGHT_MAX) as i8;
            integer.to_le_bytes()[0]
        }));
    }
    Some(Weights { rows, columns, values: integers, scales })
}

#[derive(Default)]
struct Quantizer {
    opset: i64,
    nodes: Vec<Node>,
    constants: Vec<Tensor>,
    /// Activations that are in integers already, and their scales.
    scales: HashMap<String, (String, String)>,
    /// Weights that are in integers already, and their scales.
    weights: HashMap<String, (String, String)>,
}

impl Quantizer {
    fn node(&mut self, op_type: &str, inputs: &[&str], output: &str) -> String {
        self.nodes.push(Node::new(op_type, inputs, output));
        output.to_owned()
    }

    fn constant(&mut self, tensor: Tensor) -> String {
        let name = tensor.name().to_owned();
        if self.constants.iter().all(|known| known.name() != name) {
            self.constants.push(tensor);
        }
        name
    }

    fn number(&mut self, name: &str, number: f32) -> String {
        self.constant(Tensor::of_f32(&format!("int8/{name}"), &[], &[number]))
    }

    /// Activations as integers, and the scale of each row.
    fn activations(&mut self, name: &str) -> (String, String) {
        if let Some(known) = self.scales.get(name) {
            return known.clone();
        }
        let at = |part: &str| format!("int8/{name}/{part}");
        let magnitudes = self.node("Abs", &[name], &at("magnitudes"));
        let most = if self.opset < 18 {
            let node = Node::new("ReduceMax", &[&magnitudes], &at("most")).with_ints("axes", &[-1]);
            self.nodes.push(node);
            at("most")
        } else {
            let axes = self.constant(Tensor::of_i64("int8/last", &[1], &[-1]));
            self.node("ReduceMax", &[&magnitudes, &axes], &at("most"))
        };
        let (step, least) =
            (self.number("step", 1.0 / ACTIVATION_MAX), self.number("least", 1e-30));
        let scale = self.node("Mul", &[&most, &step], &at("scale"));
        // a row of zeros is divided by something
        let divisor = self.node("Max", &[&scale, &least], &at("divisor"));
        let zero = self.number("zero", f32::from(ACTIVATION_ZERO));
        let scaled = self.node("Div", &[name, &divisor], &at("scaled"));
        let round = self.node("Round", &[&scaled], &at("round"));
        let moved = self.node("Add", &[&round, &zero], &at("moved"));
        let cast =
            Node::new("Cast", &[&moved], &at("integers")).with_int("to", i64::from(elem::U8));
        self.nodes.push(cast);
        let known = (at("integers"), scale);
        self.scales.insert(name.to_owned(), known.clone());
        known
    }

    fn weights(&mut self, product: &Product, weights: &Weights) -> (String, String) {
        let key = format!(
            "int8/{}{}",
            product.weights,
            if product.is_transposed { "/turned" } else { "" }
        );
        if let Some(known) = self.weights.get(&key) {
            return known.clone();
        }
        let (dims, columns) =
            ([weights.rows as i64, weights.columns as i64], [weights.columns as i64]);
        let known = (format!("{key}/integers"), format!("{key}/scales"));
        self.constants.push(Tensor::of_bytes(&known.0, elem::I8, &dims, weights.values.clone()));
        self.constants.push(Tensor::of_f32(&known.1, &columns, &weights.scales));
        self.weights.insert(key, known.clone());
        known
    }

    fn replace(&mut self, node: &Node, product: &Product, weights: &Weights) {
        let output = node.output.first().map_or("", String::as_str);
        let (integers, row_scales) = self.activations(&product.activations);
        let (matrix, column_scales) = self.weights(product, weights);
        let zero = self.constant(Tensor::of_bytes(
            "int8/zero of bytes",
            elem::U8,
            &[],
            vec![ACTIVATION_ZERO],
        ));
        let at = |part: &str| format!("int8/{output}/{part}");
        let sums = self.node("MatMulInteger", &[&integers, &matrix, &zero], &at("sums"));
        let floats =
            Node::new("Cast", &[&sums], &at("floats")).with_int("to", i64::from(elem::F32));
        self.nodes.push(floats);
        let columns = self.node("Mul", &[&at("floats"), &column_scales], &at("columns"));
        match &product.bias {
            None => drop(self.node("Mul", &[&columns, &row_scales], output)),
            Some(bias) => {
                let rows = self.node("Mul", &[&columns, &row_scales], &at("rows"));
                self.node("Add", &[&rows, bias], output);
            }
        }
    }
}

fn drop_unused(graph: &mut Graph) {
    let used = graph.node.iter().flat_map(|node| node.input.iter().map(String::as_str));
    let used = used.collect::<std::collections::HashSet<_>>();
    graph.initializer.retain(|tensor| used.contains(tensor.name()));
}
