//! The compiler's complaints in plain words, and what to do about common mistakes.

use super::source::{Complaint, words};

/// Advice, by words of what the compiler complains about. The first that fits is given.
const ADVICE: &[(&str, &str)] = &[
    ("found \"\"", "something is not closed: a brace, a parenthesis, or a line without its `;`"),
    ("ecursion limit", "split what is nested into variables or functions"),
    ("`subgroups` enable-extension", "leave this line out: subgroup operations need no `enable` here"),
    ("wgpu_binding_array", "kernels take single buffers: declare a variable for each"),
    ("workgroup size is missing", "write `@compute @workgroup_size(64)`"),
    (
        "Workgroup size is out of range",
        "each number of @workgroup_size is at least 1, and most devices take 256 to 1024 in all",
    ),
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
        "The array stride",
        "in a uniform every element of an array takes 16 bytes: use array<vec4<f32>, N>, or `var<storage, read>`",
    ),
    (
        "address space Uniform are not met",
        "in a uniform, members that are structs or arrays begin at multiples of 16: put @align(16) before them, or use `var<storage, read>`",
    ),
    ("pointer to a non-atomic", "declare what atomics work on as atomic<u32> or atomic<i32>"),
    ("used incorrectly as GlobalUse", "atomics need a `var<storage, read_write>`"),
    (
        "must all have bindings",
        "arguments of an entry point have builtins, as in `@builtin(global_invocation_id) id: vec3<u32>`; it returns nothing",
    ),
    ("Built-in type for GlobalInvocationId", "it is a vec3<u32>: take `id.x` for the index along x"),
    ("Built-in type for", "builtin ids are vec3<u32>; indices and sizes of subgroups and workgroups are u32"),
    (
        "can't work with",
        "both sides are of one type, and WGSL converts no variables by itself: write f32(i), u32(x) or i32(n)",
    ),
    (
        "Incompatible operands",
        "both sides are of one type, and WGSL converts no variables by itself: write f32(i), u32(x) or i32(n)",
    ),
    ("address space Handle", "a buffer's variable is declared `var<storage, read>` or `var<storage, read_write>`"),
    (
        "Invalid access into expression",
        "only arrays, vectors, matrices and structs have parts; in a formula each variable is one element",
    ),
    ("operand of the `*` operator must be a pointer", "WGSL has no `**`: write pow(x, 2.0), or x * x"),
    ("is recursive", "WGSL has no recursion: write it as a loop"),
    (
        "does not match the declared return type",
        "entry points return nothing: write results to a `var<storage, read_write>`, or in a formula to an output",
    ),
    (
        "Functions that are not entry points cannot have",
        "mark the entry point: `@compute @workgroup_size(64) fn main(...)`",
    ),
    ("is cyclic", "WGSL has no recursion: write it as a loop"),
    ("Accessing with index", "an index is one integer: take a component, such as id.x"),
    ("Array length of", "arrayLength takes a pointer to an array whose length is open: arrayLength(&x)"),
    (
        "Abstract types may only appear",
        "the types on both sides differ: write f32(i) * 2.0, or x * 2.0 where x is a float",
    ),
    ("forbidden at this stage", "`discard`, derivatives and samplers belong to drawing; kernels have none"),
    ("Capabilities(SUBGROUP", "combine values through workgroup memory, or choose a device with subgroups"),
    ("Capabilities(COOPERATIVE", "kernels with trusted=True may use cooperative matrices, on devices that have them"),
    (
        "Unable to cast",
        "numbers of this device are f32, i32 and u32; f16 and 64-bit ones are there where its features say so",
    ),
    (
        "f16` values requires",
        "declare array<u32>, of which unpack2x16float makes two floats, or choose a device with f16",
    ),
    ("i64` values requires", "use u32 or i32, or choose a device with 64-bit integers"),
    ("u64` values requires", "use u32 or i32, or choose a device with 64-bit integers"),
    ("f64` values requires", "use f32"),
    ("expected `{`", "bodies of `if`, `else`, `for` and `while` stand in braces"),
    ("nexpected override-expression", "what depends on an override is an override too: `override M: u32 = N + 1;`"),
    ("found \"?\"", "WGSL has no `?:`; write select(otherwise, value, condition)"),
    ("found \"#\"", "WGSL has no preprocessor: use `const`, `override`, and `//! import` for modules of the library"),
    ("found \"let\"", "at the top of the source, constants are `const n = 3;` or `override n: u32 = 3;`"),
    (
        "invalid left-hand side of assignment",
        "variables that change are `var` inside functions, and `var<storage, read_write>` for buffers",
    ),
];

/// Words for memory that a workgroup shares.
const SHARED: (&[&str], &str) = (
    &["__shared__", "shared", "groupshared", "threadgroup"],
    "workgroup memory is declared at the top of the source: `var<workgroup> s: array<f32, 64>;`",
);

/// What names of other languages are called in WGSL.
const FOREIGN: &[(&[&str], &str)] = &[
    (
        &["float", "int", "uint", "double", "half", "size_t", "long", "short", "char"],
        "WGSL's numbers are f32, i32, u32 and f16",
    ),
    (
        &["float2", "float3", "float4", "int2", "int3", "int4", "uint2", "uint3", "uint4"],
        "WGSL's vectors are vec4<f32>, vec2<u32> and so on",
    ),
    (
        &[
            "threadIdx",
            "blockIdx",
            "blockDim",
            "gridDim",
            "gl_GlobalInvocationID",
            "gl_LocalInvocationID",
            "gl_WorkGroupID",
            "get_global_id",
            "get_local_id",
            "thread_position_in_grid",
        ],
        "take ids as arguments of the entry point: `@builtin(global_invocation_id) id: vec3<u32>`; there are local_invocation_id, workgroup_id and num_workgroups too",
    ),
    (
        &["__syncthreads", "barrier", "GroupMemoryBarrierWithGroupSync", "threadgroup_barrier"],
        "in WGSL it is workgroupBarrier()",
    ),
    SHARED,
    (&["fabs", "fabsf"], "in WGSL it is abs()"),
    (&["lerp"], "in WGSL it is mix()"),
    (&["rsqrt", "rsqrtf"], "in WGSL it is inverseSqrt()"),
    (&["mod", "fmod"], "in WGSL it is the operator %"),
    (&["saturate_", "clampf"], "in WGSL it is clamp() or saturate()"),
    (&["printf"], "WGSL cannot print: write values to a `var<storage, read_write>`"),
    (&["atomicInc"], "in WGSL it is atomicAdd(&x, 1u)"),
    (
        &[
            "subgroup_size",
            "subgroup_invocation_id",
            "global_invocation_id",
            "local_invocation_id",
            "local_invocation_index",
            "workgroup_id",
        ],
        "it is an argument of the entry point: `@builtin(global_invocation_id) id: vec3<u32>`",
    ),
];

/// Words by which other languages declare variables.
const C_TYPES: &[&str] = &[
    "float", "int", "uint", "double", "half", "bool", "auto", "unsigned", "vec2", "vec3", "vec4", "float2", "float3",
    "float4", "const", "f32", "u32", "i32",
];

/// What the compiler says in words of its own, and what it means.
const REWORDED: &[(&str, &str)] = &[
    ("'gpukern_user_", "the formula is not valid"),
    ("The `return` expression", "this is not of the type that the function returns"),
    ("doesn't match the type stored in", "its type is another than that of what it is assigned to"),
    ("Bindings for [", "its @group and @binding are those of another variable"),
    ("is used incorrectly as GlobalUse", "it is used in a way that its access mode does not allow"),
    ("Type flags TypeFlags", "values of this type cannot lie in such a variable"),
    ("Alignment requirements for address space Uniform", "it is not laid out as uniforms have to be"),
    ("Shader requires capability", "this needs what the device has not"),
    ("Capability Capabilities(", "this needs what the device has not"),
    ("Using `f16` values requires", "the device has no f16"),
    ("Using `f64` values requires", "the device has no f64"),
    ("Using `i64` values requires", "the device has no 64-bit integers"),
    ("Using `u64` values requires", "the device has no 64-bit integers"),
    ("Loading of [", "this is not a value that can be read"),
    ("Accessing with index [", "this cannot be an index"),
    ("doesn't relate to a valid destination for a store", "this cannot be written"),
    ("must all have bindings", "an entry point has an argument or a result that no builtin gives or takes"),
    ("ecursion limit exceeded", "it is nested too deeply"),
    ("internal WGSL front end error", "the source is nested too deeply for the compiler"),
    ("Uses operations forbidden at this stage", "it uses what only shaders that draw have"),
    ("Abstract types may only appear", "a number without a type meets a type that it does not fit"),
    ("specifies standard functionality which is not yet implemented", "this extension is not known here"),
    ("does not match the declared return type", "what it returns is not of the type that it declares"),
    ("address space Handle", "it is declared without saying where it lies"),
    ("see msg", ""),
];

/// A message of the compiler's without the names and numbers of its own data.
pub(super) fn plain(text: &str) -> String {
    if let Some((_, words)) = REWORDED.iter().find(|(words, _)| text.contains(words)) {
        return (*words).into();
    }
    let text = in_wgsl(text).replace("found \"\"", "found the end of the source").replace(" ''", "");
    // Types are written out as the compiler's own data.
    let text = text.split(". Found ").next().unwrap_or_default();
    let text = text
        .replace(" { invariant: false }", "")
        .replace("Global variable", "variable")
        .replace("{AbstractFloat}", "number")
        .replace("{AbstractInt}", "integer");
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find(" [") {
        let inner = &rest[at + 2..];
        let end = inner.find(']').filter(|&end| end > 0 && inner[..end].bytes().all(|byte| byte.is_ascii_digit()));
        plain.push_str(&rest[..at]);
        if let Some(end) = end {
            rest = &inner[end + 1..];
        } else {
            plain.push_str(" [");
            rest = inner;
        }
    }
    operation(&(plain + rest))
}

/// A message with types as WGSL writes them, in place of the compiler's own data.
fn in_wgsl(text: &str) -> String {
    const TYPES: &[&str] = &[
        "Scalar(Scalar {",
        "Scalar {",
        "Vector {",
        "Matrix {",
        "Array {",
        "Struct {",
        "Pointer {",
        "ValuePointer {",
        "Atomic(",
    ];
    let mut written = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = TYPES.iter().filter_map(|name| rest.find(name)).min() {
        let mut depth = 0;
        let end = rest[at..].find(|c| {
            depth += i32::from(matches!(c, '{' | '(')) - i32::from(matches!(c, '}' | ')'));
            depth == 0 && matches!(c, '}' | ')')
        });
        let Some(end) = end.map(|end| at + end + 1) else { break };
        written.push_str(&rest[..at]);
        written.push_str(&type_in_wgsl(&rest[at..end]));
        rest = &rest[end..];
    }
    written + rest
}

/// A type of the compiler's data, as WGSL writes it.
fn type_in_wgsl(data: &str) -> String {
    let after = |name: &str| {
        data.split(name)
            .nth(1)
            .unwrap_or_default()
            .split([',', ' ', '}'])
            .find(|word| !word.is_empty())
            .unwrap_or_default()
    };
    let count = |name: &str| match after(name) {
        "Bi" => 2,
        "Tri" => 3,
        _ => 4,
    };
    let bits = after("width:").parse::<u32>().unwrap_or(0) * 8;
    let scalar = match after("kind:") {
        "Float" => format!("f{bits}"),
        "Sint" => format!("i{bits}"),
        "Uint" => format!("u{bits}"),
        "Bool" => "bool".into(),
        "AbstractInt" => "integer".into(),
        _ => "number".into(),
    };
    match data.split([' ', '(']).next().unwrap_or_default() {
        "Scalar" => scalar,
        "Vector" => format!("vec{}<{scalar}>", count("size:")),
        "Matrix" => format!("mat{}x{}<{scalar}>", count("columns:"), count("rows:")),
        "Atomic" => format!("atomic<{scalar}>"),
        "Array" => "an array".into(),
        "Struct" => "a struct".into(),
        _ => "a pointer".into(),
    }
}

/// The compiler's names of operators.
const OPERATORS: &[(&str, &str)] = &[
    ("Add", "+"),
    ("Subtract", "-"),
    ("Multiply", "*"),
    ("Divide", "/"),
    ("Modulo", "%"),
    ("Equal", "=="),
    ("NotEqual", "!="),
    ("LessEqual", "<="),
    ("Less", "<"),
    ("GreaterEqual", ">="),
    ("Greater", ">"),
    ("And", "&"),
    ("ExclusiveOr", "^"),
    ("InclusiveOr", "|"),
    ("LogicalAnd", "&&"),
    ("LogicalOr", "||"),
    ("ShiftLeft", "<<"),
    ("ShiftRight", ">>"),
    ("Negate", "-"),
    ("LogicalNot", "!"),
    ("BitwiseNot", "~"),
];

/// `Operation Add can't work with (of type f32) and (of type u32)`, in plain words.
fn operation(text: &str) -> String {
    let Some((name, operands)) = text.strip_prefix("Operation ").and_then(|rest| rest.split_once(" can't work with"))
    else {
        return text.into();
    };
    let operator = OPERATORS.iter().find(|(known, _)| *known == name).map_or(name, |(_, operator)| operator);
    format!("`{operator}` does not take{}", operands.replace("(of type ", "").replace(')', ""))
}

/// Whether a note says nothing to anybody but the compiler's authors.
pub(super) fn is_noise(note: &str) -> bool {
    note.ends_with(" varying error")
        || note.contains("Naga maintainers")
        || note.starts_with("Expression [") && note.ends_with("is invalid")
        || note.starts_with("You can enable this extension by adding `enable wgpu_binding_array")
}

/// Advice for a complaint about a text.
pub(super) fn hints(complaint: &Complaint, text: &str) -> Option<String> {
    let all: Vec<&str> = complaint
        .notes
        .iter()
        .chain([&complaint.message])
        .chain(complaint.labels.iter().map(|(_, label)| label))
        .map(String::as_str)
        .collect();
    let says = |words: &str| all.iter().any(|text| text.contains(words));
    let hint = if text.trim().lines().count() == 1 && text.trim().strip_suffix(".wgsl").is_some() {
        Some("the source is a file's name; give pathlib.Path(...).read_text()".into())
    } else if let Some(name) = complaint.message.strip_prefix("no definition in scope for identifier: `") {
        let name = name.trim_end_matches('`');
        FOREIGN.iter().find(|(names, _)| names.contains(&name)).map(|(_, hint)| (*hint).to_string())
    } else if says("expected assignment or increment") {
        declaration(complaint, text)
    } else if says("HOST_SHAREABLE") || says("Type flags TypeFlags") || says("not host-shareable") {
        Some(holdable(complaint, text).into())
    } else if says("Loading of [") && text.contains("arrayLength(") && !text.contains("arrayLength(&") {
        Some("arrayLength takes a pointer: arrayLength(&x)".into())
    } else {
        ADVICE.iter().find(|(words, _)| says(words)).map(|(_, hint)| (*hint).to_string())
    };
    hint.map(|hint| format!("hint: {hint}"))
}

/// How what stands here would be declared, if it is a declaration of C's.
fn declaration(complaint: &Complaint, text: &str) -> Option<String> {
    let place = complaint.labels.first()?.0.start;
    let before = words(text).take_while(|(at, _)| *at < place).last()?.1;
    if SHARED.0.contains(&before) {
        return Some(SHARED.1.into());
    }
    C_TYPES
        .contains(&before)
        .then(|| "WGSL declares variables as `var x: f32 = 0.0;` and constants as `let x = 0.0;`".into())
}

/// What a variable can hold that cannot hold this.
fn holdable(complaint: &Complaint, text: &str) -> &'static str {
    let declared = complaint.labels.first().map_or("", |(range, _)| &text[range.clone()]);
    let word = |wanted: &str| words(declared).any(|(_, word)| word == wanted);
    let lengths_given = complaint
        .notes
        .iter()
        .any(|note| note.split_once(") do not meet").is_some_and(|(has, _)| !has.contains("CREATION_RESOLVED")));
    if lengths_given && word("array") {
        "only arrays in var<workgroup> take an override as their length: use array<f32>, or a const"
    } else if word("bool") {
        "a bool cannot lie in a buffer: use u32"
    } else if word("atomic") {
        "atomics need a `var<storage, read_write>` or a `var<workgroup>`"
    } else if word("ptr") {
        "pointers cannot lie in a buffer"
    } else if word("uniform") {
        "a uniform has a fixed size, and no bool or atomic in it: array<vec4<f32>, N>; or use `var<storage, read>`"
    } else {
        "a buffer holds numbers, vectors, matrices, and arrays and structs of them; a bool has to be a u32"
    }
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
        }
        (false, true) => "mark the function that each invocation runs: `@compute @workgroup_size(64) fn main(...)`",
        (false, false) => {
            "write a function `@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>)`"
        }
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_the_compiler_is_put_in_words() {
        let float = "Scalar(Scalar { kind: Float, width: 4 })";
        let vector = "Vector { size: Tri, scalar: Scalar { kind: Uint, width: 4 } }";
        for (text, words) in [
            (
                format!("Operation Add can't work with [1] (of type {float}) and [2] (of type {vector})"),
                "`+` does not take f32 and vec3<u32>",
            ),
            (
                "Incompatible operands: Less(Struct { members: [StructMember { name: Some(\"a\") }], span: 4 }, _)"
                    .into(),
                "Incompatible operands: Less(a struct, _)",
            ),
            ("Global variable [0] 'y' is invalid".into(), "variable 'y' is invalid"),
            ("Type [3] '' is invalid".into(), "Type is invalid"),
            (
                "Built-in type for WorkGroupId is invalid. Found Scalar(Scalar { kind: Uint, width: 4 })".into(),
                "Built-in type for WorkGroupId is invalid",
            ),
            ("y[0] and [a] stay, as does Scalar {".into(), "y[0] and [a] stay, as does Scalar {"),
        ] {
            assert_eq!(plain(&text), words);
        }
    }
}
