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
pub(super) const DYNAMIC: &[&str] = &[
    "agent",
    "sessions.create",
    "sessions.delete",
    "sessions.patch",
];

/// Routes and methods by the scope they need (`http-facts` §2.6, `protocol-facts` §4.3). A name
/// that ends in `.` stands for everything below it, unless a longer name says otherwise.
const SCOPES: &[(Scope, &[&str])] = &[
    (
        Scope::Read,
        &[
            "GET /metrics",
            "GET /v1/models",
            "GET /v1/runs",
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
            "diagnostics.lanes",
            "diagnostics.stability",
            "doctor.memory.status",
            "environments.list",
            "gateway.identity.get",
            "last-heartbeat",
            "logs.tail",
            "models.authStatus",
            "models.list",
            "node.describe",
            "node.list",
            "plugins.catalog.browse",
            "plugins.list",
            "progressCard.get",
            "projects.list",
            "runs.get",
            "runs.list",
            "sessions.branches.list",
            "sessions.compaction.list",
            "sessions.companion.state",
            "sessions.describe",
            "sessions.get",
            "sessions.groups.list",
            "sessions.list",
            "sessions.messages.subscribe",
            "sessions.messages.unsubscribe",
            "sessions.observer.visibility",
            "sessions.preview",
            "sessions.resolve",
            "sessions.search",
            "sessions.subscribe",
            "sessions.unsubscribe",
            "sessions.usage",
            "sessions.usage.logs",
            "sessions.usage.timeseries",
            "sessions.viewers.set",
            "skills.library.list",
            "skills.proposals.list",
            "skills.search",
            "skills.status",
            "status",
            "system-presence",
            "system.info",
            "talk.catalog",
            "taskSuggestions.list",
            "tasks.list",
            "themes.list",
            "tools.catalog",
            "tools.effective",
            "tools.github.status",
            "transcripts.list",
            "usage.cost",
            "usage.status",
            "users.list",
            "users.prefs.get",
            "webSearch.status",
            "worktrees.list",
        ],
    ),
    (
        Scope::Write,
        &[
            "POST /v1/chat/completions",
            "POST /v1/runs/cancel",
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
            "migrations.",
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

/// Methods that write to the control plane, so that their rate is limited (§4.3), prefixes as in
/// [`SCOPES`].
const CONTROL_WRITES: &[&str] = &[
    "config.apply",
    "config.patch",
    "cron.add",
    "cron.remove",
    "cron.run",
    "cron.update",
    "models.authLogout",
    "secrets.store.",
    "sessions.dispatch",
    "sessions.move",
    "sessions.title.prepare",
    "update.run",
];

/// Those of protocol 3.
const CONTROL_WRITES_V3: &[&str] = &["config.apply", "config.patch", "update.run"];

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

/// Params of `sessions.create` that need `operator.admin`.
const CREATE_ADMIN_FIELDS: &[&str] = &["execNode", "toolOverrides"];

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
        "sessions.create" => {
            let is_plain = |field: &&str| !CREATE_ADMIN_FIELDS.contains(field);
            facts.permission_mode != Some("full")
                && !facts.incognito
                && facts.fields.iter().all(is_plain)
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

/// Whether the method writes to the control plane.
pub(super) fn is_control_write(method: &str, rules: Rules) -> bool {
    let methods = match rules {
        Rules::V3 => CONTROL_WRITES_V3,
        Rules::V4 => CONTROL_WRITES,
    };
    methods
        .iter()
        .any(|name| *name == method || (name.ends_with('.') && method.starts_with(name)))
}

/// Who may see an event. Protocol 3 showed most events to every connection; here its peers pass the
/// same gates, or asking for protocol 3 would be a way around them.
pub(super) fn event_gate(event: &str) -> EventGate {
    lookup(&GATE_OF, event).unwrap_or(EventGate::Nobody)
}

/// Whether the text is the command that throws a session's transcript away.
fn is_reset_command(message: &str) -> bool {
    let mut words = message
        .trim_start()
        .split(|c: char| c.is_whitespace() || c == ':');
    let word = words.next().unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::super::scope::{Operation, ScopeSet};
    use super::*;

    const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/scopes.md");

    fn check(method: &str, rules: Rules, expected: &str) {
        let scope = Operation::Method(method).required(rules);
        let found = scope
            .map_or("", Scope::as_str)
            .trim_start_matches("operator.");
        assert_eq!(found, expected, "{method} {rules:?}");
    }

    #[test]
    fn methods_need_the_scope_of_the_longest_name_that_fits() {
        for (method, scope) in [
            ("health", ""),
            ("status", "read"),
            ("system-presence", "read"),
            ("agents.list", "read"),
            ("agent.identity.get", "read"),
            ("models.list", "read"),
            ("agent", "admin"),
            ("agent.wait", "write"),
            ("chat.send", "write"),
            ("chat.history", "read"),
            ("chat.abort", "write"),
            ("chat.inject", "admin"),
            ("sessions.list", "read"),
            ("sessions.resolve", "read"),
            ("sessions.reset", "admin"),
            ("sessions.delete", "admin"),
            ("sessions.patch", "admin"),
            ("sessions.subscribe", "read"),
            ("sessions.messages.subscribe", "read"),
            ("sessions.messages.unsubscribe", "read"),
            ("config.get", "read"),
            ("config.schema", "read"),
            ("config.schema.lookup", "read"),
            ("config.anything.else", "admin"),
            ("logs.tail", "read"),
            ("runs.list", "read"),
            ("runs.get", "read"),
            ("exec.approvals.set", "admin"),
            ("exec.approval.resolve", "approvals"),
            ("question.list", "questions"),
            ("device.pair.list", "pairing"),
            ("device.token.rotate", "pairing"),
            ("node.pair.approve", "pairing"),
            ("artifacts.list", "read"),
            ("wizard.start", "admin"),
            ("update.status", "admin"),
            ("connect", "admin"),
        ] {
            check(method, Rules::V4, scope);
        }
    }

    #[test]
    fn what_is_not_in_the_table_needs_admin() {
        for method in [
            "",
            ".",
            "unknown",
            "chat",
            "chat.",
            "chat.sends",
            "CHAT.SEND",
            "chat.send ",
            "config.",
            "artifacts.",
            "artifacts",
            "sessions.messages",
            "health.probe",
            "statu",
            "GET /v1/embeddings",
        ] {
            let expected = if method == "artifacts." {
                "read"
            } else {
                "admin"
            };
            check(method, Rules::V4, expected);
        }
    }

    #[test]
    fn protocol_3_is_never_looser() {
        for (_scope, names) in SCOPES {
            for name in *names {
                let old = required(name, Rules::V3).unwrap();
                assert!(old.satisfies(required(name, Rules::V4).unwrap()), "{name}");
            }
        }
        check("config.schema", Rules::V3, "admin");
        check("health", Rules::V3, "");
        for method in [
            "sessions.patch",
            "sessions.reset",
            "sessions.delete",
            "sessions.compact",
            "chat.inject",
        ] {
            check(method, Rules::V3, "admin");
        }
    }

    fn check_call(method: &str, facts: CallFacts<'_>, rules: Rules, expected: Scope) {
        let found = Operation::Call(method, facts).required(rules);
        assert_eq!(found, Some(expected), "{method} {facts:?} {rules:?}");
    }

    #[test]
    fn agent_needs_admin_to_throw_a_transcript_away() {
        let check = |message, expected| {
            let facts = CallFacts {
                message,
                ..CallFacts::default()
            };
            check_call("agent", facts, Rules::V4, expected);
            check_call("agent", facts, Rules::V3, expected);
        };
        check(None, Scope::Write);
        for message in [
            "hello",
            "",
            "/newer",
            "/resetting",
            "new",
            "say /new",
            "/status",
            "/ new",
        ] {
            check(Some(message), Scope::Write);
        }
        for message in [
            "/new",
            "/reset",
            "/NEW",
            " /reset ",
            "/new:hi",
            "/Reset: hi",
            "/new start over",
            "\n/reset\tx",
            "/new\u{a0}x",
        ] {
            check(Some(message), Scope::Admin);
        }
    }

    #[test]
    fn patches_of_looks_need_write_and_of_policy_admin() {
        let check = |fields: &[&str], permission_mode, expected| {
            let facts = CallFacts {
                fields,
                permission_mode,
                ..CallFacts::default()
            };
            check_call("sessions.patch", facts, Rules::V4, expected);
            check_call("sessions.patch", facts, Rules::V3, Scope::Admin);
        };
        check(&[], None, Scope::Write);
        check(PATCH_WRITE_FIELDS, None, Scope::Write);
        check(&["key", "permissionMode"], Some("ask"), Scope::Write);
        check(&["key", "permissionMode"], Some("full"), Scope::Admin);
        for field in [
            "verboseLevel",
            "reasoningLevel",
            "elevatedLevel",
            "execHost",
            "sendPolicy",
            "responseUsage",
            "contextWindow",
            "approved",
            "",
        ] {
            check(&["key", "label", field], None, Scope::Admin);
        }
    }

    #[test]
    fn deleting_needs_admin_unless_only_archived_sessions_go() {
        let check = |fields: &[&str], archived_only, expected| {
            let facts = CallFacts {
                fields,
                archived_only,
                ..CallFacts::default()
            };
            check_call("sessions.delete", facts, Rules::V4, expected);
            check_call("sessions.delete", facts, Rules::V3, Scope::Admin);
        };
        check(DELETE_WRITE_FIELDS, true, Scope::Write);
        check(DELETE_WRITE_FIELDS, false, Scope::Admin);
        check(&["key", "archivedOnly", "force"], true, Scope::Admin);
        check(&["key"], false, Scope::Admin);
    }

    #[test]
    fn facts_do_not_change_methods_that_do_not_depend_on_them() {
        let facts = CallFacts {
            archived_only: true,
            ..CallFacts::default()
        };
        check_call("chat.inject", facts, Rules::V4, Scope::Admin);
        check_call("chat.history", facts, Rules::V4, Scope::Read);
        assert_eq!(Operation::Call("health", facts).required(Rules::V4), None);
        for method in DYNAMIC {
            assert!(Operation::depends_on_params(method));
            // Asked for without its params, such a method is the strictest.
            check(method, Rules::V4, "admin");
        }
        assert!(!Operation::depends_on_params("chat.send"));
    }

    #[test]
    fn routes_and_methods_go_through_one_table() {
        for (operation, expected) in [
            (Operation::ChatCompletion, Scope::Write),
            (Operation::ListModels, Scope::Read),
            (Operation::ReadMetrics, Scope::Read),
            (Operation::ModelOverride, Scope::Admin),
        ] {
            assert_eq!(operation.required(Rules::V4), Some(expected));
            assert!(index(SCOPES).contains_key(operation.name()));
        }
    }

    #[test]
    fn roles_are_asked_before_scopes() {
        for role in [Role::Operator, Role::Node] {
            assert!(Operation::Method("health").permits(role));
        }
        assert!(Operation::Method("chat.send").permits(Role::Operator));
        assert!(!Operation::Method("chat.send").permits(Role::Node));
        assert!(!Operation::Method("node.event").permits(Role::Operator));
        assert!(Operation::Method("node.event").permits(Role::Node));
        assert!(Operation::Method("unknown").permits(Role::Operator));
        assert!(!Operation::Method("unknown").permits(Role::Node));
        assert_eq!(Operation::Method("node.event").required(Rules::V4), None);
    }

    #[test]
    fn every_scope_set_may_do_exactly_what_the_table_says() {
        let subsets = (0..256_u32).map(|bits| {
            let held = Scope::ALL.iter().enumerate();
            held.filter(move |(at, _)| bits >> at & 1 == 1)
                .map(|(_, scope)| *scope)
        });
        for held in subsets.map(Iterator::collect::<Vec<_>>) {
            let set: ScopeSet = held.iter().map(|scope| scope.as_str()).collect();
            for name in SCOPES.iter().flat_map(|(_scope, names)| names.iter()) {
                let needed = required(name, Rules::V4).unwrap();
                let expected = held.contains(&Scope::Admin)
                    || held.contains(&needed)
                    || held.contains(&Scope::Write) && [Scope::Read, Scope::Talk].contains(&needed);
                assert_eq!(set.allows(needed), expected, "{name} {held:?}");
            }
        }
    }

    #[test]
    fn no_name_stands_in_the_table_twice() {
        let names: Vec<_> = SCOPES
            .iter()
            .flat_map(|(_scope, names)| names.iter())
            .chain(OPEN)
            .chain(NODE)
            .collect();
        let different: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(names.len(), different.len());
        let events = EVENTS.iter().flat_map(|(_gate, names)| names.iter());
        assert_eq!(events.clone().count(), index(EVENTS).len());
    }

    fn check_event(event: &str, expected: EventGate) {
        assert_eq!(EventGate::of(event), expected, "{event}");
    }

    #[test]
    fn events_that_are_not_known_are_sent_to_nobody() {
        for event in ["tick", "shutdown", "health", "heartbeat"] {
            check_event(event, EventGate::Everyone);
        }
        for event in [
            "agent",
            "chat",
            "session.message",
            "sessions.changed",
            "presence",
            "voicewake.changed",
        ] {
            check_event(event, EventGate::Scope(Scope::Read));
        }
        check_event(
            "exec.approval.requested",
            EventGate::Scope(Scope::Approvals),
        );
        check_event(
            "plugin.approval.requested",
            EventGate::Scope(Scope::Approvals),
        );
        check_event("plugin.other", EventGate::Scope(Scope::Write));
        check_event("plugins.install.progress", EventGate::Scope(Scope::Admin));
        check_event("device.pair.requested", EventGate::Scope(Scope::Pairing));
        for event in [
            "",
            "unknown",
            "chat.unknown",
            "connect.challenge",
            "plugin",
            "plugins.x",
        ] {
            check_event(event, EventGate::Nobody);
        }
    }

    /// The table as `docs/scopes.md` shows it.
    fn document() -> String {
        let mut text = String::from(
            "# Who may do what\n\n\
             Every HTTP route and every native method goes through one table; this page shows it. \
             A test\ncompares the two: after a change of `src/auth/table.rs`, run\n\
             `UPDATE_DOCS=1 cargo test --lib auth::table` and review the difference.\n\n\
             A name that ends in `.` stands for everything below it, unless a longer name says \
             otherwise. What is\nnot listed needs `operator.admin`. `operator.admin` is enough for \
             everything; `operator.write` is enough\nfor `operator.read` and `operator.talk`. Role, \
             scope and existence are checked in this order.\n\n",
        );
        let mut row = |title: &str, names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| format!("- `{name}`\n")).collect();
            write!(text, "## {title}\n\n{}\n", names.concat()).unwrap();
        };
        row("No scope, every role", OPEN);
        for (scope, names) in SCOPES {
            row(&format!("`{}`", scope.as_str()), names);
        }
        row("Nodes only", NODE);
        row("`operator.admin` under protocol 3", ADMIN_IN_V3);
        row(
            "Control-plane writes: 30 calls per minute, device or address, and method",
            CONTROL_WRITES,
        );
        row(
            "Control-plane writes under protocol 3: 3 calls per minute",
            CONTROL_WRITES_V3,
        );
        write!(
            text,
            "## Methods whose scope depends on their params\n\n\
             | Method | `operator.write` is enough when | Under protocol 3 |\n| --- | --- | --- |\n\
             | `agent` | `message` is not the command `/new` or `/reset` | the same |\n\
             | `sessions.delete` | `archivedOnly` is `true` and there is nothing but {} | never |\n\
             | `sessions.patch` | `permissionMode` is not `full` and there is nothing but {} | never |\n\n",
            list(DELETE_WRITE_FIELDS),
            list(PATCH_WRITE_FIELDS),
        )
        .unwrap();
        text.push_str(
            "## Events\n\nAn event that is not listed is sent to nobody. Every line but the first \
             is for operators only.\n\n| Who sees it | Events |\n| --- | --- |\n",
        );
        for (gate, names) in EVENTS {
            let who = match gate {
                EventGate::Everyone => "everybody".to_owned(),
                EventGate::Scope(scope) => format!("`{}`", scope.as_str()),
                EventGate::Nobody => "nobody".to_owned(),
            };
            writeln!(text, "| {who} | {} |", list(names)).unwrap();
        }
        text
    }

    fn list(names: &[&str]) -> String {
        let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        names.join(", ")
    }

    #[test]
    fn the_document_shows_the_table() {
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(DOCUMENT, document()).unwrap();
        }
        let found = std::fs::read_to_string(DOCUMENT).unwrap_or_default();
        assert!(
            found == document(),
            "docs/scopes.md is stale: run with UPDATE_DOCS=1"
        );
    }
}
