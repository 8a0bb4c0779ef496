//! What happens to a message for a busy session, as a native client sees it: which mode decides,
//! what each mode does, what becomes of messages there is no room for.

use clawport::error::ErrorCode;
use clawport::run::RunError;
use serde_json::{Value, json};

use crate::support::http::chat_with;
use crate::support::{Native, Puppet, PuppetRun, Served, Setup};

const SESSION: &str = "agent:main:s";

/// What a message that comes while a run is active may be told.
#[derive(Clone, Copy, Debug, Default)]
struct Modes {
    /// `messages.queue.mode`.
    configured: Option<&'static str>,
    /// What `/queue` was told before, in order.
    session: &'static [&'static str],
    /// `queueMode` of the call.
    call: Option<&'static str>,
}

async fn served(queue: Value) -> (Served, Puppet) {
    let (agent, puppet) = Puppet::new();
    let settings = json!({"messages": {"queue": queue}});
    (Setup::new(settings).agent(agent).start().await, puppet)
}

async fn send(native: &Native, run: &str, mode: Option<&str>) {
    let mut params = json!({"sessionKey": SESSION, "idempotencyKey": run, "message": run});
    if let Some(mode) = mode {
        params["queueMode"] = json!(mode);
    }
    let told = native.call("chat.send", params).await;
    assert_eq!(
        (&told["runId"], &told["status"]),
        (&json!(run), &json!("started"))
    );
}

/// Starts the run `a` and leaves it active.
async fn busy(native: &Native, puppet: &mut Puppet) -> PuppetRun {
    send(native, "a", None).await;
    let active = puppet.next().await;
    assert_eq!(active.asked(), ["a"]);
    active
}

async fn answer(run: PuppetRun, text: &str) {
    run.says(text).await;
    run.ends().await;
}

/// Checks that an input ended as a part of another run: an empty `final` under its own id, and a
/// receipt that names its message.
async fn check_folded(native: &mut Native, run: &str) {
    let end = native.end(run).await;
    assert_eq!(end.state(), "final", "{run}");
    assert_eq!(end.payload.get("message"), None, "{run}");
    let asked = json!({"sessionKey": SESSION, "inputRunIds": [run]});
    let history = native.call("chat.history", asked).await;
    let receipt = &history["inputReceipts"][0];
    assert_eq!(receipt["state"], "consumed", "{history}");
    let messages = history["messages"].as_array().unwrap();
    let its = messages
        .iter()
        .find(|message| message["__openclaw"]["id"] == receipt["consumedByEventId"]);
    let content = &its.unwrap()["content"];
    let text = content.as_str().or(content[0]["text"].as_str());
    assert_eq!(text, Some(run), "{history}");
}

/// Checks that two messages for a busy session are treated by `mode`.
async fn check_does(native: &mut Native, puppet: &mut Puppet, call: Option<&str>, mode: &str) {
    let mut active = busy(native, puppet).await;
    send(native, "b", call).await;
    if mode == "interrupt" {
        assert_eq!(native.end("a").await.state(), "aborted");
        let next = puppet.next().await;
        assert_eq!(next.asked(), ["b"]);
        answer(next, "to b").await;
        assert_eq!(native.end("b").await.text(), "to b");
        return;
    }
    send(native, "c", call).await;
    if mode == "steer" {
        assert_eq!(
            (active.takes().await, active.takes().await),
            ("b".to_owned(), "c".to_owned())
        );
        answer(active, "to all").await;
        assert_eq!(native.end("a").await.text(), "to all");
        check_folded(native, "b").await;
        check_folded(native, "c").await;
        return;
    }
    answer(active, "to a").await;
    assert_eq!(native.end("a").await.text(), "to a");
    let next = puppet.next().await;
    if mode == "collect" {
        assert_eq!(next.asked(), ["b", "c"]);
        answer(next, "to both").await;
        assert_eq!(native.end("b").await.text(), "to both");
        check_folded(native, "c").await;
        return;
    }
    assert_eq!(mode, "followup");
    assert_eq!(next.asked(), ["b"]);
    answer(next, "to b").await;
    assert_eq!(native.end("b").await.text(), "to b");
    let last = puppet.next().await;
    assert_eq!(last.asked(), ["c"]);
    answer(last, "to c").await;
    assert_eq!(native.end("c").await.text(), "to c");
}

async fn check(modes: Modes, expected: &str) {
    let queue = match modes.configured {
        None => json!({"debounceMs": 50}),
        Some(mode) => json!({"debounceMs": 50, "mode": mode}),
    };
    let (served, mut puppet) = served(queue).await;
    let mut native = served.native().await;
    for (n, word) in modes.session.iter().enumerate() {
        native
            .send(SESSION, &format!("q{n}"), &format!("/queue {word}"))
            .await;
    }
    assert!(puppet.is_idle(), "a command is no work for the agent");
    check_does(&mut native, &mut puppet, modes.call, expected).await;
    assert!(puppet.is_idle(), "{modes:?}");
    served.quiet().await;
}

#[tokio::test]
async fn the_call_decides_then_the_session_then_the_configuration_then_the_protocol() {
    let none = Modes::default();
    check(none, "steer").await;
    for mode in ["steer", "collect", "followup", "interrupt"] {
        check(
            Modes {
                configured: Some(mode),
                ..none
            },
            mode,
        )
        .await;
    }
    let configured = Some("collect");
    let session = &["interrupt", "followup"];
    check(
        Modes {
            configured,
            session,
            call: None,
        },
        "followup",
    )
    .await;
    for call in ["steer", "collect", "followup", "interrupt"] {
        check(
            Modes {
                configured,
                session,
                call: Some(call),
            },
            call,
        )
        .await;
    }
    let session = &["interrupt", "default"];
    check(
        Modes {
            configured,
            session,
            call: None,
        },
        "collect",
    )
    .await;
}

#[tokio::test]
async fn a_message_the_run_does_not_take_has_a_turn_of_its_own() {
    let (served, mut puppet) = served(json!({})).await;
    let mut native = served.native().await;
    let active = busy(&native, &mut puppet).await;
    send(&native, "b", Some("steer")).await;
    answer(active, "to a").await;
    let next = puppet.next().await;
    assert_eq!(next.asked(), ["b"]);
    answer(next, "to b").await;
    assert_eq!(native.end("b").await.text(), "to b");
    let said = native.history(SESSION).await;
    let texts: Vec<_> = said.iter().map(|(_role, text)| text.as_str()).collect();
    assert_eq!(texts, ["a", "to a", "b", "to b"]);
}

#[tokio::test]
async fn a_queued_input_shows_is_waited_for_and_can_be_taken_back() {
    let (served, mut puppet) = served(json!({"mode": "followup"})).await;
    let mut native = served.native().await;
    let active = busy(&native, &mut puppet).await;
    send(&native, "b", None).await;
    let pending = async || {
        let asked = json!({"sessionKey": SESSION, "inputRunIds": ["b"]});
        let history = native.call("chat.history", asked).await;
        (
            history["pendingInputs"].clone(),
            history["inputReceipts"].clone(),
        )
    };
    let (waits, receipts) = pending().await;
    assert_eq!(waits["total"], 1, "{waits}");
    assert_eq!(waits["items"][0]["runId"], "b");
    assert_eq!(waits["items"][0]["state"], "queued");
    assert_eq!(receipts, json!([{"runId": "b", "state": "pending"}]));
    let brief = json!({"runId": "b", "timeoutMs": 0});
    let waited = native.call("agent.wait", brief).await;
    assert_eq!(waited.get("endedAt"), None, "{waited}");
    let abort = json!({"sessionKey": SESSION, "runId": "b"});
    let aborted = native.call("chat.abort", abort).await;
    assert_eq!(aborted["runIds"], json!(["b"]));
    assert_eq!(native.end("b").await.state(), "aborted");
    answer(active, "to a").await;
    assert_eq!(native.end("a").await.text(), "to a");
    served.quiet().await;
    assert!(puppet.is_idle(), "what was taken back is not run");
    let history = native
        .call("chat.history", json!({"sessionKey": SESSION}))
        .await;
    assert_eq!(history["pendingInputs"]["total"], 0, "{history}");
}

#[tokio::test]
async fn what_somebody_waits_for_is_never_merged_or_dropped() {
    let queue = json!({"mode": "collect", "debounceMs": 50, "cap": 2, "drop": "old"});
    let (served, mut puppet) = served(queue).await;
    let mut native = served.native().await;
    let active = busy(&native, &mut puppet).await;
    let waits = json!({"sessionKey": SESSION, "idempotencyKey": "waits", "message": "waits"});
    let accepted = native.call("agent", waits).await;
    assert_eq!(accepted["status"], "accepted");
    send(&native, "b", None).await;
    // The queue is full: the chat message goes, though the other is older.
    send(&native, "c", None).await;
    let dropped = native.end("b").await;
    assert_eq!(dropped.state(), "aborted");
    assert_eq!(dropped.payload["stopReason"], "dropped");
    answer(active, "to a").await;
    for run in ["waits", "c"] {
        let next = puppet.next().await;
        assert_eq!(next.asked(), [run]);
        answer(next, "said").await;
    }
    assert_eq!(native.end("c").await.text(), "said");
    // What was dropped stays in the transcript.
    let said = native.history(SESSION).await;
    assert!(
        said.contains(&("user".to_owned(), "b".to_owned())),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_call_over_http_has_a_turn_of_its_own_in_every_mode() {
    for mode in ["steer", "collect", "followup", "interrupt"] {
        let queue = json!({"mode": mode, "debounceMs": 50, "cap": 2, "drop": "old"});
        let (served, mut puppet) = served(queue).await;
        let native = served.native().await;
        let active = busy(&native, &mut puppet).await;
        let mut http = served.connect().await;
        let body = r#"{"messages":[{"role":"user","content":"over http"}]}"#;
        http.send(chat_with(&[("x-openclaw-session-key", SESSION)], body))
            .await;
        served.waiting(1).await;
        send(&native, "b", None).await;
        if mode != "interrupt" {
            answer(active, "to a").await;
        }
        let mut asked = Vec::new();
        for _ in 0..2 {
            let next = puppet.next().await;
            let message = next.asked().join(" and ");
            answer(next, &format!("to {message}")).await;
            asked.push(message);
        }
        asked.sort();
        assert_eq!(asked, ["b", "over http"], "{mode}");
        assert_eq!(http.response().await.content(), "to over http", "{mode}");
    }
}

#[tokio::test]
async fn a_full_queue_refuses_drops_or_sums_up_as_it_is_told() {
    for (policy, expected) in [
        ("new", None),
        ("old", Some("c")),
        ("summarize", Some("- b")),
    ] {
        let queue = json!({"mode": "followup", "cap": 1, "drop": policy});
        let (served, mut puppet) = served(queue).await;
        let mut native = served.native().await;
        let active = busy(&native, &mut puppet).await;
        send(&native, "b", None).await;
        let Some(expected) = expected else {
            let more = json!({"sessionKey": SESSION, "idempotencyKey": "c", "message": "c"});
            let refused = native.refused("chat.send", more).await;
            assert_eq!((&*refused.code, refused.retryable), ("UNAVAILABLE", true));
            assert!(refused.retry_after_ms.is_some());
            answer(active, "to a").await;
            assert_eq!(puppet.next().await.asked(), ["b"]);
            continue;
        };
        send(&native, "c", None).await;
        assert_eq!(native.end("b").await.payload["stopReason"], "dropped");
        answer(active, "to a").await;
        let next = puppet.next().await;
        let asked = next.asked().join("");
        assert!(asked.contains(expected) && asked.ends_with('c'), "{asked}");
        assert_eq!(asked.contains("- b"), policy == "summarize", "{asked}");
        answer(next, "to c").await;
        assert_eq!(native.end("c").await.text(), "to c");
    }
}

#[tokio::test]
async fn what_was_merged_or_steered_into_a_run_fails_with_it() {
    let (served, mut puppet) = served(json!({"debounceMs": 0})).await;
    let mut native = served.native().await;
    let mut active = busy(&native, &mut puppet).await;
    send(&native, "b", Some("steer")).await;
    assert_eq!(active.takes().await, "b");
    let broken = || RunError::new(ErrorCode::AgentFailed, "broken");
    active.fails(broken()).await;
    for run in ["a", "b"] {
        assert_eq!(native.end(run).await.state(), "error", "{run}");
        let waited = json!({"runId": run, "timeoutMs": 1000});
        let waited = native.call("agent.wait", waited).await;
        assert_eq!(waited["status"], "error", "{run}: {waited}");
    }
    send(&native, "c", None).await;
    let first = puppet.next().await;
    send(&native, "d", Some("collect")).await;
    send(&native, "e", Some("collect")).await;
    answer(first, "to c").await;
    let merged = puppet.next().await;
    assert_eq!(merged.asked(), ["d", "e"]);
    // Whoever stops one of them stops the turn they are.
    let stop = json!({"sessionKey": SESSION, "runId": "e"});
    let stopped = native.call("chat.abort", stop).await;
    assert_eq!(stopped["runIds"], json!(["e"]), "{stopped}");
    for run in ["d", "e"] {
        assert_eq!(native.end(run).await.state(), "aborted", "{run}");
    }
    served.quiet().await;
}

#[tokio::test]
async fn a_message_that_is_refused_or_known_changes_nothing() {
    let (served, mut puppet) = served(json!({"cap": 1, "mode": "followup"})).await;
    let mut native = served.native().await;
    let active = busy(&native, &mut puppet).await;
    // An `agent` call fills the queue: nothing can take its place.
    let call = json!({"sessionKey": SESSION, "idempotencyKey": "x", "message": "x"});
    let told = native.call("agent", call).await;
    assert_eq!(told["status"], "accepted", "{told}");
    for (run, message) in [("n1", "/new again"), ("n2", "go away")] {
        let params = json!({"sessionKey": SESSION, "idempotencyKey": run, "message": message,
            "queueMode": "interrupt"});
        let refused = native.refused("chat.send", params).await;
        assert_eq!(&*refused.code, "UNAVAILABLE", "{refused:?}");
    }
    answer(active, "to a").await;
    assert_eq!(native.end("a").await.text(), "to a");
    answer(puppet.next().await, "to x").await;
    served.quiet().await;
    let said = native.history(SESSION).await;
    assert_eq!(said.len(), 4, "{said:?}");

    // A retry of a `/new` that was answered wipes nothing, not even in the next process.
    native.send(SESSION, "n", "/new first").await;
    answer(puppet.next().await, "to n").await;
    native.end("n").await;
    send(&native, "m", None).await;
    answer(puppet.next().await, "to m").await;
    native.end("m").await;
    let before = native.history(SESSION).await;
    assert_eq!(before.len(), 4, "{before:?}");
    drop(native);
    let (agent, mut puppet) = Puppet::new();
    let served = Setup::new(json!({})).agent(agent).over(served.stop().await);
    let served = served.start().await;
    let native = served.native().await;
    let told = native.send(SESSION, "n", "/new first").await;
    assert_eq!(told["status"], "ok", "{told}");
    assert_eq!(native.history(SESSION).await, before);
    assert!(puppet.is_idle());
}
