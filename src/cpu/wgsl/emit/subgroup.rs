//! What the lanes of a group, which is a subgroup, compute together.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{self, InstBuilder};

use super::Emitter;
use super::lanes::{Lanes, memory, scalar_type};
use crate::cpu::wgsl::ir::{Binary, Kind, Subgroup};

impl Emitter<'_> {
    pub(super) fn subgroup(&mut self, op: Subgroup, kind: Kind, a: &Lanes, b: Option<&Lanes>) -> Lanes {
        match op {
            Subgroup::Ballot => Lanes::One(self.ballot(a)),
            Subgroup::Reduce(op) => {
                let all = self.scanned(op, kind, a);
                Lanes::One(all[self.lanes])
            }
            Subgroup::InclusiveScan(op) => {
                let all = self.scanned(op, kind, a);
                self.gathered(&all[1..], kind)
            }
            Subgroup::ExclusiveScan(op) => {
                let all = self.scanned(op, kind, a);
                self.gathered(&all[..self.lanes], kind)
            }
            Subgroup::BroadcastFirst => Lanes::One(self.first_active(a, kind)),
            Subgroup::Shuffle | Subgroup::ShuffleXor | Subgroup::ShuffleUp | Subgroup::ShuffleDown => {
                let zero = Lanes::One(self.b.ins().iconst(I32, 0));
                let by = b.cloned().unwrap_or(zero);
                self.shuffle_lanes(op, kind, a, &by)
            }
        }
    }

    /// A bit for every lane that takes part and for which a `Bool` is true.
    fn ballot(&mut self, a: &Lanes) -> ir::Value {
        let mut mask = self.vectors(a, Kind::Bool);
        if self.lanes == 1 {
            let first = self.first(a, Kind::Bool);
            return self.b.ins().uextend(I32, first);
        }
        if let Some(active) = self.mask.clone() {
            mask = self.and(&mask, &active);
        }
        self.mask_bits(&mask)
    }

    fn mask_bits(&mut self, mask: &[ir::Value]) -> ir::Value {
        let mut bits = self.b.ins().iconst(I32, 0);
        for (i, part) in mask.iter().enumerate() {
            let part = self.b.ins().vhigh_bits(I32, *part);
            let part = self.b.ins().ishl_imm_u(part, 4 * i as i64);
            bits = self.b.ins().bor(bits, part);
        }
        bits
    }

    /// The neutral element, and the results over one lane, two, and so on to all. Lanes that take no part count as
    /// neutral.
    fn scanned(&mut self, op: Binary, kind: Kind, a: &Lanes) -> Vec<ir::Value> {
        let ty = scalar_type(kind);
        let neutral = neutral(op, kind);
        let neutral = self.bits(ty, neutral);
        let mut lanes = a.clone();
        if let Some(mask) = self.mask.clone() {
            lanes = self.selected(&Lanes::Many(mask), a, &Lanes::One(neutral), kind);
        }
        let mut all = vec![neutral];
        for lane in 0..self.lanes {
            let value = self.lane(&lanes, kind, lane);
            if lane == 0 {
                all.push(value);
                continue;
            }
            let sum = self.binary(op, kind, &Lanes::One(all[lane]), &Lanes::One(value));
            all.push(self.first(&sum, kind));
        }
        all
    }

    /// The value of the first lane that takes part.
    pub(super) fn first_active(&mut self, a: &Lanes, kind: Kind) -> ir::Value {
        match (a, self.mask.clone()) {
            (Lanes::One(value), _) => *value,
            (_, None) => self.first(a, kind),
            (_, Some(mask)) => {
                let bits = self.mask_bits(&mask);
                let lane = self.b.ins().ctz(bits);
                let start = self.spread(a, kind);
                self.spread_lane(start, kind, lane)
            }
        }
    }

    /// Puts all lanes into memory.
    fn spread(&mut self, a: &Lanes, kind: Kind) -> ir::Value {
        let start = self.b.ins().stack_addr(I64, self.operands, 0);
        for (i, vector) in self.vectors(a, kind).into_iter().enumerate() {
            self.b.ins().store(memory(), vector, start, 16 * i as i32);
        }
        start
    }

    fn spread_lane(&mut self, start: ir::Value, kind: Kind, lane: ir::Value) -> ir::Value {
        let lane = self.b.ins().uextend(I64, lane);
        let offset = self.b.ins().imul_imm_u(lane, if kind.is_wide() { 8 } else { 4 });
        let place = self.b.ins().iadd(start, offset);
        if kind == Kind::Bool {
            let bits = self.b.ins().load(I32, memory(), place, 0);
            return self.b.ins().icmp_imm_s(IntCC::NotEqual, bits, 0);
        }
        self.b.ins().load(scalar_type(kind), memory(), place, 0)
    }

    fn shuffle_lanes(&mut self, op: Subgroup, kind: Kind, a: &Lanes, by: &Lanes) -> Lanes {
        if self.lanes == 1 {
            return a.clone();
        }
        let start = self.spread(a, kind);
        let zero = self.bits(scalar_type(kind), 0);
        let from = |e: &mut Self, lane: ir::Value| {
            let is_there = e.b.ins().icmp_imm_u(IntCC::UnsignedLessThan, lane, e.lanes as i64);
            let none = e.b.ins().iconst(I32, 0);
            let lane = e.b.ins().select(is_there, lane, none);
            let value = e.spread_lane(start, kind, lane);
            e.b.ins().select(is_there, value, zero)
        };
        if let (Subgroup::Shuffle, Lanes::One(lane)) = (op, by) {
            return Lanes::One(from(self, *lane));
        }
        let scalars: Vec<ir::Value> = (0..self.lanes)
            .map(|lane| {
                let by = self.lane(by, Kind::U32, lane);
                let own = self.b.ins().iconst(I32, lane as i64);
                let lane = match op {
                    Subgroup::ShuffleXor => self.b.ins().bxor(own, by),
                    Subgroup::ShuffleUp => self.b.ins().isub(own, by),
                    Subgroup::ShuffleDown => self.b.ins().iadd(own, by),
                    _ => by,
                };
                from(self, lane)
            })
            .collect();
        self.gathered(&scalars, kind)
    }
}

/// The bits of what an operation does not change anything by.
fn neutral(op: Binary, kind: Kind) -> u64 {
    let is_wide = kind.is_wide();
    let float = |value: f64| if is_wide { value.to_bits() } else { u64::from((value as f32).to_bits()) };
    match (op, kind) {
        (Binary::Multiply, _) if kind.is_float() => float(1.0),
        (Binary::And, Kind::Bool) | (Binary::Multiply, _) => 1,
        (Binary::Min, _) if kind.is_float() => float(f64::INFINITY),
        (Binary::Max, _) if kind.is_float() => float(f64::NEG_INFINITY),
        (Binary::Min, Kind::I32) => i32::MAX as u64,
        (Binary::Min, Kind::I64) => i64::MAX as u64,
        (Binary::And | Binary::Min, _) => u64::MAX,
        (Binary::Max, Kind::I32) => 1 << 31,
        (Binary::Max, Kind::I64) => 1 << 63,
        _ => 0,
    }
}
