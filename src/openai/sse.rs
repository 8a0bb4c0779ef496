//! Frames of a stream, from one template per answer (`http-facts` §4.2).
//!
//! Only `data:` lines and comments are ever written: some clients break on `id:` and `retry:`.

use bytes::BytesMut;

use crate::run::Usage;

use super::error::ApiError;
use super::json::{push_str, push_u64};
use super::response::{ReplyHead, push_call_identity, push_head, push_usage};

/// A comment that keeps the connection from looking idle.
pub const HEARTBEAT: &[u8] = b": keepalive\n\n";

/// What ends every stream.
const DONE: &[u8] = b"data: [DONE]\n\n";

/// Most bytes of tool arguments in one chunk.
const FRAGMENT_BYTES_MAX: usize = 16 * 1024;

/// The part of a chunk that is the same in the whole stream, written once.
#[derive(Debug)]
pub(super) struct Chunks {
    prefix: Box<[u8]>,
}

impl Chunks {
    pub(super) fn new(head: &ReplyHead) -> Self {
        let mut prefix = BytesMut::with_capacity(160 + head.model.len());
        prefix.extend_from_slice(b"data: ");
        push_head(&mut prefix, head, "chat.completion.chunk");
        Self {
            prefix: prefix.as_ref().into(),
        }
    }

    fn delta(&self, out: &mut BytesMut, payload_bytes: usize) {
        out.reserve(self.prefix.len() + payload_bytes + 96);
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(b"{\"index\":0,\"delta\":{");
    }

    fn end_delta(out: &mut BytesMut) {
        out.extend_from_slice(b"},\"finish_reason\":null}]}\n\n");
    }

    pub(super) fn role(&self, out: &mut BytesMut) {
        self.delta(out, 0);
        out.extend_from_slice(b"\"role\":\"assistant\"");
        Self::end_delta(out);
    }

    pub(super) fn content(&self, out: &mut BytesMut, text: &str) {
        self.delta(out, text.len());
        out.extend_from_slice(b"\"content\":");
        push_str(out, text);
        Self::end_delta(out);
    }

    pub(super) fn reasoning(&self, out: &mut BytesMut, text: &str) {
        self.delta(out, text.len());
        out.extend_from_slice(b"\"reasoning_content\":");
        push_str(out, text);
        Self::end_delta(out);
    }

    /// The first chunk of a tool call: its id and name, no arguments yet.
    pub(super) fn call(&self, out: &mut BytesMut, index: u32, id: &str, name: &str) {
        self.delta(out, id.len() + name.len());
        out.extend_from_slice(b"\"tool_calls\":[{\"index\":");
        push_u64(out, index.into());
        out.extend_from_slice(b",");
        push_call_identity(out, id, name);
        out.extend_from_slice(b"\"\"}}]");
        Self::end_delta(out);
    }

    /// More arguments of a tool call; at least one chunk, even for no text.
    pub(super) fn arguments(&self, out: &mut BytesMut, index: u32, text: &str) {
        let mut rest = text;
        loop {
            let mut cut = rest.len().min(FRAGMENT_BYTES_MAX);
            while !rest.is_char_boundary(cut) {
                cut -= 1;
            }
            let (fragment, tail) = rest.split_at(cut);
            self.delta(out, fragment.len());
            out.extend_from_slice(b"\"tool_calls\":[{\"index\":");
            push_u64(out, index.into());
            out.extend_from_slice(b",\"function\":{\"arguments\":");
            push_str(out, fragment);
            out.extend_from_slice(b"}}]");
            Self::end_delta(out);
            rest = tail;
            if rest.is_empty() {
                return;
            }
        }
    }

    pub(super) fn finish(&self, out: &mut BytesMut, reason: &str) {
        self.delta(out, 0);
        out.extend_from_slice(b"},\"finish_reason\":");
        push_str(out, reason);
        out.extend_from_slice(b"}]}\n\n");
    }

    pub(super) fn usage(&self, out: &mut BytesMut, usage: &Usage) {
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(b"],");
        push_usage(out, Some(usage));
        out.extend_from_slice(b"}\n\n");
    }
}

/// An error inside a stream.
pub(super) fn error(out: &mut BytesMut, error: &ApiError) {
    out.extend_from_slice(b"data: ");
    error.write(out);
    out.extend_from_slice(b"\n\n");
}

/// The end of the stream.
pub(super) fn done(out: &mut BytesMut) {
    out.extend_from_slice(DONE);
}
