//! For tests: arrays of any type and layout, and plain scalar arithmetic on them.
#![expect(unsafe_code, reason = "arrays hold elements of a type that is known at run time only")]

use half::{bf16, f16};

use super::{View, ViewMut};
use crate::dtype::{DType, Kind};
use crate::shape::{Layout, Shape, Strides};

/// Small and repeatable.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// From −1 to 1.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() % (1 << 24)) as f32 / (1 << 23) as f32 - 1.0
    }
}

#[derive(Clone)]
pub(crate) struct Array {
    words: Vec<u32>,
    pub(crate) dtype: DType,
    pub(crate) layout: Layout,
}

impl Array {
    /// Row-major, filled by `value`.
    pub(crate) fn new(dtype: DType, shape: &[usize], mut value: impl FnMut() -> Value) -> Self {
        let layout = Layout::contiguous(shape);
        let mut array = Self { words: vec![0; layout.len() + 1], dtype, layout };
        for place in 0..array.layout.len() as isize {
            array.set(place, value());
        }
        array
    }

    /// An array of this shape with random order of axes, gaps, directions, and repeated axes if `repeats` allows them.
    pub(crate) fn scattered(
        random: &mut Random,
        dtype: DType,
        shape: &[usize],
        repeats: bool,
        mut value: impl FnMut(&mut Random) -> Value,
    ) -> Self {
        let mut order: Vec<usize> = (0..shape.len()).collect();
        if random.below(2) == 0 {
            for i in 1..order.len() {
                order.swap(i, random.below(i + 1));
            }
        }
        let mut layout =
            Layout { shape: Shape::from_slice(shape), strides: Strides::from_elem(0, shape.len()), offset: 0 };
        let mut room = random.below(3);
        layout.offset = room as isize;
        let mut step = 1;
        for &axis in order.iter().rev() {
            if repeats && random.below(4) == 0 {
                continue;
            }
            let stride = step * random.pick(&[1, 1, 1, 1, 2, 3]);
            step = stride * shape[axis].max(1);
            layout.strides[axis] = stride as isize;
            if random.below(5) == 0 {
                layout.strides[axis] = -(stride as isize);
                layout.offset += (stride * shape[axis].saturating_sub(1)) as isize;
            }
        }
        room += step + 1;
        let mut array = Self { words: vec![0; room], dtype, layout };
        for place in 0..room as isize {
            array.set(place, value(random));
        }
        array
    }

    pub(crate) fn view(&self) -> View<'_> {
        View { origin: self.words.as_ptr().cast(), dtype: self.dtype, layout: &self.layout }
    }

    pub(crate) fn view_mut(&mut self) -> ViewMut<'_> {
        ViewMut { origin: self.words.as_mut_ptr().cast(), dtype: self.dtype, layout: &self.layout }
    }

    /// The place in memory of the element at an index.
    pub(crate) fn place(&self, index: &[usize]) -> isize {
        self.layout.offset + index.iter().zip(&self.layout.strides).map(|(&i, &s)| i as isize * s).sum::<isize>()
    }

    pub(crate) fn at(&self, index: &[usize]) -> Value {
        self.get(self.place(index))
    }

    pub(crate) fn get(&self, place: isize) -> Value {
        assert!(place >= 0 && (place as usize + 1) * self.dtype.size() <= self.words.len() * 4);
        let start: *const u8 = self.words.as_ptr().cast();
        // SAFETY: just checked.
        unsafe {
            let start = start.add(place as usize * self.dtype.size());
            match self.dtype {
                DType::Float32 => Value::Float(start.cast::<f32>().read_unaligned()),
                DType::Float16 => Value::Float(start.cast::<f16>().read_unaligned().to_f32()),
                DType::BFloat16 => Value::Float(start.cast::<bf16>().read_unaligned().to_f32()),
                DType::Int32 => Value::Int(i64::from(start.cast::<i32>().read_unaligned())),
                DType::UInt32 => Value::Int(i64::from(start.cast::<u32>().read_unaligned())),
                DType::Int8 => Value::Int(i64::from(start.cast::<i8>().read_unaligned())),
                DType::UInt8 => Value::Int(i64::from(start.read())),
                DType::Bool => Value::Int(i64::from(start.read() != 0)),
            }
        }
    }

    pub(crate) fn set(&mut self, place: isize, value: Value) {
        assert!(place >= 0 && (place as usize + 1) * self.dtype.size() <= self.words.len() * 4);
        let start: *mut u8 = self.words.as_mut_ptr().cast();
        // SAFETY: just checked.
        unsafe {
            let start = start.add(place as usize * self.dtype.size());
            match (self.dtype, value) {
                (DType::Float32, _) => start.cast::<f32>().write_unaligned(value.float()),
                (DType::Float16, _) => start.cast::<f16>().write_unaligned(f16::from_f32(value.float())),
                (DType::BFloat16, _) => start.cast::<bf16>().write_unaligned(bf16::from_f32(value.float())),
                (DType::Int32, Value::Float(x)) => start.cast::<i32>().write_unaligned(x as i32),
                (DType::UInt32, Value::Float(x)) => start.cast::<u32>().write_unaligned(x as u32),
                (DType::Int8, Value::Float(x)) => start.cast::<i8>().write_unaligned(x as i8),
                (DType::UInt8, Value::Float(x)) => start.write(x as u8),
                (DType::Bool, Value::Float(x)) => start.write(u8::from(x != 0.0)),
                (DType::Int32 | DType::UInt32, Value::Int(x)) => start.cast::<u32>().write_unaligned(x as u32),
                (DType::Int8 | DType::UInt8, Value::Int(x)) => start.write(x as u8),
                (DType::Bool, Value::Int(x)) => start.write(u8::from(x != 0)),
            }
        }
    }
}

/// An element as a number that is easy to compute with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value {
    Float(f32),
    Int(i64),
}

impl Value {
    pub(crate) fn float(self) -> f32 {
        match self {
            Self::Float(x) => x,
            Self::Int(x) => x as f32,
        }
    }

    pub(crate) fn int(self) -> i64 {
        match self {
            Self::Float(x) => x as i64,
            Self::Int(x) => x,
        }
    }

    /// The same bits, or both not a number.
    pub(crate) fn same(self, other: Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(),
            (Self::Int(a), Self::Int(b)) => a == b,
            _ => false,
        }
    }

    /// A random element for a type, special ones among them.
    pub(crate) fn random(random: &mut Random, dtype: DType) -> Self {
        match dtype.kind() {
            Kind::Float => {
                let special =
                    [0.0, -0.0, 1.0, -1.5, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 65504.0, 1e-8, 3e9, -7e4];
                let usual = random.unit() * 300.0;
                Self::Float(if random.below(8) == 0 { random.pick(&special) } else { usual })
            }
            Kind::Int => Self::Int(random.next() as i64 >> random.pick(&[0, 16, 26, 40])),
            Kind::Bool => Self::Int(random.below(2) as i64),
        }
    }
}

/// Calls `f` for every index of a shape.
pub(crate) fn for_each_index(shape: &[usize], mut f: impl FnMut(&[usize])) {
    let mut index = vec![0; shape.len()];
    if shape.contains(&0) {
        return;
    }
    loop {
        f(&index);
        let Some(axis) = (0..shape.len()).rev().find(|&axis| index[axis] + 1 < shape[axis]) else { return };
        index[axis] += 1;
        index[axis + 1..].fill(0);
    }
}

/// A random shape that is now and then long, wide or empty.
pub(crate) fn random_shape(random: &mut Random) -> Vec<usize> {
    let lengths = [1, 2, 3, 4, 5, 7, 8, 16, 17, 33, 64, 130];
    let mut shape: Vec<usize> = (0..random.below(5)).map(|_| random.pick(&lengths)).collect();
    while shape.iter().product::<usize>() > 20_000 {
        shape.pop();
    }
    if random.below(40) == 0 {
        shape.push(0);
    }
    shape
}
