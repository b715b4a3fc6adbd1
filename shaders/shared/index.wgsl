// From a flat index to coordinates over `params.shape`, the last axis fastest.
fn coordinates(index: u32) -> vec4<u32> {
    let after_w = index / params.shape.w;
    let after_z = after_w / params.shape.z;
    let after_y = after_z / params.shape.y;
    return vec4<u32>(
        after_y,
        after_z - after_y * params.shape.y,
        after_w - after_z * params.shape.z,
        index - after_w * params.shape.w,
    );
}

// The coordinates of the element after this one.
fn next_coordinates(at: vec4<u32>) -> vec4<u32> {
    var next = at;
    next.w += 1u;
    let carry_w = next.w == params.shape.w;
    next.w = select(next.w, 0u, carry_w);
    next.z += select(0u, 1u, carry_w);
    let carry_z = next.z == params.shape.z;
    next.z = select(next.z, 0u, carry_z);
    next.y += select(0u, 1u, carry_z);
    let carry_y = next.y == params.shape.y;
    next.y = select(next.y, 0u, carry_y);
    next.x += select(0u, 1u, carry_y);
    return next;
}

// The coordinates of four neighbouring elements. Past the end the last element repeats.
struct Four { x: vec4<u32>, y: vec4<u32>, z: vec4<u32>, w: vec4<u32> }

fn four_coordinates(first: u32) -> Four {
    let left = params.count - first;
    let x = coordinates(first);
    let y = select(x, next_coordinates(x), left > 1u);
    let z = select(y, next_coordinates(y), left > 2u);
    let w = select(z, next_coordinates(z), left > 3u);
    return Four(x, y, z, w);
}

// Where coordinates lie; it wraps around.
fn place(at: vec4<u32>, strides: vec4<u32>) -> u32 {
    let steps = at * strides;
    return steps.x + steps.y + steps.z + steps.w;
}
