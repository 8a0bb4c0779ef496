//! A server in a process of its own, so that its CPU time and memory are its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

pub(crate) struct Child {
    process: std::process::Child,
    pub(crate) addr: SocketAddr,
}

impl Child {
    /// Starts this binary again in a server role; it prints its address on one line.
    pub(crate) fn start(role: &str) -> Self {
        Self::start_before(role, None)
    }

    /// The same, for a role that goes on to another server.
    pub(crate) fn start_before(role: &str, upstream: Option<SocketAddr>) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg(role)
            .args(upstream.map(|addr| addr.to_string()))
            .stdout(Stdio::piped())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let addr = line
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("{role} said {line:?}"));
        Self { process, addr }
    }

    /// CPU time of all threads so far, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> u64 {
        let tasks = format!("/proc/{}/task", self.process.id());
        std::fs::read_dir(tasks)
            .unwrap()
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
            .filter_map(|line| line.split(' ').next()?.parse::<u64>().ok())
            .sum()
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
            * 1024
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// What a server role does last: it tells its address and ends with its parent.
pub(crate) fn announce(addr: SocketAddr) {
    println!("{addr}");
    std::thread::spawn(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).ok();
        std::process::exit(0);
    });
}
