//! Loads, stores and atomics.
//!
//! Where lanes lie side by side in memory, and all of them are there, they are loaded and stored as vectors; else one
//! after another. An index that is too large reads the first element instead, whose place is always there, and the
//! result is made zero; a store goes to a place that nobody reads.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32X4, I8, I16, I32, I32X4, I64};
use cranelift_codegen::ir::{self, AtomicRmwOp, InstBuilder, MemFlagsData};
use smallvec::SmallVec;

use super::lanes::{Lanes, Vectors, memory, scalar_type, vector_type};
use super::{DISCARD, Emitter};
use crate::cpu::wgsl::ir::{Atomic, Binary, Count, Format, Kind, Memory, Part, Place, Step, Value};
use crate::cpu::wgsl::{Bound, run};

/// Where the lanes of a place are.
enum Address {
    /// All at one place, which is there if the condition holds.
    One { start: ir::Value, valid: Option<ir::Value> },
    /// Each so many bytes behind the one before. All are side by side if the first condition holds, and none is there
    /// unless the second one does.
    Strided { start: ir::Value, stride: i64, fits: Option<ir::Value>, valid: Option<ir::Value> },
    /// One for each lane, and the mask of those that are there.
    Each { starts: Vec<ir::Value>, valid: Option<Vectors> },
}

impl Emitter<'_> {
    // ---- Addresses

    /// Where a kind of memory begins, for the lanes of this group.
    fn base(&mut self, place: &Place) -> ir::Value {
        match place.memory {
            Memory::Buffer { index, .. } => self.bound_field(index, std::mem::offset_of!(Bound, start)),
            Memory::Workgroup => self.field(I64, std::mem::offset_of!(run::Context, workgroup)),
            Memory::Private => {
                let bytes = self.lanes as u32 * self.body.private_memory;
                if self.is_cut {
                    self.slot(self.private, bytes)
                } else {
                    let start = self.scratch();
                    self.b.ins().iadd_imm_s(start, i64::from(self.private))
                }
            }
        }
    }

    /// A field of what is bound as a buffer.
    fn bound_field(&mut self, buffer: u32, offset: usize) -> ir::Value {
        let table = self.field(I64, std::mem::offset_of!(run::Context, bound));
        let entry = buffer as usize * size_of::<Bound>() + offset;
        let flags = self.unchanging();
        self.b.ins().load(I64, flags, table, entry as i32)
    }

    /// Where a place is before any of its steps.
    fn origin(&mut self, place: &Place) -> ir::Value {
        let start = self.base(place);
        if place.offset == 0 {
            return start;
        }
        let offset = i64::from(place.offset) * self.scale(place);
        self.b.ins().iadd_imm_s(start, offset)
    }

    /// How many bytes a step of private memory is for all lanes; they are interleaved, scalar by scalar.
    fn scale(&self, place: &Place) -> i64 {
        if place.memory == Memory::Private { self.lanes as i64 } else { 1 }
    }

    /// The number of elements behind so many bytes of a buffer, of 64 bits.
    fn runtime_length(&mut self, buffer: u32, offset: u32, stride: u32) -> ir::Value {
        let bytes = self.bound_field(buffer, std::mem::offset_of!(Bound, bytes));
        let more = self.b.ins().iadd_imm_s(bytes, -i64::from(offset));
        let zero = self.b.ins().iconst(I64, 0);
        let has_some = self.b.ins().icmp_imm_u(IntCC::UnsignedGreaterThan, bytes, i64::from(offset));
        let more = self.b.ins().select(has_some, more, zero);
        if stride.is_power_of_two() {
            self.b.ins().ushr_imm_u(more, i64::from(stride.trailing_zeros()))
        } else {
            self.b.ins().udiv_imm_u(more, i64::from(stride))
        }
    }

    pub(super) fn array_length(&mut self, buffer: u32, offset: u32, stride: u32) -> ir::Value {
        let length = self.runtime_length(buffer, offset, stride);
        self.b.ins().ireduce(I32, length)
    }

    /// The length that a step's index has to be below, of 64 bits; none where it always is.
    fn bound(&mut self, place: &Place, step: &Step) -> Option<ir::Value> {
        match (step.count, place.memory) {
            (Count::Fixed(count), _) => {
                let is_below =
                    self.ranges.upper(self.body, step.index, self.lanes).is_some_and(|upper| upper < u64::from(count));
                (!is_below).then(|| self.b.ins().iconst(I64, i64::from(count)))
            }
            (Count::Runtime { offset }, Memory::Buffer { index, .. }) => {
                Some(self.runtime_length(index, offset, step.stride))
            }
            (Count::Runtime { .. }, _) => Some(self.b.ins().iconst(I64, 0)),
        }
    }

    fn address(&mut self, place: &Place, extent: u32) -> Address {
        self.note_least(place, extent);
        let indices: SmallVec<[Lanes; 2]> = place.steps.iter().map(|step| self.value(step.index)).collect();
        let is_affine = indices.iter().all(|index| matches!(index, Lanes::One(_) | Lanes::Affine(..)));
        if !is_affine {
            return self.each_address(place, &indices);
        }
        let scale = self.scale(place);
        let mut start = self.origin(place);
        let mut stride = 0;
        let (mut fits, mut valid): (Option<ir::Value>, Option<ir::Value>) = (None, None);
        for (step, lanes) in place.steps.iter().zip(&indices) {
            let (Lanes::One(first) | Lanes::Affine(first, _)) = *lanes else { continue };
            let more = if let Lanes::Affine(_, more) = *lanes { i64::from(more) } else { 0 };
            if more == 0 {
                start = self.stepped(start, place, step, first, &mut valid);
                continue;
            }
            let index = self.b.ins().uextend(I64, first);
            if let Some(bound) = self.bound(place, step) {
                // Both ends are below it. What wraps is beyond it in 64 bits.
                let last = self.b.ins().iadd_imm_s(index, more.wrapping_mul(self.lanes as i64 - 1));
                for end in [index, last] {
                    let is_below = self.b.ins().icmp(IntCC::UnsignedLessThan, end, bound);
                    fits = Some(self.both(fits, is_below));
                }
            }
            let offset = self.b.ins().imul_imm_u(index, i64::from(step.stride) * scale);
            start = self.b.ins().iadd(start, offset);
            stride += more * i64::from(step.stride);
        }
        if stride == 0 && fits.is_none() {
            return Address::One { start, valid };
        }
        Address::Strided { start, stride, fits, valid }
    }

    /// A step by an index that all lanes share. Where that is too large, it is the first element, and not valid.
    fn stepped(
        &mut self,
        start: ir::Value,
        place: &Place,
        step: &Step,
        index: ir::Value,
        valid: &mut Option<ir::Value>,
    ) -> ir::Value {
        let mut index = self.b.ins().uextend(I64, index);
        if let Some(bound) = self.bound(place, step) {
            let is_below = self.b.ins().icmp(IntCC::UnsignedLessThan, index, bound);
            let zero = self.b.ins().iconst(I64, 0);
            index = self.b.ins().select(is_below, index, zero);
            *valid = Some(self.both(*valid, is_below));
        }
        let stride = i64::from(step.stride) * self.scale(place);
        let offset = self.b.ins().imul_imm_u(index, stride);
        self.b.ins().iadd(start, offset)
    }

    fn both(&mut self, a: Option<ir::Value>, b: ir::Value) -> ir::Value {
        a.map_or(b, |a| self.b.ins().band(a, b))
    }

    /// Every lane's own place.
    fn each_address(&mut self, place: &Place, indices: &[Lanes]) -> Address {
        let scale = self.scale(place);
        let start = self.origin(place);
        let mut starts = vec![start; self.lanes];
        let mut valid: Option<Vectors> = None;
        for (step, lanes) in place.steps.iter().zip(indices) {
            let mut lanes = lanes.clone();
            if let Some(bound) = self.bound(place, step) {
                // No index is more than the largest of 32 bits, and that one is too large for any array.
                let most = self.b.ins().iconst(I64, i64::from(u32::MAX));
                let bound = self.b.ins().umin(bound, most);
                let bound = self.b.ins().ireduce(I32, bound);
                let is_below = self.compared(Binary::Less, Kind::U32, &lanes, &Lanes::One(bound));
                let is_below = self.vectors(&is_below, Kind::Bool);
                let vectors = self.vectors(&lanes, Kind::U32);
                lanes = Lanes::Many(self.and(&vectors, &is_below));
                valid = Some(match valid {
                    Some(valid) => self.and(&valid, &is_below),
                    None => is_below,
                });
            }
            for (lane, start) in starts.iter_mut().enumerate() {
                let index = self.lane(&lanes, Kind::U32, lane);
                let index = self.b.ins().uextend(I64, index);
                let offset = self.b.ins().imul_imm_u(index, i64::from(step.stride) * scale);
                *start = self.b.ins().iadd(*start, offset);
            }
        }
        Address::Each { starts, valid }
    }

    /// How far behind its place a lane's scalar is.
    fn offset_in(&self, place: &Place, part: &Part, lane: usize) -> u32 {
        let within = if place.memory == Memory::Private { lane as u32 * part.format.size() } else { 0 };
        part.offset * self.scale(place) as u32 + within
    }

    /// The places of lanes that have not been found to be side by side.
    fn scattered(&mut self, place: &Place) -> (Vec<ir::Value>, Option<Vectors>) {
        let indices: SmallVec<[Lanes; 2]> = place.steps.iter().map(|step| self.value(step.index)).collect();
        let Address::Each { starts, valid } = self.each_address(place, &indices) else { return (Vec::new(), None) };
        (starts, valid)
    }

    // ---- Loads

    pub(super) fn load(&mut self, place: &Place, parts: &[Part]) {
        let extent = extent(parts);
        let is_shared = matches!(place.memory, Memory::Buffer { writable: false, .. });
        let flags = if is_shared { memory().with_readonly() } else { memory() };
        let (all, valid): (Vec<Lanes>, _) = match self.address(place, extent) {
            Address::One { start, valid } if place.memory == Memory::Private && self.lanes > 1 => {
                (parts.iter().map(|part| self.load_interleaved(start, *part)).collect(), valid)
            }
            Address::One { start, valid } => {
                let load = |part: &Part| Lanes::One(self.load_scalar(part.format, start, part.offset, flags));
                (parts.iter().map(load).collect(), valid)
            }
            Address::Strided { start, stride, fits, valid } if place.memory != Memory::Private => {
                (self.loaded_strided(place, parts, start, stride, fits, flags), valid)
            }
            Address::Strided { .. } => {
                let (starts, valid) = self.scattered(place);
                (self.loaded_each(place, parts, &starts, valid.as_ref(), flags), None)
            }
            Address::Each { starts, valid } => (self.loaded_each(place, parts, &starts, valid.as_ref(), flags), None),
        };
        for (part, lanes) in parts.iter().zip(all) {
            let lanes = self.or_zero(lanes, part.format.kind(), valid);
            self.set_value(part.value, lanes);
        }
    }

    /// A load of what all share, whatever is known of its place.
    pub(super) fn load_uniform(&mut self, place: &Place, parts: &[Part]) {
        let mut start = self.origin(place);
        self.note_least(place, extent(parts));
        let mut valid = None;
        for step in &place.steps {
            let lanes = self.value(step.index);
            let first = self.first_active(&lanes, Kind::U32);
            start = self.stepped(start, place, step, first, &mut valid);
        }
        for part in parts {
            let scalar = self.load_scalar(part.format, start, part.offset, memory());
            let lanes = self.or_zero(Lanes::One(scalar), part.format.kind(), valid);
            self.set_value(part.value, lanes);
        }
    }

    /// A value where a condition holds, and zero elsewhere.
    fn or_zero(&mut self, lanes: Lanes, kind: Kind, valid: Option<ir::Value>) -> Lanes {
        let Some(valid) = valid else { return lanes };
        let ty = if matches!(lanes, Lanes::One(_)) { scalar_type(kind) } else { vector_type(kind) };
        let zero = self.bits(ty, 0);
        match lanes {
            Lanes::One(value) => Lanes::One(self.b.ins().select(valid, value, zero)),
            Lanes::Many(vectors) => {
                Lanes::Many(vectors.iter().map(|vector| self.b.ins().select(valid, *vector, zero)).collect())
            }
            lanes @ Lanes::Affine(..) => lanes,
        }
    }

    fn load_scalar(&mut self, format: Format, start: ir::Value, offset: u32, flags: MemFlagsData) -> ir::Value {
        let offset = offset as i32;
        match format {
            Format::Plain(Kind::Bool) => {
                let bits = self.b.ins().load(I32, flags, start, offset);
                self.b.ins().icmp_imm_s(IntCC::NotEqual, bits, 0)
            }
            Format::Plain(kind) => self.b.ins().load(scalar_type(kind), flags, start, offset),
            Format::Bool8 => {
                let byte = self.b.ins().load(I8, flags, start, offset);
                self.b.ins().icmp_imm_s(IntCC::NotEqual, byte, 0)
            }
            Format::F16 => {
                let bits = self.b.ins().uload16(I32, flags, start, offset);
                self.half_from_bits(bits)
            }
        }
    }

    /// All lanes of a scalar in private memory.
    fn load_interleaved(&mut self, start: ir::Value, part: Part) -> Lanes {
        let kind = part.format.kind();
        let offset = part.offset * self.lanes as u32;
        Lanes::Many(
            (0..self.count(kind))
                .map(|i| self.b.ins().load(vector_type(kind), memory(), start, offset as i32 + 16 * i as i32))
                .collect(),
        )
    }

    fn loaded_strided(
        &mut self,
        place: &Place,
        parts: &[Part],
        start: ir::Value,
        stride: i64,
        fits: Option<ir::Value>,
        flags: MemFlagsData,
    ) -> Vec<Lanes> {
        let Some(fits) = fits else {
            return self.load_side_by_side(parts, start, stride, flags);
        };
        let (fast, slow, end) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.ins().brif(fits, fast, &[], slow, &[]);
        let mut results = Vec::new();
        for part in parts {
            let kind = part.format.kind();
            let vectors: Vectors =
                (0..self.count(kind)).map(|_| self.b.append_block_param(end, vector_type(kind))).collect();
            results.push(Lanes::Many(vectors));
        }
        let finish = |e: &mut Self, all: &[Lanes]| {
            let mut arguments: Vec<ir::BlockArg> = Vec::new();
            for (part, lanes) in parts.iter().zip(all) {
                arguments.extend(e.vectors(lanes, part.format.kind()).into_iter().map(ir::BlockArg::from));
            }
            e.b.ins().jump(end, &arguments);
        };
        self.b.switch_to_block(fast);
        self.b.seal_block(fast);
        let all = self.load_side_by_side(parts, start, stride, flags);
        finish(self, &all);
        self.rarely(slow, |e| {
            let (starts, valid) = e.scattered(place);
            let all = e.loaded_each(place, parts, &starts, valid.as_ref(), flags);
            finish(e, &all);
        });
        self.b.switch_to_block(end);
        self.b.seal_block(end);
        results
    }

    /// Loads what lies so many bytes apart from lane to lane.
    fn load_side_by_side(&mut self, parts: &[Part], start: ir::Value, stride: i64, flags: MemFlagsData) -> Vec<Lanes> {
        if let Some(lanes) = self.load_vectors(parts, start, stride, flags) {
            return lanes;
        }
        if are_four(parts) && stride == 16 {
            return self.load_fours(parts, start, flags);
        }
        if are_two(parts) && stride == 8 {
            return self.load_pairs(parts, start, flags);
        }
        parts
            .iter()
            .map(|part| {
                let scalars: Vec<ir::Value> = (0..self.lanes)
                    .map(|lane| {
                        let offset = i64::from(part.offset) + lane as i64 * stride;
                        self.load_far(part.format, start, offset, flags)
                    })
                    .collect();
                self.gathered(&scalars, part.format.kind())
            })
            .collect()
    }

    fn load_far(&mut self, format: Format, start: ir::Value, offset: i64, flags: MemFlagsData) -> ir::Value {
        match i32::try_from(offset) {
            // Offsets of loads are added as signed ones.
            Ok(near) if near >= 0 => self.load_scalar(format, start, near as u32, flags),
            _ => {
                let start = self.b.ins().iadd_imm_s(start, offset);
                self.load_scalar(format, start, 0, flags)
            }
        }
    }

    /// One scalar whose lanes follow each other.
    fn load_vectors(
        &mut self,
        parts: &[Part],
        start: ir::Value,
        stride: i64,
        flags: MemFlagsData,
    ) -> Option<Vec<Lanes>> {
        let [part] = parts else { return None };
        if stride != i64::from(part.format.size()) {
            return None;
        }
        let kind = part.format.kind();
        let offset = part.offset as i32;
        let vectors = match part.format {
            Format::Plain(kind) => (0..self.count(kind))
                .map(|i| self.b.ins().load(vector_type(kind), flags, start, offset + 16 * i as i32))
                .collect(),
            Format::F16 => (0..self.count(kind))
                .map(|i| {
                    let bits = self.b.ins().uload16x4(flags, start, offset + 8 * i as i32);
                    self.half_from_bits(bits)
                })
                .collect(),
            Format::Bool8 => return None,
        };
        Some(vec![Lanes::Many(vectors)])
    }

    /// Vectors of four numbers, one for each lane.
    fn load_fours(&mut self, parts: &[Part], start: ir::Value, flags: MemFlagsData) -> Vec<Lanes> {
        let mut columns = vec![Vectors::new(); 4];
        for first in (0..self.lanes).step_by(4) {
            let rows: Vec<ir::Value> = (0..4)
                .map(|i| {
                    let offset = parts[0].offset as usize + 16 * (first + i);
                    self.b.ins().load(I32X4, flags, start, offset as i32)
                })
                .collect();
            for (column, vector) in columns.iter_mut().zip(self.transposed(&rows)) {
                column.push(vector);
            }
        }
        parts.iter().zip(columns).map(|(part, vectors)| self.many(part.format.kind(), &vectors)).collect()
    }

    /// Vectors of two numbers, one for each lane.
    fn load_pairs(&mut self, parts: &[Part], start: ir::Value, flags: MemFlagsData) -> Vec<Lanes> {
        let mut columns = vec![Vectors::new(); 2];
        for first in (0..self.lanes).step_by(4) {
            let offset = parts[0].offset as i32 + 8 * first as i32;
            let low = self.b.ins().load(I32X4, flags, start, offset);
            let high = self.b.ins().load(I32X4, flags, start, offset + 16);
            columns[0].push(self.shuffled(low, high, [0, 2, 4, 6]));
            columns[1].push(self.shuffled(low, high, [1, 3, 5, 7]));
        }
        parts.iter().zip(columns).map(|(part, vectors)| self.many(part.format.kind(), &vectors)).collect()
    }

    fn many(&mut self, kind: Kind, vectors: &[ir::Value]) -> Lanes {
        Lanes::Many(vectors.iter().map(|vector| self.cast(vector_type(kind), *vector)).collect())
    }

    /// Four of the eight numbers of two vectors.
    fn shuffled(&mut self, a: ir::Value, b: ir::Value, numbers: [u8; 4]) -> ir::Value {
        use cranelift_codegen::ir::types::I8X16;
        let ty = self.type_of(a);
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| 4 * number..4 * number + 4).collect();
        let mask = self.b.func.dfg.immediates.push(bytes.into());
        let (a, b) = (self.cast(I8X16, a), self.cast(I8X16, b));
        let shuffled = self.b.ins().shuffle(a, b, mask);
        self.cast(ty, shuffled)
    }

    /// Rows as columns.
    fn transposed(&mut self, rows: &[ir::Value]) -> [ir::Value; 4] {
        let (a, b) = (self.shuffled(rows[0], rows[1], [0, 4, 1, 5]), self.shuffled(rows[2], rows[3], [0, 4, 1, 5]));
        let (c, d) = (self.shuffled(rows[0], rows[1], [2, 6, 3, 7]), self.shuffled(rows[2], rows[3], [2, 6, 3, 7]));
        [
            self.shuffled(a, b, [0, 1, 4, 5]),
            self.shuffled(a, b, [2, 3, 6, 7]),
            self.shuffled(c, d, [0, 1, 4, 5]),
            self.shuffled(c, d, [2, 3, 6, 7]),
        ]
    }

    fn loaded_each(
        &mut self,
        place: &Place,
        parts: &[Part],
        starts: &[ir::Value],
        valid: Option<&Vectors>,
        flags: MemFlagsData,
    ) -> Vec<Lanes> {
        parts
            .iter()
            .map(|part| {
                let kind = part.format.kind();
                let scalars: Vec<ir::Value> = starts
                    .iter()
                    .enumerate()
                    .map(|(lane, start)| {
                        self.load_scalar(part.format, *start, self.offset_in(place, part, lane), flags)
                    })
                    .collect();
                let lanes = self.gathered(&scalars, kind);
                let Some(valid) = valid else { return lanes };
                let zeros = Lanes::One(self.bits(scalar_type(kind), 0));
                self.selected(&Lanes::Many(valid.clone()), &lanes, &zeros, kind)
            })
            .collect()
    }

    // ---- Stores

    pub(super) fn store(&mut self, place: &Place, parts: &[Part]) {
        let values: Vec<Lanes> = parts.iter().map(|part| self.value(part.value)).collect();
        match self.address(place, extent(parts)) {
            Address::One { start, valid } if place.memory == Memory::Private && self.lanes > 1 => {
                let start = self.or_discard(start, valid, extent(parts) * self.lanes as u32);
                for (part, lanes) in parts.iter().zip(&values) {
                    self.store_interleaved(start, *part, lanes);
                }
            }
            Address::One { start, valid }
                if self.lanes == 1 || values.iter().all(|lanes| matches!(lanes, Lanes::One(_))) =>
            {
                // Whoever takes part stores the same.
                self.store_if(valid, |e| {
                    for (part, lanes) in parts.iter().zip(&values) {
                        let offset = part.offset * e.scale(place) as u32;
                        let scalar = e.first(lanes, part.format.kind());
                        e.store_scalar(part.format, scalar, start, offset);
                    }
                });
            }
            Address::Strided { start, stride, fits, valid } if place.memory != Memory::Private && stride != 0 => {
                self.store_if(valid, |e| e.store_strided(place, parts, &values, start, stride, fits));
            }
            Address::One { .. } | Address::Strided { .. } => {
                let (starts, valid) = self.scattered(place);
                self.store_each(place, parts, &values, &starts, valid);
            }
            Address::Each { starts, valid } => self.store_each(place, parts, &values, &starts, valid),
        }
    }

    /// Adds code that runs if a condition holds.
    fn store_if(&mut self, condition: Option<ir::Value>, mut f: impl FnMut(&mut Self)) {
        let Some(condition) = condition else {
            f(self);
            return;
        };
        let (start, end) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(condition, start, &[], end, &[]);
        self.b.switch_to_block(start);
        self.b.seal_block(start);
        f(self);
        self.b.ins().jump(end, &[]);
        self.b.switch_to_block(end);
        self.b.seal_block(end);
    }

    /// The place, or one that nobody reads where it is not there.
    fn or_discard(&mut self, start: ir::Value, valid: Option<ir::Value>, bytes: u32) -> ir::Value {
        let Some(valid) = valid else { return start };
        let discard = self.discard_place(bytes);
        self.b.ins().select(valid, start, discard)
    }

    fn discard_place(&mut self, bytes: u32) -> ir::Value {
        let at = if bytes <= DISCARD { self.discard } else { self.room(bytes.into()) };
        let start = self.scratch();
        self.b.ins().iadd_imm_s(start, i64::from(at))
    }

    fn store_scalar(&mut self, format: Format, scalar: ir::Value, start: ir::Value, offset: u32) {
        let (flags, offset) = (memory(), offset as i32);
        match format {
            Format::Plain(Kind::Bool) => {
                let bits = self.b.ins().bmask(I32, scalar);
                self.b.ins().store(flags, bits, start, offset);
            }
            Format::Plain(_) | Format::Bool8 => {
                self.b.ins().store(flags, scalar, start, offset);
            }
            Format::F16 => {
                let bits = self.half_to_bits(scalar);
                let bits = self.b.ins().ireduce(I16, bits);
                self.b.ins().store(flags, bits, start, offset);
            }
        }
    }

    fn store_interleaved(&mut self, start: ir::Value, part: Part, lanes: &Lanes) {
        let kind = part.format.kind();
        let mut vectors = self.vectors(lanes, kind);
        let offset = (part.offset * self.lanes as u32) as i32;
        if let Some(mask) = self.mask.clone() {
            let old: Vectors = (0..vectors.len())
                .map(|i| self.b.ins().load(vector_type(kind), memory(), start, offset + 16 * i as i32))
                .collect();
            let mask = self.mask_for(&mask, kind);
            vectors = self.blend(&mask, &vectors, &old);
        }
        for (i, vector) in vectors.into_iter().enumerate() {
            self.b.ins().store(memory(), vector, start, offset + 16 * i as i32);
        }
    }

    fn store_strided(
        &mut self,
        place: &Place,
        parts: &[Part],
        values: &[Lanes],
        start: ir::Value,
        stride: i64,
        fits: Option<ir::Value>,
    ) {
        let mut fits = fits;
        if let Some(mask) = self.mask.clone() {
            let all = self.all(&mask);
            fits = Some(self.both(fits, all));
        }
        let Some(fits) = fits else {
            self.store_side_by_side(parts, values, start, stride);
            return;
        };
        let (fast, slow, end) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.ins().brif(fits, fast, &[], slow, &[]);
        self.b.switch_to_block(fast);
        self.b.seal_block(fast);
        self.store_side_by_side(parts, values, start, stride);
        self.b.ins().jump(end, &[]);
        self.rarely(slow, |e| {
            let (starts, valid) = e.scattered(place);
            e.store_each(place, parts, values, &starts, valid);
            e.b.ins().jump(end, &[]);
        });
        self.b.switch_to_block(end);
        self.b.seal_block(end);
    }

    fn store_side_by_side(&mut self, parts: &[Part], values: &[Lanes], start: ir::Value, stride: i64) {
        if let [part] = parts
            && stride == i64::from(part.format.size())
            && matches!(part.format, Format::Plain(_))
        {
            for (i, vector) in self.vectors(&values[0], part.format.kind()).into_iter().enumerate() {
                self.b.ins().store(memory(), vector, start, part.offset as i32 + 16 * i as i32);
            }
            return;
        }
        if are_four(parts) && stride == 16 {
            let columns = self.columns(parts, values);
            for group in 0..self.lanes / 4 {
                let rows: Vec<ir::Value> = columns.iter().map(|vectors| self.cast(F32X4, vectors[group])).collect();
                for (i, row) in self.transposed(&rows).into_iter().enumerate() {
                    let offset = parts[0].offset as usize + 16 * (4 * group + i);
                    self.b.ins().store(memory(), row, start, offset as i32);
                }
            }
            return;
        }
        if are_two(parts) && stride == 8 {
            let columns = self.columns(parts, values);
            for (group, (x, y)) in columns[0].iter().zip(&columns[1]).enumerate() {
                let (x, y) = (self.cast(F32X4, *x), self.cast(F32X4, *y));
                let rows = [self.shuffled(x, y, [0, 4, 1, 5]), self.shuffled(x, y, [2, 6, 3, 7])];
                for (i, row) in rows.into_iter().enumerate() {
                    let offset = parts[0].offset as usize + 16 * (2 * group + i);
                    self.b.ins().store(memory(), row, start, offset as i32);
                }
            }
            return;
        }
        for lane in 0..self.lanes {
            let place = self.b.ins().iadd_imm_s(start, lane as i64 * stride);
            for (part, lanes) in parts.iter().zip(values) {
                let scalar = self.lane(lanes, part.format.kind(), lane);
                self.store_scalar(part.format, scalar, place, part.offset);
            }
        }
    }

    /// What is stored, as vectors.
    fn columns(&mut self, parts: &[Part], values: &[Lanes]) -> Vec<Vectors> {
        parts.iter().zip(values).map(|(part, lanes)| self.vectors(lanes, part.format.kind())).collect()
    }

    /// Stores lane by lane; those that are not there, or take no part, store elsewhere.
    fn store_each(
        &mut self,
        place: &Place,
        parts: &[Part],
        values: &[Lanes],
        starts: &[ir::Value],
        valid: Option<Vectors>,
    ) {
        let scale = self.scale(place) as u32;
        let storing = self.taking_part(valid);
        let discard = storing.is_some().then(|| self.discard_place(extent(parts) * scale + 16 * scale));
        for (lane, start) in starts.iter().enumerate() {
            let mut start = *start;
            if let (Some(storing), Some(discard)) = (&storing, discard) {
                let stores = self.lane(&Lanes::Many(storing.clone()), Kind::Bool, lane);
                start = self.b.ins().select(stores, start, discard);
            }
            for (part, lanes) in parts.iter().zip(values) {
                let scalar = self.lane(lanes, part.format.kind(), lane);
                self.store_scalar(part.format, scalar, start, self.offset_in(place, part, lane));
            }
        }
    }

    /// The lanes of a mask that take part.
    fn taking_part(&mut self, valid: Option<Vectors>) -> Option<Vectors> {
        match (valid, self.mask.clone()) {
            (Some(valid), Some(mask)) => Some(self.and(&valid, &mask)),
            (valid, mask) => valid.or(mask),
        }
    }

    /// Makes private memory zero for all lanes.
    pub(super) fn clear_private(&mut self, offset: u32, size: u32) {
        let place = Place { memory: Memory::Private, offset, steps: Vec::new() };
        let start = self.origin(&place);
        let bytes = self.b.ins().iconst(I64, i64::from(size) * self.lanes as i64);
        self.call(super::clear as *const () as usize, &[start, bytes], &[]);
    }

    // ---- Atomics

    pub(super) fn atomic(&mut self, place: &Place, kind: Kind, op: Atomic, operand: Option<Value>, old: Option<Value>) {
        let size = if kind.is_wide() { 8 } else { 4 };
        self.note_least(place, size);
        let operand = operand.map(|value| self.value(value));
        let expected = match op {
            Atomic::CompareExchange(value) => Some(self.value(value)),
            _ => None,
        };
        let (starts, valid) = self.scattered(place);
        let doing = self.taking_part(valid.clone());
        let is_shared = matches!(place.memory, Memory::Buffer { .. });
        let mut olds = Vec::new();
        for (lane, start) in starts.iter().enumerate() {
            let does = doing.as_ref().map(|doing| self.lane(&Lanes::Many(doing.clone()), Kind::Bool, lane));
            let operand = operand.as_ref().map(|lanes| self.lane(lanes, kind, lane));
            let expected = expected.as_ref().map(|lanes| self.lane(lanes, kind, lane));
            let one = |e: &mut Self| {
                if is_shared {
                    e.atomic_in_buffer(*start, kind, op, operand, expected)
                } else {
                    e.atomic_in_workgroup(*start, kind, op, operand, expected)
                }
            };
            let ty = scalar_type(kind);
            let result = match does {
                None => one(self),
                Some(does) => {
                    let (go, end) = (self.b.create_block(), self.b.create_block());
                    let result = self.b.append_block_param(end, ty);
                    let zero = self.bits(ty, 0);
                    self.b.ins().brif(does, go, &[], end, &[zero.into()]);
                    self.b.switch_to_block(go);
                    self.b.seal_block(go);
                    let old = one(self);
                    self.b.ins().jump(end, &[old.into()]);
                    self.b.switch_to_block(end);
                    self.b.seal_block(end);
                    result
                }
            };
            olds.push(result);
        }
        if let Some(old) = old {
            let lanes = self.gathered(&olds, kind);
            self.set_value(old, lanes);
        }
    }

    /// One that other threads see whole. Returns what was there.
    fn atomic_in_buffer(
        &mut self,
        start: ir::Value,
        kind: Kind,
        op: Atomic,
        operand: Option<ir::Value>,
        expected: Option<ir::Value>,
    ) -> ir::Value {
        let flags = memory();
        let float = scalar_type(kind);
        let ty = if kind.is_wide() { I64 } else { I32 };
        let bits = |e: &mut Self, value: Option<ir::Value>| {
            let value = value.unwrap_or_else(|| e.bits(float, 0));
            e.cast(ty, value)
        };
        let rmw = match op {
            Atomic::Load => {
                let bits = self.b.ins().atomic_load(ty, flags, start);
                return self.cast(float, bits);
            }
            Atomic::Store | Atomic::Exchange => AtomicRmwOp::Xchg,
            Atomic::CompareExchange(_) => {
                let (expected, new) = (bits(self, expected), bits(self, operand));
                let old = self.b.ins().atomic_cas(flags, start, expected, new);
                return self.cast(float, old);
            }
            _ if kind.is_float() => return self.atomic_float(start, kind, op, operand),
            Atomic::Add => AtomicRmwOp::Add,
            Atomic::Subtract => AtomicRmwOp::Sub,
            Atomic::And => AtomicRmwOp::And,
            Atomic::Or => AtomicRmwOp::Or,
            Atomic::Xor => AtomicRmwOp::Xor,
            Atomic::Min if kind.is_signed() => AtomicRmwOp::Smin,
            Atomic::Min => AtomicRmwOp::Umin,
            Atomic::Max if kind.is_signed() => AtomicRmwOp::Smax,
            Atomic::Max => AtomicRmwOp::Umax,
        };
        let operand = bits(self, operand);
        let old = self.b.ins().atomic_rmw(ty, flags, rmw, start, operand);
        self.cast(float, old)
    }

    /// Tries until nobody came between.
    fn atomic_float(&mut self, start: ir::Value, kind: Kind, op: Atomic, operand: Option<ir::Value>) -> ir::Value {
        let ty = if kind.is_wide() { I64 } else { I32 };
        let float = scalar_type(kind);
        let operand = operand.unwrap_or_else(|| self.bits(float, 0));
        let first = self.b.ins().atomic_load(ty, memory(), start);
        let (again, end) = (self.b.create_block(), self.b.create_block());
        let known = self.b.append_block_param(again, ty);
        self.b.ins().jump(again, &[first.into()]);
        self.b.switch_to_block(again);
        let old = self.cast(float, known);
        let new = self.atomic_result(op, kind, old, operand, None);
        let new = self.cast(ty, new);
        let found = self.b.ins().atomic_cas(memory(), start, known, new);
        let is_done = self.b.ins().icmp(IntCC::Equal, found, known);
        self.b.ins().brif(is_done, end, &[], again, &[found.into()]);
        self.b.seal_block(again);
        self.b.switch_to_block(end);
        self.b.seal_block(end);
        old
    }

    /// A workgroup's memory is seen by one thread only.
    fn atomic_in_workgroup(
        &mut self,
        start: ir::Value,
        kind: Kind,
        op: Atomic,
        operand: Option<ir::Value>,
        expected: Option<ir::Value>,
    ) -> ir::Value {
        let ty = scalar_type(kind);
        let old = self.b.ins().load(ty, memory(), start, 0);
        if op != Atomic::Load {
            let operand = operand.unwrap_or_else(|| self.bits(ty, 0));
            let new = self.atomic_result(op, kind, old, operand, expected);
            self.b.ins().store(memory(), new, start, 0);
        }
        old
    }

    fn atomic_result(
        &mut self,
        op: Atomic,
        kind: Kind,
        old: ir::Value,
        operand: ir::Value,
        expected: Option<ir::Value>,
    ) -> ir::Value {
        let binary = match op {
            Atomic::Load => return old,
            Atomic::Store | Atomic::Exchange => return operand,
            Atomic::CompareExchange(_) => {
                let ty = if kind.is_wide() { I64 } else { I32 };
                let expected = expected.unwrap_or(old);
                let (a, b) = (self.cast(ty, old), self.cast(ty, expected));
                let is_equal = self.b.ins().icmp(IntCC::Equal, a, b);
                return self.b.ins().select(is_equal, operand, old);
            }
            Atomic::Add => Binary::Add,
            Atomic::Subtract => Binary::Subtract,
            Atomic::And => Binary::And,
            Atomic::Or => Binary::Or,
            Atomic::Xor => Binary::Xor,
            Atomic::Min => Binary::Min,
            Atomic::Max => Binary::Max,
        };
        let result = self.binary(binary, kind, &Lanes::One(old), &Lanes::One(operand));
        self.first(&result, kind)
    }
}

/// How many bytes parts take, from their place on.
fn extent(parts: &[Part]) -> u32 {
    parts.iter().map(|part| part.offset + part.format.size()).max().unwrap_or(0)
}

/// Whether they are 32-bit numbers that follow each other.
fn follow(parts: &[Part]) -> bool {
    let is_number = |part: &Part| matches!(part.format, Format::Plain(kind) if !kind.is_wide() && kind != Kind::Bool);
    parts.iter().all(is_number) && parts.windows(2).all(|pair| pair[1].offset == pair[0].offset + 4)
}

fn are_four(parts: &[Part]) -> bool {
    parts.len() == 4 && follow(parts)
}

fn are_two(parts: &[Part]) -> bool {
    parts.len() == 2 && follow(parts)
}
