//! Cancels a run whose caller has gone.

use std::sync::Arc;

use crate::events::{Bus, Logs, RunCommand};
use crate::ids::{RunId, WireId};
use crate::run::AbortCause;
use crate::shutdown::Tasks;

/// Cancels its run when it is dropped before it was released.
#[derive(Debug, Default)]
pub(super) struct RunGuard(Option<Armed>);

#[derive(Debug)]
struct Armed {
    run: Guarded,
    bus: Arc<dyn Bus>,
    tasks: Tasks,
}

#[derive(Debug)]
enum Guarded {
    /// The run that has this wire id, once there is one: it was asked for and may be accepted.
    Asked(WireId, Arc<Logs>),
    /// A run that was accepted.
    Accepted(RunId),
}

impl RunGuard {
    /// Guards the run that will have `wire_id`, which nobody else uses.
    pub(super) fn asked(wire_id: WireId, logs: Arc<Logs>, bus: Arc<dyn Bus>, tasks: Tasks) -> Self {
        let run = Guarded::Asked(wire_id, logs);
        Self(Some(Armed { run, bus, tasks }))
    }

    /// Guards nothing: the run has another reader, or goes on by itself.
    pub(super) const fn none() -> Self {
        Self(None)
    }

    /// From now on guards `run`, the one that was asked for.
    pub(super) fn accepted(&mut self, run: RunId) {
        if let Some(armed) = &mut self.0 {
            armed.run = Guarded::Accepted(run);
        }
    }

    /// Lets the run be: it has ended.
    pub(super) fn release(&mut self) {
        self.0 = None;
    }
}

impl Guarded {
    fn run(&self) -> Option<RunId> {
        match self {
            Self::Asked(wire_id, logs) => {
                let newest = logs.by_wire_id(wire_id).into_iter().next();
                newest.map(|log| log.info().run_id)
            }
            Self::Accepted(run) => Some(*run),
        }
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        let Some(Armed { run, bus, tasks }) = self.0.take() else {
            return;
        };
        let Some(run) = run.run() else {
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
