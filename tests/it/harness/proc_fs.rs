//! Memory of a running process, read from `/proc`.

/// Returns the resident memory of process `pid` in MiB.
pub fn rss_mib(pid: u32) -> u64 {
    status_field(pid, "VmRSS:")
}

/// Returns the most resident memory process `pid` ever had, in MiB.
pub fn peak_rss_mib(pid: u32) -> u64 {
    status_field(pid, "VmHWM:")
}

fn status_field(pid: u32, field: &str) -> u64 {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let line = status.lines().find(|line| line.starts_with(field));
    let line = line.unwrap_or_else(|| panic!("{path} has no {field}: the process is gone"));
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024
}
