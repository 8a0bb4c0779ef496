//! Decides from a request head which front a request belongs to.
//!
//! A pure function over what hyper has parsed: nothing is parsed twice, so guard and router cannot
//! disagree. Knows no socket, no path of the HTTP front and no credential.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{
    AUTHORIZATION, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::http::uri::Authority;
use hyper::{Method, Uri, Version};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The parts of a request that decide its route.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The request target.
    pub uri: &'a Uri,
    /// The protocol version.
    pub version: Version,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// Whether a body follows.
    pub has_body: bool,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// To the HTTP front.
    Http,
    /// It becomes a native connection, answered with this.
    Native(Handshake),
    /// Nowhere: it is answered with a refusal and the connection closes.
    Refused(Refusal),
}

/// What the answer to a WebSocket handshake says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// The value of `Sec-WebSocket-Accept`.
    pub accept: String,
    /// The first subprotocol asked for; it is echoed, because some clients insist.
    pub subprotocol: Option<HeaderValue>,
}

/// Why a request goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is not exactly one valid `Host`.
    #[error("a request needs exactly one valid Host header")]
    Host,
    /// A header that decides authority stands twice.
    #[error("an Authorization or Origin header is repeated")]
    Repeated,
    /// The target names another authority than `Host`, or is not a path at all.
    #[error("this request target is not served here")]
    Target,
    /// The WebSocket handshake is broken.
    #[error("malformed WebSocket handshake")]
    Handshake,
    /// The WebSocket version is not 13.
    #[error("only WebSocket version 13 is spoken here")]
    WebSocketVersion,
}

/// Decides where a request goes (`protocol-facts` §1.1, RFC 6455 §4.2, RFC 9112 §3.2).
pub fn sniff(head: &RequestHead<'_>) -> Route {
    match route(head) {
        Ok(route) => route,
        Err(refusal) => Route::Refused(refusal),
    }
}

fn route(head: &RequestHead<'_>) -> Result<Route, Refusal> {
    check_authority(head)?;
    if wants_websocket(head.headers) {
        read_handshake(head).map(Route::Native)
    } else {
        // Every other `Upgrade`, `h2c` above all, is ignored as RFC 9110 §7.8 allows.
        Ok(Route::Http)
    }
}

fn check_authority(head: &RequestHead<'_>) -> Result<(), Refusal> {
    let host = single_host(head)?;
    let is_repeated = |name| head.headers.get_all(name).iter().nth(1).is_some();
    if is_repeated(AUTHORIZATION) || is_repeated(ORIGIN) {
        return Err(Refusal::Repeated);
    }
    if head.method == Method::CONNECT {
        return Err(Refusal::Target);
    }
    match head.uri.authority() {
        Some(target) if host.as_ref() != Some(target) => Err(Refusal::Target),
        Some(_) | None => Ok(()),
    }
}

fn single_host(head: &RequestHead<'_>) -> Result<Option<Authority>, Refusal> {
    let mut hosts = head.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => parse_host(host).map(Some).ok_or(Refusal::Host),
        (None, None) if head.version == Version::HTTP_10 => Ok(None),
        (None | Some(_), _) => Err(Refusal::Host),
    }
}

fn parse_host(value: &HeaderValue) -> Option<Authority> {
    let bytes = value.as_bytes();
    let is_plain = !bytes.is_empty() && !bytes.contains(&b'@');
    is_plain.then(|| Authority::try_from(bytes).ok()).flatten()
}

fn wants_websocket(headers: &HeaderMap) -> bool {
    has_token(headers, &UPGRADE, "websocket") && has_token(headers, &CONNECTION, "upgrade")
}

/// Whether a comma list, which may be spread over several headers, holds `token` in any case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

fn read_handshake(head: &RequestHead<'_>) -> Result<Handshake, Refusal> {
    if head.method != Method::GET || head.version != Version::HTTP_11 || head.has_body {
        return Err(Refusal::Handshake);
    }
    match single(head.headers, &SEC_WEBSOCKET_VERSION) {
        Some(version) if version.as_bytes() == b"13" => {}
        Some(_) => return Err(Refusal::WebSocketVersion),
        None => return Err(Refusal::Handshake),
    }
    let key = single(head.headers, &SEC_WEBSOCKET_KEY).ok_or(Refusal::Handshake)?;
    match STANDARD.decode(key.as_bytes()) {
        Ok(nonce) if nonce.len() == 16 => {}
        Ok(_) | Err(_) => return Err(Refusal::Handshake),
    }
    Ok(Handshake {
        accept: derive_accept_key(key.as_bytes()),
        subprotocol: first_subprotocol(head.headers),
    })
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    first.filter(|_| values.next().is_none())
}

fn first_subprotocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let list = headers.get(SEC_WEBSOCKET_PROTOCOL)?.as_bytes();
    let first = list.split(|byte| *byte == b',').next()?.trim_ascii();
    let is_token = !first.is_empty() && first.iter().copied().all(is_token_byte);
    is_token
        .then(|| HeaderValue::from_bytes(first).ok())
        .flatten()
}

/// `tchar` of RFC 9110 §5.6.2.
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.')
        || matches!(byte, b'^'..=b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    /// Sniffs a request written as `METHOD TARGET VERSION` and header lines.
    fn check(request: &str, has_body: bool, expected: Result<&str, Refusal>) {
        let mut lines = request.lines().map(str::trim);
        let mut first = lines.next().unwrap().split(' ');
        let method = Method::from_bytes(first.next().unwrap().as_bytes()).unwrap();
        let uri: Uri = first.next().unwrap().parse().unwrap();
        let version = match first.next() {
            Some("1.0") => Version::HTTP_10,
            Some(_) | None => Version::HTTP_11,
        };
        let mut headers = HeaderMap::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap();
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
        }
        let head = RequestHead {
            method: &method,
            uri: &uri,
            version,
            headers: &headers,
            has_body,
        };
        let seen = match sniff(&head) {
            Route::Http => Ok("http".to_owned()),
            Route::Native(handshake) => {
                assert_eq!(handshake.accept, derive_accept_key(KEY.as_bytes()));
                let echoed = handshake.subprotocol;
                Ok(echoed.map_or("ws".to_owned(), |value| {
                    format!("ws {}", value.to_str().unwrap())
                }))
            }
            Route::Refused(refusal) => Err(refusal),
        };
        assert_eq!(seen, expected.map(str::to_owned), "{request}");
    }

    fn upgrade(extra: &str) -> String {
        format!(
            "GET / 1.1\nHost: localhost\nUpgrade: websocket\nConnection: Upgrade\n{extra}\n\
             Sec-WebSocket-Key: {KEY}\nSec-WebSocket-Version: 13"
        )
    }

    #[test]
    fn upgrades_are_found_in_lists_in_any_case_and_on_any_path() {
        check(&upgrade(""), false, Ok("ws"));
        let lists = format!(
            "GET /v1/chat/completions?x=1 1.1\nhost: [::1]:18789\nUPGRADE: h2c, WebSocket\n\
             Connection: keep-alive,\nConnection: foo, UPGRADE\n\
             sec-websocket-key: {KEY}\nsec-websocket-version: 13"
        );
        check(&lists, false, Ok("ws"));
    }

    #[test]
    fn other_upgrades_are_ordinary_requests() {
        check("GET / 1.1\nHost: localhost", false, Ok("http"));
        let h2c = "POST / 1.1\nHost: a\nUpgrade: h2c\nConnection: Upgrade, HTTP2-Settings";
        check(h2c, true, Ok("http"));
        let no_connection = "GET / 1.1\nHost: a\nUpgrade: websocket\nConnection: keep-alive";
        check(no_connection, false, Ok("http"));
        check(
            "GET / 1.1\nHost: a\nUpgrade: websockets\nConnection: upgrade",
            false,
            Ok("http"),
        );
    }

    #[test]
    fn broken_handshakes_are_refused() {
        let good = upgrade("");
        check(&good, true, Err(Refusal::Handshake));
        for (from, to) in [
            ("GET", "POST"),
            ("1.1", "1.0"),
            (KEY, "c2hvcnQ="),
            (KEY, "not base64"),
            ("Sec-WebSocket-Key", "X-Other"),
            ("Sec-WebSocket-Version", "X-Other"),
        ] {
            check(&good.replace(from, to), false, Err(Refusal::Handshake));
        }
        let twice = format!("{good}\nSec-WebSocket-Key: {KEY}");
        check(&twice, false, Err(Refusal::Handshake));
        for version in ["12", "8", "013", "13, 8", ""] {
            let other = good.replace("Version: 13", &format!("Version: {version}"));
            check(&other, false, Err(Refusal::WebSocketVersion));
        }
    }

    #[test]
    fn the_first_subprotocol_is_echoed_when_it_is_a_token() {
        for (asked, echoed) in [
            ("chat", "ws chat"),
            ("a.b, c", "ws a.b"),
            ("bad value, c", "ws"),
            ("", "ws"),
        ] {
            let request = upgrade(&format!("Sec-WebSocket-Protocol: {asked}"));
            check(&request, false, Ok(echoed));
        }
    }

    #[test]
    fn a_request_needs_exactly_one_valid_host() {
        for request in [
            "GET / 1.1",
            "GET / 1.1\nHost:",
            "GET / 1.1\nHost: a\nHost: a",
            "GET / 1.1\nHost: a b",
            "GET / 1.1\nHost: user@a",
            "GET / 1.1\nHost: a/b",
            "GET / 1.0\nHost: a\nHost: b",
        ] {
            check(request, false, Err(Refusal::Host));
        }
        check("GET / 1.0", false, Ok("http"));
    }

    #[test]
    fn ambiguous_authority_is_refused() {
        let twice = "GET / 1.1\nHost: a\nAuthorization: Bearer x\nAuthorization: Bearer y";
        check(twice, false, Err(Refusal::Repeated));
        let twice = upgrade("Origin: http://a\nOrigin: http://b");
        check(&twice, false, Err(Refusal::Repeated));
        check("GET http://b/ 1.1\nHost: a", false, Err(Refusal::Target));
        check("GET http://A/ 1.1\nHost: a", false, Ok("http"));
        check("CONNECT a:1 1.1\nHost: a:1", false, Err(Refusal::Target));
        check("OPTIONS * 1.1\nHost: a", false, Ok("http"));
    }
}
