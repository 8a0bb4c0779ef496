//! What operators do with devices, over a store in memory.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering;

use proptest::prelude::*;

use crate::auth::AuthMethod;
use crate::auth::device::Put;
use crate::auth::device::record::DeviceFacts;
use crate::auth::device::testing::{Bench, NOW_MS};
use crate::auth::head::Locality;
use crate::auth::scope::Rules;
use crate::auth::secret::Offered;
use crate::ids::{IdSource, SystemIds};

use super::*;

fn set(names: &str) -> ScopeSet {
    ScopeSet::from_header(names)
}

fn principal(device: Option<&str>, scopes: &str) -> Principal {
    Principal {
        method: AuthMethod::DeviceToken,
        credential: "device".into(),
        device: device.map(Arc::from),
        role: Role::Operator,
        scopes: set(scopes),
        rules: Rules::V4,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        locality: Locality::DirectLocal,
        generation: 0,
    }
}

const fn by(principal: &Principal) -> Handler<'_> {
    Handler {
        principal,
        connection: None,
    }
}

fn request(id: &str, scopes: &str) -> PairRequest {
    PairRequest {
        request_id: id.into(),
        public_key: "key".into(),
        facts: DeviceFacts::default(),
        roles: vec![Role::Operator],
        scopes: set(scopes),
        is_repair: false,
        at_ms: NOW_MS,
    }
}

/// A token with this text.
fn token(role: Role, scopes: &str, text: &Minted) -> DeviceToken {
    let mut token = DeviceToken::replacing(None, role, &set(scopes), NOW_MS - 9);
    token.add(text.digest());
    token
}

fn paired(scopes: &str, tokens: Vec<DeviceToken>) -> PairedDevice {
    PairedDevice {
        public_key: "key".into(),
        facts: DeviceFacts::default(),
        label: None,
        roles: vec![Role::Operator],
        scopes: set(scopes),
        approved_via: ApprovedVia::Silent,
        created_at_ms: NOW_MS - 9,
        approved_at_ms: NOW_MS - 9,
        last_seen_at_ms: None,
        tokens,
    }
}

impl Bench {
    async fn add(&self, id: &str, paired: Option<PairedDevice>, request: Option<PairRequest>) {
        let device = Device {
            id: id.into(),
            revision: 0,
            paired,
            request,
        };
        let done = self.devices.put(device).await.unwrap();
        assert_eq!(done, Put::Done { forgotten: None });
    }

    fn resolved(&self, request: &str, device: &str, decision: Decision) {
        let expected = DeviceNotice::Resolved {
            request_id: request.into(),
            device: device.into(),
            decision,
            at_ms: NOW_MS,
        };
        assert_eq!(self.watcher.take(), [expected]);
    }

    fn invalidated(&self, device: &str, cause: InvalidCause) {
        let expected = Invalidation {
            device: device.into(),
            cause,
            by: None,
        };
        assert_eq!(self.watcher.take(), [DeviceNotice::Invalidated(expected)]);
    }
}

#[tokio::test]
async fn an_approved_device_is_paired_and_its_request_is_gone() {
    let bench = Bench::new();
    let asks = request("r", "operator.write,operator.read");
    bench.add("d", None, Some(asks.clone())).await;
    let admin = principal(None, "operator.admin");
    let (device, approved) = bench.devices.approve(by(&admin), "r").await.unwrap();
    assert_eq!(&*device, "d");
    let expected = PairedDevice {
        approved_via: ApprovedVia::Operator,
        created_at_ms: NOW_MS,
        approved_at_ms: NOW_MS,
        ..paired("operator.write,operator.read", Vec::new())
    };
    assert_eq!(approved, expected);
    bench.resolved("r", "d", Decision::Approved);
    let stored = bench.store.get("d").unwrap();
    assert_eq!((stored.paired, stored.request), (Some(expected), None));
    let again = bench.devices.approve(by(&admin), "r").await;
    assert_eq!(again, Err(DeviceError::UnknownRequest));
}

async fn check_approval(
    holds: &str,
    own: Option<&str>,
    asks: &str,
    expected: Result<(), DeviceError>,
) {
    let bench = Bench::new();
    bench.add("d", None, Some(request("r", asks))).await;
    let approver = principal(own, holds);
    let found = bench.devices.approve(by(&approver), "r").await;
    assert_eq!(
        found.map(|_device| ()),
        expected,
        "{holds:?} {own:?} {asks:?}"
    );
    let is_paired = bench.store.get("d").unwrap().paired.is_some();
    assert_eq!(is_paired, expected.is_ok());
    assert_eq!(bench.watcher.take().len(), usize::from(expected.is_ok()));
}

#[tokio::test]
async fn nobody_approves_what_it_does_not_hold_or_what_is_not_its_business() {
    let missing = |scope: &str| Err(DeviceError::MissingScope(scope.into()));
    let pairing = "operator.pairing,operator.write";
    check_approval("operator.admin", None, "operator.admin,operator.x", Ok(())).await;
    check_approval(pairing, None, "operator.read", Ok(())).await;
    check_approval(pairing, None, "", Ok(())).await;
    check_approval(pairing, None, "camera", Ok(())).await;
    let admin = missing("operator.admin");
    check_approval(pairing, None, "operator.read,operator.admin", admin).await;
    check_approval(pairing, None, "operator.x", missing("operator.x")).await;
    check_approval("operator.admin", Some("other"), "operator.admin", Ok(())).await;
    let others = Err(DeviceError::NotYours);
    check_approval(pairing, Some("other"), "operator.read", others).await;
    check_approval(pairing, Some("d"), "operator.read", Ok(())).await;
    check_approval(
        pairing,
        Some("d"),
        "operator.admin",
        missing("operator.admin"),
    )
    .await;
}

#[tokio::test]
async fn requests_can_be_rejected_and_are_over_after_five_minutes() {
    let bench = Bench::new();
    let admin = principal(None, "operator.admin");
    bench.add("d", None, Some(request("r", ""))).await;
    let others = principal(Some("other"), "operator.pairing");
    let refused = bench.devices.reject(by(&others), "r").await;
    assert_eq!(refused, Err(DeviceError::NotYours));
    let device = bench.devices.reject(by(&admin), "r").await.unwrap();
    assert_eq!(&*device, "d");
    bench.resolved("r", "d", Decision::Rejected);
    assert_eq!(bench.store.get("d"), None);

    bench.add("d", None, Some(request("r", ""))).await;
    bench.clock.advance(300_000);
    assert_eq!(
        bench.devices.list(by(&admin)).await.unwrap().requests.len(),
        1
    );
    bench.clock.advance(1);
    assert_eq!(bench.devices.list(by(&admin)).await.unwrap().requests, []);
    let unknown = Err(DeviceError::UnknownRequest);
    assert_eq!(bench.devices.reject(by(&admin), "r").await, unknown);
    let approved = bench.devices.approve(by(&admin), "r").await;
    assert_eq!(approved, Err(DeviceError::UnknownRequest));
    assert_eq!(bench.watcher.take(), []);
}

#[tokio::test]
async fn a_device_without_admin_sees_and_handles_only_itself() {
    let bench = Bench::new();
    bench
        .add("a", Some(paired("", Vec::new())), Some(request("ra", "")))
        .await;
    bench
        .add("b", Some(paired("", Vec::new())), Some(request("rb", "")))
        .await;
    let seen = async |principal: Principal| {
        let list = bench.devices.list(by(&principal)).await.unwrap();
        let requests: Vec<_> = list.requests.iter().map(|(id, _)| id.to_string()).collect();
        let paired: Vec<_> = list.paired.iter().map(|(id, _)| id.to_string()).collect();
        assert_eq!(requests, paired);
        paired
    };
    assert_eq!(seen(principal(None, "operator.pairing")).await, ["a", "b"]);
    assert_eq!(
        seen(principal(Some("x"), "operator.admin")).await,
        ["a", "b"]
    );
    assert_eq!(seen(principal(Some("b"), "operator.pairing")).await, ["b"]);
    assert_eq!(
        seen(principal(Some("x"), "operator.pairing")).await,
        [""; 0]
    );

    let own = principal(Some("b"), "operator.pairing");
    let devices = &bench.devices;
    let not_yours = DeviceError::NotYours;
    assert_eq!(devices.remove(by(&own), "a").await, Err(not_yours.clone()));
    assert_eq!(
        devices.remove(by(&own), "nobody").await,
        Err(not_yours.clone())
    );
    let renamed = devices.rename(by(&own), "a", "x").await;
    assert_eq!(renamed.err(), Some(not_yours.clone()));
    let rotated = devices.rotate(by(&own), "a", Role::Operator, None).await;
    assert_eq!(rotated.err(), Some(not_yours.clone()));
    let revoked = devices.revoke(by(&own), "a", Role::Operator).await;
    assert_eq!(revoked.err(), Some(not_yours));
    assert_eq!(bench.watcher.take(), []);
}

#[tokio::test]
async fn a_removed_device_is_gone_with_its_request_and_its_connections() {
    let bench = Bench::new();
    let admin = principal(None, "operator.admin");
    bench
        .add("d", Some(paired("", Vec::new())), Some(request("r", "")))
        .await;
    bench.devices.remove(by(&admin), "d").await.unwrap();
    assert_eq!(bench.store.get("d"), None);
    let [resolved, invalidated] = bench.watcher.take().try_into().unwrap();
    assert!(
        matches!(resolved, DeviceNotice::Resolved { .. }),
        "{resolved:?}"
    );
    let DeviceNotice::Invalidated(invalidation) = invalidated else {
        panic!("{invalidated:?}");
    };
    assert_eq!(invalidation.cause, InvalidCause::Removed);
    let unknown = Err(DeviceError::UnknownDevice);
    assert_eq!(bench.devices.remove(by(&admin), "d").await, unknown);
    // A device that only asks is not paired.
    bench.add("d", None, Some(request("r", ""))).await;
    assert_eq!(bench.devices.remove(by(&admin), "d").await, unknown);
}

#[tokio::test]
async fn a_device_has_the_name_it_was_given() {
    let bench = Bench::new();
    let admin = principal(None, "operator.admin");
    bench.add("d", Some(paired("", Vec::new())), None).await;
    for (label, expected) in [(" Kitchen\u{7} ", Some("Kitchen")), (" ", None)] {
        let renamed = bench.devices.rename(by(&admin), "d", label).await.unwrap();
        assert_eq!(renamed.label.as_deref(), expected);
        let stored = bench.store.get("d").unwrap().paired.unwrap();
        assert_eq!(stored, renamed);
    }
    let unknown = bench.devices.rename(by(&admin), "x", "y").await;
    assert_eq!(unknown.err(), Some(DeviceError::UnknownDevice));
}

#[tokio::test]
async fn a_rotated_token_is_told_to_its_device_and_nobody_else() {
    let bench = Bench::new();
    let old = Minted::new().unwrap();
    let works = |text: &Minted| {
        let paired = bench.store.get("d").unwrap().paired.unwrap();
        let token = paired.token(Role::Operator).unwrap();
        token.matches(&Offered::new(text.expose()).digest())
    };
    let tokens = vec![token(Role::Operator, "operator.read", &old)];
    bench
        .add("d", Some(paired("operator.write", tokens)), None)
        .await;
    assert!(works(&old));

    let own = principal(Some("d"), "operator.pairing,operator.read");
    let rotated = bench
        .devices
        .rotate(by(&own), "d", Role::Operator, None)
        .await;
    let rotated = rotated.unwrap();
    let new = rotated.text.unwrap();
    assert_eq!(
        (rotated.scopes, rotated.at_ms),
        (set("operator.read"), NOW_MS)
    );
    assert!(works(&new) && !works(&old));
    bench.invalidated("d", InvalidCause::Rotated(Role::Operator));

    let admin = principal(None, "operator.admin");
    let wider = Some(set("operator.write,camera"));
    let rotated = bench
        .devices
        .rotate(by(&admin), "d", Role::Operator, wider)
        .await;
    let rotated = rotated.unwrap();
    assert_eq!(
        (rotated.scopes, rotated.text),
        (set("operator.write"), None)
    );
    assert!(!works(&new));
    let paired = bench.store.get("d").unwrap().paired.unwrap();
    assert_eq!(paired.token(Role::Operator).unwrap().digests, []);
}

async fn check_rotation(
    holds: &str,
    role: Role,
    asks: Option<&str>,
    expected: Result<&str, DeviceError>,
) {
    let bench = Bench::new();
    let old = Minted::new().unwrap();
    let tokens = vec![token(Role::Operator, "operator.write", &old)];
    let approved = "operator.write,operator.approvals";
    bench.add("d", Some(paired(approved, tokens)), None).await;
    let before = bench.store.get("d");
    let caller = principal(None, holds);
    let found = bench
        .devices
        .rotate(by(&caller), "d", role, asks.map(set))
        .await;
    let found = found.map(|rotated| rotated.scopes);
    assert_eq!(found, expected.clone().map(set), "{holds:?} {asks:?}");
    if expected.is_err() {
        assert_eq!(bench.store.get("d"), before, "the old token works on");
        assert_eq!(bench.watcher.take(), []);
    }
}

#[tokio::test]
async fn a_token_is_rotated_within_the_approval_and_the_callers_own_scopes() {
    let operator = Role::Operator;
    let missing = |scope: &str| Err(DeviceError::MissingScope(scope.into()));
    let beyond = |scope: &str| Err(DeviceError::NotApproved(scope.into()));
    check_rotation("operator.admin", operator, None, Ok("operator.write")).await;
    check_rotation("operator.admin", operator, Some(""), Ok("")).await;
    let both = "operator.approvals,operator.write";
    check_rotation("operator.admin", operator, Some(both), Ok(both)).await;
    check_rotation(
        "operator.admin",
        operator,
        Some("operator.read"),
        Ok("operator.read"),
    )
    .await;
    let admin = Some("operator.admin");
    check_rotation("operator.admin", operator, admin, beyond("operator.admin")).await;
    let pairing = "operator.pairing,operator.read";
    check_rotation(pairing, operator, None, missing("operator.write")).await;
    check_rotation(
        pairing,
        operator,
        Some("operator.read"),
        Ok("operator.read"),
    )
    .await;
    check_rotation(pairing, operator, admin, beyond("operator.admin")).await;
    let unknown = Err(DeviceError::UnknownRole);
    check_rotation("operator.admin", Role::Node, None, unknown).await;
}

#[tokio::test]
async fn a_revoked_role_is_closed_until_it_is_approved_again() {
    let bench = Bench::new();
    let admin = principal(None, "operator.admin");
    let text = Minted::new().unwrap();
    let tokens = vec![token(Role::Operator, "operator.read", &text)];
    bench
        .add("d", Some(paired("operator.read", tokens)), None)
        .await;
    let at_ms = bench
        .devices
        .revoke(by(&admin), "d", Role::Operator)
        .await
        .unwrap();
    assert_eq!(at_ms, NOW_MS);
    bench.invalidated("d", InvalidCause::Revoked(Role::Operator));
    let stored = bench.store.get("d").unwrap().paired.unwrap();
    assert!(!stored.may_act_as(Role::Operator));
    let token = stored.token(Role::Operator).unwrap();
    assert!(token.digests.is_empty() && token.is_revoked());
    let rotated = bench
        .devices
        .rotate(by(&admin), "d", Role::Operator, None)
        .await;
    assert_eq!(rotated, Err(DeviceError::UnknownRole));

    bench.clock.advance(5);
    let again = bench.devices.revoke(by(&admin), "d", Role::Operator).await;
    assert_eq!(again, Ok(NOW_MS));
    bench.invalidated("d", InvalidCause::Revoked(Role::Operator));
    let node = bench.devices.revoke(by(&admin), "d", Role::Node).await;
    assert_eq!(node, Err(DeviceError::UnknownRole));

    bench.store.edit("d", |device| {
        device.request = Some(request("r", "operator.read"));
    });
    let (_, approved) = bench.devices.approve(by(&admin), "r").await.unwrap();
    assert!(approved.may_act_as(Role::Operator));
}

#[tokio::test]
async fn a_role_without_a_token_can_be_revoked_too() {
    let bench = Bench::new();
    let admin = principal(None, "operator.admin");
    bench
        .add("d", Some(paired("operator.read", Vec::new())), None)
        .await;
    bench
        .devices
        .revoke(by(&admin), "d", Role::Operator)
        .await
        .unwrap();
    let stored = bench.store.get("d").unwrap().paired.unwrap();
    assert!(!stored.may_act_as(Role::Operator));
}

#[tokio::test]
async fn a_change_that_meets_another_one_is_decided_anew() {
    let bench = Bench::new();
    let admin = principal(None, "operator.admin");
    bench
        .add("d", Some(paired("operator.read", Vec::new())), None)
        .await;
    bench.store.races.store(true, Ordering::Relaxed);
    bench
        .devices
        .revoke(by(&admin), "d", Role::Operator)
        .await
        .unwrap();
    bench.invalidated("d", InvalidCause::Revoked(Role::Operator));
}

#[tokio::test]
async fn a_store_that_fails_withdraws_nothing_and_says_so() {
    let bench = Bench::new();
    let admin = principal(None, "operator.admin");
    bench
        .add("d", Some(paired("", Vec::new())), Some(request("r", "")))
        .await;
    bench.store.fails.store(true, Ordering::Relaxed);
    let failed = DeviceError::Store(StoreError::Failed);
    assert_eq!(failed.code(), ErrorCode::StoreFailed);
    assert_eq!(bench.devices.list(by(&admin)).await, Err(failed.clone()));
    assert_eq!(
        bench.devices.remove(by(&admin), "d").await,
        Err(failed.clone())
    );
    assert_eq!(bench.devices.approve(by(&admin), "r").await, Err(failed));
    assert_eq!(bench.watcher.take(), []);
}

#[tokio::test]
async fn a_connect_under_way_sees_what_was_withdrawn_meanwhile() {
    let bench = Bench::new();
    let admin = principal(None, "operator.admin");
    let device = principal(Some("d"), "");
    bench.add("d", Some(paired("", Vec::new())), None).await;
    bench.add("e", Some(paired("", Vec::new())), None).await;
    let before = bench.devices.withdrawals();
    bench
        .devices
        .revoke(by(&admin), "d", Role::Operator)
        .await
        .unwrap();
    assert!(bench.devices.was_withdrawn(&device, before));
    let after = bench.devices.withdrawals();
    assert!(!bench.devices.was_withdrawn(&device, after));
    assert!(
        !bench
            .devices
            .was_withdrawn(&principal(Some("e"), ""), before)
    );
    assert!(!bench.devices.was_withdrawn(&principal(None, ""), before));
    // More than can be remembered: better refused than let in.
    for _ in 0..100 {
        bench
            .devices
            .revoke(by(&admin), "e", Role::Operator)
            .await
            .unwrap();
    }
    assert!(bench.devices.was_withdrawn(&device, after));
    assert!(
        !bench
            .devices
            .was_withdrawn(&device, bench.devices.withdrawals())
    );
}

#[derive(Clone, Debug)]
enum Step {
    Ask(String),
    Approve(String),
    Rotate(String, Option<String>),
    Revoke,
    Remove,
}

fn any_scopes() -> impl Strategy<Value = String> {
    const SCOPES: [&str; 7] = [
        "operator.admin",
        "operator.read",
        "operator.write",
        "operator.approvals",
        "operator.talk",
        "operator.future",
        "camera",
    ];
    proptest::sample::subsequence(SCOPES.to_vec(), 0..4).prop_map(|names| names.join(","))
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any_scopes().prop_map(Step::Ask),
        3 => any_scopes().prop_map(Step::Approve),
        4 => (any_scopes(), proptest::option::of(any_scopes()))
            .prop_map(|(holds, asks)| Step::Rotate(holds, asks)),
        1 => Just(Step::Revoke),
        1 => Just(Step::Remove),
    ]
}

/// Carries a step out and checks that nothing more was granted than caller and approval allow.
async fn play(bench: &Bench, number: u32, step: Step) {
    let before = bench.store.get("d").and_then(|device| device.paired);
    let approved = before
        .as_ref()
        .map_or(ScopeSet::empty(), |it| it.scopes.clone());
    let admin = principal(None, "operator.admin");
    let mut asked = ScopeSet::empty();
    let mut holds = ScopeSet::empty();
    match step {
        Step::Ask(scopes) => {
            let device = bench.store.get("d").unwrap_or(Device::unknown("d".into()));
            let request = Some(request(&format!("r{number}"), &scopes));
            bench
                .devices
                .put(Device { request, ..device })
                .await
                .unwrap();
        }
        Step::Approve(scopes) => {
            let device = bench.store.get("d");
            let Some(request) = device.and_then(|device| device.request) else {
                return;
            };
            let caller = principal(None, &scopes);
            asked = request.scopes;
            holds = caller.scopes.clone();
            let done = bench
                .devices
                .approve(by(&caller), &request.request_id)
                .await;
            let may = holds.lacks(&asked.of_role(Role::Operator)).is_none();
            assert_eq!(done.is_ok(), may);
        }
        Step::Rotate(scopes, asks) => {
            let caller = principal(None, &scopes);
            holds = caller.scopes.clone();
            let asks = asks.as_deref().map(set);
            let done = bench
                .devices
                .rotate(by(&caller), "d", Role::Operator, asks)
                .await;
            if let Ok(rotated) = done {
                assert_eq!(approved.lacks(&rotated.scopes), None);
                assert_eq!(holds.lacks(&rotated.scopes), None);
            }
        }
        Step::Revoke => {
            bench
                .devices
                .revoke(by(&admin), "d", Role::Operator)
                .await
                .ok();
        }
        Step::Remove => {
            bench.devices.remove(by(&admin), "d").await.ok();
        }
    }
    let Some(after) = bench.store.get("d").and_then(|device| device.paired) else {
        return;
    };
    let may_have = approved.joined(&asked);
    assert_eq!(may_have.lacks(&after.scopes), None);
    for token in &after.tokens {
        assert_eq!(after.scopes.lacks(&token.scopes), None);
        let old = before.as_ref().and_then(|it| it.token(token.role));
        if old.is_none_or(|old| old.scopes != token.scopes) && !token.is_revoked() {
            assert_eq!(holds.lacks(&token.scopes), None);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn minted_scopes_are_within_the_caller_and_the_approval(
        steps in proptest::collection::vec(any_step(), 1..30)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new();
            for (number, step) in (0..).zip(steps) {
                play(&bench, number, step).await;
            }
        });
    }
}

#[test]
fn handlers_name_the_connection_that_is_closed_last() {
    let id = ConnectionId::from_uuid(SystemIds.random());
    let caller = principal(None, "operator.admin");
    let handler = Handler {
        connection: Some(id),
        ..by(&caller)
    };
    let bench = Bench::new();
    bench.devices.withdraw(handler, "d", InvalidCause::Removed);
    let [DeviceNotice::Invalidated(invalidation)] = &bench.watcher.take()[..] else {
        panic!("no notice");
    };
    assert_eq!(invalidation.by, Some(id));
}
