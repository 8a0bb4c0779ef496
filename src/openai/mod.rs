//! The OpenAI chat-completions dialect, without any I/O.
//!
//! [`Draft`] and [`ChatRequest`] read request bodies into a [`crate::run::Turn`]; [`Answer`] and
//! [`Stream`] write what a run yields; [`ApiError`] is every refusal. Knows no socket, no HTTP
//! library, no clock and no task.

mod convert;
mod error;
mod json;
mod model;
mod request;
mod response;
pub mod schema;
mod sse;

pub use convert::{Answer, Stream, StreamOptions};
pub use error::{ApiError, ErrorShape};
pub use json::Kind;
pub use model::ModelTarget;
pub use request::{ChatRequest, Draft, RequestError, ToolsError, model_override};
pub use response::{ModelList, ReplyHead};
pub use sse::HEARTBEAT;
