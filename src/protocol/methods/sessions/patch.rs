//! `sessions.patch`: changing settings of a session (`protocol-facts` §6.7).

use serde_json::{Map, Value};

use crate::protocol::NonEmpty;
use crate::protocol::params::{Patch, params};

params! {
    /// Parameters of `sessions.patch`.
    SessionsPatchParams {
        required {
            /// The session; made when it does not exist.
            key: NonEmpty,
        }
        optional {
            /// The agent; must agree with the key.
            agent_id: String,
            /// Must be the session's transcript.
            expected_session_id: String,
        }
        patch {
            /// A name.
            label: String,
            /// An icon.
            icon: String,
            /// A colour.
            color: String,
            /// A group in lists.
            category: String,
            /// How hard it thinks.
            thinking_level: String,
            /// Whether a fast model variant is used.
            fast_mode: Value,
            /// How much of its tools it shows.
            verbose_level: String,
            /// How much of its reasoning it shows.
            reasoning_level: String,
            /// How much it tells about tokens.
            response_usage: String,
            /// The model, as `provider/model`.
            model: String,
            /// Whether messages are taken.
            send_policy: String,
            /// When it speaks in a group.
            group_activation: String,
            /// Whether it is shown among the archived ones.
            archived: bool,
            /// Whether it is shown first.
            pinned: bool,
            /// Whether it is shown as unread.
            unread: bool,
            /// What its tools may do.
            permission_mode: String,
            /// Which tools it has.
            tool_overrides: Value,
            /// How much it traces.
            trace_level: String,
            /// How much its tools may do.
            elevated_level: String,
            /// Tokens of context.
            context_window: u64,
        }
        unused {
            auto_label: Value,
            board_face: Value,
            board_presentation: Value,
            status_note: Value,
            attention: Value,
            ttl_minutes: Value,
            agent_runtime: Value,
            exec_host: Value,
            exec_security: Value,
            exec_ask: Value,
            exec_node: Value,
            expected_lifecycle_revision: Value,
            expected_permission_mode: Value,
            expected_tool_overrides: Value,
            expected_marked_unread_at: Value,
        }
    }
}

/// Longest label, in characters.
pub const LABEL_CHARS_MAX: usize = 512;

const THINKING_LEVELS: &[&str] = &["off", "minimal", "low", "medium", "high", "xhigh"];

/// A setting with few values: its name, its values, how a refusal lists them.
struct Choice<'a> {
    name: &'static str,
    value: &'a Patch<String>,
    values: &'static [&'static str],
    shown: &'static str,
}

impl SessionsPatchParams {
    /// The refusal for a value a setting cannot have; `None` when all are fine.
    pub fn refusal(&self) -> Option<String> {
        if let Some(label) = self.label.value()
            && label.chars().count() > LABEL_CHARS_MAX
        {
            return Some(format!("label too long (max {LABEL_CHARS_MAX})"));
        }
        let wrong = |choice: &Choice<'_>| {
            let value = choice.value.value();
            value.is_some_and(|value| !choice.values.contains(&value.as_str()))
        };
        let choice = self.choices().into_iter().find(wrong)?;
        Some(format!("invalid {} (use {})", choice.name, choice.shown))
    }

    fn choices(&self) -> [Choice<'_>; 5] {
        [
            Choice {
                name: "thinkingLevel",
                value: &self.thinking_level,
                values: THINKING_LEVELS,
                shown: "off|minimal|low|medium|high|xhigh",
            },
            Choice {
                name: "verboseLevel",
                value: &self.verbose_level,
                values: &["on", "off", "full"],
                shown: r#""on"|"off"|"full""#,
            },
            Choice {
                name: "responseUsage",
                value: &self.response_usage,
                values: &["off", "tokens", "full", "on"],
                shown: r#""off"|"tokens"|"full""#,
            },
            Choice {
                name: "sendPolicy",
                value: &self.send_policy,
                values: &["allow", "deny"],
                shown: r#""allow"|"deny""#,
            },
            Choice {
                name: "groupActivation",
                value: &self.group_activation,
                values: &["mention", "always"],
                shown: r#""mention"|"always""#,
            },
        ]
    }

    /// The settings beside the label; `null` clears one.
    pub fn settings(&self) -> Map<String, Value> {
        let mut settings = match serde_json::to_value(self) {
            Ok(Value::Object(members)) => members,
            Ok(_) | Err(_) => Map::new(),
        };
        for envelope in ["key", "agentId", "expectedSessionId", "label"] {
            settings.remove(envelope);
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patch(value: Value) -> SessionsPatchParams {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_patch_tells_cleared_from_untouched_settings() {
        let params = patch(
            json!({"key": "k", "agentId": "main", "label": "x", "model": null,
                                  "thinkingLevel": "high", "pinned": true, "execHost": "y"}),
        );
        assert_eq!(params.label, Patch::Set("x".to_owned()));
        assert_eq!(
            Value::Object(params.settings()),
            json!({"model": null, "thinkingLevel": "high", "pinned": true})
        );
        assert!(patch(json!({"key": "k"})).settings().is_empty());
    }

    #[test]
    fn settings_with_few_values_refuse_others() {
        let check = |setting: Value, expected: Option<&str>| {
            let mut value = json!({"key": "k"});
            let object = value.as_object_mut().unwrap();
            object.extend(setting.as_object().unwrap().clone());
            assert_eq!(patch(value).refusal().as_deref(), expected);
        };
        check(json!({"thinkingLevel": "high", "sendPolicy": "deny"}), None);
        check(json!({"thinkingLevel": null}), None);
        check(
            json!({"thinkingLevel": "much"}),
            Some("invalid thinkingLevel (use off|minimal|low|medium|high|xhigh)"),
        );
        check(
            json!({"verboseLevel": "x"}),
            Some(r#"invalid verboseLevel (use "on"|"off"|"full")"#),
        );
        check(
            json!({"label": "ä".repeat(513)}),
            Some("label too long (max 512)"),
        );
        check(json!({"label": "ä".repeat(512)}), None);
    }
}
