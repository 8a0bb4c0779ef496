//! An agent in front of an OpenAI-compatible model server.

mod config;

pub use config::{
    ApiKey, BaseUrl, BaseUrlError, Endpoint, ExtraHeaders, HeaderError, ModelConfig,
    RETRIES_DEFAULT, RETRIES_MAX, Timeouts, TokenLimitField,
};
