//! The process as its operating system sees it, under the names that every Prometheus client uses.

use std::fs;

/// Linux counts CPU time in hundredths of a second and memory in pages of 4 KiB wherever we run.
const TICKS_PER_SECOND: f64 = 100.0;
const PAGE_BYTES: f64 = 4096.0;

/// Name, kind, help and value; without `/proc` there is nothing to tell.
pub fn figures(started_seconds: f64) -> Vec<(&'static str, &'static str, &'static str, f64)> {
    let mut figures = vec![(
        "process_start_time_seconds",
        "gauge",
        "When the process started, in seconds since 1970.",
        started_seconds,
    )];
    if let Some((cpu_seconds, threads)) = stat() {
        figures.push(("process_cpu_seconds_total", "counter", "CPU time in user and system mode.", cpu_seconds));
        figures.push(("process_threads", "gauge", "Threads.", threads));
    }
    if let Some((virtual_bytes, resident_bytes)) = memory() {
        figures.push(("process_virtual_memory_bytes", "gauge", "Virtual memory, in bytes.", virtual_bytes));
        figures.push(("process_resident_memory_bytes", "gauge", "Resident memory, in bytes.", resident_bytes));
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        figures.push(("process_open_fds", "gauge", "Open file descriptors.", open.count() as f64));
    }
    if let Some(max) = max_files() {
        figures.push(("process_max_fds", "gauge", "How many file descriptors there may be.", max));
    }
    figures
}

/// CPU seconds and threads. The name of the program, in parentheses, may hold anything.
fn stat() -> Option<(f64, f64)> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some(((number(11)? + number(12)?) / TICKS_PER_SECOND, number(17)?))
}

fn memory() -> Option<(f64, f64)> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = statm.split(' ').map(|pages| pages.parse::<f64>().map(|pages| pages * PAGE_BYTES));
    Some((pages.next()?.ok()?, pages.next()?.ok()?))
}

fn max_files() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok())
}
