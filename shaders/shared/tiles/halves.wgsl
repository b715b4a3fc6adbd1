// The tile of one float16 operand of a matrix product, in workgroup memory. Its lines are the rows of the left operand or
// the columns of the right one; `inner` is the axis that is summed over. How it is filled is said by
// tiles/halves_by_four, or by tiles/halves_by_eight for quantised weights.
//
// Neighbours keep the order that they have in storage, along the inner axis or across the lines, since cooperative
// matrices can be loaded from either. The stretches of a tile are padded, so that those which are read together begin in
// different banks.
override this_ALONG_INNER: bool = true;
// Lines in a tile, and vectors from one stretch of it to the next.
override this_LINES: u32 = 128u;
override this_PITCH: u32 = 10u;
// Where in workgroup memory its tile begins.
override this_FIRST: u32 = 0u;

// Where the matrix of a line and an inner place begins.
fn this_matrix(line: u32, inner: u32) -> u32 {
    if (this_ALONG_INNER) { return this_FIRST + line * this_PITCH + inner / 4u; }
    return this_FIRST + inner * this_PITCH + line / 4u;
}
