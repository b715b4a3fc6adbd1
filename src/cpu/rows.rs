//! The way through rows: elements that are reduced to one result, or normalised together.
//!
//! An operation says which axes make up a row; along the others rows are counted. Both kinds of axes are put into the
//! order of the first operand's memory and joined where every operand allows it. Then there are two ways to go:
//! - *by rows*, when a row runs along memory: one after another, each from its beginning to its end;
//! - *by columns*, when neighbouring rows do: a line at a time, which has one element of each of many rows.
//!
//! Either way the work is cut into [`Panel`]s. An operand whose elements lie in memory as the loops want them is seen
//! where it is. Others (transposes, gaps, other types) are copied, a panel at a time, into a block near the processor.
//!
//! How rows are cut depends on shapes and strides alone, so that results do not depend on the number of threads.
#![expect(unsafe_code, reason = "element types are known at run time only, so operands are pointers")]
#![expect(clippy::needless_range_loop, reason = "one index goes through several arrays of operands")]
#![expect(clippy::cast_ptr_alignment, reason = "host memory is aligned to pages or cache lines")]

mod lines;

use std::mem::MaybeUninit;
use std::sync::{Mutex, PoisonError};

use half::{bf16, f16};
use smallvec::SmallVec;

use super::convert::{self, BLOCK, Block, Number};
use super::memory::HostBuffer;
use super::simd::{Element, Kernel, Level, Simd};
use super::threads::Shared;
use super::walk::{self, Run};
use super::{CpuDevice, View, ViewMut};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::{Shape, Strides, merge_axes};

pub(crate) use self::lines::{Line, Lines, Values, add_up, for_each_group, for_each_vector, load, load_filled, write};

/// The most rows in a panel.
pub(crate) const ROWS: usize = 512;
/// The most lines in a panel by columns, unless it has whole rows.
pub(crate) const LINES: usize = 64;
/// Below so many elements of little work each, other threads cost more than they bring.
pub(crate) const ALONE: usize = 1 << 18;
/// The longest stretch of a row in a panel.
const LONG: usize = 1 << 15;
/// About how many elements a panel has, if it is made of more than one row.
const PANEL: usize = 1 << 15;
/// How many elements of each operand are copied at a time, unless one row has more.
const COPIED: usize = 1 << 13;
/// An axis shorter than this is no way to go along.
const SHORT: usize = 16;
/// About how many elements a thread takes at a time, at least and at most.
const CHUNK: std::ops::RangeInclusive<usize> = 1 << 15..=1 << 18;
/// Rows are cut into parts of about so many elements, if there are too few of them for many threads.
const PART: usize = 1 << 18;
/// There are no more parts than this.
const PARTS: usize = 1024;
/// Results of at least so many bytes go past the caches, which could not keep them.
const STREAM: usize = 16 << 20;
/// Shorter stretches do not: the cache lines at both ends would be written in parts.
const STREAM_RUN: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Rows,
    Columns,
}

/// How an operation wants its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// In pieces of any length, their elements in any order.
    Pieces,
    /// In pieces, their elements in the order of the axes.
    Ordered,
    /// By rows, in pieces, their elements in the order of the axes.
    Rows,
    /// Each in one piece.
    Whole,
    /// By rows, each in one piece, its elements in the order of the axes.
    WholeRows,
}

impl Cut {
    fn whole(self) -> bool {
        matches!(self, Self::Whole | Self::WholeRows)
    }

    fn by_rows(self) -> bool {
        matches!(self, Self::Rows | Self::WholeRows)
    }

    fn ordered(self) -> bool {
        self.by_rows() || self == Self::Ordered
    }
}

/// One operand of an operation on rows. All have the same shape; a stride of 0 repeats an element.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    /// The element at index zero of every axis.
    pub(crate) start: *mut u8,
    pub(crate) dtype: DType,
    /// In elements.
    pub(crate) strides: &'a [isize],
}

impl<'a> From<View<'a>> for Operand<'a> {
    fn from(view: View<'a>) -> Self {
        Self { start: view.start().cast_mut(), dtype: view.dtype, strides: &view.layout.strides }
    }
}

impl<'a> From<ViewMut<'a>> for Operand<'a> {
    fn from(view: ViewMut<'a>) -> Self {
        Self { start: view.start(), dtype: view.dtype, strides: &view.layout.strides }
    }
}

/// What loops over rows read.
pub(crate) trait Item: Copy + 'static {
    /// Whether memory of this type holds such items as they are.
    fn is_stored_in(dtype: DType) -> bool;

    /// Elements `step` bytes apart as items one after another: at most [`BLOCK`] of them.
    ///
    /// # Safety
    /// `from` has `count` elements of `dtype` at that step, and `to` has room for `count` items.
    unsafe fn load(level: Level, dtype: DType, from: *const u8, step: isize, to: *mut Self, count: usize);
}

macro_rules! numbers {
    ($($type:ty),+) => {$(
        impl Item for $type {
            fn is_stored_in(dtype: DType) -> bool {
                <$type as Number>::is_stored_in(dtype)
            }

            unsafe fn load(level: Level, dtype: DType, from: *const u8, step: isize, to: *mut Self, count: usize) {
                // SAFETY: the caller's promise.
                unsafe { convert::load(level, dtype, from, step, to, count) }
            }
        }
    )+};
}
numbers!(f32, i32);

/// Items that are read as the bits that they are in memory.
macro_rules! bits {
    ($($type:ty: $dtype:pat),+ $(,)?) => {$(
        impl Item for $type {
            fn is_stored_in(dtype: DType) -> bool {
                matches!(dtype, $dtype)
            }

            unsafe fn load(_level: Level, dtype: DType, from: *const u8, step: isize, to: *mut Self, count: usize) {
                debug_assert!(Self::is_stored_in(dtype));
                // SAFETY: the caller's promise.
                unsafe { convert::gather(size_of::<Self>(), from, step, to.cast(), count) }
            }
        }
    )+};
}
bits!(
    f16: DType::Float16,
    bf16: DType::BFloat16,
    u8: DType::Int8 | DType::UInt8 | DType::Bool,
    u16: DType::Float16 | DType::BFloat16,
    u32: DType::Float32 | DType::Int32 | DType::UInt32,
);

/// A rectangle of elements: a stretch of each of some rows.
pub(crate) struct Panel<const M: usize> {
    pub(crate) way: Way,
    /// The first element of each operand.
    pub(crate) places: [*mut u8; M],
    /// Bytes from one row to the next if the way is by rows, and from one line to the next if it is by columns. The
    /// other way elements lie one after another.
    pub(crate) steps: [isize; M],
    pub(crate) rows: usize,
    pub(crate) len: usize,
    /// The number of the first row, and that of the first element of each.
    pub(crate) first_row: usize,
    pub(crate) first: usize,
}

/// Some axes, and how they are cut: into stretches of one of them, with all of the axes after it.
struct Axes<const M: usize> {
    lengths: Shape,
    strides: [Strides; M],
    axis: usize,
    stretch: usize,
}

/// A box: an index of the axes before the one that is cut, and a stretch of that.
#[derive(Clone, Copy)]
struct Piece {
    outer: usize,
    start: usize,
    stretch: usize,
    /// In row-major order of the axes.
    first: usize,
    len: usize,
}

impl<const M: usize> Axes<M> {
    fn new((lengths, strides): (Shape, [Strides; M])) -> Self {
        let stretch = lengths[0];
        Self { lengths, strides, axis: 0, stretch }
    }

    fn total(&self) -> usize {
        self.lengths.iter().product()
    }

    /// The last axis: its length, and the first operand's stride.
    fn last(&self) -> (usize, isize) {
        let last = self.lengths.len() - 1;
        (self.lengths[last], self.strides[0][last])
    }

    /// How many elements go with one step along the axis that is cut.
    fn inner(&self) -> usize {
        self.lengths[self.axis + 1..].iter().product()
    }

    /// Cuts the last axis into about equal stretches of at most `limit`, which begin at multiples of [`SHORT`].
    fn cut_last(&mut self, limit: usize) {
        self.axis = self.lengths.len() - 1;
        let length = self.lengths[self.axis];
        self.stretch = if length <= limit {
            length
        } else {
            length.div_ceil(length.div_ceil(limit)).next_multiple_of(SHORT).min(limit.max(1))
        };
    }

    /// Cuts so that pieces are as large as they can be without having more than `limit` elements.
    fn cut_boxes(&mut self, limit: usize) {
        self.axis = self.lengths.len() - 1;
        let mut inner = 1;
        while self.axis > 0 && inner * self.lengths[self.axis] * 2 <= limit {
            inner *= self.lengths[self.axis];
            self.axis -= 1;
        }
        self.stretch = (limit / inner).clamp(1, self.lengths[self.axis]);
    }

    fn pieces(&self) -> usize {
        self.lengths[..self.axis].iter().product::<usize>() * self.lengths[self.axis].div_ceil(self.stretch)
    }

    fn piece(&self, number: usize) -> Piece {
        let length = self.lengths[self.axis];
        let across = length.div_ceil(self.stretch);
        let (outer, start) = (number / across, number % across * self.stretch);
        let (stretch, inner) = (self.stretch.min(length - start), self.inner());
        Piece { outer, start, stretch, first: (outer * length + start) * inner, len: stretch * inner }
    }

    /// Elements from the operand's start to the first of a piece.
    fn offset(&self, n: usize, piece: &Piece) -> isize {
        let mut place = piece.start as isize * self.strides[n][self.axis];
        let mut outer = piece.outer;
        for axis in (0..self.axis).rev() {
            place += (outer % self.lengths[axis]) as isize * self.strides[n][axis];
            outer /= self.lengths[axis];
        }
        place
    }

    /// The stride through pieces, if one leads through all of their axes.
    fn even(&self, n: usize) -> Option<isize> {
        let last = self.lengths.len() - 1;
        let even = (self.axis..last)
            .all(|axis| self.strides[n][axis] == self.strides[n][axis + 1] * self.lengths[axis + 1] as isize);
        even.then(|| self.strides[n][last])
    }

    /// The shape and an operand's strides of a piece, added to what is there.
    fn push_box(&self, n: usize, piece: &Piece, shape: &mut Shape, strides: &mut Strides) {
        shape.push(piece.stretch);
        shape.extend_from_slice(&self.lengths[self.axis + 1..]);
        strides.extend_from_slice(&self.strides[n][self.axis..]);
    }
}

/// How the rows of some operands are gone through. The first operand decides.
pub(crate) struct Plan<const M: usize> {
    way: Way,
    /// How many operands panels are made of: the first, or the first and the output, which is the second. Those after
    /// them are seen where they are, at the first element of each row.
    across: usize,
    operands: [(*mut u8, DType); M],
    /// Which of the first two go through copies, and the bytes of an item of each.
    copied: [bool; M],
    sizes: [usize; M],
    kept: Axes<M>,
    reduced: Axes<M>,
}

impl<const M: usize> Plan<M> {
    /// A plan for rows along the axes `reduced`, with panels of the first operand as items `T`.
    pub(crate) fn of_one<T: Item>(shape: &[usize], reduced: &[usize], operands: [Operand<'_>; M], cut: Cut) -> Self {
        Self::new::<T>(shape, reduced, operands, 1, cut)
    }

    /// A plan for rows along the axes `reduced`, with panels of the first operand as items `T` and of the second, the
    /// output, which is first written as `f32` if it is not where the loops want it.
    pub(crate) fn of_two<T: Item>(shape: &[usize], reduced: &[usize], operands: [Operand<'_>; M], cut: Cut) -> Self {
        Self::new::<T>(shape, reduced, operands, 2, cut)
    }

    fn new<T: Item>(shape: &[usize], reduced: &[usize], operands: [Operand<'_>; M], across: usize, cut: Cut) -> Self {
        let mut starts = operands.map(|operand| operand.start);
        let mut kinds: [SmallVec<[usize; 6]>; 2] = [SmallVec::new(), SmallVec::new()];
        for axis in 0..shape.len() {
            kinds[usize::from(reduced.contains(&axis))].push(axis);
        }
        let mut turned: [Strides; M] = operands.map(|operand| operand.strides.into());
        let [kept, reduced] = [0, 1].map(|kind| {
            let axes = &mut kinds[kind];
            if kind == 0 || !cut.ordered() {
                // The first operand's memory is walked upwards; what only repeats comes first.
                axes.sort_by_key(|&axis| std::cmp::Reverse(operands[0].strides[axis].unsigned_abs().wrapping_sub(1)));
                for &axis in axes.iter().filter(|&&axis| operands[0].strides[axis] < 0) {
                    for n in 0..M {
                        let there = turned[n][axis] * (shape[axis] as isize - 1).max(0);
                        starts[n] = starts[n].wrapping_offset(there * operands[n].dtype.size() as isize);
                        turned[n][axis] = -turned[n][axis];
                    }
                }
            }
            let lengths: Shape = axes.iter().map(|&axis| shape[axis]).collect();
            let strides: [Strides; M] = std::array::from_fn(|n| {
                let beside = kind == 1 && n >= across;
                axes.iter().map(|&axis| if beside { 0 } else { turned[n][axis] }).collect()
            });
            Axes::new(merge_axes(&lengths, &strides.each_ref().map(|strides| &strides[..])))
        });
        let mut plan = Self {
            way: Way::Rows,
            across,
            operands: std::array::from_fn(|n| (starts[n], operands[n].dtype)),
            copied: [false; M],
            sizes: operands.map(|operand| operand.dtype.size()),
            kept,
            reduced,
        };
        let native = T::is_stored_in(operands[0].dtype);
        if !cut.by_rows() {
            plan.choose_way(native);
        }
        plan.cut(cut, native);
        if plan.copied[0] {
            plan.sizes[0] = size_of::<T>();
        }
        if across > 1 && plan.copied[1] {
            plan.sizes[1] = size_of::<f32>();
        }
        plan
    }

    fn choose_way(&mut self, native: bool) {
        let (len, rows) = (self.reduced.total(), self.kept.total());
        let ((along, step), (across, row_step)) = (self.reduced.last(), self.kept.last());
        let long = along >= SHORT || along == len;
        let wide = across >= SHORT || across == rows;
        let by_rows = if len < SHORT && across >= SHORT {
            false
        } else if step == 1 && long {
            true
        } else if row_step == 1 && wide && native {
            across < SHORT && len >= SHORT
        } else {
            across < SHORT || (step != 0 && step.unsigned_abs() < row_step.unsigned_abs()) || row_step == 0
        };
        self.way = if by_rows { Way::Rows } else { Way::Columns };
    }

    /// Decides what makes a panel, and which operands are copied.
    fn cut(&mut self, cut: Cut, native: bool) {
        let (len, rows) = (self.reduced.total().max(1), self.kept.total().max(1));
        match self.way {
            Way::Rows => {
                if cut.whole() {
                    self.reduced.cut_boxes(usize::MAX);
                } else {
                    self.reduced.cut_last(LONG);
                }
                self.kept.cut_last((PANEL / len).clamp(1, ROWS));
            }
            Way::Columns => {
                if cut.whole() {
                    self.reduced.cut_boxes(usize::MAX);
                    // Whole rows lie in a block near the processor, and there are rows for many threads.
                    let columns = (WHOLE / len).min((rows / 16).next_multiple_of(SHORT)).clamp(SHORT, ROWS);
                    self.kept.cut_last(columns);
                } else {
                    self.reduced.cut_last(LINES);
                    self.kept.cut_last(ROWS);
                }
            }
        }
        self.choose_copies(native);
        if !self.copied.contains(&true) || (cut.whole() && self.way == Way::Columns) {
            return;
        }
        // Copies have to be large enough to be worth the trouble, and small enough to stay near.
        let least = if self.kept.last().0 < SHORT { rows.min(SHORT) } else { 1 };
        match self.way {
            Way::Rows => {
                let count = (COPIED / len).clamp(least, ROWS);
                // An operand beside the others has to step evenly from row to row.
                if M > self.across {
                    self.kept.cut_last(count);
                } else {
                    self.kept.cut_boxes(count);
                }
                if !cut.whole() {
                    self.reduced.cut_boxes(COPIED / count);
                }
            }
            Way::Columns => {
                let count = (COPIED / len).clamp(LINES, ROWS);
                self.kept.cut_boxes(count);
                self.reduced.cut_boxes((COPIED / count).min(LINES));
            }
        }
        self.choose_copies(native);
    }

    fn choose_copies(&mut self, native: bool) {
        let (inner, outer) = match self.way {
            Way::Rows => (&self.reduced, &self.kept),
            Way::Columns => (&self.kept, &self.reduced),
        };
        let count = inner.stretch * inner.inner();
        for n in 0..self.across {
            let dense = count == 1 || inner.even(n) == Some(1);
            let dense = dense && (count >= SHORT || count == inner.total());
            self.copied[n] = !(dense && outer.even(n).is_some() && (native || n > 0));
        }
    }

    pub(crate) fn way(&self) -> Way {
        self.way
    }

    pub(crate) fn rows(&self) -> usize {
        self.kept.total()
    }

    /// Elements of a row.
    pub(crate) fn len(&self) -> usize {
        self.reduced.total()
    }

    /// The most elements of an operand in a panel.
    pub(crate) fn most(&self) -> usize {
        self.kept.stretch * self.kept.inner() * self.reduced.stretch * self.reduced.inner()
    }

    /// Whether the output is so large that the caches could not keep it, and lies in long stretches.
    pub(crate) fn streams(&self) -> bool {
        let size = self.sizes[1];
        let run = match self.way {
            Way::Rows => self.reduced.stretch * self.reduced.inner(),
            Way::Columns => self.kept.stretch * self.kept.inner(),
        };
        !self.copied[1] && self.rows() * self.len() * size >= STREAM && run * size >= STREAM_RUN
    }

    /// Bytes of the copies of a panel.
    fn copies(&self) -> usize {
        (0..M).filter(|&n| self.copied[n]).map(|n| (self.most() * self.sizes[n]).next_multiple_of(64)).sum()
    }

    /// A panel, with copies of what it does not see in place. The output's copy has yet to be written.
    ///
    /// # Safety
    /// The operands' elements are readable, and the room is as large as [`Plan::copies`].
    unsafe fn panel<T: Item>(&self, device: CpuDevice, kept: &Piece, reduced: &Piece, mut room: *mut u8) -> Panel<M> {
        let (inner, outer) = match self.way {
            Way::Rows => (reduced.len, &self.kept),
            Way::Columns => (kept.len, &self.reduced),
        };
        let mut panel = Panel {
            way: self.way,
            places: [std::ptr::null_mut(); M],
            steps: [0; M],
            rows: kept.len,
            len: reduced.len,
            first_row: kept.first,
            first: reduced.first,
        };
        for n in 0..M {
            let place = self.place(n, kept, reduced);
            if self.copied[n] {
                panel.places[n] = room;
                panel.steps[n] = (inner * self.sizes[n]) as isize;
                if n == 0 {
                    let dtype = self.operands[n].1;
                    // SAFETY: the caller's promise.
                    unsafe {
                        self.copy(device, n, kept, reduced, [place, room], [dtype.size(), self.sizes[n]], &|run| {
                            load_run::<T>(device.level(), dtype, run);
                        });
                    }
                }
                room = room.wrapping_add((self.most() * self.sizes[n]).next_multiple_of(64));
            } else {
                panel.places[n] = place;
                panel.steps[n] = outer.even(n).unwrap_or_default() * self.sizes[n] as isize;
            }
        }
        panel
    }

    /// Brings the output to its place, if the panel has a copy of it.
    ///
    /// # Safety
    /// As for [`Plan::panel`]; the output is writable and was written to the panel.
    unsafe fn write_back(&self, device: CpuDevice, kept: &Piece, reduced: &Piece, panel: &Panel<M>) {
        if self.across > 1 && self.copied[1] {
            let (place, dtype) = (self.place(1, kept, reduced), self.operands[1].1);
            // SAFETY: the caller's promise.
            unsafe {
                let places = [place, panel.places[1]];
                self.copy(device, 1, kept, reduced, places, [dtype.size(), self.sizes[1]], &|run| {
                    store_run(device.level(), dtype, run);
                });
            }
        }
    }

    fn place(&self, n: usize, kept: &Piece, reduced: &Piece) -> *mut u8 {
        let (start, dtype) = self.operands[n];
        start.wrapping_offset((self.kept.offset(n, kept) + self.reduced.offset(n, reduced)) * dtype.size() as isize)
    }

    /// Goes through an operand's elements in its place and in a panel, from the first to the other or back.
    ///
    /// # Safety
    /// As for [`Plan::panel`] or [`Plan::write_back`].
    #[expect(clippy::too_many_arguments, reason = "two operands, each with its place and size")]
    unsafe fn copy(
        &self,
        device: CpuDevice,
        n: usize,
        kept: &Piece,
        reduced: &Piece,
        places: [*mut u8; 2],
        sizes: [usize; 2],
        visit: &(dyn Fn(&Run<2>) + Sync),
    ) {
        let (mut shape, mut strides) = (Shape::new(), Strides::new());
        let boxes = match self.way {
            Way::Rows => [(&self.kept, kept), (&self.reduced, reduced)],
            Way::Columns => [(&self.reduced, reduced), (&self.kept, kept)],
        };
        for (axes, piece) in boxes {
            axes.push_box(n, piece, &mut shape, &mut strides);
        }
        let dense = crate::shape::Layout::contiguous(&shape).strides;
        let mut operands = [
            walk::Operand { start: places[0], strides: &strides, size: sizes[0] },
            walk::Operand { start: places[1], strides: &dense, size: sizes[1] },
        ];
        if n > 0 {
            operands.reverse();
        }
        // SAFETY: the caller's promise.
        unsafe { walk::for_each_run(device.with_threads(1), &shape, operands, visit) }
    }

    /// Calls `work` for groups of tasks, of which each has about `elements`, with room of so many bytes.
    fn for_each_task(
        device: CpuDevice,
        tasks: usize,
        elements: usize,
        room: usize,
        work: impl Fn(usize, *mut u8) -> Result<()> + Sync,
    ) -> Result<()> {
        let chunk = (elements * tasks / device.threads() / 16).clamp(*CHUNK.start(), *CHUNK.end());
        let group = (chunk / elements.max(1)).clamp(1, tasks.max(1));
        let failure: Mutex<Option<Error>> = Mutex::new(None);
        device.for_each_chunk(tasks.div_ceil(group), |chunk| {
            let mut near = Room::new();
            let result = near.start(room).and_then(|(_far, place)| {
                (chunk * group..tasks.min((chunk + 1) * group)).try_for_each(|task| work(task, place))
            });
            if let Err(error) = result {
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// Calls `visit` for all panels, and with a block of `room` bytes. Below `alone` elements one thread does it.
    ///
    /// Fails only if there is no memory for a copy of rows that are too long to be near.
    ///
    /// # Safety
    /// Every element of every operand is readable, and those of the output are writable, each in a place of its own
    /// that it shares with no other operand. `T` is the type that the plan was made for.
    pub(crate) unsafe fn for_each_panel<T: Item>(
        &self,
        device: CpuDevice,
        alone: usize,
        room: usize,
        visit: &(dyn Fn(&Panel<M>, *mut u8) + Sync),
    ) -> Result<()> {
        let tasks = self.kept.pieces() * self.reduced.pieces();
        let across = self.reduced.pieces();
        let device = if self.rows() * self.len() <= alone { device.with_threads(1) } else { device };
        // SAFETY: panels are apart from each other.
        let shared = unsafe { Shared::new(self) };
        Self::for_each_task(device, tasks, self.most(), self.copies() + room, |task, place| {
            let plan = shared.get();
            let (kept, reduced) = (plan.kept.piece(task / across), plan.reduced.piece(task % across));
            // SAFETY: the caller's promise; the block has room for the copies and for what was asked for after them.
            unsafe {
                let panel = plan.panel::<T>(device, &kept, &reduced, place);
                visit(&panel, place.add(plan.copies()));
                plan.write_back(device, &kept, &reduced, &panel);
            }
            Ok(())
        })
    }
}

/// Memory for one thread's work on a few panels.
#[repr(C, align(64))]
struct Room(MaybeUninit<[u8; NEAR]>);

/// More than this is not taken from the stack.
const NEAR: usize = 64 << 10;
/// Panels by columns of whole rows have so many elements: the second cache has room for them.
pub(crate) const WHOLE: usize = 1 << 18;

impl Room {
    #[inline(always)]
    const fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    /// So many bytes, here or in the heap.
    fn start(&mut self, bytes: usize) -> Result<(Option<HostBuffer>, *mut u8)> {
        if bytes <= NEAR {
            return Ok((None, self.0.as_mut_ptr().cast()));
        }
        let far = HostBuffer::alloc(bytes)?;
        let place = far.as_mut_ptr();
        Ok((Some(far), place))
    }
}

/// # Safety
/// The run's second operand has room for items that its first has as elements of `dtype`.
unsafe fn load_run<T: Item>(level: Level, dtype: DType, run: &Run<2>) {
    let mut block = Block::new();
    for start in (0..run.len).step_by(BLOCK) {
        let count = BLOCK.min(run.len - start);
        let [from, to] = [0, 1].map(|n| run.places[n].wrapping_offset(run.steps[n] * start as isize));
        // SAFETY: the caller's promise; the block has room for `BLOCK` items.
        unsafe {
            if run.steps[1] == size_of::<T>() as isize {
                T::load(level, dtype, from, run.steps[0], to.cast(), count);
            } else {
                T::load(level, dtype, from, run.steps[0], block.as_mut_ptr(), count);
                convert::scatter(size_of::<T>(), block.as_mut_ptr(), to, run.steps[1], count);
            }
        }
    }
}

/// # Safety
/// The run's second operand has room for elements of `dtype` that its first has as `f32`.
unsafe fn store_run(level: Level, dtype: DType, run: &Run<2>) {
    let mut block = Block::new();
    for start in (0..run.len).step_by(BLOCK) {
        let count = BLOCK.min(run.len - start);
        let [mut from, to] = [0, 1].map(|n| run.places[n].wrapping_offset(run.steps[n] * start as isize));
        // SAFETY: the caller's promise; the block has room for `BLOCK` numbers.
        unsafe {
            if run.steps[0] != size_of::<f32>() as isize {
                convert::gather(size_of::<f32>(), from, run.steps[0], block.as_mut_ptr(), count);
                from = block.as_mut_ptr();
            }
            convert::store::<f32>(level, dtype, from.cast(), to, run.steps[1], count);
        }
    }
}

/// Elements of floats.
pub(crate) trait Float: Element + Item {}
impl<T: Element + Item> Float for T {}

/// What is done to the panels of two operands of floats.
pub(crate) trait FloatWork<const M: usize> {
    /// # Safety
    /// As for [`Plan::for_each_panel`]. Panels have elements of `X` and room for elements of `O`.
    unsafe fn run<X: Float, O: Element>(self, plan: &Plan<M>) -> Result<()>;
}

/// Does work on two operands of floats. Halves are seen as what they are if both operands are of one type and can be
/// seen in place; otherwise the loops read `f32`.
///
/// # Safety
/// As for [`Plan::for_each_panel`].
pub(crate) unsafe fn for_floats<const M: usize>(
    shape: &[usize],
    reduced: &[usize],
    operands: [Operand<'_>; M],
    cut: Cut,
    work: impl FloatWork<M>,
) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe {
        match (operands[0].dtype, operands[1].dtype) {
            (DType::Float16, DType::Float16) => {
                let plan = Plan::of_two::<f16>(shape, reduced, operands, cut);
                if !plan.copied.contains(&true) {
                    return work.run::<f16, f16>(&plan);
                }
            }
            (DType::BFloat16, DType::BFloat16) => {
                let plan = Plan::of_two::<bf16>(shape, reduced, operands, cut);
                if !plan.copied.contains(&true) {
                    return work.run::<bf16, bf16>(&plan);
                }
            }
            _ => {}
        }
        let plan = Plan::of_two::<f32>(shape, reduced, operands, cut);
        match operands[1].dtype {
            DType::Float16 if !plan.copied[1] => work.run::<f32, f16>(&plan),
            DType::BFloat16 if !plan.copied[1] => work.run::<f32, bf16>(&plan),
            _ => work.run::<f32, f32>(&plan),
        }
    }
}

/// States are merged so many at a time.
const STEP: usize = 16;

/// What rows are reduced to: a state of `F` numbers, of a part of a row or of all of it.
pub(crate) trait Reducer<const F: usize>: Copy + Send + Sync {
    type Item: Item;

    /// The state of a stretch of a row, of at least one element. `first` is the number of its first element.
    ///
    /// # Safety
    /// `x` has `len` elements.
    unsafe fn row<V: Simd>(self, x: *const Self::Item, len: usize, first: usize) -> [f64; F];

    /// The states of stretches of `columns` rows, at most [`ROWS`], from `lines` lines that are `step` bytes apart, at
    /// least one and at most [`LINES`]. Number f of row i goes to `states[f·ROWS + i]`.
    ///
    /// # Safety
    /// The lines have `columns` elements each, and there is room for `F·ROWS` states.
    unsafe fn columns<V: Simd>(self, lines: &Lines<Self::Item>, first: usize, states: *mut f64);

    /// The state of a stretch and of the one after it.
    fn merge(self, a: [f64; F], b: [f64; F]) -> [f64; F];

    /// Merges the states of stretches of `rows` rows into those of the stretches before them.
    ///
    /// # Safety
    /// There are so many states in both places, which are not the same.
    #[inline(always)]
    unsafe fn merge_columns<V: Simd>(self, states: *mut f64, next: *const f64, rows: usize) {
        let mut row = 0;
        // SAFETY: the caller's promise.
        unsafe {
            // All of a step is read before any of it is written, which the compiler makes vectors of.
            while row + STEP <= rows {
                let (mut a, mut b) = ([[0.0; STEP]; F], [[0.0; STEP]; F]);
                for f in 0..F {
                    a[f] = states.add(f * ROWS + row).cast::<[f64; STEP]>().read();
                    b[f] = next.add(f * ROWS + row).cast::<[f64; STEP]>().read();
                }
                for i in 0..STEP {
                    let (mut one, mut other) = ([0.0; F], [0.0; F]);
                    for f in 0..F {
                        (one[f], other[f]) = (a[f][i], b[f][i]);
                    }
                    let merged = self.merge(one, other);
                    for f in 0..F {
                        a[f][i] = merged[f];
                    }
                }
                for f in 0..F {
                    states.add(f * ROWS + row).cast::<[f64; STEP]>().write(a[f]);
                }
                row += STEP;
            }
            while row < rows {
                put(self, states, row, get(next, row), false);
                row += 1;
            }
        }
    }
}

struct Fold<'a, R, const F: usize, const M: usize> {
    reducer: R,
    panel: &'a Panel<M>,
    states: *mut f64,
    /// Whether these are the rows' first elements.
    begins: bool,
}

impl<R: Reducer<F>, const F: usize, const M: usize> Kernel for Fold<'_, R, F, M> {
    type Output = ();

    #[inline(always)]
    fn run<V: Simd>(self) {
        let Self { reducer, panel, states, begins } = self;
        let x = panel.places[0].cast_const().cast::<R::Item>();
        // SAFETY: the promise to `fold`; panels have at most `ROWS` rows.
        unsafe {
            if panel.way == Way::Rows {
                for row in 0..panel.rows {
                    let x = x.wrapping_byte_offset(row as isize * panel.steps[0]);
                    let state = reducer.row::<V>(x, panel.len, panel.first);
                    put(reducer, states, row, state, begins);
                }
                return;
            }
            let mut lines = Lines { start: x, step: panel.steps[0], count: 0, columns: panel.rows };
            let mut fresh = MaybeUninit::<[[f64; ROWS]; F]>::uninit();
            let fresh = fresh.as_mut_ptr().cast::<f64>();
            for line in (0..panel.len).step_by(LINES) {
                lines.count = LINES.min(panel.len - line);
                lines.start = x.wrapping_byte_offset(line as isize * panel.steps[0]);
                if begins && line == 0 {
                    reducer.columns::<V>(&lines, panel.first, states);
                } else {
                    reducer.columns::<V>(&lines, panel.first + line, fresh);
                    reducer.merge_columns::<V>(states, fresh, panel.rows);
                }
            }
        }
    }
}

/// # Safety
/// There are states of `ROWS` rows, of which `row` is one.
#[inline(always)]
unsafe fn get<const F: usize>(states: *const f64, row: usize) -> [f64; F] {
    let mut state = [0.0; F];
    for f in 0..F {
        // SAFETY: the caller's promise.
        state[f] = unsafe { states.add(f * ROWS + row).read() };
    }
    state
}

/// Sets a row's state, or merges it into the one before.
///
/// # Safety
/// As for [`get`].
#[inline(always)]
unsafe fn put<R: Reducer<F>, const F: usize>(reducer: R, states: *mut f64, row: usize, new: [f64; F], begins: bool) {
    // SAFETY: the caller's promise.
    unsafe {
        let state = if begins { new } else { reducer.merge(get(states, row), new) };
        for f in 0..F {
            states.add(f * ROWS + row).write(state[f]);
        }
    }
}

/// The states of some rows.
pub(crate) struct States<'a, const F: usize, const M: usize> {
    plan: &'a Plan<M>,
    piece: Piece,
    numbers: *const f64,
}

impl<const F: usize, const M: usize> States<'_, F, M> {
    /// The number of the first row.
    pub(crate) fn first(&self) -> usize {
        self.piece.first
    }

    pub(crate) fn len(&self) -> usize {
        self.piece.len
    }

    pub(crate) fn get(&self, row: usize) -> [f64; F] {
        debug_assert!(row < self.len());
        // SAFETY: the type is made with that many states.
        unsafe { get(self.numbers, row) }
    }

    /// Calls `store` for stretches of rows that lie evenly in an operand beside the panels: the first of them and how
    /// many there are, its place, and how many bytes they are apart.
    pub(crate) fn for_each_run(&self, n: usize, mut store: impl FnMut(usize, usize, *mut u8, isize)) {
        let (kept, (start, dtype)) = (&self.plan.kept, self.plan.operands[n]);
        let last = kept.lengths.len() - 1;
        let (size, length) = (dtype.size() as isize, kept.lengths[last]);
        let mut row = 0;
        while row < self.piece.len {
            let first = self.piece.first + row;
            let count = (length - first % length).min(self.piece.len - row);
            let (mut place, mut outer) = (0, first);
            for axis in (0..=last).rev() {
                place += (outer % kept.lengths[axis]) as isize * kept.strides[n][axis];
                outer /= kept.lengths[axis];
            }
            store(row, count, start.wrapping_offset(place * size), kept.strides[n][last] * size);
            row += count;
        }
    }
}

/// Reduces all rows, and gives their states to `sink`.
///
/// Fails only if there is no memory for the states of parts of rows.
///
/// # Safety
/// Every element is readable, and there is at least one in each row.
pub(crate) unsafe fn fold<R: Reducer<F>, const F: usize, const M: usize>(
    device: CpuDevice,
    reducer: R,
    plan: &Plan<M>,
    alone: usize,
    sink: &(dyn Fn(&States<'_, F, M>) + Sync),
) -> Result<()> {
    let total = plan.rows() * plan.len();
    let (groups, pieces) = (plan.kept.pieces(), plan.reduced.pieces());
    let wanted = if total <= ALONE { 1 } else { (total / PART).clamp(16, PARTS).div_ceil(groups) };
    let per_part = pieces.div_ceil(wanted);
    let parts = pieces.div_ceil(per_part);
    let device = if total <= alone { device.with_threads(1) } else { device };
    // Each part leaves its states here, to be merged in their order.
    let partial = if parts > 1 { Some(HostBuffer::alloc(groups * parts * F * ROWS * size_of::<f64>())?) } else { None };
    let partial = partial.as_ref().map(|buffer| buffer.as_mut_ptr().cast::<f64>());
    // SAFETY: tasks write to states of their own.
    let shared = unsafe { Shared::new((plan, partial)) };
    let tasks = groups * parts;
    Plan::<M>::for_each_task(device, tasks, total / tasks, plan.copies(), |task, room| {
        let (plan, partial) = shared.get();
        let kept = plan.kept.piece(task / parts);
        let mut states = MaybeUninit::<[[f64; ROWS]; F]>::uninit();
        // SAFETY: there is room for the states of every task.
        let states = partial.map_or(states.as_mut_ptr().cast(), |partial| unsafe { partial.add(task * F * ROWS) });
        let first = task % parts * per_part;
        for number in first..pieces.min(first + per_part) {
            let reduced = plan.reduced.piece(number);
            // SAFETY: the caller's promise.
            let panel = unsafe { plan.panel::<R::Item>(device, &kept, &reduced, room) };
            device.level().run(Fold { reducer, panel: &panel, states, begins: number == first });
        }
        if partial.is_none() {
            sink(&States { plan, piece: kept, numbers: states });
        }
        Ok(())
    })?;
    if let Some(partial) = partial {
        for group in 0..groups {
            let piece = plan.kept.piece(group);
            // SAFETY: all of these states were written.
            unsafe {
                let states = partial.add(group * parts * F * ROWS);
                for part in 1..parts {
                    for row in 0..piece.len {
                        put(reducer, states, row, get(states.add(part * F * ROWS), row), false);
                    }
                }
                sink(&States { plan, piece, numbers: states });
            }
        }
    }
    Ok(())
}
