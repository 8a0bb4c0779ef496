//! Integration tests: real sockets on port 0, scripted agents, raw bytes where bytes matter.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::as_conversions,
    clippy::string_slice,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "tests fail by panicking and may use what production code may not"
)]

mod authorization;
mod http_requests;
mod support;
