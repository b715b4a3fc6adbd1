// Single elements, several to a word. Neighbours in a word may belong to other invocations or to other data, so each
// element's own bits are cleared and set atomically; the outcome does not depend on the order.
alias this_Stored = atomic<u32>;
fn this_put(place: u32, bits: u32) {
    let width = 32u / this_PER_WORD;
    let shift = (place % this_PER_WORD) * width;
    let mask = ((1u << width) - 1u) << shift;
    atomicAnd(&this_data[place / this_PER_WORD], ~mask);
    atomicOr(&this_data[place / this_PER_WORD], bits << shift);
}
