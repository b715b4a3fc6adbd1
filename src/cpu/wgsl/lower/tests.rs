//! Kernels in WGSL, lowered, interpreted, and compared with plain Rust.

mod control;
mod math;
mod memory;
mod refused;
mod together;

use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};

use crate::cpu::wgsl::check::well_formed;
use crate::cpu::wgsl::interpret;
use crate::cpu::wgsl::ir::{Body, Statement};
use crate::cpu::wgsl::{Unsupported, lower};

fn parse(source: &str) -> (naga::Module, ModuleInfo) {
    let module =
        naga::front::wgsl::parse_str(source).unwrap_or_else(|error| panic!("{}", error.emit_to_string(source)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module);
    (module, info.unwrap_or_else(|error| panic!("{}", error.emit_to_string(source))))
}

fn try_lowered(source: &str) -> Result<Body, Unsupported> {
    let (module, info) = parse(source);
    lower::lower(&module, &info)
}

fn lowered(source: &str) -> Body {
    let body = try_lowered(source).unwrap_or_else(|error| panic!("{} is not supported\n{source}", error.what));
    well_formed(&body).unwrap_or_else(|what| panic!("{what}\n{body}\n{source}"));
    body
}

/// Runs a kernel over what is bound, from binding 0 on.
fn run_groups(source: &str, buffers: &mut [Vec<u8>], groups: [u32; 3]) {
    interpret::run(&lowered(source), buffers, groups);
}

fn run(source: &str, buffers: &mut [Vec<u8>]) {
    run_groups(source, buffers, [1, 1, 1]);
}

trait Word: Copy {
    fn to_bytes(self) -> Vec<u8>;
    fn of_bytes(bytes: &[u8]) -> Self;
}

macro_rules! words {
    ($($ty:ty),*) => {$(
        impl Word for $ty {
            fn to_bytes(self) -> Vec<u8> {
                self.to_le_bytes().to_vec()
            }

            fn of_bytes(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().unwrap())
            }
        }
    )*};
}

words!(u8, i32, u32, f32, i64, u64, f64, half::f16);

fn bytes<T: Word>(words: &[T]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_bytes()).collect()
}

fn words<T: Word>(bytes: &[u8]) -> Vec<T> {
    bytes.chunks_exact(size_of::<T>()).map(T::of_bytes).collect()
}

/// What a kernel of one invocation puts into `result`, of which it is the body. Its operands are in `x`.
fn results<T: Word, R: Word>(x: &[T], ty: (&str, &str), count: usize, body: &str) -> Vec<R> {
    results_with("", x, ty, count, body)
}

fn results_with<T: Word, R: Word>(
    declarations: &str,
    x: &[T],
    (from, to): (&str, &str),
    count: usize,
    body: &str,
) -> Vec<R> {
    let enables = if from == "f16" || to == "f16" { "enable f16;" } else { "" };
    let source = format!(
        "{enables}
        @group(0) @binding(0) var<storage> x: array<{from}>;
        @group(0) @binding(1) var<storage, read_write> result: array<{to}>;
        {declarations}
        @compute @workgroup_size(1) fn main() {{ {body} }}"
    );
    let mut buffers = [bytes(x), vec![0; count * size_of::<R>()]];
    run(&source, &mut buffers);
    words(&buffers[1])
}

/// A text for each number.
fn each(numbers: std::ops::Range<u32>, text: impl FnMut(u32) -> String) -> String {
    numbers.map(text).collect::<Vec<_>>().concat()
}

/// Whether any statement is like this.
fn any(body: &Body, mut is: impl FnMut(&Statement) -> bool) -> bool {
    body.statements.iter().any(|statement| statement.any(&mut is))
}
