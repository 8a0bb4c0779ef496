//! Recorded requests: what is read, and the words of refusals.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::protocol::methods::Method;
use crate::protocol::methods::agent::{AgentParams, AgentWaitParams};
use crate::protocol::methods::agents::{
    AgentIdentityParams, AgentsListParams, ModelsListParams, WebSearchStatusParams,
};
use crate::protocol::methods::artifacts::{ArtifactsDownloadParams, ArtifactsListParams};
use crate::protocol::methods::chat::{
    ChatAbortParams, ChatHistoryParams, ChatInjectParams, ChatMessageGetParams, ChatMetadataParams,
    ChatSendParams, ChatStartupParams,
};
use crate::protocol::methods::commands::CommandsListParams;
use crate::protocol::methods::config::{ConfigGetParams, ConfigLookupParams, ConfigSchemaParams};
use crate::protocol::methods::device::{
    DevicePairApproveParams, DevicePairListParams, DevicePairRejectParams, DevicePairRemoveParams,
    DevicePairRenameParams, DeviceTokenRevokeParams, DeviceTokenRotateParams,
};
use crate::protocol::methods::notes::{
    DiagnosticsLanesParams, GatewayIdentityParams, ModelsAuthStatusParams,
    ObserverVisibilityParams, SetHeartbeatsParams, StabilityParams, SystemEventParams,
    ToolsCatalogParams, WakeParams,
};
use crate::protocol::methods::runs::{RunsGetParams, RunsListParams};
use crate::protocol::methods::sessions::{
    MessagesSubscribeParams, MessagesUnsubscribeParams, SessionsAbortParams, SessionsCompactParams,
    SessionsCreateParams, SessionsDeleteParams, SessionsDescribeParams, SessionsGetParams,
    SessionsListParams, SessionsPatchParams, SessionsPreviewParams, SessionsResetParams,
    SessionsResolveParams, SessionsSearchParams, SessionsSendParams,
};
use crate::protocol::methods::stubs::{Answer, Visit};
use crate::protocol::methods::system::{
    HealthParams, LogsTailParams, StatusParams, SystemInfoParams, SystemPresenceParams,
};
use crate::protocol::{ErrorBody, decode_params};

use super::{recording, recordings, responses};

/// Checks the parameters of a stub.
struct Checking<'a> {
    name: &'a str,
    params: Option<&'a RawValue>,
}

impl Visit for Checking<'_> {
    type Output = Option<ErrorBody>;

    fn visit<P, R>(self) -> Self::Output
    where
        P: DeserializeOwned + JsonSchema + 'static,
        R: Answer<P>,
    {
        decode_params::<P>(self.name, self.params).err()
    }
}

/// What is wrong with the parameters of a method.
fn problem(method: Method, name: &str, params: Option<&RawValue>) -> Option<String> {
    macro_rules! check {
        ($params:ty) => {
            decode_params::<$params>(name, params).err()
        };
    }
    let refusal = match method {
        Method::Health => check!(HealthParams),
        Method::Status => check!(StatusParams),
        Method::SystemPresence => check!(SystemPresenceParams),
        Method::LogsTail => check!(LogsTailParams),
        Method::ConfigGet => check!(ConfigGetParams),
        Method::AgentsList => check!(AgentsListParams),
        Method::AgentIdentityGet => check!(AgentIdentityParams),
        Method::ModelsList => check!(ModelsListParams),
        Method::RunsList => check!(RunsListParams),
        Method::RunsGet => check!(RunsGetParams),
        Method::Agent => check!(AgentParams),
        Method::AgentWait => check!(AgentWaitParams),
        Method::ChatSend => check!(ChatSendParams),
        Method::ChatHistory => check!(ChatHistoryParams),
        Method::ChatStartup => check!(ChatStartupParams),
        Method::ChatMetadata => check!(ChatMetadataParams),
        Method::ChatMessageGet => check!(ChatMessageGetParams),
        Method::ArtifactsList => check!(ArtifactsListParams),
        Method::ArtifactsDownload => check!(ArtifactsDownloadParams),
        Method::CommandsList => check!(CommandsListParams),
        Method::ChatAbort => check!(ChatAbortParams),
        Method::ChatInject => check!(ChatInjectParams),
        Method::SessionsList | Method::SessionsSubscribe => check!(SessionsListParams),
        Method::SessionsResolve => check!(SessionsResolveParams),
        Method::SessionsDescribe => check!(SessionsDescribeParams),
        Method::SessionsGet => check!(SessionsGetParams),
        Method::SessionsPreview => check!(SessionsPreviewParams),
        Method::SessionsCreate => check!(SessionsCreateParams),
        Method::SessionsSend | Method::SessionsSteer => check!(SessionsSendParams),
        Method::SessionsAbort => check!(SessionsAbortParams),
        Method::SessionsCompact => check!(SessionsCompactParams),
        Method::SessionsReset => check!(SessionsResetParams),
        Method::SessionsDelete => check!(SessionsDeleteParams),
        Method::SessionsPatch => check!(SessionsPatchParams),
        Method::MessagesSubscribe => check!(MessagesSubscribeParams),
        Method::MessagesUnsubscribe => check!(MessagesUnsubscribeParams),
        Method::DevicePairList => check!(DevicePairListParams),
        Method::DevicePairApprove => check!(DevicePairApproveParams),
        Method::DevicePairReject => check!(DevicePairRejectParams),
        Method::DevicePairRemove => check!(DevicePairRemoveParams),
        Method::DevicePairRename => check!(DevicePairRenameParams),
        Method::DeviceTokenRotate => check!(DeviceTokenRotateParams),
        Method::DeviceTokenRevoke => check!(DeviceTokenRevokeParams),
        Method::ConfigSchema => check!(ConfigSchemaParams),
        Method::ModelsAuthStatus => check!(ModelsAuthStatusParams),
        Method::ToolsCatalog => check!(ToolsCatalogParams),
        Method::DiagnosticsLanes => check!(DiagnosticsLanesParams),
        Method::GatewayIdentity => check!(GatewayIdentityParams),
        Method::SystemEvent => check!(SystemEventParams),
        Method::SetHeartbeats => check!(SetHeartbeatsParams),
        Method::ObserverVisibility => check!(ObserverVisibilityParams),
        Method::SessionsSearch => check!(SessionsSearchParams),
        Method::ConfigSchemaLookup => check!(ConfigLookupParams),
        Method::DiagnosticsStability => check!(StabilityParams),
        Method::SystemInfo => check!(SystemInfoParams),
        Method::WebSearchStatus => check!(WebSearchStatusParams),
        Method::Wake => check!(WakeParams),
        Method::Stub(stub) => stub.visit(Checking { name, params }),
    };
    refusal.map(|refusal| refusal.message.into_owned())
}

/// What the original said of parameters that break their form; `None` for any other answer, such
/// as one about an agent that does not exist.
fn recorded_problem(name: &str, answer: &Value) -> Option<String> {
    let message = answer["error"]["message"].as_str()?;
    let tail = message.strip_prefix(&format!("invalid {name} params: "))?;
    (tail.starts_with("at ") || tail.starts_with("must ")).then(|| message.to_owned())
}

/// Why a recorded refusal is none here: `recording/method` and the clause that wins.
fn exceptions() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/ws/exceptions.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// An empty session key is refused by its form here, and later by the original.
const EMPTY_KEY: &str =
    "invalid chat.send params: at /sessionKey: must not have fewer than 1 characters";

#[test]
fn recorded_parameters_are_read_and_refused_in_the_recorded_words() {
    let mut read = 0;
    let mut refused = 0;
    let mut exceptions = exceptions();
    for name in recordings() {
        let frames = recording(&name);
        for line in frames.iter().filter(|line| line.dir == "c2s") {
            let method = line.frame["method"].as_str().unwrap_or_default();
            let Some(row) = Method::find(method) else {
                continue;
            };
            let answers = responses(&frames, &line.conn, &line.frame["id"]);
            let Some(answer) = answers.first() else {
                continue;
            };
            let params = line.frame.get("params").map(Value::to_string);
            let raw = params.map(|text| RawValue::from_string(text).unwrap());
            let ours = problem(row.method, method, raw.as_deref());
            if ours.as_deref() == Some(EMPTY_KEY) {
                assert_eq!(answer["ok"], false, "{name}");
                continue;
            }
            let recorded = recorded_problem(method, answer);
            let is_newer_member = recorded
                .as_deref()
                .is_some_and(|problem| problem.contains("unexpected property"));
            if is_newer_member {
                let known = exceptions.remove(&format!("{name}/{method}"));
                assert!(known.is_some(), "{name}: {}", line.frame);
                assert_eq!(ours, None, "{name}: {}", line.frame);
                continue;
            }
            assert_eq!(ours, recorded, "{name}: {}", line.frame);
            if ours.is_some() {
                refused += 1;
            } else {
                read += 1;
            }
        }
    }
    assert!(exceptions.is_empty(), "nothing needs {exceptions:?}");
    assert!(read >= 40 && refused >= 7, "{read} read, {refused} refused");
}
