//! An agent whose every word the test says.

use std::sync::{Arc, Mutex};

use clawport::agent::{Agent, AgentRef, AgentTurn, EventStream, Inbox, Isolation, RunContext};
use clawport::run::{Event, FinishReason, ModelRef, RunError};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The test's end: gets every run that starts.
pub(crate) struct Puppet {
    runs: mpsc::Receiver<PuppetRun>,
}

/// One run: the test decides what it yields and sees when it is given up.
pub(crate) struct PuppetRun {
    pub(crate) turn: AgentTurn,
    pub(crate) cancel: CancellationToken,
    pub(crate) session: String,
    inbox: Inbox,
    events: mpsc::Sender<Result<Event, RunError>>,
}

#[derive(Debug)]
struct PuppetAgent {
    runs: Mutex<mpsc::Sender<PuppetRun>>,
}

impl Puppet {
    /// An agent and the end that moves it.
    pub(crate) fn new() -> (AgentRef, Self) {
        let (sender, runs) = mpsc::channel(256);
        let agent = PuppetAgent {
            runs: Mutex::new(sender),
        };
        (Arc::new(agent), Self { runs })
    }

    /// The next run that starts.
    pub(crate) async fn next(&mut self) -> PuppetRun {
        super::soon(self.runs.recv()).await.unwrap()
    }

    /// Whether no run has started that was not taken.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.runs.try_recv().is_err()
    }
}

impl PuppetRun {
    pub(crate) async fn yields(&self, event: Event) {
        super::soon(self.events.send(Ok(event))).await.unwrap();
    }

    pub(crate) async fn says(&self, text: &str) {
        self.yields(Event::Text(text.to_owned())).await;
    }

    pub(crate) async fn ends(&self) {
        self.yields(Event::Finished(FinishReason::Stop)).await;
    }

    pub(crate) async fn fails(&self, error: RunError) {
        super::soon(self.events.send(Err(error))).await.unwrap();
    }

    /// Takes the next message that is steered into the run, once one is, and waits until that is
    /// stored.
    pub(crate) async fn takes(&mut self) -> String {
        let taken = async {
            loop {
                match self.inbox.try_take() {
                    Some(steered) => return steered.message.text,
                    None => tokio::task::yield_now().await,
                }
            }
        };
        let text = super::soon(taken).await;
        super::soon(self.inbox.stored()).await;
        text
    }

    /// The texts it is to answer.
    pub(crate) fn asked(&self) -> Vec<&str> {
        let current = self.turn.turn.current.iter();
        current.map(|message| message.text.as_str()).collect()
    }

    /// Waits until the gateway has let go of the run.
    pub(crate) async fn given_up(&self) {
        super::soon(self.events.closed()).await;
    }
}

impl Agent for PuppetAgent {
    fn run(&self, turn: AgentTurn, context: RunContext) -> EventStream {
        let (events, mut receiver) = mpsc::channel(64);
        let cancelled = context.cancel.clone().cancelled_owned();
        let run = PuppetRun {
            turn,
            cancel: context.cancel,
            session: context.session.to_string(),
            inbox: context.inbox,
            events,
        };
        self.runs
            .lock()
            .unwrap()
            .try_send(run)
            .unwrap_or_else(|_| panic!("too many runs"));
        let events = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
        Box::pin(events.take_until(cancelled))
    }

    fn model(&self) -> ModelRef {
        ModelRef {
            provider: "test".into(),
            model: "puppet".into(),
        }
    }

    fn isolation(&self) -> Isolation {
        Isolation::Inline
    }
}
