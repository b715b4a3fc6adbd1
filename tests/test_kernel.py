"""Users' kernels: what WGSL means comes out, on every device variant, whatever a kernel is made of.

How variables are given is tested in test_kernel_arguments.py, grids and order in test_kernel_engine.py. Workgroups
have 16 invocations at most, since one of the variants has no larger ones.
"""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpukern as gk
from arrays import FLOAT16, FLOAT32, INT32, UINT32, assert_same, sample, small

WGSL = {"f32": FLOAT32, "i32": INT32, "u32": UINT32}


# Numbers, vectors, matrices


@pytest.mark.parametrize("ty", WGSL)
def test_scalars_and_vectors(device, ty):
    """Three numbers lie in memory as four."""
    kernel = gk.Kernel("""
        alias T = f32;
        @group(0) @binding(0) var<storage, read> x1: array<T>;
        @group(0) @binding(1) var<storage, read> x2: array<vec2<T>>;
        @group(0) @binding(2) var<storage, read> x3: array<vec3<T>>;
        @group(0) @binding(3) var<storage, read_write> y2: array<vec2<T>>;
        @group(0) @binding(4) var<storage, read_write> y3: array<vec3<T>>;
        @group(0) @binding(5) var<storage, read_write> y4: array<vec4<T>>;
        @compute @workgroup_size(16) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            let i = id.x;
            if (i >= arrayLength(&x1)) { return; }
            y2[i] = x2[i].yx + x1[i];
            y3[i] = x3[i].zxy * x1[i];
            y4[i] = vec4<T>(x1[i], x2[i], x3[i].z);
        }
    """).specialize(T=WGSL[ty])
    x1, x2, x3 = (small(WGSL[ty], shape) for shape in ((21,), (21, 2), (21, 3)))
    new = {"y2": x2.shape, "y3": x3.shape, "y4": (21, 4)}
    results = kernel(x1=x1, x2=x2, x3=x3, out=new, threads=21, device=device)
    assert results._fields == ("y2", "y3", "y4")
    assert_same(results.y2, x2[:, ::-1] + x1[:, None])
    assert_same(results.y3, x3[:, [2, 0, 1]] * x1[:, None])
    assert_same(results.y4, np.stack([x1, x2[:, 0], x2[:, 1], x3[:, 2]], axis=1))


MATRICES = [(columns, rows) for columns in (2, 3, 4) for rows in (2, 3, 4)]


@pytest.mark.parametrize("space", ["uniform", "storage, read"])
def test_every_matrix(device, space):
    """An array has columns where WGSL has them in memory: m[c][r] is array[c, r], and m * v is v @ array."""
    fields, lines, at = [], [], 0
    for columns, rows in MATRICES:
        fields.append(f"m{columns}{rows}: mat{columns}x{rows}<f32>,")
        for r in range(rows):
            lines.append(f"y[{at}] = (s.m{columns}{rows} * vec4<f32>(1.0, 2.0, 3.0, 4.0).{'xyzw'[:columns]})[{r}];")
            at += 1
    kernel = gk.Kernel(f"""
        struct S {{ {"".join(fields)} }}
        @group(0) @binding(0) var<{space}> s: S;
        @group(0) @binding(1) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(1) fn f() {{ {"".join(lines)} }}
    """)
    given = {f"m{columns}{rows}": small(FLOAT32, (columns, rows), columns * rows) for columns, rows in MATRICES}
    want = np.concatenate([np.arange(1, len(m) + 1, dtype=np.float32) @ m for m in given.values()])
    assert_same(kernel(s=given, out={"y": at}, threads=1, device=device), want)
    # Other memory orders are the same arrays.
    fortran = {name: np.asfortranarray(m) for name, m in given.items()}
    assert_same(kernel(s=fortran, out={"y": at}, threads=1, device=device), want)
    lists = {name: m.tolist() for name, m in given.items()}
    assert_same(kernel(s=lists, out={"y": at}, threads=1, device=device), want)


@pytest.mark.parametrize(("columns", "rows"), [(2, 2), (3, 3), (4, 4), (2, 3), (3, 2), (4, 3)])
def test_arrays_of_matrices(any_device, columns, rows):
    kernel = gk.Kernel(f"""
        @group(0) @binding(0) var<uniform> by: mat{columns}x{rows}<f32>;
        @group(0) @binding(1) var<storage, read> x: array<mat{columns}x{rows}<f32>>;
        @group(0) @binding(2) var<storage, read_write> y: array<mat{rows}x{columns}<f32>>;
        @compute @workgroup_size(4) fn f(@builtin(global_invocation_id) id: vec3<u32>) {{
            if (id.x < arrayLength(&x)) {{ y[id.x] = transpose(x[id.x] + by); }}
        }}
    """)
    x, by = small(FLOAT32, (7, columns, rows)), small(FLOAT32, (columns, rows), 1)
    y = kernel(x=x, by=by, out={"y": (7, rows, columns)}, threads=7, device=any_device)
    assert_same(y, (x + by).transpose(0, 2, 1).copy())


# Structs


INNER = [("direction", "f4", 3), ("weight", "f4"), ("flags", "u4", 3)]
PARTICLE = np.dtype(
    [("position", "f4", 3), ("inner", INNER), ("pair", INNER, 2), ("basis", "f4", (2, 3)), ("id", "i4")]
)
STRUCTS = """
    struct Inner { direction: vec3<f32>, weight: f32, flags: array<u32, 3> }
    struct Particle { position: vec3<f32>, inner: Inner, pair: array<Inner, 2>, basis: mat2x3<f32>, id: i32 }
    @group(0) @binding(0) var<storage, read_write> all: array<Particle>;
    @compute @workgroup_size(4) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x >= arrayLength(&all)) { return; }
        let it = &all[id.x];
        (*it).position = (*it).basis * vec2<f32>(1.0, 2.0) + (*it).inner.direction;
        (*it).inner.flags[1] += (*it).pair[1].flags[2];
        (*it).pair[0].weight = (*it).inner.weight * 2.0;
        (*it).pair[1].direction.z = f32((*it).id);
        (*it).id = -(*it).id;
    }
"""


def particles(dtype=PARTICLE, shape=(9,)):
    """Small numbers in every field, the same ones whatever the order of the fields."""
    random = np.random.default_rng(0)
    array = np.zeros(shape, dtype)

    def fill(part):
        if part.dtype.names is None:
            part[...] = random.integers(0, 9, part.shape)
        for name in sorted(part.dtype.names or ()):
            fill(part[name])

    fill(array)
    return array


def moved(array):
    """What the kernel does."""
    want = array.copy()
    basis = array["basis"]
    want["position"] = basis[..., 0, :] + 2 * basis[..., 1, :] + array["inner"]["direction"]
    want["inner"]["flags"][..., 1] += array["pair"]["flags"][..., 1, 2]
    want["pair"]["weight"][..., 0] = 2 * array["inner"]["weight"]
    want["pair"]["direction"][..., 1, 2] = array["id"]
    want["id"] = -array["id"]
    return want


def assert_same_fields(got, want):
    """Structured arrays: padding between fields does not count."""
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    if want.dtype.names is None:
        np.testing.assert_array_equal(got, want)
    for name in want.dtype.names or ():
        assert_same_fields(got[name], want[name])


def reordered(dtype):
    """The fields the other way round, with seven bytes in front of each."""
    if dtype.subdtype:
        base, shape = dtype.subdtype
        return np.dtype((reordered(base), shape))
    if dtype.names is None:
        return dtype
    names = dtype.names[::-1]
    formats = [reordered(dtype[name]) for name in names]
    ends = np.cumsum([7 + part.itemsize for part in formats])
    offsets = [int(end) - part.itemsize for end, part in zip(ends, formats, strict=True)]
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": int(ends[-1]) + 5})


@pytest.mark.parametrize("layout", ["packed", "aligned", "reordered", "as in WGSL"])
def test_arrays_of_structs(device, layout):
    """Fields are found by their names, wherever they are. What comes back has the dtype that was given."""
    kernel = gk.Kernel(STRUCTS)
    dtype = {
        "packed": PARTICLE,
        "aligned": np.dtype(PARTICLE.descr, align=True),
        "reordered": reordered(PARTICLE),
        "as in WGSL": kernel.bindings["all"].dtype,
    }[layout]
    plain = particles()
    array = np.zeros(plain.shape, dtype)
    _assign(array, plain)
    before = array.copy()
    result = kernel(all=array, threads=array.size, device=device)
    assert_same_fields(array, before)
    want = np.zeros(plain.shape, dtype)
    _assign(want, moved(plain))
    assert_same_fields(result, want)


def _assign(target, source):
    """Field by field. The third axis of a vec3 in arrays and matrices may be padded in the target."""
    for name in source.dtype.names:
        if source[name].dtype.names:
            _assign(target[name], source[name])
        else:
            target[name][..., : source[name].shape[-1] if source[name].ndim > source.ndim else None] = source[name]


def test_structs_lie_as_wgsl_says():
    dtype = gk.Kernel(STRUCTS).bindings["all"].dtype
    assert {name: dtype.fields[name][1] for name in dtype.names} == {
        "position": 0,
        "inner": 16,
        "pair": 48,
        "basis": 112,
        "id": 144,
    }
    assert dtype.itemsize == 160
    inner = dtype["inner"]
    assert {name: inner.fields[name][1] for name in inner.names} == {"direction": 0, "weight": 12, "flags": 16}
    assert inner.itemsize == 32


def test_structs_in_place_and_of_other_shapes(any_device):
    kernel = gk.Kernel(STRUCTS)
    array = particles(shape=(2, 3))
    want = moved(array)
    assert_same_fields(kernel(all=array[:, ::-1], threads=6, device=any_device), want[:, ::-1])
    result = kernel(all=array, threads=6, device=any_device, inplace=True)
    assert result is array
    assert_same_fields(array, want)


def test_structs_that_a_call_makes(any_device):
    kernel = gk.Kernel("""
        struct S { a: vec3<f32>, n: u32 }
        @group(0) @binding(0) var<storage, read_write> y: array<S>;
        @compute @workgroup_size(4) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            if (id.x < arrayLength(&y)) { y[id.x].n = id.x; y[id.x].a.y = 1.0; }
        }
    """)
    own = kernel(out={"y": 5}, threads=5, device=any_device)
    assert own.dtype == kernel.bindings["y"].dtype
    assert own["n"].tolist() == [0, 1, 2, 3, 4]
    assert own["a"].tolist() == [[0, 1, 0]] * 5
    dtype = np.dtype([("n", "u4"), ("a", "f4", 3)])
    other = kernel(out={"y": ((5, 1), dtype)}, threads=5, device=any_device)
    assert other.dtype == dtype
    assert other["n"].tolist() == [[0], [1], [2], [3], [4]]


COUNTED = """
    struct S { a: f32, v: vec3<f32>, n: u32 }
    @group(0) @binding(0) var<storage, read_write> s: array<S>;
    @compute @workgroup_size(4) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x < arrayLength(&s)) { s[id.x].a += f32(s[id.x].n) + s[id.x].v.y; }
    }
"""


def counted(dtype=(("n", "u4"), ("a", "f4"), ("v", "f4", 3)), count=3):
    """Numbered structs, and what the kernel makes of them."""
    array = np.zeros(count, list(dtype))
    array["n"], array["v"][:, 1] = np.arange(count), 10
    want = array.copy()
    want["a"] = 10 + np.arange(count)
    return array, want


def test_structs_of_any_byte_order(any_device):
    array, want = counted([("n", ">u4"), ("v", ">f4", 3), ("a", "<f4")])
    assert_same_fields(gk.Kernel(COUNTED)(s=array, threads=3, device=any_device), want)
    assert gk.Kernel(COUNTED)(s=array, threads=3, inplace=True, device=any_device) is array
    assert_same_fields(array, want)


def test_lists_of_structs(any_device):
    """Of dicts, or of structured scalars. Results have the dtype that lies as WGSL says."""
    kernel = gk.Kernel(COUNTED)
    array, want = counted()
    dicts = [{"n": i, "a": 0, "v": [0, 10, 0]} for i in range(3)]
    for given_ in (dicts, list(array), [dicts[0], array[1], dicts[2]]):
        result = kernel(s=given_, threads=3, device=any_device)
        assert result.dtype == kernel.bindings["s"].dtype
        assert all(result[name].tolist() == want[name].tolist() for name in "nav")


def test_one_struct_for_an_array(any_device):
    """As a number is an array of one element."""
    array, want = counted()
    result = gk.Kernel(COUNTED)(s=array[2], threads=1, device=any_device)
    assert result["a"] == want["a"][2]
    assert gk.Kernel(COUNTED)(s=array[2:].reshape(()), threads=1, device=any_device)["a"] == want["a"][2]


def test_no_structs(any_device):
    """Where nothing runs."""
    result = gk.Kernel(COUNTED)(s=counted()[0][:0], threads=0, device=any_device)
    assert result.shape == (0,)


@pytest.mark.parametrize(
    ("dtype", "words"),
    [
        ([("n", "u4"), ("a", "f8"), ("v", "f4", 3)], "'s.a'.*float64.*float32"),
        ([("n", "u4"), ("a", "f4"), ("v", "f4", 2)], "'s.v' has the shape"),
        ([("n", "u4"), ("v", "f4", 3)], "'s' has the fields n, v, not a, v, n"),
        ([("n", "u4"), ("a", "f4"), ("v", "f4", 3), ("w", "u1")], "'s' has the fields n, a, v, w, not a, v, n"),
        ([("n", "u4"), ("a", [("b", "f4")]), ("v", "f4", 3)], "'s.a'"),
    ],
    ids=str,
)
def test_structs_that_do_not_fit(any_device, dtype, words):
    with pytest.raises(gk.KernelError, match=words):
        gk.Kernel(COUNTED)(s=np.zeros(3, dtype), threads=3, device=any_device)


# Types with the dtype and shape of their elements. What stands in uniforms has strides of 16 bytes.
LEAVES = {
    "f32": ("f4", ()),
    "i32": ("i4", ()),
    "u32": ("u4", ()),
    "vec2<u32>": ("u4", (2,)),
    "vec3<f32>": ("f4", (3,)),
    "vec3<i32>": ("i4", (3,)),
    "vec4<f32>": ("f4", (4,)),
    "mat2x2<f32>": ("f4", (2, 2)),
    "mat2x3<f32>": ("f4", (2, 3)),
    "mat3x4<f32>": ("f4", (3, 4)),
    "mat4x3<f32>": ("f4", (4, 3)),
}
WIDE = [name for name in LEAVES if name.startswith(("vec3", "vec4", "mat2x3", "mat3x4"))]
leaves = st.sampled_from(sorted(LEAVES)) | st.tuples(st.sampled_from(sorted(LEAVES)), st.integers(1, 2))
wide_leaves = st.sampled_from(sorted(LEAVES)) | st.tuples(st.sampled_from(WIDE), st.integers(1, 2))
structs = st.lists(leaves | st.lists(leaves, min_size=1, max_size=3), min_size=1, max_size=4)


class Struct:
    """A struct drawn at random: its WGSL, its dtype, and all its numbers as expressions."""

    def __init__(self, fields, name):
        self.name, self.inner, self.lines, self.dtype, self.numbers = name, [], [], [], []
        for i, field in enumerate(fields):
            at = f"m{i}"
            leaf, count = field if isinstance(field, tuple) else (field, 0)
            if isinstance(field, list):
                struct = Struct(field, f"{name}_{i}")
                self.inner += [*struct.inner, struct]
                ty, dtype = struct.name, (at, struct.dtype)
                self.numbers += [f".{at}{number}" for number in struct.numbers]
            else:
                base, shape = LEAVES[leaf]
                shape = (count, *shape) if count else shape
                ty = f"array<{leaf}, {count}>" if count else leaf
                dtype = (at, base, shape)
                self.numbers += [f".{at}" + "".join(f"[{k}]" for k in index) for index in np.ndindex(shape)]
            self.lines.append(f"{at}: {ty},")
            self.dtype.append(dtype)

    def wgsl(self):
        return "".join(f"struct {one.name} {{ {' '.join(one.lines)} }}\n" for one in [*self.inner, self])


def bits(array):
    """All numbers of a structured array as words, a row for each element."""
    parts = [array[name] for name in array.dtype.names]
    rows = [bits(part) if part.dtype.names else part.reshape(array.size, -1).view(np.uint32) for part in parts]
    return np.concatenate(rows, axis=1)


@settings(max_examples=8)
@given(fields=structs, data=st.data())
def test_random_structs(any_device, fields, data):
    """Every number of a struct is where the kernel looks for it, and where the kernel puts it."""
    struct = Struct(fields, "S")
    count = len(struct.numbers)
    reads = "\n".join(f"y[id.x * {count}u + {i}u] = bitcast<u32>(x[id.x]{at});" for i, at in enumerate(struct.numbers))
    kernel = gk.Kernel(f"""
        {struct.wgsl()}
        @group(0) @binding(0) var<storage, read_write> x: array<S>;
        @group(0) @binding(1) var<storage, read_write> y: array<u32>;
        @compute @workgroup_size(4) fn f(@builtin(global_invocation_id) id: vec3<u32>) {{
            if (id.x >= arrayLength(&x)) {{ return; }}
            {reads}
            let last = arrayLength(&x) - 1u;
            if (id.x == 1u) {{ x[id.x] = x[0]; }}
        }}
    """)
    dtype = np.dtype(struct.dtype)
    array = particles(dtype, (5,))
    chosen = data.draw(st.sampled_from([dtype, reordered(dtype), kernel.bindings["x"].dtype]))
    given_ = np.zeros(5, chosen)
    _assign(given_, array)
    result = kernel(x=given_, out={"y": (5, count)}, threads=5, device=any_device)
    assert_same(result.y, bits(array))
    want = given_.copy()
    want[1] = want[0]
    assert_same_fields(result.x, want)


@settings(max_examples=8)
@given(fields=st.lists(wide_leaves, min_size=1, max_size=6), as_dict=st.booleans())
def test_random_uniforms(any_device, fields, as_dict):
    struct = Struct(fields, "S")
    reads = "\n".join(f"y[{i}] = bitcast<u32>(s{at});" for i, at in enumerate(struct.numbers))
    kernel = gk.Kernel(f"""
        {struct.wgsl()}
        @group(0) @binding(0) var<uniform> s: S;
        @group(0) @binding(1) var<storage, read_write> y: array<u32>;
        @compute @workgroup_size(1) fn f() {{ {reads} }}
    """)
    scalar = particles(np.dtype(struct.dtype), ())
    value = {name: scalar[name].tolist() for name in scalar.dtype.names} if as_dict else scalar
    y = kernel(s=value, out={"y": len(struct.numbers)}, threads=1, device=any_device)
    assert_same(y, bits(scalar.reshape(1))[0])


UNIFORM = """
    struct Light { place: vec3<f32>, power: f32 }
    struct S { a: f32, b: vec3<f32>, c: vec2<i32>, lights: array<Light, 2>, table: array<vec4<u32>, 2>, last: u32 }
    @group(0) @binding(0) var<uniform> s: S;
    @group(0) @binding(1) var<storage, read_write> y: array<f32>;
    @compute @workgroup_size(1) fn f() {
        y[0] = s.a;
        y[1] = s.b.z;
        y[2] = f32(s.c.y);
        y[3] = s.lights[1].place.y;
        y[4] = s.lights[1].power;
        y[5] = f32(s.table[1].w);
        y[6] = f32(s.last);
    }
"""
LIGHT = np.dtype([("power", "f4"), ("place", "f4", 3)])
SETTINGS = np.dtype(
    [("last", "u4"), ("lights", LIGHT, 2), ("a", "f4"), ("b", "f4", 3), ("c", "i4", 2), ("table", "u4", (2, 4))]
)


def test_uniforms(device):
    """As dicts of anything that is a number or a sequence, and as structured scalars, whatever their layout."""
    kernel = gk.Kernel(UNIFORM)
    want = np.float32([1.5, 4, -6, 11, 12, 27, 99])
    lights = [{"place": [7, 8, 9], "power": 0}, {"place": (10, 11, 12), "power": np.float64(12)}]
    given_ = {"a": 1.5, "b": [2, 3, 4], "c": (5, -6), "lights": lights, "last": np.int64(99)}
    given_["table"] = np.arange(20, 28).reshape(2, 4)
    assert_same(kernel(s=given_, out={"y": 7}, threads=1, device=device), want)
    scalar = np.zeros((), SETTINGS)
    for name in ("a", "b", "c", "last", "table"):
        scalar[name] = given_[name]
    scalar["lights"]["place"] = [[7, 8, 9], [10, 11, 12]]
    scalar["lights"]["power"] = [0, 12]
    for value in (scalar, scalar[()], given_ | {"lights": scalar["lights"]}):
        assert_same(kernel(s=value, out={"y": 7}, threads=1, device=device), want)


@pytest.mark.parametrize(
    ("ty", "values"),
    [
        ("f32", [2, 2.5, np.float32(2.5), np.float16(2.5), np.array(2.5), np.int8(3), True]),
        ("i32", [-2, np.int64(-2), np.uint8(7), np.array(-7)]),
        ("u32", [2, 2**32 - 1, np.uint64(5)]),
        ("vec3<f32>", [[1, 2, 3], (1.5, 2, 3), np.array([1, 2, 3]), range(3)]),
        ("array<vec4<i32>, 2>", [np.arange(8).reshape(2, 4), [[1, 2, 3, 4]] * 2]),
    ],
)
def test_uniforms_that_are_no_structs(any_device, ty, values):
    kernel = gk.Kernel(f"""
        @group(0) @binding(0) var<uniform> s: {ty};
        @group(0) @binding(1) var<storage, read_write> y: {ty};
        @compute @workgroup_size(1) fn f() {{ y = s; }}
    """)
    for value in values:
        shape = np.shape(value)
        got = kernel(s=value, out={"y": shape}, threads=1, device=any_device)
        assert_same(got, np.asarray(value).astype(kernel.bindings["y"].dtype))


TAIL = """
    struct Item { place: vec3<f32>, n: u32 }
    struct S { count: u32, scale: f32, items: array<Item> }
    @group(0) @binding(0) var<storage, read> s: S;
    @group(0) @binding(1) var<storage, read_write> y: array<f32>;
    @compute @workgroup_size(4) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x < s.count) { y[id.x] = s.scale * s.items[id.x].place.y + f32(s.items[id.x].n); }
        if (id.x == 0u) { y[s.count] = f32(arrayLength(&s.items)); }
    }
"""


def test_an_array_at_the_end_of_a_struct(device):
    """What is given decides how long it is."""
    kernel = gk.Kernel(TAIL)
    for count in (1, 2, 7):
        items = [{"place": [0, i, 0], "n": 100 * i} for i in range(count)]
        given = {"count": count, "scale": 2.0, "items": items}
        want = np.float32([102.0 * i for i in range(count)] + [count])
        assert_same(kernel(s=given, out={"y": count + 1}, threads=count, device=device), want)
        array = np.zeros(count, [("n", "u4"), ("place", "f4", 3)])
        array["n"], array["place"][:, 1] = 100 * np.arange(count), np.arange(count)
        given["items"] = array
        assert_same(kernel(s=given, out={"y": count + 1}, threads=count, device=device), want)
        dtype = np.dtype([("items", array.dtype, count), ("count", "u4"), ("scale", "f4")])
        scalar = np.array((array, count, 2.0), dtype)
        assert_same(kernel(s=scalar, out={"y": count + 1}, threads=count, device=device), want)


def test_an_array_at_the_end_of_a_struct_that_is_written(any_device):
    kernel = gk.Kernel("""
        struct S { count: atomic<u32>, found: array<u32> }
        @group(0) @binding(0) var<storage, read> x: array<f32>;
        @group(0) @binding(1) var<storage, read_write> s: S;
        @compute @workgroup_size(16) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            if (id.x < arrayLength(&x) && x[id.x] < 0.0) { s.found[atomicAdd(&s.count, 1u)] = id.x; }
        }
    """)
    x = sample(FLOAT32, 100)
    result = kernel(x=x, s={"count": 0, "found": np.zeros(100, np.uint32)}, threads=100, device=any_device)
    count = int(result["count"])
    assert sorted(result["found"][:count].tolist()) == np.flatnonzero(x < 0).tolist()
    assert not result["found"][count:].any()
    dtype = np.dtype([("count", "u4"), ("found", "u4", 100)])
    result = kernel(x=x, s=np.zeros((), dtype), threads=100, device=any_device)
    assert result.dtype == dtype
    assert result["count"] == count


def test_a_tail_that_a_call_makes(any_device):
    """The dtype says how long it is."""
    kernel = gk.Kernel("""
        struct S { n: u32, x: array<f32> }
        @group(0) @binding(0) var<storage, read_write> s: S;
        @compute @workgroup_size(1) fn f() { s.n = arrayLength(&s.x); s.x[1] = 3.0; }
    """)
    result = kernel(out={"s": ((), np.dtype([("x", "f4", 5), ("n", "u4")]))}, threads=1, device=any_device)
    assert result["n"] == 5
    assert result["x"].tolist() == [0, 3, 0, 0, 0]


# Atomics, barriers, memory


def test_atomics_in_storage(device):
    kernel = gk.Kernel("""
        struct S { sum: atomic<u32>, low: atomic<i32>, high: atomic<i32>, either: atomic<u32>, odd: atomic<u32> }
        @group(0) @binding(0) var<storage, read> x: array<i32>;
        @group(0) @binding(1) var<storage, read_write> s: S;
        @group(0) @binding(2) var<storage, read_write> product: atomic<u32>;
        @compute @workgroup_size(16) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            if (id.x >= arrayLength(&x)) { return; }
            let value = x[id.x];
            atomicAdd(&s.sum, u32(value));
            atomicMin(&s.low, value);
            atomicMax(&s.high, value);
            atomicOr(&s.either, u32(value));
            atomicXor(&s.odd, u32(value));
            // What hardware has no atomic for is a loop.
            var old = atomicLoad(&product);
            loop {
                let result = atomicCompareExchangeWeak(&product, old, old * (u32(value) | 1u));
                if (result.exchanged) { break; }
                old = result.old_value;
            }
        }
    """)
    x = sample(INT32, 1000)
    s, product = kernel(
        x=x, s={"sum": 0, "low": 0, "high": 0, "either": 0, "odd": 0}, product=1, threads=1000, device=device
    )
    bits = x.view(np.uint32)
    assert s["sum"] == np.sum(bits, dtype=np.uint32)
    assert (s["low"], s["high"]) == (x.min(), x.max())
    assert s["either"] == np.bitwise_or.reduce(bits)
    assert s["odd"] == np.bitwise_xor.reduce(bits)
    assert product == np.multiply.reduce(bits | 1, dtype=np.uint32)


def test_workgroup_memory(device):
    """Sums of workgroups: atomics, a tree behind barriers, and one value for all of them."""
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read> x: array<u32>;
        @group(0) @binding(1) var<storage, read_write> sums: array<vec4<u32>>;
        var<workgroup> sum: atomic<u32>;
        var<workgroup> most: atomic<u32>;
        var<workgroup> tree: array<u32, 16>;
        var<workgroup> all: u32;
        @compute @workgroup_size(16) fn f(
            @builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
            let value = x[group.x * 16u + lane];
            atomicAdd(&sum, value);
            atomicMax(&most, value);
            tree[lane] = value;
            workgroupBarrier();
            for (var step = 8u; step > 0u; step /= 2u) {
                if (lane < step) { tree[lane] += tree[lane + step]; }
                workgroupBarrier();
            }
            if (lane == 3u) { all = tree[0]; }
            let same = workgroupUniformLoad(&all);
            if (lane == 15u) { sums[group.x] = vec4<u32>(atomicLoad(&sum), tree[0], same, atomicLoad(&most)); }
        }
    """)
    x = sample(UINT32, (50, 16))
    sums = kernel(x=x, out={"sums": (50, 4)}, workgroups=50, device=device)
    want = x.sum(1, dtype=np.uint32)
    assert_same(sums, np.stack([want, want, want, x.max(1)], axis=1))


def test_workgroup_memory_is_zero_at_first(device):
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read_write> y: array<u32>;
        var<workgroup> memory: array<u32, 1000>;
        @compute @workgroup_size(16) fn f(
            @builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
            var seen = 0u;
            for (var i = lane; i < 1000u; i += 16u) { seen |= memory[i]; memory[i] = 7u + i; }
            y[group.x * 16u + lane] = seen;
        }
    """)
    for _ in range(2):
        assert not kernel(out={"y": 1600}, workgroups=100, device=device).any()


def test_barriers_order_storage(device):
    """An invocation sees what others of its workgroup stored before the barrier."""
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read_write> y: array<u32>;
        @compute @workgroup_size(16) fn f(
            @builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
            let first = group.x * 16u;
            for (var turn = 0u; turn < 15u; turn++) {
                let next = y[first + (lane + 1u) % 16u];
                storageBarrier();
                y[first + lane] = next;
                storageBarrier();
            }
        }
    """)
    y = sample(UINT32, (20, 16))
    assert_same(kernel(y=y, workgroups=20, device=device), np.roll(y, 1, axis=1))


# Control flow and functions


def test_control_flow(device):
    """Collatz sequences by a loop with `continuing`, digits by `switch`, factors by nested loops."""
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read> x: array<u32>;
        @group(0) @binding(1) var<storage, read_write> y: array<vec3<u32>>;
        fn collatz(start: u32) -> u32 {
            var n = start;
            var steps = 0u;
            loop {
                if (n <= 1u) { break; }
                if (n % 2u == 0u) { n /= 2u; continue; }
                n = 3u * n + 1u;
                continuing { steps += 1u; break if steps >= 1000u; }
            }
            return steps;
        }
        fn kind(n: u32) -> u32 {
            switch n % 10u {
                case 0u, 5u: { return 1u; }
                case 1u: { var some = 0u; while (some < n) { if (some > 20u) { break; } some++; } return some; }
                default: {}
                case 7u: { return 3u; }
            }
            return 9u;
        }
        fn factors(n: u32) -> u32 {
            var count = 0u;
            for (var a = 1u; a <= n; a++) {
                for (var b = 1u; ; b++) {
                    if (a * b > n) { break; }
                    if (a * b != n) { continue; }
                    count++;
                }
            }
            return count;
        }
        @compute @workgroup_size(16) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            if (id.x < arrayLength(&x)) { let n = x[id.x]; y[id.x] = vec3<u32>(collatz(n), kind(n), factors(n)); }
        }
    """)

    def collatz(n):
        return 0 if n <= 1 else 1 + collatz(n // 2 if n % 2 == 0 else 3 * n + 1)

    kinds = {0: 1, 5: 1, 7: 3}
    numbers = range(1, 60)
    want = [
        (collatz(n), min(n, 21) if n % 10 == 1 else kinds.get(n % 10, 9), sum(n % a == 0 for a in range(1, n + 1)))
        for n in numbers
    ]
    x = np.array(numbers, np.uint32)
    assert_same(kernel(x=x, out={"y": (x.size, 3)}, threads=x.size, device=device), np.array(want, np.uint32))


def test_pointers_and_private_variables(device):
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read> x: array<i32>;
        @group(0) @binding(1) var<storage, read_write> y: array<i32>;
        var<private> calls: i32 = 100;
        var<private> sorted: array<i32, 4>;
        const ORDER = array<u32, 3>(3, 2, 1);
        fn swap(a: ptr<function, i32>, b: ptr<function, i32>) { let t = *a; *a = *b; *b = t; calls += 1; }
        fn push(to: ptr<private, array<i32, 4>>, i: u32, value: i32) { (*to)[i] = value; }
        @compute @workgroup_size(16) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            let first = id.x * 4u;
            if (first + 3u >= arrayLength(&x)) { return; }
            for (var i = 0u; i < 4u; i++) { push(&sorted, i, x[first + i]); }
            for (var round = 0u; round < 3u; round++) {
                for (var i = 0u; i < ORDER[round]; i++) {
                    var a = sorted[i];
                    var b = sorted[i + 1u];
                    if (a > b) { swap(&a, &b); }
                    sorted[i] = a;
                    sorted[i + 1u] = b;
                }
            }
            for (var i = 0u; i < 4u; i++) { y[first + i] = sorted[i]; }
            y[arrayLength(&x) + id.x] = calls;
        }
    """)
    x = sample(INT32, (30, 4))
    y = kernel(x=x, out={"y": 150}, threads=30, device=device)
    assert_same(y[:120].reshape(30, 4), np.sort(x))
    swaps = [sum(row[i] > row[j] for i in range(4) for j in range(i, 4)) for row in x]
    assert y[120:].tolist() == [100 + count for count in swaps]


def test_builtin_ids(device):
    """As arguments and as members of a struct, in three dimensions."""
    kernel = gk.Kernel("""
        struct Ids {
            @builtin(local_invocation_id) local: vec3<u32>,
            @builtin(local_invocation_index) index: u32,
            @builtin(num_workgroups) groups: vec3<u32>,
        }
        @group(0) @binding(0) var<storage, read_write> y: array<array<vec3<u32>, 4>>;
        @group(0) @binding(1) var<storage, read_write> z: array<u32>;
        @compute @workgroup_size(4, 2, 2) fn f(
            ids: Ids, @builtin(global_invocation_id) id: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
            let at = id.x + 4u * ids.groups.x * (id.y + 2u * ids.groups.y * id.z);
            y[at] = array<vec3<u32>, 4>(id, ids.local, group, ids.groups);
            z[at] = ids.index;
        }
    """)
    z, y, x = np.indices((4, 6, 8)).reshape(3, -1).astype(np.uint32)
    groups = np.broadcast_to(np.uint32([2, 3, 2]), (x.size, 3))
    want = [[x, y, z], [x % 4, y % 2, z % 2], [x // 4, y // 2, z // 2], groups.T]
    got = kernel(out={"y": (x.size, 4, 3), "z": x.size}, workgroups=(2, 3, 2), device=device)
    assert_same(got.y, np.array(want).transpose(2, 0, 1).copy())
    assert_same(got.z, x % 4 + 4 * (y % 2) + 8 * (z % 2))


# Arithmetic, where WGSL says more than NumPy, or other things


LOW, HIGH = -(2**31), 2**31 - 1
OF_INTEGERS = {
    "i + j": lambda i, j: i + j,
    "i * j": lambda i, j: i * j,
    "i / j": lambda i, j: quotient(i, j),
    "i % j": lambda i, j: i - quotient(i, j) * j if j else 0,
    "-i": lambda i, j: -i,
    "abs(i)": lambda i, j: abs(i),
    "i << (u32(j) & 31u)": lambda i, j: i << (j & 31),
    "i >> (u32(j) & 31u)": lambda i, j: i >> (j & 31),
    "bitcast<i32>(u32(i) >> (u32(j) & 31u))": lambda i, j: (i & 0xFFFFFFFF) >> (j & 31),
    "i & j | i ^ ~j": lambda i, j: (i & j) | (i ^ ~j),
    "min(i, j) - max(i, j)": lambda i, j: min(i, j) - max(i, j),
    "clamp(i, -5, 5) + sign(j)": lambda i, j: min(max(i, -5), 5) + (j > 0) - (j < 0),
    "i32(countOneBits(i))": lambda i, j: (i & 0xFFFFFFFF).bit_count(),
    "i32(firstLeadingBit(u32(i)))": lambda i, j: (i & 0xFFFFFFFF).bit_length() - 1,
    "i32(countTrailingZeros(u32(i)))": lambda i, j: ((i & -i) & 0xFFFFFFFF).bit_length() - 1 if i else 32,
    "bitcast<i32>(reverseBits(u32(i)))": lambda i, j: int(f"{i & 0xFFFFFFFF:032b}"[::-1], 2),
    "extractBits(i, 3u, 7u)": lambda i, j: (((i >> 3) & 127) ^ 64) - 64,
    "insertBits(i, j, 8u, 4u)": lambda i, j: i & ~0xF00 | (j & 15) << 8,
    "select(i, j, i < j && j != 0 || i == j)": lambda i, j: j if (i < j and j != 0) or i == j else i,
    "dot(vec3(i, j, 1), vec3(j, 2, i))": lambda i, j: i * j + 2 * j + i,
    "bitcast<i32>(u32(i) / 7u + u32(j) % 10u)": lambda i, j: (i & 0xFFFFFFFF) // 7 + (j & 0xFFFFFFFF) % 10,
}
OF_FLOATS = {
    "floor(x) + ceil(y)": lambda x, y: np.floor(x) + np.ceil(y),
    "round(x)": lambda x, y: np.round(x),
    "trunc(x) - fract(y)": lambda x, y: np.trunc(x) - (y - np.floor(y)),
    "sign(x) * abs(y)": lambda x, y: np.sign(x) * abs(y),
    "min(x, y) + 2.0 * max(x, y)": lambda x, y: min(x, y) + 2 * max(x, y),
    "clamp(x, -1.0, 1.0)": lambda x, y: np.clip(x, -1, 1),
    "sqrt(abs(x)) * step(0.0, y)": lambda x, y: np.sqrt(abs(x)) * (y >= 0),
    "mix(x, y, 0.25)": lambda x, y: 0.75 * x + 0.25 * y,
    "fma(x, y, 1.0)": lambda x, y: x * y + 1,
    "x % select(y, 1.0, y == 0.0)": lambda x, y: np.fmod(x, y or 1),
    "length(vec3(x, y, 1.0))": lambda x, y: np.sqrt(x * x + y * y + 1),
    "dot(vec2(x, y), vec2(y, x))": lambda x, y: 2 * x * y,
    "cross(vec3(x, y, 1.0), vec3(1.0, x, y)).z": lambda x, y: x * x - y,
    "distance(vec2(x, y), vec2(0.0))": lambda x, y: np.hypot(x, y),
    "f32(i32(x)) + f32(u32(abs(y)))": lambda x, y: np.trunc(x) + np.trunc(abs(y)),
    "f32(u32(y))": lambda x, y: max(np.trunc(y), 0),
    "f32(i32(x * 1e20))": lambda x, y: np.clip(x * 1e20, LOW, HIGH),
    "ldexp(x, 3) / 2.0": lambda x, y: 4 * x,
    "select(x, y, x > y)": lambda x, y: min(x, y),
    "exp2(floor(x)) + pow(2.0, round(y))": lambda x, y: 2 ** np.floor(x) + 2 ** np.round(y),
    "sin(x) + cos(y)": lambda x, y: np.sin(x) + np.cos(y),
    "exp(x) - tanh(y)": lambda x, y: np.exp(x) - np.tanh(y),
    "log(abs(x) + 1.0) + atan2(y, 2.0)": lambda x, y: np.log(abs(x) + 1) + np.arctan2(y, 2),
    "saturate(x) + smoothstep(-2.0, 2.0, y)": lambda x, y: np.clip(x, 0, 1) + smooth(np.clip((y + 2) / 4, 0, 1)),
    "determinant(mat2x2(x, y, 1.0, 2.0))": lambda x, y: 2 * x - y,
    "vec4(x, y, 1.0, 0.0).zyx.y + vec2(x).y": lambda x, y: x + y,
}


def quotient(i, j):
    """Towards zero, and the dividend where there is no quotient."""
    return i if j == 0 else abs(i) // abs(j) * (1 if (i < 0) == (j < 0) else -1)


def smooth(t):
    return t * t * (3 - 2 * t)


@pytest.mark.parametrize("trusted", [False, True], ids=["checked", "trusted"])
def test_integers(device, trusted):
    """They wrap around. Dividing by zero is defined, but where checks are left out, and so is % of negative ones."""
    left_out = ["i % j"] if trusted and device.backend == "gl" else []
    table = {text: OF_INTEGERS[text] for text in OF_INTEGERS if text not in left_out}
    lines = "\n".join(f"y[at + {k}u] = {text};" for k, text in enumerate(table))
    kernel = gk.Kernel(
        f"""
        @group(0) @binding(0) var<storage, read> a: array<vec2<i32>>;
        @group(0) @binding(1) var<storage, read_write> y: array<i32>;
        @compute @workgroup_size(16) fn f(@builtin(global_invocation_id) id: vec3<u32>) {{
            if (id.x >= arrayLength(&a)) {{ return; }}
            let at = id.x * {len(table)}u;
            let i = a[id.x].x;
            let j = a[id.x].y;
            {lines}
        }}
        """,
        trusted=trusted,
    )
    numbers = [LOW, LOW + 1, -100, -7, -1, 0, 1, 2, 3, 31, 32, 12345, HIGH - 1, HIGH]
    pairs = [(i, j) for i in numbers for j in numbers if j or not trusted]
    want = [[(function(i, j) + 2**31) % 2**32 - 2**31 for function in table.values()] for i, j in pairs]
    y = kernel(a=np.array(pairs, np.int32), out={"y": np.shape(want)}, threads=len(pairs), device=device)
    for column, text in enumerate(table):
        np.testing.assert_array_equal(y[:, column], np.array(want)[:, column], text)


def test_floats(device):
    """To what WGSL asks of an implementation, which is not much for sin, and nothing far from zero."""
    lines = "\n".join(f"z[at + {k}u] = {text};" for k, text in enumerate(OF_FLOATS))
    kernel = gk.Kernel(f"""
        @group(0) @binding(0) var<storage, read> a: array<vec2<f32>>;
        @group(0) @binding(1) var<storage, read_write> z: array<f32>;
        @compute @workgroup_size(16) fn f(@builtin(global_invocation_id) id: vec3<u32>) {{
            if (id.x >= arrayLength(&a)) {{ return; }}
            let at = id.x * {len(OF_FLOATS)}u;
            let x = a[id.x].x;
            let y = a[id.x].y;
            {lines}
        }}
    """)
    numbers = [-3.0, -2.5, -1.5, -0.75, -0.5, 0.0, 0.25, 0.5, 1.0, 1.5, 2.25, 2.5, 3.0]
    pairs = [(x, y) for x in numbers for y in numbers]
    want = [[function(x, y) for function in OF_FLOATS.values()] for x, y in pairs]
    z = kernel(a=np.array(pairs, np.float32), out={"z": np.shape(want)}, threads=len(pairs), device=device)
    for column, text in enumerate(OF_FLOATS):
        np.testing.assert_allclose(z[:, column], np.array(want)[:, column], 1e-5, 1e-3, err_msg=text)


# Short floats


def test_packed_halves(device):
    """float16 and bfloat16 arrays are words that hold two numbers each. An odd one is alone in its word."""
    kernel = gk.Kernel("""
        struct P { n: u32 }
        @group(0) @binding(0) var<storage, read> x: array<u32>;
        @group(0) @binding(1) var<storage, read> b: array<u32>;
        @group(0) @binding(2) var<storage, read_write> y: array<f32>;
        @group(0) @binding(3) var<storage, read_write> h: array<u32>;
        @group(0) @binding(4) var<uniform> p: P;
        @compute @workgroup_size(16) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            if (id.x >= p.n) { return; }
            let word = b[id.x / 2u];
            let upper = bitcast<f32>(select(word << 16u, word & 0xffff0000u, id.x % 2u == 1u));
            y[id.x] = unpack2x16float(x[id.x / 2u])[id.x % 2u] + upper;
            if (id.x % 2u == 0u) { h[id.x / 2u] = pack2x16float(2.0 * unpack2x16float(x[id.x / 2u])); }
        }
    """)
    for n in (1, 8, 33):
        x, b = small(FLOAT16, n), small(np.dtype(ml_dtypes.bfloat16), n, 1)
        new = {"y": n, "h": (n, "float16")}
        y, h = kernel(x=x, b=b, p={"n": n}, out=new, threads=n, device=device)
        assert_same(y, x.astype(np.float32) + b.astype(np.float32))
        assert_same(h, 2 * x)


HALF = """
    enable f16;
    struct P { scale: f16, offset: vec3<f16> }
    @group(0) @binding(0) var<storage, read> x: array<f16>;
    @group(0) @binding(1) var<storage, read_write> y: array<f16>;
    @group(0) @binding(2) var<storage, read_write> wide: array<vec3<f32>>;
    @group(0) @binding(3) var<storage, read> p: P;
    @compute @workgroup_size(16) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x >= arrayLength(&y)) { return; }
        let i = min(id.x, 6u);
        y[id.x] = x[i] * p.scale + p.offset.y;
        if (id.x < arrayLength(&wide)) { wide[id.x] = vec3<f32>(vec3<f16>(x[i]) + p.offset); }
    }
"""


def test_half_precision(device):
    """Where a device has it. Where not, the error says what to do."""
    kernel = gk.Kernel(HALF)
    x, p = small(FLOAT16, 8), {"scale": 1.5, "offset": [1, -2, 0.5]}

    def run():
        return kernel(x=x, p=p, out={"y": 7, "wide": (3, 3)}, threads=7, device=device)

    if "f16" not in device.features:
        with pytest.raises(gk.KernelError, match=r"(?s)device has no f16.*hint: "):
            run()
        return
    y, wide = run()
    assert_same(y, x[:7] * np.float16(1.5) - np.float16(2))
    assert_same(wide, x[:3, None].astype(np.float32) + np.float32([1, -2, 0.5]))


# Subgroups


SUBGROUPS = """
    @group(0) @binding(0) var<storage, read> x: array<u32>;
    @group(0) @binding(1) var<storage, read_write> sums: array<u32>;
    @group(0) @binding(2) var<storage, read_write> sizes: array<u32>;
    @compute @workgroup_size(16) fn f(
        @builtin(workgroup_id) group: vec3<u32>,
        @builtin(local_invocation_index) lane: u32,
        @builtin(subgroup_size) size: u32,
        @builtin(subgroup_invocation_id) within: u32,
    ) {
        let value = x[group.x * 16u + lane];
        let sum = subgroupAdd(value);
        let most = subgroupMax(value);
        let before = subgroupExclusiveAdd(value);
        let first = subgroupBroadcastFirst(value);
        let next = subgroupShuffleXor(value, 1u);
        if (within == 0u) { sums[group.x * 16u + lane] = sum; }
        let at = group.x * 16u + lane;
        sizes[at] = size;
        let holds = most >= value && (within > 0u || (before == 0u && first == value)) && next == x[at ^ 1u];
        if (!holds) { sizes[at] = 0u; }
    }
"""


def test_subgroups(device):
    kernel = gk.Kernel(SUBGROUPS)
    x = small(UINT32, (10, 16))

    def run():
        return kernel(x=x, out={"sums": x.shape, "sizes": x.shape}, workgroups=10, device=device)

    if "subgroups" not in device.features:
        with pytest.raises(gk.KernelError, match=r"(?s)subgroup.*hint: "):
            run()
        return
    sums, sizes = run()
    assert_same(sums.sum(1, dtype=np.uint32), x.sum(1, dtype=np.uint32))
    assert sizes.min() >= device.limits["subgroup_min"]
    assert sizes.max() <= device.limits["subgroup_max"]


# Entry points, constants, types, names


ENTRIES = """
    @group(0) @binding(0) var<storage, read> x: array<f32>;
    @group(0) @binding(1) var<storage, read_write> y: array<f32>;
    @group(0) @binding(2) var<storage, read_write> z: array<f32>;
    @compute @workgroup_size(4) fn double(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x < arrayLength(&y)) { y[id.x] = 2.0 * x[id.x]; }
    }
    @compute @workgroup_size(8, 2) fn negate(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.y == 0u && id.x < arrayLength(&z)) { z[id.x] = -x[id.x]; }
    }
"""


def test_several_entry_points(device):
    """A kernel has the variables of its own entry point. The others may be given, and do nothing."""
    double, negate = (gk.Kernel(ENTRIES, entry_point=name) for name in ("double", "negate"))
    assert double.entry_points == negate.entry_points == ("double", "negate")
    assert (double.entry_point, negate.entry_point) == ("double", "negate")
    assert (list(double.bindings), list(negate.bindings)) == (["x", "y"], ["x", "z"])
    assert (double.workgroup_size, negate.workgroup_size) == ((4, 1, 1), (8, 2, 1))
    x = sample(FLOAT32, 21)
    assert_same(double(x=x, out={"y": 21}, threads=21, device=device), 2 * x)
    assert_same(double(x=x, z=x, out={"y": 21}, threads=21, device=device), 2 * x)
    assert_same(negate(x=x, out={"z": 21, "y": 3}, threads=21, device=device), -x)


CONSTANTS = """
    override FLAG: bool = true;
    override SIGNED: i32 = -3;
    @id(7) override SCALE: f32 = 0.5;
    override LANES: u32;
    override TWICE: u32 = 2u * LANES;
    const BASE = 10u;
    @group(0) @binding(0) var<storage, read_write> y: array<f32>;
    var<workgroup> memory: array<f32, TWICE + 1>;
    @compute @workgroup_size(LANES, 1, 1) fn f(@builtin(local_invocation_index) lane: u32) {
        memory[TWICE] = SCALE;
        memory[lane + LANES] = f32(lane);
        workgroupBarrier();
        y[lane] = memory[LANES + (lane + 1u) % LANES] * memory[TWICE];
        if (lane == 0u) {
            y[LANES] = f32(SIGNED);
            y[LANES + 1u] = select(0.0, 1.0, FLAG);
            y[LANES + 2u] = f32(TWICE + BASE);
        }
    }
"""


def constants_give(lanes, *, scale=0.5, signed=-3, flag=True, twice=None):
    """What that kernel writes."""
    first = [scale * ((lane + 1) % lanes) for lane in range(lanes)]
    return np.float32([*first, signed, flag, (twice or 2 * lanes) + 10])


def test_constants(device):
    """When the kernel is made, by specialize, and in a call: the latest is what holds."""
    kernel = gk.Kernel(CONSTANTS)
    assert kernel.workgroup_size is None
    assert kernel.workgroup_memory is None

    def run(kernel, **more):
        return kernel(out={"y": 30}, workgroups=1, device=device, **more)

    assert_same(run(kernel, LANES=4)[:7], constants_give(4))
    of_numpy = {"LANES": np.uint8(5), "SCALE": np.float32(2), "FLAG": np.False_}
    assert_same(run(kernel, **of_numpy)[:8], constants_give(5, scale=2, flag=False))
    made = gk.Kernel(CONSTANTS, constants={"LANES": 16, "SIGNED": 7})
    assert made.constants == {"FLAG": True, "SIGNED": 7, "SCALE": 0.5, "LANES": 16, "TWICE": 32}
    assert made.workgroup_size == (16, 1, 1)
    assert made.workgroup_memory >= 4 * 33
    assert_same(run(made)[:19], constants_give(16, signed=7))
    other = made.specialize(LANES=3, TWICE=9)
    assert other.constants["SIGNED"] == 7
    assert_same(run(other)[:6], constants_give(3, signed=7, twice=9))
    assert_same(run(other, SIGNED=0, SCALE=1)[:6], constants_give(3, signed=0, twice=9, scale=1))
    assert_same(run(made)[:19], constants_give(16, signed=7))
    with pytest.raises(gk.KernelError, match="'LANES' has no default"):
        run(kernel)


def test_constants_show_their_defaults():
    """Where one has none, and what depends on it is not known."""
    kernel = gk.Kernel(CONSTANTS)
    assert kernel.constants == {"FLAG": True, "SIGNED": -3, "SCALE": 0.5, "LANES": None, "TWICE": None}
    assert kernel.specialize(LANES=4).constants["TWICE"] == 8


def test_half_precision_constants(any_device):
    if "f16" not in any_device.features:
        pytest.skip(f"{any_device.id} has no f16")
    kernel = gk.Kernel("""
        enable f16;
        override SCALE: f16 = 0.25;
        @group(0) @binding(0) var<storage, read_write> y: f32;
        @compute @workgroup_size(1) fn f() { y = f32(SCALE); }
    """)
    assert kernel.constants == {"SCALE": 0.25}
    for constants, want in (({}, 0.25), ({"SCALE": 0.1}, np.float16(0.1))):
        assert kernel(out={"y": ()}, threads=1, device=any_device, **constants) == want


@pytest.mark.parametrize(
    ("ty", "dtype"),
    [("float32", FLOAT32), ("i32", INT32), (np.uint32, UINT32), (np.dtype("int32"), INT32), ("float16", FLOAT16)],
    ids=str,
)
def test_types_by_alias(any_device, ty, dtype):
    """A type in place of an alias, given as a dtype or by its name in WGSL."""
    if dtype == FLOAT16 and "f16" not in any_device.features:
        pytest.skip(f"{any_device.id} has no f16")
    kernel = gk.Kernel(
        """
        alias T = f32; // alias T = u32;
        alias Pair = vec2<T>;
        @group(0) @binding(0) var<storage, read> x: array<Pair>;
        @group(0) @binding(1) var<storage, read_write> y: array<Pair>;
        @compute @workgroup_size(16) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            if (id.x < arrayLength(&x)) { y[id.x] = x[id.x].yx * T(2) + Pair(1); }
        }
        """,
        constants={"T": ty},
    )
    x = small(dtype, (20, 2))
    assert_same(
        kernel(x=x, out={"y": (20, 2)}, threads=20, device=any_device), x[:, ::-1] * dtype.type(2) + dtype.type(1)
    )


def test_immediates(device):
    """They are given as uniforms are, and need nothing that a device may lack."""
    kernel = gk.Kernel("""
        struct P { scale: f32, offset: vec3<f32>, rows: array<u32, 3> }
        var<immediate> p: P;
        @group(0) @binding(0) var<storage, read_write> y: array<f32>;
        fn row(i: u32) -> f32 { return f32(p.rows[i]); }
        @compute @workgroup_size(1) fn f() {
            y[0] = p.scale;
            y[1] = p.offset.z;
            y[2] = row(2u);
        }
    """)
    assert kernel.bindings["p"].access == "immediate"
    got = kernel(p={"scale": 2, "offset": [1, 2, 3], "rows": [4, 5, 6]}, out={"y": 3}, threads=1, device=device)
    assert_same(got, np.float32([2, 3, 6]))


def test_any_group_and_number(device):
    """They only have to differ."""
    kernel = gk.Kernel("""
        @group(7) @binding(1000) var<storage, read_write> y: array<f32>;
        @group(3) @binding(65000) var<uniform> a: f32;
        @group(0) @binding(5) var<storage, read> x: array<f32>;
        @compute @workgroup_size(4) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            if (id.x < arrayLength(&y)) { y[id.x] = a * x[id.x]; }
        }
    """)
    assert [(b.group, b.binding) for b in kernel.bindings.values()] == [(7, 1000), (3, 65000), (0, 5)]
    x = sample(FLOAT32, 9)
    assert_same(kernel(a=3, x=x, out={"y": 9}, threads=9, device=device), 3 * x)


def test_unused_variables_need_not_be_given(any_device):
    """And may be given, so that a call need not know what an entry point uses."""
    kernel = gk.Kernel("""
        struct S { a: f32 }
        @group(0) @binding(0) var<storage, read> x: array<f32>;
        @group(0) @binding(1) var<uniform> s: S;
        @group(0) @binding(2) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(1) fn f() { y[0] = 5.0; }
    """)
    assert list(kernel.bindings) == ["y"]
    assert kernel(out={"y": 1}, threads=1, device=any_device).tolist() == [5]
    assert kernel(x=np.ones(3), s={"a": 1}, out={"y": 1}, threads=1, device=any_device).tolist() == [5]


def test_names_that_a_call_has_itself(any_device):
    """`bindings=` takes variables of any name. A result whose name Python has itself is called by its number."""
    kernel = gk.Kernel("""
        @group(0) @binding(0) var<storage, read> threads: array<f32>;
        @group(0) @binding(1) var<storage, read> device: array<f32>;
        @group(0) @binding(2) var<storage, read_write> bindings: array<f32>;
        @group(0) @binding(3) var<storage, read_write> lambda: array<f32>;
        @compute @workgroup_size(1) fn f() { bindings[0] = threads[0]; lambda[0] = device[0]; }
    """)
    given = {"threads": np.float32([3]), "device": np.float32([4]), "bindings": np.zeros(1, np.float32)}
    result = kernel(bindings=given, out={"lambda": 1}, threads=1, device=any_device)
    assert result._fields == ("bindings", "_1")
    assert result.bindings.tolist() == [3]
    assert result[1].tolist() == [4]


# Modules of the library


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16", "int32", "uint32", "int8", "uint8", "bool"])
def test_imported_dtypes(any_device, name):
    """Every module unpacks and packs numbers as NumPy has them."""
    dtype = np.dtype(getattr(ml_dtypes, name) if name == "bfloat16" else name)
    kernel = gk.Kernel(f"""
        //! import dtype/{name} as one
        struct P {{ n: u32 }}
        @group(0) @binding(0) var<storage, read> x: array<u32>;
        @group(0) @binding(1) var<storage, read_write> y: array<f32>;
        @group(0) @binding(2) var<storage, read_write> words: array<one_Quad>;
        @group(0) @binding(3) var<storage, read> quads: array<one_Quad>;
        @group(0) @binding(4) var<uniform> p: P;
        @compute @workgroup_size(16) fn f(@builtin(global_invocation_id) id: vec3<u32>) {{
            let i = id.x;
            if (i < p.n) {{ y[i] = f32(one_element(x[i / one_PER_WORD], i)); }}
            if (i < arrayLength(&quads)) {{ words[i] = one_pack(one_unpack(quads[i])); }}
        }}
    """)
    x = small(dtype, 24)
    words = x.view(np.uint32)
    y, packed = kernel(
        x=words, quads=words, p={"n": 24}, out={"y": 24, "words": words.shape}, threads=24, device=any_device
    )
    assert_same(y, x.astype(np.float32))
    assert_same(packed, words)
    assert f"dtype/{name}" in gk.shader_library


def test_the_same_module_twice(device):
    """Under two names, and `index` as it is."""
    kernel = gk.Kernel("""
        //! import dtype/float16 as half
        //! import dtype/bfloat16 as brain
        //! import index
        struct P { n: u32, shape: vec4<u32>, strides: vec4<u32> }
        @group(0) @binding(0) var<storage, read> x: array<u32>;
        @group(0) @binding(1) var<storage, read> b: array<u32>;
        @group(0) @binding(2) var<storage, read_write> y: array<f32>;
        @group(0) @binding(3) var<uniform> p: P;
        @compute @workgroup_size(16) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            if (id.x >= p.n) { return; }
            let from_ = place(coordinates(id.x, p.shape), p.strides);
            y[id.x] = half_element(x[from_ / 2u], from_) - brain_element(b[from_ / 2u], from_);
        }
    """)
    x, b = sample(FLOAT16, (4, 5)), small(np.dtype(ml_dtypes.bfloat16), (4, 5))
    given = {"n": 20, "shape": [1, 1, 5, 4], "strides": [0, 0, 1, 5]}
    y = kernel(x=x, b=b, p=given, out={"y": (5, 4)}, threads=20, device=device)
    assert_same(y, (x.astype(np.float32) - b.astype(np.float32)).T.copy())


@pytest.mark.parametrize("lanes", ["shared", "subgroups"])
@pytest.mark.parametrize("size", [1, 8, 16])
def test_imported_reductions(device, lanes, size):
    if lanes == "subgroups" and "subgroups" not in device.features:
        pytest.skip(f"{device.id} has no subgroups")
    kernel = gk.Kernel(f"""
        override WORKGROUP: u32 = 16;
        alias Accumulator = vec2<i32>;
        fn identity() -> Accumulator {{ return vec2<i32>(0, -2147483647); }}
        fn combine(a: Accumulator, b: Accumulator) -> Accumulator {{ return vec2<i32>(a.x + b.x, max(a.y, b.y)); }}
        //! import reduce/one_row
        //! import reduce/{lanes}
        @group(0) @binding(0) var<storage, read> x: array<i32>;
        @group(0) @binding(1) var<storage, read_write> y: array<vec2<i32>>;
        @compute @workgroup_size(WORKGROUP) fn f(@builtin(workgroup_id) group: vec3<u32>, lanes: Lanes) {{
            let mine = x[group.x * WORKGROUP + lane_index(lanes)];
            let all = reduced(vec2<i32>(mine, mine), lanes);
            if (lane_index(lanes) == 0u) {{ y[group.x] = all; }}
        }}
    """)
    x = sample(INT32, (5, size))
    y = kernel(x=x, out={"y": (5, 2)}, workgroups=5, WORKGROUP=size, device=device)
    assert_same(y, np.stack([x.sum(axis=1, dtype=np.int32), x.max(axis=1)], axis=1))


def test_an_imported_scan(device):
    kernel = gk.Kernel("""
        override WORKGROUP: u32 = 16;
        alias Element = u32;
        //! import scan/workgroup
        @group(0) @binding(0) var<storage, read_write> x: array<u32>;
        @compute @workgroup_size(WORKGROUP) fn f(@builtin(local_invocation_index) lane: u32) {
            let scan = scan_lanes(x[lane], lane);
            x[lane] = scan.before + 1000000u * scan.total;
        }
    """)
    x = np.arange(3, 19, dtype=np.uint32)
    want = np.cumsum(x, dtype=np.uint32) - x + 1_000_000 * x.sum(dtype=np.uint32)
    assert_same(kernel(x=x, workgroups=1, device=device), want)


def test_the_library_is_text_for_reading():
    assert "fn coordinates" in gk.shader_library["index"]
    assert "fn scan_lanes" in gk.shader_library["scan/workgroup"]
    with pytest.raises(TypeError):
        gk.shader_library["index"] = ""


# Trusted kernels


def test_trusted_kernels_compute_the_same(device):
    source = """
        override LANES: u32 = 16;
        @group(0) @binding(0) var<storage, read> x: array<f32>;
        @group(0) @binding(1) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(LANES) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            if (id.x < arrayLength(&y)) { y[id.x] = x[id.x] * x[id.x]; }
        }
    """
    trusted = gk.Kernel(source, trusted=True)
    assert trusted.trusted
    assert trusted.specialize(LANES=8).trusted
    assert not gk.Kernel(source).trusted
    assert "no bounds checks" in repr(trusted)
    x = sample(FLOAT32, 100)
    assert_same(trusted(x=x, out={"y": 100}, threads=100, device=device), x * x)
    assert_same(trusted(x=x, out={"y": 100}, threads=100, device=device, LANES=4), x * x)
