//! Cancels a run whose caller has gone.

use std::sync::Arc;

use crate::events::{Bus, RunCommand};
use crate::ids::RunId;
use crate::run::AbortCause;
use crate::shutdown::Tasks;

/// Cancels its run when it is dropped before it was released.
#[derive(Debug, Default)]
pub(super) struct RunGuard(Option<Armed>);

#[derive(Debug)]
struct Armed {
    run: RunId,
    bus: Arc<dyn Bus>,
    tasks: Tasks,
}

impl RunGuard {
    /// Guards `run`.
    pub(super) fn new(run: RunId, bus: Arc<dyn Bus>, tasks: Tasks) -> Self {
        Self(Some(Armed { run, bus, tasks }))
    }

    /// Guards nothing: the run has another reader, or goes on by itself.
    pub(super) const fn none() -> Self {
        Self(None)
    }

    /// Lets the run be: it has ended.
    pub(super) fn release(&mut self) {
        self.0 = None;
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        let Some(Armed { run, bus, tasks }) = self.0.take() else {
            return;
        };
        // While the runtime itself is torn down there is nobody left to tell.
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        tasks.spawn("http.cancel", async move {
            let command = RunCommand::Cancel(AbortCause::ClientGone);
            match bus.call(run, command).await {
                Ok(reply) => tracing::debug!(%run, ?reply, "client gone"),
                Err(error) => tracing::warn!(%run, %error, "client gone, run not cancelled"),
            }
        });
    }
}
