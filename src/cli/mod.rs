//! The command line: flags, the environment, what is printed, and how the process ends.
//!
//! The only code that prints, sets up logging, handles signals and builds the runtime. Answers go
//! to standard output and everything else to standard error; a closed stream is no reason to fail.

mod args;
mod chat;
mod configure;
mod devices;
mod logs;
mod output;
mod quickstart;
mod remote;
mod ring;
mod runs;
mod serve;
mod sessions;
mod talk;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use output::{Output, Style};

use crate::config::Report;
use crate::config::env::Env;

/// Something failed.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const USAGE: u8 = 2;

/// Why a command ends with another code than 0; what there was to say is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// Something failed.
    Failed,
    /// The command line or the configuration is wrong.
    Usage,
}

/// Runs the command line and says how the process is to end.
pub fn run() -> ExitCode {
    let env = environment();
    let output = Output::new(Style::detect(&env));
    let cli = match Cli::try_parse_from(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, &output),
    };
    match dispatch(cli, &env, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed) => ExitCode::from(FAILED),
        Err(Failure::Usage) => ExitCode::from(USAGE),
    }
}

fn dispatch(cli: Cli, env: &Env, output: &Output) -> Result<(), Failure> {
    let context = Context {
        env,
        output,
        global: &cli.global,
    };
    match cli.command {
        Command::Quickstart(args) => quickstart::run(context, &args),
        Command::Gateway(args) => serve::run(context, &args),
        Command::Agent(args) => talk::agent(context, args),
        Command::Chat(args) => chat::run(context, args),
        Command::Call(args) => talk::call(context, args),
        Command::Health(args) => talk::health(context, args),
        Command::Devices(args) => devices::run(context, args),
        Command::Sessions { command } => sessions::run(context, command),
        Command::Runs { command } => runs::run(context, command),
        Command::Config { command } => configure::run(context, command),
        Command::Completions { shell } => {
            output.answer(&args::completions(shell));
            Ok(())
        }
    }
}

/// What every command gets.
#[derive(Clone, Copy)]
struct Context<'a> {
    env: &'a Env,
    output: &'a Output,
    global: &'a args::Global,
}

impl Context<'_> {
    /// Shows what is wrong with a configuration.
    fn show(self, report: &Report) {
        if !report.is_empty() {
            self.output.say(&report.render(self.output.style().into()));
        }
    }

    /// Says why something failed, down to its first cause.
    fn fail(self, error: &dyn std::error::Error) -> Failure {
        self.output.error(&chain(error));
        Failure::Failed
    }
}

/// An error with everything it came from.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        // Some errors repeat their cause in their own words.
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

/// The variables that are text; nothing here reads any other.
fn environment() -> Env {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Help and version are answers; anything else is a mistake.
fn usage(error: &clap::Error, output: &Output) -> ExitCode {
    let text = match output.style() {
        Style::Colour => error.render().ansi().to_string(),
        Style::Plain => error.render().to_string(),
    };
    if error.use_stderr() {
        output.say(&text);
        ExitCode::from(USAGE)
    } else {
        output.answer(&text);
        ExitCode::SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn an_error_is_told_with_its_causes_and_without_repetition() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer: disk")]
        struct Outer(#[source] Inner);
        #[derive(Debug, thiserror::Error)]
        #[error("disk")]
        struct Inner(#[source] std::io::Error);
        let error = Outer(Inner(std::io::Error::other("full")));
        assert_eq!(chain(&error), "outer: disk: full");
    }
}
