//! What an operation moves and computes, for estimates of where it is done best and for profiles.

use crate::ops::elementwise::{self, Operation};
use crate::shape::{Shape, broadcast_shapes};

/// The work of one call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Bytes of all operands.
    pub read: f64,
    /// Bytes of the result.
    pub written: f64,
    /// Arithmetic operations. A multiplication with an addition is two.
    pub operations: f64,
    /// The same by the time that they take, in operations that are done one by one.
    pub effort: f64,
}

/// Operations besides the elementwise ones: how the result's size follows from the operands, and the arithmetic for
/// each element of the first of them. Of matrices, it is the arithmetic for each element and each row or column that
/// it meets.
const OTHERS: &[(&str, Output, f64)] = &[
    ("all", Output::Small, 1.0),
    ("any", Output::Small, 1.0),
    ("argmax", Output::Small, 2.0),
    ("argmin", Output::Small, 2.0),
    ("attention", Output::Same, 4.0),
    ("attention_scores", Output::Scores, 2.0),
    ("concat", Output::Sum, 0.0),
    ("cumsum", Output::Same, 1.0),
    ("embedding", Output::Rows, 0.0),
    ("group_norm", Output::Same, 8.0),
    ("l2_norm", Output::Same, 4.0),
    ("layer_norm", Output::Same, 8.0),
    ("log_softmax", Output::Same, 30.0),
    ("matmul", Output::Product, 2.0),
    ("matmul_vec", Output::WithoutLastAxis, 2.0),
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
    ("weighted_sum", Output::Product, 2.0),
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

/// How much less time an operation of a product takes than one of another kind: nothing runs as fast as
/// multiplications with additions.
const PRODUCT_EFFORT: f64 = 0.25;

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
        let is_product =
            name == "attention" || matches!(result, Output::Product | Output::Scores | Output::WithoutLastAxis);
        let operations = length(first) * meets * cost;
        let effort = if is_product { operations * PRODUCT_EFFORT } else { operations };
        return Some(Work { read, written: elements * size, operations, effort });
    }
    let operation = elementwise::OPERATIONS.iter().find(|operation| operation.name == name)?;
    let mut shape = Shape::new();
    for (other, _) in operands {
        shape = broadcast_shapes(&shape, other, name, ["", ""]).ok()?;
    }
    let elements = length(&shape);
    let operations = elements * operation.cost();
    Some(Work { read, written: elements * size, operations, effort: operations })
}

/// The arithmetic of a kernel that does `steps` times what an operation does for an element, or in a product for each
/// multiplication. None if the operation is not known, or does no arithmetic.
#[must_use]
pub fn operations(name: &str, steps: u64) -> Option<u64> {
    let cost = match OTHERS.iter().find(|&&(other, ..)| other == name) {
        Some(&(_, _, cost)) => cost,
        None => elementwise::OPERATIONS.iter().find(|operation| operation.name == name)?.cost(),
    };
    whole(steps as f64 * cost)
}

/// A count of operations; none where there are none.
#[must_use]
pub fn whole(operations: f64) -> Option<u64> {
    Some(operations as u64).filter(|&operations| operations > 0)
}

/// Bytes that an operation moves which reads operands and writes a result of so many bytes.
#[must_use]
pub fn moved(name: &str, operands: &[u64], result: u64) -> u64 {
    let gathers = OTHERS.iter().any(|&(other, output, _)| other == name && matches!(output, Output::Rows));
    match operands {
        // Of the first operand no more is read than is written.
        &[first, ref others @ ..] if gathers => first.min(result) + others.iter().sum::<u64>() + result,
        _ => operands.iter().sum::<u64>() + result,
    }
}

#[cfg(test)]
mod tests {
    use super::{moved, operations, work};

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

    #[test]
    fn operations_of_products_are_counted_as_everybody_does() {
        let product = work("matmul", &[(&[3, 5], 4), (&[5, 7], 4)]).unwrap();
        assert_eq!(product.operations, 2.0 * 3.0 * 5.0 * 7.0);
        assert_eq!(operations("matmul", 3 * 5 * 7), Some(2 * 3 * 5 * 7));
        assert_eq!(operations("take", 100), None, "no arithmetic");
        assert_eq!(operations("no operation", 100), None);
    }

    #[test]
    fn what_is_not_gathered_is_not_moved() {
        assert_eq!(moved("add", &[400, 400], 400), 1200);
        assert_eq!(moved("take", &[1_000_000, 40], 400), 400 + 40 + 400);
    }
}
