//! `chat`: a conversation with an agent, line by line, that outlives its connection.
//!
//! A message is sent with an id of its own. When the connection ends, the next one sends the same
//! message with the same id, which the gateway never takes twice, and the transcript tells what was
//! missed. Owns what is known of the message that is being answered.

use std::io::{self, BufRead, IsTerminal, Read};
use std::pin::Pin;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::args::ChatArgs;
use super::remote::{Target, explain, refused, target};
use super::serve::Signals;
use super::talk::{Printed, session_or_main};
use super::{Context, Failure, chain};
use crate::client::{
    Client, ConnectError, Disconnect, Event, Events, Received, RemoteError, RequestError, connect,
};
use crate::ids::{IdSource, SystemIds};

/// Bytes of one line; a longer one ends the conversation.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// Lines that wait while a message is being answered; typing more waits too.
const LINES_MAX: usize = 16;

/// Attempts to connect again before it is given up.
const RECONNECTS_MAX: u32 = 12;

/// The wait before the first of them; each further one is twice as long, up to the longest.
const RECONNECT_WAIT: Duration = Duration::from_millis(250);
const RECONNECT_WAIT_MAX: Duration = Duration::from_secs(5);

/// Messages read to find out what was missed.
const MISSED_MAX: u32 = 50;

/// How long the gateway may take to say goodbye.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

/// Lines that leave instead of being sent.
const LEAVE: [&str; 2] = ["/quit", "/exit"];

/// Talks until the input ends.
pub(super) fn run(context: Context<'_>, args: ChatArgs) -> Result<(), Failure> {
    let target = target(context, args.remote)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| context.fail(&error))?;
    runtime.block_on(async {
        let mut chat = Chat {
            context,
            target,
            session: session_or_main(args.session_key.as_deref(), args.agent.as_deref()),
            agent: args.agent,
            lines: lines(context)?,
            signals: Signals::new().map_err(|error| context.fail(&error))?,
            is_interactive: io::stdin().is_terminal(),
            open: None,
            has_failed: false,
        };
        chat.work().await
    })
}

/// A conversation.
struct Chat<'a> {
    context: Context<'a>,
    target: Target,
    session: String,
    agent: Option<String>,
    lines: mpsc::Receiver<String>,
    signals: Signals,
    /// Whether a person types; then a failed run is no failed command.
    is_interactive: bool,
    /// The message that is being answered.
    open: Option<Open>,
    has_failed: bool,
}

/// A message that is being answered.
struct Open {
    run_id: String,
    message: String,
    printed: Printed,
}

/// What a step of an answer means for the conversation.
enum Step {
    /// There is more to come.
    More,
    /// The message is answered.
    Done,
}

impl Chat<'_> {
    async fn work(&mut self) -> Result<(), Failure> {
        let mut attempts = None;
        loop {
            let connected = match connect(&self.target.options).await {
                Ok(connected) => connected,
                Err(error) => {
                    self.wait_to_reconnect(&error, &mut attempts).await?;
                    continue;
                }
            };
            attempts = Some(0);
            let client = connected.client;
            let mut events = connected.events;
            let mut serving = std::pin::pin!(connected.driver.run());
            let end = tokio::select! {
                biased;
                end = &mut serving => end,
                result = self.talk(&client, &mut events) => {
                    client.close().await;
                    timeout(GOODBYE_MAX, serving).await.ok();
                    return result;
                }
            };
            self.note_end(&end);
        }
    }

    /// Waits before the next attempt; fails when another one makes no sense.
    async fn wait_to_reconnect(
        &mut self,
        error: &ConnectError,
        attempts: &mut Option<u32>,
    ) -> Result<(), Failure> {
        let again = match attempts {
            Some(made) if *made < RECONNECTS_MAX && is_passing(error) => made,
            Some(_) | None => {
                explain(self.context, &self.target, error);
                return Err(Failure::Failed);
            }
        };
        let wait = RECONNECT_WAIT.saturating_mul(1 << (*again).min(8));
        *again += 1;
        tokio::select! {
            biased;
            () = self.signals.next() => Err(Failure::Failed),
            () = sleep(wait.min(RECONNECT_WAIT_MAX)) => Ok(()),
        }
    }

    fn note_end(&self, end: &Disconnect) {
        let why = chain(end);
        self.context
            .output
            .say(&format!("\n{why}; connecting again\n"));
    }

    async fn talk(&mut self, client: &Client, events: &mut Events) -> Result<(), Failure> {
        loop {
            if self.open.is_some() {
                self.follow(client, events).await?;
                continue;
            }
            if self.is_interactive {
                self.context.output.say("> ");
            }
            let line = tokio::select! {
                biased;
                () = self.signals.next() => None,
                line = self.lines.recv() => line,
            };
            match line {
                Some(line) if LEAVE.contains(&line.trim()) => return self.leave(),
                Some(line) if line.trim().is_empty() => {}
                Some(message) => {
                    self.open = Some(Open {
                        run_id: SystemIds.random().to_string(),
                        message,
                        printed: Printed::default(),
                    });
                }
                None => return self.leave(),
            }
        }
    }

    fn leave(&self) -> Result<(), Failure> {
        if self.is_interactive {
            self.context.output.say("\n");
        }
        if self.has_failed && !self.is_interactive {
            return Err(Failure::Failed);
        }
        Ok(())
    }

    /// Sends the open message and prints its answer; Ctrl-C aborts the run, once more leaves.
    async fn follow(&mut self, client: &Client, events: &mut Events) -> Result<(), Failure> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let mut conversation = Conversation {
            context: self.context,
            client,
            session: &self.session,
            agent: self.agent.as_deref(),
            open,
        };
        let result = conversation.follow(events, &mut self.signals).await?;
        if let Some(is_ok) = result {
            self.has_failed |= !is_ok;
            self.open = None;
        } else {
            // The connection has ended; the driver says how.
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

/// The open message over one connection.
struct Conversation<'a> {
    context: Context<'a>,
    client: &'a Client,
    session: &'a str,
    agent: Option<&'a str>,
    open: &'a mut Open,
}

type Answer = Result<Box<RawValue>, RequestError>;

impl Conversation<'_> {
    /// Follows the run to its end and says whether that was a good one; `None` when the connection
    /// ended before.
    async fn follow(
        &mut self,
        events: &mut Events,
        signals: &mut Signals,
    ) -> Result<Option<bool>, Failure> {
        let sending = send(self.client, self.params("message", &self.open.message));
        let mut waiting: Pin<Box<dyn Future<Output = Answer>>> = Box::pin(sending);
        let mut is_waiting = true;
        let mut is_stopping = false;
        loop {
            tokio::select! {
                biased;
                () = signals.next() => {
                    if is_stopping {
                        return Err(Failure::Failed);
                    }
                    is_stopping = true;
                    self.context.output.say("\naborting the run\n");
                    let params = self.params("runId", &self.open.run_id);
                    waiting = Box::pin(abort(self.client, params));
                    is_waiting = true;
                }
                received = events.next() => match received {
                    Some(Received::Event(event)) => if let Some(is_ok) = self.show(&event) {
                        return Ok(Some(is_ok));
                    },
                    // The end may be among what was lost.
                    Some(Received::Lagged(_)) => match self.catch_up().await {
                        Ok(Step::Done) => return Ok(Some(true)),
                        Ok(Step::More) => {}
                        Err(error) => return Ok(self.gone(&error)),
                    },
                    None => return Ok(None),
                },
                answer = &mut waiting, if is_waiting => {
                    is_waiting = false;
                    match self.answered(answer, is_stopping).await {
                        Ok(Step::Done) => return Ok(Some(true)),
                        Ok(Step::More) => {}
                        Err(error) => return Ok(self.gone(&error)),
                    }
                }
            }
        }
    }

    /// A request that came to nothing ends the message, unless the connection is what ended.
    fn gone(&self, error: &RequestError) -> Option<bool> {
        if let RequestError::Disconnected(_) = error {
            return None;
        }
        self.open.printed.end_line(self.context);
        refused(self.context, error);
        Some(false)
    }

    async fn answered(&mut self, answer: Answer, is_stopping: bool) -> Result<Step, RequestError> {
        let answer = answer?;
        if is_stopping {
            // How it ended comes as an event.
            return Ok(Step::More);
        }
        let sent: Sent = serde_json::from_str(answer.get()).unwrap_or_default();
        match sent.status.as_deref() {
            Some("started") => Ok(Step::More),
            // It was taken before, and may have been answered meanwhile.
            Some(_) => self.catch_up().await,
            // A command such as `/stop`: there is no run.
            None => Ok(Step::Done),
        }
    }

    /// Prints what the transcript knows of the answer.
    async fn catch_up(&mut self) -> Result<Step, RequestError> {
        let mut params = json!({"sessionKey": self.session, "limit": MISSED_MAX});
        self.add_agent(&mut params);
        let answer = self.client.request("chat.history", &params).await?;
        let history: History = serde_json::from_str(answer.get()).unwrap_or_default();
        let run = self.open.run_id.as_str();
        if let Some(live) = history.in_flight_run.filter(|live| live.run_id == run) {
            self.open.printed.advance(self.context, &live.text);
            return Ok(Step::More);
        }
        if history
            .session_info
            .active_run_ids
            .iter()
            .any(|id| id == run)
        {
            return Ok(Step::More);
        }
        let mut said = history.messages.iter().rev();
        let answer = said.find(|said| said.role == "assistant" && said.is_of(run));
        if let Some(answer) = answer {
            self.open.printed.advance(self.context, &answer.text());
        }
        self.open.printed.end_line(self.context);
        Ok(Step::Done)
    }

    /// Prints a step of the answer; says how the run ended when it was the last one.
    fn show(&mut self, event: &Event) -> Option<bool> {
        if &*event.name != "chat" {
            return None;
        }
        let payload = event.payload.as_deref().map_or("null", RawValue::get);
        let step: ChatStep = serde_json::from_str(payload).ok()?;
        if step.run_id != self.open.run_id {
            return None;
        }
        if let Some(message) = &step.message {
            self.open.printed.advance(self.context, &message.text());
        }
        let why = match step.state.as_str() {
            "final" => None,
            "aborted" => Some("the run was stopped".to_owned()),
            "error" => Some(step.error_message.unwrap_or_default()),
            _ => return None,
        };
        self.open.printed.end_line(self.context);
        if let Some(why) = &why {
            self.context.output.error(why);
        }
        Some(why.is_none())
    }

    fn params(&self, name: &str, value: &str) -> Value {
        let mut params = json!({"sessionKey": self.session});
        if let Value::Object(members) = &mut params {
            members.insert(name.to_owned(), value.into());
            if name == "message" {
                members.insert(
                    "idempotencyKey".to_owned(),
                    self.open.run_id.as_str().into(),
                );
            }
        }
        self.add_agent(&mut params);
        params
    }

    fn add_agent(&self, params: &mut Value) {
        if let (Value::Object(members), Some(agent)) = (params, self.agent) {
            members.insert("agentId".to_owned(), agent.into());
        }
    }
}

async fn send(client: &Client, params: Value) -> Answer {
    client.request("chat.send", &params).await
}

async fn abort(client: &Client, params: Value) -> Answer {
    client.request("chat.abort", &params).await
}

/// Whether another attempt to connect may succeed.
fn is_passing(error: &ConnectError) -> bool {
    match error {
        ConnectError::Unreachable { .. } | ConnectError::Closed(_) | ConnectError::Timeout => true,
        ConnectError::Refused(refusal) => is_retryable(refusal),
        ConnectError::NotUpgraded { .. }
        | ConnectError::Url
        | ConnectError::Tls
        | ConnectError::Protocol(_)
        | ConnectError::Encode(_) => false,
    }
}

fn is_retryable(refusal: &RemoteError) -> bool {
    refusal.retryable
}

/// The lines of standard input, read by a thread of their own: a terminal cannot be polled.
fn lines(context: Context<'_>) -> Result<mpsc::Receiver<String>, Failure> {
    let (sender, lines) = mpsc::channel(LINES_MAX);
    let read = move || {
        let mut stdin = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = stdin
                .by_ref()
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut line);
            let is_whole = line.ends_with(b"\n");
            let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
            if read.is_err() || line.is_empty() || (length == LINE_BYTES_MAX && !is_whole) {
                return;
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\r', '\n']).to_owned();
            if sender.blocking_send(text).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("clawport-stdin".to_owned())
        .spawn(read)
        .map_err(|error| context.fail(&error))?;
    Ok(lines)
}

/// The answer to `chat.send`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Sent {
    status: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChatStep {
    run_id: String,
    state: String,
    message: Option<Said>,
    error_message: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct History {
    messages: Vec<Said>,
    in_flight_run: Option<InFlight>,
    session_info: SessionInfo,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InFlight {
    run_id: String,
    #[serde(default)]
    text: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SessionInfo {
    active_run_ids: Vec<String>,
}

/// A message, in an event or in a transcript.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    role: String,
    #[serde(default)]
    content: Content,
    #[serde(default, rename = "__openclaw")]
    meta: Meta,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Meta {
    run_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Blocks(Vec<Block>),
}

impl Default for Content {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

#[derive(Deserialize)]
struct Block {
    #[serde(default)]
    text: String,
}

impl Said {
    fn is_of(&self, run: &str) -> bool {
        self.meta.run_id.as_deref() == Some(run)
    }

    fn text(&self) -> String {
        match &self.content {
            Content::Text(text) => text.clone(),
            Content::Blocks(blocks) => blocks.iter().map(|block| block.text.as_str()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_passes_by_itself_is_tried_again() {
        let refusal = |retryable: bool| {
            let refusal = json!({"code": "X", "message": "x", "retryable": retryable});
            ConnectError::Refused(serde_json::from_value(refusal).unwrap())
        };
        assert!(is_passing(&refusal(true)));
        assert!(!is_passing(&refusal(false)));
        assert!(is_passing(&ConnectError::Timeout));
        assert!(!is_passing(&ConnectError::Url));
    }

    #[test]
    fn both_forms_of_a_message_are_read() {
        let history: History = serde_json::from_value(json!({
            "messages": [
                {"role": "user", "content": "hi", "__openclaw": {"runId": "r"}},
                {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "x"}],
                 "__openclaw": {"runId": "r"}},
            ],
            "sessionInfo": {"activeRunIds": ["r", "q"]},
            "inFlightRun": {"runId": "r", "text": "half"},
        }))
        .unwrap();
        let texts: Vec<_> = history.messages.iter().map(Said::text).collect();
        assert_eq!(texts, ["hi", "a"]);
        assert!(history.messages.iter().all(|said| said.is_of("r")));
        assert_eq!(history.session_info.active_run_ids, ["r", "q"]);
        assert_eq!(history.in_flight_run.unwrap().text, "half");
    }
}
