//! The folder of the Control UI and the path it is served at.

use std::path::{Path, PathBuf, absolute};

use super::super::paths::expand;
use super::super::problem::Fault;
use super::super::raw::RawControlUi;
use super::super::value::KeyPath;
use super::{Checks, Inputs};
use crate::transport::ControlUiConfig;

/// The document every folder of a Control UI holds.
const INDEX: &str = "index.html";

/// The page, unless it is switched off; the outer `None` when it is described wrongly.
///
/// A folder that is not there is warned about only: it may come and go with the package it belongs
/// to, and everything else works without it.
#[expect(
    clippy::option_option,
    reason = "absent and wrong are different things here"
)]
pub(super) fn served(
    raw: &RawControlUi,
    inputs: Inputs<'_>,
    checks: &mut Checks<'_>,
) -> Option<Option<ControlUiConfig>> {
    let base_path = base_path(&raw.base_path, checks)?;
    if !raw.enabled {
        return Some(None);
    }
    let root = raw.root.as_deref().map(str::trim);
    let root = root.filter(|root| !root.is_empty());
    let root = root.map(|root| folder(root, inputs, checks));
    Some(Some(ControlUiConfig { root, base_path }))
}

/// The folder a file names, looked at.
fn folder(root: &str, inputs: Inputs<'_>, checks: &mut Checks<'_>) -> PathBuf {
    let home = inputs.env.get("HOME").map(Path::new);
    let near = inputs.paths.config.parent().unwrap_or(Path::new(""));
    let root = near.join(expand(root, home));
    let root = absolute(&root).unwrap_or(root);
    let path = KeyPath::of("gateway.controlUi.root");
    if !root.is_dir() {
        checks.fault(&path, Fault::NoControlUiFolder(root.clone()));
    } else if !root.join(INDEX).is_file() {
        checks.fault(&path, Fault::NoControlUiDocument(root.clone()));
    }
    root
}

/// Without its last slash; `None` when a browser would read it as something else.
fn base_path(text: &str, checks: &mut Checks<'_>) -> Option<String> {
    let trimmed = text.trim().trim_matches('/');
    if trimmed.is_empty() {
        return Some(String::new());
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
    let mut segments = trimmed.split('/');
    let is_path = segments
        .all(|part| !part.is_empty() && !part.starts_with('.') && part.chars().all(is_plain));
    if is_path {
        return Some(format!("/{trimmed}"));
    }
    let fault = Fault::BadValue {
        expected: "a path such as /openclaw",
        found: text.to_owned(),
    };
    checks.fault(&KeyPath::of("gateway.controlUi.basePath"), fault);
    None
}
