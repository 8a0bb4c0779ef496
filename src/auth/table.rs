//! The one table between operations and scopes, for HTTP routes, native methods and events.
//!
//! The table is data; `docs/scopes.md` shows it, and a test fails when the two differ. What is not
//! in it needs `operator.admin`, and an event that is not in it is sent to nobody.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::scope::{CallFacts, EventGate, Role, Rules, Scope};

/// Methods every role may call without any scope.
const OPEN: &[&str] = &["health"];

/// Methods for nodes only.
const NODE: &[&str] = &[
    "node.event",
    "node.invoke.progress",
    "node.invoke.result",
    "node.pending.ack",
    "node.pending.drain",
    "node.pending.pull",
    "node.pluginSurface.refresh",
    "node.pluginTools.update",
    "node.runnerInventory.update",
    "node.skills.update",
    "skills.bins",
];

/// Methods whose scope depends on their params; see [`required_for_call`].
pub(super) const DYNAMIC: &[&str] = &["agent", "sessions.delete", "sessions.patch"];

/// Routes and methods by the scope they need (`http-facts` §2.6, `protocol-facts` §4.3). A name
/// that ends in `.` stands for everything below it, unless a longer name says otherwise.
const SCOPES: &[(Scope, &[&str])] = &[
    (
        Scope::Read,
        &[
            "GET /v1/models",
            "agent.identity.get",
            "agents.list",
            "artifacts.",
            "channels.status",
            "chat.history",
            "chat.message.get",
            "chat.metadata",
            "chat.startup",
            "commands.list",
            "config.get",
            "config.schema",
            "config.schema.lookup",
            "cron.get",
            "cron.list",
            "cron.runs",
            "cron.status",
            "environments.list",
            "gateway.identity.get",
            "last-heartbeat",
            "logs.tail",
            "models.authStatus",
            "models.list",
            "node.describe",
            "node.list",
            "plugins.list",
            "sessions.branches.list",
            "sessions.compaction.list",
            "sessions.describe",
            "sessions.get",
            "sessions.groups.list",
            "sessions.list",
            "sessions.messages.subscribe",
            "sessions.messages.unsubscribe",
            "sessions.preview",
            "sessions.resolve",
            "sessions.search",
            "sessions.subscribe",
            "sessions.unsubscribe",
            "sessions.usage",
            "sessions.usage.logs",
            "sessions.usage.timeseries",
            "sessions.viewers.set",
            "skills.status",
            "status",
            "system-presence",
            "system.info",
            "tasks.list",
            "tools.catalog",
            "tools.effective",
            "usage.cost",
            "usage.status",
            "users.list",
            "users.prefs.get",
        ],
    ),
    (
        Scope::Write,
        &[
            "POST /v1/chat/completions",
            "agent.wait",
            "chat.abort",
            "chat.send",
            "chat.toolTitles",
            "node.pending.enqueue",
            "poll",
            "send",
            "session.typing",
            "session.visibility.set",
            "sessions.abort",
            "sessions.fork",
            "sessions.groups.defaults",
            "sessions.groups.delete",
            "sessions.groups.put",
            "sessions.groups.rename",
            "sessions.groups.update",
            "sessions.send",
            "sessions.steer",
            "tools.invoke",
            "ui.command",
            "users.prefs.set",
            "users.self",
            "wake",
        ],
    ),
    (
        Scope::Admin,
        &[
            "agent",
            "agents.create",
            "agents.delete",
            "agents.update",
            "channels.logout",
            "channels.start",
            "channels.stop",
            "chat.inject",
            "config.",
            "connect",
            "cron.add",
            "cron.remove",
            "cron.run",
            "cron.update",
            "exec.approvals.",
            "header x-openclaw-model",
            "secrets.",
            "sessions.cleanup",
            "sessions.compact",
            "sessions.create",
            "sessions.delete",
            "sessions.patch",
            "sessions.reset",
            "set-heartbeats",
            "skills.install",
            "skills.update",
            "system-event",
            "terminal.",
            "update.",
            "web.login.",
            "wizard.",
        ],
    ),
    (
        Scope::Approvals,
        &[
            "approval.",
            "exec.approval.",
            "openclaw.approval.list",
            "plugin.approval.",
        ],
    ),
    (Scope::Questions, &["question."]),
    (
        Scope::Pairing,
        &[
            "channels.pairing.dismiss",
            "channels.pairing.list",
            "device.pair.approve",
            "device.pair.list",
            "device.pair.reject",
            "device.pair.remove",
            "device.pair.rename",
            "device.token.revoke",
            "device.token.rotate",
            "node.pair.",
            "node.rename",
        ],
    ),
];

/// Methods protocol 3 keeps for admins although protocol 4 does not (`protocol-v3-delta` §5).
const ADMIN_IN_V3: &[&str] = &["config.schema"];

/// Params of `sessions.patch` that need no more than `operator.write`, the envelope included.
const PATCH_WRITE_FIELDS: &[&str] = &[
    "agentId",
    "agentRuntime",
    "archived",
    "autoLabel",
    "boardFace",
    "boardPresentation",
    "category",
    "color",
    "expectedLifecycleRevision",
    "expectedMarkedUnreadAt",
    "expectedPermissionMode",
    "expectedSessionId",
    "fastMode",
    "icon",
    "key",
    "label",
    "model",
    "permissionMode",
    "pinned",
    "thinkingLevel",
    "unread",
];

/// Params `sessions.delete` may have when `operator.write` is to be enough.
const DELETE_WRITE_FIELDS: &[&str] = &[
    "agentId",
    "archivedOnly",
    "deleteTranscript",
    "expectedSessionId",
    "key",
];

/// Events by who may see them in protocol 4 (`protocol-facts` §4.4), prefixes as in [`SCOPES`].
const EVENTS: &[(EventGate, &[&str])] = &[
    (
        EventGate::Everyone,
        &[
            "gateway.suspension",
            "health",
            "heartbeat",
            "shutdown",
            "tick",
            "update.available",
        ],
    ),
    (
        EventGate::Scope(Scope::Read),
        &[
            "agent",
            "board.",
            "chat",
            "chat.metadata.changed",
            "chat.send_timing",
            "chat.side_result",
            "config.changed",
            "cron",
            "mentions.changed",
            "node.hostStats",
            "node.presence",
            "plugins.changed",
            "portal.changed",
            "presence",
            "progressCard.changed",
            "session.message",
            "session.observer",
            "session.operation",
            "session.sharing",
            "session.suggestion",
            "session.tool",
            "session.typing",
            "sessions.changed",
            "skills.changed",
            "talk.event",
            "task",
            "task.suggestion",
            "ui.command",
            "users.prefs.changed",
            "voicewake.",
        ],
    ),
    (
        EventGate::Scope(Scope::Approvals),
        &[
            "exec.approval.requested",
            "exec.approval.resolved",
            "openclaw.approval.",
            "plugin.approval.",
            "session.approval",
        ],
    ),
    (
        EventGate::Scope(Scope::Questions),
        &["question.requested", "question.resolved"],
    ),
    (
        EventGate::Scope(Scope::Pairing),
        &["device.pair.", "node.pair."],
    ),
    (
        EventGate::Scope(Scope::Talk),
        &["talk.mode", "talk.voice.change"],
    ),
    (
        EventGate::Scope(Scope::Admin),
        &[
            "plugins.install.progress",
            "terminal.data",
            "terminal.exit",
            "update.run.changed",
        ],
    ),
    (EventGate::Scope(Scope::Write), &["plugin."]),
];

static SCOPE_OF: LazyLock<HashMap<&str, Scope>> = LazyLock::new(|| index(SCOPES));
static GATE_OF: LazyLock<HashMap<&str, EventGate>> = LazyLock::new(|| index(EVENTS));

/// The scope an operation needs; `None` when everybody may do it.
pub(super) fn required(name: &str, rules: Rules) -> Option<Scope> {
    if OPEN.contains(&name) || NODE.contains(&name) {
        return None;
    }
    if matches!(rules, Rules::V3) && ADMIN_IN_V3.contains(&name) {
        return Some(Scope::Admin);
    }
    Some(lookup(&SCOPE_OF, name).unwrap_or(Scope::Admin))
}

/// The scope a call needs, given the params its scope depends on.
pub(super) fn required_for_call(
    method: &str,
    facts: &CallFacts<'_>,
    rules: Rules,
) -> Option<Scope> {
    let write_is_enough = match method {
        "agent" => !facts.message.is_some_and(is_reset_command),
        // Protocol 3 keeps both for admins whatever is asked.
        "sessions.patch" | "sessions.delete" if matches!(rules, Rules::V3) => false,
        "sessions.patch" => {
            facts.permission_mode != Some("full") && only(facts.fields, PATCH_WRITE_FIELDS)
        }
        "sessions.delete" => facts.archived_only && only(facts.fields, DELETE_WRITE_FIELDS),
        _ => return required(method, rules),
    };
    Some(if write_is_enough {
        Scope::Write
    } else {
        Scope::Admin
    })
}

/// Whether peers of this role may call the method at all.
pub(super) fn permits(name: &str, role: Role) -> bool {
    OPEN.contains(&name)
        || match role {
            Role::Operator => !NODE.contains(&name),
            Role::Node => NODE.contains(&name),
        }
}

/// Who may see an event. Protocol 3 showed most events to every connection; here its peers pass the
/// same gates, or asking for protocol 3 would be a way around them.
pub(super) fn event_gate(event: &str) -> EventGate {
    lookup(&GATE_OF, event).unwrap_or(EventGate::Nobody)
}

/// Whether the text is the command that throws a session's transcript away.
fn is_reset_command(message: &str) -> bool {
    let word = message.split_whitespace().next().unwrap_or_default();
    word.eq_ignore_ascii_case("/new") || word.eq_ignore_ascii_case("/reset")
}

fn only(fields: &[&str], allowed: &[&str]) -> bool {
    fields.iter().all(|field| allowed.contains(field))
}

fn index<T: Copy>(table: &[(T, &'static [&'static str])]) -> HashMap<&'static str, T> {
    table
        .iter()
        .flat_map(|(value, names)| names.iter().map(|name| (*name, *value)))
        .collect()
}

/// The value of the name itself, else of the longest prefix that ends in a dot.
fn lookup<T: Copy>(table: &HashMap<&str, T>, name: &str) -> Option<T> {
    if !name.ends_with('.')
        && let Some(value) = table.get(name)
    {
        return Some(*value);
    }
    let dots = name.rmatch_indices('.').map(|(at, _dot)| at);
    dots.filter_map(|at| name.get(..=at))
        .find_map(|prefix| table.get(prefix).copied())
}
