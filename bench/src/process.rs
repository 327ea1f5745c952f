//! What processes have used, as the kernel counts it.

use std::time::Duration;

use anyhow::{Context, Result};

/// The kernel counts processor time in hundredths of a second towards user space, on every machine.
const TICK: Duration = Duration::from_millis(10);

/// Processor time, user and system, of all of them so far.
pub fn cpu(pids: &[u32]) -> Result<Duration> {
    let mut ticks = 0;
    for pid in pids {
        let stat = read(*pid, "stat")?;
        // The command's name, in parentheses, may hold anything; the numbers come after it.
        let (_, fields) = stat.rsplit_once(')').context("stat has no command")?;
        let times = fields.split_whitespace().skip(11).take(2);
        ticks += times.map(str::parse::<u32>).sum::<Result<u32, _>>()?;
    }
    Ok(TICK * ticks)
}

/// Resident memory of all of them, in bytes.
pub fn resident(pids: &[u32]) -> Result<u64> {
    let mut bytes = 0;
    for pid in pids {
        let rollup = read(*pid, "smaps_rollup")?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).context("no Rss")?;
        bytes += line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024;
    }
    Ok(bytes)
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    std::fs::read_to_string(&path).context(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_can_be_read() {
        let this = [std::process::id()];
        assert!(resident(&this).unwrap() > 100_000);

        assert!(cpu(&this).unwrap() < Duration::from_secs(3600));
        assert!(cpu(&[u32::MAX]).is_err());
    }
}
