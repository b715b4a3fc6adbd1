//! How much memory the machine has, and how much of it this process may still take.
#![cfg_attr(not(target_os = "linux"), expect(unsafe_code, reason = "the system is asked by calls into its libraries"))]

use std::sync::OnceLock;

/// The machine's memory, or the limit of the process's cgroup if that is lower. What is not known is unlimited.
pub(super) fn total() -> usize {
    static TOTAL: OnceLock<usize> = OnceLock::new();
    *TOTAL.get_or_init(|| ask().total)
}

/// What could be had at this moment without pushing others out.
pub(super) fn available() -> usize {
    ask().available
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Memory {
    total: usize,
    available: usize,
}

#[cfg(not(target_os = "linux"))]
const UNKNOWN: Memory = Memory { total: usize::MAX, available: usize::MAX };

#[cfg(target_os = "linux")]
fn ask() -> Memory {
    linux::ask(std::path::Path::new("/"))
}

#[cfg(all(unix, not(target_os = "linux")))]
fn ask() -> Memory {
    // Free memory is no measure here: most of it is caches that the system gives up when asked.
    // SAFETY: these calls only return a number.
    let (pages, size) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    match (usize::try_from(pages), usize::try_from(size)) {
        (Ok(pages), Ok(size)) if pages > 0 => Memory { total: pages * size, available: pages * size },
        _ => UNKNOWN,
    }
}

#[cfg(windows)]
fn ask() -> Memory {
    #[repr(C)]
    #[derive(Default)]
    struct Status {
        length: u32,
        load: u32,
        total_physical: u64,
        available_physical: u64,
        total_page_file: u64,
        available_page_file: u64,
        total_virtual: u64,
        available_virtual: u64,
        available_extended_virtual: u64,
    }
    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn GlobalMemoryStatusEx(status: *mut Status) -> i32;
    }
    let mut status = Status { length: size_of::<Status>() as u32, ..Status::default() };
    // SAFETY: the structure is the one that the function documents, and says its own length.
    if unsafe { GlobalMemoryStatusEx(&raw mut status) } == 0 {
        return UNKNOWN;
    }
    // Windows promises no more than it has, with the page file counted in.
    Memory { total: status.total_physical as usize, available: status.available_page_file as usize }
}

#[cfg(not(any(unix, windows)))]
fn ask() -> Memory {
    UNKNOWN
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::read_to_string;
    use std::path::{Path, PathBuf};

    use super::Memory;

    /// `root` is `/`, except in tests.
    pub(super) fn ask(root: &Path) -> Memory {
        let info = read_to_string(root.join("proc/meminfo")).unwrap_or_default();
        let kilobytes = |name| field(&info, name).map(|count| count.saturating_mul(1024));
        let mut memory = Memory {
            total: kilobytes("MemTotal:").unwrap_or(usize::MAX),
            available: kilobytes("MemAvailable:")
                .map_or(usize::MAX, |free| free.saturating_add(kilobytes("SwapFree:").unwrap_or(0))),
        };
        for group in groups(root) {
            if let Some(limited) = limit(&group) {
                memory.total = memory.total.min(limited.total);
                memory.available = memory.available.min(limited.available);
            }
        }
        memory
    }

    /// The directories of the process's memory cgroup and of those above it, of both versions of cgroups.
    fn groups(root: &Path) -> Vec<PathBuf> {
        let memberships = read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        let mut groups = Vec::new();
        for line in memberships.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            let mount = match controllers {
                "" => "sys/fs/cgroup",
                _ if controllers.split(',').any(|name| name == "memory") => "sys/fs/cgroup/memory",
                _ => continue,
            };
            // In a container the path may be one of the host's, which is not there; the mount's root then is ours.
            let mount = root.join(mount);
            let group = mount.join(path.trim_start_matches('/'));
            groups.extend(group.ancestors().take_while(|group| group.starts_with(&mount)).map(Path::to_owned));
        }
        groups
    }

    /// The limit of one cgroup, if it has one, and what is left of it. File caches count as left.
    fn limit(group: &Path) -> Option<Memory> {
        let number = |name: &str| read_to_string(group.join(name)).ok()?.trim().parse::<usize>().ok();
        let (total, used, cache) = match number("memory.max") {
            Some(limit) => (limit, number("memory.current")?, "inactive_file"),
            None => (number("memory.limit_in_bytes")?, number("memory.usage_in_bytes")?, "total_inactive_file"),
        };
        let cache = field(&read_to_string(group.join("memory.stat")).unwrap_or_default(), cache).unwrap_or(0);
        Some(Memory { total, available: total.saturating_sub(used.saturating_sub(cache)) })
    }

    /// The number after a name at the beginning of a line.
    fn field(text: &str, name: &str) -> Option<usize> {
        text.lines().find_map(|line| {
            let mut words = line.split_ascii_whitespace();
            (words.next() == Some(name)).then(|| words.next()?.parse().ok()).flatten()
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn machine(name: &str, files: &[(&str, &str)]) -> Memory {
            let root = std::env::temp_dir().join(format!("gpukern-physical-{name}-{}", std::process::id()));
            let info = ("proc/meminfo", "MemTotal: 8000 kB\nMemFree: 1 kB\nMemAvailable: 5000 kB\nSwapFree: 10 kB\n");
            for (path, text) in [info].iter().chain(files) {
                let path = root.join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            let memory = ask(&root);
            std::fs::remove_dir_all(root).unwrap();
            memory
        }

        #[test]
        fn a_machine_without_cgroups() {
            assert_eq!(machine("plain", &[]), Memory { total: 8000 << 10, available: 5010 << 10 });
        }

        #[test]
        fn version_2_with_a_limit_above() {
            let memory = machine(
                "v2",
                &[
                    ("proc/self/cgroup", "0::/user/job\n"),
                    ("sys/fs/cgroup/user/job/memory.max", "max\n"),
                    ("sys/fs/cgroup/user/memory.max", "1000000\n"),
                    ("sys/fs/cgroup/user/memory.current", "600000\n"),
                    ("sys/fs/cgroup/user/memory.stat", "anon 5\ninactive_file 100000\n"),
                ],
            );
            assert_eq!(memory, Memory { total: 1_000_000, available: 500_000 });
        }

        #[test]
        fn version_1_in_a_container() {
            let memory = machine(
                "v1",
                &[
                    ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n"),
                    ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2000000"),
                    ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1500000"),
                    ("sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 20\n"),
                ],
            );
            assert_eq!(memory, Memory { total: 2_000_000, available: 500_020 });
        }

        #[test]
        fn this_machine() {
            let memory = ask(Path::new("/"));
            assert!(memory.total > 1 << 26 && memory.total < 1 << 50 && memory.available <= memory.total * 4);
        }
    }
}
