//! From a `connect` to a peer: what auth is asked, what its refusal says, and what an accepted peer
//! is told.

use std::sync::Arc;

use crate::auth::device::IssuedToken;
use crate::auth::{
    self, AuthError, AuthMethod, ConnectAuth, DeviceClaim, Locality, Offered, OriginRefusal,
    Principal, Rules, Scope,
};
use crate::dispatch::Caller;
use crate::ids::ConnectionId;
use crate::protocol::{
    Audience, AuthFailure, AuthModeName, AuthReason, ClientInfo, Confidential, ConnectParams,
    Device, HandshakeFailure, Hello, HelloAuth, Policy, PresenceEntry, Protocol, Role,
    RosterOwnership, SessionDefaults, Snapshot, Suspension, SuspensionPhase,
};
use crate::version::OWN_VERSION;

use super::devices::{self, pairing_refusal, proof_failure};
use super::native::{Native, as_ms, as_u64};
use super::viewer::Caps;

/// A peer that was let in.
#[derive(Debug)]
pub(super) struct Peer {
    /// For whom it asks.
    pub(super) caller: Caller,
    /// The version that is spoken.
    pub(super) protocol: Protocol,
    /// The program.
    pub(super) client: ClientInfo,
}

impl Peer {
    /// Whether it holds `operator.admin`.
    pub(super) fn is_admin(&self) -> bool {
        self.caller.principal.scopes.allows(Scope::Admin)
    }

    /// Whether it is a chat page of protocol 3, which may do less than the Control UI.
    pub(super) const fn is_plain_webchat_v3(&self) -> bool {
        matches!(self.protocol, Protocol::V3)
            && self.client.is_webchat()
            && !self.client.is_control_ui(Protocol::V3)
    }
}

/// What auth needs of a `connect`, on a connection that was challenged with `nonce`.
pub(super) fn offer(params: &ConnectParams, protocol: Protocol, nonce: &str) -> ConnectAuth {
    let secrets = params.auth.clone().unwrap_or_default();
    let client = &params.client;
    ConnectAuth {
        token: secrets.token.map(Offered::new),
        password: secrets.password.map(Offered::new),
        device_token: secrets.device_token.map(Offered::new),
        bootstrap_token: secrets.bootstrap_token.map(Offered::new),
        device: params.device.as_ref().map(|device| claim(device, nonce)),
        client_id: client.id.as_str().to_owned(),
        client_mode: client.mode.as_str().to_owned(),
        display_name: client.display_name.as_deref().map(str::to_owned),
        platform: Some(client.platform.as_str().to_owned()),
        device_family: client.device_family.as_deref().map(str::to_owned),
        role: match params.role() {
            Some(Role::Node) => auth::Role::Node,
            Some(Role::Operator) | None => auth::Role::Operator,
        },
        scopes: params
            .scopes
            .iter()
            .map(|scope| scope.as_str().to_owned())
            .collect(),
        rules: match protocol {
            Protocol::V3 => Rules::V3,
            Protocol::V4 => Rules::V4,
        },
    }
}

fn claim(device: &Device, nonce: &str) -> DeviceClaim {
    DeviceClaim {
        id: device.id.as_str().to_owned(),
        public_key: device.public_key.as_str().to_owned(),
        signature: device.signature.as_str().to_owned(),
        signed_at_ms: device.signed_at,
        nonce: device.nonce.as_str().to_owned(),
        challenge: nonce.to_owned(),
    }
}

/// What a client can do that decides which events it gets.
pub(super) fn caps(params: &ConnectParams, protocol: Protocol) -> Caps {
    Caps {
        tool_events: params.has_cap("tool-events"),
        session_scoped: params.has_cap("session-scoped-events"),
        chat_status: protocol == Protocol::V4,
    }
}

/// Why a peer was not let in, as it is told.
pub(super) fn refusal(error: &AuthError, params: &ConnectParams) -> HandshakeFailure {
    let reason = match error {
        AuthError::Missing(AuthMethod::Token) => AuthReason::TokenMissing,
        AuthError::Mismatch(AuthMethod::Token) => AuthReason::TokenMismatch,
        AuthError::Missing(AuthMethod::Password) => AuthReason::PasswordMissing,
        AuthError::Mismatch(AuthMethod::Password) => AuthReason::PasswordMismatch,
        AuthError::Mismatch(AuthMethod::DeviceToken) => AuthReason::DeviceTokenMismatch,
        AuthError::ScopeMismatch => AuthReason::ScopeMismatch,
        AuthError::Missing(AuthMethod::None | AuthMethod::DeviceToken)
        | AuthError::Mismatch(AuthMethod::None) => AuthReason::Required,
        AuthError::LockedOut { retry_after } => AuthReason::RateLimited {
            retry_after: *retry_after,
        },
        AuthError::ProxyAttribution => AuthReason::ProxyAttribution,
        AuthError::Origin(refusal) => {
            let reason = match refusal {
                OriginRefusal::Invalid => "origin missing or invalid",
                OriginRefusal::NotAllowed => "origin not allowed",
            };
            return HandshakeFailure::OriginNotAllowed { reason };
        }
        AuthError::DeviceRequired => return HandshakeFailure::DeviceIdentityRequired,
        AuthError::ControlUiDeviceRequired => {
            return HandshakeFailure::ControlUiDeviceIdentityRequired;
        }
        AuthError::Device(error) => return HandshakeFailure::DeviceProof(proof_failure(*error)),
        AuthError::PairingRequired(required) => {
            return HandshakeFailure::PairingRequired(Box::new(pairing_refusal(required)));
        }
        AuthError::PairingFull => return HandshakeFailure::TooManyDevices,
        AuthError::Store(_) => return HandshakeFailure::Internal,
    };
    let secrets = params.auth.as_ref();
    let device_retry = params.device.is_some()
        && secrets.is_some_and(|secrets| {
            secrets.token.is_some() && secrets.device_token.is_none() && secrets.password.is_none()
        });
    HandshakeFailure::Unauthorized(AuthFailure {
        reason,
        audience: Audience::of(&params.client),
        device_retry,
    })
}

/// What an accepted peer is told.
pub(super) fn hello(
    native: &Native,
    id: ConnectionId,
    peer: &Peer,
    token: Option<&IssuedToken>,
) -> Hello {
    let principal = &peer.caller.principal;
    Hello {
        connection: id,
        boot_id: Arc::clone(&native.boot_id),
        serves_control_ui: native.config.serves_control_ui(),
        features: native.features.clone(),
        snapshot: snapshot(native, peer),
        auth: HelloAuth {
            method: Some(principal.method.as_str().into()),
            role: devices::role(principal.role),
            scopes: devices::names(&principal.scopes),
            device_token: token.map(|token| Confidential::new(token.text.expose())),
            issued_at_ms: token.map(|token| token.issued_at_ms),
        },
        policy: Policy {
            max_buffered_bytes: as_u64(native.config.outbox_bytes_max),
            tick_interval_ms: as_ms(native.config.tick_interval),
            ..Policy::default()
        },
    }
}

fn snapshot(native: &Native, peer: &Peer) -> Snapshot {
    let is_admin = peer.is_admin();
    let health = native.health.read();
    let phase = if native.drain.is_accepting() {
        SuspensionPhase::Accepting
    } else {
        SuspensionPhase::Draining
    };
    let config = native.dispatch.config();
    let may_see_presence = peer.caller.principal.scopes.allows(Scope::Read);
    let shown = is_admin.then(|| config.snapshot());
    Snapshot {
        suspension: Some(Suspension { phase }),
        presence: if may_see_presence {
            native.presence.list().0
        } else {
            Vec::new()
        },
        health: if is_admin { health.full } else { health.public },
        state_version: native.state_version(),
        uptime_ms: as_ms(native.started.elapsed()),
        applied_config_hash: shown.as_ref().map(|shown| Arc::clone(&shown.hash)),
        session_defaults: session_defaults(native),
        config_path: shown.map(|shown| shown.path),
        state_dir: is_admin.then(|| config.state_dir()),
        auth_mode: is_admin.then(|| auth_mode(native.auth.method())),
    }
}

fn session_defaults(native: &Native) -> SessionDefaults {
    let agents = native.dispatch.agents().list();
    let default = native.dispatch.agents().default_agent();
    let first = agents.first().map(|entry| entry.id.clone());
    let agent = default.ok().or(first);
    let main_key = native.dispatch.config().main_key();
    SessionDefaults {
        default_agent_id: agent.as_ref().map_or("", |id| id.as_str()).into(),
        model_configured: Some(true),
        ownership: Some(if agents.len() > 1 {
            RosterOwnership::Explicit
        } else {
            RosterOwnership::Sole
        }),
        selection_required: Some(false),
        main_session_key: agent.map_or_else(
            || Arc::clone(&main_key),
            |id| native.dispatch.main_session(&id).as_str().into(),
        ),
        main_key,
        scope: "per-sender".into(),
    }
}

/// The presence entry of a peer that was let in.
pub(super) fn presence_entry(peer: &Peer, now_ms: u64) -> PresenceEntry {
    let client = &peer.client;
    let principal = &peer.caller.principal;
    let is_local = match principal.locality {
        Locality::DirectLocal | Locality::BrowserLocal | Locality::ContainerLocal => true,
        Locality::Remote => false,
    };
    PresenceEntry {
        host: Some(client.host().into()),
        client_id: Some(client.id.as_str().into()),
        ip: (!is_local).then(|| principal.address.to_string().into()),
        version: Some(client.version.as_str().into()),
        platform: Some(client.platform.as_str().into()),
        device_family: client
            .device_family
            .as_ref()
            .map(|text| text.as_str().into()),
        model_identifier: client
            .model_identifier
            .as_ref()
            .map(|text| text.as_str().into()),
        time_zone: client.time_zone.as_ref().map(|text| text.as_str().into()),
        mode: Some(client.mode.as_str().into()),
        reason: Some("connect".into()),
        text: None,
        ts: now_ms,
        roles: Some(vec![devices::role(principal.role)]),
        scopes: Some(devices::names(&principal.scopes)),
        device_id: principal.device.clone(),
        instance_id: client.instance_id.as_ref().map(|text| text.as_str().into()),
        last_input_seconds: None,
        tags: None,
    }
}

/// The presence entry of the gateway itself.
pub(super) fn own_presence(now_ms: u64) -> PresenceEntry {
    PresenceEntry {
        host: Some("clawport".into()),
        version: Some(OWN_VERSION.into()),
        platform: Some(std::env::consts::OS.into()),
        mode: Some("gateway".into()),
        reason: Some("self".into()),
        ts: now_ms,
        ..PresenceEntry::default()
    }
}

const fn auth_mode(method: AuthMethod) -> AuthModeName {
    match method {
        AuthMethod::Token | AuthMethod::DeviceToken => AuthModeName::Token,
        AuthMethod::Password => AuthModeName::Password,
        AuthMethod::None => AuthModeName::None,
    }
}

/// The caller a peer acts as.
pub(super) const fn caller(principal: Principal, id: ConnectionId) -> Caller {
    Caller {
        principal,
        connection: Some(id),
        user: None,
    }
}
