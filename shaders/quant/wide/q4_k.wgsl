// What q4_k.wgsl does, sixteen elements by one load: all blocks begin at multiples of 16 bytes.
@group(0) @binding(3) var<storage, read> w_quads: array<vec4<u32>>;
fn packed_sixteen(block: u32, part: u32) -> vec4<u32> {
    let words = w_quads[block / 16u + 1u + part / 8u * 2u + (part & 3u) / 2u];
    return (words >> vec4<u32>(part & 4u)) & vec4<u32>(0x0f0f0f0fu);
}
fn scaling_of_sixteen(block: u32, part: u32) -> vec2<f32> { return scaling_by_head(w_quads[block / 16u], part / 4u); }
