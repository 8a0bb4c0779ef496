//! What the page reads before it connects.
//!
//! It asks with whatever secret it has, a device token too, which opens nothing over HTTP and would
//! count as a guess. So there is nothing to protect in the answer: everybody is told the same, and
//! names, agents and avatars come over the native port.

use hyper::header::{CACHE_CONTROL, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;

use crate::protocol::COMPATIBILITY_LEVEL;

use super::super::body::Body;
use super::super::respond;

/// Answers for a page at `base`. What it offers of the original's and is not here is switched off.
pub(super) fn settings(base: &str) -> Response<Body> {
    let settings = json!({
        "basePath": base,
        // Shown until the agent has said its own.
        "assistantName": "Assistant",
        "assistantAvatar": null,
        "serverVersion": COMPATIBILITY_LEVEL,
        "embedSandbox": "scripts",
        "allowExternalEmbedUrls": false,
        "automaticallyFetchFavicons": false,
        "communityInvite": false,
        "terminalEnabled": false,
        "cliAgentsEnabled": false,
        "pluginAssetsRequireAuth": true,
        "pluginFrameGrants": [],
    });
    let mut response = respond::json(StatusCode::OK, settings.to_string());
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
