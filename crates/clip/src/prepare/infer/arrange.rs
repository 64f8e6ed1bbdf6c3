//! Operators that arrange what is there anew: reshape, transpose, expand, join, split and cut.

use super::super::dims::{Dim, Factor, Wanted, deal};
use super::super::onnx::Node;
use super::super::rewrite::{Entry, Rewriter, Value};
use super::{counted, counted_to};

impl Rewriter {
    pub(super) fn reshape(&mut self, node: &mut Node) -> Result<Value, String> {
        let input = self.input(node, 0)?.clone();
        let entries = self.input(node, 1)?.entries.clone().ok_or("its target is not known")?;
        let copies = node.int("allowzero", 0) == 0;
        let baked_batch = self.batch_was_one;
        let mut target = Vec::with_capacity(entries.len());
        let mut left = None;
        for (index, entry) in entries.iter().enumerate() {
            let known = |dim: &Dim| Wanted {
                baked: dim.baked(self.length),
                batch: Some(dim.has(Factor::Batch)),
            };
            target.push(match entry {
                Entry::Number(-1) => {
                    left = Some(index);
                    Wanted { baked: 1, batch: None }
                }
                Entry::Number(0) if copies => {
                    known(input.shape.get(index).ok_or("it copies a dimension that is not there")?)
                }
                Entry::Number(number) => Wanted {
                    baked: usize::try_from(*number).map_err(|_| "a size below zero")?,
                    batch: (!baked_batch).then_some(false),
                },
                Entry::Free(dim) => known(dim),
            });
        }
        let whole = input.shape.iter().map(|dim| dim.baked(self.length)).product::<usize>();
        let given = target.iter().map(|want| want.baked).product::<usize>();
        if let Some(left) = left {
            target[left].baked = whole.checked_div(given).unwrap_or(0);
        }
        let shape = deal(&input.shape, &target, self.length).ok_or_else(|| {
            let target = target.iter().map(|want| want.baked).collect::<Vec<_>>();
            format!("{} does not fit into {target:?}", words(&input.shape))
        })?;
        for (entry, dim) in entries.iter().zip(&shape) {
            if let Entry::Free(free) = entry
                && sorted(free) != sorted(dim)
            {
                return Err(format!("{free} was asked for, and {dim} is there"));
            }
        }
        if shape.iter().any(Dim::is_free) {
            node.input[1] = self.reshape_target(&input.shape, &shape);
            node.attribute.retain(|attribute| attribute.name() != "allowzero");
        }
        Ok(Value { shape, ..input })
    }

    pub(super) fn flatten(&self, node: &Node) -> Result<Value, String> {
        let input = self.input(node, 0)?;
        let axis = counted_to(node.int("axis", 1), input.shape.len());
        let product =
            |dims: &[Dim]| dims.iter().fold(Dim::number(1), |product, dim| product.times(dim));
        let (front, back) = input.shape.split_at(axis);
        Ok(Value::new(input.elem, vec![product(front), product(back)]))
    }

    pub(super) fn squeeze(&self, node: &Node) -> Result<Value, String> {
        let input = self.input(node, 0)?;
        let shape = if node.op_type() == "Unsqueeze" {
            let count = node
                .ints("axes")
                .map_or_else(|| self.numbers(node, 1).map(|n| n.len()), |n| Ok(n.len()))?;
            let rank = input.shape.len() + count;
            let axes = self.axes(node, 1, rank)?.ok_or("it has no axes")?;
            let mut rest = input.shape.iter();
            let dim = |axis: usize| {
                if axes.contains(&axis) { Some(Dim::number(1)) } else { rest.next().cloned() }
            };
            (0..rank).map(dim).collect::<Option<Vec<_>>>().ok_or("its axes do not fit")?
        } else {
            let axes = self.axes(node, 1, input.shape.len())?;
            let axes = axes.ok_or("it drops whatever is 1")?;
            if axes.iter().any(|&axis| !input.shape[axis].is_one()) {
                return Err(format!("it drops an axis of {} that is not 1", words(&input.shape)));
            }
            let kept = input.shape.iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
            kept.map(|(_, dim)| dim.clone()).collect()
        };
        Ok(Value { shape, ..input.clone() })
    }

    pub(super) fn transpose(&self, node: &Node) -> Result<Value, String> {
        let input = self.input(node, 0)?;
        let rank = input.shape.len();
        let order = match node.ints("perm") {
            Some(order) => {
                order.iter().map(|&axis| counted(axis, rank)).collect::<Result<_, _>>()?
            }
            None => (0..rank).rev().collect::<Vec<_>>(),
        };
        let shape = order.iter().map(|&axis| input.shape[axis].clone()).collect();
        Ok(Value::new(input.elem, shape))
    }

    pub(super) fn expand(&mut self, node: &mut Node) -> Result<Value, String> {
        let input = self.input(node, 0)?.clone();
        let target = self.dims(node, 1)?;
        let rank = input.shape.len().max(target.len());
        let one = Dim::number(1);
        let at = |shape: &[Dim], axis: usize| {
            (axis + shape.len())
                .checked_sub(rank)
                .map_or_else(|| one.clone(), |axis| shape[axis].clone())
        };
        let mut shape = Vec::with_capacity(rank);
        for axis in 0..rank {
            let (have, want) = (at(&input.shape, axis), at(&target, axis));
            let is_baked = want.fixed() == Some(have.baked(self.length));
            shape.push(match () {
                () if want.is_one() || have == want || (have.is_free() && is_baked) => have,
                () if have.is_one() => want,
                () => return Err(format!("{have} is expanded to {want}")),
            });
        }
        if shape.iter().any(Dim::is_free) {
            node.input[1] = self.expand_target(&input.shape, &shape);
        }
        Ok(Value::new(input.elem, shape))
    }

    pub(super) fn tile(&self, node: &Node) -> Result<Value, String> {
        let input = self.input(node, 0)?;
        let repeats = self.dims(node, 1)?;
        let shape = repeats.iter().zip(&input.shape).map(|(times, dim)| times.times(dim));
        Ok(Value::new(input.elem, shape.collect()))
    }

    pub(super) fn concat(&mut self, node: &mut Node) -> Result<Value, String> {
        let first = self.input(node, 0)?.clone();
        let axis = counted(node.int("axis", 0), first.shape.len())?;
        self.fit_other_axes(node, axis)?;
        let mut shape = self.input(node, 0)?.shape.clone();
        let mut sum = 0;
        let mut entries = Some(Vec::new());
        for name in &node.input {
            let value = self.value(name)?;
            let size = value.shape.get(axis).and_then(Dim::fixed);
            sum += size.ok_or("it joins along a free dimension")?;
            match (&mut entries, &value.entries) {
                (Some(all), Some(more)) if shape.len() == 1 => all.extend(more.iter().cloned()),
                _ => entries = None,
            }
        }
        shape[axis] = Dim::number(sum);
        Ok(Value { elem: first.elem, shape, entries })
    }

    /// Brings inputs that must agree on all axes but one to the batch and to the length.
    pub(super) fn fit_other_axes(
        &mut self,
        node: &mut Node,
        own_axis: usize,
    ) -> Result<(), String> {
        let rank = self.input(node, 0)?.shape.len();
        for axis in (0..rank).filter(|&axis| axis != own_axis) {
            let dims = node.input.iter().map(|name| Ok(self.value(name)?.shape[axis].clone()));
            let dims = dims.collect::<Result<Vec<_>, String>>()?;
            let Some(free) = dims.iter().find(|dim| dim.is_free()).cloned() else { continue };
            for (index, dim) in dims.iter().enumerate().filter(|(_, dim)| **dim != free) {
                let name = node.input[index].clone();
                node.input[index] = if free == Dim::batch() && dim.is_one() {
                    self.repeated(&name, axis)?
                } else if free == Dim::length() && *dim == Dim::number(self.length) {
                    self.cut(&name, &[axis])?
                } else {
                    return Err(format!("{free} meets {dim}"));
                };
            }
        }
        Ok(())
    }

    pub(super) fn split(&mut self, node: &Node) -> Result<Vec<Value>, String> {
        let input = self.input(node, 0)?;
        let axis = counted(node.int("axis", 0), input.shape.len())?;
        let whole = input.shape[axis].fixed().ok_or("it splits a free dimension")?;
        let parts = node.output.len();
        let sizes = match node.given(1) {
            Some(_) => self.numbers(node, 1)?,
            None => {
                let size = whole.div_ceil(parts);
                (0..parts).map(|part| size.min(whole - part * size) as i64).collect()
            }
        };
        let part = |size: i64| {
            let mut shape = input.shape.clone();
            shape[axis] = Dim::number(usize::try_from(size).map_err(|_| "a size below zero")?);
            Ok(Value::new(input.elem, shape))
        };
        sizes.into_iter().map(part).collect()
    }

    pub(super) fn slice(&self, node: &Node) -> Result<Value, String> {
        let input = self.input(node, 0)?;
        let known = |index: usize| {
            let entries = self.input(node, index)?.entries.clone();
            entries.ok_or_else(|| format!("its input {index} is not known"))
        };
        let (starts, ends) = (known(1)?, known(2)?);
        let axes = match node.given(3) {
            Some(_) => self.numbers(node, 3)?,
            None => (0..starts.len() as i64).collect(),
        };
        let steps =
            if node.given(4).is_some() { self.numbers(node, 4)? } else { vec![1; starts.len()] };
        let mut shape = input.shape.clone();
        let mut entries = input.entries.clone();
        for (((start, end), axis), step) in starts.iter().zip(&ends).zip(axes).zip(steps) {
            let axis = counted(axis, shape.len())?;
            let dim = shape[axis].clone();
            if *start == Entry::Number(0) && step == 1 && self.reaches(end, &dim) {
                continue;
            }
            shape[axis] = match (dim.fixed(), start, end) {
                (Some(size), Entry::Number(start), Entry::Number(end)) => {
                    let (start, end) = (counted_to(*start, size), counted_to(*end, size));
                    let step = usize::try_from(step).ok().filter(|&step| step > 0);
                    let step = step.ok_or("it goes backwards")?;
                    entries = entries.filter(|_| shape.len() == 1).map(|entries| {
                        entries.into_iter().take(end).skip(start).step_by(step).collect()
                    });
                    Dim::number(end.saturating_sub(start).div_ceil(step))
                }
                (Some(size), Entry::Number(0), Entry::Free(end))
                    if step == 1 && *end == Dim::length() && size >= self.length =>
                {
                    entries = None;
                    Dim::length()
                }
                // the first place, as for a class token
                (None, Entry::Number(0), Entry::Number(1)) if dim == Dim::length() => {
                    Dim::number(1)
                }
                _ => return Err(format!("it cuts {dim}")),
            };
        }
        Ok(Value { elem: input.elem, shape, entries })
    }

    /// Whether a slice from 0 to `end` is all of a dimension.
    fn reaches(&self, end: &Entry, dim: &Dim) -> bool {
        match end {
            Entry::Free(end) => end == dim,
            Entry::Number(end) if dim.has(Factor::Batch) => *end >= i64::from(i32::MAX),
            Entry::Number(end) => {
                usize::try_from(*end).is_ok_and(|end| end >= dim.baked(self.length))
            }
        }
    }
}

fn sorted(dim: &Dim) -> Vec<Factor> {
    let mut product = Dim::default();
    let is_free = |factor: &Factor| !matches!(factor, Factor::Number(_));
    let number = dim.factors().iter().map(|factor| match factor {
        Factor::Number(number) => *number,
        Factor::Batch | Factor::Length => 1,
    });
    product.push(Factor::Number(number.product()));
    let batches = dim.factors().iter().filter(|factor| **factor == Factor::Batch);
    let lengths =
        dim.factors().iter().filter(|factor| is_free(factor) && **factor != Factor::Batch);
    batches.chain(lengths).for_each(|&factor| product.push(factor));
    product.factors().to_vec()
}

fn words(shape: &[Dim]) -> String {
    format!("[{}]", shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}
