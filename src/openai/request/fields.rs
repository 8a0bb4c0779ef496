//! The fields of a request body that mean something here.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::openai::json::{Slot, json_object};

use super::messages::Messages;
use super::stop::Stop;
use super::tools::{ChoiceIn, ToolsIn};

json_object! {
    /// The body of `POST /v1/chat/completions`.
    for<'de> pub(super) struct Fields<'de> {
        "model" => model: Slot<Cow<'de, str>>,
        "messages" => messages: Slot<Messages<'de>>,
        "stream" => stream: Slot<bool>,
        "stream_options" => stream_options: Slot<StreamOptions>,
        "user" => user: Slot<Cow<'de, str>>,
        "tools" => tools: Slot<ToolsIn<'de>>,
        "tool_choice" => tool_choice: Slot<ChoiceIn<'de>>,
        "max_completion_tokens" => max_completion_tokens: Slot<f64>,
        "max_tokens" => max_tokens: Slot<f64>,
        "temperature" => temperature: Slot<f64>,
        "top_p" => top_p: Slot<f64>,
        "frequency_penalty" => frequency_penalty: Slot<f64>,
        "presence_penalty" => presence_penalty: Slot<f64>,
        "seed" => seed: Slot<f64>,
        "stop" => stop: Slot<Stop>,
        "response_format" => response_format: Option<&'de RawValue>,
        "n" => n: Slot<f64>,
        "reasoning_effort" => reasoning_effort: Slot<Cow<'de, str>>,
        "parallel_tool_calls" => parallel_tool_calls: Slot<bool>,
        "logit_bias" => logit_bias: Option<&'de RawValue>,
        "metadata" => metadata: Option<&'de RawValue>,
    }
}

json_object! {
    /// `stream_options`.
    for<'de> pub(super) struct StreamOptions {
        "include_usage" => include_usage: Slot<bool>,
    }
}
