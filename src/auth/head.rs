//! The parts of a request head that decide who a peer is and where it comes from.
//!
//! The only code that reads forwarding headers: everybody else asks [`Head`] for the address a
//! request is attributed to. Owns no state.

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue, ORIGIN};

use crate::error::ErrorCode;

use super::address::{Authority, fold, parse_hop};
use super::scope::ScopeSet;
use super::secret::Offered;

/// The parts of a request head authentication looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The socket's peer.
    pub peer: SocketAddr,
    /// The `Authorization` header.
    pub authorization: Option<Offered>,
    /// The `Host` header.
    pub host: Option<String>,
    /// The `Origin` header; an empty one counts as absent.
    pub origin: Option<String>,
    /// The `x-openclaw-scopes` header.
    pub scopes: Option<ScopeSet>,
    /// The address the request is attributed to, once proxies are accounted for; the peer's own
    /// when the request cannot be attributed.
    pub client: IpAddr,
    /// Where the client is.
    pub locality: Locality,
    /// Whether any forwarding header is present.
    pub forwarded: bool,
    /// Whether forwarding headers came from a peer that may not send them.
    pub unattributable: bool,
}

/// Where a client is (`protocol-facts` §3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Locality {
    /// Loopback peer, loopback `Host`, no forwarding headers, no `Origin`.
    DirectLocal,
    /// Loopback peer and loopback `Host`, with an `Origin` that is loopback too.
    BrowserLocal,
    /// Loopback peer and a private address as `Host`, no forwarding headers, no `Origin`: what a
    /// container's port mapping looks like. Local only together with a valid secret.
    ContainerLocal,
    /// Everything else.
    Remote,
}

/// A head that is refused before anything else is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// A header that may stand once stands several times (`design.md` §10).
    #[error("repeated header {0}")]
    Repeated(&'static str),
    /// A header that must be text is not.
    #[error("header {0} is not text")]
    NotText(&'static str),
}

/// Which peers may send forwarding headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyPolicy {
    /// Networks of trusted proxies.
    pub trusted: Vec<ipnet::IpNet>,
    /// Whether `X-Real-IP` counts when `X-Forwarded-For` names nobody.
    pub allow_real_ip: bool,
}

impl HeadError {
    /// The class of the failure.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Repeated(_) | Self::NotText(_) => ErrorCode::InvalidRequest,
        }
    }
}

impl ProxyPolicy {
    pub(super) fn trusts(&self, ip: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(&ip))
    }
}

impl Head {
    /// Reads the head of a request from `peer`.
    ///
    /// # Errors
    /// [`HeadError`] when a header that decides authority is repeated or not text.
    pub fn read(
        headers: &HeaderMap,
        peer: SocketAddr,
        policy: &ProxyPolicy,
    ) -> Result<Self, HeadError> {
        let authorization = single(headers, &AUTHORIZATION, "authorization")?;
        let host = single(headers, &HOST, "host")?;
        let origin = single(headers, &ORIGIN, "origin")?.filter(|origin| !origin.is_empty());
        let peer_ip = fold(peer.ip());
        let forwarded = headers.keys().any(is_forwarding);
        let attributed = attribute(headers, peer_ip, forwarded, policy);
        Ok(Self {
            peer,
            authorization: authorization.map(Offered::new),
            host: host.map(str::to_owned),
            origin: origin.map(str::to_owned),
            scopes: scopes(headers),
            client: attributed.unwrap_or(peer_ip),
            locality: locality(peer_ip, forwarded, host, origin),
            forwarded,
            unattributable: attributed.is_none(),
        })
    }

    /// Whether the request comes from this machine and was meant for it: loopback peer, loopback
    /// `Host`, no forwarding headers. Says nothing about an `Origin`.
    pub fn is_local(&self) -> bool {
        let loopback_host = || host_of(self.host.as_deref()).is_some_and(|host| host.is_loopback());
        fold(self.peer.ip()).is_loopback() && !self.forwarded && loopback_host()
    }
}

/// The text of a header that may stand at most once.
fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    shown: &'static str,
) -> Result<Option<&'a str>, HeadError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(HeadError::Repeated(shown));
    }
    first
        .map(|value| text(value).ok_or(HeadError::NotText(shown)))
        .transpose()
}

/// The value as trimmed text. UTF-8 beyond ASCII is text too: passwords use it.
fn text(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok().map(str::trim)
}

/// A header only a proxy writes (`http-facts` §2.5). Names arrive in lower case.
fn is_forwarding(name: &HeaderName) -> bool {
    let name = name.as_str();
    name == "forwarded" || name == "x-real-ip" || name.starts_with("x-forwarded-")
}

/// The address a request is attributed to; `None` when it came through a proxy that may not say or
/// does not say whom it speaks for.
fn attribute(
    headers: &HeaderMap,
    peer: IpAddr,
    forwarded: bool,
    policy: &ProxyPolicy,
) -> Option<IpAddr> {
    if peer.is_loopback() && !forwarded {
        return Some(peer);
    }
    if !policy.trusts(peer) {
        return (!forwarded).then_some(peer);
    }
    let real_ip = || {
        let named = policy.allow_real_ip.then(|| real_ip(headers)).flatten();
        named.filter(|ip| !ip.is_loopback())
    };
    forwarded_for(headers, policy).or_else(real_ip)
}

/// The last hop that is neither ours nor trusted. A proxy appends to the line it got or adds a line
/// of its own, so what it vouches for is at the end of the last line.
fn forwarded_for(headers: &HeaderMap, policy: &ProxyPolicy) -> Option<IpAddr> {
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    lines
        .filter_map(text)
        .flat_map(|line| line.split(',').rev())
        .filter_map(parse_hop)
        .find(|hop| !hop.is_loopback() && !policy.trusts(*hop))
}

fn real_ip(headers: &HeaderMap) -> Option<IpAddr> {
    let mut values = headers.get_all("x-real-ip").iter();
    let first = values.next()?;
    match values.next() {
        Some(_) => None,
        None => text(first).and_then(parse_hop),
    }
}

/// A list that is there but not text grants nothing.
fn scopes(headers: &HeaderMap) -> Option<ScopeSet> {
    let lines: Vec<_> = headers
        .get_all("x-openclaw-scopes")
        .iter()
        .map(|value| text(value).unwrap_or_default())
        .collect();
    (!lines.is_empty()).then(|| ScopeSet::from_header(&lines.join(",")))
}

fn host_of(host: Option<&str>) -> Option<Authority<'_>> {
    host.and_then(Authority::parse)
}

fn locality(peer: IpAddr, forwarded: bool, host: Option<&str>, origin: Option<&str>) -> Locality {
    let Some(host) = host_of(host).filter(|_| peer.is_loopback() && !forwarded) else {
        return Locality::Remote;
    };
    match origin {
        None if host.is_loopback() => Locality::DirectLocal,
        None if host.is_private_address() => Locality::ContainerLocal,
        Some(origin) if host.is_loopback() && is_loopback_origin(origin) => Locality::BrowserLocal,
        None | Some(_) => Locality::Remote,
    }
}

fn is_loopback_origin(origin: &str) -> bool {
    let authority = origin.split_once("://").map(|(_scheme, rest)| rest);
    host_of(authority).is_some_and(|host| host.is_loopback())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROXY: &str = "10.0.0.7:5000";

    fn policy(trusted: &[&str], allow_real_ip: bool) -> ProxyPolicy {
        ProxyPolicy {
            trusted: trusted.iter().map(|net| net.parse().unwrap()).collect(),
            allow_real_ip,
        }
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn read(peer: &str, lines: &[(&str, &str)], policy: &ProxyPolicy) -> Head {
        Head::read(&headers(lines), peer.parse().unwrap(), policy).unwrap()
    }

    fn check_client(peer: &str, lines: &[(&str, &str)], policy: &ProxyPolicy, expected: &str) {
        let head = read(peer, lines, policy);
        let found = if head.unattributable {
            "unattributable".to_owned()
        } else {
            head.client.to_string()
        };
        assert_eq!(found, expected, "{peer} {lines:?} {policy:?}");
    }

    #[test]
    fn without_forwarding_headers_the_peer_is_the_client() {
        let nobody = ProxyPolicy::default();
        check_client("127.0.0.1:1", &[], &nobody, "127.0.0.1");
        check_client("203.0.113.9:1", &[], &nobody, "203.0.113.9");
        check_client("[::ffff:203.0.113.9]:1", &[], &nobody, "203.0.113.9");
        check_client("[2001:db8::1]:1", &[], &nobody, "2001:db8::1");
        // The machine itself may call although a proxy on it is trusted.
        check_client(
            "127.0.0.1:1",
            &[],
            &policy(&["127.0.0.1/32"], false),
            "127.0.0.1",
        );
        // Another trusted proxy that names nobody speaks for nobody.
        check_client(PROXY, &[], &policy(&["10.0.0.0/8"], true), "unattributable");
    }

    #[test]
    fn forwarding_headers_of_an_untrusted_peer_cannot_be_attributed() {
        let nobody = ProxyPolicy::default();
        for peer in ["127.0.0.1:1", "[::1]:1", "203.0.113.9:1"] {
            for name in [
                "X-Forwarded-For",
                "X-Real-IP",
                "Forwarded",
                "X-Forwarded-Proto",
                "x-forwarded-anything",
            ] {
                for value in ["1.2.3.4", "127.0.0.1", "::1", ""] {
                    check_client(peer, &[(name, value)], &nobody, "unattributable");
                }
            }
        }
        let head = read("127.0.0.1:1", &[("x-forwarded-for", "1.2.3.4")], &nobody);
        assert_eq!(head.client.to_string(), "127.0.0.1");
        assert_eq!(head.locality, Locality::Remote);
    }

    #[test]
    fn the_walk_goes_from_the_right_over_trusted_hops() {
        let proxies = policy(&["10.0.0.0/8", "2001:db8:a::/48"], false);
        let check = |value: &str, expected| {
            check_client(PROXY, &[("X-Forwarded-For", value)], &proxies, expected);
        };
        check("203.0.113.9", "203.0.113.9");
        check("198.51.100.1, 203.0.113.9", "203.0.113.9");
        check("203.0.113.9, 10.1.1.1, 127.0.0.1", "203.0.113.9");
        check("203.0.113.9:4711, 10.1.1.1:80", "203.0.113.9");
        check("[2001:db8::1]:4711", "2001:db8::1");
        check("2001:db8::1, 2001:db8:a::9", "2001:db8::1");
        check("::ffff:203.0.113.9", "203.0.113.9");
        check("203.0.113.9, unknown", "203.0.113.9");
        check("127.0.0.1", "unattributable");
        check("::1, 127.0.0.1, 10.0.0.9", "unattributable");
        check("", "unattributable");
        check("unknown, _x", "unattributable");
    }

    #[test]
    fn a_spoofed_first_line_does_not_outrank_the_proxys_own() {
        let proxies = policy(&["10.0.0.0/8"], false);
        let lines = [
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-for", "203.0.113.9"),
        ];
        check_client(PROXY, &lines, &proxies, "203.0.113.9");
    }

    #[test]
    fn x_real_ip_counts_only_when_allowed_and_nobody_else_is_named() {
        let lines = [("x-real-ip", "203.0.113.9")];
        let allowed = policy(&["10.0.0.0/8"], true);
        check_client(PROXY, &lines, &allowed, "203.0.113.9");
        check_client(
            PROXY,
            &lines,
            &policy(&["10.0.0.0/8"], false),
            "unattributable",
        );
        check_client("192.0.2.1:1", &lines, &allowed, "unattributable");
        let both = [
            ("x-real-ip", "198.51.100.1"),
            ("x-forwarded-for", "203.0.113.9"),
        ];
        check_client(PROXY, &both, &allowed, "203.0.113.9");
        check_client(
            PROXY,
            &[("x-real-ip", "127.0.0.1")],
            &allowed,
            "unattributable",
        );
        let twice = [("x-real-ip", "198.51.100.1"), ("x-real-ip", "203.0.113.9")];
        check_client(PROXY, &twice, &allowed, "unattributable");
    }

    #[test]
    fn a_trusted_loopback_proxy_speaks_for_its_client_and_never_for_loopback() {
        let proxies = policy(&["127.0.0.1/32"], false);
        let lines = [
            ("x-forwarded-for", "203.0.113.9"),
            ("host", "127.0.0.1:18789"),
        ];
        check_client("127.0.0.1:1", &lines, &proxies, "203.0.113.9");
        assert_eq!(
            read("127.0.0.1:1", &lines, &proxies).locality,
            Locality::Remote
        );
        let spoofed = [("x-forwarded-for", "127.0.0.1"), ("host", "localhost")];
        check_client("127.0.0.1:1", &spoofed, &proxies, "unattributable");
        assert_eq!(
            read("127.0.0.1:1", &spoofed, &proxies).locality,
            Locality::Remote
        );
    }

    fn check_locality(peer: &str, lines: &[(&str, &str)], expected: Locality) {
        let head = read(peer, lines, &ProxyPolicy::default());
        assert_eq!(head.locality, expected, "{peer} {lines:?}");
    }

    #[test]
    fn direct_local_needs_loopback_peer_and_host_and_no_origin() {
        use Locality::{BrowserLocal, ContainerLocal, DirectLocal, Remote};
        let host = |value| [("host", value)];
        for value in [
            "localhost:18789",
            "127.0.0.1:18789",
            "127.3.2.1",
            "[::1]:18789",
            "LOCALHOST",
        ] {
            check_locality("127.0.0.1:1", &host(value), DirectLocal);
            check_locality("[::1]:1", &host(value), DirectLocal);
            check_locality("[::ffff:127.0.0.1]:1", &host(value), DirectLocal);
            check_locality("192.168.1.5:1", &host(value), Remote);
        }
        for value in [
            "evil.example:18789",
            "localhost.evil.example",
            "0.0.0.0:18789",
            "8.8.8.8",
            "localhost.",
            "",
        ] {
            check_locality("127.0.0.1:1", &host(value), Remote);
        }
        check_locality("127.0.0.1:1", &[], Remote);
        check_locality("127.0.0.1:1", &host("192.168.1.5:18789"), ContainerLocal);
        check_locality("192.168.1.6:1", &host("192.168.1.5:18789"), Remote);

        let page = |origin| [("host", "localhost:18789"), ("origin", origin)];
        check_locality("127.0.0.1:1", &page("http://localhost:5173"), BrowserLocal);
        check_locality("127.0.0.1:1", &page("https://[::1]"), BrowserLocal);
        check_locality("127.0.0.1:1", &page("https://evil.example"), Remote);
        check_locality("127.0.0.1:1", &page("null"), Remote);
        check_locality("127.0.0.1:1", &page(" "), DirectLocal);
        check_locality(
            "127.0.0.1:1",
            &[("host", "10.0.0.1"), ("origin", "http://10.0.0.1")],
            Remote,
        );
        check_locality(
            "127.0.0.1:1",
            &[("host", "localhost"), ("x-forwarded-host", "localhost")],
            Remote,
        );
    }

    fn check_refused(lines: &[(&str, &str)], expected: HeadError) {
        let found = Head::read(
            &headers(lines),
            "127.0.0.1:1".parse().unwrap(),
            &ProxyPolicy::default(),
        );
        assert_eq!(found, Err(expected), "{lines:?}");
        assert_eq!(expected.code(), ErrorCode::InvalidRequest);
    }

    #[test]
    fn a_repeated_header_of_authority_is_refused() {
        for (name, shown) in [
            ("Authorization", "authorization"),
            ("Host", "host"),
            ("Origin", "origin"),
        ] {
            check_refused(&[(name, "a"), (name, "a")], HeadError::Repeated(shown));
            check_refused(&[(name, ""), (name, "b")], HeadError::Repeated(shown));
        }
    }

    #[test]
    fn a_header_of_authority_that_is_not_utf8_is_refused() {
        for (name, shown) in [
            ("authorization", "authorization"),
            ("host", "host"),
            ("origin", "origin"),
        ] {
            let mut headers = HeaderMap::new();
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_bytes(b"\xff\xfe").unwrap());
            let found = Head::read(
                &headers,
                "127.0.0.1:1".parse().unwrap(),
                &ProxyPolicy::default(),
            );
            assert_eq!(found, Err(HeadError::NotText(shown)));
        }
    }

    #[test]
    fn scopes_are_joined_over_lines_and_garbage_grants_nothing() {
        let nobody = ProxyPolicy::default();
        let scopes = |lines: &[(&str, &str)]| read("127.0.0.1:1", lines, &nobody).scopes;
        assert_eq!(scopes(&[]), None);
        assert_eq!(
            scopes(&[("x-openclaw-scopes", "")]),
            Some(ScopeSet::empty())
        );
        let two = [
            ("x-openclaw-scopes", "operator.read, a"),
            ("x-openclaw-scopes", "b"),
        ];
        assert_eq!(
            scopes(&two),
            Some(["operator.read", "a", "b"].into_iter().collect())
        );

        let mut garbage = HeaderMap::new();
        garbage.append(
            "x-openclaw-scopes",
            HeaderValue::from_bytes(b"\xff").unwrap(),
        );
        let head = Head::read(&garbage, "127.0.0.1:1".parse().unwrap(), &nobody).unwrap();
        assert_eq!(head.scopes, Some(ScopeSet::empty()));
    }

    #[test]
    fn a_head_shows_no_secret() {
        let head = read(
            "127.0.0.1:1",
            &[("authorization", "Bearer hunter2")],
            &ProxyPolicy::default(),
        );
        assert!(!format!("{head:?}").contains("hunter2"));
    }

    fn any_text() -> impl Strategy<Value = String> {
        let pieces = prop_oneof![
            Just("127.0.0.1"),
            Just("localhost"),
            Just("[::1]"),
            Just("::1"),
            Just("203.0.113.9"),
            Just("evil.example"),
            Just("http://"),
            Just(":18789"),
            Just(","),
            Just(" "),
            Just("@"),
            Just("%"),
            Just("\u{fc}"),
        ];
        prop::collection::vec(pieces, 0..6).prop_map(|pieces| pieces.concat())
    }

    fn any_name() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "host",
            "origin",
            "authorization",
            "x-openclaw-scopes",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-real-ip",
            "forwarded",
            "x-other",
        ])
    }

    proptest! {
        #[test]
        fn nothing_a_peer_writes_makes_it_local(
            lines in prop::collection::vec((any_name(), any_text()), 0..6),
            loopback in any::<bool>(),
            trusted in any::<bool>(),
        ) {
            let peer = if loopback { "127.0.0.1:1" } else { "203.0.113.77:1" };
            let trusting = policy(&["127.0.0.0/8", "203.0.113.0/24"], true);
            let policy = if trusted { trusting } else { ProxyPolicy::default() };
            let lines: Vec<_> = lines.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let Ok(head) = Head::read(&headers(&lines), peer.parse().unwrap(), &policy) else {
                return Ok(());
            };
            let forwarded = lines.iter().any(|(name, _)| is_forwarding(&name.parse().unwrap()));
            prop_assert_eq!(head.forwarded, forwarded);
            if forwarded || !loopback {
                prop_assert_eq!(head.locality, Locality::Remote);
                prop_assert!(!head.is_local());
            }
            // Only a peer that is loopback and speaks for nobody is attributed to loopback.
            if head.client.is_loopback() {
                prop_assert!(loopback && (!forwarded || head.unattributable));
            }
            if forwarded && !trusted {
                prop_assert!(head.unattributable);
            }
        }
    }
}
