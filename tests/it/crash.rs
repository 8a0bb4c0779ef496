//! A gateway that is killed, and one that is asked to end: a process of its own, over real sockets.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

use clawport::client::{Disconnect, RequestError};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::cli::{Home, Running};
use crate::support::http::{chat, frames, request, streamed_text};
use crate::support::native::options;
use crate::support::upstream::Upstream;
use crate::support::{Connection, Native, TOKEN, soon};

/// How often the gateway is killed at work, unless `CLAWPORT_KILLS` says so.
const KILLS: u64 = 50;

/// Rounds that use the same sessions.
const ROUNDS_PER_SESSION: u64 = 10;

/// Native clients that send at the same time, each into sessions of its own.
const CLIENTS: usize = 3;

/// Sessions of a client.
const SESSIONS: usize = 2;

/// A home whose agent answers slowly enough to be killed at work.
fn home(members: &Value) -> Home {
    Home::with_config(&settings(members).to_string())
}

pub(crate) fn settings(members: &Value) -> Value {
    let mut settings = json!({
        "gateway": {
            "auth": {"mode": "token", "token": TOKEN},
            "http": {"endpoints": {"chatCompletions": {"enabled": true}}},
        },
        "messages": {"queue": {"cap": 1000}},
    });
    crate::support::served::merge(&mut settings, members.clone());
    settings
}

/// An agent behind a model server that takes its time and notes what it is asked.
pub(crate) fn behind(upstream: &Upstream) -> Value {
    let provider = json!({"baseUrl": format!("http://{}/v1", upstream.addr()),
        "api": "openai-completions", "models": [{"id": "mock-model"}]});
    json!({
        "models": {"providers": {"mock": provider}},
        "agents": {"defaults": {
            "model": "mock/mock-model",
            "systemPrompt": "[[mock tokens=8 delay=5]]",
        }},
    })
}

/// What the gateway has taken on: it must not be lost any more.
#[derive(Clone, Debug)]
pub(crate) enum Promise {
    /// A native message was acknowledged.
    Message {
        session: String,
        run: String,
        method: &'static str,
        params: Value,
    },
    /// A call over HTTP was answered.
    Answer {
        session: String,
        asked: String,
        said: String,
    },
}

/// Sends messages one after the other until the connection ends. The text of a message is the name
/// of its run.
async fn send_messages(
    native: Native,
    (client, round): (usize, u64),
    promises: mpsc::UnboundedSender<Promise>,
) {
    for n in 0.. {
        let decade = round / ROUNDS_PER_SESSION;
        let session = format!("agent:main:c{client}-{decade}-{}", n % SESSIONS);
        let run = format!("c{client} round {round} message {n}");
        let mut params = json!({"sessionKey": session, "idempotencyKey": run, "message": run});
        // Every way a message can come in: into a busy session or beside it, both methods.
        let method = match n % 4 {
            0 | 1 => "chat.send",
            2 => {
                params["queueMode"] = json!("followup");
                "chat.send"
            }
            _ => "agent",
        };
        match native.client.request(method, &params).await {
            Ok(_acknowledged) => promises
                .send(Promise::Message {
                    session,
                    run,
                    method,
                    params,
                })
                .unwrap(),
            Err(RequestError::Disconnected(_)) => return,
            Err(error) => panic!("{run}: {error}"),
        }
    }
}

/// Makes calls over HTTP until the connection ends.
async fn make_calls(
    mut connection: Connection,
    round: u64,
    promises: mpsc::UnboundedSender<Promise>,
) {
    let user = format!("caller-{}", round / ROUNDS_PER_SESSION);
    for n in 0.. {
        let asked = format!("round {round} call {n}");
        let messages = json!([{"role": "user", "content": asked}]);
        let body = json!({"user": user, "messages": messages}).to_string();
        let Some(response) = connection.try_ask(chat(&body)).await else {
            return;
        };
        promises
            .send(Promise::Answer {
                session: format!("agent:main:openai-user:{user}"),
                asked,
                said: response.content(),
            })
            .unwrap();
    }
}

/// When a gateway is killed: after so many promises, and so many milliseconds more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) promises: usize,
    pub(crate) delay_ms: u64,
}

impl Moment {
    fn random(random: &RandomState, round: u64) -> Self {
        let number = random.hash_one(round);
        Self {
            promises: 1 + usize::try_from(number % 40).unwrap(),
            delay_ms: (number >> 32) % 20,
        }
    }
}

/// Sends from all sides, kills the gateway at the moment, and returns everything it promised until
/// it was gone.
pub(crate) async fn round(
    (gateway, addr): (Running, SocketAddr),
    number: u64,
    moment: Moment,
) -> Vec<Promise> {
    let (sender, mut promises) = mpsc::unbounded_channel();
    let mut senders = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let native = Native::connect(addr).await;
        senders.spawn(send_messages(native, (client, number), sender.clone()));
    }
    let connection = Connection::open(addr).await;
    senders.spawn(make_calls(connection, number, sender));
    let mut kept = Vec::new();
    while kept.len() < moment.promises {
        kept.push(soon(promises.recv()).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(moment.delay_ms)).await;
    gateway.signal("KILL");
    while let Some(promise) = soon(promises.recv()).await {
        kept.push(promise);
    }
    while let Some(ended) = senders.join_next().await {
        ended.unwrap();
    }
    assert_eq!(gateway.end().code, None);
    kept
}

/// Where a text stands in a transcript, as its only copy.
fn position(history: &[(String, String)], role: &str, text: &str) -> usize {
    let is_it = |entry: &(String, String)| entry.0 == role && entry.1 == text;
    let found: Vec<_> = (0..history.len()).filter(|&n| is_it(&history[n])).collect();
    assert_eq!(found.len(), 1, "{role} {text:?} in {history:#?}");
    found[0]
}

/// Checks that every message that was acknowledged shows: in the transcript, or still waiting.
async fn check_shown(native: &Native, promises: &[Promise]) {
    for promise in promises {
        let Promise::Message { session, run, .. } = promise else {
            continue;
        };
        let params = json!({"sessionKey": session, "limit": 1000});
        let history = native.call("chat.history", params).await;
        let text = json!(run).to_string();
        assert!(
            history["messages"].to_string().contains(&text)
                || history["pendingInputs"].to_string().contains(&text),
            "{run} in {history:#}"
        );
    }
}

/// Checks that every promise was kept, and in the order the promises were made.
async fn check_kept(native: &Native, promises: &[Promise]) {
    let mut histories = HashMap::new();
    let mut last = HashMap::new();
    for promise in promises {
        let (Promise::Message { session, .. } | Promise::Answer { session, .. }) = promise;
        if !histories.contains_key(session) {
            histories.insert(session, native.history(session).await);
        }
        let history = &histories[session];
        let at = match promise {
            Promise::Message { run, .. } => position(history, "user", run),
            Promise::Answer { asked, said, .. } => {
                let at = position(history, "user", asked);
                assert_eq!(history[at + 1], ("assistant".to_owned(), said.clone()));
                at
            }
        };
        // A message that is steered goes before those that wait for a turn of their own, if the
        // agent takes it.
        let is_steered = match promise {
            Promise::Message { method, params, .. } => {
                *method == "chat.send" && params.get("queueMode").is_none()
            }
            Promise::Answer { .. } => false,
        };
        if is_steered {
            continue;
        }
        let before = last.insert(session, at);
        assert!(
            before.is_none_or(|before| before < at),
            "{promise:?} in {history:#?}"
        );
    }
}

/// Checks that every run that was taken on has one end.
async fn check_ended(native: &Native, promises: &[Promise]) {
    for promise in promises {
        let Promise::Message { run, .. } = promise else {
            continue;
        };
        let waited = native
            .call("agent.wait", json!({"runId": run, "timeoutMs": 20_000}))
            .await;
        let cut = waited["status"] == "timeout" && waited["stopReason"] == "restart";
        assert!(waited["status"] == "ok" || cut, "{waited}");
        assert!(waited["endedAt"].is_u64(), "{waited}");
    }
}

/// Checks that a message that is sent again starts nothing.
async fn check_known(native: &Native, promises: &[Promise]) {
    for promise in promises {
        let Promise::Message {
            run,
            method,
            params,
            ..
        } = promise
        else {
            continue;
        };
        let again = native.call(method, params.clone()).await;
        let status = again["status"].as_str().unwrap();
        assert!(!["started", "accepted"].contains(&status), "{run}: {again}");
    }
}

/// Checks everything that must hold after a crash, in the next process.
pub(crate) async fn check(native: &Native, promises: &[Promise]) {
    check_shown(native, promises).await;
    check_known(native, promises).await;
    check_ended(native, promises).await;
    check_kept(native, promises).await;
}

/// Checks that the model server was asked no message twice.
fn check_asked_once(upstream: &Upstream) {
    let mut times: HashMap<String, usize> = HashMap::new();
    for asked in upstream.asked() {
        let messages = asked.body["messages"].as_array().unwrap();
        *times
            .entry(messages.last().unwrap().to_string())
            .or_default() += 1;
    }
    assert!(times.len() > 1, "it was asked nothing");
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_acknowledged_is_lost_or_doubled_by_a_kill() {
    let kills = std::env::var("CLAWPORT_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let upstream = Upstream::start().await;
    let home = home(&behind(&upstream));
    let random = RandomState::new();
    let mut all = Vec::new();
    for number in 0..kills {
        let moment = Moment::random(&random, number);
        let promises = round(home.gateway(&[]), number, moment).await;
        let (gateway, addr) = home.gateway(&[]);
        let native = Native::connect(addr).await;
        check(&native, &promises).await;
        all.extend(promises);
        drop(native);
        gateway.signal("KILL");
        gateway.end();
    }
    let (_gateway, addr) = home.gateway(&[]);
    let native = Native::connect(addr).await;
    check_kept(&native, &all).await;
    check_ended(&native, &all).await;
    check_asked_once(&upstream);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_asked_to_end_finishes_what_runs_takes_nothing_new_and_says_goodbye() {
    let home = home(&json!({
        "agents": {"defaults": {"model": "sim/lorem?tokens=40&interTokenMs=30"}},
    }));
    let (mut gateway, addr) = home.gateway(&[]);
    let mut native = Native::connect(addr).await;
    let mut stream = Connection::open(addr).await;
    let messages = json!([{"role": "user", "content": "hi"}]);
    let body = json!({"stream": true, "messages": messages});
    stream.send(chat(&body.to_string())).await;
    assert_eq!(stream.head().await.status, 200);
    let mut text = stream.events().await;
    while streamed_text(&text).is_empty() {
        text.push_str(&stream.events().await);
    }
    let mut other = Connection::open(addr).await;

    gateway.signal("TERM");
    gateway.log_line("no new work is taken");
    let ready = other.ask(request("GET", "/readyz", &[], "")).await;
    assert_eq!(ready.status(), 503);
    let refused = other.ask(chat(&body.to_string())).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.header("retry-after").is_some());
    let params = json!({"sessionKey": "main", "idempotencyKey": "k", "message": "hi"});
    let refusal = native.refused("chat.send", params).await;
    assert_eq!((&*refusal.code, refusal.retryable), ("UNAVAILABLE", true));
    assert!(clawport::client::connect(&options(addr)).await.is_err());

    text.push_str(std::str::from_utf8(&stream.rest_of_stream().await).unwrap());
    assert_eq!(
        streamed_text(&text).split_whitespace().count(),
        40,
        "{text}"
    );
    assert_eq!(frames(&text).last().unwrap(), "[DONE]");
    native.event(|event| event.name == "shutdown").await;
    let end = soon(native.end_of_connection()).await;
    let said = matches!(&end, Disconnect::Closed { code: 1012, reason: Some(reason) }
        if &**reason == "service restart");
    assert!(said, "{end:?}");
    assert_eq!(gateway.end().code, Some(0));
}
