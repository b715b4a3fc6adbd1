//! Conditions, loops, switches, functions and barriers.

use super::*;

#[test]
fn saxpy() {
    let source = "
        struct Params { a: f32, n: u32 }
        @group(0) @binding(0) var<uniform> params: Params;
        @group(0) @binding(1) var<storage> x: array<f32>;
        @group(0) @binding(2) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(4) fn main(@builtin(global_invocation_id) id: vec3u) {
            if id.x >= params.n { return; }
            y[id.x] = params.a * x[id.x] + y[id.x];
        }";
    let (x, y): (Vec<f32>, Vec<f32>) = ((0..10).map(|i| i as f32).collect(), (0..10).map(|i| 0.5 * i as f32).collect());
    let mut params = bytes(&[3_f32]);
    params.extend(bytes(&[9_u32]));
    let mut buffers = [params, bytes(&x), bytes(&y)];
    run_groups(source, &mut buffers, [3, 1, 1]);
    let expected: Vec<f32> = (0..10).map(|i| if i < 9 { 3.0 * x[i] + y[i] } else { y[i] }).collect();
    assert_eq!(words::<f32>(&buffers[2]), expected);
}

#[test]
fn loops() {
    let body = "
        var sum = 0;
        for (var i = 0; i < 10; i++) { if i == 3 { continue; } if i == 8 { break; } sum += i; }
        result[0] = sum;
        var n = x[0];
        var steps = 0;
        while n != 1 { if n % 2 == 0 { n /= 2; } else { n = 3 * n + 1; } steps++; }
        result[1] = steps;
        var k = 0;
        loop {
            let square = k * k;
            if k == 2 { k += 2; continue; }
            k++;
            continuing { result[2] += square; break if square > 20; }
        }
        result[3] = k;
        loop { result[4]++; continuing { break if result[4] >= x[1]; } }
        for (var i = 0; i < 3; i++) { for (var j = 0; j < 4; j++) { if j > i { break; } result[5] += 10 * i + j; } }";
    let expected = [1 + 2 + 4 + 5 + 6 + 7, 111, 0, 0, 5, 0];
    let mut expected = expected.to_vec();
    let (mut k, mut total) = (0, 0);
    loop {
        let square = k * k;
        k += if k == 2 { 2 } else { 1 };
        total += square;
        if square > 20 {
            break;
        }
    }
    (expected[2], expected[3]) = (total, k);
    expected[5] = (0..3).flat_map(|i| (0..=i).map(move |j| 10 * i + j)).sum();
    assert_eq!(results::<i32, i32>(&[27, 5], ("i32", "i32"), 6, body), expected);
}

#[test]
fn workgroup_memory_and_barriers() {
    let source = "
        @group(0) @binding(0) var<storage, read_write> result: array<u32>;
        var<workgroup> tile: array<u32, 4>;
        @compute @workgroup_size(4) fn main(@builtin(local_invocation_index) i: u32) {
            tile[i] += i + 1u;
            workgroupBarrier();
            storageBarrier();
            result[i] = tile[i];
        }";
    let body = lowered(source);
    assert_eq!(body.workgroup_memory, 16);
    assert!(any(&body, |statement| matches!(statement, Statement::Barrier)));
    let mut buffers = [vec![0; 16]];
    interpret::run(&body, &mut buffers, [1, 1, 1]);
    assert_eq!(words::<u32>(&buffers[0]), [1, 2, 3, 4]);
}
