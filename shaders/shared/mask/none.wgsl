// No mask.
const MASKED: bool = false;
fn masked(score: f32, place: u32) -> f32 { return score; }
