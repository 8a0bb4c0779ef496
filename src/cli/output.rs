//! Writing to the standard streams.
//!
//! A stream that is closed or full loses what is written to it; nothing fails because of that.

use std::io::{self, IsTerminal, Write};

use crate::config::Colour;
use crate::config::env::Env;

/// Whether text for people is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// It is.
    Colour,
    /// It is not.
    Plain,
}

impl Style {
    /// Colour for a terminal whose owner has not said otherwise.
    pub(super) fn detect(env: &Env) -> Self {
        let wanted = env.get("NO_COLOR").is_none() && env.get("TERM") != Some("dumb");
        if wanted && io::stderr().is_terminal() {
            Self::Colour
        } else {
            Self::Plain
        }
    }
}

impl From<Style> for Colour {
    fn from(style: Style) -> Self {
        match style {
            Style::Colour => Self::On,
            Style::Plain => Self::Off,
        }
    }
}

/// The standard streams.
#[derive(Debug)]
pub(super) struct Output {
    style: Style,
    stdout: io::Stdout,
    stderr: io::Stderr,
}

impl Output {
    pub(super) fn new(style: Style) -> Self {
        Self {
            style,
            stdout: io::stdout(),
            stderr: io::stderr(),
        }
    }

    pub(super) const fn style(&self) -> Style {
        self.style
    }

    /// Writes a part of the answer, as it is, at once.
    pub(super) fn answer(&self, text: &str) {
        let mut stdout = self.stdout.lock();
        lossy(
            stdout
                .write_all(text.as_bytes())
                .and_then(|()| stdout.flush()),
        );
    }

    /// Writes one line of the answer.
    pub(super) fn answer_line(&self, line: &str) {
        self.answer(&format!("{line}\n"));
    }

    /// Writes something that is not the answer.
    pub(super) fn say(&self, text: &str) {
        lossy(self.stderr.lock().write_all(text.as_bytes()));
    }

    /// Writes why the command fails.
    pub(super) fn error(&self, message: &str) {
        let label = match self.style {
            Style::Colour => "\u{1b}[1;31merror\u{1b}[0m",
            Style::Plain => "error",
        };
        self.say(&format!("{label}: {message}\n"));
    }

    /// Writes what may help.
    pub(super) fn hint(&self, message: &str) {
        self.say(&format!("  {message}\n"));
    }
}

/// Lets go of a failure to write: whoever read the stream has left.
fn lossy(result: io::Result<()>) {
    result.ok();
}
