//! `sessions.create`: a new session, and its first message when there is one
//! (`protocol-facts` §6.7).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ResolvedModel, SessionEntryResult};
use crate::protocol::methods::agent::RunStatus;
use crate::protocol::methods::attachment::Attachment;
use crate::protocol::params::params;
use crate::protocol::row::SessionEntry;
use crate::protocol::{Bounded, ErrorBody, NonEmpty, Text};

params! {
    /// Parameters of `sessions.create`.
    SessionsCreateParams {
        optional {
            /// Its key; a fresh one when absent.
            key: NonEmpty,
            /// Makes a repeated call find what the first one made; names the run of the message.
            idempotency_key: NonEmpty,
            /// The agent; must agree with the key.
            agent_id: NonEmpty,
            /// A name no other session has.
            label: Text<1, 512>,
            /// A name to show.
            display_name: Text<1, 500>,
            /// A group in lists.
            category: Text<1, 512>,
            /// The model, as `provider/model`.
            model: NonEmpty,
            /// How hard it thinks.
            thinking_level: NonEmpty,
            /// Whether a fast model variant is used.
            fast_mode: Value,
            /// What its tools may do.
            permission_mode: PermissionMode,
            /// Which tools it has.
            tool_overrides: Map<String, Value>,
            /// The session it belongs to; must exist.
            parent_session_key: NonEmpty,
            /// What the agent is to do first; goes before `message`.
            task: String,
            /// The first message.
            message: String,
            /// Images that come with the first message.
            attachments: Vec<Attachment>,
            /// A session that leaves no trace: not served.
            incognito: bool,
            /// A copy of another session: not served.
            fork: bool,
            /// A checkout of its own: not served.
            worktree: bool,
            /// Who else may see it: everybody may.
            visibility: Visibility,
            /// A node that runs its commands: there are none.
            exec_node: NonEmpty,
            /// A project it belongs to: there are none.
            project_id: NonEmpty,
            /// The same, by its address.
            project_git_url: Text<1, 2048>,
        }
        unused {
            context_window: NonEmpty,
            catalog_id: NonEmpty,
            spawn_depth: Bounded<1, { u64::MAX }>,
            fork_from: NonEmpty,
            emit_command_hooks: bool,
            succeeds_parent: bool,
            worktree_base_ref: NonEmpty,
            worktree_name: NonEmpty,
            cwd: NonEmpty,
        }
    }
}

/// What the tools of a session may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PermissionMode {
    /// Look.
    ReadOnly,
    /// What is harmless.
    Guarded,
    /// Change the workspace.
    Workspace,
    /// Everything.
    Full,
}

/// Who else may see a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Visibility {
    /// Everybody sees and uses it.
    Shared,
    /// Others only look.
    ReadOnly,
    /// Others suggest.
    Suggest,
    /// Nobody else sees it.
    Draft,
}

impl SessionsCreateParams {
    /// The refusal for what is asked of a session and cannot be had here: to make another one than
    /// was asked for would be a lie. `None` when all can be had.
    pub fn refusal(&self) -> Option<String> {
        let asked = [
            ("incognito", self.incognito == Some(true)),
            ("fork", self.fork == Some(true)),
            ("worktree", self.worktree == Some(true)),
            (
                "visibility",
                self.visibility.is_some_and(|it| it != Visibility::Shared),
            ),
            ("execNode", self.exec_node.is_some()),
            ("projectId", self.project_id.is_some()),
            ("projectGitUrl", self.project_git_url.is_some()),
        ];
        let (member, _) = asked.into_iter().find(|(_, is_asked)| *is_asked)?;
        Some(format!("{member} is not supported by this gateway"))
    }

    /// The first message, when there is one.
    pub fn first_message(&self) -> Option<&str> {
        let texts = [self.task.as_deref(), self.message.as_deref()];
        let mut texts = texts.into_iter().flatten();
        let has_images = self.attachments.as_ref().is_some_and(|it| !it.is_empty());
        texts
            .find(|text| !text.trim().is_empty())
            .or(has_images.then_some(""))
    }

    /// The settings of the session.
    pub fn settings(&self) -> Map<String, Value> {
        let text = |text: &str| Value::from(text);
        let mode = self.permission_mode.map(serde_json::to_value);
        let settings = [
            ("displayName", self.display_name.as_deref().map(text)),
            ("category", self.category.as_deref().map(text)),
            ("model", self.model.as_deref().map(text)),
            ("thinkingLevel", self.thinking_level.as_deref().map(text)),
            ("fastMode", self.fast_mode.clone()),
            ("permissionMode", mode.and_then(Result::ok)),
            (
                "toolOverrides",
                self.tool_overrides.clone().map(Value::Object),
            ),
        ];
        let settings = settings.into_iter();
        settings
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }
}

/// The result of `sessions.create`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionsCreateResult {
    /// Always true.
    pub ok: bool,
    /// Its key.
    pub key: String,
    /// Its transcript.
    pub session_id: String,
    /// The stored record.
    pub entry: SessionEntry,
    /// What its next run uses.
    pub resolved: ResolvedModel,
    /// Whether there is a run for the first message.
    pub run_started: bool,
    /// That run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// `started`, or where the run of a known key stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<RunStatus>,
    /// Position of the message in the transcript.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_seq: Option<u64>,
    /// Why there is no run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_error: Option<ErrorBody>,
}

impl SessionsCreateResult {
    /// A session without a run.
    pub fn new(session: SessionEntryResult) -> Self {
        Self {
            ok: true,
            key: session.key,
            session_id: session.entry.session_id.clone(),
            entry: session.entry,
            resolved: session.resolved,
            run_started: false,
            run_id: None,
            status: None,
            message_seq: None,
            run_error: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn params(value: Value) -> SessionsCreateParams {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_cannot_be_had_is_refused_and_named() {
        for (value, expected) in [
            (json!({"incognito": false, "visibility": "shared"}), None),
            (json!({"worktree": false, "cwd": "/x"}), None),
            (json!({"incognito": true}), Some("incognito")),
            (json!({"fork": true}), Some("fork")),
            (json!({"worktree": true}), Some("worktree")),
            (json!({"visibility": "draft"}), Some("visibility")),
            (json!({"execNode": "n"}), Some("execNode")),
            (json!({"projectId": "p"}), Some("projectId")),
            (json!({"projectGitUrl": "u"}), Some("projectGitUrl")),
        ] {
            let expected = expected.map(|it| format!("{it} is not supported by this gateway"));
            assert_eq!(params(value.clone()).refusal(), expected, "{value}");
        }
    }

    #[test]
    fn the_task_goes_before_the_message() {
        let image = json!([{"content": "x"}]);
        for (value, expected) in [
            (json!({}), None),
            (json!({"message": " "}), None),
            (json!({"message": "m"}), Some("m")),
            (json!({"message": "m", "task": "t"}), Some("t")),
            (json!({"message": "m", "task": ""}), Some("m")),
            (json!({"attachments": []}), None),
            (json!({"attachments": image}), Some("")),
        ] {
            assert_eq!(params(value.clone()).first_message(), expected, "{value}");
        }
    }

    #[test]
    fn what_is_given_becomes_a_setting() {
        let given = json!({
            "displayName": "d", "category": "c", "model": "p/m", "thinkingLevel": "low",
            "fastMode": "auto", "permissionMode": "read-only", "toolOverrides": {"webSearch": true},
        });
        let settings = params(given.clone()).settings();
        assert_eq!(Value::Object(settings), given);
        assert!(
            params(json!({"label": "l", "key": "k"}))
                .settings()
                .is_empty()
        );
    }
}
