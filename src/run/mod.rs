//! What a run is, in plain data: both dialects make it, the scheduler moves it, agents consume it.
//!
//! Knows nothing of sockets, wire formats, storage or tasks.

mod compaction;
mod conversation;
mod event;
mod info;
mod outcome;
mod request;
mod transcript;

pub use compaction::Compactions;
pub use conversation::Conversation;
pub use event::{Event, FinishReason, ToolCallDelta, Usage};
pub use info::{Front, OnDisconnect, Owner, RunInfo, Storage};
pub use outcome::{AbortCause, Outcome, RunError, Terminal, TimeoutPhase};
pub use request::{
    Image, Message, OutputFormat, QueueMode, Role, Sampling, Tool, ToolCall, ToolChoice, Turn,
};
pub use transcript::{Abort, Entry, EntryBody, ModelRef, PARAGRAPH, add_part};
