//! Polls an agent's stream where the agent can do no harm.
//!
//! Built-in agents are polled in the run's own task. Others get a task on a runtime of their own,
//! so that one that never yields blocks a thread of that runtime and nothing else; a runtime whose
//! threads are held by abandoned backends is replaced.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::{FutureExt, Stream, StreamExt};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::agent::{AgentRef, AgentTurn, EventStream, Isolation, RunContext, Taken};
use crate::error::ErrorCode;
use crate::run::{Event, RunError};

/// Events an isolated backend may be ahead of its run.
const AHEAD_MAX: usize = 64;

/// Threads of the backend runtime: one can be lost without stopping the others.
const THREADS: usize = 4;

/// Runtimes given up because abandoned backends hold their threads; then no more are made.
const CONDEMNED_MAX: usize = 16;

/// The runtime isolated backends run on.
pub struct Backends {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    current: Option<Runtime>,
    condemned: Vec<Runtime>,
    abandoned: usize,
}

impl fmt::Debug for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backends").finish_non_exhaustive()
    }
}

impl Backends {
    /// No runtime yet: the first isolated backend makes it.
    pub fn new() -> Self {
        Self {
            state: Mutex::default(),
        }
    }

    /// Starts the agent on a turn.
    pub(super) fn start(
        &self,
        agent: &AgentRef,
        turn: AgentTurn,
        context: RunContext,
    ) -> BackendStream {
        match agent.isolation() {
            Isolation::Inline => BackendStream::inline(|| Stepping::start(agent, turn, context)),
            Isolation::Task => match self.handle() {
                Some(handle) => BackendStream::spawned(&handle, Arc::clone(agent), turn, context),
                None => BackendStream::failed("no thread is left for the agent"),
            },
        }
    }

    /// Notes that a backend did not end in time: it may hold a thread for ever.
    pub(super) fn abandon(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.abandoned += 1;
        if state.abandoned >= THREADS - 1 && state.condemned.len() < CONDEMNED_MAX {
            let condemned = state.current.take();
            state.condemned.extend(condemned);
            state.abandoned = 0;
        }
    }

    fn handle(&self) -> Option<Handle> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.current.is_none() {
            let built = Builder::new_multi_thread()
                .worker_threads(THREADS)
                .thread_name("clawport-backend")
                .enable_all()
                .build();
            match built {
                Ok(runtime) => state.current = Some(runtime),
                Err(error) => tracing::error!(%error, "cannot start the backend runtime"),
            }
        }
        state
            .current
            .as_ref()
            .map(|runtime| runtime.handle().clone())
    }
}

impl Default for Backends {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Backends {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let current = state.current.take();
        for runtime in state.condemned.drain(..).chain(current) {
            // A thread that never yields is left to the end of the process.
            runtime.shutdown_background();
        }
    }
}

/// What a running backend does next.
#[derive(Debug)]
pub(super) enum Step {
    /// It yields an event.
    Event(Event),
    /// It took so many steered messages: what it yields from here on answers them.
    Took(usize),
}

/// The steps of a running backend; ends after the first failure.
pub(super) enum BackendStream {
    Inline(Stepping),
    Spawned {
        events: mpsc::Receiver<Result<Step, RunError>>,
        task: AbortHandle,
    },
    Failed(Option<RunError>),
}

impl BackendStream {
    fn inline(run: impl FnOnce() -> Stepping) -> Self {
        match std::panic::catch_unwind(AssertUnwindSafe(run)) {
            Ok(stream) => Self::Inline(stream),
            Err(_panic) => Self::Failed(Some(panicked())),
        }
    }

    fn failed(message: &'static str) -> Self {
        Self::Failed(Some(RunError::new(ErrorCode::AgentFailed, message)))
    }

    fn spawned(handle: &Handle, agent: AgentRef, turn: AgentTurn, context: RunContext) -> Self {
        let (sender, events) = mpsc::channel(AHEAD_MAX);
        let task = handle.spawn(async move {
            let pump = pump(agent, turn, context, sender.clone());
            if AssertUnwindSafe(pump).catch_unwind().await.is_err() {
                // The run may be gone; then nobody needs to know.
                sender.send(Err(panicked())).await.ok();
            }
        });
        Self::Spawned {
            events,
            task: task.abort_handle(),
        }
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Step, RunError>>> {
        match self {
            Self::Inline(stream) => {
                let polled =
                    std::panic::catch_unwind(AssertUnwindSafe(|| stream.poll_next_unpin(cx)));
                polled.unwrap_or_else(|_panic| {
                    *self = Self::Failed(None);
                    Poll::Ready(Some(Err(panicked())))
                })
            }
            Self::Spawned { events, .. } => events.poll_recv(cx),
            Self::Failed(error) => Poll::Ready(error.take().map(Err)),
        }
    }
}

impl Stream for BackendStream {
    type Item = Result<Step, RunError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_inner(cx)
    }
}

impl Drop for BackendStream {
    fn drop(&mut self) {
        match self {
            Self::Spawned { task, .. } => task.abort(),
            Self::Inline(stream) => {
                // A panic while a backend is dropped must not take the run's task with it.
                let empty = Box::pin(futures_util::stream::empty());
                let stream = std::mem::replace(&mut stream.events, empty);
                if std::panic::catch_unwind(AssertUnwindSafe(|| drop(stream))).is_err() {
                    tracing::error!("an agent panicked while it was dropped");
                }
            }
            Self::Failed(_) => {}
        }
    }
}

/// An agent's events, and among them where it took steered messages.
pub(super) struct Stepping {
    events: EventStream,
    taken: Option<Arc<Taken>>,
    /// How many messages have been told of.
    told: usize,
    /// What the agent yielded when it was found to have taken a message.
    held: Option<Result<Event, RunError>>,
    /// Whether its events are over.
    is_over: bool,
}

impl Stepping {
    fn start(agent: &AgentRef, turn: AgentTurn, context: RunContext) -> Self {
        let taken = context.inbox.taken();
        Self {
            events: agent.run(turn, context),
            taken,
            told: 0,
            held: None,
            is_over: false,
        }
    }

    fn has_taken(&self) -> bool {
        self.taken
            .as_ref()
            .is_some_and(|taken| taken.total() > self.told)
    }

    fn took(&mut self) -> Step {
        let total = self.taken.as_ref().map_or(0, |taken| taken.total());
        let messages = total - self.told;
        self.told = total;
        Step::Took(messages)
    }
}

impl Stream for Stepping {
    type Item = Result<Step, RunError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(held) = self.held.take() {
            return Poll::Ready(Some(held.map(Step::Event)));
        }
        if self.is_over {
            return Poll::Ready(None);
        }
        let taken_before = self.has_taken();
        let polled = self.events.as_mut().poll_next(cx);
        match polled {
            // What is ready was yielded before a message that was taken outside of this poll.
            Poll::Ready(item) if taken_before || !self.has_taken() => {
                Poll::Ready(item.map(|item| item.map(Step::Event)))
            }
            Poll::Ready(item) => {
                self.is_over = item.is_none();
                self.held = item;
                Poll::Ready(Some(Ok(self.took())))
            }
            Poll::Pending => {
                if let Some(taken) = &self.taken {
                    taken.wake_on_take(cx.waker());
                }
                if self.has_taken() {
                    return Poll::Ready(Some(Ok(self.took())));
                }
                Poll::Pending
            }
        }
    }
}

async fn pump(
    agent: AgentRef,
    turn: AgentTurn,
    context: RunContext,
    sender: mpsc::Sender<Result<Step, RunError>>,
) {
    let mut stream = Stepping::start(&agent, turn, context);
    while let Some(item) = stream.next().await {
        if sender.send(item).await.is_err() {
            return;
        }
    }
}

fn panicked() -> RunError {
    RunError::new(ErrorCode::AgentFailed, "the agent panicked")
}
