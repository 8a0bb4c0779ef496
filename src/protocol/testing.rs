//! Values the tests of this crate build native connections from.

use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::hello::{
    AuthModeName, Challenge, Features, Hello, HelloAuth, Policy, PresenceEntry, RosterOwnership,
    SessionDefaults, Snapshot, Suspension, SuspensionPhase,
};
use super::{Role, StateVersion};
use crate::ids::ConnectionId;

pub(crate) fn challenge() -> Challenge {
    Challenge {
        nonce: "n-1".to_owned(),
        ts: 1_760_000_000_000,
    }
}

/// The frame of a `connect` with id `c1`, with `patch` laid over its params; a null removes.
pub(crate) fn connect_frame(patch: Value) -> String {
    let mut params = serde_json::json!({
        "minProtocol": 4,
        "maxProtocol": 4,
        "client": {"id": "cli", "version": "1", "platform": "linux", "mode": "cli"},
        "scopes": ["operator.read"],
        "auth": {"token": "t"},
    });
    if let Value::Object(patch) = patch {
        for (name, value) in patch {
            params[name] = value;
        }
    }
    if let Value::Object(members) = &mut params {
        members.retain(|_, value| !value.is_null());
    }
    let frame = serde_json::json!({
        "type": "req", "id": "c1", "method": "connect", "params": params,
    });
    frame.to_string()
}

pub(crate) fn hello(scopes: &[&str]) -> Hello {
    Hello {
        connection: ConnectionId::from_uuid(Uuid::nil()),
        boot_id: "boot".into(),
        serves_control_ui: false,
        features: Features {
            methods: Arc::new(["health"]),
            events: Arc::new(["tick"]),
            capabilities: &["published-model-catalog"],
        },
        snapshot: snapshot(),
        auth: HelloAuth {
            method: Some("token".into()),
            role: Role::Operator,
            scopes: scopes.iter().map(|scope| (*scope).into()).collect(),
            device_token: None,
            issued_at_ms: None,
        },
        policy: Policy::default(),
    }
}

fn snapshot() -> Snapshot {
    Snapshot {
        suspension: Some(Suspension {
            phase: SuspensionPhase::Accepting,
        }),
        presence: vec![PresenceEntry {
            mode: Some("gateway".into()),
            ts: 1,
            ..PresenceEntry::default()
        }],
        health: RawValue::from_string("{}".to_owned()).unwrap().into(),
        state_version: StateVersion {
            presence: 1,
            health: 1,
        },
        uptime_ms: 5,
        applied_config_hash: Some("h".into()),
        session_defaults: SessionDefaults {
            default_agent_id: "main".into(),
            model_configured: Some(true),
            ownership: Some(RosterOwnership::Sole),
            selection_required: Some(false),
            main_key: "main".into(),
            main_session_key: "agent:main:main".into(),
            scope: "per-sender".into(),
        },
        config_path: Some("/etc/c.json".into()),
        state_dir: Some("/var/s".into()),
        auth_mode: Some(AuthModeName::Token),
    }
}
