//! What an operation moves and computes, for estimates of where it is done best.

use crate::ops::elementwise::{self, Operation};
use crate::shape::{Shape, broadcast_shapes};

/// The work of one call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Bytes of all operands.
    pub read: f64,
    /// Bytes of the result.
    pub written: f64,
    /// Arithmetic operations on float32.
    pub operations: f64,
}

/// Operations besides the elementwise ones: how the result's size follows from the operands, and the arithmetic for
/// each element of the first of them. Of matrices, it is the arithmetic for each element and each row or column that
/// it meets; a multiplication with an addition counts as half an operation, since nothing runs as fast.
const OTHERS: &[(&str, Output, f64)] = &[
    ("all", Output::Small, 1.0),
    ("any", Output::Small, 1.0),
    ("argmax", Output::Small, 2.0),
    ("argmin", Output::Small, 2.0),
    ("attention", Output::Same, 1.0),
    ("attention_scores", Output::Scores, 0.5),
    ("concat", Output::Sum, 0.0),
    ("cumsum", Output::Same, 1.0),
    ("embedding", Output::Rows, 0.0),
    ("group_norm", Output::Same, 8.0),
    ("l2_norm", Output::Same, 4.0),
    ("layer_norm", Output::Same, 8.0),
    ("log_softmax", Output::Same, 30.0),
    ("matmul", Output::Product, 0.5),
    ("matmul_vec", Output::WithoutLastAxis, 0.5),
    ("max", Output::Small, 1.0),
    ("mean", Output::Small, 1.0),
    ("min", Output::Small, 1.0),
    ("prod", Output::Small, 1.0),
    ("rms_norm", Output::Same, 4.0),
    ("rope", Output::Same, 3.0),
    ("rope_tables", Output::Tables, 2500.0),
    ("softmax", Output::Same, 30.0),
    ("stack", Output::Sum, 0.0),
    ("std", Output::Small, 4.0),
    ("sum", Output::Small, 1.0),
    ("take", Output::Rows, 0.0),
    ("var", Output::Small, 4.0),
    ("weighted_sum", Output::Product, 0.5),
];

#[derive(Clone, Copy)]
enum Output {
    /// As large as the first operand.
    Same,
    WithoutLastAxis,
    /// So small that it does not matter.
    Small,
    /// As large as all operands together.
    Sum,
    /// Two rows for each element, of 64 as `dim` is mostly 128.
    Tables,
    /// A row of the first operand for each element of the second.
    Rows,
    /// Of matrices: as many rows as the first operand, as many columns as the second.
    Product,
    /// As many rows as the first operand, and a column for each row of the second.
    Scores,
}

/// The names of all operations that have an estimate.
pub fn names() -> impl Iterator<Item = &'static str> {
    // `gelu_tanh` is what `gelu` does if asked to.
    let elementwise =
        elementwise::OPERATIONS.iter().map(|operation| operation.name).filter(|&name| name != "gelu_tanh");
    elementwise.chain(OTHERS.iter().map(|&(name, ..)| name))
}

/// How many operands an operation has at least.
#[must_use]
pub fn operands(name: &str) -> usize {
    match name {
        "clip" => 1,
        "attention_scores" | "embedding" | "matmul" | "matmul_vec" | "take" | "weighted_sum" => 2,
        "attention" | "rope" => 3,
        _ => elementwise::OPERATIONS.iter().find(|operation| operation.name == name).map_or(1, Operation::operands),
    }
}

/// The work of an operation on operands of these shapes with elements of so many bytes; none if the operation is not
/// known, or refuses them.
#[must_use]
pub fn work(name: &str, operands: &[(&[usize], usize)]) -> Option<Work> {
    let length = |shape: &[usize]| shape.iter().map(|&length| length as f64).product::<f64>();
    let read: f64 = operands.iter().map(|&(shape, size)| length(shape) * size as f64).sum();
    let size = operands.iter().map(|&(_, size)| size).max()? as f64;
    let first = operands.first()?.0;
    if let Some(&(_, result, cost)) = OTHERS.iter().find(|&&(other, ..)| other == name) {
        let second = operands.get(1).map_or(&[][..], |&(shape, _)| shape);
        // An axis of the second operand, counted from its last; of the first, how long its rows are.
        let axis = |from_last: usize| second.iter().nth_back(from_last).map_or(1.0, |&length| length as f64);
        let row = first.last().map_or(1.0, |&length| length.max(1) as f64);
        let meets = match result {
            Output::Product => axis(0),
            Output::Scores => axis(1),
            _ if name == "attention" => axis(1),
            _ => 1.0,
        };
        let elements = match result {
            Output::Same => length(first),
            Output::Product | Output::Scores => length(first) / row * meets,
            Output::WithoutLastAxis => length(&first[..first.len().saturating_sub(1)]),
            Output::Small => 0.0,
            Output::Sum => operands.iter().map(|&(shape, _)| length(shape)).sum(),
            Output::Tables => length(first) * 128.0,
            Output::Rows => length(first.get(1..).unwrap_or(&[])) * length(second),
        };
        return Some(Work { read, written: elements * size, operations: length(first) * meets * cost });
    }
    let operation = elementwise::OPERATIONS.iter().find(|operation| operation.name == name)?;
    let mut shape = Shape::new();
    for (other, _) in operands {
        shape = broadcast_shapes(&shape, other, name, ["", ""]).ok()?;
    }
    let elements = length(&shape);
    Some(Work { read, written: elements * size, operations: elements * operation.cost() })
}

#[cfg(test)]
mod tests {
    use super::work;

    #[test]
    fn functions_take_more_arithmetic_than_what_moves_signs() {
        let operations = |name| work(name, &[(&[100], 4)]).unwrap().operations;
        for name in ["gelu", "erf", "sigmoid", "power", "exp", "sin"] {
            assert!(operations(name) > 10.0 * operations("abs"), "{name}");
        }
        for name in ["maximum", "clip", "relu", "sign", "isnan", "where"] {
            assert_eq!(operations(name), operations("abs"), "{name}");
        }
    }
}
