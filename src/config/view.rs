//! The configuration as requests see it: secrets replaced.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::json5;
use super::raw::RawConfig;
use super::redact;
use super::source::{FileId, Sources, Span};
use super::valid::{Checks, Inputs};
use super::value::{Kind, Value};
use crate::dispatch::{ConfigSnapshot, ConfigView, GatewayIdentity};

/// What stands in place of a secret.
pub(super) const REDACTED: &str = "__OPENCLAW_REDACTED__";

/// The configuration as requests see it.
#[derive(Clone, Debug)]
pub struct View {
    snapshot: ConfigSnapshot,
    main_key: Arc<str>,
    stores_stateless: bool,
    state_dir: Arc<str>,
}

impl View {
    /// Shows what is in force and what the main file says.
    pub(super) fn new(raw: &RawConfig, inputs: Inputs<'_>, checks: &Checks<'_>) -> Self {
        let (paths, main) = (inputs.paths, inputs.main);
        let sources: &Sources = checks.sources;
        let text = main.and_then(|file| Some((file, sources.get(file)?.text())));
        let shown = text.map(|(file, text)| show(text, file, sources));
        let hash = Sha256::digest(text.map_or("", |(_, text)| text));
        let (raw_text, parsed) = shown.unzip();
        let chat = &raw.gateway.http.endpoints.chat_completions;
        Self {
            snapshot: ConfigSnapshot {
                path: paths.config.display().to_string().into(),
                exists: main.is_some(),
                raw: raw_text.map(Arc::from),
                parsed: parsed.unwrap_or_else(|| Json::Object(serde_json::Map::new())),
                effective: effective(raw),
                hash: hex(&hash).into(),
                warnings: checks.problems.warnings(),
            },
            main_key: raw.session.main_key.as_str().into(),
            stores_stateless: chat.store_stateless,
            state_dir: paths.state_dir.display().to_string().into(),
        }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(digit).collect()
}

/// The configuration in force with every default, secrets replaced.
pub(super) fn effective(raw: &RawConfig) -> Json {
    // These types are maps with string keys, lists and scalars, which JSON can always hold.
    serde_json::to_value(raw).expect("a configuration can be written as JSON")
}

/// The text and the value of a file, secrets replaced.
fn show(text: &str, file: FileId, sources: &Sources) -> (String, Json) {
    let Some(value) = json5::parse(text, file).value else {
        return (String::new(), Json::Null);
    };
    let secrets = redact::secrets(&value, sources);
    let quoted = |_: &str| format!("\"{REDACTED}\"");
    let mut shown = redact::replaced(text, &secrets, quoted);
    // A comment may repeat a secret that is in force.
    for secret in secrets.iter().filter_map(|span| sources.text_of(*span)) {
        let inside = secret.trim_matches(['"', '\'']);
        if inside.len() >= COMMENT_BYTES_MIN {
            shown = shown.replace(inside, REDACTED);
        }
    }
    let mut hidden = value;
    hide(&mut hidden, &secrets);
    (shown, hidden.to_json())
}

/// Shorter secrets would be found in words that are none.
const COMMENT_BYTES_MIN: usize = 4;

fn hide(value: &mut Value, secrets: &[Span]) {
    match &mut value.kind {
        Kind::String(text) => {
            if secrets.contains(&value.span) {
                REDACTED.clone_into(text);
            }
        }
        Kind::Array(items) => items.iter_mut().for_each(|item| hide(item, secrets)),
        Kind::Object(members) => {
            for member in members {
                hide(&mut member.value, secrets);
            }
        }
        Kind::Null | Kind::Bool(_) | Kind::Number(_) => {}
    }
}

impl View {
    /// The configuration in force with every default, secrets replaced.
    pub const fn effective(&self) -> &Json {
        &self.snapshot.effective
    }
}

impl ConfigView for View {
    fn snapshot(&self) -> ConfigSnapshot {
        self.snapshot.clone()
    }

    fn schema(&self) -> Json {
        super::schema::inlined().clone()
    }

    fn main_key(&self) -> Arc<str> {
        Arc::clone(&self.main_key)
    }

    fn stores_stateless(&self) -> bool {
        self.stores_stateless
    }

    fn state_dir(&self) -> Arc<str> {
        Arc::clone(&self.state_dir)
    }

    fn identity(&self) -> Option<GatewayIdentity> {
        let found = super::identity::kept(Path::new(&*self.state_dir));
        found
            .inspect_err(|error| tracing::error!(%error, "the gateway has no key"))
            .ok()
    }
}
