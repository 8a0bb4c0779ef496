//! The table of methods: names, scopes, differences of protocol 3 (`protocol-facts` §4.3, §6.1).
//!
//! It is the one source of `hello-ok.features.methods`, of the dispatcher's choice and of the
//! table in the documents. Scopes are enforced by `auth`, whose table says the same; a test
//! compares the two.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::value::RawValue;

use super::stubs::Stub;

/// A method this gateway serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// `health`
    Health,
    /// `status`
    Status,
    /// `system-presence`
    SystemPresence,
    /// `logs.tail`
    LogsTail,
    /// `config.get`
    ConfigGet,
    /// `agents.list`
    AgentsList,
    /// `agent.identity.get`
    AgentIdentityGet,
    /// `models.list`
    ModelsList,
    /// `runs.list`
    RunsList,
    /// `runs.get`
    RunsGet,
    /// `agent`
    Agent,
    /// `agent.wait`
    AgentWait,
    /// `chat.send`
    ChatSend,
    /// `chat.history`
    ChatHistory,
    /// `chat.startup`
    ChatStartup,
    /// `chat.metadata`
    ChatMetadata,
    /// `chat.message.get`
    ChatMessageGet,
    /// `artifacts.list`
    ArtifactsList,
    /// `artifacts.download`
    ArtifactsDownload,
    /// `commands.list`
    CommandsList,
    /// `chat.abort`
    ChatAbort,
    /// `chat.inject`
    ChatInject,
    /// `sessions.list`
    SessionsList,
    /// `sessions.resolve`
    SessionsResolve,
    /// `sessions.describe`
    SessionsDescribe,
    /// `sessions.get`
    SessionsGet,
    /// `sessions.preview`
    SessionsPreview,
    /// `sessions.create`
    SessionsCreate,
    /// `sessions.send`
    SessionsSend,
    /// `sessions.steer`
    SessionsSteer,
    /// `sessions.abort`
    SessionsAbort,
    /// `sessions.reset`
    SessionsReset,
    /// `sessions.delete`
    SessionsDelete,
    /// `sessions.compact`
    SessionsCompact,
    /// `sessions.patch`
    SessionsPatch,
    /// `sessions.subscribe`
    SessionsSubscribe,
    /// `sessions.messages.subscribe`
    MessagesSubscribe,
    /// `sessions.messages.unsubscribe`
    MessagesUnsubscribe,
    /// `device.pair.list`
    DevicePairList,
    /// `device.pair.approve`
    DevicePairApprove,
    /// `device.pair.reject`
    DevicePairReject,
    /// `device.pair.remove`
    DevicePairRemove,
    /// `device.pair.rename`
    DevicePairRename,
    /// `device.token.rotate`
    DeviceTokenRotate,
    /// `device.token.revoke`
    DeviceTokenRevoke,
    /// `config.schema`
    ConfigSchema,
    /// `models.authStatus`
    ModelsAuthStatus,
    /// `tools.catalog`
    ToolsCatalog,
    /// `diagnostics.lanes`
    DiagnosticsLanes,
    /// `gateway.identity.get`
    GatewayIdentity,
    /// `system-event`
    SystemEvent,
    /// `set-heartbeats`
    SetHeartbeats,
    /// `sessions.observer.visibility`
    ObserverVisibility,
    /// `sessions.search`
    SessionsSearch,
    /// `config.schema.lookup`
    ConfigSchemaLookup,
    /// `diagnostics.stability`
    DiagnosticsStability,
    /// `system.info`
    SystemInfo,
    /// `webSearch.status`
    WebSearchStatus,
    /// `wake`
    Wake,
    /// A method about something this gateway does not have.
    Stub(Stub),
}

/// What a caller must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeRule {
    /// Nothing; any role.
    Open,
    /// This scope.
    Static(&'static str),
    /// `operator.write`; `operator.admin` when the message is a `/new` or `/reset` command.
    AgentMessage,
    /// `operator.write` when every member is in the write set, else `operator.admin`.
    PatchMembers,
    /// `operator.write`; `operator.admin` for a session that leaves no trace, runs commands
    /// elsewhere, or may do more than others.
    CreateMembers,
    /// `operator.admin`; `operator.write` when only an archived session would go.
    ArchivedOnly,
}

/// `operator.read`.
pub const READ: ScopeRule = ScopeRule::Static("operator.read");

/// `operator.write`.
pub const WRITE: ScopeRule = ScopeRule::Static("operator.write");

/// `operator.admin`.
pub const ADMIN: ScopeRule = ScopeRule::Static("operator.admin");

/// `operator.pairing`.
pub const PAIRING: ScopeRule = ScopeRule::Static("operator.pairing");

/// `operator.approvals`.
pub const APPROVALS: ScopeRule = ScopeRule::Static("operator.approvals");

/// `operator.questions`.
pub const QUESTIONS: ScopeRule = ScopeRule::Static("operator.questions");

/// What the table says about one method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodRow {
    /// The method.
    pub method: Method,
    /// Its wire name.
    pub name: &'static str,
    /// Who may call it on protocol 4.
    pub scope: ScopeRule,
    /// Who may call it on protocol 3.
    pub scope_v3: ScopeRule,
    /// What webchat clients of protocol 3 other than the Control UI are told.
    pub webchat_refusal_v3: Option<&'static str>,
    /// Whether the limiter of control-plane writes counts it.
    pub control_plane_write: bool,
}

const fn row(method: Method, name: &'static str, scope: ScopeRule) -> MethodRow {
    MethodRow {
        method,
        name,
        scope,
        scope_v3: scope,
        webchat_refusal_v3: None,
        control_plane_write: false,
    }
}

const fn stub(stub: Stub) -> MethodRow {
    row(Method::Stub(stub), stub.name(), stub.scope())
}

/// A method with a dynamic rule that protocol 3 leaves to administrators.
const fn admin_in_v3(row: MethodRow, webchat_refusal: &'static str) -> MethodRow {
    MethodRow {
        scope_v3: ADMIN,
        webchat_refusal_v3: Some(webchat_refusal),
        ..row
    }
}

/// Every method, in the order of `hello-ok.features.methods`: what is served, then the stubs.
static METHODS: LazyLock<Box<[MethodRow]>> = LazyLock::new(|| {
    let stubs = Stub::ALL.iter().map(|it| stub(*it));
    SERVED.iter().copied().chain(stubs).collect()
});

/// The methods that are no stubs.
const SERVED: &[MethodRow] = &[
    row(Method::Health, "health", ScopeRule::Open),
    row(Method::LogsTail, "logs.tail", READ),
    row(Method::Status, "status", READ),
    row(Method::SystemPresence, "system-presence", READ),
    row(Method::ConfigGet, "config.get", READ),
    row(Method::AgentsList, "agents.list", READ),
    row(Method::AgentIdentityGet, "agent.identity.get", READ),
    row(Method::CommandsList, "commands.list", READ),
    row(Method::ModelsList, "models.list", READ),
    row(Method::RunsList, "runs.list", READ),
    row(Method::RunsGet, "runs.get", READ),
    row(Method::Agent, "agent", ScopeRule::AgentMessage),
    row(Method::AgentWait, "agent.wait", WRITE),
    row(Method::ChatHistory, "chat.history", READ),
    row(Method::ChatStartup, "chat.startup", READ),
    row(Method::ChatMetadata, "chat.metadata", READ),
    row(Method::ChatMessageGet, "chat.message.get", READ),
    row(Method::ArtifactsList, "artifacts.list", READ),
    row(Method::ArtifactsDownload, "artifacts.download", READ),
    row(Method::ChatAbort, "chat.abort", WRITE),
    row(Method::ChatSend, "chat.send", WRITE),
    row(Method::ChatInject, "chat.inject", ADMIN),
    row(Method::SessionsList, "sessions.list", READ),
    row(Method::SessionsResolve, "sessions.resolve", READ),
    row(Method::SessionsDescribe, "sessions.describe", READ),
    row(Method::SessionsGet, "sessions.get", READ),
    row(Method::SessionsPreview, "sessions.preview", READ),
    row(
        Method::SessionsCreate,
        "sessions.create",
        ScopeRule::CreateMembers,
    ),
    row(Method::SessionsSend, "sessions.send", WRITE),
    row(Method::SessionsSteer, "sessions.steer", WRITE),
    row(Method::SessionsAbort, "sessions.abort", WRITE),
    row(Method::SessionsSubscribe, "sessions.subscribe", READ),
    row(
        Method::MessagesSubscribe,
        "sessions.messages.subscribe",
        READ,
    ),
    row(
        Method::MessagesUnsubscribe,
        "sessions.messages.unsubscribe",
        READ,
    ),
    admin_in_v3(
        row(
            Method::SessionsPatch,
            "sessions.patch",
            ScopeRule::PatchMembers,
        ),
        "webchat clients cannot patch sessions; use chat.send for session-scoped updates",
    ),
    row(Method::SessionsReset, "sessions.reset", ADMIN),
    admin_in_v3(
        row(
            Method::SessionsDelete,
            "sessions.delete",
            ScopeRule::ArchivedOnly,
        ),
        "webchat clients cannot delete sessions; use chat.send for session-scoped updates",
    ),
    row(Method::SessionsCompact, "sessions.compact", ADMIN),
    row(Method::DevicePairList, "device.pair.list", PAIRING),
    row(Method::DevicePairApprove, "device.pair.approve", PAIRING),
    row(Method::DevicePairReject, "device.pair.reject", PAIRING),
    row(Method::DevicePairRemove, "device.pair.remove", PAIRING),
    row(Method::DevicePairRename, "device.pair.rename", PAIRING),
    row(Method::DeviceTokenRotate, "device.token.rotate", PAIRING),
    row(Method::DeviceTokenRevoke, "device.token.revoke", PAIRING),
    MethodRow {
        scope_v3: ADMIN,
        ..row(Method::ConfigSchema, "config.schema", READ)
    },
    row(Method::ModelsAuthStatus, "models.authStatus", READ),
    row(Method::ToolsCatalog, "tools.catalog", READ),
    row(Method::DiagnosticsLanes, "diagnostics.lanes", READ),
    row(Method::GatewayIdentity, "gateway.identity.get", READ),
    row(Method::SystemEvent, "system-event", ADMIN),
    row(Method::SetHeartbeats, "set-heartbeats", ADMIN),
    row(
        Method::ObserverVisibility,
        "sessions.observer.visibility",
        READ,
    ),
    row(Method::SessionsSearch, "sessions.search", READ),
    row(Method::ConfigSchemaLookup, "config.schema.lookup", READ),
    row(Method::DiagnosticsStability, "diagnostics.stability", READ),
    row(Method::SystemInfo, "system.info", READ),
    row(Method::WebSearchStatus, "webSearch.status", READ),
    row(Method::Wake, "wake", WRITE),
];

impl Method {
    /// Every method with what the table says about it.
    pub fn table() -> &'static [MethodRow] {
        &METHODS
    }

    /// The method with this wire name, if we serve it.
    pub fn find(name: &str) -> Option<&'static MethodRow> {
        METHODS.iter().find(|row| row.name == name)
    }
}

/// What the scope of a method with a dynamic rule depends on, read from its raw parameters before
/// they are checked: scopes come first (§2 of the recorded behaviour), so anything that is not a
/// JSON object only counts as empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeFacts<'a> {
    /// Names of all members that are present.
    pub members: Vec<Cow<'a, str>>,
    /// `message`, when it is text.
    pub message: Option<Cow<'a, str>>,
    /// `permissionMode`, when it is text.
    pub permission_mode: Option<Cow<'a, str>>,
    /// Whether `archivedOnly` is `true`.
    pub archived_only: bool,
    /// Whether `incognito` is `true`.
    pub incognito: bool,
}

impl<'a> ScopeFacts<'a> {
    /// Reads the facts from the parameters of a request.
    pub fn read(params: Option<&'a RawValue>) -> Self {
        #[derive(serde::Deserialize)]
        struct Members<'a>(#[serde(borrow)] BTreeMap<Name<'a>, &'a RawValue>);
        let text = params.map_or("{}", RawValue::get);
        let Ok(Members(members)) = serde_json::from_str::<Members<'a>>(text) else {
            return Self::default();
        };
        let member = |name: &str| members.get(&Name(name.into())).map(|raw| raw.get());
        Self {
            message: member("message").and_then(text_of),
            permission_mode: member("permissionMode").and_then(text_of),
            archived_only: member("archivedOnly") == Some("true"),
            incognito: member("incognito") == Some("true"),
            members: members.into_keys().map(|Name(name)| name).collect(),
        }
    }
}

/// A member's name, borrowed where it holds no escapes.
#[derive(PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

fn text_of(raw: &str) -> Option<Cow<'_, str>> {
    let Name(text) = serde_json::from_str(raw).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_one_row_and_one_name() {
        for row in Method::table() {
            let same_name = Method::table()
                .iter()
                .filter(|other| other.name == row.name);
            let same_method = Method::table()
                .iter()
                .filter(|other| other.method == row.method);
            assert_eq!((same_name.count(), same_method.count()), (1, 1), "{row:?}");
        }
        assert_eq!(Method::find("nope"), None);
    }

    fn check(params: &str, expected: &ScopeFacts<'_>) {
        let raw: &RawValue = serde_json::from_str(params).unwrap();
        assert_eq!(&ScopeFacts::read(Some(raw)), expected, "{params}");
    }

    #[test]
    fn facts_are_read_without_trusting_the_parameters() {
        let members = |names: &[&'static str]| names.iter().map(|name| (*name).into()).collect();
        check(
            r#"{"message":"\u002fnew","key":1}"#,
            &ScopeFacts {
                members: members(&["key", "message"]),
                message: Some("/new".into()),
                ..ScopeFacts::default()
            },
        );
        check(
            r#"{"archivedOnly":true,"permissionMode":"full","message":["/new"]}"#,
            &ScopeFacts {
                members: members(&["archivedOnly", "message", "permissionMode"]),
                permission_mode: Some("full".into()),
                archived_only: true,
                ..ScopeFacts::default()
            },
        );
        check(
            r#"{"archivedOnly":"true"}"#,
            &ScopeFacts {
                members: members(&["archivedOnly"]),
                ..ScopeFacts::default()
            },
        );
        check("[1]", &ScopeFacts::default());
        assert_eq!(ScopeFacts::read(None), ScopeFacts::default());
    }
}
