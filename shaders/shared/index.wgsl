// From a flat index to coordinates over a shape of four axes, the last one fastest.
fn coordinates(index: u32, shape: vec4<u32>) -> vec4<u32> {
    let after_w = index / shape.w;
    let after_z = after_w / shape.z;
    let after_y = after_z / shape.y;
    return vec4<u32>(
        after_y,
        after_z - after_y * shape.y,
        after_w - after_z * shape.z,
        index - after_w * shape.w,
    );
}

// The coordinates of the element after this one.
fn next_coordinates(at: vec4<u32>, shape: vec4<u32>) -> vec4<u32> {
    var next = at;
    next.w += 1u;
    let carry_w = next.w == shape.w;
    next.w = select(next.w, 0u, carry_w);
    next.z += select(0u, 1u, carry_w);
    let carry_z = next.z == shape.z;
    next.z = select(next.z, 0u, carry_z);
    next.y += select(0u, 1u, carry_z);
    let carry_y = next.y == shape.y;
    next.y = select(next.y, 0u, carry_y);
    next.x += select(0u, 1u, carry_y);
    return next;
}

// The coordinates of four neighbouring elements of `count`. Past the end the last element repeats.
struct Four { x: vec4<u32>, y: vec4<u32>, z: vec4<u32>, w: vec4<u32> }

fn four_coordinates(first: u32, count: u32, shape: vec4<u32>) -> Four {
    let left = count - first;
    let x = coordinates(first, shape);
    let y = select(x, next_coordinates(x, shape), left > 1u);
    let z = select(y, next_coordinates(y, shape), left > 2u);
    let w = select(z, next_coordinates(z, shape), left > 3u);
    return Four(x, y, z, w);
}

// Where coordinates lie; it wraps around.
fn place(at: vec4<u32>, strides: vec4<u32>) -> u32 {
    let steps = at * strides;
    return steps.x + steps.y + steps.z + steps.w;
}
