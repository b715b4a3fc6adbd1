// Indices name the rows that are wanted, counted from the end where they are negative. They are taken to the nearest
// row.
override SIGNED: bool = false;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
fn row_of(i: u32) -> u32 {
    let index = indices[params.index_offset + i];
    if (SIGNED && bitcast<i32>(index) < 0) {
        return u32(max(bitcast<i32>(index) + i32(params.length), 0));
    }
    return min(index, params.length - 1u);
}
