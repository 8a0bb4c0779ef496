//! `config check | show | schema`, and how every command loads the configuration.

use super::args::ConfigCommand;
use super::{Context, Failure};
use crate::config::env::Env;
use crate::config::problem::Severity;
use crate::config::{self, Load, Loaded, Overrides, Paths, TokenFile};

/// Name of the file with variables in the state directory.
const ENV_FILE: &str = ".env";

pub(super) fn run(context: Context<'_>, command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check { json } => check(context, json),
        ConfigCommand::Show => show(context),
        ConfigCommand::Schema => {
            context
                .output
                .answer_line(&format!("{:#}", config::schema()));
            Ok(())
        }
    }
}

/// The environment with the variables of the state directory, and where things are.
pub(super) fn locate(context: Context<'_>) -> Result<(Env, Paths), Failure> {
    let paths = Paths::find(context.env, context.global.config.as_deref());
    let paths = paths.map_err(|fault| {
        context.output.error(&fault.to_string());
        Failure::Usage
    })?;
    let mut env = context.env.clone();
    if let Ok(text) = std::fs::read_to_string(paths.state_dir.join(ENV_FILE)) {
        env.add_file(&text);
    }
    Ok((env, paths))
}

/// Loads the configuration; what is wrong is shown, warnings are handed on.
pub(super) fn load(
    context: Context<'_>,
    overrides: &Overrides,
    token_file: TokenFile,
) -> Result<(Loaded, Paths), Failure> {
    let (env, paths) = locate(context)?;
    let loaded = config::load(&Load {
        env: &env,
        paths: &paths,
        overrides,
        token_file,
    });
    match loaded {
        Ok(loaded) => Ok((loaded, paths)),
        Err(report) => {
            context.show(&report);
            Err(Failure::Usage)
        }
    }
}

fn check(context: Context<'_>, json: bool) -> Result<(), Failure> {
    let (env, paths) = locate(context)?;
    let overrides = Overrides::default();
    let result = config::load(&Load {
        env: &env,
        paths: &paths,
        overrides: &overrides,
        token_file: TokenFile::Look,
    });
    let (report, valid) = match result {
        Ok(loaded) => (loaded.report, true),
        Err(report) => (report, false),
    };
    let path = paths.config.display();
    if json {
        let answer = serde_json::json!({
            "path": path.to_string(),
            "valid": valid,
            "problems": report.entries(),
        });
        context.output.answer_line(&answer.to_string());
    } else {
        context.show(&report);
        if valid {
            let warnings = match report.count(Severity::Warning) {
                0 => String::new(),
                1 => ", with 1 warning".to_owned(),
                n => format!(", with {n} warnings"),
            };
            let exists = if paths.config.exists() {
                ""
            } else {
                " (not there: defaults)"
            };
            context
                .output
                .answer_line(&format!("{path}{exists} is valid{warnings}"));
        }
    }
    if valid { Ok(()) } else { Err(Failure::Usage) }
}

fn show(context: Context<'_>) -> Result<(), Failure> {
    let (loaded, _paths) = load(context, &Overrides::default(), TokenFile::Look)?;
    let effective = loaded.config.view.effective();
    context.output.answer_line(&format!("{effective:#}"));
    Ok(())
}
