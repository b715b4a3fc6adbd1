"""`python -m gpukern compile`, and kernels in other languages."""

import re
import struct

import pytest

import gpukern as gk
from gpukern.__main__ import main

SAXPY = """
struct P { a: f32, n: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(2) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> p: P;
override BLOCK: u32 = 64;
var<workgroup> tile: array<f32, BLOCK>;
@compute @workgroup_size(BLOCK)
fn saxpy(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    tile[lane] = p.a;
    if (id.x < p.n) { y[id.x] += tile[lane] * x[id.x]; }
}
"""
OTHER = "@compute @workgroup_size(1) fn other() { y[0] = 1.0; }\n"
# What stands in every program of the language, and nowhere else.
MARKS = {
    "spirv": r"OpEntryPoint GLCompute .*OpExecutionMode .* LocalSize 64 1 1",
    "msl": r"#include <metal_stdlib>.*kernel void",
    "hlsl": r"\[numthreads\(64, 1, 1\)\]",
    "glsl": r"#version 430.*layout\(local_size_x = 64",
}


@pytest.fixture
def saxpy(tmp_path):
    path = tmp_path / "saxpy.wgsl"
    path.write_text(SAXPY, "utf-8")
    return path


def run(*arguments):
    return main(["compile", *map(str, arguments)])


def test_what_a_file_declares(saxpy, capsys):
    assert run(saxpy) == 0
    printed = capsys.readouterr().out
    for line in (
        "saxpy.wgsl, entry point saxpy",
        "workgroup  64 × 1 × 1",
        "workgroup memory  256 bytes",
        r"x +read +array<f32> +float32 +@group\(0\) @binding\(0\)",
        r"y +read_write +array<f32> +float32 +@group\(2\) @binding\(5\)",
        r"p +uniform +P .*@group\(0\) @binding\(2\)",
        "BLOCK +64",
    ):
        assert re.search(line, printed), line


@pytest.mark.parametrize("value", ["128", "0x80", "128.0"])
def test_constants(saxpy, capsys, value):
    assert run(saxpy, "-D", f"BLOCK={value}") == 0
    assert "workgroup  128 × 1 × 1" in capsys.readouterr().out


def test_every_entry_point_is_shown(saxpy, capsys):
    saxpy.write_text(SAXPY + OTHER, "utf-8")
    assert run(saxpy) == 0
    printed = capsys.readouterr().out
    assert "entry point saxpy" in printed
    assert "entry point other" in printed
    assert run(saxpy, "--entry-point", "other") == 0
    assert "saxpy(" not in capsys.readouterr().out


@pytest.mark.parametrize("language", MARKS)
def test_translations(saxpy, capsys, tmp_path, language):
    assert run(saxpy, "--emit", language) == 0
    printed = capsys.readouterr().out
    assert re.search(MARKS[language], printed, re.DOTALL)
    assert gk.Kernel(SAXPY).translate(language) == printed
    target = tmp_path / "out"
    assert run(saxpy, "--emit", language, "-o", target) == 0
    if language == "spirv":
        words = struct.unpack(f"<{target.stat().st_size // 4}I", target.read_bytes())
        assert words[0] == 0x07230203  # the magic number of SPIR-V
        assert gk.Kernel(SAXPY).spirv == target.read_bytes()
    else:
        assert target.read_text("utf-8") == printed


def test_checks_are_translated_unless_trusted():
    """An index is held within the array."""
    assert "metal::min(" in gk.Kernel(SAXPY).translate("msl")
    assert "metal::min(" not in gk.Kernel(SAXPY, trusted=True).translate("msl")


def test_a_mistake_is_shown_in_its_file(saxpy):
    saxpy.write_text(SAXPY.replace("p.a;", "p.b;"), "utf-8")
    with pytest.raises(gk.KernelError, match=r"saxpy\.wgsl:10:20") as error:
        run(saxpy)
    assert "invalid field accessor `b`" in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "out"], "--emit"),
        (["-D", "BLOCK"], "NAME=VALUE"),
        (["-D", "WIDTH=3"], "WIDTH"),
        (["--entry-point", "main"], "saxpy"),
        (["--emit", "glsl", "-o", "{folder}/missing/out"], "cannot be written"),
    ],
    ids=["output alone", "no value", "unknown constant", "unknown entry point", "nowhere to write"],
)
def test_wrong_arguments(saxpy, tmp_path, arguments, words):
    with pytest.raises((gk.ArgumentError, gk.KernelError), match=re.escape(words)):
        run(saxpy, *(argument.format(folder=tmp_path) for argument in arguments))


def test_one_file_takes_one_entry_point(saxpy, tmp_path):
    saxpy.write_text(SAXPY + OTHER, "utf-8")
    with pytest.raises(gk.ArgumentError, match=r"--entry-point: saxpy, other"):
        run(saxpy, "--emit", "msl", "-o", tmp_path / "out")
    assert run(saxpy, "--emit", "msl", "-o", tmp_path / "out", "--entry-point", "other") == 0


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(gk.ArgumentError, match="cannot be read"):
        run(tmp_path / "missing.wgsl")
