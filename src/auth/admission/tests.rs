//! Devices at the door: secrets, device tokens, counts and pairing together.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

use super::*;
use crate::auth::device::testing::{Bench, NOW_MS, TestDevice};
use crate::auth::device::{Handler, PairingReason, ProofError, StoreError};
use crate::auth::limiter::LimiterConfig;
use crate::auth::secret::Secret;
use crate::auth::{AuthConfig, AuthMode, OriginPolicy, PairingPolicy, ProxyPolicy, Role, Rules};

const TOKEN: &str = "YOUR_TOKEN";
const LOCAL: &str = "127.0.0.1:4000";
const REMOTE: &str = "203.0.113.9:4000";
const HOST: (&str, &str) = ("host", "127.0.0.1:18789");

/// An authenticator with devices and one device that connects.
struct Door {
    auth: Authenticator,
    bench: Bench,
    device: TestDevice,
}

impl Door {
    fn new(mode: AuthMode) -> Self {
        let bench = Bench::new();
        let config = AuthConfig {
            mode,
            limiter: LimiterConfig::default(),
            proxies: ProxyPolicy::default(),
            origins: OriginPolicy::default(),
            pairing: PairingPolicy::default(),
        };
        let devices = Arc::clone(&bench.devices);
        Self {
            auth: Authenticator::new(config, devices, Arc::default()),
            bench,
            device: TestDevice::new(1),
        }
    }

    fn with_token() -> Self {
        Self::new(AuthMode::Token(Secret::new(TOKEN)))
    }

    fn head(&self, peer: &str, lines: &[(&str, &str)]) -> Head {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        self.auth
            .read_head(&headers, peer.parse().unwrap())
            .unwrap()
    }

    async fn connect(&self, peer: &str, offer: ConnectAuth) -> Result<Admitted, AuthError> {
        let head = self.head(peer, &[HOST]);
        self.auth.connect(&head, &self.device.signed(offer)).await
    }

    /// Connects from this machine with the shared token; returns the device's.
    async fn pair(&self) -> String {
        let admitted = self.connect(LOCAL, offer(Some(TOKEN), None)).await.unwrap();
        admitted.token.unwrap().text.expose().to_owned()
    }

    #[track_caller]
    fn check_failures(&self, expected: u64) {
        assert_eq!(self.auth.metrics.auth_failures.get(), expected);
    }

    async fn http(&self, secret: &str) -> Result<(), AuthError> {
        let bearer = format!("Bearer {secret}");
        let head = self.head(REMOTE, &[("authorization", &bearer)]);
        self.auth.http(&head).await.map(|_principal| ())
    }
}

/// A command line that asks to read and write.
fn offer(token: Option<&str>, device_token: Option<&str>) -> ConnectAuth {
    ConnectAuth {
        token: token.map(Offered::new),
        device_token: device_token.map(Offered::new),
        client_id: "cli".to_owned(),
        client_mode: "cli".to_owned(),
        platform: Some("linux".to_owned()),
        scopes: vec!["operator.read".to_owned(), "operator.write".to_owned()],
        ..ConnectAuth::default()
    }
}

fn scopes(admitted: &Admitted) -> String {
    let names: Vec<_> = admitted.principal.scopes.names().collect();
    names.join(",")
}

const WRONG_TOKEN: AuthError = AuthError::Mismatch(AuthMethod::Token);
const WRONG_DEVICE_TOKEN: AuthError = AuthError::Mismatch(AuthMethod::DeviceToken);

#[tokio::test(start_paused = true)]
async fn a_local_device_with_the_secret_is_paired_and_gets_its_scopes_and_a_token() {
    let door = Door::with_token();
    let admitted = door.connect(LOCAL, offer(Some(TOKEN), None)).await.unwrap();
    assert_eq!(scopes(&admitted), "operator.read,operator.write");
    let principal = &admitted.principal;
    assert_eq!(principal.method, AuthMethod::Token);
    assert_eq!(principal.device.as_deref(), Some(&*door.device.id()));
    assert_eq!(&*principal.credential, "device");
    assert_eq!(admitted.token.unwrap().issued_at_ms, NOW_MS);
    let stored = door.bench.store.get(&door.device.id()).unwrap();
    let facts = stored.paired.unwrap().facts;
    assert_eq!(facts.client_id.as_deref(), Some("cli"));
    assert_eq!((facts.remote_ip, facts.browser_origin), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_device_token_is_enough_from_anywhere_and_in_either_field() {
    let door = Door::with_token();
    let token = door.pair().await;
    let fields = [
        offer(None, Some(&token)),
        offer(Some(&token), None),
        offer(Some(&token), Some(&token)),
        offer(Some("   "), Some(&token)),
    ];
    for offer in fields {
        let admitted = door.connect(REMOTE, offer).await.unwrap();
        assert_eq!(admitted.principal.method, AuthMethod::DeviceToken);
        assert_eq!(&*admitted.principal.credential, "device");
        assert_eq!(scopes(&admitted), "operator.read,operator.write");
        assert_eq!(admitted.token.unwrap().text.expose(), token);
    }
    door.check_failures(0);
    // It is the token of this device and of no other.
    let other = Door {
        device: TestDevice::new(2),
        ..door
    };
    let refused = other.connect(REMOTE, offer(None, Some(&token))).await;
    assert_eq!(refused.unwrap_err(), WRONG_DEVICE_TOKEN);
    // And it opens no other door.
    assert_eq!(other.http(&token).await, Err(WRONG_TOKEN));
}

#[tokio::test(start_paused = true)]
async fn a_device_without_any_secret_is_told_which_one_is_missing() {
    let door = Door::with_token();
    door.pair().await;
    let missing = door.connect(LOCAL, offer(None, None)).await;
    assert_eq!(missing.unwrap_err(), AuthError::Missing(AuthMethod::Token));
    door.check_failures(0);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_secret_is_counted_as_a_guess_at_both() {
    let door = Door::with_token();
    door.pair().await;
    for n in 1..=10 {
        let refused = door.connect(REMOTE, offer(Some("guess"), None)).await;
        assert_eq!(refused.unwrap_err(), WRONG_TOKEN);
        let by_device = u64::from(n == 10);
        door.check_failures(n + by_device);
    }
    let locked = |error: AuthError| matches!(error, AuthError::LockedOut { .. });
    let refused = door.connect(REMOTE, offer(Some(TOKEN), None)).await;
    assert!(locked(refused.unwrap_err()));
    let refused = door.connect(REMOTE, offer(None, Some("guess"))).await;
    assert!(locked(refused.unwrap_err()));
    assert!(locked(door.http(TOKEN).await.unwrap_err()));
    // A machine is not locked out by its neighbours.
    door.connect(LOCAL, offer(Some(TOKEN), None)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_device_token_beside_a_guess_does_not_stop_the_count() {
    for is_good in [false, true] {
        let door = Door::with_token();
        let token = door.pair().await;
        let beside = if is_good { &*token } else { "made up" };
        for _ in 0..10 {
            let outcome = door
                .connect(REMOTE, offer(Some("guess"), Some(beside)))
                .await;
            match outcome {
                Ok(admitted) => assert_eq!(admitted.principal.method, AuthMethod::DeviceToken),
                Err(error) => assert_eq!(error, WRONG_DEVICE_TOKEN),
            }
        }
        let locked = door.http(TOKEN).await.unwrap_err();
        assert!(matches!(locked, AuthError::LockedOut { .. }), "{locked:?}");
        // The lock is one of the shared secret: who has a token of its own still gets in.
        let outcome = door
            .connect(REMOTE, offer(Some("guess"), Some(beside)))
            .await;
        assert_eq!(outcome.is_ok(), is_good);
    }
}

#[tokio::test(start_paused = true)]
async fn guesses_at_device_tokens_are_counted_apart() {
    let door = Door::with_token();
    let token = door.pair().await;
    for _ in 0..10 {
        let refused = door.connect(REMOTE, offer(None, Some("guess"))).await;
        assert_eq!(refused.unwrap_err(), WRONG_DEVICE_TOKEN);
    }
    door.check_failures(10);
    let refused = door
        .connect(REMOTE, offer(None, Some(&token)))
        .await
        .unwrap_err();
    assert!(
        matches!(refused, AuthError::LockedOut { .. }),
        "{refused:?}"
    );
    assert_eq!(door.http(TOKEN).await, Ok(()));
    door.connect(REMOTE, offer(Some(TOKEN), None))
        .await
        .unwrap();
    tokio::time::advance(Duration::from_mins(5)).await;
    door.connect(REMOTE, offer(None, Some(&token)))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_local_guess_at_a_device_token_is_answered_late() {
    let door = Door::with_token();
    door.pair().await;
    let start = tokio::time::Instant::now();
    for waited in [250, 750, 1750] {
        let refused = door.connect(LOCAL, offer(None, Some("guess"))).await;
        assert_eq!(refused.unwrap_err(), WRONG_DEVICE_TOKEN);
        assert_eq!(start.elapsed(), Duration::from_millis(waited));
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_right_but_not_enough_is_no_guess() {
    let door = Door::with_token();
    let token = door.pair().await;
    for _ in 0..20 {
        for fields in [(Some(&*token), None), (None, Some(&*token))] {
            let mut more = offer(fields.0, fields.1);
            more.scopes.push("operator.admin".to_owned());
            let refused = door.connect(REMOTE, more).await;
            assert_eq!(refused.unwrap_err(), AuthError::ScopeMismatch);
        }
    }
    door.check_failures(0);
    door.connect(REMOTE, offer(None, Some(&token)))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_device_that_proves_nothing_learns_nothing() {
    let door = Door::with_token();
    let head = door.head(REMOTE, &[HOST]);
    for secret in [TOKEN, "guess"] {
        for _ in 0..20 {
            let mut unsigned = door.device.signed(offer(Some(secret), None));
            unsigned.scopes.push("operator.admin".to_owned());
            let refused = door.auth.connect(&head, &unsigned).await;
            let expected = AuthError::Device(ProofError::Signature);
            assert_eq!(refused.unwrap_err(), expected);
        }
    }
    door.check_failures(0);
    assert_eq!(door.http(TOKEN).await, Ok(()));
    assert_eq!(door.bench.store.get(&door.device.id()), None);
}

#[tokio::test(start_paused = true)]
async fn a_remote_device_waits_for_approval_and_then_gets_in() {
    let door = Door::with_token();
    let refused = door.connect(REMOTE, offer(Some(TOKEN), None)).await;
    let AuthError::PairingRequired(required) = refused.unwrap_err() else {
        panic!("it was not asked to pair");
    };
    assert_eq!(required.reason, PairingReason::NotPaired);
    let waiting = door
        .bench
        .store
        .get(&door.device.id())
        .unwrap()
        .request
        .unwrap();
    assert_eq!(waiting.request_id, required.request_id);
    assert_eq!(waiting.facts.remote_ip.as_deref(), Some("203.0.113.9"));

    let head = door.head(LOCAL, &[HOST, ("authorization", "Bearer YOUR_TOKEN")]);
    let admin = door.auth.http(&head).await.unwrap();
    let handler = Handler {
        principal: &admin,
        connection: None,
    };
    let request = &required.request_id;
    door.auth.devices().approve(handler, request).await.unwrap();
    let admitted = door
        .connect(REMOTE, offer(Some(TOKEN), None))
        .await
        .unwrap();
    assert_eq!(scopes(&admitted), "operator.read,operator.write");
    assert!(admitted.token.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_page_on_this_machine_waits_for_approval() {
    let door = Door::with_token();
    let lines = [HOST, ("origin", "http://127.0.0.1:18789")];
    let head = door.head(LOCAL, &lines);
    let mut page = offer(Some(TOKEN), None);
    page.client_id = "openclaw-control-ui".to_owned();
    page.client_mode = "webchat".to_owned();
    let refused = door.auth.connect(&head, &door.device.signed(page)).await;
    assert!(matches!(
        refused.unwrap_err(),
        AuthError::PairingRequired(_)
    ));
    let waiting = door
        .bench
        .store
        .get(&door.device.id())
        .unwrap()
        .request
        .unwrap();
    let origin = waiting.facts.browser_origin.as_deref();
    assert_eq!(origin, Some("http://127.0.0.1:18789"));
}

#[tokio::test(start_paused = true)]
async fn a_head_that_takes_scopes_away_binds_devices_too() {
    let door = Door::with_token();
    let head = door.head(LOCAL, &[HOST, ("x-openclaw-scopes", "operator.read")]);
    let signed = door.device.signed(offer(Some(TOKEN), None));
    let admitted = door.auth.connect(&head, &signed).await.unwrap();
    assert_eq!(scopes(&admitted), "operator.read");
    assert_eq!(admitted.token, None);
    let paired = door
        .bench
        .store
        .get(&door.device.id())
        .unwrap()
        .paired
        .unwrap();
    assert_eq!(paired.scopes, ["operator.read"].into_iter().collect());
}

#[tokio::test(start_paused = true)]
async fn scopes_of_another_role_are_not_granted() {
    let door = Door::with_token();
    let mut mixed = offer(Some(TOKEN), None);
    mixed.scopes.push("camera".to_owned());
    let admitted = door.connect(LOCAL, mixed).await.unwrap();
    assert_eq!(scopes(&admitted), "operator.read,operator.write");
    let node = Door {
        device: TestDevice::new(2),
        ..door
    };
    let mut mixed = offer(Some(TOKEN), None);
    mixed.role = Role::Node;
    mixed.scopes.push("camera".to_owned());
    let admitted = node.connect(LOCAL, mixed).await.unwrap();
    assert_eq!(admitted.principal.role, Role::Node);
    assert_eq!(scopes(&admitted), "camera");
}

#[tokio::test(start_paused = true)]
async fn without_a_secret_local_devices_are_paired_and_remote_ones_wait() {
    let door = Door::new(AuthMode::None);
    let admitted = door.connect(LOCAL, offer(None, None)).await.unwrap();
    assert_eq!(admitted.principal.method, AuthMethod::None);
    assert!(admitted.token.is_some());
    let other = Door {
        device: TestDevice::new(2),
        ..door
    };
    let refused = other.connect(REMOTE, offer(None, None)).await.unwrap_err();
    assert!(
        matches!(refused, AuthError::PairingRequired(_)),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn protocol_3_gets_no_more_than_protocol_4() {
    let door = Door::with_token();
    let old = |offer| ConnectAuth {
        rules: Rules::V3,
        ..offer
    };
    let refused = door.connect(REMOTE, old(offer(Some(TOKEN), None))).await;
    assert!(matches!(
        refused.unwrap_err(),
        AuthError::PairingRequired(_)
    ));
    let admitted = door
        .connect(LOCAL, old(offer(Some(TOKEN), None)))
        .await
        .unwrap();
    assert_eq!(admitted.principal.rules, Rules::V3);
    let token = admitted.token.unwrap();
    let again = offer(None, Some(token.text.expose()));
    door.connect(REMOTE, old(again)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_lets_no_device_in() {
    let door = Door::with_token();
    let token = door.pair().await;
    door.bench.store.fails.store(true, Ordering::Relaxed);
    let failed = AuthError::Store(StoreError::Failed);
    for offer in [offer(Some(TOKEN), None), offer(None, Some(&token))] {
        let refused = door.connect(LOCAL, offer).await.unwrap_err();
        assert_eq!(refused, failed);
    }
    // Who needs no store is not hurt.
    assert_eq!(door.http(TOKEN).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_device_that_is_written_by_somebody_else_meanwhile_is_decided_anew() {
    let door = Door::with_token();
    door.bench.store.races.store(true, Ordering::Relaxed);
    let admitted = door.connect(LOCAL, offer(Some(TOKEN), None)).await.unwrap();
    let text = admitted.token.unwrap().text;
    let again = door.connect(REMOTE, offer(None, Some(text.expose()))).await;
    assert_eq!(again.unwrap().principal.method, AuthMethod::DeviceToken);
}

#[tokio::test(start_paused = true)]
async fn too_many_requests_are_refused_and_paired_devices_still_get_in() {
    let door = Door::with_token();
    let token = door.pair().await;
    let head = door.head(REMOTE, &[HOST]);
    let asks = async |number: u16| {
        let mut asking = offer(Some(TOKEN), None);
        asking.client_id = "test".to_owned();
        asking.device_family = Some(number.to_string());
        let device = TestDevice::numbered(number);
        door.auth
            .connect(&head, &device.signed(asking))
            .await
            .unwrap_err()
    };
    for number in 0..256 {
        let refused = asks(number).await;
        assert!(
            matches!(refused, AuthError::PairingRequired(_)),
            "{refused:?}"
        );
    }
    assert_eq!(asks(256).await, AuthError::PairingFull);
    let repeated = asks(7).await;
    assert!(
        matches!(repeated, AuthError::PairingRequired(_)),
        "{repeated:?}"
    );
    door.connect(REMOTE, offer(None, Some(&token)))
        .await
        .unwrap();
    door.bench.clock.advance(300_001);
    let late = TestDevice::numbered(300);
    let mut asking = offer(Some(TOKEN), None);
    asking.device = Some(late.claim(&asking, NOW_MS + 300_001));
    let refused = door.auth.connect(&head, &asking).await.unwrap_err();
    assert!(
        matches!(refused, AuthError::PairingRequired(_)),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_withdrawn_during_a_connect_is_noticed_behind_it() {
    let door = Door::with_token();
    let token = door.pair().await;
    let admitted = door
        .connect(REMOTE, offer(None, Some(&token)))
        .await
        .unwrap();
    assert!(!door.auth.is_withdrawn(&admitted));
    let plain = ConnectAuth {
        device: None,
        ..offer(Some(TOKEN), None)
    };
    let admin = door
        .auth
        .connect(&door.head(LOCAL, &[HOST]), &plain)
        .await
        .unwrap();
    let mut principal = admin.principal.clone();
    principal.scopes = ScopeSet::full();
    let handler = Handler {
        principal: &principal,
        connection: None,
    };
    let id = door.device.id();
    door.auth.devices().remove(handler, &id).await.unwrap();
    assert!(door.auth.is_withdrawn(&admitted));
    assert!(!door.auth.is_withdrawn(&admin));
    let refused = door
        .connect(REMOTE, offer(None, Some(&token)))
        .await
        .unwrap_err();
    assert_eq!(refused, WRONG_DEVICE_TOKEN);
}
