//! Memory and processor time of a running process, read from `/proc`.

use std::time::{Duration, Instant};

/// Returns the resident memory of process `pid` in MiB.
pub fn rss_mib(pid: u32) -> u64 {
    status_field(pid, "VmRSS:")
}

/// Returns the most resident memory process `pid` ever had, in MiB.
pub fn peak_rss_mib(pid: u32) -> u64 {
    status_field(pid, "VmHWM:")
}

/// Returns the processor time a process has used, in seconds, on all threads.
pub fn cpu_seconds(pid: u32) -> f64 {
    /// Linux counts in hundredths of a second whatever the kernel's own clock (`USER_HZ`).
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    let stat = stat.unwrap_or_else(|e| panic!("process {pid} is gone: {e}"));
    // The name in parentheses may hold spaces; user and system time are the 12th and 13th field after it.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |idx: usize| fields[idx].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}

/// Returns the share of one processor that a process takes, over a quarter of a second.
pub fn cpu_load(pid: u32) -> f64 {
    let (before, started) = (cpu_seconds(pid), Instant::now());
    std::thread::sleep(Duration::from_millis(250));
    (cpu_seconds(pid) - before) / started.elapsed().as_secs_f64()
}

fn status_field(pid: u32, field: &str) -> u64 {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let line = status.lines().find(|line| line.starts_with(field));
    let line = line.unwrap_or_else(|| panic!("{path} has no {field}: the process is gone"));
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024
}
