//! `sessions.*`, session rows, `session.message` and `sessions.changed`.

use serde_json::{Value, json};

use crate::protocol::events::session::{RunPhase, SessionMessage, SessionsChanged};
use crate::protocol::methods::sessions::{
    PageOf, SessionEntryResult, SessionsDeleteResult, SessionsDescribeResult, SessionsListResult,
    SubscribeResult,
};
use crate::protocol::recorded::{Reasons, answer, compare, recording};
use crate::protocol::row::SessionEntry;

use super::{Fixture, check_same, value};

#[test]
fn a_list_has_the_recorded_members() {
    let fixture = Fixture::new();
    let page = PageOf {
        total: 5,
        limit: 1,
        offset: 0,
    };
    let list = SessionsListResult::new(1, page, fixture.defaults(), Vec::new());
    let mut recorded = answer("rpc-sessions_list-limit", "sessions.list", 0);
    recorded["sessions"] = json!([]);
    compare(
        "list",
        &[value(&list)],
        &[recorded],
        &[
            (".owners", "sessions are not shared between users"),
            (".defaults.agentRuntime", "there is one runtime"),
            (
                ".defaults.modelSelectionTarget",
                "models are chosen per session",
            ),
        ],
        &[],
    );
}

#[test]
fn subscriptions_have_the_recorded_members() {
    let fixture = Fixture::new();
    check_same(
        "subscribed to the list",
        json!({"subscribed": value(SubscribeResult::sessions(None))["subscribed"]}),
        answer("http-run-seen-on-ws", "sessions.subscribe", 0),
    );
    check_same(
        "subscribed to messages",
        value(SubscribeResult::messages(&fixture.key, true)),
        answer("sessions-lifecycle", "sessions.messages.subscribe", 0),
    );
}

#[test]
fn changes_of_sessions_have_the_recorded_members() {
    let fixture = Fixture::new();
    let entry = || SessionEntry::new(&fixture.key, &fixture.record(), Some(&fixture.model));
    let result = || SessionEntryResult::new(&fixture.key, entry(), Some(&fixture.model));
    let omitted = |value: Value| {
        let mut value = value;
        value["entry"] = json!({});
        value
    };
    compare(
        "patch",
        &[omitted(value(result().with_path("/x")))],
        &[omitted(answer("sessions-lifecycle", "sessions.patch", 0))],
        &[
            (".resolved.agentRuntime", "there is one runtime"),
            (".resolved.runtimeSelectionLocked", "there is one runtime"),
        ],
        &[],
    );
    compare(
        "reset",
        &[value(result())],
        &[answer("sessions-lifecycle", "sessions.reset", 0)],
        &[
            (".entry.createdVia", "not kept"),
            (".entry.delivery", "answers go to the caller only"),
            (".entry.lifecycleRevision", "`sessionId` says it"),
            (".entry.modelOverrideSource", "`modelOverride` says it"),
            (".entry.parentSessionKey", "sessions make no sessions"),
            (".entry.sessionRoot", "there is no workspace"),
            (".entry.sessionStartedAt", "not kept"),
            (".entry.spawnDepth", "sessions make no sessions"),
            (".entry.systemSent", "system text goes with every call"),
            (
                ".entry.totalTokensVersion",
                "it is about the original's own files",
            ),
        ],
        &[],
    );
    let mut deleted = answer("sessions-lifecycle", "sessions.delete", 0);
    deleted["archived"] = json!([]);
    check_same(
        "delete",
        value(SessionsDeleteResult::new(&fixture.key, true)),
        deleted,
    );
}

/// Members of a session the original has and we have not, in rows and in events.
const SESSION_OMITTED: Reasons<'_> = &[
    (".visibility", "sessions are not shared between users"),
    (".sharingRole", "sessions are not shared between users"),
    (".participants", "senders are not kept"),
    (".participantCount", "senders are not kept"),
    (".parentSessionKey", "sessions make no sessions"),
    (".spawnDepth", "sessions make no sessions"),
    (".createdVia", "not kept"),
    (".permissionModePending", "permissions change at once"),
    (".systemSent", "system text goes with every call"),
    (".effectiveFastMode", "there are no fast models"),
    (".effectiveFastModeSource", "there are no fast models"),
    (".fastAutoOnSeconds", "there are no fast models"),
    (".effectiveResponseUsage", "`responseUsage` says it"),
    (".runtimeSelectionLocked", "there is one runtime"),
    (".agentRuntime", "there is one runtime"),
    (".activitySummary", "there are no summaries"),
];

/// Members only rows have.
const ROW_OMITTED: Reasons<'_> = &[
    (".activeLeafEntryId", "transcripts have no branches"),
    (".classification", "it repeats the key"),
    (".lastInteractionAt", "`updatedAt` says it"),
    (".estimatedCostUsd", "money is not known"),
    (".effectiveQueueMode", "it depends on the caller's protocol"),
    (".contextBudgetStatus", "there is no compaction to predict"),
    (".snapshotAt", "the frame comes at once"),
    (".placement", "sessions stay where they are"),
];

fn both<'a>(one: Reasons<'a>, other: Reasons<'a>) -> Vec<(&'a str, &'a str)> {
    [one, other].concat()
}

#[test]
fn a_row_has_the_recorded_members() {
    let fixture = Fixture::new();
    let info = answer("chat-send", "chat.history", 0)["sessionInfo"].clone();
    let listed = answer("sessions-lifecycle", "sessions.describe", 0)["session"].clone();
    let events = session_events("sessions.changed", |payload| payload["phase"] == "end");
    let event = events[0]["session"].clone();
    compare(
        "row",
        &[value(fixture.row())],
        &[info, listed, event],
        &both(SESSION_OMITTED, ROW_OMITTED),
        &[],
    );
    let described = SessionsDescribeResult {
        session: Some(fixture.row()),
    };
    let mut recorded = answer("sessions-lifecycle", "sessions.describe", 0);
    recorded["session"] = value(fixture.row());
    check_same("described", value(described), recorded);
}

/// The recorded `session.message` and `sessions.changed` payloads that fit a test.
fn session_events(event: &str, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
    let frames = recording("sessions-lifecycle");
    let payloads = frames
        .iter()
        .filter(|line| line.frame["event"] == event)
        .map(|line| &line.frame["payload"]);
    payloads.filter(|payload| fits(payload)).cloned().collect()
}

#[test]
fn session_events_have_the_recorded_members() {
    let fixture = Fixture::new();
    let [user, assistant, _] = fixture.entries();
    let row = fixture.row();
    let of = |entry| SessionMessage::of(&fixture.key, &fixture.agent, entry, Some(&row));
    let bare = |mut value: Value| {
        value["session"] = json!({});
        value
    };
    let ours: Vec<Value> = [&user, &assistant]
        .into_iter()
        .flat_map(of)
        .map(|event| bare(value(event)))
        .collect();
    let theirs = session_events("session.message", |_| true);
    let theirs: Vec<Value> = theirs.into_iter().map(bare).collect();
    let in_events: Reasons<'_> = &[
        (".activeModel", "`model` says it"),
        (".activeModelProvider", "`modelProvider` says it"),
        (".hasAutomation", "there is no automation"),
        (".message.api", "the ledger does not keep it"),
        (".message.responseId", "the ledger does not keep it"),
        (
            ".message.__openclaw.senderIsOwner",
            "every sender is an owner",
        ),
        (".message.__openclaw.transport", "senders are not kept"),
        (".message.__openclaw.transcriptPosition", "`seq` says it"),
    ];
    let omitted = both(SESSION_OMITTED, in_events);
    let added = [
        (".inputTokens", "the recorded session was new"),
        (".outputTokens", "the recorded session was new"),
        (".totalTokens", "the recorded session was new"),
    ];
    compare("session.message", &ours, &theirs, &omitted, &added);

    let run = SessionsChanged::run(RunPhase::End, &fixture.run, fixture.row(), 1);
    let mut running = fixture.row();
    running.active_run_ids = Some(vec!["r1".to_owned()]);
    let reason = SessionsChanged::changed("send", running, 1);
    let theirs = session_events("sessions.changed", |payload| {
        payload.get("session").is_some() && payload["reason"] != "participants"
    });
    let theirs: Vec<Value> = theirs.into_iter().map(bare).collect();
    let in_events: Reasons<'_> = &[
        (".hasAutomation", "there is no automation"),
        (".estimatedCostUsd", "money is not known"),
        (".contextBudgetStatus", "there is no compaction to predict"),
        (".placement", "sessions stay where they are"),
    ];
    let omitted = both(SESSION_OMITTED, in_events);
    let ours = [bare(value(run)), bare(value(reason))];
    compare("sessions.changed", &ours, &theirs, &omitted, &[]);

    let deleted = SessionsChanged::deleted(&fixture.key, &fixture.agent, Some(fixture.session), 1);
    let theirs = session_events("sessions.changed", |payload| payload["reason"] == "delete");
    let ours = [value(deleted), value(SessionsChanged::reload("delete", 1))];
    compare("deleted", &ours, &theirs, &[], &[]);
}
