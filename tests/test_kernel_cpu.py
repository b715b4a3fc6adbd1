"""Users' kernels on the CPU device: what is special to it. What kernels mean is tested where it is for every device."""

import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import gpukern as gk
from arrays import FLOAT32, assert_same, sample
from conftest import CPUS
from processes import INTERRUPTIBLE, clean_environment, run_script

HEADER = "@group(0) @binding(0) var<storage, read_write> y: array<u32>; "


@pytest.fixture(scope="session", params=CPUS, ids=str)
def cpu(request):
    """The CPU at each SIMD level."""
    return request.param.device


@pytest.fixture
def impatient(monkeypatch):
    """Kernels may take a tenth of a second."""
    monkeypatch.setattr(gk.config, "kernel_timeout", 0.1)


def assert_works(device):
    kernel = gk.Kernel(HEADER + "@compute @workgroup_size(4) fn three() { y[0] = 3u; }")
    assert kernel(out={"y": 1}, threads=1, device=device).tolist() == [3]


# Loops that do not end


ENDLESS = {
    "loop": "loop { y[0] += 1u; if (y[0] == 0u && y[1] == 1u) { break; } }",
    "while": "while (true) { y[0] += 1u; }",
    "while without a body": "while (y[1] == 0u) {}",
    "for without an end": "for (var i = 0u; ; i++) { y[0] = i; }",
    "for that counts past its end": "for (var i = 0u; i <= 0xffffffffu; i++) { y[0] = i; }",
    "continue": "loop { y[0] += 1u; if (y[1] == 0u) { continue; } break; }",
    "continuing": "loop { if (y[1] == 1u) { break; } continuing { y[0] += 1u; } }",
    "break if": "loop { y[0] += 1u; continuing { break if y[1] == 1u; } }",
    "nested": "for (var i = 0u; i < 10u; i++) { loop { loop { y[0] += 1u; if (i > 9u) { break; } } } }",
    "long nested": "for (var i = 0u; i < 100000u; i++) { for (var j = 0u; j < 100000u; j++) { y[0] += i ^ j; } }",
    "in a function": "y[0] = endless(y[1]);",
    "switch": "loop { switch (y[1]) { case 0u: { y[0] += 1u; } default: { return; } } }",
    "of one invocation": "while (id.x == 5u) { y[0] += 1u; }",
    "of some invocations": "while (id.x % 3u == 1u) { y[id.x] += 1u; }",
    "of an atomic": "while (atomicLoad(&flag) == 0u) {}",
    "with barriers": "loop { y[0] += 1u; workgroupBarrier(); if (workgroupUniformLoad(&never) == 1u) { break; } }",
    "before a barrier": "if (id.x == 0u) { while (y[1] == 0u) { y[0] += 1u; } } workgroupBarrier(); y[2] = 1u;",
}


def endless(body):
    return gk.Kernel(f"""
        {HEADER}
        var<workgroup> never: u32;
        var<workgroup> flag: atomic<u32>;
        fn endless(stop: u32) -> u32 {{ var n = 0u; while (stop == 0u) {{ n += 1u; }} return n; }}
        @compute @workgroup_size(64) fn endless_kernel(@builtin(local_invocation_id) id: vec3<u32>) {{ {body} }}
    """)


@pytest.mark.parametrize("body", ENDLESS.values(), ids=ENDLESS)
def test_a_loop_without_end_is_stopped(cpu, impatient, body):
    """By the limit of time. What was computed is right afterwards."""
    with pytest.raises(gk.KernelError, match=r"kernel 'endless_kernel'.*kernel_timeout"):
        endless(body)(y=np.zeros(64, np.uint32), workgroups=1, device=cpu)
    assert_works(cpu)


@pytest.mark.parametrize("groups", [1, 2, 1000], ids="{} workgroups".format)
def test_one_workgroup_of_many_does_not_end(cpu, impatient, groups):
    kernel = gk.Kernel(
        HEADER
        + "@compute @workgroup_size(8) fn one(@builtin(workgroup_id) group: vec3<u32>, "
        + "@builtin(num_workgroups) all: vec3<u32>) { while (group.x == all.x - 1u) { y[0] += 1u; } y[1] = 1u; }"
    )
    with pytest.raises(gk.KernelError, match=r"kernel 'one'.*kernel_timeout"):
        kernel(out={"y": 2}, workgroups=groups, device=cpu)
    assert_works(cpu)


def test_many_quick_workgroups_take_too_long(cpu, impatient):
    """None of them has a loop."""
    kernel = gk.Kernel(HEADER + "@compute @workgroup_size(64) fn quick() { y[0] = y[0] * 3u + y[1] / 7u; }")
    with pytest.raises(gk.KernelError, match=r"kernel 'quick'.*kernel_timeout"):
        kernel(out={"y": 2}, workgroups=(2**16, 2**15, 1), device=cpu)
    assert_works(cpu)


def test_formulas_without_end_are_stopped(cpu, impatient):
    x = np.ones(1000, np.float32)
    elementwise = gk.ElementwiseKernel("x", "y", "while (x > 0.0) { y += 1.0; }", name="forever")
    spin = "fn spin(x: f32) -> f32 { var y = x; while (y > 0.0) { y = abs(y) * 0.5 + x; } return y; }"
    reduction = gk.ReductionKernel("spin(x)", "a + b", "0", preamble=spin, name="forever")
    for kernel in (elementwise, reduction):
        with pytest.raises(gk.KernelError, match=r"kernel 'forever'.*kernel_timeout"):
            kernel(x, device=cpu)
    assert gk.sum(x, device=cpu) == 1000


def test_the_limit_of_time():
    assert gk.config.kernel_timeout is None
    try:
        for seconds in (0.5, 3, np.float64(2.5)):
            gk.config.kernel_timeout = seconds
            assert gk.config.kernel_timeout == seconds
        assert "kernel_timeout=2.5" in repr(gk.config)
        for wrong in (0, -1, float("nan"), float("inf"), "1", True, [1], 1e300):
            with pytest.raises(
                gk.ArgumentError, match=r"config\.kernel_timeout is a number of seconds above 0, or None"
            ):
                gk.config.kernel_timeout = wrong
            assert gk.config.kernel_timeout == 2.5
    finally:
        gk.config.kernel_timeout = None
    assert gk.config.kernel_timeout is None


def test_what_ends_in_time_is_left_alone(cpu, monkeypatch):
    monkeypatch.setattr(gk.config, "kernel_timeout", 60.0)
    x = sample(FLOAT32, 100_000)
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read> x: array<f32>;
        @group(0) @binding(1) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(64) fn sums(@builtin(global_invocation_id) id: vec3<u32>) {
            var sum = 0.0;
            for (var i = 0u; i < 1000u; i++) { sum = x[id.x] - sum * 0.5; }
            if (id.x < arrayLength(&y)) { y[id.x] = sum; }
        }
    """)
    got = kernel(x=x, out={"y": x.shape}, threads=x.size, device=cpu)
    np.testing.assert_allclose(got, x / 1.5, rtol=1e-5)


INTERRUPTED = """
    import time
    kernel = gk.Kernel('''{source}''')
    y = np.zeros(64, np.uint32)
    print("running", flush=True)
    start = time.perf_counter()
    try:
        kernel(y=y, workgroups=1, device="{device}")
        print("finished", flush=True)
    except KeyboardInterrupt:
        print("interrupted", time.perf_counter() - start < 20, flush=True)
    print(gk.Kernel('''{works}''')(out={{"y": 1}}, threads=1, device="{device}"))
"""
THREE = HEADER + "@compute @workgroup_size(4) fn three() { y[0] = 3u; }"


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
@pytest.mark.parametrize(
    "name", ["while", "in a function", "of one invocation", "with barriers", "while without a body"]
)
def test_control_c_stops_a_kernel(cpu, name):
    """It is Python's, and the next kernel runs."""
    source = endless(ENDLESS[name]).source
    script = textwrap.dedent(INTERRUPTED).format(source=source, works=THREE, device=cpu.id)
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE + script],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout.readline() == "running\n"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)
            process.send_signal(signal.SIGINT)
            printed, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert printed == "interrupted True\n[3]\n"
    assert errors == ""


# Whatever it computes with


# Memory, arithmetic, control flow that lanes part in, barriers, subgroups: all of it printed by its bits.
EVERYTHING = """
    kernel = gk.Kernel('''
        enable f16;
        struct P {{ scale: f32, n: u32 }}
        @group(0) @binding(0) var<storage, read> x: array<f32>;
        @group(0) @binding(1) var<storage, read_write> y: array<vec4<u32>>;
        @group(0) @binding(2) var<storage, read_write> counts: array<atomic<u32>, 8>;
        @group(0) @binding(3) var<uniform> p: P;
        var<workgroup> tile: array<f32, 24>;
        var<private> seen: array<u32, 5>;
        fn collatz(start: u32) -> u32 {{
            var n = start;
            var steps = 0u;
            while (n > 1u) {{
                if (n % 2u == 0u) {{ n /= 2u; }} else {{ n = 3u * n + 1u; }}
                steps += 1u;
                if (steps > 60u) {{ return 1000u + n; }}
            }}
            return steps;
        }}
        @compute @workgroup_size(24) fn f(
            @builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32,
            @builtin(subgroup_invocation_id) within: u32, @builtin(subgroup_size) size: u32,
        ) {{
            let i = min(id.x, p.n - 1u);
            tile[lane] = x[i] * p.scale;
            workgroupBarrier();
            let other = tile[(lane * 7u + 3u) % 24u];
            for (var k = 0u; k < i % 5u; k++) {{ seen[k] = i * k; }}
            let steps = collatz(i + 1u);
            atomicAdd(&counts[steps % 8u], 1u);
            let sum = subgroupAdd(steps);
            let next = subgroupShuffleXor(bitcast<u32>(other), 3u);
            let half = f32(f16(x[i]) / 3.0h);
            var bits = 0u;
            switch (i % 4u) {{
                case 0u: {{ bits = bitcast<u32>(sqrt(abs(x[i]))); }}
                case 1u: {{ bits = bitcast<u32>(half); }}
                case 2u: {{ if (x[i] > 0.0) {{ bits = u32(x[i]); break; }} bits = seen[(i + 1u) % 5u]; }}
                default: {{ bits = size * 100u + within; }}
            }}
            if (id.x < p.n) {{ y[id.x] = vec4<u32>(bits, sum, next, steps); }}
        }}
    ''')
    x = np.random.default_rng(0).standard_normal(1001, dtype=np.float32) * 100
    y, counts = kernel(x=x, p={{"scale": 0.3, "n": x.size}}, out={{"y": (x.size, 4), "counts": 8}}, threads=x.size,
                       device="{device}")
    scaled = gk.ElementwiseKernel("x, y", "z", "if (x > y) {{ z = x / y; }} else {{ z = y - x; }}")
    # Sums of few bits, whose order makes no difference.
    total = gk.ReductionKernel("floor(x)", "a + b", "0")
    print(hash(y.tobytes()), counts.tolist(), hash(scaled(x, x[::-1], device="{device}").tobytes()),
          total(x, device="{device}"))
"""


def test_lanes_make_no_difference(cpu):
    """Subgroups have 8 invocations, whatever the machine computes at once."""
    script = EVERYTHING.format(device=cpu.id)
    printed = {lanes: run_script(script, GPUKERN_LANES=lanes, PYTHONHASHSEED="0") for lanes in ("1", "4", "8", "16")}
    assert len(set(printed.values())) == 1, printed
    assert run_script(script, PYTHONHASHSEED="0") in printed.values()


def test_levels_make_no_difference():
    results = {str(cpu): run_script(EVERYTHING.format(device=cpu.device.id), PYTHONHASHSEED="0") for cpu in CPUS}
    assert len(set(results.values())) == 1, results


def test_a_wrong_number_of_lanes():
    printed = run_script(
        f"""
        try:
            gk.Kernel('''{THREE}''')(out={{"y": 1}}, threads=1, device="cpu")
        except gk.ArgumentError as error:
            print(error)
        """,
        GPUKERN_LANES="3",
    )
    assert printed == 'GPUKERN_LANES is "3"; choose one of 1, 4, 8, 16\n'


def test_what_the_device_says_of_itself(cpu):
    """Kernels find what it says, and no more."""
    assert {"f16", "f64", "int64", "subgroups", "float-atomics"} <= cpu.features
    assert "coop" not in cpu.features
    assert cpu.limits["subgroup_min"] == cpu.limits["subgroup_max"] == 8
    kernel = gk.Kernel(f"""
        {HEADER}
        override N: u32 = 1;
        var<workgroup> w: array<u32, N>;
        @compute @workgroup_size(64) fn f(
            @builtin(local_invocation_index) i: u32, @builtin(subgroup_size) size: u32) {{
            w[i + N - 64u] = size;
            workgroupBarrier();
            y[i] = w[N - 1u - i];
        }}
    """)
    most = cpu.limits["shared"] // 4
    assert kernel(out={"y": 64}, threads=64, N=most, device=cpu).tolist() == [8] * 64
    with pytest.raises(gk.KernelError, match=r"its workgroup memory is .*, but cpu.* has 1 MiB"):
        kernel(out={"y": 64}, threads=64, N=most + 1, device=cpu)


@pytest.mark.parametrize(
    "size", [(1024, 1, 1), (1, 1024, 1), (1, 1, 1024), (32, 32, 1), (8, 8, 16), (5, 7, 11)], ids=str
)
def test_workgroups_of_every_shape(cpu, size):
    kernel = gk.Kernel(
        HEADER
        + f"@compute @workgroup_size{size} fn f(@builtin(local_invocation_id) at: vec3<u32>, "
        + "@builtin(local_invocation_index) i: u32) { y[i] = at.x + 10000u * (at.y + 10000u * at.z) % 4294967291u; }"
    )
    z, y, x = np.indices(size[::-1]).reshape(3, -1).astype(np.uint64)
    want = (x + (10000 * (y + 10000 * z) % 2**32 % 4294967291)) % 2**32
    assert_same(kernel(out={"y": x.size}, workgroups=1, device=cpu), want.astype(np.uint32))


@pytest.mark.parametrize("size", [(1025, 1, 1), (1, 1025, 1), (33, 32, 1)], ids=str)
def test_workgroups_that_are_too_large(cpu, size):
    kernel = gk.Kernel(HEADER + f"@compute @workgroup_size{size} fn f() {{ y[0] = 1u; }}")
    with pytest.raises(gk.KernelError, match=r"invocations, but cpu.* takes at most 1024, and \(1024, 1024, 1024\)"):
        kernel(out={"y": 1}, workgroups=1, device=cpu)


def test_more_variables_than_gpus_take(cpu):
    names = [f"v{i}" for i in range(300)]
    declared = "".join(f"@group(1) @binding({i}) var<storage, read> {name}: u32;\n" for i, name in enumerate(names))
    values = "".join(f"@group(2) @binding({i}) var<uniform> u{i}: u32;\n" for i in range(20))
    total = " + ".join([*names, *(f"u{i}" for i in range(20))])
    kernel = gk.Kernel(HEADER + declared + values + f"@compute @workgroup_size(1) fn f() {{ y[0] = {total}; }}")
    given = {name: i for i, name in enumerate(names)} | {f"u{i}": 1000 for i in range(20)}
    assert kernel(bindings=given, out={"y": 1}, threads=1, device=cpu).tolist() == [sum(range(300)) + 20_000]


def test_values_of_any_size(cpu):
    """Where GPUs take kilobytes."""
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read_write> y: array<f32>;
        @group(0) @binding(1) var<uniform> u: array<vec4<f32>, 100000>;
        @compute @workgroup_size(1) fn f() { y[0] = u[99999].x + u[12345].z; }
    """)
    u = np.zeros((100_000, 4), np.float32)
    u[-1, 0], u[12345, 2] = 3, 4
    assert kernel(u=u, out={"y": 1}, threads=1, device=cpu).tolist() == [7]


# Numbers of 64 bits


WIDE = """
    @group(0) @binding(0) var<storage, read> x: array<f64>;
    @group(0) @binding(1) var<storage, read_write> y: array<f64>;
    @compute @workgroup_size(16) fn wide(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x < arrayLength(&x)) { y[id.x] = BODY; }
    }
"""
OF_DOUBLES = {
    "x[id.x] + 1.0lf / 3.0lf": lambda x: x + 1 / 3,
    "x[id.x] * x[id.x] - x[id.x] / 7.0lf": lambda x: x * x - x / 7,
    "sqrt(abs(x[id.x]))": lambda x: np.sqrt(np.abs(x)),
    "floor(x[id.x]) + ceil(x[id.x]) * 2.0lf": lambda x: np.floor(x) + 2 * np.ceil(x),
    "min(x[id.x], 1.0lf) + max(x[id.x], -1.0lf)": lambda x: np.minimum(x, 1) + np.maximum(x, -1),
    "select(x[id.x], -x[id.x], x[id.x] < 0.0lf)": np.abs,
    "f64(i32(x[id.x])) + f64(f32(x[id.x]))": lambda x: np.trunc(x) + x.astype(np.float32),
    "f64(i64(x[id.x] * 1e12lf))": lambda x: np.trunc(x * 1e12),
}


@pytest.mark.parametrize("body", OF_DOUBLES)
def test_double_precision(cpu, body):
    x = np.random.default_rng(0).standard_normal(1001) * 100
    got = gk.Kernel(WIDE.replace("BODY", body))(x=x, out={"y": x.shape}, threads=x.size, device=cpu)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, OF_DOUBLES[body](x), rtol=1e-15)


def test_arrays_of_doubles(cpu):
    """Any layout, in place, lists and numbers; and words where they stay on the device, as for structs."""
    kernel = gk.Kernel(WIDE.replace("BODY", "y[id.x] + x[id.x]"))
    x = np.random.default_rng(0).standard_normal((6, 7))
    y = np.zeros((6, 7))
    for given in (x, x.T.copy().T, x[:, ::-1], x.astype(">f8")):
        assert_same(kernel(x=given, y=y, threads=42, device=cpu), np.asarray(given, np.float64))
    assert not y.any()
    assert kernel(x=x, y=y, threads=42, device=cpu, inplace=True) is y
    assert_same(y, x)
    assert kernel(x=[1, 2.5], y=[0.5, 0.25], threads=2, device=cpu).tolist() == [1.5, 2.75]
    words = kernel(x=x, y=gk.zeros(84, "uint32", device=cpu), threads=42)
    assert_same(words.numpy().view(np.float64), x.ravel())
    with pytest.raises(gk.KernelError, match=r"'x'.*float32, but f64 is float64, of which there are no tensors"):
        kernel(x=gk.ones(3, device=cpu), out={"y": 3}, threads=3)


def test_wide_integers(cpu):
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read> x: array<i64>;
        @group(0) @binding(1) var<storage, read> z: array<u64>;
        @group(0) @binding(2) var<storage, read_write> y: array<i64>;
        @compute @workgroup_size(16) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            if (id.x < arrayLength(&x)) {
                y[id.x] = x[id.x] * 3li - i64(z[id.x] >> 5u) + x[id.x] / i64(id.x);
            }
        }
    """)
    random = np.random.default_rng(0)
    x, z = random.integers(-(2**62), 2**62, 100), random.integers(0, 2**63, 100).astype(np.uint64) * 2
    got = kernel(x=x, z=z, out={"y": x.shape}, threads=100, device=cpu)
    # Towards zero, and the dividend where there is no quotient.
    quotients = [int(a) if i == 0 else abs(int(a)) // i * (1 if a >= 0 else -1) for i, a in enumerate(x)]
    want = [int(a) * 3 - (int(b) >> 5) + q for a, b, q in zip(x, z, quotients, strict=True)]
    assert got.tolist() == [(value + 2**63) % 2**64 - 2**63 for value in want]


# What it does not run


@pytest.mark.parametrize(
    ("source", "words", "line"),
    [
        (
            HEADER
            + "\n@group(0) @binding(1) var t: texture_2d<f32>;\n"
            + "@compute @workgroup_size(1) fn f() { y[0] = u32(textureLoad(t, vec2(0), 0).x); }",
            "texture",
            2,
        ),
        (
            """enable wgpu_cooperative_matrix;
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(8) fn f() {
    let a = coopLoad<coop_mat8x8<f32, A>>(&y[0], 8u);
    coopStore(a, &y[0], 8u);
}""",
            "cooperative matri",
            4,
        ),
    ],
    ids=["textures", "cooperative matrices"],
)
@pytest.mark.parametrize("trusted", [False, True], ids=["checked", "trusted"])
def test_what_it_does_not_run_is_shown(cpu, source, words, line, trusted):
    """By its name, at its line."""
    with pytest.raises(gk.KernelError, match=f"(?is){words}") as caught:
        gk.Kernel(source, trusted=trusted)(out={"y": 64}, threads=8, device=cpu)
    assert f"wgsl:{line}:" in str(caught.value) or f"f:{line}:" in str(caught.value)
    assert_works(cpu)


# Indices out of bounds


WILD = """
    @group(0) @binding(0) var<storage, read> x: array<TYPE>;
    @group(0) @binding(1) var<storage, read_write> y: array<TYPE>;
    @group(0) @binding(2) var<storage, read> at: array<i32>;
    @group(0) @binding(3) var<storage, read_write> got: array<TYPE>;
    @compute @workgroup_size(16) fn wild(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x >= arrayLength(&at)) { return; }
        got[id.x] = x[at[id.x]];
        y[at[id.x]] = VALUE;
        y[u32(at[id.x])] = VALUE;
    }
"""
PLACES = np.int32([10, 11, -1, -2, 10**6, -(10**6), 2**31 - 1, -(2**31), 2**30, 2**29, 64, 1 << 20, 13, 100])


@pytest.mark.parametrize(("ty", "width"), [("u32", 1), ("vec2<u32>", 2), ("vec4<u32>", 4), ("array<u32, 4>", 4)])
def test_indices_out_of_bounds_reach_nothing(cpu, ty, width):
    """Reads give zero, and writes do nothing: what lies around, in the same memory, stays as it is."""
    kernel = gk.Kernel(WILD.replace("TYPE", ty).replace("VALUE", f"{ty}({', '.join(['9u'] * width)})"))
    around = np.full((3, 1000 * width), 7, np.uint32)
    before = around.copy()
    # The elements 0 to 9 of x and of y are in the middle of these.
    x, y = (row[500 * width : 510 * width] for row in around[:2])
    x[:], y[:] = 5, 6
    before[0, 500 * width : 510 * width], before[1, 500 * width : 510 * width] = 5, 6
    arguments = {"x": x, "y": y, "at": PLACES, "threads": len(PLACES), "device": cpu}
    result = kernel(out={"got": len(PLACES) * width}, inplace=True, **arguments)
    assert not result.got.any()
    assert_same(around, before)
    tensors = gk.asarray(around, device=cpu, copy=True)
    part = {"x": tensors[0, 500 * width : 510 * width], "y": tensors[1, 500 * width : 510 * width]}
    got = kernel(**part, at=PLACES, out={"got": len(PLACES) * width}, threads=len(PLACES)).got
    assert not got.numpy().any()
    assert_same(tensors.numpy(), before)


def test_indices_out_of_bounds_of_other_memory(cpu):
    """Workgroup memory, private memory, variables of functions, vectors, matrices: zero and nothing, too."""
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read> at: array<i32>;
        @group(0) @binding(1) var<storage, read_write> y: array<array<u32, 6>>;
        @group(0) @binding(2) var<uniform> u: array<vec4<u32>, 3>;
        var<workgroup> before: array<u32, 4>;
        var<workgroup> w: array<u32, 4>;
        var<workgroup> after: array<u32, 4>;
        var<private> p: array<u32, 4>;
        @compute @workgroup_size(1) fn f(@builtin(workgroup_id) id: vec3<u32>) {
            let i = at[id.x];
            var l = array<u32, 3>(1u, 2u, 3u);
            var v = vec3<u32>(4u, 5u, 6u);
            w[i] = 1u; p[i] = 2u; l[i] = 8u; v[i] = 9u;
            y[id.x] = array<u32, 6>(w[i], p[i], l[i], v[i], u[i].x, u[0][i]);
            for (var k = 0u; k < 4u; k++) {
                if (before[k] + after[k] + w[k] + p[k] != 0u) { y[id.x][0] = 77u; }
            }
            if (any(v != vec3<u32>(4u, 5u, 6u)) || l[0] != 1u || l[1] != 2u || l[2] != 3u) { y[id.x][1] = 77u; }
        }
    """)
    u = np.full((3, 4), 11, np.uint32)
    assert not kernel(at=PLACES, u=u, out={"y": (len(PLACES), 6)}, workgroups=len(PLACES), device=cpu).any()


def test_atomics_out_of_bounds(cpu):
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read_write> y: array<atomic<u32>>;
        @group(0) @binding(1) var<storage, read> at: array<i32>;
        @group(0) @binding(2) var<storage, read_write> old: array<u32>;
        @compute @workgroup_size(16) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            if (id.x >= arrayLength(&at)) { return; }
            let i = at[id.x];
            old[id.x] = atomicAdd(&y[i], 3u) + atomicExchange(&y[i], 9u) + atomicLoad(&y[i]);
            atomicStore(&y[i], 4u);
            atomicMax(&y[i], 100u);
            let swapped = atomicCompareExchangeWeak(&y[i], 0u, 5u);
        }
    """)
    around = np.full(1000, 7, np.uint32)
    result = kernel(y=around[500:510], at=PLACES, out={"old": len(PLACES)}, threads=16, device=cpu, inplace=True)
    assert not result.old.any()
    assert (around == 7).all()


def test_lengths_are_exact(cpu):
    """Whatever lies behind an array."""
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read> x: array<f32>;
        @group(0) @binding(1) var<storage, read_write> y: array<u32>;
        @compute @workgroup_size(1) fn f() {
            y[0] = arrayLength(&x);
            y[1] = u32(x[arrayLength(&x) - 1u]);
            y[2] = u32(x[arrayLength(&x)]);
        }
    """)
    whole = np.arange(1, 101, dtype=np.float32)
    for start, stop in ((0, 1), (1, 2), (3, 50), (7, 99), (99, 100)):
        assert kernel(x=whole[start:stop], out={"y": 3}, threads=1, device=cpu).tolist() == [stop - start, stop, 0]


# Arithmetic at the ends


EDGES = np.int32([-(2**31), -(2**31) + 1, -7, -1, 0, 1, 7, 2**31 - 1])


def test_integers_at_their_ends(cpu):
    """Division and remainder by zero and of the least number, and shifts by more bits than there are."""
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read> a: array<vec2<i32>>;
        @group(0) @binding(1) var<storage, read_write> y: array<array<i32, 8>>;
        @compute @workgroup_size(16) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            if (id.x >= arrayLength(&a)) { return; }
            let i = a[id.x].x;
            let j = a[id.x].y;
            let shift = bitcast<u32>(j);
            y[id.x] = array<i32, 8>(
                i / j, i % j, bitcast<i32>(bitcast<u32>(i) / shift), bitcast<i32>(bitcast<u32>(i) % shift),
                i << (shift & 63u), i >> (shift & 63u), -i, abs(i)
            );
        }
    """)
    pairs = np.array([(i, j) for i in EDGES for j in [*EDGES, 31, 32, 33, 63]], np.int32)
    got = kernel(a=pairs, out={"y": (len(pairs), 8)}, threads=len(pairs), device=cpu)

    def wrap(value):
        return (value + 2**31) % 2**32 - 2**31

    def want(i, j):
        quotient = i if j == 0 else abs(i) // abs(j) * (1 if (i < 0) == (j < 0) else -1)
        remainder = i - quotient * j if j else 0
        u, v = i % 2**32, j % 2**32
        # Shifts take their number of bits modulo 32.
        bits = v % 32
        unsigned = (u // v if v else u, u % v if v else 0)
        return [wrap(value) for value in (quotient, remainder, *unsigned, i << bits, i >> bits, -i, abs(i))]

    for (i, j), row in zip(pairs.tolist(), got.tolist(), strict=True):
        assert row == want(i, j), (i, j)


def test_floats_become_integers(cpu):
    """Towards zero, no further than the ends, and NaN is 0."""
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read> x: array<f32>;
        @group(0) @binding(1) var<storage, read_write> signed: array<i32>;
        @group(0) @binding(2) var<storage, read_write> unsigned: array<u32>;
        @compute @workgroup_size(16) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            if (id.x < arrayLength(&x)) { signed[id.x] = i32(x[id.x]); unsigned[id.x] = u32(x[id.x]); }
        }
    """)
    x = np.float32([np.nan, -np.nan, np.inf, -np.inf, 3e9, -3e9, 1e30, -1e30, 2.9, -2.9, -0.5, 0.0, -0.0, 1e-40, 2**31])
    signed, unsigned = kernel(x=x, out={"signed": x.size, "unsigned": x.size}, threads=x.size, device=cpu)
    finite = np.nan_to_num(np.trunc(x.astype(np.float64)), nan=0, posinf=1e30, neginf=-1e30)
    # The largest float32 below 2**31 is 2**31 - 128, and implementations may stop there.
    np.testing.assert_allclose(signed, np.clip(finite, -(2**31), 2**31 - 1), atol=128)
    np.testing.assert_allclose(unsigned.astype(np.float64), np.clip(finite, 0, 2**32 - 1), atol=256)


# Threads, processes, memory


def test_many_threads_call_kernels(cpu):
    """Each with kernels of its own, one that all have, and formulas; some of them fail."""
    shared = gk.Kernel(
        HEADER + "@compute @workgroup_size(16) fn f(@builtin(global_invocation_id) id: vec3<u32>) "
        "{ if (id.x < arrayLength(&y)) { y[id.x] = y[id.x] * 3u + id.x; } }"
    )
    formula = gk.ElementwiseKernel("x", "y", "y = x * 2.0 + 1.0")
    total = gk.ReductionKernel("x", "a + b", "0")

    def work(thread):
        random = np.random.default_rng(thread)
        for step in range(25):
            y = random.integers(0, 1000, int(random.integers(1, 5000))).astype(np.uint32)
            want = y * 3 + np.arange(y.size, dtype=np.uint32)
            assert_same(shared(y=y, threads=y.size, device=cpu), want)
            own = gk.Kernel(HEADER + f"@compute @workgroup_size(4) fn f() {{ y[0] = {thread * 100 + step}u; }}")
            assert own(out={"y": 1}, threads=1, device=cpu).tolist() == [thread * 100 + step]
            x = random.integers(-9, 9, 3000).astype(np.float32)
            assert_same(formula(x, device=cpu), x * 2 + 1)
            assert total(x, device=cpu) == x.sum()
            with pytest.raises(gk.KernelError):
                shared(y=x, threads=1, device=cpu)
        return True

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(work, range(12)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_kernels_run_in_a_fork(cpu):
    """Those that the parent compiled, new ones, and formulas, while threads of the parent compile and run others."""
    printed = run_script(f"""
        import os, threading, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        SOURCE = '''{HEADER}@compute @workgroup_size(16) fn f(@builtin(global_invocation_id) id: vec3<u32>) {{
            if (id.x < arrayLength(&y)) {{ y[id.x] += N; }} }}'''
        device = gk.get_device("{cpu.id}")
        kernel = gk.Kernel(SOURCE.replace("N", "5u"))
        run = lambda kernel: kernel(y=np.arange(1000, dtype=np.uint32), threads=1000, device=device).sum() - 499500
        print(run(kernel), flush=True)
        over = threading.Event()

        def work(n):
            while not over.is_set():
                n += 10
                run(gk.Kernel(SOURCE.replace("N", f"{{n}}u")))

        threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for i in range(20):
            process = os.fork()
            if process == 0:
                status = 1
                try:
                    right = run(kernel) == 5000 and run(gk.Kernel(SOURCE.replace("N", f"{{i}}u"))) == 1000 * i
                    x = np.ones(10, np.float32)
                    right &= gk.ElementwiseKernel("x", "y", "y = x + 1.0")(x, device=device).sum() == 20
                    status = 0 if right else 2
                finally:
                    os._exit(status)
            assert os.waitpid(process, 0)[1] == 0, i
        over.set()
        for thread in threads:
            thread.join()
        print(run(kernel))
    """)
    assert printed == "5000\n5000\n"


STATM = Path("/proc/self/statm")


@pytest.mark.skipif(not STATM.exists(), reason="this system has no /proc/self/statm")
def test_compiled_kernels_come_and_go(cpu):
    """More of them than are kept. Memory grows to what those take that are kept, and no further."""
    printed = run_script(f"""
        import gc
        from pathlib import Path
        def resident():
            gc.collect()
            return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
        def compile(numbers):
            for n in numbers:
                kernel = gk.Kernel(f'''{HEADER}@compute @workgroup_size(64)
                    fn f(@builtin(global_invocation_id) id: vec3<u32>) {{{{
                        var sum = {{n}}u;
                        for (var i = 0u; i < 4u; i++) {{{{ sum += y[(id.x + i) % 8u] * i; }}}}
                        y[id.x % 8u] = sum;
                    }}}}''')
                kernel(out={{"y": 8}}, threads=1, device="{cpu.id}")
        compile(range(600))
        before = resident()
        compile(range(600, 1800))
        print(resident() - before)
    """)
    assert int(printed) < 24 << 20


def test_equal_kernels_are_compiled_once(cpu):
    """Thousands of objects made of one source run at once: compiling takes milliseconds each."""
    source = HEADER + "@compute @workgroup_size(1) fn f() { y[0] += 1u; }"
    tensor = gk.zeros(1, "uint32", device=cpu)
    for _ in range(200):
        gk.Kernel(source)(y=tensor, threads=1)
    assert tensor.tolist() == [200]


# Sources that grow


def chain(depth):
    """A function that calls the next one twice, and so on: 2 ** depth calls."""
    functions = ["fn f0(n: u32) -> u32 { return n + 1u; }"]
    functions += [f"fn f{i}(n: u32) -> u32 {{ return f{i - 1}(n) ^ f{i - 1}(n + {i}u); }}" for i in range(1, depth + 1)]
    return gk.Kernel(
        HEADER + "\n".join(functions) + f"\n@compute @workgroup_size(1) fn chained() {{ y[0] = f{depth}(y[0]); }}"
    )


def test_calls_within_calls(cpu):
    def want(depth, n):
        return (n + 1) % 2**32 if depth == 0 else want(depth - 1, n) ^ want(depth - 1, n + depth)

    assert chain(6)(y=np.uint32([3]), threads=1, device=cpu).tolist() == [want(6, 3)]
    with pytest.raises(gk.KernelError, match=r"kernel 'chained'.*(?s:.*)the CPU device does not run"):
        chain(20)(y=np.uint32([3]), threads=1, device=cpu)
    with pytest.raises(gk.KernelError, match=r"kernel 'chained'"):
        chain(200)(y=np.uint32([3]), threads=1, device=cpu)
    assert_works(cpu)


def test_many_statements(cpu):
    lines = "\n".join(f"y[{i}] = y[{i}] * {i}u + {i * i}u;" for i in range(3000))
    kernel = gk.Kernel(HEADER + f"@compute @workgroup_size(1) fn f() {{ {lines} }}")
    i = np.arange(3000, dtype=np.uint32)
    assert_same(kernel(y=np.full(3000, 3, np.uint32), threads=1, device=cpu), 3 * i + i * i)


def test_blocks_within_blocks(cpu):
    depth = 60
    body = "".join(f"if (n > {i}u) {{ n += {i}u; " for i in range(depth)) + "y[0] = n;" + "}" * depth
    kernel = gk.Kernel(HEADER + f"@compute @workgroup_size(1) fn f() {{ var n = y[1]; {body} }}")
    got = kernel(y=np.uint32([0, 100]), threads=1, device=cpu)
    assert got.tolist() == [100 + sum(range(depth)), 100]


def test_huge_arrays_of_workgroups(cpu):
    """As much as there is, used by all invocations, and all of it zero at first in each workgroup."""
    kernel = gk.Kernel(
        HEADER
        + """
        var<workgroup> w: array<array<u32, 512>, 512>;
        @compute @workgroup_size(256) fn f(
            @builtin(local_invocation_index) i: u32, @builtin(workgroup_id) group: vec3<u32>) {
            var seen = 0u;
            for (var k = 0u; k < 1024u; k++) { seen |= w[(i + k * 256u) / 512u][(i + k * 256u) % 512u]; }
            workgroupBarrier();
            for (var k = 0u; k < 1024u; k++) { w[(i + k * 256u) / 512u][(i + k * 256u) % 512u] = k + i; }
            workgroupBarrier();
            y[group.x * 256u + i] = w[511u - i][i] + 1000000u * seen;
        }
    """
    )
    i = np.arange(256)
    at = (511 - i) * 512 + i
    want = np.tile((at // 256 + at % 256).astype(np.uint32), 6)
    assert_same(kernel(out={"y": want.size}, workgroups=6, device=cpu), want)


def test_large_private_arrays(cpu):
    """Of each of a thousand invocations, and with places that are known only as they run."""
    kernel = gk.Kernel(
        HEADER
        + """
        var<private> p: array<u32, 2000>;
        @compute @workgroup_size(1024) fn f(@builtin(local_invocation_index) i: u32) {
            var own: array<u32, 500>;
            for (var k = 0u; k < 2000u; k += 7u) { p[k] = k * i; own[k % 500u] += k; }
            workgroupBarrier();
            y[i] = p[(i * 7u) % 2000u / 7u * 7u] + own[i % 500u];
        }
    """
    )
    i = np.arange(1024)
    own = np.zeros(500, np.int64)
    np.add.at(own, np.arange(0, 2000, 7) % 500, np.arange(0, 2000, 7))
    want = ((i * 7) % 2000 // 7 * 7) * i + own[i % 500]
    assert_same(kernel(out={"y": 1024}, workgroups=1, device=cpu), want.astype(np.uint32))


# In place


def test_arrays_are_computed_where_they_are(cpu):
    """Nothing is copied of what lies in order; what does not is, and lands where it belongs."""
    kernel = gk.Kernel(
        HEADER + "@compute @workgroup_size(16) fn f(@builtin(global_invocation_id) id: vec3<u32>) "
        "{ if (id.x < arrayLength(&y)) { y[id.x] += id.x; } }"
    )
    whole = np.zeros((10, 64), np.uint32)
    before = cpu.memory.in_use
    for part in (whole, whole[3], whole[4:6], whole[7, 1:60]):
        assert kernel(y=part, threads=part.size, device=cpu, inplace=True) is part
    assert cpu.memory.in_use == before
    kernel(y=whole[:, ::-2], threads=320, device=cpu, inplace=True)
    want = np.arange(640, dtype=np.uint32).reshape(10, 64)
    want[3] += np.arange(64, dtype=np.uint32)
    want[4:6] += np.arange(128, dtype=np.uint32).reshape(2, 64)
    want[7, 1:60] += np.arange(59, dtype=np.uint32)
    want[:, ::-2] += np.arange(320, dtype=np.uint32).reshape(10, 32)
    assert_same(whole, want)


def test_a_tensor_over_an_array(cpu):
    """It shares its memory; one of a read-only array cannot be written."""
    kernel = gk.Kernel(HEADER + "@compute @workgroup_size(1) fn f() { y[0] += 1u; }")
    array = np.zeros(4, np.uint32)
    tensor = gk.asarray(array, device=cpu)
    assert kernel(y=tensor, threads=1) is tensor
    assert array.tolist() == [1, 0, 0, 0]
    array.flags.writeable = False
    with pytest.raises(gk.KernelError, match="'y': it is written, and its memory is that of a read-only array"):
        kernel(y=gk.asarray(array, device=cpu), threads=1)
    assert kernel(y=array, threads=1, device=cpu).tolist() == [2, 0, 0, 0]
    assert array.tolist() == [1, 0, 0, 0]


def test_results_of_small_kernels_are_arrays_of_their_own(cpu):
    x = np.zeros(5, np.float32)
    y = gk.ElementwiseKernel("x", "y", "y = x")(x, device=cpu)
    y += 1
    assert not x.any()


@pytest.mark.parametrize("dtype", [np.int8, np.float16, np.float32], ids=lambda dtype: dtype.__name__)
def test_formulas_write_nothing_beside_their_results(cpu, dtype):
    """Wherever in memory these begin and end, within words of others and groups of four."""
    double = gk.ElementwiseKernel("x", "y", "y = x + x")
    total = gk.ReductionKernel("x", "a + b", "0")
    random = np.random.default_rng(0)
    for _ in range(60):
        start, count, step = (int(random.integers(*ends)) for ends in ((0, 20), (1, 40), (1, 4)))
        x = random.integers(-9, 9, 200).astype(dtype)
        out = random.integers(-9, 9, 200).astype(dtype)
        want = out.copy()
        part = slice(start, start + count * step, step)
        want[part] = x[3 : 3 + count] + x[3 : 3 + count]
        double(x[3 : 3 + count], out=out[part], device=cpu)
        assert_same(out, want)
        backwards = x[start : start + count][::-1]
        assert_same(double(backwards, device=cpu), backwards + backwards)
        assert total(x[part], device=cpu) == x[part].astype(np.int32).sum()
    rows = random.integers(-5, 5, (37, 53)).astype(dtype)
    columns = np.zeros((53, 3), total(rows, axis=0, device=cpu).dtype)
    total(rows, axis=0, out=columns[:, 1], device=cpu)
    assert_same(columns[:, 1], rows.astype(np.int32).sum(0).astype(columns.dtype))
    assert not columns[:, ::2].any()


# Which device


def test_arrays_alone_go_where_it_is_said():
    """To the CPU device where there is no other, or where the environment names it."""
    script = f"""
        print(gk.default_device().id)
        kernel = gk.Kernel('''{THREE}''')
        with gk.profile() as profile:
            total = gk.ReductionKernel("x", "a + b", "0")(np.ones(9, np.float32))
            print(kernel(y=np.zeros(1, np.uint32), threads=1), total)
        print({{time.device for time in profile.kernels}})
    """
    assert run_script(script, GPUKERN_DEVICE="cpu") == "cpu\n[3] 9.0\n{'cpu'}\n"


def test_a_profile_has_launches(cpu):
    """By the kernel's name, and not what they consist of."""
    kernel = gk.Kernel(HEADER + "@compute @workgroup_size(1) fn f() { y[0] += 1u; }", name="mine")
    x = np.ones(1000, np.float32)
    tensor = gk.zeros(250, "uint32", device=cpu)
    with gk.profile(cpu) as profile:
        kernel(y=tensor, threads=1)
        gk.ElementwiseKernel("x", "y", "y = x", name="formula")(x, device=cpu)
        with pytest.raises(gk.KernelError):
            kernel(y=x, threads=1, device=cpu)
    names = [time.name for time in profile.kernels]
    assert names == ["mine", "formula"]
    assert profile.kernels[0].bytes == 2000
    assert all(time.seconds > 0 and time.operations is None for time in profile.kernels)


# Ids that are compared

COMPARISONS = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}


@pytest.mark.parametrize("lanes", ["1", "4", "8", "16"])
@pytest.mark.parametrize("dtype", ["u32", "i32"])
def test_ids_are_compared_where_they_wrap(lanes, dtype, monkeypatch):
    """Whether all lanes go the same way is told from the first and the last one, and numbers between may wrap."""
    monkeypatch.setenv("GPUKERN_LANES", lanes)
    numbers = np.arange(64, dtype=np.uint32)
    edges = [0, 1, 5, 8, 15, 63, 64, 2**31 - 8, 2**31 - 1, 2**31, 2**31 + 9, 2**32 - 16, 2**32 - 1]
    number = np.uint32 if dtype == "u32" else np.int32
    for factor in (1, 4, 0xFFFFFFFF, 0x40000000):
        lines, expected = [], np.zeros(64, np.uint32)
        for start in edges:
            value = f"{dtype}(id * {factor}u + {start}u)"
            for symbol in COMPARISONS:
                lines += [
                    f"if ({value} {symbol} b[k]) {{ y[id] += w; }} else {{ y[id] += 3u; }}",
                    f"if (b[k] {symbol} {value}) {{ y[id] ^= w; }}",
                    "w = w * 5u + 1u;",
                ]
        source = f"""
            @group(0) @binding(0) var<storage, read_write> y: array<u32>;
            @group(0) @binding(1) var<storage, read> b: array<{dtype}>;
            @compute @workgroup_size(64) fn compare(@builtin(local_invocation_index) id: u32) {{
                for (var k = 0u; k < arrayLength(&b); k++) {{ var w = 1u + k; {" ".join(lines)} }}
            }}"""
        bounds = np.array(edges, np.uint32).view(number)
        for k, bound in enumerate(bounds):
            weight = np.uint32(1 + k)
            for start in edges:
                values = (numbers * np.uint32(factor) + np.uint32(start)).view(number)
                for compare in COMPARISONS.values():
                    expected += np.where(compare(values, bound), weight, np.uint32(3))
                    expected ^= np.where(compare(bound, values), weight, np.uint32(0))
                    weight = np.uint32((int(weight) * 5 + 1) % 2**32)
        found = gk.Kernel(source)(b=bounds, out={"y": 64}, workgroups=1, device="cpu")
        assert_same(found, expected)


LEAVING = {
    "a function": """
        if (n % 3u == 0u) { return n; }
        let m = n * n;
        if (m > 50u) { return m + 1u; } else if (n == 5u) { return 0u; }
        return m + n;""",
    "a loop": """
        var s = 0u;
        for (var i = 0u; i < n; i++) {
            if (i % 2u == 0u) { continue; }
            let j = i * 3u;
            if (j % 9u == 0u) { s += 1u; continue; }
            s += j;
        }
        return s;""",
    "continuing": """
        var s = 0u;
        var i = 0u;
        loop {
            if (i >= n) { break; }
            let twice = i * 2u;
            if (i == 3u) { continue; }
            let more = twice + 1u;
            s += more;
            continuing { s += twice; i++; break if i > 12u; }
        }
        return s;""",
    "a switch": """
        var s = n;
        switch (n % 4u) {
            case 1u: { if (n > 8u) { break; } s += 7u; }
            case 2u, 3u: { if (n == 3u) { s = 100u; break; } if (n == 6u) { return 5u; } s *= 2u; }
            default: { if (n < 6u) { break; } s = 1u; }
        }
        return s;""",
}


def leaving(name, n):
    """What the functions of LEAVING return."""
    if name == "a function":
        return n if n % 3 == 0 else n * n + 1 if n * n > 50 else 0 if n == 5 else n * n + n
    if name == "a loop":
        return sum(0 if i % 2 == 0 else 1 if i * 3 % 9 == 0 else i * 3 for i in range(n))
    if name == "continuing":
        return sum(2 * i + (0 if i == 3 else 2 * i + 1) for i in range(min(n, 13)))
    if n % 4 == 1:
        return n if n > 8 else n + 7
    if n % 4 in (2, 3):
        return 100 if n == 3 else 5 if n == 6 else 2 * n
    return n if n < 6 else 1


@pytest.mark.parametrize("lanes", ["1", "4", "8", "16"])
@pytest.mark.parametrize("name", LEAVING)
def test_leaving_early(name, lanes, monkeypatch):
    monkeypatch.setenv("GPUKERN_LANES", lanes)
    source = f"""
        @group(0) @binding(0) var<storage, read_write> y: array<u32>;
        fn f(n: u32) -> u32 {{{LEAVING[name]}
        }}
        @compute @workgroup_size(16) fn leave(@builtin(global_invocation_id) id: vec3<u32>) {{
            if (id.x >= arrayLength(&y)) {{ return; }}
            y[id.x] = f(id.x);
        }}"""
    found = gk.Kernel(source)(out={"y": 43}, threads=43, device="cpu")
    assert found.tolist() == [leaving(name, n) for n in range(43)]
