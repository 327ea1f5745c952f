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
    if let Some(max) = limit("Max open files") {
        figures.push(("process_max_fds", "gauge", "How many file descriptors there may be.", max));
    }
    if let Some(max) = limit("Max address space") {
        let name = "process_virtual_memory_max_bytes";
        figures.push((name, "gauge", "How much virtual memory there may be, in bytes.", max));
    }
    if let Some([received, sent]) = network() {
        let help = "Bytes received, by all processes that see the same network.";
        figures.push(("process_network_receive_bytes_total", "counter", help, received));
        let help = "Bytes sent, by all processes that see the same network.";
        figures.push(("process_network_transmit_bytes_total", "counter", help, sent));
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

/// A soft limit; one that there is not is the largest number.
fn limit(name: &str) -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let soft = limits.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next())?;
    if soft == "unlimited" { Some(u64::MAX as f64) } else { soft.parse().ok() }
}

/// Octets in and out over IP, from a line of names and one of numbers.
fn network() -> Option<[f64; 2]> {
    let statistics = fs::read_to_string("/proc/self/net/netstat").ok()?;
    let mut lines = statistics.lines().filter(|line| line.starts_with("IpExt:"));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let of = |wanted: &str| {
        let at = names.split(' ').position(|name| name == wanted)?;
        numbers.split(' ').nth(at)?.parse().ok()
    };
    Some([of("InOctets")?, of("OutOctets")?])
}

#[cfg(test)]
mod tests {
    use super::figures;

    #[test]
    fn the_process_is_known_by_its_figures() {
        let figures = figures(5.0);
        let of = |wanted: &str| figures.iter().find(|(name, ..)| *name == wanted).map(|(.., value)| *value).unwrap();
        assert_eq!(of("process_start_time_seconds"), 5.0);
        for name in [
            "process_virtual_memory_bytes",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_threads",
            "process_virtual_memory_max_bytes",
        ] {
            assert!(of(name) >= 1.0, "{name}");
        }
        assert!(of("process_network_receive_bytes_total") >= 0.0);
        assert!(of("process_resident_memory_bytes") <= of("process_virtual_memory_bytes"));
    }
}
