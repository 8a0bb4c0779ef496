//! What becomes of devices that authenticated.

use proptest::prelude::*;

use crate::auth::device::record::{DeviceToken, PairRequest, PairedDevice};
use crate::auth::device::testing::NOW_MS;

use super::*;

const NEAR: PairingPolicy = PairingPolicy {
    approve_local: true,
    approve_pages: false,
};

fn set(names: &str) -> ScopeSet {
    ScopeSet::from_header(names)
}

/// A command line on this machine with the shared token, asking for `scopes`.
fn visit(scopes: &str) -> Visit {
    Visit {
        proven: Proven {
            id: "d".to_owned(),
            public_key: "key".to_owned(),
        },
        facts: DeviceFacts {
            platform: Some("Linux".into()),
            client_id: Some("cli".into()),
            ..DeviceFacts::default()
        },
        program: Program::default(),
        role: Role::Operator,
        scopes: set(scopes),
        rules: Rules::V4,
        locality: Locality::DirectLocal,
        method: AuthMethod::Token,
        presented: None,
        is_capped: false,
    }
}

fn far(visit: Visit) -> Visit {
    Visit {
        locality: Locality::Remote,
        ..visit
    }
}

fn unknown() -> Device {
    Device::unknown("d".into())
}

fn fresh(number: u32, now_ms: u64) -> Fresh {
    Fresh {
        request_id: format!("r{number}").into(),
        secret: Minted::new().unwrap(),
        now_ms,
    }
}

fn decide_at(visit: &Visit, device: &Device, now_ms: u64) -> Outcome {
    decide(visit, device.clone(), NEAR, fresh(1, now_ms)).unwrap()
}

/// A device that was paired by its visit, with the token it got.
fn paired_by(visit: &Visit) -> (Device, IssuedToken) {
    let outcome = decide_at(visit, &unknown(), NOW_MS);
    (outcome.change.unwrap(), outcome.entry.unwrap().unwrap())
}

#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// Let in, and the pairing is as it was.
    In,
    /// Let in, and paired by that.
    Silent,
    /// Has to be approved.
    Ask(PairingReason),
}

fn fate(visit: &Visit, device: &Device, policy: PairingPolicy) -> Fate {
    let outcome = decide(visit, device.clone(), policy, fresh(1, NOW_MS)).unwrap();
    let approved = |device: &Device| {
        let paired = device.paired.as_ref();
        paired.map(|it| {
            (
                it.roles.clone(),
                it.scopes.clone(),
                it.facts.platform.clone(),
            )
        })
    };
    match (&outcome.entry, &outcome.change) {
        (Err(required), Some(change)) => {
            assert_eq!(approved(change), approved(device), "asking grants nothing");
            Fate::Ask(required.reason)
        }
        (Err(required), None) => panic!("{required:?} without a request"),
        (Ok(_), Some(change)) if approved(change) != approved(device) => Fate::Silent,
        (Ok(_), _) => Fate::In,
    }
}

#[track_caller]
fn check(visit: &Visit, device: &Device, expected: &Fate) {
    assert_eq!(&fate(visit, device, NEAR), expected, "{visit:?}");
}

const NOT_PAIRED: Fate = Fate::Ask(PairingReason::NotPaired);

#[test]
fn a_new_device_is_paired_silently_only_from_near_and_with_the_secret() {
    let cases = [
        (Locality::DirectLocal, AuthMethod::Token, Fate::Silent),
        (Locality::DirectLocal, AuthMethod::Password, Fate::Silent),
        (Locality::DirectLocal, AuthMethod::None, Fate::Silent),
        (Locality::ContainerLocal, AuthMethod::Token, Fate::Silent),
        (Locality::ContainerLocal, AuthMethod::None, NOT_PAIRED),
        (Locality::BrowserLocal, AuthMethod::Token, NOT_PAIRED),
        (Locality::Remote, AuthMethod::Token, NOT_PAIRED),
        (Locality::Remote, AuthMethod::Password, NOT_PAIRED),
        (Locality::Remote, AuthMethod::None, NOT_PAIRED),
    ];
    for (locality, method, expected) in cases {
        let visit = Visit {
            locality,
            method,
            ..visit("operator.admin")
        };
        check(&visit, &unknown(), &expected);
        let nobody = PairingPolicy {
            approve_local: false,
            approve_pages: true,
        };
        assert_eq!(fate(&visit, &unknown(), nobody), NOT_PAIRED, "{visit:?}");
    }
}

#[test]
fn a_page_is_paired_silently_only_where_that_is_configured() {
    let pages = PairingPolicy {
        approve_local: true,
        approve_pages: true,
    };
    let page = |program| Visit {
        program,
        locality: Locality::BrowserLocal,
        ..visit("operator.admin")
    };
    let control_ui = page(Program::ControlUi);
    let webchat = page(Program::Webchat);
    for page in [&control_ui, &webchat] {
        assert_eq!(fate(page, &unknown(), NEAR), NOT_PAIRED);
        assert_eq!(fate(page, &unknown(), pages), Fate::Silent);
        assert_eq!(fate(&far(page.clone()), &unknown(), pages), NOT_PAIRED);
    }
    // A page that claims to be a program is still a page.
    let posing = page(Program::default());
    assert_eq!(fate(&posing, &unknown(), pages), NOT_PAIRED);
}

#[test]
fn who_has_the_rights_anyway_needs_no_pairing() {
    let backend = Visit {
        program: Program::Backend,
        ..visit("operator.admin")
    };
    let page = Visit {
        program: Program::ControlUi,
        locality: Locality::BrowserLocal,
        method: AuthMethod::None,
        ..visit("operator.admin")
    };
    for exempt in [&backend, &page] {
        let outcome = decide_at(exempt, &unknown(), NOW_MS);
        assert_eq!((outcome.change, outcome.entry), (None, Ok(None)));
        check(&far(exempt.clone()), &unknown(), &NOT_PAIRED);
        let node = Visit {
            role: Role::Node,
            scopes: ScopeSet::empty(),
            ..exempt.clone()
        };
        assert_ne!(fate(&node, &unknown(), NEAR), Fate::In);
    }
    // Once it is paired, it gets its token like others.
    let (device, _) = paired_by(&visit("operator.admin"));
    assert!(
        decide_at(&backend, &device, NOW_MS)
            .entry
            .unwrap()
            .is_some()
    );
}

#[test]
fn a_paired_device_is_asked_again_for_more_in_a_fixed_order() {
    let (device, _) = paired_by(&visit("operator.write"));
    check(
        &far(visit("operator.read,operator.talk")),
        &device,
        &Fate::In,
    );
    check(&far(visit("")), &device, &Fate::In);
    let scope = Fate::Ask(PairingReason::ScopeUpgrade);
    check(&far(visit("operator.admin")), &device, &scope);
    check(&far(visit("operator.write,operator.new")), &device, &scope);
    let node = Visit {
        role: Role::Node,
        ..far(visit("operator.admin"))
    };
    let role = Fate::Ask(PairingReason::RoleUpgrade);
    check(&node, &device, &role);
    let mut other_kind = node.clone();
    other_kind.facts.platform = Some("windows".into());
    check(
        &other_kind,
        &device,
        &Fate::Ask(PairingReason::MetadataUpgrade),
    );
    // Older clients do not sign what kind of device they are.
    other_kind.rules = Rules::V3;
    check(&other_kind, &device, &role);
    let mut same_kind = far(visit(""));
    same_kind.facts.platform = Some(" linuX ".into());
    same_kind.facts.device_family = Some("Pi".into());
    check(&same_kind, &device, &Fate::In);
}

#[test]
fn upgrades_are_silent_only_for_near_operators_with_the_secret() {
    let (device, token) = paired_by(&visit("operator.read"));
    check(&visit("operator.admin"), &device, &Fate::Silent);
    let node = Visit {
        role: Role::Node,
        ..visit("")
    };
    check(&node, &device, &Fate::Ask(PairingReason::RoleUpgrade));
    let mut other_kind = visit("operator.read");
    other_kind.facts.platform = Some("windows".into());
    let metadata = Fate::Ask(PairingReason::MetadataUpgrade);
    check(&other_kind, &device, &metadata);
    let app = Visit {
        program: Program::NativeApp,
        ..other_kind.clone()
    };
    check(&app, &device, &Fate::Silent);
    check(&far(app), &device, &metadata);
    let container = Visit {
        locality: Locality::ContainerLocal,
        ..other_kind
    };
    check(&container, &device, &Fate::Silent);

    // The token alone never gets more than it has.
    let by_token = Visit {
        method: AuthMethod::DeviceToken,
        presented: Some(Offered::new(token.text.expose())),
        ..visit("operator.admin")
    };
    let refused = decide(&by_token, device, NEAR, fresh(1, NOW_MS)).unwrap_err();
    assert_eq!(refused, AuthError::ScopeMismatch);
}

#[test]
fn a_withdrawn_role_has_to_be_granted_again() {
    let (mut device, token) = paired_by(&visit("operator.read"));
    let paired = device.paired.as_mut().unwrap();
    paired.token_mut(Role::Operator).unwrap().revoked_at_ms = Some(NOW_MS);
    let role = Fate::Ask(PairingReason::RoleUpgrade);
    check(&far(visit("operator.read")), &device, &role);
    let by_token = Visit {
        method: AuthMethod::DeviceToken,
        presented: Some(Offered::new(token.text.expose())),
        ..visit("operator.read")
    };
    let refused = decide(&by_token, device.clone(), NEAR, fresh(1, NOW_MS)).unwrap_err();
    assert_eq!(refused, AuthError::Mismatch(AuthMethod::DeviceToken));
    let again = decide_at(&visit("operator.read"), &device, NOW_MS);
    let paired = again.change.unwrap().paired.unwrap();
    assert!(paired.may_act_as(Role::Operator));
    let text = again.entry.unwrap().unwrap().text;
    let token = paired.token(Role::Operator).unwrap();
    assert!(token.matches(&Offered::new(text.expose()).digest()));
    assert_eq!(token.digests.len(), 1);
}

#[test]
fn a_silent_pairing_is_told_and_grants_what_was_asked_for() {
    let asked = visit("operator.write,operator.admin");
    let outcome = decide_at(&asked, &unknown(), NOW_MS);
    assert!(!outcome.is_optional);
    let resolved = DeviceNotice::Resolved {
        request_id: "r1".into(),
        device: "d".into(),
        decision: Decision::Approved,
        at_ms: NOW_MS,
    };
    assert_eq!(outcome.notices, [resolved]);
    let token = outcome.entry.unwrap().unwrap();
    let paired = outcome.change.unwrap().paired.unwrap();
    let expected = PairedDevice {
        public_key: "key".into(),
        facts: asked.facts,
        label: None,
        roles: vec![Role::Operator],
        scopes: set("operator.write,operator.admin"),
        approved_via: ApprovedVia::Silent,
        created_at_ms: NOW_MS,
        approved_at_ms: NOW_MS,
        last_seen_at_ms: Some(NOW_MS),
        tokens: vec![DeviceToken {
            role: Role::Operator,
            digests: vec![token.text.digest()],
            scopes: set("operator.admin,operator.write"),
            created_at_ms: NOW_MS,
            rotated_at_ms: None,
            revoked_at_ms: None,
            last_used_at_ms: None,
        }],
    };
    assert_eq!(paired, expected);
    assert_eq!(token.issued_at_ms, NOW_MS);
}

#[test]
fn a_device_that_shows_its_token_keeps_it_and_costs_no_write() {
    let (device, token) = paired_by(&visit("operator.write"));
    let mut by_token = Visit {
        method: AuthMethod::DeviceToken,
        presented: Some(Offered::new(token.text.expose())),
        ..far(visit("operator.read"))
    };
    by_token.facts.remote_ip = Some("192.0.2.1".into());
    // Where it comes from is news, but only once.
    let first = decide_at(&by_token, &device, NOW_MS + 1);
    assert!(first.is_optional);
    let device = first.change.unwrap();
    let used = device
        .paired
        .as_ref()
        .unwrap()
        .token(Role::Operator)
        .unwrap();
    assert_eq!(used.last_used_at_ms, Some(NOW_MS + 1));
    let again = decide_at(&by_token, &device, NOW_MS + 2);
    assert_eq!((again.change, again.entry), (None, Ok(Some(token))));
    let later = decide_at(&by_token, &device, NOW_MS + 60_001);
    let seen = later.change.unwrap().paired.unwrap().last_seen_at_ms;
    assert_eq!(seen, Some(NOW_MS + 60_001));
}

#[test]
fn a_device_that_does_not_show_its_token_gets_another_text_for_it() {
    let (device, first) = paired_by(&visit("operator.write"));
    let outcome = decide_at(&visit("operator.read"), &device, NOW_MS + 5);
    assert!(!outcome.is_optional, "a text that is told must be kept");
    let second = outcome.entry.unwrap().unwrap();
    assert_ne!(first.text, second.text);
    assert_eq!(second.issued_at_ms, NOW_MS);
    let paired = outcome.change.unwrap().paired.unwrap();
    let token = paired.token(Role::Operator).unwrap();
    assert_eq!(token.scopes, set("operator.write"));
    for text in [first.text, second.text] {
        assert!(token.matches(&Offered::new(text.expose()).digest()));
    }
}

#[test]
fn a_token_that_does_not_cover_what_is_asked_is_replaced() {
    let (device, first) = paired_by(&visit("operator.read"));
    let outcome = decide_at(&visit("operator.admin"), &device, NOW_MS + 5);
    let second = outcome.entry.unwrap().unwrap();
    assert_eq!(second.issued_at_ms, NOW_MS + 5);
    let paired = outcome.change.unwrap().paired.unwrap();
    assert_eq!(paired.scopes, set("operator.read,operator.admin"));
    let [token] = paired.tokens.as_slice() else {
        panic!("{paired:?}");
    };
    assert_eq!(token.scopes, set("operator.admin"));
    assert_eq!(token.created_at_ms, NOW_MS);
    assert!(!token.matches(&Offered::new(first.text.expose()).digest()));
}

#[test]
fn a_head_that_takes_scopes_away_gives_nothing_to_keep() {
    let capped = Visit {
        is_capped: true,
        ..visit("operator.read")
    };
    let outcome = decide_at(&capped, &unknown(), NOW_MS);
    assert_eq!(outcome.entry, Ok(None));
    let device = outcome.change.unwrap();
    assert_eq!(device.paired.as_ref().unwrap().tokens, []);
    let (paired, _) = paired_by(&visit("operator.admin"));
    assert_eq!(decide_at(&capped, &paired, NOW_MS).entry, Ok(None));
}

fn asks(visit: &Visit, device: &Device, number: u32, now_ms: u64) -> (Device, Outcome) {
    let mut outcome = decide(visit, device.clone(), NEAR, fresh(number, now_ms)).unwrap();
    let device = outcome.change.take().unwrap();
    (device, outcome)
}

fn requested(device: &Device) -> DeviceNotice {
    DeviceNotice::Requested {
        device: "d".into(),
        request: device.request.clone().unwrap(),
    }
}

fn superseded(request_id: &str, at_ms: u64) -> DeviceNotice {
    DeviceNotice::Resolved {
        request_id: request_id.into(),
        device: "d".into(),
        decision: Decision::Rejected,
        at_ms,
    }
}

#[test]
fn a_request_is_repeated_widened_or_forgotten() {
    let (first, outcome) = asks(&far(visit("operator.write")), &unknown(), 1, NOW_MS);
    let request = PairRequest {
        request_id: "r1".into(),
        public_key: "key".into(),
        facts: visit("").facts,
        roles: vec![Role::Operator],
        scopes: set("operator.write"),
        is_repair: false,
        at_ms: NOW_MS,
    };
    assert_eq!(first.request.as_ref(), Some(&request));
    assert_eq!(outcome.notices, [requested(&first)]);
    assert!(!outcome.is_optional);

    // The same, or less, only says that the device is still there.
    let at_ms = NOW_MS + 200_000;
    let (repeated, outcome) = asks(&far(visit("operator.read")), &first, 2, at_ms);
    let expected = PairRequest { at_ms, ..request };
    assert_eq!(repeated.request.as_ref(), Some(&expected));
    assert_eq!(outcome.notices, []);
    assert_eq!(&*outcome.entry.unwrap_err().request_id, "r1");

    // More is another request, which asks for both.
    let at_ms = NOW_MS + 400_000;
    let (widened, outcome) = asks(&far(visit("operator.pairing")), &repeated, 3, at_ms);
    let request = widened.request.as_ref().unwrap();
    assert_eq!(&*request.request_id, "r3");
    assert_eq!(request.scopes, set("operator.pairing,operator.write"));
    assert_eq!(
        outcome.notices,
        [superseded("r1", at_ms), requested(&widened)]
    );

    // What has waited too long is over.
    let at_ms = at_ms + 300_001;
    let (late, outcome) = asks(&far(visit("operator.read")), &widened, 4, at_ms);
    let request = late.request.as_ref().unwrap();
    assert_eq!(
        (&*request.request_id, &request.scopes),
        ("r4", &set("operator.read"))
    );
    assert_eq!(outcome.notices, [requested(&late)]);
}

#[test]
fn another_role_or_kind_is_another_request() {
    let (first, _) = asks(&far(visit("operator.read")), &unknown(), 1, NOW_MS);
    let node = Visit {
        role: Role::Node,
        scopes: set("camera"),
        ..far(visit(""))
    };
    let (both, outcome) = asks(&node, &first, 2, NOW_MS);
    let request = both.request.as_ref().unwrap();
    assert_eq!(request.roles, [Role::Node, Role::Operator]);
    assert_eq!(request.scopes, set("camera,operator.read"));
    assert_eq!(
        outcome.notices,
        [superseded("r1", NOW_MS), requested(&both)]
    );
    let mut other_kind = far(visit("operator.read"));
    other_kind.facts.platform = Some("ios".into());
    let (changed, _) = asks(&other_kind, &first, 3, NOW_MS);
    let request = changed.request.unwrap();
    assert_eq!(request.facts.platform.as_deref(), Some("ios"));
    assert_eq!(&*request.request_id, "r3");
}

#[test]
fn a_device_that_asks_says_what_it_has_and_who_waits() {
    let (device, _) = paired_by(&visit("operator.read"));
    let mut asking = far(visit("operator.admin"));
    asking.program = Program::ControlUi;
    let (asked, outcome) = asks(&asking, &device, 7, NOW_MS);
    assert!(asked.request.unwrap().is_repair);
    let expected = PairingRequired {
        reason: PairingReason::ScopeUpgrade,
        request_id: "r7".into(),
        device: "d".into(),
        role: Role::Operator,
        scopes: set("operator.admin"),
        approved: Some((vec![Role::Operator], set("operator.read"))),
        is_watched: true,
    };
    assert_eq!(outcome.entry, Err(expected));
}

#[test]
fn a_request_that_is_granted_silently_is_resolved() {
    let (asking, _) = asks(&far(visit("operator.read")), &unknown(), 1, NOW_MS);
    let outcome = decide_at(&visit("operator.write"), &asking, NOW_MS);
    let DeviceNotice::Resolved { request_id, .. } = &outcome.notices[0] else {
        panic!("{outcome:?}");
    };
    assert_eq!(&**request_id, "r1");
    assert_eq!(outcome.change.unwrap().request, None);
    // One that asks for more than was granted waits on.
    let (asking, _) = asks(&far(visit("operator.admin")), &unknown(), 1, NOW_MS);
    let outcome = decide(&visit("operator.read"), asking, NEAR, fresh(2, NOW_MS)).unwrap();
    let request = outcome.change.unwrap().request.unwrap();
    assert_eq!(&*request.request_id, "r1");
    let DeviceNotice::Resolved { request_id, .. } = &outcome.notices[0] else {
        panic!("{:?}", outcome.notices);
    };
    assert_eq!(&**request_id, "r2");
}

#[test]
fn what_an_operator_approved_stays_approved_by_an_operator() {
    let (device, _) = paired_by(&visit("operator.read"));
    let paired = device.paired.clone().unwrap();
    let asked = || Asked::of(&visit("operator.talk"));
    let approved = grant(Some(paired), asked(), ApprovedVia::Operator, NOW_MS + 1);
    assert_eq!(approved.approved_via, ApprovedVia::Operator);
    let again = grant(Some(approved), asked(), ApprovedVia::Silent, NOW_MS + 2);
    assert_eq!(again.approved_via, ApprovedVia::Operator);
    assert_eq!(
        (again.created_at_ms, again.approved_at_ms),
        (NOW_MS, NOW_MS + 2)
    );
    assert_eq!(again.scopes, set("operator.read,operator.talk"));
}

const SCOPES: [&str; 9] = [
    "operator.admin",
    "operator.read",
    "operator.write",
    "operator.approvals",
    "operator.pairing",
    "operator.talk",
    "operator.future",
    "camera",
    "screen",
];

fn any_scopes() -> impl Strategy<Value = ScopeSet> {
    proptest::sample::subsequence(SCOPES.to_vec(), 0..4)
        .prop_map(|names| names.into_iter().collect())
}

prop_compose! {
    fn any_visit()(
        scopes in any_scopes(),
        is_node in any::<bool>(),
        locality in proptest::sample::select(vec![
            Locality::DirectLocal,
            Locality::BrowserLocal,
            Locality::ContainerLocal,
            Locality::Remote,
        ]),
        method in proptest::sample::select(vec![AuthMethod::Token, AuthMethod::None]),
        program in proptest::sample::select(vec![
            Program::ControlUi,
            Program::Webchat,
            Program::NativeApp,
            Program::Backend,
            Program::Other,
        ]),
        is_capped in proptest::bool::weighted(0.1),
        is_v3 in any::<bool>(),
    ) -> Visit {
        let role = if is_node { Role::Node } else { Role::Operator };
        Visit {
            role,
            scopes: scopes.of_role(role),
            locality,
            method,
            program,
            is_capped,
            rules: if is_v3 { Rules::V3 } else { Rules::V4 },
            ..visit("")
        }
    }
}

proptest! {
    #[test]
    fn no_visit_grants_more_than_it_asked_for(
        visits in proptest::collection::vec((any_visit(), any::<bool>(), any::<bool>()), 1..12),
    ) {
        let mut device = unknown();
        for (number, (visit, approve_local, approve_pages)) in (0..).zip(&visits) {
            let policy = PairingPolicy {
                approve_local: *approve_local,
                approve_pages: *approve_pages,
            };
            let before = device.clone();
            let outcome = decide(visit, device.clone(), policy, fresh(number, NOW_MS)).unwrap();
            if let Some(change) = outcome.change {
                device = change;
            }
            let had = before.paired.as_ref().map_or(ScopeSet::empty(), |it| it.scopes.clone());
            let may_have = had.joined(&visit.scopes);
            let Some(paired) = &device.paired else {
                continue;
            };
            prop_assert_eq!(may_have.lacks(&paired.scopes), None);
            if outcome.entry.is_err() {
                prop_assert_eq!(&paired.scopes, &had);
            }
            if visit.locality == Locality::Remote {
                prop_assert_eq!(&paired.scopes, &had, "{:?}", visit);
            }
            for token in &paired.tokens {
                prop_assert_eq!(paired.scopes.lacks(&token.scopes), None);
                prop_assert_eq!(&token.scopes.of_role(token.role), &token.scopes);
                let is_new = before.paired.as_ref().and_then(|it| it.token(token.role)) != Some(token);
                if is_new {
                    prop_assert_eq!(token.role, visit.role);
                }
            }
        }
    }
}
