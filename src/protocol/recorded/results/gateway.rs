//! `health`, `status`, `system-presence`, `logs.tail`, `models.list`, `config.get`, what is not
//! there, small events.

use serde_json::json;

use crate::protocol::PresenceEntry;
use crate::protocol::events::system::{ShutdownEvent, TickEvent};
use crate::protocol::methods::agents::{ModelChoice, ModelsListResult};
use crate::protocol::methods::config::{ConfigGetResult, ConfigParts};
use crate::protocol::methods::stubs::Answer;
use crate::protocol::methods::stubs::devices::{ChannelsStatus, NodeList};
use crate::protocol::methods::stubs::usage::UsageStatus;
use crate::protocol::methods::system::{
    AgentHealth, HealthSummary, HeartbeatHealth, LogsTailResult, RecentSession, SessionsHealth,
    StatusAgentSessions, StatusDefaults, StatusHeartbeat, StatusHeartbeatAgent, StatusResult,
    StatusRow, StatusRuns, StatusSessions, SystemPresenceResult,
};
use crate::protocol::recorded::{Reasons, answer, compare, recording};

use super::{Fixture, check_same, value};

#[test]
fn health_and_status_have_the_recorded_members() {
    let sessions = || SessionsHealth {
        path: "/x".to_owned(),
        count: 1,
        recent: vec![RecentSession {
            key: "k".to_owned(),
            updated_at: Some(1),
            age: Some(1),
        }],
    };
    let agent = AgentHealth {
        agent_id: "main".to_owned(),
        name: None,
        is_default: true,
        heartbeat: HeartbeatHealth::default(),
        sessions: sessions(),
    };
    compare(
        "health",
        &[value(HealthSummary::new(1, 1, vec![agent]))],
        &[answer("rpc-health", "health", 0)],
        &[
            (".configReload", "a reload is in the log"),
            (".eventLoop", "there is no event loop"),
            (".modelRuntime", "models have no runtime here"),
            (".plugins", "there are no plugins"),
        ],
        &[],
    );
    compare(
        "status",
        &[value(status())],
        &[answer("rpc-status", "status", 0)],
        STATUS_OMITTED,
        &[
            (".runs", "what the scheduler does"),
            (".uptimeMs", "how long the process runs"),
        ],
    );
}

#[test]
fn presence_has_the_recorded_members() {
    let presence = PresenceEntry {
        host: Some("h".into()),
        ip: Some("192.0.2.1".into()),
        version: Some("1".into()),
        platform: Some("linux".into()),
        device_family: Some("Linux".into()),
        mode: Some("gateway".into()),
        reason: Some("self".into()),
        text: Some("Gateway".into()),
        instance_id: Some("i".into()),
        ..PresenceEntry::default()
    };
    compare(
        "presence",
        &[value(SystemPresenceResult(vec![presence]))],
        &[answer("rpc-system_presence", "system-presence", 0)],
        &[],
        &[],
    );
}

#[test]
fn what_is_not_there_has_the_recorded_members() {
    compare(
        "channels",
        &[value(ChannelsStatus::answer(&(), 1))],
        &[answer("rpc-channels_status", "channels.status", 0)],
        &[
            (".eventLoop", "there is no event loop"),
            (".statusIssues", "not published"),
        ],
        &[],
    );
    check_same(
        "nodes",
        value(NodeList::answer(&(), 1)),
        answer("rpc-node_list", "node.list", 0),
    );
    check_same(
        "usage",
        value(UsageStatus::answer(&(), 1)),
        answer("rpc-usage_status", "usage.status", 0),
    );
}

#[test]
fn logs_and_models_have_the_recorded_members() {
    let lines = LogsTailResult {
        lines: vec!["x".to_owned()],
        ..LogsTailResult::default()
    };
    check_same(
        "logs",
        value(lines),
        answer("rpc-logs_tail-limit", "logs.tail", 0),
    );
    let fixture = Fixture::new();
    let mut choice = ModelChoice::new(&fixture.model, "Mock");
    choice.context_window = Some(1);
    choice.reasoning = Some(false);
    choice.tags = vec!["default".to_owned()];
    check_same(
        "models",
        value(ModelsListResult {
            models: vec![choice],
        }),
        answer("rpc-models_list", "models.list", 0),
    );
}

#[test]
fn the_configuration_has_the_recorded_members() {
    let config = ConfigGetResult::from(ConfigParts {
        path: "/x".to_owned(),
        exists: true,
        raw: Some("{}".to_owned()),
        parsed: json!({}),
        effective: json!({}),
        hash: "h".to_owned(),
        warnings: Vec::new(),
    });
    let mut recorded = answer("rpc-missing-scope", "config.get", 0);
    for name in [
        "parsed",
        "sourceConfig",
        "resolved",
        "config",
        "runtimeConfig",
    ] {
        recorded[name] = json!({});
    }
    compare(
        "config",
        &[value(config)],
        &[recorded],
        &[
            (".includedPaths", "the file's own path is told"),
            (".includeProvenance", "the file's own path is told"),
            (
                ".agentRosterIncludeOwned",
                "agents come from one configuration",
            ),
            (".bindingsIncludeOwned", "there are no bindings"),
        ],
        &[],
    );
}

const STATUS_OMITTED: Reasons<'_> = &[
    (".hostDesktop", "there is no desktop"),
    (
        ".heartbeat.agents[].waitingForRoute",
        "there is no heartbeat",
    ),
    (
        ".degradedSecretOwners",
        "a secret that is missing stops the start",
    ),
    (".degradedPlugins", "there are no plugins"),
    (".tasks", "there are no tasks"),
    (".taskAudit", "there are no tasks"),
    (".modelRuntime", "models have no runtime here"),
    (".eventLoop", "there is no event loop"),
    (".processMemory", "the metrics have it"),
    (".workerPools", "there are no worker pools"),
    (".shutdownBudget", "it is in the configuration"),
    (".sessions.recent[].inputTokens", "`sessions.list` has it"),
    (".sessions.recent[].outputTokens", "`sessions.list` has it"),
    (".sessions.recent[].cacheRead", "only sums are kept"),
    (".sessions.recent[].cacheWrite", "only sums are kept"),
    (
        ".sessions.recent[].totalTokensFresh",
        "`sessions.list` has it",
    ),
    (".sessions.recent[].configuredModel", "`model` says it"),
    (".sessions.recent[].selectedModel", "`model` says it"),
    (".sessions.recent[].runtime", "there is one runtime"),
    (
        ".sessions.byAgent[].recent[].inputTokens",
        "`sessions.list` has it",
    ),
    (
        ".sessions.byAgent[].recent[].outputTokens",
        "`sessions.list` has it",
    ),
    (
        ".sessions.byAgent[].recent[].cacheRead",
        "only sums are kept",
    ),
    (
        ".sessions.byAgent[].recent[].cacheWrite",
        "only sums are kept",
    ),
    (
        ".sessions.byAgent[].recent[].totalTokensFresh",
        "`sessions.list` has it",
    ),
    (
        ".sessions.byAgent[].recent[].configuredModel",
        "`model` says it",
    ),
    (
        ".sessions.byAgent[].recent[].selectedModel",
        "`model` says it",
    ),
    (
        ".sessions.byAgent[].recent[].runtime",
        "there is one runtime",
    ),
];

fn status() -> StatusResult {
    let row = || StatusRow {
        agent_id: Some("main".to_owned()),
        key: "k".to_owned(),
        kind: "direct".to_owned(),
        session_id: Some("s".to_owned()),
        updated_at: Some(1),
        age: Some(1),
        aborted_last_run: Some(false),
        model: Some("m".to_owned()),
        context_tokens: Some(1),
        total_tokens: Some(1),
        remaining_tokens: Some(1),
        percent_used: Some(1),
        flags: vec!["x".to_owned()],
    };
    StatusResult {
        runtime_version: "0".to_owned(),
        heartbeat: StatusHeartbeat {
            default_agent_id: "main".to_owned(),
            agents: vec![StatusHeartbeatAgent::disabled("main")],
        },
        channel_summary: Vec::new(),
        queued_system_events: Vec::new(),
        sessions: StatusSessions {
            paths: vec!["/x".to_owned()],
            count: 1,
            defaults: StatusDefaults {
                model: Some("m".to_owned()),
                context_tokens: Some(1),
            },
            recent: vec![row()],
            by_agent: vec![StatusAgentSessions {
                agent_id: "main".to_owned(),
                path: "/x".to_owned(),
                count: 1,
                recent: vec![row()],
            }],
        },
        runs: StatusRuns::default(),
        uptime_ms: 1,
        pid: 1,
    }
}

#[test]
fn small_events_are_as_recorded() {
    let tick = recording("chat-send")
        .into_iter()
        .find(|line| line.frame["event"] == "tick")
        .unwrap();
    check_same(
        "tick",
        value(TickEvent { ts: 1 }),
        tick.frame["payload"].clone(),
    );
    assert_eq!(
        value(ShutdownEvent::stopping()),
        json!({"reason": "gateway stopping"})
    );
}
