//! A host with one native client that sends, watches, stalls, leaves and comes back.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use clawport::client::{
    Client, ClientOptions, ConnectError, Disconnect, Driver, Events, Received, RequestError,
    connect_over,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use turmoil::net::TcpStream;

use crate::gateway::PORT;
use crate::plan::{NativeStep, SESSIONS, TOKEN};
use crate::trace::{Fact, Trace};

/// How long a client tries to come back, and how long it waits for a run of its own.
const PATIENCE: Duration = Duration::from_secs(75);

/// How long one attempt to connect, and one request, may take.
const ATTEMPT_MAX: Duration = Duration::from_secs(4);

/// How long a client that has nothing more to do stays and listens.
const LINGER: Duration = Duration::from_secs(6);

/// A client with its memory of what it sent.
pub(crate) struct Native {
    name: String,
    trace: Trace,
    connection: Option<Connection>,
    connections: u32,
    sent: Vec<Sent>,
    cursors: HashMap<&'static str, String>,
}

#[derive(Clone, Debug)]
struct Sent {
    wire: String,
    session: &'static str,
    method: &'static str,
    params: Value,
    answer: Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Accepted,
    Refused,
    None,
}

struct Connection {
    name: String,
    client: Client,
    stalled_until: Arc<Mutex<Instant>>,
    driver: JoinHandle<Disconnect>,
    reader: JoinHandle<()>,
}

impl Native {
    pub(crate) fn new(name: String, trace: Trace) -> Self {
        Self {
            name,
            trace,
            connection: None,
            connections: 0,
            sent: Vec::new(),
            cursors: HashMap::new(),
        }
    }

    /// Does its steps, then waits for the end of everything it sent.
    pub(crate) async fn run(mut self, steps: Vec<NativeStep>) -> turmoil::Result {
        for step in steps {
            self.step(step).await;
        }
        for n in 0..self.sent.len() {
            self.settle(n).await;
        }
        for session in SESSIONS {
            self.look(session).await;
        }
        // Whatever is still to be told comes within this time.
        sleep(LINGER).await;
        self.leave("done");
        Ok(())
    }

    async fn step(&mut self, step: NativeStep) {
        match step {
            NativeStep::Send {
                session,
                method,
                mode,
                script,
            } => {
                let wire = script.tag.clone();
                let mut params = json!({
                    "sessionKey": session,
                    "idempotencyKey": wire,
                    "message": script.message(),
                });
                if let Some(mode) = mode {
                    params["queueMode"] = json!(mode);
                }
                let mode = if method == "agent" {
                    Some("followup")
                } else {
                    mode
                };
                self.trace.note(Fact::Asked {
                    wire: wire.clone(),
                    session: session.to_owned(),
                    mode: mode.unwrap_or("default").to_owned(),
                });
                self.sent.push(Sent {
                    wire,
                    session,
                    method,
                    params,
                    answer: Answer::None,
                });
                self.send(self.sent.len() - 1).await;
            }
            NativeStep::Repeat => {
                if let Some(last) = self.sent.len().checked_sub(1) {
                    self.send(last).await;
                }
            }
            NativeStep::Abort { session, own } => self.abort(session, own).await,
            NativeStep::Cut { away } => {
                self.leave("cut");
                sleep(away).await;
                for session in SESSIONS {
                    self.look(session).await;
                }
            }
            NativeStep::Stall { how_long } => {
                if let Some(connection) = &self.connection {
                    *connection.stalled_until.lock().unwrap() = Instant::now() + how_long;
                    sleep(how_long).await;
                }
            }
            NativeStep::Look { session } => self.look(session).await,
            NativeStep::Pause(pause) => sleep(pause).await,
        }
    }

    async fn send(&mut self, n: usize) {
        let Sent {
            wire,
            method,
            params,
            ..
        } = self.sent[n].clone();
        let answer = match self.request(method, &params).await {
            Some(Ok(_)) => {
                self.trace.note(Fact::Acknowledged { wire });
                Answer::Accepted
            }
            Some(Err(why)) => {
                self.trace.note(Fact::Refused { wire, why });
                Answer::Refused
            }
            None => {
                self.trace.note(Fact::Unanswered { wire });
                Answer::None
            }
        };
        // What was accepted once stays accepted, whatever a repetition is told.
        if self.sent[n].answer != Answer::Accepted {
            self.sent[n].answer = answer;
        }
    }

    async fn abort(&mut self, session: &'static str, own: bool) {
        let mut params = json!({"sessionKey": session});
        if own {
            let mut newest = self.sent.iter().rev();
            let Some(sent) = newest.find(|it| it.session == session) else {
                return;
            };
            params["runId"] = json!(sent.wire);
        }
        self.request("chat.abort", &params).await;
    }

    /// Reads on in a session, from where this client was.
    async fn look(&mut self, session: &'static str) {
        let mut params = json!({"sessionKey": session, "limit": 1000});
        if let Some(cursor) = self.cursors.get(session) {
            params["cursor"] = json!(cursor);
        }
        let Some(Ok(history)) = self.request("chat.history", &params).await else {
            return;
        };
        if let Some(cursor) = history["deltaCursor"].as_str() {
            self.cursors.insert(session, cursor.to_owned());
        } else {
            self.cursors.remove(session);
        }
        let running = &history["inFlightRun"];
        if let (Some(wire), Some(connection)) = (running["runId"].as_str(), &self.connection) {
            self.trace.note(Fact::CaughtUp {
                connection: connection.name.clone(),
                wire: wire.to_owned(),
                text: running["text"].as_str().unwrap_or_default().to_owned(),
            });
        }
    }

    /// Waits until a message that was sent has come to its end, however often the connection ends.
    async fn settle(&mut self, n: usize) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.sent[n].answer {
                Answer::Refused => return,
                // The same key again: it must not be done twice.
                Answer::None => {
                    self.send(n).await;
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
                Answer::Accepted => {}
            }
            let wire = self.sent[n].wire.clone();
            let params = json!({"runId": wire, "timeoutMs": 2000});
            if let Some(Ok(waited)) = self.request("agent.wait", &params).await
                && waited["endedAt"].is_u64()
            {
                let status = waited["status"].as_str().unwrap_or_default().to_owned();
                return self.trace.note(Fact::Waited { wire, status });
            }
            sleep(Duration::from_millis(50)).await;
        }
        self.trace.note(Fact::Stuck {
            who: format!("{} waits for {}", self.name, self.sent[n].wire),
        });
    }

    /// The answer to a request, or why it was refused; `None` when the connection ended first.
    async fn request(&mut self, method: &str, params: &Value) -> Option<Result<Value, String>> {
        self.come_back().await;
        let client = self.connection.as_ref()?.client.clone();
        match client.request(method, params).await {
            Ok(payload) => Some(Ok(serde_json::from_str(payload.get()).unwrap())),
            Err(RequestError::Remote(error)) => Some(Err(error.to_string())),
            Err(RequestError::Disconnected(_) | RequestError::Timeout) => {
                self.leave("no answer");
                None
            }
            Err(RequestError::Encode(error)) => panic!("{method}: {error}"),
        }
    }

    async fn come_back(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.connection.is_none() && Instant::now() < deadline {
            match timeout(ATTEMPT_MAX * 2, self.connect()).await {
                Ok(Ok(())) => return,
                Ok(Err(_)) | Err(_) => sleep(Duration::from_millis(150)).await,
            }
        }
        if self.connection.is_none() {
            self.trace.note(Fact::Stuck {
                who: format!("{} cannot connect", self.name),
            });
        }
    }

    async fn connect(&mut self) -> Result<(), ConnectError> {
        let unreachable = |source| ConnectError::Unreachable {
            address: "gateway".into(),
            source,
        };
        let stream = TcpStream::connect(("gateway", PORT))
            .await
            .map_err(unreachable)?;
        let options = ClientOptions {
            connect_timeout: ATTEMPT_MAX,
            request_timeout: ATTEMPT_MAX,
            events_max: 1 << 14,
            ..ClientOptions::new(format!("ws://127.0.0.1:{PORT}")).with_token(TOKEN)
        };
        let connected = connect_over(stream, &options).await?;
        self.connections += 1;
        let name = format!("{}/{}", self.name, self.connections);
        self.trace.note(Fact::Connected {
            connection: name.clone(),
        });
        let stalled_until = Arc::new(Mutex::new(Instant::now()));
        let driving = drive(connected.driver, Arc::clone(&stalled_until));
        self.connection = Some(Connection {
            client: connected.client,
            stalled_until,
            driver: tokio::spawn(driving),
            reader: tokio::spawn(read(name.clone(), connected.events, self.trace.clone())),
            name,
        });
        Ok(())
    }

    fn leave(&mut self, how: &str) {
        if let Some(connection) = self.connection.take() {
            self.trace.note(Fact::Disconnected {
                connection: connection.name,
                how: how.to_owned(),
            });
            connection.driver.abort();
            connection.reader.abort();
        }
    }
}

/// Runs a connection, except while its reader is stalled.
async fn drive(driver: Driver<TcpStream>, stalled_until: Arc<Mutex<Instant>>) -> Disconnect {
    let mut running = pin!(driver.run());
    let mut pause = pin!(sleep_until(Instant::now()));
    poll_fn(|cx| {
        let until = *stalled_until.lock().unwrap();
        if until > Instant::now() {
            pause.as_mut().reset(until);
            if pause.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        running.as_mut().poll(cx)
    })
    .await
}

/// Notes what a connection is told about runs.
async fn read(connection: String, mut events: Events, trace: Trace) {
    let mut last_seq: Option<u64> = None;
    while let Some(received) = events.next().await {
        let event = match received {
            Received::Event(event) => event,
            Received::Lagged(_) => {
                last_seq = None;
                trace.note(Fact::Gap {
                    connection: connection.clone(),
                });
                continue;
            }
        };
        if let Some(seq) = event.seq {
            if last_seq.is_some_and(|last| seq != last + 1) {
                trace.note(Fact::Gap {
                    connection: connection.clone(),
                });
            }
            last_seq = Some(seq);
        }
        let payload = event.payload.as_ref().filter(|_| &*event.name == "chat");
        if let Some(payload) = payload {
            let payload: Value = serde_json::from_str(payload.get()).unwrap();
            if let Some(fact) = chat(&connection, &payload) {
                trace.note(fact);
            }
        }
    }
    trace.note(Fact::Disconnected {
        connection,
        how: "ended".to_owned(),
    });
}

fn chat(connection: &str, payload: &Value) -> Option<Fact> {
    let connection = connection.to_owned();
    let wire = payload["runId"].as_str()?.to_owned();
    let text = payload["message"]["content"][0]["text"].as_str();
    let text = text.unwrap_or_default().to_owned();
    match payload["state"].as_str()? {
        "status" => None,
        "delta" => Some(Fact::Delta {
            connection,
            wire,
            new: payload["deltaText"].as_str().unwrap_or_default().to_owned(),
            whole: text,
            replaces: payload["replace"].as_bool().unwrap_or(false),
        }),
        state => Some(Fact::Told {
            connection,
            wire,
            state: state.to_owned(),
            text,
        }),
    }
}
