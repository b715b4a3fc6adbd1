//! Keeps workers off the processor that their caller runs on.
//!
//! Linux likes to wake a thread where its waker runs. On a virtual machine, whose idle processors it takes for busy
//! ones, it does so for seconds on end, and two threads then take turns on one processor while another has nothing to
//! do. So a worker may run wherever its caller may, but for the caller's own place. That is set when the caller has
//! moved, which is seldom.
#![expect(unsafe_code, reason = "placement is by system calls")]

/// The number of the processor that this thread runs on at the moment.
pub(super) fn processor() -> i32 {
    // SAFETY: it takes nothing and returns a number.
    unsafe { libc::sched_getcpu() }
}

/// The system's number for this thread.
pub(super) fn thread_number() -> i32 {
    // SAFETY: it takes nothing and returns a number.
    unsafe { libc::syscall(libc::SYS_gettid) as i32 }
}

/// Lets these threads run wherever the calling one may, except on one processor. If that leaves nowhere, or the
/// system does not want it, all stay as they are.
pub(super) fn keep_away(threads: impl Iterator<Item = i32>, processor: i32) {
    let Ok(processor) = usize::try_from(processor) else { return };
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: the set is plain bits for which zero is a value, it is as long as we say, and the processor is checked
    // to be in it.
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        if processor >= 8 * size || libc::sched_getaffinity(0, size, &raw mut allowed) != 0 {
            return;
        }
        libc::CPU_CLR(processor, &mut allowed);
        if libc::CPU_COUNT(&allowed) > 0 {
            for thread in threads {
                libc::sched_setaffinity(thread, size, &raw const allowed);
            }
        }
    }
}
