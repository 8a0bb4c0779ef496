//! Addresses and host names as peers write them, and what kind of place they name.
//!
//! Pure syntax and arithmetic; resolves no name and knows no policy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The host and port of a `Host` header, or of an origin after its scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Authority<'a> {
    /// The name or address as written, without brackets.
    pub(super) host: &'a str,
    /// The address, when the host is one.
    pub(super) ip: Option<IpAddr>,
    /// The port, when one is written.
    pub(super) port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`. `None` for everything else; user names,
    /// paths and escapes are none of them.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = split_port(text)?;
        let port = match port {
            Some(digits) => Some(parse_port(digits)?),
            None => None,
        };
        if let Some(bracketed) = host.strip_prefix('[') {
            let host = bracketed.strip_suffix(']')?;
            let ip = fold(IpAddr::V6(host.parse::<Ipv6Addr>().ok()?));
            return Some(Self {
                host,
                ip: Some(ip),
                port,
            });
        }
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        if host.is_empty() || !host.bytes().all(is_name) {
            return None;
        }
        let ip = host.parse::<Ipv4Addr>().ok().map(IpAddr::V4);
        Some(Self { host, ip, port })
    }

    /// Whether the host is this machine, by address or as `localhost`.
    pub(super) fn is_loopback(&self) -> bool {
        self.ip.map_or_else(
            || self.host.eq_ignore_ascii_case("localhost"),
            |ip| ip.is_loopback(),
        )
    }

    /// Whether the host is an address of a private network.
    pub(super) fn is_private_address(&self) -> bool {
        self.ip.is_some_and(is_private)
    }

    /// Whether the host is a name inside `domain`, which starts with a dot.
    pub(super) fn is_name_in(&self, domain: &str) -> bool {
        let Some(at) = self.host.len().checked_sub(domain.len()) else {
            return false;
        };
        let tail = self.host.get(at..);
        at > 0 && tail.is_some_and(|tail| tail.eq_ignore_ascii_case(domain))
    }

    /// Whether both name the same host and, where `default_port` stands for one that is not
    /// written, the same port.
    pub(super) fn same_as(&self, other: &Self, default_port: Option<u16>) -> bool {
        let same_host = match (self.ip, other.ip) {
            (Some(one), Some(two)) => one == two,
            (None, None) => self.host.eq_ignore_ascii_case(other.host),
            (Some(_), None) | (None, Some(_)) => false,
        };
        same_host && self.port.or(default_port) == other.port.or(default_port)
    }
}

/// Reads an entry of `X-Forwarded-For`: an address, with or without a port.
pub(super) fn parse_hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let ip = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    let bracketed = || {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    };
    ip.or_else(with_port).or_else(bracketed).map(fold)
}

/// An IPv4 address in the clothes of an IPv6 one is the IPv4 address.
pub(super) const fn fold(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// The address limits are counted for: one IPv6 customer commands a whole /64.
pub(super) fn limit_address(ip: IpAddr) -> IpAddr {
    match fold(ip) {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            // 100.64.0.0/10 is shared by carriers and overlay networks.
            let shared = matches!(v4.octets(), [100, second, ..] if second & 0xc0 == 64);
            v4.is_private() || v4.is_link_local() || shared
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Splits off what follows the last colon that is not inside brackets.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => Some((host, Some(port))),
        Some(_) | None => Some((text, None)),
    }
    .filter(|(host, _port)| host.starts_with('[') || !host.contains(':'))
}

fn parse_port(digits: &str) -> Option<u16> {
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_authority(text: &str, expected: Option<(&str, Option<u16>)>) {
        let parsed = Authority::parse(text).map(|a| (a.host, a.port));
        assert_eq!(parsed, expected, "{text:?}");
    }

    #[test]
    fn authorities_are_a_host_and_a_port() {
        check_authority("localhost", Some(("localhost", None)));
        check_authority("LocalHost:18789", Some(("LocalHost", Some(18789))));
        check_authority("127.0.0.1:80", Some(("127.0.0.1", Some(80))));
        check_authority("[::1]", Some(("::1", None)));
        check_authority("[::1]:18789", Some(("::1", Some(18789))));
        check_authority("a_b-c.example", Some(("a_b-c.example", None)));
    }

    #[test]
    fn what_is_more_than_that_is_no_authority() {
        let bad = [
            "",
            ":",
            ":80",
            "localhost:",
            "localhost:x",
            "localhost:+80",
            "localhost:70000",
            "::1",
            "::1:80",
            "[::1",
            "[::1]x",
            "[::1]:",
            "[localhost]",
            "[127.0.0.1]",
            "[::1%25lo]",
            "a@localhost",
            "a:b@localhost",
            "localhost/",
            "localhost?",
            "localhost#",
            "local host",
            "localhost\\x",
            "127.0.0.1,evil",
            "löcal",
            "%6cocalhost",
            "a:1:2",
        ];
        for text in bad {
            check_authority(text, None);
        }
    }

    fn check_loopback(text: &str, expected: bool) {
        let found = Authority::parse(text).is_some_and(|a| a.is_loopback());
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn loopback_is_an_address_or_one_name_and_nothing_that_looks_like_it() {
        for text in [
            "localhost",
            "LOCALHOST:1",
            "127.0.0.1",
            "127.9.9.9:1",
            "[::1]:5",
            "[::ffff:127.0.0.1]",
        ] {
            check_loopback(text, true);
        }
        let others = [
            "localhost.",
            "127.0.0.1.",
            "127.1",
            "2130706433",
            "0x7f000001",
            "017700000001",
            "0.0.0.0",
            "[::]",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "notlocalhost",
            "[::2]",
            "128.0.0.1",
        ];
        for text in others {
            check_loopback(text, false);
        }
    }

    fn check_private(text: &str, expected: bool) {
        let found = Authority::parse(text).is_some_and(|a| a.is_private_address());
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn private_networks() {
        for text in [
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "[fc00::1]",
            "[fdff::1]",
            "[fe80::1]",
            "[::ffff:10.0.0.1]",
        ] {
            check_private(text, true);
        }
        for text in [
            "127.0.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "8.8.8.8",
            "0.0.0.0",
            "[::1]",
            "[2001:db8::1]",
            "[::ffff:8.8.8.8]",
            "10.example",
            "10.0.0",
        ] {
            check_private(text, false);
        }
    }

    #[test]
    fn names_are_inside_a_domain_only_behind_a_dot() {
        let is_local = |text| Authority::parse(text).is_some_and(|a| a.is_name_in(".local"));
        assert!(is_local("box.local"));
        assert!(is_local("a.B.LOCAL:80"));
        assert!(!is_local("local"));
        assert!(!is_local(".local"));
        assert!(!is_local("boxlocal"));
        assert!(!is_local("box.local.evil"));
    }

    fn check_hop(text: &str, expected: Option<&str>) {
        let expected = expected.map(|ip| ip.parse::<IpAddr>().unwrap());
        assert_eq!(parse_hop(text), expected, "{text:?}");
    }

    #[test]
    fn hops_may_carry_ports_and_brackets() {
        check_hop(" 203.0.113.9 ", Some("203.0.113.9"));
        check_hop("203.0.113.9:4711", Some("203.0.113.9"));
        check_hop("2001:db8::1", Some("2001:db8::1"));
        check_hop("[2001:db8::1]", Some("2001:db8::1"));
        check_hop("[2001:db8::1]:4711", Some("2001:db8::1"));
        check_hop("::ffff:203.0.113.9", Some("203.0.113.9"));
        for text in [
            "",
            "unknown",
            "_hidden",
            "203.0.113",
            "203.0.113.9:x",
            "203.0.113.9:",
            "[::1",
            "\"203.0.113.9\"",
        ] {
            check_hop(text, None);
        }
    }

    fn check_limit(ip: &str, expected: &str) {
        let found = limit_address(ip.parse().unwrap());
        assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{ip}");
    }

    #[test]
    fn limits_fold_mapped_addresses_and_count_ipv6_by_its_network() {
        check_limit("1.2.3.4", "1.2.3.4");
        check_limit("::ffff:1.2.3.4", "1.2.3.4");
        check_limit("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
        check_limit("2001:db8:1:2:ffff::1", "2001:db8:1:2::");
        check_limit("2001:db8:1:3::1", "2001:db8:1:3::");
    }
}
