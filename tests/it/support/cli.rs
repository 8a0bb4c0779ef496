//! The real binary in a home of its own: commands that end, and gateways that run.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take that is to happen at once; only failing tests wait for it.
const SOON: Duration = Duration::from_mins(1);
/// Time between two looks at what tells nobody when it happens.
const PAUSE: Duration = Duration::from_millis(5);

/// An empty home directory.
pub(crate) struct Home {
    dir: TempDir,
}

/// A command that ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A process that runs; killed when the test is over.
pub(crate) struct Running {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    seen: Vec<String>,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
        }
    }

    /// A home whose configuration says `text`.
    pub(crate) fn with_config(text: &str) -> Self {
        let home = Self::new();
        std::fs::create_dir(home.state_dir()).unwrap();
        std::fs::write(home.config(), text).unwrap();
        home
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join(".clawport")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.state_dir().join("openclaw.json")
    }

    /// The binary with this home and nothing else in its environment.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clawport"));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.dir.path())
            .env("PATH", std::env::var("PATH").unwrap())
            .stdin(Stdio::null());
        command
    }

    /// A gateway that is given a listening socket the way a supervisor does it.
    pub(crate) fn activated(&self, listener: &TcpListener, args: &[&str]) -> Running {
        // Descriptor 3 is the first one handed over; `exec` keeps the process id.
        let script = "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        command
            .args(["-c", script, env!("CARGO_BIN_EXE_clawport"), "gateway"])
            .args(args)
            .env_clear()
            .env("HOME", self.dir.path())
            .env("PATH", std::env::var("PATH").unwrap())
            .stdin(OwnedFd::from(listener.try_clone().unwrap()));
        Running::start(command)
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        ran(self.command(args).output().unwrap())
    }

    /// Starts a gateway on a free port and waits until it is up.
    pub(crate) fn gateway(&self, args: &[&str]) -> (Running, SocketAddr) {
        let all: Vec<&str> = [&["gateway", "--port", "0"], args].concat();
        let mut running = Running::start(self.command(&all));
        let line = running.log_line("the gateway is up");
        let address = line["fields"]["address"].as_str().unwrap();
        (running, address.parse().unwrap())
    }
}

pub(crate) fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = lines(child.stderr.take().unwrap());
        Self {
            child,
            stdout,
            stderr,
            seen: Vec::new(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a log line with this message.
    pub(crate) fn log_line(&mut self, message: &str) -> Value {
        loop {
            let text = self.stderr.recv_timeout(SOON).unwrap_or_else(|_| {
                panic!("no log line {message:?} in {:?}", self.seen);
            });
            let line: Value = serde_json::from_str(&text).unwrap_or_default();
            self.seen.push(text);
            let found = line["fields"]["message"].as_str().unwrap_or_default();
            if found.contains(message) {
                return line;
            }
        }
    }

    /// The lines of standard error that were looked at.
    pub(crate) fn seen(&self) -> &[String] {
        &self.seen
    }

    /// Where it listens, once it is up; `None` when it ends before.
    pub(crate) fn address(&mut self) -> Option<SocketAddr> {
        loop {
            let text = match self.stderr.recv_timeout(SOON) {
                Ok(text) => text,
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => panic!("it neither ends nor serves"),
            };
            let line: Value = serde_json::from_str(&text).unwrap_or_default();
            let is_up = line["fields"]["message"] == "the gateway is up";
            self.seen.push(text);
            if is_up {
                return line["fields"]["address"].as_str()?.parse().ok();
            }
        }
    }

    /// The next line of standard output.
    pub(crate) fn line(&mut self) -> String {
        self.stdout.recv_timeout(SOON).unwrap_or_else(|_| {
            let stderr: Vec<_> = self.stderr.try_iter().collect();
            panic!("no further line of output; {stderr:?}");
        })
    }

    /// Waits for a line of standard output that contains `part`.
    pub(crate) fn line_with(&mut self, part: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Writes a line to its standard input, which must be a pipe.
    pub(crate) fn type_line(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Closes its standard input.
    pub(crate) fn end_input(&mut self) {
        self.child.stdin = None;
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.unwrap().success());
    }

    /// Waits for the end; the exit code, and the rest of both streams.
    pub(crate) fn end(mut self) -> Ran {
        let deadline = Instant::now() + SOON;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                Instant::now() < deadline,
                "it does not end: {:?}",
                self.seen
            );
            std::thread::sleep(PAUSE);
        };
        let all = |rest: &Receiver<String>| rest.iter().map(|line| line + "\n").collect();
        Ran {
            code: status.code(),
            stdout: all(&self.stdout),
            stderr: all(&self.stderr),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        lines.for_each(|line| {
            sender.send(line).ok();
        });
    });
    receiver
}

/// A port nobody listens on right now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Waits until the gateway on a port of this machine is ready.
pub(crate) fn wait_until_ready(port: u16) -> SocketAddr {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let deadline = Instant::now() + SOON;
    let is_ready = || {
        let listening = TcpStream::connect(address).is_ok();
        listening && get(address, "/readyz").starts_with("HTTP/1.1 200")
    };
    while !is_ready() {
        assert!(Instant::now() < deadline, "no gateway is ready on {port}");
        std::thread::sleep(PAUSE);
    }
    address
}

/// Sends one request without a body and returns the whole answer.
pub(crate) fn get(address: SocketAddr, path: &str) -> String {
    send(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"),
    )
}

/// Sends text and returns everything that comes back.
pub(crate) fn send(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}
