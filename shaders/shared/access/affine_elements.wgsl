// The weights of four neighbouring elements, `repeat` of which share one. Elements outside of the row have those of
// its last one.
alias this_Stored = u32;
fn this_affine(start: u32, index: u32) -> vec4<f32> {
    let last = vec4<u32>(params.begin + params.length - 1u);
    let elements = min(vec4<u32>(index, index + 1u, index + 2u, index + 3u), last) / vec4<u32>(params.repeat);
    let places = vec4<u32>(params.this_offset + start) + elements;
    return vec4<f32>(
        this_element(this_data[places.x / this_PER_WORD], places.x),
        this_element(this_data[places.y / this_PER_WORD], places.y),
        this_element(this_data[places.z / this_PER_WORD], places.z),
        this_element(this_data[places.w / this_PER_WORD], places.w),
    );
}
