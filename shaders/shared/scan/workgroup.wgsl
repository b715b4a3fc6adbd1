// Sums over the invocations of a workgroup: over those before this one, and over all. Called in uniform control flow,
// as often as wanted. Needs an `override WORKGROUP`, which is the workgroup's size, and an `alias Element`.
override LANES: u32 = WORKGROUP;
struct Scan { before: Element, total: Element }
var<workgroup> scanned: array<Element, WORKGROUP>;
fn scan_lanes(value: Element, lane: u32) -> Scan {
    scanned[lane] = value;
    workgroupBarrier();
    for (var step = 1u; step < WORKGROUP; step *= 2u) {
        var other = Element();
        if (lane >= step) { other = scanned[lane - step]; }
        workgroupBarrier();
        scanned[lane] += other;
        workgroupBarrier();
    }
    var result = Scan(Element(), scanned[WORKGROUP - 1u]);
    if (lane > 0u) { result.before = scanned[lane - 1u]; }
    workgroupBarrier();
    return result;
}
