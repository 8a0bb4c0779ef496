//! Integration tests: real sockets on port 0, scripted agents, raw bytes where bytes matter.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::as_conversions,
    clippy::string_slice,
    clippy::indexing_slicing,
    clippy::format_push_string,
    reason = "tests fail by panicking and may use what production code may not"
)]

mod acknowledgements;
mod agent_sessions;
mod authorization;
mod bounds;
mod cli_chat;
mod cli_commands;
mod cli_devices;
mod cli_gateway;
mod cli_quickstart;
mod client_requests;
mod control_ui;
mod crash;
mod crash_mutant;
mod curl;
mod devices;
mod discovery;
mod disk;
mod disk_faults;
mod document;
mod evidence;
mod handover;
mod http_bodies;
mod http_cancel;
mod http_choices;
mod http_cors;
mod http_gateway;
mod http_golden;
mod http_requests;
mod http_runs;
mod http_sessions;
mod http_streams;
mod http_vectors;
mod many_sessions;
mod metrics;
mod model_agent;
mod model_faults;
mod native_chat;
mod native_commands;
mod native_compact;
mod native_events;
mod native_lists;
mod native_methods;
mod native_notes;
mod native_queue;
mod native_refusals;
mod native_sessions;
mod promises;
mod protocol_3;
mod queue_modes;
mod restart;
mod restartable;
mod soak;
mod state_folders;
mod support;
mod ws_events;
mod ws_goodbye;
mod ws_handshake;
mod ws_limits;
mod ws_runs;
