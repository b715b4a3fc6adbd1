"""Kernels that are malformed or misused: each is refused with a KernelError that says why, before anything is recorded.

Nothing else happens: arguments are as they were, nothing is printed, and the next call is right.
"""

import functools
import gc
import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import gpukern as gk
from conftest import elsewhere
from processes import INTERRUPTIBLE, clean_environment, run_script

F32 = np.float32

# Names of the compiler's own data, which say nothing to its users.
INTERNAL = re.compile(
    r"naga|Handle|Capabilit|TypeFlags|Scalar|AbstractFloat|AbstractInt|see msg| \[\d+\]|\w::\w|Some\(|panicked"
)
# A line of the source that a message quotes, with what is drawn under it.
QUOTED = re.compile(r"^ *\d* *[│┌].*$", re.MULTILINE)

# A message is something to read.
LONGEST = 3000

SAXPY = """struct P { a: f32, n: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> p: P;
@compute @workgroup_size(16) fn saxpy(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < p.n) { y[id.x] += p.a * x[id.x]; }
}
"""


@functools.cache
def kernel(source, **options):
    return gk.Kernel(source, **options)


def assert_works(device):
    """A correct call gives the right answer."""
    result = kernel(SAXPY)(x=F32([1, 2, 3]), y=F32([1, 1, 1]), p={"a": 2, "n": 3}, threads=3, device=device)
    assert result.tolist() == [3, 5, 7]


def assert_is_told(message, words):
    """A message has its words, none of the compiler's own, and an end."""
    for word in words:
        before, after = (r"\b" if char.isalnum() else "" for char in (word[0], word[-1]))
        assert re.search(before + re.escape(word) + after, message), f"{word!r} is not in: {message}"
    own = QUOTED.sub("", message)
    assert not INTERNAL.search(own), f"{INTERNAL.search(own).group()!r} is in: {message}"
    assert len(message) <= LONGEST


@pytest.fixture(autouse=True)
def nothing_is_said_elsewhere(capfd, caplog):
    """Neither stdout nor stderr nor a warning of the logger repeats what an error says."""
    yield
    assert capfd.readouterr() == ("", "")
    loud = [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.WARNING]
    assert not loud


# Mistakes in WGSL


def main(body, before="", argument="@builtin(global_invocation_id) id: vec3<u32>", attributes="@workgroup_size(64)"):
    """A kernel of this body, which is its line 4 where nothing stands before it."""
    return (
        "@group(0) @binding(0) var<storage, read_write> y: array<f32>;\n"
        "@group(0) @binding(1) var<storage, read> x: array<f32>;\n"
        f"{before}@compute {attributes} fn main({argument}) {{\n"
        f"    {body}\n"
        "}\n"
    )


@dataclass(frozen=True)
class Wrong:
    """A source that must be refused, the words that the message must have, and the line and column that it shows."""

    source: object
    words: tuple
    place: str | None = None
    options: dict | None = None


def bound(declaration, use="y[0] = 1.0; _ = &v;", before=""):
    """A kernel with one more variable, `v`, declared in line 1 or behind what stands before it."""
    return f"{before}@group(0) @binding(5) {declaration}\n" + main(use)


DEEP = 10_000
BLOCKS = "{" * DEEP + "}" * DEEP
PARENTHESES = "(" * DEEP + "1.0" + ")" * DEEP

SOURCES = {
    # What is no source
    "bytes": Wrong(b"fn f() {}", ("source", "bytes", "str")),
    "None": Wrong(None, ("source", "NoneType", "str")),
    "number": Wrong(3, ("source", "int", "str")),
    "path": Wrong(Path("saxpy.wgsl"), ("source", "Path", "read_text()")),
    "file's name": Wrong("kernel.wgsl", ("read_text()",), "1:1"),
    "surrogate": Wrong(main("y[0] = \ud800;"), ("source", "surrogate")),
    "empty": Wrong("", ("entry point", "@compute @workgroup_size(64)")),
    "comments alone": Wrong("// y = x\n/* nothing */\n", ("entry point", "@compute")),
    # Characters
    "NUL": Wrong(main("y[0] = 1.0;\0"), ("statement",), "4:16"),
    "control characters": Wrong(main("y[0] = \x01\x02 1.0;"), ("expression",), "4:12"),
    "behind a tab": Wrong(main("\ty[0] = missing;"), ("missing",), "4:13"),
    "behind other scripts": Wrong(main("/* äöü 漢字 😀 */ y[0] = missing;"), ("missing",), "4:27"),
    "other scripts in names": Wrong(main("let größe = 1.0; y[0] = größe + missing;"), ("missing",), "4:37"),
    "emoji": Wrong(main("y[0] = 😀;"), ("expression",), "4:12"),
    "ends of lines of Windows": Wrong(main("y[0] = missing;").replace("\n", "\r\n"), ("missing",), "4:12"),
    "behind a byte order mark": Wrong("\ufeff" + main("y[0] = missing;"), ("missing",), "4:12"),
    "quotes": Wrong(main('y[0] = "text";'), ("expression",), "4:12"),
    # Syntax
    "cut in a word": Wrong(main("y[0] = 1.0;")[:60], ("end of the source",), "1:61"),
    "cut before the end": Wrong(main("y[0] = 1.0;").rstrip()[:-1].rstrip(), ("end of the source", "brace"), "4:16"),
    "brace too few": Wrong(main("if (id.x > 0u) { y[0] = 1.0;").rstrip(), ("end of the source", "brace"), "5:2"),
    "brace too many": Wrong(main("y[0] = 1.0; }"), ("global item",), "5:1"),
    "comment without end": Wrong("/* /* */\n" + main(""), ("comment", "*/"), "1:1"),
    "no semicolon": Wrong(main("let a = 1.0\n    let b = 2.0;"), ("`;`",), "5:5"),
    "no braces": Wrong(main("if (id.x > 0u) y[0] = 1.0;"), ("`{`", "braces"), "4:20"),
    "deep parentheses": Wrong(main(f"y[0] = {PARENTHESES};"), ("nested",)),
    "deep blocks": Wrong(main(BLOCKS), ("nesting",)),
    "deep types": Wrong(f"var<private> v: {'array<' * DEEP}f32{', 1>' * DEEP};\n" + main("y[0] = 1.0;"), ("nested",)),
    "deep attributes": Wrong("@" * DEEP + main(""), ("identifier",), "1:2"),
    "a megabyte in a line": Wrong(main(f"/* {'a ' * 500_000} */ missing = 1.0;"), ("missing",), "4:1000012"),
    "a megabyte of a name": Wrong(main(f"y[0] = {'n' * 1_000_000};"), ("no definition",), "4:12"),
    "a megabyte of junk": Wrong("a " * 500_000, ("global item",), "1:1"),
    # Names and types
    "unknown name": Wrong(main("y[0] = missing;"), ("missing",), "4:12"),
    "name twice": Wrong(main("let a = 1; let a = 2;"), ("redefinition", "a"), "4:20"),
    "reserved name": Wrong(main("let new = 1;"), ("new", "reserved"), "4:9"),
    "field that is none": Wrong(main("y[0] = id.w;"), ("w",), "4:15"),
    "float from integer": Wrong(main("y[0] = id.x;"), ("u32", "f32", "f32(i)"), "4:5"),
    "integer times float": Wrong(main("y[0] = id.x * 2.0;"), ("types", "f32(i)"), "4:19"),
    "integer plus float": Wrong(main("y[0] = x[0] + id.x;"), ("f32", "u32", "f32(i)"), "4:12"),
    "vector times array": Wrong(main("let a = vec2(1.0) * y;"), ("vec2", "array")),
    "choice of two types": Wrong(main("y[0] = select(x[0], 1u, true);"), ("select", "f32", "u32"), "4:19"),
    "result of another type": Wrong("fn f() -> f32 { return 1u; }\n" + main("y[0] = f();"), ("f", "f32")),
    "condition that is a number": Wrong(main("if (id.x) { y[0] = 1.0; }"), ("if", "boolean"), "4:9"),
    "index by a vector": Wrong(main("y[id] = 1.0;"), ("index", "id.x"), "4:5"),
    "negative index": Wrong(main("y[-1] = 1.0;"), ("negative", "index"), "4:5"),
    "index beyond": Wrong(main("var a: array<f32, 3>; a[5] = 1.0;"), ("index", "5"), "4:27"),
    "number too large": Wrong(main("let a: i32 = 3000000000;"), ("i32", "3000000000"), "4:18"),
    "division by zero": Wrong(main("let a = 1 / 0;"), ("zero",), "4:13"),
    "argument too few": Wrong(main("y[0] = max(1.0);"), ("expected 2", "found 1"), "4:12"),
    "argument of another type": Wrong(main("y[0] = sin(1u);"), ("sin", "u32"), "4:12"),
    "recursion": Wrong("fn f(n: u32) -> u32 { return f(n); }\n" + main("y[0] = f32(f(1u));"), ("loop",), "1:4"),
    "recursion of two": Wrong(
        "fn f(n: u32) -> u32 { return g(n); }\nfn g(n: u32) -> u32 { return f(n); }\n" + main("y[0] = f32(f(1u));"),
        ("f", "g", "loop"),
        "2:4",
    ),
    "result of an entry point": Wrong(
        main("y[0] = 1.0;").replace(") {", ") -> f32 {"), ("entry point", "main", "return nothing")
    ),
    # Habits of other languages
    "C's declaration": Wrong(main("float a = 1.0;"), ("var x: f32 = 0.0;",), "4:11"),
    "C's loop": Wrong(main("for (int i = 0; i < 3; i++) {}"), ("var x: f32 = 0.0;",), "4:14"),
    "C's choice": Wrong(main("y[0] = id.x > 1u ? 1.0 : 2.0;"), ("select(",), "4:22"),
    "HLSL's types": Wrong(main("let v = float4(1.0);"), ("float4", "vec4<f32>"), "4:13"),
    "GLSL's functions": Wrong(main("let i = uint(3.0);"), ("uint", "u32"), "4:13"),
    "GLSL's ids": Wrong(main("let i = gl_GlobalInvocationID.x;"), ("@builtin(global_invocation_id)",), "4:13"),
    "CUDA's ids": Wrong(
        main("let i = blockIdx.x * blockDim.x + threadIdx.x;"), ("blockIdx", "@builtin(global_invocation_id)"), "4:13"
    ),
    "CUDA's barrier": Wrong(main("__syncthreads();"), ("workgroupBarrier()",), "4:5"),
    "CUDA's memory": Wrong(main("__shared__ float s[4];"), ("var<workgroup>",), "4:16"),
    "HLSL's functions": Wrong(main("y[0] = lerp(1.0, 2.0, 0.5);"), ("lerp", "mix()"), "4:12"),
    "a preprocessor": Wrong("#define N 4\n" + main("y[0] = 1.0;"), ("preprocessor", "const"), "1:1"),
    "let at the top": Wrong("let n = 3;\n" + main("y[0] = 1.0;"), ("const", "override"), "1:1"),
    "printf": Wrong(main("printf(1);"), ("printf",), "4:5"),
    "enable subgroups": Wrong("enable subgroups;\n" + main("y[0] = subgroupAdd(1.0);"), ("leave", "line"), "1:8"),
    "f16 without enable": Wrong(main("y[0] = f32(f16(1.0));"), ("enable f16;",), "4:16"),
    "arrayLength of a value": Wrong(main("y[0] = f32(arrayLength(x));"), ("arrayLength(&x)",), "4:28"),
    # Entry points
    "no @compute": Wrong(main("").replace("@compute ", ""), ("@compute @workgroup_size(64)",)),
    "no @workgroup_size": Wrong(main("", attributes=""), ("@workgroup_size(64)",), "3:2"),
    "function alone": Wrong("fn main() {}", ("entry point", "@compute @workgroup_size(64)")),
    "vertex shader": Wrong("@vertex fn v() -> @builtin(position) vec4f { return vec4f(); }", ("v", "@compute")),
    "several entry points": Wrong(main("") + "@compute @workgroup_size(1) fn b() {}", ("entry_point=", "main", "b")),
    "unknown entry point": Wrong(main(""), ("nope", "main"), options={"entry_point": "nope"}),
    "entry point by number": Wrong(main(""), ("entry_point", "3"), options={"entry_point": 3}),
    "name by number": Wrong(main(""), ("name", "3"), options={"name": 3}),
    "trusted by text": Wrong(main(""), ("trusted", "'yes'"), options={"trusted": "yes"}),
    "argument without a builtin": Wrong(main("y[0] = 1.0;", argument="i: u32"), ("@builtin(",), "3:33"),
    "argument by location": Wrong(main("y[0] = i;", argument="@location(0) i: f32"), ("@builtin(",), "3:33"),
    "unknown builtin": Wrong(main("", argument="@builtin(thread_id) i: vec3<u32>"), ("thread_id",), "3:47"),
    "builtin of another type": Wrong(
        main("", argument="@builtin(global_invocation_id) i: u32"), ("vec3<u32>", "id.x"), "3:33"
    ),
    "workgroup of nobody": Wrong(main("", attributes="@workgroup_size(0)"), ("@workgroup_size", "1"), "3:32"),
    "workgroup of too many": Wrong(main("", attributes="@workgroup_size(2147483648)"), ("@workgroup_size",), "3:41"),
    "workgroup of less": Wrong(main("", attributes="@workgroup_size(-1)"), ("non-negative",), "3:26"),
    "workgroup of four axes": Wrong(main("", attributes="@workgroup_size(1, 1, 1, 1)"), ("global item",), "3:35"),
    # Variables
    "no @binding": Wrong("@group(0) var<storage, read> v: array<f32>;\n" + main(""), ("binding",), "1:1"),
    "no @group": Wrong("@binding(5) var<storage, read> v: array<f32>;\n" + main(""), ("group",), "1:1"),
    "neither": Wrong("var<storage, read> v: array<f32>;\n" + main(""), ("v", "@group(0) @binding(0)"), "1:1"),
    "array of no address space": Wrong(
        bound("var v: array<f32>;", "y[0] = 1.0;"), ("v", "var<storage, read_write>"), "1:23"
    ),
    "no address space": Wrong(bound("var v: array<f32>;", "v[0] = 1.0;"), ("var<storage, read_write>",), "5:5"),
    "unknown address space": Wrong(bound("var<buffer> v: array<f32>;"), ("buffer",), "1:27"),
    "bound twice": Wrong(main("y[0] = x[0];").replace("@binding(1)", "@binding(0)"), ("@binding", "x"), "2:23"),
    "named twice": Wrong(bound("var<storage, read> x: array<f32>;"), ("redefinition", "x"), "3:42"),
    "write of read-only storage": Wrong(main("x[0] = 1.0;"), ("read_write",), "4:5"),
    "write of a uniform": Wrong(bound("var<uniform> v: vec4<f32>;", "v.x = 1.0;"), ("read_write",), "5:5"),
    "write of a constant": Wrong(main("let a = 1; a = 2;"), ("a", "var"), "4:16"),
    "texture": Wrong(
        bound("var v: texture_2d<f32>;", "y[0] = textureLoad(v, vec2(0), 0).x;"), ("v", "texture"), "1:23"
    ),
    "array of bindings": Wrong(bound("var<storage> v: binding_array<array<f32>>;"), ("single",), "1:39"),
    "atomic of a plain number": Wrong(main("atomicAdd(&y[0], 1.0);"), ("atomic<u32>",), "4:15"),
    "atomic in a uniform": Wrong(
        bound("var<uniform> v: atomic<u32>;", "atomicAdd(&v, 1u);"), ("v", "read_write", "var<workgroup>"), "1:23"
    ),
    "bool in storage": Wrong(bound("var<storage> v: array<bool>;"), ("v", "bool", "u32"), "1:23"),
    "bool in a uniform": Wrong(
        bound("var<uniform> v: Q;", before="struct Q { a: u32, b: bool }\n"), ("v", "bool"), "2:23"
    ),
    "floats in a uniform": Wrong(bound("var<uniform> v: array<f32, 4>;"), ("v", "16", "vec4<f32>"), "1:23"),
    "struct in a uniform": Wrong(
        bound("var<uniform> v: Q;", before="struct I { a: f32 }\nstruct Q { a: f32, i: I }\n"),
        ("v", "@align(16)"),
        "3:23",
    ),
    "open array in a uniform": Wrong(
        bound("var<uniform> v: array<vec4<f32>>;"), ("v", "uniform", "var<storage, read>"), "1:23"
    ),
    "array of nothing": Wrong("var<private> v: array<f32, 0>;\n" + main(""), ("positive",), "1:28"),
    "array of too many": Wrong(bound("var<storage> v: array<array<f32, 65536>, 65536>;"), ("too large", "2147483647")),
    "struct in itself": Wrong("struct A { b: B }\nstruct B { a: A }\n" + main("var v: A;"), ("A", "B"), "2:8"),
    "private memory": Wrong(
        "var<private> v: array<f32, 100000000>;\n" + main("v[id.x] = 1.0; y[0] = v[id.x + 1u];"), ("v", "workgroup")
    ),
    "a function's memory": Wrong(main("var v: array<f32, 10000000>; v[id.x] = 1.0; y[0] = v[id.x + 1u];"), ("v",)),
    # Constants
    "unknown constant": Wrong(main(""), ("N", "override"), options={"constants": {"N": 3}}),
    "constants that are no dict": Wrong(main(""), ("constants=", "dict"), options={"constants": [3]}),
    "constant of no type": Wrong("override n;\n" + main(""), ("n", "type"), "1:10"),
    "constant of a vector": Wrong("override n = vec2(1.0);\n" + main("y[0] = n.x;"), ("n", "scalar"), "1:1"),
    "const from override": Wrong("override n = 3;\nconst m = n + 1;\n" + main(""), ("override",), "2:11"),
    "length of storage by constant": Wrong(
        bound("var<storage> v: array<f32, n>;", before="override n = 3u;\n"),
        ("v", "var<workgroup>", "array<f32>"),
        "2:23",
    ),
    "alias with a number": Wrong(
        "alias T = f32;\n" + main("y[0] = T(1.0);"), ("T", "alias", "float16"), options={"constants": {"T": 3}}
    ),
    "alias with a type that GPUs lack": Wrong(
        "alias T = f32;\n" + main("y[0] = T(1.0);"),
        ("T", "float64", "float32"),
        options={"constants": {"T": "float64"}},
    ),
    "alias that is none": Wrong(main(""), ("T", "f16", "alias T"), options={"constants": {"T": "float16"}}),
    "error behind an alias": Wrong(
        "alias T = f32;\n" + main("let a: T = 1.0; y[0] = a;"),
        ("f16", "f32(i)"),
        "5:21",
        options={"constants": {"T": np.float16}},
    ),
    # Imports
    "unknown module": Wrong("// One.\n//! import nonsense\n" + main(""), ("line 2", "nonsense", "dtype/float16")),
    "behind an import": Wrong(
        "//! import index\n//! import dtype/float16 as half\n" + main("y[0] = 1;\n y[1] = q;"), ("q",), "7:9"
    ),
    "before an import": Wrong(main("y[0] = missing;") + "//! import index\n", ("missing",), "4:12"),
    "import of a name that is taken": Wrong(
        "//! import index\n\nfn coordinates() {}\n" + main(""), ("coordinates", "index"), "3:4"
    ),
    "import as no name": Wrong("//! import dtype/float16 as 3x\n" + main(""), ("line 1", "3x")),
    "import as nothing": Wrong("//! import dtype/float16 as\n" + main(""), ("line 1", "as")),
    "misused import": Wrong(
        "//! import dtype/float16 as half\n" + main("y[0] = half_element(1.0, 0u);"), ("u32", "f32"), "5:25"
    ),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_wrong_source(any_device, name):
    wrong = SOURCES[name]
    with pytest.raises(gk.KernelError) as caught:
        gk.Kernel(wrong.source, **wrong.options or {})
    assert_is_told(str(caught.value), wrong.words)
    if wrong.place:
        places = re.findall(r"┌─ (.*)", str(caught.value))
        assert places[0] == f"wgsl:{wrong.place}", str(caught.value)
    assert_works(any_device)


def test_the_caret_stands_under_the_mistake():
    with pytest.raises(gk.KernelError) as caught:
        gk.Kernel(main("let größe = 1.0; y[0] = größe + missing;"), name="sizes")
    lines = str(caught.value).splitlines()
    assert "sizes" in lines[0]
    [shown] = [i for i, line in enumerate(lines) if "größe" in line]
    caret = lines[shown + 1]
    assert lines[shown][caret.index("^") :].startswith("missing;")
    assert caret.count("^") == len("missing")


def test_a_mistake_in_what_is_imported_is_shown_there():
    """As where the library's module needs what the user's own text defines otherwise."""
    with pytest.raises(gk.KernelError) as caught:
        gk.Kernel("//! import index\nstruct Four { a: f32 }\n" + main("y[0] = 1.0;"))
    places = re.findall(r"┌─ (.*)", str(caught.value))
    assert places[0] == "wgsl:2:8"
    assert places[1].startswith("gpukern: index:")


@pytest.mark.parametrize("name", ["", "two\nlines", "a\0b", "\ud800"], ids=ascii)
def test_a_name_that_is_none(name):
    """It is refused, or shown in a line of its own."""
    try:
        gk.Kernel(main("y[0] = missing;"), name=name)
    except gk.KernelError as error:
        first = str(error).splitlines()[0]
        assert "name" in first or first.endswith("does not compile")
        assert first.isprintable()


# Mistakes in calls


class Given:
    """What a call may be given, and what it was before."""

    def __init__(self, device):
        self.device = device
        self.x, self.y = np.arange(1, 6, dtype=F32), np.full(5, 2, F32)
        self.both = np.ones(10, F32)
        self.tensor = gk.asarray(self.x, device=device, copy=True)
        self.written = gk.asarray(self.y, device=device, copy=True)
        self.long = gk.ones(10, device=device)
        self.elsewhere = gk.ones(5, device=elsewhere())
        self.p = {"a": 2.0, "n": 5}
        self.before = self.values()

    def values(self):
        tensors = [self.tensor, self.written, self.long, self.elsewhere]
        return [*(array.tolist() for array in (self.x, self.y, self.both, *tensors)), dict(self.p)]

    def call(self, *arguments, without=(), **changed):
        """Call saxpy with these arguments instead of right ones."""
        right = {"x": self.x, "y": self.written, "p": self.p, "threads": 5}
        keywords = {name: value for name, value in (right | changed).items() if name not in without}
        return kernel(SAXPY)(*arguments, **keywords)

    def arrays(self, **changed):
        return self.call(**{"y": self.y, "device": self.device} | changed)

    def lacking(self, caps, source, **arguments):
        """Call a kernel on the same GPU with less."""
        device = self.device.with_caps(caps)
        return kernel(source)(y=gk.ones(5, device=device), x=self.x, threads=5, **arguments)

    def typed(self, declaration, value, before=""):
        """Give a value to a variable `v` of the type in its declaration."""
        source = before + f"@group(0) @binding(5) {declaration}\n" + main("y[0] = 1.0; _ = &v; _ = &x;")
        return kernel(source)(x=self.x, y=self.written, v=value, threads=1)

    def constant(self, **constants):
        source = """override n: u32; override f: f32 = 1.0; override b = true; override i: i32 = -1;
            override quotient: u32 = 12u / max(n, 1u) / n;
            var<workgroup> w: array<f32, n>;
        """ + main(
            "w[id.x] = f; y[0] = w[0] + f32(n + quotient) + f32(i) + select(0.0, 1.0, b);",
            attributes="@workgroup_size(n)",
        )
        return kernel(source)(y=self.written, threads=1, **constants)


STRUCTS = """struct Light { position: vec3<f32>, power: f32 }
struct Scene { count: u32, lights: array<Light, 2>, m: mat2x2<f32> }
"""
LIGHT = [("position", "f4", 3), ("power", "f4")]
LIGHTS, SCENE = "var<storage, read> v: array<Light>;", "var<storage, read> v: Scene;"
LIT = {"position": [1, 2, 3], "power": 1}


def many(declaration, use):
    """A kernel with 300 more variables."""
    variables = [f"@group(0) @binding({i + 5}) {declaration.format(f'v{i}')};\n" for i in range(300)]
    return main(f"y[0] = {' + '.join(use.format(f'v{i}') for i in range(300))};", before="".join(variables))


TWO_WRITTEN = """@group(0) @binding(0) var<storage, read_write> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> b: array<f32>;
@compute @workgroup_size(64) fn two(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < arrayLength(&b)) { a[id.x] += 1.0; b[id.x] += 1.0; }
}
"""


class Sparse:
    """Looks like an array and is none."""

    shape, dtype, nnz = (5,), np.dtype("f4"), 3

    def __len__(self):
        return 5


class Unwilling:
    """NumPy asks it for an array, and gets none."""

    def __array__(self, dtype=None, copy=None):
        raise ValueError("not today")


class Unshown:
    """Nothing about it can be printed."""

    def __repr__(self):
        raise RuntimeError("no words")


@dataclass(frozen=True)
class Case:
    """A call that must fail, and the words that its message must have beside the kernel's name.

    On a device that it `fits` nothing is wrong with it.
    """

    call: Callable
    words: tuple
    error: type = gk.KernelError
    fits: Callable = lambda device: False


def is_cpu(device):
    """It lacks nothing that GPUs may lack, and cannot be made to; values are memory like any other there."""
    return device.backend == "cpu"


CALLS = {
    # Names
    "by position": Case(lambda g: g.call(g.x), ("x=", "y=", "p=")),
    "nothing": Case(lambda g: kernel(SAXPY)(), ("threads=", "workgroups=")),
    "x is missing": Case(lambda g: g.call(without=["x"]), ("x", "read", "missing", "array<f32>")),
    "y is missing": Case(lambda g: g.call(without=["y"]), ("y", "missing", "out=")),
    "p is missing": Case(lambda g: g.call(without=["p"]), ("p", "uniform", "missing")),
    "unknown argument": Case(lambda g: g.call(z=g.x), ("z", "x", "threads")),
    "another case": Case(lambda g: g.call(X=g.x, without=["x"]), ("X", "x")),
    "given twice": Case(lambda g: g.call(bindings={"x": g.x}), ("x", "twice", "bindings=")),
    "unknown in bindings": Case(lambda g: g.call(bindings={"z": g.x}), ("z",)),
    "bindings that are no dict": Case(lambda g: g.call(bindings=[g.x]), ("bindings=", "dict")),
    # Arrays
    "float64": Case(lambda g: g.call(x=np.ones(5)), ("x", "float64", "float32")),
    "int64": Case(lambda g: g.call(x=np.ones(5, np.int64)), ("x", "int64", "float32")),
    "int32": Case(lambda g: g.call(x=np.ones(5, np.int32)), ("x", "int32", "float32", "astype")),
    "bool": Case(lambda g: g.call(x=np.ones(5, bool)), ("x", "bool", "float32")),
    "complex": Case(lambda g: g.call(x=np.ones(5, complex)), ("x", "complex128", "float32")),
    "objects": Case(lambda g: g.call(x=np.array([{}] * 5)), ("x", "object", "float32")),
    "text": Case(lambda g: g.call(x=np.array(["one"] * 5)), ("x", "<U3", "float32")),
    "dates": Case(lambda g: g.call(x=np.zeros(5, "M8[s]")), ("x", "datetime64[s]", "float32")),
    "float16 tensor": Case(lambda g: g.call(y=gk.ones(5, "float16", device=g.device)), ("y", "float16", "float32")),
    "int32 for u32": Case(
        lambda g: g.typed("var<storage> v: array<u32>;", np.ones(3, np.int32)), ("v", "int32", "uint32", "astype")
    ),
    "bytes for u32": Case(
        lambda g: g.typed("var<storage> v: array<u32>;", np.ones(4, np.uint8)), ("v", "uint8", "uint32", "view")
    ),
    "no elements": Case(lambda g: g.call(x=np.ones(0, F32)), ("x", "(0,)", "at least one")),
    "no elements in a list": Case(lambda g: g.call(x=[]), ("x", "at least one")),
    "no elements in a tensor": Case(lambda g: g.call(x=gk.ones(0, device=g.device)), ("x", "(0,)", "at least one")),
    "None for an array": Case(lambda g: g.call(x=None), ("x", "None")),
    "string for an array": Case(lambda g: g.call(x="text"), ("x", "'text'")),
    "bytes for an array": Case(lambda g: g.call(x=b"text"), ("x", "b'text'")),
    "dict for an array": Case(lambda g: g.call(x={"a": 1}), ("x", "{'a': 1}")),
    "function for an array": Case(lambda g: g.call(x=len), ("x", "function")),
    "something like an array": Case(lambda g: g.call(x=Sparse()), ("x", "Sparse")),
    "something unwilling": Case(lambda g: g.call(x=Unwilling()), ("x", "Unwilling")),
    "something unshown": Case(lambda g: g.call(x=Unshown()), ("x",)),
    "masked array": Case(lambda g: g.call(x=np.ma.masked_greater(g.x, 2)), ("x", "mask", ".filled()")),
    "None in a list": Case(lambda g: g.call(x=[1, None]), ("x", "None")),
    "text in a list": Case(lambda g: g.call(x=[1, "a"]), ("x", "'a'")),
    "ragged list": Case(lambda g: g.call(x=[[1, 2], [3, 4, 5]]), ("x",)),
    "beyond float32 in a list": Case(lambda g: g.call(x=[1e39]), ("x", "f32")),
    "negative for u32": Case(lambda g: g.typed("var<storage> v: array<u32>;", [1, -1]), ("v", "-1", "u32")),
    "fraction for u32": Case(lambda g: g.typed("var<storage> v: array<u32>;", [1.5]), ("v", "1.5")),
    "fixed length": Case(lambda g: g.typed("var<storage> v: array<f32, 4>;", g.x), ("v", "(5,)", "5", "4")),
    "multiple of a vector": Case(
        lambda g: g.typed("var<storage> v: array<vec4<f32>>;", np.ones(6, F32)), ("v", "(6,)", "4", "vec4<f32>")
    ),
    "three of four": Case(
        lambda g: g.typed("var<storage> v: array<vec3<f32>>;", np.ones(6, F32)), ("v", "(6,)", "vec3<f32>", "last axis")
    ),
    "matrix": Case(
        lambda g: g.typed("var<storage> v: mat3x3<f32>;", np.ones((3, 2), F32)), ("v", "(3, 2)", "mat3x3<f32>")
    ),
    "rows of a matrix": Case(
        lambda g: g.typed("var<uniform> v: mat2x2<f32>;", [[1, 2], [3]]), ("v[1]", "vec2<f32>", "2", "1")
    ),
    # Structs
    "structured for numbers": Case(lambda g: g.call(x=np.zeros(5, LIGHT)), ("x", "fields", "array<f32>")),
    "field too few": Case(lambda g: g.typed(LIGHTS, np.zeros(4, LIGHT[:1]), STRUCTS), ("v", "power")),
    "field too many": Case(lambda g: g.typed(LIGHTS, np.zeros(4, [*LIGHT, ("z", "f4")]), STRUCTS), ("v", "z")),
    "field of another type": Case(
        lambda g: g.typed(LIGHTS, np.zeros(4, [LIGHT[0], ("power", "f8")]), STRUCTS), ("v.power", "float64", "float32")
    ),
    "field of another shape": Case(
        lambda g: g.typed(LIGHTS, np.zeros(4, [("position", "f4", 2), LIGHT[1]]), STRUCTS), ("v.position", "2", "3")
    ),
    "words that are no structs": Case(lambda g: g.typed(LIGHTS, np.zeros(7, np.uint32), STRUCTS), ("v", "28", "16")),
    "structs too many": Case(
        lambda g: g.typed("var<storage> v: array<Light, 3>;", np.zeros(4, LIGHT), STRUCTS), ("v", "64", "48")
    ),
    "tuples for structs": Case(lambda g: g.typed(LIGHTS, [([1, 2, 3], 1)], STRUCTS), ("v[0]", "dict", "position")),
    "dict without a field": Case(lambda g: g.typed(LIGHTS, [LIT, {"power": 1}], STRUCTS), ("v[1]", "position")),
    "dict with too much": Case(
        lambda g: g.typed(SCENE, {"count": 1, "lights": [LIT, LIT | {"z": 1}], "m": np.eye(2)}, STRUCTS),
        ("v.lights[1]", "z"),
    ),
    "deep in a dict": Case(
        lambda g: g.typed(
            SCENE, {"count": 1, "lights": [LIT, LIT | {"position": [1, None, 3]}], "m": np.eye(2)}, STRUCTS
        ),
        ("v.lights[1].position[1]", "None"),
    ),
    "length in a dict": Case(
        lambda g: g.typed(SCENE, {"count": 1, "lights": [LIT] * 3, "m": np.eye(2)}, STRUCTS), ("v.lights", "2", "3")
    ),
    # Uniforms
    "field is missing": Case(lambda g: g.call(p={"a": 1}), ("p", "n", "u32")),
    "field is unknown": Case(lambda g: g.call(p={"a": 1, "n": 1, "z": 1}), ("p", "z")),
    "field of text": Case(lambda g: g.call(p={"a": "1", "n": 1}), ("p.a", "'1'", "f32")),
    "field of None": Case(lambda g: g.call(p={"a": None, "n": 1}), ("p.a", "None")),
    "field of a fraction": Case(lambda g: g.call(p={"a": 1, "n": 2.5}), ("p.n", "2.5", "u32")),
    "field below": Case(lambda g: g.call(p={"a": 1, "n": -1}), ("p.n", "-1", "u32")),
    "field beyond": Case(lambda g: g.call(p={"a": 1, "n": 2**32}), ("p.n", str(2**32), "beyond", "u32")),
    "field far beyond": Case(lambda g: g.call(p={"a": 1, "n": 2**130}), ("p.n", str(2**130), "beyond", "u32")),
    "float beyond": Case(lambda g: g.call(p={"a": 1e39, "n": 1}), ("p.a", "1e+39", "f32")),
    "float far beyond": Case(lambda g: g.call(p={"a": 10**400, "n": 1}), ("p.a", "beyond", "f32")),
    "field of a list": Case(lambda g: g.call(p={"a": [1.0], "n": 1}), ("p.a", "[1.0]")),
    "list for a dict": Case(lambda g: g.call(p=[1.0, 5]), ("p", "dict", "a: f32", "n: u32")),
    "number for a dict": Case(lambda g: g.call(p=3), ("p", "dict", "3")),
    "tensor for a dict": Case(lambda g: g.call(p=g.tensor), ("p", "uniform", ".numpy()")),
    # Sizes
    "both": Case(lambda g: g.call(workgroups=1), ("threads=", "workgroups=", "one")),
    "neither": Case(lambda g: g.call(without=["threads"]), ("threads=", "workgroups=", "one")),
    "negative": Case(lambda g: g.call(threads=-1), ("threads", "-1", "negative")),
    "one negative": Case(lambda g: g.call(threads=(5, -1)), ("threads", "-1", "negative")),
    "fraction": Case(lambda g: g.call(threads=5.0), ("threads", "5.0", "integer")),
    "truth": Case(lambda g: g.call(threads=True), ("threads", "True", "integer")),
    "text for a size": Case(lambda g: g.call(threads="5"), ("threads", "'5'", "integer")),
    "four sizes": Case(lambda g: g.call(threads=(1, 1, 1, 1)), ("threads", "(1, 1, 1, 1)", "three")),
    "no sizes": Case(lambda g: g.call(threads=()), ("threads", "()", "three")),
    "more than ids count": Case(lambda g: g.call(threads=2**40), ("threads", str(2**40), "32-bit")),
    "more workgroups": Case(lambda g: g.call(workgroups=2**32, without=["threads"]), ("workgroups", "32-bit")),
    "more together": Case(lambda g: g.call(threads=(2**20,) * 3), ("threads", str(2**20), "32-bit")),
    "more than 63 bits": Case(lambda g: g.call(threads=2**63), ("threads", str(2**63), "32-bit")),
    "more than 64 bits": Case(lambda g: g.call(threads=2**70), ("threads", str(2**70), "32-bit")),
    "sizes that wrap": Case(lambda g: g.call(threads=(2**63 - 1,) * 3), ("threads", "32-bit")),
    # Results
    "out unknown": Case(lambda g: g.call(out={"z": 5}), ("out=", "z", "y")),
    "out of what is read": Case(lambda g: g.call(out={"x": 5}, without=["x"]), ("out=", "x", "read")),
    "out and argument": Case(lambda g: g.call(out={"y": 5}), ("y", "out=")),
    "out that is no dict": Case(lambda g: g.call(out=g.y, without=["y"]), ("out=", "dict", "y")),
    "out of no shape": Case(lambda g: g.arrays(out={"y": "five"}, without=["y"]), ("out=", "y", "'five'")),
    "out of negative shape": Case(lambda g: g.arrays(out={"y": (-5,)}, without=["y"]), ("out=", "y", "-5")),
    "out of nothing": Case(lambda g: g.arrays(out={"y": 0}, without=["y"]), ("y", "(0,)")),
    "out of another dtype": Case(lambda g: g.arrays(out={"y": (5, "int32")}, without=["y"]), ("y", "int32", "float32")),
    "out of a dtype that GPUs lack": Case(
        lambda g: g.arrays(out={"y": (5, "float64")}, without=["y"]), ("y", "float64")
    ),
    "out of no dtype": Case(lambda g: g.arrays(out={"y": (5, "nonsense")}, without=["y"]), ("y", "nonsense")),
    "out too large": Case(lambda g: g.arrays(out={"y": 2**40}, without=["y"]), ("y", "4 TiB", "binding")),
    "inplace with a read-only array": Case(
        lambda g: g.call(y=np.broadcast_to(F32(1), 5), device=g.device, inplace=True), ("y", "read-only", "writable")
    ),
    "inplace that is no truth": Case(lambda g: g.call(inplace="yes"), ("inplace", "'yes'", "True")),
    # Memory
    "read and written": Case(lambda g: g.call(x=g.written), ("x", "y", "same memory", "copy")),
    "overlapping views": Case(lambda g: g.call(x=g.long[:5], y=g.long[4:9]), ("x", "y", "same memory", "copy")),
    "overlapping steps": Case(lambda g: g.call(x=g.long[::2], y=g.long[::3]), ("x", "y", "same memory", "copy")),
    "same array": Case(lambda g: g.arrays(x=g.y), ("x", "y", "same memory", "copy")),
    "overlapping arrays": Case(
        lambda g: g.arrays(x=g.both[:5], y=g.both[4:9], inplace=True), ("x", "y", "same memory", "copy")
    ),
    "written twice": Case(
        lambda g: kernel(TWO_WRITTEN)(a=g.written, b=g.written, threads=5), ("a", "b", "same memory")
    ),
    "views written twice": Case(
        lambda g: kernel(TWO_WRITTEN)(a=g.long[:5], b=g.long[4:9], threads=5), ("a", "b", "same memory")
    ),
    "repeated elements": Case(
        lambda g: g.call(y=gk.broadcast_to(g.written[:1], (5,))), ("y", "written", "broadcast", "copy")
    ),
    "second argument": Case(
        lambda g: kernel(TWO_WRITTEN)(a=g.written, b=np.ones(5, np.int32), threads=5), ("b", "int32")
    ),
    # Devices
    "no such device": Case(lambda g: g.arrays(device="nonsense"), ("nonsense", "cpu"), gk.DeviceNotFoundError),
    "device against tensor": Case(lambda g: g.call(device=elsewhere()), ("cpu", ".to("), gk.DeviceError),
    "tensors of two devices": Case(
        lambda g: g.call(x=g.tensor, y=g.elsewhere), ("x", "y", "cpu", ".to("), gk.DeviceError
    ),
    "read tensor of another device": Case(lambda g: g.call(x=g.elsewhere), ("x", "cpu", ".to("), gk.DeviceError),
    "binding too large": Case(
        lambda g: g.lacking(
            "binding=64KiB",
            main("y[0] = x[0] + v[0];", before="@group(0) @binding(5) var<storage, read> v: array<f32>;\n"),
            v=np.ones(20_000, F32),
        ),
        ("v", "78.1 KiB", "64 KiB"),
        fits=is_cpu,
    ),
    "workgroup too large": Case(
        lambda g: g.lacking("workgroup=16", main("y[0] = x[0];")),
        ("@workgroup_size(64, 1, 1)", "64", "16"),
        fits=is_cpu,
    ),
    "workgroup too large anywhere": Case(
        lambda g: kernel(main("y[0] = 1.0;", attributes="@workgroup_size(1024, 16)"))(y=g.written, threads=1),
        ("@workgroup_size(1024, 16, 1)", str(2**14)),
    ),
    "workgroup memory": Case(
        lambda g: kernel("var<workgroup> w: array<f32, 1000000>;\n" + main("w[id.x] = 1.0; y[0] = w[0];"))(
            y=g.written, threads=1
        ),
        ("workgroup memory", "3.8 MiB"),
    ),
    "workgroup memory that wraps": Case(
        lambda g: kernel(
            "var<workgroup> v: array<f32, 536870911>;\nvar<workgroup> w: array<f32, 536870911>;\n"
            + main("v[id.x] = 1.0; w[id.x] = 1.0; y[0] = v[0] + w[1];")
        )(y=g.written, threads=1),
        ("workgroup memory", "4 GiB"),
    ),
    "too many storage buffers": Case(
        lambda g: kernel(many("var<storage, read> {}: array<f32>", "{}[0]"))(
            y=g.written, threads=1, bindings={f"v{i}": g.x for i in range(300)}
        ),
        ("301", "storage buffers"),
        # Some devices take as many as anybody could write down.
        fits=lambda device: device.limits["variables"] > 300,
    ),
    "too many uniforms": Case(
        lambda g: kernel(many("var<uniform> {}: f32", "{}"))(
            y=g.written, threads=1, bindings={f"v{i}": 1 for i in range(300)}
        ),
        ("300", "uniforms"),
        fits=is_cpu,
    ),
    "uniform too large": Case(
        lambda g: g.typed("var<uniform> v: array<vec4<f32>, 500000>;", np.ones((500_000, 4), F32)),
        ("v", "uniform", "7.6 MiB", "var<storage, read>"),
        fits=is_cpu,
    ),
    "no f16": Case(
        lambda g: g.lacking("-f16", "enable f16;\n" + main("y[0] = f32(f16(x[0]));")), ("f16", "device"), fits=is_cpu
    ),
    "no array of f16": Case(
        lambda g: g.lacking(
            "-f16",
            "enable f16;\n" + bound("var<storage> v: array<f16>;", "y[0] = x[0] + f32(v[0]);"),
            v=np.ones(4, np.float16),
        ),
        ("f16", "unpack2x16float"),
        fits=is_cpu,
    ),
    "no subgroups": Case(
        lambda g: g.lacking("-subgroups", main("y[0] = subgroupAdd(x[0]);")),
        ("subgroups", "workgroup memory"),
        fits=is_cpu,
    ),
    "no size of subgroups": Case(
        lambda g: g.lacking("-subgroups", main("y[0] = x[0] + f32(s);", argument="@builtin(subgroup_size) s: u32")),
        ("subgroups",),
        fits=is_cpu,
    ),
    "no double precision": Case(
        lambda g: kernel(main("y[0] = f32(f64(y[0]) * 2.0lf);"))(y=g.written, threads=1),
        ("f64",),
        fits=lambda device: "f64" in device.features,
    ),
    # Constants
    "constant without a value": Case(lambda g: g.constant(), ("n", "default", "constants=")),
    "constant of text": Case(lambda g: g.constant(n="3"), ("n", "'3'", "number")),
    "constant of a fraction": Case(lambda g: g.constant(n=3.5), ("n", "u32", "3.5")),
    "constant below": Case(lambda g: g.constant(n=-1), ("n", "u32", "-1")),
    "constant beyond": Case(lambda g: g.constant(n=2**32), ("n", "u32", str(2**32))),
    "constant far beyond": Case(lambda g: g.constant(n=10**400), ("n",)),
    "constant NaN": Case(lambda g: g.constant(n=1, f=float("nan")), ("f", "f32", "NaN")),
    "constant infinite": Case(lambda g: g.constant(n=1, f=float("inf")), ("f", "f32", "inf")),
    "constant of None": Case(lambda g: g.constant(n=None), ("n", "None")),
    "truth for a number": Case(lambda g: g.constant(n=True), ("n", "u32", "bool")),
    "number for a truth": Case(lambda g: g.constant(n=1, b=1), ("b", "bool", "True")),
    "type for a number": Case(lambda g: g.constant(n=1, f="float32"), ("f", "f32")),
    "workgroup of no size": Case(lambda g: g.constant(n=0), ("n",)),
    "constant of too large a workgroup": Case(lambda g: g.constant(n=2**20), ("n",)),
    "constant that divides by zero": Case(
        lambda g: kernel("override n = 1u; override m = 5u / n;\n" + main("y[0] = f32(m);"))(
            y=g.written, threads=1, n=0
        ),
        ("zero", "n", "0"),
    ),
    "constant that makes an array empty": Case(
        lambda g: kernel("override n = 1u; var<workgroup> w: array<f32, n>;\n" + main("w[0] = 1.0; y[0] = w[0];"))(
            y=g.written, threads=1, n=0
        ),
        ("n", "0"),
    ),
    "constant that makes an array huge": Case(
        lambda g: kernel("override n = 1u; var<workgroup> w: array<f32, n>;\n" + main("w[0] = 1.0; y[0] = w[0];"))(
            y=g.written, threads=1, n=2**31
        ),
        ("n", str(2**31)),
    ),
    "unknown to specialize": Case(lambda g: kernel(SAXPY).specialize(n=3), ("n", "override")),
    "wrong to specialize": Case(
        lambda g: kernel("override n = 1u;\n" + main("y[0] = f32(n);")).specialize(n="three"), ("n", "'three'")
    ),
    "unknown language": Case(lambda g: kernel(SAXPY).translate("cuda"), ("cuda", "msl", "spirv")),
}

# They are about making a device or a kernel, whose name is not yet known.
NAMELESS = {"no such device"}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call(any_device, name):
    case, given = CALLS[name], Given(any_device)
    if case.fits(any_device):
        pytest.skip(f"{any_device.id} takes this")
    with pytest.raises(case.error) as caught:
        case.call(given)
    assert type(caught.value) is case.error
    assert_is_told(str(caught.value), case.words + (() if name in NAMELESS else ("kernel",)))
    assert given.values() == given.before
    assert_works(any_device)


def test_refused_calls_record_nothing(any_device):
    """A profile of them all has nothing in it but the tensors of ones that some are given."""
    given = Given(any_device)
    with gk.profile(any_device) as profile:
        for case in CALLS.values():
            if case.fits(any_device):
                continue
            with suppress(case.error):
                case.call(given)
    assert {kernel[0] for kernel in profile.kernels} <= {"ones"}
    with gk.profile(any_device) as profile:
        assert_works(any_device)
    assert any("saxpy" in kernel[0] for kernel in profile.kernels)


@pytest.mark.parametrize("length", [10**12, 2**61, 2**62], ids=str)
def test_a_sequence_longer_than_memory(any_device, length):
    given = Given(any_device)
    with pytest.raises((gk.KernelError, gk.OutOfMemoryError), match="x"):
        given.call(x=range(length))
    assert given.values() == given.before


@pytest.mark.parametrize("shape", [(2**40, 2**40), (2**62, 4), (2**62 + 1, 4), (2**32, 2**32), (2**63,)], ids=str)
def test_a_result_whose_size_wraps(any_device, shape):
    given = Given(any_device)
    with pytest.raises((gk.KernelError, gk.OutOfMemoryError), match="y") as caught:
        given.arrays(out={"y": (shape, "float32")}, without=["y"])
    assert "no element" not in str(caught.value)
    assert given.values() == given.before


def test_types_nested_too_deep():
    """Whatever reads them has a stack of ordinary size."""
    run_script("""
        for form in ("struct P{i} {{ a: P{j} }}", "alias P{i} = array<P{j}, 1>;"):
            types = "\\n".join(form.format(i=i, j=i - 1) for i in range(1, 20_000))
            source = "struct P0 { a: f32 }\\n" if "struct" in form else "alias P0 = f32;\\n"
            source += types + "\\n@group(0) @binding(0) var<storage, read> v: P19999;\\n"
            source += "@compute @workgroup_size(1) fn f() { _ = &v; }"
            try:
                k = gk.Kernel(source)
            except gk.KernelError as error:
                assert "nested" in str(error)
            else:
                repr(k.bindings)
    """)


class Longer(list):
    """It gives more than its length says."""

    def __iter__(self):
        return iter([1.0] * 1000)


class Shorter(Sequence):
    """It gives less than its length says."""

    def __len__(self):
        return 10**6

    def __getitem__(self, index):
        if index < 5:
            return 1.0
        raise IndexError(index)


class Failing(Sequence):
    """It fails with an error of its own."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        raise ZeroDivisionError("not today")


@pytest.mark.parametrize("sequence", [Longer([1.0] * 5), Shorter(), Failing()], ids=lambda value: type(value).__name__)
def test_sequences_that_do_not_keep_their_word(any_device, sequence):
    """What they give is computed with, or refused, or their own error is passed on."""
    given = Given(any_device)
    with suppress(gk.KernelError, ZeroDivisionError):
        assert given.arrays(x=sequence).tolist() == [4.0] * 5
    assert given.values() == given.before
    assert_works(any_device)


class Meddling:
    """A number that empties a dict when it is read, or a name that does."""

    def __init__(self, name=""):
        self.dict, self.name = {}, name

    def __float__(self):
        self.dict.clear()
        return 1.0

    def __str__(self):
        self.dict.clear()
        return self.name


@pytest.mark.parametrize("place", ["constants", "values in bindings", "names in bindings", "out", "uniform"])
def test_dicts_that_change_while_they_are_read(any_device, place):
    given, value, name = Given(any_device), Meddling(), Meddling("y")
    source = "override n: f32 = 1.0; override m: f32 = 1.0;\n" + main("y[0] = n * m;")
    calls = {
        "constants": lambda d: gk.Kernel(source, constants=d),
        "values in bindings": lambda d: kernel(source)(y=given.y, threads=0, device=any_device, bindings=d),
        "names in bindings": lambda d: kernel(source)(threads=0, device=any_device, bindings=d),
        "out": lambda d: kernel(source)(threads=0, device=any_device, out=d),
        "uniform": lambda d: given.arrays(p=d, threads=0),
    }
    contents = {
        "constants": {"n": value, "m": 2.0},
        "values in bindings": {"n": value, "m": 2.0},
        "names in bindings": {name: given.y, "m": 2.0},
        "out": {name: 5, "z": 5},
        "uniform": {"a": value, "n": 5},
    }
    for meddling in (value, name):
        meddling.dict = contents[place]
    with suppress(gk.KernelError):
        calls[place](contents[place])
    assert given.values() == given.before
    assert_works(any_device)


def test_a_refused_constant_is_forgotten(any_device):
    """The same kernel takes the next value, and keeps its own."""
    given, square = Given(any_device), kernel("override n = 3u;\n" + main("y[0] = f32(60u / n);"))
    for _ in range(2):
        with pytest.raises(gk.KernelError):
            square(y=given.y, threads=1, n=-1, device=any_device)
        assert square(y=given.y, threads=1, n=5, device=any_device)[0] == 12
        assert square(y=given.y, threads=1, device=any_device)[0] == 20
    assert square.constants == {"n": 3}


def test_errors_in_eight_threads(any_device):
    """Right calls stay right beside wrong ones, and every wrong one gets its own error."""
    shared = Given(any_device)

    def work(number):
        for i in range(20):
            with pytest.raises(gk.KernelError, match=f"unknown{number}"):
                shared.call(**{f"unknown{number}": i})
            with pytest.raises(gk.KernelError, match=f"missing{number}"):
                gk.Kernel(main(f"y[0] = missing{number};"))
            x = np.full(5, number + i, F32)
            assert shared.arrays(x=x).tolist() == (2 + 2 * x).tolist()
        return number

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == list(range(8))
    assert shared.values() == shared.before


@pytest.mark.parametrize("language", ["msl", "glsl", "hlsl"])
@pytest.mark.parametrize("ty", ["f16", "f64", "i64"])
def test_what_a_language_lacks(language, ty):
    """A translation, or an error that names the kernel and the language."""
    before = "enable f16;\n" if ty == "f16" else ""
    try:
        assert kernel(before + main(f"y[0] = f32({ty}(x[0]));").replace("main", "wide")).translate(language)
    except gk.KernelError as error:
        assert_is_told(str(error), ("wide", language))


def test_a_damaged_pickle():
    whole = pickle.dumps(kernel(SAXPY))
    assert len(whole.split(b"saxpy")) > 1
    with pytest.raises(gk.KernelError):
        pickle.loads(whole.replace(b"@compute", b"@comput3"))


def test_errors_leave_nothing_behind(any_device):
    """Thousands of refused kernels and calls keep no memory of the device, nor a reference to what they were given."""
    given = Given(any_device)

    attempts = (
        lambda: gk.Kernel(main("y[0] = missing;")),
        lambda: given.call(x=np.ones(5, np.int32)),
        lambda: given.call(p={"a": 1}),
        lambda: given.arrays(out={"y": 2**40}, without=["y"]),
    )

    def refuse(times):
        for _ in range(times):
            for attempt in attempts:
                with pytest.raises(gk.KernelError):
                    attempt()

        gc.collect()

    refuse(5)
    # Counted outside of assertions, which keep what they look at.
    before = sys.getrefcount(given.x), any_device.memory.in_use
    refuse(500)
    after = sys.getrefcount(given.x), any_device.memory.in_use
    assert after == before


# Kernels that write where they must not


OUT_OF_BOUNDS = """@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read> at: array<i32>;
var<workgroup> w: array<f32, 4>;
@compute @workgroup_size(1) fn stray(@builtin(workgroup_id) id: vec3<u32>) {
    var own = array<f32, 4>(1.0, 2.0, 3.0, 4.0);
    let index = at[id.x];
    y[index] = 7.0;
    y[u32(index)] = 7.0;
    own[index] = 8.0;
    w[index] = own[u32(index)] + y[index];
}
"""
STRAY = np.int32([10**6, 1 << 20, 2**31 - 1, -1, -(10**6), -(2**31), 5, 64])


def test_writes_out_of_bounds_hurt_nothing(device):
    """They go to some element of the same variable, or nowhere."""
    neighbours = gk.full(4096, 3, "float32", device=device)
    y, after = neighbours[1024:1028], gk.full(1000, 4, "float32", device=device)
    kernel(OUT_OF_BOUNDS)(y=y, at=STRAY, workgroups=len(STRAY))
    values = neighbours.numpy()
    assert set(values[1024:1028].tolist()) <= {3, 7}
    assert (np.delete(values, range(1024, 1028)) == 3).all()
    assert (after.numpy() == 4).all()
    assert_works(device)


def test_reads_out_of_bounds_give_some_element(any_device):
    source = """@group(0) @binding(0) var<storage, read_write> y: array<f32>;
    @group(0) @binding(1) var<storage, read> x: array<f32>;
    @group(0) @binding(2) var<storage, read> at: array<i32>;
    @compute @workgroup_size(1) fn stray(@builtin(workgroup_id) id: vec3<u32>) { y[id.x] = x[at[id.x]]; }
    """
    secret = gk.full(4096, 99, "float32", device=any_device)
    x = secret[1024:1028]
    x[:] = 5
    result = kernel(source)(y=np.zeros(len(STRAY), F32), x=x, at=STRAY, workgroups=len(STRAY), device=any_device)
    assert set(result.tolist()) <= {0, 5}


def test_integers_divide_by_zero(any_device):
    source = main("y[0] = f32(5 / i32(x[0])); y[1] = f32(5u % u32(x[0])); y[2] = f32(i32(x[1]) / i32(x[2]));")
    result = kernel(source)(y=np.ones(3, F32), x=F32([0, -(2.0**31), -1]), threads=1, device=any_device)
    assert result.tolist() == [5, 0, -(2.0**31)]
    assert_works(any_device)


# What naga gets wrong for some backends: it is mended, or refused


def test_what_is_mended(any_device):
    """An operand with a minus of its own, parentheses around what is ORed, and the abs of an unsigned integer."""
    k = kernel(
        """
        @group(0) @binding(0) var<storage, read_write> c: atomic<i32>;
        @group(0) @binding(1) var<storage, read_write> y: array<u32, 5>;
        @compute @workgroup_size(1) fn f(@builtin(num_workgroups) n: vec3<u32>) {
            atomicSub(&c, -3);
            atomicSub(&c, -i32(n.x));
            atomicSub(&c, 10);
            y[0] = pack4xU8(vec4<u32>(n.x, 2u, 3u, 4u)) * 3u;
            y[1] = pack4xU8Clamp(vec4<u32>(n.x, 2u, 3u, 400u)) % 1000u;
            y[2] = abs(n.x + 0xfffffff0u);
            y[3] = u32(all(vec3<i32>(-7, 7, -7) / vec3<i32>(i32(n.x) * 2) == vec3<i32>(-3, 3, -3)));
            y[4] = u32(all(vec2<i32>(-7, 7) % vec2<i32>(i32(n.x) * -2) == vec2<i32>(-1, 1)));
        }
        """
    )
    c, y = k(c=np.int32(100), out={"y": (5, "uint32")}, inplace=False, workgroups=1, device=any_device)
    assert c == 100 + 3 + 1 - 10
    assert y.tolist() == [0x04030201 * 3 % 2**32, 0xFF030201 % 1000, 0xFFFFFFF1, 1, 1]


def test_what_a_loop_carries(any_device):
    k = kernel(
        """
        @group(0) @binding(0) var<storage, read_write> y: array<u32>;
        @compute @workgroup_size(1) fn f() {
            var k = 0u;
            loop {
                let t = y[k];
                y[k] = 7u;
                if (t > 99u) { break; }
                continuing { k = k + t; }
            }
            y[9] = k;
        }
        """
    )
    y = np.array([1, 2, 0, 100, 0, 0, 0, 0, 0, 0], np.uint32)
    if any_device.backend in ("cpu", "vulkan"):
        assert k(y=y, threads=1, device=any_device).tolist() == [7, 7, 0, 7, 0, 0, 0, 0, 0, 3]
    else:
        with pytest.raises(gk.KernelError, match=r"(?s)computes 't'.*let t = y\[k\].*declare it with var"):
            k(y=y, threads=1, device=any_device)
    assert_works(any_device)


def test_gaps_between_fields(any_device):
    k = kernel(
        """
        struct P { @size(16) a: f32, b: f32, @align(32) c: f32 }
        @group(0) @binding(0) var<uniform> p: P;
        @group(0) @binding(1) var<storage, read_write> y: array<f32, 3>;
        @compute @workgroup_size(1) fn f() { y[0] = p.a; y[1] = p.b; y[2] = p.c; }
        """
    )
    arguments = {"p": {"a": 1, "b": 2, "c": 3}, "out": {"y": (3, "float32")}, "threads": 1, "device": any_device}
    if any_device.backend != "gl":
        assert k(**arguments).tolist() == [1, 2, 3]
    else:
        with pytest.raises(
            gk.KernelError, match=r"variable 'p': GL has no @size .* fields of 'P' .* gaps between them"
        ):
            k(**arguments)
    assert_works(any_device)


# What a process does once


SLOW = """
    device = gk.get_device({device!r})
    slow = gk.Kernel('''
        @group(0) @binding(0) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(64) fn slow(@builtin(global_invocation_id) id: vec3<u32>) {{
            var a = f32(id.x);
            for (var i = 0u; i < 60000u; i++) {{ a = a * 0.999 + 0.5; }}
            y[id.x % 64u] = a;
        }}''')
    y = gk.ones(64, device=device)
"""

# Its kernels run for about twenty seconds in all, however fast the device is.
INTERRUPTED = """
    import time

    def seconds(threads):
        start = time.perf_counter()
        slow(y=y, threads=threads)
        y.numpy()
        return time.perf_counter() - start

    threads = 64
    while (each := min(seconds(threads) for _ in range(4))) < 0.005:
        threads *= 2
    print("waiting", flush=True)
    start = time.perf_counter()
    try:
        for _ in range(int(20 / each)):
            slow(y=y, threads=threads)
        y.numpy()
        print("finished", flush=True)
    except KeyboardInterrupt:
        print("interrupted", time.perf_counter() - start < 10, flush=True)
        raise
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_control_c_during_a_long_kernel(any_device):
    """The wait ends at once; the process ends as Python's do, when what the device has begun is done."""
    script = textwrap.dedent(SLOW.format(device=any_device.id)) + textwrap.dedent(INTERRUPTED)
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE + script],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout.readline() == "waiting\n"
            time.sleep(1)
            process.send_signal(signal.SIGINT)
            printed, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert printed == "interrupted True\n"
    assert process.returncode == -signal.SIGINT
    assert errors.strip().endswith("KeyboardInterrupt")
    assert "panicked" not in errors


def test_the_interpreter_ends_with_kernels_under_way(any_device):
    """Recorded, waited for, or used by what runs last."""
    run_script(
        textwrap.dedent(SLOW.format(device=any_device.id))
        + textwrap.dedent("""
        import atexit

        class Last:
            def __init__(self):
                self.kernel, self.y = slow, y
            def __del__(self):
                try:
                    self.kernel(y=self.y, threads=64)
                except Exception:
                    pass

        atexit.register(lambda: slow(y=y, threads=64))
        atexit.register(lambda: print(slow(y=np.ones(64, np.float32), threads=64, device=device)[0] > 1))
        last = Last()
        last.cycle = last
        slow(y=y, threads=64)
        """)
    )


def test_the_interpreter_ends_while_a_thread_computes(any_device):
    printed = run_script(
        textwrap.dedent(SLOW.format(device=any_device.id))
        + textwrap.dedent("""
        import threading

        def work():
            while True:
                slow(y=np.ones(64, np.float32), threads=64, device=device)
                done.set()

        done = threading.Event()
        threading.Thread(target=work, daemon=True).start()
        print(done.wait(60))
        """)
    )
    assert printed == "True\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_kernel_after_fork(gpu):
    """The child is told to use spawn, may make kernels, and the parent goes on. Kernels of the CPU device run in it."""
    printed = run_script(
        textwrap.dedent(SLOW.format(device=gpu.id))
        + textwrap.dedent("""
        import gc, os, sys, warnings
        warnings.simplefilter("ignore")
        slow(y=y, threads=64).numpy()

        def child():
            for attempt in (
                lambda: slow(y=y, threads=64).numpy(),
                lambda: slow(y=np.ones(64, np.float32), threads=64, device=device),
            ):
                try:
                    attempt()
                except gk.DeviceError as error:
                    print("spawn" in str(error))
            assert gk.Kernel(slow.source).entry_point == "slow"
            try:
                gk.Kernel("nonsense")
            except gk.KernelError:
                print("refused")

        sys.stdout.flush()
        process = os.fork()
        if process == 0:
            status = 1
            try:
                child()
                slow = y = None
                gc.collect()
                sys.stdout.flush()
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(process, 0)[1] == 0
        assert slow(y=y, threads=64).numpy()[0] > 1
        print("parent")
        """)
    )
    assert printed.split() == ["True", "True", "refused", "parent"]


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="this system has no alarm signal")
def test_a_kernel_in_a_signal_handler(any_device):
    """It gets its answer or is told why not, whatever it interrupts; nothing hangs."""
    printed = run_script(
        textwrap.dedent(SLOW.format(device=any_device.id))
        + textwrap.dedent("""
        import signal
        answers = []

        def handler(number, frame):
            try:
                answers.append(slow(y=np.zeros(64, np.float32), threads=64, device=device)[0] > 1)
                gk.Kernel(slow.source)
            except gk.DeviceError as error:
                answers.append("signal handler" in str(error))

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        while len(answers) < 10:
            slow(y=y, threads=4096)
            y.numpy()
            gk.Kernel(slow.source)
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(all(answers), y.numpy()[0] > 1)
        """)
    )
    assert printed == "True True\n"


def test_a_lost_device_says_so(gpu):
    """Its tensors are lost, and kernels go on with a fresh device."""
    printed = run_script(
        textwrap.dedent(SLOW.format(device=gpu.id))
        + textwrap.dedent("""
        slow(y=y, threads=64).numpy()
        device._lose()
        try:
            slow(y=y, threads=64).numpy()
        except gk.DeviceLostError as error:
            print(device.id in str(error))
        print(slow(y=np.ones(64, np.float32), threads=64, device=device)[0] > 1)
        """)
    )
    assert printed == "True\nTrue\n"
