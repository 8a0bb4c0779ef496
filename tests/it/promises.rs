//! What is promised whatever a backend, a model server or a caller does, over real sockets: lanes
//! come free, cancelling reaches the model, one terminal ends a run, and both fronts share a lane.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clawport::agent::{Agent, AgentTurn, EventStream, RunContext};
use clawport::run::{Event, FinishReason, ModelRef, RunError};
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::http::{chat, chat_with, frames, streamed_text};
use crate::support::served::merge;
use crate::support::upstream::{Part, Reply, Upstream};
use crate::support::{Connection, Native, Puppet, PuppetRun, Served, Setup, soon};

/// `agents.defaults.abortGraceMs` of the gateways here.
const GRACE: Duration = Duration::from_millis(300);

/// What the gateway may need beyond what it is allowed to wait for.
const SLACK: Duration = Duration::from_millis(100);

/// A machine that is busy with something else may delay one try. A gateway that waits for the wrong
/// thing delays them all.
const TRIES: usize = 6;

/// Checks that something happens within a time, by the best of a few tries.
async fn check_timely(
    limit: Duration,
    what: &str,
    mut attempt: impl AsyncFnMut(usize) -> Duration,
) {
    let mut best = Duration::MAX;
    for n in 0..TRIES {
        best = best.min(attempt(n).await);
        if best <= limit {
            return;
        }
    }
    panic!("{what} took {best:?}, not {limit:?}");
}

/// How a backend of [`Unruly`] behaves is what its message says.
const MANNERS: [&str; 5] = ["sleep", "block", "panic", "panic when cancelled", "babble"];

/// An agent with bad manners; to any other message it says it back.
#[derive(Debug)]
struct Unruly {
    starts: mpsc::UnboundedSender<(String, Instant)>,
    released: Arc<AtomicBool>,
}

/// The test's end of an [`Unruly`] agent. Blocked threads go on once it is dropped.
struct Watcher {
    starts: mpsc::UnboundedReceiver<(String, Instant)>,
    released: Arc<AtomicBool>,
}

impl Unruly {
    fn new() -> (Arc<Self>, Watcher) {
        let (sender, starts) = mpsc::unbounded_channel();
        let released = Arc::new(AtomicBool::new(false));
        let agent = Self {
            starts: sender,
            released: Arc::clone(&released),
        };
        (Arc::new(agent), Watcher { starts, released })
    }

    fn behave(&self, message: &str, context: RunContext) -> EventStream {
        let partial = stream::once(async { said("partial") });
        let cancel = context.cancel;
        match message {
            "sleep" => partial.chain(stream::pending()).boxed(),
            "block" => {
                let released = Arc::clone(&self.released);
                let blocks = stream::once(async move {
                    while !released.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    said("after all")
                });
                partial.chain(blocks).boxed()
            }
            "panic" => partial
                .chain(stream::once(async { panic!("an agent of a test panics") }))
                .boxed(),
            "panic when cancelled" => {
                let panics = stream::once(async move {
                    cancel.cancelled().await;
                    panic!("an agent of a test panics")
                });
                partial.chain(panics).boxed()
            }
            "babble" => {
                let babble = stream::unfold((), |()| async {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    Some((said(" and more"), ()))
                });
                partial.chain(babble).boxed()
            }
            other => {
                let end = Ok(Event::Finished(FinishReason::Stop));
                stream::iter([said(other), end]).boxed()
            }
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "an item of a stream of results")]
fn said(text: &str) -> Result<Event, RunError> {
    Ok(Event::Text(text.to_owned()))
}

impl Agent for Unruly {
    fn run(&self, turn: AgentTurn, context: RunContext) -> EventStream {
        let message = turn.turn.text();
        let stream = self.behave(&message, context);
        // A test that is over watches no more.
        self.starts.send((message, Instant::now())).ok();
        stream
    }

    fn model(&self) -> ModelRef {
        ModelRef {
            provider: "test".into(),
            model: "unruly".into(),
        }
    }
}

impl Watcher {
    /// When the run with this message started.
    async fn start_of(&mut self, message: &str) -> Instant {
        let find = async {
            loop {
                let (said, at) = self.starts.recv().await.unwrap();
                if said == message {
                    return at;
                }
            }
        };
        soon(find).await
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.released.store(true, Ordering::Relaxed);
    }
}

async fn unruly() -> (Served, Watcher) {
    let (agent, watcher) = Unruly::new();
    let grace = u64::try_from(GRACE.as_millis()).unwrap();
    let settings = json!({"agents": {"defaults": {"abortGraceMs": grace}}});
    (Setup::new(settings).agent(agent).start().await, watcher)
}

/// Sends a message that waits its turn.
async fn follow_up(native: &Native, session: &str, run: &str, message: &str) {
    let params = json!({"sessionKey": session, "idempotencyKey": run, "message": message,
        "queueMode": "followup"});
    native.call("chat.send", params).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_native_abort_the_next_run_starts_within_the_grace_whatever_the_backend_does() {
    let (served, mut watcher) = unruly().await;
    let mut native = served.native().await;
    for manner in MANNERS {
        check_timely(GRACE + SLACK, manner, async |n| {
            let session = format!("agent:main:{}-{n}", manner.replace(' ', "-"));
            let (first, second) = (format!("{manner} {n}"), format!("{manner} {n} next"));
            native.send(&session, &first, manner).await;
            let mut from = watcher.start_of(manner).await;
            let partial = native.delta(&first).await;
            follow_up(&native, &session, &second, "next").await;
            if manner != "panic" {
                assert_eq!(partial.text(), "partial");
                from = Instant::now();
                let params = json!({"sessionKey": session, "runId": first});
                let aborted = native.call("chat.abort", params).await;
                assert_eq!(aborted["runIds"], json!([first]));
            }
            let start = watcher.start_of("next").await;
            assert_eq!(native.end(&second).await.text(), "next");
            start.saturating_duration_since(from)
        })
        .await;
    }
    served.quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_caller_left_the_next_run_starts_within_the_grace_whatever_the_backend_does() {
    let (served, mut watcher) = unruly().await;
    for manner in MANNERS {
        check_timely(GRACE + SLACK, manner, async |n| {
            let user = format!("{manner} {n}");
            let mut first = served.connect().await;
            first.send(call(&user, true, manner)).await;
            let mut from = watcher.start_of(manner).await;
            assert_eq!(first.head().await.status, 200);
            let mut next = served.connect().await;
            next.send(call(&user, false, "next")).await;
            if manner != "panic" {
                served.waiting(1).await;
                from = Instant::now();
                drop(first);
            }
            let start = watcher.start_of("next").await;
            assert_eq!(next.response().await.content(), "next");
            start.saturating_duration_since(from)
        })
        .await;
    }
    served.quiet().await;
}

/// A chat completion in the session of this user.
fn call(user: &str, stream: bool, message: &str) -> String {
    let messages = json!([{"role": "user", "content": message}]);
    chat(&json!({"user": user, "stream": stream, "messages": messages}).to_string())
}

#[tokio::test]
async fn a_terminal_is_the_last_word_and_the_partial_text_is_kept() {
    let (served, _watcher) = unruly().await;
    let mut native = served.native().await;
    let session = "agent:main:last-word";
    native.send(session, "first", "babble").await;
    assert_eq!(native.delta("first").await.text(), "partial");
    follow_up(&native, session, "second", "next").await;
    let params = json!({"sessionKey": session, "runId": "first"});
    native.call("chat.abort", params.clone()).await;

    let mut events = Vec::new();
    loop {
        let event = soon(native.next()).await.unwrap();
        let is_over = event.run() == "second" && event.is_lifecycle_end();
        events.push(event);
        if is_over {
            break;
        }
    }
    let of_first = |name: &'static str| {
        let events = events.iter();
        let mine = events.filter(move |it| it.name == name && it.run() == "first");
        mine.collect::<Vec<_>>()
    };
    let chat = of_first("chat");
    let terminals = chat.iter().filter(|event| event.is_terminal()).count();
    let last = chat.last().unwrap();
    assert_eq!((terminals, last.state()), (1, "aborted"));
    assert_eq!(last.payload["stopReason"], "rpc");
    assert!(last.text().starts_with("partial"), "{last:?}");
    let agent = of_first("agent");
    let ends = agent
        .iter()
        .filter(|event| event.is_lifecycle_end())
        .count();
    assert!(
        ends == 1 && agent.last().unwrap().is_lifecycle_end(),
        "{agent:?}"
    );

    // A second abort finds nothing and says nothing.
    let again = native.call("chat.abort", params).await;
    assert_eq!(again["aborted"], false);
    let history = native.history(session).await;
    let kept: Vec<_> = history
        .iter()
        .map(|(role, text)| (&**role, &**text))
        .collect();
    let aborted = last.text();
    assert_eq!(
        kept,
        [
            ("user", "babble"),
            ("assistant", &*aborted),
            ("user", "next"),
            ("assistant", "next"),
        ]
    );
    served.quiet().await;
}

#[tokio::test]
async fn the_partial_text_of_a_caller_that_left_is_kept() {
    let (served, _watcher) = unruly().await;
    let native = served.native().await;
    let mut connection = served.connect().await;
    connection.send(call("left", true, "sleep")).await;
    connection.head().await;
    while streamed_text(&connection.events().await) != "partial" {}
    drop(connection);
    served.quiet().await;
    let history = native.history("agent:main:openai-user:left").await;
    let kept = [("user", "sleep"), ("assistant", "partial")];
    assert_eq!(
        history,
        kept.map(|(role, text)| (role.to_owned(), text.to_owned()))
    );
}

#[tokio::test]
async fn both_fronts_share_a_lane_in_the_order_of_arrival() {
    let (agent, mut puppet) = Puppet::new();
    let served = Setup::new(json!({})).agent(agent).start().await;
    let native = served.native().await;
    let session = "agent:main:shared";
    let headers = [("x-openclaw-session-key", session)];
    let body = |text: &str| json!({"messages": [{"role": "user", "content": text}]}).to_string();
    let (mut first, mut third) = (served.connect().await, served.connect().await);
    first.send(chat_with(&headers, &body("1"))).await;
    let mut run = puppet.next().await;
    follow_up(&native, session, "run-2", "2").await;
    third.send(chat_with(&headers, &body("3"))).await;
    served.waiting(2).await;
    follow_up(&native, session, "run-4", "4").await;
    for expected in ["1", "2", "3", "4"] {
        assert_eq!(run.turn.turn.text(), expected);
        assert_eq!(run.session, session);
        assert!(puppet.is_idle());
        run.says(&format!("answer {expected}")).await;
        run.ends().await;
        if expected != "4" {
            run = puppet.next().await;
        }
    }
    assert_eq!(first.response().await.content(), "answer 1");
    assert_eq!(third.response().await.content(), "answer 3");
    served.quiet().await;
    let texts: Vec<_> = native
        .history(session)
        .await
        .into_iter()
        .map(|it| it.1)
        .collect();
    let expected: Vec<_> = (1..=4)
        .flat_map(|n| [n.to_string(), format!("answer {n}")])
        .collect();
    assert_eq!(texts, expected);
}

/// A stream over HTTP in a session of its own, begun and with its first text read.
struct Watched {
    served: Served,
    puppet: Puppet,
    stream: Connection,
    run: PuppetRun,
    wire_id: String,
}

const WATCHED: &str = "agent:main:openai-user:watched";

async fn watched(text: &str) -> Watched {
    let (agent, mut puppet) = Puppet::new();
    let served = Setup::new(json!({})).agent(agent).start().await;
    let mut stream = served.connect().await;
    stream.send(call("watched", true, "hi")).await;
    let run = puppet.next().await;
    let head = stream.head().await;
    let wire_id = head.header("x-openclaw-run-id").unwrap().to_owned();
    run.says(text).await;
    while streamed_text(&stream.events().await) != text {}
    Watched {
        served,
        puppet,
        stream,
        run,
        wire_id,
    }
}

#[tokio::test]
async fn a_native_client_sees_a_stream_of_the_other_front_while_it_runs() {
    let (agent, mut puppet) = Puppet::new();
    let served = Setup::new(json!({})).agent(agent).start().await;
    let mut native = served.native().await;
    let mut stream = served.connect().await;
    stream.send(call("watched", true, "hi")).await;
    let run = puppet.next().await;
    let head = stream.head().await;
    let wire_id = head.header("x-openclaw-run-id").unwrap();
    assert!(wire_id.starts_with("chatcmpl_"), "{wire_id}");

    run.says("so far").await;
    let delta = native.delta(wire_id).await;
    assert_eq!((delta.state(), &*delta.text()), ("delta", "so far"));
    assert_eq!(delta.payload["sessionKey"], WATCHED);
    while streamed_text(&stream.events().await) != "so far" {}

    run.says(" and on").await;
    run.ends().await;
    let end = native.end(wire_id).await;
    assert_eq!((end.state(), &*end.text()), ("final", "so far and on"));
    let text = String::from_utf8(stream.rest_of_stream().await).unwrap();
    assert_eq!(streamed_text(&text), " and on");
}

#[tokio::test]
async fn who_may_can_stop_a_stream_of_the_other_front() {
    let mut watched = watched("half").await;
    let admin = Native::scoped(watched.served.addr(), &["operator.admin"]).await;
    let params = json!({"sessionKey": WATCHED, "runId": watched.wire_id});
    let aborted = admin.call("chat.abort", params).await;
    assert_eq!(aborted["runIds"], json!([watched.wire_id]));
    watched.run.given_up().await;
    let text = String::from_utf8(watched.stream.rest_of_stream().await).unwrap();
    let frames = frames(&text);
    let error: Value = serde_json::from_str(&frames[frames.len() - 2]).unwrap();
    assert_eq!(error["error"]["code"], "run_aborted");
    assert_eq!(frames.last().unwrap(), "[DONE]");
    watched.served.quiet().await;
}

#[tokio::test]
async fn who_may_not_cannot_stop_a_stream_of_the_other_front() {
    let mut watched = watched("half").await;
    let reader = Native::scoped(watched.served.addr(), &["operator.read"]).await;
    for params in [
        json!({"sessionKey": WATCHED, "runId": watched.wire_id}),
        json!({"sessionKey": WATCHED}),
    ] {
        let refusal = reader.refused("chat.abort", params).await;
        assert_eq!(&*refusal.message, "missing scope: operator.write");
    }
    assert!(!watched.run.cancel.is_cancelled());
    watched.run.says(" and whole").await;
    watched.run.ends().await;
    let text = String::from_utf8(watched.stream.rest_of_stream().await).unwrap();
    assert_eq!(streamed_text(&text), " and whole");
    assert!(text.ends_with("data: [DONE]\n\n"));
    assert!(watched.puppet.is_idle());
}

#[tokio::test]
async fn a_run_of_another_native_client_is_stopped_only_by_an_administrator() {
    let (agent, mut puppet) = Puppet::new();
    let served = Setup::new(json!({})).agent(agent).start().await;
    let scopes = ["operator.read", "operator.write"];
    let mut owner = Native::scoped(served.addr(), &scopes).await;
    let other = Native::scoped(served.addr(), &scopes).await;
    let session = "agent:main:owned";
    owner.send(session, "run", "hi").await;
    let run = puppet.next().await;
    for params in [
        json!({"sessionKey": session, "runId": "run"}),
        json!({"sessionKey": session}),
    ] {
        let refusal = other.refused("chat.abort", params).await;
        let said = (&*refusal.code, &*refusal.message);
        assert_eq!(said, ("INVALID_REQUEST", "unauthorized"));
    }
    assert!(!run.cancel.is_cancelled());
    let params = json!({"sessionKey": session, "runId": "run"});
    served.native().await.call("chat.abort", params).await;
    run.given_up().await;
    assert_eq!(owner.end("run").await.state(), "aborted");
}

/// A gateway before a model server that says a little and then nothing.
async fn stalling(members: Value) -> (Served, Upstream) {
    let upstream = Upstream::start().await;
    let provider = json!({"baseUrl": format!("http://{}/v1", upstream.addr()),
        "api": "openai-completions", "models": [{"id": "mock-model"}]});
    let mut settings = json!({"models": {"providers": {"mock": provider}},
        "agents": {"defaults": {"model": "mock/mock-model"}}});
    merge(&mut settings, members);
    (Served::start(settings).await, upstream)
}

fn partial_then_nothing() -> Reply {
    Reply::events([Part::text("partial"), Part::Stall])
}

/// How long after `from` the model server saw its socket closed.
async fn until_closed(upstream: &Upstream, before: usize, from: Instant) -> Duration {
    upstream.until(|counts| counts.closed > before).await;
    from.elapsed()
}

#[tokio::test]
async fn a_native_abort_closes_the_socket_of_the_model_server() {
    let (served, upstream) = stalling(json!({})).await;
    let mut native = served.native().await;
    let session = "agent:main:closing";
    check_timely(SLACK, "closing the socket", async |n| {
        upstream.replies([partial_then_nothing()]);
        let run = format!("run {n}");
        native.send(session, &run, "hi").await;
        assert_eq!(native.delta(&run).await.text(), "partial");
        let before = upstream.counts().closed;
        let from = Instant::now();
        native
            .call("chat.abort", json!({"sessionKey": session, "runId": run}))
            .await;
        until_closed(&upstream, before, from).await
    })
    .await;
    served.quiet().await;
}

#[tokio::test]
async fn a_caller_that_leaves_closes_the_socket_of_the_model_server() {
    let (served, upstream) = stalling(json!({})).await;
    // Streamed or not, after the first text or before the first byte of the model server.
    for (stream, reply) in [
        (true, partial_then_nothing()),
        (false, partial_then_nothing()),
        (true, Reply::Silence),
        (false, Reply::Silence),
    ] {
        let what = format!("closing the socket (stream: {stream}, {reply:?})");
        check_timely(SLACK, &what, async |n| {
            upstream.replies([reply.clone()]);
            let counts = upstream.counts();
            let mut connection = served.connect().await;
            connection
                .send(call(&format!("user {n}"), stream, "hi"))
                .await;
            upstream.until(|now| now.asked > counts.asked).await;
            if stream {
                connection.head().await;
            }
            if stream && matches!(reply, Reply::Body(..)) {
                while streamed_text(&connection.events().await) != "partial" {}
            }
            let from = Instant::now();
            drop(connection);
            until_closed(&upstream, counts.closed, from).await
        })
        .await;
    }
    served.quiet().await;
}

#[tokio::test]
async fn a_run_that_takes_too_long_closes_the_socket_of_the_model_server() {
    let timeout = Duration::from_secs(1);
    let (served, upstream) = stalling(json!({"agents": {"defaults": {"timeoutSeconds": 1}}})).await;
    let mut native = served.native().await;
    let session = "agent:main:timeout";
    check_timely(timeout + SLACK, "closing the socket", async |n| {
        upstream.replies([partial_then_nothing()]);
        let counts = upstream.counts();
        let run = format!("run {n}");
        native.send(session, &run, "hi").await;
        upstream.until(|now| now.asked > counts.asked).await;
        let from = Instant::now();
        let elapsed = until_closed(&upstream, counts.closed, from).await;
        let end = native.end(&run).await;
        assert_eq!((end.state(), &*end.text()), ("aborted", "partial"));
        assert_eq!(end.payload["stopReason"], "timeout");
        assert!(elapsed > timeout / 2, "{elapsed:?}");
        elapsed
    })
    .await;
    served.quiet().await;
}
