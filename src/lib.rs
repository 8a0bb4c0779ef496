//! clawport puts AI agents behind one TCP port: the OpenClaw gateway protocol over WebSocket and an
//! OpenAI-compatible HTTP API feed one run scheduler.
//!
//! Layers, from the bottom; a layer knows only those before it:
//!
//! 1. `ids`, `error`, `clock`, `metrics`, `shutdown`, `version`: nothing of ours.
//! 2. [`run`]: what a run is, in plain data.
//! 3. `protocol`, `openai`: the two dialects, without I/O.
//! 4. `auth`, [`agent`], `events`, `session`: who may, who answers, who watches, what stays.
//! 5. `scheduler`: which run goes when.
//! 6. `dispatch`: one method per operation, shared by both fronts.
//! 7. `transport`: sockets. [`client`]: the other end of one.
//! 8. `config`, `gateway`, `cli`: putting it together.

pub mod agent;
#[doc(hidden)]
pub mod auth;
#[doc(hidden)]
pub mod cli;
pub mod client;
#[doc(hidden)]
pub mod clock;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod dispatch;
pub mod error;
#[doc(hidden)]
pub mod events;
pub mod gateway;
pub mod ids;
#[doc(hidden)]
pub mod metrics;
#[doc(hidden)]
pub mod openai;
#[doc(hidden)]
pub mod protocol;
pub mod run;
#[doc(hidden)]
pub mod scheduler;
#[doc(hidden)]
pub mod session;
#[doc(hidden)]
pub mod shutdown;
#[doc(hidden)]
pub mod transport;
#[doc(hidden)]
pub mod version;

pub use config::Config;
pub use gateway::{Gateway, GatewayBuilder, StartError};

/// The inside of the crate, for its own benches, fuzz targets and tests; no promise of stability.
#[doc(hidden)]
pub mod internals {
    pub use crate::{
        auth, clock, config, dispatch, events, metrics, openai, protocol, scheduler, session,
        shutdown, transport,
    };
}
