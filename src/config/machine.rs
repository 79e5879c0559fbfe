//! What this machine offers: cores, and the memory that is ours to use.
//!
//! Called by [`super::Config`] where a setting is 0, "take it from the machine". A container's limit
//! counts: a server that sizes itself by the host's memory is killed by the kernel inside a container.

use std::fs;

/// Share of the memory that queries may reserve when no limit is set. The rest is for what no
/// reservation covers: decoders, caches, the network.
const MEMORY_SHARE_PERCENT: u64 = 60;

/// Used when neither the kernel nor a container says how much memory there is.
const FALLBACK_MEMORY_BYTES: u64 = 2 << 30;

/// Returns `threads`, or the number of cores when it is 0.
pub fn threads_or_cores(threads: usize) -> usize {
    match threads {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
        n => n,
    }
}

/// Returns the default memory limit in bytes: 60 % of what the machine or the container has.
pub fn default_memory_limit() -> u64 {
    let machine = read("/proc/meminfo").as_deref().and_then(parse_meminfo);
    let container = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .into_iter()
        .find_map(|path| read(path)?.trim().parse::<u64>().ok());
    let memory = match (machine, container) {
        (Some(machine), Some(container)) => machine.min(container),
        (Some(bytes), None) | (None, Some(bytes)) => bytes,
        (None, None) => FALLBACK_MEMORY_BYTES,
    };
    memory / 100 * MEMORY_SHARE_PERCENT
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// Returns `MemTotal` of `/proc/meminfo` in bytes.
fn parse_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read() {
        let text = "MemTotal:       16316412 kB\nMemFree:         123 kB\n";
        assert_eq!(parse_meminfo(text), Some(16_316_412 * 1024));
        assert_eq!(parse_meminfo("nothing"), None);
    }

    #[test]
    fn defaults_are_positive() {
        assert!(threads_or_cores(0) >= 1);
        assert_eq!(threads_or_cores(3), 3);
        assert!(default_memory_limit() > 0);
    }
}
