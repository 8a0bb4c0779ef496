//! `sessions.*`: listing, finding, changing and watching conversations (`protocol-facts` §6.6–6.8).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::SessionKey;
use crate::protocol::methods::agents::{THINKING_OFF, ThinkingLevel};
use crate::protocol::params::{Patch, params};
use crate::protocol::row::{SessionEntry, SessionRow};
use crate::protocol::{Bounded, NonEmpty, Text};
use crate::run::ModelRef;

params! {
    /// Parameters of `sessions.list`, and of `sessions.subscribe` when it is to return a list too.
    SessionsListParams {
        optional {
            /// At most this many; 100 when absent.
            limit: Bounded<1, { u64::MAX }>,
            /// Skip this many.
            offset: u64,
            /// Only sessions used in the last minutes.
            active_minutes: Bounded<1, { u64::MAX }>,
            /// Read the first user message of each session for a title.
            include_derived_titles: bool,
            /// Read the last message of each session.
            include_last_message: bool,
            /// Only the session with this label.
            label: Text<1, 512>,
            /// Only sessions another session made: none here.
            spawned_by: String,
            /// Only sessions of this agent.
            agent_id: String,
            /// Only sessions that contain this text.
            search: String,
            /// Archived sessions: `true` only those, `"all"` those too. There are none here.
            archived: Value,
        }
        unused {
            sort_by: SortBy,
            require_last_interaction: bool,
            include_global: bool,
            include_unknown: bool,
            configured_agents_only: bool,
            board_face: String,
            creator_id: String,
            owner_id: String,
            owner_first: bool,
            involving_me: bool,
            involving_profile_id: String,
            include_people: bool,
        }
    }
}

/// Sessions `sessions.list` returns when the caller names no limit.
pub const LIST_LIMIT_DEFAULT: u64 = 100;

/// Most sessions `sessions.list` returns.
pub const LIST_LIMIT_MAX: u64 = 1000;

impl SessionsListParams {
    /// How many sessions to return.
    pub fn limit_applied(&self) -> u64 {
        self.limit
            .map_or(LIST_LIMIT_DEFAULT, Bounded::get)
            .min(LIST_LIMIT_MAX)
    }

    /// Whether the filter can match no session of this gateway: it asks for sessions another
    /// session made, or only for archived ones.
    pub fn matches_nothing(&self) -> bool {
        self.spawned_by.is_some() || self.archived == Some(Value::Bool(true))
    }

    /// Whether every member is absent, so that `sessions.subscribe` returns no list.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The order of a list. Sessions come by their last use whatever is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SortBy {
    /// By the last change.
    UpdatedAt,
    /// By the last message of a user.
    LastInteractionAt,
}

params! {
    /// Parameters of `sessions.resolve`: exactly one of `key`, `sessionId`, `label`, `shortId`.
    SessionsResolveParams {
        optional {
            /// A key.
            key: String,
            /// A transcript.
            session_id: String,
            /// A label.
            label: String,
            /// The first digits of a transcript's id.
            short_id: String,
            /// The agent.
            agent_id: String,
            /// Sessions of another session: none here.
            spawned_by: String,
            /// Whether a miss is an answer rather than an error.
            allow_missing: bool,
        }
        unused {
            slug_hint: String,
            include_global: bool,
            include_unknown: bool,
        }
    }
}

/// How `sessions.resolve` names a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionRef<'a> {
    /// By key.
    Key(&'a str),
    /// By transcript id.
    Id(&'a str),
    /// By label.
    Label(&'a str),
    /// By the first 8 to 32 hexadecimal digits of the transcript id.
    ShortId(&'a str),
}

impl SessionRef<'_> {
    /// The message of a miss.
    pub fn not_found(self) -> String {
        match self {
            Self::Key(name) | Self::Id(name) | Self::ShortId(name) => {
                format!("No session found: {name}")
            }
            Self::Label(label) => format!("No session found with label: {label}"),
        }
    }

    /// The message when several sessions have the name.
    pub fn ambiguous(self, keys: &[&str]) -> String {
        let keys = keys.join(", ");
        match self {
            Self::Key(name) | Self::Id(name) | Self::ShortId(name) => {
                format!("Multiple sessions found for sessionId: {name} ({keys})")
            }
            Self::Label(label) => format!("Multiple sessions found with label: {label} ({keys})"),
        }
    }
}

impl SessionsResolveParams {
    /// The one name given.
    ///
    /// # Errors
    /// The documented message when there is none, more than one, or a malformed short id.
    pub fn name(&self) -> Result<SessionRef<'_>, &'static str> {
        let given = [
            self.key.as_deref().map(SessionRef::Key),
            self.session_id.as_deref().map(SessionRef::Id),
            self.label.as_deref().map(SessionRef::Label),
            self.short_id.as_deref().map(SessionRef::ShortId),
        ];
        let mut names = given.into_iter().flatten();
        let first = names
            .next()
            .ok_or("Either key, sessionId, label, shortId, or reference is required")?;
        if names.next().is_some() {
            return Err(
                "Provide either key, sessionId, label, shortId, or reference (not multiple)",
            );
        }
        match first {
            SessionRef::ShortId(id) if !is_short_id(id) => {
                Err("shortId must be 8-32 hexadecimal characters")
            }
            SessionRef::Key(_)
            | SessionRef::Id(_)
            | SessionRef::Label(_)
            | SessionRef::ShortId(_) => Ok(first),
        }
    }
}

fn is_short_id(text: &str) -> bool {
    (8..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

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

/// The result of `sessions.list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionsListResult {
    /// When the list was made, in wall-clock milliseconds.
    pub ts: u64,
    /// Where the sessions are stored.
    pub path: String,
    /// How many are here.
    pub count: u64,
    /// How many match in all.
    pub total_count: u64,
    /// The limit in force.
    pub limit_applied: u64,
    /// How many were skipped; absent for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The `offset` of the next page.
    pub next_offset: Option<u64>,
    /// Whether there is one.
    pub has_more: bool,
    /// What a new session uses.
    pub defaults: SessionDefaults,
    /// The sessions, last used first.
    pub sessions: Vec<SessionRow>,
}

/// Where a page of sessions stands in the whole list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageOf {
    /// How many match in all.
    pub total: u64,
    /// The limit in force.
    pub limit: u64,
    /// How many were skipped.
    pub offset: u64,
}

impl SessionsListResult {
    /// A page of sessions.
    pub fn new(ts: u64, page: PageOf, defaults: SessionDefaults, rows: Vec<SessionRow>) -> Self {
        let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        let end = page.offset.saturating_add(count);
        let has_more = end < page.total && count > 0;
        Self {
            ts,
            path: String::new(),
            count,
            total_count: page.total,
            limit_applied: page.limit,
            offset: (page.offset > 0).then_some(page.offset),
            next_offset: has_more.then_some(end),
            has_more,
            defaults,
            sessions: rows,
        }
    }
}

/// The result of `sessions.resolve`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionsResolveResult {
    /// Whether exactly one was found.
    pub ok: bool,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// Its transcript.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The sessions, when several have the name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<ResolveCandidate>,
}

impl SessionsResolveResult {
    /// The result as protocol 3 knows it.
    #[must_use]
    pub fn for_v3(self) -> Self {
        Self {
            ok: self.ok,
            key: self.key,
            ..Self::default()
        }
    }
}

/// One of several sessions with the same name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResolveCandidate {
    /// Its key.
    pub key: String,
    /// Its transcript.
    pub session_id: String,
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

    #[test]
    fn a_session_is_named_in_exactly_one_way() {
        let check = |value: Value, expected: Result<SessionRef<'_>, &str>| {
            let params: SessionsResolveParams = serde_json::from_value(value).unwrap();
            assert_eq!(params.name(), expected);
        };
        check(json!({"key": "main"}), Ok(SessionRef::Key("main")));
        check(json!({"label": "x"}), Ok(SessionRef::Label("x")));
        check(
            json!({"shortId": "00ff00ff"}),
            Ok(SessionRef::ShortId("00ff00ff")),
        );
        check(
            json!({"shortId": "xyz"}),
            Err("shortId must be 8-32 hexadecimal characters"),
        );
        check(
            json!({}),
            Err("Either key, sessionId, label, shortId, or reference is required"),
        );
        check(
            json!({"key": "a", "label": "b"}),
            Err("Provide either key, sessionId, label, shortId, or reference (not multiple)"),
        );
    }

    #[test]
    fn pages_say_where_the_next_one_starts() {
        let row = || SessionRow {
            key: "k".to_owned(),
            ..SessionRow::default()
        };
        let check = |offset, rows, expected: Value| {
            let page = PageOf {
                total: 5,
                limit: 2,
                offset,
            };
            let list =
                SessionsListResult::new(1, page, SessionDefaults::default(), vec![row(); rows]);
            let value = serde_json::to_value(list).unwrap();
            let found = json!([
                value["count"],
                value["offset"],
                value["nextOffset"],
                value["hasMore"]
            ]);
            assert_eq!(found, expected);
        };
        check(0, 2, json!([2, null, 2, true]));
        check(4, 1, json!([1, 4, null, false]));
        check(9, 0, json!([0, 9, null, false]));
    }

    #[test]
    fn a_subscription_without_parameters_returns_no_list() {
        let parse = |text| serde_json::from_str::<SessionsListParams>(text).unwrap();
        assert!(parse("{}").is_empty());
        assert!(!parse(r#"{"limit":3}"#).is_empty());
        assert!(parse(r#"{"spawnedBy":"x"}"#).matches_nothing());
        assert!(parse(r#"{"archived":true}"#).matches_nothing());
        assert!(!parse(r#"{"archived":"all"}"#).matches_nothing());
        assert_eq!(parse("{}").limit_applied(), 100);
        assert_eq!(parse(r#"{"limit":100000}"#).limit_applied(), 1000);
    }
}
