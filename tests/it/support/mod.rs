//! What the integration tests share: a gateway put together from its parts, an agent that does what
//! a test tells it, and a client that shows every byte.

pub(crate) mod cli;
pub(crate) mod device;
pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod mock;
pub(crate) mod model;
pub(crate) mod native;
pub(crate) mod net;
pub(crate) mod puppet;
pub(crate) mod rig;
pub(crate) mod seed;
pub(crate) mod served;
pub(crate) mod upstream;
pub(crate) mod ws;

pub(crate) use http::{Connection, Response};
pub(crate) use native::Native;
pub(crate) use puppet::{Puppet, PuppetRun};
pub(crate) use rig::{Rig, RigConfig, TOKEN};
pub(crate) use served::{Served, Setup};

use std::future::Future;
use std::time::Duration;

/// How long anything may take that is to happen at once; only failing tests wait for it.
const SOON: Duration = Duration::from_secs(20);

/// Waits for what is to happen at once.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    let waited = tokio::time::timeout(SOON, future).await;
    waited.unwrap_or_else(|_| panic!("it did not happen in {SOON:?}"))
}
