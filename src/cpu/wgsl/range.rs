//! How large indices can become, so that some need no check.

use super::ir::{Binary, Body, Builtin, Kind, Op, Unary, Value};

/// How many operations back it is looked.
const DEPTH: u32 = 12;

/// The largest number, without a sign, that a value of 32 bits can be in any lane. None if it can be any.
pub(super) fn upper(body: &Body, value: Value, lanes: usize) -> Option<u64> {
    of(body, value, lanes, DEPTH).filter(|upper| *upper < u64::from(u32::MAX))
}

fn of(body: &Body, value: Value, lanes: usize, depth: u32) -> Option<u64> {
    let depth = depth.checked_sub(1)?;
    let of = |value| of(body, value, lanes, depth);
    let kind = body.kind(value);
    let is_number = matches!(kind, Kind::I32 | Kind::U32);
    // What could be negative is as large as can be.
    let fits =
        |upper: u64| (upper <= i32::MAX as u64 || kind == Kind::U32 && upper <= u64::from(u32::MAX)).then_some(upper);
    match body.op(value) {
        Op::Constant(bits) if is_number => fits(u64::from(*bits as u32)),
        Op::Builtin(builtin) => {
            let size = body.workgroup_size;
            // Lanes without an invocation have ids too.
            let is_full = size.iter().product::<u32>().is_multiple_of(lanes as u32);
            match builtin {
                Builtin::LocalId(axis) if is_full => Some(u64::from(size[usize::from(*axis)] - 1)),
                Builtin::LocalIndex if is_full => Some(u64::from(size.iter().product::<u32>() - 1)),
                Builtin::Lane => Some(lanes as u64 - 1),
                _ => None,
            }
        }
        Op::Unary(Unary::Convert(Kind::I32 | Kind::U32) | Unary::Bitcast(Kind::I32 | Kind::U32), inner)
            if matches!(body.kind(*inner), Kind::I32 | Kind::U32) =>
        {
            fits(of(*inner)?)
        }
        Op::Unary(Unary::Convert(Kind::I32 | Kind::U32), inner) if body.kind(*inner) == Kind::Bool => Some(1),
        Op::Select(_, a, b) if is_number => Some(of(*a)?.max(of(*b)?)),
        Op::Binary(op, a, b) if is_number => match op {
            Binary::And => match (of(*a), of(*b)) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
            Binary::Min => match (of(*a), of(*b)) {
                (Some(a), Some(b)) => Some(a.min(b)),
                // The other could be negative.
                (a, b) if kind == Kind::U32 => a.or(b),
                _ => None,
            },
            Binary::Max => Some(of(*a)?.max(of(*b)?)),
            Binary::Add => fits(of(*a)?.checked_add(of(*b)?)?),
            Binary::Multiply => fits(of(*a)?.checked_mul(of(*b)?)?),
            Binary::Or | Binary::Xor => fits((of(*a)? | of(*b)?).checked_add(1)?.next_power_of_two() - 1),
            Binary::Remainder => {
                let most = body.constant(*b).and_then(|bits| u64::from(bits as u32).checked_sub(1));
                match (most, of(*a)) {
                    (Some(most), Some(a)) => Some(a.min(most)),
                    (Some(most), None) if kind == Kind::U32 => Some(most),
                    (_, a) => a,
                }
            }
            Binary::Divide => {
                let by = body.constant(*b).map(|bits| u64::from(bits as u32)).filter(|by| *by > 0)?;
                if kind == Kind::I32 && by > i32::MAX as u64 {
                    return None;
                }
                match of(*a) {
                    Some(a) => Some(a / by),
                    None => (kind == Kind::U32).then(|| u64::from(u32::MAX) / by),
                }
            }
            Binary::ShiftRight => {
                let by = body.constant(*b)? % 32;
                match of(*a) {
                    Some(a) => Some(a >> by),
                    None => (kind == Kind::U32).then(|| u64::from(u32::MAX) >> by),
                }
            }
            Binary::ShiftLeft => {
                let by = body.constant(*b)? % 32;
                fits(of(*a)?.checked_shl(by as u32)?)
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ir::Definition;
    use super::*;

    #[test]
    fn what_is_cut_off_is_bounded() {
        let number = |kind, op| Definition { kind, op };
        let local = Op::Builtin(Builtin::LocalIndex);
        let mut body = Body {
            values: vec![
                number(Kind::U32, local),
                number(Kind::U32, Op::Constant(15)),
                number(Kind::U32, Op::FromMemory),
                number(Kind::U32, Op::Binary(Binary::And, Value(2), Value(1))),
                number(Kind::U32, Op::Binary(Binary::Multiply, Value(3), Value(1))),
                number(Kind::U32, Op::Binary(Binary::Add, Value(4), Value(0))),
                number(Kind::U32, Op::Binary(Binary::Remainder, Value(2), Value(1))),
                number(Kind::I32, Op::FromMemory),
                number(Kind::I32, Op::Constant(15)),
                number(Kind::I32, Op::Binary(Binary::Remainder, Value(7), Value(8))),
                number(Kind::I32, Op::Binary(Binary::Min, Value(7), Value(8))),
                number(Kind::U32, Op::Binary(Binary::Subtract, Value(0), Value(1))),
            ],
            variables: Vec::new(),
            labels: 0,
            statements: Vec::new(),
            workgroup_size: [64, 1, 1],
            workgroup_memory: 0,
            private_memory: 0,
            subgroups: false,
            checked: true,
        };
        let bounds = |body: &Body| (0..12).map(|i| upper(body, Value(i), 8)).collect::<Vec<_>>();
        let expected =
            [Some(63), Some(15), None, Some(15), Some(225), Some(288), Some(14), None, Some(15), None, None, None];
        assert_eq!(bounds(&body), expected);
        body.workgroup_size = [60, 1, 1];
        assert_eq!(bounds(&body)[0], None);
    }
}
