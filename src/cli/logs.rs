//! Where log lines go: standard error, through a thread, and the ring `logs.tail` reads.
//!
//! Nobody waits for a reader of standard error: lines queue up to a bound, are then dropped and
//! counted. A closed stream swallows them.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use super::output::Style;
use super::ring::Ring;
use super::{Context, Failure};
use crate::clock::SystemClock;
use crate::config::{LogFormat, LogLevel, LoggingConfig};

/// Most lines that wait for standard error.
const QUEUE_LINES_MAX: usize = 8192;
/// How long the last lines may take when the process ends.
const FLUSH_PATIENCE: Duration = Duration::from_millis(500);

/// Logging that is set up; flushes when it is dropped.
pub(super) struct Logs {
    /// The newest lines.
    pub(super) ring: Ring,
    writer: Option<(StderrQueue, JoinHandle<()>, Receiver<()>)>,
}

impl Drop for Logs {
    fn drop(&mut self) {
        if let Some((queue, thread, written)) = self.writer.take() {
            queue.end();
            // A reader that does not read must not keep the process.
            if let Ok(()) | Err(RecvTimeoutError::Disconnected) =
                written.recv_timeout(FLUSH_PATIENCE)
            {
                thread.join().ok();
            }
        }
    }
}

/// Sets logging up for the process: flag, then `RUST_LOG`, then file.
pub(super) fn start(
    context: Context<'_>,
    config: &LoggingConfig,
    quiet: Option<LogLevel>,
) -> Result<Logs, Failure> {
    let filter = filter(context, quiet.unwrap_or(config.level))?;
    let ring = Ring::new(Arc::new(SystemClock));
    let (queue, thread, written) = StderrQueue::start().map_err(|error| context.fail(&error))?;
    let flag = context.global.log_format.map(LogFormat::from);
    let format = flag.or(config.format).unwrap_or_else(|| {
        if io::stderr().is_terminal() {
            LogFormat::Pretty
        } else {
            LogFormat::Json
        }
    });
    let stderr = stderr_layer(format, context.output.style(), queue.clone());
    let subscriber = Registry::default()
        .with(stderr)
        .with(ring.clone())
        .with(filter);
    // A second call in one process keeps the first set-up, which is as good.
    subscriber.try_init().ok();
    Ok(Logs {
        ring,
        writer: Some((queue, thread, written)),
    })
}

fn filter(context: Context<'_>, level: LogLevel) -> Result<EnvFilter, Failure> {
    let flag = context.global.log_level.map(LogLevel::from);
    let directives = match (flag, context.env.get("RUST_LOG")) {
        (None, Some(directives)) => directives,
        (flag, _) => name(flag.unwrap_or(level)),
    };
    EnvFilter::try_new(directives).map_err(|error| {
        context.output.error(&format!("RUST_LOG: {error}"));
        Failure::Usage
    })
}

const fn name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Off => "off",
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}

fn stderr_layer(
    format: LogFormat,
    style: Style,
    queue: StderrQueue,
) -> Box<dyn Layer<Registry> + Send + Sync> {
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(queue)
        .with_ansi(style == Style::Colour);
    match format {
        LogFormat::Pretty => layer.boxed(),
        LogFormat::Compact => layer.compact().boxed(),
        LogFormat::Json => layer.json().boxed(),
    }
}

/// A bounded queue of lines for standard error.
#[derive(Clone)]
struct StderrQueue {
    lines: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
}

enum Line {
    Text(Vec<u8>),
    End,
}

impl StderrQueue {
    /// The queue, the thread that empties it, and a channel that says when it is empty for good.
    fn start() -> io::Result<(Self, JoinHandle<()>, Receiver<()>)> {
        let (lines, waiting) = sync_channel(QUEUE_LINES_MAX);
        let (done, written) = sync_channel(1);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&dropped);
        let thread = Builder::new().name("log".to_owned()).spawn(move || {
            write_lines(&waiting, &lost, &mut io::stderr());
            done.send(()).ok();
        })?;
        Ok((Self { lines, dropped }, thread, written))
    }

    fn end(&self) {
        // A full queue has a reader that does not read: nothing is lost by not waiting for it.
        self.lines.try_send(Line::End).ok();
    }
}

fn write_lines(waiting: &Receiver<Line>, dropped: &AtomicU64, out: &mut dyn Write) {
    while let Ok(Line::Text(line)) = waiting.recv() {
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let note = format!("{lost} log lines were dropped\n");
            out.write_all(note.as_bytes()).ok();
        }
        out.write_all(&line).ok();
    }
}

impl<'a> MakeWriter<'a> for StderrQueue {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter {
            queue: self,
            line: Vec::new(),
        }
    }
}

/// Collects one line and queues it when it is dropped.
struct LineWriter<'a> {
    queue: &'a StderrQueue,
    line: Vec<u8>,
}

impl Write for LineWriter<'_> {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LineWriter<'_> {
    fn drop(&mut self) {
        let line = Line::Text(std::mem::take(&mut self.line));
        if let Err(TrySendError::Full(_)) = self.queue.lines.try_send(line) {
            self.queue.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(lines_max: usize) -> (StderrQueue, Receiver<Line>) {
        let (lines, waiting) = sync_channel(lines_max);
        let dropped = Arc::default();
        (StderrQueue { lines, dropped }, waiting)
    }

    fn log(queue: &StderrQueue, text: &str) {
        queue.make_writer().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn lines_over_the_bound_are_dropped_and_counted() {
        let (queue, waiting) = queue(2);
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            log(&queue, line);
        }
        let mut out = Vec::new();
        let dropped = Arc::clone(&queue.dropped);
        drop(queue);
        write_lines(&waiting, &dropped, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "2 log lines were dropped\none\ntwo\n"
        );
    }

    #[test]
    fn a_stream_that_is_closed_swallows_lines() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _part: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let (queue, waiting) = queue(4);
        log(&queue, "one\n");
        queue.end();
        log(&queue, "after the end\n");
        write_lines(&waiting, &queue.dropped, &mut Closed);
        assert!(matches!(waiting.try_recv(), Ok(Line::Text(_))));
    }
}
