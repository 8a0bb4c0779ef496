//! `device.pair.list`, and how a handshake with a device ends.

use serde_json::Value;

use crate::protocol::hello::{Confidential, HelloAuth};
use crate::protocol::methods::device::{
    DeviceFacts, DevicePairListResult, DeviceTokenSummary, PairedDevice,
};
use crate::protocol::recorded::{answer, compare, recording};
use crate::protocol::{DeviceProofFailure, HandshakeFailure, Protocol, Role};

use super::{check_same, value};

#[test]
fn paired_devices_have_the_recorded_members() {
    let paired = PairedDevice {
        device_id: "d".into(),
        public_key: "k".into(),
        facts: DeviceFacts {
            platform: Some("linux".into()),
            client_id: Some("cli".into()),
            client_mode: Some("cli".into()),
            ..DeviceFacts::default()
        },
        label: None,
        role: Some(Role::Operator),
        roles: vec![Role::Operator],
        scopes: vec!["operator.read".into()],
        approved_via: "silent".into(),
        created_at_ms: 1,
        approved_at_ms: 1,
        last_seen_at_ms: Some(1),
        last_seen_reason: Some("connect".into()),
        connected: false,
        tokens: vec![DeviceTokenSummary {
            role: Role::Operator,
            scopes: vec!["operator.read".into()],
            created_at_ms: 1,
            rotated_at_ms: None,
            revoked_at_ms: None,
            last_used_at_ms: None,
        }],
    };
    let list = DevicePairListResult {
        pending: Vec::new(),
        paired: vec![paired],
    };
    let recorded = answer("rpc-device_pair_list", "device.pair.list", 0);
    check_same("devices", value(list), recorded);
}

#[test]
fn a_device_is_told_its_token_as_on_record() {
    let auth = HelloAuth {
        method: Some("token".into()),
        role: Role::Operator,
        scopes: vec!["operator.read".into()],
        device_token: Some(Confidential::new("t")),
        issued_at_ms: Some(1),
    };
    let recorded = answer("connect-ok-device", "connect", 0)["auth"].clone();
    let omitted = [
        (".recoveryScope", "nothing is stored under it"),
        (".recoveryMigrationAllowed", "nothing is stored under it"),
    ];
    compare("auth", &[value(auth)], &[recorded], &omitted, &[]);
}

fn check_refused(name: &str, failure: DeviceProofFailure) {
    let frames = recording(name);
    let recorded = &frames.last().unwrap().frame["error"];
    let body = HandshakeFailure::DeviceProof(failure).body(Protocol::V4);
    assert_eq!(&serde_json::to_value(body).unwrap(), recorded, "{name}");
    assert_ne!(recorded, &Value::Null);
}

#[test]
fn faults_of_a_proof_are_refused_as_on_record() {
    let signature = DeviceProofFailure::SignatureInvalid;
    check_refused("connect-device-bad-signature", signature);
    check_refused(
        "connect-device-bad-nonce",
        DeviceProofFailure::NonceMismatch,
    );
}
