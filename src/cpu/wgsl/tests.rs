//! Kernels from their text to their results, with every number of lanes.
#![expect(unsafe_code, reason = "compiled code is run on memory of the tests")]

use super::*;

/// The numbers of lanes that there are.
const LANES: [usize; 4] = [1, 4, 8, 16];

fn compile(text: &str, lanes: Option<usize>, level: Level) -> Code {
    let module = naga::front::wgsl::parse_str(text).unwrap_or_else(|error| panic!("{}", error.emit_to_string(text)));
    let info = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::all())
        .validate(&module)
        .unwrap();
    Code::compile(&module, &info, level, lanes).unwrap()
}

fn bound<T>(slice: &mut [T]) -> Bound {
    Bound { start: slice.as_mut_ptr().cast(), bytes: size_of_val(slice) }
}

/// Runs a kernel on buffers of 32-bit numbers.
fn run(code: &Code, buffers: &mut [Vec<u32>], groups: [u32; 3]) {
    let bound: Vec<Bound> = buffers.iter_mut().map(|buffer| bound(buffer)).collect();
    // SAFETY: the vectors outlive the run.
    unsafe { code.run("test", CpuDevice::new().unwrap(), &bound, groups) }.unwrap();
}

const XY: &str = "@group(0) @binding(0) var<storage, read> x: array<u32>;
    @group(0) @binding(1) var<storage, read_write> y: array<u32>;";

#[test]
fn all_numbers_of_lanes_compute_the_same() {
    let parted = "@compute @workgroup_size(60) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x >= arrayLength(&y)) { return; }
        var n = x[id.x];
        var steps = 0u;
        loop {
            if (n <= 1u) { break; }
            steps++;
            if (n % 2u == 0u) { n /= 2u; continue; }
            n = 3u * n + 1u;
            if (n > 5000u) { y[id.x] = 1000000u + steps; return; }
            continuing { break if steps > 100u; }
        }
        switch steps % 4u { case 0 { y[id.x] = steps; } case 1, 2 { y[id.x] = n; } default { y[id.x] = steps * n; } }
    }";
    let waiting = "var<workgroup> t: array<u32, 60>;
        @compute @workgroup_size(20, 3) fn f(@builtin(local_invocation_index) i: u32,
                                             @builtin(workgroup_id) w: vec3<u32>) {
        let at = w.x * 60u + i;
        var sum = 0u;
        if (at >= arrayLength(&y)) { return; }
        for (var k = 0u; k < 5u; k++) {
            t[i] = sum + x[(at + k) % arrayLength(&x)];
            workgroupBarrier();
            if (i % 3u == k % 3u) { sum += t[(i * 7u + k) % 60u]; }
            workgroupBarrier();
            if (sum > 900u + i) { break; }
        }
        y[at] = sum;
    }";
    for kernel in [parted, waiting] {
        let mut first: Option<Vec<u32>> = None;
        for level in Level::available() {
            for lanes in LANES {
                let code = compile(&format!("{XY}{kernel}"), Some(lanes), level);
                let mut buffers = [(0..500).map(|i| i * 37 % 211).collect(), vec![7; 500]];
                run(&code, &mut buffers, [9, 1, 1]);
                let [_, y] = buffers;
                assert_eq!(*first.get_or_insert(y.clone()), y, "{lanes} lanes, {level}: {kernel}");
            }
        }
    }
}

#[test]
fn values_that_are_the_same_for_all_are_computed_once() {
    // The loop's counter steers barriers; what it counts is no business of the groups'.
    let text = "@compute @workgroup_size(64) fn f(@builtin(local_invocation_index) i: u32) {
        var total = 0u;
        for (var k = x[0]; k > 0u; k >>= 1u) {
            for (var j = 0u; j < k; j++) { total += j; }
            workgroupBarrier();
        }
        y[i] = total + i;
    }";
    for lanes in LANES {
        let code = compile(&format!("{XY}{text}"), Some(lanes), Level::available()[0]);
        let mut buffers = [vec![8; 4], vec![0; 64]];
        run(&code, &mut buffers, [1, 1, 1]);
        let total = (0..8).sum::<u32>() + (0..4).sum::<u32>() + (0..2).sum::<u32>();
        assert!(buffers[1].iter().zip(0..).all(|(y, i)| *y == total + i), "{lanes}: {:?}", buffers[1]);
    }
}

/// Memory between two pages that cannot be touched.
#[cfg(unix)]
struct Guarded {
    start: *mut u8,
    page: usize,
}

#[cfg(unix)]
impl Guarded {
    fn new() -> Self {
        // SAFETY: three pages of our own, two of which are closed.
        unsafe {
            let page = libc::sysconf(libc::_SC_PAGESIZE) as usize;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let start = libc::mmap(std::ptr::null_mut(), 3 * page, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
            assert_ne!(start, libc::MAP_FAILED);
            let start = start.cast::<u8>();
            assert_eq!(libc::mprotect(start.cast(), page, libc::PROT_NONE), 0);
            assert_eq!(libc::mprotect(start.add(2 * page).cast(), page, libc::PROT_NONE), 0);
            Self { start, page }
        }
    }

    /// So many bytes of it, at its beginning or its end.
    fn bound(&self, bytes: usize, at_end: bool) -> Bound {
        let offset = self.page + if at_end { self.page - bytes } else { 0 };
        Bound { start: self.start.wrapping_add(offset), bytes }
    }
}

#[cfg(unix)]
impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: mapped above.
        unsafe { libc::munmap(self.start.cast(), 3 * self.page) };
    }
}

#[cfg(unix)]
#[test]
fn nothing_outside_of_buffers_is_touched() {
    let declared = "struct S { a: vec3<f32>, b: f32, c: array<vec4<f32>, 2> }
        @group(0) @binding(0) var<storage, read_write> x: array<u32>;
        @group(0) @binding(1) var<storage, read_write> s: array<S>;
        @group(0) @binding(2) var<storage, read_write> n: array<atomic<i32>>;
        var<workgroup> t: array<u32, 5>;";
    let indices = [
        "id.x",
        "id.x - 3u",
        "5u - id.x",
        "id.x * 3u",
        "id.x * 1000000007u",
        "x[id.x % 4u]",
        "id.y | 4294967295u",
        "id.x << 28u",
        "id.x + 2147483640u",
        "u32(i32(id.x) - 7)",
        "bitcast<u32>(-i32(id.x))",
        "x[0] + id.x",
    ];
    let uses = [
        "x[INDEX] = x[INDEX + 1u] + 1u;",
        "s[INDEX].c[INDEX] = s[INDEX].c[INDEX + 1u] + vec4<f32>(1.0);",
        "s[INDEX].a = s[INDEX].a.zyx; s[INDEX].b = 2.0;",
        "_ = atomicAdd(&n[INDEX], 1); atomicMax(&n[0], i32(INDEX));",
        "t[INDEX] = 3u; x[0] = t[INDEX + 1u];",
        "var p: array<vec2<u32>, 6>; p[INDEX].y = 3u; x[1] = p[INDEX].x + p[INDEX + 1u].y;",
        "if (id.x % 3u == 1u) { x[INDEX] = 5u; s[INDEX] = s[INDEX + 1u]; } else if (id.x < 9u) { x[INDEX]++; }",
        "for (var k = 0u; k < 9u; k++) { x[INDEX + k] += u32(s[k].b); }",
    ];
    for (number, body) in uses.iter().enumerate() {
        for index in indices {
            let body = body.replace("INDEX", &format!("({index})"));
            let text = format!(
                "{declared} @compute @workgroup_size(12) fn f(@builtin(global_invocation_id) id: vec3<u32>) {{ {body} }}"
            );
            for lanes in LANES {
                let code = compile(&text, Some(lanes), Level::available()[0]);
                for at_end in [false, true] {
                    for elements in [0, 1, 3, 9] {
                        let memory = [(); 3].map(|()| Guarded::new());
                        let sizes = [4 * elements, 48 * elements, 4 * elements];
                        let bound: Vec<Bound> =
                            memory.iter().zip(sizes).map(|(memory, bytes)| memory.bound(bytes, at_end)).collect();
                        // SAFETY: the memory is there until the run is over.
                        unsafe { code.run("test", CpuDevice::new().unwrap(), &bound, [3, 1, 1]) }
                            .unwrap_or_else(|error| panic!("{number}, {index}: {error}"));
                    }
                }
            }
        }
    }
}

#[test]
fn many_values_at_once_take_fewer_lanes_or_are_refused() {
    // Each of so many sums is needed at the end.
    let sums: Vec<String> = (0..600).map(|i| format!("let v{i} = x[i.x + {i}u] * {}u;", i + 3)).collect();
    let total: Vec<String> = (0..600).rev().map(|i| format!("t = t * 3u + v{i};")).collect();
    let (sums, total) = (sums.join("\n"), total.join("\n"));
    let text = format!(
        "{XY} @compute @workgroup_size(64) fn f(@builtin(global_invocation_id) i: vec3<u32>) {{
             {sums} var t = 0u; {total} y[i.x] = t; }}"
    );
    let code = compile(&text, None, Level::available()[0]);
    let mut buffers = [(0..664).collect::<Vec<u32>>(), vec![0; 64]];
    run(&code, &mut buffers, [1, 1, 1]);
    let expected =
        |at: u32| (0..600_u32).rev().fold(0_u32, |t, i| t.wrapping_mul(3).wrapping_add((at + i).wrapping_mul(i + 3)));
    assert!(buffers[1].iter().zip(0..).all(|(y, at)| *y == expected(at)));
}
