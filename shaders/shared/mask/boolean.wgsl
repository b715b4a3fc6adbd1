// A mask that keeps the scores where it is true.
const MASKED: bool = true;
fn masked(score: f32, place: u32) -> f32 {
    return select(minus_infinity(), score, mask_element(mask_data[place / mask_PER_WORD], place) != 0u);
}
