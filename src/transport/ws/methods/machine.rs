//! The machine the gateway runs on, as far as `/proc` tells.
//!
//! Elsewhere than on Linux most of it stays empty. The files are in memory, so reading them does
//! not wait.

use std::fs;
use std::thread::available_parallelism;

/// What is known of the machine and of the process's part of it.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    /// Its name in the network.
    pub(super) hostname: String,
    /// Its operating system, as Node.js calls it.
    pub(super) platform: &'static str,
    /// The release of that.
    pub(super) release: String,
    /// Its processor, as Node.js calls it.
    pub(super) arch: &'static str,
    /// Processors the process may use.
    pub(super) cpus: u64,
    /// The average load over 1, 5 and 15 minutes.
    pub(super) load: Option<[f64; 3]>,
    /// Its memory.
    pub(super) memory_bytes: u64,
    /// How much of that is free.
    pub(super) memory_free_bytes: u64,
    /// How much the process holds.
    pub(super) process_bytes: Option<u64>,
}

impl Machine {
    pub(super) fn read() -> Self {
        let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let memory = file("/proc/meminfo");
        Self {
            hostname: file("/proc/sys/kernel/hostname").trim().to_owned(),
            platform: platform(),
            release: file("/proc/sys/kernel/osrelease").trim().to_owned(),
            arch: arch(),
            cpus: available_parallelism()
                .ok()
                .and_then(|count| u64::try_from(count.get()).ok())
                .unwrap_or(1),
            load: load(&file("/proc/loadavg")),
            memory_bytes: bytes_of(&memory, "MemTotal:").unwrap_or(0),
            memory_free_bytes: bytes_of(&memory, "MemAvailable:").unwrap_or(0),
            process_bytes: bytes_of(&file("/proc/self/status"), "VmRSS:"),
        }
    }
}

fn platform() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        "windows" => "win32",
        other => other,
    }
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The first three numbers of `/proc/loadavg`.
fn load(text: &str) -> Option<[f64; 3]> {
    let mut numbers = text.split_whitespace().map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some([next()?, next()?, next()?])
}

/// A row of a file whose rows are a name and a number of kibibytes.
fn bytes_of(text: &str, name: &str) -> Option<u64> {
    let row = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = row.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_loads_are_read() {
        let text = "MemTotal:       24683120 kB\nMemAvailable:   20348474 kB\n";
        assert_eq!(bytes_of(text, "MemAvailable:"), Some(20_348_474 * 1024));
        assert_eq!(bytes_of(text, "VmRSS:"), None);
        assert_eq!(bytes_of("VmRSS: lots", "VmRSS:"), None);
        assert_eq!(load("3.62 4.18 0.50 2/300 77\n"), Some([3.62, 4.18, 0.5]));
        assert_eq!(load("3.62"), None);
        assert_eq!(load(""), None);
    }

    #[test]
    fn this_machine_has_a_processor() {
        let machine = Machine::read();
        assert!(machine.cpus >= 1 && !machine.arch.is_empty(), "{machine:?}");
    }
}
