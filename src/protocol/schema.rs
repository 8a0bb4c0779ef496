//! JSON Schema of everything on the wire, generated from the types that read and write it.
//!
//! The files under `proto/schema/` are made from this; a test fails when they differ.

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::connect::ConnectParams;
use super::events::agent::AgentEvent;
use super::events::chat::ChatEvent;
use super::events::device::DevicePairResolved;
use super::events::session::{SessionMessage, SessionOperation, SessionTool, SessionsChanged};
use super::events::system::{PresenceEvent, ShutdownEvent, TickEvent};
use super::events::{Event, EventRow};
use super::frame::{EventFrame, RequestFrame, ResponseFrame};
use super::hello::{Challenge, HelloOk};
use super::methods::agent::{
    AgentAccepted, AgentFinal, AgentParams, AgentWaitParams, AgentWaitResult,
};
use super::methods::agents::{
    AgentIdentityParams, AgentIdentityResult, AgentsListParams, AgentsListResult, ModelsListParams,
    ModelsListResult, WebSearchStatusParams, WebSearchStatusResult,
};
use super::methods::artifacts::{
    ArtifactsDownloadParams, ArtifactsDownloadResult, ArtifactsListParams, ArtifactsListResult,
};
use super::methods::chat::{
    ChatAbortParams, ChatAbortResult, ChatHistoryParams, ChatHistoryResult, ChatInjectParams,
    ChatInjectResult, ChatMessageGetParams, ChatMessageGetResult, ChatMetadataParams,
    ChatMetadataResult, ChatSendParams, ChatSendResult, ChatStartupParams, ChatStartupResult,
};
use super::methods::commands::{CommandsListParams, CommandsListResult};
use super::methods::config::{
    ConfigGetParams, ConfigGetResult, ConfigLookupParams, ConfigLookupResult, ConfigSchemaParams,
    ConfigSchemaResult,
};
use super::methods::device::{
    DevicePairApproveParams, DevicePairApproveResult, DevicePairListParams, DevicePairListResult,
    DevicePairRejectParams, DevicePairRejectResult, DevicePairRemoveParams, DevicePairRemoveResult,
    DevicePairRenameParams, DeviceTokenRevokeParams, DeviceTokenRevokeResult,
    DeviceTokenRotateParams, DeviceTokenRotateResult, PairedDevice, PendingDevice,
};
use super::methods::notes::{
    DiagnosticsLanesParams, DiagnosticsLanesResult, GatewayIdentityParams, GatewayIdentityResult,
    ModelsAuthStatusParams, ModelsAuthStatusResult, Noted, ObserverVisibilityParams,
    SetHeartbeatsParams, SetHeartbeatsResult, StabilityParams, StabilityResult, SystemEventParams,
    ToolsCatalogParams, ToolsCatalogResult, WakeParams,
};
use super::methods::runs::{RunsGetParams, RunsGetResult, RunsListParams, RunsListResult};
use super::methods::sessions::{
    MessagesSubscribeParams, MessagesUnsubscribeParams, SessionEntryResult, SessionsAbortParams,
    SessionsAbortResult, SessionsCompactParams, SessionsCompactResult, SessionsCreateParams,
    SessionsCreateResult, SessionsDeleteParams, SessionsDeleteResult, SessionsDescribeParams,
    SessionsDescribeResult, SessionsGetParams, SessionsGetResult, SessionsListParams,
    SessionsListResult, SessionsPatchParams, SessionsPreviewParams, SessionsPreviewResult,
    SessionsResetParams, SessionsResolveParams, SessionsResolveResult, SessionsSearchParams,
    SessionsSearchResult, SessionsSendParams, SubscribeResult,
};
use super::methods::stubs::{Answer, Visit};
use super::methods::system::{
    HealthParams, HealthSummary, LogsTailParams, LogsTailResult, StatusParams, StatusResult,
    SystemInfoParams, SystemInfoResult, SystemPresenceParams, SystemPresenceResult,
};
use super::methods::{Method, MethodRow};

/// A schema document, named by its file under `proto/schema/`.
#[derive(Clone, Debug)]
pub struct SchemaFile {
    /// The path, with `/` between its parts.
    pub path: String,
    /// The document.
    pub schema: Schema,
}

/// The schemas of all frames, of the handshake, and of every method and event served.
pub fn schema_files() -> Vec<SchemaFile> {
    let methods = Method::table().iter().flat_map(method_files);
    let events = Event::table().iter().map(event_file);
    frame_files()
        .into_iter()
        .chain(methods)
        .chain(events)
        .collect()
}

fn frame_files() -> [SchemaFile; 5] {
    [
        read_by_us::<RequestFrame<'static>>("frames/request"),
        written_by_us::<ResponseFrame<'static>>("frames/response"),
        written_by_us::<EventFrame<'static>>("frames/event"),
        read_by_us::<ConnectParams>("handshake/connect.params"),
        written_by_us::<HelloOk<'static>>("handshake/hello-ok"),
    ]
}

/// Params and results of a method.
fn method_files(row: &MethodRow) -> Vec<SchemaFile> {
    match row.method {
        Method::Health => method::<HealthParams, HealthSummary>(row),
        Method::Status => method::<StatusParams, StatusResult>(row),
        Method::SystemPresence => method::<SystemPresenceParams, SystemPresenceResult>(row),
        Method::LogsTail => method::<LogsTailParams, LogsTailResult>(row),
        Method::ConfigGet => method::<ConfigGetParams, ConfigGetResult>(row),
        Method::AgentsList => method::<AgentsListParams, AgentsListResult>(row),
        Method::AgentIdentityGet => method::<AgentIdentityParams, AgentIdentityResult>(row),
        Method::ModelsList => method::<ModelsListParams, ModelsListResult>(row),
        Method::RunsList => method::<RunsListParams, RunsListResult>(row),
        Method::RunsGet => method::<RunsGetParams, RunsGetResult>(row),
        Method::Agent => agent_files(row),
        Method::AgentWait => method::<AgentWaitParams, AgentWaitResult>(row),
        Method::ChatSend => sending::<ChatSendParams>(row),
        Method::SessionsSend | Method::SessionsSteer => sending::<SessionsSendParams>(row),
        Method::SessionsGet => method::<SessionsGetParams, SessionsGetResult>(row),
        Method::SessionsPreview => method::<SessionsPreviewParams, SessionsPreviewResult>(row),
        Method::SessionsCreate => method::<SessionsCreateParams, SessionsCreateResult>(row),
        Method::SessionsAbort => method::<SessionsAbortParams, SessionsAbortResult>(row),
        Method::ChatHistory => method::<ChatHistoryParams, ChatHistoryResult>(row),
        Method::ChatStartup => method::<ChatStartupParams, ChatStartupResult>(row),
        Method::ChatMetadata => method::<ChatMetadataParams, ChatMetadataResult>(row),
        Method::ChatMessageGet => method::<ChatMessageGetParams, ChatMessageGetResult>(row),
        Method::ArtifactsList => method::<ArtifactsListParams, ArtifactsListResult<'static>>(row),
        Method::ArtifactsDownload => {
            method::<ArtifactsDownloadParams, ArtifactsDownloadResult<'static>>(row)
        }
        Method::CommandsList => method::<CommandsListParams, CommandsListResult>(row),
        Method::ChatAbort => method::<ChatAbortParams, ChatAbortResult>(row),
        Method::ChatInject => method::<ChatInjectParams, ChatInjectResult>(row),
        Method::SessionsList => method::<SessionsListParams, SessionsListResult>(row),
        Method::SessionsResolve => method::<SessionsResolveParams, SessionsResolveResult>(row),
        Method::SessionsDescribe => method::<SessionsDescribeParams, SessionsDescribeResult>(row),
        Method::SessionsReset => method::<SessionsResetParams, SessionEntryResult>(row),
        Method::SessionsDelete => method::<SessionsDeleteParams, SessionsDeleteResult>(row),
        Method::SessionsCompact => method::<SessionsCompactParams, SessionsCompactResult>(row),
        Method::SessionsPatch => method::<SessionsPatchParams, SessionEntryResult>(row),
        Method::SessionsSubscribe => method::<SessionsListParams, SubscribeResult>(row),
        Method::MessagesSubscribe => method::<MessagesSubscribeParams, SubscribeResult>(row),
        Method::MessagesUnsubscribe => method::<MessagesUnsubscribeParams, SubscribeResult>(row),
        Method::DevicePairList => method::<DevicePairListParams, DevicePairListResult>(row),
        Method::DevicePairApprove => {
            method::<DevicePairApproveParams, DevicePairApproveResult>(row)
        }
        Method::DevicePairReject => method::<DevicePairRejectParams, DevicePairRejectResult>(row),
        Method::DevicePairRemove => method::<DevicePairRemoveParams, DevicePairRemoveResult>(row),
        Method::DevicePairRename => method::<DevicePairRenameParams, PairedDevice>(row),
        Method::DeviceTokenRotate => {
            method::<DeviceTokenRotateParams, DeviceTokenRotateResult>(row)
        }
        Method::DeviceTokenRevoke => {
            method::<DeviceTokenRevokeParams, DeviceTokenRevokeResult>(row)
        }
        Method::ConfigSchema => method::<ConfigSchemaParams, ConfigSchemaResult>(row),
        Method::ModelsAuthStatus => method::<ModelsAuthStatusParams, ModelsAuthStatusResult>(row),
        Method::ToolsCatalog => method::<ToolsCatalogParams, ToolsCatalogResult>(row),
        Method::DiagnosticsLanes => method::<DiagnosticsLanesParams, DiagnosticsLanesResult>(row),
        Method::GatewayIdentity => method::<GatewayIdentityParams, GatewayIdentityResult>(row),
        Method::SystemEvent => method::<SystemEventParams, Noted>(row),
        Method::SetHeartbeats => method::<SetHeartbeatsParams, SetHeartbeatsResult>(row),
        Method::ObserverVisibility => method::<ObserverVisibilityParams, Noted>(row),
        Method::SessionsSearch => method::<SessionsSearchParams, SessionsSearchResult>(row),
        Method::ConfigSchemaLookup => method::<ConfigLookupParams, ConfigLookupResult>(row),
        Method::DiagnosticsStability => method::<StabilityParams, StabilityResult>(row),
        Method::SystemInfo => method::<SystemInfoParams, SystemInfoResult>(row),
        Method::WebSearchStatus => method::<WebSearchStatusParams, WebSearchStatusResult>(row),
        Method::Wake => method::<WakeParams, Noted>(row),
        Method::Stub(stub) => stub.visit(Describing(row)),
    }
}

/// `agent` answers twice: accepted, then how the run ended.
fn agent_files(row: &MethodRow) -> Vec<SchemaFile> {
    let mut files = method::<AgentParams, AgentAccepted>(row);
    files.push(written_by_us::<AgentFinal>("methods/agent.final"));
    files
}

/// Describes a method by its row.
struct Describing<'a>(&'a MethodRow);

impl Visit for Describing<'_> {
    type Output = Vec<SchemaFile>;

    fn visit<P, R>(self) -> Self::Output
    where
        P: DeserializeOwned + JsonSchema + 'static,
        R: Answer<P>,
    {
        method::<P, R>(self.0)
    }
}

/// A method that sends a message: a stop command as text is answered as `chat.abort` is.
fn sending<P: JsonSchema>(row: &MethodRow) -> Vec<SchemaFile> {
    let mut files = method::<P, ChatSendResult>(row);
    let name = format!("methods/{}.stopped", row.name);
    files.push(written_by_us::<ChatAbortResult>(&name));
    files
}

fn method<P: JsonSchema, R: JsonSchema>(row: &MethodRow) -> Vec<SchemaFile> {
    vec![
        read_by_us::<P>(&format!("methods/{}.params", row.name)),
        written_by_us::<R>(&format!("methods/{}.result", row.name)),
    ]
}

/// The payload of an event.
fn event_file(row: &EventRow) -> SchemaFile {
    let name = format!("events/{}", row.name);
    match row.event {
        Event::ConnectChallenge => written_by_us::<Challenge>(&name),
        Event::Agent => written_by_us::<AgentEvent>(&name),
        Event::Chat => written_by_us::<ChatEvent>(&name),
        Event::SessionMessage => written_by_us::<SessionMessage>(&name),
        Event::SessionOperation => written_by_us::<SessionOperation>(&name),
        Event::SessionTool => written_by_us::<SessionTool>(&name),
        Event::SessionsChanged => written_by_us::<SessionsChanged>(&name),
        Event::Presence => written_by_us::<PresenceEvent>(&name),
        Event::Tick => written_by_us::<TickEvent>(&name),
        Event::Health => written_by_us::<HealthSummary>(&name),
        Event::Shutdown => written_by_us::<ShutdownEvent>(&name),
        Event::DevicePairRequested => written_by_us::<PendingDevice>(&name),
        Event::DevicePairResolved => written_by_us::<DevicePairResolved>(&name),
    }
}

/// The form of what a peer sends.
fn read_by_us<T: JsonSchema>(name: &str) -> SchemaFile {
    file::<T>(name, reading())
}

/// The form of what the gateway sends.
fn written_by_us<T: JsonSchema>(name: &str) -> SchemaFile {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let generator = settings.with_transform(AbsentNotNull).into_generator();
    file::<T>(name, generator)
}

fn file<T: JsonSchema>(name: &str, generator: SchemaGenerator) -> SchemaFile {
    SchemaFile {
        path: format!("{name}.json"),
        schema: generator.into_root_schema_for::<T>(),
    }
}

/// Makes schemas of what a reader accepts.
pub(super) fn reading() -> SchemaGenerator {
    SchemaSettings::draft2020_12()
        .for_deserialize()
        .into_generator()
}

/// Says of members that may be left out that they are never null: the gateway leaves out what it
/// does not know.
#[derive(Clone, Debug)]
struct AbsentNotNull;

impl Transform for AbsentNotNull {
    fn transform(&mut self, schema: &mut Schema) {
        let required = schema.get("required").and_then(Value::as_array).cloned();
        let required = required.unwrap_or_default();
        let members = schema.get_mut("properties").and_then(Value::as_object_mut);
        for (name, member) in members.into_iter().flatten() {
            if !required.iter().any(|other| other.as_str() == Some(name)) {
                forbid_null(member);
            }
        }
        transform_subschemas(self, schema);
    }
}

fn forbid_null(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else {
        return;
    };
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(options)) = schema.get_mut("anyOf") else {
        return;
    };
    options.retain(|option| option.get("type").is_none_or(|kind| kind != "null"));
    if let [Value::Object(only)] = options.as_slice() {
        let only = only.clone();
        schema.remove("anyOf");
        schema.extend(only);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ffi::OsStr;
    use std::fs;
    use std::path::{Path, PathBuf};

    use serde::Serialize;

    use super::*;
    use crate::protocol::golden::frames as golden_frames;
    use crate::protocol::testing::hello;
    use crate::protocol::validate::{Rules, violations_by};
    use crate::protocol::{Protocol, ServerFrame};

    /// Set to write `proto/schema/` anew instead of comparing it.
    const UPDATE: &str = "CLAWPORT_UPDATE_PROTO";

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/schema")
    }

    fn generated() -> BTreeMap<String, String> {
        let text = |schema: &Schema| serde_json::to_string_pretty(schema).unwrap() + "\n";
        let files = schema_files();
        let count = files.len();
        let files: BTreeMap<_, _> = files
            .into_iter()
            .map(|file| (file.path, text(&file.schema)))
            .collect();
        assert_eq!(files.len(), count, "two schemas have one name");
        files
    }

    /// Every file below `folder`, by its path below the root.
    fn checked_in(folder: &Path) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.append(&mut checked_in(&path));
            } else {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
                found.insert(name.replace('\\', "/"), fs::read_to_string(&path).unwrap());
            }
        }
        found
    }

    fn write_anew(files: &BTreeMap<String, String>) {
        if root().exists() {
            fs::remove_dir_all(root()).unwrap();
        }
        for (name, text) in files {
            let path = root().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a switch of the developer, not of the program"
    )]
    fn the_checked_in_schemas_are_up_to_date() {
        let files = generated();
        if std::env::var(UPDATE).is_ok() {
            write_anew(&files);
        }
        let checked_in = checked_in(&root());
        let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
        let advice = format!("proto/schema is out of date: run the tests once with {UPDATE}=1");
        assert_eq!(names(&checked_in), names(&files), "{advice}");
        for (name, text) in files {
            assert!(checked_in[&name] == text, "{name}: {advice}");
        }
    }

    /// What is wrong with `json` by the checked-in schema of this name.
    fn problem(name: &str, json: &str) -> String {
        let file = schema_files().into_iter().find(|file| file.path == name);
        let file = file.unwrap_or_else(|| panic!("there is no schema {name}"));
        let problem = violations_by(&Rules::of(file.schema.as_value()), json);
        if problem.is_empty() {
            String::new()
        } else {
            format!("{name}: {problem}")
        }
    }

    #[test]
    fn every_method_has_a_golden_request_that_fits_its_schema() {
        let frames: BTreeMap<_, _> = golden_frames("request")
            .into_iter()
            .map(|(path, text)| (path.file_stem().unwrap().to_owned(), text))
            .collect();
        for row in Method::table() {
            let stem = format!("method.{}", row.name);
            let text = frames.get(OsStr::new(&stem));
            let text = text.unwrap_or_else(|| panic!("{stem} has no golden frame"));
            let frame = RequestFrame::decode(text).unwrap();
            assert_eq!(frame.method, row.name);
            let params = frame.params.unwrap().get();
            let name = format!("methods/{}.params.json", row.name);
            assert_eq!(problem(&name, params), "");
        }
    }

    fn survives<T: DeserializeOwned + Serialize>(json: &str) {
        let value: T = serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
        let again = serde_json::to_value(&value).unwrap();
        assert_eq!(again, serde_json::from_str::<Value>(json).unwrap());
    }

    #[test]
    fn every_event_has_golden_payloads_that_fit_its_type_and_schema() {
        let mut missing: Vec<&str> = Event::table().iter().map(|row| row.name).collect();
        for (path, text) in golden_frames("event") {
            let Some(ServerFrame::Event(frame)) = ServerFrame::decode(&text) else {
                panic!("{path:?} is no event");
            };
            let row = Event::table().iter().find(|row| row.name == frame.event);
            let payload = frame.payload.unwrap().get();
            match row.unwrap().event {
                Event::Agent => survives::<AgentEvent>(payload),
                Event::Chat => survives::<ChatEvent>(payload),
                Event::SessionMessage => survives::<SessionMessage>(payload),
                Event::SessionOperation => survives::<SessionOperation>(payload),
                Event::SessionTool => survives::<SessionTool>(payload),
                Event::SessionsChanged => survives::<SessionsChanged>(payload),
                Event::Health => survives::<HealthSummary>(payload),
                Event::Tick => survives::<TickEvent>(payload),
                Event::Shutdown => survives::<ShutdownEvent>(payload),
                Event::DevicePairRequested => survives::<PendingDevice>(payload),
                Event::DevicePairResolved => survives::<DevicePairResolved>(payload),
                Event::ConnectChallenge => survives::<Challenge>(payload),
                // Written only: there is no reader it could disagree with.
                Event::Presence => {}
            }
            assert_eq!(
                problem(&format!("events/{}.json", frame.event), payload),
                ""
            );
            missing.retain(|name| *name != frame.event);
        }
        assert_eq!(missing, [""; 0]);
    }

    #[test]
    fn hello_fits_its_schema_in_both_versions() {
        for version in [Protocol::V3, Protocol::V4] {
            let reply = hello(&["operator.admin"]).encode("c1", version).unwrap();
            let frame: Value = serde_json::from_str(&reply.frame).unwrap();
            assert_eq!(
                problem("handshake/hello-ok.json", &frame["payload"].to_string()),
                ""
            );
        }
    }

    #[test]
    fn every_keyword_of_every_schema_is_checked() {
        for file in schema_files() {
            let rules = Rules::of(file.schema.as_value());
            let unknown: Vec<&str> = rules.unknown_keywords().collect();
            assert_eq!(unknown, [""; 0], "{}", file.path);
        }
    }
}
