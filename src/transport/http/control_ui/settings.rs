//! What the page reads before it connects (`protocol-facts` §6.10).

use hyper::header::{CACHE_CONTROL, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::dispatch::{AgentChoice, Dispatch};
use crate::protocol::COMPATIBILITY_LEVEL;

use super::super::body::Body;
use super::super::respond;

/// The answer, by the names the page knows. What it offers of the original's and is not here is
/// switched off.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Settings<'a> {
    base_path: &'a str,
    assistant_name: &'a str,
    assistant_avatar: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assistant_agent_id: Option<&'a str>,
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

/// The name of an agent that has none.
const NAME: &str = "Assistant";

/// Answers for a page at `base`.
pub(super) fn settings(base: &str, dispatch: &Dispatch) -> Response<Body> {
    let agent = dispatch.agent(&AgentChoice::Default).ok();
    let agent = agent.as_deref();
    let name = agent.and_then(|agent| agent.identity.name.as_deref().or(agent.name.as_deref()));
    let avatar = agent.and_then(|agent| agent.identity.avatar.as_deref());
    let settings = Settings {
        base_path: base,
        assistant_name: name.unwrap_or(NAME),
        assistant_avatar: avatar,
        assistant_agent_id: agent.map(|agent| agent.id.as_str()),
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
