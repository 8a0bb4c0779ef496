//! The authenticator of both fronts.
//!
//! Owns the secret in force, its generation and the failure counts. Must not know how a front words
//! a refusal.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hyper::HeaderMap;
use tokio::sync::watch;

use crate::metrics::Metrics;

use super::connect::ConnectAuth;
use super::device::{Devices, PairingPolicy};
use super::head::{Head, HeadError, Locality, ProxyPolicy};
use super::limiter::{Attempt, FailureLimiter, Finding, Guessed, Key, LimiterConfig, Source};
use super::origin::OriginPolicy;
use super::scope::{Role, Rules, ScopeSet};
use super::secret::{Offered, Secret};
use super::{AuthError, AuthMethod, Principal};

/// Which secret a peer must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// `gateway.auth.token`.
    Token(Secret),
    /// `gateway.auth.password`.
    Password(Secret),
    /// None.
    None,
}

impl AuthMode {
    /// How a peer that satisfies this mode has proved itself.
    pub const fn method(&self) -> AuthMethod {
        match self {
            Self::Token(_) => AuthMethod::Token,
            Self::Password(_) => AuthMethod::Password,
            Self::None => AuthMethod::None,
        }
    }
}

/// How peers are authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// The shared secret.
    pub mode: AuthMode,
    /// The failure limiter.
    pub limiter: LimiterConfig,
    /// Trusted proxies.
    pub proxies: ProxyPolicy,
    /// Browser origins.
    pub origins: OriginPolicy,
    /// Which devices are paired without being asked.
    pub pairing: PairingPolicy,
}

/// Compares secrets, counts failures and grants scopes; one for both fronts.
#[derive(Debug)]
pub struct Authenticator {
    active: RwLock<Arc<Active>>,
    generation: watch::Sender<u64>,
    pub(super) limiter: FailureLimiter,
    pub(super) devices: Arc<Devices>,
    full: ScopeSet,
    pub(super) metrics: Arc<Metrics>,
}

/// What is in force.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) config: AuthConfig,
    credential: Arc<str>,
    generation: u64,
}

/// What a peer offers for the shared secret.
struct Comparison<'a> {
    secret: &'a Secret,
    offered: &'a Offered,
    /// Whether it is right for something else.
    is_other: bool,
}

/// What the comparison of a shared secret found.
#[derive(Debug)]
pub(super) enum Judged {
    /// It is right, or none is asked for.
    Right,
    /// It is right for something else, and was not counted.
    Other,
    /// It is not there, wrong, or was not looked at.
    Refused(AuthError),
}

impl Active {
    fn new(config: AuthConfig, generation: u64) -> Arc<Self> {
        Arc::new(Self {
            credential: config.mode.method().as_str().into(),
            config,
            generation,
        })
    }

    /// The principal of a peer that proved itself; an operator under the current rules.
    pub(super) fn grant(&self, head: &Head, scopes: ScopeSet) -> Principal {
        Principal {
            method: self.config.mode.method(),
            credential: Arc::clone(&self.credential),
            device: None,
            role: Role::Operator,
            scopes,
            rules: Rules::V4,
            address: head.client,
            locality: head.locality,
            generation: self.generation,
        }
    }
}

impl Authenticator {
    /// An authenticator for this configuration.
    pub fn new(config: AuthConfig, devices: Arc<Devices>, metrics: Arc<Metrics>) -> Self {
        Self {
            limiter: FailureLimiter::new(config.limiter),
            active: RwLock::new(Active::new(config, 0)),
            generation: watch::Sender::new(0),
            devices,
            full: ScopeSet::full(),
            metrics,
        }
    }

    /// The devices that may connect, for those who handle them.
    pub const fn devices(&self) -> &Arc<Devices> {
        &self.devices
    }

    /// Reads the head of a request from `peer`, by the proxies that are trusted now.
    ///
    /// # Errors
    /// [`HeadError`]: answer 400; it counts as no failure.
    pub fn read_head(&self, headers: &HeaderMap, peer: SocketAddr) -> Result<Head, HeadError> {
        Head::read(headers, peer, &self.active().config.proxies)
    }

    /// Whether a peer is a proxy that is trusted now.
    pub fn is_proxy(&self, peer: IpAddr) -> bool {
        let proxies = &self.active().config.proxies;
        proxies.trusts(peer.to_canonical())
    }

    /// Authenticates an HTTP request: attribution, lockout, secret, in this order. A wrong secret
    /// from an exempt loopback peer is answered only after a growing delay.
    ///
    /// # Errors
    /// [`AuthError`] says why not.
    ///
    /// # Cancel safety
    /// A failure is counted before the delay, so dropping the future saves a guesser nothing.
    pub async fn http(&self, head: &Head) -> Result<Principal, AuthError> {
        let found = self.judge_http(head);
        self.hold_back(head, found.as_ref().err()).await;
        found
    }

    fn judge_http(&self, head: &Head) -> Result<Principal, AuthError> {
        if head.unattributable {
            return Err(AuthError::ProxyAttribution);
        }
        let active = self.active();
        let origins = &active.config.origins;
        let secret = match &active.config.mode {
            AuthMode::Token(secret) | AuthMode::Password(secret) => secret,
            AuthMode::None => {
                match head.origin {
                    Some(_) => origins.check(head),
                    None => origins.check_host(head),
                }
                .map_err(AuthError::Origin)?;
                // Whoever is in front of a gateway without a secret may take scopes away.
                let scopes = head.scopes.clone();
                return Ok(active.grant(head, scopes.unwrap_or_else(|| self.full.clone())));
            }
        };
        let offered = head.authorization.as_ref().and_then(Offered::bearer);
        self.compare(&active, head, secret, offered.as_ref())?;
        Ok(active.grant(head, self.full.clone()))
    }

    /// Checks the origin of a `connect`, which refuses before anything is compared.
    pub(super) fn check_origin(
        active: &Active,
        head: &Head,
        offer: &ConnectAuth,
    ) -> Result<(), AuthError> {
        if head.origin.is_some() || offer.is_browser() {
            let origins = &active.config.origins;
            origins.check(head).map_err(AuthError::Origin)?;
        }
        Ok(())
    }

    /// Compares the shared secret of a `connect`, whose refusal is one fact among several.
    /// `is_other` says that what stands in its place is right for something else.
    pub(super) fn judge_shared(
        &self,
        active: &Active,
        head: &Head,
        offer: &ConnectAuth,
        is_other: bool,
    ) -> Judged {
        let method = active.config.mode.method();
        let secret = match &active.config.mode {
            AuthMode::Token(secret) | AuthMode::Password(secret) => secret,
            AuthMode::None => return Judged::Right,
        };
        let Some(offered) = offer.secret_for(method) else {
            // Without anything to compare, a lock tells nobody anything.
            return Judged::Refused(AuthError::Missing(method));
        };
        let comparison = Comparison {
            secret,
            offered,
            is_other,
        };
        self.judge(active, head, &comparison)
    }

    /// Whether a probe may be answered in detail: the caller is local, or knows the secret. A wrong
    /// secret counts as a failure here too.
    pub fn probe_detail(&self, head: &Head) -> bool {
        match head.locality {
            Locality::DirectLocal => true,
            Locality::BrowserLocal | Locality::ContainerLocal | Locality::Remote => {
                let asks_secret = !matches!(self.active().config.mode, AuthMode::None);
                asks_secret && head.authorization.is_some() && self.judge_http(head).is_ok()
            }
        }
    }

    /// Puts another configuration in force. When secret, origins or proxies differ, the generation
    /// grows; failures that were counted stay counted.
    pub fn rotate(&self, config: AuthConfig) {
        self.limiter.configure(config.limiter);
        let mut active = self.active.write().unwrap_or_else(PoisonError::into_inner);
        let old = &active.config;
        let same = old.mode == config.mode
            && old.origins == config.origins
            && old.proxies == config.proxies;
        let generation = active.generation + u64::from(!same);
        *active = Active::new(config, generation);
        if !same {
            self.generation.send_replace(generation);
        }
    }

    /// The generation in force; a principal of an older one is no longer authenticated.
    pub fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Whether nothing was rotated since the principal authenticated. Ask again once a connection
    /// is registered or a body has arrived.
    pub fn is_current(&self, principal: &Principal) -> bool {
        self.active().generation == principal.generation
    }

    /// Which secret peers are asked for now.
    pub fn method(&self) -> AuthMethod {
        self.active().config.mode.method()
    }

    /// Compares what was offered with the secret, unless the source is locked out.
    fn compare(
        &self,
        active: &Active,
        head: &Head,
        secret: &Secret,
        offered: Option<&Offered>,
    ) -> Result<(), AuthError> {
        let method = active.config.mode.method();
        let key = shared_secret_key(head);
        let Some(offered) = offered else {
            return Err(self
                .limiter
                .locked(key)
                .map_or(AuthError::Missing(method), |retry_after| {
                    self.locked_out(key, retry_after)
                }));
        };
        let comparison = Comparison {
            secret,
            offered,
            is_other: false,
        };
        match self.judge(active, head, &comparison) {
            Judged::Right => Ok(()),
            Judged::Refused(error) => Err(error),
            Judged::Other => Err(AuthError::Mismatch(method)),
        }
    }

    fn judge(&self, active: &Active, head: &Head, comparison: &Comparison<'_>) -> Judged {
        let method = active.config.mode.method();
        let key = shared_secret_key(head);
        // Digested outside of the limiter, so that a long secret holds nobody up.
        let digest = comparison.offered.digest();
        let find = || match (comparison.secret.matches(&digest), comparison.is_other) {
            (true, _) => Finding::Right,
            (false, true) => Finding::Other,
            (false, false) => Finding::Wrong,
        };
        match self.limiter.attempt(key, find) {
            Attempt::Passed => Judged::Right,
            Attempt::Other => Judged::Other,
            Attempt::Locked { retry_after } => Judged::Refused(self.locked_out(key, retry_after)),
            Attempt::Failed { locked } => {
                self.note_failure(key, method, locked);
                Judged::Refused(AuthError::Mismatch(method))
            }
        }
    }

    /// Counts and logs a wrong secret.
    pub(super) fn note_failure(&self, key: Key, method: AuthMethod, locked: bool) {
        self.metrics.auth_failures.add_one();
        if locked {
            tracing::warn!(source = ?key.source, "too many wrong secrets, locked out");
        } else {
            tracing::info!(source = ?key.source, "wrong {}", method.as_str());
        }
    }

    /// Delays the answer to a wrong secret where the limiter says so.
    pub(super) async fn hold_back(&self, head: &Head, refused: Option<&AuthError>) {
        let Some(AuthError::Mismatch(method)) = refused else {
            return;
        };
        let guessed = match method {
            AuthMethod::Token | AuthMethod::Password | AuthMethod::None => Guessed::SharedSecret,
            AuthMethod::DeviceToken => Guessed::DeviceToken,
        };
        let source = Source::of(head);
        self.limiter.hold_back(Key { guessed, source }).await;
    }

    pub(super) fn locked_out(&self, key: Key, retry_after: Duration) -> AuthError {
        self.metrics.auth_lockouts.add_one();
        tracing::debug!(source = ?key.source, "refused while locked out");
        AuthError::LockedOut { retry_after }
    }

    pub(super) fn active(&self) -> Arc<Active> {
        Arc::clone(&self.active.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What wrong secrets of this head are counted for.
fn shared_secret_key(head: &Head) -> Key {
    Key {
        guessed: Guessed::SharedSecret,
        source: Source::of(head),
    }
}

#[cfg(test)]
mod tests {
    use super::super::device::testing::Bench;
    use super::super::origin::OriginRefusal;
    use super::super::scope::Scope;
    use super::*;

    const TOKEN: &str = "YOUR_TOKEN";
    const LOCAL: &str = "127.0.0.1:4000";
    const REMOTE: &str = "203.0.113.9:4000";
    const HOST: (&str, &str) = ("host", "127.0.0.1:18789");
    const RIGHT: (&str, &str) = ("authorization", "Bearer YOUR_TOKEN");
    const WRONG: (&str, &str) = ("authorization", "Bearer guess");

    fn config(mode: AuthMode) -> AuthConfig {
        AuthConfig {
            mode,
            limiter: LimiterConfig::default(),
            proxies: ProxyPolicy::default(),
            origins: OriginPolicy::default(),
            pairing: PairingPolicy::default(),
        }
    }

    fn token() -> AuthMode {
        AuthMode::Token(Secret::new(TOKEN))
    }

    fn password() -> AuthMode {
        AuthMode::Password(Secret::new("pass word"))
    }

    fn authenticator(mode: AuthMode) -> Authenticator {
        Authenticator::new(config(mode), Bench::new().devices, Arc::default())
    }

    fn head(auth: &Authenticator, peer: &str, lines: &[(&str, &str)]) -> Head {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: hyper::header::HeaderName = name.parse().unwrap();
            headers.append(
                name,
                hyper::header::HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        auth.read_head(&headers, peer.parse().unwrap()).unwrap()
    }

    async fn http(
        auth: &Authenticator,
        peer: &str,
        lines: &[(&str, &str)],
    ) -> Result<Principal, AuthError> {
        auth.http(&head(auth, peer, lines)).await
    }

    async fn check_http(
        auth: &Authenticator,
        peer: &str,
        lines: &[(&str, &str)],
        expected: Result<(), AuthError>,
    ) {
        let found = http(auth, peer, lines).await.map(|_principal| ());
        assert_eq!(found, expected, "{peer} {lines:?}");
    }

    const MISSING: Result<(), AuthError> = Err(AuthError::Missing(AuthMethod::Token));
    const MISMATCH: Result<(), AuthError> = Err(AuthError::Mismatch(AuthMethod::Token));

    fn locked(seconds: u64) -> Result<(), AuthError> {
        Err(AuthError::LockedOut {
            retry_after: Duration::from_secs(seconds),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn http_takes_the_token_as_a_bearer() {
        let auth = authenticator(token());
        check_http(&auth, REMOTE, &[RIGHT], Ok(())).await;
        check_http(
            &auth,
            REMOTE,
            &[("authorization", "bEaReR YOUR_TOKEN")],
            Ok(()),
        )
        .await;
        check_http(&auth, REMOTE, &[WRONG], MISMATCH).await;
        check_http(&auth, REMOTE, &[], MISSING).await;
        for other in [
            "Basic WU9VUl9UT0tFTg==",
            "YOUR_TOKEN",
            "Bearer",
            "Bearer  ",
            "",
        ] {
            check_http(&auth, REMOTE, &[("authorization", other)], MISSING).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn http_takes_the_password_as_a_bearer() {
        let auth = authenticator(password());
        check_http(
            &auth,
            REMOTE,
            &[("authorization", "Bearer pass word")],
            Ok(()),
        )
        .await;
        let mismatch = Err(AuthError::Mismatch(AuthMethod::Password));
        check_http(&auth, REMOTE, &[RIGHT], mismatch).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_blank_secret_lets_nobody_in() {
        let auth = authenticator(AuthMode::Token(Secret::new(" ")));
        check_http(&auth, REMOTE, &[], MISSING).await;
        check_http(&auth, REMOTE, &[("authorization", "Bearer  ")], MISSING).await;
        check_http(&auth, REMOTE, &[WRONG], MISMATCH).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_with_the_secret_is_the_full_operator_whatever_it_names() {
        let auth = authenticator(token());
        for scopes in ["", "operator.read", "x"] {
            let lines = [RIGHT, ("x-openclaw-scopes", scopes)];
            let principal = http(&auth, REMOTE, &lines).await.unwrap();
            assert_eq!(principal.scopes, ScopeSet::full());
        }
        let principal = http(&auth, LOCAL, &[RIGHT, HOST]).await.unwrap();
        assert_eq!(principal.method, AuthMethod::Token);
        assert_eq!(&*principal.credential, "token");
        assert_eq!(principal.locality, Locality::DirectLocal);
        assert_eq!(principal.rules, Rules::V4);
        assert_eq!(principal.device, None);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_secret_the_header_takes_scopes_away() {
        let auth = authenticator(AuthMode::None);
        let scopes = |value| {
            let lines = [HOST, ("x-openclaw-scopes", value)];
            let head = head(&auth, LOCAL, &lines);
            let auth = &auth;
            async move { auth.http(&head).await.unwrap().scopes }
        };
        assert_eq!(
            http(&auth, LOCAL, &[HOST]).await.unwrap().scopes,
            ScopeSet::full()
        );
        assert_eq!(scopes("").await, ScopeSet::empty());
        let two = scopes(" operator.read , operator.talk ").await;
        assert_eq!(
            two.names().collect::<Vec<_>>(),
            ["operator.read", "operator.talk"]
        );
        assert!(!two.allows(Scope::Write));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_secret_a_foreign_page_is_refused() {
        let auth = authenticator(AuthMode::None);
        let refused = |refusal| Err(AuthError::Origin(refusal));
        let page = |origin| [HOST, ("origin", origin)];
        check_http(&auth, LOCAL, &page("http://localhost:3000"), Ok(())).await;
        let foreign = refused(OriginRefusal::NotAllowed);
        check_http(&auth, LOCAL, &page("https://evil.example"), foreign.clone()).await;
        check_http(&auth, LOCAL, &page("null"), refused(OriginRefusal::Invalid)).await;
        // A page whose name was re-pointed to loopback, once as a POST and once as a plain GET.
        let host = ("host", "evil.example:18789");
        let same = ("origin", "http://evil.example:18789");
        check_http(&auth, LOCAL, &[host, same], foreign.clone()).await;
        check_http(&auth, LOCAL, &[host], foreign).await;
        check_http(&auth, REMOTE, &[("host", "gw.example")], Ok(())).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_cannot_be_attributed_is_refused_before_its_secret() {
        for mode in [token(), password(), AuthMode::None] {
            let auth = authenticator(mode);
            for peer in [LOCAL, REMOTE] {
                for header in [
                    "x-forwarded-for",
                    "forwarded",
                    "x-real-ip",
                    "x-forwarded-user",
                ] {
                    for authorization in [RIGHT, WRONG] {
                        let lines = [HOST, authorization, (header, "127.0.0.1")];
                        let expected = Err(AuthError::ProxyAttribution);
                        check_http(&auth, peer, &lines, expected).await;
                    }
                }
            }
            assert_eq!(auth.metrics.auth_failures.get(), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ten_wrong_secrets_lock_an_address_out_of_both_fronts() {
        let auth = authenticator(token());
        for _ in 0..10 {
            check_http(&auth, REMOTE, &[WRONG], MISMATCH).await;
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        check_http(&auth, REMOTE, &[RIGHT], locked(299)).await;
        check_http(&auth, REMOTE, &[], locked(299)).await;
        check_http(&auth, REMOTE, &[WRONG], locked(299)).await;
        check_connect(
            &auth,
            REMOTE,
            &[],
            &offer("cli", "cli", TOKEN),
            locked(299).map(|()| ""),
        )
        .await;
        assert_eq!(auth.metrics.auth_failures.get(), 10);
        assert_eq!(auth.metrics.auth_lockouts.get(), 4);
        check_http(&auth, "203.0.113.10:1", &[RIGHT], Ok(())).await;
        check_http(&auth, LOCAL, &[HOST, RIGHT], Ok(())).await;
        tokio::time::advance(Duration::from_secs(299)).await;
        check_http(&auth, REMOTE, &[WRONG], MISMATCH).await;
        check_http(&auth, REMOTE, &[RIGHT], Ok(())).await;
    }

    #[tokio::test(start_paused = true)]
    async fn failed_connects_lock_http_out_too() {
        let auth = authenticator(token());
        for _ in 0..10 {
            let refused = Err(AuthError::Mismatch(AuthMethod::Token));
            check_connect(&auth, REMOTE, &[], &offer("test", "test", "guess"), refused).await;
        }
        check_http(&auth, REMOTE, &[RIGHT], locked(300)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn requests_without_a_secret_are_not_counted() {
        let auth = authenticator(token());
        let basic = ("authorization", "Basic Zzp1");
        for _ in 0..30 {
            check_http(&auth, REMOTE, &[], MISSING).await;
            check_http(&auth, REMOTE, &[basic], MISSING).await;
            let none = ConnectAuth::default();
            check_connect(&auth, REMOTE, &[], &none, Err(AuthError::DeviceRequired)).await;
        }
        check_http(&auth, REMOTE, &[RIGHT], Ok(())).await;
        assert_eq!(auth.metrics.auth_failures.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn mapped_addresses_and_neighbours_in_one_network_share_a_count() {
        let auth = authenticator(token());
        for n in 0..5 {
            check_http(&auth, "1.2.3.4:1", &[WRONG], MISMATCH).await;
            check_http(&auth, "[::ffff:1.2.3.4]:1", &[WRONG], MISMATCH).await;
            let peer = format!("[2001:db8:1:2::{n}]:1");
            check_http(&auth, &peer, &[WRONG], MISMATCH).await;
            let peer = format!("[2001:db8:1:2:9:9:9:{n}]:1");
            check_http(&auth, &peer, &[WRONG], MISMATCH).await;
        }
        check_http(&auth, "1.2.3.4:1", &[RIGHT], locked(300)).await;
        check_http(&auth, "[2001:db8:1:2::77]:1", &[RIGHT], locked(300)).await;
        check_http(&auth, "[2001:db8:1:3::77]:1", &[RIGHT], Ok(())).await;
    }

    #[tokio::test(start_paused = true)]
    async fn forwarding_headers_neither_evade_the_count_nor_lock_others_out() {
        let mut trusting = config(token());
        trusting.proxies.trusted = vec!["10.0.0.0/8".parse().unwrap()];
        let auth = Authenticator::new(trusting, Bench::new().devices, Arc::default());
        let proxy = "10.0.0.7:1";
        for n in 0..10 {
            // The guesser writes what it likes; the proxy appends whom it sees.
            let spoofed = format!("198.51.100.{n}, 203.0.113.66");
            let lines = [WRONG, ("x-forwarded-for", spoofed.as_str())];
            check_http(&auth, proxy, &lines, MISMATCH).await;
        }
        let from = |client| [RIGHT, ("x-forwarded-for", client)];
        check_http(
            &auth,
            proxy,
            &from("198.51.100.99, 203.0.113.66"),
            locked(300),
        )
        .await;
        check_http(&auth, proxy, &from("203.0.113.67"), Ok(())).await;
        check_http(&auth, proxy, &from("198.51.100.1"), Ok(())).await;
    }

    #[tokio::test(start_paused = true)]
    async fn connects_behind_an_unknown_proxy_are_remote_and_counted_together() {
        let auth = authenticator(token());
        let cli = offer("cli", "cli", TOKEN);
        let forwarded = [HOST, ("x-forwarded-for", "127.0.0.1")];
        check_connect(&auth, LOCAL, &forwarded, &cli, Ok("")).await;
        for n in 0..10 {
            let spoofed = format!("198.51.100.{n}");
            let lines = [HOST, ("x-forwarded-for", spoofed.as_str())];
            let refused = Err(AuthError::Mismatch(AuthMethod::Token));
            check_connect(&auth, LOCAL, &lines, &offer("cli", "cli", "guess"), refused).await;
        }
        check_connect(&auth, LOCAL, &forwarded, &cli, locked(300).map(|()| "")).await;
        check_connect(&auth, LOCAL, &[HOST], &cli, Ok("operator.admin")).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_local_program_is_delayed_and_a_page_beside_it_is_locked_out() {
        let auth = authenticator(token());
        let start = tokio::time::Instant::now();
        check_http(&auth, LOCAL, &[HOST, WRONG], MISMATCH).await;
        assert_eq!(start.elapsed(), Duration::from_millis(250));
        for _ in 0..20 {
            check_http(&auth, LOCAL, &[HOST, WRONG], MISMATCH).await;
        }
        check_http(&auth, LOCAL, &[HOST, RIGHT], Ok(())).await;

        let origin = ("origin", "http://localhost:3000");
        let start = tokio::time::Instant::now();
        for _ in 0..10 {
            check_http(&auth, LOCAL, &[HOST, WRONG, origin], MISMATCH).await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        check_http(&auth, LOCAL, &[HOST, RIGHT, origin], locked(300)).await;
        let other_page = ("origin", "http://localhost:4000");
        check_http(&auth, LOCAL, &[HOST, RIGHT, other_page], locked(300)).await;
        check_http(&auth, LOCAL, &[HOST, RIGHT], Ok(())).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_was_repointed_to_loopback_is_not_exempt() {
        let auth = authenticator(token());
        let foreign = ("host", "evil.example:18789");
        for _ in 0..10 {
            check_http(&auth, LOCAL, &[foreign, WRONG], MISMATCH).await;
        }
        check_http(&auth, LOCAL, &[foreign, RIGHT], locked(300)).await;
        check_http(&auth, LOCAL, &[HOST, RIGHT], Ok(())).await;
    }

    #[tokio::test(start_paused = true)]
    async fn rotating_the_secret_ends_what_the_old_one_opened() {
        let auth = authenticator(token());
        let mut generation = auth.generation();
        let old = http(&auth, REMOTE, &[RIGHT]).await.unwrap();
        assert!(auth.is_current(&old));
        check_http(&auth, REMOTE, &[WRONG], MISMATCH).await;

        auth.rotate(config(AuthMode::Token(Secret::new("another"))));
        assert!(generation.has_changed().unwrap());
        assert_eq!(*generation.borrow_and_update(), 1);
        assert!(!auth.is_current(&old));
        check_http(&auth, REMOTE, &[RIGHT], MISMATCH).await;
        let new = [("authorization", "Bearer another")];
        let principal = http(&auth, REMOTE, &new).await.unwrap();
        assert!(auth.is_current(&principal));
        assert_eq!(principal.generation, 1);

        auth.rotate(config(password()));
        assert!(!auth.is_current(&principal));
        assert_eq!(auth.method(), AuthMethod::Password);
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_origin_or_proxy_policy_is_a_rotation_and_a_changed_limit_is_none() {
        let auth = authenticator(token());
        let generation = auth.generation();
        let number = || *generation.borrow();
        let mut changed = config(token());
        auth.rotate(changed.clone());
        assert_eq!(number(), 0);
        changed.limiter.attempts_max = 2;
        for _ in 0..2 {
            check_http(&auth, REMOTE, &[WRONG], MISMATCH).await;
        }
        auth.rotate(changed.clone());
        assert_eq!(number(), 0);
        // What was counted before counts under the new limit.
        check_http(&auth, REMOTE, &[RIGHT], locked(300)).await;
        changed.origins.allowed = vec!["https://control.example".to_owned()];
        auth.rotate(changed.clone());
        assert_eq!(number(), 1);
        changed.proxies.allow_real_ip = true;
        auth.rotate(changed);
        assert_eq!(number(), 2);
    }

    #[test]
    fn probes_are_answered_in_detail_to_local_callers_and_holders_of_the_secret() {
        let auth = authenticator(token());
        let detail =
            |peer: &str, lines: &[(&str, &str)]| auth.probe_detail(&head(&auth, peer, lines));
        assert!(detail(LOCAL, &[HOST]));
        assert!(detail(REMOTE, &[RIGHT]));
        assert!(!detail(REMOTE, &[]));
        assert!(!detail(LOCAL, &[("host", "evil.example")]));
        assert!(!detail(LOCAL, &[HOST, ("origin", "https://evil.example")]));
        assert!(!detail(
            LOCAL,
            &[HOST, RIGHT, ("x-forwarded-for", "1.1.1.1")]
        ));
        assert!(!detail(REMOTE, &[WRONG]));
        assert_eq!(auth.metrics.auth_failures.get(), 1);

        let open = authenticator(AuthMode::None);
        assert!(open.probe_detail(&head(&open, LOCAL, &[HOST])));
        assert!(!open.probe_detail(&head(&open, REMOTE, &[RIGHT])));
    }

    #[test]
    fn nothing_that_is_printed_holds_a_secret() {
        let auth = authenticator(token());
        let head = head(&auth, REMOTE, &[RIGHT]);
        let shown = format!("{auth:?} {head:?} {:?}", offer("cli", "cli", TOKEN));
        assert!(!shown.contains(TOKEN), "{shown}");
    }

    fn offer(id: &str, mode: &str, secret: &str) -> ConnectAuth {
        ConnectAuth {
            token: Some(Offered::new(secret)),
            client_id: id.to_owned(),
            client_mode: mode.to_owned(),
            scopes: vec!["operator.admin".to_owned()],
            ..ConnectAuth::default()
        }
    }

    /// Compares the scopes a peer ends up with.
    async fn check_connect(
        auth: &Authenticator,
        peer: &str,
        lines: &[(&str, &str)],
        offer: &ConnectAuth,
        expected: Result<&str, AuthError>,
    ) {
        let found = auth.connect(&head(auth, peer, lines), offer).await;
        let found = found.map(|it| it.principal.scopes);
        let found = found.map(|it| it.names().collect::<Vec<_>>().join(","));
        assert_eq!(
            found,
            expected.map(str::to_owned),
            "{peer} {lines:?} {offer:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn local_command_line_and_backend_keep_the_scopes_they_ask_for() {
        let auth = authenticator(token());
        for (id, mode) in [("cli", "cli"), ("gateway-client", "backend")] {
            let offer = offer(id, mode, TOKEN);
            check_connect(&auth, LOCAL, &[HOST], &offer, Ok("operator.admin")).await;
            let container = [("host", "192.168.1.5:18789")];
            check_connect(&auth, LOCAL, &container, &offer, Ok("operator.admin")).await;
        }
        let mut asks_nothing = offer("cli", "cli", TOKEN);
        asks_nothing.scopes.clear();
        check_connect(&auth, LOCAL, &[HOST], &asks_nothing, Ok("")).await;
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_else_with_the_secret_is_let_in_without_scopes() {
        let auth = authenticator(token());
        for (id, mode) in [
            ("cli", "probe"),
            ("gateway-client", "ui"),
            ("cli", "backend"),
            ("gateway-client", "cli"),
            ("openclaw-probe", "probe"),
            ("test", "test"),
            ("openclaw-macos", "ui"),
            ("", ""),
        ] {
            check_connect(&auth, LOCAL, &[HOST], &offer(id, mode, TOKEN), Ok("")).await;
        }
        let cli = offer("cli", "cli", TOKEN);
        check_connect(&auth, REMOTE, &[HOST], &cli, Ok("")).await;
        check_connect(&auth, LOCAL, &[], &cli, Ok("")).await;
        check_connect(&auth, LOCAL, &[("host", "evil.example")], &cli, Ok("")).await;
        let page = [HOST, ("origin", "http://localhost:18789")];
        check_connect(&auth, LOCAL, &page, &cli, Ok("")).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_upgrade_header_takes_scopes_away_and_never_adds() {
        let auth = authenticator(token());
        let mut cli = offer("cli", "cli", TOKEN);
        cli.scopes = vec!["operator.read".to_owned(), "operator.admin".to_owned()];
        let capped = [HOST, ("x-openclaw-scopes", "operator.write")];
        check_connect(&auth, LOCAL, &capped, &cli, Ok("operator.read")).await;
        let widened = [
            HOST,
            ("x-openclaw-scopes", "operator.admin,operator.pairing"),
        ];
        check_connect(&auth, REMOTE, &widened, &cli, Ok("")).await;
        cli.scopes = vec!["operator.read".to_owned()];
        check_connect(&auth, LOCAL, &widened, &cli, Ok("operator.read")).await;
    }

    #[tokio::test(start_paused = true)]
    async fn user_interfaces_and_nodes_need_a_device_identity() {
        let auth = authenticator(token());
        let ui = Err(AuthError::ControlUiDeviceRequired);
        let tui = offer("openclaw-tui", "ui", TOKEN);
        check_connect(&auth, LOCAL, &[HOST], &tui, ui.clone()).await;
        let page = [HOST, ("origin", "http://127.0.0.1:18789")];
        let control = offer("openclaw-control-ui", "webchat", TOKEN);
        check_connect(&auth, LOCAL, &page, &control, ui.clone()).await;
        let wrong = offer("openclaw-control-ui", "webchat", "guess");
        check_connect(&auth, LOCAL, &page, &wrong, ui).await;
        assert_eq!(auth.metrics.auth_failures.get(), 1);

        let node = ConnectAuth {
            role: Role::Node,
            ..offer("node-host", "node", TOKEN)
        };
        let refused = Err(AuthError::DeviceRequired);
        check_connect(&auth, LOCAL, &[HOST], &node, refused.clone()).await;
        let posing = ConnectAuth {
            role: Role::Node,
            ..offer("cli", "cli", TOKEN)
        };
        check_connect(&auth, LOCAL, &[HOST], &posing, refused).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connect_without_a_secret_asks_for_a_device_and_with_a_wrong_one_is_refused() {
        let auth = authenticator(token());
        let none = ConnectAuth {
            token: None,
            ..offer("cli", "cli", "")
        };
        check_connect(&auth, LOCAL, &[HOST], &none, Err(AuthError::DeviceRequired)).await;
        let blank = offer("cli", "cli", "  ");
        check_connect(
            &auth,
            LOCAL,
            &[HOST],
            &blank,
            Err(AuthError::DeviceRequired),
        )
        .await;
        let refused = Err(AuthError::Mismatch(AuthMethod::Token));
        check_connect(
            &auth,
            LOCAL,
            &[HOST],
            &offer("cli", "cli", "guess"),
            refused,
        )
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn protocol_4_takes_the_secret_from_either_field_and_protocol_3_from_its_own() {
        let crossed = |rules| ConnectAuth {
            token: Some(Offered::new(" ")),
            password: Some(Offered::new(TOKEN)),
            rules,
            ..offer("cli", "cli", "")
        };
        let auth = authenticator(token());
        check_connect(
            &auth,
            LOCAL,
            &[HOST],
            &crossed(Rules::V4),
            Ok("operator.admin"),
        )
        .await;
        let missing = Err(AuthError::Missing(AuthMethod::Token));
        check_connect(&auth, LOCAL, &[HOST], &crossed(Rules::V3), missing).await;

        let auth = authenticator(password());
        let in_token = |rules| ConnectAuth {
            rules,
            ..offer("cli", "cli", "pass word")
        };
        check_connect(
            &auth,
            LOCAL,
            &[HOST],
            &in_token(Rules::V4),
            Ok("operator.admin"),
        )
        .await;
        let missing = Err(AuthError::Missing(AuthMethod::Password));
        check_connect(&auth, LOCAL, &[HOST], &in_token(Rules::V3), missing).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_field_beside_the_guess_does_not_stop_the_count() {
        let auth = authenticator(token());
        let guess = ConnectAuth {
            password: Some(Offered::new(TOKEN)),
            ..offer("test", "test", "guess")
        };
        for _ in 0..10 {
            let refused = Err(AuthError::Mismatch(AuthMethod::Token));
            check_connect(&auth, REMOTE, &[], &guess, refused).await;
        }
        let right = offer("test", "test", TOKEN);
        check_connect(&auth, REMOTE, &[], &right, locked(300).map(|()| "")).await;
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_secret_only_local_programs_connect() {
        let auth = authenticator(AuthMode::None);
        for (id, mode) in [("cli", "cli"), ("gateway-client", "backend")] {
            let offer = offer(id, mode, "");
            check_connect(&auth, LOCAL, &[HOST], &offer, Ok("operator.admin")).await;
            let refused = Err(AuthError::DeviceRequired);
            check_connect(&auth, REMOTE, &[HOST], &offer, refused.clone()).await;
            let container = [("host", "192.168.1.5:18789")];
            check_connect(&auth, LOCAL, &container, &offer, refused).await;
        }
        let refused = Err(AuthError::DeviceRequired);
        check_connect(&auth, LOCAL, &[HOST], &offer("test", "test", ""), refused).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_origin_is_checked_for_every_client_and_before_the_secret() {
        let auth = authenticator(token());
        let foreign = [HOST, ("origin", "http://evil.example")];
        let refused = Err(AuthError::Origin(OriginRefusal::NotAllowed));
        for secret in [TOKEN, "guess"] {
            for (id, mode) in [
                ("gateway-client", "backend"),
                ("cli", "cli"),
                ("test", "test"),
            ] {
                let offer = offer(id, mode, secret);
                check_connect(&auth, LOCAL, &foreign, &offer, refused.clone()).await;
            }
        }
        let nowhere = [HOST, ("origin", "null")];
        let invalid = Err(AuthError::Origin(OriginRefusal::Invalid));
        check_connect(
            &auth,
            LOCAL,
            &nowhere,
            &offer("cli", "cli", TOKEN),
            invalid.clone(),
        )
        .await;
        for (id, mode) in [
            ("openclaw-control-ui", "ui"),
            ("openclaw-browser-copilot", "ui"),
            ("webchat", "webchat"),
        ] {
            check_connect(
                &auth,
                LOCAL,
                &[HOST],
                &offer(id, mode, TOKEN),
                invalid.clone(),
            )
            .await;
        }
        assert_eq!(auth.metrics.auth_failures.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_carries_its_role_and_rules() {
        let auth = authenticator(token());
        let old = ConnectAuth {
            rules: Rules::V3,
            ..offer("cli", "cli", TOKEN)
        };
        let principal = auth
            .connect(&head(&auth, LOCAL, &[HOST]), &old)
            .await
            .unwrap()
            .principal;
        assert_eq!(
            (principal.role, principal.rules),
            (Role::Operator, Rules::V3)
        );
        assert_eq!(principal.address.to_string(), "127.0.0.1");
        // The terminal interface of protocol 3 names itself otherwise, so this name is no
        // exception.
        let tui = ConnectAuth {
            rules: Rules::V3,
            ..offer("openclaw-tui", "ui", TOKEN)
        };
        check_connect(&auth, LOCAL, &[HOST], &tui, Ok("")).await;
    }
}
