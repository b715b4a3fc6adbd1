//! Attention, whole and in its two halves: `softmax(q · kᵀ · scale) · v`.
//!
//! Queries are `[..., heads, t, d]`, keys `[..., heads, s, d]` and values `[..., heads, s, dv]`. There may be fewer
//! heads of keys and values than of queries: then each serves as many neighbouring heads of queries (a group). All
//! arithmetic is in float32, whatever the operands are stored in.

mod cpu;
mod gpu;

use std::ops::Range;

use smallvec::SmallVec;

use super::matmul::{multiply, swapped};
use super::{Operand, Output, assign};
use crate::cpu::CpuDevice;
use crate::device::Device;
use crate::dtype::{Kind, Scalar};
use crate::error::{Error, Result};
use crate::profile;
use crate::shape::{Layout, MAX_AXES, Shape, broadcast_shapes, show};
use crate::tensor::Tensor;

/// `q · kᵀ · scale`: of `q[..., t, d]` and `k[..., n, d]`, or of single queries `q[..., d]` if q has fewer axes than k.
///
/// The scale is 1/√d by default.
pub fn attention_scores(q: &Tensor, k: &Tensor, scale: Option<f64>, out: Option<&Tensor>) -> Result<Tensor> {
    const NAME: &str = "attention_scores";
    let names = ["q", "k"];
    check_operands(NAME, &[(q, "q"), (k, "k")])?;
    let (&[.., d], &[.., k_d]) = (q.shape(), k.shape()) else { unreachable!("checked above") };
    if d != k_d {
        return Err(unequal(NAME, [q, k], names, "last axes", [d, k_d]));
    }
    let scale = scale_of(NAME, scale, d)?;
    let n = k.shape()[k.shape().len() - 2];
    by_heads(NAME, [q, k], names, n, out, |q, k, out| multiply(NAME, q, &swapped(k), out, scale))
}

/// `weights · values`: of `weights[..., t, n]` and `values[..., n, d]`, or of single rows `weights[..., n]` if weights
/// has fewer axes than values.
pub fn weighted_sum(weights: &Tensor, values: &Tensor, out: Option<&Tensor>) -> Result<Tensor> {
    const NAME: &str = "weighted_sum";
    let names = ["weights", "values"];
    check_operands(NAME, &[(weights, "weights"), (values, "values")])?;
    let (&[.., n], &[.., values_n, _]) = (weights.shape(), values.shape()) else { unreachable!("checked above") };
    if n != values_n {
        let what = "last axis of weights and the last but one of values";
        return Err(unequal(NAME, [weights, values], names, what, [n, values_n]));
    }
    let d = values.shape()[values.shape().len() - 1];
    by_heads(NAME, [weights, values], names, d, out, |weights, values, out| multiply(NAME, weights, values, out, 1.0))
}

/// Brings rows `[..., heads, t, any]` (or `[..., heads, any]`, with fewer axes) and matrices `[..., heads, any, any]` to
/// equal leading axes, groups of heads apart, and has them multiplied. The result is `[..., heads, t, width]`.
fn by_heads(
    name: &'static str,
    [rows, matrices]: [&Tensor; 2],
    names: [&str; 2],
    width: usize,
    out: Option<&Tensor>,
    multiply: impl FnOnce(&Tensor, &Tensor, &Tensor) -> Result<()>,
) -> Result<Tensor> {
    let single = rows.shape().len() < matrices.shape().len();
    let in_rows = |layout: &Layout| if single { layout.with_axis(layout.ndim() - 1) } else { layout.clone() };
    let all_rows = rows.with_layout(in_rows(rows.layout()));
    let (&[ref rows_lead @ .., t, _], &[ref lead @ .., _, _]) = (all_rows.shape(), matrices.shape()) else {
        unreachable!("both have two axes or more")
    };
    let shapes =
        || format!("{name}: {} has shape {} and {} {}", names[0], show(rows.shape()), names[1], show(matrices.shape()));
    let fail = || Error::Shape(format!("{}; the leading axes do not broadcast", shapes()));
    // The axis of heads, split into groups where there are fewer heads of matrices.
    let (heads, matrix_heads) = (rows_lead.last().copied().unwrap_or(1), lead.last().copied().unwrap_or(1));
    let groups = check_groups(heads, matrix_heads)
        .ok_or_else(|| Error::Shape(format!("{}; {heads} heads do not divide by {matrix_heads}", shapes())))?;
    let (mut row_layout, mut matrix_layout) = (all_rows.layout().clone(), matrices.layout().clone());
    if let Some(group) = groups {
        split_axis(&mut row_layout, rows_lead.len() - 1, group);
        matrix_layout = matrix_layout.with_axis(lead.len());
    }
    let ends = |layout: &Layout| Shape::from_slice(&layout.shape[..layout.shape.len() - 2]);
    let common = broadcast_shapes(&ends(&row_layout), &ends(&matrix_layout), name, names).map_err(|_| fail())?;
    let mut shape = common.clone();
    if groups.is_some() {
        let group = shape.pop().expect("the axis of the group");
        *shape.last_mut().expect("the axis of heads") *= group;
    }
    if !single {
        shape.push(t);
    }
    shape.push(width);
    let dtype = rows.dtype().promote(matrices.dtype(), name)?;
    let output =
        Output::new(name, rows.device(), Layout::contiguous(&shape), dtype, out, &[rows, matrices], |_, _| false)?;
    if !output.target.is_empty() {
        let spread = |layout: &Layout| {
            let whole: Shape = common.iter().chain(&layout.shape[layout.shape.len() - 2..]).copied().collect();
            layout.broadcast_to(&whole, name)
        };
        let mut target = in_rows(output.target.layout());
        if groups.is_some() {
            let axis = target.shape.len() - 3;
            split_axis(&mut target, axis, common[common.len() - 1]);
        }
        multiply(
            &all_rows.with_layout(spread(&row_layout)?),
            &matrices.with_layout(spread(&matrix_layout)?),
            &output.target.with_layout(target),
        )?;
    }
    output.finish()
}

/// How many heads of queries share one of keys; none where they match one to one or one of them broadcasts.
#[expect(clippy::option_option, reason = "whether it is possible, and whether it is needed")]
fn check_groups(heads: usize, key_heads: usize) -> Option<Option<usize>> {
    if heads == key_heads || key_heads == 1 || heads == 1 {
        return Some(None);
    }
    (heads != 0 && key_heads != 0 && heads.is_multiple_of(key_heads)).then(|| Some(heads / key_heads))
}

/// Splits an axis in two, of which the second has length `inner`.
fn split_axis(layout: &mut Layout, axis: usize, inner: usize) {
    let stride = layout.strides[axis];
    layout.shape[axis] /= inner;
    layout.strides[axis] = stride * inner as isize;
    layout.shape.insert(axis + 1, inner);
    layout.strides.insert(axis + 1, stride);
}

/// What `attention` can be told besides its operands.
#[derive(Default, Clone, Copy)]
pub struct Options<'a> {
    /// Of bools, true where a key is visible, or of floats, added to the scores. Broadcasts to `[..., heads, t, s]`.
    pub mask: Option<&'a Tensor>,
    /// Whether a query sees no keys after its own place. The last query's is that of the last key.
    pub causal: bool,
    /// How many keys before and after its own place a query sees at most; none without limit.
    pub window: [Option<usize>; 2],
    /// Instead of 1/√d.
    pub scale: Option<f64>,
    /// Scores become `softcap · tanh(score / softcap)`.
    pub softcap: Option<f64>,
    /// How many of the keys count: one number, or one for each of the batch.
    pub kv_length: Option<&'a [usize]>,
}

/// Which keys a query sees by its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reach {
    pub(crate) causal: bool,
    pub(crate) before: Option<usize>,
    pub(crate) after: Option<usize>,
}

impl Reach {
    /// The keys from the first to below the second number are those that query `i` of `t` sees, of `length` keys.
    pub(crate) fn keys(self, i: usize, t: usize, length: usize) -> (usize, usize) {
        // The query's own place among the keys. It is before the first one if there are more queries than keys.
        let place = length as isize - t as isize + i as isize;
        let from = self.before.map_or(0, |before| place.saturating_sub_unsigned(before).max(0));
        let mut to = length as isize;
        if self.causal {
            to = to.min(place + 1);
        }
        if let Some(after) = self.after {
            to = to.min(place.saturating_add_unsigned(after).saturating_add(1));
        }
        (from as usize, to.max(from) as usize)
    }

    /// How many pairs of one of some queries of `t` and one of some keys of `length` there are that see each other.
    fn pairs(self, queries: Range<usize>, t: usize, keys: &Range<usize>, length: usize) -> usize {
        if self == (Self { causal: false, before: None, after: None }) {
            return queries.len() * length.min(keys.end).saturating_sub(keys.start);
        }
        let seen = |i: usize| {
            let (from, to) = self.keys(i, t, length);
            to.min(keys.end).saturating_sub(from.max(keys.start))
        };
        queries.map(seen).sum()
    }
}

const NAME: &str = "attention";

/// A call that has been checked, with a batch of any axes made one.
pub(crate) struct Problem<'a> {
    /// `[batch, heads, t, d]`
    pub(crate) q: Tensor,
    /// `[batch, key heads, s, d]`
    pub(crate) k: Tensor,
    /// `[batch, key heads, s, dv]`
    pub(crate) v: Tensor,
    /// `[batch, heads, t, s]`, mostly by repeating.
    pub(crate) mask: Option<Tensor>,
    pub(crate) reach: Reach,
    pub(crate) scale: f32,
    pub(crate) softcap: Option<f32>,
    /// How many keys count: one number, or one for each of the batch.
    pub(crate) lengths: &'a [usize],
}

/// `softmax(q · kᵀ · scale, masked) · v`, without a matrix of all scores in memory. A query that sees no key gets zeros.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, options: &Options<'_>, out: Option<&Tensor>) -> Result<Tensor> {
    let operands = [(q, "q"), (k, "k"), (v, "v")];
    check_operands(NAME, &operands)?;
    let shapes = || format!("{NAME}: q has shape {}, k {} and v {}", show(q.shape()), show(k.shape()), show(v.shape()));
    let axes = q.shape().len();
    if k.shape().len() != axes || v.shape().len() != axes {
        return Err(Error::Shape(format!("{}; they must have equally many axes", shapes())));
    }
    let [q4, k4, v4] = [q, k, v].map(|tensor| of_heads(tensor.layout()));
    let tail = |layout: &Layout| [2, 1].map(|i| layout.shape[layout.shape.len() - i]);
    let ([t, d], [s, k_d], [v_s, dv]) = (tail(&q4), tail(&k4), tail(&v4));
    if d != k_d {
        return Err(Error::Shape(format!(
            "{}; the last axes of q and k must be equal, but {d} is not {k_d}",
            shapes()
        )));
    }
    if s != v_s {
        return Err(Error::Shape(format!(
            "{}; k and v must have equally many rows (the last axis but one), but {s} is not {v_s}",
            shapes()
        )));
    }
    let heads = |layout: &Layout| layout.shape[layout.shape.len() - 3];
    let (q_heads, k_heads) = (heads(&q4), heads(&k4));
    if heads(&v4) != k_heads {
        return Err(Error::Shape(format!(
            "{}; k and v must have equally many heads, but {k_heads} is not {}",
            shapes(),
            heads(&v4)
        )));
    }
    if k_heads == 0 && q_heads > 0 || k_heads > 0 && !q_heads.is_multiple_of(k_heads) {
        return Err(Error::Shape(format!(
            "{}; the heads of q must be a multiple of those of k and v, but {q_heads} is not one of {k_heads}",
            shapes()
        )));
    }
    let lead = |layout: &Layout| Shape::from_slice(&layout.shape[..layout.shape.len() - 3]);
    let batch = broadcast_shapes(&lead(&q4), &lead(&k4), NAME, ["q", "k"])
        .and_then(|batch| broadcast_shapes(&batch, &lead(&v4), NAME, ["q", "v"]))
        .map_err(|_| Error::Shape(format!("{}; the axes before the heads do not broadcast", shapes())))?;
    let reach = Reach { causal: options.causal, before: options.window[0], after: options.window[1] };
    let scale = scale_of(NAME, options.scale, d)?;
    let softcap = options.softcap.map(softcap_of).transpose()?;
    let count: usize = batch.iter().product();
    let all = [s];
    let lengths = options.kv_length.unwrap_or(&all);
    check_lengths(lengths, count, s)?;
    let whole_mask: Shape = batch.iter().chain(&[q_heads, t, s]).copied().collect();
    let mask = match options.mask {
        None => None,
        Some(mask) => Some(mask.with_layout(check_mask(q, mask, &whole_mask)?)),
    };
    let dtype = q.dtype().promote(k.dtype(), NAME)?.promote(v.dtype(), NAME)?;
    let heads_and_queries = &q.shape()[axes.saturating_sub(3)..axes - 1];
    let shape: Shape = batch.iter().chain(heads_and_queries).chain(&[dv]).copied().collect();
    let mut inputs: SmallVec<[&Tensor; 4]> = SmallVec::from_slice(&[q, k, v]);
    inputs.extend(options.mask);
    let output = Output::new(NAME, q.device(), Layout::contiguous(&shape), dtype, out, &inputs, |_, _| false)?;
    if output.target.is_empty() {
        return output.finish();
    }
    if s == 0 || lengths.iter().all(|&length| length == 0) {
        assign(&output.target, Operand::Scalar(Scalar::Int(0)))?;
        return output.finish();
    }
    // One axis of batch: a view, but for batches of several axes that do not lie evenly.
    let batched = |tensor: &Tensor, layout: Layout| -> Result<Tensor> {
        let tail = Shape::from_slice(&layout.shape[layout.shape.len() - 3..]);
        let extended: Shape = batch.iter().chain(&tail).copied().collect();
        let merged: Shape = [count].iter().chain(&tail).copied().collect();
        tensor.with_layout(layout.broadcast_to(&extended, NAME)?).reshape(&merged)
    };
    let problem = Problem {
        q: batched(q, q4)?,
        k: batched(k, k4)?,
        v: batched(v, v4)?,
        mask: mask.map(|mask| batched(&mask, mask.layout().clone())).transpose()?,
        reach,
        scale,
        softcap,
        lengths,
    };
    let merged = [count, q_heads, t, dv];
    if let Some(layout) = output.target.layout().reshaped(&merged) {
        problem.compute(&output.target.with_layout(layout))?;
    } else {
        let result = Tensor::empty(q.device(), &merged, dtype, NAME)?;
        problem.compute(&result)?;
        assign(&output.target, (&result.reshape(&shape)?).into())?;
    }
    output.finish()
}

/// The layout with an axis of heads, if it lacks one.
fn of_heads(layout: &Layout) -> Layout {
    if layout.ndim() == 2 { layout.with_axis(0) } else { layout.clone() }
}

/// Floats of two axes or more, the first one perhaps of one, on one device.
fn check_operands(name: &'static str, operands: &[(&Tensor, &str)]) -> Result<()> {
    for (i, &(tensor, label)) in operands.iter().enumerate() {
        let (first, first_label) = operands[0];
        first.device().check_same(tensor.device(), name, [first_label, label])?;
        if tensor.dtype().kind() != Kind::Float {
            return Err(Error::DType(format!(
                "{name}: {label} has dtype {}, but must have floats; convert it with astype()",
                tensor.dtype()
            )));
        }
        // Single queries, of one axis, are known only beside keys.
        let least = if i == 0 && name != NAME { 1 } else { 2 };
        if tensor.shape().len() < least {
            return Err(Error::Shape(format!(
                "{name}: {label} needs {least} axes or more, but has shape {}",
                show(tensor.shape())
            )));
        }
    }
    Ok(())
}

fn unequal(name: &str, [a, b]: [&Tensor; 2], names: [&str; 2], what: &str, lengths: [usize; 2]) -> Error {
    Error::Shape(format!(
        "{name}: {} has shape {} and {} {}; the {what} must be equal, but {} is not {}",
        names[0],
        show(a.shape()),
        names[1],
        show(b.shape()),
        lengths[0],
        lengths[1]
    ))
}

fn scale_of(name: &str, scale: Option<f64>, d: usize) -> Result<f32> {
    match scale {
        None => Ok((1.0 / (d.max(1) as f64).sqrt()) as f32),
        Some(scale) if (scale as f32).is_finite() => Ok(scale as f32),
        Some(scale) => Err(Error::Argument(format!("{name}: scale is {scale}; it must be a finite float32"))),
    }
}

fn softcap_of(softcap: f64) -> Result<f32> {
    let cap = softcap as f32;
    if cap.is_normal() && cap > 0.0 {
        Ok(cap)
    } else {
        Err(Error::Argument(format!("{NAME}: softcap is {softcap}; it must be a float32 from 1.2e-38 to 3.4e38")))
    }
}

fn check_lengths(lengths: &[usize], batch: usize, s: usize) -> Result<()> {
    if lengths.len() != 1 && lengths.len() != batch {
        return Err(Error::Shape(format!(
            "{NAME}: kv_length has {} numbers, but must be one, or one for each of the batch of {batch}",
            lengths.len()
        )));
    }
    match lengths.iter().find(|&&length| length > s) {
        Some(length) => Err(Error::Bounds(format!("{NAME}: kv_length is {length}, but there are only {s} keys"))),
        None => Ok(()),
    }
}

fn check_mask(q: &Tensor, mask: &Tensor, whole: &[usize]) -> Result<Layout> {
    q.device().check_same(mask.device(), NAME, ["q", "mask"])?;
    if mask.dtype().kind() == Kind::Int {
        return Err(Error::DType(format!(
            "{NAME}: mask has dtype {}; it must be bool (True where a key is visible) or floats to be added",
            mask.dtype()
        )));
    }
    if mask.shape().len() > MAX_AXES {
        return Err(Error::Shape(format!("{NAME}: mask has more than {MAX_AXES} axes")));
    }
    mask.layout().broadcast_to(whole, NAME).map_err(|_| {
        Error::Shape(format!(
            "{NAME}: mask has shape {}, which does not broadcast to {} (batch, heads of q, queries, keys)",
            show(mask.shape()),
            show(whole)
        ))
    })
}

impl Problem<'_> {
    fn compute(&self, out: &Tensor) -> Result<()> {
        match out.device() {
            Device::Cpu(device) => {
                profile::count(|| {
                    self.steps(self.q.shape()[..2].iter().product(), 0..self.q.shape()[2], self.lengths, 0..usize::MAX)
                });
                self.on_cpu(*device, out)
            }
            Device::Gpu(_) => self.on_gpu(out),
        }
    }

    /// What `work.rs` counts the arithmetic by, for some queries and keys of `heads` heads, those of all the
    /// batch: the pairs that see each other, each for all elements of a row.
    fn steps(&self, heads: usize, queries: Range<usize>, lengths: &[usize], keys: Range<usize>) -> u64 {
        let (t, d, dv) = (self.q.shape()[2], self.q.shape()[3], self.v.shape()[3]);
        let pairs: usize = lengths.iter().map(|&length| self.reach.pairs(queries.clone(), t, &keys, length)).sum();
        (pairs * heads / lengths.len() * (d + dv) / 2) as u64
    }

    fn on_cpu(&self, device: CpuDevice, out: &Tensor) -> Result<()> {
        let options = cpu::Options {
            mask: self.mask.as_ref().map(Tensor::view),
            reach: self.reach,
            scale: self.scale,
            softcap: self.softcap,
            lengths: self.lengths,
        };
        // SAFETY: the shapes were checked and broadcast above, and the output overlaps none of the operands.
        #[expect(unsafe_code, reason = "the loops trust the shapes")]
        unsafe {
            cpu::attention(device, self.q.view(), self.k.view(), self.v.view(), out.view_mut(), &options)
        }
    }
}

#[cfg(test)]
pub(crate) use gpu::all_specs;
