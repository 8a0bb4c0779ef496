//! Devices over real sockets: proof, pairing, tokens, and the end of what was withdrawn.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use clawport::internals::auth::PairingPolicy;
use serde_json::{Value, json};

use crate::support::device::{Device, ELSEWHERE, by_token, cli, now_ms, token};
use crate::support::http::request;
use crate::support::ws::{Heard, Ws, backend, with};
use crate::support::{Rig, RigConfig, Served, Setup, soon};

const READ: &[&str] = &["operator.read"];
const WRITE: &[&str] = &["operator.read", "operator.write"];

async fn rig() -> Rig {
    Rig::start(RigConfig::default()).await
}

/// A connection that may pair devices, and hears of them.
async fn admin(rig: &Rig) -> Ws {
    let scopes = ["operator.admin", "operator.pairing"];
    Ws::connect(rig.addr, with(backend(), &json!({ "scopes": scopes }))).await
}

/// The error of a `connect` and the close behind it.
async fn refused(mut ws: Ws, response: Value) -> (Value, u16, String) {
    assert_eq!(response["ok"], false, "{response}");
    let (code, reason) = ws.closed().await;
    (response["error"].clone(), code, reason)
}

/// The request of a device that has to be approved.
async fn request_of(rig: &Rig, device: &Device, params: Value) -> String {
    let (ws, response) = device.connect(rig.addr, &[ELSEWHERE], params).await;
    let (error, code, reason) = refused(ws, response).await;
    assert_eq!(error["code"], "NOT_PAIRED", "{error}");
    assert_eq!(error["details"]["code"], "PAIRING_REQUIRED", "{error}");
    let request = error["details"]["requestId"].as_str().unwrap().to_owned();
    assert_eq!(code, 1008);
    assert!(
        reason.contains(&request) || reason == "pairing required",
        "{reason}"
    );
    request
}

#[tokio::test]
async fn a_local_device_is_paired_by_connecting_and_comes_back_with_its_token() {
    let rig = rig().await;
    let device = Device::new(1);
    let (_ws, hello) = device.enter(rig.addr, &[], cli(WRITE)).await;
    let auth = &hello["auth"];
    assert_eq!(auth["method"], "token");
    assert_eq!(auth["scopes"], json!(WRITE));
    let token = token(&hello);
    assert_eq!(token.len(), 43);
    let issued = auth["issuedAtMs"].as_u64().unwrap();
    assert!(now_ms().abs_diff(issued) < 60_000, "{issued}");

    let (mut ws, hello) = device
        .enter(rig.addr, &[ELSEWHERE], by_token(WRITE, &token))
        .await;
    let expected = json!({
        "method": "device-token", "role": "operator", "scopes": WRITE,
        "deviceToken": token, "issuedAtMs": issued,
    });
    assert_eq!(hello["auth"], expected);
    ws.done("sessions.list", json!({})).await;
    let missing = ws.refused("device.pair.list", json!({})).await;
    assert_eq!(missing["code"], "FORBIDDEN");
    assert_eq!(missing["message"], "missing scope: operator.pairing");
    // The token is worth nothing without the key, and nothing over HTTP.
    let other = Device::new(2);
    let (ws, response) = other.connect(rig.addr, &[], by_token(WRITE, &token)).await;
    let (error, code, _) = refused(ws, response).await;
    assert_eq!(error["details"]["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
    assert_eq!(
        error["message"],
        "unauthorized: device token mismatch (rotate/reissue device token)"
    );
    assert_eq!(code, 1008);
    let bearer = format!("Bearer {token}");
    let models = request("GET", "/v1/models", &[("Authorization", &bearer)], "");
    assert_eq!(rig.connect().await.ask(models).await.status(), 401);
}

#[tokio::test]
async fn a_device_keeps_the_scopes_it_asks_for_whatever_program_it_is() {
    let rig = rig().await;
    let device = Device::new(1);
    let client = json!({ "id": "openclaw-tui", "version": "1", "platform": "linux",
                         "deviceFamily": "Linux", "mode": "ui", "displayName": "Anna's TUI" });
    let params = with(cli(WRITE), &json!({ "client": client }));
    let (mut ws, hello) = device.enter(rig.addr, &[], params).await;
    assert_eq!(hello["auth"]["scopes"], json!(WRITE));
    let present = ws.done("system-presence", json!({})).await;
    let entries = present.as_array().unwrap();
    let entry = entries
        .iter()
        .find(|it| it["host"] == "Anna's TUI")
        .unwrap();
    assert_eq!(entry["deviceId"], device.id());

    let mut admin = admin(&rig).await;
    let list = admin.done("device.pair.list", json!({})).await;
    let paired = &list["paired"][0];
    assert_eq!(paired["displayName"], "Anna's TUI");
    assert_eq!(paired["connected"], true);
    assert_eq!(paired["approvedVia"], "silent");
    let label = json!({ "deviceId": device.id(), "label": "Desk" });
    let renamed = admin.done("device.pair.rename", label).await;
    assert_eq!(renamed["label"], "Desk");
    assert_eq!(renamed["connected"], true);
}

/// Connects with a device whose proof was edited, in both versions of the protocol.
async fn check_proof(edit: fn(&mut Value), message: &str, reason: &str, code: &str) {
    let rig = rig().await;
    for (version, code) in [(4, code), (3, "DEVICE_AUTH_INVALID")] {
        let versions = json!({ "minProtocol": version, "maxProtocol": version });
        let params = with(cli(WRITE), &versions);
        let mut ws = Ws::open(rig.addr).await;
        let nonce = ws.nonce().await;
        let mut proof = Device::new(1).proof(&params, &nonce, now_ms());
        edit(&mut proof);
        let params = with(params, &json!({ "device": proof }));
        let id = ws.ask("connect", params).await;
        let response = ws.response(&id).await;
        let (error, close, why) = refused(ws, response).await;
        let expected = json!({
            "code": "INVALID_REQUEST", "message": message,
            "details": { "code": code, "reason": reason },
        });
        assert_eq!(error, expected);
        assert_eq!((close, why.as_str()), (1008, message));
    }
    // Nothing was paired, and nothing waits.
    let list = admin(&rig).await.done("device.pair.list", json!({})).await;
    assert_eq!(list, json!({ "pending": [], "paired": [] }));
}

#[tokio::test]
async fn a_proof_that_is_none_is_refused_by_its_fault() {
    check_proof(
        |proof| proof["id"] = Device::new(2).id().into(),
        "device identity mismatch",
        "device-id-mismatch",
        "DEVICE_AUTH_DEVICE_ID_MISMATCH",
    )
    .await;
    check_proof(
        |proof| proof["publicKey"] = Device::new(2).public_key().into(),
        "device identity mismatch",
        "device-id-mismatch",
        "DEVICE_AUTH_DEVICE_ID_MISMATCH",
    )
    .await;
    check_proof(
        |proof| proof["signedAt"] = (now_ms() - 130_000).into(),
        "device signature expired",
        "device-signature-stale",
        "DEVICE_AUTH_SIGNATURE_EXPIRED",
    )
    .await;
    check_proof(
        |proof| proof["nonce"] = " ".into(),
        "device nonce required",
        "device-nonce-missing",
        "DEVICE_AUTH_NONCE_REQUIRED",
    )
    .await;
    check_proof(
        |proof| proof["nonce"] = "zzz".into(),
        "device nonce mismatch",
        "device-nonce-mismatch",
        "DEVICE_AUTH_NONCE_MISMATCH",
    )
    .await;
    check_proof(
        |proof| proof["signature"] = Device::new(1).sign("something else").into(),
        "device signature invalid",
        "device-signature",
        "DEVICE_AUTH_SIGNATURE_INVALID",
    )
    .await;
}

#[tokio::test]
async fn a_proof_of_another_connection_is_worth_nothing() {
    let rig = rig().await;
    let mut first = Ws::open(rig.addr).await;
    let mut second = Ws::open(rig.addr).await;
    let nonce = first.nonce().await;
    second.challenge().await;
    let proof = Device::new(1).proof(&cli(WRITE), &nonce, now_ms());
    let params = with(cli(WRITE), &json!({ "device": proof }));
    let id = second.ask("connect", params.clone()).await;
    let response = second.response(&id).await;
    let (error, ..) = refused(second, response).await;
    assert_eq!(error["details"]["code"], "DEVICE_AUTH_NONCE_MISMATCH");
    let id = first.ask("connect", params).await;
    assert_eq!(first.response(&id).await["ok"], true);
}

#[tokio::test]
async fn a_remote_device_asks_is_approved_and_gets_in() {
    let rig = rig().await;
    let mut admin = admin(&rig).await;
    let device = Device::new(1);
    let request = request_of(&rig, &device, cli(WRITE)).await;
    let asked = admin.event("device.pair.requested").await["payload"].clone();
    assert_eq!(asked["requestId"], request);
    assert_eq!(asked["deviceId"], device.id());
    assert_eq!(asked["publicKey"], device.public_key());
    assert_eq!(asked["scopes"], json!(WRITE));
    assert_eq!(asked["isRepair"], false);
    // Asking again is the same request, and no news.
    assert_eq!(request_of(&rig, &device, cli(READ)).await, request);
    let list = admin.done("device.pair.list", json!({})).await;
    assert_eq!(list["paired"], json!([]));
    assert_eq!(list["pending"][0]["requestId"], request);
    assert!(list["pending"][0]["ts"].as_u64() >= asked["ts"].as_u64());

    let params = json!({ "requestId": request });
    let approved = admin.done("device.pair.approve", params.clone()).await;
    assert_eq!(approved["requestId"], request);
    assert_eq!(approved["device"]["deviceId"], device.id());
    assert_eq!(approved["device"]["approvedVia"], "operator");
    assert_eq!(approved["device"]["tokens"], json!([]));
    let resolved = admin.event("device.pair.resolved").await["payload"].clone();
    assert_eq!(resolved["requestId"], request);
    assert_eq!(resolved["decision"], "approved");
    let again = admin.refused("device.pair.approve", params).await;
    assert_eq!(again["message"], "unknown requestId");

    let (_ws, hello) = device.enter(rig.addr, &[ELSEWHERE], cli(WRITE)).await;
    let token = token(&hello);
    device
        .enter(rig.addr, &[ELSEWHERE], by_token(READ, &token))
        .await;
}

#[tokio::test]
async fn a_rejected_device_has_to_ask_again() {
    let rig = rig().await;
    let mut admin = admin(&rig).await;
    let device = Device::new(1);
    let request = request_of(&rig, &device, cli(READ)).await;
    let rejected = admin
        .done("device.pair.reject", json!({ "requestId": request }))
        .await;
    assert_eq!(
        rejected,
        json!({ "requestId": request, "deviceId": device.id() })
    );
    let resolved = admin.event("device.pair.resolved").await;
    assert_eq!(resolved["payload"]["decision"], "rejected");
    assert_ne!(request_of(&rig, &device, cli(READ)).await, request);
}

#[tokio::test]
async fn a_wider_request_takes_the_place_of_the_old_one() {
    let rig = rig().await;
    let mut admin = admin(&rig).await;
    let device = Device::new(1);
    let first = request_of(&rig, &device, cli(READ)).await;
    admin.event("device.pair.requested").await;
    let second = request_of(&rig, &device, cli(&["operator.approvals"])).await;
    let resolved = admin.event("device.pair.resolved").await;
    assert_eq!(resolved["payload"]["requestId"], first);
    assert_eq!(resolved["payload"]["decision"], "rejected");
    let asked = admin.event("device.pair.requested").await;
    assert_eq!(asked["payload"]["requestId"], second);
    let both = json!(["operator.approvals", "operator.read"]);
    assert_eq!(asked["payload"]["scopes"], both);
}

#[tokio::test]
async fn events_about_devices_go_to_those_who_pair_them() {
    let rig = rig().await;
    let scopes = json!({ "scopes": ["operator.pairing"] });
    let mut pairing = Ws::connect(rig.addr, with(backend(), &scopes)).await;
    let scopes = json!({ "scopes": WRITE });
    let mut writer = Ws::connect(rig.addr, with(backend(), &scopes)).await;
    let device = Device::new(1);
    request_of(&rig, &device, cli(READ)).await;
    pairing.event("device.pair.requested").await;
    // Whatever the other one hears before its next answer, it is not about devices.
    writer.done("status", json!({})).await;
    let mut admin = admin(&rig).await;
    admin.done("device.pair.list", json!({})).await;
    writer.done("health", json!({})).await;
    for event in writer.take_events() {
        let name = event["event"].as_str().unwrap();
        assert!(!name.starts_with("device."), "{event}");
    }
}

#[tokio::test]
async fn an_approver_grants_nothing_it_does_not_hold() {
    let rig = rig().await;
    let scopes = json!({ "scopes": ["operator.pairing", "operator.read"] });
    let mut approver = Ws::connect(rig.addr, with(backend(), &scopes)).await;
    let greedy = Device::new(1);
    let request = request_of(&rig, &greedy, cli(&["operator.admin"])).await;
    let error = approver
        .refused("device.pair.approve", json!({ "requestId": request }))
        .await;
    assert_eq!(error["code"], "INVALID_REQUEST");
    assert_eq!(error["message"], "missing scope: operator.admin");
    let (ws, response) = greedy
        .connect(rig.addr, &[ELSEWHERE], cli(&["operator.admin"]))
        .await;
    refused(ws, response).await;

    let modest = Device::new(2);
    let request = request_of(&rig, &modest, cli(READ)).await;
    let request = json!({ "requestId": request });
    approver.done("device.pair.approve", request).await;
}

#[tokio::test]
async fn a_paired_device_handles_itself_and_no_other() {
    let rig = rig().await;
    let scopes = &["operator.pairing", "operator.read"];
    let (own, other) = (Device::new(1), Device::new(2));
    let (mut ws, _) = own.enter(rig.addr, &[], cli(scopes)).await;
    let (_other, _) = other.enter(rig.addr, &[], cli(scopes)).await;
    let request = request_of(&rig, &Device::new(3), cli(READ)).await;
    let list = ws.done("device.pair.list", json!({})).await;
    assert_eq!(list["pending"], json!([]));
    let ids: Vec<_> = list["paired"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["deviceId"])
        .collect();
    assert_eq!(ids, [&Value::from(own.id())]);
    let device = json!({ "deviceId": other.id() });
    let token = json!({ "deviceId": other.id(), "role": "operator" });
    let label = json!({ "deviceId": other.id(), "label": "x" });
    let request = json!({ "requestId": request });
    for (method, params, message) in [
        (
            "device.pair.approve",
            &request,
            "device pairing approval denied",
        ),
        (
            "device.pair.reject",
            &request,
            "device pairing rejection denied",
        ),
        (
            "device.pair.remove",
            &device,
            "device pairing removal denied",
        ),
        ("device.pair.rename", &label, "device pairing rename denied"),
        (
            "device.token.rotate",
            &token,
            "device token rotation denied",
        ),
        (
            "device.token.revoke",
            &token,
            "device token revocation denied",
        ),
    ] {
        let error = ws.refused(method, params.clone()).await;
        assert_eq!(error["code"], "INVALID_REQUEST", "{method}");
        assert_eq!(error["message"], message, "{method}");
    }
}

#[tokio::test]
async fn a_remote_scope_upgrade_waits_and_a_local_one_does_not() {
    let rig = rig().await;
    let device = Device::new(1);
    let (_ws, hello) = device.enter(rig.addr, &[], cli(READ)).await;
    let old = token(&hello);
    // By its token alone it cannot even ask.
    let (ws, response) = device
        .connect(rig.addr, &[ELSEWHERE], by_token(WRITE, &old))
        .await;
    let (error, ..) = refused(ws, response).await;
    assert_eq!(error["details"]["code"], "AUTH_SCOPE_MISMATCH");

    let (ws, response) = device.connect(rig.addr, &[ELSEWHERE], cli(WRITE)).await;
    let (error, _, reason) = refused(ws, response).await;
    let details = &error["details"];
    assert_eq!(details["reason"], "scope-upgrade");
    assert_eq!(details["approvedScopes"], json!(READ));
    assert_eq!(details["requestedScopes"], json!(WRITE));
    assert!(reason.starts_with("pairing required: device is asking for more scopes"));
    // What it has is still good.
    device
        .enter(rig.addr, &[ELSEWHERE], by_token(READ, &old))
        .await;

    let (_ws, hello) = device.enter(rig.addr, &[], cli(WRITE)).await;
    let new = token(&hello);
    device
        .enter(rig.addr, &[ELSEWHERE], by_token(WRITE, &new))
        .await;
    let (ws, response) = device.connect(rig.addr, &[], by_token(READ, &old)).await;
    let (error, ..) = refused(ws, response).await;
    assert_eq!(error["details"]["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
}

fn page(scopes: &[&str]) -> Value {
    let client = json!({ "id": "openclaw-control-ui", "version": "1", "platform": "Linux x86_64",
                         "mode": "webchat" });
    with(cli(scopes), &json!({ "client": client }))
}

#[tokio::test]
async fn a_page_is_never_paired_silently_unless_that_is_configured() {
    for approve_pages in [false, true] {
        let mut config = RigConfig::default();
        config.auth.pairing = PairingPolicy {
            approve_pages,
            ..PairingPolicy::default()
        };
        let rig = Rig::start(config).await;
        let origin = format!("http://{}", rig.addr);
        let headers = [("origin", origin.as_str())];
        let device = Device::new(1);
        let (ws, response) = device.connect(rig.addr, &headers, page(READ)).await;
        assert_eq!(response["ok"], approve_pages, "{response}");
        if approve_pages {
            continue;
        }
        let (error, ..) = refused(ws, response).await;
        let details = &error["details"];
        assert_eq!(details["code"], "PAIRING_REQUIRED");
        assert_eq!(details["recommendedNextStep"], "wait_then_retry");
        assert_eq!(details["pauseReconnect"], false);
        let mut admin = admin(&rig).await;
        let request = json!({ "requestId": details["requestId"] });
        let approved = admin.done("device.pair.approve", request).await;
        assert_eq!(approved["device"]["browserOrigin"], origin);
        device.enter(rig.addr, &headers, page(READ)).await;
    }
}

#[tokio::test]
async fn a_rotated_token_reaches_its_device_and_ends_the_old_one() {
    let rig = rig().await;
    let scopes = &["operator.pairing", "operator.read"];
    let device = Device::new(1);
    let (by_secret, hello) = device.enter(rig.addr, &[], cli(scopes)).await;
    let old = token(&hello);
    let (mut ws, _) = device.enter(rig.addr, &[], by_token(scopes, &old)).await;
    let params = json!({ "deviceId": device.id(), "role": "operator" });
    let rotated = ws.done("device.token.rotate", params.clone()).await;
    assert_eq!(rotated["tokenDelivery"], "in-band");
    assert_eq!(rotated["scopes"], json!(scopes));
    let new = rotated["token"].as_str().unwrap();
    assert_eq!(
        ws.closed().await,
        (4001, "client invalidated: device token rotated".to_owned())
    );
    let (ws, response) = device.connect(rig.addr, &[], by_token(scopes, &old)).await;
    refused(ws, response).await;
    let (ws, _) = device.enter(rig.addr, &[], by_token(scopes, new)).await;

    // Somebody else may rotate it too, but is not told.
    let mut admin = admin(&rig).await;
    let rotated = admin.done("device.token.rotate", params).await;
    assert_eq!(rotated["tokenDelivery"], "withheld-cross-device");
    assert_eq!(rotated.get("token"), None);
    closes(ws, "client invalidated: device token rotated").await;
    let (ws, response) = device.connect(rig.addr, &[], by_token(scopes, new)).await;
    refused(ws, response).await;
    // Who knows the shared secret was not touched, and gets another token.
    let mut by_secret = by_secret;
    by_secret.done("health", json!({})).await;
    let (_ws, hello) = device.enter(rig.addr, &[ELSEWHERE], cli(scopes)).await;
    device
        .enter(rig.addr, &[ELSEWHERE], by_token(scopes, &token(&hello)))
        .await;
}

/// Waits for the end of a connection, which comes within a second.
async fn closes(mut ws: Ws, reason: &str) {
    let start = Instant::now();
    assert_eq!(ws.closed().await, (4001, reason.to_owned()));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn a_revoked_device_loses_its_connections_and_comes_back_only_by_approval() {
    let rig = rig().await;
    let mut admin = admin(&rig).await;
    let (device, bystander) = (Device::new(1), Device::new(2));
    let (by_secret, hello) = device.enter(rig.addr, &[], cli(READ)).await;
    let token = token(&hello);
    let (with_token, _) = device.enter(rig.addr, &[], by_token(READ, &token)).await;
    let (mut other, _) = bystander.enter(rig.addr, &[], cli(READ)).await;
    let params = json!({ "deviceId": device.id(), "role": "operator" });
    let revoked = admin.done("device.token.revoke", params.clone()).await;
    assert!(revoked["revokedAtMs"].as_u64().is_some(), "{revoked}");
    let reason = "client invalidated: device token revoked";
    closes(by_secret, reason).await;
    closes(with_token, reason).await;
    other.done("health", json!({})).await;
    admin.done("health", json!({})).await;

    let (ws, response) = device.connect(rig.addr, &[], by_token(READ, &token)).await;
    let (error, ..) = refused(ws, response).await;
    assert_eq!(error["details"]["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
    let (ws, response) = device.connect(rig.addr, &[ELSEWHERE], cli(READ)).await;
    let (error, ..) = refused(ws, response).await;
    assert_eq!(error["details"]["reason"], "role-upgrade");
    let denied = admin.refused("device.token.rotate", params).await;
    assert_eq!(denied["message"], "device token rotation denied");
    let request = json!({ "requestId": error["details"]["requestId"] });
    admin.done("device.pair.approve", request).await;
    device.enter(rig.addr, &[ELSEWHERE], cli(READ)).await;
}

#[tokio::test]
async fn a_removed_device_is_a_stranger() {
    let rig = rig().await;
    let mut admin = admin(&rig).await;
    let device = Device::new(1);
    let (ws, hello) = device.enter(rig.addr, &[], cli(READ)).await;
    let token = token(&hello);
    let params = json!({ "deviceId": device.id() });
    let removed = admin.done("device.pair.remove", params.clone()).await;
    assert_eq!(removed, params);
    closes(ws, "device removed").await;
    let list = admin.done("device.pair.list", json!({})).await;
    assert_eq!(list["paired"], json!([]));
    let (ws, response) = device.connect(rig.addr, &[], by_token(READ, &token)).await;
    refused(ws, response).await;
    request_of(&rig, &device, cli(READ)).await;
    let unknown = admin.refused("device.pair.remove", params).await;
    assert_eq!(unknown["message"], "unknown deviceId");
}

#[tokio::test]
async fn a_device_that_removes_itself_is_answered_first() {
    let rig = rig().await;
    let device = Device::new(1);
    let (mut ws, _) = device
        .enter(rig.addr, &[], cli(&["operator.pairing"]))
        .await;
    let params = json!({ "deviceId": device.id() });
    assert_eq!(ws.done("device.pair.remove", params.clone()).await, params);
    assert_eq!(ws.closed().await, (4001, "device removed".to_owned()));
}

#[tokio::test]
async fn protocol_3_is_told_of_its_token_and_in_its_own_words() {
    let rig = rig().await;
    let v3 = |params| with(params, &json!({ "minProtocol": 3, "maxProtocol": 3 }));
    let device = Device::new(1);
    let (_ws, hello) = device.enter(rig.addr, &[], v3(cli(WRITE))).await;
    assert_eq!(hello["protocol"], 3);
    let members: BTreeSet<_> = hello["auth"].as_object().unwrap().keys().cloned().collect();
    let expected = ["deviceToken", "issuedAtMs", "role", "scopes"].map(str::to_owned);
    assert_eq!(members, BTreeSet::from(expected));
    device
        .enter(rig.addr, &[ELSEWHERE], v3(by_token(WRITE, &token(&hello))))
        .await;
    // Without a device there is no token to tell of.
    let mut plain = Ws::open(rig.addr).await;
    let hello = plain.hello(v3(backend())).await;
    assert_eq!(hello["payload"].get("auth"), None, "{hello}");

    let stranger = Device::new(2);
    let (ws, response) = stranger
        .connect(rig.addr, &[ELSEWHERE], v3(cli(READ)))
        .await;
    let (error, code, reason) = refused(ws, response).await;
    assert_eq!((code, reason.as_str()), (1008, "pairing required"));
    assert_eq!(error["message"], "pairing required");
    let details = error["details"].as_object().unwrap();
    let members: BTreeSet<_> = details.keys().map(String::as_str).collect();
    assert_eq!(members, BTreeSet::from(["code", "reason", "requestId"]));
    let params = json!({ "deviceId": stranger.id(), "role": "operator" });
    let mut old = Ws::connect(
        rig.addr,
        v3(with(backend(), &json!({ "scopes": ["operator.admin"] }))),
    )
    .await;
    let unknown = old.refused("device.token.revoke", params).await;
    assert_eq!(unknown["message"], "unknown deviceId/role");
}

#[tokio::test]
async fn a_node_is_a_device_with_a_role_of_its_own() {
    let rig = rig().await;
    let device = Device::new(1);
    let client = json!({ "id": "node-host", "version": "1", "platform": "linux", "mode": "node" });
    let node = with(cli(&[]), &json!({ "client": client, "role": "node" }));
    let (mut ws, hello) = device.enter(rig.addr, &[], node.clone()).await;
    assert_eq!(hello["auth"]["role"], "node");
    let error = ws.refused("status", json!({})).await;
    assert_eq!(error["message"], "unauthorized role: node");
    // Being a node is no right to operate, not even here.
    let operator = with(node.clone(), &json!({ "role": "operator", "scopes": READ }));
    let (ws, response) = device.connect(rig.addr, &[ELSEWHERE], operator).await;
    let (error, ..) = refused(ws, response).await;
    assert_eq!(error["details"]["reason"], "role-upgrade");
    // And an operator does not become a node without being asked.
    let operator = Device::new(2);
    operator.enter(rig.addr, &[], cli(READ)).await;
    let node = with(node, &json!({ "client": cli(READ)["client"] }));
    let (ws, response) = operator.connect(rig.addr, &[], node).await;
    let (error, ..) = refused(ws, response).await;
    assert_eq!(error["details"]["reason"], "role-upgrade");
}

#[tokio::test]
async fn pairings_tokens_and_requests_outlive_the_process() {
    let served = Served::start(json!({})).await;
    let (device, waiting) = (Device::new(1), Device::new(2));
    let (_ws, hello) = device.enter(served.addr(), &[], cli(WRITE)).await;
    let token = token(&hello);
    let (_ws, response) = waiting
        .connect(served.addr(), &[ELSEWHERE], cli(READ))
        .await;
    let request = response["error"]["details"]["requestId"].clone();
    let state = served.stop().await;

    // Only the digest of the token is on the disk.
    for entry in std::fs::read_dir(state.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(
                memchr::memmem::find(&bytes, token.as_bytes()).is_none(),
                "{path:?}"
            );
        }
    }

    let served = Setup::new(json!({})).over(state).start().await;
    let (_ws, hello) = device
        .enter(served.addr(), &[ELSEWHERE], by_token(WRITE, &token))
        .await;
    assert_eq!(hello["auth"]["method"], "device-token");
    let scopes = json!({ "scopes": ["operator.admin"] });
    let mut admin = Ws::connect(served.addr(), with(backend(), &scopes)).await;
    let list = admin.done("device.pair.list", json!({})).await;
    assert_eq!(list["paired"][0]["deviceId"], device.id());
    assert_eq!(list["paired"][0]["connected"], true);
    assert_eq!(list["pending"][0]["requestId"], request);
    admin
        .done("device.pair.approve", json!({ "requestId": request }))
        .await;
    waiting.enter(served.addr(), &[ELSEWHERE], cli(READ)).await;
}

#[tokio::test]
async fn silent_approval_can_be_turned_off() {
    let settings = json!({ "gateway": { "nodes": { "pairing": { "autoApproveLocal": false } } } });
    let served = Served::start(settings).await;
    let (ws, response) = Device::new(1).connect(served.addr(), &[], cli(READ)).await;
    let (error, ..) = refused(ws, response).await;
    assert_eq!(error["details"]["reason"], "not-paired");
}

/// The members of a value and of everything in it.
fn members(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let path = format!("{path}.{name}");
                members(value, &path, found);
                found.insert(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| members(item, path, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn members_of(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    members(value, "", &mut found);
    found
}

/// The responses of a recording, in order.
fn recorded(name: &str) -> Vec<Value> {
    let path = format!(
        "{}/tests/golden/ws/{name}.jsonl",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(path).unwrap();
    let frames = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["frame"].clone()
    });
    frames.filter(|frame| frame["type"] == "res").collect()
}

#[tokio::test]
async fn devices_are_answered_as_on_record() {
    let rig = rig().await;
    let scopes = &[
        "operator.admin",
        "operator.read",
        "operator.write",
        "operator.approvals",
        "operator.pairing",
    ];
    let device = Device::new(1);
    let (ws, hello) = device.enter(rig.addr, &[], cli(scopes)).await;
    let mut expected = members_of(&recorded("connect-ok-device")[0]["payload"]["auth"]);
    // What we leave out: clients store nothing under it.
    assert!(expected.remove(".recoveryScope"));
    assert!(expected.remove(".recoveryMigrationAllowed"));
    assert_eq!(members_of(&hello["auth"]), expected);
    drop(ws);

    let mut backend = Ws::connect(rig.addr, with(backend(), &json!({ "scopes": scopes }))).await;
    let list = soon(async {
        loop {
            let list = backend.done("device.pair.list", json!({})).await;
            if list["paired"][0]["connected"] == false {
                return list;
            }
        }
    })
    .await;
    let theirs = &recorded("rpc-device_pair_list")[1]["payload"];
    assert_eq!(members_of(&list), members_of(theirs));
    let sorted = &theirs["paired"][0]["tokens"][0]["scopes"];
    assert_eq!(&list["paired"][0]["tokens"][0]["scopes"], sorted);

    for (name, nonce) in [
        ("connect-device-bad-signature", None),
        ("connect-device-bad-nonce", Some("zzz")),
    ] {
        let mut ws = Ws::open(rig.addr).await;
        let challenged = ws.nonce().await;
        let mut proof = device.proof(&cli(scopes), "another nonce", now_ms());
        proof["nonce"] = nonce.unwrap_or(&challenged).into();
        let params = with(cli(scopes), &json!({ "device": proof }));
        let id = ws.ask("connect", params).await;
        let response = ws.response(&id).await;
        assert_eq!(response["error"], recorded(name)[0]["error"], "{name}");
        let closed = ws.hear().await;
        let message = response["error"]["message"].as_str().unwrap();
        assert_eq!(closed, Heard::Close(1008, message.to_owned()));
    }
}

#[tokio::test]
async fn a_guesser_is_locked_out_whatever_device_stands_beside_the_guess() {
    let mut config = RigConfig::default();
    config.auth.limiter.attempts_max = 3;
    let rig = Rig::start(config).await;
    let device = Device::new(1);
    for _ in 0..3 {
        let auth = json!({ "auth": { "token": "guess", "deviceToken": "made up" } });
        let params = with(cli(READ), &auth);
        let (ws, response) = device.connect(rig.addr, &[ELSEWHERE], params).await;
        let (error, ..) = refused(ws, response).await;
        assert_eq!(error["details"]["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
    }
    let (ws, response) = device.connect(rig.addr, &[ELSEWHERE], cli(READ)).await;
    let (error, ..) = refused(ws, response).await;
    assert_eq!(error["details"]["code"], "AUTH_RATE_LIMITED");
    assert_eq!(error["retryable"], true);
    // The machine itself is another source.
    device.enter(rig.addr, &[], cli(READ)).await;
}
