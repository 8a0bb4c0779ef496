//! `sessions.*`: listing, finding, changing and watching conversations
//! (`protocol-facts` §6.6–6.8).

mod compact;
mod create;
mod describe;
mod list;
mod patch;
mod read;
mod resolve;
mod search;
mod send;

pub use compact::{
    COMPACT_LINES_V3, CompactionResult, SessionsCompactParams, SessionsCompactResult,
};
pub use create::{PermissionMode, SessionsCreateParams, SessionsCreateResult, Visibility};
pub use describe::{SessionsDescribeParams, SessionsDescribeResult};
pub use list::{
    LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, PageOf, SessionsListParams, SessionsListResult, SortBy,
};
pub use patch::{LABEL_CHARS_MAX, SessionsPatchParams};
pub use read::{
    Keys, PREVIEW_SESSIONS_MAX, PreviewItem, PreviewRole, PreviewStatus, SessionPreview,
    SessionsGetParams, SessionsGetResult, SessionsPreviewParams, SessionsPreviewResult,
};
pub use resolve::{
    ResolveCandidate, SessionRef, SessionReference, SessionsResolveParams, SessionsResolveResult,
    slug_of,
};
pub use search::{
    SEARCH_LIMIT_DEFAULT, SearchHit, SearchRole, SessionsSearchParams, SessionsSearchResult,
};
pub use send::{AbortStatus, SessionsAbortParams, SessionsAbortResult, SessionsSendParams};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::SessionKey;
use crate::protocol::NonEmpty;
use crate::protocol::methods::agents::{THINKING_OFF, ThinkingLevel};
use crate::protocol::params::params;
use crate::protocol::row::SessionEntry;
use crate::run::ModelRef;

params! {
    /// Parameters of `sessions.reset`.
    SessionsResetParams {
        required {
            /// The session.
            key: NonEmpty,
        }
        optional {
            /// The agent; must agree with the key.
            agent_id: String,
            /// `new` or `reset`.
            reason: ResetReason,
            /// Must be the session's transcript.
            expected_session_id: String,
        }
    }
}

/// Why a session is emptied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ResetReason {
    /// A new conversation is wanted.
    New,
    /// The old one is not wanted.
    #[default]
    Reset,
}

params! {
    /// Parameters of `sessions.delete`.
    SessionsDeleteParams {
        required {
            /// The session.
            key: NonEmpty,
        }
        optional {
            /// The agent; must agree with the key.
            agent_id: String,
            /// Must be the session's transcript.
            expected_session_id: String,
            /// Only when the session is archived. Sessions here never are.
            archived_only: bool,
        }
        unused {
            delete_transcript: bool,
            expected_lifecycle_revision: Value,
            expected_session_updated_at: Value,
            emit_lifecycle_hooks: bool,
        }
    }
}

params! {
    /// Parameters of `sessions.messages.subscribe`.
    MessagesSubscribeParams {
        required {
            /// The session.
            key: NonEmpty,
        }
        optional {
            /// The agent; must agree with the key.
            agent_id: String,
        }
        unused {
            include_approvals: bool,
        }
    }
}

params! {
    /// Parameters of `sessions.messages.unsubscribe`.
    MessagesUnsubscribeParams {
        required {
            /// The session.
            key: NonEmpty,
        }
        optional {
            /// The agent; must agree with the key.
            agent_id: String,
        }
    }
}

/// What a new session uses, in `sessions.list` and `chat.history`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionDefaults {
    /// The provider.
    pub model_provider: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// Tokens the model can take in.
    pub context_tokens: Option<u64>,
    /// How hard it can think.
    pub thinking_levels: Vec<ThinkingLevel>,
    /// The same as bare words.
    pub thinking_options: Vec<String>,
    /// How hard it thinks unless told.
    pub thinking_default: String,
}

impl SessionDefaults {
    /// The defaults of an agent.
    pub fn new(model: Option<&ModelRef>, context_tokens: Option<u64>) -> Self {
        Self {
            model_provider: model.map(|model| model.provider.as_ref().to_owned()),
            model: model.map(|model| model.model.as_ref().to_owned()),
            context_tokens,
            thinking_levels: ThinkingLevel::all(),
            thinking_options: vec![THINKING_OFF.to_owned()],
            thinking_default: THINKING_OFF.to_owned(),
        }
    }
}

/// The result of `sessions.patch` and `sessions.reset`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionEntryResult {
    /// Always true.
    pub ok: bool,
    /// Where the session is stored; only after a patch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its key.
    pub key: String,
    /// The stored record.
    pub entry: SessionEntry,
    /// What its next run uses.
    pub resolved: ResolvedModel,
}

impl SessionEntryResult {
    /// The session after a change.
    pub fn new(key: &SessionKey, entry: SessionEntry, model: Option<&ModelRef>) -> Self {
        Self {
            ok: true,
            path: None,
            key: key.as_str().to_owned(),
            entry,
            resolved: ResolvedModel {
                model_provider: model.map(|model| model.provider.as_ref().to_owned()),
                model: model.map(|model| model.model.as_ref().to_owned()),
            },
        }
    }

    /// The same, as `sessions.patch` answers: with the place of storage.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }
}

/// The model a session's next run uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedModel {
    /// The provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_provider: Option<String>,
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// The result of `sessions.delete`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionsDeleteResult {
    /// Always true.
    pub ok: bool,
    /// The key.
    pub key: String,
    /// Whether there was such a session.
    pub deleted: bool,
    /// Files the transcript was moved to: none, it is removed.
    pub archived: Vec<String>,
}

impl SessionsDeleteResult {
    /// The session is gone, or there was none.
    pub fn new(key: &SessionKey, deleted: bool) -> Self {
        Self {
            ok: true,
            key: key.as_str().to_owned(),
            deleted,
            archived: Vec::new(),
        }
    }
}

/// The result of `sessions.subscribe` and of the subscriptions to messages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscribeResult {
    /// Whether events come from now on.
    pub subscribed: bool,
    /// Canonical key, for one session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The list, when `sessions.subscribe` was asked for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<Box<SessionsListResult>>,
}

impl SubscribeResult {
    /// `sessions.subscribe`, with the list it was asked for.
    pub fn sessions(list: Option<SessionsListResult>) -> Self {
        Self {
            subscribed: true,
            key: None,
            list: list.map(Box::new),
        }
    }

    /// A subscription to the messages of one session, made or ended.
    pub fn messages(key: &SessionKey, subscribed: bool) -> Self {
        Self {
            subscribed,
            key: Some(key.as_str().to_owned()),
            list: None,
        }
    }
}
