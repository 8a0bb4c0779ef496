//! Which browser origins may open a connection (`protocol-facts` §3.9).
//!
//! A page anywhere can make a browser connect to an address only the browser can reach; what tells
//! such a connection apart is its `Origin`. Pure rules over a request head.

use super::address::Authority;
use super::head::Head;

/// Which browser origins may open a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginPolicy {
    /// `gateway.controlUi.allowedOrigins`; `*` allows every origin.
    pub allowed: Vec<String>,
    /// `gateway.controlUi.dangerouslyAllowHostHeaderOriginFallback`.
    pub host_header_fallback: bool,
}

/// Why an origin was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginRefusal {
    /// It cannot be read as an origin, or is `null`.
    #[error("origin missing or invalid")]
    Invalid,
    /// It is not on the list.
    #[error("origin not allowed")]
    NotAllowed,
}

/// A serialized origin: `scheme://host[:port]`.
#[derive(Clone, Copy, Debug)]
struct Origin<'a> {
    scheme: &'a str,
    authority: Authority<'a>,
}

impl OriginPolicy {
    /// Whether the request's origin may open a connection. A request without one is refused too:
    /// ask only where an origin is there or has to be.
    ///
    /// # Errors
    /// [`OriginRefusal`] says which rule it failed.
    pub fn check(&self, head: &Head) -> Result<(), OriginRefusal> {
        let origin = head.origin.as_deref().and_then(Origin::parse);
        let origin = origin.ok_or(OriginRefusal::Invalid)?;
        let allowed = self.lists(&origin)
            || self.is_own_host(&origin, head)
            || (head.is_local() && origin.authority.is_loopback());
        if allowed {
            Ok(())
        } else {
            Err(OriginRefusal::NotAllowed)
        }
    }

    /// Whether a request without an `Origin` was meant for this machine. A page whose name was
    /// re-pointed to loopback sends its own name as `Host`, and a plain GET carries no origin.
    ///
    /// # Errors
    /// [`OriginRefusal::NotAllowed`] for a loopback peer that asks for a foreign name.
    pub fn check_host(&self, head: &Head) -> Result<(), OriginRefusal> {
        if head.forwarded || !head.client.is_loopback() {
            return Ok(());
        }
        let host = head.host.as_deref().and_then(Authority::parse);
        let known = host
            .is_some_and(|host| host.ip.is_some() || host.is_loopback() || self.lists_host(&host));
        if known {
            Ok(())
        } else {
            Err(OriginRefusal::NotAllowed)
        }
    }

    fn lists(&self, origin: &Origin<'_>) -> bool {
        self.allowed.iter().any(|entry| {
            entry.trim() == "*" || Origin::parse_entry(entry).is_some_and(|it| it.same_as(origin))
        })
    }

    fn lists_host(&self, host: &Authority<'_>) -> bool {
        self.allowed.iter().any(|entry| {
            let listed = Origin::parse_entry(entry);
            entry.trim() == "*" || listed.is_some_and(|it| it.is_served_by(host))
        })
    }

    /// Whether the page was loaded from the very host it connects to, and that host is one whose
    /// name nobody else can point at us. `X-Forwarded-Host` is not looked at: anybody can send it.
    fn is_own_host(&self, origin: &Origin<'_>, head: &Head) -> bool {
        let Some(host) = head.host.as_deref().and_then(Authority::parse) else {
            return false;
        };
        if !origin.is_served_by(&host) {
            return false;
        }
        // A name of the local network that leads to loopback was re-pointed, unless a proxy on this
        // machine passed the request on.
        let repointed = head.peer.ip().to_canonical().is_loopback() && !head.forwarded;
        let network_name = host.is_name_in(".local") || host.is_name_in(".ts.net");
        self.host_header_fallback || host.is_private_address() || (network_name && !repointed)
    }
}

impl<'a> Origin<'a> {
    /// Reads an origin; `None` for `null`, paths, user names and everything that is no origin.
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once("://")?;
        let mut bytes = scheme.bytes();
        let is_scheme = bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
            && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        is_scheme.then_some(())?;
        let authority = Authority::parse(rest)?;
        Some(Self { scheme, authority })
    }

    /// Reads an entry of the configuration, where one closing slash is a habit of its writers.
    fn parse_entry(text: &'a str) -> Option<Self> {
        let text = text.trim();
        Self::parse(text.strip_suffix('/').unwrap_or(text))
    }

    fn same_as(&self, other: &Self) -> bool {
        self.scheme.eq_ignore_ascii_case(other.scheme) && self.is_served_by(&other.authority)
    }

    /// Whether a request to this origin would carry that `Host`.
    fn is_served_by(&self, host: &Authority<'_>) -> bool {
        self.authority.same_as(host, self.default_port())
    }

    fn default_port(&self) -> Option<u16> {
        let default = |scheme: &str, port| self.scheme.eq_ignore_ascii_case(scheme).then_some(port);
        default("http", 80).or_else(|| default("https", 443))
    }
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;
    use hyper::header::HeaderValue;

    use super::super::head::ProxyPolicy;
    use super::*;

    const LOOPBACK: &str = "127.0.0.1:4000";
    const LAN: &str = "192.168.1.20:4000";

    fn head(peer: &str, host: &str, origin: &str, forwarded: bool) -> Head {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_str(host).unwrap());
        headers.insert("origin", HeaderValue::from_str(origin).unwrap());
        if forwarded {
            headers.insert("x-forwarded-for", HeaderValue::from_static("203.0.113.9"));
            headers.insert("x-forwarded-host", HeaderValue::from_str(host).unwrap());
        }
        let policy = ProxyPolicy {
            trusted: vec!["127.0.0.1/32".parse().unwrap()],
            allow_real_ip: false,
        };
        Head::read(&headers, peer.parse().unwrap(), &policy).unwrap()
    }

    fn allow(origins: &[&str]) -> OriginPolicy {
        OriginPolicy {
            allowed: origins.iter().map(|origin| (*origin).to_owned()).collect(),
            host_header_fallback: false,
        }
    }

    fn check(policy: &OriginPolicy, head: &Head, expected: Result<(), OriginRefusal>) {
        assert_eq!(policy.check(head), expected, "{head:?} {policy:?}");
    }

    const REFUSED: Result<(), OriginRefusal> = Err(OriginRefusal::NotAllowed);
    const INVALID: Result<(), OriginRefusal> = Err(OriginRefusal::Invalid);

    #[test]
    fn what_is_no_origin_is_refused_whatever_the_list_says() {
        let policy = allow(&["*", "null"]);
        for origin in [
            "",
            "null",
            "localhost",
            "//localhost",
            "http:localhost",
            "http://",
            "://localhost",
            "http://localhost/",
            "http://localhost/path",
            "http://user@localhost",
            "http://localhost@evil.example",
            "http://localhost:port",
            "http://localhost?",
            "http://localhost#",
            "file://",
            "http://[::1",
            "http://local host",
            "1http://localhost",
            "http://localhost, http://evil.example",
            "data:text/html,x",
        ] {
            check(
                &policy,
                &head(LOOPBACK, "localhost:18789", origin, false),
                INVALID,
            );
        }
        let policy = allow(&["*"]);
        check(
            &policy,
            &head(LAN, "x.example", "https://any.example", false),
            Ok(()),
        );
    }

    #[test]
    fn a_local_client_may_come_from_any_loopback_page() {
        let policy = OriginPolicy::default();
        for origin in [
            "http://localhost:18789",
            "http://127.0.0.1:5173",
            "https://[::1]:1",
            "HTTP://LOCALHOST",
            "http://127.8.8.8",
        ] {
            for host in ["localhost:18789", "127.0.0.1:18789", "[::1]:18789"] {
                check(&policy, &head(LOOPBACK, host, origin, false), Ok(()));
                check(&policy, &head(LOOPBACK, host, origin, true), REFUSED);
                check(&policy, &head(LAN, host, origin, false), REFUSED);
            }
        }
    }

    #[test]
    fn foreign_pages_are_refused_on_loopback() {
        let policy = OriginPolicy::default();
        for origin in [
            "http://evil.example",
            "https://evil.example:18789",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "http://evil-localhost",
            "http://localhost.",
            "http://0.0.0.0:18789",
            "http://2130706433",
            "http://0x7f000001",
            "http://127.1",
            "http://192.168.1.5",
            "chrome-extension://abcdefghijklmnop",
        ] {
            check(
                &policy,
                &head(LOOPBACK, "localhost:18789", origin, false),
                REFUSED,
            );
        }
    }

    #[test]
    fn listed_origins_pass_in_any_case_and_with_default_ports() {
        let policy = allow(&[
            " HTTPS://Control.Example/ ",
            "http://plain.example:8080",
            "chrome-extension://abcdefghijklmnop",
        ]);
        for (origin, expected) in [
            ("https://control.example", Ok(())),
            ("https://CONTROL.example:443", Ok(())),
            ("http://plain.example:8080", Ok(())),
            ("chrome-extension://abcdefghijklmnop", Ok(())),
            ("http://control.example", REFUSED),
            ("https://control.example:444", REFUSED),
            ("http://plain.example", REFUSED),
            ("https://x.control.example", REFUSED),
            ("https://control.example.evil", REFUSED),
            ("chrome-extension://ponmlkjihgfedcba", REFUSED),
        ] {
            check(&policy, &head(LAN, "gw.example", origin, false), expected);
        }
    }

    #[test]
    fn the_host_header_fallback_must_be_asked_for() {
        let on = OriginPolicy {
            host_header_fallback: true,
            ..OriginPolicy::default()
        };
        let off = OriginPolicy::default();
        let same = head(LAN, "gw.example", "https://GW.example", false);
        check(&on, &same, Ok(()));
        check(&off, &same, REFUSED);
        check(
            &on,
            &head(LAN, "gw.example:443", "https://gw.example", false),
            Ok(()),
        );
        check(
            &on,
            &head(LAN, "gw.example:8443", "https://gw.example", false),
            REFUSED,
        );
        check(
            &on,
            &head(LAN, "gw.example", "https://evil.example", false),
            REFUSED,
        );
        check(&on, &head(LAN, "", "https://gw.example", false), REFUSED);
    }

    #[test]
    fn a_page_of_a_private_host_may_reach_that_host() {
        let policy = OriginPolicy::default();
        let same = |host: &str| format!("http://{host}");
        for host in [
            "192.168.1.5:18789",
            "10.0.0.1:18789",
            "100.100.1.1:18789",
            "[fd00::5]:18789",
            "box.local:18789",
            "box.tail1234.ts.net",
        ] {
            check(&policy, &head(LAN, host, &same(host), false), Ok(()));
            check(&policy, &head(LOOPBACK, host, &same(host), true), Ok(()));
            check(
                &policy,
                &head(LAN, host, "http://other.local", false),
                REFUSED,
            );
        }
        for host in [
            "8.8.8.8:18789",
            "box.example",
            "local",
            "box.internal",
            "[2001:db8::1]",
        ] {
            check(&policy, &head(LAN, host, &same(host), false), REFUSED);
        }
        check(
            &policy,
            &head(LAN, "192.168.1.5:18789", "http://192.168.1.5", false),
            REFUSED,
        );
        check(
            &policy,
            &head(LAN, "192.168.1.5", "http://192.168.1.6", false),
            REFUSED,
        );
    }

    #[test]
    fn a_name_that_was_repointed_to_loopback_is_refused() {
        let policy = OriginPolicy::default();
        for host in [
            "evil.example:18789",
            "box.local:18789",
            "box.tail1234.ts.net",
        ] {
            let page = head(LOOPBACK, host, &format!("http://{host}"), false);
            check(&policy, &page, REFUSED);
        }
    }

    #[test]
    fn a_forwarded_host_is_never_believed() {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("gw.example"));
        headers.insert("origin", HeaderValue::from_static("https://evil.example"));
        headers.insert("x-forwarded-host", HeaderValue::from_static("evil.example"));
        headers.insert("x-forwarded-for", HeaderValue::from_static("203.0.113.9"));
        let proxies = ProxyPolicy {
            trusted: vec!["192.168.1.0/24".parse().unwrap()],
            allow_real_ip: false,
        };
        let head = Head::read(&headers, LAN.parse().unwrap(), &proxies).unwrap();
        let policy = OriginPolicy {
            host_header_fallback: true,
            ..OriginPolicy::default()
        };
        check(&policy, &head, REFUSED);
    }

    fn check_host(peer: &str, host: &str, policy: &OriginPolicy, expected: bool) {
        let mut head = head(peer, host, "http://localhost", false);
        head.origin = None;
        assert_eq!(policy.check_host(&head).is_ok(), expected, "{peer} {host}");
    }

    #[test]
    fn without_an_origin_a_loopback_peer_must_ask_for_this_machine() {
        let nothing = OriginPolicy::default();
        for host in [
            "localhost:18789",
            "127.0.0.1",
            "[::1]:18789",
            "192.168.1.5:18789",
        ] {
            check_host(LOOPBACK, host, &nothing, true);
        }
        for host in [
            "evil.example:18789",
            "localhost.evil.example",
            "box.local",
            "",
        ] {
            check_host(LOOPBACK, host, &nothing, false);
            check_host(LAN, host, &nothing, true);
        }
        check_host(
            LOOPBACK,
            "box.example",
            &allow(&["http://box.example"]),
            true,
        );
        check_host(
            LOOPBACK,
            "box.example:81",
            &allow(&["http://box.example"]),
            false,
        );
        check_host(LOOPBACK, "box.example", &allow(&["*"]), true);
    }
}
