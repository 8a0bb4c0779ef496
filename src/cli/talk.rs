//! `agent`, `call` and `health`: one conversation with a running gateway.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::args::{AgentArgs, CallArgs, HealthArgs};
use super::remote::{refused, target, with_client};
use super::serve::Signals;
use super::{Context, Failure};
use crate::client::{Client, Event, Events, Received, RequestError};
use crate::ids::{IdSource, SystemIds};

/// How long an aborted run may take to say so.
const ABORT_PATIENCE: Duration = Duration::from_secs(10);

/// Calls any method.
pub(super) fn call(context: Context<'_>, args: CallArgs) -> Result<(), Failure> {
    let params: Value = serde_json::from_str(&args.params).map_err(|error| {
        let message = format!("the params of {} are not JSON: {error}", args.method);
        context.output.error(&message);
        Failure::Usage
    })?;
    let wait = args.wait();
    let mut target = target(context, args.remote)?;
    target.options.request_timeout = wait;
    with_client(context, &target, |client, _events| async move {
        // The first answer of a run only says that it was accepted.
        let answer = match args.method.as_str() {
            "agent" => client.request_final(&args.method, &params).await,
            _ => client.request(&args.method, &params).await,
        };
        let answer = answer.map_err(|error| refused(context, &error))?;
        context.output.answer_line(&shown(&answer, args.json));
        Ok(())
    })
}

/// An answer in one line, or as people read it.
fn shown(answer: &RawValue, one_line: bool) -> String {
    match serde_json::from_str::<Value>(answer.get()) {
        Ok(value) if !one_line => format!("{value:#}"),
        Ok(_) | Err(_) => answer.get().to_owned(),
    }
}

/// Asks the gateway how it is.
pub(super) fn health(context: Context<'_>, args: HealthArgs) -> Result<(), Failure> {
    let target = target(context, args.remote)?;
    let url = target.options.url.clone();
    with_client(context, &target, |client, _events| async move {
        let answer = client.request("health", &json!({})).await;
        let answer = answer.map_err(|error| refused(context, &error))?;
        if args.json {
            context.output.answer_line(answer.get());
            return Ok(());
        }
        let health: Health = serde_json::from_str(answer.get()).unwrap_or_default();
        let hello = client.hello();
        let agents = health.agents.len();
        let sessions = health.sessions.count;
        let version = &hello.server.version;
        let protocol = hello.protocol;
        context.output.answer_line(&format!(
            "ok: {url}, protocol {protocol}, compatible with {version}, \
             agents: {agents}, sessions: {sessions}"
        ));
        Ok(())
    })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Health {
    agents: Vec<serde::de::IgnoredAny>,
    sessions: HealthSessions,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HealthSessions {
    count: u64,
}

/// Runs one agent turn; Ctrl-C aborts the run.
pub(super) fn agent(context: Context<'_>, args: AgentArgs) -> Result<(), Failure> {
    let target = target(context, args.remote)?;
    let turn = Turn {
        context,
        run_id: SystemIds.random().to_string(),
        message: args.message,
        agent: args.agent,
        session_key: args.session_key,
        timeout: args.timeout,
        stream: args.stream,
        json: args.json,
    };
    with_client(context, &target, |client, events| async move {
        let result = turn.run(&client, events).await;
        client.close().await;
        result
    })
}

/// One agent turn.
struct Turn<'a> {
    context: Context<'a>,
    run_id: String,
    message: String,
    agent: Option<String>,
    session_key: Option<String>,
    timeout: Option<u64>,
    stream: bool,
    json: bool,
}

/// The session to talk in: without a key the main one of the agent, so that a conversation goes on
/// from one command to the next.
pub(super) fn session_or_main(key: Option<&str>, agent: Option<&str>) -> String {
    match (key, agent) {
        (Some(key), _) => key.to_owned(),
        (None, Some(agent)) => format!("agent:{agent}:main"),
        (None, None) => "main".to_owned(),
    }
}

/// What has been printed of an answer.
#[derive(Default)]
pub(super) struct Printed {
    text: String,
}

impl Turn<'_> {
    async fn run(&self, client: &Client, mut events: Events) -> Result<(), Failure> {
        let mut signals = Signals::new().map_err(|error| self.context.fail(&error))?;
        let params = self.params();
        let mut answer = std::pin::pin!(client.request_final("agent", &params));
        let mut printed = Printed::default();
        let mut more = true;
        loop {
            tokio::select! {
                biased;
                () = signals.next() => return self.abort(client, answer, &mut signals).await,
                received = events.next(), if more => match received {
                    Some(Received::Event(event)) => self.show_event(&event, &mut printed),
                    // The next event carries the whole text again.
                    Some(Received::Lagged(_)) => {}
                    None => more = false,
                },
                answer = &mut answer => return self.show_answer(answer, &mut printed),
            }
        }
    }

    fn params(&self) -> Value {
        let mut params = json!({
            "message": self.message,
            "idempotencyKey": self.run_id,
            "sessionKey": self.session(),
        });
        let optional = [
            ("agentId", self.agent.as_deref().map(Value::from)),
            ("timeout", self.timeout.map(Value::from)),
        ];
        if let Value::Object(members) = &mut params {
            let given = optional
                .into_iter()
                .filter_map(|(key, value)| Some((key, value?)));
            members.extend(given.map(|(key, value)| (key.to_owned(), value)));
        }
        params
    }

    fn session(&self) -> String {
        session_or_main(self.session_key.as_deref(), self.agent.as_deref())
    }

    fn show_event(&self, event: &Event, printed: &mut Printed) {
        let payload = event.payload.as_deref().map_or("null", RawValue::get);
        if !self.stream || &*event.name != "agent" {
            return;
        }
        let Ok(event) = serde_json::from_str::<AgentEvent>(payload) else {
            return;
        };
        if event.run_id != self.run_id {
            return;
        }
        if self.json {
            self.context.output.answer_line(payload);
        } else if let (true, Some(text)) = (event.stream == "assistant", event.data.text) {
            printed.advance(self.context, &text);
        }
    }

    fn show_answer(
        &self,
        answer: Result<Box<RawValue>, RequestError>,
        printed: &mut Printed,
    ) -> Result<(), Failure> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                printed.end_line(self.context);
                return Err(refused(self.context, &error));
            }
        };
        let run: RunAnswer = serde_json::from_str(answer.get()).unwrap_or_default();
        if self.json {
            self.context.output.answer_line(answer.get());
        } else {
            let text = run.text();
            printed.advance(self.context, &text);
            printed.end_line(self.context);
        }
        if run.status == "ok" {
            return Ok(());
        }
        let why = run.stop_reason.or(run.summary).unwrap_or(run.status);
        self.context
            .output
            .error(&format!("the run did not finish: {why}"));
        Err(Failure::Failed)
    }

    /// Stops the run and waits until it says so; a second Ctrl-C leaves at once.
    async fn abort(
        &self,
        client: &Client,
        answer: impl Future<Output = Result<Box<RawValue>, RequestError>>,
        signals: &mut Signals,
    ) -> Result<(), Failure> {
        self.context.output.say("\naborting the run\n");
        let mut params = json!({ "sessionKey": self.session(), "runId": self.run_id });
        if let (Value::Object(members), Some(agent)) = (&mut params, &self.agent) {
            members.insert("agentId".to_owned(), agent.as_str().into());
        }
        let stopping = async {
            if let Err(error) = client.request("chat.abort", &params).await {
                refused(self.context, &error);
            }
            // How the run ended is known: it was aborted.
            timeout(ABORT_PATIENCE, answer).await.ok();
        };
        tokio::select! {
            biased;
            () = signals.next() => {}
            () = stopping => {}
        }
        Err(Failure::Failed)
    }
}

impl Printed {
    /// Prints what `text` has beyond what is printed.
    pub(super) fn advance(&mut self, context: Context<'_>, text: &str) {
        if let Some(more) = text.strip_prefix(self.text.as_str()) {
            context.output.answer(more);
        } else {
            // The agent took back what it said; a terminal cannot.
            self.end_line(context);
            context.output.answer(text);
        }
        text.clone_into(&mut self.text);
    }

    pub(super) fn end_line(&self, context: Context<'_>) {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            context.output.answer("\n");
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AgentEvent {
    run_id: String,
    stream: String,
    #[serde(default)]
    data: AgentEventData,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AgentEventData {
    text: Option<String>,
}

/// The last answer of `agent`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RunAnswer {
    status: String,
    summary: Option<String>,
    stop_reason: Option<String>,
    result: Option<RunResult>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RunResult {
    payloads: Vec<Payload>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Payload {
    text: Option<String>,
}

impl RunAnswer {
    /// What the agent said.
    fn text(&self) -> String {
        let payloads = self.result.iter().flat_map(|result| &result.payloads);
        let texts: Vec<&str> = payloads.filter_map(|part| part.text.as_deref()).collect();
        texts.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_holds_the_text_and_how_it_ended() {
        let answer: RunAnswer = serde_json::from_value(json!({
            "runId": "r", "status": "ok", "summary": "completed",
            "result": {"payloads": [{"text": "a", "mediaUrl": null}, {}, {"text": "b"}], "meta": {}},
        }))
        .unwrap();
        assert_eq!(
            (answer.text().as_str(), answer.status.as_str()),
            ("a\nb", "ok")
        );
        let cut: RunAnswer = serde_json::from_value(
            json!({"status": "timeout", "summary": "aborted", "stopReason": "rpc"}),
        )
        .unwrap();
        assert_eq!(cut.text(), "");
        assert_eq!(cut.stop_reason.as_deref(), Some("rpc"));
    }
}
