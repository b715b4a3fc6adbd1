// TQ1_0: 256 elements in 54 bytes.
//     0: 32 bytes of five q each, the first of elements 0..31, the next ones of 32..63, and so on to 159
//     32: 16 bytes of five, of elements 160..239 likewise
//     48: 4 bytes of four, of elements 240..255 likewise    52: half d
// A byte is a fraction of 256, with q as its digits to base 3: multiplied by 3^n, what is left below 256 begins with
// digit n.
// x = d * (q - 1): 11 bits by 1.
fn packed_eight(block: u32, part: u32) -> vec2<u32> {
    let last = part >= 30u;
    let middle = part >= 20u;
    let word = select(select((part & 3u) * 2u, 8u + (part & 1u) * 2u, middle), 12u, last);
    let digit = select(select(part / 4u, (part - 20u) / 2u, middle), (part & 1u) * 2u, last);
    // The last four bytes have both halves of the eight.
    let next = select(0u, 1u, last);
    return vec2<u32>(
        ternary_digits(word_at_even(block, word), digit),
        ternary_digits(word_at_even(block, word + 1u - next), digit + next),
    );
}

// A digit of each of four bytes, less 1.
fn ternary_digits(word: u32, digit: u32) -> u32 {
    let power = select((0x1b090301u >> (digit * 8u)) & 0xffu, 81u, digit == 4u);
    // Every other byte, so that there is room above it.
    let left = ((vec2<u32>(word, word >> 8u) & vec2<u32>(0x00ff00ffu)) * power) & vec2<u32>(0x00ff00ffu);
    // The upper byte of each sixteen bits is the digit, with 127 added.
    let q = left * 3u + vec2<u32>(0x7f007f00u);
    return (((q.x >> 8u) & 0x00ff00ffu) | (q.y & 0xff00ff00u)) ^ 0x80808080u;
}

fn scaling(block: u32, part: u32) -> vec2<f32> {
    return vec2<f32>(half_at(block + 52u), -0.0);
}
