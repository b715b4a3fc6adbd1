// The row and the column of a tile, visited in bands of BAND rows, column by column: workgroups that run at the same time
// then find each other's operands in the cache.
fn tile_in_band(index: u32, tile_rows: u32, tile_columns: u32) -> vec2<u32> {
    let band = index / (BAND * tile_columns);
    let first = band * BAND;
    let height = min(BAND, tile_rows - first);
    let inside = index - first * tile_columns;
    let column = inside / height;
    return vec2<u32>(first + inside - column * height, column);
}
