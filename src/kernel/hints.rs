//! What to do about common mistakes in WGSL.

use super::source::{Complaint, words};

/// Advice, by words of what the compiler complains about.
const ADVICE: &[(&str, &str)] = &[
    ("found \"\"", "something is not closed: a brace, a parenthesis, or a line without its `;`"),
    ("recursion limit", "split what is nested into variables or functions"),
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

/// What the compiler says in words of its own, and what it means.
const REWORDED: &[(&str, &str)] = &[
    ("Bindings for [", "its @group and @binding are those of another variable"),
    ("is used incorrectly as GlobalUse", "it is used in a way that its access mode does not allow"),
    ("Type flags TypeFlags", "values of this type cannot lie in a buffer"),
    ("Alignment requirements for address space Uniform", "it is not laid out as uniforms have to be"),
    ("Shader requires capability", "the device cannot do this"),
    ("Using `f16` values requires", "the device has no f16"),
    ("Using `f64` values requires", "the device has no f64"),
    ("Using `i64` values requires", "the device has no 64-bit integers"),
    ("Using `u64` values requires", "the device has no 64-bit integers"),
    ("Loading of [", "this is not a value that can be read"),
    ("Accessing with index [", "this cannot be an index"),
    ("doesn't relate to a valid destination for a store", "this cannot be written"),
    (
        "Entry point arguments and return values must all have bindings",
        "an argument of the entry point has no @builtin",
    ),
    ("Parser recursion limit exceeded", "it is nested too deeply"),
    ("internal WGSL front end error", "the source is nested too deeply for the compiler"),
];

/// A message of the compiler's without the names and numbers of its own data.
pub(super) fn plain(text: &str) -> String {
    if let Some((_, words)) = REWORDED.iter().find(|(words, _)| text.contains(words)) {
        return (*words).into();
    }
    let text = text.replace("found \"\"", "found the end of the source").replace(" ''", "");
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find(" [") {
        let inner = &rest[at + 2..];
        let end = inner.find(']').filter(|&end| end > 0 && inner[..end].bytes().all(|byte| byte.is_ascii_digit()));
        plain.push_str(&rest[..at]);
        match end {
            Some(end) => rest = &inner[end + 1..],
            None => {
                plain.push_str(" [");
                rest = inner;
            }
        }
    }
    plain + rest
}

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
    if !text.contains('{') && text.trim().lines().count() == 1 && text.trim().ends_with(".wgsl") {
        return "the source is a file's name; give pathlib.Path(...).read_text()".into();
    }
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
