//! What a product is put through before it is given away.

use super::elementwise;
use crate::dtype::Kind;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// An elementwise operation on floats.
#[derive(Debug, Clone, Copy)]
pub struct Activation {
    pub name: &'static str,
    function: fn(&Tensor, Option<&Tensor>) -> Result<Tensor>,
}

pub const ACTIVATIONS: [Activation; 7] = [
    Activation { name: "relu", function: elementwise::relu },
    Activation { name: "squared_relu", function: elementwise::squared_relu },
    Activation { name: "silu", function: elementwise::silu },
    Activation { name: "gelu", function: elementwise::gelu },
    Activation { name: "gelu_tanh", function: elementwise::gelu_tanh },
    Activation { name: "sigmoid", function: elementwise::sigmoid },
    Activation { name: "tanh", function: elementwise::tanh },
];

impl Activation {
    /// Its place in [`ACTIVATIONS`].
    pub(super) fn index(self) -> usize {
        ACTIVATIONS.iter().position(|each| each.name == self.name).unwrap_or_default()
    }

    /// It in WGSL, of `a`.
    pub(super) fn formula(self) -> &'static str {
        elementwise::float_formula(self.name)
    }

    /// Refuses operands whose product is of integers.
    pub fn check(self, name: &str, operands: &[&Tensor]) -> Result<()> {
        if operands.iter().any(|operand| operand.dtype().kind() == Kind::Float) {
            return Ok(());
        }
        let dtypes: Vec<&str> = operands.iter().map(|operand| operand.dtype().name()).collect();
        Err(Error::DType(format!(
            "{name}: activation='{}' is for floats, but the operands are {}; convert them with astype()",
            self.name,
            dtypes.join(" and ")
        )))
    }

    /// Applies it to a result in its place.
    pub fn apply(self, result: &Tensor) -> Result<()> {
        (self.function)(result, Some(result)).map(drop)
    }
}
