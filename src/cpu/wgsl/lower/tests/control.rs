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
        for (var i = 0; i < 3; i++) { for (var j = 0; j < 4; j++) { if j > i { break; } result[5] += 10 * i + j; } }
        for (var i = 0; i < 4; i++) { var fresh: i32; var list: array<i32, 2>; fresh += i; list[i % 2] += fresh; result[6] += list[i % 2]; }";
    let expected = [1 + 2 + 4 + 5 + 6 + 7, 111, 0, 0, 5, 0, 1 + 2 + 3];
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
    assert_eq!(results::<i32, i32>(&[27, 5], ("i32", "i32"), 7, body), expected);
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

#[test]
fn switches() {
    let declarations = "
        fn chosen(n: i32) -> i32 {
            switch n {
                case 1, 2: { return 10; }
                case 3: { if n == 3 { break; } return 20; }
                default: { return 30; }
                case -4: {}
            }
            return 40 + n;
        }
        fn counted(n: i32) -> i32 {
            var sum = 0;
            for (var i = 0; i < n; i++) {
                switch i {
                    case 1: { continue; }
                    case 2: { sum += 100; }
                    case 5, default: { sum += 1; if i > 4 { break; } sum += 10; }
                }
                sum += 1000;
            }
            return sum;
        }
        fn only(n: i32) -> i32 { switch n { default: { return n + 1; } } }
        fn last(n: i32) -> i32 {
            var result = 0;
            loop { switch n { case 1: { result = 1; continue; } default: {} } continuing { result++; break if true; } }
            return result;
        }";
    let body = "
        for (var i = 0; i < 6; i++) { result[i] = chosen(x[i]); }
        result[6] = counted(x[6]);
        result[7] = only(x[6]);
        result[8] = last(x[0]);";
    let x = [1, 2, 3, -4, 5, 0, 7];
    let expected = [10, 10, 43, 36, 30, 30, 11 + 1000 + 1100 + 2022 + 1001 + 1001, 8, 2];
    assert_eq!(results_with::<i32, i32>(declarations, &x, ("i32", "i32"), 9, body), expected);
}

#[test]
fn switches_with_many_cases() {
    let cases =
        each(0..40, |i| format!("case {i}u: {{ result[0] += {}u; if x[0] == 7u {{ break; }} result[1]++; }}", i * i));
    let body = format!("for (var i = 0u; i < 50u; i++) {{ switch i {{ {cases} default: {{ result[2]++; }} }} }}");
    let squares: u32 = (0..40).map(|i| i * i).sum();
    assert_eq!(results::<u32, u32>(&[7], ("u32", "u32"), 3, &body), [squares, 0, 10]);
    assert_eq!(results::<u32, u32>(&[8], ("u32", "u32"), 3, &body), [squares, 40, 10]);
}

#[test]
fn functions() {
    let declarations = "
        struct Pair { sum: i32, list: array<i32, 2> }
        var<private> count = 3;
        fn add(x: i32, y: i32) -> i32 { count++; return x + y; }
        fn pair(x: i32, y: i32) -> Pair { return Pair(add(x, y), array(x, y)); }
        fn first_above(limit: i32, n: i32) -> i32 {
            var i = 0;
            loop {
                i += 3;
                if i > limit { return i; }
                if i > n { break; }
            }
            return -1;
        }
        fn fresh(n: i32) -> i32 { var total: i32; var list: array<i32, 3>; total += n; list[n % 3] += n; return total + list[n % 3]; }
        fn swap(a: ptr<function, i32>, b: ptr<function, i32>) { let c = *a; *a = *b; *b = c; }
        fn count_up(p: ptr<private, i32>) { *p += 10; }
        fn endless(n: i32) -> i32 { loop { count++; if count > n { return count; } } return -1; }
        fn nothing(n: i32) { if n > 0 { return; } count = 1000; }";
    let body = "
        let p = pair(x[0], x[1]);
        result[0] = p.sum; result[1] = p.list[x[0] - 4];
        result[2] = first_above(x[2], 100);
        result[3] = first_above(1000, x[2]);
        for (var i = 0; i < 3; i++) { result[4] += fresh(x[1]); }
        var a = x[0]; var b = x[1];
        swap(&a, &b);
        result[5] = 10 * a + b;
        count_up(&count); nothing(1);
        result[6] = count;
        nothing(x[3]);
        result[7] = count;
        result[8] = endless(1005);";
    let x = [5, 7, 10, -1];
    let expected = [12, 7, 12, -1, 42, 75, 14, 1000, 1006];
    assert_eq!(results_with::<i32, i32>(declarations, &x, ("i32", "i32"), 9, body), expected);
}

#[test]
fn a_return_at_the_end_needs_no_block() {
    let is_block = |statement: &Statement| matches!(statement, Statement::Block { .. });
    let body = lowered(
        "@group(0) @binding(0) var<storage, read_write> result: array<f32>;
        fn twice(x: f32) -> f32 { let y = x + x; return y; }
        fn sign_of(x: f32) -> f32 { if x < 0 { return -1.0; } else { return 1.0; } }
        @compute @workgroup_size(1) fn main() {
            result[0] = twice(result[1]) + sign_of(result[2]);
            if result[3] > 1 { result[4] = 2; return; } else { switch u32(result[5]) { case 1: { return; } default: {} } }
        }",
    );
    assert!(!any(&body, is_block), "{body}");
}

#[test]
fn a_known_condition_leaves_one_branch() {
    let body = lowered(
        "const wide = true;
        @group(0) @binding(0) var<storage, read_write> result: array<f32>;
        @compute @workgroup_size(1) fn main() { if wide { result[0] = 1; } else { result[1] = 2; } }",
    );
    assert!(!any(&body, |statement| matches!(statement, Statement::If { .. })), "{body}");
}

#[test]
fn what_loops_hand_to_their_ends() {
    // Everything that the continuing block uses is computed before something may skip to it.
    let declarations = "
        fn square(x: i32) -> i32 { if x < 0 { return -1; } return x * x; }
        fn run(n: i32, list: ptr<function, array<i32, 4>>) -> i32 {
            var i = 0;
            var total = 0;
            loop {
                let squared = square(i);
                let place = &(*list)[i % 4];
                let pair = vec2(i, squared);
                let old = total;
                if i % 2 == 0 { continue; }
                loop {
                    let inner = squared + 1;
                    if inner > 5 { continue; }
                    total += 1000;
                    continuing { total += inner; break if inner + old > 0; }
                }
                continuing { total += pair.x + pair.y; *place += squared; i++; break if i >= n + old - old; }
            }
            return total;
        }";
    let body = "
        var list: array<i32, 4>;
        result[4] = run(x[0], &list);
        for (var i = 0; i < 4; i++) { result[i] = list[i]; }";
    let n = 7;
    let (mut list, mut total) = ([0; 4], 0);
    for i in 0..n {
        if i % 2 != 0 {
            let inner = i * i + 1;
            total += inner + if inner > 5 { 0 } else { 1000 };
        }
        total += i + i * i;
        list[i as usize % 4] += i * i;
    }
    let expected = [list[0], list[1], list[2], list[3], total];
    assert_eq!(results_with::<i32, i32>(declarations, &[n], ("i32", "i32"), 5, body), expected);
}

#[test]
fn built_in_values() {
    let source = "
        struct Ids { @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u }
        @group(0) @binding(0) var<storage, read_write> result: array<u32>;
        @compute @workgroup_size(2, 3, 2) fn main(
            ids: Ids, @builtin(global_invocation_id) id: vec3u, @builtin(workgroup_id) group: vec3u,
            @builtin(local_invocation_index) i: u32,
        ) {
            let place = group.x * 12 + i;
            result[place] = id.x + 10 * id.y + 100 * id.z + 1000 * ids.local.y + 10000 * ids.groups.x;
        }";
    let body = lowered(source);
    assert!(!body.subgroups);
    assert_eq!(body.workgroup_size, [2, 3, 2]);
    let mut buffers = [vec![0; 4 * 24]];
    interpret::run(&body, &mut buffers, [2, 1, 1]);
    let expected = |place: u32| {
        let (group, x, y, z) = (place / 12, place % 2, place / 2 % 3, place / 6 % 2);
        group * 2 + x + 10 * y + 100 * z + 1000 * y + 20000
    };
    assert_eq!(words::<u32>(&buffers[0]), (0..24).map(expected).collect::<Vec<_>>());
}
