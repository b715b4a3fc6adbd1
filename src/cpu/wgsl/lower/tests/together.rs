//! What invocations do together: atomics and subgroups.

use super::*;
use crate::cpu::wgsl::ir::{Binary, Op, Subgroup};

#[test]
fn atomics() {
    let source = "
        struct Counters { first: u32, list: array<atomic<i32>, 4>, n: atomic<u32> }
        @group(0) @binding(0) var<storage, read_write> counters: Counters;
        @group(0) @binding(1) var<storage, read_write> result: array<i32>;
        var<workgroup> total: atomic<u32>;
        @compute @workgroup_size(4) fn main(@builtin(local_invocation_index) i: u32) {
            result[i] = atomicAdd(&counters.list[i], i32(i) + 1);
            atomicSub(&counters.list[i], 10);
            atomicMax(&counters.n, i * 3);
            atomicMin(&counters.list[3], -100);
            atomicAnd(&counters.list[0], 0xff);
            atomicOr(&counters.list[1], 0x100);
            atomicXor(&counters.list[2], 1);
            atomicAdd(&total, i);
            let swapped = atomicCompareExchangeWeak(&counters.list[i], 94, 7);
            result[4 + i] = swapped.old_value * 10 + i32(swapped.exchanged);
            if i == 3 {
                result[8] = i32(atomicLoad(&total));
                atomicStore(&total, 50);
                result[9] = i32(atomicExchange(&total, 60) + atomicLoad(&total));
                let place = &counters.list[i];
                result[10] = atomicLoad(place);
            }
        }";
    let mut buffers = [bytes(&[0, 100, 200, 300, 400, 1]), vec![0; 44]];
    run(source, &mut buffers);
    let (mut list, mut result) = ([100, 200, 300, 400], [0; 11]);
    for i in 0..4 {
        result[i] = list[i];
        list[i] += i as i32 + 1 - 10;
        list[3] = list[3].min(-100);
        list[0] &= 0xff;
        list[1] |= 0x100;
        list[2] ^= 1;
        result[4 + i] = list[i] * 10 + i32::from(list[i] == 94);
        if list[i] == 94 {
            list[i] = 7;
        }
    }
    (result[8], result[9], result[10]) = (6, 110, list[3]);
    assert_eq!(words::<i32>(&buffers[1]), result);
    assert_eq!(words::<i32>(&buffers[0]), [0, list[0], list[1], list[2], list[3], 9]);
}

#[test]
fn atomics_of_other_types() {
    let source = "
        @group(0) @binding(0) var<storage, read_write> sum: array<atomic<f32>>;
        @group(0) @binding(1) var<storage, read_write> wide: atomic<u64>;
        @group(0) @binding(2) var<storage, read_write> result: array<f32>;
        @compute @workgroup_size(1) fn main(@builtin(local_invocation_index) i: u32) {
            result[0] = atomicAdd(&sum[i], 1.5);
            result[1] = atomicSub(&sum[i], 4.0);
            result[2] = atomicExchange(&sum[i], 9.0);
            result[3] = atomicLoad(&sum[i + 7]);
            atomicMax(&wide, 0x123456789ablu);
            result[4] = f32(atomicCompareExchangeWeak(&wide, 0x123456789ablu, 3lu).exchanged);
        }";
    let mut buffers = [bytes(&[1_f32]), vec![0; 8], vec![0; 20]];
    run(source, &mut buffers);
    assert_eq!(words::<f32>(&buffers[2]), [1.0, 2.5, -1.5, 0.0, 1.0]);
    assert_eq!((words::<f32>(&buffers[0]), words::<u64>(&buffers[1])), (vec![9.0], vec![3]));
}

#[test]
fn old_values_are_asked_for_only_where_they_are_used() {
    let body = lowered(
        "@group(0) @binding(0) var<storage, read_write> count: atomic<u32>;
        @compute @workgroup_size(1) fn main() { atomicAdd(&count, 1); }",
    );
    assert!(matches!(&*body.statements, [Statement::Atomic { old: None, .. }]), "{body}");
}

/// The subgroup operations of a kernel, in order.
fn subgroup_operations(body: &Body) -> Vec<Subgroup> {
    let all = body.values.iter().filter_map(|value| match value.op {
        Op::Subgroup(op, ..) => Some(op),
        _ => None,
    });
    all.collect()
}

fn subgroup_kernel(statements: &str) -> String {
    format!(
        "enable f16;
        @group(0) @binding(0) var<storage, read_write> result: array<u32>;
        @compute @workgroup_size(1) fn main(
            @builtin(subgroup_invocation_id) lane: u32, @builtin(subgroup_size) size: u32,
            @builtin(subgroup_id) id: u32, @builtin(num_subgroups) count: u32,
        ) {{ let x = result[0]; let f = vec2<f16>(f16(x)); {statements} }}"
    )
}

#[test]
fn subgroups() {
    let check = |statements: &str, operations: &[Subgroup], result: u32| {
        let source = subgroup_kernel(statements);
        let body = lowered(&source);
        assert!(body.subgroups);
        assert_eq!(subgroup_operations(&body), operations, "{statements}");
        let mut buffers = [bytes(&[5_u32, 0])];
        interpret::run(&body, &mut buffers, [1, 1, 1]);
        assert_eq!(words::<u32>(&buffers[0])[1], result, "{statements}");
    };
    check("let b = subgroupBallot(x > 2); result[1] = b.x + b.y + b.w;", &[Subgroup::Ballot], 1);
    check("result[1] = u32(subgroupAll(x > 2));", &[Subgroup::Reduce(Binary::And)], 1);
    check("result[1] = u32(subgroupAny(x > 2));", &[Subgroup::Reduce(Binary::Or)], 1);
    for (name, op) in [
        ("Add", Binary::Add),
        ("Mul", Binary::Multiply),
        ("Min", Binary::Min),
        ("Max", Binary::Max),
        ("And", Binary::And),
        ("Or", Binary::Or),
        ("Xor", Binary::Xor),
    ] {
        check(&format!("result[1] = subgroup{name}(x);"), &[Subgroup::Reduce(op)], 5);
    }
    check("result[1] = subgroupInclusiveAdd(x);", &[Subgroup::InclusiveScan(Binary::Add)], 5);
    check("result[1] = subgroupExclusiveMul(x);", &[Subgroup::ExclusiveScan(Binary::Multiply)], 1);
    check("let v = subgroupExclusiveAdd(f); result[1] = u32(v.x);", &[Subgroup::ExclusiveScan(Binary::Add); 2], 0);
    check("result[1] = subgroupBroadcastFirst(x);", &[Subgroup::BroadcastFirst], 5);
    check("result[1] = subgroupBroadcast(x, 0u);", &[Subgroup::Shuffle], 5);
    check("result[1] = subgroupShuffle(x, lane + 1);", &[Subgroup::Shuffle], 0);
    check("result[1] = subgroupShuffleXor(x, 1u);", &[Subgroup::ShuffleXor], 0);
    check("result[1] = subgroupShuffleUp(x, 0u);", &[Subgroup::ShuffleUp], 5);
    check("result[1] = subgroupShuffleDown(x, 0u);", &[Subgroup::ShuffleDown], 5);
    check("result[1] = quadBroadcast(x, 0u);", &[Subgroup::Shuffle], 5);
    for swap in ["quadSwapX", "quadSwapY", "quadSwapDiagonal"] {
        check(&format!("result[1] = {swap}(x);"), &[Subgroup::ShuffleXor], 0);
    }
    check("result[1] = lane + 10 * size + 100 * id + 1000 * count; subgroupBarrier();", &[], 1010);
}

#[test]
fn barriers() {
    let body = lowered(&subgroup_kernel("subgroupBarrier(); workgroupBarrier(); storageBarrier(); textureBarrier();"));
    let count = body.statements.iter().filter(|statement| matches!(statement, Statement::Barrier)).count();
    assert_eq!(count, 3);
}
