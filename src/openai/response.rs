//! JSON answers: a whole completion and the list of models (`http-facts` §4.1, §5.1–5.2).

use std::borrow::Cow;

use bytes::BytesMut;

use crate::ids::AgentId;
use crate::run::{ToolCall, Usage};

use super::error::ApiError;
use super::json::{push_str, push_u64};
use super::model::ModelTarget;

/// What every part of one answer repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyHead {
    /// `id`, which is also the wire id of the run.
    pub id: String,
    /// `created`, in seconds since the epoch.
    pub created: u64,
    /// `model`, as the request had it.
    pub model: String,
}

/// The message of a whole completion.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion<'a> {
    pub(super) text: &'a str,
    pub(super) reasoning: &'a str,
    pub(super) calls: &'a [ToolCall],
    pub(super) finish_reason: &'static str,
    pub(super) usage: Option<&'a Usage>,
}

/// Writes a whole completion.
pub(super) fn completion(head: &ReplyHead, answer: &Completion<'_>) -> BytesMut {
    let text_bytes = answer.text.len() + answer.reasoning.len();
    let mut out = BytesMut::with_capacity(384 + text_bytes);
    push_head(&mut out, head, "chat.completion");
    out.extend_from_slice(b"{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
    push_str(&mut out, answer.text);
    if !answer.reasoning.is_empty() {
        out.extend_from_slice(b",\"reasoning_content\":");
        push_str(&mut out, answer.reasoning);
    }
    if !answer.calls.is_empty() {
        push_calls(&mut out, answer.calls);
    }
    out.extend_from_slice(b"},\"finish_reason\":");
    push_str(&mut out, answer.finish_reason);
    out.extend_from_slice(b"}],");
    push_usage(&mut out, answer.usage);
    out.extend_from_slice(b"}");
    out
}

/// Writes everything up to and including the opening of `choices`.
pub(super) fn push_head(out: &mut BytesMut, head: &ReplyHead, object: &str) {
    out.extend_from_slice(b"{\"id\":");
    push_str(out, &head.id);
    out.extend_from_slice(b",\"object\":");
    push_str(out, object);
    out.extend_from_slice(b",\"created\":");
    push_u64(out, head.created);
    out.extend_from_slice(b",\"model\":");
    push_str(out, &head.model);
    out.extend_from_slice(b",\"choices\":[");
}

fn push_calls(out: &mut BytesMut, calls: &[ToolCall]) {
    out.extend_from_slice(b",\"tool_calls\":[");
    for (n, call) in calls.iter().enumerate() {
        if n > 0 {
            out.extend_from_slice(b",");
        }
        out.extend_from_slice(b"{");
        push_call_identity(out, &call.id, &call.name);
        push_str(out, &call.arguments);
        out.extend_from_slice(b"}}");
    }
    out.extend_from_slice(b"]");
}

/// Writes the members of a call up to its arguments.
pub(super) fn push_call_identity(out: &mut BytesMut, id: &str, name: &str) {
    out.extend_from_slice(b"\"id\":");
    push_str(out, id);
    out.extend_from_slice(b",\"type\":\"function\",\"function\":{\"name\":");
    push_str(out, name);
    out.extend_from_slice(b",\"arguments\":");
}

/// Writes the `usage` member; unknown usage is zeros.
pub(super) fn push_usage(out: &mut BytesMut, usage: Option<&Usage>) {
    let unknown = Usage::default();
    let usage = usage.unwrap_or(&unknown);
    out.extend_from_slice(b"\"usage\":{\"prompt_tokens\":");
    push_u64(out, usage.input);
    out.extend_from_slice(b",\"completion_tokens\":");
    push_u64(out, usage.output);
    out.extend_from_slice(b",\"total_tokens\":");
    push_u64(out, usage.total());
    if usage.cached > 0 {
        out.extend_from_slice(b",\"prompt_tokens_details\":{\"cached_tokens\":");
        push_u64(out, usage.cached);
        out.extend_from_slice(b"}");
    }
    if let Some(reasoning) = usage.reasoning {
        out.extend_from_slice(b",\"completion_tokens_details\":{\"reasoning_tokens\":");
        push_u64(out, reasoning);
        out.extend_from_slice(b"}");
    }
    out.extend_from_slice(b"}");
}

/// The ids `GET /v1/models` lists: each works as `model`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelList {
    ids: Vec<String>,
}

impl ModelList {
    /// The list for these agents. Without a default agent the ids that mean it are left out.
    pub fn new<'a>(
        default: Option<&'a AgentId>,
        agents: impl IntoIterator<Item = &'a AgentId>,
    ) -> Self {
        let mut ids = Vec::new();
        if default.is_some() {
            ids.extend(["openclaw".to_owned(), "openclaw/default".to_owned()]);
        }
        for agent in default.into_iter().chain(agents) {
            let id = format!("openclaw/{agent}");
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        Self { ids }
    }

    /// The body of `GET /v1/models`.
    pub fn to_json(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(32 + 96 * self.ids.len());
        out.extend_from_slice(b"{\"object\":\"list\",\"data\":[");
        for (n, id) in self.ids.iter().enumerate() {
            if n > 0 {
                out.extend_from_slice(b",");
            }
            push_model(&mut out, id);
        }
        out.extend_from_slice(b"]}");
        out
    }

    /// The body of `GET /v1/models/{id}`; `encoded` is what stands in the path.
    ///
    /// # Errors
    /// 400 when the id is empty, badly encoded or not in the grammar; 404 when it is not listed.
    pub fn one_json(&self, encoded: &str) -> Result<BytesMut, ApiError> {
        if encoded.is_empty() {
            return Err(ApiError::model_id("Missing model id."));
        }
        let id = path_segment(encoded).ok_or(ApiError::model_id("Invalid model id encoding."))?;
        if !self.ids.iter().any(|known| *known == id) {
            return Err(match ModelTarget::parse(&id) {
                ModelTarget::Other(_) => ApiError::model_id("Invalid model id."),
                ModelTarget::Default | ModelTarget::Agent(_) => ApiError::model_not_found(&id),
            });
        }
        let mut out = BytesMut::with_capacity(96);
        push_model(&mut out, &id);
        Ok(out)
    }
}

/// Undoes the percent-encoding of a part of a path; `None` when it is broken.
pub fn path_segment(encoded: &str) -> Option<Cow<'_, str>> {
    let is_hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = encoded.as_bytes();
    let whole = bytes.iter().enumerate().all(|(at, byte)| {
        *byte != b'%' || (is_hex(bytes.get(at + 1)) && is_hex(bytes.get(at + 2)))
    });
    if !whole {
        return None;
    }
    percent_encoding::percent_decode(bytes).decode_utf8().ok()
}

fn push_model(out: &mut BytesMut, id: &str) {
    out.extend_from_slice(b"{\"id\":");
    push_str(out, id);
    out.extend_from_slice(
        b",\"object\":\"model\",\"created\":0,\"owned_by\":\"openclaw\",\"permission\":[]}",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> ModelList {
        let agents = ["beta", "main"].map(|id| AgentId::parse(id).unwrap());
        ModelList::new(agents.get(1), &agents)
    }

    #[test]
    fn the_default_agent_is_listed_first_and_nothing_twice() {
        assert_eq!(
            list().ids,
            [
                "openclaw",
                "openclaw/default",
                "openclaw/main",
                "openclaw/beta"
            ]
        );
        let agents = ["a", "b"].map(|id| AgentId::parse(id).unwrap());
        assert_eq!(
            ModelList::new(None, &agents).ids,
            ["openclaw/a", "openclaw/b"]
        );
        let agents = ["default"].map(|id| AgentId::parse(id).unwrap());
        assert_eq!(
            ModelList::new(agents.first(), &agents).ids,
            ["openclaw", "openclaw/default"]
        );
    }

    #[test]
    fn every_listed_id_names_an_agent() {
        for id in list().ids {
            assert!(!matches!(ModelTarget::parse(&id), ModelTarget::Other(_)));
        }
    }

    fn check_one(encoded: &str, status: u16, part: &str) {
        let (seen, body) = match list().one_json(encoded) {
            Ok(body) => (200, body),
            Err(error) => (error.status, error.to_json()),
        };
        let body = std::str::from_utf8(&body).unwrap().to_owned();
        assert_eq!(seen, status, "{encoded}: {body}");
        assert!(body.contains(part), "{encoded}: {body}");
    }

    #[test]
    fn one_model_is_found_by_its_exact_id() {
        check_one(
            "openclaw%2Fmain",
            200,
            r#"{"id":"openclaw/main","object":"model","created":0,"owned_by":"openclaw","permission":[]}"#,
        );
        check_one("openclaw/default", 200, r#""id":"openclaw/default""#);
        check_one("", 400, "Missing model id.");
        check_one("%zz", 400, "Invalid model id encoding.");
        check_one("%f", 400, "Invalid model id encoding.");
        check_one("%ff", 400, "Invalid model id encoding.");
        check_one("nope", 400, "Invalid model id.");
        check_one("openclaw:main", 404, "Model 'openclaw:main' not found.");
        check_one("OpenClaw", 404, "Model 'OpenClaw' not found.");
        check_one("openclaw/ghost", 404, "Model 'openclaw/ghost' not found.");
    }
}
