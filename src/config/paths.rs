//! Where state and configuration are.

use std::path::{Path, PathBuf};

use super::env::{CONFIG_PATH, Env, STATE_DIR};
use super::problem::Fault;

/// Name of the configuration file in the state directory.
const FILE_NAME: &str = "openclaw.json";
/// Name of the state directory in the home directory.
const DIR_NAME: &str = ".clawport";

/// Where state and configuration are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The state directory.
    pub state_dir: PathBuf,
    /// The configuration file.
    pub config: PathBuf,
    /// Who named the configuration file; `None` when it is where it usually is, and may be missing.
    pub named_by: Option<&'static str>,
}

impl Paths {
    /// Finds both: `--config` > `OPENCLAW_CONFIG_PATH` > the state directory, which is
    /// `OPENCLAW_STATE_DIR` or `~/.clawport`.
    ///
    /// # Errors
    /// [`Fault::NoHome`] when there is nothing to start from.
    pub fn find(env: &Env, flag: Option<&Path>) -> Result<Self, Fault> {
        let home = env.get("HOME").map(PathBuf::from);
        let state_dir = match (env.get(STATE_DIR), &home) {
            (Some(dir), _) => expand(dir, home.as_deref()),
            (None, Some(home)) => home.join(DIR_NAME),
            (None, None) => return Err(Fault::NoHome),
        };
        let (config, named_by) = match (flag, env.get(CONFIG_PATH)) {
            (Some(path), _) => (path.to_path_buf(), Some("--config")),
            (None, Some(path)) => (expand(path, home.as_deref()), Some(CONFIG_PATH)),
            (None, None) => (state_dir.join(FILE_NAME), None),
        };
        Ok(Self {
            state_dir,
            config,
            named_by,
        })
    }
}

/// Puts the home directory in place of a leading `~`.
pub(super) fn expand(path: &str, home: Option<&Path>) -> PathBuf {
    let rest = path.strip_prefix('~');
    match (rest, home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
            home.join(rest.trim_start_matches('/'))
        }
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(env: &[(&str, &str)], flag: Option<&str>, state_dir: &str, config: &str) {
        let env: Env = env.iter().copied().collect();
        let paths = Paths::find(&env, flag.map(Path::new)).unwrap();
        assert_eq!(paths.state_dir, Path::new(state_dir), "{env:?}");
        assert_eq!(paths.config, Path::new(config), "{env:?}");
    }

    #[test]
    fn a_flag_beats_a_variable_and_both_beat_the_usual_place() {
        let home = ("HOME", "/h");
        check(&[home], None, "/h/.clawport", "/h/.clawport/openclaw.json");
        check(&[home, (STATE_DIR, "/s")], None, "/s", "/s/openclaw.json");
        check(&[(STATE_DIR, "/s")], None, "/s", "/s/openclaw.json");
        check(
            &[home, (STATE_DIR, "/s"), (CONFIG_PATH, "/c")],
            None,
            "/s",
            "/c",
        );
        check(
            &[home, (CONFIG_PATH, "/c")],
            Some("f.json"),
            "/h/.clawport",
            "f.json",
        );
        check(
            &[home, (STATE_DIR, "~/s"), (CONFIG_PATH, "~")],
            None,
            "/h/s",
            "/h",
        );
        check(
            &[home, (STATE_DIR, "~x/s"), (CONFIG_PATH, "a~/b")],
            None,
            "~x/s",
            "a~/b",
        );
    }

    #[test]
    fn without_a_home_there_is_nowhere_to_keep_state() {
        let found = Paths::find(&Env::default(), Some(Path::new("/c")));
        assert!(matches!(found, Err(Fault::NoHome)));
    }
}
