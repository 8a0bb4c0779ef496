//! The environment, as the command line read it once.

use std::collections::BTreeMap;
use std::fmt;

use super::value::{Kind, Value};

/// The token, where neither flag nor file has one.
pub const TOKEN: &str = "OPENCLAW_GATEWAY_TOKEN";
/// The password, where neither flag nor file has one.
pub const PASSWORD: &str = "OPENCLAW_GATEWAY_PASSWORD";
/// The port, where no flag has one.
pub const PORT: &str = "OPENCLAW_GATEWAY_PORT";
/// The state directory.
pub const STATE_DIR: &str = "OPENCLAW_STATE_DIR";
/// The configuration file.
pub const CONFIG_PATH: &str = "OPENCLAW_CONFIG_PATH";

/// The environment; prints names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// A variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Adds the lines of a `.env` file; what is set already stays.
    pub fn add_file(&mut self, text: &str) {
        for (name, value) in text.lines().filter_map(assignment) {
            if self.get(name).is_none() {
                self.0.insert(name.to_owned(), value);
            }
        }
    }
}

impl Env {
    /// The environment with the variables of a configuration's `env` section, which do not replace
    /// those that are set.
    pub(super) fn with_defaults(&self, root: &Value) -> Self {
        let mut env = self.clone();
        let Some(section) = root.get("env") else {
            return env;
        };
        for members in [Some(section), section.get("vars")].into_iter().flatten() {
            env.add_strings(members);
        }
        env
    }

    fn add_strings(&mut self, section: &Value) {
        let Kind::Object(members) = &section.kind else {
            return;
        };
        for member in members {
            if let (Some(text), None) = (member.value.as_str(), self.get(&member.key)) {
                self.0.insert(member.key.clone(), text.to_owned());
            }
        }
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let owned = variables.into_iter().map(|(n, v)| (n.into(), v.into()));
        Self(owned.collect())
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Reads `NAME=value`, with quotes around the value taken off.
fn assignment(line: &str) -> Option<(&str, String)> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let is_name = !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    is_name.then(|| (name, unquoted(value)))
}

fn unquoted(value: &str) -> String {
    if let Some(inner) = value.strip_prefix('\'').and_then(|v| v.strip_suffix('\'')) {
        return inner.to_owned();
    }
    if let Some(inner) = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')) {
        return inner.replace("\\n", "\n").replace("\\\"", "\"");
    }
    let end = value.find(" #").unwrap_or(value.len());
    value.get(..end).unwrap_or_default().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_adds_what_is_not_set() {
        let mut env: Env = [("SET", "process"), ("EMPTY", "")].into_iter().collect();
        env.add_file(
            "# comment\nSET=file\nEMPTY=file\nexport A = plain # tail\nB='it # is'\nC=\"x\\ny\"\n\
             1BAD=x\nno assignment\n=x\n",
        );
        let get = |name| env.get(name);
        assert_eq!(get("SET"), Some("process"));
        assert_eq!(get("EMPTY"), Some("file"));
        assert_eq!(get("A"), Some("plain"));
        assert_eq!(get("B"), Some("it # is"));
        assert_eq!(get("C"), Some("x\ny"));
        assert_eq!(get("1BAD"), None);
    }

    #[test]
    fn values_are_not_printed() {
        let env: Env = [("TOKEN", "hunter2")].into_iter().collect();
        assert_eq!(format!("{env:?}"), "{\"TOKEN\"}");
    }
}
