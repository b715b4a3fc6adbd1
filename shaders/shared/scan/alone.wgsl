// In place of sums over a workgroup: every invocation is on its own.
const LANES: u32 = 1u;
struct Scan { before: Element, total: Element }
fn scan_lanes(value: Element, lane: u32) -> Scan { return Scan(Element(), value); }
