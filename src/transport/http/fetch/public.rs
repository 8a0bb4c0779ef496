//! Which addresses are of the public internet, so that a request may make the gateway connect
//! there.
//!
//! Everything that is not plainly public is not: a list of what is private would be out of date.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address belongs to a host of the public internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => is_public_v4(mapped),
            None => is_public_v6(address),
        },
    }
}

/// Networks that are not of the public internet: this network, private, shared, loopback,
/// link-local, protocol assignments, documentation, relays, benchmarks, multicast and reserved
/// (RFC 6890 and its registry).
const SPECIAL_V4: [([u8; 4], u32); 15] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    let address = u32::from(address);
    let is_in = |(base, bits): &([u8; 4], u32)| {
        let differs = address ^ u32::from_be_bytes(*base);
        differs.leading_zeros() >= *bits
    };
    !SPECIAL_V4.iter().any(is_in)
}

/// The only block that is handed out to hosts (RFC 4291 §2.4).
const HOSTS_V6: (u128, u32) = (0x2000 << 112, 3);

/// What of it is not: tunnels, inside of which an address could be anything, and documentation.
const SPECIAL_V6: [(u128, u32); 4] = [
    (0x2001 << 112, 23),
    (0x2001_0db8 << 96, 32),
    (0x2002 << 112, 16),
    (0x3fff << 112, 20),
];

fn is_public_v6(address: Ipv6Addr) -> bool {
    let address = u128::from(address);
    let is_in = |(base, bits): &(u128, u32)| (address ^ base).leading_zeros() >= *bits;
    is_in(&HOSTS_V6) && !SPECIAL_V6.iter().any(is_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(addresses: &str, expected: bool) {
        for text in addresses.split_whitespace() {
            assert_eq!(is_public(text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn only_hosts_of_the_internet_are_public() {
        check(
            "8.8.8.8 1.1.1.1 172.15.0.1 172.32.0.1 192.167.1.1 223.255.255.1",
            true,
        );
        check(
            "2606:4700::1111 2a00:1450:4001:81b::200e ::ffff:8.8.8.8",
            true,
        );
    }

    #[test]
    fn nothing_inside_is_public_whatever_its_form() {
        check(
            "127.0.0.1 127.255.255.254 0.0.0.0 10.0.0.1 172.16.0.1 172.31.255.255",
            false,
        );
        check(
            "192.168.0.1 169.254.169.254 100.64.0.1 100.127.255.255 192.0.0.1",
            false,
        );
        check(
            "198.18.0.1 192.0.2.1 198.51.100.1 203.0.113.1 224.0.0.1 255.255.255.255",
            false,
        );
        check("240.0.0.1 192.88.99.1", false);
        check(
            ":: ::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254",
            false,
        );
        check(
            "::127.0.0.1 fe80::1 fec0::1 fc00::1 fd00:ec2::254 ff02::1",
            false,
        );
        check(
            "64:ff9b::7f00:1 64:ff9b:1::1 2002:7f00:1:: 2001::1 2001:db8::1 3fff::1 100::1",
            false,
        );
    }
}
