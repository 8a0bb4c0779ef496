//! The URL of an image: what is connected to, and whether it may be asked at all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::Uri;
use hyper::http::uri::Scheme;

use super::FetchError;

/// Longest URL, in bytes.
const URL_BYTES_MAX: usize = 8 * 1024;

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    uri: Uri,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) is_tls: bool,
}

impl Target {
    /// Reads a URL: `http` or `https`, no credentials, a name or an address in its usual form.
    pub(super) fn parse(url: &str) -> Result<Self, FetchError> {
        let uri: Uri = Some(url)
            .filter(|url| url.len() <= URL_BYTES_MAX)
            .and_then(|url| url.parse().ok())
            .ok_or(FetchError::Url)?;
        let is_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(_) | None => return Err(FetchError::Url),
        };
        let authority = uri.authority().ok_or(FetchError::Url)?;
        if authority.as_str().contains('@') {
            return Err(FetchError::Url);
        }
        let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if bare.is_empty() || is_odd_number(bare) {
            return Err(FetchError::Url);
        }
        let port = authority
            .port_u16()
            .unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Self {
            host: bare.to_owned(),
            port,
            is_tls,
            uri,
        })
    }

    /// Where a redirect leads.
    pub(super) fn follow(&self, location: &str) -> Result<Self, FetchError> {
        if location.starts_with('/') && !location.starts_with("//") {
            let scheme = if self.is_tls { "https" } else { "http" };
            return Self::parse(&format!("{scheme}://{}{location}", self.authority()));
        }
        Self::parse(location)
    }

    /// The address the host is, when it is one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// The value of `Host`.
    pub(super) fn authority(&self) -> &str {
        self.uri.authority().map_or("", |it| it.as_str())
    }

    /// What stands in the first line of the request.
    pub(super) fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |it| it.as_str())
    }

    /// Whether the host is on the list: by name, or as `*.example.com` below a name. An empty list
    /// has every host.
    pub(super) fn is_listed(&self, list: &[String]) -> bool {
        let matches = |entry: &String| match entry.strip_prefix("*.") {
            Some(domain) => self
                .host
                .strip_suffix(domain)
                .is_some_and(|rest| rest.ends_with('.')),
            None => *entry == self.host,
        };
        list.is_empty() || list.iter().any(matches)
    }
}

/// Whether a host is a number that only old resolvers read as an address (`0x7f.1`, `2130706433`,
/// `0177.0.0.1`): no name of the internet ends in one.
fn is_odd_number(host: &str) -> bool {
    if host.parse::<Ipv4Addr>().is_ok() || host.parse::<Ipv6Addr>().is_ok() {
        return false;
    }
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_hex = last.starts_with("0x");
    is_hex || last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: Option<&str>) {
        let target = Target::parse(url).ok();
        let seen = target.map(|it| format!("{} {} {} {}", it.host, it.port, it.is_tls, it.path()));
        assert_eq!(seen.as_deref(), expected, "{url}");
    }

    #[test]
    fn a_target_is_a_plain_web_address() {
        check(
            "https://Example.com/a.png?b=1",
            Some("example.com 443 true /a.png?b=1"),
        );
        check("http://example.com.:8080", Some("example.com 8080 false /"));
        check("http://8.8.8.8/x", Some("8.8.8.8 80 false /x"));
        check(
            "http://[2606:4700::1111]:81/x",
            Some("2606:4700::1111 81 false /x"),
        );
        check("ftp://example.com/x", None);
        check("file:///etc/passwd", None);
        check("/x.png", None);
        check("https://user:secret@example.com/x", None);
        check("https:///x", None);
        check("", None);
        check(&format!("https://example.com/{}", "x".repeat(9000)), None);
    }

    #[test]
    fn numbers_in_disguise_are_no_hosts() {
        for host in [
            "2130706433",
            "0177.0.0.1",
            "0x7f.0.0.1",
            "0x7f000001",
            "127.1",
            "1.2.3.4.5",
        ] {
            check(&format!("http://{host}/x"), None);
        }
    }

    #[test]
    fn redirects_keep_to_the_same_rules() {
        let from = Target::parse("https://a.com:444/x").unwrap();
        let follow = |to: &str| from.follow(to).ok().map(|it| (it.host, it.port));
        assert_eq!(follow("/y"), Some(("a.com".to_owned(), 444)));
        assert_eq!(follow("http://b.com/y"), Some(("b.com".to_owned(), 80)));
        assert_eq!(follow("//b.com/y"), None);
        assert_eq!(follow("gopher://b.com"), None);
        assert_eq!(follow("http://0x7f.1/"), None);
    }

    #[test]
    fn a_list_names_hosts_and_what_is_below_them() {
        let list = ["a.com".to_owned(), "*.b.com".to_owned()];
        let listed = |host: &str| {
            Target::parse(&format!("http://{host}/"))
                .unwrap()
                .is_listed(&list)
        };
        assert!(listed("a.com") && listed("x.b.com") && listed("x.y.b.com"));
        assert!(!listed("b.com") && !listed("x.a.com") && !listed("xb.com") && !listed("c.com"));
        assert!(Target::parse("http://c.com/").unwrap().is_listed(&[]));
    }
}
