//! Variables, pointers, and how types lie in memory.

use super::*;
use crate::cpu::wgsl::ir::{Format, Kind, Memory};

#[test]
fn buffers_are_laid_out_as_wgsl_says() {
    let source = "
        struct Inner { a: vec3f, b: f32, c: mat3x3f }
        struct Outer { n: u32, m: mat2x2f, inner: array<Inner, 2>, d: mat4x3f, tail: array<vec2f> }
        @group(0) @binding(0) var<storage, read_write> data: Outer;
        @group(0) @binding(1) var<storage, read_write> result: array<f32>;
        @compute @workgroup_size(1) fn main() {
            let i = data.n;
            let whole = data.inner[i];
            result[0] = whole.a.z; result[1] = whole.b; result[2] = whole.c[2].y;
            result[3] = data.m[i].x; result[4] = data.m[i][i];
            result[5] = data.d[3][i]; result[6] = data.tail[i].y;
            result[7] = f32(arrayLength(&data.tail));
            data.inner[0] = whole;
            data.tail[2] = vec2f(1, 2);
            data.d[i] = vec3f(3, 4, 5);
        }";
    // n at 0, m at 8, inner at 32 with 64 bytes each and c at 16, d at 160, tail at 224.
    let words_of = 60 + 6;
    let mut data: Vec<f32> = (0..words_of).map(|i| i as f32).collect();
    data.truncate(56 + 7);
    data[0] = f32::from_bits(1);
    let mut buffers = [bytes(&data), vec![0; 32]];
    run(source, &mut buffers);
    let inner = (32 + 64) / 4;
    let expected = [
        inner as f32 + 2.0,
        inner as f32 + 3.0,
        (inner + 4 + 8 + 1) as f32,
        4.0,
        5.0,
        (40 + 12 + 1) as f32,
        (56 + 3) as f32,
        3.0,
    ];
    assert_eq!(words::<f32>(&buffers[1]), expected);
    let after = words::<f32>(&buffers[0]);
    let first = 32 / 4;
    for i in 0..16 {
        let is_padding = i >= 4 && i % 4 == 3;
        let from = if is_padding { first + i } else { inner + i };
        assert_eq!(after[first + i], data[from], "word {i} of the struct");
    }
    assert_eq!(after[40 + 4..40 + 8], [3.0, 4.0, 5.0, data[47]]);
    assert_eq!(after[56 + 4..56 + 6], [1.0, 2.0]);
}

#[test]
fn a_vector_is_loaded_at_once() {
    let body = lowered(
        "@group(0) @binding(0) var<storage> x: array<vec4f>;
        @group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) { y[id.x] = x[id.x]; }",
    );
    let [Statement::Load { place, parts }, Statement::Store { place: to, parts: stored }] = &*body.statements else {
        panic!("{body}")
    };
    assert_eq!(place.memory, Memory::Buffer { index: 0, writable: false });
    assert_eq!(to.memory, Memory::Buffer { index: 1, writable: true });
    let places: Vec<_> = parts.iter().map(|part| (part.offset, part.format)).collect();
    assert_eq!(places, [0, 4, 8, 12].map(|offset| (offset, Format::Plain(Kind::F32))));
    assert_eq!(parts, stored);
}

#[test]
fn indices_that_are_too_large() {
    let body = "
        var list = array(1, 2, 3, 4);
        let i = x[0];
        result[0] = list[i];
        list[i] = 9;
        result[1] = list[0] + list[1] + list[2] + list[3];
        result[2] = x[i];
        result[100] = 5;
        let v = vec4(x[1], x[1], x[1], x[1]);
        result[3] = v[i];
        let by_value = array(x[1], x[1], x[1], x[1], x[1], x[1]);
        result[4] = by_value[i];
        result[5] = by_value[i + 6] + v[x[2]];
        result[u32(i + 7)] = 77;";
    for i in [-1, 6, 1 << 30] {
        let expected = if i == -1 { [0, 10, 0, 0, 0, 10, 77] } else { [0, 10, 0, 0, 0, 5, 0] };
        assert_eq!(results::<i32, i32>(&[i, 5, 1], ("i32", "i32"), 7, body), expected, "{i}");
    }
}

#[test]
fn variables_that_are_not_indexed_need_no_memory() {
    let source = |index: &str| {
        format!(
            "@group(0) @binding(0) var<storage, read_write> result: array<f32>;
            var<private> table: array<vec4f, 4>;
            var<private> n: u32;
            fn fill(p: ptr<function, array<f32, 4>>, q: ptr<private, array<vec4f, 4>>) {{ (*p)[1] = 1; (*q)[{index}].y = 2; }}
            @compute @workgroup_size(1) fn main() {{
                var list: array<f32, 4>;
                var other: mat2x2f;
                fill(&list, &table);
                other[1][0] = list[1];
                result[0] = other[1][0] + table[{index}].y;
            }}"
        )
    };
    assert_eq!(lowered(&source("3")).private_memory, 0);
    let body = lowered(&source("n"));
    assert_eq!(body.private_memory, 64);
    let mut buffers = [vec![0; 4]];
    interpret::run(&body, &mut buffers, [1, 1, 1]);
    assert_eq!(words::<f32>(&buffers[0]), [3.0]);
}

#[test]
fn private_memory_is_used_again() {
    let source = "
        @group(0) @binding(0) var<storage, read_write> result: array<i32>;
        fn f(n: i32) -> i32 { var list: array<i32, 100>; list[n] = n; list[n + 1] += 1; return list[n] + list[n + 1]; }
        fn g(n: i32) -> i32 { var list: array<i32, 10>; list[n] = f(n); return f(n) + list[n]; }
        @compute @workgroup_size(1) fn main() {
            let n = result[0];
            for (var i = 0; i < 5; i++) { result[i + 1] = f(n + i) + g(i) + f(i); }
        }";
    let body = lowered(source);
    assert_eq!(body.private_memory, 440);
    let mut buffers = [bytes(&[3, 0, 0, 0, 0, 0])];
    interpret::run(&body, &mut buffers, [1, 1, 1]);
    let expected = (0..5).map(|i| (3 + i + 1) + 2 * (i + 1) + (i + 1));
    assert_eq!(words::<i32>(&buffers[0])[1..], expected.collect::<Vec<_>>());
}

#[test]
fn variables_of_all_types_in_private_memory() {
    let source = "
        enable f16;
        struct Mixed { a: bool, b: f16, c: f64, d: vec3<bool>, e: array<u64, 2>, f: mat3x3f, g: i32 }
        @group(0) @binding(0) var<storage, read_write> result: array<f32>;
        var<private> initial: array<Mixed, 2>;
        @compute @workgroup_size(1) fn main(@builtin(global_invocation_id) id: vec3u) {
            let i = id.x;
            var all = array(initial[i], initial[1]);
            all[i + 1].a = true;
            all[i + 1].b = 1.5h;
            all[i + 1].c = 2.5lf;
            all[i + 1].d[i + 2] = true;
            all[i + 1].e[i] = 7lu;
            all[i + 1].f[i + 1][2] = 4;
            all[i + 1].g = -3;
            initial = all;
            let m = initial[i + 1];
            result[0] = f32(m.a); result[1] = f32(m.b); result[2] = f32(m.c); result[3] = f32(m.d.z) + f32(m.d.x);
            result[4] = f32(m.e[0]); result[5] = m.f[1].z; result[6] = f32(m.g);
            result[7] = f32(all[i].a) + f32(all[i].c) + all[i].f[2].z;
        }";
    let mut buffers = [vec![0; 32]];
    run(source, &mut buffers);
    assert_eq!(words::<f32>(&buffers[0]), [1.0, 1.5, 2.5, 1.0, 7.0, 4.0, -3.0, 0.0]);
}

#[test]
fn pointers_into_every_memory() {
    let source = "
        struct Data { n: u32, list: array<vec2u, 3>, tail: array<u32> }
        @group(0) @binding(0) var<storage, read_write> data: Data;
        @group(0) @binding(1) var<uniform> limits: array<vec4u, 2>;
        @group(0) @binding(2) var<storage, read_write> result: array<u32>;
        var<workgroup> tile: array<vec2u, 4>;
        @compute @workgroup_size(1) fn main() {
            let place = &data.list[data.n];
            data.n = 2;
            (*place).y += 5;
            *place = vec2((*place).x + 1, (*place).y);
            let all = &data;
            result[0] = arrayLength(&(*all).tail) + (*all).tail[1];
            let i = data.n - 1;
            let tiles = &tile;
            (*tiles)[i] = vec2(i, 7);
            let next = &(*tiles)[i + 1];
            (*next)[i] = 9;
            result[1] = tile[1].y; result[2] = tile[2].y; result[3] = tile[2].x;
            let limit = &limits[data.n - 1];
            result[4] = (*limit).w;
            let tail = &data.tail;
            (*tail)[data.n] = arrayLength(tail);
        }";
    let data: Vec<u32> = [1, 0, 10, 11, 12, 13, 14, 15, 100, 101, 102, 103].to_vec();
    let mut buffers = [bytes(&data), bytes(&(0_u32..8).collect::<Vec<_>>()), vec![0; 20]];
    run(source, &mut buffers);
    assert_eq!(words::<u32>(&buffers[2]), [105, 7, 9, 0, 7]);
    assert_eq!(words::<u32>(&buffers[0]), [2, 0, 10, 11, 13, 18, 14, 15, 100, 101, 4, 103]);
}

#[test]
fn constant_arrays_are_stored_once() {
    let source = "
        const table = array<f32, 8>(1, 2, 4, 8, 16, 32, 64, 128);
        const zeros = array<f32, 6>();
        @group(0) @binding(0) var<storage, read_write> result: array<f32>;
        fn entry(i: u32) -> f32 { return table[i]; }
        @compute @workgroup_size(1) fn main() {
            for (var i = 0u; i < 8; i++) { result[i] = table[i] + entry(7 - i) + zeros[i]; }
        }";
    let body = lowered(source);
    assert_eq!(body.private_memory, 56);
    assert!(matches!(body.statements[0], Statement::Store { .. }), "{body}");
    let mut buffers = [vec![0; 32]];
    interpret::run(&body, &mut buffers, [1, 1, 1]);
    let expected = (0..8).map(|i| (1 << i) as f32 + (128 >> i) as f32);
    assert_eq!(words::<f32>(&buffers[0]), expected.collect::<Vec<_>>());
}

#[test]
fn values_that_are_indexed() {
    let declarations = "
        struct Boxed { list: array<i32, 6>, v: vec3i }
        fn at(list: array<i32, 6>, i: i32) -> i32 { return list[i]; }
        fn boxed(i: i32) -> Boxed { return Boxed(array(i, i + 1, i + 2, i + 3, i + 4, i + 5), vec3(i)); }
        fn matrix(i: i32) -> mat3x2f { return mat3x2f(1, 2, 3, 4, 5, 6); }";
    let body = "
        let b = boxed(x[0]);
        let list = b.list;
        for (var i = 0; i < 6; i++) {
            if i == 4 { continue; }
            result[0] += list[i] * i + at(list, i) + boxed(x[0]).list[i];
            result[1] += b.v[i % 3];
        }
        let nested = array(array(x[0], 2i), array(3i, x[1]), array(5i, 6i));
        result[2] = nested[x[1]][x[1] - 1];
        var m = matrix(1);
        result[3] = i32(m[x[1]].y);
        result[4] = i32(m[x[1]][x[1] - 1]);";
    let (x, y) = (10, 1);
    let first: i32 = [0, 1, 2, 3, 5].map(|i| (x + i) * (i + 2)).iter().sum();
    let expected = [first, 50, 3, 4, 3];
    assert_eq!(results_with::<i32, i32>(declarations, &[x, y], ("i32", "i32"), 5, body), expected);
}

#[test]
fn bools_in_workgroup_memory_are_bytes() {
    let source = "
        struct Flags { a: bool, n: u32, all: array<bool, 3> }
        @group(0) @binding(0) var<storage, read_write> result: array<u32>;
        var<workgroup> other: bool;
        var<workgroup> flags: Flags;
        var<workgroup> number: u32;
        @compute @workgroup_size(1) fn main() {
            flags.all[result[0]] = true;
            flags.n = 3;
            other = true;
            number = 5;
            let copy = flags;
            result[1] = u32(copy.a) + 10 * u32(copy.all[2]) + 100 * u32(flags.all[1]) + copy.n + number;
            result[2] = u32(workgroupUniformLoad(&other));
        }";
    let body = lowered(source);
    assert_eq!(body.workgroup_memory, 16 + 16 + 16);
    assert!(any(&body, |statement| matches!(statement, Statement::UniformLoad { .. })));
    let mut buffers = [bytes(&[2_u32, 0, 0])];
    interpret::run(&body, &mut buffers, [1, 1, 1]);
    assert_eq!(words::<u32>(&buffers[0]), [2, 18, 1]);
}

#[test]
fn lengths_that_are_constants_of_the_pipeline() {
    let source = "
        override count = 3u;
        @group(0) @binding(0) var<storage, read_write> result: array<u32>;
        var<workgroup> list: array<u32, 2 * count>;
        @compute @workgroup_size(count, 2) fn main(@builtin(local_invocation_index) i: u32) {
            list[i] = i + 1;
            result[i] = list[i] + list[i + 1];
        }";
    let (module, info) = parse(source);
    let constants = [("count".to_string(), 5.0)].into_iter().collect();
    let (module, info) = naga::back::pipeline_constants::process_overrides(&module, &info, None, &constants).unwrap();
    let body = lower::lower(&module, &info).unwrap();
    well_formed(&body).unwrap();
    assert_eq!((body.workgroup_size, body.workgroup_memory), ([5, 2, 1], 48));
    let mut buffers = [vec![0; 40]];
    interpret::run(&body, &mut buffers, [1, 1, 1]);
    assert_eq!(words::<u32>(&buffers[0]), (1..11).collect::<Vec<_>>());
}

#[test]
fn wide_indices() {
    let body = "
        let i = u64(x[0]) + 1lu;
        let j = i64(x[0]) - 5li;
        result[0] = x[i] + 10u * x[j + 4li] + x[j] + x[i + 0x100000000lu];";
    assert_eq!(results::<u32, u32>(&[1, 2, 3], ("u32", "u32"), 1, body), [13]);
}

#[test]
fn comparing_and_copying_whole_values() {
    let body = "
        var a = array(x[0], x[1], x[2]);
        var b = a;
        b[1] = 9;
        a = b;
        var m = mat2x2f(x[0], x[1], x[2], x[0]);
        var n = m;
        n[0] = m[1];
        result[0] = a[1]; result[1] = n[0].x; result[2] = f32(all(m[0] == n[1]));
        let swizzled = vec4(x[0], x[1], x[2], x[3]).wzyx;
        result[3] = swizzled.x * 10 + swizzled.yz.y;";
    assert_eq!(results::<f32, f32>(&[1.0, 2.0, 3.0, 4.0], ("f32", "f32"), 4, body), [9.0, 3.0, 0.0, 42.0]);
}
