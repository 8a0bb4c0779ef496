//! `sessions.compact` (`protocol-facts` §6.7).

use serde_json::value::RawValue;

use crate::dispatch::{Compacted, CompactedHow, SessionCompact};
use crate::protocol::methods::sessions::{
    COMPACT_LINES_V3, CompactionResult, SessionsCompactParams, SessionsCompactResult,
};
use crate::protocol::{Bounded, ErrorBody, server_busy};
use crate::transport::ws::connection::Open;

use super::{Call, Done, Served};

/// Waits for the summary as long as a run may take.
pub(super) fn compact(
    call: &Call,
    open: &Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: SessionsCompactParams = call.params(params)?;
    if !open.requests.has_wait_room() {
        return Err(server_busy());
    }
    let asked = params.max_lines.map(Bounded::get);
    let lines_max = if call.is_v3() {
        asked.or(Some(COMPACT_LINES_V3))
    } else {
        asked
    };
    let request = SessionCompact {
        session_key: params.key.to_string(),
        agent_id: params.agent_id.map(|id| id.to_string()),
        lines_max,
        instructions: None,
    };
    let inner = call.clone();
    Ok(Served::Wait(call.detached(async move {
        let dispatch = &inner.native.dispatch;
        let compacted = dispatch.sessions_compact(&inner.peer.caller, request).await;
        let reply = inner.answer(compacted.map(|done| result(done, lines_max.is_some())));
        Done::from(reply)
    })))
}

fn result(compacted: Compacted, is_by_lines: bool) -> SessionsCompactResult {
    match compacted.how {
        CompactedHow::NotAtAll { reason, kept } => {
            SessionsCompactResult::unchanged(&compacted.key, reason, kept)
        }
        CompactedHow::Shortened {
            kept,
            tokens_before,
            tokens_after,
            summary,
        } => {
            let result = CompactionResult {
                tokens_before,
                tokens_after,
                summary,
            };
            SessionsCompactResult::shortened(&compacted.key, kept, (!is_by_lines).then_some(result))
        }
    }
}
