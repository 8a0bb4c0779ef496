//! What the page reads before it connects.
//!
//! It asks with whatever secret it has, a device token too, which opens nothing over HTTP and would
//! count as a guess. So there is nothing to protect in the answer: everybody is told the same, and
//! names, agents and avatars come over the native port.

use hyper::header::{CACHE_CONTROL, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::protocol::COMPATIBILITY_LEVEL;

use super::super::body::Body;
use super::super::respond;

/// The answer, by the names the page knows. What it offers of the original's and is not here is
/// switched off.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Settings<'a> {
    base_path: &'a str,
    /// Shown until the agent has said its own.
    assistant_name: &'static str,
    assistant_avatar: Option<&'static str>,
    server_version: &'static str,
    embed_sandbox: &'static str,
    allow_external_embed_urls: bool,
    automatically_fetch_favicons: bool,
    community_invite: bool,
    terminal_enabled: bool,
    cli_agents_enabled: bool,
    plugin_assets_require_auth: bool,
    plugin_frame_grants: [(); 0],
}

/// Answers for a page at `base`.
pub(super) fn settings(base: &str) -> Response<Body> {
    let settings = Settings {
        base_path: base,
        assistant_name: "Assistant",
        assistant_avatar: None,
        server_version: COMPATIBILITY_LEVEL,
        embed_sandbox: "scripts",
        allow_external_embed_urls: false,
        automatically_fetch_favicons: false,
        community_invite: false,
        terminal_enabled: false,
        cli_agents_enabled: false,
        plugin_assets_require_auth: true,
        plugin_frame_grants: [],
    };
    let body = serde_json::to_vec(&settings).unwrap_or_default();
    let mut response = respond::json(StatusCode::OK, body);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
