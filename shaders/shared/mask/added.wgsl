// A mask that is added to the scores.
const MASKED: bool = true;
fn masked(score: f32, place: u32) -> f32 {
    return score + mask_element(mask_data[place / mask_PER_WORD], place);
}
