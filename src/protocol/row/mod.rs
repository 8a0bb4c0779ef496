//! Sessions as clients see them: the row of lists and events (`protocol-facts` §9.2).
//!
//! Callers pass plain facts; where they come from is not known here.

mod entry;
mod words;

pub use entry::SessionEntry;
pub use words::{preview, title};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::{AgentId, SessionId, SessionKey, WireId};
use crate::protocol::methods::agents::{THINKING_OFF, ThinkingLevel};
use crate::run::{Compactions, ModelRef, Outcome, Terminal, Usage};

/// Settings a row shows beside those that are members of their own.
const ROW_SETTINGS: [&str; 14] = [
    "thinkingLevel",
    "fastMode",
    "verboseLevel",
    "traceLevel",
    "reasoningLevel",
    "elevatedLevel",
    "sendPolicy",
    "responseUsage",
    "groupActivation",
    "icon",
    "color",
    "category",
    "permissionMode",
    "toolOverrides",
];

/// Members an event spells out as `null` when a row has none, so that clients that merge rows
/// forget the old value.
const CLEARED: [&str; 12] = [
    "label",
    "displayName",
    "thinkingLevel",
    "permissionMode",
    "icon",
    "color",
    "category",
    "toolOverrides",
    "lastRunId",
    "lastRunError",
    "endedAt",
    "runtimeMs",
];

/// Members only the row itself has, not an event beside it.
const ROW_ONLY: [&str; 8] = [
    "key",
    "isMain",
    "isBackground",
    "derivedTitle",
    "lastMessagePreview",
    "thinkingLevels",
    "thinkingOptions",
    "thinkingDefault",
];

/// What is known of a session.
#[derive(Clone, Copy, Debug)]
pub struct SessionFacts<'a> {
    /// Canonical key.
    pub key: &'a SessionKey,
    /// Its agent.
    pub agent: &'a AgentId,
    /// The last part of main session keys.
    pub main_key: &'a str,
    /// Its record; `None` when the session does not exist.
    pub record: Option<RecordFacts<'a>>,
    /// Runs that have not ended, in the order they were accepted.
    pub active: &'a [ActiveRun<'a>],
    /// The model its next run uses.
    pub model: Option<&'a ModelRef>,
    /// Tokens that model can take in.
    pub context_tokens: Option<u64>,
    /// The first user message, for a title.
    pub first_text: Option<&'a str>,
    /// The last message, for a preview.
    pub last_text: Option<&'a str>,
}

/// What the ledger knows of a session.
#[derive(Clone, Copy, Debug)]
pub struct RecordFacts<'a> {
    /// Its transcript.
    pub session_id: SessionId,
    /// When it was first used, in wall-clock milliseconds.
    pub created_at_ms: u64,
    /// When it was last used, in wall-clock milliseconds.
    pub updated_at_ms: u64,
    /// Name given by an operator.
    pub label: Option<&'a str>,
    /// Everything else `sessions.patch` can set.
    pub settings: &'a Map<String, Value>,
    /// Tokens used by the session's runs.
    pub usage: &'a Usage,
    /// The run that ended last.
    pub last_run: Option<(&'a WireId, &'a Terminal)>,
}

/// A run that has not ended.
#[derive(Clone, Copy, Debug)]
pub struct ActiveRun<'a> {
    /// The id peers use.
    pub run: &'a WireId,
    /// When the agent was started, in wall-clock milliseconds; `None` while it waits.
    pub started_at_ms: Option<u64>,
}

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SessionStatus {
    /// Its next run waits.
    Queued,
    /// A run is active.
    Running,
    /// The last run ended well.
    Done,
    /// The last run failed.
    Failed,
    /// The last run was stopped.
    Killed,
    /// The last run took too long.
    Timeout,
}

impl SessionStatus {
    /// The status after a run ended like this.
    pub const fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Ok(_) => Self::Done,
            Outcome::Error(_) => Self::Failed,
            Outcome::Aborted(_) | Outcome::Interrupted => Self::Killed,
            Outcome::TimedOut(_) => Self::Timeout,
        }
    }
}

/// What kind of conversation a session is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SessionKind {
    /// With one party.
    #[default]
    Direct,
    /// In a group.
    Group,
    /// The one session of everybody.
    Global,
    /// Not known.
    Unknown,
}

impl SessionKind {
    /// The kind a key tells.
    pub fn of(key: &SessionKey) -> Self {
        let key = key.as_str();
        match key {
            "global" => Self::Global,
            "unknown" => Self::Unknown,
            _ if key.contains(":group:") || key.contains(":channel:") => Self::Group,
            _ => Self::Direct,
        }
    }

    /// The word clients know.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Group => "group",
            Self::Global => "global",
            Self::Unknown => "unknown",
        }
    }
}

/// A session in lists and events.
#[expect(
    clippy::struct_excessive_bools,
    reason = "the members are those clients read"
)]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionRow {
    /// Canonical key.
    pub key: String,
    /// What kind of conversation it is.
    pub kind: SessionKind,
    /// Its agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// Whether it is its agent's main session.
    #[serde(default)]
    pub is_main: bool,
    /// Always false: nothing runs unseen.
    #[serde(default)]
    pub is_background: bool,
    /// Its transcript.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// When it was first used, in wall-clock milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<u64>,
    /// When it was last used, in wall-clock milliseconds; `null` for a session that does not exist.
    pub updated_at: Option<u64>,
    /// Name given by an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The name to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The name to show, or one made from the first message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derived_title: Option<String>,
    /// The beginning of the last message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message_preview: Option<String>,
    /// `direct` or `group`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_type: Option<String>,
    /// Whether it is shown among the archived ones.
    #[serde(default)]
    pub archived: bool,
    /// Whether it is shown first.
    #[serde(default)]
    pub pinned: bool,
    /// Whether it is shown as unread.
    #[serde(default)]
    pub unread: bool,
    /// Whether the last run was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aborted_last_run: Option<bool>,
    /// How hard it can think.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thinking_levels: Vec<ThinkingLevel>,
    /// The same as bare words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thinking_options: Vec<String>,
    /// How hard it thinks unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking_default: Option<String>,
    /// Prompt tokens of its runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Answer tokens of its runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Tokens of its last context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_tokens: Option<u64>,
    /// Whether that number is of the last run.
    #[serde(default)]
    pub total_tokens_fresh: bool,
    /// Tokens its model can take in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u64>,
    /// The provider of its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_provider: Option<String>,
    /// Its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// `user` when the model was chosen for this session.
    #[serde(default)]
    pub model_override_source: Option<String>,
    /// How it stands; absent before its first run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<SessionStatus>,
    /// When the active or last run was started, in wall-clock milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    /// When the last run ended, in wall-clock milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    /// How long the last run took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_ms: Option<u64>,
    /// The run that ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_id: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_error: Option<String>,
    /// Whether a run is active or waits.
    #[serde(default)]
    pub has_active_run: bool,
    /// Those runs; `null` when not known.
    #[serde(default)]
    pub active_run_ids: Option<Vec<String>>,
    /// Settings that were changed from their defaults.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}

impl SessionRow {
    /// The row of a session.
    pub fn new(facts: &SessionFacts<'_>) -> Self {
        let kind = SessionKind::of(facts.key);
        let mut row = Self {
            key: facts.key.as_str().to_owned(),
            kind,
            agent_id: Some(facts.agent.as_str().to_owned()),
            is_main: is_main(facts),
            chat_type: chat_type(kind).map(str::to_owned),
            last_message_preview: facts.last_text.map(preview),
            thinking_levels: ThinkingLevel::all(),
            thinking_options: vec![THINKING_OFF.to_owned()],
            thinking_default: Some(THINKING_OFF.to_owned()),
            context_tokens: facts.context_tokens,
            model_provider: facts.model.map(|model| model.provider.as_ref().to_owned()),
            model: facts.model.map(|model| model.model.as_ref().to_owned()),
            ..Self::default()
        };
        if let Some(record) = &facts.record {
            row.fill_record(record);
        }
        row.fill_active(facts.active);
        let name = row.label.as_ref().or(row.display_name.as_ref());
        row.derived_title = name.cloned().or_else(|| facts.first_text.and_then(title));
        row
    }

    fn fill_record(&mut self, record: &RecordFacts<'_>) {
        self.session_id = Some(record.session_id.to_string());
        self.created_at = Some(record.created_at_ms);
        self.updated_at = Some(record.updated_at_ms);
        self.label = record.label.map(str::to_owned);
        let given = record.settings.get("displayName").and_then(Value::as_str);
        self.display_name = given.or(record.label).map(str::to_owned);
        let flag = |name| record.settings.get(name) == Some(&Value::Bool(true));
        self.archived = flag("archived");
        self.pinned = flag("pinned");
        self.unread = flag("unread");
        if record.settings.contains_key("model") {
            self.model_override_source = Some("user".to_owned());
        }
        self.settings = shown_settings(record.settings, &ROW_SETTINGS);
        if record.usage.total() > 0 {
            self.input_tokens = Some(record.usage.input);
            self.output_tokens = Some(record.usage.output);
        }
        if let Some((run, terminal)) = record.last_run {
            self.fill_last_run(run, terminal);
            // What was summed up since is smaller than the last run found it.
            let compactions = Compactions::of(record.settings, record.session_id);
            if compactions.is_some_and(|it| it.at_ms >= terminal.ended_at_ms) {
                self.total_tokens_fresh = false;
            }
        }
    }

    fn fill_last_run(&mut self, run: &WireId, terminal: &Terminal) {
        self.status = Some(SessionStatus::of(&terminal.outcome));
        self.aborted_last_run = Some(was_stopped(&terminal.outcome));
        self.last_run_id = Some(run.as_str().to_owned());
        self.last_run_error = error_text(&terminal.outcome);
        self.started_at = terminal.started_at_ms;
        self.ended_at = Some(terminal.ended_at_ms);
        self.runtime_ms = terminal
            .started_at_ms
            .map(|started| terminal.ended_at_ms.saturating_sub(started));
        self.total_tokens = terminal.usage.map(|usage| usage.input);
        self.total_tokens_fresh = terminal.usage.is_some();
    }

    fn fill_active(&mut self, active: &[ActiveRun<'_>]) {
        self.has_active_run = !active.is_empty();
        let ids = active.iter().map(|run| run.run.as_str().to_owned());
        self.active_run_ids = Some(ids.collect());
        if active.is_empty() {
            return;
        }
        let started = active.iter().find_map(|run| run.started_at_ms);
        self.status = Some(match started {
            Some(_) => SessionStatus::Running,
            None => SessionStatus::Queued,
        });
        if started.is_some() {
            self.started_at = started;
            self.ended_at = None;
            self.runtime_ms = None;
        }
    }

    /// The members of the row as an event repeats them beside `session`: without those only a row
    /// has, and with `null` for what a client must forget.
    pub fn flattened(&self) -> Map<String, Value> {
        let mut members = match serde_json::to_value(self) {
            Ok(Value::Object(members)) => members,
            Ok(_) | Err(_) => Map::new(),
        };
        for name in ROW_ONLY {
            members.remove(name);
        }
        for name in CLEARED {
            members.entry(name).or_insert(Value::Null);
        }
        members
    }
}

fn is_main(facts: &SessionFacts<'_>) -> bool {
    let main = (facts.key.as_str().strip_prefix("agent:"))
        .and_then(|rest| rest.strip_prefix(facts.agent.as_str()))
        .and_then(|rest| rest.strip_prefix(':'));
    main == Some(facts.main_key) || facts.key.as_str() == "global"
}

const fn chat_type(kind: SessionKind) -> Option<&'static str> {
    match kind {
        SessionKind::Direct => Some("direct"),
        SessionKind::Group => Some("group"),
        SessionKind::Global | SessionKind::Unknown => None,
    }
}

/// Whether a run was cut off rather than finished or failed.
const fn was_stopped(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Aborted(_) | Outcome::TimedOut(_) | Outcome::Interrupted => true,
        Outcome::Ok(_) | Outcome::Error(_) => false,
    }
}

fn error_text(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Error(error) => Some(error.message.as_ref().to_owned()),
        Outcome::Ok(_) | Outcome::Aborted(_) | Outcome::TimedOut(_) | Outcome::Interrupted => None,
    }
}

fn shown_settings(settings: &Map<String, Value>, names: &[&str]) -> Map<String, Value> {
    let present = names
        .iter()
        .filter_map(|name| settings.get_key_value(*name));
    present
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use crate::error::ErrorCode;
    use crate::run::{AbortCause, FinishReason, RunError, TimeoutPhase};

    use super::*;

    struct Fixture {
        key: SessionKey,
        agent: AgentId,
        run: WireId,
        settings: Map<String, Value>,
        usage: Usage,
        terminal: Terminal,
    }

    fn fixture(outcome: Outcome) -> Fixture {
        let usage = Usage {
            input: 100,
            output: 7,
            ..Usage::default()
        };
        let settings = json!({"thinkingLevel": "high", "model": "local/b", "pinned": true,
                              "queueMode": "collect"});
        Fixture {
            key: SessionKey::from_canonical("agent:main:work"),
            agent: AgentId::parse("main").unwrap(),
            run: WireId::parse("r1").unwrap(),
            settings: settings.as_object().unwrap().clone(),
            usage,
            terminal: Terminal {
                outcome,
                started_at_ms: Some(2_000),
                ended_at_ms: 2_500,
                usage: Some(Usage {
                    input: 40,
                    output: 2,
                    ..Usage::default()
                }),
            },
        }
    }

    impl Fixture {
        fn record(&self) -> RecordFacts<'_> {
            RecordFacts {
                session_id: SessionId::from_uuid(Uuid::nil()),
                created_at_ms: 1_000,
                updated_at_ms: 2_500,
                label: None,
                settings: &self.settings,
                usage: &self.usage,
                last_run: Some((&self.run, &self.terminal)),
            }
        }

        fn row(&self, active: &[ActiveRun<'_>]) -> SessionRow {
            SessionRow::new(&SessionFacts {
                key: &self.key,
                agent: &self.agent,
                main_key: "main",
                record: Some(self.record()),
                active,
                model: None,
                context_tokens: Some(4096),
                first_text: Some("first\n  words"),
                last_text: Some("last words"),
            })
        }
    }

    #[test]
    fn a_row_shows_the_last_run_and_the_settings() {
        let fixture = fixture(Outcome::Ok(FinishReason::Stop));
        assert_eq!(
            serde_json::to_value(fixture.row(&[])).unwrap(),
            json!({
                "key": "agent:main:work", "kind": "direct", "agentId": "main", "isMain": false,
                "isBackground": false, "chatType": "direct",
                "sessionId": "00000000-0000-0000-0000-000000000000",
                "createdAt": 1000, "updatedAt": 2500, "derivedTitle": "first words",
                "lastMessagePreview": "last words", "archived": false, "pinned": true,
                "unread": false, "abortedLastRun": false,
                "thinkingLevels": [{"id": "off", "label": "off"}], "thinkingOptions": ["off"],
                "thinkingDefault": "off", "thinkingLevel": "high",
                "inputTokens": 100, "outputTokens": 7, "totalTokens": 40,
                "totalTokensFresh": true, "contextTokens": 4096, "modelOverrideSource": "user",
                "status": "done", "startedAt": 2000, "endedAt": 2500, "runtimeMs": 500,
                "lastRunId": "r1", "hasActiveRun": false, "activeRunIds": [],
            })
        );
    }

    #[test]
    fn a_row_tells_what_runs_and_what_waits() {
        let fixture = fixture(Outcome::Ok(FinishReason::Stop));
        let waiting = ActiveRun {
            run: &fixture.run,
            started_at_ms: None,
        };
        let running = ActiveRun {
            started_at_ms: Some(3_000),
            ..waiting
        };
        let row = fixture.row(&[waiting]);
        assert_eq!(row.status, Some(SessionStatus::Queued));
        assert_eq!(row.ended_at, Some(2_500));
        let row = fixture.row(&[running, waiting]);
        assert_eq!(row.status, Some(SessionStatus::Running));
        assert_eq!((row.started_at, row.ended_at), (Some(3_000), None));
        let flat = row.flattened();
        assert_eq!(flat.get("endedAt"), Some(&Value::Null));
        assert_eq!(flat.get("activeRunIds"), Some(&json!(["r1", "r1"])));
        assert_eq!(flat.get("key"), None);
    }

    #[test]
    fn every_end_of_a_run_has_a_status() {
        let check = |outcome: Outcome, status, aborted| {
            let row = fixture(outcome).row(&[]);
            let value = serde_json::to_value(&row).unwrap();
            assert_eq!(value["status"], json!(status));
            assert_eq!(row.aborted_last_run, Some(aborted));
        };
        check(Outcome::Aborted(AbortCause::Rpc), "killed", true);
        check(Outcome::Interrupted, "killed", true);
        check(Outcome::TimedOut(TimeoutPhase::Run), "timeout", true);
        let error = RunError::new(ErrorCode::AgentFailed, "broken");
        check(Outcome::Error(error), "failed", false);
    }

    #[test]
    fn a_session_that_does_not_exist_has_a_row_too() {
        let row = SessionRow::new(&SessionFacts {
            key: &SessionKey::from_canonical("agent:main:main"),
            agent: &AgentId::parse("main").unwrap(),
            main_key: "main",
            record: None,
            active: &[],
            model: None,
            context_tokens: None,
            first_text: None,
            last_text: None,
        });
        let value = serde_json::to_value(row).unwrap();
        assert_eq!(value["updatedAt"], Value::Null);
        assert_eq!(value["isMain"], json!(true));
        assert_eq!(value.get("status"), None);
    }

    #[test]
    fn an_entry_keeps_all_settings_and_splits_the_model() {
        let fixture = fixture(Outcome::Interrupted);
        let entry = SessionEntry::new(&fixture.key, &fixture.record(), None);
        assert_eq!(
            serde_json::to_value(entry).unwrap(),
            json!({
                "sessionId": "00000000-0000-0000-0000-000000000000", "createdAt": 1000,
                "updatedAt": 2500, "abortedLastRun": true, "inputTokens": 100,
                "outputTokens": 7, "totalTokens": 40, "totalTokensFresh": true,
                "providerOverride": "local", "modelOverride": "b", "chatType": "direct",
                "thinkingLevel": "high", "pinned": true, "queueMode": "collect",
                "compactionCount": 0,
            })
        );
    }

    #[test]
    fn what_was_summed_up_since_the_last_run_is_not_counted_yet() {
        let mut fixture = fixture(Outcome::Ok(FinishReason::Stop));
        let ended_at_ms = fixture.terminal.ended_at_ms;
        let session_id = fixture.record().session_id;
        for (at_ms, is_fresh) in [(ended_at_ms - 1, true), (ended_at_ms, false)] {
            let note = Compactions::next(&fixture.settings, session_id, at_ms);
            fixture.settings.extend(note);
            let entry = SessionEntry::new(&fixture.key, &fixture.record(), None);
            assert_eq!(entry.total_tokens_fresh, is_fresh, "{at_ms}");
            let row = fixture.row(&[]);
            assert_eq!(row.total_tokens_fresh, is_fresh, "{at_ms}");
        }
        let entry = SessionEntry::new(&fixture.key, &fixture.record(), None);
        assert_eq!(entry.compaction_count, 2);
        assert_eq!(entry.settings.get("compaction"), None);
    }
}
