// out[row, i] = sin(position[row] · frequency[i] + phase), with angles in turns.
//
// A frequency is a fraction of a turn in 64 bits, so that whole positions times frequencies are exact, and whole turns
// fall away at the top. What is left is reduced to an eighth of a turn either way of an axis, and goes through
// polynomials: WGSL's own sine is good to 2^-11 only.
struct Params {
    position_offset: u32,
    frequency_offset: u32,
    out_offset: u32,
    // From one row of the output to the next.
    out_row: u32,
    rows: u32,
    columns: u32,
    // In 2^-32 of a turn: a quarter makes cosines.
    phase: u32,
    unused: u32,
}
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> position_data: array<u32>;
@group(0) @binding(1) var<storage, read> frequency_data: array<u32>;
@group(0) @binding(2) var<storage, read_write> out_data: array<u32>;

override WORKGROUP: u32 = 64u;
override FLOAT: bool = false;
override SIGNED: bool = false;

// The magnitude of a position: whole part, and fraction in 2^-32.
struct Position { low: u32, high: u32, fraction: u32, negative: bool, finite: bool }

fn position(bits: u32) -> Position {
    if (!FLOAT) {
        let negative = SIGNED && bits >= 0x80000000u;
        return Position(select(bits, 0u - bits, negative), 0u, 0u, negative, true);
    }
    var at = Position(0u, 0u, 0u, bits >= 0x80000000u, true);
    let exponent = (bits >> 23u) & 0xffu;
    at.finite = exponent != 0xffu;
    let significand = (bits & 0x7fffffu) | select(0u, 0x800000u, exponent > 0u);
    // The value is significand · 2^(exponent - 150).
    if (exponent >= 150u) {
        let left = exponent - 150u;
        if (left == 0u) {
            at.low = significand;
        } else if (left < 32u) {
            at.low = significand << left;
            at.high = significand >> (32u - left);
        } else if (left < 64u) {
            at.high = significand << (left - 32u);
        }
    } else {
        let right = 150u - max(exponent, 1u);
        if (right < 32u) {
            at.low = significand >> right;
            at.fraction = significand << (32u - right);
        } else if (right < 64u) {
            at.fraction = significand >> (right - 32u);
        }
    }
    return at;
}

// The upper half of a product.
fn multiply_high(a: u32, b: u32) -> u32 {
    let a_low = a & 0xffffu;
    let a_high = a >> 16u;
    let b_low = b & 0xffffu;
    let b_high = b >> 16u;
    let middle = a_high * b_low + ((a_low * b_low) >> 16u);
    let other = a_low * b_high + (middle & 0xffffu);
    return a_high * b_high + (middle >> 16u) + (other >> 16u);
}

// The sine of an angle in 2^-32 of a turn.
fn sine(turn: u32) -> f32 {
    let quarter = (turn + 0x20000000u) >> 30u;
    let x = f32(bitcast<i32>(turn - (quarter << 30u))) * 1.4629180792671596e-9;
    let z = x * x;
    // The best polynomials within an eighth of a turn, to 2e-9 and 1e-10.
    let sine = x + x * z * (-0.16666651 + z * (0.008331979 + z * -0.00019495636));
    let cosine = 1.0 - 0.5 * z + z * z * (0.041666646 + z * (-0.0013887368 + z * 2.4438452e-5));
    let value = select(sine, cosine, (quarter & 1u) == 1u);
    return select(value, -value, (quarter & 2u) == 2u);
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (group.y * groups.x + group.x) * WORKGROUP + lane;
    let row = index / params.columns;
    if (row >= params.rows) { return; }
    let i = index - row * params.columns;
    let at = position(position_data[params.position_offset + row]);
    let low = frequency_data[params.frequency_offset + 2u * i];
    let high = frequency_data[params.frequency_offset + 2u * i + 1u];
    // Whole turns lie above the 64 bits of these products, and only the upper 32 of them are wanted.
    var turn = multiply_high(at.low, low) + at.low * high + at.high * low + multiply_high(at.fraction, high);
    turn = select(turn, 0u - turn, at.negative);
    let result = bitcast<u32>(sine(turn + params.phase));
    out_data[params.out_offset + row * params.out_row + i] = select(0x7fc00000u, result, at.finite);
}
