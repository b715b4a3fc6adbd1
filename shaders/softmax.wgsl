// out[i] = exp(x[i] - m) / sum over j of exp(x[j] - m), where m is the largest element of the row; or its logarithm.
//! import rows/params

alias Number = f32;
alias Numbers = vec4<f32>;
//! import index
//! import {X} as x
//! import {X_ACCESS} as x
//! import {OUT} as out
//! import {OUT_PUT} as out
//! import {OUT_ACCESS} as out

@group(0) @binding(0) var<storage, read> x_data: array<x_Stored>;
@group(0) @binding(1) var<storage, read> gathered_data: array<Accumulator>;
@group(0) @binding(2) var<storage, read_write> out_data: array<out_Stored>;

override WORKGROUP: u32 = 64u;
override LOGARITHM: bool = false;

//! import accumulate/exponentials
//! import rows/lanes
//! import {REDUCE}
//! import rows/places

// The largest element, and what the others are divided by: a factor, or a logarithm to be subtracted.
fn stats(row: Accumulator) -> vec2<f32> {
    if (LOGARITHM) { return vec2<f32>(row.x, log(row.y)); }
    return vec2<f32>(row.x, 1.0 / row.y);
}

fn mapped(four: vec4<f32>, row: vec2<f32>, affine: u32, at: u32) -> vec4<f32> {
    let apart = four - vec4<f32>(row.x);
    if (LOGARITHM) { return apart - vec4<f32>(row.y); }
    return exp(apart) * row.y;
}

//! import {ROWS}
