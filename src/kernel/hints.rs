//! What to do about common mistakes in WGSL.

use super::source::{Complaint, words};

/// Advice, by words of what the compiler complains about.
const ADVICE: &[(&str, &str)] = &[
    ("`subgroups` enable-extension", "leave this line out: subgroup operations need no `enable` here"),
    ("workgroup size is missing", "write `@compute @workgroup_size(64)`"),
    ("Workgroup size is out of range", "each number of @workgroup_size is at least 1"),
    (
        "Binding decoration is missing",
        "give the variable a place: `@group(0) @binding(0) var<storage, read> x: array<f32>;`",
    ),
    ("conflict with other resource", "give every variable a @binding number of its own"),
    ("automatic conversions cannot convert", "WGSL converts no variables by itself: write f32(i), u32(x) or i32(n)"),
    (
        "valid destination for a store",
        "only `var<storage, read_write>` variables, and `var` inside functions, can be written",
    ),
    (
        "address space Uniform are not met",
        "in a uniform every element of an array takes 16 bytes: use array<vec4<f32>, N>, or a `var<storage, read>`",
    ),
    (
        "expected assignment or increment",
        "WGSL declares variables as `var x: f32 = 0.0;` and constants as `let x = 0.0;`",
    ),
    ("pointer to a non-atomic", "declare what atomics work on as atomic<u32> or atomic<i32>"),
    ("used incorrectly as GlobalUse", "atomics need a `var<storage, read_write>`"),
    (
        "must all have bindings",
        "give every argument of an entry point a builtin: `@builtin(global_invocation_id) id: vec3<u32>`",
    ),
    ("Built-in type for GlobalInvocationId", "it is a vec3<u32>: take `id.x` for the index along x"),
    ("Built-in type for", "builtin ids are vec3<u32>; indices and sizes of subgroups and workgroups are u32"),
    ("is recursive", "WGSL has no recursion: write it as a loop"),
    ("HOST_SHAREABLE", "a bool cannot lie in a buffer: use u32"),
    ("Accessing with index", "an index is one integer: take a component, such as id.x"),
    (
        "Shader requires capability Capabilities(SUBGROUP)",
        "this device has no subgroups: combine values through workgroup memory",
    ),
    (
        "Capabilities::FLOAT16",
        "this device has no f16 arithmetic: declare array<u32>, and unpack2x16float gives two of them",
    ),
    ("Capabilities::SHADER_INT64", "this device has no 64-bit integers: use u32"),
    ("Capabilities::FLOAT64", "this device has no f64: use f32"),
];

/// Advice for a complaint about a text.
pub(super) fn hints(complaint: &Complaint, text: &str) -> Vec<String> {
    let all = || complaint.notes.iter().chain([&complaint.message]);
    let mut advice = Vec::new();
    if let Some((_, hint)) = ADVICE.iter().find(|(words, _)| all().any(|text| text.contains(words))) {
        advice.push(format!("hint: {hint}"));
    }
    if all().any(|text| text.starts_with("Loading of"))
        && text.contains("arrayLength(")
        && !text.contains("arrayLength(&")
    {
        advice.push("hint: arrayLength takes a pointer: arrayLength(&x)".into());
    }
    advice
}

/// Why a text that compiles has no entry point.
pub(super) fn no_entry_point(text: &str, others: &[String]) -> String {
    let word = |wanted: &str| words(text).any(|(_, word)| word == wanted);
    if !others.is_empty() {
        return format!("its entry points ({}) draw; a kernel's entry point is marked @compute", others.join(", "));
    }
    match (word("workgroup_size"), word("fn")) {
        (true, _) => {
            "there is a @workgroup_size, but no @compute beside it: write `@compute @workgroup_size(64) fn main(...)`"
                .into()
        }
        (false, true) => {
            "mark the function that each invocation runs: `@compute @workgroup_size(64) fn main(...)`".into()
        }
        (false, false) => {
            "write a function `@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>)`"
                .into()
        }
    }
}
