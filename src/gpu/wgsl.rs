//! Assembling WGSL from files: imports, slots and repeats.
//!
//! A shader is a real `.wgsl` file. Two kinds of lines in it are ours. The first:
//!
//! ```wgsl
//! //! import index
//! //! import dtype/float16 as a
//! //! import {A} as a
//! ```
//!
//! The line is replaced by the module `shaders/shared/<name>.wgsl`. `{A}` is a slot: the caller says which module goes
//! there. Names that begin with `this_` in a module get the word behind `as` instead: `this_unpack` becomes `a_unpack`,
//! so that one module can serve several operands.
//!
//! The second writes lines several times, with a number in place of a name in braces:
//!
//! ```wgsl
//! //! repeat ROW 8
//! sum_{ROW} = fma(a_{ROW}, b, sum_{ROW});
//! //! end
//! ```
//!
//! Values that live in registers have to be variables of their own, since an array that is indexed at run time goes to
//! memory. Repeats nest, and `{COUNT}` in place of the 8 is a slot. Beyond that, pipelines are specialised by
//! `override` constants.
//!
//! A line `{USERS}` is where functions of a user's go. Our own names then get out of their way.

use std::borrow::Cow;
use std::sync::Arc;

use rustc_hash::FxHashSet;

use crate::error::{Error, Result};
use crate::kernel::source::words;

/// The shared modules, by name.
macro_rules! modules {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../shaders/shared/", $name, ".wgsl")))),*]
    };
}

/// Every module that a shader can import.
pub const MODULES: &[(&str, &str)] = modules![
    "index",
    "scan/workgroup",
    "scan/alone",
    "access/contiguous",
    "access/strided",
    "access/scalar",
    "access/in_place",
    "access/in_place_scattered",
    "access/in_place_scattered_packed",
    "access/store_contiguous",
    "access/store_scattered",
    "access/store_scattered_packed",
    "access/put_words",
    "access/put_packed",
    "access/row_quads",
    "access/row_edges",
    "access/row_edges_packed",
    "access/row_elements",
    "access/affine_quads",
    "access/affine_elements",
    "access/affine_shared",
    "access/affine_none",
    "access/rows_quads",
    "access/rows_words",
    "access/vector_quads",
    "access/vector_elements",
    "access/vector_blocks",
    "access/vector_store_quads",
    "access/vector_store_words",
    "access/vector_store_packed",
    "dtype/float32",
    "dtype/float16",
    "dtype/half",
    "dtype/bfloat16",
    "dtype/int32",
    "dtype/uint32",
    "dtype/int8",
    "dtype/uint8",
    "dtype/bool",
    "dtype/raw16",
    "math/floats",
    "math/integers",
    "reduce/subgroups",
    "reduce/one_row",
    "reduce/shared",
    "formula/quads",
    "formula/lines",
    "rows/params",
    "rows/lanes",
    "rows/places",
    "rows/elements",
    "rows/partials",
    "rows/store_result",
    "rows/store_partial",
    "rows/whole",
    "rows/apply",
    "rows/mean_free",
    "rows/mean_square",
    "accumulate/sum",
    "accumulate/product",
    "accumulate/extreme",
    "accumulate/extreme_float",
    "accumulate/place",
    "accumulate/truth",
    "accumulate/moments",
    "accumulate/exponentials",
    "accumulate/squares",
    "accumulate/formulas",
    "attention/params",
    "attention/lengths",
    "attention/one_length",
    "attention/scores",
    "attention/fetch_quads",
    "attention/fetch_elements",
    "mask/none",
    "mask/boolean",
    "mask/added",
    "quant/bytes",
    "quant/integers",
    "quant/own",
    "quant/by_digits",
    "quant/by_floats",
    "quant/every_row",
    "quant/named_rows",
    "quant/sixteens",
    "tiles/params",
    "tiles/band",
    "tiles/quads",
    "tiles/halves",
    "tiles/halves_by_four",
    "tiles/halves_by_eight",
];

/// What a slot holds: the name of a shared module, or WGSL text of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Slot {
    Module(Cow<'static, str>),
    Text(String),
    /// Functions of a user's, for the line `{USERS}`. What has such is compiled with bounds checks.
    Users(Arc<str>),
}

impl Slot {
    pub fn module(name: impl Into<Cow<'static, str>>) -> Self {
        Self::Module(name.into())
    }
}

/// A shader's text with its imports in place and its repeats written out.
///
/// With `immediates` off, parameters move from immediates to a uniform buffer of the same layout.
pub fn assemble(source: &str, slots: &[(&'static str, Slot)], immediates: bool) -> Result<String> {
    let mut text = with_imports(source, slots)?;
    if text.contains(REPEAT) {
        let lines: Vec<&str> = text.lines().collect();
        let mut written = String::with_capacity(text.len() * 4);
        write_out(&lines, &mut Vec::new(), slots, &mut written)?;
        text = written;
    }
    if !immediates {
        text = text.replace("var<immediate>", "@group(1) @binding(0) var<uniform>");
    }
    if let Some(functions) = users(slots) {
        text = set_apart(&text).replace(USERS, functions);
    }
    Ok(text)
}

/// The functions of a user's among what slots hold.
pub(crate) fn users<'a>(slots: &'a [(&'static str, Slot)]) -> Option<&'a str> {
    slots.iter().find_map(|(_, slot)| match slot {
        Slot::Users(functions) => Some(&**functions),
        Slot::Module(_) | Slot::Text(_) => None,
    })
}

/// The line where a user's functions go.
pub(crate) const USERS: &str = "{USERS}";

/// How our own names begin in a shader that has functions of a user's. Users' names must not.
pub(crate) const OURS: &str = "gpukern_";

/// A shader's text with all names that it declares outside of functions begun with [`OURS`].
///
/// Declarations begin where lines do, which those inside of functions and structs do not.
pub(crate) fn set_apart(text: &str) -> String {
    let outer = text.lines().filter(|line| !line.starts_with(char::is_whitespace));
    let declared: FxHashSet<&str> = outer.filter_map(declared).collect();
    let mut apart = String::with_capacity(text.len() * 2);
    let mut done = 0;
    // Attributes are no names of ours.
    let ours = words(text).filter(|&(at, word)| declared.contains(word) && !text[..at].ends_with('@'));
    for (at, _) in ours {
        apart.extend([&text[done..at], OURS]);
        done = at;
    }
    apart + &text[done..]
}

/// The name that a line declares, if it declares one.
fn declared(line: &str) -> Option<&str> {
    let mut words = words(line);
    let (at, keyword) =
        words.find(|(_, word)| matches!(*word, "fn" | "struct" | "alias" | "const" | "override" | "var"))?;
    let space = line[at + keyword.len()..].starts_with('<').then(|| line[at..].find('>')).flatten();
    words.find(|&(name, _)| name > at + space.unwrap_or(0)).map(|(_, name)| name)
}

/// How a line that imports a module begins.
pub(crate) const IMPORT: &str = "//! import ";

fn with_imports(source: &str, slots: &[(&'static str, Slot)]) -> Result<String> {
    let mut text = String::with_capacity(source.len() * 4);
    for line in source.lines() {
        match line.trim().strip_prefix(IMPORT) {
            None => text.push_str(line),
            Some(import) => text.push_str(&imported(import, slots)?),
        }
        text.push('\n');
    }
    Ok(text)
}

/// What an import asks for: a module, with the names that it shares replaced.
pub(crate) fn imported<'a>(import: &str, slots: &'a [(&'static str, Slot)]) -> Result<Cow<'a, str>> {
    let (name, prefix) = match import.split_once(" as ") {
        Some((name, prefix)) => (name.trim(), Some(prefix.trim())),
        None => (import.trim(), None),
    };
    let body = resolve(name, slots)?;
    Ok(match prefix {
        Some(prefix) => body.replace("this_", &format!("{prefix}_")).into(),
        None => body.into(),
    })
}

const REPEAT: &str = "//! repeat ";
const END: &str = "//! end";

/// Copies lines, those between `repeat` and `end` as often as said. `numbers` are what names in braces stand for.
fn write_out<'a>(
    mut lines: &[&'a str],
    numbers: &mut Vec<(&'a str, usize)>,
    slots: &[(&'static str, Slot)],
    text: &mut String,
) -> Result<()> {
    while let Some((line, rest)) = lines.split_first() {
        lines = rest;
        let Some(repeat) = line.trim().strip_prefix(REPEAT) else {
            let mut line = (*line).to_string();
            for (name, number) in &*numbers {
                line = line.replace(&format!("{{{name}}}"), &number.to_string());
            }
            text.push_str(&line);
            text.push('\n');
            continue;
        };
        let fail = |why: &str| Error::Kernel(format!("repeat {repeat}: {why}"));
        let (name, count) = repeat.trim().split_once(' ').ok_or_else(|| fail("a name and a count are wanted"))?;
        let count = match count.trim().strip_prefix('{').and_then(|count| count.strip_suffix('}')) {
            None => count.trim(),
            Some(slot) => match slots.iter().find(|(key, _)| *key == slot) {
                Some((_, Slot::Text(text))) => text,
                _ => return Err(fail("no number was given for the slot")),
            },
        };
        let count: usize = count.parse().map_err(|_| fail("the count is no number"))?;
        let mut depth = 1;
        let end = lines.iter().position(|line| {
            depth += usize::from(line.trim().starts_with(REPEAT));
            depth -= usize::from(line.trim() == END);
            depth == 0
        });
        let (body, rest) = lines.split_at(end.ok_or_else(|| fail("there is no end to it"))?);
        lines = &rest[1..];
        for number in 0..count {
            numbers.push((name, number));
            write_out(body, numbers, slots, text)?;
            numbers.pop();
        }
    }
    Ok(())
}

fn resolve<'a>(name: &str, slots: &'a [(&'static str, Slot)]) -> Result<&'a str> {
    let slot = name.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
    let module = match slot {
        None => name,
        Some(slot) => match slots.iter().find(|(key, _)| *key == slot) {
            Some((_, Slot::Text(text))) => return Ok(text),
            Some((_, Slot::Users(_))) => return Ok(USERS),
            Some((_, Slot::Module(name))) => name,
            None => return Err(Error::Kernel(format!("import: nothing was given for the slot {name}"))),
        },
    };
    MODULES.iter().find(|(key, _)| *key == module).map(|(_, text)| *text).ok_or_else(|| {
        let known = MODULES.iter().map(|(key, _)| *key).collect::<Vec<_>>().join(", ");
        Error::Kernel(format!("import: there is no module '{module}'; the modules are {known}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_names_give_way() {
        let text = "struct Place { x: u32 }\n@group(0) @binding(0) var<storage, read> compute: array<Place>;\n\
                    const N: u32 = 1u; // N\n@compute @workgroup_size(N) fn main() { let one = compute[N]; }";
        let apart = "struct gpukern_Place { x: u32 }\n@group(0) @binding(0) var<storage, read> gpukern_compute: \
                     array<gpukern_Place>;\nconst gpukern_N: u32 = 1u; // N\n@compute @workgroup_size(gpukern_N) fn \
                     gpukern_main() { let one = gpukern_compute[gpukern_N]; }";
        assert_eq!(set_apart(text), apart);
        let slots = [("USERS", Slot::Users("fn N() {}".into()))];
        let whole = assemble("const N = 1;\n//! import {USERS}", &slots, true).unwrap();
        assert_eq!(whole, "const gpukern_N = 1;\nfn N() {}\n");
    }

    #[test]
    fn imports_are_renamed_and_slots_filled() {
        let source = "//! import {A} as a\n//! import {F}\nfn main() {}";
        let slots = [("A", Slot::module("dtype/float32")), ("F", Slot::Text("fn f() {}".into()))];
        let text = assemble(source, &slots, true).unwrap();
        assert!(text.contains("a_unpack") && !text.contains("this_") && text.contains("fn f() {}"), "{text}");
    }

    #[test]
    fn repeats_are_written_out() {
        let source = "//! repeat ROW 2\n//! repeat COLUMN {WIDTH}\nx_{ROW}_{COLUMN}\n//! end\ny_{ROW} {Z}\n//! end\nz";
        let slots = [("WIDTH", Slot::Text("3".into()))];
        let text = assemble(source, &slots, true).unwrap();
        assert_eq!(text, "x_0_0\nx_0_1\nx_0_2\ny_0 {Z}\nx_1_0\nx_1_1\nx_1_2\ny_1 {Z}\nz\n");
        for source in ["//! repeat ROW", "//! repeat ROW few\n//! end", "//! repeat ROW 2\n", "//! repeat A {B}\n"] {
            let message = assemble(source, &slots, true).unwrap_err().to_string();
            assert!(message.starts_with("repeat "), "{message}");
        }
    }

    #[test]
    fn unknown_modules_and_empty_slots_are_named() {
        let message = assemble("//! import nonsense", &[], true).unwrap_err().to_string();
        assert!(message.contains("nonsense") && message.contains("dtype/float16"), "{message}");
        assert!(assemble("//! import {A}", &[], true).unwrap_err().to_string().contains("{A}"));
    }
}
