//! The `gateway` section: where to listen, who may connect, bounds of sockets.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use ipnet::IpNet;

use super::super::env::PORT;
use super::super::problem::Fault;
use super::super::raw::{RawAuthMode, RawGateway, RawHsts, RawRateLimit};
use super::super::token::{self, TokenFile};
use super::super::value::KeyPath;
use super::super::{ListenConfig, SecretSource};
use super::secret::{self, Shared};
use super::{Checks, Inputs, control_ui};
use crate::auth::{
    AuthConfig, AuthMode, LimiterConfig, OriginPolicy, PairingPolicy, ProxyPolicy, Secret,
};
use crate::transport::TransportConfig;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const EVERYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Where to listen: flag, then environment, then file.
pub(super) fn listen(
    raw: &mut RawGateway,
    inputs: Inputs<'_>,
    checks: &mut Checks<'_>,
) -> Option<ListenConfig> {
    let port = port(raw, inputs, checks);
    if let Some(bind) = &inputs.overrides.bind {
        raw.bind.clone_from(bind);
    }
    let address = address(raw, inputs, checks);
    Some(ListenConfig {
        address: address?,
        port: port?,
    })
}

fn port(raw: &mut RawGateway, inputs: Inputs<'_>, checks: &mut Checks<'_>) -> Option<u16> {
    let port = match (inputs.overrides.port, inputs.env.get(PORT)) {
        (Some(port), _) => port,
        (None, Some(text)) => {
            let Ok(port) = text.trim().parse() else {
                let fault = Fault::BadValue {
                    expected: "a port from 0 to 65535",
                    found: text.to_owned(),
                };
                checks.named(PORT, fault);
                return None;
            };
            port
        }
        (None, None) => raw.port,
    };
    raw.port = port;
    Some(port)
}

fn address(raw: &RawGateway, inputs: Inputs<'_>, checks: &mut Checks<'_>) -> Option<IpAddr> {
    let mut report = |fault| report_bind(inputs, checks, fault);
    match raw.bind.trim() {
        "loopback" | "auto" | "localhost" => Some(LOOPBACK),
        "lan" => Some(EVERYWHERE),
        "tailnet" => {
            report(Fault::TailnetBind);
            Some(LOOPBACK)
        }
        "custom" => {
            let Some(host) = &raw.custom_bind_host else {
                report(Fault::NoBindHost);
                return None;
            };
            let parsed = host.trim().parse().map_err(|_invalid| Fault::BadValue {
                expected: "an address",
                found: host.clone(),
            });
            checks.accept(&KeyPath::of("gateway.customBindHost"), parsed)
        }
        other => {
            let parsed = other.parse().ok();
            if parsed.is_none() {
                report(Fault::BadValue {
                    expected: "loopback, lan, auto, custom or an address",
                    found: other.to_owned(),
                });
            }
            parsed
        }
    }
}

fn report_bind(inputs: Inputs<'_>, checks: &mut Checks<'_>, fault: Fault) {
    match inputs.overrides.bind {
        Some(_) => checks.named("--bind", fault),
        None => checks.fault(&KeyPath::of("gateway.bind"), fault),
    }
}

/// Who may connect, and where the secret comes from.
pub(super) fn auth(
    raw: &mut RawGateway,
    inputs: Inputs<'_>,
    listen: Option<ListenConfig>,
    checks: &mut Checks<'_>,
) -> Option<(AuthConfig, SecretSource)> {
    let proxies = proxies(raw, checks);
    let origins = OriginPolicy {
        allowed: allowed_origins(raw),
        host_header_fallback: raw.control_ui.dangerously_allow_host_header_origin_fallback,
    };
    let (mode, source) = mode(raw, inputs, listen, checks)?;
    let config = AuthConfig {
        mode,
        limiter: limiter(&raw.auth.rate_limit),
        proxies: proxies?,
        origins,
        pairing: PairingPolicy {
            approve_local: raw.nodes.pairing.auto_approve_local,
            approve_pages: raw.control_ui.auto_approve_local,
        },
    };
    Some((config, source))
}

fn mode(
    raw: &mut RawGateway,
    inputs: Inputs<'_>,
    listen: Option<ListenConfig>,
    checks: &mut Checks<'_>,
) -> Option<(AuthMode, SecretSource)> {
    let token = secret::find(Shared::Token, &raw.auth, inputs, checks);
    let password = secret::find(Shared::Password, &raw.auth, inputs, checks);
    let (Ok(token), Ok(password)) = (token, password) else {
        return None;
    };
    let mode = match (wanted(raw, inputs), &token, &password) {
        (Some(mode), _, _) => mode,
        (None, Some(_), Some(_)) => {
            checks.fault(&KeyPath::of("gateway.auth"), Fault::TwoSecrets);
            return None;
        }
        (None, None, Some(_)) => RawAuthMode::Password,
        (None, _, None) => RawAuthMode::Token,
    };
    raw.auth.mode = Some(mode);
    match mode {
        RawAuthMode::None => {
            closed(listen, inputs, checks)?;
            Some((AuthMode::None, SecretSource::None))
        }
        RawAuthMode::TrustedProxy => {
            report_mode(inputs, checks, Fault::TrustedProxy);
            None
        }
        RawAuthMode::Password => {
            if password.is_none() {
                report_mode(inputs, checks, Fault::NoPassword);
            }
            let (secret, source) = password?.check(checks)?;
            Some((AuthMode::Password(secret), source))
        }
        RawAuthMode::Token => {
            let (secret, source) = match token {
                Some(found) => found.check(checks)?,
                None => generated(listen, inputs, checks)?,
            };
            Some((AuthMode::Token(secret), source))
        }
    }
}

/// The mode somebody asked for; a secret on the command line asks for its own.
fn wanted(raw: &RawGateway, inputs: Inputs<'_>) -> Option<RawAuthMode> {
    let flags = inputs.overrides;
    match (flags.auth, &flags.token, &flags.password) {
        (Some(mode), _, _) => Some(mode),
        (None, Some(_), None) => Some(RawAuthMode::Token),
        (None, None, Some(_)) => Some(RawAuthMode::Password),
        (None, Some(_), Some(_)) => None,
        (None, None, None) => raw.auth.mode,
    }
}

fn report_mode(inputs: Inputs<'_>, checks: &mut Checks<'_>, fault: Fault) {
    match inputs.overrides.auth {
        Some(_) => checks.named("--auth", fault),
        None => checks.fault(&KeyPath::of("gateway.auth.mode"), fault),
    }
}

/// Makes sure that without a secret nobody but this machine reaches the port.
fn closed(listen: Option<ListenConfig>, inputs: Inputs<'_>, checks: &mut Checks<'_>) -> Option<()> {
    let address = listen?.address;
    if address.is_loopback() {
        return Some(());
    }
    report_bind(inputs, checks, Fault::OpenBind { address });
    None
}

/// The token of the state directory; only for loopback, where nobody has to be told it.
fn generated(
    listen: Option<ListenConfig>,
    inputs: Inputs<'_>,
    checks: &mut Checks<'_>,
) -> Option<(Secret, SecretSource)> {
    closed(listen, inputs, checks)?;
    // Nothing is written for a configuration that is refused anyway.
    let create = if checks.problems.have_errors() {
        TokenFile::Look
    } else {
        inputs.token_file
    };
    let state_dir = &inputs.paths.state_dir;
    let path = token::path(state_dir);
    match token::kept(state_dir, create) {
        Ok(kept) => {
            if kept.open {
                checks.named(path.display().to_string(), Fault::TokenFileOpen);
            }
            Some((kept.secret, SecretSource::Generated(path)))
        }
        Err(error) => {
            let fault = Fault::TokenFile(Arc::new(error));
            checks.named(path.display().to_string(), fault);
            None
        }
    }
}

fn limiter(raw: &RawRateLimit) -> LimiterConfig {
    LimiterConfig {
        attempts_max: raw.max_attempts,
        window: Duration::from_millis(raw.window_ms),
        lockout: Duration::from_millis(raw.lockout_ms),
        exempt_loopback: raw.exempt_loopback,
    }
}

fn proxies(raw: &RawGateway, checks: &mut Checks<'_>) -> Option<ProxyPolicy> {
    let path = KeyPath::of("gateway.trustedProxies");
    let mut trusted = Vec::new();
    let mut complete = true;
    for (index, text) in raw.trusted_proxies.iter().enumerate() {
        let network = network(text).ok_or_else(|| Fault::BadValue {
            expected: "an address or a network such as 10.0.0.0/8",
            found: text.clone(),
        });
        match checks.accept(&path.index(index), network) {
            Some(network) => trusted.push(network),
            None => complete = false,
        }
    }
    let policy = ProxyPolicy {
        trusted,
        allow_real_ip: raw.allow_real_ip_fallback,
    };
    complete.then_some(policy)
}

fn network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(address)
}

fn allowed_origins(raw: &RawGateway) -> Vec<String> {
    let origins = raw.control_ui.allowed_origins.iter();
    origins
        .map(|origin| origin.trim().to_lowercase())
        .filter(|origin| !origin.is_empty())
        .collect()
}

/// Bounds of sockets and of both fronts.
pub(super) fn transport(
    raw: &mut RawGateway,
    inputs: Inputs<'_>,
    checks: &mut Checks<'_>,
) -> Option<TransportConfig> {
    let chat = &mut raw.http.endpoints.chat_completions;
    if let Some(enabled) = inputs.overrides.chat_enabled {
        chat.enabled = enabled;
    }
    let open_webui_chats = chat.open_web_ui_chats;
    let images = &chat.images;
    let listed = images.url_allowlist.iter();
    let listed = listed.map(|host| host.trim().trim_end_matches('.').to_lowercase());
    let image_hosts = images.allow_url.then(|| listed.collect());
    let cors_origins = cors_origins(&raw.http.cors.allowed_origins, checks)?;
    let chat = &raw.http.endpoints.chat_completions;
    let limits = &raw.limits;
    let hsts = raw.http.security_headers.strict_transport_security.as_ref();
    Some(TransportConfig {
        connections_max: limits.connections,
        preauth_per_address_max: limits.preauth_per_address,
        idle_per_address_max: limits
            .idle_per_address
            .unwrap_or_else(|| limits.connections.div_ceil(4)),
        head_bytes_max: limits.head_bytes,
        head_timeout: Duration::from_secs(limits.head_seconds),
        body_bytes_max: chat.max_body_bytes.unwrap_or(limits.body_bytes),
        body_timeout: Duration::from_secs(limits.body_seconds),
        idle_timeout: Duration::from_secs(limits.idle_seconds),
        outbox_bytes_max: limits.outbox_bytes,
        answer_bytes_max: limits.answer_bytes,
        answer_bytes_per_connection_max: limits.answer_bytes_per_connection,
        chat_enabled: chat.enabled,
        metrics_enabled: raw.http.endpoints.metrics.enabled,
        cors_origins,
        image_hosts,
        open_webui_chats,
        strict_transport_security: strict_transport_security(hsts, checks)?,
        control_ui: control_ui::served(&raw.control_ui, inputs, checks)?,
        ..TransportConfig::default()
    })
}

/// The origins, in lower case; `None` when one of them cannot be one.
fn cors_origins(raw: &[String], checks: &mut Checks<'_>) -> Option<Vec<String>> {
    let path = KeyPath::of("gateway.http.cors.allowedOrigins");
    let mut origins = Vec::new();
    let mut complete = true;
    for (index, text) in raw.iter().enumerate() {
        let origin = text.trim().trim_end_matches('/').to_lowercase();
        let (_, host) = origin.split_once("://").unwrap_or_default();
        let is_origin = !host.is_empty() && !host.contains(['/', '*', '@', ' ', '?', '#']);
        if is_origin && HeaderValue::from_str(&origin).is_ok() {
            origins.push(origin);
            continue;
        }
        complete = false;
        let fault = Fault::BadValue {
            expected: "an origin such as https://chat.example.com",
            found: text.clone(),
        };
        checks.fault(&path.index(index), fault);
    }
    complete.then_some(origins)
}

/// The value of the header, if there is to be one; the outer `None` when it cannot be sent.
#[expect(
    clippy::option_option,
    reason = "absent and wrong are different things here"
)]
fn strict_transport_security(
    raw: Option<&RawHsts>,
    checks: &mut Checks<'_>,
) -> Option<Option<String>> {
    match raw {
        None | Some(RawHsts::Switch(false)) => Some(None),
        Some(RawHsts::Value(value)) if HeaderValue::from_str(value.trim()).is_ok() => {
            let value = value.trim();
            Some((!value.is_empty()).then(|| value.to_owned()))
        }
        Some(RawHsts::Value(_) | RawHsts::Switch(true)) => {
            let path = KeyPath::of("gateway.http.securityHeaders.strictTransportSecurity");
            checks.fault(&path, Fault::BadHsts);
            None
        }
    }
}
