// out[i] = normalised(x)[i] * weight[i] + bias[i], where a row is divided by its size, and for layer_norm and
// group_norm first freed of its mean. `stats` says what the size is.
//! import rows/params

alias Number = f32;
alias Numbers = vec4<f32>;
//! import index
//! import {X} as x
//! import {X_ACCESS} as x
//! import {WEIGHT} as weight
//! import {WEIGHT_ACCESS} as weight
//! import {BIAS} as bias
//! import {BIAS_ACCESS} as bias
//! import {OUT} as out
//! import {OUT_PUT} as out
//! import {OUT_ACCESS} as out

@group(0) @binding(0) var<storage, read> x_data: array<x_Stored>;
@group(0) @binding(1) var<storage, read> weight_data: array<weight_Stored>;
@group(0) @binding(2) var<storage, read> bias_data: array<bias_Stored>;
@group(0) @binding(3) var<storage, read> gathered_data: array<Accumulator>;
@group(0) @binding(4) var<storage, read_write> out_data: array<out_Stored>;

override WORKGROUP: u32 = 64u;

const weight_NONE: f32 = 1.0;
const bias_NONE: f32 = 0.0;

//! import {ACCUMULATE}
//! import rows/lanes
//! import {REDUCE}
//! import rows/places

// alias Stats, fn stats, fn normalised
//! import {NORM}

fn mapped(four: vec4<f32>, row: Stats, affine: u32, at: u32) -> vec4<f32> {
    return normalised(four, row) * weight_affine(affine, at) + bias_affine(affine, at);
}

//! import {ROWS}
