//! The OpenAI chat-completions dialect, without any I/O.
//!
//! [`Draft`] and [`ChatRequest`] read request bodies into a [`crate::run::Turn`]; [`Answer`] and
//! [`Stream`] write what a run yields, [`RunStream`] its events for readers that come later;
//! [`ApiError`] is every refusal. Knows no socket, no HTTP library, no clock and no task.

mod convert;
mod error;
mod json;
mod model;
mod request;
mod response;
mod runs;
pub mod schema;
mod sse;

pub use convert::{Answer, Stream, StreamOptions};
pub use error::{ApiError, ErrorShape};
pub use json::Kind;
pub use model::ModelTarget;
pub use request::{
    ChatRequest, Draft, FetchedImages, IMAGE_BYTES_MAX, RequestError, ToolsError, message_channel,
    model_override,
};
pub use response::{ModelList, ReplyHead, path_segment};
pub use runs::{RunState, RunStream, gathered_calls, run_json};
pub use sse::HEARTBEAT;
