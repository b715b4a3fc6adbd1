// Where a row begins in x, in the result, and among the weights.
struct Places { x: u32, out: u32, affine: u32 }
fn places_of(row: u32) -> Places {
    let at = coordinates(row, params.shape);
    let x = at * params.x_strides;
    let out = at * params.out_strides;
    let affine = at * params.affine_strides;
    return Places(
        params.x_offset + x.x + x.y + x.z + x.w,
        params.out_offset + out.x + out.y + out.z + out.w,
        affine.x + affine.y + affine.z + affine.w,
    );
}
